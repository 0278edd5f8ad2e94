"""The benchmark of streams runs: few events and cuts, no bound on a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmark_runs import printed, written


def test_a_stream_is_decoded_without_the_peers() -> None:
    few = ("--only", "decoders", "--kind", "lines", "--rounds", "1", "--json")
    result: dict[str, Any] = json.loads(printed("streams.py", *few))

    assert 15_000 == result["decoders"]["lines"]["failwell"]["events"]
    assert [] == result["rows"]


def test_a_stream_that_is_cut_is_held_to_the_uncut_one(tmp_path: Path) -> None:
    few = ("--only", "cuts", "--cuts", "20", "--reader", "httpx", "--reader", "httpx, async")
    text = written(tmp_path / "page.md", "streams.py", *few)

    for reader in ("httpx", "httpx, async"):
        assert f"| {reader}: cuts at random bytes | at least 20 cuts | 20" in text
        assert f"| {reader}: events lost, twice or out of order | at most 0 events | 0" in text
        assert f"| {reader} | 20 | 80 | 21 |" in text
