"""Cancellation and Ctrl-C: nothing goes on, nothing stays taken, no connection is left dirty."""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from scripted_server import PATIENCE, STALL, ScriptedServer, reply

from failwell import (
    AsyncClient,
    Breaker,
    BreakerPolicy,
    CircuitOpenError,
    Client,
    RetryPolicy,
    UnavailableError,
)
from failwell.telemetry import Event, Kind
from failwell.testing import AsyncScriptedEngine, FakeClock, ScriptedEngine, answer


class SoftTimeLimitExceededError(Exception):
    """What a task queue raises out of a signal handler when a task has run long enough."""


class Stop(BaseException):
    """Somebody's own way to end a thread."""


ONCE = RetryPolicy(max_attempts=1)
FOREIGN = [MemoryError, SoftTimeLimitExceededError, Stop, KeyboardInterrupt, SystemExit, GeneratorExit]


def open_breaker() -> Breaker:
    """A breaker whose circuits open after one failure, for so short that the next call probes."""
    return Breaker(BreakerPolicy(min_attempts=1, open_for=1e-9, max_open_for=1e-9))


def state(client: Client | AsyncClient) -> str:
    circuit = client._setup._circuit
    assert circuit is not None
    return circuit.state


@pytest.fixture
def interrupted() -> Iterator[Callable[[threading.Event, type[BaseException]], None]]:
    """Raises an exception in the main thread, out of a signal handler, once an event is set."""
    threads: list[threading.Thread] = []
    before = signal.getsignal(signal.SIGUSR1)

    def arrange(event: threading.Event, exc: type[BaseException]) -> None:
        def handler(*_: Any) -> None:
            raise exc

        def wait() -> None:
            if event.wait(PATIENCE):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

        signal.signal(signal.SIGUSR1, handler)
        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    yield arrange
    for thread in threads:
        thread.join(PATIENCE)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("exc", [KeyboardInterrupt, SoftTimeLimitExceededError, Stop, MemoryError])
def test_an_interrupted_blocking_call_leaves_nothing_behind(
    interrupted: Callable[[threading.Event, type[BaseException]], None], exc: type[BaseException]
) -> None:
    events: list[Event] = []
    with ScriptedServer([reply(503), STALL, reply(200, {"mine": True})]) as server:
        with Client(server.url, breaker=open_breaker(), listeners=[events.append], retry=ONCE) as client:
            with pytest.raises(UnavailableError):
                client.request("POST", "/", json={}, idempotency_key="k")
            interrupted(server.stalled, exc)
            with pytest.raises(exc) as caught:
                client.request("POST", "/", json={})

            assert server.gone.wait(PATIENCE), "the request still runs"
            assert type(caught.value) is exc
            assert caught.value.__cause__ is None
            assert state(client) == "open", "the probe's place is still taken"
            assert client.request("GET", "/").json() == {"mine": True}
            assert state(client) == "closed"
        assert len(server.asked) == 3
        assert server.asked[2].connection != server.asked[1].connection

    ends = [e for e in events if e.kind is Kind.CALL_ENDED]
    assert [e.outcome for e in ends] == ["UnavailableError", exc.__name__, "ok"]


async def _probe_and_more(client: AsyncClient, server: ScriptedServer) -> None:
    """After a cancelled call: the place of the probe is free, and the next answer is its own."""
    assert state(client) == "open"
    assert (await client.request("GET", "/")).json() == {"mine": True}
    assert state(client) == "closed"
    assert len(server.asked) == 3
    assert server.asked[2].connection != server.asked[1].connection


def test_a_cancelled_asyncio_task_leaves_nothing_behind() -> None:
    async def main(server: ScriptedServer) -> None:
        async with AsyncClient(server.url, breaker=open_breaker(), retry=ONCE) as client:
            with pytest.raises(UnavailableError):
                await client.request("POST", "/", json={})
            task = asyncio.create_task(client.request("POST", "/", json={}))
            assert await asyncio.to_thread(server.stalled.wait, PATIENCE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

            assert await asyncio.to_thread(server.gone.wait, PATIENCE), "the request still runs"
            await _probe_and_more(client, server)

    with ScriptedServer([reply(503), STALL, reply(200, {"mine": True})]) as server:
        asyncio.run(main(server))


def test_a_cancelled_trio_scope_leaves_nothing_behind() -> None:
    async def main(server: ScriptedServer) -> None:
        async with AsyncClient(server.url, breaker=open_breaker(), retry=ONCE) as client:
            with pytest.raises(UnavailableError):
                await client.request("POST", "/", json={})
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.request, "POST", "/")
                    assert await trio.to_thread.run_sync(server.stalled.wait, PATIENCE)
                    scope.cancel()

            assert scope.cancelled_caught
            assert await trio.to_thread.run_sync(server.gone.wait, PATIENCE), "the request still runs"
            await _probe_and_more(client, server)

    with ScriptedServer([reply(503), STALL, reply(200, {"mine": True})]) as server:
        trio.run(main, server)


def test_a_timeout_of_asyncio_is_asyncios_own() -> None:
    async def main(server: ScriptedServer) -> None:
        async with AsyncClient(server.url) as client:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.3):
                    await client.request("GET", "/")

            assert type(caught.value) is TimeoutError

    with ScriptedServer([STALL]) as server:
        asyncio.run(main(server))


@pytest.mark.parametrize("exc", FOREIGN)
def test_what_is_no_failure_of_the_call_passes_untouched(exc: type[BaseException]) -> None:
    raised = exc("mine")
    clock = FakeClock()
    engine = ScriptedEngine([answer(503), raised, answer(200)], clock)
    client = Client(
        "https://api.example", engine=engine, clock=clock, breaker=open_breaker(), random=lambda: 0.0
    )

    with pytest.raises(exc) as caught:
        client.request("GET", "/")

    assert caught.value is raised
    assert (raised.__cause__, raised.__context__) == (None, None)
    assert len(engine.orders) == 2
    assert state(client) == "open"
    assert client.request("GET", "/").status == 200


@pytest.mark.parametrize("exc", [MemoryError, SoftTimeLimitExceededError, Stop])
def test_the_same_awaiting(exc: type[BaseException]) -> None:
    raised = exc("mine")
    clock = FakeClock()
    engine = AsyncScriptedEngine([answer(503), raised, answer(200)], clock)
    client = AsyncClient("https://api.example", engine=engine, clock=clock, breaker=open_breaker())

    async def main() -> None:
        with pytest.raises(exc) as caught:
            await client.request("GET", "/")
        assert caught.value is raised
        assert (await client.request("GET", "/")).status == 200

    trio.run(main)


@pytest.mark.parametrize("kind", [Kind.ATTEMPT_STARTED, Kind.ATTEMPT_ENDED, Kind.WAITING])
def test_a_listener_that_raises_gives_the_probe_back(kind: Kind) -> None:
    told = itertools.count()
    clock = FakeClock()

    def listen(event: Event) -> None:
        if event.kind is kind and next(told) == 0:
            raise MemoryError("full")

    breaker = Breaker(BreakerPolicy(min_attempts=1, open_for=0.1))
    engine = ScriptedEngine(itertools.repeat(answer(200)), clock)
    client = Client("https://api.example", engine=engine, clock=clock, breaker=breaker, listeners=[listen])
    breaker.circuit("api.example").record(0.0, failed=True)
    if kind is Kind.WAITING:
        engine = ScriptedEngine([answer(429), answer(200)], clock)
        client._engine = engine

    with pytest.raises(MemoryError, match="full"):
        client.request("GET", "/")
    assert state(client) in ("open", "closed")
    assert client.request("GET", "/").status == 200


def test_ctrl_c_while_waiting_for_the_next_try_ends_the_call() -> None:
    class Impatient(FakeClock):
        def sleep(self, seconds: float, /) -> None:
            raise KeyboardInterrupt

    engine = ScriptedEngine([answer(503), answer(200)])
    client = Client("https://api.example", engine=engine, clock=Impatient())
    with pytest.raises(KeyboardInterrupt):
        client.request("GET", "/")

    assert len(engine.orders) == 1


def test_a_task_cancelled_while_waiting_for_the_next_try_sends_no_other() -> None:
    async def main() -> None:
        engine = AsyncScriptedEngine([answer(503, headers={"retry-after": "30"}), answer(200)])
        client = AsyncClient("https://api.example", engine=engine)
        task = asyncio.create_task(client.request("GET", "/"))
        while not engine.orders:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert len(engine.orders) == 1

    asyncio.run(main())


def test_s49_of_50_threads_one_probes_and_the_rest_is_told_to_come_back() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(_: Any) -> Any:
        inside.set()
        assert go_on.wait(PATIENCE)
        return answer(200)

    clock = FakeClock()
    breaker = Breaker(BreakerPolicy(min_attempts=1))
    engine = ScriptedEngine([slow], clock)
    client = Client("https://api.example", engine=engine, clock=clock, breaker=breaker)
    breaker.circuit("api.example").record(900.0, failed=True)
    outcomes: list[str] = []

    def ask() -> None:
        try:
            outcomes.append(str(client.request("GET", "/").status))
        except CircuitOpenError as exc:
            outcomes.append(f"refused for {exc.retry_after}")

    prober = threading.Thread(target=ask)
    prober.start()
    assert inside.wait(PATIENCE)
    others = [threading.Thread(target=ask) for _ in range(49)]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join(PATIENCE)
    go_on.set()
    prober.join(PATIENCE)

    assert sorted(outcomes) == ["200"] + ["refused for 1.0"] * 49
    assert len(engine.orders) == 1
