"""
Wait on an event loop from within a synchronous function.

`carried_out` runs a function in a greenlet of its own, on the loop's thread; where the function
waits, by `waited_for`, the greenlet is left and the loop goes on with others. So what is written
with a synchronous library needs no thread: threads that take turns with the loop's own cost more
than the work they do.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from greenlet import getcurrent, greenlet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class _Switching(greenlet):
    """A greenlet that hands what it waits for to its parent."""


def is_switching() -> bool:
    """Whether this code is run by `carried_out`."""
    return isinstance(getcurrent(), _Switching)


async def carried_out(work: Callable[..., T], *arguments: Any) -> T:
    """
    What `work` returns, which waits by `waited_for`, with the context variables of who asks for it.

    Cancelled, it is raised where the work waits.
    """
    switching = _Switching(work)
    switching.gr_context = copy_context()
    # The parent is whoever runs us now, and whom we always come back to.
    given: Any = switching.switch(*arguments)
    while not switching.dead:
        try:
            found = await given
        except BaseException as exc:  # noqa: BLE001  # it belongs to who waits
            given = switching.throw(exc)
        else:
            given = switching.switch(found)
    result: T = given
    return result


def waited_for(awaitable: Awaitable[T]) -> T:
    """The result of `awaitable`; only for code for which `is_switching`."""
    current = getcurrent()
    assert isinstance(current, _Switching)
    assert current.parent is not None
    result: T = current.parent.switch(awaitable)
    return result


def turn() -> None:
    """Let those go first who have something to do on the event loop; only where `is_switching`."""
    waited_for(asyncio.sleep(0))


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
