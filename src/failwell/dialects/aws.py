"""
AWS: JSON with the error's name in `__type` or a header, and two envelopes of XML.

    {"__type": "com.example#NotFoundException", "message": "..."}
    <ErrorResponse><Error><Code/><Message/></Error><RequestId/></ErrorResponse>
    <Error><Code/><Message/><RequestId/></Error>

Source:
    Smithy 2.0: AWS JSON 1.1, AWS restXml and AWS query protocols, "Operation error serialization";
    smithy.framework#ValidationException for the fields.
"""

from __future__ import annotations

from failwell.dialects import general
from failwell.dialects.base import Said, Tree
from failwell.dialects.parts import escaped, headline, json_bytes, pointer, without_none, written_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.failure import Failure

MEDIA_TYPE = "application/x-amz-json-1.1"


class AWSJSON:
    """The JSON protocols. Carries message, code and fields (without their codes)."""

    name = "aws"

    def read(self, answer: Answer, body: Any) -> Said | None:
        if not isinstance(body, dict) or isinstance(body, Tree):
            return None
        if "__type" not in body and general.header_code(answer.headers) is None:
            return None
        return general.read(body, answer.status, answer.headers)

    def write(self, failure: Failure) -> tuple[str, bytes]:
        fields = written_fields(failure.fields, _pointer, path="path", message="message", code="reason")
        body = {"__type": failure.code, "message": failure.message, "fieldList": fields or None}
        return MEDIA_TYPE, json_bytes(without_none(body))


class AWSXML:
    """The XML protocols. Carries message, code and request id."""

    name = "aws_xml"

    def read(self, answer: Answer, body: Any) -> Said | None:
        if not isinstance(body, Tree):
            return None
        root = next(iter(body.values()))
        if not isinstance(root, dict) or not any(n in body or n in root for n in ("Error", "Errors")):
            return None
        return general.read(body, answer.status, answer.headers)

    def write(self, failure: Failure) -> tuple[str, bytes]:
        code = "" if failure.code is None else f"<Code>{escaped(failure.code)}</Code>"
        request_id = (
            "" if failure.request_id is None else f"<RequestId>{escaped(failure.request_id)}</RequestId>"
        )
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<ErrorResponse><Error>{code}'
            f"<Message>{escaped(headline(failure))}</Message></Error>{request_id}</ErrorResponse>"
        )
        return "text/xml", text.encode()


def _pointer(path: tuple[str | int, ...]) -> str:
    return pointer(path)[1:]


AWS = AWSJSON()
AWS_XML = AWSXML()
