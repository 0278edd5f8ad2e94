"""
What can go wrong between a client and its service: an action at a moment, never a probability.

A fault is plain data. `proxy.py` acts it out on a real socket, at the attempt a `Schedule` names,
so that the same drill fails in the same way every time.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum


class Moment(str, Enum):
    """When a fault acts. The first three count connections, the others requests."""

    NAME = "while the name is looked up"
    CONNECT = "while the connection is made"
    HANDSHAKE = "in the TLS handshake"
    REQUEST = "the request is read, the service is not asked"
    WORK = "the service works on the request"
    ANSWERED = "the service has answered, nothing is passed on"
    HEADERS = "inside the answer's headers"
    BODY = "inside the answer's body"
    IDLE = "after the answer, while the connection is idle"
    EVENT = "between two events of a stream"
    IN_EVENT = "inside an event of a stream"
    IN_CHARACTER = "inside a character of a stream"
    IN_LINE_END = "between CR and LF in an event of a stream"
    IN_BLANK_LINE = "between CR and LF at the end of an event of a stream"
    ON_ITS_WAY = "while the request is on its way to the service"

    __str__ = str.__str__


class Action(str, Enum):
    """What is done."""

    UNKNOWN_NAME = "the name does not exist"
    REFUSE = "nobody listens"
    IGNORE = "the connection request is not answered"
    PLAIN_TEXT = "the answer is not TLS"
    UNTRUSTED = "the certificate is from an unknown authority"
    SILENCE = "nothing more is said"
    FIN = "the connection is closed"
    RST = "the connection is reset"
    EXPIRED = "the certificate has expired"
    WRONG_HOST = "the certificate is another host's"
    SLOW_NAME = "the look-up of the name takes long"
    NO_NAME_SERVER = "the name server has no answer for now"
    GARBAGE = "the answer is not HTTP"
    ANSWER = "a gateway answers in the service's place"
    DRIP = "the answer trickles"
    BAD_CHUNK = "a chunk's length is no number"
    CRASH = "the service's process is killed, and started again"
    LATE = "the answer is sent after the client has left"
    LARGE_HEADER = "a header of 200 kB"
    LARGE_BODY = "the answer is larger than any client takes"
    ENDLESS = "the answer has no end"
    REPLACE = "something in between puts another body in the answer's place"
    CUT_GZIP = "the compressed body is cut, its length is right"
    BAD_GZIP = "the compressed body is damaged"
    INFLATE = "a small compressed body becomes a huge one"
    INTERIM = "an interim answer comes before the answer"
    TWICE = "the answer is sent twice"
    TRAILING = "more bytes follow than were announced"
    END = "the answer ends in order, before the stream does"
    REPLAY = "the stream is told from its beginning again"
    RENUMBER = "the ids begin again, with other events"
    TAMPER = "bytes of the request's body are turned over"
    FORGET = "the service forgets the upload"

    __str__ = str.__str__


class Faithful(str, Enum):
    """How near a fault is to the real thing."""

    KERNEL = "kernel-real"  # the operating system does what it does in production
    PROTOCOL = "protocol-real"  # real bytes on a real socket, written by the drill
    SIMULATED = "simulated"  # something stands in for the real thing

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One thing that goes wrong.

    Attributes:
        name: For tables; says it all in two or three words.
        action: What is done.
        moment: When.
        faithful: How near it is to the real thing.
        platform: `sys.platform` it needs; None for any.
        reused_only: Acts only on a connection that has carried a request before.
        after_bytes: Bytes of the body passed on before the action; None for half of it.
        events: Events of a stream passed on whole before the action.
        insert: Bytes put into a stream right before the action.
        consistent: Whether what is turned over has a digest that fits.
        pieces: Into how many pieces a trickle divides the body.
        gap: Seconds between two pieces of a trickle.
        chunked: Whether the answer is sent with chunked transfer coding.
        status: The status that a gateway answers with.
        headers: The headers that a gateway answers with.
        body: The body that a gateway answers with.
        retry_date: Seconds from now for a `Retry-After` that is a date, made when it is sent.
        until_close: Whether the answer's end is the connection's, and nothing says its length.
        leads_to: Where a redirect leads: "self", or "elsewhere", which is another origin.
        lasts: Seconds from the first time it acts on an operation, after which it does no more; None
            for as often as it is planned.
        clock_skew: Seconds by which the gateway's clock, its `Date` and that date, is ahead.
        row: Its number in the list of faults (`fault_list.py`); 0 if it is of your own making.
    """

    name: str
    action: Action
    moment: Moment
    faithful: Faithful = Faithful.PROTOCOL
    platform: str | None = None
    reused_only: bool = False
    after_bytes: int | None = None
    events: int = 0
    insert: bytes = b""
    consistent: bool = False
    pieces: int = 1
    gap: float = 0.0
    chunked: bool = False
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    retry_date: float | None = None
    clock_skew: float = 0.0
    until_close: bool = False
    leads_to: str = ""
    lasts: float | None = None
    row: int = 0

    @property
    def on_connection(self) -> bool:
        """Whether it is counted by connections instead of requests."""
        return self.moment in (Moment.NAME, Moment.CONNECT, Moment.HANDSHAKE)

    @property
    def in_stream(self) -> bool:
        """Whether it acts on the events of a stream."""
        return self.moment in _IN_STREAM

    @property
    def runs_here(self) -> bool:
        """Whether this platform can do it."""
        return self.platform is None or sys.platform == self.platform


_IN_STREAM = (Moment.EVENT, Moment.IN_EVENT, Moment.IN_CHARACTER, Moment.IN_LINE_END, Moment.IN_BLANK_LINE)


@dataclass(frozen=True, slots=True)
class Schedule:
    """
    Which fault meets which attempt of an operation.

    Attributes:
        faults: Number of the attempt, 1 for the first, to its fault. Connections are counted for
            faults that act on them, requests for the others.
        rest: The fault of every attempt not named; None for none.
        steps: Of a call that is several requests: the step, as `Subject.step_of` calls it ("part 2",
            "complete"), and the number of its attempt, to its fault.
    """

    faults: Mapping[int, Fault] = field(default_factory=dict)
    rest: Fault | None = None
    steps: Mapping[tuple[str, int], Fault] = field(default_factory=dict)

    def at(self, number: int, *moments: Moment) -> Fault | None:
        """The fault of attempt `number`; with `moments`, only if it acts at one of them."""
        fault = self.faults.get(number, self.rest)
        return fault if fault is None or not moments or fault.moment in moments else None

    @property
    def all(self) -> tuple[Fault, ...]:
        """Every fault in it, in order."""
        rest = () if self.rest is None else (self.rest,)
        return (*self.faults.values(), *rest, *self.steps.values())


def once(fault: Fault) -> Schedule:
    """`fault` at the first attempt."""
    return Schedule({1: fault})


def times(count: int, fault: Fault) -> Schedule:
    """`fault` at the first `count` attempts."""
    return Schedule(dict.fromkeys(range(1, count + 1), fault))


def always(fault: Fault) -> Schedule:
    """`fault` at every attempt."""
    return Schedule(rest=fault)


# --- no connection ---------------------------------------------------------------------------


def dns() -> Fault:
    """The host is `*.invalid`, which no resolver may know (RFC 6761, section 6.4)."""
    return Fault("unknown name", Action.UNKNOWN_NAME, Moment.NAME, Faithful.KERNEL, row=1)


def slow_dns(seconds: float) -> Fault:
    """The look-up is held up in this process, before the resolver is asked: no resolver is slow on demand."""
    return Fault("slow name", Action.SLOW_NAME, Moment.NAME, Faithful.SIMULATED, gap=seconds, row=2)


def servfail() -> Fault:
    """
    The look-up fails for now (`EAI_AGAIN`, what a resolver makes of SERVFAIL), raised in this process
    before the resolver is asked: no name server fails on demand.
    """
    return Fault("name server fails", Action.NO_NAME_SERVER, Moment.NAME, Faithful.SIMULATED, row=2)


def refuse() -> Fault:
    """The port is taken, so that nobody else can take it, and nobody listens on it."""
    return Fault("refused", Action.REFUSE, Moment.CONNECT, Faithful.KERNEL, row=3)


def syn_unanswered() -> Fault:
    """The listener's backlog is full: Linux drops the SYN, others refuse it."""
    return Fault("SYN unanswered", Action.IGNORE, Moment.CONNECT, Faithful.KERNEL, platform="linux", row=4)


def tls_plaintext() -> Fault:
    """A server that speaks HTTP where TLS is expected."""
    return Fault("plain text on the TLS port", Action.PLAIN_TEXT, Moment.HANDSHAKE, row=5)


def tls_untrusted() -> Fault:
    """A certificate for the right host by an authority nobody knows, made for this run."""
    return Fault("untrusted certificate", Action.UNTRUSTED, Moment.HANDSHAKE, row=6)


def tls_expired() -> Fault:
    """A certificate by an authority that the client trusts, expired last year."""
    return Fault("expired certificate", Action.EXPIRED, Moment.HANDSHAKE, row=6)


def tls_wrong_host() -> Fault:
    """A certificate by an authority that the client trusts, for another host."""
    return Fault("another host's certificate", Action.WRONG_HOST, Moment.HANDSHAKE, row=6)


def tls_close() -> Fault:
    """The client's hello is read, and the connection is closed without a word."""
    return Fault("closed in the TLS handshake", Action.FIN, Moment.HANDSHAKE, Faithful.KERNEL, row=5)


def tls_stall() -> Fault:
    """The client's hello is read and never answered."""
    return Fault("TLS handshake stalls", Action.SILENCE, Moment.HANDSHAKE, row=5)


# --- sent, nothing back ----------------------------------------------------------------------


def fin_before_answer() -> Fault:
    """The request is read; the connection is closed without a byte."""
    return Fault("FIN, no answer", Action.FIN, Moment.REQUEST, Faithful.KERNEL, row=8)


def rst_before_answer() -> Fault:
    """The request is read; the connection is reset (`SO_LINGER` 0)."""
    return Fault("RST, no answer", Action.RST, Moment.REQUEST, Faithful.KERNEL, row=9)


def silence() -> Fault:
    """The request is read; nothing happens until the client gives up."""
    return Fault("silence", Action.SILENCE, Moment.REQUEST, Faithful.KERNEL, row=7)


def fin_on_reuse() -> Fault:
    """The second request of a kept connection is read; then it is closed."""
    return Fault(
        "FIN on a reused connection", Action.FIN, Moment.REQUEST, Faithful.KERNEL, reused_only=True, row=28
    )


def idle_close() -> Fault:
    """The answer is passed on whole; the connection is closed before it is used again."""
    return Fault("closed while idle", Action.FIN, Moment.IDLE, Faithful.KERNEL, row=27)


def lose_answer(by: Action = Action.FIN) -> Fault:
    """
    The service does what it was asked and answers; the answer never arrives.

    Args:
        by: FIN, RST or SILENCE.
    """
    how = {Action.FIN: "FIN", Action.RST: "RST", Action.SILENCE: "silence"}[by]
    return Fault(f"answer lost after commit, {how}", by, Moment.ANSWERED, Faithful.KERNEL, row=29)


def late_answer() -> Fault:
    """The service does what it was asked; its answer is sent when the client has given up."""
    return Fault("answer after the client left", Action.LATE, Moment.ANSWERED, Faithful.KERNEL, row=30)


def crash_at_work() -> Fault:
    """The service's process is killed (SIGKILL) while it works on the request; another takes its place."""
    return Fault("service killed at work", Action.CRASH, Moment.WORK, Faithful.KERNEL, row=31)


def crash_after_commit() -> Fault:
    """The service does what it was asked; its process is killed, and the answer never arrives."""
    return Fault("service killed after commit", Action.CRASH, Moment.ANSWERED, Faithful.KERNEL, row=31)


# --- damaged answers -------------------------------------------------------------------------


def garbage() -> Fault:
    """Bytes that are no HTTP, then the end."""
    body = b"\x16\x03\x01 220 smtp.example ESMTP ready\r\n\r\n"
    return Fault("not HTTP", Action.GARBAGE, Moment.REQUEST, body=body, row=11)


def bad_status_line() -> Fault:
    """An answer whose status is no number, otherwise in order; then the end."""
    body = b"HTTP/1.1 OK 200\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    return Fault("bad status line", Action.GARBAGE, Moment.REQUEST, body=body, row=11)


def cut_in_headers(by: Action = Action.FIN) -> Fault:
    """The service's answer stops in the middle of a header line."""
    return Fault("cut in the headers", by, Moment.HEADERS, row=10)


def cut_body(after_bytes: int | None = None, by: Action = Action.FIN) -> Fault:
    """
    The service's answer has its Content-Length and stops before it.

    Args:
        after_bytes: Bytes of body passed on; None for half.
        by: FIN or RST.
    """
    row = 14 if by is Action.RST else 13
    return Fault(f"body cut, {by.name}", by, Moment.BODY, after_bytes=after_bytes, row=row)


def cut_chunked(after_bytes: int | None = None) -> Fault:
    """The service's answer in chunks, without the last one."""
    return Fault("chunks cut", Action.FIN, Moment.BODY, after_bytes=after_bytes, chunked=True, row=15)


def bad_chunk(after_bytes: int | None = None) -> Fault:
    """The service's answer in chunks, the second with a length that is no number."""
    return Fault(
        "bad chunk length", Action.BAD_CHUNK, Moment.BODY, after_bytes=after_bytes, chunked=True, row=15
    )


def cut_until_close() -> Fault:
    """The service's answer without a length, as HTTP/1.0 had it: half of it, then the end."""
    return Fault("cut, no length announced", Action.FIN, Moment.BODY, until_close=True, row=16)


def stall() -> Fault:
    """The service's answer stops in the middle of its body, and the connection stays."""
    return Fault("body stalls", Action.SILENCE, Moment.BODY, Faithful.KERNEL, row=17)


def large_header() -> Fault:
    """The service's answer with one header of 200 kB more."""
    return Fault("200 kB header", Action.LARGE_HEADER, Moment.HEADERS, row=12)


def large_body() -> Fault:
    """An answer that announces a gigabyte, and begins to send it."""
    return Fault("body of 1 GB announced", Action.LARGE_BODY, Moment.HEADERS, row=22)


def endless_body() -> Fault:
    """An answer in chunks that goes on until the client ends the connection."""
    return Fault("body without end", Action.ENDLESS, Moment.HEADERS, row=22)


def inflated_body() -> Fault:
    """An answer in chunks whose 80 kB are 80 MB when the compression is undone."""
    return Fault("80 kB that are 80 MB", Action.INFLATE, Moment.HEADERS, row=22)


def cut_gzip() -> Fault:
    """The service's answer compressed, half of it, with the Content-Length of that half."""
    return Fault("compressed body cut", Action.CUT_GZIP, Moment.HEADERS, row=19)


def bad_gzip() -> Fault:
    """The service's answer compressed, some bytes of it turned over."""
    return Fault("compressed body damaged", Action.BAD_GZIP, Moment.HEADERS, row=19)


def replaced(body: bytes, content_type: str = "application/json", *, name: str) -> Fault:
    """
    The service does what it was asked; its status arrives with another body.

    Args:
        body: What arrives instead.
        content_type: What it says it is.
        name: For tables.
    """
    headers = {"Content-Type": content_type}
    row = 21 if content_type == "application/json" else 20
    return Fault(name, Action.REPLACE, Moment.HEADERS, headers=headers, body=body, row=row)


# --- surprises on the connection -------------------------------------------------------------


def early_hints() -> Fault:
    """`103 Early Hints` (RFC 8297) before the service's answer."""
    headers = {"Link": "</style.css>; rel=preload"}
    return Fault("103 before the answer", Action.INTERIM, Moment.HEADERS, status=103, headers=headers, row=23)


def unasked_continue() -> Fault:
    """`100 Continue` to a client that did not wait for it (RFC 9110, section 15.2.1), before the answer."""
    return Fault("100, unasked", Action.INTERIM, Moment.HEADERS, status=100, row=23)


def unasked_upgrade() -> Fault:
    """`101 Switching Protocols` to a client that asked for none."""
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    return Fault("101, unasked", Action.ANSWER, Moment.REQUEST, status=101, headers=headers, row=23)


def answered_twice() -> Fault:
    """The service's answer, and at once the same again: whoever keeps the connection reads it next."""
    return Fault("answer sent twice", Action.TWICE, Moment.HEADERS, row=25)


def trailing_bytes() -> Fault:
    """The service's answer, and twenty bytes more than its Content-Length says."""
    return Fault("more bytes than announced", Action.TRAILING, Moment.HEADERS, row=26)


def drip(gap: float, pieces: int = 20) -> Fault:
    """The service's answer in `pieces`, `gap` seconds before each."""
    return Fault("drip", Action.DRIP, Moment.BODY, pieces=pieces, gap=gap, row=18)


# --- a gateway in front ----------------------------------------------------------------------

_REASONS = {429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway",
            503: "Service Unavailable", 504: "Gateway Timeout"}  # fmt: skip


def answer(
    status: int,
    headers: Mapping[str, str] | None = None,
    *,
    name: str = "",
    retry_date: float | None = None,
    clock_skew: float = 0.0,
) -> Fault:
    """
    A gateway in front answers by itself; the service is not asked.

    Only for what a gateway does in production: limits, and errors of its own.

    Args:
        status: 429 or 5xx.
        headers: Beside `Content-Type`, `Content-Length` and `Date`.
        name: For tables; by default the status and the value of `Retry-After`.
        retry_date: Seconds from now: sends `Retry-After` as a date.
        clock_skew: Seconds by which the gateway's clock is ahead of this machine's.
    """
    kept = dict(headers or {})
    hint = next((f", Retry-After: {v}" for n, v in kept.items() if n.lower() == "retry-after"), "")
    page = f"<html><head><title>{status} {_REASONS.get(status, 'Error')}</title></head></html>\n"
    return Fault(
        name or f"{status} from a gateway{hint}",
        Action.ANSWER,
        Moment.REQUEST,
        status=status,
        headers=kept,
        body=page.encode(),
        retry_date=retry_date,
        clock_skew=clock_skew,
        row=36 if clock_skew else 35 if status == 429 else 37,
    )


def redirect(status: int, leads_to: str = "self") -> Fault:
    """
    A gateway in front sends the client elsewhere; the service is not asked.

    Args:
        status: 300 to 308.
        leads_to: "self" for the same address, "elsewhere" for another origin on this machine, "" for
            nowhere: there is no `Location`.
    """
    where = {"self": "to itself", "elsewhere": "to another origin", "": "to nowhere"}[leads_to]
    return Fault(
        f"{status} {where}",
        Action.ANSWER,
        Moment.REQUEST,
        status=status,
        leads_to=leads_to,
        body=b"moved\n",
        row=24,
    )


def see_other() -> Fault:
    """
    The service does what it was asked; a 303 says where to look at it (RFC 9110, section 15.4.4).
    """
    headers = {"Location": "/elsewhere"}
    return Fault("303, done", Action.REPLACE, Moment.HEADERS, status=303, headers=headers, row=24)


def outage(seconds: float, status: int = 503, headers: Mapping[str, str] | None = None) -> Fault:
    """
    A gateway answers in the service's place for `seconds` from the first request on; then it does no more.

    Args:
        seconds: How long, from when the fault first acts on an operation.
        status: 503 for an outage, 429 for a quota that is spent until its window ends.
        headers: Beside `Content-Type`, `Content-Length` and `Date`, such as `Retry-After`.
    """
    name = f"{status} for {seconds:g} s"
    return replace(answer(status, headers, name=name), lasts=seconds, row=37)


# --- streams of events -----------------------------------------------------------------------

HOW = {Action.FIN: "FIN", Action.RST: "RST", Action.SILENCE: "silence", Action.END: "an orderly end"}


def cut_stream(events: int, by: Action = Action.FIN, *, insert: bytes = b"", name: str = "") -> Fault:
    """
    The service's stream stops between two events.

    Args:
        events: Events passed on before.
        by: FIN, RST, SILENCE, or END: the last chunk follows, as after an answer that is complete.
        insert: Bytes put into the stream before it stops.
        name: For tables.
    """
    said = name or f"stream cut after event {events}, {HOW[by]}"
    faithful = Faithful.PROTOCOL if by is Action.END or insert else Faithful.KERNEL
    row = 33 if by is Action.SILENCE or insert else 32
    return Fault(said, by, Moment.EVENT, faithful, events=events, insert=insert, row=row)


def cut_event(events: int, by: Action = Action.FIN) -> Fault:
    """The service's stream stops in the middle of an event; `events` and `by` as for `cut_stream`."""
    said = f"event {events + 1} of a stream cut, {HOW[by]}"
    faithful = Faithful.PROTOCOL if by is Action.END else Faithful.KERNEL
    row = 33 if by is Action.SILENCE else 32
    return Fault(said, by, Moment.IN_EVENT, faithful, events=events, row=row)


def cut_character(events: int) -> Fault:
    """The service's stream stops behind the first byte of a character of several, after `events` or more."""
    return Fault(
        "character of a stream cut", Action.FIN, Moment.IN_CHARACTER, Faithful.KERNEL, events=events, row=32
    )


def cut_line_end(events: int, *, blank: bool = False) -> Fault:
    """
    A gateway ends the stream's lines with CRLF, and the stream stops between the two.

    Args:
        events: Events passed on before.
        blank: Whether at the empty line that ends an event, instead of at the last of its own lines.
    """
    where = "the empty line's CR and LF" if blank else "CR and LF"
    moment = Moment.IN_BLANK_LINE if blank else Moment.IN_LINE_END
    return Fault(f"stream cut between {where}", Action.FIN, moment, events=events, row=32)


def told_again() -> Fault:
    """The service's stream from its first event on, whatever the client has seen of it."""
    return Fault("stream told from its beginning", Action.REPLAY, Moment.EVENT, row=33)


def refused(status: int) -> Fault:
    """
    A gateway in front refuses by itself, as one that knows keys or what is gone; the service is not asked.

    Args:
        status: 204, 401 or 410.
    """
    body = b"" if status == 204 else b'{"error": {"message": "refused"}}'
    headers = {} if status == 204 else {"Content-Type": "application/json"}
    return Fault(
        f"{status} from a gateway",
        Action.ANSWER,
        Moment.REQUEST,
        status=status,
        headers=headers,
        body=body,
        row=33,
    )


def renumbered(events: int) -> Fault:
    """The service's stream; after `events` of them, the ids begin again."""
    return Fault("ids begin again", Action.RENUMBER, Moment.EVENT, events=events, row=33)


# --- uploads in parts ------------------------------------------------------------------------


def acknowledged(status: int = 200) -> Fault:
    """A gateway says that all is well, and the service never gets what was sent."""
    headers = {"Content-Type": "application/json"}
    return Fault(
        f"{status} for what never arrived", Action.ANSWER, Moment.REQUEST,
        status=status, headers=headers, body=b"{}", row=34,
    )  # fmt: skip


def tampered(*, consistent: bool = False) -> Fault:
    """
    Some bytes of what is sent are turned over on the way.

    Args:
        consistent: Whether it gets a digest that fits, as from a gateway that writes its own.
    """
    said = "body damaged, its digest made to fit" if consistent else "body damaged on the way"
    return Fault(said, Action.TAMPER, Moment.ON_ITS_WAY, consistent=consistent, row=34)


def forgotten_upload() -> Fault:
    """Somebody gives the upload up, by the service's own means, before the request reaches it."""
    return Fault("upload given up meanwhile", Action.FORGET, Moment.ON_ITS_WAY, row=34)
