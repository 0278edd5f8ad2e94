"""What the service half asks of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from typing import TypeAlias

    from failwell.answer import Answer
    from failwell.service.credits import Account, Debit, Entry
    from failwell.service.idempotency import Claim, Claimed, Level, Unsettled
    from failwell.service.keys import StoredKey
    from failwell.service.limits import Decision, Limit

    # A subject, and the limits that a request of it is counted against.
    Counted: TypeAlias = tuple[str, Sequence[Limit]]
    # What to count for a request with this key; None for nothing.
    Counting: TypeAlias = Callable[[StoredKey | None], Counted | None]
    # A key, and what is decided of its request; None for one there is not, or nothing to decide.
    Admitted: TypeAlias = tuple[StoredKey | None, Decision | None]


# What is said to an effect, or a function given to `write`, that would end the transaction it is in.
NOT_YOURS_TO_END = (
    "the store commits this transaction, with the record that belongs to it, once the work in it has "
    "returned, and rolls it back if the work raises. Leave out `with` on the connection, commit, "
    "rollback, close, scripts of statements, and BEGIN, COMMIT, END and ROLLBACK in SQL; to undo a "
    "part, use a savepoint"
)
FROM_WITHIN = (
    "an effect, or a function given to `write`, asked the store itself for something that waits: that "
    "is another transaction, which would wait for this one, or stay when this one is undone. Do it with "
    "the connection that it was given, or before or after the effect"
)
ENDED = f"the work ended the transaction it was in; {NOT_YOURS_TO_END}"


class StoreBusyError(Exception):
    """The store cannot answer now, or cannot take a write; nothing was written."""


class FencedError(Exception):
    """The claim was taken over by another request; nothing was written."""


class Store(Protocol):
    """
    Keys, limits and idempotency records, kept apart from any one process.

    Each method is one step that either happens whole or not at all, and that may be repeated
    with the same arguments, as a client does whose answer was lost: the second time changes
    nothing and says the same. All of them may raise `StoreBusyError`. Time is the store's own,
    so that workers whose clocks differ agree. `failwell.service.conformance` holds a store to
    this.

    Attributes:
        levels: The levels of idempotency that it can keep.
    """

    levels: frozenset[Level]

    def admit(self, public: str, counting: Counting, /) -> Awaitable[Admitted]:
        """
        The key with this public part, as it is now, and its request counted, in one trip.

        A revocation counts at once.

        Args:
            public: From `KeyFormat.public_part`.
            counting: Told the key, says what to count. Quick, and without side effects.
        """
        ...

    async def take(self, subject: str, limits: Sequence[Limit], /) -> Decision:
        """Count one request of `subject`, unless that breaks a limit; a refused one costs nothing."""
        ...

    async def claim(self, wanted: Claim, /, *, lease: float, keep: float, take_over: bool = True) -> Claimed:
        """
        The right to do the work of a slot, or what stands against it.

        A claim whose lease lapsed is taken over by a request with the same fingerprint, along
        with the steps it kept. A different fingerprint is a mismatch, whether or not the work is
        done. Asked for again with the token that holds the slot, it is held.

        Args:
            wanted: The claim; its steps are not looked at.
            lease: Seconds until the claim lapses.
            keep: Seconds until a slot that nobody came back for is forgotten.
            take_over: Whether the claim may be taken over once its lease lapsed; if not,
                whoever comes after it gets `Unsettled`.
        """
        ...

    async def renew(self, claim: Claim, /, *, lease: float) -> bool:
        """Hold the claim for another `lease` seconds from now; False if it is no longer held."""
        ...

    async def keep_step(self, claim: Claim, name: str, result: Any, /) -> None:
        """
        Keep the result of a step for whoever takes the claim over.

        Args:
            claim: The claim.
            name: The step's.
            result: Anything JSON can say.

        Raises:
            FencedError: the claim is no longer held.
        """
        ...

    async def record(self, claim: Claim, answer: Answer | None, /, *, keep: float) -> None:
        """
        Record an answer that has no effect in this store; None for one too large to keep.

        Raises:
            FencedError: the claim is no longer held.
        """
        ...

    async def release(self, claim: Claim, /) -> None:
        """Free the slot, if the claim still holds it. One with steps only lets its lease lapse."""
        ...

    async def unsettled(self, *, most: int = 100) -> list[Unsettled]:
        """The claims of level `at_most_once` whose holders are gone, oldest first."""
        ...

    async def settle(self, unsettled: Unsettled, answer: Answer | None, /, *, keep: float) -> bool:
        """
        Say what became of an unsettled claim.

        Args:
            unsettled: As `claim` or `unsettled` told of it. A later claim on its slot, or the
                same one held on to since by its holder, is another: nothing is known of that.
            answer: What a repeated request is to be answered; None if nothing was done, which
                frees the slot.
            keep: Seconds the record lives.

        Returns:
            Whether that very claim was unsettled until now.
        """
        ...

    # For start-up and tools; these block.

    def add_keys(self, keys: Iterable[StoredKey], /) -> None:
        """Store `keys`, in place of those with the same public part."""
        ...

    def revoke_key(self, public: str, /) -> bool:
        """Take the key with this public part out of use; whether there is one."""
        ...

    def set_tenant_active(self, tenant: str, active: bool, /) -> None:
        """Let a tenant in, or shut it out."""
        ...

    async def aclose(self) -> None:
        """Finish what was begun and let go of everything. May be called again."""
        ...

    def close(self) -> None:
        """The same, where no event loop runs."""
        ...


class TransactionalStore(Store, Protocol):
    """A store in a database that holds the service's own tables, too."""

    async def look_up(self, wanted: Claim, /) -> Claimed | None:
        """
        What stands against a claim, without taking it.

        Returns:
            None if nothing does: the slot is free, or its lease lapsed and it may be taken over.
            The claim itself, with its steps, if it is held.
        """
        ...

    async def commit(
        self,
        claim: Claim | None,
        effect: Callable[[Any], Answer],
        /,
        *,
        keep: float,
        taken: bool = False,
        tenant: str = "",
        request_id: str = "",
        debits: Sequence[Debit] = (),
    ) -> Answer:
        """
        Carry out `effect`, pay for it and record its answer, in one transaction.

        Args:
            claim: The claim to complete; None if the request has no key. It need not have been
                taken: what counts is that nothing stands against it in the end.
            effect: Takes the connection and returns the answer. Whatever it raises rolls back.
                Runs on a thread of the store, or the event loop's where commits are not waited
                for, must not wait for anything else, and cannot end its transaction.
            keep: Seconds the record lives.
            taken: Whether the claim was taken; only to spare a detour.
            tenant: Who pays.
            request_id: For the ledger.
            debits: What it costs.

        Raises:
            FencedError: something stands against the claim; the effect was rolled back.
            InsufficientCreditsError: it cannot be paid for; the effect was rolled back.
        """
        ...

    async def account(self, tenant: str, unit: str, /) -> Account:
        """What a tenant has of a unit; an account that was never opened is empty."""
        ...

    async def entries(self, tenant: str, unit: str, /, *, after: int = 0, most: int = 100) -> list[Entry]:
        """The lines of an account's ledger with a `seq` above `after`, oldest first."""
        ...

    def grant(self, tenant: str, amount: int, unit: str = "credits", /, *, reason: str = "grant") -> Account:
        """
        Add to an account what was bought, or opens it; below 0 takes it back. Blocks.

        Raises:
            InsufficientCreditsError: there is less left than is to be taken back.
            TypeError: the amount is no whole number.
            ValueError: it is larger than `MOST_CREDITS`.
        """
        ...

    def allow(self, tenant: str, allowance: int, unit: str, /, *, period: float | None = None) -> Account:
        """
        Make an account an allowance that is whole again every `period` seconds; None: never. Blocks.

        Raises:
            TypeError: the allowance is no whole number, or the period no number.
            ValueError: the allowance is below 0 or larger than `MOST_CREDITS`, or the period not
                above 0.
        """
        ...


def fenced_unless(held: bool) -> None:
    """
    Raise what a store raises whose claim is gone.

    Raises:
        FencedError: it is not `held`.
    """
    if not held:
        raise FencedError
