"""
Checks with several processes: one slot among many, and clocks that disagree.

What opens the store goes to the other processes by pickle: a function of a module, or a
`functools.partial` of one or of a class.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from failwell.service.conformance.forks import Processes, meet
from failwell.service.conformance.trial import (
    KEEP,
    Effects,
    ask,
    check,
    expect,
    fenced,
    held,
    in_flight,
    insertion,
    same,
    same_record,
)
from failwell.service.idempotency import Claim, InFlight, Recorded
from failwell.service.limits import Limit
from failwell.service.stores.base import FencedError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from failwell.answer import Answer
    from failwell.service.conformance.trial import OpenStore, Trial
    from failwell.service.idempotency import Claimed
    from failwell.service.stores.base import Store

T = TypeVar("T")

WORKERS = 6
# The store's own clock runs here: a lease that nobody waits for.
LONG = 600.0
HOUR = 3600.0


@asynccontextmanager
async def _opened(open_store: OpenStore) -> AsyncIterator[Store]:
    store = open_store(None)
    try:
        yield store
    finally:
        await store.aclose()


def _work(open_store: OpenStore, work: Callable[[Store], Coroutine[Any, Any, Any]]) -> Any:
    """In another process: what `work` returns, once all have opened the store."""

    async def run() -> Any:
        async with _opened(open_store) as store:
            meet()
            return await work(store)

    return asyncio.run(run())


def _claim(open_store: OpenStore, slot: bytes, lease: float) -> Claimed:
    wanted = Claim(slot, b"f" * 32, os.urandom(16), f"req_{os.getpid():08}")
    claimed: Claimed = _work(open_store, lambda store: _patiently(lambda: ask(store, wanted, lease=lease)))
    return claimed


def _commit(open_store: OpenStore, slot: bytes, name: str) -> Answer | None:
    """What a request is answered: the effect's answer, or the record's."""
    wanted = Claim(slot, b"f" * 32, os.urandom(16), f"req_{os.getpid():08}")

    async def work(store: Store) -> Answer | None:
        while True:
            claimed = await _patiently(lambda: ask(store, wanted, lease=LONG))
            match claimed:
                case Claim():
                    return await Effects(store).commit(claimed, name, f"pid{os.getpid()}")
                case Recorded(answer=answer):
                    return answer
                case InFlight():
                    await asyncio.sleep(0.002)
                case _:
                    raise AssertionError(f"unexpected: {claimed!r}")

    answer: Answer | None = _work(open_store, work)
    return answer


def _take(open_store: OpenStore, subject: str, times: int) -> int:
    """How many of a process's requests are let through."""

    async def work(store: Store) -> int:
        limits = (Limit(10, LONG, "a"), Limit(12, LONG, "b"))
        decisions = [await _patiently(lambda: store.take(subject, limits)) for _ in range(times)]
        return sum(decision.allowed for decision in decisions)

    allowed: int = _work(open_store, work)
    return allowed


async def _patiently(ask_it: Callable[[], Coroutine[Any, Any, T]], *, pause: float = 0.01) -> T:
    """
    The answer of a store that may be busy, and has then done nothing.

    Raises:
        StoreBusyError: it is still busy after half a minute.
    """
    for _ in range(3000):
        try:
            return await ask_it()
        except StoreBusyError:
            await asyncio.sleep(pause)
    return await ask_it()


async def _together(
    function: Callable[..., Any], *arguments: Any, workers: int = WORKERS, ahead: float = 0.0
) -> list[Any]:
    def run() -> list[Any]:
        with Processes(ahead=ahead) as processes:
            return processes.returned([(function, arguments)] * workers)

    return await asyncio.to_thread(run)


@check()
async def one_of_many_processes_gets_the_claim(trial: Trial, store: Store) -> None:
    """All that ask for a slot at the same time are told of one claim."""
    slot = trial.wanted().slot
    claimed = await _together(_claim, trial.open_store, slot, LONG)
    same(1, sum(isinstance(c, Claim) for c in claimed), "claims")
    same(WORKERS - 1, sum(isinstance(c, InFlight) for c in claimed), "told that another is at work")


@check()
async def one_of_many_processes_takes_the_claim_over(trial: Trial, store: Store) -> None:
    """So it is for a claim whose lease ended, and its holder is fenced out."""
    ours = trial.open(own_clock=True)
    first = held(await ask(ours, trial.wanted(), lease=0.001), "a slot that nobody holds")
    await ours.keep_step(first, "one", 1)
    claimed = await _together(_claim, trial.open_store, first.slot, LONG)
    claims = [c for c in claimed if isinstance(c, Claim)]
    same(1, len(claims), "claims")
    # Equality of claims leaves the steps out.
    same({"one": 1}, dict(claims[0].steps), "the steps of who was taken over")
    await fenced(ours.keep_step(first, "two", 2), "who was taken over by another process")


@check()
async def all_processes_count_against_one_limit(trial: Trial, store: Store) -> None:
    """However they interleave, as many requests are let through as the limits say."""
    allowed = await _together(_take, trial.open_store, trial.name(), 5)
    same(10, sum(allowed), "let through")


@check(level="transactional")
async def many_processes_with_one_key_have_one_effect(trial: Trial, store: Store) -> None:
    """And all of them are answered the same."""
    effects, name = Effects(trial.open(own_clock=True)), trial.name()
    await effects.make()
    answers = await _together(_commit, trial.open_store, trial.wanted().slot, name)
    proofs = await effects.proofs(name)
    same(1, len(proofs), "effects")
    same([proofs[0].encode()] * WORKERS, [answer and answer.body for answer in answers], "the answers")


@check(level="transactional")
async def processes_that_believe_in_one_claim_have_one_effect(trial: Trial, store: Store) -> None:
    """Were the same claim held by many, still only one of them commits."""
    ours, name = trial.open(own_clock=True), trial.name()
    await Effects(ours).make()
    claim = held(await ask(ours, trial.wanted(), lease=LONG), "a slot that nobody holds")
    committed = await _together(_commit_with, trial.open_store, claim, name)
    proofs = await Effects(ours).proofs(name)
    same(1, len(proofs), "effects")
    answers = [body for body in committed if body is not None]
    expect(bool(answers), "somebody is answered")
    same([proofs[0].encode()] * len(answers), answers, "whoever is answered gets the effect's answer")


@check(level="transactional")
async def processes_that_have_no_claim_have_one_effect(trial: Trial, store: Store) -> None:
    """Nobody took the slot, and all commit at once."""
    ours, name = trial.open(own_clock=True), trial.name()
    await Effects(ours).make()
    committed = await _together(_commit_unclaimed, trial.open_store, trial.wanted().slot, name)
    proofs = await Effects(ours).proofs(name)
    same(1, len(proofs), "effects")
    same([proofs[0].encode()], [body for body in committed if body is not None], "who is answered")


def _commit_unclaimed(open_store: OpenStore, slot: bytes, name: str) -> bytes | None:
    wanted = Claim(slot, b"f" * 32, os.urandom(16), f"req_{os.getpid():08}")
    return _commit_with(open_store, wanted, name)


def _commit_with(open_store: OpenStore, claim: Claim, name: str) -> bytes | None:
    async def work(store: Store) -> bytes | None:
        effect = insertion(name, f"pid{os.getpid()}")
        try:
            return (await Effects(store).store.commit(claim, effect, keep=KEEP)).body
        except FencedError:
            return None

    body: bytes | None = _work(open_store, work)
    return body


# --- clocks that disagree ---


def _claim_and_take(open_store: OpenStore, slot: bytes) -> tuple[Claimed, int]:
    """What a worker is told of a claim, and the wait that a limit asks of it."""
    wanted = Claim(slot, b"f" * 32, os.urandom(16), "req_skewed")

    async def work(store: Store) -> tuple[Claimed, int]:
        decision = await store.take(slot.hex(), (Limit(1, LONG),))
        return await ask(store, wanted), decision.retry_after

    told: tuple[Claimed, int] = _work(open_store, work)
    return told


@check(own_clock=True)
async def a_worker_whose_clock_is_wrong_changes_nothing(trial: Trial, store: Store) -> None:
    """Leases, records and limits are told by the store's clock: an hour's error takes nothing over."""
    ours = trial.open(own_clock=True)
    claim = held(await ask(ours, trial.wanted(), lease=LONG), "a slot that nobody holds")
    expect((await ours.take(claim.slot.hex(), (Limit(1, LONG),))).allowed, "the first request")
    for ahead in (HOUR, -HOUR):
        ((claimed, wait),) = await _together(
            _claim_and_take, trial.open_store, claim.slot, workers=1, ahead=ahead
        )
        left = in_flight(claimed, f"a claim, for a worker {ahead} s ahead")
        expect(LONG - 60.0 < left <= LONG, f"what is left of the lease does not jump: {left} s")
        expect(LONG - 60.0 < wait <= LONG + 1.0, f"what is left of the limit does not jump: {wait} s")
    await ours.record(claim, None, keep=KEEP)
    await same_record(ours, claim, None, "the first one's record")
