"""From Pydantic's findings to fields, without a word of what was sent."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from failwell.failure import FieldError
from failwell.service import RefusedRequest, fields_from_pydantic, json_body
from failwell.service.validation import _PYDANTIC_1


class Inner(BaseModel):
    number: int = Field(ge=1, le=9)


class Outer(BaseModel):
    name: str = Field(min_length=2, max_length=4)
    inner: list[Inner] = Field(default_factory=list, max_length=2)


def refusal_of(body: bytes, **settings: Any) -> Any:
    with pytest.raises(RefusedRequest) as caught:
        json_body(Outer, **settings)(body)
    assert caught.value.__context__ is None, "a finding with the input in it hangs on to it"
    return caught.value.refusal


def test_a_good_body_becomes_the_model() -> None:
    outer = json_body(Outer)(b'{"name": "abc", "inner": [{"number": 1}]}')

    assert Outer(name="abc", inner=[Inner(number=1)]) == outer


def test_each_finding_has_its_place_its_words_and_its_kind() -> None:
    refusal = refusal_of(b'{"name": "a", "inner": [{"number": 0}, {}]}', pydantic1=True)

    assert refusal.code == "validation_failed"
    assert (
        FieldError(
            ("body", "name"), "ensure this value has at least 2 characters", "value_error.str.min_length"
        ),
        FieldError(
            ("body", "inner", 0, "number"),
            "ensure this value is greater than or equal to 1",
            "value_error.number.not_ge",
        ),
        FieldError(("body", "inner", 1, "number"), "field required", "value_error.missing"),
    ) == refusal.fields


def test_pydantic_2s_own_words_are_the_default() -> None:
    ((field),) = refusal_of(b"{}").fields

    assert FieldError(("body", "name"), "Field required", "missing") == field


@pytest.mark.parametrize(
    ("body", "settings", "code", "path"),
    [
        (b"{", {}, "malformed_json", None),
        (b"", {}, "malformed_json", None),
        (b"{", {"pydantic1": True}, "validation_failed", ("body", 1)),
        (b"", {"pydantic1": True}, "validation_failed", ("body",)),
        (b"[]", {}, "validation_failed", ("body",)),
        (b"\xff", {}, "bad_request", None),
        ('{"name": "ä"}'.encode("utf-16"), {}, "bad_request", None),
        (b"[" * 100_000, {}, "bad_request", None),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    body: bytes, settings: dict[str, bool], code: str, path: tuple[str | int, ...] | None
) -> None:
    refusal = refusal_of(body, **settings)

    assert code == refusal.code
    assert path == (refusal.fields[0].path if refusal.fields else None)


def test_no_finding_repeats_the_input() -> None:
    refusal = refusal_of(b'{"nam": "hunter2", "inner": "hunter2"}')

    assert "hunter2" not in repr(refusal)


def test_a_finding_we_have_no_old_words_for_says_no_more_than_that() -> None:
    error = {"loc": ("name",), "type": "url_scheme", "msg": "URL scheme should be 'http'", "ctx": {}}

    assert (FieldError(("name",), "value is not valid", "value_error"),) == fields_from_pydantic(
        [error], pydantic1=True
    )


def test_the_gaps_in_the_old_words_are_members_of_the_finding() -> None:
    """
    Every entry of the table is filled from a real finding where this model can provoke it.
    """
    for given in ({"name": "abcde", "inner": [{}, {}, {}]}, {"name": "ab", "inner": [{"number": 10}]}):
        with pytest.raises(ValidationError) as caught:
            Outer.model_validate(given)
        for error in caught.value.errors():
            assert error["type"] in _PYDANTIC_1
            (field,) = fields_from_pydantic([error], pydantic1=True)
            assert "{" not in (field.message or "{")


@pytest.mark.parametrize(
    "value",
    ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", '"\\ud800"', '"\\uDFFF!"', "1" * 5000],
    ids=lambda value: value[:12],
)
@pytest.mark.parametrize("pydantic1", [False, True])
def test_what_could_not_be_sent_back_as_json_is_no_json(value: str, pydantic1: bool) -> None:
    class Free(BaseModel):
        anything: dict[str, Any]

    with pytest.raises(RefusedRequest) as caught:
        json_body(Free, pydantic1=pydantic1)(b'{"anything": {"deep": [%s]}}' % value.encode())

    assert caught.value.refusal.code == "bad_request"
    assert caught.value.__context__ is None


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert json_body(Outer)(b'{"name": "a\\ud83d\\ude00"}').name == "a\N{GRINNING FACE}"
