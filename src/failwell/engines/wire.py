"""
What crossed the wire in one attempt, and what that says about a failure.

A library's exception classes say which of its functions gave up; whether the service may have
acted is another question. It is answered here from two facts that the byte streams record:
whether a byte of the request left, and which bytes of an answer came.

A `Wire` is made for each attempt and travels to the streams as their `timeout`: it is the one
value that httpcore hands unchanged from a request to the functions that read and write.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from time import monotonic

from failwell.call.messages import Broken, Phase, Reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

    from failwell.call.messages import Send

# A year. Sockets and Rust's clock refuse infinity, which is what "no limit" is.
LONGEST_SECONDS = 365 * 86400.0
_ERRNO = re.compile(r"\[Errno (\d+)\]")


class Wire(float):
    """
    One attempt as its byte streams see it; as a number it is the attempt's connect timeout.

    Attributes:
        deadline: Monotonic seconds at which the attempt ends, whatever trickles in.
        layer: The number of TLS layers between the socket and the request. Bytes on a lower
            layer belong to a proxy and to handshakes, not to the request.
        hold: True while the head of a request waits for its body, to leave in one piece.
        max_header_bytes: The most that may come before the head of the answer is complete.
        streams: Whether the request's body is sent in pieces.
        sent: Whether a byte of the request left.
        received: Bytes of answer received.
        first: The first piece of them.
        ended: Whether the other side ended the connection in an orderly way.
        answered: Whether a status was read.
        reason: Why it broke, as far as a stream can tell.
    """

    __slots__ = (
        "_connect_until",
        "answered",
        "deadline",
        "ended",
        "first",
        "hold",
        "layer",
        "max_header_bytes",
        "read",
        "reason",
        "received",
        "sent",
        "streams",
        "write",
    )

    def __new__(cls, order: Send, layer: int, max_header_bytes: int) -> Self:
        timeouts = order.timeouts
        connect, read, write = timeouts.connect, timeouts.read, timeouts.write
        wire = float.__new__(cls, connect if connect < LONGEST_SECONDS else LONGEST_SECONDS)
        wire.deadline = order.deadline
        wire.read = read if read < LONGEST_SECONDS else LONGEST_SECONDS
        wire.write = write if write < LONGEST_SECONDS else LONGEST_SECONDS
        wire.layer = layer
        content = order.request.content
        wire.hold = content is not None
        wire.streams = wire.hold and not isinstance(content, bytes)
        wire.max_header_bytes = max_header_bytes
        wire.sent = False
        wire.received = 0
        wire.first = b""
        wire.ended = False
        wire.answered = False
        wire.reason = None
        wire._connect_until = None
        return wire

    if TYPE_CHECKING:
        deadline: float
        read: float
        write: float
        layer: int
        hold: bool
        streams: bool
        max_header_bytes: int
        sent: bool
        received: int
        first: bytes
        ended: bool
        answered: bool
        reason: Reason | None
        _connect_until: float | None

    def time_to_connect(self) -> float:
        """
        Seconds left for name look-up, TCP, proxy and TLS together. 0.0 or less: none.

        Notes the reason that holds if they pass.
        """
        now = monotonic()
        if self._connect_until is None:
            self._connect_until = now + float(self)
        if self.deadline <= self._connect_until:
            self.reason = Reason.DEADLINE
            return self.deadline - now
        self.reason = Reason.CONNECT_TIMEOUT
        return self._connect_until - now

    def time_to_read(self) -> float:
        """Seconds that the next piece of the answer may take; see `time_to_connect`."""
        left = self.deadline - monotonic()
        if left <= self.read:
            self.reason = Reason.DEADLINE
            return left
        self.reason = Reason.READ_TIMEOUT
        return self.read

    def time_to_write(self) -> float:
        """Seconds that the next piece of the request may take; see `time_to_connect`."""
        left = self.deadline - monotonic()
        if left <= self.write:
            self.reason = Reason.DEADLINE
            return left
        self.reason = Reason.WRITE_TIMEOUT
        return self.write

    def took(self, data: bytes) -> None:
        """Note a piece of answer; an empty one is the end."""
        self.reason = None
        if not data:
            self.ended = True
            return
        if not self.received:
            self.first = data
        self.received += len(data)

    @property
    def phase(self) -> Phase:
        """How far the attempt came."""
        if self.answered:
            return Phase.ANSWERED
        return Phase.SENT if self.sent else Phase.NOT_SENT

    def lost(self) -> Reason:
        """Why an attempt broke whose connection went away, or spoke no HTTP."""
        if self.reason is not None:
            return self.reason
        if not self.ended:
            return Reason.NOT_HTTP
        return self.cut_or(Reason.CLOSED)

    def cut_or(self, silent: Reason) -> Reason:
        """The reason of an answer that ended early; `silent` if nothing had come."""
        return Reason.CUT if self.answered else ended_early(self.first, silent)


def ended_early(first: bytes, silent: Reason) -> Reason:
    """
    The reason of an answer that ended inside its head.

    Args:
        first: The first piece of it that came.
        silent: What to say if nothing had come.
    """
    if not first:
        return silent
    # "HTTP/1.1 200 OK" cut short began as an answer; anything else never was one.
    return Reason.CUT if first.startswith(b"HTTP/") or b"HTTP/".startswith(first) else Reason.NOT_HTTP


def reason_of_connect(exc: BaseException, *, tls: bool = False) -> Reason:
    """
    Why no connection was made, from the operating system's own error in the chain of `exc`.

    Args:
        exc: What a library raised.
        tls: Whether TLS may have been begun: a connection that ended then ended in its handshake, as
            far as anybody can tell.
    """
    found = Reason.UNREACHABLE
    for each in chain(exc):
        if isinstance(each, socket.gaierror):
            return Reason.DNS
        if isinstance(each, ssl.SSLError):
            return reason_of_handshake(exc)
        if isinstance(each, ConnectionRefusedError) or (
            isinstance(each, OSError) and _errno_of(each) == errno.ECONNREFUSED
        ):
            found = Reason.REFUSED
        elif tls and isinstance(each, ConnectionError) and found is Reason.UNREACHABLE:
            found = Reason.TLS_CLOSED
    return found


def reason_of_handshake(exc: BaseException) -> Reason:
    """
    Why there is no TLS on a connection that was made.

    What TLS itself found wrong is wrong the next time, too. A connection that ended says nothing of
    the kind: a service that starts anew does that, and a load balancer that has nobody behind it.
    """
    errors = [e for e in chain(exc) if isinstance(e, OSError) and not isinstance(e, _WAITS_OF_TLS)]
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in errors):
        return Reason.TLS_UNTRUSTED
    # aiohttp's errors are of ssl's classes, too, whatever stands behind them.
    of_tls = [each for each in errors if type(each).__module__ == "ssl"]
    wrong = not errors or any(not isinstance(each, _ENDS) for each in of_tls)
    return Reason.TLS if wrong else Reason.TLS_CLOSED


# How `ssl` says that the connection ended; an error of the system below it is an OSError of another kind.
_ENDS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
# No failures, but in the context of one: asyncio's and anyio's TLS asks for bytes by them.
_WAITS_OF_TLS = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


def _errno_of(exc: OSError) -> int | None:
    if exc.errno is not None:
        return exc.errno
    # asyncio before 3.12 folds the errors of several addresses into one text.
    numbers = _ERRNO.findall(str(exc))
    return int(numbers[-1]) if numbers else None


def chain(exc: BaseException) -> Iterator[BaseException]:
    """`exc`, what caused it, what it came up in, and the members of groups; each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [exc]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(reversed(each.exceptions))
        waiting += [each.__context__, each.__cause__]


def without_frames(exc: BaseException) -> BaseException:
    """
    `exc` with the tracebacks of its whole chain removed.

    Frames hold what was being sent: header values among the locals of the library that failed.
    """
    for each in chain(exc):
        each.__traceback__ = None
    return exc


def broken(
    wire: Wire,
    reason: Reason,
    cause: BaseException | None,
    *,
    status: int | None = None,
    raw_headers: Iterable[tuple[bytes, bytes]] = (),
    received: int = 0,
    expected: int | None = None,
) -> Broken:
    """How the attempt seen by `wire` broke."""
    phase = wire.phase
    return Broken(
        phase,
        reason,
        None if cause is None else without_frames(cause),
        status if phase is Phase.ANSWERED else None,
        raw_headers,
        received,
        expected,
    )
