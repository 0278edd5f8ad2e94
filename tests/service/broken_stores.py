"""Stores that break one promise each, for the checks to notice."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from failwell.answer import Answer
from failwell.service import SQLiteStore
from failwell.service.idempotency import Claim, InFlight, Mismatch, Unsettled
from failwell.service.limits import Decision, Limit
from failwell.service.stores.base import FencedError


class ForgetsToFence(SQLiteStore):
    """Completes the slot for whoever asks, whoever holds it."""

    def _finish(self, db: Any, claim: Claim, answer: Answer | None, keep: float) -> bool:
        rows = db.execute("SELECT token FROM failwell_idempotency WHERE slot = ?", (claim.slot,)).fetchall()
        return super()._finish(db, replace(claim, token=rows[0][0]) if rows else claim, answer, keep)


class StepsWithoutFence(SQLiteStore):
    """Keeps a step for whoever asks."""

    async def keep_step(self, claim: Claim, name: str, result: Any, /) -> None:
        rows = self.read("SELECT token FROM failwell_idempotency WHERE slot = ?", (claim.slot,))
        await super().keep_step(replace(claim, token=rows[0][0]) if rows else claim, name, result)


class RefusesItsOwnRetry(SQLiteStore):
    """Takes a claim that is asked for again for another request's."""

    async def claim(self, wanted: Claim, /, **facts: Any) -> Any:
        claimed = await super().claim(replace(wanted, token=os.urandom(16)), **facts)
        if not isinstance(claimed, Claim):
            return claimed
        await self.write(
            lambda db: db.execute(
                "UPDATE failwell_idempotency SET token = ? WHERE slot = ?", (wanted.token, wanted.slot)
            )
        )
        return replace(wanted, steps=claimed.steps)


class GivesEverybodyTheClaim(SQLiteStore):
    """Looks, and writes later, as if nobody else could come in between."""

    async def claim(self, wanted: Claim, /, **facts: Any) -> Any:
        await super().claim(wanted, **facts)
        return wanted


class LeaseFromNowOn(SQLiteStore):
    """Takes a claim over while its holder is at work."""

    async def claim(self, wanted: Claim, /, *, lease: float, **facts: Any) -> Any:
        return await super().claim(wanted, lease=0.0, **facts)


class NeverLetsGo(SQLiteStore):
    """Holds a claim for as long as a record: stuck, as long as its holder is dead."""

    async def claim(self, wanted: Claim, /, *, lease: float, keep: float, **facts: Any) -> Any:
        return await super().claim(wanted, lease=keep, keep=keep, **facts)


class MismatchComesLast(SQLiteStore):
    """Says that the first request is at work, whatever the second one asks."""

    async def claim(self, wanted: Claim, /, **facts: Any) -> Any:
        claimed = await super().claim(wanted, **facts)
        return InFlight(1.0) if isinstance(claimed, Mismatch) else claimed


class NoHeartbeat(SQLiteStore):
    """Says yes to a renewal, and does nothing."""

    async def renew(self, claim: Claim, /, *, lease: float) -> bool:
        return True


class ForgetsSteps(SQLiteStore):
    """Keeps no step."""

    async def keep_step(self, claim: Claim, name: str, result: Any, /) -> None:
        if not await self.renew(claim, lease=0.25):
            raise FencedError


class ReleasesAnybody(SQLiteStore):
    """Frees the slot, whoever holds it by now."""

    async def release(self, claim: Claim, /) -> None:
        slot = claim.slot
        await self.write(lambda db: db.execute("DELETE FROM failwell_idempotency WHERE slot = ?", (slot,)))


class BodiesAreText(SQLiteStore):
    """Keeps bodies as text."""

    async def record(self, claim: Claim, answer: Answer | None, /, *, keep: float) -> None:
        if answer is not None:
            answer = Answer(answer.status, answer.headers, answer.body.decode(errors="replace"))
        await super().record(claim, answer, keep=keep)


class EndlessRecords(SQLiteStore):
    """Keeps a record for twice as long as was said."""

    async def record(self, claim: Claim, answer: Answer | None, /, *, keep: float) -> None:
        await super().record(claim, answer, keep=2 * keep)


class RecordAfterTheEffect(SQLiteStore):
    """Records the answer in a transaction after that of the effect."""

    async def commit(
        self, claim: Any, effect: Callable[[Any], Answer], /, *, keep: float, **facts: Any
    ) -> Any:
        answer = await super().commit(None, effect, keep=keep, **facts)
        if claim is not None:
            await super().commit(claim, lambda _: answer, keep=keep)
        return answer


class PaysAfterTheEffect(SQLiteStore):
    """Debits in a transaction after that of the effect."""

    async def commit(
        self, claim: Any, effect: Callable[[Any], Answer], /, *, debits: Any = (), **facts: Any
    ) -> Any:
        answer = await super().commit(claim, effect, **facts)
        await super().commit(None, lambda _: answer, debits=debits, **facts)
        return answer


class SettlesEverything(SQLiteStore):
    """Forgets a claim whenever it is told that nothing was done."""

    async def settle(self, unsettled: Unsettled, answer: Answer | None, /, *, keep: float) -> bool:
        if answer is not None:
            return await super().settle(unsettled, answer, keep=keep)
        forget = "DELETE FROM failwell_idempotency WHERE slot = ?"
        await self.write(lambda db: db.execute(forget, (unsettled.slot,)))
        return True


class SettlesTheSlot(SQLiteStore):
    """Settles whatever is unsettled on the slot by now."""

    async def settle(self, unsettled: Unsettled, answer: Answer | None, /, *, keep: float) -> bool:
        now = [one for one in await self.unsettled(most=10_000) if one.slot == unsettled.slot]
        return bool(now) and await super().settle(now[0], answer, keep=keep)


class SettlesByRequest(SQLiteStore):
    """Takes two claims of one request for one; a client may well send the same request id again."""

    async def settle(self, unsettled: Unsettled, answer: Answer | None, /, *, keep: float) -> bool:
        which = (unsettled.slot, unsettled.request_id)
        now = [one for one in await self.unsettled(most=10_000) if (one.slot, one.request_id) == which]
        return bool(now) and await super().settle(now[0], answer, keep=keep)


class TakesOverRegardless(SQLiteStore):
    """Takes over what may be done at most once."""

    async def claim(self, wanted: Claim, /, *, take_over: bool = True, **facts: Any) -> Any:
        return await super().claim(wanted, take_over=True, **facts)


class CountsRefusals(SQLiteStore):
    """Moves the number of a refused request, too."""

    async def take(self, subject: str, limits: Sequence[Limit], /) -> Decision:
        made = await super().take(subject, limits)
        if not made.allowed:
            self._limits.execute(
                "UPDATE failwell_limits SET tat0 = tat0 + 1000000 WHERE subject = ?", (subject,)
            )
        return made


class LimitsOneByOne(SQLiteStore):
    """Counts each limit by itself."""

    async def take(self, subject: str, limits: Sequence[Limit], /) -> Decision:
        made = [await super(LimitsOneByOne, self).take(f"{subject} {one.name}", (one,)) for one in limits]
        return Decision(
            all(d.allowed for d in made),
            tuple(s for d in made for s in d.standings),
            max(d.retry_after for d in made),
        )


class RemembersKeys(SQLiteStore):
    """Asks for a key once."""

    def __init__(self, path: str | Path, **settings: Any) -> None:
        super().__init__(path, **settings)
        self._known: dict[str, Any] = {}

    async def admit(self, public: str, counting: Any, /) -> Any:
        if public not in self._known:
            self._known[public] = await super().admit(public, lambda _: None)
        key, _ = self._known[public]
        counted = counting(key)
        return key, None if counted is None else await self.take(*counted)


class CommitsWithoutTheClaim(SQLiteStore):
    """Carries out an effect even if its claim is gone."""

    async def commit(self, claim: Any, effect: Callable[[Any], Answer], /, **facts: Any) -> Any:
        try:
            return await super().commit(claim, effect, **facts)
        except FencedError:
            return await super().commit(None, effect, **facts)


class CommitsOverAnything(SQLiteStore):
    """Carries out an effect and records it, whoever holds the slot or has done the work."""

    def _record(self, db: Any, claim: Claim, answer: Answer, keep: float) -> None:
        db.execute("DELETE FROM failwell_idempotency WHERE slot = ?", (claim.slot,))
        super()._record(db, claim, answer, keep)


class TakesByLooking(SQLiteStore):
    """Claims a slot for whoever only asks what stands against it."""

    async def look_up(self, wanted: Claim, /) -> Any:
        found = await super().look_up(wanted)
        if found is None:
            await self.claim(wanted, lease=30.0, keep=60.0)
        return found


class AsksTheWorker(SQLiteStore):
    """Goes by the clock of whoever asks: for one machine, and for no other."""


class SaysInFlightFirst(SQLiteStore):
    """Not broken, but busy with something else at first."""

    async def claim(self, wanted: Claim, /, **facts: Any) -> Any:
        self._asked = getattr(self, "_asked", 0) + 1
        return InFlight(1.0) if self._asked < 3 else await super().claim(wanted, **facts)


class TakesItsTime(SQLiteStore):
    """Not broken, but slow to say that a claim was given."""

    async def claim(self, wanted: Claim, /, **facts: Any) -> Any:
        claimed = await super().claim(wanted, **facts)
        if isinstance(claimed, Claim):
            await asyncio.sleep(1.0)
        return claimed


class AlwaysMismatch(SQLiteStore):
    """Takes every request for another one."""

    async def claim(self, wanted: Claim, /, **facts: Any) -> Any:
        return Mismatch()


# Each with the checks that must notice.
BROKEN: dict[type[SQLiteStore], tuple[str, ...]] = {
    AsksTheWorker: ("a_worker_whose_clock_is_wrong_changes_nothing",),
    ForgetsToFence: ("a_holder_that_was_taken_over_is_fenced_out",),
    CommitsOverAnything: (
        "a_fenced_holder_has_no_effect",
        "a_commit_needs_no_claim_that_was_taken",
        "a_commit_over_anothers_claim_has_no_effect",
        "a_commit_over_an_unsettled_claim_has_no_effect",
    ),
    TakesByLooking: ("looking_up_says_what_stands_against_a_claim",),
    StepsWithoutFence: ("a_fenced_holder_leaves_nothing",),
    RefusesItsOwnRetry: (
        "a_claim_that_is_asked_for_again_is_held",
        "a_claim_that_is_asked_for_again_keeps_its_steps",
    ),
    GivesEverybodyTheClaim: (
        "one_of_many_processes_gets_the_claim",
        "one_of_many_processes_takes_the_claim_over",
        "a_second_request_is_told_how_long_the_first_may_take",
    ),
    LeaseFromNowOn: ("a_claim_is_taken_over_when_its_lease_ends_and_not_before",),
    NeverLetsGo: ("a_claim_is_taken_over_when_its_lease_ends_and_not_before",),
    MismatchComesLast: (
        "another_payload_is_a_mismatch_while_the_work_is_under_way",
        "another_payload_is_a_mismatch_when_the_work_is_done",
    ),
    NoHeartbeat: ("a_renewal_holds_the_claim", "a_late_renewal_revives_a_claim_that_nobody_took"),
    ForgetsSteps: ("steps_come_with_a_takeover", "a_step_comes_back_as_json_says_it"),
    ReleasesAnybody: ("a_released_slot_is_free", "a_record_cannot_be_released"),
    BodiesAreText: ("an_answer_comes_back_byte_for_byte",),
    EndlessRecords: ("a_record_lives_as_long_as_was_said",),
    RecordAfterTheEffect: ("a_fenced_holder_has_no_effect", "commits_at_the_same_time_have_one_effect"),
    PaysAfterTheEffect: ("what_cannot_be_paid_for_is_rolled_back",),
    SettlesEverything: ("nothing_is_settled_that_is_not_unsettled",),
    SettlesTheSlot: (
        "a_later_claim_is_not_settled_by_what_is_known_of_an_earlier_one",
        "a_claim_that_was_held_on_to_is_looked_at_again",
    ),
    SettlesByRequest: (
        "a_later_claim_is_not_settled_by_what_is_known_of_an_earlier_one",
        "a_claim_that_was_held_on_to_is_looked_at_again",
    ),
    TakesOverRegardless: ("a_claim_that_may_not_be_taken_over_is_unsettled",),
    CountsRefusals: ("a_refused_request_costs_nothing",),
    LimitsOneByOne: ("several_limits_count_all_or_nothing",),
    RemembersKeys: ("a_revocation_counts_at_once", "a_tenant_is_shut_out_and_let_in_at_once"),
    CommitsWithoutTheClaim: (
        "processes_that_believe_in_one_claim_have_one_effect",
        "a_commit_that_is_repeated_has_no_second_effect",
    ),
}
