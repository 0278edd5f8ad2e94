"""
SQLite as a store: one file, one writer, no server.

Theory of operation. All writes that must last go through one thread that owns the writing
connection, each transaction `BEGIN IMMEDIATE`: a deferred transaction that reads and then
writes fails with SQLITE_BUSY_SNAPSHOT at once, whatever the busy timeout. What is waiting when
the thread comes back from a commit is carried out in one transaction, each piece of work behind
a savepoint of its own, and one commit makes it all last: under load, the disk is waited for once
for many requests. Nobody is told of an outcome before that commit.

Reads take microseconds under WAL and wait for nobody, so they run where they are asked, on the
event loop's thread. So do the rate limits, which live in a second file: a decision about a
limit then waits for no commit, and its loss in a power cut costs nobody anything.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from failwell.service.limits import Decision, Limit
from failwell.service.stores.base import StoreBusyError
from failwell.service.stores.sql import LIMITS_SCHEMA, SCHEMA, Dialect, SQLStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from failwell.service.idempotency import Claim, Claimed
    from failwell.service.keys import StoredKey
    from failwell.service.stores.base import Counting

T = TypeVar("T")

# RETURNING came with 3.35 (2021-03).
LEAST_SQLITE = (3, 35, 0)

DIALECT = Dialect(
    now=":now", least="min", greatest="max", blob="BLOB", serial="INTEGER", compact="WITHOUT ROWID"
)

# Between two clean-ups, so that each has little to do and none is waited for.
TAKES_BETWEEN = 1000
CLAIMS_BETWEEN = 100

# How much is carried out under one commit; what waits longer than that waits for the next.
MOST_AT_ONCE = 64


class SQLiteStore(SQLStore):
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
        super().__init__(DIALECT, clock)
        self.path = os.fspath(path)
        self.clock = clock
        self._takes = 0
        self._claims = 0
        self._durable = durable
        self._patience = patience
        with closing(self._connect(self.path, patience)) as db:
            db.executescript(DIALECT.render(SCHEMA) + schema)
            self._forget_records(db)
        self._reader = self._connect(self.path, patience)
        self._reader.execute("PRAGMA query_only = ON")
        # Asked by the loop's thread and, for tests and tools, by others.
        self._reading = threading.Lock()
        self._limits = self._connect(f"{self.path}-limits", patience)
        self._limits.executescript(DIALECT.render(LIMITS_SCHEMA))
        # On the loop's thread nothing may wait for long, not even for another process.
        self._limits.execute(f"PRAGMA busy_timeout = {int(min(patience, 0.05) * 1000)}")
        with suppress(sqlite3.OperationalError):
            self._forget_limits(self._limits)
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

    # --- how work is run ---

    async def _write(self, work: Callable[[sqlite3.Connection], T], *, lasting: bool = True) -> T:
        return await self._writer.run(work, lasting=lasting)

    def _write_blocking(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._writer.run_blocking(work)

    async def _look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._read_lock() as db:
            return work(db)

    # --- keys and limits ---

    async def admit(self, public: str, counting: Counting, /) -> tuple[StoredKey | None, Decision | None]:
        """See `Store.admit`."""
        with self._read_lock() as db:
            key = self._find_key(db, public)
        counted = counting(key)
        return key, None if counted is None else await self.take(*counted)

    async def take(self, subject: str, limits: Sequence[Limit], /) -> Decision:
        """See `Store.take`."""
        self._takes += 1
        try:
            if self._takes % TAKES_BETWEEN == 0:
                self._forget_limits(self._limits)
            return self._take(self._limits, subject, limits)
        except sqlite3.OperationalError as exc:
            raise _busy_or(exc) from exc

    # --- idempotency ---

    async def claim(self, wanted: Claim, /, *, lease: float, keep: float, take_over: bool = True) -> Claimed:
        """See `Store.claim`."""
        standing = await self._look(lambda db: self._standing(db, wanted))
        if standing is not None:
            return standing

        def insert(db: sqlite3.Connection) -> Claimed:
            self._claims += 1
            if self._claims % CLAIMS_BETWEEN == 0:
                self._forget_records(db)
            return self._claim(db, wanted, lease, keep, take_over)

        return await self._writer.run(insert, lasting=False)

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


class _Job:
    """A piece of work for the writer, and who is to be told of its outcome."""

    __slots__ = ("error", "lasting", "result", "tell", "work")

    def __init__(
        self,
        work: Callable[[sqlite3.Connection], Any],
        lasting: bool,
        tell: Callable[[Any, BaseException | None], None],
    ) -> None:
        self.work = work
        self.lasting = lasting
        self.tell = tell
        self.result: Any = None
        self.error: BaseException | None = None


class _Writer:
    """
    A thread that carries out transactions one after the other.

    Results go back by `call_soon_threadsafe`; a caller that went away in the meantime does not
    undo its transaction, because nobody could know whether it was already committed.
    """

    def __init__(self, connect: Callable[[], tuple[sqlite3.Connection, sqlite3.Connection]]) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lasting, self._quick = connect()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="failwell-sqlite-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T], *, lasting: bool = True) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def tell(result: T, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if isinstance(error, StopIteration):  # a future cannot carry it
                error = RuntimeError("the transaction raised StopIteration")
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        def answer(result: T, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop was closed while we worked
                loop.call_soon_threadsafe(tell, result, error)

        self._put(_Job(work, lasting, answer))
        return await future

    def run_blocking(self, work: Callable[[sqlite3.Connection], T]) -> T:
        box: queue.SimpleQueue[tuple[T, BaseException | None]] = queue.SimpleQueue()
        self._put(_Job(work, True, lambda result, error: box.put((result, error))))
        result, error = box.get()
        if error is not None:
            raise error
        return result

    def _put(self, job: _Job) -> None:
        with self._lock:
            if self._closed:
                raise StoreBusyError("the store is closed")
            self._jobs.put(job)

    def _work(self) -> None:
        ended = False
        while not ended:
            jobs, ended = self._waiting()
            if not jobs:
                continue
            db = self._lasting if any(job.lasting for job in jobs) else self._quick
            _carry_out(db, jobs)
            for job in jobs:
                job.tell(job.result, job.error)
            # A job holds its request; the next one may be long in coming.
            del jobs, job
        self._lasting.close()
        self._quick.close()

    def _waiting(self) -> tuple[list[_Job], bool]:
        """What is to be carried out together, and whether it is the last."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        with suppress(queue.Empty):
            while job is not None:
                jobs.append(job)
                if len(jobs) == MOST_AT_ONCE:
                    return jobs, False
                job = self._jobs.get_nowait()
            return jobs, True
        return jobs, False

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()


def _carry_out(db: sqlite3.Connection, jobs: Sequence[_Job]) -> None:
    """Carry out `jobs` under one commit; one that fails undoes itself alone."""
    try:
        db.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                _behind_savepoint(db, job, alone=len(jobs) == 1)
            db.execute("COMMIT")
        except BaseException:
            # An error such as a full disk has rolled back already.
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
    except BaseException as exc:  # noqa: BLE001  # it belongs to whoever asked
        for job in jobs:
            # What failed by itself has its own reason; the rest was undone with it.
            job.error = job.error or _busy_or(exc)


def _behind_savepoint(db: sqlite3.Connection, job: _Job, *, alone: bool) -> None:
    if not alone:
        db.execute("SAVEPOINT job")
    try:
        job.result = job.work(db)
        if isinstance(job.result, sqlite3.Cursor):
            # Let go of elsewhere, a cursor resets a statement that this thread may be using by
            # then: "bad parameter or other API misuse". It ends here, and what it points at.
            job.result.close()
            job.result = None
    except BaseException as exc:
        job.error = _busy_or(exc)
        if alone or not db.in_transaction:
            raise
        db.execute("ROLLBACK TO job")
    if not alone:
        db.execute("RELEASE job")


def _busy_or(exc: BaseException) -> BaseException:
    # The low byte is the primary code; SQLITE_BUSY_SNAPSHOT and its like are in the others.
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        busy = StoreBusyError("the database is locked by another process")
        busy.__cause__ = exc
        return busy
    return exc
