"""
The list of what is rehearsed, and what has to come of it.

Ids are those of the catalogue: S01 to S87 are failures any client can meet, E-... are real causes
of one SDK's own exceptions. A suffix tells variants apart; `--only S18` takes all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from failwell import errors
from failwell.drill import faults
from failwell.drill.faults import Action, Fault, Schedule, always, once, times
from failwell.drill.subject import Cause, Kind, Settings, Subject
from failwell.errors import CallError, UsageError
from failwell.failure import Effect

READ, KEYED, PLAIN = Kind.READ, Kind.KEYED_WRITE, Kind.PLAIN_WRITE

QUICK = Settings()
TWO = Settings(attempts=2)
# Where a timeout is what is rehearsed. Long enough for a busy machine to answer the next try.
IMPATIENT = Settings(connect=0.6, read=0.6)
DEADLINE = 1.5

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
        tries: Attempts the client must report and make; None for as many as `requests`.
        claim: What `failure.effect` may say; empty for anything that is true.
        effects: How many effects the ledger may hold; empty if the call has none to count.
        wait_at_least: Seconds between the arrivals of two requests.
        wait_at_most: The same, from above: a wait this long means a header was misread.
        elapsed: Seconds from the call to its end, at least and at most.
        retry_after: What the error must carry; None for anything.
        says: Words of which the error's text must contain one, in lower case.
        facts: Attributes of the error and what they must be; a callable value is a test.
    """

    error: type[CallError | UsageError] | None = None
    own: type[CallError | UsageError] | None = None
    reasons: frozenset[str] = frozenset()
    status: int | None = None
    requests: int = 1
    tries: int | None = None
    claim: frozenset[Effect] = frozenset()
    effects: frozenset[int] = frozenset()
    wait_at_least: float = 0.0
    wait_at_most: float | None = None
    elapsed: tuple[float, float] | None = None
    retry_after: float | None = None
    says: tuple[str, ...] = ()
    facts: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A call made first, by the same client, which must succeed: its kind, key and faults."""

    kind: Kind
    schedule: Schedule = field(default_factory=Schedule)
    same_key: bool = False


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

    @property
    def alone(self) -> bool:
        """Whether no other rehearsal may run meanwhile: the service is put out of order, or kept busy."""
        return self.cause is not None and (self.cause.alone or self.cause.arrange is not None)

    @property
    def lasts_about(self) -> float:
        """Seconds this takes at least, as far as its plan says."""
        waits = self.expect.wait_at_least * max(0, self.expect.requests - 1)
        silent = sum(f.action in (Action.SILENCE, Action.IGNORE) for f in self.schedule.all)
        return waits + silent * self.settings.read + (self.expect.elapsed or (0.0, 0.0))[0]

    @property
    def missing(self) -> str:
        """Why this platform cannot rehearse it; empty if it can."""
        for fault in self.schedule.all:
            if not fault.runs_here:
                return f"{fault.name}: only on {fault.platform}"
            if fault.action is Action.UNTRUSTED and not _has_trustme():
                return "making a certificate needs trustme: pip install 'failwell[drill]'"
        return ""


def catalogue(subject: Subject) -> list[Scenario]:
    """Everything that is rehearsed with `subject`, in the order of the catalogue."""
    ordinary = [*_unconnected(), *_unanswered(), *_damaged(), *_statuses(subject), *_once_only()]
    return [s for s in ordinary if s.kind in subject.kinds] + [_caused(c) for c in subject.causes()]


def _unconnected() -> Iterator[Scenario]:
    """S01 to S07: no connection, so nothing was sent."""
    lost = Expect(errors.ConnectError, requests=0, claim=NOT_SENT, effects=frozenset({0}))
    late = replace(lost, error=errors.CallTimeoutError, reasons=frozenset({"connect_timeout"}), tries=2)
    yield Scenario(
        "S01",
        "The service's name does not exist",
        KEYED,
        always(faults.dns()),
        replace(lost, reasons=frozenset({"dns"}), tries=3),
    )
    for kind in (KEYED, PLAIN):
        yield Scenario(
            f"S02-{_short(kind)}",
            "Refused twice, then the service is back",
            kind,
            times(2, faults.refuse()),
            Expect(tries=3, effects=frozenset({1})),
        )
    yield Scenario(
        "S03",
        "Nobody listens",
        KEYED,
        always(faults.refuse()),
        replace(lost, reasons=frozenset({"refused"}), tries=3),
    )
    slow = replace(TWO, connect=0.4)
    yield Scenario(
        "S04",
        "The connection request is never answered",
        KEYED,
        always(faults.syn_unanswered()),
        replace(late, elapsed=(0.7, 4.0)),
        slow,
    )
    yield Scenario(
        "S05",
        "The certificate is from an unknown authority",
        KEYED,
        always(faults.tls_untrusted()),
        replace(lost, reasons=frozenset({"tls_untrusted"}), tries=1, says=("certificate",)),
    )
    yield Scenario(
        "S06",
        "The server answers in plain text where TLS is expected",
        KEYED,
        always(faults.tls_plaintext()),
        replace(
            lost,
            reasons=frozenset({"tls"}),
            tries=1,
            says=("without tls", "plain", "not tls", "wrong version", "wrong_version", "record layer"),
        ),
    )
    yield Scenario(
        "S07",
        "The TLS handshake stalls",
        KEYED,
        always(faults.tls_stall()),
        replace(late, elapsed=(0.7, 4.0)),
        slow,
    )


def _unanswered() -> Iterator[Scenario]:
    """S08 to S13: the request was sent, nothing came back."""
    fin, rst = faults.fin_before_answer(), faults.rst_before_answer()
    lost = Expect(errors.ConnectionLostError, effects=frozenset({0}), claim=UNKNOWN)
    yield Scenario("S08-once", "A read loses its connection once", READ, once(fin), Expect(requests=2))
    yield Scenario(
        "S08-always",
        "A read loses its connection every time",
        READ,
        always(fin),
        replace(lost, requests=3, claim=NOT_APPLIED, effects=frozenset(), reasons=frozenset({"closed"})),
    )
    yield Scenario(
        "S09",
        "A write without a key is reset: it is not repeated",
        PLAIN,
        always(rst),
        replace(lost, reasons=frozenset({"reset"})),
    )
    yield Scenario(
        "S10-once",
        "A write with a key is reset once: repeated with the same key",
        KEYED,
        once(rst),
        Expect(requests=2, effects=frozenset({1})),
    )
    yield Scenario(
        "S10-always",
        "A write with a key is reset every time",
        KEYED,
        always(rst),
        replace(lost, requests=3, reasons=frozenset({"reset"})),
    )
    quiet = faults.silence()
    yield Scenario(
        "S11-read", "A read is met with silence once", READ, once(quiet), Expect(requests=2), IMPATIENT
    )
    yield Scenario(
        "S11-keyed",
        "A write with a key is met with silence once",
        KEYED,
        once(quiet),
        Expect(requests=2, effects=frozenset({1})),
        IMPATIENT,
    )
    yield Scenario(
        "S11-plain",
        "A write without a key is met with silence",
        PLAIN,
        always(quiet),
        replace(lost, error=errors.CallTimeoutError, reasons=frozenset({"read_timeout"})),
        IMPATIENT,
    )
    idle = (Step(READ, once(faults.idle_close())),)
    for kind in (KEYED, PLAIN):
        yield Scenario(
            f"S12-{_short(kind)}",
            "The kept connection was closed while idle: nothing was sent",
            kind,
            Schedule(),
            Expect(effects=frozenset({1})),
            before=idle,
        )
    again = (Step(READ),)
    reused = once(faults.fin_on_reuse())
    yield Scenario(
        "S13-plain",
        "A write without a key is read on a reused connection, then FIN",
        PLAIN,
        reused,
        replace(lost, reasons=frozenset({"closed"})),
        before=again,
    )
    yield Scenario(
        "S13-keyed",
        "A write with a key is read on a reused connection, then FIN",
        KEYED,
        reused,
        Expect(requests=2, effects=frozenset({1})),
        before=again,
    )


def _damaged() -> Iterator[Scenario]:
    """S16, S18 to S21, S26: an answer came and cannot be used."""
    bad = Expect(errors.BadAnswerError, effects=frozenset({1}))
    damages: tuple[tuple[str, str, Fault, frozenset[Effect], frozenset[str]], ...] = (
        ("S16", "cut inside its headers", faults.cut_in_headers(), UNKNOWN, frozenset({"cut", "not_http"})),
        ("S18", "cut by FIN inside its body", faults.cut_body(), APPLIED, frozenset({"cut"})),
        ("S19", "cut by RST inside its body", faults.cut_body(by=Action.RST), APPLIED, frozenset({"cut"})),
        ("S20", "cut between its chunks", faults.cut_chunked(), APPLIED, frozenset({"cut"})),
        ("S21", "broken by a bad chunk length", faults.bad_chunk(), APPLIED, frozenset({"cut", "not_http"})),
    )
    for name, how, fault, claim, reasons in damages:
        yield Scenario(
            f"{name}-read-once", f"The answer to a read is {how}, once", READ, once(fault), Expect(requests=2)
        )
        yield Scenario(
            f"{name}-read-always",
            f"The answer to a read is {how}, every time",
            READ,
            always(fault),
            replace(bad, requests=3, claim=NOT_APPLIED, effects=frozenset(), reasons=reasons),
        )
        yield Scenario(
            f"{name}-plain",
            f"The answer to a write without a key is {how}",
            PLAIN,
            always(fault),
            replace(bad, claim=claim, reasons=reasons),
        )
        yield Scenario(
            f"{name}-keyed",
            f"The answer to a write with a key is {how}, once",
            KEYED,
            once(fault),
            Expect(requests=2, effects=frozenset({1})),
        )
    patient = Settings(read=0.6, deadline=DEADLINE)
    yield Scenario(
        "S26",
        "The answer trickles: no gap is long, the whole outlives the deadline",
        READ,
        always(faults.drip(0.2)),
        Expect(
            errors.CallTimeoutError,
            reasons=frozenset({"deadline"}),
            claim=NOT_APPLIED,
            elapsed=(DEADLINE * 0.9, DEADLINE * 1.1),
        ),
        patient,
    )


def _statuses(subject: Subject) -> Iterator[Scenario]:
    """S41 to S46: a gateway in front answers; S40 are the service's own answers, see the causes."""
    for status in (500, 502, 503, 504):
        for kind in (READ, KEYED):
            written = frozenset({1}) if kind is KEYED else frozenset[int]()
            if status in subject.retried:
                title, expect = f"{status} twice, then well", Expect(requests=3, effects=written)
            else:
                # The document does not list it: raised at once, and a gateway's word proves nothing.
                title = f"{status}: not on this SDK's list, so it is not tried again"
                expect = Expect(
                    errors.ServerError,
                    status=status,
                    claim=UNKNOWN if kind is KEYED else NOT_APPLIED,
                    effects=frozenset({0}) if written else written,
                )
            yield Scenario(
                f"S41-{status}-{_short(kind)}", title, kind, times(2, faults.answer(status)), expect
            )
        yield Scenario(
            f"S41-{status}-always",
            f"{status} every time",
            READ,
            always(faults.answer(status)),
            Expect(
                errors.ServerError,
                status=status,
                claim=NOT_APPLIED,
                requests=3 if status in subject.retried else 1,
            ),
        )
    if 429 not in subject.retried:
        return
    wait = faults.answer(429, {"Retry-After": "1"})
    yield Scenario(
        "S42-read",
        "429 twice, asking for a second each time",
        READ,
        times(2, wait),
        Expect(requests=3, wait_at_least=1.0, wait_at_most=4.0),
    )
    yield Scenario(
        "S42-keyed",
        "429 to a write, asking for a second",
        KEYED,
        once(wait),
        Expect(requests=2, wait_at_least=1.0, wait_at_most=4.0, effects=frozenset({1})),
    )
    dated = Expect(requests=2, wait_at_least=1.0, wait_at_most=5.0)
    for name, skew, whose in (
        ("S43", 0.0, "a date two seconds ahead"),
        ("S44-ahead", 3600.0, "a date two seconds ahead of a clock that is an hour ahead"),
        ("S44-behind", -3600.0, "a date two seconds ahead of a clock that is an hour behind"),
    ):
        fault = faults.answer(429, name=f"429, Retry-After: {whose}", retry_date=2.0, clock_skew=skew)
        yield Scenario(name, f"429 asking for {whose}", READ, once(fault), dated)
    for name, value in (
        ("absent", None),
        ("negative", "-5"),
        ("words", "abc"),
        ("past", "Fri, 31 Dec 1999 23:59:59 GMT"),
        ("digits", "9" * 35),
    ):
        fault = faults.answer(429, {} if value is None else {"Retry-After": value})
        yield Scenario(
            f"S45-{name}",
            f"429 whose Retry-After is {value or 'absent'}: the client's own backoff",
            READ,
            once(fault),
            Expect(requests=2, wait_at_most=2.0),
        )
    tomorrow = faults.answer(429, {"Retry-After": "86400"})
    yield Scenario(
        "S46",
        "429 asking for a day: raised at once, never tried earlier",
        READ,
        always(tomorrow),
        Expect(errors.RateLimitError, status=429, claim=NOT_APPLIED, retry_after=86400.0, elapsed=(0.0, 3.0)),
    )


def _once_only() -> Iterator[Scenario]:
    """S54, S57: whatever is lost, it is done once."""
    for how in (Action.FIN, Action.RST, Action.SILENCE):
        settings = IMPATIENT if how is Action.SILENCE else QUICK
        fault = faults.lose_answer(how)
        yield Scenario(
            f"S54-{how.name.lower()}",
            "The service did it, the answer was lost: repeated, replayed",
            KEYED,
            once(fault),
            Expect(requests=2, effects=frozenset({1})),
            settings,
        )
        error = errors.CallTimeoutError if how is Action.SILENCE else errors.ConnectionLostError
        yield Scenario(
            f"S54-{how.name.lower()}-plain",
            "The service did it, the answer was lost, no key: told so",
            PLAIN,
            always(fault),
            Expect(error, claim=UNKNOWN, effects=frozenset({1})),
            settings,
        )
    yield Scenario(
        "S57",
        "A key used again with another body",
        KEYED,
        Schedule(),
        Expect(errors.ConflictError, status=409, claim=NOT_APPLIED, effects=frozenset({0})),
        before=(Step(KEYED, same_key=True),),
    )


def _caused(cause: Cause) -> Scenario:
    """The scenario for a real cause of one documented exception."""
    ordinary = cause.status in (400, 401, 403, 404, 409, 422)
    claim = frozenset[Effect]() if cause.status is None or cause.status >= 500 else NOT_APPLIED
    if cause.claims is not None:
        claim = cause.claims
    refused = cause.raises is not None and issubclass(cause.raises, UsageError)
    return Scenario(
        f"E-{'' if cause.raises is None else cause.raises.__name__ + '-'}{cause.name}",
        cause.title,
        cause.kind,
        Schedule(),
        Expect(
            error=None if cause.raises is None else UsageError if refused else CallError,
            own=cause.raises,
            status=cause.status,
            requests=cause.requests,
            wait_at_least=cause.wait_at_least,
            claim=claim,
            effects=frozenset({cause.effects}) if cause.kind is not READ else frozenset(),
            facts=cause.facts,
        ),
        cause.settings,
        cause=cause,
        proves=(*cause.proves, *((f"S40-{cause.status}",) if ordinary and cause.requests == 1 else ())),
    )


def _short(kind: Kind) -> str:
    return {READ: "read", KEYED: "keyed", PLAIN: "plain"}[kind]


def _has_trustme() -> bool:
    from importlib.util import find_spec

    return find_spec("trustme") is not None


def called(name: str, known: Sequence[Scenario]) -> list[Scenario]:
    """The scenarios that `--only name` means: the one of that id, or else all its variants."""
    wanted = name.lower()
    exact = [s for s in known if s.id.lower() == wanted]
    return exact or [
        s for s in known if any(f"{i.lower()}-".startswith(f"{wanted}-") for i in (s.id, *s.proves))
    ]
