"""
How the Pictograph API spells an error: FastAPI's `detail`, as a block.

    {"detail": {"message": "This run needs 12 credits, and 3 are left.",
                "error_code": "insufficient_credits",
                "errors": [{"loc": ["body", "name"], "msg": "Field required", "type": "missing"}],
                "required": 12, "remaining": 3, "upgrade_url": "https://..."},
     "request_id": "req_01"}

`message` and `error_code` are always there in what the service writes; the others only where they say
something. What is not named here is one of the `details`. A bare list of fields or a bare sentence, as
FastAPI itself writes them, is read as well.
"""

from __future__ import annotations

from failwell.dialects.base import Said
from failwell.dialects.fastapi import FastAPI
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

_NAMED = frozenset({"message", "error_code", "errors"})


class Detail(FastAPI):
    """Pictograph's error body, both ways."""

    name = "pictograph"

    def read(self, answer: Answer, body: Any) -> Said | None:
        """What `body` says; None if it is not spelled Pictograph's way."""
        detail = body.get("detail") if isinstance(body, dict) else None
        if not isinstance(detail, dict) or not isinstance(detail.get("message"), str):
            return super().read(answer, body)
        request_id = body.get("request_id")
        return Said(
            message=sentence(detail["message"]),
            code=word(detail.get("error_code"), answer.status),
            fields=field_list(detail.get("errors"), path="loc", message="msg", code="type"),
            request_id=request_id if isinstance(request_id, str) else None,
            details={name: value for name, value in detail.items() if name not in _NAMED},
            dialect=self.name,
            body=body,
        )

    def write(self, failure: Failure) -> tuple[str, bytes]:
        """The media type and the body that `read` turns into the same facts."""
        detail: dict[str, Any] = {
            # Without a sentence there would be nothing to read: a body of Pictograph's always has one.
            "message": failure.message or "The request failed.",
            "error_code": failure.code,
            **{name: plain(value) for name, value in failure.details.items() if name not in _NAMED},
        }
        if failure.fields:
            detail["errors"] = written_fields(failure.fields, list, path="loc", message="msg", code="type")
        return JSON, json_bytes(
            without_none({"detail": without_none(detail), "request_id": failure.request_id})
        )


DIALECT = Detail()
