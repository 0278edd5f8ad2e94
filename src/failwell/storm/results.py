"""Many runs of the model: what came of each policy, and where the edge is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from failwell.errors import UsageError
from failwell.storm.policies import POLICIES
from failwell.storm.simulation import simulate
from failwell.storm.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from failwell.storm.policies import Policy
    from failwell.storm.simulation import Run

# What a sweep looks at by default.
LOADS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.933, 0.96)
OUTAGES = (1.0, 3.0, 5.0, 10.0, 20.0, 40.0)


@dataclass(frozen=True, slots=True)
class Row:
    """
    What came of one policy.

    Attributes:
        policy: Which.
        runs: A run for each seed.
    """

    policy: Policy
    runs: tuple[Run, ...]

    @property
    def recoveries(self) -> list[int | None]:
        """Seconds until the service answers again, by seed; None where that was not seen."""
        return [run.recovery for run in self.runs]

    @property
    def recovery(self) -> float | None:
        """Their median; None if half of the runs, or more, did not recover."""
        found = median(float("inf") if r is None else r for r in self.recoveries)
        return None if found == float("inf") else found

    @property
    def share(self) -> float:
        """The part of all calls that was answered; median over the seeds."""
        return median(run.share for run in self.runs)

    @property
    def share_during(self) -> float:
        """The part of the calls that began while the trigger lasted; median over the seeds."""
        return median(run.share_during for run in self.runs)

    @property
    def amplification(self) -> float:
        """Requests for each call while the trigger lasted; median over the seeds."""
        return median(run.amplification for run in self.runs)

    @property
    def peak(self) -> float:
        """Requests for each call in the worst second of all runs."""
        return max(run.peak for run in self.runs)

    def goodput(self) -> list[float]:
        """Calls of each second that were answered; mean over the seeds."""
        return [mean(second) for second in zip(*(run.answered for run in self.runs), strict=True)]

    def calls(self) -> list[float]:
        """Calls that began in each second; mean over the seeds."""
        return [mean(second) for second in zip(*(run.calls for run in self.runs), strict=True)]

    def sent(self) -> list[float]:
        """Requests that were sent in each second; mean over the seeds."""
        return [mean(second) for second in zip(*(run.attempts for run in self.runs), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """What came of it, as JSON has it."""
        return {
            "policy": self.policy.name,
            "says": self.policy.says,
            "source": self.policy.source,
            "recovery": self.recovery,
            "recoveries": self.recoveries,
            "answered": round(self.share, 4),
            "answered_during": round(self.share_during, 4),
            "amplification": round(self.amplification, 4),
            "peak": round(self.peak, 4),
            "goodput": [round(value, 2) for value in self.goodput()],
            "sent": [round(value, 2) for value in self.sent()],
        }


@dataclass(frozen=True, slots=True)
class StormResult:
    """
    What came of all of them.

    Attributes:
        world: The model.
        seeds: The seeds.
        rows: One for each policy.
    """

    world: World
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row:
        """
        The row of a policy.

        Raises:
            KeyError: there is none of that name.
        """
        for row in self.rows:
            if row.policy.name == name:
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "world": asdict(self.world),
            "seeds": list(self.seeds),
            "rows": [row.to_dict() for row in self.rows],
        }


def run(
    world: World | None = None,
    *,
    policies: Sequence[Policy] = POLICIES,
    seeds: int = 5,
    first_seed: int = 1,
    progress: Callable[[str, float], object] | None = None,
) -> StormResult:
    """
    Run the model with each policy and seed.

    Args:
        world: What is simulated; by default the example of HotOS 2021.
        policies: What clients do.
        seeds: Runs of each.
        first_seed: The first of them; they are numbered on.
        progress: Called now and then with what is run and the part that is over, from 0 to 1.

    Raises:
        UsageError: nothing is to be run.
    """
    if seeds < 1 or not policies:
        raise UsageError("a storm takes one seed and one policy at least")
    world = world or World()
    numbers = tuple(range(first_seed, first_seed + seeds))
    whole = len(policies) * seeds
    rows = []
    for place, policy in enumerate(policies):
        runs = []
        for nth, seed in enumerate(numbers):
            begun = place * seeds + nth

            def tell(part: float, policy: Policy = policy, begun: int = begun) -> None:
                if progress is not None:
                    progress(policy.name, (begun + part) / whole)

            runs.append(simulate(world, policy, seed=seed, progress=tell))
        rows.append(Row(policy, tuple(runs)))
    if progress is not None:
        progress("", 1.0)
    return StormResult(world, numbers, tuple(rows))


def named(names: Sequence[str] | None) -> tuple[Policy, ...]:
    """
    The policies of these names; all of them if there is none.

    Raises:
        UsageError: there is no such policy.
    """
    if not names:
        return POLICIES
    known = {policy.name.lower(): policy for policy in POLICIES}
    unknown = [name for name in names if name.lower() not in known]
    if unknown:
        raise UsageError(
            f"there is no policy {unknown[0]!r}; there are {', '.join(p.name for p in POLICIES)}"
        )
    return tuple(known[name.lower()] for name in names)


@dataclass(frozen=True, slots=True)
class Cell:
    """
    One place of a sweep.

    Attributes:
        policy: Which.
        load: Calls in a second, as a share of the capacity.
        outage: Seconds.
        recovery: Median seconds until the service answers again; None if it does not.
    """

    policy: str
    load: float
    outage: float
    recovery: float | None


def sweep(
    world: World | None = None,
    *,
    policies: Sequence[Policy] = POLICIES[:3],
    loads: Sequence[float] = LOADS,
    outages: Sequence[float] = OUTAGES,
    seeds: int = 3,
    progress: Callable[[str, float], object] | None = None,
) -> list[Cell]:
    """
    Recovery by load and by how long the trigger lasts: where each policy has its edge.

    Args:
        world: All the rest of the model.
        policies: Which to sweep.
        loads: Shares of the capacity.
        outages: Seconds.
        seeds: Runs for each cell.
        progress: As for `run`.
    """
    from dataclasses import replace

    world = world or World()
    places = [(policy, load, outage) for policy in policies for load in loads for outage in outages]
    cells = []
    for number, (policy, load, outage) in enumerate(places):
        if progress is not None:
            progress(policy.name, number / len(places))
        row = run(replace(world, load=load, outage=outage), policies=[policy], seeds=seeds).rows[0]
        cells.append(Cell(policy.name, load, outage, row.recovery))
    if progress is not None:
        progress("", 1.0)
    return cells


def edges(cells: Sequence[Cell], policy: str) -> dict[float, float | None]:
    """
    The boundary of what a policy survives: for each outage, the highest load up to which the service
    comes back, at this load and at all below it; None if it does not at the lowest.

    Args:
        cells: A sweep.
        policy: A name in it.
    """
    found: dict[float, float | None] = {}
    for outage in sorted({cell.outage for cell in cells}):
        found[outage] = None
        mine = [cell for cell in cells if (cell.policy, cell.outage) == (policy, outage)]
        for cell in sorted(mine, key=lambda cell: cell.load):
            if cell.recovery is None:
                break
            found[outage] = cell.load
    return found
