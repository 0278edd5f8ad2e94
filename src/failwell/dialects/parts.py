"""Pieces that several dialects are made of."""

from __future__ import annotations

import re
from json import dumps, loads

from failwell.dialects.field_errors import split_path
from failwell.dialects.words import has_code_form
from failwell.failure import FieldError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from failwell.failure import Failure

JSON = "application/json"
FIELD_LIMIT = 500
MESSAGE_LIMIT = 4096


def json_bytes(body: Any) -> bytes:
    """`body` as UTF-8; a lone surrogate, which UTF-8 has no bytes for, stays escaped."""
    try:
        return dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return dumps(body, separators=(",", ":")).encode()


def plain(value: Any) -> Any:
    """`value` as JSON brings it back; what JSON has no form for as text, names and NaN among it."""
    try:
        text = dumps(value, default=str)
    except TypeError:  # a name that is no name in JSON, such as a date
        text = dumps(_named_by_text(value), default=str)
    # RFC 8259, section 6: NaN and Infinity are not permitted, though Python writes them.
    return loads(text, parse_constant=str)


def _named_by_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name if isinstance(name, _NAMES) else str(name): _named_by_text(member)
            for name, member in value.items()
        }
    return [*map(_named_by_text, value)] if isinstance(value, (list, tuple)) else value


# What JSON makes texts of by itself, such as "true" of True.
_NAMES = (str, int, float, bool, type(None))


def sentence(value: Any) -> str | None:
    """The text `value`, printable; None if it is none or empty."""
    if not isinstance(value, str):
        return None
    text = value.strip()[:MESSAGE_LIMIT]
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text or None


def word(value: Any, status: int | None = None) -> str | None:
    """The code in `value`: a word or a number that is more than the HTTP status again."""
    if isinstance(value, int) and not isinstance(value, bool):
        return None if value == status or abs(value) >= 10**15 else str(value)
    if isinstance(value, str) and has_code_form(value) and value != str(status):
        return value
    return None


def field_list(items: Any, *, path: str, message: str, code: str = "code") -> tuple[FieldError, ...]:
    """Field errors from a list of objects with these members; what has no path is left out."""
    if not isinstance(items, list):
        return ()
    found: list[FieldError] = []
    for item in items[:FIELD_LIMIT]:
        if not isinstance(item, dict):
            continue
        where = item.get(path)
        if isinstance(where, str):
            found.append(FieldError(split_path(where), sentence(item.get(message)), word(item.get(code))))
        elif isinstance(where, list) and all(isinstance(p, (str, int)) for p in where):
            found.append(FieldError(tuple(where), sentence(item.get(message)), word(item.get(code))))
    return tuple(found)


def written_fields(
    fields: Iterable[FieldError], spell: Any, *, path: str, message: str, code: str = "code"
) -> list[dict[str, Any]]:
    """Field errors as objects with these members; `spell` writes a path."""
    return [without_none({path: spell(f.path), message: f.message, code: f.code}, keep=path) for f in fields]


def without_none(members: dict[str, Any], keep: str = "") -> dict[str, Any]:
    """The members that say something."""
    return {name: value for name, value in members.items() if name == keep or value is not None}


def pointer(path: Sequence[str | int]) -> str:
    """A JSON pointer as a URI fragment: "#/items/0/name"; "#" for the whole."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def dotted(path: Sequence[str | int]) -> str:
    """Names and indexes joined by dots: "items.0.name"."""
    return ".".join(map(str, path))


def bracketed(path: Sequence[str | int]) -> str:
    """Names joined by dots, indexes in brackets: "items[0].name"."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def field_map(fields: Iterable[FieldError], whole: str) -> dict[str, list[str]]:
    """A map from dotted paths to messages; what concerns the whole input stands under `whole`."""
    told: dict[str, list[str]] = {}
    for f in fields:
        told.setdefault(dotted(f.path) or whole, []).append(f.message or f.code or "is invalid")
    return told


def phrase(status: int | None) -> str:
    """The name of a status, such as "Not Found"."""
    from http import HTTPStatus

    try:
        return HTTPStatus(status or 500).phrase
    except ValueError:
        return "Error"


def headline(failure: Failure) -> str:
    """What `failure` says for people, or the name of its status where it says nothing."""
    return failure.message or phrase(failure.status)


def escaped(text: str) -> str:
    """`text` as XML content; characters that XML has no way to write are left out."""
    text = _NO_XML.sub("", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
