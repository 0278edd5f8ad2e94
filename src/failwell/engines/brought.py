"""
Clients and transports of httpx2 and httpx that the user made: driven as they are.

Their auth, event hooks, mounts, proxies and mocks work, because the client itself is asked. How
far an attempt came is told by httpcore's `trace` extension where there is a network below, and
by the class of the exception where there is none. What this cannot promise is in docs/engines.md.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from failwell.call.messages import Broken, Phase, Reason, Response
from failwell.engines.arriving import Arriving, AwaitedArriving
from failwell.engines.bodies import BodyError
from failwell.engines.decoding import ACCEPT_ENCODING, Head, UndecodableError, decoded
from failwell.engines.orders import is_sendable, unsendable
from failwell.engines.wire import LONGEST_SECONDS, reason_of_connect, reason_of_handshake, without_frames
from failwell.errors import ArgumentTypeError, ConfigurationError
from failwell.redaction import kept_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from failwell.call.messages import Send, Streamed
    from failwell.engines.base import AsyncEngine, Connections, Engine
    from failwell.errors import UsageError

# The leaves of `TransportError` in httpx and httpx2, and what each says of an attempt if nothing
# else does. A test fails when a release adds one.
NEVER_LEFT = {
    "ConnectError": Reason.UNREACHABLE,
    "ConnectTimeout": Reason.CONNECT_TIMEOUT,
    "PoolTimeout": Reason.POOL_TIMEOUT,
    "UnsupportedProtocol": Reason.BAD_URL,
}
MAY_HAVE_LEFT = {
    "CloseError": Reason.RESET,
    "LocalProtocolError": Reason.RESET,
    "ProxyError": Reason.PROXY,
    "ReadError": Reason.RESET,
    "ReadTimeout": Reason.READ_TIMEOUT,
    "RemoteProtocolError": Reason.NOT_HTTP,
    "SSEError": Reason.NOT_HTTP,
    "WriteError": Reason.RESET,
    "WriteTimeout": Reason.WRITE_TIMEOUT,
}
_TIMEOUTS = frozenset(
    {Reason.CONNECT_TIMEOUT, Reason.POOL_TIMEOUT, Reason.READ_TIMEOUT, Reason.WRITE_TIMEOUT}
)


def open_brought(thing: Any, connections: Connections) -> Engine:
    """
    An engine that drives `thing`: a `Client`, or a transport for one, of httpx2 or httpx.

    Raises:
        ConfigurationError: it is neither, or not a blocking one.
        ArgumentTypeError: it is nothing of a library at all, such as a number.
    """
    library = _library_of(thing)
    if library is not None and isinstance(thing, (library.Client, library.BaseTransport)):
        return BroughtEngine(thing, library, connections)
    raise _unusable(thing, "Client", "AsyncClient")


def open_async_brought(thing: Any, connections: Connections) -> AsyncEngine:
    """
    An engine that drives `thing`: an `AsyncClient`, or a transport for one, of httpx2 or httpx.

    Raises:
        ConfigurationError: it is neither, or a blocking one.
        ArgumentTypeError: it is nothing of a library at all, such as a number.
    """
    library = _library_of(thing)
    if library is not None and isinstance(thing, (library.AsyncClient, library.AsyncBaseTransport)):
        return AsyncBroughtEngine(thing, library, connections)
    raise _unusable(thing, "AsyncClient", "Client")


def _library_of(thing: Any) -> Any:
    """The module httpx2 or httpx, whichever `thing` is of; None for another."""
    for base in type(thing).__mro__:
        package = base.__module__.partition(".")[0]
        if package in ("httpx2", "httpx"):
            return sys.modules[package]
    return None


def _unusable(thing: Any, wanted: str, other: str) -> UsageError:
    if type(thing).__module__ == "builtins":  # a number, a list, None
        wanted = "the name of an engine, or a client or transport of httpx2"
        return ArgumentTypeError(f"engine is a {type(thing).__name__}; give {wanted}")
    return ConfigurationError(
        f"{type(thing).__name__} cannot be the engine of a failwell.{wanted}: that takes the name of an "
        f"engine, an httpx2.{wanted} or httpx.{wanted}, or a transport for one. "
        f"What awaits goes with AsyncClient, what blocks with Client; this may belong to {other}."
    )


class _Trace:
    """
    What httpcore tells of one attempt.

    Attributes:
        heard: Whether it tells anything: transports without a network do not.
        tls: Whether a handshake was begun.
        sent: Whether the request was begun to be written.
    """

    __slots__ = ("heard", "sent", "tls")

    def __init__(self) -> None:
        self.heard = False
        self.tls = False
        self.sent = False

    def note(self, event: str, info: dict[str, Any]) -> None:
        self.heard = True
        if event.endswith("send_request_headers.started"):
            # The request to open a tunnel goes to the proxy, not to the service.
            self.sent = self.sent or getattr(info.get("request"), "method", b"") != b"CONNECT"
        elif event.endswith("start_tls.started"):
            self.tls = True

    async def anote(self, event: str, info: dict[str, Any]) -> None:
        self.note(event, info)


class _Attempt:
    """One attempt over somebody's client: all of it but the waiting."""

    def __init__(self, order: Send, library: Any, connections: Connections) -> None:
        self.order = order
        self.trace = _Trace()
        self._library = library
        self._limit = connections.max_body_bytes
        self._answer: Any = None
        self._head = Head(())
        self._pieces: list[bytes] = []
        self.size = 0
        self.opens = False

    def build(self, client: Any, note: Any, *, awaits: bool) -> Any:
        """The client's own request for the order, with its headers and base URL."""
        request, timeouts = self.order.request, self.order.timeouts
        left = min(max(0.001, self.order.deadline - monotonic()), LONGEST_SECONDS)
        reading = min(self.order.until - monotonic(), LONGEST_SECONDS) if self.order.opens else left
        headers = dict(request.headers)
        headers.setdefault("accept-encoding", ACCEPT_ENCODING)
        content: Any = request.content
        if content is not None and not isinstance(content, bytes):
            if content.size is not None:
                headers["content-length"] = str(content.size)
            content = content.awaited if awaits else _Pieces(content)
        return client.build_request(
            request.method,
            request.url,
            headers=headers,
            content=content,
            timeout=self._library.Timeout(
                connect=min(timeouts.connect, left),
                read=max(0.001, min(timeouts.read, reading)),
                write=min(timeouts.write, left),
                pool=min(timeouts.pool, left),
            ),
            extensions={"trace": note},
        )

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What their library raises for an attempt that breaks."""
        return self._library.TransportError, self._library.DecodingError

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return monotonic() >= self.order.deadline

    def begin(self, answer: Any) -> Broken | None:
        """Take the head of an answer; how it breaks at once, if it does."""
        self._answer = answer
        self._head = head = Head(answer.headers.raw)
        if answer.status_code == 101:
            return self._refused(Reason.NOT_HTTP, "an upgrade that was not asked for")
        self.opens = answer.status_code in self.order.opens and not answer.is_stream_consumed
        if self.opens:
            self.order = replace(self.order, deadline=self.order.until)
        elif self.order.request.method == "HEAD" or answer.status_code in (204, 304):
            head.expected = None
        elif head.expected is not None and head.expected > self._limit:
            return self._refused(Reason.TOO_LARGE, f"a body of {head.expected} bytes")
        return None

    def take(self, piece: bytes) -> Broken | None:
        """Take a piece of the body."""
        self._pieces.append(piece)
        self.size += len(piece)
        if self.size > self._limit:
            return self._refused(Reason.TOO_LARGE, f"a body of more than {self._limit} bytes")
        if self.late:
            return self.expired()
        return None

    def end(self, read_by_hook: bool) -> Response | Broken:
        """The answer, now that its body is whole."""
        answer, head = self._answer, self._head
        if read_by_hook:
            content = answer.content
            if len(content) > self._limit:
                return self._refused(Reason.TOO_LARGE, f"a body of more than {self._limit} bytes")
        else:
            content = b"".join(self._pieces)
            if head.coding is not None:
                try:
                    content = decoded(content, head.coding.decode("latin-1"), self._limit)
                except UndecodableError as exc:
                    return self.undecodable(exc)
        return Response(answer.status_code, answer.headers.raw, content, self.order.request.url)

    def opened(self, pieces: type[_Arriving] | type[_AwaitedArriving]) -> Response | Broken:
        """The answer, with its body still to be read; how it breaks, if it is of an unknown coding."""
        answer = self._answer
        response = Response(answer.status_code, answer.headers.raw, b"", self.order.request.url)
        try:
            response.pieces = pieces(self._head, self, answer)
        except UndecodableError as exc:
            return self.undecodable(exc)
        return response

    def undecodable(self, exc: UndecodableError) -> Broken:
        """How it broke, if its content coding is damaged."""
        return self._refused(exc.reason, str(exc))

    def silent(self) -> Broken:
        """How it broke, if nothing came in the time allowed."""
        return self._broken(Reason.READ_TIMEOUT, self._library.ReadTimeout("no byte in the time allowed"))

    def expired(self) -> Broken:
        """How the attempt ends at its deadline."""
        return self._broken(Reason.DEADLINE, self._library.ReadTimeout("the deadline has passed"))

    def not_sent(self, reason: Reason, cause: Any) -> Broken:
        return self._broken(reason, cause, Phase.NOT_SENT)

    def failed(self, exc: Any) -> Broken:
        """
        How the attempt broke that ended with `exc`.

        Raises:
            UsageError: the request cannot be written as HTTP.
        """
        kind = type(exc).__name__
        if kind == "LocalProtocolError" and not is_sendable(self.order.request):
            raise unsendable(self.order.request)
        return self._broken(self._reason(exc), exc, self._phase(exc))

    def unread(self, exc: BodyError) -> Any:
        """`exc` as their library would say it; whoever has the body knows the reason."""
        return self._library.WriteError(str(exc))

    def _phase(self, exc: Any) -> Phase:
        if self._answer is not None:
            return Phase.ANSWERED
        if self.trace.heard:
            return Phase.SENT if self.trace.sent else Phase.NOT_SENT
        return Phase.NOT_SENT if _named(exc, NEVER_LEFT) is not None else Phase.SENT

    def _reason(self, exc: Any) -> Reason:
        if isinstance(exc, self._library.DecodingError):
            return Reason.ENCODING
        reason = _named(exc, NEVER_LEFT) or _named(exc, MAY_HAVE_LEFT) or Reason.RESET
        if reason in _TIMEOUTS:
            return Reason.DEADLINE if self.late else reason
        if reason is Reason.UNREACHABLE:
            return reason_of_handshake(exc) if self.trace.tls else reason_of_connect(exc)
        text = str(exc)
        if self._answer is not None:
            ended = reason is Reason.RESET or text.startswith("peer closed connection")
            return Reason.CUT if ended else reason
        return Reason.CLOSED if text.startswith("Server disconnected") else reason

    def _refused(self, reason: Reason, text: str) -> Broken:
        return self._broken(reason, self._library.DecodingError(text))

    def _broken(self, reason: Reason, cause: Any, phase: Phase | None = None) -> Broken:
        request = self.order.request
        # What came with the exception is the live request, with its headers.
        cause.request = self._library.Request(request.method, kept_url(request.url))
        without_frames(cause)
        if phase is None:
            phase = self._phase(cause)
        if self._answer is None:
            return Broken(phase, reason, cause)
        return Broken(
            phase,
            reason,
            cause,
            self._answer.status_code,
            self._answer.headers.raw,
            self.size,
            self._head.expected,
        )


class _Pieces:
    """A body that is sent in pieces, as httpx takes it: without what looks like a file's length."""

    def __init__(self, body: Streamed) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)


def _named(exc: BaseException, reasons: dict[str, Reason]) -> Reason | None:
    return next((reasons[c.__name__] for c in type(exc).__mro__ if c.__name__ in reasons), None)


class _Arriving(Arriving):
    """The body of an answer, read as it comes."""

    def __init__(self, head: Head, attempt: _Attempt, answer: Any) -> None:
        super().__init__(head)
        self._attempt = attempt
        self._answer = answer
        self._raw = answer.iter_raw()

    def _next(self) -> bytes | Broken:
        attempt = self._attempt
        if attempt.late:
            return attempt.expired()
        try:
            for piece in self._raw:
                if piece:
                    attempt.size += len(piece)
                    return piece  # type: ignore[no-any-return]  # of whichever library
        except attempt.failures as exc:
            return attempt.failed(exc)
        return b""

    def _refused(self, exc: UndecodableError) -> Broken:
        return self._attempt.undecodable(exc)

    def _let_go(self) -> None:
        self._answer.close()


class _AwaitedArriving(AwaitedArriving):
    """As `_Arriving`."""

    def __init__(self, head: Head, attempt: _Attempt, answer: Any) -> None:
        super().__init__(head)
        self._attempt = attempt
        self._answer = answer
        self._raw = answer.aiter_raw()

    async def _next(self) -> bytes | Broken:
        from anyio import move_on_after

        attempt = self._attempt
        left, idle = attempt.order.until - monotonic(), attempt.order.timeouts.read
        if left <= 0:
            return attempt.expired()
        try:
            with move_on_after(min(left, idle, LONGEST_SECONDS)) as scope:
                async for piece in self._raw:
                    if piece:
                        attempt.size += len(piece)
                        return piece  # type: ignore[no-any-return]  # as above
        except attempt.failures as exc:
            return attempt.failed(exc)
        if scope.cancelled_caught:
            return attempt.expired() if left <= idle else attempt.silent()
        return b""

    def _refused(self, exc: UndecodableError) -> Broken:
        return self._attempt.undecodable(exc)

    async def _let_go(self) -> None:
        # trio warns of a generator that is left to the garbage collector.
        try:
            await self._raw.aclose()
        finally:
            await self._answer.aclose()


class _Family:
    """
    What the sync and the async engine have in common.

    Args:
        thing: The client or transport.
        library: The module it is of.
        connections: Only its `max_body_bytes` counts.
    """

    _awaits: bool

    def __init__(self, thing: Any, library: Any, connections: Connections, client: Any) -> None:
        self._client = client
        self._library = library
        self._connections = connections
        # A transport without a network has no connections that a fork could share.
        self._pid = os.getpid() if _has_network(thing, library) else None
        self.name = str(library.__name__)

    def _begin(self, order: Send) -> _Attempt:
        if self._pid is not None and os.getpid() != self._pid:
            raise ConfigurationError(
                f"This {self.name} client was made before os.fork(), and shares its connections with "
                "another process: make one in each process."
            )
        return _Attempt(order, self._library, self._connections)

    def _unasked(self, attempt: _Attempt, note: Any) -> Any:
        """The client's request for the attempt, or how it broke before that."""
        order = attempt.order
        if attempt.late:
            return attempt.not_sent(Reason.DEADLINE, self._library.ConnectTimeout("no time is left"))
        if not is_sendable(order.request):
            raise unsendable(order.request)
        try:
            return attempt.build(self._client, note, awaits=self._awaits)
        except (self._library.InvalidURL, self._library.UnsupportedProtocol):
            return self._bad_url(attempt)

    def _bad_url(self, attempt: _Attempt) -> Broken:
        text = f"{kept_url(attempt.order.request.url)!r} is not a URL of http or https"
        return Broken(Phase.NOT_SENT, Reason.BAD_URL, self._library.UnsupportedProtocol(text))


def _has_network(thing: Any, library: Any) -> bool:
    networks = (library.Client, library.AsyncClient, library.HTTPTransport, library.AsyncHTTPTransport)
    return isinstance(thing, networks)


class BroughtEngine(_Family):
    """Requests over somebody's blocking client or transport, which stays open."""

    _awaits = False

    def __init__(self, thing: Any, library: Any, connections: Connections) -> None:
        own = isinstance(thing, library.Client)
        client = thing if own else library.Client(transport=thing, trust_env=False)
        super().__init__(thing, library, connections, client)

    def send(self, order: Send, /) -> Response | Broken:
        """
        Carry `order` out once.

        Raises:
            UsageError: the request cannot be written as HTTP.
            ConfigurationError: the client was made in another process.
        """
        attempt = self._begin(order)
        wanted = self._unasked(attempt, attempt.trace.note)
        if isinstance(wanted, Broken):
            return wanted
        answer: Any = None
        kept = False
        try:
            answer = self._client.send(wanted, stream=True, follow_redirects=False)
            result: Response | Broken | None = attempt.begin(answer)
            if result is None and attempt.opens:
                result = attempt.opened(_Arriving)
                kept = isinstance(result, Response)
            elif result is None and not answer.is_stream_consumed:
                for piece in answer.iter_raw():
                    result = attempt.take(piece)
                    if result is not None:
                        break
                else:
                    result = attempt.end(read_by_hook=False)
            return attempt.end(read_by_hook=True) if result is None else result
        except (self._library.InvalidURL, self._library.UnsupportedProtocol):
            return self._bad_url(attempt)
        except (self._library.TransportError, self._library.DecodingError) as exc:
            failure = exc
        except BodyError as exc:
            failure = attempt.unread(exc)
        finally:
            if answer is not None and not kept:
                answer.close()
        return attempt.failed(failure)

    def close(self) -> None:
        """Nothing: whoever made the client closes it."""


class AsyncBroughtEngine(_Family):
    """Requests over somebody's asynchronous client or transport, which stays open."""

    _awaits = True

    def __init__(self, thing: Any, library: Any, connections: Connections) -> None:
        own = isinstance(thing, library.AsyncClient)
        client = thing if own else library.AsyncClient(transport=thing, trust_env=False)
        super().__init__(thing, library, connections, client)

    async def send(self, order: Send, /) -> Response | Broken:
        """
        Carry `order` out once.

        Raises:
            UsageError: the request cannot be written as HTTP.
            ConfigurationError: the client was made in another process.
        """
        from anyio import move_on_after

        attempt = self._begin(order)
        wanted = self._unasked(attempt, attempt.trace.anote)
        if isinstance(wanted, Broken):
            return wanted
        with move_on_after(order.deadline - monotonic()):
            return await self._send(attempt, wanted)
        return attempt.expired()

    async def _send(self, attempt: _Attempt, wanted: Any) -> Response | Broken:
        answer: Any = None
        kept = False
        try:
            answer = await self._client.send(wanted, stream=True, follow_redirects=False)
            result: Response | Broken | None = attempt.begin(answer)
            if result is None and attempt.opens:
                result = attempt.opened(_AwaitedArriving)
                kept = isinstance(result, Response)
            elif result is None and not answer.is_stream_consumed:
                pieces = answer.aiter_raw()
                async for piece in pieces:
                    result = attempt.take(piece)
                    if result is not None:
                        await pieces.aclose()
                        break
                else:
                    result = attempt.end(read_by_hook=False)
            return attempt.end(read_by_hook=True) if result is None else result
        except (self._library.InvalidURL, self._library.UnsupportedProtocol):
            return self._bad_url(attempt)
        except (self._library.TransportError, self._library.DecodingError) as exc:
            failure = exc
        except BodyError as exc:
            failure = attempt.unread(exc)
        finally:
            if answer is not None and not kept:
                await answer.aclose()
        return attempt.failed(failure)

    async def aclose(self) -> None:
        """Nothing: whoever made the client closes it."""
