"""Every block of Python in the README and on the documentation page runs as it stands."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sdk_pages import blocks_of, pages_of, run, untrue

import failwell_sandbox
import kneo_client
from kneo_client.core import errors

PAGES = pages_of("kneo_client", "kneo")


@pytest.fixture(scope="module")
def service() -> Iterator[Any]:
    with failwell_sandbox.running(("kneo",)) as sandbox:
        yield sandbox.kneo


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, transport = logging.getLogger(), logging.getLogger("kneo_client.transport")
    handlers, level = root.handlers[:], transport.level
    yield
    root.handlers[:] = handlers
    transport.setLevel(level)


@pytest.mark.parametrize("block", blocks_of(PAGES))
def test_a_block_of_the_documentation_runs(
    block: str, service: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("KNEO_API_KEY", service.keys.full)
    monkeypatch.setenv("KNEO_BASE_URL", service.url)

    run(block)

    printed = capsys.readouterr().out
    assert untrue(block, printed, " or ") == []


def test_the_page_s_profiles_are_read(config_home: Path) -> None:
    (toml,) = re.findall(r"^```toml\n(.*?)^```", PAGES[1].read_text("utf-8"), re.S | re.M)
    (config_home / "kneo").mkdir()
    (config_home / "kneo" / "config.toml").write_text(toml)

    found = [kneo_client.KneoClient("k", profile=name).profile for name in (None, "staging")]

    assert [p.base_url for p in found] == ["https://kneo.example.com", "https://staging.kneo.example.com"]


def test_the_table_of_the_page_names_every_class_the_contract_raises() -> None:
    page = PAGES[1].read_text("utf-8")

    for cls in kneo_client.CONTRACT.exceptions:
        assert f"`{cls.__name__}`" in page


def test_the_pages_name_nothing_that_does_not_exist() -> None:
    for page in PAGES:
        for name in set(re.findall(r"\bKneo[A-Z]\w+\b", page.read_text("utf-8"))):
            assert hasattr(errors, name) or hasattr(kneo_client, name), f"{page.name}: {name}"


def test_the_page_names_every_method_of_the_platform() -> None:
    page = PAGES[1].read_text("utf-8")
    from kneo_client import platform

    resources = {"runs": platform.Runs, "specs": platform.Specs, "environments": platform.Environments}
    for name, cls in {**resources, "health": platform.HealthChecks}.items():
        for method in vars(cls):
            assert method.startswith("_") or f"`{name}.{method}(" in page
