"""A folder that is uploaded: which files it has, what the service has of them, what became of each."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from failwell.call.operation import Operation
from failwell.errors import CallError
from failwell.failure import Effect, Failure
from failwell.operations.batches import Batch, BatchItem, BatchResult
from failwell.operations.steps import Steps, do, every_item, locally
from pictograph.exceptions import (
    AuthError,
    ConflictError,
    FolderUploadError,
    ForbiddenError,
    PaymentRequiredError,
)
from pictograph.models import FileResult, Image, Page
from pictograph.resources import MAX_LIMIT, check, file_to_send, find_dataset, upload_operation

# What is told of the end of a file, and what of its bytes that were sent.
Ended = Callable[[BatchItem["File", FileResult], int, int | None], object]
Moved = Callable[[int, int | None], object]

CONCURRENCY = 16
MAX_CONCURRENCY = 100  # connections that a client opens

# What the service takes, by the names that such files have.
ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".webp")

# Every other file would fail so, too.
HOPELESS = (AuthError, ForbiddenError, PaymentRequiredError)
# After so many failures of the network or the service in a row, and each has been tried four times, the
# service is down.
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
    The upload of a folder.

    Args:
        folder: Where the files are.
        concurrency: Uploads at once.
        skip_existing: Whether what the service has is left out.
        recursive: Whether folders in it count.
        into: The folder of the dataset to upload into.

    Attributes:
        files: The images, in the order of their paths.
        size: Their bytes.
        patience: Seconds that the client allows for a call; None for no limit.

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
        self._skip_existing = check.flag("skip_existing", skip_existing)
        self._concurrency = check.whole("concurrency", concurrency, least=1, most=MAX_CONCURRENCY)
        self.files = _files_in(
            _folder("folder", folder), check.flag("recursive", recursive), check.text("into", into)
        )
        self.size = sum(file.size for file in self.files)
        self.patience: float | None = None
        self._dataset_id = ""
        self._stored: dict[tuple[str, str], Stored] = {}

    def uploaded(
        self, dataset: str, tell: Ended, moved_of: Callable[[File], Moved | None]
    ) -> Steps[list[FileResult]]:
        """
        What became of each file, in order, as a step.

        Args:
            dataset: The id or name of where to.
            tell: Called for each file that is dealt with.
            moved_of: Gives what is called with the bytes of a file that were sent; None for nothing.

        Raises:
            FolderUploadError: some were not uploaded.
            NotFoundError: there is no such dataset.
        """
        self._dataset_id = (yield from find_dataset(check.text("dataset", dataset, empty=False))).id
        if self._skip_existing:
            self._stored = yield from stored_images(self._dataset_id)
        result = yield from do(
            Batch(
                self.files,
                lambda file, key: self._file(file, key, moved_of(file)),
                concurrency=self._concurrency,
                stops_on=HOPELESS,
                outage=OUTAGE_FILES,
                patience=PATIENCE,
                progress=tell,
                name=_unnamed,
            )
        )
        if result.ok:
            return [result_of(item) for item in result]
        raise _folder_error(result)

    def _file(self, file: File, key: str, progress: Moved | None) -> Steps[FileResult]:
        """A file, uploaded, as a step."""
        stored = self._stored.get(file.key)
        if stored is not None and (yield from _is_there(file, stored)):
            return FileResult(file.shown, "skipped", stored.id)
        try:
            image = yield from do(
                upload_operation(
                    self._dataset_id,
                    file_to_send(file.path),
                    name=file.name,
                    folder=file.folder,
                    progress=progress,
                    idempotency_key=key,
                    patience=self.patience,
                )
            )
        except ConflictError as error:
            # Somebody uploaded it after the list was made: perhaps this folder's upload before, whose
            # last files were still on their way when it was interrupted.
            there = _image_there(error) if self._skip_existing else None
            if there is None or not (yield from _is_there(file, there)):
                raise
            return FileResult(file.shown, "skipped", there.id)
        return FileResult(file.shown, "uploaded", image.id)


def _is_there(file: File, stored: Stored) -> Steps[bool]:
    return (yield from locally(lambda: same_file(file, stored.size, stored.sha256)))


def _unnamed(file: File) -> None:
    """The errors of files have a note of ours."""


def result_of(item: BatchItem[File, FileResult]) -> FileResult:
    """What became of a file."""
    if item.result is not None:
        return item.result
    assert item.item is not None
    status = "not_tried" if item.error is None else "failed"
    return FileResult(item.item.shown, status, error=None if item.error is None else str(item.error))


def _folder_error(batch: BatchResult[File, FileResult]) -> FolderUploadError:
    errors: list[Exception] = []
    for item in batch.failed:
        assert item.error is not None
        assert item.item is not None
        item.error.add_note(f"while uploading {item.item.shown}")
        errors.append(item.error)
    return _batch_error([result_of(item) for item in batch], errors)


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
