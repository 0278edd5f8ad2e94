"""A whole drill: what is chosen, what comes out, what is told meanwhile."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from drill_naive import Naive
from drill_toy import KEY, Toy

import failwell.drill
from failwell.drill import DrillResult, Progress, load
from failwell.drill.scenarios import called, scenarios
from failwell.drill.verdict import Verdict
from failwell.errors import UsageError


@pytest.fixture(scope="module")
def whole() -> DrillResult:
    """Everything there is, with the good client in both its forms."""
    return failwell.drill.run([Toy()])


def test_failwell_s_own_client_holds_in_every_rehearsal_in_both_forms(whole: DrillResult) -> None:
    wrong = [
        (r.name, [str(f) for f in r.findings], r.notes) for r in whole.rows if r.verdict is not Verdict.PASS
    ]

    assert wrong == []
    assert whole.ok


def test_every_scenario_of_the_first_version_is_in_the_catalogue(whole: DrillResult) -> None:
    numbers = {*range(1, 14), 16, *range(18, 22), 26, *range(41, 47), 54, 57}
    had = {r.scenario.id.partition("-")[0] for r in whole.rows}

    assert {f"S{n:02d}" for n in numbers} <= had
    assert any(name.startswith("S40-") for r in whole.rows for name in r.scenario.proves)


def test_rows_come_in_the_order_of_the_catalogue_whatever_ended_first(whole: DrillResult) -> None:
    expected = [(s.id, mode) for s in scenarios(Toy()) for mode in ("sync", "async")]

    assert [(r.scenario.id, r.mode) for r in whole.rows] == expected


def test_every_exported_exception_was_raised(whole: DrillResult) -> None:
    assert {c.exception for c in whole.coverage} == {e.__name__ for e in Toy.exceptions}
    assert whole.never_raised == []


def test_an_exception_that_nothing_raises_fails_the_drill() -> None:
    class WithOneMore(Toy):
        exceptions = (*Toy.exceptions, ZeroDivisionError)

    whole = failwell.drill.run([WithOneMore()], modes=("sync",), only=["E-ToyAuthError-revoked"])
    assert whole.coverage == []  # a part of the catalogue proves nothing about the rest

    from failwell.drill.verdict import coverage

    missing = [c.exception for c in coverage(WithOneMore(), whole.rows) if not c.rows]
    assert "ZeroDivisionError" in missing
    assert not DrillResult(rows=whole.rows, coverage=coverage(WithOneMore(), whole.rows)).ok


def test_no_thread_is_left_behind(whole: DrillResult) -> None:
    assert [t.name for t in threading.enumerate() if t.name.startswith(("drill", "failwell"))] == []


def test_the_result_is_json_and_holds_no_key(whole: DrillResult) -> None:
    text = json.dumps(whole.to_dict())

    assert json.loads(text)["ok"] is True
    assert KEY not in text


def test_the_page_needs_nothing_else_and_shows_each_scenario(whole: DrillResult) -> None:
    page = whole.to_html()

    assert all(f'<span class="id">{s.id}</span>' in page for s in scenarios(Toy()))
    assert "http://" not in page.replace("http://127.0.0.1", "")
    assert "https://" not in page.replace("https://127.0.0.1", "")
    assert page.count("<svg") > len(whole.rows)
    assert "prefers-color-scheme: dark" in page
    assert "What this does not show" in page
    assert KEY not in page


def test_the_page_says_what_is_wrong_and_escapes_what_a_service_said() -> None:
    from dataclasses import replace

    result = failwell.drill.run([Naive("forgets the cause")], only=["S09"])
    row = result.rows[0]
    result.rows = [replace(row, scenario=replace(row.scenario, title="<script>alert(1)</script>"))]
    page = result.to_html()

    assert "Not everything held" in page
    assert "FD-cause" in page
    assert "failwell drill naive --only S09" in page
    assert "<script>alert" not in page


def test_the_report_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    result = failwell.drill.run([Toy()], only=["S57"], report=tmp_path / "drill.html")

    assert (tmp_path / "drill.html").read_text("utf-8") == result.to_html()


def test_progress_is_told_once_for_each_rehearsal_and_once_before() -> None:
    told: list[Progress] = []
    failwell.drill.run([Toy()], only=["S08", "S57"], progress=told.append)

    assert [p.done for p in told] == [0, 1, 2, 3, 4, 5, 6]
    assert told[0].row is None
    assert {p.total for p in told} == {6}


def test_one_form_can_be_rehearsed_alone() -> None:
    assert {r.mode for r in failwell.drill.run([Toy()], only=["S57"], modes=("async",)).rows} == {"async"}


def test_only_means_one_scenario_by_its_id_or_all_its_variants() -> None:
    listed = scenarios(Toy())

    assert [s.id for s in called("s54-fin", listed)] == ["S54-fin"]
    assert {s.id for s in called("S08", listed)} == {"S08-once", "S08-always"}
    assert {s.id for s in called("S40", listed)} >= {
        "E-ToyAuthError-revoked",
        "E-ToyNotFoundError-unknown-id",
    }
    assert {s.id for s in called("S40-401", listed)} == {"E-ToyAuthError-revoked"}
    assert called("S4", listed) == []


def test_an_unknown_scenario_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no scenario is called S99; there are S01, S02"):
        failwell.drill.run([Toy()], only=["S99"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing", "no SDK is called 'nothing'; there are kneo, agoralia"),
        ("no_such_module:subject", "cannot load the subject"),
        ("drill_toy:nothing", "cannot load the subject"),
        ("drill_toy:TOY", "is no failwell.drill.Subject"),
    ],
)
def test_an_unknown_subject_is_refused(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load(name)


def test_a_subject_of_one_s_own_is_loaded_by_where_it_is() -> None:
    assert isinstance(load("drill_toy:Toy"), Toy)


def test_a_scenario_this_platform_cannot_do_is_skipped_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "plan9")
    result = failwell.drill.run([Toy()], only=["S04"], modes=("sync",))

    assert [r.verdict for r in result.rows] == [Verdict.SKIPPED]
    assert result.rows[0].notes == ["SYN unanswered: only on linux"]


def test_a_client_that_cannot_be_made_is_a_failure_with_its_reason() -> None:
    class Broken(Toy):
        def client(self, *_: object, **__: object) -> object:
            raise OSError("no engine")

    row = failwell.drill.run([Broken()], only=["S57"], modes=("sync",)).rows[0]

    assert row.verdict is Verdict.FAIL
    assert "no engine" in str(row.findings[0])


def test_a_sync_client_that_has_to_be_awaited_is_told_so() -> None:
    import asyncio

    class Late(Toy):
        def call(self, client: object, call: object) -> object:
            return asyncio.sleep(10)

    row = failwell.drill.run([Late()], only=["S08-once"], modes=("sync",)).rows[0]

    assert "has to be awaited" in str(row.findings[0])


def test_a_client_that_never_comes_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    class Stuck(Toy):
        def call(self, client: object, call: object) -> object:
            released.wait(20)
            return None

    monkeypatch.setattr("failwell.drill.rehearsal.HANGS_AFTER", 0.2)
    row = failwell.drill.run([Stuck()], only=["S08-once"], modes=("sync",)).rows[0]
    released.set()

    # Nothing was sent, so nothing was rehearsed either; what is known is that it hangs.
    assert row.verdict is Verdict.NOT_EXERCISED
    assert [f.code for f in row.findings] == ["FD-hang"]
