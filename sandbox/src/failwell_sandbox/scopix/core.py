"""What all of Scopix's resources share: rows, pages, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from failwell.answer import Answer
from failwell.failure import Failure
from failwell.service import Exchange, Service
from failwell_sandbox.database import Connection, Database
from failwell_sandbox.effects import carry_out
from failwell_sandbox.resource_tables import Resources
from failwell_sandbox.scopix.accounts import OverQuotaError, account_of
from failwell_sandbox.scopix.search import Search
from failwell_sandbox.stored_files import Files
from scopix.errors import PaymentRequiredError, ResourceNotFoundError

if TYPE_CHECKING:
    from failwell.service.idempotency import Level

READ, WRITE = "api:read", "api:write"

# What nearly every handler raises.
NOT_FOUND = (ResourceNotFoundError, "NOT_FOUND")
NOT_PAID = (PaymentRequiredError, "PAYMENT_REQUIRED")
INVALID = "validation_failed"

# Of files: those that belong to an account, and the parts of videos that are not whole yet.
FILES, PARTS = "files", "parts"


class Core(Resources):
    """
    The service's database, files and index, and how its resources are read and refused.

    Args:
        database: Everything but the bytes of files.
        folder: For those, and for the index.
        level: At which requests are repeatable.
        service: Set once it is there.
    """

    service: Service

    def __init__(self, database: Database, folder: Path, level: Level) -> None:
        self.database = database
        self.files = Files(folder, (FILES, PARTS))
        self.search = Search(folder / "search.db")
        self.level: Level = level

    # --- effects ---

    async def effect(self, exchange: Exchange, effect: Callable[[Connection], Answer]) -> Answer:
        """Carry out the effect of a request once, unless its account is past due."""
        tenant = exchange.tenant

        def paid(db: Connection) -> Answer:
            for (past_due,) in db.rows("SELECT past_due FROM accounts WHERE tenant = ?", tenant):
                self._check_paid(past_due)
            return effect(db)

        return await carry_out(exchange, self.database, paid)

    async def check_paid(self, tenant: str) -> None:
        """Refuse what an account that is past due may not do, before it sends a large body."""
        self._check_paid((await account_of(self.database, tenant)).past_due)

    def _check_paid(self, past_due: object) -> None:
        if past_due:
            raise self.service.error(
                Failure(
                    status=402, code="PAYMENT_REQUIRED", details={"reason": "past_due"},
                    message="The subscription's payment is past due: nothing can be written.",
                )
            )  # fmt: skip

    # --- failures ---

    def missing(self, called: str, sought: str) -> Exception:
        """What to raise for a resource that is not there."""
        return self.service.error(
            Failure(
                status=404, code="NOT_FOUND", message=f"There is no {called.replace('_', ' ')} {sought!r}.",
                details={"resource_type": called, "resource_id": sought},
            )
        )  # fmt: skip

    def over_quota(self, exc: OverQuotaError) -> Exception:
        """What to raise for a file that there is no space for."""
        return self.service.error(
            Failure(
                status=429, code="QUOTA_EXCEEDED",
                message=f"This needs {exc.required} {exc.unit} of storage, and {exc.available} are left.",
                details={
                    "available": exc.available, "limit": exc.limit, "required": exc.required,
                    "unit": exc.unit,
                },
            )
        )  # fmt: skip
