"""
The general rule: where an error's facts stand in a body that nobody has described.

Names are compared without case, punctuation and namespace (`places.py` has the tables). XML is read
as the tree it is. The places, in order:

1. **The error** is the body, or what a member called `error`, `fault`, `exception` and so on holds,
   as deep as they nest; else what `detail`, `response`, `meta` and so on hold, if nothing beside them
   says anything. Inner goes before outer. A list is read as if it stood under `errors`.
   Of several errors, the first is it, unless something above sums them up.
2. **The message** is the first of `MESSAGES` that is text. The name of a status ("Bad Request") and a
   word for programs give way to a sentence further down, and to the first of several errors, unless
   those are about fields.
3. **The code** is what a header that ends in `errortype` or `error-code` names; else the first of
   `CODES` that is a word for programs, beginning with the object whose message was taken. A number
   or a URL that only repeats the HTTP status is none.
4. **The fields** are the first member that lists errors with paths or maps paths to messages
   (`field_errors.py`); else the one parameter that stands beside the message.
5. **The request id** is a member that ends in `requestid`, else a debug, correlation or trace id.
6. **The wait** is a member such as `retry_after`, `retryAfterMs` or `wait_seconds`.

A message that is a JSON document itself is read in its place. Where there is no sentence at all, the
word for programs is the message, since it says more than nothing.
"""

from __future__ import annotations

import re

from failwell.dialects.base import Said, Tree
from failwell.dialects.body import strict_json
from failwell.dialects.field_errors import (
    REFUSALS,
    fields_in,
    holds_error,
    is_field_item,
    is_list_name,
    mapped_fields,
    split_path,
    text_of,
    whole_map,
)
from failwell.dialects.places import (
    CARRIERS,
    CODES,
    DOUBTFUL_ID,
    ERROR_ID,
    MESSAGES,
    NO_RANK,
    ONE_FIELD,
    SMALL,
    WEAK_CARRIERS,
    Node,
    squash,
)
from failwell.dialects.words import NO_CODES, has_code_form, is_code, is_phrase, listed
from failwell.failure import FieldError
from failwell.headers import LONGEST_WAIT, seconds_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

_UNIQUE = re.compile(
    r"(?=[^\d]*\d)(?:[0-9a-f]{16,64}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f-]{17,32})$", re.I
)
_HAS_DIGIT = re.compile(r"\d")
_DEPTH = 6
ITEM_LIMIT = 200
MESSAGE_LIMIT = 4096

# Names whose lower-case words are codes even if a sentence could hold them, and names under which
# a word must look like one, because they say other things as well.
_SURE_CODES = frozenset(
    listed(
        """errorcode code errcode errorcodes errorkey errorname faultcode reasoncode errorno errno errornum
    errortype exceptioncode retcode resultcode returncode subcode errorsubcode messagecode reason"""
    )
)
_PLAIN_CODES = frozenset(CODES)  # the other names are codes by how they end
_TYPE_URL = re.compile(r"rfc\d{3,4}|httpstatus|/status/\d{3}|/http/\d{3}", re.I)


def read(body: Any, status: int, headers: Mapping[str, str]) -> Said:
    """
    What `body`, a JSON value or a tree of XML, says by the general rule.

    Args:
        body: As parsed.
        status: The HTTP status, which a code must not merely repeat.
        headers: The answer's, names in lower case.
    """
    return _Reader(status).said(body, headers)


class _Reader:
    """One body being read."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.status_text = str(status)

    def said(self, body: Any, headers: Mapping[str, str], *, inner: bool = False) -> Said:
        if isinstance(body, str):
            return Said(message=_tidy(body))
        nodes, items = error_nodes(body)
        if self.status in REFUSALS and whole_map(body):
            fields = mapped_fields(body)
            message = next((f.message for f in fields if f.message), None)
            return Said(message=message, code=header_code(headers), fields=fields)
        message, source = self._message(nodes, items)
        if message is not None and message[0] in "{[" and not inner:
            nested = strict_json(message)
            if nested is not None:
                return self._nested(nested, body, headers)
        fields = self._fields(nodes, items, body, message)
        if message is None and fields:
            message = next((f.message for f in fields if f.message), None)
        ordered = _from(source, nodes, items, message)
        near = neighbours(nodes, items)
        code, signals = self._codes(ordered, headers)
        if message is None:
            message = _listed_messages(nodes)
        if message is None:
            message = _word_for_message(nodes) or code
        return Said(
            message=message,
            code=code,
            fields=fields,
            request_id=body_id(near),
            retry_after=body_wait(near),
            signals=signals,
        )

    def _nested(self, nested: Any, body: Any, headers: Mapping[str, str]) -> Said:
        """What a message says that is a document itself; the outer body fills the gaps."""
        said = self.said(nested, headers, inner=True)
        outer_nodes, outer_items = error_nodes(body)
        if said.code is None:
            said.code, outer = self._codes(outer_nodes + outer_items[:1], headers)
            said.signals += outer
        said.request_id = said.request_id or body_id(neighbours(outer_nodes, outer_items))
        return said

    def _message(self, nodes: list[Node], items: list[Node]) -> tuple[str | None, Node | None]:
        """The message and the node it stands in."""
        fallback: tuple[str, Node] | None = None
        for node in nodes:
            text, sure = _node_message(node)
            if text is None:
                continue
            if sure:
                return text, node
            if fallback is None:
                fallback = text, node
                # What concerns a field is told with the field; the summary stays the message.
                item = items[0] if items and not is_field_item(items[0]) else None
                if item is not None:
                    inner, sure = _node_message(item)
                    if inner is not None and sure:
                        return inner, item
        if fallback is not None:
            return fallback
        for item in items[:1]:
            text, _ = _node_message(item)
            if text is not None:
                return text, item
        return None, None

    def _codes(self, nodes: Iterable[Node], headers: Mapping[str, str]) -> tuple[str | None, tuple[str, ...]]:
        """The code, and every word for programs."""
        found: list[str] = []
        named = header_code(headers)
        if named is not None:
            found.append(named)
        for node in nodes:
            for _, name in node.codes:
                code = self.code_of(name, node[name], node)
                if code is not None:
                    found.append(code)
        if not found:
            found += [code for node in nodes for code in self._codes_beside(node)]
        return (found[0] if found else None), tuple(found[1:6])

    def _codes_beside(self, node: Node) -> Iterator[str]:
        """
        The codes in the objects beside an error that has none itself: a member that is called an
        error code, or the id of an object that says it is of the type "Error".
        """
        for inside in node.around():
            names = ["errorcode", "errcode"]
            if str(inside.get("type")).lower() == "error":
                names.append("id")
            for name in names:
                code = inside.get(name)
                if isinstance(code, str) and is_code(code):
                    yield code

    def code_of(self, name: str, value: Any, node: Node) -> str | None:
        """The code that `value` is, standing under `name`; None if it is none."""
        if isinstance(value, bool):
            return None
        if isinstance(value, int):
            return self._number(name, value)
        if isinstance(value, list):
            value = value[0] if value and isinstance(value[0], str) else None
        if name == "tag" and isinstance(value, str):
            return _tags(node)
        if not isinstance(value, str):
            return None
        value = value.strip()
        if not value or value == self.status_text or value.lower() in NO_CODES:
            return None
        if name == "type" or name == "code":
            if "://" in value or value[0] == "/":
                return type_url(value, self.status)
            value = value.rpartition("#")[2]
        if name == "errorsummary":  # "path/not_found/..": the dots stand for what is not told
            value = value.rstrip("./")
        if name in _SURE_CODES or name not in _PLAIN_CODES:
            return value if has_code_form(value) else None
        if name in ("exceptiontype", "title", "issue", "key", "name", "identifier"):
            return (
                value
                if is_code(value) and ("_" in value or value[:1].isupper()) and "." not in value
                else None
            )
        if name == "id":
            letters = value.replace("_", "").replace(".", "")
            return value if value.isascii() and letters.isalpha() and value.islower() else None
        if name == "statuscode" and value.isdigit():
            return self._number(name, int(value[:9]))
        if name == "status" or name == "statusname":
            return value if is_code(value) and not value[0].isdigit() else None
        # "Forbidden" is the name of a status; "forbidden" and "FORBIDDEN" are words for programs.
        spelled_as_code = value.islower() or value.isupper() or not is_phrase(value)
        return value if spelled_as_code and is_code(value) else None

    def _number(self, name: str, value: int) -> str | None:
        if value == self.status or value == 0 or name in ("id", "status", "key", "name", "type", "title"):
            return None
        if name in ("statuscode", "errorstatus") and 100 <= value <= 999:
            return None
        return str(value) if -(10**15) < value < 10**15 else None

    def _fields(
        self, nodes: list[Node], items: list[Node], body: Any, message: str | None
    ) -> tuple[FieldError, ...]:
        fields = fields_in(nodes, items, body, message, self.status)
        if fields:
            return fields
        for node in nodes[:1]:
            for name in ONE_FIELD:
                value = node.get(name)
                if isinstance(value, str) and value and has_code_form(value) and "://" not in value:
                    return (FieldError(split_path(value), message),)
        return ()


def type_url(url: str, status: int) -> str | None:
    """`url` unless it only describes the status, as `https://tools.ietf.org/html/rfc9110#...` does."""
    if _TYPE_URL.search(url) or url.rstrip("/").endswith((str(status), "about:blank")):
        return None
    return url if has_code_form(url) else None


def error_nodes(body: Any) -> tuple[list[Node], list[Node]]:
    """The objects that describe the error, innermost first, and the several errors they list."""
    if isinstance(body, list):
        body = {"errors": body}
    if not isinstance(body, dict):
        return [], []
    node = Node(body)
    nodes = [node]
    items: list[Node] = []
    while node.inner and len(nodes) <= _DEPTH:
        name = _carrier(node)
        if name is None:
            break
        inner: Any = node[name]
        if isinstance(inner, list):
            items = [Node(i) for i in inner[:ITEM_LIMIT] if isinstance(i, dict)]
            break
        node = node.child(name, inner)
        nodes.append(node)
    if not items:
        items = _listed_beside(node)
    if isinstance(body, Tree):
        _name_by_root(body, nodes)
    nodes.reverse()
    if items and items[0].inner and not any(name not in CARRIERS for _, name in items[0].messages):
        # [{"error": {...}}], [{"status": "error", "errors": [...]}]
        more, further = error_nodes(items[0].members)
        if len(more) > 1 or further:
            return more + nodes, further
    return nodes, items


def _listed_beside(node: Node) -> list[Node]:
    """The errors that `node` lists under another name than `errors`."""
    for name, value in node.inner:
        if isinstance(value, list) and isinstance(value[0], dict) and is_list_name(name):
            return [Node(i) for i in value[:ITEM_LIMIT] if isinstance(i, dict)]
    return []


def _name_by_root(tree: Tree, nodes: list[Node]) -> None:
    """<NoSuchKeyException> names its error, <Error> and <ErrorResponse> do not."""
    root = next(iter(tree))
    if len(nodes) > 1 and _NAMING_ROOT.fullmatch(root):
        nodes[1].update(Node({"errorname": root}))
        nodes[1].codes.append((NO_RANK, "errorname"))


_NAMING_ROOT = re.compile(r"(?!Service|Api|API|Rest|Application|Web)[A-Z]\w*[a-z](?:Exception|Error|Fault)")


def _carrier(node: Node) -> str | None:
    """The member that is the error itself, or the list of them; None if `node` is the error."""
    for name in CARRIERS:
        inner = node.get(name)
        if not inner:
            continue
        if isinstance(inner, list) and isinstance(inner[0], dict):
            return name
        # `errors` with a message is an error, without one a map of fields.
        if isinstance(inner, dict) and (name != "errors" or holds_error(inner, node)):
            return name
    objects = [(name, inner) for name, inner in node.inner if isinstance(inner, dict)]
    if not objects:
        return _weak_carrier(node)
    if len(node) == 1:
        name, only = objects[0]
        if name == "errors":
            return None
        child = node.child(name, only)
        return name if len(only) == 1 or _speaks(child) or _weak_carrier(child) else None
    for name, _ in objects:
        if name.endswith(_CARRYING_ENDS) and not name.startswith("inner"):
            return name
    return _weak_carrier(node)


_CARRYING_ENDS = ("error", "exception", "fault")


def _weak_carrier(node: Node) -> str | None:
    """A member that is not called an error and holds it, if nothing beside it says anything."""
    for name in MESSAGES[:10]:
        value = node.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str) and value.strip():
            return None
    for name in WEAK_CARRIERS:
        inner = node.get(name)
        if isinstance(inner, dict) and inner and _speaks(node.child(name, inner)):
            return name
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            first = Node(inner[0])
            if (first.messages and ("code" in first or "errorcode" in first)) or (
                first.inner and _carrier(first) is not None
            ):
                return name
    return None


def _speaks(node: Node) -> bool:
    """Whether an object has a member an error has: a message, a carrier or a code."""
    return bool(node.messages) or "code" in node or any(name in node for name in CARRIERS)


def _node_message(node: Node) -> tuple[str | None, bool]:
    """The message in one object, and whether it says more than the name of a status."""
    fallback: str | None = None
    for _, name in node.messages:
        value = node[name]
        if isinstance(value, str):
            text: str | None = value.strip()
        elif isinstance(value, list) and name in CARRIERS and value and isinstance(value[0], dict):
            continue  # those are the errors themselves
        else:
            text = text_of(value)
        if not text:
            continue
        if is_phrase(text):
            if text.lower() not in _NOTHING:
                fallback = fallback or text
        elif is_code(text):
            if name in _SENTENCE_PLACES:
                fallback = fallback or text
        elif name not in _PROSE_ONLY or " " in text:
            return _tidy(text), True
    return (None if fallback is None else _tidy(fallback)), False


_NOTHING = frozenset({"none", "null", "ok", "success"})
_SENTENCE_PLACES = frozenset(
    listed("detail message msg description errormessage errordescription title faultstring errormsg errmsg")
)
_PROSE_ONLY = frozenset(listed("reason value issue cause info response result details err failure text"))


def _tidy(text: str) -> str:
    text = text.strip()[:MESSAGE_LIMIT]
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be printed
    return text


def _from(source: Node | None, nodes: list[Node], items: list[Node], message: str | None) -> list[Node]:
    """The nodes in the order in which their codes count, the one with the message first."""
    if source is None:
        return nodes + items[:1]
    if items and source is items[0]:
        return [source, *nodes]
    start = next(i for i, node in enumerate(nodes) if node is source)
    ordered = nodes[start:] + nodes[:start]
    # The first of several errors is this error, unless it is about one field and something sums up.
    if items and (not is_field_item(items[0]) or _node_message(items[0])[0] == message):
        ordered.append(items[0])
    return ordered


def header_code(headers: Mapping[str, str]) -> str | None:
    """The error's name that a header gives: one that ends in `errortype` or `error-code`."""
    for name in headers:
        if name.endswith(("errortype", "error-code")):
            value = headers[name].partition(":")[0].rpartition("#")[2].strip()
            if has_code_form(value):
                return value
    return None


def _tags(node: Node) -> str | None:
    """The path of a tagged union: {".tag": "path", "path": {".tag": "not_found"}} is path/not_found."""
    tags: list[str] = []
    for _ in range(_DEPTH):
        tag = node.get("tag")
        if not isinstance(tag, str) or not has_code_form(tag):
            break
        tags.append(tag)
        inner = node.get(squash(tag))
        if not isinstance(inner, dict):
            break
        node = Node(inner)
    return "/".join(tags) or None


def _listed_messages(nodes: list[Node]) -> str | None:
    """A sentence in a list of messages beside the error, where the error itself is only a word."""
    for node in nodes:
        for inside in node.around():
            for name in ("messages", "message", "errormessages", "warnings"):
                text = text_of(inside.get(name))
                if text and " " in text:
                    return _tidy(text)
    return None


def _word_for_message(nodes: list[Node]) -> str | None:
    """The word that stands where a sentence would: {"ok": false, "error": "invalid_auth"}."""
    for node in nodes:
        for name in ("error", "errors", "exception"):
            text = text_of(node.get(name))
            if text:
                return _tidy(text)
    return None


def body_id(near: list[Node]) -> str | None:
    """The request id in the body: beside the error, or in an object beside it (`neighbours`)."""
    best: str | None = None
    best_rank = NO_RANK
    for node in near:
        for rank, name in node.ids:
            value = node[name]
            if rank < best_rank and isinstance(value, (str, int)) and _is_id(rank, value):
                best, best_rank = str(value).strip()[:200], rank
    return best or None


def _is_id(rank: int, value: str | int) -> bool:
    """Whether `value` is an id of one request, and not the name of a kind of error."""
    if rank == DOUBTFUL_ID:
        return isinstance(value, str) and _UNIQUE.match(value) is not None
    if rank == ERROR_ID:
        return isinstance(value, str) and len(value) > 11 and _HAS_DIGIT.search(value) is not None
    return bool(value) and not isinstance(value, bool)


def body_wait(near: list[Node]) -> float | None:
    """The seconds the body asks to wait, told in the same places."""
    for node in near:
        for unit, name in node.waits:
            value = node[name]
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                continue
            seconds = seconds_of(str(value)[:64])
            if seconds is not None and seconds * unit <= LONGEST_WAIT:
                return seconds * unit
    return None


def neighbours(nodes: list[Node], items: list[Node]) -> list[Node]:
    """The objects that describe the error and the small ones that are their members."""
    near = nodes + items[:1]
    known = {id(node.members) for node in near}
    for node in tuple(near):
        for name, value in node.inner:
            if isinstance(value, dict) and len(value) < SMALL and id(value) not in known:
                near.append(node.child(name, value))
    return near
