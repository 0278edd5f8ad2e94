"""Carry out the phases of a rehearsal about a circuit: many callers, one client, real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

from failwell.drill.overload import CallerWitness, Came, Phase
from failwell.errors import CallError, CircuitOpenError

# Makes a call: a result, or something to await.
Make = Callable[[], Any]


async def callers(phase: Phase, make: Make, *, awaiting: bool, seen: list[Exception]) -> list[CallerWitness]:
    """
    Have the callers of `phase` make their calls, and wait for all of them.

    Args:
        phase: How many, and whether at once.
        make: Makes a call with the client that they share.
        awaiting: Whether the client is the awaiting one.
        seen: Is given each error that an open circuit raises.
    """
    if not phase.at_once:
        return [await _one(make, seen) for _ in range(phase.callers)]
    if awaiting:
        return list(await asyncio.gather(*(_one(make, seen) for _ in range(phase.callers))))
    together = Barrier(phase.callers)

    def call() -> CallerWitness:
        together.wait()
        return _finished(_one(make, seen))

    with ThreadPoolExecutor(phase.callers) as pool:
        return [caller.result() for caller in [pool.submit(call) for _ in range(phase.callers)]]


async def _one(make: Make, seen: list[Exception]) -> CallerWitness:
    try:
        value = make()
        if isinstance(value, Awaitable):
            await value
    except CallError as error:
        came = Came.FAILED
        if isinstance(error, CircuitOpenError):
            came = Came.REFUSED
            seen.append(error)
        failure = error.failure
        name = type(error).__name__ + (
            f" ({failure.reason})" if came is Came.FAILED and failure.reason else ""
        )
        return CallerWitness(came, time.monotonic(), name, failure.retry_after, failure.effect.value)
    except Exception as error:  # noqa: BLE001 - whatever else comes out is a finding
        return CallerWitness(Came.BROKEN, time.monotonic(), f"{type(error).__name__}: {error}")
    return CallerWitness(Came.ANSWERED, time.monotonic())


def _finished(coroutine: Any) -> CallerWitness:
    """What a coroutine brings that never waits: that of a blocking client."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        witness: CallerWitness = done.value
        return witness
    coroutine.close()
    raise TypeError("the sync client gave back something that has to be awaited")
