"""What the doctor says of a PostgreSQL server and of the tables in it."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from doctor_findings import findings, verdicts
from postgres_server import WATCH, PostgresServer, binaries, fresh_database, postgres_server
from temporary_folders import TemporaryFolder

from failwell.service.doctor import CannotLookError, examine
from failwell.service.doctor import postgres as postgres_doctor
from failwell.service.idempotency import Claim
from failwell.service.stores.postgres import PostgresStore

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
    # 200, of which 3 are for superusers; each process has three more than for effects.
    url = postgres.url()

    assert verdicts(url, workers=10)["connections"] == "well"
    assert verdicts(url, workers=40)["connections"] == "wrong"
    assert verdicts(url, workers=24, connections=5)["connections"] == "well"
    assert verdicts(url, workers=24, connections=6)["connections"] == "wrong"

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


def test_no_password_of_postgres_is_in_an_examination(postgres: PostgresServer) -> None:
    assert "hunter22" not in str(examine(postgres.url().replace("@", ":hunter22@")).to_dict())
