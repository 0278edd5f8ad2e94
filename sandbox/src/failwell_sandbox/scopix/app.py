"""
Scopix: images, documents and videos, what they show and say, and questions about them.

    GET, POST          /v1/files                          the body is the file
    POST               /v1/files/lookup
    POST               /v1/files/sessions, …/{id}/complete; PUT …/{id}/content; DELETE …/{id}
    GET, DELETE        /v1/files/{id}; GET …/content
    GET, POST          /v1/videos; GET, DELETE …/{id}; GET …/{id}/content
    GET, PUT           /v1/videos/{id}/chunks, …/{number}; POST /v1/videos/{id}/complete
    GET, POST          /v1/chat/sessions; GET, DELETE …/{id}
    GET, POST          /v1/chat/sessions/{id}/messages; GET …/{id}; GET …/{id}/events
    GET, POST          /v1/video-analysis; GET …/{id}; POST …/{id}/retry, …/{id}/cancel
    GET, POST          /v1/cloud-storage/connections; GET, DELETE …/{id}; GET …/{id}/files
    POST               /v1/cloud-storage/imports, …/exports
    GET                /v1/cloud-storage/jobs, …/{id}; POST …/{id}/cancel
    GET, POST          /v1/s3-connectors; GET, DELETE …/{id}; POST …/{id}/sync
    GET                /v1/s3-connectors/jobs, …/{id}; POST …/{id}/cancel
    GET                /v1/usage
    GET                /livez, /readyz, /openapi.json     no key

Each key belongs to an account; it may read (`api:read`), write (`api:write`) or both. Lists are in the
order in which things were made, so that a cursor stays where it is whatever is added.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from failwell.service import (
    Endpoints,
    KeyFormat,
    Limit,
    Operation,
    Service,
    Store,
    StoreBusyError,
    exchange_of,
    install,
)
from failwell.service.openapi import openapi_operation
from failwell_sandbox.answers import json_answer, respond
from failwell_sandbox.contents import WORDING
from failwell_sandbox.database import Connection, Database
from failwell_sandbox.effects import level_of
from failwell_sandbox.health import livez, readyz_of
from failwell_sandbox.scopix.accounts import account_of, give_back_space, seed
from failwell_sandbox.scopix.analysis import AnalysisHandlers
from failwell_sandbox.scopix.background import Background
from failwell_sandbox.scopix.chat import ChatHandlers
from failwell_sandbox.scopix.cloud import CloudHandlers
from failwell_sandbox.scopix.core import FILES, READ, WRITE, Core
from failwell_sandbox.scopix.files import FileHandlers
from failwell_sandbox.scopix.looking import Looking
from failwell_sandbox.scopix.tables import SCHEMA
from failwell_sandbox.scopix.videos import VideoHandlers
from scopix.contract import CONTRACT, IDEMPOTENCY_CONFLICT, IDEMPOTENCY_IN_FLIGHT

if TYPE_CHECKING:
    from failwell.service.idempotency import Level

__all__ = ["KEYS", "LIMIT", "SCHEMA", "SCOPES", "TENANTS", "TIERS", "scopix_service", "seed"]

log = logging.getLogger("failwell_sandbox")

KEYS = KeyFormat("sx_", lengths=(40,), challenge='Bearer realm="scopix"')
SCOPES = (READ, WRITE)
TIERS = {
    "free": (Limit(60, 60.0),),
    "pro": (Limit(600, 60.0),),
    "enterprise": (Limit(60_000, 60.0),),
}
TENANTS = ("acme", "globex", "initech")
LIMIT = Limit(600, 60.0)
STRANGER_LIMIT = Limit(60_000, 60.0)

# Between two sweeps, seconds.
SWEEP_EVERY = 600.0


class Scopix:
    """
    The service's handlers, around its database and its files.

    Args:
        database: Everything but the bytes of files.
        folder: For those.
        level: At which requests are repeatable.
        lease: Seconds after which work is taken over, if nothing is heard of who does it.
    """

    def __init__(self, database: Database, folder: Path, level: Level, lease: float) -> None:
        self.core = Core(database, folder, level)
        self.looking = Looking(self.core, lease)
        self.background = Background(self.core, self.looking, lease)
        self.operations = (
            *FileHandlers(self.core, self.looking).operations,
            *VideoHandlers(self.core).operations,
            *AnalysisHandlers(self.core, self.background).operations,
            *ChatHandlers(self.core).operations,
            *CloudHandlers(self.core, self.background).operations,
            Operation("GET", "/v1/usage", self.usage, scope=READ),
            Operation("GET", "/livez", livez, public=True, while_draining=True),
            Operation("GET", "/readyz", readyz_of(self.core.database), public=True),
            openapi_operation(),
        )

    @asynccontextmanager
    async def lifespan(self, _app: Endpoints) -> AsyncIterator[None]:
        """Files are looked at, jobs are done, and what is left over is swept away."""
        self.looking.start()
        self.background.queue.start()
        sweeping = asyncio.create_task(self._sweep_now_and_then(), name="scopix-sweep")
        try:
            yield
        finally:
            sweeping.cancel()
            await self.background.queue.stop()
            await self.looking.stop()
            with suppress(asyncio.CancelledError):
                await sweeping

    async def _sweep_now_and_then(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.sweep)
            except (StoreBusyError, OSError) as exc:
                log.warning("could not sweep: %s", exc)
            await asyncio.sleep(SWEEP_EVERY)

    def sweep(self) -> None:
        """Give up uploads that took too long, and take away what a crash left behind. Blocks."""
        core = self.core
        core.database.write_blocking(_expire)
        gone = core.files.sweep(self._known)
        if gone:
            log.info("%d files that nothing was written about are gone", gone)
        self._mend_index()

    def _mend_index(self) -> None:
        """Forget what is known of files that are no more, and read again those of which nothing is."""
        core = self.core
        # In this order: what is made in between is in neither.
        read = {row[0] for row in core.database.read_blocking(_READ)}
        indexed = core.search.files()
        there = {row[0] for row in core.database.read_blocking("SELECT id FROM files")}
        core.search.forget(indexed - there)
        unknown = sorted(read - indexed)

        def again(db: Connection) -> None:
            for file_id in unknown:
                db.execute(_AGAIN, file_id)

        if unknown:
            core.database.write_blocking(again)

    def _known(self, kind: str, names: Collection[str]) -> Collection[str]:
        """Those of some files that have a row. On a thread of its own."""
        tables = ("files", "upload_sessions") if kind == FILES else ("chunks",)
        places = ", ".join("?" * len(names))
        found: set[str] = set()
        for table in tables:
            rows = self.core.database.read_blocking(
                f"SELECT stored FROM {table} WHERE stored IN ({places})",  # noqa: S608  # constant words
                *names,
            )
            found |= {row[0] for row in rows}
        return found

    async def usage(self, request: Request) -> Response:
        """What the account has stored, and may store."""
        exchange = exchange_of(request)
        account = await account_of(self.core.database, exchange.tenant)
        key = exchange.key
        assert key is not None  # no operation of ours but the public ones is served without
        said = {
            "plan": key.tier, "past_due": account.past_due,
            "bytes": {"used": account.used_bytes, "limit": account.most_bytes},
            "files": {"used": account.used_files, "limit": account.most_files},
        }  # fmt: skip
        return respond(json_answer(said))


_READ = "SELECT id FROM files WHERE status = 'completed' AND kind <> 'video'"

_AGAIN = "UPDATE files SET status = 'pending', attempts = 0 WHERE id = ? AND status = 'completed'"


def _expire(db: Connection) -> None:
    """Give back the space of uploads that took too long; what was sent of them is swept."""
    for table in ("upload_sessions", "video_uploads"):
        rows = db.rows(f"DELETE FROM {table} WHERE expires_at <= {{now}} RETURNING tenant, size, file_id, id")  # noqa: S608  # constant words
        for tenant, size, file_id, upload_id in rows:
            if file_id is None:
                give_back_space(db, tenant, size)
            db.execute("DELETE FROM chunks WHERE upload_id = ?", upload_id)


def scopix_service(
    store: Store, database: Database, *, folder: Path, wait: float = 0.0, lease: float = 30.0
) -> Service:
    """Scopix behind its gates: keys, limits and records in `store`, files in `folder`."""
    scopix = Scopix(database, folder, level_of(store, database), lease)
    app = Endpoints(lifespan=scopix.lifespan)
    scopix.core.service = install(
        app, CONTRACT, store=store, keys=KEYS, operations=scopix.operations, tiers=TIERS, limit=LIMIT,
        stranger_limit=STRANGER_LIMIT, wait=wait, lease=lease, wording=WORDING,
        codes={
            "idempotency_mismatch": IDEMPOTENCY_CONFLICT, "idempotency_in_flight": IDEMPOTENCY_IN_FLIGHT,
        },
    )  # fmt: skip
    return scopix.core.service
