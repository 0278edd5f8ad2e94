"""
Wait on an event loop from within a synchronous function.

`carried_out` runs a function in a greenlet of its own, on the loop's thread; where the function
waits, by `waited_for`, the greenlet is left and the loop goes on with others. So what is written
with a synchronous library needs no thread: threads that take turns with the loop's own cost more
than the work they do.

A greenlet is used again for the next work: a new one asks the system for memory, and gives it back
in the end.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

# What a greenlet hands over instead of something to wait for, when its work is done.
_DONE = object()


class _Switching(greenlet):
    """
    A greenlet that hands what it waits for to its parent.

    Attributes:
        asked: The work, and what it is to be given. Not an argument of the greenlet's: it would
            be kept as long as that.
        returned: What it returned.
        raised: What it raised; None if it did not.
    """

    asked: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
    returned: Any = None
    raised: BaseException | None = None


class _Greenlets:
    """
    Those of a thread, which are kept as long as there is work: a thread that ended cannot end them.

    Attributes:
        busy: How many are at work.
        idle: The others.
    """

    __slots__ = ("busy", "idle")

    def __init__(self) -> None:
        self.busy = 0
        self.idle: list[_Switching] = []

    def got(self) -> _Switching:
        """One for a work."""
        self.busy += 1
        return self.idle.pop() if self.idle else _Switching(_do_one_after_another)

    def let_go(self) -> None:
        """Say that a work is done."""
        self.busy -= 1
        if not self.busy:
            while self.idle:
                self.idle.pop().throw()


class _Here(threading.local):
    def __init__(self) -> None:
        self.greenlets = _Greenlets()


_here = _Here()


def _do_one_after_another() -> object:
    """What a greenlet does: its work, and then what it is next asked for."""
    itself, all_of_them = getcurrent(), _here.greenlets
    assert isinstance(itself, _Switching)
    while True:
        assert itself.asked is not None
        (work, arguments), itself.asked = itself.asked, None
        try:
            itself.returned = work(*arguments)
        except GreenletExit:  # nobody will come back to it
            raise
        except BaseException as exc:  # noqa: BLE001  # it belongs to who asked for the work
            itself.raised = exc
        del work, arguments
        if all_of_them.busy == 1:
            return _DONE
        all_of_them.idle.append(itself)
        assert itself.parent is not None
        itself.parent.switch(_DONE)


def is_switching() -> bool:
    """Whether this code is run by `carried_out`."""
    return isinstance(getcurrent(), _Switching)


async def carried_out(work: Callable[..., T], *arguments: Any) -> T:
    """
    What `work` returns, which waits by `waited_for`, with the context variables of who asks for it.

    Cancelled, it is raised where the work waits.
    """
    greenlets = _here.greenlets
    switching = greenlets.got()
    try:
        # The parent is whoever runs us now, and whom we always come back to.
        switching.parent = getcurrent()
        switching.gr_context = copy_context()
        switching.asked = work, arguments
        given: Any = switching.switch()
        while given is not _DONE:
            try:
                found = await given
            except BaseException as exc:  # noqa: BLE001  # it belongs to who waits
                given = switching.throw(exc)
            else:
                given = switching.switch(found)
        result: T = switching.returned
        raised = switching.raised
        # It may be some time until there is more to do.
        switching.returned = switching.raised = switching.gr_context = None
    finally:
        greenlets.let_go()
    if raised is not None:
        try:
            raise raised
        finally:
            del raised
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
