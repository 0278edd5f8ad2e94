"""
Decodes one kind of stream with one decoder, in a process of its own, and prints what it took as JSON.

    python benchmarks/stream_decoders.py failwell answer --rounds 5

Every side gets the same bytes in the same cuts of 4 kB. What counts is processor time.
"""

from __future__ import annotations

import argparse
import codecs
import json
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

from machine import pin

CUT = 4096


def answer(number: int) -> str:
    """A piece of a chat service's answer: data and nothing else."""
    delta = {"id": "chat-1", "object": "delta", "choices": [{"index": 0, "text": f"wört {number} "}]}
    return f"data: {json.dumps(delta, ensure_ascii=False)}\n\n"


def resumable(number: int) -> str:
    """The same with an id and a type."""
    return f'id: {number}\nevent: delta\ndata: {{"text": "word {number} "}}\n\n'


def crlf(number: int) -> str:
    """The same with CRLF line ends."""
    return resumable(number).replace("\n", "\r\n")


def lines(number: int) -> str:
    """Eight lines of data."""
    return f"id: {number}\n" + "".join(f"data: line {line} of a text\n" for line in range(8)) + "\n"


def mixed(number: int) -> str:
    """All of these, with comments and pings between them."""
    kinds = (answer, resumable, crlf, lines, lambda _: ": ping\n\n", lambda _: "event: ping\ndata\n\n")
    return kinds[number % len(kinds)](number)


def large(number: int) -> str:
    """3 kB of data."""
    return f"data: {'x' * 3000}\n\n"


# Kind of stream: what makes an event of it, and how many.
KINDS: dict[str, tuple[Callable[[int], str], int]] = {
    "answer": (answer, 40_000),
    "resumable": (resumable, 40_000),
    "crlf": (crlf, 40_000),
    "lines": (lines, 15_000),
    "mixed": (mixed, 40_000),
    "large": (large, 6_000),
}


def pieces_of(kind: str) -> list[bytes]:
    """A stream of that kind, in cuts of 4 kB."""
    make, events = KINDS[kind]
    body = "".join(map(make, range(events))).encode()
    return [body[at : at + CUT] for at in range(0, len(body), CUT)]


def by_failwell(pieces: Sequence[bytes]) -> int:
    decoder = import_module("failwell.operations.server_sent_events").EventDecoder()
    return sum(len(decoder.feed(piece)) for piece in pieces)


def by_httpx_sse(pieces: Sequence[bytes]) -> int:
    # As its `iter_sse` does with the text that httpx makes of the bytes.
    decoders: Any = import_module("httpx_sse._decoders")
    text = codecs.getincrementaldecoder("utf-8")("replace")
    line_decoder, decoder = decoders.SSELineDecoder(), decoders.SSEDecoder()
    found = 0
    for piece in pieces:
        for line in line_decoder.decode(text.decode(piece)):
            found += decoder.decode(line.rstrip("\n")) is not None
    return found


def by_openai(pieces: Iterable[bytes]) -> int:
    streaming: Any = import_module("openai._streaming")
    return sum(1 for _ in streaming.SSEDecoder().iter_bytes(iter(pieces)))


SIDES = {"failwell": by_failwell, "httpx-sse": by_httpx_sse, "openai": by_openai}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu", type=int)
    given = parser.parse_args()
    pin(given.cpu)
    decode, pieces = SIDES[given.side], pieces_of(given.kind)
    decode(pieces[:10])
    seconds, events = [], 0
    for _ in range(given.rounds):
        began = time.process_time()
        events = decode(pieces)
        seconds.append(time.process_time() - began)
    print(json.dumps({"events": events, "bytes": sum(map(len, pieces)), "seconds": seconds}))


if __name__ == "__main__":
    main()
