"""The OpenAPI document says what is sent, and a validator of OpenAPI 3.1 takes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from fastapi import FastAPI, Header
from pydantic import BaseModel
from service_behind import Behind
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import failwell
from agoralia.contract import CONTRACT as AGORALIA
from failwell import Answer, Contract
from failwell.contract import STANDARD
from failwell.dialects import DIALECTS
from failwell.service import (
    Debit,
    KeyFormat,
    Limit,
    Operation,
    Refusal,
    RefusedRequest,
    exchange_of,
    guarded,
    json_body,
    openapi_operation,
)
from kneo_client.core.contract import CONTRACT as KNEO
from kneo_client.core.errors import KneoConflictError, KneoNotFoundError

WORDING = {"name_taken": (409, "The name {name} is taken."), "run_ended": (409, "It has ended.")}


class Part(BaseModel):
    number: int


class NewThing(BaseModel):
    name: str
    parts: list[Part] = []


async def endpoint(request: Request) -> Response:
    """
    Create a thing.

    And more of it.
    """
    asked = exchange_of(request).input
    if asked is not None and asked.name == "taken":
        raise RefusedRequest(Refusal("name_taken", {"name": asked.name}))
    if asked is not None and asked.name == "teapot":
        raise HTTPException(418)
    return JSONResponse({"name": asked.name if asked is not None else ""}, 201)


def rows(contract: Contract) -> list[Operation]:
    return [
        Operation(
            "POST", "/things/{kind}", endpoint, scope="things:write", role="member", tiers=frozenset({"pro"}),
            idempotency="at_most_once", key_required=True, debits=(Debit(5),), parse=json_body(NewThing),
            raises=("name_taken", "run_ended", 418),
        ),
        Operation("GET", "/things/{number:int}", endpoint, raises=("not_found",)),
        Operation("PUT", "/files/{rest:path}", endpoint, streamed=True),
        Operation("POST", "/raw", endpoint, parse=lambda body: None),
        Operation("GET", "/open", endpoint, public=True, while_draining=True),
        Operation("GET", "/hidden", endpoint, documented=False),
        openapi_operation(),
    ]  # fmt: skip


class Here(Behind):
    """A service with a row of each kind, and a key that may do everything."""

    def __init__(self, folder: Path, contract: Contract, **settings: Any) -> None:
        settings = {
            "roles": ("member",), "wording": WORDING, "limit": Limit(10_000, 60.0),
            "code_header": "X-Error-Code" if contract is AGORALIA else "",
            "problem_type": "https://docs.example/errors/{code}", **settings,
        }  # fmt: skip
        facts = {"scopes": ["things:write"], "role": "member", "tier": "pro"}
        super().__init__(folder, contract, operations=rows(contract), facts=facts, **settings)
        self.store.grant("t1", 10_000)


def described(folder: Path, *operations: Operation, contract: Contract = STANDARD, **settings: Any) -> Any:
    """The document of a service with these operations, whether or not there is a handler."""
    with Behind(folder, contract, Starlette(), operations=operations, **settings) as made:
        return made.service.openapi()


def resolved(document: Any, thing: Any) -> Any:
    while "$ref" in thing:
        reference = thing["$ref"]
        thing = document
        for part in reference.removeprefix("#/").split("/"):
            thing = thing[part]
    return thing


def response_of(document: Any, method: str, path: str, status: int) -> Any:
    return resolved(document, document["paths"][path][method]["responses"][str(status)])


def faults(document: Any, schema: Any, value: Any) -> list[str]:
    """What a JSON Schema validator has against `value`."""
    whole = {**schema, "components": document["components"]}
    return [error.message for error in jsonschema_rs.Draft202012Validator(whole).iter_errors(value)]


def test_a_validator_takes_the_document(here: Here) -> None:
    schemathesis.openapi.from_dict(here.service.openapi()).validate()


@pytest.mark.parametrize("name", [n for n in DIALECTS if n not in ("aws_xml", "soap", "xmlrpc")])
def test_it_does_in_every_dialect(tmp_path: Path, name: str) -> None:
    with Here(tmp_path, Contract("any", dialect=DIALECTS[name])) as made:
        document = made.service.openapi()

    schemathesis.openapi.from_dict(document).validate()


def test_it_does_where_errors_are_no_json(tmp_path: Path) -> None:
    with Here(tmp_path, Contract("any", dialect=DIALECTS["aws_xml"])) as made:
        document = made.service.openapi()
    content = response_of(document, "get", "/open", 404)["content"]

    schemathesis.openapi.from_dict(document).validate()
    (own,) = content.keys() - {"application/problem+json"}
    assert content[own]["schema"] == {"type": "string"}


def test_what_the_gates_imply_is_there_by_itself(kneo: Here) -> None:
    paths = kneo.service.openapi()["paths"]

    def statuses(method: str, path: str) -> set[str]:
        return set(paths[path][method]["responses"]) - {"2XX"}

    everywhere = {"404", "405", "413", "500", "503"}
    assert statuses("get", "/open") == everywhere
    assert statuses("get", "/things/{number}") == everywhere | {"401", "403", "429"}
    assert statuses("post", "/raw") == everywhere | {"400", "401", "403", "422", "429"}
    assert statuses("post", "/things/{kind}") == everywhere | {
        "400", "401", "402", "403", "409", "418", "422", "429",
    }  # fmt: skip
    assert "/hidden" not in paths
    assert "/openapi.json" not in paths


def test_each_code_is_an_alternative_with_an_example_of_the_contracts_own(here: Here) -> None:
    document = here.service.openapi()
    for media_type, content in response_of(document, "post", "/things/{kind}", 409)["content"].items():
        examples = content["examples"]
        assert {"name_taken", "run_ended", "idempotency_mismatch", "idempotency_in_flight"} <= examples.keys()
        for code, example in examples.items():
            assert faults(document, content["schema"], example["value"]) == []
            body = json.dumps(example["value"])
            headers = {"content-type": media_type}
            if here.contract is AGORALIA:
                headers["x-error-code"] = code
            error = here.contract.decode(Answer(409, headers, body))
            assert error is not None
            assert error.code == code
            assert isinstance(error, failwell.ConflictError)
        told_apart = here.contract is not AGORALIA or media_type == "application/problem+json"
        assert ("oneOf" in content["schema"]) == told_apart


def test_a_code_on_the_outside_discriminates(here: Here) -> None:
    document = here.service.openapi()
    schema = response_of(document, "post", "/things/{kind}", 409)["content"]["application/problem+json"][
        "schema"
    ]

    assert schema["discriminator"]["propertyName"] == "code"
    for code, reference in schema["discriminator"]["mapping"].items():
        named = resolved(document, {"$ref": reference})
        assert named["properties"]["code"] == {"type": "string", "const": code}
        assert "code" in named["required"]
        assert {"$ref": reference} in schema["oneOf"]


def test_a_body_of_another_code_or_shape_is_no_example(kneo: Here) -> None:
    document = kneo.service.openapi()
    schema = response_of(document, "post", "/things/{kind}", 409)["content"]["application/json"]["schema"]
    good = {"error": {"code": "name_taken", "message": "No.", "request_id": "req_1"}}

    assert faults(document, schema, good) == []
    for change in ({"code": "unheard_of"}, {"message": 5}, {"request_id": None}):
        assert faults(document, schema, {"error": {**good["error"], **change}}) != []
    assert faults(document, schema, {"detail": "No."}) != []


def test_a_class_may_have_any_code_and_so_excludes_none(tmp_path: Path) -> None:
    operation = Operation("POST", "/x", endpoint, idempotency="transactional", raises=(
        KneoConflictError, (KneoConflictError, "name_taken"), (KneoNotFoundError, "run_not_found"),
    ))  # fmt: skip
    document = described(tmp_path, operation, contract=KNEO)
    conflict = response_of(document, "post", "/x", 409)["content"]["application/json"]
    missing = response_of(document, "post", "/x", 404)["content"]["application/json"]

    schemathesis.openapi.from_dict(document).validate()
    assert {"KneoConflictError.409", "name_taken", "idempotency_mismatch"} <= conflict["examples"].keys()
    assert "anyOf" in conflict["schema"]
    assert {"not_found", "run_not_found"} == missing["examples"].keys()
    assert "oneOf" in missing["schema"]


def test_the_same_words_for_two_classes_are_two_examples(tmp_path: Path) -> None:
    raises = ((KneoConflictError, "name_taken"), "name_taken")
    operation = Operation("POST", "/x", endpoint, raises=raises)
    document = described(tmp_path, operation, contract=KNEO, wording={"name_taken": (409, "No.")})
    content = response_of(document, "post", "/x", 409)["content"]["application/json"]

    schemathesis.openapi.from_dict(document).validate()
    assert content["examples"].keys() == {"name_taken", "name_taken.KneoConflictError"}
    assert "$ref" in content["schema"], "one schema: both say the same"


def sent_by(here: Here) -> Iterator[tuple[str, str, Answer]]:
    """Answers of every kind: method, path of the document, answer."""
    post = "/things/{kind}"
    headers = {"idempotency-key": "k-1"}
    good = {"name": "a"}
    for accept in ({}, {"accept": "application/problem+json"}):

        def to(method: str, path: str, accept: Any = accept, **asked: Any) -> Answer:
            asked["headers"] = {**accept, **asked.get("headers", {})}
            return here.ask(method, path, **asked)

        yield "post", post, to("POST", "/things/x", key=None)
        yield "post", post, to("POST", "/things/x", key="key_" + "x" * 20)
        yield "post", post, to("POST", "/things/x", json_body=good)
        yield "post", post, to("POST", "/things/x", json_body=good, headers={"idempotency-key": "ä"})
        yield "post", post, to("POST", "/things/x", json_body=good, headers=headers)
        yield "post", post, to("POST", "/things/x", json_body={"name": "b"}, headers=headers)
        yield "post", post, to("POST", "/things/x", body=b"{", headers=headers)
        yield "post", post, to("POST", "/things/x", json_body={"parts": [{"number": "x"}]}, headers=headers)
        for name in ("taken", "teapot"):
            yield (
                "post",
                post,
                to("POST", "/things/x", json_body={"name": name}, headers={"idempotency-key": name}),
            )
        yield "post", "/raw", to("POST", "/raw", body=b"x" * 2_000_000)
        yield "get", "/open", to("BREW", "/open")
        yield "get", "/open", to("GET", "/nowhere")
        yield "get", "/things/{number}", to("GET", "/things/5")
        here.service.draining = True
        yield "get", "/things/{number}", to("GET", "/things/5")
        here.service.draining = False


def test_every_answer_is_one_of_those_documented(here: Here) -> None:
    document = here.service.openapi()
    statuses = set()
    for method, path, answer in sent_by(here):
        statuses.add(answer.status)
        responses = document["paths"][path][method]["responses"]
        said = resolved(document, responses["2XX" if answer.status < 300 else str(answer.status)])
        for name in said.get("headers", {}):
            if (
                name not in ("Retry-After", "Idempotent-Replayed", "X-Error-Code")
                and not (name.startswith("X-RateLimit") and here.service.draining)
                and not (name.startswith("X-RateLimit") and answer.status in (404, 405, 413, 503))
            ):
                assert name.lower() in answer.headers, (name, answer.status)
        if answer.status >= 400:
            schema = said["content"][answer.headers["content-type"]]["schema"]
            assert faults(document, schema, json.loads(answer.body)) == [], answer.body
    assert statuses == {201, 400, 401, 404, 405, 409, 413, 418, 422, 503}


def test_keys_headers_and_bodies_are_described(kneo: Here) -> None:
    document = kneo.service.openapi(title="Things", version="2.1")
    create = document["paths"]["/things/{kind}"]["post"]
    read = document["paths"]["/things/{number}"]["get"]

    assert document["info"] == {"title": "Things", "version": "2.1"}
    assert kneo.service.openapi()["info"]["title"] == "kneo"
    assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    assert create["security"] == [{"ApiKey": ["things:write"]}]
    assert read["security"] == [{"ApiKey": []}]
    assert document["paths"]["/open"]["get"]["security"] == []
    assert (create["summary"], create["operationId"]) == ("Create a thing.", "post_things_kind")
    kind, key = create["parameters"]
    assert (kind["name"], kind["in"], kind["schema"]["type"]) == ("kind", "path", "string")
    assert (key["name"], key["in"], key["required"]) == ("Idempotency-Key", "header", True)
    assert read["parameters"][0]["schema"]["type"] == "integer"
    body = create["requestBody"]["content"]["application/json"]["schema"]
    assert resolved(document, body)["properties"]["parts"]["items"] == {"$ref": "#/components/schemas/Part"}
    assert document["paths"]["/files/{rest}"]["put"]["requestBody"] == {"content": {"*/*": {}}}
    assert document["paths"]["/raw"]["post"]["requestBody"] == {"content": {"application/json": {}}}
    assert "Idempotent-Replayed" in create["responses"]["2XX"]["headers"]
    assert "WWW-Authenticate" in response_of(document, "post", "/raw", 401)["headers"]
    assert "Allow" in response_of(document, "post", "/raw", 405)["headers"]
    for status in (409, 429, 503):
        assert "Retry-After" in response_of(document, "post", "/things/{kind}", status)["headers"]


@pytest.mark.parametrize(
    ("keys", "scheme"),
    [
        (KeyFormat("ago_", header="X-API-Key", scheme=""), {"type": "apiKey", "name": "X-Api-Key"}),
        (KeyFormat("", header="X-API-Key", scheme="Key"), {"type": "apiKey", "name": "X-Api-Key"}),
        (KeyFormat("k_", scheme="ApiKey"), {"type": "http", "scheme": "apikey"}),
    ],
)
def test_the_scheme_follows_from_the_format_of_the_keys(
    tmp_path: Path, keys: KeyFormat, scheme: dict[str, str]
) -> None:
    document = described(tmp_path, Operation("GET", "/x"), keys=keys)

    assert scheme.items() <= document["components"]["securitySchemes"]["ApiKey"].items()
    schemathesis.openapi.from_dict(document).validate()


@pytest.mark.parametrize("fields", ["x-ratelimit", "draft", "both"])
def test_the_fields_of_the_limit_are_those_that_are_sent(tmp_path: Path, fields: Any) -> None:
    with Here(tmp_path, STANDARD, rate_limit_fields=fields) as made:
        document = made.service.openapi()
        sent = made.ask("GET", "/things/5").headers
    named = document["paths"]["/things/{number}"]["get"]["responses"]["2XX"]["headers"]

    assert {n.lower() for n in named if "RateLimit" in n} == {n for n in sent if "ratelimit" in n}


def test_the_document_is_served(kneo: Here) -> None:
    answer = kneo.ask("GET", "/openapi.json", key=None)

    assert (answer.status, json.loads(answer.body)) == (200, kneo.service.openapi())


def test_fastapis_document_keeps_what_it_says_and_gets_the_rest(tmp_path: Path) -> None:
    app = FastAPI(title="Things", version="3")

    @app.post("/things", responses={409: {"description": "mine"}, 302: {"description": "elsewhere"}})
    @guarded(idempotency="transactional", raises=("name_taken",))
    async def create(thing: NewThing, idempotency_key: str = Header()) -> NewThing:
        return thing

    @app.post("/raw")
    @guarded(parse=json_body(NewThing))
    async def raw() -> None: ...

    @app.get("/hidden", include_in_schema=False)
    async def hidden() -> None: ...

    with Behind(tmp_path, app=app, wording=WORDING):
        document = app.openapi()
    created = document["paths"]["/things"]["post"]

    schemathesis.openapi.from_dict(document).validate()
    assert document["info"] == {"title": "Things", "version": "3"}
    assert len([p for p in created["parameters"] if p["name"] == "idempotency-key"]) == 1
    assert {"200", "302", "401", "409", "422"} <= created["responses"].keys()
    assert "X-Request-ID" in created["responses"]["200"]["headers"]
    assert (
        "name_taken"
        in response_of(document, "post", "/things", 409)["content"]["application/problem+json"]["examples"]
    )
    assert "requestBody" in document["paths"]["/raw"]["post"]
    assert "/hidden" not in document["paths"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_what_fastapis_document_still_refers_to_stays(tmp_path: Path) -> None:
    app = FastAPI()
    reference = {"$ref": "#/components/schemas/HTTPValidationError"}

    @app.post(
        "/x", responses={499: {"description": "d", "content": {"application/json": {"schema": reference}}}}
    )
    async def create(thing: NewThing) -> None: ...

    with Behind(tmp_path, app=app):
        pass

    assert {"HTTPValidationError", "ValidationError"} <= app.openapi()["components"]["schemas"].keys()


def test_an_operation_without_words_has_none(tmp_path: Path) -> None:
    async def silent(request: Request) -> Response:
        return Response()

    document = described(tmp_path, Operation("GET", "/", silent), Operation("GET", "/b"))

    assert "summary" not in document["paths"]["/"]["get"]
    assert document["paths"]["/"]["get"]["operationId"] == "get"


def test_two_models_of_one_name_are_two_schemas(tmp_path: Path) -> None:
    def other() -> type[BaseModel]:
        class NewThing(BaseModel):
            size: int

        return NewThing

    models: list[type[BaseModel]] = [NewThing, other(), NewThing]
    document = described(
        tmp_path, *(Operation("POST", f"/{n}", endpoint, parse=json_body(m)) for n, m in enumerate(models))
    )
    bodies = [
        document["paths"][f"/{n}"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        for n in range(3)
    ]

    assert [body.rpartition("/")[2] for body in bodies] == ["NewThing", "NewThing.2", "NewThing"]
    schemathesis.openapi.from_dict(document).validate()
