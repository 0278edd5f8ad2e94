"""Whoever serves the sandbox at a terminal is told of a worker that died."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "service"))

from redis_server import fresh_redis

import failwell_sandbox
from failwell_sandbox import processes

SERVE = """
import sys, failwell_sandbox
failwell_sandbox.serve(("kneo",), store=sys.argv[1], workers=2)
"""


def test_a_worker_that_is_replaced_is_one_line_on_standard_error() -> None:
    url = fresh_redis(tcp=True)
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        list(iter(parent.stdout.readline, "Stop with Ctrl-C.\n"))
        first = workers_of(parent.pid)
        killed = min(first)
        os.kill(killed, signal.SIGKILL)
        said = parent.stderr.readline()
        until = time.monotonic() + 60
        while len(workers_of(parent.pid) - {killed}) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        now = workers_of(parent.pid)
        parent.send_signal(signal.SIGINT)
        _, more = parent.communicate(timeout=60)

    assert said == f"failwell: worker process {killed} ended with signal 9; starting another\n"
    assert len(first) == 2
    assert len(now - {killed}) == 2
    assert (parent.returncode, more) == (0, "")


def workers_of(parent: int) -> set[int]:
    """The children of a process that are no zombies."""
    living = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, of, *_ = stat.read_text().rpartition(")")[2].split()
            if int(of) == parent and state != "Z":
                living.add(int(stat.parent.name))
    return living


def test_a_worker_that_ends_by_itself_is_told_with_its_status() -> None:
    assert processes._end_of(3) == "exit status 3"


def test_the_line_is_said_where_serve_is_and_nowhere_else() -> None:
    """A test that kills workers does not want to hear of it."""
    with failwell_sandbox.running(("kneo",)):
        assert not processes.log.handlers
