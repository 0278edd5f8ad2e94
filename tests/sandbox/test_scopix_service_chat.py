"""Questions about an account's files: quotes with their place, and streams that go on."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sandbox_caller import said, until
from scopix_caller import Scopix, error, events_of, faults_of, is_refusal, pdf

from failwell.answer import Answer
from scopix.errors import (
    ChatError,
    DocumentProcessingError,
    ResourceNotFoundError,
    ScopixConflictError,
    ValidationError,
)

pytest.importorskip("pypdf", reason="needs the extra `scopix`")

OWLS = "Owls sleep by day. They hunt mice at night."
FOXES = "Foxes eat berries in autumn, and mice all year."


@pytest.fixture(scope="module")
def account(scopix: Scopix) -> Scopix:
    """An account with some documents."""
    account = scopix.of(f"chat-{uuid4()}")
    account.document("owls.txt", OWLS)
    account.document("foxes.txt", FOXES)
    return account


def asked(account: Scopix, content: str, *, chat: str = "", **more: object) -> Answer:
    path = f"/v1/chat/sessions/{chat or account.chat()}/messages"
    return account("POST", path, {"content": content}, **more)


def streamed(account: Scopix, content: str, **more: str) -> Answer:
    return asked(account, content, headers={"Accept": "text/event-stream", **more})


def test_an_answer_is_what_stands_in_the_files_and_says_where(account: Scopix) -> None:
    answer = asked(account, "When do the owls hunt?")
    told = said(answer)

    assert answer.status == 201
    assert f"“{OWLS}” (owls.txt)" in told["content"]
    first = told["citations"][0]
    assert (first["name"], first["quote"], first["page"]) == ("owls.txt", OWLS, None)
    assert OWLS[first["start"] : first["end"]] == first["quote"]
    assert told["sha256"] == hashlib.sha256(told["content"].encode()).hexdigest()
    assert (told["length"], told["status"]) == (len(told["content"]), "completed")
    assert account.made("GET", told["events_url"].removesuffix("/events")) == told


def test_a_page_is_cited_where_there_are_pages(scopix: Scopix) -> None:
    account = scopix.of(f"paper-{uuid4()}")
    (paper,) = account.looked_at(account.file("paper.pdf", pdf("Badgers dig.", "Otters swim.")))
    (citation,) = said(asked(account, "otters"))["citations"]

    assert (citation["file_id"], citation["page"], citation["quote"]) == (paper["id"], 2, "Otters swim.")


def test_nothing_found_is_said_and_nothing_to_search_is_a_409(account: Scopix, scopix: Scopix) -> None:
    told = said(asked(account, "zebra?"))
    empty = scopix.of(f"empty-{uuid4()}")
    chat = empty.chat()

    assert (told["content"], told["citations"]) == ("Nothing in your files matches “zebra?”.", [])
    is_refusal(asked(empty, "owls", chat=chat), 409, ChatError, "CHAT_NO_SOURCES", session_id=chat)


def test_a_chat_about_some_files_knows_no_others(account: Scopix) -> None:
    (foxes,) = account.made("GET", "/v1/files?name=foxes.txt")["items"]
    chat = account.chat(file_ids=[foxes["id"]], title="foxes")

    assert {each["name"] for each in said(asked(account, "mice", chat=chat))["citations"]} == {"foxes.txt"}
    assert {each["name"] for each in said(asked(account, "mice"))["citations"]} == {"foxes.txt", "owls.txt"}
    assert account.made("GET", f"/v1/chat/sessions/{chat}")["message_count"] == 1
    assert [m["question"] for m in account.made("GET", f"/v1/chat/sessions/{chat}/messages")["items"]] == [
        "mice"
    ]


def test_no_account_is_told_of_anothers_files(account: Scopix, scopix: Scopix) -> None:
    other = scopix.of(f"other-{uuid4()}")
    other.document("badgers.txt", "Badgers dig. Mice hide.")
    (owls,) = account.made("GET", "/v1/files?name=owls.txt")["items"]

    assert {each["name"] for each in said(asked(other, "mice"))["citations"]} == {"badgers.txt"}
    answer = other("POST", "/v1/chat/sessions", {"file_ids": [owls["id"]]})
    is_refusal(answer, 404, ResourceNotFoundError, "NOT_FOUND", resource_type="file")
    assert other("GET", f"/v1/chat/sessions/{account.chat()}").status == 404


def test_a_deleted_document_is_quoted_no_more(scopix: Scopix) -> None:
    account = scopix.of(f"deleted-{uuid4()}")
    account.document("kept.txt", "Lynxes climb.")
    gone = account.document("gone.txt", "Lynxes swim.")
    account.made("DELETE", f"/v1/files/{gone['id']}")

    assert {each["name"] for each in said(asked(account, "lynxes"))["citations"]} == {"kept.txt"}


def test_a_document_without_a_text_is_no_source(account: Scopix) -> None:
    (broken,) = account.looked_at(account.file("broken.pdf", b"%PDF-1.4 broken"))
    answer = account("POST", "/v1/chat/sessions", {"file_ids": [broken["id"]]})

    is_refusal(
        answer, 409, DocumentProcessingError, "DOCUMENT_PROCESSING_ERROR", document_id=broken["id"],
        status="failed",
    )  # fmt: skip


# --- streams ---


def test_a_stream_is_the_answer_word_by_word_with_ids_that_count(account: Scopix) -> None:
    events = events_of(streamed(account, "owls"))
    first, *middle, last = events
    text = "".join(each["data"]["text"] for each in middle if each["event"] == "delta")
    cited = [each["data"] for each in middle if each["event"] == "citation"]
    path = f"/v1/chat/sessions/{last['data']['session_id']}/messages/{last['data']['message_id']}"
    told = account.made("GET", path)

    assert (first["event"], first["retry"], last["event"]) == ("message.started", "1000", "message.completed")
    assert (text, cited) == (told["content"], told["citations"])
    assert last["data"]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert (last["data"]["length"], last["data"]["citations"]) == (len(text), len(cited))
    assert [each["id"] for each in events] == [f"{told['id']}:{n}" for n in range(len(events))]


def test_a_stream_goes_on_after_any_event(account: Scopix) -> None:
    told = said(asked(account, "foxes"))
    whole = events_of(account("GET", told["events_url"]))

    for seen, event in enumerate(whole[:-1]):
        rest = events_of(account("GET", told["events_url"], headers={"Last-Event-ID": event["id"]}))
        assert [each["id"] for each in rest] == [each["id"] for each in whole[seen + 1 :]]
        assert [each["data"] for each in rest] == [each["data"] for each in whole[seen + 1 :]]
    ended = account("GET", told["events_url"], headers={"Last-Event-ID": whole[-1]["id"]})
    assert (ended.status, ended.body) == (204, b"")
    for odd in ("msg_other:3", f"{told['id']}:x", "nonsense"):
        answer = account("GET", told["events_url"], headers={"Last-Event-ID": odd})
        assert faults_of(answer) == [(["header", "last-event-id"], "not_an_event")]


def test_a_question_that_is_repeated_is_asked_once_and_told_again(account: Scopix) -> None:
    chat, key = account.chat(), {"Idempotency-Key": str(uuid4())}
    stream = {**key, "Accept": "text/event-stream"}
    first, again = (asked(account, "owls", chat=chat, headers=stream) for _ in range(2))
    whole = events_of(first)
    later = asked(account, "owls", chat=chat, headers={**stream, "Last-Event-ID": whole[4]["id"]})
    as_json = asked(account, "owls", chat=chat, headers=key)

    assert events_of(again) == whole
    assert [each["id"] for each in events_of(later)] == [each["id"] for each in whole[5:]]
    assert (as_json.status, as_json.headers["idempotent-replayed"]) == (201, "true")
    assert said(as_json)["id"] == whole[0]["data"]["message_id"]
    assert account.made("GET", f"/v1/chat/sessions/{chat}")["message_count"] == 1
    assert account.service.effects(key["Idempotency-Key"]) == 1
    other = asked(account, "foxes", chat=chat, headers=key)
    is_refusal(other, 409, ScopixConflictError, "IDEMPOTENCY_CONFLICT")
    odd = asked(account, "foxes", chat=chat, headers={"Idempotency-Key": "two,keys"})
    is_refusal(odd, 400, ValidationError, "VALIDATION_ERROR", reason="idempotency_key_invalid")


def test_twins_that_ask_at_the_same_moment_are_told_one_answer(account: Scopix) -> None:
    chat, key = account.chat(), {"Idempotency-Key": str(uuid4())}
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: asked(account, "owls", chat=chat, headers=key), range(8)))

    assert {each.status for each in told} == {201}
    assert len({said(each)["id"] for each in told}) == 1
    assert account.made("GET", f"/v1/chat/sessions/{chat}")["message_count"] == 1


def test_a_key_that_is_a_day_old_is_a_new_one(account: Scopix) -> None:
    chat, key = account.chat(), {"Idempotency-Key": str(uuid4())}
    first = said(asked(account, "owls", chat=chat, headers=key))
    account.service.database.write_blocking(
        lambda db: db.execute("UPDATE messages SET created_at = created_at - 90000 WHERE id = ?", first["id"])
    )
    second = asked(account, "foxes", chat=chat, headers=key)

    assert second.status == 201
    assert said(second)["id"] != first["id"]


def test_a_closed_chat_takes_no_question_and_can_be_read(account: Scopix) -> None:
    chat = account.chat(title="closing")
    told = said(asked(account, "owls", chat=chat))
    assert account.made("DELETE", f"/v1/chat/sessions/{chat}") == {"id": chat, "closed": True}

    is_refusal(asked(account, "owls", chat=chat), 409, ChatError, "CHAT_SESSION_CLOSED", session_id=chat)
    is_refusal(account("GET", told["events_url"]), 409, ChatError, "CHAT_SESSION_CLOSED")
    assert account.made("GET", f"/v1/chat/sessions/{chat}")["status"] == "closed"
    assert account.made("GET", f"/v1/chat/sessions/{chat}/messages")["items"] == [told]


def test_a_stream_whose_chat_is_closed_ends_with_an_error_event(account: Scopix) -> None:
    chat, answers = account.chat(), list[Answer]()
    path = f"/v1/chat/sessions/{chat}/messages"
    # An event in five seconds: it is not over before the chat is closed.
    question = {"content": "owls", "pace": 0.2}
    thread = threading.Thread(
        target=lambda: answers.append(
            account("POST", path, question, headers={"Accept": "text/event-stream"})
        )
    )
    thread.start()
    until(lambda: account.made("GET", path)["items"], "the question is not asked")
    account.made("DELETE", f"/v1/chat/sessions/{chat}")
    thread.join()
    *events, last = events_of(answers[0])

    assert "message.completed" not in {each["event"] for each in events}
    assert last["event"] == "error"
    assert "id" not in last, "who comes back is told the same"
    assert (last["data"]["status"], last["data"]["error"]["code"]) == (409, "CHAT_SESSION_CLOSED")
    assert last["data"]["error"]["details"] == {"session_id": chat}


def test_a_question_is_words_and_nothing_else(account: Scopix) -> None:
    for question in ('"', "owls AND", "owls*", "NEAR(owls, 2)", "text:owls", "-owls", "'; DROP TABLE x; --"):
        answer = asked(account, question)
        assert answer.status == 201, (question, error(answer))
    assert faults_of(asked(account, "")) == [(["body", "content"], "string_too_short")]
