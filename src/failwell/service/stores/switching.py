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
        result: Any = None
        error: BaseException | None = None
        try:
            result = self._work(*arguments)
        except StopIteration as exc:
            error = RuntimeError("the work raised StopIteration")
            error.__cause__ = exc
        except BaseException as exc:  # noqa: BLE001  # it belongs to who waits
            error = exc
        if self.end.done():  # who waited is cancelled, and will be told so instead
            return
        if error is None:
            self.end.set_result(result)
        else:
            self.end.set_exception(error)


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
    current, waiting = _current(), True
    future = asyncio.ensure_future(awaitable)

    def come_back(_: object) -> None:
        # Or it was cancelled meanwhile, and may be at something else by now.
        if waiting:
            current.switch()

    future.add_done_callback(come_back)
    try:
        _leave(current)
    except BaseException:
        future.cancel()
        raise
    finally:
        waiting = False
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
        current = _current()
        try:
            wanted = next(steps)
            if current.loop is not self._loop or socket != self._socket:
                self._begin(current.loop, socket)
            while True:
                self._waiting = current
                if wanted & WRITABLE:
                    current.loop.add_writer(socket, self._call, WRITABLE)
                found = _leave(current)
                if wanted & WRITABLE:
                    current.loop.remove_writer(socket)
                wanted = steps.send(found)
        except StopIteration as end:
            result: T = end.value
            return result
        except BaseException:
            self._waiting = None
            self.end()
            raise

    def _begin(self, loop: asyncio.AbstractEventLoop, socket: int) -> None:
        self.end()
        loop.add_reader(socket, self._call, READABLE)
        self._loop, self._socket = loop, socket

    def _call(self, found: int) -> None:
        if self._waiting is None or self._loop is None:
            # Nobody asked: the server ends the connection, most likely, as the next one finds out.
            self.end()
        elif isinstance(self._loop, asyncio.BaseEventLoop):
            self._come_back(found)
        else:
            # To switch costs as much more as there is on the stack than there was where the work
            # began, and that is a lot where uvloop looks at its sockets, though not where it calls
            # what is to be called soon.
            self._loop.call_soon(self._come_back, found)

    def _come_back(self, found: int) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.switch(found)

    def end(self) -> None:
        """Watch no longer. On the loop's thread."""
        if self._loop is not None:
            loop, self._loop = self._loop, None
            if not loop.is_closed():
                loop.remove_reader(self._socket)
                loop.remove_writer(self._socket)


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
