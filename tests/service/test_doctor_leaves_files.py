"""What the doctor looks at is afterwards as it was, also where a service was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from doctor_findings import verdicts

from failwell.service import SQLiteStore

# What it has written stands in the logs only.
KILLED = """
import asyncio, os, signal, sys
from failwell.service import KeyFormat, Limit, SQLiteStore, stored
store = SQLiteStore(sys.argv[1])
keys = KeyFormat("key_")
store.add_keys([stored(keys.new(), keys, tenant="t1")])
asyncio.run(store.take("t1", [Limit(5, 60.0)]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def contents(folder: Path) -> dict[str, str]:
    """What each file holds, but for the index of a log, which is made anew from it."""
    return {
        file.name: "" if file.name.endswith("-shm") else sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir()
    }


@pytest.fixture
def left_by_a_kill(tmp_path: Path) -> Path:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "s.db")], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    return tmp_path


def test_what_a_killed_service_left_stays_as_it_is(left_by_a_kill: Path) -> None:
    before = contents(left_by_a_kill)
    assert {"s.db", "s.db-wal", "s.db-shm", "s.db-limits", "s.db-limits-wal"} <= set(before)

    found = verdicts(f"sqlite:///{left_by_a_kill}/s.db")

    assert {found[check] for check in ("lock", "integrity", "tables", "journal_mode")} == {"well"}
    assert contents(left_by_a_kill) == before


def test_what_was_closed_in_order_stays_closed(tmp_path: Path) -> None:
    SQLiteStore(tmp_path / "s.db").close()
    before = contents(tmp_path)
    assert set(before) == {"s.db", "s.db-limits"}

    verdicts(f"sqlite:///{tmp_path}/s.db")

    assert contents(tmp_path) == before


def test_a_store_at_work_stays_as_it_is(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "s.db")
    before = contents(tmp_path)

    verdicts(f"sqlite:///{tmp_path}/s.db")

    assert contents(tmp_path) == before
    store.close()


def test_the_service_goes_on_where_it_was(left_by_a_kill: Path) -> None:
    verdicts(f"sqlite:///{left_by_a_kill}/s.db")

    store = SQLiteStore(left_by_a_kill / "s.db")
    assert len(store.read("SELECT * FROM failwell_keys")) == 1
    store.close()
