"""The idempotency key of a call: one for each logical call, the same on every attempt."""

from __future__ import annotations

import re

from failwell.errors import ArgumentTypeError, UsageError

# draft-ietf-httpapi-idempotency-key-header, section 2; services cut at 255 (Stripe).
_KEY = re.compile(r"[\x21-\x7e]{1,255}")

# Methods that change something and say nothing about doing it twice. PUT and DELETE are
# idempotent by RFC 9110; a key does no harm there and lets the service tell a replay.
KEYED_METHODS = frozenset({"POST", "PATCH", "PUT", "DELETE"})


def checked_key(key: object) -> str:
    """
    `key`, if it can be sent.

    Raises:
        ArgumentTypeError: it is no string.
        UsageError: it is empty, longer than 255 characters, or has characters that are no
            visible ASCII.
    """
    if not isinstance(key, str):
        raise ArgumentTypeError(f"idempotency_key is a {type(key).__name__}; give a string")
    if not _KEY.fullmatch(key):
        raise UsageError(
            "idempotency_key must be 1 to 255 visible ASCII characters without spaces, such as a UUID"
        )
    return key
