"""The sandbox's services, asked at random; and that a service which is wrong is found out."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Incoming
from starlette.responses import JSONResponse, Response

import failwell_sandbox
from failwell.failure import Failure
from failwell.service import KeyFormat, Operation, SQLiteStore, install, routes_for, stored
from failwell_sandbox.server import _listening, served  # what `running` is made of
from kneo_client import CONTRACT

# The command's own modules, which no package holds.
sys.path.append(str(Path(__file__).parents[2] / "fuzz"))

from service_answers import Asked, Judge, Records, asked, received
from service_fuzzer import Fuzzer, Target
from service_requests import SECRET, Request
from service_targets import divides_by_zero, fault, target

pytest.importorskip("schemathesis", reason="half of the requests are made by schemathesis")

COMMAND = Path(__file__).parents[2] / "fuzz/service.py"
SEED = 20261121
KEYS = KeyFormat("kneo_", lengths=(40,))


@pytest.mark.parametrize("name", ["kneo", "agoralia", "argus", "pictograph", "scopix"])
def test_no_answer_to_a_random_request_is_wrong(name: str) -> None:
    print(f"seed {SEED}")
    # One of its own: what is made at random is nothing that other tests expect.
    with failwell_sandbox.running([name]) as sandbox:
        outcome = Fuzzer(target(sandbox[name])).run(300, SEED)

    assert not outcome.faults, fault(name, outcome, SEED)
    assert outcome.sent == 300
    assert {200, 401, 404, 422} <= set(outcome.statuses)


def test_the_command_says_its_seed_and_what_was_answered() -> None:
    told = subprocess.run(
        [sys.executable, COMMAND, "--requests", "20", "--seed", "7", "--service", "kneo"],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("seed 7\nkneo: 20 requests in ")


@contextmanager
def planted(tmp_path: Path, endpoint: Any, raises: tuple[Any, ...] = ()) -> Iterator[Target]:
    """A service whose one operation is `endpoint`."""
    operations = [Operation("POST", "/things", endpoint, raises=raises)]
    store = SQLiteStore(tmp_path / "planted.db")
    key = KEYS.new()
    store.add_keys([stored(key, KEYS, tenant="acme")])
    service = install(
        Starlette(routes=routes_for(operations)), CONTRACT, store=store, keys=KEYS, operations=operations
    )
    try:
        with _listening("127.0.0.1", 0) as sock, served([(service, sock)]):
            yield Target("planted", service, f"http://127.0.0.1:{sock.getsockname()[1]}", {"full": key})
    finally:
        store.close()


async def good(_request: Incoming) -> Response:
    return JSONResponse({"fine": True}, 201)


async def broken(_request: Incoming) -> Response:
    raise ZeroDivisionError


async def undeclared(request: Incoming) -> Response:
    raise request.app.state.failwell.error(Failure(status=409, code="name_taken", message="Taken."))


async def undeclared_code(request: Incoming) -> Response:
    raise request.app.state.failwell.error(Failure(status=404, code="thing_not_found", message="None."))


async def repeats_the_body(request: Incoming) -> Response:
    return JSONResponse({"you_sent": (await request.body()).decode("latin-1")}, 201)


async def repeats_the_key(request: Incoming) -> Response:
    return JSONResponse({}, 201, headers={"x-echo": request.headers.get("authorization", "")})


async def logs_the_key(request: Incoming) -> Response:
    logging.getLogger("failwell.service").info("asked by %s", request.headers.get("authorization"))
    return JSONResponse({}, 201)


async def writes_nan(_request: Incoming) -> Response:
    return Response(b'{"cost": NaN}', 201, media_type="application/json")


async def other_status(_request: Incoming) -> Response:
    return JSONResponse({"detail": "no"}, 418)


def test_a_service_without_a_fault_passes(tmp_path: Path) -> None:
    with planted(tmp_path, good) as service:
        outcome = Fuzzer(service).run(60, SEED)

    assert outcome.faults == []
    assert outcome.sent == 60
    assert outcome.statuses[201]


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        (broken, "a 500"),
        (undeclared, "not declared: [('POST /things', 'KneoConflictError', 'name_taken')]"),
        (undeclared, "status 409 of POST is not in the document"),
        (undeclared_code, "not declared: [('POST /things', 'KneoNotFoundError', 'thing_not_found')]"),
        (repeats_the_body, "the answer repeats a secret"),
        (repeats_the_key, "the answer repeats a secret"),
        (logs_the_key, "a log repeats a secret"),
        (writes_nan, "the body is no JSON"),
        (other_status, "status 418 of POST is not in the document"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, endpoint: Any, said: str) -> None:
    with planted(tmp_path, endpoint) as service:
        outcome = Fuzzer(service).run(200, SEED)
        shown = fault("planted", outcome, SEED)

    assert any(each.startswith(said) for each in outcome.faults), outcome.faults
    # Enough to send it again, and no key in it.
    assert f"request: {outcome.request!r}" in shown
    assert service.keys["full"] not in shown


def test_only_what_divides_by_zero_on_purpose_is_left_out() -> None:
    def left_out(target: bytes, body: bytes) -> bool:
        return divides_by_zero(Request(b"POST", target, body=body))

    assert left_out(b"/api/v1/campaigns", b'{"contacts": [], "budget_cents": 0}')
    assert not left_out(b"/api/v1/campaigns", b'{"contacts": [], "budget_cents": null}')
    assert not left_out(b"/api/v1/campaigns", b'{"contacts": [{}], "budget_cents": 5}')
    assert left_out(b"/v1/runs", b'{"input": {"chunk_size": 0}}')
    assert not left_out(b"/v1/runs", b'{"input": {"chunk_size": "0"}}')
    assert not left_out(b"/v1/runs", b'{"input": {"chunk_size": false}}')
    assert not left_out(b"/v1/runs", b"[" * 50_000)
    assert not left_out(b"/v1/runs", b"[]")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("HTTP/1.1 404 Not Found\r\ncache-control: no-store", "it does not have one request id"),
        ("HTTP/1.1 404 Not Found\r\nx-request-id: a", "Cache-Control of an error is []"),
        ("HTTP/1.1 401 Unauthorized\r\nx-request-id: a", "a 401 without a challenge"),
        ("HTTP/1.1 405 No\r\nx-request-id: a", "a 405 without Allow"),
        ("HTTP/1.1 429 No\r\nx-request-id: a", "a 429 without Retry-After"),
        ("HTTP/1.1 503 No\r\nx-request-id: a\r\nretry-after: 1.5", "Retry-After is ['1.5']"),
        ("HTTP/1.1 404 No\r\nx-request-id: b", "head and body have different request ids"),
        ("", "no answer"),
        ("HTTP/1.1 nonsense", "no answer"),
    ],
)
def test_a_head_that_lacks_what_it_must_have_is_found(tmp_path: Path, head: str, said: str) -> None:
    sent = Request(b"GET", b"/nowhere").raw({})
    body = '{"error": {"code": "not_found", "message": "No."}, "request_id": "a"}'
    raw = head and f"{head}\r\n\r\n{body}"
    with planted(tmp_path, good) as service:
        judge = Judge(service.service, [SECRET], service.service.openapi())
        found = judge.faults(sent, received(raw.encode(), "GET"))

    assert said in found


def test_the_request_id_in_a_replay_is_that_of_the_first_request(tmp_path: Path) -> None:
    head = b"HTTP/1.1 404 No\r\nx-request-id: b\r\nidempotent-original-request: a\r\ncache-control: no-store"
    raw = head + b'\r\n\r\n{"error": {"code": "not_found", "message": "No."}, "request_id": "a"}'
    with planted(tmp_path, good) as service:
        judge = Judge(service.service, [SECRET], service.service.openapi())

    assert judge.faults(Request(b"GET", b"/nowhere").raw({}), received(raw, "GET")) == []


def test_a_body_that_is_shorter_than_announced_is_not_waited_for(tmp_path: Path) -> None:
    with planted(tmp_path, good) as service:
        headers = ((b"Authorization", b"Bearer <key:full>"), (b"Content-Length", b"5, 5"))
        fuzzer = Fuzzer(service)
        with Records() as records:
            fuzzer.send(Request(b"POST", b"/things", headers), records)

    assert fuzzer.outcome.faults == []
    assert fuzzer.outcome.statuses == {0: 1}


def test_bytes_that_are_no_request_are_told_from_those_that_are() -> None:
    assert Asked("GET", "/a b", True) == asked(Request(b"GET", b"/a%20b?c").raw({}))
    assert Asked("POST", "/", True) == asked(Request(b"POST", b"/", body=b"{}", framing="chunked").raw({}))
    assert Asked("POST", "/", False) == asked(Request(b"POST", b"/", body=b"{}", framing="cut").raw({}))
    assert asked(Request(b"GET", b"/\x00").raw({})) is None
