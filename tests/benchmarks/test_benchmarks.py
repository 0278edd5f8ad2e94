"""The benchmarks run: small counts, no bound on a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_runs import SHORT, printed, written


@pytest.fixture(scope="module")
def raced() -> dict[str, Any]:
    """The result of a short race of the three engines that are always there."""
    arguments = ("--no-alone", "--rounds", "2", "--seconds", "0.01", "--warm-up", "64", "--json")
    told = printed("run.py", *arguments, "--only", "httpx", "--only", "aiohttp")
    result: dict[str, Any] = json.loads(told)
    return result


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """The result of what needs no second library, with few calls."""
    result: dict[str, Any] = json.loads(printed("alone.py", "--calls", "500", "--runs", "1"))
    return result


def test_every_contender_makes_calls_that_the_server_takes(raced: dict[str, Any]) -> None:
    names = {"failwell, httpx", "httpx2.Client", "failwell async, httpx", "failwell async, aiohttp"}

    assert names | {"httpx2.AsyncClient", "aiohttp"} == set(raced["times"])
    assert all(t["wall"] > 0 and t["rounds"] == 2 for t in raced["times"].values())


def test_a_pair_of_contenders_becomes_a_row_with_its_target(raced: dict[str, Any]) -> None:
    rows = {row["measure"]: row for row in raced["rows"]}

    row = rows["failwell, httpx / bare httpx2.Client"]
    ours, theirs = raced["times"]["failwell, httpx"], raced["times"]["httpx2.Client"]
    assert ours["wall"] / theirs["wall"] == pytest.approx(row["reached"])
    assert row["met"] == (row["reached"] <= 0.9)


def test_imports_load_no_third_party_module(alone: dict[str, Any]) -> None:
    assert [] == alone["imports"]["failwell.RateLimitError"]["foreign"]
    assert [] == alone["imports"]["kneo_client.core.errors"]["foreign"]


def test_a_client_keeps_nothing_of_its_calls(alone: dict[str, Any]) -> None:
    assert alone["overhead"]["blocks_kept"] < 100


def test_an_outage_is_not_made_worse_by_retries(alone: dict[str, Any]) -> None:
    """Requests a call while every answer is 503: the budget stops retries, the breaker first tries."""
    assert alone["outage"]["off"] <= 1.10
    assert alone["outage"]["on"] <= 0.35


def test_failures_of_about_300_bytes_are_decoded(alone: dict[str, Any]) -> None:
    assert all(250 <= measured["bytes"] <= 350 for measured in alone["decoding"].values())


def test_the_tables_take_the_place_between_the_markers(tmp_path: Path) -> None:
    arguments = ("--no-alone", *SHORT, "--only", "httpx2.Client")

    assert "| httpx2.Client |" in written(tmp_path / "performance.md", "run.py", *arguments)
