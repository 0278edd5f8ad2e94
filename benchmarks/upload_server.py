"""
A service that takes uploads and keeps nothing: it counts their bytes, and answers 201 with the count.

What Pictograph's SDK asks for is answered as Pictograph would, as far as an upload goes. Prints where
it listens and a key, one JSON object, and serves until its standard input ends. The bodies go into
one buffer of each connection, so that as little as possible of what is measured is spent here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from machine import pin

BUFFER_BYTES = 256 * 1024
KEY = "pk_" + "benchmark0" * 4
DATASET: dict[str, object] = {"id": "ds_benchmark", "name": "benchmark"}
IMAGE = {
    "id": "img_benchmark",
    "dataset_id": DATASET["id"],
    "name": "00000.png",
    "folder": "",
    "sha256": "0" * 64,
    "content_type": "image/png",
    "width": 8,
    "height": 8,
    "annotation_count": 0,
    "annotation_version": 0,
    "created_at": "2026-11-21T08:00:00+00:00",
}


def answer_to(target: bytes, size: int) -> dict[str, object]:
    """What is answered to a request with so many bytes of body."""
    if target.partition(b"?")[0].endswith(b"/images"):
        return {**IMAGE, "size": size, "bytes": size}
    return DATASET


class Taking(asyncio.BufferedProtocol):
    """One connection: heads are read, bodies with a length are counted."""

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
            body = json.dumps(answer_to(self._target, self._size)).encode()
            self._transport.write(
                b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(body), body)
            )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", type=int)
    pin(parser.parse_args().cpu)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Taking, "127.0.0.1", 0, backlog=256)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}", "key": KEY}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
