"""Argus as it answers: real detection, stored results, keys of two tiers, and no 500 for hostile texts."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from sandbox_caller import Caller, said

from argus import (
    CONTRACT,
    ArgusAPIError,
    ArgusAuthenticationError,
    ArgusInternalServerError,
    ArgusNotFoundError,
    ArgusPermissionError,
)
from failwell.answer import Answer
from failwell.service import Limit, check
from failwell_sandbox import Sandbox

TEXT = "Try Globex instead: ada@example.com"


@pytest.fixture
def full(sandbox: Sandbox) -> str:
    return sandbox.argus.keys.full


@pytest.fixture
def asset(argus: Caller, full: str) -> Any:
    """A new asset that looks for Globex."""
    body = {"name": f"site-{uuid4()}", "competitors": ["Globex"]}
    return said(argus("POST", "/v1/assets", key=full, json_body=body))


def is_error(answer: Answer, status: int, code: str, raised: type[ArgusAPIError]) -> None:
    """The one error, as the contract has it, with its request id."""
    assert (answer.status, said(answer)["code"]) == (status, code)
    assert said(answer)["request_id"] == answer.headers["x-request-id"]
    assert type(CONTRACT.decode(answer)) is raised


def test_what_is_found_has_kind_span_and_score(argus: Caller, full: str) -> None:
    body = {"text": TEXT, "competitors": ["Globex"]}

    result = said(argus("POST", "/v1/checks", key=full, json_body=body))

    assert result["findings"] == [
        {"kind": "competitor", "type": "exact", "start": 4, "end": 10, "score": 1.0, "name": "Globex"},
        {"kind": "personal_data", "type": "email", "start": 20, "end": 35, "score": 1.0},
    ]
    assert (result["id"], result["saved"], result["truncated"]) == (None, False, False)


def test_a_saved_result_is_listed_again_and_the_text_is_not_kept(
    argus: Caller, full: str, asset: Any, sandbox: Sandbox
) -> None:
    body = {"text": TEXT, "asset_id": asset["id"], "save": True}

    result = said(argus("POST", "/v1/checks", key=full, json_body=body))
    listed = said(argus("GET", f"/v1/assets/{asset['id']}/results", key=full))

    assert listed == {"items": [result], "next_cursor": None}
    assert [each["kind"] for each in result["findings"]] == ["competitor", "personal_data"]
    (kept,) = sandbox.argus.database.read_blocking("SELECT found FROM results WHERE id = ?", result["id"])
    assert "ada@" not in kept[0]


def test_a_result_that_is_not_to_be_saved_is_not(argus: Caller, full: str, asset: Any) -> None:
    body = {"text": TEXT, "asset_id": asset["id"]}

    assert said(argus("POST", "/v1/checks", key=full, json_body=body))["saved"] is False
    assert said(argus("GET", f"/v1/assets/{asset['id']}/results", key=full))["items"] == []


def test_a_batch_is_saved_as_a_whole_and_listed_a_page_at_a_time(
    argus: Caller, full: str, asset: Any
) -> None:
    body = {"texts": [TEXT, "nothing", "Globxe"], "asset_id": asset["id"], "save": True}
    path = f"/v1/assets/{asset['id']}/results"

    batch = said(argus("POST", "/v1/checks/batch", key=full, json_body=body))
    first = said(argus("GET", f"{path}?limit=2", key=full))
    rest = said(argus("GET", f"{path}?limit=2&cursor={first['next_cursor']}", key=full))

    assert [len(each["findings"]) for each in batch["results"]] == [2, 0, 1]
    assert batch["flagged_share"] == 0.6667
    assert [*first["items"], *rest["items"]] == batch["results"][::-1]
    assert rest["next_cursor"] is None


def test_a_repeated_save_is_one_result(argus: Caller, full: str, asset: Any, sandbox: Sandbox) -> None:
    key = str(uuid4())
    body = {"text": TEXT, "asset_id": asset["id"], "save": True}

    def send() -> Answer:
        return argus("POST", "/v1/checks", key=full, json_body=body, headers={"Idempotency-Key": key})

    first, again = send(), send()
    with ThreadPoolExecutor(5) as pool:
        crowd = [task.result() for task in [pool.submit(send) for _ in range(10)]]

    assert {answer.body for answer in (first, again, *crowd)} == {first.body}
    assert again.headers["idempotent-replayed"] == "true"
    assert sandbox.effects("argus", key) == 1
    other = argus(
        "POST", "/v1/checks", key=full, json_body=body | {"text": "x"}, headers={"Idempotency-Key": key}
    )
    is_error(other, 409, "idempotency_mismatch", ArgusAPIError)


@pytest.mark.parametrize("members", [{"asset_id": "asset_1"}, {"save": True}])
@pytest.mark.parametrize("path", ["/v1/checks", "/v1/checks/batch"])
def test_a_free_key_has_no_platform_features(
    argus: Caller, sandbox: Sandbox, members: dict[str, Any], path: str
) -> None:
    body = {"text": TEXT, "texts": [TEXT]} | members

    refused = argus("POST", path, key=sandbox.argus.keys.free, json_body=body)

    is_error(refused, 403, "platform_feature", ArgusPermissionError)
    assert "rsk_" in said(refused)["detail"]


def test_a_free_key_checks_and_has_no_assets(argus: Caller, sandbox: Sandbox) -> None:
    free = sandbox.argus.new_key(tier="free")

    assert free.startswith("sk_")
    assert sandbox.argus.new_key().startswith("rsk_")
    assert argus("POST", "/v1/checks", key=free, json_body={"text": TEXT}).status == 200
    is_error(argus("GET", "/v1/assets", key=free), 403, "tier_required", ArgusPermissionError)


def test_an_asset_of_nobody_and_of_somebody_else_are_not_found(
    argus: Caller, full: str, asset: Any, sandbox: Sandbox
) -> None:
    other = sandbox.argus.keys.other_tenant
    body = {"text": TEXT, "asset_id": asset["id"], "save": True}
    answers = [
        argus("GET", "/v1/assets/asset_0", key=full),
        argus("GET", "/v1/assets/asset_0/results", key=full),
        argus("POST", "/v1/checks", key=full, json_body=body | {"asset_id": "asset_0"}),
        argus("GET", f"/v1/assets/{asset['id']}", key=other),
        argus("POST", "/v1/checks", key=other, json_body=body),
    ]

    for answer in answers:
        is_error(answer, 404, "asset_not_found", ArgusNotFoundError)
    assert said(argus("GET", f"/v1/assets/{asset['id']}/results", key=full))["items"] == []


def test_two_assets_of_an_account_are_not_called_alike(
    argus: Caller, full: str, asset: Any, sandbox: Sandbox
) -> None:
    body = {"name": asset["name"]}

    is_error(argus("POST", "/v1/assets", key=full, json_body=body), 409, "name_taken", ArgusAPIError)
    theirs = argus("POST", "/v1/assets", key=sandbox.argus.keys.other_tenant, json_body=body)
    assert theirs.status == 201


@pytest.mark.parametrize(
    ("state", "code"),
    [("unknown", "api_key_invalid"), ("revoked", "api_key_revoked"), ("expired", "api_key_expired")],
)
def test_a_key_that_is_no_good_is_a_401(argus: Caller, sandbox: Sandbox, state: str, code: str) -> None:
    answer = argus("GET", "/v1/assets", key=getattr(sandbox.argus.keys, state))

    is_error(answer, 401, code, ArgusAuthenticationError)
    assert answer.headers["www-authenticate"] == 'Bearer realm="argus"'


def test_a_limit_is_told_and_kept(argus: Caller, sandbox: Sandbox) -> None:
    key = sandbox.argus.new_key(limit=Limit(2, 60.0))

    answers = [argus("POST", "/v1/checks", key=key, json_body={"text": "x"}) for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert int(answers[2].headers["retry-after"]) > 0
    is_error(answers[2], 429, "rate_limited", ArgusAPIError)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/checks", {}, ["body", "text"]),
        ("/v1/checks", {"text": 7}, ["body", "text"]),
        ("/v1/checks", {"text": "x", "competitors": "Globex"}, ["body", "competitors"]),
        ("/v1/checks", {"text": "x", "competitors": [""]}, ["body", "competitors", 0]),
        ("/v1/checks", {"text": "x", "competitors": ["x"] * 101}, ["body", "competitors"]),
        ("/v1/checks", {"text": "x", "detect": []}, ["body", "detect"]),
        ("/v1/checks", {"text": "x", "detect": ["names"]}, ["body", "detect", 0]),
        ("/v1/checks", {"text": "x", "min_score": 2}, ["body", "min_score"]),
        ("/v1/checks", {"text": "x", "save": True}, ["body", "asset_id"]),
        ("/v1/checks", {"text": "x" * 1_000_001}, ["body", "text"]),
        ("/v1/checks/batch", {"texts": ["x" * 600_000] * 2}, ["body", "texts"]),
        ("/v1/checks/batch", {"texts": ["x"] * 101}, ["body", "texts"]),
        ("/v1/assets", {"name": ""}, ["body", "name"]),
        ("/v1/assets", {"name": "a\x00b"}, ["body", "name"]),
    ],
)
def test_a_body_that_is_not_valid_is_a_422_that_names_the_field(
    argus: Caller, full: str, path: str, body: Any, field: list[str | int]
) -> None:
    answer = argus("POST", path, key=full, json_body=body)

    is_error(answer, 422, "validation_failed", ArgusAPIError)
    error = CONTRACT.decode(answer)
    assert error is not None
    assert [list(each.path) for each in error.fields] == [field]


HOSTILE = {
    "a megabyte": "Globex " * 142_857,
    "a megabyte of zeros": "\x00" * 1_000_000,
    "a megabyte beyond the basic plane": "\U0001f600" * 1_000_000,
    "zeros between letters": "G\x00l\x00o\x00b\x00e\x00x",
    "right to left": "\u202eGlobex\u202c שלום مرحبا",
    "no width": "G\u200bl\u200bo\u200bb\u200be\u200bx",
    "look-alikes": "Gl\u043eb\u0435x",
    "many accents": "Globex" + "\u0301" * 10_000,
    "one word": "G" + "lobex" * 100_000,
    "nothing": "",
    "not characters": "\ufffe\uffff\U0010ffff",
    "a quote and a backslash": "\"\\'; DROP TABLE results; --",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_answered_and_never_a_500(argus: Caller, full: str, asset: Any, name: str) -> None:
    body = {
        "text": HOSTILE[name], "competitors": ["Globex", "\x00", "\u200b", "a" * 100],
        "asset_id": asset["id"], "save": True,
    }  # fmt: skip

    answer = argus("POST", "/v1/checks", key=full, json_body=body)

    assert answer.status == 200, answer.body[:300]
    result = said(answer)
    assert result["text_length"] == len(HOSTILE[name])
    assert all(0 <= f["start"] < f["end"] <= len(HOSTILE[name]) for f in result["findings"])
    assert said(argus("GET", f"/v1/assets/{asset['id']}/results", key=full))["items"] == [result]


@pytest.mark.parametrize("member", ["text", "name", "asset_id"])
@pytest.mark.parametrize("half", ["\\ud800", "\\udfff", "x\\ud83dx"])
def test_half_a_surrogate_pair_is_a_400_and_never_a_500(
    argus: Caller, full: str, member: str, half: str
) -> None:
    body = f'{{"text": "x", "name": "x", "{member}": "{half}"}}'.encode()
    path = "/v1/assets" if member == "name" else "/v1/checks"

    is_error(argus("POST", path, key=full, body=body), 400, "bad_request", ArgusAPIError)


@pytest.mark.parametrize("asset_id", ["%00", "%ff", "..%2f", "a" * 2000, "%F0%9F%98%80", "'--"])
def test_an_odd_id_is_not_found(argus: Caller, full: str, asset_id: str) -> None:
    assert argus("GET", f"/v1/assets/{asset_id}", key=full).status == 404


def test_a_body_as_large_as_a_text_can_be_is_taken_and_a_larger_one_is_not(argus: Caller, full: str) -> None:
    escaped = json.dumps({"text": "\U0001f600" * 1_000_000}).encode()  # 12 bytes for each
    assert argus("POST", "/v1/checks", key=full, body=escaped).status == 200

    large = argus("POST", "/v1/checks", key=full, body=b" " * (16 * 1024 * 1024 + 1))
    is_error(large, 413, "payload_too_large", ArgusAPIError)


@pytest.mark.parametrize("path", ["/v1/assets", "/v1/assets/{id}/results"])
@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=\u0661", "cursor=-1", "cursor="])
def test_a_page_that_cannot_be_is_a_422(argus: Caller, full: str, asset: Any, path: str, query: str) -> None:
    answer = argus("GET", f"{path.format(**asset)}?{quote(query, safe='=')}", key=full)

    is_error(answer, 422, "validation_failed", ArgusAPIError)


def test_it_says_that_it_lives_without_a_key(argus: Caller) -> None:
    assert said(argus("GET", "/livez")) == {"status": "ok"}


def test_a_bug_is_a_500_that_says_nothing_but_its_id(argus: Caller, full: str) -> None:
    answer = argus("POST", "/v1/checks/batch", key=full, json_body={"texts": []})

    is_error(answer, 500, "internal_error", ArgusInternalServerError)


def test_a_locked_database_is_a_503_that_did_nothing(argus: Caller, full: str, sandbox: Sandbox) -> None:
    name = f"locked-{uuid4()}"
    with sandbox.argus.locked():
        refused = argus("POST", "/v1/assets", key=full, json_body={"name": name})

    assert isinstance(CONTRACT.decode(refused), ArgusInternalServerError)
    assert (refused.status, sandbox.argus.effects(name=name)) == (503, 0)


def test_every_error_that_a_handler_raises_is_declared(sandbox: Sandbox) -> None:
    service = sandbox.argus.service
    assert service is not None
    check(service)
    assert service.undeclared == set()


def test_the_openapi_document_says_both_prefixes(argus: Caller) -> None:
    (scheme,) = said(argus("GET", "/openapi.json"))["components"]["securitySchemes"].values()

    assert scheme["description"] == "A key begins with `rsk_` or `sk_`."
