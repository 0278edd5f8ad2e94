"""Who works in a transaction of the store's cannot end it, and what ends it all the same is no success."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from postgres_server import fresh_database
from service_behind import Behind
from starlette.responses import Response

import failwell
from failwell.answer import Answer
from failwell.service import Debit, Operation, SQLiteStore, exchange_of
from failwell.service.idempotency import Claim

SCHEMA = "CREATE TABLE IF NOT EXISTS things (name TEXT UNIQUE)"
ANSWER = Answer(201, {}, b"made")
REFUSED = "the store commits this transaction"

Work = Callable[[Any], Any]


SQLITE = ("sqlite", "sqlite that does not wait")


def opened(kind: str, folder: Path) -> Any:
    if kind in SQLITE:
        return SQLiteStore(folder / "s.db", schema=SCHEMA, durable=kind == "sqlite")
    url = fresh_database()
    from failwell.service.stores.postgres import PostgresStore

    return PostgresStore(url, schema=SCHEMA, patience=30.0)


@pytest.fixture(params=[*SQLITE, "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = opened(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=SQLITE)
def sqlite_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SQLiteStore]:
    made = opened(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def postgres_store(tmp_path: Path) -> Iterator[Any]:
    made = opened("postgresql", tmp_path)
    yield made
    made.close()


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[SQLiteStore]:
    """What is asked for in one turn of its loop is one transaction."""
    store = SQLiteStore(tmp_path / "s.db", schema=SCHEMA, durable=False)
    yield store
    store.close()


def names(store: Any) -> list[str]:
    return sorted(name for (name,) in store.read("SELECT name FROM things"))


def insert(name: str) -> Work:
    def work(db: Any) -> str:
        db.execute(f"INSERT INTO things VALUES ('{name}')")
        return name

    return work


def a_claim() -> Claim:
    return Claim(os.urandom(32), b"f" * 32, os.urandom(16), "req_1")


def effect_of(work: Work) -> Callable[[Any], Answer]:
    def effect(db: Any) -> Answer:
        work(db)
        return ANSWER

    return effect


def in_a_block(db: Any) -> None:
    with db:
        insert("a")(db)


def in_a_block_and_fail(db: Any) -> None:
    in_a_block(db)
    raise failwell.ConflictError("no")


def after_inserting(then: Work) -> Work:
    def work(db: Any) -> None:
        insert("a")(db)
        then(db)

    return work


ENDINGS = {
    "a block": in_a_block,
    "a block, then an error": in_a_block_and_fail,
    "commit": after_inserting(lambda db: db.commit()),
    "rollback": after_inserting(lambda db: db.rollback()),
    "close": after_inserting(lambda db: db.close()),
    "COMMIT": after_inserting(lambda db: db.execute("COMMIT")),
    "end": after_inserting(lambda db: db.execute(" end")),
    "ROLLBACK": after_inserting(lambda db: db.execute("ROLLBACK")),
    "BEGIN": after_inserting(lambda db: db.execute("BEGIN")),
    "a cursor": after_inserting(lambda db: db.cursor().execute("/* all is well */ COMMIT")),
}
ONLY_SQLITE = {
    "a script": after_inserting(lambda db: db.executescript("SELECT 1")),
    "a script of a cursor": after_inserting(lambda db: db.cursor().executescript("SELECT 1")),
    "a level": after_inserting(lambda db: setattr(db, "isolation_level", None)),
}
ONLY_POSTGRES = {
    "a second statement": after_inserting(lambda db: db.execute("SELECT 'a; b'; commit")),
    "bytes": after_inserting(lambda db: db.execute(b"ABORT")),
}


def assert_refused(store: Any, work: Work, claim: Claim | None) -> None:
    for _ in range(2):
        # The statements of the store itself are the same each time, and known by the second.
        with pytest.raises(Exception, match=REFUSED) as caught:
            asyncio.run(store.commit(claim, effect_of(work), keep=60.0))
        assert type(caught.value).__name__ == "ProgrammingError"
        assert names(store) == []

    assert asyncio.run(store.commit(claim, effect_of(insert("b")), keep=60.0)) == ANSWER
    assert names(store) == ["b"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("claimed", [True, False])
def test_an_effect_that_would_end_its_transaction_leaves_nothing_behind(
    store: Any, ending: str, claimed: bool
) -> None:
    assert_refused(store, ENDINGS[ending], a_claim() if claimed else None)


@pytest.mark.parametrize("ending", ONLY_SQLITE)
def test_nor_does_what_python_commits_by_itself(sqlite_store: SQLiteStore, ending: str) -> None:
    assert_refused(sqlite_store, ONLY_SQLITE[ending], a_claim())


@pytest.mark.parametrize("ending", ONLY_POSTGRES)
def test_nor_does_what_stands_among_other_statements(postgres_store: Any, ending: str) -> None:
    assert_refused(postgres_store, ONLY_POSTGRES[ending], a_claim())


def test_an_effect_that_goes_on_as_if_nothing_had_been_said_has_committed_nothing(store: Any) -> None:
    def stubborn(db: Any) -> None:
        insert("a")(db)
        for end in (db.commit, db.rollback, db.close, lambda: db.execute("COMMIT")):
            with suppress(Exception):
                end()
        raise failwell.ConflictError("no")

    with pytest.raises(failwell.ConflictError):
        asyncio.run(store.commit(a_claim(), effect_of(stubborn), keep=60.0))

    assert names(store) == []


def test_what_cannot_be_paid_for_is_not_done(store: Any) -> None:
    with pytest.raises(Exception, match=REFUSED):
        asyncio.run(store.commit(None, effect_of(in_a_block), keep=60.0, tenant="t1", debits=[Debit(100)]))

    assert names(store) == []


def test_savepoints_are_the_works_own(store: Any) -> None:
    def undo_a_part(db: Any) -> None:
        insert("a")(db)
        db.execute("SAVEPOINT job")
        insert("b")(db)
        db.execute("ROLLBACK TO SAVEPOINT job")
        db.execute("RELEASE job")

    async def together() -> list[Answer]:
        commits = (store.commit(None, effect_of(work), keep=60.0) for work in (undo_a_part, insert("c")))
        return await asyncio.gather(*commits)

    assert asyncio.run(together()) == [ANSWER, ANSWER]
    assert names(store) == ["a", "c"]


def test_one_that_leaves_its_savepoint_open_is_undone_with_all_that_it_did(quick: SQLiteStore) -> None:
    def leave_it_open(db: Any) -> None:
        insert("a")(db)
        db.execute("SAVEPOINT job")
        raise LookupError("no")

    async def together() -> list[Any]:
        works = (quick.write(leave_it_open), quick.write(insert("b")))
        return await asyncio.gather(*works, return_exceptions=True)

    failed, done = asyncio.run(together())

    assert (type(failed), done, names(quick)) == (LookupError, "b", ["b"])


def conflict(db: Any) -> None:
    insert("a")(db)
    with suppress(sqlite3.IntegrityError):
        db.execute("INSERT OR ROLLBACK INTO things VALUES ('a')")


def test_a_rollback_by_a_conflict_is_noticed_and_costs_no_other_work_anything(quick: SQLiteStore) -> None:
    async def together() -> list[Any]:
        works = (quick.write(insert("b")), quick.write(conflict), quick.write(insert("c")))
        return await asyncio.gather(*works, return_exceptions=True)

    one, failed, other = asyncio.run(together())

    assert (one, other, names(quick)) == ("b", "c", ["b", "c"])
    with pytest.raises(sqlite3.ProgrammingError, match="ended the transaction"):
        raise failed


def test_the_same_alone_is_no_success(sqlite_store: SQLiteStore) -> None:
    with pytest.raises(sqlite3.ProgrammingError, match="ended the transaction"):
        asyncio.run(sqlite_store.commit(a_claim(), effect_of(conflict), keep=60.0))

    assert names(sqlite_store) == []


def test_what_was_not_refused_is_a_fault_and_not_done_again(postgres_store: Any) -> None:
    """psycopg composes statements, into which nobody looks beforehand."""
    from psycopg import ProgrammingError, errors, sql

    tries: list[int] = []

    def collide_afterwards(db: Any) -> None:
        tries.append(1)
        insert(f"a{len(tries)}")(db)
        db.execute(sql.SQL("COMMIT"))
        raise errors.SerializationFailure("as another one would have it")

    with pytest.raises(ProgrammingError, match="ended the transaction"):
        asyncio.run(postgres_store.commit(a_claim(), effect_of(collide_afterwards), keep=60.0))

    assert names(postgres_store) == ["a1"]


@pytest.mark.parametrize(
    ("statement", "ends"),
    [
        ("ROLLBACK TO SAVEPOINT a", False),
        ("rollback work to a", False),
        ("ROLLBACK AND CHAIN", True),
        ("PREPARE TRANSACTION 'a'", True),
        ("-- now\nCOMMIT", True),
        ("SELECT 1; rollback to a; rollback", True),
        ("INSERT INTO commits VALUES ('; commit')", False),
        ("SELECT E'\\'; commit'", False),
        ('SELECT 1 AS "; commit"', False),
        ("DO $a$ BEGIN; COMMIT; END $a$", False),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC; SELECT 1; END", False),
        ("COMMIT" + 5000 * " ", True),
        (5000 * " " + "; COMMIT", False),
    ],
)
def test_a_statement_is_told_from_what_only_looks_like_one(statement: str, ends: bool) -> None:
    pytest.importorskip("greenlet", reason="greenlet is not installed")
    from failwell.service.stores.postgres_connections import ends_transaction

    assert (ends_transaction(statement), ends_transaction(statement.encode())) == (ends, ends)


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_the_client_is_told_of_a_fault_each_time(tmp_path: Path, headers: dict[str, str]) -> None:
    async def place(request: Any) -> Any:
        answer = await exchange_of(request).commit(effect_of(in_a_block_and_fail))
        return Response(answer.body, answer.status, answer.headers)

    table = [
        Operation("POST", "/things", place, idempotency="transactional", raises=(failwell.ConflictError,))
    ]
    with Behind(tmp_path, operations=table, schema=SCHEMA) as here:
        statuses = [here.ask("POST", "/things", headers=headers).status for _ in range(3)]

        assert (statuses, names(here.store)) == ([500] * 3, [])
