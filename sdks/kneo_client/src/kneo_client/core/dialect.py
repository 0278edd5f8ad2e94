"""
How Kneo spells an error.

    {"error": {"code": "run_not_found",
               "message": "No run has the id 'run_42'.",
               "request_id": "req_01",
               "fields": [{"path": ["input", "steps", 0], "message": "...", "code": "missing"}],
               "details": {"required_scope": "runs:write"}}}

`code` and `message` are always there in what the service writes; the others only where they say
something. `retry_after` goes into the `Retry-After` header, not into the body. The
request id is in the `X-Request-ID` header of every answer, too.

The service's codes:

    400 bad_request, malformed_json, idempotency_key_invalid
    401 api_key_missing, api_key_malformed, api_key_invalid, api_key_revoked, api_key_expired
    403 insufficient_scope, tenant_suspended, read_only
    404 run_not_found, spec_not_found, environment_not_found, not_found
    405 method_not_allowed
    409 run_not_cancellable, environment_retired, name_taken, version_mismatch,
        idempotency_mismatch, idempotency_in_flight (with Retry-After)
    413 payload_too_large
    422 validation_failed (with fields)
    429 rate_limited (with Retry-After)
    500 internal_error
    503 draining, unavailable (with Retry-After)
"""

from __future__ import annotations

from failwell.dialects.base import Said
from failwell.dialects.parts import plain
from failwell.failure import FieldError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.failure import Failure


class KneoDialect:
    """Kneo's error body, both ways."""

    name = "kneo"

    def read(self, answer: Answer, body: Any, /) -> Said | None:
        """What `body` says; None if it is not spelled Kneo's way."""
        return said(body)

    def write(self, failure: Failure, /) -> tuple[str, bytes]:
        """The media type and the body that `read` turns into the same facts."""
        import json

        error: dict[str, Any] = {}
        if failure.code is not None:
            error["code"] = failure.code
        # Without a sentence there would be nothing to read: a body of Kneo's always has one.
        error["message"] = failure.message or "The request failed."
        if failure.request_id is not None:
            error["request_id"] = failure.request_id
        if failure.fields:
            error["fields"] = [_written(field) for field in failure.fields]
        if failure.details:
            error["details"] = plain(dict(failure.details))
        return "application/json", json.dumps({"error": error}, ensure_ascii=False, default=str).encode()


def said(body: Any) -> Said | None:
    """
    What a parsed error body says.

    Args:
        body: Any JSON value.

    Returns:
        None if it is not spelled Kneo's way: no "error" object, or one whose code or message is
        of another type. A proxy in front of the service speaks its own dialect.
    """
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return None
    code, message = error.get("code"), error.get("message")
    if not isinstance(code, str | None) or not isinstance(message, str | None) or not (code or message):
        return None
    request_id, details, fields = error.get("request_id"), error.get("details"), error.get("fields")
    return Said(
        message=message or None,
        code=code or None,
        fields=_fields(fields) if isinstance(fields, list) else (),
        request_id=request_id if isinstance(request_id, str) else None,
        details=details if isinstance(details, dict) else {},
        dialect="kneo",
        body=body,
    )


def _fields(fields: list[Any]) -> tuple[FieldError, ...]:
    return tuple(FieldError(_path(f.get("path")), _text(f, "message"), _text(f, "code"))
                 for f in fields if isinstance(f, dict))  # fmt: skip


def _path(path: Any) -> tuple[str | int, ...]:
    if isinstance(path, str):
        return (path,)
    if not isinstance(path, list):
        return ()
    return tuple(p if isinstance(p, int) and not isinstance(p, bool) else str(p) for p in path)


def _text(field: dict[Any, Any], name: str) -> str | None:
    value = field.get(name)
    return value if isinstance(value, str) else None


def _written(field: FieldError) -> dict[str, Any]:
    written: dict[str, Any] = {"path": list(field.path)}
    if field.message is not None:
        written["message"] = field.message
    if field.code is not None:
        written["code"] = field.code
    return written


KNEO = KneoDialect()
