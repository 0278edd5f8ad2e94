"""A real HTTP server on loopback that answers what a test wrote down, and both clients against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sdk_clients import on
from sdk_service import Script, SkippingClock, served

from argus import Argus, AsyncArgus
from failwell import Connections

KEY = "rsk_0123456789abcdefghijABCDEFGHIJ01"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the key of whoever runs it."""
    for name in ("ARGUS_API_KEY", "ARGUS_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock() -> SkippingClock:
    return SkippingClock()


@pytest.fixture(params=[Argus, AsyncArgus])
def use(request: pytest.FixtureRequest, wire: Script, clock: SkippingClock) -> Callable[..., Any]:
    """Runs one function on the blocking or on the awaiting client, the same way for a test."""

    def use(call: Callable[[Any], Any], **settings: Any) -> Any:
        chosen: dict[str, Any] = {
            "api_key": KEY,
            "base_url": wire.base_url,
            "clock": clock,
            "connections": Connections(trust_env=False),
        } | settings
        return on(request.param, call, chosen)

    return use


@pytest.fixture
def wire() -> Iterator[Script]:
    with served(Script(), "/v1") as wire:
        yield wire
