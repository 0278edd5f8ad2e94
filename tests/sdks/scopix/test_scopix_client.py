"""The clients' settings, retries, waits, keys, and the circuit breaker."""

from __future__ import annotations

import pickle
import subprocess
import sys
from itertools import repeat
from typing import Any

import pytest
from scopix_answers import BASE, KEY, START, USAGE, file, page, refusal
from sdk_clients import Play

import failwell
from failwell import Breaker, BreakerPolicy
from failwell.testing import FakeClock, ScriptedEngine, answer, broken
from scopix import (
    AuthenticationError,
    CircuitBreakerError,
    MissingKeyError,
    QuotaExceededError,
    RateLimitError,
    ResourceNotFoundError,
    Scopix,
    ScopixConfigurationError,
    ScopixConnectionError,
    ScopixError,
    ScopixSync,
    ScopixTimeoutError,
    ScopixTypeError,
    ScopixValueError,
    ServerError,
    Usage,
    ValidationError,
)

BOTH = pytest.mark.parametrize("make", [ScopixSync, Scopix])


def listed(client: Any) -> Any:
    return client.files.list()


def deleted(client: Any) -> Any:
    return client.files.delete("img_1")


# --- settings ---


@BOTH
def test_a_missing_key_is_an_authentication_error_naming_the_variable(make: Any) -> None:
    with pytest.raises(AuthenticationError, match="SCOPIX_API_KEY") as caught:
        make()

    assert isinstance(caught.value, MissingKeyError)
    assert isinstance(caught.value, failwell.ConfigurationError)
    assert caught.value.code == "AUTH_ERROR"
    assert caught.value.effect is failwell.Effect.NOT_SENT


@BOTH
def test_the_key_and_the_address_come_from_the_environment(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCOPIX_API_KEY", KEY)
    monkeypatch.setenv("SCOPIX_BASE_URL", "https://elsewhere.example/api/")

    assert repr(make()) == f"<{make.__name__} https://elsewhere.example/api>"


@BOTH
@pytest.mark.parametrize("url", ["", "scopix.ai", "ftp://x", "http://", "https://x/?a=b", "http://x:port"])
def test_a_malformed_base_url_is_a_validation_error(make: Any, url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make(KEY, base_url=url)

    assert isinstance(caught.value, ScopixConfigurationError)


@BOTH
@pytest.mark.parametrize(
    ("setting", "raises"),
    [
        ({"timeout": 0}, ScopixValueError),
        ({"timeout": "30"}, ScopixTypeError),
        ({"max_retries": -1}, ScopixValueError),
        ({"max_retries": 1.5}, ScopixTypeError),
        ({"deadline": -1}, ScopixValueError),
        ({"breaker": "on"}, ScopixTypeError),
        ({"api_key": 7}, ScopixTypeError),
        ({"api_key": "sx with a space"}, MissingKeyError),
        ({"api_key": ""}, MissingKeyError),
        ({"engine": "carrier pigeon"}, ScopixConfigurationError),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_with_a_class_of_the_sdk(
    make: Any, setting: dict[str, Any], raises: type[ScopixError]
) -> None:
    with pytest.raises(raises):
        make(**{"api_key": KEY, **setting})


def test_the_key_is_sent_and_shown_nowhere(play: Play) -> None:
    went = play(listed, [answer(401, refusal("AUTH_ERROR", f"No key {KEY} is known."))])

    assert went.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert went.requests[0].headers["user-agent"].startswith("scopix/")
    assert KEY not in f"{went.error!r} {went.error} {vars(went.error)} {pickle.dumps(went.error)!r}"


def test_catching_an_error_loads_no_engine() -> None:
    code = (
        "import sys, scopix; scopix.AuthenticationError; "
        "print([m for m in ('httpx2', 'asyncio', 'ssl', 'scopix.client') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"


def test_usage_says_how_much_is_left(play: Play) -> None:
    went = play(lambda client: client.usage(), [answer(200, USAGE)])

    assert went.result == Usage.from_json(USAGE)
    assert went.paths == ["GET /v1/usage"]


# --- retries ---


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_5xx_is_tried_again_three_times_with_one_key(play: Play, status: int) -> None:
    went = play(deleted, repeat(answer(status, refusal("SERVER_ERROR", "It broke."))))

    assert type(went.error) is ServerError
    assert len(went.requests) == 4
    assert len({request.headers["idempotency-key"] for request in went.requests}) == 1


def test_what_breaks_on_the_way_is_tried_again(play: Play) -> None:
    went = play(listed, [broken("reset"), answer(200, page(file()))])

    assert [found.id for found in went.result] == ["img_1"]
    assert type(play(listed, repeat(broken("dns"))).error) is ScopixConnectionError


def test_what_takes_too_long_is_a_timeout(play: Play) -> None:
    went = play(listed, repeat(broken("read_timeout")))

    assert type(went.error) is ScopixTimeoutError
    assert isinstance(went.error, TimeoutError)
    assert went.error.code == "TIMEOUT"
    assert went.error.last_result is None


def test_an_answer_that_cannot_be_read_is_a_connection_error(play: Play) -> None:
    assert type(play(listed, [answer(200, {"items": [{"id": 1}]})]).error) is ScopixConnectionError


def test_a_deadline_that_is_over_is_a_timeout(play: Play) -> None:
    assert type(play(listed, [], deadline=0.0).error) is ScopixTimeoutError


def test_a_rate_limit_is_waited_for_and_its_facts_are_known_when_it_stays(play: Play) -> None:
    headers = {
        "retry-after": "3",
        "x-ratelimit-limit": "60",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "1000000003",
    }
    went = play(listed, repeat(answer(429, refusal("RATE_LIMIT"), headers=headers)), max_retries=1)

    assert type(went.error) is RateLimitError
    assert len(went.requests) == 2
    assert 3.0 <= went.sleeps[0] <= 3.4
    error = went.error
    assert (error.retry_after, error.limit, error.remaining, error.reset) == (3, 60, 0, 1_000_000_003)


def test_a_wait_of_more_than_two_minutes_is_left_to_the_caller(play: Play) -> None:
    went = play(listed, [answer(429, refusal("RATE_LIMIT"), headers={"retry-after": "121"})])

    assert type(went.error) is RateLimitError
    assert (went.error.retry_after, went.sleeps) == (121, [])


def test_a_spent_quota_is_never_tried_again_even_if_it_says_when(play: Play) -> None:
    body = refusal("QUOTA_EXCEEDED", available=0, limit=100)
    went = play(deleted, [answer(429, body, headers={"retry-after": "1"})])

    assert type(went.error) is QuotaExceededError
    assert (len(went.requests), went.sleeps, went.error.retryable) == (1, [], False)
    assert (went.error.available, went.error.limit) == (0, 100)


def test_a_key_whose_first_request_is_under_way_is_asked_again(play: Play) -> None:
    under_way = answer(409, refusal("IDEMPOTENCY_IN_FLIGHT"), headers={"retry-after": "1"})
    went = play(deleted, [under_way, answer(200, {"id": "img_1", "deleted": True})])

    assert (went.error, went.result) == (None, None)
    assert len({request.headers["idempotency-key"] for request in went.requests}) == 1


def test_what_does_not_exist_says_what_it_is(play: Play) -> None:
    body = refusal("NOT_FOUND", "There is no file 'nonexistent'.", resource_type="file", resource_id="x")
    went = play(lambda client: client.files.get(file_id="nonexistent"), [answer(404, body)])

    assert type(went.error) is ResourceNotFoundError
    assert (went.error.resource_type, went.error.resource_id) == ("file", "x")


# --- the circuit breaker ---


def test_a_service_that_keeps_failing_is_left_alone() -> None:
    clock = FakeClock(START)
    engine = ScriptedEngine(repeat(answer(500)), clock)
    with ScopixSync(KEY, base_url=BASE, engine=engine, clock=clock, max_retries=0) as client:
        for _ in range(10):
            with pytest.raises(ServerError):
                client.usage()
        with pytest.raises(CircuitBreakerError) as caught:
            client.usage()

    assert len(engine.requests) == 10
    assert caught.value.code == "CIRCUIT_OPEN"
    assert caught.value.retry_after == pytest.approx(BreakerPolicy().open_for)
    assert caught.value.effect is failwell.Effect.NOT_SENT


def test_after_that_time_one_call_is_let_through_and_closes_the_circuit() -> None:
    clock = FakeClock(START)
    engine = ScriptedEngine([*[answer(500)] * 10, answer(200, USAGE), answer(200, USAGE)], clock)
    with ScopixSync(KEY, base_url=BASE, engine=engine, clock=clock, max_retries=0) as client:
        for _ in range(10):
            with pytest.raises(ServerError):
                client.usage()
        with pytest.raises(CircuitBreakerError) as caught:
            client.usage()
        clock.sleep(caught.value.retry_after)
        client.usage()
        assert client.usage().plan == "pro"


def test_clients_can_share_a_breaker() -> None:
    breaker = Breaker(BreakerPolicy(min_attempts=1, open_for=7.0))
    clock = FakeClock(START)
    told: dict[str, Any] = {"base_url": BASE, "clock": clock, "breaker": breaker, "max_retries": 0}
    with (
        ScopixSync(KEY, engine=ScriptedEngine([answer(500)], clock), **told) as one,
        ScopixSync(KEY, engine=ScriptedEngine([], clock), **told) as other,
    ):
        with pytest.raises(ServerError):
            one.usage()
        with pytest.raises(CircuitBreakerError) as caught:
            other.usage()

    assert caught.value.retry_after == pytest.approx(7.0)


def test_a_patient_call_waits_for_an_open_circuit() -> None:
    breaker = Breaker(BreakerPolicy(min_attempts=1, open_for=7.0, wait=30.0))
    clock = FakeClock(START)
    engine = ScriptedEngine([answer(500), answer(200, USAGE)], clock)
    told: dict[str, Any] = {"base_url": BASE, "clock": clock, "breaker": breaker, "max_retries": 0}
    with ScopixSync(KEY, engine=engine, **told) as client:
        with pytest.raises(ServerError):
            client.usage()
        assert client.usage().plan == "pro"

    assert clock.sleeps == [pytest.approx(7.0)]


def test_without_a_breaker_every_call_is_made() -> None:
    clock = FakeClock(START)
    engine = ScriptedEngine(repeat(answer(500)), clock)
    with ScopixSync(KEY, base_url=BASE, engine=engine, clock=clock, max_retries=0, breaker=False) as client:
        for _ in range(30):
            with pytest.raises(ServerError):
                client.usage()

    assert len(engine.requests) == 30
