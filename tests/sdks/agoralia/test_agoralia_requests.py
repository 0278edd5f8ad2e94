"""The document's two functions, for code that speaks `requests`."""

from __future__ import annotations

import builtins
import io
import time
import traceback
from types import SimpleNamespace
from typing import Any

import httpx
import httpx2
import pytest
import requests

import agoralia.requests as module
import failwell
from agoralia import (
    AgoraliaAPIError,
    AgoraliaIdempotencyError,
    AgoraliaNotFoundError,
    AgoraliaRateLimitError,
    AgoraliaServerError,
    AgoraliaUnavailableError,
    AgoraliaValidationError,
    handle_api_error,
    make_request_with_retry,
)
from failwell import Answer, Effect

NOT_FOUND = b'{"detail": "Campaign not found"}'


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that were asked for; none of them is waited."""
    waits: list[float] = []
    monkeypatch.setattr(module, "_sleep", waits.append)
    return waits


def in_requests(status: int, body: bytes, headers: dict[str, str]) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response._content = body
    response.headers.update(headers)
    return response


KINDS: dict[str, Any] = {
    "requests": in_requests,
    "httpx": lambda status, body, headers: httpx.Response(status, content=body, headers=headers),
    "httpx2": lambda status, body, headers: httpx2.Response(status, content=body, headers=headers),
    "Answer": lambda status, body, headers: Answer(status, headers, body),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_any_library_is_raised_as_its_class(kind: str) -> None:
    with pytest.raises(AgoraliaNotFoundError) as caught:
        handle_api_error(KINDS[kind](404, NOT_FOUND, {"content-type": "application/json"}))

    assert caught.value.message == "Resource not found"
    assert caught.value.status_code == 404
    assert caught.value.detail == "Campaign not found"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [200, 201, 204, 304, 399])
def test_nothing_is_raised_below_400(kind: str, status: int) -> None:
    assert handle_api_error(KINDS[kind](status, NOT_FOUND, {})) is None


def test_a_body_below_400_is_left_alone() -> None:
    """A download that is still to be read must not be read by looking for an error."""

    class Stream:
        status_code = 200

        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"{name} was touched")

    handle_api_error(Stream())


def test_a_stand_in_with_the_four_members_the_document_uses_will_do() -> None:
    def no_json() -> object:
        raise ValueError("no JSON")

    speaking = SimpleNamespace(
        status_code=429,
        headers={"X-RateLimit-Reset": "1640995200"},
        text="",
        json=lambda: {"detail": "Slow down"},
    )
    mute = SimpleNamespace(status_code=500, headers={}, text="boom", json=no_json)

    with pytest.raises(AgoraliaRateLimitError) as limited:
        handle_api_error(speaking)
    with pytest.raises(AgoraliaServerError) as failed:
        handle_api_error(mute)

    assert limited.value.detail == {"detail": "Slow down", "retry_after": 1640995200}
    assert failed.value.detail == "boom"


def test_what_is_no_response_is_refused_as_such() -> None:
    with pytest.raises(failwell.ArgumentTypeError):
        handle_api_error("404")


def test_the_error_of_a_real_response_knows_the_request(script: Any, key: str) -> None:
    script.will_answer(409, {"detail": "Idempotency key already used with different request body"})
    response = requests.post(
        f"{script.base_url}/campaigns",
        json={},
        headers={"X-API-Key": key, "Idempotency-Key": "abc123"},
        timeout=10,
    )

    with pytest.raises(AgoraliaIdempotencyError) as caught:
        handle_api_error(response)

    error = caught.value
    assert (error.failure.method, error.idempotency_key) == ("POST", "abc123")
    assert error.failure.url == f"{script.base_url}/campaigns"
    assert error.effect is Effect.NOT_APPLIED
    assert key not in repr(vars(error))


def test_the_key_is_not_kept_even_if_the_service_repeats_it(script: Any, key: str) -> None:
    script.will_answer(401, {"detail": f"Invalid API key {key}"})

    with pytest.raises(AgoraliaAPIError) as caught:
        make_request_with_retry("GET", f"{script.base_url}/me", {"X-API-Key": key})

    assert key not in str(caught.value)
    assert key not in repr(vars(caught.value))


def test_a_key_given_as_bytes_is_not_kept_either(script: Any, key: str) -> None:
    script.will_answer(401, {"detail": f"Invalid API key {key}"})
    headers: Any = {"X-API-Key": key.encode(), "Idempotency-Key": b"k-1"}
    response = requests.post(f"{script.base_url}/campaigns", headers=headers, timeout=10)

    with pytest.raises(AgoraliaAPIError) as caught:
        handle_api_error(response)

    assert caught.value.idempotency_key == "k-1"
    assert key not in repr(vars(caught.value))


def test_the_key_is_in_no_local_variable_that_a_traceback_shows(script: Any, key: str) -> None:
    script.will_answer(404, {"detail": "Campaign not found"})

    with pytest.raises(AgoraliaNotFoundError) as caught:
        make_request_with_retry("POST", f"{script.base_url}/campaigns/9", {"X-API-Key": key})

    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    ours = shown.partition("agoralia/requests.py")[2]
    assert "headers = " in ours
    assert key not in ours


@pytest.mark.parametrize("end", ["", "\n", "\u0436"])
@pytest.mark.parametrize("kind", [str, str.encode])
def test_the_key_is_in_no_local_variable_whatever_it_is_given_as(
    script: Any, key: str, kind: Any, end: str
) -> None:
    script.will_answer(401, {"detail": "Invalid API key"})

    with pytest.raises((AgoraliaAPIError, requests.exceptions.InvalidHeader, failwell.UsageError)) as caught:
        make_request_with_retry("GET", script.base_url + "/agents", {"X-API-Key": kind(key + end)})

    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [
        frame for frame in shown.stack if "agoralia/" in frame.filename and "/tests/" not in frame.filename
    ]
    assert ours
    assert key not in str([frame.locals for frame in ours]) + str(caught.value)


def test_what_nobody_can_send_is_not_tried_again(waits: list[float]) -> None:
    with pytest.raises(requests.exceptions.MissingSchema):
        make_request_with_retry("GET", "no-url", {})

    assert waits == []


@pytest.mark.parametrize(
    "given",
    [
        (None, "http://127.0.0.1", {}),
        ("GET", "http://127.0.0.1", None),
        ("GET", "http://127.0.0.1", {"X-API-Key": 7}),
        ("GET", "http://127.0.0.1", {7: "x"}),
        ("GET", "http://127.0.0.1", {}, "3"),
        ("GET", "http://127.0.0.1", {}, 1.5),
    ],
)
def test_an_argument_of_another_type_is_refused(given: Any) -> None:
    with pytest.raises(failwell.ArgumentTypeError):
        make_request_with_retry(*given)


def test_the_documents_usage(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    script.will_answer(200, {"items": []})
    script.will_answer(401, {"detail": "Invalid API key format"})

    for _ in range(2):
        try:
            response = make_request_with_retry(
                "GET", f"{script.base_url}/agents", headers={"X-API-Key": "ago_..."}
            )
            data = response.json()
        except AgoraliaAPIError as e:
            print(f"API Error {e.status_code}: {e.detail}")

    assert data == {"items": []}
    assert capsys.readouterr().out == "API Error 401: Invalid API key format\n"


def test_a_server_error_is_tried_again_after_1_and_2_seconds(script: Any, waits: list[float]) -> None:
    script.will_answer(500, {"detail": "Internal server error"})
    script.will_answer(503, {"detail": "Service unavailable"})
    script.will_answer(200, {"items": []})

    response = make_request_with_retry("GET", f"{script.base_url}/agents", headers={})

    assert isinstance(response, requests.Response)
    assert response.status_code == 200
    assert waits == [1.0, 2.0]


def test_the_last_server_error_is_raised_with_every_try_on_it(script: Any, waits: list[float]) -> None:
    for _ in range(4):
        script.will_answer(503, {"detail": "Service unavailable"})

    with pytest.raises(AgoraliaUnavailableError) as caught:
        make_request_with_retry("GET", f"{script.base_url}/agents", {}, 4)

    assert waits == [1.0, 2.0, 4.0]
    assert len(script.asked) == 4
    assert [(a.number, a.status, a.wait) for a in caught.value.attempts] == [
        (1, 503, 1.0),
        (2, 503, 2.0),
        (3, 503, 4.0),
        (4, 503, 0.0),
    ]


def test_a_rate_limit_is_waited_for_until_its_reset(script: Any, waits: list[float]) -> None:
    script.will_answer(429, {"detail": "Too many"}, {"X-RateLimit-Reset": str(int(time.time()) + 30)})
    script.will_answer(200, {})

    make_request_with_retry("GET", f"{script.base_url}/agents", headers={})

    assert waits == [pytest.approx(30, abs=3)]


def test_a_rate_limit_that_says_nothing_is_waited_for_a_minute(script: Any, waits: list[float]) -> None:
    script.will_answer(429, {"detail": "Too many"})
    script.will_answer(429, {"detail": "Too many"}, {"X-RateLimit-Reset": "soon"})
    script.will_answer(200, {})

    make_request_with_retry("GET", f"{script.base_url}/agents", headers={})

    assert waits == [60.0, 60.0]


def test_the_last_rate_limit_is_raised(script: Any, waits: list[float]) -> None:
    for _ in range(3):
        script.will_answer(429, {"detail": "Too many"}, {"X-RateLimit-Reset": "2"})

    with pytest.raises(AgoraliaRateLimitError) as caught:
        make_request_with_retry("GET", f"{script.base_url}/agents", headers={})

    assert waits == [2.0, 2.0]
    assert caught.value.detail == {"detail": "Too many", "retry_after": 2}


def test_a_reset_that_is_hours_away_is_told_at_once(script: Any, waits: list[float]) -> None:
    script.will_answer(429, {"detail": "Too many"}, {"X-RateLimit-Reset": "86400"})

    with pytest.raises(AgoraliaRateLimitError) as caught:
        make_request_with_retry("GET", f"{script.base_url}/agents", headers={})

    assert waits == []
    assert caught.value.retry_after == 86400


def test_a_service_that_asks_for_longer_than_the_backoff_is_left_alone_that_long(
    script: Any, waits: list[float]
) -> None:
    script.will_answer(503, {"detail": "Service unavailable"}, {"Retry-After": "9"})
    script.will_answer(503, {"detail": "Service unavailable"}, {"Retry-After": "1"})
    script.will_answer(200, {})

    make_request_with_retry("GET", f"{script.base_url}/agents", headers={})

    assert waits == [9.0, 2.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_what_another_try_does_not_help_is_raised_at_once(
    script: Any, waits: list[float], status: int
) -> None:
    script.will_answer(status, {"detail": "no"})

    with pytest.raises(AgoraliaAPIError) as caught:
        make_request_with_retry("GET", f"{script.base_url}/agents", headers={})

    assert caught.value.status_code == status
    assert len(script.asked) == 1
    assert waits == []


def test_a_broken_connection_is_tried_again(script: Any, waits: list[float]) -> None:
    script.will_hang_up()
    script.will_answer(200, {})

    make_request_with_retry("GET", f"{script.base_url}/agents", headers={})

    assert waits == [1.0]
    assert len(script.asked) == 2


def test_the_last_broken_connection_is_raised_as_requests_own_error(script: Any, waits: list[float]) -> None:
    for _ in range(3):
        script.will_hang_up()

    with pytest.raises(requests.exceptions.ConnectionError):
        make_request_with_retry("GET", f"{script.base_url}/agents", headers={})

    assert waits == [1.0, 2.0]


def test_all_tries_of_a_write_carry_one_key_that_nobody_gave(script: Any, waits: list[float]) -> None:
    script.will_hang_up()
    script.will_answer(500, {"detail": "Internal server error"})
    script.will_answer(201, {"id": 5, "name": "A"})
    headers = {"X-API-Key": "k"}

    make_request_with_retry("post", f"{script.base_url}/campaigns", headers, json={"name": "A"})

    keys = [asked.headers["idempotency-key"] for asked in script.asked]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert headers == {"X-API-Key": "k"}  # the caller's own mapping is left alone
    assert [asked.json for asked in script.asked] == [{"name": "A"}] * 3


def test_a_key_that_was_given_is_the_one_that_is_sent(script: Any, waits: list[float]) -> None:
    script.will_answer(201, {})

    make_request_with_retry("POST", f"{script.base_url}/campaigns", {"idempotency-key": "abc123"}, json={})

    assert script.asked[0].headers["idempotency-key"] == "abc123"


def test_a_read_carries_no_key(script: Any, waits: list[float]) -> None:
    script.will_answer(200, {})

    make_request_with_retry("GET", f"{script.base_url}/agents", headers={})

    assert "idempotency-key" not in script.asked[0].headers


def test_a_refusal_after_a_lost_answer_does_not_say_that_nothing_happened(
    script: Any, waits: list[float]
) -> None:
    script.will_hang_up()
    script.will_answer(404, {"detail": "Campaign not found"})

    with pytest.raises(AgoraliaNotFoundError) as caught:
        make_request_with_retry("POST", f"{script.base_url}/campaigns/9", headers={}, json={})

    assert caught.value.effect is Effect.UNKNOWN
    assert [a.outcome for a in caught.value.attempts] == ["ConnectionError", "status"]


@pytest.mark.parametrize(
    "body",
    [{"data": io.BytesIO(b"x")}, {"data": iter([b"x"])}, {"files": {"f": io.BytesIO(b"x")}}],
    ids=["file", "generator", "files"],
)
def test_a_body_that_can_be_sent_only_once_is_sent_once(script: Any, waits: list[float], body: Any) -> None:
    script.will_answer(500, {"detail": "Internal server error"})

    with pytest.raises(AgoraliaServerError):
        make_request_with_retry("POST", f"{script.base_url}/campaigns", {}, **body)

    assert len(script.asked) == 1
    assert waits == []


def test_a_validation_error_comes_with_its_fields(script: Any) -> None:
    detail = [{"loc": ["body", "name"], "msg": "field required", "type": "value_error.missing"}]
    script.will_answer(422, {"detail": detail})

    with pytest.raises(AgoraliaValidationError) as caught:
        make_request_with_retry("POST", f"{script.base_url}/campaigns", {}, json={"purpose": "quote_request"})

    assert caught.value.detail == detail
    assert caught.value.fields == (
        failwell.FieldError(("body", "name"), "field required", "value_error.missing"),
    )


def test_no_try_at_all_is_refused() -> None:
    with pytest.raises(failwell.UsageError, match="Max retries exceeded"):
        make_request_with_retry("GET", "http://127.0.0.1:1/", {}, max_retries=0)


def test_without_requests_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "requests":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(failwell.ConfigurationError, match=r"agoralia\[requests\]"):
        make_request_with_retry("GET", "http://127.0.0.1:1/", {})


def test_a_wait_is_really_waited(monkeypatch: pytest.MonkeyPatch, script: Any) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    script.will_answer(500, {})
    script.will_answer(200, {})

    make_request_with_retry("GET", f"{script.base_url}/agents", headers={})

    assert waited == [1.0]


class TestTheLoopsOfTheDocument:
    """Loops that users wrote by the document's examples go on working next to the functions."""

    def test_waiting_for_a_rate_limit_by_hand(self, script: Any) -> None:
        script.will_answer(429, {"detail": "Too many"}, {"X-RateLimit-Reset": str(int(time.time()))})
        script.will_answer(200, {"items": []})
        url, headers = f"{script.base_url}/agents", {"X-API-Key": "k"}

        response = requests.get(url, headers=headers, timeout=10)
        if response.status_code == 429:
            reset_time = int(response.headers.get("X-RateLimit-Reset", time.time() + 60))
            wait_time = max(0, reset_time - int(time.time()))
            time.sleep(wait_time)
            response = requests.get(url, headers=headers, timeout=10)
        handle_api_error(response)

        assert response.json() == {"items": []}

    def test_backing_off_by_hand(self, script: Any) -> None:
        script.will_answer(500, {"detail": "Internal server error"})
        script.will_hang_up()
        script.will_answer(404, {"detail": "Campaign not found"})
        waited = []

        def post(max_retries: int) -> requests.Response:
            for attempt in range(max_retries):
                try:
                    response = requests.post(
                        f"{script.base_url}/campaigns", json={}, headers={"Idempotency-Key": "k"}, timeout=10
                    )
                    if response.status_code < 500:
                        return response
                except requests.exceptions.RequestException:
                    pass
                waited.append(2**attempt)
            raise AssertionError("unreachable")

        with pytest.raises(AgoraliaNotFoundError):
            handle_api_error(post(3))

        assert waited == [1, 2]
