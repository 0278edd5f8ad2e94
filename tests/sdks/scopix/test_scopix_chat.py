"""Chats: sessions, whole answers, and answers that are streamed, cut, and taken up again."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from itertools import repeat
from typing import Any

import pytest
from scopix_answers import CITATION, MESSAGE, SESSION, page, refusal
from sdk_clients import Play

from failwell.testing import answer, broken, streamed
from scopix import (
    AuthenticationError,
    ChatError,
    ChatEvent,
    ChatMessage,
    ChatSession,
    Citation,
    DocumentProcessingError,
    RateLimitError,
    Scopix,
    ScopixConnectionError,
    ScopixError,
    ServerError,
    SSEStreamError,
    ValidationError,
)

TEXTS = ("The owl ", "hunts at night: ", "mice 🐁.")


def event(number: int | None, kind: str, **data: Any) -> str:
    name = "" if number is None else f"id: msg_1:{number}\n"
    return f"{name}event: {kind}\ndata: {json.dumps(data)}\n\n"


STARTED = event(0, "message.started", message_id="msg_1", session_id="cs_1", question="Who?")
DELTAS = [event(number, "delta", text=text) for number, text in enumerate(TEXTS, 1)]
CITED = event(4, "citation", **CITATION)
WHOLE = "".join(TEXTS)
COMPLETED = event(
    5,
    "message.completed",
    message_id="msg_1",
    length=len(WHOLE),
    sha256=hashlib.sha256(WHOLE.encode()).hexdigest(),
    citations=1,
)
ALL = [STARTED, *DELTAS, CITED, COMPLETED]


def streaming(
    seen: list[Any], open_it: Callable[[Any], Any] = lambda c: c.chat.stream("cs_1", "Who?")
) -> Callable[[Any], Any]:
    """Reads a stream on either client; what came is in `seen`, however it ends."""

    def call(client: Any) -> Any:
        if not isinstance(client, Scopix):
            with open_it(client) as events:
                for each in events:
                    seen.append(each)
            return events.last_event_id

        async def awaited() -> Any:
            async with open_it(client) as events:
                async for each in events:
                    seen.append(each)
            return events.last_event_id

        return awaited()

    return call


def text_of(seen: list[ChatEvent]) -> str:
    return "".join(each.text for each in seen)


# --- sessions and whole answers ---


def test_sessions_are_begun_listed_read_and_closed(play: Play) -> None:
    begun = play(lambda c: c.chat.sessions.create(file_ids=["doc_1"], title="birds"), [answer(201, SESSION)])
    assert begun.result == ChatSession.from_json(SESSION)
    assert json.loads(begun.requests[0].content) == {"file_ids": ["doc_1"], "title": "birds"}
    listed = play(lambda c: c.chat.sessions.list(limit=3), [answer(200, page(SESSION))])
    assert listed.result[0].title == "birds"
    assert play(lambda c: c.chat.sessions.get("cs_1"), [answer(200, SESSION)]).result.status == "open"
    closed = play(lambda c: c.chat.sessions.end("cs_1"), [answer(200, {"closed": True})])
    assert closed.paths == ["DELETE /v1/chat/sessions/cs_1"]


def test_a_session_about_a_document_that_is_still_processed_is_refused(play: Play) -> None:
    body = refusal("DOCUMENT_PROCESSING_ERROR", document_id="doc_1", status="processing")
    error = play(lambda c: c.chat.sessions.create(file_ids=["doc_1"]), [answer(409, body)]).error

    assert type(error) is DocumentProcessingError
    assert error.document_id == "doc_1"


def test_an_answer_is_read_whole(play: Play) -> None:
    went = play(lambda c: c.chat.send("cs_1", "Who?"), [answer(201, MESSAGE)])

    assert went.result == ChatMessage.from_json(MESSAGE)
    assert went.result.citations == (Citation.from_json(CITATION),)
    assert json.loads(went.requests[0].content) == {"content": "Who?"}
    assert went.requests[0].headers["accept"] == "application/json"


def test_answers_can_be_read_again(play: Play) -> None:
    listed = play(lambda c: c.chat.messages("cs_1", cursor="c"), [answer(200, page(MESSAGE))])
    assert listed.result[0].id == "msg_1"
    one = play(lambda c: c.chat.message("cs_1", "msg_1"), [answer(200, MESSAGE)])
    assert one.paths == ["GET /v1/chat/sessions/cs_1/messages/msg_1"]


def test_a_session_that_is_closed_says_so_by_its_code(play: Play) -> None:
    body = refusal("CHAT_SESSION_CLOSED", "The chat is closed.", session_id="cs_1")
    error = play(lambda c: c.chat.send("cs_1", "Who?"), [answer(409, body)]).error

    assert type(error) is ChatError
    assert (error.code, error.session_id) == ("CHAT_SESSION_CLOSED", "cs_1")


# --- streams ---


def test_an_answer_comes_piece_by_piece(play: Play) -> None:
    seen: list[ChatEvent] = []
    went = play(streaming(seen), [streamed(*ALL)])

    assert went.error is None
    assert [each.type for each in seen] == ["started", *["delta"] * 3, "citation", "completed"]
    assert text_of(seen) == WHOLE
    assert {each.message_id for each in seen} == {"msg_1"}
    assert seen[4].citation == Citation.from_json(CITATION)
    assert went.result == "msg_1:5"
    assert went.paths == ["POST /v1/chat/sessions/cs_1/messages"]
    assert went.requests[0].headers["accept"] == "text/event-stream"


def test_what_this_version_does_not_know_is_passed_over(play: Play) -> None:
    seen: list[ChatEvent] = []
    odd = event(None, "message.mood", mood="good")
    went = play(streaming(seen), [streamed(": hello\n\n", STARTED, odd, *ALL[1:])])

    assert went.error is None
    assert len(seen) == 6


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_stream_that_breaks_goes_on_after_the_last_event(play: Play, cut: int) -> None:
    seen: list[ChatEvent] = []
    went = play(streaming(seen), [streamed(*ALL[:cut], broken("reset")), streamed(*ALL[cut:])])

    assert went.error is None
    assert text_of(seen) == WHOLE
    assert len(seen) == 6
    assert went.paths[1] == "GET /v1/chat/sessions/cs_1/messages/msg_1/events"
    assert went.requests[1].headers["last-event-id"] == f"msg_1:{cut - 1}"


def test_a_stream_that_is_cut_within_an_event_gives_it_once(play: Play) -> None:
    seen: list[ChatEvent] = []
    cut = DELTAS[1][:30]
    went = play(streaming(seen), [streamed(STARTED, DELTAS[0], cut), streamed(*ALL[2:])])

    assert went.error is None
    assert text_of(seen) == WHOLE


def test_what_is_sent_twice_is_handed_over_once(play: Play) -> None:
    seen: list[ChatEvent] = []
    went = play(streaming(seen), [streamed(*ALL[:4], broken("reset")), streamed(*ALL[1:])])

    assert went.error is None
    assert text_of(seen) == WHOLE


def test_a_stream_that_breaks_before_its_first_event_is_asked_for_again_with_its_key(play: Play) -> None:
    seen: list[ChatEvent] = []
    went = play(streaming(seen), [streamed(broken("reset")), streamed(*ALL)])

    assert went.error is None
    assert went.paths == ["POST /v1/chat/sessions/cs_1/messages"] * 2
    assert len({request.headers["idempotency-key"] for request in went.requests}) == 1


@pytest.mark.parametrize("count", range(6))
def test_a_stream_without_its_last_event_is_never_complete(play: Play, count: int) -> None:
    seen: list[ChatEvent] = []
    went = play(streaming(seen), [streamed(*ALL[:count]), *repeat(streamed(), 30)])

    assert type(went.error) is SSEStreamError
    assert len(seen) == count


def test_a_stream_that_cannot_be_taken_up_again_says_after_which_event(play: Play) -> None:
    seen: list[ChatEvent] = []
    script = [streamed(*ALL[:3], broken("reset")), *repeat(broken("refused"), 30)]
    # Whether so many failures open a circuit depends on chance: on how long is waited between them.
    went = play(streaming(seen), script, breaker=False)
    error = went.error

    assert type(error) is SSEStreamError
    assert error.code == "SSE_STREAM_ERROR"
    assert error.last_event_id == "msg_1:2"
    assert error.details["last_event_id"] == "msg_1:2"
    assert error.failure.stopped == "reconnects_exhausted"
    assert text_of(seen) == "".join(TEXTS[:2])
    assert pickle.loads(pickle.dumps(error)).last_event_id == "msg_1:2"


ERRORS: list[tuple[int, dict[str, Any], type[ScopixError]]] = [
    (409, refusal("CHAT_SESSION_CLOSED", "The chat is closed.", session_id="cs_1"), ChatError),
    (401, refusal("AUTH_ERROR"), AuthenticationError),
    (429, refusal("RATE_LIMIT", retry_after=7, limit=60, remaining=0, reset=1_800_000_000), RateLimitError),
    (500, refusal("SERVER_ERROR"), ServerError),
]


@pytest.mark.parametrize(("status", "body", "cls"), ERRORS)
def test_an_error_in_a_stream_is_raised_as_the_class_it_names(
    play: Play, status: int, body: dict[str, Any], cls: type[ScopixError]
) -> None:
    seen: list[ChatEvent] = []
    error_event = event(None, "error", **body, status=status)
    went = play(streaming(seen), [streamed(*ALL[:3], error_event)])

    assert type(went.error) is cls
    assert len(seen) == 3
    if cls is ChatError:
        assert (went.error.code, went.error.session_id) == ("CHAT_SESSION_CLOSED", "cs_1")
    if cls is RateLimitError:
        facts = (went.error.retry_after, went.error.limit, went.error.remaining, went.error.reset)
        assert facts == (7, 60, 0, 1_800_000_000)


def test_what_opening_is_answered_with_is_raised(play: Play) -> None:
    seen: list[ChatEvent] = []
    went = play(streaming(seen), [answer(409, refusal("CHAT_NO_SOURCES", session_id="cs_1"))])

    assert type(went.error) is ChatError
    assert (went.error.code, seen) == ("CHAT_NO_SOURCES", [])


@pytest.mark.parametrize(
    ("length", "digest"), [(len(WHOLE) + 1, None), (None, "0" * 64), (1, hashlib.sha256(b"x").hexdigest())]
)
def test_a_text_that_is_not_what_was_sent_is_an_error(
    play: Play, length: int | None, digest: str | None
) -> None:
    seen: list[ChatEvent] = []
    other = event(5, "message.completed", length=length, sha256=digest)
    went = play(streaming(seen), [streamed(*ALL[:5], other)])

    assert type(went.error) is SSEStreamError
    assert f"has {len(WHOLE)} characters and is not the one that was sent" in went.error.message


@pytest.mark.parametrize(
    "odd",
    [
        event(1, "delta", text=7),
        'id: msg_1:1\nevent: delta\ndata: ["text"]\n\n',
        "id: msg_1:1\nevent: delta\ndata: no json\n\n",
        event(1, "citation", name="no id"),
    ],
)
def test_an_event_that_is_not_in_the_promised_format_is_a_connection_error(play: Play, odd: str) -> None:
    went = play(streaming([]), [streamed(STARTED, odd, *ALL[2:])])

    assert type(went.error) is ScopixConnectionError


def test_a_stream_is_taken_up_again_from_another_process(play: Play) -> None:
    seen: list[ChatEvent] = []
    went = play(
        streaming(seen, lambda c: c.chat.resume("cs_1", "msg_1", last_event_id="msg_1:2")),
        [streamed(*ALL[3:])],
    )

    assert went.error is None
    assert text_of(seen) == TEXTS[2]
    assert went.paths == ["GET /v1/chat/sessions/cs_1/messages/msg_1/events"]
    assert went.requests[0].headers["last-event-id"] == "msg_1:2"


def test_a_stream_is_read_again_from_its_beginning(play: Play) -> None:
    seen: list[ChatEvent] = []
    went = play(streaming(seen, lambda c: c.chat.resume("cs_1", "msg_1")), [streamed(*ALL)])

    assert went.error is None
    assert text_of(seen) == WHOLE
    assert "last-event-id" not in went.requests[0].headers


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.chat.send("cs_1", ""),
        lambda c: c.chat.send("..", "Who?"),
        lambda c: c.chat.sessions.create(file_ids="doc_1"),
        lambda c: c.chat.sessions.create(title=7),
        lambda c: c.chat.stream("cs_1", ""),
        lambda c: c.chat.stream("cs_1", "Who?", idempotency_key=7),
        lambda c: c.chat.resume("cs_1", ""),
        lambda c: c.chat.resume("cs_1", "msg_1", last_event_id=7),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_sent(play: Play, call: Any) -> None:
    went = play(call, [])

    assert isinstance(went.error, ValidationError)
    assert went.requests == []
