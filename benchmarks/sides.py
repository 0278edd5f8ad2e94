"""Sides of a race that are processes of their own: what they are asked, and what they took."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tables import HERE


@dataclass
class Measured:
    """What the turns of one side took: seconds by the clock and of the processor, bytes of memory."""

    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    peak: int = 0
    bytes: int = 0

    def add(self, told: dict[str, Any]) -> None:
        """Add a turn, as the side tells it."""
        self.walls.append(told["wall"])
        self.cpus.append(told["cpu"])
        self.peak, self.bytes = told["peak"], told.get("bytes", 0)

    @property
    def wall(self) -> float:
        return median(self.walls)

    @property
    def cpu(self) -> float:
        return median(self.cpus)


class Talking:
    """A script of this folder in a process of its own, which is asked and answers in lines."""

    def __init__(self, *command: str, core: int | None) -> None:
        pinned = [] if core is None else ["--cpu", str(core)]
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / command[0]), *command[1:], *pinned],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """What it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a process has ended; what it said stands above")
        return line

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """What it answers to `order`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.line())
        return answer

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()
