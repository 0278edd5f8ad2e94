"""
The ledger: one row for each effect, written in the effect's own transaction, never changed.

It answers what neither the client nor the wire can: how often something was really done.
"""

from __future__ import annotations

from typing import Any

from failwell.service import Exchange
from failwell_sandbox.database import Connection, Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS effects (
    seq {serial} PRIMARY KEY,
    kind TEXT NOT NULL,
    resource TEXT NOT NULL,
    name TEXT,
    tenant TEXT NOT NULL,
    idempotency_key TEXT,
    request_id TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS effects_by_key ON effects (idempotency_key);
CREATE INDEX IF NOT EXISTS effects_by_name ON effects (name);
"""


def note_effect(
    db: Connection,
    exchange: Exchange,
    kind: str,
    resource: object,
    *,
    name: str | None = None,
) -> None:
    """
    Write down that a request had an effect.

    Args:
        db: The connection of the effect's transaction.
        exchange: The request.
        kind: What was done, such as `run.created`.
        resource: The id of what it was done to.
        name: What the client called it.
    """
    # A name that no column of PostgreSQL can hold is known by one that looks like it.
    known_as = None if name is None else name.replace("\0", "\ufffd")
    db.execute(
        "INSERT INTO effects (kind, resource, name, tenant, idempotency_key, request_id, at) "
        "VALUES (?, ?, ?, ?, ?, ?, {now})",
        kind, str(resource), known_as, exchange.tenant, exchange.idempotency_key, exchange.request_id,
    )  # fmt: skip


def effects(database: Database, **facts: str | None) -> list[dict[str, Any]]:
    """
    The effects with these facts, in the order they happened.

    Args:
        database: The service's.
        facts: Any of `kind`, `resource`, `name`, `tenant`, `idempotency_key`, `request_id`;
            None for any value.
    """
    wanted = {column: value for column, value in facts.items() if value is not None}
    unknown = wanted.keys() - _COLUMNS
    if unknown:
        raise ValueError(f"the ledger has no {', '.join(sorted(unknown))}")
    where = " AND ".join(f"{column} = ?" for column in wanted) or "TRUE"
    rows = database.read_blocking(
        f"SELECT seq, kind, resource, name, tenant, idempotency_key, request_id, at "  # noqa: S608  # values are bound
        f"FROM effects WHERE {where} ORDER BY seq",
        *wanted.values(),
    )
    return [dict(zip(_ROW, row, strict=True)) for row in rows]


_ROW = ("seq", "kind", "resource", "name", "tenant", "idempotency_key", "request_id", "at")
_COLUMNS = frozenset(_ROW) - {"seq", "at"}
