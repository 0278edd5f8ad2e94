"""The document's table of statuses, row by row, and what every class of it promises."""

from __future__ import annotations

import copy
import json
import pickle
import time
from dataclasses import replace
from typing import Any

import pytest

import agoralia.errors as module
import failwell
from agoralia import (
    CONTRACT,
    AgoraliaAPIError,
    AgoraliaAuthenticationError,
    AgoraliaBadAnswerError,
    AgoraliaBadRequestError,
    AgoraliaConflictError,
    AgoraliaConnectError,
    AgoraliaConnectionError,
    AgoraliaConnectionLostError,
    AgoraliaDeadlineError,
    AgoraliaIdempotencyError,
    AgoraliaInProgressError,
    AgoraliaNotFoundError,
    AgoraliaPermissionError,
    AgoraliaRateLimitError,
    AgoraliaServerError,
    AgoraliaStatusError,
    AgoraliaTimeoutError,
    AgoraliaUnavailableError,
    AgoraliaValidationError,
)
from failwell import Answer, Effect, Failure, FieldError
from failwell.call.messages import Reason
from failwell.call.outcome import STANDARD_CLASS

FIELDS = [
    {"loc": ["body", "name"], "msg": "field required", "type": "value_error.missing"},
    {"loc": ["body", "agent_ref_id"], "msg": "value is not a valid integer", "type": "type_error.integer"},
    {"loc": ["body", "extraction_schema"], "msg": "value is not a valid dict", "type": "type_error.dict"},
]

# status, what the service says, class, headline, standard class, whether another try can help
TABLE = [
    (400, "Bad", AgoraliaBadRequestError, "API error: Bad", failwell.InvalidRequestError, False),
    (
        401,
        "Invalid API key",
        AgoraliaAuthenticationError,
        "Authentication failed",
        failwell.AuthenticationError,
        False,
    ),
    (
        401,
        "Invalid API key format",
        AgoraliaAuthenticationError,
        "Authentication failed",
        failwell.AuthenticationError,
        False,
    ),
    (
        401,
        "API key revoked",
        AgoraliaAuthenticationError,
        "Authentication failed",
        failwell.AuthenticationError,
        False,
    ),
    (
        401,
        "API key expired",
        AgoraliaAuthenticationError,
        "Authentication failed",
        failwell.AuthenticationError,
        False,
    ),
    (
        403,
        "Insufficient permissions. Required scope: campaigns:write",
        AgoraliaPermissionError,
        "Permission denied",
        failwell.PermissionDeniedError,
        False,
    ),
    (404, "Campaign not found", AgoraliaNotFoundError, "Resource not found", failwell.NotFoundError, False),
    (
        409,
        "Idempotency key already used with different request body",
        AgoraliaIdempotencyError,
        "Idempotency conflict",
        failwell.IdempotencyMismatchError,
        False,
    ),
    (422, FIELDS, AgoraliaValidationError, "Validation error", failwell.InvalidRequestError, False),
    (500, "Internal server error", AgoraliaServerError, "Server error", failwell.ServerError, True),
    (503, "Service unavailable", AgoraliaUnavailableError, "Server error", failwell.UnavailableError, True),
    (418, "I'm a teapot", AgoraliaStatusError, "API error: I'm a teapot", failwell.APIError, False),
]

CLASSES = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, AgoraliaAPIError)]


def answer(status: int, detail: object, **headers: str) -> Answer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "application/json", **fields}, json.dumps({"detail": detail}))


def decoded(given: Answer, **facts: Any) -> AgoraliaAPIError:
    error = CONTRACT.decode(given, **facts)
    assert isinstance(error, AgoraliaAPIError)
    return error


@pytest.mark.parametrize(("status", "detail", "cls", "headline", "standard", "again"), TABLE)
def test_a_documented_answer_is_its_class(
    status: int, detail: object, cls: type[AgoraliaAPIError], headline: str, standard: type, again: bool
) -> None:
    error = decoded(answer(status, detail))

    assert type(error) is cls
    assert isinstance(error, standard)
    assert error.message == headline
    assert error.status_code == error.status == status
    assert error.detail == detail
    assert error.retryable is again


@pytest.mark.parametrize(("status", "detail", "cls", "headline", "standard", "again"), TABLE)
def test_an_error_made_by_hand_knows_what_a_decoded_one_knows(
    status: int, detail: object, cls: type[AgoraliaAPIError], headline: str, standard: type, again: bool
) -> None:
    made = cls(headline, status, detail)
    read = decoded(answer(status, detail))

    assert made.args == read.args
    assert made.failure == read.failure
    assert made.detail == detail


def test_the_base_can_be_raised_as_the_document_raises_it() -> None:
    error = AgoraliaAPIError("Rate limit exceeded", 429, {"detail": "Too many", "retry_after": 1640995200})

    assert error.message == "Rate limit exceeded"
    assert error.status_code == 429
    assert error.detail == {"detail": "Too many", "retry_after": 1640995200}
    assert AgoraliaAPIError("m", 404).detail is None


@pytest.mark.parametrize("detail", [None, "text", {"a": [1]}, [1, 2], 7, {"retry_after": 3}, {"detail": 1}])
@pytest.mark.parametrize("status", [None, 200, 400, 422, 429, 500])
def test_detail_is_what_the_constructor_was_given(status: int | None, detail: object) -> None:
    error = AgoraliaAPIError("m", status, detail)

    assert error.detail == detail
    assert error.status_code == status
    assert error.message == "m"
    assert pickle.loads(pickle.dumps(error)).detail == detail


def test_a_validation_error_lists_its_fields() -> None:
    error = decoded(answer(422, FIELDS))

    assert error.fields == (
        FieldError(("body", "name"), "field required", "value_error.missing"),
        FieldError(("body", "agent_ref_id"), "value is not a valid integer", "type_error.integer"),
        FieldError(("body", "extraction_schema"), "value is not a valid dict", "type_error.dict"),
    )


def test_the_fields_of_pydantic_2_are_read_as_well() -> None:
    error = decoded(
        answer(422, [{"type": "missing", "loc": ["body", "name"], "msg": "Field required", "input": {}}])
    )

    assert error.fields == (FieldError(("body", "name"), "Field required", "missing"),)


def test_a_rate_limit_says_when_its_window_ends_both_ways() -> None:
    """The document's number stays what the header says; `retry_after` is seconds from now."""
    reset = int(time.time()) + 40
    error = decoded(
        answer(
            429,
            "Too many requests. Please try again later.",
            x_ratelimit_limit="100",
            x_ratelimit_remaining="0",
            x_ratelimit_reset=str(reset),
        )
    )

    assert type(error) is AgoraliaRateLimitError
    assert error.message == "Rate limit exceeded"
    assert error.detail == {"detail": "Too many requests. Please try again later.", "retry_after": reset}
    assert error.retry_after == pytest.approx(40, abs=5)
    assert error.rate_limit is not None
    assert (error.rate_limit.limit, error.rate_limit.remaining) == (100, 0)
    assert error.retryable


def test_a_small_reset_is_a_number_of_seconds() -> None:
    error = decoded(answer(429, "Too many", x_ratelimit_remaining="0", x_ratelimit_reset="7"))

    assert error.detail == {"detail": "Too many", "retry_after": 7}
    assert error.retry_after == pytest.approx(7)


@pytest.mark.parametrize("reset", [None, "", "soon", "9" * 400, "nan", "inf", "-"])
def test_a_rate_limit_without_a_reset_counts_a_minute_from_when_it_came(reset: str | None) -> None:
    before = int(time.time())
    error = decoded(answer(429, "Too many", **({} if reset is None else {"x_ratelimit_reset": reset})))

    assert before + 60 <= error.detail["retry_after"] <= int(time.time()) + 60
    assert pickle.loads(pickle.dumps(error)).detail == error.detail
    assert error.retry_after is None


def test_retry_after_is_believed_where_the_window_is_not_named() -> None:
    error = decoded(answer(429, "Too many", retry_after="5"))

    assert error.retry_after == 5
    assert error.detail["retry_after"] == pytest.approx(time.time() + 5, abs=5)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "Unknown error"),
        (b"{}", "Unknown error"),
        (b'{"error": "x"}', "Unknown error"),
        (b'{"detail": null}', None),
        (b"upstream is down", "upstream is down"),
        (b"[1, 2]", [1, 2]),
    ],
)
def test_an_answer_in_another_shape_has_the_detail_the_document_gives_it(body: bytes, detail: object) -> None:
    error = decoded(Answer(500, {}, body))

    assert error.detail == detail
    assert error.message == "Server error"


def test_the_page_of_a_proxy_is_detail_but_never_the_message() -> None:
    page = "<html><head><title>413 Request Entity Too Large</title></head><body>nginx</body></html>"
    error = decoded(Answer(413, {"content-type": "text/html"}, page))

    assert type(error) is AgoraliaStatusError
    assert error.detail == page
    assert "<" not in str(error)
    assert "<" not in error.message


def test_the_text_of_an_error_is_one_line_with_what_the_service_said() -> None:
    error = decoded(answer(401, "API key revoked", x_request_id="req-7"))

    assert str(error) == "Authentication failed: API key revoked (401, request req-7)"


def test_the_text_of_a_validation_error_names_the_fields() -> None:
    assert str(decoded(answer(422, FIELDS))).startswith(
        "Validation error: body.name: field required; body.agent_ref_id: value is not a valid integer; "
    )


def test_a_request_that_is_still_running_is_told_apart_from_another_body() -> None:
    error = decoded(answer(409, "Still in progress", x_error_code="idempotency_in_progress", retry_after="1"))

    assert type(error) is AgoraliaInProgressError
    assert isinstance(error, AgoraliaConflictError)
    assert not isinstance(error, failwell.IdempotencyMismatchError)
    assert error.retryable
    assert error.effect is Effect.UNKNOWN
    assert error.retry_after == 1


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (405, AgoraliaBadRequestError),
        (415, AgoraliaBadRequestError),
        (402, AgoraliaStatusError),
        (410, AgoraliaStatusError),
        (301, AgoraliaStatusError),
        (501, AgoraliaServerError),
        (502, AgoraliaUnavailableError),
        (504, AgoraliaUnavailableError),
        (599, AgoraliaServerError),
    ],
)
def test_a_status_the_document_does_not_list_has_a_class_too(status: int, cls: type) -> None:
    assert type(decoded(answer(status, "x"))) is cls


# It sends no files, which could change or end too soon.
@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.SOURCE])
def test_however_an_attempt_breaks_the_error_is_one_of_ours(reason: Reason) -> None:
    cls = CONTRACT.class_for(STANDARD_CLASS[reason])

    assert issubclass(cls, AgoraliaConnectionError)
    assert issubclass(cls, STANDARD_CLASS[reason])
    assert not issubclass(cls, failwell.APIError)


def test_without_an_answer_there_is_no_status_and_the_detail_says_what_happened() -> None:
    failure = Failure(
        method="GET", message="The connection was refused", reason="refused", effect=Effect.NOT_SENT
    )
    error = AgoraliaConnectError.from_failure(failure)

    assert error.status_code is None
    assert error.detail == error.message == "The connection was refused"
    assert str(error) == "The connection was refused (refused)"
    assert f"API Error {error.status_code}: {error.detail}" == "API Error None: The connection was refused"


def test_a_timeout_is_a_timeout_for_code_that_knows_neither_library() -> None:
    assert issubclass(AgoraliaTimeoutError, TimeoutError)
    assert issubclass(AgoraliaDeadlineError, TimeoutError)
    assert AgoraliaTimeoutError("slow").status_code is None
    assert AgoraliaConnectionLostError("reset").detail is None
    assert AgoraliaBadAnswerError("cut", 200).status_code == 200
    assert AgoraliaDeadlineError("late").message == "late"


def test_no_answer_is_no_answer_of_the_service() -> None:
    """`except failwell.APIError` must not catch a broken connection."""
    assert not issubclass(AgoraliaAPIError, failwell.APIError)
    answered = {rule.raises for rule in CONTRACT.rules}
    assert all(issubclass(cls, failwell.APIError) for cls in answered)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_every_class_survives_pickle_copy_and_json(cls: type[AgoraliaAPIError], protocol: int) -> None:
    failure = Failure(
        method="POST",
        url="https://api.agoralia.app/api/v1/campaigns",
        status=cls.usual_status,
        headers={"x-ratelimit-reset": "1640995200"},
        body={"detail": "said"},
        message="said",
        request_id="req-1",
        idempotency_key="k",
        retry_after=2.0,
    )
    error = cls.from_failure(failure, "Headline")

    def facts(e: failwell.Error) -> tuple[object, ...]:
        assert isinstance(e, AgoraliaAPIError)
        return type(e), e.args, e.failure, e.message, e.status_code, e.detail, str(e)

    for again in (
        pickle.loads(pickle.dumps(error, protocol)),
        copy.copy(error),
        copy.deepcopy(error),
        failwell.Error.from_dict(json.loads(json.dumps(error.to_dict()))),
    ):
        assert facts(again) == facts(error)


@pytest.mark.parametrize("rule", CONTRACT.rules, ids=repr)
def test_what_is_encoded_is_decoded_to_the_same(rule: failwell.Rule) -> None:
    status = rule.statuses[0] if rule.statuses else 418
    code = rule.codes[0] if rule.codes else None
    named = {} if code is None else {"x_error_code": code}
    error = decoded(answer(status, "said", retry_after="3", **named))
    assert type(error) is rule.raises

    again = decoded(CONTRACT.encode(error))

    assert type(again) is rule.raises
    assert again.args == error.args
    for fact in ("message", "status_code", "detail", "code", "fields", "retry_after", "effect", "retryable"):
        if (fact, status) != ("detail", 429):  # its clock moved on
            assert getattr(again, fact) == getattr(error, fact)


def test_a_service_that_raises_our_errors_answers_the_documents_bodies() -> None:
    for status, detail, cls, *_ in TABLE:
        sent = CONTRACT.encode(cls("headline", status, detail))

        assert sent.status == status
        assert json.loads(sent.body) == {"detail": detail}


def test_a_key_the_service_repeats_is_not_kept() -> None:
    error = decoded(answer(401, "Invalid API key ago_ETWIQRPbBXBr"), secrets=("ago_ETWIQRPbBXBr",))

    assert "ETWIQR" not in str(error)
    assert "ETWIQR" not in repr(vars(error))
    assert "ETWIQR" not in str(error.detail)


def test_every_documented_class_says_what_happened_and_what_to_do() -> None:
    for cls in CLASSES:
        text = cls.__doc__ or ""
        assert "## Was it carried out?" in text, cls
        assert "## What to do" in text, cls
        assert (
            cls in (AgoraliaAPIError, AgoraliaConflictError, AgoraliaConnectionError)
            or cls in CONTRACT.exceptions
        )


def test_the_attempts_of_a_call_are_in_its_text() -> None:
    from failwell import Attempt

    error = decoded(answer(500, "Internal server error"))
    tries = (Attempt(1, 0.0, 0.1, "status", 500, wait=1.0), Attempt(2, 1.1, 0.1, "status", 500))
    error.failure = replace(error.failure, attempts=tries)

    assert str(error) == "Server error: Internal server error (500, 2 tries in 1.2 s)"
