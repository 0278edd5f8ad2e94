"""
Idempotency keys: one effect, however often the request comes.

A request with a key does the work of a slot. What keeps others from doing it, too, and what
follows a crash, is chosen for each operation, by its level:

`transactional`: the effect is in the store's own database. It and the record of its answer are
written in one transaction, so whoever sees the effect sees the record. A request looks for the
record before its work; the transaction that has the effect ends with the record, of which a slot
has one, so that whoever comes second is rolled back and gets the first one's answer; and before an
error leaves, it is looked for once more, so that nobody is told "there is one already" of what an
earlier try of his has made. Only after the commit does the answer leave. Killed before it, nothing
has happened; killed after it, a retry gets the recorded answer. Exactly one effect. Work that goes
on for longer than `CLAIMED_AFTER` claims its slot, as below, so that it is not begun twice.

At the other levels a request claims its slot before it begins, in a short transaction of its
own: a lease, and a token that fences out whoever held the slot before. A heartbeat renews the
lease while the handler works.

`resumable`: the effect is elsewhere, such as a charge at a payment service that knows
idempotency keys itself. The work is cut into steps; each has a key derived from the slot, the
same however often it is tried, and its result is kept. A retry after a crash goes on after the
last step that was kept. Exactly one effect, if the other service keeps its promise.

`at_most_once`: the effect is elsewhere, and doing it twice would be worse than not at all. A
claim whose lease lapsed is not taken over: the outcome is unknown, and stays so until the
operation's `settle` hook or an operator says what became of it. At most one effect.

What is recorded: a 2xx answer, and the 4xx answers the operation declares to be final; a 5xx at
`at_most_once`. Anything else frees the slot.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Literal, TypeAlias

    from failwell.answer import Answer

    Level: TypeAlias = Literal["transactional", "resumable", "at_most_once"]

LEVELS = ("transactional", "resumable", "at_most_once")

KEPT_FOR = 24 * 3600.0  # seconds a record lives
LEASE = 30.0  # seconds a claim is held without news of its holder
CLAIMED_AFTER = 0.25  # seconds that transactional work goes on before its slot is claimed

# The draft wants a Structured Field String, quoted; what most clients send is the bare key.
# Both are taken and mean the same key.
_QUOTED = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')
_BARE = re.compile(r"[A-Za-z0-9._~:+/=\-]{1,255}")

# Both, as JSON Schema has patterns.
KEY_PATTERN = f"^(?:{_BARE.pattern}|{_QUOTED.pattern})$"


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
    whose = _whose(tenant, principal, method, route)
    return hashlib.sha256(whose + _told_apart([key.encode("utf-8", "surrogateescape")])).digest()


@lru_cache(maxsize=1024)
def _whose(*names: str) -> bytes:
    return _told_apart([name.encode("utf-8", "surrogateescape") for name in names])


def _told_apart(parts: Iterable[bytes]) -> bytes:
    # With their lengths no two lists of parts read the same.
    return b"".join([b"%d:%b" % (len(part), part) for part in parts])


def fingerprint_of(key: str, *parts: bytes) -> bytes:
    """
    What makes two requests the same: the path, the query and the body, byte by byte.

    The idempotency key, of which the store has only a hash, seasons it: who reads the store
    cannot try bodies until one fits.
    """
    return hashlib.sha256(_told_apart([key.encode("utf-8", "surrogateescape"), *parts])).digest()


@dataclass(frozen=True, slots=True)
class Claim:
    """
    The right to do the work of a slot, until the lease lapses.

    Attributes:
        slot: Where the record goes.
        fingerprint: Of the request.
        token: Random; a later claim on the slot has another. The same claim may be asked for
            again, as a store's own client does when an answer of the store was lost.
        request_id: The request that holds it.
        steps: The results that earlier holders of the slot kept, by step.
    """

    slot: bytes
    fingerprint: bytes
    token: bytes
    request_id: str
    steps: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Recorded:
    """
    The work of a slot is done, and this was its answer.

    Attributes:
        answer: The answer, without what belongs to one request alone; None if it was too large
            to keep.
        request_id: The request that did the work.
    """

    answer: Answer | None
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


@dataclass(frozen=True, slots=True)
class Unsettled:
    """
    The holder of an `at_most_once` claim is gone, and nobody knows what it did.

    Together these name the claim: a later one on the slot has another request or lapses later.

    Attributes:
        slot: Whose outcome is to be settled.
        request_id: The request that held it.
        since: Unix seconds when its lease lapsed, as exactly as the store knows it.
    """

    slot: bytes
    request_id: str
    since: float


Claimed: TypeAlias = "Claim | Recorded | InFlight | Mismatch | Unsettled"

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
