"""
What an account may store, and whether it is paid for.

What is stored, and what an upload that has begun will store, is counted in the account's row, in the
transaction that makes or deletes it; so no two uploads can share the same free space.
"""

from __future__ import annotations

from dataclasses import dataclass

from failwell_sandbox.database import Connection, Database

# Of a tenant that nobody has set another one for.
MOST_BYTES = 64 * 1024**3
MOST_FILES = 1_000_000

# Tenants that are there from the beginning: one with little space, one that has not paid.
SMALL = "hooli"
SMALL_BYTES, SMALL_FILES = 64 * 1024, 3
PAST_DUE = "umbrella"


@dataclass(frozen=True, slots=True)
class Account:
    """
    Attributes:
        past_due: Whether a payment is overdue: nothing may be written.
        most_bytes: That may be stored.
        most_files: That may be stored.
        used_bytes: Of files, and of uploads that have begun.
        used_files: Likewise.
    """

    past_due: bool
    most_bytes: int
    most_files: int
    used_bytes: int
    used_files: int


class OverQuotaError(Exception):  # no failure of a call: whoever asked makes one of it
    """
    There is too little space left.

    Attributes:
        unit: `bytes` or `files`.
        required: How much of it is needed.
        available: How much is left.
        limit: How much there is.
    """

    def __init__(self, unit: str, required: int, available: int, limit: int) -> None:
        super().__init__(unit)
        self.unit, self.required, self.available, self.limit = unit, required, available, limit


_READ = "SELECT past_due, most_bytes, most_files, used_bytes, used_files FROM accounts WHERE tenant = ?"

_NEW = """
INSERT INTO accounts (tenant, past_due, most_bytes, most_files) VALUES (?, ?, ?, ?)
ON CONFLICT (tenant) DO NOTHING
"""


async def account_of(database: Database, tenant: str) -> Account:
    """The account of a tenant, as it is now."""
    rows = await database.read(_READ, tenant)
    return Account(bool(rows[0][0]), *rows[0][1:]) if rows else Account(False, MOST_BYTES, MOST_FILES, 0, 0)


def check_space(account: Account, size: int, files: int = 1) -> None:
    """
    Refuse what would not fit.

    Raises:
        OverQuotaError: it does not.
    """
    if account.used_files + files > account.most_files:
        left = max(0, account.most_files - account.used_files)
        raise OverQuotaError("files", files, left, account.most_files)
    if account.used_bytes + size > account.most_bytes:
        left = max(0, account.most_bytes - account.used_bytes)
        raise OverQuotaError("bytes", size, left, account.most_bytes)


def locked_account(db: Connection, tenant: str) -> Account:
    """The account of a tenant, which nobody else changes before the transaction of `db` ends."""
    db.execute(_NEW, tenant, 0, MOST_BYTES, MOST_FILES)
    (row,) = db.rows(_READ + " {for_update}", tenant)
    return Account(bool(row[0]), *row[1:])


def add_file(db: Connection, tenant: str, size: int) -> None:
    """Count one more file, within the transaction of `db`."""
    db.execute(
        "UPDATE accounts SET used_bytes = used_bytes + ?, used_files = used_files + 1 WHERE tenant = ?",
        size,
        tenant,
    )


def give_back_space(db: Connection, tenant: str, size: int) -> None:
    """Count one file less, within the transaction of `db`."""
    db.execute(
        "UPDATE accounts SET used_bytes = used_bytes - ?, used_files = used_files - 1 WHERE tenant = ?",
        size,
        tenant,
    )


def set_account(
    database: Database,
    tenant: str,
    *,
    past_due: bool = False,
    most_bytes: int = MOST_BYTES,
    most_files: int = MOST_FILES,
) -> None:
    """Decide what a tenant may store, and whether a payment is overdue; what it has stored stays."""

    def write(db: Connection) -> None:
        db.execute(_NEW, tenant, 0, most_bytes, most_files)
        db.execute(
            "UPDATE accounts SET past_due = ?, most_bytes = ?, most_files = ? WHERE tenant = ?",
            int(past_due), most_bytes, most_files, tenant,
        )  # fmt: skip

    database.write_blocking(write)


def seed(database: Database) -> None:
    """The tenants that are there from the beginning, once."""
    if not database.read_blocking(_READ, SMALL):
        set_account(database, SMALL, most_bytes=SMALL_BYTES, most_files=SMALL_FILES)
    if not database.read_blocking(_READ, PAST_DUE):
        set_account(database, PAST_DUE, past_due=True)
