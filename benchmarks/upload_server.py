"""
A service that takes uploads and keeps nothing: it counts their bytes, and answers 201 with the count.

What Pictograph's SDK asks for is answered as Pictograph would, as far as an upload goes. Prints where
it listens and a key, one JSON object, and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json

from taking import Taking, serve

KEY = "pk_" + "benchmark0" * 4
DATASET: dict[str, object] = {"id": "ds_benchmark", "name": "benchmark"}
IMAGE = {
    "id": "img_benchmark",
    "dataset_id": DATASET["id"],
    "name": "00000.png",
    "folder": "",
    "sha256": "0" * 64,
    "content_type": "image/png",
    "width": 8,
    "height": 8,
    "annotation_count": 0,
    "annotation_version": 0,
    "created_at": "2026-11-21T08:00:00+00:00",
}


def answer_to(target: bytes, size: int) -> dict[str, object]:
    """What is answered to a request with so many bytes of body."""
    if target.partition(b"?")[0].endswith(b"/images"):
        return {**IMAGE, "size": size, "bytes": size}
    return DATASET


class Counting(Taking):
    """Answers with the count."""

    def answer(self, target: bytes, size: int) -> tuple[bytes, bytes]:
        return b"201 Created", json.dumps(answer_to(target, size)).encode()


def greeting(port: int) -> str:
    """Where it listens, and a key."""
    return json.dumps({"url": f"http://127.0.0.1:{port}", "key": KEY})


if __name__ == "__main__":
    asyncio.run(serve(Counting, __doc__, greeting))
