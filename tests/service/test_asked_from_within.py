"""A store that is asked, within one of its transactions, for something that would wait for another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opened_stores import TRANSACTIONAL, transactional
from service_world import KEYS

from failwell.answer import Answer
from failwell.service import SQLiteStore, stored

SCHEMA = "CREATE TABLE IF NOT EXISTS things (name TEXT)"
ANSWER = Answer(201, {}, b"made")


@pytest.fixture(params=TRANSACTIONAL)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = transactional(request.param, tmp_path, schema=SCHEMA)
    yield made
    made.close()


def insert(db: Any) -> Answer:
    db.execute("INSERT INTO things VALUES ('a')")
    return ANSWER


def number(store: Any) -> int:
    ((found,),) = store.read("SELECT count(*) FROM things")
    return int(found)


BLOCKING: dict[str, Callable[[Any], Any]] = {
    "grant": lambda store: store.grant("friend", 10),
    "allow": lambda store: store.allow("friend", 10, "credits"),
    "add_keys": lambda store: store.add_keys([stored(KEYS.new(), KEYS, tenant="t1")]),
    "revoke_key": lambda store: store.revoke_key("key_none"),
    "set_tenant_active": lambda store: store.set_tenant_active("t1", False),
    "write_blocking": lambda store: store.write_blocking(insert),
}


@pytest.mark.parametrize("method", BLOCKING)
def test_what_would_wait_for_its_own_end_is_refused_at_once(store: Any, method: str) -> None:
    def effect(db: Any) -> Answer:
        insert(db)
        BLOCKING[method](store)
        return ANSWER

    async def commit(work: Any) -> Any:
        return await store.commit(None, work, keep=60.0, tenant="t1")

    with pytest.raises(RuntimeError, match="asked the store itself for something that waits"):
        asyncio.run(commit(effect))
    assert number(store) == 0

    assert asyncio.run(commit(insert)) == ANSWER
    assert (number(store), asyncio.run(store.account("friend", "credits")).balance) == (1, 0)


def test_so_it_is_in_work_that_blocks_itself(store: Any) -> None:
    with pytest.raises(RuntimeError, match="asked the store itself"):
        store.write_blocking(lambda db: store.grant("friend", 10))

    assert store.grant("friend", 10).balance == 10


def test_another_thread_may_ask_meanwhile(store: Any) -> None:
    """It waits, or does not, as the database has it; and gets what it asked for."""
    begun, granted = threading.Event(), []

    def grant() -> None:
        begun.wait()
        granted.append(store.grant("friend", 10).balance)

    def effect(db: Any) -> Answer:
        begun.set()
        return insert(db)

    other = threading.Thread(target=grant)
    other.start()
    answer = asyncio.run(store.commit(None, effect, keep=60.0))
    other.join()

    assert (answer, granted, number(store)) == (ANSWER, [10], 1)


def test_what_is_read_within_a_transaction_is_what_others_see(store: Any) -> None:
    seen: list[int] = []

    def effect(db: Any) -> Answer:
        insert(db)
        seen.append(number(store))
        return ANSWER

    asyncio.run(store.commit(None, effect, keep=60.0))

    assert (seen, number(store)) == ([0], 1)


def test_a_sqlite_store_is_not_closed_by_its_own_work(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "s.db", schema=SCHEMA)

    with pytest.raises(RuntimeError, match="asked the store itself"):
        store.write_blocking(lambda db: store.close())

    assert store.write_blocking(insert) == ANSWER
    store.close()
