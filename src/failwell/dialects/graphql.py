"""
GraphQL: `{"errors": [{"message", "locations", "path", "extensions": {"code"}}], "data": null}`.

The errors come with any status, 200 included. An error with a `path` happened while a field was
resolved; one without was found in the request. The path is of the answer, not of the input, so it
is no field.

Source:
    GraphQL specification, October 2021, section 7.1; GraphQL over HTTP.
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

_TOP = frozenset({"data", "errors", "extensions", "hasNext", "label", "path", "incremental"})


class GraphQL:
    """Errors of a GraphQL answer. Carries message, code and, under `extensions`, fields."""

    name = "graphql"

    def read(self, answer: Answer, body: Any) -> Said | None:
        if isinstance(body, list) and body:  # a batch of operations
            body = next((b for b in body[:100] if isinstance(b, dict) and b.get("errors")), None)
        if not isinstance(body, dict) or not _TOP.issuperset(body):
            return None
        errors = body.get("errors")
        if not isinstance(errors, list) or not errors or not all(isinstance(e, dict) for e in errors[:100]):
            return None
        first = errors[0]
        message = sentence(first.get("message"))
        if message is None or not ("data" in body or "locations" in first or "extensions" in first):
            return None
        inside = first.get("extensions")
        extensions = inside if isinstance(inside, dict) else {}
        named = (extensions.get("code"), first.get("code"), first.get("type"), extensions.get("type"))
        codes = [code for code in map(word, (*named, extensions.get("classification"))) if code]
        near = [Node(extensions), Node(first), Node(body)]
        said = Said(message=message, code=codes[0] if codes else None, signals=tuple(codes[1:]))
        said.fields = field_list(extensions.get("fields"), path="path", message="message")
        said.request_id, said.retry_after = general.body_id(near), general.body_wait(near)
        if answer.status < 400:
            kind = "server" if "path" in first else "invalid_request"
            said.meaning = named_inside(codes, message) or kind
        return said

    def write(self, failure: Failure) -> tuple[str, bytes]:
        fields = written_fields(failure.fields, list, path="path", message="message") or None
        extensions = without_none({"code": failure.code, "fields": fields, "requestId": failure.request_id})
        error = {"message": headline(failure), "extensions": extensions or None}
        return JSON, json_bytes({"errors": [without_none(error)], "data": None})


GRAPHQL = GraphQL()
