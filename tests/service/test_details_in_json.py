"""Details that JSON has no form for: every answer is JSON, and nothing of them gets lost."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from hypothesis import given
from hypothesis import strategies as st
from service_behind import CONTRACTS, Behind

from failwell.dialects.parts import plain

DAY = datetime.date(2026, 11, 21)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "NaN"),
        ([float("inf"), -float("inf")], ["Infinity", "-Infinity"]),
        ({DAY: 1}, {"2026-11-21": 1}),
        ({"by": [{DAY: {("a", 1): DAY}}]}, {"by": [{"2026-11-21": {"('a', 1)": "2026-11-21"}}]}),
        ({2: "a", None: "b", True: "c", 1.5: "d"}, {"2": "a", "true": "c", "null": "b", "1.5": "d"}),
        ({DAY: (1, 2)}, {"2026-11-21": [1, 2]}),
        ("NaN", "NaN"),
    ],
)
def test_what_json_has_no_form_for_becomes_its_text(value: Any, said: Any) -> None:
    assert said == plain(value)


SPELLABLE = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.dates() | st.integers(), inner),
)


@given(SPELLABLE)
def test_whatever_comes_out_is_json_of_rfc_8259(value: Any) -> None:
    said = plain(value)

    assert said == json.loads(json.dumps(said, allow_nan=False))


@pytest.mark.parametrize("contract", list(CONTRACTS))
def test_an_http_exception_with_odd_details_is_answered_in_json(tmp_path: Path, contract: str) -> None:
    def refused(word: str) -> None:
        raise ValueError(word)

    app = FastAPI()

    @app.get("/odd")
    async def odd() -> None:
        raise HTTPException(409, {"ratio": float("nan"), "free": {DAY: 3, "next": [float("inf")]}})

    with Behind(tmp_path, CONTRACTS[contract], app=app) as here:
        answer = here.ask("GET", "/odd")

    assert answer.status == 409
    body = json.loads(answer.body, parse_constant=refused)
    if contract != "agoralia":  # whose errors have no place for details
        assert '{"ratio": "NaN", "free": {"2026-11-21": 3, "next": ["Infinity"]}}' in json.dumps(body)
