"""A store is opened by its URL."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from failwell import ConfigurationError
from failwell.service import PostgresStore, SQLiteStore, open_store
from failwell.service.stores.urls import has_ports


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


@pytest.mark.parametrize("port", ["notaport", "0", "65536", "5432x", "-1", "1" * 5000])
@pytest.mark.parametrize("url", ["postgresql://u:hunter2@h:{}/d", "host=h port={} password=hunter2"])
def test_a_port_of_postgresql_is_a_number(url: str, port: str) -> None:
    """Else it would be said that the database cannot be reached, and tried again for ever."""
    with pytest.raises(ConfigurationError, match=r"from 1 to 65535|no URL of a PostgreSQL") as refused:
        PostgresStore(url.format(port), patience=0.1)

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("ports", [None, "", "5432", "5432,5433", "5432,", 5432])
def test_several_hosts_have_several_ports(ports: Any) -> None:
    assert has_ports(ports)


def test_what_is_no_url_at_all_is_told_what_one_looks_like() -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///file") as refused:
        open_store("postgresql://u:hunter2@[h/d")

    assert "hunter2" not in str(refused.value)
