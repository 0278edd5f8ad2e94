"""
The table of operations, read from an application's own routes.

What the gates need to know of a route stands at its endpoint, in `guarded`. A route whose
endpoint says nothing needs a key, and nothing more.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from failwell.errors import ConfigurationError
from failwell.service.operations import CONVERTORS, Operation, check_several, pattern_of

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

    Raises:
        TypeError: of what there may be several of, there is one that is in no list.
    """
    check_several(tiers=tiers, final=final, debits=debits, raises=raises)
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

    Raises:
        ConfigurationError: a row of HEAD stands behind one of GET that takes its requests.
    """
    from starlette.routing import Route

    rows = sorted((o for o in operations if o.endpoint is not None), key=lambda o: "{" in o.path)
    _check_order([(row, row.method == "GET") for row in rows])
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
    found = list(_operations(app, "", frozenset(ignore)))
    _check_order(found)
    return tuple(operation for operation, _ in found)


def without_head(app: Any, prefix: str = "") -> Iterator[str]:
    """The paths of `app` that take GET and not HEAD, as those of FastAPI do."""
    for route, path, seen in _routes(app):
        methods = getattr(seen, "methods", None) or ()
        if hasattr(route, "routes") and not hasattr(route, "endpoint"):
            yield from without_head(route.app, (prefix + path).rstrip("/"))
        elif "GET" in methods and "HEAD" not in methods:
            yield prefix + path


def applications_in(app: Any) -> Iterator[Any]:
    """`app`, and the applications mounted in it that handle exceptions themselves."""
    if hasattr(app, "add_exception_handler"):
        yield app
    for route, _, _ in _routes(app):
        if hasattr(route, "routes") and not hasattr(route, "endpoint"):
            yield from applications_in(route.app)


def dependencies_in(app: Any, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """
    What FastAPI calls before an endpoint because its route, a router or the application says so.

    Returns:
        Each with the method and the path that it is called for.
    """
    for route, path, seen in _routes(app):
        if hasattr(route, "routes") and not hasattr(route, "endpoint"):
            yield from dependencies_in(route.app, (prefix + path).rstrip("/"))
            continue
        for said in getattr(seen, "dependencies", None) or ():
            yield from ((method, prefix + path, said.dependency) for method in seen.methods or ())


def mounted_in(app: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`app`, and what is mounted in it and in that, each behind the path, as a template, where it stands."""
    yield prefix, app
    for route, path, _ in _routes(app):
        if hasattr(route, "routes") and not hasattr(route, "endpoint"):
            yield from mounted_in(route.app, (prefix + path).rstrip("/"))


def body_types_in(app: Any) -> Iterator[Any]:
    """What FastAPI reads bodies as, for each route that has one."""
    for route, _, seen in _routes(app):
        if hasattr(route, "routes") and not hasattr(route, "endpoint"):
            yield from body_types_in(route.app)
            continue
        # Of an included router, `seen` has what its own dependencies read, too.
        for body in (getattr(known, "body_field", None) for known in (route, seen)):
            if body is not None:
                yield body.field_info.annotation


def dependants_in(app: Any, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """
    What FastAPI found an endpoint to depend on, and that in turn, wherever it was said.

    Returns:
        Each with the method and the path of the endpoint.
    """
    for route, path, seen in _routes(app):
        if hasattr(route, "routes") and not hasattr(route, "endpoint"):
            yield from dependants_in(route.app, (prefix + path).rstrip("/"))
            continue
        left = [getattr(seen, "dependant", None) or getattr(route, "dependant", None)]
        while left:
            dependant = left.pop()
            left += getattr(dependant, "dependencies", ())
            if getattr(dependant, "call", None) is not None:
                yield from ((method, prefix + path, dependant) for method in seen.methods or ())


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


def _operations(app: Any, prefix: str, ignore: frozenset[str]) -> Iterator[tuple[Operation, bool]]:
    """Each operation, and whether its route is one of GET that takes HEAD, too."""
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
            yield Operation("GET", whole, endpoint, public=True, documented=False), True
            continue
        documented = getattr(seen, "include_in_schema", True)
        # A class without a method for HEAD answers it by that for GET.
        takes_head = (
            not hasattr(endpoint, "head") if inspect.isclass(endpoint) else "HEAD" in (seen.methods or ())
        )
        for method, handler in _handlers(whole, seen.methods, endpoint):
            facts: Mapping[str, Any] = getattr(handler, _MARK, {})
            operation = Operation(method, whole, handler, documented=documented, **facts)
            yield operation, method == "GET" and takes_head


# FastAPI's own routes, by the attributes that name their paths.
_SHOWN = ("openapi_url", "docs_url", "redoc_url", "swagger_ui_oauth2_redirect_url")


def _mounted(mount: Any, path: str, ignore: frozenset[str]) -> Iterator[tuple[Operation, bool]]:
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


def _check_order(rows: Iterable[tuple[Operation, bool]]) -> None:
    """
    Hold the application's order, in which it takes the first that fits, against the table's.

    Args:
        rows: Each operation, and whether it is one of GET whose route takes HEAD, too.
    """
    templates: list[tuple[Operation, bool, re.Pattern[str]]] = []
    heads: dict[str, Operation] = {}
    for operation, takes_head in rows:
        wanted = {operation.method, "HEAD"} if takes_head else {operation.method}
        # Of one path, the table has the row that names HEAD, wherever that stands.
        if operation.method == "HEAD" and operation.path in heads:
            raise _never_reached(operation, heads[operation.path], "HEAD")
        if takes_head:
            heads.setdefault(operation.path, operation)
        if "{" in operation.path:
            templates.append((operation, takes_head, pattern_of(operation.path)))
            continue
        for other, too, pattern in templates:
            taken = wanted & ({other.method, "HEAD"} if too else {other.method})
            if taken and pattern.fullmatch(operation.path):
                raise _never_reached(operation, other, "HEAD" if taken == {"HEAD"} else operation.method)


def _never_reached(operation: Operation, other: Operation, method: str) -> ConfigurationError:
    too = " and answers HEAD like GET" if method == "HEAD" != other.method else ""
    return ConfigurationError(
        f"{method} {operation.path} is never reached: {other.path}, which is declared before it{too}, "
        "takes its requests. Declare it first"
    )
