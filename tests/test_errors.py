"""The standard errors by themselves: text, facts, groups, and data that is not theirs."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

import failwell
from failwell import Attempt, BatchError, CallError, Effect, Error, Failure, FieldError, RateLimit, UsageError
from failwell.errors import HEADLINE_LIMIT

KNOWN = Failure(
    method="POST",
    url="https://api.example/things",
    status=422,
    headers={"content-type": "application/json"},
    body={"a": [1]},
    message="The name is taken.",
    code="name_taken",
    fields=(FieldError(("body", "name"), "taken", "taken"),),
    request_id="r-1",
    idempotency_key="k-1",
    retry_after=2.0,
    rate_limit=RateLimit(10, 0),
    attempts=(Attempt(1, 0.0, 0.5, "status", 503), Attempt(2, 1.0, 0.34, "status", 422)),
    effect=Effect.NOT_APPLIED,
    retryable=False,
)


def test_the_facts_asked_for_most_are_properties() -> None:
    error = failwell.InvalidRequestError.from_failure(KNOWN)

    for name in (
        "message", "status", "body", "code", "fields", "request_id", "idempotency_key", "retry_after",
        "rate_limit", "attempts", "effect", "retryable",
    ):  # fmt: skip
        assert getattr(error, name) == getattr(KNOWN, name)


def test_its_text_is_what_a_person_needs() -> None:
    error = failwell.InvalidRequestError.from_failure(KNOWN)

    assert str(error) == "The name is taken. (422 name_taken, request r-1, 2 tries in 1.3 s)"


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (Failure(), "The service answered with a failure."),
        (Failure(status=418), "The service answered 418 (418)"),
        (Failure(cause="the engine's words", reason="reset"), "the engine's words (reset)"),
        (Failure(code="no_status"), "The service answered with a failure. (no_status)"),
        (Failure(message=" \n "), "The service answered with a failure."),
        (Failure(message="a\nb\tc  d"), "a b c d"),
        (Failure(message="\x1b[31mred\x00\u202e\u2028\ud800"), "[31mred"),
    ],
)
def test_whatever_is_known_there_is_a_line(failure: Failure, text: str) -> None:
    assert str(failwell.APIError.from_failure(failure)) == text


def test_a_long_message_is_cut_in_the_line_and_kept_in_the_facts() -> None:
    error = failwell.APIError.from_failure(Failure(message="x" * 1000))

    assert len(str(error)) == HEADLINE_LIMIT
    assert str(error).endswith("\u2026")
    assert len(error.message or "") == 1000


def test_a_message_of_ones_own_goes_before_the_services() -> None:
    error = failwell.APIError.from_failure(KNOWN, "My words")

    assert str(error).startswith("My words (422")
    assert error.message == "The name is taken."


def test_made_by_hand_it_knows_its_message_or_the_failure_it_is_given() -> None:
    assert CallError("It broke").failure == Failure(message="It broke")
    assert CallError().message is None
    assert CallError("It broke", failure=KNOWN).failure is KNOWN


@pytest.mark.parametrize(
    ("cls", "also"),
    [
        (UsageError, ValueError),
        (failwell.ArgumentTypeError, TypeError),
        (failwell.CallTimeoutError, TimeoutError),
        (failwell.DeadlineExceededError, TimeoutError),
        (failwell.CallTimeoutError, asyncio.TimeoutError),
        (BatchError, ExceptionGroup),
    ],
)
def test_pythons_own_class_of_the_meaning_catches_it(cls: type[Error], also: type[BaseException]) -> None:
    assert issubclass(cls, also)


# --- Groups ---------------------------------------------------------------------------------


def batch() -> BatchError:
    items = [failwell.NotFoundError.from_failure(Failure(status=404)), failwell.ServerError("Broke")]
    return BatchError("2 of 3 items failed", items, failure=KNOWN)


def test_a_batch_is_taken_apart_by_class() -> None:
    taken: list[Any] = []
    try:
        raise batch()
    except* failwell.NotFoundError as missing:
        taken.append(missing)
    except* failwell.ServerError as broken:
        taken.append(broken)

    assert [type(part) for part in taken] == [BatchError, BatchError]
    assert [[str(e) for e in part.exceptions] for part in taken] == [
        ["The service answered 404 (404)"],
        ["Broke"],
    ]
    assert taken[0].failure == KNOWN


def test_a_batch_of_an_sdk_with_a_constructor_of_its_own_is_taken_apart() -> None:
    class OwnBatchError(BatchError):
        def __init__(self, message: str, exceptions: list[Exception], *, stage: str) -> None:
            super().__init__(message, exceptions)
            self.stage = stage

    error = OwnBatchError("Some failed", [ValueError("a"), KeyError("b")], stage="second")
    error.add_note("seen")
    part = error.subgroup(KeyError)

    assert isinstance(part, OwnBatchError)
    assert (part.stage, part.__notes__, len(part.exceptions)) == ("second", ["seen"], 1)


def test_a_batch_made_from_a_failure_holds_its_items_or_one_about_itself() -> None:
    alone = BatchError.from_failure(KNOWN)
    some = BatchError.from_failure(Failure(), "Some failed", exceptions=[ValueError("a")])

    assert [type(e) for e in alone.exceptions] == [CallError]
    assert str(alone) == "The name is taken. (422 name_taken, request r-1, 2 tries in 1.3 s)"
    assert (str(some), [str(e) for e in some.exceptions]) == ("Some failed", ["a"])


def test_a_batch_goes_through_json_with_its_items() -> None:
    error = BatchError("Some failed", [failwell.NotFoundError.from_failure(KNOWN), KeyError("b")])
    back = Error.from_dict(error.to_dict())

    assert isinstance(back, BatchError)
    assert [type(e) for e in back.exceptions] == [failwell.NotFoundError, CallError]
    assert [str(e) for e in back.exceptions][1] == "KeyError: 'b'"


# --- Data -----------------------------------------------------------------------------------


def test_an_error_is_json_types_without_what_is_empty() -> None:
    data = failwell.NotFoundError.from_failure(Failure(status=404, message="None.")).to_dict()

    assert data == {
        "type": ["failwell.errors:NotFoundError", "failwell.errors:APIError", "failwell.errors:CallError",
                 "failwell.errors:Error"],
        "args": ["None."],
        "failure": {"status": 404, "message": "None.", "effect": "unknown", "retryable": False},
    }  # fmt: skip
    assert UsageError("No.", 3, {1}).to_dict()["args"] == ["No.", 3, "{1}"]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"type": ["failwell.errors:Error"]},
        {"type": 7, "args": []},
        {"type": [], "args": 7},
        {"type": [], "args": [], "failure": 7},
        {"type": [], "args": [], "failure": {"fields": [7]}},
        {"type": [], "args": [], "exceptions": [7]},
        {"type": ["failwell.errors:BatchError"], "args": [], "exceptions": []},
        {"type": [], "args": [], "state": 7},
        {"type": [], "args": [], "state": [7]},
    ],
    ids=str,
)
def test_data_of_another_shape_is_a_value_error(data: Any) -> None:
    with pytest.raises(ValueError):
        Error.from_dict(data)


@pytest.mark.parametrize(
    "name",
    ["os:system", "builtins:ValueError", "failwell.errors:sys.modules", "failwell.errors:", "", ":",
     "no:where", 7, "this:Zen"],
)  # fmt: skip
def test_data_names_no_class_but_a_loaded_error(name: Any) -> None:
    import sys

    error = Error.from_dict({"type": [name], "args": ["x"]})

    assert type(error) is Error
    assert "this" not in sys.modules


def test_data_cannot_stand_in_for_a_method() -> None:
    data = failwell.APIError("It broke").to_dict()
    data["state"] = {"headline": "x", "__class__": "y", "to_dict": 1, "failure": 2, "own": "kept"}
    error = Error.from_dict(data)

    assert str(error) == "It broke"
    assert vars(error).keys() == {"failure", "own"}


def test_only_what_json_keeps_goes_into_the_data() -> None:
    error = failwell.APIError("It broke")
    vars(error).update(text="a", many=[1, {"b": None}], live=object(), keyed={1: 2})

    assert error.to_dict()["state"] == {"text": "a", "many": [1, {"b": None}]}


def test_a_pickle_of_a_module_that_is_gone_finds_the_base() -> None:
    data = pickle.dumps(failwell.NotFoundError("It is not there"), 0)
    gone = data.replace(b"failwell.errors:NotFoundError", b"failwell.errorx:NotFoundError")

    assert type(pickle.loads(gone)) is failwell.APIError


def test_an_older_pickle_without_facts_has_some() -> None:
    from failwell.errors import _restore

    error = _restore(["failwell.errors:APIError"], ("It broke",), {})

    assert isinstance(error, CallError)
    assert error.failure.message == "It broke"
    assert _restore([], (), {}).args == ()
