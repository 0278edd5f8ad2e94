"""
The exceptions of the Scopix API. Which answer is which stands in `scopix.contract`.

    ScopixError                       everything this SDK raises: `code`, `message`, `details`
    ├── AuthenticationError           401
    │   └── MissingKeyError           there is no API key, or it cannot be one: nothing was sent
    ├── ScopixPermissionError         403
    ├── ResourceNotFoundError         404
    ├── ScopixConflictError           409: an idempotency key that had another body, and the like
    ├── ValidationError               400, 405, 413, 415, 416, 422
    │   └── ScopixValueError          an argument cannot be used: nothing was sent
    │       ├── ScopixTypeError       it has the wrong type: nothing was sent
    │       └── ScopixConfigurationError  a setting cannot be used: nothing was sent
    ├── QuotaExceededError            an upload or processing quota is spent: `available`, `limit`
    ├── PaymentRequiredError          402
    ├── RateLimitError                429: `retry_after`, `limit`, `remaining`, `reset`
    ├── ScopixTimeoutError            the time allowed was over: `last_result`
    │   └── WaitTimeoutError          a job was not finished in the time allowed for waiting; it goes on
    ├── ServerError                   5xx
    ├── ScopixConnectionError         no usable answer came
    ├── CircuitBreakerError           the service is left alone for `retry_after` seconds
    ├── UploadError                   a file was not uploaded: `filename`, `stage`
    ├── DescriptionError              an image could not be described: `image_id`
    ├── ChatError                     a chat could not go on: `session_id`
    ├── DocumentProcessingError       a document could not be processed: `document_id`
    ├── CloudStorageError             an import or export failed: `job_id`, `job_status`
    ├── S3ConnectorError              a job of an S3 connector failed: `job_id`, `job_status`
    ├── VideoUploadError              a video was not uploaded: `media_id`, `stage`, `partial_chunks`
    ├── VideoAnalysisError            a video could not be analysed: `media_id`, `analysis_job_id`
    └── SSEStreamError                a stream broke, and could not be taken up again

The twenty of the document stand beside each other. The six that it does not have are for programs that
want to know more: they stand below one of the twenty, or below `ScopixError`. Each class is also the class
of failwell that says what it means, so `except failwell.RateLimitError` catches a `RateLimitError` of this
package.

`status` is the HTTP status, as everywhere in failwell; the state of a job is in `details["status"]`.
"""

from __future__ import annotations

import failwell.errors as standard
from failwell.errors import CallError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


class ScopixError(CallError):
    """
    Everything this SDK raises. Raised itself for an answer that no other class stands for.

    Args:
        code: For programs, such as "AUTH_ERROR".
        message: For people.
        details: What else is known.

    ## Was it carried out?
    See `effect`.

    ## What to do
    Catch one of the subclasses for a failure you can handle; catch this one to log and raise again.

    ## Source
    - SDK Reference: Exceptions, "Base Exception"
    """

    # The class's documented `code`; None where each error has its own.
    _code: ClassVar[str | None] = None
    _partial_results: Any

    def __init__(self, code: str, message: str, *, details: dict[str, Any] | None = None) -> None:
        _construct(self, message, details, code=code)

    @property
    def code(self) -> str:
        """For programs: "AUTH_ERROR". The same for all errors of a class, where the document fixes it."""
        failure = self.failure
        if self._code is not None:
            return self._code
        return failure.code or ("ERROR" if failure.status is None else f"HTTP_{failure.status}")

    @property
    def message(self) -> str:
        """For people."""
        return self.failure.message or self.headline()

    @property
    def details(self) -> dict[str, Any]:
        """What else is known; `errors` are the fields that were refused: `path`, `message`, `code`."""
        details = dict(self.failure.details)
        if self.failure.fields:
            details["errors"] = [
                {"path": [*field.path], "message": field.message or "", "code": field.code or ""}
                for field in self.failure.fields
            ]
        return details

    @property
    def partial_results(self) -> Any:
        """What became of the files of a batch, a `BatchUploadResults`; None for what is no batch."""
        return self.__dict__.get("_partial_results")


class AuthenticationError(ScopixError, standard.AuthenticationError):
    """
    401: the API key is missing, wrong, revoked or expired.

    ## Was it carried out?
    No.

    ## What to do
    Check your credentials. `details["reason"]` says more, such as "api_key_revoked".

    ## Source
    - SDK Reference: Exceptions, "AuthenticationError"
    """

    _code = "AUTH_ERROR"

    def __init__(self, message: str = "Authentication failed") -> None:
        _construct(self, message, status=401)


class MissingKeyError(AuthenticationError, standard.ConfigurationError):
    """
    There is no API key, or what was given cannot be one.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Set `SCOPIX_API_KEY` or pass `api_key`.
    """

    def __init__(self, message: str = "No API key") -> None:
        _construct(self, message, not_sent=True)


class ScopixPermissionError(ScopixError, standard.PermissionDeniedError):
    """
    403: the scopes of the API key do not allow this.

    ## Was it carried out?
    No.

    ## What to do
    Use a key with the scope that the message names.

    ## Source
    - SDK Reference: Exceptions, "ScopixPermissionError"
    """

    _code = "PERMISSION_DENIED"

    def __init__(self, message: str = "Permission denied") -> None:
        _construct(self, message, status=403)


class ResourceNotFoundError(ScopixError, standard.NotFoundError):
    """
    404: there is no such thing, or it belongs to another account.

    Args:
        resource_type: What it is: "file".
        resource_id: What it is called.
        message: For people; by default made of the two.
        details: What else is known.

    ## Was it carried out?
    No.

    ## What to do
    Compare the id with what `list` brings.

    ## Source
    - SDK Reference: Exceptions, "ResourceNotFoundError"
    """

    _code = "NOT_FOUND"

    def __init__(
        self,
        resource_type: str,
        resource_id: str,
        *,
        message: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        told = {**(details or {}), "resource_type": resource_type, "resource_id": resource_id}
        _construct(self, message or f"There is no {resource_type} {resource_id}", told, status=404)

    @property
    def resource_type(self) -> str | None:
        """What it is: "file"; None if the answer does not say."""
        return _text(self, "resource_type")

    @property
    def resource_id(self) -> str | None:
        """What it is called; None if the answer does not say."""
        return _text(self, "resource_id")


class ScopixConflictError(ScopixError, standard.ConflictError):
    """
    409: the request does not fit the state of the service: the idempotency key had another body (`code`
    is "IDEMPOTENCY_CONFLICT"), or its first request is still being carried out ("IDEMPOTENCY_IN_FLIGHT").

    ## Was it carried out?
    No. While the first request with a key is still being carried out, it is unknown (`effect`).

    ## What to do
    Use a new key for a new request.
    """


class ValidationError(ScopixError, standard.InvalidRequestError):
    """
    The request cannot be carried out as it is: the service refused it, or the client did.

    ## Was it carried out?
    No.

    ## What to do
    Change what the message and `details["errors"]` name. The same request fails again.

    ## Source
    - SDK Reference: Exceptions, "ValidationError"
    """

    _code = "VALIDATION_ERROR"
    usual_status = 422

    def __init__(self, message: str, *, details: dict[str, Any] | None = None) -> None:
        _construct(self, message, details, status=422)


class ScopixValueError(ValidationError, standard.UsageError):
    """
    An argument cannot be used. Also a `ValueError`.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Change the argument that the message names.
    """

    def __init__(self, message: str, *, details: dict[str, Any] | None = None) -> None:
        _construct(self, message, details, not_sent=True)


class ScopixTypeError(ScopixValueError, standard.ArgumentTypeError):
    """
    An argument has the wrong type. Also a `TypeError`.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Pass the type that the message asks for.
    """


class ScopixConfigurationError(ScopixValueError, standard.ConfigurationError):
    """
    A setting of the client, such as the base URL, cannot be used.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Correct the setting that the message names.
    """


class QuotaExceededError(ScopixError, standard.QuotaExceededError):
    """
    The upload or processing quota of the account is spent. Never tried again by the client.

    Args:
        message: For people.
        available: What is left: bytes or files.
        limit: What there is in all.
        partial_results: What was uploaded before.

    ## Was it carried out?
    No.

    ## What to do
    Delete files, or get a larger plan; then upload the batch again: only what is missing is sent.

    ## Source
    - SDK Reference: Exceptions, "QuotaExceededError"
    """

    _code = "QUOTA_EXCEEDED"

    def __init__(
        self, message: str, *, available: int = 0, limit: int = 0, partial_results: Any = None
    ) -> None:
        _construct(self, message, {"available": available, "limit": limit}, status=429, retryable=False)
        self._partial_results = partial_results

    @property
    def available(self) -> int:
        """What is left: bytes or files."""
        return _whole(self, "available") or 0

    @property
    def limit(self) -> int:
        """What there is in all."""
        return _whole(self, "limit") or 0


class PaymentRequiredError(ScopixError, standard.PaymentRequiredError):
    """
    402: the payment for the subscription is past due.

    ## Was it carried out?
    No.

    ## What to do
    Pay, or change the means of payment.

    ## Source
    - SDK Reference: Exceptions, "Exception Hierarchy"
    """

    _code = "PAYMENT_REQUIRED"

    def __init__(self, message: str = "Payment required", *, details: dict[str, Any] | None = None) -> None:
        _construct(self, message, details, status=402)


class RateLimitError(ScopixError, standard.RateLimitError):
    """
    429: too many requests with this key.

    Args:
        message: For people.
        retry_after: Seconds to wait before trying again.
        limit: Requests allowed.
        remaining: Requests left.
        reset: The Unix time at which the limit is renewed.

    ## Was it carried out?
    No.

    ## What to do
    The client has waited and tried again already: come back in `retry_after` seconds, or send less.

    ## Source
    - SDK Reference: Exceptions, "RateLimitError"
    """

    _code = "RATE_LIMIT"

    def __init__(
        self,
        message: str = "Rate limit exceeded",
        *,
        retry_after: int | None = None,
        limit: int | None = None,
        remaining: int | None = None,
        reset: int | None = None,
    ) -> None:
        from datetime import UTC, datetime

        from failwell.failure import RateLimit

        known: dict[str, Any] = {}
        if retry_after is not None:
            known["retry_after"] = float(retry_after)
        if (limit, remaining, reset) != (None, None, None):
            until = None if reset is None else datetime.fromtimestamp(reset, UTC)
            known["rate_limit"] = RateLimit(limit, remaining, until)
        _construct(self, message, status=429, **known)

    @property
    def retry_after(self) -> int | None:
        """Whole seconds to wait before trying again, rounded up; None if the service does not say."""
        seconds = self.failure.retry_after
        return None if seconds is None else -int(-seconds // 1)

    @property
    def limit(self) -> int | None:
        """Requests allowed; None if the service does not say."""
        known = self.failure.rate_limit
        return _whole(self, "limit") if known is None or known.limit is None else known.limit

    @property
    def remaining(self) -> int | None:
        """Requests left: 0; None if the service does not say."""
        known = self.failure.rate_limit
        return _whole(self, "remaining") if known is None or known.remaining is None else known.remaining

    @property
    def reset(self) -> int | None:
        """The Unix time at which the limit is renewed; None if the service does not say."""
        known = self.failure.rate_limit
        if known is None or known.reset_at is None:
            return _whole(self, "reset")
        return round(known.reset_at.timestamp())


class ScopixTimeoutError(ScopixError, standard.CallTimeoutError):
    """
    The time allowed was over: for a wait within a try, for a call, or for a job.

    Args:
        message: For people.
        last_result: What was last seen of a job.

    ## Was it carried out?
    See `effect`: no if nothing was sent, otherwise unknown. A job goes on.

    ## What to do
    Allow more time. A job can be waited for again by its id, from any process.

    ## Source
    - SDK Reference: Exceptions, "ScopixTimeoutError"
    """

    _code = "TIMEOUT"
    _last_result: Any

    def __init__(self, message: str = "Operation timed out", *, last_result: Any = None) -> None:
        _construct(self, message)
        self._last_result = last_result

    @property
    def last_result(self) -> Any:
        """What was last seen of the job, as its `get` brings it; None for a call without a job."""
        return self.__dict__.get("_last_result")


class WaitTimeoutError(ScopixTimeoutError, standard.PollTimeoutError):
    """
    A job was not finished in the time allowed for waiting. It goes on.

    ## Was it carried out?
    It is under way.

    ## What to do
    Wait for `job_id` again, from any process; `last_result` is what was last seen of it.
    """


class ServerError(ScopixError, standard.ServerError):
    """
    5xx: the service failed.

    ## Was it carried out?
    Unknown, unless `effect` says otherwise.

    ## What to do
    The client has tried again already. Try again later; a write with the same `idempotency_key`.

    ## Source
    - SDK Reference: Exceptions, "ServerError"
    """

    _code = "SERVER_ERROR"

    def __init__(self, message: str = "Server error") -> None:
        _construct(self, message, status=500)


class ScopixConnectionError(ScopixError, standard.TransportError):
    """
    No usable answer came: connecting, DNS, TLS, a connection that broke, an answer that is cut short.

    ## Was it carried out?
    See `effect`.

    ## What to do
    The client has tried again already. Check the network; repeat a write only with the same
    `idempotency_key`.

    ## Source
    - SDK Reference: Exceptions, "ScopixConnectionError"
    """

    _code = "CONNECTION_ERROR"

    def __init__(self, message: str = "Connection failed") -> None:
        _construct(self, message)


class CircuitBreakerError(ScopixError, standard.CircuitOpenError):
    """
    The service has been failing, and the client leaves it alone for a while.

    Args:
        message: For people.
        retry_after: Seconds until a call is let through again.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Come back in `retry_after` seconds.

    ## Source
    - SDK Reference: Exceptions, "CircuitBreakerError"
    """

    _code = "CIRCUIT_OPEN"

    def __init__(self, message: str = "Service temporarily unavailable", *, retry_after: float = 0.0) -> None:
        _construct(self, message, not_sent=True, retry_after=float(retry_after), retryable=True)

    @property
    def retry_after(self) -> float:
        """Seconds to wait before trying again."""
        return self.failure.retry_after or 0.0


class UploadError(ScopixError, standard.UploadError):
    """
    A file was not uploaded.

    Args:
        message: For people.
        filename: Which.
        stage: Which step failed: "initiate", "upload" or "complete".
        session_id: The upload it was part of.
        partial_results: What was uploaded besides.

    ## Was it carried out?
    The file is not stored: a service that has not all of it, with the SHA-256 announced, keeps nothing.

    ## What to do
    Mend what the message names, and upload the batch again: only what is missing is sent.

    ## Source
    - SDK Reference: Exceptions, "UploadError"
    """

    _code = "UPLOAD_ERROR"
    usual_status: ClassVar[int | None] = 422

    def __init__(
        self,
        message: str,
        *,
        filename: str | None = None,
        stage: str | None = None,
        session_id: str | None = None,
        partial_results: Any = None,
    ) -> None:
        _construct(self, message, _known(filename=filename, stage=stage, session_id=session_id))
        self._partial_results = partial_results

    @property
    def filename(self) -> str | None:
        """Which file."""
        return _text(self, "filename")

    @property
    def stage(self) -> str | None:
        """Which step failed: "initiate", "upload" or "complete"."""
        return _text(self, "stage")

    @property
    def session_id(self) -> str | None:
        """The upload it was part of; None if it failed before there was one."""
        return _text(self, "session_id")


class DescriptionError(ScopixError, standard.JobFailedError):
    """
    An image could not be described. It is stored.

    Args:
        message: For people.
        image_id: Which.
        status: How far it came: "failed".

    ## Was it carried out?
    The upload was; the description ran, and failed.

    ## What to do
    Look at the image: what is none cannot be described.

    ## Source
    - SDK Reference: Exceptions, "DescriptionError"
    """

    _code = "DESCRIPTION_ERROR"
    usual_status: ClassVar[int | None] = 422

    def __init__(self, message: str, *, image_id: str | None = None, status: str | None = None) -> None:
        _construct(self, message, _known(image_id=image_id, status=status))

    @property
    def image_id(self) -> str | None:
        """Which image."""
        return _text(self, "image_id")


class DocumentProcessingError(ScopixError, standard.ConflictError):
    """
    A document could not be processed, or is still, and so cannot be used or deleted.

    Args:
        message: For people.
        document_id: Which.
        status: How far it came: "processing" or "failed".

    ## Was it carried out?
    No.

    ## What to do
    Wait while `details["status"]` is "processing"; upload another file if it is "failed".

    ## Source
    - SDK Reference: Exceptions, "DocumentProcessingError"
    """

    _code = "DOCUMENT_PROCESSING_ERROR"

    def __init__(self, message: str, *, document_id: str | None = None, status: str | None = None) -> None:
        _construct(self, message, _known(document_id=document_id, status=status))

    @property
    def document_id(self) -> str | None:
        """Which document."""
        return _text(self, "document_id")


class ChatError(ScopixError, standard.APIError):
    """
    A chat could not go on.

    Args:
        message: For people.
        session_id: Which.
        error_code: The service's own code, such as "CHAT_SESSION_CLOSED".

    ## Was it carried out?
    See `effect`.

    ## What to do
    Read `code`: begin another session after "CHAT_SESSION_CLOSED", wait after "CHAT_BUSY".

    ## Source
    - SDK Reference: Exceptions, "ChatError"
    """

    usual_status: ClassVar[int | None] = 409

    def __init__(self, message: str, *, session_id: str | None = None, error_code: str | None = None) -> None:
        _construct(self, message, _known(session_id=session_id), code=error_code or "CHAT_ERROR")

    @property
    def code(self) -> str:
        """For programs: "CHAT_ERROR", or what the service calls it."""
        return self.failure.code or "CHAT_ERROR"

    @property
    def session_id(self) -> str | None:
        """Which session."""
        return _text(self, "session_id")


class CloudStorageError(ScopixError, standard.JobFailedError):
    """
    An import from, or an export to, a cloud storage failed.

    Args:
        message: For people.
        job_id: Which.
        job_status: How far it came: "failed".

    ## Was it carried out?
    It ran, and failed; the files that came through before stay.

    ## What to do
    Read why, mend the connection or the list of files, start another.

    ## Source
    - SDK Reference: Exceptions, "CloudStorageError"
    """

    _code = "CLOUD_STORAGE_ERROR"
    usual_status: ClassVar[int | None] = 422

    def __init__(self, message: str, *, job_id: str | None = None, job_status: str | None = None) -> None:
        _construct(self, message, _known(job_id=job_id, job_status=job_status))


class S3ConnectorError(ScopixError, standard.JobFailedError):
    """
    A job of an S3 connector failed.

    Args:
        message: For people.
        job_id: Which.
        job_status: How far it came: "failed".

    ## Was it carried out?
    It ran, and failed; the files that came through before stay.

    ## What to do
    Read why, mend the connector's bucket or keys, start another.

    ## Source
    - SDK Reference: Exceptions, "S3ConnectorError"
    """

    _code = "S3_CONNECTOR_ERROR"
    usual_status: ClassVar[int | None] = 422

    def __init__(self, message: str, *, job_id: str | None = None, job_status: str | None = None) -> None:
        _construct(self, message, _known(job_id=job_id, job_status=job_status))


class VideoUploadError(ScopixError, standard.UploadError):
    """
    A video was not uploaded: a part of it, the beginning or the end of the upload failed.

    Args:
        message: For people.
        media_id: Which, for whoever takes it up again.
        stage: Which step failed: "initiate", "chunk_upload" or "complete".
        partial_chunks: How many parts the service has.

    ## Was it carried out?
    The video is not registered; the parts that came are kept.

    ## What to do
    Upload it again with `media_id`: only the parts that are missing are sent.

    ## Source
    - SDK Reference: Exceptions, "VideoUploadError"
    """

    _code = "VIDEO_UPLOAD_ERROR"
    usual_status: ClassVar[int | None] = 422

    def __init__(
        self,
        message: str,
        *,
        media_id: str | None = None,
        stage: str | None = None,
        partial_chunks: int = 0,
    ) -> None:
        told = {**_known(media_id=media_id, stage=stage), "partial_chunks": partial_chunks}
        _construct(self, message, told)

    @property
    def media_id(self) -> str | None:
        """Which upload; None if it failed before there was one."""
        return _text(self, "media_id")

    @property
    def stage(self) -> str | None:
        """Which step failed: "initiate", "chunk_upload" or "complete"."""
        return _text(self, "stage")

    @property
    def partial_chunks(self) -> int:
        """How many parts the service has."""
        parts = self.failure.details.get("parts")  # what an upload in parts knows
        return len(parts) if isinstance(parts, list) else _whole(self, "partial_chunks") or 0

    @property
    def details(self) -> dict[str, Any]:
        """What is known: `media_id`, `stage`, `partial_chunks`, and more about the parts."""
        return {**super().details, "partial_chunks": self.partial_chunks}


class VideoAnalysisError(ScopixError, standard.JobFailedError):
    """
    A video could not be analysed.

    Args:
        message: For people.
        media_id: Which video.
        analysis_job_id: Which job.
        status: How far it came: "failed".

    ## Was it carried out?
    It ran, and failed.

    ## What to do
    `client.video_analysis.retry(error.analysis_job_id, error.media_id)` runs it again.

    ## Source
    - SDK Reference: Exceptions, "VideoAnalysisError"
    """

    _code = "VIDEO_ANALYSIS_ERROR"
    usual_status: ClassVar[int | None] = 422

    def __init__(
        self,
        message: str,
        *,
        media_id: str | None = None,
        analysis_job_id: str | None = None,
        status: str | None = None,
    ) -> None:
        _construct(self, message, _known(media_id=media_id, analysis_job_id=analysis_job_id, status=status))

    @property
    def media_id(self) -> str | None:
        """Which video."""
        return _text(self, "media_id")

    @property
    def analysis_job_id(self) -> str | None:
        """Which job."""
        return _text(self, "analysis_job_id")


class SSEStreamError(ScopixError, standard.StreamError):
    """
    A stream broke and could not be taken up again, or ended without the event that ends it.

    ## Was it carried out?
    The service goes on with its answer; what was received is in order and without gaps.

    ## What to do
    Take the stream up again after the last event, or read the whole message.

    ## Source
    - SDK Reference: Exceptions, "SSEStreamError"
    """

    _code = "SSE_STREAM_ERROR"

    def __init__(self, message: str = "The stream broke", *, details: dict[str, Any] | None = None) -> None:
        _construct(self, message, details)


def _construct(
    error: ScopixError,
    message: str,
    details: dict[str, Any] | None = None,
    *,
    code: str | None = None,
    status: int | None = None,
    not_sent: bool = False,
    **facts: Any,
) -> None:
    """What a documented constructor does: `error` knows what an answer that means it would have said."""
    from failwell.failure import Effect
    from scopix.contract import CONTRACT

    if not_sent:
        facts |= {"effect": Effect.NOT_SENT, "stopped": "usage"}
    facts |= {"message": message, "code": code or type(error)._code, "details": dict(details or {})}
    CallError.__init__(error, message, failure=CONTRACT.failure_of(status, **facts))


def _known(**facts: str | None) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def _text(error: ScopixError, name: str) -> str | None:
    value = error.failure.details.get(name)
    return value if isinstance(value, str) else None


def _whole(error: ScopixError, name: str) -> int | None:
    value = error.failure.details.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
