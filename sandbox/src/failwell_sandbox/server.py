"""Serve the sandbox: on a thread for a test or a drill, in the foreground for a person."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import uvicorn

from failwell.errors import ConfigurationError
from failwell.service import KeyFormat, Limit, Service, Store, StoreBusyError, stored
from failwell_sandbox import ledger, processes
from failwell_sandbox.agoralia import app as agoralia
from failwell_sandbox.argus import app as argus
from failwell_sandbox.database import Database
from failwell_sandbox.demo_keys import DemoKeys, seed_keys
from failwell_sandbox.kneo import app as kneo
from failwell_sandbox.pictograph import app as pictograph
from failwell_sandbox.processes import Workers
from failwell_sandbox.scopix import app as scopix
from failwell_sandbox.storage import Storage, kind_of, run_of, sqlite_file

# What the limited demo key may ask: few enough to be spent, short enough to wait for.
LIMITED = Limit(3, 3.0)

START_SECONDS = 15.0

# For work that takes longer than an event loop may be held up: so many requests' at once, in each process.
WORK_THREADS = 8

# Each is a process with connections of its own: a slip of the finger is not to start a thousand.
MOST_WORKERS = 64


@dataclass(frozen=True, slots=True)
class Kind:
    """
    What there is to know to start one of the services.

    Attributes:
        make: Takes store and database, `wait` and `lease`, and `folder` if it keeps files.
        schema: Its tables.
        keys: How its keys look.
        scopes: All of its scopes.
        tenants: The first, the other and the suspended one.
        seed: Puts into a new database what is there from the beginning.
        roles: Of the keys that may everything, and of those that may only read.
        tier: Of the demo keys.
        prefixes: What the keys of a tier begin with, where that is not the same for all.
        files: Whether it keeps files beside its database.
    """

    make: Callable[..., Service]
    schema: str
    keys: KeyFormat
    scopes: Sequence[str]
    tenants: tuple[str, str, str]
    seed: Callable[[Database], None] | None = None
    roles: tuple[str, str] = ("", "")
    tier: str = ""
    prefixes: Mapping[str, str] = field(default_factory=dict)
    files: bool = False

    def service(
        self, store: Store, database: Database, storage: Storage, *, wait: float, lease: float
    ) -> Service:
        """The service, on what it has stored."""
        where = {"folder": storage.files} if self.files else {}
        return self.make(store, database, wait=wait, lease=lease, **where)


KINDS: Mapping[str, Kind] = {
    "kneo": Kind(kneo.kneo_service, kneo.SCHEMA, kneo.KEYS, kneo.SCOPES, kneo.TENANTS, kneo.seed),
    "agoralia": Kind(
        agoralia.agoralia_service, agoralia.SCHEMA, agoralia.KEYS, agoralia.SCOPES, agoralia.TENANTS
    ),
    "argus": Kind(
        argus.argus_service,
        argus.SCHEMA,
        argus.KEYS,
        argus.SCOPES,
        argus.TENANTS,
        tier=argus.RUNTIME,
        prefixes=argus.PREFIXES,
    ),
    "pictograph": Kind(
        pictograph.pictograph_service,
        pictograph.SCHEMA,
        pictograph.KEYS,
        pictograph.SCOPES,
        pictograph.TENANTS,
        pictograph.seed,
        roles=("admin", "viewer"),
        tier="enterprise",
        files=True,
    ),
    "scopix": Kind(
        scopix.scopix_service,
        scopix.SCHEMA,
        scopix.KEYS,
        scopix.SCOPES,
        scopix.TENANTS,
        scopix.seed,
        tier="enterprise",
        files=True,
    ),
}


class RunningService:
    """
    One service of a running sandbox.

    Attributes:
        name: Such as "kneo".
        url: Where it listens, without a slash at the end.
        keys: Its demo keys.
        store: Its keys, limits and records.
        database: Its own tables.
        service: The service behind its gates, where this process serves it; None if workers do.
    """

    def __init__(
        self,
        name: str,
        url: str,
        keys: DemoKeys,
        storage: Storage,
        store: Store,
        database: Database,
        drain: Callable[[bool], None],
        service: Service | None = None,
        threads: ThreadPoolExecutor | None = None,
    ) -> None:
        self.name = name
        self.url = url
        self.keys = keys
        self.store = store
        self.database = database
        self.service = service
        self._storage = storage
        self._drain = drain
        self._threads = threads

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
            self.database, idempotency_key=idempotency_key, name=name, kind=kind, request_id=request_id
        )

    def new_key(
        self,
        scopes: Sequence[str] | None = None,
        *,
        tenant: str | None = None,
        limit: Limit | None = None,
        expires_at: float | None = None,
        role: str | None = None,
        tier: str | None = None,
    ) -> str:
        """
        A fresh key.

        Args:
            scopes: What it may do; None for every scope.
            tenant: Whose it is; None for the first tenant.
            limit: How often it may ask; None for its tier's limit, or the service's.
            expires_at: Unix seconds; None for never.
            role: What it may do, where the service has roles; None for everything.
            tier: What its tenant pays for, where the service has tiers; None for that of the demo keys.
        """
        kind = KINDS[self.name]
        key = kind.keys.new(kind.prefixes.get(tier or kind.tier))
        record = stored(
            key, kind.keys, tenant=tenant or kind.tenants[0], limit=limit or (), expires_at=expires_at,
            scopes=kind.scopes if scopes is None else scopes,
            role=kind.roles[0] if role is None else role, tier=kind.tier if tier is None else tier,
        )  # fmt: skip
        self.store.add_keys([record])
        return key

    def revoke(self, key: str) -> None:
        """Take a key out of use, from the next request on."""
        self.store.revoke_key(KINDS[self.name].keys.public_part(key))

    @contextmanager
    def draining(self) -> Iterator[None]:
        """Refuse work with a 503 and Retry-After, in all workers, as processes do that are about to end."""
        self._drain(True)
        try:
            yield
        finally:
            self._drain(False)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the database to ourselves, as a backup does: writes get a 503, reads go on."""
        with self._storage.locked():
            yield

    @contextmanager
    def busy(self) -> Iterator[None]:
        """
        Every thread for long work is taken, as by other requests: what needs one waits, the rest goes on.

        Raises:
            RuntimeError: worker processes do the work, whose threads are out of reach.
        """
        if self._threads is None:
            raise RuntimeError("only a sandbox with one worker can be kept busy")
        taken, free = threading.Semaphore(0), threading.Event()

        def work() -> None:
            taken.release()
            free.wait()

        try:
            for _ in range(WORK_THREADS):
                self._threads.submit(work)
            for _ in range(WORK_THREADS):
                taken.acquire()
            yield
        finally:
            free.set()


class Sandbox:
    """
    The services that are running, by name: `sandbox.kneo`, `sandbox["agoralia"]`.

    Attributes:
        services: Name to service.
    """

    def __init__(self, services: Mapping[str, RunningService], workers: Workers | None = None) -> None:
        self.services = dict(services)
        self._workers = workers

    @property
    def pids(self) -> tuple[int, ...]:
        """The worker processes that are at work now; none if this process does the work itself."""
        return () if self._workers is None else self._workers.pids

    def end_workers(self) -> None:
        """
        Let the worker processes finish what they began, and end them.

        What is stored can still be looked at: with nobody left who could change it.
        """
        if self._workers is not None:
            self._workers.close()

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

    @property
    def argus(self) -> RunningService:
        """Argus, if it was started."""
        return self.services["argus"]

    @property
    def pictograph(self) -> RunningService:
        """Pictograph, if it was started."""
        return self.services["pictograph"]

    @property
    def scopix(self) -> RunningService:
        """Scopix, if it was started."""
        return self.services["scopix"]

    def effects(self, service: str, idempotency_key: str | None = None, *, name: str | None = None) -> int:
        """How many effects the ledger of `service` holds for a key, or for what a client named it."""
        return self.services[service].effects(idempotency_key, name=name)


@contextmanager
def running(
    services: Sequence[str] = tuple(KINDS),
    *,
    host: str = "127.0.0.1",
    ports: Mapping[str, int] | None = None,
    state: Path | str | None = None,
    store: str = "",
    workers: int = 1,
    apart: bool = False,
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
            the end, along with what the run has in PostgreSQL or Redis. With a directory,
            another run goes on where this one ended.
        store: `sqlite:///file.db`, which keeps its state beside the file and takes one for each
            service; `postgresql://…`, where each service has a schema of its own; `redis://…`
            for keys, limits and records, with a SQLite database in `state`. Empty for SQLite
            in `state`.
        workers: How many processes serve. One is a thread of this process.
        apart: Whether one, too, is a process of its own: it may then be killed, and is started again.
        wait: Seconds a request waits for another one with its idempotency key before it gets a 409.
        lease: Seconds a claim on an idempotency key is held, and work in the background, without
            news of who does it.
        limited: What the limited demo keys may ask.

    Raises:
        ConfigurationError: a `ValueError`: the store cannot be used, or not by so many.
        ValueError: there is no service of that name, or a port is for one that does not run.
        RuntimeError: a worker process does not start.
        OSError: a port is taken.
    """
    unknown = set(services) - set(KINDS)
    if unknown:
        raise ValueError(f"no service is called {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    if astray := set(ports or {}) - set(services):
        raise ValueError(f"a port is for {', '.join(sorted(astray))}, and only {', '.join(services)} runs")
    kind_of_store = kind_of(store)
    if workers < 1:
        raise ConfigurationError("a sandbox needs a worker")
    if workers > MOST_WORKERS:
        raise ConfigurationError(f"a sandbox has {MOST_WORKERS} workers at the most, not {workers}")
    if workers > 1 and kind_of_store == "sqlite":
        raise ConfigurationError(
            "SQLite serves one worker; for more, use a store that is made for it: postgresql:// or redis://"
        )
    if state is None and kind_of_store == "sqlite" and store:
        state = sqlite_file(store).parent
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="failwell-sandbox-"))
            if state is None
            else state
        )
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        run = run_of(folder, kind_of_store, kept=state is not None)
        opened = [
            _opened(
                stack,
                name,
                Storage(name, store, str(folder.absolute()), run, state is not None, workers > 1 or apart),
                _listening(host, (ports or {}).get(name, 0)),
                limited,
            )
            for name in services
        ]
        crew, drains, served_here, threads = _at_work(
            stack, opened, workers, apart=apart, wait=wait, lease=lease
        )
        started = {
            each.name: RunningService(
                each.name, each.url, each.keys, each.storage, each.store, each.database, drains[each.name],
                served_here.get(each.name), threads,
            )
            for each in opened
        }  # fmt: skip
        yield Sandbox(started, crew)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A service that has its state and its port, and nobody who serves."""

    name: str
    storage: Storage
    store: Store
    database: Database
    keys: DemoKeys
    sock: socket.socket
    url: str


def _opened(
    stack: ExitStack,
    name: str,
    storage: Storage,
    listening: AbstractContextManager[socket.socket],
    limited: Limit,
) -> _Opened:
    kind = KINDS[name]
    sock = stack.enter_context(listening)
    # What was made by then is taken away, whatever goes wrong.
    stack.callback(storage.remove)
    storage.prepare()
    store, database = storage.open(kind.schema)
    stack.callback(store.close)
    stack.callback(database.close)
    if kind.seed is not None:
        kind.seed(database)
    try:
        keys = seed_keys(
            store, kind.keys, kind.scopes, tenants=kind.tenants, limited=limited,
            kept_in=Path(storage.folder, f"{name}-demo-keys.json"), roles=kind.roles, tier=kind.tier,
            free=kind.prefixes.get("free", ""),
        )  # fmt: skip
    except StoreBusyError as exc:
        raise storage.unusable(exc) from exc
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return _Opened(name, storage, store, database, keys, sock, f"http://{shown}:{port}")


def _at_work(
    stack: ExitStack, opened: Sequence[_Opened], workers: int, *, apart: bool, wait: float, lease: float
) -> tuple[Workers | None, dict[str, Callable[[bool], None]], dict[str, Service], ThreadPoolExecutor | None]:
    """Let the services be served: by a thread, or by processes; how to drain each; those of the thread."""
    if workers == 1 and not apart:
        listening = [
            (
                KINDS[each.name].service(each.store, each.database, each.storage, wait=wait, lease=lease),
                each.sock,
            )
            for each in opened
        ]
        threads = stack.enter_context(served(listening))
        here = {each.name: service for each, (service, _) in zip(opened, listening, strict=True)}
        drains: dict[str, Callable[[bool], None]] = {
            name: partial(setattr, service, "draining") for name, service in here.items()
        }
        return None, drains, here, threads
    orders = {
        "wait": wait,
        "lease": lease,
        "services": {
            each.name: {"storage": asdict(each.storage), "listens_on": each.sock.fileno()} for each in opened
        },
    }
    crew = stack.enter_context(closing(Workers(workers, orders, [each.sock for each in opened])))
    return crew, {each.name: partial(crew.drain, each.name) for each in opened}, {}, None


def serve(
    services: Sequence[str] = tuple(KINDS),
    *,
    host: str = "127.0.0.1",
    ports: Mapping[str, int] | None = None,
    state: Path | str | None = None,
    store: str = "",
    workers: int = 1,
    out: TextIO | None = None,
) -> None:
    """
    Serve the sandbox until Ctrl-C or SIGTERM; prints where, and the demo keys.

    From then on new work is refused with a 503, and what was begun is finished.

    Args:
        services: Which ones, by name.
        host: Where they listen.
        ports: On which port, by name; a free one where none is named.
        state, store, workers: See `running`.
        out: Where to print; standard output by default.
    """
    screen = sys.stdout if out is None else out
    started, ended = threading.Event(), threading.Event()

    def end(*_: object) -> None:
        if not started.is_set() and not ended.is_set():
            ended.set()
            raise KeyboardInterrupt  # which undoes the start, however far it is
        ended.set()

    previous = {number: signal.signal(number, end) for number in _ENDINGS}
    try:
        with (
            _told_of_workers(),
            running(services, host=host, ports=ports, state=state, store=store, workers=workers) as sandbox,
        ):
            for service in sandbox:
                screen.write(f"{service.name}  {service.url}\n")
                for each in fields(service.keys):
                    if key := getattr(service.keys, each.name):
                        screen.write(f"  {each.name:<13} {key}\n")
            screen.write("Stop with Ctrl-C.\n")
            screen.flush()
            started.set()
            ended.wait()
    except KeyboardInterrupt:  # the one above
        pass
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


_ENDINGS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def _told_of_workers() -> Iterator[None]:
    """Say on standard error what becomes of the worker processes: at a terminal nobody reads a log."""
    told = logging.StreamHandler()
    told.setFormatter(logging.Formatter("failwell: %(message)s"))
    processes.log.addHandler(told)
    try:
        yield
    finally:
        processes.log.removeHandler(told)


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
def served(listening: Sequence[tuple[Service, socket.socket]]) -> Iterator[ThreadPoolExecutor]:
    """All services on one thread with one event loop, ready when the block begins; gives its work threads."""
    threads = ThreadPoolExecutor(WORK_THREADS, thread_name_prefix="failwell-sandbox-work")
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
            asyncio.run(_serve_all(servers, threads))
        except BaseException as exc:  # noqa: BLE001  # raised again by whoever waits
            failed.append(exc)

    thread = threading.Thread(target=work, name="failwell-sandbox", daemon=True)
    thread.start()
    try:
        _wait_until_started([server for server, _ in servers], thread, failed)
        yield threads
    finally:
        for service, _ in listening:
            service.draining = True
        for server, _ in servers:
            server.should_exit = True
        thread.join()


async def _serve_all(
    servers: Sequence[tuple[uvicorn.Server, socket.socket]], threads: ThreadPoolExecutor
) -> None:
    asyncio.get_running_loop().set_default_executor(threads)
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
