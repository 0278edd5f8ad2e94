"""Fixtures of the engine tests: each engine, orders for it, certificates."""

from __future__ import annotations

import gc
import os
import select
import sys
import time
import warnings
from collections.abc import Callable, Iterator

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


@pytest.fixture
def in_child() -> Callable[[Callable[[], str]], str]:
    """Runs a function in a forked child and gives what it returned; fails if it hangs."""

    def run(ask: Callable[[], str]) -> str:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            text = "nothing"
            try:
                text = ask()
            except BaseException as exc:
                text = repr(exc)
            finally:
                os.write(writing, text.encode())
                os._exit(0)
        os.close(writing)
        try:
            ready, _, _ = select.select([reading], [], [], 20)
            if not ready:
                os.kill(child, 9)
            os.waitpid(child, 0)
            assert ready, "the child hangs"
            return os.read(reading, 65536).decode()
        finally:
            os.close(reading)

    return run


@pytest.fixture
def forget_abandoned() -> Iterator[None]:
    """
    Drops what engines keep of loops that ended without `aclose`.

    They keep it so that nobody is warned in the middle of something else; Python warns of it when
    it goes, which here would be at the end of the test run.
    """
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("failwell.engines.httpx", "failwell.engines.aiohttp"):
            if name in sys.modules:
                sys.modules[name]._abandoned.clear()
        gc.collect()
