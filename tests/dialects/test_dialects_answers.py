"""
What the reader makes of answers in the shapes of many APIs, frameworks and proxies.

`answers.jsonl` holds one answer a line: `name`, `status`, `headers`, `body`, and what a person reads
in it: `error` (the standard class), `message`, `code`, `fields`, `request_id`, `wait` in seconds. Where
`error`, `message` and `code` list several values, each is right; null means that saying nothing is. The
bodies are made up, in shapes that the APIs document; each was labelled before the code was asked.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from failwell.answer import Answer
from failwell.contract import STANDARD

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LINES = Path(__file__).with_name("answers.jsonl").read_text(encoding="utf-8").splitlines()
CASES = [json.loads(line) for line in LINES]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_reads_what_a_person_reads(case: dict[str, Any]) -> None:
    answer = Answer(case["status"], case.get("headers", {}), case["body"])

    error = STANDARD.decode(answer, now=NOW)

    assert error is not None
    assert type(error).__name__ in case["error"]
    assert error.message in case["message"]
    assert error.code in case["code"]
    assert [[list(f.path), f.message] for f in error.fields] == case.get("fields", [])
    assert error.request_id == case.get("request_id")
    assert error.retry_after == case.get("wait")


@pytest.mark.parametrize(
    "body",
    [
        {"id": "job_1", "status": "failed", "error": {"code": "boom", "message": "The job failed."}},
        {"errors": []},
        {"error": None, "result": 3},
        {"ok": True, "warnings": ["x"]},
        {"success": True, "message": "Created"},
        {"code": "SAVE10", "message": "Ten percent off."},
        {"errcode": 0, "errmsg": "ok"},
        {"data": {"me": {"name": "x"}}},
        {"jsonrpc": "2.0", "id": 1, "result": "0x1"},
        {"items": [{"error": {"message": "this one failed"}}], "count": 1},
        "the error was corrected",
        [],
    ],
    ids=json.dumps,
)
def test_a_success_that_speaks_of_errors_is_a_success(body: Any) -> None:
    """A job that failed is no failed answer, and a voucher's code is no error's."""
    assert STANDARD.decode(Answer(200, {}, json.dumps(body))) is None
