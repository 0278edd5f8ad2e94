"""Videos: upload them in parts, take an upload up again, find, download and delete them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from failwell.call.messages import Response
from failwell.call.operation import Operation
from failwell.client import AsyncClient, Client
from failwell.operations.downloads import Download
from failwell.operations.parts import PASSES, Part, PartUpload, UploadSession, WholeFile
from failwell.operations.steps import Steps, do, locally
from failwell.progress import bar
from failwell.resources import AsyncResource, Resource, awaiting, operation
from scopix.calls import callback, check, nothing, paging, present, write
from scopix.errors import ScopixError, VideoUploadError
from scopix.files import check_path, content_download, time_to_send
from scopix.models import Page, Video, VideoUpload
from scopix.sources import Source, sources_of

CONCURRENCY = 4
MAX_CONCURRENCY = 64

_PATH = "/v1/videos"
_STAGES = ("initiate", "chunk_upload", "complete")


class Videos(Resource):
    """Videos."""

    def __init__(self, client: Client, deadline: float | None) -> None:
        super().__init__(client)
        self._deadline = deadline

    @operation
    def upload(
        self,
        file: str | os.PathLike[str] | bytes | BinaryIO,
        *,
        name: str | None = None,
        media_id: str | None = None,
        resume: bool = True,
        chunk_size: int | None = None,
        concurrency: int = CONCURRENCY,
        progress: bool | Callable[[int, int], object] | None = False,
        on_started: Callable[[str], object] | None = None,
    ) -> Steps[Video]:
        """
        Upload a video in parts, several at once, each with its checksum and its retries.

        An upload that was broken off, by a crash as well, is taken up where it was: parts that the
        service has, and that are the same, are not sent again.

        Args:
            file: A path, bytes, or a file opened in binary mode.
            name: What the video is called; by default as the file.
            media_id: The upload to take up again.
            resume: Without a `media_id`, whether to take up an unfinished upload of a video of this
                name and size.
            chunk_size: Bytes of each part but the last; by default the service decides.
            concurrency: How many parts are sent at once, 1 to 64.
            progress: True for a bar; or called with the bytes sent and the bytes in all.
            on_started: Called with the `media_id` once it is known.

        Raises:
            VideoUploadError: it was not uploaded: `media_id`, `stage`, `partial_chunks`.
            QuotaExceededError: the account has no room for it.
            ValidationError: there is no such file. Nothing was sent.
        """
        check.optional(check.text, "name", name, empty=False)
        check.optional(check.segment, "media_id", media_id)
        check.flag("resume", resume)
        check.optional(check.whole, "chunk_size", chunk_size, least=1)
        check.whole("concurrency", concurrency, least=1, most=MAX_CONCURRENCY)
        if progress is not None and not isinstance(progress, bool):
            callback("progress", progress)
        callback("on_started", on_started)
        how = _How(name, media_id, resume, chunk_size, concurrency, progress, on_started, self._deadline)
        return _upload(file, how)

    @operation
    def get(self, media_id: str) -> Operation[Video]:
        """A video."""
        return Operation("GET", _video(media_id), Video.from_response)

    @operation
    def list(
        self,
        *,
        state: str | None = None,
        name: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Operation[Page[Video]]:
        """
        A page of the account's videos, the oldest first.

        Args:
            state: Only "completed" ones, or only those that are "uploading".
            name: Only those of this name.
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        query = {
            "state": check.optional(check.text, "state", state),
            "name": check.optional(check.text, "name", name),
            **paging(limit, cursor),
        }
        return Operation("GET", _PATH, Page.of(Video.from_json), params=query)

    @operation
    def chunks(self, media_id: str) -> Operation[VideoUpload]:
        """The upload of a video as the service has it on record: which parts came."""
        return Operation("GET", f"{_video(media_id)}/chunks", VideoUpload.from_response)

    @operation
    def delete(self, media_id: str, *, idempotency_key: str | None = None) -> Operation[None]:
        """
        Delete a video, or give up its upload.

        Args:
            media_id: The video.
            idempotency_key: Sent with every try; by default one is made for the call.
        """
        return write("DELETE", _video(media_id), nothing, None, idempotency_key)

    @operation
    def download(
        self,
        media_id: str,
        to: str | os.PathLike[str],
        *,
        overwrite: bool = True,
        resume: Mapping[str, Any] | None = None,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> Download[Path]:
        """
        Write a video to a path. It appears there when it is whole and checked.

        Args:
            media_id: The video.
            to: Where to.
            overwrite: Whether what is there may be replaced.
            resume: `details` of the error of an earlier download: only the rest is fetched.
            progress: Called with the bytes received and the bytes in all.
        """
        path = check_path("to", to)
        return content_download(f"{_video(media_id)}/content", path, overwrite, resume, progress)


class AsyncVideos(AsyncResource):
    """Videos."""

    def __init__(self, client: AsyncClient, deadline: float | None) -> None:
        super().__init__(client)
        self._deadline = deadline

    upload = awaiting(Videos.upload)
    get = awaiting(Videos.get)
    list = awaiting(Videos.list)
    chunks = awaiting(Videos.chunks)
    delete = awaiting(Videos.delete)
    download = awaiting(Videos.download)


class _How:
    """How a video is uploaded: the arguments of `Videos.upload`, checked."""

    def __init__(
        self,
        name: str | None,
        media_id: str | None,
        resume: bool,
        chunk_size: int | None,
        concurrency: int,
        progress: Any,
        on_started: Callable[[str], object] | None,
        deadline: float | None,
    ) -> None:
        self.name = name
        self.media_id = media_id
        self.resume = resume
        self.chunk_size = chunk_size
        self.concurrency = concurrency
        self.progress = progress
        self.on_started = on_started
        self.deadline = deadline


def _upload(file: Any, how: _How) -> Steps[Video]:
    source = yield from locally(lambda: _one_source(file, how.name))
    media_id = how.media_id
    with bar(how.progress, total=source.size, unit="bytes", install="scopix[progress]", check=check) as tell:
        if media_id is None and how.resume:
            media_id = yield from _unfinished(source)
        upload: PartUpload[Video | VideoUpload] = PartUpload(
            source.content,
            begin=lambda size: _begin(source.name, size, how.chunk_size),
            send=lambda session, part: _send(session, part, how.deadline),
            complete=_complete,
            look=_look,
            upload_id=media_id,
            concurrency=how.concurrency,
            stages=_STAGES,
            progress=tell,
            begun=_told(how.on_started),
            raises=VideoUploadError,
            called="video",
        )
        sent: Video | VideoUpload = yield from do(upload)
    if isinstance(sent, Video):
        return sent
    return (yield from _completed(sent, source))


def _completed(upload: VideoUpload, source: Source) -> Steps[Video]:
    """The video of an upload that somebody completed, if it is the file that was given."""
    video = yield from do(Operation("GET", _video(upload.media_id), Video.from_response))
    yield from locally(source.read)
    if video.sha256 not in (None, source.digest):
        raise check.refused(f"{upload.media_id} is a video that is complete, and another than {source.name}")
    return video


def _one_source(file: Any, name: str | None) -> Source:
    sources = sources_of(file)
    if len(sources) != 1:
        raise check.refused(f"file is {len(sources)} files: videos are uploaded one by one")
    source = sources[0]
    if name is not None:
        source.name = name
    if not source.name:
        raise check.refused("name is missing: bytes and open files may have none of their own")
    return source


def _unfinished(source: Source) -> Steps[str | None]:
    """The upload of a video of this name and size that was begun last and never finished."""
    query = {"state": "uploading", "name": source.name, "size": source.size}
    search = Operation("GET", _PATH, Page.of(VideoUpload.from_json), params=query)
    try:
        page: Page[VideoUpload] = yield from do(search)
    except ScopixError as error:
        if isinstance(error, PASSES):
            raise
        # Asking is part of beginning.
        details = {**error.failure.details, "stage": _STAGES[0]}
        raise VideoUploadError.from_failure(replace(error.failure, details=details)) from error
    same = [upload for upload in page if upload.size in (None, source.size)]
    return same[-1].media_id if same else None


def _begin(name: str, size: int, chunk_size: int | None) -> Operation[UploadSession]:
    body = present(filename=name, size=size, chunk_size=chunk_size)
    return Operation("POST", _PATH, _session, json=body)


def _send(session: UploadSession, part: Part, deadline: float | None) -> Operation[None]:
    path = f"{_video(session.upload_id)}/chunks/{part.number}"
    seconds = time_to_send(part.size, deadline)
    return Operation("PUT", path, nothing, content=part.content, deadline=seconds)


def _complete(session: UploadSession, whole: WholeFile) -> Operation[Video | VideoUpload]:
    body = {"sha256": whole.sha256}
    return Operation("POST", f"{_video(session.upload_id)}/complete", Video.from_response, json=body)


def _look(media_id: str) -> Operation[UploadSession]:
    return Operation("GET", f"{_video(media_id)}/chunks", _session)


def _session(response: Response) -> UploadSession:
    """What the service has of an upload."""
    known = VideoUpload.from_response(response)
    return UploadSession(
        known.media_id,
        known.chunk_size,
        {chunk.number: chunk.sha256 for chunk in known.chunks},
        size=known.size,
        result=known if known.state == "completed" else None,
        about={"media_id": known.media_id},
    )


def _told(on_started: Callable[[str], object] | None) -> Callable[[UploadSession], object] | None:
    if on_started is None:
        return None
    return lambda session: on_started(session.upload_id)


def _video(media_id: object) -> str:
    return f"{_PATH}/{check.segment('media_id', media_id)}"
