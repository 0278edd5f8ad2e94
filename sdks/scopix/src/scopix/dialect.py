"""
How the Scopix API spells an error.

    {"error": {"code": "QUOTA_EXCEEDED", "message": "The storage of this account is full.",
               "details": {"available": 0, "limit": 100,
                           "errors": [{"path": ["size"], "message": "Too large", "code": "too_large"}]}},
     "request_id": "req_01"}

`code` and `message` are always there. `details.errors` says which fields are at fault, where fields
are, and `details.retry_after` repeats the header of that name for whoever reads no headers: the data
of an `event: error` is the same object.

Codes are in capitals, one for each of the document's classes. A code that is not, because a part of the
service that knows nothing of Scopix has refused the call, is written as the document's for the status,
and goes into `details.reason`: `AUTH_ERROR` because of "api_key_revoked".
"""

from __future__ import annotations

from failwell.dialects.base import Said
from failwell.dialects.parts import (
    JSON,
    field_list,
    json_bytes,
    plain,
    sentence,
    without_none,
    word,
    written_fields,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.failure import Failure


# The document's codes, by the status that means the same.
_CODES = {
    401: "AUTH_ERROR",
    402: "PAYMENT_REQUIRED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "CONFLICT",
    429: "RATE_LIMIT",
    **dict.fromkeys((400, 405, 413, 415, 416, 422), "VALIDATION_ERROR"),
}
# Two that mean more than their status.
_REASONS = {
    "idempotency_mismatch": "IDEMPOTENCY_CONFLICT",
    "idempotency_in_flight": "IDEMPOTENCY_IN_FLIGHT",
}


class Envelope:
    """Scopix's error body, both ways."""

    name = "scopix"

    def read(self, answer: Answer, body: Any) -> Said | None:
        """What `body` says; None if it is not spelled Scopix's way."""
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict) or not isinstance(error.get("message"), str):
            return None
        code, details, request_id = error.get("code"), error.get("details"), body.get("request_id")
        told = details if isinstance(details, dict) else {}
        return Said(
            message=sentence(error["message"]),
            code=word(code, answer.status),
            fields=field_list(told.get("errors"), path="path", message="message"),
            request_id=request_id if isinstance(request_id, str) else None,
            retry_after=_seconds(told.get("retry_after")),
            details={name: value for name, value in told.items() if name != "errors"},
            signals=(code,) if isinstance(code, str) else (),
            dialect=self.name,
            body=body,
        )

    def write(self, failure: Failure) -> tuple[str, bytes]:
        """The media type and the body that `read` turns into the same facts."""
        details = {name: plain(value) for name, value in failure.details.items()}
        if failure.retry_after is not None:
            details["retry_after"] = failure.retry_after
        if failure.fields:
            details["errors"] = written_fields(failure.fields, list, path="path", message="message")
        code = failure.code
        if code is None or not code.isupper():
            if code is not None:
                details.setdefault("reason", code)
            code = _REASONS.get(code or "") or _code_of(failure.status) or code
        error = {
            "code": code,
            # Without a sentence there would be nothing to read: a body of Scopix's always has one.
            "message": failure.message or "The request failed.",
            "details": details or None,
        }
        return JSON, json_bytes(
            without_none({"error": without_none(error), "request_id": failure.request_id})
        )


def _code_of(status: int | None) -> str | None:
    if status is not None and status >= 500:
        return "SERVER_ERROR"
    return _CODES.get(status or 0)


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value < 1e9 else None


DIALECT = Envelope()
