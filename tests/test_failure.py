"""What is known about a call: plain data, there and back."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import Attempt, Effect, Failure, FieldError, RateLimit

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
FULL = Failure(
    method="POST",
    url="https://api.example/",
    status=429,
    headers={"retry-after": "3"},
    body=["text", {"n": 1.5}],
    message="Slow down.",
    code="slow",
    fields=(FieldError(("body", 0, "a"), "no", "bad"),),
    details={"scope": "all"},
    request_id="r",
    idempotency_key="k",
    retry_after=3.0,
    rate_limit=RateLimit(10, 0, WHEN, "burst"),
    reason="cut",
    cause="words",
    attempts=(Attempt(1, 0.0, 0.5, "status", 429, "r", 1.5, ""),),
    effect=Effect.NOT_APPLIED,
    retryable=True,
    stopped="deadline",
)


def test_what_a_call_adds_is_all_that_changes() -> None:
    attempts = (Attempt(1, 0.0, 0.1, "reset"), Attempt(2, 0.2, 0.1, "status", 500))

    assert FULL.of_call(attempts, Effect.UNKNOWN, "attempts_exhausted") == dataclasses.replace(
        FULL, attempts=attempts, effect=Effect.UNKNOWN, stopped="attempts_exhausted"
    )


def through_json(failure: Failure) -> Failure:
    return Failure.from_dict(json.loads(json.dumps(failure.to_dict())))


def test_every_fact_comes_back() -> None:
    assert through_json(FULL) == FULL
    assert {f.name for f in dataclasses.fields(Failure)} == FULL.to_dict().keys()


def test_what_is_not_known_is_left_out_and_what_is_empty_is_not_forgotten() -> None:
    assert Failure().to_dict() == {"effect": "unknown", "retryable": False}
    assert through_json(Failure(message="", body="", code="")) == Failure(message="", body="", code="")
    assert through_json(Failure(body={}, status=0)) == Failure(body={}, status=0)


@given(st.sampled_from([Failure, Attempt, RateLimit]), st.dictionaries(st.text(), st.integers(), min_size=1))
def test_what_a_newer_writer_added_is_ignored(cls: Any, more: dict[str, int]) -> None:
    data = FULL.to_dict()
    extra = {f"new {name}": value for name, value in more.items()}
    data.update(extra if cls is Failure else {})
    data["attempts"][0].update(extra if cls is Attempt else {})
    data["rate_limit"].update(extra if cls is RateLimit else {})

    assert Failure.from_dict(data) == FULL


@pytest.mark.parametrize(
    "data",
    [
        7,
        None,
        {"fields": 7},
        {"fields": [{"message": "no path"}]},
        {"fields": ["text"]},
        {"attempts": [{"number": 1}]},
        {"attempts": 7},
        {"rate_limit": 7},
        {"rate_limit": {"reset_at": "no date"}},
        {"rate_limit": {"reset_at": 7}},
        {"effect": "perhaps"},
    ],
    ids=str,
)
def test_data_of_another_shape_is_a_value_error(data: Any) -> None:
    with pytest.raises(ValueError):
        Failure.from_dict(data)


def test_a_rate_limit_of_none_stays_none() -> None:
    assert Failure.from_dict({"rate_limit": None}) == Failure()
    assert Failure.from_dict({"rate_limit": {"limit": 1}}).rate_limit == RateLimit(1)


def test_what_json_has_no_type_for_becomes_its_text() -> None:
    zone = timezone(timedelta(hours=2))
    failure = Failure(body={1: (2, WHEN.astimezone(zone)), "e": Effect.APPLIED, "o": 3j, "s": {4}})

    assert failure.to_dict()["body"] == {
        "1": [2, "2026-01-01T00:00:00+00:00"],
        "e": "applied",
        "o": "3j",
        "s": "{4}",
    }


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.status = 200


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (FieldError(("body", 0, "a"), "is missing", "missing"), "body.0.a: is missing"),
        (FieldError((), None, "missing"), "(whole input): missing"),
        (FieldError(("a",)), "a: refused"),
    ],
)
def test_a_field_error_is_one_line(field: FieldError, text: str) -> None:
    assert str(field) == text


def test_an_effect_is_its_own_name() -> None:
    assert str(Effect.NOT_SENT) == f"{Effect.NOT_SENT}" == "not_sent"
