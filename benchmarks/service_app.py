"""
One side of the comparison in `service.py`: an application served by uvicorn on loopback.

    python benchmarks/service_app.py SIDE --store URL [--workers N] [--cpu N] [--not-durable]

prints its ports and then the processes of several workers in one line, and serves until its
standard input ends. Each worker listens on a port of its own: of one that they share, whoever wakes
up first takes most of the connections, and a service is faster or slower by chance. A side is a way to answer
`POST /things`, which inserts a row, `GET /things/{id}`, which reads one from SQLite, and
`GET /things`, which needs none:

    plain       Starlette alone; SQLite right on the event loop, PostgreSQL by `AsyncConnection`s
    threads     Starlette alone; SQLite in Starlette's pool of threads, as a `def` handler has it
    transaction Starlette alone; PostgreSQL with BEGIN, INSERT and COMMIT
    endpoints   the same behind all gates, `transactional`; `resumable` where the store is Redis
    wrapped     the same, with a Starlette application's routes and middlewares in between

Both sides parse the same body, run the same INSERT and answer the same bytes with the same
status; both are served by uvicorn with httptools and uvloop, and without its access log.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from machine import pin

KEY = "bench_0123456789abcdefghijklmnopqrstuv"
JSON = {"content-type": "application/json"}
THING = b'{"id":1,"object":"thing","name":"lamp","count":3,"tags":["a","b"],"live":true}'
SELECT = "SELECT name, count FROM things WHERE tenant = ? AND id = ?"
CONNECTIONS = 4  # to PostgreSQL, of each worker of either side

SCHEMA = {
    "sqlite": "CREATE TABLE IF NOT EXISTS things "
    "(id INTEGER PRIMARY KEY, tenant TEXT, name TEXT, count INTEGER);"
    "INSERT OR IGNORE INTO things VALUES (1, 't1', 'lamp', 3)",
    "postgresql": "CREATE TABLE IF NOT EXISTS things "
    "(id BIGSERIAL PRIMARY KEY, tenant TEXT, name TEXT, count INTEGER)",
}
INSERT = {
    "sqlite": "INSERT INTO things (tenant, name, count) VALUES (?, ?, ?) RETURNING id",
    "postgresql": "INSERT INTO things (tenant, name, count) VALUES (%s, %s, %s) RETURNING id",
}


def created(number: int, asked: dict[str, Any]) -> bytes:
    """The body that both sides answer with."""
    return json.dumps({"id": number, "object": "thing", **asked}).encode()


async def shown(_request: Request) -> Response:
    """`GET /things`, on both sides."""
    return Response(THING, headers=JSON)


def read_by(rows: Callable[[str, tuple[Any, ...]], list[Any]]) -> Callable[[Request], Any]:
    """`GET /things/{id}`, on both sides, on the event loop's thread."""

    async def read(request: Request) -> Response:
        number = int(request.path_params["number"])
        ((name, count),) = rows(SELECT, ("t1", number))
        return Response(created(number, {"name": name, "count": count}), headers=JSON)

    return read


# --- plain Starlette ---


def sqlite_opened(path: str, durable: bool) -> sqlite3.Connection:
    """A connection as `SQLiteStore` has it."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    return db


def sqlite_inserted(db: sqlite3.Connection, asked: dict[str, Any]) -> bytes:
    """The INSERT, in a transaction of its own."""
    rows = db.execute(INSERT["sqlite"], ("t1", asked["name"], asked["count"])).fetchall()
    return created(rows[0][0], asked)


def plain_sqlite(path: str, durable: bool) -> Starlette:
    """SQLite on the event loop's thread: nothing is handed over, and each commit stops everybody."""
    db = sqlite_opened(path, durable)
    db.executescript(SCHEMA["sqlite"])

    async def create(request: Request) -> Response:
        return Response(sqlite_inserted(db, json.loads(await request.body())), 201, JSON)

    read = read_by(lambda sql, values: db.execute(sql, values).fetchall())
    return plain(create, Route("/things/{number}", read, methods=["GET"]))


def plain_threads(path: str, durable: bool) -> Starlette:
    """SQLite in the pool of threads, one INSERT at a time: threads that wait inside SQLite poll."""
    from starlette.concurrency import run_in_threadpool

    db = sqlite_opened(path, durable)
    db.executescript(SCHEMA["sqlite"])
    one_at_a_time = threading.Lock()

    def insert(asked: dict[str, Any]) -> bytes:
        with one_at_a_time:
            return sqlite_inserted(db, asked)

    async def create(request: Request) -> Response:
        body = await run_in_threadpool(insert, json.loads(await request.body()))
        return Response(body, 201, JSON)

    return plain(create)


def plain_postgres(url: str, *, transaction: bool) -> Starlette:
    """
    PostgreSQL by a few asyncio connections, each used by one request at a time.

    The INSERT commits itself, or stands in a `transaction`, as psycopg has it unless told
    otherwise: BEGIN, INSERT and COMMIT are a trip each.
    """
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        db.execute("SELECT pg_advisory_lock(1)")  # workers start together
        db.execute(SCHEMA["postgresql"])
    free: asyncio.LifoQueue[psycopg.AsyncConnection[Any]] = asyncio.LifoQueue()
    opened = 0

    async def create(request: Request) -> Response:
        nonlocal opened
        asked = json.loads(await request.body())
        if free.empty() and opened < CONNECTIONS:
            opened += 1
            free.put_nowait(await psycopg.AsyncConnection.connect(url, autocommit=True))
        db = await free.get()
        try:
            async with db.transaction() if transaction else nullcontext():
                cursor = await db.execute(INSERT["postgresql"], ("t1", asked["name"], asked["count"]))
                ((number,),) = await cursor.fetchall()
        finally:
            free.put_nowait(db)
        return Response(created(number, asked), 201, JSON)

    return plain(create)


def plain(create: Callable[[Request], Any], *more: Route) -> Starlette:
    """Starlette with the routes."""
    post = Route("/things", create, methods=["POST"])
    return Starlette(routes=[post, Route("/things", shown, methods=["GET"]), *more])


# --- behind the gates ---


def gated(url: str, durable: bool, *, wrapped: bool = True) -> Any:
    """The same handlers behind all gates, in a Starlette application that is `wrapped`, or without one."""
    from failwell.contract import STANDARD
    from failwell.service import Endpoints, KeyFormat, Limit, Operation, install, stored

    keys = KeyFormat("bench_", lengths=(32,))
    kind = url.partition(":")[0]
    store = store_at(url, kind, durable)
    store.add_keys([stored(KEY, keys, tenant="t1", scopes=("things:read", "things:write"))])
    read = (
        ()
        if kind != "sqlite"
        else (Operation("GET", "/things/{number}", read_by(store.read), scope="things:read"),)
    )
    operations = (
        Operation(
            "POST", "/things", creating(kind), scope="things:write", parse=json.loads,
            idempotency="transactional" if kind in INSERT else "resumable", key_required=True,
        ),
        Operation("GET", "/things", shown, scope="things:read"),
        *read,
    )  # fmt: skip
    app: Any = Endpoints()
    if wrapped:
        app = Starlette(routes=[Route(o.path, o.endpoint, methods=[o.method]) for o in operations])
    return install(
        app, STANDARD, store=store, keys=keys, operations=operations, limit=Limit(10_000_000, 3600.0)
    )


def store_at(url: str, kind: str, durable: bool) -> Any:
    """The store."""
    from failwell.service.stores.urls import open_store

    match kind:
        case "sqlite":
            return open_store(url, schema=SCHEMA[kind], durable=durable)
        case "postgresql":
            return open_store(url, schema=SCHEMA[kind], connections=CONNECTIONS)
    return open_store(url)


def creating(kind: str) -> Callable[[Request], Any]:
    """The handler of `POST /things`."""
    from failwell.answer import Answer
    from failwell.service import exchange_of

    if kind not in INSERT:  # the effect is elsewhere: here, nowhere

        async def create_elsewhere(request: Request) -> Response:
            return Response(created(1, exchange_of(request).input), 201, JSON)

        return create_elsewhere
    statement = INSERT[kind]

    async def create(request: Request) -> Response:
        exchange = exchange_of(request)
        asked = exchange.input

        def insert(db: Any) -> Answer:
            rows = db.execute(statement, (exchange.tenant, asked["name"], asked["count"])).fetchall()
            return Answer(201, JSON, created(rows[0][0], asked))

        answer = await exchange.commit(insert)
        return Response(answer.body, answer.status, answer.headers)

    return create


# --- serving ---


def made(side: str, url: str, durable: bool) -> Any:
    """The application of a side."""
    if side in ("endpoints", "wrapped"):
        return gated(url, durable, wrapped=side == "wrapped")
    if url.startswith("sqlite:"):
        path = url.removeprefix("sqlite:///")
        return plain_sqlite(path, durable) if side == "plain" else plain_threads(path, durable)
    return plain_postgres(url, transaction=side == "transaction")


def serve(app: Any, sock: socket.socket) -> None:
    """Serve until SIGTERM or until standard input ends, which it does when the parent ends."""
    import uvicorn

    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        lifespan="off",
        timeout_keep_alive=600,  # connections stay open while it is the turn of others
    )
    server = uvicorn.Server(config)

    def end() -> None:
        sys.stdin.buffer.read()
        server.should_exit = server.force_exit = True

    threading.Thread(target=end, daemon=True).start()
    server.run(sockets=[sock])


def worker_on(sock: socket.socket) -> subprocess.Popen[bytes]:
    """Another process of this service, that serves there."""
    again = [sys.executable, *sys.argv, "--socket", str(sock.fileno())]
    return subprocess.Popen(again, stdin=subprocess.PIPE, pass_fds=[sock.fileno()])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("side", choices=("plain", "threads", "transaction", "wrapped", "endpoints"))
    parser.add_argument("--store", required=True, metavar="URL")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with a port")
    parser.add_argument("--cpu", type=int, default=None, help="the core to stay on")
    parser.add_argument("--not-durable", action="store_true", help="do not wait for the disk (SQLite)")
    parser.add_argument("--socket", type=int, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    pin(given.cpu)
    if given.socket is not None:
        serve(made(given.side, given.store, not given.not_durable), socket.socket(fileno=given.socket))
        return
    socks = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(given.workers)]
    ports = ",".join(str(sock.getsockname()[1]) for sock in socks)
    if given.workers == 1:
        app = made(given.side, given.store, not given.not_durable)
        print(ports, flush=True)
        serve(app, socks[0])
        return
    workers = [worker_on(sock) for sock in socks]
    print(ports, *(worker.pid for worker in workers), flush=True)
    sys.stdin.buffer.read()
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    for worker in workers:
        worker.wait()


if __name__ == "__main__":
    main()
