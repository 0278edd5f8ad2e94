"""Answers and requests as bytes: whole, and damaged in the ways that nobody sends on purpose."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import cache

import h11

from failwell.drill.faults import Action, Fault

Headers = Sequence[tuple[bytes, bytes]]

# More than any client is made to keep of one answer's headers.
LARGE_HEADER_BYTES = 200 * 1024
LARGE_BODY_BYTES = 1 << 30
INFLATED_BYTES = 80 << 20


def head(status: int, headers: Headers, length: int | None, *, until_close: bool = False) -> bytes:
    """
    A status line and headers.

    Args:
        status: The HTTP status.
        headers: Without those that frame the body.
        length: For `Content-Length`; None for chunks.
        until_close: Instead: the body ends with the connection.
    """
    if until_close:
        framing = b"Connection: close"
    elif length is None:
        framing = b"Transfer-Encoding: chunked"
    else:
        framing = b"Content-Length: %d" % length
    lines = [b"HTTP/1.1 %d Answer" % status, *(b"%s: %s" % (n, v) for n, v in headers), framing]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def damaged(fault: Fault, status: int, headers: Headers, content: bytes) -> bytes:
    """
    The whole of the answer that `fault` makes of the service's.

    It says that the connection ends with it: else a client might send its next try on it before it
    sees the end, which is another failure (S12).
    """
    return _MADE[fault.action](fault, status, [*headers, (b"Connection", b"close")], content)


def tampered(request: h11.Request, body: bytes, *, consistent: bool) -> tuple[h11.Request, bytes]:
    """
    A request with bytes of its body turned over.

    Args:
        request: Its head.
        body: Its body.
        consistent: Whether its `Content-Digest` is made to fit.
    """
    at = len(body) // 2
    body = body[:at] + bytes(byte ^ 0xFF for byte in body[at : at + 16]) + body[at + 16 :]
    if not consistent:
        return request, body
    digest = b"sha-256=:" + b64encode(hashlib.sha256(body).digest()) + b":"
    rest = without(request, b"content-digest")
    return _like(request, [*rest.headers, (b"content-digest", digest)]), body


def without(request: h11.Request, name: bytes) -> h11.Request:
    """A request without one of its headers."""
    return _like(request, [(n, v) for n, v in request.headers if n != name])


def _like(request: h11.Request, headers: Headers) -> h11.Request:
    return h11.Request(
        method=request.method, target=request.target, headers=list(headers), http_version=request.http_version
    )


def _with_a_large_header(_: Fault, status: int, headers: Headers, content: bytes) -> bytes:
    filler = (b"X-Filler", b"x" * LARGE_HEADER_BYTES)
    return head(status, [*headers, filler], len(content)) + content


def _too_large(_: Fault, status: int, headers: Headers, content: bytes) -> bytes:
    return head(status, headers, LARGE_BODY_BYTES) + content


@cache
def _small() -> bytes:
    """
    `INFLATED_BYTES` blanks, compressed by gzip.

    Made of one compressed megabyte, again and again: what a full flush leaves behind does not
    look back (RFC 1951), so it may be repeated, and costs nothing.
    """
    packer = zlib.compressobj(9, wbits=-15)
    megabyte = b" " * (1 << 20)
    block = packer.compress(megabyte) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum, times = 0, INFLATED_BYTES >> 20
    for _ in range(times):
        checksum = zlib.crc32(megabyte, checksum)
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return head + block * times + b"\x03\x00" + struct.pack("<LL", checksum, INFLATED_BYTES)


def _inflated(_: Fault, status: int, headers: Headers, content: bytes) -> bytes:
    small = _small()
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(small), small)
    return head(status, [*headers, (b"Content-Encoding", b"gzip")], None) + chunk


def _cut_gzip(_: Fault, status: int, headers: Headers, content: bytes) -> bytes:
    # Stored, not squeezed: half of it is half of the text, which a careless client takes for the whole.
    packed = zlib.compressobj(0, wbits=31)
    whole = packed.compress(content) + packed.flush(zlib.Z_SYNC_FLUSH)
    half = whole[: len(whole) - max(1, len(content) // 2)]
    return head(status, [*headers, (b"Content-Encoding", b"gzip")], len(half)) + half


def _bad_gzip(_: Fault, status: int, headers: Headers, content: bytes) -> bytes:
    packed = bytearray(gzip.compress(content, mtime=0))
    for at in range(10, min(len(packed), 16)):  # behind the magic number and what goes with it
        packed[at] ^= 0xFF
    return head(status, [*headers, (b"Content-Encoding", b"gzip")], len(packed)) + bytes(packed)


def _replaced(fault: Fault, status: int, headers: Headers, content: bytes) -> bytes:
    other = {name.lower().encode("ascii"): value.encode("latin-1") for name, value in fault.headers.items()}
    kept = [(name, value) for name, value in headers if name.lower() not in other]
    return head(fault.status or status, [*kept, *other.items()], len(fault.body)) + fault.body


_MADE: dict[Action, Callable[[Fault, int, Headers, bytes], bytes]] = {
    Action.LARGE_HEADER: _with_a_large_header,
    Action.LARGE_BODY: _too_large,
    Action.INFLATE: _inflated,
    Action.CUT_GZIP: _cut_gzip,
    Action.BAD_GZIP: _bad_gzip,
    Action.REPLACE: _replaced,
}
