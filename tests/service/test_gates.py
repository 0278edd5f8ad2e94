"""The gates, in their order, and the way out that every answer takes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from service_asgi import ask
from service_world import KEYS, World, world
from starlette.applications import Starlette

import failwell
from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.service import (
    Debit,
    KeyFormat,
    Limit,
    Operation,
    Service,
    bodies,
    gates,
    guarded,
    install,
    routes_for,
    stored,
)
from failwell.service.outgoing import AnswerCutError


class Thing(BaseModel):
    name: str
    password: str


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def call(here: World, method: str = "POST", path: str = "/things", **asked: Any) -> Answer:
    headers = dict(asked.pop("headers", {}))
    key = asked.pop("key", here.key)
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    return asyncio.run(ask(here.service, method, path, headers=headers, **asked))


def code_of(answer: Answer) -> str:
    code: str = json.loads(answer.body)["code"]
    return code


def test_the_gates_stand_in_the_published_order(here: World) -> None:
    """
    A request with everything wrong meets the first gate; each repair brings it to the next.
    """
    spent = Limit(1, 3600.0)
    poor = here.new_key(scopes=(), tenant="shut", limit=spent)
    shut = here.new_key(tenant="shut", limit=spent)
    limited = here.new_key(limit=spent)
    call(here, "GET", key=limited)
    here.store.set_tenant_active("shut", False)
    here.service.draining = True
    twice = {"idempotency-key": "k1"}
    call_again = {"json_body": {"name": "other"}, "headers": twice}
    here_codes = [code_of(call(here, path="/nowhere", key=None, body=b"x" * 2_000_000))]
    here.service.draining = False
    assert call(here, json_body={"name": "first"}, headers=twice).status == 201
    for asked in (
        {"path": "/nowhere", "key": None, "body": b"x" * 2_000_000},
        {"key": None, "body": b"x" * 2_000_000},
        {"key": None, "body": b"{"},
        {"key": poor, "body": b"{"},
        {"key": shut, "body": b"{"},
        {"key": limited, "body": b"{"},
        {"body": b"{", "headers": twice},
        call_again,
    ):
        here_codes.append(code_of(call(here, **asked)))

    assert here_codes == [
        "draining",
        "not_found",
        "payload_too_large",
        "api_key_missing",
        "insufficient_scope",
        "tenant_suspended",
        "rate_limited",
        "validation_failed",
        "idempotency_mismatch",
    ]
    assert here.things() == ["first"]


async def _raw(service: Service, receive: Any, headers: list[tuple[bytes, bytes]]) -> int:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/things", "query_string": b"", "headers": headers,
        "client": None,
    }  # fmt: skip
    await service(scope, receive, send)
    return int(sent[0]["status"]) if sent else 0


def test_a_client_that_hangs_up_while_sending_gets_no_answer_and_has_no_effect(here: World) -> None:
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    headers = [(b"content-length", b"50"), (b"authorization", f"Bearer {here.key}".encode())]

    assert asyncio.run(_raw(here.service, receive, headers)) == 0
    assert here.handled == 0


def test_a_body_without_a_length_is_measured_while_it_is_read(here: World) -> None:
    fits = call(here, path="/small", body=[b'{"name', b'":1}'])
    over = call(here, path="/small", body=[b'{"name', b'":12}', b"never looked at"])

    assert (fits.status, over.status) == (201, 413)


def test_a_body_that_nobody_wants_is_read_before_the_connection_is_closed(here: World) -> None:
    """
    Closed on unread data, a connection is reset, and the client never sees the answer.
    """
    chunks = [{"type": "http.request", "body": b"x" * 10, "more_body": more} for more in (True, True, False)]
    sent: list[Any] = []

    async def receive() -> Any:
        assert sent, "the answer goes out first"
        return chunks.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/things", "query_string": b"", "client": None,
        "headers": [(b"transfer-encoding", b"chunked")],
    }  # fmt: skip
    asyncio.run(here.service(scope, receive, send))

    assert chunks == []
    assert (b"connection", b"close") in sent[0]["headers"]
    assert [message.get("more_body") for message in sent[1:]] == [True, None]


def test_a_body_without_end_is_not_read_for_ever(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "LINGER_BYTES", 100)
    monkeypatch.setattr(bodies, "LINGER_SECONDS", 0.02)
    asked = 0

    async def endless() -> Any:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"x" * 10, "more_body": True}

    async def silent() -> Any:
        await asyncio.sleep(3600)

    headers = [(b"transfer-encoding", b"chunked")]

    assert [asyncio.run(_raw(here.service, r, headers)) for r in (endless, silent)] == [401, 401]
    assert asked == 10


def test_an_announced_length_is_refused_before_the_key(here: World) -> None:
    headers = {"content-length": "11"}

    assert call(here, path="/small", key=None, headers=headers).status == 413


@pytest.mark.parametrize("path", ["/nowhere", "/things", "/open", "/things/1/poke"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "BREW"])
@pytest.mark.parametrize("known", [True, False])
def test_every_answer_has_a_request_id_and_every_error_may_not_be_cached(
    here: World, path: str, method: str, known: bool
) -> None:
    answer = call(here, method, path, key=here.key if known else None, body=b'{"name": "a"}')

    assert answer.headers["x-request-id"]
    if answer.status >= 400:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.status == json.loads(answer.body)["status"]
        decoded = failwell.decode(answer)
        assert isinstance(decoded, failwell.APIError)
        assert (answer.headers["x-request-id"], answer.status) == (decoded.request_id, decoded.status)
    assert (answer.status == 401) == ("www-authenticate" in answer.headers)
    assert (answer.status == 405) == ("allow" in answer.headers)


def test_a_request_id_of_the_clients_is_taken_over(here: World) -> None:
    sent = {"x-request-id": "trace/0123-abc"}

    assert call(here, "GET", headers=sent).headers["x-request-id"] == "trace/0123-abc"


@pytest.mark.parametrize("sent", ["a", "<script>", "x" * 200, 'a"quoted"one', "line\tbreaks"])
def test_a_request_id_that_could_do_harm_is_not(here: World, sent: str) -> None:
    assert sent != call(here, "GET", headers={"x-request-id": sent}).headers["x-request-id"]


def test_two_keys_in_one_request_are_no_key(here: World) -> None:
    pairs = [("authorization", f"Bearer {here.key}")] * 2

    assert asyncio.run(ask(here.service, "GET", "/things", headers=pairs)).status == 401


def test_the_limits_numbers_are_on_every_later_answer(here: World) -> None:
    key = here.new_key(limit=Limit(5, 60.0), scopes=("things:write",))
    answers = [
        call(here, "GET", key=key),  # 403
        call(here, key=key, body=b"{"),  # 422
        call(here, key=key, json_body={"name": "a", "before": "bug"}),  # 500
        call(here, key=key, json_body={"name": "a"}),
    ]

    assert [a.status for a in answers] == [403, 422, 500, 201]
    assert [a.headers["x-ratelimit-remaining"] for a in answers] == ["4", "3", "2", "1"]
    assert {"5"} == {a.headers["x-ratelimit-limit"] for a in answers}


def test_guessing_keys_is_limited_by_address(tmp_path: Path) -> None:
    with world(tmp_path, stranger_limit=Limit(2, 60.0)) as here:
        statuses = [call(here, "GET", key=None).status for _ in range(3)]
        other = call(here, "GET", key=None, address="10.0.0.2").status
        known = call(here, "GET").status

    assert statuses == [401, 401, 429]
    assert (other, known) == (401, 200)


def test_head_is_answered_like_get_without_a_body(here: World) -> None:
    answer = call(here, "HEAD", "/nowhere")

    assert (answer.status, answer.body) == (404, b"")
    assert int(answer.headers["content-length"]) > 0


def test_an_exception_of_the_contract_is_its_answer(here: World) -> None:
    answer = call(here, json_body={"name": "a", "within": "conflict"})

    assert (answer.status, code_of(answer)) == (409, "name_taken")
    assert here.things() == [], "what was raised within the transaction undid it"


@pytest.mark.parametrize("ending", ["bug", "upstream", "no_answer", "stop"])
@pytest.mark.parametrize("where", ["before", "within"])
@pytest.mark.parametrize("key", [{}, {"idempotency-key": "k"}], ids=["without-key", "with-key"])
def test_anything_else_is_a_500_that_tells_nothing(
    here: World, ending: str, where: str, key: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """
    A bug, another service's error, and an error that says that no answer came are our own fault.
    """
    with caplog.at_level(logging.ERROR, "failwell.service"):
        answer = call(here, json_body={"name": "a", where: ending}, headers=key)

    assert (answer.status, code_of(answer)) == (500, "internal_error")
    assert b"hunter2" not in answer.body
    assert b"theirs" not in answer.body
    assert here.things() == []
    assert len(caplog.records) == 1, "it is logged once"
    assert answer.headers["x-request-id"] in caplog.records[0].getMessage()


def test_the_frameworks_own_exceptions_speak_the_contract(here: World) -> None:
    answer = call(here, json_body={"name": "a", "before": "http"})

    assert (answer.status, json.loads(answer.body)["detail"]) == (418, "short and stout")
    assert answer.headers["x-kettle"] == "on"


def test_a_route_that_is_not_in_the_table_is_not_served(here: World) -> None:
    async def secret(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("it was served")

    here.service.app = secret

    assert call(here, "GET", "/docs").status == 404


def test_an_app_that_returns_without_an_answer_is_a_500(here: World) -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return

    here.service.app = silent

    assert [
        call(here, json_body={"name": "a"}, headers=headers).status
        for headers in ({}, {"idempotency-key": "k"})
    ] == [500, 500]


def test_an_answer_that_has_begun_is_not_answered_again(here: World) -> None:
    async def torn(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("in the middle")

    here.service.app = torn

    with pytest.raises(AnswerCutError):
        call(here, "GET")


def test_what_is_no_request_is_passed_through(here: World) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    here.service.app = app
    asyncio.run(here.service({"type": "lifespan"}, None, None))

    assert seen == ["lifespan"]


def test_a_public_operation_has_no_tenant(here: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["failwell"].tenant  # noqa: B018  # looking it up raises

    here.service.app = app

    assert call(here, "GET", "/open").status == 500


def test_a_draining_service_serves_what_is_meant_for_it(here: World) -> None:
    here.service.draining = True
    refused, alive = call(here, "GET"), call(here, "GET", "/alive")

    assert (refused.status, refused.headers["retry-after"], alive.status) == (503, "5", 200)


def test_fastapi_speaks_the_contract_too(here: World) -> None:
    """
    Its validation errors without the input, its 404, and its handlers' exceptions.
    """
    app = FastAPI()

    @app.post("/fast/{number}")
    async def create(number: int, thing: Thing) -> dict[str, int]:
        if number == 7:
            raise failwell.NotFoundError("no", failure=failwell.Failure(status=404, message="no"))
        return {"number": number}

    operations = [Operation("POST", "/fast/{number}"), Operation("POST", "/promised")]
    keys = KeyFormat("key_", lengths=(20,))
    here.service = install(app, STANDARD, store=here.store, keys=keys, operations=operations)
    good = {"name": "a", "password": "hunter2"}
    as_json = {"content-type": "application/json"}

    assert call(here, path="/fast/1", json_body=good, headers=as_json).status == 200
    assert call(here, path="/fast/7", json_body=good, headers=as_json).status == 404
    assert call(here, path="/promised", json_body=good, headers=as_json).status == 404
    refused = call(here, path="/fast/x", json_body={"password": "hunter2"}, headers=as_json)
    assert refused.status == 422
    assert b"hunter2" not in refused.body
    error = failwell.decode(refused)
    assert error is not None
    assert {("path", "number"), ("body", "name")} == {field.path for field in error.fields}


def test_a_handler_raises_any_code_of_the_wording(tmp_path: Path) -> None:
    wording = {"insufficient_scope": (403, "Get {scope} first")}
    with world(tmp_path, wording=wording, codes={"insufficient_scope": "needs"}) as here:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            raise here.service.refuse("insufficient_scope", scope="gold")

        here.service.app = app
        answer = call(here, "GET", "/open")

    assert (answer.status, code_of(answer)) == (403, "needs")
    assert json.loads(answer.body)["detail"] == "Get gold first"


def test_without_fastapi_starlette_is_enough(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi.exceptions", None)
    app = Starlette(routes=routes_for(here.operations))
    here.service = install(app, STANDARD, store=here.store, keys=KEYS, operations=here.operations)

    assert call(here, "GET").status == 200
    assert call(here, json_body={"name": "a", "before": "http"}).status == 418


@pytest.mark.parametrize(
    ("one", "said"),
    [
        ({"raises": failwell.NotFoundError}, "raises=[NotFoundError]"),
        ({"raises": "not_found"}, "raises=['not_found']"),
        ({"raises": 409}, "raises=[409]"),
        ({"tiers": "pro"}, "tiers=['pro']"),
        ({"final": 404}, "final=[404]"),
        ({"debits": Debit(1)}, "debits=[Debit(amount=1, unit='credits')]"),
    ],
)
def test_one_thing_in_place_of_a_list_is_refused_where_it_is_said(one: Any, said: str) -> None:
    """A text would be taken for its letters."""
    with pytest.raises(TypeError, match=re.escape(said)):
        guarded(**one)
    with pytest.raises(TypeError, match=re.escape(said)):
        Operation("GET", "/things", **one)


def test_a_handler_may_ask_for_the_contracts_exception_of_a_failure(here: World) -> None:
    error = here.service.error(failwell.Failure(status=404, code="gone_home", message="It went home."))

    assert isinstance(error, here.service.contract.base)
    assert (error.failure.status, error.failure.code) == (404, "gone_home")


def test_more_keys_than_are_remembered_have_their_own_limits(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "MOST_KNOWN", 1)
    keys = [KEYS.new() for _ in range(3)]
    here.store.add_keys(
        [stored(key, KEYS, tenant="t1", limit=Limit(n + 5, 60.0)) for n, key in enumerate(keys)]
    )
    limits = [call(here, key=key).headers["x-ratelimit-limit"] for key in keys * 2]

    assert limits == ["5", "6", "7"] * 2
    assert len(here.service._known) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_workers_that_were_forked_give_different_request_ids(tmp_path: Path) -> None:
    source = (
        "import os\n"
        "from failwell.service.gates import new_request_id\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.write(1, (new_request_id() + '\\n').encode())\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "os.write(1, (new_request_id() + '\\n').encode())\n"
    )
    said = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout
    ids = said.split()

    assert len(set(ids)) == 4
    assert all(re.fullmatch(r"req_[0-9a-f]{24}", one) for one in ids)
