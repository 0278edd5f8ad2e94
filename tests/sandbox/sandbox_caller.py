"""A client that sends what it is told and no more, and what is read from its answers."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from failwell.answer import Answer
from failwell_sandbox import RunningService

There = TypeVar("There", bound="Elsewhere")


class Caller:
    """Asks one service, each time on a connection of its own."""

    def __init__(self, url: str, key_header: str, before_key: str) -> None:
        split = urlsplit(url)
        assert split.hostname is not None
        self.host, self.port = split.hostname, split.port
        self.key_header, self.before_key = key_header, before_key

    def __call__(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        json_body: Any = None,
        body: bytes | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if key is not None:
            sent[self.key_header] = f"{self.before_key}{key}"
        if json_body is not None:
            body = json.dumps(json_body).encode()
        connection = http.client.HTTPConnection(self.host, self.port or 0, timeout=20)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()


class Asking:
    """A service that takes its key as a bearer token, asked with one key unless another is named."""

    def __init__(self, service: RunningService, key: str | None = None) -> None:
        self.service = service
        self.caller = Caller(service.url, "Authorization", "Bearer ")
        self.key = key or service.keys.full

    def __call__(self, method: str, path: str, json_body: Any = None, **more: Any) -> Answer:
        return self.caller(method, path, json_body=json_body, **{"key": self.key} | more)

    def made(self, method: str, path: str, json_body: Any = None, **more: Any) -> Any:
        """The same, where it must succeed: the JSON of the answer."""
        answer = self(method, path, json_body, **more)
        assert answer.status in (200, 201), (answer.status, answer.body)
        return said(answer)

    def ended(self, path: str, seconds: float = 120.0) -> Any:
        """A job, once it has ended."""

        def look() -> Any:
            job = self.made("GET", path)
            return job if job["status"] not in ("queued", "running") else None

        return until(look, f"{path} does not end", seconds)


class Elsewhere:
    """What the class of a service that is asked has besides, if it is in another process."""

    def __init__(self, process: subprocess.Popen[str], url: str, key: str) -> None:
        self.process, self.url, self.key = process, url, key
        self.caller = Caller(url, "Authorization", "Bearer ")

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def begin(self, method: str, path: str, head: str, body: bytes) -> socket.socket:
        """Send the beginning of a request, and keep the connection open."""
        parts = urlsplit(self.url)
        sock = socket.create_connection((parts.hostname, parts.port), timeout=20)
        lines = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\n{head}\r\n"
        sock.sendall(lines.encode() + body)
        return sock


@contextmanager
def served_elsewhere(kind: type[There], program: str, state: Path) -> Iterator[There]:
    """
    A service in a process of its own, which ends with the block.

    Args:
        kind: An `Elsewhere`.
        program: Python that serves what is in the folder of its argument, and prints a URL and a key.
        state: The folder.
    """
    process = subprocess.Popen([sys.executable, "-c", program, str(state)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url, key = process.stdout.readline().split()
        yield kind(process, url, key)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def said(answer: Answer) -> Any:
    """The JSON of an answer."""
    return json.loads(answer.body)


def until(found: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """What `found` finds, once it does; fails with `what` if it never does."""
    deadline = time.monotonic() + seconds
    while True:
        result = found()
        if result:
            return result
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def finished(kneo: Caller, key: str, run_id: str) -> Any:
    """A run of Kneo's, once it has ended."""

    def run() -> Any:
        found = said(kneo("GET", f"/v1/runs/{run_id}", key=key))
        return found if found["status"] not in ("queued", "running") else None

    return until(run, f"{run_id} does not end")


def has_status(caller: Caller, key: str, path: str, status: str) -> Any:
    """What is at `path`, once it has that status."""

    def there() -> Any:
        found = said(caller("GET", path, key=key))
        return found if found["status"] == status else None

    return until(there, f"{path} is never {status}")
