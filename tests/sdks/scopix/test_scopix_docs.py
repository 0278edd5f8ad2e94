"""Every block of Python in the README and on the documentation page runs as it stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sdk_pages import blocks_of, pages_of, run, untrue

import failwell_sandbox
import scopix
from failwell import Connections
from scopix import ScopixError, ScopixSync

PAGES = pages_of("scopix", "scopix")

# Two points beside each other.
PICTURE = bytes.fromhex(
    "47494638396102000100800000ff000000000021f90400000000002c00000000020001000002028401003b"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "photos").mkdir()
    for number in range(4):
        (folder / f"photos/{number}.png").write_bytes(PICTURE + bytes([number]))
    (folder / "film.mp4").write_bytes(b"no film" * 1000)
    return folder


@pytest.fixture(scope="module")
def service() -> Iterator[Any]:
    with failwell_sandbox.running(("scopix",)) as sandbox:
        found = sandbox["scopix"]
        direct = Connections(trust_env=False)
        with ScopixSync(found.keys.full, base_url=found.url, connections=direct) as client:
            text = b"The owl sleeps by day. It hunts mice at night."
            client.files.wait_for_descriptions(client.files.upload_batch(("owl.txt", text)))
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
    monkeypatch.setenv("SCOPIX_API_KEY", service.keys.full)
    monkeypatch.setenv("SCOPIX_BASE_URL", service.url)

    run(block)

    printed = capsys.readouterr().out
    assert printed
    assert untrue(block, printed, "it goes on") == []


def test_the_page_has_a_row_for_each_exception() -> None:
    page = PAGES[1].read_text("utf-8")

    for name in scopix.__all__:
        thing = getattr(scopix, name)
        if isinstance(thing, type) and issubclass(thing, ScopixError):
            assert f"`{name}`" in page, name
