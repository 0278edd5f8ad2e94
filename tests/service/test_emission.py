"""What an answer says: in the client's choice of words, with its id, and when it breaks off."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse
from service_behind import Behind
from service_server import serving
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

import failwell
from agoralia.contract import CONTRACT as AGORALIA
from failwell import Answer, CallError, Contract, Failure, FieldError
from failwell.contract import STANDARD
from failwell.dialects import FASTAPI, PROBLEM
from failwell.dialects.problem import Problem
from failwell.failure import RateLimit
from failwell.service import (
    Operation,
    Refusal,
    RefusedRequest,
    guarded,
)
from failwell.service.outgoing import AnswerCutError, asks_for_problem
from failwell.testing import make_error
from kneo_client.core.contract import CONTRACT as KNEO
from kneo_client.core.errors import KneoConflictError

DOCS = "https://docs.example/errors/{code}"


class Here(Behind):
    """A service with one route, which does what it is told."""

    def __init__(self, folder: Path, contract: Contract, **settings: Any) -> None:
        self.handler: Any = None
        operations = [
            Operation("GET", "/x", self.endpoint, public=True),
            Operation("POST", "/x", self.endpoint, idempotency="resumable"),
        ]
        if contract is AGORALIA:
            settings.setdefault("code_header", "X-Error-Code")
        settings.setdefault("problem_type", DOCS)
        super().__init__(folder, contract, operations=operations, **settings)

    async def endpoint(self, request: Request) -> Response:
        if isinstance(self.handler, BaseException):
            raise self.handler
        response: Response = self.handler(request)
        return response

    def said(self, accept: str = "", **asked: Any) -> Answer:
        """What a stranger gets, who accepts that."""
        return self.ask("GET", "/x", key=None, headers={"accept": accept} if accept else {}, **asked)

    def done(self, accept: str = "", **asked: Any) -> Answer:
        """What somebody gets who asks with an idempotency key."""
        headers = {"idempotency-key": "k-1", **({"accept": accept} if accept else {})}
        return self.ask("POST", "/x", headers=headers, **asked)


# --- problem details ---


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("application/problem+json", True),
        ("application/PROBLEM+json", True),
        ("application/json, application/problem+json", True),
        ("application/problem+json;q=0.5, application/json;q=0.5", True),
        ("application/problem+json;q=0.4, application/json;q=0.5", False),
        ("application/problem+json;q=0.4, application/*;q=0.5", False),
        ("application/problem+json;q=0.4, */*", False),
        ("application/problem+json;q=0.4, application/json;q=0.3, */*", True),
        ("application/problem+json;charset=utf-8; q=0.4, text/html", True),
        ("application/problem+json;q=0", False),
        ("application/problem+json;q=0.000", False),
        ("application/problem+json;q=nan", True),
        ("application/problem+json;q=1e9, application/json", True),
        ("application/json", False),
        ("*/*", False),
        ("application/*", False),
        ("application/problem+jsonx", False),
        ("", False),
    ],
)
def test_problem_details_are_for_who_asks_for_them_by_name(accept: str, wanted: bool) -> None:
    assert asks_for_problem(accept.encode()) is wanted


def test_a_problem_says_what_the_standard_wants(here: Here) -> None:
    here.handler = RefusedRequest(
        Refusal("validation_failed", {"x": 1}, fields=(FieldError(("body", 0, "a"), "No.", "bad"),))
    )
    answer = here.said("application/problem+json")
    body = json.loads(answer.body)
    request_id = answer.headers["x-request-id"]

    assert answer.headers["content-type"] == "application/problem+json"
    assert body == {
        "type": "https://docs.example/errors/validation_failed",
        "title": "Unprocessable Entity" if body["title"].endswith("Entity") else "Unprocessable Content",
        "status": answer.status,
        "detail": "The request does not have the expected fields.",
        "instance": request_id,
        "code": "validation_failed",
        "request_id": request_id,
        "details": {"x": 1},
        "errors": [{"pointer": "#/body/0/a", "detail": "No.", "code": "bad"}],
    }
    plain = here.contract.decode(here.said())
    error = here.contract.decode(answer)
    assert plain is not None
    assert error is not None
    assert type(error) is type(plain)
    assert (error.status, error.request_id) == (422, request_id)
    assert [(f.path, f.message, f.code) for f in error.fields] == [(("body", 0, "a"), "No.", "bad")]


def test_whoever_does_not_ask_gets_the_contracts_own_words(here: Here) -> None:
    here.handler = RefusedRequest(Refusal("not_found"))
    own = here.said("application/json")
    own_body, own_type = json.loads(own.body), own.headers["content-type"]

    assert (own_type == "application/problem+json") == (here.contract is STANDARD)
    assert here.said("*/*").headers["content-type"] == own_type
    if here.contract is STANDARD:
        assert own_body["type"] == "https://docs.example/errors/not_found"


def test_without_a_place_for_types_a_problem_has_none(tmp_path: Path) -> None:
    with Here(tmp_path, KNEO, problem_type="about:blank") as here:
        here.handler = RefusedRequest(Refusal("not_found"))
        body = json.loads(here.said("application/problem+json").body)

    assert (body["type"], body["title"], body["code"]) == ("about:blank", "Not Found", "not_found")


def test_a_code_that_is_a_uri_is_the_type_itself() -> None:
    dialect = Problem(DOCS)
    for code, expected in (("https://x.example/a", "https://x.example/a"), (None, "about:blank")):
        _, body = dialect.write(Failure(status=404, code=code))
        assert json.loads(body)["type"] == expected


def test_details_that_json_has_no_form_for_are_written_as_text() -> None:
    _, body = PROBLEM.write(
        Failure(
            status=404,
            details={
                "a": {
                    1,
                },
                "b": b"x",
            },
        )
    )

    assert json.loads(body)["details"] == {"a": "{1}", "b": "b'x'"}


def test_encode_writes_in_the_dialect_it_is_given() -> None:
    error = make_error(KneoConflictError, code="name_taken", message="Taken.")
    answer = KNEO.encode(error, PROBLEM)
    back = KNEO.decode(answer)

    assert answer.headers["content-type"] == "application/problem+json"
    assert type(back) is KneoConflictError
    assert (back.code, back.failure.message) == ("name_taken", "Taken.")


def test_an_outcome_that_is_kept_is_sent_again_as_it_was(tmp_path: Path) -> None:
    """
    In whichever words it was first asked for.
    """
    with Here(tmp_path, KNEO) as here:
        here.handler = lambda request: JSONResponse({}, 201)
        here.done()
        mismatch = here.done("application/problem+json", body=b"other")

    assert (mismatch.status, json.loads(mismatch.body)["code"]) == (409, "idempotency_mismatch")


# --- the request id ---


def test_the_request_id_is_in_the_head_and_in_the_body(here: Here) -> None:
    for ending in (RefusedRequest(Refusal("not_found")), HTTPException(409, "No."), ValueError("bug")):
        here.handler = ending
        for accept in ("", "application/problem+json"):
            answer = here.said(accept)
            bare = Answer(answer.status, {"content-type": answer.headers["content-type"]}, answer.body)
            error = here.contract.decode(bare)
            assert error is not None
            assert error.request_id == answer.headers["x-request-id"]


def test_fastapis_detail_stays_as_it_is_beside_the_id() -> None:
    read = {
        b'{"detail":"No.","request_id":"req_1"}': ("No.", None, "req_1"),
        b'{"detail":{"code":"no","message":"No."},"request_id":"req_1"}': ("No.", "no", "req_1"),
        b'{"detail":[{"loc":["a"],"msg":"No."}],"request_id":"req_1"}': ("No.", None, "req_1"),
        b'{"detail":"No.","request_id":"req_1","status":404,"code":"gone"}': ("No.", "gone", "req_1"),
    }  # fmt: skip
    for body, expected in read.items():
        said = FASTAPI.read(Answer(404, {}, body), json.loads(body))
        assert said is not None
        assert (said.message, said.code, said.request_id) == expected
    assert FASTAPI.read(Answer(404), {"detail": "No.", "title": "Other"}) is None
    assert FASTAPI.read(Answer(404), ["detail"]) is None
    assert FASTAPI.write(Failure(message="No."))[1] == b'{"detail":"No."}'
    assert FASTAPI.write(Failure(message="No.", request_id="r"))[1] == b'{"detail":"No.","request_id":"r"}'


# --- an answer that breaks off ---


def streaming(error: BaseException, *chunks: str, media_type: str = "text/event-stream") -> Any:
    async def events() -> AsyncIterator[str]:
        for chunk in chunks:
            yield chunk
        raise error

    return lambda request: StreamingResponse(events(), media_type=media_type)


def last_event(answer: Answer) -> dict[str, Any]:
    """The data of the last event, which is an error in one line."""
    before, _, event = answer.body.decode().rpartition("event: error")
    assert before == "" or before.endswith(("\n\n", "\r\n\r\n", "\r\r"))
    lines = event.split("\n")
    assert len(lines) == 4
    assert "\r" not in event
    assert lines[-3].startswith("data: ")
    assert lines[-2:] == ["", ""]
    data: dict[str, Any] = json.loads(lines[-3][6:])
    return data


@pytest.mark.parametrize("chunks", [(), ("data: 1\n\n",), ("data: 1\r\n\r\n",), ("data: 1\r", "\r")])
def test_a_stream_of_events_ends_with_an_event_that_says_why(here: Here, chunks: tuple[str, ...]) -> None:
    cls: Any = type(here.contract.decode(Answer(404)))
    error = make_error(cls, url=None, code="run_gone", message="The run\nis\r gone.", status=404)
    here.handler = streaming(error, *chunks)
    answer = here.said("application/problem+json")
    data = last_event(answer)

    assert answer.status == 200
    assert (data["status"], data["code"]) == (404, "run_gone")
    assert data["request_id"] == answer.headers["x-request-id"]
    again = here.contract.decode(
        Answer(data["status"], {"content-type": "application/json"}, json.dumps(data))
    )
    assert again is not None
    assert type(again) is cls
    assert again.failure.message
    assert "gone." in again.failure.message
    assert again.request_id == data["request_id"]


def test_an_event_after_the_beginning_tells_no_more_of_a_bug(
    kneo: Here, caplog: pytest.LogCaptureFixture
) -> None:
    kneo.handler = streaming(ZeroDivisionError("hunter2"), "data: 1\n\n")
    answer = kneo.said()

    assert last_event(answer)["error"]["message"] == "Internal server error."
    assert b"hunter2" not in answer.body
    assert [f"request {answer.headers['x-request-id']} failed"] == [r.getMessage() for r in caplog.records]


def test_an_http_exception_within_a_stream_is_what_it_says(kneo: Here) -> None:
    """
    Starlette makes a RuntimeError of it, because it cannot handle it any more.
    """
    kneo.handler = streaming(HTTPException(409, "Not now."), "data: 1\n\n")

    assert last_event(kneo.said())["error"]["message"] == "Not now."


def test_fastapis_own_events_end_so_too(tmp_path: Path) -> None:
    app = FastAPI()

    @app.get("/x", response_class=EventSourceResponse)
    @guarded(public=True)
    async def events() -> AsyncIterator[dict[str, int]]:
        yield {"n": 1}
        raise make_error(failwell.NotFoundError, url=None, code="run_gone", message="Gone.")

    with Behind(tmp_path, app=app) as made:
        answer = made.ask("GET", "/x", key=None)

    assert (last_event(answer)["code"], last_event(answer)["status"]) == ("run_gone", 404)


def test_a_stream_with_an_idempotency_key_ends_so_too(kneo: Here) -> None:
    kneo.handler = streaming(RefusedRequest(Refusal("unavailable")), "data: 1\n\n")

    assert last_event(kneo.done())["code"] == "unavailable"


@pytest.mark.parametrize(
    ("media_type", "chunk", "head"),
    [
        ("text/event-stream", "data: half", {}),
        ("text/event-stream", "data: half\n", {}),
        ("text/event-stream", "data: half\r\n", {}),
        ("text/event-stream", "", {"content-encoding": "gzip"}),
        ("text/event-stream", "", {"content-length": "100"}),
        ("application/json", '{"half":', {}),
        ("text/plain", "half\n\n", {}),
    ],
)
def test_any_other_answer_is_cut(
    kneo: Here, media_type: str, chunk: str, head: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """
    Half an event would be taken for a whole one, if another came after it.
    """
    make = streaming(RefusedRequest(Refusal("unavailable")), chunk, media_type=media_type)

    def handler(request: Request) -> Response:
        response: Response = make(request)
        response.headers.update(head)
        return response

    kneo.handler = handler
    with pytest.raises(AnswerCutError) as caught:
        kneo.said()

    assert caught.value.__context__ is None, "the server would log what led to it"
    (record,) = caplog.records
    assert "503 unavailable" in record.getMessage()


def test_a_body_that_is_no_object_becomes_the_message(tmp_path: Path) -> None:
    from failwell.dialects import TEXT

    with Here(tmp_path, Contract("plain", dialect=TEXT)) as here:
        here.handler = streaming(RefusedRequest(Refusal("unavailable")), "data: 1\n\n")
        data = last_event(here.said())

    assert data["status"] == 503
    assert "unavailable" in data["message"]


def test_what_fails_after_the_answer_is_logged_and_no_more(
    kneo: Here, caplog: pytest.LogCaptureFixture
) -> None:
    async def later() -> None:
        raise make_error(KneoConflictError, url=None)

    kneo.handler = lambda request: JSONResponse({"a": 1}, background=BackgroundTask(later))
    answer = kneo.said()

    assert answer.body == b'{"a":1}'
    assert len(caplog.records) == 1
    assert kneo.service.undeclared == set()


def test_an_application_that_answers_twice_is_stopped(kneo: Here, caplog: pytest.LogCaptureFixture) -> None:
    async def twice(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            await send({"type": "http.response.start", "status": 200, "headers": []})

    kneo.service.app = twice
    with pytest.raises(AnswerCutError):
        kneo.said()
    assert "answered twice" in str(caplog.records[0].exc_info)


def _exchange(url: str) -> bytes:
    """Everything that comes back for a GET, byte by byte."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
            if received.endswith(b"0\r\n\r\n"):
                break
    return received


def test_over_a_socket_a_cut_answer_has_no_last_chunk_and_an_ended_one_has(
    kneo: Here, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL), serving(kneo.service) as url:
        kneo.handler = streaming(ValueError("hunter2"), "half", media_type="text/plain")
        cut = _exchange(url)
        with failwell.Client(url) as client, pytest.raises(failwell.TransportError):
            client.request("GET", "/x", deadline=10)
        kneo.handler = streaming(ValueError("hunter2"), "data: 1\n\n")
        ended = _exchange(url)

    assert cut.startswith(b"HTTP/1.1 200 ")
    assert b"half" in cut
    assert not cut.endswith(b"0\r\n\r\n")
    assert b"event: error" in ended
    assert ended.endswith(b"0\r\n\r\n")
    assert b"hunter2" not in cut + ended


# --- what else an answer says ---


def test_the_numbers_of_an_exception_are_in_the_head(kneo: Here) -> None:
    limit = RateLimit(10, 0, None, None)
    kneo.handler = make_error(KNEO.exceptions[6], url=None, status=429, retry_after=2.2, rate_limit=limit)
    answer = kneo.said()

    assert answer.headers["retry-after"] == "3"
    assert answer.headers["x-ratelimit-limit"] == "10"


def test_a_code_in_the_head_leaves_the_body_as_it_is(tmp_path: Path) -> None:
    with Here(tmp_path, AGORALIA) as here:
        here.handler = RefusedRequest(Refusal("not_found", message="No such thing."))
        own, problem = here.said(), here.said("application/problem+json")

    assert own.headers["x-error-code"] == problem.headers["x-error-code"] == "not_found"
    assert json.loads(own.body) == {
        "detail": "No such thing.", "request_id": own.headers["x-request-id"],
    }  # fmt: skip
    assert json.loads(problem.body)["code"] == "not_found"


def test_a_refusal_with_words_of_its_own_needs_none_in_the_wording(kneo: Here) -> None:
    kneo.handler = RefusedRequest(Refusal("run_gone", status=410, message="It ran away."))
    error = KNEO.decode(kneo.said())

    assert isinstance(error, CallError)
    assert (error.status, error.code, error.failure.message) == (410, "run_gone", "It ran away.")


def test_an_exception_that_says_that_no_answer_came_is_our_fault(
    kneo: Here, caplog: pytest.LogCaptureFixture
) -> None:
    (network,) = set(KNEO.broken.values())
    kneo.handler = make_error(network, url=None, status=None)
    answer = kneo.said()

    assert answer.status == 500
    assert len(caplog.records) == 1
