"""What passes between the flow and its drivers."""

from __future__ import annotations

from time import process_time
from typing import Any

import pytest

from failwell import Answer, Response
from failwell.call.messages import Broken, Phase, Reason, Request
from failwell.call.operation import Operation


@pytest.mark.parametrize(
    "raw",
    [
        [(b"X-A", b"1"), (b"x-a", b"2"), (b"B", b"\xe9")],
        [("X-A", "1"), ("x-a", "2"), ("B", "\xe9")],
    ],
    ids=["bytes", "text"],
)
def test_headers_are_in_lower_case_and_joined(raw: Any) -> None:
    response = Response(200, raw)

    assert response.headers == {"x-a": "1, 2", "b": "\xe9"}
    assert response.headers is response.headers


def test_a_body_is_text_and_json() -> None:
    assert Response(200, content=b'{"a": "\xc3\xa9"}').json() == {"a": "\xe9"}
    assert Response(200, content=b"\xff").text == "\ufffd"
    with pytest.raises(ValueError, match="Expecting value"):
        Response(200, content=b"<").json()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_json_that_is_nested_too_deeply_is_none(encoding: str) -> None:
    with pytest.raises(ValueError, match="nested too deeply") as caught:
        Response(200, content=("[" * 100_000).encode(encoding)).json()

    assert caught.value.__context__ is None  # whose traceback would be as deep


def test_json_with_blanks_around_it_and_in_another_encoding_is_read() -> None:
    assert Response(200, content=b' {"a": 1}\n').json() == {"a": 1}
    assert Response(200, content='{"a": 1}'.encode("utf-16")).json() == {"a": 1}


def test_what_ends_up_in_tracebacks_shows_no_content() -> None:
    secret = "s3cr3t"
    shown = [
        Request("POST", f"https://u:{secret}@h/?token={secret}", {"a": secret}, secret.encode()),
        Response(200, [("a", secret)], secret.encode()),
        Broken(Phase.SENT, Reason.RESET, OSError(secret), raw_headers=[("a", secret)]),
        Operation("POST", f"/a?token={secret}", bool, {"a": secret}, {"b": secret}, {"c": secret}),
    ]

    assert secret not in repr(shown)
    assert repr(shown[3]) == "<Operation POST /a?token=***>"


def test_a_reason_is_its_own_name() -> None:
    assert str(Reason.DNS) == f"{Reason.DNS}" == "dns"


def test_a_header_repeated_without_end_takes_time_by_its_length() -> None:
    """Joined one by one, as many lines would be copied for minutes."""
    many = 400_000
    lines = [("X-A", "abcdefgh")] * many

    began = process_time()
    joined = Response(200, lines).headers["x-a"]
    same = Answer(200, lines).headers["x-a"]

    assert joined == same == ", ".join(["abcdefgh"] * many)
    assert process_time() - began < 10
