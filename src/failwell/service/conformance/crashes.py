"""
The crash sweep: a process is killed between claim and answer, and the effects are counted.

For each point in `POINTS` a process serves a request through the real gates and kills itself
there with SIGKILL. Then another process gets the same request with the same key, as from a client
that repeats it, until it is no longer told that the first one is at work. Counted are the
effects: rows in the store's own database at level `transactional`, charges at a payment service
at the others. That service is a SQLite file of its own; it knows idempotency keys, and level
`resumable` uses them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass, replace
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from failwell.service.conformance.forks import Ended, Processes
from failwell.service.conformance.shop import (
    Case,
    Fuse,
    Payments,
    Place,
    Seen,
    Shop,
    proofs,
    request,
    request_within,
    settle,
)
from failwell.service.conformance.trial import Effects
from failwell.service.stores.sql import SQLStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from failwell.service.conformance.trial import OpenStore
    from failwell.service.idempotency import Level

    Stage: TypeAlias = "tuple[Callable[..., Any], str]"

# Seconds a claim is held after its holder died.
LEASE = 0.4
# Seconds after which a key whose holder is dead counts as stuck.
STUCK = 20.0
# Processes that run at the same time, so that they wait for the disk together.
AT_ONCE = 4
# What each tenant can spend.
GRANTED = 5


# --- where it dies, and what is promised ---


@dataclass(frozen=True)
class Point:
    """
    Where a process is killed, and what comes of it.

    Attributes:
        level: The level of the operation.
        killed: In words.
        stages: What is done, and where each process dies: a request or a settlement, and a place.
        before: Effects by then.
        seen: What a client that repeats its request sees at last.
        effects: Effects after that.
        asked: How often the payment service was asked altogether; None where nobody counts.
        sql_only: Whether the place is known in stores built on `SQLStore` only.
    """

    level: Level
    killed: str
    stages: tuple[Stage, ...]
    before: int
    seen: str
    effects: int = 1
    asked: int | None = None
    sql_only: bool = False


UNKNOWN = "409 idempotency_outcome_unknown"
AGAIN = "201 replayed"


def _at(*places: str) -> tuple[Stage, ...]:
    return tuple((request, place) for place in places)


POINTS: tuple[Point, ...] = (
    Point("transactional", "before the look-up", _at("before look_up"), 0, "201"),
    Point("transactional", "after the look-up", _at("after look_up"), 0, "201"),
    Point("transactional", "in the handler, before the effect", _at("before effect"), 0, "201"),
    Point("transactional", "in a handler that takes long, before its claim", _at("before claim"), 0, "201"),
    Point("transactional", "in a handler that takes long, after its claim", _at("after claim"), 0, "201"),
    Point("transactional", "after a renewal of the lease", _at("after renew"), 0, "201"),
    Point("transactional", "before the commit", _at("before commit"), 0, "201"),
    Point("transactional", "in the transaction, before the effect", _at("in transaction"), 0, "201"),
    Point("transactional", "in the transaction, after the effect", _at("after effect"), 0, "201"),
    Point("transactional", "in the transaction, after effect, debit and record", _at("record written"), 0,
          "201", sql_only=True),
    Point("transactional", "after the commit", _at("after commit"), 1, AGAIN),
    Point("transactional", "after the handler returned", _at("handled"), 1, AGAIN),
    Point("transactional", "before the first byte of the answer", _at("before answer"), 1, AGAIN),
    Point("transactional", "after half an answer", _at("half an answer"), 1, AGAIN),
    Point("transactional", "after the answer", _at("answered"), 1, AGAIN),
    Point("transactional", "refused by a handler that took long, before the release", _at("before release"),
          0, "201"),
    Point("transactional", "refused by a handler that took long, after the release", _at("after release"),
          0, "201"),
    Point("transactional", "replaying, before the look-up", _at("", "before look_up"), 1, AGAIN),
    Point("transactional", "replaying, before the answer", _at("", "before answer"), 1, AGAIN),
    Point("transactional", "twice: in the transaction, and again in that of who took over",
          _at("after effect", "after effect"), 0, "201"),
    Point("transactional", "twice: after the claim, and after the commit of who took over",
          _at("after claim", "after commit"), 1, AGAIN),
    Point("resumable", "before the claim", _at("before claim"), 0, "201", 2, 2),
    Point("resumable", "after the claim", _at("after claim"), 0, "201", 2, 2),
    Point("resumable", "after a renewal of the lease", _at("after renew"), 0, "201", 2, 2),
    Point("resumable", "before the first step", _at("before first step"), 0, "201", 2, 2),
    Point("resumable", "after the first step's effect", _at("first step done"), 1, "201", 2, 3),
    Point("resumable", "before the first step is kept", _at("before keep_step"), 1, "201", 2, 3),
    Point("resumable", "after the first step is kept", _at("first step kept"), 1, "201", 2, 2),
    Point("resumable", "before the second step", _at("before second step"), 1, "201", 2, 2),
    Point("resumable", "after the second step's effect", _at("second step done"), 2, "201", 2, 3),
    Point("resumable", "after the second step is kept", _at("second step kept"), 2, "201", 2, 2),
    Point("resumable", "before the record", _at("before record"), 2, "201", 2, 2),
    Point("resumable", "after the record", _at("after record"), 2, AGAIN, 2, 2),
    Point("resumable", "before the first byte of the answer", _at("before answer"), 2, AGAIN, 2, 2),
    Point("resumable", "after half an answer", _at("half an answer"), 2, AGAIN, 2, 2),
    Point("resumable", "after the answer", _at("answered"), 2, AGAIN, 2, 2),
    Point("resumable", "refused by the handler, before the release", _at("before release"), 0, "201", 2, 2),
    Point("resumable", "refused by the handler, after the release", _at("after release"), 0, "201", 2, 2),
    Point("resumable", "replaying, before the look-up", _at("", "before claim"), 2, AGAIN, 2, 2),
    Point("resumable", "replaying, before the answer", _at("", "before answer"), 2, AGAIN, 2, 2),
    Point("resumable", "twice: after the first step's effect, and after the second's by who took over",
          _at("first step done", "second step done"), 2, "201", 2, 4),
    Point("resumable", "twice: after the first step is kept, and before the record of who took over",
          _at("first step kept", "before record"), 2, "201", 2, 2),
    Point("at_most_once", "before the claim", _at("before claim"), 0, "201", 1, 1),
    Point("at_most_once", "after the claim", _at("after claim"), 0, UNKNOWN, 0, 0),
    Point("at_most_once", "in the handler, before the effect", _at("before effect"), 0, UNKNOWN, 0, 0),
    Point("at_most_once", "after a renewal of the lease", _at("after renew"), 0, UNKNOWN, 0, 0),
    Point("at_most_once", "after the effect", _at("after effect"), 1, UNKNOWN, 1, 1),
    Point("at_most_once", "before the record", _at("before record"), 1, UNKNOWN, 1, 1),
    Point("at_most_once", "after the record", _at("after record"), 1, AGAIN, 1, 1),
    Point("at_most_once", "before the first byte of the answer", _at("before answer"), 1, AGAIN, 1, 1),
    Point("at_most_once", "after half an answer", _at("half an answer"), 1, AGAIN, 1, 1),
    Point("at_most_once", "after the answer", _at("answered"), 1, AGAIN, 1, 1),
    Point("at_most_once", "refused by the handler, before the release", _at("before release"), 0,
          UNKNOWN, 0, 0),
    Point("at_most_once", "refused by the handler, after the release", _at("after release"), 0, "201", 1, 1),
    Point("at_most_once", "replaying, before the answer", _at("", "before answer"), 1, AGAIN, 1, 1),
    Point("at_most_once", "after the effect; then the operator, before the settlement",
          ((request, "after effect"), (settle, "before settle")), 1, UNKNOWN, 1, 1),
    Point("at_most_once", "after the effect; then the operator, after the settlement",
          ((request, "after effect"), (settle, "after settle")), 1, AGAIN, 1, 1),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """
    What came of a point with one store.

    Attributes:
        point: The point.
        before: Effects when the last process had died.
        seen: What the client saw that repeated its request.
        effects: Effects after that.
        asked: How often the payment service was asked by then.
        settled: Effects after it was settled and repeated; None where there was nothing to settle.
        faults: What is not as promised, in words.
    """

    point: Point
    before: int
    seen: str
    effects: int
    asked: int
    settled: int | None
    faults: tuple[str, ...]


def points_for(store_kind: type, levels: frozenset[Level]) -> tuple[Point, ...]:
    """The points that mean something to a store."""
    sql = issubclass(store_kind, SQLStore)
    return tuple(p for p in POINTS if p.level in levels and (sql or not p.sql_only))


def sweep(open_store: OpenStore, points: Sequence[Point] | None = None) -> list[Outcome]:
    """
    Kill, repeat and count, with one store.

    Args:
        open_store: What opens the store, for tests; goes to the processes by pickle.
        points: Where to kill; all that mean something to the store unless some are named.
    """
    with TemporaryDirectory(prefix="failwell-crashes-") as folder:
        payments = Payments(os.path.join(folder, "payments.db"))
        payments.open()
        place = Place(open_store, payments.path, LEASE)
        return _Sweep(place, payments, points).run()


def scatter(open_store: OpenStore, level: Level, *, kills: int = 48, apart: float = 0.0004) -> list[Outcome]:
    """
    Kill at moments that nobody chose: each process a little later than the one before.

    Args:
        open_store: What opens the store, for tests; goes to the processes by pickle.
        level: Of the operation.
        kills: How many processes.
        apart: Seconds; the last one lives `kills` times as long from the arrival of its request.

    Returns:
        The outcomes. Their points say what the level promises for where each process died.
    """
    moments = [(n + 1) * apart for n in range(kills)]
    effects = 2 if level == "resumable" else 1
    points = [
        Point(level, f"after {moment:.4f} s", ((request_within, str(moment)),), 0, "", effects)
        for moment in moments
    ]
    with TemporaryDirectory(prefix="failwell-crashes-") as folder:
        payments = Payments(os.path.join(folder, "payments.db"))
        payments.open()
        return _Sweep(Place(open_store, payments.path, LEASE), payments, points).run(anywhere=True)


class _Count:
    """The effects of every case at one moment."""

    def __init__(self, proofs: dict[str, list[str]], asked: dict[str, int], balances: dict[str, int]) -> None:
        self.proofs, self.asked, self.balances = proofs, asked, balances


class _Sweep:
    def __init__(self, place: Place, payments: Payments, points: Sequence[Point] | None) -> None:
        self._place, self._payments = place, payments
        batch = os.urandom(4).hex()
        store = place.open_store(None)
        self._kind = type(store)
        self._levels = store.levels
        chosen = points_for(self._kind, self._levels) if points is None else points
        self._cases = [(point, Case(point.level, f"c{batch}{n:03}")) for n, point in enumerate(chosen)]
        store.add_keys([case.key for _, case in self._cases])
        store.close()
        self._faults: dict[str, list[str]] = {case.name: [] for _, case in self._cases}

    def run(self, *, anywhere: bool = False) -> list[Outcome]:
        asyncio.run(self._grant())
        self._kill(anywhere)
        killed = asyncio.run(self._count())
        seen, repeated = asyncio.run(self._repeat())
        unknown = {name for name, one in seen.items() if one.code == "idempotency_outcome_unknown"}
        for _, case in self._cases:
            if case.name in unknown:
                self._expect(case, settle(self._place, case, ""), "it could not be settled")
        again, last = asyncio.run(self._repeat())
        outcomes = []
        for point, case in self._cases:
            one = seen[case.name]
            promised = self._from_there(point, case, killed, one) if anywhere else point
            outcomes.append(self._judged(promised, case, killed, repeated, last, one, again[case.name]))
        return outcomes

    def _from_there(self, point: Point, case: Case, killed: _Count, seen: Seen) -> Point:
        """What is promised for where a process happened to die."""
        before = len(killed.proofs[case.name])
        if seen.code != "idempotency_outcome_unknown" or point.level != "at_most_once":
            return replace(
                point, before=min(before, point.effects), seen=str(seen._replace(status=201, code=""))
            )
        return replace(point, before=min(before, 1), seen=UNKNOWN, effects=min(before, 1))

    async def _grant(self) -> None:
        if "transactional" not in self._levels:
            return
        store = self._place.open_store(None)
        effects = Effects(store)
        await effects.make()
        for _, case in self._cases:
            await asyncio.to_thread(effects.store.grant, case.name, GRANTED)
        await store.aclose()

    def _kill(self, anywhere: bool) -> None:
        with Processes() as processes:
            for stage in range(max(len(point.stages) for point, _ in self._cases)):
                stages = [(*p.stages[stage], case) for p, case in self._cases if stage < len(p.stages)]
                until = time.monotonic() + STUCK
                while stages:
                    ended = self._killed(processes, stages[:AT_ONCE], anywhere)
                    # Whose predecessor is dead, but holds the claim until its lease ends, goes again.
                    held = [stages[n] for n, end in enumerate(ended) if _too_early(end.result)]
                    if time.monotonic() > until:
                        for *_, case in held:
                            self._expect(case, False, f"its key was held for {STUCK} s by the dead")
                        held = []
                    stages = stages[AT_ONCE:] + held

    def _killed(
        self, processes: Processes, stages: Sequence[tuple[Any, str, Case]], anywhere: bool
    ) -> list[Ended]:
        ended = processes.run([(work, (self._place, case, place)) for work, place, case in stages])
        for (_, place, case), end in zip(stages, ended, strict=True):
            as_told = end.signal == signal.SIGKILL if place else not (end.error or end.signal)
            if anywhere:
                as_told = end.signal == signal.SIGALRM or isinstance(end.result, Seen)
            told = as_told or _too_early(end.result)
            self._expect(case, told, f"it did not end as told, {place!r}: {end}")
        return ended

    async def _count(self) -> _Count:
        store = self._place.open_store(None)
        cases = [case for _, case in self._cases]
        found = {case.name: await proofs(store, self._payments, case) for case in cases}
        asked = {case.name: self._payments.asked(case.name) for case in cases}
        balances = {}
        for case in cases:
            if case.level == "transactional":
                account = await Effects(store).store.account(case.name, "credits")
                balances[case.name] = account.balance
        await store.aclose()
        return _Count(found, asked, balances)

    async def _repeat(self) -> tuple[dict[str, Seen], _Count]:
        """What each client sees that repeats its request, and the effects after that."""
        shop = Shop(self._place, Fuse(""))
        seen = await asyncio.gather(*(self._repeated(shop, case) for _, case in self._cases))
        await shop.store.aclose()
        names = [case.name for _, case in self._cases]
        return dict(zip(names, seen, strict=True)), await self._count()

    async def _repeated(self, shop: Shop, case: Case) -> Seen:
        until = time.monotonic() + STUCK
        seen = await shop.ask(case)
        while _too_early(seen) and time.monotonic() < until:
            await asyncio.sleep(0.05)
            seen = await shop.ask(case)
        return seen

    # --- what is promised ---

    def _expect(self, case: Case, kept: bool, otherwise: str) -> None:
        if not kept:
            self._faults[case.name].append(otherwise)

    def _judged(
        self,
        point: Point,
        case: Case,
        killed: _Count,
        repeated: _Count,
        last: _Count,
        seen: Seen,
        again: Seen,
    ) -> Outcome:
        name, expect = case.name, partial(self._expect, case)
        before, effects, after = (len(count.proofs[name]) for count in (killed, repeated, last))
        asked = repeated.asked[name]
        expect(before == point.before, f"{before} effects when it died, not {point.before}")
        expect(str(seen) == point.seen, f"the client sees {seen}, not {point.seen}")
        expect(effects == point.effects, f"{effects} effects, not {point.effects}")
        expect(
            point.asked in (None, asked), f"the payment service was asked {asked} times, not {point.asked}"
        )
        unknown = seen.code == "idempotency_outcome_unknown"
        if unknown:
            expect(after == 1, f"{after} effects once it was settled, not 1")
            settled_as = "201 replayed" if effects else "201"
            expect(str(again) == settled_as, f"once it was settled the client sees {again}")
        else:
            expect(after == effects, f"{after} effects when it was repeated once more")
            expect(again == seen._replace(replayed=True), f"repeated once more, the client sees {again}")
        if again.status == 201:
            expect(sorted(again.proof.split()) == sorted(last.proofs[name]), "the answer is not the effect's")
        if name in last.balances:
            spent = GRANTED - last.balances[name]
            expect(spent == after, f"{spent} credits spent for {after} effects")
        settled = after if unknown else None
        return Outcome(point, before, str(seen), effects, asked, settled, tuple(self._faults[name]))


def _too_early(result: Any) -> bool:
    """Whether a request was told that another is at work, or a settlement that nothing is unsettled."""
    return result is False or (isinstance(result, Seen) and result.code == "idempotency_in_flight")
