"""
What stands between the gates and the routes of a Starlette or FastAPI application.

Its own handling of exceptions is switched off, and left out of the way where nothing else needs
it. Behind its middlewares one layer sees an answer break off: some of them end it in order, and
raise what broke it only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from failwell.service.direct import DirectRoutes, routes_found
from failwell.service.exchange import SCOPE_KEY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from starlette.applications import Starlette

    from failwell.service.bodies import ASGIApp, Message, Receive, Scope, Send
    from failwell.service.exchange import Exchange
    from failwell.service.operations import Operation


def arrange_layers(
    app: Starlette, handled: Iterable[type[Exception]], operations: Sequence[Operation] | None
) -> None:
    """
    Have `app` build its stack, which it does for its first request, for a place behind the gates.

    Args:
        app: The application, or one that is mounted in it.
        handled: Exceptions of the framework's that the gates answer.
        operations: The table, whose routes are called at once where nothing stands before them;
            None for a mounted application, which knows part of a path only.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.errors import ServerErrorMiddleware
    from starlette.middleware.exceptions import ExceptionMiddleware
    from starlette.routing import Router

    build = app.build_middleware_stack

    def built() -> ASGIApp:
        app.debug = False
        # A number is a status: of what the framework raises, or of anything, which is 500.
        for kind in [*handled, *(kind for kind in app.exception_handlers if isinstance(kind, int))]:
            app.exception_handlers[kind] = _raise
        own = app.user_middleware
        app.user_middleware = [*own, Middleware(_Watched)] if own else own
        stack = build()
        app.user_middleware = own
        # What would only raise again costs each request more than its key does.
        if isinstance(stack, ServerErrorMiddleware):
            stack = stack.app
        idle = all(handler is _raise for handler in app.exception_handlers.values())
        if isinstance(stack, ExceptionMiddleware) and idle:
            stack = stack.app
        if operations is None or stack is not app.router or type(app.router) is not Router:
            return stack
        # Nothing could send a request elsewhere any more.
        found = routes_found(app.routes, operations)
        return stack if found is None else DirectRoutes(app.router, found)

    app.build_middleware_stack = built  # type: ignore[method-assign]  # Starlette calls it by this name


async def _raise(_request: Any, exc: Exception) -> Any:
    raise exc


class _Watched:
    """The innermost middleware: sees what breaks an answer off before the others do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange | None = scope.get(SCOPE_KEY)
        if exchange is None:
            await self._app(scope, receive, send)
            return
        under_way = False

        def seen(message: Message) -> Awaitable[None]:
            nonlocal under_way
            under_way = message["type"] == "http.response.start" or message.get("more_body", False)
            return send(message)

        try:
            await self._app(scope, receive, seen)
        except Exception as exc:
            if under_way:
                exchange.broken_by = exc
            raise
