"""
The services behind failwell's SDKs, on loopback: real state, real rules.

`running()` gives them to a test or a drill, `serve()` to a person at a terminal.
"""

from __future__ import annotations

import logging

from failwell_sandbox.demo_keys import DemoKeys
from failwell_sandbox.server import LIMITED, RunningService, Sandbox, running, serve

# Whoever runs the sandbox decides where its log goes; a bug provoked by a drill is no news.
for _name in ("failwell.service", "failwell_sandbox"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

__all__ = ["LIMITED", "DemoKeys", "RunningService", "Sandbox", "running", "serve"]
