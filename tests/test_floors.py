"""
The floors of the design, read from the imports themselves: they only go down, without a cycle,
and the first two floors need nothing but the standard library.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (
    {
        "errors", "failure", "headers", "redaction", "dialects", "contract", "answer", "meaning", "version",
        "exports", "arguments",
    },
    {"call", "operations"},
    {
        "engines", "client", "clock", "interop", "telemetry", "service", "models", "resources", "settings",
        "progress", "shared_circuits",
    },
    {"drill", "storm", "reference", "cli", "testing", "pytest_plugin", "__main__"},
)  # fmt: skip
TOP = len(FLOORS)  # the SDKs and the sandbox
OURS = ("failwell", "failwell_sandbox", *(p.name for p in ROOT.glob("sdks/*/src/*") if p.is_dir()))

# What `import failwell` and an exception must not cost; each is milliseconds.
HEAVY = {
    "asyncio", "concurrent", "dataclasses", "email", "http", "inspect", "json", "logging", "multiprocessing",
    "platform", "socket", "ssl", "subprocess", "tempfile", "tomllib", "typing", "unittest", "urllib", "xml",
}  # fmt: skip
# What a module of the first two floors may import when it is imported. The rest of HEAVY only
# inside the function that needs it.
ALLOWED_EARLY = {"dataclasses", "json", "urllib"}
# These are generic, and only a client, which has loaded `typing` long before, asks for them.
EXCUSED = {
    ("failwell.call.operation", "typing"),
    ("failwell.operations.batches", "typing"),
    ("failwell.operations.downloads", "typing"),
    ("failwell.operations.parts", "typing"),
    ("failwell.operations.polling", "typing"),
    ("failwell.operations.steps", "typing"),
    ("failwell.operations.streams", "typing"),
}


@cache
def modules() -> dict[str, Path]:
    """Every module of ours: name to file."""
    found = {}
    for base in (ROOT / "src", ROOT / "sandbox" / "src", *ROOT.glob("sdks/*/src")):
        for path in base.rglob("*.py"):
            parts = path.relative_to(base).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports(name: str, *, early: bool = False, typed: bool = False) -> Iterator[str]:
    """
    What `name` imports, by full name.

    Args:
        name: A module.
        early: Only what it imports when it is imported itself.
        typed: And what it imports for type checkers.
    """
    left: list[ast.AST] = [ast.parse(modules()[name].read_text("utf-8"))]
    while left:
        node = left.pop()
        if _is_type_checking(node) and not typed:
            left += node.orelse
            continue
        if early and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules() else str(node.module)
        left += ast.iter_child_nodes(node)


def floor_of(name: str) -> int | None:
    """The floor a module is on, from 0; None for the package's front door, which loads on demand."""
    package, _, rest = name.partition(".")
    if package != "failwell":
        return TOP
    if not rest:
        return None
    part = rest.partition(".")[0]
    floor = next((number for number, parts in enumerate(FLOORS) if part in parts), None)
    assert floor is not None, f"{name} is on no floor: say in DESIGN.md and here where it belongs"
    return floor


@pytest.mark.parametrize("name", modules())
def test_imports_only_go_down(name: str) -> None:
    own = floor_of(name)
    for other in imports(name):
        if other.partition(".")[0] not in OURS:
            continue
        floor = floor_of(other)
        assert floor is None or own is None or floor <= own, f"{name} imports {other} from a floor above"


def test_the_front_door_imports_nothing_by_itself() -> None:
    assert set(imports("failwell", early=True)) <= {"__future__", "failwell.exports", "failwell.version"}


def test_an_sdk_and_the_sandbox_know_nothing_of_another_sdk_but_its_contract() -> None:
    for name in modules():
        package = name.partition(".")[0]
        if package in ("failwell", "failwell_sandbox"):
            continue
        foreign = {i.partition(".")[0] for i in imports(name)} & set(OURS) - {package, "failwell"}
        assert not foreign, f"{name} imports {foreign}"


@pytest.mark.parametrize(
    "name", [n for n in modules() if n.startswith("failwell.") and (floor_of(n) or 0) < 2]
)
def test_the_first_two_floors_import_only_the_standard_library(name: str) -> None:
    for other in imports(name):
        top = other.partition(".")[0]
        assert top == "failwell" or top in sys.stdlib_module_names, f"{name} imports {other}"
    for other in imports(name, early=True):
        top = other.partition(".")[0]
        assert top not in HEAVY - ALLOWED_EARLY or (name, top) in EXCUSED, f"{name} imports {other} early"


def graph(names: Iterable[str], *, early: bool = False, typed: bool = False) -> dict[str, set[str]]:
    """What each of `names` imports of all of them."""
    among = set(names)
    # Whoever imports a module has its package already: asking that for a name is no cycle.
    return {
        name: {
            i for i in imports(name, early=early, typed=typed) if i in among and not name.startswith(f"{i}.")
        }
        for name in among
    }


def assert_no_cycle(graph: dict[str, set[str]]) -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name)) if name in path else ""
        if name in done:
            return
        for other in sorted(graph[name]):
            if other != name:
                visit(other, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_there_is_no_import_cycle() -> None:
    assert_no_cycle(graph(modules(), early=True))


@pytest.mark.parametrize(
    "package", ["failwell.client", "failwell.call", "failwell.engines", "failwell.dialects"]
)
def test_whoever_reads_these_packages_meets_no_circle_even_for_the_sake_of_a_type(package: str) -> None:
    ours = [name for name in modules() if f"{name}.".startswith(f"{package}.")]

    assert len(ours) > 5
    assert_no_cycle(graph(ours, typed=True))


def _loaded(code: str) -> set[str]:
    """The modules a bare interpreter has loaded after `code`, besides those it starts with."""
    script = f"import sys; before = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {_paths()!r}\n{script}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.split())


def _paths() -> list[str]:
    return [str(ROOT / "src"), *(str(p) for p in ROOT.glob("sdks/*/src"))]


EXCEPTIONS = [
    node.targets[0].id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    else node.name
    for node in ast.parse((ROOT / "src/failwell/errors.py").read_text("utf-8")).body
    if isinstance(node, ast.ClassDef)
]


def test_every_exception_costs_no_engine_no_event_loop_and_nothing_heavy() -> None:
    """
    Without site-packages on the path: a third-party import would fail, not only be seen.
    """
    names = ", ".join(f"failwell.{name}" for name in EXCEPTIONS)
    loaded = _loaded(f"import failwell\n{names}")

    assert len(EXCEPTIONS) > 25
    ours = {name for name in loaded if name.startswith("failwell")}
    assert ours <= {"failwell", "failwell.errors", "failwell.exports", "failwell.version"}
    assert not {name.partition(".")[0] for name in loaded} & HEAVY


@pytest.mark.parametrize(
    "module",
    [
        n
        for n in modules()
        if n.partition(".")[0] not in ("failwell", "failwell_sandbox") and n.endswith("errors")
    ],
)
def test_the_exceptions_of_an_sdk_cost_no_engine_and_no_event_loop(module: str) -> None:
    loaded = {name.partition(".")[0] for name in _loaded(f"import {module}")}

    assert not loaded & (HEAVY - {"json"}), loaded & HEAVY
    assert not {name for name in loaded if name not in sys.stdlib_module_names and name not in OURS}


def test_decoding_needs_nothing_but_the_standard_library() -> None:
    loaded = _loaded(
        "import failwell\n"
        "answer = failwell.Answer(429, {'retry-after': '3'}, '{\"detail\": \"Slow down.\"}')\n"
        "error = failwell.decode(answer)\n"
        "assert type(error) is failwell.RateLimitError and error.retry_after == 3.0"
    )

    assert not {n.partition(".")[0] for n in loaded} - set(sys.stdlib_module_names) - {"failwell"}
    assert not {"asyncio", "ssl", "socket", "logging"} & loaded
    assert not {n for n in loaded if n.startswith(("failwell.engines", "failwell.client", "failwell.call"))}
