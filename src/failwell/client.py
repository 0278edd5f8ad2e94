"""
The client: two thin drivers, blocking and awaiting, over the same flows.

Everything that is decided is decided in `failwell.call`; everything that is sent is sent by an
engine. What is left here is building a request once per call and acting on effects.
"""

from __future__ import annotations

import itertools
import logging
import os
import platform
import random as _random
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from json import JSONEncoder
from json import encoder as json_encoder
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, overload
from urllib.parse import quote, urlencode, urlsplit

from failwell.call.breaker import Breaker, Circuit
from failwell.call.budget import RetryBudget
from failwell.call.flow import ALWAYS_CREDENTIALS, URL_SAFE, Call, Policies, call_flow, repeats
from failwell.call.idempotency import KEYED_METHODS, checked_key
from failwell.call.messages import Broken, Reason, Reply, Request, Response, Send, Sleep, Timeouts
from failwell.call.operation import Operation
from failwell.call.outcome import WORDS
from failwell.call.retry import RetryPolicy
from failwell.clock import SystemClock
from failwell.contract import SAFE_METHODS, STANDARD, Contract, effect_of, scrubbed
from failwell.downloading import afetch, fetch
from failwell.engines import open_async_engine, open_engine
from failwell.engines.base import Connections
from failwell.engines.bodies import Body, body_of
from failwell.errors import (
    ArgumentTypeError,
    BadAnswerError,
    CallError,
    CircuitOpenError,
    ConfigurationError,
    UsageError,
)
from failwell.failure import Failure
from failwell.headers import http_date, rate_limit, request_id
from failwell.operations.batches import Batch
from failwell.operations.downloads import Download
from failwell.operations.parts import Means, PartUpload, part_steps
from failwell.operations.polling import Look, Looked, Poll, poll_flow
from failwell.operations.steps import Done, Locally, Together
from failwell.operations.streams import Connect, Stream
from failwell.operations.together import Crew
from failwell.redaction import BODY_LIMIT, Secret, kept_headers, kept_url, secrets_in_url
from failwell.streaming import AsyncEventStream, EventStream
from failwell.telemetry import Event, Kind, log_wait
from failwell.version import __version__
from failwell.workers import in_tasks, in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn, Self

    from failwell.call.messages import CallFlow
    from failwell.call.operation import Content
    from failwell.call.pacing import Pacer
    from failwell.clock import Clock
    from failwell.operations.batches import BatchCrew, BatchResult
    from failwell.operations.polling import PollFlow
    from failwell.operations.steps import Order, Steps
    from failwell.telemetry import Listener

T = TypeVar("T")
In = TypeVar("In")

DEFAULT_DEADLINE = 60.0

# RFC 9110, section 5.6.2 and 5.5: what a header's name and value may hold.
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

# Nearly every method there is; another is looked at character by character.
_METHODS = KEYED_METHODS | SAFE_METHODS


def _json_encoder() -> Callable[[Any], str]:
    encoder = JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
    make: Any = getattr(json_encoder, "c_make_encoder", None)  # in CPython, and not in typeshed
    if make is None:
        return encoder.encode
    # `JSONEncoder` sets this up anew for every value, which costs as much as the encoding: 1.5 us
    # for a small body instead of 0.7.
    pieces = make(
        None,
        encoder.default,
        json_encoder.encode_basestring,
        None,
        encoder.key_separator,
        encoder.item_separator,
        encoder.sort_keys,
        encoder.skipkeys,
        encoder.allow_nan,
    )
    return lambda value: "".join(pieces(value, 0))


_encode_json = _json_encoder()
_calls = itertools.count(1)


class _Setup:
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
        self.listeners = _checked_listeners(listeners)
        self.clock: Clock = clock or SystemClock()
        self.random = random or _random.random
        self.log = logging.getLogger(f"{name or _package(contract)}.transport")
        self.policies = Policies(self.retry, self.timeouts, self.budget, follow_redirects)
        self._deadline = _checked_deadline(deadline)
        self._idempotency = idempotency
        secrets = {
            _header_name(n): _header_value(n, v)
            for n, v in _mapping("credentials", credentials or {}).items()
        }
        self._credentials = ALWAYS_CREDENTIALS | secrets.keys()
        self._secrets = tuple(s for v in secrets.values() for s in _secret_parts(v))
        self._headers = {
            "accept": "application/json",
            "user-agent": f"failwell/{__version__} python/{platform.python_version()}",
            **{_header_name(n): _header_value(n, v) for n, v in _mapping("headers", headers or {}).items()},
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
        method = method if type(method) is str else _text("method", method)
        if method not in _METHODS:
            if not _NAME.fullmatch(method):
                raise UsageError(f"{method[:20]!r} is no HTTP method")
            method = method.upper()
        path = path if type(path) is str else _text("path", path)
        fields = self._headers.copy()
        body: bytes | Body | None
        if json is not None:
            if content is not None:
                raise UsageError("give json or content, not both")
            body = _json_body(json)
            fields["content-type"] = "application/json"
        elif content is None or isinstance(content, bytes):
            body = content
        else:
            body = body_of(content, awaiting=self._awaiting)
        secrets = self._secrets
        if headers:
            for name, value in _mapping("headers", headers).items():
                lower = _header_name(name)
                fields[lower] = value = _header_value(name, value)
                if lower in self._credentials:
                    fields[lower] = Secret(value)
                    secrets = (*secrets, *_secret_parts(value))
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
            Request(method, self._url(path, params), fields, body),
            self.contract,
            self._deadline if deadline is None else _checked_deadline(deadline),
            key,
            secrets,
            self._credentials,
        )

    def flow(self, call: Call, scope: str) -> CallFlow:
        """The flow that decides `call`."""
        now = self.clock.monotonic()
        circuit: Circuit | None = self._circuit
        if scope and self.breaker is not None:
            circuit = self.breaker.circuit(f"{self._host} {scope}")
        return call_flow(
            call, self.policies, circuit, now=now, epoch=self.clock.unix() - now, random=self.random
        )

    def _url(self, path: str, params: Mapping[str, Any] | None) -> str:
        if path.startswith("/"):
            url = self.base_url + path
        elif "://" in path:
            # The credentials of this client are for one origin; another needs a client of its own.
            if not path.startswith((self.base_url + "/", self.base_url + "?")):
                raise UsageError(f"{kept_url(path)} is not below this client's base URL {self.base_url}")
            url = path
        else:
            url = f"{self.base_url}/{path}"
        if "#" in url:
            url = url.replace("#", "%23")  # a fragment is never sent, and would swallow the query
        try:
            if not (url.isascii() and url.isprintable()) or " " in url:
                url = quote(url, safe=URL_SAFE)
            if params:
                pairs = _query_pairs(_mapping("params", params))
                if pairs:
                    url = f"{url}{'&' if '?' in url else '?'}{urlencode(pairs, doseq=True)}"
        except UnicodeEncodeError:
            pass
        else:
            return url
        # Raised here, so that the error with the text in it is no context of it.
        raise UsageError("path or params hold half a surrogate pair, which cannot be sent")

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
            raise _refusal(self.contract, exc) from None

    def part_steps(self, upload: PartUpload[T], crew: Crew | None) -> tuple[Steps[T], Crew | None]:
        """The steps that send `upload`, and the crew in whose time they are done."""
        try:
            upload.check()
        except UsageError as exc:
            raise _refusal(self.contract, exc) from None
        if upload.deadline is not None:
            around, crew = crew, Crew(1, self.clock.monotonic() + upload.deadline)
            crew.outer = around
        means = Means(self.contract, self.retry, self.budget, self.random, self._idempotency)
        return part_steps(upload, means), crew

    def opening(self, effect: Connect, key: str | None) -> Call:
        """The call that opens a stream; `key` is the first one's, whose body goes with each of the same."""
        operation = effect.operation
        call = _call_of(self, operation, key if effect.again else None, effect.deadline)
        # What has no body is read whole, whoever else answers with it.
        call.opens = self.contract.success - {204, 205}
        call.until, call.idle = effect.until, effect.idle
        return call

    def within(self, stated: float | None, crew: Crew | None) -> float | None:
        """Seconds a call may take for which `stated` are allowed, if it is part of what `crew` does."""
        if crew is None or (left := crew.left(self.clock.monotonic())) == inf:
            return stated
        return max(0.0, min(left, self._deadline if stated is None else stated))

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


class _Watch:
    """Tells listeners what a call does; made only where there are listeners."""

    def __init__(self, setup: _Setup, call: Call) -> None:
        self._listeners = setup.listeners
        self._clock = setup.clock
        self._number = next(_calls)
        self._method = call.request.method
        self._began = self._since = self._clock.monotonic()
        self._url = kept_url(call.request.url)
        self._attempt = 0

    def _tell(self, kind: Kind, seconds: float = 0.0, **facts: Any) -> None:
        event = Event(kind, self._number, self._method, self._url, self._attempt, seconds, **facts)
        for listen in self._listeners:
            listen(event)

    def sending(self, order: Send) -> None:
        self._attempt = order.number
        self._url = kept_url(order.request.url)
        self._since = self._clock.monotonic()
        self._tell(Kind.ATTEMPT_STARTED)

    def sent(self, result: Response | Broken) -> None:
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
        self._tell(Kind.WAITING, effect.seconds, why=effect.why)

    def ended(self, error: BaseException | None) -> None:
        took = self._clock.monotonic() - self._began
        self._tell(Kind.CALL_ENDED, took, outcome="ok" if error is None else type(error).__name__)


class Client:
    """
    Calls an HTTP API, blocking.

    Args:
        base_url: Scheme and host, and a path that all calls share.
        contract: Which failure is which exception; the standard ones by default.
        credentials: Headers that carry secrets, such as `{"authorization": "Bearer ..."}`. They
            are sent to this origin only and appear in no error, log or `repr`.
        headers: Further headers of every call.
        retry: Which failures are tried again.
        budget: Shared with other clients of the same service, if you have several.
        breaker: True or a `Breaker` for one, False for none; by default the contract decides.
        pacing: A `Pacer` to slow down before a rate limit is reached.
        deadline: Seconds for a whole call, all tries and waits included; None for no limit.
        timeouts: For each wait within an attempt.
        idempotency: Whether writes get an idempotency key by themselves.
        follow_redirects: Whether safe methods follow redirects. Writes never do.
        engine: "httpx" (default) or "pyreqwest"; or a client or transport of httpx2 or httpx
            that you bring, and close.
        connections: How the engine connects.
        name: What the logger is called: `<name>.transport`.
        listeners: Called with each `failwell.telemetry.Event`.
        clock: The time to go by; for tests.
        random: Gives a number from 0 up to 1; for tests.

    Raises:
        ConfigurationError: the base URL or the engine cannot be used.
        UsageError: another setting cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
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
        engine: Any = "httpx",
        connections: Connections | None = None,
        name: str | None = None,
        listeners: Sequence[Listener] = (),
        clock: Clock | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        try:
            self._setup = _Setup(
                base_url,
                awaiting=False,
                contract=contract,
                credentials=credentials,
                headers=headers,
                retry=retry,
                budget=budget,
                breaker=breaker,
                pacing=pacing,
                deadline=deadline,
                timeouts=timeouts,
                idempotency=idempotency,
                follow_redirects=follow_redirects,
                name=name,
                listeners=listeners,
                clock=clock,
                random=random,
            )
        except UsageError as exc:
            raise _refusal(contract, exc) from None
        finally:
            base_url = ""
            credentials = headers = None  # not for tracebacks that show locals
        try:
            self._engine = open_engine(engine, _checked_connections(connections))
        except UsageError as exc:
            raise contract.refusal(exc) from exc.__cause__
        self._closed = False

    def __repr__(self) -> str:
        return _shown(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise _not_to_be_pickled(self)

    @property
    def base_url(self) -> str:
        """Where the service is."""
        return self._setup.base_url

    @property
    def contract(self) -> Contract:
        """Which failure is which exception."""
        return self._setup.contract

    def close(self) -> None:
        """Close the connections, for good. Calling twice is harmless."""
        self._closed = True
        self._engine.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Response:
        """
        Make one call.

        Args:
            method: The HTTP method.
            path: Below the base URL.
            params: The query; None values are left out, lists are repeated.
            json: The body as JSON types; None for none.
            content: The body, where it is not JSON: bytes, the path of a file, one opened in binary
                mode, an iterator of bytes, or a `failwell.Upload`.
            headers: Added to the client's.
            idempotency_key: Sent with every try; by default a write gets one by itself.
            deadline: Seconds for the whole call; None for the client's.

        Raises:
            CallError: it did not succeed; the class is the one the contract names.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        # A traceback that shows locals must not show what was passed: neither of this frame nor,
        # if an argument is refused, of those that looked at it.
        try:
            call = self._setup.call(method, path, params, json, content, headers, idempotency_key, deadline)
        except UsageError as exc:
            raise _refusal(self._setup.contract, exc) from None
        finally:
            path = ""
            params = json = content = headers = None
        return self._run(call, "")

    def call(
        self, operation: Operation[T], *, idempotency_key: str | None = None, deadline: float | None = None
    ) -> T:
        """
        Carry out one operation of an API.

        Args:
            operation: What to ask and how to read the answer.
            idempotency_key: Sent with every try; by default the operation's, and a write without
                one gets one by itself.
            deadline: Seconds for the whole call; None for the operation's or the client's.

        Raises:
            CallError: it did not succeed; the class is the one the contract names.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        call = _call_of(self._setup, operation, idempotency_key, deadline)
        response = self._run(call, operation.scope)
        return self._setup.parsed(operation, call, response)

    def poll(self, poll: Poll[T]) -> T:
        """
        Wait until a job of the service is finished.

        Args:
            poll: Which job, how often to look and for how long.

        Returns:
            What the last look saw.

        Raises:
            CallError: the class the contract names for `PollTimeoutError`, which leaves the job
                running, for `JobFailedError`, or for what went wrong with looking.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        return self._poll(poll, None)

    def stream(self, stream: Stream[T]) -> EventStream[T]:
        """
        Read a stream of events to its end, through breaks.

        Args:
            stream: Which, what its events mean, and how it goes on after a break.

        Returns:
            The stream, not open yet: `with client.stream(...) as events: for item in events: ...`.

        Raises:
            CallError: (when it is opened or iterated) the class the contract names for what went wrong
                with opening it, for what an event reports, for an answer that is no stream of events
                (`BadAnswerError`), for the deadline (`CallTimeoutError`), and for `StreamError`, if it
                broke and cannot go on.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        return EventStream(self, stream)

    def _open(self, effect: Connect, key: str | None) -> tuple[Call, Response]:
        """Open a stream, as the flow says."""
        call = self._setup.opening(effect, key)
        return call, self._run(call, effect.operation.scope)

    def _poll(self, poll: Poll[T], crew: Crew | None) -> T:
        flow = self._setup.poll_flow(poll, crew)
        try:
            effect = next(flow)
            while True:
                looked = self._looked(effect, crew)
                try:
                    effect = flow.send(looked)
                except StopIteration as done:
                    result: T = done.value
                    return result
        finally:
            flow.close()

    @overload
    def perform(self, order: Batch[In, T]) -> BatchResult[In, T]: ...
    @overload
    def perform(self, order: Operation[T] | Poll[T] | PartUpload[T] | Download[T] | Steps[T]) -> T: ...
    def perform(self, order: Any) -> Any:
        """
        Carry out an operation, wait for a job, send a batch or a file in parts, download one, or do the
        steps of a generator.

        Args:
            order: What to do; see `failwell.operations.steps`.

        Returns:
            What it brings; of a batch a `BatchResult`, whether or not its items succeeded.

        Raises:
            CallError: a step did not succeed, and the generator did not take care of it.
            UsageError: an argument cannot be used.
        """
        return self._perform(order, None)

    def _perform(self, order: Any, crew: Crew | None) -> Any:
        """Do `order`, as part of what `crew` does."""
        setup = self._setup
        if isinstance(order, Operation):
            call = _call_of(setup, order, None, setup.within(order.deadline, crew))
            return setup.parsed(order, call, self._run(call, order.scope, crew))
        if isinstance(order, Poll):
            return self._poll(order, crew)
        if isinstance(order, Download):
            return fetch(self, order, setup.within(order.policy.deadline, crew))
        if isinstance(order, Batch):
            self._together(setup.batch_crew(order, crew))
            return order.result
        if isinstance(order, PartUpload):
            order, crew = setup.part_steps(order, crew)
        try:
            try:
                step = next(order)
                while True:
                    step = order.send(self._done(step, crew))
            except StopIteration as done:
                return done.value
            except UsageError as exc:
                raise _refusal(setup.contract, exc) from None
        finally:
            order.close()

    def _together(self, crew: Crew) -> None:
        """Let as many as `crew` wants do what it says."""
        in_threads(crew, lambda order: self._perform(order, crew), self._setup.clock)

    def _looked(self, effect: Look[Any] | Sleep, crew: Crew | None) -> Looked:
        """Act on one effect of a poll."""
        setup = self._setup
        if isinstance(effect, Sleep):
            setup.clock.sleep(effect.seconds)
            return Looked(setup.clock.monotonic())
        operation = effect.operation
        try:
            call = _call_of(setup, operation, None, effect.deadline)
            response = self._run(call, operation.scope, crew)
            result = setup.parsed(operation, call, response)
        except CallError as exc:
            return Looked(setup.clock.monotonic(), error=exc)
        return Looked(setup.clock.monotonic(), result, response)

    def _done(self, step: Order, crew: Crew | None) -> Done:
        """Act on one step."""
        setup, clock = self._setup, self._setup.clock
        if isinstance(step, Sleep):
            setup.throttled(crew, step)
            clock.sleep(setup.within(step.seconds, crew) or 0.0)
            return Done(clock.monotonic())
        if isinstance(step, Locally):
            try:
                return Done(clock.monotonic(), step.work())
            except Exception as exc:  # noqa: BLE001  # it is raised in the steps
                return Done(clock.monotonic(), error=exc)
        if isinstance(step, Together):
            step.crew.outer = crew
            self._together(step.crew)
            return Done(clock.monotonic(), step.crew)
        try:
            result = self._perform(step, crew)
        except CallError as exc:
            return Done(clock.monotonic(), error=exc)
        return Done(clock.monotonic(), result)

    def _run(self, call: Call, scope: str, crew: Crew | None = None) -> Response:
        """Drive the flow to its response, blocking in the engine."""
        if self._closed:
            raise _refusal(self._setup.contract, UsageError("this client was closed; make a new one"))
        setup = self._setup
        watch = _Watch(setup, call) if setup.listeners else None
        if setup.pacing is not None and (pause := setup.pause(call)):
            setup.clock.sleep(pause)
        body = call.request.content if isinstance(call.request.content, Body) else None
        if body is not None and body.digests and "content-digest" not in call.request.headers:
            until = setup.until(call)
            try:
                setup.digested(call, body.digest(until), until)
            except UsageError as exc:
                raise _refusal(setup.contract, exc) from None
        flow = setup.flow(call, scope)
        error: BaseException | None = None
        result: Response | Broken | None = None
        try:
            effect = next(flow)
            while True:
                # Written out here: a call (and a coroutine) for each effect costs 0.3 us.
                result = None
                if type(effect) is Send:
                    if watch is not None:
                        watch.sending(effect)
                    if body is not None:
                        body.begin(effect.deadline)
                    result = self._engine.send(effect)
                    if body is not None:
                        result = body.told(result)
                    if watch is not None:
                        watch.sent(result)
                    if setup.pacing is not None:
                        setup.learn(result)
                else:
                    assert type(effect) is Sleep
                    setup.throttled(crew, effect)
                    _announce(setup, effect, watch)
                    setup.clock.sleep(effect.seconds)
                reply = Reply(setup.clock.monotonic(), result, body is not None and body.spent)
                try:
                    effect = flow.send(reply)
                except StopIteration as done:
                    response: Response = done.value
                    return response
        except BaseException as exc:
            error = exc
            if isinstance(result, Response) and result.pieces is not None:
                result.pieces.close()
            raise
        finally:
            flow.close()  # Ctrl-C in the engine never enters the flow; this gives a probe back
            if body is not None:
                body.close()
            if watch is not None:
                watch.ended(error)
            del error


class AsyncClient:
    """
    Calls an HTTP API, awaiting: under asyncio or trio on the httpx family, under asyncio on
    aiohttp and pyreqwest.

    Arguments as for `Client`; `engine` may also be "aiohttp".
    """

    def __init__(
        self,
        base_url: str,
        *,
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
        engine: Any = "httpx",
        connections: Connections | None = None,
        name: str | None = None,
        listeners: Sequence[Listener] = (),
        clock: Clock | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        try:
            self._setup = _Setup(
                base_url,
                awaiting=True,
                contract=contract,
                credentials=credentials,
                headers=headers,
                retry=retry,
                budget=budget,
                breaker=breaker,
                pacing=pacing,
                deadline=deadline,
                timeouts=timeouts,
                idempotency=idempotency,
                follow_redirects=follow_redirects,
                name=name,
                listeners=listeners,
                clock=clock,
                random=random,
            )
        except UsageError as exc:
            raise _refusal(contract, exc) from None
        finally:
            base_url = ""
            credentials = headers = None  # not for tracebacks that show locals
        try:
            self._engine = open_async_engine(engine, _checked_connections(connections))
        except UsageError as exc:
            raise contract.refusal(exc) from exc.__cause__
        self._closed = False

    def __repr__(self) -> str:
        return _shown(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __reduce__(self) -> NoReturn:
        raise _not_to_be_pickled(self)

    @property
    def base_url(self) -> str:
        """Where the service is."""
        return self._setup.base_url

    @property
    def contract(self) -> Contract:
        """Which failure is which exception."""
        return self._setup.contract

    async def aclose(self) -> None:
        """Close the connections, for good. Calling twice is harmless."""
        self._closed = True
        await self._engine.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Response:
        """
        Make one call.

        Args:
            method: The HTTP method.
            path: Below the base URL.
            params: The query; None values are left out, lists are repeated.
            json: The body as JSON types; None for none.
            content: The body, where it is not JSON: bytes, the path of a file, one opened in binary
                mode, an iterator of bytes, or a `failwell.Upload`.
            headers: Added to the client's.
            idempotency_key: Sent with every try; by default a write gets one by itself.
            deadline: Seconds for the whole call; None for the client's.

        Raises:
            CallError: it did not succeed; the class is the one the contract names.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        # A traceback that shows locals must not show what was passed: neither of this frame nor,
        # if an argument is refused, of those that looked at it.
        try:
            call = self._setup.call(method, path, params, json, content, headers, idempotency_key, deadline)
        except UsageError as exc:
            raise _refusal(self._setup.contract, exc) from None
        finally:
            path = ""
            params = json = content = headers = None
        return await self._run(call, "")

    async def call(
        self, operation: Operation[T], *, idempotency_key: str | None = None, deadline: float | None = None
    ) -> T:
        """
        Carry out one operation of an API.

        Args:
            operation: What to ask and how to read the answer.
            idempotency_key: Sent with every try; by default the operation's, and a write without
                one gets one by itself.
            deadline: Seconds for the whole call; None for the operation's or the client's.

        Raises:
            CallError: it did not succeed; the class is the one the contract names.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        call = _call_of(self._setup, operation, idempotency_key, deadline)
        response = await self._run(call, operation.scope)
        return self._setup.parsed(operation, call, response)

    async def poll(self, poll: Poll[T]) -> T:
        """
        Wait until a job of the service is finished.

        Args:
            poll: Which job, how often to look and for how long.

        Returns:
            What the last look saw.

        Raises:
            CallError: the class the contract names for `PollTimeoutError`, which leaves the job
                running, for `JobFailedError`, or for what went wrong with looking.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        return await self._poll(poll, None)

    def stream(self, stream: Stream[T]) -> AsyncEventStream[T]:
        """
        Read a stream of events to its end, through breaks.

        Args:
            stream: Which, what its events mean, and how it goes on after a break.

        Returns:
            The stream, not open yet: `with client.stream(...) as events: for item in events: ...`.

        Raises:
            CallError: (when it is opened or iterated) the class the contract names for what went wrong
                with opening it, for what an event reports, for an answer that is no stream of events
                (`BadAnswerError`), for the deadline (`CallTimeoutError`), and for `StreamError`, if it
                broke and cannot go on.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        return AsyncEventStream(self, stream)

    async def _open(self, effect: Connect, key: str | None) -> tuple[Call, Response]:
        """Open a stream, as the flow says."""
        call = self._setup.opening(effect, key)
        return call, await self._run(call, effect.operation.scope)

    async def _poll(self, poll: Poll[T], crew: Crew | None) -> T:
        flow = self._setup.poll_flow(poll, crew)
        try:
            effect = next(flow)
            while True:
                looked = await self._looked(effect, crew)
                try:
                    effect = flow.send(looked)
                except StopIteration as done:
                    result: T = done.value
                    return result
        finally:
            flow.close()

    @overload
    async def perform(self, order: Batch[In, T]) -> BatchResult[In, T]: ...
    @overload
    async def perform(self, order: Operation[T] | Poll[T] | PartUpload[T] | Download[T] | Steps[T]) -> T: ...
    async def perform(self, order: Any) -> Any:
        """
        Carry out an operation, wait for a job, send a batch or a file in parts, download one, or do the
        steps of a generator.

        Args:
            order: What to do; see `failwell.operations.steps`.

        Returns:
            What it brings; of a batch a `BatchResult`, whether or not its items succeeded.

        Raises:
            CallError: a step did not succeed, and the generator did not take care of it.
            UsageError: an argument cannot be used.
        """
        return await self._perform(order, None)

    async def _perform(self, order: Any, crew: Crew | None) -> Any:
        """Do `order`, as part of what `crew` does."""
        setup = self._setup
        if isinstance(order, Operation):
            call = _call_of(setup, order, None, setup.within(order.deadline, crew))
            return setup.parsed(order, call, await self._run(call, order.scope, crew))
        if isinstance(order, Poll):
            return await self._poll(order, crew)
        if isinstance(order, Download):
            return await afetch(self, order, setup.within(order.policy.deadline, crew))
        if isinstance(order, Batch):
            await self._together(setup.batch_crew(order, crew))
            return order.result
        if isinstance(order, PartUpload):
            order, crew = setup.part_steps(order, crew)
        try:
            try:
                step = next(order)
                while True:
                    step = order.send(await self._done(step, crew))
            except StopIteration as done:
                return done.value
            except UsageError as exc:
                raise _refusal(setup.contract, exc) from None
        finally:
            order.close()

    async def _together(self, crew: Crew) -> None:
        """Let as many as `crew` wants do what it says."""
        await in_tasks(crew, lambda order: self._perform(order, crew), self._setup.clock)

    async def _looked(self, effect: Look[Any] | Sleep, crew: Crew | None) -> Looked:
        """Act on one effect of a poll."""
        setup = self._setup
        if isinstance(effect, Sleep):
            await setup.clock.asleep(effect.seconds)
            return Looked(setup.clock.monotonic())
        operation = effect.operation
        try:
            call = _call_of(setup, operation, None, effect.deadline)
            response = await self._run(call, operation.scope, crew)
            result = setup.parsed(operation, call, response)
        except CallError as exc:
            return Looked(setup.clock.monotonic(), error=exc)
        return Looked(setup.clock.monotonic(), result, response)

    async def _done(self, step: Order, crew: Crew | None) -> Done:
        """Act on one step."""
        setup, clock = self._setup, self._setup.clock
        if isinstance(step, Sleep):
            setup.throttled(crew, step)
            await clock.asleep(setup.within(step.seconds, crew) or 0.0)
            return Done(clock.monotonic())
        if isinstance(step, Locally):
            from failwell.engines.threads import in_thread

            try:
                return Done(clock.monotonic(), await in_thread(step.work))
            except Exception as exc:  # noqa: BLE001  # it is raised in the steps
                return Done(clock.monotonic(), error=exc)
        if isinstance(step, Together):
            step.crew.outer = crew
            await self._together(step.crew)
            return Done(clock.monotonic(), step.crew)
        try:
            result = await self._perform(step, crew)
        except CallError as exc:
            return Done(clock.monotonic(), error=exc)
        return Done(clock.monotonic(), result)

    async def _run(self, call: Call, scope: str, crew: Crew | None = None) -> Response:
        """Drive the flow to its response, awaiting the engine."""
        if self._closed:
            raise _refusal(self._setup.contract, UsageError("this client was closed; make a new one"))
        setup = self._setup
        watch = _Watch(setup, call) if setup.listeners else None
        if setup.pacing is not None and (pause := setup.pause(call)):
            await setup.clock.asleep(pause)
        body = call.request.content if isinstance(call.request.content, Body) else None
        if body is not None and body.digests and "content-digest" not in call.request.headers:
            until = setup.until(call)
            try:
                setup.digested(call, await body.awaited_digest(until), until)
            except UsageError as exc:
                raise _refusal(setup.contract, exc) from None
        flow = setup.flow(call, scope)
        error: BaseException | None = None
        result: Response | Broken | None = None
        try:
            effect = next(flow)
            while True:
                # Written out here: a call (and a coroutine) for each effect costs 0.3 us.
                result = None
                if type(effect) is Send:
                    if watch is not None:
                        watch.sending(effect)
                    if body is not None:
                        body.begin(effect.deadline)
                    result = await self._engine.send(effect)
                    if body is not None:
                        result = body.told(result)
                    if watch is not None:
                        watch.sent(result)
                    if setup.pacing is not None:
                        setup.learn(result)
                else:
                    assert type(effect) is Sleep
                    setup.throttled(crew, effect)
                    _announce(setup, effect, watch)
                    await setup.clock.asleep(effect.seconds)
                reply = Reply(setup.clock.monotonic(), result, body is not None and body.spent)
                try:
                    effect = flow.send(reply)
                except StopIteration as done:
                    response: Response = done.value
                    return response
        except BaseException as exc:
            error = exc
            if isinstance(result, Response) and result.pieces is not None:
                await result.pieces.aclose()
            raise
        finally:
            flow.close()  # a cancelled task never enters the flow; this gives a probe back
            if body is not None:
                body.close()
            if watch is not None:
                watch.ended(error)
            del error


def _shown(client: Client | AsyncClient) -> str:
    # A traceback that shows locals asks this of a client whose constructor refused its arguments.
    setup, engine = client.__dict__.get("_setup"), client.__dict__.get("_engine")
    where = f"{setup.base_url} on {engine.name}" if setup is not None and engine is not None else "unmade"
    return f"<{type(client).__name__} {where}>"


def _not_to_be_pickled(client: Client | AsyncClient) -> TypeError:
    # Of `copy`, too: two clients would close each other's connections.
    return TypeError(
        f"a {type(client).__name__} can be neither pickled nor copied: it holds connections and "
        "credentials; make one in each process"
    )


def _announce(setup: _Setup, effect: Sleep, watch: _Watch | None) -> None:
    if effect.after is not None:
        log_wait(setup.log, effect, effect.after)
    if watch is not None:
        watch.waiting(effect)


def _call_of(
    setup: _Setup, operation: Operation[Any], idempotency_key: str | None, deadline: float | None
) -> Call:
    try:
        call = setup.call(
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
        raise _refusal(setup.contract, exc) from None
    call.max_attempts = operation.max_attempts
    return call


def _refusal(contract: object, error: UsageError) -> UsageError:
    """`error` as the contract raises it, without the frames that hold what was passed."""
    known = contract if isinstance(contract, Contract) else STANDARD
    return known.refusal(error.with_traceback(None))


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
    url = _text("base_url", url).strip()
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


def _checked_listeners(listeners: Any) -> tuple[Listener, ...]:
    if not isinstance(listeners, Iterable) or not all(map(callable, given := tuple(listeners))):
        raise ArgumentTypeError("listeners is a list of functions that take a failwell.telemetry.Event")
    return given


def _checked_connections(connections: object) -> Connections:
    if connections is None:
        return Connections()
    _instance("connections", connections, Connections)
    assert isinstance(connections, Connections)
    return connections


def _instance(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise ArgumentTypeError(f"{name} is a {type(value).__name__}; give a failwell.{kind.__name__}")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name} is a {type(value).__name__}; give a string")
    return value


def _mapping(name: str, value: Any) -> Any:
    if isinstance(value, type) or not callable(getattr(value, "items", None)):
        raise ArgumentTypeError(f"{name} is a {type(value).__name__}; give a mapping")
    return value


def _header_name(name: object) -> str:
    name = _text("a header's name", name)
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name[:40]!r} is no header name")
    return name.lower()


def _header_value(name: object, value: object) -> str:
    value = _text(f"the value of header {name!r}", value)
    if not _VALUE.fullmatch(value):
        # The value may be a secret with a line break behind it: it is not repeated.
        raise UsageError(
            f"the value of header {name!r} has characters that cannot be sent, such as a line break"
        )
    return value.strip(" \t")


def _secret_parts(value: str) -> tuple[str, ...]:
    """What must not be kept of a credential: all of it, and the token behind its scheme."""
    _scheme, space, token = value.partition(" ")
    whole = (Secret(value), Secret(token)) if space and token else (Secret(value),)
    # A cookie, or the parameters of a scheme: each value by itself.
    parts = (part.partition("=")[2].strip('" ') for part in value.replace(",", ";").split(";"))
    return (*whole, *(Secret(part) for part in parts if part))


def _json_body(value: Any) -> bytes:
    try:
        return _encode_json(value).encode("utf-8")
    except TypeError as exc:
        raise ArgumentTypeError(f"json cannot be encoded: {exc}") from None
    except RecursionError:
        raise UsageError("json cannot be encoded: it is nested too deeply, or contains itself") from None
    except ValueError as exc:
        raise UsageError(f"json cannot be encoded: {exc}") from None


def _query_pairs(params: Mapping[str, Any]) -> dict[str, Any]:
    """What `urlencode` writes; None values are left out, lists are repeated."""
    pairs: dict[str, Any] = {}
    for name, value in params.items():
        if type(name) is not str:
            _text("a name in params", name)
        if type(value) is str:
            pairs[name] = value
        elif isinstance(value, (list, tuple)):
            pairs[name] = [_query_value(name, item) for item in value if item is not None]
        elif value is not None:
            pairs[name] = _query_value(name, value)
    return pairs


def _query_value(name: str, value: Any) -> Any:
    """One value of the query. What has no text of its own (an object, a dict) is refused."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, bytes, float)):
        return value
    writer: Any = type(value).__str__
    if isinstance(value, int) or writer is not object.__str__:
        try:
            return str(value)
        except ValueError:  # an int of more digits than Python writes out
            pass
        raise UsageError(f"params[{name!r}] is a number too large to be sent")
    raise ArgumentTypeError(
        f"params[{name!r}] is a {type(value).__name__}; give a string, a number or a list of them"
    )
