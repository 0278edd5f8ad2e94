"""Anybody's clients, really drilled: through the proxy, against the service, with a ledger."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from failwell.cli.client_drill import clients_called, show_cards
from failwell.drill import DrillResult, run
from failwell.drill.anybody import KEY, AnybodysClient, Setup, things
from failwell.drill.anybody.card import (
    Mark,
    Score,
    better,
    failures,
    in_short,
    installed,
    mark_of,
    markdown,
    score,
    short,
    theme_of,
)
from failwell.drill.anybody.shipped import SHIPPED, client_called
from failwell.drill.anybody.things import Things
from failwell.drill.faults import Schedule
from failwell.drill.plan import READ, Expect, Scenario
from failwell.drill.subject import Call, Kind, Settings
from failwell.drill.verdict import Finding, Row, Verdict
from failwell.errors import UsageError

# What each makes of a few quick rehearsals, with the versions in constraints.txt.
FOUND = {
    "requests": {"S18-read-once": Mark.BETTER, "S18-plain": Mark.PASSED, "S38": Mark.PASSED},
    "urllib3": {"S37-once": Mark.PASSED, "S09": Mark.PASSED, "S35-keyed": Mark.PASSED},
    "httpx2": {"S37-once": Mark.BETTER, "S35-keyed": Mark.FAILED, "S16-plain": Mark.PASSED},
    "aiohttp": {"S08-once": Mark.FAILED, "S10-once": Mark.BETTER, "S33-keyed": Mark.PASSED},
    "stamina": {"S09": Mark.PASSED, "S37-once": Mark.BETTER, "S60": Mark.NOT_APPLICABLE},
    "openai": {"S28-read": Mark.FAILED, "S30-keyed": Mark.PASSED},
    "anthropic": {"S28-read": Mark.FAILED, "S30-keyed": Mark.PASSED},
    "stripe": {"S31-keyed": Mark.FAILED, "S57": Mark.PASSED, "S54-fin": Mark.BETTER},
    "failwell": {"S18-plain": Mark.PASSED, "S28-read": Mark.PASSED, "S35-keyed": Mark.PASSED},
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_client_is_drilled_against_the_real_service(name: str) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    client = client_called(name)

    result = run([client], only=list(FOUND[name]))

    assert FOUND[name] == {row.scenario.id: mark_of(row) for row in result.rows}
    assert result.ok is (Mark.FAILED not in FOUND[name].values())
    assert all(
        f"drill --client {name} --only {row.scenario.id}" in row.repeat for row in result.rows if row.repeat
    )


def call(base_url: str, call: Call) -> Any:
    """What somebody writes in a minute, without a library."""
    body, headers = None, {"Authorization": f"Bearer {KEY}"}
    if call.kind is not Kind.READ:
        body = json.dumps({"name": call.marker}).encode()
        headers["Content-Type"] = "application/json"
    if call.kind is Kind.KEYED_WRITE:
        headers["Idempotency-Key"] = call.key or f"key-{call.marker}"
    path = f"/things/{call.marker}" if call.kind is Kind.READ else "/things"
    request = urllib.request.Request(f"{base_url}{path}", body, headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
        return json.loads(answer.read())


call.timeout = 5.0  # type: ignore[attr-defined]


def test_a_function_is_a_client() -> None:
    client = AnybodysClient(call)

    result = run([client], only=["S18-plain", "S37-once", "S12-plain", "S13-plain"])

    marks = {row.scenario.id: mark_of(row) for row in result.rows}
    # It makes a connection for each call, so that none can be lost while it is idle.
    assert Mark.NOT_APPLICABLE is marks.pop("S13-plain")
    assert set(marks.values()) <= {Mark.PASSED, Mark.BETTER, Mark.NOT_APPLICABLE}
    assert ("call", "sync", (5.0, 5.0)) == (client.name, client.modes[0], client.timeouts(Settings()))


def careless(base_url: str, call_: Call) -> Any:
    """It does everything twice."""
    call(base_url, call_)
    return call(base_url, call_)


def test_a_careless_client_is_found_before_it_is_drilled() -> None:
    with pytest.raises(UsageError, match="write without a key has 2 effects"):
        run([AnybodysClient(careless)], only=["S09"])


def trusting(base_url: str, call_: Call) -> Any:
    """It says that all went well, always."""
    try:
        return call(base_url, call_)
    except (OSError, ValueError, HTTPException):
        return None


def test_a_client_that_swallows_errors_fails() -> None:
    result = run([AnybodysClient(trusting)], only=["S09", "S18-read-always"])

    assert [Verdict.FAIL, Verdict.FAIL] == [row.verdict for row in result.rows]
    assert not result.ok


def test_somebody_elses_service_has_a_ledger_if_its_effects_are_counted() -> None:
    own = Things()
    with own.running() as url:
        counted = AnybodysClient(call, service=url, count_effects=lambda c: len(own.ids_of(c.marker) or ()))
        counted.kinds = frozenset({Kind.KEYED_WRITE, Kind.PLAIN_WRITE})
        uncounted = AnybodysClient(call, service=url, name="uncounted")
        uncounted.kinds = counted.kinds
        result = run([counted, uncounted], only=["S54-fin"])

    verdicts = {(r.subject, r.scenario.id): r.verdict for r in result.rows}
    assert Verdict.PASS is verdicts["call", "S54-fin"]
    assert Verdict.UNPROVABLE is verdicts["uncounted", "S54-fin"]
    assert () == counted.ids_of("nobody's")
    assert () == counted.secrets()


def test_a_client_that_cannot_talk_is_not_drilled() -> None:
    def lost(base_url: str, call: Call) -> Any:
        raise ConnectionRefusedError("no")

    async def lost_too(base_url: str, call: Call) -> Any:
        raise ConnectionRefusedError("no")

    for adapter in (lost, lost_too):
        with pytest.raises(UsageError, match=r"cannot be drilled.*ConnectionRefusedError: no"):
            run([AnybodysClient(adapter)], only=["S09"])


class Closing:
    """An adapter that is made anew for each rehearsal, and awaits."""

    closed = 0
    is_async = True

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    async def __call__(self, base_url: str, call_: Call) -> Any:
        return await asyncio.to_thread(call, base_url, call_)

    async def aclose(self) -> None:
        Closing.closed += 1


def test_a_class_is_made_anew_and_closed() -> None:
    client = AnybodysClient(Closing)
    held = client.client("async", "http://x", Settings(read=3.0, deadline=2.0))

    result = run([client], only=["S18-plain"])

    assert [Verdict.PASS] == [row.verdict for row in result.rows]
    assert Closing.closed == 4  # a call of each kind before it
    assert (2.0, KEY) == (held.call.setup.read, held.call.setup.api_key)
    assert (10.0, 10.0) == client.timeouts(Settings())


def test_a_function_of_a_setup_makes_the_client() -> None:
    def made(setup: Setup) -> Any:
        return call

    client = AnybodysClient(made)

    assert call is client.client("sync", "http://x", Settings()).call
    assert (10.0, 10.0) == client.timeouts(Settings())


def test_ids_are_found_in_what_a_client_gives_back() -> None:
    client = AnybodysClient(call)

    found = [client.id_of(value) for value in (None, "a", {"id": 1}, {"id": None})]

    assert [None, "a", "1", None] == found
    assert client.facts_of(OSError()) is None
    with pytest.raises(AttributeError):
        client.id_of(object())


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[str, Things]]:
    own = Things()
    assert own.ids_of("x") is None
    own.put("x")  # nobody is there to take it
    with own.running() as url:
        yield url, own


def asked(url: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer."""
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {KEY}", **headers})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.parametrize("dialect", things.DIALECTS, ids=lambda d: d.path)
def test_the_service_keeps_things_in_each_dialect(
    dialect: things.Dialect, service: tuple[str, Things]
) -> None:
    url, own = service
    body = b"name=lamp" if dialect.form else b'{"name": "lamp"}'
    before = len(own.ids_of("lamp") or ())

    first = asked(url + dialect.path, body, **{"Idempotency-Key": dialect.prefix})
    again = asked(url + dialect.path, body, **{"Idempotency-Key": dialect.prefix})

    assert (dialect.status, "lamp") == (first[0], first[1]["name"])
    assert first == again
    assert before + 1 == len(own.ids_of("lamp") or ())
    assert (200, first[1]) == asked(f"{url}{dialect.path}/{first[1]['id']}")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"name": ""}', b'{"name": 7}'])
def test_the_service_refuses_what_has_no_name(body: bytes, service: tuple[str, Things]) -> None:
    assert 422 == asked(f"{service[0]}/things", body)[0]


def test_the_service_refuses_strangers_and_knows_what_it_has_not(service: tuple[str, Things]) -> None:
    assert 401 == asked(f"{service[0]}/things/x", Authorization="Bearer nobody")[0]
    assert 404 == asked(f"{service[0]}/things/nothing")[0]
    assert 422 == asked(f"{service[0]}/v1/customers", b"email=x")[0]


def test_the_service_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(things, "find_spec", lambda name: None if name == "uvicorn" else name)

    with pytest.raises(UsageError, match=r"needs uvicorn: pip install"), Things().running():
        pass


# --- by name, and the card -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nobody", "there are requests, urllib3"),
        ("json:nothing", "cannot load the adapter"),
        ("no_such_module:call", "cannot load the adapter"),
        (":call", "cannot load the adapter"),
        ("json:__name__", "cannot be called"),
    ],
)
def test_a_client_that_is_not_there_is_told_of(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        client_called(name)


def test_a_library_that_is_missing_comes_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("failwell.drill.anybody.shipped.find_spec", lambda name: None)

    with pytest.raises(UsageError, match="stamina is not installed: pip install stamina httpx2"):
        client_called("stamina")
    assert [] == list(installed(["stripe"]))
    assert "left out: stripe is not installed" in capsys.readouterr().err


def test_a_shipped_client_knows_no_other_service() -> None:
    with pytest.raises(UsageError, match="write one for yours"):
        client_called("requests", service="http://127.0.0.1:1")


def test_a_client_of_ones_own_is_found_in_the_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_adapter.py").write_text("async def call(base_url, call): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    (client, _) = clients_called(["my_own_adapter:call", "my_own_adapter:call", "requests"])

    assert ("async",) == client.modes
    assert "--client my_own_adapter:call" == client.arguments
    assert client_called("my_own_adapter:call", service="http://127.0.0.1:1").own_service is False


def row(scenario_id: str, verdict: Verdict, *findings: Finding, notes: tuple[str, ...] = ()) -> Row:
    scenario = Scenario(scenario_id, "Something goes wrong", READ, Schedule(), Expect())
    again = f"failwell drill --client any --only {scenario_id}"
    return Row("any", "sync", scenario, verdict, list(findings), list(notes), repeat=again)


ROWS = [
    row("S02-plain", Verdict.PASS),
    row("S08-once", Verdict.PASS, Finding("FD-better", "it could go on; it raised OSError")),
    row("S08-always", Verdict.PASS, Finding("FD-better", "it could go on; it raised EOFError")),
    row("S28-read", Verdict.FAIL, Finding("FD-outcome", "<b>|*"), Finding("FD-better", "more")),
    row("S35-read", Verdict.NOT_EXERCISED, notes=("the fault never acted",)),
    row("S54-fin", Verdict.UNPROVABLE),
    row("S12-plain", Verdict.SKIPPED),
    row("E-own", Verdict.PASS),
]


@pytest.fixture
def any_score() -> Score:
    client = AnybodysClient(call, name="any")
    return score(client, DrillResult(rows=ROWS))


def test_a_score_counts_by_theme(any_score: Score) -> None:
    assert {
        Mark.PASSED: 2,
        Mark.BETTER: 2,
        Mark.FAILED: 2,
        Mark.UNPROVABLE: 1,
        Mark.NOT_APPLICABLE: 1,
    } == dict(any_score.total)
    assert {Mark.BETTER: 2, Mark.NOT_APPLICABLE: 1} == dict(any_score.themes["sent, and silence"])
    assert "others" == theme_of(ROWS[-1])
    assert {"it could go on": ["S08-once", "S08-always"]} == better(any_score)
    assert ["FD-outcome: <b>|*", "the fault never acted"] == [why for _, why in failures(any_score)]


def test_a_card_is_a_page_with_each_finding_and_its_command(any_score: Score) -> None:
    clean = score(AnybodysClient(call, name="clean"), DrillResult(rows=[]))

    page = markdown([any_score, clean], on=datetime(2026, 11, 21, tzinfo=UTC), command="make card")

    assert "| any |  | 2 | 2 | 2 | 1 |" in page
    assert "2026-11-21" in page
    assert "*FD-outcome: &lt;b>\\|\\** (`failwell drill --client any --only S28-read`)" in page
    assert "- it could go on: S08 (2)" in page
    assert page.endswith("## clean\n\nNothing failed.\n")


def test_a_card_is_shown_on_a_terminal(any_score: Score) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    result = DrillResult(rows=ROWS, seconds=3.0, seed=7)

    show_cards([AnybodysClient(call, name="any")], result, console)
    show_cards([AnybodysClient(call, name="clean")], result, console)

    text = console.export_text()
    assert "2 passed  2 could be better  2 failed" in text
    assert "FAIL S28-read  Something goes wrong" in text
    assert "failwell drill --client any --only S28-read" in text
    assert "it could go on: S08 (2)" in text
    assert "in 3 s, seed 7" in text


def test_what_is_long_is_cut_and_ids_are_counted() -> None:
    assert 160 == len(short("x " * 200))
    assert "S02 (2), S08" == in_short(["S02-a", "S08", "S02-b"])


def test_main_drills_what_is_installed_and_prints_the_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from failwell.drill.anybody import card

    monkeypatch.setattr(card, "installed", lambda: [AnybodysClient(call, name="any")])
    monkeypatch.setattr(card, "run", lambda subjects: DrillResult(rows=ROWS, seconds=2.0))

    card.main()

    told = capsys.readouterr()
    assert told.out.startswith("<!-- Made by `python -m failwell.drill.anybody.card")
    assert "any: 2 s" in told.err
