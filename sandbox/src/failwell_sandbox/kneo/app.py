"""
Kneo: specs that are run in environments.

    POST /v1/runs                  runs:write          201, 403, 404, 409, 422, 429, 500, 503
    GET  /v1/runs                  runs:read           200
    GET  /v1/runs/{run_id}         runs:read           200, 404
    POST /v1/runs/{run_id}/cancel  runs:write          200, 404, 409
    POST /v1/specs                 specs:write         201, 409, 422
    GET  /v1/specs                 specs:read          200
    GET  /v1/specs/{spec_id}       specs:read          200, 404
    PUT  /v1/specs/{spec_id}       specs:write         200, 403, 404, 409, 422
    POST /v1/environments          environments:write  201, 409
    GET  /v1/environments          environments:read   200
    GET  /v1/environments/{id}     environments:read   200, 404
    GET  /livez, /readyz           no key              200, 503
    GET  /openapi.json             no key              200

A run is queued, running, and then succeeded, failed or cancelled. Runs and specs have a
`version` that grows by one with each change; a change may ask, with `If-Match` or a `version`
member, that nobody else changed the thing meanwhile. Lists are newest first. What belongs to
the platform, and not to a tenant, is seen by all and changed by none.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from failwell.answer import Answer
from failwell.failure import Failure, FieldError
from failwell.service import (
    Endpoints,
    KeyFormat,
    Limit,
    Operation,
    Refusal,
    RefusedRequest,
    Service,
    Store,
    StoreBusyError,
    exchange_of,
    install,
    json_body,
)
from failwell.service.openapi import openapi_operation
from failwell_sandbox import effects, ledger
from failwell_sandbox.answers import Line, json_answer, loaded, moment, respond
from failwell_sandbox.database import Connection, Database, DuplicateError
from failwell_sandbox.effects import carry_out, level_of
from failwell_sandbox.health import livez, readyz_of
from failwell_sandbox.kneo.specs import ADMISSION, PLATFORM_SPECS, STEPS, StepError, fault_in
from failwell_sandbox.worker import Worker
from kneo_client import CONTRACT, KneoConflictError, KneoNotFoundError, KneoPermissionError

if TYPE_CHECKING:
    from failwell.service.idempotency import Level

KEYS = KeyFormat("kneo_", lengths=(40,), challenge='Bearer realm="kneo"')
SCOPES = (
    "runs:read",
    "runs:write",
    "specs:read",
    "specs:write",
    "environments:read",
    "environments:write",
)
TENANTS = ("acme", "globex", "initech")
LIMIT = Limit(60_000, 60.0)
STRANGER_LIMIT = Limit(60_000, 60.0)

# Runs at once: a long one must not keep the short ones waiting.
WORKERS = 4

# Between two looks whether a run is still wanted, seconds.
LOOK_EVERY = 0.05

SCHEMA = (
    ledger.SCHEMA
    + effects.SCHEMA
    + """
CREATE TABLE IF NOT EXISTS runs (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    spec_id TEXT NOT NULL,
    environment_id TEXT NOT NULL,
    definition TEXT NOT NULL,      -- as it was when the run was created
    input TEXT NOT NULL,
    metadata TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    version INTEGER NOT NULL DEFAULT 1,
    cost INTEGER NOT NULL,
    output TEXT,
    error TEXT,
    created_at DOUBLE PRECISION NOT NULL,
    started_at DOUBLE PRECISION,
    finished_at DOUBLE PRECISION,
    holder TEXT,                   -- who carries it out, and until when without news of it
    held_until DOUBLE PRECISION
);
CREATE INDEX IF NOT EXISTS runs_by_tenant ON runs (tenant, seq);
CREATE INDEX IF NOT EXISTS runs_open ON runs (seq) WHERE status IN ('queued', 'running');
CREATE TABLE IF NOT EXISTS specs (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,          -- '' is the platform
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 1,
    created_at DOUBLE PRECISION NOT NULL,
    updated_at DOUBLE PRECISION,
    UNIQUE (tenant, name)
);
CREATE TABLE IF NOT EXISTS environments (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,          -- '' is the platform
    name TEXT NOT NULL,
    variables TEXT NOT NULL DEFAULT '{}',
    status TEXT NOT NULL DEFAULT 'ready' CHECK (status IN ('ready', 'retired')),
    created_at DOUBLE PRECISION NOT NULL,
    UNIQUE (tenant, name)
);
"""
)

# Where a run runs that does not say.
DEFAULT_ENVIRONMENT = "env_default"

# Everybody's: id, name, status.
PLATFORM_ENVIRONMENTS = (
    (DEFAULT_ENVIRONMENT, "default", "ready"),
    ("env_staging", "staging", "ready"),
    ("env_retired", "retired", "retired"),
)

_RUN = (
    "id, spec_id, environment_id, input, metadata, status, version, cost, output, error, "
    "created_at, started_at, finished_at"
)
# What a worker may take: what waits, and what another one has left behind.
_OPEN = "(status = 'queued' OR (status = 'running' AND held_until <= {now}))"

_TAKE = f"""
UPDATE runs SET status = 'running', version = version + 1, started_at = {{now}},
                holder = ?, held_until = {{now}} + ?
WHERE seq = (SELECT seq FROM runs WHERE {_OPEN} ORDER BY seq LIMIT 1 {{skip_locked}})
RETURNING seq, definition, input
"""  # noqa: S608  # constant words

_OURS = "WHERE seq = ? AND holder = ? AND status = 'running'"

_RENEW = f"UPDATE runs SET held_until = {{now}} + ? {_OURS}"  # noqa: S608  # constant words

_GIVE_BACK = f"UPDATE runs SET status = 'queued', started_at = NULL, holder = NULL {_OURS}"  # noqa: S608  # constant words

_END = f"""
UPDATE runs SET status = ?, version = version + 1, output = ?, error = ?, finished_at = {{now}} {_OURS}
"""  # noqa: S608  # constant words

_SPEC = "id, name, definition, version, created_at, updated_at, tenant"
_ENVIRONMENT = "id, name, variables, status, created_at"


_NEW_RUN = f"""
INSERT INTO runs (id, tenant, spec_id, environment_id, definition, input, metadata, cost, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, {{now}}) RETURNING {_RUN}
"""  # noqa: S608  # constant words

_NEW_SPEC = f"""
INSERT INTO specs (id, tenant, name, definition, created_at) VALUES (?, ?, ?, ?, {{now}}) RETURNING {_SPEC}
"""  # noqa: S608  # constant words

_NEW_ENVIRONMENT = f"""
INSERT INTO environments (id, tenant, name, variables, created_at)
VALUES (?, ?, ?, ?, {{now}}) RETURNING {_ENVIRONMENT}
"""  # noqa: S608  # constant words

# What the handlers raise, by what is wrong.
_NO_RUN = ((KneoNotFoundError, "run_not_found"),)
_NO_SPEC = ((KneoNotFoundError, "spec_not_found"),)
_NO_ENVIRONMENT = ((KneoNotFoundError, "environment_not_found"),)
_RETIRED = (KneoConflictError, "environment_retired")
_ENDED = (KneoConflictError, "run_not_cancellable")
_OTHER_VERSION = (KneoConflictError, "version_mismatch")
_NAME_TAKEN = (KneoConflictError, "name_taken")
_READ_ONLY = (KneoPermissionError, "read_only")
_NO_PAGE = ("validation_failed",)
_NO_BODY = ("bad_request", "malformed_json", "validation_failed")


class NewRun(BaseModel):
    """The body of `POST /v1/runs`."""

    spec_id: str = Field(min_length=1, max_length=100)
    environment_id: str = Field(default=DEFAULT_ENVIRONMENT, min_length=1, max_length=100)
    input: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)


class NewSpec(BaseModel):
    """The body of `POST /v1/specs`."""

    name: Line = Field(min_length=1, max_length=100)
    definition: dict[str, Any]


class ChangedSpec(NewSpec):
    """The body of `PUT /v1/specs/{spec_id}`."""

    version: int | None = None


class NewEnvironment(BaseModel):
    """The body of `POST /v1/environments`."""

    name: Line = Field(min_length=1, max_length=100)
    variables: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """
    A run that is being carried out.

    Attributes:
        seq: Its row.
        holder: Who does it: nobody else's news of it count.
        steps: What is to be done.
        given: With what.
    """

    seq: int
    holder: str
    steps: list[str]
    given: dict[str, Any]


class Kneo:
    """
    The service's handlers and its workers, around its database.

    Args:
        database: Specs, environments and runs.
        level: At which requests are repeatable.
        lease: Seconds after which a run is taken over, if nothing is heard of who carries it out.
    """

    def __init__(self, database: Database, level: Level, lease: float) -> None:
        self.database = database
        self.lease = lease
        self.workers = [Worker(self._run_next, f"kneo-runs-{n}") for n in range(WORKERS)]
        self.operations = (
            Operation("POST", "/v1/runs", self.create_run, scope="runs:write", idempotency=level,
                      parse=json_body(NewRun), raises=(*_NO_SPEC, *_NO_ENVIRONMENT, _RETIRED)),
            Operation("GET", "/v1/runs", self.list_runs, scope="runs:read", raises=_NO_PAGE),
            Operation("GET", "/v1/runs/{run_id}", self.get_run, scope="runs:read", raises=_NO_RUN),
            # That a run had ended is the outcome of the request, now and when it is repeated.
            Operation("POST", "/v1/runs/{run_id}/cancel", self.cancel_run, scope="runs:write",
                      idempotency=level, final=frozenset({409}),
                      raises=(*_NO_RUN, _OTHER_VERSION, _ENDED, *_NO_BODY)),
            Operation("POST", "/v1/specs", self.create_spec, scope="specs:write", idempotency=level,
                      parse=json_body(NewSpec), raises=(_NAME_TAKEN,)),
            Operation("GET", "/v1/specs", self.list_specs, scope="specs:read", raises=_NO_PAGE),
            Operation("GET", "/v1/specs/{spec_id}", self.get_spec, scope="specs:read", raises=_NO_SPEC),
            Operation("PUT", "/v1/specs/{spec_id}", self.change_spec, scope="specs:write", idempotency=level,
                      parse=json_body(ChangedSpec),
                      raises=(*_NO_SPEC, _READ_ONLY, _OTHER_VERSION, _NAME_TAKEN)),
            Operation("POST", "/v1/environments", self.create_environment, scope="environments:write",
                      idempotency=level, parse=json_body(NewEnvironment), raises=(_NAME_TAKEN,)),
            Operation("GET", "/v1/environments", self.list_environments, scope="environments:read",
                      raises=_NO_PAGE),
            Operation("GET", "/v1/environments/{environment_id}", self.get_environment,
                      scope="environments:read", raises=_NO_ENVIRONMENT),
            Operation("GET", "/livez", livez, public=True, while_draining=True),
            Operation("GET", "/readyz", readyz_of(self.database), public=True),
            openapi_operation(),
        )  # fmt: skip
        self.service: Service

    @asynccontextmanager
    async def lifespan(self, _app: Endpoints) -> AsyncIterator[None]:
        """The workers live as long as the application."""
        for worker in self.workers:
            worker.start()
        try:
            yield
        finally:
            for worker in self.workers:
                await worker.stop()

    # --- runs ---

    async def create_run(self, request: Request) -> Response:
        """Queue a run."""
        exchange = exchange_of(request)
        new: NewRun = exchange.input
        definition = (await self._found("spec", _SPEC, exchange.tenant, new.spec_id))[2]
        await self._check_ready(exchange.tenant, new.environment_id)
        cost = await self._admitted(json.loads(definition), new.input)
        run_id = f"run_{secrets.token_hex(12)}"
        name = new.metadata.get("name")

        def insert(db: Connection) -> Answer:
            (row,) = db.rows(
                _NEW_RUN, run_id, exchange.tenant, new.spec_id, new.environment_id, definition,
                json.dumps(new.input), json.dumps(new.metadata), cost,
            )  # fmt: skip
            ledger.note_effect(db, exchange, "run.created", run_id, name=None if name is None else str(name))
            return json_answer(_run(row), 201, {"location": f"/v1/runs/{run_id}", "etag": '"1"'})

        answer = await carry_out(exchange, self.database, insert)
        for worker in self.workers:
            worker.wake()
        return respond(answer)

    async def _admitted(self, definition: dict[str, Any], given: dict[str, Any]) -> int:
        """What the run will cost, if its input passes the checks of its spec."""
        cost = len(definition["steps"])
        for check in definition.get("admission", ()):
            try:
                cost += await asyncio.to_thread(ADMISSION[check], given)
            except StepError as exc:
                raise _invalid(("body", "input"), str(exc), f"{check}_refused") from exc
        return cost

    async def list_runs(self, request: Request) -> Response:
        """The newest runs first, a page at a time."""
        return await self._page(
            request, "runs", _RUN, _run, status=request.query_params.get("status"),
            spec_id=request.query_params.get("spec_id"),
        )  # fmt: skip

    async def get_run(self, request: Request) -> Response:
        """One run."""
        row = await self._found("run", _RUN, exchange_of(request).tenant, request.path_params["run_id"])
        return respond(json_answer(_run(row), headers={"etag": f'"{row[6]}"'}))

    async def cancel_run(self, request: Request) -> Response:
        """Stop a run that has not ended."""
        exchange = exchange_of(request)
        run_id = request.path_params["run_id"]
        await self._found("run", _RUN, exchange.tenant, run_id)
        expected = _expected_version(request, exchange.body)

        def cancel(db: Connection) -> Answer:
            row = self._row(db, "run", _RUN, exchange.tenant, run_id)
            self._check_version("run", run_id, row[6], expected)
            if row[5] not in ("queued", "running"):
                raise self._conflict(
                    "run_not_cancellable", f"Run {run_id!r} has already {row[5]}.",
                    run_id=run_id, status=row[5],
                )  # fmt: skip
            db.execute(
                "UPDATE runs SET status = 'cancelled', version = version + 1, finished_at = {now} "
                "WHERE id = ?",
                run_id,
            )
            ledger.note_effect(db, exchange, "run.cancelled", run_id)
            row = self._row(db, "run", _RUN, exchange.tenant, run_id)
            return json_answer(_run(row), headers={"etag": f'"{row[6]}"'})

        return respond(await carry_out(exchange, self.database, cancel))

    async def _run_next(self) -> bool:
        """Carry out the oldest run that is queued, or that its worker left behind."""
        if not await self.database.read(f"SELECT 1 FROM runs WHERE {_OPEN} LIMIT 1"):  # noqa: S608  # constant words
            return False
        taken = await self.database.write(self._take)
        if taken is None:
            return False
        try:
            await self._carry_out(taken)
        except asyncio.CancelledError:
            # This process ends: another one need not wait for the lease.
            with suppress(StoreBusyError):
                await self.database.write(lambda db: db.execute(_GIVE_BACK, taken.seq, taken.holder))
            raise
        return True

    def _take(self, db: Connection) -> Taken | None:
        holder = secrets.token_hex(8)
        for seq, definition, given in db.rows(_TAKE, holder, self.lease):
            return Taken(seq, holder, json.loads(definition)["steps"], json.loads(given))
        return None

    async def _carry_out(self, run: Taken) -> None:
        loop = asyncio.get_running_loop()
        results: dict[str, Any] = {}
        looked = renewed = loop.time()
        for name in run.steps:
            work = STEPS[name](run.given, results)
            while True:
                try:
                    next(work)
                except StopIteration as done:
                    results[name] = done.value
                    break
                except (StepError, ValueError, TypeError, ArithmeticError) as exc:
                    error = {"code": "step_failed", "step": name, "message": str(exc)}
                    await self._end(run, "failed", error=error)
                    return
                await asyncio.sleep(0)
                now = loop.time()
                if now - looked < LOOK_EVERY:
                    continue
                looked = now
                if not await self._still_ours(run):
                    return
                if now - renewed > self.lease / 3:
                    await self.database.write(lambda db: db.execute(_RENEW, self.lease, run.seq, run.holder))
                    renewed = now
        await self._end(run, "succeeded", output=results[run.steps[-1]])

    async def _still_ours(self, run: Taken) -> bool:
        """Whether nobody has cancelled the run, or taken it over from us."""
        return bool(await self.database.read(f"SELECT 1 FROM runs {_OURS}", run.seq, run.holder))  # noqa: S608  # constant words

    async def _end(self, run: Taken, status: str, *, output: Any = None, error: Any = None) -> None:
        """Write down what became of a run, unless it is no longer ours to say."""
        said = [None if value is None else json.dumps(value) for value in (output, error)]
        await self.database.write(lambda db: db.execute(_END, status, *said, run.seq, run.holder))

    # --- specs and environments ---

    async def create_spec(self, request: Request) -> Response:
        """A spec of the tenant's own."""
        exchange = exchange_of(request)
        new: NewSpec = exchange.input
        _check_definition(new.definition)
        spec_id = f"spec_{secrets.token_hex(12)}"

        def insert(db: Connection) -> Answer:
            with self._unique("spec", new.name):
                (row,) = db.rows(
                    _NEW_SPEC, spec_id, exchange.tenant, new.name, json.dumps(new.definition),
                )  # fmt: skip
            ledger.note_effect(db, exchange, "spec.created", spec_id, name=new.name)
            return json_answer(_spec(row), 201, {"location": f"/v1/specs/{spec_id}", "etag": '"1"'})

        return respond(await carry_out(exchange, self.database, insert))

    async def list_specs(self, request: Request) -> Response:
        """The tenant's and the platform's specs."""
        return await self._page(request, "specs", _SPEC, _spec)

    async def get_spec(self, request: Request) -> Response:
        """One spec."""
        row = await self._found("spec", _SPEC, exchange_of(request).tenant, request.path_params["spec_id"])
        return respond(json_answer(_spec(row), headers={"etag": f'"{row[3]}"'}))

    async def change_spec(self, request: Request) -> Response:
        """Replace a spec, unless somebody else just did."""
        exchange = exchange_of(request)
        change: ChangedSpec = exchange.input
        spec_id = request.path_params["spec_id"]
        _check_definition(change.definition)
        expected = _if_match(request) or change.version

        def update(db: Connection) -> Answer:
            row = self._row(db, "spec", _SPEC, exchange.tenant, spec_id)
            if row[6] == "":
                raise self.service.error(
                    Failure(status=403, code="read_only", message="The platform's specs cannot be changed.")
                )
            self._check_version("spec", spec_id, row[3], expected)
            with self._unique("spec", change.name):
                db.execute(
                    "UPDATE specs SET name = ?, definition = ?, version = version + 1, updated_at = {now} "
                    "WHERE id = ?",
                    change.name,
                    json.dumps(change.definition),
                    spec_id,
                )
            ledger.note_effect(db, exchange, "spec.changed", spec_id, name=change.name)
            row = self._row(db, "spec", _SPEC, exchange.tenant, spec_id)
            return json_answer(_spec(row), headers={"etag": f'"{row[3]}"'})

        return respond(await carry_out(exchange, self.database, update))

    async def create_environment(self, request: Request) -> Response:
        """An environment of the tenant's own."""
        exchange = exchange_of(request)
        new: NewEnvironment = exchange.input
        environment_id = f"env_{secrets.token_hex(12)}"

        def insert(db: Connection) -> Answer:
            with self._unique("environment", new.name):
                (row,) = db.rows(
                    _NEW_ENVIRONMENT, environment_id, exchange.tenant, new.name, json.dumps(new.variables),
                )  # fmt: skip
            ledger.note_effect(db, exchange, "environment.created", environment_id, name=new.name)
            return json_answer(_environment(row), 201, {"location": f"/v1/environments/{environment_id}"})

        return respond(await carry_out(exchange, self.database, insert))

    async def list_environments(self, request: Request) -> Response:
        """The tenant's and the platform's environments."""
        return await self._page(request, "environments", _ENVIRONMENT, _environment)

    async def get_environment(self, request: Request) -> Response:
        """One environment."""
        environment_id = request.path_params["environment_id"]
        row = await self._found("environment", _ENVIRONMENT, exchange_of(request).tenant, environment_id)
        return respond(json_answer(_environment(row)))

    async def _check_ready(self, tenant: str, environment_id: str) -> None:
        if (await self._found("environment", _ENVIRONMENT, tenant, environment_id))[3] == "retired":
            raise self._conflict(
                "environment_retired", f"Environment {environment_id!r} takes no runs any more.",
                environment_id=environment_id,
            )  # fmt: skip

    # --- rows ---

    # Tables and columns in these statements are constants of this module, never a client's words.

    async def _found(self, kind: str, columns: str, tenant: str, sought: str) -> Sequence[Any]:
        """A row that the tenant may see, read outside any transaction."""
        rows = await self.database.read(_one_of(kind, columns), tenant, sought)
        if not rows:
            raise self._missing(kind, sought)
        found: Sequence[Any] = rows[0]
        return found

    def _row(self, db: Connection, kind: str, columns: str, tenant: str, sought: str) -> Sequence[Any]:
        """The same within the transaction of `db`, which may go on to change it."""
        rows = db.rows(_one_of(kind, columns) + " {for_update}", tenant, sought)
        if not rows:
            raise self._missing(kind, sought)
        row: Sequence[Any] = rows[0]
        return row

    async def _page(
        self,
        request: Request,
        table: str,
        columns: str,
        item: Callable[[Sequence[Any]], dict[str, Any]],
        **filters: str | None,
    ) -> Response:
        limit, before = _paging(request)
        wanted = {name: value for name, value in filters.items() if value is not None}
        where = "".join(f" AND {name} = ?" for name in wanted)
        rows = await self.database.read(
            f"SELECT seq, {columns} FROM {table} WHERE tenant IN (?, '') AND seq < ?{where} "  # noqa: S608  # values are bound
            "ORDER BY seq DESC LIMIT ?",
            exchange_of(request).tenant, before, *wanted.values(), limit + 1,
        )  # fmt: skip
        page = rows[:limit]
        cursor = str(page[-1][0]) if len(rows) > limit else None
        return respond(json_answer({"items": [item(row[1:]) for row in page], "next_cursor": cursor}))

    @contextmanager
    def _unique(self, kind: str, name: str) -> Iterator[None]:
        try:
            yield
        except DuplicateError as exc:
            raise self._conflict(
                "name_taken", f"There is a {kind} named {name!r} already.", name=name
            ) from exc

    # --- failures ---

    def _missing(self, kind: str, sought: str) -> Exception:
        return self.service.error(
            Failure(
                status=404, code=f"{kind}_not_found", message=f"No {kind} has the id {sought!r}.",
                details={f"{kind}_id": sought},
            )
        )  # fmt: skip

    def _conflict(self, code: str, message: str, **details: Any) -> Exception:
        return self.service.error(Failure(status=409, code=code, message=message, details=details))

    def _check_version(self, kind: str, sought: str, version: int, expected: int | None) -> None:
        if expected is None or version == expected:
            return
        # RFC 9110 has 412 for If-Match; Kneo's own document has 409 for a failed optimistic lock.
        raise self._conflict(
            "version_mismatch", f"The {kind} was changed meanwhile: it is at version {version}.",
            expected=expected, version=version, **{f"{kind}_id": sought},
        )  # fmt: skip


def seed(database: Database) -> None:
    """What belongs to the platform, for all tenants to see."""

    def insert(db: Connection) -> None:
        for spec_id, name, definition in PLATFORM_SPECS:
            db.execute(
                "INSERT INTO specs (id, tenant, name, definition, created_at) VALUES (?, '', ?, ?, {now}) "
                "ON CONFLICT DO NOTHING",
                spec_id, name, json.dumps(definition),
            )  # fmt: skip
        for environment_id, name, status in PLATFORM_ENVIRONMENTS:
            db.execute(
                "INSERT INTO environments (id, tenant, name, status, created_at) VALUES (?, '', ?, ?, {now}) "
                "ON CONFLICT DO NOTHING",
                environment_id, name, status,
            )  # fmt: skip

    database.write_blocking(insert)


def kneo_service(store: Store, database: Database, *, wait: float = 0.0, lease: float = 30.0) -> Service:
    """Kneo behind its gates: keys, limits and records in `store`, its tables in `database`."""
    kneo = Kneo(database, level_of(store, database), lease)
    app = Endpoints(lifespan=kneo.lifespan)
    kneo.service = install(
        app, CONTRACT, store=store, keys=KEYS, operations=kneo.operations,
        limit=LIMIT, stranger_limit=STRANGER_LIMIT, wait=wait, lease=lease,
    )  # fmt: skip
    return kneo.service


def _one_of(kind: str, columns: str) -> str:
    return f"SELECT {columns} FROM {kind}s WHERE tenant IN (?, '') AND id = ?"  # noqa: S608  # names from the handlers


def _run(row: Sequence[Any]) -> dict[str, Any]:
    run_id, spec_id, environment_id, given, metadata, status, version, cost, output, error, *times = row
    created_at, started_at, finished_at = map(moment, times)
    return {
        "id": run_id, "spec_id": spec_id, "environment_id": environment_id, "status": status,
        "version": version, "cost": cost, "input": loaded(given), "output": loaded(output),
        "error": loaded(error), "metadata": loaded(metadata), "created_at": created_at,
        "started_at": started_at, "finished_at": finished_at,
    }  # fmt: skip


def _spec(row: Sequence[Any]) -> dict[str, Any]:
    spec_id, name, definition, version, created_at, updated_at, _tenant = row
    return {
        "id": spec_id, "name": name, "version": version, "definition": loaded(definition),
        "created_at": moment(created_at), "updated_at": moment(updated_at),
    }  # fmt: skip


def _environment(row: Sequence[Any]) -> dict[str, Any]:
    environment_id, name, variables, status, created_at = row
    return {
        "id": environment_id, "name": name, "variables": loaded(variables), "status": status,
        "created_at": moment(created_at),
    }  # fmt: skip


def _check_definition(definition: dict[str, Any]) -> None:
    fault = fault_in(definition)
    if fault is not None:
        where, why = fault
        raise _invalid(("body", "definition", *where), why, "definition")


def _paging(request: Request) -> tuple[int, int]:
    """The page's size and where it begins: below this row."""
    limit = _integer(request, "limit", 20, 1, 100)
    return limit, _integer(request, "cursor", 2**62, 0, 2**62)


def _integer(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise _invalid(("query", name), f"{name} is a number from {least} to {most}", "out_of_range")
    return int(text)


def _expected_version(request: Request, body: bytes) -> int | None:
    """The version a change asks for: in `If-Match`, or as a member of the body."""
    expected = _if_match(request)
    if expected is not None or not body:
        return expected
    return json_body(_Versioned)(body).version


class _Versioned(BaseModel):
    version: int | None = None


def _if_match(request: Request) -> int | None:
    tag = request.headers.get("if-match")
    if tag is None or tag.strip() == "*":
        return None
    bare = tag.strip().strip('"')
    # A tag of ours is a number; another one cannot match, and version -1 never does.
    return int(bare) if bare.isascii() and bare.isdigit() and len(bare) < 19 else -1


def _invalid(path: tuple[str | int, ...], message: str, code: str) -> RefusedRequest:
    return RefusedRequest(Refusal("validation_failed", fields=(FieldError(path, message, code),)))
