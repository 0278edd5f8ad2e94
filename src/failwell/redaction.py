"""
What may be kept of a request and its answer.

By allow-list: a header or a query value that nobody thought of is not kept. A list of
forbidden names would keep tomorrow's secret until somebody remembers to add it.
"""

from __future__ import annotations

import re
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

MASK = "[redacted]"

# Headers of an answer that help to understand a failure and name nobody.
# Request ids have many spellings; `failwell.headers` keeps their list and adds it here by suffix.
KEPT_HEADERS = frozenset(
    {
        "allow",
        "age",
        "cf-ray",
        "connection",
        "content-encoding",
        "content-language",
        "content-length",
        "content-type",
        "date",
        "deprecation",
        "idempotency-replayed",
        "idempotent-replayed",
        "ratelimit",
        "retry-after",
        "server",
        "sunset",
        "traceparent",
        "transfer-encoding",
        "vary",
        "via",
        "warning",
        "www-authenticate",
        "x-cache",
        "x-content-type-options",
        "x-powered-by",
        "x-should-retry",
    }
)
KEPT_SUFFIXES = (
    "request-id",
    "requestid",
    "correlation-id",
    "trace-id",
    "-retry-after",
    "retry-after-ms",
    "-errortype",
    "-error-code",
)
KEPT_PARTS = ("ratelimit", "rate-limit")

# Query parameters whose values steer a listing. Everything else is masked.
KEPT_QUERY = frozenset(
    {"after", "before", "fields", "filter", "include", "limit", "offset", "order", "page",
     "page_size", "per_page", "since", "size", "sort", "state", "status", "until", "version"}
)  # fmt: skip

# 64 KiB of body tell a person everything; a process that keeps a thousand errors must not drown.
BODY_LIMIT = 64 * 1024


class Secret(str):
    """A string that prints as a mask, so that no traceback, log or `repr` shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


# A service sends the same names with every answer.
@lru_cache(maxsize=512)
def kept_header(name: str) -> bool:
    """Whether the header `name` (lower case) may be kept."""
    return name in KEPT_HEADERS or name.endswith(KEPT_SUFFIXES) or any(part in name for part in KEPT_PARTS)


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer that may be kept, names in lower case."""
    return {name: headers[name] for name in headers if kept_header(name)}


def kept_url(url: str) -> str:
    """
    `url` without user info, without fragment, with the values of query parameters masked
    unless their names are on the allow-list.

    Text that is no URL is returned up to its first "#", its query treated likewise. Of an
    address whose port is no number, only the scheme is kept: a password with a "/", "?" or "#"
    in it looks like that.
    """
    head, _, _ = url.partition("#")
    head, mark, query = head.partition("?")
    scheme, slashes, rest = head.partition("//")
    if slashes and "/" not in scheme:
        authority, slash, path = rest.partition("/")
        host = authority.rpartition("@")[2]
        if not _PORT.fullmatch(host):
            return f"{scheme}//***"
        head = f"{scheme}//{host}{slash}{path}"
    elif ":" in (user := head.partition("/")[0].rpartition("@")[0]):
        head = head[len(user) + 1 :]  # "user:password@host", written without a scheme
    if not mark:
        return head
    return f"{head}?{'&'.join(_kept_pair(pair) for pair in query.split('&'))}"


# A host, perhaps an address in brackets, and perhaps a port.
_PORT = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::\d*)?")


# The allow-list decides what is kept of a URL. These names decide what is sought in the service's
# own words besides: masking every value there would tear "No run is called 'nightly'".
_SECRET_QUERY = re.compile(r"key|token|secret|sig|pass|pwd|auth|credential|session|jwt|code", re.I)


def secrets_in_url(url: str) -> tuple[str, ...]:
    """The passwords and tokens in `url`, as written there and decoded, for `scrub`."""
    if "?" not in url and "@" not in url:
        return ()
    from urllib.parse import unquote, unquote_plus

    head, _, query = url.partition("#")[0].partition("?")
    found: list[str] = []
    userinfo = head.partition("//")[2].partition("/")[0].rpartition("@")[0]
    for part in (userinfo, userinfo.partition(":")[2]):
        found += (part, unquote(part))
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name.lower() not in KEPT_QUERY and _SECRET_QUERY.search(name):
            found += (value, unquote_plus(value))
    return tuple(Secret(part) for part in dict.fromkeys(found) if part)


def _kept_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    return f"{name}{equals}{value if name.lower() in KEPT_QUERY or not value else '***'}"


def scrub(value: Any, secrets: Iterable[str]) -> Any:
    """
    `value` with every occurrence of the `secrets` masked, through lists and mappings.

    A service may quote the key it refuses; this is the second net, behind the allow-list.
    Secrets shorter than six characters are left alone, for masking them would tear words. What
    is nested deeper than anybody looks is masked whole.
    """
    # The longest first: a secret that is part of another must not leave the other's rest behind.
    needles = sorted((s for s in secrets if len(s) >= 6), key=len, reverse=True)
    return _scrub(value, needles, 32) if needles else value


def _scrub(value: Any, needles: list[str], depth: int) -> Any:
    if isinstance(value, str):
        for needle in needles:
            if needle in value:
                value = str(value).replace(needle, MASK)
            if needle[:_TELLTALE] in value[-len(needle) - 3 :]:
                value = _without_beginning(value, needle)
        return value
    if depth == 0 and isinstance(value, (dict, list, tuple)):
        return MASK
    if isinstance(value, dict):
        return {_scrub(k, needles, depth - 1): _scrub(v, needles, depth - 1) for k, v in value.items()}
    if isinstance(value, list):
        return [_scrub(item, needles, depth - 1) for item in value]
    if isinstance(value, tuple):
        return tuple(_scrub(item, needles, depth - 1) for item in value)
    return value


# So much of a secret is known for its beginning; less ("Bearer ") may be a word.
_TELLTALE = 8


def _without_beginning(text: str, needle: str) -> str:
    """`text` with its end masked if that is the beginning of `needle`: long texts are cut before."""
    end = len(text.rstrip(".\u2026"))
    at = text.find(needle[:_TELLTALE], max(0, len(text) - len(needle) - 3))
    while at >= 0:
        if needle.startswith(text[at:end]):
            return f"{text[:at]}{MASK}{text[end:]}"
        at = text.find(needle[:_TELLTALE], at + 1)
    return text
