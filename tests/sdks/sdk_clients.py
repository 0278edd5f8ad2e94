"""One test for both clients of an SDK: what it does with the one it does with the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from failwell.testing import AsyncScriptedEngine, FakeClock, ScriptedEngine


def on(client_class: Any, call: Callable[[Any], Any], settings: dict[str, Any]) -> Any:
    """
    What `call` brings on a client that is made for it, and closed.

    Args:
        client_class: The blocking one, or the awaiting one.
        call: What to do with it; what it gives is awaited for the awaiting one.
        settings: Of the client.
    """
    if blocks(client_class):
        with client_class(**settings) as client:
            return call(client)

    async def on_loop() -> Any:
        async with client_class(**settings) as client:
            return await call(client)

    return asyncio.run(on_loop())


def blocks(client_class: type) -> bool:
    """Whether it is the blocking one of the twins."""
    return hasattr(client_class, "__enter__")


@dataclass
class Went:
    """How a call went: what it brought or raised, what was sent, what was waited."""

    result: Any = None
    error: Any = None
    requests: list[Any] = field(default_factory=list)
    sleeps: list[float] = field(default_factory=list)
    base_url: str = ""

    @property
    def paths(self) -> list[str]:
        """What was asked for: "POST /v1/files"."""
        return [f"{r.method} {r.url.removeprefix(self.base_url).partition('?')[0]}" for r in self.requests]


# What the fixture `play` of an SDK is.
Play = Callable[..., Went]


def played(
    client_class: Any,
    call: Callable[[Any], Any],
    script: Iterable[Any],
    *,
    start: float,
    seconds: float,
    settings: dict[str, Any],
) -> Went:
    """
    How `call` goes, with the answers of a script and in no time.

    Args:
        client_class, call: As for `on`.
        script: As for `failwell.testing.ScriptedEngine`.
        start: The time by the clock, unix seconds.
        seconds: How long each answer takes.
        settings: Of the client, besides its engine and its clock.
    """
    clock = FakeClock(start)
    engine = (ScriptedEngine if blocks(client_class) else AsyncScriptedEngine)(script, clock, seconds=seconds)
    settings = {"engine": engine, "clock": clock} | settings
    went = Went(base_url=settings["base_url"])
    try:
        went.result = on(client_class, call, settings)
    except Exception as error:
        went.error = error
    went.requests, went.sleeps = engine.requests, clock.sleeps
    return went
