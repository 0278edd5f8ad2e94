"""May this attempt be repeated, and after what wait? Answers only: nothing here waits."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from failwell.arguments import Arguments
from failwell.errors import UsageError
from failwell.failure import Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from failwell.failure import Failure

_CHECK = Arguments()

# RFC 9110, section 9.2.2: doing it twice is doing it once.
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

# Whatever a service asks for is waited for in full; a tenth more, up to a second, keeps all the
# clients that were told the same moment from coming back in it.
SPREAD, SPREAD_LIMIT = 0.1, 1.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    Which failures are tried again, how often and after what wait.

    Attributes:
        max_attempts: Tries in all; 1 turns retrying off.
        base: Seconds: the ceiling of the first wait. It doubles with each try.
        cap: Seconds: the ceiling of any wait the service did not ask for.
        jitter: The part of a wait that is left to chance: 1.0 for all of it ("full jitter",
            which spreads a crowd best), 0.0 for none.
        statuses: HTTP statuses worth another try.
        max_retry_after: Seconds: a service that asks for longer is not waited for; the error is
            raised at once and says how long.

    Raises:
        UsageError: a number is out of its range, or no number.

    Source:
        Exponential backoff and jitter, AWS architecture blog, 2015; RFC 9110, section 10.2.3.
    """

    max_attempts: int = 3
    base: float = 0.5
    cap: float = 8.0
    jitter: float = 1.0
    statuses: frozenset[int] = frozenset({408, 429, 500, 502, 503, 504})
    max_retry_after: float = 60.0

    def __post_init__(self) -> None:
        if _CHECK.whole("max_attempts", self.max_attempts) < 1:
            raise UsageError(f"max_attempts is {self.max_attempts}; the first try counts, so it is 1 or more")
        for name in ("base", "cap", "max_retry_after"):
            value = getattr(self, name)
            if value != inf:  # as good as any other number that is never reached
                _CHECK.number(name, value, least=0, wanted="a number of seconds")
        _CHECK.number("jitter", self.jitter, least=0, most=1, wanted="a share")

    def delay_after(self, tries: int, asked: float | None, random: Callable[[], float]) -> float:
        """
        Seconds to wait after try number `tries` failed.

        Args:
            tries: 1 after the first.
            asked: Seconds the service asked to be left alone; None or 0 if it did not.
            random: Gives a number from 0 up to 1.
        """
        if asked:
            return asked + random() * self.jitter * min(asked * SPREAD, SPREAD_LIMIT)
        # 2**64 seconds are for ever; a larger exponent only costs memory.
        ceiling = min(self.cap, self.base * 2.0 ** min(tries - 1, 64))
        return ceiling * (1.0 - self.jitter * random())

    def why_not(self, failure: Failure, tries: int, *, wanted: bool, repeatable: bool) -> str:
        """
        Why a failed attempt is not repeated, before time and budget are asked; "" if it may be.

        Args:
            failure: What is known of the attempt.
            tries: Tries made so far.
            wanted: Whether another try could bring something else.
            repeatable: Whether doing it twice is doing it once: the method says so, or a key
                on the wire.
        """
        if not wanted:
            return "not_retryable"
        if not (repeatable or failure.effect in _HARMLESS):
            return "not_safe_to_repeat"
        if tries >= self.max_attempts:
            return "attempts_exhausted"
        if failure.retry_after is not None and failure.retry_after > self.max_retry_after:
            return "retry_after_too_long"
        return ""


@dataclass(frozen=True, slots=True)
class DocumentedWaits(RetryPolicy):
    """
    The waits that a document names, "1, 2, 4 s": `base`, twice that, four times that, up to `cap`.

    No wait is shorter. What is left to chance, `jitter` of a wait, is added to it; with 0.0, the
    default, each wait is exactly the document's. As with any policy, what the service asks for goes
    before it.
    """

    base: float = 1.0
    cap: float = 60.0
    jitter: float = 0.0

    def delay_after(self, tries: int, asked: float | None, random: Callable[[], float]) -> float:
        """Seconds to wait after try number `tries` failed; see `RetryPolicy.delay_after`."""
        if asked:
            # By name: `super()` without arguments finds the class that `slots=True` replaced.
            return RetryPolicy.delay_after(self, tries, asked, random)
        return min(self.cap, self.base * 2.0 ** min(tries - 1, 64)) * (1.0 + self.jitter * random())


_HARMLESS = frozenset({Effect.NOT_SENT, Effect.NOT_APPLIED})
