"""
SQLite as a store: one file, one writer, no server.

Theory of operation. All writes that must last go through one thread that owns the writing
connection, each transaction `BEGIN IMMEDIATE`: a deferred transaction that reads and then
writes fails with SQLITE_BUSY_SNAPSHOT at once, whatever the busy timeout. What is waiting when
the thread comes back from a commit is carried out in one transaction, each piece of work behind
a savepoint of its own, and one commit makes it all last: under load, the disk is waited for once
for many requests. Nobody is told of an outcome before that commit.

A store that does not wait for the disk needs no thread to wait in: what the event loop asks for in
one turn, it carries out itself at the end of that turn, in one transaction. Only where another
process has the file, the thread does the waiting.

Reads take microseconds under WAL and wait for nobody, so they run where they are asked, on the
event loop's thread. So do the rate limits, which live in a second file: a decision about a
limit then waits for no commit, and its loss in a power cut costs nobody anything. The requests
that come in one turn of the loop are let in together: whether a key has changed is asked once for
all of them, after the last has arrived, and one transaction counts them.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from contextvars import copy_context
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from failwell.errors import ConfigurationError
from failwell.service.limits import MICROSECONDS, Decision, Limit, counted, decisions
from failwell.service.stores.base import ENDED, FROM_WITHIN, NOT_YOURS_TO_END, StoreBusyError
from failwell.service.stores.sql import _STANDING, LIMITS_SCHEMA, SCHEMA, Dialect, SQLStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from failwell.answer import Answer
    from failwell.service.idempotency import Claim, Claimed
    from failwell.service.keys import StoredKey
    from failwell.service.stores.base import Admitted, Counted, Counting

    # A request that waits to be let in: its key's public part, what says what to count, who is told.
    _Arrival: TypeAlias = tuple[str, Counting, asyncio.Future[Admitted]]
    # Requests that are counted together: whose, by which limits, and who is told, with his key.
    _Group: TypeAlias = tuple[str, Sequence[Limit], list[tuple[asyncio.Future[Admitted], StoredKey | None]]]

T = TypeVar("T")
C = TypeVar("C", bound=sqlite3.Connection)

# RETURNING came with 3.35 (2021-03).
LEAST_SQLITE = (3, 35, 0)

DIALECT = Dialect(
    now=":now", least="min", greatest="max", blob="BLOB", serial="INTEGER", compact="WITHOUT ROWID"
)

# Between two clean-ups, so that each has little to do and none is waited for. One of the limits
# reads them all, and so comes no sooner than as many takes as it left rows.
TAKES_BETWEEN = 1000
CLAIMS_BETWEEN = 100

# How much is carried out under one commit; what waits longer than that waits for the next.
MOST_AT_ONCE = 64

# Pages of the log before they are copied into the file, 16 MB: one that was changed many times in
# between is copied once.
PAGES_BETWEEN = 4000

# Of each connection, at most. Slots are random, so their index is read and written all over.
CACHE_KILOBYTES = 16 * 1024

# How many keys are remembered.
MOST_KEYS = 4096

# What SQLite says of a file that it will not open later either, unless somebody does something.
_UNUSABLE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)

# The transactions of the writer. Nobody else spells them so: a statement that is prepared already
# is not looked at again, and theirs are.
BEGIN = "BEGIN IMMEDIATE -- the store's"
COMMIT = "COMMIT -- the store's"
ROLLBACK = "ROLLBACK -- the store's"


class SQLiteStore(SQLStore):
    """
    A store in one SQLite file, and the service's own tables beside it.

    Args:
        path: The file; made if it is missing. The limits go into `<path>-limits`.
        schema: Statements that make the service's own tables, safe to run again.
        durable: Whether a commit waits until the disk has it. False is for state that nobody
            will look for after a power cut; a killed process loses nothing either way. What is
            not waited for is done on the event loop's thread: an effect has to be quick there.
        patience: Seconds a write waits for another process's lock before `StoreBusyError`.
        clock: Unix seconds.

    Raises:
        ConfigurationError: the file cannot be opened, or is no database.
        sqlite3.Error: another process has locked it, or it is broken.
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
        self._standing_sql = self._sql(_STANDING)
        self._takes = 0  # since the last clean-up, which left so many
        self._left = 0
        self._claims = 0
        self._durable = durable
        self._patience = patience
        try:
            first = self._connect(self.path, patience, sqlite3.Connection)
        except sqlite3.DatabaseError as exc:
            if exc.sqlite_errorcode & 0xFF not in _UNUSABLE:
                raise
            raise ConfigurationError(
                f"the SQLite file {self.path} cannot be used: {exc}. Its folder has to be there, and be "
                "writable by this process, and so does the file, if there is one"
            ) from exc
        with closing(first) as db:
            db.executescript(DIALECT.render(SCHEMA) + schema)
            self._forget_records(db)
        with ExitStack() as opened:
            # What is open is closed again if the rest cannot be opened.
            self._reader = opened.enter_context(
                closing(self._connect(self.path, patience, sqlite3.Connection))
            )
            self._reader.execute("PRAGMA query_only = ON")
            self._limits = opened.enter_context(closing(self._open_limits(patience)))
            self._writer = _Writer(self._open_for_writing, waits=durable)
            opened.pop_all()
        # Asked by the loop's thread and, for tests and tools, by others.
        self._reading = threading.Lock()
        self._keys: dict[str, StoredKey] = {}
        self._keys_version = -1
        self._counting = threading.Lock()
        self._turn = _Turn(self._let_in)

    def _connect(self, path: str, patience: float, kind: type[C]) -> C:
        db = sqlite3.connect(
            path, timeout=patience, isolation_level=None, check_same_thread=False, factory=kind
        )
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA wal_autocheckpoint = {PAGES_BETWEEN}")
            db.execute(f"PRAGMA cache_size = -{CACHE_KILOBYTES}")
            db.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            db.close()
            raise
        return db

    def _open_limits(self, patience: float) -> sqlite3.Connection:
        db = self._connect(f"{self.path}-limits", patience, sqlite3.Connection)
        try:
            db.executescript(DIALECT.render(LIMITS_SCHEMA))
            # On the loop's thread nothing may wait for long, not even for another process.
            db.execute(f"PRAGMA busy_timeout = {int(min(patience, 0.05) * 1000)}")
            with suppress(sqlite3.OperationalError):
                self._forget_limits(db)
        except BaseException:
            db.close()
            raise
        return db

    def _open_for_writing(self) -> tuple[LentConnection, LentConnection]:
        lasting = self._connect(self.path, self._patience, LentConnection)
        if self._durable:
            # NORMAL would leave the last commits of a WAL to the operating system.
            lasting.execute("PRAGMA synchronous = FULL")
        # Most claims need not last: lost with the power, so is the work that they stood for.
        return lasting, self._connect(self.path, self._patience, LentConnection)

    # --- how work is run ---

    async def _write(self, work: Callable[[sqlite3.Connection], T], *, lasting: bool = True) -> T:
        return await self._writer.run(work, lasting=lasting)

    def _write_blocking(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._writer.run_blocking(work)

    async def _look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._read_lock() as db:
            return work(db)

    # --- keys and limits ---

    def admit(self, public: str, counting: Counting, /) -> Awaitable[Admitted]:
        """See `Store.admit`."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Admitted] = loop.create_future()
        if not self._turn.add(loop, (public, counting, told)):
            self._let_in([(public, counting, told)])
        return told

    async def take(self, subject: str, limits: Sequence[Limit], /) -> Decision:
        """See `Store.take`."""
        ((decision,),) = self._taken([(subject, limits, 1)])
        return decision

    def _let_in(self, arrivals: Sequence[_Arrival]) -> None:
        """Look up the keys of requests that came together, and count the requests."""
        try:
            keys = self._keys_now({public for public, _, _ in arrivals})
            # By what is counted, those that came first standing first.
            groups: dict[tuple[str, int], _Group] = {}
            last: Counted | None = None
            its: list[tuple[asyncio.Future[Admitted], StoredKey | None]] = []
            for public, counting, told in arrivals:
                key = keys[public]
                try:
                    counted = counting(key)
                except Exception as exc:  # noqa: BLE001  # it belongs to whoever asked
                    _fail([told], exc)
                    continue
                if counted is None:
                    _tell_admitted(told, (key, None))
                    continue
                # What is counted of one key, or by the same limits, is most often the same object:
                # hashing it would take longer.
                if counted is not last:
                    last = subject, limits = counted
                    group = groups.get(which := (subject, id(limits)))
                    if group is None:
                        group = groups[which] = (subject, limits, [])
                    its = group[2]
                its.append((told, key))
            if not groups:
                return
            taken = self._taken([(subject, limits, len(its)) for subject, limits, its in groups.values()])
        except Exception as exc:  # noqa: BLE001  # it belongs to all who asked
            _fail([told for _, _, told in arrivals], exc)
            return
        for (_, _, its), of_group in zip(groups.values(), taken, strict=True):
            for (told, key), decision in zip(its, of_group, strict=True):
                if not told.done():  # it went away
                    told.set_result((key, decision))

    def _keys_now(self, publics: Iterable[str]) -> dict[str, StoredKey | None]:
        """The keys with these public parts; those that are remembered, if nothing was committed since."""
        with self._read_lock() as db:
            ((version,),) = db.execute("PRAGMA data_version").fetchall()
            if version != self._keys_version or len(self._keys) > MOST_KEYS:
                self._keys.clear()
                self._keys_version = version
            found: dict[str, StoredKey | None] = {}
            for public in publics:
                key = self._keys.get(public)
                if key is None:
                    key = self._find_key(db, public)
                    if key is not None:
                        self._keys[public] = key
                found[public] = key
            return found

    def _taken(self, asked: Sequence[tuple[str, Sequence[Limit], int]]) -> list[list[Decision]]:
        """
        Count requests, all of them or none.

        Args:
            asked: Subjects, their limits, and how many requests each made.

        Raises:
            StoreBusyError: another process keeps the file to itself.
        """
        db = self._limits
        with self._counting:
            try:
                self._takes += sum(many for _, _, many in asked)
                if self._takes >= max(TAKES_BETWEEN, self._left):
                    self._forget_limits(db)
                    ((self._left,),) = db.execute("SELECT count(*) FROM failwell_limits").fetchall()
                    self._takes = 0
                db.execute("BEGIN IMMEDIATE")
                try:
                    told = [self._take(db, *one) for one in asked]
                    db.execute("COMMIT")
                except BaseException:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
                return told
            except sqlite3.Error as exc:
                raise _busy_or(exc) from exc

    def _take(
        self, db: sqlite3.Connection, subject: str, limits: Sequence[Limit], many: int
    ) -> list[Decision]:
        """Count requests of one subject, while nobody else can write."""
        now = int(self.clock() * MICROSECONDS)
        read, write = _limits_sql(len(limits))
        rows = db.execute(read, (subject,)).fetchall()
        allowed, tats = counted(limits, many, rows[0] if rows else [None] * len(limits), now)
        # Two plain statements take half as long as one with RETURNING, for which SQLite makes a table.
        db.execute(write, (subject, allowed, max(tats), *tats))
        return decisions(limits, many, allowed, tats, now)

    # --- idempotency ---

    async def claim(self, wanted: Claim, /, *, lease: float, keep: float, take_over: bool = True) -> Claimed:
        """See `Store.claim`."""
        if self._durable:
            # A replay need not wait for the commits of others.
            standing = await self._look(lambda db: self._standing(db, wanted))
            if standing is not None:
                return standing

        def insert(db: sqlite3.Connection) -> Claimed:
            self._clean_up(db)
            return self._claim(db, wanted, lease, keep, take_over)

        # A claim that nobody may take over has to be found after a power cut: else the work is done
        # twice.
        return await self._writer.run(insert, lasting=not take_over)

    async def look_up(self, wanted: Claim, /) -> Claimed | None:
        """See `TransactionalStore.look_up`."""
        # Each request with a key comes by here: without a closure, and a dict made once.
        rows = self.read(self._standing_sql, {"slot": wanted.slot, "now": self.clock()})
        return self._against(wanted, *rows[0]) if rows else None

    def _record(self, db: sqlite3.Connection, claim: Claim, answer: Answer, keep: float) -> None:
        self._clean_up(db)
        super()._record(db, claim, answer, keep)

    def _clean_up(self, db: sqlite3.Connection) -> None:
        self._claims += 1
        if self._claims % CLAIMS_BETWEEN == 0:
            self._forget_records(db)

    # --- the service's own tables ---

    def read(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """
        The rows of a query, at once, on the calling thread.

        Raises:
            StoreBusyError: another process keeps the file to itself.
        """
        # As `_read_lock`, without the generator of a context manager, which takes a third of a query.
        with self._reading:
            try:
                return self._reader.execute(sql, parameters).fetchall()
            except sqlite3.OperationalError as exc:
                raise _busy_or(exc) from exc

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


@cache
def _limits_sql(number: int) -> tuple[str, str]:
    """The statements that read and write the numbers of so many limits of a subject."""
    columns = [f"tat{n}" for n in range(number)]
    tats = ", ".join(columns)
    return (
        # Names of columns; every value is bound.
        f"SELECT {tats} FROM failwell_limits WHERE subject = ?",  # noqa: S608  # names of columns
        f"INSERT INTO failwell_limits (subject, taken, ends, {tats}) "  # noqa: S608  # names of columns
        f"VALUES (?, ?, ?{', ?' * number}) ON CONFLICT (subject) DO UPDATE SET "
        + ", ".join(f"{column} = excluded.{column}" for column in ("taken", "ends", *columns)),
    )


def _tell_admitted(told: asyncio.Future[Admitted], found: Admitted) -> None:
    if not told.done():  # it went away
        told.set_result(found)


def _fail(waiting: Iterable[asyncio.Future[Admitted]], error: Exception) -> None:
    for told in waiting:
        if not told.done():
            told.set_exception(error)


class _Turn(Generic[T]):
    """
    What an event loop asks for in one turn, to be carried out together at its end.

    It is the first loop's that asks, until that is closed; others are turned away.
    """

    __slots__ = ("_asked", "_carry_out", "_lock", "_loop")

    def __init__(self, carry_out: Callable[[list[T]], None]) -> None:
        self._carry_out = carry_out
        self._asked: list[T] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def add(self, loop: asyncio.AbstractEventLoop, asked: T) -> bool:
        """Whether it will be carried out; called on the thread of `loop`."""
        if self._loop is not loop and not self._adopt(loop):
            return False
        self._asked.append(asked)
        if len(self._asked) == 1:
            loop.call_soon(self._end)
        return True

    def _adopt(self, loop: asyncio.AbstractEventLoop) -> bool:
        with self._lock:
            if self._loop is not None and not self._loop.is_closed():
                return False
            self._loop, self._asked = loop, []
            return True

    def _end(self) -> None:
        asked = self.left()
        if asked:
            self._carry_out(asked)

    def left(self) -> list[T]:
        """What is still to be carried out, which will not be done here any more."""
        asked, self._asked = self._asked, []
        return asked


class LentConnection(sqlite3.Connection):
    """
    A connection in which others work in a transaction of the store's, which they cannot end.

    Attributes:
        lent_on: The thread on which somebody works in it; 0 for none.
    """

    __slots__ = ("lent_on",)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.lent_on = 0
        super().__init__(*arguments, **named)
        # It is asked when a statement is prepared, and so once for each text; of what Python
        # commits by itself, as before a script, each time.
        self.set_authorizer(self._authorize)

    def lend(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """
        What `work` returns, carried out in the transaction that is begun.

        Raises:
            sqlite3.ProgrammingError: it tried to end the transaction, or has ended it.
        """
        self.lent_on = threading.get_ident()
        try:
            result = work(self)
        except sqlite3.DatabaseError as exc:
            if getattr(exc, "sqlite_errorcode", 0) != sqlite3.SQLITE_AUTH:
                raise
            raise sqlite3.ProgrammingError(NOT_YOURS_TO_END) from exc
        finally:
            self.lent_on = 0
        if not self.in_transaction:
            # As a conflict does under INSERT OR ROLLBACK; what came after it was in none.
            raise sqlite3.ProgrammingError(ENDED)
        return result

    def _authorize(self, action: int, *_: str | None) -> int:
        lent = action == sqlite3.SQLITE_TRANSACTION and self.lent_on
        return sqlite3.SQLITE_DENY if lent else sqlite3.SQLITE_OK

    def close(self) -> None:
        """Close it; not for whom it is lent to."""
        if self.lent_on == threading.get_ident():
            raise sqlite3.ProgrammingError(NOT_YOURS_TO_END)
        super().close()

    def __enter__(self) -> NoReturn:
        # Refused here, and not at the commit: by then the statements in between were carried out.
        raise sqlite3.ProgrammingError(NOT_YOURS_TO_END)


class _Job:
    """A piece of work for the writer, and who is to be told of its outcome."""

    __slots__ = ("error", "future", "lasting", "loop", "result", "work")

    def __init__(
        self,
        work: Callable[[sqlite3.Connection], Any],
        lasting: bool,
        future: asyncio.Future[Any] | queue.SimpleQueue[_Job],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.work = work
        self.lasting = lasting
        self.future = future
        self.loop = loop
        self.result: Any = None
        self.error: BaseException | None = None


def _tell(jobs: Iterable[_Job]) -> None:
    """Tell the callers of an event loop; runs there."""
    for job in jobs:
        future = job.future
        assert not isinstance(future, queue.SimpleQueue)
        if future.done():  # it went away
            continue
        error = job.error
        if isinstance(error, StopIteration):  # a future cannot carry it
            error = RuntimeError("the transaction raised StopIteration")
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(job.result)


class _Writer:
    """
    A thread that carries out transactions one after the other.

    Results go back by `call_soon_threadsafe`, those of one commit together; a caller that went
    away in the meantime does not undo its transaction, because nobody could know whether it was
    already committed.

    Args:
        connect: Opens two connections: one whose commits last, and one that is quick.
        waits: Whether commits wait for the disk. If not, an event loop carries out its own work.
    """

    def __init__(self, connect: Callable[[], tuple[LentConnection, LentConnection]], *, waits: bool) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lasting, self._quick = connect()
        self._waits = waits
        if not waits:
            # What would have to be waited for is left to the thread.
            self._quick.execute("PRAGMA busy_timeout = 0")
        self._turn = _Turn(self._carry_out_here)
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="failwell-sqlite-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T], *, lasting: bool = True) -> T:
        """
        What `work` returns, in a transaction.

        Args:
            work: Takes the connection.
            lasting: Whether it must outlive a power cut. If not, `work` is made of statements
                that may as well be carried out one without the other.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job = _Job(_in_context(work), lasting, future, loop)
        if self._waits or self._closed or not self._turn.add(loop, job):
            self._put(job)
        return await future

    def run_blocking(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """
        The same, for a thread that has no event loop.

        Raises:
            RuntimeError: this thread carries out a transaction, which this one would wait for.
        """
        self._refuse_from_within()
        box: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._put(_Job(_in_context(work), True, box, None))
        job = box.get()
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def _carry_out_here(self, jobs: list[_Job]) -> None:
        """Carry out what a loop asked for in one turn, on its own thread."""
        for begin in range(0, len(jobs), MOST_AT_ONCE):
            some = jobs[begin : begin + MOST_AT_ONCE]
            try:
                self._quick.execute(BEGIN)
            except sqlite3.Error:
                # Another process has the file, most likely: the thread waits, or finds out why.
                self._hand_over(some)
                continue
            _carry_out(self._quick, some)
            _tell(some)

    def _hand_over(self, jobs: Iterable[_Job]) -> None:
        for job in jobs:
            try:
                self._put(job)
            except StoreBusyError as exc:
                job.error = exc
                _tell([job])

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
            # Where commits are not waited for, the quick one is the loop's.
            db = self._lasting if not self._waits or any(job.lasting for job in jobs) else self._quick
            try:
                db.execute(BEGIN)
            except BaseException as exc:  # noqa: BLE001  # it belongs to whoever asked
                for job in jobs:
                    job.error = _busy_or(exc)
            else:
                _carry_out(db, jobs)
            _send_home(jobs)
            # A job holds its request; the next one may be long in coming.
            del jobs
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

    def _refuse_from_within(self) -> None:
        if threading.get_ident() in (self._lasting.lent_on, self._quick.lent_on):
            raise RuntimeError(FROM_WITHIN)

    def close(self) -> None:
        self._refuse_from_within()
        with self._lock:
            if not self._closed:
                self._closed = True
                for job in self._turn.left():
                    self._jobs.put(job)
                self._jobs.put(None)
        self._thread.join()


def _in_context(work: Callable[[sqlite3.Connection], T]) -> Callable[[sqlite3.Connection], T]:
    """`work` with the context variables of who asks for it, wherever it is carried out."""
    context = copy_context()
    return lambda db: context.run(work, db)


def _send_home(jobs: Iterable[_Job]) -> None:
    """Tell whoever waits for `jobs`, each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        if job.loop is not None:
            by_loop.setdefault(job.loop, []).append(job)
        elif isinstance(job.future, queue.SimpleQueue):
            job.future.put(job)
    for loop, its in by_loop.items():
        with suppress(RuntimeError):  # it was closed while we worked
            loop.call_soon_threadsafe(_tell, its)


def _carry_out(db: LentConnection, jobs: Sequence[_Job]) -> None:
    """Carry out `jobs` in the transaction that is begun, and commit; one that fails undoes itself alone."""
    try:
        try:
            _carry_out_together(db, jobs)
        except BaseException:
            # An error such as a full disk has rolled back already.
            if db.in_transaction:
                db.execute(ROLLBACK)
            raise
    except BaseException as exc:  # noqa: BLE001  # it belongs to whoever asked
        for job in jobs:
            # What failed by itself has its own reason; the rest was undone with it.
            job.error = job.error or _busy_or(exc)


def _carry_out_together(db: LentConnection, jobs: Sequence[_Job]) -> None:
    try:
        for job in jobs:
            _behind_savepoint(db, job, alone=len(jobs) == 1)
    except BaseException as exc:
        if len(jobs) == 1 or db.in_transaction or isinstance(exc, sqlite3.OperationalError):
            raise
        # By a conflict, one of them has rolled back what the others did, too.
        _carry_out_alone(db, [job for job in jobs if job.error is None])
        return
    try:
        db.execute(COMMIT)
    except sqlite3.IntegrityError:
        if len(jobs) == 1:
            raise
        # A constraint that only the commit looks at: whose it was shows when each is alone.
        db.execute(ROLLBACK)
        _carry_out_alone(db, [job for job in jobs if job.error is None])


def _carry_out_alone(db: LentConnection, jobs: Iterable[_Job]) -> None:
    for job in jobs:
        try:
            db.execute(BEGIN)
        except sqlite3.Error as exc:
            job.error = _busy_or(exc)
        else:
            _carry_out(db, [job])


def _behind_savepoint(db: LentConnection, job: _Job, *, alone: bool) -> None:
    # What need not last need not be undone: each of its statements may stand by itself.
    guarded = job.lasting and not alone
    if guarded:
        db.execute("SAVEPOINT failwell_job")
    try:
        job.result = db.lend(job.work)
        if isinstance(job.result, sqlite3.Cursor):
            # Let go of elsewhere, a cursor resets a statement that this thread may be using by
            # then: "bad parameter or other API misuse". It ends here, and what it points at.
            job.result.close()
            job.result = None
    except BaseException as exc:
        job.error = _busy_or(exc)
        if alone or not db.in_transaction:
            raise
        if guarded:
            db.execute("ROLLBACK TO failwell_job")
    if guarded:
        db.execute("RELEASE failwell_job")


def _busy_or(exc: BaseException) -> BaseException:
    # The low byte is the primary code; SQLITE_BUSY_SNAPSHOT and its like are in the others.
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        busy = StoreBusyError("the database is locked by another process")
        busy.__cause__ = exc
        return busy
    if code == sqlite3.SQLITE_FULL:
        # The transaction was rolled back, and there may be room again.
        busy = StoreBusyError("the disk is full")
        busy.__cause__ = exc
        return busy
    return exc
