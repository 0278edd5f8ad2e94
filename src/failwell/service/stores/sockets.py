"""
Wait for sockets on an event loop, many times a second for each of them.

An event loop that is told of a socket for each wait, and to forget it afterwards, asks the system
up to six times. Here it is told once, of one descriptor, behind which the system watches all the
sockets: one call for each wait, and one for all that have become ready.
"""

from __future__ import annotations

import asyncio
import select
from selectors import EVENT_READ, EVENT_WRITE
from weakref import WeakKeyDictionary

# Elsewhere there are the event loop's own means.
CAN_WATCH = hasattr(select, "epoll")


class _Watch:
    """
    Tells those who wait for sockets on an event loop.

    The loop watches one descriptor, and behind that the system watches the sockets.

    Args:
        loop: The event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, asyncio.Future[int]] = {}
        loop.add_reader(self._epoll.fileno(), self._tell)

    def watch(self, fileno: int, events: int, future: asyncio.Future[int]) -> None:
        """Tell `future` as soon as the socket is ready for one of `events`, once."""
        mask = select.EPOLLONESHOT
        if events & EVENT_READ:
            mask |= select.EPOLLIN
        if events & EVENT_WRITE:
            mask |= select.EPOLLOUT
        try:
            self._epoll.modify(fileno, mask)
        except FileNotFoundError:
            # New: the system forgets a socket that is closed, even if its number comes again.
            self._epoll.register(fileno, mask)
        self._waiting[fileno] = future

    def _tell(self) -> None:
        for fileno, mask in self._epoll.poll(0):
            future = self._waiting.pop(fileno, None)
            if future is None or future.done():
                continue
            # That it is lost counts as both: who reads or writes finds out.
            readable = EVENT_READ if mask & ~select.EPOLLOUT else 0
            writable = EVENT_WRITE if mask & ~select.EPOLLIN else 0
            future.set_result(readable | writable)


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, _Watch] = WeakKeyDictionary()


def ready(fileno: int, events: int) -> asyncio.Future[int]:
    """
    What a socket is ready for, as soon as it is ready for one of `events`; only if `CAN_WATCH`.

    Args:
        fileno: Of the socket. Nobody else may wait for it on this event loop.
        events: `selectors.EVENT_READ`, `selectors.EVENT_WRITE` or both.

    Raises:
        OSError: there is no such socket.
    """
    loop = asyncio.get_running_loop()
    watch = _watches.get(loop)
    if watch is None:
        watch = _watches[loop] = _Watch(loop)
    future: asyncio.Future[int] = loop.create_future()
    watch.watch(fileno, events, future)
    return future
