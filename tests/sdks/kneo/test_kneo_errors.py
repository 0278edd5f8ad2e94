"""The hierarchy, the constructors and the table of the platform's document."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from typing import Any

import httpx
import httpx2
import pytest

import failwell
from failwell import Answer, Effect, Failure, FieldError
from kneo_client.core import errors
from kneo_client.core.errors import (
    CONTRACT,
    KneoAuthError,
    KneoConflictError,
    KneoError,
    KneoIdempotencyMismatchError,
    KneoNetworkError,
    KneoNotFoundError,
    KneoPermissionError,
    KneoRateLimited,
    KneoServerError,
    from_response,
)

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, KneoError)]
BODY = {
    "error": {
        "code": "validation_failed",
        "message": "The request does not have the expected fields.",
        "request_id": "req_body",
        "fields": [{"path": ["body", "steps", 0], "message": "too long", "code": "too_long"}],
        "details": {"limit": 3},
    }
}


# --- the hierarchy ---


@pytest.mark.parametrize(
    ("cls", "standard"),
    [
        (KneoNetworkError, failwell.TransportError),
        (KneoAuthError, failwell.AuthenticationError),
        (KneoPermissionError, failwell.PermissionDeniedError),
        (KneoNotFoundError, failwell.NotFoundError),
        (KneoConflictError, failwell.ConflictError),
        (KneoIdempotencyMismatchError, failwell.IdempotencyMismatchError),
        (KneoRateLimited, failwell.RateLimitError),
        (KneoServerError, failwell.ServerError),
    ],
)
def test_every_class_is_a_kneo_error_and_the_standard_class_of_its_meaning(
    cls: type[KneoError], standard: type[failwell.CallError]
) -> None:
    assert issubclass(cls, KneoError)
    assert issubclass(cls, standard)


def test_only_the_mismatch_is_below_another_class_of_the_document() -> None:
    """Catching a conflict catches the mismatch; everything else is parallel."""
    nested = {
        (a, b) for a in CLASSES for b in CLASSES if a is not b and b is not KneoError and issubclass(a, b)
    }

    assert nested == {(KneoIdempotencyMismatchError, KneoConflictError)}


def test_the_module_has_the_document_s_nine_classes_and_no_other() -> None:
    assert {cls.__name__ for cls in CLASSES} == {
        "KneoError",
        "KneoNetworkError",
        "KneoAuthError",
        "KneoPermissionError",
        "KneoNotFoundError",
        "KneoConflictError",
        "KneoIdempotencyMismatchError",
        "KneoRateLimited",
        "KneoServerError",
    }


# --- the constructors ---


@pytest.mark.parametrize("cls", CLASSES)
def test_every_constructor_takes_what_the_document_says(cls: type[KneoError]) -> None:
    error = cls("went wrong", status=409, body={"a": 1}, request_id="req_1", idempotency_key="key_1")

    assert (error.status, error.body, error.request_id, error.idempotency_key) == (
        409, {"a": 1}, "req_1", "key_1",
    )  # fmt: skip
    assert error.args == ("went wrong",)
    assert str(error) == "went wrong (409, request req_1)"


@pytest.mark.parametrize("cls", CLASSES)
def test_everything_but_the_message_may_be_left_out(cls: type[KneoError]) -> None:
    error = cls("went wrong")

    assert (error.status, error.body, error.request_id, error.idempotency_key) == (None,) * 4


@pytest.mark.parametrize("cls", CLASSES)
def test_the_constructors_share_a_signature_to_which_only_the_rate_limit_adds(cls: type[KneoError]) -> None:
    names = ["message", "status", "body", "request_id", "idempotency_key"]

    assert list(inspect.signature(cls).parameters) == names + ["retry_after"] * (cls is KneoRateLimited)
    with pytest.raises(TypeError):
        cls("went wrong", 409)  # type: ignore[call-arg]  # the point of the test


def test_a_rate_limit_carries_the_wait() -> None:
    assert KneoRateLimited("slow down", status=429, retry_after=2.5).retry_after == 2.5
    assert KneoRateLimited("slow down").retry_after is None


def test_a_body_in_kneo_s_spelling_gives_its_code_and_fields() -> None:
    error = KneoError("refused", status=422, body=BODY)

    assert error.code == "validation_failed"
    assert [str(f) for f in error.fields] == ["body.steps.0: too long"]


@pytest.mark.parametrize(
    ("cls", "effect", "retryable"),
    [
        (KneoNotFoundError, Effect.NOT_APPLIED, False),
        (KneoRateLimited, Effect.NOT_APPLIED, True),
        (KneoServerError, Effect.UNKNOWN, True),
        (KneoNetworkError, Effect.UNKNOWN, False),
    ],
)
def test_an_error_made_by_hand_knows_what_its_class_means(
    cls: type[KneoError], effect: Effect, retryable: bool
) -> None:
    error = cls("went wrong")

    assert (error.effect, error.retryable) == (effect, retryable)


# --- the table ---

TABLE = [
    (100, KneoError),
    (199, KneoError),
    (300, KneoError),
    (302, KneoError),
    (304, KneoError),
    (400, KneoError),
    (401, KneoAuthError),
    (402, KneoError),
    (403, KneoPermissionError),
    (404, KneoNotFoundError),
    (405, KneoError),
    (408, KneoError),
    (409, KneoConflictError),
    (410, KneoError),
    (412, KneoError),
    (413, KneoError),
    (418, KneoError),
    (422, KneoError),
    (429, KneoRateLimited),
    (499, KneoError),
    (500, KneoServerError),
    (501, KneoServerError),
    (502, KneoServerError),
    (503, KneoServerError),
    (504, KneoServerError),
    (529, KneoServerError),
    (599, KneoServerError),
    (600, KneoError),
]


@pytest.mark.parametrize(("status", "cls"), TABLE)
@pytest.mark.parametrize("make", [httpx.Response, httpx2.Response], ids=["httpx", "httpx2"])
def test_each_status_is_exactly_the_class_of_the_table(status: int, cls: type[KneoError], make: Any) -> None:
    error = from_response(make(status, json=BODY))

    assert type(error) is cls
    assert error.status == status


@pytest.mark.parametrize("status", [status for status, _ in TABLE])
def test_the_key_changes_the_class_of_a_409_alone(status: int) -> None:
    response = httpx.Response(status, json={"detail": "no"})

    with_key = from_response(response, idempotency_key="key_1")

    assert with_key.idempotency_key == "key_1"
    if status == 409:
        assert type(with_key) is KneoIdempotencyMismatchError
    else:
        assert type(with_key) is type(from_response(response))


@pytest.mark.parametrize(
    ("code", "key", "cls"),
    [
        ("idempotency_mismatch", "key_1", KneoIdempotencyMismatchError),
        ("idempotency_mismatch", None, KneoIdempotencyMismatchError),
        ("idempotency_in_flight", "key_1", KneoConflictError),
        ("version_mismatch", "key_1", KneoConflictError),
        ("something_new", "key_1", KneoConflictError),
        (None, "key_1", KneoIdempotencyMismatchError),
        (None, None, KneoConflictError),
    ],
)
def test_a_409_is_read_by_its_code_and_only_without_one_by_the_key(
    code: str | None, key: str | None, cls: type[KneoError]
) -> None:
    """Every write has a key, so the key alone would make a mismatch of each conflict."""
    body = {"error": {"message": "no"} | ({"code": code} if code else {})}

    assert type(from_response(httpx.Response(409, json=body), idempotency_key=key)) is cls


def test_a_request_in_flight_can_be_asked_for_again_and_leaves_open_what_it_did() -> None:
    body = {"error": {"code": "idempotency_in_flight", "message": "wait"}}

    error = from_response(httpx.Response(409, json=body, headers={"Retry-After": "2"}), idempotency_key="k")

    assert (error.retryable, error.effect, error.retry_after) == (True, Effect.UNKNOWN, 2.0)


def test_a_success_that_somebody_calls_a_failure_is_a_kneo_error() -> None:
    error = from_response(httpx.Response(200, json={"id": "run_1"}))

    assert type(error) is KneoError
    assert (error.status, error.body) == (200, {"id": "run_1"})


def test_an_answer_in_kneo_s_spelling_is_read_whole() -> None:
    error = from_response(httpx.Response(422, json=BODY, headers={"X-Request-ID": "req_header"}))

    assert error.message == BODY["error"]["message"]
    assert error.code == "validation_failed"
    assert error.body == BODY
    assert error.request_id == "req_header"
    assert error.failure.details == {"limit": 3}
    assert [(f.path, f.message, f.code) for f in error.fields] == [
        (("body", "steps", 0), "too long", "too_long")
    ]


def test_the_request_id_of_the_body_counts_where_no_header_has_one() -> None:
    assert from_response(httpx.Response(422, json=BODY)).request_id == "req_body"


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("0", 0.0), ("soon", None)])
def test_a_rate_limit_reads_the_wait(value: str, seconds: float | None) -> None:
    error = from_response(httpx.Response(429, json=BODY, headers={"Retry-After": value}))

    assert isinstance(error, KneoRateLimited)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("content", "kind", "body"),
    [
        (b"upstream is gone", "text/plain", "upstream is gone"),
        (b"", "text/plain", None),
        (b'["odd"]', "application/json", ["odd"]),
        (b'{"error": "text"}', "application/json", {"error": "text"}),
        (b'{"error": {"code": 7, "message": "seven"}}', "application/json",
         {"error": {"code": 7, "message": "seven"}}),
        (b'{"error": {"fields": 7, "code": "x", "details": []}}', "application/json",
         {"error": {"fields": 7, "code": "x", "details": []}}),
        (b'{"error": {"code": "x", "fields": [1, {"path": "a"}, {"path": 3, "message": 4}]}}',
         "application/json",
         {"error": {"code": "x", "fields": [1, {"path": "a"}, {"path": 3, "message": 4}]}}),
        (b"{broken", "application/json", "{broken"),
    ],
)  # fmt: skip
def test_any_body_becomes_an_error_with_that_body(content: bytes, kind: str, body: Any) -> None:
    """Parsed JSON, raw text or None, as the document says."""
    error = from_response(httpx.Response(503, content=content, headers={"Content-Type": kind}))

    assert type(error) is KneoServerError
    assert error.body == body


def test_a_proxy_s_page_is_not_the_message() -> None:
    page = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502</h1></body></html>"

    error = from_response(httpx.Response(502, content=page, headers={"Content-Type": "text/html"}))

    assert "<" not in str(error)


def test_what_was_asked_is_read_off_the_response_s_request() -> None:
    """The method decides about the effect; the key was on the wire whether or not it is passed on."""
    request = httpx.Request(
        "GET", "https://kneo.example/v1/runs?token=abc", headers={"Idempotency-Key": "key_1"}
    )

    error = from_response(httpx.Response(503, json=BODY, request=request))

    assert error.effect is Effect.NOT_APPLIED
    assert error.failure.method == "GET"
    assert error.failure.url == "https://kneo.example/v1/runs?token=***"
    assert error.idempotency_key == "key_1"


def test_a_key_that_the_service_repeats_is_not_kept() -> None:
    request = httpx.Request(
        "GET", "https://kneo.example/v1/runs", headers={"Authorization": "Bearer kneo_sesame_open"}
    )
    body = {"error": {"code": "api_key_invalid", "message": "kneo_sesame_open is not known."}}

    error = from_response(httpx.Response(401, json=body, request=request))

    assert b"sesame" not in pickle.dumps(error)


def test_anything_with_a_status_headers_and_a_body_will_do() -> None:
    class Mine:
        status = 404
        headers = {"x-request-id": "req_1"}  # noqa: RUF012  # nobody changes it
        body = json.dumps(BODY).encode()
        request = object()

    assert type(from_response(Mine())) is KneoNotFoundError
    assert from_response(Mine()).request_id == "req_1"
    assert type(from_response(Answer(403, {}, b""))) is KneoPermissionError


def test_what_is_no_response_is_refused() -> None:
    with pytest.raises(failwell.ArgumentTypeError):
        from_response("404")


def test_a_body_that_is_not_read_yet_is_refused() -> None:
    unread = httpx.Response(404, stream=httpx.ByteStream(b""))

    with pytest.raises(failwell.ArgumentTypeError, match="not read"):
        from_response(unread)


# --- how they travel ---


def _examples() -> list[KneoError]:
    made = [
        cls("went wrong", status=cls.usual_status, body={"a": [1]}, request_id="r", idempotency_key="k")
        for cls in CLASSES
    ]
    limited = KneoRateLimited("slow down", status=429, retry_after=3.0)
    read = [from_response(httpx.Response(status, json=BODY)) for status, _ in TABLE]
    return [*made, limited, *read]


EXAMPLES = _examples()


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: f"{type(e).__name__}-{e.status}")
def test_an_error_comes_back_from_every_journey_with_all_it_knows(error: KneoError) -> None:
    copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(2, 6)]
    copies += [copy.copy(error), copy.deepcopy(error)]
    copies.append(failwell.Error.from_dict(json.loads(json.dumps(error.to_dict()))))

    for other in copies:
        assert type(other) is type(error)
        assert other.args == error.args
        assert other.failure == error.failure
        assert str(other) == str(error)


@pytest.mark.parametrize(
    "error",
    [e for e in EXAMPLES if e.status is not None and 400 <= e.status < 600],
    ids=lambda e: f"{type(e).__name__}-{e.status}",
)
def test_encoding_and_decoding_is_the_way_there_and_back(error: KneoError) -> None:
    answer = CONTRACT.encode(error)

    back = CONTRACT.decode(answer, idempotency_key=error.idempotency_key)

    assert type(back) is type(error)
    # A mismatch and a conflict are told apart by their codes, so one without a code gets one.
    code = error.code or (
        "idempotency_mismatch"
        if isinstance(error, KneoIdempotencyMismatchError)
        else "conflict"
        if isinstance(error, KneoConflictError)
        else None
    )
    assert back.code == code
    facts = ("status", "message", "fields", "request_id", "retry_after", "idempotency_key")
    assert {f: getattr(back, f) for f in facts} == {f: getattr(error, f) for f in facts}
    assert back.failure.details == error.failure.details


@pytest.mark.parametrize("cls", [c for c in CLASSES if c.usual_status])
def test_a_bare_error_is_encoded_as_itself_even_where_a_key_was_sent(cls: type[KneoError]) -> None:
    answer = CONTRACT.encode(cls("went wrong"))

    assert type(CONTRACT.decode(answer, idempotency_key="key_1")) is cls


def test_a_field_says_no_more_than_is_known() -> None:
    fields = (
        FieldError(("body", "steps", 0), "too long", "too_long"),
        FieldError(("body",), "odd"),
        FieldError((), None, "missing"),
    )
    error = KneoError.from_failure(Failure(status=422, code="validation_failed", fields=fields))

    answer = CONTRACT.encode(error)

    assert json.loads(answer.body)["error"]["fields"][1:] == [
        {"path": ["body"], "message": "odd"},
        {"path": [], "code": "missing"},
    ]
    assert from_response(answer).fields == fields


def test_a_401_says_how_to_authenticate() -> None:
    assert CONTRACT.encode(KneoAuthError("no key")).headers["www-authenticate"] == 'Bearer realm="kneo"'


def test_a_network_error_has_no_answer() -> None:
    with pytest.raises(failwell.UsageError, match="KneoNetworkError"):
        CONTRACT.encode(KneoNetworkError("no connection"))


@pytest.mark.parametrize(
    "standard",
    [
        failwell.ConnectError,
        failwell.ConnectionLostError,
        failwell.CallTimeoutError,
        failwell.BadAnswerError,
        failwell.CircuitOpenError,
        failwell.DeadlineExceededError,
    ],
)
def test_every_way_to_get_no_answer_is_a_network_error(standard: type[failwell.CallError]) -> None:
    assert CONTRACT.class_for(standard) is KneoNetworkError


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_says_whether_it_happened_and_what_to_do(cls: type[KneoError]) -> None:
    text = inspect.getdoc(cls) or ""

    assert "## Was it carried out?" in text
    assert "## What to do" in text
