"""Checks of keys and limits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from failwell.service.conformance.trial import A_BIT, START, check, expect, same
from failwell.service.keys import KeyFormat, stored
from failwell.service.limits import Limit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from failwell.service.conformance.trial import Trial
    from failwell.service.keys import StoredKey
    from failwell.service.limits import Decision
    from failwell.service.stores.base import Store

KEYS = KeyFormat("conf_", lengths=(24,), public=12)


def _new(**facts: Any) -> StoredKey:
    return stored(KEYS.new(), KEYS, **{"tenant": "t", **facts})


async def _found(store: Store, public: str) -> StoredKey | None:
    key, decision = await store.admit(public, lambda _: None)
    same(None, decision, "nothing is counted where nothing is to be")
    return key


# --- keys ---


@check()
async def a_key_comes_back_as_it_was_stored(trial: Trial, store: Store) -> None:
    """Every attribute of it, for every worker."""
    limits = (Limit(5, 1.0, "burst"), Limit(1000, 86400.0, "day"), Limit(3, 0.5, "a"), Limit(7, 7.25, "b"))
    tenant = trial.name()
    keys = [
        _new(tenant=tenant),
        _new(tenant=tenant, principal="p é", scopes=("b:write", "a:read"), role="member", tier="free"),
        _new(tenant=tenant, expires_at=START + 0.5, limit=limits, state="revoked"),
        _new(tenant="é\U0001f600'\"", limit=Limit(10, 60.0)),
    ]
    await asyncio.to_thread(store.add_keys, keys)
    for worker in (store, trial.open()):
        for key in keys:
            same(key, await _found(worker, key.public), "the key")


@check()
async def keys_added_again_replace_those_they_were(trial: Trial, store: Store) -> None:
    """Adding is repeated without harm, and changes what a key may do."""
    key = _new(scopes=("a",))
    for _ in range(2):
        await asyncio.to_thread(store.add_keys, [key])
    same(key, await _found(store, key.public), "the key")
    raised = stored(key.public + "x" * 12, KEYS, tenant="t", scopes=("a", "b"), tier="pro")
    await asyncio.to_thread(store.add_keys, [raised])
    same(raised, await _found(store, key.public), "the key in its place")
    await asyncio.to_thread(store.add_keys, [])


@check()
async def an_unknown_key_is_none(trial: Trial, store: Store) -> None:
    """And what to count is asked all the same, so that guessing is not free."""
    asked: list[StoredKey | None] = []
    subject = trial.name()

    def counting(key: StoredKey | None) -> tuple[str, Sequence[Limit]]:
        asked.append(key)
        return subject, (Limit(2, 60.0),)

    for remaining in (1, 0, 0):
        key, decision = await store.admit(f"conf_{trial.name()}", counting)
        same(None, key, "a key that nobody has")
        expect(decision is not None and decision.remaining == remaining, "the guess is counted")
    expect(asked == [None] * len(asked) and len(asked) >= 3, "what to count is asked for each")


@check()
async def a_revocation_counts_at_once(trial: Trial, store: Store) -> None:
    """For every worker, whether or not it has seen the key before; and it may be repeated."""
    key, other = _new(), trial.open()
    await asyncio.to_thread(store.add_keys, [key])
    for worker in (store, other):
        found = await _found(worker, key.public)
        same("active", found and found.state, "the key")
    for _ in range(2):
        same(True, await asyncio.to_thread(store.revoke_key, key.public), "there is such a key")
    for worker in (store, other):
        found = await _found(worker, key.public)
        same("revoked", found and found.state, "the revoked key")
    same(False, await asyncio.to_thread(store.revoke_key, trial.name()), "there is no such key")


@check()
async def a_tenant_is_shut_out_and_let_in_at_once(trial: Trial, store: Store) -> None:
    """With all its keys, also those that are added later, and with no one else's."""
    tenant, other = trial.name(), trial.open()
    keys = [_new(tenant=tenant), _new(tenant=tenant), _new(tenant=trial.name())]
    await asyncio.to_thread(store.add_keys, keys[:1])
    for active in (False, True, False):
        for _ in range(2):
            await asyncio.to_thread(store.set_tenant_active, tenant, active)
        await asyncio.to_thread(store.add_keys, keys[1:])
        for worker in (store, other):
            found = [await _found(worker, key.public) for key in keys]
            same([active, active, True], [f and f.tenant_active for f in found], "who is let in")


# --- limits ---


@check()
async def a_limit_lets_through_as_many_as_it_says(trial: Trial, store: Store) -> None:
    """Requests of all workers count together, and each answer says what is left."""
    subject, limit, workers = trial.name(), Limit(4, 8.0), (store, trial.open())
    for n, remaining in enumerate((3, 2, 1, 0)):
        decision = await workers[n % 2].take(subject, (limit,))
        same((True, remaining, 0), (decision.allowed, decision.remaining, decision.retry_after), "a request")
    for worker in workers:
        decision = await worker.take(subject, (limit,))
        same((False, 0, 2), (decision.allowed, decision.remaining, decision.retry_after), "one too many")
    expect((await store.take(trial.name(), (limit,))).allowed, "another subject has its own allowance")


@check()
async def a_refused_request_costs_nothing(trial: Trial, store: Store) -> None:
    """However often it is refused, the next one is let through when it was said that it would be."""
    subject, limits = trial.name(), (Limit(2, 8.0),)
    for _ in range(2):
        await store.take(subject, limits)
    for _ in range(5):
        same(4, (await store.take(subject, limits)).retry_after, "seconds to wait")
    trial.clock.pass_(4.0 - A_BIT)
    same(False, (await store.take(subject, limits)).allowed, "just before")
    trial.clock.pass_(A_BIT)
    same(True, (await store.take(subject, limits)).allowed, "at the end of the wait")
    same(False, (await store.take(subject, limits)).allowed, "only one has come back")


@check()
async def several_limits_count_all_or_nothing(trial: Trial, store: Store) -> None:
    """A request that one of them refuses uses nothing up of the others."""
    subject = trial.name()
    limits = (Limit(2, 2.0, "burst"), Limit(5, 4096.0, "day"))
    same([True, True, False, False], await _allowed(store, subject, limits, 4), "the burst")
    trial.clock.pass_(2.0)
    seen = await store.take(subject, limits)
    same([1, 2], [s.remaining for s in seen.standings], "what is left, the refused not counted")
    same([True, False], await _allowed(store, subject, limits, 2), "the burst again")
    trial.clock.pass_(2.0)
    same([True, False], await _allowed(store, subject, limits, 2), "the day is used up")
    trial.clock.pass_(2.0)
    refused = await store.take(subject, limits)
    same([2, 0], [s.remaining for s in refused.standings], "the burst is whole, whoever was refused")
    expect(refused.retry_after > 800, "the wait is that of the limit that refuses")


@check()
async def an_allowance_comes_back_and_grows_no_further(trial: Trial, store: Store) -> None:
    """After a window of rest it is whole, not more than whole."""
    subject, limits = trial.name(), (Limit(3, 3.0),)
    for _ in range(3):
        same([True] * 3 + [False], await _allowed(store, subject, limits, 4), "an allowance")
        trial.clock.pass_(1000.0)


@check()
async def numbers_agree_with_the_clock(trial: Trial, store: Store) -> None:
    """The reset is a whole second of the store's clock, and never before the truth."""
    subject, limits = trial.name(), (Limit(4, 8.0),)
    decision = await store.take(subject, limits)
    same(int(START) + 2, decision.reset_at, "when the allowance is whole again")
    trial.clock.pass_(0.5)
    for _ in range(3):
        decision = await store.take(subject, limits)
    same((0, int(START) + 2), (decision.remaining, decision.reset_at), "when one comes back")


@check()
async def requests_at_the_same_time_are_counted_each(trial: Trial, store: Store) -> None:
    """Of many at once, as many are let through as the limit says."""
    subject, limits, workers = (
        trial.name(),
        (Limit(7, 4096.0, "a"), Limit(9, 4096.0, "b")),
        (store, trial.open()),
    )
    decisions: list[Decision] = await asyncio.gather(
        *(workers[n % 2].take(subject, limits) for n in range(30))
    )
    same(7, sum(d.allowed for d in decisions), "let through")


async def _allowed(store: Store, subject: str, limits: Sequence[Limit], times: int) -> list[bool]:
    return [(await store.take(subject, limits)).allowed for _ in range(times)]
