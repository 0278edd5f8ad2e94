"""What several modules ask for: the service that each of them describes as its `Here`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_behind import CONTRACTS


@pytest.fixture(params=list(CONTRACTS))
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The `Here` of the module that asks, in each of the contracts."""
    with request.module.Here(tmp_path, CONTRACTS[request.param]) as made:
        yield made


@pytest.fixture
def kneo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The `Here` of the module that asks, in Kneo's contract."""
    with request.module.Here(tmp_path, CONTRACTS["kneo"]) as made:
        yield made
