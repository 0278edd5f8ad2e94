"""A verdict joins three witnesses: each lie is found by the rule that is there for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from failwell import errors
from failwell.drill import faults
from failwell.drill.faults import always, once
from failwell.drill.journal import Journal, WireRequest
from failwell.drill.scenarios import Expect, Scenario, Step
from failwell.drill.selftest.toy import Toy, ToyNetworkError, ToyRateLimitError
from failwell.drill.subject import Kind
from failwell.drill.verdict import Row, Verdict, coverage, judge
from failwell.drill.witness import MAIN, ClientWitness, Evidence, LedgerWitness
from failwell.failure import Attempt, Effect, Failure

REPEATED = Scenario(
    "S10",
    "reset once, repeated with the same key",
    Kind.KEYED_WRITE,
    once(faults.rst_before_answer()),
    Expect(requests=2, effects=frozenset({1})),
)
LOST = Scenario(
    "S09",
    "reset, not repeated",
    Kind.PLAIN_WRITE,
    always(faults.rst_before_answer()),
    Expect(
        errors.ConnectionLostError,
        reasons=frozenset({"reset"}),
        claim=frozenset({Effect.UNKNOWN}),
        effects=frozenset({0}),
    ),
)
LIMITED = Scenario(
    "S46",
    "asked to wait a day",
    Kind.READ,
    always(faults.answer(429, {"Retry-After": "86400"})),
    Expect(errors.RateLimitError, status=429, retry_after=86400.0, elapsed=(0.0, 3.0)),
)


EXACT = replace(LIMITED, expect=replace(LIMITED.expect, own=ToyRateLimitError))
SAYS = replace(LOST, expect=replace(LOST.expect, says=("reset",)))
CANCELLED = replace(LOST, expect=Expect(cancelled=True, effects=frozenset({0})))
ENDED = replace(LOST, expect=replace(LOST.expect, ends_connections=True))
SMALL = replace(LOST, expect=replace(LOST.expect, max_bytes=10))
FRESH = replace(REPEATED, expect=replace(REPEATED.expect, fresh=True))


def request(number: int, *, key: str | None = "k", at: float = 10.0, effects: int = 0) -> WireRequest:
    return WireRequest(
        number, MAIN, number, False, at, "POST", "/things", idempotency_key=key, effects=effects
    )


def sent(**facts: object) -> WireRequest:
    """A request without a key, with what is special about it."""
    return replace(request(1, key=None), **facts)  # type: ignore[arg-type]


def repeated() -> Evidence:
    """What the three witnesses say when REPEATED went as it has to."""
    client = ClientWitness(
        began=10.0,
        ended=10.4,
        succeeded=True,
        result_id="thing-1",
        attempts=(Attempt(1, 0.0, 0.1, "reset", wait=0.1), Attempt(2, 0.2, 0.1, "ok", 201)),
    )
    wire = Journal(requests=[request(1), request(2, at=10.2, effects=1)], fired=[(MAIN, 1, "RST, no answer")])
    return Evidence(client, wire, LedgerWitness(ids=("thing-1",)))


def lost() -> Evidence:
    """The same for LOST."""
    failure = Failure(
        method="POST",
        reason="reset",
        effect=Effect.UNKNOWN,
        stopped="not_safe_to_repeat",
        attempts=(Attempt(1, 0.0, 0.1, "reset", stopped="not_safe_to_repeat"),),
    )
    client = ClientWitness(
        began=10.0,
        ended=10.1,
        error="failwell.drill.selftest.toy.ToyNetworkError",
        error_names=tuple(c.__name__ for c in ToyNetworkError.__mro__),
        text="The connection was reset",
        cause="httpx2.ReadError",
        failure=failure,
        attempts=failure.attempts,
    )
    wire = Journal(requests=[request(1, key=None)], fired=[(MAIN, 1, "RST, no answer")])
    return Evidence(client, wire, LedgerWitness(ids=()))


def limited() -> Evidence:
    """The same for LIMITED."""
    evidence = lost()
    evidence.client.failure = Failure(
        method="GET",
        status=429,
        retry_after=86400.0,
        effect=Effect.NOT_APPLIED,
        stopped="retry_after_too_long",
        attempts=(Attempt(1, 0.0, 0.1, "status", 429),),
    )
    evidence.client.attempts = evidence.client.failure.attempts
    evidence.client.error = "failwell.drill.selftest.toy.ToyRateLimitError"
    evidence.client.error_names = tuple(c.__name__ for c in ToyRateLimitError.__mro__)
    evidence.wire.requests = [replace(request(1, key=None), method="GET", status=429)]
    evidence.ledger.ids = None
    return evidence


def verdict(scenario: Scenario, evidence: Evidence) -> Row:
    return judge(Toy(), scenario, "sync", evidence)


def cancelled() -> Evidence:
    """The same for CANCELLED."""
    evidence = lost()
    evidence.client = ClientWitness(began=10.0, ended=10.1, error="asyncio.exceptions.CancelledError")
    return evidence


@pytest.mark.parametrize(
    ("scenario", "evidence"),
    [(REPEATED, repeated()), (LOST, lost()), (LIMITED, limited()), (CANCELLED, cancelled()), (ENDED, lost())],
)
def test_what_went_as_it_has_to_passes(scenario: Scenario, evidence: Evidence) -> None:
    row = verdict(scenario, evidence)

    assert (row.verdict, row.findings, row.notes) == (Verdict.PASS, [], [])
    assert row.repeat == f"failwell drill toy --only {scenario.id}"


def raised_instead(e: Evidence) -> None:
    e.client.succeeded, e.client.error, e.client.failure = False, "x.Y", lost().client.failure


def returned_instead(e: Evidence) -> None:
    e.client.succeeded, e.client.error, e.client.failure, e.client.attempts = True, "", None, None
    e.ledger.ids = ("thing-1",)


def failure_with(**facts: object) -> Callable[[Evidence], None]:
    def change(e: Evidence) -> None:
        assert e.client.failure is not None
        e.client.failure = replace(e.client.failure, **facts)  # type: ignore[arg-type]

    return change


def client_with(**facts: object) -> Callable[[Evidence], None]:
    def change(e: Evidence) -> None:
        for name, value in facts.items():
            setattr(e.client, name, value)

    return change


def not_applied_but_done(e: Evidence) -> None:
    failure_with(effect=Effect.NOT_APPLIED)(e)
    e.ledger.ids = ("thing-1",)


def wire_with(*requests: WireRequest) -> Callable[[Evidence], None]:
    return lambda e: setattr(e.wire, "requests", list(requests))


def ledger_with(*ids: str) -> Callable[[Evidence], None]:
    return lambda e: setattr(e.ledger, "ids", ids)


@pytest.mark.parametrize(
    ("code", "scenario", "evidence", "lie"),
    [
        pytest.param("FD-outcome", CANCELLED, lost(), client_with(), id="not the cancellation"),
        pytest.param("FD-outcome", CANCELLED, lost(), returned_instead, id="went on when it was cancelled"),
        pytest.param("FD-reuse", FRESH, repeated(), wire_with(sent(reused=True), sent()), id="used it again"),
        pytest.param("FD-reuse", ENDED, lost(), client_with(connections_ended=False), id="left it open"),
        pytest.param(
            "FD-leak", LOST, lost(), wire_with(sent(elsewhere=True, credentials=True)), id="told a stranger"
        ),
        pytest.param(
            "FD-unsound", REPEATED, repeated(), client_with(result_ids=("thing-1", "x")), id="told each else"
        ),
        pytest.param("FD-size", SMALL, lost(), wire_with(sent(bytes_out=11)), id="took it all"),
        pytest.param("FD-outcome", REPEATED, repeated(), raised_instead, id="raised where success is due"),
        pytest.param("FD-outcome", LOST, lost(), returned_instead, id="swallowed the error"),
        pytest.param("FD-hang", LOST, lost(), client_with(ended=None), id="never came back"),
        pytest.param("FD-trouble", LOST, lost(), client_with(trouble="no client"), id="never began"),
        pytest.param("FD-class", LOST, lost(), client_with(error="x.Foreign"), id="not exported"),
        pytest.param("FD-class", LOST, lost(), client_with(error_names=("ValueError",)), id="a bug"),
        pytest.param(
            "FD-class",
            EXACT,
            limited(),
            client_with(error="failwell.drill.selftest.toy.ToyError"),
            id="not exactly",
        ),
        pytest.param("FD-text", SAYS, lost(), client_with(text="something"), id="does not say what it is"),
        pytest.param(
            "FD-requests",
            replace(LOST, expect=replace(LOST.expect, tries=3)),
            lost(),
            lambda e: None,
            id="too few connections tried",
        ),
        pytest.param(
            "FD-ledger",
            replace(REPEATED, before=(Step(Kind.KEYED_WRITE),)),
            repeated(),
            lambda e: setattr(e.ledger, "before", (("a", "b"),)),
            id="the call before was done twice",
        ),
        pytest.param(
            "FD-unsound",
            LOST,
            lost(),
            failure_with(effect=Effect.APPLIED),
            id="claims applied",
        ),
        pytest.param("FD-unsound", LOST, lost(), failure_with(effect=Effect.NOT_SENT), id="claims not sent"),
        pytest.param(
            "FD-class",
            LOST,
            lost(),
            client_with(error_names=("ToyAuthError", "ToyError", "CallError")),
            id="wrong class",
        ),
        pytest.param(
            "FD-class",
            LOST,
            lost(),
            client_with(error_names=("ToyNetworkError", "CallError")),
            id="not its base",
        ),
        pytest.param("FD-cause", LOST, lost(), client_with(cause=""), id="cause forgotten"),
        pytest.param("FD-cause", LOST, lost(), client_with(cause="builtins.OSError"), id="not the engine's"),
        pytest.param(
            "FD-count",
            REPEATED,
            repeated(),
            wire_with(request(1), replace(request(2, at=10.2, effects=1), status=200)),
            id="reports another status",
        ),
        pytest.param(
            "FD-fact",
            LIMITED,
            limited(),
            wire_with(replace(request(1), status=429, request_id="req-7")),
            id="another request's id",
        ),
        pytest.param("FD-fact", LOST, lost(), failure_with(reason="closed"), id="wrong reason"),
        pytest.param("FD-fact", LOST, lost(), failure_with(stopped=""), id="does not say why it stopped"),
        pytest.param("FD-fact", LIMITED, limited(), failure_with(retry_after=3.0), id="wrong retry_after"),
        pytest.param("FD-fact", LIMITED, limited(), failure_with(status=503), id="wrong status"),
        pytest.param("FD-fact", LOST, lost(), client_with(facts={"status": ("5", False)}), id="attribute"),
        pytest.param(
            "FD-claim", LOST, lost(), failure_with(effect=Effect.NOT_APPLIED), id="claims more than it knows"
        ),
        pytest.param("FD-ledger", LOST, lost(), ledger_with("thing-1"), id="done although nobody could"),
        pytest.param("FD-unsound", LOST, lost(), not_applied_but_done, id="not applied, but done"),
        pytest.param(
            "FD-requests",
            LOST,
            lost(),
            wire_with(request(1, key=None), request(2, key=None)),
            id="sent twice",
        ),
        pytest.param("FD-count", LOST, lost(), client_with(attempts=()), id="hides an attempt"),
        pytest.param(
            "FD-count",
            REPEATED,
            repeated(),
            client_with(attempts=(Attempt(1, 0.0, 0.1, "ok", 201),)),
            id="hides the retry before a success",
        ),
        pytest.param(
            "FD-key", REPEATED, repeated(), wire_with(request(1), request(2, key="other")), id="new key"
        ),
        pytest.param(
            "FD-key", REPEATED, repeated(), wire_with(request(1), request(2, key=None)), id="no key"
        ),
        pytest.param("FD-key", LOST, lost(), wire_with(request(1)), id="a key where none was to be"),
        pytest.param("FD-ledger", REPEATED, repeated(), ledger_with("thing-1", "thing-2"), id="done twice"),
        pytest.param("FD-ledger", REPEATED, repeated(), ledger_with(), id="lost"),
        pytest.param("FD-unsound", REPEATED, repeated(), ledger_with("thing-9"), id="another thing's id"),
        pytest.param("FD-promise", LOST, lost(), client_with(broken_promises=["leaks"]), id="leaks a key"),
        pytest.param(
            "FD-drill",
            LOST,
            lost(),
            lambda e: setattr(e.ledger, "settled", False),
            id="service still at work",
        ),
        pytest.param("FD-time", LIMITED, limited(), client_with(ended=99.0), id="waited before raising"),
    ],
)
def test_each_lie_is_found(
    code: str, scenario: Scenario, evidence: Evidence, lie: Callable[[Evidence], None]
) -> None:
    lie(evidence)
    row = verdict(scenario, evidence)

    assert row.verdict is Verdict.FAIL
    assert code in {f.code for f in row.findings}


def test_saying_unknown_where_the_wire_proves_more_is_a_finding_of_its_own() -> None:
    scenario = replace(LOST, expect=replace(LOST.expect, claim=frozenset({Effect.APPLIED})))

    assert "FD-vague" in {f.code for f in verdict(scenario, lost()).findings}


def test_a_retry_earlier_than_asked_is_measured_at_the_server() -> None:
    scenario = replace(REPEATED, expect=replace(REPEATED.expect, wait_at_least=1.0))
    row = verdict(scenario, repeated())

    assert [f.code for f in row.findings] == ["FD-wait"]
    assert "0.200 s" in row.findings[0].text


def test_a_wait_that_is_too_long_is_found_too() -> None:
    scenario = replace(REPEATED, expect=replace(REPEATED.expect, wait_at_most=0.1))

    assert [f.code for f in verdict(scenario, repeated()).findings] == ["FD-wait"]


def test_a_fault_that_never_acted_proves_nothing() -> None:
    evidence = repeated()
    evidence.wire.fired.clear()
    row = verdict(REPEATED, evidence)

    assert row.verdict is Verdict.NOT_EXERCISED
    assert "never acted" in row.notes[0]


def test_a_fault_for_every_attempt_must_act_at_least_once() -> None:
    evidence = lost()
    evidence.wire.fired.clear()

    assert verdict(LOST, evidence).verdict is Verdict.NOT_EXERCISED


def test_what_came_of_a_rehearsal_that_did_not_take_place_is_not_held_against_the_client() -> None:
    evidence = repeated()
    evidence.wire.fired.clear()
    evidence.ledger.ids = ()

    assert verdict(REPEATED, evidence).findings == []


def test_a_client_that_stops_before_the_second_fault_fails_and_does_not_hide_behind_it() -> None:
    scenario = replace(
        REPEATED,
        schedule=faults.times(2, faults.rst_before_answer()),
        expect=replace(REPEATED.expect, requests=3),
    )

    assert verdict(scenario, repeated()).verdict is Verdict.FAIL


def test_a_fault_in_a_call_before_must_act_too() -> None:
    idle = Step(Kind.READ, once(faults.idle_close()))
    scenario = replace(REPEATED, before=(idle,))
    evidence = repeated()
    evidence.ledger.before = ((),)

    assert verdict(scenario, evidence).verdict is Verdict.NOT_EXERCISED
    evidence.wire.fired.append(("before-1", 1, "closed while idle"))
    assert verdict(scenario, evidence).verdict is Verdict.PASS


def test_without_a_ledger_what_was_done_is_unprovable() -> None:
    evidence = repeated()
    evidence.ledger.ids = None

    assert verdict(REPEATED, evidence).verdict is Verdict.UNPROVABLE


def test_an_error_that_knows_nothing_is_unprovable() -> None:
    evidence = lost()
    evidence.client.failure = evidence.client.attempts = None

    assert verdict(LOST, evidence).verdict is Verdict.UNPROVABLE


def test_coverage_counts_only_exceptions_raised_by_rehearsals_that_passed() -> None:
    good, bad = lost(), lost()
    bad.client.cause = ""
    rows = [verdict(LOST, good), verdict(replace(LOST, id="S09-b"), bad)]
    covered = {c.exception: c.rows for c in coverage(Toy(), rows)}

    assert covered["ToyNetworkError"] == ("toy S09 sync",)
    assert covered["ToyAuthError"] == ()


def test_every_rule_is_explained_in_the_docs() -> None:
    root = Path(__file__).parents[2]
    explained = (root / "docs" / "drill.md").read_text("utf-8")
    code = "".join(f.read_text("utf-8") for f in (root / "src" / "failwell" / "drill").glob("*.py"))

    assert sorted(c for c in set(re.findall(r"FD-[a-z]+", code)) if c not in explained) == []
