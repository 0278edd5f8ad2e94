"""Streams of events, read by both clients: over every engine, through cuts, and as methods of an SDK."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from client_drivers import DRIVES
from scripted_server import STALL, Cut, ScriptedServer, reply

import failwell
from failwell import (
    AsyncClient,
    BadAnswerError,
    Client,
    Contract,
    NotFoundError,
    Operation,
    ResumePolicy,
    Rule,
    ServerSentEvent,
    Stream,
    StreamError,
    UsageError,
)
from failwell.arguments import Arguments
from failwell.resources import SDK, AsyncResource, AsyncSDK, Resource, awaiting, operation
from failwell.testing import (
    AsyncScriptedEngine,
    FakeClock,
    ScriptedEngine,
    answer,
    assert_no_secret,
    broken,
    streamed,
)

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
QUICK = ResumePolicy(wait=0.001, cap=0.01, reconnects=1000)


def done(event: ServerSentEvent) -> bool:
    return event.type == "done"


def text(event: ServerSentEvent) -> str:
    return event.data


def stream(path: str = "/live", **facts: Any) -> Stream[str]:
    return Stream(Operation("GET", path), text, done, **{"policy": QUICK, **facts})


class Read:
    """
    What came of a stream: its items, the id after each, and how it ended.

    Attributes:
        opened: Whether it opened.
    """

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.ids: list[str] = []
        self.error: BaseException | None = None
        self.opened = False


def read(
    drive: str,
    base_url: str,
    wanted: Stream[Any],
    *,
    stop_after: int | None = None,
    inside: Callable[[Any], None] | None = None,
    **settings: Any,
) -> Read:
    """Read `wanted`; leave the loop after some items, or run `inside` on each."""
    seen = Read()

    def take(events: Any, item: Any) -> bool:
        seen.items.append(item)
        seen.ids.append(events.last_event_id)
        if inside is not None:
            inside(item)
        return len(seen.items) == stop_after

    async def ask() -> None:
        async with AsyncClient(base_url, **settings) as client, client.stream(wanted) as events:
            seen.opened = True
            async for item in events:
                if take(events, item):
                    break

    try:
        if drive == "sync":
            with Client(base_url, **settings) as client, client.stream(wanted) as events:
                seen.opened = True
                for item in events:
                    if take(events, item):
                        break
        elif drive == "asyncio":
            asyncio.run(ask())
        else:
            trio.run(ask)
    except Exception as exc:
        seen.error = exc
    return seen


@pytest.fixture(params=DRIVES)
def drive(request: pytest.FixtureRequest) -> str:
    return request.param


def chunked(*events: str) -> bytes:
    body = "".join(f"{len(e.encode()):x}\r\n{e}\r\n" for e in events)
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return (head + body).encode()


def event(number: int) -> str:
    return f"id: {number}\ndata: {number}\n\n"


DONE = "event: done\ndata: bye\n\n"
END = b"0\r\n\r\n"


# --- over sockets ---


def test_a_stream_that_is_cut_goes_on_where_it_was(drive: str) -> None:
    script = [Cut(chunked(event(1), event(2))), Cut(chunked(event(3)) + END), chunked(event(4), DONE) + END]
    with ScriptedServer(script) as server:
        seen = read(drive, server.url, stream())

    assert (["1", "2", "3", "4", "bye"], None) == (seen.items, seen.error)
    assert ["1", "2", "3", "4", "4"] == seen.ids
    assert [None, "2", "3"] == [asked.headers.get("last-event-id") for asked in server.asked]
    first = server.asked[0].headers
    assert ("text/event-stream", "no-store", "identity") == (
        first["accept"],
        first["cache-control"],
        first["accept-encoding"],
    )


def test_a_refusal_is_raised_as_what_it_is_when_the_stream_is_opened(drive: str) -> None:
    """The client has tried again before, as for every call."""
    script = [reply(503, retry_after="0"), reply(404, {"detail": "No such session."})]
    with ScriptedServer(script) as server:
        seen = read(drive, server.url, stream())

    assert not seen.opened
    assert isinstance(seen.error, NotFoundError)
    assert 2 == len(seen.error.attempts)
    assert "No such session." == seen.error.message


def test_another_content_type_is_an_answer_that_cannot_be_used(drive: str) -> None:
    with ScriptedServer([reply(200, {"not": "a stream"})]) as server:
        seen = read(drive, server.url, stream())

    assert not seen.opened
    assert isinstance(seen.error, BadAnswerError)


def test_who_leaves_early_closes_the_connection(drive: str) -> None:
    with ScriptedServer([chunked(event(1), event(2)), STALL]) as server:
        seen = read(drive, server.url, stream(), stop_after=1)

        assert (["1"], ["1"], None) == (seen.items, seen.ids, seen.error)
        # Its thread waits for another request of the connection, and ends with it.
        server._threads[1].join(20)
        assert not server._threads[1].is_alive()


def test_what_the_callers_loop_raises_passes_through(drive: str) -> None:
    class TheirsError(Exception):
        pass

    def fail(item: str) -> None:
        raise TheirsError("not ours")

    with ScriptedServer([chunked(event(1), event(2))]) as server:
        seen = read(drive, server.url, stream(), inside=fail)

        assert isinstance(seen.error, TheirsError)
        server._threads[1].join(20)
        assert not server._threads[1].is_alive()


# --- cut at random bytes ---


@pytest.fixture(scope="module")
def cutting() -> Iterator[str]:
    """The address of a service that cuts its streams at random bytes."""
    process = subprocess.Popen(
        [sys.executable, str(BENCHMARKS / "stream_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def expected(events: int) -> list[str]:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from stream_server import text_of
    finally:
        sys.path.remove(str(BENCHMARKS))
    return [*map(text_of, range(events)), "bye"]


def own_client(kind: str, stack: contextlib.ExitStack) -> Any:
    return kind if kind != "brought" else stack.enter_context(httpx2.Client(trust_env=False, verify=False))


@pytest.mark.parametrize(
    ("engine", "how"),
    [
        ("httpx", "sync"),
        ("httpx", "asyncio"),
        ("httpx", "trio"),
        ("aiohttp", "asyncio"),
        ("pyreqwest", "sync"),
        ("pyreqwest", "asyncio"),
        ("brought", "sync"),
    ],
)
def test_however_a_stream_is_cut_each_event_comes_once_and_in_order(
    cutting: str, engine: str, how: str
) -> None:
    """The number of cuts is small here; `benchmarks/streams.py --cuts 10000` makes many."""
    name, events, cuts = f"{engine}-{how}", 250, 40
    wanted = stream(f"/streams/{name}?events={events}&cuts={cuts}&most=160&seed=7")
    with contextlib.ExitStack() as stack:
        seen = read(how, cutting, wanted, engine=own_client(engine, stack))
    with urllib.request.urlopen(f"{cutting}/counts/{name}") as counted:
        counts = json.load(counted)

    assert seen.error is None
    assert expected(events) == seen.items
    assert cuts == counts["cut"]


# --- without a network ---


def test_a_lost_stream_says_what_came_and_where_to_go_on() -> None:
    clock = FakeClock()
    engine = ScriptedEngine([streamed(event(1), event(2), broken("reset")), streamed()], clock)
    wanted = stream(policy=ResumePolicy(reconnects=1))
    items: list[str] = []
    with (
        Client("https://api.example", engine=engine, clock=clock, random=lambda: 1.0) as client,
        pytest.raises(StreamError) as caught,
        client.stream(wanted) as events,
    ):
        items.extend(events)

    assert ["1", "2"] == items
    assert ("2", 2, 2) == (caught.value.last_event_id, caught.value.events, caught.value.connections)
    assert [1.0] == clock.sleeps
    assert all(pieces.closed for pieces in engine.streams)


def test_the_same_idempotency_key_goes_with_a_write_that_is_asked_again() -> None:
    engine = ScriptedEngine([streamed(event(1), broken("cut")), streamed(DONE)])
    wanted: Stream[str] = Stream(
        Operation("POST", "/answers", json={"q": "why"}), text, done, repeats=True, policy=QUICK
    )
    client = Client("https://api.example", engine=engine, clock=FakeClock())
    with client.stream(wanted) as events:
        assert ["1", "bye"] == list(events)

    first, second = engine.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.content == second.content
    assert "1" == second.headers["last-event-id"]


def test_an_operation_that_goes_on_has_a_key_of_its_own() -> None:
    engine = ScriptedEngine([streamed(event(1), broken("cut")), streamed(DONE)])
    wanted: Stream[str] = Stream(
        Operation("POST", "/answers", json={"q": "why"}),
        text,
        done,
        resume=lambda name: Operation("GET", f"/answers/events?after={name}"),
        policy=QUICK,
    )
    client = Client("https://api.example", engine=engine, clock=FakeClock())
    with client.stream(wanted) as events:
        assert ["1", "bye"] == list(events)

    assert "idempotency-key" not in engine.requests[1].headers
    assert "https://api.example/answers/events?after=1" == engine.requests[1].url


def test_silence_and_the_deadline_are_told_apart() -> None:
    clock = FakeClock()
    script = [streamed(event(1), 30.0, ": life\n\n", 30.0, event(2), 50.0, event(3)), streamed(400.0, DONE)]
    engine = ScriptedEngine(script, clock)
    wanted = stream(policy=ResumePolicy(idle=40.0, wait=1.0, deadline=120.0))
    client = Client("https://api.example", engine=engine, clock=clock, random=lambda: 1.0)
    items: list[str] = []
    with pytest.raises(failwell.CallTimeoutError) as caught, client.stream(wanted) as events:
        items.extend(events)

    assert ["1", "2"] == items
    assert 120.0 == clock.monotonic() - 1000.0
    assert ["read_timeout", "deadline"] == [attempt.outcome for attempt in caught.value.attempts]
    assert [40.0, 40.0] == [order.timeouts.read for order in engine.orders]


def test_what_goes_with_the_credentials_is_on_no_error() -> None:
    secret = "Bearer s3cr3t-token"
    data = 'event: error\ndata: {"status": 403, "message": "No s3cr3t-token."}\n\n'
    engine = ScriptedEngine([streamed(event(1), data)])
    client = Client("https://api.example", engine=engine, credentials={"authorization": secret})
    with pytest.raises(failwell.PermissionDeniedError) as caught, client.stream(stream()) as events:
        list(events)

    assert_no_secret(caught.value, "s3cr3t-token")


def test_a_stream_that_is_over_or_closed_gives_nothing_more() -> None:
    engine = ScriptedEngine([streamed(event(1), event(2), DONE), streamed(event(1), event(2), DONE)])
    client = Client("https://api.example", engine=engine)
    with client.stream(stream()) as events:
        assert ["1", "2", "bye"] == list(events)
        assert [] == list(events)
        assert events.response is not None
        assert 200 == events.response.status
    with client.stream(stream()) as events:
        assert "1" == next(events)
        events.close()
        assert [] == list(events)
    with events:
        assert [] == list(events)

    assert [True, True] == [pieces.closed for pieces in engine.streams]


def test_a_loop_without_a_block_opens_and_closes_by_itself() -> None:
    engine = ScriptedEngine([streamed(event(1), DONE)])

    assert ["1", "bye"] == list(Client("https://api.example", engine=engine).stream(stream()))
    assert engine.streams[0].closed


def test_an_answer_of_an_engine_that_reads_whole_is_read_all_the_same() -> None:
    class Whole:
        name = "whole"

        def send(self, order: Any, /) -> Any:
            return answer(
                200, content=(event(1) + DONE).encode(), headers={"content-type": "text/event-stream"}
            )

        def close(self) -> None:
            pass

    with Client("https://api.example", engine=Whole()).stream(stream()) as events:
        assert ["1", "bye"] == list(events)


def test_an_argument_that_cannot_be_used_is_refused_before_anything_is_sent() -> None:
    engine = ScriptedEngine([])
    wanted: Stream[Any] = Stream(Operation("GET", "/x", json={"a": object()}))
    with pytest.raises(UsageError), Client("https://api.example", engine=engine).stream(wanted):
        pass

    assert [] == engine.orders


def test_a_client_that_was_closed_opens_nothing() -> None:
    client = Client("https://api.example", engine=ScriptedEngine([]))
    client.close()
    with pytest.raises(UsageError, match="closed"), client.stream(stream()):
        pass


def test_a_listener_that_raises_leaves_nothing_open() -> None:
    def listen(told: failwell.telemetry.Event) -> None:
        if told.kind is failwell.telemetry.Kind.ATTEMPT_ENDED:
            raise RuntimeError("a bug of theirs")

    engine = ScriptedEngine([streamed(event(1))])
    client = Client("https://api.example", engine=engine, listeners=[listen])
    with pytest.raises(RuntimeError), client.stream(stream()):
        pass
    assert engine.streams[0].closed

    async def ask() -> bool:
        awaited = AsyncScriptedEngine([streamed(event(1))])
        client = AsyncClient("https://api.example", engine=awaited, listeners=[listen])
        with pytest.raises(RuntimeError):
            async with client.stream(stream()):
                pass
        return awaited.streams[0].closed

    assert asyncio.run(ask())


def test_a_cancelled_loop_closes_the_stream() -> None:
    async def ask() -> list[Any]:
        engine = AsyncScriptedEngine([streamed(event(1), broken("cut"))])
        client = AsyncClient("https://api.example", engine=engine)
        seen: list[Any] = []
        started = asyncio.Event()

        async def loop() -> None:
            async with client.stream(stream(policy=ResumePolicy(wait=1000.0, cap=1000.0))) as events:
                async for item in events:
                    seen.append(item)
                    started.set()

        task = asyncio.create_task(loop())
        await started.wait()
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return [*seen, task.cancelled(), engine.streams[0].closed]

    assert ["1", True, True] == asyncio.run(ask())


def test_an_open_stream_shows_no_data_and_cannot_be_copied() -> None:
    import copy
    import pickle

    opened = Client("https://api.example", engine=ScriptedEngine([])).stream(
        Stream(Operation("GET", "/x?key=s3cr3t"), last_event_id="7")
    )
    awaited = AsyncClient("https://api.example", engine=AsyncScriptedEngine([])).stream(stream())

    assert "<EventStream of <Operation GET /x?key=***>>" == repr(opened).replace("[redacted]", "***")
    assert "<AsyncEventStream of <Operation GET /live>>" == repr(awaited)
    assert ("7", None) == (opened.last_event_id, opened.response)
    for act in (copy.copy, pickle.dumps):
        with pytest.raises(TypeError, match="holds a connection"):
            act(opened)


# --- as a method of an SDK ---


class ShopError(failwell.CallError):
    """Base."""


class ShopNotFoundError(ShopError, failwell.NotFoundError):
    """Not found."""


class ShopValueError(failwell.UsageError):
    """Refused."""


CONTRACT = Contract(
    "shop",
    base=ShopError,
    rules=[Rule(ShopNotFoundError, status=404)],
    usage={failwell.UsageError: ShopValueError},
)
CHECK = Arguments(CONTRACT)


class Orders(Resource):
    @operation
    def follow(self, order_id: str, *, after: str = "") -> Stream[str]:
        """What happens to an order."""
        path = f"/orders/{CHECK.segment('order_id', order_id)}/events"
        return Stream(Operation("GET", path), text, done, last_event_id=after, policy=QUICK)


class AsyncOrders(AsyncResource):
    follow = awaiting(Orders.follow)


class Shop(SDK):
    def __init__(self, engine: Any) -> None:
        self._client = Client("https://shop.example", contract=CONTRACT, engine=engine)
        self.orders = Orders(self._client)


class AsyncShop(AsyncSDK):
    def __init__(self, engine: Any) -> None:
        self._client = AsyncClient("https://shop.example", contract=CONTRACT, engine=engine)
        self.orders = AsyncOrders(self._client)


def test_a_method_that_gives_a_stream_is_declared_once_for_both_clients() -> None:
    with Shop(ScriptedEngine([streamed(event(1), DONE)])) as shop, shop.orders.follow("o_1") as events:
        blocking = list(events)

    async def ask() -> list[str]:
        engine = AsyncScriptedEngine([streamed(event(1), DONE)])
        async with AsyncShop(engine) as shop, shop.orders.follow("o_1", after="0") as events:
            seen = [item async for item in events]
        return [*seen, engine.requests[0].url, engine.requests[0].headers["last-event-id"]]

    assert ["1", "bye"] == blocking
    assert ["1", "bye", "https://shop.example/orders/o_1/events", "0"] == asyncio.run(ask())


def test_a_method_that_gives_a_stream_says_so() -> None:
    import inspect

    assert "EventStream[str]" == inspect.signature(Orders.follow).return_annotation
    assert "AsyncEventStream[str]" == inspect.signature(AsyncOrders.follow).return_annotation
    assert "AsyncEventStream[str]" == AsyncOrders.follow.__annotations__["return"]
    assert "AsyncOrders.follow" == AsyncOrders.follow.__qualname__
    assert not inspect.iscoroutinefunction(AsyncOrders.follow)
    assert "What happens to an order." == inspect.getdoc(AsyncOrders.follow)


def test_a_refused_argument_is_refused_where_it_is_given() -> None:
    with pytest.raises(ShopValueError):
        Shop(ScriptedEngine([])).orders.follow("")
    with pytest.raises(ShopValueError):
        AsyncShop(AsyncScriptedEngine([])).orders.follow("")


def test_a_stream_that_was_closed_before_it_opened_opens_nothing() -> None:
    blocking, awaiting_engine = ScriptedEngine([]), AsyncScriptedEngine([])
    events = Client("https://api.example", engine=blocking).stream(stream())
    events.close()
    assert [] == list(events)

    async def ask() -> list[str]:
        client = AsyncClient("https://api.example", engine=awaiting_engine)
        events = client.stream(stream())
        await events.aclose()
        await events.aclose()
        async with events:
            return [item async for item in events]

    assert [] == asyncio.run(ask())
    assert [] == blocking.orders + awaiting_engine.orders


def test_an_awaiting_engine_may_read_whole_too() -> None:
    class Whole:
        name = "whole"

        async def send(self, order: Any, /) -> Any:
            fields = {"content-type": "text/event-stream"}
            return answer(200, content=(event(1) + event(2) + DONE).encode(), headers=fields)

        async def aclose(self) -> None:
            pass

    async def ask() -> list[str]:
        async with AsyncClient("https://api.example", engine=Whole()).stream(stream()) as events:
            first = await anext(events)
        return [first, *[item async for item in events]]

    assert ["1"] == asyncio.run(ask())


# --- what tests of others play with ---


def test_a_scripted_stream_that_nobody_reads_in_pieces_comes_whole() -> None:
    engine = ScriptedEngine([streamed("a", 3.0, "b", broken("cut"), headers={"X-Own": "1"})])
    response = Client("https://api.example", engine=engine).request("GET", "/")

    assert (b"ab", None, "1") == (response.content, response.pieces, response.headers["x-own"])
    assert [] == engine.streams


def test_a_scripted_silence_needs_no_clock() -> None:
    engine = ScriptedEngine([streamed(event(1), 5.0, 500.0), streamed(DONE)])
    client = Client("https://api.example", engine=engine, clock=FakeClock())
    with client.stream(stream(policy=ResumePolicy(idle=60.0, wait=0.0))) as events:
        assert "<ScriptedPieces, open>" == repr(engine.streams[0])
        assert ["1", "bye"] == list(events)
        assert "<ScriptedPieces, closed>" == repr(engine.streams[0])


def test_what_is_handed_over_is_not_shown_in_a_traceback() -> None:
    from failwell.operations.streams import Came, Deliver

    assert "<Deliver 1 items>" == repr(Deliver([("s3cr3t", "")]))
    assert "<Came at 1.000>" == repr(Came(1.0, piece=b"s3cr3t"))
