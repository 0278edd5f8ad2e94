"""S37 to S46: redirects, statuses and rate limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from failwell import errors
from failwell.drill import faults
from failwell.drill.faults import Schedule, always, once, times
from failwell.drill.plan import APPLIED, KEYED, NOT_APPLIED, PLAIN, READ, UNKNOWN, Expect, Scenario, short
from failwell.drill.subject import Settings, Subject

# What failwell's flow follows before it takes a chain for a loop.
MOST_REDIRECTS = 5


def redirected() -> Iterator[Scenario]:
    """S37 to S39: a gateway sends the client elsewhere."""
    moved = Expect(errors.CallError, claim=NOT_APPLIED)
    yield Scenario(
        "S37",
        "A read is redirected to itself, without end",
        READ,
        always(faults.redirect(307)),
        replace(moved, status=307, requests=MOST_REDIRECTS + 1),
    )
    yield Scenario(
        "S37-once",
        "A read is redirected once",
        READ,
        once(faults.redirect(307)),
        Expect(requests=2),
    )
    yield Scenario(
        "S38",
        "A read is redirected to another origin: the API key does not go there",
        READ,
        once(faults.redirect(302, "elsewhere")),
        replace(moved, error=errors.AuthenticationError, status=401, requests=2),
    )
    for status, how in ((302, "without saying where"), (300, "with a choice"), (304, "as not modified")):
        yield Scenario(
            f"S37-{status}-nowhere",
            f"A read is answered with {status}, {how}: that is no result",
            READ,
            always(faults.redirect(status, "")),
            replace(moved, status=status),
        )
    for status, kind in ((301, KEYED), (302, PLAIN), (307, KEYED), (308, PLAIN)):
        known = status != 302  # some services answer so when it is done
        yield Scenario(
            f"S39-{status}-{short(kind)}",
            f"A write is answered with {status}: it is neither sent elsewhere nor made a read",
            kind,
            always(faults.redirect(status)),
            replace(moved, status=status, claim=NOT_APPLIED if known else UNKNOWN, effects=frozenset({0})),
        )
    yield Scenario(
        "S39-303-keyed",
        "A write is done, and answered with where to look at it: that is not followed",
        KEYED,
        always(faults.see_other()),
        replace(moved, status=303, claim=APPLIED, effects=frozenset({1})),
    )


def statuses(subject: Subject) -> Iterator[Scenario]:
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
                f"S41-{status}-{short(kind)}",
                title,
                kind,
                times(2, faults.answer(status)),
                expect,
                proves=_PAGE if status == 502 else (),
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
            proves=_PAGE if status == 502 else (),
        )
    yield from _limits(subject)
    yield from _outages(subject)


def _outages(subject: Subject) -> Iterator[Scenario]:
    """S41: a service that is away for a time, and one that comes back by degrees."""
    if 503 not in subject.retried:
        return
    yield Scenario(
        "S41-outage",
        "503 for a while, by the clock: tried again until the service is back",
        KEYED,
        always(faults.outage(0.3)),
        Expect(requests=2, at_least=True, effects=frozenset({1})),
        Settings(attempts=12, backoff=0.4, max_backoff=0.4),
    )
    degrees = {1: faults.fin_before_answer(), 2: faults.answer(503), 3: faults.cut_body()}
    yield Scenario(
        "S41-ramp",
        "The service comes back by degrees: closed, 503, an answer cut, well",
        KEYED,
        Schedule(degrees),
        Expect(requests=4, effects=frozenset({1})),
        Settings(attempts=5),
    )


# A 502 comes with a page of the gateway's own, which is no JSON.
_PAGE = ("S32",)


def _limits(subject: Subject) -> Iterator[Scenario]:
    """S42 to S46: asked to wait, in all the ways that services spell it."""
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
        ("empty", ""),
    ):
        fault = faults.answer(429, {} if value is None else {"Retry-After": value})
        yield Scenario(
            f"S45-{name}",
            f"429 whose Retry-After is {value or name}: the client's own backoff",
            READ,
            once(fault),
            Expect(requests=2, wait_at_most=2.0),
        )
    for name, headers in (
        ("milliseconds", {"Retry-After-Ms": "1000"}),
        ("fraction", {"Retry-After": "1.0"}),
        ("twice", {"Retry-After": "1, 2"}),
    ):
        said = ", ".join(f"{n}: {v}" for n, v in headers.items())
        yield Scenario(
            f"S42-{name}",
            f"429 asking for a second as {said}",
            READ,
            once(faults.answer(429, headers, name=f"429, {said}")),
            Expect(requests=2, wait_at_least=1.0, wait_at_most=4.0),
        )
    full = faults.outage(1.0, 429, {"Retry-After": "1"})
    yield Scenario(
        "S42-quota",
        "The quota is spent until its window ends, and says so: tried again when it has",
        KEYED,
        always(full),
        Expect(requests=2, wait_at_least=1.0, wait_at_most=4.0, effects=frozenset({1})),
    )
    yield Scenario(
        "S42-503",
        "503 asking for a second",
        KEYED,
        once(faults.answer(503, {"Retry-After": "1"})),
        Expect(requests=2, wait_at_least=1.0, wait_at_most=4.0, effects=frozenset({1})),
    )
    tomorrow = faults.answer(429, {"Retry-After": "86400"})
    yield Scenario(
        "S46",
        "429 asking for a day: raised at once, never tried earlier",
        READ,
        always(tomorrow),
        Expect(errors.RateLimitError, status=429, claim=NOT_APPLIED, retry_after=86400.0, elapsed=(0.0, 3.0)),
    )
