"""Anybody's client as a subject of the drill: one callable, and rules that are fair to any client."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from failwell.contract import STANDARD
from failwell.drill import remote
from failwell.drill.anybody import fair, things
from failwell.drill.faults import Action
from failwell.drill.plan import Scenario
from failwell.drill.subject import Call, Kind, Mode, Settings, Subject
from failwell.drill.verdict import Row
from failwell.drill.witness import Evidence
from failwell.errors import UsageError
from failwell.failure import Failure

# What a callable of one shape can ask for; streams and uploads are more than a call and its answer.
KINDS = frozenset({Kind.READ, Kind.KEYED_WRITE, Kind.PLAIN_WRITE})
# Answers that are only too large for who has set a limit.
_WITHOUT_LIMIT = (Action.INFLATE, Action.ENDLESS)
# No user who is asked to wait sets more, and three tries have to end before a call counts as hanging.
LONGEST_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Setup:
    """
    What a client is made with, in one rehearsal. A user would set no more.

    Attributes:
        connect: Seconds for a connection.
        read: Seconds for each piece of an answer; never more than `total`, because a client that
            has no other timeout gets the nearest thing to it.
        total: Seconds for a whole call, for clients that can be told.
        verify: Which certificates it is to take: True for the system's, else those of a context.
        api_key: The key of the service; "" for somebody else's service, whose key the adapter has.
    """

    connect: float
    read: float
    total: float
    verify: bool | ssl.SSLContext
    api_key: str

    @classmethod
    def of(cls, settings: Settings, api_key: str) -> Setup:
        """What `settings` mean for a client that knows nothing of them."""
        read = min(settings.read, settings.deadline, LONGEST_TIMEOUT)
        connect = min(settings.connect, settings.deadline, LONGEST_TIMEOUT)
        return cls(connect, read, settings.deadline, settings.verify, api_key)


@dataclass(slots=True)
class _Held:
    """A client in one rehearsal: the callable, and where it is to call."""

    call: Callable[[str, Call], Any]
    base_url: str


class AnybodysClient(Subject):
    """
    Any client, described by one callable, against a real service with a ledger.

        AnybodysClient(adapter)                                              # the drill's own service
        AnybodysClient(adapter, service="http://127.0.0.1:8000")             # somebody else's
        AnybodysClient(adapter, service=URL, count_effects=count_orders)     # with a ledger

    **The adapter** is `call(base_url, call) -> result`, blocking or `async def`. It makes one call
    (a `failwell.drill.subject.Call`), gives back what came of it, and lets through whatever its
    library raises:

    - `call.kind` is READ, KEYED_WRITE (send `call.key` as the idempotency key; None: make one, as a
      user would) or PLAIN_WRITE (send none).
    - `call.marker` goes into what is written: the ledger finds it by that. With the drill's own
      service a READ asks for the thing whose *id* is the marker; it is there by then.
    - The result of a call is an id, or has one as `.id` or `["id"]`; None if nobody can tell, and
      then less is proved.

    A plain function is called as it is. A class, or any function of one argument called `setup`,
    is given a `Setup` in each rehearsal, and makes the callable of it; that may keep connections,
    and its `close` or `aclose` is called at the end.

    It may have these attributes; what is not there is not known, and not judged: `name`; `version`, or
    `packages` (names of distributions, the first its own); `attempts` (tries of a call, at most, that
    the library says it makes); `timeout` (seconds that a plain function gives its library); `kinds` (a
    set of `Kind`); `logger` (where the library writes); `secret` (the API key: nothing that fails may
    show it, no other host may get it).

    Before the drill, `running()` makes one call of each kind without a fault: a client that cannot
    talk to the service at all would pass wherever an error is due.

    Args:
        adapter: As above.
        service: The base URL of somebody else's service; None for the drill's own.
        count_effects: How many effects there are of a call. Without it, and with somebody else's
            service, what has to be done exactly once is UNPROVABLE.
        name: For tables; by default the adapter's.
        arguments: What stands behind `failwell drill` to drill it again.

    Attributes:
        attempts: Tries of a call, at most, that the library says it makes; None if it does not say.
        version: The library's, as text.
        own_service: Whether it is the drill's own.
    """

    contract = STANDARD
    exceptions = ()
    fails_with = (Exception,)

    def __init__(
        self,
        adapter: Callable[..., Any],
        *,
        service: str | None = None,
        count_effects: Callable[[Call], int] | None = None,
        name: str = "",
        arguments: str = "",
    ) -> None:
        self.adapter = adapter
        self.name = self.title = name or getattr(adapter, "name", "") or adapter.__name__
        self.version: str = getattr(adapter, "version", "") or _versions(getattr(adapter, "packages", ()))
        self.attempts: int | None = getattr(adapter, "attempts", None)
        self.logger: str = getattr(adapter, "logger", "")
        self.kinds = frozenset(getattr(adapter, "kinds", KINDS))
        self.modes = ("async",) if _is_async(adapter) else ("sync",)
        self.own_service = service is None
        self._arguments = arguments or f"--client {self.name}"
        self.service_url = service
        self._things = things.Things() if service is None else None
        self._ledger = None if count_effects is None else remote.Ledger(count_effects)
        self._calls: dict[str, Call] = {}  # by marker: what the ledger is asked about

    @property
    def arguments(self) -> str:
        return self._arguments

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """
        The service; ready when the client has shown that it can talk to it.

        Raises:
            UsageError: uvicorn or starlette is missing, or the client fails when nothing goes wrong.
        """
        own = (
            contextlib.nullcontext(self.service_url or "") if self._things is None else self._things.running()
        )
        with own as url:
            self._check(url)
            yield url

    def _check(self, url: str) -> None:
        """Make a call of each kind with nothing in between: a client that cannot talk would fail well."""
        for kind in sorted(self.kinds, key=str):
            call = Call(kind, f"drill-check-{kind.name.lower()}-{time.time_ns():x}")
            try:
                if self.modes == ("async",):
                    asyncio.run(self._awaited(url, call))
                else:
                    self._blocking(url, call)
            except Exception as exc:
                raise UsageError(
                    f"{self.name} cannot be drilled, for a {kind} fails when nothing goes wrong: "
                    f"{type(exc).__name__}: {remote.masked(str(exc), self.secrets())}"
                ) from exc
            held = self.ids_of(call.marker)
            if kind is not Kind.READ and held is not None and len(held) != 1:
                raise UsageError(
                    f"{self.name} cannot be drilled, for a {kind} has {len(held)} effects when nothing "
                    "goes wrong: the ledger finds them by `call.marker`"
                )

    def _blocking(self, url: str, call: Call) -> None:
        client = self.client("sync", url, Settings())
        try:
            self.id_of(self.call(client, call))
        finally:
            self.close(client)

    async def _awaited(self, url: str, call: Call) -> None:
        client = self.client("async", url, Settings())
        try:
            self.id_of(await self.call(client, call))
        finally:
            if (closing := self.close(client)) is not None:
                await closing

    def client(self, mode: Mode, base_url: str, settings: Settings, key: str = "good") -> Any:
        if not _is_factory(self.adapter):
            return _Held(self.adapter, base_url)
        return _Held(self.adapter(Setup.of(settings, things.KEY if self.own_service else "")), base_url)

    def call(self, client: Any, call: Call) -> Any:
        self._calls.setdefault(call.marker, call)
        if call.kind is Kind.READ and self._things is not None:
            self._things.put(call.marker)
        return client.call(client.base_url, call)

    def close(self, client: Any) -> Awaitable[None] | None:
        for name in ("aclose", "close"):
            if (close := getattr(client.call, name, None)) is not None:
                closing = close()
                return closing if inspect.isawaitable(closing) else None
        return None

    def timeouts(self, settings: Settings) -> tuple[float, float] | None:
        """Seconds for a connection and for an answer that the client was given; None if nobody knows."""
        if _is_factory(self.adapter):
            setup = Setup.of(settings, "")
            return setup.connect, setup.read
        given: float | None = getattr(self.adapter, "timeout", None)
        return None if given is None else (given, given)

    def ids_of(self, marker: str) -> Sequence[str] | None:
        if self._things is not None:
            return self._things.ids_of(marker)
        call = self._calls.get(marker)
        if self._ledger is None:
            return None
        if call is None or call.kind is Kind.READ:
            return ()
        # Nobody said what they are called: a name for each, so that they can be counted.
        count = self._ledger.count(call)
        return None if count is None else [f"effect {number}" for number in range(1, count + 1)]

    def id_of(self, value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        found = value["id"] if isinstance(value, dict) else value.id
        return None if found is None else str(found)

    def facts_of(self, error: BaseException) -> Failure | None:
        return None  # also of failwell's own: one rule for all

    def secrets(self) -> Sequence[str]:
        return (
            (things.KEY,) if self.own_service else tuple(filter(None, [getattr(self.adapter, "secret", "")]))
        )

    def unfit(self, scenario: Scenario) -> str:
        if any(fault.action in _WITHOUT_LIMIT for fault in scenario.schedule.all):
            return "it was given no limit of size that it could keep"
        if any(step.same_call for step in scenario.before) and (self.attempts or 1) > 1:
            return "it tries again by itself, so nobody is left without an answer"
        return "" if self.own_service else remote.left_out(scenario)

    def judged(self, scenario: Scenario, mode: Mode, evidence: Evidence) -> Row:
        row = fair.judge(self, scenario, mode, evidence)
        if self._ledger is not None and evidence.ledger.ids is None:
            self._ledger.explain(row)
        if not self.own_service:
            remote.fit_for_reports(row, self.secrets())
        return row


def _versions(packages: Sequence[str]) -> str:
    """The first distribution's version, and those under it by name: "3.54.0 on httpx2 2.16.2"."""
    from importlib.metadata import version

    if not packages:
        return ""
    first, *others = packages
    under = ", ".join(f"{name} {version(name)}" for name in others)
    return f"{version(first)} on {under}" if under else version(first)


def _is_factory(adapter: Callable[..., Any]) -> bool:
    """Whether `adapter` makes the callable of a `Setup`, instead of being it."""
    if inspect.isclass(adapter):
        return True
    return list(inspect.signature(adapter).parameters) == ["setup"]


def _is_async(adapter: Callable[..., Any]) -> bool:
    if (said := getattr(adapter, "is_async", None)) is not None:
        return bool(said)
    # Of a class, what its objects do when they are called; of an object, the same.
    call = adapter if inspect.isfunction(adapter) else getattr(adapter, "__call__", adapter)  # noqa: B004  # it is looked at, not called
    return inspect.iscoroutinefunction(call)
