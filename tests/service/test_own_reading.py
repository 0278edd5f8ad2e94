"""What is wrong with a body that a handler reads by itself, with Starlette's `request.json()`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from service_asgi import ask
from service_place import code_of, place
from service_world import KEYS
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.service import SQLiteStore, check, guarded, install

DEEP = b"[" * 100_000
MALFORMED = [b"", b"{", b'{"a": }', b"[1,]", b"secret-word"]
UNREADABLE = [DEEP, b"\xff\xfe\xfd", b'"\xe4"', b"1" * 5000]


async def echo(request: Request) -> Response:
    return JSONResponse(await request.json())


@pytest.mark.parametrize("body", MALFORMED, ids=repr)
@pytest.mark.parametrize("level", [None, "transactional", "resumable", "at_most_once"])
def test_malformed_json_is_the_contracts_error(
    tmp_path: Path, level: Any, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It says where, and nothing of what was sent; it is no fault of ours, and frees the key."""
    with place(tmp_path, echo, idempotency=level) as here:
        refused = here.run(body=body)
        again = here.run({"fine": 1}, headers={} if level is None else {"idempotency-key": "other"})

        assert code_of(refused) == (400, "malformed_json")
        assert {"line", "column"} == set(json.loads(refused.body)["details"])
        assert b"secret" not in refused.body
        assert again.status == 200
        assert not here.service.undeclared
        check(here.service)
    assert not caplog.records


@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: repr(body[:4]))
def test_what_cannot_be_read_is_a_bad_request(
    tmp_path: Path, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Brackets too deep, text that is no UTF-8, more digits than Python reads."""
    with place(tmp_path, echo) as here:
        assert code_of(here.run(body=body, key=None)) == (400, "bad_request")
        assert not here.service.undeclared
    assert not caplog.records


def test_behind_a_middleware_it_is_the_same(tmp_path: Path) -> None:
    async def passing(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    app = Starlette(
        routes=[Route("/work", guarded(public=True)(echo), methods=["POST"])],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=passing)],
    )

    assert code_of(_asked(tmp_path, app, b"{")) == (400, "malformed_json")
    assert code_of(_asked(tmp_path, app, DEEP)) == (400, "bad_request")


@pytest.mark.parametrize("pydantic1", [False, True])
def test_fastapi_says_the_same_of_a_body_whoever_reads_it(tmp_path: Path, pydantic1: bool) -> None:
    app = FastAPI()

    @app.post("/work")
    @guarded(public=True)
    async def by_itself(request: Request) -> Any:
        return await request.json()

    @app.post("/theirs")
    @guarded(public=True)
    async def by_fastapi(thing: dict[str, Any]) -> Any:
        return thing

    for body in (b"{", b"[1,]", DEEP):
        ours, theirs = (
            _asked(tmp_path, app, body, path, pydantic1=pydantic1) for path in ("/work", "/theirs")
        )

        assert ours.status == theirs.status == (400 if body is DEEP else 422)
        assert _said(ours).get("fields") == _said(theirs).get("fields")
        assert _said(ours)["code"] == _said(theirs)["code"]


@pytest.mark.parametrize("text", ["{", "[" * 100_000], ids=["malformed", "deep"])
def test_other_json_that_cannot_be_read_is_our_own_fault(tmp_path: Path, text: str) -> None:
    """What another service answered to us, what stands in our own database."""

    async def handler(request: Request) -> Response:
        await request.json()
        return JSONResponse(json.loads(text))

    with place(tmp_path, handler) as here:
        assert code_of(here.run(key=None)) == (500, "internal_error")


def _said(answer: Answer) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(answer.body)
    return said


def _asked(folder: Path, app: Any, body: bytes, path: str = "/work", **settings: Any) -> Answer:
    store = SQLiteStore(folder / "own.db")
    try:
        service = install(app, STANDARD, store=store, keys=KEYS, **settings)
        headers = {"content-type": "application/json"}
        answer = asyncio.run(ask(service, "POST", path, headers=headers, body=body))
        assert not service.undeclared
        return answer
    finally:
        store.close()
