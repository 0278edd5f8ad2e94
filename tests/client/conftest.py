"""The driver fixture: every test that takes it runs blocking, under asyncio and under trio."""

from __future__ import annotations

import pytest
from client_drivers import DRIVES, Driver


@pytest.fixture(params=DRIVES)
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Driver:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return Driver(request.param)
