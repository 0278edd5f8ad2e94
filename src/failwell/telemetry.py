"""
What happens to calls, as one stream of events: for logs, for hooks, for traces.

A client tells each listener what it does while it does it. Without listeners it makes no
events. Nothing here imports OpenTelemetry unless `opentelemetry_listener` is called.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import Enum

from failwell.call.messages import Response
from failwell.call.outcome import WORDS
from failwell.redaction import kept_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence
    from typing import Any

    from failwell.call.messages import Broken, Request, Send, Sleep
    from failwell.clock import Clock
    from failwell.failure import Attempt

    Listener = Callable[["Event"], None]

_calls = itertools.count(1)


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


class Watch:
    """
    Tells listeners what one call does; made only where there are listeners.

    Args:
        listeners: Who is told.
        clock: The time.
        request: The first try's.
    """

    def __init__(self, listeners: Sequence[Listener], clock: Clock, request: Request) -> None:
        self._listeners = listeners
        self._clock = clock
        self._number = next(_calls)
        self._method = request.method
        self._began = self._since = self._clock.monotonic()
        self._url = kept_url(request.url)
        self._attempt = 0

    def _tell(self, kind: Kind, seconds: float = 0.0, **facts: Any) -> None:
        event = Event(kind, self._number, self._method, self._url, self._attempt, seconds, **facts)
        for listen in self._listeners:
            listen(event)

    def sending(self, order: Send) -> None:
        """A try begins."""
        self._attempt = order.number
        self._url = kept_url(order.request.url)
        self._since = self._clock.monotonic()
        self._tell(Kind.ATTEMPT_STARTED)

    def sent(self, result: Response | Broken) -> None:
        """It is over."""
        took = self._clock.monotonic() - self._since
        if isinstance(result, Response):
            outcome = "ok" if result.status < 400 else "status"
            self._tell(Kind.ATTEMPT_ENDED, took, outcome=outcome, status=result.status)
        else:
            self._tell(
                Kind.ATTEMPT_ENDED,
                took,
                outcome=result.reason.value,
                status=result.status,
                why=WORDS[result.reason],
            )

    def waiting(self, effect: Sleep) -> None:
        """The next one waits."""
        self._tell(Kind.WAITING, effect.seconds, why=effect.why)

    def ended(self, error: BaseException | None) -> None:
        """The call is over."""
        took = self._clock.monotonic() - self._began
        self._tell(Kind.CALL_ENDED, took, outcome="ok" if error is None else type(error).__name__)


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
