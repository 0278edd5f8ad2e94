"""
Processes that may be killed: a helper process forks one for each job and says how it ended.

The helper holds no store, no thread and no event loop, so that its forks start in milliseconds
and from nothing. POSIX only, as the signal that they are killed with.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO, Self, TypeAlias

    # A function that can be pickled, and its arguments.
    Job: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]

_SLOW = ("failwell.service.conformance.crashes", "psycopg", "redis.asyncio")

# Seconds after which a job that hangs is killed by SIGALRM.
LONGEST = 60

# The clock is set before anything is imported, which might keep the function.
_SERVE = """
import sys, time
ahead, right, right_ns = float(sys.argv[1]), time.time, time.time_ns
if ahead:
    time.time = lambda: right() + ahead
    time.time_ns = lambda: right_ns() + int(ahead * 1e9)
from failwell.service.conformance.forks import serve
serve(sys.argv[2:])
"""

# Set in a fork: how it meets the others. `meet` does nothing elsewhere.
_meeting: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """
    How a process ended.

    Attributes:
        result: What its function returned; None if it did not.
        error: The traceback of what it raised; empty if it did not.
        signal: The signal that killed it; 0 if none did.
    """

    result: Any = None
    error: str = ""
    signal: int = 0


class Processes:
    """
    Runs jobs in processes of their own. Use as a context manager.

    Args:
        ahead: Seconds that their clock, as `time.time` tells it, is ahead of ours.
    """

    def __init__(self, *, ahead: float = 0.0) -> None:
        # What is slow to import is imported once, by the helper, if we have imported it ourselves.
        preload = [name for name in _SLOW if name in sys.modules]
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._helper = subprocess.Popen(  # noqa: S603  # our own interpreter
            [sys.executable, "-c", _SERVE, str(ahead), *preload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )

    def run(self, jobs: Sequence[Job]) -> list[Ended]:
        """
        Run `jobs` at the same time; how each ended.

        Raises:
            TypeError: a job cannot go to another process.
            RuntimeError: the helper process ended, such as because a job cannot be unpickled.
        """
        to, back = self._helper.stdin, self._helper.stdout
        assert to is not None  # both are pipes
        assert back is not None
        to.write(_pickled(jobs))
        to.flush()
        try:
            ended: list[Ended] = pickle.load(back)  # noqa: S301  # from our own helper
        except EOFError:
            raise RuntimeError("the helper process ended; its reason is on stderr") from None
        return ended

    def returned(self, jobs: Sequence[Job]) -> list[Any]:
        """
        What each of `jobs` returned.

        Raises:
            RuntimeError: one of them did not return.
        """
        ended = self.run(jobs)
        for end in ended:
            if end.error or end.signal:
                raise RuntimeError(end.error or f"a process was killed by signal {end.signal}")
        return [end.result for end in ended]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Closes the pipes, on which the helper ends, and waits for it.
        self._helper.communicate()


def _pickled(jobs: Sequence[Job]) -> bytes:
    try:
        pickled = pickle.dumps(list(jobs))
    except (pickle.PicklingError, AttributeError, TypeError) as exc:
        raise TypeError(f"what opens the store goes to other processes by pickle: {exc}") from exc
    # The length goes before: `failwell.service.conformance.__main__` is a module like any other.
    if b"\x08__main__" in pickled:
        raise TypeError(
            "what opens the store goes to other processes by pickle, and their `__main__` is another: "
            "define it in a module that can be imported"
        )
    return pickled


def meet() -> None:
    """Wait, in a job, until all jobs that were started with it are at this point, too, or at their end."""
    if _meeting is not None:
        _meeting()


def serve(preload: Sequence[str]) -> None:
    """What the helper does: import what is needed, and run the jobs it reads until there are no more."""
    commands, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a job prints is no reply
    for name in preload:
        importlib.import_module(name)
    with commands, replies:
        while True:
            try:
                jobs = pickle.load(commands)  # noqa: S301  # from our own parent
            except EOFError:
                return
            pickle.dump(run_forked(jobs), replies)
            replies.flush()


def run_forked(jobs: Sequence[Job]) -> list[Ended]:
    """Run each of `jobs` in a fork of this process, all at once."""
    until, go = os.pipe()
    forks = []
    for job in jobs:
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(go)
            _be_forked(job, theirs, until)
        os.close(theirs)
        forks.append((pid, os.fdopen(ours, "rb")))
    # Each says "." when it meets the others, "=" before its result, and nothing if it died.
    marks = [said.read(1) for _, said in forks]
    os.close(go)
    os.close(until)
    return [_ended(pid, said, mark) for (pid, said), mark in zip(forks, marks, strict=True)]


def _be_forked(job: Job, say: int, until: int) -> None:
    global _meeting
    signal.alarm(LONGEST)
    with os.fdopen(say, "wb") as saying:

        def meeting() -> None:
            saying.write(b".")
            saying.flush()
            os.read(until, 1)

        _meeting = meeting
        function, arguments = job
        try:
            ended = pickle.dumps(Ended(function(*arguments)))
        except BaseException:  # noqa: BLE001  # whoever asked is told
            ended = pickle.dumps(Ended(error=traceback.format_exc()))
        saying.write(b"=" + ended)
    os._exit(0)


def _ended(pid: int, said: BinaryIO, mark: bytes) -> Ended:
    with said:
        if mark == b".":
            mark = said.read(1)
        rest = said.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return Ended(signal=os.WTERMSIG(status))
    ended: Ended = pickle.loads(rest)  # noqa: S301  # from our own fork
    return ended
