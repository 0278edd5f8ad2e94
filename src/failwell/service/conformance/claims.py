"""Checks of claims: who gets one, until when, what outlives it, and who is fenced out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from failwell.answer import Answer
from failwell.service.conformance.trial import (
    A_BIT,
    KEEP,
    LEASE,
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
from failwell.service.idempotency import Mismatch, Recorded, slot_of

if TYPE_CHECKING:
    from failwell.service.conformance.trial import Trial
    from failwell.service.stores.base import Store

# What JSON can say, and a store that translates it to something else might not.
ANY_RESULT: Any = {
    "": None, "list": [], "object": {}, "nested": [[{}], [[]]], "true": True, "zero": 0, "minus": -1.5,
    "long": 2**63 + 1, "text": "\x00 \x7f é \U0001f600 \ud800 \"'\\", "key.with.dots": {"é": 1},
}  # fmt: skip


# --- a claim and its retries ---


@check()
async def a_claim_that_is_asked_for_again_is_held(trial: Trial, store: Store) -> None:
    """The same claim, asked for again because its answer was lost, is held both times."""
    wanted = trial.wanted()
    same(wanted, await take_claim(store, wanted), "the claim is what was wanted")
    for worker in (store, trial.open()):
        held(await ask(worker, wanted), "a claim asked for again")


@check()
async def a_claim_that_is_asked_for_again_keeps_its_steps(trial: Trial, store: Store) -> None:
    """Steps that were kept in between come with it."""
    wanted = trial.wanted()
    claim = await take_claim(store, wanted)
    await store.keep_step(claim, "one", 1)
    again = held(await ask(store, wanted), "a claim asked for again")
    same({"one": 1}, dict(again.steps), "its steps")


@check()
async def a_claim_that_is_asked_for_again_does_not_undo_its_record(trial: Trial, store: Store) -> None:
    """A claim that arrives late, once its own work is recorded, gets the record."""
    wanted = trial.wanted()
    await store.record(await take_claim(store, wanted), answer_of("done"), keep=KEEP)
    same(Recorded(answer_of("done"), wanted.request_id), await ask(store, wanted), "the record")


@check()
async def a_second_request_is_told_how_long_the_first_may_take(trial: Trial, store: Store) -> None:
    """Another request with the slot's fingerprint is in flight, and told what is left of the lease."""
    first = await take_claim(store, trial.wanted())
    trial.clock.pass_(8.0)
    for worker in (store, trial.open()):
        left = in_flight(await ask(worker, trial.wanted(first.slot)), "a slot that is held")
        expect(LEASE - 8.0 - A_BIT <= left <= LEASE - 8.0 + A_BIT, f"{LEASE - 8.0} s are left, not {left}")


@check()
async def a_request_in_flight_does_not_take_the_slot(trial: Trial, store: Store) -> None:
    """Who was told that another is at work has changed nothing about that."""
    first = await take_claim(store, trial.wanted())
    for _ in range(3):
        in_flight(await ask(store, trial.wanted(first.slot)), "a slot that is held")
    await store.record(first, answer_of("done"), keep=KEEP)
    await same_record(store, first, answer_of("done"), "the first one's record")


@check()
async def another_payload_is_a_mismatch_while_the_work_is_under_way(trial: Trial, store: Store) -> None:
    """A different fingerprint is a mismatch, not in flight: waiting would not help it."""
    first = await take_claim(store, trial.wanted())
    other = trial.wanted(first.slot, fingerprint=b"o" * 32)
    same(Mismatch(), await ask(store, other), "another fingerprint, before the lease ends")
    trial.clock.pass_(LEASE + A_BIT)
    same(Mismatch(), await ask(store, other), "another fingerprint, after the lease ended")


@check()
async def another_payload_is_a_mismatch_when_the_work_is_done(trial: Trial, store: Store) -> None:
    """A different fingerprint does not get to see the record."""
    first = await take_claim(store, trial.wanted())
    await store.record(first, answer_of("done"), keep=KEEP)
    other = trial.wanted(first.slot, fingerprint=b"o" * 32)
    same(Mismatch(), await ask(store, other), "another fingerprint, once it is recorded")


@check()
async def two_tenants_with_the_same_key_do_not_meet(trial: Trial, store: Store) -> None:
    """The slot holds the tenant, so that equal keys of two tenants are two claims and two records."""
    key = trial.name()
    claims = [
        await take_claim(store, trial.wanted(slot_of(f"{key}{n}", "p", "POST", "/things", key)))
        for n in range(2)
    ]
    for n, claim in enumerate(claims):
        await store.record(claim, answer_of(f"tenant {n}"), keep=KEEP)
    for n, claim in enumerate(claims):
        await same_record(store, claim, answer_of(f"tenant {n}"), "a tenant's own record")


# --- leases ---


@check()
async def a_claim_is_taken_over_when_its_lease_ends_and_not_before(trial: Trial, store: Store) -> None:
    """Just before the end it is in flight; at the end, and just after it, it is taken over."""
    for late in (0.0, A_BIT):
        first = await take_claim(store, trial.wanted())
        trial.clock.pass_(LEASE - A_BIT)
        in_flight(await ask(store, trial.wanted(first.slot)), "just before the lease ends")
        trial.clock.pass_(A_BIT + late)
        held(await ask(store, trial.wanted(first.slot)), "a lease that ended")


@check()
async def a_taken_over_claim_has_a_lease_of_its_own(trial: Trial, store: Store) -> None:
    """Who takes over is not taken over at once."""
    first = await take_claim(store, trial.wanted())
    trial.clock.pass_(LEASE)
    await take_claim(store, trial.wanted(first.slot))
    trial.clock.pass_(LEASE - A_BIT)
    in_flight(await ask(store, trial.wanted(first.slot)), "the lease of who took over")


@check()
async def a_renewal_holds_the_claim(trial: Trial, store: Store) -> None:
    """A renewed claim is held for another lease, counted from the renewal; also if said twice."""
    first = await take_claim(store, trial.wanted())
    for _ in range(3):
        trial.clock.pass_(LEASE - A_BIT)
        for _ in range(2):
            same(True, await store.renew(first, lease=LEASE), "a renewal in time")
    trial.clock.pass_(LEASE - A_BIT)
    in_flight(await ask(store, trial.wanted(first.slot)), "a renewed claim")
    trial.clock.pass_(A_BIT)
    held(await ask(store, trial.wanted(first.slot)), "a claim that was not renewed again")


@check()
async def a_late_renewal_revives_a_claim_that_nobody_took(trial: Trial, store: Store) -> None:
    """A holder that was slow, and that nobody took over, goes on."""
    first = await take_claim(store, trial.wanted())
    trial.clock.pass_(LEASE * 2)
    same(True, await store.renew(first, lease=LEASE), "a late renewal")
    in_flight(await ask(store, trial.wanted(first.slot)), "a revived claim")
    await store.record(first, answer_of("late"), keep=KEEP)
    await same_record(store, first, answer_of("late"), "its record")


@check()
async def a_late_record_of_a_claim_that_nobody_took_counts(trial: Trial, store: Store) -> None:
    """So does the record of a holder whose lease ended unnoticed."""
    first = await take_claim(store, trial.wanted())
    trial.clock.pass_(LEASE * 2)
    await store.record(first, answer_of("late"), keep=KEEP)
    await same_record(store, first, answer_of("late"), "its record")


@check()
async def a_renewal_keeps_the_slot_from_being_forgotten(trial: Trial, store: Store) -> None:
    """Work that takes longer than a record lives is still in flight while it is renewed."""
    wanted = trial.wanted()
    held(await store.claim(wanted, lease=LEASE, keep=LEASE * 2), "a free slot")
    for _ in range(6):
        trial.clock.pass_(LEASE / 2)
        same(True, await store.renew(wanted, lease=LEASE), "a renewal in time")
    in_flight(
        await ask(store, trial.wanted(wanted.slot)), "a claim renewed for longer than its slot was kept"
    )


@check()
async def nothing_is_left_to_renew_once_it_is_recorded(trial: Trial, store: Store) -> None:
    """A heartbeat that comes after the record does not reopen it."""
    first = await take_claim(store, trial.wanted())
    await store.record(first, answer_of("done"), keep=KEEP)
    same(False, await store.renew(first, lease=LEASE), "a renewal after the record")
    await same_record(store, first, answer_of("done"), "the record")


# --- steps ---


@check()
async def steps_come_with_a_takeover(trial: Trial, store: Store) -> None:
    """Whoever takes a claim over gets the steps it kept, and those of the ones before it."""
    first = await take_claim(store, trial.wanted())
    await store.keep_step(first, "one", {"charge": "ch_1"})
    trial.clock.pass_(LEASE)
    second = await take_claim(trial.open(), trial.wanted(first.slot))
    same({"one": {"charge": "ch_1"}}, dict(second.steps), "the steps of who was taken over")
    await store.keep_step(second, "two", 2)
    trial.clock.pass_(LEASE)
    third = await take_claim(store, trial.wanted(first.slot))
    same({"one": {"charge": "ch_1"}, "two": 2}, dict(third.steps), "the steps of both")


@check()
async def a_step_kept_again_is_kept_once(trial: Trial, store: Store) -> None:
    """Keeping a step again with the same arguments changes nothing."""
    first = await take_claim(store, trial.wanted())
    for _ in range(3):
        await store.keep_step(first, "one", [1])
    await store.keep_step(first, "two", [2])
    await store.keep_step(first, "one", [1])
    trial.clock.pass_(LEASE)
    second = await take_claim(store, trial.wanted(first.slot))
    same({"one": [1], "two": [2]}, dict(second.steps), "the steps")


@check()
async def a_step_comes_back_as_json_says_it(trial: Trial, store: Store) -> None:
    """Whatever JSON can say is a result, and any text a name."""
    first = await take_claim(store, trial.wanted())
    names = ("plain", "", "with.dots and blanks", "é\U0001f600", "\"'\\%:$1")
    for name in names:
        await store.keep_step(first, name, ANY_RESULT)
    await store.keep_step(first, "nothing", None)
    trial.clock.pass_(LEASE)
    steps = dict((await take_claim(store, trial.wanted(first.slot))).steps)
    expected = {**dict.fromkeys(names, ANY_RESULT), "nothing": None}
    # As text, because 1 == True.
    same(json.dumps(expected, sort_keys=True), json.dumps(steps, sort_keys=True), "the results")


@check()
async def steps_do_not_outlive_the_slot(trial: Trial, store: Store) -> None:
    """A key whose record ended is a new request, which begins at the beginning."""
    first = await take_claim(store, trial.wanted())
    await store.keep_step(first, "one", 1)
    trial.clock.pass_(KEEP)
    second = await take_claim(store, trial.wanted(first.slot))
    same({}, dict(second.steps), "the steps of a slot that was forgotten")


# --- release ---


@check()
async def a_released_slot_is_free(trial: Trial, store: Store) -> None:
    """It can be claimed at once, by any request; releasing it again changes nothing."""
    first = await take_claim(store, trial.wanted())
    for _ in range(2):
        await store.release(first)
    second = await take_claim(store, trial.wanted(first.slot, fingerprint=b"o" * 32))
    await store.release(first)
    in_flight(await ask(store, trial.wanted(first.slot, fingerprint=b"o" * 32)), "the second one's slot")
    await store.record(second, answer_of("second"), keep=KEEP)


@check()
async def a_released_slot_with_steps_keeps_them(trial: Trial, store: Store) -> None:
    """Part of the work is done: the next request goes on from there, at once."""
    first = await take_claim(store, trial.wanted())
    await store.keep_step(first, "one", 1)
    for _ in range(2):
        await store.release(first)
    other = trial.wanted(first.slot, fingerprint=b"o" * 32)
    same(Mismatch(), await ask(store, other), "another payload after part of the work")
    second = await take_claim(store, trial.wanted(first.slot))
    same({"one": 1}, dict(second.steps), "the steps of a released slot")


@check()
async def a_record_cannot_be_released(trial: Trial, store: Store) -> None:
    """A release that comes after the record does not lose it."""
    first = await take_claim(store, trial.wanted())
    await store.record(first, answer_of("done"), keep=KEEP)
    await store.release(first)
    await same_record(store, first, answer_of("done"), "the record")


# --- records ---


@check()
async def an_answer_recorded_again_is_recorded_once(trial: Trial, store: Store) -> None:
    """Recording again with the same arguments, as after a lost answer, is no error and changes nothing."""
    first = await take_claim(store, trial.wanted())
    for _ in range(3):
        await store.record(first, answer_of("done"), keep=KEEP)
    await same_record(store, first, answer_of("done"), "the record")


@check()
async def an_answer_comes_back_byte_for_byte(trial: Trial, store: Store) -> None:
    """Status, headers and body are what they were, whatever bytes they are."""
    headers = {
        "content-type": "application/octet-stream", "etag": '"é\\"', "x-empty": "", "x-many": "a, b,c",
        "x-colon": ":value %s $1 ? {}", "x-latin": "".join(map(chr, range(0xA1, 0x100))),
    }  # fmt: skip
    answers = [
        Answer(200, headers, bytes(range(256)) * 40),
        Answer(204),
        Answer(409, {"content-type": "text/plain"}, b"\x00"),
        Answer(500, {"content-type": "application/json"}, b'{"a": "\xff\xfe"}'),
        Answer(201, {"location": "/things/1"}, "é\U0001f600".encode() * 20_000),
    ]
    for answer in answers:
        first = await take_claim(store, trial.wanted())
        await store.record(first, answer, keep=KEEP)
        await same_record(store, first, answer, "the answer")
        await same_record(trial.open(), first, answer, "the answer, for another worker")


@check()
async def what_belongs_to_one_request_is_not_recorded(trial: Trial, store: Store) -> None:
    """Cookies, dates, request ids and the numbers of a limit are not sent again."""
    first = await take_claim(store, trial.wanted())
    once = {
        "set-cookie": "s=1", "date": "now", "x-request-id": "req_1", "x-ratelimit-remaining": "3",
        "ratelimit": '"default";r=3;t=1', "retry-after": "1",
    }  # fmt: skip
    await store.record(first, Answer(201, {"etag": "1", **once}, b"body"), keep=KEEP)
    await same_record(store, first, Answer(201, {"etag": "1"}, b"body"), "the headers")


@check()
async def an_answer_too_large_to_keep_is_known_to_be_given(trial: Trial, store: Store) -> None:
    """A record without an answer says that the work is done, and survives a retry."""
    first = await take_claim(store, trial.wanted())
    for _ in range(2):
        await store.record(first, None, keep=KEEP)
    await same_record(store, first, None, "the record")
    await fenced(store.keep_step(first, "one", 1), "a step after the record")


@check()
async def a_record_lives_as_long_as_was_said(trial: Trial, store: Store) -> None:
    """It is there just before its end, counted from the record; at the end, and after it, the key is new."""
    for late in (0.0, A_BIT):
        first = await take_claim(store, trial.wanted())
        trial.clock.pass_(LEASE / 2)
        await store.record(first, answer_of("done"), keep=KEEP)
        trial.clock.pass_(KEEP - A_BIT)
        await same_record(store, first, answer_of("done"), "just before the end")
        trial.clock.pass_(A_BIT + late)
        second = trial.wanted(first.slot, fingerprint=b"o" * 32)
        held(await ask(store, second), "a key whose record ended, with any payload")
        await store.record(second, answer_of("new"), keep=KEEP)
        await same_record(store, second, answer_of("new"), "the new record")


@check()
async def a_claim_that_nobody_came_back_for_is_forgotten(trial: Trial, store: Store) -> None:
    """Past the time it was to be kept for, its slot is free for any payload."""
    first = await take_claim(store, trial.wanted())
    other = trial.wanted(first.slot, fingerprint=b"o" * 32)
    trial.clock.pass_(KEEP - A_BIT)
    same(Mismatch(), await ask(store, other), "just before the end")
    trial.clock.pass_(A_BIT)
    held(await ask(store, other), "a forgotten slot")


# --- fencing ---


@check()
async def a_holder_that_was_taken_over_is_fenced_out(trial: Trial, store: Store) -> None:
    """Whatever it tries changes nothing, while the next one works and once it is done."""
    first = await take_claim(store, trial.wanted())
    trial.clock.pass_(LEASE)
    second = await take_claim(trial.open(), trial.wanted(first.slot, request_id="req_second"))
    for done in (False, True):
        if done:
            await store.record(second, answer_of("second"), keep=KEEP)
        await fenced(store.record(first, answer_of("first"), keep=KEEP), "a fenced holder's record")
        await fenced(store.record(first, None, keep=KEEP), "a fenced holder's record")
        await fenced(store.keep_step(first, "one", 1), "a fenced holder's step")
        same(False, await store.renew(first, lease=LEASE), "a fenced holder's renewal")
        await store.release(first)
        if not done:
            in_flight(await ask(store, trial.wanted(first.slot)), "the second one's claim")
    await same_record(store, second, answer_of("second"), "the second one's record")


@check()
async def a_fenced_holder_leaves_nothing(trial: Trial, store: Store) -> None:
    """Its steps are not found by whoever comes next."""
    first = await take_claim(store, trial.wanted())
    trial.clock.pass_(LEASE)
    await take_claim(store, trial.wanted(first.slot))
    await fenced(store.keep_step(first, "one", 1), "a fenced holder's step")
    trial.clock.pass_(LEASE)
    third = await take_claim(store, trial.wanted(first.slot))
    same({}, dict(third.steps), "the steps")


@check()
async def a_fenced_holder_does_not_get_its_claim_back_by_asking(trial: Trial, store: Store) -> None:
    """The claim it once held, asked for again, meets the one that was given since."""
    first = await take_claim(store, trial.wanted())
    trial.clock.pass_(LEASE)
    second = await take_claim(store, trial.wanted(first.slot))
    in_flight(await ask(store, first), "a fenced holder that asks again")
    await store.record(second, answer_of("second"), keep=KEEP)
    await same_record(store, second, answer_of("second"), "the second one's record")


@check()
async def a_slot_that_was_released_and_claimed_fences_out_its_first_holder(
    trial: Trial, store: Store
) -> None:
    """So does a new claim on a slot that is free again."""
    first = await take_claim(store, trial.wanted())
    await store.release(first)
    await fenced(store.record(first, answer_of("first"), keep=KEEP), "a record after the release")
    await fenced(store.keep_step(first, "one", 1), "a step after the release")
    second = await take_claim(store, trial.wanted(first.slot))
    await fenced(store.record(first, answer_of("first"), keep=KEEP), "a record without a claim")
    in_flight(await ask(store, trial.wanted(second.slot)), "the second one's claim")
