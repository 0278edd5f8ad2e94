"""What is in a text that should not be there."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from failwell_sandbox.argus.names import mentions
from failwell_sandbox.argus.personal import personal_data_in
from failwell_sandbox.argus.secrets import secrets_in
from failwell_sandbox.argus.views import View, plain

# What can be looked for.
DETECTORS = ("competitors", "secrets", "personal_data")

# The least score of a finding, if a check does not say.
LEAST_SCORE = 0.8

# An answer holds about so many findings, which is less than what is kept for a repeated request.
MOST_FINDINGS = 1000


def scan(
    text: str,
    *,
    detect: Collection[str],
    competitors: Sequence[str],
    min_score: float,
    most: int = MOST_FINDINGS,
) -> dict[str, Any]:
    """
    The findings in `text`, as an answer has them: by where they begin, in code points.

    Args:
        text: Any text that has a form in UTF-8.
        detect: Which of `DETECTORS` look.
        competitors: Names that "competitors" looks for.
        min_score: The least score of a finding.
        most: How many findings are given.
    """
    found: list[dict[str, Any]] = []
    view = plain(text)
    if "secrets" in detect:
        found += _shown("secret", view, secrets_in(view.text))
    if "personal_data" in detect:
        found += _shown("personal_data", view, personal_data_in(view.text))
    found = [each for each in found if each["score"] >= min_score]
    if "competitors" in detect:
        found += (
            {"kind": "competitor", "type": m.how, "start": m.start, "end": m.end, "score": m.score,
             "name": m.name}
            for m in mentions(text, competitors, min_score)
        )  # fmt: skip
    found.sort(key=lambda each: (each["start"], each["end"], each["kind"]))
    return {
        "findings": found[:most],
        "truncated": len(found) > most,
        "checked": [each for each in DETECTORS if each in detect],
        "text_length": len(text),
        "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def _shown(kind: str, view: View, found: Iterable[tuple[str, int, int, float]]) -> list[dict[str, Any]]:
    shown = []
    for what, at, behind, score in found:
        start, end = view.span(at, behind)
        shown.append({"kind": kind, "type": what, "start": start, "end": end, "score": score})
    return shown
