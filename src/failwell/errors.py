"""
The standard exceptions: what a failure means, whichever service it came from.

    Error
    ├── UsageError(ValueError)               refused before any request: input or configuration
    │   ├── ArgumentTypeError(TypeError)
    │   └── ConfigurationError
    └── CallError                            a call was made and did not succeed
        ├── APIError                         the service answered with a failure
        │   ├── InvalidRequestError          400, 405, 415, 422
        │   ├── AuthenticationError          401
        │   ├── PaymentRequiredError         402
        │   ├── PermissionDeniedError        403
        │   ├── NotFoundError                404, 410
        │   ├── ConflictError                409, 412
        │   │   └── IdempotencyMismatchError a key reused with another payload
        │   ├── TooLargeError                413
        │   ├── RateLimitError               429
        │   ├── QuotaExceededError           a spent allowance, whatever its status
        │   └── ServerError                  5xx
        │       └── UnavailableError         502, 503, 504
        ├── TransportError                   no usable answer came
        │   ├── ConnectError                 nothing was sent
        │   ├── ConnectionLostError          it broke after something was sent
        │   ├── CallTimeoutError(TimeoutError)
        │   └── BadAnswerError               not HTTP, cut short, not the format, too large
        ├── RefusedError                     we did not send it
        │   ├── CircuitOpenError
        │   └── DeadlineExceededError(TimeoutError)
        └── OperationError                   long work
            ├── JobFailedError   PollTimeoutError   StreamError   UploadError
            └── BatchError(ExceptionGroup)

An SDK's class inherits from its own base and from the class above that says what it means.

How an error travels: everything it knows is in `args` and in its `__dict__`, which hold
plain data only, and `__reduce__` brings both back without calling `__init__`. So every
subclass survives pickle, copy and a process pool, whatever constructor it documents.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, ClassVar, Self

    from failwell.failure import Attempt, Effect, Failure, FieldError, RateLimit

# `failwell.failure` is imported where an error is made: `dataclasses` costs more than all of
# this module, and who only catches errors need not pay for it.

# A line for a person: longer messages are in `failure.message`.
HEADLINE_LIMIT = 300


class Error(Exception):
    """
    Everything failwell raises on its own account.

    Attributes:
        kind: The meaning in snake case; never changes once released.
        usual_status: The HTTP status this meaning usually has; None if it has none.
    """

    kind: ClassVar[str] = "error"
    usual_status: ClassVar[int | None] = None

    def __reduce__(self) -> tuple[Any, ...]:
        # BaseException would call the class with `args`, which fits no documented constructor.
        return _restore, (_lineage(type(self)), self.args, dict(self.__dict__))

    def to_dict(self) -> dict[str, Any]:
        """This error as JSON types, for queues and logs; `from_dict` reads it back."""
        failure: Failure | None = self.__dict__.get("failure")
        data: dict[str, Any] = {"type": _lineage(type(self)), "args": _json_args(self.args)}
        if failure is not None:
            data["failure"] = failure.to_dict()
        own = {n: v for n, v in self.__dict__.items() if n != "failure" and _is_json(v)}
        if own:
            data["state"] = own
        if isinstance(self, BaseExceptionGroup):
            data["exceptions"] = [
                e.to_dict() if isinstance(e, Error) else {"text": f"{type(e).__name__}: {e}"}
                for e in self.exceptions
            ]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Error:
        """
        The error that `to_dict` described, of the same class if that class is loaded here.

        Nothing is imported on the word of the data: a class that is not loaded comes back as
        the nearest of its bases that is.

        Raises:
            ValueError: `data` was not written by `to_dict`.
        """
        from failwell.failure import Failure

        try:
            lineage, args = list(data["type"]), tuple(data["args"])
            state = dict(data.get("state", ()))
            state.pop("failure", None)
            if "failure" in data:
                state["failure"] = Failure.from_dict(data["failure"])
            if "exceptions" in data:
                inner = [
                    Error.from_dict(e) if "type" in e else CallError(str(e.get("text")))
                    for e in data["exceptions"]
                ]
                args = (str(args[0]) if args else "", inner)
        except (TypeError, KeyError, AttributeError) as exc:
            raise ValueError(f"not an error as written by to_dict(): {exc!r}") from exc
        return _restore(lineage, args, state, load=False)


class UsageError(Error, ValueError):
    """
    The call was refused before any request: your input or configuration is wrong.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Change what the message names; trying again without a change fails again.
    """

    kind = "usage"


class ArgumentTypeError(UsageError, TypeError):
    """
    An argument has the wrong type.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Pass the type the message asks for.
    """

    kind = "argument_type"


class ConfigurationError(UsageError):
    """
    A setting is missing or cannot be used: a key, a base URL, an engine that is not installed.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Set what the message names, where it says.
    """

    kind = "configuration"


class CallError(Error):
    """
    A call was made and did not succeed.

    `failure` holds everything known about it; the facts asked for most are properties too.

    Attributes:
        failure: What is known, as plain data.
    """

    kind = "call"
    failure: Failure

    def __init__(self, message: str = "", *, failure: Failure | None = None) -> None:
        super().__init__(message)
        if failure is None:
            from failwell.failure import Failure

            failure = Failure(message=message or None)
        self.failure = failure

    @classmethod
    def from_failure(cls, failure: Failure, message: str | None = None) -> Self:
        """
        An error of this class that knows `failure`, made without the documented constructor.

        Args:
            failure: What is known.
            message: The headline; by default what the service or the engine said.
        """
        text = message or failure.message or failure.cause or _default_headline(cls, failure)
        error: Self = cls.__new__(cls, text)
        error.args = (text,)  # an OSError with a constructor of its own does not set them in __new__
        error.failure = failure
        return error

    def __getattr__(self, name: str) -> Any:
        # Only asked for what is not there: the facts of a class whose constructor set none.
        if name != "failure":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        from failwell.failure import Failure

        failure = Failure(message=str(self.args[0]) if self.args else None)
        self.failure = failure
        return failure

    def __str__(self) -> str:
        failure = self.failure
        parts = []
        if failure.status is not None:
            parts.append(
                f"{failure.status} {_one_line(failure.code)}" if failure.code else str(failure.status)
            )
        elif failure.code or failure.reason:
            parts.append(_one_line(str(failure.code or failure.reason)))
        if failure.request_id:
            parts.append(f"request {_one_line(failure.request_id)}")
        if len(failure.attempts) > 1:
            last = failure.attempts[-1]
            parts.append(f"{len(failure.attempts)} tries in {last.start + last.duration:.1f} s")
        text = _one_line(self.headline()) or _default_headline(type(self), failure)
        return f"{text} ({', '.join(parts)})" if parts else text

    def headline(self) -> str:
        """What went wrong, for a person: the first part of `str(error)`."""
        return str(self.args[0]) if self.args else ""

    @property
    def message(self) -> str | None:
        """What the service says, for people."""
        return self.failure.message

    @property
    def status(self) -> int | None:
        """The HTTP status; None if no answer came."""
        return self.failure.status

    @property
    def body(self) -> Any:
        """The answer's body: parsed JSON, else text; None if there was none."""
        return self.failure.body

    @property
    def code(self) -> str | None:
        """What the service says, for programs."""
        return self.failure.code

    @property
    def fields(self) -> tuple[FieldError, ...]:
        """What the service says, field by field."""
        return self.failure.fields

    @property
    def request_id(self) -> str | None:
        """What to quote to support."""
        return self.failure.request_id

    @property
    def idempotency_key(self) -> str | None:
        """The key sent with the request; None if there was none."""
        return self.failure.idempotency_key

    @property
    def retry_after(self) -> float | None:
        """Seconds the service asks to be left alone; None if it does not say."""
        return self.failure.retry_after

    @property
    def rate_limit(self) -> RateLimit | None:
        """The service's rate limit as it stood; None if it does not say."""
        return self.failure.rate_limit

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every try, in order."""
        return self.failure.attempts

    @property
    def effect(self) -> Effect:
        """Whether the service carried the call out."""
        return self.failure.effect

    @property
    def retryable(self) -> bool:
        """Whether the same call can succeed later."""
        return self.failure.retryable


class APIError(CallError):
    """
    The service answered with a failure.

    ## Was it carried out?
    See `effect`. A 4xx answer means no; a 5xx answer leaves it open.

    ## What to do
    Catch one of the subclasses for what you can handle; log the rest with `request_id`.

    ## Source
    - RFC 9110 section 15
    """

    kind = "api"


class InvalidRequestError(APIError):
    """
    The service does not accept the request as it is.

    ## Was it carried out?
    No.

    ## What to do
    Change what `fields` and the message name. The same request fails again.

    ## Source
    - RFC 9110 sections 15.5.1 (400), 15.5.6 (405), 15.5.16 (415), 15.5.21 (422)
    """

    kind = "invalid_request"
    usual_status = 400


class AuthenticationError(APIError):
    """
    The service does not know who is asking: the key is missing, wrong, revoked or expired.

    ## Was it carried out?
    No.

    ## What to do
    Check which key is used and where it comes from; get a new one.

    ## Source
    - RFC 9110 section 15.5.2 (401)
    """

    kind = "authentication"
    usual_status = 401


class PaymentRequiredError(APIError):
    """
    The service wants money first: credits are spent, or a payment was declined.

    ## Was it carried out?
    No.

    ## What to do
    Buy credits or change the means of payment, then call again.

    ## Source
    - RFC 9110 section 15.5.3 (402)
    """

    kind = "payment_required"
    usual_status = 402


class PermissionDeniedError(APIError):
    """
    The service knows who is asking and does not allow it.

    ## Was it carried out?
    No.

    ## What to do
    Ask for the scope or role that the message names, or use another key.

    ## Source
    - RFC 9110 section 15.5.4 (403)
    """

    kind = "permission_denied"
    usual_status = 403


class NotFoundError(APIError):
    """
    What was asked for does not exist, no longer exists, or is hidden from this key.

    ## Was it carried out?
    No.

    ## What to do
    Check the id and the path; the same request fails again until the thing exists.

    ## Source
    - RFC 9110 sections 15.5.5 (404), 15.5.11 (410)
    """

    kind = "not_found"
    usual_status = 404


class ConflictError(APIError):
    """
    The request does not fit the state the service is in.

    ## Was it carried out?
    No.

    ## What to do
    Read the current state, decide again, send a request that fits it.

    ## Source
    - RFC 9110 sections 15.5.10 (409), 15.5.13 (412)
    """

    kind = "conflict"
    usual_status = 409


class IdempotencyMismatchError(ConflictError):
    """
    An idempotency key was used again with another payload.

    ## Was it carried out?
    Not this request. The first one with that key may have been.

    ## What to do
    Use a new key for a new request; if it was meant to be the same request, find out why
    the payload differs.

    ## Source
    - draft-ietf-httpapi-idempotency-key-header section 2.6
    """

    kind = "idempotency_mismatch"
    usual_status = 409


class TooLargeError(APIError):
    """
    The request is larger than the service takes.

    ## Was it carried out?
    No.

    ## What to do
    Send less at once, or in parts.

    ## Source
    - RFC 9110 section 15.5.14 (413)
    """

    kind = "too_large"
    usual_status = 413


class RateLimitError(APIError):
    """
    The service refused the call because too many came before it.

    ## Was it carried out?
    No.

    ## What to do
    Nothing, if it happens rarely: the client waits `retry_after` seconds and tries again by
    itself. If it keeps happening, send less or ask for a higher limit.

    ## Source
    - RFC 6585 section 4 (429), RFC 9110 section 10.2.3 (`Retry-After`)
    """

    kind = "rate_limited"
    usual_status = 429


class QuotaExceededError(APIError):
    """
    An allowance is spent: a day's, a month's, a plan's. Waiting a moment does not help.

    ## Was it carried out?
    No.

    ## What to do
    Wait until the allowance is renewed, or get a larger one. The client does not try again.
    """

    kind = "quota_exceeded"
    usual_status = 429


class ServerError(APIError):
    """
    The service failed.

    ## Was it carried out?
    Unknown, unless `effect` says otherwise.

    ## What to do
    The client has tried again where that is safe. Report `request_id`; repeat a write only
    with the same idempotency key.

    ## Source
    - RFC 9110 section 15.6
    """

    kind = "server"
    usual_status = 500


class UnavailableError(ServerError):
    """
    The service, or what stands before it, cannot answer now.

    ## Was it carried out?
    Unknown, unless `effect` says otherwise.

    ## What to do
    Come back later; `retry_after` says when, if the service does.

    ## Source
    - RFC 9110 sections 15.6.3 (502), 15.6.4 (503), 15.6.5 (504)
    """

    kind = "unavailable"
    usual_status = 503


class TransportError(CallError):
    """
    No usable answer came.

    ## Was it carried out?
    See `effect`, which follows from how far the request came.

    ## What to do
    Look at `failure.reason` and at `__cause__`, which is the engine's own exception.
    """

    kind = "transport"


class ConnectError(TransportError):
    """
    No connection could be made: the name is unknown, nobody listens, TLS does not agree.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Check the address, the network, the proxy and the certificates.
    """

    kind = "connect"


class ConnectionLostError(TransportError):
    """
    The connection broke after something was sent and before an answer came.

    ## Was it carried out?
    Unknown.

    ## What to do
    Repeat a write only with the same idempotency key, or look whether it was carried out.
    """

    kind = "connection_lost"


class CallTimeoutError(TransportError, TimeoutError):
    """
    It took too long: to connect, to answer, or in all.

    ## Was it carried out?
    No if it never connected (`effect` is `not_sent`), otherwise unknown.

    ## What to do
    Allow more time, or ask for less at once.
    """

    kind = "timeout"


class BadAnswerError(TransportError):
    """
    An answer came that cannot be used: not HTTP, cut short, not the promised format, too large.

    ## Was it carried out?
    Yes if a 2xx status was read (`effect` is `applied`), otherwise unknown.

    ## What to do
    Look at what stands between you and the service; read again what was written.
    """

    kind = "bad_answer"


class RefusedError(CallError):
    """
    The client did not send the call.

    ## Was it carried out?
    No. Nothing was sent.
    """

    kind = "refused"


class CircuitOpenError(RefusedError):
    """
    The service has been failing, and the client leaves it alone for a while.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Come back in `retry_after` seconds, or answer from what you have.
    """

    kind = "circuit_open"


class DeadlineExceededError(RefusedError, TimeoutError):
    """
    The time allowed for the call was over before it could be sent.

    ## Was it carried out?
    No. Nothing was sent.

    ## What to do
    Allow more time.
    """

    kind = "deadline_exceeded"


class OperationError(CallError):
    """
    Work that takes several calls did not succeed.

    ## Was it carried out?
    In part, perhaps; the subclass says what is safe.
    """

    kind = "operation"


class JobFailedError(OperationError):
    """
    The service ran a job and the job failed.

    ## Was it carried out?
    It ran, and failed.

    ## What to do
    Read why, change the input, start another.
    """

    kind = "job_failed"

    @property
    def job_id(self) -> str | None:
        """What the job is called; None if that is not known."""
        return self.failure.details.get("job_id")

    @property
    def job_status(self) -> str | None:
        """The last state that was seen of it, in the service's word; None if it was not seen."""
        return self.failure.details.get("job_status")


class PollTimeoutError(OperationError):
    """
    A job was not finished in the time allowed for waiting. It is still running.

    ## Was it carried out?
    It is under way.

    ## What to do
    Pick it up again by its `job_id`, from any process.
    """

    kind = "poll_timeout"

    @property
    def job_id(self) -> str | None:
        """What the job is called; None if that is not known."""
        return self.failure.details.get("job_id")

    @property
    def job_status(self) -> str | None:
        """The last state that was seen of it, in the service's word; None if it was not seen."""
        return self.failure.details.get("job_status")


class StreamError(OperationError):
    """
    A stream ended before its end, or reported an error.

    ## Was it carried out?
    What was received is in order and without gaps.

    ## What to do
    Resume after `last_event_id`, if there is one: from another process, as well.
    """

    kind = "stream"

    @property
    def last_event_id(self) -> str | None:
        """The id to go on after; None if the stream has none."""
        return self.failure.details.get("last_event_id")

    @property
    def events(self) -> int:
        """How many items were handed over."""
        found = self.failure.details.get("events")
        return found if isinstance(found, int) else 0

    @property
    def connections(self) -> int:
        """How often it was tried to connect; `attempts` says how each went."""
        found = self.failure.details.get("connections")
        return found if isinstance(found, int) else 0


class UploadError(OperationError):
    """
    A file was not uploaded whole.

    ## Was it carried out?
    The parts named in `failure.details` are stored.

    ## What to do
    Resume, with `upload_id` if the file went in parts; only what is missing is sent.
    """

    kind = "upload"

    @property
    def stage(self) -> str | None:
        """How far it came, in the SDK's words; None for a file that does not go in parts."""
        return self.failure.details.get("stage")

    @property
    def upload_id(self) -> str | None:
        """What to resume; None if the upload was not begun, or the file does not go in parts."""
        return self.failure.details.get("upload_id")

    @property
    def parts(self) -> tuple[int, ...]:
        """The numbers of the parts that the service has."""
        return tuple(self.failure.details.get("parts", ()))

    @property
    def bytes_safe(self) -> int:
        """How many bytes the service has."""
        found = self.failure.details.get("bytes")
        return found if isinstance(found, int) else 0


class BatchError(OperationError, ExceptionGroup[Exception]):  # type: ignore[misc]  # both have a `message`; ours wins
    """
    Some items of a batch failed.

    ## Was it carried out?
    Each item's own error says.

    ## What to do
    Handle the failures in `exceptions`; send again only those.
    """

    kind = "batch"

    # What became of each item, a `failwell.BatchResult`; None for an error that came from elsewhere. It
    # stays in this process: what was sent, and what it brought, need not be fit to travel.
    result: Any = None

    @property
    def partial_results(self) -> list[Any]:
        """What those items brought that succeeded, in order; empty for an error that came from elsewhere."""
        return [] if self.result is None else self.result.partial_results

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "result"}
        return _restore, (_lineage(type(self)), self.args, state)

    def __new__(cls, message: str, exceptions: Sequence[Exception], **_: Any) -> Self:
        return ExceptionGroup.__new__(cls, message, list(exceptions))

    def __init__(
        self, message: str, exceptions: Sequence[Exception], *, failure: Failure | None = None
    ) -> None:
        CallError.__init__(self, message, failure=failure)
        self.args = (message, list(exceptions))

    @classmethod
    def from_failure(
        cls, failure: Failure, message: str | None = None, *, exceptions: Sequence[Exception] = ()
    ) -> Self:
        """
        An error of this class that knows `failure`, made without the documented constructor.

        Args:
            failure: What is known of the batch.
            message: The headline; by default what the service or the engine said.
            exceptions: One for each item that failed; by default `failure` is about the only one.
        """
        text = message or failure.message or failure.cause or _default_headline(cls, failure)
        items = list(exceptions) or [CallError.from_failure(failure)]
        error: Self = cls.__new__(cls, text, items)
        error.args = (text, items)
        error.failure = failure
        return error

    def derive(self, excs: Sequence[Exception], /) -> Self:  # type: ignore[override]  # only Exceptions go in, and come out
        """The same error about some of its items; `split` and `except*` use it."""
        # Not by calling the class: a subclass may document another constructor.
        part: Self = type(self).__new__(type(self), self.args[0], list(excs))
        part.args = (self.args[0], list(excs))
        part.__dict__.update(self.__dict__)
        return part


def _restore(
    lineage: Sequence[str], args: tuple[Any, ...], state: dict[str, Any], *, load: bool = True
) -> Error:
    """The error of the nearest class of `lineage` that can be had, with `args` and `state`."""
    cls = next(filter(None, (_find(name, load) for name in lineage)), Error)
    error: Error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(
        # Data from a queue must not stand in for a method.
        state
        if load
        else {n: v for n, v in state.items() if n in ("failure", "__notes__") or not hasattr(cls, n)}
    )
    return error


def _lineage(cls: type) -> list[str]:
    """The names under which `cls` and its bases can be found, nearest first."""
    return [f"{c.__module__}:{c.__qualname__}" for c in cls.__mro__ if issubclass(c, Error)]


def _find(name: str, load: bool) -> type[Error] | None:
    module_name, _, qualname = str(name).partition(":")
    module = sys.modules.get(module_name)
    if module is None and load:
        try:
            module = import_module(module_name)
        except ImportError:
            return None
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Error) else None


def _json_args(args: tuple[Any, ...]) -> list[Any]:
    return [a if a is None or isinstance(a, (str, bool, int, float)) else str(a) for a in args]


def _default_headline(cls: type[CallError], failure: Failure) -> str:
    if failure.status is not None:
        return f"The service answered {failure.status}"
    return (cls.__doc__ or cls.__name__).strip().partition("\n")[0]


_JOINERS = "\u200c\u200d"  # Persian and emoji are written with them


def _is_json(value: Any) -> bool:
    """Whether `value` passes through JSON unchanged."""
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(item) for name, item in value.items())
    return value is None or type(value) in (str, bool, int, float)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    if not line.isprintable():
        # What moves a terminal's cursor, or turns the direction of reading, is not for a log line.
        kept = (c if c.isprintable() or c in _JOINERS else " " for c in line)
        line = " ".join("".join(kept).split())
    return line if len(line) <= HEADLINE_LIMIT else line[: HEADLINE_LIMIT - 1] + "…"
