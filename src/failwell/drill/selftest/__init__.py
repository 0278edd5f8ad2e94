"""
The drill drills itself: clients with one bad habit each have to fail, by the rule that names it.

    from failwell.drill import selftest
    result = selftest.run()
    result.ok
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from failwell.drill.rehearsal import listening, rehearse
from failwell.drill.scenarios import catalogue
from failwell.drill.selftest import naive
from failwell.drill.selftest.crowded import CROWDED, Crowded
from failwell.drill.selftest.naive import LONELY, Naive, Planted
from failwell.drill.subject import Subject
from failwell.drill.verdict import Row, Verdict, judge
from failwell.drill.virtual import played

PLANTED = (*naive.PLANTED, *CROWDED)
HABITS = tuple(dict.fromkeys(planted.habit for planted in PLANTED))
# What each of the clients of a crowd can do.
_CROWDED = frozenset(planted.scenario for planted in CROWDED)

# Most of a rehearsal is waiting.
WORKERS = 8

__all__ = ["HABITS", "LONELY", "PLANTED", "Found", "Naive", "Planted", "SelfTest", "run"]


@dataclass(frozen=True, slots=True)
class Found:
    """
    Whether a planted habit was found.

    Attributes:
        planted: The habit, its scenario and the rule.
        row: What the drill said of the client that has it.
        innocent: What it said of the same client without it.
    """

    planted: Planted
    row: Row
    innocent: Row

    @property
    def ok(self) -> bool:
        """Whether the habit was found by its rule, and nothing where it is not."""
        named = self.planted.rule in {finding.code for finding in self.row.findings}
        return named and self.row.verdict is Verdict.FAIL and self.innocent.verdict is Verdict.PASS


@dataclass(slots=True)
class SelfTest:
    """
    What the drill found of what was planted.

    Attributes:
        found: One for each that was planted, in order.
    """

    found: list[Found] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every habit was found, by the rule that is there for it."""
        return bool(self.found) and all(found.ok for found in self.found)

    @property
    def missed(self) -> list[Found]:
        """Those that were not."""
        return [found for found in self.found if not found.ok]


def run(progress: Callable[[Found], None] | None = None) -> SelfTest:
    """
    Drill a good client and bad ones, each in the scenario that is there for its habit.

    Args:
        progress: Told of each, as it is found or missed, in the calling thread.
    """
    asked = list(dict.fromkeys((habit, p.scenario) for p in PLANTED for habit in ("", p.habit)))
    result = SelfTest()
    with listening(Naive.logger), ThreadPoolExecutor(WORKERS, thread_name_prefix="drill") as pool:
        rows = dict(zip(asked, pool.map(_rehearsed, *zip(*asked, strict=True)), strict=True))
    for planted in PLANTED:
        found = Found(planted, rows[planted.habit, planted.scenario], rows["", planted.scenario])
        result.found.append(found)
        if progress is not None:
            progress(found)
    return result


def _rehearsed(habit: str, scenario_id: str) -> Row:
    """What the drill says of a client with `habit`, or with none, in one scenario."""
    habits = filter(None, [habit])
    subject: Subject = Crowded(*habits) if scenario_id in _CROWDED else Naive(*habits)
    scenario = next(s for s in catalogue(subject) if s.id == scenario_id)
    with subject.running() as service:
        if scenario.model is not None:
            return played(subject, scenario, scenario.model, service, seed=0)
        return judge(subject, scenario, "sync", rehearse(subject, scenario, "sync", service))
