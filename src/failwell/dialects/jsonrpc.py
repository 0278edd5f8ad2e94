"""
JSON-RPC 2.0: `{"jsonrpc": "2.0", "id", "error": {"code": -32602, "message", "data"}}`.

Source:
    jsonrpc.org/specification, section 5.1.
"""

from __future__ import annotations

from failwell.dialects import general
from failwell.dialects.base import Said
from failwell.dialects.parts import (
    JSON,
    field_list,
    headline,
    json_bytes,
    sentence,
    without_none,
    word,
    written_fields,
)
from failwell.dialects.places import Node
from failwell.meaning import named_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.failure import Failure

_KINDS = {
    -32700: "invalid_request",
    -32600: "invalid_request",
    -32601: "not_found",
    -32602: "invalid_request",
    -32603: "server",
}


class JSONRPCErrors:
    """
    An error object. Carries message, code and fields.

    The code of the protocol is an integer; any other word goes into `data.code`, under the
    protocol's first free number.
    """

    name = "jsonrpc"

    def read(self, answer: Answer, body: Any) -> Said | None:
        if isinstance(body, list) and body:
            body = next((b for b in body[:100] if isinstance(b, dict) and b.get("error")), None)
        error = body.get("error") if isinstance(body, dict) and "jsonrpc" in body else None
        if not isinstance(error, dict):
            return None
        number, inside = error.get("code"), error.get("data")
        data = inside if isinstance(inside, dict) else {}
        code = word(data.get("code")) or word(number)
        said = Said(message=sentence(error.get("message")), code=code)
        said.fields = field_list(data.get("errors"), path="path", message="message")
        near = [Node(error), Node(data)]
        said.request_id, said.retry_after = general.body_id(near), general.body_wait(near)
        if answer.status < 400:
            kind = _KINDS.get(number, "api") if isinstance(number, int) else "api"
            said.meaning = named_inside([code] if code else [], said.message) or kind
        return said

    def write(self, failure: Failure) -> tuple[str, bytes]:
        code, number = failure.code, -32000
        try:
            if code is not None and str(int(code)) == code:
                number, code = int(code), None
        except ValueError:
            pass
        fields = written_fields(failure.fields, list, path="path", message="message") or None
        data = without_none({"code": code, "errors": fields, "request_id": failure.request_id})
        error = {"code": number, "message": headline(failure), "data": data or None}
        return JSON, json_bytes({"jsonrpc": "2.0", "id": None, "error": without_none(error)})


JSONRPC = JSONRPCErrors()
