"""
The client: two thin drivers, blocking and awaiting, over the same flows.

What is decided is decided in `failwell.call` and `failwell.operations`; what is sent is sent by an
engine. Here is what stands between: a request is made of arguments, and effects are acted on.
"""

from __future__ import annotations

from failwell.client.clients import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]
