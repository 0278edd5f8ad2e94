"""What the package promises, and what it costs to catch one of its exceptions."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kneo_client

# None of these is needed to name an exception.
HEAVY = (
    "aiohttp", "anyio", "asyncio", "email", "failwell.call", "failwell.client", "failwell.contract",
    "failwell.dialects", "failwell.engines", "http", "httpcore", "httpx", "httpx2", "kneo_client.client",
    "kneo_client.models", "logging", "pathlib", "pyreqwest", "ssl", "tomllib", "typing", "urllib", "xml",
)  # fmt: skip


def _loaded_by(statement: str) -> set[str]:
    """The modules that `statement` loads in an interpreter of its own, beyond a bare one's."""
    code = f"import sys; before = set(sys.modules)\n{statement}\nprint(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_catching_an_error_loads_no_engine_and_nothing_heavy() -> None:
    loaded = _loaded_by("from kneo_client.core.errors import KneoError, KneoRateLimited")

    assert {m for m in loaded if any(m == h or m.startswith(f"{h}.") for h in HEAVY)} == set()


def test_reading_an_answer_loads_no_engine_either() -> None:
    loaded = _loaded_by(
        "import failwell; from kneo_client.core.errors import from_response\n"
        "from_response(failwell.Answer(404, {}, b'{}'))"
    )

    assert not {"httpx", "httpx2", "aiohttp", "pyreqwest", "asyncio"} & loaded
    assert not any(m.startswith("failwell.engines") for m in loaded)


@pytest.mark.parametrize("name", kneo_client.__all__)
def test_every_promised_name_can_be_had(name: str) -> None:
    assert getattr(kneo_client, name).__class__ is not None
    assert name in dir(kneo_client)


def test_what_is_not_promised_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = kneo_client.Nothing
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = kneo_client.core.errors.Nothing


def test_what_type_checkers_read_and_what_is_loaded_are_the_same() -> None:
    tree = ast.parse(Path(kneo_client.__file__).read_text("utf-8"))
    (block,) = [n for n in tree.body if isinstance(n, ast.If)]
    read = {(n.module, a.name) for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}

    assert read == {(home, name) for home, names in kneo_client._HOMES.items() for name in names}


def test_the_contract_can_be_had_from_the_package_and_from_its_errors() -> None:
    from kneo_client.core import contract, errors

    assert kneo_client.CONTRACT is contract.CONTRACT is errors.CONTRACT
