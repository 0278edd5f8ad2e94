"""Answers and requests of the sandbox's services, as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response

from failwell.answer import Answer

# A text of a request that goes into a column. PostgreSQL's texts have no zero byte, so nobody's have.
Line = Annotated[str, Field(pattern=r"^[^\x00]*$")]


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """`value` as a whole answer, as it is recorded and sent."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, {"content-type": "application/json", **(headers or {})}, body)


def respond(answer: Answer) -> Response:
    """`answer` for the framework."""
    return Response(answer.body, answer.status, answer.headers)


def moment(at: float | None) -> str | None:
    """Unix seconds as RFC 3339, UTC; None stays None."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def loaded(text: str | None) -> Any:
    """A JSON column; None stays None."""
    return None if text is None else json.loads(text)
