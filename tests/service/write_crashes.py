"""
Write docs/service-crashes.md from what is seen with private servers, or `--check` that it still holds.

    python tests/service/write_crashes.py [--check]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from postgres_server import fresh_database
from redis_server import fresh_redis

from failwell.service.conformance.__main__ import main

PAGE = Path(__file__).parents[2] / "docs" / "service-crashes.md"


def run(arguments: list[str]) -> int:
    """Do it; the exit status."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        urls = [f"sqlite:///{folder}/store.db", fresh_database(), fresh_redis()]
        return main([*urls, "--check" if "--check" in arguments else "--write", str(PAGE)])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
