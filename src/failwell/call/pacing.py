"""Pacing: slow down before the limit, when the service says how much of it is left."""

from __future__ import annotations

from threading import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime

    from failwell.failure import RateLimit


class Pacer:
    """
    Spreads what is left of a rate limit over the time until it is renewed.

    Args:
        below: The share of the limit from which on it slows down; 0.1 for the last tenth.
        max_wait: Seconds: the longest pause it makes.
    """

    def __init__(self, *, below: float = 0.1, max_wait: float = 5.0) -> None:
        self.below = below
        self.max_wait = max_wait
        self._next = 0.0  # monotonic seconds before which nothing is sent
        self._lock = Lock()

    def wait(self, now: float) -> float:
        """Seconds to wait before the next attempt at `now` (monotonic); 0.0 for none."""
        return max(0.0, self._next - now)

    def learn(self, limit: RateLimit | None, now: float, wall_now: datetime) -> None:
        """Take in what an answer said at `now` (monotonic), which is `wall_now` (aware)."""
        if limit is None or limit.remaining is None or limit.reset_at is None:
            return
        left = (limit.reset_at - wall_now).total_seconds()
        if left <= 0 or (limit.limit and limit.remaining > limit.limit * self.below):
            return
        pause = min(left / (limit.remaining + 1), self.max_wait)
        with self._lock:
            self._next = max(self._next, now + pause)
