"""Read the bodies of requests, within limits."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from failwell.service.refusals import Refusal, RefusedRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

# What is read of a body that nobody wants, and for how long, so that its sender gets to read why.
LINGER_BYTES = 32 * 1024 * 1024
LINGER_SECONDS = 5.0


class ClientGoneError(Exception):
    """The client hung up before its request was read."""


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The headers of a request by their lower-case names; repeated ones joined with a comma."""
    pairs = scope["headers"]
    headers: dict[bytes, bytes] = dict(pairs)
    if len(headers) == len(pairs):
        return headers
    headers.clear()
    for name, value in pairs:
        # Two keys in one request are no key; the comma makes sure of that.
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def announces_body(headers: Mapping[bytes, bytes]) -> bool:
    """
    Whether a request says that it has a body. One of HTTP/2 may have one and say nothing.

    Source:
        RFC 9112, section 6.
    """
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def announces_more(headers: Mapping[bytes, bytes], limit: int) -> bool:
    """Whether the body is announced to be longer than `limit` bytes."""
    announced = headers.get(b"content-length", b"0")
    # So many digits are too many, and more than 4300 Python would not read.
    return announced.isdigit() and (len(announced) > 4000 or int(announced) > limit)


async def read_body(receive: Receive, limit: int) -> bytes:
    """
    The whole body.

    Raises:
        RefusedRequest: it is longer than `limit` bytes.
        ClientGoneError: it did not come whole.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise RefusedRequest(Refusal("payload_too_large", {"limit": limit}))
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


class Again:
    """
    `receive` for a handler that reads the body we have read already.

    Args:
        body: It, whole.
        receive: The server's, for what comes after it.
    """

    # Not a closure: each request makes one of these, and few ask it anything.
    __slots__ = ("_body", "_receive")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        while True:
            message = await self._receive()
            # That there is no body is a message, too, of which nobody has asked the server yet.
            if message["type"] != "http.request":
                return message


def limited(receive: Receive, limit: int, whole: Callable[[], None], gone: Callable[[], None]) -> Receive:
    """
    `receive` for a handler that reads the body itself.

    Args:
        receive: The server's.
        limit: Bytes; what goes over it is refused.
        whole: Called when the body is read to its end.
        gone: Called when the client hung up.
    """
    size = 0

    async def receive_within() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise RefusedRequest(Refusal("payload_too_large", {"limit": limit}))
        if message["type"] == "http.request" and not message.get("more_body", False):
            whole()
        elif message["type"] == "http.disconnect":
            gone()
        return message

    return receive_within


async def linger(receive: Receive) -> None:
    """Read and drop the rest of a body, for a while."""
    left = LINGER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
