"""
The two envelopes that APIs make up for themselves more than any other.

    {"error": {"code": "...", "message": "...", "errors": [{"field", "message", "code"}]}}
    {"code": "...", "message": "...", "errors": [{"field", "message", "code"}]}
"""

from __future__ import annotations

from failwell.dialects import general
from failwell.dialects.parts import JSON, bracketed, json_bytes, without_none, written_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.dialects.base import Said
    from failwell.failure import Failure


class Envelope:
    """An object under `error`. Carries message, code, fields and request id."""

    name = "envelope"

    def read(self, answer: Answer, body: Any) -> Said | None:
        if not isinstance(body, dict) or not isinstance(body.get("error"), dict):
            return None
        return general.read(body, answer.status, answer.headers)

    def write(self, failure: Failure) -> tuple[str, bytes]:
        return JSON, json_bytes({"error": _members(failure)})


class Flat:
    """The same members without the envelope. Carries message, code, fields and request id."""

    name = "flat"

    def read(self, answer: Answer, body: Any) -> Said | None:
        if not isinstance(body, dict) or not isinstance(body.get("message"), str):
            return None
        return general.read(body, answer.status, answer.headers)

    def write(self, failure: Failure) -> tuple[str, bytes]:
        return JSON, json_bytes(_members(failure))


def _members(failure: Failure) -> dict[str, Any]:
    return without_none(
        {
            "code": failure.code,
            "message": failure.message,
            "errors": written_fields(failure.fields, bracketed, path="field", message="message") or None,
            "request_id": failure.request_id,
        }
    )


ENVELOPE = Envelope()
FLAT = Flat()
