"""Every block of Python in the README and on the documentation page runs as it stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pictograph_pictures import BLUE, RED, png
from sdk_pages import blocks_of, pages_of, run, untrue

import failwell_sandbox
from failwell import Connections
from pictograph import Client, exceptions

PAGES = pages_of("pictograph", "pictograph")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "photos").mkdir()
    for number in range(4):
        parts = [((4 + 3 * number, 8, 24, 24), RED), ((60, 30 - number, 30, 16), BLUE)]
        (folder / f"photos/{number}.png").write_bytes(png(96, 64, parts))
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Any]:
    with failwell_sandbox.running(("pictograph",)) as sandbox:
        found = sandbox.pictograph
        with Client(found.keys.full, base_url=found.url, connections=Connections(trust_env=False)) as client:
            street = client.datasets.create("street")
            for number in range(4):
                image = client.images.upload(street.id, folder / f"photos/{number}.png")
                red = {"x": 4 + 3 * number, "y": 8, "w": 24, "h": 24}
                blue = {"x": 60, "y": 30 - number, "w": 30, "h": 16}
                found_there = [("red", red), ("blue", blue)]
                boxes = [{"name": name, "type": "bbox", "bbox": box} for name, box in found_there]
                client.annotations.save(image.id, boxes)
        yield found


@pytest.mark.parametrize("block", blocks_of(PAGES))
def test_a_block_of_the_documentation_runs(
    block: str,
    service: Any,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PICTOGRAPH_API_KEY", service.keys.full)
    monkeypatch.setenv("PICTOGRAPH_BASE_URL", service.url)

    run(block)

    printed = capsys.readouterr().out
    assert printed
    assert "failed" not in printed
    assert untrue(block, printed, "client.") == []


def test_the_page_has_a_row_for_each_exception() -> None:
    page = PAGES[1].read_text("utf-8")

    for name in set(exceptions.__all__) - {"CONTRACT"}:
        assert f"`{name}`" in page, name
