"""The fault proxy, seen from a raw socket: every fault really crosses the wire."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from drill_tiny import TinyService

from failwell.drill import certificates, damage, faults
from failwell.drill.faults import Action, Fault, Schedule, always, once, times
from failwell.drill.proxy import FaultProxy

READ = b"GET /things HTTP/1.1\r\nHost: x\r\n\r\n"
WRITE = b"POST /things HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k-1\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def service() -> Iterator[TinyService]:
    with TinyService() as service:
        yield service


@pytest.fixture
def proxy(service: TinyService) -> Iterator[FaultProxy]:
    with FaultProxy(service.url, count_effects=lambda: service.effects) as proxy:
        yield proxy


def dial(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def everything(sock: socket.socket) -> bytes:
    """What comes until the other side closes in an orderly way."""
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def until_reset(sock: socket.socket) -> bytes:
    """What comes until the other side resets the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            data += piece
        pytest.fail("the connection was closed in an orderly way")
    return data


def shake_hands(proxy: FaultProxy, timeout: float) -> None:
    with dial(proxy) as sock:
        sock.settimeout(timeout)
        ssl.create_default_context().wrap_socket(sock, server_hostname="127.0.0.1")


def ask(proxy: FaultProxy, schedule: Schedule, request: bytes = READ) -> bytes:
    proxy.begin("main", schedule)
    with dial(proxy) as sock:
        sock.sendall(request)
        return everything(sock)


def one_answer(sock: socket.socket) -> bytes:
    """One whole answer of the tiny service, which says its length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(
        next(line.split(b":")[1] for line in head.split(b"\r\n") if b"ontent-" in line and b"ength" in line)
    )
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def test_without_a_fault_a_request_and_its_answer_pass_through(
    proxy: FaultProxy, service: TinyService
) -> None:
    proxy.begin("main")
    with dial(proxy) as sock:
        sock.sendall(WRITE)
        answer = one_answer(sock)

    assert proxy.settle()
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert service.seen == [("POST", "/things", b"{}")]
    (request,) = proxy.journal.requests_of("main")
    assert (request.number, request.method, request.target) == (1, "POST", "/things")
    assert (request.idempotency_key, request.status, request.effects) == ("k-1", 201, 1)
    assert proxy.journal.fired == []


def test_a_kept_connection_carries_the_second_request(proxy: FaultProxy) -> None:
    proxy.begin("main")
    with dial(proxy) as sock:
        for _ in range(2):
            sock.sendall(READ)
            one_answer(sock)

    assert [r.reused for r in proxy.journal.requests_of("main")] == [False, True]
    assert len(proxy.journal.connections) == 1


@pytest.mark.parametrize("reached", [False, True], ids=["before the service", "after its commit"])
def test_fin_closes_in_an_orderly_way_without_a_byte(
    proxy: FaultProxy, service: TinyService, reached: bool
) -> None:
    fault = faults.lose_answer() if reached else faults.fin_before_answer()

    assert ask(proxy, once(fault), WRITE) == b""
    assert service.effects == int(reached)
    assert proxy.journal.fired == [("main", 1, fault.name)]
    assert proxy.journal.requests[0].effects == (1 if reached else None)


@pytest.mark.parametrize("reached", [False, True], ids=["before the service", "after its commit"])
def test_rst_resets(proxy: FaultProxy, service: TinyService, reached: bool) -> None:
    fault = faults.lose_answer(Action.RST) if reached else faults.rst_before_answer()

    with pytest.raises(ConnectionResetError):
        ask(proxy, once(fault), WRITE)
    assert service.effects == int(reached)


def test_silence_lasts_until_the_client_leaves(proxy: FaultProxy) -> None:
    proxy.begin("main", once(faults.silence()))
    with dial(proxy) as sock:
        sock.settimeout(0.1)
        sock.sendall(READ)
        with pytest.raises(TimeoutError):
            sock.recv(1)

    assert proxy.wait_closed("main")
    assert proxy.settle()
    assert proxy.journal.requests[0].end == "SILENCE"


def test_garbage_is_not_http(proxy: FaultProxy) -> None:
    assert not ask(proxy, once(faults.garbage())).startswith(b"HTTP/")


def test_a_cut_in_the_headers_leaves_a_status_line_and_half_a_field(proxy: FaultProxy) -> None:
    data = ask(proxy, once(faults.cut_in_headers()))

    assert data.startswith(b"HTTP/1.1 200 ")
    assert b"\r\n\r\n" not in data
    assert not data.endswith(b"\r\n")


def test_a_cut_body_is_shorter_than_its_content_length(proxy: FaultProxy) -> None:
    head, _, body = ask(proxy, once(faults.cut_body(after_bytes=5))).partition(b"\r\n\r\n")

    assert b"Content-Length: %d" % len(TinyService.BODY) in head
    assert body == TinyService.BODY[:5]


def test_a_body_cut_by_rst_delivers_its_first_half_before_the_reset(proxy: FaultProxy) -> None:
    proxy.begin("main", once(faults.cut_body(by=Action.RST)))
    with dial(proxy) as sock:
        sock.sendall(READ)
        data = until_reset(sock)

    assert data.partition(b"\r\n\r\n")[2] == TinyService.BODY[: len(TinyService.BODY) // 2]


@pytest.mark.parametrize(
    ("fault", "tail"), [(faults.cut_chunked(4), b""), (faults.bad_chunk(4), b"zz\r\n" + TinyService.BODY[4:])]
)
def test_chunks_are_cut_or_mislabelled(proxy: FaultProxy, fault: Fault, tail: bytes) -> None:
    head, _, body = ask(proxy, once(fault)).partition(b"\r\n\r\n")

    assert b"Transfer-Encoding: chunked" in head
    assert body == b"4\r\n" + TinyService.BODY[:4] + b"\r\n" + tail


def test_a_drip_sends_the_whole_body_with_a_gap_before_each_piece(proxy: FaultProxy) -> None:
    began = time.monotonic()
    data = ask(proxy, once(faults.drip(0.02, pieces=5)))

    assert data.endswith(TinyService.BODY)
    assert time.monotonic() - began >= 0.02 * 5


def test_an_idle_connection_is_closed_after_a_whole_answer(proxy: FaultProxy) -> None:
    data = ask(proxy, once(faults.idle_close()))

    assert data.endswith(TinyService.BODY)
    assert proxy.journal.fired == [("main", 1, "closed while idle")]


def test_fin_on_reuse_spares_a_new_connection_and_does_not_count_as_fired(proxy: FaultProxy) -> None:
    proxy.begin("main", always(faults.fin_on_reuse()))
    with dial(proxy) as sock:
        sock.sendall(READ)
        one_answer(sock)
        assert proxy.journal.fired == []
        sock.sendall(READ)
        assert everything(sock) == b""

    assert proxy.journal.fired == [("main", 2, "FIN on a reused connection")]


def test_a_gateway_answers_without_the_service(proxy: FaultProxy, service: TinyService) -> None:
    proxy.begin("main", once(faults.answer(429, {"Retry-After": "7"})))
    with dial(proxy) as sock:
        sock.sendall(WRITE)
        answer = one_answer(sock)

    assert answer.startswith(b"HTTP/1.1 429 ")
    assert b"Retry-After: 7\r\n" in answer
    assert service.seen == []


def test_a_gateway_with_a_wrong_clock_is_wrong_by_the_same_amount_in_both_dates(proxy: FaultProxy) -> None:
    from email.utils import parsedate_to_datetime

    proxy.begin("main", once(faults.answer(429, retry_date=2.0, clock_skew=3600.0)))
    with dial(proxy) as sock:
        sock.sendall(READ)
        head = one_answer(sock).partition(b"\r\n\r\n")[0].decode()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    date, retry = (parsedate_to_datetime(fields[n]) for n in ("Date", "Retry-After"))

    assert (retry - date).total_seconds() == 2.0
    assert date.timestamp() - time.time() > 3500


def test_a_port_refuses_exactly_as_often_as_planned(proxy: FaultProxy) -> None:
    proxy.begin("main", times(2, faults.refuse()))
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            dial(proxy)
    with dial(proxy) as sock:
        sock.sendall(READ)
        assert one_answer(sock).startswith(b"HTTP/1.1 200 ")

    assert len(proxy.journal.connects["main"]) == 3
    assert [number for _, number, _ in proxy.journal.fired] == [1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="others refuse what does not fit the backlog")
def test_a_full_backlog_leaves_a_connection_request_unanswered(proxy: FaultProxy) -> None:
    proxy.begin("main", always(faults.syn_unanswered()))

    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=0.3)
    assert len(proxy.journal.connects["main"]) == 1


def test_the_name_of_the_service_does_not_exist_and_look_ups_are_counted(proxy: FaultProxy) -> None:
    url = proxy.begin("main", always(faults.dns()))

    assert url == f"http://{proxy.host_name}:{proxy.port}"
    with pytest.raises(socket.gaierror):
        socket.create_connection((proxy.host_name, proxy.port), timeout=5)
    assert len(proxy.journal.lookups["main"]) == 1


def test_plain_text_where_tls_is_expected(proxy: FaultProxy) -> None:
    assert proxy.begin("main", always(faults.tls_plaintext())).startswith("https://127.0.0.1:")

    with pytest.raises(ssl.SSLError, match=r"(?i)wrong.version|record"):
        shake_hands(proxy, 5)


def test_an_untrusted_certificate_is_for_the_right_host(proxy: FaultProxy) -> None:
    pytest.importorskip("trustme", reason="the proxy's certificates are made by trustme")
    proxy.begin("main", always(faults.tls_untrusted()))

    with pytest.raises(ssl.SSLCertVerificationError, match=r"(?i)issuer|self.signed"):
        shake_hands(proxy, 5)


def test_a_stalled_handshake_says_nothing(proxy: FaultProxy) -> None:
    proxy.begin("main", always(faults.tls_stall()))

    with pytest.raises(TimeoutError):
        shake_hands(proxy, 0.2)
    assert proxy.wait_closed("main")


def test_attempts_are_counted_anew_for_each_operation(proxy: FaultProxy) -> None:
    assert ask(proxy, once(faults.fin_before_answer())) == b""
    proxy.begin("second", once(faults.fin_before_answer()))
    with dial(proxy) as sock:
        sock.sendall(READ)
        assert everything(sock) == b""

    assert [(o, n) for o, n, _ in proxy.journal.fired] == [("main", 1), ("second", 1)]


def test_a_port_that_is_open_cannot_be_planned_to_refuse(proxy: FaultProxy) -> None:
    proxy.begin("first")

    with pytest.raises(RuntimeError, match="before the first one"):
        proxy.begin("second", once(faults.refuse()))


def test_a_service_that_is_not_there_is_told_to_the_journal_not_to_the_verdict() -> None:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        with FaultProxy(f"http://127.0.0.1:{taken.getsockname()[1]}") as proxy:
            proxy.begin("main")
            with dial(proxy) as sock:
                sock.sendall(READ)
                assert one_answer(sock).startswith(b"HTTP/1.1 502 ")

    assert "did not answer" in proxy.journal.trouble[0]


def test_a_service_that_is_not_on_http_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="http://"):
        FaultProxy("ftp://127.0.0.1:1")


def test_a_client_that_leaves_in_the_middle_of_a_request_is_no_request(proxy: FaultProxy) -> None:
    proxy.begin("main")
    with dial(proxy) as sock:
        sock.sendall(WRITE[:-1])

    assert proxy.wait_closed("main")
    assert proxy.journal.requests == []


def test_expect_100_continue_is_answered(proxy: FaultProxy, service: TinyService) -> None:
    proxy.begin("main")
    head, _, body = WRITE.partition(b"\r\n\r\n")
    with dial(proxy) as sock:
        sock.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body)
        assert one_answer(sock).startswith(b"HTTP/1.1 201 ")

    assert service.effects == 1


def test_an_answer_without_a_body_is_passed_on_as_it_is(proxy: FaultProxy) -> None:
    proxy.begin("main")
    with dial(proxy) as sock:
        sock.sendall(READ.replace(b"/things", b"/empty"))
        head = sock.recv(65536)
        sock.sendall(READ.replace(b"GET", b"HEAD").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answer = everything(sock)

    assert head.startswith(b"HTTP/1.1 204 ")
    assert b"content-length" not in head.lower()
    assert b"Content-Length: %d" % len(TinyService.BODY) in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_body_of_one_byte_cannot_be_cut_and_the_fault_does_not_count_as_fired(proxy: FaultProxy) -> None:
    data = ask(proxy, once(faults.cut_body()), READ.replace(b"/things", b"/short"))

    assert data.endswith(b"\r\n\r\n1")
    assert proxy.journal.fired == []


def test_a_connection_the_client_closes_by_itself_has_no_idle_time(proxy: FaultProxy) -> None:
    request = READ.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    assert ask(proxy, once(faults.idle_close()), request).endswith(TinyService.BODY)
    assert proxy.journal.fired == []


def test_a_proxy_that_is_closed_ends_a_drip_and_its_threads(service: TinyService) -> None:
    with FaultProxy(service.url) as proxy:
        proxy.begin("main", once(faults.drip(30.0)))
        sock = dial(proxy)
        sock.sendall(READ)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    sock.close()

    assert [t for t in threading.enumerate() if t.name == f"drill-proxy-{proxy.port}"] == []


@pytest.mark.parametrize("sent", [b"", b"\x16\x03"])
def test_a_proxy_that_is_closed_ends_a_handshake_and_its_threads(service: TinyService, sent: bytes) -> None:
    """
    A client that gave up may leave its connection open, without a word or in the middle of one.
    """
    with FaultProxy(service.url) as proxy:
        proxy.begin("main", once(faults.tls_untrusted()))
        sock = dial(proxy)
        sock.sendall(sent)
        until = time.monotonic() + 10
        while not any(c.tls for c in proxy.journal.connections) and time.monotonic() < until:
            time.sleep(0.001)
    left = [t for t in threading.enumerate() if t.name == f"drill-proxy-{proxy.port}"]
    sock.close()

    assert left == []


def test_a_try_is_counted_before_the_system_call_and_the_last_one_opens_the_port(proxy: FaultProxy) -> None:
    """Called by hand as well: Python traces nothing inside an audit hook."""
    proxy.begin("main", once(faults.refuse()))
    proxy._connecting()
    assert proxy.journal.fired == [("main", 1, "refused")]
    proxy._connecting()
    proxy._connecting()

    with dial(proxy) as sock:
        sock.sendall(READ)
        assert one_answer(sock).startswith(b"HTTP/1.1 200 ")
    assert len(proxy.journal.connects["main"]) == 4


def test_look_ups_are_counted_by_operation(proxy: FaultProxy) -> None:
    proxy.begin("main", once(faults.dns()))
    proxy._looking_up()
    proxy._looking_up()

    assert proxy.journal.fired == [("main", 1, "unknown name")]
    assert len(proxy.journal.lookups["main"]) == 2


@pytest.mark.parametrize(("fault", "at_work", "effects"), [
    (faults.crash_after_commit(), False, 1),
    (faults.crash_at_work(), True, 1),
])  # fmt: skip
def test_a_crash_ends_the_connection_when_there_is_another_service(
    service: TinyService, fault: Fault, at_work: bool, effects: int
) -> None:
    crashed: list[bool] = []
    with FaultProxy(service.url, crash=lambda *, at_work: crashed.append(at_work)) as proxy:
        proxy.begin("main", once(fault))
        with dial(proxy) as sock:
            sock.sendall(WRITE)
            assert everything(sock) == b""
        assert crashed == [at_work]
        assert proxy.settle()
    assert service.effects == effects
    assert proxy.journal.fired == [("main", 1, fault.name)]


@pytest.mark.parametrize("fault", [faults.crash_after_commit(), faults.crash_at_work()])
def test_without_a_way_to_kill_the_service_nothing_is_said_to_have_been_killed(
    proxy: FaultProxy, fault: Fault
) -> None:
    proxy.begin("main", once(fault))
    with dial(proxy) as sock:
        sock.sendall(WRITE)
        assert everything(sock) == b""

    assert proxy.journal.fired == []


def test_whoever_has_left_is_not_said_to_have_been_answered(service: TinyService) -> None:
    answered, gone = threading.Event(), threading.Event()

    def count() -> int:
        answered.set()
        return 1 if gone.wait(20) else 0

    with FaultProxy(service.url, count_effects=count) as proxy:
        proxy.begin("main")
        with dial(proxy) as sock:
            sock.sendall(WRITE)
            assert answered.wait(20)
        gone.set()
        assert proxy.settle(20)

    (wire,) = proxy.journal.requests
    assert (wire.status, wire.end, wire.service_status) == (None, "the client had left", 201)


def test_another_origin_is_told_from_the_first_and_so_is_a_key(service: TinyService) -> None:
    with FaultProxy(service.url, secrets=lambda: ["sk_1", ""]) as proxy:
        proxy.begin("main", once(faults.redirect(302, "elsewhere")))
        with dial(proxy) as sock:
            sock.sendall(READ.replace(b"Host: x", b"Host: x\r\nAuthorization: Bearer sk_1"))
            head = sock.recv(65536)
        location = head.partition(b"Location: ")[2].partition(b"\r\n")[0].decode()
        host, _, port = location.removeprefix("http://").partition("/")[0].partition(":")
        assert (host, int(port)) != ("127.0.0.1", proxy.port)
        with socket.create_connection((host, int(port)), timeout=5) as other:
            other.sendall(READ)
            assert b"200" in other.recv(65536)
        proxy.begin("again", once(faults.redirect(302, "elsewhere")))  # there is only one other origin

    assert [(r.elsewhere, r.credentials) for r in proxy.journal.requests] == [(False, True), (True, False)]


def test_it_is_waited_for_a_fault_and_for_a_status_but_not_for_ever(proxy: FaultProxy) -> None:
    proxy.begin("main", once(faults.answer(503)))
    assert not proxy.wait_fired("main", 0.0)
    assert not proxy.wait_passed_on("main", 503, 0.0)
    assert not proxy.wait_passed_on("main", 503, 60.0, lambda: True)
    with dial(proxy) as sock:
        sock.sendall(READ)
        assert b"503" in sock.recv(65536)

    assert proxy.wait_fired("main", 5.0)
    assert proxy.wait_passed_on("main", 503, 5.0)


def test_a_slow_name_holds_up_whoever_looks_it_up(proxy: FaultProxy) -> None:
    proxy.begin("main", once(faults.slow_dns(0.2)))
    began = time.monotonic()
    proxy._looking_up()
    assert time.monotonic() - began >= 0.2

    proxy._looking_up()  # only once
    assert proxy.journal.fired == [("main", 1, "slow name")]
    assert len(proxy.journal.lookups["main"]) == 2


def test_what_becomes_huge_is_whole_when_it_is_unpacked() -> None:
    assert gzip.decompress(damage._small()) == b" " * damage.INFLATED_BYTES
    assert len(damage._small()) < 100_000


def test_a_proxy_that_stops_listening_keeps_its_port_and_listens_again(proxy: FaultProxy) -> None:
    proxy.begin("main")
    with dial(proxy) as kept:
        kept.sendall(READ)
        one_answer(kept)
        assert proxy.caught_up()
        proxy.stop_listening()

        assert everything(kept) == b""  # it was idle, so it was closed
    proxy.begin("refused", times(2, faults.refuse()))
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            dial(proxy)
    with dial(proxy) as sock:
        sock.sendall(READ)
        assert one_answer(sock).startswith(b"HTTP/1.1 200 ")
    assert [fired[1:] for fired in proxy.journal.fired] == [(1, "refused"), (2, "refused")]


def test_what_a_client_sent_before_it_left_is_in_the_journal(proxy: FaultProxy) -> None:
    proxy.begin("main", always(faults.silence()))
    for number in range(1, 6):
        with dial(proxy) as sock:
            sock.sendall(READ)
        assert proxy.caught_up()
        assert len(proxy.journal.requests) == number


def test_a_client_that_says_nothing_yet_is_not_waited_for(proxy: FaultProxy) -> None:
    proxy.begin("main")
    with dial(proxy):
        assert proxy.caught_up()
    assert proxy.journal.requests == []


def test_tls_is_offered_beside_plain_http(proxy: FaultProxy) -> None:
    proxy.offer_tls()
    proxy.begin("main")
    with dial(proxy) as plain:
        plain.sendall(READ)
        assert one_answer(plain).startswith(b"HTTP/1.1 200 ")
    trusting = certificates.trusting()
    with trusting.wrap_socket(dial(proxy), server_hostname="127.0.0.1") as wrapped:
        wrapped.sendall(READ)
        assert one_answer(wrapped).startswith(b"HTTP/1.1 200 ")
    assert proxy.caught_up()
    assert [c.tls for c in proxy.journal.connections] == [False, True]


def test_of_a_request_s_headers_only_what_names_nobody_is_kept(proxy: FaultProxy) -> None:
    proxy.begin("main")
    with dial(proxy) as sock:
        sock.sendall(READ[:-2] + b"Authorization: Bearer s3cret\r\nCookie: a=b\r\nAccept: text/html\r\n\r\n")
        one_answer(sock)

    assert proxy.journal.requests[0].headers == {"accept": "text/html"}


def test_a_service_behind_tls_is_asked_over_tls(
    service: TinyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy(service.url) as front:
        front.offer_tls()
        front.begin("front")
        trusting = certificates.trusting()
        monkeypatch.setattr("ssl.create_default_context", lambda: trusting)
        with FaultProxy(f"https://127.0.0.1:{front.port}") as proxy:
            assert ask(proxy, once(faults.cut_body(5)), READ).endswith(b'\r\n\r\n{"thi')
        assert [c.tls for c in front.journal.connections] == [True]


def test_an_answer_that_is_too_large_for_the_proxy_is_trouble_and_not_kept(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failwell.drill.proxy.MOST_BYTES", 8)
    proxy.begin("main")
    with dial(proxy) as sock:
        sock.sendall(READ)
        assert one_answer(sock).startswith(b"HTTP/1.1 502 ")

    assert "larger than 8 bytes" in proxy.journal.trouble[0]


def test_a_plan_made_on_the_way_leaves_what_was_counted(proxy: FaultProxy) -> None:
    proxy.begin("main")
    with dial(proxy) as kept:
        kept.sendall(READ)
        one_answer(kept)
    proxy.plan(Schedule({2: faults.refuse()}))
    with pytest.raises(ConnectionRefusedError):
        dial(proxy)
    proxy.plan(Schedule({2: faults.cut_body(5)}))
    with dial(proxy) as sock:
        sock.sendall(READ)
        assert everything(sock).endswith(b'\r\n\r\n{"thi')

    assert [fired[1:] for fired in proxy.journal.fired] == [(2, "refused"), (2, "body cut, FIN")]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops connection requests")
def test_connection_requests_go_unanswered_from_the_middle_on(proxy: FaultProxy) -> None:
    proxy.begin("main")
    with dial(proxy) as sock:
        sock.sendall(READ)
        one_answer(sock)
    proxy.plan(always(faults.syn_unanswered()))
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2)
