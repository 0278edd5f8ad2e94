"""
The client: two thin drivers, blocking and awaiting, over the same flows.

What is decided is decided in `failwell.call` and `failwell.operations`; what is sent is sent by an
engine. Here is what stands between: a request is made of arguments, and effects are acted on.

    setup        what a client is made of, what it refuses, and what follows for each call
    requests     the URL, the query, the headers and the JSON of one request
    caller       one call: `Caller` and `AsyncCaller`
    clients      what is asked of a client, and long work: `Client` and `AsyncClient`
    workers      several at once, in threads or in tasks
    streaming    a stream of events that is open
    downloading  an answer that becomes a file
"""

from __future__ import annotations

from failwell.client.clients import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]
