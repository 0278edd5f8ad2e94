"""
Asks a service as fast as it answers, over many connections that stay open.

    python benchmarks/load.py [--cpu N]

reads what to do from standard input, one JSON object a line, and answers each in one line:

    {"ports": [8000], "what": "post", "calls": 1000}
    {"wall": 0.31, "cpu": 0.04, "statuses": {"201": 1000}, "replayed": 0}

The connections are spread evenly over the ports. `post` sends an idempotency key that was never sent,
`again` the keys of the `post` before it on those ports, `get` and `read` none. Requests are written
before the clock starts, and of an answer it is only read where it ends, its status and whether it
is a replay: what it costs is a fraction of what a service costs, and `cpu` says which.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any, cast

import uvloop

from machine import pin
from service_app import KEY

AT_ONCE = 64
BODY = b'{"name": "lamp", "count": 3, "tags": ["a", "b"], "live": true}'
COMMON = (
    b"host: 127.0.0.1\r\naccept: application/json\r\nuser-agent: load\r\nauthorization: Bearer %s\r\n"
    % KEY.encode()
)
GETS = {
    "get": b"GET /things HTTP/1.1\r\n%s\r\n" % COMMON,
    "read": b"GET /things/1 HTTP/1.1\r\n%s\r\n" % COMMON,
}
POST = b"POST /things HTTP/1.1\r\n%scontent-type: application/json\r\ncontent-length: %d\r\n" % (
    COMMON,
    len(BODY),
)


class Turn:
    """Requests that are left, and what came of the others."""

    def __init__(self, requests: list[bytes]) -> None:
        self.left: Iterator[bytes] = iter(requests)
        self.open = len(requests)
        self.statuses: Counter[str] = Counter()
        self.replayed = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Asking(asyncio.Protocol):
    """One connection: sends the next request when the last is answered."""

    def __init__(self) -> None:
        self._waiting = b""
        self._transport: asyncio.Transport
        self._turn: Turn

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of no class of asyncio's

    def begin(self, turn: Turn) -> None:
        """Take part in `turn`."""
        self._turn = turn
        self._next()

    def _next(self) -> None:
        request = next(self._turn.left, None)
        if request is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        data = self._waiting + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + _length(data, end):
            self._waiting = data
            return
        self._waiting = b""
        turn = self._turn
        turn.statuses[data[9:12].decode()] += 1
        turn.replayed += b"\r\nidempotent-replayed: true" in data
        turn.open -= 1
        if turn.open == 0:
            turn.done.set_result(None)
        else:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        turn = getattr(self, "_turn", None)
        if turn is not None and turn.open and not turn.done.done():
            turn.done.set_exception(exc or ConnectionError("the service closed a connection"))


def _length(data: bytes, end: int) -> int:
    found = data.index(b"\r\ncontent-length: ", 0, end + 2) + 18
    return int(data[found : data.index(b"\r\n", found)])


class Load:
    """Connections and keys by the first port of a service."""

    def __init__(self) -> None:
        self._connections: dict[int, list[Asking]] = {}
        self._last: dict[int, list[bytes]] = {}
        self._sent = 0

    async def turn(self, ports: list[int], what: str, calls: int) -> dict[str, Any]:
        """Make that many calls now; what they took, in seconds."""
        service = ports[0]
        connections = self._connections.get(service)
        if connections is None:
            loop = asyncio.get_running_loop()
            evenly = islice(cycle(ports), AT_ONCE)
            made = [await loop.create_connection(Asking, "127.0.0.1", port) for port in evenly]
            connections = self._connections[service] = [protocol for _, protocol in made]
        turn = Turn(self._requests(service, what, calls))
        wall, cpu = time.perf_counter(), time.process_time()
        for connection in connections:
            connection.begin(turn)
        await asyncio.wait_for(turn.done, 60)
        return {
            "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu,
            "calls": turn.statuses.total(), "statuses": turn.statuses, "replayed": turn.replayed,
        }  # fmt: skip

    def _requests(self, service: int, what: str, calls: int) -> list[bytes]:
        if what in GETS:
            return [GETS[what]] * calls
        if what == "post":
            first = self._sent
            self._sent += calls
            self._last[service] = [
                b"%sidempotency-key: 7f0e2b1c-%012d\r\n\r\n%s" % (POST, number, BODY)
                for number in range(first, self._sent)
            ]
        return self._last[service][:calls]


async def main() -> None:
    load = Load()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await load.turn(**json.loads(line))), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cpu", type=int, default=None, help="the core to stay on")
    pin(parser.parse_args().cpu)
    uvloop.run(main())
