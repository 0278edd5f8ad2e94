"""Answers whose body is read as it comes, held to the same words over every engine."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import threading
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

import httpx
import httpx2
import pytest
import trio
from engine_carriers import ENGINES
from wire_faults import Faults, closed_port, gzipped, says

from failwell.call.messages import Broken, Phase, Reason, Response, Send
from failwell.engines import open_async_engine, open_engine
from failwell.engines.base import Connections
from failwell.engines.bodies import BodyError

BROUGHT = [
    ("httpx2", "sync"),
    ("httpx2", "asyncio"),
    ("httpx2", "trio"),
    ("httpx", "sync"),
    ("httpx", "asyncio"),
]
LIBRARIES: dict[str, Any] = {"httpx2": httpx2, "httpx": httpx}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Carried:
    """An engine whose methods are awaited, whether or not it blocks."""

    def __init__(self, engine: Any, awaits: bool) -> None:
        self.engine = engine
        self._awaits = awaits

    async def _of(self, given: Any) -> Any:
        return await given if self._awaits else given

    async def send(self, order: Send) -> Any:
        return await self._of(self.engine.send(order))

    async def read(self, answer: Response) -> Any:
        return await self._of(answer.pieces.read())

    async def close(self, answer: Response) -> None:
        await self._of(answer.pieces.aclose() if self._awaits else answer.pieces.close())

    async def rest(self, answer: Response) -> tuple[bytes, Broken | None]:
        """All that comes, and how it broke."""
        body = b""
        while came := await self.read(answer):
            if isinstance(came, Broken):
                return body, came
            body += came
        return body, None


# httpx2's own generators are left to the garbage collector, of which trio warns.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'httpcore2:ResourceWarning")

Story = Callable[[Carried], Awaitable[Any]]


class Engines:
    """Tells a story to one engine, driven as its kind is."""

    def __init__(self, name: str, drive: str, *, brought: bool = False) -> None:
        self.name = name
        self.drive = drive
        self.brought = brought

    def __call__(self, story: Story, connections: Connections | None = None) -> Any:
        if self.drive == "sync":
            return _unawaited(self._blocking(story, connections or Connections()))
        if self.drive == "trio":
            return trio.run(self._awaiting, story, connections or Connections())
        return asyncio.run(self._awaiting(story, connections or Connections()))

    async def _blocking(self, story: Story, connections: Connections) -> Any:
        with contextlib.ExitStack() as stack:
            own: Any = self.name
            if self.brought:
                own = stack.enter_context(LIBRARIES[self.name].Client(trust_env=False, verify=False))
            engine = open_engine(own, connections)
            stack.callback(engine.close)
            return await story(Carried(engine, awaits=False))

    async def _awaiting(self, story: Story, connections: Connections) -> Any:
        async with contextlib.AsyncExitStack() as stack:
            own: Any = self.name
            if self.brought:
                own = await stack.enter_async_context(
                    LIBRARIES[self.name].AsyncClient(trust_env=False, verify=False)
                )
            engine = open_async_engine(own, connections)
            stack.push_async_callback(engine.aclose)
            return await story(Carried(engine, awaits=True))


def _unawaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("blocking code waited for an event loop")


KINDS = [Engines(*pair) for pair in ENGINES] + [Engines(*pair, brought=True) for pair in BROUGHT]


def _named(kind: Engines) -> str:
    return f"{'brought-' if kind.brought else ''}{kind.name}-{kind.drive}"


@pytest.fixture(params=KINDS, ids=_named)
def engines(request: pytest.FixtureRequest) -> Engines:
    return request.param


@pytest.fixture
def opening(order: Callable[..., Send]) -> Callable[..., Send]:
    """Orders that want the bodies of 200 and 206 left to be read."""

    def make(url: str, *, until: float = 20.0, **given: Any) -> Send:
        made = order(url, "GET", **given)
        return replace(made, opens=frozenset({200, 206}), until=time.monotonic() + until)

    return make


def patiently(engines: Engines, story: Callable[[Carried, float], Awaitable[Any]]) -> Any:
    """
    What `story` says that is given a short time; on a machine so busy that the beginning of the
    answer did not come in it, a longer one. A story that came so far says None then.
    """
    for seconds in (0.15, 1.5, 15.0):

        async def told(engine: Carried, seconds: float = seconds) -> Any:
            return await story(engine, seconds)

        if (result := engines(told)) is not None:
            return result
    raise AssertionError("no answer began in 15 s")


class Turns:
    """A server that says the next piece when it is told to."""

    def __init__(self, *pieces: bytes) -> None:
        self.turn = threading.Semaphore(0)
        self.gone = threading.Event()
        self._pieces = pieces

    def __call__(self, server: Faults, connection: socket.socket, number: int) -> None:
        if not server.read(connection):
            return
        for piece in self._pieces:
            if not self.turn.acquire(timeout=20):
                return
            connection.sendall(piece)
        with contextlib.suppress(OSError):
            connection.recv(65536)
        self.gone.set()


def test_the_head_comes_first_and_then_each_piece_when_it_is_sent(
    engines: Engines, opening: Callable[..., Send]
) -> None:
    """Nothing waits for what follows it: each piece is sent only once the one before it was read."""
    turns = Turns(HEAD, chunk(b"data: 1\n\n"), chunk(b"data: 2\n\n"), END)

    async def story(engine: Carried) -> Any:
        turns.turn.release()
        answer = await engine.send(opening(server.url))
        seen = [answer.status, answer.headers["content-type"], answer.content]
        for _ in range(3):
            turns.turn.release()
            seen.append(await engine.read(answer))
        return [*seen, await engine.read(answer)]

    with Faults(turns) as server:
        assert [200, "text/event-stream", b"", b"data: 1\n\n", b"data: 2\n\n", b"", b""] == engines(story)


def test_an_answer_of_another_status_is_read_whole(engines: Engines, opening: Callable[..., Send]) -> None:
    refusal = b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy"

    async def story(engine: Carried) -> Any:
        answer = await engine.send(opening(server.url))
        return answer.status, answer.content, answer.pieces

    with Faults(says(refusal, each=True)) as server:
        assert (503, b"busy", None) == engines(story)


@pytest.mark.parametrize(
    ("sent", "rst", "reason"),
    [
        pytest.param((HEAD, chunk(b"data: 1\n\n"), b"9\r\ndata"), False, Reason.CUT, id="inside a chunk"),
        pytest.param((HEAD, chunk(b"data: 1\n\n")), False, Reason.CUT, id="between two chunks"),
        pytest.param((HEAD, chunk(b"data: 1\n\n")), True, Reason.CUT, id="by RST"),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\ndata: 1\n\n",),
            False,
            Reason.CUT,
            id="before the length",
        ),
    ],
)
def test_a_body_that_breaks_says_how_and_gives_what_came_before(
    engines: Engines, opening: Callable[..., Send], sent: tuple[bytes, ...], rst: bool, reason: Reason
) -> None:
    async def story(engine: Carried) -> Any:
        answer = await engine.send(opening(server.url))
        body, broken = await engine.rest(answer)
        return body, broken, await engine.read(answer)

    with Faults(says(*sent, rst=rst)) as server:
        body, broken, again = engines(story)

    assert body.startswith(b"data: 1\n\n")
    assert isinstance(broken, Broken)
    assert (Phase.ANSWERED, reason, 200) == (broken.phase, broken.reason, broken.status)
    assert broken.received >= len(b"data: 1\n\n")
    assert broken.cause is not None
    assert again is broken


def test_garbage_in_the_place_of_a_chunk_is_not_http(engines: Engines, opening: Callable[..., Send]) -> None:
    turns = Turns(HEAD + chunk(b"data: 1\n\n"), b"nonsense\r\n")

    async def story(engine: Carried) -> Any:
        turns.turn.release()
        answer = await engine.send(opening(server.url))
        seen = [await engine.read(answer)]
        turns.turn.release()
        return [*seen, *await engine.rest(answer)]

    with Faults(turns) as server:
        *bodies, broken = engines(story)

    assert [b"data: 1\n\n", b""] == bodies
    assert (Phase.ANSWERED, Reason.NOT_HTTP, 200) == (broken.phase, broken.reason, broken.status)


def test_silence_is_a_read_timeout(engines: Engines, opening: Callable[..., Send]) -> None:
    async def story(engine: Carried, seconds: float) -> Any:
        answer = await engine.send(opening(server.url, read=seconds))
        if (
            isinstance(answer, Broken)
            or not (first := await engine.read(answer))
            or isinstance(first, Broken)
        ):
            return None
        return first, *await engine.rest(answer)

    with Faults(says(HEAD + chunk(b"data: 1\n\n"), stay=True)) as server:
        first, rest, broken = patiently(engines, story)

    assert (b"data: 1\n\n", b"") == (first, rest)
    assert (Phase.ANSWERED, Reason.READ_TIMEOUT, 200) == (broken.phase, broken.reason, broken.status)


def test_what_drips_ends_when_the_time_is_up(engines: Engines, opening: Callable[..., Send]) -> None:
    """Each piece comes long before a read would time out."""

    async def story(engine: Carried, seconds: float) -> Any:
        answer = await engine.send(opening(server.url, until=seconds))
        if isinstance(answer, Broken):
            return None
        body, broken = await engine.rest(answer)
        return broken if body else None

    def drip(server: Faults, connection: socket.socket, number: int) -> None:
        server.read(connection)
        connection.sendall(HEAD)
        while not server.over.wait(0.01):
            connection.sendall(chunk(b":\n"))

    with Faults(drip) as server:
        broken = patiently(engines, story)

    assert (Phase.ANSWERED, Reason.DEADLINE, 200) == (broken.phase, broken.reason, broken.status)


def test_the_deadline_of_the_order_is_for_the_head(engines: Engines, opening: Callable[..., Send]) -> None:
    """A body may go on when it has passed."""
    go = threading.Event()

    def behave(server: Faults, connection: socket.socket, number: int) -> None:
        server.read(connection)
        connection.sendall(HEAD)
        go.wait(20)
        connection.sendall(chunk(b"late") + END)

    async def story(engine: Carried, seconds: float) -> Any:
        order = opening(server.url, seconds=seconds)
        answer = await engine.send(order)
        if isinstance(answer, Broken):
            return None
        time.sleep(max(0.0, order.deadline - time.monotonic()) + 0.05)
        go.set()
        return await engine.rest(answer)

    with Faults(behave) as server:
        assert (b"late", None) == patiently(engines, story)


def test_a_body_may_be_larger_than_one_that_is_kept(engines: Engines, opening: Callable[..., Send]) -> None:
    large = b"x" * 300_000

    async def story(engine: Carried) -> Any:
        answer = await engine.send(opening(server.url))
        body, broken = await engine.rest(answer)
        return len(body), broken

    head = b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n"
    with Faults(says(head, large, each=True)) as server:
        assert (300_000, None) == engines(story, Connections(max_body_bytes=1000))


def test_a_connection_whose_body_was_read_to_its_end_is_used_again(
    engines: Engines, opening: Callable[..., Send]
) -> None:
    # It takes a connection back in a thread of its own, and may not have come to it by the next call.
    apart = engines.name == "pyreqwest"
    many = 10 if apart else 3

    async def story(engine: Carried) -> Any:
        bodies = []
        for _ in range(many):
            answer = await engine.send(opening(server.url))
            bodies.append(await engine.rest(answer))
        return bodies

    with Faults(says(HEAD + chunk(b"data: 1\n\n") + END, each=True)) as server:
        assert [(b"data: 1\n\n", None)] * many == engines(story)
        assert server.connections < many if apart else server.connections == 1


def test_who_reads_no_more_closes_the_connection_and_leaves_its_place(
    engines: Engines, opening: Callable[..., Send]
) -> None:
    """With room for one connection, the next request would wait for ever for one that was kept."""
    turns = Turns(HEAD + chunk(b"data: 1\n\n"), b"never")

    def behave(server: Faults, connection: socket.socket, number: int) -> None:
        if number == 1:
            turns(server, connection, number)
        else:
            says(HEAD + chunk(b"data: 2\n\n") + END)(server, connection, number)

    async def story(engine: Carried) -> Any:
        turns.turn.release()
        first = await engine.send(opening(server.url))
        seen = [await engine.read(first)]
        await engine.close(first)
        await engine.close(first)
        seen.append(await engine.read(first))
        second = await engine.send(opening(server.url, pool=5.0))
        return [*seen, *await engine.rest(second)]

    with Faults(behave) as server:
        assert [b"data: 1\n\n", b"", b"data: 2\n\n", None] == engines(story, Connections(max_connections=1))
        turns.turn.release()
        assert turns.gone.wait(20)


def test_a_second_answer_behind_a_body_is_not_taken_for_the_next(
    engines: Engines, opening: Callable[..., Send]
) -> None:
    if engines.brought:
        pytest.skip("a client that was brought does as its library does")
    stray = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray"

    async def story(engine: Carried) -> Any:
        bodies = []
        for _ in range(2):
            answer = await engine.send(opening(server.url))
            bodies.append(await engine.rest(answer))
        return bodies

    with Faults(says(HEAD + chunk(b"data: 1\n\n") + END + stray, each=True)) as server:
        assert [(b"data: 1\n\n", None)] * 2 == engines(story)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        pytest.param("gzip", gzipped(b"data: 1\n\n" * 200), id="gzip"),
        pytest.param("gzip", gzipped(b"data: 1\n\n" * 100) * 2 + b"\0\0", id="gzip, two members and padding"),
        pytest.param("deflate", zlib.compress(b"data: 1\n\n" * 200), id="deflate"),
        pytest.param("deflate", zlib.compress(b"data: 1\n\n" * 200)[2:-4], id="deflate, bare"),
        pytest.param("identity", b"data: 1\n\n" * 200, id="identity"),
    ],
)
def test_a_content_coding_is_undone_as_it_comes(
    engines: Engines, opening: Callable[..., Send], coding: str, body: bytes
) -> None:
    head = HEAD.replace(b"transfer", b"content-encoding: " + coding.encode() + b"\r\ntransfer")
    pieces = b"".join(chunk(body[i : i + 7]) for i in range(0, len(body), 7))

    async def story(engine: Carried) -> Any:
        return await engine.rest(await engine.send(opening(server.url)))

    with Faults(says(head + pieces + END, each=True)) as server:
        assert (b"data: 1\n\n" * 200, None) == engines(story)


def test_a_compressed_event_is_had_when_it_was_flushed(
    engines: Engines, opening: Callable[..., Send]
) -> None:
    packing = zlib.compressobj(wbits=31)
    first = packing.compress(b"data: 1\n\n") + packing.flush(zlib.Z_SYNC_FLUSH)
    second = packing.compress(b"data: 2\n\n") + packing.flush()
    head = HEAD.replace(b"transfer", b"content-encoding: gzip\r\ntransfer")
    turns = Turns(head + chunk(first), chunk(second) + END)

    async def story(engine: Carried) -> Any:
        turns.turn.release()
        answer = await engine.send(opening(server.url))
        seen = [await engine.read(answer)]
        turns.turn.release()
        return [*seen, *await engine.rest(answer)]

    with Faults(turns) as server:
        assert [b"data: 1\n\n", b"data: 2\n\n", None] == engines(story)


def test_a_small_body_that_unpacks_to_a_large_one_comes_in_pieces(
    engines: Engines, opening: Callable[..., Send]
) -> None:
    """No piece is larger than the memory it may have."""
    body = gzip.compress(b"\0" * 5_000_000)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)

    async def story(engine: Carried) -> Any:
        answer = await engine.send(opening(server.url))
        sizes = []
        while came := await engine.read(answer):
            sizes.append(len(came))
        return sum(sizes), max(sizes)

    with Faults(says(head + body, each=True)) as server:
        total, largest = engines(story)

    assert 5_000_000 == total
    assert largest <= 256 * 1024


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        pytest.param("gzip", gzipped(b"data: 1\n\n" * 200)[:-9], id="cut short"),
        pytest.param("gzip", b"this is no gzip", id="damaged"),
        pytest.param("deflate", zlib.compress(b"data: 1\n\n") + b"more", id="something behind it"),
        pytest.param("br", b"data: 1\n\n", id="not asked for"),
        pytest.param("gzip, gzip", b"data: 1\n\n", id="two of them"),
    ],
)
def test_a_content_coding_that_is_broken_is_said(
    engines: Engines, opening: Callable[..., Send], coding: str, body: bytes
) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (
        coding.encode(),
        len(body),
    )

    async def story(engine: Carried) -> Any:
        answer = await engine.send(opening(server.url))
        return answer if isinstance(answer, Broken) else (await engine.rest(answer))[1]

    with Faults(says(head + body, each=True)) as server:
        broken = engines(story)

    assert (Phase.ANSWERED, Reason.ENCODING, 200) == (broken.phase, broken.reason, broken.status)


@pytest.mark.parametrize("engines", [k for k in KINDS if k.drive != "sync"], ids=_named)
def test_a_cancelled_read_leaves_no_connection(engines: Engines, opening: Callable[..., Send]) -> None:
    """The service sees it closed, and there is room for the next."""
    turns = Turns(HEAD + chunk(b"data: 1\n\n"))

    def behave(server: Faults, connection: socket.socket, number: int) -> None:
        if number == 1:
            turns(server, connection, number)
        else:
            says(HEAD + chunk(b"data: 2\n\n") + END)(server, connection, number)

    async def story(engine: Carried) -> Any:
        from anyio import move_on_after

        turns.turn.release()
        first = await engine.send(opening(server.url))
        seen = [await engine.read(first)]
        with move_on_after(0.1) as scope:
            await engine.read(first)
        seen += [scope.cancelled_caught, await engine.read(first)]
        second = await engine.send(opening(server.url, pool=5.0))
        return [*seen, *await engine.rest(second)]

    with Faults(behave) as server:
        expected = [b"data: 1\n\n", True, b"", b"data: 2\n\n", None]
        assert expected == engines(story, Connections(max_connections=1))
        assert turns.gone.wait(20)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param(b"HTTP/1.1 503 No\r\ncontent-length: 99\r\n\r\nbusy", Reason.CUT, id="cut"),
        pytest.param(b"HTTP/1.1 503 No\r\ncontent-length: 2000\r\n\r\n", Reason.TOO_LARGE, id="announced"),
        pytest.param(
            b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"x" * 2000) + END,
            Reason.TOO_LARGE,
            id="too large",
        ),
    ],
)
def test_an_answer_of_another_status_breaks_as_it_does_for_every_order(
    engines: Engines, opening: Callable[..., Send], said: bytes, reason: Reason
) -> None:
    async def story(engine: Carried) -> Any:
        return await engine.send(opening(server.url))

    with Faults(says(said)) as server:
        broken = engines(story, Connections(max_body_bytes=1000))

    assert (Phase.ANSWERED, reason) == (broken.phase, broken.reason)


def test_an_answer_of_another_status_that_drips_ends_at_the_deadline(
    engines: Engines, opening: Callable[..., Send]
) -> None:
    async def story(engine: Carried, seconds: float) -> Any:
        result = await engine.send(opening(server.url, seconds=seconds))
        return result if result.status is not None else None

    def drip(server: Faults, connection: socket.socket, number: int) -> None:
        server.read(connection)
        connection.sendall(b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n")
        while not server.over.wait(0.01):
            connection.sendall(chunk(b"."))

    with Faults(drip) as server:
        broken = patiently(engines, story)

    assert (Phase.ANSWERED, Reason.DEADLINE, 503) == (broken.phase, broken.reason, broken.status)


def test_a_head_that_never_comes_ends_at_the_deadline(engines: Engines, opening: Callable[..., Send]) -> None:
    if engines.drive == "sync" and (engines.brought or engines.name != "httpx"):
        pytest.skip("it ends at the read timeout: see docs/engines.md")

    async def story(engine: Carried) -> Any:
        return await engine.send(opening(server.url, seconds=0.3))

    with Faults(says(stay=True)) as server:
        broken = engines(story)

    assert Reason.DEADLINE is broken.reason


def test_what_was_never_sent_says_so(engines: Engines, opening: Callable[..., Send]) -> None:
    with closed_port() as port:

        async def story(engine: Carried) -> Any:
            return [
                await engine.send(opening(f"http://127.0.0.1:{port}/")),
                await engine.send(opening("nonsense://x/")),
                await engine.send(opening(f"http://127.0.0.1:{port}/", seconds=-1.0)),
            ]

        refused, bad, late = engines(story)

    assert (Phase.NOT_SENT, Reason.REFUSED) == (refused.phase, refused.reason)
    assert (Phase.NOT_SENT, Reason.BAD_URL) == (bad.phase, bad.reason)
    assert Reason.DEADLINE is late.reason


class Unreadable:
    """A body that cannot be had."""

    size = 9

    def __iter__(self) -> Iterator[bytes]:
        yield b"some"
        raise BodyError(Reason.SOURCE, "it has changed")

    @property
    def awaited(self) -> AwaitedUnreadable:
        return AwaitedUnreadable()


class AwaitedUnreadable:
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"some"
        raise BodyError(Reason.SOURCE, "it has changed")


def test_a_body_that_cannot_be_had_is_a_broken_attempt(
    engines: Engines, opening: Callable[..., Send]
) -> None:
    """Whoever has the body knows why; the engine says only that it broke."""

    async def story(engine: Carried) -> Any:
        order = opening(server.url)
        order.request.method, order.request.content = "POST", Unreadable()
        return await engine.send(order)

    with Faults(says(stay=True)) as server:
        assert isinstance(engines(story), Broken)


@pytest.mark.parametrize("engines", [k for k in KINDS if k.drive == "sync"], ids=_named)
def test_ctrl_c_while_reading_leaves_the_place_of_the_connection(
    engines: Engines, opening: Callable[..., Send], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> bytes:
        raise KeyboardInterrupt

    async def story(engine: Carried) -> Any:
        first = await engine.send(opening(server.url))
        monkeypatch.setattr(first.pieces, "_next", interrupted)
        with pytest.raises(KeyboardInterrupt):
            await engine.read(first)
        second = await engine.send(opening(server.url, pool=5.0))
        return await engine.read(first), *await engine.rest(second)

    with Faults(says(HEAD + chunk(b"data: 1\n\n") + END)) as server:
        assert (b"", b"data: 1\n\n", None) == engines(story, Connections(max_connections=1))


def test_a_head_that_does_not_come_breaks_as_it_does_for_every_order(
    engines: Engines, opening: Callable[..., Send]
) -> None:
    async def story(engine: Carried) -> Any:
        return await engine.send(opening(server.url, read=0.15))

    with Faults(says(stay=True)) as server:
        broken = engines(story)

    assert (Phase.SENT, Reason.READ_TIMEOUT) == (broken.phase, broken.reason)
