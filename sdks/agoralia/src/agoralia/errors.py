"""
The exceptions of the Agoralia API. Which answer is which stands in `agoralia.contract`.

    AgoraliaAPIError                      everything a call can raise
    ├── AgoraliaBadRequestError           400
    ├── AgoraliaAuthenticationError       401
    ├── AgoraliaPermissionError           403
    ├── AgoraliaNotFoundError             404
    ├── AgoraliaConflictError             409
    │   ├── AgoraliaIdempotencyError      the key was used with another body
    │   └── AgoraliaInProgressError       the first request with the key is still running
    ├── AgoraliaValidationError           422
    ├── AgoraliaRateLimitError            429
    ├── AgoraliaServerError               500 and up
    │   └── AgoraliaUnavailableError      502, 503, 504
    ├── AgoraliaStatusError               any other answer that is a failure
    ├── AgoraliaConnectionError           no usable answer came
    │   ├── AgoraliaConnectError          nothing was sent
    │   ├── AgoraliaConnectionLostError   it broke after something was sent
    │   ├── AgoraliaTimeoutError          no answer in the time allowed
    │   └── AgoraliaBadAnswerError        cut short, not HTTP, not the promised format
    └── AgoraliaDeadlineError             the time was over before anything was sent

Each of them is also the standard class of failwell that says what it means.
"""

from __future__ import annotations

import time

from failwell.errors import (
    APIError,
    AuthenticationError,
    BadAnswerError,
    CallError,
    CallTimeoutError,
    ConflictError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    IdempotencyMismatchError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TransportError,
    UnavailableError,
)
from failwell.exports import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from agoralia.contract import CONTRACT as CONTRACT
    from failwell.failure import Failure

UNKNOWN = "Unknown error"  # the document's word for an answer that says nothing

# Where an error made by hand keeps a detail that no answer has.
GIVEN = "detail_given"

# The document waits this long after a 429 that does not say when the window ends.
RESET_SECONDS = 60


class AgoraliaAPIError(CallError):
    """
    A call to the Agoralia API did not succeed.

    Catch it to handle every failure of a call.

    Args:
        message: The headline.
        status_code: The HTTP status; None if no answer came.
        detail: What the service said: text, the list of a 422, or for a 429
            `{"detail": ..., "retry_after": ...}`.

    ## Was it carried out?
    See `effect`.

    ## What to do
    Catch one of the subclasses for what you can handle; log the rest with `request_id`.

    ## Source
    - Error Handling, "Overview" and "Error Handling Example"
    """

    def __init__(self, message: str, status_code: int | None, detail: Any = None) -> None:
        super().__init__(message, failure=_failure_saying(status_code, detail))
        self._note_reset()
        if self.detail != detail:
            # Nothing the service could answer reads as this: keep it as it was given.
            from dataclasses import replace

            self.failure = replace(self.failure, details={GIVEN: detail})

    @classmethod
    def from_failure(cls, failure: Failure, message: str | None = None) -> Self:
        """An error of this class that knows `failure`, headed as the document heads its status."""
        if message is None and failure.status is not None and failure.reason is None:
            message = f"API error: {_sentence(failure)}"
        error = super().from_failure(failure, message)
        error._note_reset()
        return error

    def headline(self) -> str:
        """What went wrong, for a person: the message, and what the service said to it."""
        head, said = self.message, self.failure.message
        if self.failure.fields:
            said = "; ".join(map(str, self.failure.fields))
        return head if not said or said in head else f"{head}: {said}"

    @property
    def message(self) -> str:
        """The headline, such as "Resource not found"."""
        return str(self.args[0]) if self.args else ""

    @property
    def status_code(self) -> int | None:
        """The HTTP status; None if no answer came."""
        return self.failure.status

    @property
    def detail(self) -> Any:
        """
        What the service said.

        Returns:
            Text; for a 422 the list of fields as sent (`fields` has them parsed); for a 429
            `{"detail": ..., "retry_after": ...}`, where `retry_after` is the number in
            `X-RateLimit-Reset`, or the Unix time a minute after the answer if there is none
            (`error.retry_after` is in seconds from the answer on). Without an answer, what
            happened instead.
        """
        failure = self.failure
        if GIVEN in failure.details:
            return failure.details[GIVEN]
        if failure.status is None or failure.reason is not None:
            return failure.message
        said = _detail_in(failure.body)
        if failure.status != 429:
            return said
        reset = _reset_in(failure)
        return {"detail": said, "retry_after": self._presumed_reset() if reset is None else reset}

    def _note_reset(self) -> None:
        # Taken down when the error is made, so that it says the same whenever it is asked.
        if self.failure.status == 429 and _reset_in(self.failure) is None:
            self._reset = self._presumed_reset()

    def _presumed_reset(self) -> int:
        noted = self.__dict__.get("_reset")
        if isinstance(noted, int):
            return noted
        wait = self.failure.retry_after
        return int(time.time() + (RESET_SECONDS if wait is None else wait))


class AgoraliaBadRequestError(AgoraliaAPIError, InvalidRequestError):
    """
    The request's format or parameters are not valid.

    ## Was it carried out?
    No.

    ## What to do
    Change what `detail` names. The same request fails again.

    ## Source
    - Error Handling, "HTTP Status Codes" (400)
    """


class AgoraliaAuthenticationError(AgoraliaAPIError, AuthenticationError):
    """
    The API key is missing, invalid, revoked or expired; `detail` says which.

    ## Was it carried out?
    No.

    ## What to do
    Check that the key starts with `ago_` and has no typo; look under Settings, Security and
    API, API Keys, whether it was revoked or has expired; create a new one if so.

    ## Source
    - Error Handling, "401 Unauthorized"
    """


class AgoraliaPermissionError(AgoraliaAPIError, PermissionDeniedError):
    """
    The API key does not have the scope that the endpoint requires; `detail` names it.

    ## Was it carried out?
    No.

    ## What to do
    Compare with `api_key_scopes` of `client.me()`; create a key that has the scope.

    ## Source
    - Error Handling, "403 Forbidden"
    """


class AgoraliaNotFoundError(AgoraliaAPIError, NotFoundError):
    """
    The resource does not exist, was deleted, or belongs to another tenant.

    ## Was it carried out?
    No.

    ## What to do
    Check the id, the path, and whose key it is.

    ## Source
    - Error Handling, "404 Not Found"
    """


class AgoraliaConflictError(AgoraliaAPIError, ConflictError):
    """
    The idempotency key is taken.

    ## Was it carried out?
    See the subclasses.

    ## What to do
    See the subclasses.

    ## Source
    - Error Handling, "409 Conflict"
    """


class AgoraliaIdempotencyError(AgoraliaConflictError, IdempotencyMismatchError):
    """
    The idempotency key was used before, with another request body.

    ## Was it carried out?
    Not this request. The first one with that key was.

    ## What to do
    Use a new key for a new request; for the same request, send exactly the same body.

    ## Source
    - Error Handling, "409 Conflict"
    """


class AgoraliaInProgressError(AgoraliaConflictError):
    """
    The first request with this idempotency key is still being carried out.

    ## Was it carried out?
    It is under way.

    ## What to do
    Nothing: the client waits `retry_after` seconds and asks again with the same key, which
    brings the first request's answer. By hand, do the same.

    ## Source
    - Error Handling, "409 Conflict"; draft-ietf-httpapi-idempotency-key-header section 2.6
    """


class AgoraliaValidationError(AgoraliaAPIError, InvalidRequestError):
    """
    Fields of the body or parameters of the request were refused.

    `fields` lists them: `path` such as `("body", "name")`, `message`, and `code` such as
    `value_error.missing`. `detail` is the same list as the service sent it.

    ## Was it carried out?
    No.

    ## What to do
    Change the fields. The same request fails again.

    ## Source
    - Error Handling, "422 Validation Error" and "Validation Error Details"
    """

    usual_status = 422


class AgoraliaRateLimitError(AgoraliaAPIError, RateLimitError):
    """
    Too many requests came in the window that `rate_limit` describes.

    ## Was it carried out?
    No.

    ## What to do
    Nothing, if it happens rarely: the client waits until the window ends and tries again. If
    it keeps happening, send less, or send it in batches.

    ## Source
    - Error Handling, "429 Rate Limited"
    """


class AgoraliaServerError(AgoraliaAPIError, ServerError):
    """
    The service failed.

    ## Was it carried out?
    Unknown, unless `effect` says otherwise.

    ## What to do
    The client has tried again, a write always with the same idempotency key. Check the
    status page; tell support the `request_id` and the time.

    ## Source
    - Error Handling, "500 Server Error"
    """


class AgoraliaUnavailableError(AgoraliaServerError, UnavailableError):
    """
    The service, or what stands before it, cannot answer now.

    ## Was it carried out?
    Unknown, unless `effect` says otherwise.

    ## What to do
    Come back later; `retry_after` says when, if the service does.

    ## Source
    - Error Handling, "HTTP Status Codes" (503)
    """


class AgoraliaStatusError(AgoraliaAPIError, APIError):
    """
    The service, or something before it, answered with a status the document does not list.

    ## Was it carried out?
    See `effect`.

    ## What to do
    Read `status_code` and `detail`; a proxy on the way is the likeliest author.

    ## Source
    - Error Handling, "Error Handling Example": the last branch
    """


class AgoraliaConnectionError(AgoraliaAPIError, TransportError):
    """
    No usable answer came. `status_code` is None unless one was read before it broke.

    ## Was it carried out?
    See `effect`, which follows from how far the request came.

    ## What to do
    Look at `failure.reason` and at `__cause__`, which is the engine's own exception.

    ## Source
    - Error Handling, "Error Handling Example": `RequestException`
    """

    def __init__(self, message: str, status_code: int | None = None, detail: Any = None) -> None:
        super().__init__(message, status_code, detail)


class AgoraliaConnectError(AgoraliaConnectionError, ConnectError):
    """
    No connection could be made.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Check `base_url`, the network, the proxy and the certificates.
    """


class AgoraliaConnectionLostError(AgoraliaConnectionError, ConnectionLostError):
    """
    The connection broke after something was sent and before an answer came.

    ## Was it carried out?
    Unknown.

    ## What to do
    Repeat a write with the same `idempotency_key`, which cannot carry it out twice.
    """


class AgoraliaTimeoutError(AgoraliaConnectionError, CallTimeoutError):
    """
    No answer came in the time allowed.

    ## Was it carried out?
    No if it never connected (`effect` is `not_sent`), otherwise unknown.

    ## What to do
    Allow more time (`timeout=`), or repeat with the same `idempotency_key`.
    """


class AgoraliaBadAnswerError(AgoraliaConnectionError, BadAnswerError):
    """
    An answer came that cannot be used: not HTTP, cut short, not the promised format, too large.

    ## Was it carried out?
    Yes if a 2xx status was read (`effect` is `applied`), otherwise unknown.

    ## What to do
    Look at what stands between you and the service; read again what was written.
    """


class AgoraliaDeadlineError(AgoraliaAPIError, DeadlineExceededError):
    """
    The time allowed for the call was over before it could be sent.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Allow more time.
    """

    def __init__(self, message: str, status_code: int | None = None, detail: Any = None) -> None:
        super().__init__(message, status_code, detail)


# The table loads the codec, which catching an exception does not need.
__getattr__ = exports(__name__, {"agoralia.contract": ("CONTRACT",)})[1]


def _failure_saying(status: int | None, detail: Any) -> Failure:
    """What would be known if the service had answered `status` and said `detail`."""
    headers = {}
    said = detail
    if status == 429 and isinstance(detail, dict) and set(detail) == {"detail", "retry_after"}:
        said = detail["detail"]
        headers["x-ratelimit-reset"] = str(detail["retry_after"])
    if isinstance(status, int) and status >= 400:
        from agoralia.contract import CONTRACT

        return CONTRACT.failure_of(status, {"detail": said}, headers=headers)
    from failwell.failure import Failure

    return Failure(status=status, message=said if isinstance(said, str) else None)


def _detail_in(body: Any) -> Any:
    """The document's `detail` of an answer: its member of that name, else its text."""
    if isinstance(body, dict):
        return body.get("detail", UNKNOWN)
    return UNKNOWN if body is None or body == "" else body


def _sentence(failure: Failure) -> Any:
    """What a service said, as the end of "API error: ..."; a proxy's page by its title."""
    if isinstance(failure.body, dict):
        return _detail_in(failure.body)
    # A body without a message in it that is text is a page of a proxy.
    return failure.message or (UNKNOWN if isinstance(failure.body, str) else _detail_in(failure.body))


def _reset_in(failure: Failure) -> int | None:
    """The number in `X-RateLimit-Reset`, unit untouched; None if there is none."""
    text = failure.headers.get("x-ratelimit-reset", "")
    try:
        return int(float(text)) if len(text) <= 20 else None
    except (ValueError, OverflowError):
        return None
