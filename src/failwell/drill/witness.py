"""
What the three witnesses say about one rehearsal: the client, the wire, the ledger.

Plain data, free of live objects, so that a verdict can be checked and printed long after.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from failwell.drill.journal import Journal
from failwell.drill.overload import CallerWitness
from failwell.failure import Attempt, Failure

MAIN = "main"  # the operation a scenario is about; what comes before it is "before-1", ...


@dataclass(slots=True)
class ClientWitness:
    """
    What the client says.

    Attributes:
        began: Monotonic seconds when the call was made.
        ended: When it returned or raised; None if it never did.
        succeeded: Whether it returned.
        result_id: The id of what it returned.
        result_ids: The ids of what it returned to each of several callers.
        error: The exception's class, dotted; "" for none.
        error_names: Its class and every base, by bare name, nearest first.
        text: `str(error)`.
        cause: The class of `__cause__`, dotted; "" for none.
        failure: What the error knows; None if it knows nothing in failwell's terms.
        attempts: Every try it reports: with an error those on the error, with a success those of
            which it told while it made them. None if it reports none.
        facts: Attributes asked for by the scenario, as text, and whether they are right.
        broken_promises: What the error promises and does not keep: pickling, secrets.
        logs: Lines the client logged during the call.
        connections_ended: Whether every connection of the call was ended, if the scenario asks for that.
        trouble: What went wrong before the call: a client that could not be made.
        phases: What each caller of a phase says, by the phase's name.
        woken: When the last of a phase's callers looks again that waits for the circuit, by the phase's name.
        filled: Documented attributes in which the error has something, as "Class.attribute".
        told: How many attempts its events told the end of; None if it tells no events.
        heard: Of a stream, the id and the text of each event that was handed over, in order.
        digest: The SHA-256 of what was given to be uploaded in parts; "" for nothing.
    """

    began: float = 0.0
    ended: float | None = None
    succeeded: bool = False
    result_id: str | None = None
    result_ids: tuple[str | None, ...] = ()
    error: str = ""
    error_names: tuple[str, ...] = ()
    text: str = ""
    cause: str = ""
    failure: Failure | None = None
    attempts: tuple[Attempt, ...] | None = None
    facts: dict[str, tuple[str, bool]] = field(default_factory=dict)
    broken_promises: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    connections_ended: bool = True
    trouble: str = ""
    phases: dict[str, list[CallerWitness]] = field(default_factory=dict)
    woken: dict[str, float] = field(default_factory=dict)
    filled: tuple[str, ...] = ()
    told: int | None = None
    heard: tuple[tuple[str, str], ...] = ()
    digest: str = ""

    @property
    def elapsed(self) -> float | None:
        """Seconds the call took; None if it never ended."""
        return None if self.ended is None else self.ended - self.began


@dataclass(slots=True)
class LedgerWitness:
    """
    What the service holds after everything has come to rest.

    Attributes:
        ids: What carries the main call's marker; None if the ledger cannot be read.
        before: The same for each call made before, in order.
        settled: Whether the service had answered all it was asked before the ledger was read.
        stream: The events of the stream that was asked for, whole: id and text of each; None if unknown.
        digest: The SHA-256 of what was uploaded in parts; None if there is nothing.
    """

    ids: tuple[str, ...] | None = None
    before: tuple[tuple[str, ...] | None, ...] = ()
    settled: bool = True
    stream: tuple[tuple[str, str], ...] | None = None
    digest: str | None = None


@dataclass(slots=True)
class Evidence:
    """
    All three, for one rehearsal.

    Attributes:
        client: What the client says.
        wire: What crossed the wire.
        ledger: What the service holds.
        stalled: Seconds in which the machine kept threads waiting during the call.
    """

    client: ClientWitness
    wire: Journal
    ledger: LedgerWitness
    stalled: float = 0.0
