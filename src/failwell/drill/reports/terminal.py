"""
The drill on a terminal: progress while it runs, then one screen.

A few scenarios are shown one by one, many by what they are about; what is wrong follows, with the
command that repeats it, then the figures and the limits.

Needs rich (`failwell[cli]`), which is loaded when something is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from failwell.drill.reports.limits import LIMITS
from failwell.drill.verdict import Row, Verdict

if TYPE_CHECKING:
    from typing import Any

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from failwell.drill import DrillResult, Progress
    from failwell.drill.repeated import Repeated
    from failwell.drill.rules import Rule
    from failwell.drill.selftest import SelfTest

_STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.NOT_EXERCISED: "bold red",
    Verdict.UNPROVABLE: "yellow",
    Verdict.SKIPPED: "cyan",
}


# More scenarios than this are summed up; more findings than this are counted.
FEW = 24
FINDINGS = 12


def with_progress(
    console: Console, run: Callable[[Callable[[Progress], None]], DrillResult], what: str = "drill"
) -> DrillResult:
    """
    Call `run` with a progress callback that draws on `console`, and give back its result.

    Args:
        console: A terminal.
        run: The drill; told where to report.
        what: Stands before the bar.

    Example:
        `with_progress(console, lambda tell: failwell.drill.run(["kneo"], progress=tell))`
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn(f"[bold]{what}[/]"),
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
    """Print `result`: the verdicts, what is wrong and how to repeat it, the score and the limits."""
    from rich.text import Text

    subjects = list(dict.fromkeys(r.subject for r in result.rows))
    if len({(r.subject, r.scenario.id) for r in result.rows}) <= FEW:
        for subject in subjects:
            console.print(_table(subject, [r for r in result.rows if r.subject == subject], console))
    else:
        console.print(_summary(result, subjects))
    _show_troubles(result, console)
    for missing in result.never_raised:
        console.print(
            _verdict(Verdict.FAIL), f"{missing.subject} {missing.exception}: no rehearsal raised it", sep="  "
        )
    _show_score(result, console)
    for limit in LIMITS:
        console.print(Text(f"· {limit}", "dim"))


def _summary(result: DrillResult, subjects: Sequence[str]) -> Table:
    """What the rehearsals are about, and how many of each SDK's passed."""
    from rich import box
    from rich.table import Table

    from failwell.drill.reports.page import families

    table = Table(box=box.SIMPLE_HEAD, title="what was rehearsed", title_justify="left", pad_edge=False)
    table.add_column("")
    for subject in subjects:
        table.add_column(subject, justify="right", no_wrap=True)
    causes = {f"Real causes: {s}" for s in subjects}
    listed = families(result.rows)
    shown = [(title, rows) for title, rows in listed if title not in causes]
    shown.append(("Real causes", [r for title, rows in listed if title in causes for r in rows]))
    for title, rows in shown:
        table.add_row(title, *(_passed([r for r in rows if r.subject == s]) for s in subjects))
    return table


def _passed(rows: Sequence[Row]) -> Text:
    """ "36", or what there is besides: "34 + 1 FAIL + 1 SKIPPED"."""
    from rich.text import Text

    said = Text()
    for verdict in Verdict:
        count = sum(r.verdict is verdict for r in rows)
        if count:
            said.append(" + " if said else "")
            said.append(str(count) if verdict is Verdict.PASS else f"{count} {verdict}", _STYLES[verdict])
    return said


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


def _show_troubles(result: DrillResult, console: Console) -> None:
    """What is not well, the worst first; what is much the same is counted."""
    order = list(Verdict)
    rows = [r for r in result.rows if r.verdict is not Verdict.PASS]
    rows.sort(key=lambda row: order.index(row.verdict))
    for row in rows[:FINDINGS]:
        _show_trouble(row, console)
    if len(rows) > FINDINGS:
        console.print(f"and {len(rows) - FINDINGS} more, in the reports")
    codes = dict.fromkeys(f.code for r in rows for f in r.findings)
    if codes:
        console.print(f"What a rule is: failwell drill --explain {next(iter(codes))}")


def _show_trouble(row: Row, console: Console) -> None:
    from rich.text import Text

    if row.verdict is Verdict.SKIPPED:
        why = Text(next(iter(row.notes), ""), "dim")
        console.print(_verdict(row.verdict), Text(row.name, "bold"), why, sep="  ")
        return
    console.print(_verdict(row.verdict), Text(row.name, "bold"), Text(row.scenario.title), sep="  ")
    for finding in row.findings:
        console.print(Text(f"    {finding}"))
    for note in row.notes:
        console.print(Text(f"    {note}", "dim"))
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
    found = result.totals
    bad = "bold red" if found.lost or found.duplicated else ""
    figures = Text(f"{found.attempted} writes, {found.acked} acknowledged, {found.effects} effects, ")
    figures.append(f"{found.lost} lost, {found.duplicated} duplicated", bad)
    figures.append(
        f", {found.unknown} unknown; {found.precise} of {found.claims} claims as precise as can be"
    )
    if found.amplified:
        figures.append(f"; at most {found.amplification:g} requests for a call", "")
    console.print(figures)


def show_run(number: int, result: DrillResult, console: Console) -> None:
    """Print one of several runs: a line, and the names of what was not well."""
    from rich.text import Text

    line = Text(f"run {number}: ")
    for verdict, count in result.counts.items():
        if count:
            line.append(f"{count} {verdict.value}  ", _STYLES[verdict])
    line.append(f"in {result.seconds:.0f} s", "dim")
    console.print(line)
    bad = (Verdict.FAIL, Verdict.NOT_EXERCISED)
    for row in [r for r in result.rows if r.verdict in bad][:FINDINGS]:
        console.print(_verdict(row.verdict), Text(row.name, "bold"), "; ".join(map(str, row.findings)))


def show_repeated(repeated: Repeated, console: Console) -> None:
    """Print what several runs have in common, and which verdicts differed."""
    from rich.text import Text

    if not repeated.result.ok:
        _show_troubles(repeated.result, console)
    differing, runs = repeated.differing, len(repeated.verdicts)
    for each in differing:
        console.print(Text("DIFFERS", "bold red"), Text(str(each)))
        console.print(Text(f"    again: {each.repeat} --repeat {runs}", "dim"))
    rows = len(repeated.verdicts[0])
    if differing:
        console.print(
            Text(f"{len(differing)} of {rows} verdicts were not the same in {runs} runs", "bold red")
        )
    else:
        console.print(Text(f"{rows} verdicts, the same in each of {runs} runs", "green"))


def show_scenarios(entries: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print what would be rehearsed, as `listing.listed` gives it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="what is rehearsed", title_justify="left")
    for name, ratio in (("scenario", 5), ("fault", 5), ("has to raise", 3), ("effect", 2), ("attempts", 2)):
        table.add_column(name, overflow="fold", ratio=ratio)
    for e in entries:
        what = Text.assemble((e["id"], "bold"), "\n", e["title"])
        claim = f"claims {' or '.join(e['claim'])}" if e["claim"] else ""
        effects = f"{' or '.join(map(str, e['effects']))} in the ledger" if e["effects"] else ""
        table.add_row(
            what,
            "\n".join(map(_planned, e["faults"])) or "none",
            _raises(e["raises"]),
            "\n".join(filter(None, (claim, effects))),
            _attempts(e),
        )
    console.print(table)
    console.print(f"{len(entries)} scenarios; most run with both forms of the client")


def _planned(fault: Mapping[str, str]) -> str:
    where = "" if fault["platform"] == "any" else f", {fault['platform']} only"
    when = f", {fault['when']}" if fault["when"] else ""
    return f"{fault['name']}{when} ({fault['faithful']}{where})"


def _raises(raises: Mapping[str, str | None]) -> str:
    """What each SDK raises; once, if it is the same with all."""
    names = list(dict.fromkeys(raises.values()))
    if names == [None]:
        return "nothing: it succeeds"
    return "\n".join(name or "nothing: it succeeds" for name in names)


def _attempts(entry: Mapping[str, Any]) -> str:
    seen = f"{entry['requests']} request{'' if entry['requests'] == 1 else 's'}"
    more = " or more" if entry["at_least"] else ""
    tries = "" if entry["tries"] == entry["requests"] else f"\n{entry['tries']} connections tried"
    return f"{seen}{more}{tries}"


def show_faults(kinds: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print the list of faults, as `fault_list.as_dicts` gives it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="what can go wrong", title_justify="left")
    table.add_column("", justify="right")
    for name, ratio in (
        ("kind", 5),
        ("effect, moment", 8),
        ("faithful?", 3),
        ("a write knows", 3),
        ("scenarios", 4),
    ):
        table.add_column(name, overflow="fold", ratio=ratio)
    for kind in kinds:
        makers = ", ".join(f"{m}()" for m in kind["makers"])
        faults = kind["faults"]
        table.add_row(
            str(kind["number"]),
            Text.assemble(kind["what"], *((("\n" + makers, "dim"),) if makers else ())),
            "\n".join(f"· {f['effect']}, {f['moment']}" for f in faults) or kind["elsewhere"],
            "\n".join(dict.fromkeys(_faithful(f) for f in faults)),
            "\n".join(dict.fromkeys(" or ".join(f["a_write_knows"]) for f in faults if f["a_write_knows"])),
            _numbers(kind["scenarios"]),
            end_section=True,
        )
    console.print(table)


def _faithful(fault: Mapping[str, str]) -> str:
    return fault["faithful"] + ("" if fault["platform"] == "any" else f", {fault['platform']} only")


def _numbers(ids: Sequence[str]) -> str:
    """The numbers of the catalogue that `ids` belong to: "S18, S41"; real causes by their names."""
    return ", ".join(dict.fromkeys(i if i.startswith("E-") else i.partition("-")[0] for i in ids))


def show_rule(rule: Rule, console: Console) -> None:
    """Print what a rule is, why it is, and what to do about a finding."""
    from rich.table import Table
    from rich.text import Text

    console.print(Text(rule.code, "bold"), Text(rule.rule))
    console.print()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("why", rule.why)
    table.add_row("do", rule.do)
    console.print(table)


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
