"""How connections end: with their event loop if nobody closed them before, or at once."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import Any


def closed_with_loop(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    """
    Have the running event loop await `close()` when it ends.

    A client that outlives its loop (a program that calls `asyncio.run` for each piece of work)
    would keep the connections of every one of them open, for nothing can close them afterwards.
    `asyncio.run` and `trio.run` close the asynchronous generators that were begun in them, so
    `close` stands at the end of one.

    Returns:
        The generator; keep it, and `aclose` it to have `close()` awaited at once.
    """
    keeper = _keeper(close)
    with suppress(StopIteration):
        keeper.asend(None).send(None)  # as far as its `yield`, before which nothing is awaited
    return keeper


async def _keeper(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await close()


def let_go(transport: asyncio.BaseTransport) -> bool:
    """
    Whether `transport` is over TLS and was closed twice: nothing may be asked of it any more.

    asyncio's has dropped its protocol then. Asking for the size of its buffer raises
    AttributeError, and so does `abort()` on Python 3.11.2, which Debian 12 has.
    """
    protocol: Any = getattr(transport, "_ssl_protocol", transport)
    return protocol is None


# An answer to a request that was refused half-way is short; its rest is not worth more memory.
_MOST_UNREAD = 256 * 1024


def unread(transport: asyncio.BaseTransport) -> bytes:
    """
    What lies unread in the socket of a connection that broke.

    A service that refuses a request before it has all of it answers and closes; then the sending
    fails, and asyncio does not look at what had come. For TLS there is `hear_to_the_end`.
    """
    if let_go(transport):
        return b""
    sock = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("sslcontext") is not None:
        return b""
    found = b""
    with suppress(OSError, ValueError):
        while len(found) < _MOST_UNREAD and (data := os.read(sock.fileno(), 65536)):
            found += data
    return found


def hear_to_the_end(transport: asyncio.Transport) -> None:
    """
    Have what lies unread in a socket undone by the TLS above it when the connection breaks.

    Args:
        transport: The socket's; TLS is its protocol.
    """
    tls = transport.get_protocol()
    if isinstance(tls, asyncio.BufferedProtocol) and transport.get_extra_info("sslcontext") is None:
        transport.set_protocol(_ToTheEnd(tls, transport))


class _ToTheEnd(asyncio.BufferedProtocol):
    """Stands between a socket and TLS, and hands on what asyncio would drop."""

    def __init__(self, tls: asyncio.BufferedProtocol, transport: asyncio.Transport) -> None:
        self._tls = tls
        self._transport = transport
        # What comes by the way passes without a step between.
        for name in ("get_buffer", "buffer_updated", "eof_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(tls, name))

    def connection_lost(self, exc: Exception | None) -> None:
        left = b"" if exc is None else unread(self._transport)
        while left:
            buffer: Any = self._tls.get_buffer(len(left))
            size = min(len(buffer), len(left))
            buffer[:size] = left[:size]
            left = left[size:]
            self._tls.buffer_updated(size)
        self._tls.connection_lost(exc)
