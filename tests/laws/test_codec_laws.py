"""A contract is a codec: what it writes, it reads back as the same error."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from error_classes import call_errors, contracts
from failure_strategies import words
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from failwell import Answer, CallError, Contract, Failure, FieldError, UsageError
from failwell.testing import make_error

# Sentences that mean nothing by themselves: a code or a phrase may name another error.
sentences = st.lists(
    st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "and", "was", "seen", "é€"]), min_size=2
).map(lambda parts: " ".join(parts).capitalize() + ".")
codes = st.integers(0, 10**6).map(lambda number: f"own_{number}")
field_errors = st.builds(
    FieldError,
    st.lists(st.sampled_from(["body", "name", "a"]), min_size=1, max_size=2).map(tuple),
    sentences,
    codes,
)
waits = st.integers(0, 3600).map(float)
PLAIN = Failure(
    message="The cat sat.", code="own_code", fields=(FieldError(("body", "a"), "No cat.", "own_cat"),)
)


def answered(contract: Contract) -> list[type[CallError]]:
    """The classes of a contract that an HTTP answer can mean."""
    found = []
    for cls in contract.exceptions if contract.rules else call_errors():
        own = cls.__module__.partition(".")[0] == "failwell"
        if contract.rules or own:
            try:
                contract.encode(make_error(cls))
            except UsageError:
                continue
            found.append(cls)
    return found


ROWS = pytest.mark.parametrize(
    ("package", "cls"),
    [pytest.param(p, cls, id=f"{p}-{cls.__name__}") for p, c in contracts().items() for cls in answered(c)],
)


def trip(contract: Contract, error: CallError) -> CallError:
    back = contract.decode(
        contract.encode(error), method=error.failure.method, idempotency_key=error.failure.idempotency_key
    )
    assert back is not None
    return back


def carried(contract: Contract, cls: type[CallError]) -> frozenset[str]:
    """Which of the facts that a service says the contract has a place for in an answer that means `cls`."""
    names = []
    for name in ("message", "fields", "code"):
        error = make_error(cls, **{"message": PLAIN.message, name: getattr(PLAIN, name)})
        back = trip(contract, error)
        if type(back) is cls and getattr(back.failure, name) == getattr(PLAIN, name):
            names.append(name)
    return frozenset(names)


@ROWS
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_is_written_is_read_back_as_the_same_class_with_equal_facts(
    package: str, cls: type[CallError], data: st.DataObject
) -> None:
    contract = contracts()[package]
    places = carried(contract, cls)
    said: dict[str, Any] = {"message": data.draw(sentences)}
    if "fields" in places:
        said["fields"] = data.draw(st.lists(field_errors, max_size=2).map(tuple))
    if "code" in places:
        said["code"] = data.draw(codes)
    error = make_error(
        cls,
        method=data.draw(st.sampled_from(["GET", "POST", None])),
        request_id=data.draw(st.none() | words),
        # A 403 with a wait is a throttled call, whoever wrote it (see failwell.meaning).
        retry_after=None if cls.usual_status == 403 else data.draw(st.none() | waits),
        **said,
    )
    back = trip(contract, error)

    assert type(back) is cls
    for name in ("status", "effect", "retryable", "request_id", "retry_after", "method"):
        assert getattr(back.failure, name) == getattr(error.failure, name), name
    for name, value in said.items():
        if not said.get("fields") or name == "fields":  # FastAPI has either a sentence or a list
            assert getattr(back.failure, name) == value, name
    # A code that was read out of the only field is written as the answer's own the next time.
    assert replace(trip(contract, back).failure, body=None) == replace(back.failure, body=None)


@ROWS
def test_every_class_with_an_answer_has_one_without_being_told_anything(
    package: str, cls: type[CallError]
) -> None:
    contract = contracts()[package]
    bare = cls.from_failure(Failure(message="The cat sat."))

    assert type(trip(contract, bare)) is cls


def test_message_and_status_have_a_place_in_every_dialect() -> None:
    for package, contract in contracts().items():
        for cls in answered(contract):
            assert "message" in carried(contract, cls), (package, cls)


def test_every_dialect_refuses_to_write_what_no_answer_means() -> None:
    for package, contract in contracts().items():
        for cls in set(contract.exceptions) - set(answered(contract)):
            if package != "failwell":
                with pytest.raises(UsageError, match=f"{cls.__name__} has no answer"):
                    contract.encode(make_error(cls, status=None))


@pytest.mark.parametrize("package", contracts())
@settings(max_examples=150, deadline=None)
@given(
    status=st.integers(-5, 1200),
    headers=st.dictionaries(
        st.sampled_from(["content-type", "retry-after", "x-ratelimit-reset", "ratelimit", "date", "x-id"]),
        st.text(max_size=30),
    ),
    body=st.binary(max_size=60) | st.text(max_size=60) | st.recursive(
        st.none() | st.text(max_size=9) | st.integers(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)
    ).map(json.dumps),
)  # fmt: skip
def test_no_answer_breaks_the_reading(package: str, status: int, headers: dict[str, str], body: Any) -> None:
    error = contracts()[package].decode(Answer(status, headers, body))

    if error is not None:
        assert len(str(error).splitlines()) == 1
        assert error.failure.status == status
