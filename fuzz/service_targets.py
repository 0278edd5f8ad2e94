"""The sandbox's services as targets, and what is said of a run."""

from __future__ import annotations

import json
from typing import Any

from service_fuzzer import Outcome, Target
from service_requests import Request, key_values


def divides_by_zero(request: Request) -> bool:
    """
    Whether a request is one of the three that the sandbox answers with a 500 on purpose.

    A campaign with a budget that calls nobody, a run that is admitted in chunks of nothing, and a
    batch without texts are bugs that the services have so that the drill finds a real 500.
    """
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(body, dict):
        return False
    if request.target.startswith(b"/api/v1/campaigns"):
        return body.get("contacts") == [] and body.get("budget_cents") is not None
    if request.target.startswith(b"/v1/checks/batch"):
        return body.get("texts") == []
    given = body.get("input")
    if not (request.target.startswith(b"/v1/runs") and isinstance(given, dict)):
        return False
    size = given.get("chunk_size")
    return type(size) is int and size == 0


def target(running: Any) -> Target:
    """A running service of a sandbox."""
    return Target(running.name, running.service, running.url, dict(key_values(running.keys)), divides_by_zero)


def summary(name: str, outcome: Outcome, seconds: float) -> str:
    """The figures of a run, on one line."""
    statuses = ", ".join(f"{n} x {status or 'none'}" for status, n in sorted(outcome.statuses.items()))
    aside = f"{outcome.unread} were no HTTP, {outcome.excluded} were not sent"
    return f"{name}: {outcome.sent} requests in {seconds:.0f} s ({aside}): {statuses}"


def fault(name: str, outcome: Outcome, seed: int) -> str:
    """What is wrong, and how to see it again."""
    said = "\n".join(f"  {each}" for each in outcome.faults)
    return (
        f"{name}: wrong answer to request {outcome.sent} of seed {seed}\n{said}\n"
        f"  request: {outcome.request!r}\n  answer: {outcome.answer!r}"
    )
