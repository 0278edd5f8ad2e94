"""
A service whose streams of events are cut at random bytes, for the benchmark and for tests.

    python benchmarks/stream_server.py

prints its port, and serves until its standard input ends. `/streams/<name>?events=100&cuts=10` is a
stream: it goes on after `Last-Event-ID`, now and then some events before that, and hangs up after a
random number of bytes, chunk headers included: inside a number, a character, a line end. After so
many cuts its rest comes whole. `/counts/<name>` says how often it was asked and cut.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from machine import pin

# Characters of one to four bytes, so that cuts come inside them, too; and what looks like a field.
WORDS = ("plain", "grün", "…", "日本", "😀", "a: b", "", '{"x": 1}', "data: x")
ENDS = ("\n", "\r\n", "\r")
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%s\r\n\r\n"


def text_of(number: int) -> str:
    """What event `number` says."""
    return f"{number} {WORDS[number % len(WORDS)]}"


def stream_of(first: int, events: int) -> bytes:
    """The body from event `first` on, the last event included, with line ends of every kind."""
    parts = []
    for number in range(first, events):
        end = ENDS[number % len(ENDS)]
        life = f": life{end}" if number % 7 == 0 else ""
        parts.append(f"{life}id: {number}{end}data: {text_of(number)}{end}{end}")
    return "".join(parts).encode() + b"event: done\ndata: bye\n\n"


@dataclass
class Live:
    """
    One stream.

    Attributes:
        events: How many there are before the last.
        cuts: How often it is cut.
        most: The most bytes that come before a cut.
        random: Where the chance comes from.
        cut: How often it was cut.
        asked: How often it was asked for.
    """

    events: int
    cuts: int
    most: int
    random: random.Random
    cut: int = 0
    asked: int = 0


@dataclass
class Service:
    """The service; it listens on loopback."""

    lives: dict[str, Live] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                url = urlsplit(head.split(" ", 2)[1])
                kind, name = url.path.strip("/").split("/")
                if kind == "counts":
                    live = self.lives[name]
                    self._say(writer, json.dumps({"asked": live.asked, "cut": live.cut}).encode())
                else:
                    given = {key: int(values[0]) for key, values in parse_qs(url.query).items()}
                    chance = random.Random(given.get("seed", 1))
                    fresh = Live(given["events"], given["cuts"], given.get("most", 200), chance)
                    self._stream(self.lives.setdefault(name, fresh), head, writer)
                await writer.drain()
        writer.close()

    def _say(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        writer.write(HEAD % (b"application/json", b"content-length: %d" % len(body)) + body)

    def _stream(self, live: Live, head: str, writer: asyncio.StreamWriter) -> None:
        live.asked += 1
        chance = live.random
        lines = (line.partition(":") for line in head.lower().split("\r\n"))
        after = next((int(value) for name, _, value in lines if name == "last-event-id"), -1)
        first = max(0, after + 1 - chance.choice((0, 0, 0, 3)))
        is_cut = live.cut < live.cuts
        # More than what comes before the cut need not be made.
        body = stream_of(first, min(live.events, first + live.most) if is_cut else live.events)
        size = chance.randint(1, 300)
        pieces = (body[at : at + size] for at in range(0, len(body), size))
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        writer.write(HEAD % (b"text/event-stream", b"transfer-encoding: chunked"))
        if not is_cut:
            writer.write(chunks)
            return
        live.cut += 1
        writer.write(chunks[: min(len(chunks) - 5, chance.randint(0, live.most))])
        if chance.random() < 0.2:
            writer.transport.abort()  # RST, which may overtake what was sent
        writer.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cpu", type=int, help="the core to stay on")
    pin(parser.parse_args().cpu)
    server = await asyncio.start_server(Service().serve, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
