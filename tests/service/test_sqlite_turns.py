"""What the SQLite store does together at the end of a turn of the event loop."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from service_world import KEYS, SCHEMA

from failwell.service import Limit, SQLiteStore, StoreBusyError, stored

LIMITS = (Limit(5, 60.0),)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    """A store that does not wait for the disk."""
    store = SQLiteStore(tmp_path / "s.db", schema=SCHEMA, patience=0.05, durable=False)
    yield store
    store.close()


def insert(db: sqlite3.Connection) -> str:
    db.execute("INSERT INTO things (name) VALUES ('a')")
    return threading.current_thread().name


def count(store: SQLiteStore) -> int:
    ((number,),) = store.read("SELECT count(*) FROM things")
    return int(number)


def new_key(store: SQLiteStore, **facts: Any) -> str:
    key = KEYS.new()
    store.add_keys([stored(key, KEYS, tenant="t1", **facts)])
    return KEYS.public_part(key)


def test_writes_that_wait_for_nothing_are_done_on_the_loops_thread(store: SQLiteStore) -> None:
    async def many() -> list[str]:
        return await asyncio.gather(*(store.write(insert) for _ in range(100)))

    names = asyncio.run(many())

    assert ({threading.current_thread().name}, 100) == (set(names), count(store))


def test_one_that_fails_takes_none_of_its_turn_with_it(store: SQLiteStore) -> None:
    def fail(db: sqlite3.Connection) -> str:
        insert(db)
        raise LookupError("no")

    async def many() -> list[Any]:
        works = (insert, fail, insert)
        return await asyncio.gather(*(store.write(work) for work in works), return_exceptions=True)

    first, second, third = asyncio.run(many())

    assert (str, LookupError, str) == (type(first), type(second), type(third))
    assert count(store) == 2


def test_a_lock_of_another_process_is_waited_for_on_the_writers_thread(store: SQLiteStore) -> None:
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def write_while_locked() -> str:
        with pytest.raises(StoreBusyError):
            await store.write(insert)
        task = asyncio.create_task(store.write(insert))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        other.execute("COMMIT")
        return await task

    name = asyncio.run(write_while_locked())
    other.close()

    assert ("failwell-sqlite-writer", 1) == (name, count(store))


def test_a_second_loop_gets_its_writes_done_by_the_thread(store: SQLiteStore) -> None:
    public = new_key(store)

    async def both() -> tuple[str, Any]:
        key, _ = await store.admit(public, lambda key: ("s", LIMITS))
        return await store.write(insert), key

    async def first() -> list[tuple[str, Any]]:
        return [await both(), await asyncio.to_thread(asyncio.run, both())]

    (_, key), (name, other_key) = asyncio.run(first())

    assert (name, count(store)) == ("failwell-sqlite-writer", 2)
    assert key is not None
    assert key == other_key


def test_closing_in_the_middle_of_a_turn_finishes_its_writes(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "s.db", schema=SCHEMA, durable=False)

    async def begin_and_close() -> list[str]:
        tasks = [asyncio.create_task(store.write(insert)) for _ in range(3)]
        asyncio.get_running_loop().call_soon(store.close)
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(begin_and_close())) == 3
    with pytest.raises(StoreBusyError, match="closed"):
        asyncio.run(store.write(insert))
    with closing(sqlite3.connect(store.path)) as db:
        assert db.execute("SELECT count(*) FROM things").fetchone() == (3,)


def test_requests_of_one_turn_are_counted_one_by_one(store: SQLiteStore) -> None:
    public = new_key(store)

    async def many() -> list[Any]:
        return await asyncio.gather(*(store.admit(public, lambda key: ("s", LIMITS)) for _ in range(7)))

    decisions = [decision for _, decision in asyncio.run(many())]

    assert [True] * 5 + [False] * 2 == [d.allowed for d in decisions]
    assert [4, 3, 2, 1, 0, 0, 0] == [d.remaining for d in decisions]


def test_a_key_is_revoked_at_once_by_whoever_has_the_file(tmp_path: Path, store: SQLiteStore) -> None:
    public = new_key(store)

    async def states() -> list[str]:
        seen: list[str] = []
        with closing(SQLiteStore(tmp_path / "s.db")) as other:
            for change in (lambda: None, lambda: other.revoke_key(public)):
                change()
                key, _ = await store.admit(public, lambda key: None)
                assert key is not None
                seen.append(key.state)
        return seen

    assert ["active", "revoked"] == asyncio.run(states())


def test_a_counting_that_fails_is_the_callers_own(store: SQLiteStore) -> None:
    public = new_key(store)

    def fail(key: object) -> None:
        raise LookupError("no")

    async def both() -> list[Any]:
        asked = (store.admit(public, fail), store.admit(public, lambda key: ("s", LIMITS)))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    failed, (key, decision) = asyncio.run(both())

    assert isinstance(failed, LookupError)
    assert key is not None
    assert decision.allowed


def test_a_locked_file_of_limits_is_busy_for_all_of_a_turn(tmp_path: Path, store: SQLiteStore) -> None:
    public = new_key(store)
    other = sqlite3.connect(tmp_path / "s.db-limits", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def many() -> list[Any]:
        asked = (store.admit(public, lambda key: ("s", LIMITS)) for _ in range(3))
        return await asyncio.gather(*asked, return_exceptions=True)

    refused = asyncio.run(many())
    other.close()
    let_in = asyncio.run(many())

    assert [StoreBusyError] * 3 == [type(error) for error in refused]
    assert [4, 3, 2] == [decision.remaining for _, decision in let_in]


def test_a_closed_store_lets_nobody_in(store: SQLiteStore) -> None:
    store.close()

    async def admitted() -> None:
        await store.admit("key_00000000", lambda key: None)

    with pytest.raises(sqlite3.ProgrammingError):
        asyncio.run(admitted())


def test_no_more_keys_are_remembered_than_that(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failwell.service.stores.sqlite.MOST_KEYS", 2)
    publics = [new_key(store) for _ in range(5)]

    async def each() -> None:
        for public in publics:
            await store.admit(public, lambda key: None)

    asyncio.run(each())

    assert len(store._keys) <= 3
