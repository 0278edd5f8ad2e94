"""
Measures failwell and prints a table: measure, target, reached, met.

    python benchmarks/run.py                    failwell against the bare libraries it runs on
    python benchmarks/run.py --compare          and against five SDKs, in a venv of their own
    python benchmarks/run.py --compare --write docs/performance.md

Every contender is a process of its own on one core, the server is one on another. The contenders
take turns, a fraction of a second each, for many rounds; what counts is the median of a
contender's rounds, and the ratio of two medians. docs/performance.md says more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from contenders import ASYNC, AT_ONCE, PEERS, SYNC
from machine import cores
from tables import HERE, MS, US, Row, Time, heading, noted, options, rows_table, say, tell, versions, wanted

PEER_PACKAGES = ("openai[aiohttp]", "anthropic", "azure-core", "stripe", "botocore", "requests")
BARE_PACKAGES = ("httpx2", "aiohttp", "pyreqwest")


class Worker:
    """
    One contender in its own process.

    Args:
        name: Its name in `contenders`.
        python: The interpreter that has its packages.
        url: The server.
        core: The core it stays on.
    """

    def __init__(self, name: str, python: Path, url: str, core: int | None) -> None:
        self.name = name
        self.rounds: list[dict[str, float]] = []
        self._calls = AT_ONCE
        pinned = [] if core is None else ["--cpu", str(core)]
        self._process = subprocess.Popen(
            [str(python), str(HERE / "contenders.py"), name, url, *pinned],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def turn(self, calls: int) -> dict[str, float]:
        """Make that many calls now."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended; what it said stands above")
        told: dict[str, float] = json.loads(line)
        return told

    def warm_up(self, calls: int, seconds: float) -> None:
        """Open connections, fill caches, and see how many calls make a turn of `seconds`."""
        self.turn(calls)
        told = self.turn(calls)
        self._calls = max(AT_ONCE, min(50_000, int(seconds / told["wall"])))

    def round(self) -> None:
        """One turn that counts."""
        self.rounds.append(self.turn(self._calls))

    def time(self) -> Time:
        """What its rounds say."""
        wall, cpu = (median(r[key] for r in self.rounds) * 1e6 for key in ("wall", "cpu"))
        return Time(wall, cpu, len(self.rounds))


def served(core: int | None) -> tuple[subprocess.Popen[str], str]:
    """The server's process and its address."""
    pinned = [] if core is None else ["--cpu", str(core)]
    server = subprocess.Popen(
        [sys.executable, str(HERE / "server.py"), *pinned],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    return server, f"http://127.0.0.1:{int(server.stdout.readline())}"


def raced(pythons: dict[str, Path], *, rounds: int, seconds: float, warm_up: int) -> dict[str, Time]:
    """
    Let contenders take turns.

    Args:
        pythons: The contenders, each with the interpreter that has its packages.
        rounds: Turns of each that count.
        seconds: The length of a turn.
        warm_up: Calls of each that do not count, made twice.
    """
    client_core, server_core = cores()[0], cores()[-1]
    server, url = served(server_core)
    with ExitStack() as stack:
        stack.callback(server.wait)
        assert server.stdin is not None
        stack.callback(server.stdin.close)
        workers = [
            stack.enter_context(Worker(name, python, url, client_core)) for name, python in pythons.items()
        ]
        for worker in workers:
            worker.warm_up(warm_up, seconds)
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}, {len(workers)} contenders")
            for worker in workers:
                worker.round()
        return {worker.name: worker.time() for worker in workers}


def alone(calls: int, runs: int) -> dict[str, Any]:
    """What `alone.py` measures, on the clients' core."""
    say("overhead, imports, decoding, an outage")
    core = cores()[0]
    pinned = [] if core is None else ["--cpu", str(core)]
    told = subprocess.run(
        [sys.executable, str(HERE / "alone.py"), "--calls", str(calls), "--runs", str(runs), *pinned],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def peers_python(folder: Path) -> Path:
    """The interpreter of a venv with the peers in it, made in `folder` if there is none."""
    python = folder / "bin" / "python"
    if not python.exists():
        say(f"installing the peers in {folder}")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
    return python


def ratio_rows(times: dict[str, Time]) -> list[Row]:
    """The lines that compare two contenders."""
    rows: list[Row] = []

    def at_most(target: float, ours: str, theirs: str) -> None:
        if ours in times and theirs in times:
            reached = times[ours].wall / times[theirs].wall
            rows.append(Row(f"{ours} / bare {theirs}", target, True, reached, "times"))

    def faster(target: float, ours: str, theirs: str) -> None:
        if ours in times and theirs in times:
            reached = times[theirs].wall / times[ours].wall
            rows.append(Row(f"{ours}, faster than {theirs}", target, False, reached, "times"))

    at_most(0.9, "failwell, httpx", "httpx2.Client")
    faster(1.7, "failwell, httpx", "openai")
    faster(1.6, "failwell, httpx", "anthropic")
    faster(2.8, "failwell, httpx", "azure-core")
    faster(2.6, "failwell, httpx", "stripe")
    faster(2.5, "failwell, httpx", "botocore")
    at_most(0.95, "failwell async, httpx", "httpx2.AsyncClient")
    faster(1.3, "failwell async, httpx", "openai async")
    at_most(1.25, "failwell async, aiohttp", "aiohttp")
    faster(3.5, "failwell async, aiohttp", "openai async, aiohttp")
    faster(6, "failwell async, aiohttp", "openai async")
    at_most(1.2, "failwell, pyreqwest", "pyreqwest")
    faster(3.7, "failwell, pyreqwest", "openai")
    at_most(1.2, "failwell async, pyreqwest", "pyreqwest async")
    faster(9, "failwell async, pyreqwest", "openai async")
    return rows


def alone_rows(found: dict[str, Any]) -> list[Row]:
    """The lines that need no second library."""
    rows = []
    for name in ("sync", "async"):
        counts: dict[str, float] = found["overhead"][name]
        shown = ", ".join(f"{value:.1f} at {int(count):,}" for count, value in counts.items())
        measure = f"what failwell adds to a successful call, {name}, engine stubbed"
        rows.append(Row(measure, 15, True, max(counts.values()), US, shown))
    longest = list(found["overhead"]["sync"])[-1]
    rows.append(
        Row(
            f"blocks of memory kept after {int(longest):,} calls",
            100,
            True,
            found["overhead"]["blocks_kept"],
            "blocks",
        )
    )
    for name, target in (("failwell.RateLimitError", 12.0), ("kneo_client.core.errors", 15.0)):
        measured = found["imports"][name]
        foreign = ", ".join(measured["foreign"])
        rows.append(
            Row(
                f"import {name}, above a bare interpreter",
                target,
                True,
                measured["above"],
                MS,
                f"loads {foreign}" if foreign else "no third-party module loaded",
            )
        )
    for name, measured in found["decoding"].items():
        rows.append(
            Row(
                f"decode a failed call, {name}, above json.loads",
                30,
                True,
                measured["above"],
                US,
                f"{measured['bytes']} bytes",
            )
        )
    for name, target in (("off", 1.10), ("on", 0.35)):
        rows.append(
            Row(
                f"requests a call while all answers are 503, breaker {name}",
                target,
                True,
                found["outage"][name],
                "",
            )
        )
    return rows


def times_table(times: dict[str, Time]) -> list[str]:
    """The times as a Markdown table, one line each."""
    lines = ["| one call | µs | of these, µs of the client's processor |", "|---|---|---|"]
    for name, t in times.items():
        lines.append(f"| {name} | {t.wall:.0f} | {t.cpu:.0f} |")
    return lines


def report(result: dict[str, Any], times: dict[str, Time], rows: list[Row]) -> str:
    """All that was measured, as Markdown."""
    lines = [
        *heading(result),
        "",
        *rows_table(rows),
        "",
        f"Async with {AT_ONCE} calls at once, sync one at a time.",
        "",
        *times_table(times),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = options(__doc__, compared="the peers", rounds=31, seconds=0.2)
    parser.add_argument(
        "--peers",
        type=Path,
        default=HERE / ".venv-peers",
        metavar="FOLDER",
        help="their venv, made if absent",
    )
    parser.add_argument("--no-alone", action="store_true", help="leave out what needs no second library")
    parser.add_argument("--calls", type=int, default=100_000, help="calls of the longest run with no engine")
    parser.add_argument("--imports", type=int, default=41, help="runs of each import")
    given = parser.parse_args()

    ours = Path(sys.executable)
    peers = peers_python(given.peers) if given.compare else ours
    packages = versions(ours, ("failwell", *BARE_PACKAGES))
    packages |= versions(peers, PEER_PACKAGES) if given.compare else {}
    result = noted("run.py", given, packages)
    times: dict[str, Time] = {}
    for group in (SYNC, ASYNC):  # sync and async apart: fewer processes that wait
        pythons = {
            name: peers if name in PEERS else ours
            for name in group
            if (given.compare or name not in PEERS) and wanted(given, name)
        }
        if pythons:
            times |= raced(pythons, rounds=given.rounds, seconds=given.seconds, warm_up=given.warm_up)
    rows = ratio_rows(times)
    if not given.no_alone:
        result["alone"] = alone(given.calls, given.imports)
        rows += alone_rows(result["alone"])
    tell(given, result, times, rows, report(result, times, rows))


if __name__ == "__main__":
    main()
