"""Every block of Python in the README and on the documentation page runs as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import agoralia
import failwell_sandbox

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "sdks/agoralia/README.md", ROOT / "docs/sdks/agoralia.md"]
BLOCKS = [
    pytest.param(block, id=f"{page.parent.name}-{number}")
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.S | re.M), 1
    )
]


@pytest.fixture(scope="module")
def service() -> Iterator[Any]:
    with failwell_sandbox.running(("agoralia",)) as sandbox:
        yield sandbox.agoralia


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_the_documentation_runs(
    block: str, service: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = f"{service.url}/api/v1"
    real = requests.request
    monkeypatch.setenv("AGORALIA_API_KEY", service.keys.full)
    for client in (agoralia.Agoralia, agoralia.AsyncAgoralia):
        defaults: Any = client.__init__.__kwdefaults__
        monkeypatch.setitem(defaults, "base_url", base)
    monkeypatch.setattr(
        requests,
        "request",
        lambda method, url, **rest: real(
            method, url.replace("https://api.agoralia.app/api/v1", base), **rest
        ),
    )

    exec(compile(block, "documentation", "exec"), {"__name__": "documentation"})

    assert "API Error" not in capsys.readouterr().out


def test_the_table_of_the_page_names_every_class_the_contract_raises() -> None:
    page = PAGES[1].read_text("utf-8")

    for cls in agoralia.CONTRACT.exceptions:
        assert f"`{cls.__name__}`" in page


def test_the_pages_name_nothing_that_does_not_exist() -> None:
    for page in PAGES:
        for name in set(re.findall(r"\bAgoralia\w*Error\b", page.read_text("utf-8"))):
            assert hasattr(agoralia, name), f"{page.name}: {name}"
