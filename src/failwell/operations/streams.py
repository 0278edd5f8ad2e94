"""
Decide how a stream of events is read to its end: no I/O, no clock, no dice. Drivers act on the effects.

Theory of operation. A stream is one answer after another, each cut short but the last. The flow
connects, reads, hands over what the events mean, and connects again after a break, until one of
these:

1. the event comes that ends the stream. Without it, the end of an answer is a break like another,
   however orderly it was: a proxy that gives up closes a connection as politely as a service that
   has said all. A stream that has no such event ends when the service says 204, or never;
2. an event reports an error: the class the contract's table has for the status or code in it;
3. connecting fails in a way that another try does not mend: that error;
4. it cannot go on: the contract's class for `StreamError`, with the id to go on after, and how many
   items were handed over.

What was handed over is never handed over again. A break is survived by asking for what follows the
last id; events whose id was seen are dropped, wherever the service begins again, and the id to go on
after never goes back. Another event under an id that was seen is no event told again: the service
counts anew, or uses ids for something else, and to go on would be to lose what it says. A stream whose
items bring no ids cannot be asked for what follows: once one of them was handed over, a break is the
end.

Each connection is a whole call, with the client's own retries, breaker and budget. What is new brings
the count of breaks back to 0; only what is new: a service that greets and hangs up is not waited for
for ever. Nothing is waited for that the deadline would not let follow.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Generic, TypeVar

from failwell import headers
from failwell.answer import Answer
from failwell.call import outcome
from failwell.call.flow import repeats
from failwell.call.messages import Broken, Reason, Response, Sleep
from failwell.call.operation import Operation
from failwell.contract import SAFE_METHODS, effect_of, scrubbed
from failwell.errors import BadAnswerError, CallError, CallTimeoutError, StreamError
from failwell.failure import Attempt, Effect, Failure
from failwell.operations.resuming import ResumePolicy
from failwell.operations.server_sent_events import MAX_EVENT_CHARS, EventDecoder, ServerSentEvent
from failwell.redaction import kept_headers, kept_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from failwell.contract import Contract

T = TypeVar("T")

# What a browser's `EventSource` sends; a compressed stream would come in the pieces of its compressor.
_HEADERS = {"accept": "text/event-stream", "cache-control": "no-store", "accept-encoding": "identity"}
# Ids that are remembered, and connections that are told of on an error.
_MOST_IDS = 100_000
_MOST_ATTEMPTS = 100
# Ids of which it is known what was said with them.
_MOST_SAID = 10_000
# Where the JSON of an event says a status.
_STATUS_NAMES = ("status", "status_code", "statusCode", "http_status", "code")


def _itself(event: ServerSentEvent) -> Any:
    return event


def _is_error(event: ServerSentEvent) -> bool:
    return event.type == "error"


@dataclass(frozen=True, slots=True)
class Stream(Generic[T]):
    """
    A stream of server-sent events to read.

    Attributes:
        open: Opens it. Its `parse` is not asked; its `deadline` bounds one opening.
        item: What an event means; None for nothing, such as a ping. By default the event itself. A
            `ValueError`, `TypeError`, `KeyError` or `IndexError` from it means that the event is
            not in the promised format.
        ends: Whether an event ends the stream. What it means is handed over first. None for a
            stream that the service does not end, but by a 204.
        failed: Whether an event reports an error; by default one of the type "error" does. Its JSON
            is read as the body of an answer would be, with the status in it.
        resume: The operation that goes on after an id. None: `open` is asked again, with the id in
            the header `Last-Event-ID`.
        repeats: Whether `open` may be asked again although it is a write. It is sent with the same
            idempotency key. Reads may always be.
        last_event_id: The id to begin after: `last_event_id` of an error, from another process as well.
        policy: When it counts as broken, and how it goes on then.
        max_events: The most items that may come; None for no limit.
        max_event_chars: The most characters that one event may have.
        called: What a message calls it: "answer".
    """

    open: Operation[Any]
    item: Callable[[ServerSentEvent], T | None] = _itself
    ends: Callable[[ServerSentEvent], bool] | None = None
    failed: Callable[[ServerSentEvent], bool] = _is_error
    resume: Callable[[str], Operation[Any]] | None = None
    repeats: bool = False
    last_event_id: str = ""
    policy: ResumePolicy = field(default_factory=ResumePolicy)
    max_events: int | None = None
    max_event_chars: int = MAX_EVENT_CHARS
    called: str = "stream"


@dataclass(slots=True)
class Connect:
    """
    Effect: open the stream; what was open before is closed first.

    Attributes:
        operation: The call.
        again: Whether it is the first call once more, which goes with the same idempotency key.
        deadline: Seconds until the head of its answer must be there; None for the client's own limit.
        idle: Seconds that may pass between two pieces; None for no limit.
        until: Monotonic seconds at which all reading must be over.
    """

    operation: Operation[Any]
    again: bool
    deadline: float | None
    idle: float
    until: float


@dataclass(slots=True)
class Read:
    """Effect: read the next piece."""


@dataclass(slots=True)
class Deliver:
    """
    Effect: hand items over.

    Attributes:
        items: Each with the id to go on after, once it has been handed over.
    """

    items: list[tuple[Any, str]]

    def __repr__(self) -> str:
        # Frames of this object end up in tracebacks that show locals.
        return f"<Deliver {len(self.items)} items>"


@dataclass(slots=True)
class Came:
    """
    Event: what came of the last effect.

    Attributes:
        now: Monotonic seconds when it came.
        response: The answer that a `Connect` brought, its body unread.
        error: Why it brought none.
        piece: What a `Read` brought: b"" at the end of the answer.
        secrets: Values that must not be kept, even if the service repeats them.
    """

    now: float
    response: Response | None = None
    error: CallError | None = None
    piece: bytes | Broken | None = None
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Came at {self.now:.3f}>"  # as above


if TYPE_CHECKING:
    StreamFlow = Generator[Connect | Read | Deliver | Sleep, Came, None]


class SeenIds:
    """
    The ids that were seen, so that each event is taken once.

    Numbers that follow each other, as most ids do, are kept as one range.
    """

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __contains__(self, name: str) -> bool:
        if not _is_number(name):
            return name in self._texts
        number = int(name)
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number <= self._ends[at]

    def add(self, name: str) -> None:
        """Remember an id; the oldest is forgotten if there are too many."""
        if not _is_number(name):
            self._texts[name] = None
            if len(self._texts) > _MOST_IDS:
                del self._texts[next(iter(self._texts))]
            return
        number = int(name)
        at = bisect_right(self._starts, number)
        if at and number <= self._ends[at - 1] + 1:
            self._ends[at - 1] = max(number, self._ends[at - 1])
            return
        self._starts.insert(at, number)
        self._ends.insert(at, number)
        if len(self._starts) > _MOST_IDS:
            del self._starts[0], self._ends[0]


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 20 and (name[0] != "0" or name == "0")


def stream_flow(
    stream: Stream[Any], contract: Contract, *, now: float, random: Callable[[], float]
) -> StreamFlow:
    """
    Read a stream until it is complete.

    Args:
        stream: Which, and how it goes on.
        contract: Which failure is which exception.
        now: Monotonic seconds.
        random: Gives a number from 0 up to 1.

    Raises:
        CallError: the class the contract names for `StreamError`, `BadAnswerError` or, at the deadline,
            `CallTimeoutError`; what connecting raised; what an event reported. Each has the last id
            and the number of items in `failure.details`.
    """
    policy = stream.policy
    idle = inf if policy.idle is None else policy.idle
    until = inf if policy.deadline is None else now + policy.deadline
    reading = _Reading(stream, contract, now)
    breaks = 0

    while True:
        # 1. Connect.
        operation, again = reading.operation()
        came = yield Connect(operation, again, _shorter(operation.deadline, until - now), idle, until)
        reading.connected(came, now)
        now = came.now
        if came.error is not None:
            if reading.connections == 1 or not came.error.retryable:
                raise reading.told(came.error)
        elif reading.is_over():
            return
        else:
            # 2. Read until it is complete, or breaks.
            while True:
                came = yield Read()
                now = came.now
                if not came.piece or isinstance(came.piece, Broken):
                    break
                taken = reading.take(came.piece)
                if taken.items:
                    now = (yield Deliver(taken.items)).now
                if taken.fresh:
                    breaks = 0
                if taken.error is not None:
                    raise taken.error from taken.cause
                if taken.over:
                    return
            reading.broke(came.piece)

        # 3. It broke. May it go on, and is there time to?
        breaks += 1
        asked = reading.asked()
        why = reading.why_not()
        if not why and now < until:
            if breaks > policy.reconnects:
                why = "reconnects_exhausted"
            elif asked is not None and asked > policy.max_wait:
                why = "retry_after"
        if why:
            raise reading.lost(why, now, asked) from reading.cause()
        delay = policy.delay(breaks, asked, random)
        if now + delay >= until:
            raise reading.timed_out(now, asked) from reading.cause()
        now = (yield Sleep(delay, reading.note(now, delay), reading.words())).now
        if now >= until:  # a busy machine sleeps longer than it was asked to
            raise reading.timed_out(now, asked) from reading.cause()


def _shorter(stated: float | None, left: float) -> float | None:
    if stated is not None:
        return min(stated, left)
    return None if left == inf else left


@dataclass(slots=True)
class _Taken:
    """What a piece brought: items, whether anything was new, and whether that was the end, and how."""

    items: list[tuple[Any, str]] = field(default_factory=list)
    fresh: bool = False
    over: bool = False
    error: CallError | None = None
    cause: BaseException | None = None


class _Reading:
    """
    What is known of a stream that is being read.

    Attributes:
        connections: How often it was tried to connect.
    """

    def __init__(self, stream: Stream[Any], contract: Contract, now: float) -> None:
        self.connections = 0
        self._stream = stream
        self._contract = contract
        self._began = self._since = now
        self._cursor = stream.last_event_id
        self._seen = SeenIds()
        self._said: dict[str, int] = {}  # by id: a digest of what came with it
        self._forgot = False  # whether there are older ones
        self._opened = self._news = False  # whether any connection, and this one, brought something
        if self._cursor:
            self._seen.add(self._cursor)
        self._items = 0  # handed over
        self._nameless = 0  # of these, how many since the last id
        self._attempts: list[Attempt] = []
        self._response: Response | None = None
        self._secrets: tuple[str, ...] = ()
        self._decoder = EventDecoder()
        self._retry: int | None = None
        self._error: CallError | None = None
        self._broken: Broken | None = None

    # --- connections ---

    def operation(self) -> tuple[Operation[Any], bool]:
        """What to ask next, and whether it is what was asked first."""
        stream, cursor = self._stream, self._cursor
        fields = dict(_HEADERS)
        if cursor and stream.resume is not None:
            operation, again = stream.resume(cursor), False
        else:
            operation, again = stream.open, self.connections > 0
            if cursor:
                fields["last-event-id"] = _as_header(cursor) or ""
        return replace(operation, headers=fields | dict(operation.headers)), again

    def connected(self, came: Came, began: float) -> None:
        """Take the answer to a connection that was tried."""
        self.connections += 1
        self._since = began
        self._error = came.error
        self._broken = None
        self._response = came.response
        self._opened = self._opened or came.response is not None
        self._news = False
        self._secrets = came.secrets
        self._decoder = EventDecoder(self._cursor, max_event_chars=self._stream.max_event_chars)

    def is_over(self) -> bool:
        """
        Whether the service says that there is nothing more.

        Raises:
            CallError: it says so before the end, or what it sends is no stream of events.
        """
        response = self._response
        assert response is not None
        if response.status in (204, 205):
            if self._stream.ends is None:
                return True
            text = f"{self._named()} is over for the service ({response.status}), {self._unended()}"
            raise self._failed(StreamError, text, "ended", "no_content")
        kind = response.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != "text/event-stream":
            text = f"{outcome.WORDS[Reason.FORMAT]} (text/event-stream): it is {kind or 'of no content type'}"
            raise self._failed(BadAnswerError, text, Reason.FORMAT.value, "not_retryable")
        return False

    def broke(self, piece: bytes | Broken | None) -> None:
        """Take the end of an answer: how it broke, or that it ended in order."""
        self._broken = piece if isinstance(piece, Broken) else None
        self._decoder.end()
        self._learn()

    def asked(self) -> float | None:
        """Seconds the service wants to be left alone; None if it does not say."""
        if self._error is not None and self._error.retry_after is not None:
            return self._error.retry_after
        return None if self._retry is None else self._retry / 1000

    def why_not(self) -> str:
        """Why it cannot go on; "" if it can."""
        stream = self._stream
        if self._nameless:
            return "not_resumable"
        if self._cursor and stream.resume is not None:
            return ""
        if self._cursor and not _as_header(self._cursor):
            return "not_resumable"
        return "" if stream.repeats or stream.open.method.upper() in SAFE_METHODS else "not_repeatable"

    def note(self, now: float, wait: float, stopped: str = "") -> Attempt:
        """Note how a connection went."""
        response, error = self._response, self._error
        attempt = Attempt(
            number=self.connections,
            start=self._since - self._began,
            duration=now - self._since,
            outcome=self._outcome(),
            status=response.status if response is not None else error.status if error is not None else None,
            request_id=self._request_id() or (None if error is None else error.request_id),
            wait=wait,
            stopped=stopped,
        )
        self._attempts = [*self._attempts[1 - _MOST_ATTEMPTS :], attempt]
        return attempt

    def _outcome(self) -> str:
        if self._error is not None:
            return self._error.failure.reason or "status"
        return "ended" if self._broken is None else self._broken.reason.value

    # --- events ---

    def take(self, piece: bytes) -> _Taken:
        """What the events mean that are whole now."""
        taken = _Taken()
        for event in self._decoder.feed(piece):
            if self._take(event, taken):
                break
        else:
            if self._decoder.too_large:
                text = f"{self._named()} has an event of more than {self._stream.max_event_chars} characters"
                taken.error = self._failed(BadAnswerError, text, Reason.TOO_LARGE.value, "not_retryable")
        self._learn()
        return taken

    def _take(self, event: ServerSentEvent, taken: _Taken) -> bool:
        """Add what one event means; whether nothing after it counts."""
        stream, name = self._stream, event.id
        try:
            if stream.failed(event):
                taken.error = self._reported(event)
                return True
            over = stream.ends is not None and stream.ends(event)
            known = name is not None and name != "" and name in self._seen
            item = None if known else stream.item(event)
        except (ValueError, TypeError, LookupError, AttributeError) as exc:
            text = f"{outcome.WORDS[Reason.FORMAT]} (event {event.type!r}): {type(exc).__name__}: {exc}"
            taken.error = self._failed(BadAnswerError, text, Reason.FORMAT.value, "not_retryable")
            taken.cause = None if repeats(exc, self._secrets) else exc.with_traceback(None)
            return True
        if known and name and self._is_another(name, event):
            text = f"{self._named()} has another event under the id {name!r}, which was seen"
            taken.error = self._failed(StreamError, text, "regressed", "ids_regressed")
            return True
        if item is not None and stream.max_events is not None and self._items >= stream.max_events:
            text = f"{self._named()} has more than {stream.max_events} events"
            taken.error = self._failed(StreamError, text, "too_many_events", "max_events")
            return True
        if name and not known:
            self._seen.add(name)
            self._cursor, self._nameless, taken.fresh = name, 0, True
            self._remember(name, event)
        if item is not None:
            self._items += 1
            self._nameless += not name
            taken.fresh = True
            taken.items.append((item, self._cursor))
        taken.over = over
        return over

    def _remember(self, name: str, event: ServerSentEvent) -> None:
        """Keep what is needed to know an event again."""
        self._news = True
        self._said[name] = hash((event.type, event.data))
        if len(self._said) > _MOST_SAID:
            del self._said[next(iter(self._said))]
            self._forgot = True

    def _is_another(self, name: str, event: ServerSentEvent) -> bool:
        """Whether an event is not the one that was seen under its id."""
        said = self._said.get(name)
        if said is None:
            # One of long ago. It comes again where a connection begins; later, the ids begin again.
            return self._forgot and self._news
        return said != hash((event.type, event.data))

    def _learn(self) -> None:
        """Take what blocks without data said: an id to go on after, a time to wait."""
        last = self._decoder.last_event_id
        if last and last != self._cursor and last not in self._seen:
            self._cursor, self._nameless = last, 0
        if self._decoder.retry is not None:
            self._retry = self._decoder.retry

    def _reported(self, event: ServerSentEvent) -> CallError:
        """The exception that an event reports, as the contract's table has it."""
        body = event.data.encode("utf-8", "replace")
        status = _status_in(event)
        known, cls, headline = self._read(status or 500, body)
        if status is None:
            known = replace(known, status=None, effect=Effect.UNKNOWN, retryable=False)
            rules = self._contract.rules
            rule = next((r for r in rules if r.codes is not None and known.code in r.codes), None)
            if rule is not None and rule.statuses:
                known, cls, headline = self._read(rule.statuses[0], body)
            elif rule is not None and rule.matches(known):
                cls, headline = rule.raises, rule.message
            else:
                # What is left is what the words mean whatever the status. A contract's base means no
                # more than that something failed, and a stream says more.
                _, cls, headline = self._read(200, body)
                if cls is self._contract.base:
                    cls, headline = self._contract.class_for(StreamError), None
        message = known.message or f"{self._named()} reported an error"
        request_id = known.request_id or self._request_id()
        failure = replace(known, message=message, request_id=request_id, stopped="reported")
        return self._made(cls, failure, headline)

    def _read(self, status: int, body: bytes) -> tuple[Failure, type[CallError], str | None]:
        """What the contract reads in an answer of that status: facts, class, headline."""
        response, method = self._response, self._stream.open.method
        url = response.url or None if response is not None else None
        reading = self._contract.read(Answer(status, {}, body), method=method, url=url)
        if reading is None:
            return Failure(method=method, url=url), self._contract.base, None
        return reading.failure, reading.raises, reading.headline

    # --- errors ---

    def told(self, error: CallError) -> CallError:
        """`error` of a connection, with what is known of the stream."""
        if self._items or self._cursor:
            error.failure = self._with_details(error.failure)
        if self._opened:
            # What asking again brought says nothing of what opening it did.
            error.failure = replace(error.failure, effect=effect_of(self._stream.open.method, 200))
        return error

    def lost(self, why: str, now: float, asked: float | None) -> CallError:
        """The error of a stream that cannot go on."""
        self.note(now, 0.0, why)
        reasons = {
            "reconnects_exhausted": f"{self.connections} connections in all",
            "retry_after": f"the service wants to be left alone for {asked} s",
            "not_resumable": "it cannot be resumed, for its last events have no id"
            if self._nameless
            else "it cannot be resumed, for its last id cannot be sent",
            "not_repeatable": "it may not be asked for again",
        }
        text = f"{self._named()} {self.words()}, {self._unended()}; {reasons[why]}"
        return self._failed(StreamError, text, self._outcome(), why, asked)

    def timed_out(self, now: float, asked: float | None) -> CallError:
        """The error of a stream that was not complete in time."""
        self.note(now, 0.0, "deadline")
        text = f"{self._named()} was not complete after {now - self._began:.1f} s"
        return self._failed(CallTimeoutError, text, Reason.DEADLINE.value, "deadline", asked)

    def cause(self) -> BaseException | None:
        """What the last break was caused by."""
        if self._error is not None:
            return self._error
        exc = None if self._broken is None else self._broken.cause
        return None if repeats(exc, self._secrets) else exc

    def words(self) -> str:
        """What went wrong with the last connection."""
        if self._error is not None:
            return f"could not be opened again ({self._error.headline()})"
        if self._broken is None:
            return "ended"
        if self._broken.reason is Reason.READ_TIMEOUT:
            return "fell silent"
        return f"broke ({self._broken.reason.value})"

    def _named(self) -> str:
        return f"The {self._stream.called}"

    def _unended(self) -> str:
        end = "before its last event, " if self._stream.ends is not None else ""
        return f"{end}after {self._items} item{'' if self._items == 1 else 's'}"

    def _request_id(self) -> str | None:
        return None if self._response is None else headers.request_id(self._response.headers)

    def _failed(
        self, standard: type[CallError], text: str, reason: str, why: str, asked: float | None = None
    ) -> CallError:
        """The contract's class for `standard`, with all that is known."""
        response, broken, method = self._response, self._broken, self._stream.open.method
        failure = Failure(
            method=method,
            url=kept_url(response.url) if response is not None and response.url else None,
            status=None if response is None else response.status,
            headers={} if response is None else kept_headers(response.headers),
            message=text,
            request_id=self._request_id(),
            retry_after=asked,
            reason=reason,
            cause=None if broken is None else outcome.engine_words(broken) or None,
            effect=effect_of(method, 200),
            retryable=why not in ("not_retryable", "max_events", "ids_regressed"),
            stopped=why,
        )
        return self._made(self._contract.class_for(standard), failure)

    def _made(self, cls: type[CallError], failure: Failure, headline: str | None = None) -> CallError:
        """An error that knows `failure` and the stream, without secrets."""
        failure = replace(self._with_details(failure), attempts=tuple(self._attempts))
        if self._secrets:
            failure = scrubbed(failure, self._secrets)
        return cls.from_failure(failure, headline)

    def _with_details(self, failure: Failure) -> Failure:
        details = {
            "last_event_id": self._cursor or None,
            "events": self._items,
            "connections": self.connections,
        }
        return replace(failure, details={**details, **failure.details})


def _as_header(name: str) -> str | None:
    """An id as the value of a header: UTF-8, in the Latin-1 of header values; None if it has no such form."""
    value = name.encode("utf-8", "replace").decode("latin-1")
    return value if all(" " <= c <= "~" or c >= "\x80" or c == "\t" for c in value) else None


def _status_in(event: ServerSentEvent) -> int | None:
    """The HTTP status that the JSON of an event names; None if it names none."""
    try:
        said = event.json()
    except (ValueError, RecursionError):
        return None
    for part in (said, said.get("error"), said.get("detail")) if isinstance(said, dict) else ():
        if not isinstance(part, dict):
            continue
        for name in _STATUS_NAMES:
            value = part.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
                return value
    return None
