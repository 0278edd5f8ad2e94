"""
The OpenAPI 3.1 document of a service: every operation, with every error that it can answer.

It is made from the table of operations, with each body written by the contract itself, so that
what is documented is what is sent. Where the framework makes a document of its own, as FastAPI
does, the errors, headers and keys are added to that, and to that of each application mounted in it.

Source:
    OpenAPI Specification 3.1.1.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from failwell.dialects.problem import MEDIA_TYPE, Problem
from failwell.failure import FieldError
from failwell.service.framework_documents import REF, FrameworkDocuments, is_below, path_parameters, shown
from failwell.service.idempotency import KEY_PATTERN
from failwell.service.operations import NAME_IN_PATH, Operation
from failwell.service.routes import mounted_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from failwell.answer import Answer
    from failwell.dialects.base import Dialect
    from failwell.errors import CallError
    from failwell.service.declarations import Declared
    from failwell.service.gates import Service

SECURITY = "ApiKey"
_REQUEST_ID = "req_0123456789abcdef01234567"
_JSON = "application/json"


def openapi_operation(path: str = "/openapi.json") -> Operation:
    """An operation that serves the document, for the table of a service."""
    return Operation("GET", path, _serve, public=True, while_draining=True, documented=False)


async def _serve(request: Any) -> Any:
    from starlette.responses import JSONResponse

    from failwell.service.exchange import exchange_of

    return JSONResponse(exchange_of(request).service.openapi())


def document(service: Service, *, title: str = "", version: str = "1.0.0", below: str = "") -> dict[str, Any]:
    """The document of `service`, or of what is mounted `below` a path; see `Service.openapi`."""
    return _Writer(service).document(title or service.contract.name, version, below)


def complete_documents(service: Service, app: Any) -> None:
    """
    Have `app`, and FastAPI's applications that are mounted in it, show what is true of them in `service`.

    What is mounted is in the document of the whole, too.
    """
    parts: list[tuple[str, Any]] = []
    own: dict[int, Any] = {}
    for at, each in mounted_in(app):
        make = own.get(id(each)) or getattr(each, "openapi", None)
        parts.append((at, make))
        if make is not None and id(each) not in own:
            # FastAPI calls it by this name. What is mounted twice shows the errors of its first place.
            each.openapi = partial(document, service, below=at) if at else service.openapi
            own[id(each)] = make
    if own:
        service.described = FrameworkDocuments(parts)


class _Writer:
    """One document being written."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.schemas: dict[str, Any] = {}
        self.responses: dict[str, Any] = {}

    def document(self, title: str, version: str, below: str) -> dict[str, Any]:
        own = self.service.described
        framework = own if isinstance(own, FrameworkDocuments) else None
        found: dict[str, Any] = {"openapi": "3.1.0", "info": {"title": title, "version": version}}
        found |= {} if framework is None else framework(below)
        paths = found.setdefault("paths", {})
        for operation in self.service.table.operations:
            if not operation.documented or not is_below(operation.path, below):
                continue
            path, method = shown(operation.path.removeprefix(below)), operation.method.lower()
            if framework is None or not framework.describe(operation.path):
                paths.setdefault(path, {})[method] = self._described(operation)
            # What a framework does not show, because it was told not to, is not shown.
            if method in paths.get(path, {}):
                self._complete(paths[path][method], operation)
        self._add_components(found)
        return found

    def _add_components(self, found: dict[str, Any]) -> None:
        components = found.setdefault("components", {})
        kept = components.setdefault("schemas", {})
        kept |= self.schemas
        components["responses"] = components.get("responses", {}) | self.responses
        components["headers"] = components.get("headers", {}) | self._headers()
        schemes = components.setdefault("securitySchemes", {})
        schemes[SECURITY] = self._scheme()
        # FastAPI's words for a 422, if nothing says them any more.
        for name in ("HTTPValidationError", "ValidationError"):
            if name in kept and f'"{REF}{name}"' not in json.dumps(found):
                del kept[name]

    # --- operations ---

    def _described(self, operation: Operation) -> dict[str, Any]:
        """What there is to say of an operation that no framework describes."""
        summary = (getattr(operation.endpoint, "__doc__", None) or "").strip().partition("\n")[0]
        said: dict[str, Any] = {"summary": summary} if summary else {}
        said["operationId"] = _name_of(operation)
        parameters = path_parameters(operation.path)
        if parameters:
            said["parameters"] = parameters
        said["responses"] = {"2XX": {"description": "It worked."}}
        return said

    def _complete(self, said: dict[str, Any], operation: Operation) -> None:
        service = self.service
        if operation.idempotency is not None:
            self._add_parameter(said, operation)
        if "requestBody" not in said:
            body = self._request_body(operation)
            if body is not None:
                said["requestBody"] = body
        # The places of a 3.1 document for what a key must be allowed, whatever the scheme.
        required = [operation.scope] if operation.scope else []
        said["security"] = [] if operation.public else [{SECURITY: required}]
        responses = said.setdefault("responses", {})
        for status, response in responses.items():
            if status.startswith(("2", "3")) and "$ref" not in response:
                response.setdefault("headers", {}).update(self._success_headers(operation))
        by_status: dict[int, list[Declared]] = {}
        for row in service.declarations.of(operation):
            by_status.setdefault(row.status, []).append(row)
        for status, rows in sorted(by_status.items()):
            responses[str(status)] = self._response(operation, status, rows)

    def _add_parameter(self, said: dict[str, Any], operation: Operation) -> None:
        name = self.service.contract.idempotency_header
        parameters = said.setdefault("parameters", [])
        if any(p.get("in") == "header" and p.get("name", "").lower() == name for p in parameters):
            return
        parameters.append(
            {
                "name": _titled(name),
                "in": "header",
                "required": operation.key_required,
                "description": "Repeating a request with its key repeats its answer, not its effect. "
                f"A key is remembered for {self.service.keep / 3600:g} hours. It has 1 to 255 letters, "
                "digits or characters of `._~:+/=-`, or stands in double quotes and has any of printable "
                "ASCII.",
                "schema": {"type": "string", "pattern": KEY_PATTERN},
            }
        )

    def _request_body(self, operation: Operation) -> dict[str, Any] | None:
        model = getattr(operation.parse, "model", None)
        if model is not None:
            schema = model.model_json_schema(ref_template=REF + "{model}")
            self.schemas.update(schema.pop("$defs", {}))
            named = self._named(model.__name__, schema)
            return {"required": True, "content": {_JSON: {"schema": named}}}
        if operation.streamed:
            return {"content": {"*/*": {}}}
        return {"content": {_JSON: {}}} if operation.parse is not None else None

    # --- errors ---

    def _response(self, operation: Operation, status: int, rows: Sequence[Declared]) -> dict[str, Any]:
        """The errors of one status, by reference: many operations share them."""
        content = self._content(rows, self.service.error_dialect)
        if MEDIA_TYPE not in content:
            content |= self._content(rows, self.service.problem)
        said = sorted({row.example.failure.message or "" for row in rows} - {""})
        response = {
            "description": " ".join(said) or "It failed.",
            "headers": self._error_headers(operation, status, rows),
            "content": content,
        }
        name, number = str(status), 1
        while self.responses.setdefault(name, response) != response:
            number += 1
            name = f"{status}.{number}"
        return {"$ref": f"#/components/responses/{name}"}

    def _content(self, rows: Sequence[Declared], dialect: Dialect | None) -> dict[str, Any]:
        alternatives: list[tuple[dict[str, Any], bool]] = []
        examples: dict[str, Any] = {}
        media_type = _JSON
        kind = ".Problem" if dialect is self.service.problem else ""
        for row in rows:
            bare = self._answer(row.example, dialect)
            media_type = bare.headers["content-type"].partition(";")[0]
            code = row.code
            name = code or f"{type(row.example).__name__}.{row.status}"
            example, value = _read(bare), {"value": _read(bare)}
            if examples.setdefault(name, value) != value:
                examples[f"{name}.{type(row.example).__name__}"] = value
            if isinstance(example, str):
                alternatives.append(({"type": "string"}, False))
                continue
            schema, told = _error_schema(
                [example, *(_read(self._answer(e, dialect)) for e in _variants(row.example, row.code))], code
            )
            alternatives.append((self._named(f"Error.{name}{kind}", schema), told))
        return {media_type: {"schema": _choice(alternatives, self.schemas), "examples": examples}}

    def _answer(self, error: CallError, dialect: Dialect | None) -> Answer:
        code = error.failure.code
        if self.service.code_header and not isinstance(dialect, Problem):
            code = None
        failure = replace(error.failure, request_id=_REQUEST_ID, code=code)
        return self.service.contract.encode(type(error).from_failure(failure), dialect)

    def _named(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        """`schema` as a component."""
        name = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
        free, number = name, 1
        while self.schemas.setdefault(free, schema) != schema:
            number += 1
            free = f"{name}.{number}"
        return {"$ref": REF + free}

    # --- headers and keys ---

    def _headers(self) -> dict[str, Any]:
        """Every header that some answer has, to be referred to."""
        text, number = {"type": "string"}, {"type": "integer", "minimum": 0}
        service = self.service
        headers = {
            service.request_id_header: ("What to quote to support.", text),
            "Retry-After": ("Seconds after which the same request may succeed.", number),
            "WWW-Authenticate": ("How to show who is asking.", text),
            "Allow": ("The methods that this path takes.", text),
            "Idempotent-Replayed": ("Whether this is the answer of an earlier request.", text),
            "X-RateLimit-Limit": ("Requests in a window.", number),
            "X-RateLimit-Remaining": ("Requests left.", number),
            "X-RateLimit-Reset": ("When the window ends, in unix seconds.", number),
            "RateLimit-Policy": ("The limits, each with its requests and seconds.", text),
            "RateLimit": ("What is left of each limit, and for how many seconds.", text),
        }
        if service.code_header:
            headers[_titled(service.code_header)] = ("The code of the error.", text)
        return {name: {"description": words, "schema": schema} for name, (words, schema) in headers.items()}

    def _success_headers(self, operation: Operation) -> dict[str, Any]:
        names = [self.service.request_id_header, *self._limit_headers(operation)]
        if operation.idempotency is not None:
            names.append("Idempotent-Replayed")
        return _references(names)

    def _error_headers(self, operation: Operation, status: int, rows: Sequence[Declared]) -> dict[str, Any]:
        names = [self.service.request_id_header]
        if status != 401:
            names += self._limit_headers(operation)
        if any(row.example.failure.retry_after is not None for row in rows):
            names.append("Retry-After")
        if status == 401:
            names.append("WWW-Authenticate")
        if status == 405:
            names.append("Allow")
        if self.service.code_header:
            names.append(_titled(self.service.code_header))
        return _references(names)

    def _limit_headers(self, operation: Operation) -> Iterator[str]:
        if operation.public:
            return
        fields = self.service.rate_limit_fields
        if fields != "draft":
            yield from ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
        if fields != "x-ratelimit":
            yield from ("RateLimit-Policy", "RateLimit")

    def _scheme(self) -> dict[str, Any]:
        keys = self.service.keys
        prefixes = " or ".join(f"`{prefix}`" for prefix in (keys.prefix, *keys.also) if prefix)
        begins = f"A key begins with {prefixes}." if prefixes else "An API key."
        if keys.header.lower() == "authorization" and keys.scheme:
            return {"type": "http", "scheme": keys.scheme.lower(), "description": begins}
        before = f" The field's value is `{keys.scheme} ` and the key." if keys.scheme else ""
        return {
            "type": "apiKey",
            "in": "header",
            "name": _titled(keys.header),
            "description": begins + before,
        }


def _variants(error: CallError, code: str | None) -> Iterator[CallError]:
    """
    The same error with less and with more to say, so that the schema holds for all of them.

    Args:
        error: The example.
        code: The code that it always has; None if it may have another, or none.
    """
    fields = (
        FieldError(("body", 0, "name"), "It is not valid.", "invalid"),
        FieldError(("body",)),
    )
    changes: list[dict[str, Any]] = [{"message": None}, {"fields": fields}, {"fields": fields[1:]}]
    if code is None:
        changes += [{"code": "another"}, {"code": None}]
    for change in changes:
        yield type(error).from_failure(replace(error.failure, **change))


def _read(answer: Answer) -> Any:
    """The body as JSON, or as text if it is none."""
    try:
        return json.loads(answer.body)
    except ValueError:
        return answer.body.decode("utf-8", "replace")


def _error_schema(bodies: Sequence[Any], code: str | None) -> tuple[dict[str, Any], bool]:
    """The schema that all of `bodies` fit, and whether it can be told by its code."""
    schema = _schema(bodies, code)
    return schema, _tells(schema)


def _tells(schema: Mapping[str, Any]) -> bool:
    """Whether a schema has a code that is always there and always the same."""
    members = [schema["properties"][name] for name in schema.get("required", ())]
    return any("const" in member or _tells(member) for member in members)


def _schema(values: Iterable[Any], code: str | None) -> dict[str, Any]:
    by_type: dict[str, list[Any]] = {}
    for value in values:
        by_type.setdefault(_TYPES[type(value)], []).append(value)
    found = [_typed(name, members, code) for name, members in sorted(by_type.items())]
    if not found:
        return {}
    return found[0] if len(found) == 1 else {"anyOf": found}


_TYPES = {
    dict: "object", list: "array", str: "string", int: "integer", float: "number", bool: "boolean",
    type(None): "null",
}  # fmt: skip


def _typed(name: str, values: Sequence[Any], code: str | None) -> dict[str, Any]:
    if name == "array":
        return {"type": name, "items": _schema((item for value in values for item in value), None)}
    if name != "object":
        return {"type": name}
    properties: dict[str, Any] = {}
    for member in dict.fromkeys(key for value in values for key in value):
        held = [value[member] for value in values if member in value]
        if code is not None and member in _CODE_MEMBERS and all(item == code for item in held):
            properties[member] = {"type": "string", "const": code}
        else:
            properties[member] = _schema(held, code)
    required = sorted(key for key in properties if all(key in value for value in values))
    schema = {"type": name, "properties": properties}
    return {**schema, "required": required} if required else schema


# Under these names dialects write the code of an error; a title may spell it, too, and is free to change.
_CODE_MEMBERS = frozenset({"code", "error", "error_code", "errorCode", "type", "reason", "status", "__type"})


def _choice(
    alternatives: Sequence[tuple[dict[str, Any], bool]], schemas: Mapping[str, Any]
) -> dict[str, Any]:
    """
    One schema for all that a status can mean.

    Alternatives that have each their own code exclude each other; those that are told apart by
    nothing in the body do not.
    """
    distinct: list[tuple[dict[str, Any], bool]] = []
    seen: list[Any] = []
    for reference, told in alternatives:
        schema = _resolved(reference, schemas)
        if schema not in seen:
            seen.append(schema)
            distinct.append((reference, told))
    references = [reference for reference, _ in distinct]
    if len(references) == 1:
        return references[0]
    if not all(told for _, told in distinct):
        return {"anyOf": references}
    mapping = {}
    for reference in references:
        schema = _resolved(reference, schemas)
        code = schema.get("properties", {}).get("code", {}).get("const")
        if code is None or "code" not in schema.get("required", ()):
            return {"oneOf": references}
        mapping[code] = reference["$ref"]
    return {"oneOf": references, "discriminator": {"propertyName": "code", "mapping": mapping}}


def _resolved(schema: dict[str, Any], schemas: Mapping[str, Any]) -> Any:
    name = schema.get("$ref", "").removeprefix(REF)
    return schemas[name] if name else schema


def _references(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _titled(name: str) -> str:
    """A header's name as it is usually written."""
    return "-".join(part.upper() if part == "id" else part.capitalize() for part in name.split("-"))


def _name_of(operation: Operation) -> str:
    """A name for an operation that no other has, such as `post_v1_runs_run_id_cancel`."""
    words = NAME_IN_PATH.sub(r"\1", operation.path).replace("/", "_").strip("_")
    return f"{operation.method.lower()}_{words}".rstrip("_")
