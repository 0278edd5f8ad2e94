"""The drill drills itself: a good client passes, and each bad habit is caught by its scenario."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import failwell.drill
from failwell.drill import selftest
from failwell.drill.reports.terminal import show_self_test
from failwell.drill.rules import RULES
from failwell.drill.selftest import LONELY, PLANTED, Found, Naive, Planted, SelfTest
from failwell.drill.verdict import Verdict


@pytest.fixture(scope="module")
def result() -> SelfTest:
    told: list[Found] = []
    result = selftest.run(told.append)
    assert told == result.found
    return result


@pytest.mark.parametrize("scenario", sorted({p.scenario for p in PLANTED}))
def test_the_same_client_without_bad_habits_passes(result: SelfTest, scenario: str) -> None:
    row = next(f.innocent for f in result.found if f.planted.scenario == scenario)

    assert (row.verdict, row.findings) == (Verdict.PASS, [])


@pytest.mark.parametrize("planted", PLANTED, ids=lambda p: f"{p.habit} {p.rule}")
def test_a_bad_habit_is_caught(result: SelfTest, planted: Planted) -> None:
    found = next(f for f in result.found if f.planted == planted)

    assert found.row.verdict is Verdict.FAIL
    assert planted.rule in {f.code for f in found.row.findings}
    assert found.ok
    assert f" --only {planted.scenario}" in found.row.repeat


def test_all_in_all_nothing_is_missed(result: SelfTest) -> None:
    assert result.missed == []
    assert result.ok


def test_what_is_missed_is_told_with_what_was_said_instead(result: SelfTest) -> None:
    missed = replace(result.found[0], row=result.found[0].innocent)
    blamed = replace(result.found[1], innocent=result.found[1].row)
    screen = io.StringIO()
    show_self_test(SelfTest([missed, blamed, result.found[2]]), Console(file=screen, width=100))

    assert not SelfTest([missed]).ok
    assert not SelfTest([blamed]).ok
    assert "1 of 3 found" in screen.getvalue()
    assert "with the habit: PASS" in screen.getvalue()
    assert "without it: FAIL" in screen.getvalue()


def test_a_drill_that_drilled_nothing_has_found_nothing() -> None:
    assert not SelfTest().ok


# What no client with a habit can be made to break in a second, or what is about the drill itself.
LIED_ABOUT = {"FD-hang", "FD-reuse", "FD-size", "FD-whole", "FD-trouble", "FD-drill"}
ADVICE = {"FD-better"}


def test_every_rule_has_a_planted_habit_or_is_held_by_a_lie() -> None:
    """
    A rule that is added, and that nothing was planted for, fails here (S87).
    """
    told = ("test_drill_verdict.py", "test_drill_whole.py")
    lies = "".join((Path(__file__).parent / name).read_text("utf-8") for name in told)

    assert set(RULES) - {p.rule for p in PLANTED} - ADVICE == LIED_ABOUT
    assert set(re.findall(r'"(FD-[a-z]+)[":]', lies)) >= LIED_ABOUT


def test_a_client_that_keeps_no_connection_cannot_be_met_on_a_reused_one() -> None:
    result = failwell.drill.run([Naive(LONELY)], only=["S13-keyed"])

    assert result.rows[0].verdict is Verdict.NOT_EXERCISED
    assert not result.ok


def test_the_same_client_that_keeps_its_connection_is_met_there() -> None:
    result = failwell.drill.run([Naive()], only=["S13-keyed"])

    assert (result.rows[0].verdict, result.rows[0].findings) == (Verdict.PASS, [])
