"""
Spring Boot's default error attributes: `{"timestamp", "status", "error", "message", "path", "errors"}`.

Source:
    org.springframework.boot.web.error.ErrorAttributes.
"""

from __future__ import annotations

from datetime import UTC

from failwell.dialects import general
from failwell.dialects.parts import JSON, bracketed, json_bytes, phrase, without_none, written_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.dialects.base import Said
    from failwell.failure import Failure


class Spring:
    """The default attributes. Carries message and fields; the code only of fields."""

    name = "spring"

    def read(self, answer: Answer, body: Any) -> Said | None:
        if not isinstance(body, dict) or not {"timestamp", "status", "error"}.issubset(body):
            return None
        return general.read(body, answer.status, answer.headers)

    def write(self, failure: Failure) -> tuple[str, bytes]:
        fields = written_fields(failure.fields, bracketed, path="field", message="defaultMessage")
        body = {
            "timestamp": _now(),
            "status": failure.status,
            "error": phrase(failure.status),
            "message": failure.message,
            "errors": fields or None,
            "path": None if failure.url is None else failure.url.partition("?")[0],
        }
        return JSON, json_bytes(without_none(body))


def _now() -> str:
    from datetime import datetime

    return datetime.now(UTC).isoformat(timespec="milliseconds")


SPRING = Spring()
