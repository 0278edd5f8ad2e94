"""
What kind of text a body is, found by looking at it.

The content type is only believed where the bytes leave it open: JSON is sent as `text/html`, HTML
as `application/json`, and proxies forget the header altogether.

Everything here takes linear time and never raises: a body is read up to a limit, markup without
entities, nesting to a depth.
"""

from __future__ import annotations

import re
from json import JSONDecoder
from math import isfinite

from failwell.redaction import BODY_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer

# Larger documents are no error bodies. Their beginning is still read, as a cut one.
JSON_LIMIT = 1024 * 1024
# Deeper than anyone spells an error, and far from the recursion limit of whatever walks it later.
DEPTH_LIMIT = 64


class Body:
    """
    A parsed body.

    Attributes:
        kind: "json", "xml", "form", "page" (HTML), "text" or "none".
        value: The JSON value, the `Tree` of XML, the mapping of a form; None for the other kinds.
        text: The body as text; "" for none.
        whole: Whether `value` is all of the body; False for one that was cut or broken.
    """

    __slots__ = ("kind", "text", "value", "whole")

    def __init__(self, kind: str, value: Any, text: str, whole: bool = True) -> None:
        self.kind = kind
        self.value = value
        self.text = text
        self.whole = whole

    def kept(self) -> Any:
        """The body as a failure keeps it: parsed JSON, else text, capped; None if there is none."""
        if self.kind == "none":
            return None
        if self.kind == "json" and self.whole and len(self.text) <= BODY_LIMIT:
            return self.value
        return self.text[:BODY_LIMIT]


def parse(answer: Answer) -> Body:
    """The body of `answer`, as what it looks like."""
    raw = answer.body
    if not raw:
        return Body("none", None, "")
    content_type = answer.headers.get("content-type", "")
    if len(raw) > JSON_LIMIT:
        return _parse_large(raw[: BODY_LIMIT * 4], content_type)
    text = _decoded(raw, content_type)
    start = text[:1]
    if start in ("{", "["):
        return _parse_json(text)
    return _parse_other(text, content_type)


_DECODER = JSONDecoder(
    # NaN is not equal to itself, and no JSON writer of the standard takes it.
    parse_constant=lambda _: None,
    parse_float=lambda digits: value if isfinite(value := float(digits)) else None,
)

# Written before JSON so that a browser does not run it as a script.
_SCRIPT_GUARD = re.compile(r"(?:\)\]\}',?|while\s*\(1\);|for\s*\(;;\);)\s*(?=[\[{])")
_CALLBACK = re.compile(r"(?:/\*\*/\s*)?[\w$.]{1,100}\((?=\s*[\[{])")
_FORM = re.compile(r"[\w.%+\-\[\]]{1,64}=[^&\s<>{}]*(?:&[\w.%+\-\[\]]{1,64}=[^&\s<>{}]*)*\Z")
_HTML_START = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--|<!doctype\s+html|<html|<head|<body|<title|<h[1-6]\b|<center|<p\b|<div\b)",
    re.I,
)
_EVENT_FIELD = re.compile(r"(?:event|data|id|retry):")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", re.I)
_UNREADABLE = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd]")


def _parse_json(text: str) -> Body:
    value = strict_json(text)
    if value is not None:
        return Body("json", value, text)
    from failwell.dialects.broken_json import loose_json

    value = loose_json(text[: BODY_LIMIT * 4])
    if isinstance(value, (dict, list)) and value:
        return Body("json", value, text, whole=False)
    return Body("text", None, text)


def strict_json(text: str) -> Any:
    """The JSON value of `text`; None if it is none, or too deep."""
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    if text.count("[") + text.count("{") > DEPTH_LIMIT and _too_deep(value):
        return None
    return value


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def _parse_large(head: bytes, content_type: str) -> Body:
    """The beginning of a body that is too large to be an error; its facts may be there all the same."""
    text = _decoded(head, content_type)
    if text[:1] in ("{", "["):
        from failwell.dialects.broken_json import loose_json

        value = loose_json(text)
        if isinstance(value, (dict, list)) and value:
            return Body("json", value, text, whole=False)
    return _parse_other(text, content_type)


def _parse_other(text: str, content_type: str) -> Body:
    if not text:
        return Body("none", None, "")
    if text[0] == "<":
        return _parse_markup(text)
    if text[0] == '"':
        value = strict_json(text)
        if isinstance(value, str):
            inner = strict_json(value) if value[:1] in ("{", "[") else None
            return Body("json", value if inner is None else inner, text)
    guard = _SCRIPT_GUARD.match(text)
    if guard is not None:
        return _parse_json(text[guard.end() :])
    callback = _CALLBACK.match(text)
    if callback is not None:
        return _parse_json(text[callback.end() :].rstrip().rstrip(";").rstrip(")"))
    if _EVENT_FIELD.match(text):
        event = _event_data(text)
        if event[:1] in ("{", "["):
            return _parse_json(event)
    form = "form-urlencoded" in content_type or ("error" in text and _FORM.match(text[:4096]))
    if form and "=" in text:
        return Body("form", _form(text), text)
    if len(_UNREADABLE.findall(text[:1000])) * 10 > len(text[:1000]):
        return Body("none", None, "")  # compressed, encrypted or a picture: nothing a person reads
    return Body("text", None, text)


def _parse_markup(text: str) -> Body:
    if _HTML_START.match(text) and "<!doctype html" not in text[:40].lower():
        page = True
    else:
        page = "<html" in text[:1500].lower() or "<!doctype" in text[:1500].lower()
    if page:
        return Body("page", None, text)
    from failwell.dialects.xml_tree import tree_of

    tree = tree_of(text[: BODY_LIMIT * 4])
    return Body("page", None, text) if tree is None else Body("xml", tree, text)


def _event_data(text: str) -> str:
    """The data of the first server-sent event that has any."""
    data: list[str] = []
    for line in text[: BODY_LIMIT * 4].splitlines():
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            break
    return "\n".join(data).strip()


def _form(text: str) -> dict[str, str]:
    from urllib.parse import unquote_plus

    fields: dict[str, str] = {}
    for pair in text[:BODY_LIMIT].strip().split("&"):
        name, _, value = pair.partition("=")
        fields.setdefault(unquote_plus(name), unquote_plus(value))
    return fields


def _decoded(raw: bytes, content_type: str) -> str:
    """`raw` as text, without a byte order mark and without white space around it."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = _decoded_otherwise(raw, content_type)
    if "\x00" in text[:2]:  # UTF-16 without a mark is valid UTF-8, with a NUL for every other letter
        first, second = raw[0], raw[1] if len(raw) > 1 else 0
        if _is_letter(first if second == 0 else second) and (first == 0 or second == 0):
            text = raw.decode("utf-16-le" if second == 0 else "utf-16-be", "replace")
    return text.strip("\ufeff \t\r\n")


def _is_letter(byte: int) -> bool:
    return 0x20 <= byte < 0x7F


def _decoded_otherwise(raw: bytes, content_type: str) -> str:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace")
    charset = _CHARSET.search(content_type)
    if charset is not None:
        try:
            return raw.decode(charset[1], "replace")
        except (LookupError, ValueError, TypeError):
            pass
    return raw.decode("utf-8", "replace")
