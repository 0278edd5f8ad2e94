"""
What a call to the Kneo platform raises.

    KneoError
    ├── KneoNetworkError                  no usable answer came, or nothing was sent
    ├── KneoAuthError                     401
    ├── KneoPermissionError               403
    ├── KneoNotFoundError                 404
    ├── KneoConflictError                 409
    │   └── KneoIdempotencyMismatchError  409: the idempotency key belongs to another payload
    ├── KneoRateLimited                   429
    └── KneoServerError                   5xx

Every other status raises `KneoError` itself. Each class is also the class of failwell that says
what it means, so `except failwell.RateLimitError` catches a `KneoRateLimited`.

Arguments that cannot be used raise `failwell.UsageError`, before anything is sent.

Which answer is which exception stands in `kneo_client.core.contract`. It is loaded when an answer
is read, so that a module which only catches these classes costs next to nothing to import.
"""

from __future__ import annotations

from failwell.errors import (
    AuthenticationError,
    CallError,
    ConflictError,
    IdempotencyMismatchError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TransportError,
)
from failwell.exports import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kneo_client.core.contract import CONTRACT as CONTRACT

__all__ = [
    "CONTRACT",
    "KneoAuthError",
    "KneoConflictError",
    "KneoError",
    "KneoIdempotencyMismatchError",
    "KneoNetworkError",
    "KneoNotFoundError",
    "KneoPermissionError",
    "KneoRateLimited",
    "KneoServerError",
    "from_response",
]


class KneoError(CallError):
    """
    A call to the Kneo platform did not succeed.

    Catch it to handle every failure of a call. Raised itself for statuses without a class of
    their own, such as 402 or 422.

    Args:
        message: The headline.
        status: The HTTP status; None if no answer came.
        body: The answer's body: parsed JSON, else text. A body in Kneo's spelling also gives
            `code` and `fields`.
        request_id: What the service calls the request, from `X-Request-ID`.
        idempotency_key: The `Idempotency-Key` sent with it.

    ## Was it carried out?
    See `effect`. A 4xx answer means no; a 5xx answer leaves it open.

    ## What to do
    Log `status`, `request_id`, `idempotency_key` and `body`; quote `request_id` to the platform's
    operators.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        body: Any = None,
        request_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        from failwell.contract import TRANSIENT, effect_of
        from failwell.failure import Effect
        from kneo_client.core.contract import ANY_STATUS

        means = status if status is not None else type(self).usual_status
        # Read as an answer of the class's own status, where none is given; then without one.
        failure = ANY_STATUS.failure_of(
            means,
            body,
            status=status,
            body=body,
            message=message or None,
            request_id=request_id,
            idempotency_key=idempotency_key,
            effect=Effect.UNKNOWN if means is None else effect_of(None, means),
            retryable=means in TRANSIENT,
        )
        super().__init__(message, failure=failure)


class KneoNetworkError(KneoError, TransportError):
    """
    No usable answer came: DNS, connecting, TLS, a timeout, a broken connection, an answer that
    is cut short or not in the promised format; or the deadline passed before anything was sent.

    `__cause__` is the HTTP library's own exception, where there is one. `failure.reason` names
    what happened: "dns", "refused", "read_timeout", "cut", "format" ...

    ## Was it carried out?
    See `effect`: `not_sent` if it never left, `applied` if a 2xx status was read and only the
    body could not be used, otherwise `unknown` for writes and `not_applied` for reads.

    ## What to do
    The client has tried again as often as `RetryPolicy.max_attempts` allows. Treat the platform
    as down; repeat a write only with the same `idempotency_key`.
    """


class KneoAuthError(KneoError, AuthenticationError):
    """
    401: the API key is missing, malformed, revoked or expired.

    ## Was it carried out?
    No.

    ## What to do
    Check which key is used: an argument, `KNEO_API_KEY` or the profile, in this order.
    """


class KneoPermissionError(KneoError, PermissionDeniedError):
    """
    403: the API key is good and its scopes or role do not allow this.

    ## Was it carried out?
    No.

    ## What to do
    Use a key with the scope that the message names.
    """


class KneoNotFoundError(KneoError, NotFoundError):
    """
    404: there is no such run, spec or environment, or this key may not see it.

    ## Was it carried out?
    No.

    ## What to do
    Check the id; it is often a stale one.
    """


class KneoConflictError(KneoError, ConflictError):
    """
    409: the request does not fit the state of the resource.

    ## Was it carried out?
    No; with the code `idempotency_in_flight` unknown, as the first request with this key is
    still being worked on.

    ## What to do
    Read the current state, decide again.
    """


class KneoIdempotencyMismatchError(KneoConflictError, IdempotencyMismatchError):
    """
    409: the idempotency key was used before, with another payload.

    ## Was it carried out?
    Not this request. The first one with that key was.

    ## What to do
    A new request needs a new key. If it was meant to be the same request, find out why the
    payload differs.
    """


class KneoRateLimited(KneoError, RateLimitError):
    """
    429: too many requests.

    Args:
        message: The headline.
        status: The HTTP status.
        body: The answer's body: parsed JSON, else text.
        request_id: What the service calls the request.
        idempotency_key: The `Idempotency-Key` sent with it.
        retry_after: Seconds the service asks to be left alone, from `Retry-After`.

    ## Was it carried out?
    No.

    ## What to do
    The client has waited and tried again already. Come back in `retry_after` seconds, send less.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        body: Any = None,
        request_id: str | None = None,
        idempotency_key: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            message, status=status, body=body, request_id=request_id, idempotency_key=idempotency_key
        )
        from dataclasses import replace

        self.failure = replace(self.failure, retry_after=retry_after)


class KneoServerError(KneoError, ServerError):
    """
    5xx: the platform failed.

    ## Was it carried out?
    Unknown, unless `effect` says otherwise.

    ## What to do
    502, 503 and 504 were tried again already. Report `request_id`; repeat a write only with the
    same `idempotency_key`.
    """


def from_response(response: Any, *, idempotency_key: str | None = None) -> KneoError:
    """
    The exception that a failed response means, not raised.

    Args:
        response: A response of httpx or httpx2 with its body read, or anything with a status,
            headers and a body, such as `failwell.Answer`.
        idempotency_key: The key that was sent; by default the one on `response.request`, if
            there is one.

    Returns:
        The subclass of the contract's table; `KneoError` for every status that has none. That
        includes 2xx: who asks calls the response a failure already.

    Raises:
        failwell.ArgumentTypeError: `response` is no response, or its body is not read yet.
    """
    from failwell.interop import request_behind
    from kneo_client.core.contract import ANY_STATUS

    asked = request_behind(response)
    error = ANY_STATUS.decode(
        response,
        method=asked.method,
        url=asked.url,
        idempotency_key=idempotency_key or asked.key,
        # Should the service repeat the key it refuses, it is not kept.
        secrets=asked.secrets,
    )
    assert isinstance(error, KneoError), "the table has a class for every status"
    return error


# The table loads the codec, which catching an exception does not need.
__getattr__ = exports(__name__, {"kneo_client.core.contract": ("CONTRACT",)})[1]
