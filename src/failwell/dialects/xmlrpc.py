"""
XML-RPC faults: `<methodResponse><fault>` around a struct of `faultCode` and `faultString`.

Source:
    xmlrpc.com/spec.md, "Fault example".
"""

from __future__ import annotations

from failwell.dialects.base import Said, Tree
from failwell.dialects.field_errors import text_of
from failwell.dialects.parts import escaped, headline, sentence, word
from failwell.meaning import named_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.failure import Failure


class XMLRPCFault:
    """A fault, which comes with a 200. Carries message and code, which is an integer by the standard."""

    name = "xmlrpc"

    def read(self, answer: Answer, body: Any) -> Said | None:
        members = _members(body)
        if members is None:
            return None
        code, message = word(members.get("faultCode")), sentence(members.get("faultString"))
        said = Said(message=message, code=code)
        if answer.status < 400:
            said.meaning = named_inside([], message) or "api"
        return said

    def write(self, failure: Failure) -> tuple[str, bytes]:
        code = failure.code or "0"
        kind = "int" if code.lstrip("-").isdigit() else "string"
        text = (
            '<?xml version="1.0"?>\n<methodResponse><fault><value><struct>'
            f"<member><name>faultCode</name><value><{kind}>{escaped(code)}</{kind}></value></member>"
            "<member><name>faultString</name>"
            f"<value><string>{escaped(headline(failure))}</string></value></member>"
            "</struct></value></fault></methodResponse>"
        )
        return "text/xml", text.encode()


def _members(body: Any) -> dict[str, str | None] | None:
    """The fault's members as text; None if `body` is no fault."""
    node: Any = body
    for name in ("methodResponse", "fault", "value", "struct"):
        if not isinstance(node, Tree) or name not in node:
            return None
        node = node[name]
    members = node.get("member") if isinstance(node, Tree) else None
    if not isinstance(members, list):
        return None
    found: dict[str, str | None] = {}
    for member in members[:20]:
        if isinstance(member, Tree) and isinstance(member.get("name"), str):
            value = member.get("value")
            inner = next(iter(value.values())) if isinstance(value, Tree) else value
            found[member["name"]] = text_of(inner)
    return found


XMLRPC = XMLRPCFault()
