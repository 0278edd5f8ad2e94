"""
An export: one JSON file in the format of COCO, written piece by piece.

Source:
    The data format of the COCO dataset, "object detection": bbox is x, y, width, height;
    segmentation is a list of polygons, each a flat list of numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from failwell_sandbox.stored_files import Incoming

Ring = Sequence[Mapping[str, float]]


class CocoFile:
    """
    Takes images as they come; what it holds in memory is the names of labels.

    Args:
        images: The file to be, empty.
        rest: Another one, for what stands behind the images. Close it without keeping it.
        called: The dataset's name.

    Attributes:
        images: How many images are in it.
        annotations: How many annotations are in it.
    """

    def __init__(self, images: Incoming, rest: Incoming, called: str) -> None:
        self._file, self._rest = images, rest
        self._categories: dict[str, int] = {}
        self.images = self.annotations = 0
        info = {"description": called, "version": "1.0"}
        images.write(b'{"info":' + _json(info) + b',"licenses":[],"images":[')

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """
        Add images with their annotations.

        Args:
            rows: Id, folder, name, width, height, SHA-256, annotations as JSON.
        """
        for image_id, folder, name, width, height, sha256, annotated in rows:
            self.images += 1
            path = f"{folder}/{name}" if folder else name
            said = {
                "id": self.images, "file_name": path, "width": width, "height": height,
                "pictograph_id": image_id, "sha256": sha256,
            }  # fmt: skip
            self._file.write((b"," if self.images > 1 else b"") + _json(said))
            for annotation in json.loads(annotated):
                self._add_annotation(annotation)

    def _add_annotation(self, annotation: Mapping[str, Any]) -> None:
        self.annotations += 1
        category = self._categories.setdefault(annotation["name"], len(self._categories) + 1)
        rings: list[Ring] = annotation.get("polygon") or []
        box = annotation["bbox"] if annotation["type"] == "bbox" else _around(rings)
        said = {
            "id": self.annotations, "image_id": self.images, "category_id": category, "iscrowd": 0,
            "bbox": [box["x"], box["y"], box["w"], box["h"]],
            "area": box["w"] * box["h"] if not rings else sum(map(_area, rings)),
            "segmentation": [[at for point in ring for at in (point["x"], point["y"])] for ring in rings],
        }  # fmt: skip
        self._rest.write((b"," if self.annotations > 1 else b"") + _json(said))

    def finish(self) -> None:
        """Put the pieces together."""
        self._file.write(b'],"annotations":[')
        for chunk in self._rest.chunks():
            self._file.write(chunk)
        categories = [{"id": number, "name": name} for name, number in self._categories.items()]
        self._file.write(b'],"categories":' + _json(categories) + b"}")


def _around(rings: Iterable[Ring]) -> dict[str, float]:
    across = [point["x"] for ring in rings for point in ring]
    down = [point["y"] for ring in rings for point in ring]
    return {"x": min(across), "y": min(down), "w": max(across) - min(across), "h": max(down) - min(down)}


def _area(ring: Ring) -> float:
    """What a ring encloses (the shoelace formula)."""
    doubled = sum(
        here["x"] * there["y"] - there["x"] * here["y"]
        for here, there in zip(ring, [*ring[1:], ring[0]], strict=True)
    )
    return abs(doubled) / 2


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
