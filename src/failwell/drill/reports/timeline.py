"""Every attempt of a rehearsal with what all three witnesses say about it, joined by order."""

from __future__ import annotations

from dataclasses import dataclass, replace

from failwell.drill.journal import WireRequest
from failwell.drill.verdict import Row, was_sent
from failwell.drill.witness import MAIN


@dataclass(frozen=True, slots=True)
class Try:
    """
    One attempt; seconds count from the beginning of the call.

    Attributes:
        number: 1 for the first.
        start: When the client began it.
        duration: How long the client says it took.
        outcome: What the client says came of it.
        wait: How long the client waited after it.
        fault: What was done to it; "" for nothing.
        request: What arrived; None if nothing did.
        arrived: When it had arrived whole; None if it never did.
        left: When the proxy was done with it.
        asked: When the service was asked; None if it was not.
        answered: When the service had answered.
        effect: Whether the ledger grew with it.
    """

    number: int
    start: float
    duration: float
    outcome: str
    wait: float
    fault: str
    request: WireRequest | None
    arrived: float | None = None
    left: float | None = None
    asked: float | None = None
    answered: float | None = None
    effect: bool = False

    @property
    def service(self) -> str:
        """What the service did, in a few words."""
        if self.request is None:
            return "saw nothing"
        if self.asked is None:
            return "was not asked"
        when = "" if self.answered is None else f" at {self.answered * 1000:.0f} ms"
        done = ", one more effect" if self.effect else ""
        return f"answered {self.request.service_status or 'nothing'}{when}{done}"

    @property
    def passed_on(self) -> str:
        """What the client could receive, in a few words."""
        if self.request is None:
            return "nothing"
        status = "no status" if self.request.status is None else str(self.request.status)
        end = f", {self.request.end}" if self.request.end else ""
        return f"{status}, {self.request.bytes_out} B{end}"


def tries(row: Row) -> list[Try]:
    """The attempts of `row`'s call, in order; what the client does not tell is taken from the wire."""
    evidence = row.evidence
    if evidence is None:
        return []
    began = evidence.client.began
    requests = evidence.wire.requests_of(MAIN)
    fired = {number: name for operation, number, name in evidence.wire.fired if operation == MAIN}
    connection_faults = row.scenario.schedule.all and row.scenario.schedule.all[0].on_connection
    joined: list[Try] = []
    waiting = list(requests)
    for a in evidence.client.attempts or ():
        request = waiting.pop(0) if was_sent(a) and waiting else None
        fault = fired.get(a.number, "") if connection_faults else ""
        outcome = f"status {a.status}" if a.outcome == "status" else a.outcome
        joined.append(_try(a.number, a.start, a.duration, outcome, a.wait, fault, request, began))
    for request in waiting:
        start = request.arrived - began
        length = (request.finished or request.arrived) - request.arrived
        joined.append(_try(len(joined) + 1, start, length, "not reported", 0.0, "", request, began))
    return _with_effects(joined)


def length(row: Row, joined: list[Try]) -> float:
    """Seconds that a drawing of `row` has to show."""
    ends = [t.start + t.duration + t.wait for t in joined] + [t.left or 0.0 for t in joined]
    elapsed = row.evidence.client.elapsed if row.evidence is not None else None
    return max([elapsed or 0.0, *ends, 0.001])


def _try(
    number: int,
    start: float,
    duration: float,
    outcome: str,
    wait: float,
    fault: str,
    request: WireRequest | None,
    began: float,
) -> Try:
    if request is None:
        return Try(number, start, duration, outcome, wait, fault, None)
    return Try(
        number,
        start,
        duration,
        outcome,
        wait,
        (request.fault or "") if request.fired else fault,
        request,
        arrived=request.arrived - began,
        left=None if request.finished is None else request.finished - began,
        asked=None if request.asked is None else request.asked - began,
        answered=None if request.answered is None else request.answered - began,
    )


def _with_effects(joined: list[Try]) -> list[Try]:
    """The same, with a mark on those after which the ledger held more than before."""
    held, marked = 0, []
    for t in joined:
        now = t.request.effects if t.request is not None and t.request.effects is not None else held
        marked.append(replace(t, effect=now > held))
        held = now
    return marked
