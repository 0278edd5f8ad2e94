"""The drill on a terminal: a table, what is wrong, how to repeat it, the score."""

from __future__ import annotations

import io

import pytest

import failwell.drill
from failwell.drill.reports.terminal import show, with_progress
from failwell.drill.selftest.naive import Naive
from failwell.drill.selftest.toy import Toy
from failwell.drill.verdict import coverage

rich_console = pytest.importorskip("rich.console", reason="needs the extra `cli`")


def printed(result: failwell.drill.DrillResult, width: int = 120) -> str:
    console = rich_console.Console(file=io.StringIO(), width=width)
    show(result, console)
    return str(console.file.getvalue())


def test_a_passing_drill_is_a_table_and_a_score() -> None:
    text = printed(failwell.drill.run([Toy()], only=["S57"]))

    assert "S57" in text
    assert "A key used again with another body" in text
    assert text.count("PASS") == 3  # both forms, and the score
    assert "again:" not in text


def test_a_failure_is_followed_by_what_is_wrong_and_the_command_that_repeats_it() -> None:
    text = printed(failwell.drill.run([Naive("forgets the cause")], only=["S09"]))

    assert "FAIL  naive S09 sync" in text
    assert "FD-cause" in text
    assert "again: failwell drill naive --only S09" in text


def test_an_exception_nothing_raised_is_named() -> None:
    result = failwell.drill.run([Toy()], only=["S57"])
    result.coverage = coverage(Toy(), result.rows)

    assert "toy ToyAuthError: no rehearsal raised it" in printed(result)


def test_a_narrow_terminal_loses_nothing() -> None:
    text = printed(failwell.drill.run([Toy()], only=["S57"]), width=50)

    assert "another body" in " ".join(text.split())


def test_progress_ends_with_the_result_and_shows_failures_at_once() -> None:
    console = rich_console.Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    subject = Naive("forgets the cause")
    result = with_progress(console, lambda tell: failwell.drill.run([subject], only=["S09"], progress=tell))

    assert len(result.rows) == 1
    assert "FAIL naive S09 sync" in console.file.getvalue()
