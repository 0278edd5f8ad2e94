"""`failwell drill --client`: which clients are meant, and their score cards."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from failwell.drill import DrillResult
    from failwell.drill.anybody import AnybodysClient


def clients_called(names: Sequence[str]) -> list[AnybodysClient]:
    """
    The clients that are shipped by these names, and those whose adapters are at `module:attribute`.

    Raises:
        UsageError: there is none, or its library is not installed.
    """
    from failwell.drill.anybody.shipped import client_called

    # Whoever names a module of the folder they are in means that one.
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    return [client_called(name) for name in dict.fromkeys(names)]


def show_cards(clients: Sequence[AnybodysClient], result: DrillResult, on: Console) -> None:
    """Print the card of each of `clients`."""
    from failwell.drill.anybody.card import score
    from failwell.drill.anybody.screen import show

    for client in clients:
        show(score(client, result), result, on)
