"""
Measures uploads and prints a table: measure, target, reached, met.

    python benchmarks/uploads.py                                      ours next to plain httpx2
    python benchmarks/uploads.py --write docs/upload-performance.md   what made the page's tables
    python benchmarks/uploads.py --images 200 --file-mb 200           shorter
    python benchmarks/uploads.py --only Pictograph                    only these of the sides

2,000 images of 200 kB with 16 at once: by the library and by Pictograph's SDK to a service that keeps
nothing, by the SDK to the sandbox's Pictograph; then one file of 2 GB. Each by a client in a process of
its own to a service in another. The sides take turns; what counts is the median of a side's rounds, the
ratio of two medians, and the most memory a client ever had.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2

from machine import cores, load
from sides import Measured, Talking
from tables import Row, conclude, measured, rows_table, say

PACKAGES = ("failwell", "pictograph", "httpx2", "httpcore2", "h11", "aiohttp")
MB = 1_000_000

COUNTING, SANDBOX = "upload_server.py", "upload_sandbox.py"

# Side, and the one it is compared with; None for one of theirs.
IMAGES = {
    "failwell": "httpx2",
    "failwell, digest": "httpx2, digest",
    "failwell, async": "httpx2, async",
    "failwell, async, aiohttp": "httpx2, async",
    "httpx2": None,
    "httpx2, opened file": None,
    "httpx2, digest": None,
    "httpx2, async": None,
}
PICTOGRAPH = {
    "Client, upload_folder": "httpx2 script",
    "Client, images.upload": "httpx2 script",
    "AsyncClient, upload_folder_async": "httpx2 script, async",
    "AsyncClient, images.upload": "httpx2 script, async",
    "AsyncClient, upload_folder_async, aiohttp": "httpx2 script, async",
    "httpx2 script": None,
    "httpx2 script, async": None,
}
FILE = {
    "failwell": "httpx2, opened file",
    "failwell, digest": "",
    "failwell, async": "httpx2, async, in pieces",
    "failwell, async, aiohttp": "httpx2, async, in pieces",
    "httpx2, opened file": None,
    "httpx2, async, in pieces": None,
}


@dataclass
class Group:
    """
    Sides that take turns.

    Attributes:
        name: In the tables, before the side's and a colon.
        service: The script that is uploaded to.
        sides: Each with the one it is compared with: "" for none, None if it is not ours.
        folder: What is uploaded in a turn.
        warm_up: What is uploaded before: a process has then loaded and connected.
        at_once: How many of them at once.
        peak_mb: The most memory a client of ours may have.
        rounds: How many turns each side has.
    """

    name: str
    service: str
    sides: dict[str, str | None]
    folder: Path
    warm_up: Path
    at_once: int
    peak_mb: int
    rounds: int


def raced(group: Group) -> dict[str, Measured]:
    """Let the sides take turns."""
    client_core, server_core = cores()[0], cores()[-1]
    with ExitStack() as stack:
        server = Talking(group.service, core=server_core)
        stack.callback(server.close)
        where: dict[str, str] = json.loads(server.line())
        clients: dict[str, Talking] = {}
        for side in group.sides:
            clients[side] = Talking("upload_client.py", side, where["url"], where["key"], core=client_core)
            stack.callback(clients[side].close)
        found = {side: Measured() for side in group.sides}
        for client in clients.values():
            turn(client, where, group.warm_up, group.at_once)
        for number in range(group.rounds):
            for side, client in clients.items():
                say(f"{group.name}: round {number + 1} of {group.rounds}, {side}")
                told = turn(client, where, group.folder, group.at_once)
                found[side].add(told)
    return found


def turn(client: Talking, where: dict[str, str], folder: Path, at_once: int) -> dict[str, Any]:
    """What a client says of uploading a folder; the run ends if not everything has arrived."""
    files = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    with dataset(where) as made:
        told = client.ask(
            {"folder": str(folder), "files": sorted(files), "at_once": at_once, "dataset": made["id"]}
        )
        if told["bytes"] != sum(files.values()):
            raise SystemExit(f"{told['bytes']} bytes arrived, of {sum(files.values())}")
    return told


@contextmanager
def dataset(where: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A dataset for one turn: no image is in it yet."""
    name = f"turn-{time.time_ns()}"
    headers = {"authorization": f"Bearer {where['key']}"}
    with httpx2.Client(base_url=where["url"], headers=headers, trust_env=False, timeout=60) as client:
        made = client.post("/v1/datasets", json={"name": name}).raise_for_status().json()
        yield made
        client.delete(f"/v1/datasets/{made['id']}").raise_for_status()


def rows_of(group: Group, found: dict[str, Measured]) -> list[Row]:
    """The lines with a target."""
    rows = []
    for side, other in group.sides.items():
        if other is None:
            continue
        if other in found:
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


def images(folder: Path, number: int, size: int) -> Path:
    """A folder of PNG files of that many bytes, each another: 8 by 8 pixels, and a chunk of noise."""
    dice = random.Random("images")
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    pixels = _chunk(b"IDAT", zlib.compress(b"\0" * (8 * 25)))
    end = _chunk(b"IEND", b"")
    noise = max(0, size - len(_PNG) - len(header) - len(pixels) - len(end) - 12)
    folder.mkdir()
    for index in range(number):
        data = _PNG + header + pixels + _chunk(b"raNd", dice.randbytes(noise)) + end
        (folder / f"{index:05}.png").write_bytes(data)
    return folder


_PNG = b"\x89PNG\r\n\x1a\n"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def sparse(folder: Path, size: int) -> Path:
    """A folder with a large file that takes no room on the disk, and was read once."""
    folder.mkdir()
    path = folder / "large.bin"
    with path.open("wb") as file:
        file.truncate(size)
    with path.open("rb") as file:
        while file.read(MB):
            pass
    return folder


def groups(given: argparse.Namespace, scratch: Path) -> list[Group]:
    """What is asked for, and the files it takes."""
    at_once, rounds, peak_mb = given.at_once, given.rounds, 150
    pictures = images(scratch / "images", given.images, given.image_kb * 1000)
    few = images(scratch / "warm-up", min(given.images, 4 * at_once), given.image_kb * 1000)
    what = f"{given.images:,} images of {given.image_kb} kB"
    found = [
        Group(what, COUNTING, IMAGES, pictures, few, at_once, peak_mb, rounds),
        Group(f"{what}, Pictograph", COUNTING, PICTOGRAPH, pictures, few, at_once, peak_mb, rounds),
        Group(f"{what}, Pictograph's sandbox", SANDBOX, PICTOGRAPH, pictures, few, at_once, peak_mb, rounds),
    ]
    if given.file_mb:
        large = sparse(scratch / "large", given.file_mb * MB)
        one = images(scratch / "one", 1, given.image_kb * 1000)
        name = f"one file of {given.file_mb:,} MB"
        found.append(Group(name, COUNTING, FILE, large, one, 1, 100, max(1, rounds // 3)))
    for group in found:
        group.sides = {
            side: other
            for side, other in group.sides.items()
            if not given.only or any(text in f"{group.name}: {side}" for text in given.only)
        }
    return [group for group in found if group.sides]


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--image-kb", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--file-mb", type=int, default=2000, help="0 to leave the large file out")
    parser.add_argument("--rounds", type=int, default=7, help="of the images; the large file has a third")
    parser.add_argument("--only", action="append", metavar="TEXT", help="sides whose name has this in it")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between its markers")
    return parser


def main() -> None:
    given = options().parse_args()
    before = load()
    with tempfile.TemporaryDirectory(prefix="failwell-uploads-") as made:
        races = groups(given, Path(made))
        found = {group.name: raced(group) for group in races}
    say("")
    rows = [row for group in races for row in rows_of(group, found[group.name])]
    lines = measured(
        "uploads.py",
        before,
        PACKAGES,
        f"Medians of {given.rounds} rounds, of {max(1, given.rounds // 3)} for the large file; "
        f"{given.at_once} images at once.",
        after=load(),
    )
    lines += [
        *rows_table(rows),
        *(line for group in races for line in ("", *sides_table(group.name, found[group.name]))),
    ]
    sides = {f"{name}: {side}": asdict(one) for name, each in found.items() for side, one in each.items()}
    conclude(given, rows, lines, sides=sides)


if __name__ == "__main__":
    main()
