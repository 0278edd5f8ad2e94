"""
Rate limits by the generic cell rate algorithm (GCRA): one number a limit, no window edges.

The number is the moment at which a subject's allowance will be whole again, its "theoretical
arrival time". A request moves it one interval into the future; one that would move it further
than a whole window from now is refused and moves nothing. Where several limits hold at once,
such as a burst and a day, a request that one of them refuses moves none of them.

Times are whole microseconds: sums and comparisons are then exact, in Python, SQL and Lua.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, TypeAlias

    # Which header fields carry the numbers: what most services send, the IETF draft's, or both.
    Fields: TypeAlias = Literal["x-ratelimit", "draft", "both"]

MICROSECONDS = 1_000_000

# A store keeps one number for each limit of a subject, in columns of their own.
MOST_LIMITS = 4

# A hundred years. Added to the time, it is still a number that Lua holds exactly, and SQL at all.
LONGEST_WINDOW = 100 * 365 * 86400.0

# draft-ietf-httpapi-ratelimit-headers-11 has the name in a Structured Field String.
_NAME = re.compile(r"[a-z][a-z0-9_.*-]{0,31}")


@dataclass(frozen=True, slots=True)
class Limit:
    """
    How often a subject may ask.

    Attributes:
        requests: How many at once, and on average per window. 1 or more.
        window: Seconds.
        name: What the header fields of the IETF draft call it. A subject's limits have
            different names.
        interval: Microseconds that one request uses up.
        span: Microseconds that the whole allowance uses up: the window, without rounding rests.
        said: The header field that says how many requests they are.

    Raises:
        TypeError: the requests are no whole number, or the window is no number.
        ValueError: no requests, a window too short to tell two of them apart, or longer than
            `LONGEST_WINDOW`, or a name that is not up to 32 lower-case letters, digits and `_.*-`.
    """

    requests: int
    window: float
    name: str = "default"
    # Worked out once: they are asked for with every request.
    interval: int = field(init=False, repr=False, compare=False)
    span: int = field(init=False, repr=False, compare=False)
    said: tuple[bytes, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        requests: object = self.requests
        window: object = self.window
        if not isinstance(requests, int) or isinstance(requests, bool):
            raise TypeError(
                f"a limit is of a whole number of requests, not {requests!r}: for less than one in a "
                "second, make the window longer, such as Limit(1, 60.0)"
            )
        if not isinstance(window, (int, float)) or isinstance(window, bool):
            raise TypeError(f"the window of a limit is a number of seconds, not {window!r}")
        if not 0 < self.window <= LONGEST_WINDOW:  # nor is it "not a number"
            raise ValueError(f"a window of {self.window} s cannot be kept")
        interval = int(self.window * MICROSECONDS) // self.requests if self.requests else 0
        object.__setattr__(self, "interval", interval)
        object.__setattr__(self, "span", interval * self.requests)
        object.__setattr__(self, "said", (b"x-ratelimit-limit", b"%d" % self.requests))
        if self.requests < 1 or self.interval < 1:
            raise ValueError(f"a limit of {self.requests} requests in {self.window} s cannot be kept")
        if _NAME.fullmatch(self.name) is None:
            raise ValueError(f"a limit is named by lower-case letters and digits, not {self.name!r}")


def checked(limits: Sequence[Limit]) -> tuple[Limit, ...]:
    """
    `limits`, if they can hold for one subject at once.

    Raises:
        ValueError: more than `MOST_LIMITS`, or two of the same name.
    """
    if len(limits) > MOST_LIMITS:
        raise ValueError(f"at most {MOST_LIMITS} limits hold at once, not {len(limits)}")
    if len({limit.name for limit in limits}) < len(limits):
        raise ValueError("limits that hold at once need different names")
    return tuple(limits)


# Tuples, because each request makes two of them: a frozen dataclass takes twice as long.


class Standing(NamedTuple):
    """
    How one limit stands after a request.

    Attributes:
        limit: The limit.
        remaining: Requests left now.
        reset_at: Unix seconds, rounded up: when the allowance is whole again; once nothing
            remains, when that changes.
        reset_after: The same as whole seconds from now.
    """

    limit: Limit
    remaining: int
    reset_at: int
    reset_after: int


class Decision(NamedTuple):
    """
    Whether a request is let through, and the numbers its answer carries.

    All of it comes from one statement on the store, so it cannot contradict itself.

    Attributes:
        allowed: Whether it is.
        standings: Each limit, in the order given.
        retry_after: Whole seconds to wait, 1 or more, never ending before the reset of a limit
            that refuses; 0 if allowed.
    """

    allowed: bool
    standings: tuple[Standing, ...]
    retry_after: int = 0

    @property
    def tightest(self) -> Standing:
        """The limit that is nearest to its end; of those that are spent, the last to come back."""
        if len(self.standings) == 1:
            return self.standings[0]
        return min(
            self.standings,
            key=lambda s: (s.remaining / s.limit.requests, -s.reset_at if s.remaining == 0 else 0),
        )

    @property
    def limit(self) -> int:
        """Requests in a window of the tightest limit."""
        return self.tightest.limit.requests

    @property
    def remaining(self) -> int:
        """Requests left now."""
        return self.tightest.remaining

    @property
    def reset_at(self) -> int:
        """Unix seconds at which the tightest limit is reset; see `Standing`."""
        return self.tightest.reset_at

    def headers(self, fields: Fields = "x-ratelimit") -> list[tuple[bytes, bytes]]:
        """
        The header fields that say it.

        `X-RateLimit-*` has the tightest limit, `Reset` as a point in time, in unix seconds.
        `RateLimit-Policy` and `RateLimit` have them all, with seconds from now.

        Source:
            draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4.
        """
        said: list[tuple[bytes, bytes]] = []
        if fields != "draft":
            limit, remaining, reset_at, _ = self.standings[0] if len(self.standings) == 1 else self.tightest
            said = [limit.said, (b"x-ratelimit-remaining", b"%d" % remaining), _reset(reset_at)]
        if fields != "x-ratelimit":
            policy = ", ".join(_policy(s.limit) for s in self.standings)
            state = ", ".join(f'"{s.limit.name}";r={s.remaining};t={s.reset_after}' for s in self.standings)
            said += [(b"ratelimit-policy", policy.encode()), (b"ratelimit", state.encode())]
        return said


# What `Decision.headers` says, by name.
FIELD_NAMES: dict[Fields, frozenset[bytes]] = {
    "x-ratelimit": frozenset({b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"}),
    "draft": frozenset({b"ratelimit-policy", b"ratelimit"}),
}
FIELD_NAMES["both"] = FIELD_NAMES["x-ratelimit"] | FIELD_NAMES["draft"]


# Many answers have it in common.
@lru_cache(maxsize=1024)
def _reset(at: int) -> tuple[bytes, bytes]:
    return b"x-ratelimit-reset", b"%d" % at


def _policy(limit: Limit) -> str:
    # A window is a whole number of seconds there, and may be left out where it is none.
    window = f";w={int(limit.window)}" if limit.window == int(limit.window) else ""
    return f'"{limit.name}";q={limit.requests}{window}'


def decision(limits: Sequence[Limit], allowed: bool, tats: Sequence[int], now: int) -> Decision:
    """
    The decision that follows from a subject's new numbers.

    Args:
        limits: The limits that were applied.
        allowed: Whether the request was let through.
        tats: When each allowance is whole again, microseconds of unix time.
        now: The same clock.
    """
    standings = _standings(limits, tats, now)
    if allowed:
        return Decision(True, standings)
    spent = [standing.reset_after for standing in standings if not standing.remaining]
    return Decision(False, standings, max([1, *spent]))


def _standings(
    limits: Sequence[Limit], tats: Sequence[int], now: int, after: int = 0
) -> tuple[Standing, ...]:
    """How each limit stood before the last `after` of the requests that were let through."""
    if len(limits) == 1 == len(tats):
        # Most often there is one; a loop would take half as long again.
        return (_standing(limits[0], tats[0], now, after),)
    return tuple([_standing(limit, tat, now, after) for limit, tat in zip(limits, tats, strict=True)])


def _standing(limit: Limit, tat: int, now: int, after: int) -> Standing:
    interval = limit.interval
    at = tat - after * interval
    if at < now:
        # Left as it was because another limit refuses, it says: whole now.
        at = now
    remaining = (now + limit.span - at) // interval
    if remaining <= 0:
        remaining, at = 0, at - limit.span + interval
    reset_at = -(-at // MICROSECONDS)
    # A second that has begun counts as one to wait.
    reset_after = reset_at - now // MICROSECONDS
    return Standing(limit, remaining, reset_at, reset_after if reset_after > 0 else 0)


def counted(
    limits: Sequence[Limit], many: int, tats: Sequence[int | None], now: int
) -> tuple[int, list[int]]:
    """
    Count `many` requests of one subject against all of its limits.

    As many of them are let through as each limit has room for, as if they had come one after
    the other: a request that one limit refuses counts against none.

    Args:
        limits: The limits.
        many: How many requests.
        tats: When each allowance is whole again, microseconds of unix time; None for one that is.
        now: The same clock.

    Returns:
        How many are let through, and the new numbers.
    """
    # The end of the window forgives a clock that was set back: nobody is locked out for longer.
    kept = [
        min(now if tat is None else tat, now + limit.span) for limit, tat in zip(limits, tats, strict=True)
    ]
    begun = [max(tat, now) for tat in kept]
    room = [(now + limit.span - tat) // limit.interval for limit, tat in zip(limits, begun, strict=True)]
    allowed = min(many, *room)
    if allowed:
        kept = [tat + limit.interval * allowed for limit, tat in zip(limits, begun, strict=True)]
    return allowed, kept


def decisions(
    limits: Sequence[Limit], many: int, allowed: int, tats: Sequence[int], now: int
) -> list[Decision]:
    """
    What follows for each of `many` requests of one subject that were counted together.

    Args:
        limits: The limits that were applied.
        many: How many they were.
        allowed: How many of them were let through: those who came first.
        tats: As in `decision`, after the last of them.
        now: The same clock.
    """
    told = _let_through(limits, allowed, tats, now)
    if allowed < many:
        # Refused requests change nothing, so all of them are told the same.
        told += [decision(limits, False, tats, now)] * (many - allowed)
    return told


def _let_through(limits: Sequence[Limit], allowed: int, tats: Sequence[int], now: int) -> list[Decision]:
    """The decisions for requests that were let through, the first of them first."""
    if len(limits) > 1:
        return [Decision(True, _standings(limits, tats, now, after)) for after in reversed(range(allowed))]
    # Most often there is one limit, and there may be as many requests at once as there are
    # clients: the same as above in a third of the time.
    (limit,), (tat,) = limits, tats
    interval, whole, begun = limit.interval, now + limit.span, now // MICROSECONDS
    told = []
    remaining = (whole - tat) // interval + allowed
    for at in range(tat - (allowed - 1) * interval, tat + 1, interval):
        remaining -= 1
        if remaining <= 0 or at < now:
            told.append(Decision(True, (_standing(limit, at, now, 0),)))
            continue
        reset_at = -(-at // MICROSECONDS)
        standing = _made(Standing, (limit, remaining, reset_at, reset_at - begun))
        told.append(_made(Decision, (True, (standing,), 0)))
    return told


# What a NamedTuple's own constructor does, without the call of a function in Python.
_made = tuple.__new__
