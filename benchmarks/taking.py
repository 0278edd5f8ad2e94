"""A service that takes bodies and keeps nothing: into one buffer of each connection, to spend little."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable

from machine import pin

BUFFER_BYTES = 256 * 1024


class Taking(asyncio.BufferedProtocol):
    """One connection: heads are read, bodies with a length are counted. Derive from it, and answer."""

    def __init__(self) -> None:
        self._buffer = bytearray(BUFFER_BYTES)
        self._head = self._target = b""
        self._left = self._size = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._left:
            self._count(nbytes)
            return
        self._head += bytes(self._buffer[:nbytes])
        head, end, body = self._head.partition(b"\r\n\r\n")
        if end:
            self._head = b""
            self._target = head.split(b" ", 2)[1]
            lines = (line.partition(b":") for line in head.split(b"\r\n"))
            sizes = (int(value) for name, _, value in lines if name.lower() == b"content-length")
            self._left = self._size = next(sizes, 0)
            self._count(len(body))

    def _count(self, number: int) -> None:
        self._left -= number
        if self._left < 0:
            raise ValueError("more came than was announced")
        if not self._left:
            status, body = self.answer(self._target, self._size)
            self._transport.write(
                b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (status, len(body), body)
            )

    def answer(self, target: bytes, size: int) -> tuple[bytes, bytes]:
        """The status line and the JSON for a request with so many bytes of body."""
        raise NotImplementedError


async def serve(taking: type[Taking], doc: str | None, greeting: Callable[[int], object]) -> None:
    """
    Serve on a free port of loopback until standard input ends.

    Args:
        taking: Who answers.
        doc: The help of the script.
        greeting: What is printed first, of the port.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--cpu", type=int)
    pin(parser.parse_args().cpu)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(taking, "127.0.0.1", 0, backlog=256)
    print(greeting(server.sockets[0].getsockname()[1]), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
