"""Synchronous work that waits on an event loop, without a database: futures and sockets by hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Generator, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

pytest.importorskip("greenlet", reason="what PostgreSQL needs is not installed")

from failwell.service.stores.switching import (
    READABLE,
    WRITABLE,
    Watch,
    aside,
    carried_out,
    pause,
    turn,
    waited_for,
)

OF_REQUEST: ContextVar[str] = ContextVar("OF_REQUEST", default="nobody's")


def run(work: Callable[..., Any], *arguments: Any) -> Any:
    return asyncio.run(carried_out(work, *arguments))


def test_what_work_returns_and_raises_is_its_callers() -> None:
    def fail() -> None:
        pause(0.0)
        raise LookupError("gone")

    assert run(lambda a, b: a + b, 1, 2) == 3
    with pytest.raises(LookupError, match="gone"):
        run(fail)


def test_work_that_waits_lets_others_go_on() -> None:
    async def both() -> list[str]:
        told: list[str] = []
        other = asyncio.get_running_loop().create_future()

        def work() -> None:
            told.append("begun")
            told.append(waited_for(other))

        task = asyncio.create_task(carried_out(work))
        await asyncio.sleep(0)
        told.append("meanwhile")
        other.set_result("ended")
        await task
        return told

    assert asyncio.run(both()) == ["begun", "meanwhile", "ended"]


def test_work_has_the_context_of_who_asks_for_it() -> None:
    def work() -> tuple[str, str]:
        before = OF_REQUEST.get()
        pause(0.0)
        return before, OF_REQUEST.get()

    async def ask(name: str) -> Any:
        OF_REQUEST.set(name)
        return await carried_out(work)

    async def two() -> list[Any]:
        return [*await asyncio.gather(ask("first"), ask("second"))]

    assert asyncio.run(two()) == [("first", "first"), ("second", "second")]


def test_stop_iteration_is_an_error_of_the_work() -> None:
    def work() -> None:
        next(iter([]))

    with pytest.raises(RuntimeError, match="StopIteration"):
        run(work)


def test_work_that_was_cancelled_is_not_called_back_by_what_it_waited_for() -> None:
    """It may be waiting for something else by then, such as to clean up."""

    async def cancel_as_it_comes() -> Any:
        first, second = (asyncio.get_running_loop().create_future() for _ in range(2))

        def work() -> Any:
            try:
                return waited_for(first)
            except asyncio.CancelledError:
                return waited_for(second)

        task = asyncio.create_task(carried_out(work))
        await asyncio.sleep(0)
        task.cancel()
        first.set_result("too late")
        await asyncio.sleep(0.01)
        second.set_result("cleaned up")
        return await task

    assert asyncio.run(cancel_as_it_comes()) == "cleaned up"


def test_a_turn_lets_those_go_first_who_have_something_to_do() -> None:
    async def take_turns() -> list[str]:
        told: list[str] = []

        def work() -> None:
            told.append("before")
            turn()
            told.append("after")

        asyncio.get_running_loop().call_soon(told.append, "other")
        await carried_out(work)
        return told

    assert asyncio.run(take_turns()) == ["before", "other", "after"]


def test_what_blocks_is_done_aside() -> None:
    loops: list[bool] = []

    def blocks() -> str:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            loops.append(False)
        return "done"

    assert run(lambda: aside(blocks)) == "done"
    assert loops == [False]
    assert aside(lambda: "no loop") == "no loop"


# --- at a socket ---


def uvloops() -> asyncio.AbstractEventLoop:
    """It looks at sockets where the stack is deep."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


@pytest.fixture(params=[asyncio.new_event_loop, uvloops])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    for one in (ours, theirs):
        one.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def received(ours: socket.socket) -> Generator[int, int, bytes]:
    """As psycopg reads an answer."""
    while True:
        found = yield READABLE
        if found & READABLE:
            try:
                return ours.recv(100)
            except BlockingIOError:
                continue


def sent(ours: socket.socket, content: bytes) -> Generator[int, int, None]:
    """As psycopg sends a statement that does not fit into the socket at once."""
    while content:
        try:
            content = content[ours.send(content) :]
        except BlockingIOError:
            found = yield READABLE | WRITABLE
            assert found


def test_several_answers_are_waited_for_at_one_socket(
    runner: asyncio.Runner, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    watch = Watch()

    def work() -> list[bytes]:
        return [watch.waited(ours.fileno(), received(ours)) for _ in range(3)]

    async def answer() -> list[bytes]:
        task = asyncio.create_task(carried_out(work))
        for word in (b"one", b"two", b"three"):
            await asyncio.sleep(0.001)
            theirs.send(word)
            await asyncio.sleep(0.001)
        return await task

    assert runner.run(answer()) == [b"one", b"two", b"three"]


def test_a_socket_is_watched_from_work_to_work(
    runner: asyncio.Runner, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair
    watch = Watch()
    begun: list[int] = []
    begin = Watch._begin

    def begin_and_tell(watch: Watch, loop: asyncio.AbstractEventLoop, number: int) -> None:
        begun.append(number)
        begin(watch, loop, number)

    async def ask_three_times() -> list[bytes]:
        told = []
        for word in (b"one", b"two", b"three"):
            task = asyncio.create_task(carried_out(lambda: watch.waited(ours.fileno(), received(ours))))
            await asyncio.sleep(0.001)
            theirs.send(word)
            told.append(await task)
        return told

    monkeypatch.setattr(Watch, "_begin", begin_and_tell)

    assert runner.run(ask_three_times()) == [b"one", b"two", b"three"]
    assert begun == [ours.fileno()]


def test_what_is_larger_than_a_socket_takes_is_sent_whole(
    runner: asyncio.Runner, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    watch = Watch()
    content = bytes(range(256)) * 20_000
    arrived = bytearray()

    async def drain() -> None:
        task = asyncio.create_task(carried_out(lambda: watch.waited(ours.fileno(), sent(ours, content))))
        while len(arrived) < len(content):
            await asyncio.sleep(0)
            try:
                arrived.extend(theirs.recv(65_536))
            except BlockingIOError:
                continue
        await task
        watch.end()

    runner.run(drain())

    assert bytes(arrived) == content


def test_a_socket_at_which_nobody_waits_is_left_alone_once_it_speaks(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Else the loop would be called for it again and again."""
    ours, theirs = pair
    watch = Watch()

    async def speak_unasked() -> tuple[int, bytes]:
        theirs.send(b"asked")
        await carried_out(lambda: watch.waited(ours.fileno(), received(ours)))
        theirs.send(b"unasked")
        await asyncio.sleep(0.01)
        watching = len(asyncio.get_running_loop()._selector.get_map())  # type: ignore[attr-defined]  # no other way to see
        return watching, await carried_out(lambda: watch.waited(ours.fileno(), received(ours)))

    watching, told = asyncio.run(speak_unasked())

    assert watching == 1  # the loop's own
    assert told == b"unasked"


def test_work_that_is_cancelled_at_a_socket_ends_the_watch(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    watch = Watch()

    async def cancel() -> int:
        task = asyncio.create_task(carried_out(lambda: watch.waited(ours.fileno(), received(ours))))
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(asyncio.get_running_loop()._selector.get_map())  # type: ignore[attr-defined]  # no other way to see

    assert asyncio.run(cancel()) == 1
