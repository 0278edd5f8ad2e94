"""What can be known of a call's effect: by what its faults did, and by what crossed the wire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from failwell import errors
from failwell.drill import faults, proof
from failwell.drill.faults import Action, Fault, Moment, always, once
from failwell.drill.journal import Journal, WireConnection, WireRequest
from failwell.drill.scenarios import Expect, Scenario, catalogue
from failwell.drill.selftest.toy import Toy
from failwell.drill.subject import Cause, Kind
from failwell.drill.verdict import Verdict, judge
from failwell.drill.witness import MAIN, ClientWitness, Evidence, LedgerWitness
from failwell.failure import Attempt, Effect, Failure

POST = WireRequest(1, MAIN, 1, False, 0.0, "POST", "/things")


def wire(*requests: WireRequest, connections: tuple[WireConnection, ...] = ()) -> Evidence:
    return Evidence(ClientWitness(), Journal(list(connections), list(requests)), LedgerWitness())


@pytest.mark.parametrize(
    ("status", "known"),
    [
        *((s, proof.APPLIED) for s in (200, 201, 204, 303)),
        *((s, proof.NOT_APPLIED) for s in (300, 307, 400, 401, 404, 409, 422, 429, 501, 505)),
        *((s, proof.UNKNOWN) for s in (101, 302, 304, 408, 499, 500, 502, 503, 504)),
    ],
)
def test_a_status_proves_as_much_as_the_standard_says(status: int, known: frozenset[Effect]) -> None:
    assert proof.of_status(status) == known
    assert proof.of_wire(wire(replace(POST, status=status))) == known


def test_what_never_arrived_was_not_sent() -> None:
    refused = WireConnection(1, MAIN, 0.0, tls=True, fault="untrusted certificate")

    assert proof.of_wire(wire()) == proof.NOT_SENT
    assert proof.of_wire(wire(connections=(refused,))) == proof.NOT_SENT


def test_a_connection_without_a_whole_request_proves_nothing() -> None:
    """Half of a large request may have been sent over it."""
    assert proof.of_wire(wire(connections=(WireConnection(1, MAIN, 0.0),))) == frozenset()


def test_what_asks_for_no_change_was_not_applied() -> None:
    assert proof.of_wire(wire(replace(POST, method="GET"))) == proof.NOT_APPLIED


def test_what_one_attempt_leaves_open_the_next_does_not_close() -> None:
    lost, refused, done = POST, replace(POST, status=429), replace(POST, status=201)

    assert proof.of_wire(wire(lost, refused)) == proof.UNKNOWN
    assert proof.of_wire(wire(refused, refused)) == proof.NOT_APPLIED
    assert proof.of_wire(wire(lost, done)) == proof.APPLIED


def test_a_head_that_was_cut_may_have_told_its_status() -> None:
    cut = replace(POST, bytes_out=40, service_status=201, fired=True)

    assert proof.of_wire(wire(cut)) == proof.APPLIED | proof.UNKNOWN


def test_every_plan_claims_what_its_fault_lets_a_client_know() -> None:
    """The plan's word and the derivation from the fault's moment are two, and have to agree."""
    # What is redirected elsewhere is answered there; of several faults, each attempt meets another.
    planned = [
        s
        for s in catalogue(Toy())
        if s.expect.claim and len(s.schedule.all) == 1 and s.schedule.all[0].leads_to != "elsewhere"
    ]

    wrong = [s.id for s in planned if not s.expect.claim <= proof.of_fault(s.schedule.all[0], s.kind)]
    assert wrong == []
    assert len(planned) > 50


@pytest.mark.parametrize(
    ("fault", "known"),
    [
        (faults.refuse(), proof.NOT_SENT),
        (faults.tls_close(), proof.NOT_SENT),
        (faults.silence(), proof.UNKNOWN),
        (faults.lose_answer(), proof.UNKNOWN),
        (faults.crash_at_work(), proof.UNKNOWN),
        (faults.answer(429), proof.NOT_APPLIED),
        (faults.answer(503), proof.UNKNOWN),
        (faults.cut_in_headers(), proof.APPLIED | proof.UNKNOWN),
        (faults.cut_body(), proof.APPLIED),
        (faults.bad_gzip(), proof.APPLIED),
        (faults.see_other(), proof.APPLIED),
        (faults.idle_close(), frozenset()),
        (faults.early_hints(), frozenset()),
    ],
    ids=lambda v: v.name if isinstance(v, Fault) else "",
)
def test_a_fault_lets_a_write_know_what_its_moment_leaves(fault: Fault, known: frozenset[Effect]) -> None:
    assert proof.of_fault(fault, Kind.KEYED_WRITE) == known


def test_each_moment_of_a_call_has_its_claim() -> None:
    silent = [Fault("x", Action.SILENCE, moment) for moment in Moment]
    of_one_call = [f for f in silent if not f.in_stream and f.moment not in (Moment.IDLE, Moment.ON_ITS_WAY)]

    assert [f.moment for f in of_one_call if not proof.of_fault(f, Kind.PLAIN_WRITE)] == []
    # A stream and an upload in parts are several calls.
    assert {proof.of_fault(f, Kind.STREAM) for f in silent if f not in of_one_call} == {frozenset()}


# --- as a finding ------------------------------------------------------------------------------


def row(claim: Effect, request: WireRequest | None, held: int, *, cause: Cause | None = None) -> list[str]:
    """The codes of what is found when a write fails with `claim` after `request`."""
    schedule = once(faults.cut_body()) if request else always(faults.refuse())
    expect = Expect(errors.CallError, requests=int(request is not None), tries=1)
    scenario = Scenario("X", "a write fails", Kind.PLAIN_WRITE, schedule, expect, cause=cause)
    attempt = Attempt(1, 0.0, 0.1, "refused" if request is None else "cut", request and request.status)
    failure = Failure(method="POST", effect=claim, stopped="not_safe_to_repeat", attempts=(attempt,))
    client = ClientWitness(
        began=0.0,
        ended=0.1,
        error="failwell.drill.selftest.toy.ToyError",
        error_names=("ToyError", "CallError", "Error"),
        failure=failure,
        attempts=failure.attempts,
    )
    requests = [] if request is None else [request]
    journal = Journal(requests=requests, fired=[(MAIN, 1, "x")])
    if request is None:
        journal.connects[MAIN] = [0.0]
    ids = tuple(f"thing-{n}" for n in range(held))
    judged = judge(Toy(), scenario, "sync", Evidence(client, journal, LedgerWitness(ids)))
    assert judged.verdict in (Verdict.PASS, Verdict.FAIL)
    return [f.code for f in judged.findings]


def test_a_claim_as_precise_as_the_wire_allows_passes() -> None:
    assert row(Effect.APPLIED, replace(POST, status=201), 1) == []
    assert row(Effect.UNKNOWN, POST, 1) == []
    assert row(Effect.NOT_SENT, None, 0) == []


def test_unknown_where_the_wire_proves_more_is_vague_although_it_is_true() -> None:
    assert row(Effect.UNKNOWN, replace(POST, status=201), 1) == ["FD-vague"]
    assert row(Effect.UNKNOWN, replace(POST, status=429), 0) == ["FD-vague"]
    assert row(Effect.UNKNOWN, None, 0) == ["FD-vague"]


def test_not_applied_is_vague_where_nothing_was_sent() -> None:
    assert row(Effect.NOT_APPLIED, None, 0) == ["FD-vague"]


def test_a_claim_that_is_true_by_luck_is_a_finding() -> None:
    """The ledger agrees, and still the client could not know it."""
    assert row(Effect.NOT_APPLIED, POST, 0) == ["FD-claim"]
    assert row(Effect.APPLIED, POST, 1) == ["FD-claim"]


def test_what_a_service_documents_of_its_error_is_known_too() -> None:
    documented = Cause("x", "x", None, lambda *_: None, claims=frozenset({Effect.NOT_APPLIED}))

    assert row(Effect.NOT_APPLIED, replace(POST, status=503), 0, cause=documented) == []
    assert row(Effect.NOT_APPLIED, replace(POST, status=503), 0) == ["FD-claim"]
