"""Jobs and work of several calls over a real socket: blocking, under asyncio and under trio."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from client_drivers import Driver
from scripted_server import RESET, STALL, ScriptedServer, reply

import failwell
from failwell import Contract, Operation, Poll, PollPolicy, RetryPolicy
from failwell.models import Page
from failwell.operations.steps import Steps, do, every_item, pause

ONCE = RetryPolicy(max_attempts=1)
PROMPT = PollPolicy(interval=0.01, growth=1.0, timeout=30.0)


def job(policy: PollPolicy = PROMPT, **settings: Any) -> Callable[[], Poll[dict[str, Any]]]:
    return lambda: Poll(
        Operation("GET", "/runs/run_1", lambda response: response.json()),
        "run_1",
        finished=lambda run: run["status"] == "completed",
        status=lambda run: run["status"],
        policy=policy,
        **settings,
    )


def running(**headers: str) -> bytes:
    return reply(202, {"status": "running"}, **headers)


COMPLETED = reply(200, {"status": "completed"})


def test_a_job_is_looked_at_until_it_is_finished_and_a_restart_in_between_is_survived(driver: Driver) -> None:
    with ScriptedServer([running(), RESET, reply(503), running(retry_after="0"), COMPLETED]) as server:
        result = driver.perform(server.url, job(), retry=ONCE)

    assert result == {"status": "completed"}
    assert [asked.target for asked in server.asked] == ["/runs/run_1"] * 5


def test_a_job_is_picked_up_again_by_its_id_by_another_client(driver: Driver) -> None:
    class TooLongError(failwell.PollTimeoutError):
        """It took too long."""

    contract = Contract("toy", broken={failwell.PollTimeoutError: TooLongError})
    short = PollPolicy(interval=0.05, timeout=0.2)
    with ScriptedServer([*[running()] * 99]) as server:
        error = driver.perform(server.url, job(short), contract=contract)
        assert type(error) is TooLongError
        assert (error.job_id, error.job_status) == ("run_1", "running")
        assert error.failure.url == f"{server.url}/runs/run_1"

    with ScriptedServer([COMPLETED]) as server:
        assert driver.perform(server.url, job(), contract=contract)["status"] == "completed"


def test_a_look_that_meets_silence_does_not_outlive_the_time_allowed(driver: Driver) -> None:
    began = time.monotonic()
    with ScriptedServer([running(), STALL]) as server:
        error = driver.perform(server.url, job(PollPolicy(interval=0.01, timeout=0.5)), retry=ONCE)
    took = time.monotonic() - began

    assert type(error) is failwell.PollTimeoutError
    assert isinstance(error.__cause__, failwell.CallTimeoutError)
    assert 0.3 < took < 15.0


def test_what_a_look_cannot_read_is_raised(driver: Driver) -> None:
    page = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>"
    with ScriptedServer([page]) as server:
        error = driver.perform(server.url, job())

    assert type(error) is failwell.BadAnswerError
    assert error.failure.details["job_id"] == "run_1"


def test_several_calls_are_made_in_order_and_each_write_has_a_key_of_its_own(driver: Driver) -> None:
    def work() -> Steps[str]:
        for name in ("a", "b"):
            yield from do(Operation("POST", f"/{name}", lambda response: response.json(), json={}))
        yield from pause(0.001)
        run = yield from do(job()())
        return str(run["status"])

    with ScriptedServer([RESET, reply(201), reply(201), running(), COMPLETED]) as server:
        assert driver.perform(server.url, work) == "completed"

    assert [a.target for a in server.asked] == ["/a", "/a", "/b", "/runs/run_1", "/runs/run_1"]
    first, again, second = (asked.headers["idempotency-key"] for asked in server.asked[:3])
    assert first == again != second


def test_an_operation_is_carried_out_as_it_is(driver: Driver) -> None:
    with ScriptedServer([reply(200)]) as server:
        assert driver.perform(server.url, lambda: Operation("GET", "/", lambda r: r.status)) == 200


def test_steps_that_need_no_call_make_none(driver: Driver) -> None:
    def nothing() -> Steps[list[str]]:
        return []
        yield  # a generator all the same

    with ScriptedServer([]) as server:
        assert driver.perform(server.url, nothing) == []

    assert server.asked == []


def numbers_after(cursor: str | None) -> Operation[Page[int]]:
    return Operation("GET", "/numbers", Page.of(int), params={"cursor": cursor})


def test_a_list_is_read_page_by_page(driver: Driver) -> None:
    pages = [
        reply(200, {"items": [1, 2], "next_cursor": "c2"}),
        reply(503),
        reply(200, {"items": [3], "next_cursor": "c3"}),
        reply(200, {"items": [], "next_cursor": None}),
    ]
    quick = RetryPolicy(base=0.001)
    with ScriptedServer(pages) as server:
        found = driver.perform(server.url, lambda: every_item(numbers_after), retry=quick)

    assert found == [1, 2, 3]
    assert [asked.target.partition("=")[2] for asked in server.asked] == ["", "c2", "c2", "c3"]


def test_a_list_that_leads_back_into_itself_is_an_answer_that_cannot_be_used(driver: Driver) -> None:
    page = reply(200, {"items": [1], "next_cursor": "c2"})
    with ScriptedServer([page] * 9) as server:
        error = driver.perform(server.url, lambda: every_item(numbers_after))

    assert type(error) is failwell.BadAnswerError
    assert "next_cursor 'c2' was given before" in str(error)
    assert len(server.asked) == 2
