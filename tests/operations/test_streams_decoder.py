"""
Server-sent events, decoded: the cases of the web platform's own tests, every way of cutting them,
and a decoder that does word for word what the specification says.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from failwell.operations.server_sent_events import EventDecoder, ServerSentEvent

Facts = tuple[str, str, str | None, str]


def decoded(*pieces: bytes, last_event_id: str = "") -> list[Facts]:
    """Type, data, own id and last id of each event."""
    decoder = EventDecoder(last_event_id)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    decoder.end()
    return [(e.type, e.data, e.id, e.last_event_id) for e in events]


def as_specified(stream: bytes) -> tuple[list[Facts], str, int | None]:
    """
    The events of a whole stream, the last id and the retry, by the letter of WHATWG HTML 9.2.6, with
    one of its bytes looked at after the other.
    """
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines, line, position = [], "", 0
    while position < len(text):
        character = text[position]
        position += 1
        if character not in "\r\n":
            line += character
            continue
        if character == "\r" and text[position : position + 1] == "\n":
            position += 1
        lines.append(line)
        line = ""
    events: list[Facts] = []
    data, kind, own, buffer, last = "", "", None, "", ""
    retry = None
    for line in lines:
        if line == "":
            last = buffer
            if data != "":
                events.append((kind or "message", data[:-1], own, last))
            data, kind, own = "", "", None
            continue
        if line[0] == ":":
            continue
        name, value = line, ""
        if ":" in line:
            name, value = line.split(":", 1)
            value = value[1:] if value.startswith(" ") else value
        if name == "event":
            kind = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            own = buffer = value
        elif name == "retry" and value != "" and set(value) <= set("0123456789"):
            retry = int(value)
    return events, last, retry


# File in the `eventsource` folder of the web-platform-tests; what the service sends; each event's
# type, data and last id. Left out is what needs a browser: origins, workers, readyState, credentials,
# globals. What is about a connection, and not about its bytes, is in tests/client/test_read_streams.py.
WEB_PLATFORM = [
    ("eventsource-onmessage", b"data: data\n\n", [("message", "data", "")]),
    ("event-data", b"data:msg\ndata:msg\n\n:\nfalsefield:msg\n\nfalsefield:msg\nData:data\n\ndata\n\n"
     b"data:end\n\n", [("message", "msg\nmsg", ""), ("message", "", ""), ("message", "end", "")]),
    ("format-bom", b"\xef\xbb\xbfdata:1\n\n\xef\xbb\xbfdata:2\n\ndata:3\n\n",
     [("message", "1", ""), ("message", "3", "")]),
    ("format-bom-2", b"\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\ndata:3\n\n",
     [("message", "2", ""), ("message", "3", "")]),
    ("format-comments", b"data:1\r:\0\n:\r\ndata:2\n:" + b"x" * 2048 + b"\rdata:3\n:data:fail\r:"
     + b"x" * 2048 + b"\ndata:4\n\n", [("message", "1\n2\n3\n4", "")]),
    ("format-data-before-final-empty-line", b"retry:1000\ndata:test1\n\nid:test\ndata:test2",
     [("message", "test1", "")]),
    ("format-field-data", b"data:\n\ndata\ndata\n\ndata:test\n\n",
     [("message", "", ""), ("message", "\n", ""), ("message", "test", "")]),
    ("format-field-event", b"event:test\ndata:x\n\ndata:x\n\n", [("test", "x", ""), ("message", "x", "")]),
    ("format-field-event-empty", b"event: \ndata:data\n\n", [("message", "data", "")]),
    ("format-field-id", "id:…\ndata:hello\n\n".encode(), [("message", "hello", "…")]),
    ("format-field-id-2", "id:…\ndata:hello\n\ndata:…\n\ndata:…\n\n".encode(),
     [("message", "hello", "…"), ("message", "…", "…"), ("message", "…", "…")]),
    ("format-field-id-3, persists", b"id: 1\ndata: a\n\ndata: b\n\n",
     [("message", "a", "1"), ("message", "b", "1")]),
    ("format-field-id-3, changes and persists", b"id: 1\ndata: a\n\nid: 2\ndata: b\n\ndata: c\n\n",
     [("message", "a", "1"), ("message", "b", "2"), ("message", "c", "2")]),
    ("format-field-id-3, resets", b"id: 1\ndata: a\n\nid:\ndata: b\n\ndata: c\n\n",
     [("message", "a", "1"), ("message", "b", ""), ("message", "c", "")]),
    ("format-field-id-3, resets without a colon", b"id: 1\ndata: a\n\nid\ndata: b\n\n",
     [("message", "a", "1"), ("message", "b", "")]),
    ("format-field-id-null", b"id:1\0\0\ndata:hello\n\n", [("message", "hello", "")]),
    ("format-field-parsing", b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\n"
     b"data:3\rdata:\r\n data:32\ndata:4\n\n", [("message", "\0\n 2\n1\n3\n\n4", "")]),
    ("format-field-retry-empty", b"retry\ndata:test\n\n", [("message", "test", "")]),
    ("format-field-unknown", b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\n"
     b"data:test\n\n", [("message", "test\n\ntest", "")]),
    ("format-leading-space", b"data:\ttest\rdata: \ndata:test\n\n", [("message", "\ttest\n\ntest", "")]),
    ("format-newlines", b"data:test\r\ndata\ndata:test\r\n\r", [("message", "test\n\ntest", "")]),
    ("format-null-character", b"data:\0\n\n\n\n", [("message", "\0", "")]),
    ("format-utf-8", "data:ok…\n\n".encode(), [("message", "ok…", "")]),
    ("field-name-event", b"event: testevent\ndata: x\n\n", [("testevent", "x", "")]),
]  # fmt: skip


@pytest.mark.parametrize(("stream", "events"), [pytest.param(s, e, id=n) for n, s, e in WEB_PLATFORM])
def test_the_streams_of_the_web_platform_tests_are_read_as_browsers_read_them(
    stream: bytes, events: list[tuple[str, str, str]]
) -> None:
    whole = decoded(stream)

    assert events == [(kind, data, last) for kind, data, _, last in whole]
    assert whole == decoded(*(stream[i : i + 1] for i in range(len(stream)))), "byte by byte"
    for at in range(len(stream) + 1):
        assert whole == decoded(stream[:at], stream[at:]), f"cut at {at}"


@pytest.mark.parametrize(
    ("stream", "retry"),
    [
        pytest.param(b"retry:3000\n\ndata:x\n\n", 3000, id="format-field-retry"),
        pytest.param(b"retry:2000\nretry:1000x\ndata:x\n\n", 2000, id="format-field-retry-bogus"),
        pytest.param(b"retry\ndata:test\n\n", None, id="format-field-retry-empty"),
        pytest.param(b"data:x\n\nretry: 5\n", 5, id="without an empty line behind it"),
        pytest.param(b"data:x\n\nretry: 5", None, id="without a line end"),
        pytest.param("retry: ٣\n\n".encode(), None, id="digits that are not ASCII"),
        pytest.param(b"retry: -1\n\n", None, id="a sign"),
        pytest.param(b"retry: " + b"9" * 5000 + b"\n\n", 2**34, id="longer than anybody waits"),
    ],
)
def test_retry_is_digits_and_nothing_else(stream: bytes, retry: int | None) -> None:
    decoder = EventDecoder()
    for at in range(len(stream)):
        decoder.feed(stream[at : at + 1])
    decoder.end()

    assert retry == decoder.retry


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Streams of lines that mean something, in every spelling, with all three line ends."""
    value = st.one_of(
        st.sampled_from([b"", b" ", b"x", b"  two", b"a: b", b"12", b"\0", "…é😀".encode(), b"\xff\xe2\x82"]),
        st.binary(max_size=4).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"")),
    )
    line = st.one_of(
        st.just(b""),
        st.tuples(
            st.sampled_from(
                [b"data: ", b"data:", b"data", b"id: ", b"id:", b"event: ", b"event:", b"retry: ", b": ",
                 b":", b"other: ", b" data: ", b"\xef\xbb\xbfdata: "]
            ),
            value,
        ).map(b"".join),
    )  # fmt: skip
    lines = draw(st.lists(st.tuples(line, st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n"])), max_size=14))
    start = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"]))
    return start + b"".join(map(b"".join, lines)) + draw(value)


@settings(max_examples=250, deadline=None)
@given(stream=streams(), cuts=st.lists(st.integers(0, 200), max_size=12))
@example(b"id: \ndata: x\n\n", [])
@example(b"data: a\ndata:b\n\n", [])
@example(b"data:a\ndata: b\n\n", [])
@example(b"data: a\n\n: ping\n\ndata: b\n\n", [])
@example(b"id:  x\nevent:  y\ndata:  z\n\n", [])
@example(b"data: x\r\n\r\ndata: y\r\n\r\n", [8, 9, 10])
def test_however_a_stream_is_cut_its_events_are_what_the_specification_says(
    stream: bytes, cuts: list[int]
) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    decoder = EventDecoder()
    events = []
    for start, end in pairwise(edges):
        events += [(e.type, e.data, e.id, e.last_event_id) for e in decoder.feed(stream[start:end])]
    decoder.end()

    wanted, last, retry = as_specified(stream)
    assert wanted == events
    assert last == decoder.last_event_id
    assert retry == decoder.retry


def test_long_lines_and_short_ones_are_read_alike() -> None:
    """Which of the two ways of reading is taken depends on the length of the first lines."""
    short = b"id: 1\nevent: a\ndata: x\ndata: y\n\n:c\n\nretry: 7\ndata: z\n\n"
    stretched = short.replace(b"x", b"x" * 5000)

    assert [
        (kind, data.replace("x" * 5000, "x"), *rest) for kind, data, *rest in decoded(stretched)
    ] == decoded(short)
    assert decoded(stretched) == decoded(*(stretched[i : i + 700] for i in range(0, len(stretched), 700)))


def test_many_lines_behind_the_last_event_do_not_hide_it() -> None:
    stream = b"data: 1\n\n" + b"data: more\n" * 30

    assert [("message", "1", None, "")] == decoded(stream)
    assert [] == decoded(b"data: more\n" * 30)


def test_a_new_connection_goes_on_with_the_id_that_was_last() -> None:
    assert [("message", "x", None, "41")] == decoded(b"data: x\n\n", last_event_id="41")


def test_an_id_without_data_counts_but_is_no_event() -> None:
    decoder = EventDecoder()

    assert [] == decoder.feed(b"id: 9\n\n")
    assert "9" == decoder.last_event_id


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize(
    "large",
    [
        b"data: " + b"x" * 95,
        b"data: " + b"x" * 95 + b"\n\n",
        b"data: " + b"x" * 40 + b"\ndata: " + b"x" * 50 + b"\n\n",
        b":c\ndata: " + b"x" * 95 + b"\n",
        b"other\n" * 20,
        b"x" * 5000,
    ],
)
def test_an_event_that_is_too_large_ends_the_decoding(large: bytes, size: int) -> None:
    """Those before it are had, nothing after it is, and no memory is kept."""
    stream = b"data: 1\n\ndata: 2\n\n" + large + b"data: 3\n\n" * 200
    decoder = EventDecoder(max_event_chars=100)
    events = []
    for start in range(0, len(stream), size):
        events += decoder.feed(stream[start : start + size])

    assert ["1", "2"] == [event.data for event in events]
    assert decoder.too_large
    assert decoder._waiting == []


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_an_event_may_be_as_large_as_allowed(size: int) -> None:
    stream = b"data: " + b"x" * 94 + b"\n\nid: 1\ndata: " + b"y" * 88 + b"\n\n"
    decoder = EventDecoder(max_event_chars=100)
    events = []
    for start in range(0, len(stream), size):
        events += decoder.feed(stream[start : start + size])

    assert ["x" * 94, "y" * 88] == [event.data for event in events]
    assert not decoder.too_large


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_comments_may_come_for_hours(size: int) -> None:
    """Neither their number nor their length counts, nor do they grow the memory."""
    stream = b"data: a\n" + b": life\n" * 100 + b":" + b"z" * 500 + b"\ndata: b\n\n"
    decoder = EventDecoder(max_event_chars=50)
    events, most = [], 0
    for start in range(0, len(stream), size):
        events += decoder.feed(stream[start : start + size])
        most = max(most, sum(map(len, decoder._waiting)))

    assert ["a\nb"] == [event.data for event in events]
    assert most <= 60


def test_events_compare_by_what_they_say_and_show_no_data() -> None:
    event = ServerSentEvent("delta", '{"a": 1}', "4", "4")

    assert event == ServerSentEvent("delta", '{"a": 1}', "4", "4")
    assert event != ServerSentEvent("delta", '{"a": 1}', None, "4")
    assert len({event, ServerSentEvent("delta", '{"a": 1}', "4", "4")}) == 1
    assert event.json() == {"a": 1}
    assert repr(event) == "<ServerSentEvent 'delta', 8 characters, id '4'>"


def test_data_that_is_no_json_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        ServerSentEvent("delta", "[DONE]").json()
