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
from typing import Any, TypeAlias, TypeVar

from failwell.call.messages import Response, Sleep
from failwell.call.operation import Operation
from failwell.errors import CallError
from failwell.operations.polling import Poll

T = TypeVar("T")
Order: TypeAlias = Operation[Any] | Poll[Any] | Sleep
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
    error: CallError | None = None


def do(order: Operation[T] | Poll[T]) -> Steps[T]:
    """
    Carry out one operation, or wait for one job, as a step: `result = yield from do(...)`.

    Raises:
        CallError: it did not succeed.
    """
    done = yield order
    if done.error is not None:
        raise done.error
    result: T = done.result
    return result


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
        page = yield from do(replace(operation, parse=_unseen(operation.parse, seen)))
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
