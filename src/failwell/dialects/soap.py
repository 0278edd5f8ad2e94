"""
SOAP faults, of version 1.1 (`faultcode`, `faultstring`) and 1.2 (`Code`, `Reason`).

Source:
    SOAP 1.1, section 4.4; SOAP 1.2 part 1, section 5.4.
"""

from __future__ import annotations

from failwell.dialects import general
from failwell.dialects.base import Said, Tree
from failwell.dialects.field_errors import text_of
from failwell.dialects.parts import escaped, headline, sentence, word
from failwell.dialects.places import squashed_members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.failure import Failure


class SOAPFault:
    """A fault. Carries message and code; written as version 1.1."""

    name = "soap"

    def read(self, answer: Answer, body: Any) -> Said | None:
        fault = _fault(body)
        if fault is None:
            return None
        code = fault.get("faultcode")
        if code is None and isinstance(fault.get("code"), dict):
            code = _finest(squashed_members(fault["code"]))
        message = text_of(fault.get("faultstring")) or text_of(fault.get("reason"))
        said = Said(message=sentence(message), code=word(text_of(code)))
        detail = fault.get("detail")
        if isinstance(detail, dict):
            nodes, items = general.error_nodes(detail)
            said.request_id = general.body_id(general.neighbours(nodes, items))
        if answer.status < 400:
            said.meaning = "invalid_request" if _blames_sender(fault) else "server"
        return said

    def write(self, failure: Failure) -> tuple[str, bytes]:
        code = failure.code or ("soap:Client" if (failure.status or 500) < 500 else "soap:Server")
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><soap:Fault>'
            f"<faultcode>{escaped(code)}</faultcode>"
            f"<faultstring>{escaped(headline(failure))}</faultstring>"
            "</soap:Fault></soap:Body></soap:Envelope>"
        )
        return "text/xml; charset=utf-8", text.encode()


def _fault(body: Any) -> dict[str, Any] | None:
    node: Any = body
    for name in ("Envelope", "Body", "Fault"):
        if not isinstance(node, Tree) or name not in node:
            return None
        node = node[name]
    return squashed_members(node) if isinstance(node, dict) else None


def _finest(code: dict[str, Any]) -> str | None:
    """The innermost subcode, since the outer ones only say whose fault it is."""
    value = text_of(code.get("value"))
    for _ in range(5):
        inner = code.get("subcode")
        if not isinstance(inner, dict):
            break
        code = squashed_members(inner)
        value = text_of(code.get("value")) or value
    return value


def _blames_sender(fault: dict[str, Any]) -> bool:
    outer = (
        fault.get("faultcode") or squashed_members(fault["code"]).get("value")
        if isinstance(fault.get("code"), dict)
        else fault.get("faultcode")
    )
    return str(text_of(outer)).rpartition(":")[2] in ("Client", "Sender")


SOAP = SOAPFault()
