"""
The list of what is rehearsed, and what has to come of it.

Ids are those of the catalogue: S01 to S87 are failures any client can meet, E-... are real causes
of one SDK's own exceptions. A suffix tells variants apart; `--only S18` takes all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from failwell.drill.plan import NOT_APPLIED, READ, Expect, Scenario, Step
from failwell.drill.plans.answered import redirected, statuses
from failwell.drill.plans.damaged import damaged, surprised
from failwell.drill.plans.once import once_only
from failwell.drill.plans.overload import circuits, modelled
from failwell.drill.plans.streams import streams
from failwell.drill.plans.unanswered import unanswered, unconnected
from failwell.drill.plans.uploads import uploads
from failwell.drill.subject import Cause, Subject
from failwell.drill.whole import wholes
from failwell.errors import CallError, UsageError
from failwell.failure import Effect

__all__ = ["Expect", "Scenario", "Step", "called", "catalogue"]


def catalogue(subject: Subject) -> list[Scenario]:
    """Everything that is rehearsed with `subject`, in the order of the catalogue."""
    ordinary = [
        *unconnected(), *unanswered(), *damaged(), *surprised(), *redirected(), *statuses(subject),
        *once_only(), *streams(), *uploads(),
    ]  # fmt: skip
    if subject.mortal() is None:
        ordinary = [s for s in ordinary if not s.crashes]
    there = [s for s in ordinary if s.kind in subject.kinds]
    caused = map(_caused, subject.causes())
    return [*there, *circuits(subject), *modelled(subject), *caused, *wholes(subject)]


def _caused(cause: Cause) -> Scenario:
    """The scenario for a real cause of one documented exception."""
    ordinary = cause.status in (400, 401, 403, 404, 409, 422)
    claim = frozenset[Effect]() if cause.status is None or cause.status >= 500 else NOT_APPLIED
    if cause.claims is not None:
        claim = cause.claims
    refused = cause.raises is not None and issubclass(cause.raises, UsageError)
    return Scenario(
        f"E-{'' if cause.raises is None else cause.raises.__name__ + '-'}{cause.name}",
        cause.title,
        cause.kind,
        cause.schedule,
        Expect(
            error=None if cause.raises is None else UsageError if refused else CallError,
            own=cause.raises,
            status=cause.status,
            requests=cause.requests,
            at_least=cause.at_least,
            wait_at_least=cause.wait_at_least,
            claim=claim,
            effects=frozenset({cause.effects}) if cause.kind is not READ else frozenset(),
            facts=cause.facts,
        ),
        cause.settings,
        cause=cause,
        modes=cause.modes,
        proves=(*cause.proves, *((f"S40-{cause.status}",) if ordinary and cause.requests == 1 else ())),
    )


def called(name: str, known: Sequence[Scenario]) -> list[Scenario]:
    """The scenarios that `--only name` means: the one of that id, or else all its variants."""
    wanted = name.lower()
    exact = [s for s in known if s.id.lower() == wanted]
    return exact or [
        s for s in known if any(f"{i.lower()}-".startswith(f"{wanted}-") for i in (s.id, *s.proves))
    ]
