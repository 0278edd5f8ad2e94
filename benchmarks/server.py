"""
A loopback HTTP/1.1 server that costs next to nothing, so that the client is what is measured.

It reads no more of a request than where it ends, what its path is and whether it carries an
idempotency key, and answers with bytes that were made beforehand.

    python benchmarks/server.py [--cpu N]

prints its port in one line and serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from machine import pin

THING = b'{"id":"thing_1","object":"thing","name":"lamp","count":3,"tags":["a","b"],"live":true}'
FAILURE = b'{"error":{"type":"overloaded","message":"Too much to do, come back later."}}'


def answer(status: bytes, body: bytes, *, kind: bytes = b"application/json") -> bytes:
    """One whole answer on a connection that stays open."""
    return b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nx-request-id: req_1\r\n\r\n%s" % (
        status,
        kind,
        len(body),
        body,
    )


CREATED = answer(b"200 OK", THING)
NO_KEY = answer(b"400 Bad Request", b'{"error":{"message":"no idempotency key"}}')
# What a path is answered with, and whether a request to it has to carry an idempotency key.
ANSWERS = {
    b"/things": (CREATED, True),
    b"/v1/things": (CREATED, True),  # stripe's paths begin with a version
    b"/": (answer(b"200 OK", b"{}", kind=b"application/x-amz-json-1.0"), False),  # botocore's DynamoDB
    b"/down": (answer(b"503 Service Unavailable", FAILURE), True),
}
UNKNOWN = (answer(b"404 Not Found", b"{}"), False)


class Serving(asyncio.Protocol):
    """One connection: answers each request as soon as it is complete."""

    served = 0

    def __init__(self) -> None:
        self._waiting = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._waiting + data
        while data:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                break
            head = data[:end].lower()
            size = end + 4 + _length(head)
            if len(data) < size:
                break
            data = data[size:]
            Serving.served += 1
            path = head[head.index(b" ") + 1 : head.index(b" http/")]
            if path == b"/count":
                body = b"%d" % (Serving.served - 1)
                Serving.served = 0
                self._transport.write(answer(b"200 OK", body))
                continue
            ready, keyed = ANSWERS.get(path, UNKNOWN)
            self._transport.write(ready if not keyed or b"\r\nidempotency-key: " in head else NO_KEY)
        self._waiting = data


def _length(head: bytes) -> int:
    found = head.find(b"\r\ncontent-length:")
    if found < 0:
        return 0
    stop = head.find(b"\r\n", found + 17)
    return int(head[found + 17 : stop if stop > 0 else None])


async def serve() -> None:
    """Serve until standard input ends, which it does when the parent process ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Serving, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", type=int, default=None, help="the core to stay on")
    pin(parser.parse_args().cpu)
    asyncio.run(serve())
