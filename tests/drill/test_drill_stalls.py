"""What a busy machine is allowed for."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from test_drill_verdict import LIMITED, REPEATED, limited, repeated, verdict

from failwell.drill import stalls
from failwell.drill.verdict import Verdict


def test_the_thread_that_watches_is_shared_and_ends_with_the_last_who_needs_it() -> None:
    with stalls.watched():
        first = [t for t in threading.enumerate() if t.name == "drill-stalls"]
        with stalls.watched():
            assert [t for t in threading.enumerate() if t.name == "drill-stalls"] == first
        assert first[0].is_alive()

    assert not first[0].is_alive()


def test_what_is_noted_is_what_was_late_in_the_time_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stalls, "_late", [(1.0, 0.1), (2.0, 0.2), (3.0, 0.4)])

    assert stalls.stalled(1.5, 2.5) == pytest.approx(0.2)
    assert stalls.stalled(0.0, 4.0) == pytest.approx(0.7)
    assert stalls.stalled(4.0, 5.0) == 0.0


def test_a_machine_that_stands_still_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    over = threading.Event()
    monkeypatch.setattr(stalls, "MOMENT", 0.0)
    monkeypatch.setattr(stalls, "ORDINARY", -1.0)  # then every look is late
    watching = threading.Thread(target=stalls._watch, args=(over,))
    watching.start()
    while not stalls.stalled(began, time.monotonic()):
        pass
    over.set()
    watching.join()


def test_a_call_may_end_later_by_what_the_machine_kept_it_waiting() -> None:
    late = limited()
    assert late.client.ended is not None
    late.client.ended += 3.5
    assert verdict(LIMITED, late).verdict is Verdict.FAIL

    late.stalled = 1.0
    assert verdict(LIMITED, late).verdict is Verdict.PASS


def test_a_try_may_come_later_by_the_same_but_never_earlier() -> None:
    prompt = replace(REPEATED, expect=replace(REPEATED.expect, wait_at_most=0.1))
    patient = replace(REPEATED, expect=replace(REPEATED.expect, wait_at_least=0.3))
    evidence = repeated()
    assert verdict(prompt, evidence).verdict is Verdict.FAIL
    evidence.stalled = 1.0

    assert verdict(prompt, evidence).verdict is Verdict.PASS
    assert verdict(patient, evidence).verdict is Verdict.FAIL
