"""Loading an engine where it cannot be loaded is a clear error, not a crash."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Two threads, one after the other, each with a client of its own.
PROGRAM = """
import threading
{first}
import failwell

def make():
    try:
        failwell.Client("http://127.0.0.1:9", engine="pyreqwest").close()
    except failwell.ConfigurationError as error:
        print(error)
    else:
        print("made")

for _ in range(4):
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
"""


@pytest.mark.parametrize(
    ("first", "said"), [("", "main thread"), ("import pyreqwest", "made")], ids=["not loaded", "loaded"]
)
def test_pyreqwest_is_loaded_in_the_main_thread_or_not_at_all(first: str, said: str) -> None:
    """Loaded in a thread that ends, it would take the interpreter down in the next."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(first=first)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert 4 == len(done.stdout.splitlines())
    assert all(said in line for line in done.stdout.splitlines())
