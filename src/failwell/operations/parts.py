"""
Uploads in parts: a large file in pieces that travel by themselves, decided without I/O.

Theory of operation. An upload has three stages:

1. it is begun, and the service says what it is called and how large its parts are; or it is taken up
   again, and the service says which parts it has. What it has is compared with the file: a part whose
   SHA-256 is another is sent anew;
2. the parts are sent, several at once, each with its SHA-256 as `Content-Digest`. One that fails is
   sent again as the client's retry policy says. Where it is not known whether a part arrived (the answer
   was lost, the service stumbled), the service is asked first: asking is cheap, a part is not;
3. it is completed, with the SHA-256 of the whole. A service that then misses parts gets them.

A part that fails for good ends the second stage: no other is begun, and those under way end by
themselves, so that as much as possible is safe. The error says which parts are, and how to go on.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from failwell.arguments import Arguments
from failwell.call.messages import Sleep
from failwell.call.operation import Operation, Upload
from failwell.errors import (
    ArgumentTypeError,
    AuthenticationError,
    CallError,
    CircuitOpenError,
    ConflictError,
    InvalidRequestError,
    PaymentRequiredError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    UploadError,
    UsageError,
)
from failwell.failure import Effect, Failure
from failwell.operations.slices import ChangedError, LocalFile
from failwell.operations.steps import Locally, Steps, Together, do, locally
from failwell.operations.together import Crew, Task

if TYPE_CHECKING:
    from os import PathLike
    from typing import BinaryIO

    from failwell.call.budget import RetryBudget
    from failwell.call.retry import RetryPolicy
    from failwell.contract import Contract
    from failwell.operations.steps import Done

T = TypeVar("T")

_CHECK = Arguments()

# Failures that say nothing of the upload: they are raised as they are, and know of it besides.
PASSES: tuple[type[CallError], ...] = (
    AuthenticationError,
    PaymentRequiredError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    CircuitOpenError,
)

# A service that misses parts when all was sent gets them; one that does so again is not believed.
_ROUNDS = 2

# What a service answers that has not all it needs, whatever class an SDK has for it.
_INCOMPLETE = (400, 409, 412, 422)

_INITIATE, _PART, _COMPLETE = range(3)
_HARMLESS = frozenset({Effect.NOT_SENT, Effect.NOT_APPLIED})
_WHOLE = -1  # the task that makes the digest of the whole file
_UNREAD = Upload(())  # in the place of what is not opened yet


@dataclass(frozen=True, slots=True)
class UploadSession:
    """
    What the service knows of an upload.

    Attributes:
        upload_id: What it is called.
        part_bytes: How large each part is; the last is what is left.
        parts: The parts it has: number to SHA-256 in hexadecimal digits, None where it does not say.
        size: Bytes of the whole file, as it was told; None if it does not say.
        result: What `complete` would bring, if the upload is complete already.
        about: Further facts for `failure.details` of an error, such as the id of what is made.

    Raises:
        ValueError: a part has no bytes.
    """

    upload_id: str
    part_bytes: int
    parts: Mapping[int, str | None] = field(default_factory=dict)
    size: int | None = None
    result: Any = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.part_bytes < 1:
            raise ValueError(f"a part of {self.part_bytes} bytes")


@dataclass(frozen=True, slots=True)
class Part:
    """
    One part of a file.

    Attributes:
        number: Which; the first has the number that the upload says.
        offset: Where it begins, in bytes.
        size: Bytes.
        sha256: Its SHA-256, in hexadecimal digits.
        content: It, to be the `content` of the operation that sends it.
    """

    number: int
    offset: int
    size: int
    sha256: str
    content: Upload


@dataclass(frozen=True, slots=True)
class WholeFile:
    """
    A file whose parts the service has.

    Attributes:
        size: Bytes.
        sha256: The SHA-256 of all of it, in hexadecimal digits; None if that was not wanted.
        parts: The SHA-256 of each part, by number.
        answers: What sending a part brought, by number; not of parts that were there before.
    """

    size: int
    sha256: str | None
    parts: Mapping[int, str]
    answers: Mapping[int, Any]


@dataclass(frozen=True, slots=True)
class PartUpload(Generic[T]):
    """
    A file that is sent in parts: `client.perform(upload)` sends it.

    Attributes:
        source: The path of a file; a file opened in binary mode; bytes.
        begin: Of the size of the file, the operation that begins.
        send: The operation that sends a part. It gets the digest as `Content-Digest` and, as a write,
            one idempotency key for all its tries.
        complete: The operation that ends; its result is the result.
        look: Of an upload's id, the operation that asks what the service has of it. Without it a part
            whose answer was lost is sent again, and nothing can be resumed.
        upload_id: The upload to go on with, instead of beginning one.
        concurrency: Parts under way at once.
        first: The number of the first part.
        stages: What the three stages are called, in errors.
        whole_digest: Whether the SHA-256 of the whole file is made, which reads it once more.
        deadline: Seconds for all; None for no limit but that of each call.
        progress: Called with the bytes that were sent and the bytes in all; one at a time. A part that is
            sent again, begins again.
        begun: Called once it is known what the upload is called: write it down, to resume by it.
        raises: The class of what fails; None for the contract's class for `UploadError`.
        passes: Failures that are raised as they are.
        called: What a message calls it: "video".
    """

    source: str | PathLike[str] | BinaryIO | bytes
    begin: Callable[[int], Operation[UploadSession]]
    send: Callable[[UploadSession, Part], Operation[Any]]
    complete: Callable[[UploadSession, WholeFile], Operation[T]]
    look: Callable[[str], Operation[UploadSession]] | None = None
    upload_id: str | None = None
    concurrency: int = 4
    first: int = 1
    stages: tuple[str, str, str] = ("initiate", "part", "complete")
    whole_digest: bool = True
    deadline: float | None = None
    progress: Callable[[int, int], object] | None = None
    begun: Callable[[UploadSession], object] | None = None
    raises: type[CallError] | None = None
    passes: tuple[type[CallError], ...] = PASSES
    called: str = "file"

    def __repr__(self) -> str:
        return f"<PartUpload of a {type(self.source).__name__}>"

    def check(self) -> None:
        """
        Refuse what cannot be used.

        Raises:
            UsageError: an attribute is out of its range, or of another type.
        """
        _CHECK.whole("concurrency", self.concurrency, least=1)
        _CHECK.whole("first", self.first, least=0)
        if self.deadline is not None:
            _CHECK.seconds("deadline", self.deadline)
        for name in ("progress", "begun"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise ArgumentTypeError(f"{name} is a {type(value).__name__}; give a function")
        if self.upload_id is not None:
            _CHECK.text("upload_id", self.upload_id, empty=False)
            if self.look is None:
                raise UsageError("an upload is resumed by asking what the service has, which needs `look`")


@dataclass(frozen=True, slots=True)
class Means:
    """
    What a client has for an upload.

    Attributes:
        contract: Which failure is which exception.
        retry: Which failures of a part are tried again.
        budget: Pays for that.
        random: Gives a number from 0 up to 1.
        keyed: Whether a write gets an idempotency key.
    """

    contract: Contract
    retry: RetryPolicy
    budget: RetryBudget
    random: Callable[[], float]
    keyed: bool


def part_steps(upload: PartUpload[T], means: Means) -> Steps[T]:
    """
    Send a file in parts.

    Args:
        upload: Which, and how.
        means: What the client has for it.

    Returns:
        By way of `StopIteration`, what completing it brought.

    Raises:
        CallError: the class for what fails; its `failure.details` say what is safe.
        UsageError: the file cannot be read, or is not the one of the upload to go on with.
    """
    file = yield from locally(lambda: LocalFile(upload.source))
    known = _Known(upload, means, file)

    # 1. Begin, or ask what there is.
    session = yield from _session(upload, known)
    if session.result is not None:
        done: T = session.result
        return done

    crew = PartCrew(upload, means, file, session)
    known.crew = crew
    rounds = 0
    while True:
        rounds += 1
        # 2. The parts.
        yield from do_together(crew)
        if crew.failed is not None:
            raise known.error(crew.failed, _PART, crew.failed_part)
        if crew.stopped:
            raise known.out_of_time()
        # 3. The end.
        try:
            return (yield from do(upload.complete(session, crew.whole())))
        except CallError as error:
            now = yield from _seen(upload, session)
            if now is not None and now.result is not None:
                completed: T = now.result
                return completed
            refused = isinstance(error, (ConflictError, InvalidRequestError)) or error.status in _INCOMPLETE
            if now is None or not refused or rounds == _ROUNDS or not crew.miss(now):
                told = known.error(error, _COMPLETE)
                raise told from told.__cause__


def do_together(crew: Crew) -> Steps[None]:
    """Let a crew do what it says, as a step."""
    yield Together(crew)


def _session(upload: PartUpload[Any], known: _Known) -> Steps[UploadSession]:
    """What the service says of an upload that is begun, or taken up again."""
    try:
        if upload.upload_id is None or upload.look is None:
            session = yield from do(upload.begin(known.file.size))
        else:
            session = yield from do(upload.look(upload.upload_id))
    except CallError as error:
        told = known.error(error, _INITIATE)
        raise told from told.__cause__
    if session.size is not None and session.size != known.file.size:
        raise UsageError(
            f"the upload {session.upload_id} is of {session.size} bytes, and {known.file.name} "
            f"has {known.file.size}"
        )
    known.session = session
    if upload.begun is not None:
        upload.begun(session)
    return session


def _seen(upload: PartUpload[Any], session: UploadSession) -> Steps[UploadSession | None]:
    """What the service has; None if it cannot be asked."""
    if upload.look is None:
        return None
    try:
        return (yield from do(upload.look(session.upload_id)))
    except CallError:
        return None  # whoever asked has a failure that says more


class _Known:
    """What is known of an upload, for its errors."""

    def __init__(self, upload: PartUpload[Any], means: Means, file: LocalFile) -> None:
        self.file = file
        self.session: UploadSession | None = None
        self.crew: PartCrew | None = None
        self._upload = upload
        self._means = means

    def details(self, stage: int, part: int | None = None) -> dict[str, Any]:
        """The facts that say how to go on."""
        details: dict[str, Any] = {"stage": self._upload.stages[stage], "upload_id": self._upload.upload_id}
        details |= {"parts": [], "bytes": 0, "size": self.file.size}
        session, crew = self.session, self.crew
        if session is not None:
            details |= {"upload_id": session.upload_id, "part_bytes": session.part_bytes, **session.about}
        if crew is not None:
            safe = crew.safe()
            details |= {"parts": safe, "parts_total": crew.count, "bytes": sum(map(crew.size_of, safe))}
        if part is not None:
            details["part"] = part
        return details

    def error(self, cause: Exception, stage: int, part: int | None = None) -> Exception:
        """`cause` as it is raised, knowing what is safe; not raised."""
        if not isinstance(cause, CallError):
            return cause
        details = self.details(stage, part)
        if isinstance(cause, self._upload.passes):
            cause.failure = replace(cause.failure, details={**cause.failure.details, **details})
            return cause
        failure = cause.failure
        # What was stored is no file yet: that is what completing makes of it.
        effect = Effect.NOT_APPLIED if stage == _PART else failure.effect
        failure = replace(
            failure,
            message=self._headline(failure, details),
            details={**failure.details, **details},
            effect=effect,
        )
        error = self._class().from_failure(failure)
        error.__cause__ = (cause.__cause__ if failure.reason == "source" else None) or cause
        return error

    def out_of_time(self) -> CallError:
        """The error of an upload whose deadline came before its end."""
        details = self.details(_PART)
        failure = Failure(
            message="The deadline has passed",
            details=details,
            reason="deadline",
            effect=Effect.NOT_APPLIED,
            retryable=True,
            stopped="deadline",
        )
        return self._class().from_failure(replace(failure, message=self._headline(failure, details)))

    def _class(self) -> type[CallError]:
        return self._upload.raises or self._means.contract.class_for(UploadError)

    def _headline(self, failure: Failure, details: Mapping[str, Any]) -> str:
        why = failure.message or failure.cause or "the service did not say why"
        if self.session is None or self.crew is None:
            return why
        safe, count = len(details["parts"]), details["parts_total"]
        text = f"{why.rstrip('.')}; {safe} of {count} parts of the {self._upload.called} are safe"
        return text if self._upload.look is None else f"{text}: resume upload {details['upload_id']}"


class PartCrew(Crew):
    """Decides which part is sent when, and knows which are safe."""

    def __init__(
        self, upload: PartUpload[Any], means: Means, file: LocalFile, session: UploadSession
    ) -> None:
        self.count = max(1, -(-file.size // session.part_bytes))
        extra = 1 if upload.whole_digest else 0
        super().__init__(min(upload.concurrency, self.count) + extra)
        self.failed: Exception | None = None
        self.failed_part: int | None = None
        self._upload = upload
        self._means = means
        self._file = file
        self._session = session
        self._there: Mapping[int, str | None] = session.parts
        self._digests: dict[int, str] = {}
        self._answers: dict[int, Any] = {}
        self._safe: set[int] = set()
        self._whole: str | None = None
        self._numbers: Iterator[int] = iter(self._tasks(range(upload.first, upload.first + self.count)))
        self._drawing = Lock()
        self._telling = Lock()
        self._sent: dict[int, int] = {}
        self._moved = 0

    def draw(self) -> Task | None:
        """The next part, or the digest of the whole."""
        with self._drawing:
            number = next(self._numbers, None)
        if number is None:
            return None
        if number == _WHOLE:
            return Task(number, self._whole_digest())
        return Task(number, self._part(number))

    def tell(self, task: Task) -> None:
        """Count a part that was there before, or is of no bytes, as sent."""
        if task.number != _WHOLE and task.number in self._safe:
            size = self.size_of(task.number)
            if self._sent.get(task.number) != size:
                self._move(task.number, size)

    def size_of(self, number: int) -> int:
        """Bytes of a part."""
        offset = (number - self._upload.first) * self._session.part_bytes
        return min(self._session.part_bytes, self._file.size - offset)

    def safe(self) -> list[int]:
        """The numbers of the parts that the service has."""
        with self.lock:
            return sorted(self._safe)

    def whole(self) -> WholeFile:
        """The file, when all of its parts are there."""
        return WholeFile(self._file.size, self._whole, dict(self._digests), dict(self._answers))

    def miss(self, session: UploadSession) -> bool:
        """Make ready to send what the service says that it does not have; False if it has all."""
        self._there = session.parts
        missing = [number for number, digest in self._digests.items() if not _same(session, number, digest)]
        self._safe.difference_update(missing)
        self._numbers = iter(sorted(missing))
        self._drawn_out = False
        return bool(missing)

    def _tasks(self, numbers: range) -> Iterator[int]:
        if self._upload.whole_digest and self._file.size > 0:
            yield _WHOLE
        elif self._upload.whole_digest:
            self._whole = self._file.digest(0, 0)
        yield from numbers

    def _note(self, task: Task, done: Done) -> None:
        if done.error is None and task.number == _WHOLE:
            self._whole = done.result
            # What it was needed for is done: there is one worker more than there are parts at once.
            self.workers -= 1
            self._allowed = max(1.0, min(self._allowed, float(self.workers)))
        elif done.error is None:
            self._safe.add(task.number)
        elif self.failed is None:
            self.failed = done.error
            self.failed_part = None if task.number == _WHOLE else task.number
            self.stop("error")

    def _whole_digest(self) -> Steps[str]:
        work = Locally(lambda: self._file.digest(0, self._file.size, lambda: bool(self.stopped)))
        try:
            return (yield from do(work))
        except OSError as error:
            raise _unreadable(self._file, error) from error

    def _part(self, number: int) -> Steps[None]:
        """Make sure that the service has a part."""
        size = self.size_of(number)
        offset = (number - self._upload.first) * self._session.part_bytes
        digest = self._digests.get(number)
        if digest is None:
            try:
                digest = yield from locally(lambda: self._file.digest(offset, size))
            except OSError as error:
                raise _unreadable(self._file, error) from error
            self._digests[number] = digest
        if not _matches(self._there, number, digest):
            yield from self._sent_once(number, offset, size, digest)

    def _sent_once(self, number: int, offset: int, size: int, digest: str) -> Steps[None]:
        """Send a part until the service has it, and never while it has."""
        means = self._means
        key = os.urandom(16).hex() if means.keyed else None
        tries, spent = 0, 0.0
        while True:
            done = yield from self._tried(Part(number, offset, size, digest, _UNREAD), key)
            tries += 1
            error = done.error
            if error is None:
                self._answers[number] = done.result
                means.budget.succeeded(spent)
                return
            assert isinstance(error, CallError)
            failure = error.failure
            wanted = failure.retryable and (failure.status or 0) in (
                0,
                *range(200, 300),
                *means.retry.statuses,
            )
            why = means.retry.why_not(failure, tries, wanted=wanted, repeatable=True)
            delay = means.retry.delay_after(tries, failure.retry_after, means.random)
            if not why and done.now + delay >= self.until():
                why = "deadline"
            if not why:
                cost = means.budget.spend(throttled=failure.status == 429 or failure.retry_after is not None)
                why, spent = ("budget_exhausted", spent) if cost is None else ("", cost)
            if not why:
                yield Sleep(delay, failure.attempts[-1] if failure.attempts else None)
            # Only now: a service that comes up again could not have said it before.
            if failure.effect not in _HARMLESS:
                seen = yield from _seen(self._upload, self._session)
                if seen is not None and _same(seen, number, digest):
                    return
            if why:
                raise error

    def _tried(self, part: Part, key: str | None) -> Steps[Done]:
        """Send a part once; what came of it."""
        # A try has a slice of its own: a thread of the engine may still read that of the try before.
        try:
            slice_ = yield from locally(lambda: self._file.slice(part.offset, part.size))
        except OSError as error:
            raise _unreadable(self._file, error) from error
        try:
            part = replace(part, content=Upload(slice_, progress=self._progress_of(part.number)))
            return (yield self._operation(part, key))
        finally:
            slice_.close()

    def _operation(self, part: Part, key: str | None) -> Operation[Any]:
        operation = self._upload.send(self._session, part)
        announced = f"sha-256=:{b64encode(bytes.fromhex(part.sha256)).decode()}:"
        return replace(
            operation,
            content=part.content if operation.content is None else operation.content,
            headers={"content-digest": announced, **operation.headers},
            # One for all its tries, each of which is a call of its own.
            idempotency_key=key if operation.idempotency_key is None else operation.idempotency_key,
            max_attempts=1,
        )

    def _progress_of(self, number: int) -> Callable[[int, int | None], object] | None:
        if self._upload.progress is None:
            return None
        return lambda sent, size: self._move(number, sent)

    def _move(self, number: int, sent: int) -> None:
        if self._upload.progress is None:
            return
        with self._telling:
            self._moved += sent - self._sent.get(number, 0)
            self._sent[number] = sent
            self._upload.progress(self._moved, self._file.size)


def _unreadable(file: LocalFile, error: OSError) -> UploadError:
    why = str(error) if isinstance(error, ChangedError) else f"{file.name} cannot be read: {error.strerror}"
    return UploadError.from_failure(Failure(message=why, reason="source", effect=Effect.NOT_SENT))


def _matches(there: Mapping[int, str | None], number: int, digest: str) -> bool:
    """Whether a service that has `there` has this part; one that states no digest is believed."""
    if number not in there:
        return False
    stated = there[number]
    return stated is None or stated.lower() == digest


def _same(session: UploadSession, number: int, digest: str) -> bool:
    return session.result is not None or _matches(session.parts, number, digest)
