"""Both drivers over a real socket: one list of cases, blocking, under asyncio and under trio."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from client_drivers import Driver
from scripted_server import CLOSE, RESET, STALL, Cut, ScriptedServer, reply

import failwell
from failwell import Breaker, BreakerPolicy, Operation, RateLimit, RetryPolicy, Timeouts
from failwell.call.pacing import Pacer
from failwell.telemetry import Event, Kind
from failwell.testing import FakeClock, assert_no_secret

SECRET = "s3cr3t-t0ken-value"
QUICK = RetryPolicy(base=0.001, cap=0.002)
NO_KEY = {"idempotency": False}

# What the server does, method, what the client is told of idempotency -> class (None: success), tries.
CASES: dict[str, tuple[list[Any], str, dict[str, Any], type[Any] | None, int]] = {
    "200": ([reply(200)], "GET", {}, None, 1),
    "503 503 200": ([reply(503), reply(503), reply(200)], "GET", {}, None, 3),
    "503 to the end": ([reply(503)] * 3, "GET", {}, failwell.UnavailableError, 3),
    "404": ([reply(404)], "GET", {}, failwell.NotFoundError, 1),
    "reset, POST with key": ([RESET, reply(201)], "POST", {}, None, 2),
    "reset, POST without key": ([RESET], "POST", NO_KEY, failwell.ConnectionLostError, 1),
    "closed, GET": ([CLOSE, CLOSE, reply(200)], "GET", {}, None, 3),
    "closed, PATCH without key": ([CLOSE], "PATCH", NO_KEY, failwell.ConnectionLostError, 1),
    "429 without key": ([reply(429, retry_after="0"), reply(201)], "POST", NO_KEY, None, 2),
    "silence, GET": ([STALL, reply(200)], "GET", {}, None, 2),
    "silence, POST without key": ([STALL], "POST", NO_KEY, failwell.CallTimeoutError, 1),
    "cut": ([Cut(reply(200)[:-3]), reply(200)], "GET", {}, None, 2),
    "redirect": ([reply(307, location="/other"), reply(200)], "GET", {}, None, 2),
    "redirect of a write": ([reply(307, location="/other")], "POST", {}, failwell.APIError, 1),
    "not HTTP": ([Cut(b"SSH-2.0-OpenSSH\r\n\r\n"), reply(200)], "GET", {}, None, 2),
}
TIMEOUTS = Timeouts(connect=10.0, read=0.7, write=10.0, pool=10.0)


@pytest.mark.parametrize("case", CASES)
def test_the_attempts_on_the_outcome_are_the_requests_the_server_counted(driver: Driver, case: str) -> None:
    script, method, settings, cls, tries = CASES[case]
    events: list[Event] = []
    with ScriptedServer([*script, CLOSE]) as server:
        timeouts = TIMEOUTS if STALL in script else Timeouts()
        step = (method, "/things", {"json": {"a": 1}} if method != "GET" else {})
        [result] = driver(
            server.url, step, retry=QUICK, timeouts=timeouts, listeners=[events.append], **settings
        )

        assert tries == len(result.attempts) == len(server.asked)
        assert type(result) is (failwell.Response if cls is None else cls), result
        assert tries == sum(e.kind is Kind.ATTEMPT_STARTED for e in events)
        assert tries == sum(e.kind is Kind.ATTEMPT_ENDED for e in events)
        assert [e.kind for e in events][-1] is Kind.CALL_ENDED
        assert list(range(1, tries + 1)) == [a.number for a in result.attempts]


def test_every_try_of_a_write_carries_the_same_key_and_the_next_call_another(driver: Driver) -> None:
    with ScriptedServer([reply(503), RESET, reply(503), reply(400)]) as server:
        failed, other = driver(
            server.url, ("POST", "/", {"json": {}}), ("POST", "/", {"json": {}}), retry=QUICK
        )

    keys = [asked.headers["idempotency-key"] for asked in server.asked]
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]
    assert failed.idempotency_key == keys[0]
    assert other.idempotency_key == keys[3]


@pytest.mark.parametrize("how", ["argument", "header"])
def test_a_key_that_was_given_is_the_one_on_the_wire_and_on_the_error(driver: Driver, how: str) -> None:
    given: dict[str, Any] = (
        {"idempotency_key": "k-1"} if how == "argument" else {"headers": {"Idempotency-Key": "k-1"}}
    )
    with ScriptedServer([reply(503), reply(400)]) as server:
        [error] = driver(server.url, ("POST", "/", given), retry=QUICK, idempotency=False)

    assert [asked.headers["idempotency-key"] for asked in server.asked] == ["k-1", "k-1"]
    assert error.idempotency_key == "k-1"


def test_a_read_gets_no_key(driver: Driver) -> None:
    with ScriptedServer([reply(200)]) as server:
        driver(server.url, ("GET", "/"))

    assert "idempotency-key" not in server.asked[0].headers


def test_what_is_sent_is_what_was_asked_for(driver: Driver) -> None:
    with ScriptedServer([reply(200)] * 2) as server:
        driver(
            f"{server.url}/v1/",
            ("post", "/things", {"json": {"\xe9": 1}, "params": {"q": "a b", "on": True, "no": None}}),
            ("PUT", "things/1", {"content": b"\x00\xff", "headers": {"X-Own": " 1 "}}),
            credentials={"Authorization": f"Bearer {SECRET}"},
        )

    first, second = server.asked
    assert (first.method, first.target) == ("POST", "/v1/things?q=a+b&on=true")
    assert first.body == b'{"\xc3\xa9":1}'
    assert first.headers["content-type"] == "application/json"
    assert first.headers["authorization"] == f"Bearer {SECRET}"
    assert first.headers["accept"] == "application/json"
    assert first.headers["user-agent"].startswith("failwell/")
    assert (second.target, second.body, second.headers["x-own"]) == ("/v1/things/1", b"\x00\xff", "1")
    assert "content-type" not in second.headers


def test_a_redirect_to_another_origin_leaves_the_credentials_behind(driver: Driver) -> None:
    with (
        ScriptedServer([reply(200)]) as other,
        ScriptedServer([reply(302, location=f"{other.url}/x")]) as server,
    ):
        [response] = driver(server.url, ("GET", "/"), credentials={"x-key": SECRET, "cookie": "a=b"})

    assert response.status == 200
    assert server.asked[0].headers["x-key"] == SECRET
    assert {"x-key", "cookie"}.isdisjoint(other.asked[0].headers)


def test_the_engines_own_exception_is_the_cause(driver: Driver) -> None:
    with ScriptedServer([RESET]) as server:
        [error] = driver(server.url, ("POST", "/"), idempotency=False)

    assert type(error.__cause__).__module__.startswith("httpx2")
    assert error.__cause__.__traceback__ is None


def test_what_never_left_counts_as_a_try_and_not_as_a_request(driver: Driver) -> None:
    with ScriptedServer([]) as server:
        url = server.url
    [error] = driver(url, ("POST", "/"), retry=QUICK, idempotency=False)

    assert (type(error), len(error.attempts), error.effect) == (failwell.ConnectError, 3, "not_sent")


def test_a_deadline_of_nothing_sends_nothing(driver: Driver) -> None:
    with ScriptedServer([]) as server:
        [error] = driver(server.url, ("GET", "/", {"deadline": 0}))

    assert (type(error), error.attempts, server.asked) == (failwell.DeadlineExceededError, (), [])


def test_the_deadline_ends_a_silence(driver: Driver) -> None:
    with ScriptedServer([STALL]) as server:
        [error] = driver(server.url, ("POST", "/"), deadline=0.4)

        assert server.gone.wait(20)
    assert (type(error), error.failure.reason) == (failwell.CallTimeoutError, "deadline")
    assert error.failure.stopped == "deadline"
    assert len(error.attempts) == 1


def test_waits_go_through_the_clients_clock(driver: Driver) -> None:
    clock = FakeClock()
    with ScriptedServer([reply(503, retry_after="30"), reply(200)]) as server:
        [response] = driver(server.url, ("GET", "/"), clock=_Real(clock), random=lambda: 0.0)

    assert clock.sleeps == [30.0]
    assert response.attempts[0].wait == 30.0


class _Real(FakeClock):
    """The real time, so that an engine's deadlines hold, with waits that are skipped."""

    def __init__(self, noted: FakeClock) -> None:
        super().__init__()
        self._noted = noted

    def monotonic(self) -> float:
        import time

        return time.monotonic()

    def sleep(self, seconds: float, /) -> None:
        self._noted.sleep(seconds)

    async def asleep(self, seconds: float, /) -> None:
        await self._noted.asleep(seconds)


def test_each_wait_is_one_line_in_the_log(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with ScriptedServer([reply(503), RESET, reply(200)]) as server:
        driver(server.url, ("GET", "/"), retry=RetryPolicy(base=0.001, jitter=0.0), name="own")

    lines = [r.getMessage() for r in caplog.records if r.name == "own.transport"]
    assert lines[0] == "HTTP 503 on attempt 1; sleeping 0.00s"
    assert lines[1].startswith("transport error on attempt 2; sleeping 0.00s: The connection was ")
    assert len(lines) == 2


def test_the_logger_is_called_after_the_contract(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    contract = failwell.Contract("mine")
    with ScriptedServer([reply(503), reply(200)] * 2) as server:
        driver(server.url, ("GET", "/"), retry=QUICK)
        driver(server.url, ("GET", "/"), retry=QUICK, contract=contract)

    assert {"failwell.transport", "mine.transport"} == {
        r.name for r in caplog.records if "attempt" in r.getMessage()
    }


# --- Events ---------------------------------------------------------------------------------


def test_the_events_of_a_call_tell_its_story(driver: Driver) -> None:
    events: list[Event] = []
    with ScriptedServer([reply(503), RESET, reply(404)]) as server:
        driver(server.url, ("GET", f"/x?token={SECRET}"), retry=QUICK, listeners=[events.append])

    assert [(e.kind.value, e.number) for e in events] == [
        ("attempt_started", 1),
        ("attempt_ended", 1),
        ("waiting", 1),
        ("attempt_started", 2),
        ("attempt_ended", 2),
        ("waiting", 2),
        ("attempt_started", 3),
        ("attempt_ended", 3),
        ("call_ended", 3),
    ]
    assert len({e.call for e in events}) == 1
    assert [e.outcome for e in events if e.kind is Kind.ATTEMPT_ENDED][0::2] == ["status", "status"]
    assert events[4].outcome in ("reset", "closed")
    assert events[-1].outcome == "NotFoundError"
    assert (events[1].status, events[2].why) == (503, "HTTP 503")
    assert SECRET not in repr(events)


def test_a_listener_that_fails_is_not_hidden(driver: Driver) -> None:
    def listen(event: Event) -> None:
        if event.kind is Kind.ATTEMPT_ENDED:
            raise MemoryError("full")

    with ScriptedServer([reply(200)]) as server:
        [error] = driver(server.url, ("GET", "/"), listeners=[listen])

    assert type(error) is MemoryError


def test_a_brought_breaker_is_shared_and_told_of_every_attempt(driver: Driver) -> None:
    breaker = Breaker(BreakerPolicy(min_attempts=2))
    with ScriptedServer([reply(503)] * 2) as server:
        first, second = driver(server.url, ("GET", "/"), ("GET", "/"), breaker=breaker, retry=QUICK)

    assert first.failure.stopped == "circuit_open"
    assert type(second) is failwell.CircuitOpenError
    assert len(server.asked) == 2


def test_a_scope_has_a_circuit_of_its_own(driver: Driver) -> None:
    breaker = Breaker(BreakerPolicy(min_attempts=1))
    with ScriptedServer([reply(503), reply(200)]) as server:
        error = driver.operation(server.url, Operation("GET", "/a", bool, scope="a"), breaker=breaker)
        [response] = driver(server.url, ("GET", "/b"), breaker=breaker)

    assert type(error) is failwell.UnavailableError
    assert response.status == 200


# --- Operations -----------------------------------------------------------------------------


def test_an_operation_is_asked_and_parsed(driver: Driver) -> None:
    operation = Operation(
        "POST", "/things", lambda r: r.json()["id"], {"page": 2}, {"name": "x"}, {"X-Own": "1"}
    )
    with ScriptedServer([reply(201, {"id": 7})]) as server:
        result = driver.operation(server.url, operation, facts={"idempotency_key": "k-1"})

    assert result == 7
    assert server.asked[0].target == "/things?page=2"
    assert server.asked[0].headers["x-own"] == "1"
    assert server.asked[0].headers["idempotency-key"] == "k-1"


def test_s31_an_answer_in_another_shape_says_what_came_and_that_it_was_done(driver: Driver) -> None:
    operation = Operation("POST", "/things", lambda r: r.json()["id"])
    with ScriptedServer([reply(201, {"ID": SECRET}, x_request_id="r-1")]) as server:
        error = driver.operation(server.url, operation, credentials={"x-key": SECRET})

    assert type(error) is failwell.BadAnswerError
    assert (error.status, error.effect, error.request_id) == (201, "applied", "r-1")
    assert (error.failure.reason, error.failure.stopped, error.retryable) == (
        "format",
        "not_retryable",
        False,
    )
    assert error.idempotency_key == server.asked[0].headers["idempotency-key"]
    assert "KeyError: 'id'" in str(error)
    assert type(error.__cause__) is KeyError
    assert len(error.attempts) == 1
    assert_no_secret(error, SECRET)


def test_a_bug_in_a_parser_is_not_made_an_api_error(driver: Driver) -> None:
    def parse(_: Any) -> None:
        raise MemoryError("full")

    with ScriptedServer([reply(200)]) as server:
        error = driver.operation(server.url, Operation("GET", "/", parse))

    assert type(error) is MemoryError


@pytest.mark.parametrize(
    ("own", "given", "sends"), [(0.0, None, 0), (0.0, 9.0, 1), (None, 0.0, 0), (None, None, 1)]
)
def test_the_deadline_of_the_call_goes_before_the_operations(
    driver: Driver, own: float | None, given: float | None, sends: int
) -> None:
    operation = Operation("GET", "/", lambda r: r.status, deadline=own)
    with ScriptedServer([reply(200)]) as server:
        driver.operation(server.url, operation, facts={"deadline": given})

    assert len(server.asked) == sends


# --- Pacing ---------------------------------------------------------------------------------

LIMITED = {"x_ratelimit_limit": "100", "x_ratelimit_remaining": "1", "x_ratelimit_reset": "4"}


def test_the_next_call_slows_down_when_little_is_left(driver: Driver) -> None:
    clock = FakeClock()
    with ScriptedServer([reply(200, **LIMITED), reply(200)]) as server:
        driver(server.url, ("GET", "/"), ("GET", "/"), pacing=Pacer(), clock=_Real(clock))

    assert clock.sleeps == [pytest.approx(2.0, abs=0.5)]


@pytest.mark.parametrize(
    "skew", ["Wed, 01 Jan 2020 00:00:00 GMT", "Tue, 01 Jan 2030 00:00:00 GMT", "rubbish"]
)
def test_pacing_goes_by_the_services_clock(driver: Driver, skew: str) -> None:
    clock = FakeClock()
    with ScriptedServer([reply(200, date=skew, **LIMITED), reply(200)]) as server:
        driver(server.url, ("GET", "/"), ("GET", "/"), pacing=Pacer(), clock=_Real(clock))

    assert clock.sleeps == [pytest.approx(2.0, abs=0.5)]


def test_a_pause_that_outlasts_the_deadline_is_not_begun(driver: Driver) -> None:
    clock, pacer = FakeClock(), Pacer()
    with ScriptedServer([reply(200, **LIMITED), RESET]) as server:
        _, error = driver(
            server.url, ("GET", "/"), ("GET", "/", {"deadline": 0.5}), pacing=pacer, clock=_Real(clock)
        )

    assert type(error) is failwell.DeadlineExceededError
    assert (clock.sleeps, len(server.asked)) == ([], 1)


def test_a_broken_attempt_teaches_the_pacer_nothing(driver: Driver) -> None:
    taught: list[RateLimit | None] = []

    class Noted(Pacer):
        def learn(self, limit: RateLimit | None, *_: Any) -> None:
            taught.append(limit)

    with ScriptedServer([RESET, reply(200)]) as server:
        driver(server.url, ("GET", "/"), pacing=Noted(), retry=QUICK)

    assert taught == [None]
