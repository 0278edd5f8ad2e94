"""`failwell storm`: the simulation, and the real run beside it, on a terminal and in files."""

from __future__ import annotations

import json as codec
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from failwell.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from rich.console import Console

    from failwell.storm import World
    from failwell.storm.results import Cell

    Tell = Callable[[str, float], None] | None

# The names of what a run leaves in its report directory.
HTML, JSON = "storm.html", "storm.json"


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What the command line asks for.

    Attributes:
        facts: What `World` is made of, as far as it was said; or `every`, seconds between two calls of a
            client, for its `capacity`.
        names: Names of policies; None for all.
        seed: The first.
        seeds: Runs of each; None for as many as usual.
        sweep: Whether loads and outages are swept as well.
        real: Whether real clients call a real service.
    """

    facts: dict[str, Any]
    names: list[str] | None
    seed: int
    seeds: int | None
    sweep: bool
    real: bool

    def world(self) -> World:
        """
        Where it takes place.

        Raises:
            UsageError: a number is out of its range, or two options do not go together.
        """
        from failwell.storm import World
        from failwell.storm.real import REAL_WORLD

        every = self.facts.get("every")
        if every is not None and "capacity" in self.facts:
            raise UsageError("--every sets the capacity; give one of them")
        if self.real and self.sweep:
            raise UsageError("--sweep simulates, --real does not; give one of them")
        facts = {name: value for name, value in self.facts.items() if name != "every"}
        world = replace(REAL_WORLD, **facts) if self.real else World(**facts)
        return world if every is None else world.where_each_calls(every)


@dataclass(frozen=True, slots=True)
class Told:
    """
    What came of it.

    Attributes:
        facts: As JSON has it.
        page: As a page.
        show: Prints it.
    """

    facts: dict[str, Any]
    page: str
    show: Callable[[Console], None]


def storm(asked: Asked, report: Path, *, json: bool) -> int:
    """
    Simulate, or do it; print, write the reports.

    Args:
        asked: What.
        report: A directory for `storm.html` and `storm.json`; made if it is not there.
        json: Print the result as JSON instead of a table.

    Returns:
        0; 1 if a real run did not come to its end; 2 if it cannot be run as asked.
    """
    from failwell.cli.screen import console
    from failwell.storm.terminal import with_progress

    try:
        world = asked.world()
        report.mkdir(parents=True, exist_ok=True)
        on = console(widest=200, plain=120)  # a table, not sentences
        found: list[Told] = []

        def work(tell: Tell) -> None:
            found.append(_done(asked, world, tell) if asked.real else _simulated(asked, world, tell))

        if on.is_terminal and not json:
            with_progress(on, work)
        else:  # a bar that nobody watches is noise
            work(None)
        (told,) = found
        (report / HTML).write_text(told.page, encoding="utf-8")
        (report / JSON).write_text(codec.dumps(told.facts, indent=2) + "\n", encoding="utf-8")
    except UsageError as exc:
        return _refuse(f"{exc}.")
    except RuntimeError as exc:
        return _refuse(f"The real run broke off: {exc}.", status=1)
    except FileExistsError:
        return _refuse(f"{report} is a file. --report takes a directory.")
    except OSError as exc:
        return _refuse(f"The report cannot be written: {exc.strerror or exc}.")
    if json:
        print(codec.dumps(told.facts, indent=2))
        return 0
    told.show(on)
    print(f"Drawn second by second: {report / HTML}")
    return 0


def _simulated(asked: Asked, world: World, tell: Tell) -> Told:
    from failwell.storm import run, sweep
    from failwell.storm.page import page
    from failwell.storm.results import edges, named
    from failwell.storm.terminal import headline, show, show_sweep

    policies = named(asked.names)
    result = run(world, policies=policies, seeds=asked.seeds or 5, first_seed=asked.seed, progress=tell)
    cells = sweep(world, policies=policies, progress=tell) if asked.sweep else []
    facts = result.to_dict()
    if asked.sweep:
        facts["sweep"] = [_cell(cell) for cell in cells]
        facts["edges"] = {policy.name: edges(cells, policy.name) for policy in policies}

    def shown(on: Console) -> None:
        show(result, on)
        show_sweep(cells, on)

    return Told(facts, page(result, headline(result), cells), shown)


def _done(asked: Asked, world: World, tell: Tell) -> Told:
    from failwell.storm.page import real_page
    from failwell.storm.real import REAL_POLICIES, run_real
    from failwell.storm.terminal import real_headline, show_real

    names = asked.names or REAL_POLICIES
    result = run_real(world, policies=names, seed=asked.seed, seeds=asked.seeds or 20, progress=tell)
    return Told(result.to_dict(), real_page(result, real_headline(result)), lambda on: show_real(result, on))


def _cell(cell: Cell) -> dict[str, object]:
    return {"policy": cell.policy, "load": cell.load, "outage": cell.outage, "recovery": cell.recovery}


def _refuse(sentence: str, status: int = 2) -> int:
    print(f"failwell: {sentence}", file=sys.stderr)
    return status
