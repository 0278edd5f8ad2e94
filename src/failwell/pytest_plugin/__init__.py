"""
For pytest: faults on the wire, the sandbox's services and a clock that jumps, as fixtures.

    def test_half_an_answer_is_no_answer(faults):
        faults.cut(after_bytes=20)
        with Client(faults.url) as client:
            assert client.request("GET", "/things").json() == [...]
        assert faults.requests == 2

pytest loads this wherever failwell is installed, so it imports nothing before a fixture is asked for.
docs/testing.md describes the fixtures.
"""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

    from failwell.pytest_plugin.faults_fixture import Faults
    from failwell.pytest_plugin.services import Services
    from failwell.testing import JumpingClock

# Of the sandbox's services the one that is asked by default.
DEFAULT_SERVICE = "sandbox:kneo"
_SECTION = "failwell: what crossed the wire"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "failwell_service",
        "What stands behind the fixture `faults`: a base URL, module:attribute of an ASGI application, "
        f"or sandbox:NAME. By default {DEFAULT_SERVICE}.",
        default=DEFAULT_SERVICE,
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "failwell_service(service): what stands behind the fixture `faults` in this test: a base URL, "
        "an ASGI application, module:attribute of one, or sandbox:NAME.",
    )


@pytest.fixture
def failwell_service(request: pytest.FixtureRequest) -> Any:
    """
    What stands behind `faults`; override it, or use the marker or the ini option of the same name.

    A base URL, an ASGI application, something with a `url`, "module:attribute" of one of these, or
    "sandbox:NAME".
    """
    marker = request.node.get_closest_marker("failwell_service")
    return marker.args[0] if marker is not None else request.config.getini("failwell_service")


@pytest.fixture(scope="session")
def _failwell_services() -> Iterator[Services]:
    """ASGI applications that are served for tests, each once in a session."""
    from failwell.pytest_plugin.services import Services

    with Services() as services:
        yield services


@pytest.fixture
def faults(
    request: pytest.FixtureRequest, failwell_service: Any, _failwell_services: Services
) -> Iterator[Faults]:
    """
    What goes wrong between a client and its service, by real sockets: `failwell.pytest_plugin.Faults`.

    A fault that was planned and never happened fails the test: it shows nothing about it.
    """
    from failwell.pytest_plugin.faults_fixture import Faults

    url = _failwell_services.url_of(failwell_service, lambda: request.getfixturevalue("sandbox"))
    with Faults(url) as made:
        request.node.stash[_faults_of] = made
        yield made
        del request.node.stash[_faults_of]


_faults_of: pytest.StashKey[Faults] = pytest.StashKey()


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Any]:
    """
    The services behind failwell's SDKs on loopback: `failwell_sandbox.Sandbox`.

    Raises:
        UsageError: failwell-sandbox is not installed.
    """
    from failwell.pytest_plugin.services import running_sandbox

    with running_sandbox() as running:
        yield running


@pytest.fixture
def clock() -> JumpingClock:
    """For the `clock` of a client: waits are over at once, and kept in `clock.sleeps`."""
    from failwell.testing import JumpingClock

    return JumpingClock()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    result = yield
    made = item.stash.get(_faults_of, None)
    if made is not None and (told := made.not_exercised()):
        pytest.fail(told, pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    made = item.stash.get(_faults_of, None)
    if made is not None and report.failed:
        report.sections.append((_SECTION, made.timeline()))
    return report
