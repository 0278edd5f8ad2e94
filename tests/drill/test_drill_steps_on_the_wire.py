"""Streams and uploads in parts through the proxy, over real sockets: what arrives, what is noted."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from failwell.drill import faults
from failwell.drill.faults import Action, Fault, Schedule, always, once
from failwell.drill.journal import WireRequest
from failwell.drill.proxy import FaultProxy
from failwell.drill.selftest.naive import Naive
from failwell.drill.selftest.toy import KEY, ToyService, digest_field

IDS = [f"thing-1:{at}" for at in range(11)]


@pytest.fixture
def toy() -> Iterator[tuple[ToyService, str]]:
    service = ToyService()
    with service.running() as url:
        yield service, url


def asked(
    url: str, schedule: Schedule, after: str = "", *, name: str = "x"
) -> tuple[int, bytes, bool, WireRequest]:
    """What a stream brings: status, body, whether it ended in order, and what the journal has of it."""
    with FaultProxy(url) as proxy:
        proxy.begin("main", schedule)
        headers = {"accept": "text/event-stream", "idempotency-key": "k", "x-api-key": KEY}
        if after:
            headers["last-event-id"] = after
        with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)) as client:
            client.request("POST", "/things", json.dumps({"name": name}), headers)
            with client.getresponse() as answer:
                try:
                    body, in_order = answer.read(), True
                except http.client.IncompleteRead as exc:
                    body, in_order = exc.partial, False
        assert proxy.settle()
        assert proxy.journal.trouble == []
        return answer.status, body, in_order, proxy.journal.requests[0]


def names(body: bytes) -> list[str]:
    return [line.removeprefix("id: ") for line in body.decode().splitlines() if line.startswith("id: ")]


def test_a_stream_is_passed_on_whole_and_its_ids_are_written_down(toy: tuple[ToyService, str]) -> None:
    status, body, in_order, wire = asked(toy[1], Schedule())

    assert (status, names(body), in_order) == (200, IDS, True)
    assert (wire.event_ids, wire.ids_are_sure, wire.fired) == (tuple(IDS), True, False)
    assert (wire.service_status, wire.request_id, wire.last_event_id) == (200, None, None)


def test_it_goes_on_after_the_event_that_was_seen(toy: tuple[ToyService, str]) -> None:
    _, body, _, wire = asked(toy[1], Schedule(), IDS[7])

    assert names(body) == IDS[8:]
    assert wire.last_event_id == IDS[7]


def test_it_can_be_told_from_its_beginning_whatever_was_seen(toy: tuple[ToyService, str]) -> None:
    _, body, in_order, wire = asked(toy[1], once(faults.told_again()), IDS[7])

    assert (names(body), in_order, wire.fired) == (IDS, True, True)


@pytest.mark.parametrize(("by", "in_order"), [(Action.FIN, False), (Action.END, True)])
def test_it_stops_after_three_events(toy: tuple[ToyService, str], by: Action, in_order: bool) -> None:
    _, body, ended_in_order, wire = asked(toy[1], always(faults.cut_stream(3, by)))

    assert (names(body), ended_in_order) == (IDS[:3], in_order)
    assert (wire.event_ids, wire.ids_are_sure, wire.fired) == (tuple(IDS[:3]), True, True)


def test_behind_a_reset_nobody_knows_what_arrived(toy: tuple[ToyService, str]) -> None:
    with FaultProxy(toy[1]) as proxy:
        proxy.begin("main", always(faults.cut_stream(3, Action.RST)))
        with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)) as client:
            client.request("POST", "/things", b'{"name": "x"}', {"accept": "text/event-stream"})
            assert proxy.wait_fired("main", 10.0)
            assert proxy.wait_closed("main")
        (wire,) = proxy.journal.requests

    assert (wire.event_ids, wire.ids_are_sure, wire.end) == (tuple(IDS[:3]), False, "RST")


def test_ids_that_begin_again_do_so_to_the_end(toy: tuple[ToyService, str]) -> None:
    _, body, in_order, wire = asked(toy[1], always(faults.renumbered(4)))

    assert names(body) == [*IDS[:4], *IDS[:4], *IDS[:3]]
    assert (in_order, wire.fired) == (True, True)


def test_a_stream_that_is_too_short_for_its_fault_is_whole_and_the_fault_has_not_acted(
    toy: tuple[ToyService, str],
) -> None:
    _, body, in_order, wire = asked(toy[1], once(faults.cut_stream(99)))

    assert (names(body), in_order, wire.fired) == (IDS, True, False)


def test_an_answer_that_is_no_stream_is_passed_on_as_it_is(toy: tuple[ToyService, str]) -> None:
    asked(toy[1], Schedule())  # its key has a body now
    status, body, in_order, wire = asked(toy[1], once(faults.cut_stream(1)), name="y")

    assert (status, body, in_order) == (409, b'{"detail": "key used with another body"}', True)
    assert (wire.event_ids, wire.fired) == ((), False)


def test_a_service_that_is_not_there_is_the_drill_s_own_trouble() -> None:
    with socket.socket() as nobody, FaultProxy(_bound(nobody)) as proxy:
        proxy.begin("main")
        with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)) as client:
            client.request("GET", "/things", headers={"accept": "text/event-stream"})
            with client.getresponse() as answer:
                assert answer.status == 502
        assert proxy.settle()
        assert [t.partition(":")[0] for t in proxy.journal.trouble] == [
            "the service did not answer the proxy"
        ]


def test_a_service_that_breaks_its_stream_is_the_drill_s_own_trouble() -> None:
    """It sends half a chunk, and is gone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with ThreadPoolExecutor(1) as pool, FaultProxy(url) as proxy:
            proxy.begin("main")
            answering = pool.submit(_half_a_chunk, listener)
            with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)) as client:
                client.request("GET", "/things", headers={"accept": "text/event-stream"})
                with client.getresponse() as answer, pytest.raises(http.client.IncompleteRead):
                    answer.read()
            answering.result()
            assert proxy.settle()
            assert [t.partition(":")[0] for t in proxy.journal.trouble] == ["the service broke its stream"]


def _bound(sock: socket.socket) -> str:
    sock.bind(("127.0.0.1", 0))
    return "http://{}:{}".format(*sock.getsockname())


def _half_a_chunk(listener: socket.socket) -> None:
    sock, _ = listener.accept()
    with sock:
        sock.recv(65536)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        sock.sendall(head + b"c\r\ndata: half")


# --- parts ---


def sent(
    toy: tuple[ToyService, str], fault: Fault, part: bytes = b"part" * 20
) -> tuple[list[int], dict[int, bytes], list[WireRequest]]:
    """What sending part 2 twice brings, if `fault` meets its first try; what the service has then."""
    service, url = toy

    def forget() -> None:
        service.uploads.parts.clear()

    with FaultProxy(url, step_of=Naive().step_of, forget=forget) as proxy:
        proxy.begin("main", Schedule(steps={("part 2", 1): fault}))
        statuses = []
        for number in (1, 2, 2):
            with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)) as client:
                headers = {"content-digest": digest_field(part)}
                client.request("PUT", f"/uploads/u/parts/{number}", part, headers)
                with client.getresponse() as answer:
                    answer.read()
                    statuses.append(answer.status)
        assert [(r.step, r.fired) for r in proxy.journal.requests] == [
            ("part 1", False), ("part 2", True), ("part 2", False)
        ]  # fmt: skip
        return statuses, dict(service.uploads.parts["u"]), proxy.journal.requests


def test_a_fault_of_a_step_meets_its_try_and_no_other(toy: tuple[ToyService, str]) -> None:
    statuses, _, requests = sent(toy, faults.answer(503))

    assert statuses == [200, 503, 200]
    assert [r.service_status for r in requests] == [200, None, 200]


def test_what_is_acknowledged_by_a_gateway_never_arrives(toy: tuple[ToyService, str]) -> None:
    statuses, _, requests = sent(toy, faults.acknowledged())

    assert statuses == [200, 200, 200]
    assert [r.asked is None for r in requests] == [False, True, False]


def test_a_part_that_is_damaged_on_its_way_is_refused_by_its_digest(toy: tuple[ToyService, str]) -> None:
    assert sent(toy, faults.tampered())[0] == [200, 422, 200]


def test_a_part_that_is_damaged_together_with_its_digest_is_stored(toy: tuple[ToyService, str]) -> None:
    service, url = toy
    part = b"part" * 20
    with FaultProxy(url, step_of=Naive().step_of) as proxy:
        proxy.begin("main", once(faults.tampered(consistent=True)))
        with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)) as client:
            client.request("PUT", "/uploads/u/parts/1", part, {"content-digest": digest_field(part)})
            with client.getresponse() as answer:
                known = json.loads(answer.read())
    stored = service.uploads.parts["u"][1]

    assert answer.status == 200
    assert known["parts"].keys() == {"1"}
    assert [at for at in range(80) if stored[at] != part[at]] == list(range(40, 56))


def test_an_upload_can_be_given_up_before_the_next_part_arrives(toy: tuple[ToyService, str]) -> None:
    statuses, there, _ = sent(toy, faults.forgotten_upload())

    assert statuses == [200, 200, 200]
    assert there.keys() == {2}, "part 1 went with it"
