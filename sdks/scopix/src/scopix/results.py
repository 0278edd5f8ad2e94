"""What became of the files of a batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, overload

from failwell.failure import Failure
from failwell.operations.batches import BatchItem, BatchResult
from scopix.errors import (
    DescriptionError,
    DocumentProcessingError,
    RateLimitError,
    ScopixError,
    ScopixTimeoutError,
    UploadError,
)
from scopix.models import Description, File
from scopix.sources import Source

# Failures that a message tells of.
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class UploadResult:
    """
    What became of one file of a batch.

    Attributes:
        name: The file.
        status: "uploaded", "existing" (the service had it already), "failed" or "not_sent".
        file: What is stored; None if nothing is.
        error: What went wrong; None if nothing did.
        stage: The step that went wrong: "initiate", "upload" or "complete".
    """

    name: str
    status: str
    file: File | None = None
    error: ScopixError | None = None
    stage: str | None = None

    @property
    def id(self) -> str | None:
        """What the file is called in the service."""
        return None if self.file is None else self.file.id

    @property
    def description(self) -> Description | None:
        """What is to be seen in an image, as far as it was described when it was last looked at."""
        return None if self.file is None else self.file.description

    @property
    def description_status(self) -> str | None:
        """
        "pending", "processing", "completed", "failed" or "skipped"; None if nothing is stored.

        Descriptions are made after the upload: `client.files.wait_for_descriptions` brings later ones.
        """
        return None if self.file is None else self.file.description_status

    @property
    def description_error(self) -> str | None:
        """Why an image could not be described."""
        return None if self.file is None else self.file.description_error

    @property
    def ok(self) -> bool:
        """Whether the file is stored."""
        return self.file is not None


class BatchUploadResults(Sequence[UploadResult]):
    """
    What became of the files of a batch, in the order in which they were given.

    Iterates over its `UploadResult`s, has a length, and takes an index. Given to `upload_batch`, only
    what is missing is sent.
    """

    def __init__(
        self, results: Sequence[UploadResult], *, batch: BatchResult[Source, File] | None = None
    ) -> None:
        self._results = tuple(results)
        self._batch = batch

    @classmethod
    def of(cls, batch: BatchResult[Source, File]) -> Self:
        """The results of a batch that was sent."""
        return cls([result_of(item) for item in batch], batch=batch)

    def __repr__(self) -> str:
        counts = {
            "uploaded": len(self.uploaded),
            "existing": len(self.existing),
            "failed": len(self.failed),
            "not sent": len(self.not_sent),
        }
        told = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
        return f"<BatchUploadResults {told or 'of nothing'}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BatchUploadResults) and self._results == other._results

    def __hash__(self) -> int:
        return hash(tuple(result.id for result in self._results))

    def __reduce__(self) -> tuple[Any, ...]:
        # The files that were given stay where they are: another process cannot send them.
        return type(self), (self._results,)

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, index: int) -> UploadResult: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[UploadResult]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._results[index]

    @property
    def uploaded(self) -> list[UploadResult]:
        """Those that were uploaded now."""
        return self._with("uploaded")

    @property
    def existing(self) -> list[UploadResult]:
        """Those that the service had already."""
        return self._with("existing")

    @property
    def failed(self) -> list[UploadResult]:
        """Those that failed, each with its `error`."""
        return self._with("failed")

    @property
    def not_sent(self) -> list[UploadResult]:
        """Those that were not begun, because of a failure that they would have met, too."""
        return self._with("not_sent")

    @property
    def files(self) -> list[File]:
        """All that is stored."""
        return [result.file for result in self._results if result.file is not None]

    @property
    def ok(self) -> bool:
        """Whether all files are stored. Whether they are described is another question."""
        return all(result.ok for result in self._results)

    def raise_on_failures(self) -> Self:
        """
        These results, if nothing went wrong as far as is known.

        Raises:
            ScopixError: a file was not uploaded: as `upload_batch` raises it.
            DescriptionError: an image could not be described.
            DocumentProcessingError: a document could not be processed.
        """
        if not self.ok:
            raise self.error()
        error = self._description_error()
        if error is not None:
            raise error
        return self

    def error(self) -> ScopixError:
        """
        The exception, not raised, that says which files are not stored; `partial_results` are these.

        The error of the file, if there is only one; the error because of which the rest was not sent;
        a rate limit, which says when to come back; else an `UploadError` about the first that failed,
        which is its `__cause__`.
        """
        stopper: Exception | None = self._batch.stopper if self._batch is not None else None
        failed = [result for result in self._results if not result.ok]
        first = next((result for result in failed if result.error is not None), failed[0])
        throttled = (result.error for result in failed if isinstance(result.error, RateLimitError))
        stopper = stopper or next(throttled, None)
        if isinstance(stopper, ScopixError):
            error = _alone(stopper)
        elif len(self._results) == 1 and first.error is not None:
            error = _alone(first.error)
        else:
            error = self._upload_error(failed, first)
        error._partial_results = self
        return error

    def refreshed(self, files: Sequence[File]) -> BatchUploadResults:
        """The same results with what is now known of their files."""
        known = {file.id: file for file in files}
        now = [
            result if result.file is None else replace(result, file=known.get(result.file.id, result.file))
            for result in self._results
        ]
        return BatchUploadResults(now, batch=self._batch)

    def _with(self, status: str) -> list[UploadResult]:
        return [result for result in self._results if result.status == status]

    def _upload_error(self, failed: Sequence[UploadResult], first: UploadResult) -> UploadError:
        told = [f"{result.name}: {result.error.headline()}" for result in failed if result.error]
        more = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        why = f": {'; '.join(told[:_SHOWN])}{more}" if told else ""
        cause = first.error
        details = {"filename": first.name, "stage": first.stage or "initiate"}
        if isinstance(cause, UploadError) and cause.session_id is not None:
            details["session_id"] = cause.session_id
        known = Failure() if cause is None else replace(cause.failure, headers={}, body=None)
        message = f"{len(failed)} of {len(self._results)} files were not uploaded{why}"
        error = UploadError.from_failure(
            replace(known, message=message, code="UPLOAD_ERROR", details=details, status=None), message
        )
        error.__cause__ = cause
        return error

    def _description_error(self) -> ScopixError | None:
        files = self.files
        images = [file for file in files if file.description_status == "failed"]
        documents = [file for file in files if file.processing_status == "failed"]
        if images:
            first = images[0]
            why = first.description_error or "no reason was given"
            message = f"{len(images)} of {len(files)} files could not be described: {first.name}: {why}"
            return DescriptionError(message, image_id=first.id, status=first.description_status)
        if documents:
            first = documents[0]
            why = first.processing_error or "no reason was given"
            message = f"{len(documents)} of {len(files)} files could not be processed: {first.name}: {why}"
            return DocumentProcessingError(message, document_id=first.id, status=first.processing_status)
        return None


def result_of(item: BatchItem[Source, File]) -> UploadResult:
    """What became of one file."""
    source = item.item
    if item.status == "done":
        there = source is not None and source.was_there
        return UploadResult(item.name or "", "existing" if there else "uploaded", item.result)
    error = item.error
    if not isinstance(error, ScopixError):
        return UploadResult(item.name or "", "not_sent")
    stage = source.stage if source is not None else None
    if isinstance(error, UploadError):
        _tell_which(error, item.name, stage, source)
    return UploadResult(item.name or "", "failed", error=error, stage=stage)


def _tell_which(error: UploadError, name: str | None, stage: str | None, source: Source | None) -> None:
    """Add to an error what the service, or the reading of the file, did not say."""
    told = {"filename": name, "stage": stage, "session_id": source.session_id if source else None}
    details = {key: value for key, value in told.items() if value is not None} | dict(error.failure.details)
    error.failure = replace(error.failure, details=details)


def _alone(error: ScopixError) -> ScopixError:
    """
    `error` once more. The one that is raised holds the results, and they hold the one of their file:
    one error that held itself could not be pickled.
    """
    another = copy.copy(error)
    another.__cause__ = error.__cause__
    return another


def timed_out(error: ScopixTimeoutError, results: BatchUploadResults) -> ScopixTimeoutError:
    """`error` of a wait for descriptions, with what was last seen of all files."""
    another = copy.copy(error)
    another._last_result = results
    return another
