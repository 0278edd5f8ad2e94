"""
Measures the gates of the service half and prints a table: measure, target, reached, met.

    python benchmarks/service.py                    services behind the gates, alone
    python benchmarks/service.py --compare          and the same handlers on plain Starlette
    python benchmarks/service.py --compare --write docs/service-performance.md

Every side is a uvicorn of its own, and so is what asks them. They take turns, a fraction of a
second each, for many rounds; what counts is the median of a side's rounds, and the ratio of two
medians. docs/service-performance.md says more.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from machine import cores
from tables import HERE, Row, Time, heading, noted, options, rows_table, say, tell, versions, wanted

AT_ONCE = 64
WORKERS = 4
PACKAGES = ("failwell", "starlette", "uvicorn", "httptools", "uvloop", "psycopg", "redis")
TESTS = HERE.parent / "tests" / "service"

# What a turn asks, and the only status it may be answered with. A replay repeats the status.
EXPECTED = {"post": "201", "again": "201", "get": "200", "read": "200"}


@dataclass(frozen=True)
class Side:
    """
    One line of the second table.

    Attributes:
        name: What it is called there.
        server: Which of a group's services it asks.
        what: `post`, `again` (the same keys as the `post` before), `get` or `read` (a row).
    """

    name: str
    server: str
    what: str


@dataclass(frozen=True)
class Group:
    """
    Sides that take turns.

    Attributes:
        name: In the tables, before the side's.
        store: `sqlite`, `postgresql` or `redis`.
        workers: Processes of each service.
        durable: Whether SQLite waits for the disk.
        sides: In the order of their turns.
    """

    name: str
    store: str
    sides: tuple[Side, ...]
    workers: int = 1
    durable: bool = True


FIRST = Side("failwell", "endpoints", "post")
REPLAY = Side("failwell, replay", "endpoints", "again")
WRAPPED = Side("failwell around Starlette", "wrapped", "post")
PLAIN = Side("plain", "plain", "post")
THREADS = Side("plain, threads", "threads", "post")
TRANSACTION = Side("plain, transaction", "transaction", "post")

GROUPS = (
    Group(
        "GET",
        "sqlite",
        (
            Side("failwell", "endpoints", "get"),
            Side("failwell around Starlette", "wrapped", "get"),
            Side("plain", "plain", "get"),
            Side("failwell, one row", "endpoints", "read"),
            Side("failwell around Starlette, one row", "wrapped", "read"),
            Side("plain, one row", "plain", "read"),
        ),
        durable=False,
    ),
    Group("POST, SQLite", "sqlite", (FIRST, REPLAY, WRAPPED, PLAIN, THREADS), durable=False),
    Group("POST, SQLite, durable", "sqlite", (FIRST, REPLAY, WRAPPED, PLAIN, THREADS)),
    Group("POST, PostgreSQL", "postgresql", (FIRST, REPLAY, WRAPPED, PLAIN, TRANSACTION), workers=WORKERS),
    Group("POST, Redis", "redis", (FIRST, REPLAY)),
)


class Served:
    """A service in processes of its own."""

    def __init__(self, side: str, url: str, group: Group, core: int | None) -> None:
        command = [sys.executable, str(HERE / "service_app.py"), side, "--store", url]
        command += ["--workers", str(group.workers)]
        # Several workers share all cores.
        command += [] if core is None or group.workers > 1 else ["--cpu", str(core)]
        command += [] if group.durable else ["--not-durable"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        ports, *workers = self._process.stdout.readline().split() or [""]
        if not ports:
            raise SystemExit(f"{side} on {group.store} did not start; what it said stands above")
        self.ports = [int(port) for port in ports.split(",")]
        self._pids = [int(pid) for pid in workers] or [self._process.pid]

    def cpu(self) -> float:
        """Seconds of processor time that it used until now; 0.0 where the system does not say."""
        used = 0.0
        for pid in self._pids:
            for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with suppress(OSError):
                    used += int(task.read_text().split()[0]) / 1e9
        return used

    def close(self) -> None:
        """Stop it."""
        self._process.communicate()


class Loading:
    """The process that asks."""

    def __init__(self, core: int | None) -> None:
        pinned = [] if core is None else ["--cpu", str(core)]
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "load.py"), *pinned],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn(self, ports: list[int], what: str, calls: int) -> dict[str, Any]:
        """Make that many calls now."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"ports": ports, "what": what, "calls": calls}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("what asks has ended; what it said stands above")
        told: dict[str, Any] = json.loads(line)
        if {EXPECTED[what]: calls} != told["statuses"]:
            raise SystemExit(f"{what}: {calls} answers of {EXPECTED[what]} expected, not {told['statuses']}")
        if told["replayed"] != (calls if what == "again" else 0):
            raise SystemExit(f"{what}: {told['replayed']} of {calls} answers were replays")
        return told

    def close(self) -> None:
        """Stop it."""
        self._process.communicate()


class Contender:
    """A side, its service, and what its rounds took."""

    def __init__(self, side: Side, served: Served, loading: Loading) -> None:
        self.side = side
        self.calls = AT_ONCE
        self.walls: list[float] = []
        self.cpus: list[float] = []
        self.shares: list[float] = []
        self._served = served
        self._loading = loading

    def turn(self) -> dict[str, Any]:
        """Ask it once."""
        return self._loading.turn(self._served.ports, self.side.what, self.calls)

    def warm_up(self, calls: int, seconds: float) -> None:
        """Open connections, fill caches, and see how many calls make a turn of `seconds`."""
        self.calls = calls
        self.turn()
        told = self.turn()
        self.calls = max(AT_ONCE, min(20_000, int(seconds * calls / told["wall"])))

    def round(self) -> None:
        """One turn that counts."""
        before = self._served.cpu()
        told = self.turn()
        used = self._served.cpu() - before
        self.walls.append(told["wall"] / told["calls"])
        self.cpus.append(used / told["calls"])
        self.shares.append(told["cpu"] / told["wall"])

    def time(self) -> Time:
        """What its rounds say, in microseconds a request."""
        return Time(median(self.walls) * 1e6, median(self.cpus) * 1e6, len(self.walls))


def raced(group: Group, url_of: Urls, *, rounds: int, seconds: float, warm_up: int) -> list[Contender]:
    """Let the sides of a group take turns."""
    load_core, server_core = cores()[0], cores()[-1]
    with ExitStack() as stack:
        loading = Loading(load_core if group.workers == 1 else None)
        stack.callback(loading.close)
        services: dict[str, Served] = {}
        for name in dict.fromkeys(side.server for side in group.sides):
            services[name] = Served(name, url_of(group.store), group, server_core)
            stack.callback(services[name].close)
        contenders = [Contender(side, services[side.server], loading) for side in group.sides]
        for contender in contenders:
            contender.warm_up(warm_up, seconds)
        by_server = {c.side.server: c for c in contenders if c.side.what == "post"}
        for contender in contenders:
            if contender.side.what == "again":  # it can repeat no more than was sent
                contender.calls = by_server[contender.side.server].calls
        for number in range(rounds):
            say(f"{group.name}: round {number + 1} of {rounds}, {len(contenders)} sides")
            for contender in contenders:
                contender.round()
        return contenders


class Urls:
    """Makes a new, empty store for each service, on private servers that end with it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="failwell-bench-")))
        self._made = 0
        self._postgres: Any = None

    def __call__(self, kind: str) -> str:
        self._made += 1
        if kind == "sqlite":
            return f"sqlite:///{self._folder / f'{self._made}.db'}"
        if kind == "redis":
            return self._stack.enter_context(redis_server(self._folder / f"redis-{self._made}"))
        if self._postgres is None:
            # As it comes: with the waits for the disk that the tests leave out.
            real = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB", "autovacuum": "on"}
            self._postgres = self._stack.enter_context(_test_server().postgres_server(**real))
        url: str = self._postgres.fresh_database()
        return url


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The URL of a private Redis that writes each command to its file, and to the disk each second."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    command += ["--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(500):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait()


def _test_server() -> Any:
    """The module of the tests that starts PostgreSQL."""
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    return import_module("postgres_server")


def missing(store: str) -> str:
    """What this machine lacks for a store; empty if nothing."""
    if store == "postgresql":
        tests = _test_server()
        return "" if tests.binaries() is not None else str(tests.PACKAGE)
    if store == "redis":
        return "" if shutil.which("redis-server") else "redis-server"
    return ""


def compared(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times as long theirs takes: the median of the rounds, in each of which both have a turn."""
    return median(their / our if our else 0.0 for our, their in zip(ours, theirs, strict=True))


def rows_of(contenders: dict[str, Contender]) -> list[Row]:
    """The lines that compare two sides."""
    rows: list[Row] = []

    def share(target: float, measure: str, our_name: str, their_name: str) -> None:
        if our_name in contenders and their_name in contenders:
            ours, theirs = contenders[our_name], contenders[their_name]
            reached = 100 * compared(ours.walls, theirs.walls)
            by_cpu = 100 * compared(ours.cpus, theirs.cpus)
            rows.append(Row(measure, target, False, reached, "%", f"{by_cpu:.0f} % by processor time"))

    ways = {"Endpoints": "failwell", "Starlette": "failwell around Starlette"}
    for inside, ours in ways.items():
        without = f"{inside} behind gates without idempotency, GET of"
        share(75, f"{without} one row, of plain Starlette", f"GET, {ours}, one row", "GET, plain, one row")
        share(75, f"{without} fixed bytes, of plain Starlette", f"GET, {ours}", "GET, plain")
    for kind in ("SQLite", "SQLite, durable", "PostgreSQL"):
        at = f"POST, {kind}"
        workers = f", {WORKERS} workers" if kind == "PostgreSQL" else ""
        for inside, ours in ways.items():
            measure = f"{inside} behind all gates, POST and INSERT, {kind}{workers}, of plain Starlette"
            share(60, measure, f"{at}, {ours}", f"{at}, plain")
            share(60, f"{measure} with a pool of threads", f"{at}, {ours}", f"{at}, plain, threads")
            share(60, f"{measure} with a transaction", f"{at}, {ours}", f"{at}, plain, transaction")
    for group in GROUPS:
        first, again = f"{group.name}, failwell", f"{group.name}, failwell, replay"
        if first in contenders and again in contenders:
            reached = compared(contenders[again].walls, contenders[first].walls)
            measure = f"replay, faster than the first execution, {group.name.removeprefix('POST, ')}"
            rows.append(Row(measure, 1, False, reached, "times"))
    return rows


def times_table(contenders: dict[str, Contender]) -> list[str]:
    """The times as a Markdown table, one line each."""
    lines = [
        "| side | requests a second | µs a request | µs of the service's processor | load generator busy |",
        "|---|---|---|---|---|",
    ]
    for name, contender in contenders.items():
        t = contender.time()
        busy = 100 * median(contender.shares)
        lines.append(f"| {name} | {1e6 / t.wall:,.0f} | {t.wall:.0f} | {t.cpu:.0f} | {busy:.0f} % |")
    return lines


def report(result: dict[str, Any], contenders: dict[str, Contender], rows: list[Row]) -> str:
    """All that was measured, as Markdown."""
    lines = [
        *heading(result, f", {AT_ONCE} requests at once"),
        *(f"Left out: {name}, as {package} is not installed." for name, package in result["missing"].items()),
        "",
        *(rows_table(rows) if rows else ()),
        "",
        *times_table(contenders),
    ]
    return "\n".join(lines)


def main() -> None:
    given = options(__doc__, compared="plain Starlette", rounds=25, seconds=0.3).parse_args()

    result = noted("service.py", given, versions(Path(sys.executable), PACKAGES))
    result["missing"] = {}
    contenders: dict[str, Contender] = {}
    with ExitStack() as stack:
        urls = Urls(stack)
        for group in GROUPS:
            if not wanted(given, group.name):
                continue
            if package := missing(group.store):
                result["missing"][group.name] = package
                continue
            if not given.compare:
                ours = ("endpoints", "wrapped")
                group = replace(group, sides=tuple(s for s in group.sides if s.server in ours))
            for contender in raced(
                group, urls, rounds=given.rounds, seconds=given.seconds, warm_up=given.warm_up
            ):
                contenders[f"{group.name}, {contender.side.name}"] = contender
    times = {name: contender.time() for name, contender in contenders.items()}
    rows = rows_of(contenders)
    tell(given, result, times, rows, report(result, contenders, rows))


if __name__ == "__main__":
    main()
