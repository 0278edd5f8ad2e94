"""One operation of an API, as plain data: what to ask and how to read the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from failwell.call.messages import Response
from failwell.redaction import kept_url

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """
    What to ask and how to read the answer. A sync and an async client send the same one.

    Attributes:
        method: The HTTP method.
        path: Below the client's base URL; already percent-encoded.
        parse: Turns a successful answer into the result. A `ValueError`, `TypeError`, `KeyError`
            or `IndexError` from it means that the answer is not in the promised format.
        params: The query; None values are left out, lists are repeated.
        json: The body, as JSON types.
        content: The body as bytes, where it is not JSON.
        headers: Added to the client's.
        scope: What the breaker judges by itself, within the host; "" for the whole host.
        deadline: Seconds for the whole call; None for the client's.
        idempotency_key: Sent with every try; by default a write gets one by itself.
    """

    method: str
    path: str
    parse: Callable[[Response], T]
    params: Mapping[str, Any] | None = None
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    scope: str = ""
    deadline: float | None = None
    idempotency_key: str | None = None
    content: bytes | None = None

    def __repr__(self) -> str:
        # A traceback that shows locals must not show what was passed.
        return f"<Operation {self.method} {kept_url(self.path)}>"
