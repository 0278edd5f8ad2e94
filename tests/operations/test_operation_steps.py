"""Work of several calls, with the client played by hand."""

from __future__ import annotations

import pytest

from failwell import NotFoundError, Operation, Poll
from failwell.call.messages import Sleep
from failwell.operations.steps import Done, Steps, do, pause
from failwell.testing import make_error

GET: Operation[int] = Operation("GET", "/a", lambda response: 1)
JOB: Poll[int] = Poll(GET, "j", finished=lambda job: True)


def work() -> Steps[tuple[int, int, float]]:
    first = yield from do(GET)
    later = yield from pause(2.0)
    try:
        second = yield from do(JOB)
    except NotFoundError:
        second = -1
    return first, second, later


def test_each_step_is_ordered_and_brings_its_result() -> None:
    steps = work()

    assert next(steps) is GET
    assert steps.send(Done(1.0, 41)) == Sleep(2.0)
    assert steps.send(Done(3.0)) is JOB
    with pytest.raises(StopIteration) as done:
        steps.send(Done(4.0, 42))
    assert done.value.value == (41, 42, 3.0)


def test_what_fails_is_raised_where_it_was_asked_for() -> None:
    steps = work()
    next(steps)
    steps.send(Done(1.0, 41))
    steps.send(Done(3.0))

    with pytest.raises(StopIteration) as done:
        steps.send(Done(4.0, error=make_error(NotFoundError)))

    assert done.value.value == (41, -1, 3.0)


def test_what_nobody_takes_care_of_ends_the_work() -> None:
    steps, error = work(), make_error(NotFoundError)
    next(steps)

    with pytest.raises(NotFoundError) as caught:
        steps.send(Done(1.0, error=error))

    assert caught.value is error
