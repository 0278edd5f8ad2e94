"""
Rails: `{"status": 404, "error": "Not Found"}`, and models' errors as a map from attributes to messages.

Source:
    ActionDispatch::PublicExceptions; ActiveModel::Errors#messages.
"""

from __future__ import annotations

from failwell.dialects import general
from failwell.dialects.parts import JSON, field_map, json_bytes, without_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.dialects.base import Said
    from failwell.failure import Failure


class Rails:
    """`error` and `errors`. Carries message and fields, no codes."""

    name = "rails"

    def read(self, answer: Answer, body: Any) -> Said | None:
        if not isinstance(body, dict) or not body or not set(body) <= {"status", "error", "errors"}:
            return None
        if "errors" in body and not isinstance(body["errors"], dict):
            return None
        if "error" in body and (
            not isinstance(body["error"], str) or ("errors" not in body and "status" not in body)
        ):
            return None
        return general.read(body, answer.status, answer.headers)

    def write(self, failure: Failure) -> tuple[str, bytes]:
        errors = field_map(failure.fields, "base") if failure.fields else None
        body = {"status": failure.status, "error": failure.message, "errors": errors}
        return JSON, json_bytes(without_none(body))


RAILS = Rails()
