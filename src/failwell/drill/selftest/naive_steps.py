"""What the naive client does in several requests: read a stream of events, send a file in parts."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from typing import Any

from failwell import errors
from failwell.contract import Contract
from failwell.drill.selftest.toy import KEY, TOY, Thing, ToyError, digest_field
from failwell.drill.subject import PART_BYTES, Call
from failwell.failure import Effect, Failure

_keys = itertools.count(1)


class ToyStreamError(ToyError, errors.StreamError):
    """A stream that was not complete."""


class ToyUploadError(ToyError, errors.UploadError):
    """A file that was not stored."""


NAIVE = Contract(
    "naive",
    base=ToyError,
    rules=TOY.rules,
    broken={**TOY.broken, errors.StreamError: ToyStreamError, errors.UploadError: ToyUploadError},
)


class Listener:
    """Reads the stream of one call."""

    def __init__(self, client: Any, call: Call) -> None:
        self._client, self._call, self._habits = client, call, client.habits
        self._key = f"naive-stream-{next(_keys)}"
        self._last = ""

    def listen(self) -> Thing:
        """Read until the last event came, and ask for what follows when it breaks."""
        for _ in range(1 + self._call.settings.reconnects):
            if self._read_once() or "takes the end of an answer for that of a stream" in self._habits:
                return Thing(self._last.partition(":")[0])
        failure = Failure(method="POST", message="The stream broke", effect=Effect.APPLIED, stopped="tries")
        raise ToyStreamError.from_failure(failure)

    def _read_once(self) -> bool:
        """Whether the last event came."""
        headers = {"x-api-key": KEY, "idempotency-key": self._key, "accept": "text/event-stream"}
        if self._last and "asks for a stream from its beginning" not in self._habits:
            headers["last-event-id"] = self._last
        connection, seen = self._client.connection(), {name for name, _ in self._call.heard}
        try:
            connection.request("POST", "/things", json.dumps({"name": self._call.marker}), headers)
            with connection.getresponse() as answer:
                for name, text in self._events(answer):
                    if name not in seen or self._habits & _FORGETFUL:
                        self._last = name
                        self._call.heard.append((name, text))
                    if not text:
                        return True
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
        return False

    def _events(self, answer: Any) -> Iterator[tuple[str, str]]:
        """Id and text of each event that is whole."""
        fields: dict[str, str] = {}
        with contextlib.suppress(HTTPException):  # chunks that were cut end the stream, and no event
            while line := answer.readline():
                name, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(": ")
                if name == "" and line.endswith(b"\n"):
                    if "data" in fields or "data:" in fields:
                        yield fields["id"], fields.get("data", "")
                    fields = {}
                elif line.endswith(b"\n") or "hands part of an event over" in self._habits:
                    fields[name] = value
        if fields.get("data") and "hands part of an event over" in self._habits:
            yield fields["id"], fields["data"]


_FORGETFUL = {"asks for a stream from its beginning", "hands over what was seen"}


@dataclass(slots=True)
class _Answer:
    """What came of one request: a status of 0 for no answer."""

    status: int = 0
    body: Any = None


class Uploader:
    """Sends the file of one call in parts."""

    def __init__(self, client: Any, call: Call) -> None:
        self._client, self._call, self._habits = client, call, client.habits
        content = call.content
        slices = range(0, len(content), PART_BYTES)
        self._parts = {n: content[at : at + PART_BYTES] for n, at in enumerate(slices, 1)}

    def upload(self) -> Thing:
        """Send all parts, and have them put together; send what the service then misses."""
        self._send_all(set())
        if self._complete():
            return Thing(self._call.marker)
        self._send_all(self._stored())
        if not self._complete():
            raise self._error("The file was not put together", 409)
        return Thing(self._call.marker)

    def _send_all(self, stored: set[int]) -> None:
        for number in sorted(self._parts.keys() - stored):
            if not self._sent(number):
                self._send_all(set())
                return

    def _sent(self, number: int) -> bool:
        """Whether a part was sent; if not, all is to be sent anew."""
        answer = _Answer()
        for _ in range(self._call.settings.attempts):
            part, digest = self._parts[number], {"content-digest": digest_field(self._parts[number])}
            if "has no part checked" in self._habits:
                digest = {}
            answer = self._ask("PUT", f"/parts/{number}", part, digest)
            if answer.status == 200:
                return True
            if 400 <= answer.status < 500:
                raise self._error("A part was refused", answer.status)
            if "begins an upload anew" in self._habits:
                return False
            asks = "sends a part again without asking" not in self._habits
            if asks and number in self._stored():
                return True
        raise self._error("A part did not arrive", answer.status)

    def _complete(self) -> bool:
        content = self._call.content
        checked = not self._habits & {"has no file checked", "has no part checked"}
        wanted = {"size": len(content), "sha256": sha256(content).hexdigest() if checked else ""}
        return self._ask("POST", "/complete", json.dumps(wanted).encode(), {}).status == 200

    def _stored(self) -> set[int]:
        """Numbers of the parts that the service has as they are."""
        known = (self._ask("GET", "", None, {}).body or {}).get("parts", {})
        return {n for n, part in self._parts.items() if known.get(str(n)) == sha256(part).hexdigest()}

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> _Answer:
        connection = self._client.connection()
        try:
            connection.request(
                method, f"/uploads/{self._call.marker}{path}", body, {"x-api-key": KEY, **headers}
            )
            with connection.getresponse() as answer:
                return _Answer(answer.status, json.loads(answer.read()))
        except (OSError, HTTPException, ValueError):
            return _Answer()
        finally:
            connection.close()

    @staticmethod
    def _error(text: str, status: int) -> errors.CallError:
        failure = Failure(
            method="PUT", message=text, status=status or None, effect=Effect.NOT_APPLIED, stopped="tries"
        )
        return ToyUploadError.from_failure(failure)
