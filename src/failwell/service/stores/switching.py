"""
Wait on an event loop from within a synchronous function.

`carried_out` runs a function in a greenlet of its own, on the loop's thread; where the function
waits, the greenlet is left, and the loop goes on with others, until what is waited for calls it
back. So what is written with a synchronous library needs no thread: threads that take turns with
the loop's own cost more than the work they do.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from greenlet import getcurrent, greenlet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

T = TypeVar("T")

# What one waits for at a socket, and what is found there; as psycopg has it.
READABLE, WRITABLE = 1, 2


class _Switching(greenlet):
    """
    A greenlet that leaves its thread to the event loop while it waits.

    Attributes:
        loop: That loop.
        end: What the work returns or raises.
    """

    def __init__(self, work: Callable[..., Any]) -> None:
        # The parent is whoever runs us now, and whom we always come back to.
        super().__init__(self._carry_out)
        self._work = work
        self.loop = asyncio.get_running_loop()
        self.end: asyncio.Future[Any] = self.loop.create_future()
        self.gr_context = copy_context()

    def _carry_out(self, *arguments: Any) -> None:
        try:
            result = self._work(*arguments)
        except StopIteration as exc:
            self._failed(RuntimeError("the work raised StopIteration"), exc)
        except BaseException as exc:  # noqa: BLE001  # it belongs to who waits
            self._failed(exc, exc.__cause__)
        else:
            self.end.set_result(result)

    def _failed(self, exc: BaseException, cause: BaseException | None) -> None:
        exc.__cause__ = cause
        self.end.set_exception(exc)


def is_switching() -> bool:
    """Whether this code is run by `carried_out`."""
    return isinstance(getcurrent(), _Switching)


async def carried_out(work: Callable[..., T], *arguments: Any) -> T:
    """
    What `work` returns, which may wait by what follows here, with the context variables of who asks.

    Cancelled, it is raised where the work waits.
    """
    switching = _Switching(work)
    switching.switch(*arguments)
    while True:
        try:
            result: T = await switching.end
        except BaseException as exc:
            if switching.dead:
                raise
            switching.end = switching.loop.create_future()
            switching.throw(exc)
        else:
            return result


def waited_for(awaitable: Awaitable[T]) -> T:
    """The result of `awaitable`; only for code for which `is_switching`."""
    current = _current()
    future = asyncio.ensure_future(awaitable)
    future.add_done_callback(current.switch)
    try:
        _leave(current)
    except BaseException:
        future.remove_done_callback(current.switch)
        future.cancel()
        raise
    return future.result()


def turn() -> None:
    """Let those go first who have something to do on the loop; only for code for which `is_switching`."""
    current = _current()
    current.loop.call_soon(current.switch)
    _leave(current)


class Watch:
    """
    A socket that an event loop watches.

    It does so from when somebody waits there until `end`, since to begin and to end costs more
    than to wait. `end` goes before the socket is closed, or its number would be watched when it
    is another's.
    """

    __slots__ = ("_loop", "_socket", "_waiting")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket = -1
        self._waiting: _Switching | None = None

    def waited(self, socket: int, steps: Generator[int, int, T]) -> T:
        """
        What `steps` return, which wait at the socket; only for code for which `is_switching`.

        Args:
            socket: Its number.
            steps: They yield what they wait for, and are told what is there.
        """
        try:
            wanted = next(steps)
            while True:
                wanted = steps.send(self._found(socket, wanted))
        except StopIteration as end:
            result: T = end.value
            return result
        except BaseException:
            self.end()
            raise

    def _found(self, socket: int, wanted: int) -> int:
        current = _current()
        loop = current.loop
        if loop is not self._loop or socket != self._socket:
            self.end()
            loop.add_reader(socket, self._readable)
            self._loop, self._socket = loop, socket
        if wanted & WRITABLE:
            loop.add_writer(socket, current.switch, WRITABLE)
        self._waiting = current
        try:
            found: int = _leave(current)
        finally:
            self._waiting = None
            if wanted & WRITABLE:
                loop.remove_writer(socket)
        return found

    def _readable(self) -> None:
        if self._waiting is None:
            # Nobody asked: the server ends the connection, most likely, as the next one finds out.
            self.end()
        else:
            self._waiting.switch(READABLE)

    def end(self) -> None:
        """Watch no longer. On the loop's thread."""
        if self._loop is not None:
            loop, self._loop = self._loop, None
            if not loop.is_closed():
                loop.remove_reader(self._socket)


def pause(seconds: float) -> None:
    """Sleep, and let the event loop go on meanwhile if there is one."""
    if is_switching():
        waited_for(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def aside(work: Callable[[], T]) -> T:
    """What `work` returns, which blocks: on another thread if there is an event loop to keep going."""
    if not is_switching():
        return work()
    return waited_for(asyncio.get_running_loop().run_in_executor(None, work))


def _current() -> _Switching:
    current = getcurrent()
    assert isinstance(current, _Switching)
    return current


def _leave(current: _Switching) -> Any:
    """Let the loop go on; what it calls us back with."""
    assert current.parent is not None
    return current.parent.switch()
