"""An HTTP answer, whoever received it: a status, headers and a body."""

from __future__ import annotations

from failwell.errors import ArgumentTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Self


class Answer:
    """
    What came back: enough to say what went wrong.

    Args:
        status: The HTTP status.
        headers: A mapping or pairs; names in any case. Repeated names are joined with ", ".
        body: Bytes as received, with any content encoding already undone. Text is encoded
            as UTF-8.

    Raises:
        ArgumentTypeError: the status is no number, or the body neither bytes nor text.

    Attributes:
        status: The HTTP status.
        headers: Names in lower case.
        body: Bytes.
    """

    __slots__ = ("body", "headers", "status")

    status: int
    headers: dict[str, str]
    body: bytes

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes | str = b"",
    ) -> None:
        if not isinstance(status, int):
            raise ArgumentTypeError(f"status is a {type(status).__name__}; give a number")
        self.status = status
        self.headers = _lower(headers)
        self.body = _bytes(body)

    def __repr__(self) -> str:
        return f"<Answer {self.status}, {len(self.body)} bytes>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Answer):
            return NotImplemented
        return (self.status, self.headers, self.body) == (other.status, other.headers, other.body)

    __hash__ = None  # type: ignore[assignment]  # holds a dict

    @classmethod
    def of(cls, thing: Any) -> Self:
        """
        The answer in `thing`: a response of httpx, httpx2, requests, urllib3, aiohttp (with its
        body read), pyreqwest, or anything with a status, headers and a body.

        Raises:
            ArgumentTypeError: `thing` has no status or no headers, or its body is not read yet.
        """
        if isinstance(thing, cls):
            return thing
        status = getattr(thing, "status_code", None)
        if status is None:
            status = getattr(thing, "status", None)
        headers = getattr(thing, "headers", None)
        if not isinstance(status, int) or headers is None:
            raise ArgumentTypeError(
                f"{type(thing).__name__} is not an answer: it needs a status, headers and a body. "
                "Use failwell.Answer(status, headers, body)."
            )
        return cls(int(status), headers, _body_of(thing))


def _lower(headers: Any) -> dict[str, str]:
    # `multi_items` (httpx) and `items` of multidict, urllib3 and pyreqwest give repeated names apart.
    multi = getattr(headers, "multi_items", None) or getattr(headers, "items", None)
    pairs = multi() if multi is not None else headers
    lowered: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    for raw_name, raw_value in pairs:
        name = (raw_name if type(raw_name) is str else _text(raw_name)).lower()
        value = raw_value if type(raw_value) is str else _text(raw_value)
        if name in lowered:
            # Joined once at the end: a name repeated 200,000 times would take 40 s one by one.
            repeated.setdefault(name, [lowered[name]]).append(value)
        else:
            lowered[name] = value
    for name, values in repeated.items():
        lowered[name] = ", ".join(values)
    return lowered


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _bytes(body: Any) -> bytes:
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    if not isinstance(body, str):
        raise ArgumentTypeError(f"body is a {type(body).__name__}; give bytes or text")
    try:
        return body.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, which no bytes stand for
        return body.encode("utf-8", "replace")


def _body_of(thing: Any) -> bytes:
    for name in ("content", "body", "data", "_body"):
        # httpx raises its own error if the body was not read; aiohttp's `content` is a reader.
        try:
            value: Any = getattr(thing, name, None)
        except Exception as exc:
            raise ArgumentTypeError(f"the body of this {type(thing).__name__} is not read yet") from exc
        if isinstance(value, (bytes, bytearray, memoryview, str)):
            return _bytes(value)
    read = getattr(thing, "bytes", None)
    if callable(read):  # pyreqwest: a method, a coroutine in its async half
        value = read()
        if hasattr(value, "__await__"):
            getattr(value, "close", lambda: None)()
        else:
            return bytes(value)
    raise ArgumentTypeError(f"the body of this {type(thing).__name__} is not read yet: read it first")
