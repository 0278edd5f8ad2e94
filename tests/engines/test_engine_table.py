"""Every way an attempt can break, over real sockets, for every engine: what it says of it."""

from __future__ import annotations

import asyncio
import ssl
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpcore2
import pytest
from engine_carriers import Carrier
from wire_faults import (
    BODY,
    Behaviour,
    Certificates,
    Faults,
    answer,
    closed_port,
    full_backlog,
    gzipped,
    reset,
    says,
)

from failwell.call.messages import Broken, Phase, Reason, Response, Send
from failwell.engines.base import Connections
from failwell.engines.network import AsyncioNetwork
from failwell.engines.wire import Wire

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
Make = Callable[..., Send]


def cause_family(engine: str) -> type[BaseException]:
    """What `Broken.cause` is an instance of, for each engine."""
    if engine == "aiohttp":
        import aiohttp

        return aiohttp.ClientError
    if engine == "pyreqwest":
        import pyreqwest.exceptions

        return pyreqwest.exceptions.PyreqwestError
    import httpx2

    return httpx2.HTTPError


def assert_broken(
    result: Response | Broken,
    engine: str,
    phase: Phase,
    reason: Reason,
    family: type[BaseException] | None = None,
) -> Broken:
    assert isinstance(result, Broken), result
    assert (phase, reason) == (result.phase, result.reason), repr(result.cause)
    assert isinstance(result.cause, (family or cause_family(engine), TimeoutError))
    seen: list[Any] = [result.cause]
    while seen:
        each = seen.pop()
        assert each.__traceback__ is None
        assert "s3cr3t" not in f"{each!r} {vars(each)!r}"
        seen += [e for e in (each.__cause__, each.__context__) if e is not None]
    return result


@dataclass
class Row:
    """One fault: what the server does after reading a request, and what must be said of it."""

    name: str
    behave: Behaviour
    phase: Phase
    reason: Reason
    status: int | None = None
    received: int | None = None
    expected: int | None = None
    requests: int = 1
    connections: Connections = field(default_factory=Connections)
    timeouts: dict[str, float] = field(default_factory=dict)
    # Engines that cannot tell so exactly, and what they say instead.
    otherwise: dict[str, dict[str, Any]] = field(default_factory=dict)


def drip(server: Faults, connection: Any, number: int) -> None:
    server.read(connection)
    connection.sendall(HEAD + b"content-length: 1000\r\n\r\n")
    while not server.over.wait(0.05):
        connection.sendall(b"x")


def drip_head(server: Faults, connection: Any, number: int) -> None:
    server.read(connection)
    connection.sendall(HEAD)
    while not server.over.wait(0.05):
        connection.sendall(b"x-drip: 1\r\n")


def endless_head(server: Faults, connection: Any, number: int) -> None:
    server.read(connection)
    connection.sendall(HEAD)
    while not server.over.is_set():
        connection.sendall(b"x-more: " + b"y" * 1000 + b"\r\n")


def endless_body(server: Faults, connection: Any, number: int) -> None:
    server.read(connection)
    connection.sendall(CHUNKED)
    while not server.over.is_set():
        connection.sendall(b"400\r\n" + b"z" * 1024 + b"\r\n")


def rst_at_once(server: Faults, connection: Any, number: int) -> None:
    server.read(connection)
    reset(connection)


SMALL = Connections(max_body_bytes=10_000, max_header_bytes=8_000)
TRUNCATED = gzipped(BODY * 20)[:-12]
CORRUPT = gzipped(BODY)[:12] + b"\xff\xff\xff\xff" + gzipped(BODY)[16:]

ROWS = [
    Row("RST before the first byte", rst_at_once, Phase.SENT, Reason.RESET),
    Row("FIN before the first byte", says(), Phase.SENT, Reason.CLOSED),
    Row(
        "cut inside the headers by FIN",
        says(HEAD + b"content-le"),
        Phase.SENT,
        Reason.CUT,
        otherwise={"pyreqwest": {"reason": Reason.CLOSED}},
    ),
    Row(
        "cut inside the headers by RST",
        says(HEAD + b"content-le", rst=True),
        Phase.SENT,
        Reason.CUT,
        otherwise={"pyreqwest": {"reason": Reason.RESET}},
    ),
    Row("garbage instead of HTTP", says(b"\x00\x01 what?\r\n\r\n" * 3), Phase.SENT, Reason.NOT_HTTP),
    Row("garbage without a line end", says(b"what do you want"), Phase.SENT, Reason.NOT_HTTP),
    Row(
        "body cut by FIN",
        says(HEAD + b"content-length: 100\r\n\r\n" + BODY),
        Phase.ANSWERED,
        Reason.CUT,
        status=200,
        received=len(BODY),
        expected=100,
        otherwise={"pyreqwest": {"received": 0}},
    ),
    Row(
        "body cut by RST",
        says(HEAD + b"content-length: 100\r\n\r\n" + BODY, rst=True),
        Phase.ANSWERED,
        Reason.CUT,
        status=200,
        received=len(BODY),
        expected=100,
        otherwise={"pyreqwest": {"received": 0}},
    ),
    Row(
        "chunked body cut",
        says(CHUNKED + b"1b\r\n" + BODY + b"\r\n"),
        Phase.ANSWERED,
        Reason.CUT,
        status=200,
        received=len(BODY),
    ),
    Row(
        "bad chunk size",
        says(CHUNKED, 0.1, b"zz\r\n" + BODY + b"\r\n"),
        Phase.ANSWERED,
        Reason.NOT_HTTP,
        status=200,
        otherwise={"pyreqwest": {"status": None}},
    ),
    Row("silence", says(stay=True), Phase.SENT, Reason.READ_TIMEOUT, timeouts={"read": 0.3}),
    Row(
        "silence until the deadline",
        says(stay=True),
        Phase.SENT,
        Reason.DEADLINE,
        timeouts={"seconds": 0.4},
    ),
    Row(
        "silence inside the body",
        says(HEAD + b"content-length: 100\r\n\r\n" + BODY, stay=True),
        Phase.ANSWERED,
        Reason.READ_TIMEOUT,
        status=200,
        received=len(BODY),
        expected=100,
        timeouts={"read": 0.3},
        otherwise={"pyreqwest": {"received": 0}},
    ),
    Row(
        "a body that drips past the deadline",
        drip,
        Phase.ANSWERED,
        Reason.DEADLINE,
        status=200,
        expected=1000,
        timeouts={"read": 5.0, "seconds": 0.6},
    ),
    Row(
        "headers that drip past the deadline",
        drip_head,
        Phase.SENT,
        Reason.DEADLINE,
        timeouts={"read": 5.0, "seconds": 0.6},
    ),
    Row(
        "truncated gzip",
        says(answer(TRUNCATED, "200 OK", "content-encoding: gzip")),
        Phase.ANSWERED,
        Reason.ENCODING,
        status=200,
        received=len(TRUNCATED),
        expected=len(TRUNCATED),
    ),
    Row(
        "corrupt gzip",
        says(answer(CORRUPT, "200 OK", "content-encoding: gzip")),
        Phase.ANSWERED,
        Reason.ENCODING,
        status=200,
        received=len(CORRUPT),
        expected=len(CORRUPT),
    ),
    Row(
        "body too large, as declared",
        says(answer(b"x" * 20_000)),
        Phase.ANSWERED,
        Reason.TOO_LARGE,
        status=200,
        expected=20_000,
        connections=SMALL,
    ),
    Row(
        "body too large, not declared",
        endless_body,
        Phase.ANSWERED,
        Reason.TOO_LARGE,
        status=200,
        connections=SMALL,
    ),
    Row(
        "body too large once its encoding is undone",
        says(answer(gzipped(b"x" * 20_000), "200 OK", "content-encoding: gzip")),
        Phase.ANSWERED,
        Reason.TOO_LARGE,
        status=200,
        connections=SMALL,
    ),
    Row("headers without an end", endless_head, Phase.SENT, Reason.TOO_LARGE, connections=SMALL),
    Row(
        "an upgrade nobody asked for",
        says(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", stay=True),
        Phase.SENT,
        Reason.NOT_HTTP,
        otherwise={name: {"phase": Phase.ANSWERED, "status": 101} for name in ("aiohttp", "pyreqwest")},
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_broken_attempt_is_told_by_what_crossed_the_wire(row: Row, carrier: Carrier, order: Make) -> None:
    """
    Phase, reason, status, bytes and cause are those of the fault; the server was asked once.
    """
    with Faults(row.behave) as server:
        (result,) = carrier(order(server.url, **row.timeouts), connections=row.connections)

    row = replace(row, **row.otherwise.get(carrier.engine, {}))
    broken = assert_broken(result, carrier.engine, row.phase, row.reason)
    assert row.requests == len(server.requests)
    assert row.status == broken.status
    if row.received is not None:
        assert row.received == broken.received
    if row.expected is not None:
        assert row.expected == broken.expected


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_idempotent_request_is_not_replayed_behind_our_back(
    method: str, carrier: Carrier, order: Make
) -> None:
    """
    The connection ends without an answer: fresh, and after an answered request. The server
    counts one request for each order.
    """

    def behave(server: Faults, connection: Any, number: int) -> None:
        server.read(connection)
        if number == 1:
            return
        connection.sendall(answer())
        server.read(connection)

    with Faults(behave) as server:
        first, second, third = carrier(*(order(server.url, method) for _ in range(3)))

    assert_broken(first, carrier.engine, Phase.SENT, Reason.CLOSED)
    assert isinstance(second, Response)
    assert_broken(third, carrier.engine, Phase.SENT, Reason.CLOSED)
    assert len(server.requests) == 3


def test_a_name_without_an_address_is_dns(carrier: Carrier, order: Make) -> None:
    """
    RFC 6761 reserves `.invalid`; without a network the look-up fails another way, with the same reason.
    """
    (result,) = carrier(order("http://nowhere.invalid/v1/things"))

    assert_broken(result, carrier.engine, Phase.NOT_SENT, Reason.DNS)


def test_a_closed_port_is_refused(carrier: Carrier, order: Make) -> None:
    with closed_port() as port:
        (result,) = carrier(order(f"http://127.0.0.1:{port}/v1/things"))

    assert_broken(result, carrier.engine, Phase.NOT_SENT, Reason.REFUSED)


def phase_while_connecting(carrier: Carrier, reason: Reason) -> Phase:
    """pyreqwest does not say whether a deadline found it connecting: then it may have been sent."""
    unsure = carrier.engine == "pyreqwest" and reason is Reason.DEADLINE
    return Phase.SENT if unsure else Phase.NOT_SENT


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux leaves a SYN unanswered when a backlog is full"
)
@pytest.mark.parametrize("limit", ["connect", "seconds"])
def test_an_unanswered_syn_is_a_connect_timeout(limit: str, carrier: Carrier, order: Make) -> None:
    """
    It ends at the connect timeout, or at the deadline if that is earlier, and says which.
    """
    with full_backlog() as port:
        began = time.monotonic()
        (result,) = carrier(order(f"http://127.0.0.1:{port}/", **{limit: 0.3}))

    reason = Reason.CONNECT_TIMEOUT if limit == "connect" else Reason.DEADLINE
    assert_broken(result, carrier.engine, phase_while_connecting(carrier, reason), reason)
    assert 0.25 < time.monotonic() - began < 5.0


def plaintext(server: Faults, connection: Any, number: int) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")


def hang_up(server: Faults, connection: Any, number: int) -> None:
    connection.recv(65536)


def hang_up_with_rst(server: Faults, connection: Any, number: int) -> None:
    connection.recv(65536)
    reset(connection)


def hang_up_half_way(server: Faults, connection: Any, number: int) -> None:
    """Cut the server's part of the handshake in the middle."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = Certificates().server().wrap_bio(coming, going, server_side=True)
    coming.write(connection.recv(65536))
    with pytest.raises(ssl.SSLWantReadError):
        server_side.do_handshake()
    hello = going.read()
    connection.sendall(hello[: len(hello) // 2])


def alert(level: int, what: int) -> Behaviour:
    """Answer the client's hello with an alert of TLS. RFC 8446, section 6."""

    def behave(server: Faults, connection: Any, number: int) -> None:
        connection.recv(65536)
        connection.sendall(bytes([21, 3, 3, 0, 2, level, what]))

    return behave


def stall(server: Faults, connection: Any, number: int) -> None:
    while connection.recv(65536):
        pass


@pytest.mark.parametrize(
    ("behave", "limits", "reason"),
    [
        pytest.param(plaintext, {}, Reason.TLS, id="plaintext"),
        pytest.param(alert(2, 40), {}, Reason.TLS, id="handshake_failure"),
        pytest.param(alert(2, 70), {}, Reason.TLS, id="protocol_version"),
        pytest.param(hang_up, {}, Reason.TLS_CLOSED, id="hang up"),
        pytest.param(hang_up_with_rst, {}, Reason.TLS_CLOSED, id="hang up with RST"),
        pytest.param(hang_up_half_way, {}, Reason.TLS_CLOSED, id="hang up half-way"),
        pytest.param(alert(1, 0), {}, Reason.TLS_CLOSED, id="close_notify"),
        pytest.param(stall, {"connect": 0.3}, Reason.CONNECT_TIMEOUT, id="stall"),
        pytest.param(stall, {"seconds": 0.3}, Reason.DEADLINE, id="stall until the deadline"),
    ],
)
def test_a_handshake_that_fails_sent_nothing(
    behave: Behaviour, limits: dict[str, float], reason: Reason, carrier: Carrier, order: Make
) -> None:
    """
    A connection that ended may hold the next time; what TLS found wrong stays wrong.
    """
    with Faults(behave) as server:
        (result,) = carrier(order(f"https://127.0.0.1:{server.port}/", **limits))

    assert_broken(result, carrier.engine, phase_while_connecting(carrier, reason), reason)


@pytest.mark.parametrize("told", [False, True], ids=["as it is noticed", "once it is told"])
def test_tls_is_not_begun_on_a_connection_that_ended(told: bool, order: Make) -> None:
    """
    asyncio would wait for an answer to its hello until the connect timeout.
    """
    connected = threading.Event()

    def behave(server: Faults, connection: Any, number: int) -> None:
        connected.wait(20.0)
        reset(connection)

    async def main(server: Faults) -> Wire:
        wire = Wire(order(server.url), 1, 1000)
        stream: Any = await AsyncioNetwork().connect_tcp("127.0.0.1", server.port, wire)
        connected.set()
        while not (stream._incoming.gone if told else stream._transport.is_closing()):
            await asyncio.sleep(0)
        with pytest.raises(httpcore2.ConnectError):
            await stream.start_tls(ssl.create_default_context(), "127.0.0.1", wire)
        return wire

    with Faults(behave) as server:
        assert asyncio.run(main(server)).reason is Reason.TLS_CLOSED


def test_an_untrusted_certificate_has_a_reason_of_its_own(
    carrier: Carrier, order: Make, certificates: Certificates
) -> None:
    with Faults(says(answer()), certificates.server()) as server:
        (result,) = carrier(order(server.url))

    assert_broken(result, carrier.engine, Phase.NOT_SENT, Reason.TLS_UNTRUSTED)
    assert not server.requests


def test_a_url_nobody_can_ask_is_a_bad_url(carrier: Carrier, order: Make) -> None:
    """
    No scheme, another scheme, no host, a port that is none; what is secret in it is not repeated.
    """
    urls = ["things", "ftp://127.0.0.1/", "http://", "http://user:s3cr3t@127.0.0.1:port/"]
    for result in carrier(*map(order, urls)):
        assert_broken(result, carrier.engine, Phase.NOT_SENT, Reason.BAD_URL)


def test_an_order_whose_deadline_has_passed_is_not_sent(carrier: Carrier, order: Make) -> None:
    with Faults(says(answer())) as server:
        (result,) = carrier(order(server.url, seconds=-1.0))

    assert_broken(result, carrier.engine, Phase.NOT_SENT, Reason.DEADLINE)
    assert not server.requests


def test_a_deadline_spares_what_is_quick(carrier: Carrier, order: Make) -> None:
    """
    The answer, its repeated headers and its URL arrive; the request carried what was ordered.
    """
    with Faults(says(answer(BODY, "201 Created", "x-a: 1", "x-a: 2"), each=True)) as server:
        first, second = carrier(
            order(f"{server.url}?q=a%20b", headers={"Idempotency-Key": "k1"}), order(server.url, "GET")
        )

    assert isinstance(first, Response)
    assert isinstance(second, Response)
    assert (first.status, first.content, first.headers["x-a"]) == (201, BODY, "1, 2")
    assert f"{server.url}?q=a%20b" == first.url
    post, get = server.requests
    head, _, body = post.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert head.startswith(b"POST /v1/things?q=a%20b HTTP/1.1")
    assert body == b'{"a": 1}'
    for line in (
        b"host: 127.0.0.1:%d" % server.port,
        b"idempotency-key: k1",
        b"content-length: 8",
        b"accept-encoding: gzip, deflate",
        b"content-type: application/json",
    ):
        assert lines.count(line) == 1, lines
    assert not [line for line in lines if line.startswith((b"cookie", b"transfer-encoding"))]
    assert get.startswith(b"GET /v1/things HTTP/1.1")
    assert server.connections == 1


def test_a_wrong_content_type_is_an_answer(carrier: Carrier, order: Make) -> None:
    page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>"
    with Faults(says(page)) as server:
        (result,) = carrier(order(server.url))

    assert isinstance(result, Response)
    assert (result.status, result.content, result.headers["content-type"]) == (200, b"<html>", "text/html")


@pytest.mark.parametrize(
    "coded",
    [
        pytest.param((gzipped(BODY), "gzip"), id="gzip"),
        pytest.param((gzipped(BODY[:9]) + gzipped(BODY[9:]), "x-gzip"), id="gzip of two members"),
        pytest.param((zlib.compress(BODY), "deflate"), id="deflate"),
        pytest.param((zlib.compress(BODY)[2:-4], "Deflate"), id="deflate without its header"),
        pytest.param((gzipped(zlib.compress(BODY)), "deflate, gzip"), id="both"),
        pytest.param((BODY, "identity"), id="identity"),
    ],
)
def test_a_content_encoding_is_undone(coded: tuple[bytes, str], carrier: Carrier, order: Make) -> None:
    body, coding = coded
    with Faults(says(answer(body, "200 OK", f"content-encoding: {coding}"))) as server:
        (result,) = carrier(order(server.url))

    assert isinstance(result, Response)
    assert result.content == BODY


def test_a_coding_that_was_not_asked_for_is_refused(carrier: Carrier, order: Make) -> None:
    with Faults(says(answer(BODY, "200 OK", "content-encoding: br"))) as server:
        (result,) = carrier(order(server.url))

    assert_broken(result, carrier.engine, Phase.ANSWERED, Reason.ENCODING)


@pytest.mark.parametrize("second", ["whole", "part", "chunked", "late"])
def test_a_second_answer_is_not_taken_for_the_next(second: str, carrier: Carrier, order: Make) -> None:
    """
    A server sends more than one answer on a kept-alive connection: at once, cut off in the
    middle, or a moment later. The next request gets its own, once.
    """
    stale = answer(b'{"stale": true}')

    def behave(server: Faults, connection: Any, number: int) -> None:
        while server.read(connection):
            if second == "late":
                connection.sendall(answer())
                server.over.wait(0.1)
                connection.sendall(stale)
            elif second == "chunked":
                piece = b"transfer-encoding: chunked\r\n\r\n1b\r\n" + BODY + b"\r\n0\r\n\r\n"
                connection.sendall(HEAD + piece + HEAD + piece.replace(b"true", b"null"))
            else:
                connection.sendall(answer() + (stale if second == "whole" else stale[:30]))

    with Faults(behave) as server:
        results = carrier(order(server.url), 0.25, order(server.url), 0.25, order(server.url))

    assert [r.content for r in results if isinstance(r, Response)] == [BODY] * 3, results
    assert len(server.requests) == 3


def test_a_length_beside_a_transfer_coding_cuts_nothing(carrier: Carrier, order: Make) -> None:
    """
    RFC 9112, section 6.3: the coding overrides the length, or the answer is refused.
    """
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
    with Faults(says(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))) as server:
        (result,) = carrier(order(server.url))

    if isinstance(result, Response):
        assert result.content == BODY
    else:
        assert result.reason is Reason.NOT_HTTP


def test_a_body_cut_in_tls_is_cut(carrier: Carrier, order: Make, certificates: Certificates) -> None:
    """
    The connection ends without the alert by which TLS says that it ends.
    """
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n"
    with Faults(says(head + BODY), certificates.server()) as server:
        (result,) = carrier(order(server.url), connections=Connections(verify=False))

    assert isinstance(result, Broken)
    assert (result.phase, result.reason) == (Phase.ANSWERED, Reason.CUT)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", id="103"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="100"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3, id="103 three times"),
    ],
)
def test_an_interim_answer_is_passed_over(before: bytes, carrier: Carrier, order: Make) -> None:
    with Faults(says(before, 0.05, answer(), each=True)) as server:
        results = carrier(order(server.url), order(server.url))

    assert [getattr(r, "status", r) for r in results] == [200, 200]
    assert len(server.requests) == 2


def test_a_redirect_is_an_answer(carrier: Carrier, order: Make) -> None:
    """
    The other host is not asked, and so does not see the credentials.
    """
    with Faults(says(answer())) as other:
        there = f"location: http://localhost:{other.port}/v1/elsewhere"
        with Faults(says(answer(b"", "307 Temporary Redirect", there))) as server:
            (result,) = carrier(order(server.url))

    assert isinstance(result, Response)
    assert result.status == 307
    assert f"http://localhost:{other.port}/v1/elsewhere" == result.headers["location"]
    assert len(server.requests) == 1
    assert other.connections == 0


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
)
def test_an_answer_without_a_body_is_whole(method: str, status: str, carrier: Carrier, order: Make) -> None:
    """
    A length is announced that does not follow, as HTTP allows; the connection is used again.
    """
    head = f"HTTP/1.1 {status}\r\ncontent-length: 20000\r\n\r\n".encode()
    with Faults(says(head, each=True)) as server:
        results = carrier(
            order(server.url, method, content=None),
            order(server.url, method, content=None),
            connections=SMALL,
        )

    assert [int(status[:3])] * 2 == [getattr(r, "status", r) for r in results]
    assert results[0].content == b""  # type: ignore[union-attr]
    assert len(server.requests) == 2


def test_an_idle_connection_that_the_server_closed_is_replaced(carrier: Carrier, order: Make) -> None:
    """
    Nothing was sent on the old connection, so a POST without a key goes out too, once.
    """
    with Faults(says(answer())) as server:
        results = carrier(order(server.url), 0.3, order(server.url))

    assert [getattr(r, "status", r) for r in results] == [200, 200]
    assert len(server.requests) == 2


def test_the_end_of_a_body_without_a_length_is_its_end(carrier: Carrier, order: Make) -> None:
    """
    HTTP has no way to tell whether it was cut: it counts as whole.
    """
    with Faults(says(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)) as server:
        (result,) = carrier(order(server.url))

    assert isinstance(result, Response)
    assert result.content == BODY


def test_a_large_body_arrives_and_leaves(carrier: Carrier, order: Make) -> None:
    """
    Two megabytes each way: more than any buffer takes in one piece.
    """
    sent, got = b"s" * 2_000_000, b"g" * 2_000_000
    with Faults(says(answer(got), each=True)) as server:
        (result,) = carrier(order(server.url, content=sent))

    assert isinstance(result, Response)
    assert got == result.content
    assert server.requests[0].endswith(b"\r\n\r\n" + sent)


def test_an_early_answer_to_a_large_body_is_read(httpx_carrier: Carrier, order: Make) -> None:
    """
    A server may refuse a request before it has read it whole, and then hang up.
    """

    def behave(server: Faults, connection: Any, number: int) -> None:
        connection.recv(1000)
        connection.sendall(answer(b"{}", "413 Content Too Large", "connection: close"))
        server.over.wait(0.2)

    with Faults(behave) as server:
        (result,) = httpx_carrier(order(server.url, content=b"s" * 20_000_000))

    assert isinstance(result, (Response, Broken))
    assert isinstance(result, Broken) or result.status == 413
    assert isinstance(result, Response) or Phase.SENT is result.phase


def test_a_large_head_in_one_piece_is_too_large(carrier: Carrier, order: Make) -> None:
    """
    It arrives whole, and is measured then; pyreqwest has a ceiling of its own, far above.
    """
    with Faults(says(answer(BODY, "200 OK", "x-large: " + "y" * 20_000))) as server:
        (result,) = carrier(order(server.url), connections=SMALL)

    if carrier.engine == "pyreqwest":
        assert isinstance(result, Response)
        return
    broken = assert_broken(result, carrier.engine, getattr(result, "phase", Phase.SENT), Reason.TOO_LARGE)
    assert broken.phase in (Phase.SENT, Phase.ANSWERED)


def test_an_upgrade_that_the_caller_asked_for_is_no_answer_either(carrier: Carrier, order: Make) -> None:
    said = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    with Faults(says(said, stay=True)) as server:
        (result,) = carrier(order(server.url, headers={"upgrade": "x", "connection": "upgrade"}))

    broken = assert_broken(result, carrier.engine, Phase.ANSWERED, Reason.NOT_HTTP)
    assert broken.status == 101


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_write_without_a_body_says_that_it_has_none(method: str, carrier: Carrier, order: Make) -> None:
    with Faults(says(answer())) as server:
        (result,) = carrier(order(server.url, method, content=None))

    assert isinstance(result, Response)
    head = server.requests[0].lower()
    assert head.count(b"content-length: 0\r\n") == 1
    assert b"transfer-encoding" not in head


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("", b"/"),
        ("?a=1", b"/?a=1"),
        ("/a b", b"/a%20b"),
        ("/é?q=ü", b"/%C3%A9?q=%C3%BC"),
        ("/a%2Fb?c=%20d", b"/a%2Fb?c=%20d"),
        ("/a/../b", b"/b"),
        ("/a#fragment", b"/a"),
    ],
    ids=["nothing", "query", "space", "letters", "escaped", "dots", "fragment"],
)
def test_a_url_is_written_as_httpx_writes_it(path: str, sent: bytes, carrier: Carrier, order: Make) -> None:
    with Faults(says(answer())) as server:
        (result,) = carrier(order(f"http://127.0.0.1:{server.port}{path}"))

    assert isinstance(result, Response)
    assert server.requests[0].split(b" ")[1] == sent


def test_a_host_that_no_name_server_could_know_is_dns_or_no_url(carrier: Carrier, order: Make) -> None:
    """
    An empty label, and one that is too long.
    """
    for host in ("a..b", f"{'a' * 70}.invalid"):
        (result,) = carrier(order(f"http://{host}/"))

        assert isinstance(result, Broken)
        assert result.phase is Phase.NOT_SENT
        assert result.reason in (Reason.DNS, Reason.BAD_URL, Reason.UNREACHABLE)


def test_a_client_certificate_that_is_missing_is_a_matter_of_tls(
    httpx_carrier: Carrier, order: Make, certificates: Certificates
) -> None:
    """
    In TLS 1.3 the server says so only after the request was sent.
    """
    context = certificates.server()
    context.verify_mode = ssl.CERT_REQUIRED
    certificates.authority.configure_trust(context)
    with Faults(says(answer()), context) as server:
        (result,) = httpx_carrier(order(server.url), connections=Connections(verify=certificates.client()))

    assert isinstance(result, Broken)
    assert result.phase is not Phase.ANSWERED
    assert result.reason in (Reason.TLS, Reason.RESET, Reason.CLOSED)
    assert not server.requests


@pytest.mark.parametrize("limit", ["write", "seconds"])
def test_a_request_that_nobody_reads_ends_in_time(limit: str, carrier: Carrier, order: Make) -> None:
    """
    Where a write timeout is not told apart (aiohttp, pyreqwest), the deadline ends it.
    """

    def behave(server: Faults, connection: Any, number: int) -> None:
        server.over.wait(15)

    if limit == "write" and carrier.engine != "httpx":
        pytest.skip("it has no write timeout: see docs/engines.md")
    with Faults(behave) as server:
        (result,) = carrier(order(server.url, content=b"s" * 30_000_000, **{limit: 0.4}))

    reason = Reason.WRITE_TIMEOUT if limit == "write" else Reason.DEADLINE
    assert_broken(result, carrier.engine, Phase.SENT, reason)


def test_an_engine_remembers_a_bounded_number_of_urls() -> None:
    """
    Ids in paths must not fill the memory of a client that lives long.
    """
    from failwell.engines.network import Network
    from failwell.engines.pools import Pools

    pools = Pools(Connections(trust_env=False), Network(), awaited=False)
    for number in range(3000):
        url, route = pools.find(f"http://host-{number % 1500}.test/things/{number}")
        assert url.target == f"/things/{number}".encode()
        assert route.host_header == f"host-{number % 1500}.test".encode()

    assert len(pools._found) <= 1024
    assert len(pools._routes) <= 1024
    assert len(pools.all()) == 1


@pytest.mark.parametrize("given", [{}, {"accept": "x/y", "user-agent": "me/1"}], ids=["nothing", "both"])
def test_no_header_is_sent_that_nobody_ordered(given: dict[str, str], carrier: Carrier, order: Make) -> None:
    """
    But those that HTTP needs; pyreqwest adds an `Accept` and a `User-Agent` of its own if there is none.
    """
    with Faults(says(answer(), each=True)) as server:
        orders = [order(server.url, method, headers=given) for method in ("POST", "GET", "DELETE")]
        for sent in orders:
            del sent.request.headers["content-type"]
        results = carrier(*orders)

    assert [200] * 3 == [getattr(result, "status", result) for result in results]
    needed = {"host", "content-length", "accept-encoding", "authorization", *given}
    if carrier.engine == "pyreqwest":
        needed |= {"accept", "user-agent"}
    for request in server.requests:
        lines = request.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        names = [line.partition(b":")[0].decode().lower() for line in lines]
        assert set(names) <= needed
        assert len(names) == len(set(names))
        for name, value in given.items():
            assert f"{name}: {value}".encode() in request.lower()


def test_no_limit_is_a_limit_too(carrier: Carrier, order: Make) -> None:
    """
    Infinity, for the deadline and for each wait.
    """
    endless = dict.fromkeys(("seconds", "connect", "read", "write", "pool"), float("inf"))
    with Faults(says(0.05, answer(), each=True)) as server:
        results = carrier(order(server.url, **endless), order(server.url, "GET", **endless))

    assert [200, 200] == [getattr(result, "status", result) for result in results]
