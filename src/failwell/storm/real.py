"""
One real run, to hold the model against: many clients in several processes, a service with limited
capacity in another, real sockets and real time; and the model with the same numbers beside it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from time import monotonic
from typing import TYPE_CHECKING

from failwell.errors import UsageError
from failwell.storm.crowd import calls
from failwell.storm.limited import WORKERS
from failwell.storm.results import Row, named
from failwell.storm.simulation import Run, simulate
from failwell.storm.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Self

# What a small machine carries: 40 calls in a second, and four times as many when all of them retry.
REAL_WORLD = World(load=0.8, capacity=50.0, clients=20, begins=10.0, outage=8.0, after=42.0)
REAL_POLICIES = ("no retries", "jitter", "failwell")

# Processes that clients are spread over.
PROCESSES = 4
# Seconds from when all are ready until the world begins.
AHEAD = 0.5
# Seconds behind the end of the world after which processes that say nothing are killed.
PATIENCE = 60.0
# Seconds that calls are put together over, for the comparison: single seconds are mostly chance.
TOGETHER = 5


@dataclass(frozen=True, slots=True)
class Measured:
    """
    What happened to real clients.

    Attributes:
        run: Second by second, as the clients saw it.
        sent: Attempts that the clients report, also those behind the end of the world.
        seen: Requests that the service saw: as many, unless connections were refused.
        late: Seconds: the most that a call began, or an answer left, behind its time, because the machine
            was busy. What is a good part of the clients' timeout makes the run worth nothing.
        unfinished: Calls that had no end 30 s after the last had begun.
    """

    run: Run
    sent: int
    seen: int
    late: float
    unfinished: int


@dataclass(frozen=True, slots=True)
class Pair:
    """
    A policy as it is and as the model has it.

    Attributes:
        measured: What happened.
        model: What the model says of the very same calls, for a number of seeds of the clients' dice.
    """

    measured: Measured
    model: Row

    @property
    def deviation(self) -> float:
        """
        How far the model is off: the part of calls that were answered, measured and modelled, of each
        five seconds; the mean of what lies between them, 0.0 for none and 1.0 for all.
        """
        real, model = self.measured.run, self.model
        starts = range(0, real.world.seconds - TOGETHER + 1, TOGETHER)
        gaps = [
            abs(_share(real, start) - sum(_share(each, start) for each in model.runs) / len(model.runs))
            for start in starts
        ]
        return sum(gaps) / max(1, len(gaps))

    def to_dict(self) -> dict[str, Any]:
        """Both, as JSON has them."""
        real = self.measured
        return {
            "policy": self.model.policy.name,
            "measured": Row(self.model.policy, (real.run,)).to_dict()
            | {
                "attempts": real.sent,
                "seen": real.seen,
                "late": round(real.late, 4),
                "unfinished": real.unfinished,
            },
            "model": self.model.to_dict(),
            "deviation": round(self.deviation, 4),
        }


def _share(ran: Run, start: int) -> float:
    span = slice(start, start + TOGETHER)
    return sum(ran.answered[span]) / max(1, sum(ran.calls[span]))


@dataclass(frozen=True, slots=True)
class RealResult:
    """
    What came of all of them.

    Attributes:
        world: What was done, and simulated.
        seed: Of when calls began.
        seeds: Runs of the model.
        pairs: One for each policy.
    """

    world: World
    seed: int
    seeds: int
    pairs: tuple[Pair, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "world": asdict(self.world),
            "seed": self.seed,
            "model_seeds": self.seeds,
            "workers": WORKERS,
            "processes": PROCESSES,
            "pairs": [pair.to_dict() for pair in self.pairs],
        }


def run_real(
    world: World = REAL_WORLD,
    *,
    policies: Sequence[str] = REAL_POLICIES,
    seed: int = 1,
    seeds: int = 20,
    processes: int = PROCESSES,
    progress: Callable[[str, float], object] | None = None,
) -> RealResult:
    """
    Do it, and simulate it. Takes as long as the world, for each policy.

    Args:
        world: What is done.
        policies: Names of what clients do: some of `REAL_POLICIES`.
        seed: Of when calls begin.
        seeds: Runs of the model.
        processes: To spread the clients over.
        progress: Called now and then with what is run and the part that is over, from 0 to 1.

    Raises:
        UsageError: there are no real clients with such a policy.
        RuntimeError: one of the processes ended before its time.
    """
    known = {name.lower(): name for name in REAL_POLICIES}
    for name in policies:
        if name.lower() not in known:
            raise UsageError(
                f"there are no real clients with the policy {name!r}; there are {', '.join(REAL_POLICIES)}"
            )
    names = [known[name.lower()] for name in policies]
    pairs = []
    for place, name in enumerate(names):

        def tell(part: float, name: str = name, place: int = place) -> None:
            if progress is not None:
                progress(name, (place + part) / len(names))

        measured = measure(world, name, seed=seed, processes=processes, progress=tell)
        pairs.append(Pair(measured, modelled(world, name, seed=seed, seeds=seeds)))
    return RealResult(world, seed, seeds, tuple(pairs))


def modelled(world: World, policy: str, *, seed: int, seeds: int) -> Row:
    """
    The model of what `measure` does: the same calls at the same moments by the same clients.

    Args:
        world: What is simulated.
        policy: Of all clients.
        seed: Of when calls begin.
        seeds: Runs; they differ in the dice of the clients.
    """
    (made,) = named([policy])
    same = calls(world, seed)
    return Row(made, tuple(simulate(world, made, seed=dice, calls=same) for dice in range(seeds)))


def measure(
    world: World,
    policy: str,
    *,
    seed: int,
    processes: int = PROCESSES,
    progress: Callable[[float], object] | None = None,
    known: Callable[[Helper], object] = lambda helper: None,
) -> Measured:
    """
    Let real clients call a real service, once.

    All processes that this starts have ended when it returns or raises, Ctrl-C included; should this
    process be killed, they end by themselves.

    Args:
        world: What is done.
        policy: Of all clients; one of `REAL_POLICIES`.
        seed: Of when calls begin.
        processes: To spread the clients over.
        progress: Called about each second with the part that is over, from 0 to 1.
        known: Called with each process that is started.

    Raises:
        RuntimeError: one of them ended before its time.
    """
    facts = {"world": asdict(world)}
    with _Helpers(world.seconds + PATIENCE, known) as helpers:
        service = helpers.start("failwell.storm.limited", facts)
        told = facts | {"policy": policy, "seed": seed, "port": service.heard()["port"], "parts": processes}
        crowds = [helpers.start("failwell.storm.crowd", told | {"part": n}) for n in range(processes)]
        for crowd in crowds:
            crowd.heard()
        began = {"began": monotonic() + AHEAD}
        for each in (service, *crowds):
            each.tell(began)
        found = [crowd.result(progress) for crowd in crowds]
        service.tell(None)
        seen = service.heard()
    added = ([sum(second) for second in zip(*(f[name] for f in found), strict=True)] for name in _SECONDS)
    return Measured(
        Run(world, *added),
        sum(f["sent"] for f in found),
        seen["seen"],
        max(seen["late"], *(f["late"] for f in found)),
        sum(f["unfinished"] for f in found),
    )


_SECONDS = ("calls", "answered", "attempts")


class Helper:
    """A process that is told lines of JSON and says some."""

    def __init__(self, module: str, facts: dict[str, Any]) -> None:
        # In a session of its own, so that Ctrl-C reaches this process alone, which ends the others.
        self.process = subprocess.Popen(  # noqa: S603  # our own module, run by our own interpreter
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._module = module
        self.tell(facts)

    def tell(self, facts: dict[str, Any] | None) -> None:
        """Write a line; None for the end."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it ended; whoever listens to it next is told so
            if facts is not None:
                self.process.stdin.write(json.dumps(facts) + "\n")
                self.process.stdin.flush()
            else:
                self.process.stdin.close()

    def heard(self) -> dict[str, Any]:
        """
        The next line.

        Raises:
            RuntimeError: it ended.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} ended with {self.process.wait()} before its time")
        said: dict[str, Any] = json.loads(line)
        return said

    def result(self, progress: Callable[[float], object] | None) -> dict[str, Any]:
        """The first line that is more than how far it is."""
        while "part" in (said := self.heard()):
            if progress is not None:
                progress(said["part"])
        return said

    def end(self) -> None:
        """Let nothing of it remain."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # what was to be written is for nobody any more
                    pipe.close()


class _Helpers:
    """All processes of one run; none outlives it."""

    def __init__(self, most: float, known: Callable[[Helper], object] = lambda helper: None) -> None:
        self._helpers: list[Helper] = []
        self._known = known
        # Who says nothing any more is not waited for.
        self._guard = threading.Timer(most, self._end)
        self._guard.daemon = True

    def start(self, module: str, facts: dict[str, Any]) -> Helper:
        helper = Helper(module, facts)
        self._helpers.append(helper)
        self._known(helper)
        return helper

    def _end(self) -> None:
        for helper in self._helpers:
            helper.process.kill()

    def __enter__(self) -> Self:
        self._guard.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.cancel()
        for helper in self._helpers:
            helper.end()
