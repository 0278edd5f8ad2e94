"""
The process of one job: `python -m failwell_sandbox.pictograph.work`.

What decodes images and learns runs here and nowhere else: an image that breaks a decoder, or takes
all memory, ends one job and not the service.

The task is the first line of standard input, as JSON; what happens goes to standard output, an object
a line: `{"progress": 0.4, ...}`, `{"image": ...}`, and last `{"result": ...}`, `{"failed": {"code",
"message"}}` or `{"crashed": "..."}`. When standard input ends, whoever asked is gone, and so are we.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

# Bytes of address space: a decoder that wants more is given an error.
MOST_MEMORY = 4 * 1024**3

# Between two lines about progress, seconds.
TELL_EVERY = 0.1

Say = Callable[[Mapping[str, Any]], None]


def main() -> int:
    """Do the task and say what became of it."""
    task = json.loads(_first_line())
    threading.Thread(target=_end_with_the_other_side, daemon=True).start()
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    with suppress(OSError):
        os.nice(5)
    out = sys.stdout

    def say(said: Mapping[str, Any]) -> None:
        out.write(json.dumps(said) + "\n")
        out.flush()

    try:
        from failwell_sandbox.pictograph.learning import LearningError
        from failwell_sandbox.pictograph.pixels import UndecodableError
    except ModuleNotFoundError as exc:
        message = f"{exc.name} is not installed: pip install failwell-sandbox[learning]"
        say({"failed": {"code": "not_installed", "message": message}})
        return 0
    try:
        say({"result": _TASKS[task["kind"]](task, say)})
    except (LearningError, UndecodableError) as exc:
        say({"failed": {"code": exc.code, "message": str(exc)}})
    except BaseException:  # noqa: BLE001  # whoever asked writes it into the log
        say({"crashed": traceback.format_exc(limit=8)})
        return 1
    return 0


def _first_line() -> bytes:
    # Past `sys.stdin`, whose lock a waiting thread would hold when the process ends.
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 1 << 16)
        if not part:
            raise SystemExit(3)
        line += part
    return line


def _end_with_the_other_side() -> None:
    while os.read(0, 4096):
        pass
    os._exit(3)


class _Progress:
    """Tells now and then how far it is."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._told = 0.0

    def __call__(self, progress: float, **facts: Any) -> None:
        now = time.monotonic()
        if now - self._told >= TELL_EVERY:
            self._told = now
            self._say({"progress": round(progress, 4), **facts})


def _train(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Learn from an export; the model goes into the file `to`."""
    from failwell_sandbox.pictograph.learning import BACKGROUND, samples_of, train

    tell = _Progress(say)
    coco = json.loads(Path(task["export"]).read_bytes())
    epochs, seed = task["epochs"], task["seed"]
    # Reading the images is a fifth of the work, as far as anybody is told.
    samples = samples_of(coco, Path(task["images"]), seed, lambda share: tell(0.2 * share, epoch=0))
    model, metrics = train(
        samples, epochs, seed,
        lambda epoch, loss: tell(0.2 + 0.8 * epoch / epochs, epoch=epoch, loss=round(loss, 5)),
    )  # fmt: skip
    model.save(Path(task["to"]))
    return {"metrics": metrics, "classes": [name for name in model.classes if name != BACKGROUND]}


def _annotate(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Annotate images one after the other, each told by itself."""
    from failwell_sandbox.pictograph.learning import Model, outlines, predictions
    from failwell_sandbox.pictograph.pixels import UndecodableError, load

    model = Model.read(Path(task["model"])) if task["model"] else None
    for image_id in task["image_ids"]:
        try:
            picture = load(Path(task["images"], image_id))
        except (UndecodableError, FileNotFoundError) as exc:
            say({"image": image_id, "failed": str(exc)})
            continue
        found = (
            outlines(picture, task["name"])
            if model is None
            else predictions(model, picture, task["threshold"])
        )
        say({"image": image_id, "annotations": found})
    return {}


def _predict(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """What a model sees in one image."""
    from failwell_sandbox.pictograph.learning import Model, predictions
    from failwell_sandbox.pictograph.pixels import load

    model = Model.read(Path(task["model"]))
    return {"annotations": predictions(model, load(Path(task["image"])), task["threshold"])}


_TASKS: Mapping[str, Callable[[Mapping[str, Any], Say], dict[str, Any]]] = {
    "training": _train, "auto_annotation": _annotate, "predict": _predict,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
