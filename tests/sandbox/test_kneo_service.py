"""Kneo over real HTTP: every error of its document from its cause, and runs that run."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any
from uuid import uuid4

import pytest
from sandbox_caller import Caller, finished, said

from failwell.answer import Answer
from failwell.service import Limit
from failwell_sandbox import Sandbox, running
from failwell_sandbox.kneo.specs import fault_in
from kneo_client import CONTRACT
from kneo_client.core.errors import (
    KneoAuthError,
    KneoConflictError,
    KneoError,
    KneoIdempotencyMismatchError,
    KneoNotFoundError,
    KneoPermissionError,
    KneoRateLimited,
    KneoServerError,
)

RUN = {"spec_id": "spec_text_stats", "environment_id": "env_default", "input": {"text": "to be or not to be"}}
LONG = {"spec_id": "spec_hash_chain", "input": {"text": "x", "rounds": 2_000_000_000}}


def is_refusal(answer: Answer, status: int, raises: type[KneoError], **members: Any) -> None:
    """What every error answer has: a code, a sentence, its request's id, and the class it means."""
    error = said(answer)["error"]
    assert (status, members) == (answer.status, {name: error.get(name) for name in members})
    assert error["message"]
    assert answer.headers["x-request-id"] == error["request_id"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    decoded = CONTRACT.decode(answer)
    assert raises is type(decoded)
    assert (error["code"], error["request_id"]) == (decoded.code, decoded.request_id)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (None, "api_key_missing"),
        ("Basic a2V5OnNlY3JldA==", "api_key_missing"),
        ("Bearer", "api_key_missing"),
        ("Bearer nonsense", "api_key_malformed"),
        ("Bearer kneo_" + "x" * 39, "api_key_malformed"),
        ("Bearer kneo_" + "x" * 40, "api_key_invalid"),
    ],
)
def test_a_key_that_is_missing_malformed_or_unknown_is_a_401(kneo: Any, sent: str | None, code: str) -> None:
    answer = kneo("GET", "/v1/runs", headers={} if sent is None else {"Authorization": sent})

    is_refusal(answer, 401, KneoAuthError, code=code)
    assert answer.headers["www-authenticate"] == 'Bearer realm="kneo"'


def test_a_revoked_and_an_expired_key_are_401s_of_their_own(kneo: Any, sandbox: Sandbox) -> None:
    keys = sandbox.kneo.keys

    is_refusal(kneo("GET", "/v1/runs", key=keys.revoked), 401, KneoAuthError, code="api_key_revoked")
    is_refusal(kneo("GET", "/v1/runs", key=keys.expired), 401, KneoAuthError, code="api_key_expired")


def test_a_key_that_expires_works_until_then(kneo: Any, sandbox: Sandbox) -> None:
    key = sandbox.kneo.new_key(expires_at=time.time() + 1.0)
    before = kneo("GET", "/v1/runs", key=key).status
    time.sleep(1.05)

    assert (before, kneo("GET", "/v1/runs", key=key).status) == (200, 401)


def test_the_scheme_is_read_in_any_case(kneo: Any, sandbox: Sandbox) -> None:
    headers = {"Authorization": f"bearer  {sandbox.kneo.keys.full}"}

    assert kneo("GET", "/v1/runs", headers=headers).status == 200


def test_a_key_without_the_scope_is_a_403_naming_it(kneo: Any, sandbox: Sandbox) -> None:
    answer = kneo("POST", "/v1/runs", key=sandbox.kneo.keys.read_only, json_body=RUN)

    is_refusal(answer, 403, KneoPermissionError, code="insufficient_scope", details={"scope": "runs:write"})


def test_a_suspended_tenant_is_a_403(kneo: Any, sandbox: Sandbox) -> None:
    answer = kneo("GET", "/v1/runs", key=sandbox.kneo.keys.suspended)

    is_refusal(answer, 403, KneoPermissionError, code="tenant_suspended")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/runs/run_42", "run_not_found"),
        ("/v1/specs/spec_42", "spec_not_found"),
        ("/v1/environments/env_42", "environment_not_found"),
        ("/v1/nothing", "not_found"),
    ],
)
def test_what_does_not_exist_is_a_404_naming_what(kneo: Any, sandbox: Sandbox, path: str, code: str) -> None:
    is_refusal(kneo("GET", path, key=sandbox.kneo.keys.full), 404, KneoNotFoundError, code=code)


@pytest.mark.parametrize(
    ("member", "code"), [("spec_id", "spec_not_found"), ("environment_id", "environment_not_found")]
)
def test_a_run_of_what_does_not_exist_is_a_404(kneo: Any, sandbox: Sandbox, member: str, code: str) -> None:
    answer = kneo("POST", "/v1/runs", key=sandbox.kneo.keys.full, json_body={**RUN, member: "stale"})

    is_refusal(answer, 404, KneoNotFoundError, code=code, details={member: "stale"})


def test_tenants_cannot_see_each_other(kneo: Any, sandbox: Sandbox) -> None:
    ours, theirs = sandbox.kneo.keys.full, sandbox.kneo.keys.other_tenant
    run_id = said(kneo("POST", "/v1/runs", key=ours, json_body=RUN))["id"]
    spec = {"name": f"mine-{uuid4()}", "definition": {"steps": ["tokenize"]}}
    spec_id = said(kneo("POST", "/v1/specs", key=ours, json_body=spec))["id"]

    for method, path in (("GET", ""), ("POST", "/cancel")):
        answer = kneo(method, f"/v1/runs/{run_id}{path}", key=theirs)
        is_refusal(answer, 404, KneoNotFoundError, code="run_not_found")
    assert kneo("GET", f"/v1/specs/{spec_id}", key=theirs).status == 404
    assert run_id not in kneo("GET", "/v1/runs?limit=100", key=theirs).body.decode()
    assert kneo("POST", "/v1/specs", key=theirs, json_body=spec).status == 201, "names are theirs, too"


def test_a_run_really_counts_words(kneo: Any, sandbox: Sandbox) -> None:
    full = sandbox.kneo.keys.full
    created = kneo("POST", "/v1/runs", key=full, json_body={**RUN, "metadata": {"team": "a"}})
    run = finished(kneo, full, said(created)["id"])

    assert (created.status, said(created)["status"], said(created)["version"]) == (201, "queued", 1)
    assert f"/v1/runs/{run['id']}" == created.headers["location"]
    assert (run["status"], run["version"], run["metadata"]) == ("succeeded", 3, {"team": "a"})
    assert run["output"] == {"characters": 18, "words": 6, "lines": 1, "longest": "not"}
    assert run["created_at"] <= run["started_at"] <= run["finished_at"]


def test_a_run_whose_step_cannot_go_on_fails_and_says_why(kneo: Any, sandbox: Sandbox) -> None:
    full = sandbox.kneo.keys.full
    body = {"spec_id": "spec_json_shape", "input": {"text": "{nope"}}
    run = finished(kneo, full, said(kneo("POST", "/v1/runs", key=full, json_body=body))["id"])

    assert (run["status"], run["output"]) == ("failed", None)
    assert (run["error"]["code"], run["error"]["step"]) == ("step_failed", "parse")
    assert "not JSON" in run["error"]["message"]


@pytest.mark.parametrize(
    ("spec_id", "given", "status", "output"),
    [
        ("spec_chunks", {"text": "abcde", "chunk_size": 2}, "succeeded", ["ab", "cd", "e"]),
        ("spec_json_shape", {"text": '{"a": 1, "b": []}'}, "succeeded", {"a": "int", "b": "list"}),
        ("spec_json_shape", {"text": "[1]"}, "failed", None),
        ("spec_text_stats", {"text": 7}, "failed", None),
        ("spec_json_shape", {"text": "[" * 20_000}, "failed", None),
        ("spec_json_shape", {"text": '{"a": NaN}'}, "failed", None),
        ("spec_json_shape", {"text": '{"\\ud800": 1}'}, "failed", None),
        ("spec_hash_chain", {"text": "x", "rounds": "many"}, "failed", None),
        ("spec_hash_chain", {"text": "", "rounds": 0}, "succeeded", ""),
    ],
)
def test_each_spec_does_what_it_says(
    kneo: Any, sandbox: Sandbox, spec_id: str, given: dict[str, Any], status: str, output: Any
) -> None:
    full = sandbox.kneo.keys.full
    body = {"spec_id": spec_id, "input": given}
    run = finished(kneo, full, said(kneo("POST", "/v1/runs", key=full, json_body=body))["id"])

    assert (run["status"], run["output"]) == (status, output)


def test_an_etag_that_is_none_of_ours_never_matches(kneo: Any, sandbox: Sandbox) -> None:
    full = sandbox.kneo.keys.full
    run_id = said(kneo("POST", "/v1/runs", key=full, json_body=LONG))["id"]
    path = f"/v1/runs/{run_id}/cancel"

    assert kneo("POST", path, key=full, headers={"If-Match": 'W/"x"'}).status == 409
    assert kneo("POST", path, key=full, headers={"If-Match": "*"}).status == 200


def test_what_was_made_is_found_again(kneo: Any, sandbox: Sandbox) -> None:
    full, name = sandbox.kneo.keys.full, f"env-{uuid4()}"
    body = {"name": name, "variables": {"A": "b"}}
    made = said(kneo("POST", "/v1/environments", key=full, json_body=body))
    listed = said(kneo("GET", "/v1/environments?limit=100", key=full))["items"]

    assert said(kneo("GET", f"/v1/environments/{made['id']}", key=full)) == made
    assert made in listed
    assert "env_default" in {environment["id"] for environment in listed}


def test_changing_what_is_not_there_is_a_404(kneo: Any, sandbox: Sandbox) -> None:
    body = {"name": "x", "definition": {"steps": ["hash"]}}

    answer = kneo("PUT", "/v1/specs/spec_42", key=sandbox.kneo.keys.full, json_body=body)

    is_refusal(answer, 404, KneoNotFoundError, code="spec_not_found")


def test_a_long_run_is_cancelled_midway(kneo: Any, sandbox: Sandbox) -> None:
    full = sandbox.kneo.keys.full
    run_id = said(kneo("POST", "/v1/runs", key=full, json_body=LONG))["id"]
    cancelled = kneo("POST", f"/v1/runs/{run_id}/cancel", key=full)
    after = said(kneo("POST", "/v1/runs", key=full, json_body=RUN))["id"]

    assert (cancelled.status, said(cancelled)["status"]) == (200, "cancelled")
    assert finished(kneo, full, after)["status"] == "succeeded", "the worker is free again"
    assert said(kneo("GET", f"/v1/runs/{run_id}", key=full))["status"] == "cancelled"


def test_a_long_run_does_not_keep_the_others_waiting(kneo: Any, sandbox: Sandbox) -> None:
    full = sandbox.kneo.keys.full
    long_id = said(kneo("POST", "/v1/runs", key=full, json_body=LONG))["id"]
    short_id = said(kneo("POST", "/v1/runs", key=full, json_body=RUN))["id"]
    short = finished(kneo, full, short_id)
    long = said(kneo("POST", f"/v1/runs/{long_id}/cancel", key=full))

    assert (short["status"], long["status"]) == ("succeeded", "cancelled")


def test_a_run_that_ended_cannot_be_cancelled(kneo: Any, sandbox: Sandbox) -> None:
    full = sandbox.kneo.keys.full
    run_id = said(kneo("POST", "/v1/runs", key=full, json_body=RUN))["id"]
    finished(kneo, full, run_id)

    answer = kneo("POST", f"/v1/runs/{run_id}/cancel", key=full)

    is_refusal(
        answer, 409, KneoConflictError, code="run_not_cancellable",
        details={"run_id": run_id, "status": "succeeded"},
    )  # fmt: skip


def test_that_a_run_had_ended_is_the_recorded_outcome_of_the_request(kneo: Any, sandbox: Sandbox) -> None:
    full, headers = sandbox.kneo.keys.full, {"Idempotency-Key": str(uuid4())}
    run_id = said(kneo("POST", "/v1/runs", key=full, json_body=RUN))["id"]
    finished(kneo, full, run_id)
    first, again = (kneo("POST", f"/v1/runs/{run_id}/cancel", key=full, headers=headers) for _ in range(2))

    assert (409, 409, first.body) == (first.status, again.status, again.body)
    assert again.headers["idempotent-replayed"] == "true"


def test_a_retired_environment_takes_no_runs(kneo: Any, sandbox: Sandbox) -> None:
    body = {**RUN, "environment_id": "env_retired"}

    answer = kneo("POST", "/v1/runs", key=sandbox.kneo.keys.full, json_body=body)

    is_refusal(answer, 409, KneoConflictError, code="environment_retired")


def test_a_failed_optimistic_lock_is_a_409(kneo: Any, sandbox: Sandbox) -> None:
    full, name = sandbox.kneo.keys.full, f"spec-{uuid4()}"
    body = {"name": name, "definition": {"steps": ["tokenize"]}}
    spec = said(kneo("POST", "/v1/specs", key=full, json_body=body))
    path = f"/v1/specs/{spec['id']}"
    changed = kneo("PUT", path, key=full, json_body={**body, "version": 1})

    assert (changed.status, said(changed)["version"], changed.headers["etag"]) == (200, 2, '"2"')
    stale = kneo("PUT", path, key=full, json_body={**body, "version": 1})
    is_refusal(
        stale, 409, KneoConflictError, code="version_mismatch",
        details={"expected": 1, "version": 2, "spec_id": spec["id"]},
    )  # fmt: skip
    by_header = kneo("PUT", path, key=full, json_body=body, headers={"If-Match": '"1"'})
    is_refusal(by_header, 409, KneoConflictError, code="version_mismatch")
    assert kneo("PUT", path, key=full, json_body=body, headers={"If-Match": '"2"'}).status == 200


def test_a_cancel_may_ask_for_a_version(kneo: Any, sandbox: Sandbox) -> None:
    full = sandbox.kneo.keys.full
    run_id = said(kneo("POST", "/v1/runs", key=full, json_body=LONG))["id"]
    path = f"/v1/runs/{run_id}/cancel"

    stale = kneo("POST", path, key=full, json_body={"version": 77})

    is_refusal(stale, 409, KneoConflictError, code="version_mismatch")
    assert kneo("POST", path, key=full).status == 200


def test_a_name_is_taken_once(kneo: Any, sandbox: Sandbox) -> None:
    full, name = sandbox.kneo.keys.full, f"twice-{uuid4()}"
    for path, body in (
        ("/v1/specs", {"name": name, "definition": {"steps": ["hash"]}}),
        ("/v1/environments", {"name": name, "variables": {"A": "b"}}),
    ):
        assert kneo("POST", path, key=full, json_body=body).status == 201
        answer = kneo("POST", path, key=full, json_body=body)
        is_refusal(answer, 409, KneoConflictError, code="name_taken", details={"name": name})
    assert sandbox.effects("kneo", name=name) == 2


def test_the_platforms_specs_are_changed_by_no_tenant(kneo: Any, sandbox: Sandbox) -> None:
    body = {"name": "mine", "definition": {"steps": ["hash"]}}

    answer = kneo("PUT", "/v1/specs/spec_text_stats", key=sandbox.kneo.keys.full, json_body=body)

    is_refusal(answer, 403, KneoPermissionError, code="read_only")


def test_a_spec_of_ones_own_is_run(kneo: Any, sandbox: Sandbox) -> None:
    full = sandbox.kneo.keys.full
    spec = {"name": f"count-{uuid4()}", "definition": {"steps": ["tokenize", "count"]}}
    spec_id = said(kneo("POST", "/v1/specs", key=full, json_body=spec))["id"]
    body = {"spec_id": spec_id, "input": {"text": "a b a"}}
    run = finished(kneo, full, said(kneo("POST", "/v1/runs", key=full, json_body=body))["id"])

    assert run["output"] == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("definition", "where"),
    [
        ({}, ("steps",)),
        ({"steps": []}, ("steps",)),
        ({"steps": ["nope"]}, ("steps", 0)),
        ({"steps": ["tokenize", []]}, ("steps", 1)),
        ({"steps": ["count", "tokenize"]}, ("steps", 0)),
        ({"steps": ["tokenize"], "admission": ["nope"]}, ("admission",)),
        ({"steps": ["tokenize"], "admission": "seal"}, ("admission",)),
    ],
)
def test_a_definition_that_cannot_be_run_is_refused_where_it_is_wrong(
    definition: dict[str, Any], where: tuple[str | int, ...]
) -> None:
    fault = fault_in(definition)

    assert fault is not None
    assert where == fault[0]


def test_a_refused_definition_is_a_422(kneo: Any, sandbox: Sandbox) -> None:
    body = {"name": "broken", "definition": {"steps": ["tokenize", "nope"]}}

    answer = kneo("POST", "/v1/specs", key=sandbox.kneo.keys.full, json_body=body)

    is_refusal(answer, 422, KneoError, code="validation_failed")
    assert said(answer)["error"]["fields"][0]["path"] == ["body", "definition", "steps", 1]


def test_a_422_names_the_fields_and_repeats_nothing(kneo: Any, sandbox: Sandbox) -> None:
    answer = kneo("POST", "/v1/runs", key=sandbox.kneo.keys.full, json_body={"input": "hunter2"})

    is_refusal(answer, 422, KneoError, code="validation_failed")
    fields = said(answer)["error"]["fields"]
    assert [f["path"] for f in fields] == [["body", "spec_id"], ["body", "input"]]
    assert b"hunter2" not in answer.body


def test_malformed_json_is_a_400(kneo: Any, sandbox: Sandbox) -> None:
    answer = kneo("POST", "/v1/runs", key=sandbox.kneo.keys.full, body=b'{"spec_id"')

    is_refusal(answer, 400, KneoError, code="malformed_json")


def test_a_wrong_method_is_a_405_that_says_which_are_right(kneo: Any, sandbox: Sandbox) -> None:
    answer = kneo("DELETE", "/v1/runs", key=sandbox.kneo.keys.full)

    is_refusal(answer, 405, KneoError, code="method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"


def test_a_body_over_the_limit_is_a_413(kneo: Any, sandbox: Sandbox) -> None:
    answer = kneo("POST", "/v1/runs", key=sandbox.kneo.keys.full, body=b"x" * (1024 * 1024 + 1))

    is_refusal(answer, 413, KneoError, code="payload_too_large")


def test_a_body_far_over_the_limit_still_gets_its_answer(kneo: Any, sandbox: Sandbox) -> None:
    """
    Sixteen megabytes are sent before the client looks; the connection is not reset under it.
    """
    answer = kneo("POST", "/v1/runs", key=sandbox.kneo.keys.full, body=b"x" * 16 * 1024 * 1024)

    is_refusal(answer, 413, KneoError, code="payload_too_large")
    assert answer.headers["connection"] == "close"


def test_a_key_used_again_with_another_payload_is_the_mismatch(kneo: Any, sandbox: Sandbox) -> None:
    full, key = sandbox.kneo.keys.full, str(uuid4())
    headers = {"Idempotency-Key": key}
    kneo("POST", "/v1/runs", key=full, headers=headers, json_body=RUN)

    answer = kneo("POST", "/v1/runs", key=full, headers=headers, json_body={**RUN, "input": {"text": "b"}})

    is_refusal(answer, 409, KneoIdempotencyMismatchError, code="idempotency_mismatch")
    assert "retry-after" not in answer.headers
    assert sandbox.effects("kneo", key) == 1


def test_a_repeated_request_gets_the_first_answer_and_has_one_effect(kneo: Any, sandbox: Sandbox) -> None:
    full, key = sandbox.kneo.keys.full, str(uuid4())
    headers = {"Idempotency-Key": key}
    first, again = (kneo("POST", "/v1/runs", key=full, headers=headers, json_body=RUN) for _ in range(2))

    assert (201, first.body) == (again.status, again.body)
    assert first.headers["etag"] == again.headers["etag"]
    assert again.headers["idempotent-replayed"] == "true"
    assert sandbox.effects("kneo", key) == 1


def test_without_a_key_every_request_is_another_run(kneo: Any, sandbox: Sandbox) -> None:
    full, name = sandbox.kneo.keys.full, str(uuid4())
    body = {**RUN, "metadata": {"name": name}}
    for _ in range(2):
        kneo("POST", "/v1/runs", key=full, json_body=body)

    assert sandbox.effects("kneo", name=name) == 2


def test_a_request_in_flight_is_a_409_that_says_when(kneo: Any, sandbox: Sandbox) -> None:
    """
    The first request waits for a thread to seal its input in, and all of them are taken.
    """
    full, key = sandbox.kneo.keys.full, str(uuid4())
    body = {"spec_id": "spec_sealed", "input": {"text": "x", "rounds": 1}}

    def post() -> Answer:
        answer: Answer = kneo("POST", "/v1/runs", key=full, headers={"Idempotency-Key": key}, json_body=body)
        return answer

    with ThreadPoolExecutor(2) as pool:
        with sandbox.kneo.busy():
            both = [pool.submit(post), pool.submit(post)]
            wait(both, return_when=FIRST_COMPLETED)
        answers = [f.result() for f in both]
    refused = next((a for a in answers if a.status == 409), None)

    assert refused is not None, answers
    is_refusal(refused, 409, KneoConflictError, code="idempotency_in_flight")
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert [201, 409] == sorted(a.status for a in answers)
    assert sandbox.effects("kneo", key) == 1


@pytest.mark.parametrize(
    ("spec_id", "given"),
    [
        ("spec_sealed", {"rounds": 0}),
        ("spec_chunks", {"chunk_size": "many"}),
        ("spec_chunks", {"chunk_size": None}),
        ("spec_chunks", {"chunk_size": True}),
        ("spec_chunks", {"chunk_size": -1}),
    ],
)
def test_an_input_that_its_check_refuses_is_a_422(
    kneo: Any, sandbox: Sandbox, spec_id: str, given: dict[str, Any]
) -> None:
    body = {"spec_id": spec_id, "input": given}

    answer = kneo("POST", "/v1/runs", key=sandbox.kneo.keys.full, json_body=body)

    is_refusal(answer, 422, KneoError, code="validation_failed")


def test_a_spent_limit_is_a_429_with_retry_after(kneo: Any, sandbox: Sandbox) -> None:
    key = sandbox.kneo.new_key(limit=Limit(2, 3600.0))
    answers = [kneo("GET", "/v1/specs", key=key) for _ in range(3)]

    assert [a.status for a in answers] == [200, 200, 429]
    is_refusal(answers[-1], 429, KneoRateLimited, code="rate_limited")
    wait = int(answers[-1].headers["retry-after"])
    error = CONTRACT.decode(answers[-1])
    assert isinstance(error, KneoRateLimited)
    assert wait == error.retry_after


def test_the_limited_demo_key_is_soon_spent(kneo: Any, sandbox: Sandbox) -> None:
    statuses = [kneo("GET", "/v1/specs", key=sandbox.kneo.keys.limited).status for _ in range(5)]

    assert 429 in statuses


def test_a_bug_is_a_500_that_says_nothing_but_its_id(kneo: Any, sandbox: Sandbox) -> None:
    """
    A chunk size of 0 divides by zero before the run is queued.
    """
    key = str(uuid4())
    body = {"spec_id": "spec_chunks", "input": {"text": "abc", "chunk_size": 0}}
    answer = kneo(
        "POST", "/v1/runs", key=sandbox.kneo.keys.full, json_body=body,
        headers={"Idempotency-Key": key, "X-Request-ID": "trace-me-4711"},
    )  # fmt: skip

    is_refusal(
        answer, 500, KneoServerError, code="internal_error", message="Internal server error.",
        request_id="trace-me-4711",
    )  # fmt: skip
    assert b"division" not in answer.body
    assert sandbox.effects("kneo", key) == 0


@pytest.mark.parametrize("sent", ["short", "has blanks in it", "x" * 129, "semi;colon;here"])
def test_a_request_id_that_could_do_harm_is_replaced(kneo: Any, sandbox: Sandbox, sent: str) -> None:
    answer = kneo("GET", "/livez", headers={"X-Request-ID": sent})

    assert answer.headers["x-request-id"].startswith("req_")


def test_a_locked_database_is_a_503_that_did_nothing(kneo: Any, sandbox: Sandbox) -> None:
    full, key = sandbox.kneo.keys.full, str(uuid4())
    with sandbox.kneo.locked():
        with_key = kneo("POST", "/v1/runs", key=full, headers={"Idempotency-Key": key}, json_body=RUN)
        without = kneo("POST", "/v1/runs", key=full, json_body={**RUN, "metadata": {"name": key}})
        read = kneo("GET", "/v1/runs", key=full)

    for refused in (with_key, without):
        is_refusal(refused, 503, KneoServerError, code="unavailable")
        assert refused.headers["retry-after"] == "1"
    assert read.status == 200
    assert (sandbox.effects("kneo", key), sandbox.effects("kneo", name=key)) == (0, 0)


def test_a_service_that_shuts_down_is_alive_and_not_ready(kneo: Any, sandbox: Sandbox) -> None:
    with sandbox.kneo.draining():
        live, ready = kneo("GET", "/livez"), kneo("GET", "/readyz")
        refused = kneo("POST", "/v1/runs", key=sandbox.kneo.keys.full, json_body=RUN)
    after = kneo("GET", "/readyz")

    assert (live.status, after.status) == (200, 200)
    assert said(after) == {"status": "ok", "checks": {"database": "ok"}}
    for answer in (ready, refused):
        is_refusal(answer, 503, KneoServerError, code="draining")
        assert answer.headers["retry-after"] == "5"


def test_runs_come_newest_first_a_page_at_a_time(kneo: Any, sandbox: Sandbox) -> None:
    key = sandbox.kneo.keys.other_tenant
    made = [said(kneo("POST", "/v1/runs", key=key, json_body=RUN))["id"] for _ in range(3)]
    seen: list[str] = []
    path = "/v1/runs?limit=2&spec_id=spec_text_stats"
    cursor: str | None = ""
    while cursor is not None:
        page = said(kneo("GET", path + (f"&cursor={cursor}" if cursor else ""), key=key))
        seen += [run["id"] for run in page["items"]]
        cursor = page["next_cursor"]

    assert made[::-1] == [run_id for run_id in seen if run_id in made]


def test_runs_are_filtered_by_status(kneo: Any, sandbox: Sandbox) -> None:
    page = said(kneo("GET", "/v1/runs?status=failed&limit=100", key=sandbox.kneo.keys.full))

    assert {"failed"} >= {run["status"] for run in page["items"]}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=-1", "limit=%C2%B2"])
def test_a_page_that_cannot_be_is_a_422(kneo: Any, sandbox: Sandbox, query: str) -> None:
    answer = kneo("GET", f"/v1/runs?{query}", key=sandbox.kneo.keys.full)

    is_refusal(answer, 422, KneoError, code="validation_failed")


def test_head_is_get_without_a_body(kneo: Any, sandbox: Sandbox) -> None:
    answer = kneo("HEAD", "/v1/specs", key=sandbox.kneo.keys.full)

    assert (answer.status, answer.body) == (200, b"")


def test_runs_survive_a_restart(tmp_path: Any) -> None:
    """
    A run that was under way when the service ended is run again, with the same demo keys.
    """
    with running(("kneo",), state=tmp_path) as first:
        ask = Caller(first.kneo.url, "Authorization", "Bearer ")
        key = first.kneo.keys.full
        body = {"spec_id": "spec_hash_chain", "input": {"text": "x", "rounds": 300_000}}
        run_id = said(ask("POST", "/v1/runs", key=key, json_body=body))["id"]
    with running(("kneo",), state=tmp_path) as second:
        ask = Caller(second.kneo.url, "Authorization", "Bearer ")
        run = finished(ask, second.kneo.keys.full, run_id)

    assert key == second.kneo.keys.full
    assert run["status"] == "succeeded"
    assert (tmp_path / "kneo-demo-keys.json").stat().st_mode & 0o777 == 0o600
