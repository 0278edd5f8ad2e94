"""
Which SDKs the drill knows by name.

The drill stands below the SDKs and imports none of them: a name is looked up here when it is
asked for, and what it stands for is loaded then.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from failwell.drill.subject import Subject
from failwell.errors import UsageError

# Name on the command line: what it needs to be installed, and where its subject is made.
_KNOWN = {
    "kneo": (("kneo_client", "failwell_sandbox"), "failwell_sandbox.subjects.kneo:subject"),
    "agoralia": (("agoralia", "failwell_sandbox"), "failwell_sandbox.subjects.agoralia:subject"),
}


def known() -> list[str]:
    """Names of the SDKs that are installed here together with their services."""
    return [name for name, (needs, _) in _KNOWN.items() if all(find_spec(n) is not None for n in needs)]


def load(name: str) -> Subject:
    """
    The subject called `name`, or the one at `module:attribute`.

    Raises:
        UsageError: there is none, it is not installed, or what is there is no subject.
    """
    needs, place = _KNOWN.get(name, ((), name))
    lacking = [n for n in needs if find_spec(n) is None]
    if lacking:
        raise UsageError(f"the drill of {name} needs {' and '.join(lacking)}, which is not installed")
    module_name, colon, attribute = place.partition(":")
    if not colon:
        raise UsageError(
            f"no SDK is called {name!r}; there are {', '.join(_KNOWN)}, or give module:attribute"
        )
    try:
        found = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as exc:
        raise UsageError(f"cannot load the subject {name!r}: {exc}") from exc
    subject = found() if callable(found) and not isinstance(found, Subject) else found
    if not isinstance(subject, Subject):
        raise UsageError(f"{place} is no failwell.drill.Subject")
    return subject
