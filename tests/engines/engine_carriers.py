"""The engines under test, each driven from blocking code."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from failwell.call.messages import Broken, Response
from failwell.engines import open_async_engine, open_engine
from failwell.engines.base import Connections

# (engine, how it is driven)
ENGINES = [
    ("httpx", "sync"),
    ("httpx", "asyncio"),
    ("httpx", "trio"),
    ("aiohttp", "asyncio"),
    ("pyreqwest", "sync"),
    ("pyreqwest", "asyncio"),
]


class Carrier:
    """
    One engine, driven as its kind is.

    `carrier(orders...)` carries them out one after the other through one engine and closes it;
    an order may be a callable that is called when it is due, or a number of seconds to wait.
    """

    def __init__(self, engine: str, drive: str) -> None:
        self.engine = engine
        self.drive = drive

    def __call__(self, *orders: Any, connections: Connections | None = None) -> list[Response | Broken]:
        return getattr(self, f"_{self.drive}")(orders, connections or Connections())

    def _sync(self, orders: Any, connections: Connections) -> list[Any]:
        engine = open_engine(self.engine, connections)
        results = []
        try:
            for order in orders:
                if isinstance(order, float):
                    time.sleep(order)
                    continue
                results.append(engine.send(order() if callable(order) else order))
        finally:
            engine.close()
        return results

    def _asyncio(self, orders: Any, connections: Connections) -> list[Any]:
        import asyncio

        return asyncio.run(self._awaited(orders, connections, asyncio.sleep))

    def _trio(self, orders: Any, connections: Connections) -> list[Any]:
        import trio

        return trio.run(self._awaited, orders, connections, trio.sleep)

    async def _awaited(
        self, orders: Any, connections: Connections, sleep: Callable[[float], Any]
    ) -> list[Any]:
        engine = open_async_engine(self.engine, connections)
        results = []
        try:
            for order in orders:
                if isinstance(order, float):
                    await sleep(order)
                    continue
                results.append(await engine.send(order() if callable(order) else order))
        finally:
            await engine.aclose()
        return results
