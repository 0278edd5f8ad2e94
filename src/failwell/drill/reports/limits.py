"""What a drill does not show; it stands in every report."""

from __future__ import annotations

LIMITS = (
    "Loopback loses nothing, reorders nothing and has no small packets.",
    "HTTP/1.1 only; no HTTP proxy in between, no choice between IPv4 and IPv6.",
    "The ledger is the sandbox's own database: a pass says nothing about your provider's idempotency.",
    "Refused connections and name look-ups are counted inside this process, as Python announces them; "
    "a slow name server and one that fails are played there, too.",
    "Gateway answers (429, 5xx) are real bytes on a real socket, written by the drill, not by your gateway.",
    "Client, proxy and service share one process and its cores: times are good to some milliseconds, "
    "and what a busy machine kept every thread waiting is allowed for.",
    "A killed service (SIGKILL) loses no commit of its database; a power cut may, and is not rehearsed.",
    "What is simulated is a model with stated parameters, and not your network.",
)
