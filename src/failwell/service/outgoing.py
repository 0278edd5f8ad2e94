"""
The way out of the service: what every answer carries, whoever made it, and how one ends that
broke off half-way.

A status that was sent cannot be taken back. A stream of events is ended with an event of the type
`error`; any other answer is cut, so that the client sees that it is not whole.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from failwell.service.bodies import linger
from failwell.service.limits import FIELD_NAMES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from failwell.answer import Answer
    from failwell.service.bodies import Message, Receive, Send
    from failwell.service.exchange import Exchange
    from failwell.service.limits import Fields


class AnswerCutError(Exception):  # no failure of a call: it is how a server is told to hang up
    """An answer broke off after its beginning was sent; the log has the reason."""


class OwnFields:
    """
    The header fields that every answer of a service carries, whoever made it.

    Args:
        id_header: The header of the request id, in lower case.
        limits: Which fields the numbers of the rate limit go into.
    """

    __slots__ = ("_id_header", "_limited", "_limits", "_unlimited")

    def __init__(self, id_header: bytes, limits: Fields) -> None:
        self._id_header = id_header
        self._limits: Fields = limits
        # Their names, with and without those of a limit: worked out once, not with each answer.
        self._unlimited = frozenset({id_header})
        self._limited = self._unlimited | FIELD_NAMES[limits]

    def added_to(
        self, headers: Iterable[tuple[bytes, bytes]], status: int, exchange: Exchange
    ) -> list[tuple[bytes, bytes]]:
        """
        `headers` with these in place of what they have of the same names.

        Raises:
            ValueError: one of them cannot be sent, or the status is none of an answer.
        """
        check_status(status)
        decision = exchange.decision
        if decision is None:
            fields, names = [], self._unlimited
        else:
            fields, names = decision.headers(self._limits), self._limited
        fields.append((self._id_header, exchange.request_id.encode("latin-1")))
        if status >= 400:
            fields.append((b"cache-control", b"no-store"))
            names |= {b"cache-control"}
        fields += sendable(headers, names)
        return fields


class Outgoing:
    """
    Adds what every answer carries, and refuses to answer twice.

    Args:
        exchange: The request.
        send: The server's.
        own: What every answer carries.
        head: Whether the request is a HEAD, whose answer has no body.
        rest: Where the body of the request comes from; None if it has none. Were the connection
            closed on what was not read of it, the client's machine would throw the answer away
            (RFC 9112, section 9.6); so that is read, for a while, and the connection not used
            again.

    Attributes:
        started: Whether a status was sent.
        ended: Whether all of the answer was sent.
    """

    __slots__ = (
        "_events",
        "_exchange",
        "_head",
        "_own",
        "_rest",
        "_send",
        "_start",
        "_tail",
        "ended",
        "started",
    )

    def __init__(
        self, exchange: Exchange, send: Send, own: OwnFields, *, head: bool, rest: Receive | None = None
    ) -> None:
        self._exchange = exchange
        self._send = send
        self._own = own
        self._head = head
        self._rest = rest
        self.started = False
        self.ended = False
        self._start: Message | None = None
        # Whether it is a stream of events; None until that is asked, which is once it is not whole.
        self._events: bool | None = None
        # Of a stream of events, its last bytes: whether an event is under way.
        self._tail = b""

    def send(self, message: Message) -> Awaitable[None]:
        """
        Pass on what the application sends. What the server's `send` returns is awaited: one frame less.

        Raises:
            ValueError: a header or the status cannot be sent; nothing was.
            Exception: what broke the answer off, if this were its end.
        """
        kind = message["type"]
        if kind == "http.response.start":
            if self.started:
                raise RuntimeError("the application answered twice")
            message["headers"] = self._own.added_to(
                message.get("headers", ()), message["status"], self._exchange
            )
            self.started = True
            self._start = message
        elif kind == "http.response.body":
            ended = not message.get("more_body", False)
            if ended and self._exchange.broken_by is not None:
                # A middleware that ends in order what broke off behind it.
                raise self._exchange.broken_by
            self.ended = ended
            if self._head:
                message["body"] = b""
            if not self.ended and self._is_event_stream():
                self._tail = (self._tail + message.get("body", b""))[-4:]
        return self._send(message)

    async def finish(self, answer: Answer, cookies: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Send a whole answer, and what it sets in cookies, unless one is under way already."""
        if self.started:
            return
        unread = self._rest if self._exchange.unread else None
        fields = [*fields_of(answer), *cookies]
        if answer.status not in (204, 304):
            fields.append((b"content-length", b"%d" % len(answer.body)))
        if unread is not None:
            fields.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": answer.status, "headers": fields})
        body = b"" if self._head or answer.status in (204, 304) else answer.body
        if unread is not None:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await linger(unread)
            body = b""
        await self._send({"type": "http.response.body", "body": body})
        self.ended = True

    async def break_off(self, data: dict[str, Any]) -> None:
        """
        End an answer that has begun and cannot be completed.

        Args:
            data: What an `event: error` says, if it is a stream of events.

        Raises:
            AnswerCutError: it is not, or stands in the middle of an event, which would be taken
                for a whole one; the server closes the connection without the final chunk.
        """
        # WHATWG HTML, section 9.2.5: lines end with CR, LF or CRLF, an event with an empty one.
        tail = self._tail.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if not self._is_event_stream() or not (tail == b"" or tail.endswith(b"\n\n")):
            raise AnswerCutError(f"the answer of request {self._exchange.request_id} broke off")
        # JSON has no line break outside a text, and escapes those in it.
        event = f"event: error\ndata: {json.dumps(data, separators=(',', ':'), default=str)}\n\n"
        await self.send({"type": "http.response.body", "body": event.encode()})

    def _is_event_stream(self) -> bool:
        if self._events is None:
            start = self._start
            self._events = start is not None and not self._head and _is_plain_event_stream(start)
        return self._events

    def expect_started(self) -> None:
        """Hold the application to its duty."""
        if not self.started:
            raise RuntimeError("the application returned without an answer")


# RFC 9110, sections 5.1, 5.5 and 5.6.2. A line break would end the field, and begin another one or
# the body; so some servers hang up on it, and others send it.
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CONTROLS = bytes([*range(9), *range(10, 32), 127])


def sendable(
    headers: Iterable[tuple[bytes, bytes]], without: frozenset[bytes] = frozenset()
) -> list[tuple[bytes, bytes]]:
    """
    `headers` as they are sent, if they can be.

    What stands around a value is not part of it (RFC 9110, section 5.5), and some servers refuse it.

    Args:
        headers: Names and values.
        without: Names in lower case, of fields that are left out.

    Raises:
        ValueError: one of them has no name of a field, or a line break or another control character.
    """
    fields = []
    for name, value in headers:
        lower = _lower(name)
        # Nothing can be wrong with letters and digits alone, such as those of a length.
        plain = value.isalnum()
        if not lower or not (plain or value.translate(None, _CONTROLS) == value):
            # Not the value, which may be anything.
            raise ValueError(f"the header {name!r} of the answer cannot be sent")
        if not plain:
            value = value.strip(b" \t")
        if lower not in without:
            fields.append((name, value))
    return fields


def check_status(status: int) -> None:
    """
    Refuse what is no status of an answer: some servers send it, others hang up on it.

    Source:
        RFC 9110, sections 15 and 15.2: 1xx is no final answer, and from 600 on there are none.

    Raises:
        ValueError: it is none.
    """
    if not 200 <= status <= 599:
        raise ValueError(f"{status!r} is no status of an answer")


# A service sends few names, and each many times.
@lru_cache(maxsize=1024)
def _lower(name: bytes) -> bytes:
    """The name of a field in lower case; empty if it is none."""
    return b"" if name.translate(None, _TOKEN) else name.lower()


def fields_of(answer: Answer) -> Iterable[tuple[bytes, bytes]]:
    """
    The headers of `answer` as they are sent.

    Raises:
        ValueError: one of them cannot be; or not in Latin-1, which is all that a field may have; or
            the status cannot be.
    """
    check_status(answer.status)
    return sendable([(n.encode("latin-1"), v.encode("latin-1")) for n, v in answer.headers.items()])


def _is_plain_event_stream(start: Message) -> bool:
    """Whether an event can be written at the end of an answer as it stands."""
    headers = start.get("headers", ())
    for name, value in headers:
        if name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream"):
            break
    else:
        return False
    others = {name.lower(): value.lower() for name, value in headers}
    return b"content-length" not in others and others.get(b"content-encoding", b"identity") == b"identity"


def event_data(answer: Answer, code: str | None, request_id: str) -> dict[str, Any]:
    """What an `event: error` says: the body that the answer would have had, and what its head would."""
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = None
    said = body if isinstance(body, dict) else {"message": answer.body.decode("utf-8", "replace")}
    said |= {"status": answer.status, "request_id": request_id}
    return said if code is None else {**said, "code": code}


def asks_for_problem(accept: bytes) -> bool:
    """
    Whether a request wants problem details: it names them, and not as the second choice.

    Source:
        RFC 9110, section 12.5.1; RFC 9457, section 3.
    """
    if b"application/problem+json" not in accept.lower():
        return False
    wanted: dict[str, float] = {}
    for part in accept.decode("latin-1").lower().split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        wanted[media_type] = _quality(parameters)
    problem = wanted.get("application/problem+json", 0.0)
    names = ("application/json", "application/*", "*/*")
    return problem > 0 and problem >= next((wanted[name] for name in names if name in wanted), 0.0)


def _quality(parameters: list[str]) -> float:
    value = next((p[2:].strip() for p in parameters if p.startswith("q=")), "1")
    # What is no quality is taken for none said; `float` would take "nan" and "1e9", too.
    return float(value) if _QUALITY.fullmatch(value) else 1.0


_QUALITY = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")
