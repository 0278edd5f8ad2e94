"""Where a check of the linter or a type checker is silenced, the line says why."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT / "src", ROOT / "sandbox" / "src", *(ROOT / "sdks").glob("*/src")]
TESTS = [ROOT / "tests", ROOT / "fuzz"]

# The rules by name, then a few words, which are not the next silenced check.
RULES = r"(?:ruff: noqa|noqa): [A-Z]+\d+(?:, [A-Z]+\d+)*|(?:type|pyright): ignore\[[\w,-]+\]"
REASONED = re.compile(rf"# (?:{RULES})(?:  #| -) (?!{RULES})\w.{{5,}}$")


def lines_of(folders: list[Path], *silenced: str) -> list[str]:
    """The lines with one of `silenced` and no reason behind it."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(rf"#\s*(?:{'|'.join(silenced)})", line) and not REASONED.search(line)
    ]


def test_a_silenced_check_names_its_rule_and_says_why() -> None:
    assert (
        lines_of(FOLDERS, "ruff: noqa", "noqa", "type: ignore", "pyright: ignore", "pragma: no cover") == []
    )


def test_in_a_test_too_a_rule_of_the_linter_is_silenced_with_its_reason() -> None:
    assert lines_of(TESTS, "ruff: noqa", "noqa:") == []


def test_a_test_that_is_skipped_says_what_it_needs() -> None:
    calls = re.compile(r"importorskip\((?![^)]*reason=)")

    assert [
        str(path.relative_to(ROOT))
        for path in TESTS[0].rglob("*.py")
        if calls.search(path.read_text("utf-8"))
    ] == []
