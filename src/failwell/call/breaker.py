"""
The circuit breaker: leave a service alone that keeps failing.

    closed ──(too many failures in the window)──> open ──(time is up)──> half open
      ^                                             ^                      │   │
      └───────────────(the probe succeeds)──────────┼──────────────────────┘   │
                                                    └──(the probe fails: longer)┘

It sheds first tries, not only retries: in a metastable overload that alone brings the service
back. Each step is short and pure, under one lock, never held across a wait; so threads and
tasks share a breaker. Time comes in as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from failwell.errors import UsageError

# A window is counted in this many slots, so that it forgets in steps instead of all at once.
SLOTS = 10

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
        open_for: Seconds until the first probe. Doubles with every probe that fails.
        max_open_for: Seconds: the longest pause.
        wait: Seconds that a call waits in all, within its deadline, for a circuit to close, before it is
            refused. 0.0: it is refused at once, and told when to come back. Who waits looks again when
            the pause is over, and while another probes at least once a second; so `wait` is worth
            something from `open_for` and a second on.

    Raises:
        UsageError: a number is out of its range.
    """

    failure_ratio: float = 0.5
    window: float = 10.0
    min_attempts: int = 10
    open_for: float = 5.0
    max_open_for: float = 60.0
    wait: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.failure_ratio <= 1:
            raise UsageError(f"failure_ratio is {self.failure_ratio}; it is a share, above 0 and up to 1")
        if self.min_attempts < 1 or not self.window > 0 or not self.open_for > 0:
            raise UsageError("min_attempts is 1 or more; window and open_for are seconds above 0")
        if not self.max_open_for >= self.open_for:
            raise UsageError(f"max_open_for is {self.max_open_for}; it is at least open_for, {self.open_for}")
        if not self.wait >= 0:
            raise UsageError(f"wait is {self.wait}; it is a number of seconds, 0 or more")


class Breaker:
    """
    One circuit for each scope, usually a host.

    Args:
        policy: When circuits open.
    """

    # A client that is handed endless host names must not grow with them.
    MAX_SCOPES = 1024

    def __init__(self, policy: BreakerPolicy | None = None) -> None:
        self.policy = policy or BreakerPolicy()
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
                circuit = self._circuits.setdefault(scope, Circuit(self.policy))
        return circuit


class Circuit:
    """One circuit: counts attempts while closed, waits while open, lets one probe through."""

    __slots__ = (
        "_failed",
        "_lock",
        "_open_until",
        "_pause",
        "_policy",
        "_probing",
        "_slot",
        "_slot_length",
        "_total",
    )

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
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
                    self._pause = min(self._pause * 2, self._policy.max_open_for)
                    self._open_until = now + self._pause
                else:
                    self._close_locked()
            elif self._open_until is None:
                self._count_locked(now, failed)
            # An attempt admitted before the circuit opened says nothing new, and must not be
            # taken for the probe.

    def release(self) -> None:
        """The probe was given up before it ended: its place is free again."""
        with self._lock:
            self._probing = False

    def _close_locked(self) -> None:
        self._open_until = None
        self._pause = self._policy.open_for
        self._total = [0] * SLOTS
        self._failed = [0] * SLOTS

    def _count_locked(self, now: float, failed: bool) -> None:
        slot = int(now / self._slot_length)
        # Threads come here in any order: one that looked at the clock earlier counts as of now.
        if slot > self._slot:
            for passed in range(max(self._slot, slot - SLOTS) + 1, slot + 1):
                self._total[passed % SLOTS] = self._failed[passed % SLOTS] = 0
            self._slot = slot
        index = self._slot % SLOTS
        self._total[index] += 1
        if not failed:
            return
        self._failed[index] += 1
        total = sum(self._total)
        if total >= self._policy.min_attempts and sum(self._failed) >= self._policy.failure_ratio * total:
            self._open_until = now + self._pause
