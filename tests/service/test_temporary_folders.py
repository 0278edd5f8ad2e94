"""What the tests' own servers leave behind when the tests are killed: nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from postgres_server import binaries

HERE = Path(__file__).parent

IN_USE = """
from temporary_folders import TemporaryFolder
folder = TemporaryFolder("failwell-test-")
(folder.path / "sub").mkdir()
(folder.path / "sub" / "file").write_text("x")
print(folder.path, flush=True)
"""
WITH_A_SERVER = """
from postgres_server import PostgresServer
print(PostgresServer().folder, flush=True)
"""


@pytest.mark.parametrize("made", [IN_USE, WITH_A_SERVER])
def test_a_process_that_is_killed_leaves_no_folder(made: str) -> None:
    if made is WITH_A_SERVER and binaries() is None:
        pytest.skip("PostgreSQL is not installed (Debian's package: postgresql)")
    with subprocess.Popen(
        [sys.executable, "-c", f"import time\n{made}\ntime.sleep(100)"],
        cwd=HERE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        was_there = folder.is_absolute() and folder.is_dir()
        process.kill()
    until = time.monotonic() + 30
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.01)

    assert was_there
    assert not folder.exists()


def test_a_folder_that_is_closed_is_gone_at_once_and_closes_again() -> None:
    from temporary_folders import TemporaryFolder

    folder = TemporaryFolder("failwell-test-")
    (folder.path / "file").write_text("x")
    folder.close()

    assert not folder.path.exists()
    folder.close()
