"""A service that recovers, and 200 callers on an open circuit: one probes, and then all are served."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio
import pytest
import trio
from answering_server import PATIENCE, AnsweringServer, Asked

from failwell import AsyncClient, Breaker, BreakerPolicy, CircuitOpenError, Client, RetryPolicy, ServerError
from failwell.telemetry import Event, Kind

CALLERS = 200
OPEN_FOR = 0.1
ONCE = RetryPolicy(max_attempts=1)


class Recovering:
    """
    A service that fails once, and answers its probe when all other callers are known to wait.

    Attributes:
        early: Requests that came before the probe was answered, besides it.
        waits: Every wait for the circuit, seconds.
    """

    def __init__(self, waiting: int) -> None:
        self.early = 0
        self.waits: list[float] = []
        self._waiting = waiting
        self._asked: set[int] = set()
        self._all = threading.Event()
        self._failed = self._probing = self._over = False
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Any:
        with self._lock:
            if not self._failed:
                self._failed = True
                return 500, {}
            is_probe, self._probing = not self._probing, True
            self.early += not is_probe and not self._over
        if is_probe:
            self._all.wait(PATIENCE)
            self._over = True
        return 200, {}

    def listen(self, event: Event) -> None:
        if event.kind is Kind.WAITING:
            with self._lock:
                self.waits.append(event.seconds)
                self._asked.add(event.call)
                # The one that probes has waited, too, unless it came when the pause was over.
                if len(self._asked) >= self._waiting:
                    self._all.set()


def settings(service: Recovering, wait: float) -> dict[str, Any]:
    policy = BreakerPolicy(min_attempts=1, failure_ratio=1.0, open_for=OPEN_FOR, wait=wait)
    return {
        "breaker": Breaker(policy),
        "retry": ONCE,
        "listeners": [service.listen],
        "deadline": 4 * PATIENCE,
    }


def check(service: Recovering, server: AnsweringServer, served: int) -> None:
    assert served == CALLERS
    assert service.early == 0, "one probe, however many wait"
    assert len(server.asked) == 1 + CALLERS
    # Whoever waits when the probe ends, comes back within one interval of an open circuit.
    assert max(service.waits) <= OPEN_FOR


def test_200_threads_on_an_open_circuit_send_one_probe_and_are_all_served() -> None:
    service = Recovering(CALLERS - 1)
    served: list[int] = []
    with (
        AnsweringServer(service) as server,
        Client(server.url, **settings(service, 3 * PATIENCE)) as client,
    ):
        with pytest.raises(ServerError):
            client.request("GET", "/")
        threads = [
            threading.Thread(target=lambda: served.append(client.request("GET", "/").status))
            for _ in range(CALLERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(4 * PATIENCE)

    check(service, server, len(served))


@pytest.mark.parametrize("run", [lambda work: asyncio.run(work()), trio.run], ids=["asyncio", "trio"])
def test_200_tasks_on_an_open_circuit_send_one_probe_and_are_all_served(run: Any) -> None:
    service = Recovering(CALLERS - 1)
    served: list[int] = []

    async def work() -> None:
        async with AsyncClient(server.url, **settings(service, 3 * PATIENCE)) as client:
            with pytest.raises(ServerError):
                await client.request("GET", "/")

            async def call() -> None:
                served.append((await client.request("GET", "/")).status)

            async with anyio.create_task_group() as tasks:
                for _ in range(CALLERS):
                    tasks.start_soon(call)

    with AnsweringServer(service) as server:
        run(work)

    check(service, server, len(served))


def test_callers_that_do_not_wait_are_refused_at_once_and_told_when_to_come_back() -> None:
    service = Recovering(0)
    slow = {
        **settings(service, 0.0),
        "breaker": Breaker(BreakerPolicy(min_attempts=1, open_for=3600.0, max_open_for=3600.0)),
    }
    with AnsweringServer(service) as server, Client(server.url, **slow) as client:
        with pytest.raises(ServerError):
            client.request("GET", "/")
        for _ in range(3):
            with pytest.raises(CircuitOpenError) as caught:
                client.request("GET", "/")
            assert 0 < (caught.value.retry_after or 0) <= 3600.0

    assert len(server.asked) == 1
