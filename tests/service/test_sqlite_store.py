"""The SQLite store: its transactions, its thread, and its end."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from service_world import SCHEMA

from failwell import ConfigurationError
from failwell.service import SQLiteStore, StoreBusyError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "s.db", schema=SCHEMA, patience=0.05)
    yield store
    store.close()


def insert(db: sqlite3.Connection) -> int:
    return db.execute("INSERT INTO things (name) VALUES ('a')").rowcount


def count(store: SQLiteStore) -> int:
    ((number,),) = store.read("SELECT count(*) FROM things")
    return int(number)


def test_what_a_transaction_raises_rolls_it_back(store: SQLiteStore) -> None:
    def fail(db: sqlite3.Connection) -> None:
        insert(db)
        raise LookupError("no")

    with pytest.raises(LookupError):
        asyncio.run(store.write(fail))
    with pytest.raises(LookupError):
        store.write_blocking(fail)

    assert count(store) == 0
    assert asyncio.run(store.write(insert)) == 1
    assert count(store) == 1


def test_a_transaction_that_raises_stop_iteration_does_not_hang(store: SQLiteStore) -> None:
    def stop(db: sqlite3.Connection) -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(store.write(stop))


def test_readers_see_only_what_is_committed(store: SQLiteStore) -> None:
    inside: list[int] = []

    def insert_and_look(db: sqlite3.Connection) -> None:
        insert(db)
        inside.append(count(store))

    store.write_blocking(insert_and_look)

    assert (inside, count(store)) == ([0], 1)


def test_reading_cannot_write(store: SQLiteStore) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        store.read("DELETE FROM things")


def test_an_error_of_ones_own_is_not_called_busy(store: SQLiteStore) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        store.write_blocking(lambda db: db.execute("DELETE FROM missing"))


def test_a_lock_of_another_process_is_called_busy(store: SQLiteStore) -> None:
    db = sqlite3.connect(store.path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError):
        asyncio.run(store.write(insert))
    db.close()

    assert count(store) == 0
    assert asyncio.run(store.write(insert)) == 1


def test_transactions_never_overlap(store: SQLiteStore) -> None:
    """
    A counter that is read, then written, by many tasks at once loses nothing.
    """

    def add_one(db: sqlite3.Connection) -> None:
        ((number,),) = db.execute("SELECT count(*) FROM things").fetchall()
        db.execute("INSERT INTO things (id, name) VALUES (?, 'a')", (number + 1,))

    async def many() -> None:
        await asyncio.gather(*(store.write(add_one) for _ in range(100)))

    asyncio.run(many())

    assert count(store) == 100


def test_a_caller_that_goes_away_does_not_undo_its_transaction(store: SQLiteStore) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(db: sqlite3.Connection) -> None:
        begun.set()
        go_on.wait(20)
        insert(db)

    async def leave() -> None:
        task = asyncio.create_task(store.write(slow))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    go_on.set()  # its loop is closed by now

    assert store.write_blocking(lambda db: db.execute("SELECT count(*) FROM things").fetchone()[0]) == 1


def test_closing_finishes_what_was_begun_and_refuses_the_rest(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    store = SQLiteStore(tmp_path / "s.db", schema=SCHEMA)

    async def begin_and_close() -> None:
        tasks = [asyncio.create_task(store.write(insert)) for _ in range(10)]
        await asyncio.sleep(0)
        await store.aclose()
        await asyncio.gather(*tasks)

    asyncio.run(begin_and_close())
    store.close()
    with pytest.raises(StoreBusyError):
        store.write_blocking(insert)
    db = sqlite3.connect(tmp_path / "s.db")
    number = db.execute("SELECT count(*) FROM things").fetchone()
    db.close()

    assert number == (10,)
    assert before >= set(threading.enumerate())


def test_a_file_that_is_no_database_is_an_error_and_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(b"this is no database, and long enough to be read as one" * 40)

    with pytest.raises(ConfigurationError, match=r"s\.db cannot be used: .* not a database"):
        SQLiteStore(path)


@pytest.mark.parametrize("path", ["there/is/none.db", ".", "/proc/x/y.db"])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigurationError, match="Its folder has to be there, and be writable") as refused:
        SQLiteStore(tmp_path / path)

    assert str(tmp_path / path) in str(refused.value)


def test_a_file_that_another_process_has_locked_may_be_opened_later(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE things (name TEXT)")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            SQLiteStore(tmp_path / "s.db", patience=0.01)
    SQLiteStore(tmp_path / "s.db").close()


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1)])
def test_a_durable_store_waits_for_the_disk(tmp_path: Path, durable: bool, synchronous: int) -> None:
    store = SQLiteStore(tmp_path / "s.db", durable=durable)
    set_to = store._writer._lasting.execute("PRAGMA synchronous").fetchone()[0]
    mode = store._writer._lasting.execute("PRAGMA journal_mode").fetchone()[0]
    store.close()

    assert (synchronous, "wal") == (set_to, mode)


def test_threads_may_write_at_once_whatever_their_work_returns(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A cursor that left the writer's thread reset the statement the next transaction was using."""
    usual = sys.getswitchinterval()
    request.addfinalizer(lambda: sys.setswitchinterval(usual))
    sys.setswitchinterval(1e-6)
    sql = "INSERT OR REPLACE INTO failwell_tenants VALUES (?, ?)"
    troubles: list[BaseException] = []
    returned: set[object] = set()

    def write(thread: int) -> None:
        rows = [(f"{thread}-{row}", True) for row in range(20)]
        try:
            for _ in range(300):
                returned.add(many.write_blocking(lambda db: db.executemany(sql, rows)))
        except Exception as exc:
            troubles.append(exc)

    with closing(SQLiteStore(tmp_path / "many.db", durable=False)) as many:
        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert troubles == []
    assert returned == {None}
