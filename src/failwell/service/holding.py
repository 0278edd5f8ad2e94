"""Hold a claim on a slot while its work is under way."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from failwell.service.idempotency import CLAIMED_AFTER, Claim
from failwell.service.stores.base import FencedError, StoreBusyError

if TYPE_CHECKING:
    from failwell.service.stores.base import Store

log = logging.getLogger("failwell.service")


class Holding:
    """
    A request's claim, while it does the work of its slot.

    A claim that was taken is renewed three times a lease: so the lease can be short, and a slow
    handler is not overtaken, only a dead one is. One that was not taken, as at level
    `transactional`, is taken once the work goes on for longer than `CLAIMED_AFTER`.

    Args:
        store: Where the claim is.
        claim: The claim.
        lease: Seconds it is held without news of its holder.
        keep: Seconds until a slot that nobody came back for is forgotten.
        taken: Whether the claim is in the store.

    Attributes:
        claim: The claim, with the steps that earlier holders kept, once it is taken.
        taken: Whether the claim is in the store.
        committing: Whether what settles the claim is under way, and would find it in its way:
            then it is not taken.
    """

    __slots__ = (
        "_at_work",
        "_keep",
        "_lease",
        "_loop",
        "_store",
        "_task",
        "_timer",
        "claim",
        "committing",
        "taken",
    )

    def __init__(self, store: Store, claim: Claim, *, lease: float, keep: float, taken: bool) -> None:
        self._store, self._lease, self._keep = store, lease, keep
        self.claim, self.taken = claim, taken
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._at_work = self.committing = False

    async def take(self) -> None:
        """
        Take the claim, unless it is taken.

        Raises:
            FencedError: something stands against it.
        """
        if self.taken:
            return
        claimed = await self._store.claim(self.claim, lease=self._lease, keep=self._keep)
        if not isinstance(claimed, Claim):
            raise FencedError
        self.claim, self.taken = claimed, True

    async def is_taken(self) -> bool:
        """Whether the claim is in the store, and will not get there behind our back."""
        if self._task is not None:
            await asyncio.wait([self._task])
        return self.taken

    @property
    def _first(self) -> float:
        return self._lease / 3 if self.taken else min(CLAIMED_AFTER, self._lease / 3)

    def __enter__(self) -> None:
        self._at_work = True
        self._beat_in(self._first)

    def __exit__(self, *_: object) -> None:
        self._at_work = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat_in(self, seconds: float) -> None:
        if self._at_work:
            self._timer = self._loop.call_later(seconds, self._beat)

    def _beat(self) -> None:
        if self.committing and not self.taken:
            self._beat_in(self._first)
            return
        self._task = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        try:
            if not self.taken:
                await self.take()
            elif not await self._store.renew(self.claim, lease=self._lease):
                return  # it came too late, and the next one would, too
        except FencedError:
            return  # somebody was faster; the end of the work finds out what came of it
        except Exception as exc:  # whatever it was, the next time it may be possible
            if not isinstance(exc, StoreBusyError):
                log.warning("could not renew the claim of request %s", self.claim.request_id, exc_info=exc)
        self._beat_in(self._lease / 3)
