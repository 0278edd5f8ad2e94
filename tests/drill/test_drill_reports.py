"""What a drill leaves behind: figures, Markdown on one screen, JUnit XML; and the rules they name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

import failwell.drill
from failwell import errors
from failwell.drill import DrillResult, faults
from failwell.drill.faults import once
from failwell.drill.journal import Journal, WireRequest
from failwell.drill.repeated import Repeated, repeatedly
from failwell.drill.reports.limits import LIMITS
from failwell.drill.reports.totals import totals
from failwell.drill.rules import RULES, rule
from failwell.drill.scenarios import Expect, Scenario
from failwell.drill.selftest.naive import Naive
from failwell.drill.selftest.toy import Toy
from failwell.drill.subject import Kind
from failwell.drill.verdict import Coverage, Finding, Row, Verdict
from failwell.drill.witness import MAIN, ClientWitness, Evidence, LedgerWitness
from failwell.errors import UsageError
from failwell.failure import Effect, Failure

WRITE = Scenario(
    "S54-fin",
    "The answer <is> lost",
    Kind.KEYED_WRITE,
    once(faults.lose_answer()),
    Expect(requests=2, effects=frozenset({1})),
)


def row(
    verdict: Verdict = Verdict.PASS,
    *,
    held: int = 1,
    requests: int = 2,
    claim: Effect | None = None,
    proved: frozenset[Effect] = frozenset(),
    scenario: Scenario = WRITE,
    finding: str = "",
) -> Row:
    """A row as a rehearsal leaves it; with a `claim` the call failed."""
    client = ClientWitness(began=0.0, ended=1.0, succeeded=claim is None)
    if claim is not None:
        client.failure = Failure(effect=claim)
    seen = [WireRequest(n, MAIN, 1, False, 0.1 * n, "POST", "/things") for n in range(1, requests + 1)]
    evidence = Evidence(client, Journal(requests=seen), LedgerWitness(tuple(f"t{n}" for n in range(held))))
    found = [Finding(*finding.split(": ", 1))] if finding else []
    again = f"failwell drill toy --only {scenario.id} --form sync --seed 7"
    return Row("toy", "sync", scenario, verdict, found, [], evidence, proved, repeat=again, seconds=1.0)


def result(*rows: Row) -> DrillResult:
    return DrillResult(rows=list(rows), seed=7, began=1_000_000_000.0, seconds=2.0)


# --- figures -----------------------------------------------------------------------------------


def test_totals_count_what_was_wanted_acknowledged_held_lost_doubled_and_unknown() -> None:
    found = totals(
        [
            row(),
            row(held=0),  # said to be done, and is not there
            row(held=3),  # done three times
            row(held=0, claim=Effect.UNKNOWN),
            row(scenario=replace(WRITE, kind=Kind.READ)),
        ]
    )

    assert (found.attempted, found.acked, found.effects) == (4, 3, 4)
    assert (found.lost, found.duplicated, found.unknown) == (1, 2, 1)


def test_what_need_not_be_there_is_not_lost() -> None:
    """A write that ends well because the service has nothing to do."""
    nothing = replace(WRITE, expect=Expect(effects=frozenset({0})))

    assert totals([row(held=0, scenario=nothing)]).lost == 0


def test_precision_is_counted_over_the_claims_that_can_be_held_against_the_wire() -> None:
    known, vague = frozenset({Effect.APPLIED}), frozenset({Effect.NOT_SENT})
    found = totals(
        [row(claim=Effect.APPLIED, proved=known), row(claim=Effect.UNKNOWN, proved=vague), row(), row()]
    )

    assert (found.precise, found.claims) == (1, 2)


def test_the_worst_amplification_is_of_one_call_and_of_each_caller_of_a_crowd() -> None:
    crowd = replace(WRITE, id="S58", crowd=20)
    found = totals([row(requests=3), row(requests=21, scenario=crowd)])

    assert (found.amplification, found.amplified) == (3.0, "toy S54-fin sync")


def test_a_drill_without_rows_has_figures_too() -> None:
    assert totals([]).amplified == ""


# --- Markdown ----------------------------------------------------------------------------------


def test_markdown_has_score_findings_by_code_totals_and_limits() -> None:
    bad = row(Verdict.FAIL, held=2, finding="FD-ledger: duplicated: the ledger holds 2 effects")
    text = result(row(), bad).to_markdown()

    assert text.startswith("# failwell drill: not everything held\n")
    assert "| PASS | FAIL |" in text
    assert "### FD-ledger: The service holds exactly the effects" in text
    assert "`failwell drill toy --only S54-fin --form sync --seed 7`" in text
    assert "2 writes attempted, 2 acknowledged, 3 effects; **0 lost, 1 duplicated**; 0 said" in text
    assert all(limit in text for limit in LIMITS)


def test_markdown_of_a_good_run_fits_on_one_screen() -> None:
    text = result(*(row() for _ in range(500))).to_markdown()

    assert text.startswith("# failwell drill: everything held\n")
    assert len(text.splitlines()) < 40


def test_markdown_counts_what_is_much_the_same() -> None:
    bad = [row(Verdict.FAIL, finding="FD-key: two keys") for _ in range(30)]
    text = result(*bad).to_markdown()

    assert text.count("two keys") == 5
    assert "- and 25 more" in text


def test_markdown_says_why_something_was_not_rehearsed_and_never_raised() -> None:
    skipped = row(Verdict.SKIPPED)
    skipped.notes = ["SYN unanswered: only on linux"]
    drilled = result(skipped, row())
    drilled.coverage = [Coverage("toy", "ToyAuthError", ())]
    text = drilled.to_markdown()

    assert "## SKIPPED" in text
    assert "only on linux" in text
    assert "0 of 1 raised from a real cause; never raised: toy ToyAuthError" in text


def test_what_a_service_said_is_neither_markdown_nor_html() -> None:
    bad = row(Verdict.FAIL, finding="FD-text: <script>*a*\n| `b` [c](d)")
    text = result(bad).to_markdown()

    assert r"\<script\>\*a\* \| \`b\` \[c\](d)" in text


# --- JUnit -------------------------------------------------------------------------------------

# The schema in which the format of Ant was written down: what an element has, in which order.
ATTRIBUTES = {
    "testsuites": set[str](),
    "testsuite": {
        "name", "package", "id", "timestamp", "hostname", "tests", "failures", "errors", "skipped", "time"
    },
    "properties": set[str](),
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message"},
    "system-out": set[str](),
    "system-err": set[str](),
}  # fmt: skip
CHILDREN = {
    "testsuites": r"(testsuite )*",
    "testsuite": r"properties (testcase )*system-out system-err ",
    "properties": r"(property )*",
    "testcase": r"((skipped|error|failure) )?",
}


def assert_junit(text: str) -> ElementTree.Element:
    """`text` as a tree, if it keeps to the schema."""
    root = ElementTree.fromstring(text.encode())
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.attrib) == ATTRIBUTES[element.tag], element.tag
        children = "".join(f"{child.tag} " for child in element)
        assert re.fullmatch(CHILDREN.get(element.tag, ""), children), element.tag
    for suite in root:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
        cases = suite.findall("testcase")
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[name]) == sum(c.find(tag) is not None for c in cases)
        assert int(suite.attrib["tests"]) == len(cases)
    return root


def test_junit_has_a_case_for_each_rehearsal_and_a_suite_for_each_sdk() -> None:
    other = row()
    other.subject = "other"
    root = assert_junit(result(row(), row(), other).to_junit())

    assert [(s.attrib["name"], s.attrib["tests"]) for s in root] == [("toy", "2"), ("other", "1")]
    assert root[0][1].attrib["name"] == "S54-fin sync: The answer <is> lost"
    assert root[0][1].attrib["classname"] == "drill.toy"


def test_junit_fails_a_case_with_the_finding_and_the_command_that_repeats_it() -> None:
    root = assert_junit(result(row(Verdict.FAIL, finding="FD-key: two keys")).to_junit())
    failure = root.find(".//failure")

    assert failure is not None
    assert failure.attrib == {"type": "FD-key", "message": "FD-key: two keys"}
    assert "again: failwell drill toy --only S54-fin --form sync --seed 7" in (failure.text or "")


@pytest.mark.parametrize(
    ("verdict", "tag"),
    [(Verdict.NOT_EXERCISED, "error"), (Verdict.UNPROVABLE, "skipped"), (Verdict.SKIPPED, "skipped")],
)
def test_junit_has_each_verdict_with_its_reason(verdict: Verdict, tag: str) -> None:
    odd = row(verdict)
    odd.notes = ["this is why"]
    told = assert_junit(result(odd).to_junit()).find(f".//{tag}")

    assert told is not None
    assert "this is why" in told.attrib["message"]


def test_junit_fails_for_an_exception_that_nothing_raised() -> None:
    drilled = result(row())
    drilled.coverage = [Coverage("toy", "ToyAuthError", ())]
    root = assert_junit(drilled.to_junit())

    assert root[0].attrib["failures"] == "1"
    assert "no rehearsal raised it" in root[0][2][0].attrib["message"]


def test_junit_survives_what_xml_cannot_hold() -> None:
    odd = row(Verdict.FAIL, finding="FD-text: \x00\x1b[31m\ud800 & ]]>")
    failure = assert_junit(result(odd).to_junit()).find(".//failure")

    assert failure is not None
    assert failure.attrib["message"] == "FD-text: \ufffd\ufffd[31m\ufffd & ]]>"


# --- every report ------------------------------------------------------------------------------


def test_the_limits_stand_in_every_report() -> None:
    drilled = result(row())
    import html

    for report in (
        drilled.to_markdown(),
        html.unescape(drilled.to_html()),
        html.unescape(drilled.to_junit()),
    ):
        assert all(limit in report for limit in LIMITS)
    assert drilled.to_dict()["limits"] == list(LIMITS)


def test_the_command_that_repeats_a_rehearsal_repeats_the_same_one_form() -> None:
    drilled = failwell.drill.run([Naive("forgets the cause")], only=["S09", "S10"], seed=7)
    failed = next(r for r in drilled.rows if r.scenario.id == "S09")

    assert failed.repeat == "failwell drill naive --only S09 --form sync --seed 7"
    again = failwell.drill.run([Naive("forgets the cause")], only=["S09"], modes=("sync",), seed=7)
    assert [r.name for r in again.rows] == [failed.name]
    assert [str(f) for f in again.rows[0].findings] == [str(f) for f in failed.findings]


# --- rules -------------------------------------------------------------------------------------


def test_every_code_is_explained_and_nothing_else() -> None:
    """In the code of the drill, with whatever lies below it; the list of rules itself does not count."""
    source = Path(failwell.drill.__file__).parent
    used = {
        code
        for file in source.rglob("*.py")
        if file.name != "rules.py"
        for code in re.findall(r'"(FD-[a-z]+)"', file.read_text("utf-8"))
    }

    assert sorted(used ^ set(RULES)) == []


def test_every_rule_is_in_the_guide() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "drill.md").read_text("utf-8")

    assert [code for code in RULES if f"| {code} |" not in guide] == []


@pytest.mark.parametrize("name", ["FD-vague", "fd-vague", "vague", " Vague "])
def test_a_rule_is_found_by_its_code(name: str) -> None:
    assert rule(name).code == "FD-vague"


def test_a_rule_that_is_not_there_is_refused_with_what_comes_close() -> None:
    with pytest.raises(UsageError, match="did you mean FD-vague"):
        rule("FD-vage")
    with pytest.raises(UsageError, match="there are FD-outcome"):
        rule("xyzzy")


# --- again and again ---------------------------------------------------------------------------


def runs(*verdicts: Verdict) -> Repeated:
    return repeatedly(len(verdicts), lambda number: result(row(), named(verdicts[number - 1])))


def named(verdict: Verdict) -> Row:
    return row(
        verdict, scenario=replace(WRITE, id="S26"), finding="FD-time: late" if verdict == "FAIL" else ""
    )


def test_the_same_verdicts_each_time_are_well() -> None:
    repeated = runs(Verdict.PASS, Verdict.PASS, Verdict.PASS)

    assert repeated.ok
    assert repeated.to_dict()["repeated"] == {
        "runs": 3, "ok": True, "seconds": [2.0, 2.0, 2.0], "differing": []
    }  # fmt: skip


def test_a_verdict_that_differs_is_named_with_its_runs_and_fails_them_all() -> None:
    repeated = runs(Verdict.PASS, Verdict.FAIL, Verdict.PASS)

    assert not repeated.ok
    assert [str(d) for d in repeated.differing] == ["toy S26 sync: PASS in 2 runs, FAIL in run 2"]
    assert repeated.differing[0].repeat == "failwell drill toy --only S26 --form sync --seed 7"
    assert repeated.result.counts[Verdict.FAIL] == 1  # the run that was not well is the one reported


def test_a_verdict_that_is_not_well_but_green_is_different_all_the_same() -> None:
    repeated = runs(Verdict.PASS, Verdict.UNPROVABLE)

    assert repeated.result.ok
    assert not repeated.ok


def test_what_is_bad_each_time_does_not_differ() -> None:
    repeated = runs(Verdict.FAIL, Verdict.FAIL)

    assert repeated.differing == []
    assert not repeated.ok


def test_a_drill_is_run_at_least_once() -> None:
    with pytest.raises(ValueError, match="not 0 times"):
        repeatedly(0, lambda _: result())


def test_the_same_drill_twice_gives_the_same_verdicts() -> None:
    part = ["S09", "S10", "S46"]
    repeated = repeatedly(2, lambda _: failwell.drill.run([Toy()], only=part, modes=("sync",)))

    assert repeated.ok
    assert errors.CallError.__name__ in {n for r in repeated.result.rows for n in _names(r)}


def _names(one: Row) -> tuple[str, ...]:
    return () if one.evidence is None else one.evidence.client.error_names
