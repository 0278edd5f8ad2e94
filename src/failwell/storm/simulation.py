"""
One run of the model: a heap of moments, and a clock that jumps from one to the next.

Every client is a generator that yields what it wants to do and is told what came of it: `failwell`'s
own is `call_flow`, the same that sends real requests.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import TYPE_CHECKING

from failwell.call.messages import Broken, Phase, Reason, Reply, Response, Sleep
from failwell.errors import CallError
from failwell.storm.world import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    from failwell.call.messages import CallFlow
    from failwell.storm.policies import Client, Policy
    from failwell.storm.world import World

    # When a call begins, in seconds from the start, the number of its client, its key.
    CallPlan: TypeAlias = tuple[float, int, int]

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
    calls: Iterable[CallPlan] | None = None,
) -> Run:
    """
    Run the model once.

    Args:
        world: What is simulated.
        policy: What each client does by itself.
        seed: Of all chance in it: the same seed brings the same run.
        progress: Called now and then with the part that is over, from 0 to 1.
        calls: When calls begin, in order, who makes them, with which key; by default `plan` says it.
    """
    dice = Random(seed)  # noqa: S311  # dice that can be thrown again
    return _Simulation(world, policy, dice, progress).run(plan(world, dice) if calls is None else calls)


def plan(world: World, random: Random) -> Iterator[CallPlan]:
    """
    A Poisson process: calls begin at random moments, whatever became of those before them.

    Args:
        world: How many there are, and who makes them.
        random: Dice.

    Yields:
        Seconds from the start, the number of the client, and its key, from 0 up to `KEYS`.
    """
    rate, moment, dice = world.load * world.capacity, 0.0, random.random
    while (moment := moment + random.expovariate(rate)) < world.seconds:
        yield moment, int(world.clients * dice()), int(KEYS * dice())


class _Simulation:
    """
    A million clients fit: what is kept of each is its budget and its circuit, from its first call on,
    and of each call that is under way one place on the heap.
    """

    def __init__(
        self, world: World, policy: Policy, random: Random, progress: Callable[[float], object] | None
    ) -> None:
        self._world = world
        self._policy = policy
        self._random = random
        self._progress = progress
        self._clients: list[Client | None] = [None] * world.clients
        # When the service has answered everything that it was sent so far.
        self._free_at = 0.0
        seconds = world.seconds
        self._run = Run(world, [0] * seconds, [0] * seconds, [0] * seconds)

    def run(self, calls: Iterable[CallPlan]) -> Run:
        """Jump from moment to moment, until nothing is left to happen."""
        run, seconds, served = self._run, self._world.seconds, self._served
        # When, in which order, whose turn it is, what it is told, the second its call began, its key.
        moments: list[tuple[float, int, CallFlow, Reply, int, int]] = []
        push, pop = heapq.heappush, heapq.heappop
        planned, number = iter(calls), 0
        next_call, client, next_key = next(planned, _NO_MORE)
        while True:
            reply: Reply | None
            if moments and moments[0][0] <= next_call:
                now, _, flow, reply, second, key = pop(moments)
            elif next_call < inf:
                now, second, key, reply = next_call, int(next_call), next_key, None
                if self._progress is not None and not run.calls[second]:
                    self._progress(second / seconds)
                run.calls[second] += 1
                flow = self._call(client, now)
                next_call, client, next_key = next(planned, _NO_MORE)
            else:
                return run

            # Let the client go on, until it waits for something.
            try:
                effect = flow.send(reply)  # type: ignore[arg-type]  # a generator is begun with None
            except StopIteration:
                run.answered[second] += 1
                continue
            except CallError:
                continue
            number += 1  # what happens at the same moment happens in the order it was planned
            if type(effect) is Sleep:
                at = now + effect.seconds
                push(moments, (at, number, flow, Reply(at), second, key))
                continue
            if now < seconds:
                run.attempts[int(now)] += 1
            at, result = served(now, key)
            push(moments, (at, number, flow, Reply(at, result), second, key))

    def _call(self, number: int, now: float) -> CallFlow:
        """A call that one of the clients begins."""
        client = self._clients[number]
        if client is None:  # of a million, most are made when they first call
            client = self._clients[number] = self._policy.client(self._random.random)
        return client(now)

    def _served(self, now: float, key: int) -> tuple[float, Response | Broken]:
        """When the client hears of a request that is sent now, and what."""
        world = self._world
        failing = world.begins <= now < world.ends
        if failing and world.trigger == "refuse":
            return now, _REFUSED
        begins = max(now, self._free_at)
        if world.trigger == "hold" and world.begins <= begins < world.ends:
            begins = world.ends
        shed = begins - now > world.queue
        done = begins if shed else begins + 1.0 / world.capacity
        self._free_at = done
        if done - now > world.timeout:
            return now + world.timeout, _TIMED_OUT
        if shed:
            return done, Response(503)
        return done, Response(500 if failing and world.trigger == "partial" and key == 0 else 200)


_NO_MORE: CallPlan = (inf, 0, 0)
# Nobody changes what they are told, so all can be told the same.
_REFUSED = Broken(Phase.NOT_SENT, Reason.REFUSED)
_TIMED_OUT = Broken(Phase.SENT, Reason.READ_TIMEOUT)
