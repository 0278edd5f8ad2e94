"""
What a client does by itself: the library's own policies, and those of others beside them.

The others are written down as their sources have them, each a generator like `call_flow`; what
stands in common is a call without a deadline, of a method that may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from failwell.call.breaker import BreakerPolicy, Circuit
from failwell.call.budget import RetryBudget
from failwell.call.flow import Call, Policies, call_flow
from failwell.call.messages import Request, Response, Send, Sleep, Timeouts
from failwell.call.retry import RetryPolicy
from failwell.contract import STANDARD
from failwell.errors import TransportError
from failwell.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeAlias

    from failwell.call.messages import CallFlow, Reply

    Chance: TypeAlias = Callable[[], float]
    # Begins a call of one client, at a moment.
    Client: TypeAlias = Callable[[float], CallFlow]

    class Allowance(Protocol):
        """What lets a client try again, or not."""

        def called(self, now: float) -> None: ...
        def may_retry(self, now: float) -> bool: ...
        def ended(self, *, answered: bool, retried: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Policy:
    """
    What each client does by itself.

    Attributes:
        name: As it is shown.
        says: What it does, in half a line.
        source: Where its numbers are from.
        client: Makes one client; given what throws dice, numbers from 0 up to 1.
    """

    name: str
    says: str
    source: str
    client: Callable[[Chance], Client]


_REQUEST = Request("GET", "https://api.example/things")
_TIMEOUTS = Timeouts()
# What a client only reads is the same for all of them: there may be a million.
_RETRY = RetryPolicy()
_BREAKER = BreakerPolicy()


# --- the library's own ---


def _ours(random: Chance, *, breaker: bool = True, budget: bool = True) -> Client:
    policies = Policies(_RETRY, _TIMEOUTS, RetryBudget() if budget else None)
    circuit = Circuit(_BREAKER) if breaker else None

    def begin(now: float) -> CallFlow:
        call = Call(_REQUEST, STANDARD, deadline=60.0)
        return call_flow(call, policies, circuit, now=now, epoch=0.0, random=random)

    return begin


# --- others ---


def _tries(most: int, wait: Callable[[int], float], allowance: Allowance | None = None) -> Client:
    """
    A client that tries `most` times.

    Args:
        most: Tries in all.
        wait: Seconds before another, by how many there were.
        allowance: What has to agree to another; None for nothing.
    """

    def begin(now: float) -> CallFlow:
        if allowance is not None:
            allowance.called(now)
        for number in range(1, most + 1):
            reply: Reply = yield Send(_REQUEST, _TIMEOUTS, float("inf"), number)
            answered = type(reply.result) is Response and reply.result.status == 200
            if allowance is not None:
                allowance.ended(answered=answered, retried=number > 1)
            if answered:
                assert type(reply.result) is Response
                return reply.result
            if number == most or (allowance is not None and not allowance.may_retry(reply.now)):
                break
            yield Sleep(wait(number))
        raise TransportError.from_failure(Failure())

    return begin


def _jittered(random: Chance, base: float, cap: float) -> Callable[[int], float]:
    """Exponential waits, all of each left to chance."""
    return lambda number: min(cap, base * 2.0 ** (number - 1)) * random()


class _Share:
    """Retries are less than a share of the requests of the last two minutes, which fade."""

    def __init__(self, share: float, seconds: float = 120.0) -> None:
        self._share, self._seconds = share, seconds
        self._requests = self._retries = self._at = 0.0

    def _fade(self, now: float) -> None:
        kept = max(0.0, 1.0 - (now - self._at) / self._seconds)
        self._requests, self._retries, self._at = self._requests * kept, self._retries * kept, now

    def called(self, now: float) -> None:
        self._fade(now)
        self._requests += 1

    def may_retry(self, now: float) -> bool:
        self._fade(now)
        if self._retries + 1 > self._share * (self._requests + 1):
            return False
        self._requests, self._retries = self._requests + 1, self._retries + 1
        return True

    def ended(self, *, answered: bool, retried: bool) -> None: ...


class _Finagle:
    """A deposit for each call, and some tokens a second whatever happens; both are kept for a while."""

    TTL, SHARE, RESERVE = 10.0, 0.2, 10.0

    def __init__(self) -> None:
        self._tokens = self.RESERVE * self.TTL
        self._at = 0.0

    def _leak(self, now: float) -> None:
        # A window of ten seconds forgets a tenth in each; the reserve comes back as fast.
        kept = max(0.0, 1.0 - (now - self._at) / self.TTL)
        self._tokens = self._tokens * kept + self.RESERVE * self.TTL * (1.0 - kept)
        self._at = now

    def called(self, now: float) -> None:
        self._leak(now)
        self._tokens += self.SHARE

    def may_retry(self, now: float) -> bool:
        self._leak(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def ended(self, *, answered: bool, retried: bool) -> None: ...


class _GRPC:
    """A failure takes a token, a success brings a tenth; no retry at half of them or less."""

    MOST, RATIO = 10.0, 0.1

    def __init__(self) -> None:
        self._tokens = self.MOST

    def called(self, now: float) -> None: ...

    def may_retry(self, now: float) -> bool:
        return self._tokens > self.MOST / 2

    def ended(self, *, answered: bool, retried: bool) -> None:
        self._tokens = min(self.MOST, self._tokens + self.RATIO) if answered else max(0.0, self._tokens - 1.0)


class _Botocore:
    """500 tokens; a retry takes 14, which come back if it succeeds; another success brings one."""

    MOST, COST = 500, 14

    def __init__(self) -> None:
        self._tokens = self.MOST

    def called(self, now: float) -> None: ...

    def may_retry(self, now: float) -> bool:
        if self._tokens < self.COST:
            return False
        self._tokens -= self.COST
        return True

    def ended(self, *, answered: bool, retried: bool) -> None:
        if answered:
            self._tokens = min(self.MOST, self._tokens + (self.COST if retried else 1))


POLICIES = (
    Policy(
        "failwell",
        "3 tries, a budget that successes fill, a breaker that sheds first tries",
        "the defaults of this library",
        _ours,
    ),
    Policy(
        "failwell, no breaker",
        "the same without the breaker",
        "the defaults of this library",
        lambda random: _ours(random, breaker=False),
    ),
    Policy("no retries", "one try", "the baseline", lambda random: _tries(1, lambda number: 0.0)),
    Policy(
        "one retry",
        "another try after 1 s",
        "the example of HotOS 2021",
        lambda random: _tries(2, lambda number: 1.0),
    ),
    Policy(
        "naive",
        "three retries, at once",
        "a loop around a call",
        lambda random: _tries(4, lambda number: 0.0),
    ),
    Policy(
        "jitter",
        "three retries, full jitter from 0.5 s to 8 s",
        "AWS architecture blog, 2015",
        lambda random: _tries(4, _jittered(random, 0.5, 8.0)),
    ),
    Policy(
        "10 % budget",
        "3 tries, retries less than a tenth of the requests",
        "Site Reliability Engineering, chapter 21",
        lambda random: _tries(3, _jittered(random, 0.5, 8.0), _Share(0.1)),
    ),
    Policy(
        "Finagle",
        "3 tries, a fifth of the calls and 10 a second may be retried",
        "com.twitter.finagle.service.RetryBudget",
        lambda random: _tries(3, _jittered(random, 0.5, 8.0), _Finagle()),
    ),
    Policy(
        "gRPC",
        "4 tries while more than half of ten tokens are left",
        "gRPC proposal A6",
        lambda random: _tries(4, _jittered(random, 0.5, 8.0), _GRPC()),
    ),
    Policy(
        "botocore",
        "3 tries, 500 tokens that successes fill",
        "botocore 1.44, retries/quota.py",
        lambda random: _tries(3, _jittered(random, 0.05, 20.0), _Botocore()),
    ),
)
