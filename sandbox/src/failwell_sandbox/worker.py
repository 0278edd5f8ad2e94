"""A background worker: takes what is queued, one piece of work after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from failwell.service import StoreBusyError

log = logging.getLogger("failwell_sandbox")

# A lock on the database is somebody's backup; it is over soon.
PATIENCE = 0.05

# Seconds after which it looks by itself: another process may have died over its work.
IDLE = 1.0


class Worker:
    """
    Calls `work` until it finds nothing to do, then waits to be woken, and now and then looks again.

    What is queued lies in the database, so a worker that is stopped and started again goes on
    where it was, and several, in as many processes, share the work.

    Args:
        work: Does one piece of work; False if there was none.
        name: For the log.
    """

    def __init__(self, work: Callable[[], Awaitable[bool]], name: str) -> None:
        self._work = work
        self._name = name
        self._wake: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running loop."""
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=self._name)

    def wake(self) -> None:
        """Say that there is something to do. On the worker's loop."""
        if self._wake is not None:
            self._wake.set()

    async def stop(self) -> None:
        """End, in the midst of a piece of work if need be, which gives it back."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        assert self._wake is not None
        while True:
            self._wake.clear()
            try:
                found = await self._work()
            except StoreBusyError:
                await asyncio.sleep(PATIENCE)
                continue
            except Exception:
                # One piece of work must not end them all.
                log.exception("%s: a piece of work failed", self._name)
                await asyncio.sleep(PATIENCE)
                continue
            if not found:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), IDLE)
