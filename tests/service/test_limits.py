"""The rate limit: what it lets through, and that its numbers are true."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_world import Clock

from failwell.service import Decision, Limit, SQLiteStore, StoreBusyError
from failwell.service.limits import MICROSECONDS, Standing, decision
from failwell.service.stores import sqlite


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "s.db", clock=clock)
    yield store
    store.close()


def take(store: SQLiteStore, limit: Limit, subject: str = "a") -> Decision:
    return asyncio.run(store.take(subject, [limit]))


def test_a_whole_allowance_may_be_spent_at_once_and_no_more(store: SQLiteStore) -> None:
    answers = [take(store, Limit(3, 30.0)) for _ in range(5)]

    assert [a.allowed for a in answers] == [True, True, True, False, False]
    assert [a.remaining for a in answers] == [2, 1, 0, 0, 0]


def test_one_request_comes_back_after_one_interval(store: SQLiteStore, clock: Clock) -> None:
    limit = Limit(3, 30.0)
    for _ in range(3):
        take(store, limit)
    clock.now += 9.999
    early = take(store, limit)
    clock.now += 0.001
    on_time, next_one = take(store, limit), take(store, limit)

    assert [early.allowed, on_time.allowed, next_one.allowed] == [False, True, False]


def test_a_refused_request_costs_nothing(store: SQLiteStore, clock: Clock) -> None:
    limit = Limit(1, 10.0)
    take(store, limit)
    resets = {take(store, limit).reset_at for _ in range(50)}
    clock.now += 10

    assert len(resets) == 1
    assert take(store, limit).allowed


def test_the_numbers_say_when_the_allowance_is_whole(store: SQLiteStore, clock: Clock) -> None:
    clock.now = 1_800_000_000.25
    limit = Limit(1, 10.0)
    allowed, refused = take(store, limit), take(store, limit)

    # Whole at ...010.25, so in whole seconds at ...011, and that is 10.75 s away.
    spent = Standing(limit, remaining=0, reset_at=1_800_000_011, reset_after=11)
    assert Decision(True, (spent,), 0) == allowed
    assert Decision(False, (spent,), 11) == refused


def test_a_clock_that_was_set_back_locks_nobody_out_for_longer_than_a_window(
    store: SQLiteStore, clock: Clock
) -> None:
    limit = Limit(2, 10.0)
    for _ in range(2):
        take(store, limit)
    clock.now -= 86_400
    refused = take(store, limit)
    clock.now += 5

    assert not refused.allowed
    assert refused.retry_after <= 11
    assert take(store, limit).allowed


def test_subjects_do_not_share(store: SQLiteStore) -> None:
    assert take(store, Limit(1, 60.0), "a").allowed
    assert take(store, Limit(1, 60.0), "b").allowed


def test_processes_share(tmp_path: Path, store: SQLiteStore, clock: Clock) -> None:
    other = SQLiteStore(tmp_path / "s.db", clock=clock)
    answers = [take(s, Limit(2, 60.0)).allowed for s in (store, other, store, other)]
    other.close()

    assert answers == [True, True, False, False]


def test_a_limit_is_remembered_by_the_next_process(tmp_path: Path, clock: Clock) -> None:
    for allowed in (True, False):
        store = SQLiteStore(tmp_path / "s.db", clock=clock)
        assert allowed == take(store, Limit(1, 60.0)).allowed
        store.close()


def test_what_says_nothing_any_more_is_forgotten(tmp_path: Path, clock: Clock) -> None:
    store = SQLiteStore(tmp_path / "s.db", clock=clock)
    take(store, Limit(1, 60.0))
    store.close()
    clock.now += 61
    SQLiteStore(tmp_path / "s.db", clock=clock).close()
    db = sqlite3.connect(tmp_path / "s.db-limits")
    rows = db.execute("SELECT * FROM failwell_limits").fetchall()
    db.close()

    assert rows == []


def test_a_service_that_never_restarts_forgets_too(
    store: SQLiteStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "TAKES_BETWEEN", 10)
    for number in range(9):
        take(store, Limit(1, 60.0), f"address:{number}")
    clock.now += 61
    take(store, Limit(1, 60.0), "last")
    db = sqlite3.connect(f"{store.path}-limits")
    rows = db.execute("SELECT subject FROM failwell_limits").fetchall()
    db.close()

    assert rows == [("last",)]


def test_a_locked_file_is_said_to_be_busy(tmp_path: Path, store: SQLiteStore) -> None:
    db = sqlite3.connect(tmp_path / "s.db-limits", isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError):
        take(store, Limit(1, 60.0))
    db.close()

    assert take(store, Limit(1, 60.0)).allowed


@pytest.mark.parametrize(("requests", "window"), [(0, 1.0), (-1, 1.0), (1, 0.0), (2_000_000, 1.0)])
def test_a_limit_that_cannot_be_kept_is_refused(requests: int, window: float) -> None:
    with pytest.raises(ValueError, match="cannot be kept"):
        Limit(requests, window)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    requests=st.integers(1, 1000),
    window=st.floats(0.01, 1e6),
    now=st.integers(10**15, 2 * 10**15),
    spent=st.floats(0.0, 1.0),
)
def test_who_waits_as_long_as_asked_never_comes_before_the_reset(
    requests: int, window: float, now: int, spent: float
) -> None:
    limit = Limit(requests, window)
    tat = now + int(limit.span * spent)
    allowed = tat + limit.interval <= now + limit.span
    told = decision([limit], allowed, [tat], now)

    assert 0 <= told.remaining <= requests
    assert allowed == (told.remaining > 0)
    # While something remains, the reset is when all of it is back; then, when one is.
    assert told.reset_at * MICROSECONDS >= (tat if allowed else tat + limit.interval - limit.span)
    if not allowed:
        assert told.retry_after >= 1
        assert now + told.retry_after * MICROSECONDS >= told.reset_at * MICROSECONDS


def test_it_decides_like_the_algorithm_on_paper(tmp_path: Path) -> None:
    """
    A thousand requests at irregular times against GCRA as its definition has it, in whole numbers.
    """
    clock = Clock()
    store = SQLiteStore(tmp_path / "s.db", clock=clock)
    limit = Limit(7, 3.5)
    tat = 0
    seen: list[bool] = []
    expected: list[bool] = []
    for step in range(1000):
        clock.now += ((step * 7919) % 1000) / 2000
        now = int(clock.now * MICROSECONDS)
        seen.append(take(store, limit).allowed)
        fits = max(tat, now) - now <= limit.span - limit.interval
        expected.append(fits)
        if fits:
            tat = max(tat, now) + limit.interval
    store.close()

    assert expected == seen
    assert 100 < sum(expected) < 1000
