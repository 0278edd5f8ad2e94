"""What a file is: by its name, and where that says nothing by its first bytes."""

from __future__ import annotations

import codecs
import io
from typing import Literal

from failwell_sandbox.image_headers import read_image_header

FileKind = Literal["image", "document", "video"]

# As far as a file is looked into whose name says nothing.
LOOKED_AT = 4096

_IMAGES = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "bmp": "image/bmp",
    "webp": "image/webp", "tif": "image/tiff", "tiff": "image/tiff",
}  # fmt: skip
_DOCUMENTS = {
    "pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "rst": "text/plain",
    "csv": "text/csv", "json": "application/json", "log": "text/plain", "html": "text/html",
    "xml": "application/xml",
}  # fmt: skip
_VIDEOS = {
    "mp4": "video/mp4", "m4v": "video/mp4", "mov": "video/quicktime", "mkv": "video/x-matroska",
    "webm": "video/webm", "avi": "video/x-msvideo", "mpg": "video/mpeg", "mpeg": "video/mpeg",
    "ts": "video/mp2t",
}  # fmt: skip


def kind_by_name(name: str) -> tuple[FileKind, str] | None:
    """Kind and media type of a file of that name; None if it may be anything."""
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    if ending in _IMAGES:
        return "image", _IMAGES[ending]
    if ending in _DOCUMENTS:
        return "document", _DOCUMENTS[ending]
    if ending in _VIDEOS:
        return "video", _VIDEOS[ending]
    return None


def kind_by_content(start: bytes, *, whole: bool) -> tuple[FileKind, str] | None:
    """
    Kind and media type of a file that begins so; None if it is no image and no text.

    Args:
        start: Its first bytes.
        whole: Whether these are all of it.
    """
    header = read_image_header(io.BytesIO(start))
    if header is not None:
        return "image", header.content_type
    if start.startswith(b"%PDF-"):
        return "document", "application/pdf"
    if b"\0" in start:
        return None
    try:
        # The last character may be cut.
        codecs.getincrementaldecoder("utf-8")().decode(start, final=whole)
    except UnicodeDecodeError:
        return None
    return "document", "text/plain"


def prefix_of(kind: FileKind) -> str:
    """What the ids of files of a kind begin with."""
    return {"image": "img", "document": "doc", "video": "vid"}[kind]
