"""
The table of operations, read from an application's own routes.

What the gates need to know of a route stands at its endpoint, in `guarded`. A route whose
endpoint says nothing needs a key, and nothing more.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from failwell.errors import ConfigurationError
from failwell.service.operations import CONVERTORS, Operation, pattern_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from starlette.routing import BaseRoute, Route

    from failwell.answer import Answer
    from failwell.failure import Effect
    from failwell.service.credits import Debit
    from failwell.service.exchange import Exchange
    from failwell.service.idempotency import Level
    from failwell.service.operations import Raised

    E = TypeVar("E", bound=Callable[..., Any])

_MARK = "__failwell_guarded__"

# RFC 9110, section 9.1, and RFC 5789: what an endpoint that is a class may have a method for.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def guarded(
    *,
    scope: str = "",
    public: bool = False,
    while_draining: bool = False,
    role: str = "",
    tiers: Iterable[str] = (),
    idempotency: Level | None = None,
    key_required: bool = False,
    final: Iterable[int] = (),
    settle: Callable[[Exchange], Awaitable[Answer | Effect]] | None = None,
    debits: Iterable[Debit] = (),
    parse: Callable[[bytes], Any] | None = None,
    streamed: bool = False,
    max_body_bytes: int | None = None,
    raises: Iterable[Raised] = (),
) -> Callable[[E], E]:
    """
    Say at an endpoint what the gates are to ask for; the arguments are those of `Operation`.

        @app.post("/things")
        @guarded(scope="things:write", idempotency="transactional", raises=(NameTakenError,))
        async def create(thing: NewThing) -> Thing: ...
    """
    facts = {
        "scope": scope, "public": public, "while_draining": while_draining, "role": role,
        "tiers": frozenset(tiers), "idempotency": idempotency, "key_required": key_required,
        "final": frozenset(final), "settle": settle, "debits": tuple(debits), "parse": parse,
        "streamed": streamed, "max_body_bytes": max_body_bytes, "raises": tuple(raises),
    }  # fmt: skip

    def mark(endpoint: E) -> E:
        setattr(endpoint, _MARK, facts)
        return endpoint

    return mark


def routes_for(operations: Iterable[Operation]) -> list[Route]:
    """
    Starlette's routes for the rows of the table that name an endpoint.

    Paths without names go first, as they do in the table: Starlette takes the first that fits.
    """
    from starlette.routing import Route

    rows = sorted((o for o in operations if o.endpoint is not None), key=lambda o: "{" in o.path)
    return [Route(o.path, o.endpoint, methods=[o.method]) for o in rows if o.endpoint is not None]


def operations_of(app: Any, *, ignore: Iterable[str] = ()) -> tuple[Operation, ...]:
    """
    The operations that the routes of `app` are, in their order.

    Routers that are included and applications that are mounted are read, too. The routes by
    which FastAPI shows its own documentation are public.

    Args:
        app: A Starlette or FastAPI application.
        ignore: Paths, as the routes have them, that are left out, and so not served.

    Raises:
        ConfigurationError: a route does not say what the gates would have to know: a mounted
            application without routes, a WebSocket, an endpoint that takes any method; or it
            stands behind another one that takes its requests.
    """
    found = tuple(_operations(app, "", frozenset(ignore)))
    _check_order(found)
    return found


def applications_in(app: Any) -> Iterator[Any]:
    """`app`, and the applications mounted in it that handle exceptions themselves."""
    if hasattr(app, "add_exception_handler"):
        yield app
    for route, _, _ in _routes(app):
        if hasattr(route, "routes") and not hasattr(route, "endpoint"):
            yield from applications_in(route.app)


def _routes(app: Any) -> Iterator[tuple[Any, str, Any]]:
    """Each route with its whole path below `app`, and what knows its methods and endpoint."""
    try:
        from fastapi.routing import iter_route_contexts
    except ImportError:
        for route in getattr(app, "routes", ()):
            yield route, getattr(route, "path", ""), route
        return
    routes: list[BaseRoute] = list(getattr(app, "routes", ()))
    for context in iter_route_contexts(routes):
        # An included router keeps its routes as they are; the context has them with its prefix.
        yield context.original_route, getattr(context, "path", None) or "", context


def _operations(app: Any, prefix: str, ignore: frozenset[str]) -> Iterator[Operation]:
    shown = {getattr(app, name, None) for name in _SHOWN} - {None}
    for route, path, seen in _routes(app):
        whole = prefix + path
        if whole in ignore:
            continue
        if hasattr(route, "host"):
            raise ConfigurationError(
                f"the routes of the host {route.host} cannot be put behind the gates: they know paths, and "
                "whoever asks chooses the host"
            )
        if hasattr(route, "routes") and not hasattr(route, "endpoint"):
            yield from _mounted(route, whole, ignore)
            continue
        endpoint = getattr(seen, "endpoint", None)
        if endpoint is None or not hasattr(route, "methods"):
            raise ConfigurationError(
                f"{type(route).__name__} {whole or '?'} cannot be put behind the gates: "
                "they know HTTP endpoints with methods only. Name it in `ignore` of `operations_of`"
            )
        _check_convertors(whole)
        if path in shown and not hasattr(endpoint, _MARK):
            yield Operation("GET", whole, endpoint, public=True, documented=False)
            continue
        documented = getattr(seen, "include_in_schema", True)
        for method, handler in _handlers(whole, seen.methods, endpoint):
            facts: Mapping[str, Any] = getattr(handler, _MARK, {})
            yield Operation(method, whole, handler, documented=documented, **facts)


# FastAPI's own routes, by the attributes that name their paths.
_SHOWN = ("openapi_url", "docs_url", "redoc_url", "swagger_ui_oauth2_redirect_url")


def _mounted(mount: Any, path: str, ignore: frozenset[str]) -> Iterator[Operation]:
    if not mount.routes:
        raise ConfigurationError(
            f"the application mounted at {path or '/'} has no routes to read: name the path in `ignore` of "
            "`operations_of`, and say in `operations` what of it is served"
        )
    # Its routes match what is behind the mount's path.
    yield from _operations(mount.app, path.rstrip("/"), ignore)


def _handlers(path: str, methods: Any, endpoint: Any) -> Iterator[tuple[str, Any]]:
    if inspect.isclass(endpoint):
        for method in _METHODS:
            handler = getattr(endpoint, method.lower(), None)
            if handler is not None:
                yield method, handler
        return
    if not methods:
        raise ConfigurationError(f"{path} takes any method: say in `methods` which")
    # A GET of the table answers HEAD, too.
    yield from (
        (method, endpoint) for method in sorted(set(methods) - ({"HEAD"} if "GET" in methods else set()))
    )


def _check_convertors(path: str) -> None:
    for piece in path.split("{")[1:]:
        kind = piece.partition("}")[0].partition(":")[2] or "str"
        if kind not in CONVERTORS:
            raise ConfigurationError(f"{path} has the convertor {kind!r}, which the gates do not know")


def _check_order(operations: tuple[Operation, ...]) -> None:
    """Hold the application's order, in which it takes the first that fits, against the table's."""
    before: list[tuple[Operation, Any]] = []
    for operation in operations:
        if "{" in operation.path:
            before.append((operation, pattern_of(operation.path)))
            continue
        for other, pattern in before:
            if other.method == operation.method and pattern.fullmatch(operation.path):
                raise ConfigurationError(
                    f"{operation.method} {operation.path} is never reached: {other.path}, which is declared "
                    "before it, takes its requests. Declare it first"
                )
