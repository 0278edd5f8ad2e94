"""Bodies that are streamed, answers that are large or live, and clients that hang up on them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from service_place import Payments, Place, code_of, fine, place
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from failwell.answer import Answer
from failwell.service import (
    FencedError,
    bodies,
    deduplication,
    exchange_of,
)

# --- cancelled ---


@pytest.mark.parametrize("level", ["resumable", "at_most_once"])
def test_a_cancelled_request_frees_nothing(tmp_path: Path, level: str) -> None:
    async def handler(request: Request) -> Response:
        if here.handled == 1:
            await asyncio.Event().wait()
        return JSONResponse({})

    async def cancel(here: Place) -> list[Answer]:
        task = asyncio.create_task(here.ask())
        while not here.handled:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        at_once = await here.ask()
        here.clock.now += 30.0
        return [at_once, await here.ask()]

    with place(tmp_path, handler, idempotency=level) as here:
        at_once, later = asyncio.run(cancel(here))

    assert code_of(at_once) == (409, "idempotency_in_flight")
    if level == "resumable":
        assert later.status == 200
    else:
        assert code_of(later) == (409, "idempotency_outcome_unknown")


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_client_that_hangs_up_cuts_no_record_short(tmp_path: Path, pieces: int) -> None:
    """A framework ends a stream whose client is gone; what is recorded is whole all the same."""
    with place(tmp_path, written([b"x"] * pieces), idempotency="resumable") as here:
        asyncio.run(_hang_up(here))
        again = here.run(body=b"")

    assert (again.status, again.body) == (200, b"x" * pieces)
    assert again.headers["idempotent-replayed"] == "true"
    assert here.handled == 1


def test_a_live_stream_ends_when_its_client_hangs_up(tmp_path: Path) -> None:
    ended: list[str] = []

    async def handler(request: Request) -> Response:
        async def body() -> Any:
            try:
                while True:
                    yield b"data: 1\n\n"
                    await asyncio.sleep(0)
            finally:
                ended.append("stream")

        return StreamingResponse(body(), media_type="text/event-stream")

    with place(tmp_path, handler, idempotency="resumable") as here:
        asyncio.run(_hang_up(here))

    assert ended == ["stream"]


async def _hang_up(here: Place, *said: dict[str, Any]) -> None:
    """Ask as a server does whose client is gone at once, of a framework that listens for that."""
    messages = [*(said or ({"type": "http.request"},)), {"type": "http.disconnect"}]
    headers = [(b"authorization", f"Bearer {here.key}".encode()), (b"idempotency-key", b"k")]
    scope = {
        "type": "http", "method": "POST", "path": "/work", "query_string": b"", "headers": headers,
        "asgi": {"spec_version": "2.3"},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Any) -> None:
        await asyncio.sleep(0)

    await here.service(scope, receive, send)


@pytest.mark.parametrize("level", ["resumable", "at_most_once"])
def test_a_client_that_hangs_up_in_its_body_is_no_reason_to_wait(tmp_path: Path, level: str) -> None:
    with place(tmp_path, reading, idempotency=level, streamed=True) as here:
        asyncio.run(_hang_up(here, {"type": "http.request", "body": b"abc", "more_body": True}))
        again = here.run(body=[b"abc", b""])

    assert here.handled == (2 if level == "resumable" else 1)
    assert again.status == (201 if level == "resumable" else 409)


# --- streamed bodies ---


async def reading(request: Request) -> Response:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return JSONResponse({"size": size, "beforehand": len(exchange_of(request).body)}, 201)


def streamed(folder: Path, handler: Any = reading, **row: Any) -> Any:
    return place(folder, handler, idempotency="resumable", streamed=True, max_body_bytes=100, **row)


def test_a_streamed_body_is_left_to_the_handler(tmp_path: Path) -> None:
    with streamed(tmp_path) as here:
        answer = here.run(body=[b"abc", b"de", b""])

    assert (answer.status, json.loads(answer.body)) == (201, {"size": 5, "beforehand": 0})
    assert "connection" not in answer.headers


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("content-type", "text/plain", 409),
        ("content-length", "4", 409),
        ("content-digest", "sha-256=:AAAA:", 409),
        ("user-agent", "other", 201),
    ],
)
def test_what_is_known_of_a_streamed_body_makes_it_the_same(
    tmp_path: Path, name: str, value: str, status: int
) -> None:
    headers = {
        "content-type": "text/csv", "content-length": "3", "content-digest": "sha-256=:BBBB:",
    }  # fmt: skip
    with streamed(tmp_path) as here:
        first = here.run(body=b"abc", headers=headers)
        again = here.run(body=b"abc", headers={**headers, name: value})

    assert first.status == 201
    assert again.status == status
    if status == 409:
        assert code_of(again) == (409, "idempotency_mismatch")


@pytest.mark.parametrize("key", ["k", None])
def test_a_streamed_body_is_held_to_the_limit_and_its_rest_read(tmp_path: Path, key: str | None) -> None:
    """Or the sender's machine throws the 413 away, whether the request has a key or not."""
    chunks = [b"x" * 60, b"y" * 60, b"z" * 60, b""]
    with streamed(tmp_path) as here:
        answer = asyncio.run(_counting(here, chunks, key))

    assert code_of(answer) == (413, "payload_too_large")
    assert answer.headers["connection"] == "close"
    assert chunks == []


async def _counting(here: Place, chunks: list[bytes], key: str | None) -> Answer:
    """Ask with the very list, so that what was not read stays in it."""
    headers = [(b"authorization", f"Bearer {here.key}".encode()), (b"transfer-encoding", b"chunked")]
    if key is not None:
        headers.append((b"idempotency-key", key.encode()))
    scope = {
        "type": "http", "method": "POST", "path": "/work", "query_string": b"", "headers": headers,
        "client": ("10.0.0.1", 1),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        body = chunks.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(chunks)}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await here.service(scope, receive, send)
    start = sent[0]
    fields = [(n.decode(), v.decode()) for n, v in start["headers"]]
    return Answer(start["status"], fields, b"".join(m.get("body", b"") for m in sent[1:]))


async def early(request: Request) -> Response:
    return JSONResponse({"early": True}, 201)


def test_a_handler_that_answers_before_the_body_came_is_heard(tmp_path: Path) -> None:
    chunks, more = [b"abc", b"def", b""], [b"abc", b"def", b""]
    with streamed(tmp_path, early) as here:
        first = asyncio.run(_counting(here, chunks, "k"))
        replayed = asyncio.run(_counting(here, more, "k"))

    assert (first.status, replayed.status) == (201, 201)
    assert replayed.headers["idempotent-replayed"] == "true"
    assert {"close"} == {first.headers["connection"], replayed.headers["connection"]}
    assert (chunks, more) == ([], [])


def test_a_body_that_goes_on_and_on_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "LINGER_BYTES", 200)
    chunks = [b"x" * 90] * 50
    with streamed(tmp_path) as here:
        answer = asyncio.run(_counting(here, chunks, None))

    assert answer.status == 413
    assert len(chunks) == 50 - 2 - 3


# --- large answers and streams ---


def written(pieces: Sequence[bytes], media_type: str = "text/plain", status: int = 200) -> Any:
    async def handler(request: Request) -> Response:
        async def body() -> Any:
            for piece in pieces:
                for _ in range(5):  # time for others, such as whoever listens for a hang-up
                    await asyncio.sleep(0)
                yield piece

        return StreamingResponse(body(), status, media_type=media_type)

    return handler


@pytest.mark.parametrize(
    ("pieces", "media_type"),
    [
        ([b"x" * 40, b"y" * 40, b"z" * 40], "text/plain"),
        ([b"x" * 101], "text/plain"),
        ([b"data: 1\n\n", b"data: 2\n\n"], "text/event-stream"),
    ],
    ids=["grows too large", "large at once", "events"],
)
@pytest.mark.parametrize("level", ["transactional", "resumable", "at_most_once"])
def test_an_answer_too_large_to_keep_is_sent_as_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, pieces: list[bytes], media_type: str
) -> None:
    monkeypatch.setattr(deduplication, "MOST_KEPT_BYTES", 100)
    with place(tmp_path, written(pieces, media_type), idempotency=level) as here:
        first, again = here.run(), here.run()

    assert (first.status, first.body) == (200, b"".join(pieces))
    assert first.headers["idempotency-stored"] == "false"
    assert code_of(again) == (409, "idempotency_answer_not_kept")
    assert "retry-after" not in again.headers
    assert here.handled == 1


def test_an_answer_that_can_be_kept_is_sent_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "MOST_KEPT_BYTES", 100)
    with place(tmp_path, written([b"x" * 50, b"y" * 50]), idempotency="resumable") as here:
        first, again = here.run(), here.run()

    assert first.body == again.body == b"x" * 50 + b"y" * 50
    assert first.headers["content-length"] == "100"
    assert "idempotency-stored" not in first.headers


def test_the_first_event_leaves_before_the_second_is_made(tmp_path: Path) -> None:
    order: list[str] = []

    async def handler(request: Request) -> Response:
        async def body() -> Any:
            for number in range(3):
                order.append(f"made {number}")
                yield f"data: {number}\n\n".encode()

        return StreamingResponse(body(), media_type="text/event-stream; charset=utf-8")

    async def watched(here: Place) -> None:
        async def send(message: Any) -> None:
            if message.get("body"):
                order.append("sent " + message["body"].decode()[6])

        async def receive() -> dict[str, Any]:
            if order and order[-1] == "never":
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": b"", "more_body": False}

        headers = [(b"authorization", f"Bearer {here.key}".encode()), (b"idempotency-key", b"k")]
        scope = {
            "type": "http", "method": "POST", "path": "/work", "query_string": b"", "headers": headers,
            "asgi": {"spec_version": "2.4"},
        }  # fmt: skip
        await here.service(scope, receive, send)

    with place(tmp_path, handler, idempotency="resumable") as here:
        asyncio.run(watched(here))

    assert order == ["made 0", "sent 0", "made 1", "sent 1", "made 2", "sent 2"]


def test_a_stream_that_fails_is_not_kept(tmp_path: Path) -> None:
    pieces = [b"data: no\n\n"]
    with place(
        tmp_path, written(pieces, "text/event-stream", 503), idempotency="resumable"
    ) as here:  # fmt: skip
        first, again = here.run(), here.run()

    assert (first.status, again.status, here.handled) == (503, 503, 2)
    assert first.headers["idempotency-stored"] == "false"


def test_a_stream_that_breaks_off_was_begun_and_is_not_begun_again(tmp_path: Path) -> None:
    async def handler(request: Request) -> Response:
        async def body() -> Any:
            yield b"data: 1\n\n"
            raise ZeroDivisionError

        return StreamingResponse(body(), media_type="text/event-stream")

    with place(tmp_path, handler, idempotency="resumable") as here:
        first, again = here.run(), here.run()

    assert first.body.startswith(b"data: 1\n\n")
    assert code_of(again) == (409, "idempotency_answer_not_kept")


def test_a_step_after_the_first_event_is_refused(tmp_path: Path) -> None:
    """The record is written by then, and says that all is done."""
    raised: list[BaseException] = []

    async def handler(request: Request) -> Response:
        async def body() -> Any:
            yield b"data: 1\n\n"
            try:
                await exchange_of(request).step("late", Payments().charge)
            except FencedError as exc:
                raised.append(exc)
                raise

        return StreamingResponse(body(), media_type="text/event-stream")

    with place(tmp_path, handler, idempotency="resumable") as here:
        answer = here.run()

    assert answer.body.startswith(b"data: 1\n\n")
    assert len(raised) == 1


def test_a_large_answer_about_a_committed_effect_is_replayed_as_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record was written with the effect; how much of it the handler sends is its own affair."""
    monkeypatch.setattr(deduplication, "MOST_KEPT_BYTES", 100)

    async def handler(request: Request) -> Response:
        answer = await exchange_of(request).commit(lambda _: Answer(201, {}, b"x" * 200))
        return Response(answer.body, answer.status)

    with place(tmp_path, handler, idempotency="transactional") as here:
        first, again = here.run(), here.run()

    assert first.body == again.body == b"x" * 200
    assert "idempotency-stored" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"


def test_who_was_overtaken_before_a_large_answer_sends_none_of_it(tmp_path: Path) -> None:
    gate: list[asyncio.Event] = []

    async def handler(request: Request) -> Response:
        if gate:
            await gate.pop().wait()
            return StreamingResponse(iter([b"data: zombie\n\n"]), media_type="text/event-stream")
        return JSONResponse({"heir": True})

    async def overtaken(here: Place) -> tuple[Answer, Answer]:
        held = asyncio.Event()
        gate.append(held)
        slow = asyncio.create_task(here.ask())
        while gate:
            await asyncio.sleep(0.001)
        here.clock.now += 30.0
        fast = await here.ask()
        held.set()
        return await slow, fast

    with place(tmp_path, handler, idempotency="resumable") as here:
        slow, fast = asyncio.run(overtaken(here))

    assert slow.body == fast.body == b'{"heir":true}'


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"type": "http.response.body", "body": b"x" * 200}],
        [{"type": "http.response.body", "body": b"no start"}],
        [{"type": "http.response.start", "status": 200}],
        [
            {"type": "http.response.start", "status": 200},
            {"type": "http.response.body", "body": b"half", "more_body": True},
        ],
    ],
    ids=["nothing", "a large body without a start", "a body without a start", "only a start", "half"],
)
def test_an_application_that_does_not_answer_is_a_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(deduplication, "MOST_KEPT_BYTES", 100)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(dict(message))

    with place(tmp_path, fine, idempotency="resumable") as here:
        here.service.app = app
        answer = here.run()

    assert code_of(answer) == (500, "internal_error")


def test_other_messages_of_an_application_are_not_part_of_the_record(tmp_path: Path) -> None:
    """Such as trailers: what is held back is a start and a body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["extensions"] == {}, "nor is it offered to send a file past the record"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
        await send({"type": "http.response.trailers", "headers": []})
        await send({"type": "http.response.body", "body": b"all"})

    with place(tmp_path, fine, idempotency="resumable") as here:
        here.service.app = app
        first, again = here.run(), here.run()

    assert (first.body, again.body) == (b"all", b"all")
