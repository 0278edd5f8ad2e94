"""A real HTTP server on loopback that answers what a test wrote down, and both clients against it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from failwell import Connections
from kneo_client import AsyncKneoClient, KneoClient

KEY = "kneo_0123456789abcdefghijABCDEFGHIJ"

RUN = {
    "id": "run_1",
    "spec_id": "spec_1",
    "environment_id": "env_1",
    "status": "queued",
    "version": 1,
    "cost": 3,
    "input": {"text": "one two"},
    "output": None,
    "error": None,
    "metadata": {},
    "created_at": "2026-11-05T12:00:00.250+00:00",
    "started_at": None,
    "finished_at": None,
}


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

    def will_refuse(
        self, status: int, code: str = "refused", message: str = "Refused.", **headers: str
    ) -> None:
        """Answer the next request with an error in Kneo's spelling."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.will_answer(status, {"error": {"code": code, "message": message}}, fields)

    def will_hang_up(self) -> None:
        """Close the connection of the next request without a word."""
        self.answers.append(None)


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
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the profile, the keys or the proxies of whoever runs it."""
    for name in ("KNEO_API_KEY", "KNEO_BASE_URL", "KNEO_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def run() -> dict[str, Any]:
    """A run as the service writes it."""
    return dict(RUN)


@pytest.fixture
def key() -> str:
    return KEY


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["KneoClient", "AsyncKneoClient"])
def use(request: pytest.FixtureRequest, script: Script, clock: Clock) -> Callable[..., Any]:
    """
    Runs one function on the blocking or on the awaiting client, the same way for a test.

    The clients talk to the script, go by a clock that jumps, and always roll the highest dice.
    """

    def use(call: Callable[[Any], Any], **settings: Any) -> Any:
        chosen: dict[str, Any] = {
            "api_key": KEY,
            "base_url": script.base_url,
            "clock": clock,
            "random": lambda: 0.0,
            "connections": Connections(trust_env=False),
        } | settings
        if request.param == "KneoClient":
            with KneoClient(**chosen) as client:
                return call(client)

        async def on_loop() -> Any:
            async with AsyncKneoClient(**chosen) as client:
                return await call(client)

        return asyncio.run(on_loop())

    return use


@pytest.fixture
def shown() -> Callable[[BaseException], str]:
    """What a tracker of errors shows of an exception: the locals of every frame but the test's own."""

    def shown(error: BaseException) -> str:
        texts = []
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename.startswith(str(Path(__file__).parent)):
                continue
            for value in frame.f_locals.values():
                with suppress(AttributeError):  # a client that is only half made
                    texts.append(repr(value))
        assert texts
        return "".join(texts)

    return shown


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
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        script.base_url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield script
        server.shutdown()
        thread.join(5)
