"""
SQLite as a store: one file, one writer, no server.

Theory of operation. All writes that must last go through one thread that owns the writing
connection, one transaction after the other, each `BEGIN IMMEDIATE`: a deferred transaction that
reads and then writes fails with SQLITE_BUSY_SNAPSHOT at once, whatever the busy timeout. Reads
take microseconds under WAL and wait for nobody, so they run where they are asked, on the
event loop's thread. So do the rate limits, which live in a second file: a decision about a
limit then waits for no commit, and its loss in a power cut costs nobody anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import sqlite3
import threading
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

from failwell.answer import Answer
from failwell.service.idempotency import (
    KEPT_FOR,
    Claim,
    InFlight,
    Mismatch,
    Recorded,
    replayable,
)
from failwell.service.keys import StoredKey
from failwell.service.limits import MICROSECONDS, Decision, Limit, decision
from failwell.service.stores.base import FencedError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from failwell.service.idempotency import Claimed

T = TypeVar("T")

# RETURNING came with 3.35 (2021-03).
LEAST_SQLITE = (3, 35, 0)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS failwell_tenants (
    tenant TEXT PRIMARY KEY,
    active INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failwell_keys (
    public TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    tenant TEXT NOT NULL,
    principal TEXT NOT NULL,
    scopes TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'revoked')),
    expires_at REAL,
    limit_requests INTEGER,
    limit_window REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failwell_idempotency (
    slot BLOB PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    token BLOB NOT NULL,
    request_id TEXT NOT NULL,
    lease_until REAL NOT NULL,
    expires_at REAL NOT NULL,
    status INTEGER,          -- NULL while the work is under way
    headers TEXT,
    body BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS failwell_idempotency_ends ON failwell_idempotency (expires_at);
"""

_LIMITS_SCHEMA = """
CREATE TABLE IF NOT EXISTS failwell_limits (
    subject TEXT PRIMARY KEY,
    tat INTEGER NOT NULL,
    allowed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS failwell_limits_whole ON failwell_limits (tat);
"""

# Between two clean-ups, so that each has little to do and none is waited for.
TAKES_BETWEEN = 1000
CLAIMS_BETWEEN = 100

# Expressions on the right see the row as it was. `min` forgives a clock that was set back:
# nobody is locked out for longer than a window.
_TAKE = """
INSERT INTO failwell_limits (subject, tat, allowed) VALUES (:subject, :now + :interval, 1)
ON CONFLICT (subject) DO UPDATE SET
    allowed = max(min(tat, :now + :span), :now) + :interval <= :now + :span,
    tat = CASE
        WHEN max(min(tat, :now + :span), :now) + :interval <= :now + :span
        THEN max(min(tat, :now + :span), :now) + :interval
        ELSE min(tat, :now + :span) END
RETURNING allowed, tat
"""

_CLAIM = """
INSERT INTO failwell_idempotency (slot, fingerprint, token, request_id, lease_until, expires_at)
VALUES (:slot, :fingerprint, :token, :request_id, :now + :lease, :now + :keep)
ON CONFLICT (slot) DO UPDATE SET
    fingerprint = excluded.fingerprint, token = excluded.token, request_id = excluded.request_id,
    lease_until = excluded.lease_until, expires_at = excluded.expires_at,
    status = NULL, headers = NULL, body = NULL
WHERE expires_at <= :now
   OR (status IS NULL AND lease_until <= :now AND fingerprint = excluded.fingerprint)
RETURNING token
"""

_FINISH = """
UPDATE failwell_idempotency
SET status = :status, headers = :headers, body = :body, expires_at = :now + :keep
WHERE slot = :slot AND token = :token AND status IS NULL
"""

_FIND_KEY = """
SELECT k.public, k.digest, k.tenant, k.principal, k.scopes, k.state, k.expires_at,
       k.limit_requests, k.limit_window, coalesce(t.active, 1)
FROM failwell_keys AS k LEFT JOIN failwell_tenants AS t USING (tenant)
WHERE k.public = ?
"""


class SQLiteStore:
    """
    A store in one SQLite file, and the service's own tables beside it.

    Args:
        path: The file; made if it is missing. The limits go into `<path>-limits`.
        schema: Statements that make the service's own tables, safe to run again.
        durable: Whether a commit waits until the disk has it. False is for state that nobody
            will look for after a power cut; a killed process loses nothing either way.
        patience: Seconds a write waits for another process's lock before `StoreBusyError`.
        clock: Unix seconds.

    Raises:
        sqlite3.Error: the file cannot be opened, or is no database.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        schema: str = "",
        durable: bool = True,
        patience: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if sqlite3.sqlite_version_info < LEAST_SQLITE:
            raise RuntimeError(f"SQLite {'.'.join(map(str, LEAST_SQLITE))} or newer is needed")
        self.path = os.fspath(path)
        self.clock = clock
        self._takes = 0
        self._claims = 0
        self._durable = durable
        self._patience = patience
        with closing(self._connect(self.path, patience)) as db:
            db.executescript(_SCHEMA + schema)
            self._forget_records(db)
        self._reader = self._connect(self.path, patience)
        self._reader.execute("PRAGMA query_only = ON")
        # Asked by the loop's thread and, for tests and tools, by others.
        self._reading = threading.Lock()
        self._limits = self._connect(f"{self.path}-limits", patience)
        self._limits.executescript(_LIMITS_SCHEMA)
        # On the loop's thread nothing may wait for long, not even for another process.
        self._limits.execute(f"PRAGMA busy_timeout = {int(min(patience, 0.05) * 1000)}")
        self._forget_limits()
        self._writer = _Writer(self._open_for_writing)

    def _connect(self, path: str, patience: float) -> sqlite3.Connection:
        db = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            db.close()
            raise
        return db

    def _open_for_writing(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        lasting = self._connect(self.path, self._patience)
        if self._durable:
            # NORMAL would leave the last commits of a WAL to the operating system.
            lasting.execute("PRAGMA synchronous = FULL")
        # A claim need not last: lost with the power, so is the work that it stood for.
        return lasting, self._connect(self.path, self._patience)

    # --- keys ---

    async def find_key(self, public: str, /) -> StoredKey | None:
        """See `Store.find_key`."""
        rows = self.read(_FIND_KEY, (public,))
        return _key(rows[0]) if rows else None

    def add_keys(self, keys: Iterable[StoredKey]) -> None:
        """Store `keys`, in place of those with the same public part. Blocks."""
        rows = [
            (k.public, k.digest, k.tenant, k.principal, " ".join(sorted(k.scopes)), k.state, k.expires_at,
             k.limit.requests if k.limit else None, k.limit.window if k.limit else None)
            for k in keys
        ]  # fmt: skip
        self.write_blocking(
            lambda db: db.executemany(
                "INSERT OR REPLACE INTO failwell_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )
        )

    def revoke_key(self, public: str) -> bool:
        """Take the key with this public part out of use; whether there is one. Blocks."""
        sql = "UPDATE failwell_keys SET state = 'revoked' WHERE public = ?"
        return self.write_blocking(lambda db: db.execute(sql, (public,)).rowcount == 1)

    def set_tenant_active(self, tenant: str, active: bool) -> None:
        """Let a tenant in, or shut it out. Blocks."""
        self.write_blocking(
            lambda db: db.execute("INSERT OR REPLACE INTO failwell_tenants VALUES (?, ?)", (tenant, active))
        )

    # --- limits ---

    async def take(self, subject: str, limit: Limit, /) -> Decision:
        """See `Store.take`."""
        self._takes += 1
        if self._takes % TAKES_BETWEEN == 0:
            self._forget_limits()
        now = int(self.clock() * MICROSECONDS)
        facts = {"subject": subject, "now": now, "interval": limit.interval, "span": limit.span}
        try:
            # All rows are fetched, or the statement would stay open and uncommitted.
            ((allowed, tat),) = self._limits.execute(_TAKE, facts).fetchall()
        except sqlite3.OperationalError as exc:
            raise _busy_or(exc) from exc
        return decision(limit, bool(allowed), tat, now)

    def _forget_limits(self) -> None:
        # A number in the past says what a missing one says: the allowance is whole.
        with suppress(sqlite3.OperationalError):
            self._limits.execute("DELETE FROM failwell_limits WHERE tat <= ?", (self.clock() * MICROSECONDS,))

    # --- idempotency ---

    async def claim(
        self, slot: bytes, fingerprint: bytes, request_id: str, /, *, lease: float, keep: float = KEPT_FOR
    ) -> Claimed:
        """See `Store.claim`."""
        with self._read_lock() as db:
            standing = self._standing(db, slot, fingerprint)
        if standing is not None:
            return standing
        claim = Claim(slot, os.urandom(16), request_id)
        facts = {
            "slot": slot, "fingerprint": fingerprint, "token": claim.token, "request_id": request_id,
            "now": self.clock(), "lease": lease, "keep": keep,
        }  # fmt: skip

        def insert(db: sqlite3.Connection) -> Claimed:
            self._claims += 1
            if self._claims % CLAIMS_BETWEEN == 0:
                self._forget_records(db)
            if db.execute(_CLAIM, facts).fetchall():
                return claim
            # Somebody was faster. What cannot be seen any more was released in between.
            return self._standing(db, slot, fingerprint) or InFlight(lease)

        return await self._writer.run(insert, lasting=False)

    def _forget_records(self, db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM failwell_idempotency WHERE expires_at <= ?", (self.clock(),))

    def _standing(
        self, db: sqlite3.Connection, slot: bytes, fingerprint: bytes
    ) -> Recorded | InFlight | Mismatch | None:
        """What stands against a claim on `slot`; None if nothing does."""
        rows = db.execute(
            "SELECT fingerprint, request_id, lease_until, status, headers, body FROM failwell_idempotency "
            "WHERE slot = ? AND expires_at > ?",
            (slot, self.clock()),
        ).fetchall()
        if not rows:
            return None
        held_for, request_id, lease_until, status, headers, body = rows[0]
        if held_for != fingerprint:
            return Mismatch()
        if status is not None:
            return Recorded(Answer(status, _read_headers(headers), body), request_id)
        left = lease_until - self.clock()
        return InFlight(left) if left > 0 else None

    async def renew(self, claim: Claim, /, *, lease: float) -> bool:
        """See `Store.renew`."""
        sql = (
            "UPDATE failwell_idempotency SET lease_until = ? WHERE slot = ? AND token = ? AND status IS NULL"
        )
        facts = (self.clock() + lease, claim.slot, claim.token)
        return await self._writer.run(lambda db: db.execute(sql, facts).rowcount == 1, lasting=False)

    async def commit(
        self,
        claim: Claim | None,
        effect: Callable[[sqlite3.Connection], Answer],
        /,
        *,
        keep: float = KEPT_FOR,
    ) -> Answer:
        """See `Store.commit`. The effect runs on the writer's thread and must not wait for anything."""

        def work(db: sqlite3.Connection) -> Answer:
            answer = effect(db)
            if claim is not None:
                self._finish(db, claim, answer, keep)
            return answer

        return await self._writer.run(work)

    async def record(self, claim: Claim, answer: Answer, /, *, keep: float = KEPT_FOR) -> None:
        """See `Store.record`."""
        await self._writer.run(lambda db: self._finish(db, claim, answer, keep))

    def _finish(self, db: sqlite3.Connection, claim: Claim, answer: Answer, keep: float) -> None:
        facts = {
            "slot": claim.slot, "token": claim.token, "status": answer.status,
            "headers": _written_headers(replayable(answer.headers)), "body": answer.body,
            "now": self.clock(), "keep": keep,
        }  # fmt: skip
        if db.execute(_FINISH, facts).rowcount != 1:
            raise FencedError

    async def release(self, claim: Claim, /) -> None:
        """See `Store.release`."""
        await self._writer.run(
            lambda db: db.execute(
                "DELETE FROM failwell_idempotency WHERE slot = ? AND token = ? AND status IS NULL",
                (claim.slot, claim.token),
            ),
            lasting=False,
        )

    # --- the service's own tables ---

    def read(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """
        The rows of a query, at once, on the calling thread.

        Raises:
            StoreBusyError: another process keeps the file to itself.
        """
        with self._read_lock() as db:
            return db.execute(sql, parameters).fetchall()

    @contextmanager
    def _read_lock(self) -> Iterator[sqlite3.Connection]:
        with self._reading:
            try:
                yield self._reader
            except sqlite3.OperationalError as exc:
                raise _busy_or(exc) from exc

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """
        What `work` returns, carried out in a transaction of its own; what it raises rolls back.

        Raises:
            StoreBusyError: another process keeps the file to itself; nothing was written.
        """
        return await self._writer.run(work)

    def write_blocking(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Like `write`, for a thread that has no event loop."""
        return self._writer.run_blocking(work)

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        self.close()

    def close(self) -> None:
        """Finish the writes under way and close the files. May be called again."""
        self._writer.close()
        self._reader.close()
        self._limits.close()


class _Writer:
    """
    A thread that carries out transactions one after the other.

    Results go back by `call_soon_threadsafe`; a caller that went away in the meantime does not
    undo its transaction, because nobody could know whether it was already committed.
    """

    def __init__(self, connect: Callable[[], tuple[sqlite3.Connection, sqlite3.Connection]]) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lasting, self._quick = connect()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="failwell-sqlite-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T], *, lasting: bool = True) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def tell(result: T | None, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if isinstance(error, StopIteration):  # a future cannot carry it
                error = RuntimeError("the transaction raised StopIteration")
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None only if T is

        def answer(result: T | None, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop was closed while we worked
                loop.call_soon_threadsafe(tell, result, error)

        self._put(work, lasting, answer)
        return await future

    def run_blocking(self, work: Callable[[sqlite3.Connection], T]) -> T:
        box: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
        self._put(work, True, lambda result, error: box.put((result, error)))
        result, error = box.get()
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # None only if T is

    def _put(
        self,
        work: Callable[[sqlite3.Connection], T],
        lasting: bool,
        answer: Callable[[T | None, BaseException | None], None],
    ) -> None:
        def job() -> None:
            try:
                result = _transaction(self._lasting if lasting else self._quick, work)
            except BaseException as exc:  # noqa: BLE001  # it belongs to whoever asked
                answer(None, exc)
            else:
                answer(result, None)

        with self._lock:
            if self._closed:
                raise StoreBusyError("the store is closed")
            self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            # A job holds its request; the next one may be long in coming.
            del job
        self._lasting.close()
        self._quick.close()

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()


def _transaction(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    try:
        db.execute("BEGIN IMMEDIATE")
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            # An error such as a full disk has rolled back already.
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
    except sqlite3.OperationalError as exc:
        raise _busy_or(exc) from exc
    if isinstance(result, sqlite3.Cursor):
        # Let go of elsewhere, a cursor resets a statement that this thread may be using by then:
        # "bad parameter or other API misuse". It ends here, and what it points at with it.
        result.close()
        return cast(T, None)
    return result


def _busy_or(exc: sqlite3.OperationalError) -> Exception:
    # The low byte is the primary code; SQLITE_BUSY_SNAPSHOT and its like are in the others.
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusyError("the database is locked by another process")
    return exc


def _key(row: Sequence[Any]) -> StoredKey:
    public, digest, tenant, principal, scopes, state, expires_at, requests, window, active = row
    return StoredKey(
        public=public, digest=digest, tenant=tenant, principal=principal,
        scopes=frozenset(scopes.split()), state=state, expires_at=expires_at,
        limit=None if requests is None else Limit(requests, window), tenant_active=bool(active),
    )  # fmt: skip


def _written_headers(headers: Mapping[str, str]) -> str:
    return json.dumps(headers)


def _read_headers(text: str) -> dict[str, str]:
    headers: dict[str, str] = json.loads(text)
    return headers
