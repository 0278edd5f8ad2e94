"""
Measures uploads and prints a table: measure, target, reached, met.

    python benchmarks/uploads.py                                      failwell next to plain httpx2
    python benchmarks/uploads.py --write docs/upload-performance.md   what made the page's tables
    python benchmarks/uploads.py --images 200 --file-mb 200           shorter

2,000 images of 200 kB with 16 at once, then one file of 2 GB, each by a client in a process of its
own to a service in another. The sides take turns; what counts is the median of a side's rounds, the
ratio of two medians, and the most memory a client ever had.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from machine import cores, description, load
from tables import HERE, Row, rows_table, say, versions, write_into

PACKAGES = ("failwell", "httpx2", "httpcore2", "h11", "aiohttp")
MB = 1_000_000

# Side, and the one it is compared with.
IMAGES = {
    "failwell": "httpx2",
    "failwell, digest": "httpx2, digest",
    "failwell, async": "httpx2, async",
    "failwell, async, aiohttp": "httpx2, async",
    "httpx2": "",
    "httpx2, opened file": "",
    "httpx2, digest": "",
    "httpx2, async": "",
}
FILE = {
    "failwell": "httpx2, opened file",
    "failwell, digest": "",
    "failwell, async": "httpx2, async, in pieces",
    "failwell, async, aiohttp": "httpx2, async, in pieces",
    "httpx2, opened file": "",
    "httpx2, async, in pieces": "",
}


@dataclass
class Group:
    """
    Sides that take turns.

    Attributes:
        name: In the tables, before the side's.
        sides: Each with the one it is compared with.
        files: What is uploaded in a turn.
        warm_up: What is uploaded before: a process has then loaded and connected.
        at_once: How many of them at once.
        peak_mb: The most memory a client of ours may have.
        rounds: How many turns each side has.
    """

    name: str
    sides: dict[str, str]
    files: Sequence[Path]
    warm_up: Sequence[Path]
    at_once: int
    peak_mb: int
    rounds: int


@dataclass
class Measured:
    """What the turns of one side took: seconds by the clock and of the processor, bytes of memory."""

    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    peak: int = 0
    bytes: int = 0

    @property
    def wall(self) -> float:
        return median(self.walls)

    @property
    def cpu(self) -> float:
        return median(self.cpus)


class Talking:
    """A script of this folder in a process of its own, which is asked and answers in lines."""

    def __init__(self, *command: str, core: int | None) -> None:
        pinned = [] if core is None else ["--cpu", str(core)]
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / command[0]), *command[1:], *pinned],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """What it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a process has ended; what it said stands above")
        return line

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """What it answers to `order`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.line())
        return answer

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def raced(group: Group) -> dict[str, Measured]:
    """Let the sides take turns."""
    client_core, server_core = cores()[0], cores()[-1]
    expected = sum(path.stat().st_size for path in group.files)
    with ExitStack() as stack:
        server = Talking("upload_server.py", core=server_core)
        stack.callback(server.close)
        url = f"http://127.0.0.1:{int(server.line())}"
        clients: dict[str, Talking] = {}
        for side in group.sides:
            clients[side] = Talking("upload_client.py", side, url, core=client_core)
            stack.callback(clients[side].close)
        found = {side: Measured() for side in group.sides}
        for client in clients.values():
            client.ask({"files": [str(path) for path in group.warm_up], "at_once": group.at_once})
        for number in range(group.rounds):
            for side, client in clients.items():
                say(f"{group.name}: round {number + 1} of {group.rounds}, {side}")
                told = client.ask({"files": [str(path) for path in group.files], "at_once": group.at_once})
                if told["bytes"] != expected:
                    raise SystemExit(f"{side}: {told['bytes']} bytes arrived, of {expected}")
                one = found[side]
                one.walls.append(told["wall"])
                one.cpus.append(told["cpu"])
                one.peak, one.bytes = told["peak"], expected
    return found


def rows_of(group: Group, found: dict[str, Measured]) -> list[Row]:
    """The lines with a target."""
    rows = []
    for side, other in group.sides.items():
        if not side.startswith("failwell"):
            continue
        if other:
            ours, theirs = found[side], found[other]
            by_cpu = f"{theirs.cpu / ours.cpu:.2f} times by processor time"
            measure = f"{group.name}: {side}, throughput of {other}"
            rows.append(Row(measure, 1, False, theirs.wall / ours.wall, "times", by_cpu))
        rows.append(
            Row(f"{group.name}: {side}, peak memory", group.peak_mb, True, found[side].peak / MB, "MB")
        )
    return rows


def sides_table(name: str, found: dict[str, Measured]) -> list[str]:
    """Every side, one line each."""
    lines = [
        "| side | MB a second | seconds | of the client's processor | peak memory |",
        "|---|---|---|---|---|",
    ]
    for side, one in found.items():
        lines.append(
            f"| {name}: {side} | {one.bytes / one.wall / MB:,.0f} | {one.wall:.2f} | {one.cpu:.2f} "
            f"| {one.peak / MB:.0f} MB |"
        )
    return lines


def images(folder: Path, number: int, size: int) -> list[Path]:
    """Files of random bytes, each another."""
    dice = random.Random("images")
    paths = [folder / f"{index:05}.jpg" for index in range(number)]
    for path in paths:
        path.write_bytes(dice.randbytes(size))
    return paths


def sparse(folder: Path, size: int) -> Path:
    """A large file that takes no room on the disk, and was read once."""
    path = folder / "large.bin"
    with path.open("wb") as file:
        file.truncate(size)
    with path.open("rb") as file:
        while file.read(MB):
            pass
    return path


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--image-kb", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--file-mb", type=int, default=2000, help="0 to leave the large file out")
    parser.add_argument("--rounds", type=int, default=7, help="of the images; the large file has a third")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between its markers")
    return parser


def main() -> None:
    given = options().parse_args()
    before = load()
    with tempfile.TemporaryDirectory(prefix="failwell-uploads-") as made:
        folder = Path(made)
        pictures = images(folder, given.images, given.image_kb * 1000)
        groups = [
            Group(
                f"{given.images:,} images of {given.image_kb} kB",
                IMAGES,
                pictures,
                pictures[: 4 * given.at_once],
                given.at_once,
                150,
                given.rounds,
            )
        ]
        if given.file_mb:
            large = sparse(folder, given.file_mb * MB)
            rounds = max(1, given.rounds // 3)
            name = f"one file of {given.file_mb:,} MB"
            groups.append(Group(name, FILE, [large], pictures[:1], 1, 100, rounds))
        found = {group.name: raced(group) for group in groups}
    say("")
    rows = [row for group in groups for row in rows_of(group, found[group.name])]
    packages = ", ".join(f"{n} {v}" for n, v in versions(Path(sys.executable), PACKAGES).items())
    text = "\n".join(
        [
            f"Measured on {time.strftime('%Y-%m-%d')} by `python benchmarks/uploads.py` on {description()}; "
            f"load of the machine before: {before:.1f}.",
            f"Medians of {' and '.join(str(group.rounds) for group in groups)} rounds; "
            f"{given.at_once} images at once.",
            f"With {packages}.",
            "",
            *rows_table(rows),
            *(line for group in groups for line in ("", *sides_table(group.name, found[group.name]))),
        ]
    )
    if given.write is not None:
        write_into(given.write, text)
    if given.json:
        sides = {f"{name}: {side}": asdict(one) for name, each in found.items() for side, one in each.items()}
        text = json.dumps(
            {"sides": sides, "rows": [asdict(row) | {"met": row.met} for row in rows]}, indent=2
        )
    print(text)


if __name__ == "__main__":
    main()
