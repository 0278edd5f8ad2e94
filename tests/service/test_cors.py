"""CORS goes outside the service: a preflight request has no key, and a refusal needs its headers, too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from service_asgi import ask
from service_world import KEYS
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.service import Operation, Service, SQLiteStore, install, routes_for, stored

SHOP = "https://shop.example"
SETTINGS: dict[str, Any] = {
    "allow_origins": [SHOP], "allow_methods": ["GET", "POST"],
    "allow_headers": ["Authorization", "Idempotency-Key"], "expose_headers": ["X-Request-ID", "Retry-After"],
}  # fmt: skip
PREFLIGHT = {
    "origin": SHOP, "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,idempotency-key",
}  # fmt: skip


@contextmanager
def behind(folder: Path, *middleware: Middleware) -> Iterator[tuple[Service, str]]:
    async def order(request: Request) -> Response:
        if request.url.query == "bug":
            raise ZeroDivisionError
        return JSONResponse({"ordered": True}, 201)

    rows = [Operation("POST", "/orders", order, idempotency="resumable")]
    store, key = SQLiteStore(folder / "cors.db"), KEYS.new()
    store.add_keys([stored(key, KEYS, tenant="t1")])
    app = Starlette(routes=routes_for(rows), middleware=middleware)
    try:
        yield install(app, STANDARD, store=store, keys=KEYS, operations=rows), key
    finally:
        store.close()


def sent(app: Any, method: str, headers: dict[str, str], **asked: Any) -> Answer:
    return asyncio.run(ask(app, method, "/orders", headers=headers, **asked))


def test_a_preflight_is_answered_outside_and_needs_no_key(tmp_path: Path) -> None:
    with behind(tmp_path) as (service, _):
        answer = sent(CORSMiddleware(service, **SETTINGS), "OPTIONS", PREFLIGHT)

    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "idempotency-key" in answer.headers["access-control-allow-headers"].lower()


def test_a_preflight_of_another_origin_is_refused(tmp_path: Path) -> None:
    with behind(tmp_path) as (service, _):
        answer = sent(
            CORSMiddleware(service, **SETTINGS), "OPTIONS", {**PREFLIGHT, "origin": "https://x.example"}
        )

    assert answer.status == 400
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("facts", "status"),
    [({}, 201), ({"authorization": "Bearer key_nobody"}, 401), ({"idempotency-key": "two words"}, 400)],
)
@pytest.mark.parametrize("query", ["", "bug"])
def test_whatever_is_answered_a_browser_may_read_it(
    tmp_path: Path, facts: dict[str, str], status: int, query: str
) -> None:
    with behind(tmp_path) as (service, key):
        headers = {"origin": SHOP, "authorization": f"Bearer {key}", "idempotency-key": "k", **facts}
        answer = sent(CORSMiddleware(service, **SETTINGS), "POST", headers, query=query)

    assert answer.status == (500 if query and status == 201 else status)
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]


def test_inside_it_never_sees_a_preflight(tmp_path: Path) -> None:
    """
    Which is why the guide has it outside.
    """
    with behind(tmp_path, Middleware(CORSMiddleware, **SETTINGS)) as (service, _):
        preflight = sent(service, "OPTIONS", PREFLIGHT)
        refused = sent(service, "POST", {"origin": SHOP})

    assert (preflight.status, refused.status) == (405, 401)
    assert "access-control-allow-origin" not in refused.headers


def test_a_replay_is_told_to_the_origin_that_asks(tmp_path: Path) -> None:
    with behind(tmp_path) as (service, key):
        outside = CORSMiddleware(service, **{**SETTINGS, "allow_origins": [SHOP, "https://till.example"]})
        headers = {"authorization": f"Bearer {key}", "idempotency-key": "k"}
        answers = [sent(outside, "POST", {**headers, "origin": o}) for o in (SHOP, "https://till.example")]

    assert answers[1].headers["idempotent-replayed"] == "true"
    assert answers[1].headers["access-control-allow-origin"] == "https://till.example"
