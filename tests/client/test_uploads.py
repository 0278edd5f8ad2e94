"""Bodies that are sent in pieces: what arrives, what is announced, and what may be sent again."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from client_drivers import Driver
from scripted_server import CLOSE, RESET, ScriptedServer, reply

from failwell import (
    ArgumentTypeError,
    AsyncClient,
    CallTimeoutError,
    ConnectionLostError,
    Effect,
    Operation,
    Response,
    RetryPolicy,
    Upload,
    UploadError,
    UsageError,
)
from failwell.engines.bodies import PIECE_BYTES

AT_ONCE = RetryPolicy(base=0.0, jitter=0.0)
SIZES = (0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 7)


def noise(size: int) -> bytes:
    return random.Random(f"upload {size}").randbytes(size)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    def make(data: bytes) -> Path:
        path = tmp_path / "cat.jpg"
        path.write_bytes(data)
        return path

    return make


@pytest.mark.parametrize("size", SIZES)
def test_a_file_arrives_byte_for_byte_and_its_length_is_announced(
    driver: Driver, file: Callable[[bytes], Path], size: int
) -> None:
    data = noise(size)
    path = file(data)
    with ScriptedServer([reply(201)]) as server:
        [response] = driver(server.url, ("POST", "/images", {"content": path}))

    assert isinstance(response, Response), response
    assert server.asked[0].body == data
    assert server.asked[0].headers["content-length"] == str(size)
    assert "transfer-encoding" not in server.asked[0].headers
    assert "content-digest" not in server.asked[0].headers


@pytest.mark.parametrize("size", SIZES)
def test_the_digest_of_a_file_is_announced_where_it_is_asked_for(
    driver: Driver, file: Callable[[bytes], Path], size: int
) -> None:
    data = noise(size)
    operation = Operation("PUT", "/images/1", lambda r: r.status, content=Upload(file(data), digest=True))
    with ScriptedServer([reply(200)]) as server:
        assert driver.operation(server.url, operation) == 200

    expected = b64encode(hashlib.sha256(data).digest()).decode()
    assert server.asked[0].headers["content-digest"] == f"sha-256=:{expected}:"
    assert server.asked[0].body == data


def test_an_opened_file_is_sent_from_where_it_stands_and_stays_open(
    driver: Driver, file: Callable[[bytes], Path]
) -> None:
    data = noise(2 * PIECE_BYTES)
    with file(data).open("rb") as opened, ScriptedServer([reply(), reply()]) as server:
        opened.seek(1000)
        driver(server.url, ("POST", "/", {"content": opened}))
        assert not opened.closed
        driver(server.url, ("POST", "/", {"content": io.BytesIO(data)}))

    assert server.asked[0].body == data[1000:]
    assert server.asked[1].body == data


@pytest.mark.parametrize("fault", [reply(503), RESET, CLOSE], ids=["503", "reset", "closed"])
@pytest.mark.parametrize("opened", [False, True])
def test_a_try_that_follows_sends_the_file_from_its_start(
    driver: Driver, file: Callable[[bytes], Path], fault: Any, opened: bool
) -> None:
    data = noise(2 * PIECE_BYTES + 1)
    path = file(data)
    with path.open("rb") as handle, ScriptedServer([fault, reply(201)]) as server:
        content = Upload(handle if opened else path, digest=True)
        [response] = driver(server.url, ("POST", "/", {"content": content}), retry=AT_ONCE)

    assert isinstance(response, Response), response
    assert [asked.body for asked in server.asked] == [data, data]
    assert server.asked[0].headers["idempotency-key"] == server.asked[1].headers["idempotency-key"]
    assert server.asked[0].headers["content-digest"] == server.asked[1].headers["content-digest"]


def test_an_iterator_is_sent_once_and_what_became_of_it_is_unknown(driver: Driver) -> None:
    """A key is on the wire and tries are left; but there is nothing left to send."""

    def pieces() -> Iterator[bytes]:
        yield b"one, "
        yield b""
        yield b"two"

    with ScriptedServer([RESET, reply()]) as server:
        content = Upload(pieces(), size=8)
        [error] = driver(server.url, ("POST", "/", {"content": content}), retry=AT_ONCE)

    assert isinstance(error, ConnectionLostError)
    assert error.failure.effect is Effect.UNKNOWN
    assert error.failure.stopped == "body_spent"
    assert [asked.body for asked in server.asked] == [b"one, two"]


def test_an_iterator_that_was_not_begun_may_be_tried_again(driver: Driver) -> None:
    """Nobody listens at first: nothing was taken from it."""
    seen: list[int] = []

    def pieces() -> Iterator[bytes]:
        seen.append(1)
        yield b"x"

    with ScriptedServer([]) as server:
        closed = server.url
    content = pieces()
    [error] = driver(closed, ("POST", "/", {"content": content}), retry=AT_ONCE)

    assert len(error.attempts) == 3
    assert error.failure.effect is Effect.NOT_SENT
    assert not seen
    assert next(content) == b"x"


@pytest.mark.parametrize("change", ["grown", "cut", "rewritten", "replaced", "removed"])
def test_a_file_that_changes_between_two_tries_is_an_error_that_says_so(
    driver: Driver, file: Callable[[bytes], Path], change: str
) -> None:
    path = file(noise(2 * PIECE_BYTES))

    class Changing(ScriptedServer):
        def __init__(self) -> None:
            def script() -> Iterator[bytes]:
                if change == "grown":
                    with path.open("ab") as opened:
                        opened.write(b"more")
                elif change == "cut":
                    os.truncate(path, 10)
                elif change == "rewritten":
                    path.write_bytes(noise(2 * PIECE_BYTES + 5)[5:])
                    os.utime(path, ns=(1, 1))
                elif change == "replaced":
                    other = path.with_name("other")
                    other.write_bytes(path.read_bytes())
                    stat = path.stat()
                    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
                    other.replace(path)
                else:
                    path.unlink()
                yield reply(503)
                yield reply(200)

            super().__init__(script())

    with Changing() as server:
        [error] = driver(server.url, ("PUT", "/", {"content": path}), retry=AT_ONCE)

    assert isinstance(error, UploadError), error
    assert "'cat.jpg'" in str(error)
    assert error.failure.reason == "source"
    assert error.failure.stopped == "not_retryable"
    assert [attempt.outcome for attempt in error.attempts] == ["status", "source"]
    assert len(server.asked) == 1


def test_progress_is_told_in_bytes_and_begins_anew_with_each_try(
    driver: Driver, file: Callable[[bytes], Path]
) -> None:
    size = 2 * PIECE_BYTES + 3
    told: list[tuple[int, int | None]] = []
    content = Upload(file(noise(size)), progress=lambda sent, total: told.append((sent, total)))
    with ScriptedServer([reply(503), reply()]) as server:
        driver(server.url, ("POST", "/", {"content": content}), retry=AT_ONCE)

    once = [(PIECE_BYTES, size), (2 * PIECE_BYTES, size), (size, size)]
    assert told == once + once


def test_what_progress_raises_ends_the_call_as_it_is(driver: Driver, file: Callable[[bytes], Path]) -> None:
    def stop(sent: int, total: int | None) -> None:
        raise LookupError("enough")

    with ScriptedServer([]) as server:
        content = Upload(file(noise(2 * PIECE_BYTES)), progress=stop)
        [error] = driver(server.url, ("POST", "/", {"content": content}))

    assert type(error) is LookupError
    assert not server.asked


def test_what_an_iterator_raises_is_the_cause_of_an_upload_error(driver: Driver) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise LookupError("no more of it")

    with ScriptedServer([]) as server:
        [error] = driver(server.url, ("POST", "/", {"content": Upload(pieces(), size=1000)}))

    assert isinstance(error, UploadError)
    assert "LookupError: no more of it" in str(error)
    assert error.failure.effect is Effect.UNKNOWN
    assert error.__cause__ is not None
    assert isinstance(error.__cause__.__cause__, LookupError)


@pytest.mark.parametrize(("size", "words"), [(3, "5 bytes more"), (10, "2 bytes less")])
def test_an_iterator_is_held_to_the_size_that_was_told(driver: Driver, size: int, words: str) -> None:
    with ScriptedServer([]) as server:
        [error] = driver(server.url, ("POST", "/", {"content": Upload([b"eight by"], size=size)}))

    assert isinstance(error, UploadError)
    assert words in str(error)
    assert not server.asked


@pytest.mark.parametrize("drive", ["asyncio", "trio"])
def test_an_asynchronous_iterator_is_sent_by_an_async_client(drive: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d" % number

    with ScriptedServer([reply()]) as server:
        [response] = Driver(drive)(server.url, ("POST", "/", {"content": Upload(pieces(), size=3)}))

    assert isinstance(response, Response)
    assert server.asked[0].body == b"012"


def missing(path: Path) -> Any:
    return path / "missing"


REFUSED: dict[str, tuple[Callable[[Path], Any], type[UsageError], str]] = {
    "missing": (missing, UsageError, "'missing' cannot be read"),
    "folder": (lambda path: path, UsageError, "is not a regular file"),
    "text": (lambda path: "cat.jpg", ArgumentTypeError, "content is a str"),
    "bytearray": (lambda path: bytearray(b"x"), ArgumentTypeError, "content is a bytearray"),
    "list": (lambda path: [b"x"], ArgumentTypeError, "content is a list"),
    "dict": (lambda path: {}, ArgumentTypeError, "content is a dict"),
    "text mode": (lambda path: io.StringIO("x"), ArgumentTypeError, "text mode"),
    "closed": (lambda path: closed(), UsageError, "cannot be read"),
    "wrong size": (lambda path: Upload(io.BytesIO(b"x"), size=2), UsageError, "size is 2"),
    "negative size": (lambda path: Upload(iter([b"x"]), size=-1), UsageError, "size is -1"),
    "no number": (lambda path: wrong(size="1"), ArgumentTypeError, "size is a str"),
    "no function": (lambda path: wrong(progress=1), ArgumentTypeError, "progress is a int"),
    "digest once": (lambda path: Upload(iter([b"x"]), digest=True), UsageError, "read twice"),
    "surrogate": (lambda path: Upload("\ud800"), UsageError, "cannot be read"),
    "nul": (lambda path: Upload("a\0b"), UsageError, "cannot be read"),
}  # fmt: skip


def wrong(**facts: Any) -> Upload:
    return Upload(iter([b"x"]), **facts)


def closed() -> io.BytesIO:
    file = io.BytesIO()
    file.close()
    return file


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_sent_is_refused_before_anything_is(driver: Driver, case: str, tmp_path: Path) -> None:
    make, kind, words = REFUSED[case]
    with ScriptedServer([]) as server:
        [error] = driver(server.url, ("POST", "/", {"content": make(tmp_path)}))

    assert isinstance(error, kind), error
    assert words in str(error)


def test_a_client_that_blocks_refuses_what_must_be_awaited() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b""

    with ScriptedServer([]) as server:
        [error] = Driver("sync")(server.url, ("POST", "/", {"content": pieces()}))

    assert isinstance(error, ArgumentTypeError)
    assert "AsyncClient" in str(error)


MEMORY = """
import asyncio, resource, sys
import failwell

url, path, engine, awaits = sys.argv[1:]
if engine == "pyreqwest":
    import pyreqwest

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

async def main(content):
    async with failwell.AsyncClient(url, engine=engine) as client:
        await client.request("PUT", "/", content=content)

def once(content):
    if awaits == "yes":
        asyncio.run(main(content))
    else:
        with failwell.Client(url, engine=engine) as client:
            client.request("PUT", "/", content=content)

once(b"small")
before = peak()
once(failwell.Upload(path, digest=True))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the peak of a process's memory")
@pytest.mark.parametrize(
    ("engine", "awaits"),
    [("httpx", "no"), ("httpx", "yes"), ("aiohttp", "yes"), ("pyreqwest", "no"), ("pyreqwest", "yes")],
)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, engine: str, awaits: str) -> None:
    """200 MB, in a process of its own; the bound is a quarter of it."""
    size = 200_000_000
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(size)
    arrived: list[int] = []

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
                left = int(head.lower().partition(b"content-length:")[2].split()[0]) - len(body)
                arrived.append(left + len(body))
                while left and (piece := connection.recv(1024 * 1024)):
                    left -= len(piece)
                connection.sendall(reply(200, connection="close"))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, url, str(path), engine, awaits],
            env=clean,
            capture_output=True,
            text=True,
            timeout=60,
        )
        thread.join(10)

    assert done.returncode == 0, done.stderr
    assert arrived == [5, size]
    assert int(done.stdout) < size / 4


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs the list of open files")
@pytest.mark.parametrize("drive", ["asyncio", "trio"])
def test_a_cancelled_upload_closes_its_file(drive: str, file: Callable[[bytes], Path]) -> None:
    """The service reads nothing; the call is cancelled with most of the file unsent."""
    import anyio

    path = file(noise(PIECE_BYTES) * 64)

    async def main(url: str) -> bool:
        async with AsyncClient(url) as client:
            with anyio.move_on_after(0.3) as scope:
                await client.request("PUT", "/", content=path)
            return scope.cancelled_caught

    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert anyio.run(main, f"http://127.0.0.1:{listener.getsockname()[1]}", backend=drive)

    opened = [os.path.realpath(f"/proc/self/fd/{entry}") for entry in os.listdir("/proc/self/fd")]
    assert str(path) not in opened


def own_httpx2() -> httpx2.AsyncClient:
    return httpx2.AsyncClient()


@pytest.mark.parametrize(
    "engine",
    ["httpx", "aiohttp", "pyreqwest", own_httpx2],
    ids=["httpx", "aiohttp", "pyreqwest", "own_httpx2"],
)
def test_every_engine_says_the_same_of_a_body(engine: Any, file: Callable[[bytes], Path]) -> None:
    """What its iterator raises, what progress raises, a stall past the deadline, and tries that follow."""
    data = noise(2 * PIECE_BYTES + 1)
    path = file(data)

    def broken() -> Iterator[bytes]:
        yield b"some"
        raise LookupError("no more of it")

    def stop(sent: int, total: int | None) -> None:
        raise LookupError("enough")

    async def stalled() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(60)

    async def main(url: str) -> list[Any]:
        given = engine() if callable(engine) else engine
        results: list[Any] = []
        async with AsyncClient(url, engine=given, retry=AT_ONCE) as client:
            for content, seconds in (
                (Upload(broken(), size=1000), 20.0),
                (Upload(path, progress=stop), 20.0),
                (Upload(stalled(), size=1000), 0.5),
                (path, 20.0),
            ):
                try:
                    results.append(await client.request("POST", "/", content=content, deadline=seconds))
                except Exception as exc:
                    results.append(exc)
        if callable(engine):
            await given.aclose()
        return results

    with ScriptedServer([RESET, reply(503), reply()]) as server:
        failed, stopped, late, sent = asyncio.run(main(server.url))

    assert isinstance(failed, UploadError), failed
    assert failed.failure.effect is Effect.UNKNOWN
    assert type(stopped) is LookupError
    assert isinstance(late, CallTimeoutError), late
    assert late.failure.reason == "deadline"
    assert isinstance(sent, Response), sent
    assert [attempt.outcome for attempt in sent.attempts] == ["reset", "status", "ok"]
    assert [asked.body for asked in server.asked] == [data] * 3
