"""The list of faults: 37 kinds, each made by a fault that a scenario uses, or with a reason."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable, Iterator

import pytest
from drill_tiny import TinyService

from failwell.drill import fault_list, faults
from failwell.drill.fault_list import KINDS
from failwell.drill.faults import Action, Fault, Schedule, always, once
from failwell.drill.proxy import FaultProxy
from failwell.drill.scenarios import catalogue
from failwell.drill.selftest import Naive
from failwell.drill.selftest.toy import Toy

READ = b"GET /things HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

# What a maker needs to be called with, where it needs anything.
ARGUMENTS: dict[str, list[tuple[object, ...]]] = {
    "slow_dns": [(1.0,)],
    "cut_body": [(None, Action.FIN), (None, Action.RST)],
    "drip": [(0.1,)],
    "answer": [(429,), (503,), (429, None)],
    "redirect": [(307,)],
    "outage": [(1.0,)],
    "cut_stream": [(5,), (5, Action.SILENCE)],
    "cut_event": [(5,), (5, Action.SILENCE)],
    "cut_character": [(5,)],
    "cut_line_end": [(5,)],
    "renumbered": [(5,)],
    "refused": [(410,)],
}
KEYWORDS: dict[tuple[str, int], dict[str, object]] = {("answer", 2): {"clock_skew": 3600.0}}
MADE_OTHERWISE = ("replaced",)  # of two kinds, by what they say they are


def makers() -> dict[str, Callable[..., Fault]]:
    """The functions of `faults.py` that make a fault."""
    return {
        name: value
        for name, value in vars(faults).items()
        if inspect.isfunction(value) and value.__module__ == faults.__name__ and not name.startswith("_")
        if inspect.signature(value).return_annotation == "Fault"
    }


def made() -> Iterator[tuple[str, Fault]]:
    for name, make in makers().items():
        if name in MADE_OTHERWISE:
            continue
        for number, arguments in enumerate(ARGUMENTS.get(name, [()])):
            yield name, make(*arguments, **KEYWORDS.get((name, number), {}))
    yield "replaced", faults.replaced(b"<p>", "text/html", name="a page")
    yield "replaced", faults.replaced(b"", name="nothing")


def test_there_are_37_kinds_in_order() -> None:
    assert [kind.number for kind in KINDS] == list(range(1, 38))


@pytest.mark.parametrize(("name", "fault"), [pytest.param(n, f, id=f"{n}-{f.name}") for n, f in made()])
def test_each_fault_belongs_to_the_kind_that_names_its_maker(name: str, fault: Fault) -> None:
    assert fault.row, f"faults.{name}() does not say which kind it is"
    assert name in KINDS[fault.row - 1].makers


def test_there_is_no_fault_that_no_kind_names() -> None:
    named = {name for kind in KINDS for name in kind.makers}

    assert sorted(set(makers()) ^ named) == []


def test_each_maker_named_by_a_kind_makes_one_of_that_kind() -> None:
    rows = {(name, fault.row) for name, fault in made()}

    missing = [(k.number, name) for k in KINDS for name in k.makers if (name, k.number) not in rows]
    assert missing == []


def test_each_kind_is_used_by_a_scenario_or_says_why_not() -> None:
    # The toy cannot be killed; what kills a service is used with the services of the sandbox.
    scenarios = catalogue(Naive())
    crashes = next(k for k in KINDS if "crash_at_work" in k.makers)

    unused = [k.number for k in KINDS if not fault_list.used(k, scenarios) and not k.elsewhere]
    assert unused == [crashes.number]


def test_a_kind_has_makers_or_a_reason_and_not_both() -> None:
    assert [k.number for k in KINDS if bool(k.makers) == bool(k.elsewhere)] == []


def test_the_list_says_effect_moment_faithfulness_platform_and_scenarios() -> None:
    rows = {row["number"]: row for row in fault_list.as_dicts(catalogue(Toy()))}

    assert rows[4]["faults"] == [
        {
            "effect": "the connection request is not answered",
            "moment": "while the connection is made",
            "faithful": "kernel-real",
            "platform": "linux",
            "a_write_knows": ["not_sent"],
        }
    ]
    assert rows[4]["scenarios"] == ["S04"]
    assert {f["faithful"] for f in rows[2]["faults"]} == {"simulated"}
    assert rows[27]["scenarios"] == ["S12-keyed", "S12-plain"]  # planned for the call before


# --- what is new on the wire -------------------------------------------------------------------


@pytest.fixture(scope="module")
def service() -> Iterator[TinyService]:
    with TinyService() as service:
        yield service


def said(service: TinyService, *schedules: Schedule, request: bytes = READ) -> bytes:
    """Everything that a client is sent until the connection is closed."""
    with FaultProxy(service.url) as proxy:
        for schedule in schedules:
            proxy.begin("main", schedule)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as sock:
            sock.sendall(request)
            data = b""
            while piece := sock.recv(65536):
                data += piece
            return data


def test_a_status_line_can_be_bad_in_an_answer_that_is_otherwise_in_order(service: TinyService) -> None:
    assert said(service, once(faults.bad_status_line())).startswith(b"HTTP/1.1 OK 200\r\n")


def test_a_100_can_come_before_the_answer_unasked(service: TinyService) -> None:
    data = said(service, once(faults.unasked_continue()))

    assert data.startswith(b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 200")
    assert data.endswith(TinyService.BODY)


def test_a_redirect_can_lead_nowhere(service: TinyService) -> None:
    data = said(service, once(faults.redirect(302, "")))

    assert data.startswith(b"HTTP/1.1 302")
    assert b"location" not in data.lower()


def test_a_303_can_stand_for_what_the_service_has_done(service: TinyService) -> None:
    before = service.effects
    write = b"POST /things HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    data = said(service, once(faults.see_other()), request=write)

    assert data.startswith(b"HTTP/1.1 303")
    assert b"Location: /elsewhere" in data or b"location: /elsewhere" in data
    assert service.effects == before + 1


def test_a_body_without_an_end_goes_on_until_the_client_has_enough(service: TinyService) -> None:
    with FaultProxy(service.url) as proxy:
        proxy.begin("main", once(faults.endless_body()))
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as sock:
            sock.sendall(READ)
            taken = 0
            while taken < 1 << 20:
                taken += len(sock.recv(65536))
        assert proxy.wait_closed("main")

        assert proxy.journal.requests[0].end.startswith("the client had left")


def test_a_handshake_can_end_without_a_word(service: TinyService) -> None:
    with FaultProxy(service.url) as proxy:
        proxy.begin("main", once(faults.tls_close()))
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as sock:
            sock.sendall(b"\x16\x03\x01 hello")

            assert sock.recv(100) == b""
        assert proxy.journal.fired == [("main", 1, "closed in the TLS handshake")]


def test_a_name_server_that_fails_is_the_error_a_resolver_makes_of_it(service: TinyService) -> None:
    with FaultProxy(service.url) as proxy:
        proxy.begin("main", always(faults.servfail()))
        with pytest.raises(socket.gaierror) as raised:
            socket.getaddrinfo(proxy.host_name, 80)

        assert raised.value.errno == socket.EAI_AGAIN
        assert proxy.journal.fired == [("main", 1, "name server fails")]


def test_an_outage_ends_by_the_clock(service: TinyService) -> None:
    """However many requests come: what is planned for all of them stops when its time is over."""
    fault = faults.outage(10.0)
    with FaultProxy(service.url) as proxy:
        proxy.begin("main", always(fault))
        over = [proxy._is_over_locked(fault, now) for now in (100.0, 101.0, 109.9, 110.0, 111.0)]

    assert over == [False, False, False, True, True]


def test_a_fault_without_a_time_is_never_over(service: TinyService) -> None:
    with FaultProxy(service.url) as proxy:
        assert not proxy._is_over_locked(faults.silence(), 1e9)
