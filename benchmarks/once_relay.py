"""
A relay between clients and a service that acts the plan's faults out: for many writes at once, in one loop.

`failwell.drill.proxy` rehearses one call at a time and remembers everything. This one knows a write by
the number in its idempotency key, and keeps some bytes for each: which of its faults is next. Each of
the client's connections has one of its own to the service, so that what breaks on one side breaks on
the other, as behind a balancer of connections.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from failwell.drill.damage import damaged, head
from failwell.drill.faults import Action, Fault, Moment
from once_schedule import HALF_A_REQUEST, Kill, Plan

LOOPBACK = "127.0.0.1"
PATIENCE = 30.0  # seconds for the other side to answer, or to leave
# Long enough for a client to read what came before the damage.
BEFORE_DAMAGE = 0.02

_KEY = re.compile(rb"\r\nidempotency-key: *[^\r\n]*?(\d+)\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
# The framing is done anew where an answer is changed.
_FRAMING = (b"content-length", b"connection", b"transfer-encoding")


@dataclass(frozen=True, slots=True)
class Answer:
    """The service's: its head with the blank line, and its body."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head[9:12])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        lines = self.head[:-4].split(b"\r\n")[1:]
        fields = [line.partition(b": ")[::2] for line in lines]
        return [(name, value) for name, value in fields if name.lower() not in _FRAMING]

    @property
    def replayed(self) -> bool:
        return b"\r\nidempotent-replayed: true\r\n" in self.head.lower()


class Line:
    """A connection to the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, request: bytes) -> None:
        self._writer.write(request)
        await self._writer.drain()

    async def answer(self) -> Answer:
        start = await self._reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(start)
        if length is None:
            raise ConnectionError("an answer without a length")
        return Answer(start, await self._reader.readexactly(int(length[1])))

    def close(self, *, reset: bool = False) -> None:
        if reset:
            _reset(self._writer)
        else:
            self._writer.close()


class Link:
    """A client's connection, and the one to the service that belongs to it."""

    def __init__(self, relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._relay = relay
        self.reader = reader
        self.writer = writer
        self._line: Line | None = None

    async def line(self) -> Line:
        if self._line is None:
            self._line = await self._relay.line()
        return self._line

    async def ask(self, request: bytes) -> Answer:
        line = await self.line()
        await line.send(request)
        async with asyncio.timeout(PATIENCE):
            return await line.answer()

    def leave_behind(self) -> None:
        """Let the service work on; the next request gets a connection of its own."""
        line, self._line = self._line, None
        if line is not None:
            self._relay.start(_heard_out(line))

    @property
    def has_left(self) -> bool:
        return self.reader.at_eof() or self.reader.exception() is not None or self.writer.is_closing()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until_it_leaves(self) -> None:
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while await self.reader.read(65536):
                    pass

    def close(self, *, reset: bool = False) -> None:
        if reset:
            _reset(self.writer)
        else:
            self.writer.close()
        if self._line is not None:
            self._line.close(reset=reset)
            self._line = None


class Relay:
    """
    Args:
        plan: What is to happen.
        service: Host and port.
        kill: Carries out a kill, and comes back when it was done.

    Attributes:
        port: Where it listens, on loopback.
        requests: How many came.
        refused: Answers of the service by status, but for those that a write is done with.
        replayed: Answers that the service had on record.
        fired: Faults by name.
        begun: Writes of which at least one request came.
        answered: Writes that the service has answered, whoever heard it.
        trouble: What went wrong in the relay itself: nothing may.
    """

    def __init__(self, plan: Plan, service: tuple[str, int], kill: Callable[[Kill], Awaitable[None]]) -> None:
        self.port = 0
        self.requests = self.replayed = self.begun = self.answered = 0
        self.refused: Counter[int] = Counter()
        self.fired: Counter[str] = Counter()
        self.trouble: list[Exception] = []
        self._plan = plan
        self._service = service
        self._kill = kill
        # For each write: how many of its faults it has met; whether it was seen, whether answered.
        self._met = bytearray(plan.writes)
        self._begun = bytearray(plan.writes)
        self._answered = bytearray(plan.writes)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, work: Awaitable[None]) -> None:
        """Do something beside, until the end."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Come back when nothing is under way."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def line(self) -> Line:
        """A new connection to the service."""
        reader, writer = await asyncio.open_connection(*self._service)
        return Line(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = Link(self, reader, writer)
        try:
            while await self._one(link):
                pass
        except (OSError, EOFError, asyncio.LimitOverrunError):  # one of the two sides is gone
            pass
        except asyncio.CancelledError:
            pass  # it is over; asyncio would print it
        except Exception as exc:
            self.trouble.append(exc)
        finally:
            link.close()
            self._tasks.discard(task)

    async def _one(self, link: Link) -> bool:
        """Serve a request; whether there may be another one on this connection."""
        start = await link.reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(start)
        body = await link.reader.readexactly(int(length[1])) if length else b""
        request = start + body
        key = _KEY.search(start)
        if key is None:
            raise ConnectionError("a request without a key")
        number = int(key[1])
        self.requests += 1
        if not self._begun[number]:
            self._begun[number] = 1
            self.begun += 1
            kill = self._plan.kills.get(number)
            if kill is not None:
                return await self._killing(link, number, request, kill)
        due = self._plan.faults_of(number)
        if (met := self._met[number]) < len(due):
            return await self._faulty(link, number, request, met, due[met])
        return await self._pass_on(link, number, await link.ask(request))

    async def _pass_on(self, link: Link, number: int, answer: Answer) -> bool:
        self._hear(number, answer)
        if link.has_left:
            return False
        await link.send(answer.head + answer.body)
        return b"\r\nconnection: close\r\n" not in answer.head.lower()

    def _hear(self, number: int, answer: Answer) -> None:
        """Count an answer of the service."""
        if answer.status != 201:
            self.refused[answer.status] += 1
            return
        self.replayed += answer.replayed
        if not self._answered[number]:
            self._answered[number] = 1
            self.answered += 1

    async def _killing(self, link: Link, number: int, request: bytes, kill: Kill) -> bool:
        """The answer is lost in any case, so that the write's faults meet its later tries."""
        if kill.after_commit:
            self._hear(number, await link.ask(request))
            await self._kill(kill)
            return False
        line = await link.line()
        await line.send(request)
        await asyncio.sleep(kill.delay)
        await self._kill(kill)
        async with asyncio.timeout(PATIENCE):
            self._hear(number, await line.answer())
        return False

    def _fires(self, number: int, met: int, fault: Fault) -> bool:
        """Whether it is this try that meets the fault: an earlier one may still be under way."""
        if self._met[number] != met:
            return False
        self._met[number] += 1
        self.fired[fault.name] += 1
        return True

    async def _faulty(self, link: Link, number: int, request: bytes, met: int, fault: Fault) -> bool:
        if fault.moment is Moment.REQUEST:
            self._fires(number, met, fault)
            return await self._instead(link, fault)
        if fault.moment is Moment.WORK:
            line = await link.line()
            self._fires(number, met, fault)
            if fault is HALF_A_REQUEST:
                await line.send(request[: -len(request) // 4])
                return False
            await line.send(request)
            return await self._at_work(link, line, number, request, fault)
        answer = await link.ask(request)
        if link.has_left and fault.moment is not Moment.ANSWERED:
            self._hear(number, answer)
            return False
        self._hear(number, answer)
        if not self._fires(number, met, fault):
            return False  # or the write would be done before it has met the others
        if fault.moment is Moment.ANSWERED:
            await _end(link, fault.action)
            if fault.action is Action.LATE:
                await link.until_it_leaves()
                await link.send(answer.head + answer.body)
            return False
        if fault.moment is Moment.HEADERS:
            return await _surprise(link, fault, answer)
        if fault.moment is Moment.BODY:
            return await _damage(link, fault, answer)
        await link.send(answer.head + answer.body)  # Moment.IDLE
        return False

    async def _instead(self, link: Link, fault: Fault) -> bool:
        if fault.action is Action.ANSWER:
            fields = [(name.encode(), value.encode()) for name, value in fault.headers.items()]
            await link.send(head(fault.status, fields, len(fault.body)) + fault.body)
            return True
        if fault.action is Action.GARBAGE:
            await link.send(b"\x16\x03\x01 220 smtp.example ESMTP ready\r\n\r\n")
            return False
        await _end(link, fault.action)
        return False

    async def _at_work(self, link: Link, line: Line, number: int, request: bytes, fault: Fault) -> bool:
        if fault.action is Action.RST:
            link.close(reset=True)
            return False
        if fault.action is Action.FIN:
            link.leave_behind()
            return False
        if fault.action is Action.ANSWER:
            link.leave_behind()
            await link.send(head(fault.status, [], len(fault.body)) + fault.body)
            return True
        # The same request once more, on another connection; the client has what comes first.
        second = await self.line()
        await second.send(request)
        one, other = asyncio.ensure_future(line.answer()), asyncio.ensure_future(second.answer())
        self.start(_rest(second, other))
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([one, other], return_when=asyncio.FIRST_COMPLETED)
            answer = other.result() if other.done() and other.exception() is None else await one
        await self._pass_on(link, number, answer)
        with suppress(OSError, EOFError):
            await one
        return False


async def _rest(line: Line, answer: asyncio.Future[Answer]) -> None:
    with suppress(OSError, EOFError):
        await answer
    line.close()


async def _heard_out(line: Line) -> None:
    with suppress(OSError, EOFError):
        async with asyncio.timeout(PATIENCE):
            await line.answer()
    line.close()


async def _end(link: Link, how: Action) -> None:
    if how is Action.RST:
        link.close(reset=True)
    elif how in (Action.SILENCE, Action.LATE):
        await link.until_it_leaves()


async def _surprise(link: Link, fault: Fault, answer: Answer) -> bool:
    if fault.action is Action.FIN:
        await link.send(answer.head[: answer.head.index(b"\r\n") + 8])
        return False
    if fault.action is Action.REPLACE or "gzip" in fault.action.name.lower():
        await link.send(damaged(fault, answer.status, answer.headers, answer.body))
        return False
    whole = answer.head + answer.body
    if fault.action is Action.TWICE:
        await link.send(whole + whole)
    elif fault.action is Action.TRAILING:
        await link.send(whole + b"\n" * 20)
    else:
        await link.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n" + whole)
    return True


async def _damage(link: Link, fault: Fault, answer: Answer) -> bool:
    body = answer.body
    length = None if fault.chunked else len(body)
    await link.send(head(answer.status, answer.headers, length, until_close=fault.until_close))
    if fault.action is Action.DRIP:
        size = -(-len(body) // fault.pieces)
        for at in range(0, len(body), size):
            await asyncio.sleep(fault.gap)
            await link.send(body[at : at + size])
        return True
    part = body[: len(body) // 2]
    await link.send(b"%x\r\n%s\r\n" % (len(part), part) if fault.chunked else part)
    if fault.action is Action.BAD_CHUNK:
        await link.send(b"zz\r\n" + body[len(part) :])
    elif fault.action is Action.RST:
        await asyncio.sleep(BEFORE_DAMAGE)
        link.close(reset=True)
    elif fault.action is Action.SILENCE:
        await link.until_it_leaves()
    return False


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            # Linger of 0 seconds: closing discards and resets.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
