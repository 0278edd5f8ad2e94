"""Who waits for a socket on an event loop is told, once, and of that socket."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Iterator
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

import pytest

from failwell.service.stores.sockets import CAN_WATCH, ready

pytestmark = pytest.mark.skipif(not CAN_WATCH, reason="this system has no epoll")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


Pair = tuple[socket.socket, socket.socket]


def loops() -> list[Any]:
    return [asyncio.new_event_loop, pytest.param(_uvloop, id="uvloop")]


def _uvloop() -> asyncio.AbstractEventLoop:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    made: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return made


def run_on(new_loop: Callable[[], asyncio.AbstractEventLoop], work: Any) -> Any:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(asyncio.wait_for(work, 10))


@pytest.mark.parametrize("new_loop", loops())
def test_a_socket_is_ready_once_there_is_something_to_read(new_loop: Any, pair: Pair) -> None:
    near, far = pair

    async def run() -> list[int]:
        told = []
        for _ in range(3):
            waits = ready(near.fileno(), EVENT_READ)
            await asyncio.sleep(0.01)
            assert not waits.done()
            far.send(b"x")
            told.append(await waits)
            near.recv(10)
        return told

    assert run_on(new_loop, run()) == [EVENT_READ] * 3


@pytest.mark.parametrize("new_loop", loops())
def test_what_came_before_somebody_waits_is_not_missed(new_loop: Any, pair: Pair) -> None:
    near, far = pair

    async def run() -> int:
        far.send(b"x")
        first = await ready(near.fileno(), EVENT_READ)
        await asyncio.sleep(0.01)  # it is left where it is
        return first | await ready(near.fileno(), EVENT_READ)

    assert run_on(new_loop, run()) == EVENT_READ


def test_a_socket_may_be_ready_for_writing_and_for_both(pair: Pair) -> None:
    near, far = pair

    async def run() -> list[int]:
        far.send(b"x")
        return [await ready(near.fileno(), EVENT_WRITE), await ready(near.fileno(), EVENT_READ | EVENT_WRITE)]

    assert run_on(asyncio.new_event_loop, run()) == [EVENT_WRITE, EVENT_READ | EVENT_WRITE]


@pytest.mark.parametrize("new_loop", loops())
def test_a_lost_socket_is_ready(new_loop: Any, pair: Pair) -> None:
    """Who reads or writes finds out."""
    near, far = pair

    async def run() -> int:
        waits = ready(near.fileno(), EVENT_READ)
        far.close()
        return await waits

    assert run_on(new_loop, run()) & EVENT_READ


@pytest.mark.parametrize("new_loop", loops())
def test_a_number_that_comes_again_is_the_new_socket(new_loop: Any) -> None:
    """As when a connection is lost, and the next one is given its number."""

    async def run() -> None:
        for _ in range(5):
            near, far = socket.socketpair()
            near.setblocking(False)
            waits = ready(near.fileno(), EVENT_READ)
            far.send(b"x")
            assert await waits == EVENT_READ
            numbers.add(near.fileno())
            abandoned = ready(near.fileno(), EVENT_WRITE)
            abandoned.cancel()
            near.close()
            far.close()

    numbers: set[int] = set()
    run_on(new_loop, run())
    assert len(numbers) < 5


def test_a_socket_that_is_none_is_said_to_be_none(pair: Pair) -> None:
    near, far = pair
    far.send(b"x")

    async def run() -> None:
        number = near.fileno()
        await ready(number, EVENT_READ)
        near.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            ready(number, EVENT_READ)

    run_on(asyncio.new_event_loop, run())


def test_a_loop_takes_what_it_watches_with_it(pair: Pair) -> None:
    """One descriptor for each loop, and none is left over."""
    near, far = pair
    far.send(b"x")

    async def run() -> int:
        return await ready(near.fileno(), EVENT_READ)

    run_on(asyncio.new_event_loop, run())
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        assert run_on(asyncio.new_event_loop, run()) == EVENT_READ
    gc.collect()

    assert len(os.listdir("/proc/self/fd")) == before
