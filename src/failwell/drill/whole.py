"""
S81 to S85: what all rehearsals of an SDK prove together.

A rehearsal holds the error it raised to the rules; these rows say that no error escaped them: that every
documented class was raised and every documented attribute filled, and how many errors were looked at.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence

from failwell.drill.attributes import of_classes
from failwell.drill.faults import Schedule
from failwell.drill.plan import READ, Expect, Scenario
from failwell.drill.subject import Subject
from failwell.drill.verdict import Coverage, Finding, Row, Verdict, repeat

# What is told of a class, for whoever meets it.
HEADINGS = ("## Was it carried out?", "## What to do")

RULES = {
    "S83": ("FD-promise", "pickled, copied and printed"),
    "S84": ("FD-cause", "came out of an engine's exception"),
    "S85": ("FD-count", "counted their attempts in events and log lines"),
}


def wholes(subject: Subject) -> Iterator[Scenario]:
    """S81 to S85 for `subject`."""
    if not subject.is_failwell:
        return
    for number, title in (
        ("S81", "Every exported exception is raised"),
        ("S82", "Every exception that is raised is exported and documented, every attribute was filled"),
        ("S83", "Every error survives pickle and copies, and shows no secret"),
        ("S84", "Every error without an answer keeps the engine's own exception"),
        ("S85", "Every event and every log line counts the attempts as the wire does"),
    ):
        yield Scenario(number, title, READ, Schedule(), Expect(), whole=True)


def rows(
    subject: Subject, scenarios: Sequence[Scenario], ran: Sequence[Row], covered: Sequence[Coverage]
) -> list[Row]:
    """
    The rows of `wholes`.

    Args:
        subject: The SDK.
        scenarios: What `wholes` gave.
        ran: Every rehearsal of the SDK.
        covered: Which exceptions were raised.
    """
    made = []
    for scenario in scenarios:
        row = Row(subject.name, scenario.tier, scenario, Verdict.PASS, repeat=repeat(subject, scenario))
        if scenario.id == "S81":
            _raised(row, covered)
        elif scenario.id == "S82":
            _documented(row, subject, ran)
        else:
            _held(row, ran)
        row.verdict = Verdict.FAIL if row.findings else Verdict.PASS
        made.append(row)
    return made


def _raised(row: Row, covered: Sequence[Coverage]) -> None:
    row.measured = {"exported": len(covered), "raised": sum(bool(c.rows) for c in covered)}
    row.findings = [Finding("FD-whole", f"{c.exception} was never raised") for c in covered if not c.rows]


def _documented(row: Row, subject: Subject, ran: Sequence[Row]) -> None:
    exported = {cls.__name__: cls for cls in subject.exceptions}
    raised = {r.raised for r in ran if r.raised and r.raised != "CancelledError"}
    for name in sorted(raised - exported.keys()):
        row.findings.append(Finding("FD-whole", f"{name} was raised, and is not exported"))
    for name in sorted(raised & exported.keys()):
        missing = [h for h in HEADINGS if h not in (inspect.getdoc(exported[name]) or "")]
        row.findings += [Finding("FD-whole", f"the documentation of {name} has no “{h}”") for h in missing]
    attributes = of_classes(subject.exceptions)
    seen = {name for r in ran if r.evidence is not None for name in r.evidence.client.filled}
    row.findings += [
        Finding("FD-whole", f"{name} was never filled")
        for name in attributes
        if name not in seen and name not in subject.unfilled
    ]
    row.notes = [f"{name}: {why}" for name, why in subject.unfilled.items() if name not in seen]
    row.measured = {
        "raised": len(raised),
        "documented attributes": len(attributes),
        "filled": sum(name in seen for name in attributes),
    }


def _held(row: Row, ran: Sequence[Row]) -> None:
    """Whether the rule of `row` was held in every rehearsal that it could be asked of."""
    code, what = RULES[row.scenario.id]
    looked = [r for r in ran if _applies(row.scenario.id, r)]
    row.measured = {f"errors that {what}" if code != "FD-count" else f"calls that {what}": len(looked)}
    broken = [r for r in looked if any(f.code == code for f in r.findings)]
    row.findings = [Finding(code, f"not so in {r.name}") for r in broken]
    if not looked:
        row.findings = [Finding(code, "no rehearsal has anything to show for it")]


def _applies(number: str, row: Row) -> bool:
    client = row.evidence.client if row.evidence is not None else None
    if client is None:
        return False
    if number == "S83":
        return bool(client.error_names)
    if number == "S84":
        return "TransportError" in client.error_names
    return client.told is not None and client.attempts is not None
