"""The flow of one call, with the server played by hand: no socket, no clock, no dice."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import failwell
from failwell import (
    Attempt,
    Breaker,
    BreakerPolicy,
    Contract,
    Effect,
    Response,
    RetryBudget,
    RetryPolicy,
    Rule,
    Timeouts,
)
from failwell.call.breaker import Circuit
from failwell.call.flow import MAX_REDIRECTS, Call, Policies, call_flow
from failwell.call.messages import Broken, Phase, Reason, Reply, Request, Send, Sleep
from failwell.call.outcome import STANDARD_CLASS, WORDS, effect_of_call
from failwell.contract import STANDARD
from failwell.testing import Played, answer, broken, play

URL = "https://api.example/things"
EPOCH = 1_767_225_600.0  # the Unix time at monotonic 0


def flow(
    method: str = "GET",
    *,
    key: str | None = None,
    deadline: float = 60.0,
    contract: Contract = STANDARD,
    circuit: Circuit | None = None,
    budget: RetryBudget | None = None,
    url: str = URL,
    headers: dict[str, str] | None = None,
    follow_redirects: bool = True,
    random: Callable[[], float] = lambda: 0.0,
    now: float = 0.0,
    secrets: tuple[str, ...] = (),
    credentials: frozenset[str] = frozenset({"authorization", "x-key"}),
    **retry: Any,
) -> Any:
    fields = dict(headers or {})
    if key is not None:
        fields["idempotency-key"] = key
    call = Call(Request(method, url, fields, None), contract, deadline, key, secrets, credentials)
    policies = Policies(RetryPolicy(**retry), Timeouts(), budget, follow_redirects)
    return call_flow(call, policies, circuit, now=now, epoch=EPOCH, random=random)


def failed(played: Played) -> failwell.CallError:
    assert played.error is not None, f"it returned {played.response}"
    return played.error


@pytest.mark.parametrize("result", [broken("read_timeout"), answer(400)], ids=str)
def test_a_failed_call_is_gone_from_memory_with_its_error(result: Any) -> None:
    """The traceback of an error holds the flow's frame; if that held the error, only gc would end it."""
    gc.disable()
    try:
        ran = flow(max_attempts=1)
        next(ran)
        with pytest.raises(failwell.CallError) as raised:
            ran.send(Reply(0.1, result))
        held = weakref.ref(raised.value)
        del raised

        assert held() is None
    finally:
        gc.enable()


# --- The usual ways -------------------------------------------------------------------------


def test_a_success_is_returned_with_its_attempt() -> None:
    played = play(flow(), [answer(200, {"a": 1})], seconds=0.25)

    assert played.response is not None
    assert played.response.json() == {"a": 1}
    assert played.response.attempts == (Attempt(1, 0.0, 0.25, "ok", 200),)


def test_the_first_order_carries_request_timeouts_deadline_and_number() -> None:
    effect = next(flow(deadline=7.0, now=100.0))

    assert isinstance(effect, Send)
    assert (effect.request.url, effect.timeouts, effect.deadline, effect.number) == (
        URL,
        Timeouts(),
        107.0,
        1,
    )


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 429])
def test_s41_a_transient_status_is_tried_again_until_it_succeeds(status: int) -> None:
    played = play(flow(), [answer(status), answer(status), answer(200)], seconds=0.1)

    assert played.response is not None
    assert [a.status for a in played.response.attempts] == [status, status, 200]
    assert played.sleeps == [0.5, 1.0]
    assert [a.wait for a in played.response.attempts] == [0.5, 1.0, 0.0]
    assert [round(a.start, 6) for a in played.response.attempts] == [0.0, 0.6, 1.7]


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, failwell.InvalidRequestError),
        (401, failwell.AuthenticationError),
        (402, failwell.PaymentRequiredError),
        (403, failwell.PermissionDeniedError),
        (404, failwell.NotFoundError),
        (409, failwell.ConflictError),
        (413, failwell.TooLargeError),
        (422, failwell.InvalidRequestError),
        (501, failwell.ServerError),
    ],
    ids=str,
)
def test_s40_a_lasting_status_is_raised_at_once(status: int, cls: type[failwell.CallError]) -> None:
    error = failed(play(flow(), [answer(status, {"detail": "No."})]))

    assert type(error) is cls
    assert len(error.attempts) == 1
    assert error.failure.stopped == "not_retryable" == error.attempts[0].stopped


def test_the_last_failure_is_raised_when_the_tries_are_spent() -> None:
    error = failed(play(flow(max_attempts=2), [answer(503), answer(502)]))

    assert error.status == 502
    assert error.failure.stopped == "attempts_exhausted"
    assert [a.stopped for a in error.attempts] == ["", "attempts_exhausted"]
    assert [a.status for a in error.attempts] == [503, 502]


def test_every_attempt_keeps_its_own_request_id() -> None:
    script = [answer(503, headers={"x-request-id": "one"}), answer(503, headers={"x-request-id": "two"})]
    error = failed(play(flow(max_attempts=2), script))

    assert [a.request_id for a in error.attempts] == ["one", "two"]
    assert error.request_id == "two"


def test_a_wait_is_announced_with_its_attempt_and_in_words() -> None:
    played = play(flow(), [answer(503), broken("reset"), answer(200)])
    waits = [e for e in played.effects if isinstance(e, Sleep)]

    assert [w.why for w in waits] == ["HTTP 503", WORDS[Reason.RESET]]
    assert [w.after and w.after.number for w in waits] == [1, 2]


def test_a_cut_answer_is_announced_as_cut_and_not_by_its_status() -> None:
    played = play(flow(), [broken("cut", status=200, received=3, expected=9), answer(200)])

    assert [e.why for e in played.effects if isinstance(e, Sleep)] == [
        "The answer was cut short (3 of 9 bytes)"
    ]


# --- What may be repeated -------------------------------------------------------------------

NEVER_SENT = [
    Reason.DNS,
    Reason.REFUSED,
    Reason.UNREACHABLE,
    Reason.TLS_CLOSED,
    Reason.PROXY,
    Reason.CONNECT_TIMEOUT,
]
SILENT = [Reason.RESET, Reason.CLOSED, Reason.READ_TIMEOUT, Reason.WRITE_TIMEOUT, Reason.NOT_HTTP]


@pytest.mark.parametrize("reason", [*NEVER_SENT, Reason.POOL_TIMEOUT], ids=str)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_what_never_left_is_always_tried_again(method: str, reason: Reason) -> None:
    played = play(flow(method), [broken(reason, Phase.NOT_SENT), answer(200)])

    assert played.response is not None
    assert len(played.requests) == 2


@pytest.mark.parametrize("reason", SILENT, ids=str)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_s09_a_write_without_a_key_is_not_repeated_once_it_was_sent(method: str, reason: Reason) -> None:
    error = failed(play(flow(method), [broken(reason)]))

    assert type(error) is STANDARD_CLASS[reason]
    assert (error.effect, error.failure.stopped) == (Effect.UNKNOWN, "not_safe_to_repeat")
    assert error.retryable


@pytest.mark.parametrize("reason", SILENT, ids=str)
def test_s10_a_write_with_a_key_is_repeated_with_the_same_key(reason: Reason) -> None:
    played = play(flow("POST", key="k-1"), [broken(reason), answer(503), answer(201)])

    assert played.response is not None
    assert [r.headers["idempotency-key"] for r in played.requests] == ["k-1"] * 3


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_an_idempotent_method_needs_no_key(method: str) -> None:
    played = play(flow(method), [broken("read_timeout"), answer(204)])

    assert len(played.requests) == 2


def test_a_429_did_nothing_so_a_write_without_a_key_is_repeated() -> None:
    played = play(flow("POST"), [answer(429), answer(201)])

    assert len(played.requests) == 2


def test_a_500_leaves_open_what_it_did_so_a_write_without_a_key_is_not_repeated() -> None:
    error = failed(play(flow("POST"), [answer(500)]))

    assert (error.effect, error.failure.stopped) == (Effect.UNKNOWN, "not_safe_to_repeat")


@pytest.mark.parametrize("reason", [Reason.TLS, Reason.TLS_UNTRUSTED, Reason.BAD_URL], ids=str)
def test_s05_a_certificate_does_not_heal_by_asking_again(reason: Reason) -> None:
    error = failed(play(flow(), [broken(reason)]))

    assert isinstance(error, failwell.ConnectError)
    assert (error.retryable, error.effect) == (False, Effect.NOT_SENT)


@pytest.mark.parametrize("reason", [Reason.TOO_LARGE, Reason.FORMAT], ids=str)
def test_s27_an_answer_that_is_too_large_is_so_again(reason: Reason) -> None:
    error = failed(play(flow("POST", key="k"), [broken(reason, status=200)]))

    assert isinstance(error, failwell.BadAnswerError)
    assert (error.retryable, error.effect) == (False, Effect.APPLIED)


def test_s18_a_write_whose_answer_was_cut_after_a_2xx_was_carried_out() -> None:
    error = failed(play(flow("POST"), [broken("cut", status=201, received=1, expected=10)]))

    assert (error.effect, error.status) == (Effect.APPLIED, 201)
    assert "1 of 10 bytes" in str(error)
    assert error.failure.stopped == "not_safe_to_repeat"


def test_a_failing_status_whose_body_was_cut_is_worth_what_the_status_is_worth() -> None:
    assert len(play(flow(), [broken("cut", status=404)]).requests) == 1
    assert len(play(flow(), [broken("cut", status=503), answer(200)]).requests) == 2


def test_a_409_whose_body_was_cut_may_have_said_that_the_key_is_in_flight() -> None:
    """
    A refusal changes nothing; but with a key, the first request with it may still be at work.
    """
    cut = broken("cut", status=409)

    assert failed(play(flow("POST", key="k"), [cut])).effect is Effect.UNKNOWN
    assert failed(play(flow("POST"), [cut])).effect is Effect.NOT_APPLIED
    assert failed(play(flow("POST", key="k"), [broken("cut", status=422)])).effect is Effect.NOT_APPLIED
    assert failed(play(flow("GET", key="k"), [cut])).effect is Effect.NOT_APPLIED


EFFECTS = [Effect.NOT_SENT, Effect.NOT_APPLIED, Effect.UNKNOWN, Effect.APPLIED]


@pytest.mark.parametrize(("earlier", "last"), list(itertools.product(EFFECTS, EFFECTS)))
def test_the_effect_of_a_call_is_the_furthest_any_attempt_may_have_gone(
    earlier: Effect, last: Effect
) -> None:
    assert effect_of_call(earlier, last) is max(earlier, last, key=EFFECTS.index)


@pytest.mark.parametrize("reason", SILENT, ids=str)
def test_a_read_whose_answer_was_lost_changed_nothing(reason: Reason) -> None:
    assert failed(play(flow(max_attempts=1), [broken(reason)])).effect is Effect.NOT_APPLIED


def test_a_refused_second_try_does_not_close_what_the_first_left_open() -> None:
    error = failed(play(flow("POST", key="k"), [broken("reset"), answer(409)]))

    assert isinstance(error, failwell.ConflictError)
    assert error.effect is Effect.UNKNOWN


# --- Waiting --------------------------------------------------------------------------------


def test_s42_retry_after_is_obeyed_and_spread_a_little_but_never_shortened() -> None:
    script = [answer(429, headers={"retry-after": "3"}), answer(200)]

    assert play(flow(random=lambda: 0.0), script).sleeps == [3.0]
    assert play(flow(random=lambda: 0.999), script).sleeps == [pytest.approx(3.2997)]


def _date(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(EPOCH, UTC) + timedelta(seconds=seconds), usegmt=True)


def test_s43_a_date_is_waited_for() -> None:
    played = play(flow(), [answer(503, headers={"retry-after": _date(4)}), answer(200)])

    assert played.sleeps == [4.0]


@pytest.mark.parametrize("skew", [3600, -3600])
def test_s44_a_date_is_held_against_the_answers_own_date(skew: int) -> None:
    headers = {"date": _date(skew), "retry-after": _date(skew + 4)}

    assert play(flow(), [answer(503, headers=headers), answer(200)]).sleeps == [4.0]


@pytest.mark.parametrize("value", ["-5", "abc", "", "9" * 35, _date(-60), "0", "NaN", "1e400", "\x00"])
def test_s45_a_hint_that_cannot_be_read_leaves_the_own_backoff(value: str) -> None:
    played = play(flow(), [answer(429, headers={"retry-after": value}), answer(200)])

    assert played.sleeps == [0.5]


def test_s46_a_wait_beyond_the_cap_is_raised_at_once_and_says_how_long() -> None:
    error = failed(play(flow(deadline=1e6), [answer(429, headers={"retry-after": "86400"})]))

    assert isinstance(error, failwell.RateLimitError)
    assert (error.retry_after, error.failure.stopped) == (86400.0, "retry_after_too_long")
    assert len(error.attempts) == 1


def test_a_wait_beyond_the_deadline_is_raised_at_once_and_says_how_long() -> None:
    error = failed(play(flow(deadline=10.0), [answer(503, headers={"retry-after": "10"})]))

    assert (error.retry_after, error.failure.stopped) == (10.0, "deadline")


def test_retry_after_of_an_answer_whose_body_was_lost_is_obeyed() -> None:
    lost = broken("cut", status=503, raw_headers=[("retry-after", "7")])

    assert play(flow(), [lost, answer(200)]).sleeps == [7.0]


def test_no_sleep_is_begun_that_no_attempt_can_follow() -> None:
    error = failed(play(flow(deadline=1.0, base=1.0), [answer(503)], seconds=0.5))

    assert error.failure.stopped == "deadline"
    assert error.attempts[0].wait == 0.0


def test_a_sleep_that_would_end_at_the_deadline_is_not_begun() -> None:
    assert play(flow(deadline=0.5, base=0.5), [answer(503)]).sleeps == []


def test_a_machine_that_sleeps_too_long_sends_nothing_past_the_deadline() -> None:
    running = flow(deadline=5.0)
    next(running)
    running.send(Reply(0.1, answer(503)))

    with pytest.raises(failwell.UnavailableError) as caught:
        running.send(Reply(5.0))

    assert caught.value.failure.stopped == "deadline"
    assert caught.value.attempts[0].wait == 0.5


@pytest.mark.parametrize("deadline", [0.0, -1.0])
def test_a_deadline_that_has_passed_is_refused_before_anything_is_sent(deadline: float) -> None:
    error = failed(play(flow(deadline=deadline), []))

    assert isinstance(error, failwell.DeadlineExceededError)
    assert isinstance(error, TimeoutError)
    assert (error.attempts, error.effect, error.failure.reason) == ((), Effect.NOT_SENT, "deadline_exceeded")


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([answer(503), answer(429), broken("reset"), broken("refused")]),
            st.floats(0, 100).map(lambda s: answer(503, headers={"retry-after": f"{s:.3f}"})),
        ),
        min_size=10,
        max_size=10,
    ),
    st.floats(0.01, 100),
    st.floats(0, 30),
    st.floats(0, 0.999),
)
def test_no_attempt_is_sent_past_the_deadline_and_none_earlier_than_asked(
    script: list[Response | Broken], deadline: float, seconds: float, chance: float
) -> None:
    played = play(flow(deadline=deadline, max_attempts=9, random=lambda: chance), script, seconds=seconds)
    error = failed(played)

    assert len(played.sleeps) == len(played.requests) - 1 == len(error.attempts) - 1
    assert all(a.start < deadline for a in error.attempts)
    for item, attempt in zip(script, error.attempts[:-1], strict=False):
        asked = item.headers.get("retry-after") if isinstance(item, Response) else None
        assert attempt.wait >= float(asked or 0) - 1e-9


# --- Who says whether to try again ----------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "header", "tries"), [(503, "false", 1), (409, "true", 2), (503, "what", 2)]
)
def test_the_service_may_say_itself_whether_to_try_again(status: int, header: str, tries: int) -> None:
    played = play(flow(), [answer(status, headers={"x-should-retry": header}), answer(200)])

    assert len(played.requests) == tries


def test_what_the_service_says_of_trying_again_is_on_the_error() -> None:
    error = failed(play(flow(), [answer(503, headers={"x-should-retry": "false"})]))

    assert not error.retryable


def test_should_retry_does_not_make_an_unsafe_write_safe() -> None:
    error = failed(play(flow("POST"), [answer(500, headers={"x-should-retry": "true"})]))

    assert error.failure.stopped == "not_safe_to_repeat"


def _contract(retry: bool | None) -> Contract:
    return Contract("own", rules=[Rule(failwell.ServerError, status=(500, 409), retry=retry)])


@pytest.mark.parametrize(("status", "retry", "tries"), [(500, False, 1), (409, True, 2), (500, None, 2)])
def test_the_contract_says_what_a_service_that_invites_does_not(
    status: int, retry: bool | None, tries: int
) -> None:
    said = answer(status, headers={} if retry else {"x-should-retry": "true"})
    played = play(flow(contract=_contract(retry)), [said, answer(200)])

    assert len(played.requests) == tries


@pytest.mark.parametrize("retry", [True, False, None])
def test_a_service_that_says_no_is_not_asked_again_whatever_the_contract_says(retry: bool | None) -> None:
    said = answer(500, headers={"x-should-retry": "false"})
    error = failed(play(flow(contract=_contract(retry)), [said]))

    assert (len(error.attempts), error.failure.stopped) == (1, "not_retryable")


@pytest.mark.parametrize("headers", [{}, {"x-should-retry": "true"}, {"retry-after": "1"}])
def test_a_spent_quota_is_never_tried_again(headers: dict[str, str]) -> None:
    spent = answer(429, {"error": {"code": "insufficient_quota", "message": "Spent."}}, headers=headers)
    error = failed(play(flow(), [spent]))

    assert isinstance(error, failwell.QuotaExceededError)
    assert not error.retryable


def test_a_spent_quota_under_a_contracts_own_class_is_not_tried_again() -> None:
    class OwnError(failwell.RateLimitError):
        pass

    own = Contract("own", rules=[Rule(OwnError, status=429)])
    error = failed(play(flow(contract=own), [answer(429, {"code": "quota_exceeded", "message": "Spent."})]))

    assert type(error) is OwnError


def test_a_status_outside_the_policy_is_not_tried_again() -> None:
    error = failed(play(flow(statuses=frozenset({502})), [answer(503)]))

    assert (error.retryable, error.failure.stopped) == (True, "not_retryable")


def test_s32_a_proxys_page_is_never_the_message() -> None:
    page = b"<html><head><title>502 Bad Gateway</title></head><body><h1>x</h1></body></html>"
    bad = answer(502, headers={"content-type": "text/html"}, content=page)
    error = failed(play(flow(max_attempts=2), [bad, bad]))

    assert "<" not in str(error)
    assert isinstance(error, failwell.UnavailableError)


def test_a_success_may_be_what_the_contract_says_it_is() -> None:
    own = Contract("own", success=(200, 404))

    assert play(flow(contract=own), [answer(404)]).response is not None


def test_a_driver_that_answers_nonsense_is_told() -> None:
    running = flow()
    next(running)

    with pytest.raises(TypeError, match="answered Send with NoneType"):
        running.send(Reply(0.1, None))


def test_a_contract_that_contradicts_itself_is_told() -> None:
    class OwnResponse(Response):
        __slots__ = ()

    with pytest.raises(TypeError, match="calls 200 a success and a failure"):
        play(flow(), [OwnResponse(200)])


# --- The budget -----------------------------------------------------------------------------


def test_an_empty_budget_ends_the_call_with_its_own_error() -> None:
    budget = RetryBudget(10)  # half of it pays for less than one retry
    error = failed(play(flow(budget=budget), [answer(503)]))

    assert error.failure.stopped == "budget_exhausted"


def test_a_retry_costs_and_a_success_brings_it_back() -> None:
    budget = RetryBudget()
    play(flow(budget=budget, max_attempts=2), [answer(503), answer(503)])

    assert budget.tokens == 486

    play(flow(budget=budget), [broken("reset"), answer(200)])

    assert budget.tokens == 486

    play(flow(budget=budget), [answer(200)])

    assert budget.tokens == 487


@pytest.mark.parametrize("script", [answer(429), answer(503, headers={"retry-after": "1"})])
def test_a_retry_the_service_asked_to_wait_for_is_cheaper(script: Response) -> None:
    budget = RetryBudget()
    play(flow(budget=budget, max_attempts=2), [script, script])

    assert budget.tokens == 495


# --- The breaker ----------------------------------------------------------------------------


def circuit(**policy: Any) -> Circuit:
    return Breaker(BreakerPolicy(**{"min_attempts": 2, **policy})).circuit("host")


def opened(open_for: float = 5.0) -> Circuit:
    one = circuit(open_for=open_for)
    for _ in range(2):
        one.record(0.0, failed=True)
    assert one.state == "open"
    return one


def test_s48_an_open_circuit_refuses_the_first_try_and_says_when_to_come_back() -> None:
    error = failed(play(flow(circuit=opened(), now=1.0), [], now=1.0))

    assert isinstance(error, failwell.CircuitOpenError)
    assert (error.attempts, error.retry_after, error.effect) == ((), 4.0, Effect.NOT_SENT)
    assert error.failure.stopped == "circuit_open"
    assert str(error) == "Not sent: the circuit is open, try again in 4.0 s (circuit_open)"


def test_a_call_that_opens_the_circuit_raises_its_own_error_without_a_sleep() -> None:
    played = play(flow(circuit=circuit(), max_attempts=9), [answer(503)] * 2)
    error = failed(played)

    assert isinstance(error, failwell.UnavailableError)
    assert error.failure.stopped == "circuit_open" == error.attempts[-1].stopped
    assert len(played.requests) == 2
    assert len(played.sleeps) == 1


def test_a_circuit_that_opens_during_a_sleep_ends_the_call_with_its_last_error() -> None:
    shared = circuit()
    running = flow(circuit=shared)
    next(running)
    wait = running.send(Reply(0.0, answer(503)))
    shared.record(0.0, failed=True)  # another call of the same client

    with pytest.raises(failwell.UnavailableError) as caught:
        running.send(Reply(wait.seconds))

    assert caught.value.failure.stopped == "circuit_open" == caught.value.attempts[-1].stopped
    assert caught.value.attempts[-1].wait == 0.5


def test_a_wait_that_outlasts_the_pause_is_waited_for_and_then_probes() -> None:
    asks = answer(503, headers={"retry-after": "6"})
    played = play(flow(circuit=circuit(min_attempts=1)), [asks, answer(200)])

    assert played.response is not None


@pytest.mark.parametrize("end", ["close", "bug"])
def test_a_probe_that_is_given_up_gives_its_place_back(end: str) -> None:
    one = opened()
    running = flow(circuit=one, now=6.0)
    next(running)

    assert one.state == "probing"

    if end == "close":
        running.close()
    else:
        with pytest.raises(MemoryError):
            running.throw(MemoryError())

    assert one.state == "open"
    assert play(flow(circuit=one, now=6.0), [answer(200)], now=6.0).response is not None
    assert one.state == "closed"


def test_a_probe_that_closed_the_circuit_decides_nothing_more_in_the_same_call() -> None:
    one = opened()
    failed(play(flow(circuit=one, now=6.0, max_attempts=2), [answer(429), answer(503)], now=6.0))

    assert one.state == "closed"


def test_a_failed_probe_opens_again_for_longer() -> None:
    one = opened()
    error = failed(play(flow(circuit=one, now=6.0), [answer(503)], now=6.0))

    assert error.failure.stopped == "circuit_open"
    assert one.admit(6.0) == 7.5


def test_a_call_from_before_the_outage_that_is_cancelled_does_not_free_the_probes_place() -> None:
    one = circuit()
    old = flow(circuit=one)
    next(old)
    one.record(0.0, failed=True)
    one.record(0.0, failed=True)
    probe = flow(circuit=one, now=6.0)
    next(probe)

    old.close()

    assert one.state == "probing"
    assert isinstance(failed(play(flow(circuit=one, now=6.0), [], now=6.0)), failwell.CircuitOpenError)
    probe.close()


def test_a_call_from_before_the_outage_does_not_decide_for_the_probe() -> None:
    one = circuit()
    old = flow(circuit=one, method="POST")
    next(old)
    one.record(0.0, failed=True)
    one.record(0.0, failed=True)
    probe = flow(circuit=one, now=6.0)
    next(probe)

    with pytest.raises(StopIteration):
        old.send(Reply(6.0, answer(200)))

    assert one.state == "probing"
    probe.close()


@pytest.mark.parametrize(
    "healthy",
    [
        answer(400),
        answer(404),
        answer(429),
        answer(501),
        broken("too_large", status=200),
        broken("format", status=200),
        broken("pool_timeout"),
        broken("bad_url"),
    ],
    ids=repr,
)
def test_what_does_not_speak_against_the_service_does_not_count(healthy: Response | Broken) -> None:
    one = circuit(min_attempts=1)
    play(flow(circuit=one, max_attempts=1), [healthy])

    assert one.state == "closed"


# --- Redirects ------------------------------------------------------------------------------


def moved(location: str, status: int = 302) -> Response:
    return answer(status, headers={"location": location})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_safe_method_follows_a_redirect(method: str, status: int) -> None:
    played = play(flow(method), [moved("https://api.example/other", status), answer(200)])

    assert [(r.method, r.url) for r in played.requests] == [
        (method, URL),
        (method, "https://api.example/other"),
    ]
    assert played.response is not None
    assert [a.outcome for a in played.response.attempts] == ["redirect", "ok"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_s39_a_write_follows_none(method: str) -> None:
    error = failed(play(flow(method, key="k"), [moved("https://api.example/other")]))

    assert (type(error), error.status) == (failwell.APIError, 302)


def test_a_redirect_is_no_try_and_waits_for_nothing() -> None:
    played = play(flow(max_attempts=1), [moved("/a"), answer(200)])

    assert played.sleeps == []


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/other", "https://api.example/other"),
        ("other", "https://api.example/other"),
        ("?page=2", "https://api.example/things?page=2"),
        ("//api.example/other", "https://api.example/other"),
        ("/other#part", "https://api.example/other"),
        ("/a b", "https://api.example/a%20b"),
        ("/stra\xc3\x9fe", "https://api.example/stra%C3%9Fe"),
        ("/a%20b", "https://api.example/a%20b"),
    ],
)
def test_a_location_is_read_as_a_browser_reads_it(location: str, url: str) -> None:
    played = play(flow(), [moved(location), answer(200)])

    assert played.requests[1].url == url


@pytest.mark.parametrize(
    "location",
    ["", "http://api.example/plain", "ftp://api.example/", "javascript:x", "https://[", "https://:80/x",
     "https://api.example:port/", "https://user:pass@api.example/", "/\u20ac"],
)  # fmt: skip
def test_what_leads_nowhere_safe_is_not_followed(location: str) -> None:
    error = failed(play(flow(), [moved(location)]))

    assert error.status == 302
    assert len(error.attempts) == 1


def test_a_circuit_that_opens_behind_a_redirect_hides_no_request() -> None:
    """
    The service counted one, and so does the error.
    """
    circuit = Breaker(BreakerPolicy(min_attempts=1)).circuit("h")
    made = flow(circuit=circuit)
    next(made)
    circuit.record(0.05, failed=True)  # another call of the same client

    with pytest.raises(failwell.CircuitOpenError) as caught:
        made.send(Reply(0.1, Response(302, [("location", "/elsewhere")])))

    assert [a.outcome for a in caught.value.attempts] == ["redirect"]
    assert caught.value.effect is Effect.NOT_APPLIED


def test_redirects_can_be_turned_off() -> None:
    assert failed(play(flow(follow_redirects=False), [moved("/a")])).status == 302


def test_s37_a_loop_ends_at_the_limit() -> None:
    played = play(flow(), itertools.repeat(moved("/things")))
    error = failed(played)

    assert error.status == 302
    assert len(error.attempts) == MAX_REDIRECTS + 1 == len(played.requests)


HEADERS = {"authorization": "Bearer s3cr3t-value", "x-key": "k3y-value", "cookie": "a=b", "accept": "*/*"}


@pytest.mark.parametrize(
    "location", ["https://other.example/", "https://api.example:444/", "https://sub.api.example/"]
)
def test_s38_another_origin_gets_no_credentials(location: str) -> None:
    played = play(flow(headers=HEADERS), [moved(location), answer(200)])

    assert played.requests[1].headers == {"accept": "*/*"}
    assert played.requests[0].headers == HEADERS


@pytest.mark.parametrize("location", ["/x", "https://api.example:443/x", "https://API.example/x"])
def test_the_same_origin_keeps_them(location: str) -> None:
    played = play(flow(headers=HEADERS), [moved(location), answer(200)])

    assert played.requests[1].headers == HEADERS


def test_credentials_do_not_come_back_with_a_redirect_back() -> None:
    played = play(flow(headers=HEADERS), [moved("https://other.example/"), moved(URL), answer(200)])

    assert played.requests[2].headers == {"accept": "*/*"}


def test_a_retry_goes_to_where_the_redirect_led() -> None:
    played = play(flow(), [moved("/b"), answer(503), answer(200)])

    assert [r.url.rpartition("/")[2] for r in played.requests] == ["things", "b", "b"]


@settings(deadline=None)
@given(st.text())
def test_no_location_breaks_the_flow_or_brings_a_url_that_cannot_be_sent(location: str) -> None:
    played = play(flow(), [moved(location), answer(200)])

    for request in played.requests:
        assert request.url.isascii()
        assert request.url.isprintable()
        assert " " not in request.url


# --- What is known of a break ---------------------------------------------------------------


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_every_reason_has_a_class_words_and_a_cause(reason: Reason) -> None:
    cause = OSError("the engine's\nown words")
    error = failed(play(flow(max_attempts=1), [broken(reason, cause=cause)]))

    assert type(error) is STANDARD_CLASS[reason]
    assert error.__cause__ is cause
    assert error.failure.reason == reason.value == error.attempts[-1].outcome
    assert error.failure.cause == "the engine's own words"
    assert str(error).startswith(f"{WORDS[reason]}: the engine's own words (")


def test_a_break_without_a_cause_says_what_happened() -> None:
    error = failed(play(flow("POST"), [broken("reset")]))

    assert str(error) == "The connection was reset before an answer came (reset)"
    assert error.failure.cause is None


def test_an_answered_break_without_a_status_leaves_it_open() -> None:
    error = failed(play(flow("POST"), [Broken(Phase.ANSWERED, Reason.NOT_HTTP)]))

    assert error.effect is Effect.UNKNOWN


def test_the_contract_names_the_class_of_a_break() -> None:
    class OwnError(failwell.TransportError):
        pass

    own = Contract("own", broken={failwell.TransportError: OwnError})

    assert type(failed(play(flow(contract=own, max_attempts=1), [broken("dns")]))) is OwnError
    assert own.class_for(failwell.CircuitOpenError) is failwell.CircuitOpenError


def test_what_the_head_said_is_kept_of_a_cut_answer() -> None:
    heads = [(b"X-Request-Id", b"r-1"), (b"Set-Cookie", b"a=b"), (b"X-RateLimit-Remaining", b"3")]
    error = failed(play(flow("POST"), [broken("cut", status=200, raw_headers=heads)]))

    assert error.request_id == "r-1"
    assert set(error.failure.headers) == {"x-request-id", "x-ratelimit-remaining"}
    assert error.rate_limit is not None
    assert error.rate_limit.remaining == 3


def test_secrets_in_the_requests_own_url_are_sought_in_the_engines_words() -> None:
    url = "https://api.example/things?api_key=s3cr3t%2Bvalue&page=2"
    cause = OSError(f"no answer from {url} (s3cr3t+value)")
    error = failed(play(flow("POST", url=url), [broken("reset", cause=cause)]))

    assert "s3cr3t" not in str(error) + repr(error.failure)
    assert "page=2" in str(error.failure.url)


@pytest.mark.parametrize("deep", [False, True])
def test_an_engines_exception_that_quotes_a_secret_is_left_behind(deep: bool) -> None:
    """A server can send a key back where no header can be, and engines quote what they cannot read."""
    cause = OSError("illegal header line: s3cr3t-value")
    if deep:
        outer = OSError("not HTTP")
        outer.__context__ = cause
        cause = outer
    made = failed(play(flow(secrets=("s3cr3t-value",), max_attempts=1), [broken("not_http", cause=cause)]))

    assert made.__cause__ is None
    assert "s3cr3t" not in str(made) + repr(made.failure)
    assert made.failure.cause


def test_an_engines_exception_with_a_secret_among_its_attributes_is_left_behind() -> None:
    """Where a redirect led is on the exceptions of httpx, and a server may put anything there."""
    cause = OSError("refused")
    cause.request = "<Request GET https://api.example/s3cr3t-value>"

    made = failed(play(flow(secrets=("s3cr3t-value",), max_attempts=1), [broken("refused", cause=cause)]))

    assert made.__cause__ is None


def test_flow_objects_show_nothing_of_what_they_carry() -> None:
    call = Call(Request("GET", f"{URL}?token=abcdefgh", {"authorization": "s3cr3t"}), STANDARD)

    assert repr(call) == "<Call <Request GET https://api.example/things?token=***>>"
    assert repr(answer(200, {"a": 1})) == "<Response 200, 8 bytes>"
