"""
What looks like a secret in pasted text.

The library keeps by allow-list and never needs to guess. Pasted text is another matter: people
paste whole terminal sessions, and a service may quote in its message the key it refuses. Two nets:
values that stand in a secret's place in the input (an `Authorization` header, `?api_key=`) are
masked wherever they appear, and whatever is shaped like a token is masked, too. Masking a harmless
word is a nuisance; printing a key is an incident: when in doubt, it is masked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from failwell.redaction import MASK, kept_header, kept_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

# Below this many characters a value is a word, and masking it would tear sentences.
SHORTEST = 6

# A header that may be kept is named on an allow-list; of the others these carry secrets.
_SECRET_HEADER = re.compile(
    r"auth|cookie|key|token|secret|password|signature|credential|session|assertion|csrf|xsrf"
)
_NO_SECRET = frozenset(
    {"idempotency-key", "www-authenticate", "proxy-authenticate", "surrogate-key", "sec-websocket-key"}
)
_SCHEMES = frozenset(
    {"bearer", "basic", "digest", "token", "negotiate", "apikey", "key", "none", "httponly", "secure"}
)

_NAMED = re.compile(
    r"""(?ix)
    (\b[\w.-]{0,40}(?:passw(?:or)?d|passwd|secret|(?:api|access|private)[ _.-]?key|token|credentials?
        |authorization|cookie|signature)\b)
    ( ["'`]{0,2} \s* (?:[:=]\s*|\bis\s+|\bwas\s+|\s) ["'`]? )
    ([^\s"'`,;<>&]{6,4096})
    """
)
_QUOTED = re.compile(
    r"""(?ix)(\b(?:passw(?:or)?d|passwd|secret|key|token|credentials?|signature)["'`]?\s*(?:[:=]\s*|\bis\s+|\bwas\s+)?)
    (["'`])([^"'`\n]{1,400})\2"""
)
_SCHEME = re.compile(r"(?i)\b(Bearer|Basic|Digest|Negotiate|ApiKey|Token)(\s+|%20)([A-Za-z0-9._~+/=:-]{6,})")
_KNOWN = re.compile(
    r"""(?x)
    \beyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,4}                    # JWT
    | \b(?:A3T|AKIA|ASIA|AGPA|AIDA|AROA|ABIA|ACCA)[A-Z0-9]{12,}        # AWS
    | \bAIza[A-Za-z0-9_-]{20,}                                         # Google
    | \b(?:sk|pk|rk|ago|rsk|whsec|gh[pousr]|github_pat|glpat|xox[abeprs]|xapp|hf|npm|pypi|shp(?:at|ca|pa|ss)
        |dop_v1|lin_api|sq0[a-z]{3}|key|tok|secret)[-_](?=[A-Za-z0-9_.-]*[0-9A-Z])[A-Za-z0-9_.=-]{6,}
    | \b(?:SG|ya29)\.[A-Za-z0-9_.-]{10,}                               # SendGrid, Google
    | -----BEGIN[ A-Z]*PRIVATE[ ]KEY-----[^-]*(?:-----END[ A-Z]*-----)?
    """
)
_USERINFO = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]{1,20}://)[^/@\s'\"<>]{1,512}@")
_QUERY = re.compile(r"([?&])([\w.\-\[\]%]{1,80})=([^&;\s'\"<>)\]}]{1,4096})")
_LONG = re.compile(r"[A-Za-z0-9+/=_~-]{20,}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INNER_CAPITAL = re.compile(r"[a-z][A-Z]|\d[A-Z]|[A-Z]\d")
_PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def masked(text: str, secrets: Iterable[str] = (), *, keep: tuple[str, ...] = ()) -> str:
    """
    `text` without secrets, without control characters.

    Args:
        text: What a service said, or part of it.
        secrets: Values known to be secret.
        keep: Values that may look random and are wanted, such as the request id.
    """
    text = _printable(text)
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    text = _USERINFO.sub(rf"\1{MASK}@", text)
    text = _QUERY.sub(_query, text)
    text = _KNOWN.sub(MASK, text)
    text = _SCHEME.sub(_scheme, text)
    text = _QUOTED.sub(rf"\1\2{MASK}\2", text)
    text = _NAMED.sub(_named, text)
    return _LONG.sub(lambda found: _long(found, text, keep), text)


def masked_all(value: Any, secrets: tuple[str, ...], *, keep: tuple[str, ...] = ()) -> Any:
    """`value`, plain JSON data, with every string in it masked."""
    if isinstance(value, str):
        return masked(value, secrets, keep=keep)
    if isinstance(value, dict):
        return {
            masked(str(k), secrets, keep=keep): masked_all(v, secrets, keep=keep) for k, v in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [masked_all(item, secrets, keep=keep) for item in value]
    return value


def in_headers(headers: Mapping[str, str]) -> list[str]:
    """The secret values among `headers`, names in lower case."""
    found: list[str] = []
    for name, value in headers.items():
        if name in _NO_SECRET or kept_header(name) or not _SECRET_HEADER.search(name):
            continue
        found += parts_of(value)
    return found


def parts_of(value: str) -> list[str]:
    """A secret header's value, whole and in the parts that may be quoted alone."""
    parts = [value.strip()]
    for part in re.split(r"[;,\s]+", value):
        name, equals, rest = part.partition("=")
        if equals and rest.strip("="):
            # The name of a cookie is none, its value is.
            parts.append(rest.strip("\"'"))
        elif name:
            parts.append(part)
    if value.lower().startswith("basic "):
        parts += _in_basic(value[6:].strip())
    return [p for p in parts if len(p) >= SHORTEST and p.lower() not in _SCHEMES and not _is_cookie_word(p)]


def in_url(url: str) -> list[str]:
    """What `kept_url` would mask in `url`: user info, values of query parameters."""
    from urllib.parse import unquote

    kept = kept_url(url)
    found = []
    for value in re.findall(r"[?&;][^=&;#\s]+=([^&;#\s]+)", url) + re.findall(r"://([^/@\s]+)@", url):
        for part in (value, unquote(value), *value.split(":")):
            if len(part) >= SHORTEST and part not in kept:
                found.append(part)
    return found


def ordered(secrets: Iterable[str]) -> tuple[str, ...]:
    """Each once, longest first: a part must not tear the whole and leave the rest of it."""
    return tuple(sorted({s for s in secrets if len(s) >= SHORTEST}, key=len, reverse=True))


def _in_basic(coded: str) -> list[str]:
    import base64
    import binascii

    try:
        pair = base64.b64decode(coded, validate=False).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return []
    return [pair, *pair.split(":", 1)] if ":" in pair else []


def _is_cookie_word(part: str) -> bool:
    return part.lower().rstrip("/") in {
        "samesite",
        "httponly",
        "secure",
        "strict",
        "path",
        "domain",
        "expires",
        "max-age",
    }


# C0 and C1 controls move the cursor, start escape sequences and ring; the rest turns text round or
# hides it. None of them is anything a person wants to read.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_ESCAPE = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\\\)|[@-_])")


def _printable(text: str) -> str:
    return _CONTROL.sub("", _ESCAPE.sub("", text))


def _query(found: re.Match[str]) -> str:
    mark, name, value = found.groups()
    return found[0] if kept_url(f"x?{name}={value}").endswith(f"={value}") else f"{mark}{name}={MASK}"


def _scheme(found: re.Match[str]) -> str:
    scheme, space, value = found.groups()
    return f"{scheme}{space}{MASK}" if _is_credential(value) else found[0]


def _named(found: re.Match[str]) -> str:
    name, between, value = found.groups()
    quoted = between.rstrip(" ")[-1:] in "\"'`:=" and between.strip() != ""
    return f"{name}{between}{MASK}" if (quoted or _is_credential(value)) and value != MASK else found[0]


def _is_credential(word: str) -> bool:
    """Whether `word`, after "Bearer" or "token", is the thing itself and not the sentence going on."""
    return (
        any(c.isdigit() for c in word)
        or word.endswith("=")
        or len(word) >= 16
        or re.search(r"[a-z][A-Z]", word) is not None
    )


def _long(found: re.Match[str], text: str, keep: tuple[str, ...]) -> str:
    word = found[0]
    if any(word in wanted and wanted in text for wanted in keep):
        return word
    if _UUID.fullmatch(word):
        return word
    if word.startswith("/") or text[: found.start()].endswith(("://", ".")):
        return _path(word)
    return MASK if _is_random(word) else word


def _path(word: str) -> str:
    """A path with its random parts masked: single ones, and base64 with slashes of its own."""
    parts = word.split("/")
    start = 0
    while start < len(parts):
        end = start + 1
        if _is_random(parts[start]):
            parts[start] = MASK
        # Paths are short words, too; what is drawn by lot has capitals in the middle of its parts.
        while end < len(parts) and len("/".join(parts[start : end + 1])) <= 64:
            end += 1
        for stop in range(end, start + 1, -1):
            whole = parts[start:stop]
            if sum(_INNER_CAPITAL.search(p) is not None for p in whole) >= 2 and _is_random("/".join(whole)):
                parts[start:stop] = [MASK]
                break
        start += 1
    return "/".join(parts)


def _is_random(word: str) -> bool:
    """
    Whether `word` looks drawn by lot: long, and made of many short runs of one kind of character.

    Readable names have runs of five or six letters; base62 has runs of less than two.
    """
    if len(word) < 20 or _UUID.fullmatch(word):
        return False
    pieces = _PIECE.findall(word)
    return len(pieces) >= 6 and sum(map(len, pieces)) / len(pieces) < 3.2
