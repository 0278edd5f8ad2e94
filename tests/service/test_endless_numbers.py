"""A number in a path with more digits than Python reads is none of any thing, whatever serves the path."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from service_behind import Behind
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from failwell.service import Endpoints, Operation, operations_of, routes_for
from failwell.service.operations import OperationTable

MOST = sys.get_int_max_str_digits()
ENDLESS = "9" * (MOST + 1)


async def _done(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(sorted(request.path_params)))


class _Passing:
    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


ROWS = (
    Operation("GET", "/f/{n:int}", _done),
    Operation("POST", "/f/{name}", _done),
    Operation("GET", "/s/{name}", _done),
    Operation("GET", "/two/{n:int}/of/{m:int}", _done),
)


def _fastapi() -> FastAPI:
    app = FastAPI()

    @app.get("/f/{n:int}")
    async def number(n: int) -> int:
        return n % 10

    @app.post("/f/{name}")
    async def name(name: str) -> str:
        return name[:3]

    @app.get("/s/{name}")
    async def text(name: str) -> str:
        return name[:3]

    @app.get("/two/{n:int}/of/{m:int}")
    async def two(n: int, m: int) -> int:
        return n % m

    return app


APPLICATIONS: dict[str, Any] = {
    "fastapi": (_fastapi, None),
    "starlette": (lambda: Starlette(routes=routes_for(ROWS)), ROWS),
    "behind a middleware": (
        lambda: Starlette(routes=routes_for(ROWS), middleware=[Middleware(_Passing)]),
        ROWS,
    ),
    "endpoints": (Endpoints, ROWS),
}


@pytest.mark.parametrize("kind", list(APPLICATIONS))
def test_more_digits_than_python_reads_are_a_404(tmp_path: Path, kind: str) -> None:
    make, operations = APPLICATIONS[kind]
    with Behind(tmp_path, app=make(), operations=operations) as here:
        statuses = {
            (method, path[:4]): here.ask(method, path).status
            for method, path in [
                ("GET", f"/f/{ENDLESS}"),
                ("POST", f"/f/{ENDLESS}"),  # the framework reads the number of GET's template first
                ("DELETE", f"/f/{ENDLESS}"),
                ("GET", f"/two/7/of/{ENDLESS}"),
                ("GET", f"/s/{ENDLESS}"),
                ("POST", "/f/a"),
            ]
        }
        longest = here.ask("GET", f"/f/{'9' * MOST}").status

    assert statuses == {
        ("GET", "/f/9"): 404,
        ("POST", "/f/9"): 404,
        ("DELETE", "/f/9"): 404,
        ("GET", "/two"): 404,
        ("GET", "/s/9"): 200,
        ("POST", "/f/a"): 200,
    }
    assert longest == 200


def test_numbers_of_a_mounted_application_are_looked_at_too(tmp_path: Path) -> None:
    app = Starlette(routes=[Mount("/m/{n:int}", routes=[Route("/x", _done)])])

    with Behind(tmp_path, app=app, operations=operations_of(app)) as here:
        assert [here.ask("GET", f"/m/{n}/x").status for n in ("7", ENDLESS)] == [200, 404]


def test_where_python_reads_any_number_of_digits_none_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "get_int_max_str_digits", lambda: 0)

    assert OperationTable(ROWS).match("GET", f"/f/{ENDLESS}").operation == ROWS[0]
