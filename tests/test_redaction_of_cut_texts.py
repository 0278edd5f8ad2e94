"""A secret that a limit cuts in two is masked as a whole one is."""

from __future__ import annotations

import json
import pickle

import pytest

from failwell import Answer
from failwell.contract import STANDARD
from failwell.redaction import BODY_LIMIT, MASK, scrub

KEY = "sk_live_ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PLENTY = "y" * 100


def _padded(limit: int) -> str:
    return "x" * (limit - 16) + KEY + PLENTY


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "text/plain"}, _padded(BODY_LIMIT)),
        ({"content-type": "text/plain"}, "x " * 242 + KEY + " y" * 100),
        ({"content-type": "text/html"}, f"<html><title>{'x ' * 242}{KEY}{' y' * 100}</title>"),
        ({"content-type": "application/json"}, json.dumps({"error": {"message": _padded(4096)}})),
        ({"content-type": "application/json"}, json.dumps({"errors": {"a": [_padded(2000)]}})),
        ({"x-request-id": _padded(200)}, "{}"),
        ({"ratelimit-policy": _padded(200), "ratelimit-limit": "1"}, "{}"),
    ],
    ids=["body", "text", "page", "message", "field", "request id", "policy"],
)
def test_no_limit_leaves_the_beginning_of_a_secret(headers: dict[str, str], body: str) -> None:
    error = STANDARD.decode(Answer(400, headers, body), secrets=(KEY,))

    assert error is not None
    kept = pickle.dumps(error) + repr(error).encode() + json.dumps(error.to_dict()).encode()
    assert KEY[:9].encode() not in kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"bad key {KEY[:12]}", f"bad key {MASK}"),
        (f"bad key {KEY[:12]}...", f"bad key {MASK}..."),
        (f"{KEY[:8]} and {KEY[:9]}\u2026", f"{KEY[:8]} and {MASK}\u2026"),
        (f"{KEY[:8]} is how a key begins", f"{KEY[:8]} is how a key begins"),
        ("it ends in sk_live", "it ends in sk_live"),
    ],
)
def test_only_the_end_of_a_text_is_where_it_was_cut(text: str, kept: str) -> None:
    assert kept == scrub(text, [KEY])
