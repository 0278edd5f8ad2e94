"""
A Starlette application's routes without the search for one.

The gates have found the operation of a request already. Where the application's routes and the
table would take any request for the same thing, the route of the operation is called at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from failwell.service.endpoints import Endpoint, call, endpoint_of
from failwell.service.exchange import SCOPE_KEY
from failwell.service.operations import pattern_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from starlette.routing import BaseRoute, Route, Router

    from failwell.service.bodies import Receive, Scope, Send
    from failwell.service.exchange import Exchange
    from failwell.service.operations import Operation


class DirectRoutes:
    """
    Calls the route of each operation; asks the router for whatever has none.

    Args:
        router: The application's.
        found: Each operation, and its route.
    """

    def __init__(self, router: Router, found: Iterable[tuple[Operation, Route]]) -> None:
        self._router = router
        # As in `Endpoints`, by identity.
        self._found: dict[int, tuple[Operation, Route, Endpoint]] = {}
        for operation, route in found:
            self._found.setdefault(id(operation), (operation, route, _endpoint_of(route)))

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        exchange: Exchange | None = scope.get(SCOPE_KEY)
        found = None if exchange is None else self._found.get(id(exchange.operation))
        if exchange is None or found is None:
            return self._router(scope, receive, send)
        _, route, endpoint = found
        scope["router"] = self._router
        scope["route"] = route
        scope["endpoint"] = route.endpoint
        return call(endpoint, exchange.path_values, scope, receive, send)


def routes_found(
    routes: Iterable[BaseRoute], operations: Sequence[Operation]
) -> list[tuple[Operation, Route]] | None:
    """
    The operations with their routes; None if routes and table might differ about a request.

    They agree if each row has a route and each route its rows, if both try the templates of a
    method in the same order, and if no template takes the requests of a path without names that
    stands behind it.
    """
    from starlette.routing import Route

    rows = {(operation.method, operation.path): operation for operation in reversed(operations)}
    found: list[tuple[Operation, Route]] = []
    for route in routes:
        # A class of one's own may match whatever it likes.
        if type(route) is not Route or route.methods is None:
            return None
        for method in route.methods - ({"HEAD"} if "GET" in route.methods else set()):
            operation = rows.get((method, route.path))
            if operation is None or _taken_before(method, route.path, found):
                return None
            found.append((operation, route))
    in_routes = [operation for operation, _ in found]
    if any(operation.method == "HEAD" for operation in operations) or len(in_routes) != len(operations):
        return None
    return found if _tried(in_routes) == _tried(operations) else None


def _taken_before(method: str, path: str, found: Iterable[tuple[Operation, Route]]) -> bool:
    """Whether requests for a path without names go to a template that stands before it."""
    return "{" not in path and any(
        operation.method == method and pattern_of(operation.path).fullmatch(path) for operation, _ in found
    )


def _tried(operations: Iterable[Operation]) -> dict[str, list[str]]:
    """The templates of each method, in the order in which they are tried."""
    tried: dict[str, list[str]] = {}
    for operation in operations:
        if "{" in operation.path:
            tried.setdefault(operation.method, []).append(operation.path)
    return tried


def _endpoint_of(route: Route) -> Endpoint:
    """How a route's endpoint is called: without the layer for exceptions, which would raise them again."""
    from starlette.routing import request_response

    endpoint = endpoint_of(route.endpoint, route.path)
    layer = getattr(request_response(route.endpoint), "__code__", None)
    if endpoint.respond is not None and getattr(route.app, "__code__", None) is layer:
        return endpoint
    # An application, or a function behind the route's own middlewares.
    return endpoint._replace(respond=None, app=route.app)
