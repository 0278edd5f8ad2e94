"""HEAD is answered wherever GET is, by the gates and the handler that the table names for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse
from service_asgi import ask
from service_world import KEYS
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from failwell import ConfigurationError
from failwell.contract import STANDARD
from failwell.service import (
    Operation,
    Service,
    SQLiteStore,
    guarded,
    install,
    operations_of,
    routes_for,
    stored,
)


@contextmanager
def behind(folder: Path, app: Any, **settings: Any) -> Iterator[Service]:
    store = SQLiteStore(folder / "head.db")
    try:
        yield install(app, STANDARD, store=store, keys=KEYS, **settings)
    finally:
        store.close()


def fast() -> FastAPI:
    app, router, sub = FastAPI(), APIRouter(prefix="/v1"), FastAPI()

    @app.get("/things")
    @guarded(public=True)
    async def things() -> list[str]:
        return ["a", "b"]

    @router.get("/stream/{name}")
    @guarded(public=True)
    async def stream(name: str) -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield "some"
            yield name

        return StreamingResponse(pieces(), headers={"x-name": name})

    @sub.get("/things")
    @guarded(public=True)
    async def below() -> str:
        return "below"

    @app.get("/own")
    @guarded(public=True)
    async def got() -> str:
        return "GET's"

    @app.head("/own")
    @guarded(public=True)
    async def own() -> Response:
        return Response(headers={"x-own": "HEAD's"})

    @app.api_route("/both", methods=["GET", "HEAD"])
    @guarded(public=True)
    async def both(request: Request) -> Response:
        return Response(headers={"x-method": request.method})

    @app.post("/write")
    @guarded(public=True)
    async def write() -> str:
        return "written"

    app.include_router(router)
    app.mount("/sub", sub)
    return app


@pytest.mark.parametrize("path", ["/things", "/v1/stream/cat", "/sub/things"])
def test_fastapis_get_answers_head_without_a_body(tmp_path: Path, path: str) -> None:
    with behind(tmp_path, fast()) as service:
        got, head = (asyncio.run(ask(service, method, path)) for method in ("GET", "HEAD"))

    assert (head.status, head.body) == (200, b"")
    for answer in (got, head):
        answer.headers.pop("x-request-id")
    assert head.headers == got.headers
    assert got.body


@pytest.mark.parametrize("framework", [FastAPI, Starlette])
def test_a_head_with_a_key_keeps_the_whole_answer_for_the_get(tmp_path: Path, framework: Any) -> None:
    """
    They are one request to the gates, and the record is of what was answered, not of what was sent.
    """
    rows = [Operation("GET", "/a", answer, idempotency="resumable")]
    app: Any = FastAPI() if framework is FastAPI else Starlette(routes=routes_for(rows))
    if framework is FastAPI:
        app.get("/a")(guarded(idempotency="resumable")(whole))
    with behind(tmp_path, app, operations=None if framework is FastAPI else rows) as service:
        key = KEYS.new()
        service.store.add_keys([stored(key, KEYS, tenant="t1")])
        headers = {"authorization": f"Bearer {key}", "idempotency-key": "k"}
        head, got = (asyncio.run(ask(service, m, "/a", headers=headers)) for m in ("HEAD", "GET"))

    assert (head.status, head.body) == (200, b"")
    assert got.headers["idempotent-replayed"] == "true"
    assert got.body in (b"x", b'"x"')


async def whole() -> str:
    """FastAPI's endpoint for the above."""
    return "x"


def test_allow_names_what_is_taken(tmp_path: Path) -> None:
    with behind(tmp_path, fast()) as service:
        for path in ("/things", "/write", "/v1/stream/cat", "/own"):
            refused = asyncio.run(ask(service, "PATCH", path))
            assert refused.status == 405
            for method in refused.headers["allow"].split(", "):
                assert asyncio.run(ask(service, method, path)).status == 200, (method, path)


def test_a_head_of_ones_own_is_asked_itself(tmp_path: Path) -> None:
    with behind(tmp_path, fast()) as service:
        own = asyncio.run(ask(service, "HEAD", "/own"))
        both = asyncio.run(ask(service, "HEAD", "/both"))

    assert own.headers["x-own"] == "HEAD's"
    assert both.headers["x-method"] == "HEAD"


def test_a_head_that_is_refused_has_no_body_either(tmp_path: Path) -> None:
    app = FastAPI()

    @app.get("/closed")
    async def closed() -> str:
        return "x"

    with behind(tmp_path, app) as service:
        refused = asyncio.run(ask(service, "HEAD", "/closed"))

    assert (refused.status, refused.body) == (401, b"")


# --- a row of HEAD beside one of GET ---


async def answer(request: Request) -> Response:
    return PlainTextResponse("x")


class WithGet(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return JSONResponse({})


class WithBoth(WithGet):
    @guarded(scope="stricter")
    async def head(self, request: Request) -> Response:
        return Response()


GET, HEAD = ["GET"], ["HEAD"]


@pytest.mark.parametrize(
    "routes",
    [
        [Route("/a", answer, methods=GET), Route("/a", answer, methods=HEAD)],
        [Route("/{name}", answer, methods=GET), Route("/{name}", answer, methods=HEAD)],
        [Route("/{name}", answer, methods=GET), Route("/a", answer, methods=HEAD)],
        [Route("/{name}", answer, methods=HEAD), Route("/a", answer, methods=GET)],
        [Route("/a", WithGet), Route("/a", answer, methods=HEAD)],
        [Mount("/m", routes=[Route("/a", answer, methods=GET), Route("/a", answer, methods=HEAD)])],
    ],
)
def test_a_head_that_is_never_reached_is_refused(routes: list[Any]) -> None:
    """
    Starlette gives it to the route before, whose handler would be guarded by the wrong row.
    """
    with pytest.raises(ConfigurationError, match=r"HEAD \S+ is never reached: .* Declare it first"):
        operations_of(Starlette(routes=routes))


@pytest.mark.parametrize(
    "routes",
    [
        [Route("/a", answer, methods=HEAD), Route("/a", answer, methods=GET)],
        [Route("/{name}", answer, methods=HEAD), Route("/{name}", answer, methods=GET)],
        [Route("/a", answer, methods=["POST"]), Route("/a", answer, methods=HEAD)],
        [Route("/{name}", answer, methods=["POST"]), Route("/a", answer, methods=GET)],
        [Route("/a", WithBoth)],
    ],
)
def test_a_head_that_is_reached_is_not(routes: list[Any]) -> None:
    assert operations_of(Starlette(routes=routes))


def test_a_head_before_its_get_has_its_own_gates_and_handler(tmp_path: Path) -> None:
    async def own(request: Request) -> Response:
        return Response(headers={"x-own": "yes"})

    rows = [Operation("HEAD", "/a", own, public=True), Operation("GET", "/a", answer)]
    with behind(tmp_path, Starlette(routes=routes_for(rows)), operations=rows) as service:
        head, got = (asyncio.run(ask(service, method, "/a")) for method in ("HEAD", "GET"))

    assert (head.status, head.headers["x-own"], got.status) == (200, "yes", 401)


def test_a_table_with_a_head_behind_its_get_makes_no_routes() -> None:
    rows = [Operation("GET", "/a", answer), Operation("HEAD", "/a", answer, public=True)]

    with pytest.raises(ConfigurationError, match="HEAD /a is never reached: /a"):
        routes_for(rows)
