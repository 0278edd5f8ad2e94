"""`RateLimit-Policy`: how many the policy allows that `RateLimit` names, whatever else stands there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import headers
from failwell.failure import RateLimit

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def limit_of(rate_limit: str, policy: str, **others: str) -> RateLimit | None:
    sent = {"ratelimit": rate_limit, "ratelimit-policy": policy}
    sent |= {name.replace("_", "-"): value for name, value in others.items()}
    return headers.rate_limit(sent, NOW)


@pytest.mark.parametrize(
    ("rate_limit", "policy", "limit"),
    [
        ('"day";r=50', '"day";q=100;w=86400', 100),
        ('"day";r=50', '"burst";q=10;w=1, "day";q=100;w=86400', 100),
        ('"day";r=50, "burst";r=2', '"burst";q=10;w=1, "day";q=100;w=86400', 10),
        ('"day";r=50', '"day";w=86400;qu="requests";q=100', 100),
        ('"day";r=50', ' "day" ; q=100 ; w=86400 ', 100),
        ('"day";r=50', '"day";q=0', 0),
        ('"a,b;c=d";r=1', '"x;q=9";q=1,"a,b;c=d";q=7', 7),
        (r'"say \"hi\"";r=1', r'"say \"hi\"";q=7', 7),
        (r'"a\\";r=1', r'"a\\";q=7, "b";q=8', 7),
        ('"day";r=1', '"day";q=5;q=6', 6),
        ('"day";r=1', '"day";q=5, "day";q=5', 5),
        ("day;r=1", "day;q=5;w=1", 5),
        # A limit of its own goes before the policy's.
        ('"day";r=1;q=3', '"day";q=5', 3),
    ],
)
def test_it_is_the_q_of_the_policy_that_is_named(rate_limit: str, policy: str, limit: int) -> None:
    found = limit_of(rate_limit, policy)

    assert found is not None
    assert found.limit == limit


@pytest.mark.parametrize(
    "policy",
    [
        "", ";", ",", '"day"', '"day";', '"day";q', '"day";q=', '"day";w=100', '"other";q=5', '"Day";q=5',
        '"day";q=-5', '"day";q=5.0', '"day";q=1e9', '"day";q="5"', '"day";q=:NQ==:', '"day";q=?1',
        '"day";q=0x10', '"day";q=5 5', '"day";q=٥', '"day";q=' + "9" * 16, '"day";q=' + "9" * 5000,
        '"day";q=5, "day";q=6', '"day";q=5, "day";q=x', '"day";q=5;q=x',
        'x"day";q=5', '"day;q=5', '"day\\";q=5', '"";q=5', "=;q=5", ";q=5", '"\\', '"' * 2000, "\\" * 2000,
        '"x";q=1,' * 1000 + '"day";q=5', '"' + "x" * 2000 + '";q=1, "day";q=5', "\x00", '"day"\x00;q=5',
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_read_says_nothing_of_how_many(policy: str) -> None:
    """
    And takes nothing from what the other field says.
    """
    found = limit_of('"day";r=50;t=30', policy)

    assert found is not None
    assert (found.limit, found.remaining, found.policy) == (None, 50, "day")
    assert found.reset_at == datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def test_a_policy_alone_is_no_number() -> None:
    found = headers.rate_limit({"ratelimit-policy": '"day";q=100;w=86400'}, NOW)

    assert found == RateLimit(policy='"day";q=100;w=86400')


def test_beside_the_older_fields_the_nearest_limit_is_said() -> None:
    found = limit_of(
        '"burst";r=3;t=1, "day";r=50;t=30', '"burst";q=10;w=1, "day";q=100;w=86400',
        x_ratelimit_limit="10", x_ratelimit_remaining="3", x_ratelimit_reset="1772366401",
    )  # fmt: skip

    assert found == RateLimit(10, 3, datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC), "burst")


NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12)


@given(st.dictionaries(NAMES, st.integers(0, 10**15 - 1), min_size=1, max_size=6), st.data())
def test_whatever_the_names_the_right_policy_is_read(quotas: dict[str, int], data: st.DataObject) -> None:
    """
    As the editor of the standard's own library writes them.
    """
    named = data.draw(st.sampled_from(list(quotas)))
    # The library's types know a list of bare items only.
    policies: Any = [(name, {"q": quota, "w": 60}) for name, quota in quotas.items()]
    states: Any = [(named, {"r": 1})]
    found = limit_of(http_sf.ser(states), http_sf.ser(policies))

    assert found is not None
    assert (found.limit, found.policy) == (quotas[named], named)


HOSTILE = st.lists(
    st.sampled_from(
        ['"', "\\", ";", ",", "=", "q", "r=1", "t=", "day", " ", "5", "-", "\x00", "é", "9" * 20]
    ),
    max_size=40,
).map("".join)


@given(HOSTILE, HOSTILE)
def test_nothing_raises_and_no_number_is_made_up(rate_limit: str, policy: str) -> None:
    found = limit_of(rate_limit, policy)

    assert found is None or found.limit is None or 0 <= found.limit < 10**15
