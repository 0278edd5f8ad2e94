"""What the service half asks of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from failwell.answer import Answer
    from failwell.service.idempotency import Claim, Claimed
    from failwell.service.keys import StoredKey
    from failwell.service.limits import Decision, Limit


class StoreBusyError(Exception):
    """The store cannot take a write now; nothing was written."""


class FencedError(Exception):
    """The claim was taken over by another request; nothing was written."""


class Store(Protocol):
    """
    Keys, limits and idempotency records, kept apart from any one process.

    Each method is one step that either happens whole or not at all. All of them may raise
    `StoreBusyError`.
    """

    async def find_key(self, public: str, /) -> StoredKey | None:
        """The key with this public part, as it is now: a revocation counts at once."""
        ...

    async def take(self, subject: str, limit: Limit, /) -> Decision:
        """Count one request of `subject`, unless that breaks `limit`; a refused one costs nothing."""
        ...

    async def claim(
        self, slot: bytes, fingerprint: bytes, request_id: str, /, *, lease: float, keep: float
    ) -> Claimed:
        """
        The right to do the work of `slot`, or what stands against it.

        A claim whose lease lapsed is taken over by a request with the same fingerprint. A
        different fingerprint is a mismatch, whether or not the work is done.

        Args:
            slot: From `slot_of`.
            fingerprint: From `fingerprint_of`.
            request_id: The claiming request.
            lease: Seconds until the claim lapses.
            keep: Seconds until a slot that nobody came back for is forgotten.
        """
        ...

    async def renew(self, claim: Claim, /, *, lease: float) -> bool:
        """Hold the claim for another `lease` seconds from now; False if it is no longer held."""
        ...

    async def commit(self, claim: Claim | None, effect: Callable[[Any], Answer], /, *, keep: float) -> Answer:
        """
        Carry out `effect` and record its answer, in one transaction.

        Args:
            claim: The claim to complete; None if the request has no key.
            effect: Takes the connection and returns the answer. Whatever it raises rolls back.
            keep: Seconds the record lives.

        Raises:
            FencedError: the claim is no longer held; the effect was rolled back.
        """
        ...

    async def record(self, claim: Claim, answer: Answer, /, *, keep: float) -> None:
        """
        Record an answer that has no effect in this store.

        Raises:
            FencedError: the claim is no longer held.
        """
        ...

    async def release(self, claim: Claim, /) -> None:
        """Free the slot, if the claim still holds it."""
        ...

    async def aclose(self) -> None:
        """Finish what was begun and let go of everything. May be called again."""
        ...
