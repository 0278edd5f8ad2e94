"""
A drill's result as JUnit XML, which every CI system reads: a test case for each rehearsal.

It keeps to the schema that Ant's output was written down in, and to what Jenkins and GitLab ask
beyond it, so that all of them take it. There is a suite for each SDK. What fails a drill fails its test case
(NOT EXERCISED is an `error`, for nothing was proved); UNPROVABLE and SKIPPED are skipped, with the reason.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from failwell.drill.reports.limits import LIMITS
from failwell.drill.verdict import Coverage, Row, Verdict

if TYPE_CHECKING:
    from failwell.drill import DrillResult

# What XML 1.0 cannot hold, whatever is done to it (section 2.2): it becomes a replacement character.
_UNSPEAKABLE = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in (*range(32), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF)
    if code not in (9, 10, 13)
}


def as_junit(result: DrillResult) -> str:
    """`result` as an XML document."""
    suites = Element("testsuites")
    for number, subject in enumerate(dict.fromkeys(r.subject for r in result.rows)):
        rows = [r for r in result.rows if r.subject == subject]
        missing = [c for c in result.never_raised if c.subject == subject]
        _suite(suites, result, number, subject, rows, missing)
    indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(suites, encoding="unicode")}\n'


def _suite(
    suites: Element,
    result: DrillResult,
    number: int,
    subject: str,
    rows: Sequence[Row],
    missing: Sequence[Coverage],
) -> None:
    count = {v: sum(r.verdict is v for r in rows) for v in Verdict}
    suite = SubElement(
        suites,
        "testsuite",
        name=_text(subject),
        package="failwell.drill",
        id=str(number),
        timestamp=datetime.fromtimestamp(result.began, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        hostname=socket.gethostname() or "localhost",
        tests=str(len(rows) + len(missing)),
        failures=str(count[Verdict.FAIL] + len(missing)),
        errors=str(count[Verdict.NOT_EXERCISED]),
        skipped=str(count[Verdict.UNPROVABLE] + count[Verdict.SKIPPED]),
        time=f"{sum(r.seconds for r in rows):.3f}",
    )
    properties = SubElement(suite, "properties")
    SubElement(properties, "property", name="seed", value=str(result.seed))
    for row in rows:
        _case(suite, row)
    for unraised in missing:
        _never_raised(suite, unraised)
    # The schema wants both, whatever is in them.
    SubElement(suite, "system-out").text = "What this does not show:\n" + "\n".join(LIMITS)
    SubElement(suite, "system-err").text = ""


def _case(suite: Element, row: Row) -> None:
    name = f"{row.scenario.id} {row.mode}: {row.scenario.title}"
    case = SubElement(
        suite,
        "testcase",
        name=_text(name),
        classname=f"drill.{_text(row.subject)}",
        time=f"{row.seconds:.3f}",
    )
    if row.verdict is Verdict.PASS:
        return
    why = "; ".join([*map(str, row.findings), *row.notes]) or row.verdict.value
    if row.verdict in (Verdict.UNPROVABLE, Verdict.SKIPPED):
        SubElement(case, "skipped", message=_text(f"{row.verdict.value}: {why}"))
        return
    bad = row.verdict is Verdict.NOT_EXERCISED
    kind = row.verdict.value if bad or not row.findings else row.findings[0].code
    told = SubElement(case, "error" if bad else "failure", message=_text(why), type=_text(kind))
    told.text = _text("\n".join([*map(str, row.findings), *row.notes, "", f"again: {row.repeat}"]))


def _never_raised(suite: Element, unraised: Coverage) -> None:
    why = f"{unraised.exception} is exported, and no rehearsal raised it"
    case = SubElement(
        suite,
        "testcase",
        name=_text(f"{unraised.exception} is raised"),
        classname=f"drill.{_text(unraised.subject)}",
        time="0",
    )
    SubElement(case, "failure", message=_text(why), type="never raised").text = _text(why)


def _text(text: str) -> str:
    return text.translate(_UNSPEAKABLE)
