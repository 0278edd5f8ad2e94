"""
What happens to calls, as one stream of events: for logs, for hooks, for traces.

A client tells each listener what it does while it does it. Without listeners it makes no
events. Nothing here imports OpenTelemetry unless `opentelemetry_listener` is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from typing import Any

    from failwell.call.messages import Sleep
    from failwell.failure import Attempt

    Listener = Callable[["Event"], None]


class Kind(str, Enum):
    """What an event tells."""

    ATTEMPT_STARTED = "attempt_started"
    ATTEMPT_ENDED = "attempt_ended"
    WAITING = "waiting"
    CALL_ENDED = "call_ended"


@dataclass(frozen=True, slots=True)
class Event:
    """
    One thing that happened to a call.

    Attributes:
        kind: What it tells.
        call: A number that is the same for all events of a call, unique in this process.
        method: The HTTP method.
        url: The URL, without what is secret in it.
        number: Which attempt, 1 for the first.
        seconds: How long the attempt took, the wait will take, or the call took in all.
        outcome: "ok", "status" or the reason it broke; for the end of a call "ok" or the
            class of the error.
        status: The HTTP status, if one was read.
        why: What went wrong, for a person.
    """

    kind: Kind
    call: int
    method: str
    url: str
    number: int
    seconds: float = 0.0
    outcome: str = ""
    status: int | None = None
    why: str = ""


def log_wait(log: logging.Logger, effect: Sleep, attempt: Attempt) -> None:
    """Write the one line a retry is worth."""
    if attempt.outcome != "status":
        log.info(
            "transport error on attempt %d; sleeping %.2fs: %s", attempt.number, effect.seconds, effect.why
        )
    else:
        log.info("%s on attempt %d; sleeping %.2fs", effect.why, attempt.number, effect.seconds)


def opentelemetry_listener(tracer: Any = None) -> Listener:
    """
    A listener that makes one client span for each attempt.

    Args:
        tracer: An OpenTelemetry tracer; by default the global provider's for "failwell".

    Raises:
        ConfigurationError: `opentelemetry-api` is not installed.

    Source:
        OpenTelemetry semantic conventions for HTTP client spans.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.trace import SpanKind, Status, StatusCode
    except ImportError as exc:
        from failwell.errors import ConfigurationError

        raise ConfigurationError("opentelemetry-api is not installed: install failwell[otel]") from exc
    source = trace.get_tracer("failwell") if tracer is None else tracer
    spans: dict[int, Any] = {}

    def listen(event: Event) -> None:
        if event.kind is Kind.ATTEMPT_STARTED:
            attributes: dict[str, Any] = {"http.request.method": event.method, "url.full": event.url}
            if event.number > 1:
                attributes["http.request.resend_count"] = event.number - 1
            spans[event.call] = source.start_span(event.method, kind=SpanKind.CLIENT, attributes=attributes)
        elif event.kind in (Kind.ATTEMPT_ENDED, Kind.CALL_ENDED):
            # A cancelled call ends without the end of its attempt.
            span = spans.pop(event.call, None)
            if span is None:
                return
            if event.status is not None:
                span.set_attribute("http.response.status_code", event.status)
            if event.outcome != "ok":
                span.set_attribute("error.type", str(event.status or event.outcome))
                span.set_status(Status(StatusCode.ERROR, event.why or None))
            span.end()

    return listen
