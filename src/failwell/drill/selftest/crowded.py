"""Clients of a crowd with bad habits: circuits, budgets and waits that do harm to a service."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from failwell.call.breaker import PROBE, Breaker, Circuit
from failwell.call.retry import DocumentedWaits, RetryPolicy
from failwell.client import AsyncClient, Client
from failwell.contract import Contract, Rule
from failwell.drill.selftest.naive import Planted
from failwell.drill.selftest.toy import KEY, TOY, Toy, ToyServerError
from failwell.drill.subject import Mode, Settings, hasten
from failwell.engines.base import Connections

if TYPE_CHECKING:
    from collections.abc import Callable

    from failwell.failure import Failure

CROWDED = (
    Planted("never opens its circuit", "S48-503", "FD-circuit"),
    Planted("opens its circuit too early", "S48-503", "FD-circuit"),
    Planted("sends although its circuit is open", "S48-503", "FD-requests"),
    Planted("lets everybody probe", "S49-recovers", "FD-circuit"),
    Planted("never probes", "S49-recovers", "FD-circuit"),
    Planted("asks again whatever it is told", "S52", "FD-bound"),
    Planted("waits as long as everybody", "S53", "FD-bound"),
)


class Crowded(Toy):
    """The toy's good client with a circuit of its own, and one bad habit."""

    name = "crowded"
    title = "Crowded"
    opens_after = 10
    is_failwell = True

    def __init__(self, *habits: str) -> None:
        super().__init__()
        assert set(habits) <= {p.habit for p in CROWDED}
        self.habits = frozenset(habits)

    def client(self, mode: Mode, base_url: str, settings: Settings, key: str = "good") -> Any:
        make: Any = Client if mode == "sync" else AsyncClient
        client = make(
            base_url,
            contract=_DEAF if "asks again whatever it is told" in self.habits else TOY,
            credentials={"x-api-key": KEY},
            retry=self._retry(),
            deadline=settings.deadline,
            breaker="never opens its circuit" not in self.habits,
            connections=Connections(trust_env=False),
            listeners=settings.listeners,
        )
        hasten(client, settings)
        setup = client._setup
        if setup.breaker is not None:
            setup.breaker = _breaker(setup.breaker, self.habits)
            setup._circuit = setup.breaker.circuit(setup._host)
        return client

    def _retry(self) -> RetryPolicy:
        if "waits as long as everybody" in self.habits:
            return DocumentedWaits()
        return _Stubborn() if "asks again whatever it is told" in self.habits else RetryPolicy()


@dataclass(frozen=True, slots=True)
class _Stubborn(RetryPolicy):
    def why_not(self, failure: Failure, tries: int, *, wanted: bool, repeatable: bool) -> str:
        return RetryPolicy.why_not(self, failure, tries, wanted=True, repeatable=repeatable)


_DEAF = Contract("toy", rules=[Rule(ToyServerError, status=range(500, 600), retry=True)])


def _breaker(good: Breaker, habits: frozenset[str]) -> Breaker:
    """A breaker with the policy of `good`, and a habit."""
    if "opens its circuit too early" in habits:
        return Breaker(replace(good.policy, min_attempts=good.policy.min_attempts // 2))
    kinds: dict[str, type[Circuit]] = {
        "sends although its circuit is open": _Leaky,
        "lets everybody probe": _Generous,
        "never probes": _Shut,
    }
    for habit, kind in kinds.items():
        if habit in habits:
            return _Of(good, kind)
    return good


class _Of(Breaker):
    """Circuits of one bad kind."""

    def __init__(self, good: Breaker, kind: Callable[..., Circuit]) -> None:
        super().__init__(good.policy)
        self._made = kind(good.policy)

    def circuit(self, scope: str) -> Circuit:
        return self._made


class _Leaky(Circuit):
    __slots__ = ("_asked",)

    def admit(self, now: float) -> float:
        # Each second caller is let through.
        self._asked = not getattr(self, "_asked", True)
        return 0.0 if self._asked else super().admit(now)


class _Generous(Circuit):
    __slots__ = ()

    def _ask_locked(self, now: float) -> float:
        until = self._open_until
        return 0.0 if until is None else until - now if now < until else PROBE


class _Shut(Circuit):
    __slots__ = ()

    def _ask_locked(self, now: float) -> float:
        return 0.0 if self._open_until is None else self._policy.open_for
