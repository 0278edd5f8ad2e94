"""What the service of Scopix answers, for scripts."""

from __future__ import annotations

from typing import Any

KEY = "sx_" + "a1B2" * 10
BASE = "http://scopix.example"
# What the clocks of the tests read at first. The bodies of uploads go by the machine's clock, which is
# far from a deadline of this one.
START = 1e9

MOMENT = "2026-11-21T08:00:00+00:00"

VIDEO: dict[str, Any] = {
    "media_id": "vid_1", "filename": "film.mp4", "size": 10, "sha256": "0" * 64, "state": "completed",
    "content_type": "video/mp4", "created_at": MOMENT,
}  # fmt: skip
UPLOAD: dict[str, Any] = {
    "media_id": "vid_1", "filename": "film.mp4", "size": 10, "chunk_size": 4, "chunk_count": 3,
    "state": "uploading", "chunks": [], "expires_at": MOMENT,
}  # fmt: skip
ANALYSIS: dict[str, Any] = {
    "id": "va_1", "kind": "analysis", "media_id": "vid_1", "status": "queued", "progress": 0.0,
    "result": None, "error": None, "attempts": 1, "created_at": MOMENT, "started_at": None,
    "finished_at": None,
}  # fmt: skip
FOUND: dict[str, Any] = {
    "duration": 4.0, "width": 64, "height": 48, "codec": "h264", "fps": 25.0, "frames": 100,
    "scenes": [{"start": 0.0, "end": 2.0, "frame": 0}, {"start": 2.0, "end": 4.0, "frame": 50}],
}  # fmt: skip
IMPORT: dict[str, Any] = {
    "id": "job_1", "kind": "import", "connection_id": "conn_1", "status": "queued", "progress": 0.0,
    "files": [], "total": 2, "result": None, "error": None, "attempts": 1, "created_at": MOMENT,
    "started_at": None, "finished_at": None,
}  # fmt: skip
SYNC: dict[str, Any] = {**IMPORT, "kind": "sync", "connection_id": None, "connector_id": "s3c_1"}
CONNECTION: dict[str, Any] = {
    "id": "conn_1", "name": "archive", "provider": "local", "options": {"path": "in"}, "created_at": MOMENT
}  # fmt: skip
CONNECTOR: dict[str, Any] = {
    "id": "s3c_1", "bucket": "photos", "prefix": "", "endpoint_url": None, "name": None, "created_at": MOMENT
}  # fmt: skip
SESSION: dict[str, Any] = {
    "id": "cs_1", "title": "birds", "file_ids": None, "status": "open", "message_count": 0,
    "created_at": MOMENT,
}  # fmt: skip
CITATION: dict[str, Any] = {
    "file_id": "doc_1", "name": "owl.txt", "start": 0, "end": 3, "page": None, "quote": "owl"
}  # fmt: skip
MESSAGE: dict[str, Any] = {
    "id": "msg_1", "session_id": "cs_1", "role": "assistant", "question": "Who?", "content": "The owl.",
    "citations": [CITATION], "status": "completed", "sha256": "0" * 64, "length": 8,
    "events_url": "/v1/chat/sessions/cs_1/messages/msg_1/events", "created_at": MOMENT,
}  # fmt: skip
USAGE: dict[str, Any] = {
    "plan": "pro", "past_due": False, "bytes": {"used": 1, "limit": 2}, "files": {"used": 1, "limit": 3}
}  # fmt: skip


def file(name: str = "image.jpg", number: int = 1, **members: Any) -> dict[str, Any]:
    """A file that is stored."""
    return {
        "id": f"img_{number}", "kind": "image", "name": name, "size": 3, "sha256": "0" * 64,
        "content_type": "image/jpeg", "description": None, "description_status": "pending",
        "description_error": None, "processing_status": None, "processing_error": None, "pages": None,
        "created_at": MOMENT, **members,
    }  # fmt: skip


def page(*items: dict[str, Any], next_cursor: str | None = None) -> dict[str, Any]:
    """A page of a list."""
    return {"items": list(items), "next_cursor": next_cursor}


def found(*items: dict[str, Any] | None) -> dict[str, Any]:
    """What the service has of the files it was asked for."""
    return {"items": list(items)}


def completed(job: dict[str, Any], **members: Any) -> dict[str, Any]:
    """A job that has done its work."""
    return {**job, "status": "completed", "progress": 1.0, "finished_at": MOMENT, **members}


def failed(job: dict[str, Any], code: str, message: str = "It broke.", **error: Any) -> dict[str, Any]:
    """A job that has failed."""
    why = {"code": code, "message": message, **error}
    return {**job, "status": "failed", "error": why, "finished_at": MOMENT}


def refusal(code: str, message: str = "Refused.", **details: Any) -> dict[str, Any]:
    """The body of an error."""
    return {"error": {"code": code, "message": message, "details": details}, "request_id": "req_1"}
