"""
Uploads files as one side of the benchmark does, in a process of its own, whose memory is measured.

Reads orders from standard input, one JSON object a line: the files, and how many at once. Answers each
with the seconds it took, by the clock and of the processor, and the most memory it ever had.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

from machine import forget_proxies, pin

PIECE_BYTES = 256 * 1024


def failwell(stack: ExitStack, url: str) -> Callable[[Path], int]:
    """Files by their path."""
    import failwell

    client = stack.enter_context(failwell.Client(url, deadline=None))
    return lambda path: _count(client.request("POST", "/images", content=path))


def failwell_digest(stack: ExitStack, url: str) -> Callable[[Path], int]:
    """Files by their path, and their SHA-256 announced."""
    import failwell

    client = stack.enter_context(failwell.Client(url, deadline=None))

    def send(path: Path) -> int:
        sent = failwell.Upload(path, digest=True)
        return _count(client.request("POST", "/images", content=sent))

    return send


def httpx2_read(stack: ExitStack, url: str) -> Callable[[Path], int]:
    """Files read into memory, which is what most scripts do."""
    import httpx2

    client = stack.enter_context(httpx2.Client(base_url=url, timeout=60))
    return lambda path: _counted(client.post("/images", content=path.read_bytes()))


def httpx2_opened(stack: ExitStack, url: str) -> Callable[[Path], int]:
    """Opened files, which httpx2 sends in pieces."""
    import httpx2

    client = stack.enter_context(httpx2.Client(base_url=url, timeout=60))

    def send(path: Path) -> int:
        with path.open("rb") as file:
            return _counted(client.post("/images", content=file))

    return send


def httpx2_digest(stack: ExitStack, url: str) -> Callable[[Path], int]:
    """Files read into memory, and their SHA-256 announced."""
    import httpx2

    client = stack.enter_context(httpx2.Client(base_url=url, timeout=60))

    def send(path: Path) -> int:
        data = path.read_bytes()
        digest = f"sha-256=:{b64encode(sha256(data).digest()).decode()}:"
        return _counted(client.post("/images", content=data, headers={"content-digest": digest}))

    return send


def _counted(answer: Any) -> int:
    return _count(answer.raise_for_status())


def _count(answer: Any) -> int:
    number: int = answer.json()["bytes"]
    return number


async def failwell_async(
    stack: AsyncExitStack, url: str, engine: str = "httpx"
) -> Callable[[Path], Awaitable[int]]:
    """Files by their path, awaiting."""
    import failwell

    client = await stack.enter_async_context(failwell.AsyncClient(url, deadline=None, engine=engine))

    async def send(path: Path) -> int:
        return _count(await client.request("POST", "/images", content=path))

    return send


async def failwell_aiohttp(stack: AsyncExitStack, url: str) -> Callable[[Path], Awaitable[int]]:
    """The same over aiohttp."""
    return await failwell_async(stack, url, "aiohttp")


async def httpx2_async_read(stack: AsyncExitStack, url: str) -> Callable[[Path], Awaitable[int]]:
    """Files read into memory, awaiting."""
    import httpx2

    client = await stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=60))

    async def send(path: Path) -> int:
        return _counted(await client.post("/images", content=path.read_bytes()))

    return send


async def httpx2_async_pieces(stack: AsyncExitStack, url: str) -> Callable[[Path], Awaitable[int]]:
    """Files in pieces, by an asynchronous generator that reads in the event loop."""
    import httpx2

    client = await stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=60))

    async def send(path: Path) -> int:
        async def pieces() -> AsyncIterator[bytes]:
            with path.open("rb") as file:  # as a script would
                while piece := file.read(PIECE_BYTES):
                    yield piece

        size = {"content-length": str(path.stat().st_size)}  # as a script would
        return _counted(await client.post("/images", content=pieces(), headers=size))

    return send


BLOCKING = {
    "failwell": failwell,
    "failwell, digest": failwell_digest,
    "httpx2": httpx2_read,
    "httpx2, opened file": httpx2_opened,
    "httpx2, digest": httpx2_digest,
}
AWAITING = {
    "failwell, async": failwell_async,
    "failwell, async, aiohttp": failwell_aiohttp,
    "httpx2, async": httpx2_async_read,
    "httpx2, async, in pieces": httpx2_async_pieces,
}


def orders() -> Any:
    """What standard input asks for."""
    for line in iter(sys.stdin.readline, ""):
        yield json.loads(line)


def blocking(make: Any, url: str) -> None:
    """Carry orders out with as many threads as uploads at once."""
    with ExitStack() as stack:
        send = make(stack, url)
        for order in orders():
            with ThreadPoolExecutor(order["at_once"]) as threads:
                began = started()
                total = sum(threads.map(send, map(Path, order["files"])))
            tell(began, total)


async def awaiting(make: Any, url: str) -> None:
    """Carry orders out with as many tasks as uploads at once."""
    async with AsyncExitStack() as stack:
        send = await make(stack, url)
        for order in orders():
            waiting = iter(order["files"])

            async def work(waiting: Any = waiting) -> int:
                return sum([await send(Path(file)) for file in waiting])

            began = started()
            total = sum(await asyncio.gather(*(work() for _ in range(order["at_once"]))))
            tell(began, total)


def started() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def tell(began: tuple[float, float], total: int) -> None:
    wall, cpu = (now - then for now, then in zip(started(), began, strict=True))
    # Kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"wall": wall, "cpu": cpu, "bytes": total, "peak": peak}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=[*BLOCKING, *AWAITING])
    parser.add_argument("url")
    parser.add_argument("--cpu", type=int)
    given = parser.parse_args()
    pin(given.cpu)
    forget_proxies()
    if given.side in BLOCKING:
        blocking(BLOCKING[given.side], given.url)
    else:
        asyncio.run(awaiting(AWAITING[given.side], given.url))


if __name__ == "__main__":
    main()
