"""The machine's clock."""

from __future__ import annotations

import asyncio
import time

import trio

from failwell.clock import SystemClock


def test_it_is_the_machines() -> None:
    clock = SystemClock()

    assert abs(clock.monotonic() - time.monotonic()) < 60
    assert abs(clock.unix() - time.time()) < 60


def test_it_waits_blocking_and_under_both_event_loops() -> None:
    clock = SystemClock()
    for wait in (clock.sleep, lambda s: asyncio.run(clock.asleep(s)), lambda s: trio.run(clock.asleep, s)):
        before = time.monotonic()
        wait(0.01)

        assert time.monotonic() - before >= 0.009
