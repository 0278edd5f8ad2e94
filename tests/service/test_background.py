"""What an application does after its answer: background tasks, and dependencies that end then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi import Request as FastRequest
from service_asgi import ask
from service_place import Place, code_of, place
from service_world import KEYS, SCHEMA
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.service import SQLiteStore, exchange_of, guarded, install, stored

LEVELS = ["transactional", "resumable", "at_most_once"]


def made(db: Any) -> Answer:
    db.execute("INSERT INTO things (name) VALUES ('a')")
    return Answer(201, {"content-type": "application/json"}, b'"made"')


def committing(later: Callable[[], Awaitable[None]], *, pieces: bool = False) -> Any:
    """A handler that commits, and has something to do afterwards."""

    async def handler(request: Request) -> Response:
        answer = await exchange_of(request).commit(made)
        task = BackgroundTask(later)
        if not pieces:
            return Response(answer.body, answer.status, answer.headers, background=task)

        async def body() -> AsyncIterator[bytes]:
            yield answer.body[:3]
            yield answer.body[3:]

        return StreamingResponse(body(), answer.status, answer.headers, background=task)

    return handler


async def answering(here: Place, answered: asyncio.Event) -> list[Any]:
    """Ask, and say when the whole answer has left."""
    headers = [(b"authorization", f"Bearer {here.key}".encode()), (b"idempotency-key", b"k")]
    scope = {
        "type": "http", "method": "POST", "path": "/work", "query_string": b"", "headers": headers,
        "client": ("10.0.0.1", 1),
    }  # fmt: skip
    messages = [{"type": "http.request"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    await here.service(scope, receive, send)
    return sent


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("level", LEVELS)
def test_what_was_committed_is_answered_before_the_task_is_done(
    tmp_path: Path, level: str, pieces: bool
) -> None:
    """
    The task waits for the answer: if that waited for the task, neither would ever end.
    """
    ended: list[str] = []

    answered: list[asyncio.Event] = []

    async def both(here: Place) -> list[Any]:
        answered.append(asyncio.Event())
        return await asyncio.wait_for(answering(here, answered[0]), 20)

    async def later() -> None:
        await answered[0].wait()
        ended.append("later")

    with place(tmp_path, committing(later, pieces=pieces), idempotency=level) as here:
        sent = asyncio.run(both(here))
        again = here.run(body=b"")

    assert sent[0]["status"] == 201
    assert b"".join(m.get("body", b"") for m in sent[1:]) == b'"made"'
    assert ended == ["later"]
    assert (again.status, again.headers["idempotent-replayed"]) == (201, "true")


@pytest.mark.parametrize("pieces", [False, True])
def test_a_task_that_fails_then_is_logged_and_no_more(
    tmp_path: Path, pieces: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    with place(tmp_path, committing(fails, pieces=pieces), idempotency="transactional") as here:
        first, again = here.run(), here.run()
        rows = here.store.read("SELECT count(*) FROM things")

    assert (first.status, first.body, again.body, rows) == (201, b'"made"', b'"made"', [(1,)])
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.getMessage() == f"request {first.headers['x-request-id']} failed"


def test_a_second_answer_after_the_first_has_left_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Twice(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await super().__call__(scope, receive, send)
            await send({"type": "http.response.body", "body": b"more"})

    async def handler(request: Request) -> Response:
        answer = await exchange_of(request).commit(made)
        return Twice(answer.body, answer.status, answer.headers)

    with place(tmp_path, handler, idempotency="transactional") as here:
        answer = here.run()

    assert (answer.status, answer.body) == (201, b'"made"')
    assert "answered twice" in caplog.text


def test_a_task_may_ask_whether_the_client_is_there(tmp_path: Path) -> None:
    asked: list[bool] = []

    async def handler(request: Request) -> Response:
        async def later() -> None:
            asked.append(await request.is_disconnected())
            asked.append((await request.receive())["type"] == "http.disconnect")

        answer = await exchange_of(request).commit(made)
        await request.body()
        return Response(answer.body, answer.status, answer.headers, background=BackgroundTask(later))

    with place(tmp_path, handler, idempotency="transactional") as here:
        answer = here.run()

    assert answer.status == 201
    assert asked == [True, True]


@pytest.mark.parametrize("level", LEVELS)
def test_what_was_not_committed_fails_with_its_task(tmp_path: Path, level: str) -> None:
    """
    As the guide says: nobody can tell such a task from what makes the answer true.
    """
    fails = [True]

    async def later() -> None:
        if fails:
            fails.pop()
            raise ZeroDivisionError

    async def handler(request: Request) -> Response:
        return JSONResponse({}, 201, background=BackgroundTask(later))

    with place(tmp_path, handler, idempotency=level) as here:
        first, again = here.run(), here.run()

    assert code_of(first) == (500, "internal_error")
    assert again.status == (500 if level == "at_most_once" else 201)


async def session() -> AsyncIterator[None]:
    """A dependency whose commit fails."""
    yield
    raise ZeroDivisionError


@pytest.mark.parametrize(("commits", "status", "rows"), [(True, 201, 1), (False, 500, 0)])
def test_a_dependency_that_ends_after_the_answer_may_take_it_back(
    tmp_path: Path, commits: bool, status: int, rows: int
) -> None:
    """
    Unless the effect is in the record's own transaction, and so was committed with it.
    """
    app = FastAPI()

    @app.post("/work", status_code=201)
    @guarded(idempotency="transactional")
    async def work(request: FastRequest, _: Annotated[None, Depends(session)]) -> str:
        if commits:
            await exchange_of(request).commit(made)
        return "made"

    store, key = SQLiteStore(tmp_path / "x.db", schema=SCHEMA), KEYS.new()
    store.add_keys([stored(key, KEYS, tenant="t1")])
    service = install(app, STANDARD, store=store, keys=KEYS)
    headers = {"authorization": f"Bearer {key}", "idempotency-key": "k"}
    answer = asyncio.run(ask(service, "POST", "/work", headers=headers))
    made_rows = store.read("SELECT count(*) FROM things")
    store.close()

    assert (answer.status, made_rows) == (status, [(rows,)])
