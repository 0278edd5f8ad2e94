"""S54 to S65: whatever is lost, it is done once."""

from __future__ import annotations

from collections.abc import Iterator

from failwell import errors
from failwell.drill import faults
from failwell.drill.faults import Action, Schedule, always, once
from failwell.drill.plan import (
    IMPATIENT,
    KEYED,
    NOT_APPLIED,
    PLAIN,
    QUICK,
    UNKNOWN,
    Expect,
    Scenario,
    Step,
)


def once_only() -> Iterator[Scenario]:
    """S54, S57: whatever is lost, it is done once."""
    for how in (Action.FIN, Action.RST, Action.SILENCE):
        settings = IMPATIENT if how is Action.SILENCE else QUICK
        fault = faults.lose_answer(how)
        yield Scenario(
            f"S54-{how.name.lower()}",
            "The service did it, the answer was lost: repeated, replayed",
            KEYED,
            once(fault),
            Expect(requests=2, effects=frozenset({1})),
            settings,
        )
        error = errors.CallTimeoutError if how is Action.SILENCE else errors.ConnectionLostError
        yield Scenario(
            f"S54-{how.name.lower()}-plain",
            "The service did it, the answer was lost, no key: told so",
            PLAIN,
            always(fault),
            Expect(error, claim=UNKNOWN, effects=frozenset({1})),
            settings,
        )
    yield Scenario(
        "S57",
        "A key used again with another body",
        KEYED,
        Schedule(),
        Expect(errors.ConflictError, status=409, claim=NOT_APPLIED, effects=frozenset({0})),
        before=(Step(KEYED, same_key=True),),
    )
    yield Scenario(
        "S56-late",
        "The answer is sent when the client has given up: repeated, replayed",
        KEYED,
        once(faults.late_answer()),
        Expect(requests=2, effects=frozenset({1})),
        IMPATIENT,
    )
