"""
The connections of a `PostgresStore`: how they are made, used by threads, and lost.

A `Session` is one thread's connection and knows what an error on it means. A `Pool` has the
threads and hands jobs to them; a `Batch` makes one job of what several requests ask for at once.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from failwell.errors import ConfigurationError
from failwell.service.stores.base import FencedError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeAlias

    import psycopg
    from psycopg.pq.abc import PGresult

    Connection: TypeAlias = psycopg.Connection[Any]
    # Of one who asked: the result, or what was raised.
    Outcome: TypeAlias = tuple[Any, BaseException | None]

T = TypeVar("T")
Item = TypeVar("Item")

# One statement sees one time, and the workers' own clocks do not matter.
NOW = "date_part('epoch', statement_timestamp())"

# No number: a statement that is to fail without a function of our own reads it as one.
FENCED = "failwell: fenced, "

# Undone by the database itself, and worth another try at once.
_COLLISIONS = frozenset({"40001", "40P01"})
MOST_TRIES = 4

# A lock that does not come, a statement that takes too long, a standby that takes no writes.
_BUSY = frozenset({"55P03", "57014", "25006", *_COLLISIONS})
# Classes: the connection, the server's resources.
_BUSY_CLASSES = ("08", "53")
# The server ended the connection: shut down, crashed, not yet up, idle for too long.
_ENDED = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"})

# What is carried out together; what waits longer than that waits for the next.
MOST_AT_ONCE = 32


class Connector:
    """
    Opens connections that are all alike.

    Attributes:
        ahead: Seconds that the clock of the database is ahead of ours.
        pipelines: Whether several statements can be sent before the first is answered.
    """

    def __init__(self, url: str, patience: float) -> None:
        try:
            import psycopg
            from psycopg.conninfo import conninfo_to_dict
        except ImportError as exc:
            raise ConfigurationError('PostgreSQL needs psycopg: pip install "failwell[postgres]"') from exc
        self.psycopg = psycopg
        self.ahead = 0.0
        self.pipelines = psycopg.capabilities.has_pipeline()
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            # Its message repeats the URL, and with it the password.
            raise ConfigurationError("this is no URL of a PostgreSQL database") from None
        milliseconds = max(1, int(patience * 1000))
        self._settings = (
            # What must last says so in its transaction.
            "SET synchronous_commit = off;"
            f"SET lock_timeout = {milliseconds};"
            f"SET statement_timeout = {max(1000, 2 * milliseconds)};"
            # A process that was stopped in the middle of a transaction keeps nobody waiting.
            f"SET idle_in_transaction_session_timeout = {max(10_000, 4 * milliseconds)};"
        )
        # A host that is gone without a word is noticed.
        self._facts: dict[str, Any] = {
            "application_name": "failwell", "keepalives_idle": 10, "keepalives_interval": 3,
            "keepalives_count": 3, "tcp_user_timeout": max(2000, 2 * milliseconds),
            **given, "connect_timeout": max(2, math.ceil(patience)), "client_encoding": "UTF8",
        }  # fmt: skip

    def open(self, until: float, *, read_only: bool = False) -> tuple[Connection, str]:
        """
        A new connection, and how its lasting transactions begin.

        Args:
            until: When to stop trying, on the monotonic clock.
            read_only: Whether it refuses to write.

        Raises:
            StoreBusyError: there is none to be had.
        """
        pause = 0.02
        while True:
            db = None
            try:
                db = self.psycopg.connect(**self._facts, autocommit=True)
                return db, self._prepare(db, read_only)
            except self.psycopg.Error as exc:
                if db is not None:
                    db.close()
                if time.monotonic() + pause >= until:
                    raise StoreBusyError("the database cannot be reached") from exc
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    def _prepare(self, db: Connection, read_only: bool) -> str:
        asked = time.time()
        rows = db.execute(f"SELECT current_setting('synchronous_commit'), {NOW}").fetchall()
        ((durability, now),) = rows
        self.ahead = now - (asked + time.time()) / 2
        db.execute(self._settings.encode())
        if read_only:
            db.execute("SET default_transaction_read_only = on")
        # Somebody may have asked for more than "on", such as a second machine that has it, too.
        lasting = "on" if durability == "off" else durability
        return f"BEGIN; SET LOCAL synchronous_commit = {lasting}"


class Prepared:
    """
    A statement that is parsed and planned once for a connection, and then called by name.

    So it can stand in one string with others, and all of them go in one trip.

    Args:
        name: What it is called.
        statement: With `%(name)s` for a value.
        types: Of the values.
    """

    __slots__ = ("_names", "name", "preparation")

    def __init__(self, name: str, statement: str, types: Mapping[str, str]) -> None:
        self.name = name
        self._names = tuple(types)
        numbered = statement % {value: f"${n}" for n, value in enumerate(self._names, 1)}
        self.preparation = f"PREPARE {name} ({', '.join(types.values())}) AS {numbered}".encode()

    def call(self, values: Mapping[str, Any]) -> str:
        """What carries it out."""
        return f"EXECUTE {self.name} ({', '.join(_literal(values[name]) for name in self._names)})"


def _literal(value: bytes | str | float | None) -> str:
    """A value within a statement, whatever the settings of the connection say about strings."""
    match value:
        case None:
            return "NULL"
        case bytes():
            return f"decode('{value.hex()}', 'hex')"
        case str():
            return f"convert_from(decode('{value.encode().hex()}', 'hex'), 'UTF8')"
    return repr(value)


class Session:
    """
    A thread's connection, made again when it was lost.

    Attributes:
        backend: The number of the server's process behind it.
    """

    def __init__(
        self, connector: Connector, *, read_only: bool = False, db: Connection | None = None
    ) -> None:
        self._connector = connector
        self._read_only = read_only
        self._db = db
        self._begin = ""
        self._prepared: set[str] = set()
        self.backend = 0
        self._fresh = False

    def connection(self, until: float) -> Connection:
        """The connection, outside any transaction."""
        self._fresh = self._db is None or self._db.closed
        if self._db is None or self._db.closed:
            self._db, self._begin = self._connector.open(until, read_only=self._read_only)
            self._prepared.clear()
            self.backend = self._db.info.backend_pid
        return self._db

    @property
    def _own(self) -> Connection:
        assert self._db is not None
        return self._db

    def prepare(self, statement: Prepared) -> None:
        """Make sure that the connection knows a statement."""
        if statement.name not in self._prepared:
            self._say(statement.preparation)
            self._prepared.add(statement.name)

    def begin(self, *statements: str) -> PGresult:
        """Begin a transaction with some statements, in one trip; the result of the last."""
        return self._say("; ".join([self._begin, *statements]).encode())

    def begin_numbered(self) -> str:
        """Begin a transaction; its number, by which it can be found again."""
        number = self.begin("SELECT pg_current_xact_id()").get_value(0, 0)
        assert number is not None
        return number.decode()

    def commit(self, record: str = "") -> None:
        """
        Commit the transaction.

        Args:
            record: A statement that goes before it, in the same trip. If it fails, nothing is
                committed.

        Raises:
            FencedError: it failed with `FENCED`.
        """
        try:
            self._say(f"{record}; COMMIT".encode() if record else b"COMMIT")
        except self._connector.psycopg.DataError as exc:
            if f'"{FENCED}' in str(exc):
                raise FencedError from exc
            raise

    def _say(self, statement: bytes) -> PGresult:
        # Past the cursors and prepared statements of psycopg: there is nothing in it for them.
        psycopg = self._connector.psycopg
        result = self._own.pgconn.exec_(statement)
        if result.status not in (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK):
            raise psycopg.errors.error_from_result(result)
        return result

    def ready_to_commit(self) -> None:
        """
        Make sure that COMMIT will mean what it says.

        Raises:
            psycopg.Error: an error was swallowed, after which COMMIT would roll back; or the
                transaction was ended.
        """
        psycopg = self._connector.psycopg
        status = self._own.info.transaction_status
        if status == psycopg.pq.TransactionStatus.INTRANS:
            return
        if status == psycopg.pq.TransactionStatus.INERROR:
            raise psycopg.errors.InFailedSqlTransaction("a statement of the transaction had failed")
        if status == psycopg.pq.TransactionStatus.UNKNOWN:
            raise psycopg.OperationalError("the connection was lost")
        raise psycopg.ProgrammingError("the work ended the transaction it was in")

    def lost(self, exc: BaseException) -> bool:
        """Whether the connection is gone, and `exc` came of it."""
        if not isinstance(exc, self._connector.psycopg.Error):
            return False
        return self._db is None or self._db.closed or exc.sqlstate in _ENDED

    def drop(self) -> None:
        """Let go of the connection."""
        if self._db is not None:
            self._db.close()

    def drop_if_lost(self, exc: BaseException) -> None:
        """Let go of the connection if it is of no use any more."""
        if self.lost(exc):
            self.drop()

    def recover(self, exc: BaseException, tries: int) -> None:
        """
        Undo what is not committed, after `exc` ended a job for the `tries`-th time.

        Returns, if the job is to be tried again.

        Raises:
            StoreBusyError: the database is why it did not work, and nothing was written.
            Exception: `exc`, if it has nothing to do with the database's state.
        """
        lost = self.lost(exc)
        idle = self._connector.psycopg.pq.TransactionStatus.IDLE
        if not lost and self._own.info.transaction_status != idle:
            try:
                self._say(b"ROLLBACK")
            except Exception:  # noqa: BLE001  # the server rolls back what loses its connection
                self.drop()
        if lost:
            self.drop()
            # One that had been waiting for work may have been gone for long.
            if not self._fresh and tries < MOST_TRIES:
                return
            raise StoreBusyError("the connection was lost; nothing was written") from exc
        state = (getattr(exc, "sqlstate", None) or "") if self._is_error(exc) else ""
        if state in _COLLISIONS and tries < MOST_TRIES:
            time.sleep(0.01 * tries)  # the other one goes first
            return
        if state in _BUSY or state.startswith(_BUSY_CLASSES):
            raise StoreBusyError("the database is busy; nothing was written") from exc
        raise exc

    def _is_error(self, exc: BaseException) -> bool:
        return isinstance(exc, self._connector.psycopg.Error)


class _Job:
    """A piece of work, until when it may begin, and who is to be told of its outcome."""

    __slots__ = ("tell", "until", "work")

    def __init__(
        self,
        work: Callable[[Session, float], Any],
        until: float,
        tell: Callable[[Any, BaseException | None], None],
    ) -> None:
        self.work = work
        self.until = until
        self.tell = tell


class Pool:
    """
    Threads with a connection each; started when there is work for one more.

    Results go back by `call_soon_threadsafe`; a caller that went away in the meantime does not
    undo its transaction, because nobody could know whether it was already committed.
    """

    def __init__(self, connector: Connector, most: int, patience: float) -> None:
        self._connector = connector
        self._most = most
        self._patience = patience
        self.closed = False
        self.forked()

    def forked(self) -> None:
        """Begin anew, without threads."""
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0

    async def run(self, work: Callable[[Session, float], T]) -> T:
        """What `work` returns or raises, on one of the threads."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def answer(result: T, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop was closed while we worked
                loop.call_soon_threadsafe(_tell, future, result, error)

        self.put(work, answer)
        return await future

    def run_blocking(self, work: Callable[[Session, float], T]) -> T:
        """The same, for a thread that can wait."""
        box: queue.SimpleQueue[tuple[T, BaseException | None]] = queue.SimpleQueue()
        self.put(work, lambda result, error: box.put((result, error)))
        result, error = box.get()
        if error is not None:
            raise error
        return result

    def put(
        self,
        work: Callable[[Session, float], Any],
        tell: Callable[[Any, BaseException | None], None] = lambda result, error: None,
    ) -> None:
        """Have `work` carried out when it is its turn."""
        with self._lock:
            if self.closed:
                raise StoreBusyError("the store is closed")
            self._jobs.put(_Job(work, time.monotonic() + self._patience, tell))
            self._unfinished += 1
            if self._unfinished > len(self._threads) < self._most:
                thread = threading.Thread(target=self._work, name="failwell-postgres", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self) -> None:
        session = Session(self._connector)
        while (job := self._jobs.get()) is not None:
            self._carry_out(job, session)
            # It holds a request; the next one may be long in coming.
            del job
        session.drop()

    def _carry_out(self, job: _Job, session: Session) -> None:
        result, error = None, None
        try:
            if time.monotonic() > job.until:
                raise StoreBusyError("no connection became free in time")
            result = job.work(session, job.until)
        except BaseException as exc:  # noqa: BLE001  # it belongs to whoever asked
            error = exc
        with self._lock:
            self._unfinished -= 1
        job.tell(result, error)

    def close(self) -> None:
        """Finish what was begun, and end the threads."""
        with self._lock:
            if not self.closed:
                self.closed = True
                for _ in self._threads:
                    self._jobs.put(None)
        for thread in self._threads:
            thread.join()


class Batch(Generic[Item]):
    """
    What several requests ask for at once, carried out as one job.

    While a job is under way, whoever comes waits for the next: so nobody waits for others to
    come, and the more come, the less each of them costs.

    Args:
        pool: Where the job is carried out.
        work: Takes the session and what is asked, gives an outcome for each.
    """

    def __init__(
        self, pool: Pool, work: Callable[[Session, float, Sequence[Item]], Sequence[Outcome]]
    ) -> None:
        self._pool = pool
        self._carry_out = work
        self.forked()

    def forked(self) -> None:
        """Begin anew, with nobody waiting."""
        self._lock = threading.Lock()
        self._waiting: list[tuple[Item, asyncio.AbstractEventLoop, asyncio.Future[Any]]] = []
        self._running = False

    async def ask(self, item: Item) -> Any:
        """The result for `item`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            self._waiting.append((item, loop, future))
            first, self._running = not self._running, True
        if first:
            self._begin()
        return await future

    def _begin(self) -> None:
        try:
            self._pool.put(self._work, self._ended)
        except StoreBusyError as exc:
            self._ended(None, exc)

    def _work(self, session: Session, until: float) -> None:
        with self._lock:
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
        outcomes: Sequence[Outcome]
        try:
            outcomes = self._carry_out(session, until, [item for item, _, _ in batch])
        except BaseException as exc:  # noqa: BLE001  # it belongs to those who asked
            outcomes = [(None, exc)] * len(batch)
        _tell_all((loop, future, outcome) for (_, loop, future), outcome in zip(batch, outcomes, strict=True))

    def _ended(self, _result: None, error: BaseException | None) -> None:
        """After a job, or instead of one."""
        with self._lock:
            left: Sequence[Any] = self._waiting
            self._running = bool(left) and error is None
            if error is not None:
                self._waiting = []
        if error is not None:
            _tell_all((loop, future, (None, error)) for _, loop, future in left)
        elif left:
            self._begin()


def _tell_all(
    outcomes: Iterable[tuple[asyncio.AbstractEventLoop, asyncio.Future[Any], Outcome]],
) -> None:
    """Wake each loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Outcome]]] = {}
    for loop, future, outcome in outcomes:
        by_loop.setdefault(loop, []).append((future, outcome))
    for loop, of_loop in by_loop.items():
        with suppress(RuntimeError):  # the loop was closed while we worked
            loop.call_soon_threadsafe(_tell_each, of_loop)


def _tell_each(outcomes: Sequence[tuple[asyncio.Future[Any], Outcome]]) -> None:
    for future, (result, error) in outcomes:
        _tell(future, result, error)


def _tell(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if isinstance(error, StopIteration):  # a future cannot carry it
        error = RuntimeError("the transaction raised StopIteration")
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
