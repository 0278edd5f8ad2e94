"""A service of Scopix that keeps what it is sent, in memory, for scripts."""

from __future__ import annotations

import hashlib
import json
from itertools import repeat
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from scopix_answers import UPLOAD, VIDEO, file, page, refusal

from failwell.testing import answer


def bytes_of(request: Any) -> bytes:
    """The content of a request that was sent in pieces, or at once."""
    content = request.content
    return content if isinstance(content, bytes) else b"".join(content)


class Store:
    """
    Files and videos.

    Args:
        fails: Name of a file, or "chunk N", to the answers it gets before it is taken, in order.

    Attributes:
        files: What is stored, by name.
        contents: What came in sessions that are not complete, by name.
        chunks: What came of the video, by number.
        sent: What was sent: "lookup", the name of a file, or what happens to the video; in order.
        finished: Whether the video is complete.
        chunk_size: Bytes of a part of it.
        known: Whether an unfinished upload is found by its name.
    """

    def __init__(self, fails: dict[str, list[Any]] | None = None, *, chunk_size: int = 4) -> None:
        self.fails = {name: list(answers) for name, answers in (fails or {}).items()}
        self.files: dict[str, bytes] = {}
        self.contents: dict[str, bytes] = {}
        self.chunks: dict[int, bytes] = {}
        self.sent: list[str] = []
        self.finished: dict[str, Any] | None = None
        self.chunk_size = chunk_size
        self.known = False
        self._lock = Lock()

    def script(self) -> Any:
        """What an engine answers with, however often it is asked."""
        return repeat(self)

    def __call__(self, order: Any) -> Any:
        request = order.request
        url = urlsplit(request.url)
        query = dict(parse_qsl(url.query))
        content = b"" if request.content is None else bytes_of(request)
        with self._lock:
            return self._answer(request.method, url.path, query, content, request.headers)

    def _answer(self, method: str, path: str, query: dict[str, str], content: bytes, headers: Any) -> Any:
        match method, path.split("/")[2:]:
            case "POST", ["files", "lookup"]:
                return self._looked_up(json.loads(content)["files"])
            case "POST", ["files"]:
                return self._upload(query["name"], content)
            case "POST", ["files", "sessions"]:
                return self._began(json.loads(content))
            case "PUT", ["files", "sessions", session, "content"]:
                return self._failing(f"content of {session}") or self._kept(session, content)
            case "POST", ["files", "sessions", session, "complete"]:
                return self._failing(f"complete {session}") or self._file(session, self.contents[session])
            case "GET", ["videos"]:
                found = page(self._record()) if self.known else page()
                return self._failing("search") or answer(200, found)
            case "POST", ["videos"]:
                return self._failing("begin") or answer(201, self._record())
            case "PUT", ["videos", _, "chunks", number]:
                return self._failing(f"chunk {number}") or self._chunk(int(number), content, headers)
            case "GET", ["videos", _, "chunks"]:
                return self._failing("look") or answer(200, self._record())
            case "POST", ["videos", _, "complete"]:
                return self._failing("complete") or self._complete(json.loads(content)["sha256"])
            case "GET", ["videos", _]:
                self.sent.append("get")
                return answer(200, self.finished)
        raise AssertionError(f"{method} {path}")

    def _failing(self, name: str) -> Any:
        self.sent.append(name)
        answers = self.fails.get(name)
        return answers.pop(0) if answers else None

    # --- files ---

    def _looked_up(self, asked: list[dict[str, str]]) -> Any:
        failing = self._failing("lookup")
        if failing is not None:
            return failing
        there = [self.files.get(each["name"]) for each in asked]
        items = [
            None
            if content is None or hashlib.sha256(content).hexdigest() != each["sha256"]
            else file(each["name"], len(each["name"]))
            for each, content in zip(asked, there, strict=True)
        ]
        return answer(200, {"items": items})

    def _upload(self, name: str, content: bytes) -> Any:
        return self._failing(name) or self._file(name, content)

    def _began(self, told: dict[str, Any]) -> Any:
        name = told["filename"]
        failing = self._failing(f"begin {name}")
        if failing is not None:
            return failing
        if hashlib.sha256(self.files.get(name, b"")).hexdigest() == told["sha256"]:
            return answer(200, {"session_id": None, "file": file(name)})
        return answer(201, {"session_id": name, "upload_url": f"/v1/files/sessions/{name}/content"})

    def _kept(self, name: str, content: bytes) -> Any:
        self.contents[name] = content
        return answer(200, {"session_id": name, "size": len(content)})

    def _file(self, name: str, content: bytes) -> Any:
        is_new = self.files.get(name) != content
        self.files[name] = content
        return answer(201 if is_new else 200, file(name, len(name), size=len(content)))

    # --- the video ---

    def _record(self) -> dict[str, Any]:
        chunks = [
            {"number": number, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for number, content in sorted(self.chunks.items())
        ]
        state = "uploading" if self.finished is None else "completed"
        shown = chunks if self.finished is None else []
        return {**UPLOAD, "chunk_size": self.chunk_size, "size": None, "chunks": shown, "state": state}

    def _chunk(self, number: int, content: bytes, headers: Any) -> Any:
        assert headers["content-digest"].startswith("sha-256=:")
        self.chunks[number] = content
        return answer(200, {"number": number, "size": len(content)})

    def _complete(self, digest: str) -> Any:
        whole = b"".join(content for _, content in sorted(self.chunks.items()))
        if hashlib.sha256(whole).hexdigest() != digest:
            return answer(422, refusal("VIDEO_UPLOAD_ERROR", "Not the same.", reason="digest_mismatch"))
        self.finished = {**VIDEO, "size": len(whole), "sha256": digest}
        return answer(201, self.finished)
