"""What `explain` says of a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import failwell as library
from failwell.call.messages import Reason
from failwell.errors import Error

Run = Callable[..., Any]


def raised(found: dict[str, Any]) -> dict[str, str]:
    return {r["contract"]: r["exception"].rpartition(".")[2] for r in found["raises"]}


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 409, 410, 413, 422, 429, 500, 502, 503, 504, 418, 599]
)
def test_every_status_is_explained_by_every_contract(status: int, failwell: Run) -> None:
    found = failwell("explain", str(status), "--json").json()

    assert found["status"] == status
    assert set(raised(found)) == {"toy", "standard"}
    assert found["effect"]["value"] == ("not_applied" if status < 500 else "unknown")


def test_a_status_is_what_each_contract_makes_of_it(failwell: Run) -> None:
    assert raised(failwell("explain", "429", "--json").json()) == {
        "toy": "ToyLimitError",
        "standard": "RateLimitError",
    }


@pytest.mark.parametrize(
    "name",
    [
        "RateLimitError",
        "ratelimiterror",
        "RateLimit",
        "failwell.RateLimitError",
        "failwell.errors.RateLimitError",
    ],
)
def test_an_exception_of_failwell_has_several_spellings(name: str, failwell: Run) -> None:
    found = failwell("explain", name, "--json").json()

    assert found["means"]["exception"] == "failwell.RateLimitError"
    assert raised(found) == {"toy": "ToyLimitError", "standard": "RateLimitError"}


@pytest.mark.parametrize("name", ["toy.ToyBusyError", "ToyBusyError", "toybusy"])
def test_an_exception_of_a_contract_is_explained_from_its_documentation(name: str, failwell: Run) -> None:
    found = failwell("explain", name, "--json").json()

    assert found["means"]["text"] == "The toy is in other hands."
    assert found["means"]["do"] == "Wait for your turn."
    assert found["means"]["when"] == ["409 toy_taken: Another child has it", "409"]
    assert found["retry"]["retryable"] is True
    assert raised(found) == {"toy": "ToyBusyError", "standard": "ConflictError"}


def test_a_code_is_found_in_the_table_of_its_contract(failwell: Run) -> None:
    found = failwell("explain", "toy_taken", "--json").json()

    assert found["source"] == "a code of the contract toy"
    assert found["means"]["text"] == "Another child has it."
    assert raised(found) == {"toy": "ToyBusyError"}


def everything() -> list[str]:
    return [
        n
        for n in library.__all__
        if isinstance(getattr(library, n), type) and issubclass(getattr(library, n), Error)
    ]


@pytest.mark.parametrize("name", everything())
def test_every_standard_exception_and_its_kind_are_explained(name: str, failwell: Run) -> None:
    kind = getattr(library, name).kind
    for wanted in (name, kind):
        outcome = failwell("explain", wanted, "--json")

        assert outcome.status == 0, outcome.err
        assert outcome.json()["means"]["kind"] == kind
        assert outcome.json()["means"]["text"]
    assert failwell("explain", name).out.startswith(f"failwell.{name}")


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_explained(reason: Reason, failwell: Run) -> None:
    found = failwell("explain", reason.value, "--json").json()

    assert found["means"]["exception"].startswith("failwell.")


@pytest.mark.parametrize(
    ("wrong", "close"),
    [
        ("RateLimtError", "RateLimitError"),
        ("rate_limit", "rate_limited"),
        ("toy.ToyBuzyError", "toy.ToyBusyError"),
        ("toy_takn", "toy_taken"),
    ],
)
def test_a_name_that_is_nearly_right_gets_a_hint(wrong: str, close: str, failwell: Run) -> None:
    outcome = failwell("explain", wrong)

    assert (outcome.status, outcome.out) == (2, "")
    assert "Did you mean" in outcome.err
    assert close in outcome.err


@pytest.mark.parametrize(
    "wrong", ["qqqqqqqq", "", " ", "-1", "42", "999", "1000000", "a" * 5000, "\x00", "\ud800"]
)
def test_a_name_nobody_has_is_refused_in_a_sentence(wrong: str, failwell: Run) -> None:
    outcome = failwell("explain", "--", wrong)

    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("failwell: ")
    assert outcome.err.count("\n") == 1
