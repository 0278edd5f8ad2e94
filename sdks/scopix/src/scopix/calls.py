"""What the calls of all resources have in common: checks, pages, writes and jobs to wait for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from failwell.arguments import Arguments
from failwell.call.messages import Response
from failwell.call.operation import Operation
from failwell.failure import Failure
from failwell.operations.polling import Poll, PollPolicy
from failwell.operations.steps import Steps, do
from scopix.contract import CONTRACT
from scopix.errors import WaitTimeoutError

T = TypeVar("T")

check = Arguments(CONTRACT)

MAX_LIMIT = 1000
ENDED = ("completed", "failed", "cancelled")

# Seconds for a job that is waited for, by default: the document's.
JOB_TIMEOUT = 600.0


def paging(limit: object, cursor: object) -> dict[str, Any]:
    """The part of a query that says which page."""
    return {
        "limit": check.optional(check.whole, "limit", limit, least=1, most=MAX_LIMIT),
        "cursor": check.optional(check.text, "cursor", cursor),
    }


def write(
    method: str,
    path: str,
    parse: Callable[[Response], T],
    body: Mapping[str, Any] | None = None,
    idempotency_key: object = None,
) -> Operation[T]:
    """An operation that changes something."""
    key = check.optional(check.text, "idempotency_key", idempotency_key)
    return Operation(method, path, parse, json=body, idempotency_key=key)


def present(**members: Any) -> dict[str, Any]:
    """The members that say something."""
    return {name: value for name, value in members.items() if value is not None}


def nothing(response: Response) -> None:
    """For an answer in which there is nothing to know."""


def callback(name: str, value: Any) -> Callable[..., object] | None:
    """A function to call, or None."""
    if value is not None and not callable(value):
        raise check.wrong_type(name, value, "a function")
    function: Callable[..., object] | None = value
    return function


def ended(job: Any) -> bool:
    """Whether nothing more happens to a job."""
    return job.status in ENDED


def wait_for(
    look: Operation[T],
    job_id: str,
    *,
    failed: Callable[[T], Failure | None],
    timeout: object,
    progress: Any,
    called: str,
    finished: Callable[[T], bool] = ended,
    status: Callable[[T], str | None] | None = None,
) -> Steps[T]:
    """
    A job, once it is finished, as steps. What is passed is checked here, not at the first step.

    Raises:
        WaitTimeoutError: it was not finished in time; `last_result` is the job as last seen.
        ScopixError: what `failed` says.
    """
    policy = PollPolicy(interval=1.0, cap=10.0, timeout=check.optional(check.seconds, "timeout", timeout))
    tell = callback("progress", progress)
    seen: list[T] = []

    def remember(job: T) -> None:
        seen[:] = [job]
        if tell is not None:
            tell(job)

    poll = Poll(look, job_id, finished, failed, policy=policy, progress=remember, called=called)
    if status is not None:
        poll = Poll(look, job_id, finished, failed, status, policy, remember, called)
    return _waited(poll, seen)


def _waited(poll: Poll[T], seen: list[T]) -> Steps[T]:
    try:
        return (yield from do(poll))
    except WaitTimeoutError as error:
        error._last_result = seen[0] if seen else None
        raise


def started_and_done(start: Operation[T], wait: Callable[[T], Steps[T]]) -> Steps[T]:
    """A job, started and waited for."""
    job: T = yield from do(start)
    return (yield from wait(job))


def job_failure(job: Any, code: str, **details: Any) -> Failure | None:
    """Why a job failed, as its state says: a failure with the document's `code`; None if it did not."""
    if job.status not in ("failed", "cancelled"):
        return None
    why = job.error
    message = f"{job.id} was {job.status}" if why is None else why.message
    if why is not None and why.reason is not None:
        details["reason"] = why.reason
    return Failure(code=code, message=message, details=details)
