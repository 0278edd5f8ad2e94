"""`failwell drill`: the rehearsal on a terminal and in files."""

from __future__ import annotations

import json as codec
import sys
from typing import TYPE_CHECKING

from failwell.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from failwell.drill import DrillResult

# The names of what a run leaves in its report directory.
HTML, JSON = "drill.html", "drill.json"


def drill(sdks: list[str] | None, only: list[str] | None, seed: int, report: Path, *, json: bool) -> int:
    """
    Rehearse, print, write the reports.

    Args:
        sdks: Names of clients; None for all that are installed.
        only: Ids of scenarios; None for all.
        seed: For the clients' dice.
        report: A directory for `drill.html` and `drill.json`; made if it is not there.
        json: Print the result as JSON instead of a table.

    Returns:
        0 if everything passed, 1 on FAIL and NOT EXERCISED, 2 if it cannot be run as asked.
    """
    try:
        report.mkdir(parents=True, exist_ok=True)
        result = _run(sdks, only, seed, quiet=json)
        (report / HTML).write_text(result.to_html(), encoding="utf-8")
        (report / JSON).write_text(codec.dumps(result.to_dict(), indent=2) + "\n", encoding="utf-8")
    except UsageError as exc:
        return _refuse(f"{exc}.")
    except FileExistsError:
        return _refuse(f"{report} is a file. --report takes a directory.")
    except OSError as exc:
        return _refuse(f"The report cannot be written: {exc.strerror or exc}.")
    if json:
        print(codec.dumps(result.to_dict(), indent=2))
    else:
        print(f"Timeline of every attempt: {report / HTML}")
    return 0 if result.ok else 1


def self_test() -> int:
    """
    Drill clients with a bad habit each: whether the drill finds what it has to find.

    Returns:
        0 if every habit was found by its rule, 1 if one was missed.
    """
    from failwell.cli.screen import console
    from failwell.drill import selftest
    from failwell.drill.terminal import show_self_test

    result = selftest.run()
    show_self_test(result, console())
    return 0 if result.ok else 1


def _run(sdks: list[str] | None, only: list[str] | None, seed: int, *, quiet: bool) -> DrillResult:
    from failwell.drill import run

    if quiet:
        return run(sdks, only=only, seed=seed)
    from failwell.cli.screen import console
    from failwell.drill.terminal import show, with_progress

    on = console(widest=200, plain=120)  # a table, not sentences
    if not on.is_terminal:  # a bar that nobody watches is noise
        result = run(sdks, only=only, seed=seed)
        show(result, on)
        return result
    result = with_progress(on, lambda tell: run(sdks, only=only, seed=seed, progress=tell))
    show(result, on)
    return result


def _refuse(sentence: str) -> int:
    print(f"failwell: {sentence}", file=sys.stderr)
    return 2
