"""What an idempotency key may look like."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import ArgumentTypeError, UsageError
from failwell.call.idempotency import KEYED_METHODS, checked_key


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255))
def test_visible_ascii_up_to_255_characters_is_taken(key: str) -> None:
    assert checked_key(key) == key


@pytest.mark.parametrize("key", ["", " ", "a b", "a\n", "\u00e9", "x" * 256, "a\x7f"])
def test_another_text_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked_key(key)

    assert str(caught.value).startswith("idempotency_key must be 1 to 255 visible ASCII characters")


@pytest.mark.parametrize("key", [None, 7, b"k", ["k"]])
def test_what_is_no_text_is_refused_by_its_type(key: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=f"idempotency_key is a {type(key).__name__}; give a string"):
        checked_key(key)


def test_every_method_that_changes_something_gets_a_key() -> None:
    assert {"POST", "PATCH", "PUT", "DELETE"} == KEYED_METHODS
