"""
Images and documents: uploads, in one request or in a session, and what was uploaded.

What a file shows, or says, is found out after its upload: see `looking`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
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
from failwell_sandbox.contents import content_answer
from failwell_sandbox.database import Connection
from failwell_sandbox.parameters import announced_digest, invalid, is_name
from failwell_sandbox.resource_tables import inserted
from failwell_sandbox.scopix.accounts import (
    OverQuotaError,
    account_of,
    add_file,
    check_space,
    give_back_space,
    locked_account,
)
from failwell_sandbox.scopix.core import FILES, INVALID, NOT_FOUND, NOT_PAID, READ, WRITE, Core
from failwell_sandbox.scopix.kinds_of_file import (
    LOOKED_AT,
    FileKind,
    kind_by_content,
    kind_by_name,
    prefix_of,
)
from failwell_sandbox.scopix.looking import Looking
from failwell_sandbox.scopix.tables import FILES as FILE_ROWS
from failwell_sandbox.stored_files import Incoming
from scopix.errors import DocumentProcessingError, QuotaExceededError, UploadError

# In one request, and in a session.
MOST_AT_ONCE = 64 * 1024**2
MOST_BYTES = 2 * 1024**3

# How long a session is kept, seconds.
SESSION_SECONDS = 24 * 3600.0

MOST_LOOKED_UP = 500

_OVER_QUOTA = (QuotaExceededError, "QUOTA_EXCEEDED")
_BROKEN = (UploadError, "UPLOAD_ERROR")
_PROCESSING = (DocumentProcessingError, "DOCUMENT_PROCESSING_ERROR")

SHA256 = r"^[0-9a-f]{64}$"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewSession(_Body):
    """The body of `POST /v1/files/sessions`."""

    filename: str = Field(min_length=1, max_length=255)
    size: int = Field(ge=1, le=MOST_BYTES)
    sha256: str | None = Field(default=None, pattern=SHA256)


class Sought(_Body):
    """A file that may have been uploaded."""

    name: str = Field(max_length=255)
    sha256: str = Field(pattern=SHA256)


class Lookup(_Body):
    """The body of `POST /v1/files/lookup`."""

    files: list[Sought] = Field(max_length=MOST_LOOKED_UP)


class Stored(NamedTuple):
    """
    A file whose bytes are there, and that has no row yet.

    Attributes:
        kind: What it is.
        name: What it is called.
        stored: The name of its bytes.
        size: Of them.
        sha256: Of them, in hexadecimal.
        content_type: Of them.
    """

    kind: FileKind
    name: str
    stored: str
    size: int
    sha256: str
    content_type: str


class FileHandlers:
    """The handlers of files."""

    def __init__(self, core: Core, looking: Looking) -> None:
        self.core = core
        self.looking = looking
        level = core.level
        self.operations = (
            Operation("GET", "/v1/files", self.list_files, scope=READ, raises=(INVALID,)),
            Operation("POST", "/v1/files", self.upload, scope=WRITE, idempotency=level, streamed=True,
                      max_body_bytes=MOST_AT_ONCE, raises=(NOT_PAID, _OVER_QUOTA, _BROKEN, INVALID)),
            Operation("POST", "/v1/files/lookup", self.look_up, scope=READ, parse=json_body(Lookup)),
            Operation("POST", "/v1/files/sessions", self.create_session, scope=WRITE, idempotency=level,
                      parse=json_body(NewSession), raises=(NOT_PAID, _OVER_QUOTA, INVALID)),
            Operation("PUT", "/v1/files/sessions/{session_id}/content", self.send_content, scope=WRITE,
                      idempotency=level, streamed=True, max_body_bytes=MOST_BYTES,
                      raises=(NOT_PAID, NOT_FOUND, _BROKEN, INVALID)),
            Operation("POST", "/v1/files/sessions/{session_id}/complete", self.complete_session,
                      scope=WRITE, idempotency=level, raises=(NOT_PAID, NOT_FOUND, _BROKEN, INVALID)),
            Operation("DELETE", "/v1/files/sessions/{session_id}", self.abort_session, scope=WRITE,
                      idempotency=level, raises=(NOT_PAID, NOT_FOUND)),
            Operation("GET", "/v1/files/{file_id}", self.get_file, scope=READ, raises=(NOT_FOUND,)),
            Operation("DELETE", "/v1/files/{file_id}", self.delete_file, scope=WRITE, idempotency=level,
                      raises=(NOT_PAID, NOT_FOUND, _PROCESSING)),
            Operation("GET", "/v1/files/{file_id}/content", self.content, scope=READ,
                      raises=(NOT_FOUND, "range_not_satisfiable")),
        )  # fmt: skip

    # --- what is there ---

    async def list_files(self, request: Request) -> Response:
        """The account's files."""
        return await self.core.page(request, FILE_ROWS)

    async def look_up(self, request: Request) -> Response:
        """Which of some files are there already."""
        exchange = exchange_of(request)
        asked: Lookup = exchange.input
        tenant = exchange.tenant
        names = list({each.name for each in asked.files})
        places = ", ".join("?" * len(names)) or "NULL"
        rows = await self.core.database.read(
            f"SELECT {FILE_ROWS.columns} FROM files WHERE tenant = ? AND name IN ({places})", tenant, *names  # noqa: S608  # values are bound
        )  # fmt: skip
        there = {(each["name"], each["sha256"]): each for each in map(FILE_ROWS.shown, rows)}
        return respond(json_answer({"items": [there.get((f.name, f.sha256)) for f in asked.files]}))

    async def get_file(self, request: Request) -> Response:
        """One file, without its bytes."""
        return await self.core.one(request, FILE_ROWS, "file_id")

    async def content(self, request: Request) -> Response:
        """The bytes of a file, or a range of them."""
        return await content_of(self.core, request, request.path_params["file_id"])

    async def delete_file(self, request: Request) -> Response:
        """Delete a file."""
        return await deleted(self.core, request, request.path_params["file_id"], self._check_processed)

    def _check_processed(self, row: Sequence[Any]) -> None:
        """Refuse a document that somebody is just reading."""
        file_id, kind, name, status = row[0], row[1], row[2], row[6]
        if kind == "document" and status in ("pending", "processing"):
            raise self.core.service.error(
                Failure(
                    status=409, code="DOCUMENT_PROCESSING_ERROR",
                    message=f"The document {name!r} is still being processed.",
                    details={"document_id": file_id, "status": status},
                )
            )  # fmt: skip

    # --- in one request ---

    async def upload(self, request: Request) -> Response:
        """Store a file that is sent piece by piece."""
        exchange = exchange_of(request)
        tenant, name = exchange.tenant, _name_of(request)
        announced = announced_digest(request)
        await self.core.check_paid(tenant)
        if not await self._is_there(tenant, name, announced.hex()):
            await self._check_space(tenant, request)
        with self.core.files.begin() as file:
            async for chunk in request.stream():
                file.write(chunk)
            if file.digest() != announced:
                raise self._broken("upload", "digest_mismatch", "The digest is that of another file.", name)
            new = await self._kept(file, name)
            answer = await self._add(request, file, new)
        if new.kind != "video":
            self.looking.wake()
        return respond(answer)

    async def _kept(self, file: Incoming, name: str) -> Stored:
        if not file.size:
            raise invalid(("body",), "The file is empty.", "empty")
        kind, content_type = _kind_of(name, file)
        stored = secrets.token_hex(16)
        await asyncio.to_thread(file.keep, FILES, stored)
        return Stored(kind, name, stored, file.size, file.digest().hex(), content_type)

    async def _add(self, request: Request, file: Incoming, new: Stored) -> Answer:
        """Write the row of a file that is kept; let go of its bytes if there is one already."""
        exchange = exchange_of(request)
        outcome: list[bool] = []

        def insert(db: Connection) -> Answer:
            row, made = insert_file(db, exchange.tenant, new)
            outcome.append(made)
            if made:
                ledger.note_effect(db, exchange, "file.uploaded", row[0], name=new.name)
            return _file_answer(row, made=made)

        try:
            answer = await self.core.effect(exchange, insert)
        except OverQuotaError as exc:
            file.discard()
            raise self.core.over_quota(exc) from exc
        except (CallError, RefusedRequest, StoreBusyError):
            # Nothing was written. Of any other break nobody knows: the file waits for the sweep.
            file.discard()
            raise
        if not outcome or not outcome[-1]:
            # There is an equal one, or an earlier try had stored it.
            file.discard()
        return answer

    async def _is_there(self, tenant: str, name: str, sha256: str) -> bool:
        sql = "SELECT 1 FROM files WHERE tenant = ? AND name = ? AND sha256 = ?"
        return bool(await self.core.database.read(sql, tenant, name, sha256))

    async def _check_space(self, tenant: str, request: Request) -> None:
        """Better told before the file is sent than after."""
        length = request.headers.get("content-length", "0")
        try:
            check_space(await account_of(self.core.database, tenant), int(length) if length.isdigit() else 0)
        except OverQuotaError as exc:
            raise self.core.over_quota(exc) from exc

    # --- in a session ---

    async def create_session(self, request: Request) -> Response:
        """Set space aside for a file that is going to be sent."""
        exchange = exchange_of(request)
        new: NewSession = exchange.input
        tenant = exchange.tenant
        if not is_name(new.filename):
            raise _no_name(("body", "filename"))
        known = kind_by_name(new.filename)
        if known is not None and known[0] == "video":
            raise _is_video(("body", "filename"))
        session_id = f"us_{secrets.token_hex(12)}"

        def insert(db: Connection) -> Answer:
            account = locked_account(db, tenant)
            if new.sha256 is not None:
                for row in _equal(db, tenant, new.filename, new.sha256):
                    return json_answer({"session_id": None, "file": FILE_ROWS.shown(row)})
            check_space(account, new.size)
            add_file(db, tenant, new.size)
            db.execute(
                "INSERT INTO upload_sessions (id, tenant, name, size, sha256, created_at, expires_at) "
                "VALUES (?, ?, ?, ?, ?, {now}, {now} + ?)",
                session_id, tenant, new.filename, new.size, new.sha256, SESSION_SECONDS,
            )  # fmt: skip
            ledger.note_effect(db, exchange, "upload.initiated", session_id, name=new.filename)
            return json_answer(_session(_Session(*_session_row(db, tenant, session_id)[0])), 201)

        try:
            return respond(await self.core.effect(exchange, insert))
        except OverQuotaError as exc:
            raise self.core.over_quota(exc) from exc

    async def send_content(self, request: Request) -> Response:
        """Take the bytes of a session's file; those that are sent again replace the first."""
        exchange = exchange_of(request)
        tenant, session_id = exchange.tenant, request.path_params["session_id"]
        announced = announced_digest(request)
        await self.core.check_paid(tenant)
        session = self._session_in(
            await self.core.database.read(_SESSION, tenant, session_id), session_id, "upload"
        )
        if session.file_id is not None:
            raise self._completed(session)
        with self.core.files.begin() as file:
            async for chunk in request.stream():
                file.write(chunk)
                if file.size > session.size:
                    break
            self._check_content(session, file, announced)
            new = await self._kept(file, session.name)
            before: list[str] = []

            def attach(db: Connection) -> Answer:
                now = self._session_in(
                    db.rows(_SESSION + " {for_update}", tenant, session_id), session_id, "upload"
                )
                if now.file_id is not None:
                    raise self._completed(now)
                before[:] = [now.stored] if now.stored else []
                db.execute(
                    "UPDATE upload_sessions SET stored = ?, stored_sha256 = ?, content_type = ? "
                    "WHERE id = ?",
                    new.stored, new.sha256, new.content_type, session_id,
                )  # fmt: skip
                return json_answer({"session_id": session_id, "size": new.size, "sha256": new.sha256})

            before.append("")
            try:
                answer = await self.core.effect(exchange, attach)
            except (CallError, RefusedRequest, StoreBusyError):
                file.discard()
                raise
            if before == [""]:
                file.discard()  # an earlier try had stored it
        # What a crash leaves here is swept.
        await asyncio.to_thread(self.core.files.remove, FILES, [name for name in before if name])
        return respond(answer)

    def _check_content(self, session: _Session, file: Incoming, announced: bytes) -> None:
        if file.size != session.size:
            raise self._broken(
                "upload", "size_mismatch", f"{session.size} bytes were announced, and others came.",
                session.name, session.id,
            )  # fmt: skip
        if file.digest() != announced or session.sha256 not in (None, announced.hex()):
            raise self._broken(
                "upload", "digest_mismatch", "The digest is that of another file.", session.name, session.id
            )

    async def complete_session(self, request: Request) -> Response:
        """Make a file of what was sent."""
        exchange = exchange_of(request)
        tenant, session_id = exchange.tenant, request.path_params["session_id"]
        left_over: list[str] = []

        def complete(db: Connection) -> Answer:
            rows = db.rows(_SESSION + " {for_update}", tenant, session_id)
            session = self._session_in(rows, session_id, "complete")
            if session.file_id is not None:
                return _file_answer(self.core.row(db, FILE_ROWS, tenant, session.file_id), made=False)
            if session.stored is None:
                raise self._broken(
                    "complete", "content_missing", "Nothing was sent yet.", session.name, session_id
                )
            # What was set aside is what the file takes; an equal one takes nothing.
            locked_account(db, tenant)
            give_back_space(db, tenant, session.size)
            new = Stored(
                _kind(session), session.name, session.stored, session.size, session.stored_sha256 or "",
                session.content_type or "",
            )  # fmt: skip
            row, made = insert_file(db, tenant, new, unlimited=True)
            left_over[:] = [] if made else [session.stored]
            db.execute(
                "UPDATE upload_sessions SET file_id = ?, stored = NULL WHERE id = ?", row[0], session_id
            )
            if made:
                ledger.note_effect(db, exchange, "file.uploaded", row[0], name=session.name)
            return _file_answer(row, made=made)

        answer = await self.core.effect(exchange, complete)
        await asyncio.to_thread(self.core.files.remove, FILES, left_over)
        self.looking.wake()
        return respond(answer)

    async def abort_session(self, request: Request) -> Response:
        """Give up an upload, and the space that was set aside for it."""
        exchange = exchange_of(request)
        tenant, session_id = exchange.tenant, request.path_params["session_id"]
        left_over: list[str] = []

        def abort(db: Connection) -> Answer:
            rows = db.rows(_SESSION + " {for_update}", tenant, session_id)
            if not rows:
                raise self.core.missing("upload_session", session_id)
            session = _Session(*rows[0])
            left_over[:] = [session.stored] if session.stored else []
            db.execute("DELETE FROM upload_sessions WHERE id = ?", session_id)
            if session.file_id is None:
                give_back_space(db, tenant, session.size)
            ledger.note_effect(db, exchange, "upload.aborted", session_id, name=session.name)
            return json_answer({"session_id": session_id, "aborted": True})

        answer = await self.core.effect(exchange, abort)
        await asyncio.to_thread(self.core.files.remove, FILES, left_over)
        return respond(answer)

    def _session_in(self, rows: Sequence[Any], session_id: str, stage: str) -> _Session:
        if not rows:
            raise self.core.missing("upload_session", session_id)
        session = _Session(*rows[0])
        if session.seconds_left <= 0:
            raise self._broken(stage, "session_expired", "It took too long.", session.name, session.id)
        return session

    def _completed(self, session: _Session) -> Exception:
        return self._broken("upload", "session_completed", "It is complete.", session.name, session.id)

    def _broken(
        self, stage: str, reason: str, message: str, filename: str, session_id: str | None = None
    ) -> Exception:
        status = 422 if stage == "upload" and "mismatch" in reason else 409
        return self.core.service.error(
            Failure(
                status=status, code="UPLOAD_ERROR", message=message,
                details={"filename": filename, "stage": stage, "session_id": session_id, "reason": reason},
            )
        )  # fmt: skip


class _Session(NamedTuple):
    """A row of `upload_sessions`."""

    id: str
    name: str
    size: int
    sha256: str | None
    stored: str | None
    stored_sha256: str | None
    content_type: str | None
    file_id: str | None
    expires_at: float
    seconds_left: float


_SESSION = (
    "SELECT id, name, size, sha256, stored, stored_sha256, content_type, file_id, expires_at, "
    "expires_at - {now} FROM upload_sessions WHERE tenant = ? AND id = ?"
)


def _session_row(db: Connection, tenant: str, session_id: str) -> Sequence[Any]:
    return db.rows(_SESSION, tenant, session_id)


def _session(session: _Session) -> dict[str, Any]:
    return {
        "session_id": session.id, "upload_url": f"/v1/files/sessions/{session.id}/content",
        "filename": session.name, "size": session.size, "expires_at": moment(session.expires_at),
    }  # fmt: skip


def _kind(session: _Session) -> FileKind:
    known = kind_by_name(session.name)
    if known is not None:
        return known[0]
    return "image" if (session.content_type or "").startswith("image/") else "document"


def _name_of(request: Request) -> str:
    name = request.query_params.get("name")
    if name is None:
        raise invalid(("query", "name"), "Field required", "missing")
    if not is_name(name):
        raise _no_name(("query", "name"))
    known = kind_by_name(name)
    if known is not None and known[0] == "video":
        raise _is_video(("query", "name"))
    return name


def _no_name(where: tuple[str, ...]) -> RefusedRequest:
    return invalid(where, "A name has 1 to 255 printable characters, and no slash.", "name_not_usable")


def _is_video(where: tuple[str, ...]) -> RefusedRequest:
    return invalid(where, "Videos are uploaded at /v1/videos.", "is_a_video")


def _kind_of(name: str, file: Incoming) -> tuple[FileKind, str]:
    known = kind_by_name(name)
    if known is None:
        start = next(file.chunks(), b"")[:LOOKED_AT]
        known = kind_by_content(start, whole=len(start) == file.size)
    if known is None:
        raise invalid(("body",), "This is no image, no PDF and no text in UTF-8.", "unknown_kind")
    return known


def _equal(db: Connection, tenant: str, name: str, sha256: str) -> list[Any]:
    return db.rows(
        f"SELECT {FILE_ROWS.columns} FROM files WHERE tenant = ? AND name = ? AND sha256 = ?",  # noqa: S608  # constant words
        tenant, name, sha256,
    )  # fmt: skip


def insert_file(
    db: Connection, tenant: str, new: Stored, *, file_id: str | None = None, unlimited: bool = False
) -> tuple[Sequence[Any], bool]:
    """
    The row of a file whose bytes are there, and whether it was made now: an equal one stays the only one.

    Args:
        db: A transaction's.
        tenant: Whose.
        new: The file.
        file_id: What it is to be called.
        unlimited: Whether the space for it was set aside before.

    Raises:
        OverQuotaError: there is no space for it.
    """
    # Whoever holds this row is the only one to add a file.
    account = locked_account(db, tenant)
    for row in _equal(db, tenant, new.name, new.sha256):
        return row, False
    if not unlimited:
        check_space(account, new.size)
    add_file(db, tenant, new.size)
    made = file_id or f"{prefix_of(new.kind)}_{secrets.token_hex(12)}"
    db.execute(
        "INSERT INTO files (id, tenant, kind, name, stored, size, sha256, content_type, status, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {now})",
        made, tenant, new.kind, new.name, new.stored, new.size, new.sha256, new.content_type,
        "skipped" if new.kind == "video" else "pending",
    )  # fmt: skip
    return inserted(db, FILE_ROWS, tenant, made), True


def _file_answer(row: Sequence[Any], *, made: bool) -> Answer:
    return json_answer(
        FILE_ROWS.shown(row), 201 if made else 200, {"location": f"/v1/files/{row[0]}"} if made else None
    )


async def content_of(core: Core, request: Request, file_id: str, called: str = "file") -> Response:
    """The bytes of a file, or a range of them."""
    tenant = exchange_of(request).tenant
    rows = await core.database.read(
        "SELECT stored, content_type, sha256, kind FROM files WHERE tenant = ? AND id = ?", tenant, file_id
    )
    for stored, content_type, sha256, kind in rows:
        if called in ("file", kind):
            try:
                return await content_answer(request, core.files.path(FILES, stored), content_type, sha256)
            except FileNotFoundError:
                break  # deleted a moment ago
    raise core.missing(called, file_id)


async def deleted(
    core: Core, request: Request, file_id: str, check: Callable[[Sequence[Any]], None], called: str = "file"
) -> Response:
    """Delete a file, unless `check` refuses its row."""
    exchange = exchange_of(request)
    stored: list[str] = []

    def delete(db: Connection) -> Answer:
        locked_account(db, exchange.tenant)
        row = core.row(db, FILE_ROWS, exchange.tenant, file_id)
        kind, name, size = row[1], row[2], row[3]
        if called not in ("file", kind):
            raise core.missing(called, file_id)
        check(row)
        rows = db.rows("DELETE FROM files WHERE id = ? RETURNING stored", file_id)
        stored[:] = [each for (each,) in rows]
        give_back_space(db, exchange.tenant, size)
        ledger.note_effect(db, exchange, f"{kind}.deleted", file_id, name=name)
        return json_answer({"id": file_id, "deleted": True})

    answer = await core.effect(exchange, delete)
    # What a crash leaves here is swept.
    await asyncio.to_thread(core.files.remove, FILES, stored)
    await asyncio.to_thread(core.search.forget, [file_id])
    return respond(answer)
