"""What the doctor says of the second file of a SQLite store, which has the limits."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from doctor_findings import findings

from failwell.service import Limit, SQLiteStore, StoreBusyError
from failwell.service.doctor import Finding, examine
from failwell.service.doctor import sqlite as sqlite_doctor


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that was closed."""
    SQLiteStore(tmp_path / "s.db").close()
    return tmp_path / "s.db"


def limits(path: Path) -> Finding:
    return findings(f"sqlite:///{path}")["limits"]


def test_one_that_can_be_used_is_well(path: Path) -> None:
    assert limits(path) == Finding("limits", "well", "s.db-limits, which has the limits, can be used.")


def test_one_that_is_not_there_is_made_by_the_service(path: Path) -> None:
    beside = path.with_name("s.db-limits")
    beside.unlink()

    assert limits(path).verdict == "well"
    assert not beside.exists()


def test_one_that_is_no_database_is_wrong_as_the_store_cannot_open(path: Path) -> None:
    path.with_name("s.db-limits").write_bytes(b"no database at all" * 500)

    with pytest.raises(sqlite3.DatabaseError):
        SQLiteStore(path)
    found = limits(path)
    assert (found.verdict, "no SQLite database" in found.found) == ("wrong", True)
    assert "everybody's allowance is whole again" in found.do
    assert not examine(f"sqlite:///{path}").ok


def test_a_store_that_cannot_open_it_keeps_nothing_open(path: Path) -> None:
    path.with_name("s.db-limits").write_bytes(b"no database at all" * 500)

    with pytest.raises(sqlite3.DatabaseError) as caught:
        SQLiteStore(path)
    assert caught.value  # what was opened is still reached from its traceback
    assert open_on(path) == []


def open_on(path: Path) -> list[sqlite3.Connection]:
    """The connections to a file that are open."""
    found = []
    for each in gc.get_objects():
        if isinstance(each, sqlite3.Connection):
            with suppress(sqlite3.Error):
                found += [each for _, _, file in each.execute("PRAGMA database_list") if file == str(path)]
    return found


def test_what_it_says_to_do_helps(path: Path) -> None:
    beside = path.with_name("s.db-limits")
    beside.write_bytes(b"no database at all" * 500)
    beside.rename(path.with_name("away"))

    store = SQLiteStore(path)
    assert asyncio.run(store.take("t1", [Limit(1, 60.0)])).allowed
    store.close()
    assert limits(path).verdict == "well"


def test_one_that_is_kept_locked_is_wrong_as_requests_cannot_be_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_doctor, "PATIENCE", 0.05)
    store = SQLiteStore(path)
    with closing(sqlite3.connect(f"{path}-limits", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusyError):
            asyncio.run(store.take("t1", [Limit(1, 60.0)]))
        found = limits(path)
        other.execute("ROLLBACK")
    store.close()

    assert (found.verdict, "kept the file locked" in found.found) == ("wrong", True)
    assert "each request that is counted" in found.do


def test_a_directory_in_its_place_is_wrong(path: Path) -> None:
    path.with_name("s.db-limits").unlink()
    path.with_name("s.db-limits").mkdir()

    assert limits(path).verdict == "wrong"


def test_one_without_its_table_is_well(path: Path) -> None:
    with closing(sqlite3.connect(f"{path}-limits")) as db:
        db.execute("DROP TABLE failwell_limits")
    assert limits(path).verdict == "well", "the service makes it"
