"""What one request is made of: its URL and query, its headers, its JSON body."""

from __future__ import annotations

import re
from json import JSONEncoder
from json import encoder as json_encoder
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from failwell.arguments import Arguments
from failwell.call.flow import URL_SAFE
from failwell.errors import ArgumentTypeError, UsageError
from failwell.redaction import Secret, kept_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHECK = Arguments()

# RFC 9110, section 5.6.2 and 5.5: what a header's name and value may hold.
NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def _json_encoder() -> Callable[[Any], str]:
    encoder = JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
    make: Any = getattr(json_encoder, "c_make_encoder", None)  # in CPython, and not in typeshed
    if make is None:
        return encoder.encode
    # `JSONEncoder` sets this up anew for every value, which costs as much as the encoding: 1.5 us
    # for a small body instead of 0.7.
    pieces = make(
        None,
        encoder.default,
        json_encoder.encode_basestring,
        None,
        encoder.key_separator,
        encoder.item_separator,
        encoder.sort_keys,
        encoder.skipkeys,
        encoder.allow_nan,
    )
    return lambda value: "".join(pieces(value, 0))


_encode_json = _json_encoder()


def url_of(base_url: str, path: str, params: Mapping[str, Any] | None) -> str:
    """
    Where a request goes: `path` below `base_url`, with `params` as its query.

    Raises:
        UsageError: `path` is the URL of another place, or cannot be sent.
    """
    if path.startswith("/"):
        url = base_url + path
    elif "://" in path:
        # The credentials of this client are for one origin; another needs a client of its own.
        if not path.startswith((base_url + "/", base_url + "?")):
            raise UsageError(f"{kept_url(path)} is not below this client's base URL {base_url}")
        url = path
    else:
        url = f"{base_url}/{path}"
    if "#" in url:
        url = url.replace("#", "%23")  # a fragment is never sent, and would swallow the query
    try:
        if not (url.isascii() and url.isprintable()) or " " in url:
            url = quote(url, safe=URL_SAFE)
        if params:
            pairs = _query_pairs(mapping("params", params))
            if pairs:
                url = f"{url}{'&' if '?' in url else '?'}{urlencode(pairs, doseq=True)}"
    except UnicodeEncodeError:
        pass
    else:
        return url
    # Raised here, so that the error with the text in it is no context of it.
    raise UsageError("path or params hold half a surrogate pair, which cannot be sent")


def mapping(name: str, value: Any) -> Any:
    """`value`, if it has `items()`, as a mapping has."""
    if isinstance(value, type) or not callable(getattr(value, "items", None)):
        raise ArgumentTypeError(f"{name} is a {type(value).__name__}; give a mapping")
    return value


def header_name(name: object) -> str:
    """A header's name as it is kept: in lower case."""
    name = CHECK.text("a header's name", name)
    if not NAME.fullmatch(name):
        raise UsageError(f"{name[:40]!r} is no header name")
    return name.lower()


def header_value(name: object, value: object) -> str:
    """The value of header `name`, without the blanks around it."""
    value = CHECK.text(f"the value of header {name!r}", value)
    if not _VALUE.fullmatch(value):
        # The value may be a secret with a line break behind it: it is not repeated.
        raise UsageError(
            f"the value of header {name!r} has characters that cannot be sent, such as a line break"
        )
    return value.strip(" \t")


def secret_parts(value: str) -> tuple[str, ...]:
    """What must not be kept of a credential: all of it, and the token behind its scheme."""
    _scheme, space, token = value.partition(" ")
    whole = (Secret(value), Secret(token)) if space and token else (Secret(value),)
    # A cookie, or the parameters of a scheme: each value by itself.
    parts = (part.partition("=")[2].strip('" ') for part in value.replace(",", ";").split(";"))
    return (*whole, *(Secret(part) for part in parts if part))


def json_body(value: Any) -> bytes:
    """`value` as a JSON body."""
    try:
        return _encode_json(value).encode("utf-8")
    except TypeError as exc:
        raise ArgumentTypeError(f"json cannot be encoded: {exc}") from None
    except RecursionError:
        raise UsageError("json cannot be encoded: it is nested too deeply, or contains itself") from None
    except ValueError as exc:
        raise UsageError(f"json cannot be encoded: {exc}") from None


def _query_pairs(params: Mapping[str, Any]) -> dict[str, Any]:
    """What `urlencode` writes; None values are left out, lists are repeated."""
    pairs: dict[str, Any] = {}
    for name, value in params.items():
        if type(name) is not str:
            CHECK.text("a name in params", name)
        if type(value) is str:
            pairs[name] = value
        elif isinstance(value, (list, tuple)):
            pairs[name] = [_query_value(name, item) for item in value if item is not None]
        elif value is not None:
            pairs[name] = _query_value(name, value)
    return pairs


def _query_value(name: str, value: Any) -> Any:
    """One value of the query. What has no text of its own (an object, a dict) is refused."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, bytes, float)):
        return value
    writer: Any = type(value).__str__
    if isinstance(value, int) or writer is not object.__str__:
        try:
            return str(value)
        except ValueError:  # an int of more digits than Python writes out
            pass
        raise UsageError(f"params[{name!r}] is a number too large to be sent")
    raise ArgumentTypeError(
        f"params[{name!r}] is a {type(value).__name__}; give a string, a number or a list of them"
    )
