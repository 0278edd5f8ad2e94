"""
FastAPI and Starlette: `{"detail": "..."}`, a list of validation errors, or an object.

Source:
    fastapi.exception_handlers; pydantic's `errors()`, of version 1 and 2.
"""

from __future__ import annotations

from failwell.dialects import general
from failwell.dialects.base import Said
from failwell.dialects.parts import JSON, field_list, json_bytes, sentence, without_none, word, written_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.failure import Failure


class FastAPI:
    """
    `detail`. Carries the message and the code, or the fields: with fields, the message is that
    of the first, and there is no code. A field's own code is its `type`, its path its `loc`, which is
    kept whole. The request id stands beside `detail`.
    """

    name = "fastapi"

    def read(self, answer: Answer, body: Any) -> Said | None:
        detail = body.get("detail") if isinstance(body, dict) else None
        said = self._said(answer, body, detail)
        if said is not None and len(body) > 1:
            said.request_id = said.request_id or word(body.get("request_id"))
            said.code = said.code or word(body.get("code"), answer.status)
        return said

    @staticmethod
    def _said(answer: Answer, body: Any, detail: Any) -> Said | None:
        if isinstance(detail, str) and body.keys() <= _MEMBERS:
            return Said(message=sentence(detail), code=general.header_code(answer.headers))
        if isinstance(detail, dict) and body.keys() <= _MEMBERS and isinstance(detail.get("message"), str):
            said = general.read(detail, answer.status, answer.headers)
            said.message = sentence(detail["message"]) or said.message
            return said
        if not isinstance(detail, list) or not detail or not all(map(_is_error, detail[:100])):
            return None
        fields = field_list(detail, path="loc", message="msg", code="type")
        return Said(message=fields[0].message, fields=fields)

    def write(self, failure: Failure) -> tuple[str, bytes]:
        detail: Any = failure.message
        if failure.fields:
            detail = written_fields(failure.fields, list, path="loc", message="msg", code="type")
        elif failure.code is not None:
            detail = without_none({"code": failure.code, "message": failure.message})
        # Beside `detail`, which stays as FastAPI has it; where nobody looks for it, it does no harm.
        return JSON, json_bytes(without_none({"detail": detail, "request_id": failure.request_id}, "detail"))


# What may stand beside a `detail` that is FastAPI's: the request id, and in an event of a stream
# what the head of an answer would say.
_MEMBERS = frozenset({"detail", "request_id", "status", "code"})


def _is_error(item: Any) -> bool:
    if not isinstance(item, dict) or "msg" not in item or not isinstance(item.get("loc"), list):
        return False
    return all(isinstance(part, (str, int)) for part in item["loc"])


FASTAPI = FastAPI()
