"""
The methods of an SDK, declared once for its blocking and its awaiting client.

    class Runs(Resource):
        @operation
        def get(self, run_id: str, *, deadline: float | None = None) -> Operation[Run]:
            '''The run as it is now.'''
            path = f"/runs/{check.segment('run_id', run_id)}"
            return Operation("GET", path, Run.from_response, deadline=deadline)

    class AsyncRuns(AsyncResource):
        get = awaiting(Runs.get)

    class Shop(SDK):
        def __init__(self, api_key: str | None = None, *, base_url: str = URL) -> None:
            self._client = Client(base_url, contract=CONTRACT, credentials=...)
            self.runs = Runs(self._client)

What a decorated function returns says what to do: an `Operation` for one call, a `Poll` for a job to
wait for, a `PartUpload` for a file in parts, a generator of steps for work of several calls. The
method does it and gives the result.
Type checkers see its parameters, and `Run` as what it gives: in the twin, what is awaited.

An argument that is refused raises the class the contract names, before anything is sent, and no
frame with what was passed is in its traceback.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, get_args, get_origin, overload

from failwell.call.operation import Operation
from failwell.errors import UsageError
from failwell.operations.downloads import Download
from failwell.operations.parts import PartUpload
from failwell.operations.polling import Poll
from failwell.operations.streams import Stream

if TYPE_CHECKING:
    from typing import Self

    from failwell.client import AsyncClient, Client
    from failwell.client.streaming import AsyncEventStream, EventStream
    from failwell.operations.steps import Done

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# What a decorated function says that it returns.
_ORDERS = ("Download[", "Operation[", "PartUpload[", "Poll[", "Steps[")


class Resource:
    """A part of what an SDK offers, blocking: its methods are operations on one client."""

    def __init__(self, client: Client) -> None:
        self._client = client


class AsyncResource:
    """A part of what an SDK offers, awaiting: its methods are operations on one client."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def __init_subclass__(cls) -> None:
        # A method that was taken over from the twin says in a traceback that it is this class's.
        for name, method in vars(cls).items():
            if getattr(method, "_is_twin", False):
                method.__qualname__, method.__module__ = f"{cls.__qualname__}.{name}", cls.__module__


class SDK(Resource):
    """
    What an SDK's blocking client is derived from: closed as one, shown without its key.

    Its constructor sets `_client`, and its resources on the same.
    """

    def __repr__(self) -> str:
        """The class and the service's address."""
        return _shown(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Calling twice is harmless."""
        self._client.close()


class AsyncSDK(AsyncResource):
    """
    What an SDK's awaiting client is derived from: closed as one, shown without its key.

    Its constructor sets `_client`, and its resources on the same.
    """

    def __repr__(self) -> str:
        """The class and the service's address."""
        return _shown(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Calling twice is harmless."""
        await self._client.aclose()


@overload
def operation(
    build: Callable[Concatenate[R, P], Stream[T]],
) -> Callable[Concatenate[R, P], EventStream[T]]: ...
@overload
def operation(
    build: Callable[
        Concatenate[R, P], Operation[T] | PartUpload[T] | Poll[T] | Download[T] | Generator[Any, Done, T]
    ],
) -> Callable[Concatenate[R, P], T]: ...
def operation(build: Callable[..., Any]) -> Any:
    """A blocking method that does what `build` returns."""

    @functools.wraps(build)
    def does(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            order = build(self, *args, **kwargs)
        except UsageError as exc:
            raise self._client.contract.refusal(exc.with_traceback(None)) from None
        finally:
            args, kwargs = (), {}  # not for tracebacks that show locals
        return self._client.stream(order) if isinstance(order, Stream) else self._client.perform(order)

    method: Any = does
    method._build = build
    # What helpers and generators of documentation ask: what is given back is no order.
    signature = inspect.signature(build)
    method.__signature__ = signature.replace(return_annotation=_result_of(signature.return_annotation))
    method.__annotations__ = build.__annotations__ | {"return": _result_of(build.__annotations__["return"])}
    del method.__wrapped__  # would be asked instead
    return method


@overload
def awaiting(  # type: ignore[overload-overlap]  # an open stream is no result that is awaited
    method: Callable[Concatenate[Any, P], EventStream[T]],
) -> Callable[Concatenate[Any, P], AsyncEventStream[T]]: ...
@overload
def awaiting(
    method: Callable[Concatenate[Any, P], T],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]: ...
def awaiting(method: Callable[..., Any]) -> Any:
    """The awaiting twin of a method that `operation` made; a stream is opened by `async with`."""
    build: Any = method.__dict__["_build"]
    if _is_stream(build.__annotations__["return"]):
        return _streaming(method, build)

    @functools.wraps(method)
    async def twin(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            order = build(self, *args, **kwargs)
        except UsageError as exc:
            raise self._client.contract.refusal(exc.with_traceback(None)) from None
        finally:
            args, kwargs = (), {}  # not for tracebacks that show locals
        return await self._client.perform(order)

    awaited: Any = twin
    awaited._is_twin = True
    del awaited.__wrapped__  # its signature is its own, and so is that it is awaited
    return awaited


def _streaming(method: Callable[..., Any], build: Any) -> Any:
    @functools.wraps(method)
    def twin(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            order = build(self, *args, **kwargs)
        except UsageError as exc:
            raise self._client.contract.refusal(exc.with_traceback(None)) from None
        finally:
            args, kwargs = (), {}  # not for tracebacks that show locals
        return self._client.stream(order)

    given: Any = twin
    given._is_twin = True
    del given.__wrapped__
    result = f"Async{_result_of(build.__annotations__['return'])}"
    given.__signature__ = inspect.signature(build).replace(return_annotation=result)
    given.__annotations__ = build.__annotations__ | {"return": result}
    return given


def _is_stream(annotation: Any) -> bool:
    return _text_of(annotation).startswith("Stream[")


def _text_of(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    inside = ", ".join(getattr(each, "__name__", str(each)) for each in get_args(annotation))
    return f"{getattr(get_origin(annotation), '__name__', '')}[{inside}]"


def _result_of(annotation: Any) -> Any:
    """What comes back to whoever calls: "Operation[Run]" is a Run."""
    if _is_stream(annotation):
        return f"Event{_text_of(annotation)}"
    if isinstance(annotation, str):
        is_order = annotation.startswith(_ORDERS) and annotation.endswith("]")
        return annotation.partition("[")[2][:-1] if is_order else annotation
    is_order = get_origin(annotation) in (Download, Operation, PartUpload, Poll, Generator)
    return get_args(annotation)[-1] if is_order else annotation


def _shown(client: SDK | AsyncSDK) -> str:
    # A traceback that shows locals asks this of a client whose constructor refused its arguments.
    inner = client.__dict__.get("_client")
    return f"<{type(client).__name__} {'unmade' if inner is None else inner.base_url}>"
