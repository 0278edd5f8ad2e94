"""What is given to be uploaded: paths, globs, bytes and file objects, as one list of sources."""

from __future__ import annotations

import glob
import hashlib
import mimetypes
import os
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

from failwell.call.operation import Upload
from scopix.calls import check
from scopix.models import File

_PIECE = 1024 * 1024
_SHOWN = 200

WANTED = "a path, a glob, bytes, a file opened in binary mode, a (name, content) pair, or a list of those"

# How files of some kinds begin: bytes have no name that would say it.
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\x00", ".tif"),
    (b"MM\x00*", ".tif"),
    (b"%PDF", ".pdf"),
)


@dataclass(slots=True)
class Source:
    """
    One file that is to be uploaded.

    Attributes:
        name: What it is called in the service; "" until its bytes were read, if it has no name.
        content: A path, bytes, or a file opened in binary mode.
        size: Bytes.
        digest: SHA-256 in hexadecimal digits; "" until its bytes were read.
        known: What the service has of it already.
        stage: The step that is being done, or has failed.
        session_id: The upload session, if there is one.
        was_there: Whether the service answered that it had it.
    """

    name: str
    content: str | bytes | BinaryIO
    size: int
    digest: str = ""
    known: File | None = None
    stage: str = "initiate"
    session_id: str | None = None
    was_there: bool = False

    def __repr__(self) -> str:
        return f"<Source {self.name!r}, {self.size} bytes>"

    def read(self) -> None:
        """
        Find out the digest, and the name of what has none.

        Raises:
            ScopixValueError: it cannot be read.
        """
        try:
            begins, self.digest = _digest_of(self.content)
        except (OSError, ValueError) as exc:
            why = getattr(exc, "strerror", None) or type(exc).__name__
            raise check.refused(f"{self.name[:_SHOWN]!r} cannot be read: {why}") from None
        if not self.name:
            ending = next((e for beginning, e in _BEGINNINGS if begins.startswith(beginning)), "")
            self.name = f"upload-{self.digest[:16]}{ending}"

    def upload(self) -> bytes | Upload:
        """What an operation sends."""
        return self.content if isinstance(self.content, bytes) else Upload(self.content)

    def headers(self) -> dict[str, str]:
        """
        What goes before the content.

        Source:
            RFC 9530, section 2 (`Content-Digest`).
        """
        digest = b64encode(bytes.fromhex(self.digest)).decode()
        kind = mimetypes.guess_type(self.name)[0] or "application/octet-stream"
        return {"content-digest": f"sha-256=:{digest}:", "content-type": kind}


def sources_of(given: Any) -> list[Source]:
    """
    The sources that are meant, in order. Looks at the files, and reads none.

    Raises:
        ScopixTypeError: `given`, or an item of it, is none of `WANTED`.
        ScopixValueError: there is no such file, or a glob matches none.
    """
    one = _one(given, "files")
    if one is not None:
        return one
    if not isinstance(given, Iterable) or isinstance(given, dict):
        raise check.wrong_type("files", given, WANTED)
    found: list[Source] = []
    for number, item in enumerate(given):
        sources = _one(item, f"files[{number}]")
        if sources is None:
            raise check.wrong_type(f"files[{number}]", item, WANTED)
        found += sources
    opened = [id(source.content) for source in found if not isinstance(source.content, (str, bytes))]
    if len(opened) != len(set(opened)):
        raise check.refused("files holds the same open file twice: it can be read once at a time")
    return found


def _one(given: Any, name: str) -> list[Source] | None:
    """The sources of what is no list; None if it is one."""
    if isinstance(given, (str, os.PathLike)):
        return _paths(given, name)
    if isinstance(given, (bytes, bytearray, memoryview)):
        content = bytes(given)
        return [Source("", content, len(content))]
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):
        return _pair(*given, name=name)
    if hasattr(given, "read") and not isinstance(given, type):
        return [_opened(given, name)]
    return None


def _pair(called: str, given: Any, *, name: str) -> list[Source] | None:
    """The source of a name and a content; None if the second is no content: two paths, perhaps."""
    if not isinstance(given, (bytes, bytearray, memoryview)) and not hasattr(given, "read"):
        return None
    sources = _one(given, f"{name}[1]") or []
    for source in sources:
        source.name = _sendable_name(called)
    return sources


def _paths(given: Any, name: str) -> list[Source]:
    try:
        path = os.fspath(given)
    except TypeError:
        path = None
    if not isinstance(path, str):
        raise check.wrong_type(name, given, "a path as a string")
    why = "is no file"
    try:
        if os.path.isfile(path):
            os.close(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)))
            return [Source(_sendable_name(os.path.basename(path)), path, os.path.getsize(path))]
        if os.path.isdir(path):
            why = "is a folder: give a glob, such as 'photos/*.jpg'"
        elif isinstance(given, str) and glob.has_magic(path):
            found = sorted(p for p in glob.glob(path, recursive=True) if os.path.isfile(p))
            if found:
                return [Source(_sendable_name(os.path.basename(p)), p, os.path.getsize(p)) for p in found]
            why = "matches no file"
    except (OSError, ValueError) as exc:
        why = f"cannot be read: {getattr(exc, 'strerror', None) or type(exc).__name__}"
    raise check.refused(f"{name} {path[:_SHOWN]!r} {why}")


def _opened(given: Any, name: str) -> Source:
    """The source of a file that somebody opened: from where it stands to its end."""
    try:
        start = given.tell()
        end = given.seek(0, os.SEEK_END)
        given.seek(start)
        is_binary = isinstance(given.read(0), bytes)
    except (OSError, ValueError, AttributeError, TypeError):
        raise check.wrong_type(name, given, "a file opened in binary mode that can be read twice") from None
    if not is_binary or not isinstance(start, int) or not isinstance(end, int):
        raise check.wrong_type(name, given, "a file opened in binary mode")
    called = getattr(given, "name", "")
    path = os.path.basename(called) if isinstance(called, str) else ""
    return Source(_sendable_name(path) if path else "", given, max(0, end - start))


def _sendable_name(name: str) -> str:
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise check.refused(f"the name {name[:_SHOWN]!r} is not UTF-8: give a (name, content) pair")
    return name


def _digest_of(content: str | bytes | BinaryIO) -> tuple[bytes, str]:
    """The first bytes of a content, and its SHA-256 in hexadecimal digits."""
    if isinstance(content, bytes):
        return content[:16], hashlib.sha256(content).hexdigest()
    if isinstance(content, str):
        with open(content, "rb", buffering=0) as file:
            return _digest_of_file(file)
    start = content.tell()
    try:
        return _digest_of_file(content)
    finally:
        content.seek(start)


def _digest_of_file(file: Any) -> tuple[bytes, str]:
    digest, begins = hashlib.sha256(), b""
    while piece := file.read(_PIECE):
        begins = begins or piece[:16]
        digest.update(piece)
    return begins, digest.hexdigest()
