"""The tables with a service's resources: how one of them is found, locked, listed and shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from failwell.service import exchange_of
from failwell_sandbox.answers import json_answer, respond
from failwell_sandbox.database import Connection, Database
from failwell_sandbox.parameters import paging

# Tables and columns in the statements below are constants of a service's `tables`, never a client's
# words.


class Table(NamedTuple):
    """
    One kind of resource.

    Attributes:
        called: In a 404, such as `dataset` in `dataset_not_found`.
        table: Where its rows are.
        columns: Of a row, in the order that `shown` takes them.
        shown: The resource as JSON says it.
        where: A condition on all of its rows.
        filters: Query parameters that a list takes, each with its condition.
    """

    called: str
    table: str
    columns: str
    shown: Callable[[Sequence[Any]], dict[str, Any]]
    where: str = "TRUE"
    filters: tuple[tuple[str, str], ...] = ()


def equal(*columns: str) -> tuple[tuple[str, str], ...]:
    """Filters for `Table`: query parameters that are each a column, which has their value."""
    return tuple((column, f"{column} = ?") for column in columns)


class Resources:
    """
    Reads rows of one account. A service derives from it, and sets `database`.

    Attributes:
        database: The service's.
    """

    database: Database

    def missing(self, called: str, sought: str) -> Exception:
        """What to raise for a resource that is not there."""
        raise NotImplementedError

    async def one(self, request: Request, table: Table, parameter: str) -> Response:
        """The answer to a GET of one resource."""
        sought = request.path_params[parameter]
        shown = table.shown(await self.found(table, exchange_of(request).tenant, sought))
        waiting = shown.get("status") in ("queued", "running")
        return respond(json_answer(shown, headers={"retry-after": "1"} if waiting else None))

    async def found(self, table: Table, tenant: str, sought: str) -> Sequence[Any]:
        """A row of the account's, read outside any transaction."""
        return self._only(await self.database.read(_one_of(table), tenant, sought), table, sought)

    def row(self, db: Connection, table: Table, tenant: str, sought: str) -> Sequence[Any]:
        """The same within the transaction of `db`, which may go on to change it."""
        return self._only(db.rows(_one_of(table) + " {for_update}", tenant, sought), table, sought)

    def _only(self, rows: list[Any], table: Table, sought: str) -> Sequence[Any]:
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


def inserted(db: Connection, table: Table, tenant: str, made: str) -> Sequence[Any]:
    """The row that the transaction of `db` has made."""
    row: Sequence[Any]
    (row,) = db.rows(_one_of(table), tenant, made)
    return row


def _one_of(table: Table) -> str:
    return f"SELECT {table.columns} FROM {table.table} WHERE tenant = ? AND id = ? AND {table.where}"  # noqa: S608  # constants of `tables`
