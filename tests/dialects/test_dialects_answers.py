"""What the reader makes of answers in the shapes of many APIs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from answers import CASES, Case

from failwell.answer import Answer
from failwell.contract import STANDARD

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_reads_what_a_person_reads(case: Case) -> None:
    error = STANDARD.decode(Answer(case.status, case.headers, case.body), now=NOW)

    assert error is not None
    assert type(error) in case.cls
    assert error.message in case.message
    assert error.code in case.code
    assert [(f.path, f.message) for f in error.fields] == list(case.fields)
    assert error.request_id == case.request_id
    assert error.retry_after == case.wait
