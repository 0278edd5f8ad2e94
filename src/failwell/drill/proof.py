"""
What can be known of a call's effect, and no more: from what its faults did, or from what crossed the wire.

A claim has to be true, which the ledger decides, and as precise as the wire allows. "Unknown" is
always true; where the status line of a 201 was passed on, it is not worth much. It is decided here
alone, by a table of its own: the drill must not ask the library under test what is right.
"""

from __future__ import annotations

from collections.abc import Iterable

from failwell.drill.faults import Action, Fault, Moment
from failwell.drill.journal import WireConnection, WireRequest
from failwell.drill.subject import Kind
from failwell.drill.witness import MAIN, Evidence
from failwell.failure import Effect

# Methods that ask for no change (RFC 9110, section 9.2.1).
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
# It was done, and 303 says where to look at it (section 15.4.4).
DONE = frozenset({*range(200, 300), 303})
# Refused, or sent elsewhere before anything was done (sections 15.4 to 15.6). Not 302, with which some
# answer a write that is done; nor 408 and 499, which a gateway sends for a service it has asked.
REFUSED = frozenset({*range(400, 500), 300, 301, 305, 307, 308, 501, 505}) - {408, 499}

NOT_SENT, NOT_APPLIED = frozenset({Effect.NOT_SENT}), frozenset({Effect.NOT_APPLIED})
UNKNOWN, APPLIED = frozenset({Effect.UNKNOWN}), frozenset({Effect.APPLIED})
# From what says most to what says least; a call of several attempts knows what the first in it knows.
_ORDER = (APPLIED, APPLIED | UNKNOWN, UNKNOWN, NOT_APPLIED, NOT_SENT)


def of_status(status: int) -> frozenset[Effect]:
    """What an answer with `status` proves of a write."""
    if status in DONE:
        return APPLIED
    return NOT_APPLIED if status in REFUSED else UNKNOWN


def of_fault(fault: Fault, kind: Kind) -> frozenset[Effect]:
    """
    What a client can know of a call of `kind` that met `fault` and no other attempt.

    Empty for a fault after which the call succeeds, and for those of streams and uploads in parts,
    which are several calls.
    """
    if fault.in_stream or fault.moment is Moment.ON_ITS_WAY:
        return frozenset()
    if fault.on_connection:
        return NOT_SENT
    if fault.action in (Action.INTERIM, Action.TWICE, Action.TRAILING) or fault.moment is Moment.IDLE:
        return frozenset()
    if kind is Kind.READ:
        return NOT_APPLIED
    if fault.action is Action.ANSWER:
        return of_status(fault.status)
    if fault.moment in (Moment.REQUEST, Moment.WORK, Moment.ANSWERED):
        return UNKNOWN
    if fault.moment is Moment.HEADERS and fault.action in (Action.FIN, Action.RST, Action.LARGE_HEADER):
        return APPLIED | UNKNOWN  # the status line was passed on, the head was not
    return APPLIED


def of_wire(evidence: Evidence) -> frozenset[Effect]:
    """
    What the client can know at the end of the call that `evidence` is about.

    Returns:
        Claims that are all as precise as can be; usually one. Empty where nothing is known to be
        best: a connection was open, and no whole request arrived on it.
    """
    requests = evidence.wire.requests_of(MAIN)
    if not requests:
        opened = (c for c in evidence.wire.connections if c.operation == MAIN)
        return NOT_SENT if all(map(_ended_in_the_handshake, opened)) else frozenset()
    return _most(_of_request(r) for r in requests)


def _ended_in_the_handshake(connection: WireConnection) -> bool:
    return connection.fault is not None


def _of_request(request: WireRequest) -> frozenset[Effect]:
    if request.method in SAFE:
        return NOT_APPLIED
    if request.status is not None:
        return of_status(request.status)
    if request.bytes_out and request.service_status is not None and request.fired:
        return UNKNOWN | of_status(request.service_status)
    return UNKNOWN


def _most(known: Iterable[frozenset[Effect]]) -> frozenset[Effect]:
    """What is known of a call, by what is known of its attempts: what one left open stays open."""
    return min(known, key=lambda k: _ORDER.index(k) if k in _ORDER else _ORDER.index(UNKNOWN))


def words(claims: Iterable[Effect]) -> str:
    """`claims` for people: "applied or unknown"."""
    return " or ".join(sorted(c.value for c in claims))
