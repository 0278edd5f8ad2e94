"""A service that takes files in parts, in memory, and does what a script says first."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from answering_server import RESET, Asked

import failwell
from failwell import Operation, Part, PartUpload, UploadSession, WholeFile

PART = 1000  # bytes

# What else can become of a part, or of the end.
LOST = "lost"  # it is stored, and the answer never comes
DROPPED = "dropped"  # nothing is stored, and no answer comes
FORGOTTEN = "forgotten"  # it is stored, and forgotten later


class PartService:
    """
    Answers for an `AnsweringServer`.

    Args:
        script: What happens at a place ("begin", "part 3", "look", "complete") one after the other:
            a status, or one of the words above. What is not named goes well.

    Attributes:
        size: Bytes that the file was said to have.
        parts: What is stored, by number.
        came: How often each place was asked for.
        keys: The idempotency keys of each place.
        done: The whole file, once it is complete.
    """

    def __init__(self, script: dict[str, Iterable[Any]] | None = None) -> None:
        self.size = 0
        self.parts: dict[int, bytes] = {}
        self.came: Counter[str] = Counter()
        self.keys: defaultdict[str, list[str | None]] = defaultdict(list)
        self.done: bytes | None = None
        self._script = {place: iter(acts) for place, acts in (script or {}).items()}
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Any:
        with self._lock:
            place = self._place(asked)
            self.came[place] += 1
            self.keys[place].append(asked.headers.get("idempotency-key"))
            act = next(self._script.get(place, iter(())), None)
            if isinstance(act, int):
                return act, {"detail": f"{place}: {act}"}
            if isinstance(act, tuple):
                return act
            if act == DROPPED:
                return RESET
            answer = self._carried_out(place, asked, act)
            return RESET if act == LOST else answer

    def _place(self, asked: Asked) -> str:
        if asked.method == "GET":
            return "look"
        if asked.method == "PUT":
            return f"part {asked.target.rpartition('/')[2]}"
        return "complete" if asked.target.endswith("/complete") else "begin"

    def _carried_out(self, place: str, asked: Asked, act: Any) -> Any:
        import json

        if place == "begin":
            self.size = json.loads(asked.body)["size"]
            return 201, self._seen()
        if place == "look":
            return 200, self._seen()
        if place == "complete":
            whole = b"".join(self.parts[number] for number in sorted(self.parts))
            if len(whole) != self.size:
                return 409, {"detail": "Parts are missing."}
            if json.loads(asked.body)["sha256"] not in (None, sha256(whole).hexdigest()):
                return 422, {"detail": "The file is not what was announced."}
            self.done = whole
            return 200, {"id": "up_1", "size": len(whole)}
        announced = f"sha-256=:{b64encode(sha256(asked.body).digest()).decode()}:"
        if asked.headers["content-digest"] != announced:
            return 422, {"detail": "The part is not what was announced."}
        if act != FORGOTTEN:
            self.parts[int(place.removeprefix("part "))] = asked.body
        return 200, {"etag": len(asked.body)}

    def _seen(self) -> dict[str, Any]:
        digests = {number: sha256(part).hexdigest().upper() for number, part in self.parts.items()}
        return {"id": "up_1", "size": self.size, "parts": digests, "done": self.done is not None}


def session(answer: failwell.Response) -> UploadSession:
    data = answer.json()
    parts = {int(number): digest for number, digest in data["parts"].items()}
    done = {"id": data["id"], "size": data["size"]} if data["done"] else None
    return UploadSession(data["id"], PART, parts, data["size"], done, {"media_id": "vid_1"})


def upload(source: Any, **settings: Any) -> PartUpload[Any]:
    """The upload of `source`, as an SDK describes it."""

    def send(known: UploadSession, part: Part) -> Operation[Any]:
        where = f"/uploads/{known.upload_id}/parts/{part.number}"
        return Operation("PUT", where, lambda answer: answer.json(), content=part.content)

    def complete(known: UploadSession, whole: WholeFile) -> Operation[Any]:
        where = f"/uploads/{known.upload_id}/complete"
        return Operation("POST", where, lambda answer: answer.json(), json={"sha256": whole.sha256})

    described: dict[str, Any] = {
        "begin": lambda size: Operation("POST", "/uploads", session, json={"size": size}),
        "send": send,
        "complete": complete,
        "look": lambda known: Operation("GET", f"/uploads/{known}", session),
        "stages": ("initiate", "chunk_upload", "complete"),
        "called": "video",
    }
    return PartUpload(source, **{**described, **settings})
