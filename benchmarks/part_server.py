"""
A service that takes files in parts, stores them on disk, and stumbles when it is told to.

Prints its port, and serves until its standard input ends. A part is written where it belongs in one
file, while its SHA-256 is computed; it is stored once its digest is the one that was announced. With
`--fail-every 7` every seventh part fails the first time it is sent, each time in another way: refused
with a 503, cut off half-way, or stored with the answer lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import struct
import sys
from base64 import b64encode
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

from machine import pin

BUFFER_BYTES = 256 * 1024
ZEROS = bytes(BUFFER_BYTES)
FAULTS = ("refused", "cut", "lost")


class Gone(Exception):
    """The connection is over."""


class Service:
    """
    Args:
        folder: Where files are stored.
        part_bytes: How large parts are.
        fail_every: Which parts fail once; 0 for none.
    """

    def __init__(self, folder: Path, part_bytes: int, fail_every: int) -> None:
        self.folder = folder
        self.part_bytes = part_bytes
        self.fail_every = fail_every
        self.uploads: dict[str, dict[str, Any]] = {}
        self.faults: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()  # parts that came, in part at least
        self.stored: Counter[str] = Counter()  # parts that came whole and were right
        self.looks = 0
        self._failed: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except (asyncio.IncompleteReadError, ConnectionError):
                    return
                first, *lines = head.decode("latin-1").split("\r\n")
                method, path, _ = first.split(" ")
                pairs = (line.partition(":") for line in lines)
                fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
                left = int(fields.get("content-length", 0))
                if method == "PUT":
                    answer = await self._part(path, fields, left, reader, writer)
                else:
                    answer = await self._other(method, path, await reader.readexactly(left))
                self._say(writer, *answer)
                await writer.drain()
        except (Gone, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _say(self, writer: asyncio.StreamWriter, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        writer.write(
            b"HTTP/1.1 %d Said\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (status, len(content), content)
        )

    async def _other(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if path == "/stats":
            twice = sum(n - 1 for n in self.stored.values())
            return 200, {
                "sent": self.sent.total(), "stored": len(self.stored), "stored_again": twice,
                "looks": self.looks, **{name: self.faults[name] for name in FAULTS},
            }  # fmt: skip
        if path == "/uploads":
            upload_id = f"up_{len(self.uploads) + 1}"
            size = json.loads(body)["size"]
            with (self.folder / upload_id).open("wb") as file:
                file.truncate(size)
            self.uploads[upload_id] = {"size": size, "parts": {}}
            return 201, self._seen(upload_id)
        upload_id = path.split("/")[2]
        if upload_id not in self.uploads:
            return 404, {"detail": "There is no such upload."}
        if method == "GET":
            self.looks += 1
            return 200, self._seen(upload_id)
        upload = self.uploads[upload_id]
        count = max(1, -(-upload["size"] // self.part_bytes))
        if len(upload["parts"]) < count:
            return 409, {"detail": f"{count - len(upload['parts'])} parts are missing."}
        found = await asyncio.to_thread(digest_of, self.folder / upload_id)
        if found != json.loads(body)["sha256"]:
            return 422, {"detail": "The file is not what was announced."}
        upload["sha256"] = found
        return 200, {"id": upload_id, "size": upload["size"], "sha256": found}

    def _seen(self, upload_id: str) -> dict[str, Any]:
        return {"id": upload_id, "part_bytes": self.part_bytes, **self.uploads[upload_id]}

    async def _part(
        self,
        path: str,
        fields: dict[str, str],
        left: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> tuple[int, Any]:
        _, _, upload_id, _, number = path.split("/")
        place = f"{upload_id}/{number}"
        self.sent[place] += 1
        fault = self._fault(place, int(number))
        stop_at = left // 2 if fault == "cut" else 0
        found = sha256()
        at = (int(number) - 1) * self.part_bytes
        descriptor = os.open(self.folder / upload_id, os.O_WRONLY)
        try:
            while left:
                piece = await reader.read(min(left, BUFFER_BYTES))
                if not piece:
                    raise Gone
                if fault != "refused":
                    # As sparse as the file that comes: what is measured is not the disk.
                    if piece != ZEROS[: len(piece)]:
                        os.pwrite(descriptor, piece, at)
                    found.update(piece)
                at += len(piece)
                left -= len(piece)
                if stop_at and left < stop_at:
                    self._reset(writer)
        finally:
            os.close(descriptor)
        if fault == "refused":
            return 503, {"detail": "Come again."}
        if fields.get("content-digest") != f"sha-256=:{b64encode(found.digest()).decode()}:":
            return 422, {"detail": "The part is not what was announced."}
        self.stored[place] += 1
        self.uploads[upload_id]["parts"][number] = found.hexdigest()
        if fault == "lost":
            self._reset(writer)
        return 200, {"sha256": found.hexdigest()}

    def _fault(self, place: str, number: int) -> str:
        if not self.fail_every or number % self.fail_every or place in self._failed:
            return ""
        self._failed.add(place)
        fault = FAULTS[number // self.fail_every % len(FAULTS)]
        self.faults[fault] += 1
        return fault

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        link = writer.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        raise Gone


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    found = sha256()
    with path.open("rb") as file:
        while piece := file.read(4 * BUFFER_BYTES):
            found.update(piece)
    return found.hexdigest()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part-mb", type=float, default=8.0, help="MiB")
    parser.add_argument("--fail-every", type=int, default=0)
    parser.add_argument("--cpu", type=int)
    given = parser.parse_args()
    pin(given.cpu)
    service = Service(given.folder, int(given.part_mb * 1024 * 1024), given.fail_every)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, limit=BUFFER_BYTES, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
