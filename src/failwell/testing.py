"""
For tests of what calls an API: play the server by hand, in no time and without a socket.

    from failwell import Client, RateLimitError
    from failwell.testing import FakeClock, ScriptedEngine, answer

    clock = FakeClock()
    engine = ScriptedEngine([answer(429, headers={"retry-after": "3"}), answer(200, {"id": 7})], clock)
    client = Client("https://api.example", engine=engine, clock=clock)

    assert client.request("POST", "/things", json={}).json() == {"id": 7}
    assert len(engine.orders) == 2
    assert clock.sleeps[0] >= 3.0

`play` does the same to a bare flow, `make_error` makes any exception of any SDK with facts that
fit it, and `assert_no_secret` looks for a secret wherever an error could carry one.
"""

from __future__ import annotations

import json as _json
import sys
import time
from dataclasses import dataclass, field

from failwell.call.messages import Broken, Phase, Reason, Reply, Response, Send, Sleep
from failwell.errors import (
    ArgumentTypeError,
    BadAnswerError,
    CallError,
    CallTimeoutError,
    CircuitOpenError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    Error,
    RefusedError,
    TransportError,
    UsageError,
)
from failwell.failure import Attempt, Effect, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType
    from typing import Any, TypeAlias, TypeVar

    from failwell.call.messages import CallFlow, Request
    from failwell.contract import Contract, Rule

    E = TypeVar("E", bound=CallError)
    # What a script holds: an answer, a break, something to raise, or what makes one of them.
    News: TypeAlias = (
        Response | Broken | BaseException | type[BaseException] | Callable[[Send], Response | Broken]
    )

# The moment a fake clock begins at, unless told: 2026-01-01, 00:00 UTC.
NEW_YEAR = 1_767_225_600.0


class FakeClock:
    """
    A clock that stands still until somebody waits.

    Args:
        monotonic: Seconds it reads at first.
        unix: The Unix time it reads at first.

    Attributes:
        sleeps: Every wait it was asked for, seconds, in order.

    Example:
        >>> clock = FakeClock()
        >>> clock.sleep(2.5)
        >>> clock.advance(10)
        >>> clock.monotonic(), clock.sleeps
        (1012.5, [2.5])
    """

    def __init__(self, monotonic: float = 1000.0, unix: float = NEW_YEAR) -> None:
        self.sleeps: list[float] = []
        self._monotonic = monotonic
        self._unix = unix

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return self._monotonic

    def unix(self) -> float:
        """Seconds since 1970."""
        return self._unix

    def advance(self, seconds: float) -> None:
        """Let time pass without anybody waiting for it."""
        self._monotonic += seconds
        self._unix += seconds

    def sleep(self, seconds: float, /) -> None:
        """Note the wait and let it pass at once."""
        if seconds < 0:
            raise ValueError(f"a wait of {seconds} s")  # as time.sleep does
        self.sleeps.append(seconds)
        self.advance(seconds)

    async def asleep(self, seconds: float, /) -> None:
        """As `sleep`; other tasks get their turn, and a cancellation its chance."""
        from anyio.lowlevel import checkpoint

        await checkpoint()
        self.sleep(seconds)


class JumpingClock(FakeClock):
    """
    The machine's clocks, except that a wait is over at once: for a client that talks over real sockets.

    Attributes:
        sleeps: Every wait it was asked for, seconds, in order.

    Example:
        >>> clock = JumpingClock()
        >>> before = clock.monotonic()
        >>> clock.sleep(3600)
        >>> 3600 <= clock.monotonic() - before < 3700
        True
    """

    def __init__(self) -> None:
        super().__init__(0.0, 0.0)

    def monotonic(self) -> float:
        """Seconds that only grow: the machine's, and those of all waits."""
        return time.monotonic() + self._monotonic

    def unix(self) -> float:
        """Seconds since 1970 by the machine, and those of all waits."""
        return time.time() + self._unix


def answer(
    status: int = 200, json: Any = None, *, headers: Mapping[str, str] | None = None, content: bytes = b""
) -> Response:
    """
    An answer for a script.

    Args:
        status: The HTTP status.
        json: The body as JSON types; None for none.
        headers: Its headers; a content type is added to a JSON body.
        content: The body as bytes, where it is not JSON.

    Example:
        >>> answer(404, {"detail": "No such thing"}).headers
        {'content-type': 'application/json'}
    """
    fields = {name.lower(): value for name, value in (headers or {}).items()}
    if json is not None:
        fields.setdefault("content-type", "application/json")
        content = _json.dumps(json).encode()
    return Response(status, list(fields.items()), content)


def streamed(
    *pieces: bytes | str | float | Broken, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """
    An answer for a script whose body comes in pieces, to whoever reads it so.

    Args:
        pieces: What comes: bytes or text; a number of seconds of silence, which pass on the engine's
            clock; a `Broken` (see `broken`) for a break. The end of them is the end of the body.
        status: The HTTP status.
        headers: Its headers; by default it is a stream of events.

    Example:
        >>> from failwell import Client, Operation, Stream
        >>> script = [streamed("id: 1\\ndata: a\\n\\n", broken("cut")), streamed("id: 2\\ndata: b\\n\\n")]
        >>> client = Client("https://api.example", engine=ScriptedEngine(script), clock=FakeClock())
        >>> stream = Stream(Operation("GET", "/"), ends=lambda event: event.data == "b")
        >>> with client.stream(stream) as events:
        ...     [event.data for event in events]
        ['a', 'b']
    """
    fields = {name.lower(): value for name, value in (headers or {}).items()}
    fields.setdefault("content-type", "text/event-stream")
    response = Response(status, list(fields.items()))
    response.pieces = ScriptedPieces([p.encode() if isinstance(p, str) else p for p in pieces])
    return response


class ScriptedPieces:
    """
    The body of an answer that `streamed` made.

    Attributes:
        closed: Whether nothing more is read of it: because it was closed, is over, or broke.
    """

    def __init__(self, pieces: list[bytes | float | Broken]) -> None:
        self.closed = False
        self._pieces = pieces
        self._order: Send | None = None
        self._clock: FakeClock | None = None
        self._status = 200

    def __repr__(self) -> str:
        return f"<ScriptedPieces, {'closed' if self.closed else 'open'}>"

    def whole(self) -> bytes:
        """All of it, for whoever does not read it in pieces."""
        return b"".join(piece for piece in self._pieces if isinstance(piece, bytes))

    def read(self) -> bytes | Broken:
        """What comes next."""
        while self._pieces and not self.closed:
            piece = self._pieces.pop(0)
            if isinstance(piece, bytes):
                return piece
            found = piece if isinstance(piece, Broken) else self._silence(piece)
            if found is not None:
                self.closed = True
                return found
        self.closed = True
        return b""

    def close(self) -> None:
        """Read no more."""
        self.closed = True

    def _begin(self, order: Send, clock: FakeClock | None, status: int) -> None:
        self._order, self._clock, self._status = order, clock, status

    def _silence(self, seconds: float) -> Broken | None:
        """Let time pass; how the reading breaks, if it was too long."""
        order, clock = self._order, self._clock
        assert order is not None
        left = order.until - (0.0 if clock is None else clock.monotonic())
        if clock is not None:
            clock.advance(max(0.0, min(seconds, left, order.timeouts.read)))
        if seconds < min(left, order.timeouts.read):
            return None
        reason = Reason.DEADLINE if left <= order.timeouts.read else Reason.READ_TIMEOUT
        return Broken(Phase.ANSWERED, reason, None, self._status)


class _AwaitedPieces:
    """As `ScriptedPieces`, for whoever awaits; each piece is a point where a task can be cancelled."""

    def __init__(self, pieces: ScriptedPieces) -> None:
        self._pieces = pieces

    async def read(self) -> bytes | Broken:
        from anyio.lowlevel import checkpoint

        await checkpoint()
        return self._pieces.read()

    async def aclose(self) -> None:
        self._pieces.close()


def broken(reason: Reason | str, phase: Phase | None = None, **facts: Any) -> Broken:
    """
    An attempt that broke, for a script.

    Args:
        reason: Why, such as `Reason.RESET` or "reset".
        phase: How far it came; by default as far as an attempt that breaks so usually comes.
        facts: The other attributes of `Broken`.

    Example:
        >>> broken("refused")
        <Broken not_sent refused>
    """
    reason = Reason(reason)
    return Broken(_usual_phase(reason) if phase is None else phase, reason, **facts)


def _usual_phase(reason: Reason) -> Phase:
    if reason in (Reason.CONNECT_TIMEOUT, Reason.POOL_TIMEOUT):
        return Phase.NOT_SENT
    from failwell.call.outcome import STANDARD_CLASS

    cls = STANDARD_CLASS[reason]
    if cls is ConnectError:
        return Phase.NOT_SENT
    return Phase.ANSWERED if cls is BadAnswerError and reason is not Reason.NOT_HTTP else Phase.SENT


class _Script:
    """What both scripted engines are: news, handed out one for each attempt."""

    name = "scripted"

    def __init__(
        self, script: Iterable[News], clock: FakeClock | None = None, *, seconds: float = 0.0
    ) -> None:
        self.orders: list[Send] = []
        self.streams: list[ScriptedPieces] = []
        self.closed = False
        self._script: Iterator[News] = iter(script)
        self._clock = clock
        self._seconds = seconds

    def __repr__(self) -> str:
        return f"<{type(self).__name__} after {len(self.orders)} requests>"

    @property
    def requests(self) -> list[Request]:
        """What was sent, in order."""
        return [order.request for order in self.orders]

    def _next(self, order: Send) -> Response | Broken:
        if self._clock is not None and self._clock.monotonic() >= order.deadline:
            return Broken(Phase.NOT_SENT, Reason.DEADLINE)
        self.orders.append(order)
        if self._clock is not None:
            left = order.deadline - self._clock.monotonic()
            self._clock.advance(min(self._seconds, left))
            if self._seconds > left:
                return Broken(Phase.SENT, Reason.DEADLINE)
        return self._read(_said(self._script, order), order)

    def _read(self, result: Response | Broken, order: Send) -> Response | Broken:
        """What was `streamed`, whole or still to be read, as the order wants it."""
        if not isinstance(result, Response) or not isinstance(result.pieces, ScriptedPieces):
            return result
        pieces, result.pieces = result.pieces, None
        if result.status not in order.opens:
            result.content = pieces.whole()
            return result
        pieces._begin(order, self._clock, result.status)
        self.streams.append(pieces)
        result.pieces = pieces
        return result


class ScriptedEngine(_Script):
    """
    An engine that answers what a script says: `Client(..., engine=ScriptedEngine([...]))`.

    Args:
        script: One entry for each request: a `Response` (see `answer`), a `Broken` (see
            `broken`), an exception to raise, or a function from the order to one of the first
            two. Any iterable, so `itertools.repeat(answer(503))` never ends.
        clock: The client's clock, to let each attempt take its time.
        seconds: How long an attempt takes on that clock. One that does not fit in its deadline
            ends there, as with a real engine.

    Attributes:
        orders: Every order that reached the wire, with its request, timeouts and deadline.
        streams: The bodies that were handed over to be read in pieces; see `streamed`.
        closed: Whether the client was closed.

    Raises:
        AssertionError: (when sending) the script is at its end.

    Example:
        >>> from failwell import Client
        >>> engine = ScriptedEngine([broken("reset"), answer(200, [1, 2])])
        >>> client = Client("https://api.example", engine=engine, clock=FakeClock())
        >>> client.request("GET", "/numbers").json()
        [1, 2]
        >>> [request.url for request in engine.requests]
        ['https://api.example/numbers', 'https://api.example/numbers']
    """

    def send(self, order: Send, /) -> Response | Broken:
        """Note the order; what the script says next."""
        return self._next(order)

    def close(self) -> None:
        """Note that the client was closed."""
        self.closed = True


class AsyncScriptedEngine(_Script):
    """As `ScriptedEngine`, for `AsyncClient`; each request is a point where a task can be cancelled."""

    async def send(self, order: Send, /) -> Response | Broken:
        """Note the order; what the script says next."""
        from anyio.lowlevel import checkpoint

        await checkpoint()
        result = self._next(order)
        if isinstance(result, Response) and isinstance(result.pieces, ScriptedPieces):
            result.pieces = _AwaitedPieces(result.pieces)
        return result

    async def aclose(self) -> None:
        """Note that the client was closed."""
        self.closed = True


def _said(script: Iterator[News], order: Send) -> Response | Broken:
    """What `script` says next."""
    try:
        news = next(script)
    except StopIteration:
        request = order.request
        raise AssertionError(f"the script has no answer to request {order.number}, {request!r}") from None
    if isinstance(news, (Response, Broken)):
        return news
    if isinstance(news, (BaseException, type)):
        raise news  # pyright: ignore[reportGeneralTypeIssues]  # a class of exceptions, says `News`
    return news(order)


@dataclass(slots=True)
class Played:
    """
    How a flow went.

    Attributes:
        response: What it returned; None if it raised.
        error: What it raised; None if it returned.
        effects: Everything it ordered, in order.
    """

    response: Response | None = None
    error: CallError | None = None
    effects: list[Send | Sleep] = field(default_factory=list)

    @property
    def requests(self) -> list[Request]:
        """What it sent."""
        return [effect.request for effect in self.effects if isinstance(effect, Send)]

    @property
    def sleeps(self) -> list[float]:
        """How long it waited, seconds."""
        return [effect.seconds for effect in self.effects if isinstance(effect, Sleep)]


def play(flow: CallFlow, script: Iterable[News], *, now: float = 0.0, seconds: float = 0.0) -> Played:
    """
    Drive `flow` to its end with the news of `script`; its waits are over at once.

    Args:
        flow: Not begun.
        script: As for `ScriptedEngine`.
        now: The monotonic seconds the flow was made at.
        seconds: How long each attempt takes.

    Raises:
        AssertionError: the script ends before the flow does.

    Example:
        >>> from failwell import RetryPolicy, Timeouts
        >>> from failwell.call.flow import Call, Policies, call_flow
        >>> from failwell.call.messages import Request
        >>> from failwell.contract import STANDARD
        >>> call = Call(Request("GET", "https://api.example/"), STANDARD)
        >>> policies = Policies(RetryPolicy(), Timeouts())
        >>> flow = call_flow(call, policies, None, now=0.0, epoch=0.0, random=lambda: 0.0)
        >>> play(flow, [answer(503), answer(200)]).sleeps
        [0.5]
    """
    news = iter(script)
    played = Played()
    try:
        effect = next(flow)
        while True:
            played.effects.append(effect)
            if isinstance(effect, Sleep):
                now += effect.seconds
                reply = Reply(now)
            else:
                result = _said(news, effect)
                now += seconds
                reply = Reply(now, result)
            try:
                effect = flow.send(reply)
            except StopIteration as done:
                played.response = done.value
                return played
    except CallError as exc:
        played.error = exc
        return played
    finally:
        flow.close()


# What usually lies behind a call that brought no answer: reason and effect.
_NO_ANSWER: dict[type[CallError], tuple[str, Effect]] = {
    ConnectError: ("refused", Effect.NOT_SENT),
    ConnectionLostError: ("reset", Effect.UNKNOWN),
    CallTimeoutError: ("read_timeout", Effect.UNKNOWN),
    BadAnswerError: ("cut", Effect.UNKNOWN),
    TransportError: ("reset", Effect.UNKNOWN),
    CircuitOpenError: ("circuit_open", Effect.NOT_SENT),
    DeadlineExceededError: ("deadline_exceeded", Effect.NOT_SENT),
    RefusedError: ("refused", Effect.NOT_SENT),
}


def make_error(cls: type[E], **facts: Any) -> E:
    """
    An error of class `cls`, as if a call had failed so.

    Args:
        cls: Any `CallError`, failwell's own or an SDK's.
        facts: Members of `Failure`, such as `status=503`, `retry_after=2.0`, `code="quota"`.
            What is not given comes from the class's row in the contract of its package, else
            from what the class means.

    Returns:
        The error, not raised, without its documented constructor having been called.

    Raises:
        ArgumentTypeError: `cls` is no class of a failed call.
        UsageError: `Failure` has no such member.

    Example:
        >>> from failwell import RateLimitError
        >>> error = make_error(RateLimitError, retry_after=2.0)
        >>> error.status, error.retryable, error.effect.value
        (429, True, 'not_applied')
    """
    given: object = cls
    if not isinstance(given, type) or not issubclass(given, CallError):
        raise ArgumentTypeError(f"{cls!r} is no class of a failed call")
    unknown = facts.keys() - Failure.__dataclass_fields__.keys()
    if unknown:
        raise UsageError(f"a Failure has no {', '.join(sorted(unknown))}")
    known = _usual_facts(cls, facts)
    return cls.from_failure(Failure(**{**known, **facts}))


def _usual_facts(cls: type[CallError], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a failure of class `cls` usually knows, given `facts`."""
    from failwell.contract import TRANSIENT, effect_of

    known: dict[str, Any] = {"method": "POST", "url": "https://api.example/things"}
    rule = _row_of(cls)
    statuses = rule.statuses if rule is not None else None
    status = facts.get("status", statuses[0] if statuses else cls.usual_status)
    nothing = next((_NO_ANSWER[c] for c in cls.__mro__ if c in _NO_ANSWER), None)
    if status is None and nothing is not None:
        known["reason"], known["effect"] = nothing
        known["retryable"] = True
        known["message"] = _first_line(cls)
        if not issubclass(cls, RefusedError):
            known["attempts"] = (Attempt(1, 0.0, 0.1, known["reason"], stopped="attempts_exhausted"),)
        elif issubclass(cls, CircuitOpenError):
            known["retry_after"] = 5.0
        return known
    if status is None:
        return {**known, "message": _first_line(cls)}
    known["status"] = status
    known["message"] = rule.means if rule is not None and rule.means else _first_line(cls)
    known["request_id"] = "req_1"
    known["effect"] = effect_of(facts.get("method", known["method"]), status)
    known["retryable"] = cls.kind != "quota_exceeded" and status in TRANSIENT
    known["attempts"] = (Attempt(1, 0.0, 0.1, "status", status, request_id="req_1"),)
    if rule is None:
        return known
    if rule.codes:
        known["code"] = rule.codes[0]
    if rule.effect is not None:
        known["effect"] = rule.effect
    if rule.retry is not None:
        known["retryable"] = rule.retry
    return known


def _row_of(cls: type[CallError]) -> Rule | None:
    """The row about `cls` in the contract of its package; None if there is none."""
    package = sys.modules.get(cls.__module__.partition(".")[0])
    contract: Contract | None = getattr(package, "CONTRACT", None)
    return next((r for r in contract.rules if r.raises is cls), None) if contract is not None else None


def _first_line(cls: type) -> str:
    return (cls.__doc__ or cls.__name__).strip().partition("\n")[0]


def assert_no_secret(error: BaseException, secret: str, *, logs: Iterable[str] = ()) -> None:
    """
    Check that `error` does not carry `secret` anywhere.

    Looked at, of the error, of what caused it and of the errors in a group: `str`, `repr`,
    `args`, `vars`, `to_dict`, the bytes of every pickle protocol, a log record with the
    exception, and the traceback with its locals. The outer frames of a traceback are left out
    up to the first that is failwell's or the SDK's: who calls a client has the secret rightly.

    Args:
        error: Raised or not.
        secret: What must not be found.
        logs: Further texts to look at, such as `caplog.messages`.

    Raises:
        AssertionError: it was found; names the places, not the secret.

    Example:
        >>> assert_no_secret(ValueError("refused the key of bob"), "s3cr3t")
        >>> assert_no_secret(ValueError("refused s3cr3t"), "s3cr3t")
        Traceback (most recent call last):
        ...
        AssertionError: the secret is in args, log, pickle 0, ... of ValueError
    """
    if not secret:
        raise UsageError("the secret to look for is empty")
    found = [f"log line {number}" for number, text in enumerate(logs, 1) if secret in text]
    for one in _with_causes(error):
        places = sorted(place for place, text in _places(one) if secret in text)
        if places:
            found.append(f"{', '.join(places)} of {type(one).__name__}")
    if found:
        raise AssertionError(f"the secret is in {'; '.join(found)}")


def assert_exports(package: ModuleType, homes: Mapping[str, Iterable[str]]) -> None:
    """
    Check that what type checkers read of `package` is what `failwell.exports` loads.

    Args:
        package: With its block of imports under `if TYPE_CHECKING:`.
        homes: Its table.

    Raises:
        AssertionError: a name is on one side only, has another home there, or cannot be had.
    """
    import ast
    import inspect

    tree = ast.parse(inspect.getsource(package))
    blocks = [n for n in tree.body if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
    read = {
        (str(node.module), alias.name)
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    loaded = {(home, name) for home, names in homes.items() for name in names}
    if read != loaded:
        apart = ", ".join(sorted(f"{name} of {home}" for home, name in read ^ loaded))
        raise AssertionError(f"{package.__name__} says different things of {apart}")
    missing = [name for _, name in sorted(loaded) if not hasattr(package, name)]
    if missing:
        raise AssertionError(f"{package.__name__} has no {', '.join(missing)}")


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """`error`, what it came from and what it holds, each once."""
    left, seen = [error], set()
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        context = None if one.__suppress_context__ else one.__context__
        left += [e for e in (one.__cause__, context) if e is not None]
        left += getattr(one, "exceptions", ())


def _places(error: BaseException) -> Iterator[tuple[str, str]]:
    """Every place in which `error` could carry something, as text."""
    import logging
    import pickle
    from contextlib import suppress

    yield "str", str(error)
    yield "repr", repr(error)
    yield "args", _deep(error.args)
    yield "vars", _deep(vars(error))
    if isinstance(error, Error):
        yield "to_dict", _json.dumps(error.to_dict(), ensure_ascii=False, default=repr)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        # An engine's own exception need not pickle, and then nothing goes that way.
        with suppress(Exception):
            yield f"pickle {protocol}", pickle.dumps(error, protocol).decode("utf-8", "replace")
    record = logging.LogRecord("failwell", logging.ERROR, "", 0, "%s", (error,), None)
    yield "log", logging.Formatter().format(record)
    yield from _locals(error)


def _deep(value: Any) -> str:
    """`value` as text, strings as they are: the `repr` of a `Secret` hides it."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return " ".join(map(_deep, value))
    if hasattr(value, "items"):
        return " ".join(f"{_deep(name)} {_deep(item)}" for name, item in value.items())
    slots = getattr(type(value), "__dataclass_fields__", ())
    return " ".join(_deep(getattr(value, name)) for name in slots) if slots else repr(value)


def _locals(error: BaseException) -> Iterator[tuple[str, str]]:
    """What a traceback that shows locals shows, from the first frame that is ours on."""
    packages = {"failwell", type(error).__module__.partition(".")[0]}
    step, ours = error.__traceback__, False
    while step is not None:
        frame, step = step.tb_frame, step.tb_next
        ours = ours or str(frame.f_globals.get("__name__")).partition(".")[0] in packages
        if not ours:
            continue
        for name, value in frame.f_locals.items():
            try:
                text = repr(value)
            except Exception as exc:  # noqa: BLE001  # an object half made has none
                text = repr(exc)
            yield f"local {name!r} of {frame.f_code.co_name}()", text
