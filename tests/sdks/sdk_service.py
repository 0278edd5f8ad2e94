"""A real HTTP server on loopback that answers what a test wrote down, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """One request the server got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Script:
    """What the server answers next, and what it was asked."""

    base_url: str = ""
    connections: int = 0
    answers: deque[tuple[int, dict[str, str], bytes] | None] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def will_answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        """Answer the next request so; bytes are sent as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = {} if isinstance(body, bytes) else {"Content-Type": "application/json"}
        self.answers.append((status, kind | (headers or {}), raw))

    def will_hang_up(self) -> None:
        """Close the connection of the next request without a word."""
        self.answers.append(None)

    def will_say_nothing(self) -> None:
        """Leave the next request without an answer until the test is over."""
        self.answers.append((0, {}, b""))


@contextmanager
def served(script: Script, path: str = "") -> Iterator[Script]:
    """
    The server, which sets `script.base_url`.

    Args:
        script: What it answers.
        path: Of the base URL.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            script.connections += 1
            super().setup()

        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append(Asked(self.command, self.path, sent, self.rfile.read(length)))
            answer = script.answers.popleft() if script.answers else (599, {}, b"the test asked too often")
            if answer is None:
                self.close_connection = True
                return
            status, headers, body = answer
            if not status:
                script.ended.wait(60)
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _any

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        script.base_url = f"http://127.0.0.1:{server.server_port}{path}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield script
        script.ended.set()
        server.shutdown()
        thread.join(5)


class SkippingClock:
    """The machine's clock, except that a wait is over at once and is written down."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return time.monotonic() + sum(self.waits)

    def unix(self) -> float:
        return time.time() + sum(self.waits)

    def sleep(self, seconds: float, /) -> None:
        self.waits.append(seconds)

    async def asleep(self, seconds: float, /) -> None:
        self.waits.append(seconds)
