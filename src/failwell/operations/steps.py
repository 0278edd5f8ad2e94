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

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from failwell.call.messages import Sleep
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
