"""
What a failure means, in facts and sentences: what the screen shows and what `--json` prints.

Everything that was said by somebody else passes `tokens.masked` here, and nowhere later is
anything added that comes from the input.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from failwell import dialects, meaning
from failwell.answer import Answer
from failwell.call import outcome
from failwell.call.messages import Broken
from failwell.cli import tokens
from failwell.cli.known import public_name
from failwell.contract import SAFE_METHODS, STANDARD
from failwell.errors import APIError, CallError
from failwell.failure import Effect, Failure
from failwell.redaction import kept_url

if TYPE_CHECKING:
    from typing import Any

    from failwell.cli.exchange import Exchange
    from failwell.cli.known import Known
    from failwell.contract import Contract
    from failwell.errors import Error

# Raised with every change that could break a reader; members are only added within one.
SCHEMA = 1
# RFC 9110, RFC 5789 (PATCH), RFC 4918 (WebDAV), the QUERY draft, and what caches made up.
METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY", "PROPFIND",
     "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "PURGE"}
)  # fmt: skip
# More than this of one text helps nobody.
TEXT_LIMIT = 2000
FIELDS_LIMIT = 100


@dataclass(slots=True)
class Raised:
    """
    What one contract raises.

    Attributes:
        contract: Its name.
        exception: The class, as one would import it.
        when: When the contract says this happens; None if it does not say.
        retryable: Whether its client would try again, where the retry policy allows.
    """

    contract: str
    exception: str
    when: str | None = None
    retryable: bool | None = None


@dataclass(slots=True)
class Explanation:
    """
    One failure, explained. docs/explain.md describes each member.

    A text that is None is not known. Times are ISO 8601, UTC.
    """

    title: str
    source: str
    failed: bool = True
    method: str | None = None
    url: str | None = None
    status: int | None = None
    said: dict[str, Any] = field(default_factory=dict)
    means: dict[str, Any] = field(default_factory=dict)
    effect: dict[str, Any] = field(default_factory=dict)
    retry: dict[str, Any] = field(default_factory=dict)
    rate_limit: dict[str, Any] | None = None
    support: dict[str, Any] = field(default_factory=dict)
    raises: list[Raised] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON types, with the number of the schema."""
        return {"schema": SCHEMA, **asdict(self)}


def of_exchange(exchange: Exchange, known: Known, now: datetime) -> Explanation:
    """What `exchange` means. `now` is an aware time: dates in the answer are held against it."""
    if exchange.method not in METHODS:
        exchange.method = None
    if exchange.broken is not None:
        return _of_broken(exchange, known)
    status, notes = exchange.status, list(exchange.notes)
    if status is None:
        status = _status_of_words(exchange, notes)
    if status is None:
        return _of_unknown(exchange, known, notes)
    answer = Answer(status, exchange.headers, exchange.body)
    facts: dict[str, Any] = {
        "now": now,
        "method": exchange.method,
        "url": exchange.url,
        "idempotency_key": exchange.key,
    }
    reading = STANDARD.read(answer, **facts)
    if reading is None:
        return _of_success(exchange, status)
    failure, cls = reading.failure, reading.raises
    raises = []
    for name, contract in known.contracts.items():
        read = contract.read(answer, **facts)
        if read is not None:
            raises.append(
                Raised(name, public_name(read.raises), _when(contract, read.failure), read.failure.retryable)
            )
    shown = failure if exchange.status is not None else replace(failure, status=None)
    explanation = _explained(exchange, shown, cls, raises, now, title=_title(exchange.status, status))
    explanation.said["dialect"] = dialects.read(answer).dialect
    explanation.notes = notes + explanation.notes
    if status < 400 and reading.raises is APIError:
        _add_no_error(explanation, status)
    return explanation


def _add_no_error(explanation: Explanation, status: int) -> None:
    """An answer that is neither a success nor a failure: the exception is all that is wrong with it."""
    if status < 200:
        text, again = "An interim answer: the final one is still to come.", "No: wait for the final answer."
    elif status == 304:
        text, again = "Nothing has changed since you last asked: use what you have.", "No need to."
    else:
        text, again = "The service points elsewhere, with Location.", "Not here: ask at the address it gives."
    explanation.means |= {"text": text, "do": None}
    explanation.retry |= {"retryable": False, "text": again}


def _status_of_words(exchange: Exchange, notes: list[str]) -> int | None:
    """The status that a body without one usually comes with, by what it calls itself."""
    said = dialects.read(Answer(200, exchange.headers, exchange.body))
    if said.fields:
        notes.append("Fields are refused, which usually comes with 400 or 422; it is read as a 422.")
        return 422
    kind = said.meaning or meaning.named_inside((said.code,) if said.code else (), said.message)
    cls = meaning.BY_KIND.get(kind or "")
    if cls is None or cls.usual_status is None or cls is APIError:
        return None
    notes.append(f"By its words this is what usually comes with {cls.usual_status}; it is read as such.")
    return cls.usual_status


def _of_unknown(exchange: Exchange, known: Known, notes: list[str]) -> Explanation:
    """A body without a status, whose words settle nothing."""
    # Any status of a failure will do for reading the words; what follows from it is not used.
    reading = STANDARD.read(
        Answer(500, exchange.headers, exchange.body), method=exchange.method, url=exchange.url
    )
    failure = Failure() if reading is None else reading.failure
    failure = replace(failure, status=None, effect=Effect.UNKNOWN, retryable=False, retry_after=None)
    explanation = _explained(exchange, failure, APIError, [], None, title="An answer without a status")
    explanation.means["text"] = (
        "The service answered with an error. Its kind depends on the status, which is not in the input."
    )
    explanation.effect["text"] = "Not known without the status: 4xx would mean no, 5xx perhaps."
    explanation.retry |= {"retryable": None, "text": "Not known without the status."}
    explanation.raises = [Raised(name, public_name(c.base)) for name, c in known.contracts.items()]
    explanation.said["dialect"] = dialects.read(Answer(500, exchange.headers, exchange.body)).dialect
    explanation.notes = notes + explanation.notes
    return explanation


def _of_success(exchange: Exchange, status: int) -> Explanation:
    explanation = Explanation(_title(status, status), exchange.source, failed=False, status=status)
    explanation.method, explanation.url = _asked(exchange)
    explanation.means = {
        "exception": None,
        "kind": None,
        "text": "The service says that it went well.",
        "do": None,
    }
    safe = exchange.method in SAFE_METHODS
    explanation.effect = {
        "value": (Effect.NOT_APPLIED if safe else Effect.APPLIED).value,
        "text": f"A {exchange.method} asks for no change." if safe else "Yes, if it asked for a change.",
    }
    explanation.retry = {"retryable": False, "after": None, "at": None, "text": "No need to."}
    explanation.notes = exchange.notes
    return explanation


def _of_broken(exchange: Exchange, known: Known) -> Explanation:
    """A call that brought no usable answer."""
    assert exchange.broken is not None
    phase, reason = exchange.broken
    standard = outcome.STANDARD_CLASS[reason]
    failure = Failure(
        method=exchange.method,
        url=None if exchange.url is None else kept_url(exchange.url),
        message=exchange.cause,
        idempotency_key=exchange.key,
        reason=reason.value,
        cause=exchange.cause,
        effect=outcome.effect_of_broken(exchange.method, Broken(phase, reason, None)),
        retryable=reason not in outcome.LASTING,
    )
    raises = [
        Raised(n, public_name(c.class_for(standard)), None, failure.retryable)
        for n, c in known.contracts.items()
    ]
    explanation = _explained(exchange, failure, standard, raises, None, title="No usable answer")
    explanation.means["text"] = f"{outcome.WORDS[reason]}."
    explanation.means["reason"] = reason.value
    return explanation


def _explained(
    exchange: Exchange,
    failure: Failure,
    cls: type[CallError],
    raises: list[Raised],
    now: datetime | None,
    *,
    title: str,
) -> Explanation:
    secrets = tuple(exchange.secrets)
    keep = tuple(v for v in (failure.request_id, failure.idempotency_key) if v)

    def clean(value: str | None) -> str | None:
        return (
            None if value is None else tokens.masked(value[:TEXT_LIMIT], secrets, keep=keep).strip() or None
        )

    date = _date(exchange.headers.get("date"))
    explanation = Explanation(title, exchange.source, status=failure.status)
    explanation.method, explanation.url = _asked(exchange)
    explanation.said = {
        "message": clean(failure.message),
        "code": clean(failure.code),
        "fields": [
            {
                "path": [p if isinstance(p, int) else clean(p) or "" for p in f.path],
                "message": clean(f.message),
                "code": clean(f.code),
            }
            for f in failure.fields[:FIELDS_LIMIT]
        ],
        "dialect": None,
    }
    if len(failure.fields) > FIELDS_LIMIT:
        explanation.notes.append(f"{len(failure.fields)} fields are refused; {FIELDS_LIMIT} are shown.")
    explanation.means = {
        "exception": public_name(cls),
        "kind": cls.kind,
        "text": first_paragraph(cls),
        "do": _DO[cls.kind] if cls.kind in _DO else section(cls, "What to do"),
    }
    explanation.effect = {"value": failure.effect.value, "text": effect_text(failure)}
    explanation.retry = retry(failure, cls.kind, date, now)
    limit = failure.rate_limit
    if limit is not None:
        explanation.rate_limit = {
            "limit": limit.limit,
            "remaining": limit.remaining,
            "reset_at": _iso(limit.reset_at),
            "policy": clean(limit.policy),
        }
    explanation.support = {
        "request_id": clean(failure.request_id),
        "date": _iso(date),
        "endpoint": explanation.url and " ".join(filter(None, (explanation.method, explanation.url))),
        "status": failure.status,
        "code": explanation.said["code"],
        "idempotency_key": clean(failure.idempotency_key),
    }
    explanation.raises = raises
    return explanation


def _asked(exchange: Exchange) -> tuple[str | None, str | None]:
    url = (
        None if exchange.url is None else tokens.masked(kept_url(exchange.url[:TEXT_LIMIT]), exchange.secrets)
    )
    return exchange.method, url


def _when(contract: Contract, failure: Failure) -> str | None:
    rule = next((r for r in contract.rules if r.matches(failure)), None)
    return None if rule is None else rule.means or None


# --- Sentences ------------------------------------------------------------------------------


def effect_text(failure: Failure) -> str:
    """Whether anything happened, for a person."""
    method, key = failure.method, failure.idempotency_key
    match failure.effect:
        case Effect.NOT_SENT:
            return "No. Nothing was sent."
        case Effect.NOT_APPLIED if method in SAFE_METHODS:
            return f"Nothing changed: a {method} asks for no change."
        case Effect.NOT_APPLIED:
            return f"No. The service refused the {method or 'request'} and did nothing."
        case Effect.APPLIED:
            return "Yes. It was carried out; only its answer is missing or cannot be used."
    if method is None:
        return "A GET changed nothing. A POST, PUT, PATCH or DELETE may have been carried out all the same."
    if key:
        return (
            f"Perhaps: the {method} may have been carried out. Its idempotency key makes it safe to repeat."
        )
    return f"Perhaps: the {method} may have been carried out. Look before you do it again."


# What to say of a failure that the same request meets again.
_NOT_AGAIN = {
    "invalid_request": "No. The same request fails again: change what it names first.",
    "authentication": "Not with the same key.",
    "payment_required": "Not before it is paid for.",
    "permission_denied": "Not with the same key, unless it is given the right to.",
    "not_found": "No, unless what it asks for comes into being.",
    "conflict": "Not as it is: read the current state, decide again.",
    "idempotency_mismatch": "Not with this idempotency key, unless the payload is the first one.",
    "too_large": "Not at this size.",
    "quota_exceeded": "Not before the allowance is renewed or raised.",
}


# What a person does about an answer. The classes' own documentation speaks to a program's author.
_DO: dict[str, str | None] = {
    "api": None,
    "invalid_request": "Change what the message and the fields name.",
    "authentication": "Check which key is sent, that it is whole, and that it is not revoked or expired.",
    "payment_required": "Buy credits, or change the means of payment.",
    "permission_denied": "Ask for the scope or role it names, or use another key.",
    "not_found": "Check the id, the path and the account the key belongs to.",
    "conflict": "Read the current state, decide again, and send a request that fits it.",
    "idempotency_mismatch": "Use a new key for a new request; for the first one again, the first payload.",
    "too_large": "Send less at once, or in parts.",
    "rate_limited": "Wait that long. If it keeps happening, send less at once, or ask for a higher limit.",
    "quota_exceeded": "Wait until the allowance is renewed, or get a larger one.",
    "server": "Send the operators what stands below.",
    "unavailable": "Come back later. If it lasts, look at the service's status page, then ask its operators.",
}


def retry(failure: Failure, kind: str, date: datetime | None, now: datetime | None) -> dict[str, Any]:
    """Whether and when to try again."""
    after = failure.retry_after
    at = None
    if after is not None and (date or now) is not None and after <= 10 * 366 * 86400:
        at = (date or now or datetime.now(UTC)) + timedelta(seconds=after)
    when = _when_text(after, at, now)
    if failure.retryable:
        text = _yes(failure, when or "after a pause that grows with each try")
    else:
        text = _NOT_AGAIN.get(kind, "No. It comes out the same each time.")
        text += f" The service names a time: {when}." if when else ""
    return {"retryable": failure.retryable, "after": after, "at": _iso(at), "text": text}


def _yes(failure: Failure, when: str) -> str:
    """That another try can help, and what must not happen twice."""
    if failure.effect is not Effect.UNKNOWN or failure.method in SAFE_METHODS:
        return f"Yes, {when}."
    if failure.idempotency_key:
        return f"Yes, {when}, with the same idempotency key."
    if failure.method is None:
        return f"Yes, {when}. A write only with the idempotency key of the first try."
    return (
        f"Only if doing it twice does no harm: no idempotency key is seen with the {failure.method}. "
        f"Then {when}."
    )


def _when_text(after: float | None, at: datetime | None, now: datetime | None) -> str:
    """ "in 30 s, at 12:00:05 UTC"; empty if the service names no time."""
    if after is None:
        return ""
    if at is None:
        return f"in {duration(after)}"
    if now is not None and at < now - timedelta(seconds=1):
        return f"now: the {duration(after)} the service asked for were over at {moment(at, now)}"
    return f"in {duration(after)}, at {moment(at, now)}" if after >= 1 else "at once"


def duration(seconds: float) -> str:
    """ "30 s", "1 min 30 s", "2 h 5 min", "3 days"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds == int(seconds) or seconds >= 10 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return _two(whole // 60, "min", whole % 60, "s")
    if whole < 48 * 3600:
        return _two(whole // 3600, "h", whole % 3600 // 60, "min")
    return f"{whole / 86400:.0f} days"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big} {big_unit} {small} {small_unit}" if small else f"{big} {big_unit}"


def moment(at: datetime, now: datetime | None) -> str:
    """The time of day in UTC, with the date unless it is today."""
    at = at.astimezone(UTC)
    if now is not None and at.date() == now.astimezone(UTC).date():
        return f"{at:%H:%M:%S} UTC"
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _title(stated: int | None, status: int) -> str:
    if stated is None:
        return "An answer without a status"
    return f"{status} {phrase(status)}".strip()


# What proxies and frameworks made up, beside the registry of RFC 9110.
_PHRASES = {
    419: "Page Expired", 420: "Enhance Your Calm", 440: "Login Time-out", 498: "Invalid Token",
    499: "Client Closed Request", 509: "Bandwidth Limit Exceeded", 520: "Unknown Error of the Origin",
    521: "Origin Down", 522: "Origin Timed Out", 523: "Origin Unreachable", 524: "Origin Too Slow",
    525: "Origin TLS Handshake Failed", 526: "Origin Certificate Invalid", 529: "Overloaded",
    530: "Origin Error", 598: "Network Read Timeout", 599: "Network Connect Timeout",
}  # fmt: skip


def phrase(status: int) -> str:
    """What a status is called; empty for one nobody uses."""
    from http import HTTPStatus

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return _PHRASES.get(status, "")


# --- What the classes say of themselves ------------------------------------------------------


def first_paragraph(cls: type[Error]) -> str:
    doc = _doc(cls)
    return plain(doc.partition("\n\n")[0])


def section(cls: type[Error], title: str) -> str | None:
    """The text under a heading in the docstring of `cls` or of the nearest base that has it."""
    for each in cls.__mro__:
        _, found, rest = _doc(each).partition(f"## {title}\n")
        if found:
            return plain(rest.partition("\n##")[0].partition("\n\n")[0])
    return None


def plain(text: str) -> str:
    """`text` in one line and without the marks of code."""
    return " ".join(text.replace("`", "").split())


def _doc(cls: type) -> str:
    import inspect

    return inspect.cleandoc(cls.__dict__.get("__doc__") or "")


def _date(value: str | None) -> datetime | None:
    """An HTTP date, RFC 9110 section 5.6.7; None if it is none."""
    if not value:
        return None
    from email.utils import parsedate_to_datetime

    try:
        found = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _iso(moment_: datetime | None) -> str | None:
    return (
        None
        if moment_ is None
        else moment_.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    )
