"""
Reading that blocks, beside an event loop, in threads that the end of the program does not wait for.

anyio's threads under asyncio end with the task that was given to `run_until_complete`. A loop that is
left before that task is done, by Ctrl-C without `asyncio.run` or by `loop.stop()`, leaves them waiting
for work, and the interpreter then waits for them for ever. Those of `concurrent.futures` are told to
end when the interpreter does.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

# Files that are read at once. More gain nothing on a disk, and each takes its pieces of memory.
_MOST_THREADS = 32


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Await what `function` returns, which takes its time but ends by itself, such as the read of a file.

    Whoever is cancelled does not wait for it.
    """
    loop, work = _loop(), _work(lambda: function(*args, **kwargs))
    return await (_trio(work) if loop is None else loop.run_in_executor(_pool(), work))


async def in_thread_of_its_own(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `in_thread`, of what may never end, such as the read of somebody's pipe."""
    loop, work = _loop(), _work(lambda: function(*args, **kwargs))
    if loop is None:
        return await _trio(work)
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None is there for an error alone

    def read() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as exc:  # noqa: BLE001  # raised by whoever awaits it
            error = exc
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            return  # the loop was closed meanwhile

    Thread(target=read, name="failwell-read", daemon=True).start()
    return await future


def _loop() -> asyncio.AbstractEventLoop | None:
    """The running loop of asyncio; None under trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _work(function: Callable[[], T]) -> Callable[[], T]:
    """`function`, without the one exception that no future takes: who awaits it would wait for ever."""

    def work() -> T:
        try:
            return function()
        except StopIteration as exc:
            raise RuntimeError("StopIteration was raised in a thread") from exc

    return work


async def _trio(work: Callable[[], T]) -> T:
    """trio's threads are nobody's to wait for."""
    from anyio.to_thread import run_sync

    return await run_sync(work, abandon_on_cancel=True)


_pools: dict[int, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    """The threads of this process: after a fork, those of the parent are not there."""
    pool = _pools.get(os.getpid())
    if pool is None:
        pool = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="failwell-read")
        pool = _pools.setdefault(os.getpid(), pool)
    return pool
