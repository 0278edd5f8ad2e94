"""
A proxy on loopback that passes requests on to a service and acts faults out on the way.

Theory of operation: one thread accepts, one thread serves each connection with blocking sockets,
because resets, half answers and silence are plainest there. A request is read whole, numbered
within its operation, and met with the fault its `Schedule` names. Every step goes into the
journal with its time. Faults of the connection itself (nobody listens, a full backlog, an unknown
name) are armed before the client starts; `watch` counts the tries.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import formatdate
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

import h11

from failwell.drill import certificates, watch
from failwell.drill.certificates import LOOPBACK
from failwell.drill.damage import Headers, damaged, head, tampered, without
from failwell.drill.event_bytes import Cut
from failwell.drill.faults import Action, Fault, Moment, Schedule
from failwell.drill.journal import Journal, WireConnection, WireRequest
from failwell.redaction import kept_header

# Fields that belong to one hop (RFC 9110, section 7.6.1), and the framing, which is done anew.
HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
     b"upgrade", b"content-length", b"host", b"expect"}
)  # fmt: skip
# Headers of a request that are kept in the journal, beside those that are kept of an answer.
REQUEST_HEADERS = frozenset(
    {"accept", "accept-encoding", "accept-language", "content-range", "expect", "if-match", "if-none-match",
     "if-range", "last-event-id", "range", "user-agent"}
)  # fmt: skip
# Of one request, or one answer of the service, which the proxy keeps in memory.
MOST_BYTES = 64 << 20
SERVICE_TIMEOUT = 30.0  # seconds for the service to answer the proxy
# Long enough for a client to read what was sent before it meets the damage: what it can know by
# then is part of what is rehearsed, and must not depend on which bytes shared a packet.
BEFORE_DAMAGE = 0.05
# Without an end means: more than any client takes of one answer.
ENDLESS_BYTES = 1 << 30
# Seconds between two looks at what nobody tells.
LOOK = 0.05
# The moments that are counted by requests.
OF_A_REQUEST = tuple(m for m in Moment if m not in (Moment.NAME, Moment.CONNECT, Moment.HANDSHAKE))
# What is wrong with a certificate; the handshake is otherwise the ordinary one.
_CERTIFICATES = (Action.UNTRUSTED, Action.EXPIRED, Action.WRONG_HOST)


class FaultProxy:
    """
    One listener in front of one service.

    Args:
        upstream: The service's base URL, `http://` or `https://`.
        idempotency_header: Where keys are found, lower case.
        count_effects: Called after each answer of the service; its result is kept in the journal.
        secrets: The API keys, to see which requests carry one.
        crash: Kills the service and starts it again: `Subject.crash`.
        step_of: What a request is for: `Subject.step_of`.
        forget: Gives up the upload that the operation is about, by the service's own means.

    Attributes:
        journal: What was seen.
    """

    def __init__(
        self,
        upstream: str,
        *,
        idempotency_header: str = "idempotency-key",
        count_effects: Callable[[], int | None] | None = None,
        secrets: Callable[[], Sequence[str]] = tuple,
        crash: Callable[..., None] | None = None,
        step_of: Callable[[str, str], str] = lambda method, target: "",
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        parts = urlsplit(upstream)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the proxy needs a service at an http:// or https:// URL, not {upstream!r}")
        self.journal = Journal()
        self._service_tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._upstream = (parts.hostname, parts.port or (80 if self._service_tls is None else 443))
        self._host = parts.netloc.rpartition("@")[2]
        self._path = parts.path.rstrip("/")
        self._key_header = idempotency_header.encode("ascii")
        self._count_effects = count_effects
        self._secrets, self._crash = secrets, crash
        self._step_of, self._forget = step_of, forget
        self._elsewhere: socket.socket | None = None  # another origin, for redirects
        self._listener = _bound(0)
        self.port: int = self._listener.getsockname()[1]
        self.host_name = f"drill-{self.port}.invalid"
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._stop = threading.Event()
        self._listening = False
        self._busy = 0  # requests the service has not answered yet
        self._handling = 0  # requests the proxy is not done with yet
        self._operation = ""
        self._schedule = Schedule()
        self._numbers = [0, 0]  # connections and requests of the operation
        self._steps: Counter[str] = Counter()  # requests of each of its steps
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._listened_to: set[socket.socket] = set()  # those that a thread waits for, to say more
        self._answering: set[socket.socket] = set()  # those whose request is in the journal
        self._fillers: list[socket.socket] = []
        self._since: dict[tuple[str, str], float] = {}  # when what lasts for a time began
        # What TLS is served with, by the fault of the connection; plain HTTP where there is nothing.
        self._contexts: dict[Action | None, ssl.SSLContext] = {}

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, operation: str, schedule: Schedule | None = None) -> str:
        """
        Count attempts from 1 again, for `operation`, and meet them with `schedule`.

        Returns:
            The base URL the client has to use: another scheme or host where the faults need it.

        Raises:
            RuntimeError: the schedule refuses connections, and the proxy already listens.
        """
        schedule = schedule or Schedule()
        with self._lock:
            self._operation, self._schedule, self._numbers = operation, schedule, [0, 0]
            self._steps.clear()
        self.journal.connects.setdefault(operation, [])
        self.journal.lookups.setdefault(operation, [])
        watch.on_connect(self.port, self._connecting)
        watch.on_lookup(self.host_name, self._looking_up)
        first = schedule.at(1)
        if any(f.moment is Moment.CONNECT for f in schedule.all) and self._listening:
            raise RuntimeError("connections can only be refused before the first one is accepted")
        if first is not None and first.action is Action.IGNORE:
            self._fill_backlog()
        if any(f.leads_to == "elsewhere" for f in schedule.all):
            self._listen_elsewhere()
        if first is not None and first.action is Action.IGNORE:
            pass  # nobody accepts
        elif first is None or first.moment not in (Moment.CONNECT, Moment.NAME):
            self._listen()
        return self._base_url(schedule)

    def plan(self, schedule: Schedule) -> str:
        """
        Meet what comes from now on with `schedule`; attempts are counted on.

        Returns:
            The base URL the client has to use, as `begin` gives it.
        """
        with self._lock:
            self._schedule = schedule
            next_try = len(self.journal.connects[self._operation]) + 1
        if (fault := schedule.at(next_try, Moment.CONNECT)) is not None:
            self.stop_listening()
            if fault.action is Action.IGNORE:
                self._fill_backlog()
        if any(f.leads_to == "elsewhere" for f in schedule.all):
            self._listen_elsewhere()
        return self._base_url(schedule)

    def stop_listening(self) -> None:
        """
        Refuse connections from now on, until one is tried that no fault is planned for.

        The port stays taken. Connections are closed, those with a request on them when it is answered.
        """
        with self._changed:
            if not self._listening:
                return
            # Who has its answer already is not in the middle of anything.
            self._changed.wait_for(lambda: not self._answering, 1.0)
            listener, self._listener, self._listening = self._listener, _bound(self.port), False
            idle = self._listened_to - self._answering
        for sock in (listener, *idle):
            _end(sock)

    def offer_tls(self, *actions: Action) -> None:
        """
        Serve TLS to whoever begins with it, by a certificate that `certificates.trusting()` trusts.

        Args:
            actions: Faults of certificates that will be planned.

        Raises:
            ModuleNotFoundError: trustme is not installed.
        """
        for action in (None, *actions):
            if action not in self._contexts:
                self._contexts[action] = certificates.serving(action)

    def caught_up(self, timeout: float = 5.0) -> bool:
        """
        Wait until everything that clients have sent by now is in the journal; whether it is.

        What is sent over loopback lies in this machine's memory at once. A client that gave up early
        may be ahead of the thread that reads it.
        """
        until = time.monotonic() + timeout
        while not self._has_caught_up():
            if time.monotonic() > until or self._stop.wait(0.001):
                return False
        return True

    def _has_caught_up(self) -> bool:
        with self._lock:
            if self._open - self._listened_to - self._answering:
                return False  # a thread has something in its hands
            waiting = self._listened_to - self._answering
            with contextlib.suppress(ValueError):  # one was closed this moment
                return not _readable([*waiting, *([self._listener] if self._listening else [])], 0.0)
            return False

    def settle(self, timeout: float = 20.0) -> bool:
        """Wait until the service has answered all it was asked and the journal is written; whether it has."""
        with self._changed:
            answered = self._changed.wait_for(lambda: self._busy == 0, timeout)
            self._changed.wait_for(lambda: self._handling == 0, min(timeout, 1.0))
            return answered

    def wait_closed(self, operation: str, timeout: float = 10.0) -> bool:
        """Wait until every connection `operation` opened has ended; whether it has."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(c.closed for c in self.journal.connections if c.operation == operation), timeout
            )

    def wait_fired(self, operation: str, timeout: float) -> bool:
        """Wait until a fault acts on `operation`; whether one has."""
        with self._changed:
            return self._changed.wait_for(
                lambda: any(o == operation for o, _, _ in self.journal.fired), timeout
            )

    def wait_passed_on(
        self, operation: str, status: int, timeout: float, or_until: Callable[[], bool] = bool
    ) -> bool:
        """
        Wait until an answer with `status` has been passed on to `operation`; whether one has.

        Args:
            operation: Whose.
            status: Of the answer.
            timeout: Seconds.
            or_until: Looked at now and then: true if there is nothing to wait for any more.
        """

        def passed_on() -> bool:
            return any(r.status == status and r.finished for r in self.journal.requests_of(operation))

        until = time.monotonic() + timeout
        with self._changed:
            while not passed_on() and not or_until() and (left := until - time.monotonic()) > 0:
                self._changed.wait(min(left, LOOK))
            return passed_on()

    def close(self) -> None:
        """End every connection and every thread."""
        watch.forget_port(self.port)
        watch.forget_host(self.host_name)
        self._stop.set()
        ours = (self._listener, *self._fillers, *([self._elsewhere] if self._elsewhere else []))
        for sock in ours:
            _end(sock)
        with self._lock:
            for sock in self._open:
                _end(sock)
            threads = list(self._threads)
        for thread in threads:
            thread.join(SERVICE_TIMEOUT)
        # Not earlier: somebody else's socket could get the number that a thread waits for.
        for sock in ours:
            sock.close()

    # --- connections ---------------------------------------------------------------------

    def _base_url(self, schedule: Schedule) -> str:
        moments = {f.moment for f in schedule.all}
        scheme = "https" if Moment.HANDSHAKE in moments else "http"
        for fault in schedule.all:
            if fault.action in _CERTIFICATES:
                self.offer_tls(fault.action)
        host = self.host_name if Moment.NAME in moments else LOOPBACK
        return f"{scheme}://{host}:{self.port}{self._path}"

    def _connecting(self) -> None:
        """This process is about to connect to the port: the last moment to start listening."""
        now = time.monotonic()
        with self._lock:
            tries = self.journal.connects[self._operation]
            tries.append(now)
            number = len(tries)
            fault = self._schedule.at(number, Moment.CONNECT)
            if fault is not None:
                self._fire_locked(number, fault)
        if fault is None:
            self._listen()
        else:
            self.stop_listening()

    def _looking_up(self) -> None:
        with self._lock:
            tries = self.journal.lookups[self._operation]
            tries.append(time.monotonic())
            fault = self._schedule.at(len(tries), Moment.NAME)
            if fault is not None:
                self._fire_locked(len(tries), fault)
        if fault is not None and fault.action is Action.SLOW_NAME:
            self._stop.wait(fault.gap)
        if fault is not None and fault.action is Action.NO_NAME_SERVER:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    def _fire_locked(self, number: int, fault: Fault) -> None:
        self.journal.fired.append((self._operation, number, fault.name))
        self._changed.notify_all()

    def _listen(self) -> None:
        with self._lock:
            if self._listening or self._stop.is_set():
                return
            self._listening = True
            self._listener.listen(128)
            self._start_locked(self._accept, self._listener)

    def _listen_elsewhere(self) -> None:
        with self._lock:
            if self._elsewhere is not None or self._stop.is_set():
                return
            self._elsewhere = socket.create_server((LOOPBACK, 0))
            self._start_locked(self._accept, self._elsewhere)

    def _fill_backlog(self) -> None:
        # A backlog of 0 still takes one connection on Linux; SYNs after that are dropped.
        self._listener.listen(0)
        for _ in range(3):
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filler.setblocking(False)
            self._fillers.append(filler)
            watch.forget_port(self.port)  # ours do not count
            filler.connect_ex((LOOPBACK, self.port))
        watch.on_connect(self.port, self._connecting)
        time.sleep(0.02)

    def _start_locked(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=f"drill-proxy-{self.port}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                _readable([listener], None)
                with contextlib.suppress(BlockingIOError):  # whoever came has left again
                    self._take(listener)
            except OSError:  # it listens no more
                break
        listener.close()

    def _take(self, listener: socket.socket) -> None:
        """Accept a connection and note it in one step, so that `caught_up` cannot miss it in between."""
        with self._lock:
            sock, _ = listener.accept()
            sock.setblocking(True)
            if self._stop.is_set():
                sock.close()
                return
            self._numbers[0] += 1
            number = self._numbers[0]
            fault = self._schedule.at(number, Moment.HANDSHAKE)
            record = WireConnection(number, self._operation, time.monotonic())
            self.journal.connections.append(record)
            if fault is not None:
                record.fault = fault.name
                self._fire_locked(number, fault)
            self._open.add(sock)
            self._start_locked(self._serve, sock, record, fault)

    def _serve(self, sock: socket.socket, record: WireConnection, fault: Fault | None) -> None:
        """One connection, from its first byte to its end."""
        wired = sock
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if fault is not None:
                record.tls = True
                if not self._shake_hands(sock, fault):
                    record.end = record.end or "ended in the handshake"
                    return
            context = self._contexts.get(None if fault is None else fault.action)
            if context is not None and self._begins_with_tls(sock):
                record.tls = True
                wired = self._wrapped(sock, context)
                wired.do_handshake()
            record.end = self._requests(wired, record)
        except (OSError, h11.RemoteProtocolError) as exc:
            record.end = record.end or f"ended by the client: {exc}"
        finally:
            with contextlib.suppress(OSError):
                wired.close()
            with contextlib.suppress(OSError):
                sock.close()
            with self._changed:
                for those in (self._open, self._listened_to, self._answering):
                    those -= {sock, wired}
                record.closed = time.monotonic()
                self._changed.notify_all()

    def _wrapped(self, sock: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        """`sock` under TLS, before the handshake; `sock` itself is left without a connection."""
        with self._lock:
            # The connection goes from one socket to the other: close() has to find the one that has it.
            wired = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            self._open = (self._open - {sock}) | {wired}
            if self._stop.is_set():
                _end(wired)
            return wired

    def _begins_with_tls(self, sock: socket.socket) -> bool:
        self._wait_for_more(sock)
        return sock.recv(1, socket.MSG_PEEK) in (b"\x16", b"")  # a handshake record (RFC 8446, section 5.1)

    def _wait_for_more(self, sock: socket.socket) -> None:
        """Until the other side says something, or ends the connection."""
        if isinstance(sock, ssl.SSLSocket) and sock.pending():
            return
        with self._lock:
            self._listened_to.add(sock)
        try:
            _readable([sock], None)
        finally:
            with self._lock:
                self._listened_to.discard(sock)

    def _shake_hands(self, sock: socket.socket, fault: Fault) -> bool:
        """Act `fault` out in the handshake; whether the connection is still to be served."""
        if fault.action in _CERTIFICATES:
            return True  # the ordinary handshake does it: the certificate is the fault
        self._wait_for_more(sock)
        sock.recv(65536)  # the client's hello; unread bytes would turn the FIN into a reset
        if fault.action is Action.PLAIN_TEXT:
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        elif fault.action is not Action.FIN:
            self._wait_for_the_client_to_leave(sock)
        return False

    def _wait_for_the_client_to_leave(self, sock: socket.socket) -> None:
        """Say nothing until the other side ends the connection, or the proxy is closed."""
        while not self._stop.is_set():
            self._wait_for_more(sock)
            if not sock.recv(65536):
                return

    # --- requests ------------------------------------------------------------------------

    def _requests(self, sock: socket.socket, record: WireConnection) -> str:
        """Serve requests until the connection ends; how it ended."""
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        while True:
            request, body = self._read(sock, reader)
            if request is None:
                return "closed by the client"
            wire, fault = self._enter(request, body, record, sock)
            try:
                self._handle(sock, reader, request, body, wire, fault)
            except OSError as exc:
                wire.end = wire.end or f"the client had left: {type(exc).__name__}"
            finally:
                with self._changed:
                    wire.finished = time.monotonic()
                    self._handling -= 1
                    self._answering.discard(sock)
                    self._changed.notify_all()
            if wire.end or reader.our_state is not h11.DONE or reader.their_state is not h11.DONE:
                return wire.end or "closed by the proxy"
            if not self._listening:
                return "closed by the proxy, which does not listen any more"
            reader.start_next_cycle()

    def _read(self, sock: socket.socket, reader: h11.Connection) -> tuple[h11.Request | None, bytes]:
        request: h11.Request | None = None
        body = bytearray()
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                if reader.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    sock.sendall(reader.send(go_on) or b"")
                self._wait_for_more(sock)
                reader.receive_data(sock.recv(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MOST_BYTES:
                    raise OSError(f"a request of more than {MOST_BYTES} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return request, bytes(body)
            else:
                return None, b""

    def _enter(
        self, request: h11.Request, body: bytes, record: WireConnection, sock: socket.socket
    ) -> tuple[WireRequest, Fault | None]:
        """Number the request and write it into the journal, with the fault that will meet it."""
        found = {bytes(name): bytes(value) for name, value in request.headers}
        key, seen = found.get(self._key_header), found.get(b"last-event-id")
        secrets = [s.encode() for s in self._secrets() if s]
        with self._lock:
            self._numbers[1] += 1
            self._handling += 1
            self._answering.add(sock)
            wire = WireRequest(
                number=self._numbers[1],
                operation=self._operation,
                connection=record.number,
                reused=record.requests > 0,
                arrived=time.monotonic(),
                method=request.method.decode("ascii"),
                target=request.target.decode("latin-1"),
                idempotency_key=None if key is None else key.decode("latin-1"),
                bytes_in=len(body),
                elsewhere=sock.getsockname()[1] != self.port,
                headers=_kept_of_a_request(found),
                credentials=any(secret in value for secret in secrets for value in found.values()),
                last_event_id=None if seen is None else seen.decode("utf-8", "replace"),
            )
            wire.step = self._step_of(wire.method, wire.target)
            self._steps[wire.step] += 1
            record.requests += 1
            fault = self._schedule.steps.get((wire.step, self._steps[wire.step]))
            fault = fault or self._schedule.at(wire.number, *OF_A_REQUEST)
            if fault is not None and self._is_over_locked(fault, wire.arrived):
                fault = None
            if fault is not None:
                wire.fault = fault.name
            self.journal.requests.append(wire)
        if fault is None or (fault.reused_only and not wire.reused):
            return wire, None
        if fault.moment is Moment.IDLE and found.get(b"connection", b"").lower() == b"close":
            return wire, None  # the client closes by itself: there is no idle time to act in
        return wire, fault

    def _is_over_locked(self, fault: Fault, now: float) -> bool:
        """Whether `fault` lasts for a time, and that time has passed since it first met the operation."""
        if fault.lasts is None:
            return False
        return now - self._since.setdefault((self._operation, fault.name), now) >= fault.lasts

    def _fired(self, wire: WireRequest, fault: Fault) -> None:
        wire.fired = True
        with self._changed:
            self.journal.fired.append((wire.operation, wire.number, fault.name))
            self._changed.notify_all()

    def _handle(
        self,
        sock: socket.socket,
        reader: h11.Connection,
        request: h11.Request,
        body: bytes,
        wire: WireRequest,
        fault: Fault | None,
    ) -> None:
        """Answer one request, well or badly; `wire.end` is set if the connection is over."""
        if fault is not None and fault.moment is Moment.REQUEST:
            self._instead_of_the_service(sock, reader, wire, fault)
            return
        if fault is not None and fault.moment is Moment.WORK:
            self._kill_at_work(request, body, wire, fault)
            return
        if (fault is None or fault.in_stream) and _wants_events(request):
            self._pass_events_on(sock, reader, request, body, wire, fault)
            return
        if fault is not None and fault.moment is Moment.ON_ITS_WAY:
            self._fired(wire, fault)
            if fault.action is Action.TAMPER:
                request, body = tampered(request, body, consistent=fault.consistent)
            else:
                self._forget()
            fault = None
        status, headers, content = self._ask_the_service(request, body, wire)
        # Where the answer is to be lost, it makes no difference who was first.
        if (fault is None or fault.moment is not Moment.ANSWERED) and _has_left(sock):
            wire.end = "the client had left"
            return
        if fault is None:
            self._pass_on(sock, reader, wire, status, headers, content)
        elif fault.moment is Moment.ANSWERED:
            if fault.action is not Action.CRASH:
                self._fired(wire, fault)
            elif self._crash is not None:
                self._crash(at_work=False)
                self._fired(wire, fault)
            self._end(sock, wire, Action.SILENCE if fault.action is Action.LATE else fault.action)
            if fault.action is Action.LATE:
                self._send(sock, wire, head(status, headers, len(content)) + content)
        elif fault.moment is Moment.HEADERS:
            self._fired(wire, fault)
            self._surprise(sock, reader, wire, fault, status, headers, content)
        elif fault.moment is Moment.BODY:
            self._damage_body(sock, wire, fault, status, headers, content)
        else:  # Moment.IDLE
            self._pass_on(sock, reader, wire, status, headers, content)
            self._fired(wire, fault)
            wire.end = "FIN"

    def _pass_events_on(
        self,
        sock: socket.socket,
        reader: h11.Connection,
        request: h11.Request,
        body: bytes,
        wire: WireRequest,
        fault: Fault | None,
    ) -> None:
        """Pass a stream on, event by event as the service tells them, to where the fault acts."""
        again = fault is not None and fault.action is Action.REPLAY
        if again:
            request = without(request, b"last-event-id")
        with self._changed:
            self._busy += 1
        wire.asked = time.monotonic()
        cut = Cut(fault)
        try:
            with contextlib.ExitStack() as stack:
                try:
                    answer = stack.enter_context(self._answered(request, body))
                except (OSError, HTTPException) as exc:
                    self._pass_on(sock, reader, wire, *self._no_answer(exc))
                    return
                headers = _kept(answer, HOP_BY_HOP)
                self._note_answer(wire, answer.status, headers)
                if answer.getheader("content-type", "").partition(";")[0] != "text/event-stream":
                    self._pass_on(sock, reader, wire, answer.status, headers, answer.read())
                    return
                said = h11.Response(status_code=answer.status, headers=list(headers))  # in chunks
                self._send(sock, wire, reader.send(said) or b"")
                wire.status = answer.status
                if again and fault is not None:
                    self._fired(wire, fault)
                try:
                    for piece in cut.passed(answer):
                        if cut.acted and not wire.fired and fault is not None:
                            self._fired(wire, fault)
                        self._send(sock, wire, reader.send(h11.Data(data=piece)) or b"")
                except HTTPException as exc:
                    self.journal.trouble.append(f"the service broke its stream: {exc!r}")
                    wire.end = "FIN"
                    return
                finally:
                    with contextlib.suppress(OSError, HTTPException):
                        answer.read()  # a service whose words nobody takes complains
        finally:
            wire.event_ids, wire.ids_are_sure = tuple(cut.ids), cut.surely
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()
        if cut.acted and fault is not None and not wire.fired:
            self._fired(wire, fault)
        if not cut.acted or fault is None or fault.action in (Action.END, Action.RENUMBER):
            self._send(sock, wire, reader.send(h11.EndOfMessage()) or b"")
        else:
            wire.ids_are_sure = wire.ids_are_sure and fault.action is not Action.RST
            self._end(sock, wire, fault.action)

    def _kill_at_work(self, request: h11.Request, body: bytes, wire: WireRequest, fault: Fault) -> None:
        """Let the service begin, kill it, and come back when there is another."""
        wire.asked = time.monotonic()

        def ask() -> None:
            with contextlib.suppress(OSError, HTTPException):  # it is killed: there is no answer
                self._forward(request, body)

        asking = threading.Thread(target=ask, name=f"drill-proxy-{self.port}", daemon=True)
        asking.start()
        if self._crash is not None:
            self._crash(at_work=True)
            self._fired(wire, fault)
        asking.join(SERVICE_TIMEOUT)
        wire.end = "CRASH"

    def _surprise(
        self,
        sock: socket.socket,
        reader: h11.Connection,
        wire: WireRequest,
        fault: Fault,
        status: int,
        headers: Headers,
        content: bytes,
    ) -> None:
        """Pass the service's answer on with something wrong from its head on."""
        if fault.action in (Action.INTERIM, Action.TWICE, Action.TRAILING):
            early = _interim(reader, fault) if fault.action is Action.INTERIM else b""
            whole = _whole(reader, wire.method, status, headers, content)
            more = {Action.TWICE: whole, Action.TRAILING: b"\n" * 20}.get(fault.action, b"")
            # In one write: what comes later might come too late to be read.
            self._send(sock, wire, early + whole + more)
            wire.status = status
        elif fault.action in (Action.FIN, Action.RST):
            beginning = head(status, headers, len(content))
            second = beginning.index(b"\r\n", beginning.index(b"\r\n") + 2)
            self._send(sock, wire, beginning[: second + 6])
            self._end(sock, wire, fault.action)
        elif fault.action is Action.ENDLESS:
            self._go_on_without_end(sock, wire, status, headers)
        else:
            self._send(sock, wire, damaged(fault, status, headers, content))
            if fault.action is not Action.LARGE_HEADER:  # which nobody reads to its end
                wire.status = fault.status or status
            # The client has to end it: whoever waits for a gigabyte waits until its deadline.
            self._end(sock, wire, Action.SILENCE if fault.action is Action.LARGE_BODY else Action.FIN)

    def _go_on_without_end(
        self, sock: socket.socket, wire: WireRequest, status: int, headers: Headers
    ) -> None:
        self._send(sock, wire, head(status, headers, None))
        wire.status = status
        blanks = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        while wire.bytes_out < ENDLESS_BYTES and not self._stop.is_set():
            self._send(sock, wire, blanks)
        wire.end = "FIN"

    def _instead_of_the_service(
        self, sock: socket.socket, reader: h11.Connection, wire: WireRequest, fault: Fault
    ) -> None:
        self._fired(wire, fault)
        if fault.action is Action.ANSWER:
            self._answer_for_the_service(sock, reader, wire, fault)
        elif fault.action is Action.GARBAGE:
            self._send(sock, wire, fault.body)
            self._end(sock, wire, Action.FIN)
        else:
            self._end(sock, wire, fault.action)

    def _answer_for_the_service(
        self, sock: socket.socket, reader: h11.Connection, wire: WireRequest, fault: Fault
    ) -> None:
        headers = _gateway_headers(fault)
        if fault.status == 101:
            self._send(sock, wire, b"HTTP/1.1 101 Switching Protocols\r\n" + _lines(headers) + b"\r\n\r\n")
            self._end(sock, wire, Action.FIN)
            return
        if fault.leads_to:
            port = self.port
            if fault.leads_to == "elsewhere" and self._elsewhere is not None:
                port = self._elsewhere.getsockname()[1]
            location = f"http://{LOOPBACK}:{port}{wire.target}"
            headers = [*headers, (b"Location", location.encode("latin-1"))]
        self._pass_on(sock, reader, wire, fault.status, headers, fault.body)

    def _end(self, sock: socket.socket, wire: WireRequest, how: Action) -> None:
        """End the connection by FIN or RST, or keep it until the client gives up."""
        wire.end = how.name
        if how is Action.RST:
            if wire.bytes_out:
                self._stop.wait(BEFORE_DAMAGE)
            # Linger of 0 seconds: close() discards and resets instead of closing in order.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how is Action.SILENCE:
            self._wait_for_the_client_to_leave(sock)

    def _send(self, sock: socket.socket, wire: WireRequest, data: bytes) -> None:
        sock.sendall(data)
        wire.bytes_out += len(data)

    def _pass_on(
        self,
        sock: socket.socket,
        reader: h11.Connection,
        wire: WireRequest,
        status: int,
        headers: Headers,
        content: bytes,
    ) -> None:
        """Send a whole answer, framed as HTTP wants it."""
        self._send(sock, wire, _whole(reader, wire.method, status, headers, content))
        wire.status = status

    def _damage_body(
        self,
        sock: socket.socket,
        wire: WireRequest,
        fault: Fault,
        status: int,
        headers: Headers,
        content: bytes,
    ) -> None:
        if len(content) < 2:  # nothing to cut: the journal shows that the fault did not act
            closed = [*headers, (b"Connection", b"close")]
            self._send(sock, wire, head(status, closed, len(content)) + content)
            wire.status, wire.end = status, "FIN"
            return
        self._fired(wire, fault)
        kept = len(content) // 2 if fault.after_bytes is None else min(fault.after_bytes, len(content) - 1)
        length = None if fault.chunked else len(content)
        if fault.action is Action.DRIP:
            # It comes whole in the end: who is not told that this was all would ask on the same connection.
            headers = [*headers, (b"Connection", b"close")]
        self._send(sock, wire, head(status, headers, length, until_close=fault.until_close))
        wire.status = status
        if fault.action is Action.DRIP:
            self._drip(sock, wire, fault, content)
            return
        part = content[:kept]
        if fault.chunked and part:
            part = b"%x\r\n%s\r\n" % (len(part), part)
        self._send(sock, wire, part)
        if fault.action is Action.BAD_CHUNK:
            self._stop.wait(BEFORE_DAMAGE)
            self._send(sock, wire, b"zz\r\n" + content[kept:])
        self._end(sock, wire, fault.action if fault.action in (Action.RST, Action.SILENCE) else Action.FIN)

    def _drip(self, sock: socket.socket, wire: WireRequest, fault: Fault, content: bytes) -> None:
        size = -(-len(content) // fault.pieces)
        for start in range(0, len(content), size):
            if self._stop.wait(fault.gap):
                break
            self._send(sock, wire, content[start : start + size])
        wire.end = "FIN"

    # --- the service ---------------------------------------------------------------------

    def _ask_the_service(
        self, request: h11.Request, body: bytes, wire: WireRequest
    ) -> tuple[int, Headers, bytes]:
        """The service's whole answer; a 502 of the proxy's own, told to the journal, if there is none."""
        with self._changed:
            self._busy += 1
        wire.asked = time.monotonic()
        try:
            status, headers, content = self._forward(request, body)
        except (OSError, HTTPException) as exc:
            return self._no_answer(exc)
        else:
            self._note_answer(wire, status, headers)
            return status, headers, content
        finally:
            wire.answered = time.monotonic()
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _no_answer(self, exc: Exception) -> tuple[int, Headers, bytes]:
        """A 502 of the proxy's own; the journal has why."""
        self.journal.trouble.append(f"the service did not answer the proxy: {exc!r}")
        return 502, [(b"Content-Type", b"text/plain")], b"the drill's proxy has no service behind it\n"

    def _note_answer(self, wire: WireRequest, status: int, headers: Headers) -> None:
        """Write down what the service answered, and what it holds then."""
        wire.service_status, wire.answered = status, time.monotonic()
        wire.request_id = next(
            (v.decode("latin-1") for n, v in headers if n.lower().endswith(b"request-id")), None
        )
        if self._count_effects is not None:
            wire.effects = self._count_effects()

    def _forward(self, request: h11.Request, body: bytes) -> tuple[int, Headers, bytes]:
        with self._answered(request, body) as answer:
            content = _whole_body(answer)
            # What a GET would have brought is all that a HEAD says of the body.
            dropped = HOP_BY_HOP - {b"content-length"} if request.method == b"HEAD" else HOP_BY_HOP
            return answer.status, _kept(answer, dropped), content

    def _to_the_service(self) -> HTTPConnection:
        host, port = self._upstream
        if self._service_tls is None:
            return HTTPConnection(host, port, timeout=SERVICE_TIMEOUT)
        return HTTPSConnection(host, port, timeout=SERVICE_TIMEOUT, context=self._service_tls)

    @contextlib.contextmanager
    def _answered(self, request: h11.Request, body: bytes) -> Iterator[HTTPResponse]:
        """The service's answer, its body unread."""
        with contextlib.closing(self._to_the_service()) as upstream:
            method, target = request.method.decode("ascii"), request.target.decode("latin-1")
            # The proxy compresses where that is the fault; the service's own compression would be in its way.
            upstream.putrequest(method, target, skip_host=True)
            upstream.putheader("Host", self._host)
            for name, value in request.headers:
                if bytes(name).lower() not in HOP_BY_HOP | {b"accept-encoding"}:
                    upstream.putheader(bytes(name).decode("ascii"), bytes(value))
            if body or method in ("POST", "PUT", "PATCH"):
                upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body or None)
            with upstream.getresponse() as answer:
                yield answer


def _kept(answer: HTTPResponse, dropped: frozenset[bytes]) -> Headers:
    """The headers of an answer without those that belong to one hop."""
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in answer.getheaders()
        if name.lower().encode("latin-1") not in dropped
    ]


def _wants_events(request: h11.Request) -> bool:
    """Whether a stream of events is asked for."""
    return any(name == b"accept" and b"text/event-stream" in value for name, value in request.headers)


def _whole_body(answer: HTTPResponse) -> bytes:
    """The body of `answer`; `HTTPException` if it is cut, or larger than `MOST_BYTES`."""
    if answer.length is not None and answer.length <= MOST_BYTES:
        return answer.read()
    content = bytearray()
    while answer.length is None and len(content) <= MOST_BYTES:
        piece = answer.read(1 << 16)
        if not piece:
            return bytes(content)
        content += piece
    raise HTTPException(f"the service's answer is larger than {MOST_BYTES} bytes")


def _bound(port: int) -> socket.socket:
    """A socket that has `port`, or a free one, and does not listen: connections are refused."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # So that the next socket can take the port before this one lets it go.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((LOOPBACK, port))
    sock.setblocking(False)
    return sock


def _readable(socks: Sequence[socket.socket], timeout: float | None) -> bool:
    """Whether there is something to read or accept on one of `socks` within `timeout`; None waits for it."""
    poll = select.poll()
    for sock in socks:
        poll.register(sock, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


def _kept_of_a_request(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Of a request's headers those that name nobody and open nothing."""
    named = {name.decode("ascii"): value.decode("latin-1") for name, value in headers.items()}
    return {name: value for name, value in named.items() if name in REQUEST_HEADERS or kept_header(name)}


def _end(sock: socket.socket) -> None:
    """Wake whoever waits for `sock`; under TLS without a farewell, which only its own thread may send."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _has_left(sock: socket.socket) -> bool:
    """Whether the other side has ended the connection; what is sent then is accepted all the same."""
    if isinstance(sock, ssl.SSLSocket):  # which cannot look ahead
        return False
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    finally:
        sock.setblocking(True)


def _interim(reader: h11.Connection, fault: Fault) -> bytes:
    """What comes before the answer: `1xx`, as often as there is one (RFC 9110, section 15.2)."""
    said = h11.InformationalResponse(status_code=fault.status, headers=list(fault.headers.items()))
    return reader.send(said) or b""


def _whole(reader: h11.Connection, method: str, status: int, headers: Headers, content: bytes) -> bytes:
    """A whole answer, framed as HTTP wants it; `reader` knows then that it was given."""
    fields = [*headers, (b"Content-Length", str(len(content)).encode("ascii"))]
    if status in (204, 304) or method == "HEAD":
        fields, content = list(headers), b""
    data = reader.send(h11.Response(status_code=status, headers=fields)) or b""
    if content:
        data += reader.send(h11.Data(data=content)) or b""
    return data + (reader.send(h11.EndOfMessage()) or b"")


def _lines(headers: Headers) -> bytes:
    return b"\r\n".join(b"%s: %s" % field for field in headers)


def _gateway_headers(fault: Fault) -> Headers:
    """What a gateway's own answer carries; dates are made now, by its own, maybe wrong, clock."""
    clock = time.time() + fault.clock_skew
    fields = {"Server": "drill-gateway", "Content-Type": "text/html", "Date": formatdate(clock, usegmt=True)}
    if fault.retry_date is not None:
        fields["Retry-After"] = formatdate(clock + fault.retry_date, usegmt=True)
    fields |= fault.headers
    return [(n.encode("ascii"), v.encode("latin-1")) for n, v in fields.items()]
