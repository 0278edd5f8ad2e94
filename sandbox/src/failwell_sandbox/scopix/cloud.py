"""Connections to folders and buckets, and jobs that copy files from and to them."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel
from starlette.requests import Request
from starlette.responses import Response

from failwell.answer import Answer
from failwell.failure import Failure
from failwell.service import Operation, exchange_of, json_body
from failwell_sandbox import ledger
from failwell_sandbox.answers import Line, json_answer, respond
from failwell_sandbox.child import ChildFailedError
from failwell_sandbox.database import Connection
from failwell_sandbox.parameters import integer, invalid
from failwell_sandbox.resource_tables import Table, inserted
from failwell_sandbox.scopix.background import Background
from failwell_sandbox.scopix.copying import listed, place_in
from failwell_sandbox.scopix.core import INVALID, NOT_FOUND, NOT_PAID, READ, WRITE, Core
from failwell_sandbox.scopix.places import (
    SECRETS,
    allowed_hosts,
    below,
    fault_of_endpoint,
    is_path,
    local_root,
)
from failwell_sandbox.scopix.tables import CONNECTIONS, CONNECTORS, SYNCS, TRANSFERS
from scopix.errors import CloudStorageError, S3ConnectorError

# Files of one job.
MOST_FILES = 1000

NO_PATH = "A path is names with one slash between each two, such as a/b."

# Listings at once: each is a process.
LISTINGS = 2

_CLOUD = (CloudStorageError, "CLOUD_STORAGE_ERROR")
_S3 = (S3ConnectorError, "S3_CONNECTOR_ERROR")

Name = Annotated[Line, Field(min_length=1, max_length=100)]
Id = Annotated[str, Field(min_length=1, max_length=100)]
Path = Annotated[str, Field(min_length=1, max_length=1000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Bucket(_Body):
    """Where a bucket is, and the keys to it."""

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: str = Field(default="", max_length=500)
    endpoint_url: str = Field(max_length=500)
    region: str | None = Field(default=None, pattern=r"^[a-z0-9-]{1,50}$")
    access_key_id: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")
    secret_access_key: str | None = Field(
        default=None, min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$"
    )
    session_token: str | None = Field(default=None, min_length=1, max_length=4000, pattern=r"^[\x21-\x7e]+$")


class Folder(_Body):
    """Where a folder is, below what the sandbox has for the account."""

    path: str = Field(default="", max_length=500)


class LocalConnection(_Body):
    """A connection to a folder."""

    name: Name
    provider: Literal["local"]
    options: Folder = Field(default_factory=Folder)


class S3Connection(_Body):
    """A connection to a bucket."""

    name: Name
    provider: Literal["s3"]
    options: Bucket


class NewConnection(RootModel[Annotated[LocalConnection | S3Connection, Field(discriminator="provider")]]):
    """The body of `POST /v1/cloud-storage/connections`."""


class NewConnector(Bucket):
    """The body of `POST /v1/s3-connectors`."""

    name: Name


class NewImport(_Body):
    """The body of `POST /v1/cloud-storage/imports`."""

    connection_id: Id
    files: list[Path] = Field(min_length=1, max_length=MOST_FILES)


class NewExport(_Body):
    """The body of `POST /v1/cloud-storage/exports`."""

    connection_id: Id
    file_ids: list[Id] = Field(min_length=1, max_length=MOST_FILES)
    prefix: str = Field(default="", max_length=500)


class CloudHandlers:
    """The handlers of connections, imports and exports, and of S3 connectors and their syncs."""

    def __init__(self, core: Core, background: Background) -> None:
        self.core = core
        self.background = background
        self._listing = asyncio.Semaphore(LISTINGS)
        level = core.level
        cloud, s3 = "/v1/cloud-storage", "/v1/s3-connectors"
        connection, connector = f"{cloud}/connections/{{connection_id}}", f"{s3}/{{connector_id}}"
        self.operations = (
            Operation("GET", f"{cloud}/connections", self.list_connections, scope=READ, raises=(INVALID,)),
            Operation("POST", f"{cloud}/connections", self.connect, scope=WRITE, idempotency=level,
                      parse=json_body(NewConnection), raises=(NOT_PAID, INVALID)),
            Operation("GET", connection, self.get_connection, scope=READ, raises=(NOT_FOUND,)),
            Operation("DELETE", connection, self.delete_connection, scope=WRITE, idempotency=level,
                      raises=(NOT_PAID, NOT_FOUND)),
            Operation("GET", f"{connection}/files", self.list_files, scope=READ,
                      raises=(NOT_FOUND, _CLOUD, INVALID)),
            Operation("POST", f"{cloud}/imports", self.start_import, scope=WRITE, idempotency=level,
                      parse=json_body(NewImport), raises=(NOT_PAID, NOT_FOUND, INVALID)),
            Operation("POST", f"{cloud}/exports", self.start_export, scope=WRITE, idempotency=level,
                      parse=json_body(NewExport), raises=(NOT_PAID, NOT_FOUND, INVALID)),
            Operation("GET", f"{cloud}/jobs", self.list_transfers, scope=READ, raises=(INVALID,)),
            Operation("GET", f"{cloud}/jobs/{{job_id}}", self.get_transfer, scope=READ, raises=(NOT_FOUND,)),
            Operation("POST", f"{cloud}/jobs/{{job_id}}/cancel", self.cancel_transfer, scope=WRITE,
                      idempotency=level, raises=(NOT_PAID, NOT_FOUND, _CLOUD)),
            Operation("GET", s3, self.list_connectors, scope=READ, raises=(INVALID,)),
            Operation("POST", s3, self.create_connector, scope=WRITE, idempotency=level,
                      parse=json_body(NewConnector), raises=(NOT_PAID, INVALID)),
            Operation("GET", f"{s3}/jobs", self.list_syncs, scope=READ, raises=(INVALID,)),
            Operation("GET", f"{s3}/jobs/{{job_id}}", self.get_sync, scope=READ, raises=(NOT_FOUND,)),
            Operation("POST", f"{s3}/jobs/{{job_id}}/cancel", self.cancel_sync, scope=WRITE,
                      idempotency=level, raises=(NOT_PAID, NOT_FOUND, _S3)),
            Operation("GET", connector, self.get_connector, scope=READ, raises=(NOT_FOUND,)),
            Operation("DELETE", connector, self.delete_connector, scope=WRITE, idempotency=level,
                      raises=(NOT_PAID, NOT_FOUND)),
            Operation("POST", f"{connector}/sync", self.sync, scope=WRITE, idempotency=level,
                      raises=(NOT_PAID, NOT_FOUND)),
        )  # fmt: skip

    # --- connections ---

    async def list_connections(self, request: Request) -> Response:
        """The account's connections."""
        return await self.core.page(request, CONNECTIONS)

    async def get_connection(self, request: Request) -> Response:
        """One connection, without its secrets."""
        return await self.core.one(request, CONNECTIONS, "connection_id")

    async def connect(self, request: Request) -> Response:
        """Keep where files may be copied from and to."""
        exchange = exchange_of(request)
        new: LocalConnection | S3Connection = exchange.input.root
        options = new.options.model_dump()
        if isinstance(new, LocalConnection):
            self._check_folder(exchange.tenant, options["path"])
        else:
            _check_bucket(options, ("body", "options"))
        return await self._keep(request, CONNECTIONS, "conn", "cloud", new.name, new.provider, options)

    def _check_folder(self, tenant: str, path: str) -> None:
        root = local_root(self.core.files.folder, tenant)
        if path and (not is_path(path) or below(root, path) is None):
            raise invalid(
                ("body", "options", "path"), NO_PATH,
                "outside",
            )  # fmt: skip

    async def _keep(
        self, request: Request, table: Table, prefix: str, kind: str, name: str, provider: str,
        options: Mapping[str, Any],
    ) -> Response:  # fmt: skip
        exchange = exchange_of(request)
        connection_id = f"{prefix}_{secrets.token_hex(12)}"
        told = {key: value for key, value in options.items() if key not in SECRETS}
        secret = {key: options[key] for key in SECRETS if options.get(key) is not None}

        def insert(db: Connection) -> Answer:
            db.execute(
                "INSERT INTO connections (id, tenant, kind, name, provider, options, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, {now})",
                connection_id, exchange.tenant, kind, name, provider, json.dumps(told),
            )  # fmt: skip
            if secret:
                db.execute(
                    "INSERT INTO connection_secrets (connection_id, secret) VALUES (?, ?)",
                    connection_id, json.dumps(secret),
                )  # fmt: skip
            ledger.note_effect(db, exchange, f"{table.called}.created", connection_id, name=name)
            return json_answer(table.shown(inserted(db, table, exchange.tenant, connection_id)), 201)

        return respond(await self.core.effect(exchange, insert))

    async def delete_connection(self, request: Request) -> Response:
        """Forget a connection and its secrets; its jobs end."""
        return await self._forget(request, CONNECTIONS, "connection_id")

    async def _forget(self, request: Request, table: Table, parameter: str) -> Response:
        exchange = exchange_of(request)
        connection_id = request.path_params[parameter]

        def delete(db: Connection) -> Answer:
            row = self.core.row(db, table, exchange.tenant, connection_id)
            db.execute(
                "UPDATE jobs SET status = 'cancelled', finished_at = {now} "
                "WHERE target = ? AND status IN ('queued', 'running')",
                connection_id,
            )
            db.execute("DELETE FROM connection_secrets WHERE connection_id = ?", connection_id)
            db.execute("DELETE FROM synced_objects WHERE connection_id = ?", connection_id)
            db.execute("DELETE FROM connections WHERE id = ?", connection_id)
            ledger.note_effect(db, exchange, f"{table.called}.deleted", connection_id, name=row[1])
            return json_answer({"id": connection_id, "deleted": True})

        return respond(await self.core.effect(exchange, delete))

    async def list_files(self, request: Request) -> Response:
        """What there is at a connection, by path."""
        tenant, connection_id = exchange_of(request).tenant, request.path_params["connection_id"]
        limit = integer(request, "limit", 100, 1, 1000)
        after = request.query_params.get("cursor", "")
        await self.core.found(CONNECTIONS, tenant, connection_id)
        place = await place_in(self.core, tenant, connection_id)
        if place is None:
            raise self.core.missing("connection", connection_id)
        try:
            async with self._listing:
                found = await listed(place)
        except ChildFailedError as exc:
            raise self.core.service.error(
                Failure(
                    status=409, code="CLOUD_STORAGE_ERROR", message=str(exc),
                    details={"connection_id": connection_id, "reason": exc.code},
                )
            ) from exc  # fmt: skip
        left = [{"path": each["path"], "size": each["size"]} for each in found if each["path"] > after]
        cursor = left[limit - 1]["path"] if len(left) > limit else None
        return respond(json_answer({"items": left[:limit], "next_cursor": cursor}))

    # --- imports and exports ---

    async def start_import(self, request: Request) -> Response:
        """Queue the import of some files."""
        exchange = exchange_of(request)
        asked: NewImport = exchange.input
        for at, path in enumerate(asked.files):
            if not is_path(path):
                raise invalid(("body", "files", at), NO_PATH, "path")
        items = list(dict.fromkeys(asked.files))
        return await self._queued(
            request, CONNECTIONS, TRANSFERS, "csj", "import", asked.connection_id, items, "connection_id"
        )

    async def start_export(self, request: Request) -> Response:
        """Queue the export of some files."""
        exchange = exchange_of(request)
        asked: NewExport = exchange.input
        if asked.prefix and not is_path(asked.prefix):
            raise invalid(("body", "prefix"), NO_PATH, "path")
        file_ids = list(dict.fromkeys(asked.file_ids))
        places = ", ".join("?" * len(file_ids))
        rows = await self.core.database.read(
            f"SELECT id, name FROM files WHERE tenant = ? AND id IN ({places})", exchange.tenant, *file_ids  # noqa: S608  # values are bound
        )  # fmt: skip
        names = dict(rows)
        for file_id in file_ids:
            if file_id not in names:
                raise self.core.missing("file", file_id)
        paths = _paths([(file_id, names[file_id]) for file_id in file_ids], asked.prefix)
        items = [{"file_id": file_id, "path": path} for file_id, path in zip(file_ids, paths, strict=True)]
        return await self._queued(
            request, CONNECTIONS, TRANSFERS, "csj", "export", asked.connection_id, items, "connection_id"
        )

    async def _queued(
        self, request: Request, places: Table, jobs: Table, prefix: str, kind: str, target: str,
        items: Sequence[Any], called: str,
    ) -> Response:  # fmt: skip
        exchange = exchange_of(request)
        facts = {"total": len(items), "target_called": called}

        def insert(db: Connection) -> Answer:
            row = self.core.row(db, places, exchange.tenant, target)
            name = row[1] if not items else items[0] if isinstance(items[0], str) else items[0]["path"]
            return self.background.insert(db, request, jobs, prefix, kind, target, facts, items, name=name)

        answer = await self.core.effect(exchange, insert)
        self.background.queue.wake()
        return respond(answer)

    async def list_transfers(self, request: Request) -> Response:
        """The account's imports and exports."""
        return await self.core.page(request, TRANSFERS)

    async def get_transfer(self, request: Request) -> Response:
        """One import or export."""
        return await self.core.one(request, TRANSFERS, "job_id")

    async def cancel_transfer(self, request: Request) -> Response:
        """Stop an import or export; what is copied stays."""
        return await self.background.cancel(request, TRANSFERS, self._refused_transfer)

    # --- S3 connectors ---

    async def list_connectors(self, request: Request) -> Response:
        """The account's S3 connectors."""
        return await self.core.page(request, CONNECTORS)

    async def get_connector(self, request: Request) -> Response:
        """One S3 connector, without its secrets."""
        return await self.core.one(request, CONNECTORS, "connector_id")

    async def create_connector(self, request: Request) -> Response:
        """Keep a bucket whose new files are to be imported, now and again."""
        new: NewConnector = exchange_of(request).input
        options = new.model_dump(exclude={"name"})
        _check_bucket(options, ("body",))
        return await self._keep(request, CONNECTORS, "s3c", "s3", new.name, "s3", options)

    async def delete_connector(self, request: Request) -> Response:
        """Forget an S3 connector and its secrets; what was imported stays."""
        return await self._forget(request, CONNECTORS, "connector_id")

    async def sync(self, request: Request) -> Response:
        """Queue the import of what is new in a bucket."""
        connector_id = request.path_params["connector_id"]
        return await self._queued(request, CONNECTORS, SYNCS, "s3j", "sync", connector_id, [], "connector_id")

    async def list_syncs(self, request: Request) -> Response:
        """The account's syncs."""
        return await self.core.page(request, SYNCS)

    async def get_sync(self, request: Request) -> Response:
        """One sync."""
        return await self.core.one(request, SYNCS, "job_id")

    async def cancel_sync(self, request: Request) -> Response:
        """Stop a sync; what is imported stays."""
        return await self.background.cancel(request, SYNCS, self._refused_sync)

    def _refused_transfer(self, job: Mapping[str, Any], reason: str, message: str) -> Exception:
        return self.core.service.error(
            Failure(
                status=409, code="CLOUD_STORAGE_ERROR", message=message,
                details={"job_id": job["id"], "job_status": job["status"], "reason": reason},
            )
        )  # fmt: skip

    def _refused_sync(self, job: Mapping[str, Any], reason: str, message: str) -> Exception:
        return self.core.service.error(
            Failure(
                status=409, code="S3_CONNECTOR_ERROR", message=message,
                details={"job_id": job["id"], "job_status": job["status"], "reason": reason},
            )
        )  # fmt: skip


def _check_bucket(options: Mapping[str, Any], where: tuple[str, ...]) -> None:
    """Refuse an endpoint that is not to be asked, half of a pair of keys, and what is no prefix."""
    fault = fault_of_endpoint(options["endpoint_url"], allowed_hosts())
    if fault is not None:
        raise invalid((*where, "endpoint_url"), fault, "endpoint_not_allowed")
    if (options["access_key_id"] is None) != (options["secret_access_key"] is None):
        raise invalid((*where, "secret_access_key"), "A key is an id and a secret.", "missing")
    if options["prefix"] and not is_path(options["prefix"].strip("/")):
        raise invalid((*where, "prefix"), NO_PATH, "path")


def _paths(files: Sequence[tuple[str, str]], prefix: str) -> list[str]:
    """Where files are exported to: those of one name after the first have their id in it."""
    taken: set[str] = set()
    paths = []
    for file_id, name in files:
        path = f"{prefix}/{name}" if prefix else name
        if path in taken:
            stem, dot, ending = name.rpartition(".")
            other = f"{stem}-{file_id}.{ending}" if dot and stem else f"{name}-{file_id}"
            path = f"{prefix}/{other}" if prefix else other
        taken.add(path)
        paths.append(path)
    return paths
