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
from threading import Lock, RLock
from time import monotonic
from typing import TYPE_CHECKING

from failwell.call.messages import Broken, Phase, Reason, Response
from failwell.call.operation import Upload
from failwell.errors import ArgumentTypeError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator
    from typing import Any, TypeAlias

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
    """

    def __init__(self, source: _Source, progress: Progress = None, digests: bool = False) -> None:
        self.size = source.size
        self.digests = digests
        self._source = source
        self._progress = progress
        self._try = _Try(source, progress, inf)

    def __repr__(self) -> str:
        return f"<Body of {'unknown size' if self.size is None else f'{self.size} bytes'}>"

    def __iter__(self) -> Iterator[bytes]:
        return self._try.pieces()  # of this try, even if they are first asked for when it is over

    @property
    def awaited(self) -> AsyncIterable[bytes]:
        """The same pieces, for whoever awaits."""
        return _Awaited(self._try)

    @property
    def spent(self) -> bool:
        """Whether it was begun to be taken, and cannot be sent again."""
        return self._source.spent

    def begin(self, deadline: float) -> None:
        """
        Make ready for a try.

        Args:
            deadline: Monotonic seconds at which the try is over.
        """
        self._try.close()
        self._try = _Try(self._source, self._progress, deadline)

    def told(self, result: Response | Broken) -> Response | Broken:
        """
        What came of a try, knowing whether the body was the reason.

        Raises:
            Exception: what `progress` raised.
        """
        return self._try.told(result)

    def close(self) -> None:
        """End a try: close what it opened."""
        self._try.close()

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
        from failwell.engines.threads import in_thread

        reading = self._digesting(deadline)
        try:
            while not (found := await in_thread(next, reading, None)):
                if found is None:
                    return None
        finally:
            with suppress(ValueError):  # cancelled while the thread reads; it ends with its step
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
            refusal = UsageError(f"content: {_why(exc, self._source.name)}")
        else:
            yield f"sha-256=:{b64encode(found.digest()).decode()}:"
            return
        finally:
            if reader is not None:
                reader.close()
        raise refusal


class _Try:
    """
    One try of one body: what it reads, how much of it, and why it ended.

    A thread of an engine, or one that reads a file, may outlive the try it works for. So each try has
    an object of its own, which the next one never meets; and what is done for a reader that is not
    the current one any more is neither counted, nor told, nor taken for a reason.

    Args:
        source: Where the pieces come from.
        progress: See `Upload`.
        deadline: Monotonic seconds at which it is over.
    """

    def __init__(self, source: _Source, progress: Progress, deadline: float) -> None:
        self._source = source
        self._progress = progress
        self._deadline = deadline
        # Held while `progress` is called, too: it is never called after the end.
        self._lock = RLock()
        self._over = False
        self._reader: Any = None
        self._failed: BodyError | None = None
        self._cause: BaseException | None = None
        self._raised: Exception | None = None
        self._taken = self._told = 0

    def pieces(self) -> Iterator[bytes]:
        """The pieces from the start. They may be asked for twice, one time after the other."""
        reader = self._begin()
        try:
            while piece := self._had(reader):
                self._take(reader, piece)
                yield piece
                self._tell(reader)
        finally:
            self._let_go(reader)
            reader.close()

    async def awaited_pieces(self) -> AsyncIterator[bytes]:
        """As `pieces`, for whoever awaits."""
        reader = self._begin()
        try:
            while pieces := await self._awaited_pieces(reader):
                for piece in pieces:
                    self._take(reader, piece)
                    yield piece
                    self._tell(reader)
        finally:
            self._let_go(reader)
            if isinstance(reader, _AwaitedReader):
                await reader.aclose()
            else:
                reader.close()

    async def _awaited_pieces(self, reader: Any) -> list[bytes]:
        """What comes next; empty at the end."""
        if isinstance(reader, _AwaitedReader):
            return list(filter(None, [await self._had_awaited(reader)]))
        # No thread is asked for the end of a file: an answer that comes first would stop the sending.
        if self._source.quick or reader.left == 0:
            return list(filter(None, [self._had(reader)]))
        from failwell.engines.threads import in_thread, in_thread_of_its_own

        # A file of ours is closed when its read is over; somebody else's pipe may keep a thread for long.
        if not self._source.ours:
            return list(filter(None, [await in_thread_of_its_own(self._had, reader)]))
        return await in_thread(self._had_some, reader)

    def _had_some(self, reader: Any) -> list[bytes]:
        pieces: list[bytes] = []
        while len(pieces) < _READ_AHEAD and (piece := self._had(reader)):
            pieces.append(piece)
        return pieces

    def _begin(self) -> Any:
        """A reader that stands at the start, and is the current one."""
        source = self._source
        with self._lock:
            if self._over:  # an engine's thread may come when its try was given up
                raise _OverError
            self._reader = None
            self._taken = self._told = 0
            if source.spent:
                raise self._fail(None, Reason.SOURCE, "an iterator can be sent only once")
            self._check_time(None)
            try:
                self._reader = reader = source.open()
            except Exception as exc:
                raise self._from(None, exc) from exc
            # Before a piece is asked for: whoever waits for one may get it when the try is over.
            source.spent = not source.rewinds
            return reader

    def _had(self, reader: Any) -> bytes:
        """The next piece, b"" at the end; a `BodyError` if there is none to be had."""
        self._check_time(reader)
        try:
            piece: bytes = reader.read()
        except _OverError:
            raise
        except Exception as exc:
            raise self._from(reader, exc) from exc
        return piece

    async def _had_awaited(self, reader: _AwaitedReader) -> bytes:
        from anyio import fail_after

        left = self._deadline - monotonic()
        try:
            with fail_after(None if left == inf else max(0.0, left)):
                return await reader.read()
        except Exception as exc:
            if isinstance(exc, TimeoutError):
                self._check_time(reader)
            raise self._from(reader, exc) from exc

    def _check_time(self, reader: Any) -> None:
        if self._reader is not reader:
            raise _OverError
        if monotonic() >= self._deadline:
            late = "the deadline passed while the body was sent"
            raise self._fail(reader, Reason.DEADLINE, late) from None

    def _from(self, reader: Any, exc: Exception) -> BodyError:
        reason = exc.reason if isinstance(exc, BodyError) else Reason.SOURCE
        return self._fail(reader, reason, _why(exc, self._source.name), exc)

    def _fail(self, reader: Any, reason: Reason, text: str, cause: Exception | None = None) -> BodyError:
        """Note why the try ends, unless it has ended."""
        with self._lock:
            if self._over or self._reader is not reader:
                return _OverError()
            self._cause = None if isinstance(cause, BodyError) else cause
            self._failed = error = BodyError(reason, text)
            return error

    def _take(self, reader: Any, piece: bytes) -> None:
        with self._lock:
            if self._reader is not reader:
                raise _OverError
            self._taken += len(piece)

    def _tell(self, reader: Any) -> None:
        """Tell of the pieces that were sent."""
        with self._lock:
            if self._reader is not reader:
                raise _OverError
            self._told = self._taken
            if self._progress is not None:
                try:
                    self._progress(self._taken, self._source.size)
                except Exception as exc:
                    self._raised = exc  # `told` raises it, whatever an engine makes of the next one
                    raise BodyError(Reason.SOURCE, "progress raised") from exc

    def _let_go(self, reader: Any) -> None:
        with self._lock:
            if self._reader is reader:
                self._reader = None

    def told(self, result: Response | Broken) -> Response | Broken:
        """As `Body.told`."""
        self.close()
        if isinstance(result, Response) and self._told < self._taken == self._source.size:
            with suppress(BodyError):  # what it stands for is raised below
                self._tell(None)  # some engines do not ask for more when all was had
        if self._raised is not None:
            raise self._raised
        if isinstance(result, Response):
            return result
        if self._failed is not None and result.phase is not Phase.ANSWERED:
            self._failed.__cause__ = self._cause  # which libraries drop on the way
            return Broken(result.phase, self._failed.reason, self._failed)
        return result

    def close(self) -> None:
        """End it: close what it opened."""
        with self._lock:
            self._over = True
            reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


class _Awaited:
    """The pieces of a try, for whoever awaits."""

    def __init__(self, of: _Try) -> None:
        self._try = of

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._try.awaited_pieces()


def _why(exc: Exception, name: str) -> str:
    """What to say of an exception that came up in the place of a piece."""
    if isinstance(exc, BodyError):
        return str(exc)
    if isinstance(exc, OSError):
        return f"{name} cannot be read: {exc.strerror or exc}"
    return f"{name} raised {type(exc).__name__}: {exc}"


class _Source:
    """
    Where the pieces of a body come from.

    Attributes:
        name: What it is called in an error.
        size: Bytes in all; None if that is not known.
        rewinds: Whether it can be read again from the start.
        spent: Whether it was opened, and cannot be again.
        quick: Whether a piece of it is had without waiting.
        ours: Whether what is opened is closed here.
        open: Gives a reader that stands at the start.
    """

    name: str
    size: int | None = None
    rewinds = True
    spent = False
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
    """
    A file that was opened by its path. A thread may be reading it while it is closed.

    Attributes:
        left: Bytes still to be read.
    """

    def __init__(self, path: str | os.PathLike[str], name: str, size: int, mark: _Mark) -> None:
        self._name = name
        self.left = size
        self._mark = mark
        self._lock = Lock()
        self._file: io.FileIO | None = open(path, "rb", buffering=0)  # noqa: SIM115  # closed by close(), and by a failure here
        try:
            mark.check(os.fstat(self._file.fileno()), name)
        except BaseException:
            self.close()
            raise

    def read(self) -> bytes:
        if not self.left:
            return b""
        with self._lock:
            file = self._file
            if file is None:
                raise _OverError
            piece = file.read(min(PIECE_BYTES, self.left))
            if not piece:
                raise BodyError(Reason.SOURCE, f"{self._name} ends {self.left} bytes before its end")
            self.left -= len(piece)
            if not self.left:
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
        self._lock = Lock()
        self._last: _OpenedReader | None = None

    def _open(self) -> Any:
        return _OpenedReader(self, self.size, self._start, self._mark)

    def read(self, reader: _OpenedReader, at: int, size: int) -> bytes:
        """
        Up to so many bytes for `reader`, which is there.

        A thread may still read for a try that is over: the file stands where its last reader left it.
        """
        with self._lock:
            if reader.closed:
                raise _OverError
            if self.rewinds and self._last is not reader:
                self._file.seek(at)
            self._last = reader
            return _bytes(self._file.read(size))

    def check(self, mark: _Mark) -> None:
        """Refuse a file that is not what it was."""
        mark.check(os.fstat(self._file.fileno()), self.name)


class _OpenedReader:
    """
    A file that somebody opened, from where it stood.

    Attributes:
        left: Bytes still to be read; None if that is not known.
        closed: Whether nothing more is read.
    """

    def __init__(self, source: _Opened, size: int | None, start: int, mark: _Mark | None) -> None:
        self.closed = False
        self._source = source
        self.left = size
        self._at = start
        self._mark = mark
        self._check()

    def _check(self) -> None:
        if self._mark is not None:
            self._source.check(self._mark)

    def read(self) -> bytes:
        if self.left == 0:
            return b""
        size = PIECE_BYTES if self.left is None else min(PIECE_BYTES, self.left)
        piece = self._source.read(self, self._at, size)
        if self.left is None:
            return piece
        if not piece:
            raise BodyError(Reason.SOURCE, f"{self._source.name} ends {self.left} bytes before its end")
        self._at += len(piece)
        self.left -= len(piece)
        if not self.left:
            self._check()
        return piece

    def close(self) -> None:
        """Read no more; whoever opened the file closes it."""
        self.closed = True


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
