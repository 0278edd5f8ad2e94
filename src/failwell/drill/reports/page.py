"""A drill's result for programs and for people: JSON, and one page that needs nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from math import isfinite
from typing import TYPE_CHECKING, Any

import failwell
from failwell.drill import proof
from failwell.drill.faults import Fault
from failwell.drill.reports.limits import LIMITS
from failwell.drill.reports.page_style import SCRIPT, STYLE
from failwell.drill.reports.timeline import Try, length, tries
from failwell.drill.reports.totals import totals
from failwell.drill.rules import RULES
from failwell.drill.subject import Kind
from failwell.drill.verdict import Coverage, Row, Verdict
from failwell.drill.witness import MAIN, Evidence

if TYPE_CHECKING:
    from failwell.drill import DrillResult

ORDER = (Verdict.FAIL, Verdict.NOT_EXERCISED, Verdict.UNPROVABLE, Verdict.SKIPPED, Verdict.PASS)
LANE = 22  # pixels
# Headings, and the numbers of the catalogue beneath them.
FAMILIES = (
    ("No connection", 1, 7),
    ("No answer", 8, 14),
    ("An answer that cannot be used", 15, 32),
    ("More than was asked for", 33, 36),
    ("Redirects", 37, 39),
    ("Statuses and limits", 40, 46),
    ("An open circuit, and a crowd", 47, 53),
    ("Done once, whatever is lost", 54, 65),
    ("All rehearsals together", 81, 87),
    ("Streams of events", 66, 74),
    ("Uploads in parts", 75, 80),
)


def as_dict(result: DrillResult) -> dict[str, Any]:
    """`result` as JSON types."""
    return {
        "failwell": failwell.__version__,
        "ok": result.ok,
        "seed": result.seed,
        "began": datetime.fromtimestamp(result.began, UTC).isoformat(timespec="seconds"),
        "seconds": round(result.seconds, 3),
        "counts": {v.value: n for v, n in result.counts.items()},
        "totals": dataclasses.asdict(totals(result.rows)),
        "limits": list(LIMITS),
        "coverage": [dataclasses.asdict(c) for c in result.coverage],
        "rows": [_row_dict(r) for r in result.rows],
    }


def _row_dict(row: Row) -> dict[str, Any]:
    scenario, evidence = row.scenario, row.evidence
    data: dict[str, Any] = {
        "subject": row.subject,
        "scenario": scenario.id,
        "proves": list(scenario.proves),
        "title": scenario.title,
        "mode": row.mode,
        "tier": scenario.tier,
        "kind": scenario.kind.value,
        "faults": [_fault_dict(f) for f in scenario.schedule.all],
        "verdict": row.verdict.value,
        "findings": [{"code": f.code, "text": f.text} for f in row.findings],
        "notes": list(row.notes),
        "measured": {n: v if isfinite(v) else None for n, v in row.measured.items()},
        "proved": sorted(e.value for e in row.proved),
        "repeat": row.repeat,
        "seconds": round(row.seconds, 3),
    }
    if evidence is not None:
        data["client"] = _client_dict(evidence)
        data["wire"] = _wire_dict(evidence)
        data["ledger"] = dataclasses.asdict(evidence.ledger)
        data["stalled"] = round(evidence.stalled, 3)
    return data


def _fault_dict(fault: Fault) -> dict[str, str]:
    return {
        "name": fault.name,
        "action": fault.action.value,
        "moment": fault.moment.value,
        "faithful": fault.faithful.value,
        "platform": fault.platform or "any",
    }


def _client_dict(evidence: Evidence) -> dict[str, Any]:
    client = evidence.client
    return {
        "succeeded": client.succeeded,
        "result_id": client.result_id,
        "error": client.error or None,
        "text": client.text or None,
        "cause": client.cause or None,
        "elapsed": None if client.elapsed is None else round(client.elapsed, 4),
        "failure": None if client.failure is None else client.failure.to_dict(),
        "attempts": None if client.attempts is None else [dataclasses.asdict(a) for a in client.attempts],
        "logs": list(client.logs),
        "trouble": client.trouble or None,
    }


def _wire_dict(evidence: Evidence) -> dict[str, Any]:
    began, wire = evidence.client.began, evidence.wire

    def relative(data: dict[str, Any]) -> dict[str, Any]:
        times = ("arrived", "asked", "answered", "finished", "opened", "closed")
        return {k: round(v - began, 4) if k in times and v is not None else v for k, v in data.items()}

    return {
        "connections": [relative(dataclasses.asdict(c)) for c in wire.connections],
        "requests": [relative(dataclasses.asdict(r)) for r in wire.requests],
        "connects": {o: [round(t - began, 4) for t in ts] for o, ts in wire.connects.items()},
        "lookups": {o: [round(t - began, 4) for t in ts] for o, ts in wire.lookups.items()},
        "fired": [list(f) for f in wire.fired],
        "trouble": list(wire.trouble),
    }


# --- the page ----------------------------------------------------------------------------------


def as_html(result: DrillResult) -> str:
    """`result` as one HTML page: the score, every verdict, a timeline of every attempt."""
    return "".join(_page(result))


def _page(result: DrillResult) -> Iterator[str]:
    word = "Everything held" if result.ok else "Not everything held"
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>failwell drill: {word.lower()}</title><style>{STYLE}</style></head><body><main>"
    )
    yield from _head(result, word)
    yield from _findings(result)
    yield from _coverage(result)
    yield from _legend()
    yield from _filters(result)
    for title, rows in families(result.rows):
        yield from _family(title, rows)
    yield '<section><h2>What this does not show</h2><ul class="limits">'
    yield from (f"<li>{escape(text)}</li>" for text in LIMITS)
    yield f"</ul></section></main><script>{SCRIPT}</script></body></html>\n"


def _head(result: DrillResult, word: str) -> Iterator[str]:
    when = datetime.fromtimestamp(result.began, UTC).strftime("%Y-%m-%d %H:%M UTC")
    mark = "good" if result.ok else "bad"
    yield f'<header><p class="brand">failwell drill</p><h1 class="{mark}">{word}</h1>'
    yield (
        f"<p class=meta>{escape(', '.join(dict.fromkeys(r.subject for r in result.rows)))}: "
        f"{len(result.rows)} rehearsals in {result.seconds:.0f} s, seed {result.seed}, "
        f"failwell {escape(failwell.__version__)}, {when}</p>"
    )
    yield '<div class="scores" role="group" aria-label="Show only one verdict">'
    for verdict, count in result.counts.items():
        yield (
            f'<button class="score {_slug(verdict)}" data-verdict="{_slug(verdict)}" aria-pressed="false"'
            f"{'' if count else ' disabled'}><b>{count}</b><span>{verdict.value}</span></button>"
        )
    yield "</div>"
    yield from _figures(result)
    yield "</header>"


def _figures(result: DrillResult) -> Iterator[str]:
    found = result.totals
    bad = ' class="bad"' if found.lost or found.duplicated else ""
    yield (
        f'<dl class="figures"><div><dt>writes</dt><dd>{found.attempted} attempted, '
        f"{found.acked} acknowledged, {found.effects} effects, {found.unknown} unknown</dd></div>"
        f"<div{bad}><dt>in the ledger</dt><dd>{found.lost} lost, {found.duplicated} duplicated</dd></div>"
        f"<div><dt>claims</dt><dd>{found.precise} of {found.claims} as precise as can be</dd></div>"
    )
    if found.amplified:
        yield f"<div><dt>at most</dt><dd>{found.amplification:g} requests for a call</dd></div>"
    yield "</dl>"


def _findings(result: DrillResult) -> Iterator[str]:
    """What fails the run, first of all: each with its rule, and the command that repeats it."""
    bad = [r for r in result.rows if r.verdict in (Verdict.FAIL, Verdict.NOT_EXERCISED)]
    if not bad:
        return
    yield f'<section class="findings"><h2>Findings <small>{_many(len(bad), "rehearsal")}</small></h2>'
    for code in dict.fromkeys(f.code for r in bad for f in r.findings):
        said = RULES[code].rule if code in RULES else ""
        yield f'<p class="rule"><b>{escape(code)}</b> {escape(said)}</p><ul>'
        for row, text in [(r, f.text) for r in bad for f in r.findings if f.code == code]:
            yield f"<li>{_link(row)} {escape(text)}{_again(row)}</li>"
        yield "</ul>"
    for row in (r for r in bad if not r.findings):
        yield f"<p>{_link(row)} {escape(row.verdict.value)}: {escape('; '.join(row.notes))}{_again(row)}</p>"
    yield "</section>"


def _link(row: Row) -> str:
    return f'<a href="#{_anchor(row.scenario.id)}">{escape(row.name)}</a>'


def _again(row: Row) -> str:
    return f'<br><code class="again">{escape(row.repeat)}</code>'


def _anchor(scenario_id: str) -> str:
    """What a link to a scenario ends with: of letters, digits, hyphens and underscores alone."""
    return "s-" + "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in scenario_id)


def _filters(result: DrillResult) -> Iterator[str]:
    """The box and the buttons that leave a part of the scenarios."""
    yield (
        '<div class="filters" id="filters"><label>Find <input type="search" id="find" '
        'placeholder="S18, certificate …" autocomplete="off"></label>'
    )
    subjects = list(dict.fromkeys(r.subject for r in result.rows))
    if len(subjects) > 1:
        yield '<span class="subjects" role="group" aria-label="Show only one SDK">'
        for subject in subjects:
            name = escape(subject)
            yield f'<button class="subject" data-subject="{name}" aria-pressed="false">{name}</button>'
        yield "</span>"
    count = len({r.scenario.id for r in result.rows})
    yield f'<output id="shown" aria-live="polite">{_many(count, "scenario")}</output></div>'
    yield "<noscript><p>Without scripts, only what is wrong can be opened.</p></noscript>"


def _coverage(result: DrillResult) -> Iterator[str]:
    if not result.coverage:
        return
    raised = len(result.coverage) - len(result.never_raised)
    yield (
        "<section><h2>Exceptions</h2><p>"
        f"{raised} of {len(result.coverage)} exported exceptions were raised from a real cause.</p>"
    )
    for subject in dict.fromkeys(c.subject for c in result.coverage):
        yield from _coverage_of(subject, [c for c in result.coverage if c.subject == subject])
    yield "</section>"


def _coverage_of(subject: str, covered: Sequence[Coverage]) -> Iterator[str]:
    missing = [c for c in covered if not c.rows]
    kind, opened = ("fail", " open") if missing else ("pass", "")
    yield (
        f'<details class="scenario"{opened}><summary><span class="name">{escape(subject)}</span>'
        f'<span class="badge {kind}">{len(covered) - len(missing)} of {len(covered)}</span></summary>'
        '<ul class="chips">'
    )
    for c in covered:
        kind, note = ("pass", _many(len(c.rows), "rehearsal")) if c.rows else ("fail", "never raised")
        note += ", as a base class" if c.as_base else ""
        yield f'<li class="chip {kind}"><b>{escape(c.exception)}</b> {note}</li>'
    yield "</ul></details>"


def _legend() -> Iterator[str]:
    yield '<section class="legend" aria-label="Legend"><h2>How to read a timeline</h2><ul>'
    for kind, text in (
        ("try ok", "an attempt that succeeded"),
        ("try bad", "an attempt that did not"),
        ("wait", "the client waits"),
        ("wire", "the request is at the proxy"),
        ("fault", "a fault acts"),
        ("service", "the service works"),
        ("effect", "the ledger holds one more effect"),
    ):
        yield f'<li><svg viewBox="0 0 28 14" aria-hidden="true">{_swatch(kind)}</svg>{text}</li>'
    yield "</ul></section>"


def _swatch(kind: str) -> str:
    if kind == "wait":
        return '<line class="wait" x1="0" x2="28" y1="7" y2="7"/>'
    if kind in ("fault", "effect"):
        return f'<rect class="{kind}" x="12" y="0" width="4" height="14"/>'
    return f'<rect class="{kind}" x="0" y="2" width="28" height="10"/>'


def families(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """The rows under headings: what can happen to any client together, real causes by SDK."""
    return list(_families(rows))


def _families(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for title, first, last in FAMILIES:
        if those := [r for r in rows if first <= _number(r) <= last]:
            yield title, those
    known = {number for _, first, last in FAMILIES for number in range(first, last + 1)}
    others = [r for r in rows if _number(r) not in known]
    for subject in dict.fromkeys(r.subject for r in others):
        yield f"Real causes: {subject}", [r for r in others if r.subject == subject]


def _number(row: Row) -> int:
    """The number of the catalogue; 0 for what has none."""
    number = row.scenario.id.partition("-")[0].removeprefix("S")
    return int(number) if number.isdecimal() else 0


def _family(title: str, rows: Sequence[Row]) -> Iterator[str]:
    passed = sum(r.verdict is Verdict.PASS for r in rows)
    yield f'<section class="family"><h2>{escape(title)} <small>{passed} of {len(rows)} pass</small></h2>'
    for group in _groups(rows):
        yield from _scenario(group)
    yield "</section>"


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of one scenario together; what is wrong first, otherwise in the catalogue's order."""
    by_id: dict[str, list[Row]] = {}
    for row in rows:
        by_id.setdefault(row.scenario.id, []).append(row)
    return sorted(by_id.values(), key=lambda group: _worst(group) is Verdict.PASS)


def _worst(rows: Iterable[Row]) -> Verdict:
    return min((r.verdict for r in rows), key=ORDER.index)


def _scenario(group: Sequence[Row]) -> Iterator[str]:
    first = group[0].scenario
    worst = _worst(group)
    opened = " open" if worst in (Verdict.FAIL, Verdict.NOT_EXERCISED) else ""
    slugs = " ".join({_slug(r.verdict) for r in group})
    subjects = " ".join(dict.fromkeys(r.subject for r in group))
    found = f"{first.id} {first.title} {' '.join(first.proves)} {subjects}".lower()
    yield (
        f'<details class="scenario" id="{_anchor(first.id)}" data-verdicts="{slugs}" '
        f'data-subjects="{escape(subjects)}" data-find="{escape(found)}"{opened}><summary>'
    )
    yield f'<span class="id">{escape(first.id)}</span><span class="title">{escape(first.title)}</span>'
    yield '<span class="badges">'
    for subject in dict.fromkeys(r.subject for r in group):
        yield from _badges(subject, [r for r in group if r.subject == subject])
    yield "</span></summary>"
    # What is closed is kept as text until somebody opens it: thousands of drawings take seconds to lay out.
    yield '<div class="inside">' if opened else '<script type="text/plain">'
    yield f'<p class="about">{_about(group[0])}</p><div class="rows">'
    for row in sorted(group, key=lambda r: r.verdict is Verdict.PASS):
        yield from _row(row)
    yield f"</div>{'</div>' if opened else '</script>'}</details>"


def _badges(subject: str, rows: Sequence[Row]) -> Iterator[str]:
    """One if all of an SDK's forms passed, else one for each."""
    if all(r.verdict is Verdict.PASS for r in rows):
        yield f'<span class="badge pass"><span class="sr">PASS </span>✓ {escape(subject)}</span>'
        return
    for r in rows:
        yield f'<span class="badge {_slug(r.verdict)}">{escape(subject)} {r.mode} {r.verdict.value}</span>'


def _about(row: Row) -> str:
    scenario = row.scenario
    parts = [f"A {escape(scenario.kind.value)}."]
    faults = [*scenario.schedule.all, *(f for step in scenario.before for f in step.schedule.all)]
    for fault in {f.name: f for f in faults}.values():
        parts.append(
            f"<b>{escape(fault.name)}</b>: {escape(fault.action.value)}, {escape(fault.moment.value)} "
            f'<span class="faithful">{escape(fault.faithful.value)}</span>.'
        )
    if scenario.cause is not None:
        parts.append("No fault: the service itself refuses.")
    if scenario.kind is Kind.PLAIN_WRITE:
        parts.append("The client's automatic idempotency keys are switched off for it.")
    if scenario.proves:
        parts.append(f"Also: {escape(', '.join(scenario.proves))}.")
    return " ".join(parts)


def _row(row: Row) -> Iterator[str]:
    yield f'<article class="row {_slug(row.verdict)}"><h3>{escape(row.subject)} {row.mode}</h3>'
    yield from (f'<p class="finding"><b>{escape(f.code)}</b> {escape(f.text)}</p>' for f in row.findings)
    yield from (f'<p class="note">{escape(note)}</p>' for note in row.notes)
    yield from (f'<p class="note">{escape(fact)}</p>' for fact in row.facts)
    if row.evidence is not None:
        joined = tries(row)
        if joined:
            yield _drawing(row, joined)
        yield from _tries_table(joined)
        yield from _evidence(row, row.evidence)
    if row.verdict is not Verdict.SKIPPED:
        yield f'<p class="repeat"><code>{escape(row.repeat)}</code></p>'
    yield "</article>"


def _drawing(row: Row, joined: Sequence[Try]) -> str:
    """The timeline: three lanes over the length of the call, stretched to the width there is."""
    total = length(row, list(joined))
    marks = "".join(_marks(joined, total))
    lanes = "".join(f'<line class="lane" x1="0" x2="1000" y1="{y}" y2="{y}"/>' for y in (LANE, 2 * LANE))
    ticks = "".join(
        f'<span style="left:{100 * i / 4:.0f}%">{_seconds(total * i / 4)}</span>' for i in range(5)
    )
    said = f"{_many(len(joined), 'attempt')} in {_seconds(total)}"
    return (
        '<div class="timeline"><div class="labels"><span>client</span><span>wire</span><span>service</span>'
        f'</div><div class="plot"><svg viewBox="0 0 1000 {3 * LANE}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(said)}">{lanes}{marks}</svg><div class="ticks">{ticks}</div></div></div>'
    )


def _marks(joined: Sequence[Try], total: float) -> Iterator[str]:
    for t in joined:
        kind = "try ok" if t.outcome == "ok" else "try bad"
        yield _bar(kind, t.start, t.start + t.duration, 0, total, f"try {t.number}: {t.outcome}")
        if t.wait:
            at, until, y = t.start + t.duration, t.start + t.duration + t.wait, LANE // 2
            yield (
                f'<line class="wait" x1="{_x(at, total)}" x2="{_x(until, total)}" y1="{y}" y2="{y}">'
                f"<title>waits {_seconds(t.wait)}</title></line>"
            )
        if t.arrived is not None:
            left = t.arrived if t.left is None else t.left
            yield _bar("wire", t.arrived, left, 1, total, f"request {t.number}: {t.passed_on}")
            if t.fault:
                yield _tick("fault", left, 1, total, t.fault)
        elif t.fault:
            yield _tick("fault", t.start + t.duration, 1, total, t.fault)
        if t.asked is not None and t.answered is not None:
            yield _bar("service", t.asked, t.answered, 2, total, t.service)
            if t.effect:
                yield _tick("effect", t.answered, 2, total, "effect in the ledger")


def _x(at: float, total: float) -> str:
    return f"{1000 * min(max(at, 0.0), total) / total:.1f}"


def _bar(kind: str, start: float, end: float, lane: int, total: float, title: str) -> str:
    # A try of a millisecond in a call of seconds would be thinner than a pixel.
    width = max(1000 * (end - start) / total, 4.0)
    x = min(float(_x(start, total)), 1000 - width)
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{lane * LANE + 5}" width="{width:.1f}" height="{LANE - 10}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _tick(kind: str, at: float, lane: int, total: float, title: str) -> str:
    x = min(max(float(_x(at, total)) - 3, 0.0), 994.0)
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{lane * LANE + 1}" width="6" height="{LANE - 2}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _tries_table(joined: Sequence[Try]) -> Iterator[str]:
    if not joined:
        return
    yield (
        '<div class="scroll"><table><thead><tr><th>try</th><th>from</th><th>took</th><th>fault</th>'
        "<th>client says</th><th>passed on</th><th>service</th><th>waits</th></tr></thead><tbody>"
    )
    for t in joined:
        cells = (
            str(t.number),
            _seconds(t.start),
            _seconds(t.duration),
            t.fault or "none",
            t.outcome,
            t.passed_on,
            t.service,
            _seconds(t.wait) if t.wait else "",
        )
        yield "<tr>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>"
    yield "</tbody></table></div>"


def _evidence(row: Row, evidence: Evidence) -> Iterator[str]:
    yield '<dl class="evidence">'
    for term, lines in (
        ("client", _client_lines(row, evidence)),
        ("wire", _wire_lines(evidence)),
        ("ledger", _ledger_lines(evidence)),
    ):
        yield f"<dt>{term}</dt>"
        yield from (f"<dd>{escape(line)}</dd>" for line in lines)
    yield "</dl>"


def _client_lines(row: Row, evidence: Evidence) -> Iterator[str]:
    client = evidence.client
    if client.trouble:
        yield client.trouble
        return
    took = "never came back" if client.elapsed is None else f"after {_seconds(client.elapsed)}"
    if client.succeeded:
        yield f"returned {client.result_id or 'its result'} {took}"
    elif client.error:
        yield f"raised {client.error} {took}"
        yield f"“{client.text}”"
        if client.cause:
            yield f"from {client.cause}"
    else:
        yield took
    failure = client.failure
    if failure is not None:
        again = f"not tried again: {failure.stopped or 'it does not say why'}"
        proves = f"; the wire proves {proof.words(row.proved)}" if row.proved else ""
        proves = ", as precise as can be" if row.precise else proves
        yield f"claims {failure.effect.value}{proves}; {again}"
    yield from (f"logged: {line}" for line in client.logs)


def _wire_lines(evidence: Evidence) -> Iterator[str]:
    wire = evidence.wire
    yield (
        f"{_many(len(wire.requests_of(MAIN)), 'request')} over "
        f"{_many(sum(c.operation == MAIN for c in wire.connections), 'new connection')}; "
        f"{_many(len(wire.connects.get(MAIN, ())), 'connect')}, "
        f"{_many(len(wire.lookups.get(MAIN, ())), 'look-up')}"
    )
    keys = dict.fromkeys(r.idempotency_key for r in wire.requests_of(MAIN) if r.idempotency_key)
    if keys:
        yield f"idempotency key on the wire: {', '.join(keys)}"
    yield from (f"{o}, attempt {n}: {name}" for o, n, name in wire.fired if o != MAIN)
    yield from wire.trouble


def _ledger_lines(evidence: Evidence) -> Iterator[str]:
    held = evidence.ledger.ids
    if held is None:
        yield "cannot be read"
    else:
        yield f"{_many(len(held), 'effect')}{': ' if held else ''}{', '.join(held)}"
    for number, ids in enumerate(evidence.ledger.before, 1):
        if ids:
            yield f"call {number} before it: {', '.join(ids)}"


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.2f} s"


def _slug(verdict: Verdict) -> str:
    return verdict.value.lower().replace(" ", "-")
