"""The blocks of Python on the pages of an SDK, which run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def pages_of(sdk: str, page: str) -> list[Path]:
    """The README in the folder `sdk`, and the page in docs/sdks."""
    return [ROOT / f"sdks/{sdk}/README.md", ROOT / f"docs/sdks/{page}.md"]


def blocks_of(pages: list[Path]) -> list[Any]:
    """Their blocks, as parameters of a test."""
    return [
        pytest.param(block, id=f"{page.parent.name}-{number}")
        for page in pages
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.S | re.M), 1
        )
    ]


def run(block: str) -> None:
    """Run a block as a program."""
    exec(compile(block, "documentation", "exec"), {"__name__": "documentation"})


def untrue(block: str, printed: str, *varies: str) -> list[str]:
    """
    What a block says that it prints, and did not print.

    Args:
        block: It says so in a comment behind the call of `print`.
        printed: What it did print.
        varies: Words of a comment that is true in other words, too.
    """
    told = re.findall(r"print\(.*?\)  # (.+)$", block, re.M)
    return [line for line in told if line not in printed and not any(word in line for word in varies)]
