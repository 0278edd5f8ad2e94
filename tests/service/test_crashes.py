"""
Processes are killed between claim and answer, and the effects counted; docs/service-crashes.md
says what is promised.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from broken_stores import ForgetsSteps, NeverLetsGo, RecordAfterTheEffect, TakesItsTime, TakesOverRegardless
from opened_stores import KINDS, LEVELS, fresh, opens_sqlite, shared
from write_crashes import PAGE

from failwell.service import SQLiteStore, conformance
from failwell.service.conformance import __main__ as command
from failwell.service.conformance import crashes, forks, shop, trial
from failwell.service.conformance import storm as storms
from failwell.service.conformance.crashes import POINTS, Outcome, Point, scatter, sweep
from failwell.service.conformance.report import page
from failwell.service.conformance.shop import Case, Fuse, Payments, Place, Seen, Shop
from failwell.service.conformance.storm import Storm, storm

NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "redis": "Redis"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_process_leaves_the_promised_effects(kind: str) -> None:
    """Every point, every level: no effect too many, none too few, and no key that stays held."""
    outcomes = sweep(fresh(kind))

    assert [] == [outcome for outcome in outcomes if outcome.faults]
    assert [p for p in POINTS if p.level in LEVELS[kind]] == [outcome.point for outcome in outcomes]
    assert [_promised(outcome.point) for outcome in outcomes] == outcomes


@pytest.mark.parametrize(("kind", "level"), [(kind, level) for kind in KINDS for level in LEVELS[kind]])
def test_many_calls_with_one_key_have_one_effect(kind: str, level: Any) -> None:
    """200 over 4 processes: answered with it, all alike, or told that another is at work."""
    seen = storm(shared(kind), level)

    assert [] == seen.others
    assert _effects_of(level) == len(seen.effects)
    assert 200 == seen.answered + seen.in_flight
    assert seen.answered >= 1


@pytest.mark.parametrize("kind", KINDS)
def test_calls_that_wait_for_each_other_are_all_answered(kind: str) -> None:
    """Nobody is told of a conflict who has the time to wait for the answer."""
    seen = storm(shared(kind), LEVELS[kind][0], calls=80, wait=60.0)

    assert (80, 0, []) == (seen.answered, seen.in_flight, seen.others)


def test_the_page_says_what_is_promised() -> None:
    """And the sweep above holds the stores to it, so that the page is what was seen."""
    outcomes = {
        NAMES[kind]: [_promised(point) for point in POINTS if point.level in LEVELS[kind]] for kind in KINDS
    }
    found: list[Any] = [
        (NAMES[kind], level, _calm(_effects_of(level))) for kind in KINDS for level in LEVELS[kind]
    ]

    assert page(outcomes, found) == PAGE.read_text("utf-8"), (
        "run `python tests/service/write_crashes.py`, and look at what it changed"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_may_die_at_any_moment(kind: str) -> None:
    """Not only where somebody thought of it: each a little later than the one before."""
    outcomes = scatter(fresh(kind), LEVELS[kind][0], kills=16, apart=0.003)

    assert [] == [outcome for outcome in outcomes if outcome.faults]


def test_an_unknown_outcome_is_what_death_at_any_moment_may_leave(tmp_path: Path) -> None:
    """At level at_most_once; nothing else is, and it can be settled."""
    slow = partial(opens_sqlite, tmp_path / "store.db", kind=TakesItsTime)
    (outcome,) = scatter(slow, "at_most_once", kills=1, apart=0.3)

    assert ((), 0, crashes.UNKNOWN, 0, 1) == (
        outcome.faults,
        outcome.before,
        outcome.seen,
        outcome.effects,
        outcome.settled,
    )


def _promised(point: Point) -> Outcome:
    settled = 1 if point.seen == crashes.UNKNOWN else None
    return Outcome(point, point.before, point.seen, point.effects, point.asked or 0, settled, ())


def _effects_of(level: str) -> int:
    return 2 if level == "resumable" else 1


def _calm(effects: int) -> Storm:
    proofs = tuple(map(str, range(effects)))
    return Storm((Seen(201, "", True, " ".join(proofs)),) * 200, proofs)


# --- a sweep that cannot fail would prove nothing ---


def _points(level: str, *killed: str) -> list[Point]:
    found = [point for point in POINTS if point.level == level and point.killed in killed]
    assert len(found) == len(killed)
    return found


@pytest.mark.parametrize(
    ("kind", "points", "fault"),
    [
        (
            RecordAfterTheEffect,
            _points("transactional", "in the transaction, after effect, debit and record"),
            "2 effects, not 1",
        ),
        (ForgetsSteps, _points("resumable", "after the first step is kept"), "was asked 3 times"),
        (TakesOverRegardless, _points("at_most_once", "after the effect"), "2 effects, not 1"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_store_that_loses_its_head_in_a_crash_is_noticed(
    kind: type[SQLiteStore], points: list[Point], fault: str, tmp_path: Path
) -> None:
    (outcome,) = sweep(partial(opens_sqlite, tmp_path / "store.db", kind=kind), points)

    assert fault in " ".join(outcome.faults)
    assert f"**{outcome.effects}**: " in page({"Broken": [outcome]}, [])


def test_a_key_that_stays_held_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the client that repeats its request, and by a second process that was to be killed."""
    monkeypatch.setattr(crashes, "STUCK", 0.5)
    points = _points(
        "transactional",
        "in a handler that takes long, after its claim",
        "twice: after the claim, and after the commit of who took over",
    )
    first, second = sweep(partial(opens_sqlite, tmp_path / "store.db", kind=NeverLetsGo), points)

    assert "the client sees 409 idempotency_in_flight, not 201" in first.faults
    assert "its key was held for 0.5 s by the dead" in second.faults


def test_a_process_that_was_not_killed_is_noticed(tmp_path: Path) -> None:
    """A place that is never reached proves nothing."""
    points = [Point("at_most_once", "nowhere", ((shop.request, "no such place"),), 1, "201 replayed", 1, 1)]
    (outcome,) = sweep(partial(opens_sqlite, tmp_path / "store.db"), points)

    assert "it did not end as told, 'no such place'" in outcome.faults[0]


def test_a_call_that_sees_something_else_is_noticed() -> None:
    """An error, or an answer that is not the effect's."""
    seen = Storm(
        (Seen(201, "", False, "1"), Seen(201, "", True, "2"), Seen(500, "internal_error", False, "")), ("1",)
    )

    assert (1, 0) == (seen.answered, seen.in_flight)
    assert ["201 replayed", "500 internal_error"] == [str(one) for one in seen.others]


# --- the processes ---


def _work(how: str) -> Any:
    forks.meet()
    match how:
        case "raise":
            raise ZeroDivisionError("by intent")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "unspeakable":
            return lambda: None
    return how, os.getpid()


def test_it_is_told_how_a_process_ended() -> None:
    """A result, an exception, a signal; and all of them ran at the same time, in processes of their own."""
    with forks.Processes() as processes:
        fine, raised, died = processes.run([(_work, (how,)) for how in ("fine", "raise", "die")])
        again = processes.returned([(_work, ("fine",))])

    assert ("fine", 0) == (fine.result[0], fine.signal)
    assert len({fine.result[1], again[0][1], os.getpid()}) == 3
    assert "ZeroDivisionError: by intent" in raised.error
    assert (signal.SIGKILL, None) == (died.signal, died.result)


@pytest.mark.parametrize(("how", "told"), [("raise", "ZeroDivisionError"), ("die", "signal 9")])
def test_a_job_that_did_not_return_is_an_error_where_a_result_is_wanted(how: str, told: str) -> None:
    with forks.Processes() as processes, pytest.raises(RuntimeError, match=told):
        processes.returned([(_work, (how,))])


def test_a_helper_that_ends_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    """Such as when a job cannot be read by it."""
    with forks.Processes() as processes, pytest.raises(RuntimeError, match="ended"):
        processes.run([(_Unreadable(), ())])
    assert "cannot be read" in capfd.readouterr().err


class _Unreadable:
    def __reduce__(self) -> Any:
        return _unreadable, ()

    def __call__(self) -> None:
        raise AssertionError


def _unreadable() -> None:
    raise ValueError("cannot be read")


def test_what_a_fork_does_here_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says when it meets the others, then how it ended, and goes no further."""

    class Gone(BaseException):
        pass

    def leave(_status: int) -> None:
        raise Gone

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(forks, "_meeting", None)
    for how, told in (("fine", b"fine"), ("raise", b"by intent"), ("unspeakable", b"pickle")):
        said, say = os.pipe()
        until, go = os.pipe()
        os.close(go)
        try:
            with pytest.raises(Gone):
                forks._be_forked((_work, (how,)), say, until)
        finally:
            signal.alarm(0)
        os.close(until)
        with os.fdopen(said, "rb") as saying:
            assert b".=" == saying.read(2)
            assert told in saying.read()


def test_the_callers_of_a_storm_here_without_it(tmp_path: Path) -> None:
    """All of a worker's calls wait for the first, and an operator has nothing to settle."""
    place = Place(partial(opens_sqlite, tmp_path / "store.db"), str(tmp_path / "payments.db"), 30.0)
    case = Case("at_most_once", "alone")
    Payments(place.payments).open()
    asyncio.run(storms._prepare(place, case))
    first, *others = storms._calls(place, case, 3, wait=60.0)

    assert ["201", "201 replayed", "201 replayed"] == [str(seen) for seen in (first, *others)]
    assert {first.proof} == {seen.proof for seen in others}
    assert not shop.settle(place, case, "")
    assert "201 replayed" == str(shop.request_within(place, case, "30.0"))


@pytest.mark.parametrize("place", ["before claim", "after renew", "before release"])
def test_a_fuse_kills_where_it_is_told_to(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a signal that no process can catch; here one that can be looked at."""
    killed: list[tuple[int, int]] = []

    class Gone(BaseException):
        pass

    def kill(pid: int, number: int) -> None:
        killed.append((pid, number))
        # The heartbeat is a task of its own, whose end nobody looks at.
        raise asyncio.CancelledError if place == "after renew" else Gone

    monkeypatch.setattr(os, "kill", kill)
    where = Place(partial(opens_sqlite, tmp_path / "store.db"), str(tmp_path / "payments.db"), 0.3)
    case = Case("at_most_once", "alone")
    asyncio.run(storms._prepare(where, case))
    if place == "after renew":
        asyncio.run(_ask_until(killed, where, case, place))
    else:
        with pytest.raises(Gone):
            shop.request(where, case, place)

    assert (os.getpid(), signal.SIGKILL) == killed[0]


async def _ask_until(killed: list[tuple[int, int]], where: Place, case: Case, place: str) -> None:
    """The heartbeat is a task of its own, and the request waits for ever for its signal."""
    shop = Shop(where, Fuse(place))
    asking = asyncio.create_task(shop.ask(case))
    while not killed:
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await shop.store.aclose()


# --- the command line ---


def test_the_command_says_what_it_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It writes the page, finds it again, and says so if it differs; 1 is the status of what is wrong."""
    points = tuple(_points("at_most_once", "after the claim"))
    monkeypatch.setattr(crashes, "POINTS", points)
    monkeypatch.setattr(conformance, "checks", lambda *_, **__: trial.ALL[:2])
    monkeypatch.setattr(command, "storm", lambda *_: _calm(1))
    url, written = f"sqlite:///{tmp_path}/store.db", tmp_path / "page.md"

    assert 0 == command.main([url, "--write", str(written)])
    assert 0 == command.main([url, "--check", str(written)])
    assert 0 == command.main([url])
    assert written.read_text("utf-8") + "\n" == capsys.readouterr().out
    assert "| SQLite | `resumable` | 200 | 1 | 200 | 0 |" in written.read_text("utf-8")

    written.write_text("something else", "utf-8")
    assert 1 == command.main([url, "--check", str(written)])
    assert "does not say what was seen" in capsys.readouterr().err


def test_the_command_can_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `python -m` runs it: what it sends to other processes is found there."""
    monkeypatch.setattr(crashes, "POINTS", tuple(_points("at_most_once", "after the claim")))
    monkeypatch.setattr(conformance, "checks", lambda *_, **__: trial.ALL[:2])
    monkeypatch.setattr(command, "storm", lambda *_: _calm(1))
    monkeypatch.setattr(sys, "argv", ["conformance", f"sqlite:///{tmp_path}/store.db"])

    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(command.__file__), run_name="__main__")
    assert 0 == ended.value.code
    assert "SQLite" in capsys.readouterr().out


def test_the_command_names_the_promises_that_are_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [check for check in conformance.checks() if check.name.startswith("steps_")]
    monkeypatch.setattr(conformance, "checks", lambda *_, **__: steps)
    monkeypatch.setattr(command, "sweep", lambda _: [])
    monkeypatch.setattr(command, "storm", lambda *_: _calm(1))
    monkeypatch.setattr(command, "open_store", lambda _, **facts: _broken(tmp_path, **facts))

    assert 1 == command.main(["sqlite:///any.db"])
    assert "ForgetsSteps breaks a promise, steps_come_with_a_takeover: " in capsys.readouterr().err


def _broken(folder: Path, **facts: Any) -> SQLiteStore:
    return ForgetsSteps(folder / "store.db", **facts)
