"""
Content encodings, undone here for every engine alike.

A library that undoes them itself returns what it has when a compressed body ends early, as six
Python stacks do: half an answer with status 200. So engines ask for `gzip, deflate`, take the
body as it came, and this module checks that the compressed stream is complete.
"""

from __future__ import annotations

import zlib

from failwell.call.messages import Reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

ACCEPT_ENCODING = "gzip, deflate"

# Fewer codings are in use on the web than are registered, and nobody stacks more than two.
_MOST_CODINGS = 4
# Each further gzip member copies what follows it, which must not become quadratic.
_MOST_MEMBERS = 64
_WBITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class Head:
    """
    What the head of an answer says about its body.

    Args:
        headers: Its header lines.

    Attributes:
        expected: The bytes announced; None if it does not say.
        coding: The content codings, joined with commas; None for none.
    """

    __slots__ = ("coding", "expected")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.expected: int | None = None
        self.coding: bytes | None = None
        for name, value in headers:
            # Its length tells a name apart from most others without making it lower case.
            size = len(name)
            if size == 14:
                if name.lower() == b"content-length" and value.isdigit() and len(value) <= 20:
                    self.expected = int(value)
            elif size == 16 and name.lower() == b"content-encoding":
                self.coding = value if self.coding is None else self.coding + b"," + value


class UndecodableError(Exception):
    """
    A body that cannot be taken.

    Attributes:
        reason: `ENCODING` for a damaged, cut or unknown coding, `TOO_LARGE` for one that grows
            past the limit.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def decoded(body: bytes, coding: str, limit_bytes: int) -> bytes:
    """
    `body` with its content codings undone.

    Args:
        body: As received. An empty body stays empty, whatever its coding: some servers name a
            coding on answers without content.
        coding: The `Content-Encoding` field value: codings in the order they were applied.
        limit_bytes: The most that may come out.

    Raises:
        UndecodableError: it is damaged, incomplete, followed by something else, of a coding we
            did not ask for, or larger than `limit_bytes`.

    Source:
        RFC 9110, section 8.4; RFC 1950 to 1952.
    """
    codings = [name for name in coding.lower().replace(" ", "").split(",") if name and name != "identity"]
    if len(codings) > _MOST_CODINGS:
        raise UndecodableError(Reason.ENCODING, f"{len(codings)} content codings on one body")
    if not body:
        return body
    for name in reversed(codings):
        if name not in _WBITS:
            raise UndecodableError(Reason.ENCODING, f"content coding {name[:40]!r} was not asked for")
        body = _inflated(body, name, limit_bytes)
    return body


# What comes out at once, at most, of a body that is read piece by piece.
_PIECE_BYTES = 256 * 1024


class Undoing:
    """
    Undoes the content coding of a body that is read piece by piece.

    Args:
        coding: The `Content-Encoding` field value.

    Raises:
        UndecodableError: it is a coding we did not ask for, or more than one.
    """

    def __init__(self, coding: str) -> None:
        names = [name for name in coding.lower().replace(" ", "").split(",") if name and name != "identity"]
        if len(names) > 1 or not _WBITS.keys() >= set(names):
            raise UndecodableError(Reason.ENCODING, f"content coding {coding[:40]!r} was not asked for")
        self._coding = names[0] if names else ""
        self._waiting = b""
        self._stream: Any = None
        self._members = 0

    def take(self, data: bytes) -> None:
        """Take a piece as it was received."""
        self._waiting += data

    def give(self) -> bytes:
        """
        What comes out next; b"" until more is taken.

        Raises:
            UndecodableError: it is damaged, or followed by something else.
        """
        if not self._coding:
            data, self._waiting = self._waiting, b""
            return data
        while self._waiting:
            stream = self._stream or self._begin()
            if stream is None:
                return b""
            try:
                piece: bytes = stream.decompress(self._waiting, _PIECE_BYTES)
            except zlib.error as exc:
                raise UndecodableError(Reason.ENCODING, f"damaged {self._coding} body: {exc}") from None
            self._stream = None if stream.eof else stream
            self._waiting = stream.unused_data if stream.eof else stream.unconsumed_tail
            if piece:
                return piece
        return b""

    def end(self) -> None:
        """
        The body is over.

        Raises:
            UndecodableError: the coding says that more was to come.
        """
        if self._stream is not None or self._waiting:
            raise UndecodableError(Reason.ENCODING, f"{self._coding} body ends before its end")

    def _begin(self) -> Any:
        """What undoes the beginning, or the next member of a gzip file; None to wait for more."""
        waiting = self._waiting
        if self._members and not waiting.strip(b"\0"):
            self._waiting = b""  # padding, which gzip itself ignores
            return None
        if self._members and self._coding == "deflate":
            raise UndecodableError(Reason.ENCODING, "bytes after the end of a deflate body")
        if len(waiting) < 2:
            return None
        wbits = _WBITS[self._coding]
        if self._coding == "deflate" and not _has_zlib_header(waiting):
            wbits = -zlib.MAX_WBITS  # as above
        self._members += 1
        return zlib.decompressobj(wbits)


def _inflated(body: bytes, coding: str, limit_bytes: int) -> bytes:
    wbits = _WBITS[coding]
    if coding == "deflate" and not _has_zlib_header(body):
        # RFC 9110 means the zlib format by "deflate"; some servers send the bare stream.
        wbits = -zlib.MAX_WBITS
    pieces: list[bytes] = []
    room = limit_bytes
    while body:
        stream = zlib.decompressobj(wbits)
        try:
            piece = stream.decompress(body, room + 1)
        except zlib.error as exc:
            raise UndecodableError(Reason.ENCODING, f"damaged {coding} body: {exc}") from None
        room -= len(piece)
        if room < 0:
            raise UndecodableError(Reason.TOO_LARGE, f"{coding} body of more than {limit_bytes} bytes")
        if not stream.eof:
            raise UndecodableError(Reason.ENCODING, f"{coding} body ends before its end")
        pieces.append(piece)
        # RFC 1952, section 2.2: a gzip file is a series of members.
        body = stream.unused_data
        if body and wbits <= zlib.MAX_WBITS:
            raise UndecodableError(Reason.ENCODING, f"{len(body)} bytes after the end of a {coding} body")
        if body and not body.strip(b"\0"):
            break  # padding, which gzip itself ignores
        if body and len(pieces) == _MOST_MEMBERS:
            raise UndecodableError(Reason.ENCODING, f"more than {_MOST_MEMBERS} members in a {coding} body")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _has_zlib_header(body: bytes) -> bool:
    # RFC 1950, section 2.2: method 8, and the first two bytes a multiple of 31.
    return len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
