"""A client for an ASGI application in the same loop: what was sent is what the application sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from failwell.answer import Answer


async def ask(
    app: Any,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: bytes | Sequence[bytes] = b"",
    json_body: Any = None,
    query: str = "",
    address: str = "10.0.0.1",
) -> Answer:
    """The answer of `app`; a list of bytes is sent as that many chunks, without a length."""
    if json_body is not None:
        body = json.dumps(json_body).encode()
    chunks = [body] if isinstance(body, bytes) else list(body)
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
    if not isinstance(body, bytes):
        raw.append((b"transfer-encoding", b"chunked"))
    elif body and not any(n == b"content-length" for n, _ in raw):
        raw.append((b"content-length", b"%d" % len(body)))
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": raw, "client": (address, 1), "server": ("127.0.0.1", 80), "scheme": "http",
        "root_path": "",
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not chunks:
            return {"type": "http.disconnect"}
        chunk = chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(dict(message))

    await app(scope, receive, send)
    starts = [m for m in sent if m["type"] == "http.response.start"]
    assert len(starts) == 1, f"one answer, not {len(starts)}"
    fields = [(n.decode(), v.decode("latin-1")) for n, v in starts[0]["headers"]]
    names = [name for name, _ in fields]
    assert len(names) == len(set(names)), f"a header was sent twice: {names}"
    return Answer(starts[0]["status"], fields, b"".join(m.get("body", b"") for m in sent[1:]))
