"""The benchmark of uploads runs: small counts, no bound on a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_runs import printed, written

FEW = ("--images", "16", "--image-kb", "20", "--file-mb", "3", "--rounds", "1")


def test_both_sides_are_measured_and_compared() -> None:
    result: dict[str, Any] = json.loads(printed("uploads.py", *FEW, "--json"))
    sides = result["sides"]
    rows = {row["measure"]: row for row in result["rows"]}

    ours, theirs = (sides[f"16 images of 20 kB: {side}"] for side in ("failwell", "httpx2"))
    assert ours["bytes"] == theirs["bytes"] == 16 * 20_000
    row = rows["16 images of 20 kB: failwell, throughput of httpx2"]
    assert row["reached"] == pytest.approx(theirs["walls"][0] / ours["walls"][0])
    assert rows["one file of 3 MB: failwell, peak memory"]["target"] == 100


def test_its_tables_are_put_between_the_markers(tmp_path: Path) -> None:
    text = written(tmp_path / "page.md", "uploads.py", *FEW)

    assert "| 16 images of 20 kB: failwell, async |" in text
    assert "| one file of 3 MB: httpx2, opened file |" in text
