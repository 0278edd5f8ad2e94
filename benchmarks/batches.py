"""
Sends 5,000 files, of which 2 in a hundred fail, as a batch and by plain httpx2, side by side.

    python benchmarks/batches.py                                     everything
    python benchmarks/batches.py --write docs/batch-performance.md   what made the page's tables
    python benchmarks/batches.py --files 500 --rounds 1              shorter

Each side is a process of its own that sends the same files to a service in another; the sides take
turns. What counts is the median of a side's rounds and the ratio of two medians. Then one batch is sent
again, and the service counts what comes.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import failwell
import failwell.telemetry
from machine import cores, load
from sides import Measured, Talking
from tables import Row, conclude, measured, rows_table, say

PACKAGES = ("failwell", "httpx2", "httpcore2", "h11", "aiohttp")
MB = 1_000_000

# Side, and the one it is compared with.
SIDES = {
    "failwell": "httpx2",
    "failwell, async": "httpx2, async",
    "failwell, async, aiohttp": "httpx2, async",
    "httpx2": "",
    "httpx2, async": "",
}


def raced(stack: ExitStack, url: str, files: list[str], given: argparse.Namespace) -> dict[str, Measured]:
    """Let the sides take turns."""
    clients = {}
    for side in (side for side in SIDES if not given.only or side in given.only):
        clients[side] = Talking("batch_client.py", side, url, core=cores()[0])
        stack.callback(clients[side].close)
        clients[side].ask({"files": files[:200], "at_once": given.at_once})
    found = {side: Measured() for side in clients}
    bad = sum(number % 50 == 7 for number in range(len(files)))
    for number in range(given.rounds):
        for side, client in clients.items():
            say(f"round {number + 1} of {given.rounds}, {side}")
            told = client.ask({"files": files, "at_once": given.at_once})
            if told["done"] != len(files) - bad or not told["in_order"]:
                raise SystemExit(f"{side}: {told['done']} of {len(files)} succeeded")
            found[side].add(told)
    return found


def twice(url: str, files: list[str], at_once: int) -> tuple[int, int, int]:
    """Send a batch, and what is left of it: how many failed, were sent again, and are done then."""
    from batch_client import post

    sent = 0

    def listen(event: failwell.telemetry.Event) -> None:
        nonlocal sent
        sent += event.kind is failwell.telemetry.Kind.ATTEMPT_STARTED

    with failwell.Client(url, deadline=None, listeners=[listen]) as client:
        first = client.perform(failwell.Batch(list(enumerate(files)), post, concurrency=at_once))
        before = sent
        client.request("POST", "/mend")
        second = client.perform(first.again())
    if not all(isinstance(item.error, failwell.InvalidRequestError) for item in first.failed):
        raise SystemExit("a failure has another type than its answer means")
    return len(first.failed), sent - before - 1, len(second.done)


def rows_of(found: dict[str, Measured], again: tuple[int, int, int], number: int) -> list[Row]:
    """The lines with a target."""
    rows = []
    for side, other in SIDES.items():
        if other in found and side in found:
            ours, theirs = found[side], found[other]
            note = f"{theirs.cpu / ours.cpu:.2f} times by processor time"
            measure = f"{side}, throughput of {other}"
            rows.append(Row(measure, 1, False, theirs.wall / ours.wall, "times", note))
    failed, sent, done = again
    rows.append(Row("sent again, of those that failed", failed, True, sent, "files"))
    rows.append(Row("done after the second run", number, False, done, "files"))
    return rows


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--file-kb", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", action="append", choices=SIDES, help="leave the others out")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between its markers")
    return parser


def main() -> None:
    given = options().parse_args()
    before = load()
    dice = random.Random("batch")
    with tempfile.TemporaryDirectory(prefix="failwell-batches-") as made, ExitStack() as stack:
        files = [str(Path(made) / f"{number:05}.bin") for number in range(given.files)]
        for file in files:
            Path(file).write_bytes(dice.randbytes(given.file_kb * 1000))
        server = Talking("batch_server.py", core=cores()[-1])
        stack.callback(server.close)
        url = f"http://127.0.0.1:{int(server.line())}"
        found = raced(stack, url, files, given)
        say("once more, only what failed")
        again = twice(url, files, given.at_once)
    say("")
    rows = rows_of(found, again, given.files)
    lines = measured(
        "batches.py",
        before,
        PACKAGES,
        f"{given.files:,} files of {given.file_kb} kB, {given.at_once} at once, every fiftieth refused; "
        f"medians of {given.rounds} rounds.",
    )
    lines += [
        *rows_table(rows),
        "",
        "| side | files a second | seconds | of the client's processor | peak memory |",
        "|---|---|---|---|---|",
        *(
            f"| {side} | {given.files / one.wall:,.0f} | {one.wall:.2f} | {one.cpu:.2f} "
            f"| {one.peak / MB:.0f} MB |"
            for side, one in found.items()
        ),
    ]
    conclude(given, rows, lines, sides={side: asdict(one) for side, one in found.items()})


if __name__ == "__main__":
    main()
