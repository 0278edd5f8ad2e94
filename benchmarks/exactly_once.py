"""
Makes 100,000 writes through faults and SIGKILLs over real sockets, and counts what was done: one effect each?

    python benchmarks/exactly_once.py --store sqlite                        100,000 writes
    python benchmarks/exactly_once.py --store postgresql --store redis      on private servers
    python benchmarks/exactly_once.py --store postgresql --url postgresql://localhost/test
    python benchmarks/exactly_once.py --store redis --writes 2000 --seed 7  shorter, other faults and kills
    python benchmarks/exactly_once.py --store sqlite --write docs/exactly-once.md

The service is the sandbox's Kneo in worker processes of its own. Kneo's SDK writes, blocking in one process
and awaiting in another. Between them stands a relay that acts faults out; workers, clients and the private
server are killed at moments that follow from the seed. At the end the workers are stopped, and the tables
are read: fails if an effect is missing or there twice, if a client was told of one that is not there, or if
a kind of fault never acted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import failwell_sandbox
from failwell_sandbox.processes import log as workers_log
from machine import description, forget_proxies, load
from once_relay import Relay
from once_schedule import NAMES, Kill, Plan
from tables import HERE, say

STORES = ("sqlite", "postgresql", "redis")
TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "redis": "Redis"}
TESTS = HERE.parent / "tests" / "service"
# SQLite has one writer, and the sandbox gives it one worker.
WORKERS = {"sqlite": 1, "postgresql": 3, "redis": 3}
# Seconds a claim is held without news of its holder: what a crash costs a retry at level `resumable`.
LEASE = 3.0
# Seconds a client waits for the next piece of an answer.
READ = 2.0
# Writes at once, of the awaiting client and of the blocking one.
AT_ONCE = {"async": 48, "sync": 16}
# Which of the quarters of the writes each of them makes.
PARTS_OF = {"async": (0, 1, 2), "sync": (3,)}
# Seconds by which a database's clock may differ from a client's, on one machine.
CLOCK = 0.005
# Seconds without an answer after which nothing will come any more.
STUCK = 180.0


@dataclass
class Result:
    """
    What came of one run.

    Attributes:
        store: One of `STORES`.
        plan: The numbers that all of it follows from.
        server: What is known of the database's server, as a sentence.
        workers: How many processes served.
        seconds: How long it took.
        requests: That came to the relay.
        answered: Writes whose client had an answer.
        failed: Calls that ended in an exception, by its class; each write was made again later.
        replayed: Answers that the service had on record.
        refused: Other answers of the service than 201, by status.
        due: Faults by kind, as planned.
        fired: Faults by kind, as they happened.
        kills: Kills that happened, by what was killed.
        effects: In the ledger.
        lost: Writes without an effect.
        duplicated: Effects beyond the first of a write.
        untrue: Writes whose client was told of an effect that is not theirs, or not there.
        false: Calls that failed and said that nothing was done, where something was, or the reverse.
            None if nobody looked.
        loose: Runs without an effect in the ledger, effects without a run, effects of nobody's writes.
    """

    store: str
    plan: dict[str, Any]
    server: str
    workers: int
    when: str
    machine: str
    seconds: float = 0.0
    requests: int = 0
    answered: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    replayed: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)
    effects: int = 0
    lost: int = 0
    duplicated: int = 0
    untrue: int = 0
    loose: int = 0
    false: int | None = None

    @property
    def never_fired(self) -> list[str]:
        """Kinds of fault that were due and did not act."""
        return [name for name, times in self.due.items() if times and not self.fired.get(name)]

    @property
    def wrong(self) -> list[str]:
        """What must not be, in words; empty if each write has exactly one effect."""
        writes = self.plan["writes"]
        counts = {
            "lost": self.lost,
            "duplicated": self.duplicated,
            "answered with what is not there": self.untrue,
            "loose rows": self.loose,
            "false claims of failed calls": self.false or 0,
            "unanswered": writes - self.answered,
        }
        found = [f"{number:,} {what}" for what, number in counts.items() if number]
        return found + [f"never happened: {name}" for name in self.never_fired]


# --- the database's server ---


class Server:
    """The store's URL, and how to kill what is behind it; `crash` is None where that is not ours."""

    def __init__(self, url: str, said: str, crash: Any = None) -> None:
        self.url = url
        self.said = said
        self.crash = crash


@contextmanager
def server_for(store: str, url: str) -> Iterator[Server]:
    """What the store is on: the URL that was given, a file, or a private server that ends with the block."""
    if url:
        yield Server(url, f"a server of {urlsplit(url).scheme} that was there, not restarted")
    elif store == "sqlite":
        with tempfile.TemporaryDirectory(prefix="failwell-once-") as folder:
            yield Server(f"sqlite:///{folder}/once.db", "a file; each commit waits for the disk")
    elif store == "postgresql":
        # As it comes: with the waits for the disk that the tests leave out.
        real = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB", "autovacuum": "on"}
        with _of_the_tests("postgres_server").postgres_server(**real) as postgres:

            def crash() -> None:
                postgres.stop("QUIT")  # as `pg_ctl stop -m immediate`: it recovers from its log
                postgres.start()

            said = "a private server with `fsync = on`, ended as by `pg_ctl stop -m immediate`"
            yield Server(postgres.fresh_database(), said, crash)
    else:
        settings = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
        redis = _of_the_tests("redis_server").RedisServer(*settings)
        try:

            def crash() -> None:
                redis.end()
                redis.start()

            said = "a private server with `appendonly yes` and `appendfsync always`, ended by SIGKILL"
            yield Server(redis.tcp_url(), said, crash)
        finally:
            redis.stop()


def _of_the_tests(module: str) -> Any:
    """The module of the tests that starts a private server."""
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    return import_module(module)


# --- clients ---


class Clients:
    """
    The client processes: started, killed when that is asked, started again, and ended.

    Args:
        orders: What each is told, as `once_client` has it.
        folder: For what they say when they break.
    """

    def __init__(self, orders: Sequence[dict[str, Any]], folder: Path) -> None:
        self._orders = orders
        self._errors = folder / "client-errors"
        self._processes = [self._start(each) for each in orders]

    def _start(self, orders: dict[str, Any]) -> subprocess.Popen[bytes]:
        with self._errors.open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "once_client.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for whoever started us
            )
        assert process.stdin is not None
        process.stdin.write(json.dumps(orders).encode() + b"\n")
        process.stdin.flush()
        return process

    def kill(self, which: int) -> bool:
        """SIGKILL one that still works, and start it again; whether there was one."""
        at_work = [at for at, process in enumerate(self._processes) if process.poll() is None]
        if not at_work:
            return False
        at = at_work[which % len(at_work)]
        self._processes[at].kill()
        self._end(self._processes[at])
        self._processes[at] = self._start(self._orders[at])
        return True

    def finished(self) -> bool:
        """Whether all have made their writes; raises RuntimeError if one broke."""
        codes = [process.poll() for process in self._processes]
        if any(codes):
            said = self._errors.read_text(errors="replace")
            raise RuntimeError(f"a client process ended with {codes}:\n{said[-4000:]}")
        return None not in codes

    def close(self) -> None:
        """Kill what is left."""
        for process in self._processes:
            process.kill()
            self._end(process)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


# --- a run ---


async def run(
    store: str, plan: Plan, server: Server, *, workers: int, lease: float, read: float, forgetful: bool
) -> Result:
    """Make the writes, and count."""
    task = asyncio.current_task()
    assert task is not None
    # Ended in order, as by Ctrl-C: what was started is ended, what was made is taken away.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="failwell-once-")))
        sandbox = stack.enter_context(
            failwell_sandbox.running(
                ("kneo",), store=server.url, workers=workers, apart=True, wait=1.0, lease=lease
            )
        )
        result = Result(store, asdict(plan), server.said, workers, time.strftime("%Y-%m-%d"), description())
        making = _Making(plan, sandbox, server)
        started = time.monotonic()
        at = urlsplit(sandbox.kneo.url)
        async with Relay(plan, (str(at.hostname), at.port or 80), making.kill) as relay:
            name = f"once-{plan.seed}-{secrets.token_hex(4)}"
            orders: list[dict[str, Any]] = [
                {
                    "form": form, "url": f"http://127.0.0.1:{relay.port}", "key": sandbox.kneo.keys.full,
                    "run": name, "parts": parts, "writes": plan.writes,
                    "at_once": AT_ONCE[form], "read": read, "forgetful": forgetful,
                    "journal": str(folder / f"{form}.journal"),
                }
                for form, parts in PARTS_OF.items()
            ]  # fmt: skip
            making.clients = Clients(orders, folder)
            stack.callback(making.clients.close)
            await _watch(relay, making, plan)
            async with asyncio.timeout(STUCK):
                await relay.settle()
        await making.settle()
        result.seconds = time.monotonic() - started
        # Nobody is left who could change anything.
        await asyncio.to_thread(sandbox.end_workers)
        result.kills = dict(making.killed)
        result.requests, result.replayed = relay.requests, relay.replayed
        result.refused = {str(status): times for status, times in sorted(relay.refused.items())}
        result.due, result.fired = dict(plan.faults), dict(relay.fired)
        _count(result, name, sandbox.kneo.database, [each["journal"] for each in orders])
        return result


class _Making:
    """What goes on beside the relay: kills, and what is started again."""

    def __init__(self, plan: Plan, sandbox: failwell_sandbox.Sandbox, server: Server) -> None:
        self.killed: Counter[str] = Counter()
        self.clients: Clients
        self._sandbox = sandbox
        self._server = server
        self._restarting: asyncio.Task[None] | None = None

    async def kill(self, kill: Kill) -> None:
        """Kill who is to be killed. What is killed is started again, by whoever keeps it."""
        if kill.who == "client":
            self.killed["client"] += self.clients.kill(kill.which)
        elif kill.who == "server":
            if self._server.crash is not None:
                await self.settle()
                self._restarting = asyncio.create_task(self._restart())
        else:
            while not (pids := sorted(self._sandbox.pids)):
                await asyncio.sleep(0.01)
            for pid in pids if kill.who == "workers" else [pids[kill.which % len(pids)]]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed["worker"] += 1

    async def _restart(self) -> None:
        await asyncio.to_thread(self._server.crash)
        self.killed["server"] += 1

    async def settle(self) -> None:
        """Come back when the server is up."""
        if self._restarting is not None:
            await self._restarting


async def _watch(relay: Relay, making: _Making, plan: Plan) -> None:
    """Tell how far it is, until the clients have finished."""
    began = heard = told = time.monotonic()
    answered = -1
    while not making.clients.finished():
        await asyncio.sleep(0.05)
        now = time.monotonic()
        if relay.trouble:
            raise relay.trouble[0]
        if relay.answered != answered:
            answered, heard = relay.answered, now
        elif now - heard > STUCK:
            raise RuntimeError(f"nothing has been answered for {STUCK:g} s, after {answered:,} writes")
        if now - told > (1.0 if sys.stderr.isatty() else 15.0):
            told = now
            say(
                f"{relay.answered:,} of {plan.writes:,} writes, {relay.requests:,} requests, "
                f"{relay.fired.total():,} faults, {making.killed.total():,} kills, {now - began:.0f} s"
            )
    say("")


def _count(result: Result, name: str, database: Any, journals: Sequence[str]) -> None:
    """Read the tables, and hold what the clients were told against them."""
    told: dict[int, str] = {}
    failed: Counter[str] = Counter()
    claims: list[tuple[str, int, float, str]] = []
    for journal in journals:
        for line in Path(journal).read_text().splitlines():
            match line.split():
                case ["=", number, run_id, "."]:
                    told[int(number)] = run_id
                case ["?", number, nth, at, error, effect, "."]:
                    failed[f"{error}, {effect}"] += 1
                    claims.append((f"{name}-{number}", int(nth), float(at), effect))
                case _:
                    pass
    found: dict[str, list[str]] = {}
    first: dict[str, float] = {}
    for marker, resource, at in database.read_blocking("SELECT name, resource, at FROM effects ORDER BY seq"):
        found.setdefault(marker, []).append(resource)
        first.setdefault(marker, at)
    result.false = sum(_is_false(first.get(marker, inf), nth, at, said) for marker, nth, at, said in claims)
    runs = {row[0] for row in database.read_blocking("SELECT id FROM runs")}
    markers = [f"{name}-{number}" for number in range(result.plan["writes"])]
    resources = {resource for many in found.values() for resource in many}
    result.failed = dict(failed.most_common())
    result.answered = len(told)
    result.effects = sum(len(found.get(marker, ())) for marker in markers)
    result.lost = sum(not found.get(marker) for marker in markers)
    result.duplicated = sum(max(0, len(found.get(marker, ())) - 1) for marker in markers)
    result.untrue = sum(run_id not in found.get(f"{name}-{number}", ()) for number, run_id in told.items())
    result.loose = len(runs ^ resources) + len(found.keys() - set(markers))


def _is_false(done: float, nth: int, at: float, said: str) -> bool:
    """
    Whether the ledger refutes what a failed call said of its effect.

    Args:
        done: When the write was done, unix seconds.
        nth: Which of the write's calls it was: only the first can rule out what an earlier one may have done.
        at: When it failed.
        said: `applied`, `not_applied`, `not_sent` or `unknown`.
    """
    if said == "applied":
        return done > at + CLOCK
    return said.startswith("not_") and nth == 1 and done < at - CLOCK


# --- the report ---


def table(result: Result) -> list[str]:
    """The result in Markdown."""
    fired, kills = sum(result.fired.values()), result.kills
    writes = result.plan["writes"]
    verdict = "**" + ("; ".join(result.wrong) or "exactly one effect each") + "**"
    # Of a run before they were looked at, nothing is said.
    claims = [] if result.false is None else [("false claims of failed calls", f"{result.false:,}")]
    rows = [
        ("logical writes", f"{writes:,}"),
        ("answered, in the end", f"{result.answered:,}"),
        ("effects in the tables", f"{result.effects:,}"),
        ("lost", f"{result.lost:,}"),
        ("duplicated", f"{result.duplicated:,}"),
        ("answered with what is not there", f"{result.untrue:,}"),
        *claims,
        ("", verdict),
        ("requests", f"{result.requests:,}"),
        ("of those repeated, by the library or later", f"{result.requests - writes:,}"),
        ("calls that failed, made again later with their key", f"{sum(result.failed.values()):,}"),
        ("answered from the record", f"{result.replayed:,}"),
        ("faults", f"{fired:,} of {len(result.fired)} kinds"),
        ("workers killed (SIGKILL)", f"{kills.get('worker', 0):,} of {result.workers} at a time"),
        ("clients killed (SIGKILL)", f"{kills.get('client', 0):,}"),
        ("times the database's server was killed", f"{kills.get('server', 0):,}"),
        ("time", f"{result.seconds:,.0f} s, {writes / result.seconds:,.0f} writes a second"),
    ]
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def text_of(result: Result) -> str:
    """What is said of a run on the page."""
    asked = f"--store {result.store} --writes {result.plan['writes']} --seed {result.plan['seed']}"
    faults = [f"| {name} | {result.due.get(name, 0):,} | {result.fired.get(name, 0):,} |" for name in NAMES]
    failed = [f"| `{name}` | {times:,} |" for name, times in result.failed.items()]
    refused = [f"| {status} | {times:,} |" for status, times in result.refused.items()]
    return "\n".join(
        [
            f"Measured on {result.when} by `python benchmarks/exactly_once.py {asked}` on {result.machine}.",
            f"The store is {result.server}; {result.workers} worker processes served.",
            "",
            *table(result),
            "",
            "What the clients' calls ended with that failed, and what they said of the effect:",
            "",
            *["| exception, effect | calls |", "|---|---|", *failed],
            "",
            "What the service answered but 201:",
            "",
            *["| status | answers |", "|---|---|", *refused],
            "",
            "Faults:",
            "",
            *["| fault | planned | happened |", "|---|---|---|", *faults],
        ]
    )


def write_section(page: Path, store: str, text: str) -> None:
    """Replace what stands between the two markers of a store."""
    begin, end = f"<!-- {store}: begin -->", f"<!-- {store}: end -->"
    before, found, rest = page.read_text().partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise SystemExit(f"{page} has no {begin} ... {end}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def options() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", action="append", choices=STORES, help="by default all three")
    parser.add_argument("--url", default="", help="of a database that is there; else a private one is made")
    parser.add_argument("--writes", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="which faults and kills, and when")
    parser.add_argument("--faults", type=float, default=0.25, help="share of the writes that meet some")
    parser.add_argument("--kill-every", type=int, default=400, help="writes between two SIGKILLs of a worker")
    parser.add_argument("--server-kills", type=int, default=5, help="of a private PostgreSQL or Redis")
    parser.add_argument("--client-kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0, help="on PostgreSQL and Redis")
    parser.add_argument("--lease", type=float, default=LEASE, help="seconds a dead worker's claim is held")
    parser.add_argument("--read", type=float, default=READ, help="seconds a client waits for an answer")
    parser.add_argument(
        "--forget-keys",
        action="store_true",
        help="make a write again with another key: it must be found to be duplicated",
    )
    parser.add_argument(
        "--from",
        dest="results",
        type=Path,
        metavar="FILE",
        help="run nothing; show the results that an earlier --json printed",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between its markers")
    return parser


def _once(store: str, given: argparse.Namespace) -> Result:
    with server_for(store, given.url) as server:
        plan = Plan(
            given.seed,
            given.writes,
            given.faults,
            given.kill_every,
            given.server_kills if server.crash is not None else 0,
            given.client_kills,
        )
        workers = 1 if store == "sqlite" else given.workers or WORKERS[store]
        return asyncio.run(
            run(
                store, plan, server, workers=workers, lease=given.lease, read=given.read,
                forgetful=given.forget_keys,
            )
        )  # fmt: skip


def _results(given: argparse.Namespace) -> Iterator[Result]:
    if given.results is not None:
        yield from (Result(**each) for each in json.loads(given.results.read_text()))
        return
    for store in given.store or STORES:
        yield _once(store, given)


def main() -> None:
    given = options().parse_args()
    forget_proxies()
    workers_log.addHandler(logging.NullHandler())  # that they die is what is asked for
    workers_log.propagate = False
    say(f"load of the machine: {load():.1f}")
    results = []
    for result in _results(given):
        results.append(result)
        if given.write is not None:
            write_section(given.write, result.store, text_of(result))
        if not given.json:
            print(f"\n{TITLES[result.store]}, {result.server}\n", *table(result), sep="\n", flush=True)
    if given.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    wrong = [f"{TITLES[result.store]}: {'; '.join(result.wrong)}" for result in results if result.wrong]
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise SystemExit(130) from None
