"""
Google's error model: `{"error": {"code": 404, "message", "status": "NOT_FOUND", "details": [...]}}`.

Source:
    google.aip.dev/193; google/rpc/error_details.proto.
"""

from __future__ import annotations

from failwell.dialects.base import Said
from failwell.dialects.parts import (
    JSON,
    bracketed,
    field_list,
    json_bytes,
    sentence,
    without_none,
    word,
    written_fields,
)
from failwell.headers import seconds_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.failure import Failure

_TYPE = "type.googleapis.com/google.rpc."


class Google:
    """The error model. Carries message, code, fields, request id and wait."""

    name = "google"

    def read(self, answer: Answer, body: Any) -> Said | None:
        if isinstance(body, list) and len(body) == 1:  # a streaming method's answer is a list
            body = body[0]
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict) or not isinstance(error.get("status"), str):
            return None
        details = error.get("details")
        typed = (
            [d for d in details if isinstance(d, dict) and "@type" in d] if isinstance(details, list) else []
        )
        message = sentence(error.get("message"))
        if not isinstance(error.get("code"), int) or message is None or message[0] == "{":
            return None
        said = Said(message=message, code=word(error["status"]))
        reasons = [e.get("reason") for e in (*typed, *_listed(error.get("errors")))]
        said.signals = tuple(r for r in reasons if isinstance(r, str))[:4]
        for detail in typed:
            self._read_detail(said, str(detail["@type"]).rpartition(".")[2], detail)
        return said

    @staticmethod
    def _read_detail(said: Said, kind: str, detail: dict[str, Any]) -> None:
        if kind == "BadRequest" and not said.fields:
            said.fields = field_list(
                detail.get("fieldViolations"), path="field", message="description", code="reason"
            )
        elif kind == "RetryInfo":
            said.retry_after = seconds_of(str(detail.get("retryDelay")))
        elif kind == "RequestInfo":
            said.request_id = word(detail.get("requestId"))

    def write(self, failure: Failure) -> tuple[str, bytes]:
        details: list[dict[str, Any]] = []
        if failure.fields:
            violations = written_fields(
                failure.fields, bracketed, path="field", message="description", code="reason"
            )
            details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": violations})
        if failure.retry_after is not None:
            details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{failure.retry_after:g}s"})
        if failure.request_id is not None:
            details.append({"@type": f"{_TYPE}RequestInfo", "requestId": failure.request_id})
        error = {
            "code": failure.status,
            "message": failure.message,
            "status": failure.code or "UNKNOWN",
            "details": details or None,
        }
        return JSON, json_bytes({"error": without_none(error)})


def _listed(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


GOOGLE = Google()
