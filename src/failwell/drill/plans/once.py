"""S54 to S65: whatever is lost, it is done once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

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
from failwell.drill.subject import Settings


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
    yield Scenario(
        "S55-committed",
        "The service is killed when it has done it, and started again: repeated, replayed",
        KEYED,
        once(faults.crash_after_commit()),
        Expect(requests=2, effects=frozenset({1})),
        PATIENT,
        modes=("sync",),
    )
    yield Scenario(
        "S58",
        "Twenty callers at once with one key: done once, told twenty times",
        KEYED,
        Schedule(),
        Expect(requests=20, at_least=True, effects=frozenset({1})),
        replace(PATIENT, attempts=10),
        crowd=20,
    )
    yield Scenario(
        "S60",
        "The caller ended before it saw an answer; another goes on with the same key",
        KEYED,
        Schedule(),
        Expect(effects=frozenset({1})),
        before=(Step(KEYED, once(faults.lose_answer()), same_call=True),),
    )


# For a service that has to be started again first.
PATIENT = Settings(read=30.0, deadline=90.0)
