"""What would be rehearsed, as a list and on a terminal."""

from __future__ import annotations

import io

import pytest

import failwell.drill
from failwell import errors
from failwell.drill import fault_list, faults
from failwell.drill.faults import Schedule, always, times
from failwell.drill.repeated import repeatedly
from failwell.drill.reports.listing import listed, planned
from failwell.drill.rules import rule
from failwell.drill.scenarios import catalogue
from failwell.drill.selftest.toy import TOY, Toy
from failwell.drill.verdict import Verdict
from failwell.errors import UsageError

rich_console = pytest.importorskip("rich.console", reason="needs the extra `cli`")
terminal = pytest.importorskip("failwell.drill.reports.terminal", reason="needs the extra `cli`")


def printed(show: object, *what: object, width: int = 120) -> str:
    console = rich_console.Console(file=io.StringIO(), width=width)
    show(*what, console)  # type: ignore[operator]
    return str(console.file.getvalue())


def entry(name: str) -> dict[str, object]:
    toy = Toy()
    return next(e for e in listed([(toy, catalogue(toy))]) if e["id"] == name)


def test_a_scenario_is_listed_with_all_that_has_to_come_of_it() -> None:
    assert entry("S02-keyed") == {
        "id": "S02-keyed",
        "title": "Refused twice, then the service is back",
        "proves": [],
        "call": "keyed write",
        "faults": [
            {
                "name": "refused",
                "when": "attempts 1, 2",
                "effect": "nobody listens",
                "moment": "while the connection is made",
                "faithful": "kernel-real",
                "platform": "any",
            }
        ],
        "raises": {"toy": None},
        "claim": [],
        "requests": 1,
        "at_least": False,
        "tries": 3,
        "effects": [1],
        "forms": [],
    }


def test_the_exception_is_the_one_of_the_contract() -> None:
    assert entry("S09")["raises"] == {"toy": "ToyNetworkError"}
    assert entry("E-ToyAuthError-revoked")["raises"] == {"toy": "ToyAuthError"}
    assert entry("S14-cancelled-read")["raises"] == {"toy": "CancelledError"}
    assert TOY.class_for(errors.TransportError).__name__ == "ToyNetworkError"


def test_what_goes_wrong_with_calls_before_is_listed_too() -> None:
    (fault,) = entry("S12-keyed")["faults"]  # type: ignore[misc]

    assert fault["when"] == "call 1 before, attempt 1"  # type: ignore[index]


def test_each_scenario_is_listed_once_whoever_has_it() -> None:
    first, second = Toy(), Toy()
    second.name = "other"
    found = listed([(first, catalogue(first)), (second, catalogue(second))])

    assert len(found) == len({e["id"] for e in found}) == len(catalogue(first))
    assert set(found[0]["raises"]) == {"toy", "other"}


@pytest.mark.parametrize(
    ("schedule", "when"),
    [
        (times(1, faults.silence()), ["attempt 1"]),
        (times(3, faults.silence()), ["attempts 1, 2, 3"]),
        (always(faults.silence()), ["every attempt"]),
        (Schedule({1: faults.garbage()}, rest=faults.silence()), ["attempt 1", "every other attempt"]),
        (Schedule(), []),
    ],
)
def test_when_a_fault_acts_is_said_in_words(schedule: Schedule, when: list[str]) -> None:
    assert [w for _, w in planned(schedule)] == when


def test_what_is_planned_can_be_asked_for_without_running_it() -> None:
    (found,) = failwell.drill.planned([Toy()], only=["S54"])

    assert {s.id.partition("-")[0] for s in found[1]} == {"S54"}
    with pytest.raises(UsageError, match="S999"):
        failwell.drill.planned([Toy()], only=["S999"])


# --- on a terminal -----------------------------------------------------------------------------


def test_the_list_of_scenarios_is_a_table() -> None:
    toy = Toy()
    text = " ".join(printed(terminal.show_scenarios, listed([(toy, catalogue(toy))]), width=240).split())

    assert "S04" in text
    assert "SYN unanswered, every attempt (kernel-real, linux only)" in text
    assert "nothing: it succeeds" in text
    assert "3 connections tried" in text


def test_the_list_of_faults_is_a_table_of_37() -> None:
    text = printed(terminal.show_faults, fault_list.as_dicts(catalogue(Toy())), width=160)

    assert all(f"\n {number:>2} " in text or f"\n{number:>2} " in text for number in range(1, 38))
    assert "kernel-real, linux only" in text
    assert "simulated" in text


def test_a_rule_is_said_with_its_reason_and_what_to_do() -> None:
    text = printed(terminal.show_rule, rule("FD-key"), width=80)

    assert text.startswith("FD-key One write has one idempotency key")
    assert "why" in text
    assert "do " in text


def test_many_scenarios_are_summed_up_by_what_they_are_about() -> None:
    result = failwell.drill.run([Toy()], only=["S57"])
    row = result.rows[0]
    from dataclasses import replace

    result.rows = [replace(row, scenario=replace(row.scenario, id=f"S{n:02d}")) for n in range(1, 47)]
    result.rows[0].verdict = Verdict.FAIL
    text = printed(terminal.show, result)

    assert "6 + 1 FAIL" in text  # S01 to S07
    assert "No connection" in text
    assert "S33" not in text


def test_what_is_wrong_is_counted_where_it_is_much() -> None:
    result = failwell.drill.run([Toy()], only=["S57"])
    result.rows[0].verdict = Verdict.FAIL
    result.rows = result.rows[:1] * 40
    text = printed(terminal.show, result)

    assert text.count("FAIL  toy S57 sync") == 12
    assert "and 28 more, in the reports" in text


def test_several_runs_are_told_one_by_one_and_compared() -> None:
    result = failwell.drill.run([Toy()], only=["S57"], modes=("sync",))
    repeated = repeatedly(3, lambda _: result)

    assert "run 2: 1 PASS" in printed(terminal.show_run, 2, result)
    assert "1 verdicts, the same in each of 3 runs" in printed(terminal.show_repeated, repeated)
    name = next(iter(repeated.verdicts[1]))
    repeated.verdicts[1] = {name: Verdict.NOT_EXERCISED}
    text = printed(terminal.show_repeated, repeated)
    assert "DIFFERS toy S57 sync: PASS in 2 runs, NOT EXERCISED in run 2" in text
    assert "again: failwell drill toy --only S57 --form sync --seed 0 --repeat 3" in text
