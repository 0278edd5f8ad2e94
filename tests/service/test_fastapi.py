"""A FastAPI application behind the gates, asked by a real client over a real socket."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Query, Request, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator
from service_behind import CONTRACTS, Behind
from service_server import serving
from service_world import SCHEMA
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.responses import JSONResponse
from starlette.routing import Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles

import failwell
from failwell import CallError, Client, Contract, Failure, FieldError, RetryPolicy, UsageError
from failwell.service import (
    Limit,
    Operation,
    exchange_of,
    guarded,
    operations_of,
)
from failwell.testing import make_error
from kneo_client.core.contract import CONTRACT as KNEO

SECRET = "hunter2-and-more"


class Thing(BaseModel):
    name: str
    number: int = 0
    password: str = ""

    @field_validator("password")
    @classmethod
    def known(cls, value: str) -> str:
        if value.startswith("hunter2"):
            raise ValueError(f"{value} is not a good one")
        return value


class Here(Behind):
    """An application with a route for every ending, a key, and one that has no scope."""

    def __init__(self, folder: Path, contract: Contract, **settings: Any) -> None:
        # What the next call of /raise raises.
        self.next: BaseException = ZeroDivisionError()
        settings.setdefault("limit", Limit(100_000, 1.0))
        super().__init__(
            folder, contract, self._app(), facts={"scopes": ("things:write",)}, schema=SCHEMA, **settings
        )
        self.weak = self.new_key()

    def _app(self) -> FastAPI:
        app = FastAPI(title="Things", version="7")
        router = APIRouter(prefix="/things")

        @router.post("/{kind}", status_code=201)
        @guarded(scope="things:write", idempotency="transactional", max_body_bytes=200)
        async def create(kind: str, thing: Thing, request: Request) -> dict[str, Any]:
            assert exchange_of(request).tenant == "t1"
            return {"kind": kind, "name": thing.name}

        @router.get("/{number:int}/parts")
        async def parts(number: int, limit: Annotated[int, Query(le=9)] = 1) -> int:
            return number * limit

        app.include_router(router, prefix="/v1")

        @app.get("/raise")
        @guarded(public=True)
        async def raise_() -> None:
            raise self.next

        @app.get("/raise-in-thread")
        @guarded(public=True)
        def raise_in_thread() -> None:
            raise self.next

        @app.get("/dependent")
        async def dependent(_: Annotated[Any, Depends(HTTPBearer())]) -> str:
            return "ok"

        sub = FastAPI()

        @sub.get("/raise")
        async def in_sub() -> None:
            raise self.next

        app.mount("/sub", sub)
        return app


def client_of(here: Here, url: str) -> Client:
    return Client(
        url,
        contract=here.contract,
        credentials={"Authorization": f"Bearer {here.key}"},
        retry=RetryPolicy(max_attempts=1),
        breaker=False,
    )


# --- which operations there are ---


def test_the_table_is_read_from_the_routes(here: Here) -> None:
    table = {(o.method, o.path): o for o in here.service.table.operations}

    assert ("POST", "/v1/things/{kind}") in table
    assert ("GET", "/v1/things/{number:int}/parts") in table
    assert ("GET", "/sub/raise") in table
    created = table["POST", "/v1/things/{kind}"]
    assert (created.scope, created.idempotency, created.public) == ("things:write", "transactional", False)
    said_nothing = table["GET", "/v1/things/{number:int}/parts"]
    assert (said_nothing.scope, said_nothing.idempotency, said_nothing.public) == ("", None, False)


def test_what_an_endpoint_says_nothing_of_needs_a_key_and_nothing_more(here: Here) -> None:
    path = "/v1/things/4/parts"

    assert here.ask("GET", path, key="key_nobody").status == 401
    assert here.ask("GET", path, key=here.weak).body == b"4"
    assert here.ask("POST", "/v1/things/x", key=here.weak, json_body={"name": "a"}).status == 403
    assert here.ask("POST", "/v1/things/x", json_body={"name": "a"}, headers=AS_JSON).status == 201


AS_JSON = {"content-type": "application/json"}


def test_fastapis_own_pages_are_public(here: Here) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert here.ask("GET", path, key=None).status == 200, path


def test_a_key_works_twice_and_its_effect_happens_once(here: Here) -> None:
    asked: dict[str, Any] = {"json_body": {"name": "a"}, "headers": {**AS_JSON, "idempotency-key": "k-1"}}
    first, second = (here.ask("POST", "/v1/things/x", **asked) for _ in range(2))

    assert (first.status, second.status) == (201, 201)
    assert second.headers["idempotent-replayed"] == "true"


async def _endpoint(request: Any) -> JSONResponse:
    return JSONResponse({})


class Both(HTTPEndpoint):
    async def get(self, request: Any) -> JSONResponse:
        return JSONResponse({"method": "get"})

    @guarded(scope="w")
    async def post(self, request: Any) -> JSONResponse:
        return JSONResponse({"method": "post"})


class Plain:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def test_starlettes_routes_are_read_too() -> None:
    app = Starlette(
        routes=[
            Route("/a/me", _endpoint, methods=["GET", "PUT"]),
            Route("/a/{name}", _endpoint, include_in_schema=False),
            Route("/both", Both),
            Mount("/m", routes=[Route("/{rest:path}", _endpoint)]),
        ]
    )
    found = operations_of(app)

    assert [(o.method, o.path) for o in found] == [
        ("GET", "/a/me"),
        ("PUT", "/a/me"),
        ("GET", "/a/{name}"),
        ("GET", "/both"),
        ("POST", "/both"),
        ("GET", "/m/{rest:path}"),
    ]
    assert [o.scope for o in found if o.path == "/both"] == ["", "w"]
    assert [o.documented for o in found if o.path.startswith("/a")] == [True, True, False]


@pytest.mark.parametrize(
    ("route", "says"),
    [
        (Mount("/static", StaticFiles(directory=".")), "has no routes to read"),
        (Mount("/empty", Router()), "has no routes to read"),
        (Route("/any", Plain()), "takes any method"),
    ],
)
def test_what_does_not_say_what_the_gates_must_know_is_refused(route: Any, says: str) -> None:
    app = Starlette(routes=[route])

    with pytest.raises(failwell.ConfigurationError, match=says):
        operations_of(app)
    assert operations_of(app, ignore=[route.path]) == ()


def test_a_websocket_is_refused_unless_it_is_left_out() -> None:
    app = FastAPI(openapi_url=None)

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None: ...

    with pytest.raises(failwell.ConfigurationError, match="/live cannot be put behind the gates"):
        operations_of(app)
    assert operations_of(app, ignore=["/live"]) == ()


def test_a_route_that_is_never_reached_is_refused() -> None:
    """
    Starlette takes the first that fits, so the gates of the second would guard the first.
    """
    app = Starlette(routes=[Route("/a/{name}", _endpoint), Route("/a/me", _endpoint)])

    with pytest.raises(failwell.ConfigurationError, match=r"/a/me is never reached: /a/\{name\}"):
        operations_of(app)


def test_routes_of_a_host_are_refused() -> None:
    app = Starlette(routes=[Host("api.example", Router([Route("/a", _endpoint)]))])

    with pytest.raises(failwell.ConfigurationError, match=r"host api\.example"):
        operations_of(app)


def test_what_is_mounted_and_has_no_handling_of_its_own_is_left_alone(tmp_path: Path) -> None:
    app = Starlette(routes=[Mount("/static", StaticFiles(directory=".")), Route("/a", _endpoint)])

    with Behind(tmp_path, app=app, operations=operations_of(app, ignore=["/static"])) as made:
        assert [o.path for o in made.service.table.operations] == ["/a"]


def test_a_convertor_of_ones_own_is_refused() -> None:
    app = Starlette(routes=[Route("/a/{name}", _endpoint)])
    app.routes[0].path = "/a/{name:odd}"

    with pytest.raises(failwell.ConfigurationError, match="'odd'"):
        operations_of(app)


def test_without_fastapi_the_routes_are_read_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi.routing", None)

    assert len(operations_of(Starlette(routes=[Route("/a", _endpoint)]))) == 1


def test_of_two_templates_for_one_request_the_earlier_is_the_one() -> None:
    from failwell.service.operations import OperationTable

    rows = [
        Operation("POST", "/{a}/x"),
        Operation("GET", "/b/{c}"),
        Operation("GET", "/{a}/x"),
        Operation("PUT", "/b/{n:int}"),
        Operation("DELETE", "/b/x"),
    ]
    table = OperationTable(rows)

    assert table.match("GET", "/b/x").operation is rows[1]
    assert table.match("POST", "/b/x").operation is rows[0]
    assert table.match("DELETE", "/b/x").operation is rows[4]
    assert table.match("PATCH", "/b/x").allowed == ("DELETE", "GET", "HEAD", "POST")
    assert table.match("PUT", "/b/12").operation is rows[3]
    assert table.match("PUT", "/b/x").operation is None


# --- what a client raises ---


def answered(contract: Contract) -> list[type[CallError]]:
    """The classes of a contract that an HTTP answer can mean."""
    found = []
    classes = contract.exceptions if contract.rules else _standard_classes()
    for cls in classes:
        try:
            contract.encode(make_error(cls))
        except UsageError:
            continue
        found.append(cls)
    return found


def _standard_classes() -> list[type[CallError]]:
    named = (getattr(failwell, name) for name in failwell.__all__)
    return [c for c in named if isinstance(c, type) and issubclass(c, failwell.APIError)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Here, Client]]]:
    """Each contract's application on a socket of its own, and a client of it."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        made = {}
        for name, contract in CONTRACTS.items():
            here = stack.enter_context(Here(tmp_path_factory.mktemp(name), contract))
            client = stack.enter_context(client_of(here, stack.enter_context(serving(here.service))))
            made[name] = here, client
        yield made


ROWS = [(name, cls) for name, contract in CONTRACTS.items() for cls in answered(contract)]
SENTENCES = st.lists(
    st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "é€"]), min_size=2, max_size=6
).map(lambda words: " ".join(words).capitalize() + ".")


@pytest.mark.parametrize(("name", "cls"), ROWS, ids=lambda v: v if isinstance(v, str) else v.__name__)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    message=SENTENCES,
    code=st.none() | st.integers(0, 999).map(lambda n: f"own_{n}"),
    fields=st.lists(
        st.builds(FieldError, st.just(("body", "name")), SENTENCES, st.just("own_kind")), max_size=2
    ).map(tuple),
    wait=st.none() | st.integers(0, 3600).map(float),
    problem=st.booleans(),
    path=st.sampled_from(["/raise", "/raise-in-thread", "/sub/raise"]),
)
def test_what_a_handler_raises_the_client_raises(
    served: dict[str, tuple[Here, Client]], name: str, cls: type[CallError], message: str, code: str | None,
    fields: tuple[FieldError, ...], wait: float | None, problem: bool, path: str,
) -> None:  # fmt: skip
    """
    The same class with equal facts, whether in the contract's own words or as problem details.
    """
    here, client = served[name]
    facts: dict[str, Any] = {"message": message}
    if carries(here.contract, cls, "code"):
        facts["code"] = code
    if cls.usual_status != 403:  # a 403 with a wait is a throttled call, whoever wrote it
        facts["retry_after"] = wait
    if problem or (carries(here.contract, cls, "fields") and "code" not in facts):
        facts["fields"] = fields
    here.next = make_error(cls, url=None, **facts)
    accept = {"Accept": "application/problem+json"} if problem else {}

    with pytest.raises(CallError) as caught:
        client.request("GET", path, headers=accept)

    error = caught.value
    assert type(error) is cls
    assert error.status == make_error(cls).status
    assert error.request_id
    if facts.get("retry_after") is not None:
        assert error.retry_after == wait
    if facts.get("fields"):
        assert [(f.path, f.message, f.code) for f in error.fields] == [
            (f.path, f.message, f.code) for f in fields
        ]
    else:
        assert error.failure.message == message
    if facts.get("code") and not facts.get("fields"):
        assert error.code == code


def carries(contract: Contract, cls: type[CallError], fact: str) -> bool:
    """Whether the contract has a place for a fact in an answer that means `cls`."""
    value: Any = "own_1" if fact == "code" else (FieldError(("body", "name"), "No.", "own_kind"),)
    back = contract.decode(contract.encode(make_error(cls, **{"message": "The cat sat.", fact: value})))
    return type(back) is cls and getattr(back.failure, fact) == value


def test_everything_else_that_goes_wrong_is_an_error_of_the_contract(
    served: dict[str, tuple[Here, Client]],
) -> None:
    for here, client in served.values():
        here.next = HTTPException(418, "short and stout", {"X-Kettle": "on"})
        kinds = {
            "/nowhere": ("GET", 404), "/raise": ("GET", 418), "/openapi.json": ("PUT", 405),
            "/v1/things/x": ("POST", 413),
        }  # fmt: skip
        for path, (method, status) in kinds.items():
            body = b'"' + b"x" * 300 + b'"' if status == 413 else None
            with pytest.raises(here.contract.base) as caught:
                client.request(method, path, content=body)
            assert caught.value.status == status, (here.contract.name, path)
            assert caught.value.request_id


# --- what an answer says, and what it does not ---


def test_a_validation_error_names_the_fields_and_never_what_was_sent(
    here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    bodies: list[Any] = [
        {"password": SECRET},
        {"name": "a", "password": SECRET},
        {"name": "a", "number": SECRET},
        [SECRET],
        SECRET,
    ]
    with caplog.at_level(logging.DEBUG):
        for body in bodies:
            answer = here.ask("POST", "/v1/things/x", json_body=body, headers=AS_JSON)
            assert answer.status == 422, body
            assert b"hunter2" not in answer.body, body
            error = here.contract.decode(answer)
            assert error is not None
            assert error.fields
            assert error.request_id == answer.headers["x-request-id"]
        refused = here.ask("GET", "/v1/things/1/parts", query=f"limit={SECRET}")
        assert (refused.status, b"hunter2" in refused.body) == (422, False)
        broken = here.ask("POST", "/v1/things/x", body=f'{{"a": "{SECRET}"'.encode(), headers=AS_JSON)
        assert (broken.status, b"hunter2" in broken.body) == (422, False)

    assert "hunter2" not in caplog.text


def test_a_validators_own_words_are_kept_where_they_do_not_quote(kneo: Here) -> None:
    from failwell.service import fields_from_pydantic

    def said(kind: str, words: str, value: Any) -> str | None:
        (field,) = fields_from_pydantic([{"loc": (), "type": kind, "msg": words, "input": value}])
        return field.message

    assert said("value_error", "Value error, too plain", {"a": [b"hunter2", 3]}) == "Value error, too plain"
    for value in ("hunter2", b"hunter2", ["x", ("hunter2",)], {"hunter2": 1}, {"a": {"b": "hunter2"}}):
        assert said("my_own", "no: hunter2", value) == "The value is not valid."
    assert said("value_error", "no: 12345", 12345) == "The value is not valid."
    for words in ("invalid literal for int() with base 10: 'hunter2'", "no: ard-hunter", "no: HUNTER2"):
        assert said("value_error", f"Value error, {words}", ["card-hunter2"]) == "The value is not valid."
    assert said("value_error", "no: x", None) == "no: x"
    assert said("int_type", "Input should be a valid integer", "valid") == "Input should be a valid integer"


def test_the_name_of_a_member_is_repeated_if_it_can_be_meant_as_one() -> None:
    from failwell.service import fields_from_pydantic

    found = [{"loc": (name, 3), "type": "extra_forbidden", "msg": "No."} for name in ("nmae", "x" * 65)]

    assert [field.path for field in fields_from_pydantic(found)] == [("nmae", 3), ("…", 3)]


def test_an_http_exception_keeps_its_headers_and_its_words(here: Here) -> None:
    here.next = HTTPException(409, "Come later.", {"X-Kettle": "on"})
    answer = here.ask("GET", "/raise")
    error = here.contract.decode(answer)

    assert (answer.status, answer.headers["x-kettle"]) == (409, "on")
    assert error is not None
    assert error.failure.message == "Come later."


FOUND = {"loc": ("body", "name"), "msg": "Field required", "type": "missing", "input": {"password": SECRET}}


@pytest.mark.parametrize(
    ("detail", "message", "code", "details", "fields"),
    [
        (None, "Conflict", "conflict", {}, []),
        ("Taken.", "Taken.", "conflict", {}, []),
        ({"message": "Taken.", "code": "taken", "by": 7}, "Taken.", "taken", {"by": 7}, []),
        ({"msg": "Taken."}, "Taken.", "conflict", {}, []),
        ({"detail": "Taken.", "msg": "More."}, "Taken.", "conflict", {"msg": "More."}, []),
        ({"message": ["no sentence"], "code": 7}, "Conflict", "conflict",
         {"message": ["no sentence"], "code": 7}, []),
        ({7: "seven"}, "Conflict", "conflict", {"7": "seven"}, []),
        (["a", "b"], "Conflict", "conflict", {"detail": ["a", "b"]}, []),
        ([], "Conflict", "conflict", {"detail": []}, []),
        ([FOUND], "Conflict", "conflict", {}, [("body", "name")]),
        ({"message": "No.", "errors": [FOUND]}, "No.", "conflict", {}, [("body", "name")]),
    ],
)  # fmt: skip
def test_what_a_detail_says_is_said_in_the_contracts_words(
    kneo: Here, detail: Any, message: str, code: str, details: dict[str, Any], fields: list[Any]
) -> None:
    """
    Sentence, code and findings at their places, all else as details; never what was sent.
    """
    kneo.next = HTTPException(409, detail)
    answer = kneo.ask("GET", "/raise", headers={"accept": "application/problem+json"})
    error = KNEO.decode(answer)

    assert error is not None
    failure = error.failure
    assert (failure.status, failure.message, failure.code) == (409, message, code)
    assert json.loads(answer.body).get("details", {}) == details
    assert [f.path for f in failure.fields] == fields
    assert b"hunter2" not in answer.body


def test_the_detail_of_a_500_is_not_said(kneo: Here) -> None:
    kneo.next = HTTPException(500, {"message": SECRET, "code": "no", "dsn": SECRET})
    body = json.loads(kneo.ask("GET", "/raise", headers={"accept": "application/problem+json"}).body)

    assert (body["code"], "details" in body) == ("internal_error", False)
    assert SECRET not in str(body)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "bad_request"), (409, "conflict"), (410, "gone"), (503, "unavailable"), (507, "internal_error"),
     (404, "not_found"), (405, "method_not_allowed"), (499, "error")],
)  # fmt: skip
def test_a_status_of_the_frameworks_has_a_code(kneo: Here, status: int, code: str) -> None:
    kneo.next = HTTPException(status, "Words.")
    answer = kneo.ask("GET", "/raise")

    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (status, code)


def test_a_500_says_an_id_and_no_more(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    faults = [
        RuntimeError(f"dsn=postgres://u:{SECRET}@h/db"),
        HTTPException(500, SECRET),
        ExceptionGroup("two", [ValueError(SECRET), KeyError(SECRET)]),
    ]
    for fault in faults:
        caplog.clear()
        here.next = fault
        answer = here.ask("GET", "/raise", headers={"x-request-id": "trace-0123"})

        assert (answer.status, answer.headers["x-request-id"]) == (500, "trace-0123")
        assert b"trace-0123" in answer.body
        assert b"hunter2" not in answer.body
        if not isinstance(fault, HTTPException):
            assert ["request trace-0123 failed"] == [r.getMessage() for r in caplog.records]


def test_an_exception_alone_in_a_group_is_itself(kneo: Here) -> None:
    kneo.next = ExceptionGroup("tasks", [make_error(KNEO.exceptions[3], message="No such run.", url=None)])

    assert b"No such run." in kneo.ask("GET", "/raise").body


def test_a_frameworks_401_names_its_own_challenge(kneo: Here) -> None:
    kneo.next = HTTPException(401, "Who are you?", {"WWW-Authenticate": "Special"})

    assert kneo.ask("GET", "/raise").headers["www-authenticate"] == "Special"


def test_an_answer_without_a_body_has_none(kneo: Here) -> None:
    kneo.next = HTTPException(304)
    answer = kneo.ask("GET", "/raise")

    assert (answer.status, answer.body) == (304, b"")
    assert "content-length" not in answer.headers


# --- documents ---


def test_fastapis_own_document_gets_the_errors(kneo: Here) -> None:
    document = json.loads(kneo.ask("GET", "/openapi.json", key=None).body)
    create = document["paths"]["/v1/things/{kind}"]["post"]

    assert document["info"] == {"title": "Things", "version": "7"}
    assert {"201", "401", "403", "404", "409", "413", "422", "429", "500", "503"} <= create[
        "responses"
    ].keys()
    assert create["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Thing")
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert {"header"} == {p["in"] for p in create["parameters"] if p["name"] == "Idempotency-Key"}
    assert "/docs" not in document["paths"]
    assert kneo.service.openapi() == document


async def _events(*chunks: str) -> AsyncIterator[str]:
    for chunk in chunks:
        yield chunk


def test_body_parameters_of_fastapi_are_validated_by_it(tmp_path: Path) -> None:
    """
    Validation, a dependency and a router of Starlette's, all in one application.
    """
    app = FastAPI()

    @app.post("/later")
    async def later(a: Annotated[int, Body(embed=True)]) -> StreamingResponse:
        return StreamingResponse(_events(str(a)))

    with Behind(tmp_path, app=app) as made:
        answer = made.ask("POST", "/later", json_body={"a": 5}, headers=AS_JSON)
        refused = made.ask("POST", "/later", json_body={"a": SECRET}, headers=AS_JSON)

    assert (answer.body, refused.status) == (b"5", 422)
    error = failwell.decode(refused)
    assert isinstance(error, failwell.InvalidRequestError)
    assert error.fields[0].path == ("body", "a")


def test_a_failure_of_the_contract_with_a_url_is_another_services(kneo: Here) -> None:
    kneo.next = make_error(KNEO.exceptions[3], url="https://other.example/")

    assert kneo.ask("GET", "/raise").status == 500


def test_a_body_that_cannot_be_written_is_a_500(kneo: Here, caplog: pytest.LogCaptureFixture) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError(SECRET)

    kneo.next = KNEO.exceptions[3].from_failure(Failure(status=404, details={"odd": Odd()}))

    assert kneo.ask("GET", "/raise").status == 500
    assert len(caplog.records) == 1
