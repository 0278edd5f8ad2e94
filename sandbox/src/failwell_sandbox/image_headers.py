"""
What kind of image a file is, and how large: read from its first bytes, never decoded.

Source:
    PNG (RFC 2083, section 4.1.1), JPEG (ITU T.81, annex B), GIF89a, BMP (Windows bitmap headers),
    WebP (RFC 9649, sections 2.5 to 2.7).
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

# The largest side of any image; more says that the header lies.
MOST_SIDE = 1_000_000

# Segments of a JPEG that are passed over before its size stands there.
MOST_SEGMENTS = 4096


class ImageHeader(NamedTuple):
    """
    Attributes:
        content_type: Such as `image/png`.
        width: Pixels.
        height: Pixels.
    """

    content_type: str
    width: int
    height: int


def read_image_header(file: BinaryIO) -> ImageHeader | None:
    """
    The header of the image in `file`; None if it is none that we know.

    Args:
        file: Open for reading, can be sought in.
    """
    file.seek(0)
    start = file.read(64)
    try:
        found = _of(file, start)
    except (struct.error, IndexError):
        return None
    if found is None or not (0 < found.width <= MOST_SIDE and 0 < found.height <= MOST_SIDE):
        return None
    return found


def _of(file: BinaryIO, start: bytes) -> ImageHeader | None:
    if start.startswith(b"\x89PNG\r\n\x1a\n") and start[12:16] == b"IHDR":
        return ImageHeader("image/png", *struct.unpack(">II", start[16:24]))
    if start.startswith(b"\xff\xd8\xff"):
        return _jpeg(file)
    if start[:6] in (b"GIF87a", b"GIF89a"):
        return ImageHeader("image/gif", *struct.unpack("<HH", start[6:10]))
    if start.startswith(b"BM"):
        return _bmp(start)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _webp(start)
    return None


def _jpeg(file: BinaryIO) -> ImageHeader | None:
    file.seek(2)
    for _ in range(MOST_SEGMENTS):
        marker = file.read(2)
        if len(marker) < 2 or marker[0] != 0xFF:
            return None
        if marker[1] == 0xFF:  # a filler byte
            file.seek(-1, 1)
            continue
        if marker[1] == 0x01 or 0xD0 <= marker[1] <= 0xD8:  # without a length
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):
            _precision, height, width = struct.unpack(">BHH", file.read(5))
            return ImageHeader("image/jpeg", width, height)
        if length < 2 or marker[1] in (0xD9, 0xDA):  # the end, or pixels before any size
            return None
        file.seek(length - 2, 1)
    return None


def _bmp(start: bytes) -> ImageHeader | None:
    (size,) = struct.unpack("<I", start[14:18])
    if size == 12:
        return ImageHeader("image/bmp", *struct.unpack("<HH", start[18:22]))
    if size not in (40, 52, 56, 64, 108, 124):
        return None
    width, height = struct.unpack("<ii", start[18:26])
    return ImageHeader("image/bmp", width, abs(height))  # below 0: the rows go downwards


def _webp(start: bytes) -> ImageHeader | None:
    kind = start[12:16]
    if kind == b"VP8X":
        sides = (int.from_bytes(start[at : at + 3], "little") + 1 for at in (24, 27))
        return ImageHeader("image/webp", *sides)
    if kind == b"VP8 " and start[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", start[26:30])
        return ImageHeader("image/webp", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L" and start[20] == 0x2F:
        (bits,) = struct.unpack("<I", start[21:25])
        return ImageHeader("image/webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    return None
