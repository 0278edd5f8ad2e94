"""What the doctor says whatever the store is, and what it does with one that cannot be examined."""

from __future__ import annotations

import sys

import pytest

from failwell.service.doctor import CannotLookError, examine
from failwell.service.doctor.findings import clock_skew


@pytest.mark.parametrize(
    ("ahead", "trip", "verdict"),
    [(0.2, 0.001, "well"), (-3.0, 0.1, "advice"), (3.0, 6.0, "well"), (-40.0, 0.1, "wrong")],
)
def test_clocks_that_disagree_are_named(ahead: float, trip: float, verdict: str) -> None:
    assert verdict == clock_skew(ahead, trip).verdict


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://x:hunter22@example.com", "No store is like that"),
        ("hunter22", "No store is like that"),
        ("sqlite://host/s.db", "A SQLite store is a file"),
        ("sqlite:///:memory:", "A SQLite store is a file"),
        ("sqlite:///", "A SQLite store is a file"),
        ("redis://:hunter22@127.0.0.1:1/shop", "A database of Redis is a number"),
    ],
)
def test_what_is_no_store_cannot_be_examined(url: str, sentence: str) -> None:
    with pytest.raises(CannotLookError, match=sentence) as caught:
        examine(url)

    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter22@127.0.0.1:1/d",
        "postgresql://u:hun/ter22@127.0.0.1:1/d",
        "postgresql://u:hun@ter22@127.0.0.1:1/d",
        "postgresql://u:hunter22@127.0.0.1:1/d?nonsense=hunter22",
        "redis://u:hunter22@127.0.0.1:1/0",
        "redis://u:hun/ter22@127.0.0.1:1/0",
        "redis://127.0.0.1:1/0?socket_timeout=hunter22",
    ],
)
def test_who_does_not_answer_cannot_be_examined(url: str) -> None:
    with pytest.raises(CannotLookError) as caught:
        examine(url)

    assert all(word not in str(caught.value) for word in ("hunter22", "ter22", "hun"))


@pytest.mark.parametrize(
    ("package", "url", "extra"),
    [("psycopg", "postgresql://h/d", "failwell[postgres]"), ("redis", "redis://h/0", "failwell[redis]")],
)
def test_a_driver_that_is_missing_is_named(
    package: str, url: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(CannotLookError) as caught:
        examine(url)

    assert extra in str(caught.value)
