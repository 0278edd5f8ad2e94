"""
What the drill has to know of a client and its service: about sixty lines for each SDK.

The twins of an SDK spell their methods alike, so one function here makes a call with either: the
drill awaits what it gets if it can be awaited.
"""

from __future__ import annotations

import contextlib
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from hashlib import shake_128
from typing import TYPE_CHECKING, Any, Literal

from failwell.call.breaker import Breaker
from failwell.call.messages import Timeouts
from failwell.client import AsyncClient, Client
from failwell.contract import Contract
from failwell.drill.faults import Schedule
from failwell.drill.overload import Circuit
from failwell.errors import CallError, UsageError
from failwell.failure import Effect, Failure
from failwell.telemetry import Event

if TYPE_CHECKING:
    from failwell.client.streaming import AsyncEventStream, EventStream
    from failwell.drill.plan import Scenario
    from failwell.drill.verdict import Row
    from failwell.drill.witness import Evidence

Mode = Literal["sync", "async"]
MODES: tuple[Mode, ...] = ("sync", "async")


# Seconds for a whole call, where the deadline is not what is rehearsed.
USUAL_DEADLINE = 35.0


class Kind(str, Enum):
    """What a call asks for: it decides whether it may be repeated."""

    READ = "read"
    KEYED_WRITE = "keyed write"
    PLAIN_WRITE = "write without a key"
    STREAM = "stream of events"
    PART_UPLOAD = "upload in parts"

    __str__ = str.__str__


# What every client has; the others it has to say that it has.
ORDINARY = frozenset({Kind.READ, Kind.KEYED_WRITE, Kind.PLAIN_WRITE})
# What is several requests, each with tries of its own.
OF_SEVERAL = frozenset({Kind.STREAM, Kind.PART_UPLOAD})

# How large the parts of an upload are, and how many there are; the last is a short one.
PART_BYTES = 64 * 1024
PARTS = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """
    How patient the client is in a scenario; seconds.

    Attributes:
        attempts: Tries in all, the first included.
        connect: For a connection.
        read: For each piece of an answer.
        deadline: For the whole call.
        backoff: The longest first wait between two tries.
        max_backoff: The longest wait between two tries.
        keyed: Whether writes get an idempotency key by themselves.
        random: The dice of the backoff; gives a number from 0 up to 1.
        listeners: Told of each `failwell.telemetry.Event` of the client.
        verify: Which certificates the client takes: for `Connections`.
        circuit: How quickly a circuit goes through its states; None for as the SDK has it.
        own: Whether the client is to be as the SDK makes it: `hasten` changes nothing.
        idle: Seconds that a stream may be silent.
        reconnects: How often in a row a stream is taken up again without anything new coming.
    """

    attempts: int = 3
    connect: float = 15.0
    read: float = 15.0
    deadline: float = USUAL_DEADLINE
    backoff: float = 0.02
    max_backoff: float = 0.08
    keyed: bool = True
    random: Callable[[], float] | None = None
    listeners: tuple[Callable[[Event], None], ...] = ()
    verify: bool | ssl.SSLContext = True
    circuit: Circuit | None = None
    own: bool = False
    idle: float = 15.0
    reconnects: int = 3


@dataclass(frozen=True, slots=True)
class Call:
    """
    One call that a scenario makes.

    Attributes:
        kind: What it asks for.
        marker: Text that goes into whatever is written, and by which the ledger finds it.
        key: The idempotency key; None lets the client choose one.
        settings: How patient the client is.
        heard: Of a stream, what came: the id and the text of each event, added as it is handed over.
    """

    kind: Kind
    marker: str
    key: str | None = None
    settings: Settings = field(default_factory=Settings, compare=False)
    heard: list[tuple[str, str]] = field(default_factory=list, compare=False)

    @property
    def content(self) -> bytes:
        """What is uploaded: the bytes of `PARTS` parts, like no other call's."""
        return content_of(self.marker)


@dataclass(frozen=True, slots=True)
class Cause:
    """
    A real reason for one documented exception, or for a wait that ends well.

    Attributes:
        name: Short, for the scenario's id: "revoked-key".
        title: A sentence: what is wrong.
        raises: The SDK's class that must come of it, exactly; None if the client has to master it.
            A `UsageError` is raised before anything is sent: `requests` is 0 then.
        status: The status that the service answers.
        call: Makes the call with a client; awaited if that is needed.
        kind: What the call asks for.
        key: Which API key the client gets: a name that `Subject.client` knows.
        settings: How patient the client is.
        requests: Requests the service must see.
        wait_at_least: Seconds between two of them.
        before: Calls made first by the same client, which must succeed.
        arrange: Brings the service into the state that causes it, and back on exit; the service is
            one of its own then (`Subject.apart`), or no other rehearsal runs meanwhile.
        until: The status that ends what was arranged, as soon as an answer with it has been passed on;
            0 for the end of the call.
        facts: Attributes of the error and what they must be; a callable value is a test.
        effects: Effects of this call in the ledger.
        proves: Ids of the catalogue that this is about, besides S40.
        claims: What the error may say of the effect; None for what its status says: a 4xx was not
            applied, anything else is open.
        alone: Whether it needs the service for itself, although nothing is arranged.
        schedule: What goes wrong besides.
        at_least: Whether `requests` is a lower bound: what comes between depends on clocks.
        modes: Forms of the client it can be rehearsed with; None for all.
    """

    name: str
    title: str
    raises: type[CallError | UsageError] | None
    call: Callable[[Any, Call], Any]
    status: int | None = None
    kind: Kind = Kind.READ
    key: str = "good"
    settings: Settings = field(default_factory=Settings)
    requests: int = 1
    wait_at_least: float = 0.0
    before: tuple[Callable[[Any, Call], Any], ...] = ()
    arrange: Callable[[], contextlib.AbstractContextManager[object]] | None = None
    until: int = 0
    facts: tuple[tuple[str, Any], ...] = ()
    effects: int = 0
    proves: tuple[str, ...] = ()
    claims: frozenset[Effect] | None = None
    alone: bool = False
    schedule: Schedule = field(default_factory=Schedule)
    at_least: bool = False
    modes: tuple[Mode, ...] | None = None


def content_of(text: str) -> bytes:
    """Bytes for `PARTS` parts, like those of no other text."""
    size = (PARTS - 1) * PART_BYTES + 1000
    return shake_128(text.encode()).digest(size)


class Subject(ABC):
    """
    A client library and the service it talks to.

    Attributes:
        name: On the command line: "kneo".
        title: For reports.
        contract: The SDK's contract.
        exceptions: Every exception class the SDK exports; each must be raised.
        retried: Statuses that the SDK's document says are tried again.
        logger: The logger the SDK writes its attempts to; "" for none.
        kinds: The kinds of call it has.
        modes: The forms its client has.
        engine_modules: Where the exceptions of the engine live: `__cause__` has to be one of them.
        service_url: The base URL of somebody else's service that it was told to use; None where `running()`
            has one of its own.
        without: Of the catalogue's failures those that cannot happen to it, and why.
        opens_after: How many failures in a row open its circuit, by its document; None for no circuit.
        is_failwell: Whether its client is one of failwell's, with policies that can be put into a model.
        instead: Of the model's rehearsals those whose bounds its document does not keep, and what it says.
        unfilled: Of the documented attributes, as "Class.attribute", those that nothing can fill, and why.
        fails_with: What a call that fails raises; anything else breaks the rehearsal.
    """

    name: str
    title: str
    contract: Contract
    exceptions: tuple[type[BaseException], ...]
    retried: frozenset[int] = frozenset({429, 500, 502, 503, 504})
    logger: str = ""
    kinds: frozenset[Kind] = ORDINARY
    modes: tuple[Mode, ...] = MODES
    engine_modules: tuple[str, ...] = ("httpx2", "httpx")
    service_url: str | None = None
    without: Mapping[str, str] = {}
    opens_after: int | None = None
    is_failwell: bool = False
    instead: Mapping[str, str] = {}
    unfilled: Mapping[str, str] = {}
    fails_with: tuple[type[Exception], ...] = (CallError,)

    @property
    def arguments(self) -> str:
        """What stands behind `failwell drill` to drill it."""
        return self.name

    def unfit(self, scenario: Scenario) -> str:
        """Why `scenario` cannot be rehearsed with it; empty if it can."""
        return ""

    def judged(self, scenario: Scenario, mode: Mode, evidence: Evidence) -> Row | None:
        """The verdict by rules of its own; None for those of the drill."""
        return None

    @abstractmethod
    def running(self) -> contextlib.AbstractContextManager[str]:
        """The service, on loopback, with accounts and keys; gives its base URL."""

    def apart(self) -> Subject | None:
        """
        The same, whose `running()` starts another service: for what puts a service out of order.

        None if there can be only one; then nothing else is rehearsed meanwhile.
        """
        return None

    def mortal(self) -> Subject | None:
        """
        The same, whose `running()` starts a service in a process of its own, for `crash` to kill.

        None if there is none: what a crash leaves behind is not rehearsed then.
        """
        return None

    def crash(self, *, at_work: bool) -> None:
        """
        Kill the service's process (SIGKILL), start another on what it left, come back when it listens.

        Args:
            at_work: Whether to wait until a request is being worked on.
        """
        raise NotImplementedError

    @abstractmethod
    def client(self, mode: Mode, base_url: str, settings: Settings, key: str = "good") -> Any:
        """A new client for `base_url` with the API key called `key`."""

    @abstractmethod
    def call(self, client: Any, call: Call) -> Any:
        """Make `call`: the result, or with the async client something to await."""

    def close(self, client: Any) -> Awaitable[None] | None:
        """Close `client`; what it gives is awaited if that is needed."""
        closing = client.aclose() if hasattr(client, "aclose") else client.close()
        return closing if hasattr(closing, "__await__") else None

    def ids_of(self, marker: str) -> Sequence[str] | None:
        """Ids of what the ledger holds with `marker`; None if the ledger cannot be read."""
        return None

    def stream_of(self, marker: str) -> Sequence[tuple[str, str]] | None:
        """
        The events of the stream that `marker` asked for, by the service's own record: id and text of each.

        None if it cannot be read.
        """
        return None

    def digest_of(self, marker: str) -> str | None:
        """The SHA-256 of what was uploaded as `marker`, by the service's own record; None if it has none."""
        return None

    def step_of(self, method: str, target: str) -> str:
        """
        What a request is for, of a call that is several: "part 1" to "part 4", "complete".

        Args:
            method: The HTTP method.
            target: Path and query.
        """
        return ""

    def leave(self, call: Call, parts: Mapping[int, bytes]) -> None:
        """Begin the upload of `call` and send some of its parts, past the proxy: another program's work."""
        raise NotImplementedError

    def forget(self, marker: str) -> None:
        """Give up the upload that is going on as `marker`, past the proxy."""
        raise NotImplementedError

    def id_of(self, value: Any) -> str | None:
        """The id of what a write gave back; None if it has none."""
        found = getattr(value, "id", None)
        return None if found is None else str(found)

    def facts_of(self, error: BaseException) -> Failure | None:
        """What `error` knows; None if it knows nothing in failwell's terms."""
        found = getattr(error, "failure", None)
        return found if isinstance(found, Failure) else None

    def secrets(self) -> Sequence[str]:
        """The API keys in use: none of them may be found in an error or a log line."""
        return ()

    def causes(self) -> Sequence[Cause]:
        """A real reason for each exception that the service answers with."""
        return ()


def hasten_stream(stream: EventStream[Any] | AsyncEventStream[Any], settings: Settings) -> None:
    """
    Give a stream that is not open yet the patience of a scenario, as `hasten` does with a client.

    Args:
        stream: The open stream inside the SDK's, or the SDK's.
        settings: The scenario's.
    """
    policy = replace(
        stream._stream.policy,
        idle=settings.idle,
        reconnects=settings.reconnects,
        wait=settings.backoff,
        cap=settings.max_backoff,
        deadline=settings.deadline,
    )
    stream._stream = replace(stream._stream, policy=policy)


def hasten(client: Client | AsyncClient, settings: Settings) -> None:
    """
    Give an SDK's client the patience of a scenario.

    The policy objects stay the SDK's own, with its statuses and its ways of waiting; only the
    numbers become small, so that a drill takes seconds. `keyed=False` takes the automatic
    idempotency keys away: that is how a write without a key is rehearsed. What opens a circuit is
    the SDK's in any case.

    Args:
        client: The failwell client inside the SDK's.
        settings: The scenario's.
    """
    if settings.own:
        return
    setup = client._setup
    if settings.circuit is not None and setup.breaker is not None:
        told = settings.circuit
        policy = replace(setup.breaker.policy, open_for=told.open_for, window=told.window, wait=told.wait)
        setup.breaker = Breaker(policy)
        setup._circuit = setup.breaker.circuit(setup._host)
    setup.retry = setup.policies.retry = replace(
        setup.retry, max_attempts=settings.attempts, base=settings.backoff, cap=settings.max_backoff
    )
    setup.timeouts = setup.policies.timeouts = Timeouts(connect=settings.connect, read=settings.read)
    setup.random = settings.random or setup.random
    setup._idempotency = settings.keyed
