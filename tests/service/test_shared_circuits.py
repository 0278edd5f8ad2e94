"""
Circuits that are shared by way of a real Redis. Stores share nothing but Redis, as processes do; unless a
test is about the thread, it says when a store looks.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis_server import fresh_redis, new_redis

from failwell import Breaker, BreakerPolicy, ConfigurationError, UsageError, shared_circuits
from failwell.call.breaker import ASK_AGAIN, PROBE, Circuit
from failwell.shared_circuits import RedisCircuits

# A pause that is over by the time anybody asks, and one that is not over while a test runs.
SHORT, LONG = 0.001, 3600.0
PATIENCE = 20.0


class Process:
    """What one process has of a circuit."""

    def __init__(self, url: str, open_for: float, **settings: Any) -> None:
        self.store = RedisCircuits(url, **{"background": False, "lease": LONG, **settings})
        policy = BreakerPolicy(min_attempts=1, open_for=open_for, max_open_for=max(60.0, open_for))
        self.breaker = Breaker(policy, store=self.store)

    @property
    def circuit(self) -> Circuit:
        return self.breaker.circuit("host")

    def fail(self) -> None:
        self.circuit.record(time.monotonic(), failed=True)

    def ask(self) -> float:
        return self.circuit.admit(time.monotonic())

    def sync(self) -> None:
        assert self.store.sync()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No grant lapses because this machine stands still for a while."""
    monkeypatch.setattr(shared_circuits, "_TO_BEGIN", LONG)


@pytest.fixture
def url() -> str:
    return fresh_redis()


def processes(url: str, number: int = 3, open_for: float = LONG, **settings: Any) -> list[Process]:
    """Some that have all seen the same, which is nothing."""
    found = [Process(url, open_for, **settings) for _ in range(number)]
    for process in found:
        assert process.ask() == 0.0
        process.sync()
    return found


def opened(url: str, number: int = 3, **settings: Any) -> list[Process]:
    """Some to all of which a circuit is open whose pause is over."""
    found = processes(url, number, SHORT, **settings)
    found[0].fail()
    for process in found:
        process.sync()
    until(lambda: all(process.circuit.admit(time.monotonic()) in (ASK_AGAIN, SHORT) for process in found))
    return found


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def probers(found: list[Process]) -> list[Process]:
    """Those that are let through to probe, when each asks and looks again and again."""
    through: list[Process] = []
    for _ in range(3):
        for process in found:
            if process.ask() == PROBE:
                through.append(process)
            process.sync()
    return through


def test_what_one_has_opened_is_open_for_all_and_for_as_long(url: str) -> None:
    first, second, third = processes(url)
    first.fail()
    for process in (first, second, third):
        process.sync()

    assert [p.circuit.state for p in (first, second, third)] == ["open"] * 3
    assert LONG - PATIENCE < second.ask() <= LONG


def test_the_first_that_opens_it_decides_for_how_long(url: str) -> None:
    first, second = processes(url, 2)
    first.fail()
    first.sync()
    second.circuit.heard(second.circuit.news(0.0).version, time.monotonic(), 2 * LONG, 2 * LONG, False)
    second.sync()

    assert second.ask() <= LONG


def test_of_all_one_probes(url: str) -> None:
    found = opened(url, 4)

    assert len(probers(found)) == 1


def test_a_probe_that_succeeds_closes_it_for_all(url: str) -> None:
    found = opened(url)
    (prober,) = probers(found)
    prober.circuit.record(time.monotonic(), failed=False, probe=True)
    for process in [prober, *found]:
        process.sync()

    assert [process.ask() for process in found] == [0.0] * 3


def test_a_probe_that_fails_opens_it_for_longer_for_all(url: str) -> None:
    found = opened(url)
    (prober,) = probers(found)
    prober.circuit.record(time.monotonic() + LONG, failed=True, probe=True)
    for process in [prober, *found]:
        process.sync()

    assert all(LONG - PATIENCE < process.ask() for process in found)


def test_a_probe_that_is_given_up_is_another_s(url: str) -> None:
    found = opened(url)
    (prober,) = probers(found)
    prober.circuit.release()
    prober.sync()
    others = [process for process in found if process is not prober]

    assert len(probers(others)) == 1


def test_a_probe_of_a_process_that_is_gone_is_another_s_after_a_while(url: str) -> None:
    gone, other = opened(url, 2, lease=0.05)
    until(lambda: bool(probers([gone])))

    until(lambda: bool(probers([other])))


def test_a_probe_keeps_its_lease_as_long_as_it_takes(url: str) -> None:
    found = opened(url)
    (prober,) = probers(found)
    server = redis.Redis.from_url(url)
    leases = []
    for _ in range(2):
        prober.sync()
        leases.append(int(server.hget("failwell:circuit:host", "lease") or 0))
        time.sleep(0.01)
    server.close()

    assert leases[0] < leases[1]


def test_one_that_calls_seldom_probes_all_the_same(url: str) -> None:
    found = opened(url, 1, lease=0.01)
    (seldom,) = found
    seldom.ask()
    seldom.sync()
    time.sleep(0.05)
    seldom.sync()

    assert seldom.ask() == PROBE


def test_what_others_say_too_late_changes_nothing(url: str) -> None:
    (one,) = processes(url, 1)
    asked = one.circuit.news(time.monotonic()).version
    one.fail()  # while the store was on its way
    one.circuit.heard(asked, time.monotonic(), None, 0.0, False)

    assert one.circuit.state == "open"


def test_each_scope_is_by_itself(url: str) -> None:
    first, second = processes(url, 2)
    first.fail()
    first.breaker.circuit("other")
    second.breaker.circuit("other")
    first.sync()
    second.sync()

    assert (second.breaker.circuit("other").state, second.circuit.state) == ("closed", "open")


def test_prefixes_keep_strangers_apart(url: str) -> None:
    (first,) = processes(url, 1)
    (stranger,) = processes(url, 1, prefix="other:")
    first.fail()
    first.sync()
    stranger.sync()

    assert stranger.circuit.state == "closed"


def test_without_redis_each_goes_by_what_it_sees() -> None:
    server = new_redis()
    try:
        first, second = opened(server.url(), 2)
        server.end()
        assert not first.store.sync()
        assert not second.store.sync()
        assert [first.ask(), second.ask()] == [PROBE, PROBE]
    finally:
        server.stop()


def test_what_happened_while_redis_was_away_is_told_when_it_is_back() -> None:
    server = new_redis()
    try:
        first, second = processes(server.url(), 2)
        server.end()
        first.fail()
        assert not first.store.sync()
        server.start()
        until(first.store.sync)
        until(second.store.sync)
        assert second.circuit.state == "open"
    finally:
        server.stop()


def test_before_redis_has_answered_nobody_waits_for_it(url: str) -> None:
    process = Process(url, SHORT)
    process.fail()
    until(lambda: process.ask() == PROBE)

    assert not process.store.reachable
    assert repr(process.store) == "<RedisCircuits not reachable>"


@pytest.fixture
def threaded(url: str) -> Iterator[list[Process]]:
    found = [Process(url, SHORT, background=True, interval=0.01) for _ in range(3)]
    yield found
    for process in found:
        process.store.close()


def test_a_thread_tells_and_asks_by_itself(threaded: list[Process]) -> None:
    for process in threaded:
        assert process.ask() == 0.0
    until(lambda: all(process.store.reachable for process in threaded))
    threaded[0].fail()
    until(lambda: all(process.circuit.state == "open" for process in threaded))

    # All ask, over and over: one of them is let through.
    through: list[Process] = []

    def one_is_through() -> bool:
        through.extend(process for process in threaded if process.ask() == PROBE)
        return bool(through)

    until(one_is_through)
    assert len(through) == 1
    through[0].circuit.record(time.monotonic(), failed=False, probe=True)
    until(lambda: all(process.ask() == 0.0 for process in threaded))


def test_a_store_that_is_closed_leaves_no_thread_and_everybody_alone(threaded: list[Process]) -> None:
    (process, *_) = threaded
    process.ask()
    thread = process.store._thread
    assert thread is not None
    process.store.close()
    process.store.close()
    process.fail()
    thread.join(PATIENCE)

    assert not thread.is_alive()
    until(lambda: process.ask() == PROBE)


def test_a_store_that_nobody_has_ends_its_thread(url: str) -> None:
    process = Process(url, SHORT, background=True, interval=0.01)
    process.ask()
    thread = process.store._thread
    assert thread is not None
    del process
    gc.collect()
    thread.join(PATIENCE)

    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_has_a_thread_of_its_own(threaded: list[Process]) -> None:
    (process, other, _) = threaded
    process.ask()
    other.ask()
    until(lambda: process.store.reachable and other.store.reachable)
    child = os.fork()
    if not child:  # pragma: no cover  # in the child
        try:
            process.store.reachable = False
            process.fail()
            until(lambda: process.store.reachable)  # the thread it started has told of it
        finally:
            os._exit(0)
    until(lambda: other.circuit.state == "open")
    os.waitpid(child, 0)


def test_circuits_that_nobody_has_are_forgotten(url: str) -> None:
    process = Process(url, SHORT)
    process.ask()
    process.sync()
    process.breaker._circuits.clear()
    gc.collect()
    process.sync()

    assert process.store._circuits == {}


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("http://127.0.0.1", {}),
        ("", {}),
        ("redis://h", {"interval": 0}),
        ("redis://h", {"lease": 0}),
        (7, {}),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused(url: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        RedisCircuits(url, **settings)


def test_without_redis_py_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "redis", None)

    with pytest.raises(ConfigurationError, match=r"failwell\[redis\]"):
        RedisCircuits("redis://h")


def test_it_closes_with_its_block(url: str) -> None:
    with RedisCircuits(url) as store:
        Breaker(store=store).circuit("host")
        assert store._thread is not None

    assert threading.active_count() < 100
    assert store._thread is None
