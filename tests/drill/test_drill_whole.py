"""What all rehearsals prove together: nothing that is documented was left out, no error escaped the rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import failwell.drill
from failwell.drill import DrillResult, _add_whole, attributes, rehearsal, whole
from failwell.drill.journal import Journal
from failwell.drill.scenarios import called, catalogue
from failwell.drill.selftest.crowded import Crowded
from failwell.drill.selftest.toy import TOY, ToyAuthError, ToyError, ToyNetworkError
from failwell.drill.verdict import Coverage, Finding, Row, Verdict, judge
from failwell.drill.witness import MAIN, ClientWitness, Evidence, LedgerWitness
from failwell.failure import Attempt, Failure

SCENARIOS = {s.id: s for s in whole.wholes(Crowded())}


class FilledError(ToyError):
    """
    One of its attributes is always filled.

    ## Was it carried out?
    No.

    ## What to do
    Nothing.
    """

    @property
    def name(self) -> str:
        """What it is called."""
        return "a name"

    @property
    def reasons(self) -> list[str]:
        """Why; nobody knows."""
        return []

    @property
    def left(self) -> int:
        """How many are left: none is a number, too."""
        return 0

    @property
    def inner(self) -> str:  # documented nowhere
        return ""


class Sparse(Crowded):
    """An SDK with one exception of its own."""

    exceptions = (FilledError,)
    unfilled = dict.fromkeys(
        [n for n in attributes.of_classes((FilledError,)) if n.startswith("CallError.")],
        "It is not asked here.",
    )


def a_row(error: Exception | None = None, *findings: Finding, **facts: Any) -> Row:
    """A rehearsal that raised `error`."""
    client = ClientWitness(ended=1.0, **facts)
    if error is not None:
        client.error = f"toy.{type(error).__name__}"
        client.error_names = tuple(c.__name__ for c in type(error).__mro__)
        client.filled = attributes.filled(error)
    verdict = Verdict.FAIL if findings else Verdict.PASS
    evidence = Evidence(client, Journal(), LedgerWitness())
    return Row("crowded", "sync", catalogue(Crowded())[0], verdict, list(findings), evidence=evidence)


def row_of(number: str, *ran: Row, covered: Sequence[Coverage] = (), subject: Crowded | None = None) -> Row:
    (row,) = whole.rows(subject or Sparse(), [SCENARIOS[number]], ran, covered)
    return row


def told(row: Row) -> list[str]:
    return [str(f) for f in row.findings]


def test_an_exception_that_nothing_raised_is_found() -> None:
    never, once = Coverage("crowded", "ToyError", ()), Coverage("crowded", "ToyAuthError", ("a row",))
    row = row_of("S81", covered=[never, once])

    assert (row.verdict, told(row)) == (Verdict.FAIL, ["FD-whole: ToyError was never raised"])
    assert (row.mode, row.measured) == ("whole", {"exported": 2, "raised": 1})
    assert row_of("S81", covered=[once]).verdict is Verdict.PASS


def test_an_attribute_that_nothing_filled_is_found_and_none_is_a_number() -> None:
    row = row_of("S82", a_row(FilledError.from_failure(Failure())))

    assert told(row) == ["FD-whole: FilledError.reasons was never filled"]
    assert row.notes[0] == "CallError.message: It is not asked here."


def test_what_is_raised_and_not_exported_or_not_explained_is_found() -> None:
    class Bare(Sparse):
        exceptions = (ToyAuthError,)
        unfilled = dict.fromkeys(attributes.of_classes((ToyAuthError,)), "It is not asked here.")

    rows = [a_row(ToyAuthError.from_failure(Failure(status=401))), a_row(ToyError.from_failure(Failure()))]

    assert told(row_of("S82", *rows, subject=Bare())) == [
        "FD-whole: ToyError was raised, and is not exported",
        "FD-whole: the documentation of ToyAuthError has no “## Was it carried out?”",
        "FD-whole: the documentation of ToyAuthError has no “## What to do”",
    ]


@pytest.mark.parametrize(
    ("number", "code"), [("S83", "FD-promise"), ("S84", "FD-cause"), ("S85", "FD-count")]
)
def test_what_one_rehearsal_found_is_found_of_all(number: str, code: str) -> None:
    error, counted = ToyNetworkError.from_failure(Failure()), {"told": 1, "attempts": ()}
    good, bad = a_row(error, **counted), a_row(error, Finding(code, "broken"), **counted)

    assert row_of(number, good).verdict is Verdict.PASS
    assert told(row_of(number, good, bad)) == [f"{code}: not so in {bad.name}"]
    assert list(row_of(number, good, bad).measured.values()) == [2]
    assert told(row_of(number, a_row())) == [f"{code}: no rehearsal has anything to show for it"]


def test_only_all_rehearsals_prove_anything_together() -> None:
    subject, result = Crowded(), DrillResult()
    listed = catalogue(subject)
    _add_whole(result, subject, {s.id for s in listed[1:] if not s.whole})
    assert (result.rows, result.coverage) == ([], [])

    _add_whole(result, subject, {s.id for s in listed if not s.whole})
    assert [r.scenario.id for r in result.rows] == ["S81", "S82", "S83", "S84", "S85"]
    assert len(result.coverage) == len(subject.exceptions)


def test_who_asks_for_one_of_them_asks_for_all_others() -> None:
    subject = Crowded()
    ((_, planned),) = failwell.drill.planned([subject], only=["S83"])

    assert [s.id for s in called("S83", catalogue(subject))] == ["S83"]
    assert {s.id for s in planned} == {s.id for s in catalogue(subject)}


def test_events_and_log_lines_that_count_otherwise_than_the_wire_are_found() -> None:
    scenario = next(s for s in catalogue(Crowded()) if s.id == "S08-once")
    tries = (Attempt(1, 0.0, 0.1, "reset", wait=0.1), Attempt(2, 0.2, 0.1, "ok", 200))

    def found(count: int, *logs: str) -> list[str]:
        client = ClientWitness(ended=1.0, succeeded=True, attempts=tries, told=count, logs=list(logs))
        journal = Journal(fired=[(MAIN, 1, scenario.schedule.faults[1].name)])
        row = judge(Crowded(), scenario, "sync", Evidence(client, journal, LedgerWitness()))
        return [
            f.text for f in row.findings if f.code == "FD-count" and ("events" in f.text or "log" in f.text)
        ]

    line = "INFO toy.transport: transport error on attempt {}; sleeping 0.10s: reset"
    assert found(2, line.format(1)) == found(2) == []
    assert found(3) == ["events tell of 3 attempts, there were 2"]
    assert found(2, line.format(2)) == ["the log has a wait after the attempts [2], there was one after [1]"]


def test_an_error_that_copies_do_not_survive_is_found() -> None:
    class OneWayError(Exception):
        def __init__(self, first: str, second: str) -> None:
            super().__init__(first)

    class ForgetfulError(Exception):
        def __copy__(self) -> ForgetfulError:
            return ForgetfulError("what was it?")

        __deepcopy__ = lambda self, memo: ForgetfulError("what was it?")  # noqa: E731  # one line is enough

    lost = rehearsal._not_copied(OneWayError("a", "b"))

    assert [text.partition(":")[0] for text in lost] == [
        "it does not survive copy",
        "it does not survive deepcopy",
    ]
    assert len(rehearsal._not_copied(ForgetfulError("important"))) == 2
    assert rehearsal._not_copied(TOY.base.from_failure(Failure())) == []


def test_every_documented_attribute_is_listed_once_with_its_class() -> None:
    listed = attributes.of_classes((FilledError, ToyAuthError))

    assert "FilledError.name" in listed
    assert "CallError.attempts" in listed
    assert "FilledError.inner" not in listed


def test_the_examples_of_each_document_are_run_by_tests_of_their_own() -> None:
    """S86, of which the drill's page says so."""
    tests = Path(__file__).parents[1] / "sdks"

    for sdk in ("agoralia", "argus", "kneo", "pictograph", "scopix"):
        assert [*(tests / sdk).glob(f"test_{sdk}_doc*.py")]
