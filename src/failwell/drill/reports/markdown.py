"""A drill's result as Markdown that fits on one screen: for a pull request, a chat, a ticket."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import failwell
from failwell.drill.reports.limits import LIMITS
from failwell.drill.reports.totals import Totals, totals
from failwell.drill.rules import RULES
from failwell.drill.verdict import Row, Verdict

if TYPE_CHECKING:
    from failwell.drill import DrillResult

# More than this many rehearsals with the same finding are counted, not listed.
SHOWN = 5


def as_markdown(result: DrillResult) -> str:
    """The score, what is wrong by the code of its rule, the ledger's totals, coverage, and the limits."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: DrillResult) -> Iterator[str]:
    found = totals(result.rows)
    when = datetime.fromtimestamp(result.began, UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield f"# failwell drill: {'everything held' if result.ok else 'not everything held'}"
    yield ""
    yield (
        f"{', '.join(dict.fromkeys(r.subject for r in result.rows))}: {len(result.rows)} rehearsals in "
        f"{result.seconds:.0f} s, seed {result.seed}, failwell {failwell.__version__}, {when}."
    )
    yield ""
    yield from _table(result.counts)
    yield ""
    yield from _figures(result, found)
    yield from _findings(result)
    yield from _others(result)
    yield "## What this does not show"
    yield ""
    yield from (f"- {limit}" for limit in LIMITS)


def _table(counts: dict[Verdict, int]) -> Iterator[str]:
    yield "| " + " | ".join(v.value for v in counts) + " |"
    yield "|" + "--:|" * len(counts)
    yield "| " + " | ".join(str(n) for n in counts.values()) + " |"


def _figures(result: DrillResult, found: Totals) -> Iterator[str]:
    yield (
        f"- Ledger: {found.attempted} writes attempted, {found.acked} acknowledged, {found.effects} effects; "
        f"**{found.lost} lost, {found.duplicated} duplicated**; {found.unknown} said to be unknown."
    )
    yield f"- Claims about an effect: {found.precise} of {found.claims} as precise as can be."
    if found.amplified:
        where = _plain(found.amplified)
        yield f"- Worst amplification: {found.amplification:g} requests for one call ({where})."
    if result.coverage:
        raised = len(result.coverage) - len(result.never_raised)
        missing = ", ".join(f"{c.subject} {c.exception}" for c in result.never_raised)
        yield (
            f"- Exceptions: {raised} of {len(result.coverage)} raised from a real cause"
            f"{f'; never raised: {_plain(missing)}' if missing else ''}."
        )
    yield ""


def _findings(result: DrillResult) -> Iterator[str]:
    """By the code of the rule, in the order of the rules, each with evidence and how to repeat it."""
    by_code: dict[str, list[tuple[Row, str]]] = {}
    for row in result.rows:
        for finding in row.findings:
            by_code.setdefault(finding.code, []).append((row, finding.text))
    if not by_code:
        return
    yield "## Findings"
    yield ""
    for code in sorted(by_code, key=lambda c: [*RULES, c].index(c)):
        rule = f": {RULES[code].rule}" if code in RULES else ""
        yield f"### {code}{rule}"
        yield ""
        for row, text in by_code[code][:SHOWN]:
            yield f"- **{_plain(row.name)}**, {_plain(row.scenario.title)}: {_plain(text)}"
            yield f"  `{row.repeat}`"
        if len(by_code[code]) > SHOWN:
            yield f"- and {len(by_code[code]) - SHOWN} more"
        yield ""


def _others(result: DrillResult) -> Iterator[str]:
    """What is neither well nor a finding, and why."""
    for verdict in (Verdict.NOT_EXERCISED, Verdict.UNPROVABLE, Verdict.SKIPPED):
        rows = [r for r in result.rows if r.verdict is verdict]
        if not rows:
            continue
        yield f"## {verdict.value}"
        yield ""
        yield from (_other(row) for row in rows[:SHOWN])
        if len(rows) > SHOWN:
            yield f"- and {len(rows) - SHOWN} more"
        yield ""


def _other(row: Row) -> str:
    again = f" `{row.repeat}`" if row.verdict is Verdict.NOT_EXERCISED else ""
    return f"- **{_plain(row.name)}**: {_plain('; '.join(row.notes))}{again}"


def _plain(text: str) -> str:
    """`text` on one line, and nothing of it taken for Markdown or HTML."""
    one_line = " ".join(text.split())
    for mark in ("\\", "`", "*", "_", "[", "]", "<", ">", "|"):
        one_line = one_line.replace(mark, f"\\{mark}")
    return one_line
