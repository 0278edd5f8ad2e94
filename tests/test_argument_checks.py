"""Arguments that are refused before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

from failwell import ArgumentTypeError, CallError, ConfigurationError, Contract, UsageError
from failwell.arguments import MOST, Arguments


class ShopValueError(UsageError):
    """The input is wrong."""


class ShopTypeError(ShopValueError, ArgumentTypeError):
    """The input has the wrong type."""


OWN = Contract("shop", base=CallError, usage={UsageError: ShopValueError, ArgumentTypeError: ShopTypeError})
check = Arguments()


WRONG: list[tuple[Callable[[Arguments], Any], str]] = [
    (lambda c: c.text("name", 5), "name is a int; give a string"),
    (lambda c: c.text("name", None), "name is a NoneType; give a string"),
    (lambda c: c.text("name", b"x"), "name is a bytes; give a string"),
    (lambda c: c.whole("limit", "5"), "limit is a str; give an int"),
    (lambda c: c.whole("limit", True), "limit is a bool; give an int"),
    (lambda c: c.whole("limit", 1.0), "limit is a float; give an int"),
    (lambda c: c.number("score", "1"), "score is a str; give a number"),
    (lambda c: c.number("score", False), "score is a bool; give a number"),
    (lambda c: c.seconds("timeout", "1"), "timeout is a str; give a number of seconds"),
    (lambda c: c.flag("save", 1), "save is a int; give True or False"),
    (lambda c: c.one_of("kind", 1, ("a", "b")), "kind is a int; give a string"),
    (lambda c: c.instance("file", 1, bytes), "file is a int; give a bytes"),
    (lambda c: c.instance("file", 1, bytes, "bytes or a path"), "file is a int; give bytes or a path"),
    (lambda c: c.mapping("extra", [1]), "extra is a list; give a mapping"),
    (lambda c: c.mapping("extra", {1: 2}), "a name in extra is a int; give a string"),
    (lambda c: c.items("ids", "abc"), "ids is a str; give a list"),
    (lambda c: c.items("ids", b"abc"), "ids is a bytes; give a list"),
    (lambda c: c.items("ids", {1}), "ids is a set; give a list"),
    (lambda c: c.items("ids", iter([1])), "ids is a list_iterator; give a list"),
    (lambda c: c.texts("names", "abc"), "names is a str; give a list of strings"),
    (lambda c: c.texts("names", ["a", 5]), r"names\[1\] is a int; give a string"),
    (lambda c: c.segment("id", 5), "id is a int; give a string"),
]

REFUSED: list[tuple[Callable[[Arguments], Any], str]] = [
    (lambda c: c.text("name", "", empty=False), "name is empty"),
    (lambda c: c.text("name", " \n", empty=False), "name is empty"),
    (lambda c: c.text("name", "long", longest=3), "name has 4 characters; it has 3 or less"),
    (
        lambda c: c.texts("names", ["one", "long"], longest=3),
        r"names\[1\] has 4 characters; it has 3",
    ),
    (lambda c: c.whole("limit", 0, least=1, most=100), "limit is 0; it is 1 to 100"),
    (lambda c: c.whole("limit", 101, least=1, most=100), "limit is 101; it is 1 to 100"),
    (lambda c: c.whole("version", 0, least=1), "version is 0; it is 1 or more"),
    (lambda c: c.whole("offset", 5, most=4), "offset is 5; it is 4 or less"),
    (lambda c: c.whole("id", 2**63), "a number of 64 bits; it is a whole number of 64 bits"),
    (lambda c: c.whole("id", 10**5000), "a number of 16610 bits"),
    (lambda c: c.number("score", float("nan")), "score is nan, which is no usable number"),
    (lambda c: c.number("score", float("inf")), "score is inf, which is no usable number"),
    (lambda c: c.number("score", 10**400), "a number of 1329 bits, which is no usable number"),
    (lambda c: c.number("score", 1.5, least=0.0, most=1.0), "score is 1.5; it is 0.0 to 1.0"),
    (lambda c: c.number("score", -1, least=0), "score is -1; it is 0 or more"),
    (lambda c: c.seconds("timeout", 0), "timeout is 0; it is a number of seconds above 0"),
    (lambda c: c.one_of("kind", "c" * 99, ("a", "b")), "kind is 'c{40}'; it is one of 'a', 'b'"),
    (lambda c: c.items("ids", [], least=1), "ids has 0 items; it has 1 or more"),
    (lambda c: c.items("ids", [1, 2], most=1), "ids has 2 items; it has 0 to 1"),
    (lambda c: c.texts("names", ["a", " "], empty=False), r"names\[1\] is empty"),
    (lambda c: c.segment("id", ""), "id is '', which is no id"),
    (lambda c: c.segment("id", ".."), "id is '..', which is no id"),
    (lambda c: c.segment("id", "a\ud800"), "half a surrogate pair"),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "says"), WRONG)
def test_another_type_is_named_with_the_argument(ask: Callable[[Arguments], Any], says: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"^{says}$") as caught:
        ask(check)
    with pytest.raises(ShopTypeError, match=f"^{says}$"):
        ask(Arguments(OWN))

    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(("ask", "says"), REFUSED)
def test_a_value_that_cannot_be_used_is_refused(ask: Callable[[Arguments], Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        ask(check)
    with pytest.raises(ShopValueError, match=says):
        ask(Arguments(OWN))

    assert not isinstance(caught.value, TypeError)
    assert caught.value.__context__ is None


def test_what_can_be_used_comes_back() -> None:
    assert check.text("name", "") == ""
    assert check.texts("names", ["one"], longest=3) == ["one"]
    assert check.whole("n", MOST) == MOST
    assert check.number("n", 1) == 1.0
    assert type(check.number("n", 1)) is float
    assert check.seconds("n", 0.5) == 0.5
    assert check.flag("n", False) is False
    assert check.one_of("n", "a", ("a",)) == "a"
    assert check.instance("n", b"x", bytes) == b"x"
    assert check.mapping("n", MappingProxyType({"a": 1})) == {"a": 1}
    assert check.items("n", (1, "a")) == [1, "a"]
    assert check.texts("n", ("a", "b"), least=1, most=2) == ["a", "b"]
    assert check.items("n", [1, 2], lambda name, item: check.whole(name, item) * 2) == [2, 4]


def test_none_is_left_alone_where_it_may_be() -> None:
    assert check.optional(check.whole, "limit", None, least=1) is None
    assert check.optional(check.whole, "limit", 3, least=1) == 3
    with pytest.raises(UsageError, match="1 or more"):
        check.optional(check.whole, "limit", 0, least=1)


@pytest.mark.parametrize(
    ("given", "encoded"), [("run_1", "run_1"), ("a/b?c#d", "a%2Fb%3Fc%23d"), ("ü", "%C3%BC"), ("...", "...")]
)
def test_an_id_is_one_segment_of_a_path(given: str, encoded: str) -> None:
    assert check.segment("id", given) == encoded


def test_a_model_or_its_members_make_a_body() -> None:
    class Thing:
        def to_json(self) -> dict[str, Any]:
            return {"a": 1}

    assert check.body("payload", Thing(), Thing) == {"a": 1}
    assert check.body("payload", {"b": 2}, Thing) == {"b": 2}
    with pytest.raises(ArgumentTypeError, match="payload is a int; give a dict or a Thing"):
        check.body("payload", 5, Thing)


def test_a_setting_is_refused_with_the_nearest_class_the_contract_names() -> None:
    class OwnConfigurationError(ConfigurationError):
        """A setting is wrong."""

    named = Contract("shop", base=CallError, usage={ConfigurationError: OwnConfigurationError})

    assert type(check.misconfigured("x")) is ConfigurationError
    assert type(Arguments(OWN).misconfigured("x")) is ShopValueError
    assert type(Arguments(named).misconfigured("x")) is OwnConfigurationError
    assert type(Arguments(named).refused("x")) is UsageError


def test_a_refusal_of_the_sdks_own_is_left_as_it_is() -> None:
    class ShopBasketError(ShopValueError):
        """The basket is empty."""

    error = ShopBasketError("x")

    assert OWN.refusal(error) is error


def test_a_contract_refuses_a_class_that_is_not_what_it_stands_for() -> None:
    with pytest.raises(ConfigurationError, match=r"ShopValueError.* is no ArgumentTypeError"):
        Contract("shop", base=CallError, usage={ArgumentTypeError: ShopValueError})
