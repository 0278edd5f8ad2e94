"""A stream as bytes: taken apart at its empty lines, cut where it is said, and nowhere else."""

from __future__ import annotations

from io import BytesIO

import pytest

from failwell.drill import faults
from failwell.drill.event_bytes import Cut, blocks, id_of, is_event, with_id
from failwell.drill.faults import Action, Fault

EVENTS = [f"id: m:{at}\ndata: wörd {at}\n\n".encode() for at in range(4)]
STREAM = b"retry: 1000\n" + EVENTS[0] + b": ping\n\n" + b"".join(EVENTS[1:])


def passed(fault: Fault | None, stream: bytes = STREAM) -> tuple[bytes, Cut]:
    cut = Cut(fault)
    return b"".join(cut.passed(BytesIO(stream))), cut


def test_what_is_not_cut_is_passed_on_as_it_is() -> None:
    data, cut = passed(None)

    assert data == STREAM
    assert (cut.ids, cut.surely, cut.acted) == (["m:0", "m:1", "m:2", "m:3"], True, False)


def test_a_comment_is_no_event_and_a_setting_belongs_to_the_event_behind_it() -> None:
    found = list(blocks(BytesIO(STREAM + b"id: m:4")))

    assert [is_event(block) for block in found] == [True, False, True, True, True, False]
    assert [id_of(block) for block in found] == ["m:0", None, "m:1", "m:2", "m:3", "m:4"]


@pytest.mark.parametrize(
    ("fault", "last", "sure"),
    [
        (faults.cut_stream(2), b"", True),
        (faults.cut_stream(2, insert=b"retry: 7\n\n"), b"retry: 7\n\n", True),
        (faults.cut_event(2), b"id: m:2\ndata: w\xc3\xb6r", True),
        (faults.cut_character(2), b"id: m:2\ndata: w\xc3", True),
        (faults.cut_line_end(2), "id: m:2\r\ndata: wörd 2\r".encode(), True),
    ],
)
def test_it_stops_where_it_is_said_behind_two_whole_events(fault: Fault, last: bytes, sure: bool) -> None:
    data, cut = passed(fault)
    before = b"".join(list(blocks(BytesIO(STREAM)))[:3])

    assert data.replace(b"\r\n", b"\n") == before + last.replace(b"\r\n", b"\n")
    assert data.endswith(last)
    assert (cut.ids, cut.surely, cut.acted) == (["m:0", "m:1"], sure, True)


def test_a_client_may_have_an_event_whose_last_line_end_was_cut_in_two() -> None:
    data, cut = passed(faults.cut_line_end(1, blank=True))

    assert data.endswith("id: m:1\r\ndata: wörd 1\r\n\r".encode())
    assert (cut.ids, cut.surely) == (["m:0", "m:1"], False)


def test_a_character_is_cut_in_the_first_event_that_has_one_of_several_bytes() -> None:
    data, cut = passed(faults.cut_character(0), b"data: plain\n\n" + EVENTS[0])

    assert data == b"data: plain\n\nid: m:0\ndata: w\xc3"
    assert cut.acted


def test_ids_begin_again_with_other_events() -> None:
    data, cut = passed(faults.renumbered(2))

    assert [id_of(block) for block in blocks(BytesIO(data))] == ["m:0", None, "m:1", "m:0", "m:1"]
    assert data.endswith("id: m:1\ndata: wörd 3\n\n".encode())
    assert cut.acted


def test_a_stream_that_is_too_short_is_not_cut() -> None:
    data, cut = passed(faults.cut_stream(9, Action.RST))

    assert (data, cut.acted) == (STREAM, False)


def test_an_event_without_an_id_keeps_none() -> None:
    assert with_id(b"data: x\n\n", "m:7") == b"data: x\n\n"
