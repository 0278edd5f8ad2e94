"""Both clients over real sockets: what they send, what they read, how they try again."""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import httpx2
import pytest
import trio

import failwell
import kneo_client
from failwell import Connections, Effect
from kneo_client import (
    AsyncKneoClient,
    Environment,
    EnvironmentCreate,
    Health,
    KneoClient,
    Page,
    RetryPolicy,
    Run,
    RunCreate,
    RunError,
    Spec,
    SpecCreate,
    Timeouts,
)
from kneo_client.core.errors import (
    KneoAuthError,
    KneoConflictError,
    KneoError,
    KneoIdempotencyMismatchError,
    KneoNetworkError,
    KneoRateLimited,
    KneoServerError,
)

Use = Callable[..., Any]

AT = "2026-11-05T12:00:00+00:00"
THEN = datetime(2026, 11, 5, 12, 0, tzinfo=UTC)
SPEC = {"id": "spec_1", "name": "One", "definition": {"steps": ["a"]}, "version": 2, "created_at": AT}
ENVIRONMENT = {"id": "env_1", "name": "One", "status": "ready", "variables": {}, "created_at": AT}


# --- what is sent and what comes back ---


def test_a_run_is_created_from_a_dict(use: Use, script: Any, run: Any) -> None:
    script.will_answer(201, run)

    made = use(lambda c: c.platform.runs.create({"spec_id": "spec_1", "environment_id": "env_1", "x": [1]}))

    (asked,) = script.asked
    assert (asked.method, asked.path) == ("POST", "/v1/runs")
    assert asked.json == {"spec_id": "spec_1", "environment_id": "env_1", "x": [1]}
    assert made == Run(
        id="run_1",
        spec_id="spec_1",
        environment_id="env_1",
        status="queued",
        version=1,
        created_at=datetime(2026, 11, 5, 12, 0, 0, 250_000, tzinfo=UTC),
        cost=3,
        input={"text": "one two"},
    )
    assert not made.finished


def test_a_run_is_created_from_a_model(use: Use, script: Any, run: Any) -> None:
    script.will_answer(201, run)
    script.will_answer(201, run)

    use(lambda c: c.platform.runs.create(RunCreate("spec_1", "env_1", {"a": 1}, {"name": "mine"})))
    use(lambda c: c.platform.runs.create(RunCreate("spec_1")))

    assert [a.json for a in script.asked] == [
        {
            "spec_id": "spec_1",
            "environment_id": "env_1",
            "input": {"a": 1},
            "metadata": {"name": "mine"},
        },
        {"spec_id": "spec_1", "input": {}, "metadata": {}},
    ]


def test_a_failed_run_is_a_result_and_not_an_error(use: Use, script: Any, run: Any) -> None:
    """The call to look at it succeeded."""
    run |= {
        "status": "failed",
        "error": {"code": "step_failed", "step": "parse", "message": "no JSON", "hint": "none"},
        "started_at": "2026-11-05T12:00:01Z",
        "finished_at": "2026-11-05T12:00:02Z",
    }
    script.will_answer(200, run)

    found = use(lambda c: c.platform.runs.get("run_1"))

    assert script.asked[0].path == "/v1/runs/run_1"
    assert found.finished
    assert found.error == RunError("step_failed", "no JSON", "parse", {"hint": "none"})
    assert (found.finished_at - found.started_at).total_seconds() == 1.0


def test_a_page_of_runs(use: Use, script: Any, run: Any) -> None:
    script.will_answer(200, {"items": [run, run | {"id": "run_2"}], "next_cursor": "17", "total": 9})

    page = use(lambda c: c.platform.runs.list(status="queued", spec_id="s&1", limit=2, cursor="40/1"))

    assert script.asked[0].path == "/v1/runs?status=queued&spec_id=s%261&limit=2&cursor=40%2F1"
    assert [r.id for r in page] == ["run_1", "run_2"]
    assert (len(page), page.next_cursor, page.extra) == (2, "17", {"total": 9})


def test_a_page_without_wishes_asks_for_nothing(use: Use, script: Any) -> None:
    script.will_answer(200, {"items": [], "next_cursor": None})

    page = use(lambda c: c.platform.runs.list())

    assert script.asked[0].path == "/v1/runs"
    assert page == Page(())


def test_a_run_is_cancelled(use: Use, script: Any, run: Any) -> None:
    script.will_answer(200, run | {"status": "cancelled", "version": 2})
    script.will_answer(200, run | {"status": "cancelled", "version": 2})

    assert use(lambda c: c.platform.runs.cancel("run_1")).status == "cancelled"
    assert use(lambda c: c.platform.runs.cancel("run_1", version=1)).version == 2

    first, second = script.asked
    assert (first.method, first.path) == ("POST", "/v1/runs/run_1/cancel")
    assert "if-match" not in first.headers
    assert second.headers["if-match"] == '"1"'


def test_specs(use: Use, script: Any) -> None:
    new = {"name": "One", "definition": {"steps": ["a"]}}
    script.will_answer(201, SPEC | {"version": 1})
    script.will_answer(200, {"items": [SPEC]})
    script.will_answer(200, SPEC)
    script.will_answer(200, SPEC | {"version": 3, "updated_at": AT})

    made = use(lambda c: c.platform.specs.create(new))
    page = use(lambda c: c.platform.specs.list(limit=5))
    spec = use(lambda c: c.platform.specs.get("spec_1"))
    changed = use(lambda c: c.platform.specs.update("spec_1", SpecCreate("One", {"steps": ["a"]}), version=2))

    assert made.version == 1
    assert page.items == (spec,)
    assert spec == Spec("spec_1", "One", 2, THEN, {"steps": ["a"]})
    assert (changed.version, changed.updated_at) == (3, THEN)
    assert [(a.method, a.path) for a in script.asked] == [
        ("POST", "/v1/specs"),
        ("GET", "/v1/specs?limit=5"),
        ("GET", "/v1/specs/spec_1"),
        ("PUT", "/v1/specs/spec_1"),
    ]
    assert script.asked[0].json == script.asked[3].json == new
    assert script.asked[3].headers["if-match"] == '"2"'


def test_environments(use: Use, script: Any) -> None:
    script.will_answer(201, ENVIRONMENT)
    script.will_answer(200, {"items": [ENVIRONMENT], "next_cursor": None})
    script.will_answer(200, ENVIRONMENT | {"region": "north"})

    made = use(lambda c: c.platform.environments.create(EnvironmentCreate("One", {"A": "b"})))
    page = use(lambda c: c.platform.environments.list(cursor="3"))
    environment = use(lambda c: c.platform.environments.get("env_1"))

    assert page.items == (made,) == (Environment("env_1", "One", "ready", THEN),)
    assert environment.extra == {"region": "north"}
    assert [(a.method, a.path) for a in script.asked] == [
        ("POST", "/v1/environments"),
        ("GET", "/v1/environments?cursor=3"),
        ("GET", "/v1/environments/env_1"),
    ]
    assert script.asked[0].json == {"name": "One", "variables": {"A": "b"}}


def test_health(use: Use, script: Any) -> None:
    script.will_answer(200, {"status": "ok"})
    script.will_answer(200, {"status": "ok", "version": "0.4.0", "checks": {"database": "ok"}})

    assert use(lambda c: c.platform.health.livez()) == Health("ok")
    assert use(lambda c: c.platform.health.readyz()) == Health("ok", "0.4.0", {"database": "ok"})
    assert [a.path for a in script.asked] == ["/livez", "/readyz"]


def test_every_request_says_who_asks(use: Use, script: Any, key: str) -> None:
    script.will_answer(200, {"status": "ok"})

    use(lambda c: c.platform.health.livez())

    headers = script.asked[0].headers
    assert headers["authorization"] == f"Bearer {key}"
    assert headers["user-agent"].startswith(f"kneo-client/{kneo_client.__version__} python/")


def test_an_id_with_odd_characters_stays_one_segment(use: Use, script: Any, run: Any) -> None:
    script.will_answer(200, run)

    use(lambda c: c.platform.runs.get("a/b?c#d%2F ü"))

    assert script.asked[0].path == "/v1/runs/a%2Fb%3Fc%23d%252F%20%C3%BC"


def test_a_base_url_may_have_a_path(use: Use, script: Any) -> None:
    script.will_answer(200, {"status": "ok"})

    use(lambda c: c.platform.health.livez(), base_url=f"{script.base_url}/kneo/")

    assert script.asked[0].path == "/kneo/livez"


# --- refused before anything is sent ---


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda c: c.platform.runs.create(None), failwell.ArgumentTypeError),
        (lambda c: c.platform.runs.create([("spec_id", "s")]), failwell.ArgumentTypeError),
        (lambda c: c.platform.runs.create({"at": datetime.now(UTC)}), failwell.ArgumentTypeError),
        (lambda c: c.platform.runs.create({"n": float("nan")}), failwell.UsageError),
        (lambda c: c.platform.runs.create({}, idempotency_key=""), failwell.UsageError),
        (lambda c: c.platform.runs.create({}, idempotency_key="a b"), failwell.UsageError),
        (lambda c: c.platform.runs.create({}, idempotency_key=7), failwell.ArgumentTypeError),
        (lambda c: c.platform.runs.create({}, deadline="soon"), failwell.ArgumentTypeError),
        (lambda c: c.platform.runs.get(""), failwell.UsageError),
        (lambda c: c.platform.runs.get(" "), failwell.UsageError),
        (lambda c: c.platform.runs.get(".."), failwell.UsageError),
        (lambda c: c.platform.runs.get("run_\ud800"), failwell.UsageError),
        (lambda c: c.platform.runs.get(17), failwell.ArgumentTypeError),
        (lambda c: c.platform.runs.list(limit="9"), failwell.ArgumentTypeError),
        (lambda c: c.platform.runs.list(limit=True), failwell.ArgumentTypeError),
        (lambda c: c.platform.runs.list(limit=0), failwell.UsageError),
        (lambda c: c.platform.runs.list(cursor=9), failwell.ArgumentTypeError),
        (lambda c: c.platform.runs.cancel("run_1", version="1"), failwell.ArgumentTypeError),
        (lambda c: c.platform.runs.list(status=9), failwell.ArgumentTypeError),
        (lambda c: c.platform.specs.create(RunCreate("s")), failwell.ArgumentTypeError),
        (lambda c: c.platform.specs.update("spec_1", {}, version=0), failwell.UsageError),
        (lambda c: c.platform.environments.create("production"), failwell.ArgumentTypeError),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_sent(
    use: Use, script: Any, call: Callable[[Any], Any], kind: type[failwell.UsageError]
) -> None:
    with pytest.raises(kind) as caught:
        use(call)

    assert not isinstance(caught.value, KneoError)
    assert script.asked == []


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"retry": 3}, failwell.ArgumentTypeError),
        ({"deadline": "soon"}, failwell.ArgumentTypeError),
        ({"base_url": "kneo.example"}, failwell.ConfigurationError),
        ({"api_key": "with space"}, failwell.ConfigurationError),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(
    use: Use, settings: dict[str, Any], kind: type[failwell.UsageError]
) -> None:
    with pytest.raises(kind):
        use(lambda c: c.platform.health.livez(), **settings)


# --- trying again ---


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_failure_is_tried_again(use: Use, script: Any, clock: Any, status: int) -> None:
    script.will_refuse(status)
    script.will_answer(200, {"status": "ok"})

    assert use(lambda c: c.platform.health.readyz()).status == "ok"
    assert clock.waits == [0.2]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 418, 422, 500, 501])
def test_any_other_failure_is_raised_at_once(use: Use, script: Any, clock: Any, status: int) -> None:
    script.will_refuse(status)

    with pytest.raises(KneoError) as caught:
        use(lambda c: c.platform.runs.create({}))

    assert caught.value.status == status
    assert len(script.asked) == len(caught.value.attempts) == 1
    assert clock.waits == []


def test_four_tries_and_no_more(use: Use, script: Any, clock: Any) -> None:
    for n in range(4):
        script.will_refuse(503, "unavailable", "Busy.", X_Request_ID=f"req_{n}")

    with pytest.raises(KneoServerError) as caught:
        use(lambda c: c.platform.health.readyz())

    error = caught.value
    assert len(script.asked) == 4
    assert [a.request_id for a in error.attempts] == ["req_0", "req_1", "req_2", "req_3"]
    assert error.request_id == "req_3"
    assert clock.waits == [0.2, 0.4, 0.8]
    assert error.failure.stopped == "attempts_exhausted"


def test_the_policy_says_how_often(use: Use, script: Any, clock: Any) -> None:
    script.will_refuse(503)

    with pytest.raises(KneoServerError):
        use(lambda c: c.platform.health.readyz(), retry=RetryPolicy(max_attempts=1))

    assert len(script.asked) == 1


def test_a_broken_connection_is_mended_and_the_key_stays_the_same(
    use: Use, script: Any, run: Any, clock: Any
) -> None:
    script.will_hang_up()
    script.will_refuse(502)
    script.will_answer(201, run)

    use(lambda c: c.platform.runs.create({"spec_id": "spec_1"}))

    keys = [a.headers["idempotency-key"] for a in script.asked]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert [a.json for a in script.asked] == [{"spec_id": "spec_1"}] * 3
    assert clock.waits == [0.2, 0.4]


def test_two_calls_have_two_keys(use: Use, script: Any, run: Any) -> None:
    script.will_answer(201, run)
    script.will_answer(201, run)

    use(lambda c: c.platform.runs.create({}))
    use(lambda c: c.platform.runs.create({}))

    one, two = (a.headers["idempotency-key"] for a in script.asked)
    assert one != two


def test_your_own_key_is_sent_and_is_on_the_error(use: Use, script: Any) -> None:
    script.will_refuse(409, "idempotency_mismatch")

    with pytest.raises(KneoIdempotencyMismatchError) as caught:
        use(lambda c: c.platform.runs.create({}, idempotency_key="key_1"))

    assert script.asked[0].headers["idempotency-key"] == "key_1"
    assert caught.value.idempotency_key == "key_1"


def test_a_conflict_that_lost_its_code_leaves_open_what_the_first_request_with_the_key_does(
    use: Use, script: Any
) -> None:
    """
    A gateway that replaces the body of "still being worked on" leaves a bare 409.
    """
    script.will_answer(409, {})

    with pytest.raises(KneoIdempotencyMismatchError) as caught:
        use(lambda c: c.platform.runs.create({}, idempotency_key="key_1"))

    assert caught.value.effect is Effect.UNKNOWN


def test_reading_needs_no_key(use: Use, script: Any) -> None:
    script.will_answer(200, {"items": []})

    use(lambda c: c.platform.runs.list())

    assert "idempotency-key" not in script.asked[0].headers


def test_a_request_in_flight_is_waited_for(use: Use, script: Any, run: Any, clock: Any) -> None:
    script.will_refuse(409, "idempotency_in_flight", Retry_After="2")
    script.will_answer(201, run)

    assert use(lambda c: c.platform.runs.create({}, idempotency_key="key_1")).id == "run_1"
    assert clock.waits == [2.0]


def test_a_request_that_stays_in_flight_is_a_conflict(use: Use, script: Any) -> None:
    for _ in range(4):
        script.will_refuse(409, "idempotency_in_flight", Retry_After="1")

    with pytest.raises(KneoConflictError) as caught:
        use(lambda c: c.platform.runs.create({}, idempotency_key="key_1"))

    assert caught.value.effect is Effect.UNKNOWN
    assert caught.value.retryable


def test_the_service_s_wait_is_kept(use: Use, script: Any, clock: Any) -> None:
    script.will_refuse(429, "rate_limited", Retry_After="3")
    script.will_answer(200, {"items": []})

    use(lambda c: c.platform.runs.list())

    assert clock.waits == [3.0]


def test_a_wait_that_is_too_long_is_said_at_once(use: Use, script: Any, clock: Any) -> None:
    script.will_refuse(429, "rate_limited", Retry_After="300")

    with pytest.raises(KneoRateLimited) as caught:
        use(lambda c: c.platform.runs.list())

    assert caught.value.retry_after == 300.0
    assert clock.waits == []


def test_no_wait_goes_past_the_deadline(use: Use, script: Any, clock: Any) -> None:
    script.will_refuse(429, "rate_limited", Retry_After="30")

    with pytest.raises(KneoRateLimited) as caught:
        use(lambda c: c.platform.runs.list(deadline=10.0))

    assert clock.waits == []
    assert caught.value.failure.stopped == "deadline"


def test_a_deadline_that_has_passed_sends_nothing(use: Use, script: Any) -> None:
    with pytest.raises(KneoNetworkError) as caught:
        use(lambda c: c.platform.runs.create({}, deadline=0))

    assert script.asked == []
    assert caught.value.effect is Effect.NOT_SENT


def test_no_circuit_opens_by_itself_and_one_asked_for_is_a_network_error(use: Use, script: Any) -> None:
    for _ in range(60):
        script.will_refuse(500)
    breaker = failwell.Breaker()
    refused = 0

    def fail(settings: dict[str, Any]) -> KneoError:
        with pytest.raises(KneoError) as caught:
            use(lambda c: c.platform.health.readyz(), **settings)
        return caught.value

    assert {type(fail({})) for _ in range(25)} == {KneoServerError}
    for _ in range(30):
        error = fail({"breaker": breaker})
        refused += isinstance(error, KneoNetworkError) and error.failure.reason == "circuit_open"
    assert refused > 0


# --- the log ---


def test_the_log_names_the_status_and_the_wait(
    use: Use, script: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kneo_client.transport")
    script.will_refuse(503)
    script.will_hang_up()
    script.will_answer(200, {"status": "ok"})

    use(lambda c: c.platform.health.readyz())

    first, second = (r for r in caplog.records if r.name == "kneo_client.transport")
    assert (first.levelname, first.getMessage()) == ("INFO", "HTTP 503 on attempt 1; sleeping 0.20s")
    assert second.getMessage().startswith("transport error on attempt 2; sleeping 0.40s: ")


def test_the_log_is_silent_where_all_is_well(use: Use, script: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "kneo_client")
    script.will_answer(200, {"status": "ok"})

    use(lambda c: c.platform.health.readyz())

    assert [r for r in caplog.records if r.name.startswith("kneo_client")] == []


# --- no usable answer ---


@pytest.fixture
def nobody_listens() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_the_cause_is_the_http_library_s_own_exception(use: Use, nobody_listens: str) -> None:
    with pytest.raises(KneoNetworkError) as caught:
        use(lambda c: c.platform.runs.create({}), base_url=nobody_listens)

    assert isinstance(caught.value.__cause__, httpx2.ConnectError)
    assert caught.value.effect is Effect.NOT_SENT
    assert len(caught.value.attempts) == 4


def test_with_a_client_of_httpx_the_cause_is_an_exception_of_httpx(nobody_listens: str, key: str) -> None:
    """The document's `httpx.HTTPError`, for those who bring the library it was written for."""
    with (
        httpx.Client(trust_env=False) as http,
        KneoClient(key, base_url=nobody_listens, engine=http, retry=RetryPolicy(max_attempts=1)) as client,
        pytest.raises(KneoNetworkError) as caught,
    ):
        client.platform.health.readyz()

    assert isinstance(caught.value.__cause__, httpx.HTTPError)


def test_the_same_with_an_awaiting_client_of_httpx(nobody_listens: str, key: str) -> None:
    async def main() -> BaseException | None:
        async with (
            httpx.AsyncClient(trust_env=False) as http,
            AsyncKneoClient(
                key, base_url=nobody_listens, engine=http, retry=RetryPolicy(max_attempts=1)
            ) as client,
        ):
            with pytest.raises(KneoNetworkError) as caught:
                await client.platform.health.readyz()
            return caught.value.__cause__

    assert isinstance(asyncio.run(main()), httpx.HTTPError)


def test_a_server_that_says_nothing_is_a_timeout(use: Use) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(KneoNetworkError) as caught:
            use(
                lambda c: c.platform.runs.create({}),
                base_url=url,
                timeouts=Timeouts(connect=10.0, read=0.05),
                retry=RetryPolicy(max_attempts=2),
            )

    assert caught.value.failure.reason == "read_timeout"
    assert caught.value.effect is Effect.UNKNOWN
    assert isinstance(caught.value.__cause__, httpx2.ReadTimeout)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>captive portal</html>",
        b"",
        b"[]",
        b"null",
        b'{"id": "run_1"}',
        b'{"id": 7}',
        b'{"id": "run_1", "spec_id": "s", "environment_id": "e", "status": "ok", "version": true}',
        b'{"id": "run_1", "spec_id": "s", "environment_id": "e", "status": "ok", "version": 1,'
        b' "created_at": "yesterday"}',
        b'{"id": "run_1", "spec_id": "s", "environment_id": "e", "status": "ok", "version": 1,'
        b' "created_at": "2026-11-05T12:00:00"}',
    ],
)
def test_a_success_that_cannot_be_read_says_that_it_happened(use: Use, script: Any, body: bytes) -> None:
    script.will_answer(201, body, {"X-Request-ID": "req_1"})

    with pytest.raises(KneoNetworkError) as caught:
        use(lambda c: c.platform.runs.create({}))

    error = caught.value
    assert error.effect is Effect.APPLIED
    assert (error.status, error.request_id, error.failure.reason) == (201, "req_1", "format")
    assert error.idempotency_key == script.asked[0].headers["idempotency-key"]
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("call", "body", "says"),
    [
        (lambda c: c.platform.runs.list(), {"items": {}}, "page: items is an object, not a list"),
        (lambda c: c.platform.runs.list(), {"items": [None]}, "run is null, not an object"),
        (lambda c: c.platform.specs.get("s"), SPEC | {"definition": [1]},
         "spec: definition is a list, not an object"),
        (lambda c: c.platform.specs.get("s"), SPEC | {"version": "2"},
         "spec: version is a string, not a number"),
        (lambda c: c.platform.health.livez(), {}, "health: status is missing"),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_as_promised_says_what_is_wrong(
    use: Use, script: Any, call: Callable[[Any], Any], body: Any, says: str
) -> None:
    script.will_answer(200, body)

    with pytest.raises(KneoNetworkError, match=says):
        use(call)


# --- secrets ---


def test_the_api_key_is_nowhere_to_be_seen(
    use: Use, script: Any, key: str, caplog: pytest.LogCaptureFixture, shown: Callable[[BaseException], str]
) -> None:
    """Not even where the service repeats it."""
    caplog.set_level(logging.DEBUG)
    script.will_hang_up()
    script.will_refuse(401, "api_key_invalid", f"The key {key} is not valid.")

    with pytest.raises(KneoAuthError) as caught:
        use(lambda c: c.platform.runs.list())

    error = caught.value
    texts = [
        str(error),
        repr(error),
        repr(vars(error)),
        repr(pickle.dumps(error)),
        repr(error.to_dict()),
        caplog.text,
        "".join(traceback.TracebackException.from_exception(error).format()),
        shown(error),
    ]
    assert [text for text in texts if key in text] == []


def test_a_client_does_not_show_its_key(key: str) -> None:
    with KneoClient(key, base_url="http://127.0.0.1:9") as client:
        assert key not in repr(client) + repr(client.profile)
        assert repr(client) == "<KneoClient http://127.0.0.1:9>"


# --- life ---


def test_closing_twice_is_harmless(key: str) -> None:
    client = KneoClient(key, base_url="http://127.0.0.1:9")

    client.close()
    client.close()


def test_the_awaiting_client_runs_on_trio(script: Any, run: Any, key: str, clock: Any) -> None:
    script.will_refuse(503)
    script.will_answer(201, run)

    async def main() -> Run:
        async with AsyncKneoClient(
            key, base_url=script.base_url, clock=clock, connections=Connections(trust_env=False)
        ) as client:
            assert repr(client) == f"<AsyncKneoClient {script.base_url}>"
            return await client.platform.runs.create({})

    assert trio.run(main).id == "run_1"


def test_cancelling_a_call_is_not_a_failure_of_it(key: str) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            async with AsyncKneoClient(key, base_url=url, connections=Connections(trust_env=False)) as client:
                task = asyncio.create_task(client.platform.health.livez())
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(main())


# --- the policy ---


def test_the_first_wait_is_exact_and_the_others_are_left_to_chance() -> None:
    policy = RetryPolicy()

    assert [policy.delay_after(n, None, lambda: 0.0) for n in (1, 2, 3, 4, 7, 99)] == [
        0.2, 0.4, 0.8, 1.6, 8.0, 8.0,
    ]  # fmt: skip
    assert [policy.delay_after(n, None, lambda: 0.5) for n in (1, 2, 3)] == [0.2, 0.2, 0.4]
    assert policy.delay_after(1, 3.0, lambda: 0.0) == 3.0
    assert policy.delay_after(1, 3.0, lambda: 0.9) > 3.0


def test_the_policy_is_failwell_s_with_kneo_s_numbers() -> None:
    policy = RetryPolicy()

    assert isinstance(policy, failwell.RetryPolicy)
    assert policy.max_attempts == 4
    assert policy.statuses == {429, 502, 503, 504}
    with pytest.raises(failwell.UsageError):
        RetryPolicy(max_attempts=0)


@pytest.mark.parametrize("kind", [KneoClient, AsyncKneoClient])
def test_a_client_that_was_never_made_can_be_shown_by_a_traceback_with_locals(kind: Any, key: str) -> None:
    with pytest.raises(failwell.ConfigurationError) as caught:
        kind(key + "\n", base_url="http://127.0.0.1:9")

    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    text = "".join(shown.format())
    assert f"<{kind.__name__} unmade>" in text
    ours = [frame.locals for frame in shown.stack if "/tests/" not in frame.filename]
    assert key not in str(ours)
