"""The rate limit: what it lets through, and that its numbers are true."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import http_sf
import pytest
import throttled
import throttled.utils
from hypothesis import given, settings
from hypothesis import strategies as st
from service_place import code_of, place
from service_world import Clock
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from failwell import headers
from failwell.service import Decision, Limit, SQLiteStore, StoreBusyError
from failwell.service.limits import FIELD_NAMES, MICROSECONDS, MOST_LIMITS, Standing, checked, decision
from failwell.service.stores import sqlite

if TYPE_CHECKING:
    from failwell.service.limits import Fields


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


@pytest.mark.parametrize("requests", [1.5, True, "1", None, float("nan")])
def test_requests_are_whole_numbers(requests: Any) -> None:
    with pytest.raises(TypeError, match=r"whole number of requests, not .*: for less .*Limit\(1, 60\.0\)"):
        Limit(requests, 1.0)


@pytest.mark.parametrize("window", ["1", True, None])
def test_a_window_is_a_number_of_seconds(window: Any) -> None:
    with pytest.raises(TypeError, match="a number of seconds"):
        Limit(1, window)


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


# --- several at once ---

BURST, DAILY = Limit(2, 10.0, "burst"), Limit(3, 86_400.0, "day")


def take_all(store: SQLiteStore, *limits: Limit, subject: str = "a") -> Decision:
    return asyncio.run(store.take(subject, limits))


def test_a_request_that_one_limit_refuses_costs_nothing_at_the_others(
    store: SQLiteStore, clock: Clock
) -> None:
    spent = [take_all(store, BURST, DAILY) for _ in range(2)]
    refused = [take_all(store, BURST, DAILY) for _ in range(20)]
    clock.now += 10
    last = take_all(store, BURST, DAILY)
    by_day = [take_all(store, BURST, DAILY) for _ in range(20)]

    assert [[s.remaining for s in d.standings] for d in spent] == [[1, 2], [0, 1]]
    assert {(False, (0, 1))} == {(d.allowed, tuple(s.remaining for s in d.standings)) for d in refused}
    assert (last.allowed, [s.remaining for s in last.standings]) == (True, [1, 0])
    assert {(False, (1, 0))} == {(d.allowed, tuple(s.remaining for s in d.standings)) for d in by_day}


def test_the_headers_of_a_refusal_speak_of_the_limit_that_refuses(store: SQLiteStore, clock: Clock) -> None:
    for _ in range(2):
        take_all(store, BURST, DAILY)
    by_burst = take_all(store, BURST, DAILY)
    clock.now += 10
    take_all(store, BURST, DAILY)
    by_day = take_all(store, BURST, DAILY)

    begun = int(clock.now) - 10
    assert by_burst.headers() == [
        (b"x-ratelimit-limit", b"2"),
        (b"x-ratelimit-remaining", b"0"),
        (b"x-ratelimit-reset", b"%d" % (begun + 5)),
    ]
    assert by_burst.retry_after == 5
    # Three at once spent the day: the next one comes after a third of it.
    assert (by_day.limit, by_day.remaining, by_day.reset_at) == (3, 0, begun + 28_800)
    assert by_day.retry_after == 28_790


def test_while_all_let_in_the_headers_speak_of_the_limit_nearest_to_its_end(store: SQLiteStore) -> None:
    wide, narrow = Limit(100, 60.0, "wide"), Limit(4, 3600.0, "narrow")
    seen = [take_all(store, wide, narrow) for _ in range(3)]

    assert [(d.limit, d.remaining) for d in seen] == [(4, 3), (4, 2), (4, 1)]


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_spent_limits_the_later_one_is_waited_for(store: SQLiteStore, order: int) -> None:
    limits = [Limit(1, 10.0, "short"), Limit(1, 60.0, "long")][::order]
    take_all(store, *limits)
    refused = take_all(store, *limits)

    assert (refused.tightest.limit.name, refused.retry_after) == ("long", 60)


def test_a_limit_that_was_made_smaller_holds_at_once_and_locks_nobody_out(
    store: SQLiteStore, clock: Clock
) -> None:
    for _ in range(50):
        take_all(store, Limit(100, 3600.0))
    smaller = take_all(store, Limit(2, 10.0))
    clock.now += smaller.retry_after

    assert not smaller.allowed
    assert smaller.retry_after <= 6
    assert take_all(store, Limit(2, 10.0)).allowed


@pytest.mark.parametrize("number", range(1, MOST_LIMITS + 1))
def test_as_many_limits_as_there_are_places_hold(store: SQLiteStore, number: int) -> None:
    limits = checked([Limit(n + 1, 60.0, f"l{n}") for n in range(number)])
    first, second = take_all(store, *limits), take_all(store, *limits)

    assert first.allowed
    assert [s.remaining for s in first.standings] == list(range(number))
    assert (second.allowed, second.standings) == (False, first.standings)


def test_limits_that_cannot_hold_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 4 limits"):
        checked([Limit(1, 1.0, f"l{n}") for n in range(MOST_LIMITS + 1)])
    with pytest.raises(ValueError, match="different names"):
        checked([Limit(1, 1.0), Limit(2, 1.0)])


@pytest.mark.parametrize("name", ["", "Day", "9", "a b", 'a"', "a" * 33, "day\n"])
def test_a_name_that_cannot_stand_in_a_header_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="named by"):
        Limit(1, 1.0, name)


LIMITS = st.lists(
    st.tuples(st.integers(1, 20), st.floats(0.5, 5000.0)), min_size=1, max_size=MOST_LIMITS
).map(lambda pairs: [Limit(requests, window, f"l{n}") for n, (requests, window) in enumerate(pairs)])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SQLiteStore, Clock, Any]]:
    clock = Clock()
    store = SQLiteStore(tmp_path_factory.mktemp("limits") / "s.db", clock=clock)
    yield store, clock, itertools.count()
    store.close()


@settings(max_examples=150, derandomize=True, deadline=None)
@given(limits=LIMITS, start=st.floats(1.7e9, 1.9e9), steps=st.lists(st.floats(0.0, 100.0), max_size=30))
def test_who_waits_as_long_as_told_is_let_in(
    shared: tuple[SQLiteStore, Clock, Any], limits: list[Limit], start: float, steps: list[float]
) -> None:
    """And is told to wait for no more than two seconds longer than needed: two numbers were rounded up."""
    store, clock, names = shared
    subject, clock.now = f"subject {next(names)}", start
    for step in steps:
        clock.now += step
        before = take_all(store, *limits, subject=subject)
        assert all(0 <= s.remaining <= s.limit.requests for s in before.standings)
        if before.allowed:
            assert before.retry_after == 0
            continue
        now, tightest = clock.now, before.tightest
        assert (before.remaining, tightest.remaining) == (0, 0)
        assert before.retry_after == max(1, tightest.reset_after)
        assert now + before.retry_after >= before.reset_at > now - 1
        if before.retry_after > 2:
            clock.now = now + before.retry_after - 2.001
            assert not take_all(store, *limits, subject=subject).allowed
        clock.now = now + before.retry_after
        assert take_all(store, *limits, subject=subject).allowed


# --- held against another's ---


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    requests=st.integers(1, 12),
    interval=st.integers(1, 40),
    steps=st.lists(st.integers(0, 400), min_size=1, max_size=60),
)
def test_it_decides_like_throttled_py(
    shared: tuple[SQLiteStore, Clock, Any], requests: int, interval: int, steps: list[int]
) -> None:
    """
    Each decision and each number of its GCRA; in eighths of a second, where its floats are exact.
    """
    store, clock, names = shared
    subject, clock.now = f"subject {next(names)}", 1_800_000_000.0
    limit = Limit(requests, float(requests * interval))
    quota = throttled.per_duration(timedelta(seconds=requests * interval), requests, requests)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throttled.utils, "now_mono_f", clock)
        other = throttled.Throttled(using="gcra", quota=quota, store=throttled.MemoryStore())
        for step in steps:
            clock.now += step / 8
            ours, theirs = take(store, limit, subject), other.limit("key")
            assert (ours.allowed, ours.remaining) == (not theirs.limited, theirs.state.remaining)
            if theirs.limited:
                assert theirs.state.retry_after <= ours.retry_after < theirs.state.retry_after + 2
            elif ours.remaining:
                assert ours.reset_at == -int(-(clock.now + theirs.state.reset_after) // 1)


# --- the header fields ---


def fields_of(decision: Decision, fields: Fields) -> dict[str, str]:
    said = [(name.decode(), value.decode()) for name, value in decision.headers(fields)]
    assert len(said) == len(dict(said))
    return dict(said)


def test_each_choice_of_fields_has_its_own(store: SQLiteStore) -> None:
    told = take_all(store, BURST, DAILY)
    old = {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}
    draft = {"ratelimit-policy", "ratelimit"}

    assert set(fields_of(told, "x-ratelimit")) == old
    assert set(fields_of(told, "draft")) == draft
    assert set(fields_of(told, "both")) == old | draft


@pytest.mark.parametrize(
    ("limits", "takes"),
    [
        ([Limit(5, 60.0)], 1),
        ([BURST, DAILY], 2),
        ([BURST, DAILY], 3),
        ([Limit(1, 0.5, "half"), Limit(7, 1.5, "odd.window_x-y*")], 2),
    ],
)
def test_the_draft_s_fields_are_structured_fields(
    store: SQLiteStore, limits: Sequence[Limit], takes: int
) -> None:
    """
    Lists of strings with `q`, `w`, `r` and `t` as whole numbers, by the parser of RFC 9651's editor.
    """
    for _ in range(takes):
        told = take_all(store, *limits)
    said = fields_of(told, "draft")
    policies = http_sf.parse(said["ratelimit-policy"].encode(), tltype="list")
    states = http_sf.parse(said["ratelimit"].encode(), tltype="list")

    assert policies == [
        (x.name, {"q": x.requests, **({"w": int(x.window)} if x.window.is_integer() else {})}) for x in limits
    ]
    assert states == [(s.limit.name, {"r": s.remaining, "t": s.reset_after}) for s in told.standings]


@pytest.mark.parametrize("fields", ["x-ratelimit", "draft", "both"])
@pytest.mark.parametrize("takes", [1, 2, 3])
def test_our_client_reads_what_our_service_says(
    store: SQLiteStore, clock: Clock, fields: Fields, takes: int
) -> None:
    for _ in range(takes):
        told = take_all(store, BURST, DAILY)
    read = headers.rate_limit(fields_of(told, fields), datetime.fromtimestamp(clock.now, UTC))

    assert read is not None
    assert read.remaining == told.remaining
    if fields == "x-ratelimit":
        assert read.limit == told.limit
    else:
        assert read.policy == told.tightest.limit.name
    assert read.reset_at is not None
    assert abs(read.reset_at.timestamp() - told.reset_at) <= 1


async def fine(_request: Request) -> Response:
    return JSONResponse({})


@pytest.mark.parametrize("fields", ["x-ratelimit", "draft", "both"])
def test_every_answer_carries_the_chosen_fields(tmp_path: Path, fields: Fields) -> None:
    with place(tmp_path, fine, limit=[BURST, DAILY], rate_limit_fields=fields) as here:
        answers = [here.run() for _ in range(3)]

    assert [a.status for a in answers] == [200, 200, 429]
    refused = answers[2]
    assert code_of(refused) == (429, "rate_limited")
    assert refused.headers["retry-after"] == "5"
    assert all(("x-ratelimit-limit" in a.headers) == (fields != "draft") for a in answers)
    assert all(("ratelimit-policy" in a.headers) == (fields != "x-ratelimit") for a in answers)
    if fields != "draft":
        assert refused.headers["x-ratelimit-reset"] == str(int(Clock().now) + 5)
    if fields != "x-ratelimit":
        assert refused.headers["ratelimit"] == '"burst";r=0;t=5, "day";r=1;t=57600'


@pytest.mark.parametrize("fields", ["x-ratelimit", "draft", "both"])
def test_the_names_of_the_fields_are_those_that_are_sent(fields: Fields) -> None:
    told = decision([BURST, DAILY], True, [2_000_000, 2_000_000], 1_000_000)

    assert FIELD_NAMES[fields] == {name for name, _ in told.headers(fields)}


# --- many at once ---


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    requests=st.lists(st.integers(1, 6), min_size=1, max_size=MOST_LIMITS),
    turns=st.lists(st.tuples(st.integers(1, 9), st.floats(-30.0, 30.0)), min_size=1, max_size=6),
)
def test_many_at_once_are_told_what_they_were_told_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, requests: list[int], turns: list[tuple[int, float]]
) -> None:
    """Turns of several requests at irregular times, the clock going back at times."""
    limits = [Limit(number, 10.0 * (n + 1), f"l{n}") for n, number in enumerate(requests)]
    clock = Clock()
    with closing(SQLiteStore(tmp_path_factory.mktemp("many") / "s.db", clock=clock)) as store:
        for many, later in turns:
            clock.now += later
            together = asyncio.run(let_in_together(store, [("together", limits)] * many))
            alone = [take_all(store, *limits, subject="alone") for _ in range(many)]

            assert alone == together


def test_several_subjects_of_one_turn_are_counted_each_for_itself(store: SQLiteStore) -> None:
    one, two = [Limit(2, 60.0)], [Limit(3, 60.0)]
    asked = [("a", one), ("b", two), ("a", one), ("b", two), ("a", one), ("b", two), ("a", list(one))]
    told = asyncio.run(let_in_together(store, asked))

    assert [d.allowed for d in told] == [True, True, True, True, False, True, False]
    assert [d.remaining for d in told] == [1, 2, 0, 1, 0, 0, 0]


async def let_in_together(store: SQLiteStore, asked: Sequence[tuple[str, Sequence[Limit]]]) -> list[Decision]:
    """What is decided of requests that come in one turn of the event loop."""
    countings = [partial(lambda one, _: one, one) for one in asked]
    admitted = await asyncio.gather(*(store.admit("nobody", counting) for counting in countings))
    return [decision for _, decision in admitted if decision is not None]
