"""The benchmark of the service half runs: small counts, no bound on a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_runs import SHORT, printed, written

pytest.importorskip("uvloop", reason="the benchmark needs uvloop and httptools")
pytest.importorskip("httptools", reason="the benchmark needs uvloop and httptools")


@pytest.fixture(scope="module")
def compared() -> dict[str, Any]:
    """The result of a short run with SQLite; both sides answer as expected, or it ends with an error."""
    asked = ("--compare", "--only", "GET", "--only", "SQLite", "--json")
    result: dict[str, Any] = json.loads(printed("service.py", *SHORT, *asked))
    return result


def test_every_side_is_timed(compared: dict[str, Any]) -> None:
    gets = {
        f"GET, {side}{row}"
        for side in ("failwell", "failwell around Starlette", "plain")
        for row in ("", ", one row")
    }
    sides = ("failwell", "failwell, replay", "failwell around Starlette", "plain", "plain, threads")
    posts = {f"POST, SQLite{durable}, {side}" for durable in ("", ", durable") for side in sides}

    assert gets | posts == set(compared["times"])
    assert all(t["wall"] > 0 and t["rounds"] == 1 for t in compared["times"].values())


def test_two_sides_become_a_share_with_its_target(compared: dict[str, Any]) -> None:
    rows = {row["measure"]: row for row in compared["rows"]}

    row = rows["Endpoints behind all gates, POST and INSERT, SQLite, durable, of plain Starlette"]
    ours, theirs = (compared["times"][f"POST, SQLite, durable, {side}"] for side in ("failwell", "plain"))
    assert 100 * theirs["wall"] / ours["wall"] == pytest.approx(row["reached"])
    assert row["met"] == (row["reached"] >= 60)


@pytest.mark.parametrize("store", ["PostgreSQL", "Redis"])
def test_a_store_with_a_server_is_measured_or_said_to_be_left_out(store: str, tmp_path: Path) -> None:
    text = written(tmp_path / "page.md", "service.py", *SHORT, "--only", store)

    assert f"| POST, {store}, failwell, replay |" in text or f"Left out: POST, {store}" in text
