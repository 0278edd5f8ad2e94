"""The rules about streams, uploads in parts and effects: each lie is found by the one for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from failwell import errors
from failwell.drill import faults
from failwell.drill.faults import Schedule, once
from failwell.drill.journal import Journal, WireRequest
from failwell.drill.plan import Expect, Scenario
from failwell.drill.selftest import Naive
from failwell.drill.subject import Kind
from failwell.drill.verdict import Row, Verdict, judge
from failwell.drill.witness import MAIN, ClientWitness, Evidence, LedgerWitness

TOLD = (("t:0", "one "), ("t:1", "two "), ("t:2", "three"), ("t:3", ""))
ONCE = frozenset({1})
CUT = Scenario(
    "S66", "cut", Kind.STREAM, once(faults.cut_stream(2)), Expect(requests=2, effects=ONCE, heard=2)
)
SENT = Scenario(
    "S75",
    "a part fails",
    Kind.PART_UPLOAD,
    Schedule(steps={("part 2", 1): faults.answer(503)}),
    Expect(at_least=True, at_most=9, effects=ONCE, parts=(1, 2, 2)),
)


def asked(
    number: int, after: str | None = None, ids: Sequence[str] = (), *, sure: bool = True
) -> WireRequest:
    request = WireRequest(number, MAIN, number, False, 10.0, "GET", "/events")
    return replace(request, last_event_id=after, event_ids=tuple(ids), ids_are_sure=sure)


def streamed(heard: Sequence[tuple[str, str]] = TOLD, *requests: WireRequest) -> Evidence:
    client = ClientWitness(began=10.0, ended=10.5, succeeded=True, heard=tuple(heard))
    there = requests or (asked(1, None, ("t:0", "t:1")), asked(2, "t:1", ("t:2", "t:3")))
    wire = Journal(requests=list(there), fired=[(MAIN, 1, "stream cut after event 2, FIN")])
    return Evidence(client, wire, LedgerWitness(ids=("t",), stream=TOLD))


def uploaded(*steps: str, digest: str = "d1") -> Evidence:
    client = ClientWitness(began=10.0, ended=10.5, succeeded=True, digest="d1")
    wire = Journal(
        requests=[replace(asked(n), step=step) for n, step in enumerate(steps, 1)],
        fired=[(MAIN, 2, "503 from a gateway")],
    )
    return Evidence(client, wire, LedgerWitness(ids=("u",), digest=digest))


def judged(scenario: Scenario, evidence: Evidence) -> Row:
    return judge(Naive(), scenario, "sync", evidence)


def codes(scenario: Scenario, evidence: Evidence) -> set[str]:
    return {finding.code for finding in judged(scenario, evidence).findings}


def test_a_stream_that_came_once_and_whole_is_well() -> None:
    assert judged(CUT, streamed()).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("heard", "what"),
    [
        ((*TOLD[:2], *TOLD[1:]), "event 't:1' was handed over again"),
        ((*TOLD[:1], *TOLD[2:]), "1 events before 't:2' were never handed over"),
        ((TOLD[0], ("t:1", "tw"), *TOLD[2:]), "event 't:1' was handed over as 'tw', it is 'two '"),
        ((*TOLD, ("t:9", "")), "an event with the id 't:9' was handed over; there is none"),
        (TOLD[:1], "1 events were handed over, expected 2"),
    ],
)
def test_what_was_handed_over_is_what_was_told(heard: Sequence[tuple[str, str]], what: str) -> None:
    found = [f for f in judged(CUT, streamed(heard)).findings if f.code == "FD-events"]

    assert what in [f.text for f in found]


def test_a_success_has_the_whole_text() -> None:
    assert codes(CUT, streamed(TOLD[:2])) == {"FD-content"}


def test_an_error_may_have_a_part_of_the_text() -> None:
    evidence = streamed(TOLD[:2])
    evidence.client.succeeded, evidence.client.error = False, "x.ToyStreamError"
    evidence.client.error_names = ("ToyStreamError", "StreamError", "ToyError", "CallError")
    row = judged(replace(CUT, expect=replace(CUT.expect, error=errors.StreamError)), evidence)

    assert (row.verdict, row.findings) == (Verdict.UNPROVABLE, [])  # it says nothing of the effect


@pytest.mark.parametrize(
    ("second", "rule"),
    [
        (asked(2, None), {"FD-resume"}),
        (asked(2, "t:0"), {"FD-resume"}),
        (asked(2, "t:1"), set()),
    ],
)
def test_what_is_asked_for_follows_the_last_event(second: WireRequest, rule: set[str]) -> None:
    assert codes(CUT, streamed(TOLD, asked(1, None, ("t:0", "t:1")), second)) == rule


@pytest.mark.parametrize(
    ("after", "rule"), [(None, set()), ("t:0", set()), ("t:1", set()), ("t:5", {"FD-resume"})]
)
def test_behind_a_reset_a_client_may_have_less(after: str | None, rule: set[str]) -> None:
    first = asked(1, None, ("t:0", "t:1"), sure=False)

    assert codes(CUT, streamed(TOLD, first, asked(2, after))) == rule


def test_without_the_service_s_record_of_a_stream_nothing_is_proved() -> None:
    evidence = streamed()
    evidence.ledger.stream = None

    assert judged(CUT, evidence).verdict is Verdict.UNPROVABLE


def test_an_upload_whose_missing_part_was_sent_is_well() -> None:
    assert judged(SENT, uploaded("", "part 1", "part 2", "part 2", "complete")).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "steps", [("part 1", "part 2"), ("part 1", "part 1", "part 2", "part 2"), ("part 3",)]
)
def test_only_missing_parts_are_sent(steps: Sequence[str]) -> None:
    assert codes(SENT, uploaded(*steps)) == {"FD-parts"}


def test_what_the_service_holds_is_what_was_given() -> None:
    assert codes(SENT, uploaded("part 1", "part 2", "part 2", digest="d2")) == {"FD-content"}


def test_without_the_service_s_record_of_an_upload_nothing_is_proved() -> None:
    evidence = uploaded("part 1", "part 2", "part 2")
    evidence.ledger.digest = None

    assert judged(SENT, evidence).verdict is Verdict.UNPROVABLE


def test_a_fault_of_a_step_that_never_acted_proves_nothing() -> None:
    evidence = uploaded("part 1", "part 2", "part 2")
    evidence.wire.fired.clear()
    row = judged(SENT, evidence)

    assert row.verdict is Verdict.NOT_EXERCISED
    assert row.notes == ["the fault “503 from a gateway” planned for attempt 1 of part 2 never acted"]


def test_more_requests_than_a_bound_are_too_many() -> None:
    assert codes(SENT, uploaded(*[""] * 7, "part 1", "part 2", "part 2")) == {"FD-requests"}


@pytest.mark.parametrize(
    ("due", "held", "rules"),
    [
        ({3}, 3, set()),
        ({3}, 2, {"FD-ledger", "FD-unsound"}),
        ({1}, 3, {"FD-ledger", "FD-unsound"}),
        (set(), 3, {"FD-unsound"}),
    ],
)
def test_a_success_has_as_many_effects_as_it_is_to_have(due: set[int], held: int, rules: set[str]) -> None:
    evidence = uploaded("part 1", "part 2", "part 2")
    evidence.ledger.ids = tuple(f"u{n}" for n in range(held))
    scenario = replace(SENT, expect=replace(SENT.expect, effects=frozenset(due)))

    assert codes(scenario, evidence) == rules
