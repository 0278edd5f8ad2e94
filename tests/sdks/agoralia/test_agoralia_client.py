"""Both clients over a real socket, against answers a test wrote down."""

from __future__ import annotations

import inspect
import json
import logging
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sdk_clients import on
from sdk_service import SkippingClock

import agoralia.client as module
import failwell
from agoralia import (
    Agent,
    Agoralia,
    AgoraliaBadAnswerError,
    AgoraliaConnectError,
    AgoraliaConnectionLostError,
    AgoraliaDeadlineError,
    AgoraliaIdempotencyError,
    AgoraliaInProgressError,
    AgoraliaRateLimitError,
    AgoraliaServerError,
    AgoraliaTimeoutError,
    AgoraliaValidationError,
    AsyncAgoralia,
    Campaign,
    CampaignResult,
    CampaignResults,
    Me,
    Page,
)
from failwell import Effect

CAMPAIGN = {"id": 5, "name": "Q1", "status": "draft", "purpose": "quote_request", "agent_ref_id": 1}

IN_PROGRESS = (409, {"detail": "A request with this idempotency key is still in progress"})


class Both:
    """Runs one call on the blocking or on the awaiting client, the same way for a test."""

    def __init__(self, twin: Any, base_url: str, key: str) -> None:
        self.twin = twin
        self.clock = SkippingClock()
        self.settings: dict[str, Any] = {"api_key": key, "base_url": base_url, "clock": self.clock}

    def __call__(self, call: Callable[[Any], Any], **settings: Any) -> Any:
        return on(self.twin, call, self.settings | settings)


@pytest.fixture(params=[Agoralia, AsyncAgoralia])
def both(request: pytest.FixtureRequest, script: Any, key: str) -> Both:
    return Both(request.param, script.base_url, key)


def create(client: Any, **more: Any) -> Any:
    return client.campaigns.create(name="Q1", purpose="quote_request", agent_ref_id=1, **more)


def test_me_says_whose_key_it_is(both: Both, script: Any, key: str) -> None:
    script.will_answer(
        200,
        {
            "tenant_id": 1234,
            "workspace_name": "W",
            "plan": "pro",
            "rate_limits": {"rpm": 120, "rpd": 20000},
            "api_key_scopes": ["me:read", "agents:read"],
        },
    )

    me = both(lambda client: client.me())

    assert me == Me(1234, ("me:read", "agents:read"), "W", "pro", {"rpm": 120, "rpd": 20000})
    assert (script.asked[0].method, script.asked[0].path) == ("GET", "/api/v1/me")
    assert script.asked[0].headers["x-api-key"] == key


def test_agents_are_listed_page_by_page(both: Both, script: Any) -> None:
    sales = {"id": 1, "name": "Sales Agent", "lang": "it-IT", "voice_engine": "vapi", "colour": "red"}
    script.will_answer(200, {"items": [sales], "next_cursor": 10})

    page = both(lambda client: client.agents.list(limit=1, cursor=3))

    assert page == Page((Agent(1, "Sales Agent", "it-IT", "vapi"),), 10)
    assert list(page) == [page[0]]
    assert len(page) == 1
    assert page[0].raw["colour"] == "red"
    assert script.asked[0].path == "/api/v1/agents?limit=1&cursor=3"


def test_one_agent_is_read_by_its_id(both: Both, script: Any) -> None:
    script.will_answer(200, {"id": 7, "name": "A"})

    assert both(lambda client: client.agents.get(7)) == Agent(7, "A")
    assert script.asked[0].path == "/api/v1/agents/7"


def test_campaigns_are_listed_even_as_a_bare_list(both: Both, script: Any) -> None:
    script.will_answer(200, [CAMPAIGN])

    page = both(lambda client: client.campaigns.list())

    assert page == Page((Campaign(5, "Q1", "draft", "quote_request", 1),))
    assert page.next_cursor is None
    assert script.asked[0].path == "/api/v1/campaigns"


def test_one_campaign_is_read_by_its_id(both: Both, script: Any) -> None:
    script.will_answer(
        200, CAMPAIGN | {"created_at": "2026-01-02T03:04:05+00:00", "extraction_schema": {"a": {}}}
    )

    campaign = both(lambda client: client.campaigns.get(5))

    assert campaign.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert campaign.extraction_schema == {"a": {}}
    assert script.asked[0].path == "/api/v1/campaigns/5"


def test_the_results_of_a_campaign_are_typed(both: Both, script: Any) -> None:
    script.will_answer(
        200,
        {
            "campaign_id": 5,
            "status": "completed",
            "next_cursor": None,
            "items": [{"id": 1, "contact": "+390612345", "status": "answered", "extracted": {"budget": 9}}],
        },
    )

    results = both(lambda client: client.campaigns.results(5, limit=10))

    assert results == CampaignResults(
        5, "completed", (CampaignResult(1, "+390612345", "answered", {"budget": 9}),)
    )
    assert [r.extracted["budget"] for r in results] == [9]
    assert len(results) == 1
    assert script.asked[0].path == "/api/v1/campaigns/5/results?limit=10"


def test_a_campaign_is_created_with_a_key_of_its_own(both: Both, script: Any) -> None:
    script.will_answer(201, CAMPAIGN)

    campaign = both(
        lambda client: create(client, extraction_schema={"a": {}}, display_columns=["a"], extra={"note": "x"})
    )

    assert campaign == Campaign(5, "Q1", "draft", "quote_request", 1)
    assert script.asked[0].json == {
        "name": "Q1",
        "purpose": "quote_request",
        "agent_ref_id": 1,
        "extraction_schema": {"a": {}},
        "display_columns": ["a"],
        "note": "x",
    }
    assert len(script.asked[0].headers["idempotency-key"]) >= 32


def test_the_service_chooses_the_agent_if_none_is_named(both: Both, script: Any) -> None:
    script.will_answer(201, CAMPAIGN)

    both(lambda client: client.campaigns.create(name="Q1", purpose="quote_request"))

    assert script.asked[0].json == {"name": "Q1", "purpose": "quote_request"}


def test_a_write_that_failed_is_sent_again_with_the_same_key(both: Both, script: Any) -> None:
    script.will_answer(500, {"detail": "Internal server error"})
    script.will_hang_up()
    script.will_answer(201, CAMPAIGN)

    campaign = both(create)

    assert campaign.id == 5
    assert len({asked.headers["idempotency-key"] for asked in script.asked}) == 1
    first, second = both.clock.waits
    assert 1.0 <= first <= 1.1
    assert 2.0 <= second <= 2.2


def test_your_own_key_is_the_one_that_is_sent(both: Both, script: Any) -> None:
    script.will_answer(409, {"detail": "Idempotency key already used with different request body"})

    with pytest.raises(AgoraliaIdempotencyError) as caught:
        both(lambda client: create(client, idempotency_key="abc123"))

    assert script.asked[0].headers["idempotency-key"] == caught.value.idempotency_key == "abc123"
    assert caught.value.effect is Effect.NOT_APPLIED


def test_a_request_that_is_still_running_is_waited_for(both: Both, script: Any) -> None:
    script.will_answer(*IN_PROGRESS, {"X-Error-Code": "idempotency_in_progress", "Retry-After": "3"})
    script.will_answer(201, CAMPAIGN)

    assert both(create).id == 5
    assert 3.0 <= both.clock.waits[0] <= 3.5


def test_a_request_that_goes_on_running_is_an_error_of_its_own(both: Both, script: Any) -> None:
    for _ in range(3):
        script.will_answer(*IN_PROGRESS, {"X-Error-Code": "idempotency_in_progress", "Retry-After": "1"})

    with pytest.raises(AgoraliaInProgressError) as caught:
        both(create)

    assert len(caught.value.attempts) == len(script.asked) == 3
    assert caught.value.effect is Effect.UNKNOWN


def test_a_rate_limit_is_waited_out(both: Both, script: Any) -> None:
    reset = str(int(time.time()) + 40)
    script.will_answer(
        429,
        {"detail": "Too many requests. Please try again later."},
        {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset},
    )
    script.will_answer(200, {"items": []})

    both(lambda client: client.agents.list())

    assert both.clock.waits == [pytest.approx(40, abs=5)]


def test_a_window_that_ends_tomorrow_is_told_at_once(both: Both, script: Any) -> None:
    script.will_answer(
        429, {"detail": "Too many"}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "86400"}
    )

    with pytest.raises(AgoraliaRateLimitError) as caught:
        both(lambda client: client.agents.list())

    assert caught.value.retry_after == pytest.approx(86400)
    assert caught.value.detail == {"detail": "Too many", "retry_after": 86400}
    assert len(script.asked) == 1
    assert both.clock.waits == []


def test_the_last_server_error_has_every_try_on_it(both: Both, script: Any) -> None:
    for _ in range(3):
        script.will_answer(500, {"detail": "Internal server error"}, {"X-Request-Id": "req-3"})

    with pytest.raises(AgoraliaServerError) as caught:
        both(lambda client: client.me())

    assert len(caught.value.attempts) == len(script.asked) == 3
    assert caught.value.detail == "Internal server error"
    assert caught.value.request_id == "req-3"


def test_max_retries_counts_every_try(both: Both, script: Any) -> None:
    script.will_answer(500, {"detail": "Internal server error"})

    with pytest.raises(AgoraliaServerError):
        both(lambda client: client.me(), max_retries=1)

    assert len(script.asked) == 1


def test_a_validation_error_is_not_sent_again(both: Both, script: Any) -> None:
    detail = [{"loc": ["body", "name"], "msg": "field required", "type": "value_error.missing"}]
    script.will_answer(422, {"detail": detail})

    with pytest.raises(AgoraliaValidationError) as caught:
        both(lambda client: client.request("POST", "/campaigns", json={"purpose": "quote_request"}))

    assert caught.value.fields[0].path == ("body", "name")
    assert len(script.asked) == 1


def test_an_endpoint_without_a_method_can_be_called(both: Both, script: Any) -> None:
    script.will_answer(200, {"ok": True})

    response = both(
        lambda client: client.request(
            "PUT", "/x", params={"a": 1}, json={"b": 2}, headers={"x-y": "z"}, idempotency_key="k"
        )
    )

    assert response.json() == {"ok": True}
    assert script.asked[0].path == "/api/v1/x?a=1"
    assert (script.asked[0].headers["x-y"], script.asked[0].headers["idempotency-key"]) == ("z", "k")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        json.dumps(CAMPAIGN | {"id": "5"}).encode(),
        json.dumps(CAMPAIGN | {"id": True}).encode(),
        json.dumps(CAMPAIGN | {"created_at": "yesterday"}).encode(),
    ],
)
def test_a_success_that_cannot_be_read_says_that_it_happened(both: Both, script: Any, body: bytes) -> None:
    script.will_answer(201, body, {"Content-Type": "application/json"})

    with pytest.raises(AgoraliaBadAnswerError) as caught:
        both(create)

    assert caught.value.effect is Effect.APPLIED
    assert len(script.asked) == 1


def test_nobody_listening_is_a_connect_error(both: Both) -> None:
    with pytest.raises(AgoraliaConnectError) as caught:
        both(create, base_url="http://127.0.0.1:9/api/v1")  # the discard port

    assert caught.value.status_code is None
    assert caught.value.effect is Effect.NOT_SENT
    assert len(caught.value.attempts) == 3
    assert caught.value.__cause__ is not None


def test_a_connection_that_is_lost_each_time_is_an_error_that_does_not_know(both: Both, script: Any) -> None:
    for _ in range(3):
        script.will_hang_up()

    with pytest.raises(AgoraliaConnectionLostError) as caught:
        both(create)

    assert caught.value.effect is Effect.UNKNOWN
    assert len(script.asked) == 3


def test_silence_is_a_timeout(both: Both) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(AgoraliaTimeoutError) as caught:
            both(lambda client: client.me(), base_url=base, timeout=0.2, max_retries=1)

    assert isinstance(caught.value, TimeoutError)
    assert caught.value.status_code is None


def test_no_time_at_all_is_a_deadline_error(both: Both, script: Any) -> None:
    with pytest.raises(AgoraliaDeadlineError) as caught:
        both(lambda client: client.me(), deadline=0)

    assert caught.value.effect is Effect.NOT_SENT
    assert script.asked == []


def test_a_retry_is_worth_a_line_in_the_log(
    both: Both, script: Any, caplog: pytest.LogCaptureFixture
) -> None:
    script.will_answer(500, {"detail": "Internal server error"})
    script.will_answer(200, {"items": []})

    with caplog.at_level(logging.INFO, "agoralia.transport"):
        both(lambda client: client.agents.list())

    assert [record.name for record in caplog.records] == ["agoralia.transport"]
    assert "HTTP 500 on attempt 1" in caplog.text


WRONG = [
    (lambda c: c.campaigns.get("5"), "campaign_id is a str; give an int"),
    (lambda c: c.campaigns.get(True), "campaign_id is a bool; give an int"),
    (lambda c: c.agents.get(None), "agent_id is a NoneType; give an int"),
    (lambda c: c.campaigns.results(1.0), "campaign_id is a float; give an int"),
    (lambda c: c.agents.list(limit="9"), "limit is a str; give an int"),
    (lambda c: c.agents.list(cursor="9"), "cursor is a str; give an int"),
    (lambda c: create(c, extraction_schema=["a"]), "extraction_schema is a list; give a mapping"),
    (lambda c: create(c, display_columns="ab"), "display_columns is a str; give a list of strings"),
    (lambda c: create(c, display_columns=7), "display_columns is a int; give a list of strings"),
    (lambda c: create(c, extra=[1]), "extra is a list; give a mapping"),
    (lambda c: c.campaigns.create(name=5, purpose="p", agent_ref_id=1), "name is a int; give a string"),
    (
        lambda c: c.campaigns.create(name="n", purpose=None, agent_ref_id=1),
        "purpose is a NoneType; give a string",
    ),
    (
        lambda c: c.campaigns.create(name="n", purpose="p", agent_ref_id="1"),
        "agent_ref_id is a str; give an int",
    ),
    (lambda c: create(c, idempotency_key=5), "idempotency_key is a int"),
]


@pytest.mark.parametrize(("call", "says"), WRONG)
def test_a_wrong_argument_is_named_and_nothing_is_sent(both: Both, script: Any, call: Any, says: str) -> None:
    with pytest.raises(failwell.ArgumentTypeError, match=says):
        both(call)

    assert script.asked == []


@pytest.mark.parametrize("limit", [0, -1, 101])
def test_a_limit_out_of_its_range_is_refused(both: Both, script: Any, limit: int) -> None:
    with pytest.raises(failwell.UsageError, match="1 to 100"):
        both(lambda client: client.campaigns.list(limit=limit))

    assert script.asked == []


@pytest.mark.parametrize(
    "settings", [{"max_retries": 0}, {"timeout": 0}, {"timeout": -1.0}, {"timeout": float("nan")}]
)
def test_a_setting_out_of_its_range_is_refused(both: Both, settings: dict[str, Any]) -> None:
    with pytest.raises(failwell.UsageError):
        both(lambda client: client.me(), **settings)


@pytest.mark.parametrize(
    "settings", [{"max_retries": "3"}, {"max_retries": True}, {"timeout": "1"}, {"api_key": 5}]
)
def test_a_setting_of_the_wrong_type_is_refused(both: Both, settings: dict[str, Any]) -> None:
    with pytest.raises(failwell.ArgumentTypeError, match=next(iter(settings))):
        both(lambda client: client.me(), **settings)


@pytest.mark.parametrize("cls", [Agoralia, AsyncAgoralia])
@pytest.mark.parametrize(
    "bad",
    [
        "",
        "ago_",
        "ago_" + "a" * 30,
        "ago_" + "a" * 33,
        "AGO_" + "a" * 32,
        "ago_" + "a" * 31 + "-",
        "sk_" + "a" * 33,
        "ago_" + "a" * 32 + "\n",
    ],
)
def test_a_key_in_another_format_is_refused_and_not_repeated(cls: type, bad: str) -> None:
    with pytest.raises(failwell.ConfigurationError) as caught:
        cls(bad)

    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    frames = [f for f in traceback.extract_tb(caught.value.__traceback__) if "agoralia" in f.filename]
    assert frames
    if len(bad) > 4:
        assert bad.strip() not in str(caught.value)
        ours = shown.partition("agoralia/client.py")[2]
        assert bad.strip() not in ours


@pytest.mark.parametrize("length", [31, 32])
def test_both_lengths_the_document_uses_are_keys(length: int) -> None:
    Agoralia("ago_" + "a" * length).close()


def test_the_key_comes_from_the_environment_if_none_is_given(
    monkeypatch: pytest.MonkeyPatch, script: Any, key: str
) -> None:
    with pytest.raises(failwell.ConfigurationError, match="AGORALIA_API_KEY"):
        Agoralia()
    monkeypatch.setenv("AGORALIA_API_KEY", key)
    script.will_answer(200, {"items": []})

    with Agoralia(base_url=script.base_url) as client:
        client.agents.list()

    assert script.asked[0].headers["x-api-key"] == key


def test_no_key_appears_in_what_a_client_shows(key: str) -> None:
    with Agoralia(key) as client:
        assert key not in repr(client)
        assert key not in str(vars(client))


def test_the_client_goes_where_the_document_says_by_default(key: str) -> None:
    with Agoralia(key) as client:
        assert "https://api.agoralia.app/api/v1" in repr(client)


PAIRS = [
    (Agoralia, AsyncAgoralia),
    (module.Agents, module.AsyncAgents),
    (module.Campaigns, module.AsyncCampaigns),
]


@pytest.mark.parametrize(("blocking", "awaiting"), PAIRS, ids=lambda c: c.__name__)
def test_the_twins_have_the_same_methods_signatures_and_docstrings(blocking: type, awaiting: type) -> None:
    names = {"close": "aclose", "__enter__": "__aenter__", "__exit__": "__aexit__"}
    mine = {n: v for n, v in vars(blocking).items() if inspect.isfunction(v)}
    theirs = {n: v for n, v in vars(awaiting).items() if inspect.isfunction(v)}

    assert {names.get(n, n) for n in mine} == set(theirs)
    for name, method in mine.items():
        twin = theirs[names.get(name, name)]
        assert str(inspect.signature(twin)) == str(inspect.signature(method)).replace(
            "'Client'", "'AsyncClient'"
        )
        assert inspect.getdoc(twin) == inspect.getdoc(method)
        if name not in ("__init__", "__repr__", "_open"):
            assert inspect.iscoroutinefunction(twin)
            assert not inspect.iscoroutinefunction(method)


@pytest.mark.parametrize("tries", [1, 2, 3, 4])
def test_no_wait_is_shorter_than_the_documents(tries: int) -> None:
    policy = module._retry_policy(5)

    for dice in (lambda: 0.0, lambda: 0.5, lambda: 0.999):
        assert 2.0 ** (tries - 1) <= policy.delay_after(tries, None, dice) <= 2.0 ** (tries - 1) * 1.1
        assert 40.0 <= policy.delay_after(tries, 40.0, dice) <= 41.0
