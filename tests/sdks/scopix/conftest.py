"""Both clients against a service that is played by hand, in no time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from scopix_answers import BASE, KEY, START, Went

from failwell.testing import AsyncScriptedEngine, FakeClock, ScriptedEngine
from scopix import Scopix, ScopixSync


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the key or the address of whoever runs it."""
    for name in ("SCOPIX_API_KEY", "SCOPIX_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["ScopixSync", "Scopix"])
def play(request: pytest.FixtureRequest) -> Callable[..., Went]:
    """Calls one method on the blocking or the awaiting client, with the answers of a script."""

    def play(
        call: Callable[[Any], Any], script: Iterable[Any], *, seconds: float = 0.0, **settings: Any
    ) -> Went:
        clock = FakeClock(START)
        went = Went()
        make = ScriptedEngine if request.param == "ScopixSync" else AsyncScriptedEngine
        engine = make(script, clock, seconds=seconds)
        told: dict[str, Any] = {"api_key": KEY, "base_url": BASE, "engine": engine, "clock": clock} | settings

        async def on_loop() -> Any:
            async with Scopix(**told) as client:
                return await call(client)

        try:
            if request.param == "ScopixSync":
                with ScopixSync(**told) as client:
                    went.result = call(client)
            else:
                went.result = asyncio.run(on_loop())
        except Exception as error:
            went.error = error
        went.requests, went.sleeps = engine.requests, clock.sleeps
        return went

    return play
