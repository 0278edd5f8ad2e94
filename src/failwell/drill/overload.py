"""
What a rehearsal of a crowd is: calls in phases over the wire, or a model in which time jumps.

Plain data: `plans.overload` lists it, `circuits` and `virtual` carry it out, `verdict_overload` judges.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from failwell.drill.faults import Schedule
from failwell.storm.world import World


@dataclass(frozen=True, slots=True)
class Phase:
    """
    What callers with one client do, until all of them have come back.

    Attributes:
        name: Short; the wire's operation is called so, and the decisive one "main".
        callers: How many.
        schedule: Which fault meets which request of the phase.
        at_once: Whether they call at the same moment, or one after the other.
        pause: Seconds that pass before.
        failed: How many are to meet the outage itself.
        refused: How many are to be refused by the open circuit, at least.
        answered: How many are to be answered, at least.
        tries: Connections that have to be tried; None where requests can be counted instead.
        probes: Whether one request has to decide for all: no other comes before it is over.
        served_within: Seconds from the end of that one in which all who wait look again; None for any.
        longer_than: Seconds that the pause has to last that the phase before began; None for any.
    """

    name: str
    callers: int
    schedule: Schedule = field(default_factory=Schedule)
    at_once: bool = False
    pause: float = 0.0
    failed: int = 0
    refused: int = 0
    answered: int = 0
    tries: int | None = None
    probes: bool = False
    served_within: float | None = None
    longer_than: float | None = None

    @property
    def probe_lasts(self) -> float:
        """Seconds from the arrival of the first request to its answer, at least."""
        return max((fault.gap * fault.pieces for fault in self.schedule.all), default=0.0)


class Came(str, Enum):
    """What came of a caller's call."""

    ANSWERED = "answered"
    FAILED = "failed"
    REFUSED = "refused"
    BROKEN = "broken"

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class CallerWitness:
    """
    What one caller says.

    Attributes:
        came: What came of it: `REFUSED` by an open circuit, `BROKEN` for what is no error of a call.
        ended: When, in monotonic seconds.
        error: The exception's class; "" for none.
        retry_after: When it is worth asking again, in seconds; None if it does not say.
        claim: What it claims about the effect; "" if it claims nothing.
    """

    came: Came
    ended: float
    error: str = ""
    retry_after: float | None = None
    claim: str = ""


@dataclass(frozen=True, slots=True)
class Circuit:
    """
    How quickly a circuit goes through its states in a rehearsal; what opens it stays the SDK's own.

    Attributes:
        open_for: Seconds until the first probe.
        window: Seconds that are looked back upon: a busy machine must not forget the first failure.
        wait: Seconds that a call waits for a circuit to close.
    """

    open_for: float
    window: float = 120.0
    wait: float = 0.0


class Play(str, Enum):
    """What is played in the model."""

    STORM = "a service that is away for a while"
    KEYS = "one of ten keys fails"
    NESTED = "a layer of the same client behind another"
    RESET = "all clients are reset at the same moment"

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Bound:
    """
    What a measured fact may be.

    Attributes:
        fact: Its name.
        most: The most it may be; None for no bound.
        least: The least it may be; None for no bound.
        than: The name of another fact that it may be at most; "" for none.
    """

    fact: str
    most: float | None = None
    least: float | None = None
    than: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """
    A rehearsal in a model, with the SDK's own policies and a clock that jumps.

    Attributes:
        play: What is played.
        bounds: What has to come of it.
        worlds: The service and its clients, one after the other; the name of each goes before its facts.
        scoped: Whether each call names what it is about, for a circuit of its own.
        clients: How many, where there is no world.
        runs: Of each world, with other dice; the median of them counts.
    """

    play: Play
    bounds: tuple[Bound, ...]
    worlds: tuple[tuple[str, World], ...] = ()
    scoped: bool = False
    clients: int = 0
    runs: int = 1
