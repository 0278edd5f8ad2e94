"""
One process of clients: makes its writes, notes each answer, and makes again what it does not know of.

Its orders are the first line of its input, as JSON; it ends when its input does. A line of the journal is
written as soon as something is known: `= number id` for an answer, `? number rounds time error effect` for a
call that failed. Killed and started again, it goes on after what stands there, with the same keys.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from failwell.call.messages import Timeouts
from failwell.engines.base import Connections
from failwell.errors import CallError
from kneo_client import AsyncKneoClient, KneoClient

# Seconds before a write is made again whose call failed, and at the most.
AGAIN, AGAIN_AT_MOST = 0.2, 2.0
# A write that failed so often is given up, and is then missing.
ROUNDS = 100
# Writes are dealt to the processes in blocks of so many, of so many parts.
BLOCK, PARTS = 16, 4


class Journal:
    """Append-only; each line is one `write`, so that a killed process leaves at most half of the last."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._file, b"\n")  # behind half a line of whoever was killed

    def note(self, *words: object) -> None:
        with self._lock:
            os.write(self._file, (" ".join(map(str, words)) + "\n").encode())


def answered(path: str) -> dict[int, str]:
    """The ids of the writes that were answered, by number."""
    found: dict[int, str] = {}
    for line in Path(path).read_text().splitlines():
        match line.split():
            case ["=", number, run_id, "."]:
                found[int(number)] = run_id
            case _:
                pass
    return found


def write_of(marker: str) -> dict[str, Any]:
    """What is written."""
    return {"spec_id": "spec_text_stats", "input": {"text": "one two"}, "metadata": {"name": marker}}


class Work:
    """The writes of this process that are still to be made, shared by all that make them."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self.journal = Journal(orders["journal"])
        self._run = orders["run"]
        self._forgetful = orders["forgetful"]
        done = answered(orders["journal"])
        # Nobody knows which writes were under way when an earlier process was killed.
        self._earlier = bool(done)
        self._numbers = iter(
            [n for n in range(orders["writes"]) if n // BLOCK % PARTS in orders["parts"] and n not in done]
        )
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[int]:
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            yield number

    def marker(self, number: int) -> str:
        return f"{self._run}-{number}"

    def key(self, number: int, rounds: int) -> str:
        """The idempotency key of a write: the same for ever, unless its clients are to forget it."""
        return f"{self._run}-{rounds if self._forgetful else 1}-{number}"

    def answered(self, number: int, run_id: str) -> None:
        self.journal.note("=", number, run_id, ".")

    def failed(self, number: int, error: CallError, rounds: int) -> float | None:
        """Seconds before it is made again; None if it is given up."""
        nth = rounds + self._earlier
        self.journal.note("?", number, nth, time.time(), type(error).__name__, error.effect.value, ".")
        if rounds >= ROUNDS:
            self.journal.note("!", number, ".")
            return None
        return min(AGAIN_AT_MOST, AGAIN * 2 ** min(rounds - 1, 10))


def make_client(make: Any, orders: dict[str, Any]) -> Any:
    return make(
        orders["key"],
        base_url=orders["url"],
        timeouts=Timeouts(connect=orders["read"], read=orders["read"]),
        connections=Connections(trust_env=False),
    )


async def awaiting(orders: dict[str, Any], work: Work) -> None:
    """Make the writes with the awaiting client."""
    async with make_client(AsyncKneoClient, orders) as client:

        async def make() -> None:
            for number in work:
                marker = work.marker(number)
                wait: float | None = 0.0
                rounds = 0
                while wait is not None:
                    rounds += 1
                    await asyncio.sleep(wait)
                    try:
                        run = await client.platform.runs.create(
                            write_of(marker), idempotency_key=work.key(number, rounds)
                        )
                    except CallError as exc:
                        wait = work.failed(number, exc, rounds)
                    else:
                        work.answered(number, run.id)
                        break

        await asyncio.gather(*(make() for _ in range(orders["at_once"])))


def blocking(orders: dict[str, Any], work: Work) -> None:
    """Make the writes with the blocking client, in threads."""
    with make_client(KneoClient, orders) as client:

        def make(_: int) -> None:
            for number in work:
                marker = work.marker(number)
                wait: float | None = 0.0
                rounds = 0
                while wait is not None:
                    rounds += 1
                    time.sleep(wait)
                    try:
                        run = client.platform.runs.create(
                            write_of(marker), idempotency_key=work.key(number, rounds)
                        )
                    except CallError as exc:
                        wait = work.failed(number, exc, rounds)
                    else:
                        work.answered(number, run.id)
                        break

        with ThreadPoolExecutor(orders["at_once"]) as threads:
            list(threads.map(make, range(orders["at_once"])))


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    orders = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    work = Work(orders)
    if orders["form"] == "async":
        asyncio.run(awaiting(orders, work))
    else:
        blocking(orders, work)
    sys.stdout.flush()
    os._exit(0)  # the thread that waits for the parent cannot be asked to end


if __name__ == "__main__":
    main()
