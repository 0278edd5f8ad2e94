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

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from contenders import ASYNC, AT_ONCE, PEERS, SYNC
from machine import cores, description, load

HERE = Path(__file__).parent
PEER_PACKAGES = ("openai[aiohttp]", "anthropic", "azure-core", "stripe", "botocore", "requests")
BARE_PACKAGES = ("httpx2", "aiohttp", "pyreqwest")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

US, MS = "µs", "ms"


@dataclass(frozen=True)
class Row:
    """
    One line of the table.

    Attributes:
        measure: What is compared.
        target: The bound, in `unit`.
        at_most: Whether the target bounds from above; else from below.
        reached: What was measured.
        unit: Behind the numbers; "times" for a ratio.
        note: What the number does not say.
    """

    measure: str
    target: float
    at_most: bool
    reached: float
    unit: str
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the target holds."""
        return self.reached <= self.target if self.at_most else self.reached >= self.target


@dataclass(frozen=True)
class Time:
    """Microseconds a call: the median of a contender's rounds, by the clock and of processor time."""

    wall: float
    cpu: float
    rounds: int


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


def versions(python: Path, packages: Iterable[str]) -> dict[str, str]:
    """Which versions of `packages` that interpreter has."""
    names = [name.partition("[")[0] for name in packages]
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    told = subprocess.run(
        [str(python), "-c", code, *names], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()
    return dict(zip(names, told, strict=True))


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


def _number(value: float, unit: str) -> str:
    digits = 1 if unit in (US, MS) else 0 if unit in ("blocks", "%") else 2
    return f"{value:.{digits}f} {unit}".strip()


def rows_table(rows: list[Row]) -> list[str]:
    """The rows as a Markdown table, one line each."""
    lines = ["| measure | target | reached | met |", "|---|---|---|---|"]
    for row in rows:
        bound = "at most" if row.at_most else "at least"
        reached = _number(row.reached, row.unit) + (f" ({row.note})" if row.note else "")
        target = f"{bound} {row.target:g} {row.unit}".strip()
        lines.append(f"| {row.measure} | {target} | {reached} | {'yes' if row.met else '**no**'} |")
    return lines


def times_table(times: dict[str, Time]) -> list[str]:
    """The times as a Markdown table, one line each."""
    lines = ["| one call | µs | of these, µs of the client's processor |", "|---|---|---|"]
    for name, t in times.items():
        lines.append(f"| {name} | {t.wall:.0f} | {t.cpu:.0f} |")
    return lines


def report(result: dict[str, Any], times: dict[str, Time], rows: list[Row]) -> str:
    """All that was measured, as Markdown."""
    with_versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        f"Measured on {result['date']} by `{result['command']}` on {result['machine']}; "
        f"load of the machine before: {result['load']:.1f}.",
        f"Medians of {result['rounds']} rounds of {result['seconds']:g} s.",
        f"With {with_versions}.",
        "",
        *rows_table(rows),
        "",
        f"Async with {AT_ONCE} calls at once, sync one at a time.",
        "",
        *times_table(times),
    ]
    return "\n".join(lines)


def write_into(page: Path, text: str) -> None:
    """Replace what stands between the two markers of `page`."""
    old = page.read_text()
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no {BEGIN} ... {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def say(text: str) -> None:
    """Show how far it is, in place of what was shown before."""
    print(f"\r\033[K{text}" if sys.stderr.isatty() else text, end="", file=sys.stderr, flush=True)
    if not sys.stderr.isatty():
        print(file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compare", action="store_true", help="measure the peers too")
    parser.add_argument(
        "--peers",
        type=Path,
        default=HERE / ".venv-peers",
        metavar="FOLDER",
        help="their venv, made if absent",
    )
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="contenders whose name has this in it"
    )
    parser.add_argument("--no-alone", action="store_true", help="leave out what needs no second library")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--seconds", type=float, default=0.2, help="length of one turn")
    parser.add_argument("--warm-up", type=int, default=1024, help="calls of each contender, made twice")
    parser.add_argument("--calls", type=int, default=100_000, help="calls of the longest run with no engine")
    parser.add_argument("--imports", type=int, default=41, help="runs of each import")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between its markers")
    given = parser.parse_args()

    ours = Path(sys.executable)
    names = [n for n in (*SYNC, *ASYNC) if given.compare or n not in PEERS]
    if given.only:
        names = [n for n in names if any(text in n for text in given.only)]
    peers = peers_python(given.peers) if given.compare else ours
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "command": "python benchmarks/run.py" + (" --compare" if given.compare else ""),
        "machine": description(),
        "load": load(),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "versions": versions(ours, ("failwell", *BARE_PACKAGES))
        | (versions(peers, PEER_PACKAGES) if given.compare else {}),
    }
    times: dict[str, Time] = {}
    for group in (SYNC, ASYNC):  # sync and async apart: fewer processes that wait
        wanted = {n: peers if n in PEERS else ours for n in names if n in group}
        if wanted:
            times |= raced(wanted, rounds=given.rounds, seconds=given.seconds, warm_up=given.warm_up)
    rows = ratio_rows(times)
    if not given.no_alone:
        result["alone"] = alone(given.calls, given.imports)
        rows += alone_rows(result["alone"])
    say("")
    text = report(result, times, rows)
    if given.write is not None:
        write_into(given.write, text)
    if given.json:
        result["times"] = {name: asdict(t) for name, t in times.items()}
        result["rows"] = [asdict(row) | {"met": row.met} for row in rows]
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        print(text)


if __name__ == "__main__":
    main()
