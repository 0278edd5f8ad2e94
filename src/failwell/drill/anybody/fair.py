"""
Which demands are fair to any client, and what the three witnesses say of them.

The catalogue says what a failwell client has to make of each scenario: which class it raises, what
it knows, how often it tries. Nobody else has promised that. What anybody may ask of any client is
this, and breaking it is FAIL:

1. It ends (FD-hang), and no try lasts longer than the timeout that it was given (FD-time).
2. What it calls a success is one: no damaged answer, no write without its effect, and not another
   call's answer (FD-outcome, FD-unsound).
3. A whole answer is taken for what it is, whatever came before it on the connection (FD-outcome).
4. A write without an idempotency key is not repeated once it may have been carried out
   (FD-requests), one with a key is repeated with the same (FD-key), and nothing is done twice
   (FD-ledger).
5. No try comes earlier than the service asked in the standard's words: seconds, or a date
   by a clock that is right (FD-wait).
6. The API key goes to no other origin (FD-leak), and not into an error's text (FD-promise).
7. The server sees no more tries than the library says it makes (FD-count).
8. A call that is cancelled is over, and what the client was asked next works (FD-outcome,
   FD-reuse).

What would have been better, and was nobody's promise, is told apart and fails nothing (FD-better):
a call that could have been tried again safely and was not, a try where another was no use, a wait
asked for in words of no standard, a write that a redirect made a read of.

What needs something that the client has not, such as a connection that is kept, is SKIPPED: not
applicable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from failwell.drill.faults import Action, Fault, Moment
from failwell.drill.journal import WireRequest
from failwell.drill.plan import Scenario
from failwell.drill.rehearsal import AFTER_FAILED
from failwell.drill.subject import Kind, Mode
from failwell.drill.verdict import EXCUSED_AT_MOST, Finding, Row, Verdict, repeat
from failwell.drill.witness import MAIN, Evidence

if TYPE_CHECKING:
    from failwell.drill.anybody.subject import AnybodysClient

BETTER = "FD-better"
# A try that lasts longer than its timeout by half of it, and a second, has not kept it: less may be
# threads that wake late and sockets that are closed.
OVER, BESIDE = 1.5, 1.0
# Faults that leave the answer whole. Who refuses a header of 200 kB is in the right, too.
_WHOLE = (Action.INTERIM, Action.TWICE, Action.TRAILING, Action.DRIP, Action.LARGE_HEADER)
_MAY_REFUSE = (Action.DRIP, Action.LARGE_HEADER)
# RFC 9110, section 10.2.3; a number of more digits is no number of seconds that anybody meant.
_SECONDS = re.compile(r"[0-9]{1,9}")
_NO_CONNECTION_KEPT = "it keeps no connection, so that there is none to lose"


def judge(subject: AnybodysClient, scenario: Scenario, mode: Mode, evidence: Evidence) -> Row:
    """The verdict on what happened, by the rules above."""
    row = Row(subject.name, mode, scenario, Verdict.PASS, evidence=evidence)
    row.repeat = repeat(subject, scenario)
    if why := _not_applicable(scenario, evidence):
        row.verdict, row.notes = Verdict.SKIPPED, [why]
        return row
    wrong = list(_wrong(subject, scenario, evidence))
    row.findings = [*wrong, *_better(scenario, evidence, failed=bool(wrong))]
    never = [f"the fault “{fault.name}” never acted" for fault in _never_acted(scenario, evidence)]
    unknown = evidence.ledger.ids is None and scenario.kind is not Kind.READ and bool(scenario.expect.effects)
    row.notes = never
    if wrong:
        row.verdict = Verdict.FAIL
    elif never:
        row.verdict = Verdict.NOT_EXERCISED
    elif unknown:
        row.verdict = Verdict.UNPROVABLE
        row.notes = ["nobody counts the effects, so what was really done is not known"]
    return row


def _wrong(subject: AnybodysClient, scenario: Scenario, evidence: Evidence) -> Iterator[Finding]:
    """Everything that breaks a rule."""
    client = evidence.client
    yield from (Finding("FD-drill", told) for told in evidence.wire.trouble)
    if not evidence.ledger.settled:
        yield Finding("FD-drill", "the service was still at work when the ledger was read")
    if client.trouble:
        yield Finding("FD-trouble", f"the rehearsal could not be carried out: {client.trouble}")
        return
    if client.ended is None:
        yield Finding("FD-hang", f"the call neither returned nor raised{_asked_for(scenario, evidence)}")
        return
    yield from _outcome(scenario, evidence)
    yield from _effects(subject, scenario, evidence)
    yield from _repeats(subject, scenario, evidence)
    yield from _waits(scenario, evidence)
    yield from _times(subject, scenario, evidence)
    yield from _secrets(subject, evidence)


def _outcome(scenario: Scenario, evidence: Evidence) -> Iterator[Finding]:
    """Rules 2, 3 and 8: what the client said against what was passed on to it."""
    client, requests = evidence.client, evidence.wire.requests_of(MAIN)
    if scenario.expect.cancelled:
        if client.succeeded or client.error.rpartition(".")[2] != "CancelledError":
            yield Finding("FD-outcome", f"it was cancelled, and ended with {client.error or 'a result'}")
        if len(requests) > 1:
            yield Finding("FD-requests", "it was cancelled, and tried again")
    elif client.succeeded and not any(_is_whole(scenario, r) for r in requests):
        yield Finding("FD-outcome", f"it took this for a success: {_what_came(scenario, evidence)}")
    elif not client.succeeded and scenario.crowd == 1 and requests:
        last = requests[-1]
        fault = _fault_of(scenario, last)
        refusable = fault is not None and fault.action in _MAY_REFUSE
        if last.status is not None and _is_whole(scenario, last) and not refusable:
            yield Finding("FD-outcome", f"the answer was whole, and it raised {_class(evidence)}")
    # After a success the connection is kept, and may be.
    if scenario.expect.ends_connections and not client.succeeded and not client.connections_ended:
        yield Finding("FD-reuse", "a connection of the call is still open after its end")
    yield from (Finding("FD-outcome", p) for p in client.broken_promises if p.startswith(AFTER_FAILED))


def _effects(subject: AnybodysClient, scenario: Scenario, evidence: Evidence) -> Iterator[Finding]:
    """Rules 2 and 4: what was really done against what the client said."""
    held, client = evidence.ledger.ids, evidence.client
    for number, (ids, step) in enumerate(zip(evidence.ledger.before, scenario.before, strict=True), 1):
        if step.kind is not Kind.READ and ids is not None and len(ids) > 1:
            yield Finding("FD-ledger", f"call {number} before it was carried out {len(ids)} times")
    if held is None:
        return
    named = subject.own_service and client.result_id is not None
    if scenario.kind is Kind.READ:
        if client.succeeded and named and client.result_id not in held:
            yield Finding("FD-unsound", f"it got the answer to another call: {_shown(client.result_id)}")
        return
    if len(held) > 1:
        yield Finding("FD-ledger", f"it was carried out {len(held)} times")
    if not client.succeeded:
        return
    if not held:
        yield Finding("FD-unsound", "it was told to be done, and nothing was done")
    elif len(set(client.result_ids)) > 1:
        yield Finding("FD-unsound", f"callers with one key got {len(set(client.result_ids))} results")
    elif named and client.result_id not in held:
        yield Finding("FD-unsound", f"it got {_shown(client.result_id)}, and {held[0]} was made")


def _repeats(subject: AnybodysClient, scenario: Scenario, evidence: Evidence) -> Iterator[Finding]:
    """Rules 4 and 7: what was sent again, and by whose word."""
    requests = evidence.wire.requests_of(MAIN)
    # A redirect is followed by a request, and is no try; what was refused was not carried out.
    tries = [r for r in requests if not _is_redirect(r)]
    open_ones = [r for r in tries if r.status is None or not 400 <= r.status < 500]
    if scenario.kind is Kind.PLAIN_WRITE and len(tries) > 1 and open_ones and not _keys(tries):
        yield Finding(
            "FD-requests",
            f"a write without a key was sent {len(tries)} times, and the first may have been done",
        )
    if scenario.kind is Kind.KEYED_WRITE and len({r.idempotency_key for r in tries}) > 1:
        yield Finding("FD-key", "the tries of one write do not carry one key")
    if subject.attempts is not None and len(tries) > subject.attempts * scenario.crowd:
        told = "1 try" if subject.attempts == 1 else f"{subject.attempts} tries at most"
        yield Finding("FD-count", f"the server saw {len(tries)} tries; the library tells of {told}")


def _waits(scenario: Scenario, evidence: Evidence) -> Iterator[Finding]:
    """Rule 5: what the service asked for in the standard's words."""
    for number, gap, fault in _gaps(scenario, evidence):
        asked = _asked(fault)
        if asked is not None and gap < asked:
            yield Finding("FD-wait", f"asked to wait {asked:.0f} s, try {number + 1} came after {gap:.2f} s")


def _times(subject: AnybodysClient, scenario: Scenario, evidence: Evidence) -> Iterator[Finding]:
    """Rule 1: how long one try lasted, against the timeout that it was given."""
    timeouts, ended = subject.timeouts(scenario.settings), evidence.client.ended
    if timeouts is None or ended is None:
        return
    connect, read = timeouts
    wire = evidence.wire
    excused = BESIDE + min(evidence.stalled, EXCUSED_AT_MOST)
    requests, connects = wire.requests_of(MAIN), wire.connects.get(MAIN, ())
    spans = [(r.arrived, r.finished, read) for r in requests]
    if requests and not any(when > requests[-1].arrived for when in connects):
        # What a client does after its last request is all about that one.
        spans.append((requests[-1].arrived, None, read))
    spans += [(c.opened, c.closed, connect) for c in wire.connections
              if c.operation == MAIN and c.fault is not None and not c.requests]  # fmt: skip
    if any(fault.action is Action.IGNORE for fault in scenario.schedule.all):
        spans += [(began, None, connect) for began in connects[-1:]]
    for began, finished, timeout in spans:
        lasted = min(ended, ended if finished is None else finished) - began
        if lasted > timeout * OVER + excused:
            yield Finding("FD-time", f"a try lasted {lasted:.1f} s; its timeout was {timeout:.1f} s")
            return


def _secrets(subject: AnybodysClient, evidence: Evidence) -> Iterator[Finding]:
    """Rule 6: where the API key went."""
    if any(r.elsewhere and r.credentials for r in evidence.wire.requests_of(MAIN)):
        yield Finding("FD-leak", "the API key was sent to another origin")
    if any(secret in evidence.client.text for secret in subject.secrets()):
        yield Finding("FD-promise", "the API key can be read in the error")


def _better(scenario: Scenario, evidence: Evidence, *, failed: bool) -> Iterator[Finding]:
    """What was nobody's promise, and would have been better."""
    client, expect = evidence.client, scenario.expect
    requests = evidence.wire.requests_of(MAIN)
    if client.ended is None or client.trouble:
        return
    if expect.error is None and not expect.cancelled and not client.succeeded and not failed:
        yield Finding(BETTER, f"it could safely have been brought to its end; it raised {_class(evidence)}")
    if expect.tries == 1 and (made := evidence.wire.tries_of(MAIN)) > 1:
        yield Finding(BETTER, f"{made} tries, each of which had to fail alike")
    if refused := [
        r for r in requests[:-1] if not r.fired and r.status is not None and 400 <= r.status < 500
    ]:
        yield Finding(BETTER, f"it was refused with {refused[0].status}, and tried again")
    if scenario.kind is not Kind.READ and any(r.method == "GET" for r in requests):
        yield Finding(BETTER, "it made a read of a write that was redirected")
    for number, gap, fault in _gaps(scenario, evidence):
        if _asked(fault) is None and gap < expect.wait_at_least:
            meant = f"try {number + 1} after {gap:.2f} s of {expect.wait_at_least:.0f} s"
            yield Finding(BETTER, f"it waited less than was meant, in words of no standard; {meant}")


# --- what happened, in words the rules need --------------------------------------------------


def _not_applicable(scenario: Scenario, evidence: Evidence) -> str:
    """What the client has not, and the scenario needs; empty if there is nothing."""
    client = evidence.client
    if client.trouble and not client.began and scenario.before:
        return f"the call before it ended with {client.trouble}"
    kept = [f for f in _never_acted(scenario, evidence) if f.reused_only or f.moment is Moment.IDLE]
    return _NO_CONNECTION_KEPT if kept else ""


def _never_acted(scenario: Scenario, evidence: Evidence) -> list[Fault]:
    """Faults of a first try that never acted: those of a second wait for a client that makes one."""
    plans = [(f"before-{number}", step.schedule) for number, step in enumerate(scenario.before, 1)]
    missing = []
    for operation, plan in [*plans, (MAIN, scenario.schedule)]:
        first = plan.at(1)
        if first is not None and not any(o == operation for o, _, _ in evidence.wire.fired):
            missing.append(first)
    return missing


def _fault_of(scenario: Scenario, request: WireRequest) -> Fault | None:
    """The fault that acted on `request`."""
    return scenario.schedule.at(request.number) if request.fired else None


def _is_whole(scenario: Scenario, request: WireRequest) -> bool:
    """Whether the service did what was asked, and all of its answer was passed on."""
    fault = _fault_of(scenario, request)
    done = request.service_status is not None and 200 <= request.service_status < 300
    return done and (request.status is not None if fault is None else fault.action in _WHOLE)


def _is_redirect(request: WireRequest) -> bool:
    return request.status is not None and 300 <= request.status < 400


def _keys(requests: list[WireRequest]) -> bool:
    return all(r.idempotency_key for r in requests)


def _gaps(scenario: Scenario, evidence: Evidence) -> Iterator[tuple[int, float, Fault]]:
    """Number of a request that a fault met, seconds until the next one, and the fault."""
    for first, second in pairwise(evidence.wire.requests_of(MAIN)):
        if (fault := _fault_of(scenario, first)) is not None:
            yield first.number, second.arrived - first.arrived, fault


def _asked(fault: Fault) -> float | None:
    """Seconds that an answer asked for in the standard's words; None if it did not."""
    if fault.retry_date is not None:
        # A date has whole seconds. By a wrong clock, only who knows that it is wrong can keep it.
        return None if fault.clock_skew else fault.retry_date - 1
    value = next((v for name, v in fault.headers.items() if name.lower() == "retry-after"), "")
    return float(value) if _SECONDS.fullmatch(value) else None


def _what_came(scenario: Scenario, evidence: Evidence) -> str:
    """The last that the client was given."""
    requests = evidence.wire.requests_of(MAIN)
    fault = _fault_of(scenario, requests[-1]) if requests else None
    if fault is not None:
        return fault.name
    if not requests:
        return "nothing that was sent"
    status = requests[-1].status
    return "what was there before the answer" if status is None else f"a {status}"


def _asked_for(scenario: Scenario, evidence: Evidence) -> str:
    """What a client may still be waiting for, as the end of a sentence."""
    faults = [_fault_of(scenario, r) for r in evidence.wire.requests_of(MAIN)]
    said = [v for f in faults if f is not None for n, v in f.headers.items() if n.lower() == "retry-after"]
    if said:
        return f": it waits as long as was asked, {said[-1]} s"
    dated = [f.retry_date + f.clock_skew for f in faults if f is not None and f.retry_date is not None]
    return f": it waits until the date that was asked, {dated[-1]:.0f} s ahead" if dated else ""


def _shown(result: str | None) -> str:
    """An id, which may be anything that the client took for one, on one short line."""
    line = " ".join((result or "").split())
    return line if len(line) <= 40 else line[:39] + "…"


def _class(evidence: Evidence) -> str:
    """What was raised, without the modules beneath its library's."""
    package, _, rest = evidence.client.error.partition(".")
    name = rest.rpartition(".")[2]
    return name if package == "builtins" else f"{package}.{name}"
