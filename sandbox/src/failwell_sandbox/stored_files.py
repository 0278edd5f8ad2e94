"""
What a service keeps outside its database, such as images: files beside it.

A file is written under a name of its own in `incoming`, brought to the disk, and renamed to where
its row says it is; the row is written last. So a row always has its file. A crash in between leaves
a file without a row, or half a file: both are swept away.

Whoever writes a file holds a lock on it until its row is written, which ends with its process,
however that ends. So a sweep tells what is being worked on from what was left behind, without a
guess at how long an upload may take.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from failwell.service import StoreBusyError

# A commit that a killed process had sent to a server may still be carried out: what is as young as
# this is left for the next sweep.
LEAST_AGE = 5.0

# Names that are looked for in the database at once.
AT_ONCE = 500


class Incoming:
    """
    A file that is being written. Close it, whatever happens; what was not kept by then is gone.

    Attributes:
        path: Where it is now.
        size: Bytes written so far by `write`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hash = hashlib.sha256()
        self.size = 0
        self._temporary = True
        while True:
            self.path = folder / "incoming" / secrets.token_hex(16)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            if _locked(self._fd) and os.fstat(self._fd).st_nlink:
                return
            # A sweep was faster: it takes it away, or has done so and let go of the lock.
            os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """
        Add `data`.

        Raises:
            StoreBusyError: the disk is full.
        """
        self._hash.update(data)
        self.size += len(data)
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise StoreBusyError("the disk is full") from exc
            raise

    def digest(self) -> bytes:
        """SHA-256 of what was written by `write`."""
        return self._hash.digest()

    def read_again(self) -> Incoming:
        """The same, with size and digest of what stands in the file: somebody else has written it."""
        self._hash = hashlib.sha256()
        self.size = 0
        for chunk in self.chunks():
            self._hash.update(chunk)
            self.size += len(chunk)
        return self

    def chunks(self) -> Iterator[bytes]:
        """What was written, from the beginning."""
        at = 0
        while chunk := os.pread(self._fd, 1 << 20, at):
            at += len(chunk)
            yield chunk

    def keep(self, kind: str, name: str) -> None:
        """Bring it to the disk, then give it its name. Blocks."""
        os.fsync(self._fd)
        home = self._folder / kind
        os.rename(self.path, home / name)
        self.path = home / name
        self._temporary = False
        _fsync_folder(home)

    def discard(self) -> None:
        """Take it away although it has its name: nothing was written about it."""
        self._temporary = True

    def close(self) -> None:
        """Let go of it."""
        if self._temporary:
            with suppress(FileNotFoundError):
                self.path.unlink()
        with suppress(OSError):
            os.close(self._fd)


class Files:
    """
    The files of a service, which several of its processes may share.

    Args:
        folder: Where; made if it is not there.
        kinds: Of files, each in a folder of its own.
    """

    def __init__(self, folder: Path, kinds: Collection[str]) -> None:
        self.folder = folder
        self.kinds = tuple(kinds)
        for name in ("incoming", *self.kinds):
            (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    def begin(self) -> Incoming:
        """A new, empty file."""
        return Incoming(self.folder)

    def path(self, kind: str, name: str) -> Path:
        """Where the file of a row is."""
        return self.folder / kind / name

    def remove(self, kind: str, names: Collection[str]) -> None:
        """Take away the files of rows that are no more."""
        for name in names:
            with suppress(FileNotFoundError):
                self.path(kind, name).unlink()

    def sweep(self, known: Callable[[str, Collection[str]], Collection[str]]) -> int:
        """
        Take away what a crash left behind. Blocks.

        Args:
            known: Those of some names that have a row.

        Returns:
            How many files are gone.
        """
        gone = sum(_removed_if_free(path, lambda: True) for path in _files_in(self.folder / "incoming"))
        before = time.time() - LEAST_AGE
        for kind in self.kinds:
            paths = [path for path in _files_in(self.folder / kind) if _older(path, before)]
            for start in range(0, len(paths), AT_ONCE):
                some = {path.name: path for path in paths[start : start + AT_ONCE]}
                for name in some.keys() - set(known(kind, some)):
                    gone += self._removed_if_unknown(kind, name, known)
        return gone

    def _removed_if_unknown(
        self, kind: str, name: str, known: Callable[[str, Collection[str]], Collection[str]]
    ) -> bool:
        # Its row may have been written between the look and the lock.
        return _removed_if_free(self.path(kind, name), lambda: name not in known(kind, [name]))


def _files_in(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def _older(path: Path, than: float) -> bool:
    try:
        return path.stat().st_mtime < than
    except FileNotFoundError:
        return False


def _removed_if_free(path: Path, unwanted: Callable[[], bool]) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        if not _locked(fd) or not unwanted():
            return False
        with suppress(FileNotFoundError):
            path.unlink()
        return True
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
