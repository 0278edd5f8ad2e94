"""What the doctor says of SQLite's files, their directories and their disks."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from doctor_findings import findings, verdicts

from failwell.service import SQLiteStore
from failwell.service.doctor import examine
from failwell.service.doctor import mounts as mounts_module
from failwell.service.doctor import sqlite as sqlite_doctor
from failwell.service.doctor.mounts import file_system, file_system_of
from failwell.service.idempotency import Claim


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "s.db")
    yield store
    store.close()


def url_of(path: str | Path) -> str:
    return f"sqlite:///{path}"


def test_a_store_at_work_is_well(store: SQLiteStore) -> None:
    found = verdicts(url_of(store.path))

    # The library and the disk are this machine's.
    of_the_machine = {"version", "disk", "file_system"}

    assert of_the_machine <= set(found)
    assert {
        "writable": "well", "journal_mode": "well", "lock": "well", "integrity": "well", "tables": "well",
        "broken_off": "well", "unsettled": "well", "limits": "well",
    } == {check: v for check, v in found.items() if check not in of_the_machine}  # fmt: skip
    assert examine(url_of(store.path)).ok


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    found = findings(url_of(tmp_path / "new.db"))

    assert found["file"].verdict == "advice"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_wrong(tmp_path: Path) -> None:
    assert verdicts(url_of(tmp_path / "gone" / "new.db"))["directory"] == "wrong"


def test_a_directory_in_place_of_a_file_is_called_one(tmp_path: Path) -> None:
    found = findings(url_of(tmp_path))

    assert (found["file"].verdict, found["file"].found) == ("wrong", "This is a directory.")
    assert "writable" not in found
    assert f"sqlite:///{tmp_path}/store.db" in found["file"].do


@contextmanager
def as_somebody_else() -> Iterator[Path]:
    """A directory of ours that we may not write to: root turns into nobody for a while."""
    folder = Path(tempfile.mkdtemp(prefix="failwell-doctor-"))
    was = os.geteuid()
    try:
        yield folder
    finally:
        os.seteuid(was)
        folder.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)


def test_a_directory_that_may_not_be_written_is_wrong() -> None:
    with as_somebody_else() as folder:
        SQLiteStore(folder / "s.db").close()
        folder.chmod(0o555)
        if os.geteuid() == 0:
            os.seteuid(65534)

        found = findings(url_of(folder / "s.db"))

        assert found["writable"].verdict == "wrong"
        assert str(folder) in found["writable"].found
        # WAL needs a file beside the database, even to read.
        assert found["file"].verdict == "wrong"


def test_a_write_lock_that_somebody_keeps_is_named_with_its_process(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_doctor, "PATIENCE", 0.05)
    with another_process(store.path, "BEGIN IMMEDIATE") as pid:
        found = findings(url_of(store.path))

    assert found["lock"].verdict == "wrong"
    if sys.platform == "linux":
        assert str(pid) in found["lock"].found
    assert found["tables"].verdict == "well", "a write lock does not keep readers out"


def test_a_file_that_somebody_keeps_to_himself_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_doctor, "PATIENCE", 0.05)
    SQLiteStore(tmp_path / "s.db").close()
    with another_process(str(tmp_path / "s.db"), "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE"):
        assert verdicts(url_of(tmp_path / "s.db"))["lock"] == "wrong"


def test_what_is_no_lock_is_not_called_one(store: SQLiteStore) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as db:
        db.execute("BEGIN")
        with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
            sqlite_doctor.lock(db, store.path)


def test_a_lock_that_comes_during_the_check_is_no_damage(tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as db,
        closing(sqlite3.connect(tmp_path / "s.db", timeout=0)) as other,
    ):
        db.execute("CREATE TABLE t (a)")
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite_doctor.quick_check(other)


def test_without_a_table_of_locks_nobody_is_named(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_doctor, "LOCKS", "/nonexistent")

    assert [] == sqlite_doctor.holders(store.path)


@contextmanager
def another_process(path: str, statements: str) -> Iterator[int]:
    """A process that has carried out `statements` on the file and keeps it open."""
    program = (
        "import sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for each in sys.argv[2].split(';'): db.execute(each)\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, path, statements], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.stdin.close()


def test_a_store_without_wal_is_wrong(tmp_path: Path) -> None:
    SQLiteStore(tmp_path / "s.db").close()
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:
        db.execute("PRAGMA journal_mode = DELETE")

    assert verdicts(url_of(tmp_path / "s.db"))["journal_mode"] == "wrong"


def test_a_database_that_no_store_has_used_gets_advice(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:
        db.execute("CREATE TABLE mine (a)")

    found = verdicts(url_of(tmp_path / "s.db"))

    assert (found["journal_mode"], found["tables"]) == ("advice", "advice")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    SQLiteStore(tmp_path / "s.db").close()
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:
        db.executescript("DROP INDEX failwell_idempotency_ends; DROP TABLE failwell_keys")

    found = findings(url_of(tmp_path / "s.db"))["tables"]

    assert ("wrong", "Missing: failwell_idempotency_ends, failwell_keys.") == (found.verdict, found.found)


def test_a_damaged_file_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE t (a)")
        db.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 500)
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 5)

    found = findings(url_of(path))["integrity"]

    assert found.verdict == "wrong"
    assert "damaged" in found.found


def test_a_file_whose_schema_is_damaged_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE t (a)")
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)

    assert verdicts(url_of(path))["integrity"] == "wrong"


def test_a_file_that_is_no_database_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("notes to myself\n" * 100)

    assert "no SQLite database" in findings(url_of(tmp_path / "s.db"))["integrity"].found


def test_a_check_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:
        db.execute("CREATE TABLE t (a)")
        db.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 5000)

        assert sqlite_doctor.quick_check(db, seconds=-1.0).verdict == "unknown"
        assert sqlite_doctor.quick_check(db).verdict == "well"


@pytest.mark.parametrize(
    ("free", "verdict"), [(50 * 2**20, "wrong"), (500 * 2**20, "advice"), (5 * 2**30, "well")]
)
def test_a_full_disk_is_wrong(free: int, verdict: str) -> None:
    assert verdict == sqlite_doctor.free_space(free).verdict


@pytest.mark.parametrize(
    ("running", "verdict"),
    [
        ((3, 34, 1), "wrong"),
        ((3, 35, 0), "advice"),
        ((3, 44, 5), "advice"),
        ((3, 44, 6), "well"),
        ((3, 45, 9), "advice"),
        ((3, 50, 7), "well"),
        ((3, 51, 2), "advice"),
        ((3, 51, 3), "well"),
        ((3, 53, 0), "well"),
    ],
)
def test_old_libraries_are_named(running: tuple[int, ...], verdict: str) -> None:
    assert verdict == sqlite_doctor.version(running).verdict


def broken_off(path: Path, number: int, *, take_over: bool) -> None:
    """Claims whose holders are gone."""
    store = SQLiteStore(path, clock=lambda: time.time() - 100)

    async def claim() -> None:
        for n in range(number):
            claim = Claim(b"slot%d" % n, b"f" * 32, b"t" * 16, f"req_{n}")
            await store.claim(claim, lease=1, keep=86400, take_over=take_over)

    asyncio.run(claim())
    store.close()


def test_claims_that_nobody_came_back_for_are_counted(tmp_path: Path) -> None:
    broken_off(tmp_path / "s.db", 3, take_over=True)

    found = findings(url_of(tmp_path / "s.db"))

    assert found["broken_off"].verdict == "advice"
    assert found["broken_off"].found.startswith("3 broke off, the oldest ")
    assert found["unsettled"].verdict == "well"


def test_unsettled_claims_are_named_with_how_to_settle_them(tmp_path: Path) -> None:
    broken_off(tmp_path / "s.db", 7, take_over=False)

    found = findings(url_of(tmp_path / "s.db"))["unsettled"]

    assert found.verdict == "wrong"
    assert "7 at_most_once" in found.found
    assert "req_0" in found.found
    assert "and 2 more" in found.found
    assert "store.settle" in found.do


# --- file systems ---

MOUNTINFO = r"""22 27 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
27 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
98 27 0:44 / /srv/nfs rw,relatime shared:51 - nfs4 files:/export rw,vers=4.2,hard,proto=tcp
99 27 0:45 / /mnt/team\040files rw,relatime shared:52 - cifs //files/team rw,vers=3.1.1
100 27 0:46 / /home/a/remote rw,nosuid,nodev - fuse.sshfs a@host:/data rw,user_id=1000
101 27 0:47 / /host rw,relatime - 9p none rw,trans=virtio
102 27 0:48 / /run rw,nosuid - tmpfs tmpfs rw,size=800k
103 27 8:17 / /media/usb rw - fuseblk /dev/sdb1 rw
104 27 0:49 / /layers rw - overlay overlay rw,lowerdir=/a
105 98 8:18 / /srv/nfs/local rw - xfs /dev/sdc1 rw
106 27 8:19 / /twice rw - ext4 /dev/sdd1 rw
107 106 0:50 / /twice rw - nfs files:/twice rw
cut short
"""


@pytest.mark.parametrize(
    ("path", "kind", "verdict"),
    [
        ("/var/lib/s.db", "ext4", "well"),
        ("/srv/nfs/s.db", "nfs4", "wrong"),
        ("/srv/nfsother/s.db", "ext4", "well"),
        ("/srv/nfs/local/s.db", "xfs", "well"),
        ("/mnt/team files/s.db", "cifs", "wrong"),
        ("/home/a/remote/s.db", "fuse.sshfs", "wrong"),
        ("/host/s.db", "9p", "wrong"),
        ("/run/s.db", "tmpfs", "advice"),
        ("/layers/s.db", "overlay", "advice"),
        ("/media/usb/s.db", "fuseblk", "well"),
        ("/twice/s.db", "nfs", "wrong"),
    ],
)
def test_a_network_file_system_is_wrong(path: str, kind: str, verdict: str) -> None:
    assert kind == file_system_of(path, MOUNTINFO)
    assert verdict == file_system(path, MOUNTINFO).verdict


@pytest.mark.parametrize("table", [None, ""])
def test_where_there_is_no_table_of_mounts_it_is_not_known(table: str | None) -> None:
    assert file_system("/s.db", table).verdict == "unknown"


def test_this_machine_has_a_table_of_mounts_or_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "linux":
        assert " - " in (mounts_module.read_mounts() or "")
    monkeypatch.setattr(mounts_module, "MOUNTS", "/nonexistent")

    assert mounts_module.read_mounts() is None
