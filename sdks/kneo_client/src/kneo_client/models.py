"""
What the platform answers and what it is asked, as frozen dataclasses.

`from_json` reads a JSON object. A member this version does not know is kept in `extra`, so that a
newer service does not break an older client. A member that is missing or of another type raises
`ValueError`, which a client turns into a `KneoNetworkError` with the reason "format": code that
goes on with half a run does worse things than fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")

FINISHED = frozenset({"succeeded", "failed", "cancelled"})


class _Members:
    """The members of a JSON object, taken out one by one and checked on the way."""

    def __init__(self, data: object, what: str) -> None:
        if not isinstance(data, dict):
            raise ValueError(f"{what} is {_kind(data)}, not an object")
        self._left = dict(data)
        self._what = what

    def text(self, name: str) -> str:
        return self._take(name, str, "a string")  # type: ignore[no-any-return]

    def text_or_none(self, name: str) -> str | None:
        return None if self._absent(name) else self.text(name)

    def whole(self, name: str) -> int:
        value: int = self._take(name, int, "a number")
        if isinstance(value, bool):
            raise ValueError(f"{self._what}: {name} is true or false, not a number")
        return value

    def whole_or_none(self, name: str) -> int | None:
        return None if self._absent(name) else self.whole(name)

    def table(self, name: str) -> dict[str, Any]:
        """An object; empty if it is absent or null."""
        return {} if self._absent(name) else self._take(name, dict, "an object")

    def items(self, name: str) -> list[Any]:
        return self._take(name, list, "a list")  # type: ignore[no-any-return]

    def time(self, name: str) -> datetime:
        text = self.text(name)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{self._what}: {name} is {text[:40]!r}, not a time") from None
        if moment.tzinfo is None:
            raise ValueError(f"{self._what}: {name} is {text!r}, a time without an offset")
        return moment

    def time_or_none(self, name: str) -> datetime | None:
        return None if self._absent(name) else self.time(name)

    def value(self, name: str) -> Any:
        """Any JSON value; None if it is absent."""
        return self._left.pop(name, None)

    def rest(self) -> dict[str, Any]:
        """What nobody took."""
        return self._left

    def _absent(self, name: str) -> bool:
        if self._left.get(name) is not None:
            return False
        self._left.pop(name, None)
        return True

    def _take(self, name: str, wanted: type, called: str) -> Any:
        if name not in self._left:
            raise ValueError(f"{self._what}: {name} is missing")
        value = self._left.pop(name)
        if not isinstance(value, wanted):
            raise ValueError(f"{self._what}: {name} is {_kind(value)}, not {called}")
        return value


_KINDS: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    dict: "an object",
    list: "a list",
}


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null")


@dataclass(frozen=True, slots=True)
class RunError:
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
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: object) -> RunError:
        """
        Raises:
            ValueError: `data` is no such object.
        """
        m = _Members(data, "error")
        return cls(
            code=m.text("code"), message=m.text("message"), step=m.text_or_none("step"), extra=m.rest()
        )


@dataclass(frozen=True, slots=True)
class Run:
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
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in FINISHED

    @classmethod
    def from_json(cls, data: object) -> Run:
        """
        Raises:
            ValueError: `data` is no run.
        """
        m = _Members(data, "run")
        error = m.value("error")
        return cls(
            id=m.text("id"),
            spec_id=m.text("spec_id"),
            environment_id=m.text("environment_id"),
            status=m.text("status"),
            version=m.whole("version"),
            created_at=m.time("created_at"),
            cost=m.whole_or_none("cost"),
            input=m.table("input"),
            output=m.value("output"),
            error=None if error is None else RunError.from_json(error),
            metadata=m.table("metadata"),
            started_at=m.time_or_none("started_at"),
            finished_at=m.time_or_none("finished_at"),
            extra=m.rest(),
        )


@dataclass(frozen=True, slots=True)
class Spec:
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
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: object) -> Spec:
        """
        Raises:
            ValueError: `data` is no spec.
        """
        m = _Members(data, "spec")
        return cls(
            id=m.text("id"),
            name=m.text("name"),
            version=m.whole("version"),
            created_at=m.time("created_at"),
            definition=m.table("definition"),
            updated_at=m.time_or_none("updated_at"),
            extra=m.rest(),
        )


@dataclass(frozen=True, slots=True)
class Environment:
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
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: object) -> Environment:
        """
        Raises:
            ValueError: `data` is no environment.
        """
        m = _Members(data, "environment")
        return cls(
            id=m.text("id"),
            name=m.text("name"),
            status=m.text("status"),
            created_at=m.time("created_at"),
            variables=m.table("variables"),
            extra=m.rest(),
        )


@dataclass(frozen=True, slots=True)
class Health:
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
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: object) -> Health:
        """
        Raises:
            ValueError: `data` says nothing about health.
        """
        m = _Members(data, "health")
        return cls(
            status=m.text("status"),
            version=m.text_or_none("version"),
            checks=m.table("checks"),
            extra=m.rest(),
        )


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """
    One page of a list. Iterating gives its items.

    Attributes:
        items: Newest first.
        next_cursor: The `cursor` of the next page; None on the last.
        extra: Members this version does not know.
    """

    items: tuple[T, ...]
    next_cursor: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def from_json(cls, data: object, item: Callable[[object], T]) -> Page[T]:
        """
        Args:
            data: The JSON object.
            item: Reads one item.

        Raises:
            ValueError: `data` is no page, or one of its items is not what `item` reads.
        """
        m = _Members(data, "page")
        return cls(
            items=tuple(item(entry) for entry in m.items("items")),
            next_cursor=m.text_or_none("next_cursor"),
            extra=m.rest(),
        )


@dataclass(frozen=True, slots=True)
class RunCreate:
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

    def to_json(self) -> dict[str, Any]:
        """As JSON types; an environment that is None is left out."""
        where = {} if self.environment_id is None else {"environment_id": self.environment_id}
        return {
            "spec_id": self.spec_id,
            **where,
            "input": dict(self.input),
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True, slots=True)
class SpecCreate:
    """
    What `specs.create` and `specs.update` ask for; a plain dict with the same members does as well.

    Attributes:
        name: Unique within the tenant.
        definition: `steps`, the names of its steps in their order, and what else the platform
            documents.
    """

    name: str
    definition: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {"name": self.name, "definition": dict(self.definition)}


@dataclass(frozen=True, slots=True)
class EnvironmentCreate:
    """
    What `environments.create` asks for; a plain dict with the same members does as well.

    Attributes:
        name: Unique within the tenant.
        variables: What runs in it see.
    """

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {"name": self.name, "variables": dict(self.variables)}
