"""
Somebody else's service behind the drill's proxy: what may be rehearsed with it, and what is said before.

The proxy makes almost every fault by itself, whoever answers behind it. What the service would have
to play, and what would be load that nobody asked it for, is left out: decided here, for everybody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from ipaddress import ip_address
from typing import cast
from urllib.parse import urlsplit

from failwell.drill.plan import Scenario
from failwell.drill.subject import Call, Kind, Mode
from failwell.drill.verdict import Finding, Row
from failwell.errors import UsageError
from failwell.redaction import MASK, kept_url

# Rehearsals at once: a drill is no test of somebody's capacity.
AT_ONCE = 4
# Kinds of the list of faults (`fault_list.py`) that the service itself has to play.
_PLAYED_BY_THE_SERVICE = {
    31: "the service's process would have to be killed",
    33: "the service's streams would have to repeat and renumber their events",
    34: "the service would have to lose parts of an upload",
}
_LOAD = "many callers at once are load that nobody asked this service for"
_USED_KEY = "the service would have to refuse a key that is used again with another body"
_NOBODY_COUNTS = "count_effects failed, so what was really done is not known: "


def left_out(scenario: Scenario) -> str:
    """Why `scenario` is not rehearsed with a service that is not the drill's; empty if it is."""
    if scenario.model is not None:
        return ""  # it asks nobody
    for fault in scenario.faults:
        if why := _PLAYED_BY_THE_SERVICE.get(fault.row):
            return why
    if scenario.crowd > 1 or scenario.phases:
        return _LOAD
    return _USED_KEY if any(step.same_key for step in scenario.before) else ""


# --- where it is -----------------------------------------------------------------------------


def is_here(url: str) -> bool:
    """Whether `url` leads to this machine, by its host alone; no name is looked up."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def base_url(text: str) -> str:
    """
    `text` as the base URL of a service, without a slash at its end.

    Raises:
        UsageError: it is none, or holds what is not to be written into reports.
    """
    parts = urlsplit(text)
    try:
        right = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:  # a port that is none
        right = False
    if not right:
        raise UsageError("--service takes a base URL, such as https://staging.example/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            "--service takes a base URL without a user, a query and a fragment: keys are the client's to send"
        )
    return text.rstrip("/")


def refuse_a_stranger(name: str, url: str, said: Iterable[str | None]) -> None:
    """
    Have nobody drill a service elsewhere by mistake.

    Args:
        name: The subject's.
        url: Where its service is.
        said: The base URLs that were named in so many words.

    Raises:
        UsageError: it is on another machine, and nobody said so.
    """
    origin = urlsplit(url)[:2]
    if is_here(url) or any(urlsplit(each)[:2] == origin for each in said if each):
        return
    where = f"{origin[0]}://{urlsplit(url).netloc.rpartition('@')[2]}"
    raise UsageError(
        f"the service of {name} is at {where}, which is not this machine: to drill it, say --service {where}"
    )


# --- what is said before ---------------------------------------------------------------------


def announcement(
    url: str, scenarios: Sequence[Scenario], modes: Sequence[Mode], *, at_once: int = AT_ONCE
) -> list[str]:
    """
    What a person has to know before a service of theirs is drilled: what is sent, how often, what is not.

    Args:
        url: Its base URL.
        scenarios: The catalogue; what is left out is in it.
        modes: The forms of the client.
        at_once: Rehearsals at once.
    """
    calls: Counter[Kind] = Counter()
    rehearsals, reasons = 0, dict[str, list[str]]()
    for scenario in scenarios:
        forms = sum(mode in (scenario.modes or modes) for mode in modes)
        if why := left_out(scenario):
            reasons.setdefault(why, []).append(scenario.id)
        elif scenario.model is None and not scenario.missing:
            rehearsals += forms
            calls.update(_kinds(scenario) * forms)
    asked = ", ".join(f"{calls[kind]} × {kind}" for kind in Kind if calls[kind])
    return [
        f"{url} is asked by {rehearsals} rehearsals, {at_once} at most at once: {asked}; "
        "and before, by one call of each kind.",
        "A client that tries again asks again. What is written has “drill-” in its name, and is not removed.",
        *(f"Left out: {', '.join(ids)}: {why}." for why, ids in reasons.items()),
    ]


def _kinds(scenario: Scenario) -> list[Kind]:
    """What the calls of `scenario` ask for."""
    return [scenario.kind, *(step.kind for step in (*scenario.before, *scenario.after))]


# --- who counts, and what is kept ------------------------------------------------------------


class Ledger:
    """
    Counts effects by somebody's function, and guesses nothing where it fails.

    Args:
        count: Takes a `Call`, gives how many effects there are of it.

    Attributes:
        trouble: What went wrong with it; empty for nothing.
    """

    def __init__(self, count: Callable[[Call], int]) -> None:
        self._count = count
        self.trouble = ""

    def count(self, call: Call) -> int | None:
        """How many effects there are of `call`; None if that cannot be told."""
        try:
            found: object = self._count(call)
        except Exception as exc:  # noqa: BLE001 - somebody else's code may raise anything
            self.trouble = f"{type(exc).__name__}: {exc}"
            return None
        if isinstance(found, bool) or not isinstance(found, int) or found < 0:
            self.trouble = f"it gave {found!r}, which is no number of effects"
            return None
        return found

    def explain(self, row: Row) -> None:
        """Say in `row` why nothing was counted."""
        if self.trouble:
            row.notes.append(_NOBODY_COUNTS + self.trouble)


def counting(name: str) -> Callable[[Call], int]:
    """
    The function at `module:function`, for `--count-effects`.

    Raises:
        UsageError: there is none.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        raise UsageError(f"--count-effects takes module:function, not {name!r}")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as exc:
        raise UsageError(f"cannot load {name!r}: {exc}") from exc
    if not callable(found):
        raise UsageError(f"{name} cannot be called")
    return cast("Callable[[Call], int]", found)


def masked(text: str, secrets: Sequence[str]) -> str:
    """`text` with each of `secrets` masked."""
    for secret in secrets:
        text = text.replace(secret, MASK) if secret else text
    return text


def fit_for_reports(row: Row, secrets: Sequence[str]) -> None:
    """Mask `secrets`, and values of queries, in all of `row` that is written down; the verdict stays."""

    def mask(text: str) -> str:
        return masked(text, secrets)

    row.findings = [Finding(f.code, mask(f.text)) for f in row.findings]
    row.notes = [mask(note) for note in row.notes]
    if row.evidence is None:
        return
    client = row.evidence.client
    client.text, client.trouble = mask(client.text), mask(client.trouble)
    client.logs = [mask(line) for line in client.logs]
    client.broken_promises = [mask(promise) for promise in client.broken_promises]
    client.facts = {name: (mask(found), right) for name, (found, right) in client.facts.items()}
    for request in row.evidence.wire.requests:
        request.target = mask(kept_url(request.target))
        request.headers = {name: mask(value) for name, value in request.headers.items()}
