"""
Server-sent events, decoded as the bytes come.

    decoder = EventDecoder()
    for piece in pieces:
        for event in decoder.feed(piece):
            ...

Theory of operation. An event ends at an empty line, so the decoder waits for one and then takes
everything up to the last empty line there is apart in one go; what follows waits. Before, bytes
become text (UTF-8, cut anywhere) and line ends are made alike (LF, CR and CRLF mean the same). How
the bytes were cut into pieces cannot be seen in the events.

Nearly every event is an id, a name and data, in this order and each at most once, or with several
lines of data. A regular expression reads all such events of a piece at once; what looks otherwise
is read line by line, as the specification describes it. Long events are, too: for them, searching
costs less than matching.

An event that never ends must not fill the memory: one that is larger than allowed ends the
decoding. Comments do not count and are dropped as they come, for a service may send them for hours
to say that it lives.

Source:
    WHATWG HTML, section 9.2 (https://html.spec.whatwg.org/multipage/server-sent-events.html).
    One thing is done as browsers do it and not as it is written there: an event without an id
    on a new connection keeps the id that was last, instead of taking it away.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A hundred times what chat services send in one event.
MAX_EVENT_CHARS = 1024 * 1024

# Comments and empty lines, and behind them an event as most are written, or, in the last group, one of
# another kind, or the end. The space behind "data:" is the same in all its lines, so that it can be
# taken away with the line ends. The first group is atomic: a thousand pings are not read a thousand times.
_EVENTS = re.compile(
    r"(?>(?:(?::.*)?\n)*)"
    r"(?:(?:id: ?([^\n\0 ][^\n\0]*)\n)?"
    r"(?:event: ?(.*)\n)?"
    r"(data)(?::( ?)(.*(?:\ndata:\4.*)*))?\n\n"
    r"|((?:.+\n)+\n)"
    r"|\Z)"
)
# What many services send, and nothing else.
_DATA_ONLY = re.compile(r"data: (.*)\n\n")
# Characters of four lines from which on searching for their ends costs less than matching them.
_LONG_LINES = 1200

# Milliseconds: two hundred days. What is longer is no time that anybody waits.
_LONGEST_RETRY = 2**34


class ServerSentEvent:
    """
    One event of a stream.

    Attributes:
        type: What it is called; "message" if the service does not say.
        data: What it says; lines joined with a line feed.
        id: The id this event brought; None if it brought none.
        last_event_id: The id to go on after, once this event has been handled; "" for none yet.
    """

    __slots__ = ("data", "id", "last_event_id", "type")

    def __init__(self, type: str, data: str, id: str | None = None, last_event_id: str = "") -> None:
        self.type = type
        self.data = data
        self.id = id
        self.last_event_id = last_event_id

    def __repr__(self) -> str:
        return f"<ServerSentEvent {self.type!r}, {len(self.data)} characters, id {self.id!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ServerSentEvent) and self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash(self._facts())

    def _facts(self) -> tuple[str, str, str | None, str]:
        return self.type, self.data, self.id, self.last_event_id

    def json(self) -> Any:
        """
        The data as JSON.

        Raises:
            ValueError: it is none.
        """
        return json.loads(self.data)


class EventDecoder:
    """
    Decodes one stream.

    Args:
        last_event_id: The id that the stream goes on after; "" for none.
        max_event_chars: The most characters that the lines of one event may have, comments not
            counted.

    Attributes:
        last_event_id: The last id there was, also of a block that was no event; "" for none.
        retry: Milliseconds the service wants to be left alone before a new connection; None if it
            did not say.
        too_large: Whether an event was larger than allowed. Then nothing more comes.
    """

    __slots__ = (
        "_after_cr", "_begun", "_decode", "_limit", "_only_data", "_size", "_waiting",
        "last_event_id", "retry", "too_large",
    )  # fmt: skip

    def __init__(self, last_event_id: str = "", *, max_event_chars: int = MAX_EVENT_CHARS) -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self.too_large = False
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._limit = max_event_chars
        self._waiting: list[str] = []  # of an event that is not whole
        self._size = 0  # characters of it
        self._begun = False
        self._after_cr = False
        self._only_data = True

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """The events that are whole now that `piece` has come."""
        text = self._decode(piece)
        if not text or self.too_large:
            return []
        if not self._begun:
            self._begun = True
            text = text.removeprefix("\ufeff")
        if "\r" in text or self._after_cr:
            text = self._with_line_feeds(text)
        end = _end_of_events(text)
        waiting = self._waiting
        if not end and text[:1] == "\n" and waiting and waiting[-1].endswith("\n"):
            end = 1  # an empty line that was cut in two
        if not end:
            self._wait(text)
            return []
        whole = "".join((*waiting, text[:end])) if waiting else text[:end]
        waiting.clear()
        self._size = 0
        if len(whole) > self._limit:
            whole = self._before_too_large(whole)
        events = self._events(whole)
        if end < len(text):
            self._wait(text[end:])
        return events

    def end(self) -> None:
        """
        The stream is over: what has no empty line behind it is no event.

        A `retry` counts from its own line on, whether or not an event follows.
        """
        for line in "".join(self._waiting).split("\n")[:-1]:
            name, _, value = line.partition(":")
            if name == "retry":
                self._retry(value.removeprefix(" "))
        self._waiting.clear()
        self._size = 0

    def _with_line_feeds(self, text: str) -> str:
        """`text` with every line end made an LF; a CRLF may be cut in two."""
        if self._after_cr:
            text = text.removeprefix("\n")
        self._after_cr = text.endswith("\r")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _wait(self, text: str) -> None:
        """Keep the beginning of an event, or more of it."""
        if not text or self.too_large:
            return
        self._waiting.append(text)
        self._size += len(text)
        if self._size > self._limit:
            self._shrink()

    def _shrink(self) -> None:
        """Drop the comments of an event that is not whole; give it up if it is too large without."""
        *lines, rest = "".join(self._waiting).split("\n")
        # Of a comment that goes on, it is enough to know that it is one.
        kept = [*_lines_that_count(lines), rest[:1] if rest.startswith(":") else rest]
        text = "\n".join(kept)
        self.too_large = _size(text) > self._limit
        self._waiting = [] if self.too_large else [text]
        self._size = len(text)

    def _before_too_large(self, text: str) -> str:
        """The events in `text` up to the first that is too large."""
        taken = 0
        for block in text.split("\n\n"):
            if _size(block) > self._limit:
                self.too_large = True
                return text[:taken]
            taken += len(block) + 2
        return text

    def _events(self, text: str) -> list[ServerSentEvent]:
        """The events in `text`, which ends with an empty line."""
        if _has_long_lines(text):
            return self._read(text)
        last = self.last_event_id
        if self._only_data and text.startswith("data: "):
            found = _DATA_ONLY.findall(text)
            if sum(map(len, found)) + 8 * len(found) == len(text):
                return [ServerSentEvent("message", data, None, last) for data in found]
            self._only_data = False
        events: list[ServerSentEvent] = []
        for own, kind, is_event, space, data, other in _EVENTS.findall(text):
            if other or (not space and "\n" in data):
                self.last_event_id = last
                events += self._read(other or _written(own, kind, data))
                last = self.last_event_id
            elif is_event:
                if own:
                    last = own
                if "\n" in data:
                    data = data.replace("\ndata: ", "\n")
                events.append(ServerSentEvent(kind or "message", data, own or None, last))
        self.last_event_id = last
        return events

    def _read(self, text: str) -> list[ServerSentEvent]:
        """As `_events`, line by line."""
        events: list[ServerSentEvent] = []
        last = self.last_event_id
        kind, start = "", 0
        data: str | None = None
        own: str | None = None
        while (end := text.find("\n", start)) >= 0:
            if end == start:
                if data is not None:
                    events.append(ServerSentEvent(kind or "message", data, own, last))
                kind, data, own = "", None, None
            elif text.startswith("data: ", start):
                value = text[start + 6 : end]
                data = value if data is None else f"{data}\n{value}"
            elif text[start] != ":":
                name, _, value = text[start:end].partition(":")
                if value[:1] == " ":
                    value = value[1:]
                if name == "data":
                    data = value if data is None else f"{data}\n{value}"
                elif name == "event":
                    kind = value
                elif name == "id":
                    if "\0" not in value:
                        own = last = value
                elif name == "retry":
                    self._retry(value)
            start = end + 1
        self.last_event_id = last
        return events

    def _retry(self, value: str) -> None:
        if value.isascii() and value.isdigit():
            self.retry = min(int(value[:20]), _LONGEST_RETRY)


def _end_of_events(text: str) -> int:
    """The index behind the last empty line; 0 if there is none."""
    # Looking for one character from behind is so much quicker than looking for two that trying a few
    # line ends pays: there are no more of them behind the last event of a piece.
    end = len(text)
    for _ in range(8):
        end = text.rfind("\n", 0, end)
        if end <= 0:
            return 0
        if text[end - 1] == "\n":
            return end + 1
    found = text.rfind("\n\n", 0, end)
    return 0 if found < 0 else found + 2


def _has_long_lines(text: str) -> bool:
    """Whether the first lines of `text` are long."""
    end = -1
    for _ in range(4):
        end = text.find("\n", end + 1)
        if end < 0:
            return len(text) > _LONG_LINES
    return end > _LONG_LINES


def _written(own: str, kind: str, data: str) -> str:
    """The lines that the groups of an event were found in, as far as it matters."""
    return f"{f'id:{own}' if own else ''}\nevent: {kind}\ndata:{data}\n\n"


def _size(text: str) -> int:
    """The characters in the lines of an event, comments not counted."""
    return len("\n".join(_lines_that_count(text.split("\n"))))


def _lines_that_count(lines: list[str]) -> list[str]:
    return [line for line in lines if line and not line.startswith(":")]
