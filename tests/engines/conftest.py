"""Fixtures of the engine tests: each engine, orders for it, certificates."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from engine_carriers import ENGINES, Carrier
from wire_faults import Certificates

from failwell.call.messages import Request, Send, Timeouts


@pytest.fixture(params=ENGINES, ids=lambda pair: "-".join(pair))
def carrier(request: pytest.FixtureRequest) -> Carrier:
    return Carrier(*request.param)


@pytest.fixture(params=[p for p in ENGINES if p[0] == "httpx"], ids=lambda pair: "-".join(pair))
def httpx_carrier(request: pytest.FixtureRequest) -> Carrier:
    return Carrier(*request.param)


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    return Certificates()


@pytest.fixture
def order() -> Callable[..., Send]:
    """Makes orders: a POST with a body and a secret, half a second for each wait."""

    def make(
        url: str,
        method: str = "POST",
        *,
        content: bytes | None = b'{"a": 1}',
        headers: dict[str, str] | None = None,
        seconds: float = 20.0,
        **timeouts: float,
    ) -> Send:
        given = {
            "content-type": "application/json",
            "authorization": "Bearer s3cr3t-token",
            **(headers or {}),
        }
        limits = {"connect": 10.0, "read": 10.0, "write": 10.0, "pool": 10.0, **timeouts}
        request = Request(method, url, given, content if method != "GET" else None)
        return Send(request, Timeouts(**limits), time.monotonic() + seconds)

    return make
