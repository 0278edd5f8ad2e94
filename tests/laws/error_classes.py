"""
Every error class of failwell and of each SDK, found by walking the packages.

A class that is added later is under every law without anybody remembering.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import failwell
from failwell import CallError, Contract, Error, Failure
from failwell.contract import STANDARD

ROOT = Path(__file__).parents[2]
PACKAGES = ("failwell", *sorted(p.name for p in ROOT.glob("sdks/*/src/*") if (p / "__init__.py").exists()))


@cache
def modules() -> tuple[str, ...]:
    """Every module of the packages, imported; those whose extra is not installed are left out."""
    found = []
    for package in PACKAGES:
        found.append(package)
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            if module.name.endswith("__main__"):
                continue
            try:
                importlib.import_module(module.name)
            except ImportError as exc:
                # Something of our own that cannot be imported is no missing extra.
                if (exc.name or "").partition(".")[0] in PACKAGES:
                    raise
                continue
            found.append(module.name)
    return tuple(found)


@cache
def classes() -> tuple[type[Error], ...]:
    """Every class of error, bases first."""
    modules()
    found: dict[type[Error], None] = {}
    left: list[type[Error]] = [Error]
    while left:
        cls = left.pop(0)
        # What the drill's self-test plants is wrong on purpose.
        is_planted = cls.__module__.startswith("failwell.drill.selftest.")
        if cls.__module__.partition(".")[0] in PACKAGES and not is_planted:
            found[cls] = None
        left += cls.__subclasses__()
    return tuple(found)


def call_errors() -> tuple[type[CallError], ...]:
    """Those that carry a failure."""
    return tuple(cls for cls in classes() if issubclass(cls, CallError))


@cache
def contracts() -> dict[str, Contract]:
    """The standard contract and each SDK's."""
    modules()
    own = {name: sys.modules[name].CONTRACT for name in PACKAGES if name != "failwell"}
    return {"failwell": STANDARD, **own}


# What a documented constructor is given for each parameter it insists on.
SAMPLES: dict[str, Any] = {
    "message": "It broke",
    "code": "BROKEN",
    "resource_type": "file",
    "resource_id": "img_1",
    "status_code": 418,
    "exceptions": [failwell.UsageError("an item")],
}


def constructed(cls: type[Error]) -> Error:
    """An error made as its document says, with everything that has to be given."""
    given = {}
    for name, parameter in list(inspect.signature(cls.__init__).parameters.items())[1:]:
        if parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            assert name in SAMPLES, f"{cls.__name__} insists on {name!r}: add a sample"
            given[name] = SAMPLES[name]
    return cls(**given) if given else cls("It broke")


def with_failure(cls: type[Error], failure: Failure) -> Error:
    """An error of `cls` that knows `failure`; of a class without one, its message."""
    return cls.from_failure(failure) if issubclass(cls, CallError) else cls(failure.message or "It broke")


def facts(error: Any) -> Any:
    """Everything that can be asked of an error, for comparing two."""
    if not isinstance(error, BaseException):
        return [facts(e) for e in error] if isinstance(error, (list, tuple)) else error
    asked = {
        name: getattr(error, name)
        for cls in type(error).__mro__
        if cls.__module__.partition(".")[0] in PACKAGES
        for name, value in vars(cls).items()
        if isinstance(value, property)
    }
    own = {name: value for name, value in vars(error).items() if not name.startswith("_")}
    return type(error), facts(error.args), str(error), asked, own, facts(getattr(error, "exceptions", ()))


def raise_again(error: BaseException) -> None:
    """What a worker does with an error it was sent."""
    raise error
