"""
Leaked secrets in a text: formats that services document, each checked as far as its format allows.

    github_token, npm_token  `ghp_` ..., `npm_` and 36 letters or digits, of which the last 6 are the
                             CRC-32 of the 30 before, in base 62
    github_pat               `github_pat_`, 22 and 59 characters
    gitlab_token             `glpat-` and 20 characters
    aws_access_key_id        `AKIA`, `ASIA` ... and 16 characters of base 32
    google_api_key           `AIza` and 35 characters
    slack_token              `xoxb-` ..., digits, and digits and letters
    stripe_key               `sk_live_`, `rk_test_` ...
    sendgrid_key             `SG.`, 22 and 43 characters
    twilio_key               `SK` and 32 hexadecimal digits
    pypi_token               `pypi-` and a macaroon for pypi.org
    argus_key                `sk_`, `rsk_` and 32 characters: our own
    jwt                      three parts of base64url, of which the first is JSON with an `alg`
    private_key              `-----BEGIN ... PRIVATE KEY-----`
    assigned_secret          `password = ...`, `api_key: "..."`, by the value's entropy

Each pattern begins with a literal at a boundary, repeats one class of characters, and never more
often than a secret is long: the time is linear, whatever the text.

Source:
    GitHub, "Behind GitHub's new authentication token formats" (2021); the services' own pages.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

# A format without a check can be met by chance; one whose check fails may be of a newer kind.
CHECKED, FORMAT_ONLY, CHECK_FAILED = 1.0, 0.9, 0.5

# What is assigned to a name such as "password" is a secret from this length and entropy on, in
# characters and bits per character: above that of words and of names in code.
LEAST_LENGTH, LEAST_ENTROPY = 16, 3.5

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Secret(NamedTuple):
    """Where a secret stands, what it is, and how sure that is."""

    type: str
    start: int
    end: int
    score: float


class _Format(NamedTuple):
    type: str
    pattern: re.Pattern[str]
    score: Callable[[str], float] = lambda _: FORMAT_ONLY


def crc_base62(entropy: str) -> str:
    """The checksum that GitHub's and npm's tokens end with."""
    number, digits = zlib.crc32(entropy.encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits.rjust(6, "0")


def entropy(text: str) -> float:
    """Bits per character, by how often each occurs in `text` (Shannon)."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def _checksum(token: str) -> float:
    body = token.partition("_")[2]
    return CHECKED if crc_base62(body[:30]) == body[30:] else CHECK_FAILED


def _jwt(token: str) -> float:
    head = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return 0.0
    return CHECKED if isinstance(header, dict) and "alg" in header else 0.0


def _plain(pattern: str) -> re.Pattern[str]:
    """A pattern that begins and ends where a word does; its classes are those of ASCII."""
    return re.compile(rf"(?<![A-Za-z0-9_]){pattern}(?![A-Za-z0-9_])")


_FORMATS = (
    _Format("github_token", _plain(r"gh[pousr]_[A-Za-z0-9]{36}"), _checksum),
    _Format("npm_token", _plain(r"npm_[A-Za-z0-9]{36}"), _checksum),
    _Format("github_pat", _plain(r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}")),
    _Format("gitlab_token", _plain(r"glpat-[A-Za-z0-9_-]{20}")),
    _Format("aws_access_key_id", _plain(r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}")),
    _Format("google_api_key", _plain(r"AIza[A-Za-z0-9_-]{35}")),
    _Format("slack_token", _plain(r"xox[abeoprs]-[0-9]{6,15}-[A-Za-z0-9-]{10,100}")),
    _Format("stripe_key", _plain(r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,200}")),
    _Format("sendgrid_key", _plain(r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}")),
    _Format("twilio_key", _plain(r"SK[0-9a-f]{32}")),
    _Format("argus_key", _plain(r"r?sk_[A-Za-z0-9]{32}")),
    _Format("pypi_token", _plain(r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,1000}")),
    # The dot is no boundary here: what stands behind one is a part of something begun before.
    _Format(
        "jwt",
        re.compile(
            r"(?<![A-Za-z0-9_.-])eyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{2,8000}\.[A-Za-z0-9_-]{16,1500}"
        ),
        _jwt,
    ),
    _Format("private_key", re.compile(r"-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----")),
)

_PEM_END = re.compile(r"-----END (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----")

_ASSIGNED = re.compile(
    r"(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key)"
    r"[\"']?[ \t]{0,8}(?::=|=>|=|:)[ \t]{0,8}[\"']?"
    rf"([A-Za-z0-9+/=_.~!@#$%^&*-]{{{LEAST_LENGTH},256}})",
    re.IGNORECASE,
)


def secrets_in(text: str) -> list[Secret]:
    """Every secret of a known format in `text`, and what looks like one behind a telling name."""
    found = [*_known(text)]
    taken = sorted((each.start, each.end) for each in found)
    found += (each for each in _assigned(text) if not _overlaps(each, taken))
    return found


def _known(text: str) -> Iterator[Secret]:
    for each in _FORMATS:
        if each.type == "private_key":
            yield from _private_keys(text, each.pattern)
            continue
        for match in each.pattern.finditer(text):
            score = each.score(match.group())
            if score:
                yield Secret(each.type, match.start(), match.end(), score)


def _private_keys(text: str, begins: re.Pattern[str]) -> Iterator[Secret]:
    """Each from its first line to its last, or its first line alone if it does not end."""
    ends = [match.end() for match in _PEM_END.finditer(text)]
    at = 0
    heads = list(begins.finditer(text))
    for n, head in enumerate(heads):
        limit = heads[n + 1].start() if n + 1 < len(heads) else len(text)
        while at < len(ends) and ends[at] < head.end():
            at += 1
        end = ends[at] if at < len(ends) and ends[at] <= limit else head.end()
        yield Secret("private_key", head.start(), end, CHECKED if end > head.end() else FORMAT_ONLY)


def _assigned(text: str) -> Iterator[Secret]:
    for match in _ASSIGNED.finditer(text):
        bits = entropy(match.group(1))
        if bits >= LEAST_ENTROPY:
            sure = min(FORMAT_ONLY, 0.8 + (bits - LEAST_ENTROPY) / 10)
            yield Secret("assigned_secret", *match.span(1), round(sure, 3))


def _overlaps(secret: Secret, taken: list[tuple[int, int]]) -> bool:
    """Whether `secret` shares a character with one of `taken`, which are in order."""
    at = bisect_left(taken, (secret.end, 0))
    return at > 0 and taken[at - 1][1] > secret.start
