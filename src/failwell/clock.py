"""The time a client goes by. `failwell.testing.FakeClock` is one that jumps."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Clock(Protocol):
        """What a client asks of a clock; all in seconds."""

        def monotonic(self) -> float: ...
        def unix(self) -> float: ...
        def sleep(self, seconds: float, /) -> None: ...
        async def asleep(self, seconds: float, /) -> None: ...


class SystemClock:
    """The machine's clocks and real waits, under asyncio and trio."""

    monotonic = staticmethod(time.monotonic)
    unix = staticmethod(time.time)
    sleep = staticmethod(time.sleep)

    async def asleep(self, seconds: float, /) -> None:
        """Wait in the event loop this runs in."""
        from anyio import sleep  # httpx2 depends on it, and only an async client needs it

        await sleep(seconds)
