"""Every block of Python in the README and in docs/ runs as it stands; every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The pages of the SDKs have tests of their own, with a service behind them.
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL_PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "sdks").glob("*/README.md")]


def blocks() -> list[object]:
    return [
        pytest.param(block, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.S | re.M), 1
        )
    ]


@pytest.mark.parametrize("block", blocks())
def test_a_block_of_the_documentation_runs(
    block: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    exec(compile(block, "documentation", "exec", dont_inherit=True), {"__name__": "documentation"})

    promised = re.findall(r"^\s*print\(.*\)  # prints (.+)$", block, re.M)
    printed = capsys.readouterr().out
    assert [line for line in promised if line not in printed] == []


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_link_of_the_documentation_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    local = [t for t in targets if "://" not in t]

    assert [t for t in local if not (page.parent / t).exists()] == []
