"""A small HTTP server on loopback that does what a list says, and counts what it was asked."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterable
from typing import Any

PATIENCE = 20.0  # seconds: the longest anything here waits


def reply(status: int = 200, body: Any = None, **headers: str) -> bytes:
    """A whole answer; `retry_after="1"` is the header `retry-after`."""
    content = json.dumps({"ok": True} if body is None else body).encode()
    lines = [f"HTTP/1.1 {status} Said", "content-type: application/json", f"content-length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


# What else can happen instead of an answer.
RESET, CLOSE, STALL = "reset", "close", "stall"


class Cut(bytes):
    """Bytes after which the connection is closed."""


class Asked:
    """One request, as it came."""

    def __init__(self, raw: bytes, connection: int) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self.connection = connection


class ScriptedServer:
    """
    Answers each request, on whatever connection it comes, with the next entry of `script`: bytes, `Cut`,
    `RESET`, `CLOSE` or `STALL` (silence until the client goes away).

    Attributes:
        asked: Every request that came whole.
        stalled: Set when a request meets silence.
        gone: Set when the client of a silent connection has gone away.
    """

    def __init__(self, script: Iterable[bytes | str]) -> None:
        self.asked: list[Asked] = []
        self.stalled = threading.Event()
        self.gone = threading.Event()
        self._script = iter(script)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._sockets: list[socket.socket] = []
        self._threads[0].start()

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):  # wakes accept()
            socket.create_connection(self._listener.getsockname(), 5).close()
        self._threads[0].join(PATIENCE)
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)

    def _accept(self) -> None:
        while not self._over.is_set():
            connection, _ = self._listener.accept()
            if self._over.is_set():
                connection.close()
                return
            connection.settimeout(PATIENCE)
            self._sockets.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, len(self._sockets)))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), connection:
            while (raw := _request(connection)) and not self._over.is_set():
                with self._lock:
                    self.asked.append(Asked(raw, number))
                    act = next(self._script)
                if isinstance(act, bytes):
                    connection.sendall(act)
                    if isinstance(act, Cut):
                        return
                    continue
                if act == STALL:
                    self.stalled.set()
                    with contextlib.suppress(OSError):
                        connection.recv(1)
                    self.gone.set()
                elif act == RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return


def _request(connection: socket.socket) -> bytes:
    """The next whole request; b"" if the client went away."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = connection.recv(65536)
        if not piece:
            return b""
        raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    wanted = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            wanted = int(line.partition(b":")[2])
    while len(body) < wanted:
        piece = connection.recv(65536)
        if not piece:
            return b""
        body += piece
    return head + b"\r\n\r\n" + body
