"""Clients and transports of httpx2 and httpx that somebody brought: driven as they are, left open."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import httpx2
import pytest
import trio
from test_engine_table import ROWS, Row, assert_broken
from wire_faults import (
    BODY,
    Certificates,
    Faults,
    answer,
    closed_port,
    gzipped,
    reset,
    says,
)

from failwell.call.messages import Broken, Phase, Reason, Response, Send
from failwell.engines import open_async_engine, open_engine
from failwell.engines.base import Connections
from failwell.engines.brought import MAY_HAVE_LEFT, NEVER_LEFT
from failwell.errors import ArgumentTypeError, ConfigurationError, UsageError

Make = Callable[..., Send]
LIBRARIES = {"httpx2": httpx2, "httpx": httpx}


class Brought:
    """Carries orders out over a client of `library`, driven as `drive` says."""

    def __init__(self, library: str, drive: str) -> None:
        self.library: Any = LIBRARIES[library]
        self.engine = library
        self.drive = drive

    def __call__(self, *orders: Send, connections: Connections | None = None, **client: Any) -> list[Any]:
        client = {"trust_env": False, **client}
        connections = connections or Connections()
        if self.drive == "sync":
            with self.library.Client(**client) as own:
                engine = open_engine(own, connections)
                results = [engine.send(order) for order in orders]
                engine.close()
                assert not own.is_closed
                return results
        if self.drive == "asyncio":
            return asyncio.run(self._awaited(orders, connections, client))
        return trio.run(self._awaited, orders, connections, client)

    async def _awaited(self, orders: Any, connections: Connections, client: Any) -> list[Any]:
        async with self.library.AsyncClient(**client) as own:
            engine = open_async_engine(own, connections)
            results = [await engine.send(order) for order in orders]
            await engine.aclose()
            assert not own.is_closed
            return results


@pytest.fixture(
    params=[(lib, drive) for lib in LIBRARIES for drive in ("sync", "asyncio", "trio")], ids="-".join
)
def brought(request: pytest.FixtureRequest) -> Brought:
    return Brought(*request.param)


def assert_cause(result: Any, brought: Brought, phase: Phase, reason: Reason) -> Broken:
    broken = assert_broken(result, brought.engine, phase, reason, family=brought.library.HTTPError)
    assert isinstance(broken.cause, brought.library.RequestError)
    assert set(broken.cause.request.headers) <= {"host", "content-length"}
    return broken


# What a client that is driven from outside cannot tell, and says instead.
OTHERWISE: dict[str, Reason] = {
    "cut inside the headers by FIN": Reason.CLOSED,
    "cut inside the headers by RST": Reason.RESET,
    "garbage without a line end": Reason.CLOSED,
    "headers without an end": Reason.NOT_HTTP,
}


# httpx leaves the generators below a body that is not read to its end to the garbage collector.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_broken_attempt_over_a_brought_client(row: Row, brought: Brought, order: Make) -> None:
    """
    The rows of the engine table, with what the client's own layers hide.
    """
    if row.name == "headers that drip past the deadline" and brought.drive == "sync":
        pytest.skip("a blocking client cannot be stopped while a head drips: see docs/engines.md")
    with Faults(row.behave) as server:
        (result,) = brought(order(server.url, **row.timeouts), connections=row.connections)

    broken = assert_cause(result, brought, row.phase, OTHERWISE.get(row.name, row.reason))
    assert len(server.requests) == 1
    assert broken.status == row.status


def test_nothing_left_when_no_connection_was_made(
    brought: Brought, order: Make, certificates: Certificates
) -> None:
    def hang_up(server: Faults, connection: Any, number: int) -> None:
        connection.recv(65536)
        if number == 2:
            reset(connection)
        elif number == 3:
            connection.sendall(b"\x15\x03\x03\x00\x02\x02\x28")  # an alert: handshake_failure

    with (
        closed_port() as port,
        Faults(says(answer()), certificates.server()) as untrusted,
        Faults(hang_up) as hanging,
    ):
        refused, unknown, untrusted_, *hung = brought(
            order(f"http://127.0.0.1:{port}/"),
            order("http://nowhere.invalid/"),
            order(untrusted.url),
            *(order(f"https://127.0.0.1:{hanging.port}/") for _ in range(3)),
        )

    assert_cause(refused, brought, Phase.NOT_SENT, Reason.REFUSED)
    assert_cause(unknown, brought, Phase.NOT_SENT, Reason.DNS)
    assert_cause(untrusted_, brought, Phase.NOT_SENT, Reason.TLS_UNTRUSTED)
    for result, reason in zip(hung, (Reason.TLS_CLOSED, Reason.TLS_CLOSED, Reason.TLS), strict=True):
        assert_cause(result, brought, Phase.NOT_SENT, reason)


@pytest.mark.parametrize("url", ["things", "ftp://127.0.0.1/", "http://", "http://u:s3cr3t@127.0.0.1:x/"])
def test_a_bad_url_is_told_without_its_secrets(url: str, brought: Brought, order: Make) -> None:
    (result,) = brought(order(url))

    assert isinstance(result, Broken)
    assert (result.phase, result.reason) == (Phase.NOT_SENT, Reason.BAD_URL)
    assert "s3cr3t" not in repr(result.cause)


def test_a_mock_answers(brought: Brought, order: Make) -> None:
    """
    Their mocks fit: as a client's transport; compressed bodies are undone, hooks and auth work.
    """
    seen: list[Any] = []

    def handler(request: Any) -> Any:
        seen.append(request)
        return brought.library.Response(200, headers={"content-encoding": "gzip"}, content=gzipped(BODY))

    transport = brought.library.MockTransport(handler)
    (result,) = brought(
        order("http://mock.test/v1/things", headers={"x-a": "1"}),
        transport=transport,
        auth=("user", "word"),
        params={"p": "q"},
    )

    assert isinstance(result, Response)
    assert (result.status, result.content) == (200, BODY)
    (request,) = seen
    assert str(request.url) == "http://mock.test/v1/things?p=q"
    assert request.headers["x-a"] == "1"
    assert request.headers["accept-encoding"] == "gzip, deflate"
    assert request.headers["authorization"].startswith("Basic ")


def test_a_bare_transport_is_driven(brought: Brought, order: Make) -> None:
    """
    A transport without a client around it will do, too, and is asked even after a fork.
    """
    transport = brought.library.MockTransport(lambda request: brought.library.Response(201, json={"a": 1}))
    if brought.drive == "sync":
        result: Any = open_engine(transport, Connections()).send(order("http://mock.test/"))
    else:
        engine = open_async_engine(transport, Connections())
        run = asyncio.run if brought.drive == "asyncio" else lambda coro: trio.run(lambda: coro)
        result = run(engine.send(order("http://mock.test/")))

    assert isinstance(result, Response)
    assert (result.status, result.json()) == (201, {"a": 1})


@pytest.mark.parametrize("name", [*NEVER_LEFT, *MAY_HAVE_LEFT])
def test_a_mock_that_raises_is_judged_by_its_class(name: str, brought: Brought, order: Make) -> None:
    """
    Without a network, the class is all there is: four mean that nothing left, the others that it may have.
    """
    kind = getattr(brought.library, name, None)
    if kind is None:
        pytest.skip(f"{brought.engine} has no {name}")

    def handler(request: Any) -> Any:
        raise kind("gone")

    (result,) = brought(order("http://mock.test/"), transport=brought.library.MockTransport(handler))

    expected = NEVER_LEFT.get(name) or MAY_HAVE_LEFT[name]
    phase = Phase.NOT_SENT if name in NEVER_LEFT else Phase.SENT
    assert isinstance(result, Broken)
    assert (result.phase, result.reason) == (phase, expected)


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_every_transport_error_of_the_family_is_listed_once(library: Any) -> None:
    """
    A release that adds a class makes this fail, instead of being guessed at.
    """
    leaves, waiting = set(), [library.TransportError]
    while waiting:
        kind = waiting.pop()
        below = [c for c in kind.__subclasses__() if c.__module__.startswith(("httpx", "httpx2"))]
        waiting += below
        if not below:
            leaves.add(kind.__name__)

    assert leaves <= NEVER_LEFT.keys() | MAY_HAVE_LEFT.keys()
    assert not NEVER_LEFT.keys() & MAY_HAVE_LEFT.keys()


def test_a_hook_may_read_the_body(brought: Brought, order: Make) -> None:
    if brought.drive == "sync":

        def hook(response: Any) -> None:
            response.read()
    else:

        async def hook(response: Any) -> None:  # type: ignore[misc]
            await response.aread()

    with Faults(says(answer(gzipped(BODY), "200 OK", "content-encoding: gzip"))) as server:
        (result,) = brought(order(server.url), event_hooks={"response": [hook]})

    assert isinstance(result, Response)
    assert result.content == BODY


def test_what_is_no_failure_of_the_call_passes(brought: Brought, order: Make) -> None:
    """
    A bug in somebody's transport is not made into an error of the call.
    """

    def handler(request: Any) -> Any:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        brought(order("http://mock.test/"), transport=brought.library.MockTransport(handler))


def test_an_illegal_header_is_named_without_its_value(brought: Brought, order: Make) -> None:
    with pytest.raises(UsageError, match="'x-a'") as caught:
        brought(order("http://mock.test/", headers={"x-a": "s3cr3t\r\nx: y"}))

    assert "s3cr3t" not in f"{caught.value!r}{caught.value.__context__!r}"


def test_a_redirect_is_not_followed_even_if_the_client_would(brought: Brought, order: Make) -> None:
    with Faults(says(answer(b"", "302 Found", "location: /elsewhere"))) as server:
        (result,) = brought(order(server.url), follow_redirects=True)

    assert isinstance(result, Response)
    assert result.status == 302
    assert len(server.requests) == 1


def test_a_client_of_the_wrong_kind_is_refused() -> None:
    for thing in (httpx2.AsyncClient(), Decimal(1)):
        with pytest.raises(ConfigurationError, match="Client"):
            open_engine(thing, Connections())
    for thing in (object(), 1, httpx2):
        with pytest.raises(ArgumentTypeError, match="client or transport of httpx2"):
            open_engine(thing, Connections())
    with httpx.Client() as client, pytest.raises(ConfigurationError, match="AsyncClient"):
        open_async_engine(client, Connections())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_brought_client_is_refused_after_a_fork(order: Make, in_child: Callable[..., str]) -> None:
    """
    It shares sockets with the parent: the answers of one would go to the other.
    """
    with httpx2.Client() as client:
        engine = open_engine(client, Connections())
        with Faults(says(answer(), each=True)) as server:
            assert isinstance(engine.send(order(server.url)), Response)

            def ask() -> str:
                try:
                    engine.send(order(server.url))
                except ConfigurationError as exc:
                    return str(exc)
                return "sent"

            assert "make one in each process" in in_child(ask)


def test_a_sync_drip_ends_at_the_deadline(order: Make) -> None:
    """
    The deadline is looked at between the pieces of a body.
    """
    row = next(row for row in ROWS if row.name == "a body that drips past the deadline")
    with Faults(row.behave) as server, httpx2.Client() as client:
        began = time.monotonic()
        result = open_engine(client, Connections()).send(order(server.url, read=5.0, seconds=0.4))

    assert isinstance(result, Broken)
    assert result.reason is Reason.DEADLINE
    assert time.monotonic() - began < 4.0


def test_no_limit_is_a_limit_too(brought: Brought, order: Make) -> None:
    endless = dict.fromkeys(("seconds", "connect", "read", "write", "pool"), float("inf"))
    with Faults(says(0.05, answer())) as server:
        (result,) = brought(order(server.url, **endless))

    assert isinstance(result, Response)
