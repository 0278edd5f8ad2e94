"""
OData and Azure: `{"error": {"code", "message", "target", "details": [...], "innererror"}}`.

Source:
    OData JSON Format 4.01, section 21; the Microsoft REST API Guidelines, section 7.10.2.
"""

from __future__ import annotations

from failwell.dialects import general
from failwell.dialects.base import Said
from failwell.dialects.parts import JSON, bracketed, json_bytes, without_none, written_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.failure import Failure


class OData:
    """The error response. Carries message, code, fields and, in `innererror`, the request id."""

    name = "odata"

    def read(self, answer: Answer, body: Any) -> Said | None:
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict) or not isinstance(error.get("code"), str):
            return None
        if not any(name in error for name in ("innererror", "innerError", "target", "details")):
            return None
        return general.read(body, answer.status, answer.headers)

    def write(self, failure: Failure) -> tuple[str, bytes]:
        inner = None if failure.request_id is None else {"request-id": failure.request_id}
        error = {
            "code": failure.code or "",
            "message": failure.message,
            "details": written_fields(failure.fields, bracketed, path="target", message="message"),
            "innererror": inner,
        }
        return JSON, json_bytes({"error": without_none(error)})


ODATA = OData()
