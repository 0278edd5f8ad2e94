"""
Everything that can go wrong between a client and its service, and what makes it here.

Each kind has its makers, functions of `faults.py`, or a reason why there is none. A fault knows the
number of its kind (`Fault.row`), and a scenario its faults, so that the list says of itself which
scenarios use a kind, and which kinds no scenario has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from failwell.drill.faults import Fault
from failwell.drill.plan import Scenario
from failwell.drill.proof import of_fault
from failwell.drill.subject import Kind


@dataclass(frozen=True, slots=True)
class FaultKind:
    """
    One way in which a call can fail.

    Attributes:
        number: Its place in the list, from 1.
        what: What goes wrong, in a few words.
        makers: Names of the functions of `faults.py` that make it.
        elsewhere: Where it is rehearsed, or why it cannot be, if nothing of `faults.py` makes it.
    """

    number: int
    what: str
    makers: tuple[str, ...] = ()
    elsewhere: str = ""


KINDS: tuple[FaultKind, ...] = (
    FaultKind(1, "The name does not exist", ("dns",)),
    FaultKind(2, "The look-up is slow, or fails for now", ("slow_dns", "servfail")),
    FaultKind(3, "Connection refused", ("refuse",)),
    FaultKind(4, "Connection request unanswered", ("syn_unanswered",)),
    FaultKind(
        5, "TLS: plain text, an end or silence in the handshake", ("tls_plaintext", "tls_close", "tls_stall")
    ),
    FaultKind(
        6,
        "TLS: a certificate that is untrusted, expired, another host's",
        ("tls_untrusted", "tls_expired", "tls_wrong_host"),
    ),
    FaultKind(7, "The request is read, nothing is said", ("silence",)),
    FaultKind(8, "FIN before any byte", ("fin_before_answer",)),
    FaultKind(9, "RST before the headers", ("rst_before_answer",)),
    FaultKind(10, "Cut inside the headers", ("cut_in_headers",)),
    FaultKind(11, "No HTTP, or a bad status line", ("garbage", "bad_status_line")),
    FaultKind(12, "A header that is too large", ("large_header",)),
    FaultKind(13, "Body cut before its Content-Length, FIN", ("cut_body",)),
    FaultKind(14, "Body cut before its Content-Length, RST", ("cut_body",)),
    FaultKind(15, "Chunks cut, or one malformed", ("cut_chunked", "bad_chunk")),
    FaultKind(16, "Body cut whose end is the connection's", ("cut_until_close",)),
    FaultKind(17, "Body stalls in the middle", ("stall",)),
    FaultKind(18, "Body trickles past the deadline", ("drip",)),
    FaultKind(19, "Compressed body cut or damaged", ("cut_gzip", "bad_gzip")),
    FaultKind(20, "Another content type: a page from a proxy", ("replaced",)),
    FaultKind(21, "JSON that is invalid, empty, of another shape", ("replaced",)),
    FaultKind(22, "A huge body", ("large_body", "inflated_body", "endless_body")),
    FaultKind(
        23, "1xx: 103, 101, a 100 nobody waits for", ("early_hints", "unasked_upgrade", "unasked_continue")
    ),
    FaultKind(24, "3xx: loops, other origins, writes, nowhere", ("redirect", "see_other")),
    FaultKind(25, "The answer sent twice", ("answered_twice",)),
    FaultKind(26, "More bytes than Content-Length says", ("trailing_bytes",)),
    FaultKind(27, "A kept connection closed while idle", ("idle_close",)),
    FaultKind(28, "The second request of a connection read, then FIN", ("fin_on_reuse",)),
    FaultKind(29, "The answer lost after the commit", ("lose_answer",)),
    FaultKind(30, "The answer comes when the client has given up", ("late_answer",)),
    FaultKind(31, "The service crashes around its commit", ("crash_at_work", "crash_after_commit")),
    FaultKind(
        32,
        "A stream of events cut, between two or inside one",
        ("cut_stream", "cut_event", "cut_character", "cut_line_end"),
    ),
    FaultKind(
        33,
        "A stream that falls silent, repeats ids, names its own pause, is refused",
        ("cut_stream", "cut_event", "told_again", "renumbered", "refused"),
    ),
    FaultKind(
        34,
        "An upload whose part is lost, damaged or not the service's any more",
        ("acknowledged", "tampered", "forgotten_upload"),
    ),
    FaultKind(35, "429 without Retry-After, or with a senseless one", ("answer",)),
    FaultKind(36, "Clocks of client and service that differ", ("answer",)),
    FaultKind(37, "An outage with a ramp or a quota, over time", ("outage", "answer")),
)


def used(kind: FaultKind, scenarios: Iterable[Scenario]) -> list[Scenario]:
    """The scenarios in which a fault of `kind` is planned, in their order."""
    return [s for s in scenarios if any(f.row == kind.number for f in s.faults)]


def faults_of(kind: FaultKind, scenarios: Iterable[Scenario]) -> list[Fault]:
    """The faults of `kind` that the scenarios plan, one for each effect, moment and faithfulness."""
    planned = (f for s in scenarios for f in s.faults if f.row == kind.number)
    return list({(f.action, f.moment, f.faithful, f.platform): f for f in planned}.values())


def as_dicts(scenarios: Sequence[Scenario]) -> list[dict[str, Any]]:
    """
    The list as JSON types.

    Args:
        scenarios: Those that are looked through for each kind.
    """
    return [
        {
            "number": kind.number,
            "what": kind.what,
            "makers": list(kind.makers),
            "faults": [
                {
                    "effect": f.action.value,
                    "moment": f.moment.value,
                    "faithful": f.faithful.value,
                    "platform": f.platform or "any",
                    "a_write_knows": sorted(e.value for e in of_fault(f, Kind.KEYED_WRITE)),
                }
                for f in faults_of(kind, scenarios)
            ],
            "scenarios": list(dict.fromkeys(s.id for s in used(kind, scenarios))),
            "elsewhere": kind.elsewhere,
        }
        for kind in KINDS
    ]
