"""
Laravel: `{"message": "...", "errors": {"items.0.name": ["..."]}}`.

Source:
    Illuminate\\Validation\\ValidationException; Illuminate\\Foundation\\Exceptions\\Handler.
"""

from __future__ import annotations

from failwell.dialects import general
from failwell.dialects.parts import JSON, field_map, json_bytes, sentence, without_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.dialects.base import Said
    from failwell.failure import Failure


class Laravel:
    """A message and a map of fields. Carries message and fields, no codes."""

    name = "laravel"

    def read(self, answer: Answer, body: Any) -> Said | None:
        if not isinstance(body, dict) or not isinstance(body.get("message"), str):
            return None
        if not isinstance(body.get("errors"), dict) or not set(body) <= {"message", "errors", "status"}:
            return None
        said = general.read(body, answer.status, answer.headers)
        said.message = sentence(body["message"]) or said.message
        return said

    def write(self, failure: Failure) -> tuple[str, bytes]:
        errors = field_map(failure.fields, "base") if failure.fields else None
        return JSON, json_bytes(without_none({"message": failure.message, "errors": errors}))


LARAVEL = Laravel()
