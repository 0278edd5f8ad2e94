"""`understand`: real failures of real libraries over real sockets, and shapes of SDK errors."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import os
import pickle
import socket
import ssl
import struct
import threading
import time
import types
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3

import failwell
from failwell import Effect, Failure, understand
from failwell.interop import _TABLES, request_behind

# What must answer has this long, even on a busy machine; `impatient` shortens it for what never does.
patience = 20.0
TOKEN = "tok-9f8e7d6c5b4a39281706"
QUERY_SECRET = "qs-1a2b3c4d5e6f7a8b9c0d"


# --- A server that fails in one way ---------------------------------------------------------

Handler = Callable[[socket.socket], None]


class Server:
    """Accepts on loopback and hands each connection to `handler`, once its request was read."""

    def __init__(self, handler: Handler, *, reads: bool = True) -> None:
        self._handler, self._reads = handler, reads
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self._open.append(peer)
                with contextlib.suppress(OSError):
                    if self._reads:
                        _read_request(peer)
                    self._handler(peer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._open:
            peer.close()
        self._thread.join(5)


def _read_request(peer: socket.socket) -> None:
    peer.settimeout(5)
    received = b""
    while b"\r\n\r\n" not in received:
        piece = peer.recv(65536)
        if not piece:
            return
        received += piece


def answers(data: bytes) -> Handler:
    def handle(peer: socket.socket) -> None:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)

    return handle


def resets(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def hangs_up_in_the_handshake(peer: socket.socket) -> None:
    peer.recv(65536)
    peer.shutdown(socket.SHUT_RDWR)


def resets_in_the_handshake(peer: socket.socket) -> None:
    peer.recv(65536)
    resets(peer)


def refuses_the_handshake(peer: socket.socket) -> None:
    peer.recv(65536)
    peer.sendall(bytes([21, 3, 3, 0, 2, 2, 40]))  # RFC 8446, section 6: handshake_failure
    peer.shutdown(socket.SHUT_WR)


def keeps_silent(peer: socket.socket) -> None:
    """The connection stays open until the server is closed."""


BUSY = (
    b"HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nX-Request-ID: req-7\r\n"
    b'Content-Length: 33\r\n\r\n{"detail":"busy","code":"locked"}'
)
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"
CHUNK_CUT = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"
BAD_GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde"
GARBAGE = b"SSH-2.0-OpenSSH_9.2\r\n\r\n"


@pytest.fixture
def server() -> Iterator[Callable[..., str]]:
    """Starts a server and gives the URL to ask, with a secret in its query."""
    started: list[Server] = []

    def start(handler: Handler, *, tls: bool = False) -> str:
        started.append(Server(handler, reads=not tls))
        return f"http{'s' if tls else ''}://127.0.0.1:{started[-1].port}/jobs?api_key={QUERY_SECRET}"

    yield start
    for each in started:
        each.close()


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a port that nobody listens on, and nobody else can take."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/jobs?api_key={QUERY_SECRET}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers that never answer."""
    # A connection must still be made in that time while the machine is busy.
    monkeypatch.setitem(globals(), "patience", 1.0)


# --- Libraries --------------------------------------------------------------------------------

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
LOOSE = ssl.create_default_context()
LOOSE.check_hostname, LOOSE.verify_mode = False, ssl.CERT_NONE


def _httpx(module: Any) -> Callable[..., None]:
    def post(url: str, method: str = "POST", **options: Any) -> None:
        with module.Client(timeout=patience, verify=LOOSE, trust_env=False, **options) as client:
            client.request(method, url, headers=HEADERS).raise_for_status()

    return post


def _httpx_async(module: Any) -> Callable[..., None]:
    def post(url: str, method: str = "POST") -> None:
        async def go() -> None:
            async with module.AsyncClient(timeout=patience, verify=LOOSE, trust_env=False) as client:
                (await client.request(method, url, headers=HEADERS)).raise_for_status()

        asyncio.run(go())

    return post


def _requests(url: str, method: str = "POST") -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.request(method, url, timeout=patience, verify=False, headers=HEADERS).raise_for_status()


def _urllib3(url: str, method: str = "POST") -> None:
    with urllib3.PoolManager(timeout=patience, cert_reqs="CERT_NONE") as pool:
        answer = pool.request(method, url, headers=HEADERS, retries=urllib3.Retry(0, redirect=0))
        if answer.status >= 400:
            raise urllib3.exceptions.HTTPError  # this library raises for no status


def _urllib(url: str, method: str = "POST") -> None:
    request = urllib.request.Request(url, method=method, headers=HEADERS, data=b"")
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=LOOSE)
    )
    with opener.open(request, timeout=patience) as answer:
        answer.read()


def _http_client(url: str, method: str = "POST") -> None:
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=patience, context=LOOSE
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=patience)
    with contextlib.closing(connection):
        connection.request(method, f"{parts.path}?{parts.query}", headers=HEADERS)
        connection.getresponse().read()


def _aiohttp(url: str, method: str = "POST") -> None:
    async def go() -> None:
        timeout = aiohttp.ClientTimeout(sock_connect=patience, sock_read=patience, connect=patience)
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.request(method, url, ssl=LOOSE, headers=HEADERS) as answer,
        ):
            await answer.read()

    asyncio.run(go())


def _pyreqwest(url: str, method: str = "POST") -> None:
    from pyreqwest.client import SyncClientBuilder

    builder = SyncClientBuilder().timeout(timedelta(seconds=patience)).no_proxy().error_for_status(True)
    with builder.danger_accept_invalid_certs(True).build() as client:
        request = client.request(method, url).header("Authorization", HEADERS["Authorization"])
        request.build().send().bytes()


LIBRARIES: dict[str, Callable[..., None]] = {
    "httpx": _httpx(httpx),
    "httpx-async": _httpx_async(httpx),
    "httpx2": _httpx(httpx2),
    "httpx2-async": _httpx_async(httpx2),
    "requests": _requests,
    "urllib3": _urllib3,
    "urllib": _urllib,
    "http.client": _http_client,
    "aiohttp": _aiohttp,
    "pyreqwest": _pyreqwest,
}
every_library = pytest.mark.parametrize("library", LIBRARIES)


def failure_of(library: str, url: str, method: str = "POST") -> Failure:
    with pytest.raises(Exception) as caught:
        LIBRARIES[library](url, method)
    failure = understand(caught.value)
    assert TOKEN not in repr(failure)
    assert QUERY_SECRET not in repr(failure)
    return failure


# --- What each fault is -----------------------------------------------------------------------


@every_library
def test_a_refused_connection_was_not_sent(library: str, nobody: str) -> None:
    failure = failure_of(library, nobody)

    assert (failure.effect, failure.reason) == (Effect.NOT_SENT, "refused")
    assert failure.retryable


@every_library
def test_an_unknown_host_was_not_sent(library: str) -> None:
    failure = failure_of(library, f"http://nobody.invalid:80/jobs?api_key={QUERY_SECRET}")

    assert (failure.effect, failure.reason) == (Effect.NOT_SENT, "dns")


@pytest.mark.usefixtures("impatient")
@every_library
def test_a_stalled_handshake_was_not_sent_whatever_the_library_calls_it(
    library: str, server: Callable[..., str]
) -> None:
    """
    requests and urllib3 call it a read timeout; only the traceback knows better.

    pyreqwest tells it from a silent service by nothing at all, so there it stays open.
    """
    failure = failure_of(library, server(keeps_silent, tls=True))

    if library == "pyreqwest":
        assert (failure.effect, failure.reason) == (Effect.UNKNOWN, "read_timeout")
        return
    assert (failure.effect, failure.reason) == (Effect.NOT_SENT, "connect_timeout")


@pytest.mark.parametrize("handler", [hangs_up_in_the_handshake, resets_in_the_handshake])
@every_library
def test_a_handshake_that_was_cut_was_not_sent_and_may_hold_the_next_time(
    handler: Handler, library: str, server: Callable[..., str]
) -> None:
    """
    anyio, below httpx, and pyreqwest do not always say that it was the handshake.
    """
    failure = failure_of(library, server(handler, tls=True))

    assert (failure.effect, failure.retryable) == (Effect.NOT_SENT, True)
    if not library.endswith("-async") and (library, handler) != ("pyreqwest", resets_in_the_handshake):
        assert failure.reason == "tls_closed"


@every_library
def test_a_handshake_that_was_refused_was_not_sent_and_will_not_heal(
    library: str, server: Callable[..., str]
) -> None:
    failure = failure_of(library, server(refuses_the_handshake, tls=True))

    assert (failure.effect, failure.reason, failure.retryable) == (Effect.NOT_SENT, "tls", False)


@pytest.mark.usefixtures("impatient")
@every_library
def test_silence_after_a_post_leaves_its_effect_open(library: str, server: Callable[..., str]) -> None:
    failure = failure_of(library, server(keeps_silent))

    assert (failure.effect, failure.reason) == (Effect.UNKNOWN, "read_timeout")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("library", [n for n in LIBRARIES if n not in ("http.client", "pyreqwest")])
def test_silence_after_a_get_changed_nothing(library: str, server: Callable[..., str]) -> None:
    """http.client and pyreqwest do not tell the method."""
    failure = failure_of(library, server(keeps_silent), "GET")

    assert failure.effect is Effect.NOT_APPLIED
    assert failure.method == "GET"


@every_library
@pytest.mark.parametrize(
    ("handler", "reasons"), [(lambda peer: peer.close(), {"closed", "reset"}), (resets, {"reset"})]
)
def test_a_connection_lost_after_a_post_leaves_its_effect_open(
    library: str, handler: Handler, reasons: set[str], server: Callable[..., str]
) -> None:
    failure = failure_of(library, server(handler))

    assert failure.effect is Effect.UNKNOWN
    assert failure.reason in reasons


@every_library
def test_an_answer_that_is_not_http_is_told_as_such(library: str, server: Callable[..., str]) -> None:
    """aiohttp gives it a status 400 of its own, which the service never sent."""
    failure = failure_of(library, server(answers(GARBAGE)))

    assert (failure.effect, failure.reason, failure.status) == (Effect.UNKNOWN, "not_http", None)


@every_library
@pytest.mark.parametrize("answer", [CUT, CHUNK_CUT], ids=["length", "chunked"])
def test_a_body_cut_behind_a_200_was_carried_out(
    library: str, answer: bytes, server: Callable[..., str]
) -> None:
    """No exception carries the status; pyreqwest keeps it to itself altogether."""
    failure = failure_of(library, server(answers(answer)))

    assert failure.reason == "cut"
    if library == "pyreqwest":
        assert failure.effect is Effect.UNKNOWN
    else:
        assert (failure.status, failure.effect) == (200, Effect.APPLIED)


@pytest.mark.parametrize("library", [n for n in LIBRARIES if n not in ("urllib", "http.client")])
def test_a_broken_content_encoding_is_told_as_such(library: str, server: Callable[..., str]) -> None:
    """urllib and http.client decode nothing."""
    failure = failure_of(library, server(answers(BAD_GZIP)))

    assert failure.reason == "encoding"


@pytest.mark.parametrize("library", [n for n in LIBRARIES if n not in ("urllib3", "http.client")])
def test_an_answer_is_read_as_the_service_gave_it(library: str, server: Callable[..., str]) -> None:
    """aiohttp's and pyreqwest's errors have no body, so there is nothing to quote."""
    failure = failure_of(library, server(answers(BUSY)))

    assert (failure.status, failure.effect) == (409, Effect.NOT_APPLIED)
    if library not in ("aiohttp", "pyreqwest"):
        assert (failure.message, failure.code, failure.request_id) == ("busy", "locked", "req-7")


def test_an_untrusted_certificate_was_not_sent_and_will_not_heal(server: Callable[..., str]) -> None:
    failure = understand(_chained(httpx.ConnectError("x"), ssl.SSLCertVerificationError(1, "self-signed")))

    assert (failure.effect, failure.reason, failure.retryable) == (Effect.NOT_SENT, "tls_untrusted", False)


# --- Before the last request ------------------------------------------------------------------


def redirect(status: int, to: str) -> bytes:
    return (
        f"HTTP/1.1 {status} See\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    )


def _follow_httpx(url: str) -> None:
    _httpx(httpx)(url, follow_redirects=True)


FOLLOWERS = {"httpx": _follow_httpx, "requests": _requests, "aiohttp": _aiohttp, "urllib": _urllib}


@pytest.mark.parametrize("library", FOLLOWERS)
def test_a_post_answered_303_was_carried_out_though_the_next_host_is_down(
    library: str, server: Callable[..., str], nobody: str
) -> None:
    with pytest.raises(Exception) as caught:
        FOLLOWERS[library](server(answers(redirect(303, nobody))))

    failure = understand(caught.value)

    assert failure.effect is Effect.APPLIED
    assert failure.method == "POST"
    assert QUERY_SECRET not in repr(failure)


@pytest.mark.parametrize("library", FOLLOWERS)
def test_a_post_answered_303_was_carried_out_though_the_next_answer_is_404(
    library: str, server: Callable[..., str]
) -> None:
    gone = server(answers(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    with pytest.raises(Exception) as caught:
        FOLLOWERS[library](server(answers(redirect(303, gone))))

    failure = understand(caught.value)

    assert (failure.status, failure.effect, failure.method) == (404, Effect.APPLIED, "POST")


def test_a_get_redirected_to_a_dead_host_changed_nothing(server: Callable[..., str], nobody: str) -> None:
    with pytest.raises(httpx.ConnectError) as caught:
        _httpx(httpx)(server(answers(redirect(302, nobody))), "GET", follow_redirects=True)

    failure = understand(caught.value)

    assert failure.effect in (Effect.NOT_APPLIED, Effect.NOT_SENT)


def test_aiohttps_silent_second_try_leaves_the_first_one_open(server: Callable[..., str]) -> None:
    """A PUT that was read twice and answered never: aiohttp does not say that it was sent before."""
    failure = failure_of("aiohttp", server(lambda peer: peer.close()), "PUT")

    assert failure.effect is Effect.UNKNOWN


def test_urllib3s_own_retries_leave_earlier_tries_open(server: Callable[..., str]) -> None:
    """The last try was refused; the first had been read."""
    port: list[Server] = []

    def once(peer: socket.socket) -> None:
        peer.close()
        port[0]._listener.close()

    only = Server(once)
    port.append(only)
    with (
        urllib3.PoolManager(timeout=patience) as pool,
        pytest.raises(urllib3.exceptions.MaxRetryError) as caught,
    ):
        pool.request("PUT", f"http://127.0.0.1:{only.port}/", retries=urllib3.Retry(2, backoff_factor=0))

    assert understand(caught.value).effect is Effect.UNKNOWN


# --- Every leaf is judged ---------------------------------------------------------------------


def leaves(cls: type) -> Iterator[type]:
    below: list[type] = cls.__subclasses__()
    if not below:
        yield cls
    for each in below:
        yield from leaves(each)


@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_every_leaf_of_transport_error_is_in_the_table(module: Any) -> None:
    """A new release with a new class fails here instead of being guessed at."""
    named = {c.__name__ for c in leaves(module.TransportError) if c.__module__.startswith(module.__name__)}

    assert named <= set(_TABLES[module.__name__])
    unsent = {n for n in named if _TABLES[module.__name__][n][0].value == "not_sent"}
    assert unsent == {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"}


def test_every_connector_error_of_aiohttp_was_not_sent() -> None:
    for cls in leaves(aiohttp.ClientConnectorError):
        judged = next(
            (_TABLES["aiohttp"][c.__name__] for c in cls.__mro__ if c.__name__ in _TABLES["aiohttp"]), None
        )

        assert judged is not None
        assert judged[0].value == "not_sent", cls


# --- Shapes of SDK errors ---------------------------------------------------------------------


def made(module: str, name: str, *bases: type, **attributes: Any) -> BaseException:
    """An exception of a class called `module.name` with `attributes`, as an SDK would raise it."""
    cls = type(name, bases or (Exception,), {"__module__": module})
    error: BaseException = cls("the SDK's own words")
    for key, value in attributes.items():
        setattr(error, key, value)
    return error


def _chained(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def httpx_response(
    status: int, body: Any, headers: dict[str, str] | None = None, count: str = "0"
) -> httpx.Response:
    request = httpx.Request(
        "POST",
        f"https://api.example.test/v1/runs?key={QUERY_SECRET}",
        headers={**HEADERS, "x-stainless-retry-count": count, "idempotency-key": "idem-1"},
    )
    return httpx.Response(status, json=body, headers=headers or {}, request=request)


def test_an_error_of_the_openai_kind_is_its_response() -> None:
    response = httpx_response(
        429,
        {"error": {"message": f"Slow down, {TOKEN}", "code": "rate_limit_exceeded"}},
        {"retry-after": "7"},
    )
    error = made(
        "openai", "RateLimitError", response=response, status_code=429, body={"message": "Slow down"}
    )

    failure = understand(error)

    assert (failure.status, failure.code, failure.retry_after) == (429, "rate_limit_exceeded", 7.0)
    assert (failure.method, failure.idempotency_key) == ("POST", "idem-1")
    assert failure.effect is Effect.NOT_APPLIED
    assert TOKEN not in repr(failure)
    assert QUERY_SECRET not in repr(failure)


def test_a_refusal_of_an_sdks_second_try_leaves_its_first_open() -> None:
    """The retry count that the SDK sends tells that there was one."""
    error = made("openai", "ConflictError", response=httpx_response(409, {"error": "exists"}, count="1"))

    assert understand(error).effect is Effect.UNKNOWN


def test_a_connection_error_of_the_openai_kind_is_its_cause() -> None:
    request = httpx_response(200, {}).request
    error = _chained(
        made("openai", "APIConnectionError", request=request), httpx.ConnectError("refused", request=request)
    )

    failure = understand(error)

    assert (failure.effect, failure.method) == (Effect.NOT_SENT, "POST")


def test_a_success_that_an_sdk_could_not_parse_was_carried_out() -> None:
    error = made("openai", "APIResponseValidationError", response=httpx_response(200, {"odd": 1}))

    failure = understand(error)

    assert (failure.status, failure.effect, failure.reason) == (200, Effect.APPLIED, "format")


def test_an_error_of_the_stripe_kind_is_read_from_its_body() -> None:
    body = {"error": {"type": "card_error", "code": "card_declined", "message": "Your card was declined."}}
    error = made(
        "stripe", "CardError",
        http_status=402, http_body=json.dumps(body), headers={"Request-Id": "req_9"}, code="card_declined",
    )  # fmt: skip

    failure = understand(error)

    assert (failure.status, failure.code, failure.request_id) == (402, "card_declined", "req_9")
    assert failure.message == "Your card was declined."


@pytest.mark.parametrize(("tries", "effect"), [(0, Effect.NOT_APPLIED), (2, Effect.UNKNOWN)])
def test_an_error_of_the_botocore_kind_is_read_from_its_parsed_response(tries: int, effect: Effect) -> None:
    about = {"HTTPStatusCode": 400, "RequestId": "4QX", "HTTPHeaders": {}, "RetryAttempts": tries}
    error = made(
        "botocore.exceptions", "ClientError",
        response={"Error": {"Code": "ValidationException", "Message": "No such"}, "ResponseMetadata": about},
    )  # fmt: skip

    failure = understand(error)

    assert (failure.status, failure.code, failure.message) == (400, "ValidationException", "No such")
    assert (failure.request_id, failure.effect) == ("4QX", effect)


def test_a_refused_connection_of_a_library_that_retries_in_silence_stays_open() -> None:
    error = _chained(
        made("botocore.exceptions", "EndpointConnectionError"), ConnectionRefusedError(111, "no")
    )

    failure = understand(error)

    assert (failure.effect, failure.reason) == (Effect.UNKNOWN, "refused")


def test_an_error_of_the_google_kind_is_read_without_its_response() -> None:
    code = types.SimpleNamespace(name="RESOURCE_EXHAUSTED")
    error = made(
        "google.api_core.exceptions", "ResourceExhausted",
        code=http.HTTPStatus(429), message="Quota", errors=[], response=None, grpc_status_code=code,
    )  # fmt: skip

    failure = understand(error)

    assert (failure.status, failure.message, failure.code) == (429, "Quota", "RESOURCE_EXHAUSTED")


def test_an_error_of_the_azure_kind_is_its_response() -> None:
    response = types.SimpleNamespace(
        status_code=404,
        headers={"x-ms-request-id": "ms-1", "content-type": "application/json"},
        content=b'{"error":{"code":"BlobNotFound","message":"No blob."}}',
        request=types.SimpleNamespace(method="GET", url="https://a.test/x", headers={}),
    )
    error = made("azure.core.exceptions", "ResourceNotFoundError", response=response, status_code=404)

    failure = understand(error)

    assert (failure.status, failure.code, failure.method) == (404, "BlobNotFound", "GET")
    assert failure.effect is Effect.NOT_APPLIED


# --- Walking ----------------------------------------------------------------------------------


def test_an_error_of_failwell_is_its_own_facts() -> None:
    known = Failure(status=409, code="x")

    assert understand(failwell.ConflictError("no", failure=known)) is known
    assert understand(known) is known


def test_an_application_error_is_what_it_was_raised_from() -> None:
    error = _chained(RuntimeError("could not start the run"), httpx.ReadTimeout("slow"))

    assert understand(error).reason == "read_timeout"


def test_a_group_is_its_first_failed_call() -> None:
    group = ExceptionGroup("both", [KeyError("bug"), httpx.ConnectTimeout("slow"), httpx.ReadTimeout("slow")])

    assert understand(group).reason == "connect_timeout"


def test_an_earlier_call_in_the_background_is_not_taken_for_this_one() -> None:
    """A second try made while the first failure was being handled has the first as its context."""
    second = _chained(httpx.ReadTimeout("second"), TimeoutError("timed out"))
    first = _chained(httpx.ConnectError("first"), ConnectionRefusedError(111, "refused"))
    assert second.__cause__ is not None
    second.__context__ = second.__cause__.__context__ = first  # as Python does for both

    failure = understand(second)

    assert (failure.effect, failure.reason) == (Effect.UNKNOWN, "read_timeout")


def test_a_bug_in_a_handler_is_not_the_failure_it_handles() -> None:
    try:
        try:
            raise httpx.ReadTimeout("slow")
        except httpx.ReadTimeout:
            _ = os.environ["FAILWELL_IS_NOT_SET"]
    except KeyError as exc:
        bug = exc

    with pytest.raises(failwell.ArgumentTypeError, match="KeyError is not a failure of an HTTP call"):
        understand(bug)


@pytest.mark.parametrize(
    "thing",
    [
        KeyError("x"), ValueError("x"), FileNotFoundError(2, "no"), PermissionError(13, "no"),
        KeyboardInterrupt(), asyncio.CancelledError(), SystemExit(404),
        requests.exceptions.InvalidHeader("x"), json.JSONDecodeError("x", "", 0),
        failwell.ConfigurationError("x"), RuntimeError("x"), httpx.ResponseNotRead(),
        ExceptionGroup("x", [KeyError("x")]),
    ],
    ids=lambda t: type(t).__name__,
)  # fmt: skip
def test_what_is_no_failed_call_is_not_read_as_one(thing: BaseException) -> None:
    with pytest.raises(failwell.ArgumentTypeError):
        understand(thing)


def test_a_success_is_no_failure() -> None:
    with pytest.raises(failwell.ArgumentTypeError, match="status 204"):
        understand(failwell.Answer(204))


def test_what_has_no_status_is_no_answer() -> None:
    with pytest.raises(failwell.ArgumentTypeError):
        understand(object())


def test_an_exception_that_causes_itself_is_read_once() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first

    with pytest.raises(failwell.ArgumentTypeError):
        understand(first)


def test_attributes_that_raise_are_as_good_as_none() -> None:
    class Hostile(Exception):
        @property
        def response(self) -> Any:
            raise RuntimeError("not now")

        status_code = response

    with pytest.raises(failwell.ArgumentTypeError):
        understand(Hostile())


def test_a_library_that_says_only_that_it_failed_rules_nothing_out() -> None:
    failure = understand(requests.RequestException("who knows"))

    assert (failure.effect, failure.reason, failure.cause) == (Effect.UNKNOWN, None, "who knows")


# --- What is kept -----------------------------------------------------------------------------


def test_nothing_of_the_exception_is_held(server: Callable[..., str]) -> None:
    with pytest.raises(httpx.HTTPStatusError) as caught:
        LIBRARIES["httpx"](server(answers(BUSY)))
    watched = weakref.ref(caught.value.response)

    failure = understand(caught.value)
    del caught
    gc.collect()

    assert watched() is None
    assert pickle.loads(pickle.dumps(failure)) == failure


def test_a_urllib_error_stays_readable_for_its_owner(server: Callable[..., str]) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        LIBRARIES["urllib"](server(answers(BUSY)))

    with caught.value as error:
        assert understand(error).code == "locked"
        assert understand(error).code == "locked"
        assert json.loads(error.read())["detail"] == "busy"


def test_a_url_in_the_librarys_words_is_redacted() -> None:
    text = f"Max retries exceeded with url: /v1?api_key={QUERY_SECRET}&limit=5 (to https://me:{TOKEN}@host/x)"

    failure = understand(requests.exceptions.ConnectTimeout(text))

    assert QUERY_SECRET not in repr(failure)
    assert TOKEN not in repr(failure)
    assert "limit=5" in str(failure.cause)


def test_reading_is_bounded_on_a_long_chain() -> None:
    error: BaseException = httpx.ReadTimeout("the bottom")
    for _ in range(5000):
        error = _chained(RuntimeError("again"), error)
    began = time.process_time()

    with pytest.raises(failwell.ArgumentTypeError):
        understand(error)

    assert time.process_time() - began < 5


def test_a_response_knows_what_was_asked() -> None:
    request = httpx2.Request(
        "POST",
        "https://api.example/runs?token=s3cr3t-s3cr3t",
        headers={"authorization": "Bearer s3cr3t-key-of-bob", "idempotency-key": "key_1"},
    )

    asked = request_behind(httpx2.Response(404, request=request))

    assert (asked.method, asked.key) == ("POST", "key_1")
    assert "s3cr3t-key-of-bob" in asked.secrets
    assert request_behind(httpx2.Response(404)).method is None
    assert request_behind(failwell.Answer(404)).url is None
