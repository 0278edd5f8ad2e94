"""
Questions about an account's files, answered by what stands in them, at once or as a stream.

An answer is whole before its first word is sent, and written down with its question. So a stream is
told from the row, and goes on after any event, as often as it breaks, also after a restart.

The idempotency key of a question stands in its row, too, and not in the gates' record, which keeps no
streams: who repeats the question is told the same answer, as JSON or as events.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from failwell.answer import Answer
from failwell.failure import Failure
from failwell.service import Exchange, Operation, Refusal, RefusedRequest, exchange_of, json_body
from failwell.service.idempotency import KEPT_FOR, parse_key
from failwell_sandbox import ledger
from failwell_sandbox.answers import Line, json_answer, respond
from failwell_sandbox.database import Connection, DuplicateError
from failwell_sandbox.parameters import invalid
from failwell_sandbox.resource_tables import inserted
from failwell_sandbox.scopix.core import INVALID, NOT_FOUND, NOT_PAID, READ, WRITE, Core
from failwell_sandbox.scopix.quotes import MOST_QUOTES, Parts, answer_to, text_of
from failwell_sandbox.scopix.tables import CHAT_SESSIONS, MESSAGES
from scopix.errors import ChatError, DocumentProcessingError

MOST_FILES = 100
MOST_QUESTION = 4000

# Seconds without an event after which a comment says that the connection is alive.
KEEP_ALIVE = 10.0

# Between two looks whether a session is still open, seconds.
LOOK_EVERY = 0.25

# What an `EventSource` waits before it connects again, milliseconds.
RETRY = 1000

_CLOSED = (ChatError, "CHAT_SESSION_CLOSED")
_NO_SOURCES = (ChatError, "CHAT_NO_SOURCES")
_PROCESSING = (DocumentProcessingError, "DOCUMENT_PROCESSING_ERROR")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewChat(_Body):
    """The body of `POST /v1/chat/sessions`."""

    title: Annotated[Line, Field(max_length=200)] | None = None
    file_ids: list[Annotated[str, Field(max_length=100)]] | None = Field(
        default=None, min_length=1, max_length=MOST_FILES
    )


class Question(_Body):
    """The body of `POST /v1/chat/sessions/{session_id}/messages`."""

    content: Annotated[Line, Field(min_length=1, max_length=MOST_QUESTION)]
    pace: float | None = Field(default=None, ge=0.05, le=1000, description="Events a second, at the most.")


class ChatHandlers:
    """The handlers of chats."""

    def __init__(self, core: Core) -> None:
        self.core = core
        level = core.level
        chat = "/v1/chat/sessions/{session_id}"
        self.operations = (
            Operation("GET", "/v1/chat/sessions", self.list_sessions, scope=READ, raises=(INVALID,)),
            Operation("POST", "/v1/chat/sessions", self.create_session, scope=WRITE, idempotency=level,
                      parse=json_body(NewChat), raises=(NOT_PAID, NOT_FOUND, _PROCESSING)),
            Operation("GET", chat, self.get_session, scope=READ, raises=(NOT_FOUND,)),
            Operation("DELETE", chat, self.close_session, scope=WRITE, idempotency=level,
                      raises=(NOT_PAID, NOT_FOUND)),
            Operation("GET", f"{chat}/messages", self.list_messages, scope=READ,
                      raises=(NOT_FOUND, INVALID)),
            Operation("POST", f"{chat}/messages", self.ask, scope=WRITE, parse=json_body(Question),
                      raises=(NOT_PAID, NOT_FOUND, _CLOSED, _NO_SOURCES, INVALID,
                              "idempotency_key_invalid", "idempotency_mismatch")),
            Operation("GET", f"{chat}/messages/{{message_id}}", self.get_message, scope=READ,
                      raises=(NOT_FOUND,)),
            Operation("GET", f"{chat}/messages/{{message_id}}/events", self.events, scope=READ,
                      raises=(NOT_FOUND, INVALID, _CLOSED)),
        )  # fmt: skip

    # --- sessions ---

    async def list_sessions(self, request: Request) -> Response:
        """The account's chats."""
        return await self.core.page(request, CHAT_SESSIONS)

    async def create_session(self, request: Request) -> Response:
        """Begin a chat, about all files or about some."""
        exchange = exchange_of(request)
        new: NewChat = exchange.input
        tenant, session_id = exchange.tenant, f"cs_{secrets.token_hex(12)}"
        file_ids = None if new.file_ids is None else list(dict.fromkeys(new.file_ids))

        def insert(db: Connection) -> Answer:
            for file_id in file_ids or ():
                self._check_source(db, tenant, file_id)
            db.execute(
                "INSERT INTO chat_sessions (id, tenant, title, file_ids, created_at) "
                "VALUES (?, ?, ?, ?, {now})",
                session_id, tenant, new.title, None if file_ids is None else json.dumps(file_ids),
            )  # fmt: skip
            ledger.note_effect(db, exchange, "chat.created", session_id, name=new.title)
            row = inserted(db, CHAT_SESSIONS, tenant, session_id)
            return json_answer(CHAT_SESSIONS.shown(row), 201, {"location": f"/v1/chat/sessions/{session_id}"})

        return respond(await self.core.effect(exchange, insert))

    def _check_source(self, db: Connection, tenant: str, file_id: str) -> None:
        """Refuse a file that is not there, or a document whose text is not."""
        rows = db.rows("SELECT kind, name, status FROM files WHERE tenant = ? AND id = ?", tenant, file_id)
        if not rows:
            raise self.core.missing("file", file_id)
        for kind, name, status in rows:
            if kind == "document" and status != "completed":
                how = "could not be processed" if status == "failed" else "is still being processed"
                raise self.core.service.error(
                    Failure(
                        status=409, code="DOCUMENT_PROCESSING_ERROR",
                        message=f"The document {name!r} {how}.",
                        details={"document_id": file_id, "status": status},
                    )
                )  # fmt: skip

    async def get_session(self, request: Request) -> Response:
        """One chat."""
        return await self.core.one(request, CHAT_SESSIONS, "session_id")

    async def close_session(self, request: Request) -> Response:
        """End a chat; what was said in it can still be read, and what is being streamed ends."""
        exchange = exchange_of(request)
        session_id = request.path_params["session_id"]

        def close(db: Connection) -> Answer:
            row = self.core.row(db, CHAT_SESSIONS, exchange.tenant, session_id)
            db.execute("UPDATE chat_sessions SET status = 'closed' WHERE id = ?", session_id)
            ledger.note_effect(db, exchange, "chat.closed", session_id, name=row[1])
            return json_answer({"id": session_id, "closed": True})

        return respond(await self.core.effect(exchange, close))

    # --- messages ---

    async def list_messages(self, request: Request) -> Response:
        """What was said in a chat."""
        session_id = request.path_params["session_id"]
        await self.core.found(CHAT_SESSIONS, exchange_of(request).tenant, session_id)
        return await self.core.page(request, MESSAGES, session_id=session_id)

    async def get_message(self, request: Request) -> Response:
        """One question with its answer."""
        row = await self._message(request)
        return respond(json_answer(MESSAGES.shown(row)))

    async def ask(self, request: Request) -> Response:
        """Answer a question: as JSON, or as events for who accepts those."""
        exchange = exchange_of(request)
        tenant, session_id = exchange.tenant, request.path_params["session_id"]
        exchange.idempotency_key = _key_of(request)
        again = await self._asked_before(exchange, session_id)
        message_id = again or await self._ask(exchange, session_id)
        if b"text/event-stream" in exchange.accept:
            first = _after(request.headers.get("last-event-id", ""), message_id) if again else 0
            return await self._events(tenant, session_id, message_id, first)
        shown = MESSAGES.shown(await self.core.found(MESSAGES, tenant, message_id))
        headers = {"location": shown["events_url"].removesuffix("/events")}
        return respond(json_answer(shown, 201, headers | ({"idempotent-replayed": "true"} if again else {})))

    async def _asked_before(self, exchange: Exchange, session_id: str) -> str | None:
        """The message of the same question, if it has been asked with the request's key."""
        rows = await self.core.database.read(
            "SELECT id, fingerprint FROM messages "
            "WHERE tenant = ? AND asked_by = ? AND asked_key = ? AND created_at > {now} - ?",
            exchange.tenant, _asker(exchange), exchange.idempotency_key or "", KEPT_FOR,
        )  # fmt: skip
        for message_id, fingerprint in rows:
            if fingerprint != _fingerprint(exchange, session_id):
                raise RefusedRequest(Refusal("idempotency_mismatch"))
            found: str = message_id
            return found
        return None

    async def _ask(self, exchange: Exchange, session_id: str) -> str:
        asked: Question = exchange.input
        tenant = exchange.tenant
        session = CHAT_SESSIONS.shown(await self.core.found(CHAT_SESSIONS, tenant, session_id))
        self._check_open(session["status"], session_id)
        parts = await self._answered(tenant, session, asked.content)
        text = text_of(parts)
        message_id, key = f"msg_{secrets.token_hex(12)}", exchange.idempotency_key

        def insert(db: Connection) -> Answer:
            row = self.core.row(db, CHAT_SESSIONS, tenant, session_id)
            self._check_open(row[3], session_id)
            db.execute(
                "UPDATE messages SET asked_key = NULL "
                "WHERE tenant = ? AND asked_by = ? AND asked_key = ? AND created_at <= {now} - ?",
                tenant, _asker(exchange), key or "", KEPT_FOR,
            )  # fmt: skip
            db.execute(
                "INSERT INTO messages (id, tenant, session_id, question, parts, sha256, length, pace, "
                "asked_by, asked_key, fingerprint, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {now})",
                message_id, tenant, session_id, asked.content, json.dumps(parts),
                hashlib.sha256(text.encode()).hexdigest(), len(text), asked.pace, _asker(exchange), key,
                _fingerprint(exchange, session_id),
            )  # fmt: skip
            ledger.note_effect(db, exchange, "chat.asked", message_id, name=asked.content)
            return json_answer({})

        try:
            await self.core.effect(exchange, insert)
        except DuplicateError:
            # Its twin was faster.
            twin = await self._asked_before(exchange, session_id)
            if twin is None:
                raise
            return twin
        return message_id

    async def _answered(self, tenant: str, session: dict[str, Any], question: str) -> Parts:
        file_ids = session["file_ids"]
        ready = await self.core.database.read(
            "SELECT id, name FROM files WHERE tenant = ? AND status = 'completed'", tenant
        )
        names = {file_id: name for file_id, name in ready if file_ids is None or file_id in file_ids}
        if not names:
            raise self.core.service.error(
                Failure(
                    status=409, code="CHAT_NO_SOURCES", message="There is no file that can be searched.",
                    details={"session_id": session["id"]},
                )
            )  # fmt: skip
        hits = await asyncio.to_thread(self.core.search.find, tenant, question, file_ids, 2 * MOST_QUOTES)
        # One may have been deleted a moment ago.
        there = [hit for hit in hits if hit.file_id in names]
        return answer_to(question, there[:MOST_QUOTES], names)

    def _check_open(self, status: str, session_id: str) -> None:
        if status != "open":
            raise self.core.service.error(
                Failure(
                    status=409, code="CHAT_SESSION_CLOSED", message="The chat is closed.",
                    details={"session_id": session_id},
                )
            )  # fmt: skip

    # --- streams ---

    async def events(self, request: Request) -> Response:
        """The answer as events, from the beginning or after the last one that was seen."""
        row = await self._message(request)
        first = _after(request.headers.get("last-event-id", ""), row[0])
        return await self._events(exchange_of(request).tenant, row[1], row[0], first)

    async def _events(self, tenant: str, session_id: str, message_id: str, first: int) -> Response:
        """The events of an answer from a number on."""
        row = await self.core.found(MESSAGES, tenant, message_id)
        if first >= len(json.loads(row[3])) + 2:
            return Response(status_code=204)  # so that an `EventSource` does not come again
        session = await self.core.found(CHAT_SESSIONS, tenant, session_id)
        self._check_open(session[3], session_id)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        events = self._told(message_id, tenant, session_id, first)
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def _message(self, request: Request) -> Sequence[Any]:
        message_id = request.path_params["message_id"]
        row = await self.core.found(MESSAGES, exchange_of(request).tenant, message_id)
        if row[1] != request.path_params["session_id"]:
            raise self.core.missing("message", message_id)
        return row

    async def _told(self, message_id: str, tenant: str, session_id: str, first: int) -> AsyncIterator[bytes]:
        ((question, parts, sha256, length, pace),) = await self.core.database.read(
            "SELECT question, parts, sha256, length, pace FROM messages WHERE id = ? AND tenant = ?",
            message_id, tenant,
        )  # fmt: skip
        whole = json.loads(parts)
        for number in range(first, len(whole) + 2):
            if pace is not None and number > first:
                async for comment in self._waited(1.0 / pace, tenant, session_id):
                    yield comment
            kind, data = _event(number, whole, message_id, session_id, question, sha256, length)
            begin = f"retry: {RETRY}\n" if number == first else ""
            said = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
            yield f"{begin}id: {message_id}:{number}\nevent: {kind}\ndata: {said}\n\n".encode()

    async def _waited(self, seconds: float, tenant: str, session_id: str) -> AsyncIterator[bytes]:
        """Nothing, for some seconds, but for comments that keep the connection alive."""
        begun = said = time.monotonic()
        while (left := begun + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(left, LOOK_EVERY))
            row = await self.core.found(CHAT_SESSIONS, tenant, session_id)
            # An error in the middle of a stream is its last event.
            self._check_open(row[3], session_id)
            if time.monotonic() - said >= KEEP_ALIVE:
                said = time.monotonic()
                yield b": keep-alive\n\n"


def _event(
    number: int, whole: Parts, message_id: str, session_id: str, question: str, sha256: str, length: int
) -> tuple[str, dict[str, Any]]:
    """The event of a number: the first and the last are about the answer, the others are its parts."""
    about = {"message_id": message_id, "session_id": session_id}
    if number == 0:
        return "message.started", {**about, "question": question}
    if number == len(whole) + 1:
        citations = sum(not isinstance(part, str) for part in whole)
        end = {"status": "completed", "length": length, "sha256": sha256, "citations": citations}
        return "message.completed", {**about, **end}
    part = whole[number - 1]
    return ("delta", {"text": part}) if isinstance(part, str) else ("citation", part)


def _key_of(request: Request) -> str | None:
    """The request's idempotency key; None if it has none."""
    value = request.headers.get("idempotency-key")
    key = None if value is None else parse_key(value)
    if value is not None and key is None:
        raise RefusedRequest(Refusal("idempotency_key_invalid"))
    return key


def _asker(exchange: Exchange) -> str:
    """Whose idempotency keys are meant."""
    assert exchange.key is not None  # or the gates would not have let it through
    return exchange.key.principal


def _fingerprint(exchange: Exchange, session_id: str) -> str:
    """What tells one question from another."""
    return hashlib.sha256(session_id.encode() + b"\0" + exchange.body).hexdigest()


def _after(last_event_id: str, message_id: str) -> int:
    """The number of the event after the last one that was seen."""
    if not last_event_id:
        return 0
    seen, _, number = last_event_id.rpartition(":")
    if seen != message_id or not (number.isascii() and number.isdigit() and len(number) < 10):
        raise invalid(("header", "last-event-id"), "This is no event of this answer.", "not_an_event")
    return int(number) + 1
