"""
Idempotency keys: one effect, however often the request comes.

A request with a key first claims its slot, in a short transaction of its own: a lease, and a
token that fences out whoever held the slot before. Then the handler works. Its effect and the
record of its answer are written in one transaction, which also checks the token; only after
that commit does the answer leave.

Killed before the commit, nothing has happened: the lease lapses and a retry does the work.
Killed after it, a retry gets the recorded answer. A worker that wakes up after its lease was
taken over finds its token gone, and its effect is rolled back.

What is recorded: a 2xx answer, and the 4xx answers the operation declares to be final. Anything
else frees the slot; a 5xx was rolled back, so nothing of it is left to protect.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from failwell.answer import Answer

KEPT_FOR = 24 * 3600.0  # seconds a record lives
LEASE = 30.0  # seconds a claim is held without news of its holder

# The draft wants a Structured Field String, quoted; what most clients send is the bare key.
# Both are taken and mean the same key.
_QUOTED = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')
_BARE = re.compile(r"[A-Za-z0-9._~:+/=\-]{1,255}")


def parse_key(value: str) -> str | None:
    """
    The key in an `Idempotency-Key` header.

    Returns:
        The key without quotes, 1 to 255 characters; None if the value is neither a quoted
        string nor a bare key, or is two of them.

    Source:
        draft-ietf-httpapi-idempotency-key-header, section 2.1; RFC 9651, section 3.3.3.
    """
    value = value.strip(" \t")
    if _BARE.fullmatch(value):
        return value
    quoted = _QUOTED.fullmatch(value)
    if quoted is None:
        return None
    return re.sub(r"\\(.)", r"\1", quoted[1])


def slot_of(tenant: str, principal: str, method: str, route: str, key: str) -> bytes:
    """
    Where the record of a request is kept: nobody's key can meet another's.

    The route's template stands for the operation, not the path as it was sent.
    """
    sha = hashlib.sha256()
    for part in (tenant, principal, method, route, key):
        raw = part.encode("utf-8", "surrogateescape")
        sha.update(b"%d:" % len(raw))  # lengths, so that no two lists of parts read the same
        sha.update(raw)
    return sha.digest()


def fingerprint_of(path: str, query: bytes, body: bytes) -> bytes:
    """What makes two requests the same: the path, the query and the body, byte by byte."""
    sha = hashlib.sha256()
    for part in (path.encode("utf-8", "surrogateescape"), query, body):
        sha.update(b"%d:" % len(part))
        sha.update(part)
    return sha.digest()


@dataclass(frozen=True, slots=True)
class Claim:
    """
    The right to do the work of a slot, until the lease lapses.

    Attributes:
        slot: Where the record goes.
        token: Random; a later claim on the slot has another.
        request_id: The request that holds it.
    """

    slot: bytes
    token: bytes
    request_id: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """
    The work of a slot is done, and this was its answer.

    Attributes:
        answer: The answer, without what belongs to one request alone.
        request_id: The request that did the work.
    """

    answer: Answer
    request_id: str


@dataclass(frozen=True, slots=True)
class InFlight:
    """
    Another request is doing the work.

    Attributes:
        lease_left: Seconds until its claim lapses at the latest.
    """

    lease_left: float


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The slot belongs to a request with another payload."""


Claimed: TypeAlias = "Claim | Recorded | InFlight | Mismatch"

# Not part of what was answered, or true for one request alone.
_NOT_REPLAYED = frozenset(
    {"connection", "content-length", "date", "keep-alive", "server", "set-cookie", "transfer-encoding",
     "x-request-id", "retry-after"}
)  # fmt: skip


def replayable(headers: dict[str, str]) -> dict[str, str]:
    """The headers of an answer that may be sent again with it."""
    return {
        name: value
        for name, value in headers.items()
        if name not in _NOT_REPLAYED and "ratelimit" not in name
    }
