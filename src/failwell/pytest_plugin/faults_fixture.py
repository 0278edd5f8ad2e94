"""
The fixture `faults`: what goes wrong with the next requests of a client under test, and what the wire saw.

Its methods are named like the functions of `failwell.drill.faults`, which say how each fault is
made. All of them take the keywords of `When`: which attempt meets the fault, and how many do.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

import pytest

from failwell.drill import faults as made
from failwell.drill.faults import Action, Fault, Moment, Schedule
from failwell.drill.proxy import OF_A_REQUEST, FaultProxy
from failwell.errors import UsageError
from failwell.redaction import kept_url

if TYPE_CHECKING:
    from typing import Unpack

    from failwell.drill.journal import WireConnection, WireRequest

# The whole test is one operation of the proxy: attempts are counted from its beginning.
OPERATION = "test"
# Seconds that a service is waited for which was still at work when the test ended.
SETTLE_SECONDS = 2.0
# Seconds that a request is waited for whose answer the client has, and the journal not yet.
ANSWERED_SECONDS = 1.0

End = Literal["fin", "rst"]
_HOW = {"fin": Action.FIN, "rst": Action.RST, "silence": Action.SILENCE}


class _Counter(NamedTuple):
    """By what some faults are counted: the moments they act at, and what an attempt is called then."""

    moments: tuple[Moment, ...]
    one: str
    many: str


_COUNTERS = (
    _Counter((Moment.NAME,), "look-up", "look-ups"),
    _Counter((Moment.CONNECT,), "connection try", "connection tries"),
    _Counter((Moment.HANDSHAKE,), "connection", "connections"),
    _Counter(OF_A_REQUEST, "request", "requests"),
)


def _counter_of(fault: Fault) -> _Counter:
    return next(each for each in _COUNTERS if fault.moment in each.moments)


class When(TypedDict, total=False):
    """
    Which attempts meet a fault.

    Attributes:
        times: How many in a row; 1 by default, None for every one from then on.
        attempt: The first of them, 1 for the next one from now; by default the next one that meets no
            fault yet.
        optional: Whether it may be that it never happens; by default the test fails then.
    """

    times: int | None
    attempt: int
    optional: bool


@dataclass(frozen=True, slots=True)
class Planned:
    """
    One fault of a test.

    Attributes:
        fault: What goes wrong.
        first: The first attempt that meets it, counted from the test's beginning, from 1.
        times: How many in a row; None for every one.
        optional: Whether it may be that it never happens.
    """

    fault: Fault
    first: int
    times: int | None = 1
    optional: bool = False

    def meets(self, number: int) -> bool:
        """Whether attempt `number` meets it."""
        return self.first <= number and (self.times is None or number < self.first + self.times)

    @property
    def attempts(self) -> str:
        """Which attempts meet it, in words: "request 2", "requests 2 to 4"."""
        counter = _counter_of(self.fault)
        if self.times == 1:
            return f"{counter.one} {self.first}"
        if self.times is None:
            return f"{counter.many} {self.first} and up"
        return f"{counter.many} {self.first} to {self.first + self.times - 1}"


@dataclass(frozen=True, slots=True)
class Agenda(Schedule):
    """
    The faults of a test, each counted by its own kind of attempt.

    Attributes:
        planned: In the order they were planned.
    """

    planned: tuple[Planned, ...] = ()

    def at(self, number: int, *moments: Moment) -> Fault | None:
        """The fault that attempt `number` meets at one of `moments`."""
        return next(
            (p.fault for p in self.planned if (not moments or p.fault.moment in moments) and p.meets(number)),
            None,
        )

    @property
    def all(self) -> tuple[Fault, ...]:
        """Every fault in it."""
        return tuple(p.fault for p in self.planned)


class Faults:
    """
    Faults between a client and its service, over real sockets.

    Args:
        service: The service's base URL.

    Its methods may be called from any thread and from an event loop: the wire is served by threads.
    """

    def __init__(self, service: str) -> None:
        self._proxy = FaultProxy(service)
        self._agenda = Agenda()
        self._began = time.monotonic()
        self._url = self._proxy.begin(OPERATION, self._agenda)
        self._handed_out = ""

    def __repr__(self) -> str:
        return f"<Faults at {self._url}, {len(self._proxy.journal.requests)} requests>"

    def __enter__(self) -> Faults:
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.close()

    # --- for the client ------------------------------------------------------------------

    @property
    def url(self) -> str:
        """
        The base URL for the client under test, without a slash at its end.

        Faults of names and of TLS change it, so they are planned before it is asked for.
        """
        self._handed_out = self._url
        return self._url

    @property
    def trust(self) -> ssl.SSLContext:
        """
        TLS for the client under test that trusts this test's good certificates.

        Raises:
            UsageError: trustme is not installed.
        """
        from failwell.drill import certificates

        try:
            return certificates.trusting()
        except ModuleNotFoundError as exc:
            raise _needs_trustme() from exc

    # --- what the wire saw ---------------------------------------------------------------

    @property
    def requests(self) -> int:
        """How many requests arrived, those included that met a fault. What was sent by now is counted."""
        self._catch_up()
        return len(self._proxy.journal.requests_of(OPERATION))

    @property
    def attempts(self) -> list[WireRequest]:
        """
        The requests that arrived, in order: method, target, headers by an allow-list, fault, status, times.

        Times are those of `time.monotonic()`. A request that is being answered is given a moment to be over.
        """
        self._catch_up()
        self._proxy.settle(ANSWERED_SECONDS)
        return self._proxy.journal.requests_of(OPERATION)

    @property
    def connections(self) -> list[WireConnection]:
        """The connections that were accepted, in order."""
        self._catch_up()
        return list(self._proxy.journal.connections)

    @property
    def tries(self) -> int:
        """How often this process tried to connect, refused tries and look-ups that failed included."""
        return self._proxy.journal.tries_of(OPERATION)

    @property
    def waits(self) -> list[float]:
        """Seconds between each request's arrival and the next one's."""
        arrived = [r.arrived for r in self.attempts]
        return [later - earlier for earlier, later in pairwise(arrived)]

    @property
    def fired(self) -> list[str]:
        """The names of the faults that happened, in order."""
        return [name for _, _, name in self._proxy.journal.fired]

    def settle(self, timeout: float = 20.0) -> bool:
        """Wait until the service has answered all it was asked; whether it has."""
        self._catch_up()
        return self._proxy.settle(timeout)

    # --- what goes wrong -----------------------------------------------------------------

    def plan(self, fault: Fault, **when: Unpack[When]) -> None:
        """
        Have the next attempts meet `fault`.

        Args:
            fault: One of `failwell.drill.faults`, or of your own.
            when: See `When`.

        Raises:
            UsageError: an attempt would meet two faults; or the client has a URL already with which it
                cannot meet this one.
        """
        if not fault.runs_here:
            pytest.skip(f"{fault.name}: only on {fault.platform}")
        times = when.get("times", 1)
        if times is not None and times < 1:
            raise UsageError(f"a fault happens once or more, not {times} times")
        now = self._counted(fault)
        if "attempt" in when:
            if when["attempt"] < 1:
                raise UsageError("attempts are counted from 1, the next one from now")
            first = now + when["attempt"]
        else:
            first = self._next_free(fault, now + 1, times)
        planned = Planned(fault, first, times, when.get("optional", False))
        self._refuse_two_at_once(planned)
        if fault.moment is Moment.HANDSHAKE:
            self._offer_tls(fault)
        agenda = Agenda(planned=(*self._agenda.planned, planned))
        url = self._proxy.plan(agenda)
        if self._handed_out not in ("", url):
            raise UsageError(f"“{fault.name}” needs another URL: plan it before asking for `faults.url`")
        self._agenda, self._url = agenda, url

    def dns(self, *, optional: bool = False) -> None:
        """The name of the service does not exist, for the rest of the test."""
        self.plan(made.dns(), times=None, optional=optional)

    def slow_dns(self, seconds: float, *, optional: bool = False) -> None:
        """Each look-up of the service's name takes `seconds`, and finds nothing."""
        self.plan(made.slow_dns(seconds), times=None, optional=optional)

    def servfail(self, *, optional: bool = False) -> None:
        """The name server has no answer for now (`EAI_AGAIN`), for the rest of the test."""
        self.plan(made.servfail(), times=None, optional=optional)

    def refuse(self, **when: Unpack[When]) -> None:
        """Connections are refused. Those that the client keeps are closed, so that it has to connect."""
        self.plan(made.refuse(), **when)

    def syn_unanswered(self, *, optional: bool = False) -> None:
        """Connection requests are not answered, for the rest of the test. Linux only; skips elsewhere."""
        self.plan(made.syn_unanswered(), times=None, optional=optional)

    def tls_plaintext(self, **when: Unpack[When]) -> None:
        """The service speaks HTTP where TLS is expected."""
        self.plan(made.tls_plaintext(), **when)

    def tls_untrusted(self, **when: Unpack[When]) -> None:
        """A certificate by an authority nobody knows."""
        self.plan(made.tls_untrusted(), **when)

    def tls_expired(self, **when: Unpack[When]) -> None:
        """A certificate that expired last year, by an authority that `trust` trusts."""
        self.plan(made.tls_expired(), **when)

    def tls_wrong_host(self, **when: Unpack[When]) -> None:
        """A certificate for another host, by an authority that `trust` trusts."""
        self.plan(made.tls_wrong_host(), **when)

    def tls_close(self, **when: Unpack[When]) -> None:
        """The client's hello is read, and the connection closed."""
        self.plan(made.tls_close(), **when)

    def tls_stall(self, **when: Unpack[When]) -> None:
        """The client's hello is read, and never answered."""
        self.plan(made.tls_stall(), **when)

    def fin_before_answer(self, **when: Unpack[When]) -> None:
        """The request is read; the connection is closed without a byte."""
        self.plan(made.fin_before_answer(), **when)

    def rst_before_answer(self, **when: Unpack[When]) -> None:
        """The request is read; the connection is reset."""
        self.plan(made.rst_before_answer(), **when)

    def silence(self, **when: Unpack[When]) -> None:
        """The request is read; nothing is said until the client gives up."""
        self.plan(made.silence(), **when)

    def fin_on_reuse(self, **when: Unpack[When]) -> None:
        """As `fin_before_answer`, if the connection has carried a request before."""
        self.plan(made.fin_on_reuse(), **when)

    def idle_close(self, **when: Unpack[When]) -> None:
        """The answer is whole; the connection is closed before it is used again."""
        self.plan(made.idle_close(), **when)

    def lose_answer(self, by: Literal["fin", "rst", "silence"] = "fin", **when: Unpack[When]) -> None:
        """The service does what it was asked; its answer never arrives, and the connection ends by `by`."""
        self.plan(made.lose_answer(_HOW[by]), **when)

    def late_answer(self, **when: Unpack[When]) -> None:
        """The service does what it was asked; its answer is sent when the client has given up."""
        self.plan(made.late_answer(), **when)

    def garbage(self, **when: Unpack[When]) -> None:
        """Bytes that are no HTTP, then the end."""
        self.plan(made.garbage(), **when)

    def cut_in_headers(self, by: End = "fin", **when: Unpack[When]) -> None:
        """The answer stops in the middle of a header line."""
        self.plan(made.cut_in_headers(_HOW[by]), **when)

    def cut(self, after_bytes: int | None = None, *, by: End = "fin", **when: Unpack[When]) -> None:
        """The answer stops after so many bytes of its body, half of them by default: `cut_body`."""
        self.plan(made.cut_body(after_bytes, _HOW[by]), **when)

    def cut_chunked(self, after_bytes: int | None = None, **when: Unpack[When]) -> None:
        """The answer comes in chunks, without the last one."""
        self.plan(made.cut_chunked(after_bytes), **when)

    def bad_chunk(self, after_bytes: int | None = None, **when: Unpack[When]) -> None:
        """The answer comes in chunks, the second with a length that is no number."""
        self.plan(made.bad_chunk(after_bytes), **when)

    def cut_until_close(self, **when: Unpack[When]) -> None:
        """Half of the answer, whose length nobody announced: no client can tell by HTTP alone."""
        self.plan(made.cut_until_close(), **when)

    def stall(self, **when: Unpack[When]) -> None:
        """The answer stops in the middle of its body, and the connection stays."""
        self.plan(made.stall(), **when)

    def drip(self, gap: float, pieces: int = 20, **when: Unpack[When]) -> None:
        """The body comes in `pieces`, `gap` seconds before each."""
        self.plan(made.drip(gap, pieces), **when)

    def large_header(self, **when: Unpack[When]) -> None:
        """The answer has one header of 200 kB more."""
        self.plan(made.large_header(), **when)

    def large_body(self, **when: Unpack[When]) -> None:
        """The answer announces a gigabyte, and begins to send it."""
        self.plan(made.large_body(), **when)

    def inflated_body(self, **when: Unpack[When]) -> None:
        """A body of 80 kB that are 80 MB when the compression is undone."""
        self.plan(made.inflated_body(), **when)

    def cut_gzip(self, **when: Unpack[When]) -> None:
        """The body compressed, half of it, with the length of that half."""
        self.plan(made.cut_gzip(), **when)

    def bad_gzip(self, **when: Unpack[When]) -> None:
        """The body compressed and damaged."""
        self.plan(made.bad_gzip(), **when)

    def replaced(
        self, body: bytes, content_type: str = "application/json", *, name: str = "", **when: Unpack[When]
    ) -> None:
        """The service's status arrives with another body."""
        self.plan(made.replaced(body, content_type, name=name or f"another body, {content_type}"), **when)

    def early_hints(self, **when: Unpack[When]) -> None:
        """A `103 Early Hints` comes before the answer."""
        self.plan(made.early_hints(), **when)

    def unasked_upgrade(self, **when: Unpack[When]) -> None:
        """`101 Switching Protocols` to a client that asked for none."""
        self.plan(made.unasked_upgrade(), **when)

    def answered_twice(self, **when: Unpack[When]) -> None:
        """The answer, and at once the same again: whoever keeps the connection reads it next."""
        self.plan(made.answered_twice(), **when)

    def trailing_bytes(self, **when: Unpack[When]) -> None:
        """The answer, and twenty bytes more than it announced."""
        self.plan(made.trailing_bytes(), **when)

    def answer(self, status: int, headers: Mapping[str, str] | None = None, **when: Unpack[When]) -> None:
        """A gateway answers in the service's place: `faults.answer(503, {"Retry-After": "1"})`."""
        self.plan(made.answer(status, headers), **when)

    def redirect(
        self, status: int, leads_to: Literal["self", "elsewhere"] = "self", **when: Unpack[When]
    ) -> None:
        """A gateway sends the client to the same address, or to another origin on this machine."""
        self.plan(made.redirect(status, leads_to), **when)

    # --- for the plugin ------------------------------------------------------------------

    def not_exercised(self) -> str:
        """What was planned, had to happen and did not, as a text for the test's report; empty for nothing."""
        if self._missing():
            self.settle(SETTLE_SECONDS)
        missing = self._missing()
        if not missing:
            return ""
        return "\n".join(
            [
                "NOT EXERCISED: a planned fault did not happen, so this test shows nothing about it.",
                *(f"  {each}" for each in missing),
                "If that is meant, plan it with optional=True.",
                "",
                self.timeline(),
            ]
        )

    def timeline(self) -> str:
        """Everything that crossed the wire, one line each, with seconds since the test began."""
        journal = self._proxy.journal
        lines = [(c.opened, f"connection {c.number}{' over TLS' if c.tls else ''}"
                  f"{_met(c.fault)}, {c.end or 'open'}") for c in journal.connections]  # fmt: skip
        lines += [(r.arrived, self._told(r)) for r in journal.requests_of(OPERATION)]
        refused = [(t, f"connection try {n} {fault.name}") for n, t in
                   enumerate(journal.connects.get(OPERATION, ()), 1)
                   if (fault := self._agenda.at(n, Moment.CONNECT)) is not None]  # fmt: skip
        failed = [(t, f"look-up {n} {fault.name}") for n, t in
                  enumerate(journal.lookups.get(OPERATION, ()), 1)
                  if (fault := self._agenda.at(n, Moment.NAME)) is not None]  # fmt: skip
        told = [f"{when - self._began:8.3f} s  {what}" for when, what in sorted([*lines, *refused, *failed])]
        told += [f"{'':>8}    trouble: {trouble}" for trouble in journal.trouble]
        return "\n".join(told or ["nothing arrived"])

    def _told(self, request: WireRequest) -> str:
        came = "nothing passed on" if request.status is None else f"{request.status} passed on"
        asked = "the service was not asked" if request.asked is None else f"service {request.service_status}"
        took = "" if request.finished is None else f", {request.finished - request.arrived:.3f} s"
        fault = _met(request.fault if request.fired else None)
        return (
            f"request {request.number} on connection {request.connection}: {request.method} "
            f"{kept_url(request.target)}{fault}, {asked}, {came}, {request.bytes_out} bytes{took}"
        )

    def _missing(self) -> list[str]:
        """The planned faults that did not happen as often as they had to."""
        fired = {(number, name) for _, number, name in self._proxy.journal.fired}
        told = []
        for p in self._agenda.planned:
            happened = sorted(n for n, name in fired if name == p.fault.name and p.meets(n))
            enough = bool(happened) if p.times is None else len(happened) == p.times
            if p.optional or enough:
                continue
            told.append(
                f"{p.fault.name}: planned for {p.attempts}; there were {self._counted(p.fault)}, "
                f"and it happened {len(happened)} times"
            )
        return told

    def _counted(self, fault: Fault) -> int:
        """Attempts by now, of the kind by which `fault` is counted."""
        self._catch_up()
        journal = self._proxy.journal
        match fault.moment:
            case Moment.NAME:
                return len(journal.lookups[OPERATION])
            case Moment.CONNECT:
                return len(journal.connects[OPERATION])
            case Moment.HANDSHAKE:
                return len(journal.connections)
            case _:
                return len(journal.requests_of(OPERATION))

    def _next_free(self, fault: Fault, number: int, times: int | None) -> int:
        """The first attempt from `number` on that begins `times` without a fault planned for them yet."""
        moments = _counter_of(fault).moments
        for p in sorted(self._agenda.planned, key=lambda p: p.first):
            if p.fault.moment not in moments or p.times is None:
                continue
            if p.first + p.times > number and (times is None or p.first < number + times):
                number = p.first + p.times
        return number

    def _refuse_two_at_once(self, new: Planned) -> None:
        moments = _counter_of(new.fault).moments
        for p in self._agenda.planned:
            if p.fault.moment in moments and (p.meets(new.first) or new.meets(p.first)):
                raise UsageError(
                    f"“{new.fault.name}” cannot meet {new.attempts}: “{p.fault.name}” meets {p.attempts}"
                )

    def _catch_up(self) -> None:
        self._proxy.caught_up(SETTLE_SECONDS)

    def _offer_tls(self, fault: Fault) -> None:
        about = (Action.UNTRUSTED, Action.EXPIRED, Action.WRONG_HOST)
        try:
            self._proxy.offer_tls(*(a for a in about if a is fault.action))
        except ModuleNotFoundError as exc:
            raise _needs_trustme() from exc


def _met(fault: str | None) -> str:
    return f" [{fault}]" if fault else ""


def _needs_trustme() -> UsageError:
    return UsageError("making a certificate needs trustme: pip install 'failwell[drill]'")
