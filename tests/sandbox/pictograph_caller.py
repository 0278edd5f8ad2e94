"""Ask the sandbox's Pictograph, and make the images it is asked about."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from sandbox_caller import Asking, said

from failwell.answer import Answer

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]

WHITE: Colour = (255, 255, 255)
RED: Colour = (220, 30, 30)
BLUE: Colour = (30, 30, 220)


def png(width: int = 8, height: int = 8, parts: Sequence[tuple[Box, Colour]] = ()) -> bytes:
    """A white image with boxes (x, y, w, h) of a colour in it."""
    rows = [bytearray(bytes(WHITE) * width) for _ in range(height)]
    for (x, y, w, h), colour in parts:
        for row in rows[y : y + h]:
            row[3 * x : 3 * (x + w)] = bytes(colour) * w
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return png_of(width, height, data)


def png_of(width: int, height: int, data: bytes) -> bytes:
    """A PNG whose header says a size, and whose pixels are whatever `data` inflates to."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def digest_of(data: bytes) -> str:
    """The Content-Digest of some bytes."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


class Pictograph(Asking):
    """The service, and what is often asked of it."""

    def upload(
        self,
        dataset_id: str,
        name: str,
        data: bytes,
        folder: str = "",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Answer:
        """Send a file."""
        query = urlencode({"name": name} | ({"folder": folder} if folder else {}))
        sent = {"Content-Digest": digest_of(data), "Content-Type": "image/png"} | dict(headers or {})
        return self("POST", f"/v1/datasets/{dataset_id}/images?{query}", headers=sent, body=data, **more)

    def dataset(self, name: str) -> Any:
        """A new dataset."""
        return self.made("POST", "/v1/datasets", {"name": name})

    def image(self, dataset_id: str, name: str, data: bytes | None = None, folder: str = "") -> Any:
        """A new image."""
        answer = self.upload(dataset_id, name, png() if data is None else data, folder)
        assert answer.status == 201, answer.body
        return said(answer)

    def exported(self, dataset_id: str, name: str) -> Any:
        """A completed export."""
        export = self.made("POST", f"/v1/datasets/{dataset_id}/exports", {"name": name})
        found = self.ended(f"/v1/exports/{export['id']}")
        assert found["status"] == "completed", found
        return found

    def annotated(self, name: str, images: int = 6) -> Any:
        """A dataset of red and blue boxes on white, annotated and exported as `v1`."""
        dice = random.Random(7)
        dataset = self.dataset(name)
        for at in range(images):
            red = (dice.randrange(4, 20), dice.randrange(4, 30), 24, 24)
            blue = (dice.randrange(56, 64), dice.randrange(4, 30), 30, 16)
            image = self.image(dataset["id"], f"{at}.png", png(96, 64, [(red, RED), (blue, BLUE)]))
            found = [
                {"name": label, "type": "bbox", "bbox": dict(zip("xywh", box, strict=True))}
                for label, box in (("red", red), ("blue", blue))
            ]
            self.made("PUT", f"/v1/images/{image['id']}/annotations", {"annotations": found})
        self.exported(dataset["id"], "v1")
        return dataset


def error(answer: Answer) -> Any:
    """The error block of an answer."""
    return json.loads(answer.body)["detail"]
