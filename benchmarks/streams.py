"""
Measures how streams of events are read and prints a table: measure, target, reached, met.

    python benchmarks/streams.py                          the decoder, and 1,000 cuts
    python benchmarks/streams.py --compare                next to httpx-sse and openai, in a venv of their own
    python benchmarks/streams.py --compare --cuts 10000 --write docs/stream-performance.md
    python benchmarks/streams.py --cuts 10000 --only cuts

The decoders get the same bytes in cuts of 4 kB, each in a process of its own; what counts is processor
time, and the median of the rounds. The cuts are those of a service over a socket, at random bytes of
a live stream: each event has to come once and in order, and their text has to equal the uncut one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from failwell import AsyncClient, Client, Operation, ResumePolicy, ServerSentEvent, Stream
from machine import cores, description, forget_proxies, load
from stream_decoders import KINDS
from stream_server import text_of
from tables import HERE, Row, rows_table, say, versions, write_into

PEERS = {"httpx-sse": 2.0, "openai": 4.0}  # and how often as fast we are to be
PEER_PACKAGES = ("httpx-sse==0.4.3", "httpx==0.28.1", "openai==3.54.0")
# What the targets are about: the events of a service whose streams can be gone on with, and all kinds.
AIMED = ("answer", "resumable", "crlf", "lines", "mixed")
READERS = ("httpx", "httpx, async", "aiohttp", "pyreqwest", "pyreqwest, async")


def peers_python(folder: Path) -> Path:
    """The interpreter of a venv with the peers in it, made in `folder` if there is none."""
    python = folder / "bin" / "python"
    if not python.exists():
        say("installing the peers")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEER_PACKAGES], check=True)
    return python


def decoded(python: Path, side: str, kind: str, rounds: int) -> dict[str, Any]:
    """What one decoder took for one kind of stream."""
    core = cores()[-1]
    pinned = [] if core is None else ["--cpu", str(core)]
    command = [
        str(python),
        str(HERE / "stream_decoders.py"),
        side,
        kind,
        "--rounds",
        str(rounds),
        *pinned,
    ]
    told: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    )
    told["a second"] = told["events"] / median(told["seconds"])
    return told


def decoders(given: argparse.Namespace) -> tuple[dict[str, dict[str, Any]], list[Row], list[str]]:
    """The decoders, side by side: figures, rows and a table of events a second."""
    ours = Path(sys.executable)
    pythons = {"failwell": ours}
    if given.compare:
        pythons |= dict.fromkeys(PEERS, peers_python(given.peers))
    figures: dict[str, dict[str, Any]] = {}
    rows = []
    lines = [f"| events a second | {' | '.join(pythons)} |", "|---" * (len(pythons) + 1) + "|"]
    for kind, (make, _) in KINDS.items():
        if given.kind and kind not in given.kind:
            continue
        told = {}
        for side, python in pythons.items():
            say(f"decoding: {kind}, {side}")
            told[side] = decoded(python, side, kind, given.rounds)
        figures[kind] = told
        speeds = " | ".join(f"{told[side]['a second']:,.0f}" for side in pythons)
        what = (make.__doc__ or kind).rstrip(".").lower()
        lines.append(f"| {kind}: {what} | {speeds} |")
        for peer, target in PEERS.items():
            if peer in told and kind in AIMED:
                ratio = told["failwell"]["a second"] / told[peer]["a second"]
                rows.append(Row(f"{kind}: events a second, of {peer}'s", target, False, ratio, "times"))
    return figures, rows, lines


@contextmanager
def service() -> Iterator[str]:
    """The address of the service that cuts, in a process of its own."""
    core = cores()[0]
    pinned = [] if core is None else ["--cpu", str(core)]
    with subprocess.Popen(
        [sys.executable, str(HERE / "stream_server.py"), *pinned],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def read(url: str, reader: str, stream: Stream[str]) -> list[str]:
    """All items of a stream, by that reader."""
    engine, _, how = reader.partition(", ")
    if how or engine == "aiohttp":

        async def ask() -> list[str]:
            async with AsyncClient(url, engine=engine) as client, client.stream(stream) as events:
                return [item async for item in events]

        return asyncio.run(ask())
    with Client(url, engine=engine) as client, client.stream(stream) as events:
        return list(events)


def cut(url: str, reader: str, cuts: int, seed: int) -> dict[str, Any]:
    """What came of a stream that was cut that often."""
    name = f"{reader.replace(', ', '-')}-{seed}"
    # More than what can come before the last cut: the rest comes whole.
    events = cuts * 4
    stream: Stream[str] = Stream(
        Operation("GET", f"/streams/{name}?events={events}&cuts={cuts}&most=200&seed={seed}"),
        lambda event: event.data,
        _is_done,
        policy=ResumePolicy(wait=0.0, reconnects=10_000),
    )
    began = time.perf_counter()
    items = read(url, reader, stream)
    took = time.perf_counter() - began
    with urllib.request.urlopen(f"{url}/counts/{name}") as told:
        counts = json.load(told)
    expected = [*map(text_of, range(events)), "bye"]
    wrong = sum(a != b for a, b in zip(items, expected, strict=False)) + abs(len(items) - len(expected))
    return {
        "cuts": counts["cut"],
        "connections": counts["asked"],
        "events": events,
        "wrong": wrong,
        "equal": "".join(items) == "".join(expected),
        "seconds": took,
    }


def _is_done(event: ServerSentEvent) -> bool:
    return event.type == "done"


def cuttings(given: argparse.Namespace) -> tuple[dict[str, Any], list[Row], list[str]]:
    """The cuts, by every reader: figures, rows and a table."""
    figures, rows = {}, []
    lines = ["| reader | cuts | events | connections | seconds |", "|---|---|---|---|---|"]
    with service() as url:
        for reader in READERS:
            if given.reader and reader not in given.reader:
                continue
            say(f"cutting: {reader}")
            figures[reader] = told = cut(url, reader, given.cuts, given.seed)
            rows += [
                Row(f"{reader}: cuts at random bytes", given.cuts, False, told["cuts"], "cuts"),
                Row(f"{reader}: events lost, twice or out of order", 0, True, told["wrong"], "events"),
                Row(f"{reader}: text equal to the uncut one", 1, False, float(told["equal"]), "(1: yes)"),
            ]
            lines.append(
                f"| {reader} | {told['cuts']:,} | {told['events']:,} | {told['connections']:,} "
                f"| {told['seconds']:.1f} |"
            )
    return figures, rows, lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compare", action="store_true", help="measure httpx-sse and openai, too")
    parser.add_argument("--peers", type=Path, default=HERE / ".venv-stream-peers", metavar="FOLDER",
                        help="their venv, made if absent")  # fmt: skip
    parser.add_argument("--only", choices=("decoders", "cuts"), help="one half")
    parser.add_argument("--reader", action="append", choices=READERS, help="whose stream is cut; all")
    parser.add_argument("--kind", action="append", choices=KINDS, help="what is decoded; all")
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="of the cuts")
    parser.add_argument("--rounds", type=int, default=9, help="of the decoders")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between its markers")
    given = parser.parse_args()
    forget_proxies()
    before = load()
    packages = versions(Path(sys.executable), ("failwell", "httpx2", "aiohttp", "pyreqwest"))
    result: dict[str, Any] = {}
    rows: list[Row] = []
    tables: list[list[str]] = []
    if given.only != "cuts":
        figures, more, lines = decoders(given)
        result["decoders"], rows, tables = figures, rows + more, [*tables, lines]
        if given.compare:
            packages |= versions(given.peers / "bin" / "python", ("httpx-sse", "openai"))
    if given.only != "decoders":
        figures, more, lines = cuttings(given)
        result["cuts"], rows, tables = figures, rows + more, [*tables, lines]
    say("")
    readers = "".join(f" --reader '{reader}'" for reader in given.reader or ())
    heading = [
        f"Measured on {time.strftime('%Y-%m-%d')} by `python benchmarks/streams.py"
        f"{' --compare' if given.compare else ''} --cuts {given.cuts}{readers}` on {description()}; "
        f"load of the machine before: {before:.1f}.",
        f"Medians of {given.rounds} rounds; the seed of the cuts is {given.seed}.",
        f"With {', '.join(f'{name} {version}' for name, version in packages.items())}.",
    ]
    parts = [heading, rows_table(rows), *tables] if rows else [heading, *tables]
    text = "\n\n".join("\n".join(part) for part in parts)
    if given.write is not None:
        write_into(given.write, text)
    if given.json:
        result["rows"] = [asdict(row) | {"met": row.met} for row in rows]
        text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)


if __name__ == "__main__":
    main()
