"""Checks of stores that hold the effects themselves: one transaction, and who pays for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from failwell.answer import Answer
from failwell.service.conformance.trial import (
    A_BIT,
    KEEP,
    LEASE,
    START,
    Effects,
    answer_of,
    ask,
    check,
    expect,
    fenced,
    held,
    in_flight,
    insertion,
    same,
    same_record,
    take_claim,
    whose,
)
from failwell.service.credits import Account, Debit, InsufficientCreditsError
from failwell.service.idempotency import Mismatch, Recorded
from failwell.service.stores.base import FencedError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from failwell.service.conformance.trial import Trial
    from failwell.service.idempotency import Claim, Claimed
    from failwell.service.stores.base import Store, TransactionalStore


class _OutOfHandError(Exception):
    """What an effect raises."""


async def _effects(store: Store) -> Effects:
    effects = Effects(store)
    await effects.make()
    return effects


async def _refused(attempt: Awaitable[Any], required: int, account: Account) -> None:
    missing = None
    try:
        await attempt
    except InsufficientCreditsError as exc:
        missing = (exc.account, exc.required)
    same((account, required), missing, "what cannot be paid for is refused, and what is missing")


async def _granted(effects: Effects, tenant: str, amount: int, unit: str = "credits") -> TransactionalStore:
    account = await asyncio.to_thread(effects.store.grant, tenant, amount, unit)
    same(amount, account.balance, "the balance after the first grant")
    return effects.store


async def _adds_up(store: TransactionalStore, tenant: str, unit: str = "credits") -> list[int]:
    """The amounts in a ledger, which add up to the balance line by line."""
    entries = await store.entries(tenant, unit, most=10_000)
    total = 0
    for entry in entries:
        total += entry.amount
        same(total, entry.balance, "the balance in a line of the ledger")
    same((await store.account(tenant, unit)).balance, total, "the sum of the ledger")
    seqs = [entry.seq for entry in entries]
    same(sorted(set(seqs)), seqs, "the lines grow")
    return [entry.amount for entry in entries]


# --- effect and record ---


@check(level="transactional")
async def an_effect_and_its_record_are_written_together(trial: Trial, store: Store) -> None:
    """The answer is that of the effect, and from then on the record."""
    effects, name = await _effects(store), trial.name()
    claim = await take_claim(store, trial.wanted())
    same(answer_of("done"), await effects.commit(claim, name), "the answer")
    same(1, await Effects(trial.open()).count(name), "effects, seen by another worker")
    await same_record(trial.open(), claim, answer_of("done"), "the record")
    trial.clock.pass_(KEEP)
    held(await ask(store, trial.wanted(claim.slot)), "a key whose record ended")


@check(level="transactional")
async def an_effect_without_a_key_has_no_record(trial: Trial, store: Store) -> None:
    """Nothing stops it from being repeated."""
    effects, name = await _effects(store), trial.name()
    for expected in (1, 2):
        same(answer_of("done"), await effects.commit(None, name), "the answer")
        same(expected, await effects.count(name), "effects")


@check(level="transactional")
async def a_commit_that_is_repeated_has_no_second_effect(trial: Trial, store: Store) -> None:
    """Said again with the same claim it changes nothing, and says the answer or that it is fenced out."""
    effects, name, tenant = await _effects(store), trial.name(), trial.name()
    await _granted(effects, tenant, 10)
    claim = await take_claim(store, trial.wanted())
    await effects.commit(claim, name, **whose(tenant, Debit(3)))
    for _ in range(2):
        try:
            again = await effects.commit(claim, name, "again", **whose(tenant, Debit(3)))
        except FencedError:
            continue
        same(answer_of("done"), again, "the answer of a repeated commit")
    same(["done"], await effects.proofs(name), "effects")
    same([10, -3], await _adds_up(effects.store, tenant), "the ledger")
    await same_record(store, claim, answer_of("done"), "the record")


@check(level="transactional")
async def what_an_effect_raises_rolls_it_back(trial: Trial, store: Store) -> None:
    """Its exception reaches whoever asked; the claim is still held, and can be completed."""
    effects, name, tenant = await _effects(store), trial.name(), trial.name()
    await _granted(effects, tenant, 10)
    claim = await take_claim(store, trial.wanted())

    def fail(db: Any) -> Answer:
        insertion(name, "half")(db)
        raise _OutOfHandError(name)

    for whom in (claim, None):
        raised: tuple[Any, ...] = ()
        try:
            await effects.store.commit(whom, fail, keep=KEEP, **whose(tenant, Debit(3)))
        except _OutOfHandError as exc:
            raised = exc.args
        same((name,), raised, "what the effect raises reaches whoever asked")
    same([], await effects.proofs(name), "effects")
    same([10], await _adds_up(effects.store, tenant), "the ledger")
    await effects.commit(claim, name)
    same(["done"], await effects.proofs(name), "effects in the end")
    await same_record(store, claim, answer_of("done"), "the record")


@check(level="transactional")
async def a_fenced_holder_has_no_effect(trial: Trial, store: Store) -> None:
    """Its effect and its debit are rolled back, before and after the next one's commit."""
    effects, name, tenant = await _effects(store), trial.name(), trial.name()
    await _granted(effects, tenant, 10)
    first = await take_claim(store, trial.wanted())
    trial.clock.pass_(LEASE)
    second = await take_claim(store, trial.wanted(first.slot))
    await fenced(effects.commit(first, name, "first", **whose(tenant, Debit(3))), "before the second one's")
    same([], await effects.proofs(name), "effects of a fenced holder")
    await effects.commit(second, name, "second", **whose(tenant, Debit(4)))
    await fenced(effects.commit(first, name, "first", **whose(tenant, Debit(3))), "after the second one's")
    same(["second"], await effects.proofs(name), "effects")
    same([10, -4], await _adds_up(effects.store, tenant), "the ledger")
    await same_record(store, second, answer_of("second"), "the record")


@check(level="transactional")
async def a_commit_needs_no_claim_that_was_taken(trial: Trial, store: Store) -> None:
    """It is enough that nothing stands against it: of two, the second has no effect."""
    effects, name = await _effects(store), trial.name()
    first = trial.wanted()
    await effects.commit(first, name, "first")
    await fenced(effects.commit(trial.wanted(first.slot), name, "second"), "a second commit")
    same(["first"], await effects.proofs(name), "effects")
    await same_record(store, first, answer_of("first"), "the record")


@check(level="transactional")
async def a_commit_over_anothers_claim_has_no_effect(trial: Trial, store: Store) -> None:
    """Until its lease ends; and never with another payload."""
    effects, name = await _effects(store), trial.name()
    first = await take_claim(store, trial.wanted())
    second, other = trial.wanted(first.slot), trial.wanted(first.slot, fingerprint=b"o" * 32)
    trial.clock.pass_(LEASE - A_BIT)
    for claim in (second, other):
        await fenced(effects.commit(claim, name), "a commit over another's claim")
    trial.clock.pass_(A_BIT)
    await fenced(effects.commit(other, name), "a commit of another payload, once the lease ended")
    same([], await effects.proofs(name), "effects")
    await effects.commit(second, name, "second")
    await fenced(effects.commit(first, name), "a commit of who was taken over")
    same(["second"], await effects.proofs(name), "effects")


@check(level="transactional")
async def a_commit_over_what_is_forgotten_has_an_effect(trial: Trial, store: Store) -> None:
    """A record that has lived its time stands against nothing, nor does an unsettled claim's."""
    effects, name = await _effects(store), trial.name()
    first = trial.wanted()
    await effects.commit(first, name, "first")
    trial.clock.pass_(KEEP)
    other = trial.wanted(first.slot, fingerprint=b"o" * 32)
    await effects.commit(other, name, "second")
    same(["first", "second"], await effects.proofs(name), "effects")
    await same_record(store, other, answer_of("second"), "the record")


@check(level="transactional")
async def a_commit_over_an_unsettled_claim_has_no_effect(trial: Trial, store: Store) -> None:
    """Nobody knows what its holder did, however long ago its lease ended."""
    effects, name = await _effects(store), trial.name()
    first = await take_claim(store, trial.wanted(), take_over=False)
    trial.clock.pass_(LEASE + A_BIT)
    await fenced(effects.commit(trial.wanted(first.slot), name), "a commit over an unsettled claim")
    same([], await effects.proofs(name), "effects")


@check(level="transactional")
async def looking_up_says_what_stands_against_a_claim(trial: Trial, store: Store) -> None:
    """The same as asking for it would, but that nothing is taken."""
    effects = await _effects(store)
    free = trial.wanted()
    for _ in range(2):
        same(None, await effects.store.look_up(free), "a free slot")
    first = await take_claim(store, trial.wanted(free.slot))
    await store.keep_step(first, "one", 1)
    in_flight(await _found(effects, free), "a slot that is held")
    other = trial.wanted(first.slot, fingerprint=b"o" * 32)
    same(Mismatch(), await effects.store.look_up(other), "another payload")
    same({"one": 1}, dict(held(await _found(effects, first), "one's own claim").steps), "its steps")
    trial.clock.pass_(LEASE)
    same(None, await effects.store.look_up(free), "a claim that may be taken over")
    await store.record(first, answer_of("done"), keep=KEEP)
    same(Recorded(answer_of("done"), first.request_id), await effects.store.look_up(free), "a record")


async def _found(effects: Effects, wanted: Claim) -> Claimed:
    found = await effects.store.look_up(wanted)
    expect(found is not None, "something stands against it")
    assert found is not None
    return found


@check(level="transactional")
async def commits_at_the_same_time_have_one_effect(trial: Trial, store: Store) -> None:
    """However many ask at once with one claim, through however many workers."""
    effects, other, name = await _effects(store), Effects(trial.open()), trial.name()
    claim = await take_claim(store, trial.wanted())
    commits = [(effects, other)[n % 2].commit(claim, name, f"n{n}") for n in range(12)]
    outcomes = await asyncio.gather(*commits, return_exceptions=True)
    proofs = await effects.proofs(name)
    same(1, len(proofs), "effects")
    answers = [outcome for outcome in outcomes if not isinstance(outcome, FencedError)]
    expect(bool(answers), "somebody is answered")
    same([answer_of(proofs[0])] * len(answers), answers, "whoever is answered gets the effect's answer")


@check(level="transactional")
async def effects_at_the_same_time_do_not_disturb_each_other(trial: Trial, store: Store) -> None:
    """One that fails leaves those beside it as they are."""
    effects = await _effects(store)
    names = [trial.name() for _ in range(12)]

    def fail(_: Any) -> Answer:
        raise _OutOfHandError

    commits = []
    for n, name in enumerate(names):
        claim = await take_claim(store, trial.wanted())
        if n % 3 == 0:
            commits.append(effects.store.commit(claim, fail, keep=KEEP))
        else:
            commits.append(effects.commit(claim, name))
    outcomes = await asyncio.gather(*commits, return_exceptions=True)
    for n, (name, outcome) in enumerate(zip(names, outcomes, strict=True)):
        failed = n % 3 == 0
        same(failed, isinstance(outcome, _OutOfHandError), "who failed")
        same(0 if failed else 1, await effects.count(name), "effects")


# --- who pays ---


@check(level="transactional")
async def a_debit_is_written_with_the_effect(trial: Trial, store: Store) -> None:
    """One line of the ledger for each unit, with the request that caused it."""
    effects, name, tenant = await _effects(store), trial.name(), trial.name()
    await _granted(effects, tenant, 10)
    await _granted(effects, tenant, 500, "bytes")
    claim = await take_claim(store, trial.wanted())
    await effects.commit(claim, name, **whose(tenant, Debit(3), Debit(100, "bytes")))
    same([10, -3], await _adds_up(effects.store, tenant), "the ledger of credits")
    same([500, -100], await _adds_up(effects.store, tenant, "bytes"), "the ledger of bytes")
    entry = (await effects.store.entries(tenant, "credits"))[-1]
    seen = (entry.tenant, entry.unit, entry.request_id, entry.at)
    same((tenant, "credits", "req_conformance", START), seen, "the line")


@check(level="transactional")
async def what_cannot_be_paid_for_is_rolled_back(trial: Trial, store: Store) -> None:
    """The effect, and the debits of other units; the claim is still held."""
    effects, name, tenant = await _effects(store), trial.name(), trial.name()
    await _granted(effects, tenant, 2)
    await _granted(effects, tenant, 500, "bytes")
    claim = await take_claim(store, trial.wanted())
    attempt = effects.commit(claim, name, **whose(tenant, Debit(100, "bytes"), Debit(3)))
    await _refused(attempt, 3, Account(tenant, "credits", 2))
    same([], await effects.proofs(name), "effects")
    same([2], await _adds_up(effects.store, tenant), "the ledger of credits")
    same([500], await _adds_up(effects.store, tenant, "bytes"), "the ledger of bytes")
    await effects.commit(claim, name, **whose(tenant, Debit(2)))
    same(
        (1, 0), (await effects.count(name), (await effects.store.account(tenant, "credits")).balance), "paid"
    )


@check(level="transactional")
async def an_account_that_was_never_opened_is_empty(trial: Trial, store: Store) -> None:
    """It pays for nothing, and looking at it leaves nothing."""
    effects, name, tenant = await _effects(store), trial.name(), trial.name()
    same(Account(tenant, "credits", 0), await effects.store.account(tenant, "credits"), "the account")
    attempt = effects.commit(None, name, **whose(tenant, Debit(1)))
    await _refused(attempt, 1, Account(tenant, "credits", 0))
    same([], await effects.store.entries(tenant, "credits"), "the ledger")
    same([], await effects.proofs(name), "effects")


@check(level="transactional")
async def a_ledger_adds_up_to_its_balance(trial: Trial, store: Store) -> None:
    """Through grants, debits and refunds; and is read in pieces, oldest first."""
    effects, tenant = await _effects(store), trial.name()
    ledger = await _granted(effects, tenant, 100)
    for amount in (7, 11, -5, 13):
        await effects.commit(None, trial.name(), **whose(tenant, Debit(amount)))
    account = await asyncio.to_thread(ledger.grant, tenant, 50, "credits", reason="bought")
    same(124, account.balance, "the balance after the second grant")
    same([100, -7, -11, 5, -13, 50], await _adds_up(ledger, tenant), "the ledger")
    entries = await ledger.entries(tenant, "credits", most=100)
    same("bought", entries[-1].reason, "the reason of a grant")
    pieces = []
    after = 0
    while piece := await ledger.entries(tenant, "credits", after=after, most=4):
        expect(len(piece) <= 4, "no more lines than were asked for")
        pieces += piece
        after = piece[-1].seq
    same(entries, pieces, "the ledger in pieces")


@check(level="transactional")
async def debits_at_the_same_time_never_spend_more_than_there_is(trial: Trial, store: Store) -> None:
    """As many effects as could be paid for, and a ledger that adds up."""
    effects, other, name, tenant = await _effects(store), Effects(trial.open()), trial.name(), trial.name()
    await _granted(effects, tenant, 7)
    commits = [(effects, other)[n % 2].commit(None, name, **whose(tenant, Debit(2))) for n in range(10)]
    outcomes = await asyncio.gather(*commits, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, InsufficientCreditsError)]
    same(7, len(refused), "refused")
    same(3, await effects.count(name), "effects")
    same([7, -2, -2, -2], await _adds_up(effects.store, tenant), "the ledger")


@check(level="transactional")
async def an_allowance_is_whole_again_each_period(trial: Trial, store: Store) -> None:
    """It says when; what was left over is gone; each renewal is a line of the ledger."""
    effects, tenant = await _effects(store), trial.name()
    ledger = effects.store
    account = await asyncio.to_thread(ledger.allow, tenant, 10, "runs", period=64.0)
    same(Account(tenant, "runs", 10, 10, START + 64.0), account, "the allowance")
    await effects.commit(None, trial.name(), **whose(tenant, Debit(8, "runs")))
    attempt = effects.commit(None, trial.name(), **whose(tenant, Debit(3, "runs")))
    await _refused(attempt, 3, Account(tenant, "runs", 2, 10, START + 64.0))
    trial.clock.pass_(64.0 - A_BIT)
    same(2, (await ledger.account(tenant, "runs")).balance, "just before the end")
    trial.clock.pass_(A_BIT)
    renewed = Account(tenant, "runs", 10, 10, START + 128.0)
    same(renewed, await ledger.account(tenant, "runs"), "the next period")
    trial.clock.pass_(64.0 * 3)
    await effects.commit(None, trial.name(), **whose(tenant, Debit(3, "runs")))
    same(Account(tenant, "runs", 7, 10, START + 320.0), await ledger.account(tenant, "runs"), "periods later")
    same([10, -8, 8, -3], await _adds_up(ledger, tenant, "runs"), "the ledger")


@check(level="transactional")
async def an_allowance_without_periods_is_given_back_only(trial: Trial, store: Store) -> None:
    """Such as storage: time changes nothing, and no refund makes it more than whole."""
    effects, tenant = await _effects(store), trial.name()
    ledger = effects.store
    await asyncio.to_thread(ledger.allow, tenant, 10, "bytes")
    await effects.commit(None, trial.name(), **whose(tenant, Debit(8, "bytes")))
    trial.clock.pass_(1_000_000.0)
    same(Account(tenant, "bytes", 2, 10), await ledger.account(tenant, "bytes"), "long after")
    await effects.commit(None, trial.name(), **whose(tenant, Debit(-20, "bytes")))
    same(10, (await ledger.account(tenant, "bytes")).balance, "after more came back than was taken")
    same([10, -8, 8], await _adds_up(ledger, tenant, "bytes"), "the ledger")
