"""Connecting under asyncio: one of several addresses, and no socket left behind by a cancellation."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest
from wire_faults import Certificates, Faults, answer, closed_port, full_backlog, says

from failwell.call.messages import Response, Send
from failwell.engines import happy_eyeballs, open_async_engine
from failwell.engines.base import Connections
from failwell.engines.happy_eyeballs import connect

Make = Callable[..., Send]
# More turns of the loop than a connect takes from its beginning to its end.
STEPS = range(40)


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """Every socket that the test's own thread makes: being kept here, none is closed as garbage."""
    made: list[socket.socket] = []
    tester = threading.current_thread()

    class Noted(socket.socket):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            if threading.current_thread() is tester:
                made.append(self)

    monkeypatch.setattr(socket, "socket", Noted)
    return made


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Grants connections, and does nothing else with them."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        yield listening


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the name `service.test` have these ports of loopback for addresses."""

    def have(*ports: int) -> None:
        async def found(*_: object) -> list[tuple[str, int]]:
            return [("127.0.0.1", port) for port in ports]

        monkeypatch.setattr(happy_eyeballs, "_addresses", found)

    return have


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


async def call_cancelled_after(steps: int, sending: Coroutine[Any, Any, Response]) -> None:
    """Cancel a call after so many turns of the loop, if it is not over by then."""
    task = asyncio.create_task(sending)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        assert isinstance(await task, Response)


def left_open(sockets: list[socket.socket]) -> list[socket.socket]:
    return [each for each in sockets if each.fileno() != -1]


async def cancelled_after(steps: int, work: Awaitable[Any]) -> None:
    """Begin `work`, let the loop turn so many times, and cancel it."""
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError, OSError):
        transport, _ = await task
        transport.abort()


def to_service() -> Awaitable[Any]:
    return connect(asyncio.Protocol, "service.test", 80)


def test_a_connect_that_is_cancelled_at_any_step_leaves_no_socket(
    listener: socket.socket, sockets: list[socket.socket]
) -> None:
    port = port_of(listener)
    for steps in STEPS:
        asyncio.run(cancelled_after(steps, _direct(port)))
        assert not left_open(sockets), f"cancelled after {steps} steps"
    assert sockets


async def _direct(port: int) -> Any:
    return await connect(asyncio.Protocol, "127.0.0.1", port)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux leaves a SYN unanswered")
@pytest.mark.parametrize("delay", [0.0, 3600.0], ids=["all at once", "one after the other"])
def test_a_race_that_is_cancelled_at_any_step_leaves_no_socket(
    delay: float,
    listener: socket.socket,
    sockets: list[socket.socket],
    addresses: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    One address refuses, one is silent, two grant.
    """
    monkeypatch.setattr(happy_eyeballs, "NEXT_ADDRESS_SECONDS", delay)
    port = port_of(listener)
    with closed_port() as refusing, full_backlog() as silent:
        mine = left_open(sockets)
        addresses(refusing, port, silent, port)
        for steps in STEPS:
            asyncio.run(_raced(steps))
            assert left_open(sockets) == mine, f"cancelled after {steps} steps"


async def _raced(steps: int) -> None:
    await cancelled_after(steps, to_service())


# aiohttp ends TLS politely: its socket closes when the service has answered that, which no step counts.
@pytest.mark.parametrize(
    ("engine", "tls"),
    [("httpx", False), ("httpx", True), ("aiohttp", False)],
    ids=["httpx", "httpx over TLS", "aiohttp"],
)
def test_a_call_that_is_cancelled_at_any_step_leaves_no_socket(
    engine: str, tls: bool, order: Make, sockets: list[socket.socket], certificates: Certificates
) -> None:
    """
    While it connects, shakes hands, sends or reads.
    """

    async def call(server: Faults, steps: int) -> None:
        opened = open_async_engine(engine, Connections(verify=certificates.client()))
        await call_cancelled_after(steps, opened.send(order(server.url)))
        await opened.aclose()

    with Faults(says(answer()), certificates.server() if tls else None) as server:
        mine = left_open(sockets)
        for steps in STEPS:
            asyncio.run(call(server, steps))
            assert left_open(sockets) == mine, f"cancelled after {steps} steps"


def test_it_connects_and_closes_in_the_loop_of_uvloop(order: Make) -> None:
    """
    Cancelled at any step: the service hears the end of every connection there was.
    """
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")

    async def main(server: Faults) -> None:
        engine = open_async_engine("httpx", Connections())
        for steps in STEPS:
            await call_cancelled_after(steps, engine.send(order(server.url)))
        assert isinstance(await engine.send(order(server.url)), Response)
        await engine.aclose()
        for _ in range(server.connections):  # while the loop runs: its end would close them all
            assert await asyncio.to_thread(ended.acquire, timeout=20.0)

    ended = threading.Semaphore(0)

    def behave(server: Faults, connection: Any, number: int) -> None:
        try:
            says(answer(), each=True)(server, connection, number)
        finally:
            ended.release()

    with Faults(behave) as server:
        uvloop.run(main(server))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux leaves a SYN unanswered")
def test_an_address_that_is_silent_does_not_hold_up_the_next(
    listener: socket.socket,
    sockets: list[socket.socket],
    addresses: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(happy_eyeballs, "NEXT_ADDRESS_SECONDS", 0.0)
    with full_backlog() as silent:
        mine = left_open(sockets)
        addresses(silent, port_of(listener))
        assert asyncio.run(_peer_of_the_first()) == port_of(listener)
        assert left_open(sockets) == mine


async def _peer_of_the_first() -> int:
    transport, _ = await connect(asyncio.Protocol, "service.test", 80)
    port = int(transport.get_extra_info("peername")[1])
    transport.abort()
    await asyncio.sleep(0)
    return port


def test_an_address_that_refuses_is_followed_at_once_by_the_next(
    listener: socket.socket, addresses: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(happy_eyeballs, "NEXT_ADDRESS_SECONDS", 3600.0)
    with closed_port() as refusing:
        addresses(refusing, port_of(listener))
        assert asyncio.run(_peer_of_the_first()) == port_of(listener)


def test_of_two_that_grant_at_once_one_is_taken_and_one_closed(
    addresses: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(happy_eyeballs, "NEXT_ADDRESS_SECONDS", 0.0)
    addresses(1, 2)

    class Transport:
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[Transport] = []
        both = asyncio.Event()

        async def granted(*_: object, **__: object) -> tuple[Transport, None]:
            made.append(Transport())
            mine = made[-1]
            if len(made) == 2:
                both.set()
            await both.wait()
            return mine, None

        monkeypatch.setattr(loop, "create_connection", granted)
        taken, _ = await to_service()
        await asyncio.sleep(0)
        assert sorted(each.aborted for each in made) == [False, True]
        assert taken.aborted is False

    asyncio.run(main())


@pytest.mark.parametrize("count", [1, 2])
def test_if_every_address_refuses_all_of_them_are_named(count: int, addresses: Callable[..., None]) -> None:
    with closed_port() as first, closed_port() as second:
        ports = [first, second][:count]
        addresses(*ports)
        with pytest.raises(OSError, match="Connect call failed") as caught:
            asyncio.run(_peer_of_the_first())

    assert all(str(port) in str(caught.value) for port in ports)
    assert isinstance(caught.value, ConnectionRefusedError) is (count == 1)


def test_what_every_address_says_alike_is_said_once(addresses: Callable[..., None]) -> None:
    with closed_port() as port:
        addresses(port, port)
        with pytest.raises(ConnectionRefusedError):
            asyncio.run(_peer_of_the_first())


def test_a_name_without_an_address_cannot_be_connected_to(addresses: Callable[..., None]) -> None:
    addresses()
    with pytest.raises(OSError, match="no address"):
        asyncio.run(_peer_of_the_first())


def test_a_port_that_cannot_be_is_not_a_failure_of_the_network() -> None:
    async def main() -> None:
        await connect(asyncio.Protocol, "127.0.0.1", 70_000)

    with pytest.raises(OverflowError):
        asyncio.run(main())


def test_a_connection_may_begin_at_an_address_of_ours(listener: socket.socket) -> None:
    async def main() -> str:
        transport, _ = await connect(asyncio.Protocol, "127.0.0.1", port_of(listener), "127.0.0.1")
        mine = str(transport.get_extra_info("sockname")[0])
        transport.abort()
        return mine

    assert asyncio.run(main()) == "127.0.0.1"


def test_families_take_turns_and_the_system_chooses_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A scope is kept with its address.
    """
    six, four = socket.AF_INET6, socket.AF_INET
    found: list[Any] = [
        (six, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 443, 0, 0)),
        (six, socket.SOCK_STREAM, 6, "", ("fe80::2", 443, 0, 7)),
        (six, socket.SOCK_STREAM, 6, "", ("2001:db8::3", 443, 0, 0)),
        (four, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    async def main(host: str) -> list[tuple[str, int]]:
        return await happy_eyeballs._addresses(asyncio.get_running_loop(), host, 443)

    assert asyncio.run(main("service.test")) == [
        ("2001:db8::1", 443),
        ("192.0.2.1", 443),
        ("fe80::2%7", 443),
        ("2001:db8::3", 443),
    ]
    for host in ("192.0.2.9", "2001:db8::9", "fe80::9%7"):
        assert asyncio.run(main(host)) == [(host, 443)]
