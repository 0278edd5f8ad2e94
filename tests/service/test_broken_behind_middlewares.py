"""An answer that breaks off behind a middleware which ends it in order all the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from service_behind import Behind
from service_server import serving
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from failwell import ConflictError, Failure

MEANT = ConflictError.from_failure(Failure(status=409, message="in the middle"))


def streaming(media_type: str, *, pieces: int = 1, ends: Exception | None) -> Any:
    async def endpoint(_request: Request) -> Response:
        async def written() -> AsyncIterator[str]:
            for _ in range(pieces):
                yield "data: 1\n\n"
            if ends is not None:
                raise ends

        return StreamingResponse(written(), media_type=media_type)

    return endpoint


async def passed_on(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    response.headers["x-seen"] = "yes"
    return response


async def made_good(request: Request, call_next: Any) -> Response:
    try:
        return await passed_on(request, call_next)
    except LookupError:
        return PlainTextResponse("instead")


async def missing(_request: Request) -> Response:
    raise LookupError("none")


ROUTES = [
    Route("/meant", streaming("text/event-stream", ends=MEANT)),
    Route("/fault", streaming("text/event-stream", ends=ValueError("hunter2"))),
    Route("/first", streaming("text/event-stream", pieces=0, ends=MEANT)),
    Route("/table", streaming("text/csv", ends=ValueError("hunter2"))),
    Route("/whole", streaming("text/event-stream", pieces=3, ends=None)),
    Route("/missing", missing),
]


def starlette(dispatch: Any) -> Any:
    app = Starlette(routes=ROUTES)
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    return app


def fastapi(dispatch: Any) -> Any:
    app = FastAPI(routes=ROUTES)
    app.middleware("http")(dispatch)
    return app


def mounted(dispatch: Any) -> Any:
    return Starlette(routes=[Mount("/", starlette(dispatch))])


@pytest.fixture(params=[starlette, fastapi, mounted], scope="module")
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("broken")
    with Behind(folder, app=request.param(passed_on)) as here, serving(here.service) as base:
        yield lambda path: httpx2.get(base + path, headers={"authorization": f"Bearer {here.key}"})


@pytest.mark.parametrize("path", ["/meant", "/first"])
def test_a_stream_of_events_ends_with_the_error(url: Any, path: str) -> None:
    answer = url(path)
    *_, last = answer.text.strip().split("\n\n")
    kind, data = last.split("\n")
    assert (answer.headers["x-seen"], kind) == ("yes", "event: error")
    assert json.loads(data.removeprefix("data: "))["status"] == 409


def test_a_fault_in_a_stream_says_no_more_than_an_id(url: Any) -> None:
    answer = url("/fault")
    assert "event: error" in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert "hunter2" not in answer.text


def test_an_answer_that_is_no_stream_of_events_is_cut(url: Any) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        url("/table")


def test_a_stream_that_is_whole_is_left_as_it_is(url: Any) -> None:
    assert url("/whole").text == "data: 1\n\n" * 3


def test_what_a_middleware_answers_instead_is_an_answer(tmp_path: Path) -> None:
    with Behind(tmp_path, app=starlette(made_good)) as here, serving(here.service) as base:
        answer = httpx2.get(f"{base}/missing", headers={"authorization": f"Bearer {here.key}"})
    assert (answer.status_code, answer.text) == (200, "instead")
