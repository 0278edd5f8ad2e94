"""Checks of claims that may not be taken over: their outcome is unknown until somebody settles it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from failwell.service.conformance.trial import (
    A_BIT,
    KEEP,
    LEASE,
    START,
    answer_of,
    ask,
    check,
    expect,
    fenced,
    held,
    in_flight,
    same,
    same_record,
    take_claim,
)
from failwell.service.idempotency import Claim, Mismatch, Unsettled

if TYPE_CHECKING:
    from failwell.service.conformance.trial import Trial
    from failwell.service.stores.base import Store


async def _lapsed(trial: Trial, store: Store) -> Claim:
    """A claim whose holder is gone."""
    claim = await take_claim(store, trial.wanted(), take_over=False)
    trial.clock.pass_(LEASE)
    return claim


async def _listed(store: Store, slot: bytes) -> list[Unsettled]:
    return [u for u in await store.unsettled(most=10_000) if u.slot == slot]


@check(level="at_most_once")
async def a_claim_that_may_not_be_taken_over_is_unsettled(trial: Trial, store: Store) -> None:
    """Until its lease ends it is in flight; from then on its outcome is unknown, to everybody."""
    first = await take_claim(store, trial.wanted(), take_over=False)
    trial.clock.pass_(LEASE - A_BIT)
    in_flight(await ask(store, trial.wanted(first.slot), take_over=False), "just before the lease ends")
    same([], await _listed(store, first.slot), "nothing to settle while it may be at work")
    trial.clock.pass_(A_BIT)
    unknown = Unsettled(first.slot, first.request_id, START + LEASE)
    for worker in (store, trial.open()):
        same(unknown, await ask(worker, trial.wanted(first.slot), take_over=False), "an ended lease")
        same([unknown], await _listed(worker, first.slot), "what is to be settled")
    trial.clock.pass_(LEASE * 4)
    same(unknown, await ask(store, trial.wanted(first.slot), take_over=False), "long after")
    same(Mismatch(), await ask(store, trial.wanted(first.slot, fingerprint=b"o" * 32)), "another payload")


@check(level="at_most_once")
async def what_was_claimed_to_be_done_at_most_once_stays_so(trial: Trial, store: Store) -> None:
    """A request that would take over does not get a claim that may not be taken over."""
    first = await _lapsed(trial, store)
    claimed = await ask(store, trial.wanted(first.slot), take_over=True)
    expect(isinstance(claimed, Unsettled), f"expected Unsettled, saw {claimed!r}")


@check(level="at_most_once")
async def a_claim_that_may_be_taken_over_is_never_unsettled(trial: Trial, store: Store) -> None:
    """An operator is not asked about what the next request does by itself."""
    first = await take_claim(store, trial.wanted())
    trial.clock.pass_(LEASE * 2)
    same([], await _listed(store, first.slot), "nothing to settle")
    lapsed = Unsettled(first.slot, first.request_id, START + LEASE)
    same(False, await store.settle(lapsed, answer_of("no"), keep=KEEP), "a slot that is not unsettled")
    held(await ask(store, trial.wanted(first.slot)), "a lease that ended")


@check(level="at_most_once")
async def a_settled_outcome_is_the_record(trial: Trial, store: Store) -> None:
    """Who repeats the request gets the answer it was settled with; settling again changes nothing."""
    first = await _lapsed(trial, store)
    (unsettled,) = await _listed(store, first.slot)
    same(True, await store.settle(unsettled, answer_of("settled"), keep=KEEP), "it was unsettled")
    for _ in range(2):
        await store.settle(unsettled, answer_of("settled"), keep=KEEP)
        await same_record(store, first, answer_of("settled"), "the answer it was settled with")
    same([], await _listed(store, first.slot), "nothing to settle any more")
    trial.clock.pass_(KEEP)
    held(await ask(store, trial.wanted(first.slot), take_over=False), "a key whose record ended")


@check(level="at_most_once")
async def an_outcome_of_nothing_frees_the_slot(trial: Trial, store: Store) -> None:
    """Settled with None, the next request does the work."""
    first = await _lapsed(trial, store)
    (unsettled,) = await _listed(store, first.slot)
    same(True, await store.settle(unsettled, None, keep=KEEP), "it was unsettled")
    second = await take_claim(store, trial.wanted(first.slot), take_over=False)
    same(False, await store.settle(unsettled, None, keep=KEEP), "the second one is at work")
    await store.record(second, answer_of("second"), keep=KEEP)
    await same_record(store, second, answer_of("second"), "the second one's record")


@check(level="at_most_once")
async def a_later_claim_is_not_settled_by_what_is_known_of_an_earlier_one(trial: Trial, store: Store) -> None:
    """Who decides by what he saw then settles nothing that came after, even of the same request id."""
    first = await _lapsed(trial, store)
    (old,) = await _listed(store, first.slot)
    await store.settle(old, None, keep=KEEP)
    again = Claim(first.slot, first.fingerprint, b"a" * 16, first.request_id)
    for claim in (again, trial.wanted(first.slot)):
        await take_claim(store, claim, take_over=False)
        trial.clock.pass_(LEASE)
        for answer in (answer_of("of the first"), None):
            same(False, await store.settle(old, answer, keep=KEEP), "a later claim on the slot")
        (new,) = await _listed(store, first.slot)
        asked = await ask(store, trial.wanted(first.slot), take_over=False)
        same(new, asked, "it is unsettled still, and called the same by whoever is asked")
        same(True, await store.settle(new, None, keep=KEEP), "the later claim itself")


@check(level="at_most_once")
async def a_claim_that_was_held_on_to_is_looked_at_again(trial: Trial, store: Store) -> None:
    """Its holder came back after it was looked at, and was at work again until it went away for good."""
    first = await _lapsed(trial, store)
    (old,) = await _listed(store, first.slot)
    same(True, await store.renew(first, lease=LEASE), "a late renewal")
    trial.clock.pass_(LEASE)
    for answer in (answer_of("too early"), None):
        same(False, await store.settle(old, answer, keep=KEEP), "what was not known yet")
    (new,) = await _listed(store, first.slot)
    same(True, await store.settle(new, answer_of("settled"), keep=KEEP), "what is known now")
    await same_record(store, first, answer_of("settled"), "the answer it was settled with")


@check(level="at_most_once")
async def nothing_is_settled_that_is_not_unsettled(trial: Trial, store: Store) -> None:
    """Neither a claim at work, nor a record, nor a slot that nobody knows."""
    first = await take_claim(store, trial.wanted(), take_over=False)
    lapsing = Unsettled(first.slot, first.request_id, START + LEASE)
    unknown = Unsettled(trial.wanted().slot, first.request_id, START)
    for answer in (answer_of("no"), None):
        same(False, await store.settle(lapsing, answer, keep=KEEP), "a claim at work")
        same(False, await store.settle(unknown, answer, keep=KEEP), "an unknown slot")
    await store.record(first, answer_of("done"), keep=KEEP)
    trial.clock.pass_(LEASE * 2)
    for answer in (answer_of("no"), None):
        same(False, await store.settle(lapsing, answer, keep=KEEP), "a record")
    await same_record(store, first, answer_of("done"), "the record")


@check(level="at_most_once")
async def a_holder_who_comes_back_after_the_settlement_is_fenced_out(trial: Trial, store: Store) -> None:
    """What was settled stands, whatever a holder says who was slow."""
    for answer in (answer_of("settled"), None):
        first = await _lapsed(trial, store)
        (unsettled,) = await _listed(store, first.slot)
        await store.settle(unsettled, answer, keep=KEEP)
        await fenced(store.record(first, answer_of("first"), keep=KEEP), "a record after the settlement")
        await fenced(store.keep_step(first, "one", 1), "a step after the settlement")
        same(False, await store.renew(first, lease=LEASE), "a renewal after the settlement")
        await store.release(first)
        if answer is not None:
            await same_record(store, first, answer, "the settlement")


@check(level="at_most_once")
async def a_slow_holder_settles_its_own_claim(trial: Trial, store: Store) -> None:
    """A record that comes late, and before any settlement, is the outcome; a late renewal goes on."""
    first = await _lapsed(trial, store)
    await store.record(first, answer_of("late"), keep=KEEP)
    await same_record(store, first, answer_of("late"), "the late record")
    same([], await _listed(store, first.slot), "nothing to settle any more")
    second = await _lapsed(trial, store)
    same(True, await store.renew(second, lease=LEASE), "a late renewal")
    in_flight(await ask(store, trial.wanted(second.slot), take_over=False), "a revived claim")
    same([], await _listed(store, second.slot), "nothing to settle while it may be at work")


@check(level="at_most_once")
async def a_released_claim_is_not_unsettled(trial: Trial, store: Store) -> None:
    """Its holder said that nothing was done."""
    first = await take_claim(store, trial.wanted(), take_over=False)
    await store.release(first)
    held(await ask(store, trial.wanted(first.slot), take_over=False), "a released slot")


@check(level="at_most_once")
async def an_unsettled_claim_is_forgotten_with_its_slot(trial: Trial, store: Store) -> None:
    """At the end of the time it was to be kept for, the key is new."""
    first = await _lapsed(trial, store)
    trial.clock.pass_(KEEP - LEASE - A_BIT)
    (unsettled,) = await _listed(store, first.slot)
    trial.clock.pass_(A_BIT)
    same([], await _listed(store, first.slot), "a forgotten slot")
    same(False, await store.settle(unsettled, answer_of("no"), keep=KEEP), "a forgotten slot")
    held(await ask(store, trial.wanted(first.slot), take_over=False), "a forgotten slot")


@check(level="at_most_once")
async def the_oldest_unsettled_claims_come_first(trial: Trial, store: Store) -> None:
    """They are listed by the end of their leases, no more than were asked for."""
    slots = []
    for lease in (3.0, 1.0, 2.0):
        claim = await take_claim(store, trial.wanted(), take_over=False, lease=lease)
        slots.append(claim.slot)
    trial.clock.pass_(LEASE)
    listed = [u.slot for u in await store.unsettled(most=10_000) if u.slot in slots]
    same([slots[1], slots[2], slots[0]], listed, "the order")
    same(2, len(await store.unsettled(most=2)), "as many as were asked for")
