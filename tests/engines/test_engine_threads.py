"""Threads beside an event loop: what they bring, what they raise, and who does not wait for them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio
import pytest

from failwell.engines.threads import in_thread, in_thread_of_its_own

BACKENDS = ("asyncio", "trio")
WAYS = (in_thread, in_thread_of_its_own)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", WAYS)
def test_what_a_function_returns_and_raises_comes_from_another_thread(way: Any, backend: str) -> None:
    def fall() -> None:
        raise LookupError("nothing there")

    async def main() -> None:
        assert await way(int, "12", base=3) == 5
        assert await way(threading.get_ident) != threading.get_ident()
        with pytest.raises(LookupError, match="nothing there"):
            await way(fall)

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_stop_iteration_is_an_error_that_can_be_awaited(way: Any, backend: str) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await way(next, iter(()))

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", WAYS)
def test_whoever_is_cancelled_does_not_wait(way: Any, backend: str) -> None:
    going_on, over = threading.Event(), threading.Event()

    def stall() -> None:
        going_on.wait(20)
        over.set()

    async def main() -> None:
        with anyio.move_on_after(0.05) as scope:
            await way(stall)
        assert scope.cancelled_caught
        assert not over.is_set()
        going_on.set()
        assert await way(over.wait, 20)

    anyio.run(main, backend=backend)


def test_what_comes_when_the_loop_is_closed_is_dropped() -> None:
    """pytest fails a test whose thread raises."""
    threads: list[threading.Thread] = []
    started, going_on = threading.Event(), threading.Event()

    def stall() -> None:
        threads.append(threading.current_thread())
        started.set()
        going_on.wait(20)

    loop = asyncio.new_event_loop()
    waiting = loop.create_task(in_thread_of_its_own(stall))
    loop.run_until_complete(asyncio.sleep(0))
    assert started.wait(20)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(waiting)
    loop.close()
    going_on.set()
    threads[0].join(20)

    assert not threads[0].is_alive()
