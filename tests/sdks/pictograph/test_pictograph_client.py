"""The clients' settings, retries, waits, keys and deadlines."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from itertools import repeat
from typing import Any

import pytest
from pictograph_answers import DATASET, KEY, page, refusal
from sdk_clients import Play

import pictograph
from failwell import Operation
from failwell.call.messages import Phase, Reason
from failwell.testing import answer, assert_exports, broken
from pictograph import AsyncClient, Client
from pictograph.exceptions import (
    ConfigurationError,
    ConflictError,
    NetworkError,
    NotFoundError,
    PictographCallError,
    PictographError,
    PictographTypeError,
    PictographValueError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
)

BOTH = pytest.mark.parametrize("make", [Client, AsyncClient])


def listed(client: Any) -> Any:
    return client.datasets.list()


def created(client: Any) -> Any:
    return client.datasets.create("street")


# --- settings ---


@BOTH
def test_a_missing_key_is_a_configuration_error_naming_the_variable(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="PICTOGRAPH_API_KEY") as caught:
        make()

    assert isinstance(caught.value, PictographError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.status_code is None
    assert caught.value.error_code is None


@BOTH
def test_the_key_and_the_address_come_from_the_environment(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICTOGRAPH_API_KEY", KEY)
    monkeypatch.setenv("PICTOGRAPH_BASE_URL", "https://elsewhere.example/api/")

    assert repr(make()) == f"<{make.__name__} https://elsewhere.example/api>"


@BOTH
@pytest.mark.parametrize(
    "url", ["", "pictograph.io", "ftp://x", "http://", "https://x/?a=b", "http://x:port"]
)
def test_a_malformed_base_url_is_a_configuration_error(make: Any, url: str) -> None:
    with pytest.raises(ConfigurationError):
        make(KEY, base_url=url)


@BOTH
@pytest.mark.parametrize(
    ("setting", "raises"),
    [
        ({"timeout": 0}, PictographValueError),
        ({"timeout": "30"}, PictographTypeError),
        ({"max_retries": -1}, PictographValueError),
        ({"max_retries": 1.5}, PictographTypeError),
        ({"deadline": -1}, PictographValueError),
        ({"api_key": 7}, PictographTypeError),
        ({"api_key": "pk with a space"}, ConfigurationError),
        ({"api_key": ""}, ConfigurationError),
        ({"engine": "carrier pigeon"}, ConfigurationError),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_with_a_class_of_the_sdk(
    make: Any, setting: dict[str, Any], raises: type[PictographError]
) -> None:
    with pytest.raises(raises):
        make(**{"api_key": KEY, **setting})


def test_the_key_is_sent_and_shown_nowhere(play: Play) -> None:
    went = play(listed, [answer(401, refusal("api_key_invalid", f"No key {KEY} is known."))])

    assert went.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert went.requests[0].headers["user-agent"].startswith("pictograph/")
    assert KEY not in f"{went.error!r} {went.error} {vars(went.error)} {pickle.dumps(went.error)!r}"


# --- retries ---


@pytest.mark.parametrize("status", [500, 502, 503, 504, 501, 599])
def test_a_5xx_is_tried_again_three_times_after_exactly_1_2_and_4_seconds(play: Play, status: int) -> None:
    went = play(created, repeat(answer(status, refusal("internal_error", "It broke."))))

    assert type(went.error) is ServerError
    assert went.sleeps == [1.0, 2.0, 4.0]
    assert len(went.requests) == 4
    assert (went.error.status_code, went.error.error_code) == (status, "internal_error")


def test_what_breaks_on_the_way_is_tried_again_by_the_same_policy(play: Play) -> None:
    for reason in ("dns", "refused", "reset", "closed"):
        went = play(created, repeat(broken(reason)))

        assert type(went.error) is NetworkError
        assert (went.sleeps, len(went.requests)) == ([1.0, 2.0, 4.0], 4)


def test_what_takes_too_long_is_tried_again_by_the_same_policy(play: Play) -> None:
    went = play(created, repeat(broken("read_timeout")))

    assert type(went.error) is RequestTimeoutError
    assert isinstance(went.error, TimeoutError)
    assert went.sleeps == [1.0, 2.0, 4.0]


def test_max_retries_says_how_often(play: Play) -> None:
    assert play(listed, repeat(answer(503)), max_retries=5).sleeps == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert play(listed, repeat(answer(503)), max_retries=0).sleeps == []


def test_a_success_after_failures_is_a_success(play: Play) -> None:
    went = play(listed, [answer(503), broken("reset"), answer(200, page(DATASET))])

    assert [dataset.name for dataset in went.result] == ["street"]
    assert went.sleeps == [1.0, 2.0]


def test_many_calls_that_fail_at_once_have_three_retries_each(play: Play) -> None:
    """An outage must not use up the retries of the calls that come later."""

    def many(client: Any) -> Any:
        async def awaiting() -> None:
            for _ in range(40):
                with pytest.raises(ServerError):
                    await client.datasets.list()

        if isinstance(client, AsyncClient):
            return awaiting()
        for _ in range(40):
            with pytest.raises(ServerError):
                client.datasets.list()
        return None

    assert len(play(many, repeat(answer(503))).sleeps) == 120


def test_retry_after_up_to_120_s_is_waited_for(play: Play) -> None:
    for seconds in (1, 119, 120):
        script = [answer(429, refusal("rate_limited"), headers={"retry-after": str(seconds)})]
        went = play(listed, [*script, answer(200, page())])

        assert went.error is None
        assert went.sleeps == [float(seconds)]


def test_retry_after_above_120_s_is_raised_at_once(play: Play) -> None:
    went = play(listed, [answer(429, refusal("rate_limited", "Slow down."), headers={"retry-after": "121"})])

    assert type(went.error) is RateLimitError
    assert (went.sleeps, went.error.retry_after, went.error.status_code) == ([], 121.0, 429)


def test_three_waits_of_120_s_fit_into_the_default_deadline(play: Play) -> None:
    limited = answer(429, refusal("rate_limited"), headers={"retry-after": "120"})

    assert play(listed, [limited, limited, limited, answer(200, page())]).sleeps == [120.0] * 3


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 413, 422])
def test_a_refusal_is_not_tried_again(play: Play, status: int) -> None:
    assert len(play(created, [answer(status, refusal("no"))]).requests) == 1


def test_a_request_that_is_still_being_carried_out_is_asked_about_again(play: Play) -> None:
    busy = answer(409, refusal("idempotency_in_flight"), headers={"retry-after": "1"})
    went = play(created, [busy, answer(201, DATASET)])

    assert went.result.id == "ds_1"
    assert went.sleeps == [1.0]


# --- idempotency ---


def test_every_try_of_a_write_has_the_same_key_and_every_write_its_own(play: Play) -> None:
    keys = []
    for _ in range(2):
        went = play(created, [answer(503), broken("reset"), answer(201, DATASET)])
        sent = {request.headers["idempotency-key"] for request in went.requests}
        assert len(sent) == 1
        keys += sent

    assert keys[0] != keys[1]


def test_a_key_of_ones_own_is_sent(play: Play) -> None:
    went = play(
        lambda c: c.datasets.create("x", idempotency_key="mine-1"), [answer(503), answer(201, DATASET)]
    )

    assert [r.headers["idempotency-key"] for r in went.requests] == ["mine-1", "mine-1"]


def test_a_key_that_was_used_with_another_body_is_a_conflict_with_its_code(play: Play) -> None:
    body = refusal("idempotency_conflict", "This key was used with another body.")
    went = play(lambda c: c.datasets.create("x", idempotency_key="mine-1"), [answer(409, body)])

    assert type(went.error) is ConflictError
    assert went.error.error_code == "idempotency_conflict"
    assert went.error.idempotency_key == "mine-1"
    assert len(went.requests) == 1


def test_a_read_has_no_key(play: Play) -> None:
    assert "idempotency-key" not in play(listed, [answer(200, page())]).requests[0].headers


# --- the time budget ---


def test_the_timeout_bounds_each_wait_of_a_try(play: Play) -> None:
    orders: list[Any] = []
    play(listed, [lambda order: orders.append(order) or answer(200, page())], timeout=30.0)

    waits = orders[0].timeouts
    assert (waits.connect, waits.read, waits.write, waits.pool) == (5.0, 30.0, 30.0, 30.0)


def test_a_budget_that_ends_during_a_try_is_a_request_timeout(play: Play) -> None:
    went = play(created, repeat(answer(200)), deadline=5.0, seconds=6.0)

    assert type(went.error) is RequestTimeoutError
    assert went.error.effect.value == "unknown"


def test_a_budget_without_room_for_the_next_wait_is_a_request_timeout_from_the_last_failure(
    play: Play,
) -> None:
    went = play(created, repeat(answer(503, refusal("unavailable", "Try later."))), deadline=5.0)

    assert type(went.error) is RequestTimeoutError
    assert went.sleeps == [1.0, 2.0]
    assert went.error.failure.stopped == "deadline"
    assert type(went.error.__cause__) is ServerError
    assert "Try later." in str(went.error)


def test_a_budget_without_room_for_what_the_service_asks_for_says_when_to_come_back(play: Play) -> None:
    limited = answer(429, refusal("rate_limited"), headers={"retry-after": "60"})
    went = play(listed, [limited], deadline=5.0)

    assert type(went.error) is RateLimitError
    assert (went.error.retry_after, went.error.failure.stopped) == (60.0, "deadline")


def test_a_call_may_have_a_deadline_of_its_own(play: Play) -> None:
    def call(client: Any) -> Any:
        operation = Operation("GET", "/v1/datasets", lambda response: response.status)
        return client._client.call(operation, deadline=3.0)

    assert type(play(call, repeat(answer(503))).error) is RequestTimeoutError
    assert play(call, repeat(answer(200))).result == 200


def test_no_time_at_all_is_a_request_timeout_and_nothing_is_sent(play: Play) -> None:
    went = play(listed, [], deadline=0.0)

    assert type(went.error) is RequestTimeoutError
    assert (went.requests, went.error.effect.value) == ([], "not_sent")


# --- answers ---


@pytest.mark.parametrize("body", [{"items": [{"id": 7}]}, {}, "text", None])
def test_an_answer_that_is_not_as_promised_is_a_network_error_that_was_carried_out(
    play: Play, body: Any
) -> None:
    went = play(created, [answer(200, body)])

    assert type(went.error) is NetworkError
    assert (went.error.failure.reason, went.error.effect.value) == ("format", "applied")


def test_a_page_of_a_proxy_is_the_class_of_its_status(play: Play) -> None:
    page = answer(404, content=b"<html><title>Not here</title></html>", headers={"content-type": "text/html"})

    assert type(play(listed, [page]).error) is NotFoundError


def test_an_error_of_the_engine_is_the_cause(play: Play) -> None:
    cut = ConnectionResetError("peer")
    went = play(listed, repeat(broken(Reason.RESET, Phase.SENT, cause=cut)), max_retries=0)

    assert went.error.__cause__ is cut


def test_every_call_error_is_caught_as_a_pictograph_error(play: Play) -> None:
    for status in (400, 401, 402, 403, 404, 409, 418, 422, 429, 500):
        error = play(listed, repeat(answer(status)), max_retries=0).error
        assert isinstance(error, PictographCallError)
        assert isinstance(error, PictographError)


# --- names ---


def test_names_are_promised_and_loaded_when_they_are_used() -> None:
    assert_exports(pictograph, pictograph._HOMES)


def test_catching_an_exception_loads_no_http_engine() -> None:
    found = "[m for m in sys.modules if m.startswith(('http', 'asyncio'))]"
    code = f"import sys, pictograph.exceptions; print({found})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(told.stdout.replace("'", '"')) == []
