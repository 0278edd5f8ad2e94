"""What an attacker tries and what befalls an unlucky operator, mostly over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from service_asgi import ask
from service_server import serving
from service_world import KEYS
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.websockets import WebSocket

import failwell
from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.service import (
    Limit,
    Operation,
    Service,
    SQLiteStore,
    exchange_of,
    install,
    operations_of,
    routes_for,
    stored,
)
from failwell.service.limits import LONGEST_WINDOW


class Target:
    """A service made of a few operations, and a key for it."""

    def __init__(
        self, folder: Path, operations: list[Operation], routes: tuple[Any, ...] = (), **settings: Any
    ) -> None:
        self.store = SQLiteStore(folder / "target.db", patience=0.05)
        self.key = KEYS.new()
        self.store.add_keys([stored(self.key, KEYS, tenant="t1")])
        self.app = Starlette(routes=[*routes_for(operations), *routes])
        self.service: Service = install(
            self.app, STANDARD, store=self.store, keys=KEYS, operations=operations, **settings
        )

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def target(folder: Path, *operations: Operation, **settings: Any) -> Iterator[Target]:
    made = Target(folder, list(operations), **settings)
    try:
        yield made
    finally:
        made.store.close()


def said_to(url: str, request: bytes) -> bytes:
    """What a server says to `request` until it hangs up."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


async def echo(request: Request) -> Response:
    return JSONResponse({"path": request.url.path})


def test_a_websocket_of_the_application_is_not_open(tmp_path: Path) -> None:
    """
    It has no row in the table, and no gate would ask it for a key.
    """
    opened = []

    async def live(websocket: WebSocket) -> None:
        opened.append(websocket)

    with target(tmp_path, Operation("GET", "/g", echo), routes=(WebSocketRoute("/live", live),)) as made:
        sent = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "websocket", "path": "/live", "headers": [], "query_string": b"", "root_path": ""}
        asyncio.run(made.service(scope, receive, send))

        # Before it is accepted, a server answers this with a 403.
        assert [message["type"] for message in sent] == ["websocket.close"]
        assert opened == []


@pytest.mark.parametrize("path", ["/doors", "/doors/{number}"])
def test_of_two_rows_for_one_request_the_first_is_what_is_asked_for(tmp_path: Path, path: str) -> None:
    """
    Starlette serves the first route that fits, so the gates of a later row must not open it.
    """

    async def secret(request: Request) -> Response:
        return JSONResponse("secret")

    rows = Operation("GET", path, secret), Operation("GET", path, echo, public=True)
    with target(tmp_path, *rows) as made:
        answer = asyncio.run(ask(made.service, "GET", path.replace("{number}", "1")))

        assert answer.status == 401


def test_routes_that_a_host_header_chooses_are_refused() -> None:
    """
    Two hosts may have different operations at one path, and the gates look at the path alone.
    """
    hidden = Router([Route("/door", echo)])

    with pytest.raises(failwell.ConfigurationError, match=r"admin\.example cannot be put behind"):
        operations_of(Starlette(routes=[Host("admin.example", hidden)]))


def test_a_service_that_is_mounted_asks_for_what_its_own_paths_ask_for(tmp_path: Path) -> None:
    """
    The framework routes by what is behind the mount, so the gates must: else the row of one path
    guards the handler of another.
    """
    rows = Operation("GET", "/api/inner", echo, public=True), Operation("GET", "/inner", echo)
    with target(tmp_path, *rows) as made:
        outer = Starlette(routes=[Mount("/api", made.service)])

        assert asyncio.run(ask(outer, "GET", "/api/inner")).status == 401
        assert asyncio.run(ask(outer, "GET", "/api/inner", headers=made.headers)).status == 200
        assert asyncio.run(ask(outer, "GET", "/api/api/inner")).status == 200


def test_a_root_path_of_fastapi_is_taken_off(tmp_path: Path) -> None:
    app = FastAPI(openapi_url=None)
    app.root_path = "/api"  # the argument of that name is deprecated
    app.get("/inner")(echo)
    store = SQLiteStore(tmp_path / "root.db")
    service = install(app, STANDARD, store=store, keys=KEYS)

    assert asyncio.run(ask(service, "GET", "/api/inner")).status == 401
    assert asyncio.run(ask(service, "GET", "/inner")).status == 401
    assert asyncio.run(ask(service, "GET", "/apiinner")).status == 404
    store.close()


LEVELS = ("transactional", "resumable", "at_most_once", None)


@pytest.mark.parametrize("level", LEVELS)
def test_a_handler_whose_own_task_was_cancelled_is_a_fault_like_any_other(
    tmp_path: Path, level: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """
    It raises CancelledError, though nobody cancelled the request: the answer has its id and words,
    and the key is free again at once, or holds that answer where nothing may be done twice.
    """
    handled = []

    async def waits(request: Request) -> Response:
        handled.append(request)
        work = asyncio.create_task(asyncio.sleep(60))
        work.cancel()
        await work
        return JSONResponse(None)

    with (
        target(tmp_path, Operation("POST", "/w", waits, idempotency=level)) as made,
        serving(made.service) as url,
    ):
        fields = f"Authorization: Bearer {made.key}\r\nIdempotency-Key: k1\r\n"
        request = f"POST /w HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n".encode()
        first, second = said_to(url, request), said_to(url, request)

        assert first.startswith(b"HTTP/1.1 500 ")
        assert b"x-request-id: req_" in first
        assert b"internal_error" in first
        assert second.startswith(b"HTTP/1.1 500 ")
        assert len(handled) == (1 if level == "at_most_once" else 2)
        assert "was cancelled" in caplog.text


@pytest.mark.parametrize("level", LEVELS)
def test_a_request_that_is_cancelled_stays_so(tmp_path: Path, level: Any) -> None:
    async def run(service: Any, headers: dict[str, str]) -> None:
        asked = asyncio.create_task(ask(service, "POST", "/w", headers=headers))
        await begun.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    begun = asyncio.Event()

    async def waits(request: Request) -> Response:
        begun.set()
        await asyncio.sleep(60)
        return Response()

    with target(tmp_path, Operation("POST", "/w", waits, idempotency=level)) as made:
        asyncio.run(run(made.service, {**made.headers, "Idempotency-Key": "k1"}))


@pytest.mark.parametrize("level", LEVELS)
def test_every_cookie_of_an_answer_is_a_field_of_its_own(tmp_path: Path, level: Any) -> None:
    """
    Joined with a comma, which dates have in them too, they would be one broken cookie.
    """

    async def bake(request: Request) -> Response:
        answer = JSONResponse("baked")
        answer.set_cookie("a", "1", expires=10)
        answer.set_cookie("b", "2")
        return answer

    with (
        target(tmp_path, Operation("POST", "/b", bake, idempotency=level)) as made,
        serving(made.service) as url,
    ):
        fields = f"Authorization: Bearer {made.key}\r\nIdempotency-Key: k1\r\n"
        request = f"POST /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n".encode()
        first, second = said_to(url, request), said_to(url, request)

        assert first.count(b"set-cookie: ") == 2
        assert b"\r\nset-cookie: b=2; Path=/; SameSite=lax\r\n" in first
        assert second.count(b"set-cookie: ") == (0 if level else 2)


@pytest.mark.parametrize(
    "second", [{"type": "http.response.start", "status": 200}, {"type": "http.response.body"}]
)
@pytest.mark.parametrize("level", ["transactional", "resumable", "at_most_once"])
def test_an_application_that_answers_twice_has_not_answered(
    tmp_path: Path, level: Any, second: dict[str, Any]
) -> None:
    """
    Two answers are not pasted together and recorded.
    """

    class Twice(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await super().__call__(scope, receive, send)
            await send(second)

    async def twice(request: Request) -> Response:
        return Twice("first")

    with target(tmp_path, Operation("POST", "/t", twice, idempotency=level)) as made:
        headers = {**made.headers, "Idempotency-Key": "k1"}
        answer = asyncio.run(ask(made.service, "POST", "/t", headers=headers))

        assert answer.status == 500
        assert b"first" not in answer.body


def test_a_handler_without_an_answer_does_not_keep_its_key(tmp_path: Path) -> None:
    class Silent(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            """Sends nothing."""

    async def silent(request: Request) -> Response:
        return Silent()

    with target(tmp_path, Operation("POST", "/s", silent, idempotency="transactional")) as made:
        headers = {**made.headers, "Idempotency-Key": "k1"}
        statuses = [asyncio.run(ask(made.service, "POST", "/s", headers=headers)).status for _ in range(2)]

        # A 409 would say that the first one is still at work.
        assert statuses == [500, 500]


@pytest.mark.parametrize("window", [float("nan"), float("inf"), -1.0, 0.0, 1e13, 2.0**70])
def test_a_window_that_no_store_can_count_is_refused_where_it_is_written(window: float) -> None:
    """
    Or every request of the key would end in a 500: its numbers do not fit into 63 bits.
    """
    with pytest.raises(ValueError, match="cannot be kept"):
        Limit(1, window)


def test_the_longest_window_can_be_counted(tmp_path: Path) -> None:
    row = Operation("GET", "/g", echo)
    with target(tmp_path, row, limit=Limit(1, LONGEST_WINDOW)) as made:
        statuses = [
            asyncio.run(ask(made.service, "GET", "/g", headers=made.headers)).status for _ in range(2)
        ]

        assert statuses == [200, 429]


def test_a_length_of_more_digits_than_python_reads_is_too_large(tmp_path: Path) -> None:
    with target(tmp_path, Operation("POST", "/g", echo)) as made:
        headers = {**made.headers, "Content-Length": "9" * 5000}

        assert asyncio.run(ask(made.service, "POST", "/g", headers=headers)).status == 413


def test_a_renewal_that_fails_in_an_unforeseen_way_does_not_end_the_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Else a disk that was full for a moment would let the claim of a slow handler lapse.
    """
    renewed = []

    async def renew(claim: Any, *, lease: float) -> bool:
        renewed.append(claim)
        if len(renewed) == 1:
            raise OSError("the disk is full")
        enough.set()
        return True

    async def waits(request: Request) -> Response:
        await asyncio.wait_for(enough.wait(), 20)
        return Response("done")

    enough = asyncio.Event()
    with target(tmp_path, Operation("POST", "/w", waits, idempotency="resumable"), lease=0.3) as made:
        monkeypatch.setattr(made.store, "renew", renew)
        headers = {**made.headers, "Idempotency-Key": "k1"}
        answer = asyncio.run(ask(made.service, "POST", "/w", headers=headers))

        assert answer.body == b"done"
        assert "could not renew" in caplog.text


def test_a_full_disk_is_a_store_that_cannot_take_a_write(tmp_path: Path) -> None:
    """
    It is answered with a 503, to be tried again: nothing was written, and the key is free.
    """
    small = [True]

    async def fill(request: Request) -> Response:
        def insert(db: Any) -> Answer:
            db.execute(f"PRAGMA max_page_count = {1 if small.pop() else 10_000}")
            db.execute("CREATE TABLE filled AS SELECT zeroblob(1000000) AS much")
            return Answer(201, {}, "filled")

        answer = await exchange_of(request).commit(insert)
        return Response(answer.body, answer.status)

    with target(tmp_path, Operation("POST", "/f", fill, idempotency="transactional")) as made:
        headers = {**made.headers, "Idempotency-Key": "k1"}
        first = asyncio.run(ask(made.service, "POST", "/f", headers=headers))
        small.append(False)
        second = asyncio.run(ask(made.service, "POST", "/f", headers=headers))

        assert first.status == 503
        assert first.headers["retry-after"] == "1"
        assert second.status == 201
