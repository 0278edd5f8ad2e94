"""What is refused before its key is asked for, and what cannot be put into words."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from service_behind import Behind
from service_place import code_of, place
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from failwell.service import Limit, Operation, guarded
from failwell.service.bodies import Again
from failwell.service.refusals import Refusal, RefusedRequest

TEN = Limit(10, 60.0)


async def counted(request: Request) -> Response:
    return JSONResponse({"bytes": len(await request.body())})


@guarded(public=True)
async def shown(_request: Request) -> Response:
    return JSONResponse({})


ROUTES = [Route("/work", counted, methods=["POST"]), Route("/public", shown, methods=["POST"])]

EARLY = [
    ("GET", "/nowhere", b"", 404),
    ("DELETE", "/work", b"", 405),
    ("POST", "/work", b"x" * 200, 413),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), EARLY)
def test_a_request_with_a_good_key_is_counted_and_told_so_whatever_is_wrong_with_it(
    tmp_path: Path, method: str, path: str, body: bytes, status: int
) -> None:
    with Behind(tmp_path, app=Starlette(routes=ROUTES), limit=TEN, max_body_bytes=100) as here:
        left = []
        for _ in range(12):
            answer = here.ask(method, path, body=body)
            left.append((answer.status, answer.headers["x-ratelimit-remaining"]))
    assert left == [(status, str(9 - n)) for n in range(10)] + [(429, "0")] * 2


@pytest.mark.parametrize(("method", "path", "body", "status"), EARLY)
def test_a_stranger_is_counted_by_address(
    tmp_path: Path, method: str, path: str, body: bytes, status: int
) -> None:
    limits: Any = {"limit": TEN, "stranger_limit": Limit(2, 60.0), "max_body_bytes": 100}
    with Behind(tmp_path, app=Starlette(routes=ROUTES), **limits) as here:
        keys = (None, "t_none", here.key.swapcase())
        assert [here.ask(method, path, body=body, key=key).status for key in keys] == [status, status, 429]
        assert here.ask(method, path, body=body).headers["x-ratelimit-remaining"] == "9"


def test_a_service_that_shuts_down_counts_whom_it_sends_away(tmp_path: Path) -> None:
    with Behind(tmp_path, app=Starlette(routes=ROUTES), limit=TEN) as here:
        here.service.draining = True
        answers = [here.ask("POST", "/work"), here.ask("GET", "/nowhere")]
    assert [(a.status, a.headers["x-ratelimit-remaining"]) for a in answers] == [(503, "9"), (503, "8")]


def test_what_is_public_counts_nobody_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    with Behind(tmp_path, app=Starlette(routes=ROUTES), limit=TEN, max_body_bytes=100) as here:
        answer = here.ask("POST", "/public", body=b"x" * 200)
    assert answer.status == 413
    assert "x-ratelimit-remaining" not in answer.headers


@pytest.mark.parametrize("body", [b"x", [b"x"]])
def test_an_operation_that_takes_no_bytes_takes_none(tmp_path: Path, body: Any) -> None:
    operation = Operation("POST", "/work", counted, max_body_bytes=0)
    with Behind(tmp_path, operations=[operation]) as here:
        assert here.ask("POST", "/work", body=body).status == 413
        assert json.loads(here.ask("POST", "/work").body) == {"bytes": 0}


ROUND: dict[str, Any] = {}
ROUND["again"] = ROUND

WORDLESS = {
    "a code without words": RefusedRequest(Refusal("name_takn")),
    "words without their values": RefusedRequest(Refusal("quota_exceeded")),
    "a detail that holds itself": HTTPException(409, ROUND),  # type: ignore[arg-type]  # as a handler may have it
}


@pytest.mark.parametrize("raised", WORDLESS.values(), ids=list(WORDLESS))
@pytest.mark.parametrize("level", ["transactional", "resumable", "at_most_once"])
def test_what_cannot_be_put_into_words_is_a_fault_that_frees_its_key(
    tmp_path: Path, raised: Exception, level: str
) -> None:
    async def handler(_request: Request) -> Response:
        raise raised

    with place(tmp_path, handler, idempotency=level) as here:
        first, again, without = here.run(), here.run(), here.run(key=None)
        assert here.handled == (2 if level == "at_most_once" else 3)
    for answer in (first, again, without):
        assert code_of(answer) == (500, "internal_error")
    for answer in (first, without):
        assert answer.headers["x-request-id"] == json.loads(answer.body)["request_id"]


def test_an_application_says_itself_what_its_exceptions_mean(tmp_path: Path) -> None:
    async def handler(_request: Request) -> Response:
        raise LookupError("hunter2")

    def translate(exc: Exception) -> Refusal | None:
        return Refusal("not_found") if isinstance(exc, LookupError) else None

    app = Starlette(routes=[Route("/work", handler)])
    with Behind(tmp_path, app=app, translate=translate) as here:
        assert here.ask("GET", "/work").status == 404


def test_a_request_without_a_body_says_so_once_and_then_when_its_client_is_gone() -> None:
    told = [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return told.pop(0)

    async def asked_twice() -> list[str]:
        again = Again(b"", receive)
        return [(await again())["type"], (await again())["type"]]

    assert asyncio.run(asked_twice()) == ["http.request", "http.disconnect"]
