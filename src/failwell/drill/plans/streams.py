"""S66 to S74: a stream of events breaks; each event comes once, and none is taken for the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from failwell import errors
from failwell.drill import faults
from failwell.drill.faults import Action, Fault, Schedule, always, once, times
from failwell.drill.plan import APPLIED, STREAM, Expect, Scenario
from failwell.drill.subject import Settings
from failwell.failure import Effect

# Events that pass before something goes wrong: enough to have ids that can be seen again.
SOME = 5

# A question is asked once, however often the stream of its answer is taken up again.
_ASKED = frozenset({1})
_WHOLE = Expect(requests=2, effects=_ASKED)
_BROKEN = Expect(errors.StreamError, claim=APPLIED, effects=_ASKED, heard=SOME)

ONCE_MORE = Settings(reconnects=1)
# A stream that is silent for so long counts as broken. A busy machine is silent for less.
SOON_SILENT = Settings(idle=1.2)

# What is no number of milliseconds (WHATWG HTML, section 9.2.6: ASCII digits only), and would be a long time.
BOGUS_RETRY = (
    b"retry: 99999ms\nretry: -1\nretry: 1e5\nretry:\nretry: \xd9\xa9\xd9\xa9\xd9\xa9\xd9\xa9\xd9\xa9\n\n"
)
DAY = b"retry: 86400000\n\n"
# Seconds that services ask for in their streams, and what a client may add to it by chance and work.
ASKED_FOR = 1.0
LONGER = 8.0


def streams() -> Iterator[Scenario]:
    """S66 to S74."""
    yield from _cut_between()
    yield from _cut_inside()
    yield from _ids()
    yield from _silent_and_waiting()
    yield from _not_taken_up_again()
    yield from _not_complete()


def _once(number: str, what: str, fault: Fault, settings: Settings | None = None) -> Scenario:
    """A stream that breaks once, and is whole all the same."""
    return Scenario(number, what, STREAM, once(fault), _WHOLE, settings or Settings())


def _cut_between() -> Iterator[Scenario]:
    for by in (Action.FIN, Action.RST):
        how = f"A stream is cut between two events, by {by.name}: it goes on after the last"
        yield _once(f"S66-{by.name.lower()}", how, faults.cut_stream(SOME, by))
    twice = times(2, faults.cut_stream(SOME))
    yield Scenario(
        "S66-twice", "A stream is cut twice: it goes on twice", STREAM, twice, replace(_WHOLE, requests=3)
    )
    yield _once(
        "S66-start",
        "A stream is cut before its first event: it is asked for again, and the question is the same",
        faults.cut_stream(0),
    )


def _cut_inside() -> Iterator[Scenario]:
    for by in (Action.FIN, Action.RST, Action.END):
        how = f"A stream is cut inside an event, by {faults.HOW[by]}: no part of it is handed over"
        yield _once(f"S67-{by.name.lower()}", how, faults.cut_event(SOME, by))
    yield _once("S68-character", "A stream is cut inside a character", faults.cut_character(SOME))
    yield _once("S68-line-end", "A stream is cut between CR and LF", faults.cut_line_end(SOME))
    yield _once(
        "S68-blank-line",
        "A stream is cut between the CR and the LF that end an event",
        faults.cut_line_end(SOME, blank=True),
    )


def _ids() -> Iterator[Scenario]:
    overlap = Schedule({1: faults.cut_stream(SOME), 2: faults.told_again()})
    yield Scenario(
        "S69-overlap",
        "A stream is told from its beginning again: nothing comes twice",
        STREAM,
        overlap,
        _WHOLE,
    )
    yield Scenario(
        "S69-regress",
        "The ids of a stream begin again, with other events: told so, instead of losing them",
        STREAM,
        always(faults.renumbered(SOME)),
        replace(_BROKEN, at_least=True),
    )


def _silent_and_waiting() -> Iterator[Scenario]:
    silent = replace(_WHOLE, at_least=True)
    for number, what, fault in (
        ("S70-between", "between two events", faults.cut_stream(SOME, Action.SILENCE)),
        ("S70-inside", "inside an event", faults.cut_event(SOME, Action.SILENCE)),
    ):
        yield Scenario(
            number,
            f"A stream falls silent {what}: it is taken up again",
            STREAM,
            once(fault),
            silent,
            SOON_SILENT,
        )
    yield Scenario(
        "S71-asked",
        "A stream asks to be left alone for a second: it is",
        STREAM,
        once(faults.cut_stream(SOME)),
        replace(_WHOLE, wait_at_least=ASKED_FOR),
    )
    yield Scenario(
        "S71-bogus",
        "A stream asks for a pause in words that mean nothing: what it asked for before holds",
        STREAM,
        once(faults.cut_stream(SOME, insert=BOGUS_RETRY, name="bogus retry, then cut")),
        replace(_WHOLE, wait_at_least=ASKED_FOR, wait_at_most=LONGER),
    )
    yield Scenario(
        "S71-day",
        "A stream asks to be left alone for a day: told so, and not asked earlier",
        STREAM,
        once(faults.cut_stream(SOME, insert=DAY, name="retry of a day, then cut")),
        replace(_BROKEN, retry_after=86400.0, elapsed=(0.0, 10.0)),
    )


def _not_taken_up_again() -> Iterator[Scenario]:
    """What is said when it is asked for again ends it."""
    for status, error, what in (
        (204, errors.StreamError, "there is nothing more"),
        (401, errors.AuthenticationError, "the key is no good any more"),
        (410, errors.CallError, "it is gone"),
    ):
        refused = faults.refused(status)
        yield Scenario(
            f"S72-{status}",
            f"A stream is cut, and then {what}: told so at once",
            STREAM,
            Schedule({1: faults.cut_stream(SOME)}, rest=refused),
            replace(_BROKEN, error=error, requests=2, status=status),
        )


def _not_complete() -> Iterator[Scenario]:
    end = faults.cut_stream(SOME, Action.END)
    yield _once("S73-once", "A stream ends in order before its last event: it goes on", end)
    for events in (0, SOME):
        yield Scenario(
            "S73-always" if events else "S73-empty",
            f"A stream ends in order after {events} events, every time: never taken for complete",
            STREAM,
            Schedule({1: faults.cut_stream(events, Action.END)}, rest=faults.cut_stream(0, Action.END)),
            replace(_BROKEN, requests=2, heard=events),
            ONCE_MORE,
        )
    yield Scenario(
        "S74-storm",
        "A stream is cut before anything new comes, every time: given up after a few times",
        STREAM,
        always(faults.cut_stream(0)),
        replace(_BROKEN, requests=1 + Settings().reconnects, heard=0),
    )
    # Each time is a call with tries of its own, which the budget pays for.
    most = 1 + ONCE_MORE.reconnects * ONCE_MORE.attempts
    yield Scenario(
        "S74-outage",
        "A stream is cut, and then the service is out of order: given up after a few times",
        STREAM,
        Schedule({1: faults.cut_stream(SOME)}, rest=faults.answer(503)),
        replace(
            _BROKEN, error=errors.CallError, requests=2, at_least=True, at_most=most,
            claim=frozenset({Effect.APPLIED}),
        ),
        ONCE_MORE,
    )  # fmt: skip
