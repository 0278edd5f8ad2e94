"""
The scenes of a video: its frames are decoded one after the other and compared, and where a frame is
unlike the one before, a scene begins.

Only the process of a job imports this: it needs PyAV, and Pillow.

Source:
    Comparing histograms: A. Nagasaka, Y. Tanaka, "Automatic video indexing and full-video search for
    object appearances", 1991. A threshold that follows the video: Y. Yusoff et al., "Video shot cut
    detection using adaptive thresholding", 2000.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import av.error

from failwell_sandbox.child_work import Progress, Say, TaskError

# Frames are compared no larger than this.
WIDTH, HEIGHT = 48, 27

# A video that is longer, or larger, is not looked at: seconds, frames, pixels of a frame.
MOST_SECONDS = 4 * 3600.0
MOST_FRAMES = 500_000
MOST_PIXELS = 64_000_000

# How unlike two frames are, from 0 to 1: less is no cut, whatever the frames before.
LEAST_CUT = 0.18
# And it is so many times the usual difference of the last frames.
TIMES_USUAL = 4.0
# A frame's weight in what is usual.
WEIGHT = 0.1

# A scene that is shorter, in seconds, is a flash, and belongs to the one before.
LEAST_SCENE = 0.2

MOST_SCENES = 10_000

# Containers that are files of their own: a playlist would make the demuxer open other files, and URLs.
ALONE = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,ogg,flv,asf",
    "protocol_whitelist": "none",
}


def analyse(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """
    What a video is, and its scenes.

    Raises:
        TaskError: it is none, or too large.
    """
    path = Path(task["path"])
    if not path.is_file():
        raise TaskError("video_gone", "The video was deleted.")
    try:
        with path.open("rb") as file, av.open(file, mode="r", options=ALONE) as container:
            if not container.streams.video:
                raise TaskError("no_video", "There are no pictures in this file.")
            return _analysed(container, Progress(say))
    except TaskError:
        raise
    except (av.error.FFmpegError, OSError) as exc:
        # A disk that fails says so otherwise; this is how a demuxer seeks before the beginning.
        if type(exc) is OSError and exc.errno != errno.EINVAL:
            raise
        raise TaskError("not_a_video", "This is no video that can be decoded.") from exc


def _analysed(container: Any, tell: Progress) -> dict[str, Any]:
    stream = container.streams.video[0]
    duration = _duration(container, stream)
    if duration is not None and duration > MOST_SECONDS:
        raise TaskError("too_long", f"The video is longer than {MOST_SECONDS:.0f} seconds.")
    if stream.codec_context.width * stream.codec_context.height > MOST_PIXELS:
        raise TaskError("too_large", f"A frame has more than {MOST_PIXELS} pixels.")
    stream.thread_type = "NONE"
    cuts: list[tuple[float, int]] = []
    before: tuple[bytes, list[int]] | None = None
    frames, usual, end = 0, 0.0, 0.0
    for frame in container.decode(stream):
        at = float(frame.time) if frame.time is not None else end
        now = _looked_at(frame)
        change = 1.0 if before is None else _difference(before, now)
        is_cut = change >= LEAST_CUT and change > TIMES_USUAL * usual
        if before is None or (is_cut and at - cuts[-1][0] >= LEAST_SCENE):
            cuts.append((at, frames))
        else:
            usual += WEIGHT * (change - usual)
        before, frames = now, frames + 1
        end = at + _length(frame, stream)
        if frames > MOST_FRAMES or len(cuts) > MOST_SCENES:
            raise TaskError("too_long", "The video has too many frames, or scenes.")
        tell(min(end / duration, 1.0) if duration else 0.0)
    if not frames:
        raise TaskError("no_video", "There are no pictures in this file.")
    ends = [start for start, _ in cuts[1:]] + [end]
    return {
        "duration": round(duration if duration is not None else end, 3),
        "width": stream.codec_context.width,
        "height": stream.codec_context.height,
        "codec": stream.codec_context.name,
        "fps": None if stream.average_rate is None else round(float(stream.average_rate), 3),
        "frames": frames,
        "scenes": [
            {"start": round(start, 3), "end": round(until, 3), "frame": frame}
            for (start, frame), until in zip(cuts, ends, strict=True)
        ],
    }


def _duration(container: Any, stream: Any) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def _length(frame: Any, stream: Any) -> float:
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return 1.0 / float(stream.average_rate) if stream.average_rate else 0.0


def _looked_at(frame: Any) -> tuple[bytes, list[int]]:
    """A frame as it is compared: its light, small; and how often each colour is there."""
    small = frame.reformat(width=WIDTH, height=HEIGHT, format="rgb24").to_image()
    # The top two bits of each colour: 64 colours.
    counts = [0] * 64
    pixels = small.tobytes()
    for at in range(0, len(pixels), 3):
        red, green, blue = pixels[at : at + 3]
        counts[(red >> 6) << 4 | (green >> 6) << 2 | blue >> 6] += 1
    return small.convert("L").tobytes(), counts


def _difference(one: tuple[bytes, list[int]], other: tuple[bytes, list[int]]) -> float:
    """From 0, the same, to 1: half by what stands where, half by the colours there are."""
    area = WIDTH * HEIGHT
    light = sum(abs(a - b) for a, b in zip(one[0], other[0], strict=True)) / (255 * area)
    colours = sum(abs(a - b) for a, b in zip(one[1], other[1], strict=True)) / (2 * area)
    return (light + colours) / 2
