"""What an error body says, and what a dialect is."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from failwell.answer import Answer
    from failwell.failure import Failure, FieldError

    class Dialect(Protocol):
        """
        One way to spell an error body, both ways.

        `read` takes the answer and its body as parsed (a JSON value, a `Tree` if it is XML, None
        if it is neither) and returns None if the body is not spelled this way. `write` gives the
        media type and the bytes that `read` turns into the same facts.
        """

        name: str

        def read(self, answer: Answer, body: Any, /) -> Said | None: ...
        def write(self, failure: Failure, /) -> tuple[str, bytes]: ...


class Tree(dict):  # type: ignore[type-arg]  # str to str, Tree or a list of them
    """
    An XML element as a mapping: attributes and children by local name, repeated children as a
    list, text as a string. The document is a tree with one member, its root.
    """

    __slots__ = ()


@dataclass(slots=True)
class Said:
    """
    What an error body says.

    Attributes:
        message: For people: the most specific single sentence.
        code: For programs, as text. A code that only repeats the HTTP status is None.
        fields: Field by field.
        request_id: The id the body gives; a header goes before it.
        retry_after: Seconds the body asks to wait.
        details: What else a documented contract wants from it.
        meaning: The `kind` of the standard error the body names beyond doubt, whatever the
            status: "quota_exceeded", "rate_limited", "idempotency_mismatch" ... None if the
            status decides.
        signals: Every word for programs that the body holds, the most specific first; for
            telling what the failure means, not for showing.
        dialect: The name of the dialect it was read in.
        body: The body as it is kept: parsed JSON, else text; capped. None if there was none.
    """

    message: str | None = None
    code: str | None = None
    fields: tuple[FieldError, ...] = ()
    request_id: str | None = None
    retry_after: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    meaning: str | None = None
    signals: tuple[str, ...] = ()
    dialect: str = "none"
    body: Any = None
