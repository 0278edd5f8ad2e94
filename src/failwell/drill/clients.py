"""
Which SDKs the drill knows by name: those whose distribution says how to drill them.

The drill stands below the SDKs and imports none of them. A distribution that has both an SDK
and its service at hand declares a `Subject`, or a function that makes one:

    [project.entry-points."failwell.drill"]
    kneo = "failwell_sandbox.subjects.kneo:subject"
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from failwell.drill.subject import Subject
from failwell.errors import UsageError

GROUP = "failwell.drill"


def known() -> list[str]:
    """Names of the SDKs that can be drilled here."""
    return sorted(entry_points(group=GROUP).names)


def load(name: str) -> Subject:
    """
    The subject called `name`, or the one at `module:attribute`.

    Raises:
        UsageError: there is none, or what is there cannot be loaded or is no subject.
    """
    try:
        found = _find(name)
    except (ImportError, AttributeError) as exc:
        raise UsageError(f"cannot load the subject {name!r}: {exc}") from exc
    subject = found() if callable(found) and not isinstance(found, Subject) else found
    if not isinstance(subject, Subject):
        raise UsageError(f"{name} is no failwell.drill.Subject")
    return subject


def _find(name: str) -> object:
    for point in entry_points(group=GROUP, name=name):
        return point.load()
    module_name, colon, attribute = name.partition(":")
    if colon:
        return getattr(import_module(module_name), attribute)
    there = ", ".join(known())
    raise UsageError(
        f"no SDK is called {name!r}; there are {there}, or give module:attribute"
        if there
        else f"no SDK is called {name!r}, for none is installed with its service: install failwell-sandbox"
    )
