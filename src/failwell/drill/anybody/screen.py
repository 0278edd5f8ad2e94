"""The score card on a terminal. Needs rich (`failwell[cli]`)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from failwell.drill.anybody.card import OTHERS, THEMES, Mark, Score, better, failures, in_short

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from failwell.drill import DrillResult

_STYLES = {
    Mark.PASSED: "green",
    Mark.BETTER: "yellow",
    Mark.FAILED: "bold red",
    Mark.NOT_APPLICABLE: "dim",
    Mark.UNPROVABLE: "yellow",
}


def show(score: Score, result: DrillResult, console: Console) -> None:
    """Print `score`: the table, then what failed with the command that repeats it, then the rest."""
    from rich.text import Text

    console.print(_table(score))
    for row, why in failures(score):
        title = Text.assemble(("FAIL ", _STYLES[Mark.FAILED]), (f"{row.scenario.id}  ", "bold"))
        console.print(title.append(row.scenario.title))
        console.print(_beneath(why, ""), _beneath(row.repeat, "dim"), sep="\n")
    if found := better(score):
        console.print(Text("could be better", _STYLES[Mark.BETTER]))
    for text, ids in found.items():
        console.print(_beneath(f"{text}: {in_short(ids)}", ""))
    console.print()
    console.print(_line(score.total).append(f"in {result.seconds:.0f} s, seed {result.seed}", "dim"))


def _beneath(text: str, style: str) -> object:
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(text, style), (0, 0, 0, 5), expand=False)


def _table(score: Score) -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    marks = [m for m in Mark if score.total[m] or m in (Mark.PASSED, Mark.BETTER, Mark.FAILED)]
    title = f"{score.client} {score.version}".rstrip()
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_footer=True)
    table.add_column("theme", footer=Text("all", "bold"))
    for mark in marks:
        table.add_column(mark.value, justify="right", footer=_count(score.total, mark))
    for theme in [*(title for title, _, _ in THEMES), OTHERS]:
        if counts := score.themes.get(theme):
            table.add_row(theme, *(_count(counts, mark) for mark in marks))
    return table


def _count(counts: Counter[Mark], mark: Mark) -> Text:
    from rich.text import Text

    count = counts[mark]
    return Text(str(count) if count else "·", _STYLES[mark] if count else "dim")


def _line(counts: Counter[Mark]) -> Text:
    from rich.text import Text

    line = Text()
    for mark in Mark:
        if counts[mark]:
            line.append(f"{counts[mark]} {mark.value}  ", _STYLES[mark])
    return line
