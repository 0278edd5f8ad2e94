"""
One run of the model: a heap of moments, and a clock that jumps from one to the next.

Every client is a generator that yields what it wants to do and is told what came of it: `failwell`'s
own is `call_flow`, the same that sends real requests.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from failwell.call.messages import Broken, Phase, Reason, Reply, Response, Sleep
from failwell.errors import CallError
from failwell.storm.world import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from failwell.call.messages import CallFlow
    from failwell.storm.policies import Policy
    from failwell.storm.world import World

# Seconds in a row, and the share of their calls that must be answered, for a service to be back.
STEADY, BACK = 5, 0.85


@dataclass(slots=True)
class Run:
    """
    What happened, second by second.

    Attributes:
        world: The model.
        calls: Calls that began in each second.
        answered: How many of those were answered in the end.
        attempts: Requests that were sent in each second.
    """

    world: World
    calls: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)

    @property
    def recovery(self) -> int | None:
        """
        Seconds from the end of the trigger until calls are answered again; None if that was not seen.

        They are, once 85 % of the calls of each of five seconds in a row are.
        """
        first = int(self.world.ends)
        for begin in range(first, len(self.calls) - STEADY + 1):
            steady = range(begin, begin + STEADY)
            if all(self.answered[s] >= BACK * self.calls[s] for s in steady):
                return begin - first
        return None

    @property
    def share(self) -> float:
        """The part of all calls that was answered."""
        return sum(self.answered) / max(1, sum(self.calls))

    @property
    def share_during(self) -> float:
        """The part of the calls that began while the trigger lasted."""
        return sum(self.answered[self._during]) / max(1, sum(self.calls[self._during]))

    @property
    def _during(self) -> slice:
        begins = int(self.world.begins)
        return slice(begins, max(int(self.world.ends), begins + 1))

    @property
    def amplification(self) -> float:
        """Requests for each call while the trigger lasted; less than 1 where calls were not sent."""
        return sum(self.attempts[self._during]) / max(1, sum(self.calls[self._during]))

    @property
    def peak(self) -> float:
        """Requests for each call in the worst second."""
        return max((a / max(1, c) for a, c in zip(self.attempts, self.calls, strict=True)), default=0.0)


def simulate(
    world: World,
    policy: Policy,
    *,
    seed: int = 0,
    progress: Callable[[float], object] | None = None,
) -> Run:
    """
    Run the model once.

    Args:
        world: What is simulated.
        policy: What each client does by itself.
        seed: Of all chance in it: the same seed brings the same run.
        progress: Called now and then with the part that is over, from 0 to 1.
    """
    return _Simulation(world, policy, Random(seed), progress).run()  # noqa: S311  # dice that can be thrown again


class _Simulation:
    def __init__(
        self, world: World, policy: Policy, random: Random, progress: Callable[[float], object] | None
    ) -> None:
        self._world = world
        self._policy = policy
        self._random = random
        self._progress = progress
        self._moments: list[tuple[float, int, CallFlow, Reply | None, int, int]] = []
        self._number = 0
        self._clients: dict[int, Callable[[float], CallFlow]] = {}
        # When the service has answered everything that it was sent so far.
        self._free_at = 0.0
        seconds = world.seconds
        self._run = Run(world, [0] * seconds, [0] * seconds, [0] * seconds)

    def run(self) -> Run:
        world, moments, told = self._world, self._moments, 0
        next_call = self._random.expovariate(world.load * world.capacity)
        while True:
            if moments and moments[0][0] <= next_call:
                now, _, flow, reply, second, key = heapq.heappop(moments)
                self._step(now, flow, reply, second, key)
                continue
            if next_call >= world.seconds:
                if not moments:
                    return self._run
                next_call = float("inf")
                continue
            if self._progress is not None and next_call > told:
                told += 1
                self._progress(next_call / world.seconds)
            self._begin(next_call)
            next_call += self._random.expovariate(world.load * world.capacity)

    def _begin(self, now: float) -> None:
        second = int(now)
        self._run.calls[second] += 1
        number = self._random.randrange(self._world.clients)
        client = self._clients.get(number)
        if client is None:  # of a million, most are made when they first call
            client = self._clients[number] = self._policy.client(self._random.random)
        key = self._random.randrange(KEYS)
        self._step(now, client(now), None, second, key)

    def _step(self, now: float, flow: CallFlow, reply: Reply | None, second: int, key: int) -> None:
        """Let a client go on, until it waits for something."""
        try:
            effect = next(flow) if reply is None else flow.send(reply)
        except StopIteration:
            self._run.answered[second] += 1
            return
        except CallError:
            return
        if type(effect) is Sleep:
            self._at(now + effect.seconds, flow, None, second, key)
            return
        if now < len(self._run.attempts):
            self._run.attempts[int(now)] += 1
        at, result = self._served(now, key)
        self._at(at, flow, result, second, key)

    def _at(
        self, moment: float, flow: CallFlow, result: Response | Broken | None, second: int, key: int
    ) -> None:
        self._number += 1  # what happens at the same moment happens in the order it was planned
        heapq.heappush(self._moments, (moment, self._number, flow, Reply(moment, result), second, key))

    def _served(self, now: float, key: int) -> tuple[float, Response | Broken]:
        """When the client hears of a request that is sent now, and what."""
        world = self._world
        failing = world.begins <= now < world.ends
        if failing and world.trigger == "refuse":
            return now, Broken(Phase.NOT_SENT, Reason.REFUSED)
        begins = max(now, self._free_at)
        if world.trigger == "hold" and world.begins <= begins < world.ends:
            begins = world.ends
        self._free_at = done = begins + 1.0 / world.capacity
        if done - now > world.timeout:
            return now + world.timeout, Broken(Phase.SENT, Reason.READ_TIMEOUT)
        return done, Response(500 if failing and world.trigger == "partial" and key == 0 else 200)
