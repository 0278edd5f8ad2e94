"""Whatever is sent as annotations or as an image is taken or refused, and breaks nothing."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictograph_caller import RED, png, png_of

from failwell_sandbox.image_headers import MOST_SIDE, read_image_header
from failwell_sandbox.pictograph.annotations import AnnotationsError, validated
from failwell_sandbox.pictograph.coco import CocoFile
from failwell_sandbox.pictograph.files import Files

NUMBERS = st.integers() | st.floats() | st.integers(0, 20) | st.just(10**400)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
SIDE = st.integers(0, 10) | st.floats(0, 10) | JSON
POINT = st.fixed_dictionaries({"x": SIDE, "y": SIDE}) | st.lists(SIDE, min_size=2, max_size=2) | JSON
RING = st.lists(POINT, max_size=5) | JSON
ANNOTATION = JSON | st.fixed_dictionaries(
    {"name": st.text(max_size=4) | JSON, "type": st.sampled_from(["bbox", "polygon"]) | JSON},
    optional={
        "id": st.text(max_size=3) | JSON,
        "confidence": SIDE,
        "bbox": st.fixed_dictionaries(dict.fromkeys("xywh", SIDE)) | JSON,
        "polygon": st.lists(RING, max_size=3) | RING,
        "class": JSON,
    },
)
MAGIC = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff", b"GIF89a", b"BM", b"BM" + bytes(12) + b"\x28\0\0\0",
    b"RIFF\0\0\0\0WEBPVP8 ", b"RIFF\0\0\0\0WEBPVP8L", b"RIFF\0\0\0\0WEBPVP8X", b"",
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(ANNOTATION, max_size=4))
def test_any_annotations_are_taken_as_they_are_exported_or_refused_place_by_place(
    tmp_path_factory: pytest.TempPathFactory, sent: list[Any]
) -> None:
    try:
        kept = validated(sent, 10, 10, where=("body", "annotations"))
    except AnnotationsError as error:
        findings = error.fields
    else:
        findings = ()
        assert_exported(kept, Files(tmp_path_factory.getbasetemp() / "hostile"))
        assert len(kept) == len(sent)
    for found in findings:
        assert found.path[:2] == ("body", "annotations")
        assert found.message
        assert found.code


def assert_exported(kept: list[dict[str, Any]], files: Files) -> None:
    """Hold what is stored to what an export says of it."""
    assert validated(kept, 10, 10) == kept, "what is stored can be saved again"
    with files.begin() as file, files.begin() as rest:
        coco = CocoFile(file, rest, "any")
        coco.add([("img_1", "", "a.png", 10, 10, "", json.dumps(kept))])
        coco.finish()
        written = json.loads(b"".join(file.chunks()))
    assert len(written["annotations"]) == len(kept)
    for annotation in written["annotations"]:
        x, y, w, h = annotation["bbox"]
        assert min(x, y, w, h, annotation["area"]) >= 0
        assert max(x + w, y + h) <= 10 + 1e-9


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(MAGIC), st.binary(max_size=80))
def test_any_bytes_are_an_image_of_some_size_or_none(magic: bytes, rest: bytes) -> None:
    header = read_image_header(io.BytesIO(magic + rest))

    assert header is None or (0 < header.width <= MOST_SIDE and 0 < header.height <= MOST_SIDE)


def test_a_jpeg_that_never_comes_to_its_size_is_given_up() -> None:
    segment = b"\xff\xe1" + struct.pack(">H", 2)

    assert read_image_header(io.BytesIO(b"\xff\xd8" + segment * 10_000)) is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (png_of(8001, 8001, b"\0" * 100), "too_large_to_decode"),
        (png_of(100_000, 100_000, b"\0" * 100), "too_large_to_decode"),
        (png_of(90, 60, b"\0" * 100), "not_decodable"),
        (b"\xff\xd8\xff\xe0", "not_decodable"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_decodable"),
        (b"", "not_decodable"),
    ],
)  # fmt: skip
def test_what_is_no_image_or_a_bomb_is_not_decoded(tmp_path: Path, data: bytes, code: str) -> None:
    pixels = pytest.importorskip("failwell_sandbox.pictograph.pixels", reason="needs the extra `learning`")
    path = tmp_path / "image"
    path.write_bytes(data)
    with pytest.raises(pixels.UndecodableError) as refused:
        pixels.load(path)
    assert refused.value.code == code


def test_nothing_is_seen_where_nothing_stands_out(tmp_path: Path) -> None:
    pixels = pytest.importorskip("failwell_sandbox.pictograph.pixels", reason="needs the extra `learning`")
    path = tmp_path / "image"
    for data, seen in (
        (png(1, 1), 0),
        (png(40, 30), 0),
        (png(1, 40), 0),
        (png(40, 30, [((0, 0, 40, 30), RED)]), 0),
        (png(40, 30, [((5, 5, 10, 10), RED), ((20, 5, 10, 20), RED)]), 2),
    ):
        path.write_bytes(data)
        assert len(pixels.regions(pixels.load(path))) == seen


def test_places_are_pixels_of_the_image_however_thin_it_is(tmp_path: Path) -> None:
    pixels = pytest.importorskip("failwell_sandbox.pictograph.pixels", reason="needs the extra `learning`")
    path = tmp_path / "image"
    for size, box in (((1, 4096), (0, 1024, 1, 2048)), ((4096, 1), (1024, 0, 2048, 1))):
        path.write_bytes(png(*size, [(box, RED)]))
        picture = pixels.load(path)
        (region,) = pixels.regions(picture)
        assert region.box == pytest.approx(box, abs=16)
        redness = pixels.crop(picture, region.box).mean(axis=(0, 1))
        assert redness == pytest.approx([channel / 255 for channel in RED], abs=0.1)


def test_an_image_of_16_bits_is_as_bright_as_it_is(tmp_path: Path) -> None:
    pixels = pytest.importorskip("failwell_sandbox.pictograph.pixels", reason="needs the extra `learning`")
    rows = b"".join(b"\0" + struct.pack(">8H", *(0x4000,) * 4, *(0xC000,) * 4) for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 16, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path = tmp_path / "image"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in parts
        )
    )
    seen = pixels.load(path).pixels

    assert seen[0, 0, 0] == pytest.approx(0.25, abs=0.01)
    assert seen[0, 7, 2] == pytest.approx(0.75, abs=0.01)
