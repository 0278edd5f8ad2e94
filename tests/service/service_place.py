"""One operation behind the gates, for tests that choose its row of the table and its handler."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service_asgi import ask
from service_world import KEYS, SCHEMA, Clock
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.service import Operation, Service, SQLiteStore, install, stored

# What of the arguments is the service's and not the operation's.
SETTINGS = ("roles", "limit", "stranger_limit", "rate_limit_fields", "wait")


class Place:
    """One operation behind the gates, and how to ask for it."""

    def __init__(self, folder: Path, handler: Callable[[Request], Awaitable[Response]], **row: Any) -> None:
        service = {name: row.pop(name) for name in SETTINGS if name in row}
        service["tiers"] = row.pop("tier_limits", None)
        self.clock = Clock()
        self.store = SQLiteStore(folder / "place.db", schema=SCHEMA, clock=self.clock)
        self.key = self.new_key()
        self.operation = Operation(row.pop("method", "POST"), "/work", **row)
        self.handled = 0

        async def counted(request: Request) -> Response:
            self.handled += 1
            return await handler(request)

        app = Starlette(routes=[Route("/work", counted, methods=["GET", "POST"])])
        self.service: Service = install(
            app, STANDARD, store=self.store, keys=KEYS, operations=[self.operation], **service
        )

    def new_key(self, **facts: Any) -> str:
        key = KEYS.new()
        facts.setdefault("tenant", "t1")
        self.store.add_keys([stored(key, KEYS, **facts)])
        return key

    async def ask(
        self, sent: Any = None, /, *, key: str | None = "k", api_key: str = "", **asked: Any
    ) -> Answer:
        headers = {"authorization": f"Bearer {api_key or self.key}", **asked.pop("headers", {})}
        if key is not None:
            headers["idempotency-key"] = key
        if "body" not in asked:
            asked["json_body"] = {} if sent is None else sent
        return await ask(self.service, self.operation.method, "/work", headers=headers, **asked)

    def run(self, sent: Any = None, /, **asked: Any) -> Answer:
        return asyncio.run(self.ask(sent, **asked))


@contextmanager
def place(folder: Path, handler: Callable[[Request], Awaitable[Response]], **row: Any) -> Iterator[Place]:
    made = Place(folder, handler, **row)
    try:
        yield made
    finally:
        made.store.close()


def code_of(answer: Answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["code"]


async def fine(_request: Request) -> Response:
    """A handler that does nothing and says so."""
    return JSONResponse({"done": True}, 201)


class Payments:
    """Another service that knows idempotency keys: a charge with a known key is not made twice."""

    def __init__(self) -> None:
        self.charges: dict[str, int] = {}
        self.asked: list[str] = []

    async def charge(self, key: str) -> dict[str, int]:
        self.asked.append(key)
        return {"id": self.charges.setdefault(key, len(self.charges) + 1)}
