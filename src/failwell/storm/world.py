"""The model: a service with one queue, clients that do not wait for each other, and a trigger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from failwell.errors import UsageError

# What the trigger does to the service while it lasts.
Trigger = Literal["hold", "refuse", "partial"]

# In a partial outage, one key in so many fails.
KEYS = 10


@dataclass(frozen=True, slots=True)
class World:
    """
    What is simulated.

    Calls begin at random moments, as many on average in each second, whatever became of those
    before them (an open loop: clients that wait for their answers would hide a backlog). The
    service answers one request after the other, each in `1 / capacity` seconds, in the order in
    which they came, and does not know which of them nobody waits for any more, unless `queue` says
    how long it lets one wait. Nothing is lost on the way, and the way takes no time.

    Attributes:
        load: Calls in a second, as a share of the capacity.
        capacity: Requests that the service answers in a second.
        clients: Clients, each with a budget and a breaker of its own.
        timeout: Seconds after which a client gives an attempt up.
        queue: Seconds after which the service does not begin with a request any more, but answers 503, at
            no cost (it sheds load); by default it works on everything, however old.
        trigger: `hold`: the service stops and requests queue; `refuse`: connections are refused at
            once; `partial`: one key in ten is answered with 500, everything else as ever.
        begins: Seconds from the start at which the trigger begins.
        outage: Seconds that it lasts.
        after: Seconds that are looked at behind its end.

    Raises:
        UsageError: a number is out of its range.

    Source:
        N. Bronson and others, Metastable Failures in Distributed Systems, HotOS 2021, whose example
        has a load of 280 of 300 requests a second and a trigger of 10 s.
    """

    load: float = 0.933
    capacity: float = 100.0
    clients: int = 20
    timeout: float = 1.0
    queue: float = inf
    trigger: Trigger = "hold"
    begins: float = 20.0
    outage: float = 10.0
    after: float = 170.0

    def __post_init__(self) -> None:
        for name in ("load", "capacity", "timeout", "after"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise UsageError(f"{name} is {value}; it is a number above 0")
        if not self.queue > 0:
            raise UsageError(f"queue is {self.queue}; it is seconds, above 0")
        for name in ("begins", "outage"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise UsageError(f"{name} is {value}; it is seconds, 0 or more")
        if self.clients < 1:
            raise UsageError(f"clients is {self.clients}; it is 1 or more")
        if self.trigger not in ("hold", "refuse", "partial"):
            raise UsageError(f"trigger is {self.trigger!r}; it is hold, refuse or partial")

    def where_each_calls(self, every: float) -> World:
        """
        The same, as large as its clients need; `load` and `clients` stay what they are.

        Args:
            every: Seconds between two calls of a client, on average.

        Raises:
            UsageError: `every` is out of its range.
        """
        if not 0 < every < inf:
            raise UsageError(f"every is {every}; it is seconds, above 0")
        return replace(self, capacity=self.clients / every / self.load)

    @property
    def ends(self) -> float:
        """Seconds from the start at which the trigger is over."""
        return self.begins + self.outage

    @property
    def seconds(self) -> int:
        """Seconds in which calls begin."""
        return int(self.ends + self.after)
