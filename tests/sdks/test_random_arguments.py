"""
Whatever is passed to a method of an SDK: it is refused before anything is sent, or a request that
can be sent goes out. Nothing else comes out of a call: no bare TypeError, KeyError, AttributeError.

    RANDOM_ARGUMENTS=10000 pytest tests/sdks/test_random_arguments.py

makes so many calls of each method instead of 60. A new SDK needs one line in `CLIENTS`.
"""

from __future__ import annotations

import inspect
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from decimal import Decimal
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agoralia import Agoralia
from argus import Argus
from failwell import CallError, UsageError
from failwell.testing import FakeClock, ScriptedEngine, answer
from kneo_client import KneoClient
from pictograph import Client as Pictograph
from pictograph import train_pipeline, upload_folder
from scopix import ScopixSync

EXAMPLES = int(os.environ.get("RANDOM_ARGUMENTS", "60"))
BASE = "http://service.example/api"


def with_workflows(client: Any, *workflows: Callable[..., Any]) -> Any:
    """A client whose functions that take it are called as its methods are."""
    for workflow in workflows:
        setattr(client, workflow.__name__, MethodType(workflow, client))
    return client


CLIENTS: dict[str, Callable[..., Any]] = {
    "agoralia": lambda **settings: Agoralia("ago_" + "a" * 32, base_url=BASE, **settings),
    "argus": lambda **settings: Argus("rsk_" + "a" * 32, base_url=BASE, **settings),
    "kneo_client": lambda **settings: KneoClient("kneo_" + "a" * 32, base_url=BASE, **settings),
    "pictograph": lambda **settings: with_workflows(
        Pictograph("pk_" + "a" * 40, base_url=BASE, **settings), train_pipeline, upload_folder
    ),
    "scopix": lambda **settings: ScopixSync("sx_" + "a" * 40, base_url=BASE, **settings),
}

# --- what is passed ---

TEXTS = st.text(max_size=20) | st.sampled_from(
    ["", " ", ".", "..", "a/b", "a?b#c", "\ud800", "\x00", "x" * 300]
)
NUMBERS = st.integers(-3, 200) | st.integers() | st.floats() | st.booleans()
JSON = st.recursive(
    st.none() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def _cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    return deep


# Made when they are drawn: some of them have no `repr`.
ODD: list[Callable[[], Any]] = [
    lambda: None, lambda: b"bytes", lambda: bytearray(b"x"), lambda: memoryview(b"m"), lambda: {1}, frozenset,
    object, lambda: ValueError("x"), lambda: int, lambda: len, lambda: iter([]), lambda: range(3), lambda: 1j,
    lambda: Decimal("1.5"), lambda: ..., lambda: {"a": {1, 2}}, lambda: {1: 2}, lambda: {None: {}},
    lambda: [object()], lambda: {"a": float("nan")}, lambda: {"a": "\ud800"}, lambda: {"\ud800": 1},
    lambda: (1, 2), lambda: 2**63, lambda: -(2**63) - 1, lambda: 10**5000, lambda: [10**5000],
    lambda: {"a": 10**5000}, _cycle, _deep, lambda: {"a": _cycle()}, lambda: {"a": _deep()},
]  # fmt: skip
JUNK = TEXTS | NUMBERS | JSON | st.integers(0, len(ODD) - 1).map(lambda n: ODD[n]())


def likely(annotation: str) -> st.SearchStrategy[Any]:
    """Values that a parameter so annotated could well be passed."""
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "str": TEXTS | st.sampled_from(["run_1", "POST", "/x", "key-1"]),
        "int": st.integers(1, 100),
        "float": st.floats(0.1, 100.0),
        "bool": st.booleans(),
        "Mapping": st.dictionaries(st.text("abc", min_size=1), JSON, max_size=3),
        "Sequence": st.lists(TEXTS, max_size=3),
        "None": st.none(),
    }
    found = [strategy for word, strategy in kinds.items() if word in annotation]
    return st.one_of(*found) if found else JSON


class Passed:
    """What is passed to a method; shown as far as it can be."""

    def __init__(self) -> None:
        self.positional: list[Any] = []
        self.named: dict[str, Any] = {}

    def __repr__(self) -> str:
        try:
            return f"{self.positional!r:.500} {self.named!r:.500}"
        except (ValueError, RecursionError):
            return f"{list(map(type, self.positional))} { {n: type(v) for n, v in self.named.items()} }"


@st.composite
def passed(draw: st.DrawFn, method: Callable[..., Any]) -> Passed:
    """As many arguments as `method` takes, of any kind."""
    what = Passed()
    for name, parameter in inspect.signature(method).parameters.items():
        required = parameter.default is parameter.empty
        if not required and draw(st.booleans()):
            continue
        usual = likely(str(parameter.annotation))
        value = draw(st.one_of(usual, usual, JUNK))
        if required and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            what.positional.append(value)
        else:
            what.named[name] = value
    return what


# --- what is called ---


def methods(thing: Any, path: str = "") -> Iterator[str]:
    """The dotted names of all public methods of a client and of what hangs on it."""
    for name, value in inspect.getmembers(thing):
        if name.startswith("_") or name == "close":
            continue
        where = f"{path}.{name}".lstrip(".")
        if inspect.ismethod(value):
            yield where
        elif type(value).__module__.partition(".")[0] in CLIENTS and not is_dataclass(value):
            yield from methods(value, where)


def every_method() -> list[Any]:
    found = []
    for sdk, make in CLIENTS.items():
        with make(engine=ScriptedEngine([])) as client:
            found += [pytest.param(sdk, method, id=f"{sdk}.{method}") for method in methods(client)]
    return found


def sendable(request: Any) -> bool:
    """Whether a request is one that HTTP can carry and the service can read."""
    if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Z]+", request.method):
        return False
    if not request.url.startswith(BASE) or not re.fullmatch(r"[\x21-\x7e]+", request.url):
        return False
    if not all(re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", value) for value in request.headers.values()):
        return False
    if request.content and request.headers.get("content-type") == "application/json":
        json.loads(request.content)
    return True


@pytest.mark.parametrize(("sdk", "name"), every_method())
def test_a_call_is_refused_or_can_be_sent(
    sdk: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")  # "." and ".." may be taken for folders to upload
    engine = ScriptedEngine(itertools.repeat(answer(404, {})))
    client = CLIENTS[sdk](engine=engine, clock=FakeClock())
    method = client
    for part in name.split("."):
        method = getattr(method, part)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=EXAMPLES <= 1000,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(passed(method))
    def call(what: Passed) -> None:
        engine.orders.clear()
        refused: UsageError | CallError | None = None
        try:
            method(*what.positional, **what.named)
        except (UsageError, CallError) as error:
            refused = error
        if isinstance(refused, UsageError):
            assert engine.orders == []
        elif isinstance(refused, CallError):
            # Sent and answered, or not sent because no time was allowed.
            assert engine.orders or refused.effect.value == "not_sent"
        assert all(sendable(request) for request in engine.requests)

    call()
    client.close()
