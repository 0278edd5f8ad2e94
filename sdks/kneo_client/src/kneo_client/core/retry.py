"""How persistently Kneo's clients try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from failwell.call.retry import RetryPolicy as _RetryPolicy

# The platform's document: transport errors, 429, 502, 503 and 504. A 500 is a defect of the
# service, which another try does not mend.
STATUSES = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy(_RetryPolicy):
    """
    Which failures are tried again, how often and after what wait.

    The first wait is exactly `base`: a single lost connection is mended at once, and the log says
    the 0.20 s of the platform's document. From the second wait on chance decides up to the whole
    of it, so that clients which all lost the same server do not come back together. What keeps
    them from trying too much in all is the budget that each client has.

    Attributes:
        max_attempts: Tries in all; 1 turns retrying off.
        base: Seconds of the first wait. The ceiling doubles with each try.
        cap: Seconds: the ceiling of any wait the service did not ask for.
        jitter: The part of the later waits that is left to chance, 0.0 to 1.0.
        statuses: HTTP statuses worth another try, besides transport errors.
        max_retry_after: Seconds: a service that asks for longer is not waited for; the error is
            raised at once and says how long.

    Raises:
        failwell.UsageError: a number is out of its range.
    """

    max_attempts: int = 4
    base: float = 0.2
    cap: float = 8.0
    jitter: float = 1.0
    statuses: frozenset[int] = STATUSES
    max_retry_after: float = 60.0

    def delay_after(self, tries: int, asked: float | None, random: Callable[[], float]) -> float:
        """
        Seconds to wait after try number `tries` failed.

        Args:
            tries: 1 after the first.
            asked: Seconds the service asked to be left alone; None or 0 if it did not.
            random: Gives a number from 0 up to 1.
        """
        if tries == 1 and not asked:
            return min(self.base, self.cap)
        # By name: `super()` without arguments finds the class that `slots=True` replaced.
        return _RetryPolicy.delay_after(self, tries, asked, random)
