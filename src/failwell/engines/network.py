"""
httpcore's network, watched: streams that tell a `Wire` what crosses them and end at its deadline.

httpcore takes a network backend of one's own. This one is quick where it matters (one write for
head and body, sockets and asyncio transports without a layer between) and leaves to httpcore's
backends what is rare: TLS inside TLS, and trio.

Every `timeout` here is the attempt's `Wire`: the engine puts it where httpcore expects seconds.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections import deque
from typing import TYPE_CHECKING, cast

import httpcore2

from failwell.call.messages import Reason
from failwell.engines.endings import hear_to_the_end, let_go, unread
from failwell.engines.happy_eyeballs import connect, numeric
from failwell.engines.wire import LONGEST_SECONDS, Wire, reason_of_connect, reason_of_handshake

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeAlias

    SocketOptions: TypeAlias = Iterable[httpcore2.SOCKET_OPTION] | None

# A body up to this size is joined to its head, so that both leave in one system call.
_JOIN_BYTES = 64 * 1024
# How much of an answer asyncio may collect while nobody reads it.
_HIGH_WATER = 256 * 1024


def _refuse_endless_head(wire: Wire) -> None:
    """Stop an answer whose head has no end: a read before the status was found means more of it."""
    if wire.received >= wire.max_header_bytes and not wire.answered:
        wire.reason = Reason.TOO_LARGE
        raise httpcore2.RemoteProtocolError(f"a head of more than {wire.max_header_bytes} bytes")


def is_final(early: bytes) -> bool:
    """
    Whether what came while a request was being sent begins its answer.

    Interim answers (RFC 9110, section 15.2) do not: the sending goes on. What is too short to tell is
    none yet; what is not HTTP at all is one, for whoever reads it to refuse.
    """
    while early.startswith(_INTERIM):
        _, end, early = early.partition(b"\r\n\r\n")
        if not end:
            return False
    return len(early) >= len(_INTERIM[0]) or (bool(early) and not _INTERIM[0].startswith(early))


_INTERIM = (b"HTTP/1.1 1", b"HTTP/1.0 1")
_ANSWERED = "an answer came before the request was sent"


class Stream(httpcore2.NetworkStream):
    """
    A connection as blocking code uses it.

    Args:
        inner: The stream that httpcore would use.
        layer: The number of TLS layers in it.

    Attributes:
        parser: The h11 connection that reads from this stream, once it is known.
        spoiled: Whether the connection must not be used again.
    """

    def __init__(self, inner: httpcore2.NetworkStream, layer: int = 0) -> None:
        self.parser: Any = None
        self.spoiled = False
        self._inner = inner
        self._layer = layer
        self._held = b""
        self._early = b""
        self._lost: OSError | None = None
        # A socket in TLS in TLS carries the outer layer: only httpcore's own stream can read it.
        self._socket: socket.socket | None = inner.get_extra_info("socket") if layer < 2 else None
        self._poll: select.poll | None = None
        if self._socket is not None and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(self._socket.fileno(), select.POLLIN)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        wire = cast(Wire, timeout)
        below = self._layer < wire.layer
        if not below:
            _refuse_endless_head(wire)
        try:
            data = self._read(max_bytes, wire.time_to_connect() if below else wire.time_to_read())
        except httpcore2.ReadError as exc:
            wire.reason = Reason.PROXY if below else _reason_of_loss(wire, exc)
            raise
        if below:
            wire.reason = Reason.PROXY  # if what follows breaks
        else:
            wire.took(data)
        return data

    def _read(self, max_bytes: int, seconds: float) -> bytes:
        if seconds <= 0:
            raise httpcore2.ReadTimeout("the deadline has passed")
        if self._socket is None:
            return self._inner.read(max_bytes, seconds)
        if self._early:
            data, self._early = self._early[:max_bytes], self._early[max_bytes:]
            return data
        try:
            self._socket.settimeout(seconds)
            data = self._socket.recv(max_bytes)
            if not data and self._lost is not None:
                raise self._lost  # which is told once, and was told to whoever was sending
            return data
        except TimeoutError as exc:
            raise httpcore2.ReadTimeout(str(exc)) from exc
        except OSError as exc:
            raise httpcore2.ReadError(str(exc)) from exc

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        wire = cast(Wire, timeout)
        if self._layer < wire.layer:
            if buffer:
                self._write(buffer, wire.time_to_connect())
            return
        if wire.hold:
            wire.hold = False
            self._held = buffer
            return
        if self._held:
            held, self._held = self._held, b""
            if len(buffer) > _JOIN_BYTES:
                self._send(held, wire)
            else:
                buffer = held + buffer
        if buffer:
            self._send(buffer, wire)

    def _send(self, buffer: bytes, wire: Wire) -> None:
        if self._layer:
            # A TLS record that failed half-way cannot be told from one that left.
            wire.sent = True
        try:
            self._write(buffer, wire.time_to_write(), wire)
        except httpcore2.WriteError as exc:
            wire.reason = _reason_of_loss(wire, exc)
            raise
        wire.reason = None

    def _write(self, buffer: bytes, seconds: float, wire: Wire | None = None) -> None:
        if seconds <= 0:
            raise httpcore2.WriteTimeout("the deadline has passed")
        if self._socket is None:
            self._inner.write(buffer, seconds)
            return
        try:
            self._socket.settimeout(seconds)
            if wire is None:
                self._socket.sendall(buffer)
                return
            if not wire.streams:
                buffer = buffer[self._socket.send(buffer) :]
                wire.sent = True
            if buffer:
                self._send_listening(self._socket, memoryview(buffer), wire)
        except TimeoutError as exc:
            raise httpcore2.WriteTimeout(str(exc)) from exc
        except OSError as exc:
            self._lost = exc
            raise httpcore2.WriteError(str(exc)) from exc

    def _send_listening(self, sock: socket.socket, rest: memoryview, wire: Wire) -> None:
        """
        Send a piece of a large request, and hear a service that answers before it has all of it.

        Such a service may not read on, or close: who only sends would wait for nothing, or learn of a
        broken pipe what it could have read.
        """
        sock.settimeout(0)
        seconds, write = 0.0, True
        while True:
            readable, writable = _ready(sock, seconds, write)
            if readable and self._hears(sock, wire):
                raise httpcore2.WriteError(_ANSWERED)
            if seconds and not (readable or writable):
                raise TimeoutError("timed out")
            try:
                while rest:
                    rest = rest[sock.send(rest) :]
                    wire.sent = True
                return
            except ssl.SSLWantReadError:
                write = False
            except (ssl.SSLWantWriteError, BlockingIOError):
                write = True
            except OSError:
                self._hears(sock, wire)
                raise
            seconds = wire.time_to_write()
            if seconds <= 0:
                raise TimeoutError("the deadline has passed")

    def _hears(self, sock: socket.socket, wire: Wire) -> bool:
        """Take what has come; whether that is the end of the sending."""
        while len(self._early) < wire.max_header_bytes:
            try:
                data = sock.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as exc:
                self._lost = exc
                return True
            if not data:
                return True
            self._early += data
        return is_final(self._early)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        wire = cast(Wire, timeout)
        seconds = wire.time_to_connect()
        try:
            if seconds <= 0:
                raise httpcore2.ConnectTimeout("the deadline has passed")
            inner = self._inner.start_tls(ssl_context, server_hostname, seconds)
        except httpcore2.ConnectError as exc:
            wire.reason = reason_of_handshake(exc)
            self.spoil()
            raise
        except BaseException:
            self.spoil()
            raise
        wire.reason = None
        return Stream(inner, self._layer + 1)

    def spoil(self) -> None:
        """Close, and be seen as closed by the pool."""
        self.spoiled = True
        self.close()

    def close(self) -> None:
        self._held = b""
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        if info != "is_readable":
            return self._inner.get_extra_info(info)
        if self.spoiled:
            return True
        if self._poll is None:
            return self._inner.get_extra_info(info)
        # The socket is idle: whatever is there to be read is an end, or an answer nobody asked for.
        if self._poll.poll(0):
            return True
        pending = getattr(self._socket, "pending", None)
        return bool(pending and pending())


def _ready(sock: socket.socket, seconds: float, write: bool) -> tuple[bool, bool]:
    """Whether `sock` can be read, and written, within that time."""
    if not hasattr(select, "poll"):
        read, written, _ = select.select([sock], [sock] if write else [], [], seconds)
        return bool(read), bool(written)
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN | (select.POLLOUT if write else 0))
    events = next((found for _, found in poll.poll(seconds * 1000)), 0)
    broken = events & (select.POLLERR | select.POLLHUP)
    return bool(events & select.POLLIN or broken), bool(events & select.POLLOUT)


def _reason_of_loss(wire: Wire, exc: BaseException) -> Reason:
    """Why a connection that was made went away with an error."""
    if not wire.received and reason_of_connect(exc) in (Reason.TLS, Reason.TLS_UNTRUSTED):
        return Reason.TLS  # in TLS 1.3 a server refuses a client's certificate after the handshake
    return wire.cut_or(Reason.RESET)


class Network(httpcore2.SyncBackend):
    """httpcore's blocking network, watched."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions = None,
    ) -> httpcore2.NetworkStream:
        wire = cast(Wire, timeout)
        try:
            inner = self._connect(wire, host, port, local_address, socket_options or ())
        except httpcore2.ConnectError as exc:
            wire.reason = reason_of_connect(exc)
            raise
        wire.reason = None
        return Stream(inner)

    def _connect(
        self, wire: Wire, host: str, port: int, local_address: str | None, options: SocketOptions
    ) -> httpcore2.NetworkStream:
        wire.time_to_connect()  # the clock starts before the name is looked up
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as exc:
            raise httpcore2.ConnectError(str(exc)) from exc
        except UnicodeError:
            # A label that is empty or too long. The text of the error would quote the host.
            raise httpcore2.ConnectError("not a host name") from socket.gaierror("not a host name")
        failed: Exception = httpcore2.ConnectError("the name has no address")
        # httpcore would give each address the whole timeout.
        for *_, address in found:
            seconds = wire.time_to_connect()
            if seconds <= 0:
                raise httpcore2.ConnectTimeout("timed out")
            try:
                return super().connect_tcp(numeric(address), port, seconds, local_address, options)
            except httpcore2.ConnectError as exc:
                failed = exc
        raise failed


class _Incoming(asyncio.Protocol):
    """What asyncio received and nobody has read yet."""

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.size = 0
        self.ended = False
        self.lost: BaseException | None = None
        self.gone = False
        self.waiter: asyncio.Future[None] | None = None
        self.drain: asyncio.Future[None] | None = None
        self.full = False
        self.transport: asyncio.Transport | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self.size += len(data)
        if self.size > _HIGH_WATER and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self.ended = True
        self._wake()
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        if exc is not None and self.transport is not None:
            left = unread(self.transport)
            if left:
                self.pieces.append(left)
                self.size += len(left)
        self.gone = True
        self.lost = exc
        self._wake()
        self._release()

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._release()

    def take(self, max_bytes: int) -> bytes:
        piece = self.pieces.popleft()
        if len(piece) > max_bytes:
            self.pieces.appendleft(piece[max_bytes:])
            piece = piece[:max_bytes]
        self.size -= len(piece)
        if self._paused and self.size <= _HIGH_WATER // 2 and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()
        return piece

    def answered(self) -> bool:
        """Whether the answer has begun, or none will come."""
        return self.ended or self.gone or (bool(self.pieces) and is_final(b"".join(self.pieces)))

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        if self.drain is not None and self.answered():
            self._release()

    def _release(self) -> None:
        if self.drain is not None and not self.drain.done():
            self.drain.set_result(None)


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError("timed out"))


class AsyncioStream(httpcore2.AsyncNetworkStream):
    """A connection as asyncio code uses it; attributes as those of `Stream`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        incoming: _Incoming,
        layer: int = 0,
    ) -> None:
        self.parser: Any = None
        self.spoiled = False
        self._loop = loop
        self._transport = transport
        self._incoming = incoming
        self._layer = layer
        self._held = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        wire = cast(Wire, timeout)
        below = self._layer < wire.layer
        if not below:
            _refuse_endless_head(wire)
        try:
            data = await self._read(max_bytes, wire.time_to_connect() if below else wire.time_to_read())
        except httpcore2.ReadError as exc:
            wire.reason = Reason.PROXY if below else _reason_of_loss(wire, exc)
            raise
        if below:
            wire.reason = Reason.PROXY  # if what follows breaks
        else:
            wire.took(data)
        return data

    async def _read(self, max_bytes: int, seconds: float) -> bytes:
        incoming = self._incoming
        # A drip must not outlive the deadline even if each piece is here when it is asked for.
        if seconds <= 0:
            raise httpcore2.ReadTimeout("the deadline has passed")
        while not incoming.pieces:
            if incoming.lost is not None:
                raise httpcore2.ReadError(str(incoming.lost)) from incoming.lost
            if incoming.ended or incoming.gone:
                return b""
            incoming.waiter = waiter = self._loop.create_future()
            timer = self._loop.call_later(seconds, _expire, waiter)
            try:
                await waiter
            except TimeoutError as exc:
                raise httpcore2.ReadTimeout(str(exc)) from exc
            finally:
                timer.cancel()
                incoming.waiter = None
        return incoming.take(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        wire = cast(Wire, timeout)
        if self._layer < wire.layer:
            if buffer:
                await self._write(buffer, wire.time_to_connect())
            return
        if wire.hold:
            wire.hold = False
            self._held = buffer
            return
        if self._held:
            held, self._held = self._held, b""
            if len(buffer) > _JOIN_BYTES:
                await self._send(held, wire)
            else:
                buffer = held + buffer
        if buffer:
            await self._send(buffer, wire)

    async def _send(self, buffer: bytes, wire: Wire) -> None:
        try:
            await self._write(buffer, wire.time_to_write(), wire)
        except httpcore2.WriteError as exc:
            wire.reason = _reason_of_loss(wire, exc)
            raise
        wire.reason = None

    async def _write(self, buffer: bytes, seconds: float, wire: Wire | None = None) -> None:
        if seconds <= 0:
            raise httpcore2.WriteTimeout("the deadline has passed")
        transport, incoming = self._transport, self._incoming
        if wire is not None and wire.streams:
            sock = transport.get_extra_info("socket")
            if sock is not None and _readable(sock.fileno()):
                await asyncio.sleep(0)  # the loop's turn to take it, before sending breaks the connection
            if incoming.answered():
                raise httpcore2.WriteError(_ANSWERED) from incoming.lost
        if incoming.gone or transport.is_closing():
            raise httpcore2.WriteError("the connection is closed") from incoming.lost
        transport.write(buffer)
        # A plain transport sends at once if it can, and closes if that failed: then nothing left.
        if wire is not None and (self._layer or not transport.is_closing()):
            wire.sent = True
        if not incoming.full:
            return
        incoming.drain = drain = self._loop.create_future()
        timer = self._loop.call_later(seconds, _expire, drain)
        try:
            await drain
        except TimeoutError as exc:
            raise httpcore2.WriteTimeout(str(exc)) from exc
        finally:
            timer.cancel()
            incoming.drain = None
        if incoming.gone:
            raise httpcore2.WriteError("the connection is closed") from incoming.lost
        if incoming.full:
            raise httpcore2.WriteError(_ANSWERED)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        wire = cast(Wire, timeout)
        seconds = wire.time_to_connect()
        incoming = _Incoming()
        try:
            if seconds <= 0:
                raise TimeoutError("the deadline has passed")
            if self._incoming.gone or self._transport.is_closing():
                # asyncio would wait for a handshake that nobody answers any more.
                raise ConnectionResetError("the connection is closed") from self._incoming.lost
            async with asyncio.timeout(seconds):
                transport = await self._loop.start_tls(
                    self._transport,
                    incoming,
                    ssl_context,
                    server_hostname=server_hostname,
                    # asyncio's own limit would end as another error; ours comes first.
                    ssl_handshake_timeout=seconds + 60,
                )
        except TimeoutError as exc:
            self.spoil()
            raise httpcore2.ConnectTimeout(str(exc) or "timed out") from exc
        except OSError as exc:
            wire.reason = reason_of_handshake(exc)
            self.spoil()
            raise httpcore2.ConnectError(str(exc)) from exc
        except BaseException:
            self.spoil()
            raise
        if transport is None:  # the other side went away between the handshake and here
            wire.reason = Reason.TLS_CLOSED
            self.spoil()
            raise httpcore2.ConnectError("the connection is closed")
        hear_to_the_end(self._transport)
        incoming.transport = transport
        wire.reason = None
        return AsyncioStream(self._loop, transport, incoming, self._layer + 1)

    def spoil(self) -> None:
        """Close at once, and be seen as closed by the pool."""
        self.spoiled = True
        self._held = b""
        if not let_go(self._transport):
            self._transport.abort()

    async def aclose(self) -> None:
        self._held = b""
        if let_go(self._transport):
            return
        if not self._layer or self.spoiled or self._transport.get_write_buffer_size():
            # What was not sent yet is of a request that was given up.
            self._transport.abort()
            return
        # The end of a TLS connection is said, but not waited for.
        self._transport.close()
        await asyncio.sleep(0)
        if not let_go(self._transport):
            self._transport.abort()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            incoming = self._incoming
            if self.spoiled or incoming.pieces or incoming.ended or incoming.gone:
                return True
            # Bytes that asyncio had no turn to collect yet.
            sock = self._transport.get_extra_info("socket")
            return sock is not None and _readable(sock.fileno())
        name = {"client_addr": "sockname", "server_addr": "peername"}.get(info, info)
        return self._transport.get_extra_info(name)


def _readable(fd: int) -> bool:
    if fd < 0:
        return True
    if not hasattr(select, "poll"):
        return bool(select.select([fd], [], [], 0)[0])
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


class AsyncioNetwork(httpcore2.AsyncNetworkBackend):
    """asyncio's network, watched."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions = None,
    ) -> httpcore2.AsyncNetworkStream:
        wire = cast(Wire, timeout)
        loop = asyncio.get_running_loop()
        seconds = wire.time_to_connect()
        try:
            if seconds <= 0:
                raise TimeoutError("the deadline has passed")
            async with asyncio.timeout(seconds):
                transport, incoming = await connect(_Incoming, host, port, local_address)
        except OSError as exc:
            if isinstance(exc, TimeoutError) and exc.errno is None:
                raise httpcore2.ConnectTimeout(str(exc) or "timed out") from exc
            wire.reason = reason_of_connect(exc)
            raise httpcore2.ConnectError(str(exc)) from exc
        except UnicodeError:
            wire.reason = Reason.DNS
            raise httpcore2.ConnectError("not a host name") from socket.gaierror("not a host name")
        for option in socket_options or ():
            transport.get_extra_info("socket").setsockopt(*option)
        wire.reason = None
        return AsyncioStream(loop, transport, incoming)


class TrioStream(httpcore2.AsyncNetworkStream):
    """A connection as trio code uses it; attributes as those of `Stream`."""

    def __init__(self, inner: httpcore2.AsyncNetworkStream, layer: int = 0) -> None:
        self.parser: Any = None
        self.spoiled = False
        self._inner = inner
        self._layer = layer
        self._held = b""
        self._early = b""
        self._cut = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        wire = cast(Wire, timeout)
        below = self._layer < wire.layer
        if not below:
            _refuse_endless_head(wire)
        seconds = wire.time_to_connect() if below else wire.time_to_read()
        if seconds <= 0:
            raise httpcore2.ReadTimeout("the deadline has passed")
        try:
            if self._early:
                data, self._early = self._early[:max_bytes], self._early[max_bytes:]
            elif self._cut and self._layer:
                data = await _read_after_a_cut(self._inner, max_bytes, seconds)
            else:
                data = await self._inner.read(max_bytes, seconds)
        except httpcore2.ReadError as exc:
            wire.reason = Reason.PROXY if below else _reason_of_loss(wire, exc)
            raise
        if below:
            wire.reason = Reason.PROXY  # if what follows breaks
        else:
            wire.took(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        wire = cast(Wire, timeout)
        if self._layer < wire.layer:
            if buffer:
                await self._write(buffer, wire.time_to_connect())
            return
        if wire.hold:
            wire.hold = False
            self._held = buffer
            return
        held, self._held = self._held, b""
        buffer = held + buffer
        if not buffer:
            return
        # trio does not say how much of a piece had left when it failed.
        wire.sent = True
        try:
            if wire.streams:
                await self._send_listening(buffer, wire)
            else:
                await self._write(buffer, wire.time_to_write())
        except httpcore2.WriteError as exc:
            wire.reason = _reason_of_loss(wire, exc)
            raise
        wire.reason = None

    async def _write(self, buffer: bytes, seconds: float) -> None:
        if seconds <= 0:
            raise httpcore2.WriteTimeout("the deadline has passed")
        await self._inner.write(buffer, seconds)

    async def _send_listening(self, buffer: bytes, wire: Wire) -> None:
        """As `Stream._send_listening`: whichever comes first, all sent or an answer, ends both."""
        import trio

        failed: httpcore2.WriteError | httpcore2.WriteTimeout | None = None
        heard = False

        async def listen() -> None:
            nonlocal heard
            while not heard:
                try:
                    data = await self._inner.read(65536, LONGEST_SECONDS)
                except httpcore2.ReadError:
                    data = b""
                self._early += data
                heard = not data or is_final(self._early)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            try:
                await self._write(buffer, wire.time_to_write())
            except (httpcore2.WriteError, httpcore2.WriteTimeout) as exc:
                failed = exc
            nursery.cancel_scope.cancel()
        self._cut = heard or failed is not None
        if heard:
            raise httpcore2.WriteError(_ANSWERED)
        if failed is not None:
            raise failed

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        wire = cast(Wire, timeout)
        seconds = wire.time_to_connect()
        try:
            if seconds <= 0:
                raise httpcore2.ConnectTimeout("the deadline has passed")
            inner = await self._inner.start_tls(ssl_context, server_hostname, seconds)
        except httpcore2.ConnectError as exc:
            wire.reason = reason_of_handshake(exc)
            self.spoiled = True
            raise
        except BaseException:
            self.spoiled = True
            raise
        wire.reason = None
        return TrioStream(inner, self._layer + 1)

    def spoil(self) -> None:
        """Be seen as closed by the pool, which then closes it."""
        self.spoiled = True

    async def aclose(self) -> None:
        self._held = b""
        await self._inner.aclose()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self.spoiled:
            return True
        return self._inner.get_extra_info(info)


async def _read_after_a_cut(inner: httpcore2.AsyncNetworkStream, max_bytes: int, seconds: float) -> bytes:
    """
    Read from TLS whose sending was stopped half-way.

    trio then reads no more either, though nothing is wrong with what comes; httpcore shows what is
    below TLS nowhere. So this goes through names that both call private, and without them ends as trio
    does; a test notices.
    """
    import trio

    stream: Any = getattr(inner, "_stream", None)
    tls, incoming = getattr(stream, "_ssl_object", None), getattr(stream, "_incoming", None)
    if tls is None or incoming is None:
        return await inner.read(max_bytes, seconds)
    try:
        with trio.fail_after(seconds):
            while True:
                try:
                    data: bytes = tls.read(max_bytes)
                    return data
                except ssl.SSLWantReadError:
                    received = await stream.transport_stream.receive_some()
                if received:
                    incoming.write(received)
                else:
                    incoming.write_eof()
    except trio.TooSlowError as exc:
        raise httpcore2.ReadTimeout(str(exc)) from exc
    except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError) as exc:
        raise httpcore2.ReadError(str(exc)) from exc


class TrioNetwork(httpcore2.AsyncNetworkBackend):
    """httpcore's trio network, watched."""

    def __init__(self) -> None:
        self._trio: Any = httpcore2.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions = None,
    ) -> httpcore2.AsyncNetworkStream:
        wire = cast(Wire, timeout)
        seconds = wire.time_to_connect()
        if seconds <= 0:
            raise httpcore2.ConnectTimeout("the deadline has passed")
        try:
            inner = await self._trio.connect_tcp(host, port, seconds, local_address, socket_options or ())
        except UnicodeError:
            wire.reason = Reason.DNS
            raise httpcore2.ConnectError("not a host name") from socket.gaierror("not a host name")
        except httpcore2.ConnectError as exc:
            wire.reason = reason_of_connect(exc)
            raise
        wire.reason = None
        return TrioStream(inner)
