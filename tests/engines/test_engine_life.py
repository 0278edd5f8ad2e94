"""What engines do when they are interrupted, crowded, forked, moved to another loop, or left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from engine_carriers import Carrier
from test_engine_table import assert_broken
from wire_faults import BODY, Faults, answer, says

from failwell.call.messages import Phase, Reason, Response, Send
from failwell.engines import open_async_engine, open_engine
from failwell.engines.base import Connections
from failwell.errors import ConfigurationError, UsageError

Make = Callable[..., Send]
ASYNC = ["httpx", "aiohttp", "pyreqwest"]
SYNC = ["httpx", "pyreqwest"]


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 15
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


class Silent:
    """Reads a request and says nothing; `hung_up` is set when the other side goes."""

    def __init__(self) -> None:
        self.hung_up = threading.Event()

    def __call__(self, server: Faults, connection: Any, number: int) -> None:
        try:
            server.read(connection)
            if number > 1:
                connection.sendall(answer())
            elif not connection.recv(65536):
                self.hung_up.set()
        except ConnectionError:
            self.hung_up.set()


@pytest.mark.parametrize("engine", ASYNC)
def test_a_cancelled_task_leaves_no_request_and_no_connection(engine: str, order: Make) -> None:
    """
    The cancellation passes, the connection is closed, and the next request has a fresh one.

    pyreqwest lets the cancelled request run on in the background until its deadline; only then
    is its connection closed.
    """
    silent = Silent()
    seconds = 1.0 if engine == "pyreqwest" else 60.0

    async def main(server: Faults) -> Any:
        carrier = open_async_engine(engine, Connections(max_connections=1))
        task = asyncio.create_task(carrier.send(order(server.url, seconds=seconds)))
        await asyncio.to_thread(server.noted.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert silent.hung_up.is_set() or await asyncio.to_thread(silent.hung_up.wait, 10)
        result = await carrier.send(order(server.url))
        await carrier.aclose()
        return result

    with Faults(silent) as server:
        result = asyncio.run(main(server))

    assert isinstance(result, Response)
    assert len(server.requests) == 2
    assert server.connections == 2


def test_a_cancelled_scope_of_trio_leaves_no_request_and_no_connection(order: Make) -> None:
    silent = Silent()

    async def main(server: Faults) -> Any:
        carrier = open_async_engine("httpx", Connections(max_connections=1))
        with trio.move_on_after(10) as scope:
            async with trio.open_nursery() as nursery:

                async def stop() -> None:
                    await trio.to_thread.run_sync(server.noted.wait, 10)
                    scope.cancel()

                nursery.start_soon(stop)
                await carrier.send(order(server.url))
        assert scope.cancelled_caught
        assert await trio.to_thread.run_sync(silent.hung_up.wait, 10)
        result = await carrier.send(order(server.url))
        await carrier.aclose()
        return result

    with Faults(silent) as server:
        result = trio.run(main, server)

    assert isinstance(result, Response)
    assert len(server.requests) == 2


def test_an_outer_timeout_is_not_taken_for_the_deadline(order: Make) -> None:
    """
    `asyncio.timeout` around a call cancels it: every engine lets that pass.
    """

    async def main(server: Faults) -> None:
        for engine in ASYNC:
            carrier = open_async_engine(engine, Connections())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await carrier.send(order(server.url, seconds=2.0))
            await carrier.aclose()

    with Faults(says(stay=True)) as server:
        asyncio.run(main(server))


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to a thread")
def test_ctrl_c_ends_a_blocking_request_at_once(order: Make) -> None:
    """
    The default engine: the interrupt passes, the connection is closed and not used again.
    """
    silent = Silent()
    with Faults(silent) as server:
        engine = open_engine("httpx", Connections())

        def interrupt() -> None:
            server.noted.wait(10)
            time.sleep(0.05)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            engine.send(order(server.url))
        elapsed = time.monotonic() - began
        thread.join()
        assert silent.hung_up.wait(10)
        result = engine.send(order(server.url))
        engine.close()

    assert elapsed < 8
    assert isinstance(result, Response)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "where",
    [
        "httpcore2.Response.__init__",  # the head of the answer is read
        "httpcore2._sync.connection.HTTPConnection.handle_request",  # the place is taken
        "httpcore2._sync.http11.HTTP11Connection._response_closed",  # the body is read
    ],
)
def test_ctrl_c_between_two_statements_of_httpcore_costs_no_place(
    where: str, order: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrier = open_engine("httpx", Connections(max_connections=1))

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with Faults(says(answer(), each=True)) as server:
        with monkeypatch.context() as patched:
            patched.setattr(where, interrupted)
            with pytest.raises(KeyboardInterrupt):
                carrier.send(order(server.url))
        result = carrier.send(order(server.url))
        carrier.close()

    assert isinstance(result, Response), result


@pytest.mark.parametrize("engine", ASYNC)
def test_a_full_pool_is_a_pool_timeout(engine: str, order: Make) -> None:
    """
    Nothing was sent; a deadline that comes first says so.
    """

    async def main(server: Faults) -> list[Any]:
        carrier = open_async_engine(engine, Connections(max_connections=1))
        held = asyncio.create_task(carrier.send(order(server.url, pool=0.5, seconds=2.0)))
        await asyncio.to_thread(server.noted.wait, 10)
        results = [
            await carrier.send(order(server.url, pool=0.5)),
            await carrier.send(order(server.url, pool=0.5, seconds=0.2)),
        ]
        held.cancel()
        await asyncio.wait([held])
        await carrier.aclose()
        return results

    with Faults(says(stay=True)) as server:
        crowded, late = asyncio.run(main(server))

    assert_broken(crowded, engine, Phase.NOT_SENT, Reason.POOL_TIMEOUT)
    assert_broken(late, engine, Phase.NOT_SENT, Reason.DEADLINE)
    assert len(server.requests) == 1


@pytest.mark.parametrize("engine", SYNC)
def test_threads_may_share_an_engine(engine: str, order: Make) -> None:
    results: list[Any] = []
    with Faults(says(answer(), each=True)) as server:
        carrier = open_engine(engine, Connections(max_connections=4))

        def ask() -> None:
            results.extend(carrier.send(order(server.url)) for _ in range(10))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        carrier.close()

    assert [getattr(result, "status", result) for result in results] == [200] * 80
    assert server.connections <= 4 or engine == "pyreqwest"


@pytest.mark.usefixtures("forget_abandoned")
@pytest.mark.parametrize("engine", ASYNC)
def test_an_engine_works_in_one_loop_after_another(engine: str, order: Make) -> None:
    carrier = open_async_engine(engine, Connections())
    with Faults(says(answer(), each=True)) as server:
        for _ in range(2):
            result = asyncio.run(carrier.send(order(server.url)))
            assert isinstance(result, Response)

        async def last() -> Any:
            result = await carrier.send(order(server.url))
            await carrier.aclose()
            return result

        assert isinstance(asyncio.run(last()), Response)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("engine", "run"),
    [
        pytest.param("httpx", asyncio.run, id="httpx-asyncio"),
        pytest.param("httpx", lambda ask: trio.run(lambda: ask), id="httpx-trio"),
        pytest.param("aiohttp", asyncio.run, id="aiohttp-asyncio"),
    ],
)
def test_a_loop_that_ends_closes_its_connections(engine: str, run: Callable[[Any], Any], order: Make) -> None:
    """
    A program that runs a loop for each piece of work does not run out of sockets.
    """
    carrier = open_async_engine(engine, Connections())
    ended: list[int] = []

    def behave(server: Faults, connection: Any, number: int) -> None:
        while server.read(connection):
            connection.sendall(answer())
        ended.append(number)

    with Faults(behave) as server:
        for _ in range(3):
            assert isinstance(run(carrier.send(order(server.url))), Response)
        wait_until(lambda: len(ended) == 3)
    assert server.connections == 3


@pytest.mark.parametrize("engine", ["httpx", "aiohttp"])
def test_two_loops_in_turn_do_not_close_each_others_connections(engine: str, order: Make) -> None:
    carrier = open_async_engine(engine, Connections())
    loops = [asyncio.Runner(), asyncio.Runner()]

    async def begin() -> asyncio.Task[Any]:
        task = asyncio.ensure_future(carrier.send(order(server.url)))
        await asyncio.sleep(0.05)
        return task

    async def end(task: asyncio.Task[Any]) -> Any:
        return await task

    with Faults(says(0.3, answer(), each=True)) as server:
        tasks = [loop.run(begin()) for loop in loops]
        results = [loop.run(end(task)) for loop, task in zip(loops, tasks, strict=True)]
        for loop in loops:
            loop.close()

    assert [getattr(result, "status", result) for result in results] == [200, 200]


@pytest.mark.parametrize("engine", ["aiohttp", "pyreqwest"])
def test_an_engine_of_asyncio_says_so_under_trio(engine: str, order: Make) -> None:
    carrier = open_async_engine(engine, Connections())
    with pytest.raises(ConfigurationError, match="httpx"):
        trio.run(carrier.send, order("http://127.0.0.1:1/"))


def test_an_engine_outside_of_any_loop_says_so(order: Make) -> None:
    for engine in ASYNC:
        coroutine = open_async_engine(engine, Connections()).send(order("http://127.0.0.1:1/"))
        with pytest.raises(ConfigurationError, match="event loop"):
            coroutine.send(None)  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_default_engine_works_in_a_forked_child(order: Make, in_child: Callable[..., str]) -> None:
    """
    On a connection of its own: the parent's is neither used nor closed.
    """
    with Faults(says(answer(), each=True)) as server:
        engine = open_engine("httpx", Connections())
        assert isinstance(engine.send(order(server.url)), Response)
        connections = server.connections

        def ask() -> str:
            result = engine.send(order(server.url))
            engine.close()
            return str(getattr(result, "status", result))

        assert in_child(ask) == "200"
        assert server.connections == connections + 1
        assert isinstance(engine.send(order(server.url)), Response)
        assert server.connections == connections + 1
        engine.close()
    assert len(server.requests) == 3


@pytest.mark.usefixtures("forget_abandoned")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("engine", ["httpx", "aiohttp"])
def test_an_awaiting_engine_works_in_a_forked_child(
    engine: str, order: Make, in_child: Callable[..., str]
) -> None:
    with Faults(says(answer(), each=True)) as server:
        carrier = open_async_engine(engine, Connections())
        assert isinstance(asyncio.run(carrier.send(order(server.url))), Response)

        def ask() -> str:
            return str(getattr(asyncio.run(carrier.send(order(server.url))), "status", "broken"))

        assert in_child(ask) == "200"
        assert server.connections == 2
        asyncio.run(carrier.aclose())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_pyreqwest_says_at_once_that_it_cannot_be_used_after_a_fork(
    order: Make, in_child: Callable[..., str]
) -> None:
    """
    Neither the client made before nor one made after: it would hang for ever.
    """
    with Faults(says(answer(), each=True)) as server:
        engine = open_engine("pyreqwest", Connections())
        assert isinstance(engine.send(order(server.url)), Response)

        def ask(carrier: Any) -> str:
            try:
                carrier.send(order(server.url))
            except ConfigurationError as exc:
                return str(exc)
            return "sent"

        assert "'httpx'" in in_child(lambda: ask(engine))
        assert "'httpx'" in in_child(lambda: ask(open_engine("pyreqwest", Connections())))
        engine.close()


LEFT_BEHIND = {
    "a task is pending": """
import asyncio
async def main():
    tasks = [asyncio.create_task(engine.send(order())) for _ in range(5)]
    await asyncio.sleep(0.5)
engine = open_async_engine(NAME, Connections())
asyncio.run(main())
""",
    "a task was cancelled": """
import asyncio
async def main():
    tasks = [asyncio.create_task(engine.send(order())) for _ in range(5)]
    await asyncio.sleep(0.5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
engine = open_async_engine(NAME, Connections())
asyncio.run(main())
""",
    "a thread is waiting": """
import threading, time
engine = open_engine(NAME, Connections())
for _ in range(5):
    threading.Thread(target=engine.send, args=(order(),), daemon=True).start()
time.sleep(0.5)
""",
}


@pytest.mark.parametrize(
    ("engine", "left"),
    [(e, left) for left in LEFT_BEHIND for e in (SYNC if "thread" in left else ASYNC)],
    ids=lambda value: str(value),
)
def test_the_interpreter_ends_cleanly_with_requests_in_flight(engine: str, left: str, tmp_path: Path) -> None:
    """
    Exit status 0, and nothing said about it.
    """
    with Faults(says(stay=True)) as server:
        code = (
            "import time\n"
            "from failwell.call.messages import Request, Send, Timeouts\n"
            "from failwell.engines import open_engine, open_async_engine\n"
            "from failwell.engines.base import Connections\n"
            f"NAME = {engine!r}\n"
            f"def order(): return Send(Request('GET', {server.url!r}), Timeouts(), time.monotonic() + 30)\n"
            f"{LEFT_BEHIND[left]}\nprint('over')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path
        )

    assert (done.returncode, done.stdout.strip()) == (0, "over"), done.stderr
    assert "Traceback" not in done.stderr
    assert len(server.requests) == 5


def test_the_interpreter_ends_cleanly_right_after_an_answer_was_cut(tmp_path: Path) -> None:
    """
    pyreqwest's threads let go of it later; of eight processes that did not wait, three were aborted.
    """
    with Faults(says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nxx")) as server:
        code = (
            "import asyncio, failwell\n"
            "retry = failwell.RetryPolicy(max_attempts=1)\n"
            f"client = failwell.AsyncClient({server.url!r}, engine='pyreqwest', retry=retry)\n"
            "async def ask():\n"
            "    try: await client.request('GET', '/')\n"
            "    except failwell.BadAnswerError: pass\n"
            "asyncio.run(ask())\n"
        )
        done = [
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path
            )
            for _ in range(8)
        ]

    assert [(d.returncode, d.stderr) for d in done] == [(0, "")] * 8


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\0b", "\u20ac"], ids=["crlf", "lf", "nul", "euro"])
def test_a_header_that_http_cannot_write_is_named_without_its_value(
    value: str, carrier: Carrier, order: Make
) -> None:
    """
    It is the caller's mistake: nothing is sent, and the text of the error holds no secret.
    """
    if carrier.engine in ("aiohttp", "pyreqwest") and value == "\u20ac":
        pytest.skip("it is sent as UTF-8")
    with Faults(says(answer())) as server, pytest.raises(UsageError, match="'x-secret'") as caught:
        carrier(order(server.url, headers={"x-secret": f"s3cr3t{value}"}))

    assert not server.requests
    error: BaseException | None = caught.value
    while error is not None:
        assert "s3cr3t" not in f"{error} {error!r}"
        error = error.__context__


def test_a_connection_is_not_used_again_if_its_leftovers_cannot_be_seen(
    httpx_carrier: Carrier, order: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Leftovers are found by names that httpcore calls private. Should they change, each request has
    a connection of its own, which is slow and safe.
    """
    monkeypatch.setattr("failwell.engines.pools.parser_of", lambda pool, stream: None)
    with Faults(says(answer(), each=True)) as server:
        results = httpx_carrier(order(server.url), order(server.url))

    assert [getattr(result, "status", result) for result in results] == [200, 200]
    assert server.connections == 2


def test_aiohttp_of_another_kind_is_refused(order: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An aiohttp whose repetitions cannot be turned off is not used.
    """
    import aiohttp

    from failwell.engines.aiohttp import _never_replay

    with pytest.raises(ConfigurationError, match=aiohttp.__version__):
        _never_replay(object())


def test_the_user_info_of_a_url_becomes_basic_authorization(carrier: Carrier, order: Make) -> None:
    """
    As httpx does it; it is not sent as a part of the URL.
    """
    with Faults(says(answer())) as server:
        sent = order(server.url.replace("://", "://user:p%40ss@"))
        del sent.request.headers["authorization"]
        (result,) = carrier(sent)

    assert isinstance(result, Response)
    head = server.requests[0].partition(b"\r\n\r\n")[0].lower()
    assert b"authorization: basic dxnlcjpwqhnz" in head
    assert b"p%40ss" not in head


def test_an_answer_in_pieces_is_put_together(carrier: Carrier, order: Make) -> None:
    pieces: list[bytes | float] = []
    for byte in answer():
        pieces += [bytes([byte])]
    pieces[40:40] = [0.05]
    pieces[90:90] = [0.05]
    with Faults(says(*pieces, each=True)) as server:
        results = carrier(order(server.url), order(server.url))

    assert [getattr(result, "content", result) for result in results] == [BODY, BODY]


@pytest.mark.parametrize("engine", ["httpx", "aiohttp"])
def test_what_is_left_of_a_request_that_was_given_up_is_not_sent(engine: str, order: Make) -> None:
    """
    A large body is under way when the deadline comes: the connection ends there and then.
    """
    size = 30_000_000
    received: list[int] = []
    go_on = threading.Event()

    def behave(server: Faults, connection: Any, number: int) -> None:
        go_on.wait(10)
        count = 0
        try:
            while piece := connection.recv(1 << 20):
                count += len(piece)
        except ConnectionError:
            pass
        received.append(count)

    async def main(server: Faults) -> None:
        carrier = open_async_engine(engine, Connections())
        result = await carrier.send(order(server.url, content=b"s" * size, seconds=0.4))
        assert_broken(result, engine, Phase.SENT, Reason.DEADLINE)
        go_on.set()
        await asyncio.to_thread(wait_until, lambda: bool(received))
        await carrier.aclose()

    with Faults(behave) as server:
        asyncio.run(main(server))

    assert received[0] < size
