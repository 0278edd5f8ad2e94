"""Telling words for programs, sentences for people and the names of statuses apart."""

from __future__ import annotations

import re
from functools import lru_cache


def listed(words: str) -> tuple[str, ...]:
    """The words of a text, in order: a table that is read rather than parsed by eye."""
    return tuple(words.split())


# RFC 9110 section 15 and its registry, with the older spellings, and what says nothing at all.
_PHRASES = frozenset(
    """bad request|unauthorized|payment required|forbidden|not found|method not allowed|not acceptable
    |proxy authentication required|request timeout|request time-out|conflict|gone|length required
    |precondition failed|payload too large|content too large|request entity too large|uri too long
    |request-uri too long|request-uri too large|unsupported media type|range not satisfiable
    |requested range not satisfiable|expectation failed|misdirected request|unprocessable entity
    |unprocessable content|locked|failed dependency|too early|upgrade required|precondition required
    |too many requests|request header fields too large|unavailable for legal reasons
    |internal server error|not implemented|bad gateway|service unavailable|service temporarily unavailable
    |gateway timeout|gateway time-out|http version not supported|insufficient storage|loop detected
    |network authentication required|unauthenticated|error|errors|failure|failed|fail|none|null|unknown
    |unknown error|an error occurred|an error has occurred|no message available|exception|ok|problem
    |request failed|error occurred|server error|client error|http error|n/a""".replace("\n    ", "").split(
        "|"
    )
)
_STATUS_PREFIX = re.compile(
    r"(?:http(?:/[\d.]+)?[ :]*)?(?:error|status)?(?: code)?[ :]*(?:\d{3}\b)?[ :.\-\u2013\u2014]*"
)

_CODE = re.compile(r"[A-Za-z_][\w.:/#$-]*|-?\d+(?:\.\d+)*|[\w-]*[\d_][\w.-]*")
_HUMP = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]|[_\d.:/-]|^[A-Z]{2,}$|^[a-z]")

# Words that stand where a code would and only say that this is an error.
NO_CODES = frozenset(
    listed(
        """error errors fault failure failed fail ko nok ok success false true null none unknown client server
    user sender receiver service status object exception string about:blank field"""
    )
)


def is_phrase(text: str) -> bool:
    """Whether `text` is no more than the name of a status, or of nothing: "404 Not Found", "Error"."""
    return len(text) <= 60 and _is_phrase(text)


# Codes and phrases come again and again, sentences do not: only short texts are remembered.
@lru_cache(maxsize=512)
def _is_phrase(text: str) -> bool:
    text = text.strip().rstrip(".!").lower()
    if text in _PHRASES:
        return True
    match = _STATUS_PREFIX.match(text)
    rest = text[match.end() :] if match else text
    return rest == "" or rest in _PHRASES


def is_code(text: str) -> bool:
    """
    Whether `text` is a word for programs: no spaces, and not one that a sentence could be
    ("Forbidden", which is a name of a status, or "Throttled").
    """
    return len(text) <= 120 and " " not in text and _is_code(text)


@lru_cache(maxsize=1024)
def _is_code(text: str) -> bool:
    return _CODE.fullmatch(text) is not None and _HUMP.search(text) is not None


def has_code_form(text: str) -> bool:
    """Whether `text` could be a code where a code is expected: no spaces, not too long."""
    return 0 < len(text) <= 200 and " " not in text and text.isprintable()
