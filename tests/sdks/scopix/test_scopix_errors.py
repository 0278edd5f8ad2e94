"""The twenty exceptions: which there are, how they are made, what they mean, what they know."""

from __future__ import annotations

import inspect
import json
import pickle
from typing import Any

import pytest
from scopix_answers import refusal

import failwell
import scopix
from failwell import Answer, Effect, Failure
from failwell.testing import assert_exports
from scopix import (
    CONTRACT,
    AuthenticationError,
    ChatError,
    CircuitBreakerError,
    CloudStorageError,
    DescriptionError,
    DocumentProcessingError,
    MissingKeyError,
    PaymentRequiredError,
    QuotaExceededError,
    RateLimitError,
    ResourceNotFoundError,
    S3ConnectorError,
    ScopixConfigurationError,
    ScopixConflictError,
    ScopixConnectionError,
    ScopixError,
    ScopixPermissionError,
    ScopixTimeoutError,
    ScopixTypeError,
    ScopixValueError,
    ServerError,
    SSEStreamError,
    UploadError,
    ValidationError,
    VideoAnalysisError,
    VideoUploadError,
    WaitTimeoutError,
)

# The document's hierarchy, and what of failwell each of them means.
DOCUMENTED: dict[type[ScopixError], type[failwell.Error]] = {
    AuthenticationError: failwell.AuthenticationError,
    ScopixPermissionError: failwell.PermissionDeniedError,
    ResourceNotFoundError: failwell.NotFoundError,
    ValidationError: failwell.InvalidRequestError,
    QuotaExceededError: failwell.QuotaExceededError,
    PaymentRequiredError: failwell.PaymentRequiredError,
    RateLimitError: failwell.RateLimitError,
    ScopixTimeoutError: failwell.CallTimeoutError,
    ServerError: failwell.ServerError,
    ScopixConnectionError: failwell.TransportError,
    CircuitBreakerError: failwell.CircuitOpenError,
    UploadError: failwell.UploadError,
    DescriptionError: failwell.JobFailedError,
    ChatError: failwell.APIError,
    DocumentProcessingError: failwell.ConflictError,
    CloudStorageError: failwell.JobFailedError,
    S3ConnectorError: failwell.JobFailedError,
    VideoUploadError: failwell.UploadError,
    VideoAnalysisError: failwell.JobFailedError,
    SSEStreamError: failwell.StreamError,
}
# What is not in the document, and stands below what is.
FINER = {
    MissingKeyError: AuthenticationError,
    ScopixValueError: ValidationError,
    ScopixTypeError: ValidationError,
    ScopixConfigurationError: ValidationError,
    WaitTimeoutError: ScopixTimeoutError,
    ScopixConflictError: ScopixError,
}

# The constructors as the document writes them; `Optional[x]` is what Python writes as `x | None`.
CONSTRUCTORS: dict[type[ScopixError], str] = {
    ScopixError: "(self, code: str, message: str, *, details: Optional[dict[str, Any]] = None) -> None",
    AuthenticationError: "(self, message: str = 'Authentication failed') -> None",
    ScopixPermissionError: "(self, message: str = 'Permission denied') -> None",
    RateLimitError: "(self, message: str = 'Rate limit exceeded', *, retry_after: Optional[int] = None, "
    "limit: Optional[int] = None, remaining: Optional[int] = None, reset: Optional[int] = None) -> None",
    QuotaExceededError: "(self, message: str, *, available: int = 0, limit: int = 0, "
    "partial_results: Any = None) -> None",
    ValidationError: "(self, message: str, *, details: Optional[dict[str, Any]] = None) -> None",
    ResourceNotFoundError: "(self, resource_type: str, resource_id: str, *, message: Optional[str] = None, "
    "details: Optional[dict[str, Any]] = None) -> None",
    ScopixTimeoutError: "(self, message: str = 'Operation timed out', *, "
    "last_result: Optional[Any] = None) -> None",
    ScopixConnectionError: "(self, message: str = 'Connection failed') -> None",
    ServerError: "(self, message: str = 'Server error') -> None",
    UploadError: "(self, message: str, *, filename: Optional[str] = None, stage: Optional[str] = None, "
    "session_id: Optional[str] = None, partial_results: Any = None) -> None",
    DescriptionError: "(self, message: str, *, image_id: Optional[str] = None, "
    "status: Optional[str] = None) -> None",
    DocumentProcessingError: "(self, message: str, *, document_id: Optional[str] = None, "
    "status: Optional[str] = None) -> None",
    ChatError: "(self, message: str, *, session_id: Optional[str] = None, "
    "error_code: Optional[str] = None) -> None",
    CloudStorageError: "(self, message: str, *, job_id: Optional[str] = None, "
    "job_status: Optional[str] = None) -> None",
    S3ConnectorError: "(self, message: str, *, job_id: Optional[str] = None, "
    "job_status: Optional[str] = None) -> None",
    VideoUploadError: "(self, message: str, *, media_id: Optional[str] = None, stage: Optional[str] = None, "
    "partial_chunks: int = 0) -> None",
    VideoAnalysisError: "(self, message: str, *, media_id: Optional[str] = None, "
    "analysis_job_id: Optional[str] = None, status: Optional[str] = None) -> None",
}

# Each made with everything it takes: its code, its `details`, and its further attributes.
MADE: list[tuple[ScopixError, str, dict[str, Any], dict[str, Any]]] = [
    (ScopixError("ODD", "m", details={"a": 1}), "ODD", {"a": 1}, {}),
    (AuthenticationError("m"), "AUTH_ERROR", {}, {"status": 401}),
    (ScopixPermissionError("m"), "PERMISSION_DENIED", {}, {"status": 403}),
    (
        ResourceNotFoundError("file", "img_1", message="m", details={"a": 1}),
        "NOT_FOUND",
        {"a": 1, "resource_type": "file", "resource_id": "img_1"},
        {"resource_type": "file", "resource_id": "img_1", "status": 404},
    ),
    (ValidationError("m", details={"name": "too long"}), "VALIDATION_ERROR", {"name": "too long"}, {}),
    (
        QuotaExceededError("m", available=3, limit=10, partial_results=["a"]),
        "QUOTA_EXCEEDED",
        {"available": 3, "limit": 10},
        {"available": 3, "limit": 10, "partial_results": ["a"], "status": 429, "retryable": False},
    ),
    (PaymentRequiredError("m", details={"a": 1}), "PAYMENT_REQUIRED", {"a": 1}, {"status": 402}),
    (
        RateLimitError("m", retry_after=5, limit=60, remaining=0, reset=1_800_000_000),
        "RATE_LIMIT",
        {},
        {"retry_after": 5, "limit": 60, "remaining": 0, "reset": 1_800_000_000, "retryable": True},
    ),
    (ScopixTimeoutError("m", last_result={"a": 1}), "TIMEOUT", {}, {"last_result": {"a": 1}}),
    (ServerError("m"), "SERVER_ERROR", {}, {"status": 500}),
    (ScopixConnectionError("m"), "CONNECTION_ERROR", {}, {"status": None}),
    (
        CircuitBreakerError("m", retry_after=2.5),
        "CIRCUIT_OPEN",
        {},
        {"retry_after": 2.5, "effect": Effect.NOT_SENT},
    ),
    (
        UploadError("m", filename="a.jpg", stage="upload", session_id="us_1", partial_results=[1]),
        "UPLOAD_ERROR",
        {"filename": "a.jpg", "stage": "upload", "session_id": "us_1"},
        {"filename": "a.jpg", "stage": "upload", "session_id": "us_1", "partial_results": [1]},
    ),
    (
        DescriptionError("m", image_id="img_1", status="failed"),
        "DESCRIPTION_ERROR",
        {"image_id": "img_1", "status": "failed"},
        {"image_id": "img_1"},
    ),
    (
        DocumentProcessingError("m", document_id="doc_1", status="failed"),
        "DOCUMENT_PROCESSING_ERROR",
        {"document_id": "doc_1", "status": "failed"},
        {"document_id": "doc_1"},
    ),
    (ChatError("m", session_id="cs_1"), "CHAT_ERROR", {"session_id": "cs_1"}, {"session_id": "cs_1"}),
    (ChatError("m", error_code="CHAT_BUSY"), "CHAT_BUSY", {}, {"session_id": None}),
    (
        CloudStorageError("m", job_id="job_1", job_status="failed"),
        "CLOUD_STORAGE_ERROR",
        {"job_id": "job_1", "job_status": "failed"},
        {"job_id": "job_1", "job_status": "failed"},
    ),
    (
        S3ConnectorError("m", job_id="job_1", job_status="failed"),
        "S3_CONNECTOR_ERROR",
        {"job_id": "job_1", "job_status": "failed"},
        {"job_id": "job_1", "job_status": "failed"},
    ),
    (
        VideoUploadError("m", media_id="vid_1", stage="chunk_upload", partial_chunks=3),
        "VIDEO_UPLOAD_ERROR",
        {"media_id": "vid_1", "stage": "chunk_upload", "partial_chunks": 3},
        {"media_id": "vid_1", "stage": "chunk_upload", "partial_chunks": 3},
    ),
    (
        VideoAnalysisError("m", media_id="vid_1", analysis_job_id="va_1", status="failed"),
        "VIDEO_ANALYSIS_ERROR",
        {"media_id": "vid_1", "analysis_job_id": "va_1", "status": "failed"},
        {"media_id": "vid_1", "analysis_job_id": "va_1"},
    ),
    (SSEStreamError("m", details={"a": 1}), "SSE_STREAM_ERROR", {"a": 1}, {}),
]


def decoded(status: int, body: Any = None, **headers: str) -> Any:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    text = body if isinstance(body, str) else "" if body is None else json.dumps(body)
    return CONTRACT.decode(Answer(status, fields, text))


def test_there_are_twenty_below_the_base() -> None:
    assert len(DOCUMENTED) == 20
    for own, standard in DOCUMENTED.items():
        assert own.__bases__[0] is ScopixError
        assert issubclass(own, standard)


def test_the_twenty_stand_beside_each_other() -> None:
    for one in DOCUMENTED:
        for other in DOCUMENTED:
            assert one is other or not issubclass(one, other), (one, other)


def test_what_is_finer_is_caught_by_the_class_of_the_document() -> None:
    for own, documented in FINER.items():
        assert issubclass(own, documented)


def test_every_name_of_the_document_can_be_imported_from_the_package() -> None:
    names = {"Scopix", "ScopixError", "BatchUploadResults", *(cls.__name__ for cls in DOCUMENTED)}

    assert names <= set(scopix.__all__)
    assert_exports(scopix, scopix._HOMES)


@pytest.mark.parametrize("cls", CONSTRUCTORS, ids=lambda cls: cls.__name__)
def test_a_constructor_is_the_documents(cls: type[ScopixError]) -> None:
    signature = inspect.signature(cls.__init__)
    written = []
    for name, parameter in signature.parameters.items():
        kind = str(parameter.annotation)
        if kind.endswith(" | None"):
            kind = f"Optional[{kind.removesuffix(' | None')}]"
        if name == "last_result":
            kind = "Optional[Any]"  # as good as Any
        star = "*, " if parameter.kind is parameter.KEYWORD_ONLY and "*" not in "".join(written) else ""
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        written.append(name if name == "self" else f"{star}{name}: {kind}{default}")

    assert f"({', '.join(written)}) -> {signature.return_annotation}" == CONSTRUCTORS[cls]


@pytest.mark.parametrize(
    ("error", "code", "details", "attributes"), MADE, ids=lambda v: getattr(v, "code", "")
)
def test_what_a_constructor_is_given_is_known(
    error: ScopixError, code: str, details: dict[str, Any], attributes: dict[str, Any]
) -> None:
    assert (error.code, error.message, error.details) == (code, "m", details)
    for name, value in attributes.items():
        assert getattr(error, name) == value, name
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.message, again.details) == (type(error), code, "m", details)
    for name, value in attributes.items():
        assert getattr(again, name) == value, name


def test_what_was_not_given_is_not_there() -> None:
    assert UploadError("m").details == {}
    assert UploadError("m").filename is None
    assert VideoUploadError("m").details == {"partial_chunks": 0}
    assert QuotaExceededError("m").details == {"available": 0, "limit": 0}
    assert RateLimitError().retry_after is None
    assert (RateLimitError().limit, RateLimitError().remaining, RateLimitError().reset) == (None, None, None)
    assert CircuitBreakerError().retry_after == 0.0
    assert ResourceNotFoundError("file", "img_1").message == "There is no file img_1"
    assert ScopixTimeoutError().last_result is None
    assert ScopixError.from_failure(Failure()).code == "ERROR"
    assert ScopixError.from_failure(Failure(status=418)).code == "HTTP_418"
    assert ScopixError.from_failure(Failure(cause="cut")).message == "cut"
    assert RateLimitError(limit=5).reset is None


# --- what is answered ---

ANSWERED: list[tuple[int, str, type[ScopixError], bool]] = [
    (401, "AUTH_ERROR", AuthenticationError, False),
    (402, "PAYMENT_REQUIRED", PaymentRequiredError, False),
    (403, "PERMISSION_DENIED", ScopixPermissionError, False),
    (404, "NOT_FOUND", ResourceNotFoundError, False),
    *((status, "VALIDATION_ERROR", ValidationError, False) for status in (400, 405, 413, 415, 416, 422)),
    (429, "QUOTA_EXCEEDED", QuotaExceededError, False),
    (429, "RATE_LIMIT", RateLimitError, True),
    (409, "UPLOAD_ERROR", UploadError, False),
    (422, "UPLOAD_ERROR", UploadError, False),
    (409, "VIDEO_UPLOAD_ERROR", VideoUploadError, False),
    (422, "VIDEO_UPLOAD_ERROR", VideoUploadError, False),
    (409, "DOCUMENT_PROCESSING_ERROR", DocumentProcessingError, False),
    (409, "CHAT_ERROR", ChatError, False),
    (409, "CHAT_SESSION_CLOSED", ChatError, False),
    (422, "DESCRIPTION_ERROR", DescriptionError, False),
    (422, "CLOUD_STORAGE_ERROR", CloudStorageError, False),
    (422, "S3_CONNECTOR_ERROR", S3ConnectorError, False),
    (422, "VIDEO_ANALYSIS_ERROR", VideoAnalysisError, False),
    (409, "IDEMPOTENCY_CONFLICT", ScopixConflictError, False),
    (409, "IDEMPOTENCY_IN_FLIGHT", ScopixConflictError, True),
    (418, "TEAPOT", ScopixError, False),
    *((status, "SERVER_ERROR", ServerError, True) for status in (500, 502, 503, 504)),
]


@pytest.mark.parametrize(("status", "code", "cls", "retryable"), ANSWERED)
def test_an_answer_is_the_documented_class(
    status: int, code: str, cls: type[ScopixError], retryable: bool
) -> None:
    error = decoded(status, refusal(code, "No.", reason="why"))

    assert type(error) is cls
    assert (error.code, error.message, error.details["reason"]) == (code, "No.", "why")
    assert (error.status, error.request_id, error.retryable) == (status, "req_1", retryable)
    assert type(CONTRACT.decode(CONTRACT.encode(error))) is cls


@pytest.mark.parametrize(
    ("status", "cls", "code"),
    [
        (401, AuthenticationError, "AUTH_ERROR"),
        (403, ScopixPermissionError, "PERMISSION_DENIED"),
        (404, ResourceNotFoundError, "NOT_FOUND"),
        (422, ValidationError, "VALIDATION_ERROR"),
        (429, RateLimitError, "RATE_LIMIT"),
        (503, ServerError, "SERVER_ERROR"),
    ],
)
@pytest.mark.parametrize("body", [None, "<html>Go away</html>", '{"error": {"code": 7, "message": "No."}}'])
def test_a_proxy_that_speaks_otherwise_changes_nothing(
    status: int, cls: type[ScopixError], code: str, body: str | None
) -> None:
    error = decoded(status, body)

    assert type(error) is cls
    assert error.code == code
    assert error.details == {}


def test_fields_that_are_at_fault_are_in_the_details() -> None:
    errors = [{"path": ["files", 0, "name"], "message": "Too long", "code": "too_long"}]
    error = decoded(422, refusal("VALIDATION_ERROR", "Wrong.", reason="validation_failed", errors=errors))

    assert error.details == {"reason": "validation_failed", "errors": errors}
    assert error.fields[0].path == ("files", 0, "name")
    assert CONTRACT.decode(CONTRACT.encode(error)).details == error.details  # type: ignore[union-attr]


def test_a_rate_limit_has_its_four_facts_from_the_headers() -> None:
    error = decoded(
        429,
        refusal("RATE_LIMIT"),
        retry_after="7",
        x_ratelimit_limit="60",
        x_ratelimit_remaining="0",
        x_ratelimit_reset="1800000000",
    )

    assert (error.retry_after, error.limit, error.remaining, error.reset) == (7, 60, 0, 1_800_000_000)
    assert type(error.retry_after) is int


def test_a_rate_limit_has_its_four_facts_from_the_body_where_there_are_no_headers() -> None:
    facts = {"retry_after": 6.5, "limit": 60, "remaining": 0, "reset": 1_800_000_000}
    error = decoded(429, refusal("RATE_LIMIT", **facts))

    assert (error.retry_after, error.limit, error.remaining, error.reset) == (7, 60, 0, 1_800_000_000)


def test_a_wait_is_written_into_the_body_for_whoever_reads_no_headers() -> None:
    error = RateLimitError("Slowly.", retry_after=7)
    answer = CONTRACT.encode(error)

    assert json.loads(answer.body)["error"]["details"] == {"retry_after": 7.0}
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("odd", [True, "soon", -1, 1e12, None])
def test_a_wait_in_the_body_that_is_none_is_ignored(odd: Any) -> None:
    assert decoded(429, refusal("RATE_LIMIT", retry_after=odd)).retry_after is None


def test_a_quota_says_what_is_left() -> None:
    error = decoded(429, refusal("QUOTA_EXCEEDED", available=1, limit=9, unit="files"))

    assert (error.available, error.limit, error.details["unit"]) == (1, 9, "files")
    assert error.partial_results is None
    assert decoded(429, refusal("QUOTA_EXCEEDED")).available == 0


def test_parts_that_are_safe_are_counted() -> None:
    error = VideoUploadError.from_failure(Failure(details={"parts": [1, 2, 5], "stage": "chunk_upload"}))

    assert error.partial_chunks == 3
    assert error.details["partial_chunks"] == 3


@pytest.mark.parametrize(
    ("status", "told", "code", "reason"),
    [
        (401, "api_key_revoked", "AUTH_ERROR", "api_key_revoked"),
        (403, "insufficient_scope", "PERMISSION_DENIED", "insufficient_scope"),
        (409, "idempotency_mismatch", "IDEMPOTENCY_CONFLICT", "idempotency_mismatch"),
        (409, "idempotency_in_flight", "IDEMPOTENCY_IN_FLIGHT", "idempotency_in_flight"),
        (413, "payload_too_large", "VALIDATION_ERROR", "payload_too_large"),
        (429, "rate_limited", "RATE_LIMIT", "rate_limited"),
        (503, "draining", "SERVER_ERROR", "draining"),
        (418, "teapot", "teapot", "teapot"),
        (409, "CHAT_BUSY", "CHAT_BUSY", None),
    ],
)
def test_a_word_of_a_part_that_knows_nothing_of_scopix_is_the_reason(
    status: int, told: str, code: str, reason: str | None
) -> None:
    answer = CONTRACT.encode(ScopixError.from_failure(Failure(status=status, code=told, message="No.")))
    body = json.loads(answer.body)

    assert body["error"]["code"] == code
    assert body["error"].get("details", {}).get("reason") == reason


def test_an_error_without_a_code_is_written_with_the_one_of_its_status() -> None:
    def written(status: int) -> Any:
        answer = CONTRACT.encode(ScopixError.from_failure(Failure(status=status)))
        return json.loads(answer.body)["error"]

    assert written(404) == {"code": "NOT_FOUND", "message": "The request failed."}
    assert written(500)["code"] == "SERVER_ERROR"
    assert "code" not in written(418)
