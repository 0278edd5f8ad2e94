"""
Who does several things at once: threads for a client that blocks, tasks for one that awaits.

What is done, and what follows from how it ended, a `Crew` decides.
"""

from __future__ import annotations

import threading
from contextvars import copy_context
from typing import TYPE_CHECKING

from failwell.clock import SystemClock
from failwell.errors import CallError, UsageError
from failwell.operations.steps import Done
from failwell.operations.together import Pause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    import anyio

    from failwell.clock import Clock
    from failwell.operations.together import Crew, Task


def in_threads(crew: Crew, perform: Callable[[Any], Any], clock: Clock) -> None:
    """
    Let as many threads as `crew` wants do what it says.

    Args:
        crew: What to do.
        perform: Does one order.
        clock: The time.

    Raises:
        BaseException: what is no failure of an order, when all threads have ended. Ctrl-C is raised at
            once: the threads end by themselves when they have done what they are at.
    """
    changed = threading.Condition(crew.lock)
    worker = _Threads(crew, perform, clock, changed)
    try:
        for _ in range(crew.workers):
            # Not of a pool: whoever presses Ctrl-C need not wait for it when the interpreter ends.
            thread = threading.Thread(target=copy_context().run, args=(worker.work,), daemon=True)
            thread.start()
        # Not on what changes: who waits for the end need not wake up for each item.
        if crew.workers:
            worker.finished.wait()
    except BaseException:
        with changed:
            crew.stop("interrupted")
            changed.notify_all()
        raise
    if crew.broken is not None:
        raise crew.broken


class _Threads:
    """What the threads of one crew share."""

    def __init__(
        self, crew: Crew, perform: Callable[[Any], Any], clock: Clock, changed: threading.Condition
    ) -> None:
        self.finished = threading.Event()
        self._alive = crew.workers
        self._crew = crew
        self._perform = perform
        self._clock = clock
        self._changed = changed
        self._telling = threading.Lock()
        self._sleeping = False

    def work(self) -> None:
        """Do what there is to do; what one thread does."""
        crew, changed = self._crew, self._changed
        try:
            while self._may_begin():
                try:
                    task = crew.draw()
                    if task is None:
                        with changed:
                            crew.drawn_out()
                            changed.notify_all()
                        continue
                    done = self._done(task)
                except BaseException as error:  # noqa: BLE001  # raised by whoever waits for the threads
                    with changed:
                        crew.broke(error)
                        changed.notify_all()
                    return
                with changed:
                    crew.ended(task, done)
                    changed.notify_all()
                self._tell(task)
        finally:
            with changed:
                self._alive -= 1
                if not self._alive:
                    self.finished.set()

    def _may_begin(self) -> bool:
        """Wait until another task may be begun; False if none will."""
        with self._changed:
            while isinstance(answer := self._crew.ask(self._clock.monotonic()), Pause):
                # One waits for the moment, the others for it.
                if answer.seconds is None or self._sleeping:
                    self._changed.wait()
                else:
                    self._sleep_locked(answer.seconds)
            return answer

    def _sleep_locked(self, seconds: float) -> None:
        self._sleeping = True
        try:
            if isinstance(self._clock, SystemClock):
                self._changed.wait(seconds)
            else:  # its seconds pass when they are slept
                self._changed.release()
                try:
                    self._clock.sleep(seconds)
                finally:
                    self._changed.acquire()
        finally:
            self._sleeping = False
            self._changed.notify_all()

    def _done(self, task: Task) -> Done:
        result, error = None, task.error
        if error is None:
            try:
                result = self._perform(task.order)
            except (CallError, UsageError) as exc:
                error = exc
        return Done(self._clock.monotonic(), result, error)

    def _tell(self, task: Task) -> None:
        try:
            with self._telling:
                self._crew.tell(task)
        except BaseException as error:  # noqa: BLE001  # as above
            with self._changed:
                self._crew.running += 1  # its place was given back
                self._crew.broke(error)
                self._changed.notify_all()


async def in_tasks(crew: Crew, perform: Callable[[Any], Awaitable[Any]], clock: Clock) -> None:
    """
    Let as many tasks as `crew` wants do what it says, under asyncio or trio.

    Args:
        crew: What to do.
        perform: Does one order.
        clock: The time.

    Raises:
        BaseException: what is no failure of an order, when all tasks have ended; cancellation.
    """
    import anyio

    worker = _Tasks(crew, perform, clock)
    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(crew.workers):
                tasks.start_soon(worker.work)
    except BaseException:
        crew.stop("interrupted")
        raise
    if crew.broken is not None:
        raise crew.broken


class _Tasks:
    """What the tasks of one crew share."""

    def __init__(self, crew: Crew, perform: Callable[[Any], Awaitable[Any]], clock: Clock) -> None:
        self._crew = crew
        self._perform = perform
        self._clock = clock
        self._sleeping = False
        self._change: anyio.Event | None = None

    async def work(self) -> None:
        """Do what there is to do; what one task does."""
        crew = self._crew
        while await self._may_begin():
            done: Done | None = None
            try:
                task = crew.draw()
                if task is not None:
                    done = await self._done(task)
            except Exception as error:  # noqa: BLE001  # raised when the others have ended
                with crew.lock:
                    crew.broke(error)
                self._changed()
                return
            with crew.lock:
                if task is None or done is None:
                    crew.drawn_out()
                else:
                    crew.ended(task, done)
            self._changed()
            if task is not None:
                self._tell(task)

    async def _may_begin(self) -> bool:
        """Wait until another task may be begun; False if none will."""
        import anyio

        while True:
            with self._crew.lock:
                answer = self._crew.ask(self._clock.monotonic())
            if not isinstance(answer, Pause):
                return answer
            if self._change is None:
                self._change = anyio.Event()
            # One waits for the moment, the others for it.
            if answer.seconds is None or self._sleeping:
                await self._change.wait()
                continue
            self._sleeping = True
            try:
                if isinstance(self._clock, SystemClock):
                    with anyio.move_on_after(answer.seconds):
                        await self._change.wait()
                else:  # its seconds pass when they are slept
                    await self._clock.asleep(answer.seconds)
            finally:
                self._sleeping = False
            self._changed()

    def _changed(self) -> None:
        change, self._change = self._change, None
        if change is not None:
            change.set()

    async def _done(self, task: Task) -> Done:
        result, error = None, task.error
        if error is None:
            try:
                result = await self._perform(task.order)
            except (CallError, UsageError) as exc:
                error = exc
        return Done(self._clock.monotonic(), result, error)

    def _tell(self, task: Task) -> None:
        try:
            self._crew.tell(task)
        except Exception as error:  # noqa: BLE001  # as above
            with self._crew.lock:
                self._crew.running += 1  # its place was given back
                self._crew.broke(error)
            self._changed()
