"""The same drill again and again: whether its verdicts are the same each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from failwell.drill.verdict import Verdict

if TYPE_CHECKING:
    from failwell.drill import DrillResult


@dataclass(frozen=True, slots=True)
class Differing:
    """
    A rehearsal whose verdict was not always the same.

    Attributes:
        name: The row's name.
        verdicts: One for each run, in order; None where it was not rehearsed.
        repeat: The command that runs it again.
    """

    name: str
    verdicts: tuple[Verdict | None, ...]
    repeat: str

    def __str__(self) -> str:
        """`kneo S26 async: PASS in 19 runs, FAIL in run 7`."""
        said = []
        for verdict, count in Counter(self.verdicts).most_common():
            runs = [str(n) for n, v in enumerate(self.verdicts, 1) if v is verdict]
            many = f"in {count} runs" if count > 1 else f"in run {runs[0]}"
            said.append(f"{'not rehearsed' if verdict is None else verdict.value} {many}")
        return f"{self.name}: {', '.join(said)}"


@dataclass(slots=True)
class Repeated:
    """
    What several runs of one drill proved.

    Attributes:
        result: The first run that was not well; the last if all were.
        verdicts: Of each run, by the row's name.
        seconds: How long each run took.
        commands: How each row is run again, by its name.
    """

    result: DrillResult
    verdicts: list[dict[str, Verdict]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    commands: dict[str, str] = field(default_factory=dict)

    @property
    def differing(self) -> list[Differing]:
        """The rows whose verdict was not the same in each run, in the order of the catalogue."""
        found = []
        for name in dict.fromkeys(name for run in self.verdicts for name in run):
            verdicts = tuple(run.get(name) for run in self.verdicts)
            if len(set(verdicts)) > 1:
                found.append(Differing(name, verdicts, self.commands[name]))
        return found

    @property
    def ok(self) -> bool:
        """Whether every run was well, and no verdict differed."""
        return self.result.ok and not self.differing

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types: the run that `result` is, and what was not the same in others."""
        return {
            **self.result.to_dict(),
            "repeated": {
                "runs": len(self.verdicts),
                "ok": self.ok,
                "seconds": [round(s, 3) for s in self.seconds],
                "differing": [
                    {
                        "row": d.name,
                        "verdicts": [None if v is None else v.value for v in d.verdicts],
                        "repeat": d.repeat,
                    }
                    for d in self.differing
                ],
            },
        }


def repeatedly(times: int, run: Callable[[int], DrillResult]) -> Repeated:
    """
    Call `run` so many times and compare what comes of it.

    Args:
        times: 1 or more.
        run: Given the number of the run, from 1.
    """
    repeated: Repeated | None = None
    for number in range(1, times + 1):
        result = run(number)
        if repeated is None:
            repeated = Repeated(result)
        elif repeated.result.ok:
            repeated.result = result
        repeated.verdicts.append({r.name: r.verdict for r in result.rows})
        repeated.seconds.append(result.seconds)
        repeated.commands |= {r.name: r.repeat for r in result.rows}
    if repeated is None:
        raise ValueError(f"a drill is run once or more often, not {times} times")
    return repeated
