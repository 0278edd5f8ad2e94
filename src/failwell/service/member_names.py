"""
The names that a service has for the members of what it reads.

A place in a finding of Pydantic's mixes them with the keys of mappings, which are as sent as any
value: of `secrets: dict[str, int]` it is `("secrets", "sk_live_…")`. What tells one from the other
is who wrote it, so the names of all Pydantic models are gathered, those of the dataclasses and
typed dictionaries in them, and the words by which Pydantic tells the members of a union apart.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, get_args
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

# Where FastAPI begins a place, and how Pydantic names a key and a whole.
_known = {"body", "query", "path", "header", "cookie", "response", "[key]", "__root__"}
_looked_at: WeakSet[type[BaseModel]] = WeakSet()

# What a part such as `function-after[known(), list[int]]` is made of.
_WORD = re.compile(r"[^\s\[\]()',]+")


def known_among(names: Iterable[str]) -> set[str]:
    """Those of `names` that the service has written, not somebody who sent it something."""
    asked = set(names)
    if not all(map(_is_known, asked)):
        _look_at_new_models()
    return set(filter(_is_known, asked))


def learn(types: Iterable[Any]) -> None:
    """Take in the names of what is no Pydantic model itself, such as a dataclass that is a body."""
    wanted = tuple(types)
    if not wanted:  # as where there is no Pydantic
        return
    from pydantic import PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter

    for each in wanted:
        try:
            _gather(TypeAdapter(each).core_schema)
        except (PydanticUserError, PydanticUndefinedAnnotation):
            # Read with settings that are not the type's own: its names are not repeated.
            continue


def _is_known(name: str) -> bool:
    return name in _known or ("[" in name and all(word in _known for word in _WORD.findall(name)))


def _look_at_new_models() -> None:
    from pydantic import BaseModel
    from pydantic_core.core_schema import CoreSchemaType

    _known.update(get_args(CoreSchemaType), _CONSTRAINED)
    left = [BaseModel]
    while left:
        model = left.pop()
        left += model.__subclasses__()
        if model not in _looked_at and model.__pydantic_complete__:
            _looked_at.add(model)
            _gather(model.__pydantic_core_schema__)


# Kinds of which a union's member has another name once it has a limit.
_CONSTRAINED = tuple(f"constrained-{kind}" for kind in ("str", "int", "float", "bytes"))


def _gather(schema: Any) -> None:
    """Take in the names in one of Pydantic's schemas, which are dictionaries in dictionaries and lists."""
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            _known.update(_names_in(part))
            left += [inner for name, inner in part.items() if name not in _ASIDE]
        elif isinstance(part, (list, tuple)):
            left += part


# Nothing of what is read: what is written, and notes of other libraries.
_ASIDE = frozenset({"metadata", "serialization", "ref", "default"})


def _names_in(schema: dict[str, Any]) -> Iterable[str]:
    for member in ("fields", "choices"):  # of models, dataclasses and typed dictionaries; of unions
        found = schema.get(member)
        if isinstance(found, dict):
            yield from (name for name in found if isinstance(name, str))
        elif isinstance(found, list):
            yield from (item[-1] for item in found if isinstance(item, tuple))
    for member in ("name", "cls_name", "validation_alias", "alias", "expected"):
        yield from _texts_in(schema.get(member))
    for member in ("cls", "function"):
        named = schema.get(member)
        yield from _texts_in([getattr(named, said, None) for said in ("__name__", "__qualname__")])


def _texts_in(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts_in(item)
