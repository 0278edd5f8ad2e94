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
from failwell.contract import STANDARD
from failwell.service import Operation, Service, SQLiteStore, install, operations_of, routes_for, stored


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
