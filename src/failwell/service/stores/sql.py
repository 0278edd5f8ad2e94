"""
What SQLite and PostgreSQL keep alike: the tables, the statements, and what they mean.

The statements are written once, with `:name` for a value and a few words in braces where the two
disagree. A store that is built on this says how to reach its database; everything here works
on a connection that has `execute`, as `sqlite3` and psycopg have it, and blocks.
"""

from __future__ import annotations

import json
import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from failwell.answer import Answer
from failwell.service.credits import (
    Account,
    Debit,
    Entry,
    InsufficientCreditsError,
    check_amount,
    check_period,
)
from failwell.service.idempotency import (
    LEVELS,
    Claim,
    InFlight,
    Mismatch,
    Recorded,
    Unsettled,
    replayable,
)
from failwell.service.keys import StoredKey
from failwell.service.limits import MOST_LIMITS, Limit
from failwell.service.stores.base import fenced_unless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from failwell.service.idempotency import Claimed, Level

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Dialect:
    """
    Where two databases disagree.

    Attributes:
        now: The time, unix seconds: an expression, or `:now` for a value that is passed in.
        least, greatest: The smallest and the largest of several values.
        blob, serial: Types of a column: bytes, and a number that grows by itself.
        volatile: Goes before TABLE where a table need not outlive a crash of the database.
        compact: Goes after a table that is looked up by its primary key only.
        for_update: Locks a row that is read in order to be written.
        value: What a `:name` becomes.
    """

    now: str
    least: str
    greatest: str
    blob: str
    serial: str
    volatile: str = ""
    compact: str = ""
    for_update: str = ""
    value: str = r":\1"

    def render(self, statement: str) -> str:
        """`statement` in this dialect."""
        words = {
            "now": self.now, "least": self.least, "greatest": self.greatest, "blob": self.blob,
            "serial": self.serial, "volatile": self.volatile, "compact": self.compact,
            "for_update": self.for_update,
        }  # fmt: skip
        for word, meaning in words.items():
            statement = statement.replace("{" + word + "}", meaning)
        return re.sub(r"(?<![:\w]):([a-z]\w*)", self.value, statement)


SCHEMA = """
CREATE TABLE IF NOT EXISTS failwell_tenants (
    tenant TEXT PRIMARY KEY,
    active BOOLEAN NOT NULL DEFAULT TRUE
) {compact};
CREATE TABLE IF NOT EXISTS failwell_keys (
    public TEXT PRIMARY KEY,
    digest {blob} NOT NULL,
    tenant TEXT NOT NULL,
    principal TEXT NOT NULL,
    scopes TEXT NOT NULL,
    role TEXT NOT NULL,
    tier TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'revoked')),
    expires_at DOUBLE PRECISION,
    limits TEXT NOT NULL
) {compact};
CREATE TABLE IF NOT EXISTS failwell_idempotency (
    slot {blob} PRIMARY KEY,
    fingerprint {blob} NOT NULL,
    token {blob} NOT NULL,
    request_id TEXT NOT NULL,
    take_over BOOLEAN NOT NULL,
    lease_until DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL,
    steps TEXT,              -- a JSON object: the results that were kept
    status INTEGER,          -- NULL while the work is under way, 0 for an answer too large to keep
    headers TEXT,
    body {blob}
);
CREATE INDEX IF NOT EXISTS failwell_idempotency_ends ON failwell_idempotency (expires_at);
CREATE INDEX IF NOT EXISTS failwell_idempotency_unsettled ON failwell_idempotency (lease_until)
    WHERE status IS NULL AND NOT take_over;
CREATE TABLE IF NOT EXISTS failwell_accounts (
    tenant TEXT NOT NULL,
    unit TEXT NOT NULL,
    balance BIGINT NOT NULL CHECK (balance >= 0),
    allowance BIGINT,        -- NULL for what was bought
    period DOUBLE PRECISION,
    renews_at DOUBLE PRECISION,
    PRIMARY KEY (tenant, unit)
) {compact};
CREATE TABLE IF NOT EXISTS failwell_entries (
    seq {serial} PRIMARY KEY,
    tenant TEXT NOT NULL,
    unit TEXT NOT NULL,
    amount BIGINT NOT NULL,
    balance BIGINT NOT NULL,
    reason TEXT NOT NULL,
    request_id TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS failwell_entries_of ON failwell_entries (tenant, unit, seq);
"""

LIMITS_SCHEMA = (
    "CREATE {volatile} TABLE IF NOT EXISTS failwell_limits (\n"
    "    subject TEXT PRIMARY KEY,\n"
    "    taken BIGINT NOT NULL,\n"  # how many the last statement let through
    "    ends BIGINT NOT NULL,\n"
    + "".join(f"    tat{n} BIGINT,\n" for n in range(MOST_LIMITS)).removesuffix(",\n")
    + "\n) {compact};\n"
)

_FIND_KEY = """
SELECT k.public, k.digest, k.tenant, k.principal, k.scopes, k.role, k.tier, k.state, k.expires_at,
       k.limits, coalesce(t.active, TRUE)
FROM failwell_keys AS k LEFT JOIN failwell_tenants AS t ON t.tenant = k.tenant
WHERE k.public = :public
"""

_ADD_KEY = """
INSERT INTO failwell_keys (public, digest, tenant, principal, scopes, role, tier, state, expires_at, limits)
VALUES (:public, :digest, :tenant, :principal, :scopes, :role, :tier, :state, :expires_at, :limits)
ON CONFLICT (public) DO UPDATE SET
    digest = excluded.digest, tenant = excluded.tenant, principal = excluded.principal,
    scopes = excluded.scopes, role = excluded.role, tier = excluded.tier, state = excluded.state,
    expires_at = excluded.expires_at, limits = excluded.limits
"""

_REVOKE_KEY = "UPDATE failwell_keys SET state = 'revoked' WHERE public = :public"

_SET_TENANT = """
INSERT INTO failwell_tenants (tenant, active) VALUES (:tenant, :active)
ON CONFLICT (tenant) DO UPDATE SET active = excluded.active
"""

_FORGET_LIMITS = "DELETE FROM failwell_limits WHERE ends <= CAST({now} * 1000000 AS BIGINT)"

_CLAIM = """
INSERT INTO failwell_idempotency AS f
    (slot, fingerprint, token, request_id, take_over, lease_until, expires_at)
VALUES (:slot, :fingerprint, :token, :request_id, :take_over, {now} + :lease, {now} + :keep)
ON CONFLICT (slot) DO UPDATE SET
    fingerprint = excluded.fingerprint, token = excluded.token, request_id = excluded.request_id,
    take_over = excluded.take_over, lease_until = excluded.lease_until, expires_at = excluded.expires_at,
    steps = CASE WHEN f.expires_at <= {now} THEN NULL ELSE f.steps END,
    status = NULL, headers = NULL, body = NULL
WHERE f.expires_at <= {now}
   OR (f.status IS NULL AND f.fingerprint = excluded.fingerprint
       AND (f.token = excluded.token OR (f.take_over AND f.lease_until <= {now})))
RETURNING steps
"""

# The sum keeps PostgreSQL from reading every record that is alive, by the index on their ends.
_STANDING = """
SELECT fingerprint, token, request_id, take_over, lease_until, lease_until - {now}, steps,
       status, headers, body
FROM failwell_idempotency WHERE slot = :slot AND expires_at + 0.0 > {now}
"""

_RENEW = """
UPDATE failwell_idempotency
SET lease_until = {now} + :lease, expires_at = {greatest}(expires_at, {now} + :lease)
WHERE slot = :slot AND token = :token AND status IS NULL
"""

_STEPS = """
SELECT steps FROM failwell_idempotency
WHERE slot = :slot AND token = :token AND status IS NULL {for_update}
"""

_SET_STEPS = "UPDATE failwell_idempotency SET steps = :steps WHERE slot = :slot"

_FINISH = """
UPDATE failwell_idempotency
SET status = :status, headers = :headers, body = :body, expires_at = {now} + :keep
WHERE slot = :slot AND token = :token AND status IS NULL
"""

_FINISHED = "SELECT 1 FROM failwell_idempotency WHERE slot = :slot AND token = :token AND status IS NOT NULL"

# Of a claim that was taken, or never was.
_RECORD = """
INSERT INTO failwell_idempotency AS f
    (slot, fingerprint, token, request_id, take_over, lease_until, expires_at, status, headers, body)
VALUES (:slot, :fingerprint, :token, :request_id, TRUE, {now}, {now} + :keep, :status, :headers, :body)
ON CONFLICT (slot) DO UPDATE SET
    fingerprint = excluded.fingerprint, token = excluded.token, request_id = excluded.request_id,
    expires_at = excluded.expires_at, status = excluded.status, headers = excluded.headers,
    body = excluded.body
WHERE f.expires_at <= {now}
   OR (f.status IS NULL AND f.fingerprint = excluded.fingerprint
       AND (f.token = excluded.token OR (f.take_over AND f.lease_until <= {now})))
"""

_RELEASE = """
DELETE FROM failwell_idempotency
WHERE slot = :slot AND token = :token AND status IS NULL AND steps IS NULL
"""

_LAPSE = """
UPDATE failwell_idempotency SET lease_until = {now}
WHERE slot = :slot AND token = :token AND status IS NULL AND steps IS NOT NULL
"""

_UNSETTLED = """
SELECT slot, request_id, lease_until FROM failwell_idempotency
WHERE status IS NULL AND NOT take_over AND lease_until <= {now} AND expires_at > {now}
ORDER BY lease_until LIMIT :most
"""

# The token changes, so that a holder who comes back after all finds itself fenced out.
_SETTLE = """
UPDATE failwell_idempotency
SET status = :status, headers = :headers, body = :body, expires_at = {now} + :keep, token = :token
WHERE slot = :slot AND request_id = :request_id AND lease_until = :since
  AND status IS NULL AND NOT take_over AND lease_until <= {now} AND expires_at > {now}
"""

_UNDO = """
DELETE FROM failwell_idempotency
WHERE slot = :slot AND request_id = :request_id AND lease_until = :since
  AND status IS NULL AND NOT take_over AND lease_until <= {now} AND expires_at > {now}
"""

_FORGET_RECORDS = "DELETE FROM failwell_idempotency WHERE expires_at <= {now}"

_ACCOUNT = """
SELECT balance, allowance, period, renews_at, {now} FROM failwell_accounts
WHERE tenant = :tenant AND unit = :unit
"""

_ACCOUNT_LOCKED = _ACCOUNT + "{for_update}"

_OPEN_ACCOUNT = """
INSERT INTO failwell_accounts (tenant, unit, balance) VALUES (:tenant, :unit, 0)
ON CONFLICT (tenant, unit) DO NOTHING
"""

_SET_BALANCE = """
UPDATE failwell_accounts SET balance = :balance, renews_at = :renews_at
WHERE tenant = :tenant AND unit = :unit
"""

_ALLOW = """
UPDATE failwell_accounts SET allowance = :allowance, period = :period, renews_at = {now} + :period
WHERE tenant = :tenant AND unit = :unit
"""

_ENTER = """
INSERT INTO failwell_entries (tenant, unit, amount, balance, reason, request_id, at)
VALUES (:tenant, :unit, :amount, :balance, :reason, :request_id, :at)
"""

_ENTRIES = """
SELECT seq, tenant, unit, amount, balance, reason, request_id, at FROM failwell_entries
WHERE tenant = :tenant AND unit = :unit AND seq > :after ORDER BY seq LIMIT :most
"""


class SQLStore(ABC):
    """
    Keys, limits, records and accounts in a database that speaks SQL.

    A subclass runs the work: `_write` and `_write_blocking` in a transaction, `_look` without.
    """

    levels: frozenset[Level] = frozenset(LEVELS)  # type: ignore[arg-type]  # its elements are literals

    def __init__(self, dialect: Dialect, clock: Callable[[], float] | None) -> None:
        self._dialect = dialect
        self._clock = clock
        self._sql = lru_cache(maxsize=None)(dialect.render)

    # --- what a subclass provides ---

    @abstractmethod
    async def _write(self, work: Callable[[Any], T], *, lasting: bool = True) -> T:
        """What `work` returns, in a transaction; `lasting` if it must outlive a power cut."""

    @abstractmethod
    def _write_blocking(self, work: Callable[[Any], T]) -> T:
        """The same, where no event loop runs."""

    @abstractmethod
    async def _look(self, work: Callable[[Any], T]) -> T:
        """What `work` returns that only reads."""

    # --- statements ---

    def _facts(self, facts: dict[str, Any]) -> dict[str, Any]:
        if self._clock is not None:
            facts["now"] = self._clock()
        return facts

    def _execute(self, db: Any, statement: str, **facts: Any) -> Any:
        return db.execute(self._sql(statement), self._facts(facts))

    # --- keys ---

    def _find_key(self, db: Any, public: str) -> StoredKey | None:
        rows = self._execute(db, _FIND_KEY, public=public).fetchall()
        return _key(rows[0]) if rows else None

    def add_keys(self, keys: Iterable[StoredKey], /) -> None:
        """See `Store.add_keys`."""
        rows = [
            {
                "public": k.public, "digest": k.digest, "tenant": k.tenant, "principal": k.principal,
                "scopes": " ".join(sorted(k.scopes)), "role": k.role, "tier": k.tier, "state": k.state,
                "expires_at": k.expires_at,
                "limits": json.dumps([[limit.name, limit.requests, limit.window] for limit in k.limits]),
            }
            for k in keys
        ]  # fmt: skip

        def add(db: Any) -> None:
            for row in rows:
                self._execute(db, _ADD_KEY, **row)

        self._write_blocking(add)

    def revoke_key(self, public: str, /) -> bool:
        """See `Store.revoke_key`."""
        return self._write_blocking(lambda db: self._changed(db, _REVOKE_KEY, public=public))

    def set_tenant_active(self, tenant: str, active: bool, /) -> None:
        """See `Store.set_tenant_active`."""
        self._write_blocking(lambda db: self._changed(db, _SET_TENANT, tenant=tenant, active=active))

    def _changed(self, db: Any, statement: str, **facts: Any) -> bool:
        return bool(self._execute(db, statement, **facts).rowcount == 1)

    # --- limits ---

    def _forget_limits(self, db: Any) -> None:
        # A number in the past says what a missing one says: the allowance is whole.
        self._execute(db, _FORGET_LIMITS)

    # --- idempotency ---

    def _claim(self, db: Any, wanted: Claim, lease: float, keep: float, take_over: bool) -> Claimed:
        rows = self._execute(
            db, _CLAIM, slot=wanted.slot, fingerprint=wanted.fingerprint, token=wanted.token,
            request_id=wanted.request_id, take_over=take_over, lease=lease, keep=keep,
        ).fetchall()  # fmt: skip
        if rows:
            return _held(wanted, rows[0][0])
        # Somebody was faster. What cannot be seen any more was released in between.
        return self._standing(db, wanted) or InFlight(lease)

    def _standing(self, db: Any, wanted: Claim) -> Claimed | None:
        """What stands against a claim; None if nothing does."""
        rows = self._execute(db, _STANDING, slot=wanted.slot).fetchall()
        return self._against(wanted, *rows[0]) if rows else None

    def _against(
        self, wanted: Claim, fingerprint: bytes, token: bytes, request_id: str, take_over: bool, until: float,
        left: float, steps: str | None, status: int | None, headers: str, body: bytes,
    ) -> Claimed | None:  # fmt: skip
        """What a row of `_STANDING` says to a claim."""
        if bytes(fingerprint) != wanted.fingerprint:
            return Mismatch()
        if status is not None:
            return Recorded(_answer(status, headers, body), request_id)
        if bytes(token) == wanted.token:
            return _held(wanted, steps)
        if left > 0:
            return InFlight(left)
        return None if take_over else Unsettled(wanted.slot, request_id, until)

    async def renew(self, claim: Claim, /, *, lease: float) -> bool:
        """See `Store.renew`."""
        facts = {"slot": claim.slot, "token": claim.token, "lease": lease}
        return await self._write(lambda db: self._changed(db, _RENEW, **facts), lasting=False)

    async def keep_step(self, claim: Claim, name: str, result: Any, /) -> None:
        """See `Store.keep_step`."""
        held = {"slot": claim.slot, "token": claim.token}

        def keep(db: Any) -> None:
            rows = self._execute(db, _STEPS, **held).fetchall()
            fenced_unless(bool(rows))
            steps = {**json.loads(rows[0][0] or "{}"), name: result}
            self._execute(db, _SET_STEPS, slot=claim.slot, steps=json.dumps(steps))

        await self._write(keep)

    async def record(self, claim: Claim, answer: Answer | None, /, *, keep: float) -> None:
        """See `Store.record`."""

        def finish(db: Any) -> None:
            if not self._finish(db, claim, answer, keep):
                # Said before, by ourselves: whoever asked did not hear of it.
                held = {"slot": claim.slot, "token": claim.token}
                fenced_unless(bool(self._execute(db, _FINISHED, **held).fetchall()))

        await self._write(finish)

    def _finish(self, db: Any, claim: Claim, answer: Answer | None, keep: float) -> bool:
        held = {"slot": claim.slot, "token": claim.token}
        return self._changed(db, _FINISH, **held, **_columns(answer), keep=keep)

    async def release(self, claim: Claim, /) -> None:
        """See `Store.release`."""
        held = {"slot": claim.slot, "token": claim.token}

        def free(db: Any) -> None:
            if not self._changed(db, _RELEASE, **held):
                self._execute(db, _LAPSE, **held)

        await self._write(free, lasting=False)

    async def unsettled(self, *, most: int = 100) -> list[Unsettled]:
        """See `Store.unsettled`."""
        rows = await self._look(lambda db: self._execute(db, _UNSETTLED, most=most).fetchall())
        return [Unsettled(bytes(slot), request_id, since) for slot, request_id, since in rows]

    async def settle(self, unsettled: Unsettled, answer: Answer | None, /, *, keep: float) -> bool:
        """See `Store.settle`."""
        which = {"slot": unsettled.slot, "request_id": unsettled.request_id, "since": unsettled.since}

        def say(db: Any) -> bool:
            if answer is None:
                return self._changed(db, _UNDO, **which)
            return self._changed(db, _SETTLE, **which, keep=keep, token=os.urandom(16), **_columns(answer))

        return await self._write(say)

    def _forget_records(self, db: Any) -> None:
        self._execute(db, _FORGET_RECORDS)

    # --- effects ---

    async def look_up(self, wanted: Claim, /) -> Claimed | None:
        """See `TransactionalStore.look_up`."""
        return await self._look(lambda db: self._standing(db, wanted))

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
        """See `TransactionalStore.commit`."""
        return await self._write(
            lambda db: self._carry_out(db, claim, effect, keep, tenant, request_id, debits)
        )

    def _carry_out(
        self, db: Any, claim: Claim | None, effect: Callable[[Any], Answer], keep: float,
        tenant: str, request_id: str, debits: Sequence[Debit],
    ) -> Answer:  # fmt: skip
        answer = effect(db)
        # Always in the same order, so that two effects never wait for each other's accounts.
        for debit in sorted(debits, key=lambda d: d.unit):
            self._debit(db, tenant, debit, request_id)
        if claim is not None:
            self._record(db, claim, answer, keep)
        return answer

    def _record(self, db: Any, claim: Claim, answer: Answer, keep: float) -> None:
        """Record the answer of work that was done, if nobody else has done it or is at it."""
        fenced_unless(self._changed(db, _RECORD, **_whole_record(claim, answer, keep)))

    # --- credits and quotas ---

    def _debit(self, db: Any, tenant: str, debit: Debit, request_id: str) -> None:
        account, renews_at, now = self._renewed(db, tenant, debit.unit)
        left = account.balance - debit.amount
        if left < 0:
            raise InsufficientCreditsError(account, debit.amount)
        if account.allowance is not None and debit.amount < 0:
            # Nothing comes back beyond the allowance; what was granted on top of it stays.
            left = max(account.balance, min(left, account.allowance))
        self._enter(db, account, left, renews_at, "debit" if debit.amount >= 0 else "refund", request_id, now)

    def _renewed(self, db: Any, tenant: str, unit: str) -> tuple[Account, float | None, float]:
        """The account, locked, in the period that it is now; when that ends; and the time."""
        whose = {"tenant": tenant, "unit": unit}
        rows = self._execute(db, _ACCOUNT_LOCKED, **whose).fetchall()
        if not rows:
            self._execute(db, _OPEN_ACCOUNT, **whose)
            rows = self._execute(db, _ACCOUNT_LOCKED, **whose).fetchall()
        ((balance, allowance, period, renews_at, now),) = rows
        account = Account(tenant, unit, balance, allowance, renews_at)
        due = _renewal(renews_at, period, now)
        if due is None or allowance is None:
            return account, renews_at, now
        self._enter(db, account, allowance, due, "renewal", "", now)
        return Account(tenant, unit, allowance, allowance, due), due, now

    def _enter(
        self, db: Any, account: Account, balance: int, renews_at: float | None, reason: str,
        request_id: str, now: float,
    ) -> None:  # fmt: skip
        whose = {"tenant": account.tenant, "unit": account.unit}
        self._execute(db, _SET_BALANCE, **whose, balance=balance, renews_at=renews_at)
        self._execute(
            db, _ENTER, **whose, amount=balance - account.balance, balance=balance, reason=reason,
            request_id=request_id, at=now,
        )  # fmt: skip

    async def account(self, tenant: str, unit: str, /) -> Account:
        """See `TransactionalStore.account`."""
        return await self._look(lambda db: self._account(db, tenant, unit))

    def _account(self, db: Any, tenant: str, unit: str) -> Account:
        rows = self._execute(db, _ACCOUNT, tenant=tenant, unit=unit).fetchall()
        if not rows:
            return Account(tenant, unit, 0)
        balance, allowance, period, renews_at, now = rows[0]
        due = _renewal(renews_at, period, now)
        if due is None:
            return Account(tenant, unit, balance, allowance, renews_at)
        return Account(tenant, unit, allowance, allowance, due)

    async def entries(self, tenant: str, unit: str, /, *, after: int = 0, most: int = 100) -> list[Entry]:
        """See `TransactionalStore.entries`."""
        facts = {"tenant": tenant, "unit": unit, "after": after, "most": most}
        rows = await self._look(lambda db: self._execute(db, _ENTRIES, **facts).fetchall())
        return [Entry(*row) for row in rows]

    def grant(self, tenant: str, amount: int, unit: str = "credits", /, *, reason: str = "grant") -> Account:
        """See `TransactionalStore.grant`."""
        check_amount(amount, "a grant")

        def add(db: Any) -> Account:
            account, renews_at, now = self._renewed(db, tenant, unit)
            if account.balance + amount < 0:
                raise InsufficientCreditsError(account, -amount)
            self._enter(db, account, account.balance + amount, renews_at, reason, "", now)
            return self._account(db, tenant, unit)

        return self._write_blocking(add)

    def allow(self, tenant: str, allowance: int, unit: str, /, *, period: float | None = None) -> Account:
        """See `TransactionalStore.allow`."""
        check_amount(allowance, "an allowance", least=0)
        check_period(period)

        def set_it(db: Any) -> Account:
            account, _, now = self._renewed(db, tenant, unit)
            renews_at = None if period is None else now + period
            self._enter(db, account, allowance, renews_at, "allowance", "", now)
            self._execute(db, _ALLOW, tenant=tenant, unit=unit, allowance=allowance, period=period)
            return self._account(db, tenant, unit)

        return self._write_blocking(set_it)


def _renewal(renews_at: float | None, period: float | None, now: float) -> float | None:
    """When the period that is now ends, if another one was written down last."""
    if renews_at is None or not period or now < renews_at:
        return None
    return float(renews_at + period * (1 + (now - renews_at) // period))


def _held(wanted: Claim, steps: str | None) -> Claim:
    if steps is None:
        return wanted
    return Claim(wanted.slot, wanted.fingerprint, wanted.token, wanted.request_id, json.loads(steps))


def _key(row: Sequence[Any]) -> StoredKey:
    public, digest, tenant, principal, scopes, role, tier, state, expires_at, limits, active = row
    return StoredKey(
        public=public, digest=bytes(digest), tenant=tenant, principal=principal,
        scopes=frozenset(scopes.split()), role=role, tier=tier, state=state, expires_at=expires_at,
        limits=_limits(limits), tenant_active=bool(active),
    )  # fmt: skip


@lru_cache(maxsize=256)
def _limits(text: str) -> tuple[Limit, ...]:
    return tuple(Limit(requests, window, name) for name, requests, window in json.loads(text))


def _columns(answer: Answer | None) -> Mapping[str, Any]:
    if answer is None:
        return {"status": 0, "headers": None, "body": None}
    headers = _headers_text(tuple(answer.headers.items()))
    return {"status": answer.status, "headers": headers, "body": answer.body}


# The answers of an operation mostly have the same.
@lru_cache(maxsize=256)
def _headers_text(headers: tuple[tuple[str, str], ...]) -> str:
    return json.dumps(replayable(dict(headers)))


def _whole_record(claim: Claim, answer: Answer | None, keep: float) -> dict[str, Any]:
    return {
        "slot": claim.slot, "fingerprint": claim.fingerprint, "token": claim.token,
        "request_id": claim.request_id, "keep": keep, **_columns(answer),
    }  # fmt: skip


def _answer(status: int, headers: str, body: bytes) -> Answer | None:
    return None if status == 0 else Answer(status, json.loads(headers), bytes(body))
