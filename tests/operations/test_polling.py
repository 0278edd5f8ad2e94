"""How a job is waited for, with the service played by hand and a clock that jumps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from failwell import (
    CallError,
    CallTimeoutError,
    Contract,
    Effect,
    Failure,
    JobFailedError,
    NotFoundError,
    Operation,
    PermissionDeniedError,
    Poll,
    PollPolicy,
    PollTimeoutError,
    Response,
    Rule,
    UnavailableError,
    UsageError,
)
from failwell.call.messages import Sleep
from failwell.contract import STANDARD
from failwell.operations.polling import Look, Looked, poll_flow
from failwell.testing import answer, make_error

LOOK: Operation[dict[str, Any]] = Operation("GET", "/runs/run_1", lambda response: response.json())


class RunTimeoutError(PollTimeoutError):
    """A run took too long."""

    @property
    def run_id(self) -> str | None:
        return self.job_id


class RunFailedError(JobFailedError):
    """A run failed."""


class NoCreditError(CallError):
    """A run stopped because credits were spent."""


CONTRACT = Contract(
    "toy",
    base=CallError,
    rules=[Rule(NoCreditError, code="out_of_credits", message="No credits left"), Rule(CallError)],
    broken={PollTimeoutError: RunTimeoutError, JobFailedError: RunFailedError},
)


def run(status: str, headers: dict[str, str] | None = None, **members: Any) -> Response:
    return answer(200, {"id": "run_1", "status": status, **members}, headers=headers)


def poll(**settings: Any) -> Poll[dict[str, Any]]:
    policy = settings.pop("policy", PollPolicy(timeout=60.0))
    return Poll(
        LOOK,
        "run_1",
        finished=lambda job: job["status"] in ("completed", "failed"),
        status=lambda job: job["status"],
        policy=policy,
        **settings,
    )


@dataclass
class Waited:
    """How the waiting went."""

    result: Any = None
    error: CallError | None = None
    sleeps: list[float] = field(default_factory=list)
    looks: list[float | None] = field(default_factory=list)
    took: float = 0.0


def wait(
    what: Poll[Any],
    news: Iterable[Response | CallError | Callable[[], Response]],
    *,
    contract: Contract = STANDARD,
    seconds: float = 0.0,
    oversleeps: float = 0.0,
) -> Waited:
    """Play the service: one of `news` for each look, each of which takes `seconds`."""
    now = 1000.0
    flow = poll_flow(what, contract, now=now, epoch=1_767_225_600.0 - now)
    script, waited = iter(news), Waited()
    try:
        effect = next(flow)
        while True:
            if isinstance(effect, Sleep):
                assert effect.seconds > 0  # no machine sleeps less
                waited.sleeps.append(effect.seconds)
                now += effect.seconds + oversleeps
                reply = Looked(now)
            else:
                assert isinstance(effect, Look)
                waited.looks.append(effect.deadline)
                cut = effect.deadline is not None and effect.deadline < seconds
                now += effect.deadline if effect.deadline is not None and cut else seconds
                said = make_error(CallTimeoutError, retryable=False) if cut else next(script)
                if isinstance(said, CallError):
                    reply = Looked(now, error=said)
                else:
                    reply = Looked(now, effect.operation.parse(said), said)  # type: ignore[arg-type]
            effect = flow.send(reply)
    except StopIteration as done:
        waited.result = done.value
    except CallError as exc:
        waited.error = exc
    waited.took = now - 1000.0
    return waited


def test_a_job_that_is_finished_is_looked_at_once() -> None:
    waited = wait(poll(), [run("completed")])

    assert waited.result == {"id": "run_1", "status": "completed"}
    assert waited.sleeps == []


def test_the_waits_grow_up_to_their_cap() -> None:
    policy = PollPolicy(interval=1.0, growth=2.0, cap=5.0, timeout=None)

    waited = wait(poll(policy=policy), [*[run("running")] * 6, run("completed")])

    assert waited.sleeps == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    assert waited.looks == [None] * 7


def test_no_wait_of_our_own_is_longer_than_the_cap() -> None:
    policy = PollPolicy(interval=9.0, cap=2.0)

    assert wait(poll(policy=policy), [*[run("running")] * 2, run("completed")]).sleeps == [2.0, 2.0]


def test_an_interval_that_does_not_grow_stays() -> None:
    policy = PollPolicy(interval=3.0, growth=1.0)

    assert wait(poll(policy=policy), [*[run("running")] * 3, run("completed")]).sleeps == [3.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("headers", "sleep"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 1.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:09 GMT", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}, 9.0),
        ({"retry-after": "soon"}, 1.0),
        # The renewal of a limit that is not spent says nothing about the job.
        ({"x-ratelimit-remaining": "10", "x-ratelimit-reset": "50"}, 1.0),
    ],
)
def test_the_service_says_how_soon_to_look_again(headers: dict[str, str], sleep: float) -> None:
    waited = wait(poll(), [run("running", headers), run("completed")])

    assert waited.sleeps == [sleep]


def test_the_time_over_is_an_error_with_which_the_job_can_be_picked_up_again() -> None:
    policy = PollPolicy(interval=10.0, growth=1.0, timeout=60.0)

    waited = wait(
        poll(policy=policy), itertools.repeat(run("running", {"x-request-id": "req_9"}, progress=0.4))
    )

    error = waited.error
    assert type(error) is PollTimeoutError
    assert (error.job_id, error.job_status) == ("run_1", "running")
    assert error.failure.details["looks"] == len(waited.looks)
    assert error.body == {"id": "run_1", "status": "running", "progress": 0.4}
    assert error.request_id == "req_9"
    assert error.effect is Effect.UNKNOWN
    assert error.retryable
    assert str(error).startswith("The job run_1 is still running after 59.9 s; it goes on by itself")
    assert waited.took <= 60.0


def test_the_last_wait_is_cut_short_so_that_a_job_that_ends_in_time_is_seen() -> None:
    policy = PollPolicy(interval=20.0, growth=1.0, timeout=50.0)

    waited = wait(poll(policy=policy), [*[run("running")] * 3, run("completed")], seconds=0.5)

    assert waited.result["status"] == "completed"
    assert waited.sleeps[:2] == [20.0, 20.0]
    assert 40.0 < waited.took <= 50.0


def test_looks_that_take_long_do_not_outlive_the_time_nor_give_it_up() -> None:
    policy = PollPolicy(interval=1.0, growth=1.0, timeout=30.0)

    waited = wait(poll(policy=policy), itertools.repeat(run("running")), seconds=4.0)

    assert isinstance(waited.error, PollTimeoutError)
    assert 29.0 <= waited.took <= 30.0


def test_a_wait_the_service_asked_for_is_not_cut_short_but_raised_at_once() -> None:
    waited = wait(poll(), [run("running", {"retry-after": "120"})])

    assert isinstance(waited.error, PollTimeoutError)
    assert waited.error.retry_after == 120.0
    assert waited.sleeps == []


def test_no_time_at_all_is_one_look() -> None:
    policy = PollPolicy(timeout=0.0)

    assert wait(poll(policy=policy), [run("completed")]).result["status"] == "completed"
    assert isinstance(wait(poll(policy=policy), [run("running")]).error, PollTimeoutError)


def test_a_machine_that_oversleeps_does_not_look_after_the_time_is_over() -> None:
    waited = wait(poll(), itertools.repeat(run("running")), oversleeps=100.0)

    assert isinstance(waited.error, PollTimeoutError)
    assert len(waited.looks) == 1


def test_each_look_has_the_time_that_is_left_and_no_more_than_its_own() -> None:
    policy = PollPolicy(interval=10.0, growth=1.0, timeout=60.0)
    slow = Operation("GET", "/runs/run_1", LOOK.parse, deadline=5.0)
    patient = Poll(slow, "run_1", finished=lambda job: job["status"] == "completed", policy=policy)

    assert wait(poll(policy=policy), [run("running"), run("completed")]).looks == [60.0, 50.0]
    assert wait(patient, [run("running"), run("completed")]).looks == [5.0, 5.0]
    long = replace(patient, look=replace(slow, deadline=45.0))
    assert wait(long, [run("running"), run("running"), run("completed")]).looks == [45.0, 45.0, 40.0]


def test_a_service_that_is_restarted_in_between_is_survived() -> None:
    down = make_error(UnavailableError, status=503)

    waited = wait(poll(), [run("running"), down, down, run("running"), run("completed")])

    assert waited.result["status"] == "completed"
    assert len(waited.sleeps) == 4


def test_a_failed_look_that_says_when_is_believed() -> None:
    waited = wait(poll(), [make_error(UnavailableError, status=503, retry_after=12.0), run("completed")])

    assert waited.sleeps == [12.0]


def test_a_failed_look_that_asks_for_more_time_than_there_is_is_the_cause() -> None:
    down = make_error(UnavailableError, status=503, retry_after=600.0)

    waited = wait(poll(), [down])

    assert isinstance(waited.error, PollTimeoutError)
    assert waited.error.__cause__ is down
    assert waited.error.retry_after == 600.0


def test_a_service_that_stays_away_for_too_long_is_its_own_error() -> None:
    down = make_error(UnavailableError, status=503)
    policy = PollPolicy(interval=10.0, growth=1.0, timeout=None, outage=35.0)

    waited = wait(poll(policy=policy), [*[run("running")] * 6, *[down] * 9])

    assert waited.error is down
    assert len(waited.looks) == 6 + 4  # 40 s after the last that succeeded
    assert down.failure.details["job_id"] == "run_1"
    assert down.failure.details["job_status"] == "running"


def test_a_service_that_is_away_when_the_time_is_over_is_the_cause() -> None:
    down = make_error(UnavailableError, status=503)

    waited = wait(poll(), itertools.chain([run("queued")], itertools.repeat(down)))

    assert isinstance(waited.error, PollTimeoutError)
    assert waited.error.job_status == "queued"
    assert waited.error.__cause__ is down


def test_a_look_that_the_end_of_the_time_cuts_short_is_the_cause() -> None:
    waited = wait(poll(policy=PollPolicy(timeout=5.0)), itertools.repeat(run("running")), seconds=3.0)

    assert isinstance(waited.error, PollTimeoutError)
    assert isinstance(waited.error.__cause__, CallTimeoutError)
    assert waited.took == 5.0


def test_a_job_that_was_never_seen_is_said_to_be_so() -> None:
    waited = wait(poll(), itertools.repeat(make_error(UnavailableError, status=503)))

    assert isinstance(waited.error, PollTimeoutError)
    assert waited.error.job_status is None
    assert "was not seen to be finished" in str(waited.error)


def test_what_another_look_does_not_mend_is_raised_at_once() -> None:
    refused = make_error(PermissionDeniedError)

    waited = wait(poll(), [run("running"), refused])

    assert waited.error is refused
    assert refused.failure.details["job_status"] == "running"


def test_a_new_job_may_not_be_there_yet() -> None:
    missing = make_error(NotFoundError)
    policy = PollPolicy(interval=2.0, growth=1.0, grace=5.0)

    assert wait(poll(policy=policy), [missing, missing, run("completed")]).result["status"] == "completed"
    assert wait(poll(policy=policy), [missing] * 9).error is missing
    assert wait(poll(), [missing]).error is missing


def test_a_job_that_was_seen_and_is_gone_is_gone() -> None:
    missing = make_error(NotFoundError)

    waited = wait(poll(policy=PollPolicy(grace=60.0)), [run("running"), missing])

    assert waited.error is missing


def test_a_state_that_goes_back_or_that_nobody_knows_is_waited_through() -> None:
    waited = wait(poll(), [run("running"), run("queued"), run("hibernating"), run("completed")])

    assert waited.result["status"] == "completed"


def test_a_job_that_failed_is_a_result_unless_the_caller_wants_it_raised() -> None:
    assert wait(poll(), [run("failed")]).result["status"] == "failed"


def why(job: dict[str, Any]) -> Failure | None:
    if job["status"] != "failed":
        return None
    return Failure(message=job.get("why"), code=job.get("code"))


def test_a_failed_job_raises_the_class_the_contract_names() -> None:
    waited = wait(poll(failed=why), [run("running"), run("failed", why="no labels")], contract=CONTRACT)

    error = waited.error
    assert type(error) is RunFailedError
    assert error.message == "no labels"
    assert (error.job_id, error.job_status) == ("run_1", "failed")
    assert error.body["why"] == "no labels"


def test_a_failed_job_with_a_code_of_the_table_raises_that_row() -> None:
    waited = wait(poll(failed=why), [run("failed", code="out_of_credits")], contract=CONTRACT)

    assert type(waited.error) is NoCreditError
    assert str(waited.error).startswith("No credits left")


def test_a_failed_job_that_says_nothing_is_named() -> None:
    waited = wait(poll(failed=why, called="training run"), [run("failed")])

    assert type(waited.error) is JobFailedError
    assert "The training run run_1 failed" in str(waited.error)


def test_the_contract_names_the_timeout_too() -> None:
    waited = wait(poll(), itertools.repeat(run("running")), contract=CONTRACT)

    assert type(waited.error) is RunTimeoutError
    assert waited.error.run_id == "run_1"


def test_progress_is_told_of_each_look() -> None:
    seen: list[Any] = []

    wait(poll(progress=seen.append), [run("queued"), run("running"), run("completed")])

    assert [job["status"] for job in seen] == ["queued", "running", "completed"]


def test_what_progress_raises_ends_the_waiting() -> None:
    def stop(job: Any) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        wait(poll(progress=stop), [run("running")])


def test_the_state_is_taken_from_the_attribute_of_that_name() -> None:
    @dataclass
    class Job:
        status: str | None = None

    jobs = itertools.chain([Job("running")], itertools.repeat(Job()))
    what: Poll[Job] = Poll(
        Operation("GET", "/", lambda r: next(jobs)),
        "j",
        finished=lambda job: False,
        policy=PollPolicy(timeout=2.0, interval=1.9),
    )

    waited = wait(what, itertools.repeat(answer(200, {})))

    assert waited.error is not None
    assert waited.error.failure.details["job_status"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"interval": 0.0},
        {"interval": float("inf")},
        {"cap": -1.0},
        {"growth": 0.5},
        {"growth": float("nan")},
        {"timeout": -1.0},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"timeout": "60"},
        {"interval": None},
        {"grace": True},
        {"outage": -1.0},
        {"grace": -0.1},
    ],
)
def test_a_number_out_of_its_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        PollPolicy(**wrong)


@pytest.mark.parametrize("content", [b"", b"<html>", b"x" * 100_000])
def test_the_last_answer_is_kept_as_it_was_but_not_all_of_a_huge_one(content: bytes) -> None:
    what: Poll[str] = Poll(
        Operation("GET", "/", lambda r: "running"), "j", finished=lambda job: False, status=str
    )

    error = wait(
        what, itertools.repeat(Response(200, [], content, "https://api.example/j?token=s3cr3t"))
    ).error

    assert error is not None
    assert error.failure.body == (content.decode()[: 64 * 1024] or None)
    assert "s3cr3t" not in str(error.failure.url)
