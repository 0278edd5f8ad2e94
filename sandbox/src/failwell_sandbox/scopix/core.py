"""What all of Scopix's resources share: rows, pages, and refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from failwell.answer import Answer
from failwell.failure import Failure
from failwell.service import Exchange, Service, exchange_of
from failwell_sandbox.answers import json_answer, respond
from failwell_sandbox.database import Connection, Database
from failwell_sandbox.effects import carry_out
from failwell_sandbox.parameters import paging
from failwell_sandbox.scopix.accounts import OverQuotaError, account_of
from failwell_sandbox.scopix.search import Search
from failwell_sandbox.scopix.tables import Table
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


class Core:
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

    # --- rows ---

    # Tables and columns in these statements are constants of `tables`, never a client's words.

    async def one(self, request: Request, table: Table, parameter: str) -> Response:
        """The answer to a GET of one resource."""
        sought = request.path_params[parameter]
        shown = table.shown(await self.found(table, exchange_of(request).tenant, sought))
        waiting = shown.get("status") in ("queued", "running")
        return respond(json_answer(shown, headers={"retry-after": "1"} if waiting else None))

    async def found(self, table: Table, tenant: str, sought: str) -> Sequence[Any]:
        """A row of the account's, read outside any transaction."""
        rows = await self.database.read(_one_of(table), tenant, sought)
        if not rows:
            raise self.missing(table.called, sought)
        row: Sequence[Any] = rows[0]
        return row

    def row(self, db: Connection, table: Table, tenant: str, sought: str) -> Sequence[Any]:
        """The same within the transaction of `db`, which may go on to change it."""
        rows = db.rows(_one_of(table) + " {for_update}", tenant, sought)
        if not rows:
            raise self.missing(table.called, sought)
        row: Sequence[Any] = rows[0]
        return row

    async def page(self, request: Request, table: Table, **also: str) -> Response:
        """
        The answer to a GET of a list, in the order in which things were made.

        Args:
            also: Columns that have a value.
        """
        limit, after = paging(request)
        query = request.query_params
        wanted = [(f"{column} = ?", value) for column, value in also.items()]
        wanted += [(condition, query[name]) for name, condition in table.filters if name in query]
        where = "".join(f" AND {condition}" for condition, _ in wanted)
        rows = await self.database.read(
            f"SELECT seq, {table.columns} FROM {table.table} "  # noqa: S608  # values are bound
            f"WHERE tenant = ? AND {table.where} AND seq > ?{where} ORDER BY seq LIMIT ?",
            exchange_of(request).tenant, after, *(value for _, value in wanted), limit + 1,
        )  # fmt: skip
        page = rows[:limit]
        cursor = str(page[-1][0]) if len(rows) > limit else None
        items = [table.shown(row[1:]) for row in page]
        return respond(json_answer({"items": items, "next_cursor": cursor}))

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


def _one_of(table: Table) -> str:
    return f"SELECT {table.columns} FROM {table.table} WHERE tenant = ? AND id = ? AND {table.where}"  # noqa: S608  # constants of `tables`


def inserted(db: Connection, table: Table, tenant: str, made: str) -> Sequence[Any]:
    """The row that the transaction of `db` has made."""
    row: Sequence[Any]
    (row,) = db.rows(_one_of(table), tenant, made)
    return row
