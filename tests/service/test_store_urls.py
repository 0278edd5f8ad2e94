"""A store is opened by its URL."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from failwell import ConfigurationError
from failwell.service import SQLiteStore, open_store


def test_a_file_is_a_sqlite_store(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/with%20blank.db", patience=0.1)
    store.close()

    assert isinstance(store, SQLiteStore)
    assert (tmp_path / "with blank.db").exists()


def test_a_relative_file_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_store("sqlite:///here.db").close()

    assert (tmp_path / "here.db").exists()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://host/file.db"])
def test_a_sqlite_store_needs_a_file(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sqlite:///file\.db"):
        open_store(url)


@pytest.mark.parametrize("url", ["mysql://root:hunter2@db/main", "hunter2", ""])
def test_another_store_is_refused_and_the_password_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://") as refused:
        open_store(url)

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "package"), [("postgresql://localhost/x", "psycopg"), ("redis://localhost/0", "redis")]
)
def test_a_package_that_is_missing_is_named(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match="pip install"):
        open_store(url)
