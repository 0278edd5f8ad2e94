"""Which core a process stays on, what its environment must not say, and what machine it is."""

from __future__ import annotations

import os
import platform


def cores() -> list[int | None]:
    """The cores this process may use; [None] where that cannot be chosen."""
    if not hasattr(os, "sched_getaffinity"):
        return [None]
    return [*sorted(os.sched_getaffinity(0))]


def pin(core: int | None) -> None:
    """Stay on `core`, so that client and server do not take turns on one."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def forget_proxies() -> None:
    """A proxy of this machine's environment would stand between the client and loopback."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]


def description() -> str:
    """Processor, cores, system and Python, in one line."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return (
        f"{model}, {len(cores())} cores, {platform.system()} {platform.release().split('-')[0]}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def load() -> float:
    """Processes that wanted to run during the last minute, on average; 0.0 where nobody counts."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
