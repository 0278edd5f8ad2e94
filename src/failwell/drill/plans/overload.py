"""S47 to S53: a circuit over the wire, and circuit, budget and waits of many clients in the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from failwell.drill import faults
from failwell.drill.faults import Schedule, always, once
from failwell.drill.overload import Bound, Circuit, Model, Phase, Play
from failwell.drill.plan import READ, Expect, Scenario
from failwell.drill.subject import Settings, Subject
from failwell.drill.witness import MAIN
from failwell.storm.world import World

# What opens the circuit is the SDK's own; long enough for many callers on a busy machine.
LONG = Settings(attempts=1, circuit=Circuit(open_for=30.0))
OPEN_FOR, GROWTH = 2.0, 1.5
QUICK = Settings(attempts=1, circuit=Circuit(open_for=OPEN_FOR))
# Callers that wait look again within a second; the rest is for a busy machine.
PATIENT_OPEN_FOR = 4.0
PATIENT = Settings(
    attempts=1, connect=60.0, read=60.0, deadline=90.0, circuit=Circuit(open_for=PATIENT_OPEN_FOR, wait=60.0)
)
CROWD, LARGE_CROWD = 50, 200
# A pause is over a little later than it was said, never earlier.
LATER = 0.05


def circuits(subject: Subject) -> Iterator[Scenario]:
    """S48, S49: an outage opens the circuit after the documented count, and one probe closes it."""
    if subject.opens_after is None:
        return
    count = subject.opens_after
    for name, fault, on_the_wire in (
        ("503", faults.answer(503), True),
        ("refused", faults.refuse(), False),
    ):
        tries = (None, None) if on_the_wire else (count - 1, 1)
        yield _about(
            f"S48-{name}",
            f"{count} calls meet an outage ({fault.name}): the circuit is open, and nothing more is sent",
            LONG,
            Phase("before", count - 1, always(fault), failed=count - 1, tries=tries[0]),
            Phase("the last", 1, always(fault), failed=1, tries=tries[1]),
            Phase(MAIN, 20, at_once=True, refused=20, tries=0),
        )
    outage = Phase("outage", count, always(faults.answer(503)), failed=count)
    slow = once(faults.drip(0.5, 2))
    recovered = Phase(MAIN, CROWD, slow, at_once=True, answered=1, refused=1, probes=True)
    yield _about(
        "S49-recovers",
        f"The service is back: of {CROWD} callers at once, one probes for all",
        QUICK,
        outage,
        _later(recovered, OPEN_FOR),
    )
    yield _about(
        "S49-failed-probe",
        "The probe fails: the circuit is open for longer, and then one probes again",
        QUICK,
        outage,
        Phase("probe", CROWD, always(faults.answer(503)), at_once=True, pause=OPEN_FOR + LATER, failed=1,
              refused=CROWD - 1),
        Phase("again", 5, refused=5, tries=0, longer_than=OPEN_FOR * GROWTH),
        _later(recovered, OPEN_FOR * GROWTH),
    )  # fmt: skip
    yield _about(
        "S49-waiting",
        f"{LARGE_CROWD} callers wait for the circuit: one probes, all come within one pause after it",
        PATIENT,
        outage,
        Phase(MAIN, LARGE_CROWD, slow, at_once=True, answered=LARGE_CROWD, probes=True,
              served_within=PATIENT_OPEN_FOR),
    )  # fmt: skip


def _later(phase: Phase, seconds: float) -> Phase:
    return replace(phase, pause=seconds + LATER)


def _about(name: str, title: str, settings: Settings, *phases: Phase) -> Scenario:
    return Scenario(name, title, READ, Schedule(), Expect(), settings, phases=phases)


# --- the model ----------------------------------------------------------------------------------

# Ten clients of four calls a second each: what one of them sees in its window is enough to judge by.
KEYS_WORLD = World(load=0.85, capacity=50.0, clients=10, outage=60.0, after=5.0)
# A hundred clients of four calls a second each.
OUTAGE_WORLD = World(load=0.9, capacity=400 / 0.9, clients=100, trigger="refuse", begins=2.0, outage=60.0,
                     after=5.0)  # fmt: skip
LOADS = {"0.5 C": 0.5, "0.85 C": 0.85, "0.933 C": 0.933}
NESTED_WORLD = World(load=0.85, capacity=50.0, clients=10, trigger="refuse", begins=2.0, outage=20.0,
                     after=5.0)  # fmt: skip


def modelled(subject: Subject) -> Iterator[Scenario]:
    """S47, S50 to S53, with the policies of `subject`'s own client."""
    if not subject.is_failwell:
        return
    hotos = tuple((name, World(load=load, capacity=50.0, clients=10)) for name, load in LOADS.items())
    keys = (("one key", KEYS_WORLD),)
    plays = [
        ("S47-host", "One of ten keys fails: calls about the other nine go on", Model(
            Play.KEYS, (Bound("of the nine refused", most=0.1),), keys)),
        ("S50", "An outage of 60 s meets 100 clients: retries stop", Model(
            Play.STORM,
            (Bound("outage: requests for each call", most=1.1),
             Bound("outage: in its last 10 s", most=1.0)),
            (("outage", OUTAGE_WORLD),))),
        ("S51-multiplied", "10 s without answers, at three loads: nothing is multiplied afterwards", Model(
            Play.STORM, tuple(Bound(f"{name}: after it", most=1.05) for name in LOADS), hotos, runs=3)),
        ("S51-recovery", "10 s without answers, at three loads: back as soon as without retries", Model(
            Play.STORM,
            tuple(Bound(f"{name}: back after", than=f"{name}: back without retries") for name in LOADS),
            hotos, runs=3)),
        ("S52", "A layer of the same client behind another: tries are not multiplied", Model(
            Play.NESTED, (Bound("most requests for one call", than="tries of one layer"),),
            (("layers", NESTED_WORLD),))),
        ("S53", "1,000 clients are reset at once: they do not come back at once", Model(
            Play.RESET, (Bound("most for the mean", most=3.0),), clients=1000)),
    ]  # fmt: skip
    if subject.opens_after is not None:
        plays.insert(1, (
            "S47-scoped", "One of ten keys fails, each key is a scope of its own: it alone is refused",
            Model(Play.KEYS, (Bound("of the nine refused", most=0.0),
                              Bound("of the tenth refused", least=0.1)), keys, scoped=True)))  # fmt: skip
    for name, title, model in plays:
        yield Scenario(name, title, READ, Schedule(), Expect(), modes=("sync",), model=model)
