"""What the Scopix API answers and is asked; unknown members of an answer are in `extra`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from failwell.models import Model, spelled, unknown_members
from failwell.models import Page as Page  # of lists: one name for all that is answered


@dataclass(frozen=True, slots=True)
class Colour(Model):
    """
    A colour of an image.

    Attributes:
        colour: "#rrggbb".
        name: The nearest colour that has one.
        share: Of the image, from 0 to 1.
    """

    colour: str
    name: str | None = None
    share: float | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Description(Model):
    """
    What is to be seen in an image, computed from the image itself.

    Attributes:
        text: In a sentence.
        width: Pixels.
        height: Pixels.
        format: "PNG", "JPEG".
        orientation: "landscape", "portrait" or "square".
        dominant_colours: The largest share first.
        sharpness: More is sharper.
        frames: 1 for a picture that stands still.
        exif: What the camera wrote.
    """

    text: str = ""
    width: int | None = None
    height: int | None = None
    format: str | None = None
    mode: str | None = None
    orientation: str | None = None
    dominant_colours: tuple[Colour, ...] = ()
    brightness: float | None = None
    sharpness: float | None = None
    transparent: bool | None = None
    animated: bool | None = None
    frames: int | None = None
    exif: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class File(Model):
    """
    A file that is stored.

    Attributes:
        kind: "image", "document" or "video".
        size: Bytes.
        sha256: In hexadecimal digits.
        description: What is to be seen in an image, once it is described.
        description_status: "pending", "processing", "completed", "failed" or "skipped".
        description_error: Why an image could not be described.
        processing_status: The same words for a document: whether chats can answer from it.
        processing_error: Why a document could not be processed.
        pages: Of a document that has pages.
    """

    id: str
    kind: str
    name: str
    size: int
    sha256: str
    content_type: str | None = None
    description: Description | None = None
    description_status: str = "pending"
    description_error: str | None = None
    processing_status: str | None = None
    processing_error: str | None = None
    pages: int | None = None
    created_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Chunk(Model):
    """A part of a video that the service has; `sha256` in hexadecimal digits."""

    number: int
    size: int
    sha256: str
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class VideoUpload(Model):
    """
    The upload of a video, as the service has it on record.

    Attributes:
        media_id: What to go on with after a crash.
        state: "uploading" or "completed".
        size: Bytes in all.
        chunk_size: Bytes of each part but the last.
        chunks: The parts that came.
    """

    media_id: str
    chunk_size: int
    chunk_count: int | None = None
    state: str = "uploading"
    filename: str | None = field(default=None, metadata=spelled("filename", "name"))
    size: int | None = None
    chunks: tuple[Chunk, ...] = ()
    expires_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Video(Model):
    """
    A video that is stored.

    Attributes:
        size: Bytes.
        sha256: In hexadecimal digits.
        state: "completed", or "uploading" while parts are missing.
    """

    media_id: str = field(metadata=spelled("media_id", "id"))
    filename: str = field(metadata=spelled("filename", "name"))
    size: int
    sha256: str | None = None
    state: str = "completed"
    content_type: str | None = None
    created_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class JobError(Model):
    """Why a job failed: `reason` says more than `code`."""

    code: str | None = None
    message: str | None = None
    reason: str | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Scene(Model):
    """A scene of a video: `start` and `end` in seconds, `frame` the number of its first frame."""

    start: float
    end: float
    frame: int | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class AnalysisResult(Model):
    """
    What was found in a video.

    Attributes:
        duration: Seconds.
        width: Pixels.
        height: Pixels.
        fps: Frames in a second.
    """

    duration: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    fps: float | None = None
    frames: int | None = None
    scenes: tuple[Scene, ...] = ()
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class VideoAnalysis(Model):
    """
    The analysis of a video.

    Attributes:
        status: "queued", "running", "completed", "failed" or "cancelled".
        progress: From 0 to 1.
        result: What was found, once it is completed.
        error: Why it failed.
        attempts: How often it was run.
    """

    id: str
    media_id: str
    status: str
    progress: float = 0.0
    result: AnalysisResult | None = None
    error: JobError | None = None
    attempts: int = 1
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Connection(Model):
    """
    A cloud storage that was connected. Its secrets are never given back.

    Attributes:
        provider: "local" or "s3".
        options: Where it is.
    """

    id: str
    name: str
    provider: str
    options: Mapping[str, Any] | None = None
    created_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class RemoteFile(Model):
    """A file in a cloud storage; `size` in bytes."""

    path: str = field(metadata=spelled("path", "name", "key"))
    size: int | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class JobFile(Model):
    """
    What became of one file of a job.

    Attributes:
        path: In the cloud storage.
        file_id: In Scopix.
        status: "completed", "failed" or "skipped"; "pending" until then.
        error: Why it failed.
    """

    path: str | None = None
    file_id: str | None = None
    status: str = "pending"
    error: str | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class StorageJob(Model):
    """
    An import, an export, or a run of an S3 connector.

    Attributes:
        kind: "import", "export" or "sync".
        status: "queued", "running", "completed", "failed" or "cancelled".
        progress: From 0 to 1.
        files: What became of each file.
        error: Why it failed.
    """

    id: str
    status: str
    kind: str | None = None
    connection_id: str | None = None
    connector_id: str | None = None
    progress: float = 0.0
    files: tuple[JobFile, ...] = ()
    error: JobError | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Connector(Model):
    """An S3 bucket whose files are taken over. Its keys are never given back."""

    id: str
    bucket: str
    prefix: str | None = None
    endpoint_url: str | None = None
    name: str | None = None
    created_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class ChatSession(Model):
    """
    A chat about files.

    Attributes:
        file_ids: The files it answers from; None for all of the account.
        status: "open" or "closed".
    """

    id: str
    title: str | None = None
    file_ids: tuple[str, ...] | None = None
    status: str = "open"
    message_count: int = 0
    created_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Citation(Model):
    """
    Where an answer is from.

    Attributes:
        start: Where the quote begins in the text of the file, in characters.
        end: Where it ends.
        page: Counted from 1, where the file has pages.
    """

    file_id: str
    name: str | None = None
    start: int | None = None
    end: int | None = None
    page: int | None = None
    quote: str | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class ChatMessage(Model):
    """
    An answer.

    Attributes:
        content: The text.
        citations: Where it is from.
        sha256: Of the text in UTF-8, in hexadecimal digits.
        length: Of the text, in characters.
    """

    id: str
    session_id: str
    content: str
    role: str = "assistant"
    question: str | None = None
    citations: tuple[Citation, ...] = ()
    status: str = "completed"
    sha256: str | None = None
    length: int | None = None
    events_url: str | None = None
    created_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class ChatEvent:
    """
    A piece of an answer as it comes.

    Attributes:
        type: "started", "delta", "citation" or "completed".
        message_id: The answer it belongs to.
        text: What comes next, if it is a "delta"; else "".
        citation: Where the text is from, if it is a "citation".
    """

    type: str
    message_id: str | None = None
    text: str = ""
    citation: Citation | None = None


@dataclass(frozen=True, slots=True)
class Usage(Model):
    """
    How much of the account's quotas is used.

    Attributes:
        plan: "free", "pro" or "enterprise".
        past_due: Whether a payment is: nothing can be written then.
        bytes: `used` and `limit`.
        files: `used` and `limit`.
    """

    plan: str
    past_due: bool = False
    bytes: Mapping[str, Any] | None = None
    files: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = unknown_members()
