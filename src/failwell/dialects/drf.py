"""
Django REST framework: `{"detail": "..."}`, or the input's own shape with lists of messages.

Source:
    rest_framework.views.exception_handler; rest_framework.exceptions.
"""

from __future__ import annotations

from failwell.dialects.base import Said
from failwell.dialects.field_errors import mapped_fields, whole_map
from failwell.dialects.parts import JSON, json_bytes, sentence, without_none, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.failure import Failure

WHOLE = "non_field_errors"


class DjangoREST:
    """
    `detail` and `code`, or a tree of messages. Carries message and code, or the fields without
    codes: with fields, the message is that of the first.
    """

    name = "drf"

    def read(self, answer: Answer, body: Any) -> Said | None:
        if not isinstance(body, dict):
            return None
        detail = body.get("detail")
        if isinstance(detail, str) and set(body) <= {"detail", "code"}:
            return Said(message=sentence(detail), code=word(body.get("code"), answer.status))
        if not whole_map(body):
            return None
        fields = mapped_fields(body)
        return Said(message=next((f.message for f in fields if f.message), None), fields=fields)

    def write(self, failure: Failure) -> tuple[str, bytes]:
        if not failure.fields:
            return JSON, json_bytes(without_none({"detail": failure.message, "code": failure.code}))
        tree: dict[str, Any] = {}
        for field in failure.fields:
            branch: Any = tree
            *parents, last = map(str, field.path or (WHOLE,))
            for part in parents:
                branch = branch.setdefault(part, {})
                if isinstance(branch, list):  # a field above has messages of its own
                    break
            leaf = branch if isinstance(branch, list) else branch.setdefault(last, [])
            messages = leaf if isinstance(leaf, list) else leaf.setdefault(WHOLE, [])
            messages.append(field.message or field.code or "is invalid")
        return JSON, json_bytes(tree)


DRF = DjangoREST()
