"""
The exceptions of Argus. Which answer is which stands in `argus.contract`.

    ArgusError                            everything this SDK raises
    ├── ArgusValueError(ValueError)       an argument or a setting cannot be used; nothing was sent
    │   └── ArgusTypeError(TypeError)     it has the wrong type; nothing was sent
    └── ArgusCallError                    a call was made and did not succeed
        ├── ArgusConnectionError          no usable answer came, all tries included
        └── ArgusAPIError                 Argus answered with a failure
            ├── ArgusAuthenticationError  401
            ├── ArgusPermissionError      403
            ├── ArgusNotFoundError        404
            └── ArgusInternalServerError  5xx

Every other status raises `ArgusAPIError` itself. Each class is also the class of failwell that
says what it means, so `except failwell.NotFoundError` catches an `ArgusNotFoundError`.
"""

from __future__ import annotations

from failwell.errors import (
    APIError,
    ArgumentTypeError,
    AuthenticationError,
    CallError,
    Error,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    TransportError,
    UsageError,
)
from failwell.exports import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from argus.contract import CONTRACT as CONTRACT


class ArgusError(Error):
    """
    Everything this SDK raises.

    ## Was it carried out?
    See the subclasses.

    ## What to do
    Catch it where one `except` is enough; `str(error)` says what happened.
    """


class ArgusValueError(ArgusError, UsageError):
    """
    An argument has the right type and cannot be used: a malformed API key, an empty list in strict
    mode, `save=True` without an `asset_id`.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Correct the argument that the message names. This is a mistake in the program: trying again
    without a change fails again.

    ## Source
    - Exception Reference, "ArgusValueError"
    """


class ArgusTypeError(ArgusValueError, ArgumentTypeError):
    """
    An argument has the wrong type, such as a string where `competitors` is a list of strings.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Pass the type that the message asks for; it also names the one it got.

    ## Source
    - Exception Reference, "ArgusTypeError"
    """


class ArgusCallError(ArgusError, CallError):
    """
    A call was made and did not succeed: an `ArgusConnectionError` or an `ArgusAPIError`.

    ## Was it carried out?
    See `effect`.

    ## What to do
    Log `request_id` and `attempts`; `retryable` says whether the same call can succeed later.
    """


class ArgusConnectionError(ArgusCallError, TransportError):
    """
    No usable answer came: DNS, a refused connection, a timeout, a connection that broke, an answer
    that is cut short; or the time for the whole call was over.

    `attempts` has every try with what came of it, and `__cause__` the HTTP library's own exception.

    ## Was it carried out?
    See `effect`: `not_sent` if it never left, else `unknown` for what was to be written.

    ## What to do
    The client has tried again already. Check the network and `base_url`; try again later, a write
    with the same `idempotency_key`.

    ## Source
    - Exception Reference, "ArgusConnectionError"
    """


class ArgusAPIError(ArgusCallError, APIError):
    """
    Argus answered with a failure. Raised itself for every status without a class of its own, such
    as 409, 413, 422 or 429.

    Args:
        message: What went wrong, for a person.
        status_code: The HTTP status.
        response_body: The answer's JSON object.
        request_id: What to quote to support.

    ## Was it carried out?
    See `effect`: a 4xx answer means no, a 5xx answer leaves it open.

    ## What to do
    Look at `status_code` and `response_body`; `code` says the same for programs. After a 429 come
    back in `retry_after` seconds.

    ## Source
    - Exception Reference, "API Errors (ArgusAPIError)"
    """

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int | None = None,
        response_body: dict[str, Any] | None = None,
        request_id: str | None = None,
    ) -> None:
        from argus.contract import CONTRACT

        status = type(self).usual_status if status_code is None else status_code
        known: dict[str, Any] = {"message": message} if message else {}
        if request_id is not None:
            known["request_id"] = request_id
        failure = CONTRACT.failure_of(status, response_body, **known)
        super().__init__(message, failure=failure)

    @property
    def status_code(self) -> int | None:
        """The HTTP status of the answer."""
        return self.failure.status

    @property
    def response_body(self) -> dict[str, Any]:
        """The answer's JSON object; empty if it was none, such as a proxy's page (see `body`)."""
        body = self.failure.body
        return body if isinstance(body, dict) else {}


class ArgusAuthenticationError(ArgusAPIError, AuthenticationError):
    """
    401: the API key is missing, invalid, revoked or expired.

    ## Was it carried out?
    No.

    ## What to do
    Compare the key with the one in the Argus dashboard, and look where the program gets it from.

    ## Source
    - Exception Reference, "ArgusAuthenticationError (Status 401)"
    """


class ArgusPermissionError(ArgusAPIError, PermissionDeniedError):
    """
    403: the API key is good and may not do this, most often because a free key (`sk_`) asked for a
    platform feature: `asset_id`, `save=True`, assets.

    ## Was it carried out?
    No.

    ## What to do
    Use a Runtime Security Key (`rsk_`) for platform features.

    ## Source
    - Exception Reference, "ArgusPermissionError (Status 403)"
    """


class ArgusNotFoundError(ArgusAPIError, NotFoundError):
    """
    404: there is no such thing, almost always an `asset_id` that is not in your account.

    ## Was it carried out?
    No.

    ## What to do
    Compare the `asset_id` with the one in the Argus dashboard, or with `argus.assets.list()`.

    ## Source
    - Exception Reference, "ArgusNotFoundError (Status 404)"
    """


class ArgusInternalServerError(ArgusAPIError, ServerError):
    """
    5xx: Argus failed.

    ## Was it carried out?
    Unknown, unless `effect` says otherwise.

    ## What to do
    The client has tried again already. Try again later, a write with the same `idempotency_key`;
    if it stays, tell support the `request_id`.

    ## Source
    - Exception Reference, "ArgusInternalServerError (Status 5xx)"
    """


# The table loads the codec, which catching an exception does not need.
__getattr__ = exports(__name__, {"argus.contract": ("CONTRACT",)})[1]
