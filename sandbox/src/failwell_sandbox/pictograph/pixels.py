"""
Pixels of images that strangers have uploaded: decoded within bounds, and what is seen in them.

Only the process of a job, or of a prediction, imports this: it needs Pillow, NumPy and SciPy.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]  # it has no types

from failwell_sandbox.child_work import TaskError

Floats = NDArray[np.float32]

# A header that promises more is not decoded: a few bytes can stand for gigabytes of pixels.
MOST_PIXELS = 64_000_000
# What is read of a file to be decoded.
MOST_BYTES = 256 * 1024 * 1024

# Images are looked at no larger than this.
SIDE = 512

# Parts of the image that are too small to be anything, and too large to be in front of something.
LEAST_PART, MOST_PART = 0.0005, 0.9
MOST_REGIONS = 50


class UndecodableError(TaskError):
    """The image cannot be looked at: its code is `not_decodable` or `too_large_to_decode`."""


class Picture(NamedTuple):
    """
    An image, reduced.

    Attributes:
        pixels: Height x width x 3, from 0 to 1.
        scale: How many of its own pixels are one of these, across and down: of an image that is a line
            the two differ.
        width: Of the image itself.
        height: Of the image itself.
    """

    pixels: Floats
    scale: tuple[float, float]
    width: int
    height: int


class Region(NamedTuple):
    """
    A connected part that stands out.

    Attributes:
        box: x, y, w, h in pixels of the image itself.
        hull: Its convex hull, points of the same.
        share: Of the image's area.
    """

    box: tuple[float, float, float, float]
    hull: list[tuple[float, float]]
    share: float


def load(path: Path) -> Picture:
    """
    The image in a file.

    Raises:
        UndecodableError: it is none, or larger than `MOST_PIXELS`.
        FileNotFoundError: there is no such file.
    """
    if path.stat().st_size > MOST_BYTES:
        raise UndecodableError("too_large_to_decode", f"the file is larger than {MOST_BYTES} bytes")
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF", "BMP", "WEBP")) as image:
                width, height = image.size
                if width * height > MOST_PIXELS:
                    raise UndecodableError(
                        "too_large_to_decode", f"the image has more than {MOST_PIXELS} pixels"
                    )
                image.draft("RGB", (SIDE * 2, SIDE * 2))
                small = _of_8_bits(image).convert("RGB")
                small.thumbnail((SIDE, SIDE))
    except UndecodableError:
        raise
    except Image.DecompressionBombError as exc:
        raise UndecodableError("too_large_to_decode", "the image is a decompression bomb") from exc
    except Exception as exc:  # a decoder fails in as many ways as there are files
        raise UndecodableError("not_decodable", "the image cannot be decoded") from exc
    pixels = np.asarray(small, dtype=np.float32) / 255.0
    return Picture(pixels, (width / pixels.shape[1], height / pixels.shape[0]), width, height)


def _of_8_bits(image: Image.Image) -> Image.Image:
    """The image itself, or what it is with 8 bits of its 16: Pillow would cut off what is above 255."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))


def regions(picture: Picture) -> list[Region]:
    """
    What stands out from the background, the largest first.

    The background is the usual colour of the image's edge; what differs from it by more than
    Otsu's threshold is in front, and what is connected is one region.

    Source:
        N. Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    pixels = picture.pixels
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    distance = np.linalg.norm(pixels - np.median(edge, axis=0), axis=2)
    if float(distance.max()) < 0.05:
        return []
    found_parts: Any = ndimage.label(distance > otsu(distance))
    labels, count = found_parts
    area = pixels.shape[0] * pixels.shape[1]
    found = []
    for number, window in enumerate(ndimage.find_objects(labels, count), start=1):
        if window is None:
            continue
        rows, columns = np.nonzero(labels[window] == number)
        share = len(rows) / area
        if LEAST_PART <= share <= MOST_PART:
            found.append(_region(picture, rows + window[0].start, columns + window[1].start, share))
    found.sort(key=lambda region: -region.share)
    return found[:MOST_REGIONS]


def otsu(values: Floats) -> float:
    """The threshold between two classes that are each as much alike as can be."""
    counts, edges = np.histogram(values, bins=64)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = counts.sum() - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1 + int(np.nanargmax(between[:-1]))])


def _region(picture: Picture, rows: Any, columns: Any, share: float) -> Region:
    left, top = int(columns.min()), int(rows.min())
    right, bottom = int(columns.max()) + 1, int(rows.max()) + 1

    def inside(x: float, y: float) -> tuple[float, float]:
        # A reduced pixel may stick out by a fraction.
        across, down = picture.scale
        return min(x * across, picture.width), min(y * down, picture.height)

    # The outermost pixel of each row, both corners of each side, is all that a hull can touch.
    corners = set()
    for row in np.unique(rows):
        within = columns[rows == row]
        for x in (int(within.min()), int(within.max()) + 1):
            corners |= {(x, int(row)), (x, int(row) + 1)}
    (near_x, near_y), (far_x, far_y) = inside(left, top), inside(right, bottom)
    return Region(
        (near_x, near_y, far_x - near_x, far_y - near_y),
        [inside(*point) for point in convex_hull(corners)],
        share,
    )


def convex_hull(points: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """
    The convex hull, by A. M. Andrew's monotone chain (1979).

    Args:
        points: Three or more that are not on one line.
    """
    ordered = sorted(points)

    def half(run: list[tuple[int, int]]) -> list[tuple[int, int]]:
        chain: list[tuple[int, int]] = []
        for point in run:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        return chain[:-1]

    return half(ordered) + half(ordered[::-1])


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def crop(picture: Picture, box: tuple[float, float, float, float]) -> Floats:
    """32 x 32 pixels of what is in a box, whose numbers are pixels of the image itself."""
    height, width = picture.pixels.shape[:2]
    across, down = picture.scale
    x, y, w, h = box[0] / across, box[1] / down, box[2] / across, box[3] / down
    left, top = min(max(int(x), 0), width - 1), min(max(int(y), 0), height - 1)
    right = min(max(round(x + w), left + 1), width)
    bottom = min(max(round(y + h), top + 1), height)
    part = Image.fromarray((picture.pixels[top:bottom, left:right] * 255).astype(np.uint8))
    return np.asarray(part.resize((32, 32)), dtype=np.float32) / 255.0


def features(part: Floats) -> Floats:
    """
    What a classifier knows of 32 x 32 pixels: 78 numbers.

    Colours (a histogram of 8 for each channel, mean and spread), directions of edges (8 in each
    of 4 quarters), and the light on a grid of 4 x 4.
    """
    colours = [np.histogram(part[..., c], bins=8, range=(0.0, 1.0))[0] / 1024.0 for c in range(3)]
    moments = [part.mean(axis=(0, 1)), part.std(axis=(0, 1))]
    light = part.mean(axis=2)
    down, across = np.gradient(light)
    strength = np.hypot(down, across)
    direction = (((np.arctan2(down, across) + np.pi) / (2 * np.pi)) * 8).astype(int) % 8
    edges = [
        np.bincount(direction[at].ravel(), weights=strength[at].ravel(), minlength=8) / 64.0
        for at in (np.s_[:16, :16], np.s_[:16, 16:], np.s_[16:, :16], np.s_[16:, 16:])
    ]
    grid = light.reshape(4, 8, 4, 8).mean(axis=(1, 3)).ravel()
    return np.concatenate([*colours, *moments, *edges, grid]).astype(np.float32)
