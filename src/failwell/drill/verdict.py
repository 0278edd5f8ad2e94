"""
Join the three witnesses into a verdict. Nothing is inferred from silence.

PASS: everything claimed is true, everything planned happened. FAIL: with at least one finding.
NOT EXERCISED: a planned fault never acted, so nothing is proved. UNPROVABLE: a witness is missing.
SKIPPED: this platform cannot do it. Only PASS is green; FAIL and NOT EXERCISED fail the run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

from failwell.call.messages import Reason
from failwell.contract import Contract
from failwell.drill import proof
from failwell.drill.faults import Fault
from failwell.drill.plan import Expect, Scenario
from failwell.drill.subject import OF_SEVERAL, Kind, Subject
from failwell.drill.verdict_overload import found_in_phases, measured_in_phases, shown, unfired_in_phases
from failwell.drill.witness import MAIN, ClientWitness, Evidence
from failwell.errors import APIError, CallError, OperationError, TransportError, UsageError
from failwell.failure import Attempt, Effect


class Verdict(str, Enum):
    """What a rehearsal proved."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    NOT_EXERCISED = "NOT EXERCISED"
    UNPROVABLE = "UNPROVABLE"
    SKIPPED = "SKIPPED"

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that is not as it has to be.

    Attributes:
        code: Which rule: "FD-ledger".
        text: What was found and what was expected.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


@dataclass(slots=True)
class Row:
    """
    One rehearsal and its verdict.

    Attributes:
        subject: The SDK's name on the command line.
        mode: "sync" or "async".
        scenario: What was rehearsed.
        verdict: What it proved.
        findings: What is wrong.
        notes: What is not wrong but worth knowing: why it was skipped, what is missing.
        evidence: What the witnesses say; None if it was not run.
        proved: What can be known of the effect of the call that failed, each as precise as can be;
            empty if it did not fail, or nobody says what became of it.
        repeat: The command that runs it again.
        seconds: How long the rehearsal took.
        measured: Facts that were counted or measured, by name.
    """

    subject: str
    mode: str
    scenario: Scenario
    verdict: Verdict
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    evidence: Evidence | None = None
    proved: frozenset[Effect] = frozenset()
    repeat: str = ""
    seconds: float = 0.0
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Subject, scenario and mode: the row's name in tables."""
        return f"{self.subject} {self.scenario.id} {self.mode}"

    @property
    def claim(self) -> Effect | None:
        """What the client says of the effect, if that can be held against the wire."""
        failure = None if self.evidence is None else self.evidence.client.failure
        return failure.effect if failure is not None and self.proved else None

    @property
    def precise(self) -> bool:
        """Whether that is as precise as can be."""
        return self.claim in self.proved

    @property
    def facts(self) -> list[str]:
        """What was measured, as people read it."""
        return [f"{name}: {shown(value)}" for name, value in self.measured.items()]

    @property
    def raised(self) -> str:
        """The class that was raised, bare; "" for none."""
        return self.evidence.client.error.rpartition(".")[2] if self.evidence is not None else ""


# Seconds that a busy machine excuses: with more, a client that keeps no deadline would pass for a slow one.
EXCUSED_AT_MOST = 1.0

# Attempts that ended so never put a byte on the wire.
_NEVER_SENT = frozenset(
    r.value
    for r in (Reason.DNS, Reason.REFUSED, Reason.UNREACHABLE, Reason.TLS, Reason.TLS_CLOSED,
              Reason.TLS_UNTRUSTED, Reason.PROXY, Reason.BAD_URL, Reason.CONNECT_TIMEOUT, Reason.POOL_TIMEOUT)
)  # fmt: skip


def judge(subject: Subject, scenario: Scenario, mode: str, evidence: Evidence) -> Row:
    """The verdict on what happened."""
    row = Row(subject.name, mode, scenario, Verdict.PASS, evidence=evidence)
    row.repeat = repeat(subject, scenario)
    client = evidence.client
    if client.trouble:
        row.findings.append(
            Finding("FD-trouble", f"the rehearsal could not be carried out: {client.trouble}")
        )
    elif client.ended is None:
        row.findings.append(Finding("FD-hang", "the call neither returned nor raised"))
    elif scenario.phases:
        excused = min(evidence.stalled, EXCUSED_AT_MOST)
        found = found_in_phases(subject.contract, scenario, evidence, excused)
        row.findings += [Finding(code, text) for code, text in found]
        row.findings += [Finding("FD-promise", p) for p in client.broken_promises]
        row.measured = measured_in_phases(scenario, evidence)
    else:
        row.findings += _outcome(subject, scenario, client)
        row.proved = _provable(scenario, evidence)
        row.findings += _precision(row)
        row.findings += _requests(scenario, evidence)
        row.findings += _told(scenario, client)
        row.findings += _keys(scenario, evidence)
        row.findings += _ledger(scenario, evidence)
        row.findings += _stream(scenario, evidence)
        row.findings += _parts(scenario, evidence)
        row.findings += _waits(scenario.expect, evidence)
        row.findings += _connections(scenario.expect, evidence)
        row.findings += [Finding("FD-promise", p) for p in client.broken_promises]
    row.findings += [Finding("FD-drill", t) for t in evidence.wire.trouble]
    if not evidence.ledger.settled:
        row.findings.append(Finding("FD-drill", "the service was still at work when the ledger was read"))
    unfired = [*_unfired(scenario, evidence), *unfired_in_phases(scenario, evidence)]
    missing = _missing_witnesses(scenario, evidence)
    row.notes += [*unfired, *missing]
    # A client that stopped too early is at fault itself; a fault that had its chance is not.
    if unfired and not (row.findings and evidence.wire.fired):
        row.verdict = Verdict.NOT_EXERCISED
        # What came of a rehearsal that did not take place says nothing about the client.
        row.findings = [f for f in row.findings if f.code in ("FD-trouble", "FD-hang", "FD-drill")]
    elif row.findings:
        row.verdict = Verdict.FAIL
    elif missing:
        row.verdict = Verdict.UNPROVABLE
    return row


def repeat(subject: Subject, scenario: Scenario) -> str:
    """The command that runs a rehearsal again."""
    return f"failwell drill {subject.arguments} --only {scenario.id}"


def _outcome(subject: Subject, scenario: Scenario, client: ClientWitness) -> Iterator[Finding]:
    """What the client said: success, or the right class with the right facts."""
    expect = scenario.expect
    if expect.cancelled:
        if client.succeeded or client.error.rpartition(".")[2] != "CancelledError":
            yield Finding("FD-outcome", f"expected the cancellation, got {client.error or 'a result'}")
        return
    if expect.error is None:
        if not client.succeeded:
            yield Finding("FD-outcome", f"expected success, got {client.error}: {client.text}")
        return
    if client.succeeded:
        yield Finding("FD-outcome", f"expected {expect.error.__name__}, but the call returned")
        return
    refused = issubclass(expect.error, UsageError)
    if (UsageError if refused else CallError).__name__ not in client.error_names:
        what = "refusal of an argument" if refused else "failure of a call"
        yield Finding("FD-class", f"{client.error} came out, which is no {what}: {client.text}")
        return
    yield from _class(subject.contract, expect, client)
    if client.error.rpartition(".")[2] not in {e.__name__ for e in subject.exceptions}:
        yield Finding("FD-class", f"{client.error} is not among the exceptions that {subject.name} exports")
    text = client.text.lower()
    if expect.says and not any(w in text for w in expect.says):
        yield Finding("FD-text", f"{client.text!r} says none of: {', '.join(expect.says)}")
    if issubclass(expect.error, TransportError):
        if not client.cause:
            yield Finding("FD-cause", "__cause__ is empty; the engine's own exception belongs there")
        elif client.cause.partition(".")[0] not in subject.engine_modules and not _unreadable(client):
            yield Finding("FD-cause", f"__cause__ is {client.cause}, which is not the engine's own exception")
    for name, (found, right) in client.facts.items():
        if not right:
            yield Finding("FD-fact", f"{name} is {found}")
    yield from _known_facts(scenario, client)


def _unreadable(client: ClientWitness) -> bool:
    """Whether the engine did its part, and what it brought could not be read."""
    return client.failure is not None and client.failure.reason == Reason.FORMAT.value


def _class(contract: Contract, expect: Expect, client: ClientWitness) -> Iterator[Finding]:
    wanted = expect.own or class_for(contract, expect.error)
    if expect.own is not None and client.error.rpartition(".")[2] != wanted.__name__:
        yield Finding("FD-class", f"expected exactly {wanted.__name__}, got {client.error}: {client.text}")
        return
    if wanted.__name__ not in client.error_names:
        yield Finding("FD-class", f"expected {wanted.__name__}, got {client.error}: {client.text}")
    # What is refused before a call need not be of the class that calls share.
    if UsageError.__name__ not in client.error_names and contract.base.__name__ not in client.error_names:
        yield Finding("FD-class", f"{client.error} is no {contract.base.__name__}: a broad except misses it")


def class_for(contract: Contract, standard: type[CallError | UsageError] | None) -> type[BaseException]:
    """What `contract` raises for `standard`: its base, if its document has no class of that meaning."""
    if standard is None or issubclass(standard, UsageError):
        return standard or CallError
    wanted = contract.class_for(standard)
    has_one = contract.base is APIError or any(issubclass(cls, wanted) for cls in contract.exceptions)
    return wanted if has_one else contract.base


def _known_facts(scenario: Scenario, client: ClientWitness) -> Iterator[Finding]:
    """What is on the error, as far as the scenario says what it must be."""
    expect, failure = scenario.expect, client.failure
    if failure is None:
        return
    if expect.reasons and failure.reason not in expect.reasons:
        wanted = " or ".join(sorted(expect.reasons))
        yield Finding("FD-fact", f"reason is {failure.reason!r}, expected {wanted}")
    if expect.status is not None and failure.status != expect.status:
        yield Finding("FD-fact", f"status is {failure.status}, expected {expect.status}")
    if expect.retry_after is not None and failure.retry_after != expect.retry_after:
        yield Finding("FD-fact", f"retry_after is {failure.retry_after}, expected {expect.retry_after}")
    if not failure.stopped and _is_one_call(scenario):
        yield Finding("FD-fact", "the error does not say why it was not tried again")
    if expect.claim and failure.effect not in expect.claim:
        wanted = " or ".join(sorted(e.value for e in expect.claim))
        code = "FD-vague" if failure.effect is Effect.UNKNOWN else "FD-claim"
        yield Finding(code, f"it claims {failure.effect.value}; what crossed the wire proves {wanted}")


def _provable(scenario: Scenario, evidence: Evidence) -> frozenset[Effect]:
    """What can be known of the effect of a call that failed; empty if it did not, or was several calls."""
    names = evidence.client.error_names
    if evidence.client.failure is None or OperationError.__name__ in names or CallError.__name__ not in names:
        return frozenset()
    # What a service's own document says of its errors is known, too.
    documented = (scenario.cause.claims if scenario.cause is not None else None) or frozenset()
    proved = proof.of_wire(evidence)
    return proved | documented if proved else proved


def _precision(row: Row) -> Iterator[Finding]:
    """The claim about the effect says as much as the wire proves, and no more."""
    claim, planned = row.claim, row.scenario.expect.claim
    if claim is None or row.precise or (planned and claim not in planned):  # which is a finding already
        return
    proved = proof.words(row.proved)
    if claim is Effect.UNKNOWN or row.proved == proof.NOT_SENT:
        yield Finding("FD-vague", f"it claims {claim.value}; what crossed the wire proves {proved}")
    else:
        yield Finding(
            "FD-claim", f"it claims {claim.value}; what crossed the wire proves no more than {proved}"
        )


def _is_one_call(scenario: Scenario) -> bool:
    """Whether the error is about one call: that of a job, a batch, a stream has the tries of none."""
    own = scenario.expect.own
    return scenario.kind not in OF_SEVERAL and (own is None or not issubclass(own, OperationError))


def _requests(scenario: Scenario, evidence: Evidence) -> Iterator[Finding]:
    """How often it was tried: by plan, by the wire, by the client's own word."""
    expect, client = scenario.expect, evidence.client
    seen = len(evidence.wire.requests_of(MAIN))
    if seen < expect.requests or (seen > expect.requests and not expect.at_least):
        most = " or more" if expect.at_least else ""
        yield Finding("FD-requests", f"the server saw {seen} requests, expected {expect.requests}{most}")
    if expect.at_most is not None and seen > expect.at_most:
        yield Finding("FD-requests", f"the server saw {seen} requests, expected {expect.at_most} at most")
    if expect.tries is not None:
        made = max(evidence.wire.tries_of(MAIN), seen)
        if made != expect.tries:
            yield Finding("FD-requests", f"{made} connections were tried, expected {expect.tries}")
    if client.attempts is not None and client.succeeded and scenario.kind in OF_SEVERAL:
        told = sum(was_sent(a) for a in client.attempts)
        if told != seen:
            yield Finding("FD-count", f"the client told of {told} requests, the server saw {seen}")
    if client.attempts is not None and _is_one_call(scenario):
        sent = sum(was_sent(a) for a in client.attempts)
        if sent != seen:
            yield Finding("FD-count", f"the client reports {sent} requests sent, the server saw {seen}")
        tries = expect.requests if expect.tries is None else expect.tries
        if len(client.attempts) != tries and not expect.at_least:
            yield Finding("FD-count", f"the client reports {len(client.attempts)} tries, not {tries}")
        yield from _statuses(client.attempts, evidence)


def _told(scenario: Scenario, client: ClientWitness) -> Iterator[Finding]:
    """Events and log lines count the attempts that the call had."""
    if client.told is None or client.attempts is None or not _is_one_call(scenario) or scenario.cancel:
        return
    if client.told != len(client.attempts):
        yield Finding("FD-count", f"events tell of {client.told} attempts, there were {len(client.attempts)}")
    logged = [int(m[1]) for line in client.logs if (m := _LOGGED.search(line))]
    numbers = [a.number for a in client.attempts[:-1] if a.outcome != "redirect"]
    if logged and logged != numbers:
        waits = f"the log has a wait after the attempts {logged}, there was one after {numbers}"
        yield Finding("FD-count", waits)


# The line that a client of failwell writes for each wait.
_LOGGED = re.compile(r" on attempt (\d+); sleeping ")


def _statuses(attempts: Sequence[Attempt], evidence: Evidence) -> Iterator[Finding]:
    """What the client says it was answered is what was passed on to it."""
    requests = evidence.wire.requests_of(MAIN)
    sent = [a for a in attempts if was_sent(a)]
    for attempt, request in zip(sent, requests, strict=False):
        if request.status is not None and attempt.status != request.status:
            yield Finding(
                "FD-count", f"try {attempt.number} reports status {attempt.status}, it was {request.status}"
            )
    failure = evidence.client.failure
    last = requests[-1] if requests else None
    if failure is None or last is None or last.status is None or last.request_id is None:
        return
    if failure.request_id != last.request_id:
        yield Finding("FD-fact", f"request_id is {failure.request_id}, the service's was {last.request_id}")


def was_sent(attempt: Attempt) -> bool:
    """Whether a byte of `attempt` was put on the wire, by the client's own word."""
    return attempt.outcome not in _NEVER_SENT


def _keys(scenario: Scenario, evidence: Evidence) -> Iterator[Finding]:
    """One key for one logical write, the same on each of its attempts, and on the error."""
    keys = [r.idempotency_key for r in evidence.wire.requests_of(MAIN)]
    if scenario.kind is Kind.KEYED_WRITE and keys:
        if None in keys:
            yield Finding("FD-key", "a request of a keyed write carries no idempotency key")
        elif len(set(keys)) > 1:
            yield Finding("FD-key", f"the attempts carry {len(set(keys))} different idempotency keys")
        failure = evidence.client.failure
        if failure is not None and failure.idempotency_key != keys[0]:
            yield Finding("FD-key", "the key on the error is not the key that was sent")
    if scenario.kind is Kind.PLAIN_WRITE and any(keys):
        yield Finding("FD-key", "a write that was to have no key carries one")


def _ledger(scenario: Scenario, evidence: Evidence) -> Iterator[Finding]:
    """What was really done, against what was expected and against what the client claims."""
    held, expect, client = evidence.ledger.ids, scenario.expect, evidence.client
    for number, (ids, step) in enumerate(zip(evidence.ledger.before, scenario.before, strict=True), 1):
        if step.kind is not Kind.READ and ids is not None and len(ids) != 1:
            yield Finding("FD-ledger", f"call {number} before it has {len(ids)} effects, expected 1")
    if held is None or scenario.kind is Kind.READ:
        return
    count = len(held)
    if expect.effects and count not in expect.effects:
        what = "duplicated" if count > max(expect.effects) else "lost"
        wanted = " or ".join(map(str, sorted(expect.effects)))
        yield Finding("FD-ledger", f"{what}: the ledger holds {count} effects, expected {wanted}")
    if client.succeeded:
        due = (expect.effects if expect.error is None else None) or {1}
        if count not in due:
            yield Finding("FD-unsound", f"the client says it is done; the ledger holds {count} effects")
        elif len(set(client.result_ids)) > 1:
            told = len(set(client.result_ids))
            yield Finding("FD-unsound", f"{len(client.result_ids)} callers with one key got {told} results")
        elif client.result_id is not None and client.result_id not in held:
            yield Finding("FD-unsound", f"the client got {client.result_id}; the ledger holds {held[0]}")
    elif client.failure is not None:
        claim = client.failure.effect
        if claim in (Effect.NOT_SENT, Effect.NOT_APPLIED) and count:
            yield Finding("FD-unsound", f"the error claims {claim.value}; the ledger holds {count} effects")
        if claim is Effect.APPLIED and not count:
            yield Finding("FD-unsound", "the error claims applied; the ledger holds nothing")
        if claim is Effect.NOT_SENT and evidence.wire.requests_of(MAIN):
            yield Finding("FD-unsound", "the error claims not_sent; the server saw a request")


def _stream(scenario: Scenario, evidence: Evidence) -> Iterator[Finding]:
    """Each event once, whole and in order; a success is the whole text; breaks are gone on from."""
    if scenario.kind is not Kind.STREAM:
        return
    told, client = evidence.ledger.stream, evidence.client
    if told is not None:
        yield from _events(told, client.heard)
        texts = ["".join(text for _, text in events) for events in (client.heard, told)]
        if client.succeeded and texts[0] != texts[1]:
            yield Finding("FD-content", f"the client says that is all; it has {len(texts[0])} characters "
                                        f"of {len(texts[1])}, or others")  # fmt: skip
    if len(client.heard) < scenario.expect.heard:
        yield Finding(
            "FD-events", f"{len(client.heard)} events were handed over, expected {scenario.expect.heard}"
        )
    yield from _resumed(evidence)


def _events(told: Sequence[tuple[str, str]], heard: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    """What was handed over is what was told, from its beginning, each event once."""
    order = {name: (at, text) for at, (name, text) in enumerate(told)}
    last = -1
    for name, text in heard:
        at, said = order.get(name, (-1, ""))
        if name not in order:
            yield Finding("FD-events", f"an event with the id {name!r} was handed over; there is none")
        elif text != said:
            yield Finding("FD-events", f"event {name!r} was handed over as {text!r}, it is {said!r}")
        elif at <= last:
            yield Finding("FD-events", f"event {name!r} was handed over again")
        elif at > last + 1:
            yield Finding("FD-events", f"{at - last - 1} events before {name!r} were never handed over")
        last = max(last, at)


def _resumed(evidence: Evidence) -> Iterator[Finding]:
    """After a break, what is asked for is what follows the last event that was passed on whole."""
    given: list[str] = []
    sure = True
    for request in evidence.wire.requests_of(MAIN):
        asked = request.last_event_id
        if given and sure and asked != given[-1]:
            after = "the stream from its beginning" if asked is None else f"what follows {asked!r}"
            yield Finding("FD-resume", f"request {request.number} asks for {after}; "
                                       f"the last event before it was {given[-1]!r}")  # fmt: skip
        if given and not sure and asked not in (None, *given):
            yield Finding("FD-resume", f"request {request.number} asks for what follows {asked!r}, "
                                       "which was never passed on")  # fmt: skip
        if request.event_ids:
            given += request.event_ids
            sure = request.ids_are_sure


def _parts(scenario: Scenario, evidence: Evidence) -> Iterator[Finding]:
    """Only parts that were missing travelled, and what the service holds is what was given."""
    if scenario.kind is not Kind.PART_UPLOAD:
        return
    expect, client = scenario.expect, evidence.client
    sent = Counter(r.step for r in evidence.wire.requests_of(MAIN) if r.step.startswith("part "))
    due = None if expect.parts is None else Counter(f"part {number}" for number in expect.parts)
    for step in sorted(sent | due) if due is not None else ():
        if due is not None and sent[step] != due[step]:
            yield Finding("FD-parts", f"{step} was sent {sent[step]} times, expected {due[step]}")
    held = evidence.ledger.digest
    if client.succeeded and held is not None and held != client.digest:
        yield Finding(
            "FD-content", f"the service holds {held[:16]}…, what was given is {client.digest[:16]}…"
        )


def _waits(expect: Expect, evidence: Evidence) -> Iterator[Finding]:
    """Waits as the server felt them, and the length of the whole call."""
    excused = min(evidence.stalled, EXCUSED_AT_MOST)
    arrivals = [r.arrived for r in evidence.wire.requests_of(MAIN)]
    for number, (first, second) in enumerate(pairwise(arrivals), 1):
        gap = second - first
        if gap < expect.wait_at_least:
            yield Finding("FD-wait", f"try {number + 1} came {gap:.3f} s after the one before, "
                                     f"not earlier than {expect.wait_at_least} s was asked for")  # fmt: skip
        if expect.wait_at_most is not None and gap > expect.wait_at_most + excused:
            yield Finding("FD-wait", f"try {number + 1} came {gap:.3f} s after the one before, "
                                     f"more than {expect.wait_at_most} s")  # fmt: skip
    elapsed = evidence.client.elapsed
    if expect.elapsed is not None and elapsed is not None:
        least, most = expect.elapsed
        # Nobody is early because of a busy machine.
        if not least <= elapsed <= most + excused:
            yield Finding("FD-time", f"the call took {elapsed:.2f} s, expected {least:.2f} to {most:.2f} s")


def _connections(expect: Expect, evidence: Evidence) -> Iterator[Finding]:
    """Which connections were used, kept and ended, and what went over them."""
    requests = evidence.wire.requests_of(MAIN)
    if expect.fresh and any(r.reused for r in requests):
        yield Finding("FD-reuse", "a connection with unread bytes on it was used again")
    if expect.ends_connections and not evidence.client.connections_ended:
        yield Finding("FD-reuse", "a connection of the call is still open after its end")
    if any(r.elsewhere and r.credentials for r in requests):
        yield Finding("FD-leak", "the API key was sent to another origin")
    taken = max((r.bytes_out for r in requests), default=0)
    if expect.max_bytes is not None and taken > expect.max_bytes:
        yield Finding(
            "FD-size", f"it took {taken} bytes of an answer it cannot use, {expect.max_bytes} at most"
        )


def _unfired(scenario: Scenario, evidence: Evidence) -> list[str]:
    """Planned faults that never acted: the rehearsal proves nothing."""
    fired = Counter((operation, number) for operation, number, _ in evidence.wire.fired)
    plans = [(f"before-{i}", s.schedule) for i, s in enumerate(scenario.before, 1)]
    missing = []
    for operation, plan in [*plans, (MAIN, scenario.schedule)]:
        for number, fault in _due(plan.faults.items(), scenario, operation):
            if not fired[operation, number]:
                missing.append(f"the fault “{fault.name}” planned for attempt {number} never acted")
        names = Counter(name for o, _, name in evidence.wire.fired if o == operation)
        for (step, number), fault in plan.steps.items():
            if not names[fault.name]:
                missing.append(f"the fault “{fault.name}” planned for attempt {number} of {step} never acted")
        if plan.rest is not None and not any(o == operation for o, _, _ in evidence.wire.fired):
            missing.append(f"the fault “{plan.rest.name}” planned for every attempt never acted")
    return missing


def _due(planned: Iterable[tuple[int, Fault]], scenario: Scenario, operation: str) -> list[tuple[int, Fault]]:
    """Those faults whose attempt was to be made at all: a client that stops early has no third try."""
    last = scenario.expect.requests if scenario.expect.tries is None else scenario.expect.tries
    return [(n, f) for n, f in planned if operation != MAIN or n <= last]


def _missing_witnesses(scenario: Scenario, evidence: Evidence) -> list[str]:
    missing = []
    if scenario.kind is not Kind.READ and scenario.expect.effects and evidence.ledger.ids is None:
        missing.append("the ledger cannot be read, so what was really done is not known")
    if scenario.kind is Kind.STREAM and evidence.ledger.stream is None:
        missing.append("the service's own record of the stream cannot be read")
    if scenario.kind is Kind.PART_UPLOAD and evidence.client.succeeded and evidence.ledger.digest is None:
        missing.append("what the service holds of the upload cannot be read")
    error = scenario.expect.error
    # What is refused before a call has no attempts: that the wire shows none is all there is to prove.
    called = error is not None and not issubclass(error, UsageError)
    if called and evidence.client.error and evidence.client.failure is None:
        missing.append("the error says nothing of attempts and effect that could be checked")
    return missing


@dataclass(frozen=True, slots=True)
class Coverage:
    """
    Whether one exported exception was really raised.

    Attributes:
        subject: The SDK.
        exception: The class's name.
        rows: Names of the rehearsals that raised it and passed.
        as_base: Whether it is only there to be caught, so that its subclasses count.
    """

    subject: str
    exception: str
    rows: tuple[str, ...]
    as_base: bool = False


def coverage(subject: Subject, rows: Sequence[Row]) -> list[Coverage]:
    """
    For each exception that `subject` exports, which passed rehearsals raised it: exactly it, unless
    its contract never raises it itself.
    """
    passed = [r for r in rows if r.subject == subject.name and r.verdict is Verdict.PASS]
    covered = []
    for cls in subject.exceptions:
        as_base = not _raised_itself(subject.contract, cls)
        raised_by = tuple(
            r.name
            for r in passed
            if r.raised and (cls.__name__ in _names(r) if as_base else r.raised == cls.__name__)
        )
        covered.append(Coverage(subject.name, cls.__name__, raised_by, as_base))
    return covered


def _names(row: Row) -> tuple[str, ...]:
    return () if row.evidence is None else row.evidence.client.error_names


def _raised_itself(contract: Contract, cls: type[BaseException]) -> bool:
    """Whether the contract has a row that raises exactly `cls`; the base is for what has no row."""
    named = (*contract.broken.values(), *contract.usage.values())
    if any(r.raises is cls for r in contract.rules) or cls in named:
        return True
    takes_all = any(r.statuses is None and r.codes is None and r.when is None for r in contract.rules)
    return cls is contract.base and not takes_all
