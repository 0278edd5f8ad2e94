"""An application made of nothing but the table's endpoints."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from service_world import KEYS
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from failwell.contract import STANDARD
from failwell.errors import ConfigurationError
from failwell.service import Endpoints, Operation, Service, SQLiteStore, check, exchange_of, install, stored


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "s.db")
    yield store
    store.close()


def behind_gates(store: SQLiteStore, *operations: Operation, app: Any = None) -> Service:
    app = Endpoints() if app is None else app
    return install(app, STANDARD, store=store, keys=KEYS, operations=operations)


def client_of(service: Service, store: SQLiteStore) -> TestClient:
    key = KEYS.new()
    store.add_keys([stored(key, KEYS, tenant="t1")])
    headers = {"Authorization": f"Bearer {key}"}
    return TestClient(service, headers=headers, raise_server_exceptions=False)


async def shown(request: Request) -> Response:
    """What a handler may ask of its request."""
    return JSONResponse({
        "values": {name: [type(value).__name__, str(value)] for name, value in request.path_params.items()},
        "query": dict(request.query_params), "body": (await request.body()).decode(),
        "tenant": exchange_of(request).tenant, "path": request.url.path,
    })  # fmt: skip


def in_a_thread(request: Request) -> Response:
    return PlainTextResponse(threading.current_thread().name)


async def in_the_loop(greeting: str, request: Request) -> Response:
    return PlainTextResponse(f"{greeting} {threading.current_thread().name}")


class ByMethod(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return PlainTextResponse(f"got {request.path_params['name']}")


async def streamed(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"a", b"b", b"c"):
            yield piece

    return StreamingResponse(pieces())


async def not_there(request: Request) -> Response:
    raise HTTPException(404, "No such thing.")


PATHS = (
    "/fixed", "/things/{name}", "/counts/{number:int}", "/shares/{part:float}", "/ids/{id:uuid}",
    "/files/{rest:path}", "/both/{a}/{b:int}/end",
)  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        "/fixed?a=1", "/things/l%C3%A4mp%2B", "/counts/0042", "/shares/1.50", "/files/a/b%20c/", "/files/",
        "/ids/12345678123456781234567812345678", "/both/x/7/end", "/both/x/y/end", "/counts/-1", "/nowhere",
    ],
)  # fmt: skip
def test_a_handler_sees_what_it_would_behind_starlettes_routes(store: SQLiteStore, asked: str) -> None:
    operations = [Operation("POST", path, shown) for path in PATHS]
    starlette = Starlette(routes=[Route(path, shown, methods=["POST"]) for path in PATHS])
    services = (behind_gates(store, *operations, app=app) for app in (Endpoints(), starlette))
    ours, theirs = (client_of(service, store).post(asked, content=b"body") for service in services)

    assert (theirs.status_code, theirs.json().get("values")) == (ours.status_code, ours.json().get("values"))
    if ours.status_code == 200:
        assert theirs.json() == ours.json()


def test_the_values_of_a_path_are_there_for_any_application(store: SQLiteStore) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(exchange_of(scope).path_values))
        await PlainTextResponse("")(scope, receive, send)

    service = Service(app, STANDARD, store=store, keys=KEYS, operations=[Operation("GET", "/a/{b:int}/{c}")])
    client_of(service, store).get("/a/07/x")

    assert seen == [{"b": "07", "c": "x"}]


def test_a_number_that_python_does_not_read_is_nowhere(store: SQLiteStore) -> None:
    service = behind_gates(store, Operation("GET", "/counts/{number:int}", shown))

    assert 404 == client_of(service, store).get(f"/counts/{'9' * 5000}").status_code


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        (in_a_thread, "worker"),
        (partial(in_the_loop, "hello"), "hello asyncio-portal"),
        (partial(partial(in_the_loop), "hello"), "hello asyncio-portal"),
        (ByMethod, "got lamp"),
        (streamed, "abc"),
    ],
)
def test_an_endpoint_is_whatever_starlette_takes_for_one(
    store: SQLiteStore, endpoint: Callable[..., Any], text: str
) -> None:
    answer = client_of(behind_gates(store, Operation("GET", "/{name}", endpoint)), store).get("/lamp")

    assert answer.status_code == 200
    assert text in answer.text


def test_what_an_endpoint_raises_is_answered_in_the_contracts_words(store: SQLiteStore) -> None:
    answer = client_of(behind_gates(store, Operation("GET", "/x", not_there)), store).get("/x")

    assert (404, "No such thing.") == (answer.status_code, answer.json()["detail"])


def test_head_is_answered_by_get(store: SQLiteStore) -> None:
    client = client_of(behind_gates(store, Operation("GET", "/fixed", shown)), store)

    assert 200 == client.head("/fixed").status_code
    assert 405 == client.post("/fixed").status_code


def test_work_for_afterwards_is_done(store: SQLiteStore) -> None:
    done: list[str] = []

    async def later(request: Request) -> Response:
        return PlainTextResponse("", background=BackgroundTask(done.append, "done"))

    client_of(behind_gates(store, Operation("GET", "/x", later)), store).get("/x")

    assert ["done"] == done


def test_what_holds_while_the_service_runs_is_begun_and_ended(store: SQLiteStore) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Endpoints) -> AsyncIterator[dict[str, str]]:
        seen.append(f"begun with {type(app.state.failwell).__name__}")
        yield {"word": "from the lifespan"}
        seen.append("ended")

    async def word(request: Request) -> Response:
        return PlainTextResponse(f"{request.state.word}, {type(request.app.state.failwell).__name__}")

    service = behind_gates(store, Operation("GET", "/x", word), app=Endpoints(lifespan=lifespan))
    with client_of(service, store) as client:
        answer = client.get("/x")

    assert "from the lifespan, Service" == answer.text
    assert ["begun with Service", "ended"] == seen


def test_a_service_without_install_finds_its_endpoints_as_they_are_asked(store: SQLiteStore) -> None:
    operations = [Operation("GET", "/ids/{id:uuid}", shown)]
    service = Service(Endpoints(), STANDARD, store=store, keys=KEYS, operations=operations)
    id_ = UUID(int=7)

    for _ in range(2):
        answer = client_of(service, store).get(f"/ids/{id_}")
        assert {"id": ["UUID", str(id_)]} == answer.json()["values"]


def test_an_operation_without_an_endpoint_does_not_start(store: SQLiteStore) -> None:
    with pytest.raises(ConfigurationError, match="GET /x has no endpoint"):
        behind_gates(store, Operation("GET", "/x"))


def test_a_table_has_to_be_given(store: SQLiteStore) -> None:
    with pytest.raises(ConfigurationError, match="no routes to read"):
        install(Endpoints(), STANDARD, store=store, keys=KEYS)


def test_its_handlers_are_checked(store: SQLiteStore) -> None:
    app = Endpoints()
    behind_gates(store, Operation("GET", "/x", not_there, raises=(404,)), app=app)

    check(app)


def test_without_gates_nothing_is_served() -> None:
    async def ask() -> None:
        await Endpoints()({"type": "http", "method": "GET", "path": "/x"}, None, None)

    with pytest.raises(KeyError, match="failwell"):
        asyncio.run(ask())
