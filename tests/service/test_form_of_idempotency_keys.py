"""What an idempotency key may be made of, and where that is said."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_behind import Behind
from starlette.requests import Request
from starlette.responses import JSONResponse

from failwell.service import Operation
from failwell.service.idempotency import KEY_PATTERN, parse_key

BARE = string.ascii_letters + string.digits + "._~:+/=-"


async def _done(request: Request) -> JSONResponse:
    return JSONResponse({})


DOING = (Operation("POST", "/do", _done, idempotency="resumable"),)


@pytest.mark.parametrize("key", ["a b", "a,b", "a;b", "'a'", '"', '""', "x" * 256, '"' + "x" * 256 + '"'])
def test_a_refused_key_is_told_what_a_bare_one_may_have_and_what_a_quoted_one(
    tmp_path: Path, key: str
) -> None:
    with Behind(tmp_path, operations=DOING) as here:
        answer = here.ask("POST", "/do", headers={"idempotency-key": key})

    said = json.loads(answer.body)["detail"]
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "idempotency_key_invalid")
    assert "letters, digits or characters of ._~:+/=- or, in double quotes" in said


def test_each_character_that_the_message_names_is_taken() -> None:
    assert parse_key(BARE) == BARE
    others = set(map(chr, range(0x20, 0x7F))) - set(BARE)
    assert {other for other in others if parse_key(f"a{other}b") is not None} == set()


def test_the_document_has_the_form_in_words_and_as_a_pattern(tmp_path: Path) -> None:
    with Behind(tmp_path, operations=DOING) as here:
        ((parameter,)) = here.service.openapi()["paths"]["/do"]["post"]["parameters"]

    assert "letters, digits or characters of `._~:+/=-`" in parameter["description"]
    assert {"type": "string", "pattern": KEY_PATTERN} == parameter["schema"]


@given(st.text(BARE + ' ",;\\\x7fé', max_size=8) | st.text(BARE, min_size=250, max_size=260))
def test_the_pattern_and_the_reading_agree(key: str) -> None:
    for value in (key, f'"{key}"'):
        read = parse_key(value)
        if value == value.strip(" \t"):
            assert (read is not None) == (re.search(KEY_PATTERN, value) is not None)


def test_the_documentation_names_the_same_characters() -> None:
    page = Path(__file__).parents[2] / "docs" / "service.md"

    assert "letters, digits and characters of `._~:+/=-`" in page.read_text("utf-8")
