"""
What the platform answers and what it is asked, as frozen dataclasses.

A member this version does not know is kept in `extra`, so that a newer service does not break an
older client. A member that is missing or of another type is a `KneoNetworkError` with the reason
"format": code that goes on with half a run does worse things than fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from failwell.models import Model, unknown_members
from failwell.models import Page as AnyPage

T = TypeVar("T")

FINISHED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class RunError(Model):
    """
    Why a run failed.

    Attributes:
        code: For programs.
        message: For people.
        step: Which step of the spec failed; None if it was none of them.
        extra: Members this version does not know.
    """

    code: str
    message: str
    step: str | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Run(Model):
    """
    One run of a spec.

    Attributes:
        id: For `runs.get` and `runs.cancel`.
        spec_id: What runs.
        environment_id: Where it runs.
        status: "queued", "running", "succeeded", "failed", "cancelled", or one that a newer
            service has.
        version: 1 for the first; each change adds one. For `runs.cancel`.
        created_at: Aware.
        cost: What it costs, in the platform's units; None if it does not say.
        input: What it was given.
        output: What came out; None until it succeeded.
        error: Why it failed; None if it did not.
        metadata: What the caller attached.
        started_at: Aware; None until it starts.
        finished_at: Aware; None until it is finished.
        extra: Members this version does not know.
    """

    id: str
    spec_id: str
    environment_id: str
    status: str
    version: int
    created_at: datetime
    cost: int | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    output: Any = None
    error: RunError | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in FINISHED


@dataclass(frozen=True, slots=True)
class Spec(Model):
    """
    What a run does.

    Attributes:
        id: For `specs.get`, and for the `spec_id` of a run.
        name: Unique within the tenant.
        version: 1 for the first; each change adds one. For `specs.update`.
        created_at: Aware.
        definition: `steps`, the names of its steps in their order, and what else the platform
            documents.
        updated_at: Aware; None until it is changed.
        extra: Members this version does not know.
    """

    id: str
    name: str
    version: int
    created_at: datetime
    definition: Mapping[str, Any] = field(default_factory=dict)
    updated_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Environment(Model):
    """
    Where a run runs.

    Attributes:
        id: For `environments.get`, and for the `environment_id` of a run.
        name: Unique within the tenant.
        status: "ready", "retired" for one that takes no runs any more, or one that a newer
            service has.
        created_at: Aware.
        variables: What runs in it see.
        extra: Members this version does not know.
    """

    id: str
    name: str
    status: str
    created_at: datetime
    variables: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Health(Model):
    """
    How the platform is.

    Attributes:
        status: "ok". A platform that is not ready answers 503, which is a `KneoServerError`.
        version: The service's version; None if it does not say.
        checks: What was looked at and how it is.
        extra: Members this version does not know.
    """

    status: str
    version: str | None = None
    checks: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Page(AnyPage[T]):
    """
    One page of a list. Iterating gives its items.

    Attributes:
        items: Newest first.
        next_cursor: The `cursor` of the next page; None on the last.
        extra: Members this version does not know.
    """

    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class RunCreate(Model):
    """
    What `runs.create` asks for; a plain dict with the same members does as well.

    Attributes:
        spec_id: What to run.
        environment_id: Where; None for the platform's default.
        input: What to give it.
        metadata: What to attach; it comes back with the run.
    """

    spec_id: str
    environment_id: str | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpecCreate(Model):
    """
    What `specs.create` and `specs.update` ask for; a plain dict with the same members does as well.

    Attributes:
        name: Unique within the tenant.
        definition: `steps`, the names of its steps in their order, and what else the platform
            documents.
    """

    name: str
    definition: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EnvironmentCreate(Model):
    """
    What `environments.create` asks for; a plain dict with the same members does as well.

    Attributes:
        name: Unique within the tenant.
        variables: What runs in it see.
    """

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
