"""
How long this machine kept a thread waiting that only wanted to sleep a moment.

A deadline that is met within a tenth on a quiet machine is met later on a busy one, and that is
not the client's fault. So a thread sleeps all the time while something is rehearsed, and notes how
much too late it woke: that is what every other thread had to put up with, too.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

MOMENT = 0.02  # seconds of sleep between two looks
# What is late by less is the ordinary work of a scheduler.
ORDINARY = 0.005
# Of looks that were late; more than a minute of nothing else.
KEPT = 4096

_lock = threading.Lock()
_users = 0
_over = threading.Event()
_thread: threading.Thread | None = None
_late: deque[tuple[float, float]] = deque(maxlen=KEPT)


@contextmanager
def watched() -> Iterator[None]:
    """Watch for stalls while the block lasts; blocks in several threads share the one that watches."""
    global _users, _thread, _over
    with _lock:
        _users += 1
        if _users == 1:
            _over = threading.Event()
            _thread = threading.Thread(target=_watch, args=(_over,), name="drill-stalls", daemon=True)
            _thread.start()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            last, thread, over = _users == 0, _thread, _over
            if last:
                over.set()
        if last and thread is not None:
            thread.join()


def stalled(since: float, until: float) -> float:
    """
    Seconds that threads were kept waiting.

    Args:
        since: Monotonic seconds.
        until: The same.
    """
    return sum(late for when, late in tuple(_late) if since <= when <= until + MOMENT)


def _watch(over: threading.Event) -> None:
    while not over.is_set():
        asleep = time.monotonic()
        over.wait(MOMENT)
        woke = time.monotonic()
        late = woke - asleep - MOMENT
        if late > ORDINARY:
            _late.append((woke, late))
