"""What Argus answers when it succeeds, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from failwell.models import Model, unknown_members
from failwell.models import Page as AnyPage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(AnyPage[T]):
    """
    One page of a list; iterates over its items.

    Attributes:
        items: The newest first.
        next_cursor: Pass it as `cursor` for the next page; None on the last.
        extra: Members of the page that this version does not know.
    """

    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Finding(Model):
    """
    Something in a text that should not be there.

    Attributes:
        kind: "competitor", "secret" or "personal_data".
        type: Which: "exact", "disguised" or "fuzzy" for a competitor, else what it is, such as
            "github_token" or "card_number".
        start: Where it begins in the text, in code points: an index of a Python string.
        end: Where it ends; the first that is no part of it.
        score: How sure it is, from 0 to 1.
        name: The competitor, as it was given; None for anything else.
        extra: Members that this version does not know.

    Raises:
        ValueError: `start` and `end` are no part of any text, or `score` is out of its range.
    """

    kind: str
    type: str
    start: int
    end: int
    score: float
    name: str | None = None
    extra: Mapping[str, Any] = unknown_members()

    def __post_init__(self) -> None:
        # Cut out of the text by a span that is none, another part of it would be blamed.
        if not 0 <= self.start < self.end:
            raise ValueError(f"finding: from {self.start} to {self.end} is no part of a text")
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"finding: score is {self.score}, not from 0 to 1")

    def of(self, text: str) -> str:
        """The part of `text`, the text that was checked, that this is about."""
        return text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class CheckResult(Model):
    """
    What was found in one text; iterates over the findings.

    Attributes:
        findings: By where they begin.
        checked: What was looked for: "competitors", "secrets", "personal_data". Empty if the call
            was a no-op, because it was given an empty list outside strict mode.
        id: What it is stored as; None if it is not stored.
        asset_id: The asset it was made for; None for none.
        saved: Whether it is stored under the asset.
        truncated: Whether there were more findings than an answer holds.
        text_length: How long the text was, in code points.
        text_sha256: Of the text as UTF-8, to know it again: the text itself is not stored.
        created_at: When it was made, aware; None of a no-op.
        extra: Members that this version does not know.
    """

    findings: tuple[Finding, ...]
    checked: tuple[str, ...] = ()
    id: str | None = None
    asset_id: str | None = None
    saved: bool = False
    truncated: bool = False
    text_length: int | None = None
    text_sha256: str | None = None
    created_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()

    @property
    def flagged(self) -> bool:
        """Whether anything was found."""
        return bool(self.findings)

    @property
    def skipped(self) -> bool:
        """Whether nothing was looked for, so that finding nothing means nothing."""
        return not self.checked

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __bool__(self) -> bool:
        # Else a result without findings would be taken for no result.
        return True


@dataclass(frozen=True, slots=True)
class BatchResult(Model):
    """
    What was found in several texts; iterates over the results.

    Attributes:
        results: One for each text, in their order; empty if there were no texts.
        flagged_share: Which part of the texts something was found in, from 0 to 1; None of a no-op.
        extra: Members that this version does not know.
    """

    results: tuple[CheckResult, ...]
    flagged_share: float | None = None
    extra: Mapping[str, Any] = unknown_members()

    @property
    def flagged(self) -> bool:
        """Whether anything was found in any of the texts."""
        return any(result.flagged for result in self.results)

    @property
    def skipped(self) -> bool:
        """Whether nothing was looked for, so that finding nothing means nothing."""
        return all(result.skipped for result in self.results)

    def __iter__(self) -> Iterator[CheckResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: int) -> CheckResult:
        return self.results[index]

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Asset(Model):
    """
    Something whose texts are checked, such as a chatbot or a website.

    Attributes:
        id: What `asset_id` refers to.
        name: What it is called; no two in an account are called alike.
        competitors: Looked for in each text that is checked for this asset, besides those given.
        created_at: When it was created, aware.
        extra: Members that this version does not know.
    """

    id: str
    name: str
    competitors: tuple[str, ...] = ()
    created_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()
