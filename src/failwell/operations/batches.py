"""
Batches: many calls of one kind, decided without I/O. Drivers do what the crew says.

Theory of operation. Items are drawn in order and begun as their turn comes; each ends by itself:

1. one that succeeds keeps its result, in its place;
2. one that fails keeps its error, and does not stop the others;
3. one that was throttled until its tries were used up goes back, to be begun again when the service
   allows it: nothing is wrong with it;
4. a failure that every other item would meet too (401, a spent quota, an open circuit, many outages
   in a row), the first failure if that is wanted, or the deadline ends the sending. What is under way
   ends by itself, and what was not begun is `not_sent`.

Each item has one idempotency key. It is the same when the item is sent again after an end that left
open whether it was carried out, and another after a refusal.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from failwell.arguments import Arguments
from failwell.call.idempotency import KEYED_METHODS
from failwell.call.operation import Operation
from failwell.contract import STANDARD
from failwell.errors import (
    ArgumentTypeError,
    AuthenticationError,
    BatchError,
    CallError,
    CircuitOpenError,
    DeadlineExceededError,
    PaymentRequiredError,
    QuotaExceededError,
    RateLimitError,
    RefusedError,
    ServerError,
    TransportError,
    UsageError,
)
from failwell.failure import Effect, Failure
from failwell.operations.together import Crew, Task

if TYPE_CHECKING:
    from typing import Self

    from failwell.contract import Contract
    from failwell.operations.parts import PartUpload
    from failwell.operations.polling import Poll
    from failwell.operations.steps import Done, Steps

T = TypeVar("T")
In = TypeVar("In")

_CHECK = Arguments()

# Every other item would meet it, too.
STOPS_ON: tuple[type[CallError], ...] = (
    AuthenticationError,
    PaymentRequiredError,
    QuotaExceededError,
    CircuitOpenError,
)
# After as many of these in a row as `outage` says, the service is down.
OUTAGE: tuple[type[CallError], ...] = (TransportError, ServerError)

# Failures that a message tells of.
_SHOWN = 3
_NAME_LIMIT = 200

Builder: TypeAlias = "Callable[[In, str], Operation[T] | Poll[T] | PartUpload[T] | Steps[T]]"


@dataclass(slots=True)
class BatchItem(Generic[In, T]):
    """
    One item of a batch, and what became of it.

    Attributes:
        number: Its place in the input, from 0.
        item: What it is. None once it is done, if the items came from an iterator: nobody else holds
            them, and they may be large.
        name: What messages call it; None if it has no name.
        key: Its idempotency key; "" until it is drawn.
        status: "done", "failed", "not_sent", or "interrupted" if it was under way when the batch was
            broken off; while the batch is sent, "under_way".
        result: What it brought.
        error: Why it failed, as the class that the contract names.
    """

    number: int
    item: In | None
    name: str | None = None
    key: str = ""
    status: str = "not_sent"
    result: T | None = None
    error: CallError | UsageError | None = None

    def __repr__(self) -> str:
        # What was passed may be large, or nobody's business.
        return f"<BatchItem {self.number} {self.status}>"

    @property
    def effect(self) -> Effect:
        """Whether the service carried it out."""
        if self.error is not None:
            return self.error.effect if isinstance(self.error, CallError) else Effect.NOT_SENT
        return _EFFECTS[self.status]


_EFFECTS = {
    "done": Effect.APPLIED,
    "not_sent": Effect.NOT_SENT,
    "interrupted": Effect.UNKNOWN,
    "under_way": Effect.UNKNOWN,
}


class Batch(Generic[In, T]):
    """
    Many calls of one kind: `client.perform(batch)` makes them, and gives a `BatchResult`.

    Args:
        items: What they are about, in order. A generator is read as far as items are begun, so what
            it yields is not in memory all at once.
        order: Makes of an item, and of its idempotency key, what is to be done. An `Operation`
            without a key gets it by itself; steps have to hand it on.
        concurrency: How many are under way at once. More than the client has connections wait for one.
        fail_fast: Whether the first failure ends the sending.
        stops_on: Failures that end it, because every other item would meet them, too.
        outage: Failures in a row, of the network or the service, that end it; None for never.
        deadline: Seconds for all; None for no limit but that of each call.
        patience: Seconds that one item waits in all for a rate limit to open again, besides the retries
            of its call; 0 for none.
        progress: Called when an item has ended, with it, how many have, and how many there are (None if
            that is not known); one at a time. What it raises ends the batch.
        name: What messages call an item; by default the item if it is a string or a path, or its `name`.

    Raises:
        UsageError: an argument cannot be used.
    """

    def __init__(
        self,
        items: Iterable[In],
        order: Builder[In, T],
        *,
        concurrency: int = 8,
        fail_fast: bool = False,
        stops_on: tuple[type[CallError], ...] = STOPS_ON,
        outage: int | None = 32,
        deadline: float | None = None,
        patience: float = 1800.0,
        progress: Callable[[BatchItem[In, T], int, int | None], object] | None = None,
        name: Callable[[In], str | None] | None = None,
    ) -> None:
        given: Any = items
        if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
            raise ArgumentTypeError(f"items is a {type(items).__name__}; give a list, or what yields items")
        functions: tuple[tuple[str, Any], ...] = (("order", order), ("progress", progress), ("name", name))
        for called, value in functions:
            if not callable(value) and (value is not None or called == "order"):
                raise ArgumentTypeError(f"{called} is a {type(value).__name__}; give a function")
        self.concurrency = _CHECK.whole("concurrency", concurrency, least=1)
        self.fail_fast = _CHECK.flag("fail_fast", fail_fast)
        self.stops_on = tuple(stops_on)
        self.outage = None if outage is None else _CHECK.whole("outage", outage, least=1)
        self.deadline = None if deadline is None else _CHECK.seconds("deadline", deadline)
        self.patience = _CHECK.number("patience", patience, least=0)
        self.progress = progress
        self.order = order
        self.name = _name_of if name is None else name
        self._source: Iterator[In] = iter(items)
        self._releases = self._source is items
        self._items: list[BatchItem[In, T]] = []
        self._waiting: deque[int] = deque()
        self._total = len(items) if isinstance(items, Sized) else None
        self._read = False
        self._crew: BatchCrew[In, T] | None = None

    def __repr__(self) -> str:
        return f"<Batch of {'items' if self._total is None else f'{self._total} items'}>"

    @property
    def result(self) -> BatchResult[In, T]:
        """What is known so far; also while it is sent, and after it was broken off."""
        crew = self._crew
        if crew is None:
            return BatchResult(self, list(self._items), STANDARD)
        if crew.stopped and not self._releases:
            crew.read_rest()
        with crew.lock:
            items = [replace(i, status="interrupted") if i.status == "under_way" else i for i in self._items]
        return BatchResult(self, items, crew.contract, crew.stopped, crew.stopper)

    def begin(
        self,
        contract: Contract,
        *,
        now: float,
        keyed: bool,
        max_retry_after: float,
        outer: Crew | None = None,
    ) -> BatchCrew[In, T]:
        """
        The crew that sends it.

        Args:
            contract: Which failure is which exception.
            now: Monotonic seconds.
            keyed: Whether an operation without an idempotency key gets one.
            max_retry_after: Seconds: an item that is throttled for longer is not begun again.
            outer: The crew whose task this batch is.

        Raises:
            UsageError: it was begun before.
        """
        if self._crew is not None:
            raise UsageError("this batch was sent; batch.result.again() is what is left of it")
        self._crew = BatchCrew(self, contract, now, keyed, max_retry_after, outer)
        return self._crew

    def _again(self, items: Sequence[BatchItem[In, T]], changed: dict[str, Any]) -> Batch[In, T]:
        settings: dict[str, Any] = {
            "concurrency": self.concurrency,
            "fail_fast": self.fail_fast,
            "stops_on": self.stops_on,
            "outage": self.outage,
            "deadline": self.deadline,
            "patience": self.patience,
            "progress": self.progress,
            "name": self.name,
        }
        order = changed.pop("order", self.order)
        batch: Batch[In, T] = Batch((), order, **(settings | changed))
        batch._source, batch._read, batch._releases = self._source, self._read, self._releases
        batch._items = [item if item.status == "done" else _anew(item) for item in items]
        batch._waiting.extend(item.number for item in batch._items if item.status != "done")
        batch._total = self._total if self._total is not None or not self._read else len(items)
        return batch


class BatchResult(Sequence["BatchItem[In, T]"], Generic[In, T]):
    """
    What became of the items of a batch, in the order of the input.

    Attributes:
        stopped: Why not all were begun: "error" for a failure that every item would meet, "outage",
            "fail_fast", "deadline", "interrupted"; "" if all were.
        stopper: The failure because of which the rest was not sent; None if there was none.
    """

    def __init__(
        self,
        batch: Batch[In, T],
        items: Sequence[BatchItem[In, T]],
        contract: Contract,
        stopped: str = "",
        stopper: CallError | UsageError | None = None,
    ) -> None:
        self._batch = batch
        self._items = items
        self._contract = contract
        self.stopped = stopped
        self.stopper = stopper

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {status}" for status, number in self._counts().items() if number)
        return f"<BatchResult {counts or 'of nothing'}>"

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> BatchItem[In, T]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[BatchItem[In, T]]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    @property
    def done(self) -> list[BatchItem[In, T]]:
        """Those that succeeded, in order."""
        return [item for item in self._items if item.status == "done"]

    @property
    def failed(self) -> list[BatchItem[In, T]]:
        """Those that failed, in order."""
        return [item for item in self._items if item.status == "failed"]

    @property
    def not_sent(self) -> list[BatchItem[In, T]]:
        """Those that were not begun, and those that were under way when the batch was broken off."""
        return [item for item in self._items if item.status not in ("done", "failed")]

    @property
    def partial_results(self) -> list[T]:
        """What those that succeeded brought, in order."""
        results: list[Any] = [item.result for item in self._items if item.status == "done"]
        return results

    @property
    def unread(self) -> bool:
        """Whether the iterator that gave the items was not read to its end."""
        batch = self._batch
        return not batch._read and len(self._items) != batch._total

    @property
    def ok(self) -> bool:
        """Whether every item is done."""
        return not self.unread and all(item.status == "done" for item in self._items)

    def raise_on_failures(self) -> Self:
        """
        This result, if every item is done.

        Raises:
            BatchError: the class the contract names for it; it has this result.
        """
        if self.ok:
            return self
        raise self.error()

    def error(self) -> CallError:
        """The exception that tells of what is not done, not raised."""
        errors = [item.error for item in self._items if item.error is not None]
        if not errors:
            errors.append(self._not_sent_error())
        unknown = any(item.effect is Effect.UNKNOWN for item in self._items)
        failure = Failure(
            message=self._message(),
            reason=BatchError.kind,
            details={**self._counts(), "stopped": self.stopped, "items": list(map(_told, self._undone()))},
            effect=Effect.UNKNOWN if unknown else Effect.NOT_APPLIED,
            retryable=any(not isinstance(e, CallError) or e.retryable for e in errors),
        )
        cls = self._contract.class_for(BatchError)
        if not issubclass(cls, BatchError):
            error = cls.from_failure(failure)
            error.__cause__ = errors[0]
            return error
        group = cls.from_failure(failure, exceptions=errors)
        group.result = self
        return group

    def again(self, **changed: Any) -> Batch[In, T]:
        """
        A batch of what is not done. Its result has all items, the done ones as they are.

        An item keeps its idempotency key, unless the service refused it or it was never sent.

        Args:
            changed: Settings that are others now, as for `Batch`.
        """
        return self._batch._again(self._items, changed)

    def _undone(self) -> list[BatchItem[In, T]]:
        return [item for item in self._items if item.status != "done"]

    def _counts(self) -> dict[str, int]:
        counts = {"done": 0, "failed": 0, "not_sent": 0}
        for item in self._items:
            counts[item.status if item.status in counts else "not_sent"] += 1
        return counts

    def _message(self) -> str:
        undone = self._undone()
        told = [f"{item.name or f'item {item.number}'}: {item.error}" for item in undone if item.error]
        more = f"; and {len(undone) - _SHOWN} more" if len(undone) > _SHOWN and told else ""
        why = f": {'; '.join(told[:_SHOWN])}{more}" if told else ""
        rest = "; the rest was not read" if self.unread else ""
        return f"{len(undone)} of {len(self._items)} items are not done{why}{rest}"

    def _not_sent_error(self) -> CallError:
        standard = DeadlineExceededError if self.stopped == "deadline" else RefusedError
        failure = Failure(
            message=f"Not sent: {len(self._undone())} items",
            reason=standard.kind,
            effect=Effect.NOT_SENT,
            retryable=True,
        )
        return self._contract.class_for(standard).from_failure(failure)


class BatchCrew(Crew, Generic[In, T]):
    """Decides what the workers of one batch do; see `Batch.begin`."""

    def __init__(
        self,
        batch: Batch[In, T],
        contract: Contract,
        now: float,
        keyed: bool,
        max_retry_after: float,
        outer: Crew | None,
    ) -> None:
        left = batch._total
        workers = batch.concurrency if left is None else min(batch.concurrency, left)
        super().__init__(workers, inf if batch.deadline is None else now + batch.deadline)
        self.outer = outer
        self.contract = contract
        self.stopper: CallError | UsageError | None = None
        self._batch = batch
        self._keyed = keyed
        self._max_retry_after = max_retry_after
        self._drawing = Lock()
        self._waited: dict[int, float] = {}
        self._down = 0
        self._told = sum(item.status == "done" for item in batch._items)

    def draw(self) -> Task | None:
        """The next item, with what is to be done."""
        item = self._drawn()
        if item is None:
            return None
        given: Any = item.item
        try:
            order = self._batch.order(given, item.key)
        except UsageError as exc:
            return Task(item.number, None, self.contract.refusal(exc.with_traceback(None)))
        except BaseException:
            item.status = "not_sent"
            raise
        return Task(item.number, self._with_key(order, item.key))

    def tell(self, task: Task) -> None:
        """Tell `progress` of an item that has ended for good."""
        if not task.over:
            return
        self._told += 1
        if self._batch.progress is not None:
            self._batch.progress(self._batch._items[task.number], self._told, self._batch._total)

    def read_rest(self) -> None:
        """Name those that were not begun. They are held by whoever passed them: it costs nothing."""
        batch = self._batch
        with self._drawing:
            for given in batch._source:
                batch._items.append(self._new_item(given))
            batch._read = True

    def _drawn(self) -> BatchItem[In, T] | None:
        """The item whose turn it is."""
        batch = self._batch
        with self._drawing:
            with self.lock:
                if batch._waiting:
                    item = batch._items[batch._waiting.popleft()]
                    item.key = item.key or _new_key()
                    item.status = "under_way"
                    return item
            if batch._read:
                return None
            for given in batch._source:
                item = self._new_item(given)
                item.key, item.status = _new_key(), "under_way"
                with self.lock:
                    batch._items.append(item)
                return item
            batch._read = True
            return None

    def _new_item(self, given: In) -> BatchItem[In, T]:
        return BatchItem(len(self._batch._items), given, self._batch.name(given))

    def _with_key(self, order: Any, key: str) -> Any:
        if not isinstance(order, Operation) or order.idempotency_key is not None or not self._keyed:
            return order
        if order.method.upper() not in KEYED_METHODS or self.contract.idempotency_header in order.headers:
            return order
        return replace(order, idempotency_key=key)

    def _has_returned(self) -> bool:
        return bool(self._batch._waiting)

    def _note(self, task: Task, done: Done) -> None:
        item, error = self._batch._items[task.number], done.error
        task.over = True
        if error is None:
            item.status, item.result, self._down = "done", done.result, 0
            if self._batch._releases:
                item.item = None
            return
        assert isinstance(error, CallError | UsageError)
        if isinstance(error, RateLimitError) and self._may_wait(item, error, done.now):
            task.over = False
            return
        # Frames hold what was sent; there may be many failures, and each is told of by its facts.
        item.error = error.with_traceback(None)
        item.status = "failed"
        if item.name is not None:
            error.add_note(f"item {item.number}: {item.name[:_NAME_LIMIT]}")
        self._down = self._down + 1 if isinstance(error, OUTAGE) else 0
        why = self._why_stop(error)
        if why and not self.stopped:
            self.stopper = error
            self.stop(why)

    def _why_stop(self, error: CallError | UsageError) -> str:
        batch = self._batch
        if isinstance(error, batch.stops_on):
            return "error"
        if batch.outage is not None and self._down >= batch.outage:
            return "outage"
        return "fail_fast" if batch.fail_fast else ""

    def _may_wait(self, item: BatchItem[In, T], error: RateLimitError, now: float) -> bool:
        """Put an item back that was throttled, if there is time for it."""
        asked = error.retry_after
        if asked is None or asked > self._max_retry_after or isinstance(error, self._batch.stops_on):
            return False
        waited = self._waited.get(item.number, 0.0) + asked
        if waited > self._batch.patience or now + asked >= self.until():
            return False
        self._waited[item.number] = waited
        self._hold_locked(now, asked)
        item.status = "not_sent"
        self._batch._waiting.append(item.number)
        return True


def _anew(item: BatchItem[In, T]) -> BatchItem[In, T]:
    """An item that is to be sent again."""
    # A service that refused may answer the same again to the same key.
    key = item.key if item.effect in (Effect.UNKNOWN, Effect.APPLIED) else ""
    return BatchItem(item.number, item.item, item.name, key)


def _told(item: BatchItem[Any, Any]) -> dict[str, Any]:
    error = None if item.error is None else str(item.error)
    return {"number": item.number, "name": item.name, "status": item.status, "error": error}


def _name_of(item: Any) -> str | None:
    if isinstance(item, os.PathLike):
        item = os.fspath(item)
    name = item if isinstance(item, str) else getattr(item, "name", None)
    return name if isinstance(name, str) else None


def _new_key() -> str:
    # 128 bits from the system, as for every other call.
    return os.urandom(16).hex()
