"""
The command line.

It needs two libraries that calling an API does not, typer and rich: the `cli` extra.
"""

from __future__ import annotations

import sys

NEEDS = "The command line of failwell needs typer and rich. Install them with: pip install 'failwell[cli]'"


def main() -> None:
    """Run `failwell` with the arguments of this process; ends the interpreter with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """
    Run one command.

    Returns:
        The exit status: 0 done, 1 the answer is bad news (a drill that failed), 2 the command or its
        input cannot be used, 130 Ctrl-C.
    """
    try:
        from failwell.cli.app import run as run_app
    except ModuleNotFoundError as exc:
        # Only these two: a missing module of our own is a bug and must show as one.
        if exc.name is None or exc.name.partition(".")[0] not in ("typer", "rich", "click"):
            raise
        print(NEEDS, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return run_app(arguments)
