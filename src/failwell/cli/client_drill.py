"""`failwell drill --client`: which clients are meant, and their score cards."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from failwell.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from failwell.drill import DrillResult
    from failwell.drill.anybody import AnybodysClient


def service_at(
    url: str | None, count_effects: str | None, sdks: Sequence[str], clients: Sequence[str]
) -> str | None:
    """
    The base URL that `--service` names; None if nobody named one.

    Raises:
        UsageError: it is none, or there is nobody to call it, or nobody whose effects could be counted.
    """
    if count_effects is not None and (url is None or not clients):
        raise UsageError("--count-effects goes with --client and --service")
    if url is None:
        return None
    from failwell.drill.remote import base_url

    if not clients and not sdks:
        raise UsageError("--service goes with --client, or with module:attribute of a subject of your own")
    return base_url(url)


def clients_called(
    names: Sequence[str], service: str | None = None, count_effects: str | None = None
) -> list[AnybodysClient]:
    """
    The clients that are shipped by these names, and those whose adapters are at `module:attribute`.

    Args:
        names: As above.
        service: The base URL of somebody else's service; None for the drill's own.
        count_effects: `module:function` that counts the effects there; None for nobody.

    Raises:
        UsageError: there is none, or its library is not installed.
    """
    from failwell.drill.anybody.shipped import client_called
    from failwell.drill.remote import counting

    # Whoever names a module of the folder they are in means that one.
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    count = None if count_effects is None else counting(count_effects)
    return [client_called(name, service=service, count_effects=count) for name in dict.fromkeys(names)]


def show_cards(clients: Sequence[AnybodysClient], result: DrillResult, on: Console) -> None:
    """Print the card of each of `clients`."""
    from failwell.drill.anybody.card import score
    from failwell.drill.anybody.screen import show

    for client in clients:
        show(score(client, result), result, on)
