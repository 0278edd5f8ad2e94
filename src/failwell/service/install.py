"""Put a Starlette or FastAPI application behind the gates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from failwell.dialects.parts import phrase
from failwell.errors import ConfigurationError
from failwell.service.endpoints import Endpoints
from failwell.service.exchange import exchange_of
from failwell.service.gates import Service
from failwell.service.layers import arrange_layers
from failwell.service.member_names import learn
from failwell.service.openapi import complete_documents
from failwell.service.refusals import Refusal, code_of_status
from failwell.service.routes import applications_in, body_types_in, operations_of, without_head
from failwell.service.validation import fields_from_pydantic, refusal_of_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.applications import Starlette

    from failwell.contract import Contract
    from failwell.failure import FieldError
    from failwell.service.bodies import ASGIApp, Receive, Scope, Send
    from failwell.service.keys import KeyFormat
    from failwell.service.operations import Operation
    from failwell.service.stores.base import Store


def install(
    app: Starlette | Endpoints,
    contract: Contract,
    *,
    store: Store,
    keys: KeyFormat,
    operations: Iterable[Operation] | None = None,
    pydantic1: bool = False,
    translate: Callable[[Exception], Refusal | None] | None = None,
    **settings: Any,
) -> Service:
    """
    `app` behind the gates: serve what is returned, not `app`.

    The framework's handling of exceptions is switched off, so that all of them reach the
    outermost layer: its own 500 is plain text, and is sent outside every middleware that could
    give it a request id. Its `debug` shows nobody a traceback, which stands in the log, and a
    handler for a status is not asked. One for an exception class of the application's own is.

    Args:
        app: A Starlette or FastAPI application; `Endpoints`, if the table is all there is.
        contract: How failures are spelled.
        store: Keys, limits and records.
        keys: How keys look and where they are.
        operations: What is served; other routes of `app` are not. None for all of its routes,
            with what their endpoints say in `guarded`; see `operations_of`.
        pydantic1: Whether a framework's validation errors are worded as Pydantic 1 did.
        translate: What exceptions mean that are neither the contract's nor the framework's; asked
            before what the framework's own mean.
        settings: The other arguments of `Service`.

    Raises:
        ConfigurationError: what `Service` and `operations_of` raise; or `Endpoints` has no
            operations, or one of them no endpoint.
    """
    from starlette.exceptions import HTTPException

    handled: list[type[Exception]] = [HTTPException, Exception]
    try:
        from fastapi.exceptions import RequestValidationError
    except ImportError:
        validation: type[Exception] | None = None
    else:
        validation = RequestValidationError
        handled.append(RequestValidationError)
    learn(body_types_in(app))

    ours = tuple(kind for kind in handled if kind is not Exception)

    def meant(exc: Exception) -> Refusal | None:
        refusal = None if translate is None else translate(exc)
        if refusal is not None:
            return refusal
        cause = exc.__cause__
        if isinstance(exc, RuntimeError) and isinstance(cause, ours):
            # What Starlette makes of an exception it has a handler for, once an answer has begun.
            exc = cause
        if validation is not None and isinstance(exc, validation):
            found: Any = exc
            fields = fields_from_pydantic(found.errors(), pydantic1=pydantic1)
            return Refusal("validation_failed", fields=fields)
        if isinstance(exc, HTTPException) and exc.status_code:
            return _refusal_of(exc.status_code, exc.detail, exc.headers)
        # A handler that reads the body itself: what FastAPI would have said in its place.
        return refusal_of_json(exc, as_fields=pydantic1 or hasattr(app, "openapi"), pydantic1=pydantic1)

    if operations is None and isinstance(app, Endpoints):
        raise ConfigurationError("Endpoints has no routes to read: say in `operations` what is served")
    table = operations_of(app) if operations is None else tuple(operations)
    service = Service(
        app, contract, store=store, keys=keys, operations=table, translate=meant, **settings,
    )  # fmt: skip
    for each in applications_in(app):
        arrange_layers(each, handled, table if each is app else None)
    paths = frozenset(without_head(app))
    if paths:
        service.app = _answering_head(app, paths)
    if isinstance(app, Endpoints):
        for operation in table:
            app.prepare(operation)
    app.state.failwell = service
    complete_documents(service, app)
    return service


def _answering_head(app: ASGIApp, paths: frozenset[str]) -> ASGIApp:
    """
    `app`, asked with GET for what it does not answer to HEAD, as it should wherever it answers GET.

    Args:
        app: The application.
        paths: As its routes have them, those that take GET and not HEAD.

    Source:
        RFC 9110, sections 9.1 and 9.3.2.
    """

    def asked(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope.get("method") != "HEAD":
            return app(scope, receive, send)
        operation = exchange_of(scope).operation
        if operation is None or operation.method != "GET" or operation.path not in paths:
            return app(scope, receive, send)
        # The way out drops the body, but for what a server offers to send by itself, such as a file.
        return app({**scope, "method": "GET", "extensions": {}}, receive, send)

    vars(asked)["__wrapped__"] = app  # for `check`, which reads its routes
    return asked


def _refusal_of(status: int, detail: Any, headers: Any) -> Refusal:
    """What an `HTTPException` says: its detail is a sentence, or an object or list of FastAPI's."""
    # That of a 500 is too often the text of an exception.
    code, message, fields, values = _said_in(None if status == 500 else detail)
    return Refusal(
        code or code_of_status(status),
        values,
        fields,
        headers={name.lower(): value for name, value in (headers or {}).items()},
        status=status,
        message=message or phrase(status),
    )


# Where an object that is a detail has its sentence.
_SENTENCES = ("message", "msg", "detail")


def _said_in(detail: Any) -> tuple[str | None, str | None, tuple[FieldError, ...], dict[str, Any]]:
    """Code, message, fields, and what else there is."""
    if isinstance(detail, str):
        return None, detail, (), {}
    if not isinstance(detail, dict):
        detail = {} if detail is None else {"detail": detail}
    code = message = None
    fields: tuple[FieldError, ...] = ()
    rest = {}
    for name, value in detail.items():
        if _are_findings(value):
            # Those of Pydantic repeat the input.
            fields += fields_from_pydantic(value)
        elif name == "code" and isinstance(value, str) and value:
            code = value
        elif name in _SENTENCES and isinstance(value, str) and message is None:
            message = value
        else:
            rest[str(name)] = value
    return code, message, fields, rest


def _are_findings(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(v, dict) and {"loc", "msg", "type"} <= v.keys() for v in value)
    )
