"""Attempts with what all three witnesses say about them, joined by order."""

from __future__ import annotations

import pytest

import failwell.drill
from failwell.drill import Row, Verdict
from failwell.drill.faults import Schedule
from failwell.drill.reports.timeline import length, tries
from failwell.drill.scenarios import Expect, Scenario
from failwell.drill.selftest.naive import Naive
from failwell.drill.selftest.toy import Toy
from failwell.drill.subject import Kind


def row_of(subject: Toy, scenario: str) -> Row:
    return failwell.drill.run([subject], only=[scenario], modes=("sync",)).rows[0]


def test_a_lost_answer_shows_its_effect_with_the_first_try_and_none_with_the_replay() -> None:
    first, second = tries(row_of(Toy(), "S54-fin"))

    assert (first.number, first.outcome, first.fault) == (1, "closed", "answer lost after commit, FIN")
    assert (first.effect, second.effect) == (True, False)
    assert first.service.startswith("answered 201 at ")
    assert first.service.endswith("one more effect")
    assert first.passed_on == "no status, 0 B, FIN"
    assert second.outcome == "ok"
    assert second.start >= first.start + first.duration + first.wait


def test_a_refused_try_has_a_fault_and_no_request() -> None:
    first, second, third = tries(row_of(Toy(), "S02-keyed"))

    assert first.fault == second.fault == "refused"
    assert (first.request, first.service, first.passed_on) == (None, "saw nothing", "nothing")
    assert third.fault == ""
    assert third.request is not None


def test_an_answer_of_a_gateway_never_reached_the_service() -> None:
    first, *_ = tries(row_of(Toy(), "S41-503-always"))

    assert first.service == "was not asked"
    assert first.outcome == "status 503"
    assert first.passed_on.startswith("503, ")


def test_what_the_client_hides_is_taken_from_the_wire() -> None:
    joined = tries(row_of(Naive("hides attempts"), "S10-always"))

    assert [t.outcome for t in joined] == ["reset", "not reported", "not reported"]


def test_the_drawing_is_as_long_as_the_longest_witness() -> None:
    row = row_of(Toy(), "S57")
    joined = tries(row)
    assert row.evidence is not None
    assert row.evidence.client.elapsed is not None

    assert length(row, joined) >= row.evidence.client.elapsed


@pytest.mark.parametrize("subject", ["toy"])
def test_what_was_not_run_has_no_tries(subject: str) -> None:
    scenario = Scenario("S00", "nothing", Kind.READ, Schedule(), Expect())
    row = Row(subject, "sync", scenario, Verdict.SKIPPED)

    assert tries(row) == []
    assert length(row, []) > 0
