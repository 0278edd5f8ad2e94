"""Images that are made for tests."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]

RED: Colour = (220, 30, 30)
BLUE: Colour = (30, 30, 220)


def png(width: int = 8, height: int = 8, parts: Sequence[tuple[Box, Colour]] = (), padding: int = 0) -> bytes:
    """A white PNG with boxes (x, y, w, h) of a colour in it, and so many bytes that mean nothing."""
    rows = [bytearray(b"\xff" * 3 * width) for _ in range(height)]
    for (x, y, w, h), colour in parts:
        for row in rows[y : y + h]:
            row[3 * x : 3 * (x + w)] = bytes(colour) * w
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", pixels)]
    chunks += [(b"raNd", os.urandom(padding))] * bool(padding) + [(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
