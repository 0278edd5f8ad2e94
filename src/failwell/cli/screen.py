"""An explanation on one screen: questions on the left, answers on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from typing import Any, TextIO

    from rich.console import RenderableType

    from failwell.cli.explanation import Explanation

# Longer lines are hard to read; where the output goes to a file or a pipe, the same everywhere.
WIDEST = 100
PLAIN_WIDTH = 80
FIELDS_SHOWN = 6
MESSAGE_SHOWN = 400


def console(file: TextIO | None = None, *, widest: int = WIDEST, plain: int = PLAIN_WIDTH) -> Console:
    """
    A console for people: colour and the terminal's width up to `widest` on a terminal; plain text
    of the width `plain`, whatever `COLUMNS` says, elsewhere.
    """
    made = Console(file=file, highlight=False, markup=False, emoji=False)
    made.width = min(made.width, widest) if made.is_terminal else plain
    return made


def show(explanation: Explanation, on: Console, problems: list[str]) -> None:
    """Print `explanation`."""
    if not on.is_terminal:
        # A grid pads its cells; whoever reads the lines of a pipe does not want the blanks.
        with on.capture() as captured:
            _show(explanation, on, problems)
        lines = (line.rstrip() for line in captured.get().splitlines())
        on.file.write("".join(f"{line}\n" for line in lines))
        return
    _show(explanation, on, problems)


def _show(explanation: Explanation, on: Console, problems: list[str]) -> None:
    heading = _heading(explanation)
    on.print(heading)
    asked = " ".join(filter(None, (explanation.method, explanation.url)))
    if asked:
        on.print(Text(asked, overflow="fold"))
    on.print()
    table = Table.grid(padding=(0, 2), expand=False)
    table.add_column(style="bold cyan", no_wrap=True, min_width=12)
    table.add_column(overflow="fold")
    for label, answer in _rows(explanation):
        table.add_row(label, answer)
    on.print(table)
    for note in [*explanation.notes, *problems]:
        on.print()
        on.print(Text(f"Note: {note}", style="yellow"))


def _heading(e: Explanation) -> Text:
    style = "bold green" if not e.failed else "bold red" if (e.status or 500) >= 400 else "bold yellow"
    heading = Text(e.title, style=style)
    heading.append(f"   ({e.source})", style="dim")
    return heading


def _rows(e: Explanation) -> list[tuple[str, RenderableType]]:
    """The questions that have an answer, in the order a person asks them."""
    rows: list[tuple[str, RenderableType]] = []
    said = _said(e.said)
    if said is not None:
        rows.append(("It said", said))
    if e.means.get("text"):
        rows.append(("It means", Text(e.means["text"])))
    if e.means.get("when"):
        rows.append(("When", Text("\n".join(e.means["when"]))))
    if e.effect.get("text"):
        rows.append(("Happened?", _verdict(e.effect["text"], e.effect["value"])))
    if e.retry.get("text"):
        rows.append(("Try again?", _again(e)))
    if e.means.get("do"):
        rows.append(("What to do", Text(e.means["do"])))
    support = _support(e.support)
    if support is not None:
        rows.append(("For support", support))
    if e.raises:
        rows.append(("Raised as", _raised(e)))
    spaced: list[tuple[str, RenderableType]] = []
    for row in rows:
        if spaced:
            spaced.append(("", Text("")))
        spaced.append(row)
    return spaced


def _said(said: dict[str, Any]) -> RenderableType | None:
    lines = []
    if said.get("message"):
        message = " ".join(said["message"].split())
        lines.append(Text(message if len(message) <= MESSAGE_SHOWN else message[: MESSAGE_SHOWN - 1] + "…"))
    if said.get("code"):
        lines.append(Text("code ", style="dim").append(said["code"], style="default"))
    fields = said.get("fields") or []
    for each in fields[:FIELDS_SHOWN]:
        path = ".".join(map(str, each["path"])) or "(whole input)"
        text = (
            Text("- ").append(path, style="bold").append(f": {each['message'] or each['code'] or 'refused'}")
        )
        lines.append(text)
    if len(fields) > FIELDS_SHOWN:
        lines.append(Text(f"and {len(fields) - FIELDS_SHOWN} fields more (see --json)", style="dim"))
    if not lines:
        return (
            Text("nothing that can be read", style="dim")
            if said and said.get("dialect") not in (None, "none")
            else None
        )
    return Group(*lines)


_LIMITED = ("rate_limited", "quota_exceeded")
_COLOURS = {"not_sent": "green", "not_applied": "green", "unknown": "yellow", "applied": "yellow"}


def _verdict(text: str, effect: str) -> Text:
    return Text(text, style=_COLOURS.get(effect, "default"))


def _again(e: Explanation) -> RenderableType:
    retryable = e.retry["retryable"]
    lines = [Text(e.retry["text"], style="green" if retryable else "default" if retryable is None else "red")]
    limit = e.rate_limit
    # With requests left and another error, the limit is beside the point.
    if limit is not None and (limit["remaining"] == 0 or e.means.get("kind") in _LIMITED):
        parts = []
        if limit["remaining"] is not None and limit["limit"] is not None:
            parts.append(f"{limit['remaining']} of {limit['limit']} left")
        elif limit["limit"] is not None or limit["remaining"] is not None:
            parts.append(
                f"limit {limit['limit']}" if limit["remaining"] is None else f"{limit['remaining']} left"
            )
        if limit["reset_at"]:
            parts.append(f"renewed at {limit['reset_at'].replace('T', ' ').replace('Z', ' UTC')}")
        if limit["policy"]:
            parts.append(f"policy {limit['policy']}")
        lines.append(Text(f"Rate limit: {', '.join(parts)}.", style="dim"))
    return Group(*lines)


def _support(support: dict[str, Any]) -> RenderableType | None:
    if not support or not any(support.values()):
        return None
    lines = []
    if support["request_id"]:
        lines.append(Text("request ").append(support["request_id"], style="bold"))
    else:
        lines.append(Text("The answer names no request id; the time and the address must do."))
    about = [support["date"] and support["date"].replace("T", " ").replace("Z", " UTC"), support["endpoint"]]
    about.append(" ".join(str(s) for s in (support["status"], support["code"]) if s) or None)
    if any(about):
        lines.append(Text("  ".join(a for a in about if a)))
    if support["idempotency_key"]:
        lines.append(Text(f"idempotency key {support['idempotency_key']}"))
    return Group(*lines)


def _raised(e: Explanation) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for raised in e.raises:
        name = Text(raised.exception, style="bold" if raised.contract == "standard" else "")
        if raised.retryable is not None and raised.retryable is not e.retry.get("retryable"):
            name.append("  (tried again)" if raised.retryable else "  (not tried again)", style="dim")
        table.add_row(raised.contract, name)
    return table
