"""One rehearsal: the calls before it, the log, what a subject need not say."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from drill_tiny import TinyService

import failwell.drill
from failwell.client import Client
from failwell.drill import faults, rehearsal
from failwell.drill.faults import Schedule, once
from failwell.drill.rehearsal import listening, rehearse
from failwell.drill.scenarios import Expect, Scenario, Step, catalogue
from failwell.drill.selftest.toy import TOY, Toy
from failwell.drill.subject import Call, Kind, Mode, Settings, Subject, hasten
from failwell.drill.verdict import Verdict, judge
from failwell.drill.witness import MAIN
from failwell.engines.base import Connections


class Bare(Subject):
    """Says only what every subject has to."""

    name = "bare"
    title = "Bare"
    contract = TOY
    exceptions = Toy.exceptions
    modes = ("sync",)
    kinds = frozenset({Kind.READ})

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        with TinyService() as service:
            yield service.url

    def client(self, mode: Mode, base_url: str, settings: Settings, key: str = "good") -> Any:
        client = Client(base_url, contract=TOY, connections=Connections(trust_env=False))
        hasten(client, settings)
        return client

    def call(self, client: Any, call: Call) -> Any:
        return client.request("GET", "/things")


def test_a_subject_need_not_know_a_ledger_a_log_or_keys() -> None:
    result = failwell.drill.run([Bare()], only=["S08", "S18", "S41-503-read"])

    assert [r.findings for r in result.rows if r.verdict is not Verdict.PASS] == []
    assert result.rows[0].evidence is not None
    assert result.rows[0].evidence.ledger.ids is None


def test_each_call_before_has_its_own_count_and_its_own_faults() -> None:
    subject = Toy()
    scenario = Scenario(
        "S12",
        "two calls before, each with its own faults",
        Kind.KEYED_WRITE,
        once(faults.rst_before_answer()),
        Expect(requests=2, effects=frozenset({1})),
        before=(Step(Kind.READ, once(faults.idle_close())), Step(Kind.KEYED_WRITE), Step(Kind.READ)),
    )
    with subject.running() as service:
        evidence = rehearse(subject, scenario, "sync", service)
    row = judge(subject, scenario, "sync", evidence)

    assert (row.verdict, row.findings) == (Verdict.PASS, [])
    assert [len(evidence.wire.requests_of(f"before-{i}")) for i in (1, 2, 3)] == [1, 1, 1]
    assert [len(ids or ()) for ids in evidence.ledger.before] == [0, 1, 0]
    assert len(evidence.wire.requests_of(MAIN)) == 2


def test_the_log_of_a_rehearsal_is_that_of_its_own_call() -> None:
    subject = Toy()
    scenario = Scenario(
        "S08",
        "once",
        Kind.READ,
        once(faults.fin_before_answer()),
        Expect(requests=2),
        before=(Step(Kind.READ),),
    )
    with subject.running() as service, listening(subject.logger):
        evidence = rehearse(subject, scenario, "sync", service)

    assert len(evidence.client.logs) == 1
    assert evidence.client.logs[0].startswith("INFO toy.transport: transport error on attempt 1; sleeping ")


def test_a_logger_is_left_as_it_was() -> None:
    logger = logging.getLogger("toy.transport")
    before = (logger.level, logger.propagate, list(logger.handlers))
    with listening("toy.transport"):
        assert logger.level == logging.DEBUG
        assert not logger.propagate

    assert (logger.level, logger.propagate, list(logger.handlers)) == before


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_same_seed_waits_the_same(mode: Mode) -> None:
    subject = Toy()
    scenario = Scenario("S08", "once", Kind.READ, once(faults.fin_before_answer()), Expect(requests=2))
    waits = []
    with subject.running() as service:
        for seed in (1, 1, 2):
            attempts = rehearse(subject, scenario, mode, service, seed=seed).client.attempts
            assert attempts is not None
            waits.append(attempts[0].wait)

    assert waits[0] == waits[1] != waits[2]


def test_a_plain_write_carries_no_key_and_a_keyed_one_does() -> None:
    subject = Toy()
    keys = []
    with subject.running() as service:
        for kind in (Kind.PLAIN_WRITE, Kind.KEYED_WRITE):
            scenario = Scenario("S00", "a write", kind, Schedule(), Expect(effects=frozenset({1})))
            evidence = rehearse(subject, scenario, "sync", service)
            keys.append(evidence.wire.requests_of(MAIN)[0].idempotency_key)

    assert keys[0] is None
    assert keys[1]


class Unhinged(Toy):
    """Its client is good for one call."""

    def client(self, mode: Mode, base_url: str, settings: Settings, key: str = "good") -> Any:
        client = super().client(mode, base_url, settings, key)
        self.calls = 0
        return client

    def call(self, client: Any, call: Call) -> Any:
        self.calls += 1
        if self.calls > 1:
            raise RuntimeError("no more")
        return super().call(client, call)


def test_a_client_that_is_not_well_afterwards_is_found() -> None:
    subject = Unhinged()
    scenario = Scenario("S00", "a read", Kind.READ, Schedule(), Expect(), after=(Step(Kind.READ),))
    with subject.running() as service:
        row = judge(subject, scenario, "sync", rehearse(subject, scenario, "sync", service))

    assert [str(f) for f in row.findings] == ["FD-promise: the call after it failed: RuntimeError: no more"]
    assert subject.calls == 1 + rehearsal.AFTERWARDS


def test_a_client_that_is_well_later_was_only_slow() -> None:
    class Slow(Unhinged):
        def call(self, client: Any, call: Call) -> Any:
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("not yet")
            return Toy.call(self, client, call)

    subject = Slow()
    scenario = Scenario("S00", "a read", Kind.READ, Schedule(), Expect(), after=(Step(Kind.READ),) * 2)
    with subject.running() as service:
        row = judge(subject, scenario, "sync", rehearse(subject, scenario, "sync", service))

    assert (row.verdict, row.findings) == (Verdict.PASS, [])


def test_a_result_that_cannot_be_read_is_found() -> None:
    class Riddle(Toy):
        def id_of(self, value: Any) -> str | None:
            raise KeyError("id")

    subject = Riddle()
    scenario = Scenario("S00", "a read", Kind.READ, Schedule(), Expect())
    with subject.running() as service:
        row = judge(subject, scenario, "sync", rehearse(subject, scenario, "sync", service))

    assert [str(f) for f in row.findings] == ["FD-promise: what it returned cannot be read: KeyError: 'id'"]


def test_a_caller_that_was_to_see_no_answer_and_saw_one_proves_nothing() -> None:
    subject = Toy()
    scenario = Scenario(
        "S60",
        "gone before the answer",
        Kind.KEYED_WRITE,
        Schedule(),
        Expect(effects=frozenset({1})),
        before=(Step(Kind.KEYED_WRITE, same_call=True),),
    )
    with subject.running() as service:
        row = judge(subject, scenario, "sync", rehearse(subject, scenario, "sync", service))

    assert [f.code for f in row.findings] == ["FD-trouble"]
    assert "has got one" in row.findings[0].text


def test_a_subject_need_not_know_how_to_kill_its_service() -> None:
    subject = Toy()

    assert subject.mortal() is None
    assert subject.apart() is None
    assert not any(s.crashes for s in catalogue(subject))
    with pytest.raises(NotImplementedError):
        subject.crash(at_work=False)
