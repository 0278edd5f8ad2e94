"""docs/engines.md names tests; each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

from test_engine_table import ROWS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "engines.md").read_text("utf-8")


def test_every_test_that_the_engine_table_names_exists() -> None:
    sources = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))

    assert len(named) > 20
    assert [name for name in named if f"def {name}(" not in sources] == []


def test_every_fault_that_the_engine_table_names_is_a_row() -> None:
    names = [row.name for row in ROWS]
    for name in ("headers that drip past the deadline", "body too large, as declared"):
        assert f"`{name}`" in PAGE
        assert name in names
    assert f"{len(ROWS)} faults" in PAGE
