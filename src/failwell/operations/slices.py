"""
A file that is read in stretches, by several threads or tasks at once.

Each stretch opens the file for itself and reads at its own place. The file is what it was when the
upload began: one that is not, at the end of a stretch, is refused before the last of it is handed out.
"""

from __future__ import annotations

import os
import stat
from threading import Lock

from failwell.errors import ArgumentTypeError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# What is read at once to make a digest.
_PIECE_BYTES = 1024 * 1024


class ChangedError(OSError):
    """The file is not what it was when the upload began."""


class LocalFile:
    """
    What is uploaded in parts.

    Args:
        source: The path of a file, a file opened in binary mode (from its start, whatever it stands
            at), or bytes.

    Attributes:
        name: What it is called in a message.
        size: Bytes in all.

    Raises:
        UsageError: it cannot be read, or not in any order.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._mark: tuple[int, ...] | None = None
        self.name = "the content"
        if isinstance(source, bytes):
            self.size = len(source)
            return
        try:
            if isinstance(source, (str, os.PathLike)):
                self.name = repr(os.path.basename(os.fspath(source)))
                known = os.stat(source)
            else:
                self.name = "the file"
                known = os.fstat(source.fileno())
            if stat.S_ISREG(known.st_mode):
                # Now, while nothing was sent, is the time to hear that it may not be read.
                os.close(self.open())
        except (OSError, ValueError) as exc:
            why = getattr(exc, "strerror", None) or exc
            raise UsageError(f"source: {self.name} cannot be read: {why}") from None
        except (AttributeError, TypeError):
            raise ArgumentTypeError(
                f"source is a {type(source).__name__}; give the path of a file, an opened one or bytes"
            ) from None
        if not stat.S_ISREG(known.st_mode):
            raise UsageError(f"source: {self.name} is not a regular file: its parts are read in any order")
        self.size = known.st_size
        self._mark = _mark_of(known)

    def open(self) -> int:
        """A descriptor of its own; whoever asked closes it."""
        if isinstance(self._source, (str, os.PathLike)):
            return os.open(self._source, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        return os.dup(self._source.fileno())

    def check(self, descriptor: int) -> None:
        """Refuse a file that is not what it was: `ChangedError`."""
        if _mark_of(os.fstat(descriptor)) != self._mark:
            raise ChangedError(f"{self.name} has changed since the upload began")

    def slice(self, start: int, size: int) -> Any:
        """A stretch, to be read like an opened file, and closed."""
        if isinstance(self._source, bytes):
            from io import BytesIO

            return BytesIO(self._source[start : start + size])
        return FileSlice(self, start, size)

    def digest(self, start: int, size: int, given_up: Callable[[], bool] = lambda: False) -> str:
        """
        The SHA-256 of a stretch, in hexadecimal digits.

        Args:
            start: Where it begins.
            size: Bytes.
            given_up: Asked now and then whether nobody wants it any more; it is "" then.

        Raises:
            OSError: it cannot be read; `ChangedError`: it is not what it was.
        """
        from hashlib import sha256

        found = sha256()
        if isinstance(self._source, bytes):
            found.update(memoryview(self._source)[start : start + size])
            return found.hexdigest()
        descriptor = self.open()
        try:
            at, end = start, start + size
            while at < end:
                if given_up():
                    return ""
                piece = os.pread(descriptor, min(_PIECE_BYTES, end - at), at)
                if not piece:
                    break
                found.update(piece)
                at += len(piece)
            self.check(descriptor)
            return found.hexdigest()
        finally:
            os.close(descriptor)


class FileSlice:
    """
    A stretch of a file, like a file of its own that was opened in binary mode.

    A thread may still read when it is closed: the descriptor is closed when nobody is reading, and not
    used after that, because its number may by then be another file's.
    """

    def __init__(self, file: LocalFile, start: int, size: int) -> None:
        self.name = file.name
        self._file = file
        self._start = start
        self._size = size
        self._at = 0
        self._lock = Lock()
        self._descriptor: int | None = file.open()

    def __repr__(self) -> str:
        return f"<FileSlice of {self._size} bytes>"

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where it stands, from the start of the stretch."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go there."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def fileno(self) -> int:
        """The descriptor, to see whether the file has changed."""
        if self._descriptor is None:
            raise ValueError("the file is closed")
        return self._descriptor

    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes; b"" at the end."""
        with self._lock:
            left = max(0, self._size - self._at)
            if self._descriptor is None:
                raise ValueError("the file is closed")
            wanted = left if size < 0 else min(size, left)
            piece = os.pread(self._descriptor, wanted, self._start + self._at)
            self._at += len(piece)
            if self._at >= self._size or not piece:
                self._file.check(self._descriptor)
        return piece

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)


def _mark_of(known: os.stat_result) -> tuple[int, ...]:
    return known.st_size, known.st_mtime_ns, known.st_ino, known.st_dev
