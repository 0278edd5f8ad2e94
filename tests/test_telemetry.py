"""Events: what they say, and what OpenTelemetry makes of them."""

from __future__ import annotations

import builtins
import contextlib
import logging
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from failwell import CallError, Client, ConfigurationError
from failwell.call.messages import Sleep
from failwell.failure import Attempt
from failwell.telemetry import Event, Kind, log_wait, opentelemetry_listener
from failwell.testing import FakeClock, ScriptedEngine, answer, broken

SECRET = "s3cr3t-t0ken"


class Span:
    """A span that only remembers; the SDK is not needed to see what is told."""

    def __init__(self, name: str, kind: SpanKind, attributes: dict[str, Any]) -> None:
        self.name, self.kind, self.attributes = name, kind, attributes
        self.status: Any = None
        self.ended = 0

    def set_attribute(self, name: str, value: Any) -> None:
        self.attributes[name] = value

    def set_status(self, status: Any) -> None:
        self.status = status

    def end(self) -> None:
        self.ended += 1


class Tracer:
    def __init__(self) -> None:
        self.spans: list[Span] = []

    def start_span(self, name: str, *, kind: SpanKind, attributes: dict[str, Any]) -> Span:
        self.spans.append(Span(name, kind, attributes))
        return self.spans[-1]


def called(*script: Any, method: str = "GET", path: str = "/", **settings: Any) -> None:
    clock = FakeClock()
    engine = ScriptedEngine(script, clock, seconds=0.25)
    client = Client("https://api.example", engine=engine, clock=clock, random=lambda: 0.0, **settings)
    with contextlib.suppress(CallError, KeyboardInterrupt):
        client.request(method, path)


def test_each_attempt_is_one_client_span() -> None:
    tracer = Tracer()
    called(answer(503), broken("reset"), answer(200), listeners=[opentelemetry_listener(tracer)])

    assert [s.name for s in tracer.spans] == ["GET"] * 3
    assert {s.kind for s in tracer.spans} == {SpanKind.CLIENT}
    assert [s.ended for s in tracer.spans] == [1, 1, 1]
    assert [s.attributes.get("http.request.resend_count") for s in tracer.spans] == [None, 1, 2]
    assert [s.attributes.get("http.response.status_code") for s in tracer.spans] == [503, None, 200]
    assert [s.attributes.get("error.type") for s in tracer.spans] == ["503", "reset", None]
    assert [s.status and s.status.status_code for s in tracer.spans] == [
        StatusCode.ERROR,
        StatusCode.ERROR,
        None,
    ]


def test_a_span_shows_no_secret_of_the_url() -> None:
    tracer = Tracer()
    called(answer(200), path=f"/x?key={SECRET}&page=2", listeners=[opentelemetry_listener(tracer)])

    assert tracer.spans[0].attributes["url.full"] == "https://api.example/x?key=***&page=2"


def test_a_span_that_was_interrupted_is_ended_with_what_interrupted_it() -> None:
    tracer = Tracer()
    called(KeyboardInterrupt, listeners=[opentelemetry_listener(tracer)])

    assert tracer.spans[0].ended == 1
    assert tracer.spans[0].attributes["error.type"] == "KeyboardInterrupt"


def test_calls_at_the_same_time_do_not_mix_their_spans() -> None:
    tracer = Tracer()
    listen = opentelemetry_listener(tracer)
    for kind in (Kind.ATTEMPT_STARTED, Kind.ATTEMPT_ENDED):
        for call, status in ((1, 200), (2, 404)):
            listen(
                Event(kind, call, "GET", "/", 1, outcome="ok" if status == 200 else "status", status=status)
            )

    assert [s.attributes["http.response.status_code"] for s in tracer.spans] == [200, 404]


def test_without_a_tracer_the_global_one_is_used() -> None:
    called(answer(200), listeners=[opentelemetry_listener()])


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    true_import = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return true_import(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigurationError, match=r"failwell\[otel\]"):
        opentelemetry_listener()


def test_an_event_tells_how_long_it_took() -> None:
    events: list[Event] = []
    called(answer(503), answer(200), listeners=[events.append, lambda _: None])

    assert [(e.kind.value, e.seconds) for e in events] == [
        ("attempt_started", 0.0),
        ("attempt_ended", 0.25),
        ("waiting", 0.5),
        ("attempt_started", 0.0),
        ("attempt_ended", 0.25),
        ("call_ended", 1.0),
    ]


def test_an_event_says_what_broke() -> None:
    events: list[Event] = []
    called(broken("cut", status=200), method="POST", idempotency=False, listeners=[events.append])

    ended = events[1]
    assert (ended.outcome, ended.status, ended.why) == ("cut", 200, "The answer was cut short")


def test_calls_have_numbers_of_their_own() -> None:
    events: list[Event] = []
    called(answer(200), listeners=[events.append])
    called(answer(200), listeners=[events.append])

    assert len({e.call for e in events}) == 2


def test_an_event_follows_a_redirect() -> None:
    events: list[Event] = []
    called(answer(302, headers={"location": "/there"}), answer(200), listeners=[events.append])

    assert [e.url for e in events] == ["https://api.example/"] * 2 + ["https://api.example/there"] * 3
    assert events[1].outcome == "ok"


@pytest.mark.parametrize(
    ("attempt", "why", "line"),
    [
        (Attempt(1, 0, 1, "status", 503), "HTTP 503", "HTTP 503 on attempt 1; sleeping 1.50s"),
        (Attempt(2, 0, 1, "reset"), "gone", "transport error on attempt 2; sleeping 1.50s: gone"),
        (Attempt(3, 0, 1, "cut", 200), "cut", "transport error on attempt 3; sleeping 1.50s: cut"),
    ],
)
def test_a_wait_is_worth_one_line(
    attempt: Attempt, why: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    log_wait(logging.getLogger("x"), Sleep(1.5, attempt, why), attempt)

    assert caplog.messages == [line]
