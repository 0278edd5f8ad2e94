"""
Uploads one large file in parts to a service that stumbles, and kills the client on the way.

    python benchmarks/parts.py                                     everything
    python benchmarks/parts.py --write docs/part-performance.md    what made the page's tables
    python benchmarks/parts.py --file-mb 64 --part-mb 1 --kills 2  shorter

First 2 GB over 8 parallel parts of which every seventh fails once, blocking and awaiting: refused with a
503, cut off half-way, or stored with the answer lost. Then the same upload, without faults, by a client
that is killed (SIGKILL) at five random moments and resumed by the upload's id. The service counts what
comes; the file at the service is compared with the one that was sent.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from machine import cores, load
from part_server import digest_of
from tables import HERE, Row, conclude, measured, rows_table, say

MB = 1_000_000
PACKAGES = ("failwell", "httpx2", "httpcore2", "h11", "aiohttp")
WAYS = {
    "blocking": [],
    "awaiting": ["--awaiting"],
    "awaiting, aiohttp": ["--awaiting", "--engine", "aiohttp"],
}


@contextmanager
def service(folder: Path, part_mb: float, fail_every: int) -> Iterator[str]:
    """A service in a process of its own: its URL."""
    command = [sys.executable, str(HERE / "part_server.py"), str(folder), "--part-mb", str(part_mb)]
    command += ["--fail-every", str(fail_every), "--cpu", str(cores()[-1])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.communicate()


def stats(url: str) -> dict[str, int]:
    """What the service counted."""
    with build_opener(ProxyHandler({})).open(f"{url}/stats", timeout=60) as answer:
        counted: dict[str, int] = json.load(answer)
    return counted


def client(url: str, file: Path, *options: str) -> subprocess.Popen[str]:
    """A client in a process of its own."""
    command = [sys.executable, str(HERE / "part_client.py"), url, str(file), "--cpu", str(cores()[0])]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)


def lines(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """What a client says."""
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def uploaded(url: str, file: Path, *options: str) -> dict[str, Any]:
    """What a client said that was left alone."""
    process = client(url, file, *options)
    told = list(lines(process))
    if process.wait() or "sha256" not in told[-1]:
        raise SystemExit("a client has failed; what it said stands above")
    return told[-1]


def stumbling(name: str, given: argparse.Namespace, file: Path, digest: str) -> tuple[list[Row], str]:
    """One upload of a way to a service that stumbles."""
    say(f"{name}: {given.file_mb} MB, every {given.fail_every}th part fails once")
    with tempfile.TemporaryDirectory(prefix="failwell-parts-") as made:
        with service(Path(made), given.part_mb, given.fail_every) as url:
            told = uploaded(url, file, "--at-once", str(given.at_once), *WAYS[name])
            counted = stats(url)
        stored = digest_of(Path(made) / "up_1")
    without_cause = counted["sent"] - counted["stored"] - counted["refused"] - counted["cut"]
    failed = f"{counted['refused']} refused, {counted['cut']} cut, {counted['lost']} answers lost"
    rows = [
        Row(f"{name}: files that differ at the service", 0, True, float(stored != digest), "files"),
        Row(f"{name}: parts sent twice without cause", 0, True, without_cause, "parts", failed),
        Row(f"{name}: peak memory", 120, True, told["peak"] / MB, "MB"),
    ]
    line = (
        f"| {name} | {given.file_mb / told['wall']:,.0f} | {told['wall']:.1f} | {told['cpu']:.1f} "
        f"| {counted['sent']} of {counted['stored']} parts | {counted['looks']} |"
    )
    return rows, line


def killed(given: argparse.Namespace, file: Path, digest: str, seconds: float) -> list[Row]:
    """One upload by clients of which all but the last are killed."""
    dice = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="failwell-parts-") as made:
        with service(Path(made), given.part_mb, 0) as url:
            upload_id, cut = None, 0
            for number in range(1, given.kills + 1):
                resumed = [] if upload_id is None else ["--resume", upload_id]
                before = stats(url)
                process = client(url, file, "--at-once", str(given.at_once), *resumed)
                upload_id = next(lines(process))["upload_id"]
                time.sleep(dice.uniform(0.1, 0.9) * seconds / (given.kills + 1))
                process.kill()
                process.communicate()
                time.sleep(0.2)  # what was on its way arrives
                after = stats(url)
                sent, stored = after["sent"] - before["sent"], after["stored"] - before["stored"]
                cut += sent - stored
                say(f"kill {number}: {sent} parts sent, {stored} stored, {after['stored']} in all")
            before = stats(url)
            last = uploaded(url, file, "--at-once", str(given.at_once), "--resume", str(upload_id))
            counted = stats(url)
        differ = float(digest_of(Path(made) / "up_1") != digest)
    again = counted["stored_again"]
    note = f"{cut} were under way when a client was killed; {counted['sent'] - before['sent']} were left"
    return [
        Row(
            f"{given.kills} kills: files that differ at the service",
            0,
            True,
            differ,
            "files",
        ),
        Row(f"{given.kills} kills: parts sent that the service had", 0, True, again, "parts", note),
        Row(f"{given.kills} kills: peak memory of the last client", 120, True, last["peak"] / MB, "MB"),
    ]


def stamped(path: Path, size: int) -> None:
    """A sparse file of which no stretch of 1 MiB is like another."""
    dice = random.Random("parts")
    with path.open("wb") as file:
        file.truncate(size)
        for at in range(0, size, 1024 * 1024):
            file.seek(at)
            file.write(dice.randbytes(min(64, size - at)))


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file-mb", type=int, default=2000)
    parser.add_argument("--part-mb", type=float, default=8.0, help="MiB")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--fail-every", type=int, default=7)
    parser.add_argument("--kills", type=int, default=5, help="0 to kill nobody")
    parser.add_argument("--seed", default="kills", help="of the moments at which clients are killed")
    parser.add_argument("--only", action="append", choices=[*WAYS, "kills"], help="leave the others out")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between its markers")
    return parser


def main() -> None:
    given = options().parse_args()
    before = load()
    rows: list[Row] = []
    sides: list[str] = []
    with tempfile.TemporaryDirectory(prefix="failwell-parts-") as made:
        file = Path(made) / "video.bin"
        stamped(file, given.file_mb * MB)
        digest = digest_of(file)
        for name in WAYS:
            if not given.only or name in given.only:
                found, line = stumbling(name, given, file, digest)
                rows += found
                sides.append(line)
        if given.kills and (not given.only or "kills" in given.only):
            # How long an upload takes here, for moments that are spread over one.
            with (
                tempfile.TemporaryDirectory(prefix="failwell-parts-") as folder,
                service(Path(folder), given.part_mb, 0) as url,
            ):
                seconds = uploaded(url, file, "--at-once", str(given.at_once))["wall"]
            rows += killed(given, file, digest, seconds)
    say("")
    lines = measured(
        "parts.py",
        before,
        PACKAGES,
        f"{given.file_mb:,} MB in parts of {given.part_mb:g} MiB, {given.at_once} at once; "
        f"moments by the seed `{given.seed}`.",
    )
    lines += [
        *rows_table(rows),
        "",
        "| way | MB a second | seconds | of the client's processor | sent | asked what is there |",
        "|---|---|---|---|---|---|",
        *sides,
    ]
    conclude(given, rows, lines)


if __name__ == "__main__":
    main()
