"""
The contracts that are known here: failwell's own, and those of the SDKs that are installed.

An SDK says so in its distribution:

    [project.entry-points."failwell.contracts"]
    kneo = "kneo_client.core.errors:CONTRACT"
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from failwell.contract import STANDARD, Contract

if TYPE_CHECKING:
    from failwell.errors import Error

GROUP = "failwell.contracts"


@dataclass(slots=True)
class Known:
    """
    The contracts that could be loaded, by name, the standard one last; and why others could not.

    Attributes:
        contracts: By the name their distribution gives them.
        problems: One sentence for each that could not be loaded.
    """

    contracts: dict[str, Contract] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def contracts() -> Known:
    """Every contract that is installed. One that cannot be loaded is told, and stops nothing."""
    from importlib.metadata import entry_points

    known = Known()
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        try:
            found = point.load()
        except Exception as exc:  # noqa: BLE001 - whatever an SDK does when it is imported
            known.problems.append(f"The contract {point.name} could not be loaded: {_why(exc)}.")
            continue
        if isinstance(found, Contract):
            known.contracts[point.name] = found
        else:
            known.problems.append(f"The contract {point.name} is a {type(found).__name__}, not a Contract.")
    known.contracts[STANDARD.name] = STANDARD
    return known


def _why(exc: BaseException) -> str:
    text = " ".join(str(exc).split())
    return f"{type(exc).__name__}: {text}"[:200].rstrip(".") if text else type(exc).__name__


def public_name(cls: type[Error]) -> str:
    """What a person writes to catch `cls`: from the top package if it has the name there."""
    import sys

    top = cls.__module__.partition(".")[0]
    package = sys.modules.get(top)
    if package is not None and getattr(package, cls.__name__, None) is cls:
        return f"{top}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"
