"""XML as nested mappings, so that one rule reads errors in JSON and in XML."""

from __future__ import annotations

from failwell.dialects.base import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DEPTH_LIMIT = 64
_NODE_LIMIT = 20_000


# What some writers say of an element's type: <errors type="array"/>, <field nil="true"/>.
_TYPES = frozenset(
    {"array", "integer", "boolean", "datetime", "symbol", "string", "float", "decimal", "date", "true"}
)


class _Refused(Exception):
    """The document holds what no error needs: a document type, too many elements, too much depth."""


def tree_of(text: str) -> Tree | None:
    """
    The document in `text`; None if it is not well-formed or declares a document type.

    Without a document type there are no entities to expand, so the result is no larger than
    the text. Namespaces and their declarations are dropped, prefixes cut.
    """
    from xml.parsers.expat import ExpatError, ParserCreate

    builder = _Builder()
    parser = ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(text.encode("utf-8", "replace") if _says_utf8(text) else _undeclared(text), True)
    except (ExpatError, _Refused, ValueError):
        return None
    return builder.root


def _says_utf8(text: str) -> bool:
    return not text.startswith("<?xml") or "encoding" not in text[:200].partition("?>")[0]


def _undeclared(text: str) -> bytes:
    """The text without its XML declaration, whose encoding is no longer true of the decoded text."""
    return text.partition("?>")[2].lstrip().encode("utf-8", "replace")


def _refuse(*_: Any) -> None:
    raise _Refused


class _Builder:
    def __init__(self) -> None:
        self.root: Tree | None = None
        self.stack: list[tuple[str, Tree, list[str]]] = []
        self.nodes = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.nodes += 1
        if len(self.stack) >= _DEPTH_LIMIT or self.nodes > _NODE_LIMIT:
            raise _Refused
        node = Tree()
        for attribute, value in attributes.items():
            if not attribute.startswith(("xmlns", "xml:", "xsi:")) and value not in _TYPES:
                node[attribute.rpartition(":")[2]] = value
        self.stack.append((name.rpartition(":")[2], node, []))

    def data(self, text: str) -> None:
        if self.stack:
            self.stack[-1][2].append(text)

    def end(self, _: str) -> None:
        name, node, texts = self.stack.pop()
        text = "".join(texts).strip()
        value: Tree | str = node if node else text
        if node and text:
            node["#text"] = text
        if not self.stack:
            self.root = Tree({name: value})
            return
        parent = self.stack[-1][1]
        if name not in parent:
            parent[name] = value
        elif isinstance(parent[name], list):
            parent[name].append(value)
        else:
            parent[name] = [parent[name], value]
