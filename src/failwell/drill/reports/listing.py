"""What a drill would rehearse: each scenario with its faults, what has to come of it, in how many tries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from failwell.contract import Contract
from failwell.drill.faults import Fault, Schedule
from failwell.drill.plan import Expect, Scenario
from failwell.drill.subject import Subject
from failwell.drill.verdict import class_for

CANCELLED = "CancelledError"


def listed(plans: Sequence[tuple[Subject, Sequence[Scenario]]]) -> list[dict[str, Any]]:
    """
    The scenarios as JSON types, in the order of the catalogue, each once.

    Args:
        plans: For each subject, the scenarios that would be rehearsed.
    """
    found: dict[str, dict[str, Any]] = {}
    for subject, scenarios in plans:
        for scenario in scenarios:
            entry = found.setdefault(scenario.id, _entry(scenario))
            entry["raises"][subject.name] = raised(subject.contract, scenario.expect)
    return list(found.values())


def raised(contract: Contract, expect: Expect) -> str | None:
    """The name of the class that has to be raised; None for a success."""
    if expect.cancelled:
        return CANCELLED
    if expect.own is not None:
        return expect.own.__name__
    return None if expect.error is None else class_for(contract, expect.error).__name__


def _entry(scenario: Scenario) -> dict[str, Any]:
    expect = scenario.expect
    return {
        "id": scenario.id,
        "title": scenario.title,
        "proves": list(scenario.proves),
        "call": scenario.kind.value,
        "faults": list(_faults(scenario)),
        "raises": {},
        "claim": sorted(e.value for e in expect.claim),
        "requests": expect.requests,
        "at_least": expect.at_least,
        "tries": expect.requests if expect.tries is None else expect.tries,
        "effects": sorted(expect.effects),
        "forms": list(scenario.modes or ()),
    }


def _faults(scenario: Scenario) -> Iterator[dict[str, Any]]:
    for number, step in enumerate(scenario.before, 1):
        for fault, when in planned(step.schedule):
            yield _fault(fault, f"call {number} before, {when}")
    for fault, when in planned(scenario.schedule):
        yield _fault(fault, when)
    if scenario.cause is not None:
        yield {"name": "none: the service's own refusal", "when": "", "faithful": "real", "platform": "any"}


def planned(schedule: Schedule) -> Iterator[tuple[Fault, str]]:
    """Each fault once, and which attempts it meets: "attempt 1", "attempts 1, 2", "every attempt"."""
    numbers: dict[str, tuple[Fault, list[int]]] = {}
    for number, fault in schedule.faults.items():
        numbers.setdefault(fault.name, (fault, []))[1].append(number)
    for fault, at in numbers.values():
        yield fault, f"attempt{'' if len(at) == 1 else 's'} {', '.join(map(str, at))}"
    if schedule.rest is not None:
        yield schedule.rest, "every attempt" if not numbers else "every other attempt"
    told = {*numbers, schedule.rest.name if schedule.rest else ""}
    yield from ((fault, "one step of it") for fault in schedule.all if fault.name not in told)


def _fault(fault: Fault, when: str) -> dict[str, Any]:
    return {
        "name": fault.name,
        "when": when,
        "effect": fault.action.value,
        "moment": fault.moment.value,
        "faithful": fault.faithful.value,
        "platform": fault.platform or "any",
    }
