"""Every block of Python in the README and on the documentation page runs as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from sdk_pages import blocks_of, pages_of, run

import agoralia
import failwell_sandbox

PAGES = pages_of("agoralia", "agoralia")


@pytest.fixture(scope="module")
def service() -> Iterator[Any]:
    with failwell_sandbox.running(("agoralia",)) as sandbox:
        yield sandbox.agoralia


@pytest.mark.parametrize("block", blocks_of(PAGES))
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

    run(block)

    assert "API Error" not in capsys.readouterr().out


def test_the_table_of_the_page_names_every_class_the_contract_raises() -> None:
    page = PAGES[1].read_text("utf-8")

    for cls in agoralia.CONTRACT.exceptions:
        assert f"`{cls.__name__}`" in page


def test_the_pages_name_nothing_that_does_not_exist() -> None:
    for page in PAGES:
        for name in set(re.findall(r"\bAgoralia\w*Error\b", page.read_text("utf-8"))):
            assert hasattr(agoralia, name), f"{page.name}: {name}"
