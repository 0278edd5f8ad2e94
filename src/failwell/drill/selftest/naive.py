"""
A client written the way clients are written first: without failwell, with bad habits to switch on.

Without a habit it holds in the scenarios of `PLANTED`. With one, it fails in the scenario that is
there for it, by the rule that names what is wrong: so a drill that says PASS has shown that it can
say FAIL.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

from failwell.answer import Answer
from failwell.contract import effect_of
from failwell.drill.selftest.naive_steps import (
    NAIVE,
    Listener,
    ToyStreamError,
    ToyUploadError,
    Uploader,
)
from failwell.drill.selftest.toy import KEY, REVOKED, TOY, Thing, Toy, ToyNetworkError
from failwell.drill.subject import Call, Kind, Mode, Settings
from failwell.failure import Attempt, Effect, Failure
from failwell.redaction import Secret
from failwell.telemetry import Event
from failwell.telemetry import Kind as EventKind

log = logging.getLogger("toy.transport")
_keys = itertools.count(1)
_REDIRECTS = (301, 302, 307, 308)


@dataclass(frozen=True, slots=True)
class Planted:
    """
    A bad habit, and what has to find it.

    Attributes:
        habit: What the client does, in a few words.
        scenario: The id of the scenario that has to fail.
        rule: The code of a finding it has to come with.
    """

    habit: str
    scenario: str
    rule: str


PLANTED = (
    Planted("repeats any write", "S09", "FD-requests"),
    Planted("repeats any write", "S54-fin-plain", "FD-ledger"),
    Planted("new key for each try", "S54-fin", "FD-key"),
    Planted("new key for each try", "S54-fin", "FD-ledger"),
    Planted("new key for each caller", "S58", "FD-ledger"),
    Planted("trusts any certificate", "S05", "FD-outcome"),
    Planted("trusts half a body", "S18-read-always", "FD-outcome"),
    Planted("takes any body for a result", "S28-read", "FD-outcome"),
    Planted("takes a body of any size", "S27-announced-read", "FD-fact"),
    Planted("ignores Retry-After", "S42-keyed", "FD-wait"),
    Planted("comes back long before it was asked to", "S46", "FD-requests"),
    Planted("no deadline", "S26", "FD-time"),
    Planted("repeats refusals", "E-ToyAuthError-revoked", "FD-requests"),
    Planted("repeats a conflict", "S57", "FD-requests"),
    Planted("takes its key along", "S38", "FD-leak"),
    Planted("makes a read of a redirected write", "S39-301-keyed", "FD-requests"),
    Planted("hides attempts", "S10-always", "FD-count"),
    Planted("counts attempts that it did not make", "S10-always", "FD-count"),
    Planted("puts the key into the error", "S09", "FD-promise"),
    Planted("writes the key into its log", "S09", "FD-promise"),
    Planted("raises what cannot be pickled", "S09", "FD-promise"),
    Planted("always claims unknown", "S08-always", "FD-vague"),
    Planted("always claims that it was done", "S08-always", "FD-claim"),
    Planted("says the same of every failure", "S05", "FD-text"),
    Planted("always claims that nothing was done", "S54-fin-plain", "FD-unsound"),
    Planted("always claims that it was done", "S09", "FD-unsound"),
    Planted("forgets the cause", "S09", "FD-cause"),
    Planted("raises what it does not export", "S09", "FD-class"),
    Planted("lets the engine's errors out", "S09", "FD-class"),
    Planted("swallows errors", "S09", "FD-outcome"),
    Planted("gives up at once", "S08-once", "FD-outcome"),
    Planted("keeps silent about why it ended", "S09", "FD-fact"),
    Planted("asks for a stream from its beginning", "S66-fin", "FD-resume"),
    Planted("asks for a stream from its beginning", "S66-fin", "FD-events"),
    Planted("hands part of an event over", "S67-fin", "FD-events"),
    Planted("hands over what was seen", "S69-overlap", "FD-events"),
    Planted("takes the end of an answer for that of a stream", "S73-always", "FD-outcome"),
    Planted("takes the end of an answer for that of a stream", "S73-always", "FD-content"),
    Planted("begins an upload anew", "S75-fin", "FD-parts"),
    Planted("sends a part again without asking", "S76-part", "FD-parts"),
    Planted("has no part checked", "S80-part", "FD-outcome"),
    Planted("has no file checked", "S80-whole", "FD-content"),
)
HABITS = tuple(dict.fromkeys(planted.habit for planted in PLANTED))
# Not bad, but it leaves nothing for the scenarios of a kept connection.
LONELY = "never keeps a connection"


class UnknownToyError(ToyNetworkError):
    """What the toy does not export."""


class FragileToyError(ToyNetworkError):
    """What does not survive a process boundary."""

    def __reduce__(self) -> Any:
        raise TypeError("this error holds a connection")


class Naive(Toy):
    """The toy's client without failwell's."""

    name = "naive"
    title = "Naive"
    modes = ("sync",)
    engine_modules = ("builtins", "http", "ssl", "json")
    kinds = frozenset(Kind)
    contract = NAIVE
    exceptions = (*Toy.exceptions, ToyStreamError, ToyUploadError)

    def __init__(self, *habits: str) -> None:
        super().__init__()
        assert set(habits) <= {*HABITS, LONELY}
        self.habits = frozenset(habits)

    def client(self, mode: Mode, base_url: str, settings: Settings, key: str = "good") -> Any:
        return _Client(base_url, settings, KEY if key == "good" else REVOKED, self.habits)

    def call(self, client: Any, call: Call) -> Any:
        if call.kind is Kind.STREAM:
            return Listener(client, call).listen()
        if call.kind is Kind.PART_UPLOAD:
            return Uploader(client, call).upload()
        if call.kind is Kind.READ:
            return client.request("GET", "/things")
        return client.request("POST", "/things", call.marker, call.key)

    def ids_of(self, marker: str) -> Sequence[str]:
        stored = (marker,) if marker in self.service.uploads.files else ()
        return (*self.service.ids_of(marker), *stored)

    def stream_of(self, marker: str) -> Sequence[tuple[str, str]] | None:
        return next((self.service.events_of(thing) for thing in self.service.ids_of(marker)), None)

    def digest_of(self, marker: str) -> str | None:
        held = self.service.uploads.files.get(marker)
        return None if held is None else sha256(held).hexdigest()

    def step_of(self, method: str, target: str) -> str:
        last = target.rpartition("/")[2]
        return f"part {last}" if method == "PUT" else last if last == "complete" else ""


class _Client:
    """Calls one after another, over one connection for each thread's call."""

    def __init__(self, base_url: str, settings: Settings, api_key: str, habits: frozenset[str]) -> None:
        self.settings, self.habits, self._api_key = settings, habits, Secret(api_key)
        self._base_url = base_url
        self._idle: list[HTTPConnection] = []

    def close(self) -> None:
        for connection in self._idle:
            connection.close()

    def request(self, method: str, path: str, name: str | None = None, key: str | None = None) -> Any:
        if name is not None and self.settings.keyed:
            key = key or f"naive-{next(_keys)}"
            if "new key for each caller" in self.habits:
                key = f"naive-{next(_keys)}"
        return _OneCall(self, method, path, name, key).make()

    def connection(self, base_url: str = "") -> HTTPConnection:
        """One that is idle, or a new one."""
        if not base_url:
            with contextlib.suppress(IndexError):
                return self._idle.pop()
        parts = urlsplit(base_url or self._base_url)
        host, wait = parts.hostname or "", self.settings.read
        if parts.scheme == "http":
            return HTTPConnection(host, parts.port, timeout=wait)
        told = self.settings.verify
        context = told if isinstance(told, ssl.SSLContext) else ssl.create_default_context()
        if "trusts any certificate" in self.habits:
            context = ssl._create_unverified_context()  # noqa: S323 - this is the habit
        return HTTPSConnection(host, parts.port, timeout=wait, context=context)

    def keep(self, connection: HTTPConnection) -> None:
        """Use `connection` again, unless the habit is another."""
        if LONELY in self.habits:
            connection.close()
        else:
            self._idle.append(connection)


@dataclass(slots=True)
class _Outcome:
    """What came of one try: what is known, the exception behind it, the answer."""

    failure: Failure
    cause: Exception | None = None
    answer: Answer | None = None
    thing: Thing | None = None

    @property
    def name(self) -> str:
        return "ok" if self.thing is not None else self.failure.reason or "status"


class _OneCall:
    """One call with its tries."""

    def __init__(self, client: _Client, method: str, path: str, name: str | None, key: str | None) -> None:
        self.client, self.method, self.path, self.name, self.key = client, method, path, name, key
        self.settings, self.habits = client.settings, client.habits
        self.began = time.monotonic()
        self.attempts: list[Attempt] = []

    def make(self) -> Any:
        """Try until it is done, or may not go on."""
        while True:
            started = time.monotonic()
            outcome = self._try()
            again = outcome.thing is None and self._again(outcome.failure)
            wait = self._wait(outcome.failure) if again else 0.0
            self._note(outcome, started, wait)
            if not again:
                break
            time.sleep(wait)
            if self.key is not None and "new key for each try" in self.habits:
                self.key = f"naive-{next(_keys)}"
        if outcome.thing is not None or "swallows errors" in self.habits:
            return outcome.thing
        if "writes the key into its log" in self.habits:
            log.warning("giving up with the key %s", str.__str__(self.client._api_key))
        if "lets the engine's errors out" in self.habits and outcome.cause is not None:
            raise outcome.cause
        raise self._error(outcome) from (None if "forgets the cause" in self.habits else outcome.cause)

    def _try(self) -> _Outcome:
        outcome = self._once(self.client.connection(), self.method, self.path, self.client._api_key)
        answer = outcome.answer
        if answer is None or answer.status not in _REDIRECTS:
            return outcome
        as_read = "makes a read of a redirected write" in self.habits
        if self.method != "GET" and not as_read:
            return outcome
        self._note(outcome, time.monotonic(), 0.0, "redirect")
        target = urlsplit(answer.headers["location"])
        other = self.client.connection(f"http://{target.netloc}")
        known = f"http://{target.netloc}" == self.client._base_url or "takes its key along" in self.habits
        self.method, self.name, self.key = "GET", None, None
        return self._once(other, "GET", target.path, self.client._api_key if known or as_read else None)

    def _once(self, connection: HTTPConnection, method: str, path: str, api_key: str | None) -> _Outcome:
        headers = {} if api_key is None else {"x-api-key": api_key}
        if self.key is not None:
            headers["idempotency-key"] = self.key
        body = None if self.name is None else b'{"name": "%s"}' % self.name.encode()
        facts: dict[str, Any] = {"method": method, "idempotency_key": self.key}
        lost = Effect.NOT_APPLIED if method == "GET" else Effect.UNKNOWN
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
        except (OSError, HTTPException) as exc:
            connection.close()
            exc.with_traceback(None)  # in the frames of http.client the key is in clear
            if isinstance(exc, ssl.SSLError):
                facts |= {"reason": "tls_untrusted", "message": str(exc), "effect": Effect.NOT_SENT}
                return _Outcome(Failure(**facts), exc)
            reason = "closed" if isinstance(exc, RemoteDisconnected) else "reset"
            return _Outcome(Failure(**facts, reason=reason, effect=lost, retryable=True), exc)
        facts |= {
            "request_id": response.headers["X-Request-ID"],
            "status": response.status,
            "effect": effect_of(method, response.status),
        }
        try:
            content = self._read(response)
        except IncompleteRead as exc:
            connection.close()
            if "trusts half a body" not in self.habits:
                return _Outcome(Failure(**facts, reason="cut", retryable=True), exc)
            content = exc.partial
        except TimeoutError as exc:
            connection.close()
            return _Outcome(Failure(**facts, reason="deadline"), exc)
        except ValueError as exc:
            connection.close()
            return _Outcome(Failure(**facts, reason="too_large"), exc)
        finally:
            response.close()  # it holds the socket of a connection that is not kept
        self.client.keep(connection)
        return self._understood(Answer(response.status, response.getheaders(), content), facts)

    def _read(self, response: Any) -> bytes:
        if response.length is not None and response.length > 1 << 20:
            if "takes a body of any size" not in self.habits:
                raise ValueError("the answer is too large")
            response.length = None
        if "no deadline" in self.habits:
            return bytes(response.read())
        content = b""
        while piece := response.read1(1):
            content += piece
            if time.monotonic() - self.began > self.settings.deadline:
                raise TimeoutError
        if response.length:
            raise IncompleteRead(content, response.length)
        return content

    def _understood(self, answer: Answer, facts: dict[str, Any]) -> _Outcome:
        error = TOY.decode(answer, method=facts["method"], idempotency_key=self.key)
        if error is not None:
            return _Outcome(error.failure, None, answer)
        lenient = {"trusts half a body", "takes any body for a result"} & self.habits
        try:
            return _Outcome(Failure(**facts), None, answer, Thing(json.loads(answer.body)["id"]))
        except (ValueError, TypeError, KeyError) as exc:
            if lenient:
                return _Outcome(Failure(**facts), None, answer, Thing(""))
            return _Outcome(Failure(**facts, reason="format"), exc, answer)

    def _again(self, failure: Failure) -> bool:
        if len(self.attempts) + 1 >= self.settings.attempts or "gives up at once" in self.habits:
            return False
        status = failure.status
        if status == 409 and "repeats a conflict" in self.habits:
            return True
        if status is not None and 300 <= status < 500 and status != 429:
            return "repeats refusals" in self.habits
        if failure.retry_after is not None and failure.retry_after > 60:
            return "comes back long before it was asked to" in self.habits
        if failure.reason in ("deadline", "too_large", "format", "tls_untrusted"):
            return False
        safe = self.method == "GET" or self.key is not None
        return safe or "repeats any write" in self.habits

    def _wait(self, failure: Failure) -> float:
        if self.habits & {"ignores Retry-After", "comes back long before it was asked to"}:
            return 0.01
        return (failure.retry_after or 0.01) * 1.01

    def _note(self, outcome: _Outcome, started: float, wait: float, name: str = "") -> None:
        """Keep the try, and tell whoever listens."""
        number, took = len(self.attempts) + 1, time.monotonic() - started
        said, status = name or outcome.name, outcome.failure.status
        self.attempts.append(Attempt(number, started - self.began, took, said, status, wait=wait))
        for listen in self.settings.listeners:
            listen(Event(EventKind.ATTEMPT_ENDED, 1, self.method, "", number, took, said, status))

    def _error(self, outcome: _Outcome) -> Exception:
        failure = replace(
            outcome.failure,
            effect=self._claim(outcome.failure.effect),
            attempts=self._told(),
            stopped="" if "keeps silent about why it ended" in self.habits else "tries",
        )
        known = None if failure.reason or outcome.answer is None else TOY.decode(outcome.answer)
        cls: Any = ToyNetworkError if known is None else type(known)
        if "raises what it does not export" in self.habits:
            cls = UnknownToyError
        if "raises what cannot be pickled" in self.habits:
            cls = FragileToyError
        text = None
        if "says the same of every failure" in self.habits:
            text = "The call failed."
        if "puts the key into the error" in self.habits:
            text = f"failed with {str.__str__(self.client._api_key)}"
        error: Exception = cls.from_failure(failure, text)
        return error

    def _claim(self, effect: Effect) -> Effect:
        claims = {
            "always claims unknown": Effect.UNKNOWN,
            "always claims that nothing was done": Effect.NOT_APPLIED,
            "always claims that it was done": Effect.APPLIED,
        }
        return next((claimed for habit, claimed in claims.items() if habit in self.habits), effect)

    def _told(self) -> tuple[Attempt, ...]:
        told = tuple(self.attempts)
        if "hides attempts" in self.habits:
            return told[-1:]
        return (*told, *told[:1]) if "counts attempts that it did not make" in self.habits else told
