"""What can be wrong with a PostgreSQL server as a store."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from failwell.service.doctor.findings import (
    CannotLookError,
    advice,
    clock_skew,
    well,
    wrong,
)
from failwell.service.doctor.tables import (
    INDEXES,
    LIMITS_INDEXES,
    LIMITS_TABLES,
    TABLES,
    claims,
    tables,
)
from failwell.service.stores.postgres import LEAST_POSTGRES, MORE_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from failwell.service.doctor.findings import Finding

PATIENCE = 5  # seconds; libpq takes whole ones

_SETTINGS = """
SELECT name, setting FROM pg_settings WHERE name IN (
    'fsync', 'full_page_writes', 'synchronous_commit', 'synchronous_standby_names', 'autovacuum',
    'default_transaction_read_only', 'default_transaction_isolation', 'max_connections',
    'superuser_reserved_connections', 'server_encoding')
"""

_RELATIONS = """
SELECT c.relname, c.relkind, c.relpersistence, coalesce(i.indisvalid, TRUE),
       CASE WHEN c.relkind = 'r'
            THEN has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
             AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
            ELSE TRUE END
FROM pg_class AS c LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
WHERE c.relname LIKE 'failwell!_%%' ESCAPE '!' AND c.relkind IN ('r', 'i') AND pg_table_is_visible(c.oid)
"""

_OTHERS = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database())
"""


def examine_postgres(url: str, *, workers: int, connections: int) -> tuple[str, list[Finding]]:
    """
    The database at `url` without its password, and the findings about it and its server. Nothing
    is written.

    Raises:
        CannotLookError: nobody answers, we are not let in, or psycopg is not installed.
    """
    try:
        import psycopg
    except ImportError:
        raise CannotLookError(
            "PostgreSQL needs psycopg, which is not installed. Run: pip install 'failwell[postgres]'"
        ) from None
    name = _name_of(url)
    try:
        with (
            psycopg.connect(url, connect_timeout=PATIENCE, autocommit=True) as db,
            psycopg.connect(url, connect_timeout=PATIENCE, autocommit=True) as second,
        ):
            return name, _looked_at(db, second, workers * (connections + MORE_CONNECTIONS))
    except psycopg.Error as exc:
        raise CannotLookError(f"PostgreSQL cannot be examined: {_first_line(exc)}") from None


def _name_of(url: str) -> str:
    """Hosts, ports and database; several hosts are possible here, other than in most URLs."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except (ProgrammingError, UnicodeError):
        parts = {"port": "?"}
    host, port = parts.get("host", "localhost"), parts.get("port", "5432")
    # A password that is not percent-encoded ends up in the host or the port, and libpq repeats them.
    if "@" in host or not re.fullmatch(r"\d*(,\d*)*", port):
        raise CannotLookError("The URL cannot be read; a password must be percent-encoded in it")
    pairs = zip(
        host.split(","), port.split(",") if "," in port else [port] * (host.count(",") + 1), strict=False
    )
    return f"postgresql://{','.join(f'{h}:{p or 5432}' for h, p in pairs)}/{parts.get('dbname', '')}"


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0].rstrip(".")


def _looked_at(db: Any, second: Any, wanted: int) -> list[Finding]:
    settings = dict(db.execute(_SETTINGS).fetchall())
    ((standby,),) = db.execute("SELECT pg_is_in_recovery()").fetchall()
    before = time.time()
    ((theirs,),) = db.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchall()
    after = time.time()
    (used, *limits) = db.execute(_OTHERS).fetchone()
    relations = db.execute(_RELATIONS).fetchall()
    present = {name for name, *_ in relations}
    findings = [
        version(db.info.server_version),
        *lasting(settings),
        writable(standby, settings),
        replicas(db.execute("SELECT sync_state FROM pg_stat_replication").fetchall(), settings),
        clock_skew(theirs - (before + after) / 2, after - before),
        room(settings, used - 2, wanted, limits),
        pooler(db, second),
        isolation(settings),
        encoding(settings),
        vacuum(settings),
        rights(db, relations),
        *tables(present, TABLES | INDEXES | LIMITS_TABLES | LIMITS_INDEXES),
        *persistence(relations),
    ]
    # Without the right to read the table, the finding on rights says it all.
    if any(name == "failwell_idempotency" and granted for name, *_, granted in relations):
        findings += claims(db, theirs, r"%(\1)s")
    return findings


def version(number: int) -> Finding:
    """Whether the server is new enough; `number` is libpq's, such as 150014."""
    major = number // 10000
    if number < LEAST_POSTGRES:
        do = f"Upgrade to {LEAST_POSTGRES // 10000} or newer."
        return wrong("version", f"The server is PostgreSQL {major}.", do)
    return well("version", f"The server is PostgreSQL {major}.{number % 10000}.")


def lasting(settings: Mapping[str, str]) -> list[Finding]:
    """Whether a commit outlives a power cut."""
    findings = []
    for name in ("fsync", "full_page_writes"):
        if settings[name] == "off":
            do = f"Set {name} = on in postgresql.conf: a power cut can damage or lose everything."
            findings.append(wrong(name, f"{name} is off.", do))
        else:
            findings.append(well(name, f"{name} is on."))
    mode = settings["synchronous_commit"]
    if mode == "off":
        # The store does not rely on it: what must last says so in its transaction.
        findings.append(
            advice(
                "synchronous_commit",
                "synchronous_commit is off: what the store commits is safe, for it asks for more; what "
                "is written past it may be gone after a crash.",
                "Set it to on for this database or role, if anything else writes here.",
            )
        )
    elif mode in ("local", "remote_write") and settings["synchronous_standby_names"]:
        findings.append(
            advice(
                "synchronous_commit",
                f"synchronous_commit is {mode}: a commit does not wait until the standby has it on disk.",
                "Set it to on, or a failover may lose the last records.",
            )
        )
    else:
        findings.append(well("synchronous_commit", f"synchronous_commit is {mode}."))
    return findings


def writable(standby: bool, settings: Mapping[str, str]) -> Finding:
    """Whether the server takes writes."""
    if standby:
        do = "Name the primary in the URL; with several hosts, add target_session_attrs=read-write."
        return wrong("writable", "The server is a standby, or recovering: it takes no writes.", do)
    if settings["default_transaction_read_only"] == "on":
        do = "Set default_transaction_read_only = off for this role and database."
        return wrong("writable", "Transactions are read-only by default.", do)
    return well("writable", "The server takes writes.")


def replicas(states: list[Any], settings: Mapping[str, str]) -> Finding:
    """Whether a failover can lose records; `states` is a row for each standby that is connected."""
    if states and not settings["synchronous_standby_names"]:
        return advice(
            "replicas",
            f"{len(states)} standby or more, none of them synchronous: after a failover, the last "
            "records may be missing, and what they stood for is done again.",
            "Name one in synchronous_standby_names, or live with it.",
        )
    return well("replicas", "No standby lags behind a commit." if states else "No standby is connected.")


def room(settings: Mapping[str, str], used: int, wanted: int, limits: list[Any]) -> Finding:
    """
    Whether the server has enough connections.

    Args:
        settings: The server's.
        used: Connections of others.
        wanted: What all processes of the service hold together.
        limits: Limits of the role and of the database; below 0 or None for none.
    """
    most = int(settings["max_connections"]) - int(settings["superuser_reserved_connections"])
    most = min([most, *(limit for limit in limits if limit is not None and limit >= 0)])
    found = f"The service wants {wanted}, the server gives {most}, and {used} are in use."
    if wanted > most:
        do = "Raise max_connections (or the role's limit), or give each process fewer connections."
        return wrong("connections", found, do)
    if wanted + used > most:
        do = "If those in use are not the service's own, raise max_connections."
        return advice("connections", found, do)
    return well("connections", found)


def pooler(db: Any, second: Any) -> Finding:
    """Whether something stands between us and the server that hands connections from one to another."""
    ((pid,),) = db.execute("SELECT pg_backend_pid()").fetchall()
    with second.transaction():
        ((other,),) = second.execute("SELECT pg_backend_pid()").fetchall()
    return pooled(db.info.backend_pid, pid, other)


def pooled(announced: int, pid: int, other: int) -> Finding:
    """
    What stands between.

    Args:
        announced: The process that was named when we connected.
        pid: The process that answered.
        other: The process that answered on a second connection, while the first was open.
    """
    if pid == other:
        return wrong(
            "pooler",
            "A pooler in transaction mode stands between: two connections share one server process.",
            "Connect to the server itself, or to a pooler in session mode: prepared statements and "
            "settings of a session do not survive transaction mode.",
        )
    if pid != announced:
        return advice(
            "pooler",
            "A pooler stands between.",
            "See to it that it works in session mode: prepared statements and settings of a session do "
            "not survive transaction mode.",
        )
    return well("pooler", "The server is reached without a pooler.")


def isolation(settings: Mapping[str, str]) -> Finding:
    """Whether the statements run under the isolation that they are written for."""
    level = settings["default_transaction_isolation"]
    if level == "read committed":
        return well("isolation", "Transactions are read committed.")
    return advice(
        "isolation",
        f"Transactions are {level} by default: requests that meet at one row are undone and tried "
        "again, and after a few tries refused with a 503.",
        "Set default_transaction_isolation = 'read committed' for this role; an effect that needs more "
        "takes a lock.",
    )


def encoding(settings: Mapping[str, str]) -> Finding:
    """Whether every text can be kept."""
    name = settings["server_encoding"]
    if name == "UTF8":
        return well("encoding", "Every text can be kept.")
    do = "Make the database anew with ENCODING 'UTF8' TEMPLATE template0."
    return advice("encoding", f"The encoding is {name}: a text it has no letters for is a 500.", do)


def vacuum(settings: Mapping[str, str]) -> Finding:
    """Whether dead rows are cleared away."""
    if settings["autovacuum"] == "off":
        do = "Set autovacuum = on: each request updates a row, and its old versions pile up."
        return advice("autovacuum", "autovacuum is off.", do)
    return well("autovacuum", "autovacuum is on.")


def rights(db: Any, relations: list[Any]) -> Finding:
    """Whether the tables may be made, or used if they are there."""
    kept = sorted(name for name, *_, granted in relations if not granted)
    if kept:
        do = "GRANT SELECT, INSERT, UPDATE, DELETE on them to the service's role."
        return wrong("rights", f"This role may not read and write: {', '.join(kept)}.", do)
    ((schema,),) = db.execute("SELECT current_schema()").fetchall()
    if schema is None:
        do = "Set search_path for this role to a schema that is there."
        return wrong("rights", "No schema of the search_path is there.", do)
    ((may,),) = db.execute("SELECT has_schema_privilege(%s, 'CREATE')", (schema,)).fetchall()
    if may or {name for name, *_ in relations} >= TABLES | LIMITS_TABLES:
        return well("rights", f"This role may do what is needed in the schema {schema}.")
    do = f"GRANT CREATE ON SCHEMA {_quoted(schema)} to the service's role, or make the tables as the owner."
    return wrong("rights", f"This role may not create tables in the schema {schema}.", do)


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


def persistence(relations: list[Any]) -> list[Finding]:
    """Whether the tables outlive a crash of the server, and their indexes are whole."""
    findings = []
    # Limits may be lost: an allowance is then whole again.
    unlogged = sorted(n for n, kind, how, *_ in relations if kind == "r" and how == "u" and n in TABLES)
    if unlogged:
        findings.append(
            wrong(
                "unlogged",
                f"Unlogged: {', '.join(unlogged)}. After a crash of the server they are empty.",
                "; ".join(f"ALTER TABLE {name} SET LOGGED" for name in unlogged) + ".",
            )
        )
    invalid = sorted(name for name, _, _, valid, _ in relations if not valid)
    if invalid:
        do = "; ".join(f"REINDEX INDEX {name}" for name in invalid) + "."
        findings.append(wrong("indexes", f"Not valid: {', '.join(invalid)}.", do))
    return findings or [well("unlogged", "Records and ledger outlive a crash of the server.")]
