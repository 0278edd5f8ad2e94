"""
The storm on a terminal: a line for each policy, and how it went as a row of bars.

Needs rich (`failwell[cli]`), which is loaded when something is printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from failwell.storm.results import Row, edges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console
    from rich.text import Text

    from failwell.storm.real import RealResult
    from failwell.storm.results import Cell, StormResult

_BARS = "▁▂▃▄▅▆▇█"
# Columns for the name before a row of bars.
TAKEN = 23

HEADS = ("back after", "answered", "in it", "sent/call", "peak")


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
    """Print what came of each policy, and how it went."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=headline(result), title_justify="left", pad_edge=False)
    table.add_column("policy", no_wrap=True)
    for name in HEADS:
        table.add_column(name, justify="right", no_wrap=True)
    for row in result.rows:
        table.add_row(Text(row.policy.name, "bold"), *_numbers(row))
    console.print(table)
    _show_bars([(row.policy.name, row) for row in result.rows], console)
    console.print(MODEL, style="dim")


def show_real(result: RealResult, console: Console) -> None:
    """Print what was measured, the model below each, and how both went."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title=real_headline(result), title_justify="left", pad_edge=False)
    for name in ("policy", ""):
        table.add_column(name, no_wrap=True)
    for name in (*HEADS, "off by"):
        table.add_column(name, justify="right", no_wrap=True)
    drawn = []
    for pair in result.pairs:
        name, real = pair.model.policy.name, Row(pair.model.policy, (pair.measured.run,))
        table.add_row(Text(name, "bold"), "measured", *_numbers(real), f"{pair.deviation:.1%}")
        table.add_row("", "model", *_numbers(pair.model), "")
        drawn += [(name, real), ("  model", pair.model)]
    console.print(table)
    _show_bars(drawn, console)
    late = max(pair.measured.late for pair in result.pairs)
    console.print(
        f"Measured once, seed {result.seed}; the model has the same calls, and is the median of "
        f"{result.seeds} throws of the clients' dice. It is off by the mean difference of the answered part "
        "of each five seconds. The machine kept a call or an answer waiting for "
        f"{late:.2f} s at most; clients give up after {result.world.timeout:g} s.",
        style="dim",
    )


def real_headline(result: RealResult) -> str:
    """What was done, in one line."""
    world = result.world
    return (
        f"{world.clients} real clients at {world.load:.1%} of the capacity of a real service, "
        f"{world.capacity:g} requests a second, {TRIGGERS[world.trigger]} {world.outage:g} s"
    )


def _numbers(row: Row) -> tuple[Text | str, ...]:
    return (
        _back(row), f"{row.share:.0%}", f"{row.share_during:.0%}", f"{row.amplification:.2f}",
        f"{row.peak:.1f}",
    )  # fmt: skip


def _show_bars(rows: Sequence[tuple[str, Row]], console: Console) -> None:
    """Two rows of bars for each: calls answered, and requests sent for each call."""
    from rich.text import Text

    world = rows[0][1].runs[0].world
    width = max(20, min(console.width - TAKEN, world.seconds))
    most = max(2.0, *(max(_sent_per_call(row, width)) for _, row in rows))
    console.print(
        Text(f"{world.seconds} s from left to right, the outage in red. Above: calls answered, "),
        Text("█ for all", "green"),
        Text("; below: requests for each call, "),
        Text(f"█ for {most:.1f}", "yellow"),
        Text(", ▁ for none"),
        sep="",
    )
    for name, row in rows:
        console.print(Text(f"{name:>{TAKEN - 2}}  ", "bold"), bars(row, width), sep="", soft_wrap=True)
        console.print(" " * TAKEN, sent_bars(row, width, most), sep="", soft_wrap=True)


TRIGGERS = {
    "hold": "that stops for",
    "refuse": "that refuses connections for",
    "partial": "of which one key in ten fails for",
}


def headline(result: StormResult) -> str:
    """What was simulated, in one line."""
    world = result.world
    clients = "1 client" if world.clients == 1 else f"{world.clients:,} clients"
    seeds = "1 seed" if len(result.seeds) == 1 else f"{len(result.seeds)} seeds"
    return (
        f"{clients} at {world.load:.1%} of the capacity of a service {TRIGGERS[world.trigger]} "
        f"{world.outage:g} s; {seeds}"
    )


MODEL = (
    "A model: one queue, every request takes as long, calls begin at random and do not wait for each other. "
    "`in it`: answered of the calls that began in the outage; `sent/call`: requests then, for each call; "
    "`peak`: the same of the worst second."
)


def _back(row: Row) -> Text:
    from rich.text import Text

    if row.recovery is None:
        return Text("never", "bold red")
    return Text(f"{row.recovery:g} s", "green" if row.recovery <= 10 else "yellow")


def bars(row: Row, width: int) -> Text:
    """Calls of each moment that were answered, as a row of bars; the trigger in another colour."""
    shares = _ratios(row.goodput(), row.calls(), width)
    return _drawn(row, [min(1.0, share) for share in shares], "green")


def sent_bars(row: Row, width: int, most: float) -> Text:
    """Requests for each call of each moment, as a row of bars of which the highest is `most`."""
    return _drawn(row, [ratio / most for ratio in _sent_per_call(row, width)], "yellow")


def _sent_per_call(row: Row, width: int) -> list[float]:
    return _ratios(row.sent(), row.calls(), width)


def _ratios(upper: Sequence[float], lower: Sequence[float], width: int) -> list[float]:
    """What `upper` is to `lower`, in `width` pieces of the time."""
    found = []
    for column in range(width):
        first = column * len(upper) // width
        last = max(first + 1, (column + 1) * len(upper) // width)
        found.append(sum(upper[first:last]) / (sum(lower[first:last]) or 1.0))
    return found


def _drawn(row: Row, levels: Sequence[float], color: str) -> Text:
    from rich.text import Text

    world, text = row.runs[0].world, Text()
    for column, level in enumerate(levels):
        second = column * world.seconds / len(levels)
        during = second < world.ends and second + world.seconds / len(levels) > world.begins
        text.append(_BARS[round(level * (len(_BARS) - 1))], "red" if during else color)
    return text


def show_sweep(cells: Sequence[Cell], console: Console) -> None:
    """Print a table of recoveries for each policy: loads down, outages across, the edge below."""
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
        table.add_section()
        edge = edges(cells, name)
        table.add_row("up to", *(Text(_edge(edge[outage]), "bold") for outage in outages))
        console.print(table)


def _edge(load: float | None) -> str:
    return "none" if load is None else f"{load:.1%}"
