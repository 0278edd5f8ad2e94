"""
An application made of nothing but the table's endpoints.

The gates have found the operation of a request already. A framework behind them would look for it
a second time, between middlewares that handle exceptions, which is what the gates are there for.
"""

from __future__ import annotations

import inspect
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from failwell.errors import ConfigurationError
from failwell.service.exchange import SCOPE_KEY
from failwell.service.operations import NAME_IN_PATH
from failwell.service.refusals import Refusal, RefusedRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Lifespan

    from failwell.service.bodies import ASGIApp, Receive, Scope, Send
    from failwell.service.exchange import Exchange
    from failwell.service.operations import Operation

# What Starlette's convertors make of the text that stands in a path. Of the others it stays text.
_MADE_OF: Mapping[str, Callable[[str], Any]] = {"int": int, "float": float, "uuid": uuid.UUID}


class Endpoint(NamedTuple):
    """
    How an endpoint is called.

    Attributes:
        respond: Takes Starlette's request; None if it is an application of its own.
        app: That application.
        request: The class of Starlette's requests.
        convert: By the names in its path that do not stay text.
    """

    respond: Callable[[Any], Awaitable[Response]] | None
    app: ASGIApp | None
    request: type[Request]
    convert: Mapping[str, Callable[[str], Any]]


def endpoint_of(function: Callable[..., Any], path: str) -> Endpoint:
    """
    How `function` is called, as Starlette would.

    Args:
        function: Of a `Request`, run in a thread unless it is `async`; or an ASGI application, such
            as the class of an `HTTPEndpoint`.
        path: The template of its path.
    """
    from starlette.requests import Request

    kinds = {name[1]: name[2] for name in NAME_IN_PATH.finditer(path)}
    convert = {name: _MADE_OF[kind] for name, kind in kinds.items() if kind in _MADE_OF}
    inner = function
    while isinstance(inner, partial):
        inner = inner.func
    if not inspect.isroutine(inner):
        return Endpoint(None, function, Request, convert)
    if inspect.iscoroutinefunction(inner):
        return Endpoint(function, None, Request, convert)
    from starlette.concurrency import run_in_threadpool

    return Endpoint(partial(run_in_threadpool, function), None, Request, convert)


async def call(
    endpoint: Endpoint, values: Mapping[str, str], scope: Scope, receive: Receive, send: Send
) -> None:
    """
    Have `endpoint` answer a request.

    Args:
        endpoint: It.
        values: What stands in the path in place of each name.
        scope: The request's.
        receive: The request's.
        send: The request's.

    Raises:
        RefusedRequest: a value is none of the kind that its name stands for.
    """
    scope["path_params"] = _converted(values, endpoint.convert) if values else {}
    if endpoint.respond is None:
        assert endpoint.app is not None
        await endpoint.app(scope, receive, send)
        return
    response = await endpoint.respond(endpoint.request(scope, receive, send))
    await response(scope, receive, send)


class Endpoints:
    """
    Calls the endpoint of each operation, as Starlette's routes would; only behind the gates.

        service = install(Endpoints(), CONTRACT, operations=operations, store=store, keys=keys)

    An endpoint is what Starlette takes for one: a function of a `Request` that returns a
    `Response`, run in a thread unless it is `async`; or an ASGI application, such as the class
    of an `HTTPEndpoint`. There are no middlewares and no names of routes.

    Args:
        lifespan: What holds while the service runs, as Starlette has it.

    Attributes:
        state: What `request.app.state` is.
    """

    def __init__(self, *, lifespan: Lifespan[Any] | None = None) -> None:
        from starlette.datastructures import State
        from starlette.routing import Router

        self.state = State()
        self._router = Router(lifespan=lifespan)
        # By identity: comparing two operations would take longer than all of this. The operation is
        # kept, so that no other one gets its identity.
        self._endpoints: dict[int, tuple[Operation, Endpoint]] = {}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope["app"] = self
        if scope["type"] == "lifespan":
            return self._router.lifespan(scope, receive, send)
        exchange: Exchange = scope[SCOPE_KEY]
        operation = exchange.operation
        assert operation is not None  # or the gates would not have let it through
        prepared = self._endpoints.get(id(operation))
        endpoint = self.prepare(operation) if prepared is None else prepared[1]
        return call(endpoint, exchange.path_values, scope, receive, send)

    def prepare(self, operation: Operation) -> Endpoint:
        """
        See how an endpoint is called, which is otherwise done at its first request.

        Raises:
            ConfigurationError: the operation has none.
        """
        if operation.endpoint is None:
            raise ConfigurationError(f"{operation.method} {operation.path} has no endpoint")
        endpoint = endpoint_of(operation.endpoint, operation.path)
        self._endpoints[id(operation)] = operation, endpoint
        return endpoint


def _converted(values: Mapping[str, str], convert: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    if not convert:
        return dict(values)
    try:
        return {name: convert[name](text) if name in convert else text for name, text in values.items()}
    except ValueError:
        # More digits than Python reads: nothing has such a number.
        raise RefusedRequest(Refusal("not_found")) from None
