"""Carry one scenario out over real sockets and write down what the three witnesses say."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import json
import logging
import pickle
import random
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any

from failwell.drill import attributes, certificates, circuits, stalls
from failwell.drill.faults import Moment, Schedule
from failwell.drill.plan import CERTIFICATES, Scenario
from failwell.drill.proxy import FaultProxy
from failwell.drill.subject import PART_BYTES, USUAL_DEADLINE, Call, Kind, Mode, Subject, content_of
from failwell.drill.witness import MAIN, ClientWitness, Evidence, LedgerWitness
from failwell.errors import Error
from failwell.failure import Attempt
from failwell.telemetry import Event
from failwell.telemetry import Kind as EventKind

# A client that has not come back by then never will: most scenarios' deadlines are far below.
HANGS_AFTER = 40.0
ENDS_AFTER = 10.0  # for a client that has already returned to end its connections
IDLE_SECONDS = 0.05
# How often a call afterwards is tried: a deadline that was to pass is short for a busy machine, too.
AFTERWARDS = 5
AFTER_FAILED = "the call after it failed"


def rehearse(subject: Subject, scenario: Scenario, mode: Mode, service: str, *, seed: int = 0) -> Evidence:
    """
    Run `scenario` once with the `mode` form of `subject`'s client.

    Args:
        subject: The client library under test.
        scenario: What to do and what goes wrong.
        mode: "sync" or "async".
        service: The base URL of the subject's service.
        seed: For the client's dice; also part of the markers, so that a repeated run is the same.
    """
    stamp = f"drill-{scenario.id}-{mode}-{seed}-{time.time_ns():x}"
    main = Call(scenario.kind, stamp)
    steps = [Call(s.kind, f"{stamp}-before-{i}") for i, s in enumerate(scenario.before, 1)]
    if scenario.crowd > 1 or any(s.same_key or s.same_call for s in scenario.before):
        main = replace(main, key=f"{stamp}-key")
        steps = [main if s.same_call else replace(c, key=main.key if s.same_key else None)
                 for c, s in zip(steps, scenario.before, strict=True)]  # fmt: skip
    client = ClientWitness()
    arrange = scenario.cause.arrange if scenario.cause is not None else None
    with (
        stalls.watched(),
        FaultProxy(
            service,
            idempotency_header=subject.contract.idempotency_header,
            count_effects=lambda: _count(subject, stamp),
            secrets=subject.secrets,
            crash=subject.crash,
            step_of=subject.step_of,
            forget=lambda: subject.forget(stamp),
        ) as proxy,
    ):
        with contextlib.ExitStack() as arranged:
            if arrange is not None:
                arranged.enter_context(arrange())
            play = _Play(subject, scenario, mode, proxy, steps, main, seed, client)
            thread = threading.Thread(target=play.run, name=stamp, daemon=True)
            thread.start()
            gives_up = HANGS_AFTER * max(1.0, scenario.settings.deadline / USUAL_DEADLINE)
            if scenario.cause is not None and scenario.cause.until:
                proxy.wait_passed_on(
                    MAIN, scenario.cause.until, gives_up, or_until=lambda: not thread.is_alive()
                )
                arranged.close()
            thread.join(gives_up)
        settled = proxy.settle()
        ledger = LedgerWitness(
            ids=_ids(subject, stamp), before=tuple(_ids(subject, c.marker) for c in steps), settled=settled
        )
        if scenario.kind is Kind.STREAM:
            told = subject.stream_of(stamp)
            ledger.stream = None if told is None else tuple(told)
            client.heard = tuple(main.heard)
        if scenario.kind is Kind.PART_UPLOAD:
            ledger.digest = subject.digest_of(stamp)
            client.digest = sha256(main.content).hexdigest()
        ended = time.monotonic() if client.ended is None else client.ended
        stalled = stalls.stalled(client.began, ended)
    return Evidence(client, proxy.journal, ledger, stalled)


def _ids(subject: Subject, marker: str) -> tuple[str, ...] | None:
    found = subject.ids_of(marker)
    return None if found is None else tuple(found)


def _count(subject: Subject, marker: str) -> int | None:
    found = subject.ids_of(marker)
    return None if found is None else len(found)


class _Play:
    """One thread's work: make the client, make the calls, take down what comes of them."""

    def __init__(
        self,
        subject: Subject,
        scenario: Scenario,
        mode: Mode,
        proxy: FaultProxy,
        steps: list[Call],
        main: Call,
        seed: int,
        witness: ClientWitness,
    ) -> None:
        self.subject, self.scenario, self.proxy = subject, scenario, proxy
        self.mode: Mode = mode
        self.steps, self.witness = steps, witness
        self.told: list[tuple[float, Event]] = []
        self.settings = replace(
            scenario.settings,
            keyed=scenario.kind is not Kind.PLAIN_WRITE,
            random=random.Random(f"{seed} {scenario.id}").random,  # noqa: S311 - repeatable on purpose
            listeners=(lambda event: self.told.append((time.monotonic(), event)),),
            verify=certificates.trusting() if _is_about_certificates(scenario) else True,
        )
        self.main = replace(main, settings=self.settings)
        self.key_name = "good" if scenario.cause is None else scenario.cause.key

    def run(self) -> None:
        with _captured_logs(self.subject.logger, self.witness.logs):
            try:
                if self.mode == "async":
                    asyncio.run(self._play())
                else:
                    _finish(self._play())
            except Exception as exc:  # noqa: BLE001 - whatever breaks here is a finding, not the end
                self.witness.trouble = f"{type(exc).__name__}: {exc}"

    async def _play(self) -> None:
        # The same coroutine serves the sync client: it never really waits there.
        self._leave()
        plans = [s.schedule for s in self.scenario.before]
        url = self.proxy.begin(*self._first(plans))
        client = self.subject.client(self.mode, url, self.settings, self.key_name)
        try:
            if self.scenario.phases:
                await self._phases(client)
                return
            for number, (step, plan) in enumerate(zip(self.steps, plans, strict=True), 1):
                if number > 1:
                    self.proxy.begin(f"before-{number}", plan)
                if self.scenario.before[number - 1].same_call:
                    await self._fail(url, step)
                    continue
                await self._awaited(self.subject.call(client, step))
                if any(fault.moment is Moment.IDLE for fault in plan.all):
                    self.proxy.wait_closed(f"before-{number}")
                    # Idle means that time passes: an event loop has to see the end of the connection.
                    await self._pass_time(IDLE_SECONDS)
            for step_of_cause in () if self.scenario.cause is None else self.scenario.cause.before:
                await self._awaited(step_of_cause(client, self.main))
            if self._comes_later:
                self.proxy.begin(MAIN, self.scenario.schedule)
            self.witness.logs.clear()
            self.told.clear()
            await self._main(client)
            await self._afterwards(client)
        finally:
            await self._awaited(self.subject.close(client))

    def _leave(self) -> None:
        """Have another program send some of the parts, if the scenario begins with that."""
        if not self.scenario.left:
            return
        other = content_of(f"not {self.main.marker}")
        parts = {}
        for number, is_same in self.scenario.left.items():
            content, at = self.main.content if is_same else other, (number - 1) * PART_BYTES
            parts[number] = content[at : at + PART_BYTES]
        self.subject.leave(self.main, parts)

    async def _fail(self, url: str, call: Call) -> None:
        """Make `call` with a client that sees no answer, and is gone then."""
        settings = replace(self.settings, attempts=1)
        client = self.subject.client(self.mode, url, settings, self.key_name)
        try:
            await self._awaited(self.subject.call(client, call))
        except self.subject.fails_with:
            return
        finally:
            await self._awaited(self.subject.close(client))
        raise _WrongFormError("the call that was to see no answer has got one")

    async def _phases(self, client: Any) -> None:
        """What many callers do with `client`, one phase after the other."""
        witness, refusals = self.witness, list[Exception]()
        witness.began = time.monotonic()
        for number, phase in enumerate(self.scenario.phases):
            self.told.clear()
            if number:
                self.proxy.begin(phase.name, phase.schedule)
            await self._pass_time(phase.pause)
            call = replace(self.main, marker=f"{self.main.marker}-{phase.name}")
            witness.phases[phase.name] = await circuits.callers(
                phase, partial(self.subject.call, client, call), awaiting=self.mode == "async", seen=refusals
            )
            waits = [when + e.seconds for when, e in self.told if e.kind is EventKind.WAITING]
            if waits:
                witness.woken[phase.name] = max(waits)
        witness.ended = time.monotonic()
        for error in refusals[-1:]:
            self._take_down(error)

    async def _pass_time(self, seconds: float) -> None:
        if self.mode == "async":
            await asyncio.sleep(seconds)
        else:
            time.sleep(seconds)  # noqa: ASYNC251 - there is no event loop in this form

    async def _awaited(self, value: Any) -> Any:
        if not inspect.isawaitable(value):
            return value
        if self.mode == "sync":
            getattr(value, "close", lambda: None)()
            raise _WrongFormError("the sync client gave back something that has to be awaited")
        return await value

    def _first(self, plans: list[Schedule]) -> tuple[str, Schedule]:
        for phase in self.scenario.phases:
            return phase.name, phase.schedule
        plans = plans or [Schedule()]
        return ("before-1", plans[0]) if self._comes_later else (MAIN, self.scenario.schedule)

    @property
    def _comes_later(self) -> bool:
        """Whether other calls come before the one the scenario is about."""
        cause = self.scenario.cause
        return bool(self.scenario.before or (cause is not None and cause.before))

    async def _main(self, client: Any) -> None:
        witness, cause = self.witness, self.scenario.cause
        make = self.subject.call if cause is None else cause.call
        witness.began = time.monotonic()
        try:
            values = await self._made(lambda: make(client, self.main))
        except _WrongFormError:
            raise
        except asyncio.CancelledError as error:
            witness.ended = time.monotonic()
            witness.error = _dotted(type(error))
        except Exception as error:  # noqa: BLE001 - which class it is, is the question
            witness.ended = time.monotonic()
            self._take_down(error)
        else:
            witness.ended = time.monotonic()
            witness.succeeded = True
            try:
                witness.result_ids = tuple(self.subject.id_of(value) for value in values)
                witness.result_id = witness.result_ids[0]
            except Exception as exc:  # noqa: BLE001 - half a result breaks in its own way
                witness.broken_promises.append(
                    f"what it returned cannot be read: {type(exc).__name__}: {exc}"
                )
            if len(values) == 1:
                witness.attempts = _told_attempts(self.told, witness.began)
        if self.told and self.scenario.crowd == 1:
            witness.told = sum(event.kind is EventKind.ATTEMPT_ENDED for _, event in self.told)

    async def _made(self, call: Callable[[], Any]) -> list[Any]:
        """What the call brings to each caller; it is cancelled on the way if the scenario says so."""
        crowd = self.scenario.crowd
        if self.scenario.cancel:
            task = asyncio.ensure_future(self._awaited(call()))
            await asyncio.to_thread(self.proxy.wait_fired, MAIN, HANGS_AFTER)
            task.cancel()
            return [await task]
        if crowd == 1:
            return [await self._awaited(call())]
        if self.mode == "async":
            return await asyncio.gather(*(self._awaited(call()) for _ in range(crowd)))
        with ThreadPoolExecutor(crowd) as pool:
            return [answered.result() for answered in [pool.submit(call) for _ in range(crowd)]]

    async def _afterwards(self, client: Any) -> None:
        """See that the call is over: no connection is left, nothing follows, the client is well."""
        scenario, witness = self.scenario, self.witness
        if scenario.expect.ends_connections:
            # An event loop ends connections by itself: it must not be held up meanwhile.
            ended = self.proxy.wait_closed
            witness.connections_ended = (
                await asyncio.to_thread(ended, MAIN, ENDS_AFTER)
                if self.mode == "async"
                else ended(MAIN, ENDS_AFTER)
            )
        if scenario.quiet:
            await self._pass_time(scenario.quiet)
        for number, step in enumerate(scenario.after, 1):
            self.proxy.begin(f"after-{number}", step.schedule)
            call = Call(step.kind, f"{self.main.marker}-after-{number}")
            for left in reversed(range(AFTERWARDS)):
                try:
                    await self._awaited(self.subject.call(client, call))
                    break
                except Exception as exc:  # noqa: BLE001 - the client is not what it was before
                    if not left:
                        told = f"{AFTER_FAILED}: {type(exc).__name__}: {exc}"
                        witness.broken_promises.append(told)

    def _take_down(self, error: Exception) -> None:
        witness = self.witness
        witness.error = _dotted(type(error))
        witness.error_names = tuple(c.__name__ for c in type(error).__mro__)
        witness.text = str(error)
        witness.cause = "" if error.__cause__ is None else _dotted(type(error.__cause__))
        witness.failure = self.subject.facts_of(error)
        witness.attempts = None if witness.failure is None else witness.failure.attempts
        witness.filled = attributes.filled(error)
        for name, wanted in self.scenario.expect.facts:
            found = getattr(error, name, None)
            right = bool(wanted(found)) if callable(wanted) else found == wanted
            witness.facts[name] = (repr(found), right)
        witness.broken_promises += [*_not_pickled(error), *_not_copied(error)]
        witness.broken_promises += _leaks(error, witness.logs, self.subject)


def _is_about_certificates(scenario: Scenario) -> bool:
    return any(fault.action in CERTIFICATES for fault in scenario.schedule.all)


def _finish(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits to its end, without an event loop."""
    with contextlib.suppress(StopIteration):
        coroutine.send(None)


class _WrongFormError(Exception):
    """The subject's own mistake, not a failure of its client's call."""


def _dotted(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _told_attempts(told: list[tuple[float, Event]], began: float) -> tuple[Attempt, ...] | None:
    """The tries of a call by what the client told while it made them; None if it told nothing."""
    attempts: list[Attempt] = []
    for when, event in told:
        if event.kind is EventKind.ATTEMPT_ENDED:
            start = max(0.0, when - event.seconds - began)
            attempts.append(Attempt(event.number, start, event.seconds, event.outcome, event.status))
        elif event.kind is EventKind.WAITING and attempts:
            attempts[-1] = replace(attempts[-1], wait=event.seconds)
    return tuple(attempts) or None


def _not_pickled(error: Exception) -> list[str]:
    """What pickling loses of `error`."""
    try:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes, made a moment ago
    except Exception as exc:  # noqa: BLE001 - a constructor may raise anything
        return [f"it does not survive pickle: {type(exc).__name__}: {exc}"]
    if type(again) is not type(error) or str(again) != str(error):
        return [f"pickle turns it into {type(again).__name__}: {again}"]
    if getattr(again, "failure", None) != getattr(error, "failure", None):
        return ["pickle changes what it knows"]
    return []


def _not_copied(error: Exception) -> list[str]:
    """What copying loses of `error`."""
    broken = []
    for name, make in (("copy", copy.copy), ("deepcopy", copy.deepcopy)):
        try:
            again = make(error)
        except Exception as exc:  # noqa: BLE001 - a constructor may raise anything
            broken.append(f"it does not survive {name}: {type(exc).__name__}: {exc}")
            continue
        if (type(again), str(again), repr(again)) != (type(error), str(error), repr(error)):
            broken.append(f"{name} turns it into {again!r}")
    return broken


def _leaks(error: Exception, logs: list[str], subject: Subject) -> list[str]:
    """Where an API key can be found."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    places = {
        "str(error)": str(error),
        "repr(error)": repr(error),
        "vars(error)": repr(vars(error)),
        "a log line": "\n".join(logs),
        "a traceback with locals": "".join(shown.format()),
    }
    with contextlib.suppress(Exception):
        places["its pickle"] = pickle.dumps(error).decode("latin-1")
    if isinstance(error, Error):
        with contextlib.suppress(Exception):
            places["error.to_dict()"] = json.dumps(error.to_dict())
    secrets = [s for s in subject.secrets() if s]
    return [
        f"an API key can be read in {place}"
        for place, text in places.items()
        if any(secret in text for secret in secrets)
    ]


class _Lines(logging.Handler):
    """Keeps the lines that one thread logs."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._lines, self._thread = lines, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._lines.append(f"{record.levelname} {record.name}: {record.getMessage()}")


@contextlib.contextmanager
def _captured_logs(name: str, lines: list[str]) -> Iterator[None]:
    """Keep what this thread logs to `name` or beneath; its level is set by `listening`."""
    handler = _Lines(lines)
    logger = logging.getLogger(name) if name else None
    if logger is not None:
        logger.addHandler(handler)
    try:
        yield
    finally:
        if logger is not None:
            logger.removeHandler(handler)


@contextlib.contextmanager
def listening(name: str) -> Iterator[None]:
    """Have the logger `name` speak for the length of a drill, and to nobody else."""
    if not name:
        yield
        return
    logger = logging.getLogger(name)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
