"""A server of raw sockets that misbehaves as told, and counts what it was asked."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import trustme

Behaviour = Callable[["Faults", Any, int], None]

BODY = b'{"ok": true, "id": "obj_1"}'
PLENTY = 20.0


def answer(body: bytes = BODY, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Faults:
    """
    Listens on loopback; each connection is given to `behave(server, connection, number)` in a
    thread of its own, and closed when that returns.

    Attributes:
        requests: Every whole request that was read: head and body.
        connections: How many connections were made.
    """

    def __init__(self, behave: Behaviour, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.over = threading.Event()
        self.noted = threading.Event()
        self._open: list[socket.socket] = []
        self._behave = behave
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.port}/v1/things"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self.over.is_set():
                connection.close()
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(PLENTY)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
                stack.callback(connection.close)
            self._behave(self, connection, number)

    def read(self, connection: socket.socket) -> bytes:
        """The next request of the connection; empty at its end."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (
                int(v)
                for n, _, v in (h.partition(b":") for h in head.split(b"\r\n"))
                if n.lower() == b"content-length"
            ),
            0,
        )
        while len(body) < length:
            piece = connection.recv(65536)
            if not piece:
                return b""
            body += piece
        self.requests.append(head + b"\r\n\r\n" + body)
        self.noted.set()
        return self.requests[-1]

    def close(self) -> None:
        self.over.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Faults:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def reset(connection: socket.socket) -> None:
    """Close with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def says(*pieces: bytes | float, rst: bool = False, stay: bool = False, each: bool = False) -> Behaviour:
    """
    Read a request and send `pieces`; a number is a pause in seconds.

    Args:
        rst: End with RST instead of FIN.
        stay: Do not end; wait until the other side does.
        each: Do it for every request of the connection.
    """

    def behave(server: Faults, connection: socket.socket, number: int) -> None:
        while server.read(connection):
            for piece in pieces:
                if isinstance(piece, float):
                    server.over.wait(piece)
                else:
                    connection.sendall(piece)
            if not each:
                break
        if stay:
            while connection.recv(65536):
                pass
        if rst:
            # What was sent must have arrived before RST discards it.
            time.sleep(0.05)
            reset(connection)

    return behave


def gzipped(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port that does not answer a SYN: its backlog is full. Linux."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(("127.0.0.1", port))
        yield port


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port nobody listens on, and nobody else can take."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


class Certificates:
    """A test authority and a server certificate of it for 127.0.0.1 and localhost."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.certificate = self.authority.issue_cert("127.0.0.1", "localhost")

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate.configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context
