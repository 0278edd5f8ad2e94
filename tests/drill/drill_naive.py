"""A client written the way clients are written first, with bad habits that can be switched on."""

from __future__ import annotations

import itertools
import time
from http.client import HTTPConnection, HTTPException, IncompleteRead, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

from drill_toy import KEY, TOY, Toy, ToyNetworkError

from failwell.answer import Answer
from failwell.contract import effect_of
from failwell.drill.subject import Call, Kind, Mode, Settings
from failwell.failure import Attempt, Effect, Failure
from failwell.redaction import Secret
from failwell.telemetry import Event
from failwell.telemetry import Kind as EventKind

HABITS = frozenset(
    {
        "repeats any write",
        "new key for each try",
        "trusts half a body",
        "ignores Retry-After",
        "no deadline",
        "repeats refusals",
        "hides attempts",
        "puts the key into the error",
        "always claims unknown",
        "forgets the cause",
        "never keeps a connection",
        "swallows errors",
        "gives up at once",
    }
)
_keys = itertools.count(1)


class Naive(Toy):
    """The toy's client without failwell's: good unless it has a habit."""

    name = "naive"
    modes = ("sync",)
    engine_modules = ("builtins", "http")

    def __init__(self, *habits: str) -> None:
        super().__init__()
        assert set(habits) <= HABITS
        self.habits = frozenset(habits)

    def client(self, mode: Mode, base_url: str, settings: Settings, key: str = "good") -> Any:
        return _Client(base_url, settings, KEY if key == "good" else "toy_sk_revoked_99", self.habits)

    def call(self, client: Any, call: Call) -> Any:
        if call.kind is Kind.READ:
            return client.request("GET", "/things")
        return client.request("POST", "/things", call.marker, call.key)

    def id_of(self, value: Any) -> str | None:
        return None if value is None else super().id_of(value)


class _Client:
    def __init__(self, base_url: str, settings: Settings, api_key: str, habits: frozenset[str]) -> None:
        self.settings, self.habits, self._api_key = settings, habits, Secret(api_key)
        parts = urlsplit(base_url)
        self.connection = HTTPConnection(parts.hostname or "", parts.port, timeout=settings.read)

    def close(self) -> None:
        self.connection.close()

    def request(self, method: str, path: str, name: str | None = None, key: str | None = None) -> Any:
        began, attempts = time.monotonic(), list[Attempt]()
        if name is not None and self.settings.keyed:
            key = key or f"naive-{next(_keys)}"
        while True:
            started = time.monotonic()
            failure, cause, answer = self._once(method, path, name, key, began)
            if "always claims unknown" in self.habits:
                failure = Failure(**{f: getattr(failure, f) for f in _FACTS} | {"effect": Effect.UNKNOWN})
            outcome = failure.reason or ("status" if answer is None or answer.status >= 400 else "ok")
            again = outcome != "ok" and self._again(failure, method, key, len(attempts) + 1)
            wait = self._wait(failure) if again else 0.0
            took = time.monotonic() - started
            attempts.append(
                Attempt(len(attempts) + 1, started - began, took, outcome, failure.status, wait=wait)
            )
            self._tell(method, attempts[-1])
            if not again:
                break
            time.sleep(wait)
            if key is not None and "new key for each try" in self.habits:
                key = f"naive-{next(_keys)}"
        if outcome == "ok" or "swallows errors" in self.habits:
            return answer
        raise self._error(failure, attempts, answer) from (
            None if "forgets the cause" in self.habits else cause
        )

    def _once(
        self, method: str, path: str, name: str | None, key: str | None, began: float
    ) -> tuple[Failure, Exception | None, Any]:
        headers = {"x-api-key": self._api_key} | ({} if key is None else {"idempotency-key": key})
        body = None if name is None else b'{"name": "%s"}' % name.encode()
        facts: dict[str, Any] = {"method": method, "idempotency_key": key}
        lost = Effect.NOT_APPLIED if method == "GET" else Effect.UNKNOWN
        try:
            self.connection.request(method, path, body, headers)
            response = self.connection.getresponse()
        except (OSError, HTTPException) as exc:
            self.connection.close()
            reason = "closed" if isinstance(exc, RemoteDisconnected) else "reset"
            if isinstance(exc, TimeoutError):
                reason = "read_timeout"
            return Failure(**facts, reason=reason, effect=lost, retryable=True), exc, None
        facts |= {
            "request_id": response.headers["X-Request-ID"],
            "status": response.status,
            "effect": effect_of(method, response.status),
        }
        try:
            content = self._read(response, began)
        except IncompleteRead as exc:
            self.connection.close()
            if "trusts half a body" not in self.habits:
                return Failure(**facts, reason="cut", retryable=True), exc, None
            content = exc.partial
        except TimeoutError as exc:
            self.connection.close()
            return Failure(**facts, reason="deadline"), exc, None
        if "never keeps a connection" in self.habits:
            self.connection.close()
        answer = Answer(response.status, response.getheaders(), content)
        error = TOY.decode(answer, method=method, idempotency_key=key)
        return Failure(**facts) if error is None else error.failure, None, _Result(answer)

    def _read(self, response: Any, began: float) -> bytes:
        if "no deadline" in self.habits:
            return bytes(response.read())
        content = b""
        while piece := response.read1(1):
            content += piece
            if time.monotonic() - began > self.settings.deadline:
                raise TimeoutError
        if response.length:
            raise IncompleteRead(content, response.length)
        response.close()
        return content

    def _again(self, failure: Failure, method: str, key: str | None, tries: int) -> bool:
        if tries >= self.settings.attempts or "gives up at once" in self.habits:
            return False
        if failure.status is not None and 400 <= failure.status < 500 and failure.status != 429:
            return "repeats refusals" in self.habits
        if failure.retry_after is not None and failure.retry_after > 60:
            return False
        safe = method == "GET" or key is not None or failure.effect is Effect.NOT_APPLIED
        return (safe or "repeats any write" in self.habits) and failure.reason != "deadline"

    def _wait(self, failure: Failure) -> float:
        return 0.01 if "ignores Retry-After" in self.habits else (failure.retry_after or 0.01) * 1.01

    def _tell(self, method: str, attempt: Attempt) -> None:
        for listen in self.settings.listeners:
            listen(
                Event(
                    EventKind.ATTEMPT_ENDED, 1, method, "", attempt.number, attempt.duration, attempt.outcome,
                    attempt.status,
                )
            )  # fmt: skip

    def _error(self, failure: Failure, attempts: list[Attempt], answer: Any) -> Exception:
        shown = attempts[-1:] if "hides attempts" in self.habits else attempts
        known = {f: getattr(failure, f) for f in _FACTS} | {"attempts": tuple(shown), "stopped": "tries"}
        known_as = None if failure.reason else TOY.decode(answer.answer)
        cls = ToyNetworkError if known_as is None else type(known_as)
        text = f"failed with {self._api_key}" if "puts the key into the error" in self.habits else None
        return cls.from_failure(Failure(**known), text)


class _Result:
    def __init__(self, answer: Answer) -> None:
        self.answer, self.content, self.status = answer, answer.body, answer.status


_FACTS = (
    "request_id",
    "method",
    "status",
    "message",
    "retry_after",
    "reason",
    "effect",
    "retryable",
    "idempotency_key",
)
