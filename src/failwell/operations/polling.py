"""
Decide how a job is waited for: no I/O, no clock, no dice. Drivers act on the effects.

Theory of operation. A job runs in the service; looking at it is one call. The flow looks, then
sleeps, until one of these:

1. the look says that the job is finished: the flow returns what it saw;
2. it says that the job failed, and the caller wants that raised: the class the contract names;
3. the time allowed for waiting is over: the contract's class for `PollTimeoutError`, with the job's
   id and what was last seen of it. The job goes on; look again by its id, from any process;
4. looking failed in a way that another look does not mend, or has failed for too long: that error,
   with the same facts about the job.

Each look is a whole call, with the client's own retries. One that fails all the same, because the
service is being restarted, is survived: the job did not stop because nobody saw it. The service
says how soon to look again (`Retry-After`), else the waits grow. A state that goes back, or that
nobody knows, is a state like another: only `finished` and `failed` end the waiting.

No sleep is begun that no look can follow. Our own wait is cut short so that the last look still has
time for its answer; a wait the service asked for is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from typing import Any, Generic, TypeVar

from failwell import headers
from failwell.arguments import Arguments
from failwell.call.messages import Response, Sleep
from failwell.call.operation import Operation
from failwell.errors import CallError, JobFailedError, NotFoundError, PollTimeoutError
from failwell.failure import Effect, Failure
from failwell.redaction import BODY_LIMIT, kept_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from failwell.contract import Contract

T = TypeVar("T")

_CHECK = Arguments()

# Seconds the last look has at least; it has twice what the slowest so far took, or half of what is
# left if that is less.
LAST_LOOK = 0.1


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """
    How often a job is looked at, and for how long.

    Attributes:
        interval: Seconds between the first look and the second.
        growth: What each wait is multiplied with for the next; 1.0 keeps the interval.
        cap: Seconds: the longest wait that the service did not ask for.
        timeout: Seconds for all of it; None for no limit.
        outage: Seconds without a look that succeeded, after which the last error is raised.
        grace: Seconds from the beginning in which "no such job" means "not yet": for a service
            whose new jobs can be seen with a delay.

    Raises:
        UsageError: a number is out of its range, or no number.

    Source:
        1 s, times 1.5, up to 20 s, for 15 minutes: what google-api-core's futures do.
    """

    interval: float = 1.0
    growth: float = 1.5
    cap: float = 20.0
    timeout: float | None = 900.0
    outage: float = 300.0
    grace: float = 0.0

    def __post_init__(self) -> None:
        for name in ("interval", "growth", "cap", "timeout", "outage", "grace"):
            value = getattr(self, name)
            if value is None and name == "timeout":
                continue
            if name in ("interval", "cap"):
                _CHECK.seconds(name, value)
            else:
                _CHECK.number(name, value, least=1 if name == "growth" else 0)


def _status_of(job: Any) -> str | None:
    status = getattr(job, "status", None)
    return None if status is None else str(status)


def _never_failed(job: Any) -> Failure | None:
    return None


@dataclass(frozen=True, slots=True)
class Poll(Generic[T]):
    """
    A job to wait for.

    Attributes:
        look: Looks at it once. Its `deadline` bounds one look.
        job_id: What it is called, for whoever picks it up again.
        finished: Whether nothing more happens to it.
        failed: Why it failed, as far as its state says; None if it did not. What is returned is
            raised, as the class that the contract has a rule for (by `code`, or `when`), else as
            the one it names for `JobFailedError`. By default a job that failed is a result.
        status: Its state, in the service's word; by default its attribute `status`.
        policy: How often, and for how long.
        progress: Called with what each look saw. What it raises ends the waiting, not the job.
        called: What a message calls it: "training run".
    """

    look: Operation[T]
    job_id: str
    finished: Callable[[T], bool]
    failed: Callable[[T], Failure | None] = _never_failed
    status: Callable[[T], str | None] = _status_of
    policy: PollPolicy = field(default_factory=PollPolicy)
    progress: Callable[[T], object] | None = None
    called: str = "job"


@dataclass(slots=True)
class Look(Generic[T]):
    """
    Effect: look at the job once.

    Attributes:
        operation: The call.
        deadline: Seconds it may take; None for the client's own limit.
    """

    operation: Operation[T]
    deadline: float | None


@dataclass(slots=True)
class Looked:
    """
    Event: what came of the last effect.

    Attributes:
        now: Monotonic seconds when it came.
        result: What the look saw; None after a `Sleep` and where there is an error.
        response: The answer it saw it in.
        error: Why the look did not succeed.
    """

    now: float
    result: Any = None
    response: Response | None = None
    error: CallError | None = None


if TYPE_CHECKING:
    PollFlow = Generator[Look[T] | Sleep, Looked, T]


@dataclass(slots=True)
class _Seen:
    """What is known of the job."""

    looks: int = 0
    status: str | None = None
    response: Response | None = None


def poll_flow(poll: Poll[T], contract: Contract, *, now: float, epoch: float) -> PollFlow[T]:
    """
    Look at a job until it is finished.

    Args:
        poll: Which, how often, for how long.
        contract: Which failure is which exception.
        now: Monotonic seconds.
        epoch: The Unix time at which the monotonic clock read 0, for dates in headers.

    Returns:
        By way of `StopIteration`, what the last look saw.

    Raises:
        CallError: the class the contract names for `PollTimeoutError` or `JobFailedError`, or the
            error of a look; each has the job's id and last state in `failure.details`.
    """
    policy = poll.policy
    began = good = now
    deadline = inf if policy.timeout is None else now + policy.timeout
    seen, is_last = _Seen(), False
    wait, slowest = min(policy.interval, policy.cap), LAST_LOOK / 2

    while True:
        # 1. Look.
        looked = yield Look(poll.look, _shorter(poll.look.deadline, deadline - now))
        slowest, now = max(slowest, looked.now - now), looked.now
        seen.looks += 1
        error, asked = looked.error, None

        if error is None:
            # 2. It was seen.
            good = now
            seen.status, seen.response = poll.status(looked.result), looked.response
            if poll.progress is not None:
                poll.progress(looked.result)
            why = poll.failed(looked.result)
            if why is not None:
                raise _job_failed(poll, contract, why, seen)
            if poll.finished(looked.result):
                result: T = looked.result
                return result
            assert looked.response is not None
            wall = datetime.fromtimestamp(epoch + now, UTC)
            asked = headers.retry_after(looked.response.headers, wall, throttled=False)
        elif now < deadline:
            # 3. It was not.
            is_new = isinstance(error, NotFoundError) and seen.response is None and now - began < policy.grace
            if not (is_new or error.retryable) or now - good > policy.outage:
                raise _told(error, poll, seen)
            asked = error.retry_after

        # 4. How long until the next look, and is there time for one?
        left, delay = deadline - now, asked or wait
        wait = min(policy.cap, wait * policy.growth)
        if asked and asked >= left:
            raise _timed_out(poll, contract, seen, now - began, asked) from error
        if not asked and delay > left - (reserve := min(2 * slowest, left / 2)):
            delay = left - reserve
            if is_last or delay <= 0:
                raise _timed_out(poll, contract, seen, now - began, None) from error
            is_last = True
        now = (yield Sleep(delay)).now
        if now >= deadline:  # a busy machine sleeps longer than it was asked to
            raise _timed_out(poll, contract, seen, now - began, None) from error


def _shorter(stated: float | None, left: float) -> float | None:
    if stated is not None:
        return min(stated, left)
    return None if left == inf else left


def _timed_out(
    poll: Poll[Any], contract: Contract, seen: _Seen, waited: float, asked: float | None
) -> CallError:
    state = f"is still {seen.status}" if seen.status else "was not seen to be finished"
    failure = replace(
        _about(poll, seen),
        message=f"The {poll.called} {poll.job_id} {state} after {waited:.1f} s; it goes on by itself",
        retry_after=asked,
        reason=PollTimeoutError.kind,
        effect=Effect.UNKNOWN,
        retryable=True,
        stopped="deadline",
    )
    return contract.class_for(PollTimeoutError).from_failure(failure)


def _job_failed(poll: Poll[Any], contract: Contract, why: Failure, seen: _Seen) -> CallError:
    known = _about(poll, seen)
    failure = replace(
        why,
        details={**known.details, **why.details},
        message=why.message or f"The {poll.called} {poll.job_id} failed",
        body=known.body if why.body is None else why.body,
        request_id=why.request_id or known.request_id,
        method=why.method or known.method,
        url=why.url or known.url,
    )
    rule = next((r for r in contract.rules if (r.codes or r.when) and r.matches(failure)), None)
    cls = contract.class_for(JobFailedError) if rule is None else rule.raises
    return cls.from_failure(failure, None if rule is None else rule.message)


def _told(error: CallError, poll: Poll[Any], seen: _Seen) -> CallError:
    """`error` of a look, with what is known of the job."""
    details = {**_about(poll, seen).details, **error.failure.details}
    error.failure = replace(error.failure, details=details)
    return error


def _about(poll: Poll[Any], seen: _Seen) -> Failure:
    """What is known of the job, as facts."""
    response = seen.response
    details = {"job_id": poll.job_id, "job_status": seen.status, "looks": seen.looks}
    if response is None:
        return Failure(method=poll.look.method, details=details)
    return Failure(
        method=poll.look.method,
        url=kept_url(response.url) if response.url else None,
        body=_body(response),
        request_id=headers.request_id(response.headers),
        details=details,
    )


def _body(response: Response) -> Any:
    if len(response.content) <= BODY_LIMIT:
        try:
            return response.json()
        except ValueError:
            pass
    return response.text[:BODY_LIMIT] or None
