"""A circuit and a crowd: what the wire has to show, what the model measures, and which lies are found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

import failwell.drill
from failwell import errors
from failwell.call.breaker import BreakerPolicy
from failwell.call.retry import DocumentedWaits, RetryPolicy
from failwell.contract import STANDARD, Contract, Rule
from failwell.drill import faults
from failwell.drill.faults import always, once
from failwell.drill.journal import Journal, WireRequest
from failwell.drill.overload import Bound, CallerWitness, Came, Model, Phase, Play
from failwell.drill.plan import READ, Expect, Scenario
from failwell.drill.plans.overload import NESTED_WORLD
from failwell.drill.scenarios import catalogue
from failwell.drill.selftest.crowded import Crowded
from failwell.drill.selftest.toy import Toy
from failwell.drill.subject import Settings
from failwell.drill.verdict import Verdict, judge
from failwell.drill.verdict_overload import bounds, shown
from failwell.drill.virtual import Own, measure, played
from failwell.drill.witness import MAIN, ClientWitness, Evidence, LedgerWitness
from failwell.storm import World

OURS = Own(STANDARD, RetryPolicy(), (500.0, 14.0, 5.0), BreakerPolicy(), 60.0)

# --- the wire -----------------------------------------------------------------------------------


def test_an_outage_opens_the_circuit_after_as_many_failures_as_are_documented() -> None:
    result = failwell.drill.run([Crowded()], only=["S48"])

    assert [(r.name, r.findings, r.notes) for r in result.rows if r.verdict is not Verdict.PASS] == []
    assert {(r.scenario.id, r.mode) for r in result.rows} == {
        (name, mode) for name in ("S48-503", "S48-refused") for mode in ("sync", "async")
    }
    assert result.rows[0].measured == {
        "before: failed": 9, "before: requests": 9, "the last: failed": 1, "the last: requests": 1,
        "main: refused": 20, "main: requests": 0,
    }  # fmt: skip
    assert "main: refused: 20" in result.rows[0].facts
    assert result.rows[0].raised == "CircuitOpenError"


def test_who_has_no_circuit_and_no_policies_of_failwell_is_not_asked_for_them() -> None:
    assert {s.id for s in catalogue(Toy())} & {s.id for s in catalogue(Crowded())} == {
        s.id for s in catalogue(Toy())
    }
    assert not any(s.phases or s.model for s in catalogue(Toy()))


SLOW = once(faults.drip(0.5, 2))


def a_request(number: int, arrived: float, finished: float, operation: str = MAIN) -> WireRequest:
    return WireRequest(number, operation, 1, False, arrived, "GET", "/", finished=finished)


def came(how: Came, ended: float = 5.0, **facts: object) -> CallerWitness:
    if how is Came.REFUSED:
        facts = {"error": "CircuitOpenError", "retry_after": 2.0, "claim": "not_sent", **facts}
    return CallerWitness(how, ended, **facts)  # type: ignore[arg-type]


def found(
    *phases: Phase, seen: dict[str, list[CallerWitness]], requests: list[WireRequest], woken: float = 5.0
) -> list[str]:
    """The findings about callers who say so, and a wire that saw this."""
    fired = [(p.name, 1, f.name) for p in phases for f in p.schedule.all]
    wire = Journal(requests=requests, fired=fired)
    client = ClientWitness(ended=9.0, phases=seen, woken={MAIN: woken})
    scenario = Scenario("S49-x", "Somebody lies", READ, SLOW, Expect(), phases=phases)
    scenario = replace(scenario, schedule=faults.Schedule())
    row = judge(Crowded(), scenario, "sync", Evidence(client, wire, LedgerWitness()))
    return [str(f) for f in row.findings]


PROBED = Phase(MAIN, 3, SLOW, at_once=True, answered=1, refused=1, probes=True, served_within=3.0)


def test_a_probe_alone_is_what_is_wanted() -> None:
    seen = {MAIN: [came(Came.ANSWERED), came(Came.REFUSED), came(Came.ANSWERED)]}

    assert found(PROBED, seen=seen, requests=[a_request(1, 1.0, 2.1), a_request(2, 2.0, 5.0)]) == []


@pytest.mark.parametrize(
    ("second", "woken", "code"),
    [
        (a_request(2, 1.99, 2.2), 5.0, "FD-circuit: main: 1 more requests came"),
        (a_request(2, 2.5, 5.2), 5.2, "FD-time: main: the last looks again 3.10 s"),
        (None, 5.0, "FD-requests: main: the service saw 1 requests, 2 callers sent one"),
    ],
)
def test_more_than_one_probe_and_late_callers_are_found(
    second: WireRequest | None, woken: float, code: str
) -> None:
    requests = [a_request(1, 1.0, 2.1), *filter(None, [second])]
    seen = {MAIN: [came(Came.ANSWERED), came(Came.REFUSED), came(Came.ANSWERED)]}

    told = found(PROBED, seen=seen, requests=requests, woken=woken)
    assert [text.startswith(code) for text in told] == [True]


@pytest.mark.parametrize(
    ("caller", "code"),
    [
        (came(Came.REFUSED, error="ServerError"), "FD-class: main: an open circuit raised ServerError"),
        (came(Came.REFUSED, claim="unknown"), "FD-claim: main"),
        (came(Came.REFUSED, retry_after=None), "FD-fact: main"),
        (came(Came.BROKEN, error="KeyError: 1"), "FD-outcome: main: a call ended with KeyError: 1"),
    ],
)
def test_what_an_open_circuit_says_is_looked_at(caller: CallerWitness, code: str) -> None:
    phase = Phase(MAIN, 1, refused=int(caller.came is Came.REFUSED), tries=0)

    assert [t.startswith(code) for t in found(phase, seen={MAIN: [caller]}, requests=[])] == [True]


def test_a_pause_that_is_no_longer_after_a_probe_that_failed_is_found() -> None:
    probe = Phase("probe", 1, always(faults.answer(503)), failed=1)
    again = Phase(MAIN, 1, refused=1, tries=0, longer_than=3.0)
    requests = [a_request(1, 4.0, 4.1, "probe")]

    def told(retry_after: float) -> list[str]:
        refused = came(Came.REFUSED, 5.0, retry_after=retry_after)
        return found(probe, again, seen={"probe": [came(Came.FAILED)], MAIN: [refused]}, requests=requests)

    assert told(2.0) == []
    assert [t.partition(":")[0] for t in told(1.9)] == ["FD-circuit"]


def test_an_outage_that_did_not_take_place_proves_nothing() -> None:
    phase = Phase(MAIN, 1, always(faults.answer(503)), failed=1)
    scenario = Scenario("S48-x", "Nothing fails", READ, faults.Schedule(), Expect(), phases=(phase,))
    client = ClientWitness(ended=9.0, phases={MAIN: [came(Came.ANSWERED)]})
    evidence = Evidence(client, Journal(requests=[a_request(1, 1.0, 2.0)]), LedgerWitness())

    assert judge(Crowded(), scenario, "sync", evidence).verdict is Verdict.NOT_EXERCISED


# --- the model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[Crowded, str]]:
    subject = Crowded()
    with subject.running() as url:
        yield subject, url


def test_the_numbers_in_the_model_are_those_of_the_client(service: tuple[Crowded, str]) -> None:
    subject, url = service
    client = subject.client("sync", url, Settings(own=True))
    own = Own.of(client)
    client.close()

    assert own == Own(subject.contract, RetryPolicy(), (500.0, 14.0, 5.0), BreakerPolicy(), 60.0)


@pytest.mark.parametrize("name", ["S47-host", "S47-scoped", "S51-multiplied", "S51-recovery", "S52", "S53"])
def test_failwell_s_own_numbers_keep_the_bounds(service: tuple[Crowded, str], name: str) -> None:
    subject, url = service
    scenario = next(s for s in catalogue(subject) if s.id == name)
    assert scenario.model is not None
    row = played(subject, scenario, scenario.model, url, seed=7)

    assert (row.verdict, [str(f) for f in row.findings]) == (Verdict.PASS, [])
    assert (row.mode, row.measured) == ("virtual", played(subject, scenario, scenario.model, url, 7).measured)


OUTAGE = World(load=0.9, capacity=60.0, clients=5, trigger="refuse", begins=2.0, outage=40.0, after=5.0)


@pytest.mark.parametrize(("cost", "least", "most"), [(14.0, 1.0, 1.1), (0.0, 2.9, 3.0)])
def test_retries_without_a_budget_multiply_an_outage(cost: float, least: float, most: float) -> None:
    own = replace(OURS, budget=(500.0, cost, 5.0), circuit=None)
    facts = measure(own, Model(Play.STORM, (), (("outage", OUTAGE),)), 3)

    assert least <= facts["outage: requests for each call"] <= most
    assert (facts["outage: in its last 10 s"] == 1.0) is (cost > 0)


def test_layers_that_do_not_hear_each_other_multiply() -> None:
    deaf = Contract("deaf", rules=[Rule(errors.ServerError, status=range(500, 600), retry=True)])
    own = replace(OURS, contract=deaf, circuit=None)
    facts = measure(own, Model(Play.NESTED, (), (("layers", NESTED_WORLD),)), 3)

    assert facts["most requests for one call"] == 3
    assert facts["most requests for one call, were the hint not there"] > 2 * 3


def test_waits_that_are_all_the_same_bring_everybody_back_at_once() -> None:
    model = Model(Play.RESET, (), clients=200)
    together = measure(replace(OURS, retry=DocumentedWaits()), model, 3)

    assert (together["first after"], together["last after"]) == (1.0, 1.0)
    assert together["most in a tenth of a second"] == 200
    assert measure(OURS, model, 3)["most for the mean"] < 3.5


def test_bounds_name_what_is_out_of_them() -> None:
    facts = {"a": 2.0, "b": 1.0, "never": float("inf")}

    assert list(bounds((Bound("a", most=2.0), Bound("b", least=1.0, than="a")), facts)) == []
    assert [text for _, text in bounds((Bound("never", than="a"), Bound("b", least=1.5)), facts)] == [
        "never is never, at most 2, which is a",
        "b is 1, at least 1.5",
    ]
    assert shown(1.23456) == "1.235"


def test_what_a_document_promises_goes_before_a_bound(service: tuple[Crowded, str]) -> None:
    class Promising(Crowded):
        instead = {"S53": "The document names the waits."}  # noqa: RUF012  # read, never changed

    scenario = next(s for s in catalogue(Promising()) if s.id == "S53")
    assert scenario.model is not None
    row = played(Promising("waits as long as everybody"), scenario, scenario.model, service[1], seed=0)

    assert (row.verdict, row.findings) == (Verdict.SKIPPED, [])
    assert row.notes[0] == "The document names the waits."
    assert row.notes[1].startswith("FD-bound: most for the mean is 10")
