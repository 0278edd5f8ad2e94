"""Pacing: slowing down before the limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import nan

import pytest

from failwell import RateLimit, UsageError
from failwell.call.pacing import Pacer

WALL = datetime(2026, 1, 1, tzinfo=UTC)


def limit(remaining: int | None, left: float | None, most: int | None = 100) -> RateLimit:
    return RateLimit(most, remaining, None if left is None else WALL + timedelta(seconds=left))


def test_it_does_nothing_while_much_is_left() -> None:
    pacer = Pacer(below=0.1)
    pacer.learn(limit(11, 10.0), 0.0, WALL)

    assert pacer.wait(0.0) == 0.0


def test_what_is_left_is_spread_until_the_renewal() -> None:
    pacer = Pacer(below=0.1)
    pacer.learn(limit(4, 10.0), 0.0, WALL)

    assert [pacer.wait(0.0) for _ in range(3)] == [2.0, 4.0, 5.0]


def test_calls_that_wait_at_the_same_time_do_not_come_back_at_once() -> None:
    pacer = Pacer(max_wait=60.0)
    pacer.learn(limit(9, 10.0), 0.0, WALL)

    assert [pacer.wait(0.5) for _ in range(4)] == [0.5, 1.5, 2.5, 3.5]


def test_a_place_that_has_passed_costs_no_wait() -> None:
    pacer = Pacer()
    pacer.learn(limit(9, 10.0), 0.0, WALL)

    assert pacer.wait(4.0) == 0.0
    assert pacer.wait(4.0) == 1.0


def test_after_the_renewal_nothing_is_waited_for() -> None:
    pacer = Pacer()
    pacer.learn(limit(0, 3.0), 0.0, WALL)

    assert pacer.wait(3.0) == 0.0


def test_no_pause_is_longer_than_allowed() -> None:
    pacer = Pacer(max_wait=1.5)
    pacer.learn(limit(0, 60.0), 0.0, WALL)

    assert [pacer.wait(0.0) for _ in range(3)] == [1.5, 1.5, 1.5]


@pytest.mark.parametrize(
    "said", [None, limit(None, 10.0), limit(1, None), limit(0, 0.0), limit(0, -5.0)], ids=str
)
def test_a_limit_that_says_too_little_teaches_nothing(said: RateLimit | None) -> None:
    pacer = Pacer()
    pacer.learn(said, 0.0, WALL)

    assert pacer.wait(0.0) == 0.0


def test_without_a_number_of_all_what_is_left_decides() -> None:
    pacer = Pacer()
    pacer.learn(limit(4, 10.0, most=None), 0.0, WALL)

    assert pacer.wait(0.0) == 2.0


@pytest.mark.parametrize(
    "numbers", [{"below": -0.1}, {"below": 1.1}, {"max_wait": -1.0}, {"max_wait": nan}], ids=str
)
def test_a_number_out_of_range_is_refused_by_name(numbers: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(numbers))):
        Pacer(**numbers)
