"""The README's example runs as it stands, and what its tables say of names and defaults is so."""

from __future__ import annotations

import inspect
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import argus
import failwell_sandbox
from argus import Argus
from failwell.clock import SystemClock

README = (Path(__file__).parents[3] / "sdks/argus/README.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)


@pytest.fixture(scope="module")
def service() -> Iterator[Any]:
    with failwell_sandbox.running(("argus",)) as sandbox:
        yield sandbox.argus


@pytest.fixture(autouse=True)
def _reach(service: Any, monkeypatch: pytest.MonkeyPatch, no_environment: None) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ARGUS_API_KEY", service.keys.free)
    monkeypatch.setenv("ARGUS_BASE_URL", f"{service.url}/v1")


def run(example: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    exec(compile(example, "README.md", "exec"), {"__name__": "README"})
    return capsys.readouterr().out.splitlines()


def test_the_example_prints_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(EXAMPLE, capsys) == [
        "competitor exact Globex 1.0",
        "personal_data email ada@example.com 1.0",
    ]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ('competitors=["Globex"]', "wrong argument: competitors is an empty list"),
        ("competitors=", "wrong argument: competitors is a str"),
        ("text, ", "needs a Runtime Security Key: asset_id is a platform feature"),
    ],
)
def test_the_example_catches_what_it_says(
    changed: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    instead = {
        'competitors=["Globex"]': "competitors=[]",
        "competitors=": 'competitors="Globex" or ',
        "text, ": 'text, asset_id="asset_1", ',
    }
    before, call, after = EXAMPLE.partition("argus.check(")

    (line,) = run(before + call + after.replace(changed, instead[changed], 1), capsys)

    assert line.startswith(says)


def test_the_example_says_that_it_did_not_get_through(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(SystemClock, "sleep", waits.append)
    with socket.socket() as sock:  # bound, so that nobody else listens there
        sock.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ARGUS_BASE_URL", f"http://127.0.0.1:{sock.getsockname()[1]}")

        (line,) = run(EXAMPLE, capsys)

    assert len(waits) == 2

    assert line.startswith("not reached in 3 tries: ")


def test_every_exception_and_method_is_in_the_readme() -> None:
    promised = {name for name in argus.__all__ if name.endswith("Error")}
    assert {name for name in promised if f"`{name}`" not in README} == set()
    for name in ("check", "check_batch", "assets.create", "assets.get", "assets.list", "assets.results"):
        assert f"`{name}(" in README


def test_the_defaults_are_those_of_the_readme() -> None:
    defaults = {name: p.default for name, p in inspect.signature(Argus).parameters.items()}

    assert (defaults["strict"], defaults["max_retries"]) == (False, 2)
    assert (defaults["timeout"], defaults["deadline"]) == (30.0, 60.0)
