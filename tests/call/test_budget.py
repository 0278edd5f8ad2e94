"""The retry budget in numbers."""

from __future__ import annotations

import itertools
import threading
from math import nan

import pytest

from failwell import Breaker, CallError, Client, RetryBudget, UsageError
from failwell.testing import FakeClock, ScriptedEngine, answer


def test_it_pays_for_17_retries_of_an_outage_and_no_more() -> None:
    budget = RetryBudget()

    paid = list(
        itertools.takewhile(lambda cost: cost is not None, (budget.spend(throttled=False) for _ in range(99)))
    )

    assert paid == [14.0] * 17
    assert budget.tokens == 262
    assert budget.spend(throttled=False) is None
    assert budget.tokens == 262


def test_a_throttled_retry_costs_5() -> None:
    budget = RetryBudget()

    assert budget.spend(throttled=True) == 5.0
    assert budget.tokens == 495


def test_a_success_brings_back_what_the_retry_cost_or_one_token() -> None:
    budget = RetryBudget()
    for _ in range(3):
        budget.spend(throttled=False)
    budget.succeeded(14.0)
    budget.succeeded()

    assert budget.tokens == 473


def test_it_never_holds_more_than_it_can() -> None:
    budget = RetryBudget(10, retry_cost=1)
    budget.spend(throttled=False)
    for _ in range(9):
        budget.succeeded(5.0)

    assert budget.tokens == 10
    assert repr(budget) == "<RetryBudget 10 of 10>"


@pytest.mark.parametrize("numbers", [(-1, 1, 1), (1, -1, 1), (1, 1, -1), (nan, 1, 1), (1, nan, 1)])
def test_a_negative_number_is_refused(numbers: tuple[float, float, float]) -> None:
    capacity, retry, throttle = numbers
    with pytest.raises(UsageError, match="0 or more"):
        RetryBudget(capacity, retry_cost=retry, throttle_cost=throttle)


def test_threads_share_it_without_spending_a_token_twice() -> None:
    budget = RetryBudget(2000, retry_cost=1)
    paid: list[float | None] = []

    def spend() -> None:
        for _ in range(100):
            paid.append(budget.spend(throttled=False))

    threads = [threading.Thread(target=spend) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len([cost for cost in paid if cost is not None]) == 1000
    assert budget.tokens == 1000


@pytest.mark.parametrize(
    ("breaker", "most"), [(False, 1.10), (True, 0.35)], ids=["breaker off", "breaker on"]
)
def test_s50_a_total_outage_is_not_made_worse(breaker: bool, most: float) -> None:
    """
    503 from every request, 300 calls one after the other, waits skipped.
    """
    clock = FakeClock()
    engine = ScriptedEngine(itertools.repeat(answer(503)), clock, seconds=0.01)
    client = Client(
        "https://api.example", engine=engine, clock=clock, breaker=Breaker() if breaker else False
    )

    for _ in range(300):
        with pytest.raises(CallError):
            client.request("GET", "/")

    assert len(engine.orders) / 300 <= most
    assert len(engine.orders) >= 10


def test_after_an_outage_retries_come_back_with_the_successes() -> None:
    clock = FakeClock()
    down = itertools.repeat(answer(503), 300)
    engine = ScriptedEngine(itertools.chain(down, itertools.repeat(answer(200))), clock)
    client = Client("https://api.example", engine=engine, clock=clock, breaker=False)
    budget = RetryBudget()

    while len(engine.orders) < 300:
        with pytest.raises(CallError):
            client.request("GET", "/")
    for _ in range(300):
        client.request("GET", "/")

    assert client._setup.budget.tokens > budget.capacity / 2
