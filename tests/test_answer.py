"""An answer, whoever received it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from failwell import Answer, ArgumentTypeError


def test_names_are_in_lower_case_and_repeated_ones_joined() -> None:
    answer = Answer(200, [("X-A", "1"), ("x-a", "2"), ("B", "3"), ("X-A", "4")])

    assert answer.headers == {"x-a": "1, 2, 4", "b": "3"}
    assert Answer(200, [(b"X", b"\xe9")]).headers == {"x": "\xe9"}
    assert Answer(200, {"X-A": "1"}).headers == {"x-a": "1"}
    assert Answer(200, {"x": 7}).headers == {"x": "7"}


@pytest.mark.parametrize(
    ("body", "raw"),
    [
        (b"\xff", b"\xff"),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
        ("\u20ac", b"\xe2\x82\xac"),
        ("\udcff", b"\xff"),
        ("a\ud800", b"a?"),
        ("", b""),
    ],
)
def test_a_body_is_bytes(body: Any, raw: bytes) -> None:
    assert Answer(200, {}, body).body == raw


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        ("503", b"", "status is a str; give a number"),
        (None, b"", "status is a NoneType; give a number"),
        (200, 5, "body is a int; give bytes or text"),
        (200, None, "body is a NoneType; give bytes or text"),
        (200, [b"a"], "body is a list; give bytes or text"),
    ],
)
def test_another_type_is_named(status: Any, body: Any, says: str) -> None:
    with pytest.raises(ArgumentTypeError, match=says):
        Answer(status, {}, body)


def test_answers_are_equal_by_what_they_say() -> None:
    assert Answer(200, {"A": "1"}, "x") == Answer(200, [("a", "1")], b"x")
    assert Answer(200) != Answer(201)
    assert Answer(200).__eq__(200) is NotImplemented
    with pytest.raises(TypeError, match="unhashable"):
        hash(Answer(200))
    assert repr(Answer(200, {}, "secret")) == "<Answer 200, 6 bytes>"


def test_an_answer_is_itself() -> None:
    answer = Answer(200)

    assert Answer.of(answer) is answer


@pytest.mark.parametrize(
    "thing",
    [
        SimpleNamespace(status_code=404, headers={"A": "1"}, content=b"x"),
        SimpleNamespace(status=404, headers={"A": "1"}, body="x"),
        SimpleNamespace(status=404, headers=[("A", "1")], data=bytearray(b"x")),
        SimpleNamespace(status=404, headers={"A": "1"}, content=object(), _body=b"x"),
        SimpleNamespace(status=404, headers={"A": "1"}, bytes=lambda: b"x"),
        httpx2.Response(404, headers={"A": "1"}, content=b"x"),
    ],
    ids=lambda t: type(t).__name__,
)
def test_anything_with_a_status_headers_and_a_body_is_one(thing: Any) -> None:
    answer = Answer.of(thing)

    assert (answer.status, answer.headers["a"], answer.body) == (404, "1", b"x")


@pytest.mark.parametrize(
    "thing",
    [None, "503", 503, {"status": 503}, SimpleNamespace(status=503), SimpleNamespace(headers={})],
    ids=str,
)
def test_anything_else_is_not(thing: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="is not an answer: it needs a status, headers and a body"):
        Answer.of(thing)


class Unread:
    status, headers = 200, {"a": "1"}

    @property
    def content(self) -> bytes:
        raise RuntimeError("not read")


async def _later() -> bytes:
    raise AssertionError("nobody awaits it")


@pytest.mark.parametrize(
    "thing",
    [
        Unread(),
        SimpleNamespace(status=200, headers={}),
        SimpleNamespace(status=200, headers={}, bytes=_later),
        SimpleNamespace(status=200, headers={}, bytes=lambda: SimpleNamespace(__await__=1)),
        httpx2.Response(200, stream=httpx2.ByteStream(b"x")),
    ],
    ids=["raises", "none", "coroutine", "awaitable", "httpx2 stream"],
)
def test_a_body_that_is_not_read_yet_is_said_to_be_so(thing: Any) -> None:
    if (
        isinstance(thing, SimpleNamespace)
        and getattr(thing, "bytes", None) is not None
        and thing.bytes is not _later
    ):
        # An object is awaitable by its class, not by an attribute of the instance.
        class Awaitable:
            def __await__(self) -> Any: ...

        thing.bytes = Awaitable
    with pytest.raises(ArgumentTypeError, match="not read yet"):
        Answer.of(thing)
