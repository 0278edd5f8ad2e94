"""Judge the answers of a service to requests made at random, and what it wrote into its logs."""

from __future__ import annotations

import http.client
import io
import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import h11

from failwell.answer import Answer
from failwell.service import Service

# What uvicorn itself says to bytes that are no request; no application has seen them.
NO_HTTP = b"Invalid HTTP request received."

# uvicorn's limit for a head: whether a longer one is taken depends on how it arrives.
MOST_HEAD_BYTES = 64 * 1024

_SERVERS_DUTY = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Received:
    """
    An answer as it was on the wire.

    Attributes:
        raw: All of it.
        status: Of the last head; 0 if there was none.
        headers: Lower-case name and value of each field.
        body: What followed the head.
    """

    raw: bytes
    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for known, value in self.headers if known == name]


class _Bytes:
    """What `http.client` takes for a socket."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self._raw)


def received(raw: bytes, method: str) -> Received:
    """The answer in `raw`; status 0 if there is none."""
    if not raw:
        return Received(raw, 0)
    response = http.client.HTTPResponse(_Bytes(raw), method=method)  # type: ignore[arg-type]
    try:
        response.begin()
        fields = [(name.lower(), value) for name, value in response.getheaders()]
        body = response.read()
    except (http.client.HTTPException, ValueError):
        return Received(raw, 0)
    return Received(raw, response.status, fields, body)


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A request as a server reads it.

    Attributes:
        method: As it was sent.
        path: Decoded.
        whole: Whether all of its body came; if not, it may go without an answer.
    """

    method: str
    path: str
    whole: bool


def asked(raw: bytes) -> Asked | None:
    """The request in `raw`; None if the bytes are none."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**30)
    connection.receive_data(raw)
    try:
        request = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(request, h11.Request):
        return None
    path = request.target.partition(b"?")[0].decode("ascii")
    return Asked(request.method.decode("ascii"), unquote(path), _is_whole(connection))


def _is_whole(connection: h11.Connection) -> bool:
    try:
        while isinstance(event := connection.next_event(), h11.Data):
            pass
    except h11.RemoteProtocolError:
        return False
    return isinstance(event, h11.EndOfMessage)


class Judge:
    """
    Holds every answer of a service to its word.

    Args:
        service: The service, in this process.
        secrets: What may stand in no answer and no log.
        document: Its OpenAPI document.
    """

    def __init__(self, service: Service, secrets: Iterable[str], document: Mapping[str, Any]) -> None:
        self.service = service
        self.document = document
        self._secrets = tuple(secrets)
        self._undeclared = len(service.undeclared)

    def faults(self, sent: bytes, answer: Received) -> list[str]:
        """What is wrong with an answer; empty if nothing is."""
        found = (
            [f"the answer repeats a secret: {self.blackened(answer.raw)!r}"]
            if self._leaks(answer.raw)
            else []
        )
        request = asked(sent)
        if answer.status == 400 and answer.body == NO_HTTP:
            if (
                request is not None
                and request.whole
                and len(sent.partition(b"\r\n\r\n")[0]) < MOST_HEAD_BYTES
            ):
                found.append("the server did not read a request that is one")
            return found
        if answer.status == 0:
            return [*found, "no answer"] if request is not None and request.whole else found
        if request is None:
            return [*found, "an answer to what is no request"]
        found += self._in_head(answer)
        found += self._in_status(request.method, request.path, answer)
        found += self._in_body(request.method, answer)
        return found

    def undeclared(self) -> list[str]:
        """What was sent since the last time and is declared nowhere."""
        now = self.service.undeclared
        if len(now) == self._undeclared:
            return []
        self._undeclared = len(now)
        return [f"not declared: {sorted(now)}"]

    def said_in_logs(self, records: Iterable[str]) -> list[str]:
        """What is wrong with what was logged."""
        written = [text.encode("utf-8", "replace") for text in records]
        return [f"a log repeats a secret: {self.blackened(raw)}" for raw in written if self._leaks(raw)]

    def _leaks(self, raw: bytes) -> bool:
        return any(secret.encode() in raw for secret in self._secrets)

    def blackened(self, raw: bytes) -> str:
        """The beginning of `raw` for people, without the secrets."""
        text = raw.decode("utf-8", "replace")
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        return text[:2000]

    def _in_head(self, answer: Received) -> list[str]:
        found, status = [], answer.status
        if len(answer.all(self.service.request_id_header.lower())) != 1:
            found.append("it does not have one request id")
        if status < 400:
            return found
        if answer.all("cache-control") != ["no-store"]:
            found.append(f"Cache-Control of an error is {answer.all('cache-control')}")
        if status >= 500 and status != 503:
            found.append(f"a {status}")
        if status == 401 and len(answer.all("www-authenticate")) != 1:
            found.append("a 401 without a challenge")
        if status == 405 and not answer.all("allow"):
            found.append("a 405 without Allow")
        wait = answer.all("retry-after")
        if status in (429, 503) and not wait:
            found.append(f"a {status} without Retry-After")
        if any(_SERVERS_DUTY.fullmatch(value) is None for value in wait):
            found.append(f"Retry-After is {wait}")
        return found

    def _in_status(self, method: str, path: str, answer: Received) -> list[str]:
        match = self.service.table.match(method, path)
        operation = match.operation
        if operation is None:
            expected = {"405" if match.allowed else "404", "429", "503"}
        elif not operation.documented:
            expected = {"200", "404", "503"}
        else:
            described = self.document["paths"][operation.path][operation.method.lower()]
            expected = set(described["responses"])
        if str(answer.status) in expected or f"{answer.status // 100}XX" in expected:
            return []
        return [f"status {answer.status} of {method} is not in the document, which has {sorted(expected)}"]

    def _in_body(self, method: str, answer: Received) -> list[str]:
        if method == "HEAD":
            return ["a HEAD with a body"] if answer.body else []
        found: list[str] = []
        try:
            value = json.loads(answer.body.decode("utf-8"), parse_constant=_no_number)
        except (ValueError, RecursionError) as exc:
            return [f"the body is no JSON: {exc}: {self.blackened(answer.body)[:200]!r}"]
        if answer.status < 400:
            return found
        if b"Traceback (most" in answer.body:
            found.append("a traceback in the answer")
        error = self.service.contract.decode(Answer(answer.status, answer.headers, answer.body))
        if type(error) not in self.service.contract.exceptions:
            return [*found, f"decodes to {type(error).__name__}, none of the contract's"]
        assert error is not None
        if error.failure.status != answer.status:
            found.append(f"decodes to status {error.failure.status}")
        if not error.failure.message:
            found.append("an error without a message")
        # A replay repeats the first answer to the byte, and says whose it was.
        identifiers = answer.all("idempotent-original-request") or answer.all(
            self.service.request_id_header.lower()
        )
        if isinstance(value, dict) and "request_id" in value and value["request_id"] not in identifiers:
            found.append("head and body have different request ids")
        return found


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number in JSON")


class Records(logging.Handler):
    """Keeps what is logged, as a file would have it, until it is taken."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
        self._kept: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, with its traceback and its arguments."""
        # The arguments may be written by a formatter of somebody else's.
        self._kept.append((record.levelno, f"{self.format(record)} {record.args!r}"))

    def take(self) -> list[tuple[int, str]]:
        """What was logged since the last time: level and text."""
        # Others log meanwhile; what comes now is for the next time.
        taken = self._kept[: len(self._kept)]
        del self._kept[: len(taken)]
        return taken

    def __enter__(self) -> Records:
        self._before = {name: logging.getLogger(name).level for name in _LOGGERS}
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
        for name, level in self._before.items():
            logging.getLogger(name).setLevel(level)


_LOGGERS = ("failwell", "failwell.service", "failwell_sandbox", "uvicorn", "uvicorn.error")
