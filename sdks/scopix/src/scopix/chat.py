"""Chats about the account's files, whole or as a stream."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from failwell.call.operation import Operation
from failwell.client import AsyncClient, Client
from failwell.operations.server_sent_events import ServerSentEvent
from failwell.operations.streams import Stream
from failwell.resources import AsyncResource, Resource, awaiting, operation
from scopix.calls import check, nothing, paging, present, write
from scopix.errors import SSEStreamError
from scopix.models import ChatEvent, ChatMessage, ChatSession, Citation, Page

_PATH = "/v1/chat/sessions"
_MOST_FILES = 10_000
_COMPLETED = "message.completed"
_EVENTS = {"accept": "text/event-stream"}


class Sessions(Resource):
    """Chat sessions."""

    @operation
    def create(
        self,
        *,
        file_ids: Sequence[str] | None = None,
        title: str | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[ChatSession]:
        """
        Begin a chat.

        Args:
            file_ids: The files it answers from; None for all of the account.
            title: What it is called.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            DocumentProcessingError: one of the files is still processed, or could not be.
        """
        body = present(
            file_ids=check.optional(check.texts, "file_ids", file_ids, most=_MOST_FILES, empty=False),
            title=check.optional(check.text, "title", title),
        )
        return write("POST", _PATH, ChatSession.from_response, body, idempotency_key)

    @operation
    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Operation[Page[ChatSession]]:
        """
        A page of the sessions, the oldest first.

        Args:
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        return Operation("GET", _PATH, Page.of(ChatSession.from_json), params=paging(limit, cursor))

    @operation
    def get(self, session_id: str) -> Operation[ChatSession]:
        """A session."""
        return Operation("GET", _session(session_id), ChatSession.from_response)

    @operation
    def end(self, session_id: str, *, idempotency_key: str | None = None) -> Operation[None]:
        """
        End a session. It takes no more messages.

        Args:
            session_id: The session.
            idempotency_key: Sent with every try; by default one is made for the call.
        """
        return write("DELETE", _session(session_id), nothing, None, idempotency_key)


class AsyncSessions(AsyncResource):
    """Chat sessions."""

    create = awaiting(Sessions.create)
    list = awaiting(Sessions.list)
    get = awaiting(Sessions.get)
    end = awaiting(Sessions.end)


class Chat(Resource):
    """
    Chats about files.

    Attributes:
        sessions: Begin, list and end sessions.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.sessions = Sessions(client)

    @operation
    def send(
        self, session_id: str, content: str, *, idempotency_key: str | None = None
    ) -> Operation[ChatMessage]:
        """
        Ask something, and get the whole answer.

        Args:
            session_id: The session.
            content: What is asked.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            ChatError: the session is closed, or there is nothing to answer from; `code` says which.
        """
        return write(
            "POST", _messages(session_id), ChatMessage.from_response, _asked(content), idempotency_key
        )

    @operation
    def stream(
        self, session_id: str, content: str, *, idempotency_key: str | None = None
    ) -> Stream[ChatEvent]:
        """
        Ask something, and get the answer as it comes: to be used with `with`, or `async with`.

        A connection that breaks is made again, and goes on after the last event. The text that came is
        compared with what the service says at the end of it.

        Args:
            session_id: The session.
            content: What is asked.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            ChatError: the session is closed, or there is nothing to answer from; also half-way.
            SSEStreamError: the stream broke, and could not be taken up again.
        """
        key = check.optional(check.text, "idempotency_key", idempotency_key)
        path = _messages(session_id)
        ask: Operation[object] = Operation(
            "POST", path, json=_asked(content), headers=_EVENTS, idempotency_key=key
        )
        return Stream(
            ask,
            item=_Answer().item,
            ends=_is_end,
            resume=lambda event_id: _events(session_id, event_id.rpartition(":")[0], event_id),
            repeats=True,
            called="answer",
        )

    @operation
    def resume(self, session_id: str, message_id: str, *, last_event_id: str = "") -> Stream[ChatEvent]:
        """
        The stream of an answer again, also from another process.

        Args:
            session_id: The session.
            message_id: The answer.
            last_event_id: Begin after it: `last_event_id` of a stream or of its error; "" for all.
        """
        check.text("last_event_id", last_event_id)
        return Stream(
            _events(session_id, message_id),
            item=_Answer(whole=not last_event_id).item,
            ends=_is_end,
            last_event_id=last_event_id,
            called="answer",
        )

    @operation
    def messages(
        self, session_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Operation[Page[ChatMessage]]:
        """
        A page of the answers of a session, the oldest first.

        Args:
            session_id: The session.
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        parse = Page.of(ChatMessage.from_json)
        return Operation("GET", _messages(session_id), parse, params=paging(limit, cursor))

    @operation
    def message(self, session_id: str, message_id: str) -> Operation[ChatMessage]:
        """An answer."""
        return Operation("GET", _message(session_id, message_id), ChatMessage.from_response)


class AsyncChat(AsyncResource):
    """
    Chats about files.

    Attributes:
        sessions: Begin, list and end sessions.
    """

    def __init__(self, client: AsyncClient) -> None:
        super().__init__(client)
        self.sessions = AsyncSessions(client)

    send = awaiting(Chat.send)
    stream = awaiting(Chat.stream)
    resume = awaiting(Chat.resume)
    messages = awaiting(Chat.messages)
    message = awaiting(Chat.message)


class _Answer:
    """
    What has come of one answer.

    Args:
        whole: Whether it is read from its beginning, so that its text can be compared.
    """

    def __init__(self, *, whole: bool = True) -> None:
        self._digest = hashlib.sha256() if whole else None
        self._length = 0

    def item(self, event: ServerSentEvent) -> ChatEvent | None:
        """
        The event as the caller gets it; None for one that this version does not know.

        Raises:
            ValueError: it is not in the promised format.
            SSEStreamError: the text is not the one that the service sent.
        """
        kind = event.type.removeprefix("message.")
        if kind not in ("started", "delta", "citation", "completed"):
            return None
        data = event.json()
        if not isinstance(data, dict):
            raise ValueError(f"the data of {event.type} is no object")
        message_id = (event.id or "").rpartition(":")[0] or None
        if kind == "delta":
            text = data.get("text")
            if not isinstance(text, str):
                raise ValueError("a delta has no text")
            if self._digest is not None:
                self._digest.update(text.encode("utf-8", "surrogatepass"))
            self._length += len(text)
            return ChatEvent(kind, message_id, text)
        if kind == "citation":
            return ChatEvent(kind, message_id, citation=Citation.from_json(data))
        if kind == "completed":
            self._compare(data.get("length"), data.get("sha256"))
        return ChatEvent(kind, message_id)

    def _compare(self, length: object, digest: object) -> None:
        if self._digest is None:
            return
        if length not in (None, self._length) or digest not in (None, self._digest.hexdigest()):
            raise SSEStreamError(
                f"The text that came has {self._length} characters and is not the one that was sent"
            )


def _is_end(event: ServerSentEvent) -> bool:
    return event.type == _COMPLETED


def _asked(content: object) -> dict[str, str]:
    return {"content": check.text("content", content, empty=False)}


def _session(session_id: object) -> str:
    return f"{_PATH}/{check.segment('session_id', session_id)}"


def _messages(session_id: object) -> str:
    return f"{_session(session_id)}/messages"


def _message(session_id: object, message_id: object) -> str:
    return f"{_messages(session_id)}/{check.segment('message_id', message_id)}"


def _events(session_id: object, message_id: object, after: str = "") -> Operation[object]:
    """The stream of an answer, after an event; from its beginning without one."""
    headers = _EVENTS | ({"last-event-id": after} if after else {})
    return Operation("GET", f"{_message(session_id, message_id)}/events", headers=headers)
