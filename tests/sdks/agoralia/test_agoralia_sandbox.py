"""Both clients against the service of the sandbox: every error from its real cause."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import trio
from sdk_clients import on

import failwell
import failwell_sandbox
from agoralia import (
    Agoralia,
    AgoraliaAPIError,
    AgoraliaAuthenticationError,
    AgoraliaBadRequestError,
    AgoraliaIdempotencyError,
    AgoraliaNotFoundError,
    AgoraliaPermissionError,
    AgoraliaRateLimitError,
    AgoraliaServerError,
    AgoraliaUnavailableError,
    AgoraliaValidationError,
    AsyncAgoralia,
    handle_api_error,
    make_request_with_retry,
)
from failwell import Effect
from failwell.telemetry import Event, Kind


@pytest.fixture(scope="module")
def service() -> Iterator[Any]:
    with failwell_sandbox.running(("agoralia",)) as sandbox:
        yield sandbox.agoralia


@pytest.fixture
def base(service: Any) -> str:
    return f"{service.url}/api/v1"


@pytest.fixture(params=[Agoralia, AsyncAgoralia])
def use(request: pytest.FixtureRequest, service: Any, base: str) -> Callable[..., Any]:
    """Runs one function on the blocking or on the awaiting client, the same way for a test."""

    def use(call: Callable[[Any], Any], key: str | None = None, **settings: Any) -> Any:
        chosen = {"api_key": key or service.keys.full, "base_url": base}
        return on(request.param, call, chosen | settings)

    return use


def create(client: Any, **more: Any) -> Any:
    return client.campaigns.create(**({"name": "Q1", "purpose": "quote_request", "agent_ref_id": 1} | more))


def test_me_names_the_scopes_of_the_key(use: Any, service: Any) -> None:
    me = use(lambda c: c.me(), service.keys.read_only)

    assert "campaigns:read" in me.api_key_scopes
    assert "campaigns:write" not in me.api_key_scopes
    assert me.tenant_id == 1
    assert me.rate_limits["rpm"] > 0


def test_agents_are_those_of_the_workspace(use: Any, service: Any) -> None:
    mine = use(lambda c: c.agents.list())
    theirs = use(lambda c: c.agents.list(), service.keys.other_tenant)

    assert mine.items
    assert not {a.id for a in mine} & {a.id for a in theirs}
    assert use(lambda c: c.agents.get(mine[0].id)) == mine[0]


def test_pages_follow_each_other(use: Any) -> None:
    first = use(lambda c: c.agents.list(limit=1))
    second = use(lambda c: c.agents.list(limit=1, cursor=first.next_cursor))

    assert len(first) == len(second) == 1
    assert first[0].id < second[0].id


def test_a_campaign_produces_results(use: Any) -> None:
    contacts = [
        {"name": "A", "transcript": "Budget: 500."},
        {"name": "B", "transcript": "Budget: 700."},
    ]
    campaign = use(lambda c: create(c, extraction_schema={"budget": "number"}, extra={"contacts": contacts}))
    assert campaign.extraction_schema == {"budget": "number"}
    assert campaign.created_at is not None
    assert campaign.created_at.tzinfo is not None

    deadline = time.monotonic() + 20
    while (results := use(lambda c: c.campaigns.results(campaign.id))).status != "completed":
        assert time.monotonic() < deadline, results
        time.sleep(0.05)

    assert [(r.contact, r.status, r.extracted) for r in results] == [
        ("A", "answered", {"budget": 500}),
        ("B", "answered", {"budget": 700}),
    ]
    assert use(lambda c: c.campaigns.get(campaign.id)).status == "completed"


def test_campaigns_are_listed(use: Any) -> None:
    campaign = use(create)
    seen, cursor = [], None
    while True:
        page = use(lambda c: c.campaigns.list(limit=100, cursor=cursor))  # called at once
        seen += [item.id for item in page]
        if (cursor := page.next_cursor) is None:
            break

    assert campaign.id in seen


@pytest.mark.parametrize(
    ("which", "says"),
    [("unknown", "Invalid API key"), ("revoked", "API key revoked"), ("expired", "API key expired")],
)
def test_a_key_that_is_no_good_is_an_authentication_error(
    use: Any, service: Any, which: str, says: str
) -> None:
    with pytest.raises(AgoraliaAuthenticationError) as caught:
        use(lambda c: c.me(), getattr(service.keys, which))

    assert caught.value.message == "Authentication failed"
    assert caught.value.detail == says
    assert caught.value.request_id
    assert len(caught.value.attempts) == 1


def test_a_malformed_key_is_told_apart_by_the_service(base: str) -> None:
    response = requests.get(f"{base}/agents", headers={"X-API-Key": "invalid-key"}, timeout=10)

    with pytest.raises(AgoraliaAuthenticationError) as caught:
        handle_api_error(response)

    assert caught.value.detail == "Invalid API key format"


def test_a_missing_scope_is_named(use: Any, service: Any) -> None:
    with pytest.raises(AgoraliaPermissionError) as caught:
        use(create, service.keys.read_only)

    assert caught.value.message == "Permission denied"
    assert caught.value.detail == "Insufficient permissions. Required scope: campaigns:write"


def test_what_another_tenant_has_is_not_found(use: Any, service: Any) -> None:
    campaign = use(create)

    for call in (
        lambda c: c.campaigns.get(campaign.id),
        lambda c: c.campaigns.results(campaign.id),
        lambda c: c.campaigns.results(99999),
    ):
        with pytest.raises(AgoraliaNotFoundError) as caught:
            use(call, service.keys.other_tenant)
        assert caught.value.message == "Resource not found"
        assert caught.value.detail == "Campaign not found"


def test_a_key_replays_the_same_request_and_refuses_another(use: Any, service: Any) -> None:
    key = f"replay-{time.monotonic_ns()}"
    first = use(lambda c: create(c, idempotency_key=key))
    again = use(lambda c: create(c, idempotency_key=key))

    with pytest.raises(AgoraliaIdempotencyError) as caught:
        use(lambda c: create(c, name="Q2", idempotency_key=key))

    assert first == again
    assert caught.value.message == "Idempotency conflict"
    assert caught.value.detail == "Idempotency key already used with different request body"
    assert caught.value.idempotency_key == key
    assert service.effects(key) == 1


def test_many_calls_with_one_key_create_one_campaign(service: Any, base: str) -> None:
    key = f"crowd-{time.monotonic_ns()}"
    made: list[int] = []

    def work() -> None:
        with Agoralia(service.keys.full, base_url=base) as client:
            made.append(create(client, idempotency_key=key).id)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(made) == 8
    assert len(set(made)) == 1
    assert service.effects(key) == 1


def test_refused_fields_are_listed(use: Any) -> None:
    body = {"purpose": "quote_request", "agent_ref_id": "x", "extraction_schema": 5}

    with pytest.raises(AgoraliaValidationError) as caught:
        use(lambda c: c.request("POST", "/campaigns", json=body))

    error = caught.value
    assert {f.path: f.code for f in error.fields} == {
        ("body", "name"): "value_error.missing",
        ("body", "agent_ref_id"): "type_error.integer",
        ("body", "extraction_schema"): "type_error.dict",
    }
    assert {"loc": ["body", "name"], "msg": "field required", "type": "value_error.missing"} in error.detail
    assert error.effect is Effect.NOT_APPLIED


@pytest.mark.parametrize(
    ("more", "code"),
    [({"name": ""}, "value_error.str.min_length"), ({"name": "n" * 5000}, "value_error.str.max_length")],
)
def test_a_text_of_the_wrong_length_is_refused_by_the_service(
    use: Any, more: dict[str, Any], code: str
) -> None:
    with pytest.raises(AgoraliaValidationError) as caught:
        use(lambda c: create(c, **more))

    assert caught.value.message == "Validation error"
    assert caught.value.fields[0].path == ("body", "name")
    assert (caught.value.fields[0].code or "").endswith(code.rpartition(".")[2])


def test_a_method_that_is_not_there_is_a_bad_request(use: Any) -> None:
    with pytest.raises(AgoraliaBadRequestError) as caught:
        use(lambda c: c.request("DELETE", "/agents/1"))

    assert caught.value.status_code == 405
    assert caught.value.message == f"API error: {caught.value.detail}"


def test_a_bug_of_the_service_is_a_server_error(use: Any) -> None:
    """A campaign that calls nobody divides its budget by zero."""
    with pytest.raises(AgoraliaServerError) as caught:
        use(lambda c: create(c, extra={"contacts": [], "budget_cents": 100}), max_retries=1)

    assert type(caught.value) is AgoraliaServerError
    assert caught.value.message == "Server error"
    assert caught.value.detail == "Internal server error"
    assert caught.value.request_id


def test_a_service_that_is_ending_is_unavailable(use: Any, service: Any) -> None:
    with service.draining(), pytest.raises(AgoraliaUnavailableError) as caught:
        use(lambda c: c.me(), max_retries=1)

    assert caught.value.status_code == 503
    assert caught.value.retry_after
    assert caught.value.retryable


def test_a_spent_limit_says_when_it_is_renewed_and_is_waited_for(use: Any, service: Any) -> None:
    key = service.new_key(limit=_limit(1, 2.0))
    with pytest.raises(AgoraliaRateLimitError) as caught:  # noqa: PT012  # a slow machine needs more calls
        for _ in range(50):
            use(lambda c: c.agents.list(), key, max_retries=1)

    error = caught.value
    assert error.message == "Rate limit exceeded"
    assert error.detail["detail"] == "Too many requests. Please try again later."
    assert abs(error.detail["retry_after"] - time.time()) < 30
    assert error.rate_limit is not None
    assert (error.rate_limit.limit, error.rate_limit.remaining) == (1, 0)
    assert error.retry_after is not None

    events: list[Event] = []
    use(lambda c: c.agents.list(), key, listeners=[events.append])

    # Whoever waits as long as is asked needs no third try.
    statuses = [event.status for event in events if event.kind is Kind.ATTEMPT_ENDED]
    assert statuses in ([429, 200], [200])


def _limit(requests: int, window: float) -> Any:
    from failwell.service import Limit

    return Limit(requests, window)


class TestTheExamplesOfTheDocument:
    """The document's Python, and its curl lines as `requests` would send them."""

    def test_the_rate_limit_example(self, service: Any, base: str) -> None:
        url, headers = f"{base}/agents", {"X-API-Key": service.new_key(limit=_limit(1, 2.0))}
        requests.get(url, headers=headers, timeout=10)

        for _ in range(5):
            response = requests.get(url, headers=headers, timeout=10)
            if response.status_code != 429:
                break
            reset_time = int(response.headers.get("X-RateLimit-Reset", time.time() + 60))
            wait_time = max(0, reset_time - int(time.time()))
            assert wait_time <= 30
            time.sleep(wait_time)

        assert response.status_code == 200

    def test_the_server_error_example(self, service: Any, base: str) -> None:
        headers = {"X-API-Key": service.keys.full, "Idempotency-Key": f"loop-{time.monotonic_ns()}"}
        data: dict[str, Any] = {"name": "A", "purpose": "quote_request", "contacts": [], "budget_cents": 1}
        waited = []

        def post(max_retries: int) -> requests.Response | None:
            for attempt in range(max_retries):
                try:
                    response = requests.post(f"{base}/campaigns", json=data, headers=headers, timeout=10)
                    if response.status_code < 500:
                        return response
                except requests.exceptions.RequestException:
                    pass
                waited.append(2**attempt)
                data["contacts"] = [{"name": "B"}]
                headers["Idempotency-Key"] += "x"
            return None

        answered = post(3)

        assert answered is not None
        assert answered.status_code == 201
        assert waited == [1]

    def test_the_usage_example(self, service: Any, base: str, capsys: pytest.CaptureFixture[str]) -> None:
        for key in (service.keys.full, "ago_..."):
            try:
                response = make_request_with_retry("GET", f"{base}/agents", headers={"X-API-Key": key})
                data = response.json()
            except AgoraliaAPIError as e:
                print(f"API Error {e.status_code}: {e.detail}")

        assert data["items"]
        assert capsys.readouterr().out == "API Error 401: Invalid API key format\n"

    def test_the_conflict_example(self, service: Any, base: str) -> None:
        headers = {"X-API-Key": service.keys.full, "Idempotency-Key": f"abc123-{time.monotonic_ns()}"}
        url = f"{base}/campaigns"
        make_request_with_retry("POST", url, headers, json={"name": "Campaign A", "purpose": "quote_request"})

        with pytest.raises(AgoraliaIdempotencyError):
            make_request_with_retry(
                "POST", url, headers, json={"name": "Campaign B", "purpose": "cold_calling"}
            )

    def test_the_scope_example(self, service: Any, base: str) -> None:
        key = service.new_key(["agents:read"])

        with pytest.raises(AgoraliaPermissionError):
            make_request_with_retry(
                "POST", f"{base}/campaigns", {"X-API-Key": key}, json={"name": "Campaign"}
            )

    def test_the_validation_example(self, service: Any, base: str) -> None:
        body = {"purpose": "quote_request", "agent_ref_id": 1}

        with pytest.raises(AgoraliaValidationError) as caught:
            make_request_with_retry("POST", f"{base}/campaigns", {"X-API-Key": service.keys.full}, json=body)

        assert caught.value.detail == [
            {"loc": ["body", "name"], "msg": "field required", "type": "value_error.missing"}
        ]

    def test_the_not_found_example(self, service: Any, base: str) -> None:
        with pytest.raises(AgoraliaNotFoundError):
            make_request_with_retry(
                "GET", f"{base}/campaigns/99999/results", {"X-API-Key": service.keys.full}
            )


@pytest.mark.parametrize("engine", ["httpx", "aiohttp", "pyreqwest"])
def test_every_engine_carries_the_same_calls(service: Any, base: str, engine: str) -> None:
    async def run() -> Any:
        async with AsyncAgoralia(service.keys.full, base_url=base, engine=engine) as client:
            campaign = await create(client)
            with pytest.raises(AgoraliaNotFoundError):
                await client.campaigns.get(10**9)
            return campaign, await client.campaigns.get(campaign.id)

    made, read = asyncio.run(run())

    assert made.id == read.id
    assert inspect.iscoroutinefunction(AsyncAgoralia.me)


def test_the_awaiting_client_runs_under_trio(service: Any, base: str) -> None:
    async def run() -> Any:
        async with AsyncAgoralia(service.keys.full, base_url=base) as client:
            return await client.me()

    assert trio.run(run).tenant_id == 1


def test_curl_gets_the_documented_body(service: Any, base: str) -> None:
    try:
        shown = subprocess.run(
            ["curl", "-sS", "-X", "GET", f"{base}/agents", "-H", "X-API-Key: invalid-key"],
            capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("curl is not installed")

    body = json.loads(shown.stdout)
    assert body.pop("request_id").startswith("req_"), "the one thing beside what is documented"
    assert body == {"detail": "Invalid API key format"}


def test_code_that_knows_only_failwell_catches_the_meaning(use: Any) -> None:
    with pytest.raises(failwell.NotFoundError):
        use(lambda c: c.campaigns.get(99999))
