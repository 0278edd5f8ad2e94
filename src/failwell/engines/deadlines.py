"""
One timer for all the attempts that an event loop has under way.

asyncio keeps timers in a heap that compares them in Python, and one that is cancelled stays in
it for long. Nearly every attempt ends before its deadline, so a timer for each is work for
nothing: 10 us of the 85 an aiohttp attempt takes. Here all share one, set for the earliest
deadline there was when it was set; when it rings, it ends who is late and is set for the next.
"""

from __future__ import annotations

import asyncio
from math import inf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class Deadlines:
    """
    The deadlines of one event loop.

    Args:
        loop: The loop; everything here happens in it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: set[Until] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = inf

    def until(self, seconds: float) -> Until:
        """A `with` block that ends after `seconds` with a `TimeoutError`; see `Until`."""
        return Until(self, self._loop.time() + seconds)

    def close(self) -> None:
        """Stop the timer, unless a block is still open; then it goes on for that one."""
        if self._timer is not None and not self._waiting:
            self._timer.cancel()
            self._timer, self._rings_at = None, inf

    def _ring_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        rung_for, self._timer, self._rings_at = self._rings_at, None, inf
        # A loop may ring a moment early, within the resolution of its clock.
        now = max(self._loop.time(), rung_for)
        for late in [each for each in self._waiting if each.when <= now]:
            self._waiting.discard(late)
            late.ring()
        if self._waiting:
            self._ring_at(min(each.when for each in self._waiting))


class Until:
    """
    `asyncio.timeout` on the shared timer: a block of one task that does not outlive a point in time.

    Leaves by a `TimeoutError` if the time is up, unless the task was cancelled by somebody else
    as well; that cancellation goes on.

    Attributes:
        when: The loop's time at which the block ends.
    """

    __slots__ = ("_before", "_deadlines", "_rang", "_task", "when")

    def __init__(self, deadlines: Deadlines, when: float) -> None:
        self.when = when
        self._deadlines = deadlines
        self._rang = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline is for a task of asyncio")
        self._task = task
        self._before = task.cancelling()
        deadlines = self._deadlines
        deadlines._waiting.add(self)
        if self.when < deadlines._rings_at:
            deadlines._ring_at(self.when)

    def ring(self) -> None:
        """The time is up."""
        self._rang = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        if not self._rang:
            self._deadlines._waiting.discard(self)
        elif self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from exc
