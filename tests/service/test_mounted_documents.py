"""What is mounted is in the service's document, and each document that is served is true."""

import json
from pathlib import Path
from typing import Annotated, Any

import jsonschema_rs
import schemathesis
from fastapi import Body, FastAPI
from pydantic import BaseModel
from service_behind import Behind
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

import failwell
from failwell import Failure
from failwell.service import guarded
from failwell.service.openapi import openapi_operation
from failwell.service.routes import mounted_in

AS_JSON = {"content-type": "application/json"}


class Order(BaseModel):
    item: str


def _sub(title: str = "Sub") -> FastAPI:
    sub = FastAPI(title=title, openapi_tags=[{"name": title}])

    @sub.post("/orders", status_code=201, tags=[title])
    @guarded(scope="orders:write", idempotency="resumable", raises=[failwell.ConflictError])
    async def create(order: Order) -> Order:
        if order.item == "taken":
            raise failwell.ConflictError("No.", failure=Failure(status=409, code="taken"))
        return order

    @sub.get("/hidden", include_in_schema=False)
    async def hidden() -> None: ...

    return sub


async def _plain(request: Request) -> JSONResponse:
    """Say nothing."""
    return JSONResponse({})


def _whole() -> FastAPI:
    """An application with another one mounted in it, one in that, and one that describes nothing."""

    class Order(BaseModel):  # another one of this name
        number: int

    class Page(BaseModel):
        orders: list[Order]

    app, sub = FastAPI(title="Whole"), _sub()

    @app.post("/orders", status_code=201)
    async def create(order: Order) -> Order:
        return order

    @app.get("/page")
    async def page() -> Page:
        return Page(orders=[])

    sub.mount("/deeper/{region:int}", _sub("Deeper"))
    app.mount("/sub", sub)
    app.mount("/plain", Starlette(routes=[Route("/{name}", _plain, methods=["GET"])]))
    return app


def _faults(document: Any, method: str, path: str, answer: Any) -> list[str]:
    """What a JSON Schema validator has against the body of `answer`, held against its description."""
    said = document["paths"][path][method]["responses"][str(answer.status)]
    while "$ref" in said:
        said = document["components"]["responses"][said["$ref"].rpartition("/")[2]]
    media_type = answer.headers["content-type"].partition(";")[0]
    schema = {**said["content"][media_type]["schema"], "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(schema)
    return [error.message for error in validator.iter_errors(json.loads(answer.body))]


def test_the_document_has_what_is_mounted_with_its_errors(tmp_path: Path) -> None:
    with Behind(tmp_path, app=_whole()) as here:
        served = json.loads(here.ask("GET", "/openapi.json", key=None).body)
        document = here.service.openapi()

    assert document == served
    assert {
        "/orders", "/page", "/sub/orders", "/sub/deeper/{region}/orders", "/plain/{name}"
    } == set(document["paths"])  # fmt: skip
    created = document["paths"]["/sub/orders"]["post"]
    assert {"201", "401", "403", "409", "422"} <= created["responses"].keys()
    assert [{"ApiKey": ["orders:write"]}] == created["security"]
    assert "Idempotency-Key" in [parameter["name"] for parameter in created["parameters"]]
    assert ["Sub", "Deeper"] == [tag["name"] for tag in document["tags"]]
    assert document["paths"]["/plain/{name}"]["get"]["summary"] == "Say nothing."
    schemathesis.openapi.from_dict(document).validate()


def test_two_schemas_of_one_name_stay_two(tmp_path: Path) -> None:
    with Behind(tmp_path, app=_whole()) as here:
        document = here.service.openapi()

    def body(path: str) -> Any:
        said = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        return document["components"]["schemas"][said["$ref"].rpartition("/")[2]]

    assert ["number"] == list(body("/orders")["properties"])
    assert ["item"] == list(body("/sub/orders")["properties"])
    assert ["item"] == list(body("/sub/deeper/{region}/orders")["properties"])
    ids = [
        said["operationId"]
        for item in document["paths"].values()
        for said in item.values()
        if "operationId" in said
    ]
    assert len(ids) == len(set(ids))


def test_what_is_mounted_serves_a_document_of_its_own_part(tmp_path: Path) -> None:
    with Behind(tmp_path, app=_whole()) as here:
        part = json.loads(here.ask("GET", "/sub/openapi.json", key=None).body)
        deepest = json.loads(here.ask("GET", "/sub/deeper/4/openapi.json", key=None).body)
        refused = here.ask("POST", "/sub/orders", json_body={}, headers=AS_JSON)

    assert ("Sub", [{"url": "/sub"}]) == (part["info"]["title"], part["servers"])
    assert {"/orders", "/deeper/{region}/orders"} == set(part["paths"])
    assert {"/orders"} == set(deepest["paths"])
    for document in (part, deepest):
        assert {"201", "401", "403", "409", "422"} <= document["paths"]["/orders"]["post"]["responses"].keys()
        assert "HTTPValidationError" not in document["components"]["schemas"]
        schemathesis.openapi.from_dict(document).validate()
    assert refused.status == 403
    assert [] == _faults(part, "post", "/orders", refused)


def test_the_answers_of_what_is_mounted_are_those_documented(tmp_path: Path) -> None:
    with Behind(tmp_path, app=_whole(), facts={"scopes": ["orders:write"]}) as here:
        document = here.service.openapi()
        answers = [
            here.ask("POST", "/sub/orders", json_body=body, headers=AS_JSON)
            for body in ({}, {"item": "taken"}, {"item": "lamp"})
        ]
        undeclared = here.service.undeclared

    assert [422, 409, 201] == [answer.status for answer in answers]
    assert [] == [fault for answer in answers for fault in _faults(document, "post", "/sub/orders", answer)]
    assert not undeclared


def test_fastapi_is_described_within_starlette_too(tmp_path: Path) -> None:
    app = Starlette(routes=[Route("/plain", _plain, methods=["GET"]), Mount("/sub", _sub())])
    with Behind(tmp_path, app=app, facts={"scopes": ["orders:write"]}) as here:
        document = here.service.openapi()
        refused = here.ask("POST", "/sub/orders", json_body={}, headers=AS_JSON)
        undeclared = here.service.undeclared

    assert {"/plain", "/sub/orders"} == set(document["paths"])
    assert document["info"]["title"] == "standard"
    assert "requestBody" in document["paths"]["/sub/orders"]["post"]
    assert [] == _faults(document, "post", "/sub/orders", refused)
    assert "422" not in document["paths"]["/plain"]["get"]["responses"]
    assert not undeclared
    schemathesis.openapi.from_dict(document).validate()


def test_what_is_mounted_twice_is_described_twice(tmp_path: Path) -> None:
    app, sub = FastAPI(), _sub()
    app.mount("/one", sub)
    app.mount("/two", sub)
    assert ["", "/one", "/two"] == [at for at, _ in mounted_in(app)]

    with Behind(tmp_path, app=app) as here:
        document = here.service.openapi()

    assert {"/one/orders", "/two/orders"} == set(document["paths"])
    schemathesis.openapi.from_dict(document).validate()


def test_a_schema_that_refers_to_another_one_of_the_same_name_is_another_one(tmp_path: Path) -> None:
    def sub(kind: type) -> FastAPI:
        class Part(BaseModel):
            value: kind  # type: ignore[valid-type]

        class Thing(BaseModel):
            parts: list[Part]

        made = FastAPI()

        @made.post("/things")
        async def create(thing: Annotated[Thing, Body()]) -> None: ...

        return made

    app = FastAPI()
    for name, kind in (("a", int), ("b", str), ("c", int), ("d", float)):
        app.mount(f"/{name}", sub(kind))
    with Behind(tmp_path, app=app) as here:
        schemas = here.service.openapi()["components"]["schemas"]
        paths = here.service.openapi()["paths"]

    named = {}
    for name in "abcd":
        body = paths[f"/{name}/things"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        part = schemas[body["$ref"].rpartition("/")[2]]["properties"]["parts"]["items"]["$ref"]
        named[name] = schemas[part.rpartition("/")[2]]["properties"]["value"]["type"]
    assert named == {"a": "integer", "b": "string", "c": "integer", "d": "number"}


def test_a_plain_route_of_fastapi_is_not_shown_as_fastapi_does_not(tmp_path: Path) -> None:
    app = FastAPI()
    app.add_route("/plain", _plain, methods=["GET"])

    with Behind(tmp_path, app=app) as here:
        assert here.ask("GET", "/plain").status == 200
        assert here.service.openapi()["paths"] == {}


def test_the_document_of_a_table_is_as_before(tmp_path: Path) -> None:
    with Behind(tmp_path, operations=(openapi_operation(),)) as here:
        assert {"/openapi.json"} - set(here.service.openapi()["paths"])
        assert here.ask("GET", "/openapi.json", key=None).status == 200
