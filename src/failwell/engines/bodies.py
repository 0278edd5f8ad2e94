"""
Bodies that are sent in pieces: files and iterators, read as far as they are sent.

A `Body` is what a `Request` carries in the place of bytes. Engines iterate over it, once for each
try; whoever drives them tells it when a try begins and what came of it.

What was announced is what is sent. The length of a file is announced, and perhaps its SHA-256;
so a file that is not what it was when the call began ends the call. Its last piece is held back
until that is certain: a service never gets the whole of something that changed half-way.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import AsyncIterable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from math import inf
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from failwell.call.messages import Broken, Phase, Reason, Response
from failwell.call.operation import Upload
from failwell.errors import ArgumentTypeError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator
    from typing import Any, BinaryIO, TypeAlias

    Progress: TypeAlias = Callable[[int, int | None], object] | None

# What is read, and sent, at once. Larger pieces gain nothing that can be measured, and there may
# be as many of them in memory as there are calls under way.
PIECE_BYTES = 256 * 1024
# A file of one piece is read in the event loop: handing it to a thread takes longer than reading it.
# Of larger ones a thread reads, several pieces at once; more where a digest is made, which keeps none.
_READ_AHEAD = 4
_DIGEST_PIECES = 32

_WANTED = "give bytes, the path of a file, a file opened in binary mode, an iterator of bytes or an Upload"


class BodyError(Exception):
    """
    Pieces of a body cannot be had.

    Attributes:
        reason: `SOURCE`, or `DEADLINE` if the time was up.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class _OverError(BodyError):
    """
    A piece was asked for after its try had ended: by a thread of an engine, or one that still read.

    It never says why a try was lost: it is what became of one that was.
    """

    def __init__(self) -> None:
        super().__init__(Reason.SOURCE, "the try is over")


class Body:
    """
    One body of one call.

    Args:
        source: Where the pieces come from.
        progress: See `Upload`.

    Attributes:
        size: Bytes in all; None if that is not known.
        digests: Whether its digest is wanted.
        awaited: The same pieces, for whoever awaits.
        spent: Whether some of it was taken, and it cannot be sent again.
    """

    def __init__(self, source: _Source, progress: Progress = None, digests: bool = False) -> None:
        self.size = source.size
        self.digests = digests
        self.spent = False
        self.awaited = _Awaited(self)
        self._source = source
        self._progress = progress
        self._deadline = inf
        self._reader: Any = None
        self._over = False
        self._failed: BodyError | None = None
        self._cause: Exception | None = None
        self._raised: Exception | None = None
        self._taken = self._told = 0

    def __repr__(self) -> str:
        return f"<Body of {'unknown size' if self.size is None else f'{self.size} bytes'}>"

    def __iter__(self) -> Iterator[bytes]:
        reader = self._begin()
        try:
            while piece := self._had(reader.read):
                self._take(piece)
                yield piece
                self._tell()
        finally:
            reader.close()

    async def _pieces(self) -> AsyncIterator[bytes]:
        reader = self._begin()
        try:
            while pieces := await self._awaited_pieces(reader):
                for piece in pieces:
                    self._take(piece)
                    yield piece
                    self._tell()
        finally:
            await _let_go(reader)

    async def _awaited_pieces(self, reader: Any) -> list[bytes]:
        """What comes next; empty at the end."""
        if isinstance(reader, _AwaitedReader):
            return list(filter(None, [await self._had_awaited(reader)]))
        if self._source.quick:
            return list(filter(None, [self._had(reader.read)]))
        from anyio.to_thread import run_sync

        # A file of ours is closed when its read is over; somebody else's pipe may keep a thread for long.
        if not self._source.ours:
            return list(filter(None, [await run_sync(self._had, reader.read, abandon_on_cancel=True)]))
        return await run_sync(self._had_some, reader)

    def _had_some(self, reader: Any) -> list[bytes]:
        pieces: list[bytes] = []
        while len(pieces) < _READ_AHEAD and (piece := self._had(reader.read)):
            pieces.append(piece)
        return pieces

    def _begin(self) -> Any:
        """A reader that stands at the start."""
        self._taken = self._told = 0
        if self.spent:
            raise self._fail(Reason.SOURCE, "an iterator can be sent only once")
        self._reader = reader = self._had(self._source.open)
        if self._over:  # an engine's thread may come when its try was given up
            reader.close()
            raise _OverError
        return reader

    def _had(self, get: Callable[[], Any]) -> Any:
        """What `get` brings; a `BodyError` if it brings none."""
        if monotonic() >= self._deadline:
            raise self._fail(Reason.DEADLINE, "the deadline passed while the body was sent")
        try:
            return get()
        except _OverError:
            raise
        except Exception as exc:
            raise self._from(exc) from exc

    async def _had_awaited(self, reader: _AwaitedReader) -> bytes:
        from anyio import fail_after

        left = self._deadline - monotonic()
        try:
            with fail_after(None if left == inf else max(0.0, left)):
                return await reader.read()
        except Exception as exc:
            if isinstance(exc, TimeoutError) and monotonic() >= self._deadline:
                raise self._fail(Reason.DEADLINE, "the deadline passed while the body was sent") from None
            raise self._from(exc) from exc

    def _from(self, exc: Exception) -> BodyError:
        if isinstance(exc, BodyError):
            return self._fail(exc.reason, str(exc))
        self._cause = exc
        if isinstance(exc, OSError):
            return self._fail(Reason.SOURCE, f"{self._source.name} cannot be read: {exc.strerror or exc}")
        return self._fail(Reason.SOURCE, f"{self._source.name} raised {type(exc).__name__}: {exc}")

    def _fail(self, reason: Reason, text: str) -> BodyError:
        self._failed = error = BodyError(reason, text)
        return error

    def _take(self, piece: bytes) -> None:
        self._taken += len(piece)
        self.spent = not self._source.rewinds

    def _tell(self) -> None:
        """Tell of the pieces that were sent."""
        self._told = self._taken
        if self._progress is not None:
            try:
                self._progress(self._taken, self.size)
            except Exception as exc:
                self._raised = exc  # `told` raises it, whatever an engine makes of the next one
                raise BodyError(Reason.SOURCE, "progress raised") from exc

    def begin(self, deadline: float) -> None:
        """
        Make ready for a try.

        Args:
            deadline: Monotonic seconds at which the try is over.
        """
        self._deadline = deadline
        self._over = False
        self._failed = self._cause = None
        self._taken = self._told = 0

    def told(self, result: Response | Broken) -> Response | Broken:
        """
        What came of a try, knowing whether the body was the reason.

        Raises:
            Exception: what `progress` raised.
        """
        self.close()
        if self._raised is not None:
            raise self._raised
        if isinstance(result, Response):
            if self._told < self._taken == self.size:
                self._tell()  # some engines do not ask for more when all was had
            return result
        if self._failed is not None and result.phase is not Phase.ANSWERED:
            self._failed.__cause__ = self._cause  # which libraries drop on the way
            return Broken(result.phase, self._failed.reason, self._failed)
        return result

    def close(self) -> None:
        """End a try: close what it opened."""
        self._over = True
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def digest(self, deadline: float) -> str | None:
        """
        The `Content-Digest` of the whole body, which is read for it; None if the deadline came first.

        Args:
            deadline: Monotonic seconds at which there is no time left for it.

        Raises:
            UsageError: it cannot be read.

        Source:
            RFC 9530, section 2; RFC 8941, section 3.3.5.
        """
        return next(filter(None, self._digesting(deadline)), None)

    async def awaited_digest(self, deadline: float) -> str | None:
        """As `digest`, for whoever awaits: a large file is read in a thread."""
        if self._source.quick:
            return self.digest(deadline)
        from anyio.to_thread import run_sync

        reading = self._digesting(deadline)
        try:
            while not (found := await run_sync(next, reading, None)):
                if found is None:
                    return None
        finally:
            reading.close()
        return found

    def _digesting(self, deadline: float) -> Generator[str]:
        """Read it all: "" now and then, the digest at the end; nothing more once the time is up."""
        from base64 import b64encode
        from hashlib import sha256

        found = sha256()
        reader = None
        try:
            reader = self._source.open()
            number = 0
            while piece := reader.read():
                found.update(piece)
                number += 1
                if monotonic() >= deadline:
                    return
                if number % _DIGEST_PIECES == 0:
                    yield ""
        except (BodyError, OSError, TypeError) as exc:
            refusal = UsageError(f"content: {self._from(exc)}")
        else:
            yield f"sha-256=:{b64encode(found.digest()).decode()}:"
            return
        finally:
            if reader is not None:
                reader.close()
        raise refusal


class _Awaited:
    """The pieces of a body, for whoever awaits; each iteration is one try."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body._pieces()


async def _let_go(reader: Any) -> None:
    if isinstance(reader, _AwaitedReader):
        await reader.aclose()
    else:
        reader.close()


class _Source:
    """
    Where the pieces of a body come from.

    Attributes:
        name: What it is called in an error.
        size: Bytes in all; None if that is not known.
        rewinds: Whether it can be read again from the start.
        quick: Whether a piece of it is had without waiting.
        ours: Whether what is opened is closed here.
        open: Gives a reader that stands at the start.
    """

    name: str
    size: int | None = None
    rewinds = True
    quick = False
    ours = True
    open: Callable[[], Any]


class _Mark:
    """What a file looked like: enough to see that it is not what it was."""

    def __init__(self, known: os.stat_result) -> None:
        self._known = known

    def check(self, now: os.stat_result, name: str) -> None:
        """Refuse a file that is another, or has other contents."""
        known = self._known
        if known.st_size != now.st_size:
            was, is_now = known.st_size, now.st_size
            raise BodyError(
                Reason.SOURCE, f"{name} has changed since the call began: from {was} to {is_now} bytes"
            )
        if (known.st_ino, known.st_dev) != (now.st_ino, now.st_dev):
            raise BodyError(Reason.SOURCE, f"{name} is another file than when the call began")
        if known.st_mtime_ns != now.st_mtime_ns:
            raise BodyError(Reason.SOURCE, f"{name} has changed since the call began")


class _File(_Source):
    """A file by its path. Every try opens it anew, and none leaves it open."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = repr(os.path.basename(os.fspath(path)))
        try:
            known = os.stat(path)
            if stat.S_ISREG(known.st_mode):
                # Now, while nothing was sent, is the time to hear that it may not be read.
                with open(path, "rb", buffering=0):
                    pass
        except (OSError, ValueError) as exc:
            why = getattr(exc, "strerror", None) or exc
            raise UsageError(f"content: {self.name} cannot be read: {why}") from None
        if not stat.S_ISREG(known.st_mode):
            raise UsageError(f"content: {self.name} is not a regular file; open it, and give what you opened")
        self.size = known.st_size
        self.quick = known.st_size <= PIECE_BYTES
        self.open = partial(_FileReader, path, self.name, known.st_size, _Mark(known))


class _FileReader:
    """A file that was opened by its path. A thread may be reading it while it is closed."""

    def __init__(self, path: str | os.PathLike[str], name: str, size: int, mark: _Mark) -> None:
        self._name = name
        self._left = size
        self._mark = mark
        self._lock = Lock()
        self._file: io.FileIO | None = open(path, "rb", buffering=0)  # noqa: SIM115  # closed by close(), and by a failure here
        try:
            mark.check(os.fstat(self._file.fileno()), name)
        except BaseException:
            self.close()
            raise

    def read(self) -> bytes:
        if not self._left:
            return b""
        with self._lock:
            file = self._file
            if file is None:
                raise _OverError
            piece = file.read(min(PIECE_BYTES, self._left))
            if not piece:
                raise BodyError(Reason.SOURCE, f"{self._name} ends {self._left} bytes before its end")
            self._left -= len(piece)
            if not self._left:
                self._mark.check(os.fstat(file.fileno()), self._name)
        return piece

    def close(self) -> None:
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                file.close()


class _Opened(_Source):
    """A file that somebody opened: sent from where it stands to its end, and left open."""

    ours = False

    def __init__(self, file: Any) -> None:
        if isinstance(file, io.TextIOBase):
            raise ArgumentTypeError("content is a file opened in text mode; open it in binary mode")
        self.name = "the file"
        self._file = file
        self._mark: _Mark | None = None
        self._start = 0
        try:
            self.rewinds = bool(file.seekable())
            if self.rewinds:
                self._start = file.tell()
                self.size = max(0, file.seek(0, os.SEEK_END) - self._start)
                file.seek(self._start)
        except (OSError, ValueError, AttributeError) as exc:
            raise UsageError(f"content is a file that cannot be read: {exc}") from None
        try:
            known = os.fstat(file.fileno())
            if stat.S_ISREG(known.st_mode):
                self._mark = _Mark(known)
        except (OSError, AttributeError, ValueError):
            self.quick = self.rewinds  # in memory
        self.open = self._open

    def _open(self) -> Any:
        if self.rewinds:
            self._file.seek(self._start)
        return _OpenedReader(self._file, self.name, self.size, self._mark)


class _OpenedReader:
    def __init__(self, file: BinaryIO, name: str, size: int | None, mark: _Mark | None) -> None:
        self._file = file
        self._name = name
        self._left = size
        self._mark = mark
        self._check()

    def _check(self) -> None:
        if self._mark is not None:
            self._mark.check(os.fstat(self._file.fileno()), self._name)

    def read(self) -> bytes:
        if self._left is None:
            return _bytes(self._file.read(PIECE_BYTES))
        if not self._left:
            return b""
        piece = _bytes(self._file.read(min(PIECE_BYTES, self._left)))
        if not piece:
            raise BodyError(Reason.SOURCE, f"{self._name} ends {self._left} bytes before its end")
        self._left -= len(piece)
        if not self._left:
            self._check()
        return piece

    def close(self) -> None:
        """Nothing: whoever opened the file closes it."""


class _Iterated(_Source):
    """An iterable; one that is an iterator can be sent once."""

    quick = True  # it is the caller's, and runs where the caller runs it

    def __init__(self, pieces: Iterable[bytes], size: int | None) -> None:
        self.name = "the iterator"
        self.size = size
        self.rewinds = iter(pieces) is not pieces
        self.open = lambda: _IteratedReader(iter(pieces), size)


class _Counted:
    """Holds an iterator to the size that was told."""

    def __init__(self, size: int | None) -> None:
        self._left = size

    def counted(self, piece: bytes) -> bytes:
        """`piece`, unless it makes more than was told; b"", the end, unless it makes less."""
        if self._left is not None:
            self._left -= len(piece)
            if self._left < 0:
                raise BodyError(Reason.SOURCE, f"the iterator gave {-self._left} bytes more than its size")
            if self._left and not piece:
                raise BodyError(Reason.SOURCE, f"the iterator gave {self._left} bytes less than its size")
        return piece


class _IteratedReader(_Counted):
    def __init__(self, pieces: Iterator[bytes], size: int | None) -> None:
        super().__init__(size)
        self._pieces = pieces

    def read(self) -> bytes:
        for piece in self._pieces:
            if _bytes(piece):
                return self.counted(piece)
        return self.counted(b"")

    def close(self) -> None:
        # A generator is over with its try: it cannot be sent again, and may hold a file.
        close = getattr(self._pieces, "close", None)
        if close is not None:
            with suppress(ValueError):  # an engine's thread is still in it
                close()


class _AwaitedSource(_Source):
    """An asynchronous iterable; one that is an iterator can be sent once."""

    def __init__(self, pieces: AsyncIterable[bytes], size: int | None) -> None:
        self.name = "the iterator"
        self.size = size
        self.rewinds = aiter(pieces) is not pieces
        self.open = lambda: _AwaitedReader(aiter(pieces), size)


class _AwaitedReader(_Counted):
    def __init__(self, pieces: AsyncIterator[bytes], size: int | None) -> None:
        super().__init__(size)
        self._pieces = pieces

    async def read(self) -> bytes:
        async for piece in self._pieces:
            if _bytes(piece):
                return self.counted(piece)
        return self.counted(b"")

    async def aclose(self) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()

    def close(self) -> None:
        """Nothing can be awaited here; `aclose` was, when the try ended."""


def _bytes(piece: Any) -> bytes:
    if not isinstance(piece, bytes):
        raise TypeError(f"a piece is a {type(piece).__name__}; bytes are sent")
    return piece


def body_of(content: Any, *, awaiting: bool) -> Body:
    """
    The body that `content` is.

    Args:
        content: As in `Operation.content`, but not bytes.
        awaiting: Whether an asynchronous iterable will do.

    Raises:
        UsageError: it cannot be read. `ArgumentTypeError`: it is of another type.
    """
    if not isinstance(content, Upload):
        return Body(_source(content, None, awaiting, once=True))
    size = content.size
    if size is not None and (isinstance(size, bool) or not isinstance(size, int)):
        raise ArgumentTypeError(f"size is a {type(size).__name__}; give a number of bytes")
    if size is not None and size < 0:
        raise UsageError(f"size is {size}; it is a number of bytes, 0 or more")
    if content.progress is not None and not callable(content.progress):
        raise ArgumentTypeError(f"progress is a {type(content.progress).__name__}; give a function")
    body = Body(_source(content.source, size, awaiting, once=False), content.progress, content.digest)
    if content.digest and not body._source.rewinds:
        raise UsageError("digest needs a source that can be read twice, and this one can be read once")
    if content.digest and isinstance(body._source, _AwaitedSource):
        raise UsageError("digest needs a file or an iterable that need not be awaited")
    return body


def _source(content: Any, size: int | None, awaiting: bool, *, once: bool) -> _Source:
    """
    Args:
        once: Whether only an iterator is an iterable: a list in the place of bytes is a mistake, and
            so is a text in the place of a path.
    """
    if isinstance(content, os.PathLike) or (isinstance(content, str) and not once):
        return _sized(_File(content), size)
    if isinstance(content, bytes) and not once:
        return _sized(_Opened(io.BytesIO(content)), size)
    if callable(getattr(content, "read", None)) and not isinstance(content, type):
        return _sized(_Opened(content), size)
    if isinstance(content, Iterator if once else Iterable) and not isinstance(
        content, (str, bytes, bytearray, memoryview)
    ):
        return _Iterated(content, size)
    if isinstance(content, AsyncIterable) and (not once or aiter(content) is content):
        if not awaiting:
            raise ArgumentTypeError(
                f"content is a {type(content).__name__}, which an AsyncClient can send; a Client cannot"
            )
        return _AwaitedSource(content, size)
    raise ArgumentTypeError(f"content is a {type(content).__name__}; {_WANTED}")


def _sized(source: _Source, size: int | None) -> _Source:
    if size is not None and size != source.size:
        raise UsageError(f"size is {size}, and {source.name} has {source.size} bytes")
    return source
