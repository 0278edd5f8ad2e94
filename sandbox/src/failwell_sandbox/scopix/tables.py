"""Scopix's tables, and what their rows are on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from failwell_sandbox import effects, ledger
from failwell_sandbox.answers import loaded, moment
from failwell_sandbox.resource_tables import Table

SCHEMA = (
    ledger.SCHEMA
    + effects.SCHEMA
    + """
CREATE TABLE IF NOT EXISTS accounts (
    tenant TEXT PRIMARY KEY,
    past_due INTEGER NOT NULL DEFAULT 0,
    most_bytes BIGINT NOT NULL,
    most_files BIGINT NOT NULL,
    used_bytes BIGINT NOT NULL DEFAULT 0,   -- of files, and of uploads that have begun
    used_files BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS files (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('image', 'document', 'video')),
    name TEXT NOT NULL,
    stored TEXT NOT NULL UNIQUE,            -- the name of its bytes
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    content_type TEXT NOT NULL,
    status TEXT NOT NULL                    -- of its description, or of its text
        CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'skipped')),
    found TEXT,                             -- the description, or facts about the text
    error TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    holder TEXT,                            -- who works on it, and until when without news of it
    held_until DOUBLE PRECISION,
    created_at DOUBLE PRECISION NOT NULL,
    UNIQUE (tenant, name, sha256)
);
CREATE INDEX IF NOT EXISTS files_by_tenant ON files (tenant, seq);
CREATE INDEX IF NOT EXISTS files_open ON files (kind, seq) WHERE status IN ('pending', 'processing');
CREATE TABLE IF NOT EXISTS upload_sessions (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT,                            -- as announced
    stored TEXT UNIQUE,                     -- the name of its bytes, once they are there
    stored_sha256 TEXT,
    content_type TEXT,
    file_id TEXT,                           -- what became of it
    created_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS upload_sessions_ends ON upload_sessions (expires_at);
CREATE TABLE IF NOT EXISTS video_uploads (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,                -- the video's, too
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT,
    chunk_size BIGINT NOT NULL,
    chunk_count INTEGER NOT NULL,
    file_id TEXT,                           -- what became of it: another one if there was an equal one
    created_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS video_uploads_ends ON video_uploads (expires_at);
CREATE TABLE IF NOT EXISTS chunks (
    upload_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    stored TEXT NOT NULL UNIQUE,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (upload_id, number)
);
CREATE TABLE IF NOT EXISTS jobs (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('analysis', 'import', 'export', 'sync')),
    target TEXT NOT NULL,                   -- the video, or the connection
    facts TEXT NOT NULL,                    -- what is to be done
    items TEXT NOT NULL DEFAULT '[]',       -- with which files
    status TEXT NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    progress DOUBLE PRECISION NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT '{}',       -- how far it is, for the next who takes it up
    error TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    request_id TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    started_at DOUBLE PRECISION,
    finished_at DOUBLE PRECISION,
    holder TEXT,
    held_until DOUBLE PRECISION
);
CREATE INDEX IF NOT EXISTS jobs_by_tenant ON jobs (tenant, kind, seq);
CREATE INDEX IF NOT EXISTS jobs_open ON jobs (seq) WHERE status IN ('queued', 'running');
CREATE TABLE IF NOT EXISTS connections (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('cloud', 's3')),
    name TEXT NOT NULL,
    provider TEXT NOT NULL,
    options TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS connections_by_tenant ON connections (tenant, kind, seq);
CREATE TABLE IF NOT EXISTS connection_secrets (
    connection_id TEXT PRIMARY KEY,
    secret TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS synced_objects (
    connection_id TEXT NOT NULL,
    path TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (connection_id, path)
);
CREATE TABLE IF NOT EXISTS chat_sessions (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    title TEXT,
    file_ids TEXT,
    status TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed')),
    created_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS chat_sessions_by_tenant ON chat_sessions (tenant, seq);
CREATE TABLE IF NOT EXISTS messages (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    session_id TEXT NOT NULL,
    question TEXT NOT NULL,
    parts TEXT NOT NULL,                    -- the answer: texts and citations in their order
    sha256 TEXT NOT NULL,
    length INTEGER NOT NULL,
    pace DOUBLE PRECISION,
    asked_by TEXT,                          -- who asked, with which idempotency key, for what
    asked_key TEXT,
    fingerprint TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS messages_by_key ON messages (tenant, asked_by, asked_key);
CREATE INDEX IF NOT EXISTS messages_by_session ON messages (session_id, seq);
"""
)


def _file(row: Sequence[Any]) -> dict[str, Any]:
    file_id, kind, name, size, sha256, content_type, status, found, error, created_at = row
    is_image, is_document = kind == "image", kind == "document"
    facts = loaded(found) or {}
    return {
        "id": file_id, "kind": kind, "name": name, "size": size, "sha256": sha256,
        "content_type": content_type,
        "description": loaded(found) if is_image else None,
        "description_status": status if is_image else "skipped",
        "description_error": error if is_image else None,
        "processing_status": status if is_document else None,
        "processing_error": error if is_document else None,
        "pages": facts.get("pages") if is_document else None,
        "created_at": moment(created_at),
    }  # fmt: skip


def _video_upload(row: Sequence[Any]) -> dict[str, Any]:
    media_id, name, size, chunk_size, chunk_count, file_id, expires_at = row
    return {
        "media_id": media_id, "filename": name, "size": size, "chunk_size": chunk_size,
        "chunk_count": chunk_count, "state": "uploading" if file_id is None else "completed",
        "file_id": file_id, "expires_at": moment(expires_at),
    }  # fmt: skip


def job_facts(row: Sequence[Any]) -> dict[str, Any]:
    """What every job says of itself, with what it is to do and how far it is."""
    job_id, kind, target, facts, status, progress, state, error, attempts, *times = row
    created_at, started_at, finished_at = map(moment, times)
    return {
        "id": job_id, "kind": kind, "target": target, "status": status,
        "progress": 1.0 if status == "completed" else progress, "error": loaded(error),
        "attempts": attempts, "created_at": created_at, "started_at": started_at,
        "finished_at": finished_at, "facts": loaded(facts), "state": loaded(state),
    }  # fmt: skip


_SHARED = (
    "id", "kind", "status", "progress", "error", "attempts", "created_at", "started_at", "finished_at",
)  # fmt: skip


def _analysis(row: Sequence[Any]) -> dict[str, Any]:
    job = job_facts(row)
    return {name: job[name] for name in _SHARED} | {
        "media_id": job["target"],
        "result": job["state"].get("result"),
    }


def _transfer(row: Sequence[Any]) -> dict[str, Any]:
    job = job_facts(row)
    facts, state = job["facts"], job["state"]
    ended = job["finished_at"] is not None
    counted = {name: state.get(name, 0) for name in OUTCOMES.values()}
    counted["skipped"] += state.get("unchanged", 0)
    return {name: job[name] for name in _SHARED} | {
        facts["target_called"]: job["target"],
        "total": state.get("total", facts["total"]),
        "result": counted if ended else None,
        "files": state.get("files", []),
    }


# What becomes of a file that is copied, and how it is counted.
OUTCOMES = {"completed": "succeeded", "skipped": "skipped", "failed": "failed"}


def _connection(row: Sequence[Any]) -> dict[str, Any]:
    connection_id, name, provider, options, created_at = row
    return {
        "id": connection_id, "name": name, "provider": provider, "options": loaded(options),
        "created_at": moment(created_at),
    }  # fmt: skip


def _connector(row: Sequence[Any]) -> dict[str, Any]:
    connection_id, name, _, options, created_at = row
    return {"id": connection_id, "name": name, **loaded(options), "created_at": moment(created_at)}


def _chat_session(row: Sequence[Any]) -> dict[str, Any]:
    session_id, title, file_ids, status, created_at, count = row
    return {
        "id": session_id, "title": title, "file_ids": loaded(file_ids), "status": status,
        "message_count": count, "created_at": moment(created_at),
    }  # fmt: skip


def _message(row: Sequence[Any]) -> dict[str, Any]:
    message_id, session_id, question, parts, sha256, length, created_at = row
    said = loaded(parts)
    return {
        "id": message_id, "session_id": session_id, "role": "assistant", "question": question,
        "content": "".join(part for part in said if isinstance(part, str)),
        "citations": [part for part in said if not isinstance(part, str)],
        "status": "completed", "sha256": sha256, "length": length,
        "events_url": f"/v1/chat/sessions/{session_id}/messages/{message_id}/events",
        "created_at": moment(created_at),
    }  # fmt: skip


_JOB = (
    "id, kind, target, facts, status, progress, state, error, attempts, created_at, started_at, finished_at"
)
_CONNECTION = "id, name, provider, options, created_at"
_STATUS = ("status", "status = ?")

FILES = Table(
    "file",
    "files",
    "id, kind, name, size, sha256, content_type, status, found, error, created_at",
    _file,
    filters=(
        ("kind", "kind = ?"),
        ("name", "name = ?"),
        ("sha256", "sha256 = ?"),
        ("description_status", "CASE WHEN kind = 'image' THEN status ELSE 'skipped' END = ?"),
        ("processing_status", "kind = 'document' AND status = ?"),
    ),
)
VIDEOS = FILES._replace(called="video", where="kind = 'video'")
VIDEO_UPLOADS = Table(
    "video",
    "video_uploads",
    "id, name, size, chunk_size, chunk_count, file_id, expires_at",
    _video_upload,
    "file_id IS NULL",
    (("name", "name = ?"), ("filename", "name = ?"), ("size", "CAST(size AS TEXT) = ?")),
)
ANALYSES = Table(
    "video_analysis",
    "jobs",
    _JOB,
    _analysis,
    "kind = 'analysis'",
    (("media_id", "target = ?"), _STATUS),
)
TRANSFERS = Table(
    "cloud_storage_job",
    "jobs",
    _JOB,
    _transfer,
    "kind IN ('import', 'export')",
    (("connection_id", "target = ?"), ("kind", "kind = ?"), _STATUS),
)
SYNCS = Table(
    "s3_connector_job", "jobs", _JOB, _transfer, "kind = 'sync'", (("connector_id", "target = ?"), _STATUS)
)
CONNECTIONS = Table(
    "connection", "connections", _CONNECTION, _connection, "kind = 'cloud'", (("name", "name = ?"),)
)
CONNECTORS = Table(
    "s3_connector", "connections", _CONNECTION, _connector, "kind = 's3'", (("name", "name = ?"),)
)
CHAT_SESSIONS = Table(
    "chat_session",
    "chat_sessions",
    "id, title, file_ids, status, created_at, "
    "(SELECT count(*) FROM messages WHERE session_id = chat_sessions.id)",
    _chat_session,
    filters=(_STATUS, ("title", "title = ?")),
)
MESSAGES = Table(
    "message",
    "messages",
    "id, session_id, question, parts, sha256, length, created_at",
    _message,
)
