"""A real HTTP server on loopback that answers what a test wrote down, and both clients against it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from argus import Argus, AsyncArgus
from failwell import Connections

KEY = "rsk_0123456789abcdefghijABCDEFGHIJ01"


@dataclass
class Wire:
    """What the server answers next, and what arrived at it."""

    url: str = ""
    connections: int = 0
    answers: deque[tuple[int, dict[str, str], bytes] | None] = field(default_factory=deque)
    ended: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

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


class Clock:
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


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the key of whoever runs it."""
    for name in ("ARGUS_API_KEY", "ARGUS_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["Argus", "AsyncArgus"])
def use(request: pytest.FixtureRequest, wire: Wire, clock: Clock) -> Callable[..., Any]:
    """Runs one function on the blocking or on the awaiting client, the same way for a test."""

    def use(call: Callable[[Any], Any], **settings: Any) -> Any:
        chosen: dict[str, Any] = {
            "api_key": KEY,
            "base_url": wire.url,
            "clock": clock,
            "connections": Connections(trust_env=False),
        } | settings
        if request.param == "Argus":
            with Argus(**chosen) as client:
                return call(client)

        async def on_loop() -> Any:
            async with AsyncArgus(**chosen) as client:
                return await call(client)

        return asyncio.run(on_loop())

    return use


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            wire.connections += 1
            super().setup()

        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = {name.lower(): value for name, value in self.headers.items()}
            wire.requests.append((self.command, self.path, sent, self.rfile.read(length)))
            answer = wire.answers.popleft() if wire.answers else (599, {}, b"the test asked too often")
            if answer is None:
                self.close_connection = True
                return
            status, headers, body = answer
            if not status:
                wire.ended.wait(60)
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        wire.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield wire
        wire.ended.set()
        server.shutdown()
        thread.join(5)
