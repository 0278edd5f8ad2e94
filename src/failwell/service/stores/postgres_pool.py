"""
Share out the connections of a `PostgresStore` among the requests of an event loop.

A `Pool` gives each job a session for as long as it takes; a `Batch` makes one job of what several
requests ask for at once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from failwell.service.stores.base import FROM_WITHIN, StoreBusyError
from failwell.service.stores.postgres_connections import BEGUN_BEFORE, Session
from failwell.service.stores.switching import carried_out, turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from failwell.service.stores.postgres_connections import Connector

    # Of one who asked: the result, or what was raised.
    Outcome: TypeAlias = tuple[Any, BaseException | None]
    # What is asked, on which loop, and where the answer goes.
    _Asking: TypeAlias = tuple[Any, asyncio.AbstractEventLoop, asyncio.Future[Any]]

T = TypeVar("T")
Item = TypeVar("Item")

# What is carried out together; what waits longer than that waits for the next.
MOST_AT_ONCE = 32

NOT_FREE = "no connection became free in time"


class Pool:
    """
    Sessions for jobs; opened when there is work for one more.

    A job is a synchronous function of a session and of when to stop waiting for a connection. It
    is carried out on the thread of the event loop that asks for it, which goes on while it waits
    for the server. One whose caller went away is carried out all the same: nobody could know
    whether its transaction was already committed.

    Args:
        connector: Opens the connections.
        most: How many sessions at most.
        patience: Seconds a job waits for one before `StoreBusyError`.
        settings: Statements that set each connection up.
        expects: Whether there will soon be work for which a transaction may as well be begun.
    """

    def __init__(
        self,
        connector: Connector,
        most: int,
        patience: float,
        *,
        settings: str = "",
        expects: Callable[[], bool] = lambda: False,
    ) -> None:
        self._connector = connector
        self._settings = settings
        self._expects = expects
        self._most = most
        self.patience = patience
        self.closed = False
        self.forked()

    def forked(self) -> None:
        """Begin anew, without sessions."""
        # What a parent process has is not closed here, nor let go of, which would close it.
        self._of_parents = [*getattr(self, "_of_parents", ()), *getattr(self, "_sessions", ())]
        # For callers without an event loop: with those of a loop they could wait for each other.
        self._blocking = Session(self._connector)
        self._one_at_a_time = threading.Lock()
        self._sessions = [self._blocking]
        self._free: list[Session] = []
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Callable[[Session, float], T]) -> T:
        """
        What `work` returns or raises.

        Raises:
            StoreBusyError: no session became free in time, or the pool is closed.
        """
        return await asyncio.shield(self.start(work))

    def start(self, work: Callable[[Session, float], T]) -> asyncio.Task[T]:
        """The task in which `work` is carried out."""
        if self.closed:
            raise StoreBusyError("the store is closed")
        task = asyncio.get_running_loop().create_task(self._carry_out(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _carry_out(self, work: Callable[[Session, float], T]) -> T:
        until = time.monotonic() + self.patience
        session = self._next_free() or await self._wait_for_one()
        try:
            return await carried_out(work, session, until)
        finally:
            self._release(session)

    def run_blocking(self, work: Callable[[Session, float], T]) -> T:
        """
        What `work` returns or raises, on this thread.

        Raises:
            RuntimeError: it is asked for within a transaction of this pool.
        """
        if any(session.is_lent_here for session in self._sessions):
            raise RuntimeError(FROM_WITHIN)
        until = time.monotonic() + self.patience
        if not self._one_at_a_time.acquire(timeout=self.patience):
            raise StoreBusyError(NOT_FREE)
        try:
            if self.closed:
                raise StoreBusyError("the store is closed")
            return work(self._blocking, until)
        finally:
            self._one_at_a_time.release()

    def _next_free(self) -> Session | None:
        with self._lock:
            if self._free:
                return self._free.pop()
            if len(self._sessions) > self._most:  # one is the blocking one
                return None
            session = Session(self._connector, settings=self._settings, more=self._will_be_used)
            self._sessions.append(session)
            return session

    def is_waited_for(self) -> bool:
        """Whether somebody waits for a session."""
        return bool(self._waiting)

    def _will_be_used(self) -> bool:
        return self.is_waited_for() or self._expects()

    async def _wait_for_one(self) -> Session:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(loop, loop.create_future())
        with self._lock:
            self._waiting.append(waiting)
        timer = loop.call_later(self.patience, waiting.give_up)
        try:
            return await waiting.future
        except asyncio.CancelledError:
            if not waiting.future.cancel() and waiting.future.exception() is None:
                self._release(waiting.future.result())
            raise
        finally:
            timer.cancel()

    def _release(self, session: Session) -> None:
        with self._lock:
            while self._waiting:
                waiting = self._waiting.popleft()
                if waiting.take(session, self._release):
                    return
            if not self.closed:
                self._free.append(session)
                if session.begun is not None:
                    asyncio.get_running_loop().call_later(
                        BEGUN_BEFORE, self._end_unused, session, session.begun
                    )
                return
        session.drop()

    def _end_unused(self, session: Session, begun: float) -> None:
        """End a transaction that was begun for somebody who did not come."""
        if session.begun == begun:
            # In a thread: a task that begins while the loop is being ended is never ended itself.
            with suppress(RuntimeError):
                asyncio.get_running_loop().run_in_executor(None, self._end, session, begun)

    def _end(self, session: Session, begun: float) -> None:
        with self._lock:
            if session.begun != begun or session not in self._free:
                return
            self._free.remove(session)
        try:
            with suppress(Exception):  # who has it next finds out
                session.end()
        finally:
            self._release(session)

    async def aclose(self) -> None:
        """Finish what was begun, and close the connections."""
        self.closed = True
        loop = asyncio.get_running_loop()
        while ours := [task for task in self._tasks if task.get_loop() is loop]:
            await asyncio.wait(ours)
        self.close()

    def close(self) -> None:
        """Close the connections; one that is in use, when it no longer is. May be called again."""
        with self._lock:
            self.closed = True
            free, self._free = self._free, []
        for session in free:
            session.drop()
        with self._one_at_a_time:
            self._blocking.drop()


class _Waiting:
    """Somebody who waits for a session, on an event loop that may be another's."""

    __slots__ = ("future", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Session]) -> None:
        self.loop = loop
        self.future = future

    def give_up(self) -> None:
        if not self.future.done():
            self.future.set_exception(StoreBusyError(NOT_FREE))

    def take(self, session: Session, refused: Callable[[Session], None]) -> bool:
        """Whether the session goes to who waits; one who has gone away meanwhile hands it back."""
        if self.loop is asyncio._get_running_loop():
            if self.future.done():
                return False
            self.future.set_result(session)
            return True

        def hand_over() -> None:
            if self.future.done():
                refused(session)
            else:
                self.future.set_result(session)

        try:
            self.loop.call_soon_threadsafe(hand_over)
        except RuntimeError:  # the loop was closed
            return False
        return True


class Batch(Generic[Item]):
    """
    What several requests ask for at once, carried out as one job.

    While a job is under way, whoever comes waits for the next: so nobody waits for others to
    come, and the more come, the less each of them costs.

    Args:
        pool: Where the job is carried out.
        work: Takes the session and what is asked, gives an outcome for each.
    """

    def __init__(
        self, pool: Pool, work: Callable[[Session, float, Sequence[Item]], Sequence[Outcome]]
    ) -> None:
        self._pool = pool
        self._carry_out = work
        self.forked()

    def forked(self) -> None:
        """Begin anew, with nobody waiting."""
        self._lock = threading.Lock()
        self._waiting: list[_Asking] = []
        self._running = False

    async def ask(self, item: Item) -> Any:
        """The result for `item`."""
        loop = asyncio.get_running_loop()
        asking = (item, loop, loop.create_future())
        with self._lock:
            self._waiting.append(asking)
            first, self._running = not self._running, True
        if first:
            self._begin()
        return await asking[2]

    def _begin(self) -> None:
        try:
            task = self._pool.start(self._work)
        except StoreBusyError as exc:
            self._end(exc)
        else:
            task.add_done_callback(self._ended)

    def _work(self, session: Session, until: float) -> None:
        while batch := self._next_here():
            outcomes: Sequence[Outcome]
            broken_off = False
            try:
                outcomes = self._carry_out(session, until, [item for item, _, _ in batch])
            except BaseException as exc:  # noqa: BLE001  # it belongs to those who asked
                outcomes = [(None, exc)] * len(batch)
                broken_off = not isinstance(exc, Exception)
            _tell_all(batch, outcomes)
            if broken_off:
                return
            # Who was told may have another question, and so there is a next time at once.
            try:
                turn()
            except asyncio.CancelledError:
                return  # this loop is to end; who waits on another makes a trip of its own
            if self._pool.is_waited_for():
                return
            until = time.monotonic() + self._pool.patience

    def _next_here(self) -> list[_Asking]:
        """What this event loop asks for now; nothing if it is another's turn."""
        with self._lock:
            # Who was cancelled asks for nothing any more.
            self._waiting = [asking for asking in self._waiting if not asking[2].done()]
            if not self._waiting or self._waiting[0][1] is not asyncio.get_running_loop():
                return []
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            return batch

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._end(asyncio.CancelledError() if task.cancelled() else task.exception())

    def _end(self, error: BaseException | None) -> None:
        """After a job, or instead of one."""
        with self._lock:
            # Who was cancelled asks for nothing any more; nor may its loop live for much longer.
            left = self._waiting = [asking for asking in self._waiting if not asking[2].done()]
            self._running = bool(left) and error is None
            if error is not None:
                self._waiting = []
        if error is not None:
            _tell_all(left, [(None, error)] * len(left))
        elif left:
            self._go_on(left[0][1])

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Carry out the next job where it is waited for."""
        if loop is asyncio.get_running_loop():
            self._begin()
            return
        try:
            loop.call_soon_threadsafe(self._begin)
        except RuntimeError:  # the loop was closed, and those who asked there are gone
            with self._lock:
                self._waiting = [asking for asking in self._waiting if asking[1] is not loop]
            self._end(None)


def _tell_all(batch: Iterable[_Asking], outcomes: Iterable[Outcome]) -> None:
    here = asyncio.get_running_loop()
    for (_, loop, future), (result, error) in zip(batch, outcomes, strict=True):
        if loop is here:
            _tell(future, result, error)
            continue
        with suppress(RuntimeError):  # the loop was closed while we worked
            loop.call_soon_threadsafe(_tell, future, result, error)


def _tell(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, Exception) and not isinstance(error, StopIteration):
        future.set_exception(error)
    else:
        # What a future cannot carry, or what ends the loop that carried it out: no reason for
        # whoever asked to end.
        broken_off = StoreBusyError("the work was broken off")
        broken_off.__cause__ = error
        future.set_exception(broken_off)
