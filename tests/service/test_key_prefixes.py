"""Keys that begin with one of several prefixes: where the public part of each ends."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell.service import KeyFormat, SQLiteStore, stored

LIVE = "sandbox_live_"


def test_the_public_part_ends_as_far_behind_a_longer_prefix() -> None:
    keys = KeyFormat("k", also=(LIVE,))
    key = keys.new(LIVE)

    assert key[: len(LIVE) + 8] == keys.public_part(key)
    assert (key, keys.public_part(key)) == keys.read(f"Bearer {key}")


def test_the_public_part_of_a_short_prefix_is_not_the_whole_key() -> None:
    keys = KeyFormat(LIVE, lengths=(20,), also=("k",))
    key = keys.new("k")

    assert key[:9] == keys.public_part(key) == stored(key, keys, tenant="t1").public


def test_keys_of_a_longer_prefix_do_not_replace_each_other(tmp_path: Path) -> None:
    keys = KeyFormat("k", also=(LIVE,))
    store = SQLiteStore(tmp_path / "keys.db")
    store.add_keys([stored(keys.new(LIVE), keys, tenant="t1")])
    store.add_keys([stored(keys.new(LIVE), keys, tenant="t2")])

    tenants = store.read("SELECT tenant FROM failwell_keys ORDER BY tenant")
    store.close()

    assert ["t1", "t2"] == [tenant for (tenant,) in tenants]


def test_what_is_none_of_ours_has_no_public_part() -> None:
    """
    Of a key whose last character was lost, nobody knows how much is secret.
    """
    keys = KeyFormat("key_")

    assert keys.public_part(keys.new()[:-1]) == ""
    assert keys.public_part("hunter2") == ""


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"public": 0}, "0 public characters cannot be told apart"),
        ({"public": -5}, "-5 public characters cannot be told apart"),
        ({"public": 21}, "can be guessed: 12 must be secret"),
        ({"lengths": (32, 19)}, "keys of 19 characters, 8 of them public, can be guessed"),
        ({"also": "sk_"}, "also=['sk_']"),
        ({"also": ("key_ab",), "lengths": (30, 32)}, "'key_ab' could be one of 'key_', too"),
        ({"prefix": "key_ab", "also": ("key_",), "lengths": (30, 32)}, "'key_ab' could be one of 'key_'"),
    ],
)
def test_a_format_whose_public_parts_say_too_much_or_nothing_is_refused(facts: Any, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        KeyFormat(**{"prefix": "key_", **facts})


@pytest.mark.parametrize(
    "facts",
    [
        {"also": ("key_ab",)},  # keys of either have another length
        {"also": ("key_ab",), "lengths": (30, 31)},
        {"also": ("key_a-",), "lengths": (30, 32)},  # no key of the first has a "-"
        {"also": ("key_",)},
        {"public": 1, "lengths": (13,)},
    ],
)
def test_a_format_whose_keys_can_be_told_apart_is_taken(facts: Any) -> None:
    keys = KeyFormat("key_", **facts)

    for begins in ("key_", *keys.also):
        key = keys.new(begins)
        assert key[: len(begins) + keys.public] == keys.public_part(key)


@given(
    prefix=st.text("ak_", max_size=4),
    also=st.lists(st.text("ak_", max_size=4), max_size=3),
    lengths=st.lists(st.integers(13, 20), min_size=1, max_size=3),
    public=st.integers(1, 8),
)
def test_each_prefix_and_length_keeps_its_public_characters_and_its_secret(
    prefix: str, also: list[str], lengths: list[int], public: int
) -> None:
    try:
        keys = KeyFormat(prefix, also=tuple(also), lengths=tuple(lengths), public=public)
    except ValueError:
        return
    for begins in (prefix, *also):
        for length in lengths:
            key = begins + "a" * length
            assert key[: len(begins) + public] == keys.public_part(key)
            assert length - public >= 12


def test_one_prefix_has_the_public_part_it_always_had() -> None:
    for prefix in ("", "k", "key_", "a.b-"):
        keys = KeyFormat(prefix, lengths=(31, 32))
        key = keys.new()
        assert key[: len(prefix) + 8] == keys.public_part(key)
        assert (key, key[: len(prefix) + 8]) == keys.read(f"Bearer {key}") == keys.read(f"bearer  {key}")


def test_a_format_can_be_copied_and_sent_to_another_process() -> None:
    keys = KeyFormat("key_", also=("sk_",))
    key = keys.new("sk_")

    for again in (copy.deepcopy(keys), pickle.loads(pickle.dumps(keys))):
        assert keys == again
        assert keys.read(f"Bearer {key}") == again.read(f"Bearer {key}")
