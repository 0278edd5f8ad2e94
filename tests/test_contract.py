"""The table itself: which row is taken, what is written, what the status says of the effect."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import failwell
from failwell import (
    Answer,
    CallError,
    ConfigurationError,
    Contract,
    Effect,
    Failure,
    FieldError,
    RateLimit,
    Rule,
)
from failwell.contract import STANDARD, effect_of, scrubbed
from failwell.dialects import PROBLEM
from failwell.testing import make_error

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class OwnError(failwell.APIError):
    """Base."""


class TeapotError(OwnError):
    """418."""


class BusyError(OwnError, failwell.RateLimitError):
    """Too busy."""


class LateError(OwnError):
    """Anything after hours."""


OWN = Contract(
    "own",
    base=OwnError,
    rules=[
        Rule(LateError, when=lambda f: f.method == "PATCH"),
        Rule(BusyError, status=(418, 429), code=["busy", "very_busy"], message="Busy.", retry=True),
        Rule(
            TeapotError,
            status=418,
            effect=Effect.APPLIED,
            answer_headers={"x-tea": "yes"},
            means="It is a pot.",
        ),
        Rule(OwnError, code="odd"),
        Rule(BusyError, status=range(900, 910)),
    ],
    broken={failwell.TransportError: OwnError},
    dialect=PROBLEM,
    idempotency_header="X-Once",
)


def said(status: int, code: str | None = None, **headers: str) -> Answer:
    body = {"type": "about:blank", "title": "Said", "status": status, "detail": "So.", "code": code}
    import json

    return Answer(status, headers, json.dumps({k: v for k, v in body.items() if v is not None}))


@pytest.mark.parametrize(
    ("answer", "method", "cls", "text"),
    [
        (said(418), "POST", TeapotError, "So."),
        (said(418, "busy"), "POST", BusyError, "Busy."),
        (said(429, "very_busy"), "POST", BusyError, "Busy."),
        (said(429, "other"), "POST", OwnError, "So."),
        (said(400, "odd"), "POST", OwnError, "So."),
        (said(500), "PATCH", LateError, "So."),
        (said(905), "POST", BusyError, "So."),
        (said(910), "POST", OwnError, "So."),
    ],
)
def test_the_first_row_that_matches_is_taken(
    answer: Answer, method: str, cls: type[CallError], text: str
) -> None:
    error = OWN.decode(answer, method=method)

    assert type(error) is cls
    assert error.args == (text,)


def test_a_row_may_say_what_the_status_does_not() -> None:
    pot, busy = OWN.decode(said(418)), OWN.decode(said(418, "busy"))
    assert pot is not None
    assert busy is not None

    assert (pot.effect, pot.retryable) == (Effect.APPLIED, False)
    assert (busy.effect, busy.retryable) == (Effect.NOT_APPLIED, True)


def test_without_a_row_the_base_is_raised_and_without_a_base_the_meaning() -> None:
    assert type(OWN.decode(Answer(503))) is OwnError
    assert type(Contract("bare").decode(Answer(503))) is failwell.UnavailableError


def test_a_success_is_no_error() -> None:
    assert OWN.decode(Answer(204)) is None
    assert Contract("own", success=[404]).decode(Answer(404)) is None
    assert type(Contract("own", success=[404]).decode(Answer(200))) is failwell.APIError
    OWN.raise_for(Answer(200))
    failwell.raise_for(Answer(200))


def test_what_is_found_can_be_raised() -> None:
    with pytest.raises(TeapotError):
        OWN.raise_for(Answer(418), method="GET")
    with pytest.raises(failwell.NotFoundError):
        failwell.raise_for(Answer(404))
    assert type(failwell.decode(Answer(404), now=NOW)) is failwell.NotFoundError


def test_what_was_asked_is_kept_without_its_secrets() -> None:
    error = OWN.decode(
        said(418, code="s3cr3t-code", **{"x-request-id": "r-1", "set-cookie": "a"}),
        method="PUT",
        url="https://u:p@h/?key=x",
        idempotency_key="k",
        secrets=["s3cr3t-code"],
    )
    assert error is not None

    assert (error.failure.method, error.failure.url) == ("PUT", "https://h/?key=***")
    assert (error.idempotency_key, error.request_id, error.code) == ("k", "r-1", "[redacted]")
    assert "set-cookie" not in error.failure.headers


def test_a_date_is_held_against_the_given_time() -> None:
    late = Answer(503, {"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"})

    assert STANDARD.decode(late, now=NOW).retry_after == 30.0


@pytest.mark.parametrize(
    ("status", "headers", "retryable"),
    [
        (503, {}, True),
        (404, {}, False),
        (503, {"x-should-retry": "false"}, False),
        (404, {"x-should-retry": "true"}, True),
        (404, {"x-should-retry": "maybe"}, False),
    ],
)
def test_the_services_own_word_on_trying_again_goes_first(
    status: int, headers: dict[str, str], retryable: bool
) -> None:
    assert STANDARD.decode(Answer(status, headers)).retryable is retryable


# --- Encode ---------------------------------------------------------------------------------


def test_an_error_becomes_the_answer_of_its_row() -> None:
    answer = OWN.encode(make_error(TeapotError, request_id="r-1", retry_after=1.2))

    assert answer.status == 418
    assert answer.headers["x-tea"] == "yes"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["x-request-id"] == "r-1"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (make_error(TeapotError, status=499), 499),
        (BusyError("x"), 418),
        (BusyError.from_failure(Failure(status=429)), 429),
        (BusyError.from_failure(Failure(status=903)), 903),
        (failwell.PaymentRequiredError("x"), 402),
    ],
)
def test_the_status_is_the_errors_own_or_its_rows_or_its_meanings(error: CallError, status: int) -> None:
    assert OWN.encode(error).status == status


@pytest.mark.parametrize(
    "error", [failwell.ConnectError("x"), OwnError("x"), failwell.JobFailedError("x")], ids=repr
)
def test_an_error_that_no_answer_means_is_refused(error: CallError) -> None:
    contract = Contract("own", base=OwnError)

    with pytest.raises(
        failwell.UsageError, match=f"{type(error).__name__} has no answer in the contract 'own'"
    ):
        contract.encode(error)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (failwell.QuotaExceededError("Spent."), "quota_exceeded"),
        (failwell.IdempotencyMismatchError("Not again."), "idempotency_mismatch"),
        (failwell.RateLimitError("Slow."), None),
        (failwell.RateLimitError.from_failure(Failure(status=403)), "rate_limited"),
        (failwell.UnavailableError.from_failure(Failure(status=500)), None),
        (failwell.APIError.from_failure(Failure(status=418)), None),
        (OwnError.from_failure(Failure(status=402)), None),
        (failwell.QuotaExceededError.from_failure(Failure(code="own_word")), "own_word"),
    ],
    ids=repr,
)
def test_a_code_is_written_where_the_status_would_be_read_as_something_else(
    error: CallError, code: str | None
) -> None:
    body = STANDARD.encode(error).body.decode()

    assert (f'"code": "{code}"' in body or f'"code":"{code}"' in body) if code else '"code"' not in body


# --- The table ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{"base": ValueError}, {"base": 7}, {"broken": {failwell.ConnectError: OSError}}]
)
def test_a_class_that_is_no_error_of_a_call_is_refused(settings: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"contract 'own': .* is not a CallError"):
        Contract("own", **settings)


def test_a_rule_that_raises_no_error_of_a_call_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        Contract("own", rules=[Rule(KeyError, status=1)])


def test_its_classes_are_listed_once_base_first() -> None:
    assert OWN.exceptions == (OwnError, LateError, BusyError, TeapotError)


def test_it_can_be_shown() -> None:
    assert repr(OWN) == "<Contract own, 5 rules>"
    assert [repr(rule) for rule in OWN.rules] == [
        "<Rule any  -> LateError>",
        "<Rule 418, 429 ('busy', 'very_busy') -> BusyError>",
        "<Rule 418  -> TeapotError>",
        "<Rule any ('odd',) -> OwnError>",
        "<Rule 900-909  -> BusyError>",
    ]


def test_what_is_raised_when_no_answer_came() -> None:
    assert OWN.class_for(failwell.ConnectError) is OwnError
    assert OWN.class_for(failwell.CircuitOpenError) is failwell.CircuitOpenError
    assert OWN.names(failwell.TransportError)
    assert not OWN.names(failwell.ConnectError)
    assert STANDARD.names(failwell.CircuitOpenError)
    assert OWN.idempotency_header == "x-once"


# RFC 9110, sections 9.2.1 and 15.
EFFECTS = [
    ("GET", 200, Effect.NOT_APPLIED),
    ("HEAD", 500, Effect.NOT_APPLIED),
    ("POST", 201, Effect.APPLIED),
    ("POST", 303, Effect.APPLIED),
    ("POST", 307, Effect.NOT_APPLIED),
    ("POST", 300, Effect.NOT_APPLIED),
    ("POST", 400, Effect.NOT_APPLIED),
    ("DELETE", 404, Effect.NOT_APPLIED),
    ("POST", 429, Effect.NOT_APPLIED),
    ("POST", 501, Effect.NOT_APPLIED),
    ("POST", 408, Effect.UNKNOWN),
    ("POST", 499, Effect.UNKNOWN),
    ("POST", 302, Effect.UNKNOWN),
    ("POST", 500, Effect.UNKNOWN),
    ("PUT", 503, Effect.UNKNOWN),
    (None, 504, Effect.UNKNOWN),
    ("POST", 100, Effect.UNKNOWN),
]


@pytest.mark.parametrize(("method", "status", "effect"), EFFECTS)
def test_rfc9110_15_what_a_status_says_of_the_effect(method: str | None, status: int, effect: Effect) -> None:
    assert effect_of(method, status) is effect


def test_scrubbing_reaches_every_text_and_changes_nothing_else() -> None:
    key = "s3cr3t-value"
    full = Failure(
        method="POST", url=f"h/{key}", status=400, headers={"x-request-id": key}, body=[{key: key}],
        message=key, code=key, fields=(FieldError((key, 1), key, key),), details={"a": key}, request_id=key,
        idempotency_key="k", retry_after=1.0, rate_limit=RateLimit(1, 2, None, key), reason="cut", cause=key,
    )  # fmt: skip
    clean = scrubbed(full, [key])

    assert key not in repr(clean)
    assert repr(clean) == repr(full).replace(key, "[redacted]")
    assert scrubbed(Failure(rate_limit=RateLimit(1)), [key]) == Failure(rate_limit=RateLimit(1))


def test_an_exception_made_by_hand_knows_what_an_answer_would_have_said() -> None:
    contract = Contract("toy", rules=[Rule(failwell.ConflictError, code="busy", effect=Effect.UNKNOWN)])

    failure = contract.failure_of(
        409, {"code": "busy", "message": "Later."}, headers={"retry-after": "3"}, request_id="req_1"
    )

    assert (failure.status, failure.code, failure.message) == (409, "busy", "Later.")
    assert (failure.retry_after, failure.request_id, failure.effect) == (3.0, "req_1", Effect.UNKNOWN)
    assert contract.failure_of(502, "Bad gateway").message == "Bad gateway"
    assert contract.failure_of(503).body is None
    assert contract.failure_of(None, {"a": 1}, message="lost").body == {"a": 1}
    assert contract.failure_of(200, {"a": 1}, status=None).status is None


def test_a_refusal_is_raised_as_the_class_the_contract_names() -> None:
    class ToyValueError(failwell.UsageError):
        """Refused."""

    contract = Contract("toy", usage={failwell.UsageError: ToyValueError})

    refusal = contract.refusal(failwell.ArgumentTypeError("x is a int"))
    assert type(refusal) is ToyValueError
    assert str(refusal) == "x is a int"
    assert contract.refusal(refusal) is refusal
