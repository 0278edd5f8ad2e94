"""Models whose annotations are the schema."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell.models import Model, Page, spelled, unknown_members, whole_object
from failwell.testing import answer

MOMENT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Point(Model):
    x: float
    y: float = 0.0


@dataclass(frozen=True, slots=True)
class Thing(Model):
    id: str
    count: int
    share: float
    on: bool
    made_at: datetime
    at: Point
    tags: tuple[str, ...]
    points: list[Point]
    extra_facts: dict[str, Any]
    anything: Any
    perhaps: str | None
    also: Union[int, None]  # noqa: UP007  # both spellings are read
    holes: tuple[int | None, ...] = ()
    flags: tuple[bool, ...] = ()
    kind: str = field(default="plain", metadata=spelled("class", "kind"))
    later: datetime | None = None
    rest: Mapping[str, Any] = unknown_members()
    whole: Mapping[str, Any] = whole_object()


FULL: dict[str, Any] = {
    "id": "t_1",
    "count": 2,
    "share": 1,
    "on": True,
    "made_at": "2026-11-21T08:00:00Z",
    "at": {"x": 1.5},
    "tags": ["a", "b"],
    "points": [{"x": 1, "y": 2}],
    "extra_facts": {"a": {"b": 1}},
    "anything": [None],
    "perhaps": None,
    "also": 5,
    "holes": [1, None],
    "flags": [True, False],
    "class": "round",
    "later": None,
    "new_in_2027": 7,
}


def thing(**changes: Any) -> Thing:
    return Thing.from_json({**FULL, **changes})


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in FULL.items() if name not in names}


def test_an_object_is_read_as_it_is_annotated() -> None:
    read = thing()

    assert read == Thing(
        id="t_1",
        count=2,
        share=1.0,
        on=True,
        made_at=MOMENT,
        at=Point(1.5, 0.0),
        tags=("a", "b"),
        points=[Point(1.0, 2.0)],
        extra_facts={"a": {"b": 1}},
        anything=[None],
        perhaps=None,
        also=5,
        holes=(1, None),
        flags=(True, False),
        kind="round",
        rest={"new_in_2027": 7},
    )
    assert type(read.share) is float
    assert read.whole == FULL
    assert pickle.loads(pickle.dumps(read)) == read


def test_a_member_with_a_default_may_be_missing_or_null() -> None:
    assert Thing.from_json(without("holes", "class", "later", "new_in_2027")).kind == "plain"
    assert thing(holes=None).holes == ()
    assert Thing.from_json(without("perhaps", "also")).perhaps is None


def test_the_first_spelling_that_is_there_is_taken() -> None:
    assert Thing.from_json({**without("class"), "kind": "flat"}).kind == "flat"
    assert thing(kind="flat").kind == "round"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": 5}, "thing: id is a number, not a string"),
        ({"id": None}, "thing: id is null, not a string"),
        ({"count": "2"}, "thing: count is a string, not a number"),
        ({"count": True}, "thing: count is true or false, not a number"),
        ({"count": 2.5}, "thing: count is a number, not a whole number"),
        ({"share": "1"}, "thing: share is a string, not a number"),
        ({"share": False}, "thing: share is true or false, not a number"),
        ({"share": 10**400}, "thing: share is a number too large to be used"),
        ({"on": 1}, "thing: on is a number, not true or false"),
        ({"made_at": "yesterday"}, "thing: made_at is 'yesterday', not a time"),
        ({"made_at": "2026-11-21T08:00"}, "thing: made_at is '2026-11-21T08:00', a time without an offset"),
        ({"made_at": 5}, "thing: made_at is a number, not a string"),
        ({"at": []}, "point is a list, not an object"),
        ({"at": {}}, "point: x is missing"),
        ({"tags": "ab"}, "thing: tags is a string, not a list"),
        ({"tags": ["a", 5]}, "thing: tags[1] is a number, not a string"),
        ({"points": [None]}, "point is null, not an object"),
        ({"extra_facts": []}, "thing: extra_facts is a list, not an object"),
        ({"flags": [1]}, "thing: flags[0] is a number, not true or false"),
        ({"holes": [True]}, "thing: holes[0] is true or false, not a number"),
        ({"later": "soon"}, "thing: later is 'soon', not a time"),
    ],
)  # fmt: skip
def test_a_member_of_another_type_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=r"^(thing|point)") as caught:
        thing(**changes)

    assert str(caught.value) == says


def test_a_missing_member_and_what_is_no_object_are_named() -> None:
    with pytest.raises(ValueError, match="thing: count is missing"):
        Thing.from_json(without("count"))
    with pytest.raises(ValueError, match="thing is a list, not an object"):
        Thing.from_json([])


def test_a_response_is_read() -> None:
    assert Point.from_response(answer(200, {"x": 1})) == Point(1.0)
    with pytest.raises(ValueError, match="Expecting value"):
        Point.from_response(answer(200, content=b"<html>"))


def test_the_way_back_keeps_what_is_not_known_and_leaves_out_what_is_none() -> None:
    written = thing().to_json()

    assert written == {
        **without("perhaps", "later"),
        "at": {"x": 1.5, "y": 0.0},
        "made_at": "2026-11-21T08:00:00+00:00",
    }
    assert Thing.from_json(written) == thing()


@given(
    st.sampled_from(sorted(FULL)),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists),
)
def test_any_json_value_is_read_or_is_a_value_error(name: str, value: Any) -> None:
    try:
        read = thing(**{name: value})
    except ValueError:
        return
    assert isinstance(read, Thing)


def test_an_annotation_that_no_json_is_read_into_is_a_bug_and_no_bad_answer() -> None:
    with pytest.raises(RuntimeError, match="Odd has a field of <class 'bytes'>"):
        Odd.from_json({"data": "x"})


@dataclass(frozen=True, slots=True)
class Odd(Model):
    data: bytes


@dataclass(frozen=True, slots=True)
class TwoWords(Model):
    a: int


@dataclass(frozen=True, slots=True)
class Named(Model):
    called = "the answer of /me"
    a: int


def test_an_error_calls_a_model_by_its_name_or_by_what_it_is_called() -> None:
    with pytest.raises(ValueError, match=r"^two words: a is missing"):
        TwoWords.from_json({})
    with pytest.raises(ValueError, match=r"^the answer of /me: a is missing"):
        Named.from_json({})


# --- pages ---


@dataclass(frozen=True, slots=True)
class Numbered(Page[Any]):
    """A page whose cursor is a number."""

    next_cursor: int | None = None


def test_a_page_is_its_items_and_where_the_next_begins() -> None:
    page = Page.from_json({"items": [{"x": 1}, {"x": 2}], "next_cursor": "c2", "total": 9}, Point.from_json)

    assert list(page) == [Point(1.0), Point(2.0)] == [page[0], page[1]]
    assert (len(page), page.next_cursor, page.extra) == (2, "c2", {"total": 9})


def test_a_bare_list_is_a_page_without_a_next() -> None:
    assert Page.from_json([{"x": 1}], Point.from_json) == Page((Point(1.0),))


def test_an_sdk_says_where_the_items_are_and_what_a_cursor_is() -> None:
    read = Numbered.of(Point.from_json, items="data", next_cursor="next", cursor=int)

    page = read(answer(200, {"data": [], "next": 7}))

    assert page == Numbered((), 7)
    assert type(page) is Numbered


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (5, "page is a number, not an object"),
        ({}, "page: items is missing"),
        ({"items": {}}, "page: items is an object, not a list"),
        ({"items": [5]}, "point is a number, not an object"),
        ({"items": [], "next_cursor": 7}, "page: next_cursor is a number, not a string"),
    ],
)
def test_what_is_no_page_is_named(data: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Page.from_json(data, Point.from_json)
