"""
A service that takes files and keeps nothing: every fiftieth number is refused with a 422 until it is told
otherwise, every other is answered 201 with the count of bytes.

Prints its port, and serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from machine import pin

BUFFER_BYTES = 256 * 1024


class Taking(asyncio.BufferedProtocol):
    """One connection: heads are read, bodies with a length are counted."""

    mended = False

    def __init__(self) -> None:
        self._buffer = bytearray(BUFFER_BYTES)
        self._head = b""
        self._left = self._size = 0
        self._path = b""
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
            first, *lines = head.split(b"\r\n")
            self._path = first.split(b" ")[1]
            fields = {name.lower(): value for name, _, value in (line.partition(b":") for line in lines)}
            self._left = self._size = int(fields.get(b"content-length", 0))
            self._count(len(body))

    def _count(self, number: int) -> None:
        self._left -= number
        if not self._left:
            self._answer()

    def _answer(self) -> None:
        if self._path == b"/mend":
            Taking.mended = True
        bad = self._path.startswith(b"/files/") and int(self._path[7:]) % 50 == 7 and not Taking.mended
        status = b"422 Unprocessable Content" if bad else b"201 Created"
        body = b'{"detail": "This file is wrong."}' if bad else b'{"bytes": %d}' % self._size
        self._transport.write(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (status, len(body), body)
        )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", type=int)
    pin(parser.parse_args().cpu)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Taking, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
