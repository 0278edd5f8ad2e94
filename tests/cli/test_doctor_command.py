"""`failwell doctor`: exit statuses, what is printed first, and what never is."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from failwell.cli.doctor import show
from failwell.service import SQLiteStore
from failwell.service.doctor import Examination, Finding

Run = Callable[..., Any]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store at work, and well."""
    SQLiteStore(tmp_path / "s.db").close()
    return f"sqlite:///{tmp_path / 's.db'}"


def without_wal(url: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
        db.execute("PRAGMA journal_mode = DELETE")


def test_a_store_that_is_well_is_status_0(url: str, failwell: Run) -> None:
    outcome = failwell("doctor", url)

    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(url[:20])
    assert outcome.out.endswith("\nNothing is wrong.\n")
    assert "well       journal_mode" in outcome.out
    assert all(line == line.rstrip() for line in outcome.out.splitlines())


def test_what_is_wrong_stands_first_with_what_to_do(url: str, failwell: Run) -> None:
    without_wal(url)

    outcome = failwell("doctor", url)
    _, _, table = outcome.out.partition("\n\n")  # after the store's name

    assert outcome.status == 1
    assert table.startswith("wrong      journal_mode")
    assert "switches WAL" in outcome.out
    assert outcome.out.endswith("\n1 thing is wrong.\n")


def test_for_programs_it_is_json(url: str, failwell: Run) -> None:
    without_wal(url)

    outcome = failwell("doctor", url, "--json")
    said = outcome.json()

    assert (outcome.status, said["ok"], said["store"]) == (1, False, url)
    (wrong,) = [finding for finding in said["findings"] if finding["verdict"] == "wrong"]
    assert wrong["check"] == "journal_mode"
    assert {"check", "verdict", "found", "do"} == set(wrong)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("https://x:hunter22@h/", "No store is like that"),
        ("postgresql://x:hunter22@127.0.0.1:1/d", "PostgreSQL cannot be examined"),
        ("redis://x:hunter22@127.0.0.1:1/0", "Redis cannot be examined"),
    ],
)
def test_what_cannot_be_examined_is_status_2(target: str, sentence: str, failwell: Run) -> None:
    outcome = failwell("doctor", target)

    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"failwell: {sentence}")
    assert outcome.err.count("\n") == 1
    assert outcome.err.endswith(".\n")
    assert "hunter22" not in outcome.err


def test_a_process_count_below_1_is_refused(url: str, failwell: Run) -> None:
    assert failwell("doctor", url, "--workers", "0").status == 2


def test_without_a_url_it_says_what_it_needs(failwell: Run) -> None:
    outcome = failwell("doctor")

    assert outcome.status == 2
    assert "URL" in outcome.err


def test_help_names_it(failwell: Run) -> None:
    assert "doctor" in failwell("--help").out


def test_a_terminal_gets_the_same_in_colour() -> None:
    findings = (
        Finding("a", "well", "A is well."),
        Finding("b", "unknown", "B is not known."),
        Finding("c", "wrong", "C is wrong.", "Mend C."),
        Finding("d", "wrong", "D is wrong.", "Mend D."),
    )
    out = io.StringIO()
    show(Examination("sqlite:///s.db", findings), Console(file=out, force_terminal=True, width=80))

    said = out.getvalue()
    assert "\x1b[" in said
    assert said.index("C is wrong") < said.index("B is not known") < said.index("A is well")
    assert "2 things are wrong; 1 could not be seen." in said
