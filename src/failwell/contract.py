"""
A contract: which failure is which exception, both ways.

`decode` turns an HTTP answer into a typed exception, `encode` turns the exception into that
answer. The client, the service, the reference and the drill all read the one table.
"""

from __future__ import annotations

from dataclasses import replace

from failwell import dialects, headers, meaning
from failwell.answer import Answer
from failwell.errors import (
    APIError,
    CallError,
    CircuitOpenError,
    ConfigurationError,
    UploadError,
    UsageError,
)
from failwell.failure import Effect, Failure
from failwell.redaction import kept_headers, kept_url, scrub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from failwell.dialects.base import Dialect

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, section 9.2.1

# Statuses after which the same request can succeed, whoever answered.
# 408 and 425 say so themselves; 501 and 505 say that it never will.
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529, 598, 599})


class Rule:
    """
    One row of a contract: what is answered, and what is raised.

    Args:
        raises: The exception class.
        status: An HTTP status, several, or a range such as `range(500, 600)`. None for any.
        code: The service's code, or several. None for any.
        when: A further condition on what is known. None for none.
        message: The headline of the error, where the document fixes one.
        effect: Whether the service carried the call out, where the status alone does not say.
        retry: True or False where the document says so; None leaves it to the retry policy.
        answer_headers: Headers the answer must carry, such as `www-authenticate`.
        means: One line for the reference: when this happens.
    """

    __slots__ = (
        "answer_headers",
        "codes",
        "effect",
        "means",
        "message",
        "raises",
        "retry",
        "statuses",
        "when",
    )

    def __init__(
        self,
        raises: type[CallError],
        *,
        status: int | Iterable[int] | None = None,
        code: str | Iterable[str] | None = None,
        when: Callable[[Failure], bool] | None = None,
        message: str | None = None,
        effect: Effect | None = None,
        retry: bool | None = None,
        answer_headers: Mapping[str, str] | None = None,
        means: str = "",
    ) -> None:
        self.raises = raises
        self.statuses: Sequence[int] | None = _statuses(status)
        self.codes = None if code is None else (code,) if isinstance(code, str) else tuple(code)
        self.when = when
        self.message = message
        self.effect = effect
        self.retry = retry
        self.answer_headers = dict(answer_headers or {})
        self.means = means

    def __repr__(self) -> str:
        return f"<Rule {_spelled(self.statuses)} {self.codes or ''} -> {self.raises.__name__}>"

    def matches(self, failure: Failure) -> bool:
        """Whether this row is about `failure`."""
        if self.statuses is not None and failure.status not in self.statuses:
            return False
        if self.codes is not None and failure.code not in self.codes:
            return False
        return self.when is None or self.when(failure)


class Reading:
    """
    What a contract reads in a failed answer.

    Attributes:
        failure: What is known.
        raises: The exception class.
        headline: The headline the contract fixes; None to take what the service says.
        retry: Whether the contract says that another try can help; None if it does not say.
    """

    __slots__ = ("failure", "headline", "raises", "retry")

    def __init__(
        self,
        failure: Failure,
        raises: type[CallError],
        headline: str | None = None,
        retry: bool | None = None,
    ) -> None:
        self.failure = failure
        self.raises = raises
        self.headline = headline
        self.retry = retry

    def error(self) -> CallError:
        """The exception, not raised."""
        return self.raises.from_failure(self.failure, self.headline)


class Contract:
    """
    Which failure of a service is which exception.

    Args:
        name: How the contract is called on the command line and in reports.
        base: The class all its exceptions share; also raised for an answer no rule is about.
        rules: Most specific first; the first that matches is taken.
        broken: What is raised when no answer came: standard class to own class. A class that
            is not named stands for its nearest base that is.
        usage: What is raised before anything is sent, for input and configuration that cannot be
            used: `UsageError`, `ArgumentTypeError` or `ConfigurationError` to a subclass of it that
            takes the message alone. A class that is not named stands for its nearest base that is.
        dialect: How the service spells error bodies. Other spellings are still read, because
            a proxy in front of the service speaks its own.
        success: Statuses that are no failure.
        idempotency_header: Where the key of a write goes.

    Raises:
        ConfigurationError: a class of the table is no `CallError`, or one of `usage` is not what it
            stands for.
    """

    def __init__(
        self,
        name: str,
        *,
        base: type[CallError] = APIError,
        rules: Sequence[Rule] = (),
        broken: Mapping[type[CallError], type[CallError]] | None = None,
        usage: Mapping[type[UsageError], type[UsageError]] | None = None,
        dialect: Dialect | None = None,
        success: Iterable[int] = range(200, 300),
        idempotency_header: str = "idempotency-key",
    ) -> None:
        self.name = name
        self.base = base
        self.rules = tuple(rules)
        self.broken = dict(broken or {})
        self.usage = dict(usage or {})
        self.dialect: Dialect = dialects.PROBLEM if dialect is None else dialect
        self._known_dialect = dialect
        self.success = frozenset(success)
        self.idempotency_header = idempotency_header.lower()
        named: tuple[Any, ...] = (base, *(r.raises for r in self.rules), *self.broken.values())
        for cls in named:
            if not (isinstance(cls, type) and issubclass(cls, CallError)):
                raise ConfigurationError(f"contract {name!r}: {cls!r} is not a CallError")
        for standard, own in self.usage.items():
            if not issubclass(own, standard):
                raise ConfigurationError(f"contract {name!r}: {own!r} is no {standard.__name__}")

    def __repr__(self) -> str:
        return f"<Contract {self.name}, {len(self.rules)} rules>"

    @property
    def exceptions(self) -> tuple[type[CallError], ...]:
        """Every class this contract raises, base first, each once."""
        rows = (self.base, *(r.raises for r in self.rules), *self.broken.values())
        return tuple(dict.fromkeys(rows))

    def decode(
        self,
        answer: Any,
        *,
        now: datetime | None = None,
        method: str | None = None,
        url: str | None = None,
        idempotency_key: str | None = None,
        secrets: Iterable[str] = (),
    ) -> CallError | None:
        """
        The exception that `answer` means.

        Args:
            answer: An `Answer` or anything with a status, headers and a body.
            now: The current time, aware; dates in headers are held against the answer's own
                `Date`, else against this, else against the machine's clock.
            method: The request's method; without it a write is assumed.
            url: The request's URL; what is secret in it is not kept.
            idempotency_key: The key that was sent.
            secrets: Values that must not be kept even if the service repeats them.

        Returns:
            The exception, not raised; None if the answer is no failure.

        Raises:
            ArgumentTypeError: `answer` is no answer. No answer, however broken, raises.
        """
        reading = self.read(
            Answer.of(answer), now=now, method=method, url=url, idempotency_key=idempotency_key,
            secrets=secrets,
        )  # fmt: skip
        return None if reading is None else reading.error()

    def raise_for(self, answer: Any, **facts: Any) -> None:
        """Raise what `decode` finds, if it finds anything."""
        error = self.decode(answer, **facts)
        if error is not None:
            raise error

    def read(
        self,
        answer: Answer,
        *,
        now: datetime | None = None,
        method: str | None = None,
        url: str | None = None,
        idempotency_key: str | None = None,
        secrets: Iterable[str] = (),
    ) -> Reading | None:
        """What a failed answer means; None for a success. Arguments as for `decode`."""
        said = dialects.read(answer, self._known_dialect)
        status = answer.status
        if status in self.success and said.meaning is None:
            return None
        cls = meaning.standard_class(status, said, answer.headers)
        wait = headers.retry_after(
            answer.headers, now, throttled=status in (429, 503) or cls.kind == "rate_limited"
        )
        failure = Failure(
            method=method,
            url=None if url is None else kept_url(url),
            status=status,
            headers=kept_headers(answer.headers),
            body=said.body,
            message=said.message,
            code=said.code,
            fields=said.fields,
            details=said.details,
            request_id=headers.request_id(answer.headers) or said.request_id,
            idempotency_key=idempotency_key,
            retry_after=said.retry_after if wait is None else wait,
            rate_limit=headers.rate_limit(answer.headers, now),
            effect=effect_of(method, status),
            retryable=_retryable(status, cls, answer.headers),
        )
        if secrets:
            failure = scrubbed(failure, secrets)
        rule = next((r for r in self.rules if r.matches(failure)), None)
        if rule is None:
            # Without a base of its own a contract falls back on the meaning, not on `APIError`.
            return Reading(failure, cls if self.base is APIError else self.base)
        if rule.effect is not None or rule.retry is not None:
            failure = replace(
                failure,
                effect=failure.effect if rule.effect is None else rule.effect,
                retryable=failure.retryable if rule.retry is None else rule.retry,
            )
        return Reading(failure, rule.raises, rule.message, rule.retry)

    def failure_of(
        self,
        status: int | None,
        body: Any = None,
        /,
        *,
        headers: Mapping[str, str] | None = None,
        **facts: Any,
    ) -> Failure:
        """
        What would be known if the service had answered so: for an exception that is made by hand,
        with the constructor its document has.

        Args:
            status: The HTTP status; None for no answer.
            body: What the answer says: JSON types, or text. None for nothing.
            headers: Its headers.
            facts: Members of `Failure` that are known otherwise; they go first.
        """
        import json

        reading = None
        if isinstance(status, int) and status not in self.success:
            said = isinstance(body, (str, bytes))
            fields = {"content-type": "text/plain" if said else "application/json", **(headers or {})}
            content = body if said else "" if body is None else json.dumps(body, default=str)
            reading = self.read(Answer(status, fields, content))
        known = Failure(status=status, body=body) if reading is None else reading.failure
        return replace(known, **facts)

    def encode(self, error: CallError, dialect: Dialect | None = None) -> Answer:
        """
        The HTTP answer that means `error`.

        Args:
            error: An exception of this contract.
            dialect: How to spell the body, such as `failwell.dialects.PROBLEM` for a client that
                asked for it; None for the contract's own way. `decode` reads both.

        Raises:
            UsageError: this contract has no answer that means it, because it is another
                contract's, or because it says that no answer came.
        """
        failure, rule = error.failure, self._row_of(error)
        statuses = rule.statuses if rule is not None else None
        status = failure.status or (statuses[0] if statuses else None) or type(error).usual_status
        if status is None:
            raise UsageError(
                f"{type(error).__name__} has no answer in the contract {self.name!r}: give it a status, "
                "or a row in the table"
            )
        code = failure.code or (rule.codes[0] if rule is not None and rule.codes else None)
        if code is None and rule is None:
            code = _telling_code(type(error), status)
        spelled = self.dialect if dialect is None else dialect
        media_type, body = spelled.write(replace(failure, status=status, code=code))
        fields = {"content-type": media_type, "cache-control": "no-store"}
        fields |= rule.answer_headers if rule is not None else {}
        fields |= headers.write(failure)
        return Answer(status, fields, body)

    def _row_of(self, error: CallError) -> Rule | None:
        rows = [r for r in self.rules if r.raises is type(error)]
        status = error.failure.status
        return next((r for r in rows if r.statuses and status in r.statuses), rows[0] if rows else None)

    def class_for(self, standard: type[CallError]) -> type[CallError]:
        """
        The class this contract raises where failwell's own would be `standard`.

        For an `UploadError` that no row stands for, that is the contract's base: an SDK that documents
        no uploads of its own raises nothing from outside its hierarchy.
        """
        for cls in standard.__mro__:
            if cls in self.broken:
                return self.broken[cls]
        return self.base if issubclass(standard, UploadError) and self.base is not APIError else standard

    def refusal(self, error: UsageError) -> UsageError:
        """
        `error` as this contract raises it: its own class of the same meaning, with the same words.

        An error that is of that class already, or of a class of the SDK's own, is returned as it is.
        """
        cls = type(error)
        own = next((self.usage[c] for c in cls.__mro__ if c in self.usage), cls)
        return error if issubclass(cls, own) else own(*error.args)

    def names(self, standard: type[CallError]) -> bool:
        """Whether this contract says what it raises for `standard` itself."""
        return standard in self.broken


# A client without a contract of its own has a breaker, because this one says what it raises.
STANDARD = Contract("standard", broken={CircuitOpenError: CircuitOpenError})


def decode(answer: Any, *, now: datetime | None = None) -> CallError | None:
    """
    The standard exception that `answer` means, whichever API it came from.

    The dialect of the body is found from the answer itself. See `Contract.decode`.
    """
    return STANDARD.decode(answer, now=now)


def raise_for(answer: Any, *, now: datetime | None = None) -> None:
    """Raise what `decode` finds in `answer`, if it finds a failure."""
    STANDARD.raise_for(answer, now=now)


def _telling_code(cls: type[CallError], status: int) -> str | None:
    """The code without which `status` would be read as another meaning than that of `cls`."""
    kind = cls.kind
    if meaning.BY_STATUS.get(status, APIError).kind == kind or kind not in meaning.BY_KIND:
        return None
    return kind if meaning.named(status, (kind,), None, {}) == kind else None


def _retryable(status: int, cls: type[APIError], fields: Mapping[str, str]) -> bool:
    """Whether the same call can succeed later; the service's own word goes first."""
    if cls.kind == "quota_exceeded":
        return False
    said = headers.should_retry(fields)
    return status in TRANSIENT or cls.kind == "rate_limited" if said is None else said


def effect_of(method: str | None, status: int) -> Effect:
    """
    Whether a call answered with `status` was carried out.

    A safe method asks for no change, so there is nothing that could have been done twice.

    Source:
        RFC 9110, sections 9.2.1 and 15.
    """
    if method in SAFE_METHODS:
        return Effect.NOT_APPLIED
    if 200 <= status < 300 or status == 303:
        return Effect.APPLIED
    if (400 <= status < 500 and status not in _UNSURE) or status in (300, 301, 305, 307, 308, 501, 505):
        return Effect.NOT_APPLIED
    return Effect.UNKNOWN


# 499 is nginx's "the client went away": the service behind it may have acted.
# 408 is sent by proxies that gave up on the service, too, whatever the RFC means by it.
_UNSURE = frozenset({408, 499})


def scrubbed(failure: Failure, secrets: Iterable[str]) -> Failure:
    """`failure` without `secrets`, should the service or the engine have repeated them."""
    kept = tuple(secrets)
    texts = {
        "headers": failure.headers, "body": failure.body, "message": failure.message,
        "code": failure.code, "details": failure.details, "cause": failure.cause,
        "request_id": failure.request_id, "url": failure.url,
    }  # fmt: skip
    clean = {name: scrub(value, kept) for name, value in texts.items() if value}
    fields = tuple(
        replace(f, message=scrub(f.message, kept), path=scrub(f.path, kept), code=scrub(f.code, kept))
        for f in failure.fields
    )
    limit = failure.rate_limit
    if limit is not None and limit.policy:
        clean["rate_limit"] = replace(limit, policy=scrub(limit.policy, kept))
    return replace(failure, **clean, fields=fields)


def _statuses(status: int | Iterable[int] | None) -> Sequence[int] | None:
    if status is None:
        return None
    if isinstance(status, int):
        return (status,)
    return status if isinstance(status, range) else tuple(status)


def _spelled(statuses: Sequence[int] | None) -> str:
    if statuses is None:
        return "any"
    if isinstance(statuses, range):
        return f"{statuses.start}-{statuses.stop - 1}"
    return ", ".join(map(str, statuses))
