"""A client that sends what it is told and no more."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
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
