"""How many connections a PostgreSQL store holds at most, and whether the doctor says so beforehand."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from doctor_findings import findings
from postgres_server import fresh_database, shared_server
from service_world import KEYS

from failwell.answer import Answer
from failwell.service import stored


def database_of_a_role(limit: int) -> str:
    """The URL of a new, empty database whose owner may have so many connections."""
    url = fresh_database()
    name = url.rpartition("/")[2]
    server = shared_server()
    server.execute(f"CREATE ROLE role_{name} LOGIN CONNECTION LIMIT {limit}")
    server.execute(f"ALTER DATABASE {name} OWNER TO role_{name}")
    server.execute(f"GRANT CREATE ON SCHEMA public TO role_{name}", name)
    return url.replace("postgres@", f"role_{name}@")


def everything_at_once(url: str, connections: int, patience: float = 30.0) -> int:
    """How many connections a store has while all that it can do is under way."""
    from failwell.service.stores.postgres import PostgresStore

    store = PostgresStore(url, connections=connections, patience=patience)
    key = KEYS.new()
    counted: list[int] = []

    def count(_: Any) -> Answer:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user"
        counted.append(store.read(sql)[0][0])
        return Answer(200, {}, b"")

    async def effects() -> None:
        await store.admit(KEYS.public_part(key), lambda key: None)
        together = asyncio.Barrier(connections)

        async def one() -> None:
            await together.wait()
            await store.commit(None, lambda db: slow(db), keep=60.0)

        await asyncio.gather(*(one() for _ in range(connections)))
        await store.commit(None, count, keep=60.0)

    def slow(db: Any) -> Answer:
        db.execute("SELECT pg_sleep(0.05)")
        return Answer(200, {}, b"")

    try:
        store.add_keys([stored(key, KEYS, tenant="t1")])
        asyncio.run(effects())
    finally:
        store.close()
    return max(counted)


@pytest.mark.parametrize("connections", [1, 4])
def test_a_store_holds_three_more_than_it_was_given_and_the_doctor_counts_them(connections: int) -> None:
    # The doctor looks by itself, before the service runs.
    url = database_of_a_role(connections + 3)

    # What else is connected to the server is other tests' business.
    assert findings(url, connections=connections)["connections"].verdict != "wrong"
    assert everything_at_once(url, connections) == connections + 3


def test_where_one_is_missing_the_doctor_says_so_and_the_store_is_busy() -> None:
    from failwell.service import StoreBusyError

    url = database_of_a_role(6)

    found = findings(url, connections=4)["connections"]
    assert found.verdict == "wrong"
    assert found.found.startswith("The service wants 7, the server gives 6,")
    with pytest.raises(StoreBusyError):
        everything_at_once(url, 4, patience=0.5)
