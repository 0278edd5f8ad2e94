"""
Carry out the effect of a request once, wherever its idempotency record is kept.

Where the store is the database, effect and record are one transaction: `transactional`. Where
the record is in Redis, the operation is `resumable`: the effect is its one step, and the
database knows by the step's key whether it was done. Killed between the effect and its record,
the next try finds the answer beside the effect, because both were written in one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from failwell.answer import Answer
from failwell.service import Debit, Exchange, Refusal, RefusedRequest
from failwell.service.idempotency import KEPT_FOR
from failwell_sandbox.database import Connection, Database

TYPE_CHECKING = False
if TYPE_CHECKING:
    from failwell.service import Store
    from failwell.service.idempotency import Level

SCHEMA = """
CREATE TABLE IF NOT EXISTS done_effects (
    step_key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    answer TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS done_effects_ends ON done_effects (at);
"""

_FORGET = f"DELETE FROM done_effects WHERE at <= {{now}} - {KEPT_FOR}"  # noqa: S608  # our own number


def level_of(store: Store, database: Database) -> Level:
    """How safely the two can keep an effect and its record."""
    return "transactional" if database.store is store else "resumable"


async def carry_out(
    exchange: Exchange, database: Database, effect: Callable[[Connection], Answer], *debits: Debit
) -> Answer:
    """
    The answer of `effect`, which is carried out now unless an earlier try of the request did.

    Args:
        exchange: The request.
        database: Where the effect is, and the accounts that pay for it.
        effect: Takes the connection, returns the answer. Whatever it raises leaves nothing behind.
        debits: What it costs, paid in its transaction.

    Raises:
        StoreBusyError: the database takes no writes; nothing was done.
        RefusedRequest: the key was used for another payload.
        InsufficientCreditsError: it cannot be paid for; nothing was done.
    """
    operation, claim = exchange.operation, exchange.claim
    if operation is not None and operation.idempotency == "transactional":
        return await exchange.commit(lambda raw: effect(database.on(raw)), *debits)

    async def paid(work: Callable[[Connection], Answer]) -> Answer:
        answer: Answer = await database.store.commit(
            None, lambda raw: work(database.on(raw)), keep=KEPT_FOR, tenant=exchange.tenant,
            request_id=exchange.request_id, debits=debits,
        )  # fmt: skip
        return answer

    if claim is None:
        return await (paid(effect) if debits else database.write(effect))
    fingerprint = claim.fingerprint.hex()

    async def work(step_key: str) -> Any:
        def once(db: Connection) -> Answer:
            done.append(_once(db, step_key, fingerprint, effect))
            return Answer(200, {}, b"")

        if not debits or await database.read("SELECT 1 FROM done_effects WHERE step_key = ?", step_key):
            # Done already is paid for already.
            return await database.write(lambda db: _once(db, step_key, fingerprint, effect))
        done: list[dict[str, Any]] = []
        await paid(once)
        return done[-1]

    kept = await exchange.step("effect", work)
    return Answer(kept["status"], kept["headers"], kept["body"].encode())


def _once(
    db: Connection, step_key: str, fingerprint: str, effect: Callable[[Connection], Answer]
) -> dict[str, Any]:
    db.execute(_FORGET)
    for known, answer in db.rows("SELECT fingerprint, answer FROM done_effects WHERE step_key = ?", step_key):
        if known != fingerprint:
            # Its record is gone, its effect is not.
            raise RefusedRequest(Refusal("idempotency_mismatch"))
        done: dict[str, Any] = json.loads(answer)
        return done
    answer = effect(db)
    done = {"status": answer.status, "headers": dict(answer.headers), "body": answer.body.decode()}
    db.execute(
        "INSERT INTO done_effects (step_key, fingerprint, answer, at) VALUES (?, ?, ?, {now})",
        step_key, fingerprint, json.dumps(done),
    )  # fmt: skip
    return done
