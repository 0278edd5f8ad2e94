"""Images and documents: upload, find, download and delete them."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from failwell.call.messages import Response
from failwell.call.operation import Operation
from failwell.client import AsyncClient, Client
from failwell.failure import Failure
from failwell.operations.batches import STOPS_ON, Batch, BatchItem, BatchResult
from failwell.operations.downloads import Download, Downloaded
from failwell.operations.polling import Poll, PollPolicy
from failwell.operations.steps import Steps, do, locally
from failwell.progress import bar
from failwell.resources import AsyncResource, Resource, awaiting, operation
from scopix.calls import JOB_TIMEOUT, callback, check, nothing, paging, wait_for, write
from scopix.errors import RateLimitError, ScopixPermissionError, ScopixTimeoutError
from scopix.models import File, Page
from scopix.results import BatchUploadResults, UploadResult, result_of, timed_out
from scopix.sources import Source, sources_of

Content: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | tuple[str, bytes | BinaryIO]"
Progress: TypeAlias = "bool | Callable[[UploadResult, int, int], object] | None"

CONCURRENCY = 8
MAX_CONCURRENCY = 100  # connections that a client opens

# What is larger goes in three steps, and can be twice as much as memory.
ONE_CALL_BYTES = 64 * 1024 * 1024

# A file alone that is not larger is sent at once: asking whether it is there would take as long.
UNASKED_BYTES = 1024 * 1024
LOOKUP_FILES = 500

# An upload has a second more for so many bytes: what a connection of half a megabit carries.
BYTES_PER_SECOND = 64 * 1024

_PATH = "/v1/files"
_ENDED = ("completed", "failed", "skipped")
_STOPS_ON = (*STOPS_ON, ScopixPermissionError)
_POLICY = PollPolicy(interval=1.0, cap=10.0)


class Files(Resource):
    """Images and documents."""

    def __init__(self, client: Client, deadline: float | None, patience: float) -> None:
        super().__init__(client)
        self._deadline = deadline
        self._patience = patience

    @operation
    def upload_batch(
        self,
        files: Content | Iterable[Content] | BatchUploadResults,
        *,
        concurrency: int = CONCURRENCY,
        progress: Progress = False,
    ) -> Steps[BatchUploadResults]:
        """
        Upload one file or many. What the service has already, by name and SHA-256, is not sent again.

        Args:
            files: A path, a glob such as "photos/**/*.jpg", bytes, a file opened in binary mode, a pair
                of a name and a content, or a list of those. Or the results of an earlier batch: then
                only what is missing.
            concurrency: How many are uploaded at once, 1 to 100.
            progress: True for a bar; or called when a file is done with, with its result, how many
                are, and how many there are.

        Returns:
            What became of each file, in the order given. Images are described afterwards.

        Raises:
            UploadError: some files were not uploaded; `partial_results` has what became of each.
            QuotaExceededError: (or another that every other file would meet) the rest was not sent;
                `partial_results` as above.
            RateLimitError: the service asks for a longer wait than the client makes; a batch waits up
                to half an hour for each file, one file only as long as its retries last.
            ScopixError: the only file was not uploaded, and this is why.
            ValidationError: there is no such file. Nothing was sent.
        """
        check.whole("concurrency", concurrency, least=1, most=MAX_CONCURRENCY)
        if progress is not None and not isinstance(progress, bool):
            callback("progress", progress)
        return _upload_batch(files, concurrency, progress, self._deadline, self._patience)

    @operation
    def get(self, file_id: str) -> Operation[File]:
        """
        A file as it is now.

        Raises:
            ResourceNotFoundError: there is none.
        """
        return _look(file_id)

    @operation
    def list(
        self,
        *,
        kind: str | None = None,
        name: str | None = None,
        sha256: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Operation[Page[File]]:
        """
        A page of the account's files, the oldest first.

        Args:
            kind: Only "image", "document" or "video".
            name: Only those of this name.
            sha256: Only those with this SHA-256, in hexadecimal digits.
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        query = {
            "kind": check.optional(check.text, "kind", kind),
            "name": check.optional(check.text, "name", name),
            "sha256": check.optional(check.text, "sha256", sha256),
            **paging(limit, cursor),
        }
        return Operation("GET", _PATH, Page.of(File.from_json), params=query)

    @operation
    def delete(self, file_id: str, *, idempotency_key: str | None = None) -> Operation[None]:
        """
        Delete a file.

        Args:
            file_id: The file.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            DocumentProcessingError: it is a document that is still processed.
        """
        path = f"{_PATH}/{check.segment('file_id', file_id)}"
        return write("DELETE", path, nothing, None, idempotency_key)

    @operation
    def read(self, file_id: str) -> Operation[bytes]:
        """The content of a file, at most 64 MiB unless `Connections(max_body_bytes=)` says otherwise."""
        return Operation("GET", _content(file_id), _checked_content, headers={"accept": "*/*"})

    @operation
    def download(
        self,
        file_id: str,
        to: str | os.PathLike[str],
        *,
        overwrite: bool = True,
        resume: Mapping[str, Any] | None = None,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> Download[Path]:
        """
        Write the content of a file to a path. It appears there when it is whole and checked.

        Args:
            file_id: The file.
            to: Where to.
            overwrite: Whether what is there may be replaced.
            resume: `details` of the error of an earlier download: only the rest is fetched.
            progress: Called with the bytes received and the bytes in all.
        """
        path = check_path("to", to)
        return content_download(_content(file_id), path, overwrite, resume, progress)

    @operation
    def wait_for_processing(
        self,
        file_id: str,
        *,
        timeout: float | None = JOB_TIMEOUT,
        progress: Callable[[File], object] | None = None,
    ) -> Steps[File]:
        """
        A file, once it is described if it is an image, or processed if it is a document.

        Args:
            file_id: The file.
            timeout: Seconds to wait; None for no limit.
            progress: Called with the file as each look saw it.

        Raises:
            DescriptionError: the image could not be described.
            DocumentProcessingError: the document could not be processed.
            ScopixTimeoutError: it goes on; `last_result` is the file as last seen.
        """
        return wait_for(
            _look(file_id),
            file_id,
            failed=_why_it_failed,
            timeout=timeout,
            progress=progress,
            called="processing of",
            finished=_is_processed,
            status=_status_of,
        )

    @operation
    def wait_for_descriptions(
        self,
        results: BatchUploadResults,
        *,
        timeout: float | None = JOB_TIMEOUT,
        concurrency: int = CONCURRENCY,
    ) -> Steps[BatchUploadResults]:
        """
        The results of a batch, once its images are described and its documents processed.

        Args:
            results: What `upload_batch` gave.
            timeout: Seconds to wait for each file; None for no limit.
            concurrency: How many are looked at at once, 1 to 100.

        Returns:
            The same results with what is known now; `raise_on_failures()` says what failed.

        Raises:
            ScopixTimeoutError: the service goes on; `last_result` is the results as last seen.
        """
        check.instance("results", results, BatchUploadResults, "what upload_batch gave")
        check.whole("concurrency", concurrency, least=1, most=MAX_CONCURRENCY)
        check.optional(check.seconds, "timeout", timeout)
        return _wait_for_descriptions(results, timeout, concurrency)


class AsyncFiles(AsyncResource):
    """Images and documents."""

    def __init__(self, client: AsyncClient, deadline: float | None, patience: float) -> None:
        super().__init__(client)
        self._deadline = deadline
        self._patience = patience

    upload_batch = awaiting(Files.upload_batch)
    get = awaiting(Files.get)
    list = awaiting(Files.list)
    delete = awaiting(Files.delete)
    read = awaiting(Files.read)
    download = awaiting(Files.download)
    wait_for_processing = awaiting(Files.wait_for_processing)
    wait_for_descriptions = awaiting(Files.wait_for_descriptions)


def check_path(name: str, value: Any) -> str:
    """A path as text."""
    try:
        path = os.fspath(value)
    except TypeError:
        raise check.wrong_type(name, value, "a path") from None
    if not isinstance(path, str):
        raise check.wrong_type(name, value, "a path as a string")
    check.text(name, path, empty=False)
    try:
        can_be = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        can_be = False
    if not can_be:
        raise check.refused(f"{name} is a path that no file can have")
    return path


def content_download(url: str, to: str, overwrite: Any, resume: Any, progress: Any) -> Download[Path]:
    """A content that is written to a path."""
    return Download(
        Operation("GET", url, headers={"accept": "*/*"}),
        to,
        result=_path_of,
        progress=callback("progress", progress),
        resume=check.optional(check.mapping, "resume", resume),
        overwrite=check.flag("overwrite", overwrite),
    )


def time_to_send(size: int, deadline: float | None) -> float | None:
    """Seconds for an upload: what any call has, and more by its size; None for no limit."""
    return None if deadline is None else deadline + size / BYTES_PER_SECOND


# --- a batch ---


def _upload_batch(
    files: Any, concurrency: int, progress: Any, deadline: float | None, patience: float
) -> Steps[BatchUploadResults]:
    again = files._batch if isinstance(files, BatchUploadResults) else None
    sources: Sequence[Source] = ()
    if again is None:
        if isinstance(files, BatchUploadResults):
            if files.ok:
                return files
            raise check.refused("these results come from another process: give the files themselves again")
        sources = yield from locally(lambda: sources_of(files))
    total = len(sources) if again is None else len(again)

    with bar(progress, total=total, unit="files", install="scopix[progress]", check=check) as tell:
        settings: dict[str, Any] = {"concurrency": concurrency, "progress": _teller(tell, total)}
        if total <= 1 or not patience:
            # Whoever uploads one file, or wants no retries, is told of a rate limit.
            settings |= {"patience": 0.0, "stops_on": (*_STOPS_ON, RateLimitError)}
        else:
            settings |= {"patience": patience, "stops_on": _STOPS_ON}
        if again is None:
            yield from _look_up(sources)
            batch = Batch(sources, lambda source, key: _send(source, key, deadline), **settings)
        else:
            batch = again.again(**settings)
        sent: BatchResult[Source, File] = yield from do(batch)
    results = BatchUploadResults.of(sent)
    if not results.ok:
        raise results.error()
    return results


def _teller(tell: Any, total: int) -> Callable[[BatchItem[Source, File], int, int | None], object] | None:
    if tell is None:
        return None
    return lambda item, done, _: tell(result_of(item), done, total)


def _look_up(sources: Sequence[Source]) -> Steps[None]:
    """Find out what the service has of them. Their digests are needed for sending, too."""
    is_little = len(sources) == 1 and sources[0].size <= UNASKED_BYTES
    for begin in range(0, len(sources), LOOKUP_FILES):
        part = sources[begin : begin + LOOKUP_FILES]
        yield from locally(partial(_read, part))
        if not is_little:
            asked = [{"name": source.name, "sha256": source.digest} for source in part]
            lookup = Operation("POST", f"{_PATH}/lookup", _known_files, json={"files": asked})
            found = yield from do(lookup)
            if len(found) != len(part):
                continue  # a service that answers something else: everything is sent
            for source, file in zip(part, found, strict=True):
                source.known = file


def _read(sources: Sequence[Source]) -> None:
    for source in sources:
        source.read()


def _known_files(response: Response) -> list[File | None]:
    items = response.json()["items"]
    return [None if item is None else File.from_json(item) for item in items]


def _send(source: Source, key: str, deadline: float | None) -> Operation[File] | Steps[File]:
    if source.known is not None:
        source.was_there = True
        return _as_it_is(source.known)
    if source.size > ONE_CALL_BYTES:
        return _in_steps(source, key, deadline)
    source.stage = "upload"
    return Operation(
        "POST",
        _PATH,
        lambda response: _stored(response, source),
        params={"name": source.name},
        headers=source.headers(),
        content=source.upload(),
        idempotency_key=key,
        deadline=time_to_send(source.size, deadline),
    )


def _as_it_is(file: File) -> Steps[File]:
    yield from ()  # nothing has to be done
    return file


def _in_steps(source: Source, key: str, deadline: float | None) -> Steps[File]:
    """A large file: a session, its content, its end."""
    source.stage = "initiate"
    told = {"filename": source.name, "size": source.size, "sha256": source.digest}
    path = f"{_PATH}/sessions"
    begun = yield from do(write("POST", path, _begun, told, f"{key}-initiate"))
    if isinstance(begun, File):
        source.was_there = True
        return begun
    source.session_id = begun
    session = f"{path}/{check.segment('session_id', source.session_id)}"
    source.stage = "upload"
    yield from do(
        Operation(
            "PUT",
            f"{session}/content",
            nothing,
            headers=source.headers(),
            content=source.upload(),
            idempotency_key=f"{key}-upload",
            deadline=time_to_send(source.size, deadline),
        )
    )
    source.stage = "complete"
    complete = Operation(
        "POST",
        f"{session}/complete",
        lambda response: _stored(response, source),
        idempotency_key=f"{key}-complete",
    )
    return (yield from do(complete))


def _begun(response: Response) -> str | File:
    """The session to go on with; the file, if the service has it already."""
    found = response.json()
    session = found["session_id"]
    if session is None:
        return File.from_json(found["file"])
    if not isinstance(session, str) or not session:
        raise ValueError("session_id is no string")
    return session


def _stored(response: Response, source: Source) -> File:
    source.was_there = response.status == 200
    return File.from_response(response)


# --- a file ---


def _look(file_id: object) -> Operation[File]:
    return Operation("GET", f"{_PATH}/{check.segment('file_id', file_id)}", File.from_response)


def _content(file_id: object) -> str:
    return f"{_PATH}/{check.segment('file_id', file_id)}/content"


def _checked_content(response: Response) -> bytes:
    """
    The body, if it is what the service says that it sent.

    Source:
        RFC 9530, section 2 (`Content-Digest`).
    """
    told = re.search(r"sha-256=:([^:]*):", response.headers.get("content-digest", ""))
    if told and told[1] != b64encode(sha256(response.content).digest()).decode():
        raise ValueError("the file is not what its Content-Digest says")
    return response.content


def _path_of(downloaded: Downloaded) -> Path:
    return downloaded.path


def _status_of(file: File) -> str:
    return file.processing_status or file.description_status


def _is_processed(file: File) -> bool:
    return _status_of(file) in _ENDED


def _why_it_failed(file: File) -> Failure | None:
    if file.description_status == "failed":
        told = {"image_id": file.id, "status": file.description_status}
        return Failure(code="DESCRIPTION_ERROR", message=file.description_error, details=told)
    if file.processing_status == "failed":
        told = {"document_id": file.id, "status": file.processing_status}
        return Failure(code="DOCUMENT_PROCESSING_ERROR", message=file.processing_error, details=told)
    return None


def _wait_for_descriptions(
    results: BatchUploadResults, timeout: float | None, concurrency: int
) -> Steps[BatchUploadResults]:
    pending = [file for file in results.files if not _is_processed(file)]
    seen = {file.id: file for file in pending}

    def wait(file: File, _: str) -> Poll[File]:
        policy = replace(_POLICY, timeout=timeout)
        return Poll(
            _look(file.id),
            file.id,
            _is_processed,
            status=_status_of,
            policy=policy,
            progress=lambda found: seen.__setitem__(found.id, found),
            called="processing of",
        )

    done = yield from do(Batch(pending, wait, concurrency=concurrency))
    now = results.refreshed([*seen.values()])
    error = next((item.error for item in done.failed), None)
    if isinstance(error, ScopixTimeoutError):
        raise timed_out(error, now)
    if error is not None:
        raise error
    return now
