"""The SDKs against their real services, behind the proxy: the drill people run, in part."""

from __future__ import annotations

from pathlib import Path

import pytest

import failwell.drill
from failwell.drill import known, load, scope
from failwell.drill.scenarios import catalogue
from failwell.drill.verdict import Verdict

pytest.importorskip("failwell_sandbox", reason="the SDKs' services are in the sandbox")

# One of each family that is over at once, and every real cause of every exception.
PART = (
    "S01",
    "S02",
    "S08",
    "S09",
    "S12",
    "S13",
    "S18",
    "S46",
    "S54-fin",
    "S57",
    "S58",
    "S60",
    "E",
    "S66-start",
    "S74-storm",
    "S75-left",
    "S76-last",
    "S80-whole",
)


@pytest.mark.parametrize("name", ["kneo", "agoralia", "argus", "pictograph", "scopix"])
def test_an_sdk_holds_against_its_real_service(name: str) -> None:
    assert name in known()
    # A service in a process of its own takes a second to start: one SDK is enough, below.
    part = [s.id for s in catalogue(load(name)) if s.id.startswith(PART) and not s.crashes]
    result = failwell.drill.run([name], only=part)

    wrong = [(r.name, r.findings, r.notes) for r in result.rows if r.verdict is not Verdict.PASS]
    assert wrong == []
    assert {r.mode for r in result.rows} == {"sync", "async"}


@pytest.mark.parametrize("name", ["kneo", "agoralia", "argus", "pictograph", "scopix"])
def test_every_status_of_s40_has_a_real_cause(name: str) -> None:
    subject = load(name)
    statuses = {cause.status for cause in subject.causes()}

    assert {400, 401, 403, 404, 409, 422} <= statuses


@pytest.mark.parametrize("name", ["kneo", "agoralia", "argus", "pictograph", "scopix"])
def test_every_exception_the_sdk_s_table_can_raise_is_among_those_it_exports(name: str) -> None:
    subject = load(name)

    assert set(subject.contract.exceptions) <= set(subject.exceptions)


def test_every_failure_of_the_catalogue_is_rehearsed_or_it_is_said_why_not() -> None:
    assert scope.missing([load(name) for name in known()]) == []


def test_what_nobody_explains_and_what_is_explained_for_nothing_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject = load("kneo")
    monkeypatch.setattr(subject, "without", {"S09": "no time"})
    wrong = scope.missing([subject])

    assert "S62 is not rehearsed with kneo, and nobody says why" in wrong
    assert "S09 is rehearsed with kneo, and somebody says why not" in wrong
    assert "nobody says why" in scope.page([subject]).lower()


def test_the_page_of_scenarios_is_what_the_drill_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "drill-scenarios.md"

    assert page.read_text("utf-8") == scope.page([load(name) for name in known()]), (
        "make it anew: python -m failwell.drill.scope > docs/drill-scenarios.md"
    )


def test_a_service_that_is_killed_is_followed_by_another_that_goes_on() -> None:
    result = failwell.drill.run(["kneo"], only=["S55"])

    assert [(r.name, r.findings) for r in result.rows if r.verdict is not Verdict.PASS] == []
    assert {r.scenario.id for r in result.rows} == {"S55-committed", "E-killed-at-work"}
