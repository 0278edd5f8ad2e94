"""The benchmark of uploads runs: small counts, no bound on a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_runs import printed, written

FEW = ("--images", "16", "--image-kb", "20", "--file-mb", "3", "--rounds", "1")


def test_both_sides_are_measured_and_compared() -> None:
    """All bytes of every side arrive, at the sandbox's Pictograph too, or the run ends with an error."""
    asked = ("--only", "20 kB:", "--only", "sandbox:", "--json")
    result: dict[str, Any] = json.loads(printed("uploads.py", *FEW, *asked))
    sides = result["sides"]
    rows = {row["measure"]: row for row in result["rows"]}

    for service in ("", ", Pictograph's sandbox"):
        own, other = ("Client, upload_folder", "httpx2 script") if service else ("failwell", "httpx2")
        ours, theirs = (sides[f"16 images of 20 kB{service}: {side}"] for side in (own, other))
        assert ours["bytes"] == theirs["bytes"] == 16 * 20_000
        row = rows[f"16 images of 20 kB{service}: {own}, throughput of {other}"]
        assert row["reached"] == pytest.approx(theirs["walls"][0] / ours["walls"][0])
        assert rows[f"16 images of 20 kB{service}: {own}, peak memory"]["target"] == 150


def test_its_tables_are_put_between_the_markers(tmp_path: Path) -> None:
    text = written(tmp_path / "page.md", "uploads.py", *FEW, "--only", "3 MB:")

    assert "| one file of 3 MB: failwell, async |" in text
    assert "| one file of 3 MB: httpx2, opened file |" in text
