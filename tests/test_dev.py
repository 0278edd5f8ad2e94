"""`dev.py` on a machine where an earlier run was interrupted."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def half_made(tmp_path: Path) -> Path:
    """An environment whose making was interrupted: it has an interpreter and nothing else."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    return venv


def test_a_half_made_environment_is_made_again(
    dev: ModuleType, half_made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    monkeypatch.setattr(dev, "make_venv", made.append)
    ran: list[list[Any]] = []
    monkeypatch.setattr(dev.subprocess, "run", _pretending(subprocess.run, ran))

    dev.environment(half_made)

    assert made == [half_made]
    assert any("install" in command for command in ran)


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own there")
def test_a_link_to_an_interpreter_that_is_gone_is_no_environment(dev: ModuleType, tmp_path: Path) -> None:
    link = tmp_path / "python"
    link.symlink_to(tmp_path / "gone")

    assert not dev.has_pip(link)


@pytest.mark.parametrize(("is_one", "cleared"), [(True, True), (False, False)])
def test_only_an_environment_is_cleared(
    is_one: bool, cleared: bool, dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--venv` may name any folder; what is in it is somebody's."""
    if is_one:
        (tmp_path / "pyvenv.cfg").touch()
    ran: list[list[Any]] = []
    monkeypatch.setattr(dev.subprocess, "run", _pretending(subprocess.run, ran))

    dev.make_venv(tmp_path)

    assert ("--clear" in ran[0]) is cleared


def _pretending(real: Any, ran: list[list[Any]]) -> Any:
    """`subprocess.run` that makes and installs nothing, and writes down what it was asked."""

    def run(command: list[Any], **settings: Any) -> subprocess.CompletedProcess[Any]:
        ran.append(command)
        if command[1:4] == ["-m", "pip", "--version"]:
            return real(command, **settings)
        return subprocess.CompletedProcess(command, 0, "", "")

    return run
