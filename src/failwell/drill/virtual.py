"""
The virtual tier: an SDK's own retry policy, budget and circuit in the model of `failwell.storm`.

What is played is decided by the same objects that decide its real calls: they are taken from a client as
the SDK makes it, with the SDK's numbers. The same seed brings the same facts.
"""

from __future__ import annotations

import heapq
import inspect
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any

from failwell.call.breaker import Breaker, BreakerPolicy
from failwell.call.budget import RetryBudget
from failwell.call.flow import Call, Policies, call_flow
from failwell.call.messages import Broken, Phase, Reason, Reply, Request, Response, Send, Sleep, Timeouts
from failwell.call.retry import RetryPolicy
from failwell.client.setup import DEFAULT_DEADLINE
from failwell.contract import Contract
from failwell.drill.overload import Model, Play
from failwell.drill.plan import Scenario
from failwell.drill.subject import Settings, Subject
from failwell.drill.verdict import Finding, Row, Verdict, repeat
from failwell.drill.verdict_overload import bounds
from failwell.errors import CallError, CircuitOpenError
from failwell.storm import POLICIES, Policy, Run, World, simulate

if TYPE_CHECKING:
    from failwell.call.messages import CallFlow

# In a partial outage, one key in so many fails.
KEYS = 10
# Seconds of a bin in which retries are counted.
BIN = 0.1
# Nobody comes back evenly within a tenth of a second; the mean is that of this time, or longer.
SPREAD_OVER = 1.0
# Seconds at the end of an outage, when every budget is spent.
AT_LAST = 10

_REQUEST = Request("GET", "https://api.example/things")

# Begins a call of one client at a moment, about a key.
Begin = Callable[[float, int], "CallFlow"]


@dataclass(frozen=True)
class Own:
    """
    What an SDK's client does by itself: its numbers.

    Attributes:
        contract: Which failure is which exception, and what it says about another try.
        retry: Which failures are tried again.
        budget: Capacity, cost of a retry, cost of one after a 429.
        circuit: When a circuit opens; None for a client without one.
        deadline: Seconds for a whole call.
    """

    contract: Contract
    retry: RetryPolicy
    budget: tuple[float, float, float]
    circuit: BreakerPolicy | None
    deadline: float

    @classmethod
    def of(cls, client: Any) -> Own:
        """What `client`, a failwell client or an SDK's around one, was made with."""
        setup = getattr(client, "_client", client)._setup
        told = inspect.signature(type(client).__init__).parameters.get("deadline")
        deadline = DEFAULT_DEADLINE if told is None or told.default is told.empty else told.default
        budget = setup.budget
        return cls(
            setup.contract,
            setup.retry,
            (budget.capacity, budget.retry_cost, budget.throttle_cost),
            None if setup.breaker is None else setup.breaker.policy,
            float("inf") if deadline is None else deadline,
        )

    def client(self, random: Callable[[], float], *, scoped: bool = False) -> Begin:
        """One client with a budget and circuits of its own."""
        capacity, cost, throttled = self.budget
        budget = RetryBudget(capacity, retry_cost=cost, throttle_cost=throttled)
        policies = Policies(self.retry, Timeouts(), budget)
        breaker = None if self.circuit is None else Breaker(self.circuit)

        def begin(now: float, key: int) -> CallFlow:
            call = Call(_REQUEST, self.contract, deadline=self.deadline)
            # What `Operation(scope=…)` names is judged by itself.
            circuit = None if breaker is None else breaker.circuit(f"host key-{key}" if scoped else "host")
            return call_flow(call, policies, circuit, now=now, epoch=0.0, random=random)

        return begin

    def policy(self) -> Policy:
        """The same as the storm takes it."""

        def client(random: Callable[[], float]) -> Callable[[float], CallFlow]:
            begin = self.client(random)
            return lambda now: begin(now, 0)

        return Policy(self.contract.name, "the SDK's own numbers", "its client", client)


def played(subject: Subject, scenario: Scenario, model: Model, service: str, seed: int) -> Row:
    """
    The row of `scenario`: what came of `model` with the policies of a client as `subject`'s SDK makes it.

    Args:
        subject: The SDK.
        scenario: What is rehearsed.
        model: What is played.
        service: The base URL for the client, which sends nothing.
        seed: Of all chance in it.
    """
    client = subject.client("sync", service, Settings(own=True))
    try:
        own = Own.of(client)
    finally:
        subject.close(client)
    # What is judged by other bounds is played once.
    facts = measure(own, replace(model, bounds=()), seed)
    row = Row(subject.name, scenario.tier, scenario, Verdict.PASS, measured=dict(facts))
    row.repeat = repeat(subject, scenario)
    row.findings = [Finding(*told) for told in bounds(model.bounds, row.measured)]
    if row.findings:
        row.verdict = Verdict.FAIL
    if row.findings and (why := subject.instead.get(scenario.id)):
        # What an SDK's document promises goes before what is good for the service.
        row.notes, row.findings = [why, *map(str, row.findings)], []
        row.verdict = Verdict.SKIPPED
    return row


@lru_cache(maxsize=256)
def measure(own: Own, model: Model, seed: int) -> dict[str, float]:
    """
    Play `model` with the policies `own`: what was measured, by name. Seconds are virtual.

    Args:
        own: The numbers of an SDK.
        model: What is played.
        seed: Of all chance in it.
    """
    return _PLAYS[model.play](own, model, seed)


# --- a service that is away ---------------------------------------------------------------------


def _storm(own: Own, model: Model, seed: int) -> dict[str, float]:
    facts: dict[str, float] = {}
    for name, world in model.worlds:
        ours = [simulate(world, own.policy(), seed=seed + n) for n in range(model.runs)]
        facts[f"{name}: calls"] = float(sum(ours[0].calls))
        facts[f"{name}: requests for each call"] = median(r.amplification for r in ours)
        facts[f"{name}: in its last {AT_LAST} s"] = median(_ratio(r, -AT_LAST, 0) for r in ours)
        facts[f"{name}: after it"] = median(_ratio(r, 0, None) for r in ours)
        facts[f"{name}: answered"] = median(r.share for r in ours)
        facts[f"{name}: back after"] = _recovery(ours)
        facts[f"{name}: back without retries"] = _recovery(
            [_without_retries(world, seed + n) for n in range(model.runs)]
        )
    return facts


@lru_cache(maxsize=64)
def _without_retries(world: World, seed: int) -> Run:
    """The same for every SDK."""
    return simulate(world, next(p for p in POLICIES if p.name == "no retries"), seed=seed)


def _recovery(runs: list[Run]) -> float:
    return median(float("inf") if r.recovery is None else r.recovery for r in runs)


def _ratio(run: Run, begin: int, end: int | None) -> float:
    """Requests for each call in the seconds from `begin` to `end`, counted from the end of the trigger."""
    over = int(run.world.ends)
    part = slice(over + begin, None if end is None else over + end)
    return sum(run.attempts[part]) / max(1, sum(run.calls[part]))


# --- one of ten keys ----------------------------------------------------------------------------


@dataclass(slots=True)
class _Counted:
    """What became of calls about keys that are well, while another key failed."""

    calls: int = 0
    answered: int = 0
    refused: int = 0
    opened: int = 0
    hit: int = 0
    saved: int = 0
    requests: dict[int, int] = field(default_factory=dict)


def _keys(own: Own, model: Model, seed: int) -> dict[str, float]:
    """Each call is about a key; while the outage lasts, the answers about one of them are 500."""
    ((_, world),) = model.worlds
    counted = _Counted()
    well = replace(world, outage=0.0, after=world.outage + world.after)

    def client(random: Callable[[], float]) -> Callable[[float], CallFlow]:
        begin = own.client(random, scoped=model.scoped)

        def call(now: float) -> CallFlow:
            key = int(random() * KEYS)
            return _about(key, begin(now, key), now, world, counted)

        return call

    simulate(well, replace(own.policy(), client=client), seed=seed)
    return {
        "calls about the nine": counted.calls,
        "of the nine refused": counted.refused / max(1, counted.calls),
        "of the nine answered": counted.answered / max(1, counted.calls),
        "calls about the tenth": counted.hit,
        "of the tenth refused": counted.saved / max(1, counted.hit),
    }


def _about(key: int, flow: CallFlow, began: float, world: World, counted: _Counted) -> CallFlow:
    """`flow`, whose requests fail while the outage lasts if `key` is the one that fails."""
    during = world.begins <= began < world.ends
    counted.calls += during and key != 0
    counted.hit += during and key == 0
    try:
        effect = next(flow)
        while True:
            reply = yield effect
            failing = key == 0 and world.begins <= reply.now < world.ends
            if failing and type(effect) is Send and type(reply.result) is Response:
                reply = replace(reply, result=Response(500))
            effect = flow.send(reply)
    except StopIteration as done:
        counted.answered += during and key != 0
        response: Response = done.value
        return response
    except CallError as error:
        refused = during and isinstance(error, CircuitOpenError)
        counted.refused += refused and key != 0
        counted.saved += refused and key == 0
        raise


# --- one layer behind another -------------------------------------------------------------------


def _nested(own: Own, model: Model, seed: int) -> dict[str, float]:
    """Clients call a layer, which calls the failing service with the same client and passes on its word."""
    ((_, world),) = model.worlds
    facts: dict[str, float] = {"tries of one layer": own.retry.max_attempts}
    for hint in (True, False):
        counted = _Counted()

        def client(
            random: Callable[[], float], hint: bool = hint, counted: _Counted = counted
        ) -> Callable[[float], CallFlow]:
            outer, inner = own.client(random), own.client(random)
            return lambda now: _through(outer(now, 0), inner, now, hint, counted)

        run = simulate(world, replace(own.policy(), client=client), seed=seed)
        told = "" if hint else ", were the hint not there"
        facts[f"most requests for one call{told}"] = max(counted.requests.values(), default=0)
        facts[f"requests for each call{told}"] = run.amplification
    return facts


def _through(outer: CallFlow, inner: Begin, now: float, hint: bool, counted: _Counted) -> CallFlow:
    """`outer`, each of whose requests is a call that the layer behind it makes with `inner`."""
    number = counted.calls = counted.calls + 1
    counted.requests[number] = 0
    effect = next(outer)
    while True:
        if type(effect) is Send:
            reply = yield from _served(inner(now, 0), now, hint, number, counted)
        else:
            reply = yield effect
        now = reply.now
        try:
            effect = outer.send(reply)
        except StopIteration as done:
            response: Response = done.value
            return response


def _served(
    inner: CallFlow, now: float, hint: bool, number: int, counted: _Counted
) -> Generator[Send | Sleep, Reply, Reply]:
    """What the layer answers: what its own call brings, or 503 and whether another try helps."""
    try:
        effect = next(inner)
        while True:
            counted.requests[number] += type(effect) is Send
            reply = yield effect
            now = reply.now
            effect = inner.send(reply)
    except StopIteration as done:
        return Reply(now, done.value)
    except CallError:
        # It has tried already: who asks again makes it try all of that again.
        said = ((b"x-should-retry", b"false"),) if hint else ()
        return Reply(now, Response(503, said))


# --- all at the same moment ---------------------------------------------------------------------


def _reset(own: Own, model: Model, seed: int) -> dict[str, float]:
    """Every client has a request under way when all connections are reset; the next is answered."""
    random = Random(seed).random  # noqa: S311 - dice that can be thrown again
    came: list[float] = []
    moments: list[tuple[float, int, CallFlow, Response | None]] = []
    for number in range(model.clients):
        flow = own.client(random)(0.0, 0)
        next(flow)
        effect = flow.send(Reply(0.0, Broken(Phase.SENT, Reason.RESET)))
        heapq.heappush(moments, (effect.seconds if type(effect) is Sleep else 0.0, number, flow, None))
    while moments:
        now, number, flow, answer = heapq.heappop(moments)
        try:
            effect = flow.send(Reply(now, answer))
        except StopIteration:
            continue
        assert type(effect) is Send  # the wait is over, and nothing stands in the way
        came.append(now)
        heapq.heappush(moments, (now, number, flow, Response(200)))
    over = max(SPREAD_OVER, max(came))
    mean = len(came) * BIN / over
    return {
        "retries": len(came),
        "first after": min(came),
        "last after": max(came),
        "mean of a tenth of a second": mean,
        "most in a tenth of a second": _most_within(came, BIN),
        "most for the mean": _most_within(came, BIN) / mean,
    }


def _most_within(came: list[float], seconds: float) -> int:
    """The most of the ordered moments that lie in any stretch of `seconds`."""
    most = first = 0
    for last, moment in enumerate(came):
        while moment - came[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


_PLAYS: dict[Play, Callable[[Own, Model, int], dict[str, float]]] = {
    Play.STORM: _storm,
    Play.KEYS: _keys,
    Play.NESTED: _nested,
    Play.RESET: _reset,
}
