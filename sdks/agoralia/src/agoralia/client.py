"""The Agoralia API: what can be asked of it, blocking and awaiting."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agoralia.contract import CONTRACT
from agoralia.models import Agent, Campaign, CampaignResults, Me, Page
from failwell import settings
from failwell.arguments import Arguments
from failwell.call.messages import Response
from failwell.call.operation import Operation
from failwell.call.retry import DocumentedWaits, RetryPolicy
from failwell.client import AsyncClient, Client
from failwell.resources import SDK, AsyncResource, AsyncSDK, Resource, awaiting, operation

if TYPE_CHECKING:
    from failwell.clock import Clock
    from failwell.engines.base import Connections
    from failwell.telemetry import Listener

BASE_URL = "https://api.agoralia.app/api/v1"
KEY_VARIABLE = "AGORALIA_API_KEY"
MAX_LIMIT = 100

# The document says 35 characters in all and gives an example of 36: both are taken.
_KEY = re.compile(r"ago_[A-Za-z0-9]{31,32}")

# A whole rate-limit window (one minute), twice, and the tries around it.
DEADLINE = 180.0

# The windows of the rate limit are minutes; whoever asks for more than two means something else.
MAX_RETRY_AFTER = 120.0


check = Arguments()


def _retry_policy(max_retries: int) -> RetryPolicy:
    """The document's waits: 1, 2, 4 ... seconds, and what a 429 asks for."""
    return DocumentedWaits(
        max_attempts=settings.max_attempts(max_retries, counts_first=True),
        base=1.0,
        cap=60.0,
        jitter=0.1,
        max_retry_after=MAX_RETRY_AFTER,
    )


class _Settings:
    """What both clients are told when they are made: one signature for the twins."""

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str = BASE_URL,
        max_retries: int = 3,
        timeout: float = 30.0,
        deadline: float | None = DEADLINE,
        engine: Any = "httpx",
        connections: Connections | None = None,
        listeners: Sequence[Listener] = (),
        clock: Clock | None = None,
    ) -> None:
        """
        A client with these settings.

        Args:
            api_key: Starts with `ago_`; by default the environment's `AGORALIA_API_KEY`.
            base_url: Where the API is.
            max_retries: Tries of each call in all, as in the document; 1 turns retrying off.
            timeout: Seconds for one wait: between two pieces of an answer, for instance.
            deadline: Seconds for a whole call, all tries and waits included; None for no limit.
            engine: What carries requests out, as for `failwell.Client`; of `AsyncAgoralia` it may also be
                "aiohttp".
            connections: How it connects.
            listeners: Called with each `failwell.telemetry.Event`.
            clock: The time to go by; for tests.

        Raises:
            ConfigurationError: the key, the base URL or the engine cannot be used.
            UsageError: another setting cannot be used.
        """
        api_key = settings.masked(api_key)  # this frame is in the traceback of a setting that is refused
        key = settings.api_key(
            api_key,
            variable=KEY_VARIABLE,
            pattern=_KEY,
            called="an Agoralia API key",
            rule="those start with ago_, followed by 31 or 32 letters or digits",
        )
        self._open(
            base_url=base_url,
            contract=CONTRACT,
            credentials={"x-api-key": key},
            retry=_retry_policy(max_retries),
            timeouts=settings.timeouts(timeout),
            deadline=deadline,
            engine=engine,
            connections=connections,
            listeners=listeners,
            clock=clock,
            name="agoralia",
        )

    def _open(self, **told: Any) -> None:
        """Make the failwell client that is told this, and the resources on it."""
        raise NotImplementedError


class Agoralia(_Settings, SDK):
    """
    Calls the Agoralia API, blocking.

    Attributes:
        agents: The agents of the key's workspace.
        campaigns: The campaigns of the key's workspace.
    """

    def _open(self, **told: Any) -> None:
        self._client = Client(**told)
        self.agents = Agents(self._client)
        self.campaigns = Campaigns(self._client)

    @operation
    def me(self) -> Operation[Me]:
        """Whose API key this is and what it may do."""
        return Operation("GET", "/me", Me.from_response)

    @operation
    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[Response]:
        """
        Call an endpoint this client has no method for, with the same retries and errors.

        Args:
            method: The HTTP method.
            path: Below the base URL.
            params: The query; None values are left out.
            json: The body as JSON types; None for none.
            headers: Added to the client's.
            idempotency_key: Sent with every try; by default a write gets one by itself.
        """
        return Operation(
            method, path, _as_it_came, params, json, headers or {}, idempotency_key=idempotency_key
        )


class Agents(Resource):
    """The agents of the key's workspace."""

    @operation
    def list(self, *, limit: int | None = None, cursor: int | None = None) -> Operation[Page[Agent]]:
        """
        One page of the workspace's agents.

        Args:
            limit: How many, 1 to 100; 20 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        return Operation(
            "GET", "/agents", Page.of(Agent.from_json, cursor=int), params=_paging(limit, cursor)
        )

    @operation
    def get(self, agent_id: int) -> Operation[Agent]:
        """
        One agent.

        Raises:
            AgoraliaNotFoundError: there is none with this id in the key's workspace.
        """
        return Operation("GET", f"/agents/{check.whole('agent_id', agent_id)}", Agent.from_response)


class Campaigns(Resource):
    """The campaigns of the key's workspace."""

    @operation
    def list(self, *, limit: int | None = None, cursor: int | None = None) -> Operation[Page[Campaign]]:
        """
        One page of the workspace's campaigns.

        Args:
            limit: How many, 1 to 100; 20 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        read = Page.of(Campaign.from_json, cursor=int)
        return Operation("GET", "/campaigns", read, params=_paging(limit, cursor))

    @operation
    def get(self, campaign_id: int) -> Operation[Campaign]:
        """
        One campaign.

        Raises:
            AgoraliaNotFoundError: there is none with this id in the key's workspace.
        """
        path = f"/campaigns/{check.whole('campaign_id', campaign_id)}"
        return Operation("GET", path, Campaign.from_response)

    @operation
    def create(
        self,
        *,
        name: str,
        purpose: str,
        agent_ref_id: int | None = None,
        extraction_schema: Mapping[str, Any] | None = None,
        display_columns: Sequence[str] | None = None,
        extra: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[Campaign]:
        """
        Create a campaign.

        Args:
            name: What it is called.
            purpose: Such as "quote_request" or "cold_calling".
            agent_ref_id: The id of the agent that calls; by default the service chooses.
            extraction_schema: What is to be extracted from each call.
            display_columns: What the results show first.
            extra: Further members of the body, as JSON types.
            idempotency_key: Yours, to repeat the call later or from another process; by default
                each call gets one of its own, so that its retries cannot create two campaigns.

        Raises:
            AgoraliaValidationError: the service refuses fields of it; `fields` names them.
            AgoraliaIdempotencyError: the key was used with another body.
        """
        members = {
            "name": check.text("name", name),
            "purpose": check.text("purpose", purpose),
            "agent_ref_id": check.optional(check.whole, "agent_ref_id", agent_ref_id),
            "extraction_schema": check.optional(check.mapping, "extraction_schema", extraction_schema),
            "display_columns": check.optional(check.texts, "display_columns", display_columns),
        }
        body = {member: value for member, value in members.items() if value is not None}
        body |= check.mapping("extra", {} if extra is None else extra)
        return Operation(
            "POST", "/campaigns", Campaign.from_response, json=body, idempotency_key=idempotency_key
        )

    @operation
    def results(
        self, campaign_id: int, *, limit: int | None = None, cursor: int | None = None
    ) -> Operation[CampaignResults]:
        """
        The results of a campaign, so far.

        Args:
            campaign_id: The campaign.
            limit: How many, 1 to 100; 20 by the service's default.
            cursor: `next_cursor` of the page before.

        Raises:
            AgoraliaNotFoundError: there is no such campaign in the key's workspace.
        """
        path = f"/campaigns/{check.whole('campaign_id', campaign_id)}/results"
        return Operation("GET", path, CampaignResults.from_response, params=_paging(limit, cursor))


class AsyncAgoralia(_Settings, AsyncSDK):
    """
    Calls the Agoralia API, awaiting: under asyncio or trio on the default engine.

    Attributes:
        agents: The agents of the key's workspace.
        campaigns: The campaigns of the key's workspace.
    """

    def _open(self, **told: Any) -> None:
        self._client = AsyncClient(**told)
        self.agents = AsyncAgents(self._client)
        self.campaigns = AsyncCampaigns(self._client)

    me = awaiting(Agoralia.me)
    request = awaiting(Agoralia.request)


class AsyncAgents(AsyncResource):
    """The agents of the key's workspace."""

    list = awaiting(Agents.list)
    get = awaiting(Agents.get)


class AsyncCampaigns(AsyncResource):
    """The campaigns of the key's workspace."""

    list = awaiting(Campaigns.list)
    get = awaiting(Campaigns.get)
    create = awaiting(Campaigns.create)
    results = awaiting(Campaigns.results)


def _paging(limit: int | None, cursor: int | None) -> dict[str, int | None]:
    return {
        "limit": check.optional(check.whole, "limit", limit, least=1, most=MAX_LIMIT),
        "cursor": check.optional(check.whole, "cursor", cursor),
    }


def _as_it_came(response: Response) -> Response:
    return response
