"""
The circuit breaker: leave a service alone that keeps failing.

    closed ──(too many failures in the window)──> open ──(time is up)──> half open
      ^                                             ^                      │   │
      └───────────────(the probe succeeds)──────────┼──────────────────────┘   │
                                                    └──(the probe fails: longer)┘

It sheds first tries, not only retries: in a metastable overload that alone brings the service
back. Each step is short and pure, under one lock, never held across a wait; so threads and
tasks share a breaker. Time comes in as an argument.

Processes share circuits by way of a `CircuitStore`. No call waits for it: a circuit notes what
happened to it, and the store, in a thread of its own, tells the others and brings what they say. Only
the probe has to be granted, because there is one among all; where the store cannot be reached, each
process decides for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from threading import Lock

from failwell.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class CircuitStore(Protocol):
        """
        Where processes tell each other of their circuits. Nothing here blocks.

        Attributes:
            reachable: Whether a probe has to be granted by it.
        """

        @property
        def reachable(self) -> bool: ...
        def join(self, scope: str, circuit: Circuit) -> None: ...
        def wake(self) -> None: ...


# A window is counted in this many slots, so that it forgets in steps instead of all at once.
SLOTS = 10

# Seconds after which it is worth asking again whether the others granted a probe.
ASK_AGAIN = 0.05

# What `admit` answers to the one attempt whose end decides whether the circuit closes.
PROBE = -1.0


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """
    When a circuit opens and for how long.

    Attributes:
        failure_ratio: Share of attempts in the window that must fail.
        window: Seconds that are looked back upon.
        min_attempts: Attempts in the window below which nothing is concluded.
        open_for: Seconds until the first probe.
        growth: What the pause is multiplied with for each probe that fails; 1.0 keeps it.
        max_open_for: Seconds: the longest pause.
        wait: Seconds that a call waits in all, within its deadline, for a circuit to close, before it is
            refused. 0.0: it is refused at once, and told when to come back. Who waits looks again when
            the pause is over, and while another probes at least once a second; so `wait` is worth
            something from `open_for` and a second on.

    Raises:
        UsageError: a number is out of its range.

    Source:
        docs/storm.md. A pause that doubles may last as long again as the outage did; with these numbers
        clients are back a few seconds after the service, however long that was away.
    """

    failure_ratio: float = 0.5
    window: float = 5.0
    min_attempts: int = 10
    open_for: float = 2.0
    growth: float = 1.5
    max_open_for: float = 60.0
    wait: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.failure_ratio <= 1:
            raise UsageError(f"failure_ratio is {self.failure_ratio}; it is a share, above 0 and up to 1")
        if self.min_attempts < 1 or not self.window > 0 or not self.open_for > 0:
            raise UsageError("min_attempts is 1 or more; window and open_for are seconds above 0")
        if not 1 <= self.growth < inf:
            raise UsageError(f"growth is {self.growth}; it is 1 or more")
        if not self.max_open_for >= self.open_for:
            raise UsageError(f"max_open_for is {self.max_open_for}; it is at least open_for, {self.open_for}")
        if not self.wait >= 0:
            raise UsageError(f"wait is {self.wait}; it is a number of seconds, 0 or more")


class Breaker:
    """
    One circuit for each scope, usually a host.

    Args:
        policy: When circuits open.
        store: Shares them with other processes, as `failwell.shared_circuits.RedisCircuits` does; None
            for circuits of this process alone.
    """

    # A client that is handed endless host names must not grow with them.
    MAX_SCOPES = 1024

    def __init__(self, policy: BreakerPolicy | None = None, *, store: CircuitStore | None = None) -> None:
        self.policy = policy or BreakerPolicy()
        self._store = store
        self._circuits: dict[str, Circuit] = {}
        self._lock = Lock()

    def __repr__(self) -> str:
        return (
            f"<Breaker {', '.join(f'{s}: {c.state}' for s, c in list(self._circuits.items())) or 'unused'}>"
        )

    def circuit(self, scope: str) -> Circuit:
        """The circuit of `scope`, made on first use."""
        circuit = self._circuits.get(scope)
        if circuit is None:
            with self._lock:
                while len(self._circuits) >= self.MAX_SCOPES:
                    del self._circuits[next(iter(self._circuits))]
                circuit = self._circuits.get(scope)
                if circuit is None:
                    circuit = self._circuits[scope] = Circuit(self.policy, self._store)
                    if self._store is not None:
                        self._store.join(scope, circuit)
        return circuit


@dataclass(frozen=True, slots=True)
class News:
    """
    What a circuit has to say to those of other processes.

    Attributes:
        version: Of the circuit, to be handed back with what they say.
        event: "open", "reopen" after a probe that failed, "close", "release" for a probe that was given
            up; "" if nothing happened.
        left: Seconds until the first probe; 0.0 while closed.
        pause: Seconds of the pause it is in.
        wants: Whether somebody would probe.
        probing: Whether somebody does.
    """

    version: int
    event: str
    left: float
    pause: float
    wants: bool
    probing: bool


class Circuit:
    """
    One circuit: counts attempts while closed, waits while open, lets one probe through.

    Args:
        policy: When it opens.
        store: Shares it with other processes; None for a circuit of this one alone.
    """

    __slots__ = (
        "__weakref__",
        "_event",
        "_failed",
        "_granted",
        "_lock",
        "_open_until",
        "_pause",
        "_policy",
        "_probing",
        "_slot",
        "_slot_length",
        "_store",
        "_total",
        "_version",
        "_wanted",
    )

    def __init__(self, policy: BreakerPolicy, store: CircuitStore | None = None) -> None:
        self._policy = policy
        self._store = store
        self._version = 0
        self._event = ""
        self._wanted = self._granted = False
        self._lock = Lock()
        self._slot_length = policy.window / SLOTS
        self._slot = 0
        self._total = [0] * SLOTS
        self._failed = [0] * SLOTS
        self._open_until: float | None = None  # None while closed
        self._pause = policy.open_for
        self._probing = False

    @property
    def wait(self) -> float:
        """Seconds that a call waits for it to close."""
        return self._policy.wait

    @property
    def state(self) -> str:
        """One of "closed", "open" and "probing"."""
        if self._open_until is None:
            return "closed"
        return "probing" if self._probing else "open"

    def admit(self, now: float) -> float:
        """
        Ask to make an attempt.

        Returns:
            0.0 if it may be made, `PROBE` if it may and decides for all; then `record` must follow,
            or after a probe `release`. Otherwise seconds until it is worth asking again, above 0.
        """
        if self._open_until is None:  # the usual case needs no lock: a stale look admits one more
            return 0.0
        with self._lock:
            return self._ask_locked(now)

    def _ask_locked(self, now: float) -> float:
        if self._open_until is None:
            return 0.0
        if now < self._open_until:
            return self._open_until - now
        if self._probing:
            # The probe decides soon; how soon depends on it alone.
            return min(1.0, self._policy.open_for)
        if self._store is not None and self._store.reachable and not self._granted:
            self._wanted = True
            self._store.wake()
            return min(ASK_AGAIN, self._policy.open_for)
        self._wanted = self._granted = False
        self._probing = True
        return PROBE

    def is_shut(self, now: float) -> bool:
        """Whether `admit` would refuse at `now` even if nothing else happened; takes no place."""
        until = self._open_until
        return until is not None and now < until

    def record(self, now: float, *, failed: bool, probe: bool = False) -> None:
        """An admitted attempt ended; `probe` if it was admitted as one."""
        with self._lock:
            if probe:
                self._probing = False
                if failed:
                    self._pause = min(self._pause * self._policy.growth, self._policy.max_open_for)
                    self._open_until = now + self._pause
                    self._happened_locked("reopen")
                else:
                    self._close_locked()
                    self._happened_locked("close")
            elif self._open_until is None:
                self._count_locked(now, failed)
            # An attempt admitted before the circuit opened says nothing new, and must not be
            # taken for the probe.

    def release(self) -> None:
        """The probe was given up before it ended: its place is free again."""
        with self._lock:
            self._probing = False
            self._happened_locked("release")

    def news(self, now: float) -> News:
        """What others should know, at `now`; it is said once."""
        with self._lock:
            event, self._event = self._event, ""
            left = 0.0 if self._open_until is None else max(0.0, self._open_until - now)
            return News(self._version, event, left, self._pause, self._wanted, self._probing)

    def unsaid(self, news: News) -> None:
        """Nobody heard `news`: they are said again, unless something newer is."""
        with self._lock:
            self._event = self._event or news.event

    def heard(self, version: int, now: float, left: float | None, pause: float, granted: bool) -> None:
        """
        Take in what other processes say.

        Args:
            version: Of the news that this answers; if something has happened since, it is too late.
            now: Monotonic seconds.
            left: Seconds until the first probe; None if the circuit is closed.
            pause: Seconds of the pause it is in.
            granted: Whether the next probe is this process's.
        """
        with self._lock:
            if version != self._version or self._probing:
                return
            if left is None:
                self._wanted = self._granted = False
                if self._open_until is not None:
                    self._close_locked()
                return
            self._open_until = now + left
            self._pause = pause
            if granted:
                # It stays until it is used, or something happens: who calls seldom would never probe.
                self._wanted, self._granted = False, True
            elif left > 0:
                self._wanted = self._granted = False

    def forked(self) -> None:
        """This is a child process now: whoever held the lock is not in it."""
        self._lock = Lock()

    def _happened_locked(self, event: str) -> None:
        self._version += 1
        self._wanted = self._granted = False
        if self._store is not None:
            self._event = event
            self._store.wake()

    def _close_locked(self) -> None:
        self._open_until = None
        self._pause = self._policy.open_for
        self._forget_locked()

    def _forget_locked(self) -> None:
        self._total = [0] * SLOTS
        self._failed = [0] * SLOTS

    def _count_locked(self, now: float, failed: bool) -> None:
        slot = int(now / self._slot_length)
        # Threads come here in any order: one that looked at the clock earlier counts as of now.
        if slot >= self._slot + SLOTS:
            self._forget_locked()
            self._slot = slot
        while slot > self._slot:
            self._slot += 1
            self._total[self._slot % SLOTS] = self._failed[self._slot % SLOTS] = 0
        index = self._slot % SLOTS
        self._total[index] += 1
        if not failed:
            return
        self._failed[index] += 1
        total = sum(self._total)
        if total >= self._policy.min_attempts and sum(self._failed) >= self._policy.failure_ratio * total:
            self._open_until = now + self._pause
            self._happened_locked("open")
