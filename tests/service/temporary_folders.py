"""Folders that are gone with the process that made them, even if it is killed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

# The pipe ends when whoever holds its other end closes it or dies. A server in the folder may still
# be about to end, and write into it until then: again, for a minute at the most.
_GUARD = """
cat >/dev/null
for _ in $(seq 600); do
    rm -rf -- "$1" 2>/dev/null
    [ -e "$1" ] || exit 0
    sleep 0.1
done
"""


class TemporaryFolder:
    """
    A folder of one's own, directly in `/tmp`: the path of a Unix socket ends after 107 characters.

    Attributes:
        path: Where it is.
    """

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
        # A session of its own: what kills the tests by their group leaves the guard to its work.
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "guard", str(self.path)],
            cwd="/", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def close(self) -> None:
        """Remove it now. May be called again."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            self._guard.communicate(timeout=120)
