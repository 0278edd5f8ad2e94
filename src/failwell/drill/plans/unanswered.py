"""S01 to S14: no connection, or no answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from failwell import errors
from failwell.drill import faults
from failwell.drill.faults import Action, Schedule, always, once, times
from failwell.drill.plan import (
    IMPATIENT,
    KEYED,
    NOT_APPLIED,
    NOT_SENT,
    PLAIN,
    READ,
    TWO,
    UNKNOWN,
    Expect,
    Scenario,
    Step,
    short,
)
from failwell.drill.subject import Settings


def unconnected() -> Iterator[Scenario]:
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
    yield Scenario(
        "S01-slow",
        "The look-up of the service's name takes longer than a connection may",
        KEYED,
        always(faults.slow_dns(1.5)),
        # Blocking code cannot leave getaddrinfo() before it is over: the late answer counts then.
        replace(
            late,
            error=errors.CallError,
            reasons=frozenset({"connect_timeout", "dns"}),
            elapsed=(0.7, 8.0),
        ),
        replace(TWO, connect=0.4),
    )
    yield Scenario(
        "S01-servfail",
        "The name server has no answer for now",
        KEYED,
        always(faults.servfail()),
        replace(lost, reasons=frozenset({"dns"}), tries=3),
    )
    for kind in (KEYED, PLAIN):
        yield Scenario(
            f"S02-{short(kind)}",
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
    for name, fault, title, says in (
        ("expired", faults.tls_expired(), "The certificate has expired", "expired"),
        ("wrong-host", faults.tls_wrong_host(), "The certificate is another host's", "not valid for"),
    ):
        yield Scenario(
            f"S05-{name}",
            title,
            KEYED,
            always(fault),
            replace(lost, reasons=frozenset({"tls_untrusted"}), tries=1, says=(says, "mismatch")),
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
    yield Scenario(
        "S07-closed",
        "The connection is closed in the TLS handshake",
        KEYED,
        always(faults.tls_close()),
        replace(lost, reasons=frozenset({"tls_closed"}), tries=3),
    )


def unanswered() -> Iterator[Scenario]:
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
            f"S12-{short(kind)}",
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
    quiet = faults.silence()
    patient = Settings(deadline=1.0)
    late = replace(
        lost, error=errors.CallTimeoutError, reasons=frozenset({"deadline"}), ends_connections=True
    )
    for kind in (READ, KEYED, PLAIN):
        yield Scenario(
            f"S14-deadline-{short(kind)}",
            "The deadline passes in the middle of a call: it ends, and nothing follows",
            kind,
            once(quiet),
            replace(late, elapsed=(0.9, 5.0))
            if kind is not READ
            else replace(late, elapsed=(0.9, 5.0), claim=NOT_APPLIED, effects=_NONE),
            patient,
            quiet=0.3,
            after=(Step(READ),),
        )
        yield Scenario(
            f"S14-cancelled-{short(kind)}",
            "The call is cancelled in the middle: it ends, and nothing follows",
            kind,
            once(quiet),
            Expect(cancelled=True, effects=_NONE if kind is READ else frozenset({0}), ends_connections=True),
            quiet=0.3,
            after=(Step(READ),),
            cancel=True,
            modes=("async",),
        )
    for kind in (KEYED, PLAIN):
        yield Scenario(
            f"S14-cancelled-late-{short(kind)}",
            "The call is cancelled when the service has done it: it ends, and nothing follows",
            kind,
            once(faults.lose_answer(Action.SILENCE)),
            Expect(cancelled=True, effects=frozenset({1}), ends_connections=True),
            quiet=0.3,
            after=(Step(READ),),
            cancel=True,
            modes=("async",),
        )


_NONE = frozenset[int]()
