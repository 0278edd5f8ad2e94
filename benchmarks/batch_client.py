"""
Sends many files as one side of the benchmark does, in a process of its own, whose memory is measured.

Reads orders from standard input, one JSON object a line: the files, and how many at once. Answers each
with the seconds it took, by the clock and of the processor, how many succeeded and failed, whether they
stand in order, and the most memory it ever had.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from machine import forget_proxies, pin

# What became of each file, in order: the bytes that the service counted, or None for a failure.
Outcome = list[int | None]
Send = Callable[[list[str], int], Outcome]


def post(given: tuple[int, str], key: str) -> Any:
    """The operation that sends one file."""
    import failwell

    number, path = given
    with open(path, "rb") as file:
        content = file.read()
    return failwell.Operation("POST", f"/files/{number}", lambda a: a.json()["bytes"], content=content)


def outcome(result: Any) -> Outcome:
    return [item.result if item.status == "done" else None for item in result]


def failwell_batch(url: str) -> Send:
    """A batch."""
    import failwell

    client = failwell.Client(url, deadline=None)

    def send(files: list[str], at_once: int) -> Outcome:
        return outcome(client.perform(failwell.Batch(enumerate(files), post, concurrency=at_once)))

    return send


def httpx2_threads(url: str) -> Send:
    """The same requests by a pool of threads and plain httpx2, which is what a careful script does."""
    import httpx2

    limits = httpx2.Limits(max_connections=100, max_keepalive_connections=100)
    client = httpx2.Client(base_url=url, timeout=60, limits=limits)

    def one(given: tuple[int, str]) -> int | None:
        number, path = given
        with open(path, "rb") as file:
            content = file.read()
        try:
            answer = client.post(f"/files/{number}", content=content)
            answer.raise_for_status()
            counted: int = answer.json()["bytes"]
        except httpx2.HTTPError:
            return None
        return counted

    def send(files: list[str], at_once: int) -> Outcome:
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(one, enumerate(files)))

    return send


def failwell_batch_async(url: str, engine: str = "httpx") -> Callable[..., Awaitable[Outcome]]:
    """A batch, awaiting."""
    import failwell

    client = failwell.AsyncClient(url, deadline=None, engine=engine)

    async def send(files: list[str], at_once: int) -> Outcome:
        return outcome(await client.perform(failwell.Batch(enumerate(files), post, concurrency=at_once)))

    return send


def failwell_batch_aiohttp(url: str) -> Callable[..., Awaitable[Outcome]]:
    """The same over aiohttp."""
    return failwell_batch_async(url, "aiohttp")


def httpx2_tasks(url: str) -> Callable[..., Awaitable[Outcome]]:
    """The same requests by tasks of plain httpx2, as many as may be under way."""
    import httpx2

    limits = httpx2.Limits(max_connections=100, max_keepalive_connections=100)
    client = httpx2.AsyncClient(base_url=url, timeout=60, limits=limits)

    async def one(number: int, path: str) -> int | None:
        with open(path, "rb") as file:  # as a script would
            content = file.read()
        try:
            answer = await client.post(f"/files/{number}", content=content)
            answer.raise_for_status()
            counted: int = answer.json()["bytes"]
        except httpx2.HTTPError:
            return None
        return counted

    async def send(files: list[str], at_once: int) -> Outcome:
        found: Outcome = [None] * len(files)
        waiting = iter(enumerate(files))

        async def work() -> None:
            for number, path in waiting:
                found[number] = await one(number, path)

        await asyncio.gather(*(work() for _ in range(at_once)))
        return found

    return send


BLOCKING = {"failwell": failwell_batch, "httpx2": httpx2_threads}
AWAITING = {
    "failwell, async": failwell_batch_async,
    "failwell, async, aiohttp": failwell_batch_aiohttp,
    "httpx2, async": httpx2_tasks,
}


def tell(files: list[str], found: Outcome, began: tuple[float, float]) -> None:
    wall, cpu = (now - then for now, then in zip(started(), began, strict=True))
    # Kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    in_order = all((one is None) == (number % 50 == 7) for number, one in enumerate(found))
    told = {"done": sum(one is not None for one in found), "sent": len(found), "in_order": in_order}
    print(json.dumps({**told, "wall": wall, "cpu": cpu, "peak": peak}), flush=True)


def started() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def blocking(make: Any, url: str) -> None:
    send = make(url)
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        began = started()
        tell(order["files"], send(order["files"], order["at_once"]), began)


async def awaiting(make: Any, url: str) -> None:
    send = make(url)
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        began = started()
        tell(order["files"], await send(order["files"], order["at_once"]), began)


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
