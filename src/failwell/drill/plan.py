"""What a rehearsal is: a call, what goes wrong with it, and what has to come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from failwell.drill.faults import Action, Fault, Schedule
from failwell.drill.overload import Model, Phase
from failwell.drill.subject import Cause, Kind, Mode, Settings
from failwell.errors import CallError, UsageError
from failwell.failure import Effect

READ, KEYED, PLAIN = Kind.READ, Kind.KEYED_WRITE, Kind.PLAIN_WRITE
STREAM, PART_UPLOAD = Kind.STREAM, Kind.PART_UPLOAD

QUICK = Settings()
TWO = Settings(attempts=2)
# Where a timeout is what is rehearsed. Long enough for a busy machine to answer the next try.
IMPATIENT = Settings(connect=2.5, read=2.5)
DEADLINE = 2.0
# Faults of a certificate: the client has to be told which authority to trust.
CERTIFICATES = (Action.UNTRUSTED, Action.EXPIRED, Action.WRONG_HOST)

NOT_SENT = frozenset({Effect.NOT_SENT})
NOT_APPLIED = frozenset({Effect.NOT_APPLIED})
UNKNOWN = frozenset({Effect.UNKNOWN})
APPLIED = frozenset({Effect.APPLIED})


@dataclass(frozen=True, slots=True)
class Expect:
    """
    What has to come of a scenario.

    Attributes:
        error: The standard class of the exception; None for success.
        own: The SDK's own class, exactly; None for the one its contract has for `error`.
        reasons: What `failure.reason` may be; empty for anything.
        status: What `failure.status` must be; None for anything.
        requests: Requests the server must see.
        at_least: Whether that is a lower bound.
        at_most: What is an upper bound then; None for none.
        tries: Attempts the client must report and make; None for as many as `requests`.
        claim: What `failure.effect` may say; empty for anything that is true.
        effects: How many effects the ledger may hold; empty if the call has none to count.
        wait_at_least: Seconds between the arrivals of two requests.
        wait_at_most: The same, from above: a wait this long means a header was misread.
        elapsed: Seconds from the call to its end, at least and at most.
        retry_after: What the error must carry; None for anything.
        says: Words of which the error's text must contain one, in lower case.
        facts: Attributes of the error and what they must be; a callable value is a test.
        fresh: Whether the call has to be on a connection of its own.
        cancelled: Whether what has to come out is the cancellation, and nothing else.
        ends_connections: Whether no connection of the call may be open after it.
        max_bytes: Bytes of an answer the client may have taken before it ended the connection.
        parts: Numbers of the parts that have to travel, each as often as it stands here; None for any.
        heard: Events of a stream that must have been handed over at least.
    """

    error: type[CallError | UsageError] | None = None
    own: type[CallError | UsageError] | None = None
    reasons: frozenset[str] = frozenset()
    status: int | None = None
    requests: int = 1
    at_least: bool = False
    at_most: int | None = None
    tries: int | None = None
    claim: frozenset[Effect] = frozenset()
    effects: frozenset[int] = frozenset()
    wait_at_least: float = 0.0
    wait_at_most: float | None = None
    elapsed: tuple[float, float] | None = None
    retry_after: float | None = None
    says: tuple[str, ...] = ()
    facts: tuple[tuple[str, Any], ...] = ()
    fresh: bool = False
    cancelled: bool = False
    ends_connections: bool = False
    max_bytes: int | None = None
    parts: tuple[int, ...] | None = None
    heard: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """
    A call made first, by the same client, which must succeed.

    Attributes:
        kind: What it asks for.
        schedule: Which fault meets which attempt.
        same_key: Whether it has the key of the call the scenario is about.
        same_call: Whether it is that call, word by word, made by a client that ends with it: what
            a program did that was killed before it saw an answer. It tries once, and has to fail.
    """

    kind: Kind
    schedule: Schedule = field(default_factory=Schedule)
    same_key: bool = False
    same_call: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    One rehearsal.

    Attributes:
        id: Such as "S18-read-once".
        title: What happens, in a sentence.
        kind: What the call asks for.
        schedule: Which fault meets which attempt.
        expect: What has to come of it.
        settings: How patient the client is.
        before: Calls made first.
        cause: Instead of an ordinary call: a real reason for one documented exception.
        proves: Further ids of the catalogue that this is about.
        after: Calls made afterwards, which must succeed.
        cancel: Whether the call is cancelled as soon as its first request has arrived.
        quiet: Seconds after the call in which no further attempt may arrive.
        crowd: How many callers make the call at once, with one client and one key.
        modes: Forms of the client it can be rehearsed with; None for all.
        phases: Instead of a call: what many callers do, one phase after the other.
        model: Instead of a call: what is played in the model, with a clock that jumps.
        whole: Whether it is about all other rehearsals together.
        left: Of an upload, the parts that another program sent before, and whether they have the same bytes.
    """

    id: str
    title: str
    kind: Kind
    schedule: Schedule
    expect: Expect
    settings: Settings = QUICK
    before: tuple[Step, ...] = ()
    cause: Cause | None = None
    proves: tuple[str, ...] = ()
    after: tuple[Step, ...] = ()
    cancel: bool = False
    quiet: float = 0.0
    crowd: int = 1
    modes: tuple[Mode, ...] | None = None
    phases: tuple[Phase, ...] = ()
    model: Model | None = None
    whole: bool = False
    left: Mapping[int, bool] = field(default_factory=dict)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Every fault that is planned, for the call and for those before and after it."""
        steps = (*self.before, *self.after)
        return (*self.schedule.all, *(fault for step in steps for fault in step.schedule.all))

    @property
    def alone(self) -> bool:
        """Whether no other rehearsal may run meanwhile: the service is put out of order, or kept busy."""
        return self.cause is not None and (self.cause.alone or self.cause.arrange is not None)

    @property
    def tier(self) -> str:
        """Where it takes place: "wire", "virtual" for the model, "whole" for all rehearsals together."""
        if self.whole:
            return "whole"
        return "wire" if self.model is None else "virtual"

    @property
    def crashes(self) -> bool:
        """Whether the service's process is killed."""
        return any(fault.action is Action.CRASH for fault in self.schedule.all)

    @property
    def lasts_about(self) -> float:
        """Seconds this takes at least, as far as its plan says."""
        waits = self.expect.wait_at_least * max(0, self.expect.requests - 1)
        waits += sum(phase.pause + phase.probe_lasts for phase in self.phases)
        silent = sum(f.action in (Action.SILENCE, Action.IGNORE) for f in self.schedule.all)
        patience = self.settings.idle if self.kind is STREAM else self.settings.read
        silence = silent * min(patience, self.settings.deadline)
        return self.quiet + waits + silence + (self.expect.elapsed or (0.0, 0.0))[0]

    @property
    def missing(self) -> str:
        """Why this platform cannot rehearse it; empty if it can."""
        for fault in self.schedule.all:
            if not fault.runs_here:
                return f"{fault.name}: only on {fault.platform}"
            if fault.action in CERTIFICATES and not _has_trustme():
                return "making a certificate needs trustme: pip install 'failwell[drill]'"
        return ""


def short(kind: Kind) -> str:
    return {READ: "read", KEYED: "keyed", PLAIN: "plain"}[kind]


def _has_trustme() -> bool:
    from importlib.util import find_spec

    return find_spec("trustme") is not None
