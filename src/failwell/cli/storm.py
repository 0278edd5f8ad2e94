"""`failwell storm`: the simulation on a terminal and in files."""

from __future__ import annotations

import json as codec
import sys
from typing import TYPE_CHECKING

from failwell.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from failwell.storm import Policy, StormResult, World
    from failwell.storm.results import Cell

# The names of what a run leaves in its report directory.
HTML, JSON = "storm.html", "storm.json"


def storm(
    facts: dict[str, object], names: list[str] | None, seeds: int, report: Path, *, sweeps: bool, json: bool
) -> int:
    """
    Simulate, print, write the reports.

    Args:
        facts: What `World` is made of; or `every`, seconds between two calls of a client, for its
            `capacity`.
        names: Names of policies; None for all.
        seeds: Runs of each.
        report: A directory for `storm.html` and `storm.json`; made if it is not there.
        sweeps: Whether loads and outages are swept as well.
        json: Print the result as JSON instead of a table.

    Returns:
        0, or 2 if it cannot be run as asked.
    """
    from failwell.cli.screen import console
    from failwell.storm import World
    from failwell.storm.page import page
    from failwell.storm.results import named
    from failwell.storm.terminal import headline, show, show_sweep, with_progress

    try:
        world = World.where_each_calls(**facts) if "every" in facts else World(**facts)  # type: ignore[arg-type]  # by name, from the options of the command
        policies = named(names)
        report.mkdir(parents=True, exist_ok=True)
        on = console(widest=200, plain=120)  # a table, not sentences
        found: list[tuple[StormResult, list[Cell]]] = []

        def work(tell: Callable[[str, float], None] | None) -> None:
            found.append(_run(world, policies, seeds, sweeps, tell))

        if on.is_terminal and not json:
            with_progress(on, work)
        else:  # a bar that nobody watches is noise
            work(None)
        ((result, cells),) = found
        told = result.to_dict() | ({"sweep": [_cell(cell) for cell in cells]} if sweeps else {})
        (report / HTML).write_text(page(result, headline(result), cells), encoding="utf-8")
        (report / JSON).write_text(codec.dumps(told, indent=2) + "\n", encoding="utf-8")
    except UsageError as exc:
        return _refuse(f"{exc}.")
    except FileExistsError:
        return _refuse(f"{report} is a file. --report takes a directory.")
    except OSError as exc:
        return _refuse(f"The report cannot be written: {exc.strerror or exc}.")
    if json:
        print(codec.dumps(told, indent=2))
        return 0
    show(result, on)
    show_sweep(cells, on)
    print(f"Drawn second by second: {report / HTML}")
    return 0


def _run(
    world: World,
    policies: tuple[Policy, ...],
    seeds: int,
    sweeps: bool,
    tell: Callable[[str, float], None] | None,
) -> tuple[StormResult, list[Cell]]:
    from failwell.storm import run, sweep

    result = run(world, policies=policies, seeds=seeds, progress=tell)
    return result, sweep(world, policies=policies, progress=tell) if sweeps else []


def _cell(cell: Cell) -> dict[str, object]:
    return {"policy": cell.policy, "load": cell.load, "outage": cell.outage, "recovery": cell.recovery}


def _refuse(sentence: str) -> int:
    print(f"failwell: {sentence}", file=sys.stderr)
    return 2
