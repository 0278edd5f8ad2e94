"""Judge rehearsals about a crowd: phases on the wire against their plan, facts of a model against bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from failwell.contract import Contract
from failwell.drill.overload import Bound, CallerWitness, Came, Phase
from failwell.drill.witness import Evidence
from failwell.errors import CircuitOpenError
from failwell.failure import Effect

if TYPE_CHECKING:
    from failwell.drill.plan import Scenario

# What a count or a share may differ by because it is a float.
NEARLY = 1e-9


def found_in_phases(
    contract: Contract, scenario: Scenario, evidence: Evidence, excused: float
) -> Iterator[tuple[str, str]]:
    """
    What is wrong with what the callers met: the code of the rule, and what was found.

    Args:
        contract: Names the class of an open circuit.
        scenario: With its phases.
        evidence: What was seen of each.
        excused: Seconds for which a busy machine is not blamed on the client.
    """
    seen = evidence.client.phases
    for phase in scenario.phases:
        yield from _counts(phase, seen[phase.name], evidence)
        yield from _refusals(contract, phase, seen[phase.name])
        yield from _probe(phase, evidence, excused)
    for before, phase in pairwise(scenario.phases):
        yield from _pause(before, phase, seen[phase.name], evidence)


def measured_in_phases(scenario: Scenario, evidence: Evidence) -> dict[str, float]:
    """The facts of each phase, by name."""
    facts: dict[str, float] = {}
    for phase in scenario.phases:
        counted = Counter(c.came for c in evidence.client.phases.get(phase.name, ()))
        facts |= {f"{phase.name}: {came}": float(counted[came]) for came in Came if counted[came]}
        facts[f"{phase.name}: requests"] = float(len(evidence.wire.requests_of(phase.name)))
        if phase.probes and (late := _last_after_the_probe(phase, evidence)) is not None:
            facts[f"{phase.name}: all served after"] = round(late, 3)
    return facts


def unfired_in_phases(scenario: Scenario, evidence: Evidence) -> list[str]:
    """Faults of phases that never acted."""
    fired = {(operation, name) for operation, _, name in evidence.wire.fired}
    return [
        f"the fault “{fault.name}” planned for the phase {phase.name} never acted"
        for phase in scenario.phases
        for fault in phase.schedule.all
        if (phase.name, fault.name) not in fired
    ]


def _counts(phase: Phase, callers: list[CallerWitness], evidence: Evidence) -> Iterator[tuple[str, str]]:
    counted = Counter(c.came for c in callers)
    for caller in callers:
        if caller.came is Came.BROKEN:
            yield "FD-outcome", f"{phase.name}: a call ended with {caller.error}"
            break
    if counted[Came.FAILED] != phase.failed:
        met = f"{counted[Came.FAILED]} of {phase.callers} callers met the outage"
        errors = ", ".join(sorted({c.error for c in callers if c.came is Came.FAILED})) or "none"
        yield "FD-circuit", f"{phase.name}: {met}, expected {phase.failed}; errors: {errors}"
    for came, least in ((Came.REFUSED, phase.refused), (Came.ANSWERED, phase.answered)):
        if counted[came] < least:
            told = f"{counted[came]} of {phase.callers} callers were {came}"
            yield "FD-circuit", f"{phase.name}: {told}, expected {least} or more"
    requests = len(evidence.wire.requests_of(phase.name))
    if phase.tries is not None:
        tried = max(evidence.wire.tries_of(phase.name), requests)
        if tried != phase.tries:
            yield "FD-requests", f"{phase.name}: {tried} connections or requests, expected {phase.tries}"
    elif requests != counted[Came.ANSWERED] + counted[Came.FAILED]:
        sent = counted[Came.ANSWERED] + counted[Came.FAILED]
        yield "FD-requests", f"{phase.name}: the service saw {requests} requests, {sent} callers sent one"


def _refusals(contract: Contract, phase: Phase, callers: list[CallerWitness]) -> Iterator[tuple[str, str]]:
    wanted = contract.class_for(CircuitOpenError).__name__
    refused = [c for c in callers if c.came is Came.REFUSED]
    if wrong := {c.error for c in refused} - {wanted}:
        yield (
            "FD-class",
            f"{phase.name}: an open circuit raised {', '.join(sorted(wrong))}, expected {wanted}",
        )
    if any(c.claim != Effect.NOT_SENT.value for c in refused):
        yield "FD-claim", f"{phase.name}: what an open circuit refused does not claim not_sent"
    if any(not c.retry_after or c.retry_after <= 0 for c in refused):
        yield "FD-fact", f"{phase.name}: an open circuit does not say when to come back"


def _probe(phase: Phase, evidence: Evidence, excused: float) -> Iterator[tuple[str, str]]:
    requests = evidence.wire.requests_of(phase.name)
    if not phase.probes or not requests:
        return
    # The probe's answer is not whole before then, whatever else is busy.
    decided = requests[0].arrived + phase.probe_lasts
    early = sum(r.arrived < decided for r in requests[1:])
    if early:
        yield "FD-circuit", f"{phase.name}: {early} more requests came before the probe was answered"
    woken, ended = evidence.client.woken.get(phase.name), requests[0].finished
    if phase.served_within is None or woken is None or ended is None:
        return
    # How fast the service answers all of them then is its own affair, and the machine's.
    if woken > ended + phase.served_within + excused:
        yield (
            "FD-time",
            (
                f"{phase.name}: the last looks again {woken - ended:.2f} s after the probe, "
                f"expected {phase.served_within:.2f} s at most"
            ),
        )


def _last_after_the_probe(phase: Phase, evidence: Evidence) -> float | None:
    requests = evidence.wire.requests_of(phase.name)
    ends = [r.finished for r in requests if r.finished is not None]
    return max(ends) - ends[0] if ends else None


def _pause(
    before: Phase, phase: Phase, callers: list[CallerWitness], evidence: Evidence
) -> Iterator[tuple[str, str]]:
    """How long the circuit said that it stays open after the probe of the phase before."""
    requests = evidence.wire.requests_of(before.name)
    told = [c.ended + c.retry_after for c in callers if c.came is Came.REFUSED and c.retry_after]
    if phase.longer_than is None or not requests or not told:
        return
    pause = min(told) - requests[-1].arrived
    if pause < phase.longer_than:
        yield (
            "FD-circuit",
            (
                f"{phase.name}: after the probe that failed the circuit is open for {pause:.2f} s, "
                f"expected {phase.longer_than:.2f} s or more"
            ),
        )


def bounds(wanted: tuple[Bound, ...], facts: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Which facts of a model are out of their bounds."""
    for bound in wanted:
        fact = facts[bound.fact]
        most = facts[bound.than] if bound.than else bound.most
        if most is not None and fact > most + NEARLY:
            whose = f", which is {bound.than}" if bound.than else ""
            yield "FD-bound", f"{bound.fact} is {shown(fact)}, at most {shown(most)}{whose}"
        if bound.least is not None and fact < bound.least - NEARLY:
            yield "FD-bound", f"{bound.fact} is {shown(fact)}, at least {shown(bound.least)}"


def shown(value: float) -> str:
    """A fact as people read it: "never" for what does not come to an end."""
    return "never" if value == float("inf") else f"{value:.4g}"
