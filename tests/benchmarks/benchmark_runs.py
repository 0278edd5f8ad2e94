"""How the tests run a benchmark, and a page for its tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# No figure is worth anything after so little.
SHORT = ("--rounds", "1", "--seconds", "0.01", "--warm-up", "64")


def printed(script: str, *arguments: str) -> str:
    """What a benchmark prints."""
    told = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return told.stdout


def written(page: Path, script: str, *arguments: str) -> str:
    """What stands between the markers of a page that had other text before, between and after them."""
    page.write_text("Before.\n\n<!-- measured: begin -->\nold\n<!-- measured: end -->\n\nAfter.\n")
    printed(script, *arguments, "--write", str(page))
    text = page.read_text()
    assert text.startswith("Before.\n\n<!-- measured: begin -->\n")
    assert text.endswith("<!-- measured: end -->\n\nAfter.\n")
    assert "old" not in text
    return text
