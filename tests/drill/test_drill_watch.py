"""Connections and look-ups of this process are seen before they are made, whichever library asks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from failwell.drill import watch


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:  # bound and not listening: nobody else can take it
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@pytest.fixture
def seen(closed_port: int) -> Iterator[list[str]]:
    seen: list[str] = []
    watch.on_connect(closed_port, lambda: seen.append("connect"))
    watch.on_lookup("drill-test.invalid", lambda: seen.append("look-up"))
    yield seen
    watch.forget_port(closed_port)
    watch.forget_host("drill-test.invalid")


def test_a_blocking_connect_is_seen_although_it_is_refused(closed_port: int, seen: list[str]) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", closed_port), timeout=5)

    assert seen == ["connect"]


def test_a_connect_of_asyncio_is_seen_once(closed_port: int, seen: list[str]) -> None:
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(asyncio.open_connection("127.0.0.1", closed_port))

    assert seen == ["connect"]


def test_a_look_up_is_seen_in_any_case_of_letters(seen: list[str]) -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("Drill-Test.Invalid", 80)

    assert seen == ["look-up"]


def test_what_is_forgotten_is_not_seen(closed_port: int, seen: list[str]) -> None:
    watch.forget_port(closed_port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", closed_port), timeout=5)

    assert seen == []


@pytest.mark.parametrize(
    ("event", "args", "expected"),
    [
        ("socket.connect", (None, ("127.0.0.1", 0)), []),
        ("socket.connect", (None, "/tmp/a-unix-socket"), []),
        ("socket.getaddrinfo", (b"drill-test.invalid", 80), ["look-up"]),
        ("socket.getaddrinfo", (None, 80), []),
        ("open", ("x",), []),
    ],
)
def test_other_events_pass_by(
    event: str, args: tuple[object, ...], expected: list[str], seen: list[str]
) -> None:
    # Called by hand: Python traces nothing inside an audit hook.
    watch._hook(event, args)

    assert seen == expected


def test_a_connect_to_the_port_calls_what_was_asked_for_it(closed_port: int, seen: list[str]) -> None:
    watch._hook("socket.connect", (None, ("127.0.0.1", closed_port)))

    assert seen == ["connect"]
