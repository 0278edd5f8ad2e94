"""The operations of the Agoralia API, each as plain data: what to ask and how to read the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agoralia.models import Agent, Campaign, CampaignResults, Me, Page
from failwell.call.messages import Response
from failwell.call.operation import Operation
from failwell.errors import ArgumentTypeError, UsageError

MAX_LIMIT = 100


def me() -> Operation[Me]:
    """GET /me, scope `me:read`."""
    return Operation("GET", "/me", _me)


def list_agents(limit: int | None, cursor: int | None) -> Operation[Page[Agent]]:
    """GET /agents, scope `agents:read`."""
    return Operation("GET", "/agents", _agents, params=_paging(limit, cursor))


def get_agent(agent_id: int) -> Operation[Agent]:
    """GET /agents/{id}, scope `agents:read`."""
    return Operation("GET", f"/agents/{_integer('agent_id', agent_id)}", _agent)


def list_campaigns(limit: int | None, cursor: int | None) -> Operation[Page[Campaign]]:
    """GET /campaigns, scope `campaigns:read`."""
    return Operation("GET", "/campaigns", _campaigns, params=_paging(limit, cursor))


def get_campaign(campaign_id: int) -> Operation[Campaign]:
    """GET /campaigns/{id}, scope `campaigns:read`."""
    return Operation("GET", f"/campaigns/{_integer('campaign_id', campaign_id)}", _campaign)


def create_campaign(
    name: str,
    purpose: str,
    agent_ref_id: int | None,
    extraction_schema: Mapping[str, Any] | None,
    display_columns: Sequence[str] | None,
    extra: Mapping[str, Any] | None,
) -> Operation[Campaign]:
    """POST /campaigns, scope `campaigns:write`; 201."""
    body: dict[str, Any] = {
        "name": _typed("name", name, str, "a string"),
        "purpose": _typed("purpose", purpose, str, "a string"),
    }
    if agent_ref_id is not None:
        body["agent_ref_id"] = _integer("agent_ref_id", agent_ref_id)
    if extraction_schema is not None:
        body["extraction_schema"] = dict(_typed("extraction_schema", extraction_schema, Mapping, "a mapping"))
    if display_columns is not None:
        if isinstance(display_columns, str):
            raise ArgumentTypeError("display_columns is a str; give a list of strings")
        body["display_columns"] = list(
            _typed("display_columns", display_columns, Sequence, "a list of strings")
        )
    if extra is not None:
        body |= _typed("extra", extra, Mapping, "a mapping")
    return Operation("POST", "/campaigns", _campaign, json=body)


def campaign_results(campaign_id: int, limit: int | None, cursor: int | None) -> Operation[CampaignResults]:
    """GET /campaigns/{id}/results, scope `campaigns:read`."""
    path = f"/campaigns/{_integer('campaign_id', campaign_id)}/results"
    return Operation("GET", path, _results, params=_paging(limit, cursor))


def _me(response: Response) -> Me:
    return Me.from_json(response.json())


def _agent(response: Response) -> Agent:
    return Agent.from_json(response.json())


def _agents(response: Response) -> Page[Agent]:
    return Page.from_json(response.json(), Agent.from_json)


def _campaign(response: Response) -> Campaign:
    return Campaign.from_json(response.json())


def _campaigns(response: Response) -> Page[Campaign]:
    return Page.from_json(response.json(), Campaign.from_json)


def _results(response: Response) -> CampaignResults:
    return CampaignResults.from_json(response.json())


def _paging(limit: int | None, cursor: int | None) -> dict[str, int | None]:
    if limit is not None and not 1 <= _integer("limit", limit) <= MAX_LIMIT:
        raise UsageError(f"limit is {limit}; it is 1 to {MAX_LIMIT}")
    if cursor is not None:
        _integer("cursor", cursor)
    return {"limit": limit, "cursor": cursor}


def _integer(argument: str, value: object) -> int:
    # True would be sent as "True".
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(f"{argument} is a {type(value).__name__}; give an int")
    return value


def _typed(argument: str, value: Any, kind: Any, wanted: str) -> Any:
    if not isinstance(value, kind):
        raise ArgumentTypeError(f"{argument} is a {type(value).__name__}; give {wanted}")
    return value
