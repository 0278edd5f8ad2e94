"""Serve the sandbox: on a thread for a test or a drill, in the foreground for a person."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TextIO

import uvicorn

from failwell.service import KeyFormat, Limit, Service, SQLiteStore, stored
from failwell_sandbox import ledger
from failwell_sandbox.agoralia import app as agoralia
from failwell_sandbox.demo_keys import DemoKeys, seed_keys
from failwell_sandbox.kneo import app as kneo

# A request that waits for another process's lock gives up after this long, with a 503.
PATIENCE = 0.2

# What the limited demo key may ask: few enough to be spent, short enough to wait for.
LIMITED = Limit(3, 3.0)

START_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Kind:
    """What there is to know to start one of the services."""

    make: Callable[..., Service]
    schema: str
    keys: KeyFormat
    scopes: Sequence[str]
    tenants: tuple[str, str, str]


KINDS: Mapping[str, Kind] = {
    "kneo": Kind(kneo.kneo_service, kneo.SCHEMA, kneo.KEYS, kneo.SCOPES, kneo.TENANTS),
    "agoralia": Kind(
        agoralia.agoralia_service, agoralia.SCHEMA, agoralia.KEYS, agoralia.SCOPES, agoralia.TENANTS
    ),
}


class RunningService:
    """
    One service of a running sandbox.

    Attributes:
        name: Such as "kneo".
        url: Where it listens, without a slash at the end.
        keys: Its demo keys.
        store: Its state.
    """

    def __init__(self, name: str, url: str, keys: DemoKeys, store: SQLiteStore, service: Service) -> None:
        self.name = name
        self.url = url
        self.keys = keys
        self.store = store
        self._service = service

    def __repr__(self) -> str:
        return f"<RunningService {self.name} {self.url}>"

    def effects(
        self,
        idempotency_key: str | None = None,
        *,
        name: str | None = None,
        kind: str | None = None,
        request_id: str | None = None,
    ) -> int:
        """How many effects the ledger holds with these facts; all of them if none is given."""
        return len(self.ledger(idempotency_key, name=name, kind=kind, request_id=request_id))

    def ledger(
        self,
        idempotency_key: str | None = None,
        *,
        name: str | None = None,
        kind: str | None = None,
        request_id: str | None = None,
    ) -> list[dict[str, Any]]:
        """The effects with these facts, as rows, in the order they happened."""
        return ledger.effects(
            self.store, idempotency_key=idempotency_key, name=name, kind=kind, request_id=request_id
        )

    def new_key(
        self,
        scopes: Sequence[str] | None = None,
        *,
        tenant: str | None = None,
        limit: Limit | None = None,
        expires_at: float | None = None,
    ) -> str:
        """
        A fresh key.

        Args:
            scopes: What it may do; None for every scope.
            tenant: Whose it is; None for the first tenant.
            limit: How often it may ask; None for the service's limit.
            expires_at: Unix seconds; None for never.
        """
        kind = KINDS[self.name]
        key = kind.keys.new()
        record = stored(
            key, kind.keys, tenant=tenant or kind.tenants[0], limit=limit or (), expires_at=expires_at,
            scopes=kind.scopes if scopes is None else scopes,
        )  # fmt: skip
        self.store.add_keys([record])
        return key

    def revoke(self, key: str) -> None:
        """Take a key out of use, from the next request on."""
        self.store.revoke_key(KINDS[self.name].keys.public_part(key))

    @contextmanager
    def draining(self) -> Iterator[None]:
        """Refuse work with a 503 and Retry-After, as a process does that is about to end."""
        self._service.draining = True
        try:
            yield
        finally:
            self._service.draining = False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the database to ourselves, as a backup does: writes get a 503, reads go on."""
        with closing(sqlite3.connect(self.store.path, isolation_level=None, timeout=5.0)) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                db.execute("ROLLBACK")


class Sandbox:
    """
    The services that are running, by name: `sandbox.kneo`, `sandbox["agoralia"]`.

    Attributes:
        services: Name to service.
    """

    def __init__(self, services: Mapping[str, RunningService]) -> None:
        self.services = dict(services)

    def __getitem__(self, name: str) -> RunningService:
        return self.services[name]

    def __iter__(self) -> Iterator[RunningService]:
        return iter(self.services.values())

    @property
    def kneo(self) -> RunningService:
        """Kneo, if it was started."""
        return self.services["kneo"]

    @property
    def agoralia(self) -> RunningService:
        """Agoralia, if it was started."""
        return self.services["agoralia"]

    def effects(self, service: str, idempotency_key: str | None = None, *, name: str | None = None) -> int:
        """How many effects the ledger of `service` holds for a key, or for what a client named it."""
        return self.services[service].effects(idempotency_key, name=name)


@contextmanager
def running(
    services: Sequence[str] = ("kneo", "agoralia"),
    *,
    host: str = "127.0.0.1",
    ports: Mapping[str, int] | None = None,
    state: Path | str | None = None,
    wait: float = 1.0,
    lease: float = 10.0,
    limited: Limit = LIMITED,
) -> Iterator[Sandbox]:
    """
    The sandbox, listening, until the block ends.

    Args:
        services: Which ones, by name.
        host: Where they listen.
        ports: On which port, by name; a free one where none is named.
        state: A directory for their databases and demo keys; None for one that is removed at
            the end. With a directory, another run goes on where this one ended.
        wait: Seconds a request waits for another one with its idempotency key before it gets a 409.
        lease: Seconds a claim on an idempotency key is held.
        limited: What the limited demo keys may ask.

    Raises:
        ValueError: there is no service of that name.
        OSError: a port is taken.
    """
    unknown = set(services) - set(KINDS)
    if unknown:
        raise ValueError(f"no service is called {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="failwell-sandbox-"))
            if state is None
            else state
        )
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        started: dict[str, RunningService] = {}
        listening: list[tuple[Service, socket.socket]] = []
        for name in services:
            kind = KINDS[name]
            store = SQLiteStore(
                folder / f"{name}.db", schema=kind.schema, patience=PATIENCE, durable=state is not None
            )
            stack.callback(store.close)
            keys = seed_keys(
                store, kind.keys, kind.scopes, tenants=kind.tenants, limited=limited,
                kept_in=folder / f"{name}-demo-keys.json",
            )  # fmt: skip
            service = kind.make(store, wait=wait, lease=lease)
            sock = stack.enter_context(_listening(host, (ports or {}).get(name, 0)))
            port = sock.getsockname()[1]
            shown = f"[{host}]" if ":" in host else host
            started[name] = RunningService(name, f"http://{shown}:{port}", keys, store, service)
            listening.append((service, sock))
        stack.enter_context(_served(listening))
        yield Sandbox(started)


def serve(
    services: Sequence[str] = ("kneo", "agoralia"),
    *,
    host: str = "127.0.0.1",
    ports: Mapping[str, int] | None = None,
    state: Path | str | None = None,
    out: TextIO | None = None,
) -> None:
    """
    Serve the sandbox until Ctrl-C or SIGTERM; prints where, and the demo keys.

    From then on new work is refused with a 503, and what was begun is finished.

    Args:
        services: Which ones, by name.
        host: Where they listen.
        ports: On which port, by name; a free one where none is named.
        state: See `running`.
        out: Where to print; standard output by default.
    """
    screen = sys.stdout if out is None else out
    ended = threading.Event()
    previous = {number: signal.signal(number, lambda *_: ended.set()) for number in _ENDINGS}
    try:
        with running(services, host=host, ports=ports, state=state) as sandbox:
            for service in sandbox:
                screen.write(f"{service.name}  {service.url}\n")
                for field in fields(service.keys):
                    screen.write(f"  {field.name:<13} {getattr(service.keys, field.name)}\n")
            screen.write("Stop with Ctrl-C.\n")
            screen.flush()
            ended.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


_ENDINGS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, because asyncio turns Nagle's delay off only where it is: without,
    # the second packet of each answer waits 40 ms for an acknowledgement of the first.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        # From here on a client is let in, and waits for the server's first breath.
        sock.listen(2048)
        yield sock


@contextmanager
def _served(listening: Sequence[tuple[Service, socket.socket]]) -> Iterator[None]:
    """All services on one thread with one event loop, ready when the block begins."""
    servers = [
        (
            uvicorn.Server(
                uvicorn.Config(
                    service,
                    http="h11",
                    ws="none",
                    loop="asyncio",
                    lifespan="on",
                    # An access log would hold query strings, and with them whatever is in there.
                    access_log=False,
                    log_config=None,
                    log_level=logging.WARNING,
                    server_header=False,
                    timeout_graceful_shutdown=2,
                )
            ),
            sock,
        )
        for service, sock in listening
    ]
    failed: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(_serve_all(servers))
        except BaseException as exc:  # noqa: BLE001  # raised again by whoever waits
            failed.append(exc)

    thread = threading.Thread(target=work, name="failwell-sandbox", daemon=True)
    thread.start()
    try:
        _wait_until_started([server for server, _ in servers], thread, failed)
        yield
    finally:
        for service, _ in listening:
            service.draining = True
        for server, _ in servers:
            server.should_exit = True
        thread.join()


async def _serve_all(servers: Sequence[tuple[uvicorn.Server, socket.socket]]) -> None:
    await asyncio.gather(*(server.serve(sockets=[sock]) for server, sock in servers))


def _wait_until_started(
    servers: Sequence[uvicorn.Server], thread: threading.Thread, failed: Sequence[BaseException]
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not all(server.started for server in servers):
        if not thread.is_alive() or time.monotonic() > deadline:
            reason = failed[0] if failed else None
            raise RuntimeError("the sandbox did not start") from reason
        time.sleep(0.002)
