"""The fixtures for other people's tests: what they do with a client, a service and a test's report."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import failwell_sandbox
from failwell import Client, Connections
from failwell.drill import faults as drill_faults
from failwell.drill.faults import Fault
from failwell.errors import UsageError
from failwell.pytest_plugin.faults_fixture import Faults
from failwell.pytest_plugin.services import Services
from failwell.testing import JumpingClock

pytest_plugins = ["pytester"]


class Shop:
    """An ASGI application that sells one thing, and counts what it sold."""

    def __init__(self) -> None:
        self.sold = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan here")
        self.sold += scope["method"] == "POST"
        body = json.dumps({"sold": self.sold, "path": scope["path"], "filler": "x" * 60}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


SHOP = Shop()


@pytest.fixture
def failwell_service() -> Shop:
    """What these tests put behind `faults`; the plugin serves it once."""
    return SHOP


def ask(
    url: str,
    method: str = "GET",
    trust: ssl.SSLContext | None = None,
    *,
    head_within: float = 10.0,
    pieces_within: float = 10.0,
) -> bytes:
    """The body of one answer, by a client that does nothing by itself."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=head_within, context=trust or ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=head_within)
    with contextlib.closing(connection):
        connection.request(method, f"{parts.path}/things?token=s3cret&limit=2")
        sock = connection.sock
        with connection.getresponse() as answer:
            sock.settimeout(pieces_within)
            return answer.read()


def patient(url: str, **settings: Any) -> Client:
    """A failwell client that waits on a clock that jumps."""
    settings.setdefault("clock", JumpingClock())
    return Client(url, connections=Connections(trust_env=False), breaker=False, **settings)


def test_without_a_fault_the_service_is_there(faults: Faults) -> None:
    assert json.loads(ask(faults.url))["path"] == "/things"
    assert (faults.requests, faults.fired) == (1, [])


def test_an_answer_that_is_cut_is_asked_for_again(faults: Faults) -> None:
    faults.cut(after_bytes=20)
    with patient(faults.url) as client:
        assert client.request("GET", "/things").json()["path"] == "/things"

    assert faults.requests == 2
    assert [a.status for a in faults.attempts] == [200, 200]
    assert len(faults.waits) == 1
    assert faults.fired == ["body cut, FIN"]


def test_an_answer_lost_after_the_commit_leaves_the_effect(faults: Faults) -> None:
    before = SHOP.sold
    faults.lose_answer()
    with pytest.raises(http.client.RemoteDisconnected):
        ask(faults.url, "POST")

    assert faults.settle()
    assert SHOP.sold == before + 1


def test_a_gateway_s_answer_has_the_headers_it_was_given(faults: Faults, clock: JumpingClock) -> None:
    faults.answer(503, {"Retry-After": "7"}, times=2)
    with patient(faults.url, clock=clock) as client:
        client.request("GET", "/things")

    assert faults.requests == 3
    assert [wait >= 7 for wait in clock.sleeps] == [True, True]


def test_faults_meet_one_attempt_after_the_other_unless_told_which(faults: Faults) -> None:
    faults.answer(500)
    faults.answer(502, attempt=3)
    faults.answer(503)
    told = [ask(faults.url)[:23] for _ in range(4)]

    page = b"<html><head><title>"
    assert told[:3] == [page + b"500 ", page + b"503 ", page + b"502 "]
    assert told[3].startswith(b'{"sold": ')


def test_a_connection_that_was_kept_is_closed_before_the_next_is_refused(faults: Faults) -> None:
    with patient(faults.url) as client:
        client.request("GET", "/things")
        faults.refuse(times=2)
        client.request("GET", "/things")

    assert faults.requests == 2
    assert faults.fired == ["refused", "refused"]
    assert faults.tries == 4


def test_connections_can_be_refused_from_the_second_one_on(faults: Faults) -> None:
    faults.refuse(attempt=2, times=None)
    ask(faults.url)
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            ask(faults.url)


def test_a_bad_certificate_comes_before_a_good_one(faults: Faults) -> None:
    faults.tls_expired()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        ask(faults.url, trust=faults.trust)

    assert b"/things" in ask(faults.url, trust=faults.trust)
    assert faults.requests == 1


def test_what_a_client_sent_that_gave_up_at_once_is_counted(faults: Faults) -> None:
    faults.silence(times=None)
    parts = urlsplit(faults.url)
    for number in range(1, 6):
        with socket.create_connection((parts.hostname, parts.port)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert faults.requests == number
    assert len(faults.connections) == 5


METHODS: dict[str, Callable[[Faults], None]] = {
    "refuse": lambda f: f.refuse(),
    "tls_plaintext": lambda f: f.tls_plaintext(),
    "tls_untrusted": lambda f: f.tls_untrusted(),
    "tls_expired": lambda f: f.tls_expired(),
    "tls_wrong_host": lambda f: f.tls_wrong_host(),
    "tls_close": lambda f: f.tls_close(),
    "tls_stall": lambda f: f.tls_stall(),
    "fin_before_answer": lambda f: f.fin_before_answer(),
    "rst_before_answer": lambda f: f.rst_before_answer(),
    "silence": lambda f: f.silence(),
    "idle_close": lambda f: f.idle_close(),
    "lose_answer": lambda f: f.lose_answer("rst"),
    "late_answer": lambda f: f.late_answer(),
    "garbage": lambda f: f.garbage(),
    "cut_in_headers": lambda f: f.cut_in_headers(by="rst"),
    "cut_body": lambda f: f.cut(by="rst"),
    "cut_chunked": lambda f: f.cut_chunked(),
    "bad_chunk": lambda f: f.bad_chunk(10),
    "cut_until_close": lambda f: f.cut_until_close(),
    "stall": lambda f: f.stall(),
    "drip": lambda f: f.drip(0.001, 3),
    "large_header": lambda f: f.large_header(),
    "large_body": lambda f: f.large_body(),
    "inflated_body": lambda f: f.inflated_body(),
    "cut_gzip": lambda f: f.cut_gzip(),
    "bad_gzip": lambda f: f.bad_gzip(),
    "replaced": lambda f: f.replaced(b"<p>Sign in", "text/html"),
    "early_hints": lambda f: f.early_hints(),
    "unasked_upgrade": lambda f: f.unasked_upgrade(),
    "answered_twice": lambda f: f.answered_twice(),
    "trailing_bytes": lambda f: f.trailing_bytes(),
    "answer": lambda f: f.answer(429),
    "redirect": lambda f: f.redirect(307, "elsewhere"),
    "dns": lambda f: f.dns(),
    "servfail": lambda f: f.servfail(),
    "slow_dns": lambda f: f.slow_dns(0.001),
}


# The request has been sent when a client gives these up.
NOTHING_COMES = ("silence", "late_answer", "tls_stall")
# The head has come.
NO_MORE_COMES = ("stall", "large_body")


@pytest.mark.parametrize("name", METHODS)
def test_each_method_has_its_fault_happen(faults: Faults, name: str) -> None:
    METHODS[name](faults)
    head_within = 0.05 if name in NOTHING_COMES else 10.0
    pieces_within = 0.05 if name in NO_MORE_COMES else 10.0
    with contextlib.suppress(OSError, http.client.HTTPException):
        ask(faults.url, trust=faults.trust, head_within=head_within, pieces_within=pieces_within)
    faults.settle()

    assert len(faults.fired) == 1
    assert callable(getattr(drill_faults, name))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops connection requests")
def test_connection_requests_go_unanswered(faults: Faults) -> None:
    faults.syn_unanswered()
    with pytest.raises(TimeoutError):
        ask(faults.url, head_within=0.05)


def test_a_fault_that_needs_a_kept_connection_waits_for_one(faults: Faults) -> None:
    faults.fin_on_reuse(attempt=2)
    with patient(faults.url) as client:
        client.request("GET", "/things")
        client.request("GET", "/things")

    assert faults.requests == 3


def test_a_fault_of_another_platform_skips_the_test(faults: Faults) -> None:
    elsewhere = Fault("odd", drill_faults.Action.FIN, drill_faults.Moment.REQUEST, platform="plan9")
    with pytest.raises(pytest.skip.Exception, match="odd: only on plan9"):
        faults.plan(elsewhere)


def two_at_once(faults: Faults) -> None:
    faults.cut(times=2, optional=True)
    faults.answer(500, attempt=2)


def one_after_all(faults: Faults) -> None:
    faults.cut(times=None, optional=True)
    faults.answer(500)


def another_url(faults: Faults) -> None:
    assert faults.url
    faults.tls_stall(optional=True)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda f: f.cut(times=0), "once or more, not 0 times"),
        (lambda f: f.cut(attempt=0), "counted from 1"),
        (two_at_once, "“500 from a gateway” cannot meet request 2: “body cut, FIN” meets requests 1 to 2"),
        (one_after_all, "meets requests 1 and up"),
        (another_url, "plan it before asking for `faults.url`"),
    ],
)
def test_what_cannot_be_planned_is_refused(faults: Faults, wrong: Callable[[Faults], Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        wrong(faults)
    assert told in str(caught.value)
    assert all(p.optional for p in faults._agenda.planned)


def test_the_timeline_says_what_happened_and_no_secret(faults: Faults) -> None:
    faults.refuse()
    faults.cut(5, attempt=1)
    with pytest.raises(ConnectionRefusedError):
        ask(faults.url)
    with pytest.raises(http.client.IncompleteRead):
        ask(faults.url)

    told = faults.timeline()
    assert "connection try 1 refused" in told
    assert (
        "request 1 on connection 1: GET /things?token=***&limit=2 [body cut, FIN], service 200, 200" in told
    )
    assert "s3cret" not in told


def test_the_proxy_leaves_the_event_loop_free() -> None:
    """
    The service runs on the test's own loop: a proxy that blocked it would wait for itself.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async def main() -> tuple[list[bytes], int]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        with Faults(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as faults:
            faults.cut(2)
            got = []
            for _ in range(2):
                parts = urlsplit(faults.url)
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                got.append((await reader.read()).partition(b"\r\n\r\n")[2])
                writer.close()
            requests = faults.requests
        server.close()
        return got, requests

    assert asyncio.run(main()) == ([b"he", b"hello"], 2)


# --- services --------------------------------------------------------------------------------


@pytest.fixture
def services() -> Iterator[Services]:
    with Services() as services:
        yield services


def no_sandbox() -> Any:
    raise AssertionError("the sandbox was asked for")


def test_a_service_is_a_url_an_application_its_name_or_something_with_a_url(services: Services) -> None:
    shop = Shop()
    url = services.url_of(shop, no_sandbox)

    assert b"/things" in ask(url)
    assert services.url_of(shop, no_sandbox) == url
    assert services.url_of(url, no_sandbox) == url
    assert services.url_of(type("Running", (), {"url": url})(), no_sandbox) == url
    assert services.url_of(f"{__name__}:SHOP", no_sandbox).startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("service", "told"),
    [
        (7, "no base URL and no ASGI application: 7"),
        ("shop", "no base URL, no module:attribute and no sandbox:NAME"),
        ("no_such_module_here:app", "cannot be loaded"),
        ("json:app", "cannot be loaded"),
        ("sandbox:shop", "the sandbox has no service 'shop'; it has kneo"),
    ],
)
def test_what_is_no_service_is_told(services: Services, service: Any, told: str) -> None:
    class Sandbox(dict[str, Any]):
        services = ("kneo",)

    with pytest.raises(UsageError) as caught:
        services.url_of(service, Sandbox)
    assert told in str(caught.value)


def test_an_application_that_does_not_start_is_told(services: Services) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(UsageError, match="did not start"):
        services.url_of(broken, no_sandbox)


# --- in a run of pytest ----------------------------------------------------------------------

INNER = """
import http.client
import pytest
from urllib.parse import urlsplit

URL = {url!r}

def ask(url):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    try:
        connection.request("GET", parts.path + "/things")
        return connection.getresponse().read()
    finally:
        connection.close()

@pytest.fixture
def indirectly(faults):
    return faults

def test_meets_its_fault(faults):
    faults.cut(after_bytes=3)
    with pytest.raises(http.client.IncompleteRead):
        ask(faults.url)

def test_never_meets_its_fault(indirectly):
    indirectly.cut(times=2)
    with pytest.raises(http.client.IncompleteRead):
        ask(indirectly.url)

def test_may_do_without(faults):
    faults.cut(optional=True)

def test_fails_by_itself(faults):
    faults.answer(503)
    assert ask(faults.url) == b"ok"

@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail(faults):
    faults.cut()

@pytest.mark.failwell_service(URL + "/below")
def test_has_a_service_of_its_own(faults):
    assert b"/below/things" in ask(faults.url)

def test_jumps(clock):
    clock.sleep(3)
    assert clock.sleeps == [3]

def test_without_a_sandbox(sandbox): ...
"""


def test_a_fault_that_never_happened_fails_its_test_and_a_failure_has_its_timeline(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setitem(sys.modules, "failwell_sandbox", None)
    pytester.makeini(f"[pytest]\nfailwell_service = {faults.url}\n")
    pytester.makepyfile(INNER.format(url=faults.url))

    result = pytester.runpytest_inprocess("-p", "failwell.pytest_plugin", "--strict-markers")

    result.assert_outcomes(passed=4, failed=2, xfailed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*UsageError: the sandbox cannot be started without failwell_sandbox: pip install*",
            "*test_never_meets_its_fault*",
            "NOT EXERCISED: a planned fault did not happen, so this test shows nothing about it.",
            "  body cut, FIN: planned for requests 1 to 2; there were 1, and it happened 1 times",
            "*request 1 on connection 1: GET /things [[]body cut, FIN[]], service 200, 200 passed on*",
            "*failwell: what crossed the wire*",
            "*503 from a gateway*the service was not asked, 503 passed on*",
        ]
    )


def test_the_sandbox_is_there_if_it_is_installed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    # One of its services is enough here, and five are slow to start.
    monkeypatch.setattr("failwell_sandbox.running", partial(failwell_sandbox.running, ("kneo",)))
    pytester.makepyfile(
        """
        from failwell_sandbox import Sandbox

        def test_asks_kneo(faults, sandbox):
            assert isinstance(sandbox, Sandbox)
            faults.answer(503)
            assert faults.url.startswith("http://127.0.0.1:")
            from kneo_client import KneoClient
            with KneoClient(sandbox.kneo.keys.full, base_url=faults.url) as kneo:
                assert kneo.platform.specs.list()
        """
    )

    pytester.runpytest_inprocess("-p", "failwell.pytest_plugin").assert_outcomes(passed=1)


def test_pytest_finds_the_plugin() -> None:
    (point,) = entry_points(group="pytest11", name="failwell")
    assert point.value == "failwell.pytest_plugin"


def test_to_have_the_plugin_costs_nothing_before_a_fixture_is_asked_for() -> None:
    script = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport failwell.pytest_plugin\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == [
        "failwell",
        "failwell.exports",
        "failwell.pytest_plugin",
        "failwell.version",
    ]


def test_the_example_of_the_documentation_passes(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "testing.md").read_text("utf-8")
    pytester.makepyfile(page.partition("```python\n")[2].partition("```")[0])
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")

    pytester.runpytest_inprocess("-p", "failwell.pytest_plugin").assert_outcomes(passed=4)


def test_each_fault_that_is_named_in_the_documentation_is_a_method() -> None:
    page = (Path(__file__).parents[1] / "docs" / "testing.md").read_text("utf-8")
    named = re.findall(r"`(\w+)`", page.partition("has its name there:")[2].partition("\n")[0])

    assert len(named) > 10
    assert [name for name in named if not callable(getattr(Faults, name, None))] == []
