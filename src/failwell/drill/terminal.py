"""
The drill on a terminal: progress while it runs, then one line for each scenario.

Needs rich (`failwell[cli]`), which is loaded when something is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from failwell.drill.verdict import Row, Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from failwell.drill import DrillResult, Progress
    from failwell.drill.selftest import SelfTest

_STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.NOT_EXERCISED: "bold red",
    Verdict.UNPROVABLE: "yellow",
    Verdict.SKIPPED: "cyan",
}


def with_progress(console: Console, run: Callable[[Callable[[Progress], None]], DrillResult]) -> DrillResult:
    """
    Call `run` with a progress callback that draws on `console`, and give back its result.

    Example:
        `with_progress(console, lambda tell: failwell.drill.run(["kneo"], progress=tell))`
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("[bold]drill[/]"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting the services", total=None)

        def tell(progress: Progress) -> None:
            row = progress.row
            bar.update(
                task,
                total=progress.total,
                completed=progress.done,
                description="" if row is None else row.name,
            )
            if row is not None and row.verdict in (Verdict.FAIL, Verdict.NOT_EXERCISED):
                bar.console.print(_verdict(row.verdict), row.name)

        return run(tell)


def show(result: DrillResult, console: Console) -> None:
    """Print `result`: a table of verdicts, what is wrong and how to repeat it, the score."""
    for subject in dict.fromkeys(r.subject for r in result.rows):
        console.print(_table(subject, [r for r in result.rows if r.subject == subject], console))
    for row in result.rows:
        _show_trouble(row, console)
    for missing in result.never_raised:
        console.print(
            _verdict(Verdict.FAIL), f"{missing.subject} {missing.exception}: no rehearsal raised it", sep="  "
        )
    _show_score(result, console)


# Narrower than this, an id and its sentence share a column, so that neither is torn.
WIDE = 100


def _table(subject: str, rows: Sequence[Row], console: Console) -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    modes = list(dict.fromkeys(r.mode for r in rows))
    wide = console.width >= WIDE
    table = Table(
        box=box.SIMPLE_HEAD, title=f"{subject}: what was rehearsed", title_justify="left", pad_edge=False
    )
    table.add_column("scenario", no_wrap=wide)
    if wide:
        table.add_column("what happens", overflow="fold", ratio=1)
    table.add_column("tries", justify="right")
    for mode in modes:
        table.add_column(mode, no_wrap=True)
    for scenario_id in dict.fromkeys(r.scenario.id for r in rows):
        group = {r.mode: r for r in rows if r.scenario.id == scenario_id}
        title = next(iter(group.values())).scenario.title
        named = Text(scenario_id, "bold")
        what = [named, Text(title)] if wide else [Text.assemble(named, "  ", title)]
        cells = [_verdict(group[m].verdict) if m in group else Text("") for m in modes]
        table.add_row(*what, _tries(group.values()), *cells)
    return table


def _tries(rows: Iterable[Row]) -> str:
    counts = {len(r.evidence.client.attempts or ()) for r in rows if r.evidence is not None}
    return "/".join(str(c) for c in sorted(counts) if c)


def _show_trouble(row: Row, console: Console) -> None:
    if row.verdict is Verdict.PASS:
        return
    from rich.text import Text

    console.print(_verdict(row.verdict), Text(row.name, "bold"), Text(row.scenario.title), sep="  ")
    for finding in row.findings:
        console.print(Text(f"    {finding}"))
    for note in row.notes:
        console.print(Text(f"    {note}", "dim"))
    if row.verdict is not Verdict.SKIPPED:
        console.print(Text(f"    again: {row.repeat}", "dim"))


def _show_score(result: DrillResult, console: Console) -> None:
    from rich.text import Text

    score = Text()
    for verdict, count in result.counts.items():
        if count:
            score.append(f"{count} {verdict.value}  ", _STYLES[verdict])
    if result.coverage:
        raised = len(result.coverage) - len(result.never_raised)
        score.append(f"{raised} of {len(result.coverage)} exceptions raised  ", "" if result.ok else "bold")
    score.append(f"in {result.seconds:.0f} s, seed {result.seed}", "dim")
    console.print(score)


def _verdict(verdict: Verdict) -> Text:
    from rich.text import Text

    return Text(verdict.value, _STYLES[verdict])


def show_self_test(result: SelfTest, console: Console) -> None:
    """Print `result`: each bad habit, its scenario, the rule that found it, or what was said instead."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title="bad habits, planted", title_justify="left", pad_edge=False)
    for name in ("what the client does", "scenario", "rule", ""):
        table.add_column(name, overflow="fold")
    for found in result.found:
        said = Text("FOUND", "green") if found.ok else Text("MISSED", "bold red")
        table.add_row(found.planted.habit, found.planted.scenario, found.planted.rule, said)
    console.print(table)
    for found in result.missed:
        console.print(Text(f"{found.planted.habit}, {found.planted.scenario}:", "bold"))
        for row, client in ((found.row, "with the habit"), (found.innocent, "without it")):
            console.print(Text(f"    {client}: {row.verdict.value}"))
            for finding in row.findings:
                console.print(Text(f"        {finding}"))
    count = len(result.found)
    console.print(f"{count - len(result.missed)} of {count} found")
