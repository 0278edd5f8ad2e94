"""A bar where a person watches, a function of the caller's, or nothing."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest

import failwell
from failwell import Batch, BatchItem, Operation
from failwell.progress import WORTH_PIECES, Bar, bar
from failwell.testing import FakeClock, ScriptedEngine, answer


class Terminal(io.StringIO):
    """Standard error that somebody watches."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Makes standard error one that somebody watches: to be called by the test, whose own it is by then."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    def make() -> Terminal:
        shown = Terminal()
        monkeypatch.setattr(sys, "stderr", shown)
        return shown

    return make


@pytest.fixture
def without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failwell.progress.find_spec", lambda name: None)


def ended(number: int) -> BatchItem[Any, Any]:
    return BatchItem(number, number, status="done")


def test_a_function_is_told_itself() -> None:
    with bar(print, total=3) as tell:
        assert tell is print


def test_where_nobody_watches_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with bar(None, total=3) as tell:
        assert tell is None


def test_one_that_is_not_wanted_is_not_there(screen: Callable[[], Terminal]) -> None:
    shown = screen()
    with bar(False, total=3) as tell:
        assert tell is None

    assert shown.getvalue() == ""


def test_where_somebody_watches_a_batch_is_counted(screen: Callable[[], Terminal]) -> None:
    shown = screen()
    engine = ScriptedEngine([answer(200)] * 3)
    with (
        failwell.Client("https://api.example", engine=engine, clock=FakeClock()) as client,
        bar(None, total=3, unit="files") as tell,
    ):
        client.perform(Batch(range(3), lambda n, key: Operation("GET", f"/{n}", str), progress=tell))

    assert "3 of 3 files" in shown.getvalue()
    assert "3/3" in shown.getvalue()


def test_one_that_is_wanted_is_there_though_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    with bar(True, total=None) as tell:
        tell(ended(0), 1, None)

    assert "1 items" in shown.getvalue()


def test_bytes_of_parts_are_shown(screen: Callable[[], Terminal]) -> None:
    shown = screen()
    with bar(True, total=None, unit="bytes") as tell:
        tell(500_000, 2_000_000)
        tell(2_000_000, 2_000_000)

    assert "2.0/2.0 MB" in shown.getvalue()


def test_bytes_of_items_are_shown_and_those_that_were_sent_are_not_counted_twice(
    screen: Callable[[], Terminal],
) -> None:
    screen()
    size = 2 * WORTH_PIECES
    with bar(True, total=3 * size, size_of=lambda item: size) as tell:
        moved = tell.moved_of(0, size)
        moved(size, size)
        moved(WORTH_PIECES, size)  # the second try
        tell(ended(0), 1, 3)
        assert tell._bar.tasks[0].completed == size
        tell(ended(1), 2, 3)
        assert tell._bar.tasks[0].completed == 2 * size
        assert tell.moved_of(2, WORTH_PIECES - 1) is None


def test_pieces_are_not_worth_a_word_where_items_are_counted(screen: Callable[[], Terminal]) -> None:
    screen()
    with bar(True, total=3) as tell:
        assert isinstance(tell, Bar)
        assert tell.moved_of(0, WORTH_PIECES) is None


@pytest.mark.usefixtures("without_rich")
def test_without_rich_it_says_what_to_install_if_it_is_wanted(screen: Callable[[], Terminal]) -> None:
    screen()
    with bar(None, total=3) as tell:
        assert tell is None
    with (
        pytest.raises(failwell.ConfigurationError, match=r"pip install shop\[progress\]"),
        bar(True, total=3, install="shop[progress]"),
    ):
        pass


def test_another_type_is_refused() -> None:
    progress: Any = "yes"
    with pytest.raises(failwell.ArgumentTypeError, match="progress is a str"), bar(progress, total=3):
        pass
