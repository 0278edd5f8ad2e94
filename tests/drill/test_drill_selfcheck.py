"""The drill drills itself: a good client passes, and each bad habit is caught by its scenario."""

from __future__ import annotations

import pytest
from drill_naive import HABITS, Naive

import failwell.drill
from failwell.drill.verdict import Verdict

# Habit, scenario that has to catch it, rule that has to name it.
CAUGHT = (
    ("repeats any write", "S09", "FD-requests"),
    ("repeats any write", "S54-fin-plain", "FD-ledger"),
    ("new key for each try", "S54-fin", "FD-key"),
    ("new key for each try", "S54-fin", "FD-ledger"),
    ("trusts half a body", "S18-read-always", "FD-outcome"),
    ("ignores Retry-After", "S42-keyed", "FD-wait"),
    ("no deadline", "S26", "FD-time"),
    ("repeats refusals", "E-ToyAuthError-revoked", "FD-requests"),
    ("hides attempts", "S10-always", "FD-count"),
    ("puts the key into the error", "S09", "FD-promise"),
    ("always claims unknown", "S08-always", "FD-vague"),
    ("forgets the cause", "S09", "FD-cause"),
    ("swallows errors", "S09", "FD-outcome"),
    ("gives up at once", "S08-once", "FD-outcome"),
)


@pytest.mark.parametrize("scenario", sorted({s for _, s, _ in CAUGHT} | {"S13-keyed"}))
def test_the_same_client_without_bad_habits_passes(scenario: str) -> None:
    (row,) = failwell.drill.run([Naive()], only=[scenario]).rows

    assert row.verdict is Verdict.PASS, row.findings


@pytest.mark.parametrize(("habit", "scenario", "rule"), CAUGHT)
def test_a_bad_habit_is_caught(habit: str, scenario: str, rule: str) -> None:
    result = failwell.drill.run([Naive(habit)], only=[scenario])
    (row,) = result.rows

    assert row.verdict is Verdict.FAIL
    assert rule in {f.code for f in row.findings}
    assert not result.ok
    assert row.repeat == f"failwell drill naive --only {scenario}"


def test_a_client_that_keeps_no_connection_cannot_be_met_on_a_reused_one() -> None:
    result = failwell.drill.run([Naive("never keeps a connection")], only=["S13-keyed"])

    assert result.rows[0].verdict is Verdict.NOT_EXERCISED
    assert not result.ok


def test_every_bad_habit_is_caught_by_something() -> None:
    assert {habit for habit, _, _ in CAUGHT} | {"never keeps a connection"} == HABITS
