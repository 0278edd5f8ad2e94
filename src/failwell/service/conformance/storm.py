"""Many calls with one key at the same time, over several worker processes."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from failwell.service.conformance.forks import Processes, meet
from failwell.service.conformance.shop import Case, Fuse, Payments, Place, Seen, Shop, proofs
from failwell.service.conformance.trial import Effects

if TYPE_CHECKING:
    from failwell.service.conformance.trial import OpenStore
    from failwell.service.idempotency import Level

# Seconds; nobody dies here.
LEASE = 30.0


@dataclass(frozen=True)
class Storm:
    """
    What came of many calls with one key.

    Attributes:
        seen: What each caller saw.
        effects: What the effects are known by: one, or one for each step.
    """

    seen: tuple[Seen, ...]
    effects: tuple[str, ...]

    @property
    def answered(self) -> int:
        """How many were answered with the effect, all of them alike."""
        return sum(self._is_answer(seen) for seen in self.seen)

    @property
    def in_flight(self) -> int:
        """How many were told that another is at work."""
        return sum(map(_is_in_flight, self.seen))

    @property
    def others(self) -> list[Seen]:
        """What else was seen: nothing should be."""
        return [seen for seen in self.seen if not self._is_answer(seen) and not _is_in_flight(seen)]

    def _is_answer(self, seen: Seen) -> bool:
        return seen.status == 201 and sorted(seen.proof.split()) == sorted(self.effects)


def _is_in_flight(seen: Seen) -> bool:
    return str(seen) == "409 idempotency_in_flight"


def storm(
    open_store: OpenStore, level: Level, *, calls: int = 200, workers: int = 4, wait: float = 0.0
) -> Storm:
    """
    Call an operation with one key, from all workers at once.

    Args:
        open_store: What opens the store, for tests; goes to the workers by pickle.
        level: Of the operation.
        calls: How many, evenly over the workers.
        workers: How many processes.
        wait: Seconds a call waits for another one with its key, before it is told of it.
    """
    case = Case(level, f"s{os.urandom(8).hex()}")
    with TemporaryDirectory(prefix="failwell-storm-") as folder:
        place = Place(open_store, os.path.join(folder, "payments.db"), LEASE)
        payments = Payments(place.payments)
        payments.open()
        asyncio.run(_prepare(place, case))
        with Processes() as processes:
            seen = processes.returned([(_calls, (place, case, calls // workers, wait))] * workers)
        effects = asyncio.run(_effects(place, payments, case))
    return Storm(tuple(one for many in seen for one in many), tuple(effects))


async def _prepare(place: Place, case: Case) -> None:
    store = place.open_store(None)
    await asyncio.to_thread(store.add_keys, [case.key])
    if "transactional" in store.levels:
        effects = Effects(store)
        await effects.make()
        await asyncio.to_thread(effects.store.grant, case.name, 10)
    await store.aclose()


async def _effects(place: Place, payments: Payments, case: Case) -> list[str]:
    store = place.open_store(None)
    found = await proofs(store, payments, case)
    await store.aclose()
    return found


def _calls(place: Place, case: Case, calls: int, wait: float) -> list[Seen]:
    """What the callers of one worker see."""

    async def run() -> list[Seen]:
        shop = Shop(place, Fuse(""), wait=wait)
        meet()
        seen = await asyncio.gather(*(shop.ask(case) for _ in range(calls)))
        await shop.store.aclose()
        return seen

    return asyncio.run(run())
