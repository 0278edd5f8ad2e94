"""Proxies and certificates, given or of the environment, for every engine."""

from __future__ import annotations

import base64
import select
import socket
from collections.abc import Callable
from pathlib import Path
from traceback import TracebackException
from typing import Any

import httpx2
import pytest
from engine_carriers import Carrier
from test_engine_table import assert_broken
from wire_faults import BODY, Certificates, Faults, answer, says

from failwell.call.messages import Broken, Phase, Reason, Response, Send
from failwell.engines import open_async_engine, open_engine
from failwell.engines.base import Connections
from failwell.engines.routes import proxy_for
from failwell.errors import ConfigurationError

Make = Callable[..., Send]
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Proxy:
    """
    A behaviour for `Faults`: tunnels CONNECT to the port it names, answers other requests itself.

    Attributes:
        heads: The head of each request to the proxy.
        answers: What it says to CONNECT.
    """

    def __init__(self, answers: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.heads: list[bytes] = []
        self.answers = answers

    def __call__(self, server: Faults, connection: Any, number: int) -> None:
        while request := server.read(connection):
            self.heads.append(request.partition(b"\r\n\r\n")[0])
            if not request.startswith(b"CONNECT "):
                connection.sendall(answer())
                continue
            connection.sendall(self.answers)
            if b" 200 " not in self.answers:
                return
            port = int(request.split(b" ")[1].rpartition(b":")[2])
            with socket.create_connection(("127.0.0.1", port)) as onward:
                _join(connection, onward)
            return


def _join(one: Any, other: Any) -> None:
    """Carry bytes both ways until either ends; in one thread, which is all that TLS sockets bear."""
    while True:
        ready = [s for s in (one, other) if getattr(s, "pending", int)()]
        for source in ready or select.select([one, other], [], [], 20)[0]:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)


@pytest.fixture
def trusted(certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test authority, in SSL_CERT_FILE."""
    path = tmp_path / "authority.pem"
    certificates.authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def test_ssl_cert_file_is_trusted(
    carrier: Carrier, order: Make, certificates: Certificates, trusted: Path
) -> None:
    with Faults(says(answer(), each=True), certificates.server()) as server:
        results = carrier(order(server.url), order(server.url))

    assert [getattr(result, "status", result) for result in results] == [200, 200]
    assert server.connections == 1


def test_ssl_cert_file_does_not_count_where_the_environment_is_not_trusted(
    carrier: Carrier, order: Make, certificates: Certificates, trusted: Path
) -> None:
    if carrier.engine == "pyreqwest":
        pytest.skip("Rust's reader of certificates looks at SSL_CERT_FILE by itself: see docs/engines.md")
    with Faults(says(answer()), certificates.server()) as server:
        (result,) = carrier(order(server.url), connections=Connections(trust_env=False))

    assert_broken(result, carrier.engine, Phase.NOT_SENT, Reason.TLS_UNTRUSTED)


def test_a_certificate_for_another_host_is_untrusted(carrier: Carrier, order: Make, trusted: Path) -> None:
    certificates = Certificates()
    trusted.write_bytes(certificates.authority.cert_pem.bytes())
    certificates.certificate = certificates.authority.issue_cert("elsewhere.test")
    with Faults(says(answer()), certificates.server()) as server:
        (result,) = carrier(order(server.url))

    assert_broken(result, carrier.engine, Phase.NOT_SENT, Reason.TLS_UNTRUSTED)


def test_verify_false_checks_nothing(carrier: Carrier, order: Make, certificates: Certificates) -> None:
    with Faults(says(answer()), certificates.server()) as server:
        (result,) = carrier(order(server.url), connections=Connections(verify=False))

    assert isinstance(result, Response)


def test_a_context_of_ones_own_is_used(carrier: Carrier, order: Make, certificates: Certificates) -> None:
    connections = Connections(verify=certificates.client())
    if carrier.engine == "pyreqwest":
        with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
            carrier(connections=connections)
        return
    with Faults(says(answer()), certificates.server()) as server:
        (result,) = carrier(order(server.url), connections=connections)

    assert isinstance(result, Response)


def test_certificates_that_cannot_be_read_are_a_configuration_error(
    carrier: Carrier, order: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))

    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        carrier(order("https://127.0.0.1:1/"))


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
def test_a_tunnel_of_the_environment(
    variable: str,
    carrier: Carrier,
    order: Make,
    certificates: Certificates,
    trusted: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    Two calls go through one tunnel; the proxy sees its password, and nothing of the call.
    """
    proxy = Proxy()
    with Faults(proxy) as via, Faults(says(answer(), each=True), certificates.server()) as server:
        monkeypatch.setenv(variable, f"http://user:p%40ss@127.0.0.1:{via.port}")
        results = carrier(order(server.url), order(server.url))

    assert [getattr(result, "content", result) for result in results] == [BODY, BODY]
    assert len(server.requests) == 2
    (head,) = proxy.heads
    assert head.startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1" % server.port)
    credentials = base64.b64encode(b"user:p@ss").lower()
    assert b"proxy-authorization: basic " + credentials in head.lower()
    assert b"s3cr3t" not in head
    assert b"proxy-authorization" not in server.requests[0].lower()


def test_plain_http_is_forwarded(carrier: Carrier, order: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy()
    with Faults(proxy) as via:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:word@127.0.0.1:{via.port}")
        results = carrier(order("http://service.invalid/v1/things?a=1"), order("http://service.invalid/"))

    assert [getattr(result, "content", result) for result in results] == [BODY, BODY]
    assert proxy.heads[0].startswith(b"POST http://service.invalid/v1/things?a=1 HTTP/1.1")
    assert b"proxy-authorization: basic dxnlcjp3b3jk" in proxy.heads[0].lower()
    assert via.connections == 1


def test_a_given_proxy_counts_before_the_environment(
    carrier: Carrier, order: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy()
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "*")
    with Faults(proxy) as via:
        connections = Connections(proxy=f"http://127.0.0.1:{via.port}")
        (result,) = carrier(order("http://service.invalid/"), connections=connections)

    assert isinstance(result, Response)


def test_no_proxy_leaves_a_host_out(carrier: Carrier, order: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "service.invalid,127.0.0.1")
    with Faults(says(answer())) as server:
        (result,) = carrier(order(server.url))

    assert isinstance(result, Response)


def test_a_proxy_that_refuses_sent_nothing(
    carrier: Carrier, order: Make, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    And the pool has room again: a hundred refusals do not use it up.
    """
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    with Faults(Proxy(refusal)) as via:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:s3cr3t@127.0.0.1:{via.port}")
        results = carrier(
            *(order("https://service.invalid/") for _ in range(3)), connections=Connections(max_connections=1)
        )

    for result in results:
        assert_broken(result, carrier.engine, Phase.NOT_SENT, Reason.PROXY)


@pytest.mark.parametrize(
    "says_", [b"", b"HTTP/1.1 200", b"what?\r\n\r\n"], ids=["nothing", "a part", "garbage"]
)
def test_a_proxy_that_breaks_sent_nothing(
    says_: bytes, carrier: Carrier, order: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Faults(Proxy(says_)) as via:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{via.port}")
        (result,) = carrier(order("https://service.invalid/"))

    assert isinstance(result, Broken)
    assert result.phase is Phase.NOT_SENT
    assert result.reason in (Reason.PROXY, Reason.TLS, Reason.UNREACHABLE)


def test_a_proxy_nobody_runs_is_refused(
    carrier: Carrier, order: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    (result,) = carrier(order("https://service.invalid/"))

    assert_broken(result, carrier.engine, Phase.NOT_SENT, Reason.REFUSED)


def test_a_stalled_tunnel_is_a_connect_timeout(
    carrier: Carrier, order: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Faults(says(stay=True)) as via:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{via.port}")
        results = carrier(
            *(order("https://service.invalid/", connect=0.3) for _ in range(2)),
            connections=Connections(max_connections=1),
        )

    for result in results:
        assert_broken(result, carrier.engine, Phase.NOT_SENT, Reason.CONNECT_TIMEOUT)


def test_an_untrusted_certificate_behind_a_tunnel(
    carrier: Carrier, order: Make, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Again and again, without using the pool up.
    """
    with Faults(Proxy()) as via, Faults(says(answer()), certificates.server()) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{via.port}")
        results = carrier(*(order(server.url) for _ in range(3)), connections=Connections(max_connections=1))

    for result in results:
        assert_broken(result, carrier.engine, Phase.NOT_SENT, Reason.TLS_UNTRUSTED)


def test_a_connection_lost_behind_a_tunnel_was_sent(
    carrier: Carrier,
    order: Make,
    certificates: Certificates,
    trusted: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Faults(Proxy()) as via, Faults(says(), certificates.server()) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{via.port}")
        (result,) = carrier(order(server.url))

    broken = assert_broken(result, carrier.engine, Phase.SENT, getattr(result, "reason", Reason.CLOSED))
    assert broken.reason in (Reason.CLOSED, Reason.RESET)
    assert len(server.requests) == 1


def test_tls_to_the_proxy_itself(
    carrier: Carrier,
    order: Make,
    certificates: Certificates,
    trusted: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    TLS inside TLS, and a plain call forwarded inside TLS.
    """
    proxy = Proxy()
    with (
        Faults(proxy, certificates.server()) as via,
        Faults(says(answer(), each=True), certificates.server()) as server,
    ):
        monkeypatch.setenv("ALL_PROXY", f"https://127.0.0.1:{via.port}")
        results = carrier(
            order(server.url), order(server.url), order("http://service.invalid/"), order(server.url, "GET")
        )

    assert [getattr(result, "content", result) for result in results] == [BODY] * 4
    assert [head.split(b" ")[0] for head in proxy.heads] == [b"CONNECT", b"POST"]


@pytest.mark.parametrize("proxy", ["nonsense", "ftp://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_a_proxy_that_cannot_be_used_is_a_configuration_error(
    proxy: str, carrier: Carrier, order: Make
) -> None:
    """
    Neither the message nor a local variable quotes the URL, which may hold a password.
    """
    connections = Connections(proxy=proxy.replace("://", "://user:s3cr3t@"))
    with pytest.raises(ConfigurationError) as caught:
        carrier(order("http://127.0.0.1:1/"), order("https://127.0.0.1:1/"), connections=connections)

    shown = TracebackException.from_exception(caught.value, capture_locals=True)
    assert "s3cr3t" not in str(caught.value) + repr(connections) + "".join(shown.format())


def test_a_proxy_of_the_environment_prints_as_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "user:s3cr3t@127.0.0.1:1")

    found = proxy_for(httpx2.URL("https://api.example/"), Connections())

    assert found == "http://user:s3cr3t@127.0.0.1:1"
    assert "s3cr3t" not in repr(found)


URLS = [
    "http://example.org/",
    "https://example.org/",
    "https://www.example.org/",
    "https://wwwexample.org/",
    "https://example.org:8443/",
    "http://localhost/",
    "http://192.168.1.7/",
    "http://10.0.0.1/",
    "http://[::1]/",
    "http://[fd00::7]/",
]
EXCEPTIONS = [
    "",
    "*",
    "a.test,*,b.test",
    "example.org",
    ".example.org",
    "*.example.org",
    "https://example.org",
    "example.org:8443",
    "localhost",
    "192.168.0.0/16",
    "10.0.0.1, ::1",
    "fd00::/8",
    "[::1]",
    "10.0.0.1/99,example.org/path,http://[oops",
]


@pytest.mark.parametrize("exceptions", EXCEPTIONS)
def test_the_environment_is_read_as_httpx_reads_it(exceptions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    For each URL, the proxy is the one that `httpx2.Client` would take.
    """
    monkeypatch.setenv("HTTP_PROXY", "127.0.0.1:1001")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1002")
    monkeypatch.setenv("NO_PROXY", exceptions)
    ports: dict[str, int | None] = {}
    with httpx2.Client() as client:
        for url in URLS:
            transport: Any = client._transport_for_url(httpx2.URL(url))
            found = transport._pool._proxy_url.port if hasattr(transport._pool, "_proxy_url") else None
            ports[url] = found

    for url in URLS:
        proxy = proxy_for(httpx2.URL(url), Connections())
        assert (None if proxy is None else httpx2.URL(proxy).port) == ports[url], url


def test_an_engine_that_is_not_there_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It says what to install, or what there is.
    """
    with pytest.raises(ConfigurationError, match="'httpx' and 'pyreqwest'"):
        open_engine("requests", Connections())
    with pytest.raises(ConfigurationError, match="'aiohttp'"):
        open_async_engine("requests", Connections())
    with pytest.raises(ConfigurationError, match="AsyncClient only"):
        open_engine("aiohttp", Connections())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"failwell\[aiohttp\]"):
        open_async_engine("aiohttp", Connections())
    with pytest.raises(ConfigurationError, match=r"failwell\[pyreqwest\]"):
        open_engine("pyreqwest", Connections())
