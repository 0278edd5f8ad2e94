"""`failwell doctor`: what is wrong with a store's set-up, on a terminal or for programs."""

from __future__ import annotations

import json as codec
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from failwell.service.doctor import Examination, Finding

MARKS = {
    "wrong": ("wrong", "bold red"),
    "advice": ("advice", "yellow"),
    "unknown": ("not known", "dim"),
    "well": ("well", "green"),
}


def doctor(url: str, *, prefix: str, workers: int, connections: int, json: bool) -> int:
    """
    Examine a store and print what was found.

    Args:
        url: The store's, as `open_store` takes it.
        prefix: What the keys in Redis begin with.
        workers: How many processes use the store at once.
        connections: How many connections each of them holds to PostgreSQL.
        json: Print for programs.

    Returns:
        0 if nothing is wrong, 1 if something is, 2 if the store cannot be examined.
    """
    from failwell.service.doctor import CannotLookError, examine

    try:
        examination = examine(url, prefix=prefix, workers=workers, connections=connections)
    except CannotLookError as exc:
        print(f"failwell: {str(exc).rstrip('.')}.", file=sys.stderr)
        return 2
    if json:
        print(codec.dumps(examination.to_dict(), indent=2))
    else:
        from failwell.cli.screen import console

        show(examination, console())
    return 0 if examination.ok else 1


def show(examination: Examination, on: Console) -> None:
    """Print `examination`: what is wrong first, what is well last."""
    if on.is_terminal:
        _show(examination, on)
        return
    # A grid pads its cells; whoever reads the lines of a pipe does not want the blanks.
    with on.capture() as captured:
        _show(examination, on)
    on.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _show(examination: Examination, on: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    on.print(Text(examination.store, style="bold", overflow="fold"))
    on.print()
    table = Table.grid(padding=(0, 2), expand=False)
    table.add_column(no_wrap=True, min_width=9)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    order = list(MARKS)
    for finding in sorted(examination.findings, key=lambda f: order.index(f.verdict)):
        word, style = MARKS[finding.verdict]
        table.add_row(Text(word, style=style), finding.check, finding.found)
        if finding.do:
            table.add_row("", "", Text(finding.do, style="italic"))
    on.print(table)
    on.print()
    on.print(Text(_summary(examination.findings)))


def _summary(findings: tuple[Finding, ...]) -> str:
    wrong = sum(finding.verdict == "wrong" for finding in findings)
    unseen = sum(finding.verdict == "unknown" for finding in findings)
    told = {0: "Nothing is wrong", 1: "1 thing is wrong"}.get(wrong, f"{wrong} things are wrong")
    return f"{told}; {unseen} could not be seen." if unseen else f"{told}."
