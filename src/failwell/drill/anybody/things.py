"""
A small real service for anybody's client: things with a name, kept in SQLite, in four dialects.

`/things` is what a team's own API looks like. The others are a real resource each of three APIs
whose SDKs can be pointed at it, one that needs nothing but a place to be kept in: OpenAI's vector
store without files, Anthropic's memory store without memories, Stripe's customer. A thing that is
made through one can be read through any. An `Idempotency-Key` is honoured by all four, in one
transaction with the thing.

Needs uvicorn and starlette (`failwell[service]`), loaded when it is started.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.errors import NotFoundError, UsageError
from failwell.failure import Failure, FieldError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from failwell.service import Operation, Service, SQLiteStore

# Opens a database that is made for one drill on loopback and removed after it.
KEY = "drill_5rWk2QmZ8nXc4VbT7yHj9LpS1dFg3AeU"
SCHEMA = """
CREATE TABLE IF NOT EXISTS things (id TEXT PRIMARY KEY, name TEXT NOT NULL, made INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS things_by_name ON things (name);
"""

Thing = tuple[str, str, int]  # id, name, unix seconds


@dataclass(frozen=True, slots=True)
class Dialect:
    """
    How one API speaks of a thing.

    Attributes:
        path: Where it makes things; one is read at `path/id`.
        prefix: What the ids of new ones begin with.
        status: Of the answer to one that was made.
        shown: The thing as the API's JSON.
        form: Whether a request's body is a form instead of JSON.
    """

    path: str
    prefix: str
    status: int
    shown: Callable[[Thing], dict[str, Any]]
    form: bool = False


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _plain(thing: Thing) -> dict[str, Any]:
    return {"id": thing[0], "name": thing[1], "made": _iso(thing[2])}


def _vector_store(thing: Thing) -> dict[str, Any]:
    counts = dict.fromkeys(("in_progress", "completed", "failed", "cancelled", "total"), 0)
    return {
        "id": thing[0], "object": "vector_store", "created_at": thing[2], "name": thing[1], "usage_bytes": 0,
        "file_counts": counts, "status": "completed", "expires_after": None, "expires_at": None,
        "last_active_at": thing[2], "metadata": {},
    }  # fmt: skip


def _memory_store(thing: Thing) -> dict[str, Any]:
    return {
        "id": thing[0], "type": "memory_store", "name": thing[1], "description": "", "metadata": {},
        "created_at": _iso(thing[2]), "updated_at": _iso(thing[2]), "archived_at": None,
    }  # fmt: skip


def _customer(thing: Thing) -> dict[str, Any]:
    return {
        "id": thing[0], "object": "customer", "created": thing[2], "name": thing[1], "email": None,
        "balance": 0, "livemode": False, "metadata": {},
    }  # fmt: skip


DIALECTS = (
    Dialect("/things", "thing_", 201, _plain),
    Dialect("/v1/vector_stores", "vs_", 200, _vector_store),
    Dialect("/v1/customers", "cus_", 200, _customer, form=True),
    Dialect("/v1/memory_stores", "memstore_", 200, _memory_store),
)


class Things:
    """The service, and its ledger: the things themselves, found by their names."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None

    def put(self, marker: str) -> None:
        """Put a thing there, whose id and name are `marker`, for a client to read."""
        with self._lock:
            if self._db is not None:
                self._db.execute(
                    "INSERT OR IGNORE INTO things VALUES (?, ?, ?)", (marker, marker, int(time.time()))
                )
                self._db.commit()

    def ids_of(self, marker: str) -> list[str] | None:
        """Ids of the things called `marker`; None if the service does not run."""
        with self._lock:
            if self._db is None:
                return None
            rows = self._db.execute("SELECT id FROM things WHERE name = ? ORDER BY made, id", (marker,))
            return [row[0] for row in rows]

    @contextmanager
    def running(self) -> Iterator[str]:
        """
        Serve on loopback; gives the base URL.

        Raises:
            UsageError: uvicorn or starlette is not installed.
        """
        for module in ("uvicorn", "starlette"):
            if find_spec(module) is None:
                raise UsageError(
                    f"the drill's service needs {module}: pip install 'failwell[service]' uvicorn"
                )
        with tempfile.TemporaryDirectory(prefix="failwell-things-") as folder:
            file = Path(folder, "things.db")
            with (
                _service(file) as service,
                closing(sqlite3.connect(file, check_same_thread=False)) as db,
                _served(service) as url,
            ):
                db.execute("PRAGMA synchronous = OFF")
                self._db = db
                try:
                    yield url
                finally:
                    with self._lock:
                        self._db = None


@contextmanager
def _served(service: Service) -> Iterator[str]:
    """`service` on a free port of loopback, in a thread with an event loop, until the block ends."""
    import uvicorn

    config = uvicorn.Config(
        service, http="h11", ws="none", loop="asyncio", lifespan="off", access_log=False, log_config=None,
        log_level=logging.WARNING, server_header=False, timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = uvicorn.Server(config)
    # With its protocol named, asyncio turns Nagle's delay off.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(128)  # from here on a client is let in
        serving = server.serve(sockets=[sock])
        thread = threading.Thread(target=asyncio.run, args=(serving,), name="drill-things", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _service(file: Path) -> Iterator[Service]:
    """The service behind its gates, on a new database in `file`."""
    from failwell.service import Endpoints, KeyFormat, SQLiteStore, install, stored

    keys = KeyFormat("drill_")
    with closing(SQLiteStore(file, schema=SCHEMA, durable=False)) as store:
        store.add_keys([stored(KEY, keys, tenant="drill")])
        operations = [operation for dialect in DIALECTS for operation in _operations(dialect, store)]
        # Whoever meets another with the same key waits for it: there is no work that takes longer.
        yield install(Endpoints(), STANDARD, operations=operations, store=store, keys=keys, wait=5.0)


def _operations(dialect: Dialect, store: SQLiteStore) -> list[Operation]:
    from starlette.responses import Response

    from failwell.service import Operation, exchange_of

    def rendered(answer: Answer) -> Response:
        return Response(answer.body, answer.status, dict(answer.headers))

    async def make(request: Request) -> Response:
        exchange = exchange_of(request)
        thing = (dialect.prefix + secrets.token_hex(12), exchange.input, int(time.time()))

        def effect(db: sqlite3.Connection) -> Answer:
            db.execute("INSERT INTO things VALUES (?, ?, ?)", thing)
            return _json(dialect.status, dialect.shown(thing))

        return rendered(await exchange.commit(effect))

    async def read(request: Request) -> Response:
        return rendered(_json(200, dialect.shown(_found(store, request.path_params["id"]))))

    return [
        Operation(
            "POST",
            dialect.path,
            make,
            idempotency="transactional",
            parse=_name_in_form if dialect.form else _name_in_json,
        ),
        Operation("GET", dialect.path + "/{id}", read, raises=(NotFoundError,)),
    ]


def _found(store: SQLiteStore, thing_id: str) -> Thing:
    for row in store.read("SELECT id, name, made FROM things WHERE id = ?", (thing_id,)):
        return row[0], row[1], row[2]
    message = f"There is nothing with the id {thing_id}."
    raise NotFoundError(message, failure=Failure(status=404, code="not_found", message=message))


def _name_in_form(body: bytes) -> str:
    return _name_of({name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()})


def _name_in_json(body: bytes) -> str:
    try:
        return _name_of(json.loads(body))
    except ValueError:
        return _name_of(None)


def _name_of(sent: Any) -> str:
    from failwell.service import Refusal, RefusedRequest

    name = sent.get("name") if isinstance(sent, dict) else None
    if not isinstance(name, str) or not name:
        missing = FieldError(("body", "name"), "a text is required", "required")
        raise RefusedRequest(Refusal("validation_failed", fields=(missing,)))
    return name


def _json(status: int, value: dict[str, Any]) -> Answer:
    return Answer(status, {"content-type": "application/json"}, json.dumps(value))
