"""
The annotations of an image: boxes and polygons with a name.

    {"id": "a1", "name": "person", "type": "bbox", "bbox": {"x": 0, "y": 0, "w": 10, "h": 20}}
    {"name": "roof", "type": "polygon", "polygon": [[{"x": 0, "y": 0}, {"x": 9, "y": 0}, {"x": 9, "y": 9}]]}

Numbers are pixels of the image. A polygon is a list of rings; a single ring, and points as pairs,
are taken, too, and become the former. What is wrong is said place by place, and nothing that was
sent is repeated but the names of members that are not expected.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from failwell.failure import FieldError

MOST_ANNOTATIONS = 10_000
MOST_POINTS = 10_000
LONGEST_NAME = 100

# What is wrong with the rest is said once the first are right.
MOST_FINDINGS = 100

Path = tuple[str | int, ...]

_MEMBERS = {"bbox": {"id", "name", "type", "confidence", "bbox"},
            "polygon": {"id", "name", "type", "confidence", "polygon"}}  # fmt: skip

_EITHER = _MEMBERS["bbox"] | _MEMBERS["polygon"]


class AnnotationsError(ValueError):
    """
    Annotations that cannot be saved.

    Attributes:
        fields: What is wrong, place by place.
    """

    def __init__(self, fields: Sequence[FieldError]) -> None:
        super().__init__("annotations that cannot be saved")
        self.fields = tuple(fields)


def validated(given: Sequence[Any], width: int, height: int, *, where: Path = ()) -> list[dict[str, Any]]:
    """
    `given` as it is stored: with ids, polygons as rings of points.

    Args:
        given: JSON values.
        width: Of the image, pixels.
        height: Of the image, pixels.
        where: What goes before each place, such as `("body", "annotations")`.

    Raises:
        AnnotationsError: some cannot be saved.
    """
    if len(given) > MOST_ANNOTATIONS:
        raise AnnotationsError(
            [FieldError(where, f"An image has {MOST_ANNOTATIONS} annotations at the most.", "too_long")]
        )
    reader = _Reader(width, height)
    seen: set[str] = set()
    kept = []
    for at, value in enumerate(given):
        annotation = reader.annotation((*where, at), value)
        if annotation is not None:
            if annotation["id"] in seen:
                reader.wrong((*where, at, "id"), "Another annotation has this id.", "duplicate_id")
            seen.add(annotation["id"])
            kept.append(annotation)
        if len(reader.findings) >= MOST_FINDINGS:
            break
    if reader.findings:
        raise AnnotationsError(reader.findings[:MOST_FINDINGS])
    return kept


class _Reader:
    """Reads annotations and notes what is wrong with them."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.findings: list[FieldError] = []

    def wrong(self, where: Path, message: str, code: str) -> Any:
        """Note a finding. None, which stands for what could not be read."""
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(FieldError(where, message, code))
        return None

    def annotation(self, where: Path, value: Any) -> Any:
        before = len(self.findings)
        if not isinstance(value, dict):
            return self.wrong(where, "An annotation is an object.", "dict_type")
        kind = value.get("type")
        name = self._name(where, value)
        self._members(where, value, kind)
        if "type" not in value:
            self.wrong((*where, "type"), "Field required", "missing")
        elif kind not in ("bbox", "polygon"):
            return self.wrong((*where, "type"), "An annotation is a 'bbox' or a 'polygon'.", "literal_error")
        kept: dict[str, Any] = {"id": self._id(where, value), "name": name, "type": kind}
        if kind == "bbox":
            kept["bbox"] = self._bbox((*where, "bbox"), value)
        elif kind == "polygon":
            kept["polygon"] = self._polygon((*where, "polygon"), value)
        if value.get("confidence") is not None:
            confidence = value["confidence"]
            if not _is_number(confidence) or not 0 <= confidence <= 1:
                self.wrong((*where, "confidence"), "A confidence is a number from 0 to 1.", "out_of_range")
            kept["confidence"] = confidence
        return kept if len(self.findings) == before else None

    def _name(self, where: Path, value: dict[str, Any]) -> Any:
        if "class" in value:
            self.wrong((*where, "class"), "Use 'name' for the label, not 'class'.", "class_not_name")
        if "name" not in value:
            return self.wrong((*where, "name"), "Field required", "missing")
        name = value["name"]
        if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME or not _is_plain(name):
            self.wrong(
                (*where, "name"),
                f"A name is a text of 1 to {LONGEST_NAME} printable characters.",
                "string_type",
            )
        return name

    def _id(self, where: Path, value: dict[str, Any]) -> Any:
        given = value.get("id")
        if given is None:
            return f"ann_{secrets.token_hex(8)}"
        if not isinstance(given, str) or not 1 <= len(given) <= LONGEST_NAME or not _is_plain(given):
            self.wrong(
                (*where, "id"), f"An id is a text of 1 to {LONGEST_NAME} printable characters.", "string_type"
            )
            return secrets.token_hex(8)
        return given

    def _members(self, where: Path, value: dict[str, Any], kind: Any) -> None:
        known = _MEMBERS.get(kind, _EITHER) if isinstance(kind, str) else _EITHER
        for member in value:
            if member not in known and member != "class":
                shown = member if len(member) <= 64 else "…"
                self.wrong((*where, shown), "Extra inputs are not permitted", "extra_forbidden")

    def _bbox(self, where: Path, value: dict[str, Any]) -> Any:
        box = value.get("bbox")
        if box is None:
            return self.wrong(where, "Field required", "missing")
        if not isinstance(box, dict):
            return self.wrong(where, "A box is an object with x, y, w and h.", "dict_type")
        if not self._numbers(where, box, ("x", "y", "w", "h")):
            return None
        if box["w"] <= 0 or box["h"] <= 0:
            return self.wrong(where, "A box is wider and higher than nothing.", "empty_box")
        right, bottom = box["x"] + box["w"], box["y"] + box["h"]
        if box["x"] < 0 or box["y"] < 0 or right > self.width or bottom > self.height:
            return self.wrong(
                where, f"The box leaves the image, which is {self.width} x {self.height}.", "outside_image"
            )
        return {name: box[name] for name in ("x", "y", "w", "h")}

    def _polygon(self, where: Path, value: dict[str, Any]) -> Any:
        polygon = value.get("polygon")
        if polygon is None:
            return self.wrong(where, "Field required", "missing")
        if not isinstance(polygon, list) or not polygon:
            return self.wrong(where, "A polygon is a list of points, or of rings of points.", "list_type")
        if any(_is_number(part) for part in polygon[:MOST_POINTS]):
            return self.wrong(
                where, "A polygon is a list of points {'x', 'y'}, not a flat list of numbers.", "flat_polygon"
            )
        one = all(map(_looks_like_a_point, polygon))
        rings = [polygon] if one else polygon
        if len(polygon) > MOST_POINTS or sum(len(r) for r in rings if isinstance(r, list)) > MOST_POINTS:
            return self.wrong(where, f"A polygon has {MOST_POINTS} points at the most.", "too_long")
        return [self._ring(where if one else (*where, at), ring) for at, ring in enumerate(rings)]

    def _ring(self, where: Path, ring: Any) -> Any:
        if not isinstance(ring, list):
            return self.wrong(where, "A ring is a list of points.", "list_type")
        if ring and all(map(_is_number, ring)):
            return self.wrong(
                where, "A polygon is a list of points {'x', 'y'}, not a flat list of numbers.", "flat_polygon"
            )
        if len(ring) < 3:
            return self.wrong(where, "A ring has three points or more.", "too_short")
        return [self._point((*where, at), point) for at, point in enumerate(ring)]

    def _point(self, where: Path, point: Any) -> Any:
        if isinstance(point, list) and len(point) == 2:
            point = {"x": point[0], "y": point[1]}
        if not isinstance(point, dict):
            return self.wrong(where, "A point is an object with x and y.", "dict_type")
        if not self._numbers(where, point, ("x", "y")):
            return None
        if not (0 <= point["x"] <= self.width and 0 <= point["y"] <= self.height):
            return self.wrong(
                where,
                f"The point is outside the image, which is {self.width} x {self.height}.",
                "outside_image",
            )
        return {"x": point["x"], "y": point["y"]}

    def _numbers(self, where: Path, value: dict[str, Any], names: Iterable[str]) -> bool:
        before = len(self.findings)
        for name in names:
            if name not in value:
                self.wrong((*where, name), "Field required", "missing")
            elif not _is_number(value[name]):
                self.wrong((*where, name), "Input should be a finite number", "float_type")
        for name in value:
            if name not in names:
                shown = name if len(name) <= 64 else "…"
                self.wrong((*where, shown), "Extra inputs are not permitted", "extra_forbidden")
        return len(self.findings) == before


def _looks_like_a_point(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e12 and math.isfinite(value)


def _is_plain(text: str) -> bool:
    """Whether a text can be written in any database and on one line."""
    return text.isprintable() and not any("\ud800" <= char <= "\udfff" for char in text)
