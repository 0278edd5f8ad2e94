"""Which claims outlive a crash of the database: those that nobody may take over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from postgres_server import postgres_server

from failwell.service import SQLiteStore
from failwell.service.idempotency import Claim, InFlight
from failwell.service.stores.postgres import PostgresStore

FIRST = Claim(b"s" * 32, b"f" * 32, b"1" * 16, "req_first")
SECOND = Claim(b"s" * 32, b"f" * 32, b"2" * 16, "req_second")


def test_a_claim_that_may_not_be_taken_over_outlives_a_crash_of_postgres() -> None:
    """Were it lost, the work that it was taken for would be begun a second time."""
    # A server that writes what nobody waits for as late as it can.
    with postgres_server(wal_writer_delay="10s") as server:
        store = PostgresStore(server.fresh_database())
        try:
            asyncio.run(store.claim(FIRST, lease=30, keep=60, take_over=False))
            server.stop("QUIT")
            server.start()

            assert isinstance(asyncio.run(store.claim(SECOND, lease=30, keep=60, take_over=False)), InFlight)
        finally:
            store.close()


@pytest.mark.parametrize("take_over", [True, False])
def test_sqlite_waits_for_the_disk_with_a_claim_that_may_not_be_taken_over(
    take_over: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(tmp_path / "s.db")
    waited: list[bool] = []
    run = store._writer.run

    async def seen(work: Any, *, lasting: bool = True) -> Any:
        waited.append(lasting)
        return await run(work, lasting=lasting)

    monkeypatch.setattr(store._writer, "run", seen)
    try:
        asyncio.run(store.claim(FIRST, lease=30, keep=60, take_over=take_over))
    finally:
        store.close()

    assert waited == [not take_over]
