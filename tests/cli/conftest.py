"""Fixtures of the command-line tests."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from failwell import APIError, Contract, Rule
from failwell import ConflictError as StandardConflict
from failwell import RateLimitError as StandardLimit
from failwell.cli import known, run
from failwell.contract import STANDARD

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


class ToyError(APIError):
    """A call to the toy service failed."""


class ToyBusyError(ToyError, StandardConflict):
    """
    The toy is in other hands.

    ## Was it carried out?
    No.

    ## What to do
    Wait for your turn.
    """


class ToyLimitError(ToyError, StandardLimit):
    """Too many toys at once."""


TOY = Contract(
    "toy",
    base=ToyError,
    rules=[
        Rule(ToyBusyError, status=409, code="toy_taken", means="Another child has it.", retry=True),
        Rule(ToyBusyError, status=409),
        Rule(ToyLimitError, status=429),
    ],
)


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
        stdin.isatty = lambda: piped is None  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stdin", stdin)
        status = run(list(arguments))
        caught = capsys.readouterr()
        return Outcome(status, caught.out, caught.err)

    return call
