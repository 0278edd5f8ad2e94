"""
What runs in the process of a job; `child` is the other side.

What decodes files of strangers runs here and nowhere else: a file that breaks a decoder, or takes
all memory, ends one job and not the service.

The task is the first line of standard input, as JSON; what happens goes to standard output, an object
a line: whatever a task says on its way, and last `{"result": ...}`, `{"failed": {"code", "message"}}`
or `{"crashed": "..."}`. When standard input ends, whoever asked is gone, and so are we.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

# Bytes of address space: a decoder that wants more is given an error.
MOST_MEMORY = 4 * 1024**3

# Between two lines about progress, seconds.
TELL_EVERY = 0.1

Say = Callable[[Mapping[str, Any]], None]
Task = Callable[[Mapping[str, Any], Say], dict[str, Any]]


class TaskError(Exception):  # no failure of a call: it becomes the job's `error`
    """
    A task that cannot be done.

    Attributes:
        code: For programs.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def run(task_of: Callable[[str], Task], extra: str, most_memory: int = MOST_MEMORY) -> int:
    """
    Do the task and say what became of it.

    Args:
        task_of: Gives what does a task of some kind; imports what that needs.
        extra: Of the sandbox, which installs what that needs.
        most_memory: Bytes of address space.
    """
    task = json.loads(_first_line())
    threading.Thread(target=_end_with_the_other_side, daemon=True).start()
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (most_memory, most_memory))
    with suppress(OSError):
        os.nice(5)
    out = sys.stdout
    # What a library prints is no word of ours.
    sys.stdout = sys.stderr

    def say(said: Mapping[str, Any]) -> None:
        out.write(json.dumps(said) + "\n")
        out.flush()

    try:
        do = task_of(task["kind"])
    except ModuleNotFoundError as exc:
        message = f"{exc.name} is not installed: pip install failwell-sandbox[{extra}]"
        say({"failed": {"code": "not_installed", "message": message}})
        return 0
    try:
        say({"result": do(task, say)})
    except TaskError as exc:
        say({"failed": {"code": exc.code, "message": str(exc)}})
    except BaseException:  # noqa: BLE001  # whoever asked writes it into the log
        say({"crashed": traceback.format_exc(limit=8)})
        return 1
    return 0


def _first_line() -> bytes:
    # Past `sys.stdin`, whose lock a waiting thread would hold when the process ends.
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 1 << 16)
        if not part:
            raise SystemExit(3)
        line += part
    return line


def _end_with_the_other_side() -> None:
    while os.read(0, 4096):
        pass
    os._exit(3)


class Progress:
    """Tells now and then how far it is."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._told = 0.0

    def __call__(self, progress: float, **facts: Any) -> None:
        now = time.monotonic()
        if now - self._told >= TELL_EVERY:
            self._told = now
            self._say({"progress": round(progress, 4), **facts})
