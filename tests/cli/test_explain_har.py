"""What `explain` reads in HAR files."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from failwell.call.messages import Phase, Reason
from failwell.cli import pasted

Run = Callable[..., Any]


def entry(status: int, path: str = "/a", body: str = "", **more: Any) -> dict[str, Any]:
    return {
        "startedDateTime": "2026-11-21T12:00:00.000Z",
        "request": {
            "method": "POST",
            "url": f"https://api.test{path}",
            "headers": [{"name": "Idempotency-Key", "value": "key-1"}],
        },
        "response": {
            "status": status,
            "headers": [
                {"name": "X-Request-ID", "value": "req-1"},
                {"name": "Content-Encoding", "value": "br"},
            ],
            "content": {"mimeType": "application/json", "text": body, **more},
        },
    }


def har(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"log": {"version": "1.2", "entries": entries}}).encode()


SAD = '{"detail": "busy", "code": "toy_taken"}'


def test_the_entry_that_failed_last_is_explained_and_the_others_are_listed(failwell: Run) -> None:
    data = har(entry(200), entry(500, "/b?token=hush-hush"), entry(200), entry(409, "/c", SAD), entry(204))

    outcome = failwell("explain", "--json", piped=data)

    found = outcome.json()
    assert (found["status"], found["url"]) == (409, "https://api.test/c")
    assert found["source"] == "HAR entry 4 of 5"
    assert (found["said"]["message"], found["said"]["code"]) == ("busy", "toy_taken")
    assert (found["support"]["request_id"], found["support"]["idempotency_key"]) == ("req-1", "key-1")
    assert found["notes"] == ["1 other entry failed:\n  --entry 2: 500 POST https://api.test/b?token=***"]


def test_an_entry_can_be_chosen(failwell: Run, tmp_path: Path) -> None:
    file = tmp_path / "trace.har"
    file.write_bytes(har(entry(200), entry(500, "/b"), entry(409, "/c")))

    outcome = failwell("explain", str(file), "--entry", "2", "--json")

    assert (outcome.json()["status"], outcome.json()["notes"]) == (500, [])


def test_an_entry_that_is_not_there_is_refused(failwell: Run) -> None:
    outcome = failwell("explain", "--entry", "3", piped=har(entry(500)))

    assert (outcome.status, outcome.out) == (2, "")
    assert "no entry 3" in outcome.err


def test_a_har_without_failures_says_so(failwell: Run) -> None:
    outcome = failwell("explain", piped=har(entry(200), entry(201)))

    assert outcome.status == 0
    assert "None of the 2 entries failed" in outcome.out


@pytest.mark.parametrize(
    "data",
    [json.dumps(entry(409, body=SAD)).encode(), json.dumps(entry(409, body=SAD)["response"]).encode()],
    ids=["entry", "response"],
)
def test_one_entry_or_its_response_is_enough(data: bytes) -> None:
    (exchange,) = pasted.read(data)

    assert exchange.status == 409
    assert exchange.body == SAD.encode()


def test_a_base64_body_is_decoded() -> None:
    coded = base64.b64encode(SAD.encode()).decode()

    (exchange,) = pasted.read(har(entry(409, body=coded, encoding="base64")))

    assert exchange.body == SAD.encode()


def test_a_body_that_is_no_base64_is_told() -> None:
    (exchange,) = pasted.read(har(entry(409, body="a", encoding="base64")))

    assert "base64" in exchange.notes[0]


def test_a_body_that_was_not_recorded_is_told() -> None:
    one = entry(409)
    one["response"]["content"] = {"size": 40}

    (exchange,) = pasted.read(har(one))

    assert exchange.notes == ["The body was not recorded."]


@pytest.mark.parametrize(
    ("error", "broken"),
    [
        ("net::ERR_NAME_NOT_RESOLVED", (Phase.NOT_SENT, Reason.DNS)),
        ("net::ERR_CONNECTION_REFUSED", (Phase.NOT_SENT, Reason.REFUSED)),
        ("net::ERR_CERT_AUTHORITY_INVALID", (Phase.NOT_SENT, Reason.TLS_UNTRUSTED)),
        ("net::ERR_CONNECTION_TIMED_OUT", (Phase.NOT_SENT, Reason.CONNECT_TIMEOUT)),
        ("net::ERR_TIMED_OUT", (Phase.SENT, Reason.READ_TIMEOUT)),
        ("net::ERR_EMPTY_RESPONSE", (Phase.SENT, Reason.CLOSED)),
        ("net::ERR_HTTP2_PROTOCOL_ERROR", (Phase.SENT, Reason.CLOSED)),
        ("", (Phase.SENT, Reason.CLOSED)),
    ],
)
def test_an_entry_without_an_answer_says_what_the_browser_says(
    error: str, broken: tuple[Phase, Reason]
) -> None:
    one = entry(0)
    one["response"]["_error"] = error

    (exchange,) = pasted.read(har(one))

    assert exchange.status is None
    assert exchange.broken == broken


@pytest.mark.parametrize(
    "log",
    [
        {"entries": [{}]},
        {"entries": [{"request": None, "response": None}]},
        {"entries": [{"response": {"status": "500", "headers": {}, "content": []}}]},
        {"entries": [{"request": {"method": 1, "url": 2, "headers": [1, {}], "cookies": "x"}}]},
        {"entries": [1, {"response": {"status": 500, "headers": [{"name": 1, "value": None}]}}]},
    ],
)
def test_a_har_of_odd_shape_is_read_as_far_as_it_goes(log: dict[str, Any], failwell: Run) -> None:
    outcome = failwell("explain", "--json", piped=json.dumps({"log": log}).encode())

    assert outcome.status == 0, outcome.err
