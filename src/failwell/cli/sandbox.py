"""`failwell sandbox`: the services behind the SDKs, until Ctrl-C."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

# What a store's own client says is the store's fault: a password, a right that is missing.
DRIVERS = frozenset({"redis", "psycopg", "sqlite3"})

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


def sandbox(
    services: list[str] | None,
    host: str,
    ports: list[str],
    state: Path | None,
    store: str = "",
    workers: int = 1,
) -> int:
    """
    Serve.

    Args:
        services: Their names; None for all.
        host: Where they listen.
        ports: "name=port" each; a free port for those that are not named.
        state: A directory for their state; None for one that is removed at the end.
        store: The URL of the store that they run on; empty for SQLite in the directory.
        workers: How many processes serve.

    Returns:
        0 after Ctrl-C, 2 if they cannot be served as asked.
    """
    options: dict[str, Any] = {"host": host, "state": state}
    if services is not None:
        options["services"] = services
    if store:
        options["store"] = store
    if workers != 1:
        options["workers"] = workers
    try:
        options["ports"] = dict(_port(each) for each in ports)
    except ValueError as exc:
        return _refuse(f"{exc}.")
    # The sandbox stands above this package: it is found by what its distribution declares.
    found = next(iter(entry_points(group="failwell.sandbox", name="serve")), None)
    if found is None:
        return _refuse("The sandbox is not installed. Run: pip install failwell-sandbox")
    try:
        serve = found.load()
    except ModuleNotFoundError as exc:
        return _refuse(
            f"The sandbox needs {exc.name}, which is not installed. Run: pip install failwell-sandbox"
        )
    try:
        serve(**options)
    except (ValueError, RuntimeError) as exc:
        return _refuse(f"{exc}.")
    except OSError as exc:
        return _refuse(f"The sandbox cannot listen or write there: {exc.strerror or exc}.")
    except Exception as exc:
        if type(exc).__module__.partition(".")[0] not in DRIVERS:
            raise
        return _refuse(f"The store cannot be used: {_said_by(exc, store)}.")
    return 0


def _said_by(exc: Exception, url: str) -> str:
    """The first line of an error, without the password of `url`."""
    from failwell.redaction import scrub, secrets_in_url

    line = (str(exc).splitlines() or [type(exc).__name__])[0]
    cleaned: str = scrub(line.strip().rstrip("."), secrets_in_url(url))
    return cleaned


def _port(text: str) -> tuple[str, int]:
    name, equals, number = text.partition("=")
    if not equals or not number.isdigit() or int(number) > 65535:
        raise ValueError(f"--port looks like kneo=8001, not {text!r}")
    return name, int(number)


def _refuse(sentence: str) -> int:
    print(f"failwell: {sentence}", file=sys.stderr)
    return 2
