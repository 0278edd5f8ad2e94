"""The way out of the service: what every answer carries, whoever made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from failwell.service.bodies import linger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from failwell.answer import Answer
    from failwell.service.bodies import Message, Receive, Send
    from failwell.service.exchange import Exchange
    from failwell.service.limits import Fields


class Outgoing:
    """
    Adds what every answer carries, and refuses to answer twice.

    Args:
        exchange: The request.
        send: The server's.
        head: Whether the request is a HEAD, whose answer has no body.
        id_header: The header of the request id, in lower case.
        fields: Which fields the numbers of the rate limit go into.
    """

    __slots__ = ("_exchange", "_fields", "_head", "_id_header", "_send", "started")

    def __init__(
        self, exchange: Exchange, send: Send, *, head: bool, id_header: bytes, fields: Fields
    ) -> None:
        self._exchange = exchange
        self._send = send
        self._head = head
        self._id_header = id_header
        self._fields = fields
        self.started = False

    async def send(self, message: Message) -> None:
        """Pass on what the application sends."""
        if message["type"] == "http.response.start":
            self.started = True
            message["headers"] = self._dressed(message.get("headers", ()), message["status"])
        await self._send(message)

    async def finish(self, answer: Answer, unread: Receive | None = None) -> None:
        """
        Send a whole answer, unless one is under way already.

        Args:
            answer: What to send.
            unread: Where the rest of the request's body comes from, if it was not read. Were
                the connection closed on it, the client's machine would throw the answer away
                (RFC 9112, section 9.6); so it is read, for a while, and the connection not
                used again.
        """
        if self.started:
            # What was promised cannot be taken back; ending here tells the client it was cut.
            return
        fields = [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in answer.headers.items()
        ]
        fields.append((b"content-length", b"%d" % len(answer.body)))
        if unread is not None:
            fields.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": answer.status, "headers": fields})
        body = b"" if self._head else answer.body
        if unread is not None:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await linger(unread)
            body = b""
        await self._send({"type": "http.response.body", "body": body})

    def expect_started(self) -> None:
        """Hold the application to its duty."""
        if not self.started:
            raise RuntimeError("the application returned without an answer")

    def _dressed(self, headers: Iterable[tuple[bytes, bytes]], status: int) -> list[tuple[bytes, bytes]]:
        exchange = self._exchange
        own = [(self._id_header, exchange.request_id.encode("latin-1"))]
        if exchange.decision is not None:
            own += exchange.decision.headers(self._fields)
        if status >= 400:
            own.append((b"cache-control", b"no-store"))
        taken = {name for name, _ in own}
        return [pair for pair in headers if pair[0].lower() not in taken] + own
