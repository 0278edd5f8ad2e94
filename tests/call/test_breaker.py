"""The circuit breaker: its diagram of states, its window, its one probe."""

from __future__ import annotations

import threading
from math import nan
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from failwell import Breaker, BreakerPolicy, UsageError
from failwell.call.breaker import PROBE, SLOTS, Circuit


def circuit(**policy: Any) -> Circuit:
    return Circuit(BreakerPolicy(**policy))


def opened(**policy: Any) -> Circuit:
    one = circuit(**{"min_attempts": 1, **policy})
    one.record(100.0, failed=True)
    assert one.state == "open"
    return one


def test_it_opens_at_the_ratio_and_not_before_enough_was_seen() -> None:
    one = circuit(min_attempts=4, failure_ratio=0.5)
    states = []
    for failed in (True, True, False, False, True):
        one.record(1.0, failed=failed)
        states.append(one.state)

    assert states == ["closed", "closed", "closed", "closed", "open"]


def test_at_exactly_the_ratio_it_opens() -> None:
    one = circuit(min_attempts=4, failure_ratio=0.5)
    for failed in (False, False, True, True):
        one.record(1.0, failed=failed)

    assert one.state == "open"


def test_a_success_never_opens_it() -> None:
    one = circuit(min_attempts=2, failure_ratio=0.5)
    one.record(1.0, failed=True)
    one.record(1.0, failed=False)

    assert one.state == "closed"


def test_open_it_refuses_and_says_for_how_long() -> None:
    one = opened(open_for=5.0)

    assert (one.admit(100.0), one.admit(103.0)) == (5.0, 2.0)
    assert (one.is_shut(104.9), one.is_shut(105.0), circuit().is_shut(0.0)) == (True, False, False)


def test_when_time_is_up_one_probe_is_let_through() -> None:
    one = opened(open_for=5.0)

    assert one.admit(105.0) == PROBE
    assert one.state == "probing"
    assert one.admit(105.0) == 1.0


def test_who_waits_for_the_probe_is_not_told_more_than_the_pause() -> None:
    one = opened(open_for=0.2)
    one.admit(101.0)

    assert one.admit(101.0) == 0.2


def test_a_probe_that_succeeds_closes_it_and_forgets() -> None:
    one = opened()
    one.admit(105.0)
    one.record(105.0, failed=False, probe=True)

    assert one.state == "closed"
    assert one.admit(105.0) == 0.0


def test_what_failed_before_does_not_count_after_it_closed() -> None:
    one = circuit(min_attempts=2, failure_ratio=0.5)
    for _ in range(2):
        one.record(100.0, failed=True)
    one.admit(105.0)
    one.record(105.0, failed=False, probe=True)
    one.record(105.0, failed=True)

    assert one.state == "closed"


def test_probes_that_fail_make_the_pause_longer_up_to_its_limit() -> None:
    one = opened(open_for=5.0, growth=2.0, max_open_for=15.0)
    now, pauses = 100.0, []
    for _ in range(4):
        now += one.admit(now)
        assert one.admit(now) == PROBE
        one.record(now, failed=True, probe=True)
        pauses.append(one.admit(now))

    assert pauses == [10.0, 15.0, 15.0, 15.0]


def test_after_it_closed_the_pause_is_short_again() -> None:
    one = opened(open_for=5.0)
    one.admit(105.0)
    one.record(105.0, failed=True, probe=True)
    one.admit(115.0)
    one.record(115.0, failed=False, probe=True)
    one.record(115.0, failed=True)

    assert one.admit(115.0) == 5.0


def test_a_probe_that_was_given_up_leaves_its_place() -> None:
    one = opened(open_for=5.0)
    one.admit(105.0)
    one.release()

    assert one.admit(105.0) == PROBE


@pytest.mark.parametrize("failed", [True, False])
def test_an_attempt_from_before_decides_nothing_while_open_or_probing(failed: bool) -> None:
    one = opened(open_for=5.0)
    one.record(101.0, failed=failed)

    assert one.admit(101.0) == 4.0

    one.admit(105.0)
    one.record(105.0, failed=failed)

    assert one.state == "probing"


def test_the_window_forgets_slot_by_slot() -> None:
    one = circuit(min_attempts=3, window=10.0, failure_ratio=0.5)
    one.record(100.0, failed=True)
    one.record(105.0, failed=True)
    one.record(110.5, failed=True)  # the one at 100.0 is out of the window

    assert one.state == "closed"

    one.record(111.0, failed=True)

    assert one.state == "open"


def test_a_long_silence_forgets_everything() -> None:
    one = circuit(min_attempts=SLOTS + 1, window=10.0)
    for slot in range(SLOTS):
        one.record(100.0 + slot, failed=True)
    one.record(1e6, failed=True)

    assert one.state == "closed"


def test_a_thread_that_comes_late_loses_nothing_of_what_others_counted() -> None:
    one = circuit(min_attempts=4, window=10.0)
    one.record(101.5, failed=True)
    one.record(101.5, failed=True)
    one.record(100.5, failed=True)  # looked at the clock earlier
    one.record(101.5, failed=True)

    assert one.state == "open"


def test_s49_of_50_threads_exactly_one_probes() -> None:
    one = opened(open_for=5.0)
    ready = threading.Barrier(50)
    answers: list[float] = []

    def ask() -> None:
        ready.wait()
        answers.append(one.admit(105.0))

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [PROBE] + [1.0] * 49


def test_s47_each_scope_has_its_own_circuit() -> None:
    breaker = Breaker(BreakerPolicy(min_attempts=1))
    breaker.circuit("a").record(0.0, failed=True)

    assert repr(breaker) == "<Breaker a: open>"
    assert breaker.circuit("a") is breaker.circuit("a")
    assert breaker.circuit("b").state == "closed"
    assert repr(Breaker()) == "<Breaker unused>"


def test_endless_scopes_do_not_grow_it() -> None:
    breaker = Breaker()
    for number in range(Breaker.MAX_SCOPES + 10):
        breaker.circuit(f"host-{number}")

    assert len(breaker._circuits) == Breaker.MAX_SCOPES
    assert "host-9" not in breaker._circuits
    assert "host-10" in breaker._circuits


def test_a_circuit_closed_while_somebody_asked_admits() -> None:
    """
    `admit` looks without the lock first; under the lock the circuit may be closed again.
    """
    assert circuit()._ask_locked(0.0) == 0.0


@pytest.mark.parametrize(
    "numbers",
    [
        {"failure_ratio": 0},
        {"failure_ratio": 1.1},
        {"failure_ratio": nan},
        {"min_attempts": 0},
        {"window": 0},
        {"open_for": 0},
        {"growth": 0.9},
        {"growth": nan},
        {"max_open_for": 1},
        {"max_open_for": nan},
    ],
    ids=str,
)
def test_a_number_out_of_range_is_refused_by_name(numbers: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(numbers))):
        BreakerPolicy(**numbers)


class Diagram(RuleBasedStateMachine):
    """Whatever happens in whatever order, the circuit keeps to its diagram."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.one = circuit(min_attempts=2, open_for=1.0, max_open_for=4.0)
        self.probing = False
        self.admitted = 0

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        before = self.one.state
        said = self.one.admit(self.now)
        if said == PROBE:
            assert before == "open"
            assert not self.probing
            self.probing = True
        elif said == 0.0:
            assert before == "closed"
            self.admitted += 1
        else:
            assert before != "closed"
            assert 0 < said <= 4.0

    @rule(failed=st.booleans())
    def an_attempt_ends(self, failed: bool) -> None:
        if self.admitted:
            self.admitted -= 1
            self.one.record(self.now, failed=failed)

    @rule(failed=st.booleans())
    def the_probe_ends(self, failed: bool) -> None:
        if self.probing:
            self.probing = False
            self.one.record(self.now, failed=failed, probe=True)
            assert self.one.state == ("open" if failed else "closed")

    @rule()
    def the_probe_is_given_up(self) -> None:
        if self.probing:
            self.probing = False
            self.one.release()
            assert self.one.state == "open"

    @invariant()
    def it_is_probing_as_long_as_somebody_probes(self) -> None:
        assert (self.one.state == "probing") == self.probing


TestDiagram = Diagram.TestCase
TestDiagram.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
