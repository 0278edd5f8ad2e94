"""What a check of a store has at hand, and how it says that a promise is not kept."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from failwell.answer import Answer
from failwell.service.idempotency import Claim, InFlight, Recorded
from failwell.service.stores.base import FencedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import TypeAlias

    from failwell.service.credits import Debit
    from failwell.service.idempotency import Claimed, Level
    from failwell.service.stores.base import Store, TransactionalStore

    Clock: TypeAlias = Callable[[], float]
    OpenStore: TypeAlias = Callable[[Clock | None], Store]
    Body: TypeAlias = "Callable[[Trial, Store], Awaitable[None]]"

# Seconds; sums with the clock's start are exact in binary, so that edges are edges. A store
# that counts in milliseconds or microseconds meets them, too.
LEASE = 32.0
KEEP = 4096.0
START = 1_800_000_000.0
A_BIT = 0.125


class ConformanceError(AssertionError):
    """A store does not keep what the protocol promises."""


def expect(kept: bool, promise: str) -> None:
    """Raise `ConformanceError` unless the promise is kept."""
    if not kept:
        raise ConformanceError(promise)


def same(expected: Any, seen: Any, promise: str) -> None:
    """Raise `ConformanceError` unless `seen` is what was expected."""
    if expected != seen:
        raise ConformanceError(f"{promise}: expected {expected!r}, saw {seen!r}")


def held(claimed: Claimed, promise: str) -> Claim:
    """The claim, if it was given."""
    if not isinstance(claimed, Claim):
        raise ConformanceError(f"{promise}: expected the claim, saw {claimed!r}")
    return claimed


def in_flight(claimed: Claimed, promise: str) -> float:
    """Seconds that the other request's claim holds at most."""
    if not isinstance(claimed, InFlight):
        raise ConformanceError(f"{promise}: expected InFlight, saw {claimed!r}")
    return claimed.lease_left


async def fenced(attempt: Awaitable[Any], promise: str) -> None:
    """Raise `ConformanceError` unless the attempt raises `FencedError`."""
    try:
        await attempt
    except FencedError:
        return
    raise ConformanceError(f"{promise}: expected FencedError, and nothing was raised")


class HandClock:
    """Unix seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass(frozen=True, slots=True)
class Check:
    """
    One promise of the protocol. Call it with what opens the store; it raises `ConformanceError`.

    Attributes:
        name: Words with underscores, as of a test.
        promise: What is promised, in a sentence.
        level: The level of idempotency that it is about; None if every store has to keep it.
        own_clock: Whether it is about stores that have a clock apart from their workers'.
    """

    name: str
    promise: str
    level: Level | None
    own_clock: bool
    body: Body

    def __call__(self, open_store: OpenStore) -> None:
        """
        Hold a store to the promise.

        Raises:
            ConformanceError: it does not keep it.
        """
        asyncio.run(self._run(open_store))

    def __str__(self) -> str:
        return self.name

    async def _run(self, open_store: OpenStore) -> None:
        trial = Trial(open_store)
        try:
            await self.body(trial, trial.open())
        finally:
            await trial.aclose()


ALL: list[Check] = []


def check(*, level: Level | None = None, own_clock: bool = False) -> Callable[[Body], Body]:
    """Enter a function into the list of checks; its name and docstring name the check."""

    def enter(body: Body) -> Body:
        name: str = body.__name__
        ALL.append(Check(name, " ".join((body.__doc__ or "").split()), level, own_clock, body))
        return body

    return enter


class Trial:
    """
    One check under way: a clock, names that nobody else has, and stores that are closed at the end.

    Attributes:
        open_store: What opens the store.
        clock: The clock of the stores opened here.
    """

    def __init__(self, open_store: OpenStore) -> None:
        self.open_store = open_store
        self.clock = HandClock()
        self._opened: list[Store] = []

    def open(self, *, own_clock: bool = False) -> Store:
        """The store as another worker would open it, on the same database."""
        store = self.open_store(None if own_clock else self.clock)
        self._opened.append(store)
        return store

    async def aclose(self) -> None:
        """Close what was opened."""
        while self._opened:
            await self._opened.pop().aclose()

    def name(self) -> str:
        """A word that is in use nowhere else."""
        return f"c{os.urandom(12).hex()}"

    def wanted(
        self,
        slot: bytes | None = None,
        *,
        fingerprint: bytes = b"f" * 32,
        request_id: str = "req_conformance",
    ) -> Claim:
        """A claim to ask for, on a slot of its own unless one is named."""
        return Claim(slot or os.urandom(32), fingerprint, os.urandom(16), request_id)


async def ask(store: Store, wanted: Claim, *, lease: float = LEASE, take_over: bool = True) -> Claimed:
    """Ask for a claim."""
    return await store.claim(wanted, lease=lease, keep=KEEP, take_over=take_over)


async def take_claim(store: Store, wanted: Claim, *, take_over: bool = True, lease: float = LEASE) -> Claim:
    """Ask for a claim that nothing stands against."""
    return held(await ask(store, wanted, take_over=take_over, lease=lease), "a slot that nobody holds")


def answer_of(text: str, status: int = 201, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer to tell from others by its text."""
    return Answer(status, headers or {"content-type": "text/plain"}, text)


async def same_record(store: Store, claim: Claim, expected: Answer | None, promise: str) -> None:
    """Raise `ConformanceError` unless the slot has this answer on record."""
    other = Claim(claim.slot, claim.fingerprint, os.urandom(16), "req_other")
    same(Recorded(expected, claim.request_id), await ask(store, other), promise)


# --- effects in the store's own database ---

TABLE = "failwell_conformance"


class Effects:
    """
    A table of effects beside the store's own.

    Its statements have no values to bind, which databases write differently.
    """

    def __init__(self, store: Store) -> None:
        self.store = cast("TransactionalStore", store)

    async def make(self) -> None:
        """Make the table."""
        await self._execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (name TEXT NOT NULL, proof TEXT NOT NULL)")

    async def _execute(self, statement: str) -> list[Sequence[Any]]:
        rows: list[Sequence[Any]] = []

        def run(db: Any) -> Answer:
            cursor = db.execute(statement)
            if statement.startswith("SELECT"):
                rows.extend(cursor.fetchall())
            return Answer(204)

        await self.store.commit(None, run, keep=KEEP)
        return rows

    async def proofs(self, name: str) -> list[str]:
        """The proof of each effect of this name."""
        rows = await self._execute(f"SELECT proof FROM {TABLE} WHERE name = '{checked_word(name)}'")  # noqa: S608  # it is checked
        return [str(row[0]) for row in rows]

    async def count(self, name: str) -> int:
        """How many effects have this name."""
        return len(await self.proofs(name))

    async def commit(self, claim: Claim | None, name: str, text: str = "done", **facts: Any) -> Answer:
        """Carry out an effect and record its answer."""
        return await self.store.commit(claim, insertion(name, text), keep=KEEP, **facts)


def insertion(name: str, proof: str) -> Callable[[Any], Answer]:
    """An effect: a row with a name and a proof, which is also the answer."""
    statement = (
        f"INSERT INTO {TABLE} (name, proof) "  # noqa: S608  # both are checked
        f"VALUES ('{checked_word(name)}', '{checked_word(proof)}')"
    )

    def insert(db: Any) -> Answer:
        db.execute(statement)
        return answer_of(proof)

    return insert


def checked_word(word: str) -> str:
    """`word`, if it can stand between quotes."""
    if not word.replace("_", "").isalnum():
        raise ValueError(f"{word!r} is not a word")
    return word


def whose(tenant: str, *debits: Debit) -> dict[str, Any]:
    """Who pays for an effect, and what it costs."""
    return {"tenant": tenant, "request_id": "req_conformance", "debits": debits}
