"""One sandbox for all tests of a worker process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandbox_caller import Caller
from scopix_caller import Scopix

import failwell_sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[failwell_sandbox.Sandbox]:
    with failwell_sandbox.running() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def kneo(sandbox: failwell_sandbox.Sandbox) -> Caller:
    return Caller(sandbox.kneo.url, "Authorization", "Bearer ")


@pytest.fixture(scope="session")
def argus(sandbox: failwell_sandbox.Sandbox) -> Caller:
    return Caller(sandbox.argus.url, "Authorization", "Bearer ")


@pytest.fixture(scope="session")
def agoralia(sandbox: failwell_sandbox.Sandbox) -> Caller:
    return Caller(sandbox.agoralia.url, "X-API-Key", "")


@pytest.fixture(scope="session")
def scopix() -> Iterator[Scopix]:
    with failwell_sandbox.running(("scopix",)) as sandbox:
        service = sandbox["scopix"]
        yield Scopix(service)
        assert service.service is not None
        assert service.service.undeclared == set()
