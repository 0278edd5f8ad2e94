"""What callers do while a circuit is open: they are refused at once, or wait for it, and one probes."""

from __future__ import annotations

import heapq
from math import inf, nan
from typing import Any

import pytest

import failwell
from failwell import BreakerPolicy, RetryPolicy, Timeouts, UsageError
from failwell.call.breaker import Breaker, Circuit
from failwell.call.flow import Call, Policies, call_flow
from failwell.call.messages import Reply, Request, Send, Sleep
from failwell.contract import STANDARD
from failwell.testing import answer, play

CALLERS = 200
OPENED = 100.0  # when the circuit opened
OPEN_FOR = 5.0


def opened(**policy: Any) -> Circuit:
    one = Breaker(BreakerPolicy(**{"min_attempts": 1, "open_for": OPEN_FOR, **policy})).circuit("host")
    one.record(OPENED, failed=True)
    return one


def flow(circuit: Circuit, now: float = OPENED, deadline: float = inf, max_attempts: int = 1) -> Any:
    call = Call(Request("GET", "https://api.example/"), STANDARD, deadline)
    policies = Policies(RetryPolicy(max_attempts=max_attempts, jitter=0.0), Timeouts())
    return call_flow(call, policies, circuit, now=now, epoch=0.0, random=lambda: 0.0)


class Crowd:
    """
    Many calls on one circuit, in the order of a clock that jumps from event to event.

    Args:
        took: Seconds an attempt takes.
        recovers: When the service is well again.
    """

    def __init__(self, circuit: Circuit, *, took: float, recovers: float = 0.0) -> None:
        self.sent: list[float] = []
        self.served: list[float] = []
        self.refused: list[tuple[float, Any]] = []
        self._took, self._recovers = took, recovers
        self._events: list[tuple[float, int, Any, Any]] = []
        for number in range(CALLERS):
            # They come one after the other, within a tenth of a second.
            now = OPENED + number * 0.1 / CALLERS
            self._step(now, number, flow(circuit, now), None)
        while self._events:
            now, number, running, result = heapq.heappop(self._events)
            self._step(now, number, running, Reply(now, result))

    def _step(self, now: float, number: int, running: Any, reply: Reply | None) -> None:
        try:
            effect = next(running) if reply is None else running.send(reply)
        except StopIteration:
            self.served.append(now)
            return
        except failwell.CallError as error:
            self.refused.append((now, error))
            return
        if isinstance(effect, Sleep):
            heapq.heappush(self._events, (now + effect.seconds, number, running, None))
            return
        assert isinstance(effect, Send)
        self.sent.append(now)
        result = answer(200 if now >= self._recovers else 503)
        heapq.heappush(self._events, (now + self._took, number, running, result))


def test_of_200_callers_that_wait_one_probes_and_all_are_served_within_one_interval_after_it() -> None:
    crowd = Crowd(opened(wait=60.0), took=2.5)
    closed = crowd.sent[0] + 2.5

    assert crowd.sent[0] == OPENED + OPEN_FOR
    assert [at for at in crowd.sent if at < closed] == crowd.sent[:1]
    assert (len(crowd.sent), len(crowd.served), crowd.refused) == (CALLERS, CALLERS, [])
    assert max(crowd.sent) <= closed + OPEN_FOR


def test_of_200_callers_that_do_not_wait_none_is_sent_and_all_are_told_when_to_come_back() -> None:
    crowd = Crowd(opened(), took=2.5)

    assert (crowd.sent, crowd.served, len(crowd.refused)) == ([], [], CALLERS)
    for at, error in crowd.refused:
        assert type(error) is failwell.CircuitOpenError
        assert at + error.retry_after == pytest.approx(OPENED + OPEN_FOR)


def test_each_probe_that_fails_is_one_attempt_whoever_waits() -> None:
    crowd = Crowd(opened(wait=60.0, growth=2.0), took=0.5, recovers=OPENED + 20.0)
    probes = [at for at in crowd.sent if at < OPENED + 20.0]

    assert probes == pytest.approx([105.0, 115.5])  # 5 s, then 10 s after the failure; then 20 s
    assert len(crowd.served) == CALLERS - len(probes)


def test_a_wait_that_would_be_longer_than_is_allowed_is_not_begun() -> None:
    assert isinstance(play(flow(opened(wait=4.9)), [], now=OPENED).error, failwell.CircuitOpenError)
    assert play(flow(opened(wait=5.0)), [answer(200)], now=OPENED).sleeps == [5.0]


def test_all_waits_of_a_call_count() -> None:
    one = opened(wait=7.0)
    first, second = flow(one), flow(one)
    next(first)
    next(second)
    assert isinstance(first.send(Reply(105.0)), Send)  # the probe
    assert second.send(Reply(105.0)).seconds == 1.0
    assert second.send(Reply(106.0)).seconds == 1.0
    with pytest.raises(failwell.CircuitOpenError):
        second.send(Reply(107.0))


def test_nobody_waits_past_a_deadline() -> None:
    played = play(flow(opened(wait=60.0), deadline=5.0), [], now=OPENED)

    assert isinstance(played.error, failwell.CircuitOpenError)
    assert played.sleeps == []


def test_a_machine_that_sleeps_too_long_sends_nothing_after_the_deadline() -> None:
    running = flow(opened(wait=60.0), deadline=5.5)
    next(running)

    with pytest.raises(failwell.DeadlineExceededError):
        running.send(Reply(106.0))


def test_a_call_that_opens_the_circuit_waits_for_it_too() -> None:
    one = Breaker(BreakerPolicy(min_attempts=1, open_for=OPEN_FOR, wait=10.0)).circuit("host")
    played = play(flow(one, max_attempts=3), [answer(503), answer(200)], now=OPENED)

    assert played.response is not None
    assert played.sleeps == [0.5, 4.5]


def test_one_that_opened_it_raises_its_own_error_when_it_may_wait_no_longer() -> None:
    one = Breaker(BreakerPolicy(min_attempts=1, open_for=OPEN_FOR, wait=1.0)).circuit("host")
    error = play(flow(one, max_attempts=3), [answer(503)], now=OPENED).error

    assert isinstance(error, failwell.UnavailableError)
    assert error.failure.stopped == "circuit_open"


@pytest.mark.parametrize("wait", [-1, nan])
def test_a_wait_that_is_none_is_refused(wait: float) -> None:
    with pytest.raises(UsageError, match="wait is"):
        BreakerPolicy(wait=wait)
