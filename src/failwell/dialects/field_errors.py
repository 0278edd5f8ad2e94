"""
Field errors, however they are spelled.

Three shapes, at any nesting:

- a list of objects, each with a path and a message: `[{"field": "name", "message": "..."}]`;
- a map from paths to messages, lists of them or such objects: `{"name": ["..."], "items.0.id": "..."}`;
- a tree that follows the input: `{"items": [{}, {"name": ["..."]}]}`, or with the leaves marked:
  `{"items": {"0": {"_errors": [{"message": "..."}]}}}`.

A path is split at dots and brackets, a JSON pointer is decoded, a list is taken as it is.
"""

from __future__ import annotations

import re

from failwell.dialects.places import CARRIERS, SMALL, Node, squash, squashed_members
from failwell.dialects.words import listed
from failwell.failure import FieldError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Path = tuple[str | int, ...]

# Members that hold field errors and nothing else; then members that may.
LISTS = listed(
    """errors fielderrors validationerrors validationerror violations fieldviolations invalidparams
    invalidparameters invalidfields validationresults validation validations issues modelstate
    formerrors constraintviolations paramerrors parametererrors inputerrors problems failures causes
    fields errordetails errordetail fieldlist errorlist errormessages detailederrors"""
)
_LISTS = frozenset(LISTS)
WEAK_LISTS = listed(
    "error details detail extra context contextinfo data params messages message meta info embedded"
)
PATHS = listed(
    """loc path field fieldname fieldpath pointer instancepath datapath property propertypath propertyname
    param parameter paramname parametername attribute attributename attr argument argumentname
    target jsonpath key keys fields membernames source element column input name location"""
)
_ITEM_MESSAGES = listed(
    """detail message msg messages errormessage errordescription description defaultmessage explanation
    reason error issue text problem title summary"""
)
_ITEM_CODES = listed(
    "code errorcode errorkey type error keyword rule constraint validation issue reason name"
)
# The whole input, in the words of frameworks.
_WHOLE = frozenset(
    {"", "$", "*", "nonfielderrors", "all", "base", "schema", "errors", "error", "form", "global", "general"}
)
_LEAF = ("_errors", "__errors")
_DEPTH = 12
FIELD_LIMIT = 500

_SPLIT = re.compile(r"[.\[\]]+")
_ERROR_NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|\w*(?:Error|Exception|Fault)")


def text_of(value: Any) -> str | None:
    """The text in `value`: itself, the first of a list, or what an object holds as its text."""
    for _ in range(4):
        if isinstance(value, str):
            return value.strip() or None
        if isinstance(value, list):
            value = next((v for v in value[:20] if v and isinstance(v, (str, dict))), None)
        elif isinstance(value, dict):
            inside = squashed_members(value)
            value = next((inside[n] for n in _TEXT_MEMBERS if n in inside), None)
        else:
            return None
    return None


_TEXT_MEMBERS = ("#text", "text", "value", "message", "detail", "msg", "en", "enus", "description")


def split_path(path: str) -> Path:
    """
    The parts of `path`: a JSON pointer, else names and indexes split at dots and brackets.

    Source:
        RFC 6901, for what begins with "/" or "#/".
    """
    path = path.strip()
    if path[:1] == "#":
        path = path[1:]
    if path[:1] == "/":
        return tuple(_part(_unescaped(p)) for p in path[1:].split("/")[:32])
    if path[:2] == "$.":
        path = path[2:]
    elif path == "$":
        return ()
    if "." not in path and "[" not in path:
        return (_part(path),) if path else ()
    return tuple(_part(p.strip("'\"")) for p in _SPLIT.split(path)[:32] if p)


def _unescaped(part: str) -> str:
    if "%" in part:
        from urllib.parse import unquote

        part = unquote(part)
    return part.replace("~1", "/").replace("~0", "~")


def _part(part: str) -> str | int:
    return int(part) if part.isascii() and part.isdigit() and len(part) < 10 else part


def path_of(item: dict[str, Any]) -> Path | None:
    """The path that `item` (names squashed) gives; () for the whole input, None if it gives none."""
    for name in PATHS:
        value = item.get(name)
        if isinstance(value, list):
            path = _listed_path(name, value)
        elif isinstance(value, dict) and name in ("source", "location", "path", "field", "target"):
            path = path_of(squashed_members(value))
        elif isinstance(value, str):
            path = _named_path(name, value, item)
        else:
            path = None
        if path is not None:
            return path
    for name, value in item.items():  # made-up names: `requestField`, `invalidParameter`
        if isinstance(value, str) and name.endswith(_PATH_ENDS) and name not in PATHS:
            return _named_path(name, value, item)
    for name in ("meta", "context", "params"):
        beside = item.get(name)
        if isinstance(beside, dict) and len(beside) < SMALL:
            inside = squashed_members(beside)
            told = next((inside[n] for n in _ASIDE_PATHS if isinstance(inside.get(n), str)), None)
            if told is not None:
                return _named_path("field", told, item)
    return None


_ASIDE_PATHS = ("paramname", "fieldname", "field", "parameter", "missingproperty")
_PATH_ENDS = ("field", "fieldname", "parameter", "parametername", "property", "attribute", "pointer")


def _listed_path(name: str, value: list[Any]) -> Path | None:
    if not value and name in ("loc", "path"):
        return ()
    if not value or not all(isinstance(p, (str, int)) and not isinstance(p, bool) for p in value[:32]):
        return None
    if name in ("loc", "path"):
        return tuple(value[:32])
    return split_path(value[0]) if isinstance(value[0], str) else None


def _named_path(name: str, value: str, item: dict[str, Any]) -> Path | None:
    value = value.strip()
    if not value:
        return () if name in ("instancepath", "datapath", "pointer") else None
    if "://" in value or len(value) > 300 or "\n" in value:
        return None
    if name == "name" and (_ERROR_NAME.fullmatch(value) or " " in value):
        return None
    if name == "location" and item.get("locationtype") not in ("parameter", "path", "query", "body"):
        return None
    if name == "path" and ("locations" in item or "extensions" in item):
        return None
    if name in ("source", "input", "key", "target", "element") and " " in value:
        return None
    return () if squash(value) in _WHOLE else split_path(value)


def is_field_item(item: dict[str, Any]) -> bool:
    """Whether an error of a list says which field it is about."""
    return path_of(item) is not None


class _Found(list[FieldError]):
    """Field errors in the order they are told; full at a limit."""

    def tell(self, path: Path, message: Any, code: Any = None) -> None:
        if len(self) < FIELD_LIMIT:
            text = message.strip()[:2000] if isinstance(message, str) else None
            if text is not None and not text.isascii():
                text = text.encode("utf-8", "replace").decode("utf-8")
            name = (
                code
                if isinstance(code, str) and code
                else str(code)
                if isinstance(code, int) and not isinstance(code, bool)
                else None
            )
            self.append(FieldError(path, text or None, name))


def fields_in(
    nodes: list[Node], items: list[Node], body: Any, message: str | None, status: int
) -> tuple[FieldError, ...]:
    """
    The field errors beside the error, the first member that has any.

    Args:
        nodes: The objects that describe the error, innermost first.
        items: The several errors they list.
        body: The whole body; read as a map of fields itself if nothing in it is an error's.
        message: The error's message, for a list of names without messages.
        status: The HTTP status; only a refused input is a map of fields.
    """
    found = _Found()
    for place, node in enumerate(nodes):
        if not node.inner:
            continue
        # What is the error itself is not a map of fields beside it.
        error = nodes[place - 1].members if place and message is not None else None
        if len(node.inner) == 1 and node.inner[0][1] is error:
            continue
        for rank, number in sorted([(_list_rank(n), i) for i, (n, _) in enumerate(node.inner)]):
            if rank != _NO_LIST:
                name, value = node.inner[number]
                if value is error:
                    continue
                if name == "errors" and isinstance(value, dict) and holds_error(value, node):
                    continue
                _tell_member(rank, name, value, message, status, found)
                if found:
                    return tuple(found)
    if isinstance(body, list) or (
        isinstance(body, dict) and not items and status in REFUSALS and _is_whole_map(body, message)
    ):
        _walk(body, (), found, 0)
    return tuple(found)


def mapped_fields(body: dict[str, Any]) -> tuple[FieldError, ...]:
    """The field errors of a body that is a map of fields itself; see `whole_map`."""
    found = _Found()
    _walk(body, (), found, 0)
    return tuple(found)


# Statuses with which a service refuses what it was sent.
REFUSALS = frozenset({400, 409, 422})

_LIST_RANK = {name: rank for rank, name in enumerate(LISTS)}
_LIST_RANK |= {name: 100 + rank for rank, name in enumerate(WEAK_LISTS)}
_ODD_RANK, _NO_LIST = 200, 999
_ODD_LIST = re.compile(r"error|invalid|violation|issue|validation|problem|reject|failed")


def is_list_name(name: str) -> bool:
    """Whether a list of this name, squashed, is one of errors."""
    return name == "details" or name in _LISTS or _ODD_LIST.search(name) is not None


def _list_rank(name: str) -> int:
    rank = _LIST_RANK.get(name)
    if rank is not None:
        return rank
    return _ODD_RANK if _ODD_LIST.search(name) else _NO_LIST


def _tell_member(rank: int, name: str, value: Any, message: str | None, status: int, found: _Found) -> None:
    if rank >= _ODD_RANK:
        if isinstance(value, list):
            _walk(value, (), found, 0)
    elif rank >= 100:
        _walk_weak(value, found, status)
    elif name == "fields" and _names_only(value):
        for field in value:
            found.tell(split_path(field), message)
    else:
        _walk_listed(value, found)


def _names_only(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _walk_listed(value: Any, found: _Found) -> None:
    """A member that holds field errors, or several members that do: `{"formErrors", "fieldErrors"}`."""
    inside = squashed_members(value) if isinstance(value, dict) else {}
    if inside and _LISTS.issuperset(inside):
        for listed_errors in inside.values():
            _walk(listed_errors, (), found, 1)
    else:
        _walk(value, (), found, 0)


def holds_error(value: dict[str, Any], beside: Node) -> bool:
    """
    Whether what stands under `errors` in `beside` is one error, rather than a map from fields to
    messages. Where the message stands beside it, it is a map.
    """
    if isinstance(beside.get("message"), str):
        return False
    inside = squashed_members(value)
    if isinstance(inside.get("error"), (dict, list)) and len(inside) == 1:
        return True
    told = any(isinstance(inside.get(m), str) for m in ("message", "detail", "msg", "description", "title"))
    return told and (
        len(inside) == 1 or any(m in inside for m in ("code", "type", "status", "id", "errorcode"))
    )


def _walk(value: Any, path: Path, found: _Found, depth: int) -> None:
    if depth > _DEPTH or len(found) >= FIELD_LIMIT:
        return
    if isinstance(value, str):
        if value.strip() and depth:
            found.tell(path, value)
    elif isinstance(value, list):
        for index, entry in enumerate(value[:FIELD_LIMIT]):
            if isinstance(entry, str):
                if depth:
                    found.tell(path, entry)
            elif isinstance(entry, dict):
                _walk_item(entry, path, index, found, depth + 1)
            elif isinstance(entry, list):
                _walk(entry, path, found, depth + 1)
    elif isinstance(value, dict):
        _walk_map(value, path, found, depth + 1)


def _walk_item(entry: dict[str, Any], path: Path, index: int, found: _Found, depth: int) -> None:
    """One object of a list: an error with its path, or a branch of the tree."""
    item = squashed_members(entry)
    own = path_of(item)
    nested = next(
        (
            item[n]
            for n in ("errors", "children", "_errors")
            if isinstance(item.get(n), (dict, list)) and item[n]
        ),
        None,
    )
    number = item.get("index")
    where = (
        path
        + ((number,) if isinstance(number, int) and not isinstance(number, bool) and path else ())
        + (own or ())
    )
    if nested is not None and (own is not None or where != path):
        _walk(nested, where, found, depth + 1)
        return
    message = next((t for n in _ITEM_MESSAGES if n in item and (t := text_of(item[n]))), None)
    if own is not None or (path and message is not None):
        found.tell(
            where, message, next((item[n] for n in _ITEM_CODES if _is_item_code(item.get(n), message)), None)
        )
    elif message is None and path:
        _walk_map(entry, (*path, index), found, depth + 1)


def _is_item_code(value: Any, message: str | None) -> bool:
    return (
        (isinstance(value, str) and bool(value) and value != message and " " not in value)
        or (isinstance(value, int) and not isinstance(value, bool))
    )  # fmt: skip


def _walk_map(value: dict[str, Any], path: Path, found: _Found, depth: int) -> None:
    for name, entry in list(value.items())[:FIELD_LIMIT]:
        if name in _LEAF:
            if isinstance(entry, list):
                for leaf in entry:
                    _tell_leaf(leaf, path, found)
            continue
        here = path if squash(name) in _WHOLE or name.startswith("__all") else path + split_path(name)
        if isinstance(entry, dict) and _is_item(entry):
            _walk_item(entry, here, 0, found, depth + 1)
        else:
            _walk(entry, here, found, depth + 1)


def _tell_leaf(leaf: Any, path: Path, found: _Found) -> None:
    if isinstance(leaf, dict):
        item = squashed_members(leaf)
        found.tell(path, text_of(leaf), item.get("code"))
    elif isinstance(leaf, str):
        found.tell(path, leaf)


def _is_item(entry: dict[str, Any]) -> bool:
    item = squashed_members(entry)
    return any(
        isinstance(item.get(n), str) for n in ("message", "msg", "detail", "description", "errormessage")
    )


def _walk_weak(value: Any, found: _Found, status: int) -> None:
    """A member that need not hold field errors: only what is unmistakable counts."""
    if isinstance(value, list):
        for index, entry in enumerate(value[:FIELD_LIMIT]):
            if isinstance(entry, dict):
                item = squashed_members(entry)
                inner = next((item[n] for n in LISTS if isinstance(item.get(n), list) and item[n]), None)
                if inner is not None and "type" in item:
                    _walk(inner, (), found, 0)
                else:
                    _walk_item(entry, (), index, found, 1)
        return
    inside = squashed_members(value)
    for name in LISTS:
        if isinstance(inside.get(name), (list, dict)) and inside[name]:
            _walk(inside[name], (), found, 0)
            return
    for name in ("params", "details"):
        if isinstance(inside.get(name), dict) and _is_map(inside[name]):
            _walk(inside[name], (), found, 0)
            return
    if any(leaf in value for leaf in _LEAF) or (
        status in REFUSALS and not _OWN_SENTENCES.intersection(inside) and _is_map(value)
    ):
        _walk(value, (), found, 0)


def whole_map(body: Any) -> bool:
    """
    Whether the body itself is a map from fields to lists of messages: a refused input with
    no member that an error has.
    """
    if not isinstance(body, dict):
        return False
    for value in body.values():
        if not isinstance(value, (list, dict)):
            return False
    return _is_map(body) and not _OWN_LISTS.intersection(map(squash, body))


def _is_whole_map(body: dict[str, Any], message: str | None) -> bool:
    """Whether the body is a map from fields to sentences, for want of anything else it could be."""
    return message is None and _is_map(body) and not _OWN_LISTS.issuperset(map(squash, body))


_OWN_SENTENCES = frozenset(listed("message title detail description code type msg"))
_OWN_LISTS = frozenset(
    listed("errors error messages message errormessages errormessage detail details warnings data")
)


def _is_map(value: dict[str, Any]) -> bool:
    """Whether an object is a map from fields to messages: lists of sentences, or nothing but sentences."""
    entries = list(value.values())
    if not entries:
        return False
    if all(isinstance(e, str) for e in entries):
        return all(" " in e for e in entries)
    return all(isinstance(e, (list, dict)) for e in entries) and any(_leads_to_message(e, 0) for e in entries)


def _leads_to_message(value: Any, depth: int) -> bool:
    """Whether `value` is a list of messages, or a branch at whose end there is one."""
    if depth > _DEPTH:
        return False
    if isinstance(value, dict):
        if not all(isinstance(e, (list, dict)) for e in value.values()):
            return False  # an error with members of its own, not a branch
        if any(squash(name) in CARRIERS for name in value):
            return False  # what holds errors, not a branch
        return any(_leads_to_message(e, depth + 1) for e in value.values())
    if not value:
        return False
    if isinstance(value[0], str) or (isinstance(value[0], dict) and _is_item(value[0])):
        return True
    return any(isinstance(e, dict) and _leads_to_message(e, depth + 1) for e in value)
