"""
A name -> what it stands for: a status, an exception, a kind, a code, a reason.

In this order; the first that knows the name has it. `explain 429`, `explain RateLimitError`,
`explain kneo.KneoConflictError`, `explain rate_limited`, `explain connect_timeout`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import failwell
from failwell.answer import Answer
from failwell.call import outcome
from failwell.call.messages import Phase, Reason
from failwell.cli import tokens
from failwell.cli.exchange import Exchange, UnreadableError
from failwell.cli.explanation import (
    Explanation,
    Raised,
    effect_text,
    first_paragraph,
    of_exchange,
    phrase,
    plain,
    retry,
    section,
)
from failwell.cli.known import public_name
from failwell.contract import STANDARD, effect_of
from failwell.errors import APIError, CallError, Error
from failwell.failure import Effect, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from failwell.cli.known import Known
    from failwell.contract import Contract, Rule


def explain(name: str, known: Known, now: datetime) -> Explanation:
    """
    What `name` stands for.

    Raises:
        UnreadableError: nothing has that name; the sentence names what comes close.
    """
    wanted = name.strip()
    if wanted.isdigit():
        return _status(int(wanted), known, now)
    classes = _classes(known)
    found = classes.get(wanted.lower())
    if found is not None:
        return _of_class(*found, known)
    if (cls := _kinds().get(wanted.lower())) is not None:
        return _of_class(None, cls, known)
    coded = [
        (n, c, rule) for n, c in known.contracts.items() for rule in c.rules if wanted in (rule.codes or ())
    ]
    if coded:
        return _of_code(wanted, coded)
    if wanted.lower() in {r.value for r in Reason}:
        return _of_reason(Reason(wanted.lower()), known, now)
    raise UnreadableError(_miss(wanted, known))


def _status(status: int, known: Known, now: datetime) -> Explanation:
    if not 100 <= status <= 599:
        raise UnreadableError(f"{status} is no HTTP status: they go from 100 to 599.")
    explanation = of_exchange(Exchange("a status", status), known, now)
    if not phrase(status):
        explanation.notes.append(f"No standard names {status}; it is read like {status // 100}00.")
    explanation.support = {}
    return explanation


def _of_class(contract: str | None, cls: type[Error], known: Known) -> Explanation:
    """An exception, from its own documentation and its row in the contract."""
    rules = _rules(known, contract, cls)
    statuses = list(dict.fromkeys(s for r in rules for s in _few(r)))
    explanation = Explanation(
        public_name(cls),
        f"an exception of the contract {contract}" if contract else "an exception of failwell",
    )
    explanation.means = {
        "exception": public_name(cls),
        "kind": cls.kind,
        "text": first_paragraph(cls),
        "do": section(cls, "What to do"),
        "when": _when(cls, rules),
        "bases": [public_name(b) for b in cls.__mro__[1:] if issubclass(b, Error) and b is not Error],
    }
    failure = _typical(cls, rules, statuses)
    carried = section(cls, "Was it carried out?")
    explanation.effect = {"value": failure.effect.value, "text": carried or effect_text(failure)}
    if not issubclass(cls, CallError):
        explanation.effect["value"] = Effect.NOT_SENT.value
    explanation.retry = retry(failure, cls.kind, None, None)
    if not issubclass(cls, (APIError, failwell.TransportError)):
        explanation.retry = {"retryable": None, "after": None, "at": None, "text": None}
    explanation.raises = list(_relatives(cls, known))
    return explanation


def _typical(cls: type[Error], rules: list[Rule], statuses: list[int]) -> Failure:
    """The failure that `cls` usually is, as far as its row and its meaning tell."""
    status = statuses[0] if statuses else cls.usual_status
    if status is None:
        sent = issubclass(cls, (failwell.ConnectError, failwell.RefusedError, failwell.UsageError))
        return Failure(
            effect=Effect.NOT_SENT if sent else Effect.UNKNOWN,
            retryable=issubclass(cls, failwell.TransportError),
        )
    reading = STANDARD.read(Answer(status))
    retryable = reading is not None and reading.failure.retryable and cls.kind != "quota_exceeded"
    failure = Failure(status=status, effect=effect_of(None, status), retryable=retryable)
    for rule in rules[:1]:
        failure = replace(
            failure,
            effect=failure.effect if rule.effect is None else rule.effect,
            retryable=failure.retryable if rule.retry is None else rule.retry,
        )
    return failure


def _of_code(code: str, coded: list[tuple[str, Contract, Rule]]) -> Explanation:
    """A code that rows of contracts name."""
    name, contract, rule = coded[0]
    statuses = list(_few(rule))
    explanation = Explanation(code, f"a code of the contract {name}")
    cls = rule.raises
    explanation.status = statuses[0] if statuses else None
    explanation.said = {"message": None, "code": code, "fields": [], "dialect": contract.dialect.name}
    explanation.means = {
        "exception": public_name(cls),
        "kind": cls.kind,
        "text": rule.means or first_paragraph(cls),
        "do": section(cls, "What to do"),
        "when": _when(cls, [rule]),
    }
    failure = _typical(cls, [rule], statuses)
    explanation.effect = {"value": failure.effect.value, "text": effect_text(failure)}
    explanation.retry = retry(failure, cls.kind, None, None)
    explanation.raises = [Raised(n, public_name(r.raises), r.means or None) for n, _, r in coded]
    return explanation


def _of_reason(reason: Reason, known: Known, now: datetime) -> Explanation:
    """Why an attempt broke, as `failure.reason` and a log line have it."""
    standard = outcome.STANDARD_CLASS[reason]
    unsent = issubclass(standard, failwell.ConnectError) or reason in (
        Reason.CONNECT_TIMEOUT,
        Reason.POOL_TIMEOUT,
    )
    phase = Phase.NOT_SENT if unsent else Phase.SENT
    explanation = of_exchange(Exchange("a reason", broken=(phase, reason)), known, now)
    explanation.title, explanation.support = reason.value, {}
    return explanation


# --- Names ----------------------------------------------------------------------------------


def _classes(known: Known) -> dict[str, tuple[str | None, type[Error]]]:
    """Every spelling of every exception, in lower case -> its contract and itself."""
    found: dict[str, tuple[str | None, type[Error]]] = {}
    for name in failwell.__all__:
        cls = getattr(failwell, name) if name.endswith("Error") else None
        if isinstance(cls, type) and issubclass(cls, Error):
            _add(found, None, cls, ("failwell", "standard"))
    for contract, each in known.contracts.items():
        for cls in each.exceptions:
            if not cls.__module__.startswith("failwell."):
                _add(found, contract, cls, (contract, cls.__module__.partition(".")[0]))
    return found


def _add(
    found: dict[str, tuple[str | None, type[Error]]],
    contract: str | None,
    cls: type[Error],
    homes: tuple[str, ...],
) -> None:
    name = cls.__name__
    for spelled in (
        name,
        name.removesuffix("Error"),
        f"{cls.__module__}.{name}",
        *(f"{h}.{name}" for h in homes),
    ):
        if spelled:  # of `Error` nothing is left without its ending
            found.setdefault(spelled.lower(), (contract, cls))


def _kinds() -> dict[str, type[Error]]:
    found: dict[str, type[Error]] = {}
    for name in failwell.__all__:
        cls = getattr(failwell, name) if name.endswith("Error") else None
        if isinstance(cls, type) and issubclass(cls, Error):
            found.setdefault(cls.kind, cls)
    return found


def _rules(known: Known, contract: str | None, cls: type[Error]) -> list[Rule]:
    if contract is None:
        return []
    return [r for r in known.contracts[contract].rules if r.raises is cls]


def _few(rule: Rule) -> Iterator[int]:
    """The statuses of a row; of a range, its first."""
    if isinstance(rule.statuses, range):
        yield rule.statuses.start
    else:
        yield from rule.statuses or ()


def _when(cls: type[Error], rules: list[Rule]) -> list[str]:
    """When a contract raises `cls`: a line for each of its rows."""
    parts = []
    for rule in rules:
        about = _spelled(rule)
        if rule.codes:
            about = f"{about} {', '.join(rule.codes)}".strip()
        means = plain(rule.means).rstrip(".")
        parts.append(f"{about}: {means}" if about and means else about or means)
    if not rules and cls.usual_status is not None:
        parts.append(f"usually {cls.usual_status}")
    return list(dict.fromkeys(p for p in parts if p))


def _spelled(rule: Rule) -> str:
    if isinstance(rule.statuses, range):
        first, last = rule.statuses.start, rule.statuses.stop - 1
        return f"{first} to {last}" if last > first else str(first)
    return ", ".join(map(str, rule.statuses or ()))


def _relatives(cls: type[Error], known: Known) -> Iterator[Raised]:
    """What each contract raises for the same meaning."""
    standard = _standard_of(cls)
    if standard is None:
        return
    for name, contract in known.contracts.items():
        if cls in contract.exceptions and name != "standard":
            own: type[Error] = cls
        elif name == "standard":
            own = standard
        else:
            own = _nearest(contract, standard)
        yield Raised(
            name,
            public_name(own),
            next((r.means for r in contract.rules if r.raises is own and r.means), None),
        )


def _standard_of(cls: type[Error]) -> type[CallError] | None:
    return next(
        (c for c in cls.__mro__ if issubclass(c, CallError) and c.__module__ == "failwell.errors"), None
    )


def _nearest(contract: Contract, standard: type[CallError]) -> type[Error]:
    """The class of `contract` that says what `standard` says, or what it raises instead."""
    if standard.usual_status is None or not issubclass(standard, APIError):
        return contract.class_for(standard)
    reading = contract.read(Answer(standard.usual_status))
    raises: type[Error] = contract.base if reading is None else reading.raises
    if issubclass(raises, standard):
        return raises
    return next((c for c in contract.exceptions if issubclass(c, standard)), raises)


def _miss(wanted: str, known: Known) -> str:
    from difflib import get_close_matches

    names: dict[str, str] = {}
    for _, (contract, cls) in _classes(known).items():
        names[cls.__name__.lower()] = f"{contract}.{cls.__name__}" if contract else cls.__name__
    names |= {k: k for k in _kinds()} | {r.value: r.value for r in Reason}
    names |= {c.lower(): c for each in known.contracts.values() for r in each.rules for c in r.codes or ()}
    last = wanted.lower().rpartition(".")[2]
    close = list(dict.fromkeys(names[m] for m in get_close_matches(last, names, n=3, cutoff=0.6)))
    shown = tokens.masked(wanted[:200])
    shown = shown if len(shown) <= 60 else shown[:59] + "…"
    if close:
        return f"Nothing is called {shown!r} here. Did you mean {' or '.join(close)}?"
    return (
        f"Nothing is called {shown!r} here: it is no file, no HTTP status, and no exception, kind or code "
        f"of the contracts {', '.join(known.contracts)}."
    )
