"""What `explain` says: facts as JSON, sentences on one screen."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from toy_contract import NOON

from failwell import Effect, Failure
from failwell.cli import known, screen
from failwell.cli.explain import Given
from failwell.cli.explain import explain as explained
from failwell.cli.explanation import Explanation, duration, effect_text, moment, of_exchange
from failwell.cli.pasted import read

Run = Callable[..., Any]

LIMITED = b"""\
HTTP/2 429
date: Sat, 21 Nov 2026 12:00:00 GMT
content-type: application/json
retry-after: 30
x-ratelimit-limit: 60
x-ratelimit-remaining: 0
x-request-id: req_42

{"error": {"code": "rate_limited", "message": "Slow down, please."}}
"""


def explain(data: bytes, toys: known.Known, now: datetime = NOON, method: str | None = None) -> Explanation:
    (exchange,) = read(data)
    exchange.method = method
    return of_exchange(exchange, toys, now)


def printed(explanation: Explanation, width: int = 80, *, colour: bool = False) -> str:
    out = io.StringIO()
    on = screen.console(out)
    on.width = width
    if colour:
        on._force_terminal = True
    screen.show(explanation, on, [])
    return out.getvalue()


def test_an_answer_is_explained_on_one_screen(toys: known.Known) -> None:
    assert (
        printed(explain(LIMITED, toys))
        == """\
429 Too Many Requests   (curl output)

It said       Slow down, please.
              code rate_limited

It means      The service refused the call because too many came before it.

Happened?     No. The service refused the request and did nothing.

Try again?    Yes, in 30 s, at 12:00:30 UTC.
              Rate limit: 0 of 60 left.

What to do    Wait that long. If it keeps happening, send less at once, or ask
              for a higher limit.

For support   request req_42
              2026-11-21 12:00:00 UTC  429 rate_limited

Raised as     toy       toy_contract.ToyLimitError
              standard  failwell.RateLimitError
"""
    )


def test_the_same_as_json_is_stable(toys: known.Known) -> None:
    """Readers of `--json` are programs: a member that goes or changes is a new schema."""
    found = explain(LIMITED, toys).to_dict()

    assert json.loads(json.dumps(found)) == {
        "schema": 1,
        "title": "429 Too Many Requests",
        "source": "curl output",
        "failed": True,
        "method": None,
        "url": None,
        "status": 429,
        "said": {
            "message": "Slow down, please.", "code": "rate_limited", "fields": [],
            "dialect": found["said"]["dialect"],
        },
        "means": {
            "exception": "failwell.RateLimitError",
            "kind": "rate_limited",
            "text": "The service refused the call because too many came before it.",
            "do": "Wait that long. If it keeps happening, send less at once, or ask for a higher limit.",
        },
        "effect": {"value": "not_applied", "text": "No. The service refused the request and did nothing."},
        "retry": {
            "retryable": True, "after": 30.0, "at": "2026-11-21T12:00:30Z",
            "text": "Yes, in 30 s, at 12:00:30 UTC.",
        },
        "rate_limit": {"limit": 60, "remaining": 0, "reset_at": None, "policy": None},
        "support": {
            "request_id": "req_42", "date": "2026-11-21T12:00:00Z", "endpoint": None, "status": 429,
            "code": "rate_limited", "idempotency_key": None,
        },
        "raises": [
            {"contract": "toy", "exception": "toy_contract.ToyLimitError", "when": None, "retryable": True},
            {"contract": "standard", "exception": "failwell.RateLimitError", "when": None, "retryable": True},
        ],
        "notes": [],
    }  # fmt: skip


MANY_FIELDS = json.dumps(
    {
        "detail": [
            {"loc": ["body", f"field{n}"], "msg": "value is not a valid integer " * 3, "type": "t"}
            for n in range(40)
        ]
    }
)
LARGE = f"HTTP/1.1 422 X\nRetry-After: 5\nX-Request-ID: r-1\n\n{MANY_FIELDS}".encode()


@pytest.mark.parametrize(
    "data", [LIMITED, LARGE, b"HTTP/1.1 500 X\n\n" + b"long words " * 9000], ids=["limit", "fields", "long"]
)
@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_one_screen_whatever_the_service_says(data: bytes, width: int, toys: known.Known) -> None:
    lines = printed(explain(data, toys), width).splitlines()

    assert len(lines) <= 40
    assert all(len(line) <= width for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_output_to_a_pipe_has_no_colour_and_one_width(
    toys: known.Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm-256color")
    out = io.StringIO()

    screen.show(explain(LIMITED, toys), screen.console(out), [])

    assert "\x1b" not in out.getvalue()
    assert out.getvalue() == printed(explain(LIMITED, toys))


def test_no_color_is_respected_on_a_terminal(toys: known.Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")

    text = printed(explain(LIMITED, toys), colour=True)

    assert "\x1b[3" not in text
    assert "[31m" not in text


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (NOON, "Yes, in 30 s, at 12:00:30 UTC."),
        (NOON + timedelta(seconds=20), "Yes, in 30 s, at 12:00:30 UTC."),
        (NOON + timedelta(hours=1), "Yes, now: the 30 s the service asked for were over at 12:00:30 UTC."),
        (
            NOON + timedelta(days=2),
            "Yes, now: the 30 s the service asked for were over at 2026-11-21 12:00:30 UTC.",
        ),
    ],
)
def test_when_to_try_again_is_held_against_the_answers_own_date(
    now: datetime, text: str, toys: known.Known
) -> None:
    assert explain(LIMITED, toys, now).retry["text"] == text


FAILED = b"HTTP/1.1 503 X\nA: b\n\n"


@pytest.mark.parametrize(
    ("method", "effect", "happened", "again"),
    [
        ("GET", "not_applied", "Nothing changed: a GET", "Yes, after a pause"),
        ("POST", "unknown", "Perhaps: the POST may have been", "Only if doing it twice does no"),
        (None, "unknown", "A GET changed nothing. A POST", "A write only with the idempotency key"),
        ("FETCH-IT-NOW", "unknown", "A GET changed nothing. A POST", "A write only with the idempotency key"),
    ],
)  # fmt: skip
def test_whether_anything_happened_depends_on_the_method(
    method: str | None, effect: str, happened: str, again: str, toys: known.Known
) -> None:
    explanation = explain(FAILED, toys, method=method)

    assert explanation.effect["value"] == effect
    assert happened in explanation.effect["text"]
    assert again in explanation.retry["text"]


def test_an_idempotency_key_makes_a_write_safe_to_repeat(toys: known.Known) -> None:
    (exchange,) = read(FAILED)
    exchange.method, exchange.key = "POST", "key-1"

    explanation = of_exchange(exchange, toys, NOON)

    assert "with the same idempotency key" in explanation.retry["text"]
    assert "safe to repeat" in explanation.effect["text"]


@pytest.mark.parametrize("effect", list(Effect))
@pytest.mark.parametrize("method", ["GET", "POST", None])
def test_every_effect_has_its_sentence(effect: Effect, method: str | None) -> None:
    assert effect_text(Failure(method=method, effect=effect)).endswith(".")


def test_a_contract_that_tries_again_where_the_standard_does_not_is_marked(toys: known.Known) -> None:
    data = b'HTTP/1.1 409 X\nA: b\n\n{"code": "toy_taken", "message": "no"}'

    explanation = explain(data, toys)

    assert [r.retryable for r in explanation.raises] == [True, False]
    assert "toy_contract.ToyBusyError  (tried again)" in printed(explanation)


@pytest.mark.parametrize(
    ("status", "means", "failed"),
    [
        (103, "interim", True), (200, "went well", False), (302, "points elsewhere", True),
        (304, "Nothing has changed", True),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_error_is_said_to_be_none(
    status: int, means: str, failed: bool, toys: known.Known
) -> None:
    explanation = explain(f"HTTP/1.1 {status} X\nA: b\n\n".encode(), toys)

    assert means in explanation.means["text"]
    assert explanation.failed is failed


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (
            b'{"detail": [{"loc": ["body", "a"], "msg": "field required", "type": "t"}]}',
            "invalid_request",
            None,
        ),
        (b'{"error": "rate_limit_exceeded"}', "rate_limited", None),
        (b'{"type": "about:blank", "status": 404, "title": "Not Found"}', "not_found", 404),
        (b'{"whatever": 1}', "api", None),
    ],
)
def test_a_bare_body_means_what_its_words_mean(
    body: bytes, kind: str, status: int | None, toys: known.Known
) -> None:
    explanation = explain(body, toys)

    assert (explanation.means["kind"], explanation.status) == (kind, status)
    assert explanation.notes


def test_options_go_before_what_was_read(failwell: Run) -> None:
    outcome = failwell(
        "explain", "--json", "--status", "404", "-X", "get", "--url", "https://api.test/a?token=hush-hush",
        "-H", "X-Request-ID: r-9", piped=b'{"detail": "nope"}',
    )  # fmt: skip

    found = outcome.json()
    assert (found["status"], found["method"], found["url"]) == (404, "GET", "https://api.test/a?token=***")
    assert (found["said"]["message"], found["support"]["request_id"]) == ("nope", "r-9")
    assert found["notes"] == []


def test_options_alone_describe_an_answer(failwell: Run) -> None:
    found = failwell(
        "explain", "--json", "-s", "429", "-H", "Retry-After: 7", "-d", '{"detail": "slow"}'
    ).json()

    assert (found["retry"]["after"], found["said"]["message"]) == (7.0, "slow")


def test_a_given_time_makes_an_explanation_reproducible(toys: known.Known) -> None:
    given = Given(status=503, headers=["Retry-After: Sat, 21 Nov 2026 12:05:00 GMT"], body="")

    (explanation,) = explained(given, toys, now=NOON)

    assert explanation.retry["at"] == "2026-11-21T12:05:00Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.25, "250 ms"), (1, "1 s"), (1.5, "1.5 s"), (30, "30 s"), (89.9, "90 s"), (90, "1 min 30 s"),
        (120, "2 min"), (3600, "1 h"), (7500, "2 h 5 min"), (86400 * 3, "3 days"),
    ],
)  # fmt: skip
def test_durations_are_told_as_people_tell_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_moment_of_another_day_has_its_date() -> None:
    tomorrow = datetime(2026, 11, 22, 0, 0, 1, tzinfo=UTC)

    assert moment(tomorrow, NOON) == "2026-11-22 00:00:01 UTC"
    assert moment(NOON, NOON) == "12:00:00 UTC"
