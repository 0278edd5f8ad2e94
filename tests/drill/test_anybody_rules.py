"""What anybody may ask of any client, one rule at a time, with witnesses made up for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from failwell.drill import faults
from failwell.drill.anybody import AnybodysClient
from failwell.drill.anybody.fair import BETTER, judge
from failwell.drill.faults import Action, Fault, Schedule, always, once
from failwell.drill.journal import Journal, WireConnection, WireRequest
from failwell.drill.plan import KEYED, PLAIN, READ, Expect, Scenario, Step
from failwell.drill.rehearsal import AFTER_FAILED
from failwell.drill.subject import Call, Kind, Settings
from failwell.drill.verdict import Row, Verdict
from failwell.drill.witness import MAIN, ClientWitness, Evidence, LedgerWitness
from failwell.errors import ConnectionLostError

NOTHING = frozenset({0})
DONE = frozenset({1})
LOST = Expect(ConnectionLostError, effects=NOTHING)
FINE = Expect(effects=DONE)


def adapter(base_url: str, call: Call) -> str:
    raise AssertionError("nobody calls it here")


adapter.attempts = 1  # type: ignore[attr-defined]
adapter.timeout = 2.0  # type: ignore[attr-defined]
SUBJECT = AnybodysClient(adapter, name="any")


def scenario(kind: Kind, schedule: Schedule, expect: Expect, **more: Any) -> Scenario:
    return Scenario("S00", "Something goes wrong", kind, schedule, expect, Settings(), **more)


def request(number: int = 1, at: float = 0.0, **more: Any) -> WireRequest:
    """A request that was met with nothing, or with the fault that `more` tells of."""
    made = WireRequest(number, MAIN, 1, False, at, "POST", "/things", finished=at + 0.01)
    return replace(made, **more)


def answered(number: int = 1, at: float = 0.0, **more: Any) -> WireRequest:
    """One that the service did, and whose answer was passed on."""
    return request(number, at, **{"service_status": 201, "status": 201, **more})


def met(number: int = 1, at: float = 0.0, **more: Any) -> WireRequest:
    """One on which the planned fault acted."""
    return request(number, at, **{"fired": True, **more})


def succeeded(result: str | None = "thing-1", **more: Any) -> ClientWitness:
    return ClientWitness(began=0.0, ended=1.0, succeeded=True, result_id=result, result_ids=(result,), **more)


def raised(error: str = "requests.exceptions.ConnectionError", **more: Any) -> ClientWitness:
    return ClientWitness(**{"began": 0.0, "ended": 1.0, "error": error, "text": "it broke", **more})


def judged(
    what: Scenario,
    client: ClientWitness,
    requests: list[WireRequest],
    held: tuple[str, ...] | None = (),
    subject: AnybodysClient = SUBJECT,
    **wire: Any,
) -> Row:
    fired = [(MAIN, r.number, "planned") for r in requests if r.fired]
    journal = Journal(**{"requests": requests, "fired": fired, **wire})
    ledger = LedgerWitness(held, before=tuple(() for _ in what.before))
    return judge(subject, what, "sync", Evidence(client, journal, ledger))


def codes(row: Row) -> list[str]:
    return [finding.code for finding in row.findings]


def test_an_error_where_nothing_else_was_possible_passes() -> None:
    row = judged(scenario(PLAIN, always(faults.rst_before_answer()), LOST), raised(), [met()])

    assert (Verdict.PASS, []) == (row.verdict, row.findings)


def test_half_a_body_is_no_success() -> None:
    what = scenario(READ, always(faults.cut_body()), Expect(ConnectionLostError))

    row = judged(what, succeeded("x"), [met(service_status=200, status=200)], ("x",))

    assert (Verdict.FAIL, ["FD-outcome"]) == (row.verdict, codes(row))
    assert "body cut" in row.findings[0].text


@pytest.mark.parametrize("fault", [faults.large_header(), faults.drip(0.01)], ids=lambda f: f.name)
@pytest.mark.parametrize("client", [succeeded(), raised()], ids=["taken", "refused"])
def test_a_strange_answer_that_is_whole_may_be_taken_and_refused(fault: Fault, client: ClientWitness) -> None:
    what = scenario(PLAIN, always(fault), Expect(ConnectionLostError, effects=DONE))

    assert Verdict.PASS is judged(what, client, [met(service_status=201, status=201)], ("thing-1",)).verdict


def test_who_raises_although_the_answer_was_whole_fails() -> None:
    row = judged(scenario(READ, once(faults.early_hints()), Expect()), raised(), [
        met(service_status=200, status=200)
    ])  # fmt: skip

    assert (Verdict.FAIL, ["FD-outcome"]) == (row.verdict, codes(row))


@pytest.mark.parametrize(
    ("held", "result", "code"),
    [
        ((), "thing-1", "FD-unsound"),
        (("thing-1", "thing-2"), "thing-1", "FD-ledger"),
        (("thing-2",), "thing-1", "FD-unsound"),
    ],
    ids=["nothing-done", "twice", "another-result"],
)
def test_a_success_has_its_one_effect(held: tuple[str, ...], result: str, code: str) -> None:
    row = judged(scenario(KEYED, Schedule(), FINE), succeeded(result), [answered()], held)

    assert (Verdict.FAIL, [code]) == (row.verdict, codes(row))


def test_a_read_brings_what_it_asked_for() -> None:
    row = judged(scenario(READ, Schedule(), Expect()), succeeded("before"), [answered()], ("main",))

    assert ["FD-unsound"] == codes(row)


def test_callers_with_one_key_get_one_result() -> None:
    client = replace(succeeded(), result_ids=("thing-1", "thing-2"))

    row = judged(scenario(KEYED, Schedule(), FINE, crowd=2), client, [answered(), answered(2)], ("thing-1",))

    assert ["FD-unsound"] == codes(row)


def test_a_call_before_it_is_done_once_too() -> None:
    what = scenario(KEYED, Schedule(), FINE, before=(Step(KEYED),))
    ledger = LedgerWitness(("thing-1",), before=(("a", "b"),))

    row = judge(SUBJECT, what, "sync", Evidence(succeeded(), Journal(requests=[answered()]), ledger))

    assert ["FD-ledger"] == codes(row)


def test_a_write_without_a_key_is_not_sent_again_once_it_may_have_been_done() -> None:
    patient = AnybodysClient(adapter, name="patient")
    patient.attempts = None
    what = scenario(PLAIN, always(faults.rst_before_answer()), LOST)

    assert ["FD-requests"] == codes(judged(what, raised(), [met(), met(2)], subject=patient))
    assert [] == codes(judged(what, raised(), [met(status=429), met(2, status=429)], subject=patient))
    with_key = [met(idempotency_key="k"), met(2, idempotency_key="k")]
    assert [] == codes(judged(what, raised(), with_key, subject=patient))


def test_tries_of_one_write_carry_one_key_and_are_no_more_than_the_library_tells_of() -> None:
    what = scenario(KEYED, always(faults.rst_before_answer()), LOST)

    row = judged(what, raised(), [met(idempotency_key="a"), met(2, idempotency_key="b")])

    assert ["FD-key", "FD-count"] == codes(row)
    assert "1 try" in row.findings[1].text


def test_a_redirect_that_is_followed_is_no_second_try() -> None:
    what = scenario(READ, always(faults.redirect(307)), Expect(ConnectionLostError))

    assert [] == codes(judged(what, raised(), [met(status=307), met(2, status=307)]))


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (faults.answer(429, {"Retry-After": "2"}), "FD-wait"),
        (faults.answer(429, retry_date=3.0), "FD-wait"),
        (faults.answer(429, retry_date=3.0, clock_skew=3600.0), BETTER),
        (faults.answer(429, {"Retry-After": "1.0"}), BETTER),
        (faults.answer(429, {"Retry-After": "9" * 35}), BETTER),
    ],
    ids=["seconds", "date", "date-by-a-wrong-clock", "fraction", "absurd"],
)
def test_a_wait_in_the_standards_words_is_kept(fault: Fault, code: str) -> None:
    patient = AnybodysClient(adapter, name="patient")
    patient.attempts = 2
    what = scenario(READ, once(fault), Expect(requests=2, wait_at_least=1.0))
    early = [met(status=429), answered(2, 0.5)]

    assert [code] == codes(judged(what, succeeded(None), early, subject=patient))
    late = [met(status=429), answered(2, 2.5)]
    assert [] == codes(judged(what, succeeded(None), late, subject=patient))


def test_a_try_ends_with_its_timeout() -> None:
    silent = scenario(PLAIN, always(faults.silence()), LOST)

    assert [] == codes(judged(silent, raised(ended=2.5), [met(finished=2.4)]))
    assert ["FD-time"] == codes(judged(silent, raised(ended=9.0), [met(finished=8.9)]))
    # Also where the connection was over long before.
    assert ["FD-time"] == codes(judged(silent, raised(ended=9.0), [met(finished=0.1)]))
    # What comes after a new connection is about that one.
    again = judged(silent, raised(ended=9.0), [met(finished=0.1)], connects={MAIN: [0.0, 8.0]})
    assert [] == codes(again)


def test_a_connection_ends_with_its_timeout() -> None:
    stalled = scenario(KEYED, always(faults.tls_stall()), LOST)
    hanging = WireConnection(1, MAIN, 0.0, fault="TLS handshake stalls", closed=9.0)
    fired = [(MAIN, 1, "planned")]

    row = judged(stalled, raised(ended=9.0), [], connections=[hanging], fired=fired)

    assert ["FD-time"] == codes(row)
    ignored = scenario(KEYED, always(faults.syn_unanswered()), LOST)
    row = judged(ignored, raised(ended=9.0), [], connects={MAIN: [0.0]}, fired=fired)
    assert ["FD-time"] == codes(row)


def test_a_timeout_that_nobody_knows_is_not_judged() -> None:
    unknown = AnybodysClient(lambda base_url, call: None, name="unknown")

    row = judged(scenario(PLAIN, always(faults.silence()), LOST), raised(ended=9.0), [met()], subject=unknown)

    assert Verdict.PASS is row.verdict


def test_a_call_that_never_ends_fails_and_it_is_said_what_it_may_wait_for() -> None:
    waiting = ClientWitness(began=1.0)
    day = scenario(READ, always(faults.answer(429, {"Retry-After": "86400"})), Expect())
    dated = scenario(READ, always(faults.answer(429, retry_date=2.0, clock_skew=3600.0)), Expect())

    assert "86400 s" in judged(day, waiting, [met(status=429)]).findings[0].text
    assert "3602 s ahead" in judged(dated, waiting, [met(status=429)]).findings[0].text
    silent = judged(scenario(READ, always(faults.silence()), Expect()), waiting, [met()])
    assert ["FD-hang"] == codes(silent)
    assert silent.findings[0].text.endswith("nor raised")


def test_the_key_stays_at_home_and_out_of_texts() -> None:
    what = scenario(READ, once(faults.redirect(302, "elsewhere")), Expect(ConnectionLostError))
    secret = SUBJECT.secrets()[0]
    gone = [met(status=302), answered(2, elsewhere=True, credentials=True)]

    assert ["FD-leak"] == codes(judged(what, succeeded(None), gone, ("x",)))
    told = judged(what, raised(text=f"no, {secret}!"), [met(status=302)])
    assert ["FD-promise"] == codes(told)


def test_a_cancelled_call_is_over() -> None:
    cancelled = Expect(cancelled=True, ends_connections=True, effects=NOTHING)
    what = scenario(READ, once(faults.silence()), cancelled, cancel=True)
    clean = raised("asyncio.exceptions.CancelledError")

    assert [] == codes(judged(what, clean, [met()]))
    again = judged(what, raised(connections_ended=False), [met(), request(2)])
    assert ["FD-outcome", "FD-requests", "FD-reuse", "FD-count"] == codes(again)


def test_what_the_client_is_asked_next_works() -> None:
    broken = raised(broken_promises=[f"{AFTER_FAILED}: OSError: gone", "it does not survive pickle"])

    row = judged(scenario(PLAIN, once(faults.silence()), LOST), broken, [met()])

    assert [f"FD-outcome: {AFTER_FAILED}: OSError: gone"] == [str(f) for f in row.findings]


def test_what_would_have_been_better_fails_nothing() -> None:
    row = judged(scenario(READ, once(faults.fin_before_answer()), Expect(requests=2)), raised(), [met()])

    assert (Verdict.PASS, [BETTER]) == (row.verdict, codes(row))
    assert row.findings[0].text.endswith("it raised requests.ConnectionError")
    own = judged(
        scenario(READ, once(faults.fin_before_answer()), Expect()), raised("builtins.OSError"), [met()]
    )
    assert own.findings[0].text.endswith("it raised OSError")


def test_tries_that_are_no_use_could_be_better() -> None:
    untrusted = scenario(KEYED, always(faults.tls_untrusted()), replace(LOST, tries=1))
    row = judged(untrusted, raised(), [], connects={MAIN: [0.0, 0.1]}, fired=[(MAIN, 1, "planned")])
    assert [BETTER] == codes(row)

    patient = AnybodysClient(adapter, name="patient")
    patient.attempts = 2
    refused = scenario(KEYED, Schedule(), replace(LOST, status=409))
    assert [BETTER] == codes(
        judged(refused, raised(), [request(status=409), request(2, status=409)], subject=patient)
    )
    moved = scenario(PLAIN, always(faults.redirect(301)), LOST)
    read = [met(status=301), met(2, status=301, method="GET")]
    assert [BETTER] == codes(judged(moved, raised(), read))


def test_without_a_kept_connection_what_needs_one_is_not_applicable() -> None:
    reused = scenario(PLAIN, once(faults.fin_on_reuse()), LOST, before=(Step(READ),))
    row = judged(reused, succeeded(), [answered()], ("thing-1",))
    assert Verdict.SKIPPED is row.verdict

    idle = scenario(PLAIN, Schedule(), FINE, before=(Step(READ, once(faults.idle_close())),))
    assert Verdict.SKIPPED is judged(idle, succeeded(), [answered()], ("thing-1",)).verdict
    failed = ClientWitness(trouble="OSError: no")
    assert ["the call before it ended with OSError: no"] == judged(idle, failed, []).notes


def test_a_fault_that_never_acted_proves_nothing() -> None:
    row = judged(
        scenario(READ, once(faults.fin_before_answer()), Expect()), succeeded("x"), [answered()], ("x",)
    )

    assert Verdict.NOT_EXERCISED is row.verdict


def test_without_a_ledger_a_write_is_unprovable() -> None:
    what = scenario(KEYED, once(faults.lose_answer()), replace(FINE, requests=2))

    assert Verdict.UNPROVABLE is judged(what, raised(), [met()], None).verdict


def test_what_goes_wrong_with_the_drill_is_told() -> None:
    what = scenario(READ, once(faults.silence()), LOST)
    evidence = Evidence(
        ClientWitness(trouble="TypeError: no"),
        Journal(trouble=["no service"], fired=[(MAIN, 1, "silence")]),
        LedgerWitness((), settled=False),
    )

    row = judge(SUBJECT, what, "sync", evidence)

    assert ["FD-drill", "FD-drill", "FD-trouble"] == codes(row)


def test_what_was_taken_for_a_success_is_named() -> None:
    nothing = scenario(READ, Schedule(), Expect())
    refused = always(Fault("refused", Action.REFUSE, faults.Moment.CONNECT))

    stale = judged(nothing, succeeded(None), [request()])
    wrong = judged(nothing, succeeded(None), [request(status=500)])
    none = judged(scenario(READ, refused, LOST), succeeded(None), [], fired=[(MAIN, 1, "refused")])

    told = [row.findings[0].text.rpartition(": ")[2] for row in (stale, wrong, none)]
    assert ["what was there before the answer", "a 500", "nothing that was sent"] == told
