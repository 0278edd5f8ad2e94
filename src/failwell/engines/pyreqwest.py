"""
The pyreqwest engine: Rust's reqwest; the fastest, blocking and under asyncio. Opt in.

Its exception classes guess: a connection that ended after the request was sent is a
`ConnectError` there, like a refused one. What it says in `details["causes"]` is exact, so an
attempt is classified by those texts, in `_reason_of` and `_phase_of`.

What it cannot promise is listed in docs/engines.md. Two dangers are turned into clear errors
here: a client made before a fork would hang for ever in the child, and is refused; and its
exceptions have to be imported before the first request, or Ctrl-C would abort the process.
"""

from __future__ import annotations

import asyncio
import atexit
import os
from dataclasses import replace
from datetime import timedelta
from time import monotonic, sleep
from typing import TYPE_CHECKING
from urllib.request import getproxies

import httpx2
from anyio.lowlevel import checkpoint_if_cancelled
from pyreqwest import exceptions
from pyreqwest.client import ClientBuilder, SyncClientBuilder
from pyreqwest.proxy import ProxyBuilder

from failwell.call.messages import Broken, Phase, Reason, Response
from failwell.engines.arriving import Arriving, AwaitedArriving
from failwell.engines.bodies import BodyError
from failwell.engines.decoding import ACCEPT_ENCODING, Head, UndecodableError, decoded
from failwell.engines.orders import METHODS_WITH_BODY, unsendable
from failwell.engines.pools import usable_proxy
from failwell.engines.routes import proxy_for
from failwell.engines.wire import LONGEST_SECONDS, without_frames
from failwell.errors import ConfigurationError
from failwell.redaction import kept_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from typing import Any, Self

    from failwell.call.messages import Request, Send, Streamed, Timeouts
    from failwell.engines.base import Connections

# A client has its timeouts built in: one is kept for each combination that is asked for.
_MOST_CLIENTS = 32
_MOST_ORIGINS = 1024
_COPIED_BODY_BYTES = 64 * 1024
# What may pass between the end of a wait in Rust and the look at the clock here.
_CLOCK_SECONDS = 0.02

_AFTER_FORK = (
    "pyreqwest was used in this process before os.fork(), and cannot be used in the child. Use the engine "
    "'httpx', or start workers with the method 'spawn' or 'forkserver'."
)
_CONNECT = "client error (Connect)"
_DECODING = "error decoding response body"
_HANDSHAKE_ENDED = "tls handshake eof"
# The beginning of the last cause, and what it means.
_CONNECT_REASONS = (
    ("Connection refused", Reason.REFUSED),
    ("invalid peer certificate", Reason.TLS_UNTRUSTED),
    ("Network is unreachable", Reason.UNREACHABLE),
    ("No route to host", Reason.UNREACHABLE),
    ("Cannot assign requested address", Reason.UNREACHABLE),
    ("unsuccessful tunnel", Reason.PROXY),
    ("proxy authorization required", Reason.PROXY),
    ("tunnel error", Reason.PROXY),
)
_CUT_SHORT = (
    "end of file",
    "unexpected EOF",
    "Connection reset",
    "Broken pipe",
    "unexpected end of file",
    "peer closed connection without sending TLS close_notify",
)


class _Family:
    """
    What the sync and the async engine have in common.

    Args:
        connections: How to connect. `verify` may be True or False; `idle_seconds` and
            `max_connections` count; `max_header_bytes` does not, hyper has a ceiling of its own.

    Raises:
        ConfigurationError: `verify` is a context of Python's, which Rust cannot use.
    """

    name = "pyreqwest"
    _builder: Any
    _awaits: bool

    def __init__(self, connections: Connections) -> None:
        if not isinstance(connections.verify, bool):
            raise ConfigurationError(
                "The engine 'pyreqwest' takes no ssl.SSLContext: name your certificates in SSL_CERT_FILE, "
                "or use the engine 'httpx'."
            )
        self._connections = connections
        self._pid = os.getpid()
        self._clients: dict[tuple[float, float, float, str | None], Any] = {}
        self._fixed_proxy = connections.proxy
        self._same_proxy = connections.proxy is not None or not (connections.trust_env and getproxies())
        self._proxies: dict[str, str | None] = {}

    def _client(self, order: Send) -> Any:
        """The client for the timeouts and the proxy of `order`."""
        if os.getpid() != self._pid:
            raise ConfigurationError(_AFTER_FORK)
        timeouts = order.timeouts
        proxy = self._fixed_proxy if self._same_proxy else self._proxy(order.request.url)
        key = (timeouts.connect, timeouts.read, timeouts.pool, proxy)
        found = self._clients.get(key)
        if found is None:
            if len(self._clients) >= _MOST_CLIENTS:
                self._clients.pop(next(iter(self._clients)))
            self._clients[key] = found = self._new_client(timeouts, proxy)
        return found

    def _new_client(self, timeouts: Timeouts, proxy: str | None) -> Any:
        limits = self._connections
        builder = (
            self._builder()
            .no_proxy()
            .default_headers({"accept-encoding": ACCEPT_ENCODING})
            .follow_redirects(False)
            .referer(False)
            .gzip(False)
            .deflate(False)
            .brotli(False)
            .zstd(False)
            .connect_timeout(_span(timeouts.connect))
            .read_timeout(_span(timeouts.read))
            .pool_timeout(_span(timeouts.pool))
            .max_connections(limits.max_connections)
            .pool_max_idle_per_host(limits.max_idle)
            .pool_idle_timeout(timedelta(seconds=limits.idle_seconds))
        )
        if proxy is not None:
            builder = builder.proxy(_proxy(proxy))
        if limits.verify is False:
            builder = builder.danger_accept_invalid_certs(True)
        else:
            for pem in _authorities(limits):
                builder = builder.add_root_certificate_pem(pem)
        try:
            return builder.build()
        except RuntimeError:
            # Its runtime was begun in the parent process, and cannot be begun again.
            raise ConfigurationError(_AFTER_FORK) from None

    def _proxy(self, url: str) -> str | None:
        origin = "/".join(url.split("/", 3)[:3])
        if origin not in self._proxies:
            try:
                proxy = proxy_for(httpx2.URL(origin), self._connections)
            except httpx2.InvalidURL:
                return None  # pyreqwest refuses it too
            if len(self._proxies) >= _MOST_ORIGINS:
                self._proxies.clear()
            self._proxies[origin] = proxy
        return self._proxies[origin]

    def _build(self, order: Send) -> Any:
        """
        What pyreqwest sends for `order`; a `Broken` if it cannot be sent.

        Raises:
            UsageError: the request cannot be written as HTTP.
        """
        request = order.request
        client = self._client(order)
        left = order.deadline - monotonic()
        if left <= 0:
            cause = exceptions.ConnectTimeoutError("no time is left", {"causes": None})
            return Broken(Phase.NOT_SENT, Reason.DEADLINE, cause)
        try:
            builder = client.request(request.method, request.url)
        except ValueError:
            return _bad_url(request)
        try:
            builder = builder.headers(_headers(request))
        except ValueError:
            builder = None
        if builder is None:
            raise unsendable(request)
        content = request.content
        if content is not None:
            builder = (
                _with_body(builder, content)
                if isinstance(content, bytes)
                else self._streaming(builder, content)
            )
        # The answer is handed over with the first byte of its body, not with all of it: then its
        # status is known when the rest is cut off. To wait for the head alone costs another turn.
        # For a body that is read as it comes, the limit of a request ends the reading of it, too.
        left, read_ahead = (left, 1) if not order.opens else (order.until - monotonic(), 0)
        return builder.timeout(_span(left)).streamed_read_buffer_limit(read_ahead).build_streamed()

    def _streaming(self, builder: Any, body: Streamed) -> Any:
        """`builder` with a body that is sent in pieces."""
        if body.size is not None:
            builder = builder.header("content-length", str(body.size))
        # Now, while it is of this try: Rust's thread may ask for the first piece when that is over.
        return builder.body_stream(_Pieces(body) if self._awaits else iter(body))

    def _begin(self, answer: Any, request: Request) -> int | Broken | None:
        """The bytes of body that `answer` announces, None if it does not say; how it breaks at once."""
        status = answer.status
        if status == 101:
            return _refused(answer, Reason.NOT_HTTP, "an upgrade that was not asked for")
        expected = _expected(answer, status, request)
        if expected is not None and expected > self._connections.max_body_bytes:
            return _refused(answer, Reason.TOO_LARGE, f"a body of {expected} bytes", expected=expected)
        return expected

    def _end(self, answer: Any, content: bytes, request: Request) -> Response | Broken:
        """The answer, now that its body is whole."""
        coding = answer.get_header_all("content-encoding")
        if coding:
            received = len(content)
            try:
                content = decoded(content, ",".join(coding), self._connections.max_body_bytes)
            except UndecodableError as exc:
                expected = _expected(answer, answer.status, request)
                return _refused(answer, exc.reason, str(exc), received, expected)
        return Response(answer.status, answer.headers.items(), content, request.url)

    def _whole(self, answer: Any, pieces: list[Any], late: bool, order: Send) -> Response | Broken:
        """An answer that was to be read as it comes, and is of a status that is not."""
        content = b"".join(map(bytes, pieces))
        if late:
            return _refused(answer, Reason.DEADLINE, "the deadline has passed", len(content))
        if len(content) > self._connections.max_body_bytes:
            return self._too_large(answer, len(content))
        return self._end(answer, content, order.request)

    def _too_large(self, answer: Any, received: int) -> Broken:
        text = f"a body of more than {self._connections.max_body_bytes} bytes"
        return _refused(answer, Reason.TOO_LARGE, text, received)


class PyreqwestEngine(_Family):
    """Requests over pyreqwest, blocking. Threads may share it."""

    _builder = SyncClientBuilder
    _awaits = False

    def send(self, order: Send, /) -> Response | Broken:
        """
        Carry `order` out once. Ctrl-C takes effect when that is over, at the deadline at the latest.

        Raises:
            UsageError: the request cannot be written as HTTP.
            ConfigurationError: its proxy or the certificates cannot be used, or this process was
                forked from one that had used pyreqwest.
        """
        wanted = self._build(order)
        if type(wanted) is Broken:
            return wanted
        if order.opens:
            return self._open(wanted, order)
        answer: Any = None
        received = 0
        try:
            with wanted as answer:
                request = order.request
                expected = self._begin(answer, request)
                if type(expected) is Broken:
                    return expected
                reader = answer.body_reader
                if expected:
                    # A turn through Rust costs as much as all the rest: one for the whole body, and
                    # none for its end, which its length tells.
                    return self._end(answer, bytes(reader.read(expected)), request)
                pieces = []
                while (piece := reader.read_chunk()) is not None:
                    pieces.append(piece)
                    received += len(piece)
                    if received > self._connections.max_body_bytes:
                        return self._too_large(answer, received)
                return self._end(answer, b"".join(map(bytes, pieces)), request)
        except exceptions.BuilderError:
            return _bad_url(order.request)
        except BodyError as exc:
            return Broken(Phase.SENT, exc.reason, exc)  # whether the head had left, it does not say
        except exceptions.RequestError as exc:
            failure = exc
        finally:
            if not isinstance(order.request.content, bytes | None):
                _lost.at = monotonic()  # its thread may still be about to ask for another piece
        return _broken(failure, order, answer, received)

    def _open(self, wanted: Any, order: Send) -> Response | Broken:
        """As `send`, for an order with statuses whose body is left to be read."""
        answer: Any = None
        kept = False
        pieces: list[Any] = []
        try:
            answer = wanted.__enter__()
            if answer.status in order.opens:
                response = _opened(_Arriving, wanted, answer, order)
                kept = type(response) is Response
                return response
            refused = self._begin(answer, order.request)
            if type(refused) is Broken:
                return refused
            reader, size, late = answer.body_reader, 0, False
            while size <= self._connections.max_body_bytes and (piece := reader.read_chunk()) is not None:
                pieces.append(piece)
                size += len(piece)
                if late := monotonic() >= order.deadline:
                    break
            return self._whole(answer, pieces, late, order)
        except exceptions.BuilderError:
            return _bad_url(order.request)
        except BodyError as exc:
            return Broken(Phase.SENT, exc.reason, exc)
        except exceptions.RequestError as exc:
            failure = exc
        finally:
            if answer is not None and not kept:
                wanted.__exit__(None, None, None)
            if not isinstance(order.request.content, bytes | None):
                _lost.at = monotonic()
        return _broken(failure, order, answer, sum(map(len, pieces)))

    def close(self) -> None:
        """Close every connection."""
        clients, self._clients = self._clients, {}
        if os.getpid() == self._pid:
            for client in clients.values():
                client.close()


class AsyncPyreqwestEngine(_Family):
    """Requests over pyreqwest under asyncio; in whatever event loop it is used."""

    _builder = ClientBuilder
    _awaits = True
    _asyncio = False

    def _need_asyncio(self) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(
                "The engine 'pyreqwest' has to be used inside a running asyncio event loop; "
                "under trio use 'httpx'."
            ) from None
        self._asyncio = True

    async def send(self, order: Send, /) -> Response | Broken:
        """
        Carry `order` out once.

        Raises:
            UsageError: the request cannot be written as HTTP.
            ConfigurationError: its proxy or the certificates cannot be used, this process was
                forked from one that had used pyreqwest, or no asyncio runs.
        """
        if not self._asyncio:
            self._need_asyncio()
        wanted = self._build(order)
        if type(wanted) is Broken:
            return wanted
        if order.opens:
            return await self._open(wanted, order)
        answer: Any = None
        received = 0
        try:
            async with wanted as answer:
                request = order.request
                expected = self._begin(answer, request)
                if type(expected) is Broken:
                    return expected
                reader = answer.body_reader
                if expected:
                    # A turn through Rust costs as much as all the rest: one for the whole body, and
                    # none for its end, which its length tells.
                    return self._end(answer, bytes(await reader.read(expected)), request)
                pieces = []
                while (piece := await reader.read_chunk()) is not None:
                    pieces.append(piece)
                    received += len(piece)
                    if received > self._connections.max_body_bytes:
                        return self._too_large(answer, received)
                return self._end(answer, b"".join(map(bytes, pieces)), request)
        except exceptions.BuilderError:
            return _bad_url(order.request)
        except BodyError as exc:
            return Broken(Phase.SENT, exc.reason, exc)  # whether the head had left, it does not say
        except exceptions.RequestError as exc:
            failure = exc
        except asyncio.CancelledError:
            _lost.at = monotonic()
            await checkpoint_if_cancelled()  # as in `_Arriving._next`
            raise
        _lost.at = monotonic()
        return _broken(failure, order, answer, received)

    async def _open(self, wanted: Any, order: Send) -> Response | Broken:
        """As `send`, for an order with statuses whose body is left to be read."""
        answer: Any = None
        kept = False
        pieces: list[Any] = []
        try:
            async with asyncio.timeout(min(order.deadline - monotonic(), LONGEST_SECONDS)):
                answer = await wanted.__aenter__()
                if answer.status in order.opens:
                    response = _opened(_AwaitedArriving, wanted, answer, order)
                    kept = type(response) is Response
                    return response
                refused = self._begin(answer, order.request)
                if type(refused) is Broken:
                    return refused
                reader, size = answer.body_reader, 0
                while (
                    size <= self._connections.max_body_bytes
                    and (piece := await reader.read_chunk()) is not None
                ):
                    pieces.append(piece)
                    size += len(piece)
                return self._whole(answer, pieces, False, order)
        except exceptions.BuilderError:
            return _bad_url(order.request)
        except BodyError as exc:
            return Broken(Phase.SENT, exc.reason, exc)
        except exceptions.RequestError as exc:
            failure: exceptions.RequestError | None = exc
        except TimeoutError:
            failure = None
            _lost.at = monotonic()
        except asyncio.CancelledError:
            _lost.at = monotonic()
            await checkpoint_if_cancelled()  # as in `_Arriving._next`
            raise
        finally:
            if answer is not None and not kept:
                await wanted.__aexit__(None, None, None)
        received = sum(map(len, pieces))
        if failure is not None:
            _lost.at = monotonic()
            return _broken(failure, order, answer, received)
        if answer is not None:
            return _refused(answer, Reason.DEADLINE, "the deadline has passed", received)
        cause = exceptions.ReadTimeoutError("the deadline has passed", {"causes": None})
        return Broken(Phase.SENT, Reason.DEADLINE, cause)

    async def aclose(self) -> None:
        """Close every connection."""
        clients, self._clients = self._clients, {}
        if os.getpid() == self._pid:
            for client in clients.values():
                await client.close()


class _Arriving(Arriving):
    """
    The body of an answer, read as it comes; Rust ends each wait.

    Args:
        head: What the head of the answer says about it.
        wanted: What was asked, and is ended when nothing more is read.
        answer: As pyreqwest has it.
        order: What was sent.
    """

    def __init__(self, head: Head, wanted: Any, answer: Any, order: Send) -> None:
        super().__init__(head)
        self._wanted = wanted
        self._answer = answer
        self._order = replace(order, deadline=order.until)
        self._reader = answer.body_reader
        self._received = 0

    def _next(self) -> bytes | Broken:
        try:
            piece = self._reader.read_chunk()
        except exceptions.RequestError as exc:
            return _broken(exc, self._order, self._answer, self._received)
        if piece is None:
            return b""
        self._received += len(piece)
        return bytes(piece)

    def _refused(self, exc: UndecodableError) -> Broken:
        return _refused(self._answer, exc.reason, str(exc), self._received)

    def _let_go(self) -> None:
        self._wanted.__exit__(None, None, None)


class _AwaitedArriving(AwaitedArriving):
    """As `_Arriving`."""

    def __init__(self, head: Head, wanted: Any, answer: Any, order: Send) -> None:
        super().__init__(head)
        self._wanted = wanted
        self._answer = answer
        self._order = replace(order, deadline=order.until)
        self._reader = answer.body_reader
        self._received = 0

    async def _next(self) -> bytes | Broken:
        try:
            piece = await self._reader.read_chunk()
        except exceptions.RequestError as exc:
            return _broken(exc, self._order, self._answer, self._received)
        except asyncio.CancelledError:
            _lost.at = monotonic()
            # What Rust raises says nothing of the scope of anyio that was cancelled, which then lets it pass.
            await checkpoint_if_cancelled()
            raise
        if piece is None:
            return b""
        self._received += len(piece)
        return bytes(piece)

    def _refused(self, exc: UndecodableError) -> Broken:
        return _refused(self._answer, exc.reason, str(exc), self._received)

    async def _let_go(self) -> None:
        _lost.at = monotonic()
        await self._wanted.__aexit__(None, None, None)


def _opened(
    pieces: type[_Arriving] | type[_AwaitedArriving], wanted: Any, answer: Any, order: Send
) -> Response | Broken:
    """The answer, with its body still to be read; how it breaks, if it is of an unknown coding."""
    head = Head(())
    codings = answer.get_header_all("content-encoding")
    head.coding = ",".join(codings).encode("latin-1", "replace") if codings else None
    response = Response(answer.status, list(answer.headers.items()), b"", order.request.url)
    try:
        response.pieces = pieces(head, wanted, answer, order)
    except UndecodableError as exc:
        return _refused(answer, exc.reason, str(exc))
    return response


class _Pieces:
    """
    The pieces of a body, as Rust asks for them under asyncio.

    It may let go of the piece it waits for and ask again, or never wait for one it asked for. So a
    piece comes in a task of its own, and is kept until somebody has it; a generator would refuse to
    be asked twice at once.
    """

    __slots__ = ("_coming", "_pieces")

    def __init__(self, body: Streamed) -> None:
        self._pieces = aiter(body.awaited)
        self._coming: asyncio.Task[bytes] | None = None

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> _Next:
        return _Next(self)

    async def next(self) -> bytes:
        """The next piece; b"" at the end."""
        if self._coming is None:
            self._coming = asyncio.create_task(_or_end(self._pieces))
            self._coming.add_done_callback(_retrieved)
        piece = await asyncio.shield(self._coming)
        self._coming = None
        return piece


class _Next:
    """Asks when it is awaited, and not before: a coroutine that never is would be warned of."""

    __slots__ = ("_pieces",)

    def __init__(self, pieces: _Pieces) -> None:
        self._pieces = pieces

    def __await__(self) -> Generator[Any, Any, bytes]:
        piece = yield from self._pieces.next().__await__()
        if not piece:
            raise StopAsyncIteration
        return piece


async def _or_end(pieces: AsyncIterator[bytes]) -> bytes:
    return await anext(pieces, b"")


def _retrieved(task: asyncio.Task[bytes]) -> None:
    """An error that nobody waits for any more is no news: the try is over."""
    if not task.cancelled():
        task.exception()


def _span(seconds: float) -> timedelta:
    return timedelta(seconds=seconds if seconds < LONGEST_SECONDS else LONGEST_SECONDS)


class _Lost:
    """
    When the last awaited attempt was lost.

    Rust's threads let go of it a moment later, for which they need the interpreter: one that is
    being finalized then aborts the process. So its end waits for that moment.
    """

    SECONDS = 0.1

    def __init__(self) -> None:
        self.at = -self.SECONDS

    def wait(self) -> None:
        left = self.at + self.SECONDS - monotonic()
        if left > 0:
            sleep(left)


_lost = _Lost()
atexit.register(_lost.wait)


def _headers(request: Request) -> dict[str, str]:
    headers = request.headers
    if request.content is None and request.method in METHODS_WITH_BODY:
        headers = {**headers, "content-length": "0"}
    return headers


def _proxy(url: str) -> Any:
    proxy = usable_proxy(url)
    if proxy.url.scheme.startswith("socks"):
        raise ConfigurationError("The engine 'pyreqwest' knows no SOCKS proxies: use the engine 'httpx'.")
    try:
        built = ProxyBuilder.all(str(proxy.url))
    except ValueError:
        built = None
    if built is None:
        raise ConfigurationError("The proxy's URL cannot be used.")
    return built if proxy.auth is None else built.basic_auth(*proxy.auth)


def _authorities(connections: Connections) -> list[bytes]:
    """The certificates that the environment names, PEM."""
    if not connections.trust_env:
        return []
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    paths = [file] if file else []
    try:
        if folder and not file:
            paths = [entry.path for entry in os.scandir(folder) if entry.is_file()]
        found = []
        for path in paths:
            with open(path, "rb") as opened:
                found.append(opened.read())
    except OSError as exc:
        raise ConfigurationError(
            f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read: {exc}"
        ) from exc
    return found


def _with_body(builder: Any, content: bytes) -> Any:
    # Bytes stay Python's, and Rust's thread waits for the interpreter to give them back, behind
    # whatever runs there: 1 us of 50 if nothing does. Text is copied.
    if len(content) <= _COPIED_BODY_BYTES:
        try:
            return builder.body_text(content.decode())
        except UnicodeDecodeError:
            pass
    return builder.body_bytes(content)


def _expected(answer: Any, status: int, request: Request) -> int | None:
    """The bytes of body that `answer` announces; None if it does not say."""
    if request.method == "HEAD" or status in (204, 304):
        return None
    length = answer.get_header("content-length")
    if length is None or not length.isdigit() or len(length) > 20:
        return None
    # RFC 9112, section 6.3: a transfer coding overrides the length.
    return int(length) if answer.get_header("transfer-encoding") is None else None


def _bad_url(request: Request) -> Broken:
    text = f"{kept_url(request.url)!r} is not a URL of http or https"
    return Broken(Phase.NOT_SENT, Reason.BAD_URL, exceptions.BuilderError(text, {"causes": None}))


def _refused(
    answer: Any, reason: Reason, text: str, received: int = 0, expected: int | None = None
) -> Broken:
    """An answer that we do not take."""
    cause = exceptions.BodyDecodeError(text, {"causes": None})
    headers = list(answer.headers.items())
    return Broken(Phase.ANSWERED, reason, cause, answer.status, headers, received, expected)


def _broken(exc: exceptions.RequestError, order: Send, answer: Any, received: int) -> Broken:
    """How the attempt broke that ended with `exc`."""
    texts = [cause["message"] for cause in exc.details["causes"] or ()]
    late = order.deadline - monotonic() < _CLOCK_SECONDS
    _remove_url(exc, order.request)
    cause = without_frames(exc)
    if answer is not None:
        return Broken(
            Phase.ANSWERED,
            _reason_of_body(exc, texts, late),
            cause,
            answer.status,
            list(answer.headers.items()),
            received,
            _expected(answer, answer.status, order.request),
        )
    if _DECODING in texts:
        # A head came and was taken away with the body it belongs to: its status is not known.
        return Broken(Phase.ANSWERED, _reason_of_body(exc, texts, late), cause)
    if isinstance(exc, exceptions.PoolTimeoutError):
        return Broken(Phase.NOT_SENT, Reason.DEADLINE if late else Reason.POOL_TIMEOUT, cause)
    if _CONNECT in texts:
        return Broken(Phase.NOT_SENT, _reason_of_connect(exc, texts, late, order.request), cause)
    # Without that text, only the possibility that something was sent is certain.
    return Broken(Phase.SENT, _reason_of_silence(exc, texts, late), cause)


def _reason_of_body(exc: exceptions.RequestError, texts: list[str], late: bool) -> Reason:
    if isinstance(exc, TimeoutError):
        return Reason.DEADLINE if late else Reason.READ_TIMEOUT
    if isinstance(exc, exceptions.NetworkError) or any(text.startswith(_CUT_SHORT) for text in texts):
        return Reason.CUT
    return Reason.NOT_HTTP


def _reason_of_connect(
    exc: exceptions.RequestError, texts: list[str], late: bool, request: Request
) -> Reason:
    if "dns error" in texts:
        return Reason.DNS
    if isinstance(exc, TimeoutError):
        return Reason.DEADLINE if late else Reason.CONNECT_TIMEOUT
    for beginning, reason in _CONNECT_REASONS:
        if any(text.startswith(beginning) for text in texts):
            return reason
    if request.url[:6].lower() != "https:":
        return Reason.UNREACHABLE
    ended = any(text.startswith((_HANDSHAKE_ENDED, *_CUT_SHORT)) for text in texts)
    return Reason.TLS_CLOSED if ended else Reason.TLS


def _reason_of_silence(exc: exceptions.RequestError, texts: list[str], late: bool) -> Reason:
    if isinstance(exc, TimeoutError):
        return Reason.DEADLINE if late else Reason.READ_TIMEOUT
    if "message head is too large" in texts:
        return Reason.TOO_LARGE
    if isinstance(exc, exceptions.DecodeError):
        return Reason.NOT_HTTP
    closed = any(text.startswith(("connection closed", _HANDSHAKE_ENDED)) for text in texts)
    return Reason.CLOSED if closed else Reason.RESET


def _remove_url(exc: exceptions.RequestError, request: Request) -> None:
    """Replace the URL that pyreqwest quotes whole, with the secrets in its query."""
    kept = f"({kept_url(request.url)})"
    causes = [
        {"message": f"{text[: text.index(' for url (')]} for url {kept}" if " for url (" in text else text}
        for text in (cause["message"] for cause in exc.details["causes"] or ())
    ]
    exc.details = {**exc.details, "causes": causes}  # type: ignore[typeddict-item]  # theirs has members that we do not read
    exc.args = (exc.message, exc.details)
