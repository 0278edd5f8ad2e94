"""Send requests made at random to a service in this process, until one answer is wrong."""

from __future__ import annotations

import json
import logging
import socket
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from service_answers import NO_HTTP, Judge, Received, Records, asked, received
from service_requests import ID, SECRET, Request, described, hostile

from failwell.service import Service

# Requests between two lines of progress, and after which a strategy begins anew.
ROUND = 100

# A request may wait for others; one that takes longer than this is lost.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """
    A service to try.

    Attributes:
        name: For messages.
        service: Behind its gates, in this process.
        url: Where it listens.
        keys: Name to key; `full` is the one that may do everything.
        excluded: Requests that are not sent.
    """

    name: str
    service: Service
    url: str
    keys: Mapping[str, str]
    excluded: Callable[[Request], bool] = lambda _: False


@dataclass(slots=True)
class Outcome:
    """
    What came of it.

    Attributes:
        sent: Requests that were sent.
        statuses: How often each status was answered; 0 for bytes that no answer is due to.
        unread: Of the 400s, those of the server itself, to bytes that are no HTTP request.
        excluded: Requests that were made and not sent.
        faults: What is wrong with the last answer; empty if nothing is with any.
        request: The request that it is the answer to.
        answer: The beginning of it, without secrets.
    """

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    unread: int = 0
    excluded: int = 0
    faults: list[str] = field(default_factory=list)
    request: Request | None = None
    answer: str = ""


class Fuzzer:
    """
    Sends and judges.

    Args:
        target: The service.
        told: Takes a line of progress.
    """

    def __init__(self, target: Target, told: Callable[[str], None] = lambda _: None) -> None:
        self.target = target
        self.outcome = Outcome()
        self._told = told
        document = json.loads(json.dumps(target.service.openapi()))
        self._document: dict[str, Any] = document
        self._judge = Judge(target.service, (*target.keys.values(), SECRET), document)
        # Collection to what was made in it.
        self._made: dict[bytes, deque[bytes]] = {}
        self._wanted = 0

    def run(self, requests: int, seed: int) -> Outcome:
        """
        Send `requests`, half of them made from the document and half of them hostile.

        Raises:
            ImportError: schemathesis is not installed.
        """
        key_header = self.target.service.keys.header.encode()
        scheme = self.target.service.keys.scheme
        before = f"{scheme} ".encode() if scheme else b""
        fitting = [(d.name, d.strategy) for d in described(self._document, key_header, before)]
        with Records() as records:
            self._wanted = requests // 2
            self._rounds(fitting, seed, records)
            self._wanted = requests
            self._rounds([("hostile", hostile(self._document, key_header, before))], seed, records)
        return self.outcome

    def _rounds(
        self, strategies: list[tuple[str, st.SearchStrategy[Request]]], seed: int, records: Records
    ) -> None:
        strategies = list(strategies)
        share = max(1, min(ROUND, (self._wanted - self.outcome.sent) // len(strategies)))
        number = 0
        while strategies and self._goes_on:
            name, strategy = strategies[number % len(strategies)]
            before = self.outcome.sent
            try:
                self._round(strategy, f"{seed} {name} {number}", share, records)
            except Unsatisfiable:
                # Nothing can be wrong with a request of which nothing is described.
                strategies.remove((name, strategy))
                continue
            number += 1
            if self.outcome.sent // ROUND > before // ROUND:
                self._told(f"{self.target.name}: {self.outcome.sent} sent, the last {name}")

    @property
    def _goes_on(self) -> bool:
        return self.outcome.sent < self._wanted and not self.outcome.faults

    def _round(self, strategy: st.SearchStrategy[Request], seed: str, share: int, records: Records) -> None:
        @hypothesis.seed(seed)
        @settings(
            max_examples=share, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @hypothesis.given(strategy)
        def one(request: Request) -> None:
            # Nothing is raised: the service has changed since, and would not answer the same again.
            if self._goes_on:
                self.send(request, records)

        one()

    def send(self, request: Request, records: Records) -> None:
        """Send one request and judge what comes of it."""
        outcome = self.outcome
        if self.target.excluded(request):
            outcome.excluded += 1
            return
        sent = request.raw(self.target.keys, self._identifier(request))
        faults: list[str] = []
        read = asked(sent)
        try:
            # Who announces more than there is, would wait as long as the server does.
            raw = self._exchanged(sent, read is not None and not read.whole)
            answer = received(raw, "GET" if read is None else read.method)
        except TimeoutError:
            answer, faults = Received(b"", 0), [f"no answer within {PATIENCE:g} seconds"]
        outcome.sent += 1
        outcome.statuses[answer.status] += 1
        outcome.unread += answer.body == NO_HTTP
        self._learn(answer)
        faults += self._judge.faults(sent, answer)
        faults += self._judge.undeclared()
        logged = records.take()
        faults += self._judge.said_in_logs(text for _, text in logged)
        faults += [
            f"logged: {self._judge.blackened(text.encode('utf-8', 'replace'))}"
            for level, text in logged
            if level >= logging.ERROR
        ]
        if faults:
            outcome.faults, outcome.request, outcome.answer = (
                faults,
                request,
                self._judge.blackened(answer.raw),
            )

    def _exchanged(self, sent: bytes, cut: bool) -> bytes:
        parts = urlsplit(self.target.url)
        chunks = []
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=PATIENCE) as sock:
            # A server that has answered may close while the rest is on its way.
            with suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(sent)
            if cut:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while chunk := sock.recv(65536):
                    chunks.append(chunk)
        return b"".join(chunks)

    def _learn(self, answer: Received) -> None:
        for location in answer.all("location"):
            collection, _, identifier = location.encode("latin-1").rpartition(b"/")
            if identifier:
                self._made.setdefault(collection, deque(maxlen=100)).append(identifier)

    def _identifier(self, request: Request) -> bytes:
        collection = request.target.partition(b"/" + ID)[0]
        made = self._made.get(collection)
        return made[request.pick % len(made)] if made else b"none"
