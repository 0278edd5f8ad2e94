"""Fixtures of the command-line tests."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from toy_contract import TOY

from failwell.cli import known, run
from failwell.contract import STANDARD


@pytest.fixture
def toys() -> known.Known:
    """A contract of an SDK beside the standard one."""
    return known.Known({"toy": TOY, "standard": STANDARD})


@dataclass
class Outcome:
    """What a command left: its exit status and what it printed."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def failwell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], toys: known.Known
) -> Callable[..., Outcome]:
    """Runs `failwell ...` in this process; `piped` is its standard input, None a terminal."""
    monkeypatch.setattr(known, "contracts", lambda: toys)

    def call(*arguments: str, piped: bytes | None = None) -> Outcome:
        stdin = io.TextIOWrapper(io.BytesIO(piped or b""))
        stdin.isatty = lambda: piped is None
        monkeypatch.setattr(sys, "stdin", stdin)
        status = run(list(arguments))
        caught = capsys.readouterr()
        return Outcome(status, caught.out, caught.err)

    return call
