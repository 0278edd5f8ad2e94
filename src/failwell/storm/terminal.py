"""
The storm on a terminal: a line for each policy, and how it went as a row of bars.

Needs rich (`failwell[cli]`), which is loaded when something is printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console
    from rich.text import Text

    from failwell.storm.results import Cell, Row, StormResult

_BARS = " ▁▂▃▄▅▆▇█"
# Narrower than this, the bars have a line of their own.
WIDE = 110
# What the other columns take.
TAKEN = 76


def with_progress(console: Console, work: Callable[[Callable[[str, float], None]], None]) -> None:
    """Call `work` with a progress callback that draws on `console`."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("[bold]storm[/]"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        work(lambda name, part: bar.update(task, completed=part, description=name))


def show(result: StormResult, console: Console) -> None:
    """Print what came of each policy."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    world = result.world
    table = Table(box=box.SIMPLE_HEAD, title=headline(result), title_justify="left", pad_edge=False)
    table.add_column("policy", no_wrap=True)
    for name in ("back after", "answered", "in it", "sent/call"):
        table.add_column(name, justify="right", no_wrap=True)
    wide = console.width >= WIDE
    if wide:
        table.add_column(f"answered, {world.seconds} s", no_wrap=True)
    for row in result.rows:
        cells = [
            Text(row.policy.name, "bold"),
            _back(row),
            Text(f"{row.share:.0%}"),
            Text(f"{row.share_during:.0%}"),
            Text(f"{row.amplification:.2f}"),
        ]
        table.add_row(*cells, *([bars(row, console.width - TAKEN)] if wide else []))
    console.print(table)
    if not wide:
        for row in result.rows:
            console.print(Text(f"{row.policy.name:>21} "), bars(row, console.width - 24), sep="")
    console.print(MODEL)


def headline(result: StormResult) -> str:
    """What was simulated, in one line."""
    world = result.world
    what = {
        "hold": "that stops for",
        "refuse": "that refuses connections for",
        "partial": "of which one key in ten fails for",
    }[world.trigger]
    clients = "1 client" if world.clients == 1 else f"{world.clients:,} clients"
    seeds = "1 seed" if len(result.seeds) == 1 else f"{len(result.seeds)} seeds"
    return f"{clients} at {world.load:.1%} of the capacity of a service {what} {world.outage:g} s; {seeds}"


MODEL = (
    "A model: one queue, every request takes as long, calls begin at random and do not wait for each other. "
    "`in it`: answered of the calls that began in the outage; `sent/call`: requests then, for each call."
)


def _back(row: Row) -> Text:
    from rich.text import Text

    if row.recovery is None:
        return Text("never", "bold red")
    return Text(f"{row.recovery:g} s", "green" if row.recovery <= 10 else "yellow")


def bars(row: Row, width: int) -> Text:
    """Calls of each moment that were answered, as a row of bars; the trigger in another colour."""
    from rich.text import Text

    world, goodput = row.runs[0].world, row.goodput()
    most = world.load * world.capacity
    text = Text()
    for column in range(width):
        first = column * len(goodput) // width
        last = max(first + 1, (column + 1) * len(goodput) // width)
        level = min(1.0, sum(goodput[first:last]) / (last - first) / most)
        during = first < world.ends and last > world.begins
        text.append(_BARS[round(level * (len(_BARS) - 1))], "red" if during else "green")
    return text


def show_sweep(cells: Sequence[Cell], console: Console) -> None:
    """Print a table of recoveries for each policy: loads down, outages across."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    outages = sorted({cell.outage for cell in cells})
    for name in dict.fromkeys(cell.policy for cell in cells):
        table = Table(
            box=box.SIMPLE_HEAD, title=f"{name}: seconds until it answers again, by load and outage",
            title_justify="left", pad_edge=False,
        )  # fmt: skip
        table.add_column("load", justify="right")
        for outage in outages:
            table.add_column(f"{outage:g} s", justify="right")
        for load in sorted({cell.load for cell in cells}):
            found = {c.outage: c.recovery for c in cells if c.policy == name and c.load == load}
            table.add_row(
                f"{load:.1%}",
                *(
                    Text("never", "bold red")
                    if found[outage] is None
                    else Text(f"{found[outage]:g}", "green" if (found[outage] or 0) <= 10 else "yellow")
                    for outage in outages
                ),
            )
        console.print(table)
