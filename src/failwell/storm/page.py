"""The storm as one page that needs nothing else: the table, and a drawing for each policy."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from failwell.storm.results import Cell, Row, StormResult

WIDTH, HEIGHT = 600, 150

HEADS = ("back after", "answered", "in the outage", "requests a call", "worst second")

LIMITS = (
    "It is a model: one server with one queue, every request takes as long, the way takes no time.",
    "Our clients are this library's own code with a clock that jumps; the others are written down from "
    "their sources.",
    "Nothing is cancelled at the server: it answers requests that nobody waits for any more, as most do.",
    "All clients give up after the same time, and nobody stops calling because a service is slow.",
)

STYLE = """
:root { color-scheme: light dark; --paper: #f6f7f5; --card: #fff; --ink: #1c2321; --soft: #5b6763;
  --line: #d9dedb; --good: #2c9a64; --sent: #d9722e; --out: #f6dfdc; --bad: #b3261e; --mid: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #121614; --card: #1a201d; --ink: #e6ebe8;
  --soft: #9aa7a1; --line: #303935; --good: #45b883; --sent: #e58a4c; --out: #44201d; --bad: #ff9b92;
  --mid: #f0c56b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: clamp(1.5rem, 4vw, 2.3rem); line-height: 1.15; margin: .2rem 0 1rem; letter-spacing: -.02em; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
.brand { margin: 0; color: var(--soft); font-weight: 600; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { text-align: left; color: var(--soft); font-weight: 600; white-space: nowrap; }
th, td { padding: .4rem .8rem; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
td { font-variant-numeric: tabular-nums; } td.n, th.n { text-align: right; white-space: nowrap; }
td small { color: var(--soft); display: block; }
.never { color: var(--bad); font-weight: 600; } .soon { color: var(--good); font-weight: 600; }
.late { color: var(--mid); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: .8rem; }
figure { margin: 0; padding: .7rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; }
figcaption { font-size: .88rem; margin-bottom: .3rem; } figcaption b { font-size: 1rem; }
figcaption span { color: var(--soft); display: block; }
svg { display: block; width: 100%; height: auto; }
.out { fill: var(--out); } .axis { stroke: var(--line); } .cap { stroke: var(--soft); stroke-dasharray: 4 4; }
.good { fill: none; stroke: var(--good); stroke-width: 2; }
.sent { fill: none; stroke: var(--sent); stroke-width: 1.5; }
svg text { fill: var(--soft); font-size: 12px; }
.legend { color: var(--soft); font-size: .88rem; }
.legend i { display: inline-block; width: 1.4rem; height: 3px; vertical-align: middle;
  margin: 0 .3rem 0 .8rem; }
ul { color: var(--soft); font-size: .9rem; padding-left: 1.2rem; }
"""


def page(result: StormResult, title: str, cells: Sequence[Cell] = ()) -> str:
    """
    The page.

    Args:
        result: What came of each policy.
        title: What was simulated.
        cells: A sweep, if there was one.
    """
    heads = "".join(f"<th class=n>{each}" for each in HEADS)
    charts = "".join(map(_figure, result.rows))
    limits = "".join(f"<li>{escape(each)}</li>" for each in LIMITS)
    swept = "".join(_sweep(name, cells) for name in dict.fromkeys(cell.policy for cell in cells))
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>failwell storm</title>
<style>{STYLE}</style>
<main>
<p class="brand">failwell storm</p>
<h1>{escape(title)}</h1>
<div class="scroll"><table>
<tr><th>policy{heads}</tr>
{"".join(map(_line, result.rows))}
</table></div>
<h2>How it went</h2>
<p class="legend"><i style="background:var(--good)"></i>calls answered
<i style="background:var(--sent)"></i>requests sent, in each second; the dashed line is the capacity</p>
<div class="charts">{charts}</div>
{swept}
<h2>What it does not show</h2>
<ul>{limits}</ul>
</main>
</html>
"""


def _line(row: Row) -> str:
    says = f"{escape(row.policy.name)}<small>{escape(row.policy.says)} · {escape(row.policy.source)}</small>"
    numbers = (f"{row.share:.1%}", f"{row.share_during:.1%}", f"{row.amplification:.2f}", f"{row.peak:.1f}")
    return (
        f"<tr><td>{says}<td class=n>{_back(row.recovery)}"
        + "".join(f"<td class=n>{n}" for n in numbers)
        + "</tr>"
    )


def _back(recovery: float | None) -> str:
    if recovery is None:
        return '<span class="never">never</span>'
    return f'<span class="{"soon" if recovery <= 10 else "late"}">{recovery:g} s</span>'


def _figure(row: Row) -> str:
    world = row.runs[0].world
    goodput, sent = row.goodput(), row.sent()
    most = max(*sent, world.capacity) * 1.05
    x = WIDTH / len(goodput)

    def line(values: Sequence[float]) -> str:
        return " ".join(f"{(n + 0.5) * x:.1f},{HEIGHT - v / most * HEIGHT:.1f}" for n, v in enumerate(values))

    capacity = HEIGHT - world.capacity / most * HEIGHT
    ends = "never back" if row.recovery is None else f"back after {row.recovery:g} s"
    name, under = escape(row.policy.name), HEIGHT + 14
    trigger = f'x="{world.begins * x:.1f}" width="{max(1.0, world.outage * x):.1f}"'
    return f"""<figure>
<figcaption><b>{name}</b><span>{ends}, {row.share:.0%} answered</span></figcaption>
<svg viewBox="0 0 {WIDTH} {HEIGHT + 18}" role="img" aria-label="{name}: {ends}">
<rect class="out" {trigger} y="0" height="{HEIGHT}"/>
<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>
<line class="cap" x1="0" x2="{WIDTH}" y1="{capacity:.1f}" y2="{capacity:.1f}"/>
<polyline class="sent" points="{line(sent)}"/>
<polyline class="good" points="{line(goodput)}"/>
<text x="0" y="{under}">0 s</text>
<text x="{WIDTH}" y="{under}" text-anchor="end">{len(goodput)} s</text>
</svg></figure>"""


def _sweep(name: str, cells: Sequence[Cell]) -> str:
    outages = sorted({cell.outage for cell in cells})
    found = {(c.load, c.outage): c.recovery for c in cells if c.policy == name}
    head = "".join(f"<th class=n>{outage:g} s" for outage in outages)
    lines = "".join(
        f"<tr><td>{load:.1%}"
        + "".join(f"<td class=n>{_back(found[load, outage])}" for outage in outages)
        + "</tr>"
        for load in sorted({load for load, _ in found})
    )
    return (
        f"<h2>{escape(name)}: back after, by load and outage</h2>"
        f'<div class="scroll"><table><tr><th>load{head}</tr>{lines}</table></div>'
    )
