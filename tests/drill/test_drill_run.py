"""A whole drill: what is chosen, what comes out, what is told meanwhile."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import failwell.drill
from failwell.drill import DrillResult, Progress, load, rehearsal
from failwell.drill.scenarios import called, catalogue
from failwell.drill.selftest.naive import Naive
from failwell.drill.selftest.toy import KEY, Toy, ToyNotFoundError
from failwell.drill.subject import Cause, Kind, Mode
from failwell.drill.verdict import Verdict
from failwell.errors import UsageError
from failwell.failure import Failure


@pytest.fixture(scope="module")
def before() -> set[threading.Thread]:
    """The threads of whoever was here first: a sandbox of other tests lives as long as the process."""
    return set(threading.enumerate())


@pytest.fixture(scope="module")
def whole(before: set[threading.Thread]) -> DrillResult:
    """Everything there is, with the good client in both its forms."""
    return failwell.drill.run([Toy()])


def test_failwell_s_own_client_holds_in_every_rehearsal_in_both_forms(whole: DrillResult) -> None:
    wrong = [
        (r.name, [str(f) for f in r.findings], r.notes) for r in whole.rows if r.verdict is not Verdict.PASS
    ]

    assert wrong == []
    assert whole.ok


def test_every_scenario_of_a_single_call_is_in_the_catalogue(whole: DrillResult) -> None:
    numbers = {*range(1, 47), 54, 56, 57} - {32, 40}
    had = {r.scenario.id.partition("-")[0] for r in whole.rows}

    assert {f"S{n:02d}" for n in numbers} <= had
    proved = {name.partition("-")[0] for r in whole.rows for name in r.scenario.proves}
    assert {"S32", "S40"} <= proved


def test_rows_come_in_the_order_of_the_catalogue_whatever_ended_first(whole: DrillResult) -> None:
    both: tuple[Mode, ...] = ("sync", "async")
    expected = [(s.id, mode) for s in catalogue(Toy()) for mode in s.modes or both]

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


def test_no_thread_is_left_behind(before: set[threading.Thread], whole: DrillResult) -> None:
    since = [t.name for t in threading.enumerate() if t not in before]

    assert [name for name in since if name.startswith(("drill", "failwell"))] == []


def test_the_result_is_json_and_holds_no_key(whole: DrillResult) -> None:
    text = json.dumps(whole.to_dict())

    assert json.loads(text)["ok"] is True
    assert KEY not in text


def test_the_page_needs_nothing_else_and_shows_each_scenario(whole: DrillResult) -> None:
    page = whole.to_html()

    assert all(f'<span class="id">{s.id}</span>' in page for s in catalogue(Toy()))
    assert "http://" not in page.replace("http://127.0.0.1", "")
    assert "https://" not in page.replace("https://127.0.0.1", "")
    assert page.count("<svg") > len(whole.rows)
    assert "prefers-color-scheme: dark" in page
    assert "What this does not show" in page
    assert KEY not in page


def test_the_page_has_a_scenario_once_with_every_sdk_in_it_and_what_is_wrong_first() -> None:
    result = failwell.drill.run([Toy(), Naive("forgets the cause")], only=["S09"])
    page = result.to_html()

    assert page.count('<span class="id">S09</span>') == 1
    assert '<span class="badge pass"><span class="sr">PASS </span>✓ toy</span>' in page
    assert '<span class="badge fail">naive sync FAIL</span>' in page
    assert page.index("<h3>naive sync</h3>") < page.index("<h3>toy sync</h3>")
    assert "<h2>No answer <small>2 of 3 pass</small></h2>" in page


def test_the_page_says_of_each_sdk_which_exceptions_were_raised(whole: DrillResult) -> None:
    page = whole.to_html()
    assert '<span class="name">toy</span><span class="badge pass">7 of 7</span>' in page

    missing = DrillResult(rows=whole.rows, coverage=[replace(whole.coverage[0], rows=())])
    assert '<span class="badge fail">0 of 1</span>' in missing.to_html()
    assert "never raised" in missing.to_html()


def test_what_keeps_a_service_busy_runs_alone_where_there_can_be_only_one() -> None:
    alone: list[int] = []

    @contextlib.contextmanager
    def arranged() -> Iterator[None]:
        alone.append(sum(t.name.startswith("drill_") for t in threading.enumerate()))
        yield

    class Arranged(Toy):
        def causes(self) -> Sequence[Cause]:
            return [replace(super().causes()[1], name="arranged", arrange=arranged)]

    result = failwell.drill.run([Arranged()], only=["E", "S08"], modes=("sync",))

    assert [r.verdict for r in result.rows] == [Verdict.PASS] * 3
    assert alone == [0]


def test_a_rehearsal_that_breaks_is_a_finding_and_not_the_end() -> None:
    @contextlib.contextmanager
    def arranged() -> Iterator[None]:
        yield
        raise RuntimeError("it cannot be undone")

    class Broken(Toy):
        def causes(self) -> Sequence[Cause]:
            return [replace(super().causes()[1], name="broken", arrange=arranged)]

    broken, once, always = failwell.drill.run([Broken()], only=["E", "S08"], modes=("sync",)).rows[::-1]

    assert (broken.verdict, once.verdict, always.verdict) == (Verdict.FAIL, Verdict.PASS, Verdict.PASS)
    assert [str(f) for f in broken.findings] == [
        "FD-drill: the rehearsal broke: RuntimeError: it cannot be undone"
    ]
    assert broken.repeat == "failwell drill toy --only E-ToyNotFoundError-broken --form sync --seed 0"


def test_the_page_says_what_is_wrong_and_escapes_what_a_service_said() -> None:
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
    listed = catalogue(Toy())

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
        ("nothing", "no SDK is called 'nothing'; there are agoralia, argus, kneo, pictograph, scopix"),
        ("no_such_module:subject", "cannot load the subject"),
        ("failwell.drill.selftest.toy:nothing", "cannot load the subject"),
        ("failwell.drill.selftest.toy:TOY", "is no failwell.drill.Subject"),
    ],
)
def test_an_unknown_subject_is_refused(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load(name)


def test_a_subject_of_one_s_own_is_loaded_by_where_it_is() -> None:
    assert isinstance(load("failwell.drill.selftest.toy:Toy"), Toy)


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


class NeedsTwo(Exception):
    """Its constructor takes more than its args: pickle cannot make it again."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)


class Forgets(ToyNotFoundError):
    """Pickles without what it knows."""

    def __reduce__(self) -> tuple[object, ...]:
        return Forgets, (str(self.args[0]),)


class Shrinks(ToyNotFoundError):
    """Pickles as its base."""

    def __reduce__(self) -> tuple[object, ...]:
        return ToyNotFoundError, (str(self.args[0]),)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (NeedsTwo(404, "gone"), "does not survive pickle"),
        (Forgets.from_failure(Failure(message="gone", code="x", request_id="r")), "pickle"),
        (Shrinks.from_failure(Failure(message="gone")), "pickle turns it into ToyNotFoundError"),
    ],
)
def test_an_error_that_pickle_does_not_bring_back_breaks_its_promise(error: Exception, says: str) -> None:
    class Raises(Toy):
        def call(self, client: object, call: object) -> object:
            raise error

    row = failwell.drill.run([Raises()], only=["S57"], modes=("sync",)).rows[0]
    (found,) = rehearsal._not_pickled(error)

    assert says in found
    assert row.verdict is Verdict.FAIL


def test_an_error_whose_facts_pickle_changes_breaks_its_promise() -> None:
    error = Forgets.from_failure(Failure(message="gone", retryable=True))

    assert rehearsal._not_pickled(error) == ["pickle changes what it knows"]


def test_ctrl_c_ends_the_drill_and_its_threads() -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failwell.drill.run([Toy()], only=["S08", "S42"], progress=interrupt)
    assert [t.name for t in threading.enumerate() if t.name.startswith("drill")] == []


def test_without_a_ledger_a_write_is_unprovable_which_fails_nothing_and_is_not_green() -> None:
    class NoLedger(Toy):
        def ids_of(self, marker: str) -> None:
            return None

    result = failwell.drill.run([NoLedger()], only=["S54-fin"], modes=("sync",))

    assert result.rows[0].verdict is Verdict.UNPROVABLE
    assert result.ok
    assert "cannot be read" in result.to_html()


def test_the_page_shows_what_was_skipped_what_hung_and_what_could_not_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken(Toy):
        def client(self, *_: object, **__: object) -> object:
            raise OSError("no engine")

    monkeypatch.setattr("failwell.drill.plan._has_trustme", lambda: False)
    result = failwell.drill.run([Broken()], only=["S05", "S57"], modes=("sync",))
    result.rows += failwell.drill.run([Toy()], only=["S03"], modes=("sync",)).rows
    hung = failwell.drill.run([Toy()], only=["S57"], modes=("sync",)).rows[0]
    assert hung.evidence is not None
    hung.evidence.client.succeeded, hung.evidence.client.error, hung.evidence.client.ended = False, "", None
    result.rows.append(hung)
    page = result.to_html()

    assert "making a certificate needs trustme" in page
    assert "no engine" in page
    assert "never came back" in page
    assert "nobody listens, while the connection is made" in page


def test_nothing_to_rehearse_is_refused() -> None:
    class Nothing(Toy):
        modes = ()

    with pytest.raises(UsageError, match="nothing to rehearse"):
        failwell.drill.run([Nothing()])


def test_where_no_sdk_is_installed_the_drill_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failwell.drill.clients.GROUP", "failwell.nothing")

    assert failwell.drill.known() == []
    with pytest.raises(UsageError, match="none is installed with its service: install failwell-sandbox"):
        load("kneo")


def test_a_service_that_says_when_not_to_come_back_is_only_asked_where_the_sdk_comes_back() -> None:
    class NeverAgain(Toy):
        retried = frozenset({503})

    ids = {s.id for s in catalogue(NeverAgain())}

    assert "S42-read" not in ids
    assert "S41-503-always" in ids


def test_a_subject_without_writes_is_rehearsed_with_reads_alone() -> None:
    class Reads(Toy):
        kinds = frozenset({Kind.READ})

    kinds = {s.kind for s in catalogue(Reads())}

    assert kinds == {Kind.READ}
