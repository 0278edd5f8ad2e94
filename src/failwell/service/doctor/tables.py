"""What the doctor looks at in SQLite and PostgreSQL alike: the tables, and the claims in them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from failwell.service.doctor.findings import advice, well, wrong
from failwell.service.stores.sql import LIMITS_SCHEMA, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from failwell.service.doctor.findings import Finding


def _names(kind: str, schema: str) -> frozenset[str]:
    return frozenset(re.findall(rf"CREATE (?:{{\w+}} )?{kind} IF NOT EXISTS (\w+)", schema))


TABLES = _names("TABLE", SCHEMA)
INDEXES = _names("INDEX", SCHEMA)
LIMITS_TABLES = _names("TABLE", LIMITS_SCHEMA)
LIMITS_INDEXES = _names("INDEX", LIMITS_SCHEMA)

SHOWN = 5  # request ids in a finding


def tables(present: Iterable[str], expected: Iterable[str]) -> list[Finding]:
    """
    Whether all tables and indexes are there.

    Args:
        present: Names of the tables and indexes that are there.
        expected: Names of those that the store works with.
    """
    there = frozenset(present)
    wanted = frozenset(expected)
    if not there & wanted:
        return [advice("tables", "The tables are not there yet.", "Start the service: it makes them.")]
    missing = sorted(wanted - there)
    if missing:
        return [
            wrong(
                "tables",
                f"Missing: {', '.join(missing)}.",
                "Start the service once, with the right to create tables: it makes what is missing.",
            )
        ]
    return [well("tables", "All tables and indexes are there.")]


_LAPSED = """
SELECT take_over, count(*), min(lease_until) FROM failwell_idempotency
WHERE status IS NULL AND lease_until <= :now AND expires_at > :now GROUP BY take_over
"""

_UNSETTLED = """
SELECT request_id FROM failwell_idempotency
WHERE status IS NULL AND NOT take_over AND lease_until <= :now AND expires_at > :now
ORDER BY lease_until LIMIT :most
"""


def claims(db: Any, now: float, value: str = r":\1") -> list[Finding]:
    """
    The claims that nobody holds any more.

    Args:
        db: A connection to a database that has the tables.
        now: Unix seconds, by the store's clock.
        value: How the driver spells `:name`.
    """

    def ask(statement: str, **facts: Any) -> Any:
        return db.execute(re.sub(r":([a-z]\w*)", value, statement), facts).fetchall()

    lapsed = {bool(take_over): (number, since) for take_over, number, since in ask(_LAPSED, now=now)}
    ids = [request_id for (request_id,) in ask(_UNSETTLED, now=now, most=SHOWN)]
    return [*broken_off(*lapsed.get(True, (0, 0.0)), now), *unsettled(*lapsed.get(False, (0, 0.0)), ids)]


def broken_off(number: int, since: float, now: float) -> list[Finding]:
    """What to say of claims that a retry may take over: `number`, the oldest lapsed at `since`."""
    if not number:
        return [well("broken_off", "No request broke off.")]
    return [
        advice(
            "broken_off",
            f"{number:,} broke off, the oldest {now - since:,.0f} s ago, and nobody has retried.",
            "Nothing: a retry with the same key takes over. If they grow in number, look for "
            "workers that die.",
        )
    ]


def unsettled(number: int, since: float, request_ids: list[str]) -> list[Finding]:
    """What to say of claims of level `at_most_once` that only a person can settle."""
    if not number:
        return [well("unsettled", "No at_most_once request is unsettled.")]
    at = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    named = ", ".join(request_ids)
    if number > len(request_ids):
        named += f" and {number - len(request_ids):,} more"
    return [
        wrong(
            "unsettled",
            f"{number:,} at_most_once broke off, first at {at}, outcome unknown: {named}.",
            "Find out what each did, and say it: for each claim of `await store.unsettled()`, "
            "`await store.settle(claim, answer, keep=86400)`, with None for an answer if nothing "
            "was done. Until then a retry gets a 409; once the record ends, it is done again.",
        )
    ]
