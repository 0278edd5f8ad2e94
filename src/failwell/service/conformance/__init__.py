"""
Hold a store to the protocol, by checks that anybody can run on a store of their own.

    from failwell.service import conformance

    def open_store(clock):  # opens the same database each time; a clock of None is the store's own
        return MyStore("my://database", clock=clock)

    @pytest.mark.parametrize("check", conformance.checks(MyStore.levels), ids=str)
    def test_my_store_keeps_its_promises(check):
        check(open_store)

A check opens the store several times, as several workers would, uses names that nothing else has,
and leaves its rows behind: give it a database for tests. Some checks start processes, to which
`open_store` goes by pickle: define it in a module, not in `__main__`. `python -m
failwell.service.conformance URL` runs all of it from the command line, and the crash sweep of
`failwell.service.conformance.crashes`, which kills processes between claim and answer, and counts
effects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# Each of these enters its checks into the list.
from failwell.service.conformance import claims, counting, effects, together, unsettled
from failwell.service.conformance.trial import ALL, Check, ConformanceError
from failwell.service.idempotency import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Check", "ConformanceError", "checks", "claims", "counting", "effects", "together", "unsettled",
]  # fmt: skip


def checks(levels: Iterable[str] = LEVELS, *, own_clock: bool = True) -> tuple[Check, ...]:
    """
    What a store promises.

    Args:
        levels: The levels of idempotency that it keeps: its `levels`.
        own_clock: Whether it has a clock of its own, as a database server has; not if it asks
            its worker's, as a file's store does, whose workers share one machine.

    Raises:
        ValueError: there is no such level.
    """
    kept = set(levels)
    if unknown := kept.difference(LEVELS):
        raise ValueError(f"no level is called {min(unknown)!r}; there are {', '.join(LEVELS)}")
    return tuple(
        check
        for check in ALL
        if (check.level is None or check.level in kept) and (own_clock or not check.own_clock)
    )
