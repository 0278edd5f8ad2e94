"""The storm as one page that needs nothing else: the table, and a drawing for each policy."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from failwell.storm.results import Row, edges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from failwell.storm.real import Pair, RealResult
    from failwell.storm.results import Cell, StormResult
    from failwell.storm.world import World

WIDTH, HEIGHT = 420, 130

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
.calls { fill: none; stroke: var(--soft); stroke-width: 1; opacity: .7; }
.model { stroke-width: 1; opacity: .75; stroke-dasharray: 2 2; }
.charts.wide { grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }
svg text { fill: var(--soft); font-size: 13px; paint-order: stroke; stroke: var(--card);
  stroke-width: 4px; }
.legend { color: var(--soft); font-size: .88rem; }
.legend i { display: inline-block; width: 1.4rem; height: 3px; vertical-align: middle;
  margin: 0 .3rem 0 .8rem; }
ul { color: var(--soft); font-size: .9rem; padding-left: 1.2rem; }
"""


LEGEND = """<p class="legend"><i style="background:var(--good)"></i>calls answered, by when they began
<i style="background:var(--sent)"></i>requests sent{third};
the dashed line is the capacity, the red field the outage</p>"""


def page(result: StormResult, title: str, cells: Sequence[Cell] = ()) -> str:
    """
    The page.

    Args:
        result: What came of each policy.
        title: What was simulated.
        cells: A sweep, if there was one.
    """
    heads = "".join(f"<th class=n>{each}" for each in HEADS)
    swept = "".join(_sweep(name, cells) for name in dict.fromkeys(cell.policy for cell in cells))
    return _whole(
        title,
        f"""<div class="scroll"><table>
<tr><th>policy{heads}</tr>
{"".join(map(_line, result.rows))}
</table></div>
<h2>How it went</h2>
{LEGEND.format(third=' <i style="background:var(--soft)"></i>calls that began')}
<div class="charts">{"".join(map(_figure, result.rows))}</div>
{swept}""",
    )


def real_page(result: RealResult, title: str) -> str:
    """
    The page of a real run, with the model beside it.

    Args:
        result: What came of each policy.
        title: What was done.
    """
    heads = "".join(f"<th class=n>{each}" for each in (*HEADS[:-1], "model is off by"))
    late = max(pair.measured.late for pair in result.pairs)
    return _whole(
        title,
        f"""<div class="scroll"><table>
<tr><th>policy{heads}</tr>
{"".join(map(_pair_lines, result.pairs))}
</table></div>
<p class="legend">Measured once, with seed {result.seed}; the model has the same calls, and is the median of
{result.seeds} throws of the clients' dice. It is off by the mean difference of the answered part of each
five seconds. The machine kept a call or an answer waiting for {late:.2f} s at most; clients give up after
{result.world.timeout:g} s.</p>
<h2>How it went</h2>
{LEGEND.format(third="; thin and dotted: the model")}
<div class="charts wide">{"".join(map(_pair, result.pairs))}</div>""",
    )


def _whole(title: str, body: str) -> str:
    limits = "".join(f"<li>{escape(each)}</li>" for each in LIMITS)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>failwell storm</title>
<style>{STYLE}</style>
<main>
<p class="brand">failwell storm</p>
<h1>{escape(title)}</h1>
{body}
<h2>What the model does not show</h2>
<ul>{limits}</ul>
</main>
</html>
"""


def _pair_lines(pair: Pair) -> str:
    policy, off = pair.model.policy, f"<td class=n>{pair.deviation:.1%}"
    lines = (("measured", Row(policy, (pair.measured.run,)), off), ("model", pair.model, "<td>"))
    return "".join(
        f"<tr><td>{escape(policy.name)}<small>{kind}</small><td class=n>{_back(row.recovery)}"
        f"<td class=n>{row.share:.1%}<td class=n>{row.share_during:.1%}<td class=n>{row.amplification:.2f}"
        f"{last}</tr>"
        for kind, row, last in lines
    )


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
    ends = "never back" if row.recovery is None else f"back after {row.recovery:g} s"
    lines = (("calls", row.calls()), ("sent", row.sent()), ("good", row.goodput()))
    says = f"{ends}, {row.share:.0%} answered, up to {row.peak:.1f} requests a call"
    return _drawing(row.policy.name, says, row.runs[0].world, lines)


def _pair(pair: Pair) -> str:
    """What was measured, and the model behind it in thin lines."""
    model, real = pair.model, Row(pair.model.policy, (pair.measured.run,))
    lines = (
        ("sent model", model.sent()), ("good model", model.goodput()),
        ("sent", real.sent()), ("good", real.goodput()),
    )  # fmt: skip
    says = f"{real.share:.0%} answered, {model.share:.0%} in the model"
    return _drawing(model.policy.name, says, model.runs[0].world, lines)


def _drawing(title: str, says: str, world: World, lines: Sequence[tuple[str, Sequence[float]]]) -> str:
    """
    A figure of what happened in each second.

    Args:
        title: Whose.
        says: What came of it, in one line.
        world: Where.
        lines: From back to front: the class of its style, and a value for each second.
    """
    most = max(world.capacity, *(max(values) for _, values in lines)) * 1.05
    x = WIDTH / world.seconds

    def line(kind: str, values: Sequence[float]) -> str:
        points = (f"{(n + 0.5) * x:.1f},{HEIGHT - v / most * HEIGHT:.1f}" for n, v in enumerate(values))
        return f'<polyline class="{kind}" points="{" ".join(points)}"/>'

    capacity = HEIGHT - world.capacity / most * HEIGHT
    # Above the line there is room for its name where much is sent, below it where little is.
    named = capacity - 4 if capacity > 16 else capacity + 13
    left, wide, under = world.begins * x, max(1.0, world.outage * x), HEIGHT + 14
    name = escape(title)
    return f"""<figure>
<figcaption><b>{name}</b><span>{escape(says)}</span></figcaption>
<svg viewBox="0 0 {WIDTH} {HEIGHT + 18}" role="img" aria-label="{name}: {escape(says)}">
<rect class="out" x="{left:.1f}" width="{wide:.1f}" y="0" height="{HEIGHT}"/>
<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>
<line class="cap" x1="0" x2="{WIDTH}" y1="{capacity:.1f}" y2="{capacity:.1f}"/>
{"".join(line(*each) for each in lines)}
<text x="{WIDTH - 2}" y="{named:.1f}" text-anchor="end">{world.capacity:,.0f}/s</text>
<text x="0" y="{under}">0 s</text>
<text x="{left + wide / 2:.1f}" y="{under}" text-anchor="middle">outage</text>
<text x="{WIDTH}" y="{under}" text-anchor="end">{world.seconds} s</text>
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
    edge = edges(cells, name)
    lines += "<tr><td><b>up to</b>" + "".join(
        f"<td class=n><b>{'none' if (load := edge[outage]) is None else f'{load:.1%}'}</b>"
        for outage in outages
    )
    return (
        f"<h2>{escape(name)}: back after, by load and outage</h2>"
        f'<div class="scroll"><table><tr><th>load{head}</tr>{lines}</table></div>'
    )
