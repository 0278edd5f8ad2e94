"""The stores keep the protocol, and the checks that say so notice one that does not."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from broken_stores import BROKEN, AlwaysMismatch, SaysInFlightFirst
from opened_stores import KINDS, LEVELS, opens_sqlite, shared

from failwell.service import SQLiteStore, StoreBusyError, conformance
from failwell.service.conformance import forks, together
from failwell.service.conformance.trial import Effects, answer_of, expect, held, in_flight, insertion
from failwell.service.idempotency import Claim, Mismatch, Recorded

if TYPE_CHECKING:
    from failwell.service.conformance.trial import OpenStore

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


@pytest.mark.parametrize("levels", [["exactly_once"], "transactional"])
def test_a_level_that_there_is_not_drops_no_checks_in_silence(levels: Any) -> None:
    with pytest.raises(ValueError, match="there are transactional, resumable, at_most_once"):
        conformance.checks(levels)


def of_the_script(clock: Any) -> Any:
    """What opens a store, as it is where a script defines it."""


of_the_script.__module__ = "__main__"


@pytest.mark.parametrize(
    ("opens", "why"),
    [(lambda clock: None, "by pickle"), (of_the_script, "define it in a module that can be imported")],
)
def test_what_cannot_go_to_another_process_is_told_so(
    opens: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "of_the_script", of_the_script, raising=False)

    with forks.Processes() as processes, pytest.raises(TypeError, match=why):
        processes.run([(opens, (None,))])


# --- what the other processes run, here without them ---


def test_a_process_alone_gets_everything(tmp_path: Path) -> None:
    """The claim, as many requests as the tightest limit says, the effect, and the answer on record."""
    opens = partial(opens_sqlite, tmp_path / "store.db")
    slot = b"s" * 32

    claim = together._claim(opens, b"c" * 32, together.LONG)
    assert isinstance(claim, Claim)
    asyncio.run(_make_table(opens))
    done = answer_of(f"pid{os.getpid()}")
    assert done == together._commit(opens, slot, "alone")
    assert done == together._commit(opens, slot, "alone")
    assert done.body == together._commit_with(opens, claim, "another")
    assert together._commit_with(opens, claim, "another") is None
    assert 10 == together._take(opens, "subject", 15)
    told, wait = together._claim_and_take(opens, b"c" * 32)
    assert isinstance(told, Recorded)
    assert 0 == wait


async def _make_table(opens: OpenStore) -> None:
    store = opens(None)
    await Effects(store).make()
    await store.aclose()


def test_who_finds_the_work_under_way_waits_for_the_record(tmp_path: Path) -> None:
    """Until then it asks again."""
    opens = partial(opens_sqlite, tmp_path / "store.db", kind=SaysInFlightFirst)
    asyncio.run(_make_table(opens))

    assert answer_of(f"pid{os.getpid()}") == together._commit(opens, b"s" * 32, "later")


def test_a_claim_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    opens = partial(opens_sqlite, tmp_path / "store.db", kind=AlwaysMismatch)

    with pytest.raises(AssertionError, match="Mismatch"):
        together._commit(opens, b"s" * 32, "never")


def test_a_busy_store_is_asked_again() -> None:
    """It has done nothing, and is no worse for it; but not for ever."""
    busy = [StoreBusyError(), StoreBusyError()]

    async def ask() -> str:
        if busy:
            raise busy.pop()
        return "done"

    assert "done" == asyncio.run(together._patiently(ask))

    async def always() -> str:
        raise StoreBusyError

    with pytest.raises(StoreBusyError):
        asyncio.run(together._patiently(always, pause=0.0))


def test_only_words_go_between_quotes() -> None:
    with pytest.raises(ValueError, match="not a word"):
        insertion("it's", "proof")


def test_a_claim_that_was_expected_is_not_anything_else() -> None:
    """What was seen instead is in the message."""
    with pytest.raises(conformance.ConformanceError, match="expected the claim, saw Mismatch"):
        held(Mismatch(), "a claim")
    with pytest.raises(conformance.ConformanceError, match="expected InFlight, saw Mismatch"):
        in_flight(Mismatch(), "a claim")
    with pytest.raises(conformance.ConformanceError, match="kept"):
        expect(False, "kept")
