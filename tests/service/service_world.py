"""A small service for tests: a clock that is set by hand, a ledger, and handlers for every ending."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import failwell
from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.failure import Failure
from failwell.service import (
    KeyFormat,
    Limit,
    Operation,
    Refusal,
    RefusedRequest,
    Service,
    SQLiteStore,
    exchange_of,
    install,
    routes_for,
    stored,
)

KEYS = KeyFormat("key_", lengths=(20,), challenge='Bearer realm="test"')
SCHEMA = "CREATE TABLE IF NOT EXISTS things (id INTEGER PRIMARY KEY, name TEXT)"


class Clock:
    """Unix seconds, moved by hand."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def parse(body: bytes) -> Any:
    """JSON, or a 422."""
    try:
        return json.loads(body)
    except ValueError:
        raise RefusedRequest(Refusal("validation_failed")) from None


class World:
    """The service, its store, its clock, and a key that may do everything."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = Clock()
        self.store = SQLiteStore(folder / "world.db", schema=SCHEMA, patience=0.05, clock=self.clock)
        self.key = self.new_key()
        self.handled = 0
        # A handler told to wait waits for this one.
        self.gate: asyncio.Event | None = None
        post = {
            "scope": "things:write",
            "idempotency": "transactional",
            "parse": parse,
            "final": frozenset({409}),
        }
        self.operations = (
            Operation("POST", "/things", self.create, **post),
            Operation("POST", "/things/{thing_id}/poke", self.create, **post),
            Operation("GET", "/things", self.listed, scope="things:read"),
            Operation("GET", "/open", self.listed, public=True),
            Operation("GET", "/alive", self.listed, public=True, while_draining=True),
            Operation("POST", "/small", self.create, scope="things:write", parse=parse, max_body_bytes=10),
            Operation("POST", "/plain", self.plain, scope="things:write", idempotency="transactional"),
        )
        settings.setdefault("limit", Limit(1000, 60.0))
        self.service = self._served(**settings)
        # The same, as another process has it: all they share is the store.
        self.elsewhere = self._served(**settings)

    def _served(self, **settings: Any) -> Service:
        app = Starlette(routes=routes_for(self.operations))
        return install(app, STANDARD, store=self.store, keys=KEYS, operations=self.operations, **settings)

    def new_key(
        self,
        *,
        scopes: tuple[str, ...] = ("things:read", "things:write"),
        tenant: str = "t1",
        **facts: Any,
    ) -> str:
        key = KEYS.new()
        self.store.add_keys([stored(key, KEYS, tenant=tenant, scopes=scopes, **facts)])
        return key

    def things(self) -> list[str]:
        return [name for (name,) in self.store.read("SELECT name FROM things ORDER BY id")]

    async def listed(self, request: Request) -> Response:
        self.handled += 1
        return JSONResponse(self.things())

    async def plain(self, request: Request) -> Response:
        """A handler that has no effect in the store."""
        self.handled += 1
        status = (await request.json())["status"]
        return JSONResponse({"handled": self.handled}, status, {"X-Kept": "yes", "Set-Cookie": "a=b"})

    async def create(self, request: Request) -> Response:
        """Creates the thing that is asked for, and ends the way that is asked for."""
        self.handled += 1
        asked = exchange_of(request).input
        if self.gate is not None:
            await self.gate.wait()
        before(asked.get("before", ""))

        def insert(db: sqlite3.Connection) -> Answer:
            cursor = db.execute("INSERT INTO things (name) VALUES (?)", (asked["name"],))
            before(asked.get("within", ""))
            body = json.dumps({"id": cursor.lastrowid, "name": asked["name"]})
            return Answer(201, {"content-type": "application/json", "etag": '"1"'}, body)

        answer = await exchange_of(request).commit(insert)
        before(asked.get("after", ""))
        return Response(answer.body, answer.status, answer.headers)


def before(ending: str) -> None:
    """End the way that is asked for."""
    match ending:
        case "conflict":
            raise failwell.ConflictError(
                "taken", failure=Failure(status=409, message="taken", code="name_taken")
            )
        case "not_found":
            raise failwell.NotFoundError("gone", failure=Failure(status=404, message="gone"))
        case "bug":
            raise ZeroDivisionError("dsn=postgres://user:hunter2@db/main")
        case "http":
            raise HTTPException(418, "short and stout", {"X-Kettle": "on"})
        case "upstream":
            url = "https://other.example/v1/things"
            raise failwell.NotFoundError("theirs", failure=Failure(status=404, message="theirs", url=url))
        case "no_answer":
            raise failwell.ConnectError("nobody there")
        case "stop":
            raise StopIteration


@contextmanager
def world(folder: Path, **settings: Any) -> Iterator[World]:
    """A world that is closed at the end."""
    made = World(folder, **settings)
    try:
        yield made
    finally:
        made.store.close()
