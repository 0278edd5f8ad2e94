"""
What the Agoralia API answers when it succeeds, as frozen dataclasses.

Each model names the members this version knows and keeps the whole object, as sent, in `raw`.
A member that is missing or of another type than documented raises `ValueError`, of which the
client makes an `AgoraliaBadAnswerError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from failwell.models import Model, spelled, whole_object
from failwell.models import Page as AnyPage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(AnyPage[T]):
    """
    One page of a list; iterates over its items.

    Attributes:
        items: In the service's order.
        next_cursor: Pass it as `cursor` for the next page; None if this is the last.
        extra: Members of the page that this version does not know.
    """

    next_cursor: int | None = None


@dataclass(frozen=True, slots=True)
class Me(Model):
    """
    Whose API key it is and what it may do.

    Attributes:
        tenant_id: The workspace.
        api_key_scopes: Such as "campaigns:write".
        workspace_name: The workspace's name.
        plan: The workspace's plan.
        rate_limits: Requests allowed: "rpm" a minute, "rpd" a day.
        raw: The whole object.
    """

    tenant_id: int
    api_key_scopes: tuple[str, ...]
    workspace_name: str | None = None
    plan: str | None = None
    rate_limits: Mapping[str, int] = field(default_factory=dict)
    raw: Mapping[str, Any] = whole_object()


@dataclass(frozen=True, slots=True)
class Agent(Model):
    """
    A voice agent.

    Attributes:
        id: What `agent_ref_id` of a campaign refers to.
        name: The agent's name.
        lang: Its language, such as "it-IT".
        voice_engine: What it speaks with.
        raw: The whole object.
    """

    id: int
    name: str
    lang: str | None = None
    voice_engine: str | None = None
    raw: Mapping[str, Any] = whole_object()


@dataclass(frozen=True, slots=True)
class Campaign(Model):
    """
    A campaign: an agent that calls contacts for a purpose.

    Attributes:
        id: The campaign's id.
        name: Its name.
        status: Such as "queued", "running" or "completed".
        purpose: Such as "quote_request" or "cold_calling".
        agent_ref_id: The agent that calls.
        extraction_schema: What is to be extracted from each call.
        display_columns: What the results show first.
        created_at: When it was created, aware.
        raw: The whole object.
    """

    id: int
    name: str
    status: str | None = None
    purpose: str | None = None
    agent_ref_id: int | None = None
    extraction_schema: Mapping[str, Any] | None = None
    display_columns: tuple[str, ...] = ()
    created_at: datetime | None = None
    raw: Mapping[str, Any] = whole_object()


@dataclass(frozen=True, slots=True)
class CampaignResult(Model):
    """
    What came of one call of a campaign.

    Attributes:
        id: The result's id.
        contact: Who was called, as the service spells it.
        status: How the call ended.
        extracted: What was extracted, by the campaign's `extraction_schema`.
        created_at: When the call ended, aware.
        raw: The whole object.
    """

    id: int
    contact: str | None = None
    status: str | None = None
    extracted: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    raw: Mapping[str, Any] = whole_object()


@dataclass(frozen=True, slots=True)
class CampaignResults(Model):
    """
    The results of a campaign, so far; iterates over them.

    Attributes:
        campaign_id: The campaign.
        status: The campaign's status: results may follow unless it is "completed".
        items: One for each call that ended.
        next_cursor: Pass it as `cursor` for the next page; None if this is the last.
        raw: The whole object.
    """

    campaign_id: int
    status: str | None
    # Their list is called `items` or `results`.
    items: tuple[CampaignResult, ...] = field(metadata=spelled("items", "results"))
    next_cursor: int | None = None
    raw: Mapping[str, Any] = whole_object()

    def __iter__(self) -> Iterator[CampaignResult]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
