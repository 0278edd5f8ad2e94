"""
The default engine: the connection pool of httpx2 (httpcore2), on a network that is watched.

The client of httpx2 is passed by: what it does above its pool (cookies, redirects, decoding,
building URLs) is done elsewhere here or must not be done at all, and costs a third of the time
of a call. Certificates, proxies and their environment are as with `httpx2.Client`.
"""

from __future__ import annotations

import asyncio
import os
from time import monotonic
from typing import TYPE_CHECKING

import httpcore2
import httpx2

from failwell.call.messages import Broken, Phase, Reason, Response
from failwell.engines.arriving import Arriving, AwaitedArriving
from failwell.engines.bodies import BodyError
from failwell.engines.decoding import ACCEPT_ENCODING, Head, UndecodableError, decoded
from failwell.engines.endings import closed_with_loop
from failwell.engines.network import AsyncioNetwork, Network, TrioNetwork
from failwell.engines.orders import METHODS_WITH_BODY, unsendable
from failwell.engines.pools import BadURLError, Pools, forget, has_leftovers
from failwell.engines.wire import LONGEST_SECONDS, Wire, broken
from failwell.errors import ConfigurationError
from failwell.redaction import kept_url

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from failwell.call.messages import Request, Send
    from failwell.engines.base import Connections
    from failwell.engines.pools import Route

    RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

_FAILURES = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
    BodyError,
)
_HTTPX_CLASS: dict[type[Exception], type[httpx2.TransportError]] = {
    httpcore2.ConnectTimeout: httpx2.ConnectTimeout,
    httpcore2.ReadTimeout: httpx2.ReadTimeout,
    httpcore2.WriteTimeout: httpx2.WriteTimeout,
    httpcore2.PoolTimeout: httpx2.PoolTimeout,
    httpcore2.ConnectError: httpx2.ConnectError,
    httpcore2.ReadError: httpx2.ReadError,
    httpcore2.WriteError: httpx2.WriteError,
    httpcore2.ProxyError: httpx2.ProxyError,
    httpcore2.UnsupportedProtocol: httpx2.UnsupportedProtocol,
    httpcore2.RemoteProtocolError: httpx2.RemoteProtocolError,
}
_ACCEPT_ENCODING = ACCEPT_ENCODING.encode()

# Pools of a parent process, or of a loop that was not ended as `asyncio.run` ends one: closing them
# would speak on connections that are not ours, and dropping them would warn. They are few.
_abandoned: list[Any] = []


class _Attempt:
    """
    One attempt of the httpx engines: all of it but the waiting.

    Attributes:
        pool: The pool to ask.
        wanted: What to ask it for.
        opens: Whether the body of the answer is left to be read.
        size: Bytes of body received.
    """

    __slots__ = (
        "_chunks",
        "_connections",
        "_head",
        "_order",
        "_status",
        "headers",
        "opens",
        "pool",
        "size",
        "wanted",
        "wire",
    )

    def __init__(self, order: Send, url: httpcore2.URL, route: Route, limits: Connections, body: Any) -> None:
        request = order.request
        self.wire = wire = Wire(order, route.layer, limits.max_header_bytes)
        self.pool = route.pool
        self.headers: RawHeaders = []
        self._order = order
        self._connections = limits
        self._status = 0
        self.opens = False
        self._chunks: list[bytes] = []
        self.size = 0
        headers = _headers(request, route)
        if headers is None:
            raise unsendable(request)
        pool_seconds = max(0.0, min(order.timeouts.pool, order.deadline - monotonic(), LONGEST_SECONDS))
        self.wanted = httpcore2.Request(
            request.method,
            url,
            headers=headers,
            content=body,
            extensions={"timeout": {"connect": wire, "read": wire, "write": wire, "pool": pool_seconds}},
        )

    def begin(self, response: httpcore2.Response) -> Broken | None:
        """Take the head of an answer; how it breaks at once, if it does."""
        wire, limits = self.wire, self._connections
        self._status = status = response.status
        self.opens = status in self._order.opens
        self.headers = headers = response.headers
        self._head = head = Head(headers)
        wire.answered = True
        if wire.received > limits.max_header_bytes:
            size = sum(len(name) + len(value) + 4 for name, value in headers)
            if size > limits.max_header_bytes:
                return self._broken(Reason.TOO_LARGE, httpx2.RemoteProtocolError(f"headers of {size} bytes"))
        if status == 101:
            return self._broken(
                Reason.NOT_HTTP, httpx2.RemoteProtocolError("an upgrade that was not asked for")
            )
        expected = head.expected
        if self.opens:
            wire.deadline = self._order.until
        elif expected is not None:
            if self._order.request.method == "HEAD" or status in (204, 304):
                head.expected = None
            elif expected > limits.max_body_bytes:
                return self._too_large(f"a body of {expected} bytes")
        return None

    def take(self, chunk: bytes) -> Broken | None:
        """Take a piece of the body."""
        self._chunks.append(chunk)
        self.size += len(chunk)
        if self.size > self._connections.max_body_bytes:
            return self._too_large(f"a body of more than {self._connections.max_body_bytes} bytes")
        return None

    def end(self) -> Response | Broken:
        """The answer, now that its body is whole."""
        chunks = self._chunks
        content = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if self._head.coding is not None:
            try:
                content = decoded(
                    content, self._head.coding.decode("latin-1"), self._connections.max_body_bytes
                )
            except UndecodableError as exc:
                return self.undecodable(exc)
        return Response(self._status, self.headers, content, self._order.request.url)

    def opened(self, pieces: type[_Pieces] | type[_AwaitedPieces], response: httpcore2.Response) -> Any:
        """The answer, whose body is still to be read; how it breaks, if it is of an unknown coding."""
        answer = Response(self._status, self.headers, b"", self._order.request.url)
        try:
            answer.pieces = pieces(self._head, self, response)
        except UndecodableError as exc:
            return self.undecodable(exc)
        return answer

    def undecodable(self, exc: UndecodableError) -> Broken:
        """How it broke, if its content coding is damaged."""
        return self._broken(exc.reason, httpx2.DecodingError(str(exc)))

    def failed(self, exc: Exception) -> Broken:
        """
        How the attempt broke that ended with `exc`, an exception of httpcore.

        Raises:
            UsageError: the request cannot be written as HTTP.
        """
        if isinstance(exc, httpcore2.LocalProtocolError):
            raise unsendable(self._order.request)
        cause = _HTTPX_CLASS.get(type(exc), httpx2.TransportError)(str(exc))
        cause.__cause__ = exc
        return self._broken(self._reason(exc), cause)

    def _reason(self, exc: Exception) -> Reason:
        wire = self.wire
        if isinstance(exc, httpcore2.PoolTimeout):
            clipped = self._order.deadline <= monotonic()
            return Reason.DEADLINE if clipped else Reason.POOL_TIMEOUT
        if isinstance(exc, httpcore2.ProxyError):
            return Reason.PROXY
        if isinstance(exc, httpcore2.UnsupportedProtocol):
            return Reason.BAD_URL
        # h11 gives up on a head that is longer than it stores: 431 is its hint.
        if getattr(exc.__cause__, "error_status_hint", None) == 431:
            return Reason.TOO_LARGE
        return wire.lost()

    def _too_large(self, what: str) -> Broken:
        return self._broken(Reason.TOO_LARGE, httpx2.DecodingError(what))

    def _broken(self, reason: Reason, cause: httpx2.RequestError) -> Broken:
        request = self._order.request
        # What httpx's exceptions carry is the live request; this one has no headers and no body.
        cause.request = httpx2.Request(request.method, kept_url(request.url))
        answered = self.wire.answered
        return broken(
            self.wire,
            reason,
            cause,
            status=self._status,
            raw_headers=self.headers,
            received=self.size,
            expected=self._head.expected if answered else None,
        )


def _headers(request: Request, route: Route) -> RawHeaders | None:
    """The header lines to send; None if a value has a character no header can have."""
    given = request.headers
    headers = [(b"host", route.host_header)]
    try:
        for name, value in given.items():
            headers.append((name.encode("ascii"), value.encode("latin-1")))
    except UnicodeEncodeError:
        return None
    if "accept-encoding" not in given:
        headers.append((b"accept-encoding", _ACCEPT_ENCODING))
    content = request.content
    if content is not None:
        size = len(content) if isinstance(content, bytes) else content.size
        if size is None:
            headers.append((b"transfer-encoding", b"chunked"))
        else:
            headers.append((b"content-length", b"%d" % size))
    elif request.method in METHODS_WITH_BODY:
        headers.append((b"content-length", b"0"))
    if route.authorization is not None and "authorization" not in given:
        headers.append((b"authorization", route.authorization))
    return headers


def bad_url(url: str) -> Broken:
    """The attempt at a URL that no request can be sent to."""
    text = f"{kept_url(url)!r} is not a URL of http or https"
    return Broken(Phase.NOT_SENT, Reason.BAD_URL, httpx2.UnsupportedProtocol(text))


class _Pieces(Arriving):
    """The body of an answer, read as it comes from its connection."""

    def __init__(self, head: Head, attempt: _Attempt, response: httpcore2.Response) -> None:
        super().__init__(head)
        self._attempt = attempt
        self._response = response
        self._chunks: Any = iter(response.stream)  # type: ignore[arg-type]  # it is both kinds

    def _next(self) -> bytes | Broken:
        attempt = self._attempt
        try:
            for chunk in self._chunks:
                attempt.size += len(chunk)
                return chunk  # type: ignore[no-any-return]  # httpcore says Any where it is both kinds
        except _FAILURES as exc:
            return attempt.failed(exc)
        stream = self._response.extensions["network_stream"]
        if has_leftovers(attempt.pool, stream):
            stream.spoil()
        return b""

    def _refused(self, exc: UndecodableError) -> Broken:
        return self._attempt.undecodable(exc)

    def _let_go(self) -> None:
        self._chunks.close()
        self._response.close()

    def _interrupted(self) -> None:
        try:
            self.close()
        finally:
            forget(self._attempt.pool, self._attempt.wanted)


class _AwaitedPieces(AwaitedArriving):
    """As `_Pieces`."""

    def __init__(self, head: Head, attempt: _Attempt, response: httpcore2.Response) -> None:
        super().__init__(head)
        self._attempt = attempt
        self._response = response
        self._chunks: Any = aiter(response.stream)  # type: ignore[arg-type]  # it is both kinds

    async def _next(self) -> bytes | Broken:
        attempt = self._attempt
        try:
            async for chunk in self._chunks:
                attempt.size += len(chunk)
                return chunk  # type: ignore[no-any-return]  # as above
        except _FAILURES as exc:
            return attempt.failed(exc)
        stream = self._response.extensions["network_stream"]
        if has_leftovers(attempt.pool, stream):
            stream.spoil()
        return b""

    def _refused(self, exc: UndecodableError) -> Broken:
        return self._attempt.undecodable(exc)

    async def _let_go(self) -> None:
        # trio warns of a generator that is left to the garbage collector.
        try:
            await self._chunks.aclose()
        finally:
            await self._response.aclose()


class HttpxEngine:
    """
    The default engine, blocking. Threads may share it.

    Args:
        connections: How to connect.
    """

    name = "httpx"

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._open()

    def _open(self) -> None:
        self._pid = os.getpid()
        self._pools = Pools(self._connections, Network(), awaited=False)

    def send(self, order: Send, /) -> Response | Broken:
        """
        Carry `order` out once.

        Raises:
            UsageError: the request cannot be written as HTTP.
            ConfigurationError: its proxy or the certificates cannot be used.
        """
        if os.getpid() != self._pid:
            _abandoned.append(self._pools)
            self._open()
        try:
            url, route = self._pools.find(order.request.url)
        except BadURLError:
            return bad_url(order.request.url)
        attempt = _Attempt(order, url, route, self._connections, order.request.content)
        try:
            return self._carry_out(attempt)
        except BaseException:
            forget(attempt.pool, attempt.wanted)
            raise

    def _carry_out(self, attempt: _Attempt) -> Response | Broken:
        try:
            response = attempt.pool.handle_request(attempt.wanted)
        except _FAILURES as exc:
            failure: Exception = exc
        else:
            kept = False
            try:
                result: Response | Broken | None = attempt.begin(response)
                if result is None and attempt.opens:
                    result = attempt.opened(_Pieces, response)
                    kept = type(result) is Response
                elif result is None:
                    for chunk in response.stream:
                        result = attempt.take(chunk)
                        if result is not None:
                            break
                    else:
                        stream = response.extensions["network_stream"]
                        if has_leftovers(attempt.pool, stream):
                            stream.spoil()
                return attempt.end() if result is None else result
            except _FAILURES as exc:
                failure = exc
            finally:
                # Gives the connection back to the pool, or closes it if its answer was not read whole.
                if not kept:
                    response.close()
        return attempt.failed(failure)

    def close(self) -> None:
        """Close every connection."""
        if os.getpid() == self._pid:
            for pool in self._pools.all():
                pool.close()


class AsyncHttpxEngine:
    """
    The default engine, awaiting, under asyncio and trio.

    Its connections belong to the event loop they were made in. In another loop, and in a forked
    process, it begins with fresh ones.

    Args:
        connections: How to connect.
    """

    name = "httpx"

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._pid = os.getpid()
        self._loop: Any = None
        self._pools: Pools | None = None
        self._keeper: Any = None

    def _open(self) -> Pools:
        """The pools of this loop and this process."""
        try:
            loop: Any = asyncio.get_running_loop()
        except RuntimeError:
            loop = _trio_token()
        if self._pools is None or loop is not self._loop or os.getpid() != self._pid:
            self._abandon()
            network = AsyncioNetwork() if isinstance(loop, asyncio.AbstractEventLoop) else TrioNetwork()
            self._loop = loop
            self._pid = os.getpid()
            self._pools = Pools(self._connections, network, awaited=True)
            self._keeper = closed_with_loop(self._pools.aclose)
        return self._pools

    def _abandon(self) -> None:
        """Let go of the pools of another loop or process, if they were not closed with it."""
        _abandoned[:] = [each for each in _abandoned if type(each) is Pools or not each[0].closed]
        if self._pools is not None and not self._pools.closed:
            _abandoned.append((self._pools, self._keeper))
        self._pools = self._keeper = None

    async def send(self, order: Send, /) -> Response | Broken:
        """
        Carry `order` out once.

        Raises:
            UsageError: the request cannot be written as HTTP.
            ConfigurationError: its proxy or the certificates cannot be used.
        """
        pools = self._open()
        try:
            url, route = pools.find(order.request.url)
        except BadURLError:
            return bad_url(order.request.url)
        content = order.request.content
        body = content if content is None or isinstance(content, bytes) else content.awaited
        attempt = _Attempt(order, url, route, self._connections, body)
        try:
            response = await attempt.pool.handle_async_request(attempt.wanted)
        except _FAILURES as exc:
            failure: Exception = exc
        else:
            kept = False
            try:
                result: Response | Broken | None = attempt.begin(response)
                if result is None and attempt.opens:
                    result = attempt.opened(_AwaitedPieces, response)
                    kept = type(result) is Response
                elif result is None:
                    chunks: Any = aiter(response.stream)
                    async for chunk in chunks:
                        result = attempt.take(chunk)
                        if result is not None:
                            # trio warns of a generator that is left to the garbage collector.
                            await chunks.aclose()
                            break
                    else:
                        stream = response.extensions["network_stream"]
                        if has_leftovers(attempt.pool, stream):
                            stream.spoil()
                return attempt.end() if result is None else result
            except _FAILURES as exc:
                failure = exc
            finally:
                if not kept:
                    await response.aclose()
        return attempt.failed(failure)

    async def aclose(self) -> None:
        """Close every connection."""
        if self._pools is None or os.getpid() != self._pid:
            self._abandon()
            return
        try:
            loop: Any = asyncio.get_running_loop()
        except RuntimeError:
            loop = _trio_token()
        if loop is not self._loop:
            self._abandon()
            return
        keeper = self._keeper
        self._pools = self._keeper = None
        await keeper.aclose()


def _trio_token() -> Any:
    """What identifies the run of trio we are in."""
    try:
        import trio
    except ImportError:
        raise ConfigurationError("An AsyncClient has to be used inside a running event loop.") from None
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        raise ConfigurationError(
            "An AsyncClient has to be used inside a running event loop: of asyncio or of trio."
        ) from None
