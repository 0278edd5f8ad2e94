"""
What an image shows, computed from its pixels: size, orientation, colours, sharpness, and its EXIF.

Only the process of a job imports this: it needs Pillow.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageFilter, ImageOps, ImageStat

from failwell_sandbox.child_work import Say, TaskError

# A header that promises more is not decoded: a few bytes can stand for gigabytes of pixels.
MOST_PIXELS = 64_000_000
# What is read of a file to be decoded.
MOST_BYTES = 256 * 1024 * 1024

# Images are looked at no larger than this.
SIDE = 256

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")

# Colours that are told apart, and told of.
PALETTE, TOLD_COLOURS, LEAST_SHARE = 8, 4, 0.04

# A letter of EXIF that is longer is no name of a camera.
MOST_EXIF_TEXT = 200

_NAMED_COLOURS = {
    "black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "red": (210, 35, 40),
    "orange": (240, 140, 30), "yellow": (245, 220, 50), "green": (50, 150, 60), "cyan": (40, 190, 200),
    "blue": (40, 70, 200), "purple": (120, 50, 160), "pink": (240, 140, 180), "brown": (120, 75, 40),
}  # fmt: skip

_TOLD_TAGS = (
    "Make", "Model", "Software", "DateTime", "DateTimeOriginal", "ExposureTime", "FNumber",
    "ISOSpeedRatings", "FocalLength", "LensModel",
)  # fmt: skip

# The negative Laplacian, moved to the middle of a byte's range; its spread is large at sharp edges.
_LAPLACIAN = ImageFilter.Kernel((3, 3), (0, -1, 0, -1, 4, -1, 0, -1, 0), scale=1, offset=128)


def describe_all(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Describe images one after the other, each told by itself."""
    for file in task["files"]:
        try:
            found = describe(Path(file["path"]))
        except (TaskError, FileNotFoundError) as exc:
            say({"file": file["id"], "error": str(exc)})
            continue
        say({"file": file["id"], "found": found, "passages": [[None, 0, found["text"]]]})
    return {}


def describe(path: Path) -> dict[str, Any]:
    """
    The description of the image in a file.

    Raises:
        TaskError: it is none, or larger than `MOST_PIXELS`.
        FileNotFoundError: there is no such file.
    """
    if path.stat().st_size > MOST_BYTES:
        raise TaskError("too_large", f"The file is larger than {MOST_BYTES} bytes.")
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise TaskError("too_large", f"The image has more than {MOST_PIXELS} pixels.")
                return _described(image)
    except TaskError:
        raise
    except Image.DecompressionBombError as exc:
        raise TaskError("too_large", "The image is a decompression bomb.") from exc
    except Exception as exc:  # a decoder fails in as many ways as there are files
        raise TaskError("not_an_image", "This is no image that can be decoded.") from exc


def _described(image: Image.Image) -> dict[str, Any]:
    kind, mode, frames = image.format or "", image.mode, int(getattr(image, "n_frames", 1))
    exif = _exif(image)
    turned = image.getexif().get(ExifTags.Base.Orientation, 1)
    width, height = image.size if turned not in (5, 6, 7, 8) else image.size[::-1]
    image.draft("RGB", (SIDE * 2, SIDE * 2))
    small = ImageOps.exif_transpose(image)
    transparent = small.has_transparency_data
    alpha = small.convert("RGBA")
    alpha.thumbnail((SIDE, SIDE))
    # What is transparent is seen on white.
    seen = Image.alpha_composite(Image.new("RGBA", alpha.size, "white"), alpha).convert("RGB")
    light = seen.convert("L")
    found = {
        "width": width,
        "height": height,
        "format": kind.lower(),
        "mode": mode,
        "orientation": "landscape" if width > height else "portrait" if height > width else "square",
        "dominant_colours": _colours(seen),
        "brightness": round(ImageStat.Stat(light).mean[0] / 255, 3),
        "sharpness": _sharpness(light),
        "transparent": transparent and alpha.getchannel("A").getextrema() != (255, 255),
        "animated": frames > 1,
        "frames": frames,
        "exif": exif,
    }
    return {"text": _sentence(found), **found}


def _sharpness(light: Image.Image) -> float:
    """The variance of the Laplacian: 0 without any edge."""
    # The pixels at the border have too few neighbours: Pillow leaves them as they are.
    inner = (1, 1, light.width - 1, light.height - 1)
    if inner[2] <= 1 or inner[3] <= 1:
        return 0.0
    return round(ImageStat.Stat(light.filter(_LAPLACIAN).crop(inner)).var[0], 2)


def _colours(seen: Image.Image) -> list[dict[str, Any]]:
    """The colours that take most of an image, the largest share first."""
    few = seen.quantize(PALETTE, Image.Quantize.MEDIANCUT)
    palette, area = few.getpalette() or [], seen.width * seen.height
    shares: dict[tuple[int, int, int], float] = {}
    for count, index in few.getcolors() or []:
        assert isinstance(index, int)  # an image with a palette
        colour = (palette[3 * index], palette[3 * index + 1], palette[3 * index + 2])
        shares[colour] = shares.get(colour, 0.0) + count / area
    told = sorted(shares.items(), key=lambda each: (-each[1], each[0]))[:TOLD_COLOURS]
    return [
        {"colour": "#{:02x}{:02x}{:02x}".format(*colour), "name": _name_of(colour), "share": round(share, 3)}
        for colour, share in told
        if share >= LEAST_SHARE
    ]


def _name_of(colour: tuple[int, int, int]) -> str:
    def distance(name: str) -> float:
        # Weighed as the eye does: T. Riemersma, "Colour metric".
        red, green, blue = (a - b for a, b in zip(colour, _NAMED_COLOURS[name], strict=True))
        middle = (colour[0] + _NAMED_COLOURS[name][0]) / 2
        return (2 + middle / 256) * red**2 + 4 * green**2 + (2 + (255 - middle) / 256) * blue**2

    return min(_NAMED_COLOURS, key=distance)


def _exif(image: Image.Image) -> dict[str, Any]:
    """What EXIF says of the camera and the moment; never where it was."""
    exif = image.getexif()
    tags = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
    named = {ExifTags.TAGS.get(tag, ""): value for tag, value in tags.items()}
    told: dict[str, Any] = {}
    for name in _TOLD_TAGS:
        value = named.get(name)
        if isinstance(value, str):
            told[name] = value.replace("\0", " ").strip()[:MOST_EXIF_TEXT]
        elif value is not None and not isinstance(value, (bytes, tuple)):
            number = float(value)
            told[name] = round(number, 6) if abs(number) < 1e12 else None  # NaN, too, is no number
    return {name: value for name, value in told.items() if value not in (None, "")}


def _sentence(found: Mapping[str, Any]) -> str:
    names = list(dict.fromkeys(each["name"] for each in found["dominant_colours"]))
    colours = f", mostly {' and '.join(names[:2])}" if names else ""
    camera = " ".join(str(found["exif"][tag]) for tag in ("Make", "Model") if tag in found["exif"])
    parts = [
        f"{'An animated' if found['animated'] else 'A'} {found['orientation']} {found['format'].upper()} "
        f"image of {found['width']} x {found['height']} pixels{colours}.",
        "It has transparent parts." if found["transparent"] else "",
        f"Taken with {camera}." if camera else "",
    ]
    return " ".join(part for part in parts if part)
