"""A real HTTP server on loopback that answers what a test wrote down, and both clients against it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sdk_clients import on
from sdk_service import Script, SkippingClock, served

from failwell import Connections
from kneo_client import AsyncKneoClient, KneoClient

KEY = "kneo_0123456789abcdefghijABCDEFGHIJ"

RUN = {
    "id": "run_1",
    "spec_id": "spec_1",
    "environment_id": "env_1",
    "status": "queued",
    "version": 1,
    "cost": 3,
    "input": {"text": "one two"},
    "output": None,
    "error": None,
    "metadata": {},
    "created_at": "2026-11-05T12:00:00.250+00:00",
    "started_at": None,
    "finished_at": None,
}


class KneoScript(Script):
    """A script that knows how Kneo spells an error."""

    def will_refuse(
        self, status: int, code: str = "refused", message: str = "Refused.", **headers: str
    ) -> None:
        """Answer the next request with an error in Kneo's spelling."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.will_answer(status, {"error": {"code": code, "message": message}}, fields)


@pytest.fixture(autouse=True)
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the profile, the keys or the proxies of whoever runs it."""
    for name in ("KNEO_API_KEY", "KNEO_BASE_URL", "KNEO_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def run() -> dict[str, Any]:
    """A run as the service writes it."""
    return dict(RUN)


@pytest.fixture
def key() -> str:
    return KEY


@pytest.fixture
def clock() -> SkippingClock:
    return SkippingClock()


@pytest.fixture(params=[KneoClient, AsyncKneoClient])
def use(request: pytest.FixtureRequest, script: Script, clock: SkippingClock) -> Callable[..., Any]:
    """
    Runs one function on the blocking or on the awaiting client, the same way for a test.

    The clients talk to the script, go by a clock that jumps, and always roll the highest dice.
    """

    def use(call: Callable[[Any], Any], **settings: Any) -> Any:
        chosen: dict[str, Any] = {
            "api_key": KEY,
            "base_url": script.base_url,
            "clock": clock,
            "random": lambda: 0.0,
            "connections": Connections(trust_env=False),
        } | settings
        return on(request.param, call, chosen)

    return use


@pytest.fixture
def shown() -> Callable[[BaseException], str]:
    """What a tracker of errors shows of an exception: the locals of every frame but the test's own."""

    def shown(error: BaseException) -> str:
        texts = []
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename.startswith(str(Path(__file__).parents[1])):
                continue
            for value in frame.f_locals.values():
                with suppress(AttributeError):  # a client that is only half made
                    texts.append(repr(value))
        assert texts
        return "".join(texts)

    return shown


@pytest.fixture
def script() -> Iterator[KneoScript]:
    script = KneoScript()
    with served(script):
        yield script
