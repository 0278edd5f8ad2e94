"""Starlette's own layers for exceptions: left out where they have nothing to do, and kept where they have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from service_behind import Behind
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from failwell.service.direct import DirectRoutes


class TeapotError(Exception):
    """What an application handles itself."""


async def pour(request: Request) -> Response:
    match request.path_params["what"]:
        case "tea":
            raise TeapotError
        case "gone":
            raise HTTPException(410, "all drunk")
        case "broken":
            raise LookupError("hunter2")
    return PlainTextResponse("poured")


def layers(app: Any) -> list[str]:
    """The names of what a request passes, the outermost first."""
    layer, named = app.build_middleware_stack(), []
    while layer is not app.router and not isinstance(layer, DirectRoutes):
        named.append(type(layer).__name__)
        layer = getattr(layer, "app", None) or layer._app
    return named


class Stamp:
    """A middleware of the application's own."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def stamped(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-stamp", b"yes")]
            await send(message)

        await self.app(scope, receive, stamped)


def teahouse(**made: Any) -> Starlette:
    return Starlette(routes=[Route("/pour/{what}", pour)], **made)


async def on_teapot(_request: Request, _exc: Exception) -> Response:
    return PlainTextResponse("short and stout", 418)


def test_nothing_is_between_the_gates_and_the_routes(tmp_path: Path) -> None:
    with Behind(tmp_path, app=teahouse()) as here:
        assert layers(here.app) == []


@pytest.mark.parametrize("made", [{}, {"middleware": [Middleware(Stamp)]}])
def test_what_is_raised_is_answered_without_the_layers(tmp_path: Path, made: dict[str, Any]) -> None:
    with Behind(tmp_path, app=teahouse(**made)) as here:
        assert [here.ask("GET", f"/pour/{what}").status for what in ("milk", "gone", "broken")] == [
            200,
            410,
            500,
        ]


def test_a_middleware_of_the_application_is_asked(tmp_path: Path) -> None:
    with Behind(tmp_path, app=teahouse(middleware=[Middleware(Stamp)])) as here:
        assert layers(here.app) == ["Stamp", "_Watched", "ExceptionMiddleware"]
        assert here.ask("GET", "/pour/milk").headers["x-stamp"] == "yes"


def test_a_handler_of_the_application_answers_what_it_is_for(tmp_path: Path) -> None:
    app = teahouse(exception_handlers={TeapotError: on_teapot})
    with Behind(tmp_path, app=app) as here:
        assert here.ask("GET", "/pour/tea").body == b"short and stout"
        assert here.ask("GET", "/pour/gone").status == 410


def test_a_handler_that_is_added_afterwards_answers_too(tmp_path: Path) -> None:
    with Behind(tmp_path, app=teahouse()) as here:
        here.app.add_exception_handler(TeapotError, on_teapot)
        assert here.ask("GET", "/pour/tea").status == 418


def test_a_handler_of_a_mounted_application_answers_what_it_is_for(tmp_path: Path) -> None:
    inner = teahouse(exception_handlers={TeapotError: on_teapot})
    with Behind(tmp_path, app=Starlette(routes=[Mount("/house", inner)])) as here:
        assert here.ask("GET", "/house/pour/tea").status == 418
        assert here.ask("GET", "/house/pour/broken").status == 500


@pytest.mark.parametrize("made", [{}, {"middleware": [Middleware(Stamp)]}])
@pytest.mark.parametrize("kind", [Starlette, FastAPI])
def test_nobody_is_shown_a_traceback(tmp_path: Path, kind: type[Starlette], made: dict[str, Any]) -> None:
    app = kind(debug=True, **made)
    app.add_route("/pour/{what}", pour)
    with Behind(tmp_path, app=app) as here:
        answer = here.ask("GET", "/pour/broken")
        assert answer.status == 500
        assert b"hunter2" not in answer.body
        assert "x-request-id" in answer.headers


@pytest.mark.parametrize(("kind", "what", "status"), [(410, "gone", 410), (500, "broken", 500)])
def test_a_handler_for_a_status_is_not_asked(tmp_path: Path, kind: int, what: str, status: int) -> None:
    app = teahouse(exception_handlers={kind: on_teapot, Exception: on_teapot})
    with Behind(tmp_path, app=app) as here:
        answer = here.ask("GET", f"/pour/{what}")
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")


def test_what_fastapi_puts_into_its_stack_stays(tmp_path: Path) -> None:
    plain = layers(FastAPI())
    with Behind(tmp_path, app=FastAPI()) as here:
        assert layers(here.app) == plain[1:]
        assert plain[0] == ServerErrorMiddleware.__name__
