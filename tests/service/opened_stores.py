"""Each store on a database of its own, by what opens it; other processes can be told how, too."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postgres_server import fresh_database
from redis_server import fresh_redis
from temporary_folders import TemporaryFolder

from failwell.service import SQLiteStore

if TYPE_CHECKING:
    from failwell.service.conformance.trial import OpenStore

Clock = Callable[[], float] | None
KINDS = ("sqlite", "postgresql", "redis")
LEVELS: dict[str, tuple[str, ...]] = {
    "sqlite": ("transactional", "resumable", "at_most_once"),
    "postgresql": ("transactional", "resumable", "at_most_once"),
    "redis": ("resumable", "at_most_once"),
}


def opens_sqlite(
    path: str | Path, clock: Clock, *, kind: type[SQLiteStore] = SQLiteStore, **settings: Any
) -> SQLiteStore:
    """SQLite has no clock of its own: without one it is the machine's."""
    if clock is not None:
        settings["clock"] = clock
    return kind(path, durable=False, patience=30.0, **settings)


def opens_postgres(url: str, clock: Clock, **settings: Any) -> Any:
    """Imported here, because this module is for those who have no PostgreSQL, too."""
    from failwell.service.stores.postgres import PostgresStore

    return PostgresStore(url, clock=clock, patience=30.0, **settings)


def opens_redis(url: str, clock: Clock, **settings: Any) -> Any:
    """Imported here, because this module is for those who have no Redis, too."""
    from failwell.service.stores.redis import RedisStore

    return RedisStore(url, clock=clock, patience=30.0, **settings)


# Those whose effects and records are one: SQLite, where commits wait for the disk and where not.
TRANSACTIONAL = ("sqlite", "sqlite that does not wait", "postgresql")


def transactional(kind: str, folder: Path, *, schema: str = "") -> Any:
    """One of `TRANSACTIONAL` on a new, empty database."""
    if kind == "postgresql":
        return opens_postgres(fresh_database(), None, schema=schema)
    return SQLiteStore(folder / "s.db", schema=schema, durable=kind == "sqlite")


def fresh(kind: str) -> OpenStore:
    """What opens a store of this kind on a new, empty database; skips where its server is missing."""
    match kind:
        case "sqlite":
            folder = TemporaryFolder("failwell-conformance-")
            atexit.register(folder.close)
            return partial(opens_sqlite, folder.path / "store.db")
        case "postgresql":
            return partial(opens_postgres, fresh_database())
        case _:
            return partial(opens_redis, fresh_redis())


@cache
def shared(kind: str) -> OpenStore:
    """The same, on one database for all the tests of this process."""
    return fresh(kind)
