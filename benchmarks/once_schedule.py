"""
What happens to which write: its faults, and who is killed at it.

All of it follows from a seed and the write's number, nothing from a clock or from chance: a write's
faults meet its tries one after the other, each exactly once, and the kinds come round in turn.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from failwell.drill import faults
from failwell.drill.faults import Action, Faithful, Fault, Moment

# How likely it is that another fault goes before; there are two at the most.
ANOTHER = 0.25


@dataclass(frozen=True, slots=True)
class Kind:
    """
    One kind of fault.

    Attributes:
        fault: What happens.
        last: Whether the client may have its answer all the same: then it is the write's last fault.
        share: How often it comes, where 4 is usual; what a client can only wait out comes less often.
    """

    fault: Fault
    last: bool = False
    share: int = 4


# What only a proxy does that lets the service work on: not the drill's, which looks at one call at a time.
CUT_AT_WORK = Fault("RST on both sides, the service at work", Action.RST, Moment.WORK, Faithful.KERNEL)
LEFT_AT_WORK = Fault("FIN to the client, the service at work", Action.FIN, Moment.WORK, Faithful.KERNEL)
GATEWAY_TIMEOUT = Fault(
    "504 from a gateway, the service at work", Action.ANSWER, Moment.WORK, status=504, body=b"too late\n"
)
SENT_TWICE = Fault("the request is passed on twice, at once", Action.TWICE, Moment.WORK)
HALF_A_REQUEST = Fault("half a request arrives", Action.FIN, Moment.WORK, Faithful.KERNEL)

_LOGIN = b"<html><body>Log in to the network</body></html>\n"

KINDS = (
    Kind(faults.fin_before_answer()),
    Kind(faults.rst_before_answer()),
    Kind(faults.silence(), share=1),
    Kind(faults.garbage()),
    Kind(faults.answer(502)),
    Kind(faults.answer(503)),
    Kind(faults.answer(503, {"Retry-After": "1"})),
    Kind(faults.answer(429, {"Retry-After": "1"})),
    Kind(HALF_A_REQUEST),
    Kind(CUT_AT_WORK),
    Kind(LEFT_AT_WORK),
    Kind(GATEWAY_TIMEOUT),
    Kind(SENT_TWICE, last=True),
    Kind(faults.lose_answer()),
    Kind(faults.lose_answer(Action.RST)),
    Kind(faults.lose_answer(Action.SILENCE), share=1),
    Kind(faults.late_answer(), share=1),
    Kind(faults.cut_in_headers()),
    Kind(faults.replaced(_LOGIN, "text/html", name="another body with the status")),
    Kind(faults.cut_gzip()),
    Kind(faults.bad_gzip()),
    Kind(faults.cut_body()),
    Kind(faults.cut_body(by=Action.RST)),
    Kind(faults.cut_chunked()),
    Kind(faults.bad_chunk()),
    Kind(faults.cut_until_close()),
    Kind(faults.stall(), share=1),
    Kind(faults.drip(0.01, 5), last=True),
    Kind(faults.early_hints(), last=True),
    Kind(faults.answered_twice(), last=True),
    Kind(faults.trailing_bytes(), last=True),
    Kind(faults.idle_close(), last=True),
)
NAMES = tuple(kind.fault.name for kind in KINDS)


@dataclass(frozen=True, slots=True)
class Kill:
    """
    A SIGKILL, at the first request of a write.

    Attributes:
        who: "worker", "workers" (all of them at once), "client" or "server" (the database's).
        which: Which one of them, of as many as there are.
        after_commit: Whether the service has answered by then, and its answer is lost; else it is at work.
        delay: Seconds that it has been at work.
    """

    who: str
    which: int = 0
    after_commit: bool = False
    delay: float = 0.0


@dataclass(frozen=True)
class Plan:
    """
    Attributes:
        seed: All else follows from it, and from these numbers.
        writes: How many there are, numbered from 0.
        share: The part of them that meets a fault, 0.0 to 1.0.
        every: Writes between two kills of a worker, on average; 0 for none.
        servers: How often the database's server is killed.
        clients: How often a client is killed.
    """

    seed: int
    writes: int
    share: float = 0.25
    every: int = 400
    servers: int = 0
    clients: int = 0

    def faults_of(self, number: int) -> tuple[Fault, ...]:
        """The faults that meet the write's tries, in this order."""
        at = int(number * self.share)
        if int((number + 1) * self.share) == at:
            return ()
        deck, card = divmod(at, len(self._deck))
        order = list(range(len(self._deck)))
        random.Random(f"{self.seed}:deck:{deck}").shuffle(order)
        dice = random.Random(f"{self.seed}:write:{number}")
        before: list[Fault] = []
        while len(before) < 2 and dice.random() < ANOTHER:
            before.append(dice.choice(_NOT_LAST))
        return (*before, self._deck[order[card]])

    @cached_property
    def _deck(self) -> tuple[Fault, ...]:
        return tuple(kind.fault for kind in KINDS for _ in range(kind.share))

    @cached_property
    def faults(self) -> Counter[str]:
        """How often each kind is due."""
        return Counter(fault.name for number in range(self.writes) for fault in self.faults_of(number))

    @cached_property
    def kills(self) -> dict[int, Kill]:
        """By the number of the write."""
        dice = random.Random(f"{self.seed}:kills")
        found: dict[int, Kill] = {}
        gap = (self.every // 2, self.every * 3 // 2)
        number = dice.randint(*gap) if self.every else self.writes
        while number < self.writes:
            found[number] = Kill(
                "workers" if dice.random() < 0.25 else "worker",
                dice.randrange(1000),
                dice.random() < 0.5,
                dice.random() * 0.01,
            )
            number += dice.randint(*gap)
        for who, times in (("server", self.servers), ("client", self.clients)):
            for n in range(times):
                # Evenly, and beside the others.
                found[_free(found, (2 * n + 1) * self.writes // (2 * times))] = Kill(who, n)
        return found


_NOT_LAST = [kind.fault for kind in KINDS if not kind.last for _ in range(kind.share)]


def _free(taken: Iterable[int], number: int) -> int:
    numbers = sorted(taken)
    at = bisect_left(numbers, number)
    while at < len(numbers) and numbers[at] == number:
        number, at = number + 1, at + 1
    return number
