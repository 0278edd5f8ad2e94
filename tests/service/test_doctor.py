"""The doctor: each thing that it can find, found in a real store wherever one can be made ill."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from postgres_server import WATCH, PostgresServer, binaries, fresh_database, postgres_server
from redis_server import RedisServer, fresh_redis, new_redis
from temporary_folders import TemporaryFolder

from failwell.service import SQLiteStore
from failwell.service.doctor import CannotLookError, Finding, examine
from failwell.service.doctor import mounts as mounts_module
from failwell.service.doctor import postgres as postgres_doctor
from failwell.service.doctor import redis as redis_doctor
from failwell.service.doctor import sqlite as sqlite_doctor
from failwell.service.doctor.findings import clock_skew
from failwell.service.doctor.mounts import file_system, file_system_of
from failwell.service.idempotency import Claim
from failwell.service.stores.postgres import PostgresStore
from failwell.service.stores.redis import RedisStore


def findings(url: str, **settings: Any) -> dict[str, Finding]:
    """What the doctor says, by what it looked at."""
    return {finding.check: finding for finding in examine(url, **settings).findings}


def verdicts(url: str, **settings: Any) -> dict[str, str]:
    return {check: finding.verdict for check, finding in findings(url, **settings).items()}


# --- SQLite ---


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
        "broken_off": "well", "unsettled": "well",
    } == {check: v for check, v in found.items() if check not in of_the_machine}  # fmt: skip
    assert examine(url_of(store.path)).ok


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    found = findings(url_of(tmp_path / "new.db"))

    assert found["file"].verdict == "advice"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_wrong(tmp_path: Path) -> None:
    assert verdicts(url_of(tmp_path / "gone" / "new.db"))["directory"] == "wrong"


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


# --- any store ---


@pytest.mark.parametrize(
    ("ahead", "trip", "verdict"),
    [(0.2, 0.001, "well"), (-3.0, 0.1, "advice"), (3.0, 6.0, "well"), (-40.0, 0.1, "wrong")],
)
def test_clocks_that_disagree_are_named(ahead: float, trip: float, verdict: str) -> None:
    assert verdict == clock_skew(ahead, trip).verdict


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://x:hunter22@example.com", "No store is like that"),
        ("hunter22", "No store is like that"),
        ("sqlite://host/s.db", "A SQLite store is a file"),
        ("sqlite:///:memory:", "A SQLite store is a file"),
        ("sqlite:///", "A SQLite store is a file"),
    ],
)
def test_what_is_no_store_cannot_be_examined(url: str, sentence: str) -> None:
    with pytest.raises(CannotLookError, match=sentence) as caught:
        examine(url)

    assert "hunter22" not in str(caught.value)


# --- PostgreSQL ---

HEALTHY = {"fsync": "on", "full_page_writes": "on", "autovacuum": "on"}


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server as it comes from its makers, other than the cheap ones of the other tests."""
    with postgres_server(**HEALTHY) as server:
        yield server


def with_settings(url: str, **settings: str) -> str:
    """The URL with settings that hold for its connections."""
    return f"{url}?options={quote(' '.join(f'-c {name}={value}' for name, value in settings.items()))}"


def test_a_postgres_store_at_work_is_well(postgres: PostgresServer) -> None:
    url = postgres.fresh_database()
    PostgresStore(url).close()

    examination = examine(url)

    assert {f.check: f.found for f in examination.findings if f.verdict != "well"} == {}
    assert examination.ok


def test_an_empty_database_gets_advice_and_stays_empty(postgres: PostgresServer) -> None:
    url = postgres.fresh_database()

    found = verdicts(url)

    assert {"tables": "advice", "rights": "well"}.items() <= found.items()
    assert found == verdicts(url)


def test_a_server_that_does_not_wait_for_its_disk_is_wrong() -> None:
    assert {"fsync": "wrong", "full_page_writes": "wrong", "autovacuum": "advice"}.items() <= verdicts(
        fresh_database()
    ).items()


@pytest.mark.parametrize(
    ("settings", "check", "verdict"),
    [
        ({"synchronous_commit": "off"}, "synchronous_commit", "advice"),
        ({"default_transaction_isolation": "serializable"}, "isolation", "advice"),
        ({"default_transaction_read_only": "on"}, "writable", "wrong"),
        ({"search_path": "nowhere"}, "rights", "wrong"),
    ],
)
def test_a_setting_of_the_connection_is_seen(
    settings: dict[str, str], check: str, verdict: str, postgres: PostgresServer
) -> None:
    assert verdict == verdicts(with_settings(postgres.url(), **settings))[check]


def test_a_commit_that_leaves_its_standby_behind_gets_advice() -> None:
    settings = {**HEALTHY, "synchronous_commit": "local", "synchronous_standby_names": "other"}
    found = {finding.check: finding.verdict for finding in postgres_doctor.lasting(settings)}

    assert found == {"fsync": "well", "full_page_writes": "well", "synchronous_commit": "advice"}


def test_an_encoding_without_all_letters_gets_advice(postgres: PostgresServer) -> None:
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")

    assert verdicts(postgres.url("latin"))["encoding"] == "advice"


def test_a_standby_is_wrong_and_its_primary_gets_advice(postgres: PostgresServer, tmp_path: Path) -> None:
    with standby_of(postgres) as url:
        assert verdicts(url)["writable"] == "wrong"
        assert verdicts(postgres.url())["replicas"] == "advice"


@contextmanager
def standby_of(primary: PostgresServer) -> Iterator[str]:
    """A second server that follows `primary`."""
    temporary = TemporaryFolder("failwell-standby-")
    folder = temporary.path
    found = binaries()
    assert found is not None
    user: dict[str, Any] = {}
    if os.getuid() == 0:
        account = pwd.getpwnam("postgres")
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        os.chown(folder, account.pw_uid, account.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run: list[str | Path] = [found / "pg_basebackup", "-h", "127.0.0.1", "-p", str(primary.port)]
    run += ["-U", "postgres", "-D", folder / "data", "-R", "-c", "fast", "--no-sync"]
    subprocess.run(run, check=True, capture_output=True, timeout=120, cwd="/", **user)
    server = subprocess.Popen(
        ["sh", "-c", WATCH, "watch", found / "postgres", "-D", folder / "data", f"--port={port}",
         "--listen_addresses=127.0.0.1", f"--unix_socket_directories={folder}", "--fsync=off",
         "--max_connections=200", "--shared_buffers=32MB", "--timezone=UTC", "--log_timezone=UTC"],
        cwd="/", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, **user,
    )  # fmt: skip
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        until = time.monotonic() + 60
        while not follows(url, primary) and time.monotonic() < until:
            time.sleep(0.1)
        yield url
    finally:
        server.communicate(b"INT\n", timeout=60)
        temporary.close()


def follows(url: str, primary: PostgresServer) -> bool:
    """Whether the standby at `url` answers, and its primary knows of it."""
    try:
        examine(url)
    except CannotLookError:
        return False
    return primary.execute("SELECT count(*) FROM pg_stat_replication") == [(1,)]


def test_what_a_role_may_not_do_is_named(postgres: PostgresServer) -> None:
    url = postgres.fresh_database()
    database = url.rpartition("/")[2]
    postgres.execute("CREATE ROLE guest LOGIN")
    guest = url.replace("postgres@", "guest@")
    postgres.execute('CREATE SCHEMA "Other"; GRANT USAGE ON SCHEMA "Other" TO guest', database)
    try:
        assert findings(guest)["rights"].do.startswith("GRANT CREATE ON SCHEMA public")
        others = with_settings(guest, search_path='"Other"')
        assert findings(others)["rights"].do.startswith('GRANT CREATE ON SCHEMA "Other"')
        PostgresStore(url).close()
        found = findings(guest)
        assert found["rights"].verdict == "wrong"
        assert "failwell_accounts" in found["rights"].found
        assert "unsettled" not in found
        postgres.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO guest", database)
        assert verdicts(guest)["rights"] == "well", "what is there need not be made"
    finally:
        postgres.execute('DROP OWNED BY guest; DROP SCHEMA "Other"', database)
        postgres.execute("DROP ROLE guest")


def test_tables_that_a_crash_empties_are_wrong(postgres: PostgresServer) -> None:
    url = postgres.fresh_database()
    PostgresStore(url).close()
    postgres.execute("ALTER TABLE failwell_keys SET UNLOGGED", url.rpartition("/")[2])

    found = findings(url)["unlogged"]

    assert (found.verdict, found.do) == ("wrong", "ALTER TABLE failwell_keys SET LOGGED.")


def test_an_index_that_is_not_valid_is_wrong(postgres: PostgresServer) -> None:
    url = postgres.fresh_database()
    database = url.rpartition("/")[2]
    PostgresStore(url).close()
    postgres.execute(
        "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'failwell_idempotency_ends'::regclass",
        database,
    )

    assert findings(url)["indexes"].found == "Not valid: failwell_idempotency_ends."


def test_a_server_with_too_few_connections_is_wrong(postgres: PostgresServer) -> None:
    # 200, of which 3 are for superusers; each process has one more, to read.
    url = postgres.url()

    assert verdicts(url, workers=10)["connections"] == "well"
    assert verdicts(url, workers=40)["connections"] == "wrong"
    assert verdicts(url, workers=24, connections=7)["connections"] == "well"

    settings = {"max_connections": "100", "superuser_reserved_connections": "3"}
    assert postgres_doctor.room(settings, 90, 10, [-1, None]).verdict == "advice"
    assert postgres_doctor.room(settings, 0, 10, [5, -1]).verdict == "wrong"


def test_claims_in_postgres_are_looked_at(postgres: PostgresServer) -> None:
    url = postgres.fresh_database()
    store = PostgresStore(url)
    asyncio.run(store.claim(CLAIM, lease=0.001, keep=60, take_over=False))
    store.close()
    time.sleep(0.01)

    assert "req_lost" in findings(url)["unsettled"].found


CLAIM = Claim(b"\xff" * 32, b"f" * 32, b"t" * 16, "req_lost")


@pytest.mark.parametrize(
    ("announced", "pid", "other", "verdict"), [(5, 5, 5, "wrong"), (1, 5, 6, "advice"), (5, 5, 6, "well")]
)
def test_a_pooler_in_between_is_noticed(announced: int, pid: int, other: int, verdict: str) -> None:
    assert verdict == postgres_doctor.pooled(announced, pid, other).verdict


@pytest.mark.parametrize(("number", "verdict"), [(120022, "wrong"), (130000, "well")])
def test_an_old_postgres_is_wrong(number: int, verdict: str) -> None:
    assert verdict == postgres_doctor.version(number).verdict


def test_several_hosts_are_named_each_with_its_port() -> None:
    name = postgres_doctor._name_of

    assert name("postgresql://u:hunter22@a,b:5433/d") == "postgresql://a:5432,b:5433/d"
    assert name("postgresql://u:hunter22@/d?host=/run/pg") == "postgresql:///run/pg:5432/d"


# --- Redis ---


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = new_redis("--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.stop()


def test_a_redis_store_at_work_is_well(redis: RedisServer) -> None:
    url = redis.url(1)
    work_in(url)

    examination = examine(url)

    assert {f.check: f.found for f in examination.findings if f.verdict != "well"} == {}
    assert examination.ok


def work_in(url: str, lease: float = 60.0, *, prefix: str = "failwell") -> None:
    """Leave a claim that only a person could settle, once its lease has lapsed."""

    async def claim() -> None:
        store = RedisStore(url, prefix=prefix)
        await store.claim(CLAIM, lease=lease, keep=60, take_over=False)
        await store.claim(HELD, lease=60, keep=60, take_over=False)
        await store.aclose()

    asyncio.run(claim())


HELD = Claim(b"\xc3\x28" * 16, b"f" * 32, b"t" * 16, "req_held")


def test_an_unsettled_claim_in_redis_is_named(redis: RedisServer) -> None:
    url = redis.url(2)
    work_in(url, 0.001, prefix="größe")
    time.sleep(0.01)

    found = findings(url, prefix="größe")["unsettled"]

    assert found.verdict == "wrong"
    assert "1 at_most_once" in found.found
    assert "req_lost" in found.found


def test_of_many_unsettled_claims_in_redis_some_are_named(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_doctor, "SHOWN", 0)
    work_in(redis.url(8), 0.001)
    time.sleep(0.01)

    assert "and 1 more" in findings(redis.url(8))["unsettled"].found


def test_what_is_settled_meanwhile_is_not_unsettled(redis: RedisServer) -> None:
    url = redis.url(3)
    work_in(url, 0.001)
    time.sleep(0.01)
    record = f"failwell:{{records}}:{CLAIM.slot.hex()}"
    redis.command("HSET", record, "status", "201", database=3)

    assert verdicts(url)["unsettled"] == "well"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb"], {"eviction": "wrong"}),
        (["--maxmemory-policy", "volatile-ttl"], {"eviction": "advice", "memory": "well"}),
        (["--maxmemory", "900kb"], {"memory": "wrong"}),
        (["--save", "60", "1"], {"persistence": "wrong"}),
        (["--appendonly", "yes", "--appendfsync", "everysec"], {"persistence": "advice"}),
        (["--appendonly", "yes", "--appendfsync", "no"], {"persistence": "wrong"}),
        (["--replicaof", "127.0.0.1", "1"], {"role": "wrong"}),
        (["--cluster-enabled", "yes", "--databases", "1"], {"cluster": "wrong"}),
    ],
    ids=lambda v: " ".join(v),
)
def test_a_redis_that_is_set_up_badly_is_wrong(settings: list[str], expected: dict[str, str]) -> None:
    server = new_redis(*settings)
    try:
        assert expected.items() <= verdicts(server.url()).items()
    finally:
        server.stop()


def test_a_replica_of_redis_is_noticed_on_both_sides(redis: RedisServer) -> None:
    replica = new_redis("--replicaof", "127.0.0.1", str(redis.port), "--repl-diskless-sync-delay", "0")
    try:
        until = time.monotonic() + 30
        while verdicts(redis.url(9))["replicas"] != "advice" and time.monotonic() < until:
            time.sleep(0.05)
        assert verdicts(redis.url(9))["replicas"] == "advice"
        assert verdicts(replica.url())["role"] == "wrong"
    finally:
        replica.stop()


def test_a_server_that_could_not_save_is_wrong() -> None:
    info = {"aof_enabled": 1, "rdb_last_bgsave_status": "err"}
    found = redis_doctor.persistence(info, {"appendfsync": "always", "save": ""})

    assert [("saving", "wrong"), ("persistence", "well")] == [(f.check, f.verdict) for f in found]


def test_a_redis_that_keeps_nothing_on_disk_is_wrong() -> None:
    assert "Nothing is kept on disk" in findings(fresh_redis())["persistence"].found


def test_what_an_acl_hides_is_not_known(redis: RedisServer) -> None:
    redis.command("ACL", "SETUSER", "blind", "on", ">hunter22", "~*", "+ping", "+select", "+client", "+hello")
    redis.command("ACL", "SETUSER", "short", "on", ">hunter22", "~*", "+ping", "+select", "+info", "+eval",
                  "+time")  # fmt: skip

    blind = verdicts(f"redis://blind:hunter22@127.0.0.1:{redis.port}/0")
    short = verdicts(f"redis://short:hunter22@127.0.0.1:{redis.port}/0")

    assert {
        "version": "unknown", "role": "unknown", "eviction": "unknown", "memory": "unknown",
        "persistence": "unknown", "scripts": "wrong", "clock": "wrong",
    }.items() <= blind.items()  # fmt: skip
    assert {
        "version": "well", "scripts": "well", "clock": "well", "persistence": "unknown",
        "keyspace": "unknown", "unsettled": "unknown",
    }.items() <= short.items()  # fmt: skip


def test_without_its_settings_a_redis_without_a_log_is_wrong_all_the_same() -> None:
    (found,) = redis_doctor.persistence({"aof_enabled": 0}, {"appendfsync": None, "save": None})

    assert found.verdict == "wrong"


def test_keys_of_others_in_the_database_are_noticed(redis: RedisServer) -> None:
    redis.command("SET", "cache:1", "x", database=4)
    assert "Is this the database" in findings(redis.url(4))["keyspace"].do

    work_in(redis.url(4))
    assert "database of its own" in findings(redis.url(4))["keyspace"].do


def test_a_large_database_is_looked_at_in_part(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_doctor, "LOOKED_AT", 1)
    for n in range(2000):
        redis.command("SET", f"failwell:{n}", "x", database=5)

    assert findings(redis.url(5))["keyspace"].found.startswith("The first 1,0")


@pytest.mark.parametrize(
    ("used", "verdict"), [(10, "well"), (79, "well"), (80, "advice"), (95, "wrong"), (100, "wrong")]
)
def test_a_memory_that_is_nearly_full_is_named(used: int, verdict: str) -> None:
    assert verdict == redis_doctor.memory({"maxmemory": 100 * 2**20, "used_memory": used * 2**20}).verdict


@pytest.mark.parametrize(
    ("spelled", "verdict"),
    [
        ("5.2.0", "wrong"),
        ("5.2.1", "well"),
        ("8.0.0", "wrong"),
        ("8.0.1", "wrong"),
        ("8.0.2", "well"),
        ("8.1.0", "well"),
    ],
)
def test_versions_of_redis_py_that_hang_are_wrong(spelled: str, verdict: str) -> None:
    assert verdict == redis_doctor.driver(spelled).verdict


@pytest.mark.parametrize(("spelled", "verdict"), [("6.0.16", "wrong"), ("6.2.0", "well"), ("7.0.15", "well")])
def test_an_old_redis_is_wrong(spelled: str, verdict: str) -> None:
    assert verdict == redis_doctor.version({"redis_version": spelled}).verdict


# --- what cannot be examined, and what is not said ---


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter22@127.0.0.1:1/d",
        "postgresql://u:hun/ter22@127.0.0.1:1/d",
        "postgresql://u:hun@ter22@127.0.0.1:1/d",
        "postgresql://u:hunter22@127.0.0.1:1/d?nonsense=hunter22",
        "redis://u:hunter22@127.0.0.1:1/0",
        "redis://u:hun/ter22@127.0.0.1:1/0",
        "redis://127.0.0.1:1/0?socket_timeout=hunter22",
    ],
)
def test_who_does_not_answer_cannot_be_examined(url: str) -> None:
    with pytest.raises(CannotLookError) as caught:
        examine(url)

    assert all(word not in str(caught.value) for word in ("hunter22", "ter22", "hun"))


def test_a_wrong_password_is_not_repeated(redis: RedisServer) -> None:
    with pytest.raises(CannotLookError) as caught:
        examine(f"redis://nobody:hunter22@127.0.0.1:{redis.port}/0")

    assert "hunter22" not in str(caught.value)


def test_the_password_is_nowhere_in_an_examination(redis: RedisServer, postgres: PostgresServer) -> None:
    redis.command("ACL", "SETUSER", "full", "on", ">hunter22", "~*", "+@all")
    asked = [f"redis://full:hunter22@127.0.0.1:{redis.port}/7", postgres.url().replace("@", ":hunter22@")]

    assert all("hunter22" not in str(examine(url).to_dict()) for url in asked)


@pytest.mark.parametrize(
    ("package", "url", "extra"),
    [("psycopg", "postgresql://h/d", "failwell[postgres]"), ("redis", "redis://h/0", "failwell[redis]")],
)
def test_a_driver_that_is_missing_is_named(
    package: str, url: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(CannotLookError) as caught:
        examine(url)

    assert extra in str(caught.value)
