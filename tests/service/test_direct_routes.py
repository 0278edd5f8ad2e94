"""A Starlette application is asked at the route that the gates have found, if it would find the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from service_behind import Behind
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.testclient import TestClient

from failwell.service import Operation
from failwell.service.direct import DirectRoutes

afterwards: list[str] = []


async def told(request: Request) -> Response:
    """What an endpoint can know of its request."""
    return JSONResponse({
        "values": {name: repr(value) for name, value in request.path_params.items()},
        "route": request.scope["route"].path, "endpoint": request.scope["endpoint"].__name__,
        "url": request.url_for("whole", number=7).path, "state": request.app.state.word,
        "body": (await request.body()).decode(), "query": dict(request.query_params),
    })  # fmt: skip


async def whole(request: Request) -> Response:
    return await told(request)


def in_a_thread(request: Request) -> Response:
    there = threading.current_thread() is not threading.main_thread()
    return PlainTextResponse(f"{there} {request.path_params}")


async def and_then(_request: Request) -> Response:
    return PlainTextResponse("first", background=BackgroundTask(afterwards.append, "then"))


class Shelf(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return PlainTextResponse(f"shelf {request.path_params}")


class Loud:
    """A route's own middleware."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def loud(message: Any) -> None:
            await send({**message, **({"body": message["body"].upper()} if "body" in message else {})})

        await self.app(scope, receive, loud)


ROUTES: list[BaseRoute] = [
    Route("/told", told, methods=["GET", "POST"]),
    Route("/thread/{word}", in_a_thread),
    Route("/after", and_then),
    Route("/shelf/{word}", Shelf, methods=["GET"]),
    Route("/loud", and_then, middleware=[Middleware(Loud)]),
    Route("/short", told, methods=["POST"], max_body_size=1000),
    Route("/whole/{number:int}", whole, name="whole"),
    Route("/part/{part:float}", told),
    Route("/named/{which:uuid}", told),
    Route("/below/{rest:path}", told),
]

ASKED = [
    ("GET", "/told"),
    ("POST", "/told"),
    ("HEAD", "/told"),
    ("GET", "/thread/word"),
    ("GET", "/after"),
    ("GET", "/shelf/one"),
    ("GET", "/loud"),
    ("POST", "/short"),
    ("GET", "/whole/12"),
    ("HEAD", "/whole/12"),
    ("GET", "/part/1.5"),
    ("GET", "/named/8c1f4b0e-0d5b-4f6e-9f0a-3a1b2c3d4e5f"),
    ("GET", "/below/a/b/c"),
    ("DELETE", "/told"),
    ("GET", "/whole/x"),
    ("GET", "/nowhere"),
]


def app_of(routes: Sequence[BaseRoute]) -> Starlette:
    app = Starlette(routes=routes)
    app.state.word = "kept"
    return app


def asked_directly(app: Any) -> bool:
    return isinstance(app.build_middleware_stack(), DirectRoutes)


@pytest.mark.parametrize(("method", "path"), ASKED)
def test_an_endpoint_sees_and_answers_what_it_would_behind_the_router(
    tmp_path: Path, method: str, path: str
) -> None:
    body = b"hello" if method == "POST" else b""
    alone = TestClient(app_of(ROUTES)).request(method, path, content=body, params={"a": "1"})
    afterwards.clear()
    with Behind(tmp_path, app=app_of(ROUTES)) as here:
        assert asked_directly(here.app)
        answer = here.ask(method, path, body=body, query="a=1")
        assert answer.status == alone.status_code
        if alone.is_success:
            assert answer.body == alone.content
            assert answer.headers["content-type"] == alone.headers["content-type"]
        assert afterwards == (["then"] if path in ("/after", "/loud") else [])


def answered(tmp_path: Path, routes: Sequence[BaseRoute], *table: tuple[str, str], path: str) -> str:
    """Which endpoint answers a path behind a table of its own; the router has to be asked."""
    operations = [Operation(method, template) for method, template in table]
    with Behind(tmp_path, app=app_of(routes), operations=operations) as here:
        assert not asked_directly(here.app)
        answer = here.ask("GET", path)
        return str(json.loads(answer.body)["route"]) if answer.status == 200 else str(answer.status)


def test_a_template_before_a_path_without_names_is_asked_first(tmp_path: Path) -> None:
    routes = [Route("/x/{word}", told), Route("/x/one", told), Route("/whole/{number}", whole, name="whole")]
    table = [("GET", route.path) for route in routes]
    assert answered(tmp_path, routes, *table, path="/x/one") == "/x/{word}"


def test_templates_in_another_order_are_asked_in_the_applications(tmp_path: Path) -> None:
    routes = [
        Route("/x/{word}", told),
        Route("/{word}/x", told),
        Route("/whole/{number}", whole, name="whole"),
    ]
    table = [("GET", routes[at].path) for at in (1, 0, 2)]
    assert answered(tmp_path, routes, *table, path="/x/x") == "/x/{word}"


def test_a_route_without_a_row_leaves_all_to_the_router(tmp_path: Path) -> None:
    routes = [Route("/x/one", told), Route("/x/{word}", told), Route("/whole/{number}", whole, name="whole")]
    table = [("GET", route.path) for route in routes[1:]]
    assert answered(tmp_path, routes, *table, path="/x/one") == "/x/one"


def test_a_row_without_a_route_leaves_all_to_the_router(tmp_path: Path) -> None:
    routes = [Route("/x", told), Route("/whole/{number}", whole, name="whole")]
    table = [("GET", "/x"), ("GET", "/whole/{number}"), ("GET", "/y")]
    assert answered(tmp_path, routes, *table, path="/x") == "/x"
    (tmp_path / "other").mkdir()
    assert answered(tmp_path / "other", routes, *table, path="/y") == "404"


class Picky(Route):
    """A route that matches by more than its path."""


@pytest.mark.parametrize(
    "more",
    [
        Mount("/under", routes=[Route("/x", told)]),
        Picky("/picky", told),
        Route("/shelf", Shelf),
    ],
)
def test_what_may_match_by_more_than_a_path_leaves_all_to_the_router(tmp_path: Path, more: BaseRoute) -> None:
    with Behind(tmp_path, app=app_of([*ROUTES, more])) as here:
        assert not asked_directly(here.app)
        assert here.ask("GET", "/told").status == 200


def test_a_middleware_that_sends_a_request_elsewhere_is_obeyed(tmp_path: Path) -> None:
    class Elsewhere(Loud):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "path": "/whole/1"} if scope["type"] == "http" else scope, receive, send)

    app = Starlette(routes=ROUTES, middleware=[Middleware(Elsewhere)])
    app.state.word = "kept"
    with Behind(tmp_path, app=app) as here:
        assert json.loads(here.ask("GET", "/told").body)["route"] == "/whole/{number:int}"


def test_a_router_of_the_applications_own_is_asked(tmp_path: Path) -> None:
    class Own(Router):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("mine")(scope, receive, send)

    app = app_of(ROUTES)
    app.router = Own(routes=ROUTES)
    with Behind(tmp_path, app=app) as here:
        assert here.ask("GET", "/told").body == b"mine"
