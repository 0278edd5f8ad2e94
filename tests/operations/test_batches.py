"""Batches, with the workers played by hand: nothing is sent, and no time passes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import failwell
from failwell import Batch, BatchResult, Contract, Effect, Operation
from failwell.contract import STANDARD
from failwell.operations.batches import STOPS_ON, BatchCrew
from failwell.operations.steps import Done
from failwell.operations.together import Pause, Task
from failwell.testing import make_error


def post(item: Any, key: str) -> Operation[Any]:
    return Operation("POST", f"/things/{item}", lambda response: response.json(), json={})


class Hands:
    """Begins and ends the items of a batch, as threads or tasks would."""

    def __init__(self, batch: Batch[Any, Any], contract: Contract = STANDARD, *, keyed: bool = True) -> None:
        self.batch = batch
        self.now = 100.0
        self.crew: BatchCrew[Any, Any] = batch.begin(
            contract, now=self.now, keyed=keyed, max_retry_after=60.0
        )

    def ask(self) -> Pause | bool:
        with self.crew.lock:
            return self.crew.ask(self.now)

    def begin(self) -> Task | None:
        """The next task; None if there is none, or none may be begun."""
        if self.ask() is not True:
            return None
        task = self.crew.draw()
        if task is None:
            with self.crew.lock:
                self.crew.drawn_out()
        return task

    def begin_all(self) -> list[Task]:
        """As many as may be begun now."""
        return list(iter(self.begin, None))

    def end(self, task: Task | None, result: Any = None, error: Exception | None = None) -> None:
        assert task is not None
        with self.crew.lock:
            self.crew.ended(task, Done(self.now, result, task.error or error))
        self.crew.tell(task)

    def finish(self) -> BatchResult[Any, Any]:
        """Let all that is left succeed."""
        while (task := self.begin()) is not None:
            self.end(task, f"result of {task.number}")
        return self.batch.result


def failing(error: Exception, *, at: int = 1, of: int = 4, **settings: Any) -> BatchResult[Any, Any]:
    """The result of a batch of which one item fails, one item at a time."""
    hands = Hands(Batch(range(of), post, concurrency=1, **settings))
    while (task := hands.begin()) is not None:
        hands.end(task, task.number, error if task.number == at else None)
    return hands.batch.result


def statuses(result: BatchResult[Any, Any]) -> list[str]:
    return [item.status for item in result]


def test_as_many_are_under_way_as_is_allowed_and_each_end_lets_another_begin() -> None:
    hands = Hands(Batch(range(9), post, concurrency=3))

    first = hands.begin_all()
    assert [task.number for task in first] == [0, 1, 2]
    assert hands.ask() == Pause(None)
    hands.end(first[1])
    assert [task.number for task in hands.begin_all()] == [3]


def test_results_stand_in_the_order_of_the_input_whatever_ended_first() -> None:
    hands = Hands(Batch(range(5), post, concurrency=5))
    for task in reversed(hands.begin_all()):
        hands.end(task, task.number * 10)

    result = hands.batch.result
    assert result.partial_results == [0, 10, 20, 30, 40]
    assert [item.item for item in result] == [0, 1, 2, 3, 4]
    assert (result.ok, result.unread, result.stopped) == (True, False, "")
    assert result.raise_on_failures() is result


def test_one_that_fails_does_not_stop_the_others() -> None:
    error = make_error(failwell.InvalidRequestError)
    result = failing(error)

    assert statuses(result) == ["done", "failed", "done", "done"]
    assert (result[1].error, result.stopped, result.stopper) == (error, "", None)
    assert [item.number for item in result.failed] == [1]
    assert [item.effect for item in result[:2]] == [Effect.APPLIED, Effect.NOT_APPLIED]


def test_the_first_failure_stops_it_if_that_is_wanted() -> None:
    error = make_error(failwell.NotFoundError)
    result = failing(error, fail_fast=True)

    assert statuses(result) == ["done", "failed", "not_sent", "not_sent"]
    assert (result.stopped, result.stopper) == ("fail_fast", error)
    assert [item.effect for item in result.not_sent] == [Effect.NOT_SENT] * 2


@pytest.mark.parametrize("cls", STOPS_ON, ids=lambda cls: cls.__name__)
def test_a_failure_that_every_item_would_meet_stops_it(cls: type[failwell.CallError]) -> None:
    error = make_error(cls)
    result = failing(error)

    assert statuses(result) == ["done", "failed", "not_sent", "not_sent"]
    assert (result.stopped, result.stopper) == ("error", error)


def test_which_failures_stop_it_can_be_said() -> None:
    denied = failing(make_error(failwell.PermissionDeniedError), stops_on=(failwell.PermissionDeniedError,))
    ignored = failing(make_error(failwell.AuthenticationError), stops_on=())

    assert (denied.stopped, ignored.stopped) == ("error", "")


def test_what_is_under_way_ends_by_itself_when_it_is_stopped() -> None:
    hands = Hands(Batch(range(9), post, concurrency=3))
    first, second, third = hands.begin_all()
    hands.end(first, error=make_error(failwell.AuthenticationError))

    assert hands.ask() is False
    hands.end(second, "second")
    hands.end(third, error=make_error(failwell.AuthenticationError))
    assert statuses(hands.batch.result) == ["failed", "done", "failed", *["not_sent"] * 6]
    assert hands.batch.result.stopper is hands.batch.result[0].error


def test_many_outages_in_a_row_stop_it_and_a_success_in_between_does_not() -> None:
    hands = Hands(Batch(range(20), post, concurrency=1, outage=3))
    for down in (True, True, False, True, True, True):
        error = make_error(failwell.UnavailableError if down else failwell.ConflictError)
        hands.end(hands.begin(), error=error)

    result = hands.batch.result
    assert (result.stopped, len(result.failed), len(result.not_sent)) == ("outage", 6, 14)


def test_an_outage_never_stops_it_if_that_is_not_wanted() -> None:
    hands = Hands(Batch(range(50), post, concurrency=1, outage=None))
    for _ in range(50):
        hands.end(hands.begin(), error=make_error(failwell.ConnectError))

    assert len(hands.batch.result.failed) == 50


def test_one_that_is_throttled_holds_the_others_back_and_they_come_back_slowly() -> None:
    hands = Hands(Batch(range(99), post, concurrency=4))
    tasks = hands.begin_all()
    hands.crew.throttled(hands.now, 3.0)
    hands.crew.throttled(hands.now, 3.0)  # the same moment, met by another that was under way
    hands.end(tasks[0])

    assert hands.ask() == Pause(3.0)
    for task in tasks[1:]:
        hands.end(task)
    hands.now += 3.0
    # Four have succeeded since, by what was then allowed: 2 + 1/2 + ... is more than three.
    assert len(hands.begin_all()) == 3


def test_after_a_throttled_moment_half_as_many_are_under_way() -> None:
    hands = Hands(Batch(range(99), post, concurrency=8))
    hands.crew.throttled(hands.now, 1.0)
    hands.now += 1.0

    assert len(hands.begin_all()) == 4


def test_one_whose_tries_were_throttled_is_begun_again_and_has_not_failed() -> None:
    told: list[Any] = []
    batch = Batch(range(2), post, concurrency=1, progress=lambda item, done, total: told.append(item.number))
    hands = Hands(batch)
    first = hands.begin()
    key = batch.result[0].key
    hands.end(first, error=make_error(failwell.RateLimitError, retry_after=5.0))

    assert (told, hands.ask()) == ([], Pause(5.0))
    hands.now += 5.0
    again = hands.begin()
    assert again is not None
    assert again.number == 0
    assert again.order.idempotency_key == key
    hands.end(again, "at last")
    assert hands.finish().ok
    assert told == [0, 1]


def test_one_that_comes_back_is_taken_by_who_waits_for_the_end() -> None:
    hands = Hands(Batch(range(1), post, concurrency=1))
    first = hands.begin()
    assert hands.ask() == Pause(None)
    hands.end(first, error=make_error(failwell.RateLimitError, retry_after=1.0))
    hands.now += 1.0

    assert hands.finish().ok
    assert hands.ask() is False


@pytest.mark.parametrize(
    ("settings", "retry_after"),
    [({}, None), ({}, 61.0), ({"patience": 4.0}, 5.0), ({"deadline": 5.0}, 5.0)],
    ids=["no word when", "longer than is waited for", "out of patience", "not before the deadline"],
)
def test_one_that_was_throttled_fails_where_waiting_does_not_help(
    settings: dict[str, Any], retry_after: float | None
) -> None:
    hands = Hands(Batch(range(1), post, **settings))
    hands.end(hands.begin(), error=make_error(failwell.RateLimitError, retry_after=retry_after))

    assert statuses(hands.batch.result) == ["failed"]


def test_patience_is_spent_by_all_waits_of_one_item() -> None:
    hands = Hands(Batch(range(1), post, patience=10.0))
    waits = 0
    while (task := hands.begin()) is not None:
        waits += 1
        hands.end(task, error=make_error(failwell.RateLimitError, retry_after=4.0))
        hands.now += 4.0

    assert waits == 3  # 4 s and 4 s were waited; 12 s are more than it has
    assert statuses(hands.batch.result) == ["failed"]


def test_nothing_is_begun_after_the_deadline() -> None:
    hands = Hands(Batch(range(3), post, concurrency=1, deadline=10.0))
    hands.end(hands.begin(), "in time")
    hands.now += 10.0

    assert hands.ask() is False
    assert statuses(hands.batch.result) == ["done", "not_sent", "not_sent"]
    assert hands.batch.result.stopped == "deadline"


def test_a_wait_that_ends_after_the_deadline_is_not_begun() -> None:
    hands = Hands(Batch(range(3), post, deadline=10.0))
    hands.crew.throttled(hands.now, 10.0)

    assert (hands.ask(), hands.batch.result.stopped) == (False, "deadline")


def test_time_that_is_left_is_that_of_the_narrowest_batch_around() -> None:
    outer = Hands(Batch(range(1), post, deadline=5.0)).crew
    inner = Batch(range(1), post, deadline=50.0).begin(
        STANDARD, now=100.0, keyed=True, max_retry_after=60.0, outer=outer
    )

    assert inner.left(101.0) == 4.0
    inner.throttled(101.0, 2.0)
    assert outer.ask(101.0) == Pause(2.0)


def counting(read: list[int], until: int) -> Iterator[int]:
    for number in range(until):
        read.append(number)
        yield number


def test_a_generator_is_read_as_far_as_items_are_begun_and_what_is_done_is_let_go() -> None:
    read: list[int] = []
    hands = Hands(Batch(counting(read, 100), post, concurrency=2, fail_fast=True))
    first, second = hands.begin_all()
    assert read == [0, 1]
    hands.end(first, "first")
    hands.end(second, error=make_error(failwell.ConflictError))

    result = hands.batch.result
    assert [item.item for item in result] == [None, 1]
    assert (result.unread, result.ok, len(result), read) == (True, False, 2, [0, 1])

    rest = Hands(result.again(fail_fast=False, concurrency=1))
    assert [task.number for task in iter(rest.begin, None)] == [1]


def test_what_is_left_of_a_generator_comes_after_what_is_sent_again() -> None:
    hands = Hands(Batch(counting([], 5), post, concurrency=1, fail_fast=True))
    hands.end(hands.begin(), "first")
    hands.end(hands.begin(), error=make_error(failwell.ConflictError))

    result = Hands(hands.batch.result.again(concurrency=1)).finish()
    assert (result.ok, len(result), result.unread) == (True, 5, False)
    assert result.partial_results == ["first", *(f"result of {n}" for n in range(1, 5))]


def test_sending_again_touches_only_what_is_not_done() -> None:
    hands = Hands(Batch(range(6), post, concurrency=6))
    for task in hands.begin_all():
        error = make_error(failwell.ServerError) if task.number in (1, 4) else None
        hands.end(task, task.number, error)

    again = Hands(hands.batch.result.again())
    assert [task.number for task in again.begin_all()] == [1, 4]
    assert statuses(hands.batch.result).count("failed") == 2  # what is known of the first run stays


def test_an_item_keeps_its_key_where_it_may_have_been_carried_out() -> None:
    """
    With the same key the service does it once; to a key that it refused it may answer the same again.
    """
    effects = list(Effect)
    hands = Hands(Batch(effects, post, concurrency=len(effects)))
    for task, effect in zip(hands.begin_all(), effects, strict=True):
        hands.end(task, error=make_error(failwell.ServerError, effect=effect))
    before = {item.item: item.key for item in hands.batch.result}

    again = Hands(hands.batch.result.again())
    again.begin_all()
    after = {item.item: item.key for item in again.batch.result}
    kept = {effect for effect in effects if before[effect] == after[effect]}
    assert kept == {Effect.UNKNOWN, Effect.APPLIED}
    assert len({*before.values(), *after.values()}) == len(effects) + 2


def test_what_was_under_way_when_it_was_broken_off_is_unknown_and_keeps_its_key() -> None:
    hands = Hands(Batch(range(3), post, concurrency=2))
    first, second = hands.begin_all()
    hands.end(first, "first")
    with hands.crew.lock:
        hands.crew.stop("interrupted")

    result = hands.batch.result
    assert statuses(result) == ["done", "interrupted", "not_sent"]
    assert [item.effect for item in result.not_sent] == [Effect.UNKNOWN, Effect.NOT_SENT]
    again = Hands(result.again()).begin()
    assert again is not None
    assert (again.number, again.order.idempotency_key) == (1, second.order.idempotency_key)


def test_writes_get_the_key_of_their_item_by_themselves() -> None:
    def order(item: str, key: str) -> Operation[None]:
        given = {"own": {"idempotency_key": "own"}, "header": {"headers": {"idempotency-key": "h"}}}
        return Operation("get" if item == "get" else "post", "/", lambda r: None, **given.get(item, {}))

    names = ["write", "own", "header", "get"]
    hands = Hands(Batch(names, order, concurrency=4))
    keys = [task.order.idempotency_key for task in hands.begin_all()]
    unkeyed = Hands(Batch(names, order, concurrency=4), keyed=False)

    assert keys == [hands.batch.result[0].key, "own", None, None]
    assert [task.order.idempotency_key for task in unkeyed.begin_all()] == [None, "own", None, None]


def test_an_item_that_is_refused_before_it_is_sent_fails_by_itself() -> None:
    class OwnError(failwell.UsageError):
        """The SDK's."""

    def order(item: int, key: str) -> Operation[Any]:
        if item == 1:
            raise failwell.UsageError("1 cannot be sent")
        return post(item, key)

    result = Hands(Batch(range(3), order), Contract("own", usage={failwell.UsageError: OwnError})).finish()
    assert statuses(result) == ["done", "failed", "done"]
    assert type(result[1].error) is OwnError
    assert result[1].effect is Effect.NOT_SENT


def test_a_bug_in_the_caller_s_function_is_no_failure_of_an_item() -> None:
    def order(item: int, key: str) -> Operation[Any]:
        raise ZeroDivisionError

    hands = Hands(Batch(range(2), order))
    assert hands.ask() is True
    with pytest.raises(ZeroDivisionError):
        hands.crew.draw()

    assert statuses(hands.batch.result) == ["not_sent"]


def test_whoever_asks_is_told_of_each_end_and_how_many_there_are() -> None:
    told: list[tuple[int, str, int, int | None]] = []

    def tell(item: Any, done: int, total: int | None) -> None:
        told.append((item.number, item.status, done, total))

    hands = Hands(Batch(range(3), post, concurrency=1, progress=tell))
    hands.end(hands.begin(), "a")
    hands.end(hands.begin(), error=make_error(failwell.ConflictError))
    hands.finish()
    Hands(hands.batch.result.again()).finish()

    assert told == [(0, "done", 1, 3), (1, "failed", 2, 3), (2, "done", 3, 3), (1, "done", 3, 3)]


def test_how_many_there_are_is_not_known_of_a_generator() -> None:
    told: list[int | None] = []
    Hands(Batch(iter(range(2)), post, progress=lambda item, done, total: told.append(total))).finish()

    assert told == [None, None]


def test_items_are_called_by_their_names() -> None:
    class Opened:
        name = "opened.bin"

    items = ["text", Path("a/b.jpg"), Opened(), 7, b"bytes"]
    names = [item.name for item in Hands(Batch(items, post)).finish()]
    own = [item.name for item in Hands(Batch([1], post, name=lambda item: f"no. {item}")).finish()]

    assert names == ["text", "a/b.jpg", "opened.bin", None, None]
    assert own == ["no. 1"]


def test_a_batch_is_sent_once() -> None:
    batch = Batch([1], post)
    Hands(batch).finish()

    with pytest.raises(failwell.UsageError, match="again"):
        Hands(batch)


def test_before_it_is_sent_nothing_is_known_of_it() -> None:
    result = Batch([1], post).result

    assert (len(result), result.ok, repr(result)) == (0, False, "<BatchResult of nothing>")


def test_a_batch_of_nothing_is_done() -> None:
    for items in ([], iter([])):
        result = Hands(Batch(items, post)).finish()
        assert (result.ok, len(result)) == (True, 0)


class ShopError(failwell.CallError):
    """The shop's."""


class OrdersError(ShopError, failwell.BatchError):  # type: ignore[misc]  # as its base
    """Some orders failed."""


def test_raising_tells_of_every_failure_in_order_and_keeps_what_succeeded() -> None:
    hands = Hands(Batch(list("abcd"), post, concurrency=4))
    for task in reversed(hands.begin_all()):
        error = None if task.number == 2 else make_error(failwell.ServerError, message=f"no {task.number}")
        hands.end(task, task.number, error)
    with pytest.raises(failwell.BatchError) as caught:
        hands.batch.result.raise_on_failures()

    error = caught.value
    assert [e.args[0] for e in error.exceptions] == ["no 0", "no 1", "no 3"]
    assert error.partial_results == [2]
    assert "3 of 4 items are not done: a: no 0" in str(error)
    counts = {name: error.failure.details[name] for name in ("done", "failed", "not_sent")}
    assert counts == {"done": 1, "failed": 3, "not_sent": 0}
    assert [i["name"] for i in error.failure.details["items"]] == ["a", "b", "d"]
    assert (error.effect, error.exceptions[0].__notes__) == (Effect.UNKNOWN, ["item 0: a"])


def test_a_long_list_of_failures_is_told_of_in_short() -> None:
    hands = Hands(Batch(range(9), post, concurrency=9))
    for task in hands.begin_all():
        hands.end(task, error=make_error(failwell.ConflictError, message="taken"))

    text = str(hands.batch.result.error())
    assert "9 of 9 items are not done: item 0: taken" in text
    assert "; and 6 more" in text


def test_the_class_that_is_raised_is_the_contract_s() -> None:
    contract = Contract("shop", base=ShopError, broken={failwell.BatchError: OrdersError})
    hands = Hands(Batch(range(1), post), contract)
    hands.end(hands.begin(), error=make_error(failwell.ConflictError))

    assert type(hands.batch.result.error()) is OrdersError


def test_a_class_that_is_no_group_is_raised_from_the_first_failure() -> None:
    hands = Hands(
        Batch(range(2), post), Contract("shop", base=ShopError, broken={failwell.BatchError: ShopError})
    )
    first = make_error(failwell.ConflictError)
    for task, error in zip(hands.begin_all(), (first, make_error(failwell.ServerError)), strict=True):
        hands.end(task, error=error)

    error = hands.batch.result.error()
    assert type(error) is ShopError
    assert error.__cause__ is first


@pytest.mark.parametrize(
    ("stopped", "cls"), [("deadline", failwell.DeadlineExceededError), ("interrupted", failwell.RefusedError)]
)
def test_items_that_were_never_sent_are_a_failure_too(stopped: str, cls: type[Exception]) -> None:
    hands = Hands(Batch(range(3), post))
    with hands.crew.lock:
        hands.crew.stop(stopped)

    error = hands.batch.result.error()
    assert isinstance(error, failwell.BatchError)
    (inner,) = error.exceptions
    assert type(inner) is cls
    assert (str(inner).partition(" (")[0], error.retryable) == ("Not sent: 3 items", True)
    assert error.failure.details["stopped"] == stopped


def test_an_unread_rest_is_told_of() -> None:
    hands = Hands(Batch(iter(range(3)), post, concurrency=1, fail_fast=True))
    hands.end(hands.begin(), error=make_error(failwell.ConflictError))

    assert "the rest was not read" in str(hands.batch.result.error())


def test_the_error_travels_and_leaves_behind_what_need_not_be_fit_to() -> None:
    hands = Hands(Batch([lambda: None], post))  # a function cannot be pickled
    hands.end(hands.begin(), error=make_error(failwell.ConflictError))
    error = hands.batch.result.error()
    back = pickle.loads(pickle.dumps(error))
    told: Any = failwell.Error.from_dict(error.to_dict())

    assert isinstance(error, failwell.BatchError)
    assert error.result is not None
    assert (type(back), back.failure, back.result, back.partial_results) == (
        failwell.BatchError, error.failure, None, []
    )  # fmt: skip
    assert (type(told), told.failure) == (failwell.BatchError, error.failure)


def test_what_was_passed_is_in_no_repr() -> None:
    hands = Hands(Batch(["hunter2"], post))
    result = hands.finish()

    shown = repr([hands.batch, result, result[0], list(result)])
    assert "hunter2" not in shown
    assert "<Batch of 1 items>" in shown
    assert repr(Batch(iter([1]), post)) == "<Batch of items>"


@pytest.mark.parametrize(
    ("items", "settings", "said"),
    [
        ("text", {}, "items is a str"),
        (7, {}, "items is a int"),
        ([], {"order": "post"}, "order is a str"),
        ([], {"concurrency": 0}, "concurrency is 0"),
        ([], {"concurrency": True}, "concurrency is a bool"),
        ([], {"fail_fast": 1}, "fail_fast is a int"),
        ([], {"outage": 0}, "outage is 0"),
        ([], {"deadline": 0}, "deadline is 0"),
        ([], {"patience": -1}, "patience is -1"),
        ([], {"progress": "bar"}, "progress is a str"),
        ([], {"name": "x"}, "name is a str"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_used_is_refused(items: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(failwell.UsageError, match=said):
        Batch(items, **{"order": post, **settings})
