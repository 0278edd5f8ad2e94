"""Each exception of the document, from an answer or a break on a real socket."""

from __future__ import annotations

import copy
import json
import pickle
import socket
from typing import Any

import pytest

import argus
import failwell
from argus import (
    CONTRACT,
    ArgusAPIError,
    ArgusAuthenticationError,
    ArgusConnectionError,
    ArgusError,
    ArgusInternalServerError,
    ArgusNotFoundError,
    ArgusPermissionError,
    ArgusTypeError,
    ArgusValueError,
)
from failwell.testing import assert_exports

TEXT = "Try Globex"
FOUND: dict[str, Any] = {
    "findings": [
        {"kind": "competitor", "type": "exact", "start": 4, "end": 10, "score": 1.0, "name": "Globex"},
    ],
    "checked": ["competitors", "secrets", "personal_data"],
}  # fmt: skip


def finding(**members: Any) -> bytes:
    """A result with one finding in a text of four letters, all of it unless `members` say otherwise."""
    one = {"kind": "secret", "type": "jwt", "start": 0, "end": 4, "score": 1.0} | members
    return json.dumps({"findings": [one], "checked": ["secrets"]}).encode()


def said(status: int) -> dict[str, Any]:
    return {"title": "No", "status": status, "detail": "Said by Argus.", "code": "some_code"}


def test_the_hierarchy_is_the_document_s() -> None:
    assert issubclass(ArgusTypeError, ArgusValueError)
    assert issubclass(ArgusTypeError, TypeError)
    assert issubclass(ArgusValueError, ValueError)
    for cls in (
        ArgusAuthenticationError, ArgusPermissionError, ArgusNotFoundError, ArgusInternalServerError,
    ):  # fmt: skip
        assert issubclass(cls, ArgusAPIError)
    assert not issubclass(ArgusConnectionError, ArgusAPIError)
    assert all(issubclass(cls, ArgusError) for cls in (ArgusValueError, ArgusConnectionError, ArgusAPIError))


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, ArgusAPIError),
        (401, ArgusAuthenticationError),
        (402, ArgusAPIError),
        (403, ArgusPermissionError),
        (404, ArgusNotFoundError),
        (405, ArgusAPIError),
        (409, ArgusAPIError),
        (410, ArgusAPIError),
        (413, ArgusAPIError),
        (418, ArgusAPIError),
        (422, ArgusAPIError),
        (429, ArgusAPIError),
        (500, ArgusInternalServerError),
        (501, ArgusInternalServerError),
        (503, ArgusInternalServerError),
        (599, ArgusInternalServerError),
    ],
)
def test_each_status_is_its_exception_with_what_the_document_promises(
    use: Any, wire: Any, status: int, raised: type[ArgusAPIError]
) -> None:
    wire.will_answer(status, said(status), {"X-Request-ID": "req_81"})

    with pytest.raises(ArgusAPIError) as caught:
        use(lambda c: c.check("text"), max_retries=0)

    error = caught.value
    assert type(error) is raised
    assert (error.status_code, error.response_body, error.request_id) == (status, said(status), "req_81")
    assert "Said by Argus." in str(error)
    assert len(error.attempts) == len(wire.asked) == 1


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b"[1]", b'"text"', b"null", b"{"])
def test_a_body_that_is_no_object_is_an_empty_dict(use: Any, wire: Any, body: bytes) -> None:
    wire.will_answer(502, body)

    with pytest.raises(ArgusInternalServerError) as caught:
        use(lambda c: c.check("text"), max_retries=0)

    assert (caught.value.status_code, caught.value.response_body) == (502, {})
    assert caught.value.request_id is None


def test_a_server_error_is_tried_again_with_the_same_key_and_then_raised(
    use: Any, wire: Any, clock: Any
) -> None:
    for _ in range(3):
        wire.will_answer(500, said(500))

    with pytest.raises(ArgusInternalServerError) as caught:
        use(lambda c: c.check("text", asset_id="asset_1", save=True))

    assert [attempt.status for attempt in caught.value.attempts] == [500, 500, 500]
    assert len({headers["idempotency-key"] for _, _, headers, _ in wire.asked}) == 1
    assert len(clock.waits) == 2


def test_what_is_asked_of_a_client_that_is_too_fast_is_waited_for(use: Any, wire: Any, clock: Any) -> None:
    wire.will_answer(429, said(429), {"Retry-After": "7"})
    wire.will_answer(200, FOUND)

    assert use(lambda c: c.check("Try Globex", competitors=["Globex"])).flagged
    assert 7.0 <= clock.waits[0] < 9.0


def test_a_connection_error_comes_after_the_tries_and_has_them(use: Any, wire: Any) -> None:
    for _ in range(3):
        wire.will_hang_up()

    with pytest.raises(ArgusConnectionError) as caught:
        use(lambda c: c.check("text"))

    assert [attempt.outcome for attempt in caught.value.attempts] == ["closed"] * 3
    assert len(wire.asked) == 3
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value, failwell.TransportError)


def test_a_connection_that_breaks_once_is_not_noticed(use: Any, wire: Any) -> None:
    wire.will_hang_up()
    wire.will_answer(200, FOUND)

    result = use(lambda c: c.check("Try Globex", competitors=["Globex"]))

    assert [finding.of("Try Globex") for finding in result] == ["Globex"]


def test_a_refused_connection_says_that_nothing_was_sent(use: Any) -> None:
    with socket.socket() as sock:  # bound, so that nobody else listens there
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with pytest.raises(ArgusConnectionError) as caught:
            use(lambda c: c.check("text"), base_url=f"http://127.0.0.1:{port}/v1")

    assert caught.value.effect is failwell.Effect.NOT_SENT
    assert [attempt.outcome for attempt in caught.value.attempts] == ["refused"] * 3


def test_silence_is_a_connection_error_once_every_try_has_timed_out(use: Any, wire: Any) -> None:
    for _ in range(3):
        wire.will_say_nothing()

    with pytest.raises(ArgusConnectionError) as caught:
        use(lambda c: c.check("text"), timeout=0.05)

    # Which wait it is that takes too long, the machine decides.
    assert all(attempt.outcome.endswith("_timeout") for attempt in caught.value.attempts)
    assert [attempt.stopped for attempt in caught.value.attempts] == ["", "", "attempts_exhausted"]


def test_what_is_not_to_be_tried_again_is_tried_once(use: Any, wire: Any) -> None:
    wire.will_hang_up()

    with pytest.raises(ArgusConnectionError) as caught:
        use(lambda c: c.check("text"), max_retries=0)

    assert len(caught.value.attempts) == len(wire.asked) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"findings": 7}',
        b'{"findings": [{"kind": "secret"}]}',
        b"<html>",
        b'{"findings": [',
        b"[" * 100_000,
        b'{"findings": [], "checked": ["secrets"], "x": ' + b"[" * 100_000,
        b'{"findings": [], "checked": ["secrets"], "text_length": ' + b"9" * 5000 + b"}",
        b'{"findings": [], "checked": ["secrets"], "created_at": "yesterday"}',
        b'{"findings": []}',
        b'{"findings": [], "checked": []}',
        finding(start=-4),
        finding(end=0),
        finding(start=4, end=4),
        finding(end=5),
        finding(end=10**30),
        finding(end=1.5),
        finding(score=1.1),
        finding(score=float("nan")),
        finding(score="high"),
    ],
)
def test_an_answer_that_cannot_be_read_is_a_connection_error_and_no_bare_one(
    use: Any, wire: Any, body: bytes
) -> None:
    wire.will_answer(200, body, {"Content-Type": "application/json"})

    with pytest.raises(ArgusConnectionError) as caught:
        use(lambda c: c.check("text"))

    # Asking again would bring no other one.
    assert len(caught.value.attempts) == len(wire.asked) == 1


@pytest.mark.parametrize("results", [0, 1, 3])
def test_a_batch_with_more_or_fewer_results_than_texts_cannot_be_read(
    use: Any, wire: Any, results: int
) -> None:
    """Whoever matches them up would let a text pass that nobody looked at."""
    wire.will_answer(200, {"results": [{"findings": [], "checked": ["secrets"]}] * results})

    with pytest.raises(ArgusConnectionError, match=f"there are {results} results for 2 texts"):
        use(lambda c: c.check_batch(["one", "two"]))


def test_a_batch_is_read_against_the_text_that_each_result_is_about(use: Any, wire: Any) -> None:
    wire.will_answer(200, {"results": [FOUND, {"findings": [], "checked": ["secrets"]}]})
    wire.will_answer(200, {"results": [{"findings": [], "checked": ["secrets"]}, FOUND]})

    assert use(lambda c: c.check_batch(["Try Globex", ""])).flagged
    with pytest.raises(ArgusConnectionError, match="ends behind the text"):
        use(lambda c: c.check_batch(["Try Globex", ""]))


def test_what_is_sent_is_what_was_passed_and_no_more(use: Any, wire: Any) -> None:
    wire.will_answer(200, FOUND)
    wire.will_answer(200, {"results": [FOUND], "flagged_share": 1.0})

    use(lambda c: c.check(TEXT, competitors=("Globex",), asset_id="asset_1", save=True, min_score=1))
    use(lambda c: c.check_batch([TEXT], detect=["secrets"], idempotency_key="mine"))

    (method, path, headers, body), (_, batch_path, batch_headers, batch) = wire.asked
    assert (method, path, batch_path) == ("POST", "/v1/checks", "/v1/checks/batch")
    assert json.loads(body) == {
        "text": TEXT, "competitors": ["Globex"], "asset_id": "asset_1", "save": True, "min_score": 1.0,
    }  # fmt: skip
    assert json.loads(batch) == {"texts": [TEXT], "detect": ["secrets"]}
    assert headers["authorization"].startswith("Bearer rsk_")
    assert batch_headers["idempotency-key"] == "mine"
    assert headers["user-agent"].startswith(f"argus/{argus.__version__} python/")


def test_members_of_a_later_version_break_nothing(use: Any, wire: Any) -> None:
    finding = FOUND["findings"][0] | {"severity": "high"}
    wire.will_answer(200, FOUND | {"findings": [finding], "model": 2})

    result = use(lambda c: c.check("Try Globex"))

    assert (result.extra, result.findings[0].extra) == ({"model": 2}, {"severity": "high"})


def test_a_result_without_findings_is_true_and_not_flagged(use: Any, wire: Any) -> None:
    wire.will_answer(200, {"findings": [], "checked": ["secrets"]})

    result = use(lambda c: c.check("text"))

    assert (bool(result), result.flagged, result.skipped, len(result)) == (True, False, False, 0)


@pytest.mark.parametrize(
    ("cls", "status"),
    [(ArgusAPIError, None), (ArgusAuthenticationError, 401), (ArgusPermissionError, 403),
     (ArgusNotFoundError, 404), (ArgusInternalServerError, 500)],
)  # fmt: skip
def test_an_api_error_made_by_hand_knows_what_its_class_says(
    cls: type[ArgusAPIError], status: int | None
) -> None:
    bare = cls("No.")
    told = cls("No.", status_code=451, response_body={"code": "x"}, request_id="req_7")

    assert (bare.status_code, bare.response_body) == (status, {})
    assert (told.status_code, told.response_body, told.request_id) == (451, {"code": "x"}, "req_7")
    for again in (pickle.loads(pickle.dumps(told)), copy.copy(told)):
        assert (type(again), again.status_code, again.response_body) == (cls, 451, {"code": "x"})


def test_the_table_reads_what_it_writes() -> None:
    for cls in (ArgusAuthenticationError, ArgusPermissionError, ArgusNotFoundError, ArgusInternalServerError):
        assert type(CONTRACT.decode(CONTRACT.encode(cls("No.")))) is cls


def test_the_key_is_nowhere_on_an_error(use: Any, wire: Any) -> None:
    wire.will_answer(401, said(401) | {"detail": "rsk_0123456789abcdefghijABCDEFGHIJ01 is bad"})

    with pytest.raises(ArgusAuthenticationError) as caught:
        use(lambda c: c.check("text"))

    shown = f"{caught.value!r} {caught.value} {vars(caught.value)} {pickle.dumps(caught.value)!r}"
    assert "rsk_0123456789" not in shown


def test_the_promised_names_are_there() -> None:
    assert_exports(argus, argus._HOMES)
