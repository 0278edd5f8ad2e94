"""Both clients against a service that is played by hand, in no time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from scopix_answers import BASE, KEY, START
from sdk_clients import Went, played

from scopix import Scopix, ScopixSync


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the key or the address of whoever runs it."""
    for name in ("SCOPIX_API_KEY", "SCOPIX_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=[ScopixSync, Scopix])
def play(request: pytest.FixtureRequest) -> Callable[..., Went]:
    """Calls one method on the blocking or the awaiting client, with the answers of a script."""

    def play(
        call: Callable[[Any], Any], script: Iterable[Any], *, seconds: float = 0.0, **settings: Any
    ) -> Went:
        told = {"api_key": KEY, "base_url": BASE} | settings
        return played(request.param, call, script, start=START, seconds=seconds, settings=told)

    return play
