"""
Where one service keeps what it has: its gates' state in a store, its own tables in a database.

With SQLite and PostgreSQL the two are one. With Redis the database is a SQLite file in the
folder of the run, which all of its processes share.

Two services, and two runs without a folder of their own, never meet in one PostgreSQL or Redis:
each service has a schema there, or a prefix, and a run that keeps nothing takes its own away.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from failwell.errors import ConfigurationError
from failwell.service import SQLiteStore, StoreBusyError
from failwell.service.stores.urls import open_store
from failwell_sandbox.database import Database, rendered

if TYPE_CHECKING:
    from failwell.service import Store

# A request that waits for another process's lock gives up after this long, with a 503.
PATIENCE = 0.2

# The same where the other process is a worker of ours, or a server that others use, too.
PATIENCE_WITH_OTHERS = 2.0

_POSTGRES = ("postgresql", "postgres")
_REDIS = ("redis", "rediss", "unix")


@dataclass(frozen=True, slots=True, repr=False)  # the URL may hold a password
class Storage:
    """
    Attributes:
        service: Whose.
        url: The store's; empty for a SQLite file in the folder.
        folder: For files.
        run: What tells this run's state from another one's in the same PostgreSQL or Redis;
            empty if it is to be found again.
        lasting: Whether another run goes on with it; then a commit has to outlive a power cut.
        shared: Whether several processes use it.
    """

    service: str
    url: str
    folder: str
    run: str
    lasting: bool
    shared: bool

    @property
    def kind(self) -> str:
        """One of "sqlite", "postgres", "redis"."""
        return kind_of(self.url)

    def open(self, schema: str) -> tuple[Store, Database]:
        """
        The store and the database, with the tables of `schema` made.

        Raises:
            ConfigurationError: it cannot be had; the text shows no password.
        """
        try:
            if self.kind == "postgres":
                store: Any = open_store(
                    self._postgres_url(),
                    schema=rendered(schema, postgres=True),
                    patience=PATIENCE_WITH_OTHERS,
                )
                return store, Database(store)
            if self.kind == "redis":
                records = open_store(self.url, prefix=self.namespace, patience=PATIENCE_WITH_OTHERS)
                try:
                    return records, Database(self._sqlite(schema))
                except BaseException:
                    records.close()
                    raise
            store = self._sqlite(schema)
            return store, Database(store)
        except (StoreBusyError, OSError, sqlite3.Error) as exc:
            raise self.unusable(exc) from exc

    def _sqlite(self, schema: str) -> SQLiteStore:
        patience = PATIENCE_WITH_OTHERS if self.shared else PATIENCE
        return SQLiteStore(
            self._file(), schema=rendered(schema, postgres=False), patience=patience, durable=self.lasting
        )

    def _file(self) -> Path:
        if self.kind == "sqlite" and self.url:
            # One URL, several services: each has a file beside the one that was named.
            named = sqlite_file(self.url)
            return named.with_name(f"{named.stem}-{self.service}{named.suffix}")
        return Path(self.folder, f"{self.service}.db")

    @property
    def files(self) -> Path:
        """Where the service has files of its own, for all of its processes."""
        return Path(self.folder, f"{self.service}-files")

    @property
    def namespace(self) -> str:
        """A schema of PostgreSQL, or the prefix in Redis."""
        return f"failwell_{self.service}" + (f"_{self.run}" if self.run else "")

    def _postgres_url(self) -> str:
        return with_search_path(self.url, self.namespace)

    def prepare(self) -> None:
        """
        Make what has to be there before `open`.

        Raises:
            ConfigurationError: it cannot be had; the text shows no password.
        """
        if self.kind == "postgres":
            self._in_postgres(f'CREATE SCHEMA IF NOT EXISTS "{self.namespace}"')

    def remove(self) -> None:
        """Take away what this run has in a PostgreSQL or Redis that others use, too."""
        if self.lasting:
            return
        if self.kind == "postgres":
            with suppress(ConfigurationError):  # the server is gone, and its state with it
                self._in_postgres(f'DROP SCHEMA IF EXISTS "{self.namespace}" CASCADE')
        if self.kind == "redis":
            import redis

            with suppress(redis.RedisError), closing(redis.Redis.from_url(self.url)) as db:
                keys = db.scan_iter(match=f"{self.namespace}:*", count=1000)
                # One at a time, each would be a trip to the server, and maybe a wait for its disk.
                while batch := list(islice(keys, 1000)):
                    db.unlink(*batch)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """
        Keep the tables to ourselves, as a backup does: writes get a 503, reads go on.

        With Redis those are the tables of the service; its records are not locked.
        """
        if self.kind == "postgres":
            with self._connected() as db, db.transaction():
                tables = db.execute(
                    "SELECT tablename FROM pg_tables WHERE schemaname = %s", (self.namespace,)
                )
                # A limit that cannot be counted would keep reads out, too.
                names = [name for (name,) in tables if name != "failwell_limits"]
                listed = ", ".join(f'"{self.namespace}"."{name}"' for name in sorted(names))
                db.execute(f"LOCK TABLE {listed} IN EXCLUSIVE MODE".encode())
                yield
            return
        with closing(sqlite3.connect(self._file(), isolation_level=None, timeout=5.0)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                lock.execute("ROLLBACK")

    def _in_postgres(self, statement: str) -> None:
        with self._connected() as db:
            db.execute(statement.encode())

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            import psycopg
        except ImportError as exc:
            raise ConfigurationError('PostgreSQL needs psycopg: pip install "failwell[postgres]"') from exc
        try:
            db = psycopg.connect(self.url, autocommit=True, connect_timeout=10)
        except psycopg.ProgrammingError:
            # Its message repeats the URL, and with it the password.
            raise ConfigurationError("this is no URL of a PostgreSQL database") from None
        except psycopg.Error as exc:
            raise self.unusable(exc) from None
        with db:
            try:
                yield db
            except psycopg.Error as exc:
                raise self.unusable(exc) from None

    def unusable(self, exc: Exception) -> ConfigurationError:
        """What to raise for an error of the database."""
        where = shown(self.url) or self.folder
        return ConfigurationError(f"the store at {where} cannot be used: {said_by(exc, self.url)}")


def kind_of(url: str) -> str:
    """
    One of "sqlite", "postgres", "redis".

    Raises:
        ConfigurationError: it is the URL of none of them.
    """
    if not url:
        return "sqlite"
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        return "sqlite"
    if scheme in _POSTGRES:
        return "postgres"
    if scheme in _REDIS:
        return "redis"
    # The URL may hold a password: it is not repeated.
    raise ConfigurationError(
        f"no store is called {scheme or 'that'}: use sqlite:///file.db, postgresql://host/database or redis://host/0"
    )


def sqlite_file(url: str) -> Path:
    """The file that a `sqlite:///` URL names."""
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or not path or path == ":memory:":
        raise ConfigurationError("a SQLite store needs a file: sqlite:///file.db")
    return Path(path)


def run_of(folder: Path, kind: str, *, kept: bool) -> str:
    """
    What tells a run's state in PostgreSQL or Redis from another one's.

    What is in PostgreSQL is whole by itself: a run that keeps its state finds the same again from
    any machine. What is in Redis belongs to the database in the folder.
    """
    if not kept:
        return secrets.token_hex(6)
    if kind != "redis":
        return ""
    path = folder / "redis-run"
    with suppress(FileExistsError), path.open("x") as file:
        file.write(secrets.token_hex(6))
    return path.read_text().strip()


def with_search_path(url: str, schema: str) -> str:
    """A PostgreSQL URL whose connections make and find their tables in `schema`."""
    option = quote(f"-csearch_path={schema}")
    if re.search(r"[?&]options=", url):
        return re.sub(r"([?&]options=[^&]*)", rf"\g<1>%20{option}", url)
    return f"{url}{'&' if '?' in url else '?'}options={option}"


def shown(url: str) -> str:
    """A URL for a person: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if url else ""


def said_by(exc: BaseException, url: str) -> str:
    """The first line of an error, without the password of the URL."""
    words = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
    for secret in _secrets_in(url):
        words = words.replace(secret, "***")
    return words.rstrip(".")


def _secrets_in(url: str) -> list[str]:
    raw = urlsplit(url).netloc.rpartition("@")[0].partition(":")[2]
    raw_query = re.findall(r"[?&]password=([^&]*)", url)
    return [text for secret in (raw, *raw_query) for text in (secret, unquote(secret)) if text]
