"""
Several worker processes behind the same listening sockets, kept alive by the one that began.

Theory of operation. The parent listens, and never accepts. Each worker inherits the sockets and
accepts what it can; a connection that waits while a worker dies is taken by another one. Between
the parent and each worker is a socket pair: orders go down, one JSON object a line, each is
answered by one. Its end is how a worker learns that the parent is no more, however it ended; its
own end it meets by finishing what was begun. A worker that dies is started again.

The orders hold the store's URL, so they stand in no command line and no environment.
"""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

# Its own, so that `serve` can tell of the workers and of nothing else.
log = logging.getLogger("failwell_sandbox.workers")

START_SECONDS = 60.0

# Between the end of an order to stop and the end of patience.
STOP_SECONDS = 10.0

# Between two looks at whether all are alive.
LOOK_SECONDS = 0.05

# A worker that dies as soon as it is started is not started faster than this.
AGAIN_SECONDS = 0.5


class Workers:
    """
    Worker processes, all alike.

    Args:
        number: How many.
        orders: What each is told first.
        sockets: What they listen on; `orders` names them by `fileno()`.
    """

    def __init__(self, number: int, orders: Mapping[str, Any], sockets: Sequence[socket.socket]) -> None:
        self._orders = dict(orders)
        self._sockets = sockets
        self._draining: dict[str, bool] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._workers: list[_Worker] = []
        try:
            for _ in range(number):
                self._workers.append(self._new())
            for worker in self._workers:
                worker.wait_until_ready()
        except BaseException:
            self._stop_all()
            raise
        self._keeper = threading.Thread(target=self._keep, name="failwell-sandbox-workers", daemon=True)
        self._keeper.start()

    def _new(self) -> _Worker:
        return _Worker({**self._orders, "draining": self._draining}, self._sockets)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that are at work now."""
        with self._lock:
            return tuple(w.process.pid for w in self._workers if w.process.poll() is None)

    def drain(self, service: str, draining: bool) -> None:
        """Let a service refuse new work, or take it again, in every worker."""
        with self._lock:
            self._draining[service] = draining
            for worker in self._workers:
                # One that just died is told when it is started again.
                with suppress(OSError):
                    worker.tell({"draining": self._draining})

    def _keep(self) -> None:
        """Start again what has died, until the end."""
        while not self._ending.wait(LOOK_SECONDS):
            with self._lock:
                dead = [at for at, worker in enumerate(self._workers) if worker.process.poll() is not None]
            for at in dead:
                self._replace(at)

    def _replace(self, at: int) -> None:
        died = self._workers[at].process
        log.warning("worker process %d ended with %s; starting another", died.pid, _end_of(died.returncode))
        self._workers[at].stop(0.0)
        with self._lock:
            new = self._new()
            self._workers[at] = new
        try:
            new.wait_until_ready()
        except (OSError, RuntimeError) as exc:
            log.error("a worker process did not start: %s", exc)
            self._ending.wait(AGAIN_SECONDS)

    def close(self) -> None:
        """Let all of them finish what was begun, and wait until they are gone."""
        self._ending.set()
        with self._lock:
            workers = list(self._workers)
        for worker in workers:  # also one that is just starting: then the keeper need not wait for it
            worker.let_go()
        self._keeper.join()
        self._stop_all()

    def _stop_all(self) -> None:
        for worker in self._workers:
            worker.let_go()
        until = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            worker.stop(max(0.0, until - time.monotonic()))


def _end_of(status: int) -> str:
    """How a process ended, by what `Popen.returncode` says of it."""
    return f"exit status {status}" if status >= 0 else f"signal {-status}"


class _Worker:
    """One process, and our end of the line to it."""

    def __init__(self, orders: Mapping[str, Any], sockets: Sequence[socket.socket]) -> None:
        ours, theirs = socket.socketpair()
        self._line = ours
        self._line.settimeout(START_SECONDS)
        self._heard = b""
        # An answer is for who asked.
        self._asking = threading.Lock()
        with theirs:
            try:
                self.process = subprocess.Popen(  # noqa: S603  # ourselves
                    [sys.executable, "-m", "failwell_sandbox.process", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    # Ctrl-C is for whoever waits for us: before it can say so itself, it would die of it.
                    start_new_session=True,
                    pass_fds=[theirs.fileno(), *(sock.fileno() for sock in sockets)],
                )
            except BaseException:
                ours.close()
                raise
        with suppress(OSError):  # it is gone already: `wait_until_ready` says so
            self._say(orders)

    def wait_until_ready(self) -> None:
        """
        Come back when it serves.

        Raises:
            RuntimeError: it does not.
        """
        try:
            with self._asking:
                answer = self._hear()
        except OSError as exc:
            raise RuntimeError(f"a worker process did not start: {exc}") from exc
        if answer.get("ready") is not True:
            raise RuntimeError(f"a worker process did not start: {answer.get('failed')}")

    def tell(self, order: Mapping[str, Any]) -> None:
        """Give an order and wait until it is carried out."""
        with self._asking:
            self._say(order)
            self._hear()

    def let_go(self) -> None:
        """Say that this was all."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)

    def stop(self, seconds: float) -> None:
        """Wait for its end for some seconds, then make it end."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._line.close()

    def _say(self, order: Mapping[str, Any]) -> None:
        self._line.sendall(json.dumps(order).encode() + b"\n")

    def _hear(self) -> dict[str, Any]:
        while b"\n" not in self._heard:
            received = self._line.recv(65536)
            if not received:
                raise ConnectionError("it ended before it answered")
            self._heard += received
        line, _, self._heard = self._heard.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer
