"""Pacing: slow down before the limit, when the service says how much of it is left."""

from __future__ import annotations

from threading import Lock

from failwell.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

    from failwell.failure import RateLimit


class Pacer:
    """
    Spreads what is left of a rate limit over the time until it is renewed.

    Calls that wait at the same time are given places one after the other, so that they do not
    come back all at once. Clients of the same service may share one.

    Args:
        below: The share of the limit from which on it slows down; 0.1 for the last tenth.
        max_wait: Seconds: the longest pause it makes.

    Raises:
        UsageError: a number is out of its range.
    """

    def __init__(self, *, below: float = 0.1, max_wait: float = 5.0) -> None:
        if not 0 <= below <= 1:
            raise UsageError(f"below is {below}; it is a share, from 0 to 1")
        if not max_wait >= 0:
            raise UsageError(f"max_wait is {max_wait}; it is a number of seconds, 0 or more")
        self.below = below
        self.max_wait = max_wait
        self._gap = 0.0  # seconds between two places
        self._next = 0.0  # the next free place, monotonic seconds
        self._until = 0.0  # when the limit is renewed, monotonic seconds
        self._lock = Lock()

    def wait(self, now: float) -> float:
        """Take a place: seconds to wait before the next call at `now` (monotonic); 0.0 for none."""
        if now >= self._until:
            return 0.0
        with self._lock:
            place = max(self._next, now)
            self._next = place + self._gap
        return min(place - now, self.max_wait)

    def learn(self, limit: RateLimit | None, now: float, wall_now: datetime) -> None:
        """Take in what an answer said at `now` (monotonic), which is `wall_now` (aware)."""
        if limit is None or limit.remaining is None or limit.reset_at is None:
            return
        left = (limit.reset_at - wall_now).total_seconds()
        if left <= 0 or (limit.limit and limit.remaining > limit.limit * self.below):
            return
        with self._lock:
            self._gap = min(left / (limit.remaining + 1), self.max_wait)
            self._next = max(self._next, now + self._gap)
            self._until = now + left
