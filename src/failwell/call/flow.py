"""
Decide what one call does next: no I/O, no clock, no dice. Drivers act on the effects.

Theory of operation. A call is a row of attempts within one deadline. Before each attempt the
breaker is asked; after it, the answer is one of four:

1. a success: the budget is refilled, the response is returned;
2. a redirect of a safe method: the same call goes on at the new address, without credentials if
   that is another origin;
3. a failure that may be repeated: its effect is harmless or its repetition is (an idempotent
   method, or a key on the wire), there are tries, time and budget left. One sleep, and again;
4. any other failure: raised, with every attempt on it and the reason it was not tried again.

What an earlier attempt left open stays open: a refusal of the second try says nothing about the
first, whose answer was lost. `effect_of_call` keeps that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from urllib.parse import quote, urljoin, urlsplit

from failwell import headers as header_facts
from failwell.answer import Answer
from failwell.call import outcome
from failwell.call.breaker import PROBE
from failwell.call.messages import Broken, Reason, Request, Response, Send, Sleep, Timeouts
from failwell.call.retry import IDEMPOTENT_METHODS
from failwell.contract import SAFE_METHODS, scrubbed
from failwell.errors import CallError, CircuitOpenError, DeadlineExceededError, QuotaExceededError
from failwell.failure import Attempt, Effect, Failure
from failwell.redaction import kept_headers, kept_url, scrub, secrets_in_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from urllib.parse import SplitResult

    from failwell.call.breaker import Circuit
    from failwell.call.budget import RetryBudget
    from failwell.call.messages import CallFlow
    from failwell.call.retry import RetryPolicy
    from failwell.contract import Contract

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 5  # half of what RFC 9110 calls common; an API that needs more has a loop

# Left behind when a redirect leads to another origin, besides the client's own credentials.
ALWAYS_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})

_DEFAULT_PORTS = {"http": 80, "https": 443}

# What is written into a URL as it is; RFC 3986, sections 2.2 and 2.3, and "%" of what is encoded.
URL_SAFE = "%/:?#[]@!$&'()*+,;=~-._"


@dataclass(slots=True)
class Call:
    """
    One logical call.

    Attributes:
        request: What to send.
        contract: Which failure is which exception.
        deadline: Seconds for the whole call.
        key: The idempotency key that is on the wire; None if there is none.
        secrets: Values that must not be kept, even if the service repeats them.
        credentials: Names of headers that carry them.
        opens: Statuses whose answer is wanted with its body unread.
        until: Monotonic seconds at which the reading of it must be over.
        idle: Seconds that may pass between two pieces of it; None for the client's read timeout.
        max_attempts: Tries in all; None for what the retry policy says.
    """

    request: Request
    contract: Contract
    deadline: float = inf
    key: str | None = None
    secrets: tuple[str, ...] = ()
    credentials: frozenset[str] = ALWAYS_CREDENTIALS
    opens: frozenset[int] = frozenset()
    until: float = inf
    idle: float | None = None
    max_attempts: int | None = None

    def __repr__(self) -> str:
        return f"<Call {self.request!r}>"


@dataclass(slots=True)
class Policies:
    """What a client does by itself; shared by its calls."""

    retry: RetryPolicy
    timeouts: Timeouts
    budget: RetryBudget | None = None
    follow_redirects: bool = True


def call_flow(
    call: Call,
    policies: Policies,
    circuit: Circuit | None,
    *,
    now: float,
    epoch: float,
    random: Callable[[], float],
) -> CallFlow:
    """
    Make `call` until it succeeds or may not go on.

    Args:
        call: What to do.
        policies: How persistently.
        circuit: The breaker's circuit for this call; None for no breaker.
        now: Monotonic seconds.
        epoch: The Unix time at which the monotonic clock read 0, for dates in headers.
        random: Gives a number from 0 up to 1.

    Returns:
        By way of `StopIteration`, the successful response.

    Raises:
        CallError: the class that the call's contract names.
    """
    began, deadline = now, now + call.deadline
    request, contract, retry = call.request, call.contract, policies.retry
    timeouts = policies.timeouts if call.idle is None else replace(policies.timeouts, read=call.idle)
    if call.max_attempts is not None:
        retry = replace(retry, max_attempts=call.max_attempts)
    attempts: list[Attempt] = []
    effect = Effect.NOT_SENT
    error: CallError | None = None
    last: CallError | None = None
    tries = redirects = 0
    spent = waited = 0.0
    probe = False
    if now >= deadline:
        raise _refused(call, DeadlineExceededError, "the deadline has passed", ())

    try:
        while True:
            # 1. Ask the breaker.
            if circuit is not None and (pause := circuit.admit(now)):
                probe = pause == PROBE
                if not probe and waited + pause <= circuit.wait and now + pause < deadline:
                    waited += pause
                    now = (yield Sleep(pause, why="the circuit is open")).now
                    if now < deadline:
                        continue
                    if last is None:
                        why = "the circuit was open until the deadline"
                        raise _refused(call, DeadlineExceededError, why, tuple(attempts))
                if not probe and last is not None:
                    raise _closed(last, attempts, effect, "circuit_open")
                if not probe:
                    why = f"the circuit is open, try again in {pause:.1f} s"
                    raise _refused(call, CircuitOpenError, why, tuple(attempts), pause)

            # 2. One attempt.
            reply = yield Send(request, timeouts, deadline, len(attempts) + 1, call.opens, call.until)
            started, now, result = now, reply.now, reply.result
            succeeded = type(result) is Response and result.status in contract.success
            if circuit is not None:
                circuit.record(now, failed=not succeeded and _counts_as_failure(result), probe=probe)
                probe = False

            # 3. A success.
            if type(result) is Response and succeeded:
                if policies.budget is not None:
                    policies.budget.succeeded(spent)
                result.brought_by(attempts, started - began, now - started)
                return result

            # 4. A redirect that may be followed.
            if (
                type(result) is Response
                and result.status in REDIRECTS
                and policies.follow_redirects
                and request.method in SAFE_METHODS
                and redirects < MAX_REDIRECTS
                and not reply.spent
                and (onward := _redirected(request, result, call.credentials)) is not None
            ):
                redirects += 1
                attempts.append(
                    Attempt(len(attempts) + 1, started - began, now - started, "redirect", result.status)
                )
                request = onward
                continue

            # 5. A failure. What is known of it, and may it be repeated?
            tries += 1
            error, retry_said = _failed(call, request, result, epoch + now)
            failure = error.failure
            effect = outcome.effect_of_call(effect, failure.effect)
            why = retry.why_not(
                failure,
                tries,
                wanted=_wanted(error, retry_said, result, retry),
                repeatable=call.key is not None or request.method in IDEMPOTENT_METHODS,
            )
            if not why and reply.spent:
                why = "body_spent"
            delay = 0.0
            if not why:
                delay = retry.delay_after(tries, failure.retry_after, random)
                # A sleep that no attempt can follow would only postpone this same error.
                if now + delay >= deadline:
                    why = "deadline"
                elif circuit is not None and not circuit.wait and circuit.is_shut(now + delay):
                    why = "circuit_open"
                elif policies.budget is not None:
                    throttled = failure.status == 429 or failure.retry_after is not None
                    cost = policies.budget.spend(throttled=throttled)
                    why, spent = ("budget_exhausted", spent) if cost is None else ("", cost)
            attempts.append(
                Attempt(
                    number=len(attempts) + 1,
                    start=started - began,
                    duration=now - started,
                    outcome=failure.reason or "status",
                    status=failure.status,
                    request_id=failure.request_id,
                    wait=0.0 if why else delay,
                    stopped=why,
                )
            )
            if why:
                raise _closed(error, attempts, effect, why)
            last = error
            now = (yield Sleep(delay, attempts[-1], _why(error, failure))).now
            if now >= deadline:  # a busy machine sleeps longer than it was asked to
                raise _closed(error, attempts, effect, "deadline")
    finally:
        # Whoever ends the call during a probe gives its place back.
        if probe and circuit is not None:
            circuit.release()
        # What was raised holds this frame by its traceback: let the frame not hold it in turn, or
        # each failed call stays in memory until the collector of cycles comes by.
        error = last = None


def _counts_as_failure(result: Response | Broken | None) -> bool:
    """Whether an attempt speaks against the service's health."""
    if isinstance(result, Response):
        return result.status >= 500 and result.status != 501
    return isinstance(result, Broken) and result.reason not in _NO_SIGN


# An answer that is too large or in another format came from a service that lives; a full pool and
# a file that changed are our own doing.
_NO_SIGN = frozenset({Reason.TOO_LARGE, Reason.FORMAT, Reason.POOL_TIMEOUT, Reason.BAD_URL, Reason.SOURCE})


def _failed(
    call: Call, request: Request, result: Response | Broken | None, wall_now: float
) -> tuple[CallError, bool | None]:
    """The exception for a failed attempt, and whether the contract says that another helps."""
    if isinstance(result, Broken):
        return _broken(call, request, result, wall_now), None
    if not isinstance(result, Response):
        raise TypeError(f"a driver answered Send with {type(result).__name__}")
    reading = call.contract.read(
        Answer(result.status, result.headers, result.content),
        now=datetime.fromtimestamp(wall_now, UTC),
        method=request.method,
        url=request.url,
        idempotency_key=call.key,
        secrets=call.secrets + secrets_in_url(request.url),
    )
    if reading is None:
        raise TypeError(f"{call.contract!r} calls {result.status} a success and a failure")
    return reading.error(), reading.retry


def _broken(call: Call, request: Request, broken: Broken, wall_now: float) -> CallError:
    """The exception for an attempt that brought no usable answer."""
    failure = Failure(
        method=request.method,
        url=kept_url(request.url),
        status=broken.status,
        message=outcome.words(broken),
        idempotency_key=call.key,
        reason=broken.reason.value,
        cause=outcome.engine_words(broken) or None,
        effect=outcome.effect_of_broken(request.method, broken, keyed=bool(call.key)),
        retryable=broken.reason not in outcome.LASTING,
    )
    # The head of an answer counts even if its body is lost; most broken attempts have none.
    if broken.status is not None:
        heads = Response(broken.status or 0, broken.raw_headers).headers
        now = datetime.fromtimestamp(wall_now, UTC)
        failure = replace(
            failure,
            headers=kept_headers(heads),
            request_id=header_facts.request_id(heads),
            retry_after=header_facts.retry_after(heads, now, throttled=broken.status in (429, 503)),
            rate_limit=header_facts.rate_limit(heads, now),
        )
    # Engines quote the URL they were given.
    secrets = call.secrets + secrets_in_url(request.url)
    if secrets:
        failure = scrubbed(failure, secrets)
    cls = call.contract.class_for(outcome.STANDARD_CLASS[broken.reason])
    error = cls.from_failure(failure)
    if not repeats(broken.cause, secrets):
        error.__cause__ = broken.cause
    return error


def repeats(cause: BaseException | None, secrets: tuple[str, ...]) -> bool:
    """
    Whether an engine's exception, or one behind it, quotes a secret that an answer sent back.

    Nothing can be taken out of it, so it is left behind; `failure.cause` has its words, scrubbed.
    """
    seen: list[BaseException] = []
    while secrets and cause is not None and cause not in seen:
        said = f"{cause} {cause!r} {getattr(cause, '__dict__', '')}"
        if scrub(said, secrets) != said:
            return True
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    return False


def _wanted(
    error: CallError, ruled: bool | None, result: Response | Broken | None, retry: RetryPolicy
) -> bool:
    """Whether another try could bring something else; `ruled` is the contract's own word on it."""
    failure = error.failure
    if isinstance(error, QuotaExceededError):
        return False  # no moment brings a spent allowance back, whatever else the answer says
    if not isinstance(result, Response):
        # A body cut behind a failing status is worth what the status is worth.
        if failure.status is not None and failure.status >= 300:
            return failure.status in retry.statuses
        return failure.retryable
    said = header_facts.should_retry(result.headers)
    # A service that says no has tried already, behind itself: each layer that asks again multiplies.
    if said is False:
        return False
    if ruled is not None:
        return ruled
    if said is not None:
        return said
    # A body can say that a 429 is a spent quota, or that a 403 is a full minute.
    return failure.retryable and failure.status in retry.statuses


def _redirected(request: Request, answer: Response, credentials: frozenset[str]) -> Request | None:
    """The request to where `answer` points; None if it may not be followed."""
    location = answer.headers.get("location")
    if not location:
        return None
    try:
        url = urljoin(request.url, location)
        here, there = urlsplit(request.url), urlsplit(url)
        same = _origin(here) == _origin(there)
        # The header came as bytes; a service that writes UTF-8 into it means it percent-encoded.
        url = quote(url.partition("#")[0], safe=URL_SAFE, encoding="latin-1")
    except ValueError:
        return None
    if not there.hostname or there.username or there.password:
        return None
    if there.scheme not in ("http", "https") or (here.scheme == "https" and there.scheme == "http"):
        return None
    kept = request.headers
    if not same:
        kept = {n: v for n, v in kept.items() if n not in credentials and n not in ALWAYS_CREDENTIALS}
    return Request(request.method, url, kept, request.content)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _refused(
    call: Call,
    standard: type[CallError],
    why: str,
    attempts: tuple[Attempt, ...],
    retry_after: float | None = None,
) -> CallError:
    """The error of a call that was not sent at all, or not to where `attempts` were redirected."""
    failure = Failure(
        method=call.request.method,
        url=kept_url(call.request.url),
        message=f"Not sent: {why}",
        idempotency_key=call.key,
        retry_after=retry_after,
        reason=standard.kind,
        attempts=attempts,
        # Only what asks for no change is redirected.
        effect=Effect.NOT_APPLIED if attempts else Effect.NOT_SENT,
        retryable=True,
        stopped=standard.kind,
    )
    return call.contract.class_for(standard).from_failure(failure)


def _closed(error: CallError, attempts: list[Attempt], effect: Effect, why: str) -> CallError:
    """`error` with what the whole call knows: every attempt, the effect of all, why it ended."""
    if attempts[-1].stopped != why:
        attempts[-1] = replace(attempts[-1], stopped=why)
    error.failure = error.failure.of_call(tuple(attempts), effect, why)
    return error


def _why(error: CallError, failure: Failure) -> str:
    """What went wrong with one attempt, for a log line."""
    return error.headline() if failure.reason is not None else f"HTTP {failure.status}"
