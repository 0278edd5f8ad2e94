"""
What a client is made of: its settings, checked once, and what follows from them for each call.

Nothing is sent here and nothing waited for; both drivers ask the same `Setup`.
"""

from __future__ import annotations

import logging
import os
import platform
import random as _random
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from failwell.call.breaker import Breaker, Circuit
from failwell.call.budget import RetryBudget
from failwell.call.flow import ALWAYS_CREDENTIALS, Call, Policies, call_flow, repeats
from failwell.call.idempotency import KEYED_METHODS, checked_key
from failwell.call.messages import Broken, Reason, Request, Response, Timeouts
from failwell.call.outcome import WORDS
from failwell.call.retry import RetryPolicy
from failwell.client.requests import (
    CHECK,
    NAME,
    header_name,
    header_value,
    json_body,
    mapping,
    secret_parts,
    url_of,
)
from failwell.clock import SystemClock
from failwell.contract import SAFE_METHODS, STANDARD, Contract, effect_of, scrubbed
from failwell.engines.base import Connections
from failwell.engines.bodies import Body, body_of
from failwell.errors import (
    ArgumentTypeError,
    BadAnswerError,
    CircuitOpenError,
    ConfigurationError,
    UsageError,
)
from failwell.failure import Failure
from failwell.headers import http_date, rate_limit, request_id
from failwell.operations.parts import Means, part_steps
from failwell.operations.polling import poll_flow
from failwell.operations.together import Crew
from failwell.redaction import BODY_LIMIT, Secret, kept_headers, kept_url, secrets_in_url
from failwell.telemetry import log_wait
from failwell.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from failwell.call.messages import CallFlow, Sleep
    from failwell.call.operation import Content, Operation
    from failwell.call.pacing import Pacer
    from failwell.clock import Clock
    from failwell.errors import CallError
    from failwell.operations.batches import Batch, BatchCrew
    from failwell.operations.parts import PartUpload
    from failwell.operations.polling import Poll, PollFlow
    from failwell.operations.steps import Steps
    from failwell.operations.streams import Connect
    from failwell.telemetry import Listener, Watch

T = TypeVar("T")
In = TypeVar("In")

DEFAULT_DEADLINE = 60.0

# Nearly every method there is; another is looked at character by character.
_METHODS = KEYED_METHODS | SAFE_METHODS


class Setup:
    """What both clients are made of: how to build a call and what to do by itself."""

    def __init__(
        self,
        base_url: str,
        *,
        awaiting: bool,
        contract: Contract = STANDARD,
        credentials: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
        budget: RetryBudget | None = None,
        breaker: Breaker | bool | None = None,
        pacing: Pacer | None = None,
        deadline: float | None = DEFAULT_DEADLINE,
        timeouts: Timeouts | None = None,
        idempotency: bool = True,
        follow_redirects: bool = True,
        name: str | None = None,
        listeners: Sequence[Listener] = (),
        clock: Clock | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        self.base_url = _checked_base(base_url)
        self._awaiting = awaiting
        _instance("contract", contract, Contract)
        for setting, value, kind in (
            ("retry", retry, RetryPolicy),
            ("budget", budget, RetryBudget),
            ("timeouts", timeouts, Timeouts),
        ):
            if value is not None:
                _instance(setting, value, kind)
        self.contract = contract
        self.retry = retry or RetryPolicy()
        self.budget = RetryBudget() if budget is None else budget
        self.breaker = _breaker(breaker, contract)
        self.pacing = pacing
        self.timeouts = timeouts or Timeouts()
        self.listeners = tuple(CHECK.items("listeners", listeners, _listener, wanted="a list of functions"))
        self.clock: Clock = SystemClock() if clock is None else _checked_clock(clock)
        self.random = random or _random.random
        self.log = logging.getLogger(f"{name or _package(contract)}.transport")
        self.policies = Policies(self.retry, self.timeouts, self.budget, follow_redirects)
        self._deadline = _checked_deadline(deadline)
        self._idempotency = idempotency
        secrets = {
            header_name(n): header_value(n, v) for n, v in mapping("credentials", credentials or {}).items()
        }
        self._credentials = ALWAYS_CREDENTIALS | secrets.keys()
        self._secrets = tuple(s for v in secrets.values() for s in secret_parts(v))
        self._headers = {
            "accept": "application/json",
            "user-agent": f"failwell/{__version__} python/{platform.python_version()}",
            **{header_name(n): header_value(n, v) for n, v in mapping("headers", headers or {}).items()},
            **{n: Secret(v) for n, v in secrets.items()},
        }
        self._host = urlsplit(self.base_url).netloc.rpartition("@")[2]
        self._circuit = None if self.breaker is None else self.breaker.circuit(self._host)

    def call(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        json: Any,
        content: Content | None,
        headers: Mapping[str, str] | None,
        idempotency_key: str | None,
        deadline: float | None,
    ) -> Call:
        """One logical call, ready to be made; wrong arguments are refused here."""
        method = method if type(method) is str else CHECK.text("method", method)
        if method not in _METHODS:
            if not NAME.fullmatch(method):
                raise UsageError(f"{method[:20]!r} is no HTTP method")
            method = method.upper()
        path = path if type(path) is str else CHECK.text("path", path)
        fields = self._headers.copy()
        body: bytes | Body | None
        if json is not None:
            if content is not None:
                raise UsageError("give json or content, not both")
            body = json_body(json)
            fields["content-type"] = "application/json"
        elif content is None or isinstance(content, bytes):
            body = content
        else:
            body = body_of(content, awaiting=self._awaiting)
        secrets = self._secrets
        if headers:
            for name, value in mapping("headers", headers).items():
                lower = header_name(name)
                fields[lower] = value = header_value(name, value)
                if lower in self._credentials:
                    fields[lower] = Secret(value)
                    secrets = (*secrets, *secret_parts(value))
        key = idempotency_key
        if key is not None:
            fields[self.contract.idempotency_header] = checked_key(key)
        elif method in KEYED_METHODS:
            key = fields.get(self.contract.idempotency_header)
            if key is not None:
                checked_key(key)
            elif self._idempotency:
                # 128 bits from the system: as unique as a UUID, and a third of its price.
                key = fields[self.contract.idempotency_header] = os.urandom(16).hex()
        return Call(
            Request(method, url_of(self.base_url, path, params), fields, body),
            self.contract,
            self._deadline if deadline is None else _checked_deadline(deadline),
            key,
            secrets,
            self._credentials,
        )

    def call_of(self, operation: Operation[Any], idempotency_key: str | None, deadline: float | None) -> Call:
        """The logical call that carries out `operation`; None stands for the operation's own."""
        try:
            call = self.call(
                operation.method,
                operation.path,
                operation.params,
                operation.json,
                operation.content,
                operation.headers,
                operation.idempotency_key if idempotency_key is None else idempotency_key,
                operation.deadline if deadline is None else deadline,
            )
        except UsageError as exc:
            raise self.refusal(exc) from None
        call.max_attempts = operation.max_attempts
        return call

    def refusal(self, error: UsageError) -> UsageError:
        """`error` as the contract raises it, without the frames that hold what was passed."""
        return self.contract.refusal(error.with_traceback(None))

    def flow(self, call: Call, scope: str) -> CallFlow:
        """The flow that decides `call`."""
        now = self.clock.monotonic()
        circuit: Circuit | None = self._circuit
        if scope and self.breaker is not None:
            circuit = self.breaker.circuit(f"{self._host} {scope}")
        return call_flow(
            call, self.policies, circuit, now=now, epoch=self.clock.unix() - now, random=self.random
        )

    def pause(self, call: Call) -> float:
        """
        Seconds the pacer wants to wait before `call`, which its deadline has less of then; 0.0
        if the call would be over before it began.
        """
        assert self.pacing is not None
        pause = self.pacing.wait(self.clock.monotonic())
        call.deadline -= pause
        return pause if call.deadline > 0 else 0.0

    def until(self, call: Call) -> float:
        """The moment at which `call`, which begins now, is over; monotonic seconds."""
        return self.clock.monotonic() + call.deadline

    def digested(self, call: Call, digest: str | None, until: float) -> None:
        """Announce the body's digest, the making of which took part of the time until `until`."""
        if digest is not None:
            call.request.headers["content-digest"] = digest
        call.deadline = until - self.clock.monotonic()

    def learn(self, result: Response | Broken) -> None:
        """Tell the pacer what an answer says about the rate limit."""
        if self.pacing is None or not isinstance(result, Response):
            return
        # The renewal is told by the service's clock, and so must be what is left until then.
        date = result.headers.get("date")
        wall = (http_date(date) if date else None) or datetime.fromtimestamp(self.clock.unix(), UTC)
        self.pacing.learn(rate_limit(result.headers, wall), self.clock.monotonic(), wall)

    def poll_flow(self, poll: Poll[T], crew: Crew | None) -> PollFlow[T]:
        """The flow that decides how `poll` is waited for, within the time that `crew` has."""
        now = self.clock.monotonic()
        if crew is not None and (left := crew.left(now)) < inf:
            timeout = min(left, inf if poll.policy.timeout is None else poll.policy.timeout)
            poll = replace(poll, policy=replace(poll.policy, timeout=max(0.0, timeout)))
        return poll_flow(poll, self.contract, now=now, epoch=self.clock.unix() - now)

    def batch_crew(self, batch: Batch[In, T], outer: Crew | None) -> BatchCrew[In, T]:
        """Who sends `batch`."""
        try:
            return batch.begin(
                self.contract,
                now=self.clock.monotonic(),
                keyed=self._idempotency,
                max_retry_after=self.retry.max_retry_after,
                outer=outer,
            )
        except UsageError as exc:
            raise self.refusal(exc) from None

    def part_steps(self, upload: PartUpload[T], crew: Crew | None) -> tuple[Steps[T], Crew | None]:
        """The steps that send `upload`, and the crew in whose time they are done."""
        try:
            upload.check()
        except UsageError as exc:
            raise self.refusal(exc) from None
        if upload.deadline is not None:
            around, crew = crew, Crew(1, self.clock.monotonic() + upload.deadline)
            crew.outer = around
        means = Means(self.contract, self.retry, self.budget, self.random, self._idempotency)
        return part_steps(upload, means), crew

    def opening(self, effect: Connect, key: str | None) -> Call:
        """The call that opens a stream; `key` is the first one's, whose body goes with each of the same."""
        operation = effect.operation
        call = self.call_of(operation, key if effect.again else None, effect.deadline)
        # What has no body is read whole, whoever else answers with it.
        call.opens = self.contract.success - {204, 205}
        call.until, call.idle = effect.until, effect.idle
        return call

    def within(self, stated: float | None, crew: Crew | None) -> float | None:
        """Seconds a call may take for which `stated` are allowed, if it is part of what `crew` does."""
        if crew is None or (left := crew.left(self.clock.monotonic())) == inf:
            return stated
        return max(0.0, min(left, self._deadline if stated is None else stated))

    def announce(self, effect: Sleep, watch: Watch | None = None) -> None:
        """Write the line that a wait after a failure is worth, and tell who listens."""
        if effect.after is not None:
            log_wait(self.log, effect, effect.after)
        if watch is not None:
            watch.waiting(effect)

    def throttled(self, crew: Crew | None, effect: Sleep) -> None:
        """Tell `crew` of a wait that the service asked for with a 429."""
        if crew is not None and effect.after is not None and effect.after.status == 429:
            crew.throttled(self.clock.monotonic(), effect.seconds)

    def parsed(self, operation: Operation[T], call: Call, response: Response) -> T:
        """
        The result of `operation`.

        Raises:
            BadAnswerError: the answer is not in the promised format, or the class the contract
                names for it.
        """
        try:
            return operation.parse(response)
        except (ValueError, TypeError, LookupError, AttributeError) as exc:
            # The frames below hold the whole answer; its text says enough.
            secrets = call.secrets + secrets_in_url(call.request.url)
            cause = None if repeats(exc, secrets) else exc.with_traceback(None)
            raise self._unreadable(call, response, exc, secrets) from cause

    def _unreadable(
        self, call: Call, response: Response, exc: Exception, secrets: tuple[str, ...]
    ) -> CallError:
        method = call.request.method
        kind = response.headers.get("content-type", "no content type")
        failure = Failure(
            method=method,
            url=kept_url(response.url or call.request.url),
            status=response.status,
            headers=kept_headers(response.headers),
            body=response.text[:BODY_LIMIT] or None,
            message=f"{WORDS[Reason.FORMAT]} ({kind}): {type(exc).__name__}: {exc}",
            request_id=request_id(response.headers),
            idempotency_key=call.key,
            reason=Reason.FORMAT.value,
            cause=f"{type(exc).__name__}: {exc}",
            attempts=response.attempts,
            effect=effect_of(method, response.status),
            stopped="not_retryable",
        )
        if secrets:
            failure = scrubbed(failure, secrets)
        return self.contract.class_for(BadAnswerError).from_failure(failure)


def _breaker(wanted: Breaker | bool | None, contract: Contract) -> Breaker | None:
    if isinstance(wanted, Breaker):
        return wanted
    if not isinstance(wanted, bool | None):
        raise ArgumentTypeError(f"breaker is a {type(wanted).__name__}; give a Breaker, True or False")
    if wanted is None:
        wanted = contract.names(CircuitOpenError)
    return Breaker() if wanted else None


def _package(contract: Contract) -> str:
    return "failwell" if contract is STANDARD else contract.name


def _checked_base(url: object) -> str:
    url = CHECK.text("base_url", url).strip()
    # What has no scheme may be a key that was put in the wrong place: it is not repeated.
    shown = f"{kept_url(url)!r} " if "://" in url else ""
    refusal = ConfigurationError(
        f"base_url {shown}cannot be used: it is http:// or https://, a host and "
        "perhaps a path, without query and in ASCII"
    )
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        raise refusal from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise refusal
    if not url.isascii() or not url.isprintable() or " " in url:
        raise refusal
    if parts.username or parts.password:
        raise ConfigurationError("base_url holds a user name or password: give it in `credentials`")
    return url.rstrip("/")


def _checked_deadline(seconds: object) -> float:
    if seconds is None:
        return inf
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise ArgumentTypeError(f"deadline is a {type(seconds).__name__}; give seconds")
    if not seconds >= 0:  # NaN is not, either
        shown = seconds if seconds != seconds or seconds > -1e9 else "below zero"
        raise UsageError(f"deadline is {shown}; it is a number of seconds, 0 or more")
    return float(seconds) if seconds < 1e9 else inf  # thirty years; a float ends at 10**308


def _listener(name: str, value: Any) -> Any:
    if not callable(value):
        raise CHECK.wrong_type(name, value, "a function that takes a failwell.telemetry.Event")
    return value


def _checked_clock(clock: Any) -> Any:
    if not all(callable(getattr(clock, each, None)) for each in ("monotonic", "unix", "sleep", "asleep")):
        raise CHECK.wrong_type("clock", clock, "a failwell.clock.Clock")
    return clock


def checked_connections(connections: object) -> Connections:
    """How an engine connects; None for the usual way."""
    if connections is None:
        return Connections()
    _instance("connections", connections, Connections)
    assert isinstance(connections, Connections)
    return connections


def _instance(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise ArgumentTypeError(f"{name} is a {type(value).__name__}; give a failwell.{kind.__name__}")
