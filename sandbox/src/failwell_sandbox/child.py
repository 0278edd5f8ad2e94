"""
A job's process, as who waits for it sees it: a task goes in, objects come out, one after the other.

What runs in there stands in `child_work`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

log = logging.getLogger("failwell_sandbox")

# A task that says nothing for so long is stuck, seconds.
SILENCE = 600.0

# Lines of what a process says before it ends without a result, for the log.
LAST_WORDS = 20

# A line of a job's process is what it found in one file at the most.
MOST_LINE = 64 * 1024 * 1024


class ChildFailedError(Exception):
    """
    The process says that the task cannot be done, or it ended without a word.

    Attributes:
        code: `crashed` if it broke off, and may be tried again; else what the process said.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Child:
    """
    `async with Child(module, task) as child`: the process ends with the block, if not before.

    Threads read and wait, and not the event loop, which is not the main thread's.

    Args:
        module: What the process runs; it calls `child_work.run`.
        task: What it is to do. It stands in no command line and no environment.
        environment: Of the process, instead of ours.
    """

    def __init__(
        self, module: str, task: Mapping[str, Any], *, environment: Mapping[str, str] | None = None
    ) -> None:
        self._module = module
        self._environment = dict(os.environ if environment is None else environment)
        self._task = json.dumps(task).encode() + b"\n"
        self._said: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._process: subprocess.Popen[bytes] | None = None
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._heard = 0.0
        self._threads: list[threading.Thread] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        # Not on a thread: whoever is cancelled meanwhile would leave it to nobody.
        self._process = self._start()
        self._heard = time.monotonic()
        self._threads = [
            threading.Thread(target=self._hand_over, name="failwell-child-task", daemon=True),
            threading.Thread(target=self._listen, args=(loop,), name="failwell-child-said", daemon=True),
            threading.Thread(target=self._keep_last_words, name="failwell-child-words", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        process = self._process
        assert process is not None  # or the block had not begun
        process.kill()
        # Dead within moments: nothing that could be cancelled in the middle.
        for thread in self._threads:
            thread.join()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    async def hear(self, seconds: float) -> dict[str, Any] | None:
        """
        The next object; None if there was none for some seconds.

        Raises:
            ChildFailedError: there will be none.
        """
        try:
            async with asyncio.timeout(seconds):
                said = await self._said.get()
        except TimeoutError:
            return None
        if said is None:
            await asyncio.to_thread(self._threads[-1].join, 1.0)  # what it has said may still be on its way
            words = "\n".join(self._last_words)
            log.error("the process of a job ended without a result: %s", words or "it said nothing")
            raise ChildFailedError("crashed", "The process ended without a result.")
        if said.keys() == {"failed"}:
            raise ChildFailedError(said["failed"]["code"], said["failed"]["message"])
        if "crashed" in said:
            log.error("the process of a job broke off: %s", said["crashed"])
            raise ChildFailedError("crashed", "The process broke off.")
        return said

    async def hear_or_end(self, seconds: float) -> dict[str, Any]:
        """
        The next object; an empty one if there was none for some seconds.

        Raises:
            ChildFailedError: there will be none, or there was none for too long.
        """
        said = await self.hear(seconds)
        now = time.monotonic()
        if said is not None:
            self._heard = now
        elif now - self._heard > SILENCE:
            raise ChildFailedError("crashed", "The process says nothing any more.")
        return said or {}

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  # ourselves
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for whoever waits for it
            # It is one of several, on a machine that serves meanwhile.
            env={**self._environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def _hand_over(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError):  # it is gone, which the other thread hears
            self._process.stdin.write(self._task)
            self._process.stdin.flush()

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with suppress(RuntimeError, OSError, ValueError):  # the loop is over; or the process is
            while line := self._process.stdout.readline(MOST_LINE):
                loop.call_soon_threadsafe(self._said.put_nowait, json.loads(line))
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._said.put_nowait, None)

    def _keep_last_words(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        with suppress(OSError, ValueError):
            while line := self._process.stderr.readline(MOST_LINE):
                self._last_words.append(line.decode(errors="replace").rstrip())


async def result_of(
    module: str, task: Mapping[str, Any], seconds: float, *, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """
    What a short task comes to.

    Args:
        module, task, environment: See `Child`.
        seconds: How long it may take.

    Raises:
        ChildFailedError: it cannot be done.
        TimeoutError: it took longer than `seconds`.
    """
    async with asyncio.timeout(seconds), Child(module, task, environment=environment) as child:
        while True:
            said = await child.hear(seconds)
            if said is not None and "result" in said:
                result: dict[str, Any] = said["result"]
                return result
