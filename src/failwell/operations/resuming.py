"""How an answer that is read as it comes goes on after a break: what streams and downloads share."""

from __future__ import annotations

from dataclasses import dataclass

from failwell.arguments import Arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHECK = Arguments()


@dataclass(frozen=True, slots=True)
class ResumePolicy:
    """
    When an answer that is read as it comes counts as broken, and how it goes on then.

    Attributes:
        idle: Seconds without a byte after which it counts as broken; None for no limit. A comment
            of a stream is a byte like others.
        deadline: Seconds for all of it, waits included; None for no limit.
        reconnects: How often in a row it is asked for again without anything new coming. 0 for never.
        wait: Seconds before the first time; longer if the service asks for it.
        growth: What each wait is multiplied with for the next.
        cap: Seconds: the longest wait that the service did not ask for.
        max_wait: Seconds: the longest wait that the service may ask for.

    Raises:
        UsageError: a number is out of its range, or no number.
    """

    idle: float | None = 60.0
    deadline: float | None = None
    reconnects: int = 5
    wait: float = 1.0
    growth: float = 2.0
    cap: float = 30.0
    max_wait: float = 120.0

    def __post_init__(self) -> None:
        for name in ("idle", "deadline"):
            _CHECK.optional(_CHECK.seconds, name, getattr(self, name))
        _CHECK.whole("reconnects", self.reconnects, least=0)
        for name in ("wait", "cap", "max_wait"):
            _CHECK.number(name, getattr(self, name), least=0)
        _CHECK.number("growth", self.growth, least=1)

    def delay(self, breaks: int, asked: float | None, random: Callable[[], float]) -> float:
        """
        Seconds to wait after a break.

        Args:
            breaks: How many there were in a row, this one included.
            asked: What the service asked for; it is never left alone for less.
            random: Gives a number from 0 up to 1. A part of each wait is chance: those who were cut
                off together do not all come back together.
        """
        try:
            grown = min(self.cap, self.wait * self.growth ** (breaks - 1))
        except OverflowError:
            grown = self.cap
        chance = random()
        return max(grown * (0.5 + 0.5 * chance), (asked or 0.0) * (1.0 + 0.2 * chance))
