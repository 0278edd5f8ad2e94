"""
A stream of events as bytes on the wire: taken apart into events, cut, numbered anew.

Written apart from `failwell.operations.server_sent_events`, which is what is rehearsed: nothing here
understands more than lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from failwell.drill.faults import Action, Fault, Moment


class Lines(Protocol):
    """What brings lines, as an answer does."""

    def readline(self) -> bytes:
        """The next line with its end; b"" at the end."""
        ...


@dataclass(slots=True)
class Cut:
    """
    What is passed on of a stream, and when it stops.

    Attributes:
        fault: What is done to it; None for nothing.
        ids: The ids of the events that were passed on whole, in order.
        surely: Whether a client must have got the last of them: not behind half an end of it.
        acted: Whether the fault has acted.
    """

    fault: Fault | None = None
    ids: list[str] = field(default_factory=list)
    surely: bool = True
    acted: bool = False
    _whole: int = 0  # events passed on

    def passed(self, answer: Lines) -> Iterator[bytes]:
        """
        What is passed on of `answer`, event by event, to where the fault acts.

        A fault that only changes what is passed on does so to the end.
        """
        for block in blocks(answer):
            fault = self.fault
            if fault is None or fault.action is Action.REPLAY or not is_event(block):
                yield self._note(block)
                continue
            if fault.moment in (Moment.IN_LINE_END, Moment.IN_BLANK_LINE):
                block = block.replace(b"\n", b"\r\n")
            due = self._whole >= fault.events
            if due and fault.action is Action.RENUMBER:
                self.acted = True
                yield self._note(with_id(block, self.ids[self._whole % fault.events]))
                continue
            kept = self._kept(fault, block) if due else None
            if kept is None:
                yield self._note(block)
                continue
            self.acted = True
            if fault.moment is Moment.IN_BLANK_LINE:
                self._note(block)
                self.surely = False
            if fault.insert or kept:
                yield fault.insert + kept
            return

    def _kept(self, fault: Fault, block: bytes) -> bytes | None:
        """What is passed on of the event in which the fault acts; None if it does not act there."""
        if fault.moment is Moment.EVENT:
            return b""
        if fault.moment is Moment.IN_LINE_END:
            return block[:-3]  # without the LF of the last line, and the empty line
        if fault.moment is Moment.IN_BLANK_LINE:
            return block[:-1]
        if fault.moment is Moment.IN_CHARACTER:
            at = next((i for i, byte in enumerate(block) if byte >= 0xC0), None)
            return None if at is None else block[: at + 1]
        # Behind the beginning of what it says: a client that hands it over hands over a part.
        data = block.index(b"data:") + len(b"data:")
        return block[: data + (len(block) - data) // 2]

    def _note(self, block: bytes) -> bytes:
        if is_event(block):
            self._whole += 1
            name = id_of(block)
            if name is not None:
                self.ids.append(name)
        return block


def blocks(answer: Lines) -> Iterator[bytes]:
    """The blocks of a stream, each with the empty line that ends it; the last may have none."""
    block = b""
    while line := answer.readline():
        block += line
        if not line.strip(b"\r\n"):
            yield block
            block = b""
    if block:
        yield block


def is_event(block: bytes) -> bool:
    """Whether a block is an event, and not a comment or a setting alone."""
    return any(line.startswith(b"data") for line in block.splitlines())


def id_of(block: bytes) -> str | None:
    """The id that a block brings."""
    for line in block.splitlines():
        name, _, value = line.partition(b":")
        if name == b"id":
            return value.removeprefix(b" ").decode("utf-8", "replace")
    return None


def with_id(block: bytes, name: str) -> bytes:
    """`block` with another id."""
    lines = block.splitlines(keepends=True)
    return b"".join(
        b"id: " + name.encode() + b"\n" if line.partition(b":")[0] == b"id" else line for line in lines
    )
