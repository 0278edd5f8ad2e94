"""The background worker: what is queued gets done, whatever gets in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from failwell.service import StoreBusyError
from failwell_sandbox import worker as worker_module
from failwell_sandbox.worker import Worker


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.001)


def test_it_works_until_nothing_is_left_and_again_when_woken() -> None:
    queued, done = [1, 2, 3], []

    async def work() -> bool:
        if not queued:
            return False
        done.append(queued.pop(0))
        return True

    async def scenario() -> None:
        worker = Worker(work, "test")
        worker.wake()  # before it is started, that says nothing
        worker.start()
        await until(lambda: len(done) == 3)
        queued.append(4)
        await asyncio.sleep(0.01)
        asleep = list(done)
        worker.wake()
        await until(lambda: len(done) == 4)
        await worker.stop()
        await worker.stop()
        assert asleep == [1, 2, 3]

    asyncio.run(scenario())

    assert done == [1, 2, 3, 4]


def test_it_finds_what_nobody_told_it_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Another process may have queued it, or died over it.
    """
    monkeypatch.setattr(worker_module, "IDLE", 0.005)
    queued: list[int] = []
    done: list[int] = []

    async def work() -> bool:
        if not queued:
            return False
        done.append(queued.pop())
        return True

    async def scenario() -> None:
        worker = Worker(work, "test")
        worker.start()
        await asyncio.sleep(0.02)
        queued.append(1)
        await until(lambda: bool(done))
        await worker.stop()

    asyncio.run(scenario())

    assert done == [1]


def test_neither_a_locked_database_nor_a_bug_ends_it() -> None:
    endings: list[Exception] = [StoreBusyError("locked"), ZeroDivisionError("bug")]
    done: list[str] = []

    async def work() -> bool:
        if endings:
            raise endings.pop(0)
        done.append("done")
        return False

    async def scenario() -> None:
        worker = Worker(work, "test")
        worker.start()
        await until(lambda: bool(done))
        await worker.stop()

    asyncio.run(scenario())

    assert done == ["done"]
