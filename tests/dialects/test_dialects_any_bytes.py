"""Whatever arrives is decoded: no bytes raise, and none take more than their share of time."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from time import process_time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from failwell import dialects
from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.dialects import body as bodies
from failwell.dialects.field_errors import FIELD_LIMIT, split_path
from failwell.dialects.places import _PLACES_KEPT, _places
from failwell.redaction import BODY_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

patient = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

member_names = st.one_of(
    st.text(max_size=10),
    st.sampled_from(
        ["error", "errors", "message", "code", "detail", "details", "type", "status", "title", "fields",
         "path", "loc", "msg", "fault", "_errors", "__type", "jsonrpc", "data", "extensions", "Errors",
         "request_id", "retry_after", "source", "pointer", ".tag", "error_description", "index", "id",
         "meta", "name"]
    ),
)  # fmt: skip
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from(
        ["not_found", "Not Found", "It is wrong.", "/a/b", "a[0].b", "{}", '{"message": "x"}', "\ud800"]
    ),
)  # fmt: skip
json_values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(member_names, inner, max_size=5)),
    max_leaves=20,
)
markup = st.lists(
    st.sampled_from(
        ["<", ">", "</", "<h1>", "</h1>", "<p>", "<title>", "<!--", "-->", "<script>", "</script>", "<html>",
         "&#x;", "<Error>", "</Error>", "<Code>", "</Code>", "<?xml version='1.0'?>", "<!DOCTYPE x>",
         "words of a sentence ", "<b>", "</b>", "<th>", "\x00", "<a b='c'>", "]]>", "<![CDATA["]
    )
).map("".join)  # fmt: skip
any_body = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass")),
    json_values.map(lambda v: json.dumps(v).encode()),
    json_values.map(lambda v: json.dumps(v).encode()[:-3]),
    json_values.map(lambda v: json.dumps(v).encode("utf-16")),
    markup.map(lambda t: t.encode()),
)
any_headers = st.dictionaries(
    st.one_of(st.text(max_size=12), st.sampled_from(["content-type", "retry-after", "www-authenticate"])),
    st.one_of(
        st.text(max_size=30),
        st.sampled_from(["application/json", "application/problem+json", "text/html",
                         "text/plain; charset=nonsense", "application/vnd.api+json",
                         "application/x-www-form-urlencoded",
                         "text/xml; charset=utf-16"]),
    ),
    max_size=4,
)  # fmt: skip


@patient
@given(st.integers(100, 999), any_headers, any_body)
def test_any_answer_is_decoded_to_an_error_that_travels(
    status: int, sent: dict[str, str], raw: bytes
) -> None:
    error = STANDARD.decode(Answer(status, sent, raw))

    if error is None:
        assert 200 <= status < 300
        return
    str(error).encode()
    assert type(pickle.loads(pickle.dumps(error))) is type(error)
    assert copy.deepcopy(error).failure == error.failure
    json.dumps(error.to_dict())


@patient
@pytest.mark.parametrize(
    "name", ["problem", "google", "graphql", "jsonapi", "jsonrpc", "aws", "soap", "text"]
)
@given(json_values)
def test_a_known_dialect_takes_any_json(name: str, value: Any) -> None:
    dialects.read(Answer(400, {}, json.dumps(value)), dialects.DIALECTS[name])


DEEP = sys.getrecursionlimit() * 3

MONSTERS: dict[str, bytes] = {
    "nested lists": b"[" * DEEP + b"]" * DEEP,
    "nested lists, unclosed": b"[" * DEEP,
    "nested objects": b'{"error":' * DEEP + b"1" + b"}" * DEEP,
    "nested objects under the limit of the parser": b'{"a":' * 500 + b"1" + b"}" * 500,
    "nested elements": b"<a>" * DEEP + b"</a>" * DEEP,
    "nested divs": b"<html>" + b"<div>" * DEEP,
    "a huge integer": b'{"code": ' + b"9" * 100_000 + b', "message": "Too big."}',
    "a huge float": b'{"code": 1e999999, "message": "Too big."}',
    "not a number": b'{"retry_after": NaN, "message": "No number.", "code": -Infinity}',
    "a lone surrogate": b'{"message": "\\ud800 is alone", "\\udfff": 1}',
    "members twice": b'{"message": "first", "message": "second"}',
    "no members": b"{}",
    "a NUL": b'{"message": "a\x00b"}',
    "many fields": json.dumps(
        {"errors": [{"field": f"f{n}", "message": "no"} for n in range(20_000)]}
    ).encode(),
    "many members": json.dumps({f"error_{n}": "It is wrong." for n in range(20_000)}).encode(),
    "billion laughs": b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">'
    b'<!ENTITY c "&b;&b;&b;&b;">]><Error><Message>&c;</Message></Error>',
    "an outside entity": b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><Error><Message>&f;</Message></Error>',
    "unclosed comments": b"<html><!--" * 20_000,
    "unclosed scripts": b"<html><script>" * 20_000,
    "unclosed tags": b"<html><h1>x</h1>" + b"<" * 50_000,
    "spaces in tags": b"<html><h1>x</h1><" + b" " * 50_000,
    "backslashes": b'{"message": "' + b"\\" * 50_001,
    "quotes": b'{"message": ' + b'"' * 50_000,
    "gzip": b"\x1f\x8b\x08\x00" + bytes(range(256)) * 20,
    "utf-16": '{"message": "In sixteen bits."}'.encode("utf-16"),
    "latin-1": b'{"message": "na\xefve"}',
    "form of equal signs": b"error=" + b"=" * 50_000,
    "events without data": b"event: error\n" * 5_000,
    "ten megabytes of json": b'{"message": "Large.", "x": "' + b"y" * 10_000_000 + b'"}',
    "ten megabytes of nothing": bytes(10_000_000),
    "ten megabytes of html": b"<html><h1>Large</h1><p>A large page.</p>" + b"<p>x</p>" * 1_200_000,
}


@pytest.mark.parametrize("raw", MONSTERS.values(), ids=MONSTERS)
def test_no_monster_raises_and_none_is_kept_whole(raw: bytes) -> None:
    error = STANDARD.decode(Answer(500, {}, raw))

    assert error is not None
    assert len(str(error)) < 1000
    assert len(error.fields) <= FIELD_LIMIT
    assert len(pickle.dumps(error)) < 8 * BODY_LIMIT
    error.to_dict()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a huge integer", "Too big."),
        ("a huge float", "Too big."),
        ("a lone surrogate", "? is alone"),
        ("members twice", "second"),
        ("utf-16", "In sixteen bits."),
        ("latin-1", "na\ufffdve"),
        ("ten megabytes of json", "Large."),
        ("ten megabytes of html", "A large page."),
        ("billion laughs", None),
        ("an outside entity", None),
        ("gzip", None),
    ],
)
def test_what_a_monster_says_is_still_read(name: str, message: str | None) -> None:
    error = STANDARD.decode(Answer(500, {}, MONSTERS[name]))

    assert error is not None
    assert error.message == message


GROWING: dict[str, Callable[[int], bytes]] = {
    "text": lambda n: b"x" * n,
    "spaces": lambda n: b"a" + b" " * n + b"b",
    "unclosed string": lambda n: b'{"message": "' + b"\\\\" * (n // 2),
    "commas": lambda n: b"[" + b"," * n,
    "open brackets": lambda n: b"[" * n,
    "objects": lambda n: b"[" + b'{"a":1},' * (n // 8),
    "errors": lambda n: b'{"errors":[' + b'{"message":"a b"},' * (n // 18) + b"1]}",
    "names": lambda n: b"{" + b",".join(b'"k%d":"a b"' % i for i in range(n // 12)) + b"}",
    "tags": lambda n: b"<html>" + b"<p>a b c</p>" * (n // 12),
    "less-than signs": lambda n: b"<html>" + b"<" * n,
    "elements": lambda n: b"<r>" + b"<a>b</a>" * (n // 8) + b"</r>",
    "pairs": lambda n: b"error=a&" * (n // 8),
    "idempotency": lambda n: json.dumps({"message": "idempotency daily " * (n // 18)}).encode(),
    "waits": lambda n: json.dumps({"message": "try again in 1 " * (n // 15)}).encode(),
}


@pytest.mark.parametrize("grow", GROWING.values(), ids=GROWING)
def test_time_grows_with_the_size_and_not_with_its_square(grow: Callable[[int], bytes]) -> None:
    """
    Fifteen times the bytes may take fifteen times as long; quadratic would be 225 times.

    Both sizes lie above what is kept of a body and below what is parsed, so that they go the
    same way. The factor of seven is for a busy machine.
    """
    small, large = grow(68_000), grow(1_020_000)
    small_time = max(_time(small), 0.0005)

    assert _time(large) < small_time * 15 * 7


def _time(raw: bytes) -> float:
    """Processor seconds of the best of three; another process on the machine does not count."""
    best = float("inf")
    answer = Answer(429, {}, raw)
    for _ in range(3):
        start = process_time()
        STANDARD.decode(answer)
        best = min(best, process_time() - start)
    return best


def test_names_from_the_network_do_not_fill_the_memory() -> None:
    STANDARD.decode(Answer(400, {}, json.dumps({f"name_{n}": 1 for n in range(10_000)})))

    assert len(_places) <= _PLACES_KEPT


@given(st.text(max_size=200))
def test_any_path_is_split(path: str) -> None:
    parts = split_path(path)

    assert all(isinstance(p, (str, int)) for p in parts)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        ("a[0].b", ("a", 0, "b")),
        ("a.0.b", ("a", 0, "b")),
        ("a['b']", ("a", "b")),
        ("$.a", ("a",)),
        ("$", ()),
        ("", ()),
        ("/a/0/b~1c~0d", ("a", 0, "b/c~d")),
        ("#/a%20b", ("a b",)),
        ("#", ()),
        ("X-Filter", ("X-Filter",)),
        ("0123456789012", ("0123456789012",)),
    ],
)
def test_a_path_is_split_at_dots_and_brackets_or_is_a_pointer(
    path: str, parts: tuple[str | int, ...]
) -> None:
    assert split_path(path) == parts


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": "b" "c": 1}', {"a": "b", "c": 1}),
        (b'{"a": [1, 2,],}', {"a": [1, 2]}),
        (b'{"a": "cut he', {"a": "cut he"}),
        (b'{"a": {"b": [1, {"c": "d', {"a": {"b": [1, {"c": "d"}]}}),
        (b'{"a": "two\nlines"}', {"a": "two\nlines"}),
        (b'{"a": 1} and more', {"a": 1}),
        (b"{a: 1, b: true}", {"a": 1, "b": True}),
    ],
)
def test_json_that_is_not_quite_json_is_read_as_far_as_it_goes(raw: bytes, value: Any) -> None:
    assert bodies.parse(Answer(400, {}, raw)).value == value


def test_a_broken_document_is_kept_as_text() -> None:
    error = STANDARD.decode(Answer(400, {}, b'{"message": "It was cut'))

    assert error is not None
    assert error.message == "It was cut"
    assert error.body == '{"message": "It was cut'
