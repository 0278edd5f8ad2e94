"""
JSON:API: `{"errors": [{"status", "code", "title", "detail", "source": {"pointer"}}]}`.

Source:
    jsonapi.org/format/#error-objects.
"""

from __future__ import annotations

from failwell.dialects.base import Said
from failwell.dialects.field_errors import split_path
from failwell.dialects.parts import json_bytes, phrase, sentence, without_none, word
from failwell.failure import FieldError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.failure import Failure

MEDIA_TYPE = "application/vnd.api+json"


class JSONAPIErrors:
    """
    Error objects. Carries message and code, or the fields with their codes: with fields, message
    and code are those of the first.
    """

    name = "jsonapi"

    def read(self, answer: Answer, body: Any) -> Said | None:
        errors = body.get("errors") if isinstance(body, dict) else None
        if not isinstance(errors, list) or not errors or not all(isinstance(e, dict) for e in errors[:500]):
            return None
        if MEDIA_TYPE not in answer.headers.get("content-type", "") and not _has_source(errors):
            return None
        first = errors[0]
        message = sentence(first.get("detail")) or sentence(first.get("title"))
        if message is None:
            return None
        said = Said(message=message, code=word(first.get("code"), answer.status))
        said.fields = tuple(f for e in errors[:500] if (f := _field(e)) is not None)
        meta = first.get("meta")
        said.request_id = word(first.get("id")) or (
            word(meta.get("request_id")) if isinstance(meta, dict) else None
        )
        return said

    def write(self, failure: Failure) -> tuple[str, bytes]:
        status, title = str(failure.status), phrase(failure.status)
        errors = [
            without_none(
                {
                    "id": failure.request_id,
                    "status": status,
                    "code": f.code,
                    "title": title,
                    "detail": f.message,
                    "source": {"pointer": _pointer(f.path)},
                }
            )
            for f in failure.fields
        ]
        if not errors:
            error = {"id": failure.request_id, "status": status, "code": failure.code, "title": title}
            errors = [without_none(error | {"detail": failure.message})]
        return MEDIA_TYPE, json_bytes({"errors": errors})


def _has_source(errors: list[dict[str, Any]]) -> bool:
    return any(isinstance(e.get("source"), dict) and ("detail" in e or "title" in e) for e in errors[:500])


def _field(error: dict[str, Any]) -> FieldError | None:
    source = error.get("source")
    if not isinstance(source, dict):
        return None
    where = source.get("pointer")
    if where is None:
        where = source.get("parameter", source.get("header"))
    if not isinstance(where, str):
        return None
    message = sentence(error.get("detail")) or sentence(error.get("title"))
    return FieldError(split_path(where), message, word(error.get("code")))


def _pointer(path: tuple[str | int, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


JSONAPI = JSONAPIErrors()
