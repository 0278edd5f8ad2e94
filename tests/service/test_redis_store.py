"""The Redis store: what it shares with SQLite, answers that are lost, and servers that cannot."""

from __future__ import annotations

import asyncio
import builtins
import itertools
import select
import socket
import sys
import threading
import time
import tomllib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import example as example_of
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_server import RedisServer, fresh_redis, new_redis
from service_world import KEYS, Clock

from failwell.answer import Answer
from failwell.errors import ConfigurationError
from failwell.service import (
    Decision,
    FencedError,
    Limit,
    SQLiteStore,
    StoreBusyError,
    StoredKey,
    open_store,
    stored,
)
from failwell.service.idempotency import Claim, InFlight, Mismatch, Recorded, Unsettled
from failwell.service.stores import redis as redis_store
from failwell.service.stores import redis_scripts as scripts
from failwell.service.stores import sqlite
from failwell.service.stores.redis import RedisStore

redis = pytest.importorskip("redis", reason="needs the extra `redis`")

T = TypeVar("T")

DONE = Answer(201, {"content-type": "application/json", "date": "today"}, b'{"id": 1}')
MINUTE = Limit(3, 60.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url() -> str:
    return fresh_redis()


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[RedisStore]:
    store = RedisStore(url, patience=20.0, clock=clock)
    yield store
    store.close()


@pytest.fixture
def raw(url: str) -> Iterator[Any]:
    client = redis.Redis.from_url(url)
    yield client
    client.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def claim_of(slot: int = 1, token: int = 1, fingerprint: int = 1) -> Claim:
    return Claim(bytes([slot]) * 32, bytes([fingerprint]) * 32, bytes([token]) * 16, f"req_{token}")


# --- the same as SQLite ---

LIMITS = (Limit(2, 1.0), Limit(5, 7.0, "week"), Limit(3, 0.5, "burst"), Limit(1, 2.5, "one"))
takes = st.lists(
    st.tuples(
        st.sampled_from(["a", "b}{"]),
        st.lists(st.sampled_from(LIMITS), min_size=1, unique=True).map(tuple),
        # Seconds until then; a clock may be set back.
        st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.5, 1.0, 2.5, 10.0, -0.3, -20.0])
        | st.integers(0, 3_000_000).map(lambda number: number / 1_000_000),
    ),
    max_size=25,
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SQLiteStore, RedisStore, Clock]]:
    """The two stores, under one clock."""
    patch = pytest.MonkeyPatch()
    # When it forgets what is over is its own affair.
    patch.setattr(sqlite, "CLAIMS_BETWEEN", sys.maxsize)
    patch.setattr(sqlite, "TAKES_BETWEEN", sys.maxsize)
    clock = Clock()
    redis_url = fresh_redis()
    path = tmp_path_factory.mktemp("both") / "s.db"
    there = SQLiteStore(path, durable=False, patience=20.0, clock=clock)
    here = RedisStore(redis_url, patience=20.0, clock=clock)
    yield there, here, clock
    there.close()
    here.close()
    patch.undo()


_examples = itertools.count()


@settings(max_examples=80, deadline=None, derandomize=True)
@given(sequence=takes)
# A limit that is new to a subject is refused along with the others, and then the clock is set back.
@example_of(
    sequence=[
        ("a", limits, later)
        for limits, later in [(LIMITS[:1], 0.0), (LIMITS[:1], 0.0), (LIMITS[:2], 0.0), (LIMITS[:2], -0.3)]
    ]
)
def test_it_decides_as_sqlite_does(
    both: tuple[SQLiteStore, RedisStore, Clock], sequence: list[tuple[str, tuple[Limit, ...], float]]
) -> None:
    there, here, clock = both
    example = next(_examples)
    clock.now = 1_800_000_000.0

    async def play() -> None:
        for subject, limits, later in sequence:
            clock.now += later
            subject = f"{example}{subject}"

            assert await there.take(subject, limits) == await here.take(subject, limits)

    run(play())


def _answers() -> st.SearchStrategy[Any]:
    return st.sampled_from([None, DONE, Answer(409, {}, b"")])


_claims = st.builds(claim_of, st.integers(1, 2), st.integers(1, 3), st.integers(1, 2))
steps = st.one_of(
    st.tuples(
        st.just("claim"), _claims, st.sampled_from([5.0, 30.0]), st.sampled_from([50.0, 500.0]), st.booleans()
    ),
    st.tuples(st.just("renew"), _claims, st.sampled_from([5.0, 30.0])),
    st.tuples(
        st.just("keep_step"), _claims, st.sampled_from(["x", "y:é"]), st.sampled_from([None, {"a": 1.5}])
    ),
    st.tuples(st.just("record"), _claims, _answers()),
    st.tuples(st.just("release"), _claims),
    st.tuples(st.just("unsettled")),
    st.tuples(st.just("settle"), st.integers(1, 2), _answers()),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 5.0, 29.0, 30.0, 60.0, 500.0])),
)


async def perform(store: SQLiteStore | RedisStore, example: int, step: tuple[Any, ...]) -> Any:
    """What a store says to a step; each example has slots of its own."""
    name, *args = step
    if args and isinstance(args[0], Claim):
        claim = args[0]
        args[0] = Claim(slot_in(example, claim.slot), claim.fingerprint, claim.token, claim.request_id)
    try:
        match name:
            case "claim":
                wanted, lease, keep, take_over = args
                said = await store.claim(wanted, lease=lease, keep=keep, take_over=take_over)
                return said, dict(said.steps) if isinstance(said, Claim) else None
            case "renew":
                return await store.renew(args[0], lease=args[1])
            case "keep_step":
                return await store.keep_step(*args)
            case "record":
                return await store.record(*args, keep=100.0)
            case "release":
                return await store.release(*args)
            case "unsettled":
                found = await store.unsettled(most=10_000)
                ours = [one for one in found if one.slot.startswith(example.to_bytes(4, "big"))]
                return sorted(ours, key=lambda one: (one.since, one.slot))
            case "settle":
                slot = slot_in(example, bytes([step[1]]) * 32)
                found = [one for one in await store.unsettled(most=10_000) if one.slot == slot]
                one = found[0] if found else Unsettled(slot, "req_1", 0.0)
                return await store.settle(one, args[1], keep=100.0)
    except FencedError:
        return FencedError


def slot_in(example: int, slot: bytes) -> bytes:
    return example.to_bytes(4, "big") + slot[4:]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(sequence=st.lists(steps, min_size=2, max_size=30))
def test_claims_end_as_they_do_in_sqlite(
    both: tuple[SQLiteStore, RedisStore, Clock], sequence: list[tuple[Any, ...]]
) -> None:
    there, here, clock = both
    example = next(_examples)

    async def play() -> None:
        for step in sequence:
            if step[0] == "wait":
                clock.now += step[1]
                continue

            assert await perform(there, example, step) == await perform(here, example, step), step

    run(play())


# --- what it keeps ---


def test_a_key_comes_back_as_it_was_stored(store: RedisStore) -> None:
    key = KEYS.new()
    kept = stored(
        key, KEYS, tenant="tänant", principal="p", scopes=("a", "b"), role="member", tier="free",
        expires_at=1_800_000_000.25, limit=(Limit(5, 0.5), Limit(9, 60.0, "day")),
    )  # fmt: skip
    store.add_keys([kept])
    store.add_keys([])

    assert run(store.admit(kept.public, lambda found: None)) == (kept, None)


def test_a_key_stored_again_replaces_the_first(store: RedisStore) -> None:
    key = KEYS.new()
    first = stored(key, KEYS, tenant="t", expires_at=1.0, state="revoked")
    second = stored(key, KEYS, tenant="t", scopes=("a",))
    store.add_keys([first])
    store.add_keys([second])

    assert run(store.admit(second.public, lambda found: None)) == (second, None)


def test_a_revocation_counts_at_once_and_may_be_repeated(store: RedisStore) -> None:
    kept = stored(KEYS.new(), KEYS, tenant="t")
    store.add_keys([kept])
    said = [store.revoke_key(kept.public), store.revoke_key(kept.public), store.revoke_key("nobody")]
    key, _ = run(store.admit(kept.public, lambda found: None))

    assert said == [True, True, False]
    assert key is not None
    assert key.state == "revoked"


def test_a_tenant_is_shut_out_and_let_in(store: RedisStore) -> None:
    kept = stored(KEYS.new(), KEYS, tenant="t")
    store.add_keys([kept])

    def active() -> bool:
        key, _ = run(store.admit(kept.public, lambda found: None))
        assert key is not None
        return key.tenant_active

    seen = [active()]
    for state in (False, False, True, True):
        store.set_tenant_active("t", state)
        seen.append(active())

    assert seen == [True, False, False, True, True]


def test_admitting_asks_what_to_count_with_the_key_in_hand(store: RedisStore) -> None:
    kept = stored(KEYS.new(), KEYS, tenant="t")
    store.add_keys([kept])
    asked: list[StoredKey | None] = []

    def counting(key: StoredKey | None) -> tuple[str, list[Limit]]:
        asked.append(key)
        return "s", [Limit(1, 60.0)]

    first = run(store.admit(kept.public, counting))
    second = run(store.admit("nobody", counting))

    assert asked == [kept, None]
    assert (first[0], first[1] and first[1].allowed) == (kept, True)
    assert (second[0], second[1] and second[1].allowed) == (None, False)


def test_admitting_takes_two_commands(store: RedisStore, raw: Any) -> None:
    kept = stored(KEYS.new(), KEYS, tenant="t")
    store.add_keys([kept])

    async def count() -> int:
        await store.admit(kept.public, lambda key: ("s", [MINUTE]))  # scripts are loaded
        before = calls(raw, "evalsha")
        await store.admit(kept.public, lambda key: ("s", [MINUTE]))
        return calls(raw, "evalsha") - before

    assert run(count()) == 2


def calls(raw: Any, command: str) -> int:
    told = raw.info("commandstats")
    return int(told.get(f"cmdstat_{command}", {"calls": 0})["calls"])


def test_everything_ends_by_itself_but_keys(url: str, raw: Any) -> None:
    """
    By the server's own clock, each key has an end: an allowance when it is whole, a claim with
    what is kept of it, and the index with the last of its claims.
    """
    store = RedisStore(url)

    async def fill() -> None:
        await store.take("s", [Limit(2, 60.0), Limit(2, 600.0, "long")])
        await store.claim(claim_of(1), lease=30, keep=500.0, take_over=False)
        await store.claim(claim_of(2), lease=30, keep=5000.0, take_over=False)
        await store.claim(claim_of(2), lease=30, keep=5.0, take_over=False)
        await store.aclose()

    run(fill())
    ends = {name.decode(): raw.pttl(name) / 1000 for name in raw.keys("*")}
    slots = {n: f"failwell:{{records}}:{claim_of(n).slot.hex()}" for n in (1, 2)}
    told = [name for name in ends if name.startswith("failwell:{limit:s}:")]

    assert 290 < ends.pop("failwell:{limit:s}") <= 300
    assert 10 < ends.pop(told[0]) <= 11
    assert 490 < ends.pop(slots[1]) <= 500
    assert 4990 < ends.pop(slots[2]) <= 5000
    assert 4990 < ends.pop("failwell:{records}") <= 5000
    assert ends == {}


def test_redis_tells_the_time(url: str) -> None:
    store = RedisStore(url)

    async def seen() -> tuple[Decision, Any, Any]:
        taken = await store.take("s", [Limit(1, 60.0)])
        await store.claim(claim_of(), lease=30.0, keep=500.0)
        waiting = await store.claim(claim_of(token=2), lease=30.0, keep=500.0)
        await store.aclose()
        return taken, waiting, await asyncio.to_thread(time.time)

    taken, waiting, now = run(seen())

    assert abs(taken.reset_at - 60 - now) < 30
    assert isinstance(waiting, InFlight)
    assert 0 < waiting.lease_left <= 30.0


def test_a_passed_clock_may_stand_still_for_longer_than_a_window(
    store: RedisStore, clock: Clock, raw: Any
) -> None:
    run(store.take("s", [Limit(1, 0.001)]))
    run(store.claim(claim_of(), lease=0.001, keep=0.002))
    ends = [raw.pttl(name) for name in raw.keys("*") if b":" not in name.partition(b"}")[2]]

    assert all(end > 3_600_000 for end in ends)
    assert not run(store.take("s", [Limit(1, 0.001)])).allowed
    clock.now += 0.002
    assert isinstance(run(store.claim(claim_of(token=2, fingerprint=2), lease=1, keep=1)), Claim)


def test_a_lapsed_claim_is_taken_over_with_its_steps_or_is_unsettled(store: RedisStore, clock: Clock) -> None:
    async def leave(slot: int, take_over: bool) -> Any:
        await store.claim(claim_of(slot), lease=30, keep=500, take_over=take_over)
        await store.keep_step(claim_of(slot), "pay", [1])
        clock.now += 30
        return await store.claim(claim_of(slot, token=2), lease=30, keep=500)

    taken, unsettled = run(leave(1, True)), run(leave(2, False))

    assert isinstance(taken, Claim)
    assert (taken.token, taken.steps) == (claim_of(token=2).token, {"pay": [1]})
    assert unsettled == Unsettled(claim_of(2).slot, "req_1", clock.now)
    assert run(store.unsettled()) == [unsettled]


def test_services_of_different_prefixes_share_nothing(url: str) -> None:
    first, second = (RedisStore(url, prefix=prefix) for prefix in ("one", "two"))
    kept = stored(KEYS.new(), KEYS, tenant="t")
    first.add_keys([kept])
    answers = [run(s.take("s", [Limit(1, 60.0)])).allowed for s in (first, second)]
    claims = [run(s.claim(claim_of(token=n), lease=30, keep=60)) for n, s in enumerate((first, second))]
    unknown = run(second.admit(kept.public, lambda key: None))
    for store in (first, second):
        store.close()

    assert answers == [True, True]
    assert [type(claim) for claim in claims] == [Claim, Claim]
    assert unknown == (None, None)


def test_an_index_that_names_what_is_gone_is_mended_as_it_is_read(
    store: RedisStore, clock: Clock, raw: Any
) -> None:
    async def fill() -> None:
        for slot in range(1, 8):
            await store.claim(claim_of(slot), lease=float(slot), keep=500.0, take_over=False)

    run(fill())
    for slot in (1, 2, 5):  # evicted, or deleted by hand
        raw.delete(f"failwell:{{records}}:{claim_of(slot).slot.hex()}")
    # Renewed, but the index was not told: it is still held.
    raw.hset(f"failwell:{{records}}:{claim_of(3).slot.hex()}", "lapses", int((clock.now + 60) * 1e6))
    clock.now += 6.5
    two, rest = run(store.unsettled(most=2)), run(store.unsettled())

    assert [one.slot[0] for one in two] == [4, 6]
    assert [one.slot[0] for one in rest] == [4, 6]
    assert [name[0] for name in raw.zrange("failwell:{records}", 0, -1)] == [3, 4, 6, 7]


# --- answers that are lost ---


class Thief:
    """
    A proxy on a real socket. It lets commands through, and steals answers.

    Attributes:
        port: On 127.0.0.1.
        steal: How many answers to commands with `marks` in them it steals yet, each time cutting
            the connection.
        seen: How many such commands came.
    """

    def __init__(self, server: str, marks: bytes) -> None:
        self._server = server
        self._marks = marks
        self.steal = 0
        self.seen = 0
        self._ended = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        pairs: dict[socket.socket, socket.socket] = {}
        clients: set[socket.socket] = set()
        doomed: set[socket.socket] = set()
        while not self._ended:
            ready, _, _ = select.select([self._listener, *pairs], [], [], 0.02)
            for one in ready:
                if one is self._listener:
                    client, _ = one.accept()
                    server = socket.socket(socket.AF_UNIX)
                    server.connect(self._server)
                    pairs |= {client: server, server: client}
                    clients.add(client)
                elif one in pairs:
                    self._pass_on(one, pairs, clients, doomed)
        for one in (*pairs, self._listener):
            one.close()

    def _pass_on(
        self,
        one: socket.socket,
        pairs: dict[socket.socket, socket.socket],
        clients: set[socket.socket],
        doomed: set[socket.socket],
    ) -> None:
        other = pairs[one]
        data = b""
        with suppress(ConnectionError):
            data = one.recv(65536)
        if one in clients and self._marks in data:
            self.seen += 1
            if self.steal:
                self.steal -= 1
                doomed.add(other)
        if not data or one in doomed:
            for end in (one, other):
                del pairs[end]
                end.close()
            return
        with suppress(ConnectionError):
            other.sendall(data)

    def end(self) -> None:
        self._ended = True
        self._thread.join()


@contextmanager
def thief(url: str, script: scripts.Script | bytes) -> Iterator[tuple[Thief, str]]:
    """A thief of the answers to a script, and the URL that leads past it."""
    path, _, database = url.removeprefix("unix://").partition("?db=")
    between = Thief(path, script if isinstance(script, bytes) else script.sha.encode())
    try:
        yield between, f"redis://127.0.0.1:{between.port}/{database}"
    finally:
        between.end()


class LeftToRedisPy(RedisStore):
    """The same, but redis-py repeats by itself, as it does by default."""

    def _pool(self, package: Any, retry: Any) -> Any:
        pool = super()._pool(package, retry)
        pool.connection_kwargs["retry"] = retry(self._redis.backoff.NoBackoff(), 10)
        return pool


@pytest.fixture(params=[RedisStore, LeftToRedisPy])
def robbed(request: pytest.FixtureRequest, url: str, clock: Clock) -> Callable[..., tuple[Any, int]]:
    """
    Runs some work, of which the first answers to a script are stolen.

    Returns:
        What the work returned, and how often the script was sent.
    """

    def do(script: scripts.Script, work: Callable[[RedisStore], Awaitable[Any]], steal: int = 2) -> Any:
        warm = RedisStore(url, patience=20.0, clock=clock)
        with thief(url, script) as (between, past), redis.Redis.from_url(url) as raw:
            raw.script_load(script.source)
            store = request.param(past, patience=20.0, clock=clock)

            async def under() -> Any:
                between.steal = steal
                return await work(store)

            try:
                return run(under()), between.seen
            finally:
                store.close()
                warm.close()

    return do


def test_a_request_whose_answer_is_lost_counts_once(robbed: Any, store: RedisStore) -> None:
    first, sent = robbed(scripts.TAKE, lambda s: s.take("s", [MINUTE]))
    second = run(store.take("s", [MINUTE]))

    assert sent == 3
    assert [first.remaining, second.remaining] == [2, 1]


def test_the_last_request_of_an_allowance_is_not_refused_by_its_own_repeat(robbed: Any) -> None:
    only, _ = robbed(scripts.TAKE, lambda s: s.take("s", [Limit(1, 60.0)]))

    assert only.allowed


def test_a_refused_request_whose_answer_is_lost_costs_nothing(robbed: Any, store: RedisStore) -> None:
    before = [run(store.take("s", [Limit(1, 60.0)])), run(store.take("s", [Limit(1, 60.0)]))][1]
    refused, sent = robbed(scripts.TAKE, lambda s: s.take("s", [Limit(1, 60.0)]))

    assert sent == 3
    assert refused == before


@pytest.mark.parametrize("take_over", [True, False])
def test_a_claim_whose_answer_is_lost_is_held(robbed: Any, store: RedisStore, take_over: bool) -> None:
    mine, sent = robbed(scripts.CLAIM, lambda s: s.claim(claim_of(), lease=30, keep=500, take_over=take_over))
    other = run(store.claim(claim_of(token=2), lease=30, keep=500))

    assert sent == 3
    assert mine == claim_of()
    assert other == InFlight(30.0)


def test_a_record_whose_answer_is_lost_is_one_record(robbed: Any, store: RedisStore) -> None:
    run(store.claim(claim_of(), lease=30, keep=500))
    _, sent = robbed(scripts.RECORD, lambda s: s.record(claim_of(), DONE, keep=60))
    said = run(store.claim(claim_of(token=2), lease=30, keep=500))

    assert sent == 3
    assert isinstance(said, Recorded)
    assert said.answer is not None
    assert (said.request_id, said.answer.status, said.answer.body) == ("req_1", 201, b'{"id": 1}')
    assert dict(said.answer.headers) == {"content-type": "application/json"}


def test_a_release_that_is_repeated_frees_nobody_elses_claim(robbed: Any, store: RedisStore) -> None:
    """
    Between the release and its repeat, another request claims the slot.
    """
    run(store.claim(claim_of(), lease=30, keep=500))
    run(store.release(claim_of()))
    run(store.claim(claim_of(token=2), lease=30, keep=500))
    robbed(scripts.RELEASE, lambda s: s.release(claim_of()))

    assert run(store.claim(claim_of(token=3), lease=30, keep=500)) == InFlight(30.0)


def test_a_step_whose_answer_is_lost_is_kept_once(robbed: Any, store: RedisStore) -> None:
    run(store.claim(claim_of(), lease=30, keep=500))
    robbed(scripts.KEEP_STEP, lambda s: s.keep_step(claim_of(), "pay", {"id": 7}))
    held = run(store.claim(claim_of(), lease=30, keep=500))

    assert isinstance(held, Claim)
    assert held.steps == {"pay": {"id": 7}}


@pytest.mark.parametrize("answer", [None, DONE])
def test_a_settlement_whose_answer_is_lost_was_one(
    robbed: Any, store: RedisStore, clock: Clock, answer: Answer | None
) -> None:
    run(store.claim(claim_of(), lease=30, keep=500, take_over=False))
    clock.now += 31
    (unsettled,) = run(store.unsettled())
    said, sent = robbed(scripts.SETTLE, lambda s: s.settle(unsettled, answer, keep=60))

    assert (said, sent) == (True, 3)
    assert run(store.settle(unsettled, answer, keep=60)) is False


def test_a_renewal_whose_answer_is_lost_holds(robbed: Any, store: RedisStore, clock: Clock) -> None:
    run(store.claim(claim_of(), lease=30, keep=500, take_over=False))
    clock.now += 29
    said, _ = robbed(scripts.RENEW, lambda s: s.renew(claim_of(), lease=30))
    clock.now += 29

    assert said is True
    assert run(store.claim(claim_of(token=2), lease=30, keep=500)) == InFlight(1.0)


def test_a_blocking_call_whose_answer_is_lost_is_repeated(url: str) -> None:
    kept = stored(KEYS.new(), KEYS, tenant="t")
    with thief(url, b"EXEC") as (between, past):
        store = RedisStore(past, patience=20.0)
        between.steal = 2
        store.add_keys([kept])
        seen = between.seen
        found = run(store.admit(kept.public, lambda key: None))
        store.close()

    assert seen == 3
    assert found == (kept, None)


def test_who_never_gets_an_answer_gives_up_when_patience_is_over(url: str) -> None:
    with thief(url, scripts.TAKE) as (between, past):
        store = RedisStore(past, patience=0.3)
        between.steal = 10_000
        with pytest.raises(StoreBusyError, match="ConnectionError"):
            run(store.take("s", [MINUTE]))
        store.close()
        seen = between.seen

    assert seen > 1


# --- servers that cannot ---


@pytest.fixture
def server() -> Iterator[RedisServer]:
    server = new_redis()
    yield server
    server.stop()


def test_a_server_that_is_not_there_is_busy(tmp_path: Path) -> None:
    pytest.importorskip("redis", reason="needs the extra `redis`")
    store = RedisStore(f"unix://{tmp_path}/none", patience=0.1)
    with pytest.raises(StoreBusyError):
        run(store.take("s", [MINUTE]))
    with pytest.raises(StoreBusyError):
        store.revoke_key("a")
    store.close()


def test_a_server_that_says_nothing_is_busy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisStore(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", patience=0.2)
        with pytest.raises(StoreBusyError):
            run(store.take("s", [MINUTE]))
        with pytest.raises(StoreBusyError):
            store.revoke_key("a")
        store.close()


def test_a_call_that_finds_every_connection_taken_is_busy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "MOST_CONNECTIONS", 1)
    store = RedisStore(url, patience=0.1)

    async def crowd() -> None:
        await store.take("s", [MINUTE])
        (link,) = store._links.values()
        # Up to 5.2 it asks what for, and since then not to be told.
        what = ("EVALSHA",) if redis.__version__.startswith("5.2.") else ()
        taken = await link.client.connection_pool.get_connection(*what)
        try:
            with pytest.raises(StoreBusyError):
                await store.take("s", [MINUTE])
        finally:
            await link.client.connection_pool.release(taken)

        assert (await store.take("s", [MINUTE])).remaining == 1

    run(crowd())
    store.close()


def test_a_server_that_is_started_again_is_found(server: RedisServer) -> None:
    """
    It forgot the scripts with everything else, and the connections are broken.
    """
    store = RedisStore(server.tcp_url(), patience=20.0)

    async def through() -> list[int]:
        first = await store.take("s", [MINUTE])
        server.end()
        again = asyncio.create_task(store.take("s", [MINUTE]))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(server.start)
        return [first.remaining, (await again).remaining]

    assert run(through()) == [2, 2]
    store.close()


def test_a_full_server_is_busy_and_nothing_is_half_written(server: RedisServer) -> None:
    store = RedisStore(server.url(), patience=20.0)
    with redis.Redis.from_url(server.url()) as raw:
        run(store.claim(claim_of(9), lease=30, keep=500, take_over=False))
        raw.config_set("maxmemory", 1)
        before = sorted(raw.keys("*"))
        for call in (
            lambda: store.take("s", [MINUTE]),
            lambda: store.claim(claim_of(), lease=30, keep=500, take_over=False),
            lambda: store.record(claim_of(9), DONE, keep=60),
            lambda: store.keep_step(claim_of(9), "x", 1),
        ):
            with pytest.raises(StoreBusyError, match="OutOfMemory"):
                run(call())
        with pytest.raises(StoreBusyError):
            store.add_keys([stored(KEYS.new(), KEYS, tenant="t")])
        raw.config_set("maxmemory", 0)
        after = sorted(raw.keys("*"))
        record = raw.hgetall(f"failwell:{{records}}:{claim_of(9).slot.hex()}")
    store.close()

    assert before == after
    assert b"status" not in record
    assert b"steps" not in record


def test_a_full_server_still_frees_slots(server: RedisServer) -> None:
    store = RedisStore(server.url(), patience=20.0)
    run(store.claim(claim_of(), lease=30, keep=500))
    server.command("CONFIG", "SET", "maxmemory", "1")
    run(store.release(claim_of()))
    server.command("CONFIG", "SET", "maxmemory", "0")

    assert run(store.claim(claim_of(token=2), lease=30, keep=500)) == claim_of(token=2)
    store.close()


def test_a_replica_is_busy(server: RedisServer) -> None:
    server.command("REPLICAOF", "127.0.0.1", "1")
    store = RedisStore(server.url(), patience=20.0)
    with pytest.raises(StoreBusyError):
        run(store.claim(claim_of(), lease=30, keep=500))
    with pytest.raises(StoreBusyError):
        store.set_tenant_active("t", False)
    store.close()


def test_a_server_in_the_middle_of_a_script_is_busy(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "busy-reply-threshold", "1")
    loop = threading.Thread(target=lambda: server.command("EVAL", "while true do end", "0"))
    loop.start()
    try:
        while server.command("PING").startswith(b"+"):
            pass
        store = RedisStore(server.url(), patience=20.0)
        with pytest.raises(StoreBusyError):
            run(store.take("s", [MINUTE]))
        store.close()
    finally:
        server.command("SCRIPT", "KILL")
        loop.join()


@pytest.mark.parametrize(
    ("text", "busy"),
    [
        ("MISCONF Redis is configured to save RDB snapshots", True),
        # Redis 6 and older, in a script.
        ("Error running script (call to f_1): @user_script:3: -OOM command not allowed", True),
        ("Error running script (call to f_1): @user_script:3: -READONLY You can't write", True),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", False),
        ("unknown command 'BUSY '", False),
    ],
)
def test_what_a_server_says_that_cannot_take_a_write(store: RedisStore, text: str, busy: bool) -> None:
    error = redis.ResponseError(text)
    with pytest.raises(StoreBusyError if busy else redis.ResponseError), store._busy():
        raise error


def test_a_wrong_password_is_not_called_busy(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "requirepass", "right")
    store = RedisStore(f"redis://:wrong@127.0.0.1:{server.port}/0", patience=20.0)
    with pytest.raises(redis.AuthenticationError):
        run(store.take("s", [MINUTE]))
    with pytest.raises(redis.AuthenticationError):
        store.revoke_key("a")
    store.close()


def test_a_key_of_somebody_elses_kind_is_a_fault_and_not_called_busy(store: RedisStore, raw: Any) -> None:
    raw.rpush("failwell:{limit:s}", "theirs")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        run(store.take("s", [MINUTE]))


def test_a_cluster_takes_every_script() -> None:
    """
    One node that holds every slot of a cluster refuses a script whose keys belong to several.
    """
    server = new_redis("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
    clock = Clock()
    store = RedisStore(server.url(), patience=20.0, clock=clock)
    try:
        assert server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383") == b"+OK"
        while not run(_answers_in_cluster(store)):
            time.sleep(0.02)
        kept = stored(KEYS.new(), KEYS, tenant="t")
        store.add_keys([kept, stored(KEYS.new(), KEYS, tenant="t")])
        store.set_tenant_active("t", True)
        run(_every_call(store, kept, clock))

        assert store.revoke_key(kept.public)
    finally:
        store.close()
        server.stop()


async def _answers_in_cluster(store: RedisStore) -> bool:
    with suppress(StoreBusyError):
        await store.take("warm", [MINUTE])
        return True
    return False


async def _every_call(store: RedisStore, kept: StoredKey, clock: Clock) -> None:
    for subject in ("", "}", "{}", "a{b}c", "%7D"):
        assert (await store.admit(kept.public, lambda key, s=subject: (s, [MINUTE])))[0] == kept
    claim = claim_of()
    await store.claim(claim, lease=30, keep=500, take_over=False)
    assert await store.renew(claim, lease=30)
    await store.keep_step(claim, "x", 1)
    await store.release(claim)
    (unsettled,) = await store.unsettled()
    assert unsettled == Unsettled(claim.slot, "req_1", clock.now)
    assert await store.settle(unsettled, DONE, keep=60)
    assert isinstance(await store.claim(claim, lease=30, keep=500), Recorded)
    assert await store.claim(claim_of(fingerprint=2), lease=30, keep=500) == Mismatch()
    await store.claim(claim_of(2), lease=30, keep=500)
    await store.record(claim_of(2), None, keep=60)
    assert await store.claim(claim_of(2, 2), lease=30, keep=500) == Recorded(None, "req_1")


# --- loops, and the end ---


def connections(raw: Any) -> int:
    """How many connections there are to the database of this test."""
    database = str(raw.connection_pool.connection_kwargs.get("db", 0))
    return sum(one["db"] == database for one in raw.client_list())


def test_each_event_loop_lets_go_of_its_connections_when_it_ends(store: RedisStore, raw: Any) -> None:
    async def many() -> int:
        await asyncio.gather(*(store.take("s", [MINUTE]) for _ in range(5)))
        return connections(raw)

    before = connections(raw)
    within = [run(many()) for _ in range(3)]
    gone_by = time.monotonic() + 20
    while connections(raw) > before and time.monotonic() < gone_by:
        time.sleep(0.01)

    assert all(number > before for number in within)
    assert connections(raw) == before
    assert store._links == {}


def test_loops_of_two_threads_have_connections_of_their_own(store: RedisStore) -> None:
    said: list[int] = []

    async def several() -> None:
        for _ in range(20):
            said.append((await store.take("s", [Limit(1000, 60.0)])).remaining)

    threads = [threading.Thread(target=lambda: run(several())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(said) == list(range(960, 1000))


def test_a_loop_that_stands_still_is_let_go_of_by_closing(url: str, raw: Any) -> None:
    before = connections(raw)
    store = RedisStore(url)
    with asyncio.Runner() as runner:
        runner.run(store.take("s", [MINUTE]))
        store.close()
        with pytest.raises(StoreBusyError, match="closed"):
            runner.run(store.take("s", [MINUTE]))
        gone_by = time.monotonic() + 20
        while connections(raw) > before and time.monotonic() < gone_by:
            time.sleep(0.01)

        assert connections(raw) == before


def test_closing_where_a_loop_runs_leaves_the_rest_to_its_end(url: str) -> None:
    store = RedisStore(url)

    async def close_within() -> None:
        await store.take("s", [MINUTE])
        store.close()
        with pytest.raises(StoreBusyError, match="closed"):
            await store.take("s", [MINUTE])

    run(close_within())

    assert store._links == {}


def test_closing_in_one_loop_leaves_another_to_its_end(url: str) -> None:
    store = RedisStore(url)

    async def close_elsewhere() -> None:
        store.close()

    with asyncio.Runner() as first:
        first.run(store.take("s", [MINUTE]))
        run(close_elsewhere())

        assert len(store._links) == 1

    assert store._links == {}


def test_a_loop_that_was_closed_without_notice_is_forgotten(url: str) -> None:
    store = RedisStore(url)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.take("s", [MINUTE]))
    (link,) = store._links.values()
    loop.run_until_complete(link.client.connection_pool.disconnect())
    loop.close()
    store.close()

    assert store._links == {}


def test_closing_finishes_what_was_begun_and_refuses_the_rest(url: str, raw: Any) -> None:
    store = RedisStore(url)

    async def begin_and_close() -> list[Decision]:
        tasks = [asyncio.create_task(store.take("s", [Limit(100, 60.0)])) for _ in range(10)]
        await asyncio.sleep(0)
        await store.aclose()
        await store.aclose()
        with pytest.raises(StoreBusyError, match="closed"):
            await store.take("s", [MINUTE])
        return await asyncio.gather(*tasks)

    said = run(begin_and_close())
    store.close()
    store.close()
    with pytest.raises(StoreBusyError, match="closed"):
        store.revoke_key("a")

    assert sorted(one.remaining for one in said) == list(range(90, 100))


def test_closing_does_not_wait_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisStore(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", patience=0.1)

        async def close_with_one_under_way() -> None:
            await asyncio.sleep(0)
            link = await store._link()
            link.begin()
            await store.aclose()

        run(close_with_one_under_way())


def test_a_caller_that_goes_away_leaves_the_connection_in_order(url: str) -> None:
    store = RedisStore(url, patience=20.0)

    async def leave_and_go_on() -> list[int]:
        said = []
        for _ in range(10):
            task = asyncio.create_task(store.take("left", [MINUTE]))
            await asyncio.sleep(0.001)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            said.append((await store.take("s", [Limit(100, 60.0)])).remaining)
        await store.aclose()
        return said

    assert run(leave_and_go_on()) == list(range(99, 89, -1))


# --- settings ---


def test_a_store_is_opened_by_its_url(url: str) -> None:
    store = open_store(url, prefix="other")
    store.close()

    assert isinstance(store, RedisStore)
    assert store.levels == {"resumable", "at_most_once"}
    assert store.prefix == "other"


@pytest.mark.parametrize("prefix", ["", "a{b", "a}b"])
def test_a_prefix_with_braces_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="braces"):
        RedisStore("redis://127.0.0.1:1/0", prefix=prefix)


def test_a_url_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisStore("redis://user:hunter2@host:port/0")

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("path", ["/shop", "/0x", "/1/2", "/-1", "/%C2%B2"])
def test_a_database_that_is_no_number_is_refused(path: str) -> None:
    """
    redis-py takes database 0 then, or 12 for 1/2, which is somebody else's.
    """
    with pytest.raises(ConfigurationError, match="is a number: redis://host/0"):
        RedisStore(f"redis://127.0.0.1:1{path}")


@pytest.mark.parametrize("version", ["5.2.0", "4.6.0", "8.0.0", "8.0.1", "8.0.1rc1"])
def test_versions_of_redis_py_that_lose_connections_are_refused(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(redis, "__version__", version)
    with pytest.raises(ConfigurationError, match=version):
        RedisStore("redis://127.0.0.1:1/0")


@pytest.mark.parametrize("version", ["5.2.1", "6.4.0", "8.0.2", "8.1.0", "9.0.0b1"])
def test_other_versions_are_taken(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(redis, "__version__", version)
    RedisStore("redis://127.0.0.1:1/0").close()


def test_without_redis_py_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    ours = builtins.__import__

    def without(name: str, *args: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "redis":
            raise ImportError(name)
        return ours(name, *args, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=r'pip install "failwell\[redis\]"'):
        RedisStore("redis://127.0.0.1:1/0")


def test_the_extra_asks_for_what_the_store_takes() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

    assert project["optional-dependencies"]["redis"] == ["redis>=5.2.1,!=8.0.0,!=8.0.1"]
