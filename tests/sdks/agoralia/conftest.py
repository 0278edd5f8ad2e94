"""A real HTTP server on loopback that answers what a test wrote down, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sdk_service import Script, served

KEY = "ago_ETWIQRPbBXBrMxwcyxqUFLlYGErtFOaa"  # the document's own example


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGORALIA_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def key() -> str:
    return KEY


@pytest.fixture
def script() -> Iterator[Script]:
    with served(Script(), "/api/v1") as script:
        yield script
