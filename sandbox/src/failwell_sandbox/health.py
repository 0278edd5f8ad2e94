"""What a load balancer asks of a service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from failwell_sandbox.answers import json_answer, respond
from failwell_sandbox.database import Database


async def livez(request: Request) -> Response:
    """The process answers."""
    return respond(json_answer({"status": "ok"}))


def readyz_of(database: Database) -> Callable[[Request], Awaitable[Response]]:
    """The handler that asks `database`, too."""

    async def readyz(request: Request) -> Response:
        """The database answers, too."""
        await database.read("SELECT 1")
        return respond(json_answer({"status": "ok", "checks": {"database": "ok"}}))

    return readyz
