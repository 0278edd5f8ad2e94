"""What can be wrong with a SQLite file as a store."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from failwell.service.doctor.findings import advice, unknown, well, wrong
from failwell.service.doctor.mounts import file_system, read_mounts
from failwell.service.doctor.tables import INDEXES, LIMITS_TABLES, TABLES, claims, tables
from failwell.service.stores.sqlite import LEAST_SQLITE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from failwell.service.doctor.findings import Finding

PATIENCE = 1.0  # seconds until a lock is called one
CHECK_SECONDS = 10.0  # for quick_check, which reads the whole file

LEAST_FREE = 100 * 2**20  # bytes
GOOD_FREE = 2**30

# sqlite.org/wal.html, "The WAL-Reset Bug": repaired in 3.51.3, and in these older lines.
_WAL_RESET_REPAIRED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))

LOCKS = "/proc/locks"


def examine_sqlite(path: str) -> list[Finding]:
    """
    The findings about the file at `path`. Nothing is written: the file is not even made.

    Its writers wait for us for the moment in which the lock is tried, and no longer.
    """
    folder = os.path.dirname(os.path.abspath(path))
    findings = [version(sqlite3.sqlite_version_info)]
    if not os.path.isdir(folder):
        do = "Make it, and let the service's user write into it."
        return [*findings, wrong("directory", "The directory is not there.", do)]
    if os.path.isdir(path):
        do = "Name a file in it, such as sqlite:///{}."
        return [*findings, wrong("file", "This is a directory.", do.format(os.path.join(path, "store.db")))]
    findings += [writable(path), file_system(path, read_mounts()), free_space(shutil.disk_usage(folder).free)]
    if not os.path.exists(path):
        do = "Start the service: it makes it. If it has run before, the path is not the one it uses."
        return [*findings, advice("file", "The file is not there yet.", do)]
    return [*findings, *_inside(path), limits(path)]


def _inside(path: str) -> list[Finding]:
    findings: list[Finding] = []
    try:
        with _opened(path) as db:
            present = _names_in(db)
            used = not TABLES.isdisjoint(present)
            findings += [journal_mode(db, used), lock(db, path), quick_check(db)]
            findings += tables(present, TABLES | INDEXES)
            if "failwell_idempotency" in present:
                findings += claims(db, time.time())
    except sqlite3.DatabaseError as exc:
        findings.append(_unreadable(exc, path))
    return findings


@contextmanager
def _opened(path: str) -> Iterator[sqlite3.Connection]:
    """
    A connection to a file that is there, which leaves it and its log as they are.

    Whoever closes the last connection copies the log into the file and removes it. Where a
    service was killed, that would be us: so one that may only read is closed after ours.
    """
    with ExitStack() as stack:
        if os.path.exists(f"{path}-wal"):
            # With its first look it takes its part in the log.
            _names_in(stack.enter_context(closing(_connected(path, "ro"))))
        yield stack.enter_context(closing(_connected(path, "rw")))


def _connected(path: str, mode: str) -> sqlite3.Connection:
    url = f"file:{quote(os.path.abspath(path))}?mode={mode}"  # neither mode makes a file
    return sqlite3.connect(url, uri=True, timeout=PATIENCE, isolation_level=None)


def _names_in(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM sqlite_master")]


def limits(path: str) -> Finding:
    """Whether the second file of the store at `path`, which has the limits, can be used."""
    beside = f"{path}-limits"
    name = os.path.basename(beside)
    if not os.path.exists(beside):
        return well("limits", f"{name} is not there: the service makes it.")
    try:
        with _opened(beside) as db:
            looked_at = [lock(db, beside), quick_check(db), *tables(_names_in(db), LIMITS_TABLES)]
    except sqlite3.DatabaseError as exc:
        looked_at = [_unreadable(exc, beside)]
    for finding in looked_at:
        if finding.verdict == "wrong":
            do = _ABOUT_LIMITS.get(finding.check, finding.do)
            return wrong("limits", f"{name}, which has the limits: {finding.found}", do)
    return well("limits", f"{name}, which has the limits, can be used.")


_ABOUT_LIMITS = {
    "lock": "End the transaction that is open there, or that process. Until then each request that is "
    "counted is refused with a 503.",
    "integrity": "Stop the service and move the file and its log away: it is made anew, and everybody's "
    "allowance is whole again.",
}


def version(running: tuple[int, ...]) -> Finding:
    """Whether the SQLite library that Python was built with is new enough."""
    spelled = ".".join(map(str, running))
    if running < LEAST_SQLITE:
        least = ".".join(map(str, LEAST_SQLITE))
        do = f"Use a Python that was built with {least} or newer: RETURNING came with it."
        return wrong("version", f"The SQLite library is {spelled}.", do)
    if not any(
        running >= good and (running[:2] == good[:2] or good == _WAL_RESET_REPAIRED[0])
        for good in _WAL_RESET_REPAIRED
    ):
        return advice(
            "version",
            f"SQLite {spelled} has the WAL-reset bug: in rare cases, processes that write to one file "
            "at the same moment damage it.",
            "Let one process write, or use a Python with SQLite 3.51.3, 3.50.7, 3.44.6 or newer.",
        )
    return well("version", f"The SQLite library is {spelled}.")


def writable(path: str) -> Finding:
    """Whether this user may write the file, and beside it, where SQLite keeps its log."""
    folder = os.path.dirname(os.path.abspath(path))
    beside = [each for each in (path, f"{path}-wal", f"{path}-shm", f"{path}-limits") if os.path.exists(each)]
    kept = [each for each in (folder, *beside) if not _may_write(each)]
    if kept:
        return wrong(
            "writable",
            f"This user may not write: {', '.join(kept)}.",
            "Let the service's user write the file and its directory: SQLite makes files beside it. "
            "Run the doctor as that user.",
        )
    return well("writable", "The file and its directory may be written.")


def _may_write(path: str) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(path, os.W_OK, effective_ids=effective)


def free_space(free: int) -> Finding:
    """Whether the disk has room; `free` in bytes."""
    found = f"{free / 2**20:,.0f} MiB are free on the disk."
    if free < LEAST_FREE:
        return wrong("disk", found, "Make room: on a full disk every write is refused.")
    if free < GOOD_FREE:
        return advice("disk", found, "Watch it: on a full disk every write is refused.")
    return well("disk", found)


def journal_mode(db: sqlite3.Connection, used: bool) -> Finding:
    """Whether the file is in WAL mode; `used` if a store has been at work in it."""
    ((mode,),) = db.execute("PRAGMA journal_mode").fetchall()
    if mode == "wal":
        return well("journal_mode", "WAL is on.")
    if not used:
        do = "Nothing: the service switches WAL on."
        return advice("journal_mode", f"The journal mode is {mode}.", do)
    return wrong(
        "journal_mode",
        f"The journal mode is {mode}, not WAL: readers and the writer wait for each other.",
        "Start the service while nothing else has the file open: it switches WAL on. If that does not "
        "last, the file system cannot share memory.",
    )


def lock(db: sqlite3.Connection, path: str) -> Finding:
    """Whether the file can be written now."""
    try:
        db.execute("BEGIN IMMEDIATE")
        db.execute("ROLLBACK")
    except sqlite3.OperationalError as exc:
        if _code(exc) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        return _locked(path)
    return well("lock", "Nobody keeps the file locked.")


def _locked(path: str) -> Finding:
    by = holders(path)
    who = f" Process {' or '.join(map(str, by))} has a lock." if by else ""
    return wrong(
        "lock",
        f"Somebody has kept the file locked for {PATIENCE:g} s.{who}",
        "End the transaction that is open there, or that process. Until then writes wait, and are "
        "refused with a 503.",
    )


def holders(path: str) -> list[int]:
    """The other processes with a write lock on the file, if Linux says so."""
    # Under WAL the locks are on the shared memory.
    files = {str(os.stat(each).st_ino) for each in (path, f"{path}-shm") if os.path.exists(each)}
    try:
        with open(LOCKS, encoding="ascii") as table:
            rows = [line.replace(" -> ", " ").split() for line in table]
    except OSError:
        return []
    # "1: POSIX  ADVISORY  WRITE 4711 00:1f:1234 120 120"; the file is device and inode.
    found = {
        int(row[4]) for row in rows if len(row) > 5 and row[3] == "WRITE" and row[5].split(":")[2] in files
    }
    return sorted(pid for pid in found if pid > 0 and pid != os.getpid())


def quick_check(db: sqlite3.Connection, seconds: float = CHECK_SECONDS) -> Finding:
    """Whether the file is whole, as far as `PRAGMA quick_check` can say in so many seconds."""
    until = time.monotonic() + seconds
    db.set_progress_handler(lambda: time.monotonic() > until, 1000)
    try:
        ((said,),) = db.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.OperationalError as exc:
        if _code(exc) != sqlite3.SQLITE_INTERRUPT:
            raise
        return unknown(
            "integrity",
            f"The file is too large to be checked in {seconds:g} s.",
            "Run PRAGMA quick_check on a copy.",
        )
    finally:
        db.set_progress_handler(None, 0)
    if said != "ok":
        return _damaged(said)
    return well("integrity", "The file is whole.")


def _damaged(said: str) -> Finding:
    do = "Stop the service, keep a copy, and restore a backup or save what is left with sqlite3's .recover."
    return wrong("integrity", f"The file is damaged: {' '.join(said.split())}.", do)


def _unreadable(exc: sqlite3.DatabaseError, path: str) -> Finding:
    code = _code(exc)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return _locked(path)
    if code == sqlite3.SQLITE_NOTADB:
        do = "Look at the path: the service would refuse to start on it."
        return wrong("integrity", "The file is no SQLite database.", do)
    if code == sqlite3.SQLITE_CORRUPT:
        return _damaged(str(exc))
    return wrong("file", f"The file cannot be read: {exc}.", "Let this user read and write it.")


def _code(exc: sqlite3.Error) -> int:
    # The low byte is the primary code.
    return int(getattr(exc, "sqlite_errorcode", 0)) & 0xFF
