"""
A small service behind the real gates, for the crash sweep: it dies where it is told to.

Each request is one tenant's own, so that its effects and its ledger can be told from the others'.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.service.conformance.trial import KEEP, Effects, insertion
from failwell.service.credits import Debit
from failwell.service.exchange import exchange_of
from failwell.service.gates import Service
from failwell.service.idempotency import slot_of
from failwell.service.keys import KeyFormat, StoredKey, stored
from failwell.service.operations import Operation
from failwell.service.refusals import Refusal, RefusedRequest
from failwell.service.stores.postgres import PostgresStore
from failwell.service.stores.sql import SQLStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from failwell.service.bodies import Message, Receive, Scope, Send
    from failwell.service.conformance.trial import OpenStore
    from failwell.service.exchange import Exchange
    from failwell.service.idempotency import Level
    from failwell.service.stores.base import Store

KEYS = KeyFormat("crash_", lengths=(36,), public=24)


class Fuse:
    """
    Kills this process where it is told to.

    Args:
        at: The name of the place; empty for nowhere.
    """

    def __init__(self, at: str) -> None:
        self.at = at

    def reach(self, place: str) -> None:
        """Die, if this is the place."""
        if place == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


_WATCHED = frozenset({"claim", "renew", "keep_step", "record", "release", "settle", "look_up", "commit"})


class FusedStore:
    """A store that reaches `before <method>` and `after <method>`, and places within a commit."""

    def __init__(self, store: Store, fuse: Fuse) -> None:
        self._store = store
        self._fuse = fuse
        if isinstance(store, PostgresStore):
            # Its record is sent with the end of the transaction: this is the last place before both.
            store._carry_out = self._then_reached(store._carry_out)  # type: ignore[method-assign]  # to reach it
        elif isinstance(store, SQLStore):
            store._record = self._then_reached(store._record)  # type: ignore[method-assign]  # to reach it

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in _WATCHED:
            return found

        async def watched(*arguments: Any, **named: Any) -> Any:
            self._fuse.reach(f"before {name}")
            result = await found(*arguments, **named)
            self._fuse.reach(f"after {name}")
            return result

        return watched

    def _then_reached(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def reaching(*arguments: Any, **named: Any) -> Any:
            result = work(*arguments, **named)
            self._fuse.reach("record written")
            return result

        return reaching


class Payments:
    """
    A payment service in a file of its own, which knows idempotency keys.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def _run(self, statement: str, *values: str | None) -> list[Any]:
        with closing(sqlite3.connect(self.path, timeout=30.0, isolation_level=None)) as db:
            return db.execute(statement, values).fetchall()

    def open(self) -> None:
        """Open for business."""
        self._run("PRAGMA journal_mode = WAL")
        self._run("CREATE TABLE charges (receipt TEXT, what TEXT, key TEXT UNIQUE)")
        self._run("CREATE TABLE asked (what TEXT)")

    def charge(self, what: str, key: str | None) -> str:
        """Charge for `what`, once for each key if there is one; the receipt."""
        self._run("INSERT INTO asked VALUES (?)", what)
        receipt = os.urandom(8).hex()
        # NULL is different from NULL: without a key each request is a charge.
        self._run("INSERT INTO charges VALUES (?, ?, ?) ON CONFLICT DO NOTHING", receipt, what, key)
        if key is None:
            return receipt
        ((first,),) = self._run("SELECT receipt FROM charges WHERE key = ?", key)
        return str(first)

    def receipts(self, what: str) -> list[str]:
        """What was charged."""
        return [row[0] for row in self._run("SELECT receipt FROM charges WHERE what = ? ORDER BY 1", what)]

    def asked(self, what: str) -> int:
        """How often a charge was asked for."""
        return len(self._run("SELECT 1 FROM asked WHERE what = ?", what))


@dataclass(frozen=True)
class Place:
    """
    Where a service keeps what must outlive it.

    Attributes:
        open_store: What opens its store.
        payments: The payment service's file.
        lease: Seconds a claim is held after its holder died.
    """

    open_store: OpenStore
    payments: str
    lease: float


@dataclass(frozen=True)
class Case:
    """
    One request.

    Attributes:
        level: At which its operation honours the key.
        name: Its tenant's, its effects' and its idempotency key.
    """

    level: Level
    name: str

    @property
    def secret(self) -> str:
        """The API key of its tenant."""
        return f"{KEYS.prefix}{self.name:0>24}{'x' * 12}"

    @property
    def key(self) -> StoredKey:
        """The same, as the store has it."""
        return stored(self.secret, KEYS, tenant=self.name, principal=self.name)

    @property
    def slot(self) -> bytes:
        """Where its record is."""
        return slot_of(self.name, self.name, "POST", f"/{self.level}", self.name)


class Seen(NamedTuple):
    """
    What a client sees of an answer.

    Attributes:
        status: Of the answer.
        code: Of the error; empty if it is none.
        replayed: Whether it says that it was sent before.
        proof: What only the effect knows, if it is none.
    """

    status: int
    code: str
    replayed: bool
    proof: str

    def __str__(self) -> str:
        """In a word or two."""
        return f"{self.status} {self.code or 'replayed' * self.replayed}".strip()


class Shop:
    """
    The service: an operation for each level, behind the gates.

    Args:
        place: Where its store and its payment service are.
        fuse: Where it dies.
        wait: Seconds a request waits for another one with its key.
    """

    def __init__(self, place: Place, fuse: Fuse, *, wait: float = 0.0) -> None:
        self.fuse = fuse
        self.store = place.open_store(None)
        self.payments = Payments(place.payments)
        self.service = Service(
            self._handle, STANDARD, store=cast("Store", FusedStore(self.store, fuse)), keys=KEYS,
            operations=[_operation(level) for level in sorted(self.store.levels)],
            lease=place.lease, wait=wait,
        )  # fmt: skip

    async def _handle(self, scope: Scope, _receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        if self.fuse.at.endswith("release"):
            if exchange.holding is not None:
                await exchange.holding.take()
            raise RefusedRequest(Refusal("not_found"))
        if self.fuse.at.endswith(("renew", "claim")):
            await asyncio.Event().wait()  # for the claim of who takes long, or its renewal, which ends it
        self.fuse.reach("before effect")
        match exchange.operation and exchange.operation.idempotency:
            case "transactional":
                proof = await self._commit(exchange)
            case "resumable":
                proof = await self._resume(exchange)
            case _:
                proof = self.payments.charge(exchange.tenant, None)
                self.fuse.reach("after effect")
        self.fuse.reach("handled")
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": proof.encode()})

    async def _commit(self, exchange: Exchange) -> str:
        insert = insertion(exchange.tenant, os.urandom(8).hex())

        def effect(db: Any) -> Answer:
            self.fuse.reach("in transaction")
            answer = insert(db)
            self.fuse.reach("after effect")
            return answer

        return (await exchange.commit(effect)).body.decode()

    async def _resume(self, exchange: Exchange) -> str:
        receipts = []
        for name in ("first", "second"):

            async def charge(key: str, name: str = name) -> str:
                self.fuse.reach(f"before {name} step")
                receipt = self.payments.charge(exchange.tenant, key)
                self.fuse.reach(f"{name} step done")
                return receipt

            receipts.append(await exchange.step(name, charge))
            self.fuse.reach(f"{name} step kept")
        return " ".join(receipts)

    async def ask(self, case: Case) -> Seen:
        """Send a request to the service."""
        headers = {"authorization": f"Bearer {case.secret}", "idempotency-key": case.name}
        path = f"/{case.level}"
        scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
            "path": path, "raw_path": path.encode(), "query_string": b"", "scheme": "http",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "root_path": "",
        }  # fmt: skip
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            self.fuse.reach("half an answer" if sent else "before answer")
            sent.append(message)

        await self.service(scope, receive, send)
        self.fuse.reach("answered")
        status, fields = sent[0]["status"], dict(sent[0]["headers"])
        body = b"".join(message["body"] for message in sent[1:]).decode()
        code = "" if status < 400 else str(json.loads(body).get("code", "no code"))
        return Seen(status, code, b"idempotent-replayed" in fields, "" if code else body)


def _operation(level: Level) -> Operation:
    debits = (Debit(1),) if level == "transactional" else ()
    return Operation("POST", f"/{level}", idempotency=level, key_required=True, debits=debits)


async def proofs(store: Store, payments: Payments, case: Case) -> list[str]:
    """What the effects of a request are known by."""
    if case.level == "transactional":
        return await Effects(store).proofs(case.name)
    return payments.receipts(case.name)


# --- what the processes run ---


def request(place: Place, case: Case, die_at: str) -> Seen:
    """Serve a request in this process, which dies at the place named; it lives if none is."""

    async def run() -> Seen:
        shop = Shop(place, Fuse(die_at))
        try:
            return await shop.ask(case)
        finally:
            await shop.store.aclose()

    return asyncio.run(run())


def request_within(place: Place, case: Case, seconds: str) -> Seen:
    """Serve a request in this process, which dies if it takes longer than that, wherever it is then."""

    async def run() -> Seen:
        shop = Shop(place, Fuse(""))
        try:
            # Nobody handles SIGALRM: it ends the process in the middle of whatever it does.
            signal.setitimer(signal.ITIMER_REAL, float(seconds))
            seen = await shop.ask(case)
            signal.setitimer(signal.ITIMER_REAL, 0)
            return seen
        finally:
            await shop.store.aclose()

    return asyncio.run(run())


def settle(place: Place, case: Case, die_at: str) -> bool:
    """Settle a request as an operator would, by what the payment service has charged."""

    async def run() -> bool:
        store = place.open_store(None)
        try:
            claims = [claim for claim in await store.unsettled(most=10_000) if claim.slot == case.slot]
            if not claims:
                return False
            receipts = Payments(place.payments).receipts(case.name)
            answer = Answer(201, {"content-type": "text/plain"}, receipts[0]) if receipts else None
            settled: bool = await FusedStore(store, Fuse(die_at)).settle(claims[0], answer, keep=KEEP)
            return settled
        finally:
            await store.aclose()

    return asyncio.run(run())
