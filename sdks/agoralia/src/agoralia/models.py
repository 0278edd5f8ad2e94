"""
What the Agoralia API answers when it succeeds, as frozen dataclasses.

Each model names the members this version knows and keeps the whole object, as sent, in `raw`.
A member that is missing or of another type than documented raises `ValueError`, of which the
client makes an `AgoraliaBadAnswerError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """
    One page of a list; iterates over its items.

    Attributes:
        items: In the service's order.
        next_cursor: Pass it as `cursor` for the next page; None if this is the last.
    """

    items: tuple[T, ...]
    next_cursor: int | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> T:
        return self.items[index]

    @classmethod
    def from_json(cls, data: Any, item: Callable[[Any], T]) -> Self:
        """The page in `data`: `{"items": [...], "next_cursor": ...}`, or a bare list."""
        if isinstance(data, list):
            return cls(tuple(map(item, data)))
        whole = _object(data, "a page")
        items = _member(whole, "items", list)
        return cls(tuple(map(item, items)), _optional(whole, "next_cursor", int))


@dataclass(frozen=True, slots=True)
class Me:
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
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The tenant in `data`."""
        whole = _object(data, "the answer of /me")
        scopes = _member(whole, "api_key_scopes", list)
        return cls(
            tenant_id=_member(whole, "tenant_id", int),
            api_key_scopes=tuple(map(str, scopes)),
            workspace_name=_optional(whole, "workspace_name", str),
            plan=_optional(whole, "plan", str),
            rate_limits=_optional(whole, "rate_limits", dict) or {},
            raw=whole,
        )


@dataclass(frozen=True, slots=True)
class Agent:
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
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The agent in `data`."""
        whole = _object(data, "an agent")
        return cls(
            id=_member(whole, "id", int),
            name=_member(whole, "name", str),
            lang=_optional(whole, "lang", str),
            voice_engine=_optional(whole, "voice_engine", str),
            raw=whole,
        )


@dataclass(frozen=True, slots=True)
class Campaign:
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
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The campaign in `data`."""
        whole = _object(data, "a campaign")
        return cls(
            id=_member(whole, "id", int),
            name=_member(whole, "name", str),
            status=_optional(whole, "status", str),
            purpose=_optional(whole, "purpose", str),
            agent_ref_id=_optional(whole, "agent_ref_id", int),
            extraction_schema=_optional(whole, "extraction_schema", dict),
            display_columns=tuple(map(str, _optional(whole, "display_columns", list) or ())),
            created_at=_moment(whole, "created_at"),
            raw=whole,
        )


@dataclass(frozen=True, slots=True)
class CampaignResult:
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
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The result in `data`."""
        whole = _object(data, "a result")
        return cls(
            id=_member(whole, "id", int),
            contact=_optional(whole, "contact", str),
            status=_optional(whole, "status", str),
            extracted=_optional(whole, "extracted", dict) or {},
            created_at=_moment(whole, "created_at"),
            raw=whole,
        )


@dataclass(frozen=True, slots=True)
class CampaignResults:
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
    items: tuple[CampaignResult, ...]
    next_cursor: int | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __iter__(self) -> Iterator[CampaignResult]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The results in `data`; their list is called `items` or `results`."""
        whole = _object(data, "campaign results")
        items = _member(whole, "items" if "items" in whole else "results", list)
        return cls(
            campaign_id=_member(whole, "campaign_id", int),
            status=_optional(whole, "status", str),
            items=tuple(map(CampaignResult.from_json, items)),
            next_cursor=_optional(whole, "next_cursor", int),
            raw=whole,
        )


def _object(data: Any, what: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{what} is no JSON object")
    return data


def _member(whole: dict[str, Any], name: str, kind: type[T]) -> T:
    value = _optional(whole, name, kind)
    if value is None:
        raise ValueError(f"{name!r} is missing")
    return value


def _optional(whole: dict[str, Any], name: str, kind: type[T]) -> T | None:
    value = whole.get(name)
    # JSON's true is no number, though Python's True is.
    if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    raise ValueError(f"{name!r} is a {type(value).__name__}, not a {kind.__name__}")


def _moment(whole: dict[str, Any], name: str) -> datetime | None:
    text = _optional(whole, name, str)
    return None if text is None else datetime.fromisoformat(text)
