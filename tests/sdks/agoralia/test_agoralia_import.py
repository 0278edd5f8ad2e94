"""What importing the package costs, and what it promises."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import agoralia

HEAVY = (
    "typing",
    "asyncio",
    "email",
    "logging",
    "ssl",
    "http",
    "httpx2",
    "requests",
    "failwell.client",
    "anyio",
)


def test_naming_an_error_loads_no_engine() -> None:
    probe = (
        "import sys; before = set(sys.modules); import agoralia; agoralia.AgoraliaRateLimitError; "
        "import agoralia.errors; print(*sorted(set(sys.modules) - before))"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    ).stdout.split()

    assert "agoralia.errors" in loaded
    assert [name for name in HEAVY if name in loaded] == []
    assert [name for name in loaded if name.startswith(("failwell.contract", "failwell.dialects"))] == []


def test_the_table_can_be_had_from_beside_the_errors() -> None:
    from agoralia import errors

    assert errors.CONTRACT is agoralia.CONTRACT
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        errors.Nonsense  # noqa: B018  # looking it up raises


def test_the_list_for_readers_is_the_list_that_is_loaded() -> None:
    tree = ast.parse(Path(agoralia.__file__).read_text("utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    told = {
        (node.module, a.name) for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names
    }

    assert told == {(home, name) for home, names in agoralia._HOMES.items() for name in names}
    assert agoralia.__all__ == sorted(name for _, name in told)
    for name in agoralia.__all__:
        assert getattr(agoralia, name) is not None
    assert set(agoralia.__all__) < set(dir(agoralia))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        agoralia.Nonsense  # noqa: B018  # looking it up raises


def test_every_error_class_is_exported() -> None:
    from agoralia import errors

    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.AgoraliaAPIError)
    }

    assert classes <= set(agoralia.__all__)
