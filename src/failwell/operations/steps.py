"""
Work of several calls, written once for both clients.

A function that is a generator says what to do and in which order; a client does it, blocking or
awaiting. No I/O, no clock: it can be tested by playing the client by hand.

    def train(dataset: str, *, timeout: float) -> Steps[Model]:
        run = yield from do(create_run(dataset))
        run = yield from do(wait_for(run.id, timeout))
        return (yield from do(get_model(run.model_id)))

    client.perform(train("cats", timeout=60.0))

What fails is raised where it was asked for, so a `try` around one step is about that step. Ctrl-C
and cancellation end the generator and never enter it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from failwell.call.messages import Response, Sleep
from failwell.call.operation import Operation
from failwell.operations.polling import Poll

if TYPE_CHECKING:
    from failwell.operations.batches import Batch, BatchResult
    from failwell.operations.downloads import Download
    from failwell.operations.parts import PartUpload
    from failwell.operations.together import Crew

T = TypeVar("T")
In = TypeVar("In")
Large: TypeAlias = "Batch[Any, Any] | PartUpload[Any] | Download[Any]"
Order: TypeAlias = "Operation[Any] | Poll[Any] | Sleep | Locally[Any] | Together | Large"
Steps: TypeAlias = Generator[Order, "Done", T]


@dataclass(slots=True)
class Done:
    """
    Event: what came of the last order.

    Attributes:
        now: Monotonic seconds when it came.
        result: What the operation or the job brought; None after a `Sleep`.
        error: Why it did not succeed; None if it did.
    """

    now: float
    result: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Locally(Generic[T]):
    """
    Effect: do what needs no service and may take a while, such as reading a file.

    Attributes:
        work: Called in a thread where others would have to wait for it. What it raises is raised in the
            steps.
    """

    work: Callable[[], T]


@dataclass(frozen=True, slots=True)
class Together:
    """
    Effect: do several things at once.

    Attributes:
        crew: Says what, and learns how each of them ended.
    """

    crew: Crew


@overload
def do(order: Batch[In, T]) -> Steps[BatchResult[In, T]]: ...
@overload
def do(order: Operation[T] | Poll[T] | PartUpload[T] | Download[T] | Locally[T]) -> Steps[T]: ...
def do(order: Any) -> Steps[Any]:
    """
    Carry out one operation, wait for one job, send a batch or a file in parts, download one, as a
    step: `result = yield from do(...)`.

    Raises:
        CallError: it did not succeed.
    """
    done = yield order
    if done.error is not None:
        raise done.error
    return done.result


def locally(work: Callable[[], T]) -> Steps[T]:
    """
    What `work` returns, as a step: it reads files, or computes for long, and nobody waits for it who
    need not.

    Raises:
        Exception: what `work` raises.
    """
    return (yield from do(Locally(work)))


def pause(seconds: float) -> Steps[float]:
    """Let time pass, as a step; brings the monotonic seconds after it."""
    return (yield Sleep(seconds)).now


def every_item(page_after: Callable[[Any], Operation[Any]]) -> Steps[list[Any]]:
    """
    All items of a list that comes in pages, as a step.

    Args:
        page_after: The operation for the page behind a cursor; None asks for the first. A page has
            `items` and `next_cursor`, as `failwell.models.Page`.

    Raises:
        CallError: a page could not be had; also, as an answer that cannot be used, if a cursor is
            given twice, because a list that leads back into itself has no end.
    """
    items: list[Any] = []
    seen: set[Any] = set()
    cursor = None
    while True:
        operation = page_after(cursor)
        page: Any = yield from do(replace(operation, parse=_unseen(operation.parse, seen)))
        items.extend(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return items


def _unseen(parse: Callable[[Response], Any], seen: set[Any]) -> Callable[[Response], Any]:
    def read(response: Response) -> Any:
        page = parse(response)
        if page.next_cursor in seen:
            # As any other answer that is not as promised: the client makes the contract's class of it.
            raise ValueError(f"next_cursor {page.next_cursor!r} was given before")
        if page.next_cursor is not None:
            seen.add(page.next_cursor)
        return page

    return read
