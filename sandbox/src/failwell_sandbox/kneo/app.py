"""
Kneo: specs that are run in environments.

    POST /v1/runs                  runs:write          201, 404, 409, 422, 429, 500, 503
    GET  /v1/runs                  runs:read           200
    GET  /v1/runs/{run_id}         runs:read           200, 404
    POST /v1/runs/{run_id}/cancel  runs:write          200, 404, 409
    GET  /v1/specs                 specs:read          200
    GET  /v1/specs/{spec_id}       specs:read          200, 404
    PATCH /v1/specs/{spec_id}      specs:write         200, 404, 409
    GET  /v1/environments          environments:read   200
    GET  /v1/environments/{id}     environments:read   200, 404
    GET  /livez, /readyz           no key              200, 503

A run is queued, running, and then succeeded, failed or cancelled. Its `version` grows by one
with each change; a change may ask, with `If-Match` or a `version` member, that nobody else
changed it meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from failwell.answer import Answer
from failwell.failure import Failure, FieldError
from failwell.service import (
    Exchange,
    KeyFormat,
    Limit,
    Operation,
    Refusal,
    RefusedRequest,
    Service,
    SQLiteStore,
    exchange_of,
    install,
    json_body,
    routes_for,
)
from failwell_sandbox import ledger
from failwell_sandbox.answers import json_answer, loaded, moment, respond
from failwell_sandbox.kneo.specs import SPECS, Spec, StepError
from failwell_sandbox.worker import Worker
from kneo_client import CONTRACT

KEYS = KeyFormat("kneo_", lengths=(40,), challenge='Bearer realm="kneo"')
SCOPES = ("runs:read", "runs:write", "specs:read", "specs:write", "environments:read")
TENANTS = ("acme", "globex", "initech")
LIMIT = Limit(60_000, 60.0)
STRANGER_LIMIT = Limit(60_000, 60.0)

SCHEMA = (
    ledger.SCHEMA
    + """
CREATE TABLE IF NOT EXISTS runs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    spec_id TEXT NOT NULL,
    environment_id TEXT NOT NULL,
    name TEXT,
    input TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    version INTEGER NOT NULL DEFAULT 1,
    cost INTEGER NOT NULL,
    output TEXT,
    error TEXT,
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL
);
CREATE INDEX IF NOT EXISTS runs_by_tenant ON runs (tenant, seq);
CREATE INDEX IF NOT EXISTS runs_queued ON runs (seq) WHERE status = 'queued';
CREATE TABLE IF NOT EXISTS specs (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS environments (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('ready', 'disabled'))
) WITHOUT ROWID;
INSERT OR IGNORE INTO environments VALUES
    ('env_production', 'Production', 'ready'),
    ('env_staging', 'Staging', 'ready'),
    ('env_retired', 'Retired', 'disabled');
"""
)

_RUN = (
    "id, spec_id, environment_id, name, input, status, version, cost, output, error, "
    "created_at, started_at, finished_at"
)


class NewRun(BaseModel):
    """The body of `POST /v1/runs`."""

    spec_id: str = Field(min_length=1, max_length=100)
    environment_id: str = Field(min_length=1, max_length=100)
    input: dict[str, Any] = Field(default_factory=dict)
    name: str | None = Field(default=None, max_length=200)


class SpecChange(BaseModel):
    """The body of `PATCH /v1/specs/{spec_id}`."""

    description: str = Field(max_length=1000)
    version: int | None = None


class Kneo:
    """The service's handlers and its worker, around one store."""

    def __init__(self, store: SQLiteStore) -> None:
        self.store = store
        self.worker = Worker(self._run_next, "kneo-runs")
        store.write_blocking(self._seed)
        self.operations = (
            Operation("POST", "/v1/runs", self.create_run, scope="runs:write", idempotent=True,
                      parse=json_body(NewRun)),
            Operation("GET", "/v1/runs", self.list_runs, scope="runs:read"),
            Operation("GET", "/v1/runs/{run_id}", self.get_run, scope="runs:read"),
            # That a run had ended is the outcome of the request, now and when it is repeated.
            Operation("POST", "/v1/runs/{run_id}/cancel", self.cancel_run, scope="runs:write",
                      idempotent=True, final=frozenset({409})),
            Operation("GET", "/v1/specs", self.list_specs, scope="specs:read"),
            Operation("GET", "/v1/specs/{spec_id}", self.get_spec, scope="specs:read"),
            Operation("PATCH", "/v1/specs/{spec_id}", self.change_spec, scope="specs:write",
                      idempotent=True, parse=json_body(SpecChange)),
            Operation("GET", "/v1/environments", self.list_environments, scope="environments:read"),
            Operation("GET", "/v1/environments/{environment_id}", self.get_environment,
                      scope="environments:read"),
            Operation("GET", "/livez", self.livez, public=True, while_draining=True),
            Operation("GET", "/readyz", self.readyz, public=True),
        )  # fmt: skip
        self.service: Service

    def _seed(self, db: sqlite3.Connection) -> None:
        rows = [(spec.id, spec.name, spec.description) for spec in SPECS.values()]
        db.executemany("INSERT OR IGNORE INTO specs (id, name, description) VALUES (?, ?, ?)", rows)
        # What was running when the process ended is run again; steps change nothing outside.
        db.execute("UPDATE runs SET status = 'queued', started_at = NULL WHERE status = 'running'")

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """The worker lives as long as the application."""
        self.worker.start()
        try:
            yield
        finally:
            await self.worker.stop()

    # --- runs ---

    async def create_run(self, request: Request) -> Response:
        """Queue a run."""
        exchange = exchange_of(request)
        new: NewRun = exchange.input
        spec = SPECS.get(new.spec_id)
        if spec is None:
            raise self._missing("spec", new.spec_id)
        self._check_environment(new.environment_id)
        cost = spec.admit(new.input)
        sealed = await self._seal(spec, new.input)
        run_id = f"run_{secrets.token_hex(12)}"

        def insert(db: sqlite3.Connection) -> Answer:
            now = self.store.clock()
            given = json.dumps(sealed)
            db.execute(
                "INSERT INTO runs (id, tenant, spec_id, environment_id, name, input, cost, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (run_id, exchange.tenant, new.spec_id, new.environment_id, new.name, given, cost, now),
            )
            ledger.note_effect(db, exchange, "run.created", run_id, name=new.name, at=now)
            run = _run(_one(db, exchange.tenant, run_id))
            return json_answer(run, 201, {"location": f"/v1/runs/{run_id}", "etag": '"1"'})

        answer = await exchange.commit(insert)
        self.worker.wake()
        return respond(answer)

    async def _seal(self, spec: Spec, given: Mapping[str, Any]) -> dict[str, Any]:
        if not spec.seal:
            return dict(given)
        rounds = given.get("rounds", 1)
        if not isinstance(rounds, int) or not 1 <= rounds <= 50_000_000:
            raise _invalid(("body", "input", "rounds"), "rounds is 1 to 50000000", "out_of_range")
        text = json.dumps(given, sort_keys=True).encode()
        seal = await asyncio.to_thread(hashlib.pbkdf2_hmac, "sha256", text, b"kneo", rounds)
        return {**given, "seal": seal.hex()}

    async def list_runs(self, request: Request) -> Response:
        """The newest runs first, a page at a time."""
        tenant = exchange_of(request).tenant
        limit, before = _paging(request)
        rows = self.store.read(
            # The columns are a constant of this module.
            f"SELECT seq, {_RUN} FROM runs WHERE tenant = ? AND seq < ? ORDER BY seq DESC LIMIT ?",  # noqa: S608
            (tenant, before, limit + 1),
        )
        page = rows[:limit]
        cursor = str(page[-1][0]) if len(rows) > limit else None
        return respond(json_answer({"items": [_run(row[1:]) for row in page], "next_cursor": cursor}))

    async def get_run(self, request: Request) -> Response:
        """One run."""
        row = self._found_run(request)
        return respond(json_answer(_run(row), headers={"etag": f'"{row[6]}"'}))

    async def cancel_run(self, request: Request) -> Response:
        """Stop a run that has not ended."""
        exchange = exchange_of(request)
        run_id = request.path_params["run_id"]
        self._found_run(request)
        expected = _expected_version(request, exchange.body)

        def cancel(db: sqlite3.Connection) -> Answer:
            row = _one(db, exchange.tenant, run_id)
            self._check_version("run", run_id, row[6], expected)
            if row[5] not in ("queued", "running"):
                raise self._conflict(
                    "run_not_cancellable", f"Run {run_id!r} has already {row[5]}.",
                    run_id=run_id, status=row[5],
                )  # fmt: skip
            now = self.store.clock()
            db.execute(
                "UPDATE runs SET status = 'cancelled', version = version + 1, finished_at = ? WHERE id = ?",
                (now, run_id),
            )
            ledger.note_effect(db, exchange, "run.cancelled", run_id, name=row[3], at=now)
            row = _one(db, exchange.tenant, run_id)
            return json_answer(_run(row), headers={"etag": f'"{row[6]}"'})

        return respond(await exchange.commit(cancel))

    def _found_run(self, request: Request) -> tuple[Any, ...]:
        run_id = request.path_params["run_id"]
        rows = self.store.read(
            f"SELECT {_RUN} FROM runs WHERE tenant = ? AND id = ?",  # noqa: S608  # constant columns
            (exchange_of(request).tenant, run_id),
        )
        if not rows:
            raise self._missing("run", run_id)
        found: tuple[Any, ...] = rows[0]
        return found

    async def _run_next(self) -> bool:
        """Carry out the oldest run that is queued."""
        rows = self.store.read(
            "SELECT seq, id, spec_id, input FROM runs WHERE status = 'queued' ORDER BY seq LIMIT 1"
        )
        if not rows:
            return False
        seq, run_id, spec_id, given = rows[0]
        if await self._move(seq, "running", started_at=self.store.clock()):
            await self._carry_out(seq, run_id, SPECS[spec_id], json.loads(given))
        return True

    async def _carry_out(self, seq: int, run_id: str, spec: Spec, given: dict[str, Any]) -> None:
        results: dict[str, Any] = {}
        try:
            for name, step in spec.steps.items():
                work = step(given, results)
                while True:
                    try:
                        next(work)
                    except StopIteration as done:
                        results[name] = done.value
                        break
                    await asyncio.sleep(0)
                    if self._status(seq) != "running":
                        return
        except (StepError, ValueError, TypeError, ArithmeticError) as exc:
            error = {"code": "step_failed", "step": name, "message": str(exc)}
            await self._end(seq, "failed", error=json.dumps(error))
            return
        last = next(reversed(spec.steps))
        await self._end(seq, "succeeded", output=json.dumps(results[last]))

    async def _end(self, seq: int, status: str, **columns: Any) -> None:
        await self._move(seq, status, finished_at=self.store.clock(), **columns)

    async def _move(self, seq: int, status: str, **columns: Any) -> bool:
        """Change a run's status unless somebody cancelled it; whether it was changed."""
        before = "queued" if status == "running" else "running"
        sets = ", ".join(f"{column} = :{column}" for column in columns)
        sql = (
            f"UPDATE runs SET status = :status, version = version + 1, {sets} "  # noqa: S608  # own names
            "WHERE seq = :seq AND status = :before"
        )
        facts = {"status": status, "seq": seq, "before": before, **columns}
        return await self.store.write(lambda db: db.execute(sql, facts).rowcount == 1)

    def _status(self, seq: int) -> str:
        ((status,),) = self.store.read("SELECT status FROM runs WHERE seq = ?", (seq,))
        return str(status)

    # --- specs and environments ---

    async def list_specs(self, request: Request) -> Response:
        """All specs."""
        rows = self.store.read("SELECT id, name, description, version FROM specs ORDER BY id")
        return respond(json_answer({"items": [_spec(row) for row in rows], "next_cursor": None}))

    async def get_spec(self, request: Request) -> Response:
        """One spec."""
        spec_id = request.path_params["spec_id"]
        rows = self.store.read("SELECT id, name, description, version FROM specs WHERE id = ?", (spec_id,))
        if not rows:
            raise self._missing("spec", spec_id)
        return respond(json_answer(_spec(rows[0]), headers={"etag": f'"{rows[0][3]}"'}))

    async def change_spec(self, request: Request) -> Response:
        """Describe a spec in other words, unless somebody else just did."""
        exchange = exchange_of(request)
        spec_id, change = request.path_params["spec_id"], exchange.input
        expected = _if_match(request) or change.version

        def update(db: sqlite3.Connection) -> Answer:
            row = db.execute("SELECT version FROM specs WHERE id = ?", (spec_id,)).fetchone()
            if row is None:
                raise self._missing("spec", spec_id)
            self._check_version("spec", spec_id, row[0], expected)
            db.execute(
                "UPDATE specs SET description = ?, version = version + 1 WHERE id = ?",
                (change.description, spec_id),
            )
            ledger.note_effect(db, exchange, "spec.changed", spec_id, at=self.store.clock())
            row = db.execute("SELECT id, name, description, version FROM specs WHERE id = ?", (spec_id,))
            spec = _spec(row.fetchone())
            return json_answer(spec, headers={"etag": f'"{spec["version"]}"'})

        return respond(await exchange.commit(update))

    async def list_environments(self, request: Request) -> Response:
        """All environments."""
        rows = self.store.read("SELECT id, name, status FROM environments ORDER BY id")
        items = [_environment(row) for row in rows]
        return respond(json_answer({"items": items, "next_cursor": None}))

    async def get_environment(self, request: Request) -> Response:
        """One environment."""
        return respond(json_answer(self._environment(request.path_params["environment_id"])))

    def _environment(self, environment_id: str) -> dict[str, Any]:
        rows = self.store.read("SELECT id, name, status FROM environments WHERE id = ?", (environment_id,))
        if not rows:
            raise self._missing("environment", environment_id)
        return _environment(rows[0])

    def _check_environment(self, environment_id: str) -> None:
        if self._environment(environment_id)["status"] == "disabled":
            raise self._conflict(
                "environment_disabled", f"Environment {environment_id!r} takes no runs any more.",
                environment_id=environment_id,
            )  # fmt: skip

    # --- health ---

    async def livez(self, request: Request) -> Response:
        """The process answers."""
        return respond(json_answer({"status": "ok"}))

    async def readyz(self, request: Request) -> Response:
        """The database answers, too."""
        self.store.read("SELECT 1")
        return respond(json_answer({"status": "ok", "checks": {"database": "ok"}}))

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


def kneo_service(store: SQLiteStore, *, wait: float = 0.0, lease: float = 30.0) -> Service:
    """Kneo behind its gates, on `store`."""
    kneo = Kneo(store)
    app = Starlette(routes=routes_for(kneo.operations), lifespan=kneo.lifespan)
    kneo.service = install(
        app, CONTRACT, store=store, keys=KEYS, operations=kneo.operations,
        limit=LIMIT, stranger_limit=STRANGER_LIMIT, wait=wait, lease=lease,
    )  # fmt: skip
    return kneo.service


def _one(db: sqlite3.Connection, tenant: str, run_id: str) -> tuple[Any, ...]:
    sql = f"SELECT {_RUN} FROM runs WHERE tenant = ? AND id = ?"  # noqa: S608  # constant columns
    row: tuple[Any, ...] = db.execute(sql, (tenant, run_id)).fetchone()
    return row


def _run(row: tuple[Any, ...]) -> dict[str, Any]:
    run_id, spec_id, environment_id, name, given, status, version, cost, output, error, *times = row
    created_at, started_at, finished_at = map(moment, times)
    return {
        "id": run_id, "spec_id": spec_id, "environment_id": environment_id, "name": name,
        "status": status, "version": version, "cost": cost, "input": loaded(given),
        "output": loaded(output), "error": loaded(error), "created_at": created_at,
        "started_at": started_at, "finished_at": finished_at,
    }  # fmt: skip


def _spec(row: tuple[Any, ...]) -> dict[str, Any]:
    spec_id, name, description, version = row
    steps = list(SPECS[spec_id].steps)
    return {"id": spec_id, "name": name, "description": description, "version": version, "steps": steps}


def _environment(row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("id", "name", "status"), row, strict=True))


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


__all__ = ["KEYS", "SCOPES", "TENANTS", "Exchange", "kneo_service"]
