"""Writes through faults and kills have one effect each; and where they do not, that is found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmark_runs import BENCHMARKS

sys.path.append(str(BENCHMARKS))  # behind the names of the tests

import exactly_once
import once_client
from exactly_once import Result
from once_schedule import KINDS, NAMES, Plan

# All kinds of fault, on every write one or more; a SIGKILL of the worker and one of a client. Claims that
# nobody holds, and answers that never come, are waited for no longer than that needs.
SMALL = ("--writes", "120", "--faults", "1", "--kill-every", "80", "--client-kills", "1",
         "--lease", "1", "--read", "0.5", "--seed", "1")  # fmt: skip


def run(*asked: str) -> tuple[list[Result], int, str]:
    """The results of a run, its exit status, and what it said."""
    told = subprocess.run(
        [sys.executable, str(BENCHMARKS / "exactly_once.py"), *asked, "--json"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    return [Result(**each) for each in json.loads(told.stdout)], told.returncode, told.stderr


@pytest.fixture(scope="module")
def small() -> Result:
    (result,), status, said = run("--store", "sqlite", *SMALL)
    assert (status, result.wrong) == (0, []), said
    return result


def test_every_write_has_one_effect_through_every_fault_and_kill(small: Result) -> None:
    assert (small.answered, small.effects) == (120, 120)
    assert (small.lost, small.duplicated, small.untrue, small.loose, small.false) == (0, 0, 0, 0, 0)
    assert small.kills["worker"] >= 1
    assert small.kills["client"] == 1


def test_every_fault_of_the_plan_acts_once(small: Result) -> None:
    assert set(small.due) == set(NAMES)
    assert small.fired == small.due == dict(Plan(1, 120, 1.0).faults)


def test_a_client_that_forgets_its_keys_is_found_out() -> None:
    """
    Calls that fail after the effect, made again with another key: each is an effect too many.
    """
    # Four of the faults of this seed end a call for good, and none is a long wait.
    (result,), status, said = run(
        "--store", "sqlite", "--writes", "16", "--faults", "1", "--kill-every", "0", "--client-kills", "0",
        "--seed", "715", "--read", "20", "--forget-keys",
    )  # fmt: skip

    assert status == 1
    assert result.duplicated == result.effects - 16 >= 4
    assert f"SQLite: {result.duplicated} duplicated" in said


def test_a_seed_repeats_its_plan_and_another_one_has_another() -> None:
    def plan(seed: int) -> tuple[Any, ...]:
        made = Plan(seed, 2000, every=100, servers=2, clients=3)
        return [made.faults_of(number) for number in range(2000)], made.kills

    assert plan(1) == plan(1)
    assert plan(1) != plan(2)


def test_faults_come_round_in_turn_and_go_on_to_the_end_of_a_write() -> None:
    """
    What a client may take for its answer is a write's last fault: none of the plan is left over.
    """
    plan = Plan(3, 4000)
    met = [plan.faults_of(number) for number in range(4000)]
    last = {kind.fault.name for kind in KINDS if kind.last}

    assert sum(map(bool, met)) == 1000
    assert max(map(len, met)) == 3
    assert set(plan.faults) == set(NAMES)
    assert not [fault for faults in met for fault in faults[:-1] if fault.name in last]


def test_kills_of_servers_and_clients_stand_beside_those_of_workers() -> None:
    kills = Plan(0, 10_000, every=2, servers=5, clients=20).kills
    who = [kill.who for kill in kills.values()]

    assert (who.count("server"), who.count("client")) == (5, 20)
    assert who.count("worker") + who.count("workers") > 4000


def test_half_a_line_of_a_killed_client_is_not_an_answer(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_text("\n= 1 run_a .\n? 2 1 17.5 KneoServerError unknown .\n= 3 run_b")

    assert once_client.answered(str(journal)) == {1: "run_a"}


class Tables:
    """What a run left, by the words of the queries."""

    def __init__(self, effects: list[tuple[str, str]], runs: list[str]) -> None:
        self._rows: dict[str, list[Any]] = {
            "effects": [(*each, 100.0) for each in effects],
            "runs": [(run_id,) for run_id in runs],
        }

    def read_blocking(self, sql: str) -> list[Any]:
        return self._rows["effects" if "FROM effects" in sql else "runs"]


@pytest.mark.parametrize(
    ("effects", "runs", "wrong"),
    [
        ([("w-0", "a"), ("w-1", "b")], ["a", "b"], []),
        ([("w-0", "a")], ["a"], ["1 lost", "1 answered with what is not there"]),
        ([("w-0", "a"), ("w-1", "b"), ("w-1", "c")], ["a", "b", "c"], ["1 duplicated"]),
        ([("w-0", "a"), ("w-1", "c")], ["a", "c"], ["1 answered with what is not there"]),
        ([("w-0", "a"), ("w-1", "b")], ["a"], ["1 loose rows"]),
        ([("w-0", "a"), ("w-1", "b")], ["a", "b", "c"], ["1 loose rows"]),
        ([("w-0", "a"), ("w-1", "b"), ("v-1", "c")], ["a", "b", "c"], ["1 loose rows"]),
    ],
)
def test_what_is_not_one_effect_each_is_said(
    tmp_path: Path, effects: list[tuple[str, str]], runs: list[str], wrong: list[str]
) -> None:
    journal = tmp_path / "journal"
    journal.write_text("= 0 a .\n= 1 b .\n")
    result = Result("sqlite", {"writes": 2}, "a file", 1, "", "")
    exactly_once._count(result, "w", Tables(effects, runs), [str(journal)])

    assert wrong == result.wrong


@pytest.mark.parametrize(
    ("claim", "false"),
    [
        ("1 99.0 E applied", 1),
        ("1 101.0 E applied", 0),
        ("1 101.0 E not_applied", 1),
        ("1 101.0 E not_sent", 1),
        ("1 99.0 E not_applied", 0),
        ("2 101.0 E not_applied", 0),  # an earlier call may have done it
        ("1 101.0 E unknown", 0),
    ],
)
def test_what_a_failed_call_says_of_its_effect_is_held_against_the_ledger(
    tmp_path: Path, claim: str, false: int
) -> None:
    journal = tmp_path / "journal"
    journal.write_text(f"? 0 {claim} .\n= 0 a .\n")
    result = Result("sqlite", {"writes": 1}, "a file", 1, "", "")
    exactly_once._count(result, "w", Tables([("w-0", "a")], ["a"]), [str(journal)])

    assert result.false == false
    assert result.wrong == (["1 false claims of failed calls"] if false else [])


def test_a_write_that_was_given_up_and_a_fault_that_never_acted_are_said() -> None:
    result = Result("sqlite", {"writes": 2}, "a file", 1, "", "", answered=1, due={"silence": 3, "drip": 1},
                    fired={"drip": 1})  # fmt: skip

    assert result.wrong == ["1 unanswered", "never happened: silence"]


def test_a_page_keeps_what_stands_outside_the_markers_of_a_store(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Before.\n<!-- redis: begin -->\nold\n<!-- redis: end -->\nAfter.\n")
    exactly_once.write_section(page, "redis", "new")

    assert page.read_text() == "Before.\n<!-- redis: begin -->\n\nnew\n\n<!-- redis: end -->\nAfter.\n"
    with pytest.raises(SystemExit, match="has no <!-- sqlite: begin -->"):
        exactly_once.write_section(page, "sqlite", "new")


def test_the_page_has_what_a_run_printed(small: Result) -> None:
    text = exactly_once.text_of(small)

    assert "| logical writes | 120 |" in text
    assert "| lost | 0 |" in text
    assert all(f"| {name} | {small.due[name]} | {small.due[name]} |" in text for name in NAMES)
