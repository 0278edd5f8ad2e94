"""One operation of an API, as plain data: what to ask and how to read the answer."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, BinaryIO, Generic, TypeAlias, TypeVar

from failwell.call.messages import Response
from failwell.redaction import kept_url

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Upload:
    """
    A body that is sent in pieces while it is read, so that memory does not grow with it.

    A file is sent from its start again if the call is repeated; one that changes meanwhile ends the
    call with an `UploadError`. What was opened by somebody else is sent from where it stands to its
    end, and left open. An iterator can be sent once: a call that sent some of it is not repeated.

    Attributes:
        source: The path of a file; a file opened in binary mode; an iterable of bytes. An
            `AsyncClient` takes an asynchronous iterable, too.
        digest: Whether to send the SHA-256 of the whole body as `Content-Digest` (RFC 9530). The
            header goes before the body, so a file is read once more for it, before the first try.
        progress: Called after each piece with the bytes sent in this try and the bytes in all
            (None if that is not known). A try that follows begins at 0 again.
        size: The bytes that an iterable will give; if not told, they are sent in chunks.
    """

    source: str | PathLike[str] | BinaryIO | Iterable[bytes] | AsyncIterable[bytes]
    digest: bool = False
    progress: Callable[[int, int | None], object] | None = None
    size: int | None = None

    def __repr__(self) -> str:
        return f"<Upload of a {type(self.source).__name__}>"


Content: TypeAlias = "bytes | PathLike[str] | BinaryIO | Iterator[bytes] | AsyncIterator[bytes] | Upload"


def _itself(response: Response) -> Any:
    return response


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """
    What to ask and how to read the answer. A sync and an async client send the same one.

    Attributes:
        method: The HTTP method.
        path: Below the client's base URL; already percent-encoded.
        parse: Turns a successful answer into the result; by default the answer is it. A
            `ValueError`, `TypeError`, `KeyError` or `IndexError` from it means that the answer is not
            in the promised format.
        params: The query; None values are left out, lists are repeated.
        json: The body, as JSON types.
        content: The body, where it is not JSON: bytes; the path of a file, or one opened in binary
            mode; an iterator of bytes; an `Upload`, for more about them.
        headers: Added to the client's.
        scope: What the breaker judges by itself, within the host; "" for the whole host.
        deadline: Seconds for the whole call; None for the client's.
        idempotency_key: Sent with every try; by default a write gets one by itself.
        max_attempts: Tries in all; None for what the client's retry policy says.
    """

    method: str
    path: str
    parse: Callable[[Response], T] = _itself
    params: Mapping[str, Any] | None = None
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    scope: str = ""
    deadline: float | None = None
    idempotency_key: str | None = None
    content: Content | None = None
    max_attempts: int | None = None

    def __repr__(self) -> str:
        # A traceback that shows locals must not show what was passed.
        return f"<Operation {self.method} {kept_url(self.path)}>"
