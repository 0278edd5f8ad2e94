"""
Several orders at once, decided without I/O: who may begin what, and when.

Theory of operation. A `Crew` is shared by as many threads or tasks as it has `workers`. Each of
them asks whether it may begin, draws what it begins, does it, says how it ended, and asks again:

1. `ask` says go, or to wait: for seconds while the service wants to be left alone, or until something
   ends. It says no once nothing can follow;
2. `draw` brings the next task. It runs code of the caller's, so others need not wait for it;
3. `ended` takes in how a task ended, and decides what that means for the others.

One call that the service throttles (429) holds back all that have not begun. Half as many are begun
at once after that, and one more with each round that succeeds: the others need not run into the
same wall one by one, and those that come back do not come all at once.

Each step is short and under one lock, never held across a wait; time comes in as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from threading import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.operations.steps import Done


@dataclass(slots=True)
class Task:
    """
    What a worker is to do.

    Attributes:
        number: Which it is, for the crew.
        order: What a client's `perform` takes; None where there is nothing to do.
        error: Why nothing can be done: what was to be sent was refused.
        over: Whether it ended for good; False if it is to be done again.
    """

    number: int
    order: Any = None
    error: Exception | None = None
    over: bool = False


@dataclass(slots=True)
class Pause:
    """
    Nothing may be begun now.

    Attributes:
        seconds: Until it is worth asking again; None: until something has ended.
    """

    seconds: float | None = None


class Crew:
    """
    Decides what several workers do. What it is that they do is told by a class derived from it.

    Args:
        workers: How many there are at most.
        deadline: Monotonic seconds at which all is over.

    Attributes:
        lock: Held during `ask`, `ended` and whatever else changes the crew; a driver may wait on it.
        outer: The crew whose task this one is part of.
        broken: What is no failure of a task: raised when the others have ended.
        stopped: Why nothing more is begun; "" while more is.
    """

    def __init__(self, workers: int, deadline: float = inf) -> None:
        self.workers = workers
        self.deadline = deadline
        self.lock = Lock()
        self.outer: Crew | None = None
        self.broken: BaseException | None = None
        self.stopped = ""
        self.running = 0
        self._drawn_out = False
        self._allowed = float(workers)
        self._held_until = self._slowed_until = -inf

    # --- what a driver calls ---

    def ask(self, now: float) -> Pause | bool:
        """May another task be begun? `lock` is held. True takes a place, which `ended` gives back."""
        if self.stopped:
            return False
        if self._drawn_out and not self._has_returned():
            # Whoever is still at work may bring something back.
            return Pause() if self.running else False
        # Waiting for what cannot be begun any more would only postpone the end.
        if max(now, self._held_until) >= self.until():
            self.stop("deadline")
            return False
        if now < self._held_until:
            return Pause(self._held_until - now)
        if self.running + 1 > self._allowed:
            return Pause()
        self.running += 1
        return True

    def draw(self) -> Task | None:
        """The next task, for whoever has a place; None if there is none. `lock` is not held."""
        raise NotImplementedError

    def ended(self, task: Task, done: Done) -> None:
        """A task ended. `lock` is held."""
        self.running -= 1
        if done.error is None:
            # Seldom more than one throttled moment in a batch: the sum is exact enough.
            self._allowed = min(float(self.workers), self._allowed + 1.0 / self._allowed)
        self._note(task, done)

    def tell(self, task: Task) -> None:
        """Tell whoever wants to know that a task has ended. `lock` is not held."""

    def drawn_out(self) -> None:
        """There was no task for a place. `lock` is held."""
        self.running -= 1
        self._drawn_out = True

    def throttled(self, now: float, seconds: float) -> None:
        """The service wants to be left alone for so long. `lock` is not held."""
        with self.lock:
            self._hold_locked(now, seconds)
        if self.outer is not None:
            self.outer.throttled(now, seconds)

    def broke(self, error: BaseException) -> None:
        """Note what is no failure of a task. `lock` is held."""
        self.running -= 1
        self.broken = self.broken or error
        self.stop("error")

    def stop(self, why: str) -> None:
        """Let nothing more be begun; the first reason counts. `lock` is held."""
        self.stopped = self.stopped or why

    def until(self) -> float:
        """Monotonic seconds at which all is over, for this crew or one around it."""
        return self.deadline if self.outer is None else min(self.deadline, self.outer.until())

    def left(self, now: float) -> float:
        """Seconds until all is over."""
        return self.until() - now

    # --- what a derived class says ---

    def _has_returned(self) -> bool:
        """Whether there is a task that was drawn before, and is to be done again."""
        return False

    def _note(self, task: Task, done: Done) -> None:
        """Take in how a task ended. `lock` is held."""
        raise NotImplementedError

    def _hold_locked(self, now: float, seconds: float) -> None:
        until = now + seconds
        if now >= self._slowed_until:
            # Those that were under way together are throttled together: it is one moment.
            self._allowed = max(1.0, self._allowed / 2)
            self._slowed_until = until
        self._held_until = max(self._held_until, until)
