"""
Real clients, some of a crowd: each a `failwell.AsyncClient` with a budget and a breaker of its own, that
call a real service at random moments, whatever became of the calls before.

`failwell storm --real` runs several such processes, as `python -m failwell.storm.crowd`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

from failwell.call.budget import RetryBudget
from failwell.call.messages import Timeouts
from failwell.call.retry import RetryPolicy
from failwell.client import AsyncClient
from failwell.engines.base import Connections
from failwell.errors import CallError
from failwell.storm.limited import say
from failwell.storm.simulation import plan
from failwell.storm.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from failwell.failure import Attempt
    from failwell.storm.simulation import CallPlan

# What each policy of the model is as settings of a real client, by its name there.
SETTINGS: dict[str, Callable[[], dict[str, Any]]] = {
    "failwell": dict,
    "no retries": lambda: {"retry": RetryPolicy(max_attempts=1), "breaker": False},
    "jitter": lambda: {
        "retry": RetryPolicy(max_attempts=4),
        "breaker": False,
        "budget": RetryBudget(1e12, retry_cost=0),
    },
}

# Seconds that calls may take to end when no new ones begin.
DRAIN = 30.0


def calls(world: World, seed: int) -> list[CallPlan]:
    """The calls that are made, by all processes together: the same in each that has the seed."""
    return list(plan(world, Random(seed)))  # noqa: S311  # dice that can be thrown again


class Crowd:
    """
    The clients of one process.

    Args:
        world: What is simulated; here it happens.
        policy: A name of `SETTINGS`.
        seed: Of when calls begin; the same for all processes.
        port: Where the service listens.
        part: Which of the clients are made here: those whose number, divided by `parts`, leaves `part`.
        parts: Processes.

    Attributes:
        calls: Calls that began in each second.
        answered: How many of those were answered in the end.
        attempts: Requests that were tried in each second, as the library reports them.
        sent: The same in all, also of those behind the last second.
        late: Seconds: the most that a call began behind its time, because the machine was busy.
        unfinished: Calls that had no end 30 s after the last had begun.
    """

    def __init__(
        self, world: World, policy: str, *, seed: int, port: int, part: int = 0, parts: int = 1
    ) -> None:
        self._world = world
        self._mine = [each for each in calls(world, seed) if each[1] % parts == part]
        timeouts = Timeouts(world.timeout, world.timeout, world.timeout, world.timeout)
        # Nothing is encrypted here, and each client would load all certificates of the machine.
        connections = Connections(verify=False, trust_env=False, max_connections=1000)
        self._clients = {
            number: AsyncClient(
                f"http://127.0.0.1:{port}",
                timeouts=timeouts,
                connections=connections,
                random=Random(f"{seed} {number}").random,  # noqa: S311  # dice that can be thrown again
                **SETTINGS[policy](),
            )
            for number in range(part, world.clients, parts)
        }
        self.calls, self.answered, self.attempts = ([0] * world.seconds for _ in range(3))
        self.sent = 0
        self.late = 0.0
        self.unfinished = 0

    async def run(self, began: float, told: Callable[[float], object]) -> None:
        """
        Make all calls, and wait for their ends.

        Args:
            began: Monotonic seconds at which the world begins.
            told: Called each second with the part that is over, from 0 to 1.
        """
        under_way: set[asyncio.Task[None]] = set()
        second = 0
        try:
            for moment, number, key in self._mine:
                await asyncio.sleep(max(0.0, began + moment - monotonic()))
                if int(moment) > second:
                    second = int(moment)
                    told(second / self._world.seconds)
                task = asyncio.create_task(self._call(began, moment, number, key))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            if under_way:
                await asyncio.wait(list(under_way), timeout=DRAIN)
        finally:
            self.unfinished = len(under_way)
            for task in list(under_way):
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            for client in self._clients.values():
                await client.aclose()

    async def _call(self, began: float, moment: float, number: int, key: int) -> None:
        second, begins = int(moment), monotonic() - began
        self.late = max(self.late, begins - moment)
        self.calls[second] += 1
        try:
            response = await self._clients[number].request("GET", f"/things/{key}")
        except CallError as exc:
            self._count(begins, exc.failure.attempts)
            return
        self.answered[second] += 1
        self._count(begins, response.attempts)

    def _count(self, begins: float, attempts: tuple[Attempt, ...]) -> None:
        self.sent += len(attempts)
        for attempt in attempts:
            at = int(begins + attempt.start)
            if at < len(self.attempts):
                self.attempts[at] += 1


async def run(lines: Callable[[], str], tell: Callable[[dict[str, Any]], None]) -> None:
    """
    Make clients, say so, be told when the world begins, and tell what came of the calls.

    Args:
        lines: Reads a line of what it is told.
        tell: Says it.
    """
    told = json.loads(lines())
    crowd = Crowd(World(**told.pop("world")), **told)
    tell({"ready": True})
    began = lines()
    if not began:
        return
    await crowd.run(json.loads(began)["began"], lambda part: tell({"part": part}))
    tell(
        {
            "calls": crowd.calls, "answered": crowd.answered, "attempts": crowd.attempts,
            "sent": crowd.sent, "late": crowd.late, "unfinished": crowd.unfinished,
        }
    )  # fmt: skip


def end_with(lines: Callable[[], str], end: Callable[[int], object] = os._exit) -> None:
    """End this process when nobody tells it anything any more: its parent is gone."""
    while lines():
        pass
    end(1)


def main() -> None:
    """What `python -m failwell.storm.crowd` does."""

    def lines() -> str:
        line = sys.stdin.readline()
        if "began" in line:  # the last it is told
            threading.Thread(target=end_with, args=(sys.stdin.readline,), daemon=True).start()
        return line

    asyncio.run(run(lines, say))


if __name__ == "__main__":
    main()
