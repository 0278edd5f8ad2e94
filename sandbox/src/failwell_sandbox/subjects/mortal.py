"""A service in a process of its own, which can be killed in the middle and started again on what it left."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from failwell_sandbox import server
from failwell_sandbox.server import KINDS, LIMITED, WORK_THREADS, RunningService, served
from failwell_sandbox.storage import Storage

# Longer than any start of a process takes, even where a hundred others start.
START_SECONDS = 60.0


class Mortal:
    """
    One service whose process can be killed. Its port stays: whoever connects meanwhile waits.

    Args:
        opened: Its state and its port, which is this process's.
        wait: Seconds a request waits for another one with its key before it gets a 409.
        lease: Seconds a claim is held without news of its holder.
    """

    def __init__(self, opened: server._Opened, *, wait: float, lease: float) -> None:
        self._opened, self._wait, self._lease = opened, wait, lease
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """
        Start the process, and come back when it listens.

        Raises:
            RuntimeError: it ended at once.
        """
        sock = self._opened.sock
        facts = {
            "storage": asdict(self._opened.storage),
            "listens_on": sock.fileno(),
            "wait": self._wait,
            "lease": self._lease,
        }
        self._process = subprocess.Popen(  # noqa: S603 - this module, with facts of our own
            [sys.executable, "-m", __name__, json.dumps(facts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[sock.fileno()],
        )
        self._hear()

    def take_threads(self) -> None:
        """Have all of its threads for long work taken, for as long as it lives."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("busy\n")
        self._process.stdin.flush()
        self._hear()

    def _hear(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self.kill()
            raise RuntimeError("the service's process ended")

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is told."""
        if self._process is None:
            return
        self._process.kill()
        self._process.communicate()
        self._process = None

    def wait_for_claim(self) -> None:
        """
        Wait until a request with a key is being worked on.

        Raises:
            TimeoutError: none is.
        """
        until = time.monotonic() + START_SECONDS
        sql = "SELECT count(*) FROM failwell_idempotency WHERE status IS NULL"
        while time.monotonic() < until:
            if self._opened.database.read_blocking(sql)[0][0]:
                return
            time.sleep(0.01)
        raise TimeoutError("the service does not work on any request")


@contextmanager
def mortal(name: str, *, wait: float, lease: float) -> Iterator[tuple[RunningService, Mortal]]:
    """The service `name`, not started yet, with a state of its own, which goes with the block."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="failwell-mortal-"))
        # `shared`: this process reads what the other writes.
        storage = Storage(name, "", folder, "", lasting=False, shared=True)
        opened = server._opened(stack, name, storage, server._listening("127.0.0.1", 0), LIMITED)
        process = Mortal(opened, wait=wait, lease=lease)
        stack.callback(process.kill)
        told = RunningService(
            name, opened.url, opened.keys, storage, opened.store, opened.database, lambda draining: None
        )
        yield told, process


def main(facts: dict[str, Any]) -> None:
    """Serve until the process that started this one ends."""
    storage = Storage(**facts["storage"])
    kind = KINDS[storage.service]
    store, database = storage.open(kind.schema)
    service = kind.service(store, database, storage, wait=facts["wait"], lease=facts["lease"])
    with socket.socket(fileno=facts["listens_on"]) as sock, served([(service, sock)]) as threads:
        free = threading.Event()
        print("ready", flush=True)
        for _ in sys.stdin:
            for _ in range(WORK_THREADS):
                threads.submit(free.wait)
            print("ready", flush=True)
        free.set()
    database.close()
    store.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
