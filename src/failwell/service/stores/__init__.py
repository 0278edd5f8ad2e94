"""Where a service keeps its keys, limits and idempotency records."""

from __future__ import annotations

from failwell.service.stores.base import FencedError, Store, StoreBusyError, TransactionalStore
from failwell.service.stores.postgres import PostgresStore
from failwell.service.stores.sqlite import SQLiteStore
from failwell.service.stores.urls import open_store

__all__ = [
    "FencedError",
    "PostgresStore",
    "SQLiteStore",
    "Store",
    "StoreBusyError",
    "TransactionalStore",
    "open_store",
]
