"""S15 to S36: an answer came, and it cannot be used, or is more than was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from failwell import errors
from failwell.drill import faults
from failwell.drill.faults import Action, Fault, Schedule, always, once
from failwell.drill.plan import (
    APPLIED,
    DEADLINE,
    IMPATIENT,
    KEYED,
    NOT_APPLIED,
    PLAIN,
    QUICK,
    READ,
    UNKNOWN,
    Expect,
    Scenario,
    Step,
    short,
)
from failwell.drill.subject import Settings
from failwell.failure import Effect

HTML = b"<!doctype html><title>Sign in</title><p>Sign in to the network to go on.</p>\n"


@dataclass(frozen=True, slots=True)
class Damage:
    """
    What is done to an answer, and what a client can know of it.

    Attributes:
        id: Of the catalogue.
        how: The sentence's end: "cut inside its headers".
        fault: What is done.
        claim: What is known of the effect of a write.
        reasons: What `failure.reason` may be.
        lasting: Whether another try would bring the same, so that none is made.
        done: Whether the service was asked.
        error: The class.
        settings: How patient the client is.
        max_bytes: What the client may have taken of it.
    """

    id: str
    how: str
    fault: Fault
    claim: frozenset[Effect]
    reasons: frozenset[str]
    lasting: bool = False
    done: bool = True
    error: type[errors.CallError] = errors.BadAnswerError
    settings: Settings = QUICK
    max_bytes: int | None = None


_CUT = frozenset({"cut"})
_NO_HTTP = frozenset({"not_http"})
_ENCODING = frozenset({"encoding", "cut"})
_EITHER = frozenset({Effect.UNKNOWN, Effect.APPLIED})


# To unpack 64 MB takes a tenth of a second, or several on a machine with other things to do.
UNHURRIED = Settings(read=20.0, deadline=60.0)


def _as_promised(number: str, how: str, fault: Fault, reason: str = "format") -> Damage:
    """What is whole on the wire, and still not what was promised: another try would bring the same."""
    return Damage(number, how, fault, APPLIED, frozenset({reason}), lasting=True)


DAMAGES = (
    Damage("S15", "no HTTP at all", faults.garbage(), UNKNOWN, _NO_HTTP, done=False),
    Damage(
        "S15-status", "one whose status is no number", faults.bad_status_line(), UNKNOWN, _NO_HTTP, done=False
    ),
    Damage("S16", "cut inside its headers", faults.cut_in_headers(), UNKNOWN, _CUT | _NO_HTTP),
    replace(
        _as_promised("S17", "one with a header of 200 kB", faults.large_header(), "too_large"), claim=_EITHER
    ),
    Damage("S18", "cut by FIN inside its body", faults.cut_body(), APPLIED, _CUT),
    Damage("S19", "cut by RST inside its body", faults.cut_body(by=Action.RST), APPLIED, _CUT),
    Damage("S20", "cut between its chunks", faults.cut_chunked(), APPLIED, _CUT),
    Damage("S21", "broken by a bad chunk length", faults.bad_chunk(), APPLIED, _CUT | _NO_HTTP),
    _as_promised("S22", "cut, and its length was never announced", faults.cut_until_close()),
    Damage("S23", "compressed and cut, with the length of the half", faults.cut_gzip(), APPLIED, _ENCODING),
    Damage("S24", "compressed and damaged", faults.bad_gzip(), APPLIED, _ENCODING),
    Damage(
        "S25",
        "one that stops inside its body",
        faults.stall(),
        APPLIED,
        frozenset({"read_timeout"}),
        error=errors.CallTimeoutError,
        settings=IMPATIENT,
    ),
    replace(
        _as_promised("S27-announced", "larger than allowed, and says so", faults.large_body(), "too_large"),
        max_bytes=1 << 20,
    ),
    replace(
        _as_promised(
            "S27-inflated", "larger than allowed, once unpacked", faults.inflated_body(), "too_large"
        ),
        settings=UNHURRIED,
    ),
    replace(
        _as_promised("S27-endless", "without an end", faults.endless_body(), "too_large"),
        settings=UNHURRIED,
        max_bytes=128 << 20,  # the limit, and what the buffers of both sockets take besides
    ),
    _as_promised(
        "S28",
        "a sign-in page with the right status",
        faults.replaced(HTML, "text/html", name="HTML in its place"),
    ),
    _as_promised("S29", "empty", faults.replaced(b"", name="empty body")),
    _as_promised("S30", "half of a JSON text", faults.replaced(b'{"items": [', name="half of a JSON text")),
    _as_promised(
        "S31", "JSON of another shape", faults.replaced(b'["another", "shape"]', name="JSON of another shape")
    ),
)


def damaged() -> Iterator[Scenario]:
    """S15 to S31: an answer came and cannot be used."""
    for damage in DAMAGES:
        yield from _one_kind_of(damage)
    yield Scenario(
        "S26",
        "The answer trickles: no gap is long, the whole outlives the deadline",
        READ,
        always(faults.drip(0.3)),
        Expect(
            errors.CallTimeoutError,
            reasons=frozenset({"deadline"}),
            claim=NOT_APPLIED,
            elapsed=(DEADLINE * 0.9, DEADLINE * 1.1),
        ),
        Settings(read=10.0, deadline=DEADLINE),
    )


def _one_kind_of(damage: Damage) -> Iterator[Scenario]:
    """A read and two kinds of write with the same damage."""
    bad = Expect(damage.error, reasons=damage.reasons, max_bytes=damage.max_bytes)
    written = frozenset({1 if damage.done else 0})
    settings, fault = damage.settings, damage.fault
    if not damage.lasting:
        yield Scenario(
            f"{damage.id}-read-once",
            f"The answer to a read is {damage.how}, once",
            READ,
            once(fault),
            Expect(requests=2),
            settings,
        )
    yield Scenario(
        f"{damage.id}-read-always" if not damage.lasting else f"{damage.id}-read",
        f"The answer to a read is {damage.how}" + ("" if damage.lasting else ", every time"),
        READ,
        always(fault),
        replace(bad, requests=1 if damage.lasting else 3, claim=NOT_APPLIED),
        settings,
    )
    yield Scenario(
        f"{damage.id}-plain",
        f"The answer to a write without a key is {damage.how}",
        PLAIN,
        always(fault),
        replace(bad, claim=damage.claim, effects=written),
        settings,
    )
    yield Scenario(
        f"{damage.id}-keyed",
        f"The answer to a write with a key is {damage.how}" + ("" if damage.lasting else ", once"),
        KEYED,
        once(fault),
        replace(bad, claim=damage.claim, effects=written)
        if damage.lasting
        else Expect(requests=2, effects=frozenset({1})),
        settings,
    )


def surprised() -> Iterator[Scenario]:
    """S33 to S36: more came than was asked for."""
    done = frozenset({1})
    for kind in (READ, KEYED, PLAIN):
        yield Scenario(
            f"S33-{short(kind)}",
            "A 103 comes before the answer",
            kind,
            once(faults.early_hints()),
            Expect(effects=frozenset() if kind is READ else done),
        )
        yield Scenario(
            f"S33-100-{short(kind)}",
            "A 100 comes before the answer, and the client did not wait for it",
            kind,
            once(faults.unasked_continue()),
            Expect(effects=frozenset() if kind is READ else done),
        )
    upgraded = Expect(errors.BadAnswerError, reasons=frozenset({"not_http"}))
    yield Scenario(
        "S34-read-once",
        "A read is answered with an unasked 101, once",
        READ,
        once(faults.unasked_upgrade()),
        Expect(requests=2),
    )
    yield Scenario(
        "S34-plain",
        "A write without a key is answered with an unasked 101",
        PLAIN,
        always(faults.unasked_upgrade()),
        replace(upgraded, claim=UNKNOWN, effects=frozenset({0})),
    )
    for name, what, fault in (
        ("S35", "was sent twice", faults.answered_twice()),
        ("S36", "was longer than it said", faults.trailing_bytes()),
    ):
        for kind in (READ, KEYED, PLAIN):
            yield Scenario(
                f"{name}-{short(kind)}",
                f"The answer before {what}: the next call does not see it",
                kind,
                Schedule(),
                Expect(effects=frozenset() if kind is READ else done, fresh=True),
                before=(Step(READ, once(fault)),),
            )
