"""The awaiting client is the blocking one, method by method and word by word."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from kneo_client import client, platform

PAIRS = [
    (getattr(module, name.removeprefix("Async")), twin)
    for module in (client, platform)
    for name, twin in vars(module).items()
    if name.startswith("Async") and inspect.isclass(twin) and twin.__module__ == module.__name__
]
# What is spelled otherwise in the twin, and what it says.
RENAMED = {"close": "aclose", "__enter__": "__aenter__", "__exit__": "__aexit__"}


def _methods(cls: type) -> Iterator[tuple[str, Any]]:
    return ((name, f) for name, f in vars(cls).items() if inspect.isfunction(f))


def test_every_class_of_the_platform_has_a_twin() -> None:
    names = {
        name
        for name, cls in vars(platform).items()
        if inspect.isclass(cls) and cls.__module__ == platform.__name__ and not name.startswith("Async")
    }

    assert {cls.__name__ for cls, _ in PAIRS} == names | {"KneoClient"}


@pytest.mark.parametrize(("cls", "twin"), PAIRS, ids=lambda c: c.__name__)
def test_both_have_the_same_methods(cls: type, twin: type) -> None:
    assert {RENAMED.get(name, name) for name, _ in _methods(cls)} == {name for name, _ in _methods(twin)}


@pytest.mark.parametrize(
    ("method", "twin"),
    [
        pytest.param(method, vars(other)[RENAMED.get(name, name)], id=f"{cls.__name__}.{name}")
        for cls, other in PAIRS
        for name, method in _methods(cls)
    ],
)
def test_both_methods_take_and_say_the_same(method: Any, twin: Any) -> None:
    if method.__name__ == "__init__" and "client" in inspect.signature(method).parameters:
        return  # takes the client of its own kind
    assert inspect.signature(method) == inspect.signature(twin)
    assert inspect.getdoc(method) == inspect.getdoc(twin)


@pytest.mark.parametrize(("cls", "twin"), PAIRS, ids=lambda c: c.__name__)
def test_all_that_can_be_asked_is_awaited_in_the_twin(cls: type, twin: type) -> None:
    public = [(name, f) for name, f in _methods(twin) if not name.startswith("_")]

    assert all(inspect.iscoroutinefunction(f) for _, f in public)
    assert not any(inspect.iscoroutinefunction(f) for _, f in _methods(cls))


def test_the_clients_describe_the_same_settings() -> None:
    def after_first_line(cls: type) -> str:
        return (inspect.getdoc(cls) or "").partition("\n")[2]

    assert after_first_line(client.KneoClient) == after_first_line(client.AsyncKneoClient)


@pytest.mark.parametrize(
    "method",
    [pytest.param(m, id=f"{c.__name__}.{n}") for c, _ in PAIRS for n, m in _methods(c) if n[0] != "_"],
)
def test_every_public_method_describes_each_of_its_parameters(method: Any) -> None:
    text = inspect.getdoc(method) or ""

    for name in list(inspect.signature(method).parameters)[1:]:
        assert f"    {name}: " in text
