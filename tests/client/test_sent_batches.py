"""Batches over real sockets: in threads, under asyncio and under trio."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
import trio
from answering_server import PATIENCE, RESET, AnsweringServer, Asked
from client_drivers import Driver

import failwell
from failwell import AsyncClient, Batch, BatchResult, Client, Operation, Poll, PollPolicy, RetryPolicy
from failwell.operations.steps import Steps, do, locally, pause
from failwell.telemetry import Event, Kind
from failwell.testing import AsyncScriptedEngine, FakeClock, ScriptedEngine, answer

ONCE = RetryPolicy(max_attempts=1)


def post(item: Any, key: str) -> Operation[Any]:
    return Operation("POST", f"/things/{item}", lambda response: response.json(), json={"item": item})


def number_of(asked: Asked) -> int:
    return int(asked.target.rpartition("/")[2])


def echo(asked: Asked) -> tuple[int, Any]:
    return 200, number_of(asked)


def every_fiftieth_fails(asked: Asked) -> tuple[int, Any]:
    number = number_of(asked)
    return (422, {"detail": f"{number} is wrong"}) if number % 10 == 7 else (200, number)


def test_a_batch_keeps_its_order_types_its_failures_and_sends_only_those_again(driver: Driver) -> None:
    first: list[BatchResult[int, int]] = []
    well = threading.Event()

    def twice() -> Steps[BatchResult[int, int]]:
        first.append((yield from do(Batch(range(40), post, concurrency=4))))
        well.set()
        return (yield from do(first[0].again()))

    def some_fail(asked: Asked) -> tuple[int, Any]:
        return echo(asked) if well.is_set() else every_fiftieth_fails(asked)

    with AnsweringServer(some_fail) as server:
        second = driver.perform(server.url, twice)

    assert [item.number for item in first[0].failed] == [7, 17, 27, 37]
    assert all(type(item.error) is failwell.InvalidRequestError for item in first[0].failed)
    assert first[0].partial_results == [n for n in range(40) if n % 10 != 7]
    assert second.partial_results == list(range(40))
    assert second.ok
    assert sorted(map(number_of, server.asked[40:])) == [7, 17, 27, 37]
    assert server.most <= 4


def test_several_are_under_way_at_once(driver: Driver) -> None:
    together = threading.Barrier(3, timeout=PATIENCE)

    def wait_for_the_others(asked: Asked) -> tuple[int, Any]:
        together.wait()
        return echo(asked)

    with AnsweringServer(wait_for_the_others) as server:
        result = driver.perform(server.url, lambda: Batch(range(6), post, concurrency=3))

    assert (result.ok, server.most) == (True, 3)


def test_an_item_whose_answer_was_lost_goes_again_with_its_key(driver: Driver) -> None:
    lost = iter([True])

    def lose_the_first(asked: Asked) -> Any:
        return RESET if next(lost, False) else echo(asked)

    def twice() -> Steps[Any]:
        result = yield from do(Batch([1], post))
        return (yield from do(result.again()))

    with AnsweringServer(lose_the_first) as server:
        result = driver.perform(server.url, twice, retry=ONCE)

    first, again = (asked.headers["idempotency-key"] for asked in server.asked)
    assert (result.ok, first) == (True, again)


def test_a_spent_quota_stops_the_sending(driver: Driver) -> None:
    def spent(asked: Asked) -> tuple[int, Any]:
        return (200, 0) if number_of(asked) < 3 else (429, {"error": {"code": "insufficient_quota"}})

    with AnsweringServer(spent) as server:
        result = driver.perform(server.url, lambda: Batch(range(50), post, concurrency=1))

    assert isinstance(result.stopper, failwell.QuotaExceededError)
    assert (result.partial_results, len(result.not_sent), len(server.asked)) == ([0, 0, 0], 46, 4)


def test_one_throttled_call_holds_back_what_was_not_begun(driver: Driver) -> None:
    """
    The second item is answered when the first is known to wait; its worker must wait, too.
    """
    waiting = threading.Event()
    throttled: list[float] = []
    begun: list[float] = []

    def listen(event: Event) -> None:
        if event.kind is Kind.WAITING:
            waiting.set()

    def throttle_the_first(asked: Asked) -> Any:
        number = number_of(asked)
        if number == 0 and not throttled:
            throttled.append(time.monotonic())
            return 429, {}, {"retry-after-ms": "300"}
        if number == 1:
            waiting.wait(PATIENCE)
        elif number > 1:
            begun.append(time.monotonic())
        return 200, number

    with AnsweringServer(throttle_the_first) as server:
        result = driver.perform(
            server.url, lambda: Batch(range(4), post, concurrency=2), listeners=[listen], random=lambda: 0.0
        )

    assert result.ok
    assert len(begun) == 2
    assert min(begun) - throttled[0] >= 0.3


def test_a_limit_that_gives_one_place_at_a_time_fails_nobody(driver: Driver) -> None:
    """
    Every second request is throttled: with one try a call, all go through all the same.
    """
    turns = itertools.count()

    def every_second(asked: Asked) -> Any:
        return echo(asked) if next(turns) % 2 else (429, {}, {"retry-after-ms": "1"})

    with AnsweringServer(every_second) as server:
        result = driver.perform(server.url, lambda: Batch(range(12), post, concurrency=4), retry=ONCE)

    assert result.ok
    assert len(server.asked) >= 24


def test_a_throttled_item_is_begun_again_when_the_service_said(driver: Driver) -> None:
    clock = FakeClock()
    sent: list[float] = []

    def throttle_twice(order: Any) -> Any:
        sent.append(clock.monotonic())
        return answer(429, headers={"retry-after": "7"}) if len(sent) <= 2 else answer(200, 1)

    engine = scripted(driver.drive, throttle_twice, clock)
    order = Operation("GET", "/", lambda response: response.json())
    result = driver.perform(
        "https://api.example",
        lambda: Batch([1], lambda item, key: order, concurrency=1),
        engine=engine,
        clock=clock,
        retry=ONCE,
    )

    assert (result.ok, sent) == (True, [1000.0, 1007.0, 1014.0])


def scripted(drive: str, say: Callable[[Any], Any], clock: FakeClock, seconds: float = 0.0) -> Any:
    kind = ScriptedEngine if drive == "sync" else AsyncScriptedEngine
    return kind(itertools.repeat(say), clock, seconds=seconds)


def test_the_deadline_is_for_all_of_them(driver: Driver) -> None:
    clock = FakeClock()
    engine = scripted(driver.drive, lambda order: answer(200, 1), clock, seconds=2.0)
    result = driver.perform(
        "https://api.example",
        lambda: Batch(range(5), post, concurrency=1, deadline=5.0),
        engine=engine,
        clock=clock,
    )

    assert [item.status for item in result] == ["done", "done", "failed", "not_sent", "not_sent"]
    assert isinstance(result[2].error, failwell.CallTimeoutError)
    assert (result.stopped, clock.monotonic()) == ("deadline", 1005.0)


def test_jobs_and_waits_end_with_the_deadline_of_their_batch(driver: Driver) -> None:
    clock = FakeClock()
    engine = scripted(driver.drive, lambda order: answer(202, "running"), clock)
    look = Operation("GET", "/jobs/1", lambda response: response.json())
    policy = PollPolicy(interval=1.0, growth=1.0, timeout=None)

    def order(item: str, key: str) -> Any:
        return Poll(look, "1", finished=lambda job: False, policy=policy) if item == "job" else pause(99.0)

    result = driver.perform(
        "https://api.example",
        lambda: Batch(["job", "wait"], order, concurrency=1, deadline=4.0),
        engine=engine,
        clock=clock,
    )

    assert isinstance(result[0].error, failwell.PollTimeoutError)
    assert clock.monotonic() <= 1004.0


def test_an_item_may_be_work_of_several_calls(driver: Driver) -> None:
    def work(item: int, key: str) -> Steps[int]:
        first = yield from do(Operation("POST", f"/a/{item}", lambda r: r.json(), idempotency_key=f"{key}-a"))
        local = yield from locally(lambda: threading.get_ident())
        second = yield from do(
            Operation("POST", f"/b/{item}", lambda r: r.json(), idempotency_key=f"{key}-b")
        )
        return int(first + second + (local > 0))

    with AnsweringServer(echo) as server:
        result = driver.perform(server.url, lambda: Batch(range(3), work))

    assert result.partial_results == [1, 3, 5]
    keys = [asked.headers["idempotency-key"] for asked in server.asked if asked.target.startswith("/a")]
    assert sorted(keys) == sorted(f"{item.key}-a" for item in result)


def test_a_batch_may_be_an_item_of_a_batch(driver: Driver) -> None:
    def inner(item: int, key: str) -> Steps[Any]:
        result = yield from do(Batch(range(item), post, concurrency=2))
        return result.partial_results

    with AnsweringServer(echo) as server:
        result = driver.perform(server.url, lambda: Batch([1, 2, 3], inner, concurrency=2))

    assert result.partial_results == [[0], [0, 1], [0, 1, 2]]


def test_what_local_work_raises_is_raised_in_the_steps(driver: Driver) -> None:
    def work() -> Steps[str]:
        try:
            yield from locally(lambda: os.stat("/nowhere/at/all"))
        except OSError as error:
            return type(error).__name__
        return "nothing"

    assert driver.perform("http://127.0.0.1:9", work) == "FileNotFoundError"


def test_bodies_of_a_generator_are_let_go_when_they_are_sent(driver: Driver) -> None:
    class Big(list[int]):
        """What can be watched."""

    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Watched:
        def __init__(self, number: int) -> None:
            self.number = number
            alive.add(self)

    def items() -> Iterator[Watched]:
        nonlocal most
        for number in range(60):
            yield Watched(number)
            most = max(most, len(alive))

    clock = FakeClock()
    engine = scripted(driver.drive, lambda order: answer(200, 1), clock)
    result = driver.perform(
        "https://api.example",
        lambda: Batch(items(), lambda item, key: post(item.number, key), concurrency=3),
        engine=engine,
        clock=clock,
    )

    assert (result.ok, len(result)) == (True, 60)
    assert most <= 12


@pytest.mark.parametrize("where", ["order", "progress", "items"])
def test_a_bug_is_raised_as_it_is_and_what_succeeded_is_known(driver: Driver, where: str) -> None:
    def order(item: int, key: str) -> Operation[Any]:
        return post(1 // (where != "order" or item != 2) * item, key)

    def progress(item: Any, done: int, total: int | None) -> None:
        _ = 1 // (where != "progress" or done != 3)

    def items() -> Iterator[int]:
        for number in range(9):
            yield number // (where != "items" or number != 2)

    batch = Batch(items(), order, concurrency=1, progress=progress)
    with AnsweringServer(echo) as server:
        error = driver.perform(server.url, lambda: batch)

    assert type(error) is ZeroDivisionError
    assert batch.result.partial_results[:2] == [0, 1]
    assert (batch.result.stopped, len(server.asked)) == ("error", 3 if where == "progress" else 2)


def test_a_batch_that_was_sent_is_refused_by_the_contract_s_class(driver: Driver) -> None:
    class OwnError(failwell.UsageError):
        """The SDK's."""

    contract = failwell.Contract("own", usage={failwell.UsageError: OwnError})
    batch = Batch([], post)

    def twice() -> Steps[Any]:
        yield from do(batch)
        return (yield from do(batch))

    assert type(driver.perform("http://127.0.0.1:9", twice, contract=contract)) is OwnError


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals go to processes here")
def test_ctrl_c_is_heard_at_once_and_what_succeeded_is_not_lost() -> None:
    silent, gone = threading.Event(), threading.Event()
    main = threading.main_thread().ident
    assert main is not None

    def interrupt_at_two(asked: Asked) -> tuple[int, Any]:
        if number_of(asked) == 2:
            silent.set()
            gone.wait(PATIENCE)
        return echo(asked)

    def press() -> None:
        silent.wait(PATIENCE)
        signal.pthread_kill(main, signal.SIGINT)

    batch = Batch(range(9), post, concurrency=1)
    thread = threading.Thread(target=press)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with AnsweringServer(interrupt_at_two) as server, Client(server.url) as client:
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                client.perform(batch)
            result = batch.result
            gone.set()
    finally:
        signal.signal(signal.SIGINT, before)
        gone.set()
        thread.join(PATIENCE)

    assert [item.status for item in result] == ["done", "done", "interrupted", *["not_sent"] * 6]
    assert (result.stopped, result.partial_results) == ("interrupted", [0, 1])


@pytest.mark.parametrize("run", [lambda send, url: asyncio.run(send(url)), trio.run], ids=["asyncio", "trio"])
def test_a_batch_that_is_cancelled_keeps_what_succeeded(run: Any) -> None:
    gone = threading.Event()

    def stall(asked: Asked) -> tuple[int, Any]:
        if number_of(asked) >= 2:
            gone.wait(PATIENCE)
        return echo(asked)

    async def send(url: str) -> BatchResult[int, int]:
        with anyio.CancelScope() as scope:

            def progress(item: Any, done: int, total: int | None) -> None:
                if done == 2:
                    scope.cancel()

            batch = Batch(range(6), post, concurrency=2, progress=progress)
            async with AsyncClient(url) as client:
                await client.perform(batch)
        assert scope.cancelled_caught
        return batch.result

    with AnsweringServer(stall) as server:
        result = run(send, server.url)
        gone.set()

    assert result.partial_results == [0, 1]
    assert result.stopped == "interrupted"
    assert {item.status for item in result[2:]} <= {"interrupted", "not_sent"}


def test_what_is_sent_has_the_context_of_who_sends_it() -> None:
    from contextvars import ContextVar

    trace: ContextVar[str] = ContextVar("trace", default="none")
    seen: set[str] = set()

    def order(item: int, key: str) -> Operation[Any]:
        seen.add(trace.get())
        return post(item, key)

    trace.set("here")
    with AnsweringServer(echo) as server, Client(server.url) as client:
        assert client.perform(Batch(range(4), order, concurrency=2)).ok

    assert seen == {"here"}


def test_five_thousand_items_of_which_two_in_a_hundred_fail() -> None:
    def say(order: Any) -> Any:
        number = int(order.request.url.rpartition("/")[2])
        return answer(422, {"detail": "wrong"}) if number % 50 == 7 else answer(200, number)

    clock = FakeClock()
    engine = scripted("sync", say, clock)
    with Client("https://api.example", engine=engine, clock=clock) as client:
        result = client.perform(Batch(range(5000), post, concurrency=16))
        assert [json.loads(o.request.content)["item"] for o in engine.orders[:1]] == [0]
        sent = len(engine.orders)
        again = client.perform(result.again())

    assert result.partial_results == [n for n in range(5000) if n % 50 != 7]
    assert [item.number for item in result.failed] == list(range(7, 5000, 50))
    assert (sent, len(engine.orders) - sent, len(again.failed)) == (5000, 100, 100)
