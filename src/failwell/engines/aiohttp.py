"""
The aiohttp engine: the fastest under asyncio that fork, Ctrl-C and cancellation cannot hurt.

aiohttp repeats idempotent requests by itself when a connection ends without an answer, and has
no public switch for that; `_retry_connection` is turned off here, and an aiohttp without it is
refused. How far an attempt came is watched at the connection: `_Connector` notes that one was
made, `_Watch` which bytes it brought.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from contextlib import aclosing
from contextvars import ContextVar
from io import BytesIO
from time import monotonic
from typing import TYPE_CHECKING

import aiohttp
import httpx2
from aiohttp import http_exceptions
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from failwell.call.messages import Broken, Phase, Reason, Response
from failwell.engines.arriving import AwaitedArriving
from failwell.engines.deadlines import Deadlines
from failwell.engines.decoding import ACCEPT_ENCODING, Head, UndecodableError, decoded
from failwell.engines.endings import closed_with_loop, hear_to_the_end, let_go, unread
from failwell.engines.orders import unsendable
from failwell.engines.pools import tls_context, usable_proxy
from failwell.engines.routes import proxy_for
from failwell.engines.wire import chain, ended_early, reason_of_connect, without_frames
from failwell.errors import ConfigurationError
from failwell.redaction import kept_url

if TYPE_CHECKING:
    import ssl
    from typing import Any, TypeAlias

    from aiohttp.abc import AbstractStreamWriter

    from failwell.call.messages import Request, Send, Streamed, Timeouts
    from failwell.engines.base import Connections

    RawHeaders: TypeAlias = tuple[tuple[bytes, bytes], ...]

# aiohttp fills these in if they are missing; what is sent is decided by the caller.
_FILLED_IN = ("Accept", "Content-Type", "User-Agent")
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
# Larger bodies are wrapped: aiohttp warns of large bytes.
_PLAIN_BODY_BYTES = 1024 * 1024
_MOST_URLS = 1024

_abandoned: list[Any] = []


class _Watch:
    """
    What one attempt saw of its connection.

    Attributes:
        connected: Whether there was a connection to send on; what follows may have been sent.
        received: Bytes of answer received.
        first: The first piece of them.
        ears: What hears them.
        transport: What carries them: of the socket. TLS that aiohttp has closed twice cannot be
            aborted, and goes on sending.
        pieces: The body of the request, if it is sent in pieces.
        reader: What the body is read from, once there is one.
        broke: What aiohttp's parser found wrong.
    """

    __slots__ = ("broke", "connected", "ears", "first", "pieces", "reader", "received", "transport")

    def __init__(self) -> None:
        self.connected = False
        self.ears: _Ears | None = None
        self.transport: asyncio.Transport | None = None
        self.pieces: _Pieces | None = None
        self.reader: aiohttp.StreamReader | None = None
        self.broke: BaseException | None = None
        self.received = 0
        self.first = b""

    def whole(self) -> None:
        """The answer is here whole: aiohttp has taken the connection back."""
        if self.pieces is not None and not self.pieces.sent and self.transport is not None:
            # An answer that came early. aiohttp closes, which would go on sending for as long as it takes.
            self.transport.abort()
        self.transport = None


_watch: ContextVar[_Watch] = ContextVar("failwell_aiohttp_watch")


class _Ears(asyncio.Protocol):
    """
    Stands between a connection and aiohttp's protocol, and tells the attempt under way what comes.

    Args:
        protocol: aiohttp's.
        transport: What it writes to.

    Attributes:
        stray: Whether something came between two requests: of an answer nobody asked for.
        socket: The transport of the socket, which is below TLS, if there is TLS.
        tls: Whether there is.
    """

    __slots__ = ("protocol", "socket", "stray", "tls", "watch")

    def __init__(self, protocol: Any, transport: Any) -> None:
        self.protocol = protocol
        # Nothing public leads below TLS.
        below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
        self.socket: asyncio.Transport = transport
        self.tls = False
        if isinstance(below, asyncio.Transport):
            self.socket, self.tls = below, True
            hear_to_the_end(below)
        self.watch: _Watch | None = None
        self.stray = False

    def data_received(self, data: bytes) -> None:
        watch = self.watch
        if watch is None:
            self.stray = True
            self.protocol.data_received(data)
            return
        if not watch.received:
            watch.first = data
        watch.received += len(data)
        self.protocol.data_received(data)
        broke = self.protocol.exception()
        if broke is not None:
            watch.broke = broke
            # aiohttp tells whoever waits for a head of garbage in the chunks of a body; whoever
            # reads that body would wait until the deadline.
            if watch.reader is not None:
                watch.reader.set_exception(_damaged(broke))

    def eof_received(self) -> bool | None:
        ends: bool | None = self.protocol.eof_received()
        return ends

    def connection_lost(self, exc: BaseException | None) -> None:
        watch = self.watch
        if exc is not None and watch is not None and watch.transport is not None and not self.tls:
            left = unread(watch.transport)
            if left:
                self.data_received(left)
        self.protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        self.protocol.resume_writing()


class _Connector(aiohttp.TCPConnector):
    """Notes for the attempt under way that a connection was made, and what comes over it."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Any:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol: Any = connection.protocol
            transport = protocol.transport
            ears = transport.get_protocol()
            if type(ears) is not _Ears:
                ears = _Ears(protocol, transport)
                transport.set_protocol(ears)
            # aiohttp looks at this when a connection comes back, not when it is taken again.
            elif ears.stray or protocol.should_close:
                connection.close()
                continue
            ears.watch = watch = _watch.get()
            watch.connected = True
            watch.ears = ears
            watch.transport = ears.socket
            return connection


class _Way:
    """
    How to reach one origin: what is told to aiohttp about it.

    Attributes:
        proxy: The proxy's URL without its user info.
        proxy_headers: Headers for the proxy that opens a tunnel.
        forward_headers: Headers for the proxy that forwards a request, which go with the request.
        ssl: How certificates are checked.
    """

    __slots__ = ("forward_headers", "proxy", "proxy_headers", "ssl")

    def __init__(self, proxy: str | None, tls: bool, context: ssl.SSLContext | bool) -> None:
        self.proxy: str | None = None
        self.proxy_headers: dict[str, str] | None = None
        self.forward_headers: dict[str, str] | None = None
        self.ssl = context
        if proxy is not None:
            found = usable_proxy(proxy)
            if found.url.scheme.startswith("socks"):
                raise ConfigurationError("aiohttp knows no SOCKS proxies: use the engine 'httpx'.")
            self.proxy = str(found.url)
            if found.raw_auth is not None:
                basic = {"Proxy-Authorization": f"Basic {b64encode(b':'.join(found.raw_auth)).decode()}"}
                if tls:
                    self.proxy_headers = basic
                else:
                    self.forward_headers = basic


class AiohttpEngine:
    """
    Requests over aiohttp. Under asyncio only.

    Its connections belong to the event loop they were made in. In another loop, and in a forked
    process, it begins with fresh ones. `Timeouts.write` is not told apart from the deadline, and
    `Connections.max_idle` does not count: idle connections end after `idle_seconds`.

    Args:
        connections: How to connect.
    """

    name = "aiohttp"

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._keeper: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._free: asyncio.Semaphore
        self._deadlines: Deadlines
        self._ways: dict[URL, _Way] = {}
        self._found: dict[str, tuple[URL, _Way]] = {}
        self._timeouts: dict[tuple[float, float | None], aiohttp.ClientTimeout] = {}
        self._context: ssl.SSLContext | None = None

    async def send(self, order: Send, /) -> Response | Broken:
        """
        Carry `order` out once.

        Raises:
            UsageError: the request cannot be written as HTTP.
            ConfigurationError: its proxy or the certificates cannot be used, or no asyncio runs.
        """
        session = self._open()
        request = order.request
        try:
            url, way = self._found.get(request.url) or self._find(request.url)
        except _BadURLError:
            return _bad_url(request)
        watch = _Watch()
        data = _body(request.content)
        if isinstance(data, _Pieces):
            watch.pieces = data
        free = self._free
        if free.locked():
            refused = await self._wait_for(free, order)
            if refused is not None:
                return refused
        else:
            await free.acquire()  # does not wait
        token = _watch.set(watch)
        kept = False
        answer: aiohttp.ClientResponse | None = None
        failure: Exception | None = None
        left = order.deadline - monotonic()
        try:
            with self._deadlines.until(left):
                answer = await session.request(
                    request.method,
                    url,
                    data=data,
                    headers=_headers(request, way),
                    skip_auto_headers=_skipped(request),
                    allow_redirects=False,
                    proxy=way.proxy,
                    proxy_headers=way.proxy_headers,
                    ssl=way.ssl,
                    timeout=self._timeout(order.timeouts, left),
                )
                if answer.status in order.opens:
                    response = self._opened(answer, order, watch)
                    kept = True
                    return response
                response = await self._take(answer, request, watch)
            watch.whole()
            return response
        except (aiohttp.ClientError, TimeoutError) as exc:
            failure = exc
        except ValueError as exc:
            # aiohttp's word for a line break inside a header, unless no header was written yet: then
            # it is a host with a label that is empty or too long. Its own text is not repeated.
            if isinstance(exc, UnicodeError) and not watch.connected:
                return Broken(Phase.NOT_SENT, Reason.DNS, aiohttp.ClientConnectionError("not a host name"))
            failure = None
        finally:
            _watch.reset(token)
            if not kept:
                _end(free, watch, answer)
        if failure is None:
            raise unsendable(request)
        return _broken(failure, order, watch, answer)

    async def _wait_for(self, free: asyncio.Semaphore, order: Send) -> Broken | None:
        """Take a free connection as soon as there is one."""
        seconds = min(order.timeouts.pool, order.deadline - monotonic())
        try:
            async with asyncio.timeout(seconds):
                await free.acquire()
        except TimeoutError:
            reason = Reason.DEADLINE if order.deadline <= monotonic() else Reason.POOL_TIMEOUT
            return Broken(Phase.NOT_SENT, reason, aiohttp.ConnectionTimeoutError("no free connection"))
        return None

    def _opened(self, answer: aiohttp.ClientResponse, order: Send, watch: _Watch) -> Response:
        """The answer, with its body still to be read; a `_RefusedError` says why it is not taken."""
        head = self._begin(answer, watch)
        response = Response(answer.status, answer.raw_headers, b"", order.request.url)
        try:
            response.pieces = _Arriving(head, order, answer, watch, self._deadlines, self._free)
        except UndecodableError as exc:
            raise _RefusedError(exc.reason, str(exc)) from None
        return response

    def _begin(self, answer: aiohttp.ClientResponse, watch: _Watch) -> Head:
        """Take the head; a `_RefusedError` says why it is not taken."""
        limits = self._connections
        headers = answer.raw_headers
        if watch.received > limits.max_header_bytes:
            size = sum(len(name) + len(value) + 4 for name, value in headers)
            if size > limits.max_header_bytes:
                raise _RefusedError(Reason.TOO_LARGE, f"headers of {size} bytes")
        if answer.status == 101:
            raise _RefusedError(Reason.NOT_HTTP, "an upgrade that was not asked for")
        return Head(headers)

    async def _take(self, answer: aiohttp.ClientResponse, request: Request, watch: _Watch) -> Response:
        """Read the body; a `_RefusedError` says why it is not taken."""
        limits = self._connections
        head = self._begin(answer, watch)
        expected = head.expected
        if expected is not None and expected > limits.max_body_bytes and not _bodiless(request, answer):
            raise _RefusedError(Reason.TOO_LARGE, f"a body of {expected} bytes")
        watch.reader = reader = answer.content
        if watch.broke is not None:
            raise _damaged(watch.broke)
        content = await reader.readany()
        if not reader.at_eof():
            pieces = [content]
            size = len(content)
            while size <= limits.max_body_bytes:
                piece = await reader.readany()
                if not piece:
                    break
                pieces.append(piece)
                size += len(piece)
            content = b"".join(pieces)
        if len(content) > limits.max_body_bytes:
            raise _RefusedError(Reason.TOO_LARGE, f"a body of more than {limits.max_body_bytes} bytes")
        if head.coding is not None:
            try:
                content = decoded(content, head.coding.decode("latin-1"), limits.max_body_bytes)
            except UndecodableError as exc:
                raise _RefusedError(exc.reason, str(exc)) from None
        return Response(answer.status, answer.raw_headers, content, request.url)

    def _timeout(self, timeouts: Timeouts, left: float) -> aiohttp.ClientTimeout:
        """`timeouts` as aiohttp takes them; the deadline in `left` seconds is kept apart."""
        # aiohttp sets its read timer anew with every piece, which costs more than all we do; a
        # deadline that comes first makes it needless.
        key = (timeouts.connect, None if left <= timeouts.read else timeouts.read)
        found = self._timeouts.get(key)
        if found is None:
            found = aiohttp.ClientTimeout(None, *key, None, _NEVER_ROUNDED)
            if len(self._timeouts) >= _MOST_URLS:
                self._timeouts.clear()
            self._timeouts[key] = found
        return found

    def _open(self) -> aiohttp.ClientSession:
        """The session of this loop and this process."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(
                "The engine 'aiohttp' has to be used inside a running asyncio event loop; "
                "under trio use 'httpx'."
            ) from None
        if self._session is not None and loop is self._loop and os.getpid() == self._pid:
            return self._session
        self._abandon()
        limits = self._connections
        session = aiohttp.ClientSession(
            connector=_Connector(limit=0, keepalive_timeout=limits.idle_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,  # `proxy_for` reads the environment; aiohttp would read ~/.netrc too
            max_line_size=limits.max_header_bytes,
            max_field_size=limits.max_header_bytes,
            # A header line has four bytes at least.
            max_headers=max(128, limits.max_header_bytes // 4),
        )
        _never_replay(session)
        self._free = asyncio.Semaphore(limits.max_connections)
        self._deadlines = Deadlines(loop)
        self._session, self._loop, self._pid = session, loop, os.getpid()
        self._keeper = closed_with_loop(session.close)
        return session

    def _abandon(self) -> None:
        """Let go of the session of another loop or process, if it was not closed with it."""
        _abandoned[:] = [each for each in _abandoned if not each[0].closed]
        if self._session is not None and not self._session.closed:
            # Closing it would speak on connections that are not ours; dropping it would warn.
            _abandoned.append((self._session, self._keeper))
        self._session = self._keeper = None

    def _find(self, text: str) -> tuple[URL, _Way]:
        """The URL as aiohttp takes it, and the way to it."""
        try:
            url = URL(text)
            origin = url.origin()
            if origin.scheme not in ("http", "https"):
                raise _BadURLError
            way = self._ways.get(origin)
            if way is None:
                proxy = proxy_for(httpx2.URL(str(origin)), self._connections)
                tls = origin.scheme == "https"
                checked = tls or (proxy or "").lower().startswith("https:")
                way = _Way(proxy, tls, self._tls_context() if checked else True)
                if len(self._ways) >= _MOST_URLS:
                    self._ways.clear()
                self._ways[origin] = way
        except ConfigurationError:
            raise
        except (ValueError, httpx2.InvalidURL):
            raise _BadURLError from None
        if len(self._found) >= _MOST_URLS:
            self._found.clear()
        self._found[text] = url, way
        return url, way

    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = tls_context(self._connections)
        return self._context

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is None:
            return
        if os.getpid() != self._pid or asyncio.get_running_loop() is not self._loop:
            self._abandon()
            return
        keeper = self._keeper
        self._session = self._keeper = None
        await keeper.aclose()
        self._deadlines.close()


class _Arriving(AwaitedArriving):
    """
    The body of an answer, read as it comes.

    Args:
        head: What the head of the answer says about it.
        order: What was sent.
        answer: As aiohttp has it.
        watch: What the attempt saw of its connection.
        deadlines: Those of the loop.
        free: Where the place of the connection is given back.
    """

    def __init__(
        self,
        head: Head,
        order: Send,
        answer: aiohttp.ClientResponse,
        watch: _Watch,
        deadlines: Deadlines,
        free: asyncio.Semaphore,
    ) -> None:
        super().__init__(head)
        self._order = order
        self._answer = answer
        self._watch = watch
        self._deadlines = deadlines
        self._free = free
        watch.reader = answer.content
        protocol = None if answer.connection is None else answer.connection.protocol
        if protocol is not None:
            # aiohttp's timer would go on while nobody reads.
            protocol.read_timeout = None
            protocol.start_timeout()
        answer.content.on_eof(self._ended)

    def _ended(self) -> None:
        """The body is here whole: aiohttp has taken the connection back."""
        watch = self._watch
        watch.whole()
        if watch.ears is not None and watch.ears.watch is watch:
            watch.ears.watch = None

    async def _next(self) -> bytes | Broken:
        order, reader = self._order, self._answer.content
        left = order.until - monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            broke = reader.exception() or self._watch.broke
            if broke is not None and (data := _unread(reader)):
                return data
            if self._watch.broke is not None:
                raise _damaged(self._watch.broke)
            with self._deadlines.until(min(left, order.timeouts.read)):
                return await reader.readany()
        except (aiohttp.ClientError, TimeoutError) as exc:
            failure: Exception = exc
        if isinstance(failure, TimeoutError) and left > order.timeouts.read:
            failure = aiohttp.SocketTimeoutError("no byte in the time allowed")
        return _broken(failure, order, self._watch, self._answer)

    def _refused(self, exc: UndecodableError) -> Broken:
        return _broken(_RefusedError(exc.reason, str(exc)), self._order, self._watch, self._answer)

    async def _let_go(self) -> None:
        _end(self._free, self._watch, self._answer)


def _unread(reader: aiohttp.StreamReader) -> bytes:
    """
    What came of a body before it broke.

    aiohttp raises first, and hands that over never. By a name it calls private; without it, those
    bytes are lost, and asked for again by whoever can.
    """
    take = getattr(reader, "_read_nowait", None)
    return bytes(take(-1)) if take is not None else b""


def _end(free: asyncio.Semaphore, watch: _Watch, answer: aiohttp.ClientResponse | None) -> None:
    """Give back what an attempt has: its place, and its connection if nothing is left on it."""
    free.release()
    if watch.ears is not None and watch.ears.watch is watch:
        watch.ears.watch = None
        if watch.transport is not None and not let_go(watch.transport):
            # Closing would go on sending what is left of a large request.
            watch.transport.abort()
    if answer is not None and watch.transport is not None:
        answer.close()


# aiohttp rounds waits above this many seconds up to whole seconds of the clock.
_NEVER_ROUNDED = float("inf")


def _never_replay(session: Any) -> None:
    """
    Turn aiohttp's own repetition of idempotent requests off.

    Raises:
        ConfigurationError: this aiohttp has another switch for it.
    """
    if not hasattr(session, "_retry_connection"):
        raise ConfigurationError(
            f"aiohttp {aiohttp.__version__} repeats requests in a way this version of failwell cannot "
            "turn off: use the engine 'httpx'."
        )
    session._retry_connection = False


class _BadURLError(Exception):
    """A URL that no request can be sent to."""


class _RefusedError(aiohttp.ClientPayloadError):
    """An answer that we do not take, and why."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def _damaged(broke: BaseException) -> aiohttp.ClientPayloadError:
    exc = aiohttp.ClientPayloadError(f"Response payload is damaged: {broke}")
    exc.__cause__ = broke
    return exc


def _bodiless(request: Request, answer: aiohttp.ClientResponse) -> bool:
    """Whether no body follows, whatever length is announced. RFC 9112, section 6.3."""
    return request.method == "HEAD" or answer.status in (204, 304)


def _body(content: bytes | Streamed | None) -> Any:
    if content is None:
        return None
    if not isinstance(content, bytes):
        return _Pieces(content)
    return BytesIO(content) if len(content) > _PLAIN_BODY_BYTES else content


class _Pieces(aiohttp.Payload):
    """
    A body that is sent in pieces, as aiohttp takes it.

    Attributes:
        sent: Whether all of it was.
    """

    _autoclose = True  # whoever gave it closes it

    def __init__(self, body: Streamed) -> None:
        super().__init__(body.awaited)  # of this try, whenever they are asked for
        self._size = body.size
        self.sent = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("what is sent in pieces is not kept")

    async def write(self, writer: AbstractStreamWriter) -> None:
        async with aclosing(aiter(self._value)) as pieces:
            async for piece in pieces:
                try:
                    await writer.write(piece)
                except OSError:
                    # The loop's turn to say that the connection is lost, and what had come over it;
                    # what aiohttp makes of this error would stand before it.
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                    raise
        self.sent = True

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        await self.write(writer)


def _skipped(request: Request) -> tuple[str, ...] | None:
    """What aiohttp must not fill in. To be told costs it time, so it is told only if it would."""
    headers = request.headers
    typed = "content-type" in headers or (request.content is None and request.method in _BODILESS)
    return None if typed and "accept" in headers and "user-agent" in headers else _FILLED_IN


def _headers(request: Request, way: _Way) -> dict[str, str]:
    headers = request.headers
    if "accept-encoding" not in headers:
        headers = {**headers, "accept-encoding": ACCEPT_ENCODING}
    return headers if way.forward_headers is None else {**headers, **way.forward_headers}


def _bad_url(request: Request) -> Broken:
    return Broken(Phase.NOT_SENT, Reason.BAD_URL, aiohttp.InvalidURL(kept_url(request.url)))


def _broken(exc: Exception, order: Send, watch: _Watch, answer: aiohttp.ClientResponse | None) -> Broken:
    if isinstance(exc, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        return _bad_url(order.request)
    cause = without_frames(_without_secrets(exc, order.request))
    if answer is None:
        phase = Phase.SENT if watch.connected else Phase.NOT_SENT
        return Broken(phase, _reason(exc, order, watch), cause)
    if isinstance(exc, _RefusedError):
        reason = exc.reason
    elif isinstance(exc, TimeoutError):
        reason = Reason.READ_TIMEOUT if isinstance(exc, aiohttp.SocketTimeoutError) else Reason.DEADLINE
    else:
        reason = Reason.NOT_HTTP if _is_garbage(exc) else Reason.CUT
    expected = None if _bodiless(order.request, answer) else Head(answer.raw_headers).expected
    return Broken(
        Phase.ANSWERED,
        reason,
        cause,
        answer.status,
        answer.raw_headers,
        answer.content.total_bytes,
        expected,
    )


def _reason(exc: Exception, order: Send, watch: _Watch) -> Reason:
    """Why no status was read."""
    if isinstance(exc, TimeoutError):
        if isinstance(exc, aiohttp.SocketTimeoutError):
            return Reason.READ_TIMEOUT
        return Reason.CONNECT_TIMEOUT if isinstance(exc, aiohttp.ConnectionTimeoutError) else Reason.DEADLINE
    if not watch.connected:
        if isinstance(exc, aiohttp.ClientHttpProxyError):
            return Reason.PROXY
        return reason_of_connect(exc, tls=order.request.url[:6].lower() == "https:")
    if isinstance(exc, aiohttp.ClientResponseError):
        too_large = any(
            isinstance(each, http_exceptions.LineTooLong) or "Too many headers" in str(each)
            for each in chain(exc)
            if isinstance(each, http_exceptions.HttpProcessingError)
        )
        return Reason.TOO_LARGE if too_large else Reason.NOT_HTTP
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return ended_early(watch.first, Reason.CLOSED)
    return ended_early(watch.first, Reason.RESET)


def _is_garbage(exc: Exception) -> bool:
    """Whether a body broke because it was spelled wrong, not because it ended early."""
    return any(
        isinstance(each, http_exceptions.HttpProcessingError)
        and not isinstance(each, (http_exceptions.TransferEncodingError, http_exceptions.ContentLengthError))
        for each in chain(exc)
    )


def _without_secrets(exc: Exception, request: Request) -> Exception:
    """`exc` without the headers and the proxy's password that aiohttp's exceptions carry."""
    for each in chain(exc):
        if isinstance(each, aiohttp.ClientResponseError):
            url = URL(kept_url(request.url))
            none: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
            each.request_info = aiohttp.RequestInfo(url, request.method, none, url)
            each.args = (each.request_info, ())
            each.history = ()
            each.headers = None
        elif isinstance(each, aiohttp.ClientConnectorError):
            key = each.args[0]._replace(proxy=None, proxy_auth=None, proxy_headers_hash=None)
            each.args = (key, *each.args[1:])
            each._conn_key = key
    return exc
