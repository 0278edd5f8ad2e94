"""
Problem details: `{"type", "title", "status", "detail", "instance", ...}`.

Source:
    RFC 9457; its section 3.1.1 for `type`, appendix A for `errors` with pointers.
"""

from __future__ import annotations

from failwell.dialects import general
from failwell.dialects.base import Said, Tree
from failwell.dialects.parts import (
    json_bytes,
    phrase,
    plain,
    pointer,
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

MEDIA_TYPE = "application/problem+json"
BLANK = "about:blank"


class Problem:
    """
    RFC 9457. Carries message, code, fields, details and request id.

    A code that is a URI is the problem's `type`; any other is an extension member `code`, which
    goes before the type when read, since it is the finer one.

    Args:
        type_uri: The `type` of a problem with a code, such as
            `https://docs.example/errors/{code}`; `about:blank` for none.
    """

    name = "problem"

    def __init__(self, type_uri: str = BLANK) -> None:
        self.type_uri = type_uri

    def read(self, answer: Answer, body: Any) -> Said | None:
        if isinstance(body, Tree) and isinstance(body.get("problem"), dict):
            body = body["problem"]
        if not isinstance(body, dict) or not self._speaks(answer, body):
            return None
        said = general.read(body, answer.status, answer.headers)
        said.message = sentence(body.get("detail")) or sentence(body.get("title")) or said.message
        kind = body.get("type")
        url = general.type_url(kind, answer.status) if isinstance(kind, str) else None
        own = word(body.get("code"), answer.status) or word(body.get("errorCode")) or url
        said.code = own or (said.code if said.code != body.get("title") else None)
        if url is not None:
            said.signals += (url.rstrip("/").rpartition("/")[2],)
        if isinstance(body.get("details"), dict):
            said.details = body["details"]
        return said

    def write(self, failure: Failure) -> tuple[str, bytes]:
        code = failure.code
        is_uri = code is not None and "://" in code
        body: dict[str, Any] = {
            "type": code if is_uri else self._type_of(code),
            "title": phrase(failure.status),
            "status": failure.status,
            "detail": failure.message,
            # Section 3.1.5: what identifies this one occurrence. Our id is a URI reference as it is.
            "instance": failure.request_id,
            "code": None if is_uri else code,
            "request_id": failure.request_id,
            "details": plain(failure.details) if failure.details else None,
        }
        if failure.fields:
            body["errors"] = written_fields(failure.fields, pointer, path="pointer", message="detail")
        return MEDIA_TYPE, json_bytes(without_none(body))

    def _type_of(self, code: str | None) -> str:
        return BLANK if code is None else self.type_uri.replace("{code}", code)

    @staticmethod
    def _speaks(answer: Answer, body: dict[str, Any]) -> bool:
        if "application/problem" in answer.headers.get("content-type", ""):
            return True
        known = [isinstance(body.get(name), str) for name in ("type", "title", "detail")]
        return sum(known) >= 2 and (isinstance(body.get("status"), int) or known[0])


PROBLEM = Problem()
