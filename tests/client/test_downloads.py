"""Answers that become files, over both clients."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import tracemalloc
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest
from client_drivers import Driver
from scripted_server import Cut, ScriptedServer, reply

import failwell
from failwell import (
    AsyncClient,
    BadAnswerError,
    Client,
    Contract,
    Download,
    Downloaded,
    NotFoundError,
    Operation,
    ResumePolicy,
    UsageError,
)
from failwell.call.messages import Response
from failwell.client.downloading import fetch
from failwell.operations.steps import Steps, do
from failwell.resources import SDK, AsyncResource, AsyncSDK, Resource, awaiting, operation
from failwell.testing import AsyncScriptedEngine, FakeClock, ScriptedEngine, broken, streamed

QUICK = ResumePolicy(wait=0.001, cap=0.01, reconnects=3)
DATA = bytes(range(256)) * 40


def download(to: Path, **facts: Any) -> Download[Any]:
    return Download(Operation("GET", "/file"), to, **{"policy": QUICK, **facts})


def answer(data: bytes, start: int = 0, *, cut: int | None = None, **headers: str) -> bytes:
    """All of `data` from `start` on, or as much of it as comes before a cut."""
    size = len(data)
    status = "206 Partial Content" if start else "200 OK"
    fields = {"etag": '"v1"', "content_length": str(size - start), **headers}
    if start:
        fields["content_range"] = f"bytes {start}-{size - 1}/{size}"
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    whole = f"HTTP/1.1 {status}\r\n{head}\r\n".encode()
    return whole + data[start:] if cut is None else Cut(whole + data[start:cut])


def test_a_file_that_was_cut_off_is_gone_on_with(driver: Driver, tmp_path: Path) -> None:
    sha = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    script = [
        answer(DATA, cut=3000, content_digest=f"sha-256=:{sha}:"),
        answer(DATA, 3000, cut=9000),
        answer(DATA, 9000),
    ]
    with ScriptedServer(script) as server:
        done = driver.perform(server.url, lambda: download(tmp_path / "video.mp4"))

    assert Downloaded(tmp_path / "video.mp4", len(DATA), '"v1"', None, "sha-256") == done
    assert DATA == (tmp_path / "video.mp4").read_bytes()
    assert [None, "bytes=3000-", "bytes=9000-"] == [asked.headers.get("range") for asked in server.asked]
    assert ["video.mp4"] == [path.name for path in tmp_path.iterdir()]


def test_what_is_there_is_told_and_gone_on_with_by_another_client(driver: Driver, tmp_path: Path) -> None:
    to = tmp_path / "video.mp4"
    with ScriptedServer([answer(DATA, cut=3000), *[reply(503)] * 9]) as server:
        error = driver.perform(
            server.url,
            lambda: download(to, policy=ResumePolicy(wait=0.001, reconnects=0)),
        )
    assert isinstance(error, BadAnswerError)
    left = error.failure.details
    assert not to.exists()
    assert DATA[:3000] == Path(left["part"]).read_bytes()

    with ScriptedServer([answer(DATA, 3000)]) as server:
        done = driver.perform(server.url, lambda: download(to, resume=left))
    assert isinstance(done, Downloaded)
    assert DATA == to.read_bytes()
    assert '"v1"' == server.asked[0].headers["if-range"]
    assert [to] == list(tmp_path.iterdir())


def test_a_refusal_leaves_nothing(driver: Driver, tmp_path: Path) -> None:
    with ScriptedServer([reply(404, {"detail": "No such file."})]) as server:
        error = driver.perform(server.url, lambda: download(tmp_path / "x"))

    assert isinstance(error, NotFoundError)
    assert [] == list(tmp_path.iterdir())


def test_a_file_that_is_there_is_replaced_only_when_the_new_one_is_whole(
    driver: Driver, tmp_path: Path
) -> None:
    to = tmp_path / "x"
    to.write_bytes(b"old")
    with ScriptedServer([answer(DATA, cut=10, etag="")]) as server:
        error = driver.perform(server.url, lambda: download(to, policy=ResumePolicy(reconnects=0)))
    assert isinstance(error, BadAnswerError)
    assert (b"old", [to]) == (to.read_bytes(), list(tmp_path.iterdir()))

    with ScriptedServer([answer(DATA)]) as server:
        driver.perform(server.url, lambda: download(to))
    assert DATA == to.read_bytes()


def test_a_file_that_changed_meanwhile_comes_from_its_start(driver: Driver, tmp_path: Path) -> None:
    with ScriptedServer([answer(DATA, cut=3000), answer(b"another", etag='"v2"')]) as server:
        done = driver.perform(server.url, lambda: download(tmp_path / "x"))

    assert ('"v2"', 7, b"another") == (done.etag, done.size, (tmp_path / "x").read_bytes())


def test_the_digest_is_that_of_all_that_is_there(driver: Driver, tmp_path: Path) -> None:
    """What an earlier download left is read for it."""
    part = tmp_path / "part"
    part.write_bytes(DATA[:9000])
    sha = base64.b64encode(hashlib.sha512(DATA).digest()).decode()
    left = {"part": str(part), "received": 9000, "size": len(DATA), "etag": '"v1"'}
    with ScriptedServer([answer(DATA, 9000, repr_digest=f"sha-512=:{sha}:")]) as server:
        done = driver.perform(server.url, lambda: download(tmp_path / "x", resume=left))

    assert "sha-512" == done.checked
    assert DATA == (tmp_path / "x").read_bytes()


def test_an_engine_that_reads_whole_will_do(tmp_path: Path) -> None:
    class Whole:
        name = "whole"

        def send(self, order: Any, /) -> Response:
            return Response(200, [("content-length", "3")], b"abc")

        def close(self) -> None:
            pass

    class AsyncWhole(Whole):
        async def send(self, order: Any, /) -> Response:
            return Response(200, [("content-length", "3")], b"abc")

        async def aclose(self) -> None:
            pass

    to = tmp_path / "x"
    Client("https://a.example", engine=Whole()).perform(download(to))
    assert b"abc" == to.read_bytes()
    to.unlink()
    asyncio.run(AsyncClient("https://a.example", engine=AsyncWhole()).perform(download(to)))
    assert b"abc" == to.read_bytes()


def test_a_download_keeps_to_the_time_of_what_it_is_part_of(tmp_path: Path) -> None:
    clock = FakeClock()
    engine = ScriptedEngine([streamed(b"abc"), streamed(b"abc")], clock)
    client = Client("https://a.example", engine=engine, clock=clock)
    fetch(client, download(tmp_path / "x"), 5.0)
    fetch(client, download(tmp_path / "x"), None)

    assert [1005.0, inf] == [order.until for order in engine.orders]


def play(script: list[Any], order: Callable[[], Any], **settings: Any) -> Any:
    """What both clients bring, which is the same."""
    blocking = _tried(
        lambda: Client("https://a.example", engine=ScriptedEngine(list(script)), **settings).perform(order())
    )

    async def ask() -> Any:
        engine = AsyncScriptedEngine(script)
        client = AsyncClient("https://a.example", engine=engine, **settings)
        try:
            return await client.perform(order())
        except Exception as exc:
            return exc

    return blocking, asyncio.run(ask())


def _tried(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except Exception as exc:
        return exc


@pytest.mark.parametrize(
    ("name", "facts", "words"),
    [
        ("missing/x", {}, "cannot be written: No such file or directory"),
        ("folder", {}, "is a folder"),
        ("old", {"overwrite": False}, "is there already"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_sent(
    tmp_path: Path, name: str, facts: dict[str, Any], words: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "old").write_bytes(b"old")
    for error in play([], lambda: download(tmp_path / name, **facts)):
        assert isinstance(error, UsageError)
        assert words in str(error)


def test_a_path_is_a_path() -> None:
    for error in play([], lambda: Download(Operation("GET", "/x"), 7)):
        assert isinstance(error, failwell.ArgumentTypeError)


def test_the_contract_names_the_refusal(tmp_path: Path) -> None:
    class RefusedError(failwell.UsageError):
        """Refused."""

    contract = Contract("shop", usage={failwell.UsageError: RefusedError})
    for error in play([], lambda: download(tmp_path), contract=contract):
        assert isinstance(error, RefusedError)


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    to = tmp_path / "x"

    def come(*_: Any) -> None:
        to.write_bytes(b"theirs")

    client = Client(
        "https://a.example", engine=ScriptedEngine([streamed(b"abc", headers={"content-length": "3"})])
    )
    with pytest.raises(UsageError, match="is there already"):
        client.perform(download(to, overwrite=False, progress=come))
    assert (b"theirs", [to]) == (to.read_bytes(), list(tmp_path.iterdir()))

    to.unlink()
    client = Client("https://a.example", engine=ScriptedEngine([streamed(b"abc")]))
    client.perform(download(to, overwrite=False))
    assert (b"abc", [to]) == (to.read_bytes(), list(tmp_path.iterdir()))


def test_what_progress_raises_passes_through_and_leaves_nothing(tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("theirs")

    engine = ScriptedEngine([streamed(b"abc", b"def")])
    with pytest.raises(RuntimeError, match="theirs"):
        Client("https://a.example", engine=engine).perform(download(tmp_path / "x", progress=fail))

    assert engine.streams[0].closed
    assert [] == list(tmp_path.iterdir())


def test_what_was_left_and_is_gone_is_got_from_the_start(tmp_path: Path) -> None:
    left = {"part": str(tmp_path / "gone"), "received": 3, "size": 6, "etag": '"v1"'}
    engine = ScriptedEngine([streamed(b"abcdef")])
    Client("https://a.example", engine=engine).perform(download(tmp_path / "x", resume=left))

    assert b"abcdef" == (tmp_path / "x").read_bytes()
    assert "range" not in engine.requests[0].headers


def test_what_was_left_is_thrown_away_if_the_file_has_changed(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"abcXX")
    left = {"part": str(part), "received": 3, "size": 6, "etag": '"v1"'}
    for script, status in (([streamed(b"uvwxyz")], 200), ([_refused_range, streamed(b"uvwxyz")], 416)):
        part.write_bytes(b"abcXX")
        engine = ScriptedEngine(script)
        Client("https://a.example", engine=engine).perform(download(tmp_path / "x", resume=left))
        assert b"uvwxyz" == (tmp_path / "x").read_bytes(), status
        assert "bytes=3-" == engine.requests[0].headers["range"]


def _refused_range(order: Any) -> Response:
    return Response(416, [("content-range", "bytes */2")])


def test_it_waits_as_the_policy_says_and_says_what_the_deadline_left(tmp_path: Path) -> None:
    clock = FakeClock()
    tag = {"etag": '"v1"', "content-length": "6"}
    part = {"etag": '"v1"', "content-range": "bytes 3-5/6"}
    script = [
        streamed(b"abc", broken("reset"), headers=tag),
        streamed(500.0, status=206, headers=part),
    ]
    wanted = download(tmp_path / "x", policy=ResumePolicy(wait=2.0, deadline=60.0))
    client = Client(
        "https://a.example", engine=ScriptedEngine(script, clock), clock=clock, random=lambda: 1.0
    )
    with pytest.raises(failwell.CallTimeoutError) as caught:
        client.perform(wanted)

    assert [2.0] == clock.sleeps
    assert 3 == caught.value.failure.details["received"]
    assert b"abc" == Path(caught.value.failure.details["part"]).read_bytes()


class Files(Resource):
    @operation
    def get(self, to: Path) -> Download[Path]:
        """A file."""
        return Download(Operation("GET", "/file"), to, result=lambda done: done.path)

    @operation
    def get_twice(self, to: Path) -> Steps[int]:
        """A file, twice."""
        first = yield from do(download(to))
        second = yield from do(download(to))
        return int(first.size + second.size)


class AsyncFiles(AsyncResource):
    get = awaiting(Files.get)
    get_twice = awaiting(Files.get_twice)


class Shop(SDK):
    def __init__(self, engine: Any) -> None:
        self._client = Client("https://shop.example", engine=engine)
        self.files = Files(self._client)


class AsyncShop(AsyncSDK):
    def __init__(self, engine: Any) -> None:
        self._client = AsyncClient("https://shop.example", engine=engine)
        self.files = AsyncFiles(self._client)


def test_a_method_of_an_sdk_downloads_for_both_clients(tmp_path: Path) -> None:
    to = tmp_path / "x"
    with Shop(ScriptedEngine([streamed(b"abc") for _ in range(3)])) as shop:
        assert (to, 6) == (shop.files.get(to), shop.files.get_twice(to))

    async def ask() -> tuple[Path, int]:
        async with AsyncShop(AsyncScriptedEngine([streamed(b"abc") for _ in range(3)])) as shop:
            return await shop.files.get(to), await shop.files.get_twice(to)

    assert (to, 6) == asyncio.run(ask())
    assert "Path" == Files.get.__annotations__["return"]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    piece = b"x" * 65536
    engine = ScriptedEngine([streamed(*[piece] * 400, headers={"content-length": str(400 * 65536)})])
    client = Client("https://a.example", engine=engine)
    tracemalloc.start()
    try:
        client.perform(download(tmp_path / "x"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 400 * 65536 == (tmp_path / "x").stat().st_size
    assert peak < 2_000_000
