"""
What is known about a call that did not succeed: plain data, safe to log, pickle and keep.

Nothing here holds a request, a response, a socket or a traceback. Whatever is put into a
`Failure` has passed `failwell.redaction` first; the classes themselves only carry it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Self


class Effect(str, Enum):
    """Whether the service carried the call out: may it be done again?"""

    NOT_SENT = "not_sent"  # nothing left this machine
    NOT_APPLIED = "not_applied"  # the service refused it, or it asks for no change at all
    UNKNOWN = "unknown"  # it may have been carried out: repeat only with the same key
    APPLIED = "applied"  # it was carried out, and only the answer is missing or unreadable

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class FieldError:
    """
    One field of the input that the service refused.

    Attributes:
        path: Where it is: names and list indexes from the outside in. Empty for the whole input.
        message: What is wrong, in the service's words.
        code: The service's name for what is wrong, if it gives one.
    """

    path: tuple[str | int, ...]
    message: str | None = None
    code: str | None = None

    def __str__(self) -> str:
        where = ".".join(map(str, self.path)) or "(whole input)"
        return f"{where}: {self.message or self.code or 'refused'}"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """
    What the service said about its rate limit.

    Attributes:
        limit: Requests allowed in the window.
        remaining: Requests left in it.
        reset_at: When the window ends, aware, UTC.
        policy: The policy's own name or text, as sent.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_at: datetime | None = None
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    One try of a call.

    Attributes:
        number: 1 for the first.
        start: Seconds from the beginning of the call to the beginning of this try.
        duration: Seconds the try took.
        outcome: "ok", "status" for an answer that is a failure, or the reason it broke
            (see `failwell.call.messages.Reason`).
        status: The HTTP status, if one was read.
        request_id: The service's id for this try, if it sent one.
        wait: Seconds waited after it; 0.0 if it was the last.
        stopped: Why no other try followed; empty if one did or if it succeeded.
    """

    number: int
    start: float
    duration: float
    outcome: str
    status: int | None = None
    request_id: str | None = None
    wait: float = 0.0
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """
    What is known about a call that did not succeed.

    Attributes:
        method: The HTTP method asked for.
        url: The URL asked for, without user info and without secret query values.
        status: The HTTP status; None if no answer came.
        headers: The answer's headers that are on the allow-list, names in lower case.
        body: The answer's body: parsed JSON, else text; capped. None if there was none.
        message: What the service says, for people. None if it says nothing readable.
        code: What the service says, for programs.
        fields: What the service says, field by field.
        details: Whatever else the service says that its contract documents.
        request_id: What to quote to support.
        idempotency_key: The key sent with the request; repeat with the same one.
        retry_after: Seconds the service asks to be left alone.
        rate_limit: The service's rate limit as it stood.
        reason: Why no usable answer came, for programs; None if one came.
        cause: The same for people: the engine's own words.
        attempts: Every try, in order.
        effect: Whether the service carried the call out.
        retryable: Whether the same call can succeed later.
        stopped: Why it was not tried again.
    """

    method: str | None = None
    url: str | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    message: str | None = None
    code: str | None = None
    fields: tuple[FieldError, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    idempotency_key: str | None = None
    retry_after: float | None = None
    rate_limit: RateLimit | None = None
    reason: str | None = None
    cause: str | None = None
    attempts: tuple[Attempt, ...] = ()
    effect: Effect = Effect.UNKNOWN
    retryable: bool = False
    stopped: str = ""

    def of_call(self, attempts: tuple[Attempt, ...], effect: Effect, stopped: str) -> Failure:
        """
        What was known of the last attempt, with what only the whole call knows.

        As `dataclasses.replace` does it, in a fifth of the time: each call that fails ends with it.
        """
        return Failure(
            self.method, self.url, self.status, self.headers, self.body, self.message, self.code,
            self.fields, self.details, self.request_id, self.idempotency_key, self.retry_after,
            self.rate_limit, self.reason, self.cause, attempts, effect, self.retryable, stopped,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """This failure as JSON types; facts that are empty are left out."""
        data: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None or (f.name in _OMITTED_EMPTY and not value):
                continue
            data[f.name] = _plain(value)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """
        The failure that `to_dict` described.

        Members this version does not know are ignored, so that an older reader can take
        what a newer writer sent.

        Raises:
            ValueError: a member that is made of others is not.
        """
        try:
            facts = _known(cls, data)
            if "fields" in facts:
                facts["fields"] = tuple(
                    FieldError(tuple(f["path"]), f.get("message"), f.get("code")) for f in facts["fields"]
                )
            if "attempts" in facts:
                facts["attempts"] = tuple(Attempt(**_known(Attempt, a)) for a in facts["attempts"])
            if facts.get("rate_limit") is not None:
                limit = _known(RateLimit, facts["rate_limit"])
                if limit.get("reset_at") is not None:
                    limit["reset_at"] = datetime.fromisoformat(limit["reset_at"])
                facts["rate_limit"] = RateLimit(**limit)
            if "effect" in facts:
                facts["effect"] = Effect(facts["effect"])
            return cls(**facts)
        except (TypeError, KeyError, AttributeError) as exc:
            raise ValueError(f"not a failure as written by to_dict(): {exc}") from exc


_OMITTED_EMPTY = frozenset({"headers", "details", "fields", "attempts", "stopped"})


def _known(cls: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The members of `data` that `cls` has."""
    names = {f.name for f in fields(cls)}
    return {name: value for name, value in data.items() if name in names}


def _plain(value: Any) -> Any:
    """`value` in JSON types; what JSON has no type for becomes its text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Effect):
        return value.value
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, (FieldError, RateLimit, Attempt)):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "items"):
        return {str(name): _plain(item) for name, item in value.items()}
    return str(value)
