"""Put a Starlette or FastAPI application behind the gates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from failwell.service.gates import Service
from failwell.service.refusals import Refusal
from failwell.service.validation import fields_from_pydantic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.applications import Starlette
    from starlette.routing import Route

    from failwell.contract import Contract
    from failwell.service.keys import KeyFormat
    from failwell.service.operations import Operation
    from failwell.service.stores.base import Store

# What the framework's own statuses mean, where the wording has a code for it.
_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}


def routes_for(operations: Iterable[Operation]) -> list[Route]:
    """Starlette's routes for the rows of the table that name an endpoint."""
    from starlette.routing import Route

    return [Route(o.path, o.endpoint, methods=[o.method]) for o in operations if o.endpoint is not None]


def install(
    app: Starlette,
    contract: Contract,
    *,
    store: Store,
    keys: KeyFormat,
    operations: Iterable[Operation],
    pydantic1: bool = False,
    **settings: Any,
) -> Service:
    """
    `app` behind the gates: serve what is returned, not `app`.

    The framework's handling of exceptions is switched off, so that all of them reach the
    outermost layer: its own 500 is plain text, and is sent outside every middleware that could
    give it a request id.

    Args:
        app: A Starlette or FastAPI application.
        contract: How failures are spelled.
        store: Keys, limits and records.
        keys: How keys look and where they are.
        operations: What is served; other routes of `app` are not.
        pydantic1: Whether a framework's validation errors are worded as Pydantic 1 did.
        settings: The other arguments of `Service`.
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
    for kind in handled:
        app.add_exception_handler(kind, _raise)

    def translate(exc: Exception) -> Refusal | None:
        if validation is not None and isinstance(exc, validation):
            errors: list[Any] = exc.errors()  # type: ignore[attr-defined]
            return Refusal("validation_failed", fields=fields_from_pydantic(errors, pydantic1=pydantic1))
        if isinstance(exc, HTTPException):
            return _refusal_of(exc.status_code, exc.detail, exc.headers)
        return None

    return Service(
        app, contract, store=store, keys=keys, operations=operations, translate=translate, **settings
    )


async def _raise(_request: Any, exc: Exception) -> Any:
    raise exc


def _refusal_of(status: int, detail: Any, headers: Any) -> Refusal:
    fallback = "internal_error" if status >= 500 else "bad_request"
    return Refusal(
        _CODES.get(status, fallback),
        {"limit": "", "method": ""},
        headers={name.lower(): value for name, value in (headers or {}).items()},
        status=status,
        # A detail that is no sentence has no place in a message.
        message=detail if isinstance(detail, str) else None,
    )
