"""`failwell drill`: the rehearsal on a terminal and in files, and what it would rehearse."""

from __future__ import annotations

import json as codec
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from failwell.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from failwell.drill import DrillResult, Progress
    from failwell.drill.anybody import AnybodysClient
    from failwell.drill.repeated import Repeated
    from failwell.drill.subject import Mode, Subject

# The names of what a run leaves in its report directory.
HTML, JSON, MARKDOWN, JUNIT = "drill.html", "drill.json", "report.md", "junit.xml"


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What is to be rehearsed, and how.

    Attributes:
        sdks: Names of clients; None for all that are installed.
        only: Ids of scenarios; None for all.
        form: "sync" or "async"; None for both.
        seed: For the clients' dice.
        times: How often the whole of it is run.
        clients: Instead of SDKs: anybody's clients.
        service: The base URL of a service that is not the drill's; None for its own.
    """

    sdks: list[str] | None = None
    only: list[str] | None = None
    form: Mode | None = None
    seed: int = 0
    times: int = 1
    clients: Sequence[AnybodysClient] = ()
    service: str | None = None

    @property
    def subjects(self) -> list[str | Subject] | None:
        """What `failwell.drill.run` takes."""
        if self.clients:
            return list(self.clients)
        return None if self.sdks is None else list(self.sdks)


def drill(asked: Asked, report: Path, *, json: bool) -> int:
    """
    Rehearse, print, write the reports.

    Args:
        asked: What.
        report: A directory for the reports; made if it is not there.
        json: Print the result as JSON instead of a table.

    Returns:
        0 if everything passed, each time; 1 on FAIL and NOT EXERCISED and if a verdict differed from
        one run to the next; 2 if it cannot be run as asked.
    """
    try:
        report.mkdir(parents=True, exist_ok=True)
        _announce(asked)
        done = _run(asked, quiet=json)
        _write(done.result if asked.times == 1 else done, done.result, report)
    except UsageError as exc:
        return refuse(f"{exc}.")
    except FileExistsError:
        return refuse(f"{report} is a file. --report takes a directory.")
    except OSError as exc:
        return refuse(f"The report cannot be written: {exc.strerror or exc}.")
    if json:
        print((report / JSON).read_text("utf-8"), end="")
    else:
        print(f"Timeline of every attempt: {report / HTML}; on one screen: {report / MARKDOWN}")
    return 0 if done.ok else 1


def _write(data: DrillResult | Repeated, result: DrillResult, report: Path) -> None:
    (report / HTML).write_text(result.to_html(), encoding="utf-8")
    (report / JSON).write_text(codec.dumps(data.to_dict(), indent=2) + "\n", encoding="utf-8")
    (report / MARKDOWN).write_text(result.to_markdown(), encoding="utf-8")
    (report / JUNIT).write_text(result.to_junit(), encoding="utf-8")


def list_scenarios(asked: Asked, *, json: bool) -> int:
    """Print what would be rehearsed. Nothing is started."""
    from failwell.drill import planned
    from failwell.drill.reports.listing import listed

    try:
        found = listed(planned(asked.subjects, only=asked.only))
    except UsageError as exc:
        return refuse(f"{exc}.")
    if json:
        print(codec.dumps(found, indent=2))
        return 0
    from failwell.drill.reports.terminal import show_scenarios

    show_scenarios(found, _table_console())
    return 0


def list_faults(asked: Asked, *, json: bool) -> int:
    """Print everything that can go wrong, what makes it, and which scenarios use it."""
    from failwell.drill import planned
    from failwell.drill.fault_list import as_dicts

    try:
        plans = planned(asked.subjects, only=asked.only)
    except UsageError as exc:
        return refuse(f"{exc}.")
    found = as_dicts([scenario for _, scenarios in plans for scenario in scenarios])
    if json:
        print(codec.dumps(found, indent=2))
        return 0
    from failwell.drill.reports.terminal import show_faults

    show_faults(found, _table_console())
    return 0


def explain_rule(code: str) -> int:
    """Print what the rule `code` is, why it is, and what to do about a finding."""
    from failwell.drill.rules import rule

    try:
        found = rule(code)
    except UsageError as exc:
        return refuse(f"{exc}.")
    from failwell.cli.screen import console
    from failwell.drill.reports.terminal import show_rule

    show_rule(found, console())
    return 0


def self_test() -> int:
    """
    Drill clients with a bad habit each: whether the drill finds what it has to find.

    Returns:
        0 if every habit was found by its rule, 1 if one was missed.
    """
    from failwell.cli.screen import console
    from failwell.drill import selftest
    from failwell.drill.reports.terminal import show_self_test

    result = selftest.run()
    show_self_test(result, console())
    return 0 if result.ok else 1


def _announce(asked: Asked) -> None:
    """Say once, on standard error, what a service that is somebody's own is going to be sent."""
    if asked.service is None:
        return
    from failwell.drill import WORKERS, planned
    from failwell.drill.remote import AT_ONCE, announcement, is_here

    at_once = WORKERS if is_here(asked.service) else AT_ONCE
    for subject, scenarios in planned(asked.subjects, only=asked.only):
        forms: list[Mode] = [mode for mode in subject.modes if asked.form in (None, mode)]
        for line in announcement(asked.service, scenarios, forms, at_once=at_once):
            print(line, file=sys.stderr)
    if asked.times > 1:
        print(f"All of it {asked.times} times.", file=sys.stderr)


def _table_console() -> Console:
    from failwell.cli.screen import console

    return console(widest=200, plain=120)  # a table, not sentences


def _run(asked: Asked, *, quiet: bool) -> Repeated:
    from failwell.drill import run
    from failwell.drill.repeated import repeatedly
    from failwell.drill.subject import MODES

    modes = MODES if asked.form is None else (asked.form,)

    def once(tell: Callable[[Progress], None] | None) -> DrillResult:
        return run(
            asked.subjects,
            only=asked.only,
            modes=modes,
            seed=asked.seed,
            progress=tell,
            service=asked.service,
        )

    if quiet:
        return repeatedly(asked.times, lambda _: once(None))
    from failwell.drill.reports.terminal import show, show_repeated, show_run, with_progress

    on = _table_console()

    def watched(number: int) -> DrillResult:
        what = "drill" if asked.times == 1 else f"run {number} of {asked.times}"
        # A bar that nobody watches is noise.
        result = with_progress(on, once, what) if on.is_terminal else once(None)
        if asked.times > 1:
            show_run(number, result, on)
        return result

    done = repeatedly(asked.times, watched)
    if asked.clients and asked.times == 1:
        from failwell.cli.client_drill import show_cards

        show_cards(asked.clients, done.result, on)
    elif asked.times == 1:
        show(done.result, on)
    else:
        show_repeated(done, on)
    return done


def refuse(sentence: str) -> int:
    """Say why it cannot be run as asked; the exit code for that."""
    print(f"failwell: {sentence}", file=sys.stderr)
    return 2
