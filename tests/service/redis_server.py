"""
A private redis-server for tests: one for each worker process, started by the first test that asks.

It listens on a Unix socket and on a free port of 127.0.0.1, keeps nothing on disk, and ends with
the process. Every `fresh_redis()` is the URL of an empty database in it.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import socket
import subprocess
import time
from functools import cache

import pytest
from temporary_folders import TemporaryFolder

MISSING = "redis-server is not installed: apt-get install redis-server"
# More than a process of tests asks for: the first may be in use to the end.
DATABASES = 4096


class RedisServer:
    """
    A redis-server of one's own, ready when made.

    Args:
        settings: Further settings, such as `("--maxmemory", "2mb")`.

    Attributes:
        port: On 127.0.0.1.
        path: The Unix socket.
        process: The server, to be stopped or killed by a test that needs that.
    """

    def __init__(self, *settings: str) -> None:
        self._settings = settings
        self._owner = os.getpid()
        self._temporary = TemporaryFolder("failwell-redis-")
        self.folder = self._temporary.path
        self.path = self.folder / "s"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        atexit.register(self.stop)
        self.start()

    def start(self) -> None:
        """Start the server; after `end`, on the same port and socket again."""
        for _ in range(10):
            # Between our look and the server's, somebody else may take the port: then another.
            self.port = self.port or free_port()
            self.process = subprocess.Popen(
                [*_ends_with_us(), "redis-server", "--port", str(self.port), "--bind", "127.0.0.1",
                 "--unixsocket", str(self.path), "--save", "", "--appendonly", "no", "--dir",
                 str(self.folder), "--databases", str(DATABASES), "--loglevel", "warning",
                 *self._settings],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if self._answers():
                return
            self.end()
            self.port = 0
        raise RuntimeError("redis-server does not start")

    def _answers(self) -> bool:
        assert self.process is not None
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.command("PING") == b"+PONG":
                    return True
            except OSError:
                pass
            time.sleep(0.01)
        return False

    def command(self, *words: str, database: int = 0) -> bytes:
        """The first line of the answer to a command, such as `+OK`."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.path))
            for sent in (("SELECT", str(database)), words):
                connection.sendall(
                    b"*%d\r\n" % len(sent)
                    + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in sent)
                )
            with connection.makefile("rb") as lines:
                lines.readline()
                return lines.readline().rstrip(b"\r\n")

    def url(self, database: int = 0) -> str:
        """Over the Unix socket."""
        return f"unix://{self.path}?db={database}"

    def tcp_url(self, database: int = 0) -> str:
        """Over TCP."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def end(self) -> None:
        """Kill the server; all that it held is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """Kill the server and leave nothing behind. May be called again."""
        if os.getpid() != self._owner:  # a fork, for which it is somebody else's
            return
        self.end()
        atexit.unregister(self.stop)
        self._temporary.close()


def _ends_with_us() -> list[str]:
    """What makes the kernel kill the server when the tests themselves are killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def new_redis(*settings: str) -> RedisServer:
    """A server for one test alone, to be stopped by it; skips the test where there is none."""
    if shutil.which("redis-server") is None:
        pytest.skip(MISSING)
    return RedisServer(*settings)


@cache
def shared_redis() -> RedisServer:
    """The server of this worker process."""
    return new_redis()


_databases = itertools.count()


def fresh_redis(*, tcp: bool = False) -> str:
    """The URL of an empty database; skips the test where there is no redis-server."""
    server = shared_redis()
    database = next(_databases) % DATABASES
    if server.command("FLUSHDB", database=database) != b"+OK":
        raise RuntimeError(f"database {database} cannot be emptied")
    return server.tcp_url(database) if tcp else server.url(database)
