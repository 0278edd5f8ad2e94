"""
Videos, uploaded in parts: initiate, chunk_upload, complete.

Each part is a file with a row, so that whoever sends them knows after any crash which are missing.
When the last one is there, they are put together and held to the SHA-256 of the whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from failwell.answer import Answer
from failwell.errors import CallError
from failwell.failure import Failure
from failwell.service import Operation, RefusedRequest, StoreBusyError, exchange_of, json_body
from failwell_sandbox import ledger
from failwell_sandbox.answers import json_answer, moment, respond
from failwell_sandbox.database import Connection
from failwell_sandbox.parameters import announced_digest, invalid, is_name
from failwell_sandbox.scopix.accounts import (
    OverQuotaError,
    add_file,
    check_space,
    give_back_space,
    locked_account,
)
from failwell_sandbox.scopix.core import FILES, INVALID, NOT_FOUND, NOT_PAID, PARTS, READ, WRITE, Core
from failwell_sandbox.scopix.files import SHA256, Stored, content_of, deleted, insert_file
from failwell_sandbox.scopix.kinds_of_file import kind_by_name
from failwell_sandbox.scopix.tables import FILES as FILE_ROWS
from failwell_sandbox.scopix.tables import VIDEO_UPLOADS, VIDEOS
from failwell_sandbox.stored_files import Incoming
from scopix.errors import QuotaExceededError, VideoUploadError

MOST_BYTES = 16 * 1024**3

LEAST_CHUNK, CHUNK, MOST_CHUNK = 64 * 1024, 8 * 1024**2, 64 * 1024**2
MOST_CHUNKS = 10_000

# How long an upload may take, seconds.
UPLOAD_SECONDS = 24 * 3600.0

# Copied at once when the parts are put together.
PIECE = 1024 * 1024

_OVER_QUOTA = (QuotaExceededError, "QUOTA_EXCEEDED")
_BROKEN = (VideoUploadError, "VIDEO_UPLOAD_ERROR")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewVideo(_Body):
    """The body of `POST /v1/videos`."""

    filename: str = Field(min_length=1, max_length=255)
    size: int = Field(ge=1, le=MOST_BYTES)
    sha256: str | None = Field(default=None, pattern=SHA256)
    chunk_size: int | None = Field(default=None, ge=LEAST_CHUNK, le=MOST_CHUNK)


class Whole(_Body):
    """The body of `POST /v1/videos/{media_id}/complete`."""

    sha256: str = Field(pattern=SHA256)


class _Upload(NamedTuple):
    """A row of `video_uploads`."""

    id: str
    name: str
    size: int
    sha256: str | None
    chunk_size: int
    chunk_count: int
    file_id: str | None
    expires_at: float
    seconds_left: float

    def size_of(self, number: int) -> int:
        """Bytes of a part."""
        return min(self.chunk_size, self.size - (number - 1) * self.chunk_size)


class _Part(NamedTuple):
    """A row of `chunks`."""

    number: int
    stored: str
    size: int
    sha256: str


_UPLOAD = (
    "SELECT id, name, size, sha256, chunk_size, chunk_count, file_id, expires_at, expires_at - {now} "
    "FROM video_uploads WHERE tenant = ? AND id = ?"
)
_PARTS = "SELECT number, stored, size, sha256 FROM chunks WHERE upload_id = ? ORDER BY number"


class VideoHandlers:
    """The handlers of videos."""

    def __init__(self, core: Core) -> None:
        self.core = core
        level = core.level
        video = "/v1/videos/{media_id}"
        self.operations = (
            Operation("GET", "/v1/videos", self.list_videos, scope=READ, raises=(INVALID,)),
            Operation("POST", "/v1/videos", self.initiate, scope=WRITE, idempotency=level,
                      parse=json_body(NewVideo), raises=(NOT_PAID, _OVER_QUOTA, INVALID)),
            Operation("GET", video, self.get_video, scope=READ, raises=(NOT_FOUND,)),
            Operation("DELETE", video, self.delete_video, scope=WRITE, idempotency=level,
                      raises=(NOT_PAID, NOT_FOUND)),
            Operation("GET", f"{video}/content", self.content, scope=READ,
                      raises=(NOT_FOUND, "range_not_satisfiable")),
            Operation("GET", f"{video}/chunks", self.list_chunks, scope=READ, raises=(NOT_FOUND,)),
            Operation("PUT", f"{video}/chunks/{{number}}", self.send_chunk, scope=WRITE,
                      idempotency=level, streamed=True, max_body_bytes=MOST_CHUNK,
                      raises=(NOT_PAID, NOT_FOUND, _BROKEN, INVALID)),
            Operation("POST", f"{video}/complete", self.complete, scope=WRITE, idempotency=level,
                      parse=json_body(Whole), raises=(NOT_PAID, NOT_FOUND, _BROKEN)),
        )  # fmt: skip

    async def list_videos(self, request: Request) -> Response:
        """The account's videos that are whole; with `state=uploading`, those that are not yet."""
        state = request.query_params.get("state", "completed")
        if state not in ("completed", "uploading"):
            raise invalid(("query", "state"), "A state is completed or uploading.", "no_state")
        return await self.core.page(request, VIDEOS if state == "completed" else VIDEO_UPLOADS)

    async def get_video(self, request: Request) -> Response:
        """One video, without its bytes."""
        return await self.core.one(request, VIDEOS, "media_id")

    async def content(self, request: Request) -> Response:
        """The bytes of a video, or a range of them."""
        return await content_of(self.core, request, request.path_params["media_id"], "video")

    # --- initiate ---

    async def initiate(self, request: Request) -> Response:
        """Set space aside for a video that is going to be sent in parts."""
        exchange = exchange_of(request)
        new: NewVideo = exchange.input
        tenant = exchange.tenant
        if not is_name(new.filename):
            raise invalid(
                ("body", "filename"), "A name has 1 to 255 printable characters, and no slash.",
                "name_not_usable",
            )  # fmt: skip
        chunk_size = new.chunk_size or max(CHUNK, _rounded(-(-new.size // MOST_CHUNKS)))
        chunk_count = -(-new.size // chunk_size)
        if chunk_count > MOST_CHUNKS:
            raise invalid(
                ("body", "chunk_size"), f"A video has {MOST_CHUNKS} parts at the most.", "too_many_chunks"
            )
        media_id = f"vid_{secrets.token_hex(12)}"

        def insert(db: Connection) -> Answer:
            check_space(locked_account(db, tenant), new.size)
            add_file(db, tenant, new.size)
            db.execute(
                "INSERT INTO video_uploads (id, tenant, name, size, sha256, chunk_size, chunk_count, "
                "created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, {now}, {now} + ?)",
                media_id, tenant, new.filename, new.size, new.sha256, chunk_size, chunk_count, UPLOAD_SECONDS,
            )  # fmt: skip
            ledger.note_effect(db, exchange, "video.initiated", media_id, name=new.filename)
            upload = _Upload(*db.rows(_UPLOAD, tenant, media_id)[0])
            said = {
                "media_id": media_id, "filename": upload.name, "size": upload.size,
                "chunk_size": upload.chunk_size, "chunk_count": upload.chunk_count,
                "expires_at": moment(upload.expires_at),
            }  # fmt: skip
            return json_answer(said, 201, {"location": f"/v1/videos/{media_id}/chunks"})

        try:
            return respond(await self.core.effect(exchange, insert))
        except OverQuotaError as exc:
            raise self.core.over_quota(exc) from exc

    # --- chunk_upload ---

    async def list_chunks(self, request: Request) -> Response:
        """Which parts of a video are there."""
        tenant, media_id = exchange_of(request).tenant, request.path_params["media_id"]
        upload, parts = await self._upload_and_parts(tenant, media_id)
        said = {
            "media_id": media_id, "state": "uploading" if upload.file_id is None else "completed",
            "file_id": upload.file_id, "filename": upload.name, "size": upload.size,
            "chunk_size": upload.chunk_size, "chunk_count": upload.chunk_count,
            "expires_at": moment(upload.expires_at),
            "chunks": [{"number": p.number, "size": p.size, "sha256": p.sha256} for p in parts],
        }  # fmt: skip
        return respond(json_answer(said))

    async def send_chunk(self, request: Request) -> Response:
        """Take a part; the same again changes nothing, and another one replaces it."""
        exchange = exchange_of(request)
        tenant, media_id = exchange.tenant, request.path_params["media_id"]
        said = request.path_params["number"]
        number = int(said) if said.isascii() and said.isdigit() and len(said) < 9 else 0
        announced = announced_digest(request)
        await self.core.check_paid(tenant)
        upload = await self._open(tenant, media_id, "chunk_upload")
        if not 1 <= number <= upload.chunk_count:
            raise invalid(
                ("path", "number"), f"Parts are numbered 1 to {upload.chunk_count}.", "out_of_range"
            )
        with self.core.files.begin() as file:
            async for chunk in request.stream():
                file.write(chunk)
            await self._check_part(upload, number, file, announced)
            part = _Part(number, secrets.token_hex(16), file.size, announced.hex())
            await asyncio.to_thread(file.keep, PARTS, part.stored)
            left_over = [part.stored]

            def attach(db: Connection) -> Answer:
                rows = db.rows(_UPLOAD + " {for_update}", tenant, media_id)
                self._check_open(self._upload_in(rows, media_id), "chunk_upload", 0)
                said = json_answer({"number": number, "size": part.size, "sha256": part.sha256})
                rows = db.rows(
                    "SELECT stored, sha256 FROM chunks WHERE upload_id = ? AND number = ?", media_id, number
                )
                for stored, sha256 in rows:
                    if sha256 == part.sha256:
                        return said
                    db.execute("DELETE FROM chunks WHERE upload_id = ? AND number = ?", media_id, number)
                    left_over[:] = [stored]
                db.execute(
                    "INSERT INTO chunks (upload_id, number, stored, size, sha256) VALUES (?, ?, ?, ?, ?)",
                    media_id, *part,
                )  # fmt: skip
                ledger.note_effect(db, exchange, "video.chunk", f"{media_id}:{number}", name=upload.name)
                if not rows:
                    left_over.clear()
                return said

            try:
                answer = await self.core.effect(exchange, attach)
            except (CallError, RefusedRequest, StoreBusyError):
                file.discard()
                raise
            if part.stored in left_over:
                file.discard()  # it was there already
                left_over.clear()
        # What a crash leaves here is swept.
        await asyncio.to_thread(self.core.files.remove, PARTS, left_over)
        return respond(answer)

    async def _check_part(self, upload: _Upload, number: int, file: Incoming, announced: bytes) -> None:
        wanted = upload.size_of(number)
        if file.size != wanted:
            there = await self._parts_of(upload.id)
            raise self._broken(
                upload, "chunk_upload", "size_mismatch",
                f"Part {number} has {wanted} bytes, and {file.size} came.", there,
            )  # fmt: skip
        if file.digest() != announced:
            there = await self._parts_of(upload.id)
            raise self._broken(
                upload, "chunk_upload", "digest_mismatch", f"The digest is not that of part {number}.", there
            )

    async def _upload_and_parts(self, tenant: str, media_id: str) -> tuple[_Upload, list[_Part]]:
        # The parts first: they go when the video is complete, and then its row says so.
        parts = [_Part(*row) for row in await self.core.database.read(_PARTS, media_id)]
        return self._upload_in(await self.core.database.read(_UPLOAD, tenant, media_id), media_id), parts

    async def _parts_of(self, media_id: str) -> int:
        rows = await self.core.database.read("SELECT count(*) FROM chunks WHERE upload_id = ?", media_id)
        return int(rows[0][0])

    # --- complete ---

    async def complete(self, request: Request) -> Response:
        """Put the parts together."""
        exchange = exchange_of(request)
        asked: Whole = exchange.input
        tenant, media_id = exchange.tenant, request.path_params["media_id"]
        await self.core.check_paid(tenant)
        upload, parts = await self._upload_and_parts(tenant, media_id)
        if upload.file_id is not None:
            return await self._completed(tenant, upload.file_id)
        self._check_open(upload, "complete", len(parts))
        if len(parts) < upload.chunk_count:
            missing = sorted(set(range(1, upload.chunk_count + 1)) - {part.number for part in parts})
            raise self._broken(
                upload, "complete", "chunks_missing", f"{len(missing)} parts are missing.", len(parts),
                missing=missing[:100],
            )  # fmt: skip
        with self.core.files.begin() as file:
            try:
                await self._put_together(file, parts)
            except FileNotFoundError:
                rows = await self.core.database.read(_UPLOAD, tenant, media_id)
                now = self._upload_in(rows, media_id)
                if now.file_id is not None:  # somebody else has put them together meanwhile
                    return await self._completed(tenant, now.file_id)
                raise self._broken(
                    upload, "complete", "chunk_replaced", "A part was replaced meanwhile.", len(parts)
                ) from None
            sha256 = file.digest().hex()
            if sha256 != asked.sha256 or upload.sha256 not in (None, sha256):
                await asyncio.to_thread(self._check_disk, parts)
                raise self._broken(
                    upload, "complete", "digest_mismatch", "The parts make another file than was announced.",
                    len(parts),
                )  # fmt: skip
            known = kind_by_name(upload.name)
            media_type = known[1] if known and known[0] == "video" else "application/octet-stream"
            new = Stored("video", upload.name, secrets.token_hex(16), file.size, sha256, media_type)
            await asyncio.to_thread(file.keep, FILES, new.stored)
            outcome: list[bool] = []

            def insert(db: Connection) -> Answer:
                rows = db.rows(_UPLOAD + " {for_update}", tenant, media_id)
                now = self._upload_in(rows, media_id)
                if now.file_id is not None:
                    row = self.core.row(db, FILE_ROWS, tenant, now.file_id)
                    return json_answer(VIDEOS.shown(row))
                if [_Part(*row) for row in db.rows(_PARTS, media_id)] != parts:
                    raise self._broken(
                        now, "complete", "chunk_replaced", "A part was replaced meanwhile.", len(parts)
                    )
                # What was set aside is what the video takes; an equal one takes nothing.
                locked_account(db, tenant)
                give_back_space(db, tenant, upload.size)
                row, made = insert_file(db, tenant, new, file_id=media_id, unlimited=True)
                db.execute("UPDATE video_uploads SET file_id = ? WHERE id = ?", row[0], media_id)
                db.execute("DELETE FROM chunks WHERE upload_id = ?", media_id)
                outcome.append(made)
                if made:
                    ledger.note_effect(db, exchange, "video.uploaded", media_id, name=upload.name)
                return json_answer(VIDEOS.shown(row), 201 if made else 200)

            try:
                answer = await self.core.effect(exchange, insert)
            except (CallError, RefusedRequest, StoreBusyError):
                file.discard()
                raise
            if not outcome or not outcome[-1]:
                file.discard()
        if outcome:
            # What a crash leaves here is swept.
            await asyncio.to_thread(self.core.files.remove, PARTS, [part.stored for part in parts])
        return respond(answer)

    async def _put_together(self, file: Incoming, parts: Sequence[_Part]) -> None:
        """Write all parts into one file, on a thread that is at it no longer than we are."""
        over = threading.Event()
        work = asyncio.create_task(asyncio.to_thread(self._write, file, parts, over))
        try:
            await asyncio.shield(work)
        finally:
            # Whoever closes the file gives its number to the next that is opened.
            over.set()
            await asyncio.wait([work])

    def _write(self, file: Incoming, parts: Sequence[_Part], over: threading.Event) -> None:
        for part in parts:
            with self.core.files.path(PARTS, part.stored).open("rb", buffering=0) as opened:
                while not over.is_set() and (piece := opened.read(PIECE)):
                    file.write(piece)

    def _check_disk(self, parts: Sequence[_Part]) -> None:
        """Whether it is our disk that has other bytes than were stored, and not who sent them. Blocks."""
        for part in parts:
            with suppress(FileNotFoundError), self.core.files.path(PARTS, part.stored).open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != part.sha256:
                    raise OSError(f"part {part.number} on the disk is not what was stored")

    async def _completed(self, tenant: str, file_id: str) -> Response:
        # An equal file that was there before may have been taken for another kind.
        row = await self.core.found(FILE_ROWS, tenant, file_id)
        return respond(json_answer(VIDEOS.shown(row)))

    # --- what both have in common ---

    async def delete_video(self, request: Request) -> Response:
        """Delete a video, or give up its upload."""
        exchange = exchange_of(request)
        tenant, media_id = exchange.tenant, request.path_params["media_id"]
        rows = await self.core.database.read(_UPLOAD, tenant, media_id)
        if not rows or _Upload(*rows[0]).file_id is not None:
            return await deleted(self.core, request, media_id, lambda row: None, "video")
        left_over: list[str] = []

        def abort(db: Connection) -> Answer:
            upload = self._upload_in(db.rows(_UPLOAD + " {for_update}", tenant, media_id), media_id)
            rows = db.rows("DELETE FROM chunks WHERE upload_id = ? RETURNING stored", media_id)
            left_over[:] = [stored for (stored,) in rows]
            db.execute("DELETE FROM video_uploads WHERE id = ?", media_id)
            if upload.file_id is None:
                give_back_space(db, tenant, upload.size)
            ledger.note_effect(db, exchange, "video.aborted", media_id, name=upload.name)
            return json_answer({"id": media_id, "deleted": True})

        answer = await self.core.effect(exchange, abort)
        await asyncio.to_thread(self.core.files.remove, PARTS, left_over)
        return respond(answer)

    async def _open(self, tenant: str, media_id: str, stage: str) -> _Upload:
        upload = self._upload_in(await self.core.database.read(_UPLOAD, tenant, media_id), media_id)
        if upload.file_id is not None or upload.seconds_left <= 0:
            self._check_open(upload, stage, await self._parts_of(media_id))
        return upload

    def _upload_in(self, rows: Sequence[Any], media_id: str) -> _Upload:
        if not rows:
            raise self.core.missing("video", media_id)
        return _Upload(*rows[0])

    def _check_open(self, upload: _Upload, stage: str, there: int) -> None:
        if upload.file_id is not None:
            raise self._broken(upload, stage, "upload_completed", "The upload is complete.", there)
        if upload.seconds_left <= 0:
            raise self._broken(upload, stage, "upload_expired", "The upload took too long.", there)

    def _broken(
        self, upload: _Upload, stage: str, reason: str, message: str, there: int, **details: Any
    ) -> Exception:
        return self.core.service.error(
            Failure(
                status=422 if "mismatch" in reason else 409, code="VIDEO_UPLOAD_ERROR", message=message,
                details={
                    "media_id": upload.id, "stage": stage, "partial_chunks": there, "reason": reason,
                    **details,
                },
            )
        )  # fmt: skip


def _rounded(size: int) -> int:
    """The next whole mebibyte."""
    return -(-size // 1024**2) * 1024**2
