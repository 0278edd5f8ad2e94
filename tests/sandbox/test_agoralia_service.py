"""Agoralia over real HTTP: every error of its document, from its cause, with its body and headers."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any
from uuid import uuid4

import pytest
from sandbox_caller import has_status, said

from agoralia import CONTRACT
from agoralia.errors import (
    AgoraliaAuthenticationError,
    AgoraliaConflictError,
    AgoraliaIdempotencyError,
    AgoraliaInProgressError,
    AgoraliaNotFoundError,
    AgoraliaPermissionError,
    AgoraliaRateLimitError,
    AgoraliaServerError,
    AgoraliaUnavailableError,
    AgoraliaValidationError,
)
from failwell.answer import Answer
from failwell.service import Limit
from failwell_sandbox import Sandbox
from failwell_sandbox.agoralia.extraction import extract

CAMPAIGN = {"name": "Spring", "purpose": "quote_request", "agent_ref_id": 1}


def is_refusal(answer: Answer, status: int, body: Any, code: str) -> None:
    """What every error answer has, and the body of the document, with the request's id beside it."""
    told = said(answer)
    assert answer.headers["x-request-id"] == told.pop("request_id")
    assert (status, body) == (answer.status, told)
    assert code == answer.headers["x-error-code"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    for name in ("limit", "remaining", "reset"):
        assert answer.headers[f"x-ratelimit-{name}"].isdigit()


@pytest.mark.parametrize(
    ("headers", "detail", "code"),
    [
        ({}, "Invalid API key", "api_key_missing"),
        ({"X-API-Key": "invalid-key"}, "Invalid API key format", "api_key_malformed"),
        ({"X-API-Key": "ago_" + "x" * 30}, "Invalid API key format", "api_key_malformed"),
        ({"X-API-Key": "ago_" + "x" * 33}, "Invalid API key format", "api_key_malformed"),
        ({"X-API-Key": "ago_" + "ä" * 32}, "Invalid API key format", "api_key_malformed"),
        ({"X-API-Key": "ago_" + "x" * 31}, "Invalid API key", "api_key_invalid"),
        ({"X-API-Key": "ago_ETWIQRPbBXBrMxwcyxqUFLlYGErtFOaa"}, "Invalid API key", "api_key_invalid"),
    ],
)
def test_a_key_that_is_missing_malformed_or_unknown_is_a_401(
    agoralia: Any, headers: dict[str, str], detail: str, code: str
) -> None:
    raw = {name: value.encode("latin-1").decode("latin-1") for name, value in headers.items()}

    answer = agoralia("GET", "/api/v1/agents", headers=raw)

    is_refusal(answer, 401, {"detail": detail}, code)
    assert answer.headers["www-authenticate"] == 'ApiKey realm="agoralia"'
    assert isinstance(CONTRACT.decode(answer), AgoraliaAuthenticationError)


def test_a_revoked_and_an_expired_key_are_told_so(agoralia: Any, sandbox: Sandbox) -> None:
    keys = sandbox.agoralia.keys

    is_refusal(
        agoralia("GET", "/api/v1/agents", key=keys.revoked),
        401,
        {"detail": "API key revoked"},
        "api_key_revoked",
    )
    is_refusal(
        agoralia("GET", "/api/v1/agents", key=keys.expired),
        401,
        {"detail": "API key expired"},
        "api_key_expired",
    )


def test_a_key_is_refused_from_the_moment_it_is_revoked(agoralia: Any, sandbox: Sandbox) -> None:
    key = sandbox.agoralia.new_key()
    before = agoralia("GET", "/api/v1/me", key=key).status
    sandbox.agoralia.revoke(key)

    assert (before, agoralia("GET", "/api/v1/me", key=key).status) == (200, 401)


def test_what_became_of_a_key_is_told_only_to_who_has_all_of_it(agoralia: Any, sandbox: Sandbox) -> None:
    revoked = sandbox.agoralia.keys.revoked
    guess = revoked[:-1] + ("a" if revoked[-1] != "a" else "b")

    is_refusal(
        agoralia("GET", "/api/v1/me", key=guess), 401, {"detail": "Invalid API key"}, "api_key_invalid"
    )


def test_a_key_without_the_scope_is_a_403_naming_it(agoralia: Any, sandbox: Sandbox) -> None:
    """
    The document's example: a key that may only read posts a campaign.
    """
    answer = agoralia(
        "POST", "/api/v1/campaigns", key=sandbox.agoralia.keys.read_only, json_body={"name": "Campaign"}
    )

    detail = "Insufficient permissions. Required scope: campaigns:write"
    is_refusal(answer, 403, {"detail": detail}, "insufficient_scope")
    assert isinstance(CONTRACT.decode(answer), AgoraliaPermissionError)


def test_a_suspended_workspace_is_a_403(agoralia: Any, sandbox: Sandbox) -> None:
    answer = agoralia("GET", "/api/v1/agents", key=sandbox.agoralia.keys.suspended)

    is_refusal(answer, 403, {"detail": "Workspace suspended"}, "tenant_suspended")


def test_me_lists_the_scopes_of_the_key(agoralia: Any, sandbox: Sandbox) -> None:
    me = said(agoralia("GET", "/api/v1/me", key=sandbox.agoralia.keys.read_only))

    assert me["api_key_scopes"] == ["agents:read", "campaigns:read", "me:read"]
    assert me["tenant_id"] == 1


def test_a_campaign_that_does_not_exist_is_a_404(agoralia: Any, sandbox: Sandbox) -> None:
    answer = agoralia("GET", "/api/v1/campaigns/99999/results", key=sandbox.agoralia.keys.full)

    is_refusal(answer, 404, {"detail": "Campaign not found"}, "campaign_not_found")
    assert isinstance(CONTRACT.decode(answer), AgoraliaNotFoundError)


def test_another_tenants_campaign_agent_and_results_look_as_if_they_did_not_exist(
    agoralia: Any, sandbox: Sandbox
) -> None:
    keys = sandbox.agoralia.keys
    created = said(agoralia("POST", "/api/v1/campaigns", key=keys.full, json_body=CAMPAIGN))
    path = f"/api/v1/campaigns/{created['id']}"

    for theirs in (path, f"{path}/results"):
        assert said(agoralia("GET", theirs, key=keys.other_tenant))["detail"] == "Campaign not found"
    assert said(agoralia("GET", "/api/v1/agents/1", key=keys.other_tenant))["detail"] == "Agent not found"
    answer = agoralia("POST", "/api/v1/campaigns", key=keys.other_tenant, json_body=CAMPAIGN)
    is_refusal(answer, 404, {"detail": "Agent not found"}, "agent_not_found")


def test_the_documents_422_names_every_field(agoralia: Any, sandbox: Sandbox) -> None:
    answer = agoralia(
        "POST", "/api/v1/campaigns", key=sandbox.agoralia.keys.full,
        json_body={"purpose": "quote_request", "agent_ref_id": "one", "extraction_schema": []},
    )  # fmt: skip

    detail = [
        {"loc": ["body", "name"], "msg": "field required", "type": "value_error.missing"},
        {
            "loc": ["body", "agent_ref_id"],
            "msg": "value is not a valid integer",
            "type": "type_error.integer",
        },
        {
            "loc": ["body", "extraction_schema"],
            "msg": "value is not a valid dict",
            "type": "type_error.dict",
        },
    ]
    is_refusal(answer, 422, {"detail": detail}, "validation_failed")
    error = CONTRACT.decode(answer)
    assert isinstance(error, AgoraliaValidationError)
    assert detail == error.detail


@pytest.mark.parametrize(
    ("member", "value", "msg", "kind"),
    [
        ("name", None, "field required", "value_error.missing"),
        ("agent_ref_id", 1.5, "value is not a valid integer", "type_error.integer"),
        ("name", {}, "str type expected", "type_error.string"),
        ("extraction_schema", "x", "value is not a valid dict", "type_error.dict"),
        ("name", "", "ensure this value has at least 1 characters", "value_error.str.min_length"),
        ("name", "x" * 121, "ensure this value has at most 120 characters", "value_error.str.max_length"),
    ],
)
def test_each_validation_type_of_the_document_has_its_cause(
    agoralia: Any, sandbox: Sandbox, member: str, value: Any, msg: str, kind: str
) -> None:
    body = {**CAMPAIGN, member: value}
    if value is None:
        del body[member]

    answer = agoralia("POST", "/api/v1/campaigns", key=sandbox.agoralia.keys.full, json_body=body)

    is_refusal(
        answer, 422, {"detail": [{"loc": ["body", member], "msg": msg, "type": kind}]}, "validation_failed"
    )


def test_a_422_never_repeats_what_was_sent(agoralia: Any, sandbox: Sandbox) -> None:
    answer = agoralia(
        "POST", "/api/v1/campaigns", key=sandbox.agoralia.keys.full,
        json_body={"purpose": "hunter2-purpose", "agent_ref_id": "hunter2-agent", "password": "hunter2"},
    )  # fmt: skip

    assert answer.status == 422
    assert b"hunter2" not in answer.body


def test_malformed_json_is_a_422_at_its_position(agoralia: Any, sandbox: Sandbox) -> None:
    answer = agoralia("POST", "/api/v1/campaigns", key=sandbox.agoralia.keys.full, body=b'{"name": }')

    ((finding),) = said(answer)["detail"]
    assert answer.status == 422
    assert finding == {"loc": ["body", 9], "msg": "Expecting value", "type": "value_error.jsondecode"}


def test_a_body_that_is_no_text_is_a_400(agoralia: Any, sandbox: Sandbox) -> None:
    answer = agoralia("POST", "/api/v1/campaigns", key=sandbox.agoralia.keys.full, body=b"\xff\xfe\x00{")

    is_refusal(answer, 400, {"detail": "There was an error parsing the body"}, "bad_request")


def test_a_path_that_is_no_number_is_a_422(agoralia: Any, sandbox: Sandbox) -> None:
    answer = agoralia("GET", "/api/v1/campaigns/abc", key=sandbox.agoralia.keys.full)

    finding = {
        "loc": ["path", "campaign_id"],
        "msg": "value is not a valid integer",
        "type": "type_error.integer",
    }
    is_refusal(answer, 422, {"detail": [finding]}, "validation_failed")


@pytest.mark.parametrize("number", ["99999999999999999999999999", "-1", "-99999999999999999999999999"])
def test_a_number_that_no_id_can_be_is_a_404(agoralia: Any, sandbox: Sandbox, number: str) -> None:
    assert agoralia("GET", f"/api/v1/campaigns/{number}", key=sandbox.agoralia.keys.full).status == 404


def test_a_key_used_again_with_another_body_is_the_documents_409(agoralia: Any, sandbox: Sandbox) -> None:
    full, key = sandbox.agoralia.keys.full, f"abc-{uuid4()}"
    headers = {"Idempotency-Key": key}
    first = {"name": "Campaign A", "purpose": "quote_request"}
    second = {"name": "Campaign B", "purpose": "cold_calling"}

    created = agoralia("POST", "/api/v1/campaigns", key=full, headers=headers, json_body=first)
    refused = agoralia("POST", "/api/v1/campaigns", key=full, headers=headers, json_body=second)

    assert created.status == 201
    is_refusal(
        refused, 409, {"detail": "Idempotency key already used with different request body"},
        "idempotency_mismatch",
    )  # fmt: skip
    assert "retry-after" not in refused.headers
    assert isinstance(CONTRACT.decode(refused), AgoraliaIdempotencyError)
    assert sandbox.effects("agoralia", key) == 1


def test_the_order_of_members_counts(agoralia: Any, sandbox: Sandbox) -> None:
    """
    The document: match the original data exactly, including field order.
    """
    full, headers = sandbox.agoralia.keys.full, {"Idempotency-Key": str(uuid4())}
    agoralia("POST", "/api/v1/campaigns", key=full, headers=headers, json_body=CAMPAIGN)
    turned = dict(reversed(CAMPAIGN.items()))

    assert agoralia("POST", "/api/v1/campaigns", key=full, headers=headers, json_body=turned).status == 409


def test_a_repeated_request_gets_the_first_answer_and_has_one_effect(agoralia: Any, sandbox: Sandbox) -> None:
    full, key = sandbox.agoralia.keys.full, str(uuid4())
    bare, quoted = {"Idempotency-Key": key}, {"Idempotency-Key": f'"{key}"'}

    first = agoralia("POST", "/api/v1/campaigns", key=full, headers=bare, json_body=CAMPAIGN)
    again = agoralia("POST", "/api/v1/campaigns", key=full, headers=quoted, json_body=CAMPAIGN)

    assert (201, first.body) == (again.status, again.body)
    assert first.headers["location"] == again.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert first.headers["x-request-id"] == again.headers["idempotent-original-request"]
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    assert sandbox.effects("agoralia", key) == 1


def test_two_tenants_may_use_the_same_idempotency_key(agoralia: Any, sandbox: Sandbox) -> None:
    keys, key = sandbox.agoralia.keys, str(uuid4())
    body = {"name": "Same", "purpose": "test"}
    answers = [
        agoralia("POST", "/api/v1/campaigns", key=k, headers={"Idempotency-Key": key}, json_body=body)
        for k in (keys.full, keys.other_tenant)
    ]

    assert [a.status for a in answers] == [201, 201]
    assert said(answers[0])["id"] != said(answers[1])["id"]
    assert sandbox.effects("agoralia", key) == 2


def test_twenty_at_once_with_one_key_are_one_campaign(agoralia: Any, sandbox: Sandbox) -> None:
    full, key = sandbox.agoralia.keys.full, str(uuid4())

    def post(_: int) -> Answer:
        answer: Answer = agoralia(
            "POST", "/api/v1/campaigns", key=full, headers={"Idempotency-Key": key}, json_body=CAMPAIGN
        )
        return answer

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, range(20)))

    assert {201} == {a.status for a in answers}
    assert len({a.body for a in answers}) == 1
    assert sum(a.headers.get("idempotent-replayed") == "true" for a in answers) == 19
    assert sandbox.effects("agoralia", key) == 1


def test_a_request_still_in_progress_is_another_409_that_says_when(agoralia: Any, sandbox: Sandbox) -> None:
    """
    The first request waits for a thread to compare its contacts in, and all of them are taken.
    """
    full, key = sandbox.agoralia.keys.full, str(uuid4())
    body = {**CAMPAIGN, "merge_duplicates": True, "contacts": [{"name": "Ada"}]}

    def post() -> Answer:
        answer: Answer = agoralia(
            "POST", "/api/v1/campaigns", key=full, headers={"Idempotency-Key": key}, json_body=body
        )
        return answer

    with ThreadPoolExecutor(2) as pool:
        with sandbox.agoralia.busy():
            both = [pool.submit(post), pool.submit(post)]
            wait(both, return_when=FIRST_COMPLETED)
        answers = [f.result() for f in both]
    refused = next((a for a in answers if a.status == 409), None)

    assert refused is not None, answers
    is_refusal(
        refused, 409, {"detail": "A request with this idempotency key is still in progress"},
        "idempotency_in_progress",
    )  # fmt: skip
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert isinstance(CONTRACT.decode(refused), AgoraliaInProgressError)
    assert isinstance(CONTRACT.decode(refused), AgoraliaConflictError)
    assert sandbox.effects("agoralia", key) == 1


@pytest.mark.parametrize("value", ['"unfinished', "two keys", '"a", "b"', "x" * 256, ""])
def test_an_idempotency_key_that_is_none_is_a_400(agoralia: Any, sandbox: Sandbox, value: str) -> None:
    answer = agoralia(
        "POST", "/api/v1/campaigns", key=sandbox.agoralia.keys.full,
        headers={"Idempotency-Key": value}, json_body=CAMPAIGN,
    )  # fmt: skip

    is_refusal(answer, 400, {"detail": "Invalid Idempotency-Key header"}, "idempotency_key_invalid")


def test_a_spent_limit_is_a_429_with_the_documents_headers(agoralia: Any, sandbox: Sandbox) -> None:
    key = sandbox.agoralia.new_key(limit=Limit(2, 3600.0))
    answers = [agoralia("GET", "/api/v1/agents", key=key) for _ in range(3)]
    now = time.time()
    refused = answers[-1]

    assert [a.status for a in answers] == [200, 200, 429]
    assert [a.headers["x-ratelimit-remaining"] for a in answers] == ["1", "0", "0"]
    is_refusal(refused, 429, {"detail": "Too many requests. Please try again later."}, "rate_limited")
    assert refused.headers["x-ratelimit-limit"] == "2"
    reset, wait = int(refused.headers["x-ratelimit-reset"]), int(refused.headers["retry-after"])
    assert reset > 10**9, "unix seconds, not seconds from now"
    assert now + wait >= reset - 1e-3, "who waits as long as asked is never too early"
    assert 1 <= wait <= 1801
    error = CONTRACT.decode(refused)
    assert isinstance(error, AgoraliaRateLimitError)
    assert wait == error.retry_after


def test_who_waits_as_long_as_asked_is_let_in(agoralia: Any, sandbox: Sandbox) -> None:
    key = sandbox.agoralia.new_key(limit=Limit(1, 1.0))
    agoralia("GET", "/api/v1/agents", key=key)
    refused = agoralia("GET", "/api/v1/agents", key=key)
    time.sleep(int(refused.headers["retry-after"]))

    assert (refused.status, agoralia("GET", "/api/v1/agents", key=key).status) == (429, 200)


def test_a_bug_is_a_500_that_says_nothing_but_its_id(agoralia: Any, sandbox: Sandbox) -> None:
    """
    A budget divided among no contacts divides by zero, and leaves nothing behind.
    """
    body = {**CAMPAIGN, "contacts": [], "budget_cents": 1000}
    key = str(uuid4())
    answer = agoralia(
        "POST", "/api/v1/campaigns", key=sandbox.agoralia.keys.full,
        headers={"X-Request-ID": "my-request-0001", "Idempotency-Key": key}, json_body=body,
    )  # fmt: skip

    is_refusal(answer, 500, {"detail": "Internal server error"}, "internal_error")
    assert answer.headers["x-request-id"] == "my-request-0001"
    assert isinstance(CONTRACT.decode(answer), AgoraliaServerError)
    assert sandbox.effects("agoralia", key) == 0


def test_a_500_frees_its_idempotency_key(agoralia: Any, sandbox: Sandbox) -> None:
    full, headers = sandbox.agoralia.keys.full, {"Idempotency-Key": str(uuid4())}
    broken = {**CAMPAIGN, "contacts": [], "budget_cents": 1000}
    statuses = [
        agoralia("POST", "/api/v1/campaigns", key=full, headers=headers, json_body=body).status
        for body in (broken, broken, CAMPAIGN)
    ]

    assert statuses == [500, 500, 201]


def test_a_locked_database_is_a_503_that_did_nothing(agoralia: Any, sandbox: Sandbox) -> None:
    full, key = sandbox.agoralia.keys.full, str(uuid4())
    headers = {"Idempotency-Key": key}
    with sandbox.agoralia.locked():
        refused = agoralia("POST", "/api/v1/campaigns", key=full, headers=headers, json_body=CAMPAIGN)
        read = agoralia("GET", "/api/v1/agents", key=full)
    created = agoralia("POST", "/api/v1/campaigns", key=full, headers=headers, json_body=CAMPAIGN)

    is_refusal(refused, 503, {"detail": "Service temporarily unavailable"}, "unavailable")
    assert refused.headers["retry-after"] == "1"
    assert isinstance(CONTRACT.decode(refused), AgoraliaUnavailableError)
    assert (read.status, created.status) == (200, 201)
    assert sandbox.effects("agoralia", key) == 1


def test_a_service_that_shuts_down_refuses_with_a_503(agoralia: Any, sandbox: Sandbox) -> None:
    with sandbox.agoralia.draining():
        refused = agoralia("GET", "/api/v1/agents", key=sandbox.agoralia.keys.full)

    assert (refused.status, said(refused)["detail"]) == (503, "Service temporarily unavailable")
    assert refused.headers["retry-after"] == "5"


def test_unknown_paths_methods_and_large_bodies_speak_the_contract(agoralia: Any, sandbox: Sandbox) -> None:
    full = sandbox.agoralia.keys.full

    is_refusal(agoralia("GET", "/nothing", key=full), 404, {"detail": "Not Found"}, "not_found")
    wrong = agoralia("DELETE", "/api/v1/campaigns", key=full)
    is_refusal(wrong, 405, {"detail": "Method Not Allowed"}, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, HEAD, POST"
    large = agoralia("POST", "/api/v1/campaigns", key=full, body=b"x" * (1024 * 1024 + 1))
    assert (large.status, said(large)["detail"]) == (413, "Request body too large")


def test_a_campaign_runs_and_brings_what_its_schema_asks_for(agoralia: Any, sandbox: Sandbox) -> None:
    full = sandbox.agoralia.keys.full
    contacts = [
        {"name": "Ada", "transcript": "The budget is 1,200.50 euro. Call back: +39 055 0100. Urgent: yes."},
        {"name": "Bo", "transcript": ""},
    ]
    schema = {"budget": "number", "call_back": {"type": "phone"}, "urgent": "boolean"}
    created = agoralia(
        "POST", "/api/v1/campaigns", key=full,
        json_body={**CAMPAIGN, "contacts": contacts, "extraction_schema": schema},
    )  # fmt: skip
    campaign_id = said(created)["id"]
    assert (created.status, said(created)["status"]) == (201, "queued")
    has_status(agoralia, full, f"/api/v1/campaigns/{campaign_id}", "completed")
    found = said(agoralia("GET", f"/api/v1/campaigns/{campaign_id}/results", key=full))

    assert (campaign_id, "completed", None) == (found["campaign_id"], found["status"], found["next_cursor"])
    assert [(r["contact"], r["status"], r["extracted"]) for r in found["items"]] == [
        ("Ada", "answered", {"budget": 1200.5, "call_back": "+390550100", "urgent": True}),
        ("Bo", "no_answer", {"budget": None, "call_back": None, "urgent": None}),
    ]


def test_campaigns_come_a_page_at_a_time(agoralia: Any, sandbox: Sandbox) -> None:
    key = sandbox.agoralia.keys.other_tenant
    made = [
        said(agoralia("POST", "/api/v1/campaigns", key=key, json_body={"name": f"P{n}", "purpose": "test"}))[
            "id"
        ]
        for n in range(3)
    ]
    seen: list[int] = []
    cursor: int | None = 0
    while cursor is not None:
        page = said(agoralia("GET", f"/api/v1/campaigns?limit=2&cursor={cursor}", key=key))
        assert len(page["items"]) <= 2
        seen += [campaign["id"] for campaign in page["items"]]
        cursor = page["next_cursor"]

    assert seen == sorted(seen)
    assert set(made) <= set(seen)


@pytest.mark.parametrize(
    ("query", "msg", "kind"),
    [
        ("limit=0", "ensure this value is greater than or equal to 1", "value_error.number.not_ge"),
        ("limit=101", "ensure this value is less than or equal to 100", "value_error.number.not_le"),
        ("limit=x", "value is not a valid integer", "type_error.integer"),
    ],
)
def test_a_page_that_cannot_be_is_a_422(
    agoralia: Any, sandbox: Sandbox, query: str, msg: str, kind: str
) -> None:
    answer = agoralia("GET", f"/api/v1/campaigns?{query}", key=sandbox.agoralia.keys.full)

    finding = {"loc": ["query", "limit"], "msg": msg, "type": kind}
    is_refusal(answer, 422, {"detail": [finding]}, "validation_failed")


def test_an_agent_is_found_by_its_id(agoralia: Any, sandbox: Sandbox) -> None:
    answer = agoralia("GET", "/api/v1/agents/1", key=sandbox.agoralia.keys.full)

    assert said(answer) == {"id": 1, "name": "Quotes", "lang": "en-GB", "voice_engine": "aria"}


def test_a_campaign_without_contacts_or_schema_calls_the_address_book(
    agoralia: Any, sandbox: Sandbox
) -> None:
    full = sandbox.agoralia.keys.full
    body = {"name": "Book", "purpose": "test", "budget_cents": 900}
    campaign_id = said(agoralia("POST", "/api/v1/campaigns", key=full, json_body=body))["id"]
    has_status(agoralia, full, f"/api/v1/campaigns/{campaign_id}", "completed")
    found = said(agoralia("GET", f"/api/v1/campaigns/{campaign_id}/results", key=full))

    assert [r["extracted"]["budget"] for r in found["items"]] == [1200.0, None, None]
    assert [r["extracted"]["email"] for r in found["items"]] == ["ada@example.com", "bo@example.org", None]


def test_a_campaign_that_calls_nobody_is_completed(agoralia: Any, sandbox: Sandbox) -> None:
    full = sandbox.agoralia.keys.full
    body = {**CAMPAIGN, "contacts": []}
    campaign_id = said(agoralia("POST", "/api/v1/campaigns", key=full, json_body=body))["id"]

    assert has_status(agoralia, full, f"/api/v1/campaigns/{campaign_id}", "completed")


def test_doubles_are_called_once(agoralia: Any, sandbox: Sandbox) -> None:
    full = sandbox.agoralia.keys.full
    contacts = [{"name": "Ada Lovelace Byron"}, {"name": "ada lovelace  byron"}, {"name": "Bo"}]
    body = {**CAMPAIGN, "contacts": contacts, "merge_duplicates": True}
    campaign_id = said(agoralia("POST", "/api/v1/campaigns", key=full, json_body=body))["id"]
    has_status(agoralia, full, f"/api/v1/campaigns/{campaign_id}", "completed")
    found = said(agoralia("GET", f"/api/v1/campaigns/{campaign_id}/results", key=full))

    assert [r["contact"] for r in found["items"]] == ["Ada Lovelace Byron", "Bo"]


@pytest.mark.parametrize(
    ("transcript", "kind", "value"),
    [
        ("Age: 42.", "integer", 42),
        ("my age is -1.5 today", "number", -1.5),
        ("AGE = Forty two. And more.", "string", "Forty two"),
        ("Age: no, thanks", "boolean", False),
        ("Age: perhaps", "boolean", None),
        ("Age: write to a.b+c@example.co.uk.", "email", "a.b+c@example.co.uk"),
        ("Age: +44 (20) 7946-0000", "phone", "+442079460000"),
        ("The page: 7", "integer", None),
        pytest.param("Age: " + "9" * 400, "integer", None, id="no number that is finite, integer"),
        pytest.param("Age: " + "9" * 400, "number", None, id="no number that is finite, number"),
        ("", "string", None),
    ],
)
def test_values_are_read_by_their_kind(transcript: str, kind: str, value: Any) -> None:
    assert {"age": value} == extract(transcript, {"age": kind})


def test_a_schema_may_be_a_json_schema() -> None:
    schema = {"type": "object", "properties": {"mail": {"type": "string", "format": "email"}}}

    assert extract("Mail: a@b.io.", schema) == {"mail": "a@b.io"}


@pytest.mark.parametrize(
    "member",
    [
        '"budget_cents": 99999999999999999999999',
        '"extraction_schema": {"a": NaN}',
        '"extraction_schema": {"a": "\\ud800"}',
        '"display_columns": ["\\udfff"]',
        '"agent_ref_id": ' + "1" * 5000,
    ],
    ids=lambda member: member[:28],
)
def test_a_body_that_cannot_be_kept_is_the_callers_mistake_and_no_bug(
    agoralia: Any, sandbox: Sandbox, member: str
) -> None:
    """Neither a 500, nor a campaign whose JSON nobody else can read."""
    body = f'{{"name": "x", "purpose": "p", {member}}}'.encode()

    answer = agoralia("POST", "/api/v1/campaigns", body=body, key=sandbox.agoralia.keys.full)

    assert answer.status in (400, 422), answer.body
