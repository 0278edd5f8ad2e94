"""What crossed the wire, as the server's side saw it: plain data, times in monotonic seconds."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class WireConnection:
    """
    One connection that was accepted.

    Attributes:
        number: 1 for the first of its operation.
        operation: Whose it was when it was opened.
        opened: When it was accepted.
        tls: Whether TLS was asked of the proxy on it.
        fault: The name of the fault that met it, if one did.
        requests: How many requests came over it.
        closed: When it ended; None while it is open.
        end: Who ended it, and how.
    """

    number: int
    operation: str
    opened: float
    tls: bool = False
    fault: str | None = None
    requests: int = 0
    closed: float | None = None
    end: str = ""


@dataclass(slots=True)
class WireRequest:
    """
    One request that arrived whole.

    Attributes:
        number: 1 for the first of its operation.
        operation: Whose it is.
        connection: The number of its connection.
        reused: Whether the connection had carried a request before.
        arrived: When its last byte was read.
        method: The HTTP method.
        target: Path and query.
        idempotency_key: What the idempotency header held.
        bytes_in: Length of its body.
        elsewhere: Whether it came to the other origin, to which a redirect leads.
        credentials: Whether a header of it held an API key.
        headers: Those of its headers that may be kept, by an allow-list; names in lower case.
        fault: The name of the fault planned for it, if one was.
        fired: Whether that fault acted.
        asked: When the service was asked; None if it was not.
        answered: When the service had answered, so that its effect is there; None if not asked.
        service_status: What the service answered.
        effects: Effects in the ledger right after that; None if nobody counted.
        status: The status whose line was passed on whole; None if none was.
        request_id: What the answer carried as its request id.
        bytes_out: Bytes passed on, head and body.
        finished: When the proxy was done with it.
        end: What became of the connection.
        step: What it is for, as `Subject.step_of` says: "part 2".
        last_event_id: What its `Last-Event-ID` held.
        event_ids: Of a stream, the ids of the events that were passed on whole.
        ids_are_sure: Whether the client must have got the last of them: not before a reset.
    """

    number: int
    operation: str
    connection: int
    reused: bool
    arrived: float
    method: str
    target: str
    idempotency_key: str | None = None
    bytes_in: int = 0
    elsewhere: bool = False
    credentials: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    fault: str | None = None
    fired: bool = False
    asked: float | None = None
    answered: float | None = None
    service_status: int | None = None
    effects: int | None = None
    status: int | None = None
    request_id: str | None = None
    bytes_out: int = 0
    finished: float | None = None
    end: str = ""
    step: str = ""
    last_event_id: str | None = None
    event_ids: tuple[str, ...] = ()
    ids_are_sure: bool = True


@dataclass(slots=True)
class Journal:
    """
    Everything one proxy saw.

    Attributes:
        connections: Accepted, in order.
        requests: Arrived whole, in order.
        connects: When this process called `connect()` for the proxy's port, by operation.
        lookups: When this process looked the proxy's name up, by operation.
        fired: Faults that acted: operation, number of the attempt, name.
        trouble: What went wrong with the drill itself, such as a service that is not there.
    """

    connections: list[WireConnection] = field(default_factory=list)
    requests: list[WireRequest] = field(default_factory=list)
    connects: dict[str, list[float]] = field(default_factory=dict)
    lookups: dict[str, list[float]] = field(default_factory=dict)
    fired: list[tuple[str, int, str]] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    def requests_of(self, operation: str) -> list[WireRequest]:
        """The requests of `operation`, in the order they arrived."""
        return [r for r in self.requests if r.operation == operation]

    def tries_of(self, operation: str) -> int:
        """How often a connection for `operation` was tried, look-ups that failed included."""
        return max(len(self.connects.get(operation, ())), len(self.lookups.get(operation, ())))
