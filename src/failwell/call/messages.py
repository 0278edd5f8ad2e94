"""
What passes between the flow that decides and the driver that acts.

Effects are orders (`Send`, `Sleep`), events are news (`Reply`). A failure comes in as a value
(`Broken`), never as an exception, so that cancellation and Ctrl-C pass the flow by.
"""

from __future__ import annotations

import json as _json
from dataclasses import dataclass, field
from enum import Enum
from math import inf

from failwell.failure import Attempt
from failwell.redaction import kept_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Generator, Iterable, Iterator
    from typing import Any, Protocol

    CallFlow = Generator["Send | Sleep", "Reply", "Response"]

    class Streamed(Protocol):
        """
        A body that is sent in pieces. Each iteration is one try, from the start.

        Attributes:
            size: Bytes in all, which are announced; None if that is not known.
            awaited: The same pieces, for whoever awaits.
        """

        @property
        def size(self) -> int | None: ...
        @property
        def awaited(self) -> AsyncIterable[bytes]: ...
        def __iter__(self) -> Iterator[bytes]: ...

    class Pieces(Protocol):
        """
        A body that is read as it comes.

        `read` gives what came next, b"" at the end, or how it broke; content encoding undone. Each
        `read` ends after `Timeouts.read` of its order without a byte, and at `until`. Who has read to
        the end, or has it closed, has given its connection back.
        """

        def read(self) -> bytes | Broken: ...
        def close(self) -> None: ...

    class AwaitedPieces(Protocol):
        """As `Pieces`, for whoever awaits."""

        async def read(self) -> bytes | Broken: ...
        async def aclose(self) -> None: ...


_decode_json = _json.JSONDecoder().raw_decode


class Phase(Enum):
    """How far a broken attempt came; decided by what crossed the wire."""

    NOT_SENT = "not_sent"  # no byte of the request left
    SENT = "sent"  # some of it may have arrived, no status was read
    ANSWERED = "answered"  # a status was read, the body is missing or damaged


class Reason(str, Enum):
    """Why an attempt broke."""

    # No connection: ConnectError.
    DNS = "dns"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    TLS_CLOSED = "tls_closed"
    TLS_UNTRUSTED = "tls_untrusted"
    PROXY = "proxy"
    BAD_URL = "bad_url"
    # Too slow: CallTimeoutError.
    CONNECT_TIMEOUT = "connect_timeout"
    POOL_TIMEOUT = "pool_timeout"
    WRITE_TIMEOUT = "write_timeout"
    READ_TIMEOUT = "read_timeout"
    DEADLINE = "deadline"
    # Broke before any byte of an answer: ConnectionLostError.
    RESET = "reset"
    CLOSED = "closed"
    # An answer that cannot be used: BadAnswerError.
    NOT_HTTP = "not_http"
    CUT = "cut"
    ENCODING = "encoding"
    TOO_LARGE = "too_large"
    FORMAT = "format"
    # What was to be sent cannot be read, or is not what it was: UploadError.
    SOURCE = "source"

    __str__ = str.__str__


@dataclass(slots=True)
class Request:
    """
    One HTTP request, ready to be put on the wire any number of times.

    Attributes:
        method: In upper case.
        url: Absolute, with its query.
        headers: Names in lower case, without content-length, transfer-encoding and host.
        content: The body, whole or in pieces; None for none.
    """

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | Streamed | None = None

    def __repr__(self) -> str:
        # Frames of this object end up in tracebacks that show locals.
        return f"<Request {self.method} {kept_url(self.url)}>"


class Response:
    """
    One whole HTTP answer.

    Args:
        status: The HTTP status.
        raw_headers: Pairs of bytes or of text, as the engine gives them.
        content: The body, content encoding undone.
        url: The URL that answered.

    Attributes:
        pieces: The body, where it is still to be read: `Pieces` or `AwaitedPieces`. None where it is
            all in `content`.
    """

    __slots__ = ("_attempts", "_headers", "_last", "content", "pieces", "raw_headers", "status", "url")

    def __init__(
        self,
        status: int,
        raw_headers: Iterable[tuple[bytes, bytes]] | Iterable[tuple[str, str]] = (),
        content: bytes = b"",
        url: str = "",
    ) -> None:
        self.status = status
        self.raw_headers = raw_headers
        self.content = content
        self.url = url
        self.pieces: Any = None
        self._attempts: tuple[Attempt, ...] = ()
        self._last: tuple[float, float] | None = None
        self._headers: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.content)} bytes>"

    def brought_by(self, earlier: list[Attempt], start: float, duration: float) -> None:
        """
        Note the attempts of the call that brought this answer, the last of which succeeded.

        Args:
            earlier: Those before it.
            start: Seconds from the beginning of the call to the beginning of the last.
            duration: Seconds the last took.
        """
        self._attempts = tuple(earlier)
        self._last = (start, duration)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every try of the call that brought it, in order."""
        # Made on first use, as the headers are: of a success, few ask.
        if self._last is not None:
            start, duration = self._last
            last = Attempt(len(self._attempts) + 1, start, duration, "ok", self.status)
            self._attempts = (*self._attempts, last)
            self._last = None
        return self._attempts

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case; repeated ones joined with ", "."""
        # Decoded on first use: most answers are never asked for their headers.
        if self._headers is None:
            headers: dict[str, str] = {}
            repeated: dict[str, list[str]] = {}
            for raw_name, raw_value in self.raw_headers:
                name = raw_name.decode("latin-1") if isinstance(raw_name, bytes) else raw_name
                value = raw_value.decode("latin-1") if isinstance(raw_value, bytes) else raw_value
                name = name.lower()
                if name in headers:
                    repeated.setdefault(name, [headers[name]]).append(value)
                else:
                    headers[name] = value
            for name, values in repeated.items():
                headers[name] = ", ".join(values)
            self._headers = headers
        return self._headers

    @property
    def text(self) -> str:
        """The body as text: UTF-8, with what is not UTF-8 replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """
        The body as JSON.

        Raises:
            ValueError: it is none, or nested deeper than Python reads.
        """
        # Nearly every answer is UTF-8 with nothing around the value: 0.7 us instead of 1.9.
        try:
            try:
                text = self.content.decode()
                value, end = _decode_json(text)
                if end == len(text):
                    return value
            except ValueError:
                pass
            return _json.loads(self.content)
        except RecursionError:
            pass
        raise ValueError("JSON that is nested too deeply")


@dataclass(slots=True)
class Broken:
    """
    An attempt that brought no usable answer.

    Attributes:
        phase: How far it came.
        reason: Why it broke.
        cause: The engine's own exception, without its traceback: frames hold secrets.
        status: The status, if one was read.
        raw_headers: The headers, if they were read.
        received: Bytes of body received.
        expected: Bytes of body announced; None if the answer did not say.
    """

    phase: Phase
    reason: Reason
    cause: BaseException | None = None
    status: int | None = None
    raw_headers: Iterable[tuple[bytes, bytes]] | Iterable[tuple[str, str]] = ()
    received: int = 0
    expected: int | None = None

    def __repr__(self) -> str:
        return f"<Broken {self.phase.value} {self.reason.value}>"


@dataclass(slots=True)
class Timeouts:
    """
    How long one wait may last, seconds. The deadline clips them all.

    Attributes:
        connect: Name look-up, TCP and TLS together.
        read: Between two pieces of an answer.
        write: Between two pieces of a request.
        pool: For a free connection.
    """

    connect: float = 5.0
    read: float = 60.0
    write: float = 60.0
    pool: float = 10.0


@dataclass(slots=True)
class Send:
    """
    Effect: put `request` on the wire once.

    Attributes:
        request: What to send.
        timeouts: For each wait.
        deadline: Monotonic seconds at which the attempt must be over, whatever trickles in.
        number: 1 for the first attempt of the call.
        opens: Statuses whose answer is wanted with its body unread, in `Response.pieces`.
        until: Monotonic seconds at which the reading of such a body must be over; `deadline` is then
            for its head.
    """

    request: Request
    timeouts: Timeouts
    deadline: float
    number: int = 1
    opens: frozenset[int] = frozenset()
    until: float = inf


@dataclass(slots=True)
class Sleep:
    """
    Effect: let time pass before the next attempt.

    Attributes:
        seconds: How long.
        after: The attempt that failed.
        why: What went wrong with it, for a log line.
    """

    seconds: float
    after: Attempt | None = None
    why: str = ""


@dataclass(slots=True)
class Reply:
    """
    Event: what came of the last effect.

    Attributes:
        now: Monotonic seconds when it came.
        result: The answer, or how the attempt broke; None after a `Sleep`.
        spent: Whether the request's body was sent, in part at least, and cannot be sent again.
    """

    now: float
    result: Response | Broken | None = None
    spent: bool = False
