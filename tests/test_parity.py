"""
Every class `X` with a twin `AsyncX` in the same module, or `XSync` with a twin `X`: the same methods,
signatures and words.

The pairs are found by walking the packages, so a new SDK's clients are under it, too.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("failwell", *sorted(p.name for p in ROOT.glob("sdks/*/src/*") if (p / "__init__.py").exists()))
RENAMED = {
    "close": "aclose",
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
    "__iter__": "__aiter__",
    "__next__": "__anext__",
}
# The twins of engines are made for each other's protocols, and say where they differ.
EXCUSED = ("failwell.engines.", "failwell.service.")


def _modules() -> Iterator[Any]:
    for package in PACKAGES:
        root = importlib.import_module(package)
        yield root
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            if module.name.endswith("__main__") or module.name.startswith(EXCUSED):
                continue
            try:
                yield importlib.import_module(module.name)
            except ImportError as exc:  # an extra that is not installed; what is ours has to be there
                if (exc.name or "").partition(".")[0] in PACKAGES:
                    raise


def _blocking(name: str) -> str:
    """What the blocking twin of a class would be called."""
    return name.removeprefix("Async") if name.startswith("Async") else f"{name}Sync"


PAIRS = [
    pytest.param(vars(module)[_blocking(name)], twin, id=f"{module.__name__}.{name}")
    for module in _modules()
    for name, twin in vars(module).items()
    if _blocking(name) in vars(module) and inspect.isclass(twin) and twin.__module__ == module.__name__
]


def _own(cls: type) -> dict[str, Any]:
    return {name: f for name, f in vars(cls).items() if inspect.isfunction(f)}


def _given(method: Any, cls: type) -> list[tuple[str, Any, str]]:
    """A method's parameters; what is of the class's own kind is the same on both sides."""
    return [
        (p.name, p.kind, f"{p.annotation}".replace("Async", "").replace("Awaitable", ""))
        for p in inspect.signature(method).parameters.values()
    ]


def _words(thing: Any) -> str:
    return inspect.getdoc(thing) or ""


def test_there_are_pairs_in_every_package() -> None:
    assert {str(pair.id).partition(".")[0] for pair in PAIRS} == set(PACKAGES)


@pytest.mark.parametrize(("cls", "twin"), PAIRS)
def test_both_have_the_same_public_methods(cls: type, twin: type) -> None:
    def public(names: Any) -> set[str]:
        return {name for name in names if not name.startswith("_") or name.startswith("__")}

    assert {RENAMED.get(name, name) for name in public(_own(cls))} == public(_own(twin))


@pytest.mark.parametrize(("cls", "twin"), PAIRS)
def test_each_method_takes_and_says_the_same(cls: type, twin: type) -> None:
    for name, method in _own(cls).items():
        other = vars(twin).get(RENAMED.get(name, name))
        if name.startswith("_") and not name.startswith("__"):
            continue
        assert other is not None, name
        assert _given(method, cls) == _given(other, twin), name
        defaults = [p.default for p in inspect.signature(method).parameters.values()]
        assert defaults == [p.default for p in inspect.signature(other).parameters.values()], name
        assert _words(method) == _words(other), name


@pytest.mark.parametrize(("cls", "twin"), PAIRS)
def test_what_blocks_in_one_is_awaited_in_the_other(cls: type, twin: type) -> None:
    assert not [name for name, f in _own(cls).items() if inspect.iscoroutinefunction(f)]
    blocking = [
        name
        for name, f in _own(twin).items()
        if not name.startswith("_")
        and not inspect.iscoroutinefunction(f)
        and not inspect.isasyncgenfunction(f)
        and "Async" not in str(inspect.signature(f).return_annotation)
    ]
    assert not blocking


@pytest.mark.parametrize(("cls", "twin"), PAIRS)
def test_both_classes_explain_themselves(cls: type, twin: type) -> None:
    assert _words(cls)
    assert _words(twin)
