"""
Anybody's client, drilled: an adapter of one callable, a service to talk to, rules fair to all.

    from failwell.drill import run
    from failwell.drill.anybody import AnybodysClient
    run([AnybodysClient(my_call)])
"""

from __future__ import annotations

from failwell.drill.anybody.subject import AnybodysClient, Setup
from failwell.drill.anybody.things import KEY

__all__ = ["KEY", "AnybodysClient", "Setup"]
