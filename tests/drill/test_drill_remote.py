"""Somebody else's service behind the drill's proxy: what is rehearsed, what is proved, what is refused."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from failwell import cli
from failwell.drill import Verdict, certificates, faults, remote, run
from failwell.drill.anybody import AnybodysClient
from failwell.drill.faults import once
from failwell.drill.plan import READ, Expect, Scenario
from failwell.drill.proxy import FaultProxy
from failwell.drill.scenarios import catalogue
from failwell.drill.selftest.toy import Toy
from failwell.drill.subject import Call, Kind
from failwell.errors import UsageError
from failwell.pytest_plugin.services import served

SECRET = "shop_sk_1f2e3d4c5b"


class Shop:
    """Somebody's ASGI application: takes orders, once for each key."""

    def __init__(self) -> None:
        self.orders: Counter[str] = Counter()
        self.keys: dict[bytes, bytes] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan here")
        status, body = 200, b'{"orders": [1, 2, 3], "filler": "%s"}' % (b"x" * 60)
        if scope["method"] == "POST":
            sent = (await receive())["body"]
            key = dict(scope["headers"]).get(b"idempotency-key", b"")
            if not key or key not in self.keys:
                self.orders[json.loads(sent)["name"]] += 1
                self.keys[key] = b'{"id": "order-%d", "filler": "%s"}' % (self.orders.total(), b"x" * 60)
            status, body = 201, self.keys[key]
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def count(self, call: Call) -> int:
        return self.orders[call.marker]


SHOP = Shop()


def shopping(base_url: str, call: Call) -> Any:
    """A client of the shop that tries once again where that is safe."""
    for last in (False, True):
        try:
            return ask(base_url, call)
        except (OSError, http.client.HTTPException):
            if last or call.kind is Kind.PLAIN_WRITE:
                raise
    return None


def ask(base_url: str, call: Call) -> Any:
    parts = urlsplit(base_url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    with contextlib.closing(connection):
        if call.kind is Kind.READ:
            connection.request("GET", f"{parts.path}/orders?token={SECRET}")
        else:
            keyed = {"Idempotency-Key": call.key or call.marker} if call.kind is Kind.KEYED_WRITE else {}
            body = json.dumps({"name": call.marker})
            connection.request("POST", f"{parts.path}/orders", body, keyed)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise OSError(f"{answer.status} for {SECRET}")
        return json.loads(content).get("id")


shopping.secret = SECRET  # type: ignore[attr-defined]
shopping.attempts = 2  # type: ignore[attr-defined]
ONLY = ["S08-once", "S18-plain", "S54-fin", "S54-fin-plain"]


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    with served(SHOP) as url:
        yield url


def verdicts(subject: AnybodysClient, only: list[str]) -> dict[str, str]:
    return {row.scenario.id: str(row.verdict) for row in run([subject], only=only).rows}


def test_with_somebody_who_counts_every_claim_is_proved(shop: str) -> None:
    subject = AnybodysClient(shopping, service=shop, count_effects=SHOP.count)

    assert verdicts(subject, ONLY) == dict.fromkeys(ONLY, "PASS")


def test_without_a_count_what_has_to_be_done_once_is_unprovable(shop: str) -> None:
    result = run([AnybodysClient(shopping, service=shop)], only=ONLY)

    assert {row.scenario.id: str(row.verdict) for row in result.rows} == {
        "S08-once": "PASS", "S18-plain": "UNPROVABLE", "S54-fin": "UNPROVABLE", "S54-fin-plain": "UNPROVABLE",
    }  # fmt: skip
    assert result.counts[Verdict.UNPROVABLE] == 3


@pytest.mark.parametrize(("found", "told"), [(None, "KeyError: 'no such table'"), (-1, "-1"), (True, "True")])
def test_a_count_that_fails_is_not_guessed(shop: str, found: Any, told: str) -> None:
    def count(call: Call) -> int:
        if found is None:
            raise KeyError("no such table")
        return int(found) if found is not True else found

    (row,) = run([AnybodysClient(shopping, service=shop, count_effects=count)], only=["S54-fin"]).rows

    assert row.verdict is Verdict.UNPROVABLE
    assert "count_effects failed" in row.notes[-1]
    assert told in row.notes[-1]


def test_a_key_that_can_be_read_is_a_finding_and_is_written_nowhere(shop: str) -> None:
    def leaks(base_url: str, call: Call) -> Any:
        return ask(base_url, call)

    leaks.secret = SECRET  # type: ignore[attr-defined]
    result = run([AnybodysClient(leaks, service=shop)], only=["S41-503-always"])

    assert [f.code for f in result.rows[0].findings] == ["FD-promise"]
    assert SECRET not in json.dumps(result.to_dict())
    assert SECRET not in result.to_html()


def test_a_service_behind_tls_is_drilled(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultProxy(shop) as front:
        front.offer_tls()
        front.begin("front")
        trusting = certificates.trusting()
        monkeypatch.setattr("ssl.create_default_context", lambda: trusting)
        subject = AnybodysClient(through_tls, service=f"https://127.0.0.1:{front.port}")
        assert verdicts(subject, ["S18-read-once"]) == {"S18-read-once": "PASS"}
        assert {c.tls for c in front.journal.connections} == {True}


def through_tls(base_url: str, call: Call) -> Any:
    """As `shopping`; the call before the drill goes to the service itself, without a proxy."""
    if not base_url.startswith("https:"):
        return shopping(base_url, call)
    trusting = certificates.trusting()
    connection = http.client.HTTPSConnection(urlsplit(base_url).netloc, timeout=10, context=trusting)
    with contextlib.closing(connection):
        connection.request("GET", "/orders")
        connection.getresponse().read()
    return None


def test_a_client_that_cannot_talk_to_the_service_is_told_so_without_its_key(shop: str) -> None:
    def cannot(base_url: str, call: Call) -> Any:
        raise OSError(f"401 for {SECRET}")

    cannot.secret = SECRET  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"OSError: 401 for \[redacted\]$") as caught:
        run([AnybodysClient(cannot, service=shop)], only=["S08-once"])
    assert SECRET not in str(caught.value)


def count_orders(call: Call) -> int:
    return SHOP.count(call)


def command(shop: str, folder: Path, *more: str) -> int:
    client = ("--client", f"{__name__}:shopping", "--service", f"{shop}/")
    return cli.run(["drill", *client, "--only", "S54-fin", "--only", "S58", "--report", str(folder), *more])


def test_the_command_says_once_what_is_sent_and_proves_it(
    shop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = command(shop, tmp_path, "--count-effects", f"{__name__}:count_orders", "--json")

    told = capsys.readouterr()
    assert status == 0
    assert told.err.splitlines() == [
        f"{shop} is asked by 1 rehearsals, 10 at most at once: 1 × keyed write; and before, by one call "
        "of each kind.",
        "A client that tries again asks again. What is written has “drill-” in its name, and is not removed.",
        "Left out: S58: many callers at once are load that nobody asked this service for.",
    ]
    rows = json.loads(told.out)["rows"]
    assert [(row["scenario"], row["verdict"]) for row in rows] == [
        ("S54-fin", "PASS"),
        ("S58", "SKIPPED"),
    ]
    assert f"--service {shop} --count-effects {__name__}:count_orders --only S54-fin" in rows[0]["repeat"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--service", "https://x"], "--service goes with --client"),
        (["--count-effects", "a:b"], "--count-effects goes with --client and --service"),
        (["kneo", "--service", "https://x", "--count-effects", "a:b"], "--count-effects goes with --client"),
        (["--client", "requests", "--service", "https://x"], "talks to the drill's own service"),
        (["--client", "requests", "--service", "x"], "takes a base URL"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["drill", *arguments]) == 2
    assert told in capsys.readouterr().err


# --- what is left out ------------------------------------------------------------------------


def test_what_the_proxy_can_do_by_itself_is_rehearsed() -> None:
    subject = AnybodysClient(shopping, service="https://staging.example")
    rehearsed = {f.row for s in catalogue(subject) if not subject.unfit(s) for f in s.faults}

    assert rehearsed >= {*range(3, 20), *range(27, 31)}


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (faults.crash_after_commit(), "process would have to be killed"),
        (faults.cut_stream(1), ""),
        (faults.lose_answer(), ""),
    ],
    ids=["crash", "stream", "lost answer"],
)
def test_what_needs_the_service_is_left_out_with_its_reason(fault: faults.Fault, why: str) -> None:
    told = remote.left_out(Scenario("S99", "something", READ, once(fault), Expect()))

    assert why in told
    assert bool(why) == bool(told)


def test_what_would_be_load_or_needs_a_service_that_remembers_keys_is_left_out() -> None:
    subject = AnybodysClient(shopping, service="https://staging.example")
    reasons = {s.id: subject.unfit(s) for s in catalogue(subject) if s.id in ("S57", "S58", "S60")}

    assert "refuse a key" in reasons["S57"]
    assert "load" in reasons["S58"]


def test_a_person_is_told_what_is_sent_and_what_is_left_out() -> None:
    subject = AnybodysClient(shopping, service="https://staging.example")
    scenarios = [s for s in catalogue(subject) if s.id in ("S08-once", "S12-keyed", "S58")]

    assert remote.announcement("https://staging.example", scenarios, ("sync",)) == [
        "https://staging.example is asked by 2 rehearsals, 4 at most at once: 2 × read, 1 × keyed write; "
        "and before, by one call of each kind.",
        "A client that tries again asks again. What is written has “drill-” in its name, and is not removed.",
        "Left out: S58: many callers at once are load that nobody asked this service for.",
    ]


# --- where it is -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.8.0.1", True),
        ("http://[::1]:80", True),
        ("http://localhost:1", True),
        ("http://shop.localhost", True),
        ("https://staging.example", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0:1", False),
        ("http://localhost.example", False),
    ],
)
def test_a_host_is_this_machine_or_another(url: str, here: bool) -> None:
    assert remote.is_here(url) is here


@pytest.mark.parametrize("text", ["staging.example", "ftp://x", "http://", "http://x:no", "http://x:99999"])
def test_what_is_no_base_url_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="takes a base URL, such as"):
        remote.base_url(text)


@pytest.mark.parametrize("text", ["https://me:pw@x", "https://x/?key=1", "https://x/#a"])
def test_a_base_url_that_holds_a_secret_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(UsageError, match="keys are the client's to send") as caught:
        remote.base_url(text)
    assert "pw" not in str(caught.value)
    assert remote.base_url("https://x/v1/") == "https://x/v1"


class Elsewhere(Toy):
    """A subject whose service is on another machine, as far as its URL says."""

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        with self.service.running() as url:
            yield url.replace("127.0.0.1", "staging.example")


def test_a_service_on_another_machine_is_drilled_only_if_somebody_said_so() -> None:
    with pytest.raises(
        UsageError, match=r"http://staging\.example:\d+, which is not this machine: to drill it"
    ):
        run([Elsewhere()], only=["S08-once"])
    with pytest.raises(UsageError, match="which is not this machine"):
        run([Elsewhere()], only=["S08-once"], service="https://other.example")


def test_a_subject_with_a_service_elsewhere_is_drilled_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failwell.drill.remote.is_here", lambda url: False)
    toy = Toy()
    at: list[str] = []
    running = toy.service.running

    @contextlib.contextmanager
    def told() -> Iterator[str]:
        with running() as url:
            monkeypatch.setattr(toy, "service_url", url)
            at.append(url)
            yield url

    monkeypatch.setattr(toy.service, "running", told)
    rows = run([toy], only=["S08-once", "S57"], modes=["sync"]).rows

    assert {r.scenario.id: str(r.verdict) for r in rows} == {"S08-once": "PASS", "S57": "SKIPPED"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("json", "takes module:function"),
        ("json:none", "cannot load"),
        ("json:__name__", "cannot be called"),
    ],
)
def test_a_count_that_cannot_be_loaded_is_told(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        remote.counting(name)
    assert callable(remote.counting("json:loads"))
