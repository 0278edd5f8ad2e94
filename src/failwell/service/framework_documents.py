"""
What frameworks say of the applications that a service is made of, as one OpenAPI document.

FastAPI describes the routes of one application. Those of an application that is mounted in it are in
a document of their own, behind the mount's path; here they become one.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from failwell.service.operations import NAME_IN_PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

REF = "#/components/schemas/"

# What Starlette's convertors stand for.
_PATH_TYPES: Mapping[str, dict[str, Any]] = {
    "str": {"type": "string", "minLength": 1},
    "path": {"type": "string"},
    "int": {"type": "integer", "minimum": 0},
    "float": {"type": "number", "minimum": 0},
    "uuid": {"type": "string", "format": "uuid"},
}


class FrameworkDocuments:
    """
    The documents of an application and of those that are mounted in it.

    Args:
        parts: Each application by where it is mounted, as a template, empty for the outermost: what
            makes its document, or None if nothing does.
    """

    def __init__(self, parts: Iterable[tuple[str, Callable[[], dict[str, Any]] | None]]) -> None:
        # The longest first: the first that fits is the innermost.
        self._parts = sorted(parts, key=lambda part: -len(part[0]))

    def __call__(self, below: str = "") -> dict[str, Any]:
        """What is said of the routes at the path `below` and behind it, with their paths from there on."""
        whole: dict[str, Any] = {}
        for at, own in reversed(self._parts):
            if own is None or not is_below(f"{at}/", below):
                continue
            part = deepcopy(own())
            if at == below:
                whole = part
            else:
                _add(whole, part, at.removeprefix(below))
        return whole

    def describe(self, path: str) -> bool:
        """Whether the innermost application that serves the template `path` has a document of its own."""
        return next((own is not None for at, own in self._parts if is_below(path, at)), False)

    def read(self, path: str) -> bool:
        """Whether such an application, or one around it, reads what is sent to `path`."""
        return any(own is not None for at, own in self._parts if is_below(path, at))


def is_below(path: str, mount: str) -> bool:
    """Whether the template `path` is one of an application at `mount`."""
    return path.startswith(f"{mount}/")


def shown(template: str) -> str:
    """`template` as OpenAPI writes it, without convertors."""
    return NAME_IN_PATH.sub(r"{\1}", template)


def path_parameters(template: str) -> list[dict[str, Any]]:
    """What stands in a path in place of the names of `template`."""
    return [
        {"name": name, "in": "path", "required": True, "schema": _PATH_TYPES[kind or "str"]}
        for name, kind in NAME_IN_PATH.findall(template)
    ]


def _add(whole: dict[str, Any], part: dict[str, Any], mount: str) -> None:
    """Take a document into another one, as what is at the template `mount` there."""
    prefix, parameters = shown(mount), path_parameters(mount)
    components = part.get("components", {})
    schemas = whole.setdefault("components", {}).setdefault("schemas", {})
    names = _free_names(components.get("schemas", {}), schemas)
    taken = {said["operationId"] for said in _operations(whole) if "operationId" in said}
    for said in _operations(part):
        if said.get("operationId") in taken:
            said["operationId"] = f"{_NO_WORD.sub('_', prefix).strip('_')}_{said['operationId']}"
    paths = whole.setdefault("paths", {})
    for path, item in part.get("paths", {}).items():
        paths[prefix + path] = _renamed(item, names)
        if parameters:
            paths[prefix + path]["parameters"] = [*parameters, *item.get("parameters", ())]
    for kind, members in components.items():
        known = whole["components"].setdefault(kind, {})
        for name, member in members.items():
            known.setdefault(names.get(name, name) if kind == "schemas" else name, _renamed(member, names))
    tags = [tag for tag in part.get("tags", ()) if tag not in whole.get("tags", ())]
    if tags:
        whole["tags"] = [*whole.get("tags", ()), *tags]


_NO_WORD = re.compile(r"\W+")


def _operations(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    items = document.get("paths", {}).values()
    return [said for item in items for said in item.values() if isinstance(said, dict)]


def _free_names(schemas: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, str]:
    """Another name for each of `schemas` whose name means something else in `known`."""
    names: dict[str, str] = {}
    while True:
        # What refers to a schema with a new name is another one, too.
        clash = [
            name
            for name, schema in schemas.items()
            if name not in names and name in known and known[name] != _renamed(schema, names)
        ]
        if not clash:
            return names
        for name in clash:
            number = 2
            while f"{name}.{number}" in known or f"{name}.{number}" in schemas:
                number += 1
            names[name] = f"{name}.{number}"


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """`value` with its references to schemas by their new names."""
    if isinstance(value, dict):
        return {name: _renamed(member, names) for name, member in value.items()}
    if isinstance(value, list):
        return [_renamed(member, names) for member in value]
    if isinstance(value, str) and value.startswith(REF):
        name = value.removeprefix(REF)
        return REF + names.get(name, name)
    return value
