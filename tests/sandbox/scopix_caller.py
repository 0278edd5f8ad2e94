"""Ask the sandbox's Scopix, and make the files it is asked about."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import pytest
from pictograph_caller import digest_of
from sandbox_caller import Asking, said, until

from failwell.answer import Answer
from scopix.contract import CONTRACT

CHUNK = 64 * 1024


class Scopix(Asking):
    """The service, and what is often asked of it."""

    def of(self, tenant: str) -> Scopix:
        """The same service, asked by an account of its own."""
        return Scopix(self.service, self.service.new_key(tenant=tenant))

    def upload(self, name: str, data: bytes, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
        """Send a file in one request."""
        sent = {"Content-Digest": digest_of(data)} | dict(headers or {})
        return self("POST", f"/v1/files?{urlencode({'name': name})}", headers=sent, body=data, **more)

    def file(self, name: str, data: bytes) -> Any:
        """A new file."""
        answer = self.upload(name, data)
        assert answer.status == 201, (answer.status, answer.body)
        return said(answer)

    def looked_at(self, *files: Any) -> list[Any]:
        """The files, once nobody works on them any more."""

        def look(file: Any) -> Any:
            found = self.made("GET", f"/v1/files/{file['id']}")
            busy = {found["description_status"], found["processing_status"]} & {"pending", "processing"}
            return None if busy else found

        return [until(lambda file=file: look(file), f"{file['name']} is not looked at") for file in files]

    def document(self, name: str, text: str) -> Any:
        """A document that can be searched."""
        (found,) = self.looked_at(self.file(name, text.encode()))
        assert found["processing_status"] == "completed", found
        return found

    def send_chunk(self, media_id: str, number: int, data: bytes, **more: Any) -> Answer:
        """Send one part of a video."""
        path = f"/v1/videos/{media_id}/chunks/{number}"
        return self("PUT", path, headers={"Content-Digest": digest_of(data)}, body=data, **more)

    def video(self, name: str, data: bytes) -> Any:
        """A new video, sent in parts."""
        begun = self.made("POST", "/v1/videos", {"filename": name, "size": len(data), "chunk_size": CHUNK})
        for number, part in enumerate(parts_of(data), start=1):
            assert self.send_chunk(begun["media_id"], number, part).status == 200
        asked = {"sha256": hashlib.sha256(data).hexdigest()}
        return self.made("POST", f"/v1/videos/{begun['media_id']}/complete", asked)

    def chat(self, **facts: Any) -> str:
        """The id of a new chat."""
        found: str = self.made("POST", "/v1/chat/sessions", facts)["id"]
        return found


def parts_of(data: bytes) -> list[bytes]:
    """The parts that a video is sent in."""
    return [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]


def error(answer: Answer) -> Any:
    """The error of an answer."""
    return json.loads(answer.body)["error"]


def is_refusal(answer: Answer, status: int, raises: type[Exception], code: str, /, **details: Any) -> Any:
    """Hold an answer to the contract; the error that a client raises."""
    found: Any = CONTRACT.decode(answer, method="POST")
    assert (answer.status, error(answer)["code"]) == (status, code), answer.body
    assert found.request_id == answer.headers["x-request-id"]
    assert type(found) is raises
    for name, value in details.items():
        assert found.details.get(name) == value, (name, found.details)
    return found


def faults_of(answer: Answer) -> list[tuple[list[Any], str]]:
    """Where an answer finds fault, and with what."""
    return [(found["path"], found["code"]) for found in error(answer)["details"]["errors"]]


def events_of(answer: Answer) -> list[dict[str, Any]]:
    """The events of a stream, each a mapping of its fields; data is JSON."""
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.body
    return list(_events(answer.body.decode()))


def _events(text: str) -> Iterator[dict[str, Any]]:
    *blocks, rest = text.split("\n\n")
    assert rest == ""
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if fields:
            yield {**fields, "data": json.loads(fields["data"])}


def movie(colours: Sequence[str] = ("red", "blue", "white"), frames: int = 10) -> bytes:
    """A video of some scenes of one colour each, 25 frames a second."""
    av = pytest.importorskip("av", reason="needs the extra `scopix`")
    image = pytest.importorskip("PIL.Image", reason="needs the extra `scopix`")
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for colour in colours:
            for _ in range(frames):
                frame = av.VideoFrame.from_image(image.new("RGB", (96, 64), colour))
                for packet in stream.encode(frame):
                    container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return out.getvalue()


def pdf(*pages: str) -> bytes:
    """A PDF with a line of text on each page."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    kids = []
    for text in pages:
        drawn = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, each in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)
