"""The stores keep the protocol, and the checks that say so notice one that does not."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from broken_stores import BROKEN
from opened_stores import KINDS, LEVELS, opens_sqlite, shared

from failwell.service import SQLiteStore, conformance

CASES = [
    pytest.param(kind, check, id=f"{kind}-{check}")
    for kind in KINDS
    for check in conformance.checks(LEVELS[kind], own_clock=kind != "sqlite")
]


@pytest.mark.parametrize(("kind", "check"), CASES)
def test_a_store_keeps_the_protocol(kind: str, check: conformance.Check) -> None:
    check(shared(kind))


BROKEN_CASES = [
    pytest.param(kind, name, id=f"{kind.__name__}-{name}") for kind, names in BROKEN.items() for name in names
]


@pytest.mark.parametrize(("kind", "name"), BROKEN_CASES)
def test_a_store_that_breaks_a_promise_is_noticed(kind: type[SQLiteStore], name: str, tmp_path: Path) -> None:
    (check,) = (check for check in conformance.checks() if check.name == name)

    with pytest.raises(conformance.ConformanceError):
        check(partial(opens_sqlite, tmp_path / "store.db", kind=kind))


def test_checks_are_chosen_by_what_a_store_keeps() -> None:
    """Every check has a sentence, a name of its own, and a level that there is."""
    everything = conformance.checks()
    least = conformance.checks(["resumable"], own_clock=False)

    assert len({str(check) for check in everything}) == len(everything)
    assert all(check.promise.endswith(".") for check in everything)
    assert {check.level for check in everything} == {None, "transactional", "at_most_once"}
    assert {check.level for check in least} == {None}
    assert not any(check.own_clock for check in least)
