"""
Hold stores to the protocol from the command line, on databases for tests.

    python -m failwell.service.conformance sqlite:///test.db postgresql://host/test redis://host/9

It prints each promise that is broken, and the page about crashes; `--write FILE` writes it
there, and `--check FILE` only says whether it is there already. The exit status is 1 if a store
breaks a promise, or if the page differs.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from failwell.service import conformance
from failwell.service.conformance.crashes import sweep
from failwell.service.conformance.report import page
from failwell.service.conformance.storm import storm
from failwell.service.idempotency import LEVELS
from failwell.service.stores.urls import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from failwell.service.conformance.crashes import Outcome
    from failwell.service.conformance.storm import Storm
    from failwell.service.idempotency import Level
    from failwell.service.stores.base import Store

NAMES = {"SQLiteStore": "SQLite", "PostgresStore": "PostgreSQL", "RedisStore": "Redis"}


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; the exit status."""
    parser = argparse.ArgumentParser("python -m failwell.service.conformance", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("urls", metavar="URL", nargs="+", help="a store, on a database for tests")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--write", type=Path, metavar="FILE", help="write the page about crashes")
    where.add_argument("--check", type=Path, metavar="FILE", help="say whether the page still holds")
    asked = parser.parse_args(arguments)
    broken = 0
    outcomes: dict[str, list[Outcome]] = {}
    storms: list[tuple[str, Level, Storm]] = []
    for url in asked.urls:
        opens = partial(opened, url)
        name, levels = _known(opens)
        broken += _check(name, opens, levels)
        outcomes[name] = sweep(opens)
        for level in sorted(levels, key=LEVELS.index):
            storms.append((name, level, storm(opens, level)))
    broken += sum(bool(outcome.faults) for found in outcomes.values() for outcome in found)
    broken += sum(bool(found.others) for _, _, found in storms)
    text = page(outcomes, storms)
    if asked.write is not None:
        asked.write.write_text(text, "utf-8")
    elif asked.check is None:
        print(text)
    elif asked.check.read_text("utf-8") != text:
        print(f"{asked.check} does not say what was seen", file=sys.stderr)
        broken += 1
    return 1 if broken else 0


def opened(url: str, clock: Callable[[], float] | None) -> Store:
    """The store at `url`; a clock of None is the store's own."""
    return open_store(url) if clock is None else open_store(url, clock=clock)


def _known(opens: Callable[[Callable[[], float] | None], Store]) -> tuple[str, frozenset[Level]]:
    store = opens(None)
    store.close()
    kind = type(store).__name__
    return NAMES.get(kind, kind), store.levels


def _check(name: str, opens: Callable[[Callable[[], float] | None], Store], levels: frozenset[Level]) -> int:
    """How many promises a store breaks."""
    broken = 0
    for check in conformance.checks(levels, own_clock=name != "SQLite"):
        try:
            check(opens)
        except Exception as exc:  # noqa: BLE001  # a store may break a promise in any way
            broken += 1
            print(f"{name} breaks a promise, {check}: {check.promise}\n    {exc!r}", file=sys.stderr)
    return broken


if __name__ == "__main__":
    # What goes to other processes is found there in its module, and their `__main__` is another.
    from failwell.service.conformance.__main__ import main as importable

    sys.exit(importable(sys.argv[1:]))
