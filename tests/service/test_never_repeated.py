"""What was sent is in no message and no place of a 422, whatever a validator makes of it."""

from __future__ import annotations

import base64
import inspect
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from fastapi import Body, FastAPI, Header, HTTPException, Query
from fastapi.encoders import jsonable_encoder
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError, _pydantic_core
from service_behind import Behind
from typing_extensions import TypedDict

from failwell.failure import FieldError
from failwell.service import RefusedRequest, fields_from_pydantic, json_body
from failwell.service.member_names import known_among, learn
from failwell.service.routes import body_types_in
from failwell.service.validation import _QUOTING

TOO_MANY = f"at most {3} items"
SENT = {"secrets": {"sk_live_verysecret": "x"}}
lower_case = "not known as a constant"
NOT_VALID = "The value is not valid."


def digits(text: str) -> str:
    return "".join(letter for letter in text if letter.isdigit())


def raised(compose: Callable[[Any], object]) -> Any:
    """A validator that raises what `compose` makes of the value."""

    def check(value: Any) -> Any:
        raise ValueError(compose(value))

    return check


def said_of(value: Any, check: Callable[[Any], Any]) -> FieldError:
    class Sent(BaseModel):
        value: Annotated[Any, AfterValidator(check)]

    with pytest.raises(RefusedRequest) as caught:
        json_body(Sent)(json.dumps({"value": value}).encode())
    ((field,)) = caught.value.refusal.fields
    return field


@pytest.mark.parametrize(
    ("value", "compose"),
    [
        ("4111-1111-1111-1111", lambda v: f"{v.replace('-', '')} fails the Luhn check"),
        ("(0171) 555-01 99", lambda v: f"bad phone +{digits(v)}"),
        ("hunter2", lambda v: f"starts with {v[:3]}"),
        ("hunter2", lambda v: f"starts with {v[0]!r}"),
        ("hunter2", lambda v: f"backwards: {v[::-1]}"),
        ("hunter2", lambda v: " ".join(v)),
        ("aHVudGVyMg==", lambda v: f"decoded to {base64.b64decode(v).decode()}"),
        ("hunter2", lambda v: f"{v.encode().hex()} is known"),
        (12345.678, lambda v: f"{v:.2f} is above the limit"),
        (987654321, lambda v: f"{v:,} is above the limit"),
        (12, lambda v: f"pin {v}"),
        ("ab", lambda v: v),
        ("ab", lambda v: ("no", v)),
        ({"deep": [["ab"]]}, lambda v: v["deep"][0][0]),
        ("a-b", lambda v: int(v.split("-")[1])),
    ],
)
def test_what_a_validator_composes_is_not_sent(value: Any, compose: Callable[[Any], object]) -> None:
    assert NOT_VALID == said_of(value, raised(compose)).message


def too_plain(value: Any) -> None:
    raise ValueError("It is too plain.")


def too_many(value: Any) -> None:
    raise ValueError(TOO_MANY)


def by_a_helper(value: Any) -> None:
    refuse("The two differ.")


def refuse(why: str) -> None:
    raise ValueError(why)


def asserting(value: Any) -> None:
    raise AssertionError("It is too short.")  # as `assert` does where nobody rewrites it


def with_a_variable(value: Any) -> None:
    raise ValueError(lower_case)


def quoting_a_word_of_its_source(value: Any) -> Any:
    if value == "admin":
        raise ValueError(value)
    return value


def templated(value: Any) -> None:
    raise PydanticCustomError("plain_text", "Of it there is a list of plain texts.")


def templated_with_the_value(value: Any) -> None:
    raise PydanticCustomError("not_known", "{number} is not known", {"number": value[::-1]})


def composed_template(value: Any) -> None:
    raise PydanticCustomError("not_known", f"{value[:4]} is not known")  # type: ignore[arg-type, unused-ignore]


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (too_plain, "hunter2", "Value error, It is too plain."),
        (too_plain, "plain and long", "Value error, It is too plain."),
        (too_many, [1, 2, 3, 4], f"Value error, {TOO_MANY}"),
        (by_a_helper, "hunter2", "Value error, The two differ."),
        (asserting, "hunter2", "Assertion failed, It is too short."),
        (with_a_variable, "hunter2", NOT_VALID),
        (quoting_a_word_of_its_source, "admin", NOT_VALID),
        (templated, "hunter2", "Of it there is a list of plain texts."),
        (templated_with_the_value, "hunter2", NOT_VALID),
        (composed_template, "hunter2", NOT_VALID),
    ],
)
def test_a_text_that_stands_in_the_source_is_sent(check: Any, value: Any, message: str) -> None:
    assert message == said_of(value, check).message


@pytest.mark.parametrize(
    "value", ["hunter2", {"hunter2": 1}, ["x", ["hunter2"]], b"hunter2", {"a": object()}]
)
@pytest.mark.parametrize("words", ["no: hunter2", "no: h-u-n-t-e-r-2", "HUNTER", "hun", "it ends in 2"])
def test_findings_without_their_exception_are_compared_with_the_input(value: Any, words: str) -> None:
    finding = {"loc": (), "type": "value_error", "msg": f"Value error, {words}", "input": value}
    ((field,)) = fields_from_pydantic([finding])

    assert NOT_VALID == field.message


def test_yes_and_no_are_not_compared() -> None:
    finding = {"loc": (), "type": "value_error", "msg": "It is not true.", "input": [True, None]}
    ((field,)) = fields_from_pydantic([finding])

    assert field.message == "It is not true."


def test_findings_that_were_json_say_no_more_than_their_place() -> None:
    with pytest.raises(ValidationError) as caught:
        Keyed.model_validate({"secrets": {"sk_live_verysecret": "x"}, "fine": "hunter2"})
    fields = fields_from_pydantic(jsonable_encoder(caught.value.errors()))

    assert [("fine",), ("secrets", "…")] == [field.path for field in fields]
    assert NOT_VALID == fields[0].message


def test_an_address_is_told_from_none_and_not_repeated() -> None:
    """
    As `EmailStr` words it, whose reason may have a letter or a part of the address in it.
    """
    finding = {
        "type": "value_error", "loc": ("email",), "input": "hunter2@",
        "msg": "value is not a valid email address: There must be something after the @-sign.",
        "ctx": {"reason": "There must be something after the @-sign."},
    }  # fmt: skip
    ((field,)) = fields_from_pydantic([finding])

    assert field.message == "value is not a valid email address"


# The gaps in Pydantic's own words that are filled from a model, or counted, and not from the input.
OF_THE_MODEL = frozenset(
    {"gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "field_type", "actual_length",
     "expected_plural", "pattern", "expected", "class_name", "class", "method_name", "discriminator",
     "expected_schemes", "expected_version", "max_digits", "decimal_places", "whole_digits"}
)  # fmt: skip

# Of these, `error` is one of a parser's constants, such as "invalid character in year".
OF_A_PARSER = frozenset(
    {"json_invalid", "date_parsing", "date_from_datetime_parsing", "time_parsing", "datetime_parsing",
     "datetime_from_date_parsing", "time_delta_parsing", "url_parsing", "url_syntax_violation"}
)  # fmt: skip


def test_of_pydantics_own_words_those_with_a_gap_for_the_input_are_known() -> None:
    for kind in _pydantic_core.list_all_errors():
        gaps = set(kind.get("example_context") or ()) - OF_THE_MODEL
        if kind["type"] in OF_A_PARSER:
            gaps -= {"error"}
        assert not gaps or kind["type"] in _QUOTING, kind


# --- places ---


class Part(TypedDict, total=False):
    size: int


@dataclass
class Box:
    width: int


class Card(BaseModel):
    kind: Literal["card"]
    digits: int


class Cash(BaseModel):
    kind: Literal["cash"]
    coins: int


class Keyed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    fine: Annotated[str, AfterValidator(raised(lambda v: f"{v}?"))] = ""
    secrets: dict[str, int] = Field(default_factory=dict)
    numbered: dict[int, int] = Field(default_factory=dict)
    short: dict[Annotated[str, Field(max_length=3)], int] = Field(default_factory=dict)
    nested: dict[str, list[Part]] = Field(default_factory=dict)
    boxes: list[Box] = Field(default_factory=list)
    paid: Annotated[Card | Cash | None, Field(discriminator="kind")] = None
    either: int | list[int] | Card = 0
    called: int = Field(0, validation_alias="theName")


@pytest.mark.parametrize(
    ("sent", "places"),
    [
        ({"secrets": {"sk_live_verysecret": "x"}}, [("secrets", "…")]),
        ({"numbered": {"4111111111111111": "x"}}, [("numbered", "…")]),
        ({"numbered": {"hunter2": 1}}, [("numbered", "…", "[key]")]),
        ({"short": {"hunter2": 1}}, [("short", "…", "[key]")]),
        ({"short": {"secrets": 1}}, [("short", "…", "[key]")]),
        ({"nested": {"sk_live_verysecret": [{"size": "x"}]}}, [("nested", "…", 0, "size")]),
        ({"boxes": [{}]}, [("boxes", 0, "width")]),
        ({"paid": {"kind": "card"}}, [("paid", "card", "digits")]),
        ({"either": "x"}, [("either", "int"), ("either", "list[int]"), ("either", "Card")]),
        ({"theName": "x"}, [("theName",)]),
        ({"fnie": 1}, [("fnie",)]),  # a member too many is named: it may be misspelled
        ({"x" * 65: 1}, [("…",)]),
    ],
)
def test_places_have_the_names_of_members_and_no_key_that_was_sent(sent: Any, places: Any) -> None:
    with pytest.raises(RefusedRequest) as caught:
        json_body(Keyed)(json.dumps(sent).encode())

    fields = caught.value.refusal.fields
    assert [("body", *place) for place in places] == [field.path for field in fields]
    assert "sk_live" not in repr(fields)


def test_names_of_models_that_are_made_later_are_known_too() -> None:
    finding = {"loc": ("name_of_a_later_model",), "type": "missing", "msg": "Field required"}

    assert [("…",)] == [field.path for field in fields_from_pydantic([finding])]

    class Later(BaseModel):
        name_of_a_later_model: int

    assert [("name_of_a_later_model",)] == [field.path for field in fields_from_pydantic([finding])]


class TypedBody(TypedDict):
    of_a_typed_dict: int


@dataclass
class DataclassBody:
    of_a_dataclass: int


class Told(BaseModel):
    pin: int
    user: str

    @model_validator(mode="after")
    def known(self) -> Told:
        raise ValueError(f"pin {self.pin} is not of {self.user!r}")


def _app() -> FastAPI:
    app, sub = FastAPI(), FastAPI()

    @app.post("/typed")
    async def typed(body: TypedBody) -> None: ...

    @sub.post("/dataclass")
    async def dataclass_(body: DataclassBody) -> None: ...

    @app.post("/mapping")
    async def mapping(body: dict[str, int]) -> None: ...

    @app.post("/embedded")
    async def embedded(one_of_two: Annotated[int, Body()], other_of_two: Annotated[int, Body()]) -> None: ...

    @app.post("/parameters")
    async def parameters(
        how_many: Annotated[int, Query()], x_how_long: Annotated[int, Header()] = 0
    ) -> None: ...

    @app.post("/told")
    async def told(body: Told) -> None: ...

    @app.post("/by-hand")
    async def by_hand() -> None:
        try:
            Keyed.model_validate(SENT)
        except ValidationError as exc:
            raise HTTPException(422, exc.errors()) from None

    @app.post("/broken")
    async def broken() -> None:
        Keyed.model_validate(SENT)

    app.mount("/sub", sub)
    return app


@pytest.mark.parametrize(
    ("path", "sent", "places"),
    [
        ("/typed", {"of_a_typed_dict": "x"}, ["#/body/of_a_typed_dict"]),
        ("/sub/dataclass", {"of_a_dataclass": "x"}, ["#/body/of_a_dataclass"]),
        ("/mapping", {"sk_live_verysecret": "x"}, ["#/body/…"]),
        ("/embedded", {"one_of_two": "x"}, ["#/body/one_of_two", "#/body/other_of_two"]),
        ("/parameters", {}, ["#/query/how_many"]),
        ("/told", {"user": "ab", "pin": 12}, ["#/body"]),
        ("/by-hand", {}, ["#/secrets/…"]),
    ],
)
def test_fastapis_places_have_the_names_that_its_endpoints_have(
    tmp_path: Path, path: str, sent: Any, places: list[str]
) -> None:
    with Behind(tmp_path, app=_app()) as here:
        answer = here.ask("POST", path, json_body=sent, headers={"content-type": "application/json"})

    body = json.loads(answer.body)
    assert (422, places) == (answer.status, [error["pointer"] for error in body["errors"]])
    if path == "/told":
        assert [NOT_VALID] == [error["detail"] for error in body["errors"]]


def test_the_log_has_no_key_of_a_mapping(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Behind(tmp_path, app=_app()) as here, caplog.at_level(logging.DEBUG):
        assert here.ask("POST", "/broken").status == 500

    assert "secrets.…: int_parsing" in caplog.text
    assert "sk_live" not in caplog.text


class Odd:
    """What Pydantic has no schema for."""


def test_a_type_that_pydantic_cannot_read_by_itself_has_no_names() -> None:
    learn([Odd, "Nowhere"])

    assert known_among(["Odd", "Nowhere"]) == set()
    assert TypedBody in set(filter(inspect.isclass, body_types_in(_app())))
