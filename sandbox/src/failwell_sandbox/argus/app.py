"""
Argus: texts are checked, and results are stored under assets.

    POST /v1/checks                     checks:write   200, 403, 404, 422, 429
    POST /v1/checks/batch               checks:write   200, 403, 404, 422, 429, 500
    POST /v1/assets                     assets:write   201, 403, 409, 422
    GET  /v1/assets                     assets:read    200, 403, 422
    GET  /v1/assets/{asset_id}          assets:read    200, 403, 404
    GET  /v1/assets/{asset_id}/results  assets:read    200, 403, 404, 422
    GET  /livez                         no key         200
    GET  /openapi.json                  no key         200

A key is free (`sk_`) or a Runtime Security Key (`rsk_`). What the platform keeps needs the latter:
assets, `asset_id`, `save`. A text is never stored; a result has its length and SHA-256. Lists are
newest first.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from argus import CONTRACT, ArgusAPIError, ArgusNotFoundError, ArgusPermissionError
from failwell.answer import Answer
from failwell.failure import Failure, FieldError
from failwell.service import (
    Endpoints,
    Exchange,
    KeyFormat,
    Limit,
    Operation,
    Refusal,
    RefusedRequest,
    Service,
    Store,
    exchange_of,
    install,
    json_body,
)
from failwell.service.openapi import openapi_operation
from failwell_sandbox import effects, ledger
from failwell_sandbox.answers import Line, json_answer, moment, respond
from failwell_sandbox.argus.scan import LEAST_SCORE, MOST_FINDINGS, scan
from failwell_sandbox.database import Connection, Database, DuplicateError
from failwell_sandbox.effects import carry_out, level_of
from failwell_sandbox.health import livez

if TYPE_CHECKING:
    from failwell.service.idempotency import Level

RUNTIME, FREE = "runtime", "free"
# What the keys of a tier begin with.
PREFIXES = {RUNTIME: "rsk_", FREE: "sk_"}
KEYS = KeyFormat(PREFIXES[RUNTIME], also=(PREFIXES[FREE],), challenge='Bearer realm="argus"')
SCOPES = ("checks:write", "assets:read", "assets:write")
TENANTS = ("acme", "globex", "initech")
LIMIT = Limit(60_000, 60.0)
STRANGER_LIMIT = Limit(60_000, 60.0)

# In code points, of one text or of a whole batch; as JSON each may be 6 bytes, or 12.
MOST_TEXT = 1_000_000
MOST_TEXTS = 100
MOST_BODY = 16 * 1024 * 1024
MOST_NAMES = 100

# So much of an id that is no asset's is repeated.
MOST_SHOWN = 100

# A shorter text is looked through on the event loop: handing it to a thread would take longer.
AT_ONCE = 2_000

SCHEMA = (
    ledger.SCHEMA
    + effects.SCHEMA
    + """
CREATE TABLE IF NOT EXISTS assets (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    competitors TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    UNIQUE (tenant, name)
);
CREATE TABLE IF NOT EXISTS results (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    asset_id TEXT NOT NULL REFERENCES assets (id),
    found TEXT NOT NULL,           -- what `scan` gave, as JSON
    created_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS results_by_asset ON results (asset_id, seq);
"""
)

_ASSET = "id, name, competitors, created_at"
_RESULT = "id, asset_id, found, created_at"

_NEW_ASSET = f"""
INSERT INTO assets (id, tenant, name, competitors, created_at) VALUES (?, ?, ?, ?, {{now}}) RETURNING {_ASSET}
"""  # noqa: S608  # constant words

_NEW_RESULT = f"""
INSERT INTO results (id, asset_id, found, created_at) VALUES (?, ?, ?, {{now}}) RETURNING {_RESULT}
"""  # noqa: S608  # constant words

# What the handlers raise, by what is wrong.
_NO_ASSET = (ArgusNotFoundError, "asset_not_found")
_PLATFORM = (ArgusPermissionError, "platform_feature")
_NAME_TAKEN = (ArgusAPIError, "name_taken")

Name = Annotated[str, Field(min_length=1, max_length=100)]
Detector = Literal["competitors", "secrets", "personal_data"]


class Wanted(BaseModel):
    """What both ways of checking are told."""

    competitors: list[Name] = Field(default_factory=list, max_length=MOST_NAMES)
    detect: list[Detector] = Field(
        default=["competitors", "secrets", "personal_data"], min_length=1, max_length=10
    )
    min_score: float = Field(default=LEAST_SCORE, ge=0.0, le=1.0)
    asset_id: str | None = Field(default=None, min_length=1)
    save: bool = False


class NewCheck(Wanted):
    """The body of `POST /v1/checks`."""

    text: str = Field(max_length=MOST_TEXT)


class NewBatch(Wanted):
    """The body of `POST /v1/checks/batch`."""

    texts: list[str] = Field(max_length=MOST_TEXTS)


class NewAsset(BaseModel):
    """The body of `POST /v1/assets`."""

    name: Line = Field(min_length=1, max_length=100)
    competitors: list[Name] = Field(default_factory=list, max_length=MOST_NAMES)


class Argus:
    """
    The service's handlers, around its database.

    Args:
        database: Assets and results.
        level: At which requests are repeatable.
    """

    def __init__(self, database: Database, level: Level) -> None:
        self.database = database
        checks = (_NO_ASSET, _PLATFORM)
        platform = frozenset({RUNTIME})
        self.operations = (
            Operation("POST", "/v1/checks", self.check, scope="checks:write", idempotency=level,
                      parse=json_body(NewCheck), max_body_bytes=MOST_BODY, raises=checks),
            Operation("POST", "/v1/checks/batch", self.check_batch, scope="checks:write", idempotency=level,
                      parse=json_body(NewBatch), max_body_bytes=MOST_BODY, raises=checks),
            Operation("POST", "/v1/assets", self.create_asset, scope="assets:write", tiers=platform,
                      idempotency=level, parse=json_body(NewAsset), raises=(_NAME_TAKEN,)),
            Operation("GET", "/v1/assets", self.list_assets, scope="assets:read", tiers=platform,
                      raises=("validation_failed",)),
            Operation("GET", "/v1/assets/{asset_id}", self.get_asset, scope="assets:read", tiers=platform,
                      raises=(_NO_ASSET,)),
            Operation("GET", "/v1/assets/{asset_id}/results", self.results, scope="assets:read",
                      tiers=platform, raises=(_NO_ASSET, "validation_failed")),
            Operation("GET", "/livez", livez, public=True, while_draining=True),
            openapi_operation(),
        )  # fmt: skip
        self.service: Service

    # --- checks ---

    async def check(self, request: Request) -> Response:
        """Look through one text."""
        exchange = exchange_of(request)
        new: NewCheck = exchange.input
        look = await self._look(exchange, new)
        found = await _looked(look, [new.text])

        def one(results: Sequence[dict[str, Any]]) -> Answer:
            return json_answer(results[0])

        return respond(await self._answer(exchange, new, found, one))

    async def check_batch(self, request: Request) -> Response:
        """Look through several texts; either all of the results are stored, or none."""
        exchange = exchange_of(request)
        new: NewBatch = exchange.input
        if sum(map(len, new.texts)) > MOST_TEXT:
            raise _invalid(
                ("body", "texts"), f"Together, texts have at most {MOST_TEXT} characters.", "too_long"
            )
        look = await self._look(exchange, new)
        found = await _looked(look, new.texts)

        def several(results: Sequence[dict[str, Any]]) -> Answer:
            flagged = sum(bool(result["findings"]) for result in results)
            # Nobody thought of a batch without texts: that is a bug of ours, and a 500.
            share = flagged / len(results)
            return json_answer({"results": results, "flagged_share": round(share, 4)})

        return respond(await self._answer(exchange, new, found, several))

    async def _look(self, exchange: Exchange, new: Wanted) -> partial[dict[str, Any]]:
        """What looks through a text, once it is known that the key may have it done."""
        assert exchange.key is not None
        if exchange.key.tier != RUNTIME and (new.asset_id is not None or new.save):
            feature = "save" if new.save else "asset_id"
            raise self.service.error(
                Failure(
                    status=403, code="platform_feature",
                    message=f"{feature} is a platform feature: it needs a Runtime Security Key (rsk_).",
                    details={"feature": feature},
                )
            )  # fmt: skip
        if new.save and new.asset_id is None:
            raise _invalid(("body", "asset_id"), "What is saved is saved under an asset.", "missing")
        names = list(new.competitors)
        if new.asset_id is not None:
            names += json.loads((await self._asset(exchange.tenant, new.asset_id))[2])
        return partial(scan, detect=new.detect, competitors=names, min_score=new.min_score)

    async def _answer(
        self,
        exchange: Exchange,
        new: Wanted,
        found: Sequence[dict[str, Any]],
        answer: Callable[[Sequence[dict[str, Any]]], Answer],
    ) -> Answer:
        """The answer, and the results stored if that is wanted."""
        asset_id = new.asset_id
        if asset_id is None or not new.save:
            # Nothing is kept, and so nothing could be done twice.
            return answer([_result((None, asset_id, each, time.time())) for each in found])

        def store(db: Connection) -> Answer:
            rows = [
                db.rows(_NEW_RESULT, f"res_{secrets.token_hex(12)}", asset_id, json.dumps(each))[0]
                for each in found
            ]
            for row in rows:
                ledger.note_effect(db, exchange, "result.saved", row[0], name=asset_id)
            return answer([_result(row) for row in rows])

        return await carry_out(exchange, self.database, store)

    # --- assets ---

    async def create_asset(self, request: Request) -> Response:
        """Something whose texts are to be checked."""
        exchange = exchange_of(request)
        new: NewAsset = exchange.input
        asset_id = f"asset_{secrets.token_hex(12)}"

        def insert(db: Connection) -> Answer:
            try:
                (row,) = db.rows(_NEW_ASSET, asset_id, exchange.tenant, new.name, json.dumps(new.competitors))
            except DuplicateError as exc:
                raise self.service.error(
                    Failure(
                        status=409, code="name_taken", details={"name": new.name},
                        message=f"There is an asset named {new.name!r} already.",
                    )
                ) from exc  # fmt: skip
            ledger.note_effect(db, exchange, "asset.created", asset_id, name=new.name)
            return json_answer(_asset(row), 201, {"location": f"/v1/assets/{asset_id}"})

        return respond(await carry_out(exchange, self.database, insert))

    async def list_assets(self, request: Request) -> Response:
        """The account's assets."""
        limit, before = _paging(request)
        rows = await self.database.read(
            f"SELECT seq, {_ASSET} FROM assets WHERE tenant = ? AND seq < ? ORDER BY seq DESC LIMIT ?",  # noqa: S608  # constant columns
            exchange_of(request).tenant,
            before,
            limit + 1,
        )
        return _page(rows, limit, _asset)

    async def get_asset(self, request: Request) -> Response:
        """One asset."""
        found = await self._asset(exchange_of(request).tenant, request.path_params["asset_id"])
        return respond(json_answer(_asset(found)))

    async def results(self, request: Request) -> Response:
        """What is stored under an asset."""
        asset_id = (await self._asset(exchange_of(request).tenant, request.path_params["asset_id"]))[0]
        limit, before = _paging(request)
        rows = await self.database.read(
            f"SELECT seq, {_RESULT} FROM results WHERE asset_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?",  # noqa: S608  # constant columns
            asset_id,
            before,
            limit + 1,
        )
        return _page(rows, limit, _result)

    async def _asset(self, tenant: str, asset_id: str) -> Sequence[Any]:
        rows = await self.database.read(
            f"SELECT {_ASSET} FROM assets WHERE tenant = ? AND id = ?",  # noqa: S608  # constant columns
            tenant,
            asset_id,
        )
        if not rows:
            shown = asset_id[:MOST_SHOWN]
            raise self.service.error(
                Failure(
                    status=404, code="asset_not_found", message=f"No asset has the id {shown!r}.",
                    details={"asset_id": shown},
                )
            )  # fmt: skip
        found: Sequence[Any] = rows[0]
        return found


def argus_service(store: Store, database: Database, *, wait: float = 0.0, lease: float = 30.0) -> Service:
    """Argus behind its gates: keys, limits and records in `store`, its tables in `database`."""
    argus = Argus(database, level_of(store, database))
    argus.service = install(
        Endpoints(), CONTRACT, store=store, keys=KEYS, operations=argus.operations,
        limit=LIMIT, stranger_limit=STRANGER_LIMIT, wait=wait, lease=lease,
    )  # fmt: skip
    return argus.service


async def _looked(look: partial[dict[str, Any]], texts: Sequence[str]) -> list[dict[str, Any]]:
    """What `look` finds in each text; each has its share of the findings that an answer holds."""
    look = partial(look, most=max(10, MOST_FINDINGS // max(1, len(texts))))
    if sum(map(len, texts)) <= AT_ONCE:
        return list(map(look, texts))
    return await asyncio.to_thread(lambda: list(map(look, texts)))


def _result(row: Sequence[Any]) -> dict[str, Any]:
    result_id, asset_id, found, created_at = row
    said = json.loads(found) if isinstance(found, str) else found
    return {
        "id": result_id, "asset_id": asset_id, "saved": result_id is not None, **said,
        "created_at": moment(created_at),
    }  # fmt: skip


def _asset(row: Sequence[Any]) -> dict[str, Any]:
    asset_id, name, competitors, created_at = row
    return {
        "id": asset_id, "name": name, "competitors": json.loads(competitors),
        "created_at": moment(created_at),
    }  # fmt: skip


def _page(rows: Sequence[Any], limit: int, item: Callable[[Sequence[Any]], dict[str, Any]]) -> Response:
    """The rows of a page, each with its `seq` before it, and where the next one begins."""
    page = rows[:limit]
    cursor = str(page[-1][0]) if len(rows) > limit else None
    return respond(json_answer({"items": [item(row[1:]) for row in page], "next_cursor": cursor}))


def _paging(request: Request) -> tuple[int, int]:
    """The page's size and where it begins: below this row."""
    limit = _integer(request, "limit", 20, 1, 100)
    return limit, _integer(request, "cursor", 2**62, 0, 2**62)


def _integer(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise _invalid(("query", name), f"{name} is a number from {least} to {most}", "out_of_range")
    return int(text)


def _invalid(path: tuple[str | int, ...], message: str, code: str) -> RefusedRequest:
    return RefusedRequest(Refusal("validation_failed", fields=(FieldError(path, message, code),)))
