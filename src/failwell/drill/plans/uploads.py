"""S75 to S80: an upload in parts is disturbed; what arrives is what was given, no part travels in vain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from failwell import errors
from failwell.drill import faults
from failwell.drill.faults import Action, Fault, Schedule
from failwell.drill.plan import IMPATIENT, NOT_APPLIED, PART_UPLOAD, QUICK, Expect, Scenario
from failwell.drill.subject import PARTS, Settings

ALL = tuple(range(1, PARTS + 1))
_STORED = Expect(at_least=True, effects=frozenset({1}), parts=ALL)
_REFUSED = Expect(errors.UploadError, at_least=True, claim=NOT_APPLIED, effects=frozenset({0}))


def uploads() -> Iterator[Scenario]:
    """S75 to S80."""
    yield from _a_part_fails()
    yield from _an_answer_is_lost()
    yield from _another_record()
    yield from _refused()


def _a_part_fails() -> Iterator[Scenario]:
    again = replace(_STORED, parts=(1, 2, 2, 3, 4))
    for name, what, fault, settings in (
        ("503", "answered with a 503 by a gateway", faults.answer(503), QUICK),
        ("rst", "reset", faults.rst_before_answer(), QUICK),
        ("fin", "hung up on", faults.fin_before_answer(), QUICK),
        ("stall", "met with silence", faults.silence(), IMPATIENT),
    ):
        yield _scenario(
            f"S75-{name}",
            f"A part is {what}: it is sent again, and no other",
            "part 2",
            fault,
            again,
            settings,
        )
    yield _scenario(
        "S75-always",
        "A part is answered with a 503 every time: told so, with what is safe",
        "part 2",
        faults.answer(503),
        replace(_REFUSED, parts=(1, 2, 2, 2)),
        every=True,
    )
    yield Scenario(
        "S75-left",
        "A program ended in the middle of an upload; another goes on with what is missing",
        PART_UPLOAD,
        Schedule(),
        replace(_STORED, parts=(3, 4)),
        left={1: True, 2: True},
    )


def _an_answer_is_lost() -> Iterator[Scenario]:
    for name, what, step in (
        ("part", "a part", "part 2"),
        ("last", "the last part", f"part {PARTS}"),
        ("complete", "the end", "complete"),
    ):
        yield _scenario(
            f"S76-{name}",
            f"The answer to {what} is lost: the service is asked, and no part is sent again",
            step,
            faults.lose_answer(),
            _STORED,
        )
    yield _scenario(
        "S76-complete-silence",
        "The answer to the end does not come: one object, and no part is sent again",
        "complete",
        faults.lose_answer(Action.SILENCE),
        _STORED,
        IMPATIENT,
    )


def _another_record() -> Iterator[Scenario]:
    """The service and the client do not agree on what is there."""
    yield _scenario(
        "S77-behind",
        "A part that was acknowledged is not there in the end: it is sent, and no other",
        "part 2",
        faults.acknowledged(),
        replace(_STORED, parts=(1, 2, 2, 3, 4)),
    )
    yield Scenario(
        "S77-ahead",
        "The service has parts that this client never sent, one of them of another file: that one is sent",
        PART_UPLOAD,
        Schedule(),
        replace(_STORED, parts=(2, 4)),
        left={1: True, 2: False, 3: True},
    )


def _refused() -> Iterator[Scenario]:
    for name, what, fault in (
        ("404", "given up by somebody else", faults.forgotten_upload()),
        ("410", "gone, as a gateway says", faults.refused(410)),
    ):
        yield _scenario(
            f"S79-{name}",
            f"The upload is {what}, in the middle of it: told so, and not begun anew",
            "part 3",
            fault,
            replace(_REFUSED, parts=(1, 2, 3), status=int(name)),
        )
    yield _scenario(
        "S80-part",
        "A part is damaged on its way: refused by its digest, never stored",
        "part 2",
        faults.tampered(),
        replace(_REFUSED, parts=(1, 2)),
    )
    yield _scenario(
        "S80-whole",
        "A part is stored damaged, with a digest that fits: the whole's shows it, and it is sent again",
        "part 2",
        faults.tampered(consistent=True),
        replace(_STORED, parts=(1, 2, 2, 3, 4)),
    )


def _scenario(
    number: str,
    what: str,
    step: str,
    fault: Fault,
    expect: Expect,
    settings: Settings = QUICK,
    *,
    every: bool = False,
) -> Scenario:
    tries = range(1, settings.attempts + 1 if every else 2)
    schedule = Schedule(steps={(step, attempt): fault for attempt in tries})
    return Scenario(number, what, PART_UPLOAD, schedule, expect, settings)
