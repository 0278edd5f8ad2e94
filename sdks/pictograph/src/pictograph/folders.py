"""A folder that is uploaded: which files it has, what the service has of them, what became of each."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from failwell.call.operation import Operation
from failwell.errors import CallError, UsageError
from failwell.failure import Effect, Failure
from failwell.operations.steps import Steps, do, every_item, pause
from pictograph.exceptions import (
    AuthError,
    ConflictError,
    FolderUploadError,
    ForbiddenError,
    NetworkError,
    PaymentRequiredError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
)
from pictograph.models import FileResult, Image, Page
from pictograph.resources import MAX_LIMIT, MAX_RETRY_AFTER, check, file_to_send, upload_operation

CONCURRENCY = 16
MAX_CONCURRENCY = 100  # connections that a client opens

# What the service takes, by the names that such files have.
ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".webp")

# Every other file would fail so, too.
HOPELESS = (AuthError, ForbiddenError, PaymentRequiredError)
# After so many of these in a row, and each has been tried four times, the service is down.
OUTAGE = (NetworkError, RequestTimeoutError, ServerError)
OUTAGE_FILES = 32

# The service's word for a name that is taken.
IMAGE_EXISTS = "image_exists"

# Seconds that a file waits in all for the limits of its key, besides the retries of its calls.
PATIENCE = 1800.0

_PIECE = 1024 * 1024
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class File:
    """
    A file of the folder.

    Attributes:
        number: In the order of the paths.
        path: Where it is.
        shown: Below the folder, with "/" between the parts.
        folder: Where it goes in the dataset.
        name: What the image is called.
        size: Bytes.
    """

    number: int
    path: str
    shown: str
    folder: str
    name: str
    size: int

    @property
    def key(self) -> tuple[str, str]:
        """What makes it one image of the dataset."""
        return self.folder, self.name


@dataclass(frozen=True, slots=True)
class Stored:
    """What is remembered of an image that the service has."""

    id: str
    size: int
    sha256: str


class Folder:
    """
    The upload of a folder, without its calls. Shared by the threads or tasks that upload.

    Args:
        folder: Where the files are.
        concurrency: Uploads at once.
        skip_existing: Whether what the service has is left out.
        recursive: Whether folders in it count.
        into: The folder of the dataset to upload into.

    Attributes:
        dataset_id: Where to.
        patience: Seconds that the client allows for a call; None for no limit.
        stored: What the service has, by folder and name.

    Raises:
        PictographValueError: there is no such folder, or an argument cannot be used.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        concurrency: int,
        skip_existing: bool,
        recursive: bool,
        into: str,
    ) -> None:
        self.skip_existing = check.flag("skip_existing", skip_existing)
        most = check.whole("concurrency", concurrency, least=1, most=MAX_CONCURRENCY)
        self._files = _files_in(
            _folder("folder", folder), check.flag("recursive", recursive), check.text("into", into)
        )
        self.total = len(self._files)
        self.size = sum(file.size for file in self._files)
        self.workers = min(most, self.total)
        self.dataset_id = ""
        self.patience: float | None = None
        self.stored: dict[tuple[str, str], Stored] = {}
        self._results: list[FileResult | None] = [None] * self.total
        self._errors: dict[int, Exception] = {}
        self._lock, self._telling = threading.Lock(), threading.Lock()
        self._next = 0
        self._done = 0
        self._stopped = False
        self._down = 0
        self._broken: BaseException | None = None

    def take(self) -> Iterator[File]:
        """The files that nobody has taken yet, one after another, until the upload is stopped."""
        while True:
            with self._lock:
                if self._stopped or self._next >= self.total:
                    return
                file = self._files[self._next]
                self._next += 1
            yield file

    def stop(self) -> None:
        """Let no further file be taken."""
        self._stopped = True

    def broke(self, error: BaseException) -> None:
        """Note what is no failure of an upload: it is raised when the others have stopped."""
        with self._lock:
            self._broken = self._broken or error
            self._stopped = True

    def uploaded(self, file: File, image_id: str) -> FileResult:
        """Note that a file was uploaded."""
        return self._note(file, FileResult(file.shown, "uploaded", image_id))

    def skipped(self, file: File, image_id: str) -> FileResult:
        """Note that the service had a file."""
        return self._note(file, FileResult(file.shown, "skipped", image_id))

    def failed(self, file: File, error: CallError | UsageError) -> FileResult:
        """Note that a file could not be uploaded; perhaps that none can."""
        error.add_note(f"while uploading {file.shown}")
        with self._lock:
            self._errors[file.number] = error
            self._down = self._down + 1 if isinstance(error, OUTAGE) else 0
            if isinstance(error, HOPELESS) or self._down >= OUTAGE_FILES:
                self._stopped = True
        return self._note(file, FileResult(file.shown, "failed", error=str(error)))

    def tell(
        self, listener: Callable[[File, FileResult, int], object], file: File, result: FileResult
    ) -> None:
        """Tell `listener` that a file is dealt with, and which it is by number: one file at a time."""
        with self._telling:
            self._done += 1
            listener(file, result, self._done)

    def _note(self, file: File, result: FileResult) -> FileResult:
        with self._lock:
            self._results[file.number] = result
            if result.status != "failed":
                self._down = 0
        return result

    def outcome(self) -> list[FileResult]:
        """
        What became of each file, in order.

        Raises:
            FolderUploadError: some were not uploaded.
        """
        if self._broken is not None:
            raise self._broken
        results = [
            result or FileResult(file.shown, "not_tried")
            for file, result in zip(self._files, self._results, strict=True)
        ]
        if not self._errors:
            return results
        errors = [self._errors[number] for number in sorted(self._errors)]
        raise _batch_error(results, errors)


def _batch_error(results: list[FileResult], errors: list[Exception]) -> FolderUploadError:
    bad = [result for result in results if result.status in ("failed", "not_tried")]
    told = "; ".join(f"{r.path}: {r.error}" for r in bad[:_SHOWN] if r.error)
    more = "" if len(bad) <= _SHOWN else f"; and {len(bad) - _SHOWN} more"
    unknown = any(isinstance(e, CallError) and e.effect is Effect.UNKNOWN for e in errors)
    failure = Failure(
        message=f"{len(bad)} of {len(results)} files were not uploaded: {told}{more}",
        reason="batch",
        details={"results": [result.to_json() for result in results]},
        effect=Effect.UNKNOWN if unknown else Effect.NOT_APPLIED,
        retryable=any(isinstance(e, CallError) and e.retryable for e in errors),
    )
    return FolderUploadError.from_failure(failure, exceptions=errors)


def stored_images(dataset_id: str) -> Steps[dict[tuple[str, str], Stored]]:
    """What the service has of a dataset, by folder and name, as a step."""

    def page_after(cursor: Any) -> Operation[Any]:
        query = {"limit": MAX_LIMIT, "cursor": cursor}
        return Operation("GET", f"/v1/datasets/{dataset_id}/images", Page.of(_entry), params=query)

    return dict((yield from every_item(page_after)))


def _entry(data: Any) -> tuple[tuple[str, str], Stored]:
    """An image of the listing, with no more than is needed of it: there may be many."""
    image = Image.from_json(data)
    return (image.folder, image.name), Stored(image.id, image.size, image.sha256)


def same_file(file: File, size: int, sha256: str) -> bool:
    """Whether a file is what the service has. Reads it, if its size is the same."""
    if file.size != size:
        return False
    try:
        return sha256_of(file.path) == sha256.lower()
    except OSError:  # whoever uploads it says so
        return False


def sha256_of(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    from hashlib import sha256

    digest = sha256()
    with open(path, "rb") as opened:
        while piece := opened.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def uploaded(
    plan: Folder, file: File, progress: Callable[[int, int | None], object] | None
) -> Steps[FileResult]:
    """A file, uploaded, as a step."""
    send = upload_operation(
        plan.dataset_id,
        file_to_send(file.path),
        name=file.name,
        folder=file.folder,
        progress=progress,
        idempotency_key=None,
        patience=plan.patience,
    )
    try:
        image = yield from _at_the_service_s_pace(send)
    except ConflictError as error:
        # Somebody uploaded it after the list was made: perhaps this folder's upload before, whose
        # last files were still on their way when it was interrupted.
        there = _image_there(error) if plan.skip_existing else None
        if there is None or not same_file(file, there.size, there.sha256):
            raise
        return plan.skipped(file, there.id)
    return plan.uploaded(file, image.id)


def _at_the_service_s_pace(send: Operation[Image]) -> Steps[Image]:
    """
    An upload that comes back as often as a limit is reached which is open again soon, as a step.

    As many uploads as are on their way ask for the same place, and each place goes to one of them: the
    retries of a call are soon spent where nothing is wrong.
    """
    waited = 0.0
    while True:
        try:
            return (yield from do(send))
        except RateLimitError as error:
            asked = error.retry_after
            if asked is None or asked > MAX_RETRY_AFTER or waited > PATIENCE:
                raise
        waited += asked
        yield from pause(asked)


def _image_there(error: ConflictError) -> Stored | None:
    """The image that has the name already, if that is what the conflict is about."""
    told = error.failure.details
    image_id, size, sha256 = told.get("image_id"), told.get("size"), told.get("sha256")
    if error.error_code != IMAGE_EXISTS or not isinstance(size, int):
        return None
    if not isinstance(image_id, str) or not isinstance(sha256, str):
        return None
    return Stored(image_id, size, sha256)


def _folder(name: str, value: Any) -> str:
    try:
        path = os.fspath(value)
    except TypeError:
        raise check.wrong_type(name, value, "a path") from None
    if not isinstance(path, str):
        raise check.wrong_type(name, value, "a path as a string")
    if not os.path.isdir(path):
        raise check.refused(f"{name} {path[:200]!r} is no folder")
    return path


def _files_in(root: str, recursive: bool, into: str) -> list[File]:
    """The images below `root`, in the order of their paths."""
    found: list[tuple[list[str], str, int]] = []
    for where, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith(".")) if recursive else []
        relative = os.path.relpath(where, root)
        parts = [] if relative == "." else relative.split(os.sep)
        for name in names:
            path = os.path.join(where, name)
            if name.startswith(".") or not name.lower().endswith(ENDINGS) or not os.path.isfile(path):
                continue
            found.append(([*parts, name], path, os.path.getsize(path)))
    found.sort()
    prefix = [into] if into else []
    return [
        File(number, path, "/".join(parts), "/".join([*prefix, *parts[:-1]]), parts[-1], size)
        for number, (parts, path, size) in enumerate(found)
    ]
