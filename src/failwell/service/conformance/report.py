"""The page about crashes: what was promised, what was seen, store by store."""

# ruff: noqa: E501  # a sentence of the page is a line

from __future__ import annotations

from typing import TYPE_CHECKING

from failwell.service.conformance.crashes import LEASE, POINTS
from failwell.service.idempotency import LEVELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from failwell.service.conformance.crashes import Outcome, Point
    from failwell.service.conformance.storm import Storm
    from failwell.service.idempotency import Level

COMMAND = "python tests/service/write_crashes.py"

HEAD = f"""<!-- Made by `{COMMAND}`; do not edit. `--check` says whether it still holds. -->

# Crashes

What becomes of a request with an `Idempotency-Key` when the process that serves it is killed.

At each point below, a process that served a request through all gates has sent itself SIGKILL; its lease of {LEASE} s was left to end.
Another process then got the same request with the same key, as from a client that repeats it until it is no longer told `idempotency_in_flight`.
No key stayed held: each of them was answered, or could be settled.
A killed process is no power cut: what the database has committed is there when it is asked again.

"By then" are the effects when the process had died; under each store's name, those in the end.
At level `transactional` an effect is a row in the store's own database, and costs a credit; the ledgers were compared, too.
At the others it is a charge at a payment service, a file of its own, that knows idempotency keys; `resumable` sends it those that each step has, and makes two charges.
Every 201 was compared with the effect: a repeated request is answered with what was really done.

The same sweep runs on a store of your own: see `failwell.service.conformance.crashes`.
What becomes of 100,000 writes through faults, while workers, clients and servers are killed, stands in [exactly once](exactly-once.md).
"""

WORDS: Mapping[Level, str] = {
    "transactional": "Exactly one effect.",
    "resumable": "Exactly one effect of each of the two steps, because the payment service keeps its promise.\n"
    '"Asked" is how often it was asked: once for each step, and once more where a step was done and not yet kept.',
    "at_most_once": "At most one effect.\n"
    "Where the outcome is not known the client is told so, and nothing else until somebody settles it.\n"
    "Here an operator does who asks the payment service; a repeated request then has its effect, or is told of it.",
}

STORM_HEAD = """## Many calls at once

200 calls with one key at the same time, over 4 processes.
Each is answered with the one effect, or told that another is at work; at `resumable` the work has two steps, with one effect each.

| store | level | calls | effects | answered alike or in flight | anything else |
|---|---|---|---|---|---|
"""


def page(outcomes: Mapping[str, Sequence[Outcome]], storms: Sequence[tuple[str, Level, Storm]]) -> str:
    """
    The page, as Markdown.

    Args:
        outcomes: Of the sweep, by the store's name.
        storms: By the store's name and level.
    """
    sections = [HEAD]
    for level in LEVELS:
        stores = {
            name: {o.point: o for o in found if o.point.level == level} for name, found in outcomes.items()
        }
        stores = {name: found for name, found in stores.items() if found}
        if stores:
            sections.append(_section(level, stores))  # type: ignore[arg-type]  # its elements are literals
    if storms:
        rows = [
            f"| {name} | `{level}` | {len(storm.seen)} | {len(storm.effects)} "
            f"| {storm.answered + storm.in_flight} | {len(storm.others)} |\n"
            for name, level, storm in storms
        ]
        sections.append(STORM_HEAD + "".join(rows))
    return "\n".join(sections)


def _section(level: Level, stores: Mapping[str, Mapping[Point, Outcome]]) -> str:
    asked = level == "resumable"
    columns = ["killed", "by then", "repeated, the client sees", *(["asked"] if asked else []), *stores]
    lines = [f"## `{level}`", "", WORDS[level], "", _row(columns), _row(["---"] * len(columns))]
    for point in POINTS:
        found = [outcomes.get(point) for outcomes in stores.values()]
        if point.level != level or not any(found):
            continue
        cells = [point.killed, str(point.before), f"`{point.seen}`", *([str(point.asked)] if asked else [])]
        lines.append(_row([*cells, *map(_cell, found)]))
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return "–"
    if outcome.faults:
        return f"**{outcome.effects}**: {'; '.join(outcome.faults)}".replace("|", "\\|").replace("\n", " ")
    return (
        str(outcome.effects) if outcome.settled is None else f"{outcome.effects}, settled {outcome.settled}"
    )
