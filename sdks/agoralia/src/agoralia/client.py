"""The Agoralia API, blocking and awaiting: one line for each operation, twice."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agoralia import ops
from agoralia.contract import CONTRACT
from failwell.call.messages import Response, Timeouts
from failwell.call.retry import RetryPolicy
from failwell.client import AsyncClient, Client
from failwell.errors import ArgumentTypeError, ConfigurationError, UsageError
from failwell.redaction import Secret

if TYPE_CHECKING:
    from typing import Self

    from agoralia.models import Agent, Campaign, CampaignResults, Me, Page
    from failwell.clock import Clock
    from failwell.engines.base import Connections
    from failwell.telemetry import Listener

BASE_URL = "https://api.agoralia.app/api/v1"
KEY_VARIABLE = "AGORALIA_API_KEY"

# The document says 35 characters in all and gives an example of 36: both are taken.
_KEY = re.compile(r"ago_[A-Za-z0-9]{31,32}")

# A whole rate-limit window (one minute), twice, and the tries around it.
DEADLINE = 180.0

# The windows of the rate limit are minutes; whoever asks for more than two means something else.
MAX_RETRY_AFTER = 120.0


class DocumentedBackoff(RetryPolicy):
    """
    The document's waits: 1, 2, 4 ... seconds, and what a 429 asks for.

    Up to a tenth is added, so that clients that failed together do not come back together. A 429
    that does not say when its window ends is waited for like a 5xx; the document sleeps a minute.

    Source:
        Error Handling, "500 Server Error" (`2 ** attempt`).
    """

    __slots__ = ()

    def delay_after(self, tries: int, asked: float | None, random: Callable[[], float]) -> float:
        """Seconds to wait after try number `tries` failed; see `RetryPolicy.delay_after`."""
        if asked:
            return super().delay_after(tries, asked, random)
        backoff = min(self.cap, self.base * 2.0 ** min(tries - 1, 64))
        return backoff * (1.0 + self.jitter * random())


def _retry_policy(max_retries: int) -> RetryPolicy:
    if isinstance(max_retries, bool) or not isinstance(max_retries, int):
        raise ArgumentTypeError(f"max_retries is a {type(max_retries).__name__}; give an int")
    if max_retries < 1:
        raise UsageError(
            f"max_retries is {max_retries}; as in the document it counts every try, so 1 or more"
        )
    return DocumentedBackoff(
        max_attempts=max_retries, base=1.0, cap=60.0, jitter=0.1, max_retry_after=MAX_RETRY_AFTER
    )


def _settings(
    api_key: str | None,
    max_retries: int,
    timeout: float,
    deadline: float | None,
    listeners: Sequence[Listener],
    clock: Clock | None,
) -> dict[str, Any]:
    """What both clients tell failwell's."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise ArgumentTypeError(f"timeout is a {type(timeout).__name__}; give seconds")
    if not timeout > 0:
        raise UsageError(f"timeout is {timeout}; it is a number of seconds above 0")
    return {
        "contract": CONTRACT,
        "credentials": {"x-api-key": _checked_key(api_key)},
        "retry": _retry_policy(max_retries),
        "timeouts": Timeouts(connect=min(5.0, timeout), read=timeout, write=timeout, pool=timeout),
        "deadline": deadline,
        "listeners": listeners,
        "clock": clock,
        "name": "agoralia",
    }


def _checked_key(api_key: str | None) -> str:
    """The API key to send. No error repeats it."""
    source = "api_key"
    if api_key is None:
        source, api_key = KEY_VARIABLE, os.environ.get(KEY_VARIABLE)
        if not api_key:
            raise ConfigurationError(f"no API key: pass api_key or set {KEY_VARIABLE}")
    if not isinstance(api_key, str):
        raise ArgumentTypeError(f"api_key is a {type(api_key).__name__}; give a string")
    api_key = Secret(api_key)  # a traceback that shows locals shows a mask
    if not _KEY.fullmatch(api_key):
        raise ConfigurationError(
            f"{source} does not look like an Agoralia API key: those start with ago_, followed by "
            f"31 or 32 letters or digits; this one has {len(api_key)} characters in all"
        )
    return api_key


class Agoralia:
    """
    Calls the Agoralia API, blocking.

    Args:
        api_key: Starts with `ago_`; by default the environment's `AGORALIA_API_KEY`.
        base_url: Where the API is.
        max_retries: Tries of each call in all, as in the document; 1 turns retrying off.
        timeout: Seconds for one wait: between two pieces of an answer, for instance.
        deadline: Seconds for a whole call, all tries and waits included; None for no limit.
        engine: What carries requests out, as for `failwell.Client`.
        connections: How it connects.
        listeners: Called with each `failwell.telemetry.Event`.
        clock: The time to go by; for tests.

    Raises:
        ConfigurationError: the key, the base URL or the engine cannot be used.
        UsageError: another setting cannot be used.
    """

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
        if isinstance(api_key, str):
            api_key = Secret(api_key)
        settings = _settings(api_key, max_retries, timeout, deadline, listeners, clock)
        self._client = Client(base_url, engine=engine, connections=connections, **settings)
        self.agents = Agents(self._client)
        self.campaigns = Campaigns(self._client)

    def __repr__(self) -> str:
        # A traceback that shows locals meets clients whose making failed.
        return f"<{type(self).__name__} {self.__dict__.get('_client')!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Calling twice is harmless."""
        self._client.close()

    def me(self) -> Me:
        """Whose API key this is and what it may do."""
        return self._client.call(ops.me())

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
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
        return self._client.request(
            method, path, params=params, json=json, headers=headers, idempotency_key=idempotency_key
        )


class Agents:
    """The agents of the key's workspace."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, *, limit: int | None = None, cursor: int | None = None) -> Page[Agent]:
        """
        One page of the workspace's agents.

        Args:
            limit: How many, 1 to 100; 20 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        return self._client.call(ops.list_agents(limit, cursor))

    def get(self, agent_id: int) -> Agent:
        """
        One agent.

        Raises:
            AgoraliaNotFoundError: there is none with this id in the key's workspace.
        """
        return self._client.call(ops.get_agent(agent_id))


class Campaigns:
    """The campaigns of the key's workspace."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, *, limit: int | None = None, cursor: int | None = None) -> Page[Campaign]:
        """
        One page of the workspace's campaigns.

        Args:
            limit: How many, 1 to 100; 20 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        return self._client.call(ops.list_campaigns(limit, cursor))

    def get(self, campaign_id: int) -> Campaign:
        """
        One campaign.

        Raises:
            AgoraliaNotFoundError: there is none with this id in the key's workspace.
        """
        return self._client.call(ops.get_campaign(campaign_id))

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
    ) -> Campaign:
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
        operation = ops.create_campaign(
            name, purpose, agent_ref_id, extraction_schema, display_columns, extra
        )
        return self._client.call(operation, idempotency_key=idempotency_key)

    def results(
        self, campaign_id: int, *, limit: int | None = None, cursor: int | None = None
    ) -> CampaignResults:
        """
        The results of a campaign, so far.

        Args:
            campaign_id: The campaign.
            limit: How many, 1 to 100; 20 by the service's default.
            cursor: `next_cursor` of the page before.

        Raises:
            AgoraliaNotFoundError: there is no such campaign in the key's workspace.
        """
        return self._client.call(ops.campaign_results(campaign_id, limit, cursor))


class AsyncAgoralia:
    """
    Calls the Agoralia API, awaiting: under asyncio or trio on the default engine.

    Arguments as for `Agoralia`; `engine` may also be "aiohttp".
    """

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
        if isinstance(api_key, str):
            api_key = Secret(api_key)
        settings = _settings(api_key, max_retries, timeout, deadline, listeners, clock)
        self._client = AsyncClient(base_url, engine=engine, connections=connections, **settings)
        self.agents = AsyncAgents(self._client)
        self.campaigns = AsyncCampaigns(self._client)

    def __repr__(self) -> str:
        # A traceback that shows locals meets clients whose making failed.
        return f"<{type(self).__name__} {self.__dict__.get('_client')!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Calling twice is harmless."""
        await self._client.aclose()

    async def me(self) -> Me:
        """Whose API key this is and what it may do."""
        return await self._client.call(ops.me())

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Response:
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
        return await self._client.request(
            method, path, params=params, json=json, headers=headers, idempotency_key=idempotency_key
        )


class AsyncAgents:
    """The agents of the key's workspace."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self, *, limit: int | None = None, cursor: int | None = None) -> Page[Agent]:
        """
        One page of the workspace's agents.

        Args:
            limit: How many, 1 to 100; 20 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        return await self._client.call(ops.list_agents(limit, cursor))

    async def get(self, agent_id: int) -> Agent:
        """
        One agent.

        Raises:
            AgoraliaNotFoundError: there is none with this id in the key's workspace.
        """
        return await self._client.call(ops.get_agent(agent_id))


class AsyncCampaigns:
    """The campaigns of the key's workspace."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self, *, limit: int | None = None, cursor: int | None = None) -> Page[Campaign]:
        """
        One page of the workspace's campaigns.

        Args:
            limit: How many, 1 to 100; 20 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        return await self._client.call(ops.list_campaigns(limit, cursor))

    async def get(self, campaign_id: int) -> Campaign:
        """
        One campaign.

        Raises:
            AgoraliaNotFoundError: there is none with this id in the key's workspace.
        """
        return await self._client.call(ops.get_campaign(campaign_id))

    async def create(
        self,
        *,
        name: str,
        purpose: str,
        agent_ref_id: int | None = None,
        extraction_schema: Mapping[str, Any] | None = None,
        display_columns: Sequence[str] | None = None,
        extra: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Campaign:
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
        operation = ops.create_campaign(
            name, purpose, agent_ref_id, extraction_schema, display_columns, extra
        )
        return await self._client.call(operation, idempotency_key=idempotency_key)

    async def results(
        self, campaign_id: int, *, limit: int | None = None, cursor: int | None = None
    ) -> CampaignResults:
        """
        The results of a campaign, so far.

        Args:
            campaign_id: The campaign.
            limit: How many, 1 to 100; 20 by the service's default.
            cursor: `next_cursor` of the page before.

        Raises:
            AgoraliaNotFoundError: there is no such campaign in the key's workspace.
        """
        return await self._client.call(ops.campaign_results(campaign_id, limit, cursor))
