"""A client that sends what it is told and no more, and what is read from its answers."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from failwell.answer import Answer


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
