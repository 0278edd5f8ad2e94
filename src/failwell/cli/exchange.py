"""One request and its answer, as far as pasted text tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from failwell.call.messages import Phase, Reason

# What a person pastes fits many times; a video does not.
INPUT_LIMIT = 16 * 1024 * 1024


class UnreadableError(Exception):
    """The input cannot be read; the text is the sentence that says so, and what could be."""


@dataclass(slots=True)
class Exchange:
    """
    One request and its answer.

    Attributes:
        source: Where it was read from, for people: "curl output", "HAR entry 3 of 12".
        status: The HTTP status; None if the input has none.
        headers: The answer's, names in lower case.
        body: The answer's, content encoding undone.
        method: The request's method; None if the input does not say.
        url: The request's URL; None if the input does not say.
        key: The idempotency key that was sent.
        broken: Why no usable answer came and how far the request got; None if one came.
        cause: What the tool said about it.
        notes: What is odd about the input, in sentences.
        secrets: Values that stand in a secret's place in the input.
        earlier: The answers in front: (status, whose).
    """

    source: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    method: str | None = None
    url: str | None = None
    key: str | None = None
    broken: tuple[Phase, Reason] | None = None
    cause: str | None = None
    notes: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    earlier: list[int] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<Exchange {self.source}, status {self.status}>"
