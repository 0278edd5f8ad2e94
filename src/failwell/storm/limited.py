"""
A real service whose capacity is known by construction: a few workers, each request takes one of them
for a fixed time.

`failwell storm --real` runs it in a process of its own, as `python -m failwell.storm.limited`; it
listens on the loopback address only, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from time import monotonic
from typing import TYPE_CHECKING

from failwell.storm.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

WORKERS = 2

_WORDS = {200: "OK", 500: "Internal Server Error", 503: "Service Unavailable"}


class LimitedService:
    """
    Workers that take requests from one queue, first come, first served.

    A worker keeps its place in time: when the machine wakes it late, the next request does not begin
    later for it. So the capacity is `world.capacity`, however busy the machine is. As in the model, it
    works on requests that nobody waits for any more.

    Args:
        world: Its capacity, what the trigger does and when, how long a request may wait.
        workers: How many; each request takes one for `workers / capacity` seconds.

    Attributes:
        port: Where it listens, once `open` was called.
        seen: Requests that arrived.
        late: Seconds: the most that an answer left behind its time, because the machine was busy.
    """

    def __init__(self, world: World, workers: int = WORKERS) -> None:
        self._world = world
        self._takes = workers / world.capacity
        self._queue: asyncio.Queue[tuple[float, int, asyncio.Transport]] = asyncio.Queue()
        self._workers = workers
        self._began = float("inf")
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Transport] = set()
        self._tasks: list[asyncio.Task[None]] = []
        # Bound and never listening: it keeps the port while connections are refused.
        self._place = _bound(0)
        self.port: int = self._place.getsockname()[1]
        self.seen = 0
        self.late = 0.0

    async def open(self) -> None:
        """Listen, and let the workers begin."""
        await self._listen()
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]

    def begin(self, began: float) -> None:
        """
        The world begins.

        Args:
            began: When, in monotonic seconds.
        """
        self._began = began
        if self._world.trigger == "refuse":
            self._tasks.append(asyncio.create_task(self._refuse()))

    async def close(self) -> None:
        """Let go of everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._shut()
        self._place.close()

    def arrived(self, path: str, connection: asyncio.Transport) -> None:
        """Put a request into the queue; the last part of `path` is its key."""
        self.seen += 1
        self._queue.put_nowait((monotonic(), int(path.rpartition("/")[2]), connection))

    def opened(self, connection: asyncio.Transport) -> None:
        """Know a connection, to close it in the end."""
        self._connections.add(connection)

    def lost(self, connection: asyncio.Transport) -> None:
        """Forget it."""
        self._connections.discard(connection)

    async def _listen(self) -> None:
        loop, listening = asyncio.get_running_loop(), _bound(self.port)
        self._server = await loop.create_server(lambda: _Connection(self), sock=listening, backlog=1024)

    def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()

    async def _refuse(self) -> None:
        """While the trigger lasts, nobody listens, and who was connected is cut off."""
        await _until(self._began + self._world.begins)
        self._shut()
        await _until(self._began + self._world.ends)
        await self._listen()

    async def _work(self) -> None:
        world, free = self._world, 0.0
        while True:
            arrived, key, connection = await self._queue.get()
            begins = max(arrived, free)
            if world.trigger == "hold" and self._lasts(begins):
                begins = self._began + world.ends
            shed = begins - arrived > world.queue
            free = begins if shed else begins + self._takes
            await _until(free)
            self.late = max(self.late, monotonic() - free)
            fails = world.trigger == "partial" and key == 0 and self._lasts(arrived)
            answer(connection, 503 if shed else 500 if fails else 200)

    def _lasts(self, moment: float) -> bool:
        """Whether `moment` is within the trigger."""
        return self._world.begins <= moment - self._began < self._world.ends


class _Connection(asyncio.Protocol):
    """One connection: requests without a body, one after the other."""

    def __init__(self, service: LimitedService) -> None:
        self._service = service
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._service.opened(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.lost(self._transport)

    def data_received(self, data: bytes) -> None:
        self._came += data
        while (end := self._came.find(b"\r\n\r\n")) >= 0:
            head, self._came = self._came[:end], self._came[end + 4 :]
            self._service.arrived(head.split(b" ", 2)[1].decode("latin-1"), self._transport)


def answer(connection: asyncio.Transport, status: int) -> None:
    """Answer a request, if somebody is there."""
    if not connection.is_closing():
        connection.write(f"HTTP/1.1 {status} {_WORDS[status]}\r\ncontent-length: 0\r\n\r\n".encode())


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - monotonic()))


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


async def run(lines: Callable[[], str], tell: Callable[[dict[str, Any]], None]) -> None:
    """
    Serve until told to end.

    Args:
        lines: Reads a line of what it is told: the world, when it begins, and "" to end.
        tell: Says the port, and in the end what was seen.
    """
    told = json.loads(lines())
    service = LimitedService(World(**told["world"]))
    try:
        await service.open()
        tell({"port": service.port})
        began = await asyncio.to_thread(lines)
        if began:
            service.begin(json.loads(began)["began"])
            await asyncio.to_thread(lines)
    finally:
        await service.close()
    tell({"seen": service.seen, "late": service.late})


def say(facts: dict[str, Any]) -> None:
    """Print one line of JSON for the process that started this one."""
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    asyncio.run(run(sys.stdin.readline, say))
