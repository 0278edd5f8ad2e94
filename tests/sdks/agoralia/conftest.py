"""A real HTTP server on loopback that answers what a test wrote down, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

KEY = "ago_ETWIQRPbBXBrMxwcyxqUFLlYGErtFOaa"  # the document's own example


@dataclass
class Asked:
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
    answers: deque[tuple[int, dict[str, str], bytes] | None] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)

    def will_answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        """Answer the next request so; bytes are sent as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = {} if isinstance(body, bytes) else {"Content-Type": "application/json"}
        self.answers.append((status, kind | (headers or {}), raw))

    def will_hang_up(self) -> None:
        """Close the connection of the next request without a word."""
        self.answers.append(None)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGORALIA_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def key() -> str:
    return KEY


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append(Asked(self.command, self.path, sent, self.rfile.read(length)))
            answer = script.answers.popleft() if script.answers else (599, {}, b"the test asked too often")
            if answer is None:
                self.close_connection = True
                return
            status, headers, body = answer
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
        script.base_url = f"http://127.0.0.1:{server.server_port}/api/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield script
        server.shutdown()
        thread.join(5)
