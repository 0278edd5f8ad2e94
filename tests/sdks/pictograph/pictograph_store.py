"""A dataset that is played by hand: it takes images, lists them by pages, and fails when it is told to."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pictograph_answers import DATASET, IMAGE, refusal

from failwell.call.messages import Response
from failwell.testing import answer

PAGE = 3


class Store:
    """
    Answers orders: `ScriptedEngine(repeat(store))`.

    Attributes:
        images: What is stored, by folder and name.
        received: How often the bytes of each name came.
        fail: Asked with the name of each upload before it is stored; what it returns is answered.
        lose: Asked with the name of each upload after it is stored; what it returns is answered.
        at_once: The most uploads there were at once.
    """

    def __init__(self) -> None:
        self.images: dict[tuple[str, str], dict[str, Any]] = {}
        self.received: Counter[str] = Counter()
        self.fail: Callable[[str], Any] = lambda name: None
        self.lose: Callable[[str], Any] = lambda name: None
        self.at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, order: Any) -> Response | Any:
        request = order.request
        url = urlsplit(request.url)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        if url.path == "/v1/datasets/by-name":
            known = query["name"] == DATASET["name"]
            return answer(200, DATASET) if known else answer(404, refusal("dataset_not_found"))
        if url.path == "/v1/datasets/ds_1":
            return answer(200, DATASET)
        assert url.path == "/v1/datasets/ds_1/images"
        return self._listed(query) if request.method == "GET" else self._uploaded(request, query)

    def _listed(self, query: dict[str, str]) -> Response:
        assert query["limit"] == "1000"
        start = int(query.get("cursor", 0))
        found = list(self.images.values())
        more = str(start + PAGE) if len(found) > start + PAGE else None
        return answer(200, {"items": found[start : start + PAGE], "next_cursor": more})

    def _uploaded(self, request: Any, query: dict[str, str]) -> Any:
        name, folder = query["name"], query.get("folder", "")
        with self._lock:
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        try:
            failed = self.fail(name)
            if failed is not None:
                return failed
            content = b"".join(request.content)
        finally:
            with self._lock:
                self._now -= 1
        digest = hashlib.sha256(content)
        told = f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
        assert request.headers["content-digest"] == told
        with self._lock:
            there = self.images.get((folder, name))
            if there is not None:
                known = {"image_id": there["id"], "sha256": there["sha256"], "size": there["size"]}
                return answer(409, refusal("image_exists", "The name is taken.", **known))
            image = {
                **IMAGE,
                "id": f"img_{len(self.images) + 1}",
                "name": name,
                "folder": folder,
                "size": len(content),
                "sha256": digest.hexdigest(),
            }
            self.images[folder, name] = image
            self.received[name] += 1
        lost = self.lose(name)
        return answer(201, image) if lost is None else lost
