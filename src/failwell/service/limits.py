"""
Rate limits by the generic cell rate algorithm (GCRA): one number a subject, no window edges.

The number is the moment at which the subject's allowance will be whole again, its
"theoretical arrival time". A request moves it one interval into the future; one that would move
it further than a whole window from now is refused and moves nothing.

Times are whole microseconds: sums and comparisons are then exact, in Python and in SQL.
"""

from __future__ import annotations

from dataclasses import dataclass

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """
    How often a subject may ask.

    Attributes:
        requests: How many at once, and on average per window. 1 or more.
        window: Seconds.

    Raises:
        ValueError: no requests, or a window too short to tell two of them apart.
    """

    requests: int
    window: float

    def __post_init__(self) -> None:
        if self.requests < 1 or self.interval < 1:
            raise ValueError(f"a limit of {self.requests} requests in {self.window} s cannot be kept")

    @property
    def interval(self) -> int:
        """Microseconds that one request uses up."""
        return int(self.window * MICROSECONDS) // self.requests

    @property
    def span(self) -> int:
        """Microseconds that the whole allowance uses up: the window, without rounding rests."""
        return self.interval * self.requests


@dataclass(frozen=True, slots=True)
class Decision:
    """
    Whether a request is let through, and the numbers its answer carries.

    Both come from one statement on the store, so they cannot contradict each other.

    Attributes:
        allowed: Whether it is.
        limit: Requests in a window.
        remaining: Requests left now.
        reset_at: Unix seconds, rounded up, when the allowance is whole again.
        retry_after: Whole seconds to wait, 1 or more, never ending before `reset_at`;
            0 if allowed.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_at: int
    retry_after: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The `X-RateLimit-*` fields; `Reset` is a point in time, in unix seconds."""
        return [
            (b"x-ratelimit-limit", b"%d" % self.limit),
            (b"x-ratelimit-remaining", b"%d" % self.remaining),
            (b"x-ratelimit-reset", b"%d" % self.reset_at),
        ]


def decision(limit: Limit, allowed: bool, tat: int, now: int) -> Decision:
    """
    The decision that follows from a subject's new number.

    Args:
        limit: The limit that was applied.
        allowed: Whether the request was let through.
        tat: When the allowance is whole again, microseconds of unix time.
        now: The same clock.
    """
    remaining = max(0, (now + limit.span - tat) // limit.interval)
    reset_at = -(-tat // MICROSECONDS)
    wait = -(-(reset_at * MICROSECONDS - now) // MICROSECONDS)
    return Decision(
        allowed=allowed,
        limit=limit.requests,
        # A refused request did not fit, whatever fraction of an interval is free.
        remaining=remaining if allowed else 0,
        reset_at=reset_at,
        retry_after=0 if allowed else max(1, wait),
    )
