"""
What an engine promises: to carry one attempt out and to say how far it came.

An engine never repeats a request, never follows a redirect, never raises for a failure of the
call. `send` ends at the deadline of its order, whatever trickles in. What it raises is not a
failure of the call: cancellation, Ctrl-C, a bug.
"""

from __future__ import annotations

from dataclasses import dataclass

from failwell.redaction import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Protocol

    from failwell.call.messages import Broken, Response, Send

    class Engine(Protocol):
        """Carries requests out, blocking."""

        name: str

        def send(self, order: Send, /) -> Response | Broken: ...
        def close(self) -> None: ...

    class AsyncEngine(Protocol):
        """Carries requests out, awaiting."""

        name: str

        async def send(self, order: Send, /) -> Response | Broken: ...
        async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Connections:
    """
    How an engine connects.

    Attributes:
        verify: True to check certificates against the machine's store (or `SSL_CERT_FILE`,
            `SSL_CERT_DIR` if the environment is trusted), a context of your own, or False to
            check nothing.
        trust_env: Whether `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`
            and `SSL_CERT_DIR` count.
        proxy: A proxy's URL, instead of the environment's. Prints as a mask: it may hold a password.
        max_connections: Open at once.
        max_idle: Kept open while nothing is asked. With fewer than are in use at once, connections
            are closed between two calls and made anew: 64 calls at once on 20 cost a third more.
        idle_seconds: How long an idle connection is kept.
        max_body_bytes: The largest body taken, before and after its content encoding is undone.
        max_header_bytes: The largest header block taken.
    """

    verify: bool | ssl.SSLContext = True
    trust_env: bool = True
    proxy: str | None = None
    max_connections: int = 100
    max_idle: int = 100
    idle_seconds: float = 5.0
    max_body_bytes: int = 64 * 1024 * 1024
    max_header_bytes: int = 64 * 1024

    def __post_init__(self) -> None:
        if isinstance(self.proxy, str):
            object.__setattr__(self, "proxy", Secret(self.proxy))
