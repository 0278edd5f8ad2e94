"""A header or a status that cannot be sent is a 500 before anything is done or recorded."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from service_asgi import ask
from service_place import code_of, place
from service_server import serving
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

import failwell
from failwell.answer import Answer
from failwell.failure import Effect, Failure
from failwell.service import Exchange, exchange_of
from failwell.service.outgoing import fields_of

BAD: list[tuple[bytes, bytes]] = [
    (b"x-bad", b"a\r\nset-cookie: stolen=1"),
    (b"x-bad", b"a\nb"),
    (b"x-bad", b"a\rb"),
    (b"x-bad", b"a\x00b"),
    (b"x-bad", b"a\x0bb"),
    (b"x-bad", b"a\x7fb"),
    (b"x bad", b"a"),
    (b"x-bad: 1\r\nx", b"a"),
    (b"x-b\xe4d", b"a"),
    (b"", b"a"),
]
LEVELS = ["transactional", "resumable", "at_most_once"]
# As a final answer there is none of these.
NO_STATUS = [-1, 0, 99, 100, 103, 199, 600, 999, 1000, 10**30]


class Raw(Response):
    """An answer with a header as it stands."""

    def __init__(self, *headers: tuple[bytes, bytes], **kwargs: Any) -> None:
        super().__init__(b"done", 201, **kwargs)
        self.raw_headers += headers


def answering(*answers: Any) -> Any:
    left = list(answers)

    async def handler(request: Request) -> Response:
        answer: Response = left.pop(0) if len(left) > 1 else left[0]
        return answer

    return handler


@pytest.mark.parametrize("header", BAD)
@pytest.mark.parametrize("level", LEVELS)
def test_an_answer_that_cannot_be_sent_is_not_recorded(tmp_path: Path, level: str, header: Any) -> None:
    """
    The key is free again, or has the 500 where twice is worse than never.
    """
    handler = answering(Raw(header), Raw((b"x-good", b"yes")))
    with place(tmp_path, handler, idempotency=level) as here:
        first, again = here.run(), here.run()

    assert code_of(first) == (500, "internal_error")
    assert "x-bad" not in first.headers
    if level == "at_most_once":
        assert code_of(again) == (500, "internal_error")
    else:
        assert (again.status, again.headers["x-good"]) == (201, "yes")


@pytest.mark.parametrize("header", BAD)
@pytest.mark.parametrize("media_type", ["text/plain", "text/event-stream"])
def test_without_a_key_it_is_a_500_too(tmp_path: Path, header: Any, media_type: str) -> None:
    async def handler(request: Request) -> Response:
        async def pieces() -> Any:
            yield b"data: 1\n\n"

        answer = StreamingResponse(pieces(), media_type=media_type)
        answer.raw_headers.append(header)
        return answer

    with place(tmp_path, handler, idempotency="resumable") as here:
        answers = [here.run(key=None), here.run()]

    assert {(500, "internal_error")} == {code_of(answer) for answer in answers}


@pytest.mark.parametrize("value", ["a\r\nb", "€", "a\x00"])
@pytest.mark.parametrize("key", ["k", None])
def test_an_effect_whose_answer_cannot_be_sent_is_rolled_back(
    tmp_path: Path, value: str, key: str | None
) -> None:
    values = [value, "fine"]

    async def handler(request: Request) -> Response:
        def effect(db: Any) -> Answer:
            db.execute("INSERT INTO things (name) VALUES ('a')")
            return Answer(201, {"x-name": values.pop(0)}, b"made")

        answer = await exchange_of(request).commit(effect)
        return Response(answer.body, answer.status, answer.headers)

    with place(tmp_path, handler, idempotency="transactional") as here:
        first = here.run(key=key)
        made = here.store.read("SELECT count(*) FROM things")
        again = here.run(key=key)

    assert (first.status, made) == (500, [(0,)])
    assert (again.status, again.headers["x-name"]) == (201, "fine")


def test_an_outcome_that_cannot_be_sent_settles_nothing(tmp_path: Path) -> None:
    outcomes: list[Answer | Effect] = [Answer(200, {"x-bad": "a\r\nb"}, b""), Answer(200, {}, b"found")]

    async def settle(exchange: Exchange) -> Answer | Effect:
        return outcomes.pop(0)

    async def killed(request: Request) -> Response:
        raise KeyboardInterrupt

    with place(tmp_path, killed, idempotency="at_most_once", settle=settle) as here:
        with pytest.raises(KeyboardInterrupt):
            here.run()
        here.clock.now += 30.0
        first, again = here.run(), here.run()

    assert code_of(first) == (500, "internal_error")
    assert (again.status, again.body) == (200, b"found")


def test_a_record_that_cannot_be_sent_is_a_500(tmp_path: Path) -> None:
    """
    An operator has settled it so.
    """

    async def killed(request: Request) -> Response:
        raise KeyboardInterrupt

    async def settled(here: Any) -> None:
        (claim,) = await here.store.unsettled()
        await here.store.settle(claim, Answer(200, {"x-bad": "a\r\nb"}, b""), keep=60.0)

    with place(tmp_path, killed, idempotency="at_most_once") as here:
        with pytest.raises(KeyboardInterrupt):
            here.run()
        here.clock.now += 30.0
        asyncio.run(settled(here))
        answer = here.run()

    assert code_of(answer) == (500, "internal_error")


@pytest.mark.parametrize("value", ["a\r\nb", "€"])
def test_an_error_that_cannot_be_sent_is_a_500(tmp_path: Path, value: str) -> None:
    async def handler(request: Request) -> Response:
        raise HTTPException(409, "No.", {"X-Reason": value})

    with place(tmp_path, handler, idempotency="resumable") as here:
        answer = here.run()

    assert code_of(answer) == (500, "internal_error")


def test_what_stands_around_a_value_is_left_out(tmp_path: Path) -> None:
    handler = answering(Raw((b"x-padded", b" \ta b\t "), (b"x-latin", b"\xe4\tb"), (b"x-empty", b"")))
    with place(tmp_path, handler, idempotency="resumable") as here:
        answers = [here.run(key=None), here.run(), here.run()]

    for answer in answers:
        assert answer.headers["x-padded"] == "a b"
        assert answer.headers["x-latin"] == "ä\tb"
        assert answer.headers["x-empty"] == ""


def test_over_a_socket_no_line_is_injected(tmp_path: Path) -> None:
    with place(tmp_path, answering(Raw(BAD[0])), public=True) as here, serving(here.service) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 20) as connection:
            connection.sendall(b"POST /work HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            received = b"".join(iter(lambda: connection.recv(65536), b""))

    assert received.startswith(b"HTTP/1.1 500 ")
    assert b"stolen" not in received


def test_the_message_names_the_header_and_not_its_value() -> None:
    with pytest.raises(ValueError, match=r"the header b'x-a' of the answer cannot be sent") as caught:
        fields_of(Answer(200, {"x-a": "hunter2\n"}))
    assert "hunter2" not in str(caught.value)


def test_an_application_that_sends_no_bytes_has_not_answered(tmp_path: Path) -> None:
    async def textual(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [("x", "y")]})

    with place(tmp_path, answering(JSONResponse({})), public=True) as here:
        here.service.app = textual
        answer = asyncio.run(ask(here.service, "POST", "/work"))

    assert answer.status == 500


# --- statuses ---


@pytest.mark.parametrize("status", NO_STATUS)
def test_a_status_that_is_none_is_a_500_with_its_id(
    tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever says it: an exception of the framework's, of the contract's, an answer, a stream."""

    async def raising(request: Request) -> Response:
        raise HTTPException(status, "so it is")

    async def refusing(request: Request) -> Response:
        raise failwell.CallError.from_failure(Failure(status=status, message="so it is"))

    async def streaming(request: Request) -> Response:
        return StreamingResponse(iter([b"a", b"b"]), status)

    for handler in (raising, refusing, streaming, answering(Response(b"so it is", status))):
        caplog.clear()
        with place(tmp_path, handler, idempotency="resumable") as here:
            for key in (None, "k"):
                answer = here.run(key=key, headers={"x-request-id": "request-1"})

                assert code_of(answer) == (500, "internal_error")
                assert answer.headers["x-request-id"] == "request-1"
                assert b"so it is" not in answer.body
                assert "request-1 failed" in caplog.text


def test_a_connection_stays_open_after_a_status_that_is_none(tmp_path: Path) -> None:
    async def raising(request: Request) -> Response:
        raise HTTPException(600)

    with place(tmp_path, raising, public=True) as here, serving(here.service) as url:
        client = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10.0)
        client.connect()
        opened = client.sock
        for _ in range(2):
            client.request("POST", "/work")
            answer = client.getresponse()
            assert (500, "internal_error") == (answer.status, json.loads(answer.read())["code"])
            assert client.sock is opened
        client.close()


@pytest.mark.parametrize("status", [99, 600])
def test_an_effect_whose_status_is_none_is_rolled_back(tmp_path: Path, status: int) -> None:
    async def committing(request: Request) -> Response:
        def effect(db: Any) -> Answer:
            db.execute("INSERT INTO things (name) VALUES ('odd')")
            return Answer(status, {}, b"")

        answer = await exchange_of(request).commit(effect)
        return Response(answer.body, answer.status)

    with place(tmp_path, committing, idempotency="transactional") as here:
        assert code_of(here.run()) == (500, "internal_error")
        assert here.store.read("SELECT count(*) FROM things") == [(0,)]
