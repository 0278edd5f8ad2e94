"""The benchmarks of batches and of uploads in parts run: small counts, no bound on a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmark_runs import printed, written

FEW = ("--files", "100", "--file-kb", "1", "--at-once", "4", "--rounds", "1")
SIDES = ("--only", "failwell", "--only", "httpx2")
SMALL = ("--file-mb", "3", "--part-mb", "0.125", "--at-once", "4", "--kills", "1")


def test_a_batch_and_a_script_are_compared_and_only_what_failed_is_sent_again() -> None:
    result: dict[str, Any] = json.loads(printed("batches.py", *FEW, *SIDES, "--json"))
    rows = {row["measure"]: row for row in result["rows"]}

    assert set(result["sides"]) == {"failwell", "httpx2"}
    assert rows["failwell, throughput of httpx2"]["target"] == 1
    assert rows["sent again, of those that failed"]["reached"] == 2
    assert rows["done after the second run"]["reached"] == 100


def test_no_part_is_sent_twice_without_cause_even_by_clients_that_are_killed(tmp_path: Path) -> None:
    text = written(tmp_path / "page.md", "parts.py", *SMALL, "--only", "blocking", "--only", "kills")

    assert "| blocking: files that differ at the service | at most 0 files | 0 files | yes |" in text
    assert "| blocking: parts sent twice without cause | at most 0 parts | 0 parts (" in text
    assert "| 1 kills: files that differ at the service | at most 0 files | 0 files | yes |" in text
    assert "| 1 kills: parts sent that the service had | at most 0 parts | 0 parts (" in text
