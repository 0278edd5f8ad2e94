"""Where an SDK's settings come from, and what is refused of them."""

from __future__ import annotations

import re
import traceback
from typing import Any

import pytest

from failwell import ArgumentTypeError, CallError, ConfigurationError, Contract, UsageError, settings
from failwell.arguments import Arguments
from failwell.redaction import Secret

KEY = re.compile(r"sk_[a-z]{8}")
GOOD = "sk_abcdefgh"


class ShopError(UsageError):
    """The input is wrong."""


SHOP = Arguments(Contract("shop", base=CallError, usage={UsageError: ShopError}))


def key(given: Any, **environ: str) -> Secret:
    return settings.api_key(
        given, variable="SHOP_KEY", pattern=KEY, rule="those start with sk_", called="a Shop API key",
        environ=environ,
    )  # fmt: skip


def test_the_argument_goes_before_the_environment_and_that_before_the_default() -> None:
    def url(given: str | None, **environ: str) -> str:
        return settings.setting("base_url", given, variable="SHOP_URL", default="http://c", environ=environ)

    assert url("http://a", SHOP_URL="http://b") == "http://a"
    assert url(None, SHOP_URL="http://b") == "http://b"
    assert url(None, SHOP_URL="") == url(None) == "http://c"


def test_the_environment_is_the_process_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", "http://b")

    assert settings.setting("base_url", None, variable="SHOP_URL") == "http://b"


def test_what_is_nowhere_is_named_with_both_places() -> None:
    with pytest.raises(ConfigurationError, match="no base_url: pass base_url or set SHOP_URL"):
        settings.setting("base_url", None, variable="SHOP_URL", environ={})
    with pytest.raises(ConfigurationError, match="no API key: pass api_key or set SHOP_KEY"):
        key(None)
    with pytest.raises(ConfigurationError, match="api_key is empty"):
        key("")
    with pytest.raises(ArgumentTypeError, match="api_key is a int; give a string"):
        key(5)


def test_a_key_prints_as_a_mask() -> None:
    assert key(GOOD) == key(None, SHOP_KEY=GOOD) == GOOD
    assert GOOD not in repr(key(GOOD))


@pytest.mark.parametrize("wrong", ["sk_abcdefg1", "pk_abcdefgh", GOOD + "\n", "sk_abcdefgH"])
def test_a_malformed_key_is_refused_and_not_repeated(wrong: str) -> None:
    for given, environ, source in ((wrong, {}, "api_key"), (None, {"SHOP_KEY": wrong}, "SHOP_KEY")):
        with pytest.raises(ConfigurationError) as caught:
            key(given, **environ)

        says = str(caught.value)
        assert says == (
            f"{source} does not look like a Shop API key: those start with sk_; "
            f"this one has {len(wrong)} characters in all"
        )
        lines = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        ours = [f.locals or {} for f in lines.stack if "failwell" in f.filename and "tests" not in f.filename]
        assert ours
        assert wrong.strip() not in str([{n: v for n, v in f.items() if n != "environ"} for f in ours])


@pytest.mark.parametrize("wrong", ["a b", "a\n", "ä", "a\x7f"])
def test_a_key_that_no_header_can_carry_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="the API key from api_key has characters"):
        settings.api_key(wrong, variable="SHOP_KEY")


def test_an_sdk_s_own_class_is_raised() -> None:
    with pytest.raises(ShopError):
        settings.api_key(None, variable="SHOP_KEY", check=SHOP, environ={})
    with pytest.raises(ShopError):
        settings.timeouts(0, check=SHOP)
    with pytest.raises(ShopError):
        settings.max_attempts("3", check=SHOP)


def test_one_number_of_seconds_makes_the_waits() -> None:
    waits = settings.timeouts(30)

    assert (waits.connect, waits.read, waits.write, waits.pool) == (5.0, 30.0, 30.0, 30.0)
    assert settings.timeouts(0.5).connect == 0.5


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf")])
def test_a_timeout_out_of_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(UsageError, match="timeout"):
        settings.timeouts(wrong)


def test_retries_are_counted_as_the_document_counts_them() -> None:
    assert settings.max_attempts(3) == 4
    assert settings.max_attempts(0) == 1
    assert settings.max_attempts(3, counts_first=True) == 3
    with pytest.raises(UsageError, match="max_retries is -1; it is 0 to 1000"):
        settings.max_attempts(-1)
    with pytest.raises(UsageError, match="max_retries is 0; it is 1 to 1000"):
        settings.max_attempts(0, counts_first=True)
    with pytest.raises(ArgumentTypeError, match="max_retries is a bool; give an int"):
        settings.max_attempts(True)


def test_strings_are_masked_through_lists_and_tables() -> None:
    masked = settings.masked({"a": ["secret", 1], "b": {"c": "secret"}, "d": None})

    assert masked == {"a": ["secret", 1], "b": {"c": "secret"}, "d": None}
    assert "secret" not in repr(masked)


def test_an_sdk_says_who_it_is() -> None:
    assert re.fullmatch(r"shop/1\.2 python/3\.\d+\.\S+", settings.user_agent("shop", "1.2"))
