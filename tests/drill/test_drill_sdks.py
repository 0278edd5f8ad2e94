"""The SDKs against their real services, behind the proxy: the drill people run, in part."""

from __future__ import annotations

import pytest

import failwell.drill
from failwell.drill import known, load
from failwell.drill.verdict import Verdict

pytest.importorskip("failwell_sandbox")

# One of each family that is over at once, and every real cause of every exception.
PART = ("S01", "S02", "S08", "S09", "S12", "S13", "S18", "S46", "S54-fin", "S57", "E")


@pytest.mark.parametrize("name", ["kneo", "agoralia", "argus", "pictograph"])
def test_an_sdk_holds_against_its_real_service(name: str) -> None:
    assert name in known()
    result = failwell.drill.run([name], only=PART)

    wrong = [(r.name, r.findings, r.notes) for r in result.rows if r.verdict is not Verdict.PASS]
    assert wrong == []
    assert {r.mode for r in result.rows} == {"sync", "async"}


@pytest.mark.parametrize("name", ["kneo", "agoralia", "argus", "pictograph"])
def test_every_status_of_s40_has_a_real_cause(name: str) -> None:
    subject = load(name)
    statuses = {cause.status for cause in subject.causes()}

    assert {400, 401, 403, 404, 409, 422} <= statuses


@pytest.mark.parametrize("name", ["kneo", "agoralia", "argus", "pictograph"])
def test_every_exception_the_sdk_s_table_can_raise_is_among_those_it_exports(name: str) -> None:
    subject = load(name)

    assert set(subject.contract.exceptions) <= set(subject.exceptions)
