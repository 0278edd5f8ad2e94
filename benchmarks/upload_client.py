"""
Uploads files as one side of the benchmark does, in a process of its own, whose memory is measured.

Reads orders from standard input, one JSON object a line: see `upload_sides.Order`. Answers each with
the seconds it took, by the clock and of the processor, the bytes that the service says it has, and the
most memory this process ever had.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from contextlib import AsyncExitStack, ExitStack
from typing import Any

from machine import forget_proxies, pin
from upload_sides import AWAITING, BLOCKING, Order


def orders() -> Any:
    """What standard input asks for."""
    for line in iter(sys.stdin.readline, ""):
        yield Order(**json.loads(line))


def blocking(make: Any, url: str, key: str) -> None:
    """Carry orders out."""
    with ExitStack() as stack:
        upload = make(stack, url, key)
        for order in orders():
            began = started()
            tell(began, upload(order))


async def awaiting(make: Any, url: str, key: str) -> None:
    """Carry orders out, awaiting."""
    async with AsyncExitStack() as stack:
        upload = await make(stack, url, key)
        for order in orders():
            began = started()
            tell(began, await upload(order))


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
    parser.add_argument("key")
    parser.add_argument("--cpu", type=int)
    given = parser.parse_args()
    pin(given.cpu)
    forget_proxies()
    if given.side in BLOCKING:
        blocking(BLOCKING[given.side], given.url, given.key)
    else:
        asyncio.run(awaiting(AWAITING[given.side], given.url, given.key))


if __name__ == "__main__":
    main()
