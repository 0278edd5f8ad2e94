"""Work that SQLite carries out together: under one commit, and each piece on its own feet."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from service_world import KEYS, Clock

from failwell.service import Limit, SQLiteStore, StoreBusyError, stored
from failwell.service.keys import StoredKey
from failwell.service.stores import sqlite

SCHEMA = """
CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS parts (
    thing TEXT REFERENCES things (name) DEFERRABLE INITIALLY DEFERRED
);
"""


@pytest.fixture(params=[True, False], ids=["waits for the disk", "does not wait"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SQLiteStore]:
    with closing(
        SQLiteStore(tmp_path / "s.db", schema=SCHEMA, durable=request.param, patience=0.05, clock=Clock())
    ) as store:
        yield store


def insert(name: str) -> Callable[[sqlite3.Connection], str]:
    def work(db: sqlite3.Connection) -> str:
        db.execute("INSERT INTO things VALUES (?)", (name,))
        return name

    return work


def together(store: SQLiteStore, *works: Callable[[sqlite3.Connection], Any]) -> list[Any]:
    """The outcomes of works that wait for the writer at the same time."""

    async def all_at_once() -> list[Any]:
        # Where the thread does it, something has to keep it busy until they all are waiting.
        gate, busy = threading.Event(), threading.Event()

        def hold(db: sqlite3.Connection) -> None:
            busy.set()
            gate.wait(10)

        holding = None
        if store._durable:
            holding = asyncio.create_task(store.write(hold))
            while not busy.is_set():
                await asyncio.sleep(0.001)
        waiting = [asyncio.ensure_future(store.write(work)) for work in works]
        await asyncio.sleep(0)
        gate.set()
        if holding is not None:
            await holding
        return await asyncio.gather(*waiting, return_exceptions=True)

    return asyncio.run(all_at_once())


def names(store: SQLiteStore) -> list[str]:
    return sorted(name for (name,) in store.read("SELECT name FROM things"))


def test_what_waits_together_is_committed_together(store: SQLiteStore, tmp_path: Path) -> None:
    """Nobody is told before, and no other connection sees it before."""
    seen: list[int] = []

    def looking(name: str) -> Callable[[sqlite3.Connection], str]:
        def work(db: sqlite3.Connection) -> str:
            insert(name)(db)
            seen.extend(other.execute("SELECT count(*) FROM things").fetchone())
            return name

        return work

    with closing(sqlite3.connect(tmp_path / "s.db", check_same_thread=False)) as other:
        outcomes = together(store, *(looking(str(n)) for n in range(5)))

    assert outcomes == ["0", "1", "2", "3", "4"]
    assert seen == [0, 0, 0, 0, 0]
    assert names(store) == outcomes


def test_one_that_fails_undoes_itself_alone(store: SQLiteStore) -> None:
    def fails(db: sqlite3.Connection) -> None:
        insert("half")(db)
        raise ZeroDivisionError

    outcomes = together(store, insert("a"), fails, insert("a"), insert("b"))

    assert [outcomes[0], outcomes[3]] == ["a", "b"]
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert isinstance(outcomes[2], sqlite3.IntegrityError)
    assert names(store) == ["a", "b"]


def test_a_rollback_of_everything_fails_everything(store: SQLiteStore) -> None:
    """As SQLite does on its own when the disk is full: the transaction is gone, and who was in it is told."""

    def disk_is_full(db: sqlite3.Connection) -> None:
        with suppress(sqlite3.IntegrityError):
            db.execute("INSERT OR ROLLBACK INTO things VALUES ('a')")
        raise sqlite3.OperationalError("database or disk is full")

    def fails(db: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    outcomes = together(store, insert("a"), fails, disk_is_full, insert("b"))
    after = together(store, insert("c"))

    assert isinstance(outcomes[1], ZeroDivisionError)
    assert [str(outcomes[n]) for n in (0, 2, 3)] == ["database or disk is full"] * 3
    assert after == ["c"]
    assert names(store) == ["c"]


def test_a_disk_that_is_really_full_loses_nothing_that_was_promised(store: SQLiteStore) -> None:
    def fill(db: sqlite3.Connection) -> None:
        ((pages,),) = db.execute("PRAGMA page_count").fetchall()
        db.execute(f"PRAGMA max_page_count = {pages}").fetchall()
        try:
            db.execute("INSERT INTO things VALUES (zeroblob(1000000))")
        finally:
            if not db.in_transaction:  # else it would count as changed in the transaction
                db.execute("PRAGMA max_page_count = 1000000").fetchall()

    outcomes = together(store, insert("a"), fill, insert("b"))
    told = {o for o in outcomes if isinstance(o, str)}

    assert isinstance(outcomes[1], StoreBusyError)
    assert "full" in str(outcomes[1])
    assert set(names(store)) == told


def test_a_commit_that_one_of_them_spoils_is_made_without_it(store: SQLiteStore) -> None:
    """A constraint that is looked at only by the commit: the others are carried out again, each alone."""

    def orphan(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO parts VALUES ('nobody')")

    def fails(db: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    outcomes = together(store, insert("a"), orphan, fails, insert("b"))

    assert [outcomes[0], outcomes[3]] == ["a", "b"]
    assert isinstance(outcomes[1], sqlite3.IntegrityError)
    assert isinstance(outcomes[2], ZeroDivisionError)
    assert names(store) == ["a", "b"]
    assert store.read("SELECT count(*) FROM parts") == [(0,)]


def test_who_is_committed_alone_is_told_so_whatever_becomes_of_the_next(
    store: SQLiteStore, tmp_path: Path
) -> None:
    """Another process takes the file between two of the commits."""
    tries: list[str] = []

    with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None, check_same_thread=False)) as other:

        def takes_the_file(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO parts VALUES ('nobody')")

        def first(db: sqlite3.Connection) -> str:
            tries.append("first")
            if len(tries) > 1:
                db.set_trace_callback(then_lock)
            return insert("a")(db)

        def then_lock(statement: str) -> None:
            if statement.startswith("BEGIN") and not other.in_transaction:
                other.execute("BEGIN IMMEDIATE")

        outcomes = together(store, first, takes_the_file, insert("b"))
        other.execute("ROLLBACK")

    assert outcomes[0] == "a"
    assert {StoreBusyError} == {type(o) for o in outcomes[1:]}
    assert names(store) == ["a"]


def test_a_commit_that_is_spoiled_alone_is_an_error(store: SQLiteStore) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        store.write_blocking(lambda db: db.execute("INSERT INTO parts VALUES ('nobody')"))

    assert together(store, insert("a")) == ["a"]


def test_more_than_fit_are_carried_out_one_batch_after_the_other(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MOST_AT_ONCE", 4)
    outcomes = together(store, *(insert(f"{n:02}") for n in range(11)))

    assert outcomes == names(store) == [f"{n:02}" for n in range(11)]


def test_a_file_that_another_process_has_is_waited_for(store: SQLiteStore, tmp_path: Path) -> None:
    async def both() -> list[Any]:
        writes = store.write(insert("a")), store.write(insert("b"))
        return list(await asyncio.gather(*writes, return_exceptions=True))

    with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = asyncio.run(both())
        other.execute("ROLLBACK")

    assert {StoreBusyError} == {type(o) for o in refused}
    assert together(store, insert("a")) == ["a"]


def test_a_store_that_is_closed_takes_no_work(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "s.db", schema=SCHEMA, durable=False)

    async def close_while_locked() -> list[Any]:
        waiting = [asyncio.ensure_future(store.write(insert(name))) for name in "ab"]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        store.close()
        late = asyncio.ensure_future(store.write(insert("c")))
        return await asyncio.gather(*waiting, late, return_exceptions=True)

    outcomes = asyncio.run(close_while_locked())

    assert outcomes[:2] == ["a", "b"]
    assert isinstance(outcomes[2], StoreBusyError)


def test_work_that_was_asked_for_just_before_the_close_is_finished(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "s.db", schema=SCHEMA, durable=False)

    async def close_at_once() -> Any:
        waiting = asyncio.ensure_future(store.write(insert("a")))
        await asyncio.sleep(0)
        store.close()
        return await waiting

    assert asyncio.run(close_at_once()) == "a"


def test_work_that_is_handed_over_to_a_closed_store_is_refused(store: SQLiteStore, tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    future: asyncio.Future[None] = loop.create_future()
    store._writer._closed = True
    store._writer._hand_over([sqlite._Job(insert("a"), True, future, loop)])
    store._writer._closed = False
    loop.close()

    assert isinstance(future.exception(), StoreBusyError)


def test_two_event_loops_may_use_one_store(store: SQLiteStore) -> None:
    store.add_keys([stored(KEYS.new(), KEYS, tenant="t")])
    outcomes: list[Any] = []
    meet = threading.Barrier(2)

    def use(number: int) -> None:
        async def some() -> None:
            meet.wait(10)
            for n in range(20):
                outcomes.append(await store.write(insert(f"{number}-{n}")))
                await store.admit("nobody", lambda _: ("s", [Limit(1000, 60.0)]))
            meet.wait(10)

        asyncio.run(some())

    threads = [threading.Thread(target=use, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == names(store)
    assert len(outcomes) == 40


# --- requests that are let in together ---


def admit(store: SQLiteStore, *askers: tuple[str, Any]) -> list[Any]:
    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(store.admit(*asker) for asker in askers), return_exceptions=True)

    return asyncio.run(all_at_once())


def test_each_that_is_let_in_with_others_gets_its_own_answer(store: SQLiteStore) -> None:
    keys = [stored(KEYS.new(), KEYS, tenant=f"t{n}") for n in range(3)]
    store.add_keys(keys)

    def counting(key: StoredKey | None) -> Any:
        if key is None:
            return "stranger", [Limit(1, 60.0)]
        if key is keys[2] or key.tenant == "t2":
            raise ZeroDivisionError
        return None if key.tenant == "t1" else (key.public, [Limit(5, 60.0)])

    publics = [keys[0].public, keys[0].public, keys[1].public, keys[2].public, "nobody", "nobody"]
    found = admit(store, *((public, counting) for public in publics))

    assert [f[0] for f in found if isinstance(f, tuple)] == [keys[0], keys[0], keys[1], None, None]
    assert [found[0][1].remaining, found[1][1].remaining] == [4, 3]
    assert found[2][1] is None
    assert isinstance(found[3], ZeroDivisionError)
    assert [found[4][1].allowed, found[5][1].allowed] == [True, False]


@pytest.mark.parametrize("number", [1, 3])
def test_limits_that_another_process_has_are_said_to_be_busy(
    store: SQLiteStore, tmp_path: Path, number: int
) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db-limits", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        busy = admit(store, *[("nobody", lambda _: ("s", [Limit(9, 60.0)]))] * number)
        other.execute("ROLLBACK")
    found = admit(store, ("nobody", lambda _: ("s", [Limit(9, 60.0)])))

    assert {StoreBusyError} == {type(b) for b in busy}
    assert found[0][1].remaining == 8, "who was told that the store is busy was not counted"


def test_a_limit_that_cannot_be_counted_leaves_the_others_uncounted(store: SQLiteStore) -> None:
    """One transaction: its failure is everybody's, and nobody is charged for it."""
    good = "good", [Limit(9, 60.0)]
    bad = "bad", [Limit(9, 60.0)]
    usual, store._take = store._take, None

    def take(db: Any, subject: str, limits: Any, many: int) -> Any:
        if subject == "bad":
            raise sqlite3.OperationalError("disk I/O error")
        return usual(db, subject, limits, many)

    store._take = take
    failed = admit(store, ("nobody", lambda _: good), ("nobody", lambda _: bad))
    store._take = usual
    found = admit(store, ("nobody", lambda _: good))

    assert ["disk I/O error"] * 2 == [str(error) for error in failed]
    assert found[0][1].remaining == 8


def test_keys_that_cannot_be_read_are_an_error_of_all_who_ask(store: SQLiteStore) -> None:
    def broken(publics: Any) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    store._keys_now = broken
    failed = admit(store, *[("nobody", lambda _: None)] * 2)

    assert ["disk I/O error"] * 2 == [str(error) for error in failed]


def test_a_request_that_went_away_is_told_nothing(store: SQLiteStore) -> None:
    async def go_away(how: Any) -> None:
        asked = [asyncio.ensure_future(store.admit("nobody", how)) for _ in range(2)]
        await asyncio.sleep(0)
        asked[0].cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    def fails(_: Any) -> Any:
        raise ZeroDivisionError

    for how in (fails, lambda _: None):
        asyncio.run(go_away(how))


def test_an_sqlite_that_is_too_old_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(RuntimeError, match=r"3\.35\.0 or newer"):
        SQLiteStore(tmp_path / "s.db")
