"""A drill in figures: what the ledger holds of what was asked for, and how precise the claims were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from failwell.drill.subject import Kind
from failwell.drill.verdict import Row
from failwell.drill.witness import MAIN
from failwell.failure import Effect

WRITES = (Kind.KEYED_WRITE, Kind.PLAIN_WRITE)


@dataclass(frozen=True, slots=True)
class Totals:
    """
    What became of all writes whose effects the ledger can tell, and of all claims.

    Attributes:
        attempted: Writes that a caller wanted, however often each was sent.
        acked: Those that the client said were done.
        effects: What the ledger holds of them.
        lost: Those that the client said were done, and the ledger has nothing of.
        duplicated: Effects that are there once more than was wanted.
        unknown: Those of which the client said that it cannot know.
        claims: Failed calls whose claim can be held against the wire.
        precise: Those whose claim is as precise as can be.
        amplification: The most requests that one ordinary call made.
        amplified: The row in which that was; "" for none.
    """

    attempted: int = 0
    acked: int = 0
    effects: int = 0
    lost: int = 0
    duplicated: int = 0
    unknown: int = 0
    claims: int = 0
    precise: int = 0
    amplification: float = 0.0
    amplified: str = ""


@dataclass(frozen=True, slots=True)
class _Write:
    """What became of one write; as in `Totals`."""

    acked: bool
    effects: int
    lost: bool
    duplicated: int
    unknown: bool


def totals(rows: Sequence[Row]) -> Totals:
    """The figures of `rows`."""
    writes = [w for w in map(_write, rows) if w is not None]
    claims = [r for r in rows if r.claim is not None]
    most, name = _amplification(rows)
    return Totals(
        attempted=len(writes),
        acked=sum(w.acked for w in writes),
        effects=sum(w.effects for w in writes),
        lost=sum(w.lost for w in writes),
        duplicated=sum(w.duplicated for w in writes),
        unknown=sum(w.unknown for w in writes),
        claims=len(claims),
        precise=sum(r.precise for r in claims),
        amplification=most,
        amplified=name,
    )


def _write(row: Row) -> _Write | None:
    """None if it was no write, or its effects cannot be told."""
    evidence = row.evidence
    held = None if evidence is None else evidence.ledger.ids
    if evidence is None or held is None or row.scenario.kind not in WRITES:
        return None
    wanted = row.scenario.expect.effects or frozenset({1})
    acked, failure = evidence.client.succeeded, evidence.client.failure
    return _Write(
        acked,
        len(held),
        lost=acked and len(held) < min(wanted),
        duplicated=max(0, len(held) - max(1, *wanted)),
        unknown=failure is not None and failure.effect is Effect.UNKNOWN,
    )


def _amplification(rows: Iterable[Row]) -> tuple[float, str]:
    """The most requests for one call, and where; calls that are several requests by nature do not count."""
    found = [
        (len(r.evidence.wire.requests_of(MAIN)) / r.scenario.crowd, r.name)
        for r in rows
        if r.evidence is not None and not (r.scenario.cause or r.scenario.phases)
        if r.scenario.kind in (Kind.READ, *WRITES)
    ]
    return max(found, key=lambda f: f[0], default=(0.0, ""))
