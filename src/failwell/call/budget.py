"""
The retry budget: retries are paid for by successes.

A token bucket shared by all calls of a client. When most calls fail, nothing refills it and
retrying stops, for every retry would only be more load on a service that has too much of it.
"""

from __future__ import annotations

from threading import Lock

from failwell.errors import UsageError


class RetryBudget:
    """
    Tokens that retries cost and successes bring.

    Args:
        capacity: Tokens when full; it starts full.
        retry_cost: Tokens one retry takes.
        throttle_cost: Tokens a retry takes that follows a request to slow down: the service is
            alive and says when to come back, so it is cheaper.

    A retry is paid for only while more than half of the tokens are left. The upper half pays
    for bad luck; the lower half is the memory of an outage, which successes must fill first.

    Raises:
        UsageError: a number is negative.

    Source:
        The costs are botocore's of November 2026 (`retries/quota.py`), the half is gRPC's (A6).
    """

    __slots__ = ("_lock", "_tokens", "capacity", "retry_cost", "throttle_cost")

    def __init__(self, capacity: float = 500, *, retry_cost: float = 14, throttle_cost: float = 5) -> None:
        if not all(number >= 0 for number in (capacity, retry_cost, throttle_cost)):
            raise UsageError("the numbers of a retry budget are 0 or more")
        self.capacity = float(capacity)
        self.retry_cost = float(retry_cost)
        self.throttle_cost = float(throttle_cost)
        self._tokens = self.capacity
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<RetryBudget {self._tokens:g} of {self.capacity:g}>"

    @property
    def tokens(self) -> float:
        """Tokens left."""
        return self._tokens

    def spend(self, *, throttled: bool) -> float | None:
        """Pay for one retry: what it cost, or None if it may not be made."""
        cost = self.throttle_cost if throttled else self.retry_cost
        with self._lock:
            if self._tokens - cost < self.capacity / 2:
                return None
            self._tokens -= cost
            return cost

    def succeeded(self, spent: float = 0.0) -> None:
        """A call succeeded, its last retry having cost `spent`: that comes back, or one token."""
        if self._tokens >= self.capacity:  # the usual case, and a stale look does no harm
            return
        with self._lock:
            self._tokens = min(self.capacity, self._tokens + (spent or 1.0))
