"""
The services behind failwell's SDKs, on loopback: real state, real rules.

`running()` gives them to a test or a drill, `serve()` to a person at a terminal. The names are loaded
when they are first used: the process of a job needs none of the services.
"""

from __future__ import annotations

import logging

from failwell.exports import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from failwell_sandbox.demo_keys import DemoKeys as DemoKeys
    from failwell_sandbox.server import LIMITED as LIMITED
    from failwell_sandbox.server import RunningService as RunningService
    from failwell_sandbox.server import Sandbox as Sandbox
    from failwell_sandbox.server import running as running
    from failwell_sandbox.server import serve as serve

# Whoever runs the sandbox decides where its log goes; a bug provoked by a drill is no news.
for _name in ("failwell.service", "failwell_sandbox"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

_HOMES = {
    "failwell_sandbox.demo_keys": ("DemoKeys",),
    "failwell_sandbox.server": ("LIMITED", "RunningService", "Sandbox", "running", "serve"),
}
__all__, __getattr__, __dir__ = exports(__name__, _HOMES)
