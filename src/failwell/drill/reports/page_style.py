"""The looks of the report page, and the few lines that let a reader filter it."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f6f7f5; --card: #ffffff; --ink: #1c2321; --soft: #5b6763; --line: #d9dedb;
  --pass: #1d7a4d; --pass-bg: #e2f3e9; --fail: #b3261e; --fail-bg: #fbe6e4;
  --warn: #8a5a00; --warn-bg: #fbf0d8; --calm: #4a5a8a; --calm-bg: #e8ecf7;
  --bar-ok: #2c9a64; --bar-bad: #d9722e; --bar-wire: #8fa3b5; --bar-service: #7c6bc4; --mark: #c22a20;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #121614; --card: #1a201d; --ink: #e6ebe8; --soft: #9aa7a1; --line: #303935;
    --pass: #6fd3a0; --pass-bg: #17352a; --fail: #ff9b92; --fail-bg: #44201d;
    --warn: #f0c56b; --warn-bg: #3d3014; --calm: #a9b8ea; --calm-bg: #232b45;
    --bar-ok: #45b883; --bar-bad: #e58a4c; --bar-wire: #5f7387; --bar-service: #9a8ae0; --mark: #ff6a5e;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: clamp(1.8rem, 5vw, 2.8rem); line-height: 1.1; margin: .2rem 0 .4rem; letter-spacing: -.02em; }
h1.good { color: var(--pass); } h1.bad { color: var(--fail); }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; } h2 small { color: var(--soft); font-weight: 400; }
h3 { margin: 0 0 .4rem; font-size: .85rem; color: var(--soft); font-weight: 600; }
.brand { margin: 0; color: var(--soft); font-weight: 600; } .meta { margin: 0 0 1.2rem; color: var(--soft); }
.scores { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.2rem, 1fr)); gap: .6rem; }
.score { font: inherit; text-align: left; padding: .7rem .9rem; border: 1px solid var(--line);
  border-radius: .6rem; background: var(--card); color: var(--ink); cursor: pointer; }
.score b { display: block; font-size: 1.7rem; line-height: 1.1; } .score span { font-size: .75rem; }
.score:disabled { opacity: .5; cursor: default; }
.score[aria-pressed=true] { outline: 3px solid var(--calm); outline-offset: 1px; }
.score:not(:disabled).pass b { color: var(--pass); }
.score:not(:disabled).fail b, .score:not(:disabled).not-exercised b { color: var(--fail); }
.score:not(:disabled).unprovable b { color: var(--warn); }
.score:not(:disabled).skipped b { color: var(--calm); }
.chips, .legend ul, .limits { padding: 0; margin: 0; list-style: none; }
.chips { display: flex; flex-wrap: wrap; gap: .4rem; }
.chip { padding: .15rem .6rem; border-radius: 1rem; font-size: .82rem; }
.scenario .name { flex: 1; }
.scenario .chips { padding: .2rem .8rem .8rem; }
.figures { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: 1rem 0 0; font-size: .9rem; }
.figures div { display: flex; gap: .45rem; } .figures dt { color: var(--soft); grid-column: auto; }
.figures dd { margin: 0; } .figures .bad dd { color: var(--fail); font-weight: 600; }
.findings { border-left: 4px solid var(--fail); padding: .1rem 0 .1rem 1rem; margin-top: 2rem; }
.findings h2 { margin-top: .4rem; } .findings .rule { margin: .8rem 0 .2rem; }
.findings ul { margin: 0; padding-left: 1.1rem; } .findings li { margin: .3rem 0; overflow-wrap: anywhere; }
a { color: inherit; font-weight: 600; }
.again { color: var(--soft); }
.filters { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .9rem; position: sticky; top: 0;
  z-index: 1; background: var(--paper); padding: .7rem 0; margin-top: 1.5rem; }
.filters label { display: flex; align-items: center; gap: .6rem; color: var(--soft); flex: 1 1 14rem;
  max-width: 26rem; }
.filters input { flex: 1 1 auto; min-width: 0; font: inherit; color: var(--ink); background: var(--card);
  border: 1px solid var(--line); border-radius: .5rem; padding: .4rem .7rem; }
.filters input:focus-visible, .subject:focus-visible { outline: 3px solid var(--calm); }
.subjects { display: flex; flex-wrap: wrap; gap: .35rem; }
.subject { font: inherit; font-size: .85rem; color: var(--ink); background: var(--card); cursor: pointer;
  border: 1px solid var(--line); border-radius: 1rem; padding: .2rem .75rem; }
.subject[aria-pressed=true] { background: var(--calm-bg); color: var(--calm); border-color: var(--calm); }
#shown { color: var(--soft); font-size: .85rem; }
.scenario { scroll-margin-top: 4.5rem; }
.family[hidden] { display: none; }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.legend ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; font-size: .85rem; color: var(--soft); }
.legend li { display: flex; align-items: center; gap: .45rem; } .legend svg { width: 28px; height: 14px; }
.limits { list-style: disc; padding-left: 1.2rem; color: var(--soft); font-size: .9rem; }
.pass { --c: var(--pass); --b: var(--pass-bg); }
.fail, .not-exercised { --c: var(--fail); --b: var(--fail-bg); }
.unprovable { --c: var(--warn); --b: var(--warn-bg); } .skipped { --c: var(--calm); --b: var(--calm-bg); }
.chip, .badge { color: var(--c); background: var(--b); }
.badge { border-radius: .35rem; padding: .05rem .45rem; font-size: .72rem; font-weight: 600;
  white-space: nowrap; }
.scenario { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; margin: .4rem 0; }
.scenario[hidden] { display: none; }
summary { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: baseline; padding: .55rem .8rem;
  cursor: pointer; list-style: none; border-radius: .6rem; }
summary::-webkit-details-marker { display: none; }
summary:hover { background: var(--paper); }
summary:focus-visible, .score:focus-visible { outline: 3px solid var(--calm); }
.id { font: 600 .82rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; min-width: 9.5rem; }
.title { flex: 1 1 18rem; } .badges { display: flex; gap: .35rem; flex-wrap: wrap; }
.about { margin: 0; padding: 0 .8rem .6rem; color: var(--soft); font-size: .88rem; }
.faithful { white-space: nowrap; }
.faithful { border: 1px solid var(--line); border-radius: .3rem; padding: 0 .35rem; font-size: .75rem; }
.rows { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr));
  gap: 1px; border-top: 1px solid var(--line); border-radius: 0 0 .6rem .6rem; overflow: hidden; }
.row { padding: .8rem; min-width: 0; box-shadow: 0 0 0 1px var(--line); }
.finding { margin: 0 0 .5rem; padding: .4rem .6rem; border-left: 4px solid var(--fail);
  background: var(--fail-bg); overflow-wrap: anywhere; }
.note { margin: 0 0 .5rem; color: var(--warn); font-size: .9rem; }
.timeline { display: grid; grid-template-columns: 3.6rem 1fr; margin: .2rem 0 .8rem; }
.labels span { display: block; height: 22px; line-height: 22px; font-size: .75rem; color: var(--soft); }
.plot svg { display: block; width: 100%; height: 66px; background: var(--paper); border-radius: .3rem; }
.ticks { position: relative; height: 1.2rem; font-size: .7rem; color: var(--soft); }
.ticks span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.ticks span:first-child { transform: none; } .ticks span:last-child { transform: translateX(-100%); }
.lane { stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; }
.wait { stroke: var(--soft); stroke-width: 2; stroke-dasharray: 4 4; vector-effect: non-scaling-stroke; }
.try.ok { fill: var(--bar-ok); } .try.bad { fill: var(--bar-bad); }
.wire { fill: var(--bar-wire); } .service { fill: var(--bar-service); }
.fault { fill: var(--mark); } .effect { fill: var(--bar-ok); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .78rem; width: 100%; }
th { text-align: left; color: var(--soft); font-weight: 600; white-space: nowrap; }
th, td { padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { font-variant-numeric: tabular-nums; } td:nth-child(-n+3), td:nth-child(8) { white-space: nowrap; }
.evidence { display: grid; grid-template-columns: 3.6rem 1fr; gap: .15rem 0; margin: .7rem 0 0;
  font-size: .84rem; }
dt { grid-column: 1; color: var(--soft); } dd { grid-column: 2; margin: 0; overflow-wrap: anywhere; }
.repeat { margin: .6rem 0 0; } code { font: .8rem ui-monospace, Menlo, Consolas, monospace; }
.repeat code { background: var(--paper); border-radius: .3rem; padding: .2rem .5rem; }
@media (max-width: 40rem) {
  .filters { position: static; } .scenario { scroll-margin-top: .5rem; }
  .id { min-width: 0; } .title { flex-basis: 100%; order: 2; } .badges { margin-left: auto; }
  .scores { grid-template-columns: repeat(2, 1fr); }
  td, th { padding-right: .9rem; } .scroll table { min-width: 38rem; }
}
@media print { details > * { display: block; } }
"""

SCRIPT = """
const all = selector => [...document.querySelectorAll(selector)];
const scenarios = all('[data-verdicts]'), families = all('.family');
const verdicts = all('.score'), subjects = all('.subject');
const find = document.getElementById('find'), shown = document.getElementById('shown');

// What is closed is text until it is opened.
const fill = scenario => {
  const text = scenario.querySelector(':scope > script');
  if (!text) return;
  const inside = document.createElement('div');
  inside.className = 'inside';
  inside.innerHTML = text.textContent;
  text.replaceWith(inside);
};
for (const scenario of scenarios) scenario.addEventListener('toggle', () => scenario.open && fill(scenario));

const pressed = buttons => buttons.find(b => b.getAttribute('aria-pressed') === 'true');
const show = () => {
  const verdict = pressed(verdicts)?.dataset.verdict, subject = pressed(subjects)?.dataset.subject;
  const words = find.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let count = 0;
  for (const s of scenarios) {
    s.hidden = Boolean(verdict && !s.dataset.verdicts.split(' ').includes(verdict))
      || Boolean(subject && !s.dataset.subjects.split(' ').includes(subject))
      || !words.every(w => s.dataset.find.includes(w));
    count += !s.hidden;
  }
  for (const f of families) f.hidden = !f.querySelector('[data-verdicts]:not([hidden])');
  shown.textContent = `${count} scenario${count === 1 ? '' : 's'}`;
};
for (const buttons of [verdicts, subjects]) for (const button of buttons)
  button.addEventListener('click', () => {
    const on = button.getAttribute('aria-pressed') !== 'true';
    for (const other of buttons) other.setAttribute('aria-pressed', String(on && other === button));
    show();
  });
find.addEventListener('input', show);

// A link to a scenario opens it.
const follow = () => {
  const scenario = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!scenario?.matches('.scenario')) return;
  fill(scenario);
  scenario.open = true;
  scenario.scrollIntoView();
};
addEventListener('hashchange', follow);
follow();
addEventListener('beforeprint', () => scenarios.filter(s => !s.hidden).forEach(fill));
"""
