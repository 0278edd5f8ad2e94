"""
The connections of a `PostgresStore`: how they are made, used, and lost.

A `Session` is a connection that is made again when it was lost, and knows what an error on it
means. It blocks, unless it is used within `switching.carried_out`: then the event loop goes on
while it waits for the server.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from contextlib import suppress
from functools import lru_cache
from selectors import EVENT_READ
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar

from greenlet import getcurrent

from failwell.errors import ConfigurationError
from failwell.service.stores.base import ENDED, NOT_YOURS_TO_END, FencedError, StoreBusyError
from failwell.service.stores.sockets import CAN_WATCH, ready
from failwell.service.stores.switching import aside, is_switching, pause, turn, waited_for
from failwell.service.stores.urls import has_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn, TypeAlias

    import psycopg
    from greenlet import greenlet
    from psycopg.pq.abc import PGresult

    Connection: TypeAlias = psycopg.Connection[Any]
    # A connection; its process: number, and when it was started; `synchronous_commit`.
    Connected: TypeAlias = tuple[Connection, tuple[int, float], str]
    Row: TypeAlias = tuple[bytes | None, ...]

T = TypeVar("T")

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


# Seconds that a transaction may have been begun before there was anything to do in it.
BEGUN_BEFORE = 0.01

# Seconds after which who waits for the server looks up for a moment, as psycopg does.
WAKE = 0.1

# Seconds that the event loop stands still at most where the server need not be waited for, as in a
# long COPY; as with psycopg, too.
MOST_BUSY = 0.005

_ABOUT = f"""
SELECT current_setting('synchronous_commit'), {NOW}, pid, date_part('epoch', backend_start)
FROM pg_stat_activity WHERE pid = pg_backend_pid()
"""  # noqa: S608  # a constant of ours


class Connector:
    """
    Opens connections that are all alike.

    Attributes:
        ahead: Seconds that the clock of the database is ahead of ours.
        execute: Takes libpq's connection; the steps to the results of what was sent.
        successes: What the status of a result is that is no error.
    """

    def __init__(self, url: str, patience: float) -> None:
        try:
            import psycopg
            from psycopg import generators
            from psycopg.conninfo import conninfo_to_dict
        except ImportError as exc:
            raise ConfigurationError('PostgreSQL needs psycopg: pip install "failwell[postgres]"') from exc
        self.psycopg = psycopg
        self.execute = generators.execute
        self.successes = (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK)
        self._connection = _connection_class()
        self.ahead = 0.0
        try:
            given = conninfo_to_dict(url)
        except (psycopg.ProgrammingError, UnicodeError):
            # Its message repeats the URL, and with it the password.
            raise ConfigurationError("this is no URL of a PostgreSQL database") from None
        if not has_ports(given.get("port")):
            # libpq would say that it cannot reach the database, and so it would be tried again.
            raise ConfigurationError(
                "a port of PostgreSQL is a number from 1 to 65535: postgresql://host:5432/db"
            )
        milliseconds = max(1, int(patience * 1000))
        self._settings = (
            "SET bytea_output = hex;"
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

    def opened(self, until: float, *, settings: str = "") -> Connected:
        """
        A new connection, its process, and what `synchronous_commit` is for what must last. Blocks.

        Args:
            until: When to stop trying, on the monotonic clock.
            settings: Further statements that set it up.

        Raises:
            StoreBusyError: there is none to be had.
        """
        pause = 0.02
        while True:
            db = None
            try:
                db = self._connection.connect(**self._facts, autocommit=True)
                return self._prepare(db, settings)
            except self.psycopg.Error as exc:
                if db is not None:
                    db.close()
                if time.monotonic() + pause >= until:
                    raise StoreBusyError("the database cannot be reached") from exc
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    def _prepare(self, db: Connection, settings: str) -> Connected:
        asked = time.time()
        ((durability, now, *backend),) = db.execute(_ABOUT).fetchall()
        self.ahead = now - (asked + time.time()) / 2
        # Somebody may have asked for more than "on", such as a second machine that has it, too.
        lasting = "on" if durability == "off" else durability
        db.execute(f"{self._settings} SET synchronous_commit = {lasting}; {settings}".encode())
        return db, (backend[0], backend[1]), lasting


@lru_cache(maxsize=1)
def _connection_class() -> type[Connection]:
    """
    psycopg's connection, which blocks; but lets an event loop go on, where one is switched to.

    Who works in a transaction of the store's cannot end it with this: neither by its methods nor
    in SQL.
    """
    import psycopg
    from psycopg import waiting

    class LentCursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, *arguments: Any, **named: Any) -> Any:
            if ends_transaction(query):
                raise psycopg.ProgrammingError(NOT_YOURS_TO_END)
            return super().execute(query, *arguments, **named)

    class SwitchingConnection(psycopg.Connection[Any]):
        # Where somebody works in it now.
        lent_to: greenlet | None = None
        # Until the server answers.
        waits: asyncio.Future[int] | None = None
        # When the event loop last went on with others.
        turned = 0.0

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.cursor_factory = LentCursor

        def __enter__(self) -> NoReturn:
            raise psycopg.ProgrammingError(NOT_YOURS_TO_END)

        def commit(self) -> NoReturn:
            raise psycopg.ProgrammingError(NOT_YOURS_TO_END)

        def rollback(self) -> NoReturn:
            raise psycopg.ProgrammingError(NOT_YOURS_TO_END)

        def close(self) -> None:
            if self.lent_to is getcurrent():
                raise psycopg.ProgrammingError(NOT_YOURS_TO_END)
            super().close()
            if (waits := self.waits) is not None:
                # The system forgets the socket, and tells nobody.
                with suppress(RuntimeError):
                    waits.get_loop().call_soon_threadsafe(_wake, waits)

        def wait(self, gen: Any, interval: float = 0.0, timeout: float | None = None) -> Any:
            limits = {} if timeout is None else {"timeout": timeout}
            if not is_switching():
                return super().wait(gen, interval or WAKE, **limits)
            try:
                if CAN_WATCH and not interval and not limits:
                    return self._wait_for(gen)
                waiter = waiting.wait_async(gen, self.pgconn.socket, interval or WAKE, **limits)
                return waited_for(waiter)
            except Exception:
                raise
            except BaseException:
                # Cancelled: nobody knows how much the server has answered.
                super().close()
                raise

        def _wait_for(self, gen: Any) -> Any:
            """What psycopg's steps come to; each says what it waits for, in the words of `selectors`."""
            try:
                wanted = next(gen)
            except StopIteration as end:
                if time.monotonic() - self.turned > MOST_BUSY:
                    turn()
                    self.turned = time.monotonic()
                return end.value
            try:
                while True:
                    self.waits = ready(self.pgconn.socket, wanted)
                    events = waited_for(self.waits)
                    self.turned = time.monotonic()
                    wanted = gen.send(events)
            except StopIteration as end:
                return end.value
            except OSError as exc:
                raise psycopg.OperationalError("the connection is closed") from exc
            finally:
                self.waits = None

    return SwitchingConnection


def _wake(waits: asyncio.Future[int]) -> None:
    if not waits.done():
        waits.set_result(EVENT_READ)


# What a statement may hold that looks like another one: texts, names, comments.
_QUOTED = re.compile(
    r"""\bE'(?:[^'\\]|\\.|'')*'|'[^']*'|"[^"]*"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$""",
    re.DOTALL | re.IGNORECASE,
)
_OVER = (
    r"(?:commit|abort|start\s+transaction|prepare\s+transaction"
    r"|rollback(?!\s+(?:(?:work|transaction)\s+)?to\b))\b"
)
_AT_FIRST = re.compile(rf"\s*(?:begin\b|end\b|{_OVER})", re.IGNORECASE)
# Later on, BEGIN and END may as well stand in the body of a function.
_LATER = re.compile(rf";\s*{_OVER}", re.IGNORECASE)
MOST_LOOKED_THROUGH = 4096  # characters of a text; they are remembered


def ends_transaction(query: object) -> bool:
    """
    Whether a statement ends the transaction that it is carried out in, or begins one.

    Of a long text only the first statement is looked at, and not into what psycopg composes.
    """
    if not isinstance(query, (str, bytes)):
        return False
    if len(query) <= MOST_LOOKED_THROUGH:
        return _ends_transaction(query)
    return _AT_FIRST.match(_text(query[:MOST_LOOKED_THROUGH])) is not None


@lru_cache(maxsize=512)
def _ends_transaction(query: str | bytes) -> bool:
    plain = _QUOTED.sub(" ", _text(query))
    return _AT_FIRST.match(plain) is not None or _LATER.search(plain) is not None


def _text(query: str | bytes) -> str:
    return query if isinstance(query, str) else query.decode("utf-8", "replace")


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
        self.preparation = f"PREPARE {name} ({', '.join(types.values())}) AS {numbered}"

    def call(self, values: Mapping[str, Any]) -> str:
        """What carries it out."""
        literals = []
        for name in self._names:
            value = values[name]
            write = _LITERALS.get(type(value)) or _writer_of(value)
            literals.append(write(value))
        return f"EXECUTE {self.name} ({', '.join(literals)})"


# Values within a statement are written so that the settings of the connection do not matter.


def _writer_of(value: Any) -> Callable[[Any], str]:
    """How a value of a derived type is written, such as an HTTPStatus."""
    return next(write for kind, write in _LITERALS.items() if isinstance(value, kind))


def _quoted(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "'" in text:
        text = text.replace("'", "''")
    return "E'" + text + "'"


def _array(values: list[Any]) -> str:
    texts = [value if isinstance(value, str) else f"\\x{value.hex()}" for value in values]
    return _quoted(
        "{" + ",".join('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts) + "}"
    )


_LITERALS: dict[type, Callable[[Any], str]] = {
    NoneType: lambda _: "NULL",
    bytes: lambda value: f"E'\\\\x{value.hex()}'",
    str: _quoted,
    list: _array,
    int: int.__repr__,  # of derived types, too
    float: float.__repr__,
}


def rows_of(result: PGresult) -> list[Row]:
    """The rows of a result, as text in bytes."""
    columns = range(result.nfields)
    return [tuple([result.get_value(n, column) for column in columns]) for n in range(result.ntuples)]


def typed(row: Row, kinds: Sequence[Callable[[bytes], Any]]) -> list[Any]:
    """The values of a row."""
    return [None if value is None else kind(value) for value, kind in zip(row, kinds, strict=True)]


def as_text(value: bytes) -> str:
    """A TEXT."""
    return value.decode()


def as_bytes(value: bytes) -> bytes:
    """A BYTEA, of which the first two characters say how it is written."""
    return bytes.fromhex(value[2:].decode())


def as_truth(value: bytes) -> bool:
    """A BOOLEAN."""
    return value == b"t"


class Session:
    """
    A connection, made again when it was lost.

    Attributes:
        backend: The server's process behind it: its number, and when it was started.
        begun: When the next transaction was begun, along with the end of the last one; None if
            it was not.

    Args:
        connector: Opens it.
        settings: Further statements that set it up.
        db: A connection of that connector, to begin with.
        more: Whether there will soon be another transaction: then it begins in the trip in
            which the one before ends.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        settings: str = "",
        db: Connection | None = None,
        more: Callable[[], bool] = lambda: False,
    ) -> None:
        self._connector = connector
        self._more = more
        self.begun: float | None = None
        self._settings = settings
        self._db = db
        self._lasting = ""
        self._lasts = True
        self._prepared: set[str] = set()
        self.backend = (0, 0.0)
        self._fresh = False

    def connection(self, until: float) -> Connection:
        """The connection, outside any transaction."""
        self._fresh = self._db is None or self._db.closed
        if self._db is None or self._db.closed:
            self._db, self.backend, self._lasting = aside(
                lambda: self._connector.opened(until, settings=self._settings)
            )
            self._prepared.clear()
            self._lasts, self.begun = True, None
        return self._db

    @property
    def _own(self) -> Any:
        assert self._db is not None
        return self._db

    def ask(self, calls: Sequence[tuple[Prepared, Mapping[str, Any]]]) -> list[PGresult]:
        """The results of statements that are carried out in one trip, and in one transaction."""
        for statement, _ in calls:
            self._prepare(statement)
        statements = [statement.call(values) for statement, values in calls]
        if self.begun is None:
            return self._say("; ".join(statements))
        self.begun = None
        return self._say("; ".join(["COMMIT", *statements]))[1:]

    def _prepare(self, statement: Prepared) -> None:
        if statement.name not in self._prepared:
            self._say(statement.preparation)
            self._prepared.add(statement.name)

    def end(self) -> None:
        """End a transaction that was begun for somebody who did not come."""
        if self.begun is not None:
            self.begun = None
            self._say("COMMIT")

    def lasts(self, lasts: bool) -> None:
        """Say whether what is committed from here on waits for the disk. Outside any transaction."""
        self.end()
        if lasts is not self._lasts:
            self._say(f"SET synchronous_commit = {self._lasting if lasts else 'off'}")
            self._lasts = lasts

    def begin(self, *, numbered: bool) -> str:
        """Begin a transaction that lasts; its number, if it is to be found again by that."""
        statements = ["SELECT pg_current_xact_id()"] if numbered else []
        # What was begun long ago has a time of its own, which `now()` would tell.
        if self.begun is None or time.monotonic() - self.begun > BEGUN_BEFORE:
            self.lasts(True)
            statements.insert(0, "BEGIN")
        self.begun = None
        results = self._say("; ".join(statements)) if statements else []
        if not numbered:
            return ""
        number = results[-1].get_value(0, 0)
        assert number is not None
        return number.decode()

    def lend(self, work: Callable[[Connection], T]) -> T:
        """
        What `work` returns, given the connection in the transaction that is begun.

        Raises:
            psycopg.ProgrammingError: it tried to end the transaction, or has ended it.
        """
        db: Any = self._own
        db.lent_to = getcurrent()
        try:
            return work(db)
        except Exception as exc:
            if db.info.transaction_status == self._connector.psycopg.pq.TransactionStatus.IDLE:
                raise self._connector.psycopg.ProgrammingError(ENDED) from exc
            raise
        finally:
            db.lent_to = None

    @property
    def is_lent_here(self) -> bool:
        """Whether the code that asks works in a transaction of this session."""
        return getattr(self._db, "lent_to", None) is getcurrent()

    def commit(self, record: tuple[Prepared, Mapping[str, Any]] | None = None) -> None:
        """
        Commit the transaction.

        Args:
            record: A statement that goes before it, in the same trip. If it fails, nothing is
                committed.

        Raises:
            FencedError: it failed with `FENCED`.
        """
        statements = ["COMMIT"]
        if record is not None:
            statement, values = record
            self._prepare(statement)
            statements.insert(0, statement.call(values))
        more = self._more()
        if more:
            statements.append("BEGIN")
        try:
            self._say("; ".join(statements))
        except self._connector.psycopg.DataError as exc:
            if f'"{FENCED}' in str(exc):
                raise FencedError from exc
            raise
        if more:
            self.begun = time.monotonic()

    def _say(self, statements: str) -> list[PGresult]:
        """The results of one or several statements."""
        # Past the cursors and prepared statements of psycopg: there is nothing in it for them.
        db = self._own
        db.pgconn.send_query(statements.encode())
        results: list[PGresult] = db.wait(self._connector.execute(db.pgconn))
        if results[-1].status not in self._connector.successes:
            # None comes after the first that failed.
            raise self._connector.psycopg.errors.error_from_result(results[-1])
        return results

    def ready_to_commit(self) -> None:
        """
        Make sure that COMMIT will mean what it says.

        Raises:
            psycopg.Error: an error was swallowed, after which COMMIT would roll back; or the
                transaction was ended.
        """
        psycopg = self._connector.psycopg
        status = self._own.pgconn.transaction_status
        if status == psycopg.pq.TransactionStatus.INTRANS:
            return
        if status == psycopg.pq.TransactionStatus.INERROR:
            raise psycopg.errors.InFailedSqlTransaction("a statement of the transaction had failed")
        if status == psycopg.pq.TransactionStatus.UNKNOWN:
            raise psycopg.OperationalError("the connection was lost")
        raise psycopg.ProgrammingError(ENDED)

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
        if not isinstance(exc, Exception):
            # Cancelled where it waited: nobody knows how much the server has answered.
            self.drop()
            raise exc
        lost = self.lost(exc)
        idle = self._connector.psycopg.pq.TransactionStatus.IDLE
        if not lost and self._own.info.transaction_status != idle:
            self.begun = None
            try:
                self._say("ROLLBACK")
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
            pause(0.01 * tries)  # the other one goes first
            return
        if state in _BUSY or state.startswith(_BUSY_CLASSES):
            raise StoreBusyError("the database is busy; nothing was written") from exc
        raise exc

    def _is_error(self, exc: BaseException) -> bool:
        return isinstance(exc, self._connector.psycopg.Error)
