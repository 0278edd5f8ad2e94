"""Where a check of the linter or a type checker is silenced, the line says why."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT / "src", ROOT / "sandbox" / "src", *(ROOT / "sdks").glob("*/src")]

SILENCED = re.compile(r"#\s*(?:ruff: noqa|noqa|type: ignore|pyright: ignore|pragma: no cover)")
# The rules by name, then a few words, which are not the next silenced check.
RULES = r"(?:ruff: noqa|noqa): [A-Z]+\d+(?:, [A-Z]+\d+)*|(?:type|pyright): ignore\[[\w,-]+\]"
REASONED = re.compile(rf"# (?:{RULES})(?:  #| -) (?!{RULES})\w.{{5,}}$")


def test_a_silenced_check_names_its_rule_and_says_why() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in FOLDERS
        for path in sorted(folder.rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if SILENCED.search(line) and not REASONED.search(line)
    ]

    assert bare == []
