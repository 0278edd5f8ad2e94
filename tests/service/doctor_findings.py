"""What the doctor says of a store."""

from __future__ import annotations

from typing import Any

from failwell.service.doctor import Finding, examine


def findings(url: str, **settings: Any) -> dict[str, Finding]:
    """What the doctor says, by what it looked at."""
    return {finding.check: finding for finding in examine(url, **settings).findings}


def verdicts(url: str, **settings: Any) -> dict[str, str]:
    return {check: finding.verdict for check, finding in findings(url, **settings).items()}
