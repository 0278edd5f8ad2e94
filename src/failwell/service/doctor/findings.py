"""What the doctor says: one finding for each thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, TypeAlias

    # `unknown` is what could not be seen, such as a setting that a hosted server hides.
    Verdict: TypeAlias = Literal["well", "advice", "wrong", "unknown"]


class CannotLookError(Exception):
    """The store cannot be examined at all; says why in one sentence, without its password."""


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that was looked at.

    Attributes:
        check: What was looked at, such as `journal_mode`; for programs, and stays the same.
        verdict: `well`, `advice`, `wrong` or `unknown`.
        found: What is so.
        do: What to do about it; empty if nothing.
    """

    check: str
    verdict: Verdict
    found: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """
    A store as it was found.

    Attributes:
        store: What was examined, without its password.
        findings: In the order in which it was looked.
    """

    store: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; advice and what could not be seen do not count."""
        return all(finding.verdict != "wrong" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {
            "store": self.store,
            "ok": self.ok,
            "findings": [
                {"check": f.check, "verdict": f.verdict, "found": f.found, "do": f.do} for f in self.findings
            ],
        }


def well(check: str, found: str) -> Finding:
    """As it should be."""
    return Finding(check, "well", found)


def advice(check: str, found: str, do: str) -> Finding:
    """It works, and could be better."""
    return Finding(check, "advice", found, do)


def wrong(check: str, found: str, do: str) -> Finding:
    """A promise of the service half does not hold like this."""
    return Finding(check, "wrong", found, do)


def unknown(check: str, found: str, do: str = "") -> Finding:
    """It cannot be seen from here."""
    return Finding(check, "unknown", found, do)


def clock_skew(ahead: float, trip: float) -> Finding:
    """
    How far the store's clock is from this machine's.

    Args:
        ahead: Seconds that the store's clock is ahead, measured in the middle of the trip.
        trip: Seconds the question took; half of it is the error of the measurement.
    """
    apart = max(0.0, abs(ahead) - trip / 2)
    if apart < 1.0:
        return well("clock", "The clocks agree within a second.")
    side = "ahead of" if ahead > 0 else "behind"
    found = f"The store's clock is {apart:,.0f} s {side} this machine's."
    do = (
        "Let both keep time by NTP. Leases and limits go by the store's clock; expiry of API keys "
        "goes by this one, and clients compare X-RateLimit-Reset with theirs."
    )
    return (wrong if apart >= 30 else advice)("clock", found, do)
