"""What the services that store files read in a request: names, digests, pages."""

from __future__ import annotations

import base64
import binascii
import re
from contextlib import suppress

from starlette.requests import Request

from failwell.failure import FieldError
from failwell.service import Refusal, RefusedRequest

# RFC 9530, section 2: a dictionary of byte sequences. Others than SHA-256 may stand beside it.
_SHA256 = re.compile(r"(?:^|,)[ \t]*sha-256[ \t]*=[ \t]*:([A-Za-z0-9+/=]*):[ \t]*(?:$|[,;])")


def announced_digest(request: Request) -> bytes:
    """
    The SHA-256 that the body is said to have.

    Raises:
        RefusedRequest: none is said, or it cannot be read.
    """
    where = ("header", "content-digest")
    said = request.headers.get("content-digest")
    if said is None:
        raise invalid(where, "Field required", "missing")
    found = _SHA256.search(said)
    with suppress(binascii.Error):
        digest = base64.b64decode(found[1], validate=True) if found else b""
        if len(digest) == 32:
            return digest
    raise invalid(where, "A digest is sha-256=:<base64 of 32 bytes>:", "malformed")


def digest_field(sha256: str) -> str:
    """The `Content-Digest`, or `Repr-Digest`, of bytes with this SHA-256, which is in hexadecimal."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def is_name(name: str) -> bool:
    """Whether a file may be called that: printable, no slash, none that stands for a folder."""
    return (
        0 < len(name) <= 255 and name.isprintable() and name not in (".", "..") and not set("/\\") & set(name)
    )


def paging(request: Request) -> tuple[int, int]:
    """The page's size and where it begins: above this row."""
    return integer(request, "limit", 100, 1, 1000), integer(request, "cursor", 0, 0, 2**62)


def integer(request: Request, name: str, default: int, least: int, most: int) -> int:
    """
    A number in the query.

    Raises:
        RefusedRequest: it is none, or out of range.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        words = (
            "This is no cursor of ours." if name == "cursor" else f"{name} is a number from {least} to {most}"
        )
        raise invalid(("query", name), words, "out_of_range")
    return int(text)


def invalid(path: tuple[str | int, ...], message: str, code: str) -> RefusedRequest:
    """What to raise for a part of a request that cannot be used."""
    return RefusedRequest(Refusal("validation_failed", fields=(FieldError(path, message, code),)))
