"""
What a service answers and is asked, as frozen dataclasses whose annotations are the schema.

    @dataclass(frozen=True, slots=True)
    class Run(Model):
        id: str
        status: str
        created_at: datetime
        error: RunError | None = None
        tags: tuple[str, ...] = ()
        extra: Mapping[str, Any] = unknown_members()

    Operation("GET", "/runs/1", Run.from_response)

`Run.from_json` reads a JSON object. A member that is missing or of another type than promised
raises `ValueError`, of which a client makes the contract's `BadAnswerError`: code that goes on with
half a run does worse things than fail. A member that this version does not know breaks nothing. A
member with a default may be missing or null; then it has the default. `to_json` is the way back.

| annotation | JSON |
|---|---|
| `str`, `int`, `bool` | a string, a whole number, true or false |
| `float` | a number |
| `datetime` | a string: a time with an offset (RFC 3339) |
| a `Model` | an object |
| `Mapping[str, Any]`, `dict[str, Any]` | an object |
| `tuple[T, ...]`, `list[T]` | a list of what `T` says |
| `T | None` | what `T` says, or null |
| `Any` | anything |
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

if TYPE_CHECKING:
    from failwell.call.messages import Response

T = TypeVar("T")

# A value, and what it is called in an error, to what the field holds.
_Reader = Callable[[Any, str], Any]

_FROM = "failwell.models"  # where a field's metadata says more than its annotation
_REST, _WHOLE = object(), object()


def unknown_members() -> Any:
    """A field that holds the members of the object that the model does not name."""
    return field(default_factory=dict, metadata={_FROM: _REST})


def whole_object() -> Any:
    """A field that holds the whole object as it was sent; neither shown nor compared."""
    return field(default_factory=dict, repr=False, compare=False, metadata={_FROM: _WHOLE})


def spelled(*names: str) -> Mapping[str, Any]:
    """
    Metadata of a field whose member is spelled otherwise: `field(metadata=spelled("class"))`.

    Args:
        names: The member's name, or several of which the first that is there is taken. `to_json`
            writes the first.
    """
    return {_FROM: names}


class Model:
    """
    A JSON object as a dataclass; what its fields are annotated with is what is read.

    Attributes of the class:
        called: What an error calls it; by default its name in lower case.
    """

    __slots__ = ()

    called: ClassVar[str] = ""

    @classmethod
    def from_json(cls, data: object) -> Self:
        """
        The model in `data`, a JSON object as Python's `json` gives it.

        Raises:
            ValueError: `data` is no such object; says which member is wrong.
        """
        plan = _plan(cls)
        if not isinstance(data, dict):
            raise ValueError(f"{plan.called} is {_kind(data)}, not an object")
        given: dict[str, Any] = {}
        for each in plan.fields:
            member = each.member
            if each.others and member not in data:
                member = next((m for m in each.others if m in data), member)
            value = data.get(member)
            if type(value) is each.exact:  # most members: nothing to convert
                given[each.name] = value
                continue
            if value is None and each.has_default:
                continue
            if member not in data and not each.nullable:
                raise ValueError(f"{plan.called}: {member} is missing")
            given[each.name] = each.read(value, f"{plan.called}: {member}")
        if plan.rest is not None and not plan.known.issuperset(data):
            given[plan.rest] = {name: value for name, value in data.items() if name not in plan.known}
        if plan.whole is not None:
            given[plan.whole] = data
        return cls(**given)

    @classmethod
    def from_response(cls, response: Response) -> Self:
        """
        The model in the body of `response`; an operation's `parse`.

        Raises:
            ValueError: the body is no JSON, or no such object.
        """
        return cls.from_json(response.json())

    def to_json(self) -> dict[str, Any]:
        """This model as JSON types. Members that are None are left out; unknown ones are kept."""
        plan = _plan(type(self))
        members = {} if plan.rest is None else dict(getattr(self, plan.rest))
        for each in plan.fields:
            value = getattr(self, each.name)
            if value is not None:
                members[each.member] = _written(value)
        return members


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """
    One page of a list: iterates over its items, has a length, and takes an index.

    An SDK derives its own from it, with the type its cursor has and where its items are.

    Attributes:
        items: In the service's order.
        next_cursor: The `cursor` of the next page; None on the last.
        extra: Members of the page that this version does not know.
    """

    items: tuple[T, ...]
    next_cursor: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> T:
        return self.items[index]

    @classmethod
    def from_json(
        cls,
        data: object,
        item: Callable[[Any], T],
        *,
        items: str = "items",
        next_cursor: str = "next_cursor",
        cursor: type = str,
    ) -> Self:
        """
        The page in `data`: an object, or the bare list of a service that has no pages.

        Args:
            data: The JSON value.
            item: Reads one item.
            items: Which member holds them.
            next_cursor: Which member holds the cursor of the next page.
            cursor: What a cursor is: `str` or `int`.

        Raises:
            ValueError: `data` is no page, or an item is not what `item` reads.
        """
        if isinstance(data, list):
            return cls(tuple(map(item, data)))
        if not isinstance(data, dict):
            raise ValueError(f"page is {_kind(data)}, not an object")
        if items not in data:
            raise ValueError(f"page: {items} is missing")
        entries = _list_of(None)(data[items], f"page: {items}")
        at = data.get(next_cursor)
        if at is not None:
            at = _PLAIN[cursor](at, f"page: {next_cursor}")
        rest = {name: value for name, value in data.items() if name not in (items, next_cursor)}
        return cls(tuple(map(item, entries)), at, rest)

    @classmethod
    def of(cls, item: Callable[[Any], T], **names: Any) -> Callable[[Response], Self]:
        """What reads a page in a response; an operation's `parse`. Arguments as for `from_json`."""
        return lambda response: cls.from_json(response.json(), item, **names)


@dataclass(slots=True)
class _Field:
    """
    How one field is read: from `member`, or the first of `others` that is there.

    A value whose type is `exact` is taken as it is.
    """

    name: str
    member: str
    others: tuple[str, ...]
    exact: type | None
    read: _Reader
    has_default: bool
    nullable: bool


@dataclass(slots=True)
class _Plan:
    """How a model is read: made once for each class, from its annotations."""

    called: str
    fields: list[_Field]
    known: frozenset[str] = frozenset()
    rest: str | None = None
    whole: str | None = None


_plans: dict[type, _Plan] = {}


def _plan(cls: type[Any]) -> _Plan:
    if cls in _plans:
        return _plans[cls]
    hints = get_type_hints(cls)
    plan = _Plan(cls.called or _in_words(cls.__name__), [])
    for each in fields(cls):
        told = each.metadata.get(_FROM)
        if told is _REST:
            plan.rest = each.name
        elif told is _WHOLE:
            plan.whole = each.name
        else:
            hint, nullable = _without_none(hints[each.name])
            read = _reader(hint, cls)
            plan.fields.append(
                _Field(
                    each.name,
                    *_members(told or (each.name,)),
                    hint if hint in _EXACT else None,
                    _or_none(read) if nullable else read,
                    each.default is not MISSING or each.default_factory is not MISSING,
                    nullable,
                )
            )
    plan.known = frozenset(m for each in plan.fields for m in (each.member, *each.others))
    _plans[cls] = plan
    return plan


def _members(names: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    return names[0], names[1:]


def _without_none(hint: Any) -> tuple[Any, bool]:
    """`T | None` as `T` and True."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    left = tuple(part for part in get_args(hint) if part is not type(None))
    return Union[left], len(left) < len(get_args(hint))  # noqa: UP007  # made of a tuple


def _reader(hint: Any, cls: type) -> _Reader:
    if hint is Any or hint is object:
        return lambda value, where: value
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin = get_origin(hint) or hint
    if origin is tuple or origin is list:
        inner = get_args(hint)
        item, nullable = _without_none(inner[0]) if inner else (Any, False)
        read = _list_of(_or_none(_reader(item, cls)) if nullable else _reader(item, cls))
        return (lambda value, where: tuple(read(value, where))) if origin is tuple else read
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _object
    if isinstance(origin, type) and issubclass(origin, Model):
        return lambda value, where: origin.from_json(value)
    # A bug in the model, and no fault of the answer: a client must not take it for one.
    raise RuntimeError(f"{cls.__name__} has a field of {hint}, which no JSON value is read into")


def _or_none(read: _Reader) -> _Reader:
    return lambda value, where: None if value is None else read(value, where)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} is {_kind(value)}, not a string")
    return value


def _whole(value: Any, where: str) -> int:
    # JSON's true is no number, though Python's True is.
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{where} is {_kind(value)}, not a {'whole ' * isinstance(value, float)}number")
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{where} is {_kind(value)}, not a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{where} is a number too large to be used") from None


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{where} is {_kind(value)}, not true or false")
    return value


def _time(value: Any, where: str) -> datetime:
    text = _text(value, where)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{where} is {text[:40]!r}, not a time") from None
    if moment.tzinfo is None:
        raise ValueError(f"{where} is {text!r}, a time without an offset")
    return moment


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {_kind(value)}, not an object")
    return value


def _list_of(read: _Reader | None) -> Callable[[Any, str], list[Any]]:
    def read_list(value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError(f"{where} is {_kind(value)}, not a list")
        return value if read is None else [read(item, f"{where}[{n}]") for n, item in enumerate(value)]

    return read_list


_PLAIN: dict[Any, _Reader] = {
    str: _text, int: _whole, float: _number, bool: _flag, datetime: _time,
}  # fmt: skip

# Python's own types of JSON values, which are taken as they are.
_EXACT = (str, int, float, bool)

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


def _written(value: Any) -> Any:
    """`value` in JSON types."""
    if isinstance(value, Model):
        return value.to_json()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: _written(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_written(item) for item in value]
    return value


def _in_words(name: str) -> str:
    """ "CampaignResult" as "campaign result"."""
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()
