"""
Agoralia: agents that call contacts for a campaign, and what the calls brought.

    GET  /api/v1/me                        any key          200
    GET  /api/v1/agents                    agents:read      200
    GET  /api/v1/agents/{id}               agents:read      200, 404
    POST /api/v1/campaigns                 campaigns:write  201, 404, 409, 422, 429, 500, 503
    GET  /api/v1/campaigns                 campaigns:read   200
    GET  /api/v1/campaigns/{id}            campaigns:read   200, 404
    GET  /api/v1/campaigns/{id}/results    campaigns:read   200, 404
    GET  /api/v1/openapi.json              no key           200

Error bodies are FastAPI's of the time of Pydantic 1, as its document shows them. What a program
needs beyond them travels in headers: `X-Error-Code`, `X-Request-ID`, `X-RateLimit-*`.
"""

from __future__ import annotations

import asyncio
import difflib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from agoralia import CONTRACT, AgoraliaNotFoundError
from failwell.answer import Answer
from failwell.failure import Failure, FieldError
from failwell.service import (
    Endpoints,
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
from failwell_sandbox.agoralia.extraction import extract
from failwell_sandbox.answers import Line, json_answer, loaded, moment, respond
from failwell_sandbox.database import Connection, Database
from failwell_sandbox.effects import carry_out, level_of
from failwell_sandbox.worker import Worker

if TYPE_CHECKING:
    from failwell.service.idempotency import Level

# The document says 35 characters, its example has 36.
KEYS = KeyFormat("ago_", lengths=(31, 32), header="x-api-key", scheme="", challenge='ApiKey realm="agoralia"')
SCOPES = ("me:read", "agents:read", "campaigns:read", "campaigns:write")
TENANTS = ("1", "2", "3")
LIMIT = Limit(60_000, 60.0)
STRANGER_LIMIT = Limit(60_000, 60.0)

WORKSPACES = {"1": ("Acme", "business"), "2": ("Globex", "starter"), "3": ("Initech", "starter")}

WORDING = {
    "bad_request": (400, "There was an error parsing the body"),
    "idempotency_key_invalid": (400, "Invalid Idempotency-Key header"),
    "api_key_missing": (401, "Invalid API key"),
    "api_key_malformed": (401, "Invalid API key format"),
    "api_key_invalid": (401, "Invalid API key"),
    "api_key_revoked": (401, "API key revoked"),
    "api_key_expired": (401, "API key expired"),
    "insufficient_scope": (403, "Insufficient permissions. Required scope: {scope}"),
    "tenant_suspended": (403, "Workspace suspended"),
    "not_found": (404, "Not Found"),
    "method_not_allowed": (405, "Method Not Allowed"),
    "idempotency_mismatch": (409, "Idempotency key already used with different request body"),
    "idempotency_in_flight": (409, "A request with this idempotency key is still in progress"),
    "payload_too_large": (413, "Request body too large"),
    "rate_limited": (429, "Too many requests. Please try again later."),
    "internal_error": (500, "Internal server error"),
    "draining": (503, "Service temporarily unavailable"),
    "unavailable": (503, "Service temporarily unavailable"),
}

SCHEMA = (
    ledger.SCHEMA
    + effects.SCHEMA
    + """
CREATE TABLE IF NOT EXISTS agents (
    id BIGINT PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    lang TEXT NOT NULL,
    voice_engine TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS campaigns (
    id {serial} PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    purpose TEXT NOT NULL,
    agent_ref_id BIGINT NOT NULL REFERENCES agents (id),
    extraction_schema TEXT NOT NULL,
    display_columns TEXT NOT NULL,
    contacts TEXT NOT NULL,
    budget_per_contact BIGINT,
    status TEXT NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'completed')),
    created_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS campaigns_by_tenant ON campaigns (tenant, id);
CREATE INDEX IF NOT EXISTS campaigns_open ON campaigns (id) WHERE status != 'completed';
CREATE TABLE IF NOT EXISTS results (
    id {serial} PRIMARY KEY,
    campaign_id BIGINT NOT NULL REFERENCES campaigns (id),
    position INTEGER NOT NULL,
    contact TEXT NOT NULL,
    status TEXT NOT NULL,
    extracted TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    UNIQUE (campaign_id, position)
);
INSERT INTO agents (id, tenant, name, lang, voice_engine) VALUES
    (1, '1', 'Quotes', 'en-GB', 'aria'),
    (2, '1', 'Follow-up', 'it-IT', 'bruno'),
    (3, '2', 'Reception', 'en-US', 'aria')
ON CONFLICT (id) DO NOTHING;
"""
)

DEFAULT_SCHEMA = {"budget": "number", "email": "email", "interested": "boolean"}

# Who is called where a campaign names nobody, and what they say.
ADDRESS_BOOK = (
    {
        "name": "Ada Rossi",
        "phone": "+39 055 0100",
        "transcript": "Budget: 1,200 EUR. Email: ada@example.com. Interested: yes.",
    },
    {
        "name": "Bo Lind",
        "phone": "+46 8 0101",
        "transcript": "My email is bo@example.org. Interested: no.",
    },
    {"name": "Chen Wei", "phone": "+86 10 0102", "transcript": ""},
)

# How alike two names are that are one contact, entered twice.
SAME_NAME = 0.93

_CAMPAIGN = "id, name, purpose, agent_ref_id, extraction_schema, display_columns, status, created_at"


# What the handlers raise, by what is wrong.
_NO_AGENT = (AgoraliaNotFoundError, "agent_not_found")
_NO_CAMPAIGN = (AgoraliaNotFoundError, "campaign_not_found")
_NO_NUMBER = _NO_PAGE = ("validation_failed",)


class Contact(BaseModel):
    """Somebody to call, and what they say."""

    name: Line = Field(min_length=1, max_length=200)
    phone: str = Field(default="", max_length=40)
    transcript: str = Field(default="", max_length=5000)


class NewCampaign(BaseModel):
    """The body of `POST /api/v1/campaigns`."""

    name: Line = Field(min_length=1, max_length=120)
    purpose: Line = Field(min_length=1, max_length=60)
    agent_ref_id: int | None = None
    extraction_schema: dict[str, Any] | None = None
    display_columns: list[str] = Field(default_factory=list, max_length=50)
    contacts: list[Contact] | None = Field(default=None, max_length=300)
    merge_duplicates: bool = False
    budget_cents: int | None = Field(default=None, ge=0, le=2**63 - 1)  # what a database holds


class Agoralia:
    """The service's handlers and its worker, around its database."""

    def __init__(self, database: Database, level: Level) -> None:
        self.database = database
        self.worker = Worker(self._call_next, "agoralia-calls")
        self.operations = (
            Operation("GET", "/api/v1/me", self.me),
            Operation("GET", "/api/v1/agents", self.list_agents, scope="agents:read", raises=_NO_PAGE),
            Operation("GET", "/api/v1/agents/{agent_id}", self.get_agent, scope="agents:read",
                      raises=(_NO_AGENT, *_NO_NUMBER)),
            Operation("POST", "/api/v1/campaigns", self.create_campaign, scope="campaigns:write",
                      idempotency=level, parse=json_body(NewCampaign, pydantic1=True), raises=(_NO_AGENT,)),
            Operation("GET", "/api/v1/campaigns", self.list_campaigns, scope="campaigns:read",
                      raises=_NO_PAGE),
            Operation("GET", "/api/v1/campaigns/{campaign_id}", self.get_campaign,
                      scope="campaigns:read", raises=(_NO_CAMPAIGN, *_NO_NUMBER)),
            Operation("GET", "/api/v1/campaigns/{campaign_id}/results", self.results,
                      scope="campaigns:read", raises=(_NO_CAMPAIGN, *_NO_NUMBER)),
            openapi_operation("/api/v1/openapi.json"),
        )  # fmt: skip
        self.service: Service

    @asynccontextmanager
    async def lifespan(self, _app: Endpoints) -> AsyncIterator[None]:
        """The worker lives as long as the application."""
        self.worker.start()
        try:
            yield
        finally:
            await self.worker.stop()

    # --- who is asking ---

    async def me(self, request: Request) -> Response:
        """The workspace of the key, and what the key may do."""
        exchange = exchange_of(request)
        name, plan = WORKSPACES[exchange.tenant]
        assert exchange.key is not None
        limit = (*exchange.key.limits, LIMIT)[0]
        me = {
            "tenant_id": int(exchange.tenant),
            "workspace_name": name,
            "plan": plan,
            "api_key_scopes": sorted(exchange.key.scopes),
            "rate_limits": {"rpm": int(limit.requests * 60 / limit.window)},
        }
        return respond(json_answer(me))

    # --- agents ---

    async def list_agents(self, request: Request) -> Response:
        """The workspace's agents, a page at a time."""
        limit, after = _paging(request)
        rows = await self.database.read(
            "SELECT id, name, lang, voice_engine FROM agents WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?",
            exchange_of(request).tenant,
            after,
            limit + 1,
        )
        return _page([_agent(row) for row in rows], limit)

    async def get_agent(self, request: Request) -> Response:
        """One agent."""
        agent_id = _path_id(request, "agent_id")
        rows = await self.database.read(
            "SELECT id, name, lang, voice_engine FROM agents WHERE tenant = ? AND id = ?",
            exchange_of(request).tenant,
            agent_id,
        )
        if not rows:
            raise self._missing("Agent")
        return respond(json_answer(_agent(rows[0])))

    # --- campaigns ---

    async def create_campaign(self, request: Request) -> Response:
        """Queue a campaign's calls."""
        exchange = exchange_of(request)
        new: NewCampaign = exchange.input
        agent_id = await self._agent_for(exchange.tenant, new.agent_ref_id)
        if new.contacts is None:
            contacts: list[dict[str, Any]] = [dict(contact) for contact in ADDRESS_BOOK]
        else:
            contacts = [contact.model_dump() for contact in new.contacts]
        if new.merge_duplicates:
            contacts = await asyncio.to_thread(_distinct, contacts)
        share = None
        if new.budget_cents is not None:
            # Nobody thought of a campaign that calls nobody: that is a bug of ours, and a 500.
            share = new.budget_cents // len(contacts)
        schema = DEFAULT_SCHEMA if new.extraction_schema is None else new.extraction_schema

        def insert(db: Connection) -> Answer:
            ((campaign_id,),) = db.rows(
                "INSERT INTO campaigns (tenant, name, purpose, agent_ref_id, extraction_schema, "
                "display_columns, contacts, budget_per_contact, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, {now}) RETURNING id",
                exchange.tenant, new.name, new.purpose, agent_id, json.dumps(schema),
                json.dumps(new.display_columns), json.dumps(contacts), share,
            )  # fmt: skip
            ledger.note_effect(db, exchange, "campaign.created", campaign_id, name=new.name)
            sql = f"SELECT {_CAMPAIGN} FROM campaigns WHERE id = ?"  # noqa: S608  # constant columns
            campaign = _campaign(db.rows(sql, campaign_id)[0])
            return json_answer(campaign, 201, {"location": f"/api/v1/campaigns/{campaign_id}"})

        answer = await carry_out(exchange, self.database, insert)
        self.worker.wake()
        return respond(answer)

    async def _agent_for(self, tenant: str, wanted: int | None) -> int:
        """The agent that calls: the one asked for, else the workspace's first."""
        rows = await self.database.read(
            "SELECT id FROM agents WHERE tenant = ? AND id = coalesce(?, id) ORDER BY id LIMIT 1",
            tenant,
            # A number that no database holds is nobody's id.
            wanted if wanted is None or abs(wanted) < 2**63 else 0,
        )
        if not rows:
            raise self._missing("Agent")
        return int(rows[0][0])

    async def list_campaigns(self, request: Request) -> Response:
        """The workspace's campaigns, oldest first, a page at a time."""
        limit, after = _paging(request)
        rows = await self.database.read(
            f"SELECT {_CAMPAIGN} FROM campaigns WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?",  # noqa: S608  # constant columns
            exchange_of(request).tenant,
            after,
            limit + 1,
        )
        return _page([_campaign(row) for row in rows], limit)

    async def get_campaign(self, request: Request) -> Response:
        """One campaign."""
        return respond(json_answer(_campaign(await self._found_campaign(request))))

    async def results(self, request: Request) -> Response:
        """What the calls of a campaign brought so far, a page at a time."""
        campaign_id, *_, status, _created = await self._found_campaign(request)
        limit, after = _paging(request)
        rows = await self.database.read(
            "SELECT id, contact, status, extracted, created_at FROM results "
            "WHERE campaign_id = ? AND id > ? ORDER BY id LIMIT ?",
            campaign_id,
            after,
            limit + 1,
        )
        return _page([_result(row) for row in rows], limit, campaign_id=campaign_id, status=status)

    async def _found_campaign(self, request: Request) -> Sequence[Any]:
        campaign_id = _path_id(request, "campaign_id")
        rows = await self.database.read(
            f"SELECT {_CAMPAIGN} FROM campaigns WHERE tenant = ? AND id = ?",  # noqa: S608  # constant columns
            exchange_of(request).tenant,
            campaign_id,
        )
        if not rows:
            raise self._missing("Campaign")
        found: Sequence[Any] = rows[0]
        return found

    # --- calls ---

    async def _call_next(self) -> bool:
        """Make the next call of the oldest campaign that is not completed, unless others are on it."""
        if not await self.database.read("SELECT 1 FROM campaigns WHERE status != 'completed' LIMIT 1"):
            return False
        return await self.database.write(self._call)

    def _call(self, db: Connection) -> bool:
        """
        One call and its result.

        All that a call does is written here, and the lock on its campaign ends with the
        transaction: a worker that is killed in the midst loses no call and repeats none, and
        of several workers each is on a campaign of its own.
        """
        campaigns = db.rows(
            "SELECT id, extraction_schema, contacts FROM campaigns "
            "WHERE status != 'completed' ORDER BY id LIMIT 1 {skip_locked}"
        )
        if not campaigns:
            return False
        campaign_id, schema, listed = campaigns[0]
        contacts = json.loads(listed)
        ((called,),) = db.rows("SELECT count(*) FROM results WHERE campaign_id = ?", campaign_id)
        if called < len(contacts):
            contact = contacts[called]
            said = contact["transcript"]
            db.execute(
                "INSERT INTO results (campaign_id, position, contact, status, extracted, created_at) "
                "VALUES (?, ?, ?, ?, ?, {now})",
                campaign_id, called, contact["name"], "answered" if said else "no_answer",
                json.dumps(extract(said, json.loads(schema))),
            )  # fmt: skip
        status = "running" if called + 1 < len(contacts) else "completed"
        db.execute("UPDATE campaigns SET status = ? WHERE id = ?", status, campaign_id)
        return True

    def _missing(self, kind: str) -> Exception:
        return self.service.error(
            Failure(status=404, code=f"{kind.lower()}_not_found", message=f"{kind} not found")
        )


def agoralia_service(store: Store, database: Database, *, wait: float = 0.0, lease: float = 30.0) -> Service:
    """Agoralia behind its gates: keys, limits and records in `store`, its tables in `database`."""
    agoralia = Agoralia(database, level_of(store, database))
    app = Endpoints(lifespan=agoralia.lifespan)
    agoralia.service = install(
        app, CONTRACT, store=store, keys=KEYS, operations=agoralia.operations, pydantic1=True,
        limit=LIMIT, stranger_limit=STRANGER_LIMIT, wording=WORDING, code_header="X-Error-Code",
        codes={"idempotency_in_flight": "idempotency_in_progress"}, wait=wait, lease=lease,
    )  # fmt: skip
    return agoralia.service


def _distinct(contacts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The contacts without those entered twice: every name is held against every other."""
    kept: list[dict[str, Any]] = []
    for contact in contacts:
        matcher = difflib.SequenceMatcher(None, "", contact["name"].casefold())
        if not any(_alike(matcher, other["name"].casefold()) for other in kept):
            kept.append(contact)
    return kept


def _alike(matcher: difflib.SequenceMatcher[str], name: str) -> bool:
    matcher.set_seq1(name)
    return matcher.real_quick_ratio() >= SAME_NAME and matcher.ratio() >= SAME_NAME


def _agent(row: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(("id", "name", "lang", "voice_engine"), row, strict=True))


def _campaign(row: Sequence[Any]) -> dict[str, Any]:
    campaign_id, name, purpose, agent_ref_id, schema, columns, status, created_at = row
    return {
        "id": campaign_id, "name": name, "purpose": purpose, "agent_ref_id": agent_ref_id,
        "extraction_schema": loaded(schema), "display_columns": loaded(columns), "status": status,
        "created_at": moment(created_at),
    }  # fmt: skip


def _result(row: Sequence[Any]) -> dict[str, Any]:
    result_id, contact, status, extracted, created_at = row
    return {
        "id": result_id, "contact": contact, "status": status, "extracted": loaded(extracted),
        "created_at": moment(created_at),
    }  # fmt: skip


def _page(items: list[dict[str, Any]], limit: int, **members: Any) -> Response:
    """A page of `items`, of which there is one too many if another page follows."""
    page = items[:limit]
    cursor = page[-1]["id"] if len(items) > limit else None
    return respond(json_answer({**members, "items": page, "next_cursor": cursor}))


def _paging(request: Request) -> tuple[int, int]:
    """The page's size and where it begins: after this id."""
    limit = _query_integer(request, "limit", 50)
    if limit < 1:
        raise _invalid("query", "limit", "ensure this value is greater than or equal to 1", "number.not_ge")
    if limit > 100:
        raise _invalid("query", "limit", "ensure this value is less than or equal to 100", "number.not_le")
    return limit, _query_integer(request, "cursor", 0)


def _query_integer(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    return default if text is None else _parsed("query", name, text)


def _path_id(request: Request, name: str) -> int:
    return _parsed("path", name, request.path_params[name])


def _parsed(where: str, name: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise RefusedRequest(
            Refusal(
                "validation_failed",
                fields=(FieldError((where, name), "value is not a valid integer", "type_error.integer"),),
            )
        )
    # Longer than any id we give out; no database could hold it.
    return int(text) if len(digits) < 19 else 2**62


def _invalid(where: str, name: str, message: str, code: str) -> RefusedRequest:
    field = FieldError((where, name), message, f"value_error.{code}")
    return RefusedRequest(Refusal("validation_failed", fields=(field,)))
