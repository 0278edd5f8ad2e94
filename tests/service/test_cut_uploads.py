"""An upload that its client cuts off, where the handler reads it piece by piece."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Body, FastAPI
from service_place import Place, code_of, place
from service_server import serving
from service_world import KEYS
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.failure import Effect
from failwell.service import Exchange, SQLiteStore, guarded, install, stored

LEVELS = ["transactional", "resumable", "at_most_once"]


async def reading(request: Request) -> Response:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return JSONResponse({"size": size}, 201)


async def cut_off(app: Any, key: str, path: str = "/work", idempotency_key: bytes | None = b"k") -> list[Any]:
    """Send half of a body and hang up; what was sent back to nobody."""
    messages = [{"type": "http.request", "body": b'{"a', "more_body": True}, {"type": "http.disconnect"}]
    headers = [(b"authorization", f"Bearer {key}".encode()), (b"transfer-encoding", b"chunked")]
    headers.append((b"content-type", b"application/json"))
    if idempotency_key is not None:
        headers.append((b"idempotency-key", idempotency_key))
    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers,
        "client": ("10.0.0.1", 1),
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def uploads(folder: Path, level: str, handler: Any = reading, **row: Any) -> Any:
    return place(folder, handler, idempotency=level, streamed=True, **row)


def again(here: Place) -> Answer:
    return here.run(body=[b'{"a', b'": 1}', b""], headers={"content-type": "application/json"})


@pytest.mark.parametrize("level", LEVELS)
def test_what_was_cut_off_is_not_recorded(tmp_path: Path, level: str) -> None:
    """
    The key is free, or nobody knows how much was done and somebody is to find out.
    """
    with uploads(tmp_path, level) as here:
        asyncio.run(cut_off(here.service, here.key))
        soon = again(here)
        here.clock.now += 30.0
        later = again(here)
        waiting = asyncio.run(here.store.unsettled())

    if level == "at_most_once":
        assert code_of(soon) == (409, "idempotency_in_flight")
        assert code_of(later) == (409, "idempotency_outcome_unknown")
        assert len(waiting) == 1
    else:
        assert (soon.status, later.headers["idempotent-replayed"]) == (201, "true")
    assert here.handled == (1 if level == "at_most_once" else 2)


@pytest.mark.parametrize("outcome", [Effect.NOT_APPLIED, Answer(201, {}, b"found")])
def test_a_hook_says_what_became_of_it(tmp_path: Path, outcome: Any) -> None:
    async def settle(exchange: Exchange) -> Any:
        return outcome

    with uploads(tmp_path, "at_most_once", settle=settle) as here:
        asyncio.run(cut_off(here.service, here.key))
        here.clock.now += 30.0
        answer = again(here)

    assert answer.status == 201
    assert here.handled == (2 if outcome is Effect.NOT_APPLIED else 1)


async def _says_500(request: Request) -> Response:
    try:
        return await reading(request)
    except ClientDisconnect:
        return JSONResponse({}, 500)


async def _raises_another(request: Request) -> Response:
    try:
        return await reading(request)
    except ClientDisconnect:
        raise ValueError("hunter2") from None


@pytest.mark.parametrize("handler", [_says_500, _raises_another])
def test_however_the_handler_says_so_it_is_unknown(tmp_path: Path, handler: Any) -> None:
    with uploads(tmp_path, "at_most_once", handler) as here:
        asyncio.run(cut_off(here.service, here.key))
        here.clock.now += 30.0

        assert code_of(again(here)) == (409, "idempotency_outcome_unknown")


@pytest.mark.parametrize(("status", "code"), [(200, 200), (400, 201)])
def test_what_the_handler_makes_of_it_is_what_it_says(tmp_path: Path, status: int, code: int) -> None:
    """
    It may be content with half, or know that nothing was done.
    """

    async def handler(request: Request) -> Response:
        try:
            return await reading(request)
        except ClientDisconnect:
            return JSONResponse({}, status)

    with uploads(tmp_path, "at_most_once", handler) as here:
        asyncio.run(cut_off(here.service, here.key))
        answer = again(here)

    assert answer.status == code
    assert ("idempotent-replayed" in answer.headers) == (status == 200)


def test_a_failure_after_the_whole_body_is_recorded_as_ever(tmp_path: Path) -> None:
    async def handler(request: Request) -> Response:
        await request.body()
        await request.is_disconnected()
        raise ValueError

    with uploads(tmp_path, "at_most_once", handler) as here:
        answers = [here.run(body=b"abc"), here.run(body=b"abc")]

    assert [(500, "internal_error")] * 2 == [code_of(a) for a in answers]
    assert answers[1].headers["idempotent-replayed"] == "true"


def test_a_body_that_fastapi_could_not_read_was_never_handled(tmp_path: Path) -> None:
    handled: list[int] = []
    app = FastAPI()

    @app.post("/work")
    @guarded(idempotency="at_most_once", streamed=True)
    async def work(a: Annotated[int, Body(embed=True)]) -> int:
        handled.append(a)
        return a

    store, key = SQLiteStore(tmp_path / "x.db"), KEYS.new()
    store.add_keys([stored(key, KEYS, tenant="t1")])
    service = install(app, STANDARD, store=store, keys=KEYS)
    asyncio.run(cut_off(service, key))
    unsettled = asyncio.run(store.unsettled())
    store.close()

    assert (handled, unsettled) == ([], [])


@pytest.mark.parametrize("key", [b"k", None])
def test_a_hang_up_is_no_fault_of_ours(
    tmp_path: Path, key: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), uploads(tmp_path, "resumable", _raises_another) as here:
        asyncio.run(cut_off(here.service, here.key, idempotency_key=key))

    (record,) = [r for r in caplog.records if r.name == "failwell.service"]
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith("hung up: ValueError")
    assert "hunter2" not in caplog.text


def test_over_a_socket_the_upload_can_be_settled(tmp_path: Path) -> None:
    ended = threading.Event()

    async def handler(request: Request) -> Response:
        try:
            return await reading(request)
        finally:
            ended.set()

    with uploads(tmp_path, "at_most_once", handler) as here, serving(here.service) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 20) as connection:
            head = f"POST /work HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {here.key}\r\n"
            connection.sendall(f"{head}Idempotency-Key: k\r\nContent-Length: 100\r\n\r\nhalf".encode())
            patience = time.monotonic() + 20
            while not here.handled and time.monotonic() < patience:
                time.sleep(0.01)
        assert ended.wait(20)
        # Whatever it is going to write, it has written by now.
        time.sleep(0.2)
        here.clock.now += 30.0

        assert len(asyncio.run(here.store.unsettled())) == 1
