"""
Private PostgreSQL servers for tests: started when first asked for, gone with the process.

    url = fresh_database()                  # a new, empty database on this process's own server
    with postgres_server() as server:       # a server of one's own, to stop, crash and start
        url = server.fresh_database()

Where PostgreSQL is not installed, the test that asks is skipped and says which package is missing.
"""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from temporary_folders import TemporaryFolder

PACKAGE = "postgresql"

# No power cut is rehearsed with these. UTC, so that no test depends on where it runs.
CHEAP = {
    "fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB", "max_connections": "200",
    "timezone": "UTC", "log_timezone": "UTC", "autovacuum": "off", "max_wal_size": "256MB",
}  # fmt: skip

# What it says last that cannot start, and to nobody who merely connects too early.
_REFUSES = "FATAL:  could not"

# Ends the server as soon as whoever started it is gone, however that came about: then the pipe
# ends. A word says with which signal.
WATCH = """
"$@" &
server=$!
read -r word
kill -s "${word:-INT}" "$server" 2>/dev/null
wait "$server"
"""


def binaries() -> Path | None:
    """Where `initdb` and `postgres` are; Debian has them off the path, one folder a version."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in folders), key=lambda p: int(p.parent.name), default=None)


class PostgresServer:
    """A server with its data in a folder of its own, on a free port of 127.0.0.1."""

    def __init__(self, **settings: str) -> None:
        found = binaries()
        if found is None:
            pytest.skip(f"PostgreSQL is not installed (Debian's package: {PACKAGE})")
        pytest.importorskip("psycopg", reason='PostgreSQL needs psycopg: pip install "psycopg[binary]"')
        self._bin = found
        self._settings = {**CHEAP, **settings}
        self._numbers = itertools.count(1)
        self._watch: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._temporary = TemporaryFolder("failwell-postgres-")
        self.folder = self._temporary.path
        self._user: Any = {}
        if os.getuid() == 0:  # the server refuses to run as root
            account = pwd.getpwnam("postgres")
            self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        try:
            self._make()
            self.start()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        command: list[str | Path] = [
            self._bin / "initdb",
            "-D",
            self.folder / "data",
            "-U",
            "postgres",
            "-A",
            "trust",
        ]
        command += ["-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        made = subprocess.run(
            command, cwd="/", env=_ENVIRONMENT, capture_output=True, text=True, timeout=120, **self._user
        )
        assert made.returncode == 0, made.stdout + made.stderr

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def fresh_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"db{next(self._numbers)}_{os.getpid()}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """What a statement gives, carried out as the owner of everything."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as db:
            cursor = db.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start the server, on the port it had before, and wait until it answers."""
        for _ in range(1 if self.port else 5):
            port = self.port or _free_port()
            if self._starts(port):
                self.port = port
                return
        raise AssertionError(f"PostgreSQL does not start:\n{self.log()}")

    def _starts(self, port: int) -> bool:
        log = self.folder / "log"
        log.write_bytes(b"")
        settings = {
            **self._settings,
            "port": str(port), "listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.folder),
        }  # fmt: skip
        command: list[str | Path] = ["sh", "-c", WATCH, "watch", self._bin / "postgres"]
        command += ["-D", self.folder / "data"]
        command += [f"--{name}={value}" for name, value in settings.items()]
        # Made by us, so that its owner need not be the one who runs the server.
        with log.open("wb") as out:
            self._watch = subprocess.Popen(
                command, cwd="/", env=_ENVIRONMENT, stdin=subprocess.PIPE, stdout=out, stderr=out,
                start_new_session=True, **self._user,
            )  # fmt: skip
        until = time.monotonic() + 60
        while time.monotonic() < until and _REFUSES not in self.log():
            if self._answers(port):
                return True
            time.sleep(0.02)
        self.stop()
        return False

    def _answers(self, port: int) -> bool:
        # The status that pg_ctl waits for, too; another server may well answer on the port.
        try:
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return lines[3:4] == [str(port)] and lines[-1].startswith("ready")

    def stop(self, signal: str = "INT") -> None:
        """End all connections and the server. `QUIT` ends it as a crash does; it can be started again."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.communicate(f"{signal}\n".encode(), timeout=60)

    def log(self) -> str:
        """What the server has said since it was started."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """Stop the server and forget its data."""
        self.stop("QUIT")
        self._temporary.close()


@contextmanager
def postgres_server(**settings: str) -> Iterator[PostgresServer]:
    """A server of one's own, with `settings` of postgresql.conf."""
    server = PostgresServer(**settings)
    try:
        yield server
    finally:
        server.close()


def shared_server() -> PostgresServer:
    """The server that the tests of this process share."""
    server = _shared.get(os.getpid())
    if server is None:
        server = _shared[os.getpid()] = PostgresServer()
        atexit.register(_close_shared)
    return server


def fresh_database() -> str:
    """The URL of a new, empty database on the server that the tests of this process share."""
    return shared_server().fresh_database()


# By process: what is forked from a test must not end the server of its parent.
_shared: dict[int, PostgresServer] = {}


def _close_shared() -> None:
    server = _shared.pop(os.getpid(), None)
    if server is not None:
        server.close()


# Without the PG* variables of whoever runs the tests.
_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
