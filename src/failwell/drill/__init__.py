"""
Rehearse every failure a client can meet, over real sockets, and prove what comes of it.

    import failwell.drill
    result = failwell.drill.run(["kneo", "agoralia"], report=Path("drill.html"))
    result.ok

Three witnesses are joined for each rehearsal: what the client raised, what crossed the wire, what
the service's ledger holds. A row is green only if all three agree with what was planned.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from failwell.drill import remote, whole
from failwell.drill.clients import known, load
from failwell.drill.plan import Scenario
from failwell.drill.rehearsal import listening, rehearse
from failwell.drill.reports.totals import Totals, totals
from failwell.drill.scenarios import called, catalogue
from failwell.drill.subject import MODES, Mode, Subject
from failwell.drill.verdict import Coverage, Finding, Row, Verdict, coverage, judge, repeat
from failwell.drill.virtual import played
from failwell.errors import UsageError

__all__ = [
    "Coverage",
    "DrillResult",
    "Finding",
    "Progress",
    "Row",
    "Scenario",
    "Subject",
    "Verdict",
    "catalogue",
    "known",
    "load",
    "planned",
    "run",
]

# Most of a rehearsal is waiting for sockets; more at once would starve timeouts on two cores.
WORKERS = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far a drill has come.

    Attributes:
        done: Rehearsals finished.
        total: Rehearsals in all.
        row: The one just finished; None at the start.
    """

    done: int
    total: int
    row: Row | None = None


@dataclass(slots=True)
class DrillResult:
    """
    What a drill proved.

    Attributes:
        rows: One for each rehearsal, in the order of the catalogue.
        coverage: For each exported exception, which rehearsals raised it; empty if only a part
            of the catalogue was run.
        seed: For the clients' dice.
        began: When it began, seconds since the epoch.
        seconds: How long it took.
    """

    rows: list[Row] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)
    seed: int = 0
    began: float = 0.0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing failed, everything was exercised, and every exception was raised."""
        bad = (Verdict.FAIL, Verdict.NOT_EXERCISED)
        return bool(self.rows) and not self.never_raised and all(r.verdict not in bad for r in self.rows)

    @property
    def never_raised(self) -> list[Coverage]:
        """Exported exceptions that no rehearsal raised."""
        return [c for c in self.coverage if not c.rows]

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many rows got each verdict."""
        counted = Counter(r.verdict for r in self.rows)
        return {v: counted[v] for v in Verdict}

    @property
    def totals(self) -> Totals:
        """What the ledger holds of what was asked for, and how precise the claims were."""
        return totals(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        from failwell.drill.reports.page import as_dict

        return as_dict(self)

    def to_html(self) -> str:
        """Everything as one page that needs nothing else."""
        from failwell.drill.reports.page import as_html

        return as_html(self)

    def to_markdown(self) -> str:
        """Score, findings, totals and limits on one screen."""
        from failwell.drill.reports.markdown import as_markdown

        return as_markdown(self)

    def to_junit(self) -> str:
        """A test case for each rehearsal, as CI systems read them."""
        from failwell.drill.reports.junit import as_junit

        return as_junit(self)


def run(
    subjects: Sequence[str | Subject] | None = None,
    *,
    only: Sequence[str] | None = None,
    modes: Sequence[Mode] = MODES,
    seed: int = 0,
    report: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    workers: int = WORKERS,
    service: str | None = None,
) -> DrillResult:
    """
    Rehearse failures and prove what comes of them.

    Args:
        subjects: Names that `known()` lists, `module:attribute` of a `Subject` of your own, or
            subjects; None for all that are installed.
        only: Ids of scenarios, such as "S54"; None for all. A part of the catalogue cannot prove
            that every exception is raised, so that is not asked then.
        modes: Which forms of the clients.
        seed: For the clients' dice.
        report: Where to write the HTML page.
        progress: Told after each rehearsal, in the calling thread.
        workers: Rehearsals at once; with a service that is not on this machine, four at most.
        service: The base URL of a subject's service that is not on this machine: whoever drills one
            has to say so.

    Raises:
        UsageError: a subject or a scenario is unknown, or nothing is left to run; or a service is not
            on this machine, and nobody said so.
    """
    began, clock = time.time(), time.monotonic()
    chosen = [load(s) if isinstance(s, str) else s for s in (known() if subjects is None else subjects)]
    plan = _plan(chosen, only, modes)
    result = DrillResult(seed=seed, began=began)
    with contextlib.ExitStack() as stack:
        services = {}
        for subject in chosen:
            url = services[subject.name] = stack.enter_context(subject.running())
            remote.refuse_a_stranger(subject.name, url, (service, subject.service_url))
        for logger in sorted({s.logger for s in chosen}):
            stack.enter_context(listening(logger))
        if not all(map(remote.is_here, services.values())):
            workers = min(workers, remote.AT_ONCE)
        rows = _rehearse_all(plan, services, seed, workers, progress)
        result.rows = [rows[i] for i in range(len(plan))]
    if set(modes) == set(MODES):
        for subject in chosen:
            _add_whole(result, subject, {s.id for who, s, _ in plan if who is subject})
    result.seconds = time.monotonic() - clock
    if report is not None:
        report.write_text(result.to_html(), encoding="utf-8")
    return result


def planned(
    subjects: Sequence[str | Subject] | None = None, *, only: Sequence[str] | None = None
) -> list[tuple[Subject, list[Scenario]]]:
    """
    What `run` would rehearse with each subject; nothing is started.

    Args:
        subjects: As for `run`.
        only: As for `run`.

    Raises:
        UsageError: a subject or a scenario is unknown.
    """
    chosen = [load(s) if isinstance(s, str) else s for s in (known() if subjects is None else subjects)]
    everything = {s.name: catalogue(s) for s in chosen}
    if only is not None:
        everything = _only(everything, only)
    return [(s, everything[s.name]) for s in chosen]


def _add_whole(result: DrillResult, subject: Subject, ran: set[str]) -> None:
    """What all rehearsals of `subject` prove together, if all of them were run."""
    listed = catalogue(subject)
    if ran < {s.id for s in listed if not s.whole}:
        return
    covered = coverage(subject, result.rows)
    result.coverage += covered
    theirs = [r for r in result.rows if r.subject == subject.name]
    result.rows += whole.rows(subject, [s for s in listed if s.whole], theirs, covered)


Rehearsal = tuple[Subject, Scenario, Mode]


def _plan(chosen: Sequence[Subject], only: Sequence[str] | None, modes: Sequence[Mode]) -> list[Rehearsal]:
    """Everything that is to be run, in order."""
    everything = {s.name: catalogue(s) for s in chosen}
    if only is not None:
        everything = _only(everything, only)
    plan: list[Rehearsal] = [
        (subject, scenario, mode)
        for subject in chosen
        for scenario in everything[subject.name]
        for mode in scenario.modes or subject.modes
        if mode in modes and mode in subject.modes and not scenario.whole
    ]
    if not plan:
        raise UsageError(
            "there is nothing to rehearse: install an SDK and failwell-sandbox, or name a subject"
        )
    return plan


def _only(everything: dict[str, list[Scenario]], names: Sequence[str]) -> dict[str, list[Scenario]]:
    """Those that are called by `names`, in the catalogue's order."""
    all_known = [s for listed in everything.values() for s in listed]
    if missing := [n for n in names if not called(n, all_known)]:
        ids = ", ".join(dict.fromkeys(s.id.partition("-")[0] for s in all_known))
        raise UsageError(f"no scenario is called {', '.join(missing)}; there are {ids}")
    chosen = {}
    for subject, listed in everything.items():
        meant = {s.id for name in names for s in called(name, listed)}
        # What is about all of them takes all of them.
        wanted = {s.id for s in listed} if any(s.whole and s.id in meant for s in listed) else meant
        chosen[subject] = [s for s in listed if s.id in wanted]
    return chosen


def _rehearse_all(
    plan: Sequence[Rehearsal],
    services: dict[str, str],
    seed: int,
    workers: int,
    progress: Callable[[Progress], None] | None,
) -> dict[int, Row]:
    tell = progress or (lambda _: None)
    tell(Progress(0, len(plan)))
    rows: dict[int, Row] = {}

    def finished(index: int, row: Row) -> None:
        rows[index] = row
        tell(Progress(len(rows), len(plan), row))

    alone = {i for i, (subject, scenario, _) in enumerate(plan) if _is_alone(subject, scenario)}
    together = [i for i in _longest_first(plan) if i not in alone]
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="drill") as pool:
        futures = {pool.submit(_one, plan[i], services, seed): i for i in together}
        try:
            for future in as_completed(futures):
                finished(futures[future], future.result())
        except BaseException:  # Ctrl-C: what has not begun is not begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for i in sorted(alone):
        finished(i, _one(plan[i], services, seed))
    return rows


def _is_alone(subject: Subject, scenario: Scenario) -> bool:
    """Whether it comes after all others: it would keep them from a service, or the model from a core."""
    return scenario.model is not None or (scenario.alone and subject.apart() is None)


def _judged(subject: Subject, scenario: Scenario, mode: Mode, services: dict[str, str], seed: int) -> Row:
    if scenario.model is not None:
        return played(subject, scenario, scenario.model, services[subject.name], seed)
    apart = _with_its_own_service(subject, scenario)
    if apart is None:
        evidence = rehearse(subject, scenario, mode, services[subject.name], seed=seed)
    else:
        with apart.running() as service:
            # What is arranged has to be that service's, so the scenario is taken from its subject.
            theirs = next(s for s in catalogue(apart) if s.id == scenario.id)
            evidence = rehearse(apart, theirs, mode, service, seed=seed)
    return subject.judged(scenario, mode, evidence) or judge(subject, scenario, mode, evidence)


def _with_its_own_service(subject: Subject, scenario: Scenario) -> Subject | None:
    if scenario.crashes:
        return subject.mortal()
    return subject.apart() if scenario.alone else None


def _longest_first(plan: Sequence[Rehearsal]) -> list[int]:
    """Rehearsals that wait for seconds first, so that none of them is left alone at the end."""
    return sorted(range(len(plan)), key=lambda i: -plan[i][1].lasts_about)


def _one(rehearsal: Rehearsal, services: dict[str, str], seed: int) -> Row:
    subject, scenario, mode = rehearsal
    elsewhere = not remote.is_here(services[subject.name])
    if why := scenario.missing or subject.unfit(scenario) or (remote.left_out(scenario) if elsewhere else ""):
        return Row(subject.name, mode, scenario, Verdict.SKIPPED, notes=[why])
    began = time.monotonic()
    try:
        row = _judged(subject, scenario, mode, services, seed)
    except Exception as exc:  # noqa: BLE001 - one rehearsal that breaks is not the end of the others
        told = Finding("FD-drill", f"the rehearsal broke: {type(exc).__name__}: {exc}")
        row = Row(subject.name, mode, scenario, Verdict.FAIL, [told], repeat=repeat(subject, scenario))
    row.seconds = time.monotonic() - began
    # The command has to repeat this one, in this form, with these dice.
    row.repeat += f"{f' --form {mode}' if mode in MODES else ''} --seed {seed}"
    return row
