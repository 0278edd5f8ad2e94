"""The retry policy: what it promises of every wait, and which numbers it takes."""

from __future__ import annotations

import itertools
from math import inf, isfinite, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import ArgumentTypeError, DocumentedWaits, Effect, Failure, RetryPolicy, UsageError
from failwell.call.retry import IDEMPOTENT_METHODS, SPREAD, SPREAD_LIMIT

SHARE = st.floats(0, 1)
CHANCE = st.floats(0, 1, exclude_max=True)
SECONDS = st.floats(0, 1e300)


@given(st.integers(1, 10**9), SECONDS, SECONDS, SHARE, CHANCE)
def test_an_own_wait_is_within_the_cap_and_never_overflows(
    tries: int, base: float, cap: float, jitter: float, chance: float
) -> None:
    wait = RetryPolicy(base=base, cap=cap, jitter=jitter).delay_after(tries, None, lambda: chance)

    assert isfinite(wait)
    assert 0 <= wait <= cap


@given(st.integers(1, 100), st.floats(1e-9, 1e9), SHARE, CHANCE)
def test_a_wait_that_was_asked_for_is_never_shorter_and_little_longer(
    tries: int, asked: float, jitter: float, chance: float
) -> None:
    wait = RetryPolicy(jitter=jitter).delay_after(tries, asked, lambda: chance)

    assert asked <= wait <= asked + min(asked * SPREAD, SPREAD_LIMIT) + 1e-6


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    policy = RetryPolicy(base=0.5, cap=3.0)

    assert [policy.delay_after(n, None, lambda: 0.0) for n in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_full_jitter_spreads_over_the_whole_wait() -> None:
    policy = RetryPolicy(base=1.0)

    assert policy.delay_after(1, None, lambda: 0.75) == 0.25
    assert RetryPolicy(base=1.0, jitter=0.0).delay_after(1, None, lambda: 0.75) == 1.0
    assert RetryPolicy(base=1.0, jitter=0.5).delay_after(1, None, lambda: 0.5) == 0.75


@pytest.mark.parametrize("asked", [None, 0, 0.0])
def test_a_service_that_asks_for_nothing_gets_the_own_backoff(asked: float | None) -> None:
    assert RetryPolicy(base=0.5).delay_after(1, asked, lambda: 0.0) == 0.5


@pytest.mark.parametrize(
    ("wanted", "repeatable", "effect", "tries", "asked", "why"),
    [
        (False, True, Effect.NOT_SENT, 1, None, "not_retryable"),
        (True, False, Effect.UNKNOWN, 1, None, "not_safe_to_repeat"),
        (True, False, Effect.APPLIED, 1, None, "not_safe_to_repeat"),
        (True, False, Effect.NOT_SENT, 1, None, ""),
        (True, False, Effect.NOT_APPLIED, 1, None, ""),
        (True, True, Effect.UNKNOWN, 2, None, ""),
        (True, True, Effect.UNKNOWN, 3, None, "attempts_exhausted"),
        (True, True, Effect.UNKNOWN, 1, 60.0, ""),
        (True, True, Effect.UNKNOWN, 1, 60.1, "retry_after_too_long"),
    ],
)
def test_each_reason_not_to_repeat(
    wanted: bool, repeatable: bool, effect: Effect, tries: int, asked: float | None, why: str
) -> None:
    failure = Failure(effect=effect, retry_after=asked)

    assert why == RetryPolicy().why_not(failure, tries, wanted=wanted, repeatable=repeatable)


@pytest.mark.parametrize(
    "numbers",
    [
        {"max_attempts": 0},
        {"max_attempts": -1},
        *(
            {name: bad}
            for name, bad in itertools.product(("base", "cap", "max_retry_after"), (-0.1, nan, -inf))
        ),
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"jitter": nan},
    ],
    ids=str,
)
def test_a_number_out_of_range_is_refused_by_name(numbers: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(numbers))):
        RetryPolicy(**numbers)


def test_rfc9110_9_2_2_the_idempotent_methods() -> None:
    assert {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"} == IDEMPOTENT_METHODS


@pytest.mark.parametrize(
    "wrong", [{"max_attempts": "3"}, {"max_attempts": 2.0}, {"base": "1"}, {"cap": None}, {"jitter": "0"}]
)
def test_a_number_of_another_type_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentTypeError, match=next(iter(wrong))):
        RetryPolicy(**wrong)


@pytest.mark.parametrize("dice", [0.0, 0.5, 0.999])
def test_the_waits_of_a_document_are_exactly_those(dice: float) -> None:
    policy = DocumentedWaits(max_attempts=4, max_retry_after=120.0)

    assert [policy.delay_after(n, None, lambda: dice) for n in (1, 2, 3, 99)] == [1.0, 2.0, 4.0, 60.0]
    assert policy.delay_after(1, 120.0, lambda: dice) == 120.0


def test_what_is_left_to_chance_is_added_to_a_document_s_wait() -> None:
    policy = DocumentedWaits(jitter=0.5)

    assert policy.delay_after(2, None, lambda: 0.0) == 2.0
    assert policy.delay_after(2, None, lambda: 1.0) == 3.0
